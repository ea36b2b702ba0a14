/* SPDX-License-Identifier: Apache-2.0 */
/* How one convolution is computed: its oneDNN descriptor, attributes, layout and algorithm.
 *
 * Nothing is timed: the same processor and thread count must give the same bits on every run, and oneDNN's own first
 * choice came out best, or within the noise of it, for every layer of the ResNet family in bf16 and int8. */
#include "engine/net_dnnl2.h"

#include "util/alloc.h"

#include <string.h>

/* As one attempt at it. */
typedef struct attempt {
    dnnl_alg_kind_t algorithm;
    dnnl_format_tag_t source, target;
} attempt;

static cz_status post_ops(const cz_conv_ask *ask, dnnl_post_ops_t ops)
{
    cz_status status = CZ_OK;
    if (ask->residual != dnnl_data_type_undef)
        CZ_DNNL(dnnl_post_ops_append_sum_v2(ops, ask->residual_scale / ask->target_scale, ask->residual),
                "residual sum");
    if (ask->node->conv.relu) CZ_DNNL(dnnl_post_ops_append_eltwise(ops, 1.0f, dnnl_eltwise_relu, 0.0f, 0.0f), "ReLU");
out:
    return status;
}

static cz_status conv_attr(const cz_conv_ask *ask, dnnl_primitive_attr_t *out)
{
    cz_status status = CZ_OK;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_post_ops_t ops = NULL;
    float *scales = NULL;
    const size_t count = ask->node->conv.out_channels;
    CZ_DNNL(dnnl_primitive_attr_create(&attr), "attributes");
    CZ_DNNL(dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user), "scratchpad mode");
    CZ_DNNL(dnnl_post_ops_create(&ops), "post-ops");
    CZ_TRY(post_ops(ask, ops));
    CZ_DNNL(dnnl_primitive_attr_set_post_ops(attr, ops), "post-ops");
    if (ask->weight_scales) {
        scales = cz_alloc_array(count, sizeof *scales);
        if (!scales) CZ_TRY(CZ_E_MEMORY);
        for (size_t i = 0; i < count; i++) scales[i] = ask->source_scale * ask->weight_scales[i] / ask->target_scale;
        CZ_DNNL(dnnl_primitive_attr_set_output_scales(attr, (dnnl_dim_t)count, 2, scales), "output scales");
    }
    *out = attr;
    attr = NULL;
out:
    cz_free(scales);
    if (ops) dnnl_post_ops_destroy(ops);
    if (attr) dnnl_primitive_attr_destroy(attr);
    return status;
}

static cz_status conv_op(const cz_net *net, const cz_conv_ask *ask, const attempt *how, dnnl_convolution_desc_t *op)
{
    cz_status status = CZ_OK;
    dnnl_memory_desc_t source, weights, bias, target;
    const cz_conv_desc *conv = &ask->node->conv;
    const size_t *in = net->tensors[ask->node->input].nchw;
    const size_t oihw[4] = {conv->out_channels, in[1], conv->kernel_h, conv->kernel_w};
    const dnnl_dims_t bias_dims = {(dnnl_dim_t)conv->out_channels};
    const dnnl_dims_t strides = {(dnnl_dim_t)conv->stride, (dnnl_dim_t)conv->stride};
    const dnnl_dims_t pads = {(dnnl_dim_t)conv->pad, (dnnl_dim_t)conv->pad};
    CZ_TRY(cz_dnnl_md4(in, ask->source, how->source, &source));
    CZ_TRY(cz_dnnl_md4(oihw, ask->weights, dnnl_format_tag_any, &weights));
    CZ_TRY(cz_dnnl_md4(net->tensors[ask->node->result].nchw, ask->target, how->target, &target));
    CZ_DNNL(dnnl_memory_desc_init_by_tag(&bias, 1, bias_dims, dnnl_f32, dnnl_x), "bias");
    CZ_DNNL(dnnl_convolution_forward_desc_init(op, dnnl_forward_inference, how->algorithm, &source, &weights, &bias,
                                               &target, strides, pads, pads),
            "convolution");
out:
    return status;
}

/* *pd stays NULL when oneDNN has nothing for it, or only its plain loops where `quick` is asked for. */
static cz_status try_conv(const cz_net *net, const cz_conv_ask *ask, const attempt *how,
                          const_dnnl_primitive_attr_t attr, bool quick, dnnl_primitive_desc_t *pd)
{
    dnnl_convolution_desc_t op;
    const char *name = "";
    cz_status status = conv_op(net, ask, how, &op);
    if (status != CZ_OK) return status;
    const dnnl_status_t result = dnnl_primitive_desc_create(pd, &op, attr, net->context.engine, NULL);
    if (result != dnnl_success) *pd = NULL;
    if (result == dnnl_unimplemented) return CZ_OK;
    status = cz_dnnl_check(result, "convolution");
    if (status != CZ_OK || !quick) return status;
    status = cz_dnnl_check(dnnl_primitive_desc_query(*pd, dnnl_query_impl_info_str, 0, (void *)&name), "convolution");
    if (status == CZ_OK && strncmp(name, "ref", 3) != 0 && !strstr(name, "gemm")) return CZ_OK;
    dnnl_primitive_desc_destroy(*pd);
    *pd = NULL;
    return status;
}

static cz_status no_conv(const cz_conv_ask *ask)
{
    char engine[100];
    cz_engine_describe(engine, sizeof engine);
    if (ask->source == dnnl_bf16)
        return cz_fail(CZ_E_UNSUPPORTED, "bf16 needs a processor with AVX-512, or instructions of its own (%s)",
                       engine);
    if (ask->weights == dnnl_s8)
        return cz_fail(CZ_E_UNSUPPORTED, "8-bit convolutions are not implemented for this processor (%s)", engine);
    return cz_fail(CZ_E_UNSUPPORTED, "a convolution is not implemented for this processor (%s)", engine);
}

static bool winograd_can(const cz_net_node *node)
{
    const cz_conv_desc *conv = &node->conv;
    return !node->is_pool && conv->kernel_h == 3 && conv->kernel_w == 3 && conv->stride == 1;
}

cz_status cz_conv_choose(cz_net *net, const cz_conv_ask *ask, cz_packed_algorithm *algorithm, dnnl_primitive_desc_t *pd)
{
    cz_status status = CZ_OK;
    dnnl_primitive_attr_t attr = NULL;
    const dnnl_format_tag_t any = dnnl_format_tag_any;
    const bool few = net->tensors[ask->node->input].nchw[1] < 16, blocked = net->blocked;
    const dnnl_format_tag_t source = blocked && !few ? dnnl_nChw16c : any, target = blocked ? dnnl_nChw16c : any;
    const attempt winograd = {dnnl_convolution_winograd, source, target};
    const attempt direct = {dnnl_convolution_direct, source, target}, free = {dnnl_convolution_direct, any, any};
    *pd = NULL;
    CZ_TRY(conv_attr(ask, &attr));
    if (*algorithm == CZ_PACKED_WINOGRAD && winograd_can(ask->node))
        CZ_TRY(try_conv(net, ask, &winograd, attr, true, pd));
    if (*pd) goto out;
    *algorithm = CZ_PACKED_DIRECT;
    if (blocked) CZ_TRY(try_conv(net, ask, &direct, attr, true, pd));
    if (!*pd) CZ_TRY(try_conv(net, ask, &free, attr, false, pd));
    if (!*pd) CZ_TRY(no_conv(ask));
out:
    if (attr) dnnl_primitive_attr_destroy(attr);
    return status;
}

cz_status cz_conv_wants_blocks(cz_net *net, bool *out)
{
    cz_status status = CZ_OK;
    *out = false;
    for (size_t i = 0; i < net->node_count && !*out; i++) {
        dnnl_primitive_desc_t pd = NULL;
        dnnl_memory_desc_t blocks;
        const cz_net_node *node = &net->nodes[i];
        const attempt winograd = {dnnl_convolution_winograd, dnnl_format_tag_any, dnnl_format_tag_any};
        const cz_conv_ask ask = {.node = node, .source = dnnl_f32, .weights = dnnl_f32, .target = dnnl_f32};
        if (!winograd_can(node)) continue;
        CZ_TRY(try_conv(net, &ask, &winograd, NULL, true, &pd));
        if (!pd) continue;
        const dnnl_memory_desc_t source = cz_dnnl_query_md(pd, dnnl_query_src_md);
        dnnl_primitive_desc_destroy(pd);
        CZ_TRY(cz_dnnl_md4(net->tensors[node->input].nchw, dnnl_f32, dnnl_nChw16c, &blocks));
        *out = dnnl_memory_desc_equal(&source, &blocks);
    }
out:
    return status;
}

uint32_t cz_conv_weight_limit(dnnl_data_type_t source)
{
#if defined(__x86_64__) || defined(__i386__)
    /* Without VNNI two products of an unsigned and a signed byte meet in 16 bits, saturating (vpmaddubsw): 2 * 255 * 64
     * still fits. Signed sources are oneDNN's own affair: it halves the weights itself. */
    const unsigned isa = (unsigned)dnnl_get_effective_cpu_isa();
    if (source == dnnl_u8 && (isa & dnnl_cpu_isa_avx512_core_vnni) != dnnl_cpu_isa_avx512_core_vnni) return 64;
#endif
    (void)source;
    return 127;
}
