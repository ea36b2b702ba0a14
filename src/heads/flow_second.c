/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The flow's Hessian-vector product, forward over reverse: every line of forward and backward, differentiated along a
 * direction V of theta. Rx is the tangent of x; the derivation, with the same names, is in docs/math/flow.md. The
 * derivative of relu is locally constant, the soft clamp's is not. Mean and scale are constants: their part of V is not
 * read.
 */
#include "engine/engine.h"
#include "heads/flow_internal.h"
#include "util/alloc.h"

#include <string.h>

void cz_flow_second_destroy(cz_flow_second *second)
{
    if (!second) return;
    float *const floats[] = {second->rx,     second->rh,    second->rout, second->rdx[0],
                             second->rdx[1], second->rdout, second->rdh};
    for (size_t i = 0; i < sizeof floats / sizeof floats[0]; i++) cz_free(floats[i]);
    cz_free(second);
}

cz_status cz_flow_work_second_order(cz_head_work *work)
{
    /* no product overflows that the trace has not checked */
    cz_flow_work *w = (cz_flow_work *)work;
    const cz_flow_plan *plan = cz_flow_plan_of(work->head);
    const size_t p = work->capacity, f = plan->f, k = plan->hidden, m2 = 2 * plan->moved, b = plan->blocks;
    cz_flow_second *second = cz_calloc(1, sizeof *second);
    float *dout = NULL, *dh = NULL;
    if (!second) return CZ_E_MEMORY;
    bool ok = true;
#define TAKE(pointer, count) ok = ok && ((pointer) = cz_alloc_array((count), sizeof *(pointer))) != NULL
    TAKE(second->rx, (b + 1) * p * f);
    TAKE(second->rh, b * p * k);
    TAKE(second->rout, b * p * m2);
    TAKE(second->rdx[0], p * f);
    TAKE(second->rdx[1], p * f);
    TAKE(second->rdout, p * m2);
    TAKE(second->rdh, p * k);
    TAKE(dout, b * p * m2);
    TAKE(dh, b * p * k);
#undef TAKE
    if (!ok) {
        cz_free(dout);
        cz_free(dh);
        cz_flow_second_destroy(second);
        return CZ_E_MEMORY;
    }
    cz_free(w->dout);
    cz_free(w->dh);
    w->dout = dout;
    w->dh = dh;
    w->second = second;
    return CZ_OK;
}

/* h = relu(W1 x1 + b1): Rh = h' (W1 Rx1 + V1 x1 + Vb1). [s_raw, t] = W2 h + b2: R[s_raw, t] = W2 Rh + V2 h + Vb2. Rx of the
 * first block is 0. */
static cz_status block_tangent(const cz_flow_plan *plan, const float *params, const float *direction, size_t block,
                               size_t rows, cz_flow_work *w)
{
    const size_t a = plan->kept, m2 = 2 * plan->moved, k = plan->hidden, f = plan->f, p = w->base.capacity;
    const cz_flow_halves halves = cz_flow_halves_of(plan);
    const cz_flow_const_net net = cz_flow_const_net_at(plan, params, block);
    const cz_flow_const_net v = cz_flow_const_net_at(plan, direction, block);
    const float *x = cz_flow_x(&w->trace, plan, block), *h = cz_flow_h(&w->trace, plan, block);
    const uint32_t *place = block + 1 < plan->blocks ? plan->place + (block + 1) * f : NULL;
    float *rx = w->second->rx + block * p * f, *rh = w->second->rh + block * p * k;
    float *rout = w->second->rout + block * p * m2;
    cz_status status = CZ_OK;
    CZ_TRY(cz_engine_sgemm(false, true, rows, k, a, 1, x, f, v.w1, a, 0, rh, k));
    if (block > 0) CZ_TRY(cz_engine_sgemm(false, true, rows, k, a, 1, rx, f, net.w1, a, 1, rh, k));
    cz_flow_rows_relu_tangent(h, rows, k, v.b1, rh);
    CZ_TRY(cz_engine_sgemm(false, true, rows, m2, k, 1, h, k, v.w2, k, 0, rout, m2));
    CZ_TRY(cz_engine_sgemm(false, true, rows, m2, k, 1, rh, k, net.w2, k, 1, rout, m2));
    cz_flow_rows_couple_tangent(&halves, x, cz_flow_out(&w->trace, plan, block), rx, rout, rows, v.b2, place,
                                rx + p * f);
out:
    return status;
}

cz_status cz_flow_tangent(const cz_head *head, const float *params, const cz_batch *batch, const float *direction,
                          cz_head_work *work, float *tangent_q)
{
    (void)tangent_q; /* there is no embedding */
    const cz_flow_plan *plan = cz_flow_plan_of(head);
    cz_flow_work *w = (cz_flow_work *)work;
    cz_status status = CZ_OK;
    memset(w->second->rx, 0, batch->patches * plan->f * sizeof *w->second->rx); /* the features are constants */
    for (size_t b = 0; b < plan->blocks; b++) CZ_TRY(block_tangent(plan, params, direction, b, batch->patches, w));
out:
    return status;
}

/* dW2 = dout^T h, dh = h' (W2^T dout), dW1 = dh^T x1, dx1 = dy1 + W1^T dh, each by the product rule; rd [rows, F]: tangent of
 * dL/dy becomes that of dL/dx. */
static cz_status block_hessian(const cz_flow_plan *plan, const float *params, const float *direction, size_t block,
                               size_t rows, cz_flow_work *w, float *rd, float *out)
{
    const size_t a = plan->kept, m2 = 2 * plan->moved, k = plan->hidden, f = plan->f, p = w->base.capacity;
    const cz_flow_halves halves = cz_flow_halves_of(plan);
    const cz_flow_const_net net = cz_flow_const_net_at(plan, params, block);
    const cz_flow_const_net v = cz_flow_const_net_at(plan, direction, block);
    const cz_flow_net grad = cz_flow_net_at(plan, out, block);
    const cz_flow_second *s = w->second;
    const float *x = cz_flow_x(&w->trace, plan, block), *h = cz_flow_h(&w->trace, plan, block);
    const float *rx = s->rx + block * p * f, *rh = s->rh + block * p * k;
    const float *dout = cz_flow_dout(w, plan, block), *dh = cz_flow_dh(w, plan, block);
    const cz_flow_moved moved = {x, cz_flow_out(&w->trace, plan, block), dout, w->g, rx, s->rout + block * p * m2};
    cz_status status = CZ_OK;
    cz_flow_rows_couple_hessian(&halves, &moved, rows, rd, s->rdout);
    cz_flow_sum_rows(w, s->rdout, rows, m2, grad.b2);
    CZ_TRY(cz_engine_sgemm(true, false, m2, k, rows, 1, s->rdout, m2, h, k, 0, grad.w2, k));
    CZ_TRY(cz_engine_sgemm(true, false, m2, k, rows, 1, dout, m2, rh, k, 1, grad.w2, k));
    CZ_TRY(cz_engine_sgemm(false, false, rows, k, m2, 1, s->rdout, m2, net.w2, k, 0, s->rdh, k));
    CZ_TRY(cz_engine_sgemm(false, false, rows, k, m2, 1, dout, m2, v.w2, k, 1, s->rdh, k));
    cz_flow_rows_relu_backward(h, rows * k, s->rdh);
    cz_flow_sum_rows(w, s->rdh, rows, k, grad.b1);
    CZ_TRY(cz_engine_sgemm(true, false, k, a, rows, 1, s->rdh, k, x, f, 0, grad.w1, a));
    if (block == 0) goto out; /* Rx = 0, and nothing is before it */
    CZ_TRY(cz_engine_sgemm(true, false, k, a, rows, 1, dh, k, rx, f, 1, grad.w1, a));
    CZ_TRY(cz_engine_sgemm(false, false, rows, a, k, 1, s->rdh, k, net.w1, a, 1, rd, f));
    CZ_TRY(cz_engine_sgemm(false, false, rows, a, k, 1, dh, k, v.w1, a, 1, rd, f));
out:
    return status;
}

cz_status cz_flow_hessian(const cz_head *head, const float *params, const cz_batch *batch, const float *direction,
                          const float *dq, const float *tangent_dq, cz_head_work *work, float *out)
{
    (void)dq;
    (void)tangent_dq;
    const cz_flow_plan *plan = cz_flow_plan_of(head);
    cz_flow_work *w = (cz_flow_work *)work;
    const size_t rows = batch->patches, f = plan->f;
    float *rd = w->second->rdx[0], *before = w->second->rdx[1];
    cz_status status = CZ_OK;
    /* dL/dz = g z */
    cz_flow_rows_scale(w->second->rx + plan->blocks * work->capacity * f, rows, f, w->g, rd);
    for (size_t b = plan->blocks; b-- > 0;) {
        CZ_TRY(block_hessian(plan, params, direction, b, rows, w, rd, out));
        if (b == 0) break;
        cz_flow_rows_gather(rd, rows, f, plan->place + b * f, before);
        float *const other = rd;
        rd = before;
        before = other;
    }
    memset(out + plan->mean, 0, 2 * f * sizeof *out);
out:
    return status;
}
