/* SPDX-License-Identifier: Apache-2.0 */
/* Scoring: one session, one thread of the caller, buffers made once. */
#include "api/calibration.h"
#include "api/extract.h"
#include "calibrate/conformal.h"
#include "calibrate/score_map.h"
#include "cozad/cozad_eval.h"
#include "heads/compose.h"
#include "util/alloc.h"
#include "util/threads.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_REGIONS ((size_t)1000)

/* What one image of a call gets; kept until the session's next call. */
typedef struct output {
    float *patches; /* [P] */
    float *map;     /* [map_room] */
    size_t map_room;
    cz_region *regions; /* [MAX_REGIONS], made when first asked for */
} output;

struct cz_session {
    cz_model *model;
    cz_prep prep; /* the model's own, or with what the options replace */
    size_t threads, batch, grid_w, grid_h, grid;
    cz_map_kind map_kind;
    bool decide, regions; /* with the model's calibration */
    size_t region_area;
    cz_extractor *extractor;
    cz_extracted *extracted; /* [batch] */
    cz_pooler *pooler;
    cz_composed *composed;
    cz_score_map *mapper;
    float *widened;   /* tapped maps of one image, F32 */
    float *filled;    /* [P] patch scores without NaN */
    float *input_map; /* [height, width] */
    float *sorted;    /* [P] for the mean of the top k */
    uint8_t *valid;   /* [P] */
    output *outputs;
    size_t output_count;
    cz_timing timing;
};

void cz_session_close(cz_session *s)
{
    if (s == NULL) return;
    for (size_t i = 0; i < s->output_count; i++) {
        cz_free(s->outputs[i].patches);
        cz_free(s->outputs[i].map);
        cz_free(s->outputs[i].regions);
    }
    cz_free(s->outputs);
    cz_extractor_destroy(s->extractor);
    cz_free(s->extracted);
    cz_composed_destroy(s->composed);
    cz_pooler_destroy(s->pooler);
    cz_score_map_destroy(s->mapper);
    cz_free(s->widened);
    cz_free(s->filled);
    cz_free(s->input_map);
    cz_free(s->sorted);
    cz_free(s->valid);
    cz_prep_free(&s->prep);
    cz_model_close(s->model);
    cz_free(s);
}

static cz_status make_head(cz_session *s)
{
    cz_status status;
    cz_composition composition;
    memset(&composition, 0, sizeof composition);
    cz_tap_shape shapes[CZ_MAX_TAPS];
    const size_t taps = cz_extractor_taps(s->extractor);
    for (size_t i = 0; i < taps; i++) shapes[i] = *cz_extractor_shape(s->extractor, i);
    CZ_TRY(cz_pooler_create(shapes, taps, s->model->head->config.width, &s->pooler));
    CZ_TRY(cz_head_compose(s->model->head, s->model->params, s->model->state, &composition));
    CZ_TRY(cz_composed_create(&composition, s->pooler, shapes, 1, s->threads, &s->composed));
    s->grid_w = cz_pooler_grid_w(s->pooler);
    s->grid_h = cz_pooler_grid_h(s->pooler);
    s->grid = s->grid_w * s->grid_h;
out:
    cz_composition_free(&composition);
    return status;
}

static cz_status make_buffers(cz_session *s)
{
    const cz_prep *prep = &s->prep;
    s->extracted = cz_calloc(s->batch, sizeof *s->extracted);
    s->widened = cz_alloc_array(cz_extractor_values(s->extractor), sizeof *s->widened);
    s->filled = cz_alloc_array(s->grid, sizeof *s->filled);
    s->sorted = cz_alloc_array(s->grid, sizeof *s->sorted);
    s->valid = cz_alloc(s->grid);
    s->input_map = cz_alloc_array(prep->width * prep->height, sizeof *s->input_map);
    if (s->extracted == NULL || s->widened == NULL || s->filled == NULL || s->sorted == NULL || s->valid == NULL ||
        s->input_map == NULL) {
        return CZ_E_MEMORY;
    }
    return CZ_OK;
}

static cz_status make_prep(cz_session *s, const cz_session_options *o)
{
    const cz_prep *own = &s->model->prep;
    const cz_roi *roi = o->roi != NULL ? o->roi : &own->roi;
    const cz_fit fit = o->fit != NULL ? *o->fit : own->fit;
    if (o->ignore_mask != NULL || own->ignore == NULL) {
        return cz_prep_init(own->width, own->height, fit, own->resize, roi, o->ignore_mask, &s->prep);
    }
    /* The model's mask holds 0 and 1; cz_prep_init reads it as a picture of 0 and 255. */
    const size_t count = own->ignore_width * own->ignore_height;
    uint8_t *mask = cz_alloc(count);
    if (mask == NULL) return CZ_E_MEMORY;
    for (size_t i = 0; i < count; i++) mask[i] = own->ignore[i] ? 255 : 0;
    const cz_image image = {mask, own->ignore_width, own->ignore_height, own->ignore_width, CZ_GRAY8};
    const cz_status status = cz_prep_init(own->width, own->height, fit, own->resize, roi, &image, &s->prep);
    cz_free(mask);
    return status;
}

/* Whether the model's calibration holds for what is going to be scored. */
static cz_status prepare_decision(cz_session *s, const cz_session_options *o)
{
    const cz_model *m = s->model;
    s->decide = m->calibration != NULL && o->no_decision == 0;
    s->regions = o->regions != 0;
    s->region_area = o->region_area > 0 ? o->region_area : 1;
    if (s->regions && (!s->decide || s->map_kind == CZ_MAP_NONE)) {
        return cz_fail(CZ_E_ARG, "regions need a calibrated model%s and a map",
                       m->calibration != NULL ? " that decides" : "");
    }
    return s->decide ? cz_calibration_check(m, &s->prep, CZ_PRECISION_FP32) : CZ_OK;
}

cz_status cz_session_open(const cz_model *model, const cz_session_options *options, cz_session **out)
{
    cz_error_clear();
    cz_status status = CZ_OK;
    const cz_session_options defaults = CZ_SESSION_OPTIONS_INIT;
    const cz_session_options *o = options != NULL ? options : &defaults;
    cz_threads_scope scope = {0};
    cz_session *s = NULL;
    if (model == NULL || out == NULL) return cz_fail(CZ_E_ARG, "cz_session_open: a NULL argument");
    if (o->struct_size < sizeof *o)
        return cz_fail(CZ_E_ARG, "cz_session_options: unknown struct_size %zu", o->struct_size);
    if (model->backbone == NULL)
        return cz_fail(CZ_E_ARG, "a model that was only inspected cannot score: it has no backbone");
    if (o->map < CZ_MAP_NONE || o->map > CZ_MAP_ORIGINAL) return cz_fail(CZ_E_ARG, "unknown map kind %d", (int)o->map);
    const cz_precision precision = o->precision == CZ_PRECISION_MODEL ? CZ_PRECISION_FP32 : o->precision;
    if (precision != CZ_PRECISION_FP32) return cz_fail(CZ_E_UNSUPPORTED, "this version computes in fp32 only");
    s = cz_calloc(1, sizeof *s);
    if (s == NULL) return CZ_E_MEMORY;
    s->model = cz_model_retain((cz_model *)(uintptr_t)model);
    s->threads = o->threads > 0 ? o->threads : cz_threads_available();
    s->batch = o->max_batch > 0 ? o->max_batch : 1;
    s->map_kind = o->map;
    CZ_TRY(cz_threads_enter(s->threads, &scope));
    CZ_TRY(make_prep(s, o));
    CZ_TRY(prepare_decision(s, o));
    const cz_extractor_options extract = {model->taps, &s->prep,  s->threads, s->batch,
                                          precision,   &o->cache, o->log,     o->ctx};
    CZ_TRY(cz_extractor_create(model->backbone, &extract, &s->extractor));
    CZ_TRY(make_head(s));
    CZ_TRY(make_buffers(s));
    if (s->map_kind != CZ_MAP_NONE) {
        CZ_TRY(cz_score_map_create(s->grid_w, s->grid_h, s->prep.width, s->prep.height, &s->mapper));
    }
    *out = s;
    s = NULL;
out:
    cz_session_close(s);
    cz_threads_leave(&scope);
    return status;
}

static int descending(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

/* Maximum of the inspected patches, or the mean of the k largest. NaN when nothing is inspected. */
static double image_score(cz_session *s, const float *scores)
{
    size_t count = 0;
    for (size_t i = 0; i < s->grid; i++) {
        if (s->valid[i]) s->sorted[count++] = scores[i];
    }
    if (count == 0) return (double)NAN;
    const size_t k = s->model->top_k < count ? s->model->top_k : count;
    if (k > 1) {
        qsort(s->sorted, count, sizeof *s->sorted, descending);
    } else {
        for (size_t i = 1; i < count; i++) {
            if (s->sorted[i] > s->sorted[0]) s->sorted[0] = s->sorted[i];
        }
    }
    double sum = 0.0;
    for (size_t i = 0; i < k; i++) sum += (double)s->sorted[i];
    return sum / (double)k;
}

static cz_status make_map(cz_session *s, const cz_extracted *what, output *o, cz_result *result)
{
    const cz_prep *prep = &s->prep;
    const bool original = s->map_kind == CZ_MAP_ORIGINAL;
    const size_t width = original ? what->geometry.image_width : prep->width;
    const size_t height = original ? what->geometry.image_height : prep->height;
    size_t room;
    if (!cz_mul_size(width, height, &room)) return cz_fail(CZ_E_LIMIT, "a map of %zux%zu", width, height);
    if (room > o->map_room) {
        cz_free(o->map);
        o->map_room = 0;
        o->map = cz_alloc_array(room, sizeof *o->map);
        if (o->map == NULL) return CZ_E_MEMORY;
        o->map_room = room;
    }
    if (original) {
        cz_score_map_input(s->mapper, s->filled, s->input_map);
        const cz_status status = cz_score_map_original(s->input_map, prep, &what->geometry, o->map);
        if (status != CZ_OK) return status;
    } else {
        cz_score_map_input(s->mapper, s->filled, o->map);
    }
    result->map = o->map;
    result->map_width = width;
    result->map_height = height;
    return CZ_OK;
}

static void decide(const cz_session *s, cz_result *result)
{
    result->p_value = result->threshold = result->pixel_threshold = (double)NAN;
    result->decision = -1;
    if (!s->decide) return;
    const cz_calibration *c = &s->model->calibration->known;
    const float score = (float)result->score; /* as the calibration scores are kept */
    result->p_value = cz_conformal_p(c->scores, c->count, score);
    result->threshold = c->threshold;
    result->pixel_threshold = c->pixel_threshold;
    result->decision = (double)score > c->threshold;
}

static cz_status find_regions(const cz_session *s, output *o, cz_result *result)
{
    if (o->regions == NULL) o->regions = cz_alloc_array(MAX_REGIONS, sizeof *o->regions);
    if (o->regions == NULL) return CZ_E_MEMORY;
    const cz_status status = cz_regions(result->map, result->map_width, result->map_height, result->pixel_threshold,
                                        s->region_area, o->regions, MAX_REGIONS, &result->region_total);
    result->regions = o->regions;
    result->region_count = result->region_total < MAX_REGIONS ? result->region_total : MAX_REGIONS;
    return status;
}

/* From one image's maps to its result. */
static cz_status finish(cz_session *s, const cz_extracted *what, output *o, cz_result *result)
{
    cz_status status;
    const float *maps[CZ_MAX_TAPS];
    memset(result, 0, sizeof *result);
    double start = cz_now_ms();
    cz_extractor_widen(s->extractor, what->values, s->widened, maps);
    CZ_TRY(cz_composed_pool(s->composed, maps, 1, (float)s->model->feature_scale));
    s->timing.pooling += cz_now_ms() - start;
    start = cz_now_ms();
    CZ_TRY(cz_composed_scores(s->composed, o->patches));
    cz_prep_valid(&s->prep, &what->geometry, s->grid_w, s->grid_h, s->valid);
    float lowest = INFINITY;
    for (size_t i = 0; i < s->grid; i++) {
        if (!isfinite(o->patches[i])) {
            status = cz_fail(CZ_E_MODEL, "the model gives a score that is not a finite number");
            goto out;
        }
        if (s->valid[i] && o->patches[i] < lowest) lowest = o->patches[i];
    }
    result->score = image_score(s, o->patches);
    if (isnan(result->score)) {
        status = cz_fail(CZ_E_ARG, "the region and the ignore mask leave nothing to inspect");
        goto out;
    }
    for (size_t i = 0; i < s->grid; i++) s->filled[i] = s->valid[i] ? o->patches[i] : isfinite(lowest) ? lowest : 0.0f;
    for (size_t i = 0; i < s->grid; i++) {
        if (!s->valid[i]) o->patches[i] = NAN;
    }
    s->timing.head += cz_now_ms() - start;
    result->grid_width = s->grid_w;
    result->grid_height = s->grid_h;
    result->patch_scores = o->patches;
    result->from_cache = what->from_store;
    decide(s, result);
    start = cz_now_ms();
    if (s->map_kind != CZ_MAP_NONE) CZ_TRY(make_map(s, what, o, result));
    if (s->regions) CZ_TRY(find_regions(s, o, result));
    s->timing.map += cz_now_ms() - start;
out:
    return status;
}

static cz_status make_outputs(cz_session *s, size_t count)
{
    if (count <= s->output_count) return CZ_OK;
    output *outputs = cz_grow(s->outputs, count, sizeof *outputs);
    if (outputs == NULL) return CZ_E_MEMORY;
    s->outputs = outputs;
    while (s->output_count < count) {
        float *patches = cz_alloc_array(s->grid, sizeof *patches);
        if (patches == NULL) return CZ_E_MEMORY;
        s->outputs[s->output_count++] = (output){.patches = patches};
    }
    return CZ_OK;
}

cz_status cz_score_batch(cz_session *s, const cz_image *images, size_t count, cz_result *results)
{
    cz_error_clear();
    cz_status status;
    cz_threads_scope scope = {0};
    if (s == NULL || (count > 0 && (images == NULL || results == NULL)))
        return cz_fail(CZ_E_ARG, "cz_score: a NULL argument");
    const double start = cz_now_ms();
    memset(&s->timing, 0, sizeof s->timing);
    CZ_TRY(cz_threads_enter(s->threads, &scope));
    CZ_TRY(make_outputs(s, count));
    for (size_t first = 0; first < count; first += s->batch) {
        const size_t n = count - first < s->batch ? count - first : s->batch;
        CZ_TRY(cz_extractor_run(s->extractor, images + first, n, s->extracted, &s->timing));
        for (size_t i = 0; i < n; i++) {
            CZ_TRY(finish(s, &s->extracted[i], &s->outputs[first + i], &results[first + i]));
        }
    }
    s->timing.total = cz_now_ms() - start;
out:
    cz_threads_leave(&scope);
    return status;
}

cz_status cz_score(cz_session *session, const cz_image *image, cz_result *result)
{
    return cz_score_batch(session, image, 1, result);
}

void cz_session_timing(const cz_session *session, cz_timing *out)
{
    *out = session->timing;
}
