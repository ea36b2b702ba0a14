/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Matrix products in bf16 on oneDNN 2.x. Measured for 2.6 on AMX: a B that is packed once by format_tag_any is a quarter
 * faster than one that the primitive copies, and a transposed A costs as much as the product itself, so both are brought
 * into shape here; sums over tens of thousands of rows run at a third of the speed of parts of a thousand.
 */
#include "engine/engine_dnnl2.h"

#include "tensor/bf16.h"
#include "util/alloc.h"

#include <omp.h>
#include <string.h>

enum { SLOTS = 12, BLOCK = 1024, DEPTH = 1024, DEEP = 2048 };

/* One shape's primitive, with the layouts that it was made for. */
typedef struct product {
    size_t m, n, k, lda, ldb, ldc; /* ldb 0: B is packed */
    size_t threads;
    float alpha, beta;
    unsigned long used;
    dnnl_primitive_t primitive;
    dnnl_memory_desc_t b_md;
    dnnl_memory_t a, b, c, scratchpad;
    size_t scratch_bytes;
} product;

typedef struct buffer {
    void *data;
    size_t bytes;
} buffer;

struct cz_gemm {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    product slot[SLOTS];
    unsigned long clock;
    buffer a, b, scratch;
    bool plain; /* no bf16 products here: the rounded operands are multiplied in fp32 */
};

/* Whether oneDNN has a bf16 product with an fp32 result on this processor. */
static bool bf16_products(dnnl_engine_t engine)
{
    const dnnl_dims_t dims = {16, 16};
    dnnl_memory_desc_t ab, c;
    dnnl_matmul_desc_t op;
    dnnl_primitive_desc_t pd = NULL;
    if (dnnl_memory_desc_init_by_tag(&ab, 2, dims, dnnl_bf16, dnnl_ab) != dnnl_success ||
        dnnl_memory_desc_init_by_tag(&c, 2, dims, dnnl_f32, dnnl_ab) != dnnl_success ||
        dnnl_matmul_desc_init(&op, &ab, &ab, NULL, &c) != dnnl_success ||
        dnnl_primitive_desc_create(&pd, &op, NULL, engine, NULL) != dnnl_success)
        return false;
    dnnl_primitive_desc_destroy(pd);
    return true;
}

cz_status cz_engine_gemm_create(cz_gemm **out)
{
    cz_dnnl_context context;
    cz_gemm *gemm = cz_calloc(1, sizeof *gemm);
    if (!gemm) return CZ_E_MEMORY;
    const cz_status status = cz_dnnl_context_init(&context);
    if (status != CZ_OK) {
        cz_free(gemm);
        return status;
    }
    gemm->engine = context.engine;
    gemm->stream = context.stream;
    gemm->plain = !bf16_products(gemm->engine);
    *out = gemm;
    return CZ_OK;
}

static void product_free(product *p)
{
    dnnl_memory_t memories[4] = {p->a, p->b, p->c, p->scratchpad};
    for (size_t i = 0; i < 4; i++)
        if (memories[i]) dnnl_memory_destroy(memories[i]);
    if (p->primitive) dnnl_primitive_destroy(p->primitive);
    memset(p, 0, sizeof *p);
}

void cz_engine_gemm_destroy(cz_gemm *gemm)
{
    if (!gemm) return;
    for (size_t i = 0; i < SLOTS; i++) product_free(&gemm->slot[i]);
    cz_dnnl_context context = {gemm->engine, gemm->stream};
    cz_dnnl_context_free(&context);
    cz_free(gemm->a.data);
    cz_free(gemm->b.data);
    cz_free(gemm->scratch.data);
    cz_free(gemm);
}

size_t cz_engine_gemm_memory(const cz_gemm *gemm)
{
    return gemm->a.bytes + gemm->b.bytes + gemm->scratch.bytes;
}

static cz_status reserve(buffer *b, size_t bytes)
{
    if (b->bytes >= bytes && b->data) return CZ_OK;
    cz_free(b->data);
    b->data = cz_alloc(bytes);
    b->bytes = b->data ? bytes : 0;
    return b->data ? CZ_OK : CZ_E_MEMORY;
}

/* ---- primitives -------------------------------------------------------------------------------------------------- */

static cz_status strided(size_t rows, size_t columns, size_t stride, dnnl_data_type_t type, dnnl_memory_desc_t *out)
{
    const dnnl_dims_t dims = {(dnnl_dim_t)rows, (dnnl_dim_t)columns}, strides = {(dnnl_dim_t)stride, 1};
    return cz_dnnl_check(dnnl_memory_desc_init_by_strides(out, 2, dims, type, strides), "gemm operand");
}

static cz_status attributes(float alpha, float beta, dnnl_primitive_attr_t *out)
{
    cz_status status = CZ_OK;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_post_ops_t ops = NULL;
    CZ_DNNL(dnnl_primitive_attr_create(&attr), "attributes");
    CZ_DNNL(dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user), "scratchpad mode");
    if (alpha != 1) CZ_DNNL(dnnl_primitive_attr_set_output_scales(attr, 1, 0, &alpha), "scale");
    if (beta != 0) {
        CZ_DNNL(dnnl_post_ops_create(&ops), "post-ops");
        CZ_DNNL(dnnl_post_ops_append_sum(ops, beta), "sum");
        CZ_DNNL(dnnl_primitive_attr_set_post_ops(attr, ops), "post-ops");
    }
    *out = attr;
    attr = NULL;
out:
    if (ops) dnnl_post_ops_destroy(ops);
    if (attr) dnnl_primitive_attr_destroy(attr);
    return status;
}

/* Fills in what p's shape asks for. b_md: the layout of a B that has been packed already, NULL: none yet. */
static cz_status product_make(cz_gemm *gemm, product *p, const dnnl_memory_desc_t *b_md)
{
    cz_status status = CZ_OK;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_memory_desc_t a, b, c;
    dnnl_matmul_desc_t op;
    const dnnl_dims_t b_dims = {(dnnl_dim_t)p->k, (dnnl_dim_t)p->n};
    CZ_TRY(strided(p->m, p->k, p->lda, dnnl_bf16, &a));
    CZ_TRY(strided(p->m, p->n, p->ldc, dnnl_f32, &c));
    if (p->ldb)
        CZ_TRY(strided(p->k, p->n, p->ldb, dnnl_bf16, &b));
    else if (b_md)
        b = *b_md;
    else
        CZ_DNNL(dnnl_memory_desc_init_by_tag(&b, 2, b_dims, dnnl_bf16, dnnl_format_tag_any), "gemm operand");
    CZ_DNNL(dnnl_matmul_desc_init(&op, &a, &b, NULL, &c), "gemm");
    CZ_TRY(attributes(p->alpha, p->beta, &attr));
    CZ_DNNL(dnnl_primitive_desc_create(&pd, &op, attr, gemm->engine, NULL), "gemm");
    p->b_md = cz_dnnl_query_md(pd, dnnl_query_weights_md);
    const dnnl_memory_desc_t scratch = cz_dnnl_query_md(pd, dnnl_query_scratchpad_md);
    p->scratch_bytes = dnnl_memory_desc_get_size(&scratch);
    CZ_DNNL(dnnl_primitive_create(&p->primitive, pd), "gemm");
    CZ_DNNL(dnnl_memory_create(&p->a, &a, gemm->engine, DNNL_MEMORY_NONE), "gemm operand");
    CZ_DNNL(dnnl_memory_create(&p->b, &p->b_md, gemm->engine, DNNL_MEMORY_NONE), "gemm operand");
    CZ_DNNL(dnnl_memory_create(&p->c, &c, gemm->engine, DNNL_MEMORY_NONE), "gemm result");
    CZ_DNNL(dnnl_memory_create(&p->scratchpad, &scratch, gemm->engine, DNNL_MEMORY_NONE), "gemm scratchpad");
out:
    if (pd) dnnl_primitive_desc_destroy(pd);
    if (attr) dnnl_primitive_attr_destroy(attr);
    return status;
}

static bool same_shape(const product *p, const product *q, const dnnl_memory_desc_t *b_md)
{
    return p->primitive && p->m == q->m && p->n == q->n && p->k == q->k && p->lda == q->lda && p->ldb == q->ldb &&
           p->ldc == q->ldc && p->threads == q->threads && p->alpha == q->alpha && p->beta == q->beta &&
           (!b_md || dnnl_memory_desc_equal(&p->b_md, b_md));
}

/* The primitive of this shape, made in place of the one unused for longest. */
static cz_status product_get(cz_gemm *gemm, const product *shape, const dnnl_memory_desc_t *b_md, product **out)
{
    product *oldest = &gemm->slot[0];
    gemm->clock++;
    for (size_t i = 0; i < SLOTS; i++) {
        product *p = &gemm->slot[i];
        if (same_shape(p, shape, b_md)) {
            p->used = gemm->clock;
            *out = p;
            return CZ_OK;
        }
        if (p->used < oldest->used) oldest = p;
    }
    product_free(oldest);
    *oldest = *shape;
    const cz_status status = product_make(gemm, oldest, b_md);
    if (status != CZ_OK) {
        product_free(oldest);
        return status;
    }
    oldest->used = gemm->clock;
    *out = oldest;
    return CZ_OK;
}

static cz_status product_run(cz_gemm *gemm, product *p, const void *a, const void *b, float *c)
{
    cz_status status = CZ_OK;
    CZ_TRY(reserve(&gemm->scratch, p->scratch_bytes));
    /* oneDNN's handles are not const, but operands are only read */
    CZ_DNNL(dnnl_memory_set_data_handle(p->a, (void *)(uintptr_t)a), "gemm operand");
    CZ_DNNL(dnnl_memory_set_data_handle(p->b, (void *)(uintptr_t)b), "gemm operand");
    CZ_DNNL(dnnl_memory_set_data_handle(p->c, c), "gemm result");
    CZ_DNNL(dnnl_memory_set_data_handle(p->scratchpad, gemm->scratch.data), "gemm scratchpad");
    const dnnl_exec_arg_t args[4] = {
        {DNNL_ARG_SRC, p->a}, {DNNL_ARG_WEIGHTS, p->b}, {DNNL_ARG_DST, p->c}, {DNNL_ARG_SCRATCHPAD, p->scratchpad}};
    CZ_DNNL(dnnl_primitive_execute(p->primitive, gemm->stream, 4, args), "gemm");
    CZ_DNNL(dnnl_stream_wait(gemm->stream), "gemm");
out:
    return status;
}

/* ---- operands ---------------------------------------------------------------------------------------------------- */

static const void *element(const cz_gemm_operand *o, size_t row, size_t column)
{
    const size_t at = o->trans ? column * o->stride + row : row * o->stride + column;
    return o->bf16 ? (const void *)((const uint16_t *)o->values + at) : (const void *)((const float *)o->values + at);
}

/* Rows [row, row + rows) and columns likewise of op(O), as it is stored. */
static cz_bf16_source part(const cz_gemm_operand *o, size_t row, size_t column, size_t rows, size_t columns)
{
    return (cz_bf16_source){.values = element(o, row, column),
                            .rows = o->trans ? columns : rows,
                            .columns = o->trans ? rows : columns,
                            .stride = o->stride,
                            .bf16 = o->bf16};
}

/* That part of op(O), dense in bf16: in place where it lies so already (then *stride is its own), else in `room`. */
static cz_status shape_operand(const cz_gemm_operand *o, size_t row, size_t column, size_t rows, size_t columns,
                               buffer *room, const uint16_t **out, size_t *stride)
{
    if (o->bf16 && !o->trans) {
        *out = element(o, row, column);
        *stride = o->stride;
        return CZ_OK;
    }
    size_t count, bytes;
    if (!cz_mul_size(rows, columns, &count) || !cz_mul_size(count, sizeof(uint16_t), &bytes))
        return cz_fail(CZ_E_LIMIT, "matrix product is too large");
    const cz_status status = reserve(room, bytes);
    if (status != CZ_OK) return status;
    const cz_bf16_source source = part(o, row, column, rows, columns);
    cz_bf16_pack(&source, o->trans, room->data);
    *out = room->data;
    *stride = columns;
    return CZ_OK;
}

/* The whole of op(B) in the layout that the product wants. */
static cz_status pack_b(cz_gemm *gemm, const cz_gemm_operand *b, const product *p)
{
    cz_status status = CZ_OK;
    dnnl_memory_desc_t from;
    const cz_dnnl_context context = {gemm->engine, gemm->stream};
    const dnnl_dims_t dims = {(dnnl_dim_t)p->k, (dnnl_dim_t)p->n};
    const dnnl_dim_t stride = (dnnl_dim_t)b->stride;
    const dnnl_dims_t strides = {b->trans ? 1 : stride, b->trans ? stride : 1};
    CZ_TRY(reserve(&gemm->b, dnnl_memory_desc_get_size(&p->b_md)));
    CZ_DNNL(dnnl_memory_desc_init_by_strides(&from, 2, dims, b->bf16 ? dnnl_bf16 : dnnl_f32, strides), "gemm operand");
    CZ_TRY(cz_dnnl_reorder_now(&context, &from, b->values, &p->b_md, gemm->b.data));
out:
    return status;
}

/* ---- products ---------------------------------------------------------------------------------------------------- */

static size_t rows_at_once(const cz_gemm_desc *d)
{
    const size_t block = d->block ? d->block : BLOCK;
    /* in one piece when nobody waits for the rows and A needs no room */
    const bool whole = !d->done && d->a.bf16 && !d->a.trans;
    return whole || block > d->m ? d->m : block;
}

static float *rows_of_c(const cz_gemm_desc *d, size_t first)
{
    return d->c_is_block ? d->c : d->c + first * d->ldc;
}

/* B packed once, all of k at once. */
static cz_status product_packed(cz_gemm *gemm, const cz_gemm_desc *d, size_t threads)
{
    cz_status status = CZ_OK;
    const size_t block = rows_at_once(d);
    dnnl_memory_desc_t b_md;
    bool packed = false;
    for (size_t first = 0; first < d->m; first += block) {
        const size_t count = d->m - first < block ? d->m - first : block;
        const uint16_t *a;
        size_t lda;
        product *p = NULL;
        CZ_TRY(shape_operand(&d->a, first, 0, count, d->k, &gemm->a, &a, &lda));
        const product shape = {.m = count,
                               .n = d->n,
                               .k = d->k,
                               .lda = lda,
                               .ldc = d->ldc,
                               .threads = threads,
                               .alpha = d->alpha,
                               .beta = d->beta};
        CZ_TRY(product_get(gemm, &shape, packed ? &b_md : NULL, &p));
        if (!packed) {
            CZ_TRY(pack_b(gemm, &d->b, p));
            b_md = p->b_md;
            packed = true;
        }
        CZ_TRY(product_run(gemm, p, a, gemm->b.data, rows_of_c(d, first)));
        if (d->done) d->done(d->ctx, first, count);
    }
out:
    return status;
}

/* A long sum, in parts of DEPTH: C is added to. B goes in as it lies, or turned and rounded part by part. */
static cz_status product_deep(cz_gemm *gemm, const cz_gemm_desc *d, size_t threads)
{
    cz_status status = CZ_OK;
    const size_t block = d->done || d->m > 4 * BLOCK ? rows_at_once(d) : d->m, most = d->k > DEEP ? DEPTH : d->k;
    for (size_t first = 0; first < d->m; first += block) {
        const size_t count = d->m - first < block ? d->m - first : block;
        for (size_t from = 0; from < d->k; from += most) {
            const size_t depth = d->k - from < most ? d->k - from : most;
            const uint16_t *a, *b;
            size_t lda, ldb;
            product *p = NULL;
            CZ_TRY(shape_operand(&d->a, first, from, count, depth, &gemm->a, &a, &lda));
            CZ_TRY(shape_operand(&d->b, from, 0, depth, d->n, &gemm->b, &b, &ldb));
            const product shape = {.m = count,
                                   .n = d->n,
                                   .k = depth,
                                   .lda = lda,
                                   .ldb = ldb,
                                   .ldc = d->ldc,
                                   .threads = threads,
                                   .alpha = d->alpha,
                                   .beta = from ? 1 : d->beta};
            CZ_TRY(product_get(gemm, &shape, NULL, &p));
            CZ_TRY(product_run(gemm, p, a, b, rows_of_c(d, first)));
        }
        if (d->done) d->done(d->ctx, first, count);
    }
out:
    return status;
}

/* ---- processors without ------------------------------------------------------------------------------------------ */

/* That part of op(O) rounded, as floats. */
static cz_status widen_operand(const cz_gemm_operand *o, size_t row, size_t column, size_t rows, size_t columns,
                               buffer *narrow, buffer *room, const float **out)
{
    cz_status status = CZ_OK;
    const uint16_t *values;
    size_t stride, count, bytes;
    CZ_TRY(shape_operand(o, row, column, rows, columns, narrow, &values, &stride));
    if (!cz_mul_size(rows, columns, &count) || !cz_mul_size(count, sizeof(float), &bytes))
        CZ_TRY(cz_fail(CZ_E_LIMIT, "matrix product is too large"));
    CZ_TRY(reserve(room, bytes));
    float *wide = room->data;
#pragma omp parallel for schedule(static)
    for (size_t r = 0; r < rows; r++) cz_bf16_widen_run(values + r * stride, columns, wide + r * columns);
    *out = wide;
out:
    return status;
}

static cz_status product_plain(cz_gemm *gemm, const cz_gemm_desc *d)
{
    cz_status status = CZ_OK;
    const size_t block = d->block && d->block < d->m ? d->block : d->m < BLOCK ? d->m : BLOCK;
    for (size_t first = 0; first < d->m; first += block) {
        const size_t count = d->m - first < block ? d->m - first : block;
        for (size_t from = 0; from < d->k; from += DEEP) {
            const size_t depth = d->k - from < DEEP ? d->k - from : DEEP;
            const float *a, *b;
            CZ_TRY(widen_operand(&d->a, first, from, count, depth, &gemm->scratch, &gemm->a, &a));
            CZ_TRY(widen_operand(&d->b, from, 0, depth, d->n, &gemm->scratch, &gemm->b, &b));
            CZ_TRY(cz_engine_sgemm(false, false, count, d->n, depth, d->alpha, a, depth, b, d->n, from ? 1 : d->beta,
                                   rows_of_c(d, first), d->ldc));
        }
        if (d->done) d->done(d->ctx, first, count);
    }
out:
    return status;
}

static cz_status check(const cz_gemm_desc *d)
{
    if (omp_in_parallel()) return cz_fail(CZ_E_ARG, "matrix product inside an OpenMP parallel region");
    if (d->c_is_block && (!d->done || d->block == 0))
        return cz_fail(CZ_E_ARG, "matrix product: a block of rows that nobody takes");
    if (d->k == 0) return cz_fail(CZ_E_ARG, "matrix product: no columns to add up");
    if (d->a.stride < (d->a.trans ? d->m : d->k) || d->b.stride < (d->b.trans ? d->k : d->n) || d->ldc < d->n)
        return cz_fail(CZ_E_ARG, "matrix product: a row stride is shorter than its row");
    return CZ_OK;
}

cz_status cz_engine_gemm(cz_gemm *gemm, const cz_gemm_desc *d)
{
    cz_status status = check(d);
    if (status != CZ_OK || d->m == 0 || d->n == 0) return status;
    const size_t threads = (size_t)omp_get_max_threads();
    const bool deep = d->k > DEEP || (d->b.bf16 && !d->b.trans && d->m <= 4 * BLOCK);
    if (gemm->plain) return product_plain(gemm, d);
    return deep ? product_deep(gemm, d, threads) : product_packed(gemm, d, threads);
}
