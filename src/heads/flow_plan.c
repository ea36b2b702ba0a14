/* SPDX-License-Identifier: Apache-2.0 */
/* What a flow's configuration fixes: sizes, the projection and the permutations. Nothing here is stored in a file: the same
 * configuration gives the same tables (streams (structure_seed, CZ_RNG_INIT, step 1 or 2), of which the initial parameters'
 * is step 0). */
#include "heads/flow_internal.h"
#include "util/alloc.h"
#include "util/rng.h"

#include <math.h>

enum { STEP_PROJECTION = 1, STEP_ORDER = 2 };

/* F F D of the projection at the most: its rows are made orthogonal in some seconds. */
static const double PROJECTION_LIMIT = 17179869184.0; /* 2^34 */

void cz_flow_plan_free(cz_flow_plan *plan)
{
    if (!plan) return;
    cz_free(plan->projection);
    cz_free(plan->from);
    cz_free(plan->place);
    cz_free(plan);
}

static double dot(const double *a, const double *b, size_t count)
{
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < count; i++) sum += a[i] * b[i];
    return sum;
}

/* Rows of w [F, D], F < D, made orthonormal (modified Gram-Schmidt, from the first row on). */
static void orthonormalise(double *w, size_t f, size_t d)
{
    for (size_t i = 0; i < f; i++) {
        double *row = w + i * d;
        const double factor = 1 / sqrt(dot(row, row, d));
        for (size_t c = 0; c < d; c++) row[c] *= factor;
#pragma omp parallel for schedule(static)
        for (size_t j = i + 1; j < f; j++) {
            double *other = w + j * d;
            const double share = dot(row, other, d);
            for (size_t c = 0; c < d; c++) other[c] -= share * row[c];
        }
    }
}

static cz_status make_projection(uint64_t seed, cz_flow_plan *plan)
{
    const size_t f = plan->f, d = plan->width;
    double *wide = cz_alloc_array(f * d, sizeof *wide);
    plan->projection = cz_alloc_array(f * d, sizeof *plan->projection);
    if (!wide || !plan->projection) {
        cz_free(wide);
        return CZ_E_MEMORY;
    }
#pragma omp parallel for schedule(static)
    for (size_t r = 0; r < f; r++) {
        cz_rng rng;
        cz_rng_init(&rng, seed, CZ_RNG_INIT, STEP_PROJECTION, (uint32_t)r);
        for (size_t c = 0; c < d; c++) wide[r * d + c] = cz_rng_normal(&rng);
    }
    orthonormalise(wide, f, d);
    for (size_t i = 0; i < f * d; i++) plan->projection[i] = (float)wide[i];
    cz_free(wide);
    return CZ_OK;
}

static cz_status make_orders(uint64_t seed, cz_flow_plan *plan)
{
    const size_t f = plan->f;
    size_t *order = cz_alloc_array(f, sizeof *order);
    plan->from = cz_alloc_array(plan->blocks * f, sizeof *plan->from);
    plan->place = cz_alloc_array(plan->blocks * f, sizeof *plan->place);
    if (!order || !plan->from || !plan->place) {
        cz_free(order);
        return CZ_E_MEMORY;
    }
    for (size_t b = 0; b < plan->blocks; b++) {
        cz_rng rng;
        cz_rng_init(&rng, seed, CZ_RNG_INIT, STEP_ORDER, (uint32_t)b);
        for (size_t j = 0; j < f; j++) order[j] = j;
        cz_rng_shuffle(&rng, order, f);
        for (size_t j = 0; j < f; j++) {
            plan->from[b * f + j] = (uint32_t)order[j];
            plan->place[b * f + order[j]] = (uint32_t)j;
        }
    }
    cz_free(order);
    return CZ_OK;
}

static cz_status check_config(const cz_head_config *c, size_t f)
{
    if (f < 2) return cz_fail(CZ_E_ARG, "a flow needs at least 2 dimensions");
    if (c->flow_blocks < 1 || c->flow_blocks > CZ_FLOW_MAX_BLOCKS)
        return cz_fail(CZ_E_ARG, "%zu coupling blocks are not in 1 … %d", c->flow_blocks, CZ_FLOW_MAX_BLOCKS);
    if (c->flow_hidden > CZ_HEAD_MAX_WIDTH)
        return cz_fail(CZ_E_ARG, "hidden width %zu of a flow is not in 1 … %zu", c->flow_hidden, CZ_HEAD_MAX_WIDTH);
    if (!(c->flow_clamp > 0) || !(c->flow_clamp <= 10))
        return cz_fail(CZ_E_ARG, "a flow's clamp %g is not in 0 … 10", c->flow_clamp);
    if (!(c->lr_flow > 0) || !isfinite(c->lr_flow))
        return cz_fail(CZ_E_ARG, "learning rate %g must be finite and positive", c->lr_flow);
    if (c->precision != CZ_PRECISION_FP32 && c->precision != CZ_PRECISION_BF16)
        return cz_fail(CZ_E_ARG, "a detector is trained in fp32 or bf16");
    if (f < c->width && (double)f * (double)f * (double)c->width > PROJECTION_LIMIT)
        return cz_fail(CZ_E_ARG, "a projection of %zu dimensions to %zu is too large", c->width, f);
    return CZ_OK;
}

cz_status cz_flow_plan_make(const cz_head_config *config, cz_flow_plan **out)
{
    const double pi = 3.14159265358979323846;
    const size_t f =
        config->flow_project && config->flow_project < config->width ? config->flow_project : config->width;
    cz_status status = check_config(config, f);
    if (status != CZ_OK) return status;
    cz_flow_plan *plan = cz_calloc(1, sizeof *plan);
    if (!plan) return CZ_E_MEMORY;
    *out = plan;
    plan->width = config->width;
    plan->f = f;
    plan->moved = f / 2;
    plan->kept = f - plan->moved;
    plan->hidden = config->flow_hidden ? config->flow_hidden : f;
    plan->blocks = config->flow_blocks;
    plan->clamp =
        (cz_flow_clamp){(float)(config->flow_clamp * 2 / pi), (float)(1 / config->flow_clamp), (float)(2 / pi)};
    plan->block_count = plan->hidden * (plan->kept + 1) + 2 * plan->moved * (plan->hidden + 1);
    plan->mean = plan->blocks * plan->block_count;
    plan->scale = plan->mean + f;
    status = make_orders(config->structure_seed, plan);
    if (status == CZ_OK && f < config->width) status = make_projection(config->structure_seed, plan);
    return status;
}
