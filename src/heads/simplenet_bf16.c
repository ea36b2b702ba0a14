/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SimpleNet's matrix products in bf16, forward, backward and second order: the same lines as simplenet.c and
 * simplenet_second.c (the equations are there), with operands in bf16 and everything else as it is. What a product makes is
 * taken up block by block while it is in the cache: noise, batch-norm sums and rounding cost no pass over memory of their own,
 * and what only feeds the next product is never written as floats.
 */
#include "engine/engine.h"
#include "heads/simplenet.h"
#include "tensor/bf16.h"
#include "util/alloc.h"
#include "util/rng.h"

#include <string.h>

/* Rows at once of products that are taken up row by row (measured: 512 cost the first product a third of its speed), and of
 * the sums over rows in the products for the gradients (2048: a fifth slower). */
enum { BLOCK = 2048, DEPTH = 1024 };

void cz_simplenet_bf16_destroy(cz_simplenet_bf16 *b)
{
    if (!b) return;
    cz_engine_gemm_destroy(b->gemm);
    uint16_t *const halves[] = {b->o, b->q2, b->sum, b->turned, b->own_total};
    for (size_t i = 0; i < sizeof halves / sizeof halves[0]; i++) cz_free(halves[i]);
    cz_free(b->block);
    cz_free(b);
}

cz_status cz_simplenet_bf16_create(cz_simplenet_work *w)
{
    /* no product overflows that work_create has not checked */
    const size_t p = w->base.capacity, d = w->base.head->config.width, k = w->base.head->config.hidden;
    const size_t depth = p < DEPTH ? p : DEPTH;
    cz_status status = CZ_E_MEMORY;
    cz_simplenet_bf16 *b = cz_calloc(1, sizeof *b);
    if (!b) return status;
    bool ok = true;
#define TAKE(pointer, count) ok = ok && ((pointer) = cz_alloc_array((count), sizeof *(pointer))) != NULL
    TAKE(b->o, p * d);
    TAKE(b->q2, 2 * p * d);
    TAKE(b->sum, p * k);
    TAKE(b->turned, 2 * depth * k);
    TAKE(b->block, depth * d);
#undef TAKE
    if (ok) status = cz_engine_gemm_create(&b->gemm);
    if (status != CZ_OK) {
        cz_simplenet_bf16_destroy(b);
        return status;
    }
    w->bf16 = b;
    return CZ_OK;
}

/* A keeping workspace needs q- after backward, whose place dL/dq takes else. */
cz_status cz_simplenet_bf16_keep(cz_simplenet_work *w)
{
    w->bf16->own_total = cz_alloc_array(w->base.capacity * w->base.head->config.width, sizeof *w->bf16->own_total);
    return w->bf16->own_total ? CZ_OK : CZ_E_MEMORY;
}

static cz_gemm_operand narrow(const uint16_t *values, size_t stride)
{
    return (cz_gemm_operand){.values = values, .stride = stride, .bf16 = true};
}

static cz_gemm_operand wide(const float *values, size_t stride, bool trans)
{
    return (cz_gemm_operand){.values = values, .stride = stride, .trans = trans};
}

/* ---- forward ------------------------------------------------------------------------------------------------------ */

typedef struct forward_pass {
    const cz_head *head;
    const float *params;
    cz_simplenet_work *w;
    size_t patches;
    cz_rows_eps eps;
} forward_pass;

/* q- = q + eps */
static void take_q(void *ctx, size_t first, size_t count)
{
    const forward_pass *f = ctx;
    const size_t d = f->head->config.width;
    float *q = f->w->q2 + first * d;
    uint16_t *genuine = f->w->bf16->q2 + first * d;
    if (f->head->config.simplenet_compat)
        cz_rows_add(q, count, d, f->params + cz_simplenet_layout(f->head).adaptor_bias);
    cz_rows_noise_bf16(q, first * d, count * d, &f->eps, genuine, genuine + f->patches * d);
}

static void take_z(void *ctx, size_t first, size_t count)
{
    const forward_pass *f = ctx;
    const size_t k = f->head->config.hidden;
    float *z = f->w->z + first * k;
    if (f->head->config.simplenet_compat)
        cz_rows_add(z, count, k, f->params + cz_simplenet_layout(f->head).hidden_bias);
    cz_rows_moments_part(z, first, count, k, f->w->scratch);
}

cz_status cz_simplenet_bf16_forward(const cz_head *head, const float *params, const cz_batch *batch,
                                    const cz_head_noise *noise, cz_simplenet_work *w)
{
    const size_t d = head->config.width, k = head->config.hidden, rows = batch->patches;
    const cz_simplenet_parts p = cz_simplenet_layout(head);
    cz_simplenet_bf16 *b = w->bf16;
    forward_pass f = {head, params, w, rows, {.std = (float)head->config.noise_std, .injected = noise->injected}};
    cz_status status = CZ_OK;
    cz_rng_init(&f.eps.rng, noise->seed, CZ_RNG_NOISE, noise->step, noise->task);
    cz_bf16_round(batch->features, rows * d, b->o);
    const cz_gemm_desc adaptor = {.m = rows,
                                  .n = d,
                                  .k = d,
                                  .alpha = 1,
                                  .a = narrow(b->o, d),
                                  .b = wide(params + p.adaptor, d, true),
                                  .c = w->q2,
                                  .ldc = d,
                                  .done = take_q,
                                  .ctx = &f,
                                  .block = BLOCK};
    CZ_TRY(cz_engine_gemm(b->gemm, &adaptor));
    const cz_gemm_desc hidden = {.m = 2 * rows,
                                 .n = k,
                                 .k = d,
                                 .alpha = 1,
                                 .a = narrow(b->q2, d),
                                 .b = wide(params + p.hidden, d, true),
                                 .c = w->z,
                                 .ldc = k,
                                 .done = take_z,
                                 .ctx = &f,
                                 .block = BLOCK};
    CZ_TRY(cz_engine_gemm(b->gemm, &hidden));
    cz_rows_moments_merge(2 * rows, k, w->scratch, w->mean64, w->m264);
out:
    return status;
}

/* ---- backward ----------------------------------------------------------------------------------------------------- */

/* out [m, d] (+)= turned [m, depth] times depth rows of features or embeddings */
static cz_status add_product(cz_simplenet_bf16 *b, const uint16_t *turned, size_t m, const uint16_t *rows, size_t d,
                             size_t depth, bool first, float *out)
{
    const cz_gemm_desc desc = {.m = m,
                               .n = d,
                               .k = depth,
                               .alpha = 1,
                               .beta = first ? 0 : 1,
                               .a = narrow(turned, depth),
                               .b = narrow(rows, d),
                               .c = out,
                               .ldc = d};
    return cz_engine_gemm(b->gemm, &desc);
}

/* dW1 = dz^T [q; q-], dz made and used up part by part */
static cz_status hidden_backward(const cz_norm *norm, size_t half, size_t d, cz_simplenet_work *w, float *out)
{
    cz_simplenet_bf16 *b = w->bf16;
    const size_t k = norm->columns;
    cz_status status = CZ_OK;
    cz_rows_backward_coefficients(norm, half, w->e1, w->e2, w->coefficients);
    for (size_t first = 0; first < half; first += DEPTH) {
        const size_t count = half - first < DEPTH ? half - first : DEPTH;
        uint16_t *noised = b->turned + count * k;
        cz_rows_backward_bf16(norm, w->coefficients, w->z, w->g, half, first, count, b->turned, noised,
                              b->sum + first * k);
        CZ_TRY(add_product(b, b->turned, k, b->q2 + first * d, d, count, first == 0, out));
        CZ_TRY(add_product(b, noised, k, b->q2 + (half + first) * d, d, count, false, out));
    }
out:
    return status;
}

typedef struct total_pass {
    const cz_simplenet_work *w;
    const float *dq; /* NULL: none */
    size_t d;
    uint16_t *total;    /* parts of DEPTH rows, each turned: [D, rows] */
    double *bias, *row; /* NULL, or [D] sum of dL/dq; scratch */
} total_pass;

static void take_total(void *ctx, size_t first, size_t count)
{
    const total_pass *t = ctx;
    const size_t d = t->d;
    float *block = t->w->bf16->block;
    const float *dq = t->dq ? t->dq + first * d : NULL;
    cz_rows_turn_bf16(block, dq, count, d, t->total + first * d);
    if (!t->bias) return;
    cz_rows_sum(block, count, d, t->w->scratch, t->row);
    for (size_t c = 0; c < d; c++) t->bias[c] += t->row[c];
    if (!dq) return;
    cz_rows_sum(dq, count, d, t->w->scratch, t->row);
    for (size_t c = 0; c < d; c++) t->bias[c] += t->row[c];
}

/* dq = W1^T (dz + dz-) + injected, then dA = dq^T o */
static cz_status adaptor_backward(const cz_head *head, const float *params, size_t half, const float *dq,
                                  cz_simplenet_work *w, float *grads)
{
    const size_t d = head->config.width, k = head->config.hidden;
    const cz_simplenet_parts p = cz_simplenet_layout(head);
    cz_simplenet_bf16 *b = w->bf16;
    cz_status status = CZ_OK;
    total_pass t = {w, dq, d, b->own_total ? b->own_total : b->q2 + half * d, NULL, w->column};
    if (head->config.simplenet_compat) {
        t.bias = cz_calloc(d, sizeof *t.bias);
        if (!t.bias) return CZ_E_MEMORY;
    }
    const cz_gemm_desc total = {.m = half,
                                .n = d,
                                .k = k,
                                .alpha = 1,
                                .a = narrow(b->sum, k),
                                .b = wide(params + p.hidden, d, false),
                                .c = b->block,
                                .ldc = d,
                                .c_is_block = true,
                                .done = take_total,
                                .ctx = &t,
                                .block = DEPTH};
    CZ_TRY(cz_engine_gemm(b->gemm, &total));
    for (size_t first = 0; first < half; first += DEPTH) {
        const size_t count = half - first < DEPTH ? half - first : DEPTH;
        CZ_TRY(add_product(b, t.total + first * d, d, b->o + first * d, d, count, first == 0, grads + p.adaptor));
    }
    for (size_t c = 0; t.bias && c < d; c++) grads[p.adaptor_bias + c] = (float)t.bias[c];
out:
    cz_free(t.bias);
    return status;
}

cz_status cz_simplenet_bf16_backward(const cz_head *head, const float *params, size_t half, const float *dq,
                                     cz_simplenet_work *w, float *grads)
{
    const cz_simplenet_parts p = cz_simplenet_layout(head);
    const cz_norm norm = cz_simplenet_norm(head, params, w);
    cz_status status = CZ_OK;
    CZ_TRY(hidden_backward(&norm, half, head->config.width, w, grads + p.hidden));
    if (head->config.simplenet_compat) { /* db1 = sum of dz */
        cz_rows_sum_bf16(w->bf16->sum, half, norm.columns, w->scratch, w->column);
        for (size_t c = 0; c < norm.columns; c++) grads[p.hidden_bias + c] = (float)w->column[c];
    }
    CZ_TRY(adaptor_backward(head, params, half, dq, w, grads));
out:
    return status;
}

/* ---- second order (simplenet_second.c) ---------------------------------------------------------------------------- */

/* Rq = VA o; Rz = W1 Rq + V1 q, of both halves */
cz_status cz_simplenet_bf16_tangent(const cz_head *head, const float *params, size_t half, const float *direction,
                                    cz_simplenet_work *w)
{
    const size_t d = head->config.width, k = head->config.hidden;
    const cz_simplenet_parts p = cz_simplenet_layout(head);
    cz_simplenet_bf16 *b = w->bf16;
    cz_simplenet_second *s = w->second;
    cz_status status = CZ_OK;
    const cz_gemm_desc rq = {.m = half,
                             .n = d,
                             .k = d,
                             .alpha = 1,
                             .a = narrow(b->o, d),
                             .b = wide(direction + p.adaptor, d, true),
                             .c = s->rq,
                             .ldc = d};
    CZ_TRY(cz_engine_gemm(b->gemm, &rq));
    if (head->config.simplenet_compat) cz_rows_add(s->rq, half, d, direction + p.adaptor_bias);
    const cz_gemm_desc rz = {.m = half,
                             .n = k,
                             .k = d,
                             .alpha = 1,
                             .a = wide(s->rq, d, false),
                             .b = wide(params + p.hidden, d, true),
                             .c = s->rz,
                             .ldc = k};
    CZ_TRY(cz_engine_gemm(b->gemm, &rz));
    memcpy(s->rz + half * k, s->rz, half * k * sizeof *s->rz);
    const cz_gemm_desc own = {.m = 2 * half,
                              .n = k,
                              .k = d,
                              .alpha = 1,
                              .beta = 1,
                              .a = narrow(b->q2, d),
                              .b = wide(direction + p.hidden, d, true),
                              .c = s->rz,
                              .ldc = k};
    CZ_TRY(cz_engine_gemm(b->gemm, &own));
out:
    return status;
}

/* dW1 = Rdz^T [q; q-] + (dz + dz-)^T Rq, into out; then what becomes of A */
cz_status cz_simplenet_bf16_hessian(const cz_head *head, const float *params, size_t half, const float *direction,
                                    const float *tangent_dq, cz_simplenet_work *w, float *out)
{
    const size_t d = head->config.width, k = head->config.hidden;
    const cz_simplenet_parts p = cz_simplenet_layout(head);
    cz_simplenet_bf16 *b = w->bf16;
    cz_simplenet_second *s = w->second;
    const cz_gemm_operand sum = {.values = b->sum, .stride = k, .bf16 = true};
    cz_gemm_operand turned_sum = sum;
    cz_status status = CZ_OK;
    turned_sum.trans = true;
    cz_gemm_desc dw1 = {.m = k,
                        .n = d,
                        .k = 2 * half,
                        .alpha = 1,
                        .a = wide(s->dz, k, true),
                        .b = narrow(b->q2, d),
                        .c = out + p.hidden,
                        .ldc = d};
    CZ_TRY(cz_engine_gemm(b->gemm, &dw1));
    dw1.k = half;
    dw1.beta = 1;
    dw1.a = turned_sum;
    dw1.b = wide(s->rq, d, false);
    CZ_TRY(cz_engine_gemm(b->gemm, &dw1));
    /* dq = W1^T R(dz + dz-) + V1^T (dz + dz-) + injected */
    if (tangent_dq) memcpy(s->total, tangent_dq, half * d * sizeof *s->total);
    cz_gemm_desc dq = {.m = half,
                       .n = d,
                       .k = k,
                       .alpha = 1,
                       .beta = tangent_dq ? 1 : 0,
                       .a = wide(s->sum, k, false),
                       .b = wide(params + p.hidden, d, false),
                       .c = s->total,
                       .ldc = d};
    CZ_TRY(cz_engine_gemm(b->gemm, &dq));
    dq.beta = 1;
    dq.a = sum;
    dq.b = wide(direction + p.hidden, d, false);
    CZ_TRY(cz_engine_gemm(b->gemm, &dq));
    const cz_gemm_desc da = {.m = d,
                             .n = d,
                             .k = half,
                             .alpha = 1,
                             .a = wide(s->total, d, true),
                             .b = narrow(b->o, d),
                             .c = out + p.adaptor,
                             .ldc = d};
    CZ_TRY(cz_engine_gemm(b->gemm, &da));
out:
    return status;
}
