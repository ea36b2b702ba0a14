/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/engine_dnnl2.h"

#include <stdio.h>
#include <string.h>

cz_status cz_dnnl_check(dnnl_status_t result, const char *what)
{
    switch (result) {
    case dnnl_success:
        return CZ_OK;
    case dnnl_out_of_memory:
        return cz_fail(CZ_E_MEMORY, "oneDNN: out of memory (%s)", what);
    case dnnl_unimplemented:
        return cz_fail(CZ_E_UNSUPPORTED, "oneDNN cannot do this here (%s)", what);
    default:
        return cz_fail(CZ_E_INTERNAL, "oneDNN: status %d (%s)", (int)result, what);
    }
}

cz_status cz_dnnl_context_init(cz_dnnl_context *context)
{
    cz_status status = CZ_OK;
    memset(context, 0, sizeof *context);
    CZ_DNNL(dnnl_engine_create(&context->engine, dnnl_cpu, 0), "engine");
    CZ_DNNL(dnnl_stream_create(&context->stream, context->engine, dnnl_stream_in_order), "stream");
out:
    if (status != CZ_OK) cz_dnnl_context_free(context);
    return status;
}

void cz_dnnl_context_free(cz_dnnl_context *context)
{
    if (context->stream) dnnl_stream_destroy(context->stream);
    if (context->engine) dnnl_engine_destroy(context->engine);
    memset(context, 0, sizeof *context);
}

dnnl_memory_desc_t cz_dnnl_query_md(const_dnnl_primitive_desc_t pd, dnnl_query_t what)
{
    dnnl_memory_desc_t none;
    memset(&none, 0, sizeof none);
    const dnnl_memory_desc_t *md = dnnl_primitive_desc_query_md(pd, what, 0);
    return md ? *md : none;
}

cz_status cz_dnnl_md4(const size_t nchw[4], dnnl_data_type_t type, dnnl_format_tag_t tag, dnnl_memory_desc_t *out)
{
    dnnl_dims_t dims = {0};
    for (size_t i = 0; i < 4; i++) dims[i] = (dnnl_dim_t)nchw[i];
    return cz_dnnl_check(dnnl_memory_desc_init_by_tag(out, 4, dims, type, tag), "memory descriptor");
}

cz_status cz_dnnl_reorder_now(const cz_dnnl_context *context, const dnnl_memory_desc_t *from_md, const void *from,
                              const dnnl_memory_desc_t *to_md, void *to)
{
    return cz_dnnl_reorder_scaled(context, from_md, from, to_md, to, NULL, 0);
}

cz_status cz_dnnl_reorder_scaled(const cz_dnnl_context *context, const dnnl_memory_desc_t *from_md, const void *from,
                                 const dnnl_memory_desc_t *to_md, void *to, const float *scales, size_t count)
{
    cz_status status = CZ_OK;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_primitive_t primitive = NULL;
    dnnl_memory_t source = NULL, target = NULL;
    if (scales) {
        CZ_DNNL(dnnl_primitive_attr_create(&attr), "attributes");
        CZ_DNNL(dnnl_primitive_attr_set_output_scales(attr, (dnnl_dim_t)count, 1, scales), "scales");
    }
    CZ_DNNL(dnnl_reorder_primitive_desc_create(&pd, from_md, context->engine, to_md, context->engine, attr), "reorder");
    CZ_DNNL(dnnl_primitive_create(&primitive, pd), "reorder");
    /* oneDNN's handles are not const, but a source is only read */
    CZ_DNNL(dnnl_memory_create(&source, from_md, context->engine, (void *)(uintptr_t)from), "reorder source");
    CZ_DNNL(dnnl_memory_create(&target, to_md, context->engine, to), "reorder target");
    const dnnl_exec_arg_t args[2] = {{DNNL_ARG_FROM, source}, {DNNL_ARG_TO, target}};
    CZ_DNNL(dnnl_primitive_execute(primitive, context->stream, 2, args), "reorder");
    CZ_DNNL(dnnl_stream_wait(context->stream), "reorder");
out:
    if (target) dnnl_memory_destroy(target);
    if (source) dnnl_memory_destroy(source);
    if (primitive) dnnl_primitive_destroy(primitive);
    if (pd) dnnl_primitive_desc_destroy(pd);
    if (attr) dnnl_primitive_attr_destroy(attr);
    return status;
}

cz_status cz_dnnl_attr(bool sum, bool relu, dnnl_primitive_attr_t *out)
{
    cz_status status = CZ_OK;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_post_ops_t ops = NULL;
    CZ_DNNL(dnnl_primitive_attr_create(&attr), "attributes");
    CZ_DNNL(dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user), "scratchpad mode");
    CZ_DNNL(dnnl_post_ops_create(&ops), "post-ops");
    if (sum) CZ_DNNL(dnnl_post_ops_append_sum(ops, 1.0f), "residual sum");
    if (relu) CZ_DNNL(dnnl_post_ops_append_eltwise(ops, 1.0f, dnnl_eltwise_relu, 0.0f, 0.0f), "ReLU");
    CZ_DNNL(dnnl_primitive_attr_set_post_ops(attr, ops), "post-ops");
    *out = attr;
    attr = NULL;
out:
    if (ops) dnnl_post_ops_destroy(ops);
    if (attr) dnnl_primitive_attr_destroy(attr);
    return status;
}

static const char *isa_name(dnnl_cpu_isa_t isa)
{
    /* chained, not a switch: several enumerators may be combinations of bits */
    if (isa == dnnl_cpu_isa_sse41) return "SSE4.1";
    if (isa == dnnl_cpu_isa_avx) return "AVX";
    if (isa == dnnl_cpu_isa_avx2) return "AVX2";
    if (isa == dnnl_cpu_isa_avx2_vnni) return "AVX2 + VNNI";
    if (isa == dnnl_cpu_isa_avx512_core) return "AVX-512";
    if (isa == dnnl_cpu_isa_avx512_core_vnni) return "AVX-512 + VNNI";
    if (isa == dnnl_cpu_isa_avx512_core_bf16) return "AVX-512 + VNNI + BF16";
    if (isa == dnnl_cpu_isa_avx512_core_amx) return "AVX-512 + AMX";
    return "generic";
}

void cz_engine_describe(char *text, size_t size)
{
    const dnnl_version_t *version = dnnl_version();
    if (size == 0) return;
    snprintf(text, size, "oneDNN %d.%d.%d, %s", version->major, version->minor, version->patch,
             isa_name(dnnl_get_effective_cpu_isa()));
}

bool cz_engine_native(cz_precision precision)
{
    const unsigned isa = (unsigned)dnnl_get_effective_cpu_isa(); /* sets of bits: a later one contains the earlier */
    const bool avx512 = (isa & dnnl_cpu_isa_avx512_core) == dnnl_cpu_isa_avx512_core;
    switch (precision) {
    case CZ_PRECISION_FP32:
        return true;
    case CZ_PRECISION_FP32_WINOGRAD:
        return avx512;
    case CZ_PRECISION_BF16:
        return (isa & dnnl_cpu_isa_avx512_core_bf16) == dnnl_cpu_isa_avx512_core_bf16;
    case CZ_PRECISION_INT8:
        return (isa & dnnl_cpu_isa_avx512_core_vnni) == dnnl_cpu_isa_avx512_core_vnni || isa == dnnl_cpu_isa_avx2_vnni;
    default:
        return false;
    }
}
