/* SPDX-License-Identifier: Apache-2.0 */
/* cozad_mutual.h: features of the photos, their descriptors, the comparison, and what is kept of it. */
#include "cozad/cozad_mutual.h"

#include "api/collect.h"
#include "api/mutual_describe.h"
#include "api/precision.h"
#include "calibrate/score_map.h"
#include "util/alloc.h"
#include "util/threads.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MEMORY ((uint64_t)8 << 30)

struct cz_mutual_scores {
    cz_prep prep;
    cz_score_map *mapper;
    size_t grid_w, grid_h, skipped, threads;
    cz_mutual_result result;
    cz_geometry *geometry; /* [photos] */
    size_t *source;        /* [photos] index in the source */
    double low, high;
    cz_mutual_way way;
};

/* What is needed on the way. */
typedef struct work {
    cz_extractor *extractor;
    cz_feature_set set;
    cz_mutual_batch batch;
} work;

void cz_mutual_options_init(cz_mutual_options *o)
{
    memset(o, 0, sizeof *o);
    o->struct_size = sizeof *o;
    o->taps = "layer2,layer3";
    o->image_width = o->image_height = 256;
    o->fit = CZ_FIT_SQUASH;
    o->width = 64;
    o->candidates = 24;
    o->nearest = 3;
    o->same_piece = 1;
    o->precision = CZ_PRECISION_FP32;
    o->cache = (cz_cache_options)CZ_CACHE_OPTIONS_INIT;
}

/* ---- checks --------------------------------------------------------------------------------------------------------- */

static cz_status check(cz_backbone *b, const cz_image_source *images, const cz_mutual_options *o)
{
    if (images->struct_size < sizeof *images) return cz_fail(CZ_E_ARG, "cz_image_source: unknown struct_size");
    if (o->struct_size < sizeof *o) return cz_fail(CZ_E_ARG, "cz_mutual_options: unknown struct_size");
    if (o->image_width < 32 || o->image_height < 32 || o->image_width > 8192 || o->image_height > 8192)
        return cz_fail(CZ_E_ARG, "image size %zux%zu is not within 32 … 8192", o->image_width, o->image_height);
    if (o->taps == NULL) return cz_fail(CZ_E_ARG, "no taps");
    if (o->width < 1 || o->width > 4096) return cz_fail(CZ_E_ARG, "a width of %zu is not in 1 … 4096", o->width);
    if (o->candidates < 1) return cz_fail(CZ_E_ARG, "no candidates: a photo is compared with at least 1");
    if (o->nearest < 1) return cz_fail(CZ_E_ARG, "a patch's score needs at least 1 nearest patch");
    if (o->neighbourhood != CZ_MUTUAL_NEIGHBOURHOOD_AUTO && o->neighbourhood != CZ_MUTUAL_NEIGHBOURHOOD_1 &&
        o->neighbourhood != CZ_MUTUAL_NEIGHBOURHOOD_3)
        return cz_fail(CZ_E_ARG, "a neighbourhood of %d is neither 1 nor 3", (int)o->neighbourhood);
    if (o->among != CZ_MUTUAL_AMONG_AUTO && o->among != CZ_MUTUAL_AMONG_SIMILAR && o->among != CZ_MUTUAL_AMONG_DRAWN)
        return cz_fail(CZ_E_ARG, "cz_mutual_options: unknown choice of photos %d", (int)o->among);
    if (o->precision == CZ_PRECISION_AUTO || o->precision == CZ_PRECISION_MODEL)
        return cz_fail(CZ_E_ARG, "precision \"%s\" needs a model", cz_precision_name(o->precision));
    const cz_status status = cz_precision_check(o->precision);
    if (status != CZ_OK) return status;
    if (o->precision == CZ_PRECISION_INT8 && !cz_backbone_has_ranges(b))
        return cz_fail(CZ_E_ARG, "int8 needs weights with ranges inside (cozad weights convert)");
    if (images->count < CZ_MUTUAL_PHOTOS)
        return cz_fail(CZ_E_NO_IMAGES, "photos are compared with each other from %zu on; there %s %zu",
                       CZ_MUTUAL_PHOTOS, images->count == 1 ? "is" : "are", images->count);
    return CZ_OK;
}

/* Before anything is computed. */
static cz_status check_memory(const work *w, const cz_mutual_options *o, size_t photos)
{
    const cz_tap_shape *grid = cz_extractor_shape(w->extractor, 0);
    const uint64_t limit = o->memory > 0 ? o->memory : MEMORY;
    size_t each = 0, all;
    const size_t width = cz_extractor_taps(w->extractor) * o->width;
    if (cz_mutual_batch_bytes(grid->width, grid->height, width, &each) && cz_mul_size(each, photos, &all) &&
        all <= limit)
        return CZ_OK;
    return cz_fail(
        CZ_E_LIMIT,
        "%zu photos of %zux%zu patches take %.1f GB, more than %.1f GB: fewer photos, a smaller image size or "
        "width, or a higher limit",
        photos, grid->width, grid->height, (double)photos * (double)each / 1e9, (double)limit / 1e9);
}

/* ---- features --------------------------------------------------------------------------------------------------------- */

static cz_status extract(work *w, cz_backbone *b, const cz_image_source *images, const cz_mutual_options *o,
                         cz_mutual_scores *s)
{
    cz_status status;
    const cz_extractor_options options = {.taps = o->taps,
                                          .prep = &s->prep,
                                          .threads = o->threads > 0 ? o->threads : cz_threads_available(),
                                          .batch = 1,
                                          .precision = o->precision,
                                          .quant = o->precision == CZ_PRECISION_INT8 ? cz_backbone_ranges(b) : NULL,
                                          .cache = &o->cache,
                                          .log = o->log,
                                          .ctx = o->ctx};
    CZ_TRY(cz_extractor_create(b, &options, &w->extractor));
    CZ_TRY(check_memory(w, o, images->count));
    s->grid_w = cz_extractor_shape(w->extractor, 0)->width;
    s->grid_h = cz_extractor_shape(w->extractor, 0)->height;
    const cz_collect_options collect = {.backbone = b,
                                        .source = images,
                                        .extract = &options,
                                        .grid_w = s->grid_w,
                                        .grid_h = s->grid_h,
                                        .progress = o->progress,
                                        .ctx = o->ctx};
    CZ_TRY(cz_feature_set_create(images->count, cz_extractor_values(w->extractor), &w->set));
    status = cz_collect(&collect, &w->set, &s->skipped);
    if (status == CZ_E_NO_IMAGES) cz_error_clear(); /* its message is about training */
    if (status != CZ_OK && status != CZ_E_NO_IMAGES) return status;
    if (w->set.count < CZ_MUTUAL_PHOTOS)
        return cz_fail(CZ_E_NO_IMAGES, "only %zu of %zu photos could be read; they are compared from %zu on",
                       w->set.count, images->count, CZ_MUTUAL_PHOTOS);
out:
    return status;
}

/* ---- what is kept --------------------------------------------------------------------------------------------------- */

static cz_status keep(const work *w, cz_mutual_scores *s)
{
    s->geometry = cz_alloc_array(w->set.count, sizeof *s->geometry);
    s->source = cz_alloc_array(w->set.count, sizeof *s->source);
    if (s->geometry == NULL || s->source == NULL) return CZ_E_MEMORY;
    for (size_t i = 0; i < w->set.count; i++) {
        s->geometry[i] = w->set.items[i].geometry;
        s->source[i] = w->set.items[i].source;
    }
    return cz_score_map_create(s->grid_w, s->grid_h, s->prep.width, s->prep.height, &s->mapper);
}

static int ascending(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

/* Median and 99.9 % quantile. */
static cz_status measure_scale(cz_mutual_scores *s)
{
    const size_t all = s->result.photos * s->result.patches; /* in memory already */
    float *values = cz_alloc_array(all, sizeof *values);
    size_t count = 0;
    if (values == NULL) return CZ_E_MEMORY;
    for (size_t i = 0; i < all; i++) {
        if (!isnan(s->result.patch[i])) values[count++] = s->result.patch[i];
    }
    qsort(values, count, sizeof *values, ascending);
    s->low = (double)values[count / 2];
    s->high = (double)values[(size_t)(0.999 * (double)(count - 1))];
    if (!(s->high > s->low)) s->high = s->low + 1.0;
    cz_free(values);
    return CZ_OK;
}

/* Neighbourhood and candidates: as asked, or as the batch itself, described with neighbourhoods, tells. */
static cz_status decide(const work *w, const cz_mutual_options *o, cz_mutual_way *way)
{
    cz_mutual_look look;
    *way = (cz_mutual_way){o->neighbourhood, o->among, NAN, NAN};
    if (o->neighbourhood != CZ_MUTUAL_NEIGHBOURHOOD_AUTO && o->among != CZ_MUTUAL_AMONG_AUTO) return CZ_OK;
    const cz_status status = cz_mutual_look_at(&w->batch, &look);
    if (status != CZ_OK) return status;
    const bool anyhow = look.nearer < CZ_MUTUAL_ANYHOW;
    const bool drawn = !anyhow && look.repeated >= CZ_MUTUAL_REPEATED;
    way->nearer = look.nearer;
    way->repeated = look.repeated;
    if (o->neighbourhood == CZ_MUTUAL_NEIGHBOURHOOD_AUTO)
        way->neighbourhood = anyhow ? CZ_MUTUAL_NEIGHBOURHOOD_1 : CZ_MUTUAL_NEIGHBOURHOOD_3;
    if (o->among == CZ_MUTUAL_AMONG_AUTO) way->among = drawn ? CZ_MUTUAL_AMONG_DRAWN : CZ_MUTUAL_AMONG_SIMILAR;
    return CZ_OK;
}

static cz_status compare(work *w, const cz_image_source *images, const cz_mutual_options *o, cz_mutual_scores *s)
{
    cz_status status;
    cz_mutual_describe describe = {.extractor = w->extractor,
                                   .set = &w->set,
                                   .source = images,
                                   .width = o->width,
                                   .neighbourhood = o->neighbourhood == CZ_MUTUAL_NEIGHBOURHOOD_1 ? 1 : 3,
                                   .seed = o->seed,
                                   .progress = o->progress,
                                   .ctx = o->ctx};
    CZ_TRY(cz_mutual_describe_all(&describe, &w->batch));
    CZ_TRY(decide(w, o, &s->way));
    if ((size_t)s->way.neighbourhood != describe.neighbourhood) {
        describe.neighbourhood = (size_t)s->way.neighbourhood;
        cz_mutual_batch_free(&w->batch);
        CZ_TRY(cz_mutual_describe_all(&describe, &w->batch));
    }
    const cz_mutual_compare how = {.candidates = o->candidates,
                                   .nearest = o->nearest,
                                   .same_piece = o->same_piece != 0,
                                   .drawn = s->way.among == CZ_MUTUAL_AMONG_DRAWN,
                                   .seed = o->seed,
                                   .progress = o->progress,
                                   .ctx = o->ctx};
    CZ_TRY(cz_mutual_compare_all(&w->batch, &how, &s->result));
    CZ_TRY(keep(w, s));
    CZ_TRY(measure_scale(s));
out:
    return status;
}

/* ---- public --------------------------------------------------------------------------------------------------------- */

cz_status cz_mutual_score(cz_backbone *backbone, const cz_image_source *images, const cz_mutual_options *options,
                          cz_mutual_scores **out)
{
    cz_error_clear();
    cz_status status;
    work w = {.set = {.file = -1}};
    cz_mutual_scores *s = NULL;
    cz_threads_scope scope = {0};
    if (backbone == NULL || images == NULL || options == NULL || out == NULL || images->load == NULL)
        return cz_fail(CZ_E_ARG, "cz_mutual_score: a NULL argument");
    CZ_TRY(check(backbone, images, options));
    CZ_TRY(cz_threads_enter(options->threads, &scope));
    s = cz_calloc(1, sizeof *s);
    if (s == NULL) CZ_TRY(CZ_E_MEMORY);
    s->threads = options->threads;
    CZ_TRY(cz_prep_init(options->image_width, options->image_height, options->fit, options->resize, &options->roi,
                        options->ignore_mask, &s->prep));
    CZ_TRY(extract(&w, backbone, images, options, s));
    CZ_TRY(compare(&w, images, options, s));
    *out = s;
    s = NULL;
out:
    cz_mutual_batch_free(&w.batch);
    cz_feature_set_free(&w.set);
    cz_extractor_destroy(w.extractor);
    cz_mutual_scores_free(s);
    cz_threads_leave(&scope);
    return status;
}

void cz_mutual_scores_free(cz_mutual_scores *s)
{
    if (s == NULL) return;
    cz_mutual_result_free(&s->result);
    cz_score_map_destroy(s->mapper);
    cz_prep_free(&s->prep);
    cz_free(s->geometry);
    cz_free(s->source);
    cz_free(s);
}

size_t cz_mutual_scores_count(const cz_mutual_scores *s)
{
    return s->result.photos;
}

size_t cz_mutual_scores_skipped(const cz_mutual_scores *s)
{
    return s->skipped;
}

void cz_mutual_scores_way(const cz_mutual_scores *s, cz_mutual_way *out)
{
    *out = s->way;
}

/* The photo's pixel in the middle of place `at` of `grid`, where the network's input has `size` pixels. */
static size_t pixel(size_t at, size_t grid, size_t size, double origin, double step, size_t most)
{
    const double middle = ((double)at + 0.5) * (double)size / (double)grid - 0.5, where = round(origin + middle * step);
    return where <= 0.0 ? 0 : where >= (double)most ? most - 1 : (size_t)where;
}

cz_status cz_mutual_scores_at(const cz_mutual_scores *s, size_t index, cz_mutual_photo *out)
{
    cz_error_clear();
    if (s == NULL || out == NULL || index >= s->result.photos)
        return cz_fail(CZ_E_ARG, "cz_mutual_scores_at: there is no photo %zu", index);
    const cz_mutual_result *r = &s->result;
    const cz_geometry *g = &s->geometry[index];
    const size_t place = r->place[index];
    *out = (cz_mutual_photo){.index = s->source[index],
                             .score = r->score[index],
                             .raw = r->raw[index],
                             .placed = r->placed[index],
                             .same_piece = r->left_out[index],
                             .nearest = s->source[r->closest[index]],
                             .width = g->image_width,
                             .height = g->image_height,
                             .grid_width = s->grid_w,
                             .grid_height = s->grid_h,
                             .patch_scores = r->patch + index * r->patches};
    out->place_x = pixel(place % s->grid_w, s->grid_w, s->prep.width, g->origin_x, g->step_x, g->image_width);
    out->place_y = pixel(place / s->grid_w, s->grid_h, s->prep.height, g->origin_y, g->step_y, g->image_height);
    return CZ_OK;
}

/* Patches that are not inspected get the smallest score that is: the blur must not carry anything out of them. */
static void fill(const cz_mutual_scores *s, size_t index, float *filled)
{
    const float *patch = s->result.patch + index * s->result.patches;
    float low = INFINITY;
    for (size_t p = 0; p < s->result.patches; p++) low = patch[p] < low ? patch[p] : low;
    for (size_t p = 0; p < s->result.patches; p++) filled[p] = isnan(patch[p]) ? low : patch[p];
}

cz_status cz_mutual_scores_map(const cz_mutual_scores *s, size_t index, float *out)
{
    cz_error_clear();
    cz_status status;
    cz_threads_scope scope = {0};
    if (s == NULL || out == NULL || index >= s->result.photos)
        return cz_fail(CZ_E_ARG, "cz_mutual_scores_map: there is no photo %zu", index);
    float *filled = cz_alloc_array(s->result.patches, sizeof *filled);
    if (filled == NULL) return CZ_E_MEMORY;
    fill(s, index, filled);
    CZ_TRY(cz_threads_enter(s->threads, &scope));
    const cz_geometry *g = &s->geometry[index];
    status = cz_score_map_original_rows(s->mapper, filled, &s->prep, g, 0, g->image_height, out);
    cz_threads_leave(&scope);
out:
    cz_free(filled);
    return status;
}

void cz_mutual_scores_scale(const cz_mutual_scores *s, double *low, double *high)
{
    *low = s->low;
    *high = s->high;
}
