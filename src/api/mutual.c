/* SPDX-License-Identifier: Apache-2.0 */
#include "api/mutual.h"

#include "engine/engine.h"
#include "util/alloc.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Patches that all others are compared with, of a category; on 233 and 356 photos 12,000 and more ranked them no better. */
#define BANK ((size_t)8192)
/* A random projection to this many dimensions keeps distances to about 5 %. */
#define WIDTH ((size_t)256)
/* Rows at a time, so that their products with the whole bank stay in the cache. */
#define ROWS ((size_t)64)

typedef struct mutual_work {
    cz_patch_set *p;
    cz_mutual *out;
    uint64_t seed;
    float *features;   /* [grid, D] of one photo */
    float *projection; /* [D, F] */
    float *rows;       /* [grid, F] of one photo */
    float *norms;      /* [grid] */
    float *bank;       /* [BANK at the most, F] of one category */
    float *bank_norms;
    float *products; /* [ROWS, BANK] */
    size_t *first;   /* [photos + 1] rows of the bank that are a photo's: first[i] … first[i + 1] */
    float *column;   /* [photos] */
    size_t width, banked, done;
} mutual_work;

/* ---- projection ---------------------------------------------------------------------------------------------------- */

static cz_status project(const mutual_work *w, size_t count, float *out, float *norms)
{
    const size_t d = w->p->width, f = w->width;
    const cz_status status =
        cz_engine_sgemm(false, false, count, f, d, 1.0f, w->features, d, w->projection, f, 0.0f, out, f);
    if (status != CZ_OK) return status;
    for (size_t i = 0; i < count; i++) {
        double sum = 0.0;
        for (size_t j = 0; j < f; j++) sum += (double)out[i * f + j] * (double)out[i * f + j];
        norms[i] = (float)sum;
        if (!isfinite(norms[i])) return cz_fail(CZ_E_DIVERGED, "features that are not finite");
    }
    return CZ_OK;
}

static void make_projection(mutual_work *w)
{
    cz_rng rng;
    cz_rng_init(&rng, w->seed, CZ_RNG_MUTUAL, 0, 0);
    cz_rng_normal_fill(&rng, 0, w->projection, w->p->width * w->width, 1.0f / sqrtf((float)w->width));
}

/* ---- the bank ------------------------------------------------------------------------------------------------------ */

static cz_status fill_bank(mutual_work *w, const size_t *category, size_t which, size_t photos)
{
    cz_status status = CZ_OK;
    const size_t each = BANK / photos > 0 ? BANK / photos : 1;
    const size_t stride = (photos + BANK - 1) / BANK; /* of more photos than that every so many takes part */
    size_t at = 0, seen = 0;
    for (size_t i = 0; i < w->out->photos; i++) {
        w->first[i] = at;
        if (category[i] != which || seen++ % stride != 0) continue;
        CZ_TRY(cz_patch_set_report(w->p, "comparing photos", w->done++, 2 * w->out->photos, ""));
        cz_rng rng;
        cz_rng_init(&rng, w->seed, CZ_RNG_MUTUAL, i + 1, (uint32_t)which);
        const size_t count = cz_patch_set_sample(w->p, i, each, &rng, w->features);
        CZ_TRY(project(w, count, w->bank + at * w->width, w->bank_norms + at));
        at += count;
    }
    w->first[w->out->photos] = w->banked = at;
out:
    return status;
}

/* |x - b|^2 = |x|^2 - 2 x b + |b|^2, the smallest over the other photos' rows b. */
static float nearest(const mutual_work *w, const float *products, float norm, size_t own, size_t own_end)
{
    float best = INFINITY;
#pragma omp simd reduction(min : best)
    for (size_t j = 0; j < own; j++) {
        const float d = w->bank_norms[j] - 2.0f * products[j];
        best = d < best ? d : best;
    }
#pragma omp simd reduction(min : best)
    for (size_t j = own_end; j < w->banked; j++) {
        const float d = w->bank_norms[j] - 2.0f * products[j];
        best = d < best ? d : best;
    }
    best += norm;
    return best > 0.0f ? sqrtf(best) : 0.0f;
}

static cz_status compare_photo(mutual_work *w, size_t photo)
{
    cz_status status;
    const size_t f = w->width, own = w->first[photo], own_end = w->first[photo + 1];
    float *distance = w->out->distance + photo * w->out->grid;
    const size_t count = cz_patch_set_whole(w->p, photo, w->features);
    CZ_TRY(project(w, count, w->rows, w->norms));
    for (size_t row = 0; row < count; row += ROWS) {
        const size_t rows = count - row < ROWS ? count - row : ROWS;
        CZ_TRY(cz_engine_sgemm(false, true, rows, w->banked, f, 1.0f, w->rows + row * f, f, w->bank, f, 0.0f,
                               w->products, w->banked));
#pragma omp parallel for schedule(static)
        for (size_t i = 0; i < rows; i++) {
            const float *products = w->products + i * w->banked;
            distance[w->p->rows[row + i]] = nearest(w, products, w->norms[row + i], own, own_end);
        }
    }
out:
    return status;
}

/* ---- against what is usual at a place ------------------------------------------------------------------------------- */

static int ascending(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

static float median_of(float *values, size_t count)
{
    qsort(values, count, sizeof *values, ascending);
    return count % 2 ? values[count / 2] : 0.5f * (values[count / 2 - 1] + values[count / 2]);
}

/* The MAD gets a share of the category's typical one added where a place hardly varies: rounding would be huge there otherwise. */
static void place_category(mutual_work *w, const size_t *category, size_t which, float typical)
{
    const size_t grid = w->out->grid;
    for (size_t place = 0; place < grid; place++) {
        size_t n = 0;
        for (size_t i = 0; i < w->out->photos; i++) {
            const float v = w->out->distance[i * grid + place];
            if (category[i] == which && isfinite(v)) w->column[n++] = v;
        }
        if (n == 0) continue;
        const float middle = median_of(w->column, n);
        for (size_t i = 0; i < n; i++) w->column[i] = fabsf(w->column[i] - middle);
        const float spread = median_of(w->column, n) + 1e-3f * typical;
        for (size_t i = 0; i < w->out->photos; i++) {
            const float v = w->out->distance[i * grid + place];
            if (category[i] == which && isfinite(v))
                w->out->placed[i * grid + place] = spread > 0.0f ? (v - middle) / spread : 0.0f;
        }
    }
}

static cz_status do_category(mutual_work *w, const size_t *category, size_t which)
{
    cz_status status;
    const size_t grid = w->out->grid;
    size_t photos = 0, n = 0;
    for (size_t i = 0; i < w->out->photos; i++) photos += category[i] == which;
    if (photos < CZ_MUTUAL_LEAST) return CZ_OK;
    CZ_TRY(fill_bank(w, category, which, photos));
    for (size_t i = 0; i < w->out->photos; i++) {
        if (category[i] != which) continue;
        CZ_TRY(cz_patch_set_report(w->p, "comparing photos", w->done++, 2 * w->out->photos, ""));
        CZ_TRY(compare_photo(w, i));
        double sum = 0.0;
        size_t inspected = 0;
        for (size_t j = 0; j < grid; j++) {
            const float v = w->out->distance[i * grid + j];
            if (isfinite(v)) sum += (double)v, inspected++;
        }
        w->column[n++] = inspected > 0 ? (float)(sum / (double)inspected) : 0.0f;
    }
    place_category(w, category, which, median_of(w->column, n));
out:
    return status;
}

/* ---- the whole ------------------------------------------------------------------------------------------------------ */

static cz_status make_work(mutual_work *w)
{
    const size_t photos = w->out->photos, grid = w->out->grid, d = w->p->width;
    size_t all;
    w->width = WIDTH;
    if (!cz_mul_size(photos, grid, &all)) return cz_fail(CZ_E_MEMORY, "a training set is too large");
    const size_t bank = BANK + grid; /* a photo more than fits is never begun, but one photo may have `grid` rows */
    w->projection = cz_alloc_array(d, w->width * sizeof *w->projection);
    w->rows = cz_alloc_array(grid, w->width * sizeof *w->rows);
    w->norms = cz_alloc_array(grid, sizeof *w->norms);
    w->bank = cz_alloc_array(bank, w->width * sizeof *w->bank);
    w->bank_norms = cz_alloc_array(bank, sizeof *w->bank_norms);
    w->products = cz_alloc_array(ROWS, bank * sizeof *w->products);
    w->first = cz_calloc(photos + 1, sizeof *w->first);
    w->column = cz_alloc_array(photos, sizeof *w->column);
    w->out->distance = cz_alloc_array(all, sizeof *w->out->distance);
    w->out->placed = cz_alloc_array(all, sizeof *w->out->placed);
    if (w->projection == NULL || w->rows == NULL || w->norms == NULL || w->bank == NULL || w->bank_norms == NULL ||
        w->products == NULL || w->first == NULL || w->column == NULL || w->out->distance == NULL ||
        w->out->placed == NULL)
        return CZ_E_MEMORY;
    for (size_t i = 0; i < all; i++) w->out->distance[i] = w->out->placed[i] = NAN;
    return CZ_OK;
}

cz_status cz_mutual_measure(cz_patch_set *p, const size_t *category, size_t categories, uint64_t seed, float *features,
                            cz_mutual *out)
{
    cz_status status;
    mutual_work w = {.p = p, .out = out, .seed = seed, .features = features};
    *out = (cz_mutual){.photos = p->set.count, .grid = p->grid};
    CZ_TRY(make_work(&w));
    make_projection(&w);
    for (size_t i = 0; i < categories; i++) CZ_TRY(do_category(&w, category, i));
out:
    cz_free(w.projection);
    cz_free(w.rows);
    cz_free(w.norms);
    cz_free(w.bank);
    cz_free(w.bank_norms);
    cz_free(w.products);
    cz_free(w.first);
    cz_free(w.column);
    if (status != CZ_OK) cz_mutual_free(out);
    return status;
}

void cz_mutual_free(cz_mutual *m)
{
    cz_free(m->distance);
    cz_free(m->placed);
    *m = (cz_mutual){.distance = NULL};
}
