/* SPDX-License-Identifier: Apache-2.0 */
/* The weights of a network: packed once into a block, or found in one. */
#include "engine/net_dnnl2.h"

#include "util/alloc.h"

#include <math.h>
#include <string.h>

/* In lanes, which the compiler turns into vectors; a NaN is passed over. */
static float largest(const float *w, size_t count)
{
    float most[16] = {0};
    size_t i = 0;
    for (; i + 16 <= count; i += 16)
        for (size_t j = 0; j < 16; j++) most[j] = fabsf(w[i + j]) > most[j] ? fabsf(w[i + j]) : most[j];
    for (; i < count; i++) most[0] = fabsf(w[i]) > most[0] ? fabsf(w[i]) : most[0];
    for (size_t j = 1; j < 16; j++) most[0] = most[j] > most[0] ? most[j] : most[0];
    return most[0];
}

void cz_weights_scales(const cz_conv_desc *conv, size_t in_channels, uint32_t limit, float *scales)
{
    const size_t count = in_channels * conv->kernel_h * conv->kernel_w;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < conv->out_channels; i++) {
        const float most = largest(conv->weights + i * count, count);
        scales[i] = most >= 1e-30f && most <= 1e30f ? most / (float)limit : 1; /* zeros, infinity */
    }
}

/* A layout with room for more than the weights: not all reorders fill it. */
static bool is_padded(const dnnl_memory_desc_t *md)
{
    size_t dense = dnnl_data_type_size(md->data_type);
    for (int i = 0; i < md->ndims; i++) dense *= (size_t)md->dims[i];
    return dnnl_memory_desc_get_size(md) != dense;
}

static cz_status pack(cz_net *net, const cz_net_step *step)
{
    cz_status status = CZ_OK;
    dnnl_memory_desc_t plain;
    cz_packed_conv part;
    float *inverse = NULL;
    const cz_net_node *node = &net->nodes[step->node];
    const cz_conv_desc *conv = &node->conv;
    const size_t count = conv->out_channels;
    const size_t oihw[4] = {count, net->tensors[node->input].nchw[1], conv->kernel_h, conv->kernel_w};
    (void)cz_packed_get(net->packed, node->ordinal, count, &part);
    void *weights = cz_packed_writable(net->packed, part.weights);
    if (is_padded(&step->need.md)) memset(weights, 0, dnnl_memory_desc_get_size(&step->need.md));
    memcpy(cz_packed_writable(net->packed, part.bias), conv->bias, count * sizeof(float));
    CZ_TRY(cz_dnnl_md4(oihw, dnnl_f32, dnnl_oihw, &plain));
    if (part.limit) {
        inverse = cz_alloc_array(count, sizeof *inverse);
        if (!inverse) CZ_TRY(CZ_E_MEMORY);
        for (size_t i = 0; i < count; i++) inverse[i] = 1 / step->scales[i];
        memcpy(cz_packed_writable(net->packed, part.scales), step->scales, count * sizeof(float));
    }
    CZ_TRY(cz_dnnl_reorder_scaled(&net->context, &plain, conv->weights, &step->need.md, weights, inverse, count));
out:
    cz_free(inverse);
    return status;
}

cz_status cz_weights_take(cz_net *net)
{
    cz_status status = CZ_OK;
    cz_packed_need *needs = NULL;
    size_t count = 0;
    if (net->hint) {
        net->packed = cz_packed_retain(net->options.packed);
        return CZ_OK;
    }
    needs = cz_alloc_array(net->conv_count, sizeof *needs);
    if (!needs) return CZ_E_MEMORY;
    for (size_t i = 0; i < net->step_count; i++)
        if (net->steps[i].kind == CZ_STEP_CONV) needs[count++] = net->steps[i].need; /* in the order of nodes */
    CZ_TRY(cz_packed_new(needs, count, &net->packed));
    for (size_t i = 0; i < net->step_count; i++)
        if (net->steps[i].kind == CZ_STEP_CONV) CZ_TRY(pack(net, &net->steps[i]));
out:
    cz_free(needs);
    return status;
}

cz_status cz_weights_bind(cz_net *net, cz_net_step *step)
{
    cz_status status = CZ_OK;
    cz_packed_conv part;
    dnnl_memory_desc_t md;
    const cz_net_node *node = &net->nodes[step->node];
    const size_t count = node->conv.out_channels;
    const dnnl_dims_t dims = {(dnnl_dim_t)count};
    if (!cz_packed_get(net->packed, node->ordinal, count, &part))
        return cz_fail(CZ_E_INTERNAL, "network: lost weights");
    const float *bias = part.bias;
    if (part.scales) { /* oneDNN 2.x adds it before the output scales */
        const float source = net->slots[step->from].scale;
        step->bias_scaled = cz_alloc_array(count, sizeof *bias);
        if (!step->bias_scaled) return CZ_E_MEMORY;
        for (size_t i = 0; i < count; i++) step->bias_scaled[i] = part.bias[i] / (source * part.scales[i]);
        bias = step->bias_scaled;
    }
    /* oneDNN's handles are not const, but weights are only read */
    CZ_DNNL(dnnl_memory_desc_init_by_tag(&md, 1, dims, dnnl_f32, dnnl_x), "bias");
    CZ_DNNL(dnnl_memory_create(&step->bias, &md, net->context.engine, (void *)(uintptr_t)bias), "bias");
    CZ_DNNL(dnnl_memory_create(&step->weights, &step->need.md, net->context.engine, (void *)(uintptr_t)part.weights),
            "weights");
out:
    return status;
}
