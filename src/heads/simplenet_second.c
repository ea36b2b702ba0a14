/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SimpleNet's Hessian-vector product, forward over reverse: every line of forward and backward, differentiated along
 * a direction V = (VA, V1, Vs, Vb, Vw) of theta = (A, W1, scale, shift, w2). Rx is the tangent of x. The derivation, step
 * by step and with the same names, is docs/math/second-order.md. The hinge's and LeakyReLU's derivatives are locally
 * constant, so that dL/dD has no tangent.
 */
#include "engine/engine.h"
#include "heads/rows_second.h"
#include "heads/simplenet.h"
#include "util/alloc.h"

#include <string.h>

void cz_simplenet_second_destroy(cz_simplenet_second *second)
{
    if (!second) return;
    float *const floats[] = {second->dz, second->total, second->sum, second->rq, second->rz, second->coefficients};
    double *const doubles[] = {second->m1, second->m2, second->e3, second->scratch};
    for (size_t i = 0; i < sizeof floats / sizeof floats[0]; i++) cz_free(floats[i]);
    for (size_t i = 0; i < sizeof doubles / sizeof doubles[0]; i++) cz_free(doubles[i]);
    cz_free(second);
}

cz_status cz_simplenet_work_second_order(cz_head_work *work)
{
    /* no product overflows that work_create has not checked */
    const size_t p = work->capacity, d = work->head->config.width, k = work->head->config.hidden;
    cz_simplenet_second *second = cz_calloc(1, sizeof *second);
    if (!second) return CZ_E_MEMORY;
    bool ok = true;
#define TAKE(pointer, count) ok = ok && ((pointer) = cz_alloc_array((count), sizeof *(pointer))) != NULL
    TAKE(second->dz, 2 * p * k);
    TAKE(second->total, p * d);
    TAKE(second->sum, p * k);
    TAKE(second->rq, p * d);
    TAKE(second->rz, 2 * p * k);
    TAKE(second->m1, k);
    TAKE(second->m2, k);
    TAKE(second->e3, k);
    TAKE(second->coefficients, CZ_ROWS_TANGENT_COEFFICIENTS * k);
    TAKE(second->scratch, cz_rows_tangent_scratch(2 * p, k));
#undef TAKE
    if (!ok) {
        cz_simplenet_second_destroy(second);
        return CZ_E_MEMORY;
    }
    ((cz_simplenet_work *)work)->second = second;
    return ((cz_simplenet_work *)work)->bf16 ? cz_simplenet_bf16_keep((cz_simplenet_work *)work) : CZ_OK;
}

/* q = A o: Rq = VA o. z = W1 q: Rz = W1 Rq + V1 q, of both halves. A tangent of b1 would add the same row to all of Rz, which
 * batch norm cancels. */
static cz_status tangent_products(const cz_head *head, const float *params, const cz_batch *batch,
                                  const float *direction, cz_simplenet_work *w)
{
    cz_simplenet_second *s = w->second;
    const size_t d = head->config.width, k = head->config.hidden, half = batch->patches;
    const cz_simplenet_parts p = cz_simplenet_layout(head);
    cz_status status = CZ_OK;
    CZ_TRY(cz_engine_sgemm(false, true, half, d, d, 1, batch->features, d, direction + p.adaptor, d, 0, s->rq, d));
    if (head->config.simplenet_compat) cz_rows_add(s->rq, half, d, direction + p.adaptor_bias);
    CZ_TRY(cz_engine_sgemm(false, true, half, k, d, 1, s->rq, d, params + p.hidden, d, 0, s->rz, k));
    memcpy(s->rz + half * k, s->rz, half * k * sizeof *s->rz);
    CZ_TRY(cz_engine_sgemm(false, true, 2 * half, k, d, 1, w->q2, d, direction + p.hidden, d, 1, s->rz, k));
out:
    return status;
}

cz_status cz_simplenet_tangent(const cz_head *head, const float *params, const cz_batch *batch, const float *direction,
                               cz_head_work *work, float *tangent_q)
{
    cz_simplenet_work *w = (cz_simplenet_work *)work;
    cz_simplenet_second *s = w->second;
    const size_t half = batch->patches;
    const cz_norm norm = cz_simplenet_norm(head, params, w);
    cz_status status = CZ_OK;
    CZ_TRY(w->bf16 ? cz_simplenet_bf16_tangent(head, params, half, direction, w)
                   : tangent_products(head, params, batch, direction, w));
    memcpy(tangent_q, s->rq, half * head->config.width * sizeof *tangent_q);
    cz_rows_tangent_sums(&norm, w->z, s->rz, w->g, 2 * half, w->e1, w->e2, s->scratch, s->m1, s->m2, s->e3);
out:
    return status;
}

static void sums_to_float(const double *sums, size_t count, float *out)
{
    for (size_t i = 0; i < count; i++) out[i] = (float)sums[i];
}

/* dshift = w2 e1, dscale = w2 e2, dw2 = scale e2 + shift e1, where e1 has no tangent and that of e2 is e3. Leaves the tangent
 * of dL/dz in dz. */
static void discriminator_hessian(const cz_head *head, const float *params, const float *direction, size_t half,
                                  cz_simplenet_work *w, float *out)
{
    cz_simplenet_second *s = w->second;
    const cz_simplenet_parts p = cz_simplenet_layout(head);
    const cz_norm norm = cz_simplenet_norm(head, params, w);
    const cz_norm_tangent moved = {direction + p.scale, direction + p.output};
    const cz_rows_sums sums = {w->e1, w->e2, s->e3, s->m1, s->m2};
    const float *vb = direction + p.shift;
    for (size_t c = 0; c < norm.columns; c++) {
        const double vs = (double)moved.scale[c], vw = (double)moved.w2[c];
        out[p.shift + c] = (float)(vw * w->e1[c]);
        out[p.scale + c] = (float)(vw * w->e2[c] + (double)norm.w2[c] * s->e3[c]);
        out[p.output + c] = (float)(vs * w->e2[c] + (double)norm.scale[c] * s->e3[c] + (double)vb[c] * w->e1[c]);
    }
    cz_rows_tangent_backward(&norm, &moved, &sums, w->z, s->rz, w->g, half, s->coefficients, s->dz, s->sum);
}

/* dW1 = dz^T [q; q-]; the halves of [q; q-] have the same tangent, so dz is summed over them before that product. Then
 * dq = W1^T (dz + dz-) + injected, dA = dq^T o. */
static cz_status hessian_products(const cz_head *head, const float *params, const cz_batch *batch,
                                  const float *direction, const float *tangent_dq, cz_simplenet_work *w, float *out)
{
    cz_simplenet_second *s = w->second;
    const size_t d = head->config.width, k = head->config.hidden, half = batch->patches;
    const cz_simplenet_parts p = cz_simplenet_layout(head);
    float *dw1 = out + p.hidden;
    cz_status status = CZ_OK;
    CZ_TRY(cz_engine_sgemm(true, false, k, d, 2 * half, 1, s->dz, k, w->q2, d, 0, dw1, d));
    CZ_TRY(cz_engine_sgemm(true, false, k, d, half, 1, w->sum, k, s->rq, d, 1, dw1, d));
    if (tangent_dq) memcpy(s->total, tangent_dq, half * d * sizeof *s->total);
    CZ_TRY(
        cz_engine_sgemm(false, false, half, d, k, 1, s->sum, k, params + p.hidden, d, tangent_dq ? 1 : 0, s->total, d));
    CZ_TRY(cz_engine_sgemm(false, false, half, d, k, 1, w->sum, k, direction + p.hidden, d, 1, s->total, d));
    CZ_TRY(cz_engine_sgemm(true, false, d, d, half, 1, s->total, d, batch->features, d, 0, out + p.adaptor, d));
out:
    return status;
}

cz_status cz_simplenet_hessian(const cz_head *head, const float *params, const cz_batch *batch, const float *direction,
                               const float *dq, const float *tangent_dq, cz_head_work *work, float *out)
{
    (void)dq; /* q is linear in A and b: the injected gradient matters through its tangent only */
    cz_simplenet_work *w = (cz_simplenet_work *)work;
    cz_simplenet_second *s = w->second;
    const size_t d = head->config.width, k = head->config.hidden, half = batch->patches;
    const cz_simplenet_parts p = cz_simplenet_layout(head);
    cz_status status = CZ_OK;
    discriminator_hessian(head, params, direction, half, w, out);
    CZ_TRY(w->bf16 ? cz_simplenet_bf16_hessian(head, params, half, direction, tangent_dq, w, out)
                   : hessian_products(head, params, batch, direction, tangent_dq, w, out));
    if (head->config.simplenet_compat) { /* db1 = sum of dz, db = sum of dq */
        cz_rows_sum(s->sum, half, k, w->scratch, w->column);
        sums_to_float(w->column, k, out + p.hidden_bias);
        cz_rows_sum(s->total, half, d, w->scratch, w->column);
        sums_to_float(w->column, d, out + p.adaptor_bias);
    }
out:
    return status;
}
