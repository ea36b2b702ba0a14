/* SPDX-License-Identifier: Apache-2.0 */
/* The flow as a map: features to normal variables and back, for training (whole) and for everything else (in chunks). */
#include "engine/engine.h"
#include "heads/flow_internal.h"
#include "heads/heads.h"
#include "util/alloc.h"

#include <math.h>
#include <string.h>

enum { CHUNK = 1024 }; /* rows at once where nothing is kept */

cz_status cz_flow_trace_make(const cz_flow_plan *plan, size_t capacity, bool keep, cz_flow_trace *out)
{
    const size_t blocks = keep ? plan->blocks : 1, inputs = keep ? plan->blocks + 1 : 2;
    const size_t widest = inputs * (plan->f + plan->hidden + 2 * plan->moved);
    size_t most;
    *out = (cz_flow_trace){.capacity = capacity, .keep = keep};
    /* with room for what workspaces have besides, which is then not checked again */
    if (!cz_mul_size(capacity, widest * 8 * sizeof(double), &most))
        return cz_fail(CZ_E_ARG, "a batch of %zu patches is too large", capacity);
    out->x = cz_alloc_array(inputs * capacity * plan->f, sizeof *out->x);
    out->h = cz_alloc_array(blocks * capacity * plan->hidden, sizeof *out->h);
    out->out = cz_alloc_array(blocks * capacity * 2 * plan->moved, sizeof *out->out);
    out->log_det = cz_alloc_array(capacity, sizeof *out->log_det);
    out->inverse = cz_alloc_array(plan->f, sizeof *out->inverse);
    return out->x && out->h && out->out && out->log_det && out->inverse ? CZ_OK : CZ_E_MEMORY;
}

void cz_flow_trace_free(cz_flow_trace *trace)
{
    cz_free(trace->x);
    cz_free(trace->h);
    cz_free(trace->out);
    cz_free(trace->log_det);
    cz_free(trace->inverse);
}

cz_status cz_flow_project(const cz_flow_plan *plan, const float *features, size_t rows, float *room, const float **x)
{
    const size_t f = plan->f, d = plan->width;
    *x = plan->projection ? room : features;
    if (!plan->projection) return CZ_OK;
    return cz_engine_sgemm(false, true, rows, f, d, 1, features, d, plan->projection, d, 0, room, f);
}

cz_status cz_flow_subnet(const cz_flow_plan *plan, const float *params, size_t block, const float *x, size_t rows,
                         float *h, float *out)
{
    const size_t k = plan->hidden, m = plan->moved;
    const cz_flow_const_net net = cz_flow_const_net_at(plan, params, block);
    cz_status status = CZ_OK;
    CZ_TRY(cz_engine_sgemm(false, true, rows, k, plan->kept, 1, x, plan->f, net.w1, plan->kept, 0, h, k));
    cz_flow_rows_relu(h, rows, k, net.b1);
    CZ_TRY(cz_engine_sgemm(false, true, rows, 2 * m, k, 1, h, k, net.w2, k, 0, out, 2 * m));
out:
    return status;
}

cz_status cz_flow_run(const cz_flow_plan *plan, const float *params, const float *features, size_t rows,
                      cz_flow_trace *t)
{
    const cz_flow_halves halves = cz_flow_halves_of(plan);
    const float *x = NULL;
    cz_status status = CZ_OK;
    CZ_TRY(cz_flow_project(plan, features, rows, cz_flow_x(t, plan, 1), &x));
    for (size_t c = 0; c < plan->f; c++) t->inverse[c] = 1.0f / params[plan->scale + c];
    cz_flow_rows_standardise(x, rows, plan->f, params + plan->mean, t->inverse, plan->place, cz_flow_x(t, plan, 0));
    memset(t->log_det, 0, rows * sizeof *t->log_det);
    for (size_t b = 0; b < plan->blocks; b++) {
        const float *in = cz_flow_x(t, plan, b);
        float *out = cz_flow_out(t, plan, b);
        const uint32_t *place = b + 1 < plan->blocks ? plan->place + (b + 1) * plan->f : NULL;
        CZ_TRY(cz_flow_subnet(plan, params, b, in, rows, cz_flow_h(t, plan, b), out));
        cz_flow_rows_couple(&halves, in, out, rows, cz_flow_const_net_at(plan, params, b).b2, place,
                            cz_flow_x(t, plan, b + 1), t->log_det);
    }
out:
    return status;
}

static double log_scale(const cz_flow_plan *plan, const float *params)
{
    double sum = 0;
    for (size_t c = 0; c < plan->f; c++) sum += log((double)params[plan->scale + c]);
    return sum;
}

double cz_flow_constant(const cz_flow_plan *plan, const float *params)
{
    const double log_two_pi = 1.83787706640934548356;
    return 0.5 * (double)plan->f * log_two_pi + log_scale(plan, params);
}

void cz_flow_energy(const cz_flow_plan *plan, const float *params, const cz_flow_trace *t, size_t rows, float *scores)
{
    const double constant = cz_flow_constant(plan, params), share = 1.0 / (double)plan->f;
    const float *z = cz_flow_x(t, plan, plan->blocks);
#pragma omp parallel for schedule(static)
    for (size_t r = 0; r < rows; r++)
        scores[r] = (float)(share * (constant + cz_flow_row_energy(z + r * plan->f, plan->f) - t->log_det[r]));
}

/* ---- in chunks -------------------------------------------------------------------------------------------------- */

static cz_status make_chunk(const cz_flow_plan *plan, size_t rows, cz_flow_trace *t)
{
    return cz_flow_trace_make(plan, rows < CHUNK ? (rows ? rows : 1) : CHUNK, false, t);
}

cz_status cz_flow_score(const cz_head *head, const float *params, const float *state, const float *features,
                        size_t rows, float *scores)
{
    (void)state;
    const cz_flow_plan *plan = cz_flow_plan_of(head);
    cz_flow_trace t;
    cz_status status = make_chunk(plan, rows, &t);
    for (size_t first = 0; status == CZ_OK && first < rows; first += CHUNK) {
        const size_t count = rows - first < CHUNK ? rows - first : CHUNK;
        status = cz_flow_run(plan, params, features + first * plan->width, count, &t);
        if (status == CZ_OK) cz_flow_energy(plan, params, &t, count, scores + first);
    }
    cz_flow_trace_free(&t);
    return status;
}

static cz_status check_flow(const cz_head *head)
{
    return head->ops == &cz_flow_ops ? CZ_OK : cz_fail(CZ_E_ARG, "detector '%s' is no flow", head->ops->name);
}

cz_status cz_flow_forward(const cz_head *head, const float *params, const float *features, size_t rows, float *z,
                          double *log_det)
{
    cz_status status = check_flow(head);
    if (status != CZ_OK) return status;
    const cz_flow_plan *plan = cz_flow_plan_of(head);
    const double fixed = log_scale(plan, params);
    cz_flow_trace t;
    status = make_chunk(plan, rows, &t);
    for (size_t first = 0; status == CZ_OK && first < rows; first += CHUNK) {
        const size_t count = rows - first < CHUNK ? rows - first : CHUNK;
        status = cz_flow_run(plan, params, features + first * plan->width, count, &t);
        if (status != CZ_OK) break;
        if (z) memcpy(z + first * plan->f, cz_flow_x(&t, plan, plan->blocks), count * plan->f * sizeof *z);
        for (size_t r = 0; log_det && r < count; r++) log_det[first + r] = t.log_det[r] - fixed;
    }
    cz_flow_trace_free(&t);
    return status;
}

/* y of the last block, in the trace's x at B, back to x of `rows` rows in out */
static cz_status run_back(const cz_flow_plan *plan, const float *params, size_t rows, cz_flow_trace *t, float *out)
{
    const cz_flow_halves halves = cz_flow_halves_of(plan);
    const size_t f = plan->f;
    cz_status status = CZ_OK;
    for (size_t b = plan->blocks; b-- > 0;) {
        const float *y = cz_flow_x(t, plan, b + 1);
        float *before = b > 0 ? cz_flow_x(t, plan, b) : out;
        CZ_TRY(cz_flow_subnet(plan, params, b, y, rows, t->h, t->out));
        cz_flow_rows_uncouple(&halves, y, t->out, rows, cz_flow_const_net_at(plan, params, b).b2, plan->from + b * f,
                              before);
    }
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < f; c++)
            out[r * f + c] = params[plan->mean + c] + params[plan->scale + c] * out[r * f + c];
out:
    return status;
}

cz_status cz_flow_inverse(const cz_head *head, const float *params, const float *z, size_t rows, float *x)
{
    cz_status status = check_flow(head);
    if (status != CZ_OK) return status;
    const cz_flow_plan *plan = cz_flow_plan_of(head);
    cz_flow_trace t;
    status = make_chunk(plan, rows, &t);
    for (size_t first = 0; status == CZ_OK && first < rows; first += CHUNK) {
        const size_t count = rows - first < CHUNK ? rows - first : CHUNK;
        memcpy(cz_flow_x(&t, plan, plan->blocks), z + first * plan->f, count * plan->f * sizeof *z);
        status = run_back(plan, params, count, &t, x + first * plan->f);
    }
    cz_flow_trace_free(&t);
    return status;
}

size_t cz_flow_width(const cz_head *head)
{
    return head->ops == &cz_flow_ops ? cz_flow_plan_of(head)->f : 0;
}

const float *cz_flow_projection(const cz_head *head)
{
    return head->ops == &cz_flow_ops ? cz_flow_plan_of(head)->projection : NULL;
}

const uint32_t *cz_flow_order(const cz_head *head, size_t block)
{
    if (head->ops != &cz_flow_ops || block >= cz_flow_plan_of(head)->blocks) return NULL;
    return cz_flow_plan_of(head)->from + block * cz_flow_plan_of(head)->f;
}
