/* SPDX-License-Identifier: Apache-2.0 */
#include "api/mutual_describe.h"

#include "engine/engine.h"
#include "tensor/bf16.h"
#include "util/alloc.h"
#include "util/rng.h"

#include <math.h>
#include <string.h>

/* Tasks of the generator that are tap 0, 1, …; other uses of CZ_RNG_MUTUAL count categories from 0. */
#define FIRST_TASK ((uint32_t)1 << 20)

typedef struct work {
    const cz_mutual_describe *how;
    size_t taps, patches, width; /* width: of all taps together, D */
    cz_pooler *pooler;           /* for its grids */
    cz_gemm *gemm;
    uint16_t *projection[CZ_MAX_TAPS]; /* [C, how->width] bf16 */
    float *small;                      /* [h * w of the largest tap, how->width] */
    float *pooled;                     /* the same; NULL: neighbours are not asked */
    float *rows;                       /* [P, D] of one photo */
    double *sum;                       /* [D] */
    double square[CZ_MAX_TAPS];
    size_t count; /* inspected patches of the batch */
} work;

static cz_status make_projection(work *w, size_t tap)
{
    cz_rng rng;
    size_t count;
    const size_t channels = cz_extractor_shape(w->how->extractor, tap)->channels;
    if (!cz_mul_size(channels, w->how->width, &count)) return cz_fail(CZ_E_MEMORY, "a projection is too large");
    float *values = cz_alloc_array(count, sizeof *values);
    w->projection[tap] = cz_alloc_array(count, sizeof *w->projection[tap]);
    if (values == NULL || w->projection[tap] == NULL) {
        cz_free(values);
        return CZ_E_MEMORY;
    }
    cz_rng_init(&rng, w->how->seed, CZ_RNG_MUTUAL, 0, FIRST_TASK + (uint32_t)tap);
    cz_rng_normal_fill(&rng, 0, values, count, 1.0f / sqrtf((float)w->how->width));
    cz_bf16_round(values, count, w->projection[tap]);
    cz_free(values);
    return CZ_OK;
}

static cz_status make_work(work *w)
{
    cz_status status;
    cz_tap_shape shapes[CZ_MAX_TAPS];
    size_t largest = 0, small, rows;
    w->taps = cz_extractor_taps(w->how->extractor);
    w->width = w->taps * w->how->width;
    for (size_t t = 0; t < w->taps; t++) {
        shapes[t] = *cz_extractor_shape(w->how->extractor, t);
        const size_t cells = shapes[t].height * shapes[t].width;
        if (cells > largest) largest = cells;
    }
    CZ_TRY(cz_pooler_create(shapes, w->taps, w->taps, 3, &w->pooler));
    w->patches = shapes[0].height * shapes[0].width;
    if (!cz_mul_size(largest, w->how->width, &small) || !cz_mul_size(w->patches, w->width, &rows))
        CZ_TRY(cz_fail(CZ_E_MEMORY, "a photo's descriptors are too large"));
    for (size_t t = 0; t < w->taps; t++) CZ_TRY(make_projection(w, t));
    w->small = cz_alloc_array(small, sizeof *w->small);
    w->rows = cz_alloc_array(rows, sizeof *w->rows);
    w->sum = cz_calloc(w->width, sizeof *w->sum);
    if (w->how->neighbourhood > 1) {
        w->pooled = cz_alloc_array(small, sizeof *w->pooled);
        if (w->pooled == NULL) CZ_TRY(CZ_E_MEMORY);
    }
    if (w->small == NULL || w->rows == NULL || w->sum == NULL) CZ_TRY(CZ_E_MEMORY);
    CZ_TRY(cz_engine_gemm_create(&w->gemm));
out:
    return status;
}

/* Mean of 3 x 3 cells; outside the map is zero, so that a cell of the border is like others of the border and of nothing else. */
static void pool(const float *restrict from, size_t w, size_t h, size_t n, float *restrict to)
{
#pragma omp parallel for schedule(static)
    for (size_t y = 0; y < h; y++) {
        for (size_t x = 0; x < w; x++) {
            float *sum = to + (y * w + x) * n;
            memset(sum, 0, n * sizeof *sum);
            for (size_t v = y > 0 ? y - 1 : 0; v <= y + 1 && v < h; v++)
                for (size_t u = x > 0 ? x - 1 : 0; u <= x + 1 && u < w; u++)
                    for (size_t k = 0; k < n; k++) sum[k] += from[(v * w + u) * n + k];
            for (size_t k = 0; k < n; k++) sum[k] *= 1.0f / 9.0f;
        }
    }
}

/* w->rows: [P, D], neither scaled nor centred. */
static cz_status project(work *w, size_t photo)
{
    cz_status status = CZ_OK;
    const uint16_t *maps[CZ_MAX_TAPS];
    const size_t n = w->how->width;
    cz_extractor_maps(w->how->extractor, w->how->set->items[photo].values, maps);
    for (size_t t = 0; t < w->taps; t++) {
        const cz_tap_shape *shape = cz_extractor_shape(w->how->extractor, t);
        const cz_gemm_desc product = {.m = shape->height * shape->width,
                                      .n = n,
                                      .k = shape->channels,
                                      .alpha = 1.0f,
                                      .a = {maps[t], shape->channels, false, true},
                                      .b = {w->projection[t], n, false, true},
                                      .c = w->small,
                                      .ldc = n};
        CZ_TRY(cz_engine_gemm(w->gemm, &product));
        if (w->pooled != NULL) pool(w->small, shape->width, shape->height, n, w->pooled);
        const float *values = w->pooled != NULL ? w->pooled : w->small;
        cz_pooler_upsample(w->pooler, t, values, n, w->rows + t * n, w->width, false);
    }
out:
    cz_feature_set_release_pages(w->how->set, photo);
    return status;
}

/* Sums over the inspected patches, in order: they do not depend on the number of threads. */
static void add_up(work *w, size_t photo)
{
    const uint8_t *valid = w->how->set->items[photo].valid;
    const size_t n = w->how->width;
    for (size_t p = 0; p < w->patches; p++) {
        const float *row = w->rows + p * w->width;
        if (!valid[p]) continue;
        w->count++;
        for (size_t t = 0; t < w->taps; t++) {
            double square = 0.0;
            for (size_t k = t * n; k < (t + 1) * n; k++) {
                w->sum[k] += (double)row[k];
                square += (double)row[k] * (double)row[k];
            }
            w->square[t] += square;
        }
    }
}

static cz_status not_finite(const work *w, size_t photo)
{
    const cz_image_source *source = w->how->source;
    const size_t index = w->how->set->items[photo].source;
    const char *name = source->name != NULL ? source->name(source->ctx, index) : NULL;
    if (name == NULL) return cz_fail(CZ_E_DIVERGED, "photo %zu: features that are not finite", index);
    return cz_fail(CZ_E_DIVERGED, "%s: features that are not finite", name);
}

static bool all_finite(const work *w)
{
    double sum = 0.0;
    for (size_t t = 0; t < w->taps; t++) sum += w->square[t];
    return isfinite(sum);
}

static cz_status report(const work *w, size_t done)
{
    const size_t total = 2 * w->how->set->count;
    if (w->how->progress == NULL || w->how->progress(w->how->ctx, "describing photos", done, total, "") == 0)
        return CZ_OK;
    return cz_fail(CZ_E_CANCELLED, "cancelled");
}

/* Root mean square of a tap's part 1, mean 0. */
static void normalise(work *w, const double *scale, const double *mean)
{
    const size_t n = w->how->width;
#pragma omp parallel for schedule(static)
    for (size_t p = 0; p < w->patches; p++) {
        float *row = w->rows + p * w->width;
        for (size_t k = 0; k < w->width; k++) row[k] = (float)((double)row[k] * scale[k / n] - mean[k]);
    }
}

static cz_status describe(work *w, cz_mutual_batch *out)
{
    cz_status status = CZ_OK;
    const size_t photos = w->how->set->count, n = w->how->width;
    double scale[CZ_MAX_TAPS];
    for (size_t i = 0; i < photos; i++) {
        CZ_TRY(report(w, i));
        CZ_TRY(project(w, i));
        add_up(w, i);
        if (!all_finite(w)) CZ_TRY(not_finite(w, i));
    }
    for (size_t t = 0; t < w->taps; t++)
        scale[t] = w->square[t] > 0.0 ? sqrt((double)w->count / w->square[t]) : 1.0; /* photos that are all black */
    for (size_t k = 0; k < w->width; k++) w->sum[k] *= scale[k / n] / (double)w->count;
    for (size_t i = 0; i < photos; i++) {
        CZ_TRY(report(w, photos + i));
        CZ_TRY(project(w, i));
        normalise(w, scale, w->sum);
        CZ_TRY(cz_mutual_batch_set(out, i, w->rows, w->how->set->items[i].valid));
    }
out:
    return status;
}

cz_status cz_mutual_describe_all(const cz_mutual_describe *how, cz_mutual_batch *out)
{
    cz_status status;
    work w = {.how = how};
    *out = (cz_mutual_batch){.photos = 0};
    CZ_TRY(make_work(&w));
    CZ_TRY(
        cz_mutual_batch_create(how->set->count, cz_pooler_grid_w(w.pooler), cz_pooler_grid_h(w.pooler), w.width, out));
    CZ_TRY(describe(&w, out));
out:
    cz_pooler_destroy(w.pooler);
    cz_engine_gemm_destroy(w.gemm);
    for (size_t t = 0; t < CZ_MAX_TAPS; t++) cz_free(w.projection[t]);
    cz_free(w.small);
    cz_free(w.pooled);
    cz_free(w.rows);
    cz_free(w.sum);
    if (status != CZ_OK) cz_mutual_batch_free(out);
    return status;
}
