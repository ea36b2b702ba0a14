/* SPDX-License-Identifier: Apache-2.0 */
/* Matrix products with a packed right side, on oneDNN 2.x. */
#include "engine/engine_dnnl2.h"

#include "util/alloc.h"
#include "util/threads.h"

#include <math.h>

struct cz_matmul {
    cz_dnnl_context context;
    size_t threads, bytes;
    dnnl_primitive_t primitive;
    dnnl_memory_t a, b, bias, c, scratch; /* `a` and `c` get their addresses at each run */
    void *packed;
    float *bias_copy, *scales; /* [n]; scales: INT8, from sums of products of integers to floats */
    void *scratch_data;
};

/* Types of `a`, of the packed B and of the B that is packed. */
typedef struct matmul_types {
    dnnl_data_type_t a, b, plain;
} matmul_types;

static matmul_types types_of(cz_precision precision)
{
    if (precision == CZ_PRECISION_BF16) return (matmul_types){dnnl_bf16, dnnl_bf16, dnnl_f32};
    if (precision == CZ_PRECISION_INT8) return (matmul_types){dnnl_u8, dnnl_s8, dnnl_s8};
    return (matmul_types){dnnl_f32, dnnl_f32, dnnl_f32};
}

/* Largest magnitude of a weight in 8 bits. Without VNNI two products of bytes are added in 16 bits, which 2 * 255 * 127
 * would overflow and 2 * 255 * 63 does not. */
static float weight_limit(void)
{
    const dnnl_cpu_isa_t isa = dnnl_get_effective_cpu_isa();
    const bool wide =
        isa == dnnl_cpu_isa_avx2_vnni || (isa & dnnl_cpu_isa_avx512_core_vnni) == dnnl_cpu_isa_avx512_core_vnni;
    return wide ? 127.0f : 63.0f;
}

static float at(const cz_matmul_desc *desc, size_t row, size_t column)
{
    return desc->b_is_nk ? desc->b[column * desc->k + row] : desc->b[row * desc->n + column];
}

/* out [k, n] s8, each column over its own largest magnitude; fills mm->scales. */
static void quantise(cz_matmul *mm, const cz_matmul_desc *desc, int8_t *out)
{
    const float limit = weight_limit();
    for (size_t j = 0; j < desc->n; j++) {
        float largest = 0;
        for (size_t i = 0; i < desc->k; i++) largest = fmaxf(largest, fabsf(at(desc, i, j)));
        const float step = largest > 0 ? largest / limit : 1.0f;
        for (size_t i = 0; i < desc->k; i++) out[i * desc->n + j] = (int8_t)lrintf(at(desc, i, j) / step);
        mm->scales[j] = step * (desc->a_range / 255.0f);
    }
}

/* Scratchpad of our own; by-column output scales for INT8. */
static cz_status matmul_attr(const cz_matmul *mm, size_t n, dnnl_primitive_attr_t *out)
{
    cz_status status;
    dnnl_primitive_attr_t attr = NULL;
    CZ_TRY(cz_dnnl_attr(false, false, &attr));
    if (mm->scales)
        CZ_DNNL(dnnl_primitive_attr_set_output_scales(attr, (dnnl_dim_t)n, 1 << 1, mm->scales), "matmul scales");
    *out = attr;
    attr = NULL;
out:
    if (attr) dnnl_primitive_attr_destroy(attr);
    return status;
}

static cz_status matmul_primitive(cz_matmul *mm, const cz_matmul_desc *desc, dnnl_primitive_desc_t *pd)
{
    cz_status status = CZ_OK;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_memory_desc_t a, b, bias, c;
    dnnl_matmul_desc_t op;
    const matmul_types types = types_of(desc->precision);
    const dnnl_dims_t a_dims = {(dnnl_dim_t)desc->m, (dnnl_dim_t)desc->k};
    const dnnl_dims_t b_dims = {(dnnl_dim_t)desc->k, (dnnl_dim_t)desc->n};
    const dnnl_dims_t c_dims = {(dnnl_dim_t)desc->m, (dnnl_dim_t)desc->n};
    const dnnl_dims_t bias_dims = {1, (dnnl_dim_t)desc->n};
    CZ_DNNL(dnnl_memory_desc_init_by_tag(&a, 2, a_dims, types.a, dnnl_ab), "matmul source");
    CZ_DNNL(dnnl_memory_desc_init_by_tag(&b, 2, b_dims, types.b, dnnl_format_tag_any), "matmul weights");
    CZ_DNNL(dnnl_memory_desc_init_by_tag(&c, 2, c_dims, dnnl_f32, dnnl_ab), "matmul result");
    CZ_DNNL(dnnl_memory_desc_init_by_tag(&bias, 2, bias_dims, dnnl_f32, dnnl_ab), "matmul bias");
    CZ_DNNL(dnnl_matmul_desc_init(&op, &a, &b, desc->bias ? &bias : NULL, &c), "matmul");
    CZ_TRY(matmul_attr(mm, desc->n, &attr));
    CZ_DNNL(dnnl_primitive_desc_create(pd, &op, attr, mm->context.engine, NULL), "matmul");
    CZ_DNNL(dnnl_primitive_create(&mm->primitive, *pd), "matmul");
    CZ_DNNL(dnnl_memory_create(&mm->a, &a, mm->context.engine, NULL), "matmul source");
    CZ_DNNL(dnnl_memory_create(&mm->c, &c, mm->context.engine, NULL), "matmul result");
    if (!desc->bias) goto out;
    mm->bias_copy = cz_alloc_array(desc->n, sizeof *mm->bias_copy);
    if (!mm->bias_copy) CZ_TRY(CZ_E_MEMORY);
    /* the library adds the bias before it scales */
    for (size_t i = 0; i < desc->n; i++) mm->bias_copy[i] = mm->scales ? desc->bias[i] / mm->scales[i] : desc->bias[i];
    CZ_DNNL(dnnl_memory_create(&mm->bias, &bias, mm->context.engine, mm->bias_copy), "matmul bias");
out:
    if (attr) dnnl_primitive_attr_destroy(attr);
    return status;
}

/* `plain`: B in types_of().plain, [k, n], or as desc->b_is_nk says when it is desc->b itself. */
static cz_status matmul_pack(cz_matmul *mm, const cz_matmul_desc *desc, const void *plain,
                             const_dnnl_primitive_desc_t pd)
{
    cz_status status = CZ_OK;
    dnnl_memory_desc_t md;
    const bool turned = plain == desc->b && desc->b_is_nk;
    const dnnl_memory_desc_t packed = cz_dnnl_query_md(pd, dnnl_query_weights_md);
    const dnnl_memory_desc_t scratch = cz_dnnl_query_md(pd, dnnl_query_scratchpad_md);
    const size_t packed_bytes = dnnl_memory_desc_get_size(&packed), scratch_bytes = dnnl_memory_desc_get_size(&scratch);
    const dnnl_dims_t dims = {(dnnl_dim_t)desc->k, (dnnl_dim_t)desc->n};
    CZ_DNNL(dnnl_memory_desc_init_by_tag(&md, 2, dims, types_of(desc->precision).plain, turned ? dnnl_ba : dnnl_ab),
            "matmul weights");
    mm->packed = cz_alloc(packed_bytes);
    mm->scratch_data = cz_alloc(scratch_bytes);
    if (!mm->packed || !mm->scratch_data) CZ_TRY(CZ_E_MEMORY);
    mm->bytes = packed_bytes + scratch_bytes;
    if (desc->bias) mm->bytes += desc->n * sizeof(float);
    if (mm->scales) mm->bytes += desc->n * sizeof(float);
    CZ_TRY(cz_dnnl_reorder_now(&mm->context, &md, plain, &packed, mm->packed));
    CZ_DNNL(dnnl_memory_create(&mm->b, &packed, mm->context.engine, mm->packed), "matmul weights");
    CZ_DNNL(dnnl_memory_create(&mm->scratch, &scratch, mm->context.engine, mm->scratch_data), "matmul scratchpad");
out:
    return status;
}

static cz_status check(const cz_matmul_desc *desc)
{
    size_t weights;
    if (desc->m == 0 || desc->n == 0 || desc->k == 0 || desc->threads == 0 || !desc->b)
        return cz_fail(CZ_E_ARG, "matrix product: sizes and threads must be positive");
    if (!cz_mul_size(desc->n, desc->k, &weights)) return cz_fail(CZ_E_LIMIT, "matrix product: too large");
    if (desc->precision == CZ_PRECISION_INT8 && !(desc->a_range > 0 && isfinite(desc->a_range)))
        return cz_fail(CZ_E_ARG, "matrix product: the range of 8 bits must be positive");
    if (desc->precision != CZ_PRECISION_FP32 && desc->precision != CZ_PRECISION_BF16 &&
        desc->precision != CZ_PRECISION_INT8)
        return cz_fail(CZ_E_ARG, "matrix product: fp32, bf16 or int8, not %d", (int)desc->precision);
    return CZ_OK;
}

cz_status cz_engine_matmul_create(const cz_matmul_desc *desc, cz_matmul **out)
{
    cz_status status = CZ_OK;
    cz_threads_scope scope;
    dnnl_primitive_desc_t pd = NULL;
    int8_t *bytes = NULL;
    status = check(desc);
    if (status != CZ_OK) return status;
    cz_matmul *mm = cz_calloc(1, sizeof *mm);
    if (!mm) return CZ_E_MEMORY;
    mm->threads = desc->threads;
    status = cz_threads_enter(mm->threads, &scope);
    if (status != CZ_OK) {
        cz_free(mm);
        return status;
    }
    CZ_TRY(cz_dnnl_context_init(&mm->context));
    if (desc->precision == CZ_PRECISION_INT8) {
        bytes = cz_alloc_array(desc->k, desc->n);
        mm->scales = cz_alloc_array(desc->n, sizeof *mm->scales);
        if (!bytes || !mm->scales) CZ_TRY(CZ_E_MEMORY);
        quantise(mm, desc, bytes);
    }
    CZ_TRY(matmul_primitive(mm, desc, &pd));
    CZ_TRY(matmul_pack(mm, desc, bytes ? (const void *)bytes : desc->b, pd));
    *out = mm;
    mm = NULL;
out:
    if (pd) dnnl_primitive_desc_destroy(pd);
    cz_free(bytes);
    cz_threads_leave(&scope);
    cz_engine_matmul_destroy(mm);
    return status;
}

cz_status cz_engine_matmul_run(cz_matmul *mm, const void *a, float *c)
{
    cz_threads_scope scope;
    cz_status status = cz_threads_enter(mm->threads, &scope);
    if (status != CZ_OK) return status;
    CZ_DNNL(dnnl_memory_set_data_handle(mm->a, (void *)(uintptr_t)a), "matmul source");
    CZ_DNNL(dnnl_memory_set_data_handle(mm->c, c), "matmul result");
    dnnl_exec_arg_t args[5] = {{DNNL_ARG_SRC, mm->a},
                               {DNNL_ARG_WEIGHTS, mm->b},
                               {DNNL_ARG_DST, mm->c},
                               {DNNL_ARG_SCRATCHPAD, mm->scratch},
                               {DNNL_ARG_BIAS, mm->bias}};
    CZ_DNNL(dnnl_primitive_execute(mm->primitive, mm->context.stream, mm->bias ? 5 : 4, args), "matmul");
    CZ_DNNL(dnnl_stream_wait(mm->context.stream), "matmul");
out:
    cz_threads_leave(&scope);
    return status;
}

void cz_engine_matmul_destroy(cz_matmul *mm)
{
    if (!mm) return;
    dnnl_memory_t memories[5] = {mm->a, mm->b, mm->bias, mm->c, mm->scratch};
    for (size_t i = 0; i < 5; i++)
        if (memories[i]) dnnl_memory_destroy(memories[i]);
    if (mm->primitive) dnnl_primitive_destroy(mm->primitive);
    cz_dnnl_context_free(&mm->context);
    cz_free(mm->packed);
    cz_free(mm->bias_copy);
    cz_free(mm->scales);
    cz_free(mm->scratch_data);
    cz_free(mm);
}

size_t cz_engine_matmul_memory(const cz_matmul *mm)
{
    return mm->bytes;
}
