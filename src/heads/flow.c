/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A normalising flow on patch features (Dinh, Sohl-Dickstein & Bengio, "Density estimation using Real NVP", 2017), as
 * docs/math/flow.md states it:
 *   x = R o                                      fixed orthonormal rows                R [F, D]
 *   y_0 = (x - mean) / scale                     measured over the training set by the full pass, which comes first
 *   block: x1, x2 = halves of P y, y1 = x1, y2 = x2 exp(s) + t, [s_raw, t] = W2 relu(W1 x1 + b1) + b2,
 *          s = clamp 2 / pi atan(s_raw / clamp)
 *   -log p(x) = |z|^2 / 2 + F / 2 log 2 pi - sum of all s + sum of log scale
 * Loss and score of a patch are -log p(x) / F, in nats a dimension. There are no batch statistics, no noise and no
 * embedding. A patch known to be anomalous has a score but is left out of the loss (its loss and gradient are 0): the
 * likelihood of what it is not has no lower bound to be trained towards.
 * All matrix products are fp32, whatever config.precision says.
 */
#include "engine/engine.h"
#include "heads/flow_internal.h"
#include "heads/heads.h"
#include "heads/rows.h"
#include "util/alloc.h"
#include "util/rng.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { CHUNK = 2048 }; /* rows at once in a full pass */

/* A dimension's measured standard deviation is at least this share of the root mean square over dimensions; features that
 * move by less than LEAST_MOVED of their size do not move at all, but for rounding. */
static const double LEAST_SCALE = 1e-3, LEAST_MOVED = 1e-6;

static void teardown(cz_head *head)
{
    cz_flow_plan_free(head->own);
}

static void add_block(cz_head *head, size_t block, const char *layer, size_t rows, size_t columns)
{
    char name[64];
    (void)snprintf(name, sizeof name, "block%zu.%s.weight", block, layer);
    cz_head_add_view(head->param, &head->param_views, &head->param_count, name, rows, columns, true);
    (void)snprintf(name, sizeof name, "block%zu.%s.bias", block, layer);
    cz_head_add_view(head->param, &head->param_views, &head->param_count, name, rows, 0, false);
}

static cz_status setup(cz_head *head)
{
    cz_flow_plan *plan = NULL;
    const cz_status status = cz_flow_plan_make(&head->config, &plan);
    head->own = plan;
    if (status != CZ_OK) return status;
    for (size_t b = 0; b < plan->blocks; b++) {
        add_block(head, b, "first", plan->hidden, plan->kept);
        add_block(head, b, "second", 2 * plan->moved, plan->hidden);
    }
    head->groups = 1;
    head->group[0] = (cz_head_group){0, head->param_count, head->config.lr_flow, 0, 0};
    cz_head_add_view(head->param, &head->param_views, &head->param_count, "input.mean", plan->f, 0, false);
    cz_head_add_view(head->param, &head->param_views, &head->param_count, "input.scale", plan->f, 0, false);
    head->param[head->param_views - 2].fixed = head->param[head->param_views - 1].fixed = true;
    return CZ_OK;
}

/* The last layers start at 0: every block is then its permutation alone. */
static void init(const cz_head *head, uint64_t seed, float *params, float *state)
{
    (void)state;
    const cz_flow_plan *plan = cz_flow_plan_of(head);
    memset(params, 0, head->param_count * sizeof *params);
    for (size_t b = 0; b < plan->blocks; b++) {
        cz_rng rng;
        cz_rng_init(&rng, seed, CZ_RNG_INIT, 0, (uint32_t)b);
        cz_rng_normal_fill(&rng, 0, cz_flow_net_at(plan, params, b).w1, plan->hidden * plan->kept,
                           (float)sqrt(2.0 / (double)(plan->hidden + plan->kept)));
    }
    for (size_t c = 0; c < plan->f; c++) params[plan->scale + c] = 1;
}

/* ---- training ------------------------------------------------------------------------------------------------- */

static void work_destroy(cz_head_work *base)
{
    cz_flow_work *w = (cz_flow_work *)base;
    float *const floats[] = {base->score, base->loss, w->g, w->dx[0], w->dx[1], w->dout, w->dh};
    for (size_t i = 0; i < sizeof floats / sizeof floats[0]; i++) cz_free(floats[i]);
    cz_free(w->column);
    cz_free(w->scratch);
    cz_flow_trace_free(&w->trace);
    cz_flow_second_destroy(w->second);
    cz_free(w);
}

static cz_status work_create(const cz_head *head, size_t capacity, cz_head_work **out)
{
    const cz_flow_plan *plan = cz_flow_plan_of(head);
    const size_t wide = plan->hidden > 2 * plan->moved ? plan->hidden : 2 * plan->moved;
    cz_flow_work *w = cz_calloc(1, sizeof *w);
    if (!w) return CZ_E_MEMORY;
    w->base.head = head;
    w->base.capacity = capacity;
    cz_status status = cz_flow_trace_make(plan, capacity, true, &w->trace);
    bool ok = status == CZ_OK;
#define TAKE(pointer, count) ok = ok && ((pointer) = cz_alloc_array((count), sizeof *(pointer))) != NULL
    TAKE(w->base.score, capacity);
    TAKE(w->base.loss, capacity);
    TAKE(w->g, capacity);
    TAKE(w->dx[0], capacity * plan->f);
    TAKE(w->dx[1], capacity * plan->f);
    TAKE(w->dout, capacity * 2 * plan->moved);
    TAKE(w->dh, capacity * plan->hidden);
    TAKE(w->column, wide);
    TAKE(w->scratch, cz_rows_scratch(capacity, wide));
#undef TAKE
    if (!ok) {
        work_destroy(&w->base);
        return status != CZ_OK ? status : CZ_E_MEMORY;
    }
    *out = &w->base;
    return CZ_OK;
}

static size_t work_bytes(const cz_head *head, size_t patches, bool second_order)
{
    const cz_flow_plan *plan = cz_flow_plan_of(head);
    const size_t nets = plan->hidden + 2 * plan->moved, row = plan->f + nets;
    const size_t first = (plan->blocks + 3) * row, second = plan->blocks * (row + nets) + 2 * row;
    return patches * (first + (second_order ? second : 0)) * sizeof(float);
}

static bool left_out(const cz_batch *batch, size_t patch)
{
    return batch->target && batch->target[patch] == CZ_TARGET_ANOMALOUS;
}

static cz_status forward(const cz_head *head, const float *params, const cz_batch *batch, const cz_head_noise *noise,
                         cz_head_work *base)
{
    (void)noise;
    const cz_flow_plan *plan = cz_flow_plan_of(head);
    cz_flow_work *w = (cz_flow_work *)base;
    const cz_status status = cz_flow_run(plan, params, batch->features, batch->patches, &w->trace);
    if (status != CZ_OK) return status;
    cz_flow_energy(plan, params, &w->trace, batch->patches, base->score);
    for (size_t i = 0; i < batch->patches; i++) base->loss[i] = left_out(batch, i) ? 0 : base->score[i];
    return CZ_OK;
}

static double loss(const cz_head *head, const cz_batch *batch, const cz_head_work *base)
{
    (void)head;
    double sum = 0;
    for (size_t i = 0; i < batch->patches; i++) {
        const double weight = batch->weight ? (double)batch->weight[i] : 1;
        if (!left_out(batch, i)) sum += weight * (double)base->loss[i];
    }
    return sum / (double)batch->patches;
}

/* ---- the whole set --------------------------------------------------------------------------------------------- */

struct cz_head_pass {
    const cz_head *head;
    double count;
    float *x; /* [CHUNK, F] or NULL */
    double *scratch;
    double *mean, *m2, *mean_b, *m2_b; /* [F], in one block */
};

static void pass_destroy(cz_head_pass *pass)
{
    cz_free(pass->x);
    cz_free(pass->scratch);
    cz_free(pass->mean);
    cz_free(pass);
}

static cz_status pass_begin(const cz_head *head, const float *params, cz_head_pass **out)
{
    (void)params;
    const cz_flow_plan *plan = cz_flow_plan_of(head);
    cz_head_pass *pass = cz_calloc(1, sizeof *pass);
    if (!pass) return CZ_E_MEMORY;
    pass->head = head;
    pass->scratch = cz_alloc_array(cz_rows_scratch(CHUNK, plan->f), sizeof *pass->scratch);
    pass->mean = cz_calloc(4 * plan->f, sizeof *pass->mean);
    if (plan->projection) pass->x = cz_alloc_array(CHUNK * plan->f, sizeof *pass->x);
    if (!pass->scratch || !pass->mean || (plan->projection && !pass->x)) {
        pass_destroy(pass);
        return CZ_E_MEMORY;
    }
    pass->m2 = pass->mean + plan->f;
    pass->mean_b = pass->m2 + plan->f;
    pass->m2_b = pass->mean_b + plan->f;
    *out = pass;
    return CZ_OK;
}

static cz_status pass_add(cz_head_pass *pass, const float *features, size_t rows)
{
    const cz_flow_plan *plan = cz_flow_plan_of(pass->head);
    for (size_t first = 0; first < rows; first += CHUNK) {
        const size_t count = rows - first < CHUNK ? rows - first : CHUNK;
        const float *x;
        const cz_status status = cz_flow_project(plan, features + first * plan->width, count, pass->x, &x);
        if (status != CZ_OK) return status;
        cz_rows_moments(x, count, plan->f, pass->scratch, pass->mean_b, pass->m2_b);
        cz_rows_merge(plan->f, pass->count, pass->mean, pass->m2, (double)count, pass->mean_b, pass->m2_b);
        pass->count += (double)count;
    }
    return CZ_OK;
}

/* Biased standard deviations, with a floor: a dimension that hardly moves in training must not rule the likelihood. */
static cz_status pass_end(cz_head_pass *pass, float *params, float *state)
{
    (void)state;
    const cz_flow_plan *plan = cz_flow_plan_of(pass->head);
    const size_t f = plan->f;
    double total = 0, means = 0;
    if (pass->count < 1) return cz_fail(CZ_E_NO_IMAGES, "no patch to standardise features by");
    for (size_t c = 0; c < f; c++) {
        total += pass->m2[c] / pass->count;
        means += pass->mean[c] * pass->mean[c];
        if (!isfinite((float)total) || !isfinite((float)means))
            return cz_fail(CZ_E_ARG, "statistics of the features are not finite");
    }
    const double size = sqrt(total / (double)f);
    const bool moves = size > LEAST_MOVED * sqrt(means / (double)f) && LEAST_SCALE * size >= (double)FLT_MIN;
    const double least = moves ? LEAST_SCALE * size : 1;
    for (size_t c = 0; c < f; c++) {
        const double deviation = sqrt(pass->m2[c] / pass->count);
        params[plan->mean + c] = (float)pass->mean[c];
        params[plan->scale + c] = (float)(deviation > least ? deviation : least);
    }
    return CZ_OK;
}

/* No density without a positive scale; one below FLT_MIN has no reciprocal. */
static cz_status check(const cz_head *head, const float *params, const float *state)
{
    (void)state;
    const cz_flow_plan *plan = cz_flow_plan_of(head);
    for (size_t c = 0; c < plan->f; c++)
        if (!(params[plan->scale + c] >= FLT_MIN))
            return cz_fail(CZ_E_MODEL, "tensor 'head.input.scale' holds a value that is not positive");
    return CZ_OK;
}

const cz_head_ops cz_flow_ops = {
    .name = "flow",
    .pass_first = true,
    .setup = setup,
    .teardown = teardown,
    .init = init,
    .work_create = work_create,
    .work_destroy = work_destroy,
    .work_bytes = work_bytes,
    .forward = forward,
    .loss = loss,
    .backward = cz_flow_backward,
    .work_second_order = cz_flow_work_second_order,
    .tangent = cz_flow_tangent,
    .hessian = cz_flow_hessian,
    .pass_begin = pass_begin,
    .pass_add = pass_add,
    .pass_end = pass_end,
    .pass_destroy = pass_destroy,
    .score = cz_flow_score,
    .check = check,
};
