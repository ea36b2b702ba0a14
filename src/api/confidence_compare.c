/* SPDX-License-Identifier: Apache-2.0 */
/* Trust by comparison of the photos with each other: two opinions of each photo, and the louder one counts. */
#include "api/confidence.h"

#include "calibrate/contamination.h"
#include "losses/soft_confident.h"
#include "util/alloc.h"

#include <math.h>
#include <stdlib.h>

/* One opinion: values of patches as cz_confidence_compute asks for them. */
typedef struct opinion {
    const float *values; /* [photos, grid], NaN: none */
    size_t grid;
    size_t *place; /* [grid] */
    cz_confidence result;
    double middle, spread; /* of a category's levels: median, MAD */
} opinion;

static cz_status give_values(void *ctx, size_t photo, float *scores, size_t *count, const size_t **place)
{
    opinion *o = ctx;
    size_t n = 0;
    for (size_t i = 0; i < o->grid; i++) {
        const float v = o->values[photo * o->grid + i];
        if (!isfinite(v)) continue;
        o->place[n] = i;
        scores[n++] = v;
    }
    *count = n;
    *place = o->place;
    return CZ_OK;
}

static int ascending(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

static double median_of(float *values, size_t count)
{
    qsort(values, count, sizeof *values, ascending);
    return count % 2 ? (double)values[count / 2] : 0.5 * ((double)values[count / 2 - 1] + (double)values[count / 2]);
}

static void measure_levels(opinion *o, const size_t *category, size_t which, float *levels)
{
    size_t n = 0;
    for (size_t i = 0; i < o->result.count; i++)
        if (category[i] == which) levels[n++] = (float)o->result.photos[i].level;
    o->middle = median_of(levels, n);
    for (size_t i = 0; i < n; i++) levels[i] = fabsf(levels[i] - (float)o->middle);
    o->spread = median_of(levels, n);
}

/* How far above its category's bulk the opinion sees the photo, in median absolute deviations. */
static double loudness(const opinion *o, size_t photo)
{
    const double above = o->result.photos[photo].level - o->middle;
    return o->spread > 0.0 ? above / o->spread : 0.0;
}

/* Eq. 5 and 6 with the photos' levels in the place of patch scores. */
static cz_status weigh_category(cz_confidence *c, const size_t *category, size_t which, cz_score_window *scratch,
                                float *levels, float *weights, size_t *judged, size_t *apart)
{
    cz_status status;
    cz_confidence_options options;
    cz_spread spread;
    size_t n = 0, at = 0;
    cz_confidence_options_init(&options);
    for (size_t i = 0; i < c->count; i++)
        if (category[i] == which) levels[n++] = (float)c->photos[i].level;
    CZ_TRY(cz_score_window_spread(scratch, levels, n, &spread));
    CZ_TRY(cz_confidence_weights(&options, &spread, levels, n, weights));
    for (size_t i = 0; i < c->count; i++)
        if (category[i] == which) c->photos[i].weight = (double)weights[at++];
    qsort(levels, n, sizeof *levels, ascending);
    const cz_contamination found = cz_contamination_estimate(levels, n);
    for (size_t i = 0; i < c->count; i++)
        if (category[i] == which) c->photos[i].apart = (double)(float)c->photos[i].level > found.limit;
    if (n >= CZ_CONTAMINATION_LEAST) {
        *judged += n;
        *apart += found.beyond;
    }
out:
    return status;
}

/* Takes the louder opinion of each photo of the category, keeps its image score. */
static void decide(opinion opinions[2], cz_confidence *c, const size_t *category, size_t which, float *levels)
{
    for (size_t k = 0; k < 2; k++) measure_levels(&opinions[k], category, which, levels);
    for (size_t i = 0; i < c->count; i++) {
        if (category[i] != which) continue;
        const double a = loudness(&opinions[0], i), b = loudness(&opinions[1], i);
        const cz_photo_confidence *said = &opinions[b > a].result.photos[i];
        const double score = c->photos[i].score;
        c->photos[i] = *said;
        c->photos[i].score = score;
        c->photos[i].category = which;
        c->photos[i].level = b > a ? b : a;
    }
}

cz_status cz_confidence_compare(const cz_mutual *mutual, const size_t *category, size_t categories, cz_confidence *c)
{
    cz_status status = CZ_OK;
    const size_t photos = mutual->photos;
    size_t *compared = cz_alloc_array(photos, sizeof *compared), *place = cz_alloc_array(mutual->grid, sizeof *place);
    float *levels = cz_alloc_array(photos, sizeof *levels), *weights = cz_alloc_array(photos, sizeof *weights);
    size_t *size = cz_calloc(categories, sizeof *size), judged = 0, apart = 0, large = 0;
    cz_score_window *scratch = NULL;
    opinion opinions[2] = {{.values = mutual->distance, .grid = mutual->grid, .place = place},
                           {.values = mutual->placed, .grid = mutual->grid, .place = place}};
    if (compared == NULL || place == NULL || levels == NULL || weights == NULL || size == NULL) {
        status = CZ_E_MEMORY;
        goto out;
    }
    for (size_t i = 0; i < photos; i++) size[category[i]]++;
    for (size_t i = 0; i < photos; i++) /* `categories` is asked for by nobody */
        compared[i] = size[category[i]] >= CZ_MUTUAL_LEAST ? category[i] : categories;
    for (size_t i = 0; i < categories; i++) large += size[i] >= CZ_MUTUAL_LEAST;
    if (large == 0) goto out;
    CZ_TRY(cz_score_window_create(1, &scratch));
    for (size_t k = 0; k < 2; k++) {
        const cz_confidence_input input = {.photos = photos,
                                           .categories = categories,
                                           .category = compared,
                                           .grid = mutual->grid,
                                           .top_k = 1,
                                           .scores = give_values,
                                           .ctx = &opinions[k]};
        CZ_TRY(cz_confidence_compute(&input, &opinions[k].result));
    }
    for (size_t i = 0; i < categories; i++) {
        if (size[i] < CZ_MUTUAL_LEAST) continue;
        decide(opinions, c, category, i, levels);
        CZ_TRY(weigh_category(c, category, i, scratch, levels, weights, &judged, &apart));
    }
    /* Categories that were not compared have fewer photos than any that a contamination is estimated of. */
    c->contamination = judged > 0 ? (double)apart / (double)judged : (double)NAN;
out:
    for (size_t k = 0; k < 2; k++) cz_confidence_free(&opinions[k].result);
    cz_score_window_destroy(scratch);
    cz_free(compared);
    cz_free(place);
    cz_free(levels);
    cz_free(weights);
    cz_free(size);
    return status;
}
