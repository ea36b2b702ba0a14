/* SPDX-License-Identifier: Apache-2.0 */
/* Photos against photos, from coarse to fine (docs/math.md section 10). */
#include "api/mutual_batch.h"
#include "engine/engine.h"
#include "tensor/bf16.h"
#include "util/alloc.h"
#include "util/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Rows of a product that are reduced while they are in the cache. */
#define ROWS ((size_t)64)
/* Floats of a coarse product. */
#define COARSE ((size_t)1 << 18)
/* Task of the generator; projections count from 1 << 20. */
#define DRAWN ((uint32_t)1 << 21)

typedef struct candidate {
    size_t photo;
    double distance; /* coarse, then mean over patches */
} candidate;

typedef struct work {
    const cz_mutual_batch *b;
    const cz_mutual_compare *how;
    cz_mutual_result *out;
    size_t patches, most, block; /* most: candidates a photo; block: photos of a coarse product */
    cz_gemm *gemm;
    float *coarse;      /* [cells, block * cells] */
    candidate *all;     /* [photos] sorted by distance, the photo itself last */
    uint16_t *query;    /* [P, D] of one photo */
    float *products;    /* [ROWS, P] */
    float *fine;        /* [most, P] distances to each candidate */
    float *least;       /* [nearest] of one patch */
    const float *norms; /* of the candidate in work */
    float *row;         /* of `fine`, the same */
} work;

/* ---- coarse --------------------------------------------------------------------------------------------------------- */

/* Mean distance of i's cells to the nearest cell of the photo whose columns begin at `column`. */
static double coarse_distance(const work *w, size_t i, size_t j, size_t column, size_t columns)
{
    const size_t cells = w->b->cells;
    const float *own = w->b->cell_norms + i * cells, *other = w->b->cell_norms + j * cells;
    double sum = 0.0;
    size_t count = 0;
    for (size_t c = 0; c < cells; c++) {
        const float *product = w->coarse + c * columns + column;
        float best = INFINITY;
        if (isinf(own[c])) continue;
#pragma omp simd reduction(min : best)
        for (size_t k = 0; k < cells; k++) {
            const float v = other[k] - 2.0f * product[k];
            best = v < best ? v : best;
        }
        best += own[c];
        sum += best > CZ_MUTUAL_ROUNDING * own[c] ? sqrt((double)best) : 0.0;
        count++;
    }
    return sum / (double)count;
}

static int by_distance(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    if (x->distance < y->distance) return -1;
    if (x->distance > y->distance) return 1;
    return x->photo < y->photo ? -1 : x->photo > y->photo;
}

/* w->all: every other photo, the most similar ones first. */
static cz_status sort_photos(work *w, size_t i)
{
    cz_status status = CZ_OK;
    const cz_mutual_batch *b = w->b;
    const size_t cells = b->cells, d = b->width;
    for (size_t first = 0; first < b->photos; first += w->block) {
        const size_t count = b->photos - first < w->block ? b->photos - first : w->block, columns = count * cells;
        CZ_TRY(cz_engine_sgemm(false, true, cells, columns, d, 1.0f, b->cell + i * cells * d, d,
                               b->cell + first * cells * d, d, 0.0f, w->coarse, columns));
#pragma omp parallel for schedule(static)
        for (size_t j = 0; j < count; j++) {
            const double distance = first + j == i ? INFINITY : coarse_distance(w, i, first + j, j * cells, columns);
            w->all[first + j] = (candidate){first + j, distance};
        }
    }
    qsort(w->all, b->photos, sizeof *w->all, by_distance);
out:
    return status;
}

/* ---- fine ----------------------------------------------------------------------------------------------------------- */

/* |x - y|^2 = |x|^2 - 2 x y + |y|^2: here the smallest of the last two. */
static void reduce(void *ctx, size_t first, size_t count)
{
    const work *w = ctx;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < count; i++) {
        const float *product = w->products + i * w->patches;
        float best = INFINITY;
#pragma omp simd reduction(min : best)
        for (size_t k = 0; k < w->patches; k++) {
            const float v = w->norms[k] - 2.0f * product[k];
            best = v < best ? v : best;
        }
        w->row[first + i] = best;
    }
}

/* Distances of photo i's patches to a candidate's, and their mean. */
static cz_status compare_with(work *w, size_t i, candidate *with, float *row)
{
    cz_status status;
    const size_t patches = w->patches, d = w->b->width;
    const float *own = w->b->norms + i * patches;
    double sum = 0.0;
    size_t count = 0;
    w->norms = w->b->norms + with->photo * patches;
    w->row = row;
    const cz_gemm_desc product = {.m = patches,
                                  .n = patches,
                                  .k = d,
                                  .alpha = 1.0f,
                                  .a = {w->query, d, false, true},
                                  .b = {w->b->values + with->photo * patches * d, patches, false, true},
                                  .c = w->products,
                                  .ldc = patches,
                                  .done = reduce,
                                  .ctx = w,
                                  .block = ROWS,
                                  .c_is_block = true};
    CZ_TRY(cz_engine_gemm(w->gemm, &product));
    for (size_t p = 0; p < patches; p++) {
        const float square = row[p] + own[p];
        if (isinf(own[p])) {
            row[p] = NAN;
            continue;
        }
        row[p] = square > CZ_MUTUAL_ROUNDING * own[p] ? sqrtf(square) : 0.0f;
        sum += (double)row[p];
        count++;
    }
    with->distance = sum / (double)count;
out:
    return status;
}

/* ---- the same piece again --------------------------------------------------------------------------------------------- */

/* How many of the candidates, ascending by distance, show the same piece: those before the widest step, if it is wide. */
static size_t same_pieces(const candidate *sorted, size_t count)
{
    size_t best = 0;
    double widest = CZ_MUTUAL_SAME_STEP;
    for (size_t k = 1; k <= CZ_MUTUAL_SAME && k < count; k++) {
        const double below = sorted[k - 1].distance, above = sorted[k].distance;
        const double step = below > 0.0 ? above / below : above > 0.0 ? (double)INFINITY : 1.0;
        if (step > widest) {
            widest = step;
            best = k;
        }
    }
    return best;
}

/* Mean of the smallest. rows: of `fine`, in order of their distance. */
static float patch_score(const work *w, const candidate *rows, size_t count, size_t patch)
{
    const size_t most = w->how->nearest < count ? w->how->nearest : count;
    size_t n = 0;
    for (size_t r = 0; r < count; r++) {
        const float v = w->fine[rows[r].photo * w->patches + patch];
        if (n == most && v >= w->least[n - 1]) continue;
        size_t at = n < most ? n++ : n - 1;
        for (; at > 0 && w->least[at - 1] > v; at--) w->least[at] = w->least[at - 1];
        w->least[at] = v;
    }
    double sum = 0.0;
    for (size_t k = 0; k < n; k++) sum += (double)w->least[k];
    return (float)(sum / (double)n);
}

/* ---- one photo -------------------------------------------------------------------------------------------------------- */

/* `all` in another order: the first `wanted` are drawn from all `count`. */
static void draw_photos(const work *w, size_t i, candidate *all, size_t count, size_t wanted)
{
    cz_rng rng;
    cz_rng_init(&rng, w->how->seed, CZ_RNG_MUTUAL, i + 1, DRAWN);
    for (size_t r = 0; r < wanted; r++) {
        const size_t other = r + (size_t)cz_rng_below(&rng, count - r);
        const candidate swap = all[r];
        all[r] = all[other];
        all[other] = swap;
    }
}

/* w->all from *first on: the candidates. Returns how many; *first are of the same piece. */
static size_t choose(work *w, size_t i, size_t *first)
{
    const size_t others = w->b->photos - 1;
    *first = w->how->drawn && w->how->same_piece ? same_pieces(w->all, others) : 0;
    const size_t left = others - *first, count = w->most < left ? w->most : left;
    if (w->how->drawn) draw_photos(w, i, w->all + *first, left, count);
    return count;
}

static cz_status compare_photo(work *w, size_t i)
{
    cz_status status;
    const size_t patches = w->patches, d = w->b->width;
    size_t first;
    CZ_TRY(sort_photos(w, i));
    const size_t most_similar = w->all[0].photo, count = choose(w, i, &first);
    candidate *rows = w->all + first; /* from now on `photo` is a row of `fine` */
    const cz_bf16_source turned = {w->b->values + i * patches * d, d, patches, patches, true};
    cz_bf16_pack(&turned, true, w->query);
    for (size_t r = 0; r < count; r++) CZ_TRY(compare_with(w, i, &rows[r], w->fine + r * patches));
    size_t closest = 0;
    for (size_t r = 0; r < count; r++) {
        if (rows[r].distance < rows[closest].distance) closest = r;
    }
    w->out->closest[i] = w->how->drawn ? most_similar : rows[closest].photo;
    for (size_t r = 0; r < count; r++) rows[r].photo = r;
    qsort(rows, count, sizeof *rows, by_distance);
    const size_t left_out = w->how->same_piece ? same_pieces(rows, count) : 0;
    w->out->left_out[i] = first + left_out;
    for (size_t p = 0; p < patches; p++) {
        float *score = w->out->patch + i * patches + p;
        *score = isinf(w->b->norms[i * patches + p]) ? NAN : patch_score(w, rows + left_out, count - left_out, p);
    }
out:
    return status;
}

/* Room for coarse distances. */
static cz_status make_coarse(work *w)
{
    const cz_mutual_batch *b = w->b;
    const size_t square = b->cells * b->cells; /* fits where a photo's descriptors do */
    w->block = square < COARSE ? COARSE / square : 1;
    if (w->block > b->photos) w->block = b->photos;
    w->coarse = cz_alloc_array(w->block * square, sizeof *w->coarse);
    w->all = cz_alloc_array(b->photos, sizeof *w->all);
    return w->coarse != NULL && w->all != NULL ? CZ_OK : CZ_E_MEMORY;
}

static cz_status make_work(work *w)
{
    const cz_mutual_batch *b = w->b;
    size_t fine;
    w->patches = b->grid_w * b->grid_h;
    w->most = w->how->candidates < b->photos - 1 ? w->how->candidates : b->photos - 1;
    if (!cz_mul_size(w->most, w->patches, &fine)) return cz_fail(CZ_E_MEMORY, "%zu candidates are too many", w->most);
    w->query = cz_alloc_array(w->patches * b->width, sizeof *w->query);
    w->products = cz_alloc_array(w->patches, ROWS * sizeof *w->products);
    w->fine = cz_alloc_array(fine, sizeof *w->fine);
    w->least = cz_alloc_array(w->how->nearest < w->most ? w->how->nearest : w->most, sizeof *w->least);
    if (w->query == NULL || w->products == NULL || w->fine == NULL || w->least == NULL) return CZ_E_MEMORY;
    const cz_status status = make_coarse(w);
    return status == CZ_OK ? cz_engine_gemm_create(&w->gemm) : status;
}

static cz_status make_result(const cz_mutual_batch *b, cz_mutual_result *r)
{
    const size_t photos = b->photos;
    *r = (cz_mutual_result){.photos = photos, .patches = b->grid_w * b->grid_h};
    r->patch = cz_alloc_array(photos * r->patches, sizeof *r->patch);
    r->score = cz_calloc(photos, sizeof *r->score);
    r->raw = cz_calloc(photos, sizeof *r->raw);
    r->placed = cz_calloc(photos, sizeof *r->placed);
    r->place = cz_calloc(photos, sizeof *r->place);
    r->left_out = cz_calloc(photos, sizeof *r->left_out);
    r->closest = cz_calloc(photos, sizeof *r->closest);
    return r->patch != NULL && r->score != NULL && r->raw != NULL && r->placed != NULL && r->place != NULL &&
                   r->left_out != NULL && r->closest != NULL
               ? CZ_OK
               : CZ_E_MEMORY;
}

void cz_mutual_result_free(cz_mutual_result *r)
{
    cz_free(r->patch);
    cz_free(r->score);
    cz_free(r->raw);
    cz_free(r->placed);
    cz_free(r->place);
    cz_free(r->left_out);
    cz_free(r->closest);
    *r = (cz_mutual_result){.photos = 0};
}

static cz_status report(const work *w, size_t done)
{
    if (w->how->progress == NULL || w->how->progress(w->how->ctx, "comparing photos", done, w->b->photos, "") == 0)
        return CZ_OK;
    return cz_fail(CZ_E_CANCELLED, "cancelled");
}

cz_status cz_mutual_compare_all(const cz_mutual_batch *b, const cz_mutual_compare *how, cz_mutual_result *out)
{
    cz_status status;
    work w = {.b = b, .how = how, .out = out};
    if (b->photos < 2 || how->candidates == 0 || how->nearest == 0)
        return cz_fail(CZ_E_ARG, "%zu photos, %zu candidates, %zu nearest", b->photos, how->candidates, how->nearest);
    CZ_TRY(make_result(b, out));
    CZ_TRY(make_work(&w));
    for (size_t i = 0; i < b->photos; i++) {
        CZ_TRY(report(&w, i));
        CZ_TRY(compare_photo(&w, i));
    }
    CZ_TRY(report(&w, b->photos));
    CZ_TRY(cz_mutual_judge(out));
out:
    cz_engine_gemm_destroy(w.gemm);
    cz_free(w.coarse);
    cz_free(w.all);
    cz_free(w.query);
    cz_free(w.products);
    cz_free(w.fine);
    cz_free(w.least);
    if (status != CZ_OK) cz_mutual_result_free(out);
    return status;
}

/* ---- what a batch is like --------------------------------------------------------------------------------------------- */

cz_status cz_mutual_look_at(const cz_mutual_batch *b, cz_mutual_look *out)
{
    cz_status status;
    work w = {.b = b};
    float nearer[CZ_MUTUAL_LOOKED];
    size_t same = 0;
    const size_t looked = b->photos < CZ_MUTUAL_LOOKED ? b->photos : CZ_MUTUAL_LOOKED, others = b->photos - 1;
    if (b->photos < 2) return cz_fail(CZ_E_ARG, "%zu photos", b->photos);
    CZ_TRY(make_coarse(&w));
    for (size_t k = 0; k < looked; k++) {
        CZ_TRY(sort_photos(&w, k * b->photos / looked));
        const double middle = w.all[others / 2].distance;
        const double alike = w.all[(size_t)(CZ_MUTUAL_ALIKE * (double)others)].distance;
        nearer[k] = middle > 0.0 ? (float)(alike / middle) : 1.0f;
        same += same_pieces(w.all, others);
    }
    *out = (cz_mutual_look){cz_mutual_median(nearer, looked), (double)same / (double)looked};
out:
    cz_free(w.coarse);
    cz_free(w.all);
    return status;
}
