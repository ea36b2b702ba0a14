/* SPDX-License-Identifier: Apache-2.0 */
/* The flow's gradient, blocks from the last to the first. Every line names the line of the forward pass that it undoes. */
#include "engine/engine.h"
#include "heads/flow_internal.h"
#include "heads/rows.h"

#include <string.h>

void cz_flow_sum_rows(cz_flow_work *w, const float *x, size_t rows, size_t columns, float *out)
{
    cz_rows_sum(x, rows, columns, w->scratch, w->column);
    for (size_t c = 0; c < columns; c++) out[c] = (float)w->column[c];
}

/* L = mean over P of w_i (-log p_i) / F */
static void loss_backward(const cz_flow_plan *plan, const cz_batch *batch, float *g)
{
    const double share = 1.0 / ((double)batch->patches * (double)plan->f);
    for (size_t i = 0; i < batch->patches; i++) {
        const bool left_out = batch->target && batch->target[i] == CZ_TARGET_ANOMALOUS;
        g[i] = left_out ? 0 : (float)(share * (batch->weight ? (double)batch->weight[i] : 1));
    }
}

/* d [rows, F]: dL/dy of the block's output becomes dL/dx of its input; grads: the block's */
static cz_status block_backward(const cz_flow_plan *plan, const float *params, size_t block, size_t rows,
                                cz_flow_work *w, float *d, float *grads)
{
    const size_t a = plan->kept, m = plan->moved, k = plan->hidden, f = plan->f;
    const cz_flow_halves halves = cz_flow_halves_of(plan);
    const cz_flow_const_net net = cz_flow_const_net_at(plan, params, block);
    const cz_flow_net grad = cz_flow_net_at(plan, grads, block);
    const float *x = cz_flow_x(&w->trace, plan, block), *h = cz_flow_h(&w->trace, plan, block);
    float *dout = cz_flow_dout(w, plan, block), *dh = cz_flow_dh(w, plan, block);
    cz_status status = CZ_OK;
    /* y1 = x1, y2 = x2 exp(s) + t */
    cz_flow_rows_couple_backward(&halves, x, cz_flow_out(&w->trace, plan, block), w->g, rows, d, dout);
    /* [s_raw, t] = W2 h + b2 */
    cz_flow_sum_rows(w, dout, rows, 2 * m, grad.b2);
    CZ_TRY(cz_engine_sgemm(true, false, 2 * m, k, rows, 1, dout, 2 * m, h, k, 0, grad.w2, k));
    CZ_TRY(cz_engine_sgemm(false, false, rows, k, 2 * m, 1, dout, 2 * m, net.w2, k, 0, dh, k));
    /* h = relu(W1 x1 + b1) */
    cz_flow_rows_relu_backward(h, rows * k, dh);
    cz_flow_sum_rows(w, dh, rows, k, grad.b1);
    CZ_TRY(cz_engine_sgemm(true, false, k, a, rows, 1, dh, k, x, f, 0, grad.w1, a));
    if (block > 0) CZ_TRY(cz_engine_sgemm(false, false, rows, a, k, 1, dh, k, net.w1, a, 1, d, f));
out:
    return status;
}

cz_status cz_flow_backward(const cz_head *head, const float *params, const cz_batch *batch, const float *dq,
                           cz_head_work *base, float *grads)
{
    (void)dq; /* there is no embedding */
    const cz_flow_plan *plan = cz_flow_plan_of(head);
    cz_flow_work *w = (cz_flow_work *)base;
    const size_t rows = batch->patches, f = plan->f;
    float *d = w->dx[0], *before = w->dx[1];
    cz_status status = CZ_OK;
    loss_backward(plan, batch, w->g);
    /* -log p = |z|^2 / 2 - … */
    cz_flow_rows_scale(cz_flow_x(&w->trace, plan, plan->blocks), rows, f, w->g, d);
    for (size_t b = plan->blocks; b-- > 0;) {
        CZ_TRY(block_backward(plan, params, b, rows, w, d, grads));
        if (b == 0) break;
        cz_flow_rows_gather(d, rows, f, plan->place + b * f, before); /* x = P y */
        float *const other = d;
        d = before;
        before = other;
    }
    memset(grads + plan->mean, 0, 2 * f * sizeof *grads); /* measured, not learned */
out:
    return status;
}
