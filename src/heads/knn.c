/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A nearest-neighbour bank (docs/math.md section 9): params are the features of normal patches; score = Euclidean distance to the
 * nearest. The pass keeps what it is given in order, of more than fit a seeded uniform subsample (reservoir sampling, Vitter
 * 1985, algorithm R). state.rows says how many rows of the bank are filled. There is nothing to differentiate.
 */
#include "heads/knn.h"
#include "engine/engine.h"
#include "heads/heads.h"
#include "util/alloc.h"
#include "util/rng.h"

#include <math.h>
#include <string.h>

/* Query and bank rows of one product: 2 MiB of dot products at a time. */
enum { QUERIES = 256, NEIGHBOURS = 2048 };

static cz_status setup(cz_head *head)
{
    const size_t bank = head->config.bank;
    if (bank < 1 || bank > CZ_KNN_MAX_BANK)
        return cz_fail(CZ_E_ARG, "a bank of %zu rows is not in 1 … %zu", bank, CZ_KNN_MAX_BANK);
    cz_head_add_view(head->param, &head->param_views, &head->param_count, "bank", bank, head->config.width, false);
    cz_head_add_view(head->state, &head->state_views, &head->state_count, "rows", 1, 0, false);
    return CZ_OK;
}

static void init(const cz_head *head, uint64_t seed, float *params, float *state)
{
    (void)seed;
    memset(params, 0, head->param_count * sizeof *params);
    state[0] = 0;
}

/* ---- filling the bank ------------------------------------------------------------------------------------------ */

struct cz_head_pass {
    const cz_head *head;
    cz_rng rng;
    uint64_t seen;
    float *bank; /* [bank, D] */
};

static void pass_destroy(cz_head_pass *pass)
{
    cz_free(pass->bank);
    cz_free(pass);
}

static cz_status pass_begin(const cz_head *head, const float *params, cz_head_pass **out)
{
    (void)params;
    cz_head_pass *pass = cz_calloc(1, sizeof *pass);
    if (!pass) return CZ_E_MEMORY;
    pass->head = head;
    cz_rng_init(&pass->rng, head->config.seed, CZ_RNG_PATCHES, 0, 0);
    pass->bank = cz_calloc(head->param_count, sizeof *pass->bank);
    if (!pass->bank) {
        pass_destroy(pass);
        return CZ_E_MEMORY;
    }
    *out = pass;
    return CZ_OK;
}

static cz_status pass_add(cz_head_pass *pass, const float *features, size_t rows)
{
    const size_t d = pass->head->config.width, bank = pass->head->config.bank;
    for (size_t r = 0; r < rows; r++, pass->seen++) {
        const uint64_t slot = pass->seen < bank ? pass->seen : cz_rng_below(&pass->rng, pass->seen + 1);
        if (slot < bank) memcpy(pass->bank + slot * d, features + r * d, d * sizeof *features);
    }
    return CZ_OK;
}

static cz_status pass_end(cz_head_pass *pass, float *params, float *state)
{
    const cz_head *head = pass->head;
    if (pass->seen < 1) return cz_fail(CZ_E_NO_IMAGES, "no patch to put into the bank");
    memcpy(params, pass->bank, head->param_count * sizeof *params);
    state[0] = (float)(pass->seen < head->config.bank ? pass->seen : head->config.bank);
    return CZ_OK;
}

/* ---- scoring --------------------------------------------------------------------------------------------------- */

/* out [rows] = squared norms of x [rows, width] */
static void squared_norms(const float *x, size_t rows, size_t width, float *out)
{
#pragma omp parallel for schedule(static)
    for (size_t r = 0; r < rows; r++) {
        double sum = 0;
#pragma omp simd reduction(+ : sum)
        for (size_t c = 0; c < width; c++) sum += (double)x[r * width + c] * (double)x[r * width + c];
        out[r] = (float)sum;
    }
}

/* best [queries] = min(best, |b|^2 - 2 a.b) over the bank rows whose products with the queries are in dots, which become these
 * values. The place is looked for only where the minimum falls, which it does seldom: that leaves a loop without a branch. */
static void keep_nearest(float *dots, size_t queries, size_t neighbours, const float *norms, float *best,
                         size_t *nearest, size_t first)
{
#pragma omp parallel for schedule(static)
    for (size_t q = 0; q < queries; q++) {
        float *row = dots + q * neighbours, least = best[q];
#pragma omp simd reduction(min : least)
        for (size_t n = 0; n < neighbours; n++) {
            row[n] = norms[n] - 2.0f * row[n];
            least = row[n] < least ? row[n] : least;
        }
        if (!(least < best[q])) continue;
        best[q] = least;
        size_t n = 0;
        while (n + 1 < neighbours && row[n] > least) n++;
        nearest[q] = first + n;
    }
}

static cz_status check(const cz_head *head, const float *params, const float *state)
{
    (void)params;
    if (!(state[0] >= 1) || state[0] > (float)head->config.bank || state[0] != floorf(state[0]))
        return cz_fail(CZ_E_MODEL, "tensor 'state.rows' does not count rows of the bank");
    return CZ_OK;
}

/* The product only finds the neighbour; its distance is taken from the difference, which |a|^2 + |b|^2 - 2 a.b would lose
 * to cancellation where it is small. */
static void distances(const float *features, size_t queries, size_t width, const float *bank, const size_t *nearest,
                      float *scores)
{
#pragma omp parallel for schedule(static)
    for (size_t q = 0; q < queries; q++) {
        const float *a = features + q * width, *b = bank + nearest[q] * width;
        double sum = 0;
        for (size_t c = 0; c < width; c++) sum += ((double)a[c] - (double)b[c]) * ((double)a[c] - (double)b[c]);
        scores[q] = (float)sqrt(sum);
    }
}

/* Rows first … end - 1 of the bank. */
typedef struct part {
    size_t first, end;
} part;

static cz_status score_parts(const cz_head *head, const float *params, const part parts[2], const float *features,
                             size_t rows, float *scores)
{
    cz_status status = CZ_E_MEMORY;
    const size_t d = head->config.width, end = parts[1].end;
    float *norms = cz_alloc_array(end, sizeof *norms);
    float *dots = cz_alloc_array((size_t)QUERIES * NEIGHBOURS, sizeof *dots);
    if (!norms || !dots) goto out;
    squared_norms(params, end, d, norms);
    status = CZ_OK;
    for (size_t first = 0; first < rows; first += QUERIES) {
        const size_t queries = rows - first < QUERIES ? rows - first : QUERIES;
        float best[QUERIES];
        size_t nearest[QUERIES] = {0};
        for (size_t q = 0; q < queries; q++) best[q] = INFINITY;
        for (size_t p = 0; p < 2; p++)
            for (size_t n = parts[p].first; n < parts[p].end; n += NEIGHBOURS) {
                const size_t neighbours = parts[p].end - n < NEIGHBOURS ? parts[p].end - n : NEIGHBOURS;
                CZ_TRY(cz_engine_sgemm(false, true, queries, neighbours, d, 1, features + first * d, d, params + n * d,
                                       d, 0, dots, neighbours));
                keep_nearest(dots, queries, neighbours, norms + n, best, nearest, n);
            }
        distances(features + first * d, queries, d, params, nearest, scores + first);
    }
out:
    cz_free(norms);
    cz_free(dots);
    return status;
}

static cz_status score(const cz_head *head, const float *params, const float *state, const float *features, size_t rows,
                       float *scores)
{
    const cz_status status = check(head, params, state);
    if (status != CZ_OK) return status;
    const part parts[2] = {{0, 0}, {0, (size_t)state[0]}};
    return score_parts(head, params, parts, features, rows, scores);
}

cz_status cz_knn_score_without(const cz_head *head, const float *params, const float *state, size_t first, size_t end,
                               const float *features, size_t rows, float *scores)
{
    const cz_status status = check(head, params, state);
    if (status != CZ_OK) return status;
    const size_t filled = (size_t)state[0];
    if (first > end || end > filled) return cz_fail(CZ_E_INTERNAL, "rows %zu … %zu of %zu", first, end, filled);
    if (first == 0 && end == filled) return score(head, params, state, features, rows, scores);
    const part parts[2] = {{0, first}, {end, filled}};
    return score_parts(head, params, parts, features, rows, scores);
}

const cz_head_ops cz_knn_ops = {
    .name = "knn",
    .setup = setup,
    .init = init,
    .pass_begin = pass_begin,
    .pass_add = pass_add,
    .pass_end = pass_end,
    .pass_destroy = pass_destroy,
    .score = score,
    .check = check,
};
