/* SPDX-License-Identifier: Apache-2.0 */
#include "api/confidence.h"

#include "calibrate/contamination.h"
#include "losses/soft_confident.h"
#include "util/alloc.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* 16 MB of scores: the quartiles of 4,000 photos of 32 x 32 patches are exact. */
#define KEPT ((size_t)1 << 22)
/* The least trusted one in so many patches of a photo speak for it: a defect is small. */
#define ONE_IN ((size_t)100)
/* The same photos are compared in the same way whatever the training's seed. */
#define MUTUAL_SEED 0

typedef struct ranked {
    float score;
    size_t place;
} ranked;

/* One category at a time. */
typedef struct confidence_work {
    const cz_confidence_input *in;
    cz_confidence *out;
    float *scores;  /* [grid] of one photo */
    ranked *sorted; /* [grid] the same, the highest first */
    float *weights; /* [grid] */
    float *top;     /* [photos, tops] the highest scores of each photo */
    size_t *count;  /* [photos] how many of them */
    size_t tops;
    float *kept;   /* [room] of the photos of this category, one behind the other */
    size_t *first; /* [photos + 1] where a photo's begin, photos of this category only */
    size_t room;
    cz_score_window *nothing; /* for its scratch */
    float *levels;            /* [photos] of this category */
} confidence_work;

static int descending(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->score > y->score || x->score < y->score) return x->score > y->score ? -1 : 1;
    return x->place < y->place ? -1 : x->place > y->place;
}

static int ascending(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

static size_t category_of(const cz_confidence_input *in, size_t photo)
{
    return in->category != NULL ? in->category[photo] : 0;
}

static double mean_of(const ranked *sorted, size_t count)
{
    double sum = 0.0;
    for (size_t i = 0; i < count; i++) sum += (double)sorted[i].score;
    return sum / (double)count;
}

/* ---- a pass over the photos of a category ------------------------------------------------------------------------- */

static cz_status sort_photo(confidence_work *w, size_t photo, size_t *count)
{
    const size_t *place = NULL;
    const cz_status status = w->in->scores(w->in->ctx, photo, w->scores, count, &place);
    if (status != CZ_OK) return status;
    if (*count == 0 || *count > w->in->grid) return cz_fail(CZ_E_INTERNAL, "a photo with %zu patches", *count);
    for (size_t i = 0; i < *count; i++) {
        if (!isfinite(w->scores[i]))
            return cz_fail(CZ_E_DIVERGED, "training ended with scores that are not finite; lower the learning rates");
        w->sorted[i] = (ranked){w->scores[i], place != NULL ? place[i] : i};
    }
    qsort(w->sorted, *count, sizeof *w->sorted, descending);
    return CZ_OK;
}

/* `stride`: every so many of the sorted scores are kept, which thins all photos alike. */
static cz_status take_photo(confidence_work *w, size_t photo, size_t stride, size_t *at)
{
    size_t count;
    const cz_status status = sort_photo(w, photo, &count);
    if (status != CZ_OK) return status;
    cz_photo_confidence *c = &w->out->photos[photo];
    const size_t tops = count / ONE_IN > 0 ? count / ONE_IN : 1, top_k = w->in->top_k < count ? w->in->top_k : count;
    c->category = category_of(w->in, photo);
    c->level = mean_of(w->sorted, tops);
    c->score = mean_of(w->sorted, top_k);
    c->place = w->sorted[0].place;
    w->count[photo] = tops;
    for (size_t i = 0; i < tops; i++) w->top[photo * w->tops + i] = w->sorted[i].score;
    w->first[photo] = *at;
    for (size_t i = (stride < count ? stride : count) / 2; i < count; i += stride)
        w->kept[(*at)++] = w->sorted[i].score;
    return CZ_OK;
}

static cz_status weigh_photo(confidence_work *w, size_t photo, const cz_spread *spread, size_t kept)
{
    cz_status status;
    cz_confidence_options options;
    cz_photo_confidence *c = &w->out->photos[photo];
    double sum = 0.0;
    size_t below = 0;
    cz_confidence_options_init(&options);
    CZ_TRY(cz_confidence_weights(&options, spread, w->top + photo * w->tops, w->count[photo], w->weights));
    for (size_t i = 0; i < w->count[photo]; i++) sum += (double)w->weights[i];
    c->weight = sum / (double)w->count[photo];
    CZ_TRY(cz_confidence_weights(&options, spread, w->kept + w->first[photo], kept, w->weights));
    for (size_t i = 0; i < kept; i++) below += w->weights[i] < 1.0f;
    c->share_below_one = (double)below / (double)kept;
out:
    return status;
}

static cz_status do_category(confidence_work *w, size_t category, size_t *judged, size_t *apart)
{
    cz_status status = CZ_OK;
    const cz_confidence_input *in = w->in;
    cz_spread spread;
    size_t photos = 0, at = 0, done = 0;
    for (size_t i = 0; i < in->photos; i++) photos += category_of(in, i) == category;
    if (photos == 0) return CZ_OK;
    const size_t limit = in->limit > 0 ? in->limit : KEPT, most = limit / photos > 0 ? limit / photos : 1;
    const size_t stride = (in->grid + most - 1) / most;
    for (size_t i = 0; i < in->photos; i++) {
        if (category_of(in, i) == category) CZ_TRY(take_photo(w, i, stride, &at));
    }
    CZ_TRY(cz_score_window_spread(w->nothing, w->kept, at, &spread));
    for (size_t i = in->photos, end = at; i-- > 0;) {
        if (category_of(in, i) != category) continue;
        CZ_TRY(weigh_photo(w, i, &spread, end - w->first[i]));
        end = w->first[i];
        w->levels[done++] = (float)w->out->photos[i].level;
    }
    qsort(w->levels, done, sizeof *w->levels, ascending);
    const cz_contamination found = cz_contamination_estimate(w->levels, done);
    for (size_t i = 0; i < in->photos; i++) {
        if (category_of(in, i) == category)
            w->out->photos[i].apart = (double)(float)w->out->photos[i].level > found.limit;
    }
    if (done >= CZ_CONTAMINATION_LEAST) {
        *judged += done;
        *apart += found.beyond;
    }
out:
    return status;
}

/* ---- the whole ---------------------------------------------------------------------------------------------------- */

/* Room for the scores of the largest category: thinning leaves at least one of a photo. */
static cz_status make_work(confidence_work *w)
{
    const cz_confidence_input *in = w->in;
    size_t all;
    w->tops = in->grid / ONE_IN > 0 ? in->grid / ONE_IN : 1;
    if (!cz_mul_size(in->photos, in->grid, &all)) return cz_fail(CZ_E_MEMORY, "a training set is too large");
    const size_t limit = in->limit > 0 ? in->limit : KEPT;
    w->room = all < limit + in->photos ? all : limit + in->photos;
    w->scores = cz_alloc_array(in->grid, sizeof *w->scores);
    w->sorted = cz_alloc_array(in->grid, sizeof *w->sorted);
    w->weights = cz_alloc_array(in->grid, sizeof *w->weights);
    w->top = cz_alloc_array(in->photos, w->tops * sizeof *w->top);
    w->count = cz_calloc(in->photos, sizeof *w->count);
    w->kept = cz_alloc_array(w->room, sizeof *w->kept);
    w->first = cz_calloc(in->photos + 1, sizeof *w->first);
    w->levels = cz_alloc_array(in->photos, sizeof *w->levels);
    w->out->photos = cz_calloc(in->photos, sizeof *w->out->photos);
    if (w->scores == NULL || w->sorted == NULL || w->weights == NULL || w->top == NULL || w->count == NULL ||
        w->kept == NULL || w->first == NULL || w->levels == NULL || w->out->photos == NULL)
        return CZ_E_MEMORY;
    return cz_score_window_create(1, &w->nothing);
}

static void free_work(confidence_work *w)
{
    cz_free(w->scores);
    cz_free(w->sorted);
    cz_free(w->weights);
    cz_free(w->top);
    cz_free(w->count);
    cz_free(w->kept);
    cz_free(w->first);
    cz_free(w->levels);
    cz_score_window_destroy(w->nothing);
}

cz_status cz_confidence_compute(const cz_confidence_input *input, cz_confidence *out)
{
    cz_status status;
    confidence_work w = {.in = input, .out = out};
    size_t judged = 0, apart = 0;
    *out = (cz_confidence){.count = input->photos, .grid_width = input->grid, .grid_height = 1};
    if (input->photos == 0 || input->grid == 0) return cz_fail(CZ_E_NO_IMAGES, "no photo to be judged");
    CZ_TRY(make_work(&w));
    for (size_t i = 0; i < input->categories; i++) CZ_TRY(do_category(&w, i, &judged, &apart));
    out->contamination = judged > 0 ? (double)apart / (double)judged : (double)NAN;
out:
    free_work(&w);
    if (status != CZ_OK) cz_confidence_free(out);
    return status;
}

void cz_confidence_free(cz_confidence *c)
{
    cz_free(c->photos);
    *c = (cz_confidence){.photos = NULL};
}

/* ---- of a training set -------------------------------------------------------------------------------------------- */

typedef struct scored_set {
    cz_patch_set *patches;
    const cz_model *model;
    float *features;
    size_t done;
} scored_set;

static cz_status score_photo(void *ctx, size_t photo, float *scores, size_t *count, const size_t **place)
{
    scored_set *s = ctx;
    const cz_status status = cz_patch_set_report(s->patches, "confidence", s->done++, s->patches->set.count, "");
    if (status != CZ_OK) return status;
    *count = cz_patch_set_whole(s->patches, photo, s->features);
    *place = s->patches->rows;
    return cz_patch_set_score(s->patches, s->model, photo, s->features, *count, scores);
}

/* Photos are compared by what they show: by pooled features, also where the head is given relational numbers. */
static cz_status compare_pooled(cz_patch_set *p, const size_t *category, size_t categories, float *features,
                                cz_mutual *out)
{
    const float *scales = p->scales;
    const size_t width = p->width;
    if (scales == NULL) return cz_mutual_measure(p, category, categories, MUTUAL_SEED, features, out);
    p->width = cz_pooler_width(p->pooler);
    float *wide = cz_alloc_array(p->grid, p->width * sizeof *wide);
    p->scales = NULL;
    const cz_status status =
        wide != NULL ? cz_mutual_measure(p, category, categories, MUTUAL_SEED, wide, out) : CZ_E_MEMORY;
    p->scales = scales;
    p->width = width;
    cz_free(wide);
    return status;
}

cz_status cz_confidence_measure(cz_patch_set *p, const cz_model *model, const cz_image_source *source, float *features,
                                cz_confidence *out)
{
    const bool named = source->categories > 0 && source->category != NULL;
    scored_set s = {p, model, features, 0};
    size_t *category = cz_calloc(p->set.count, sizeof *category);
    *out = (cz_confidence){.photos = NULL};
    if (category == NULL) return CZ_E_MEMORY;
    const cz_confidence_input input = {.photos = p->set.count,
                                       .categories = named ? source->categories : 1,
                                       .category = category,
                                       .grid = p->grid,
                                       .top_k = model->top_k,
                                       .scores = score_photo,
                                       .ctx = &s};
    cz_status status = CZ_OK;
    cz_mutual mutual = {.distance = NULL};
    for (size_t i = 0; named && i < p->set.count && status == CZ_OK; i++) {
        category[i] = source->category(source->ctx, p->set.items[i].source);
        if (category[i] >= source->categories)
            status = cz_fail(CZ_E_ARG, "image %zu: there is no category %zu", i, category[i]);
    }
    if (status == CZ_OK) status = cz_confidence_compute(&input, out);
    if (status == CZ_OK) status = compare_pooled(p, category, input.categories, features, &mutual);
    if (status == CZ_OK) status = cz_confidence_compare(&mutual, category, input.categories, out);
    cz_mutual_free(&mutual);
    cz_free(category);
    if (status == CZ_OK) {
        out->grid_width = cz_pooler_grid_w(p->pooler);
        out->grid_height = cz_pooler_grid_h(p->pooler);
    }
    if (status == CZ_OK) status = cz_patch_set_report(p, "confidence", p->set.count, p->set.count, "");
    if (status != CZ_OK) cz_confidence_free(out); /* the last report may cancel as well */
    return status;
}
