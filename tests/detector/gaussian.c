/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worked example of docs/adding-a-detector.md: patch features as independent normal variables, trained by gradients.
 *   u_ij = (x_ij - mean_j) exp(-s_j)                                theta = {mean [D], s = log scale [D]}
 *   L_i = score_i = 1/D sum_j (u_ij^2 / 2 + s_j) + log(2 pi) / 2     -log p in nats a dimension
 */
#include "heads/heads.h"
#include "util/alloc.h"

#include <math.h>
#include <string.h>

static const double HALF_LOG_2PI = 0.91893853320467274178;

/* ---- layout ---------------------------------------------------------------------------------------------------- */

static cz_status setup(cz_head *head)
{
    const size_t d = head->config.width;
    cz_head_add_view(head->param, &head->param_views, &head->param_count, "mean", d, 0, false);
    cz_head_add_view(head->param, &head->param_views, &head->param_count, "log_scale", d, 0, false);
    head->groups = 1;
    head->group[0] = (cz_head_group){0, head->param_count, 1e-2, 0, 0};
    return CZ_OK;
}

static void init(const cz_head *head, uint64_t seed, float *params, float *state)
{
    (void)seed;
    (void)state;
    memset(params, 0, head->param_count * sizeof *params);
}

/* ---- workspace ------------------------------------------------------------------------------------------------- */

typedef struct gaussian_work {
    cz_head_work base;
    float *u; /* [P, D] */
    float *v; /* [P, D] tangent of u; NULL: no second derivatives */
} gaussian_work;

static void work_destroy(cz_head_work *work)
{
    gaussian_work *w = (gaussian_work *)work;
    cz_free(w->base.score);
    cz_free(w->base.loss);
    cz_free(w->u);
    cz_free(w->v);
    cz_free(w);
}

static cz_status work_create(const cz_head *head, size_t capacity, cz_head_work **out)
{
    size_t floats;
    if (!cz_mul_size(capacity, head->config.width, &floats)) return cz_fail(CZ_E_ARG, "a batch is too large");
    gaussian_work *w = cz_calloc(1, sizeof *w);
    if (!w) return CZ_E_MEMORY;
    w->base.head = head;
    w->base.capacity = capacity;
    w->base.score = cz_alloc_array(capacity, sizeof *w->base.score);
    w->base.loss = cz_alloc_array(capacity, sizeof *w->base.loss);
    w->u = cz_alloc_array(floats, sizeof *w->u);
    if (!w->base.score || !w->base.loss || !w->u) {
        work_destroy(&w->base);
        return CZ_E_MEMORY;
    }
    *out = &w->base;
    return CZ_OK;
}

static cz_status work_second_order(cz_head_work *work)
{
    gaussian_work *w = (gaussian_work *)work;
    w->v = cz_alloc_array(work->capacity * work->head->config.width, sizeof *w->v);
    return w->v ? CZ_OK : CZ_E_MEMORY;
}

/* ---- forward --------------------------------------------------------------------------------------------------- */

/* u [rows, D], NULL: not kept; score [rows] */
static void run(const cz_head *head, const float *params, const float *x, size_t rows, float *u, float *score)
{
    const size_t d = head->config.width;
    const float *mean = params, *s = params + d;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < rows; i++) {
        double sum = 0;
        for (size_t j = 0; j < d; j++) {
            const float value = (x[i * d + j] - mean[j]) * expf(-s[j]);
            if (u) u[i * d + j] = value;
            sum += 0.5 * (double)value * (double)value + (double)s[j];
        }
        score[i] = (float)(sum / (double)d + HALF_LOG_2PI);
    }
}

static cz_status forward(const cz_head *head, const float *params, const cz_batch *batch, const cz_head_noise *noise,
                         cz_head_work *work)
{
    (void)noise;
    run(head, params, batch->features, batch->patches, ((gaussian_work *)work)->u, work->score);
    memcpy(work->loss, work->score, batch->patches * sizeof *work->loss);
    return CZ_OK;
}

/* w_i / P: what L_i counts in the objective. */
static double share(const cz_batch *batch, size_t i)
{
    return (batch->weight ? (double)batch->weight[i] : 1.0) / (double)batch->patches;
}

static double loss(const cz_head *head, const cz_batch *batch, const cz_head_work *work)
{
    (void)head;
    double sum = 0;
    for (size_t i = 0; i < batch->patches; i++) sum += share(batch, i) * (double)work->loss[i];
    return sum;
}

/* ---- backward -------------------------------------------------------------------------------------------------- */

static cz_status backward(const cz_head *head, const float *params, const cz_batch *batch, const float *dq,
                          cz_head_work *work, float *grads)
{
    (void)dq; /* there is no embedding */
    const size_t d = head->config.width;
    const float *u = ((gaussian_work *)work)->u, *s = params + d;
    float *dmean = grads, *ds = grads + d;
#pragma omp parallel for schedule(static)
    for (size_t j = 0; j < d; j++) {
        double first = 0, second = 0;
        for (size_t i = 0; i < batch->patches; i++) {
            const double g = share(batch, i) / (double)d, value = (double)u[i * d + j];
            first -= g * value;                /* u_ij = (x_ij - mean_j) exp(-s_j), by mean_j but for exp(-s_j) */
            second += g * (1 - value * value); /* u_ij^2 / 2 + s_j, by s_j */
        }
        dmean[j] = (float)(first * exp(-(double)s[j]));
        ds[j] = (float)second;
    }
    return CZ_OK;
}

/* ---- second derivatives ---------------------------------------------------------------------------------------- */

static cz_status tangent(const cz_head *head, const float *params, const cz_batch *batch, const float *direction,
                         cz_head_work *work, float *tangent_q)
{
    (void)tangent_q;
    const size_t d = head->config.width;
    const float *u = ((gaussian_work *)work)->u, *s = params + d;
    float *v = ((gaussian_work *)work)->v;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < batch->patches; i++)
        for (size_t j = 0; j < d; j++) v[i * d + j] = -direction[j] * expf(-s[j]) - u[i * d + j] * direction[d + j];
    return CZ_OK;
}

static cz_status hessian(const cz_head *head, const float *params, const cz_batch *batch, const float *direction,
                         const float *dq, const float *tangent_dq, cz_head_work *work, float *out)
{
    (void)dq;
    (void)tangent_dq;
    const size_t d = head->config.width;
    const float *u = ((gaussian_work *)work)->u, *v = ((gaussian_work *)work)->v, *s = params + d;
#pragma omp parallel for schedule(static)
    for (size_t j = 0; j < d; j++) {
        double first = 0, second = 0;
        for (size_t i = 0; i < batch->patches; i++) {
            const double g = share(batch, i) / (double)d, a = (double)u[i * d + j], b = (double)v[i * d + j];
            first -= g * (b - a * (double)direction[d + j]);
            second -= g * 2 * a * b;
        }
        out[j] = (float)(first * exp(-(double)s[j]));
        out[d + j] = (float)second;
    }
    return CZ_OK;
}

/* ---- inference ------------------------------------------------------------------------------------------------- */

static cz_status score(const cz_head *head, const float *params, const float *state, const float *features, size_t rows,
                       float *scores)
{
    (void)state;
    run(head, params, features, rows, NULL, scores);
    return CZ_OK;
}

const cz_head_ops cz_gaussian_ops = {
    .name = "gaussian",
    .setup = setup,
    .init = init,
    .work_create = work_create,
    .work_destroy = work_destroy,
    .work_second_order = work_second_order,
    .forward = forward,
    .loss = loss,
    .backward = backward,
    .tangent = tangent,
    .hessian = hessian,
    .score = score,
};
