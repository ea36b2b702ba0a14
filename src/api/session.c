/* SPDX-License-Identifier: Apache-2.0 */
/* Scoring: one session, one thread of the caller, buffers made once. */
#include "api/session.h"

#include "api/calibration.h"
#include "api/precision.h"
#include "util/alloc.h"
#include "util/threads.h"

#include <string.h>

void cz_session_close(cz_session *s)
{
    if (s == NULL) return;
    for (size_t i = 0; i < s->output_count; i++) cz_output_free(&s->outputs[i]);
    cz_session_close_tiles(s);
    cz_free(s->outputs);
    cz_extractor_destroy(s->extractor);
    cz_free(s->extracted);
    cz_scorer_destroy(s->scorer);
    cz_score_map_destroy(s->mapper);
    cz_free(s->sorted);
    cz_free(s->valid);
    cz_free(s->row_buffer);
    cz_prep_free(&s->prep);
    cz_model_close(s->model);
    cz_free(s);
}

static cz_status make_scorer(cz_session *s)
{
    cz_status status;
    cz_tap_shape shapes[CZ_MAX_TAPS];
    const size_t taps = cz_extractor_taps(s->extractor);
    for (size_t i = 0; i < taps; i++) shapes[i] = *cz_extractor_shape(s->extractor, i);
    const cz_scorer_options options = {s->model, shapes, taps, s->threads, s->precision};
    CZ_TRY(cz_scorer_create(&options, &s->scorer));
    s->grid_w = cz_scorer_grid_w(s->scorer);
    s->grid_h = cz_scorer_grid_h(s->scorer);
    s->grid = s->grid_w * s->grid_h;
out:
    return status;
}

static cz_status make_buffers(cz_session *s)
{
    s->extracted = cz_calloc(s->batch, sizeof *s->extracted);
    return s->extracted != NULL ? CZ_OK : CZ_E_MEMORY;
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
    if (!s->decide) return CZ_OK;
    const cz_status status = cz_calibration_check(m, &s->prep, s->precision);
    return status == CZ_OK ? cz_calibration_check_tiles(m, &s->tiling) : status;
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
    if (o->map < CZ_MAP_NONE || o->map > CZ_MAP_ROWS) return cz_fail(CZ_E_ARG, "unknown map kind %d", (int)o->map);
    s = cz_calloc(1, sizeof *s);
    if (s == NULL) return CZ_E_MEMORY;
    s->model = cz_model_retain((cz_model *)(uintptr_t)model);
    s->threads = o->threads > 0 ? o->threads : cz_threads_available();
    s->batch = o->max_batch > 0 ? o->max_batch : 1;
    s->map_kind = o->map;
    CZ_TRY(cz_threads_enter(s->threads, &scope));
    CZ_TRY(cz_precision_of_model(model, o->precision, &s->precision));
    CZ_TRY(cz_precision_require(model, s->precision));
    CZ_TRY(make_prep(s, o));
    CZ_TRY(cz_session_open_tiles(s, o));
    CZ_TRY(prepare_decision(s, o));
    const cz_extractor_options extract = {.taps = model->taps,
                                          .prep = s->tiling.width > 0 ? &s->tile_prep : &s->prep,
                                          .threads = s->threads,
                                          .batch = s->batch,
                                          .precision = s->precision,
                                          .quant = cz_precision_ranges(model),
                                          .cache = &o->cache,
                                          .log = o->log,
                                          .ctx = o->ctx};
    CZ_TRY(cz_extractor_create(model->backbone, &extract, &s->extractor));
    CZ_TRY(make_scorer(s));
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

cz_status cz_session_raw_scores(cz_session *s, const cz_extracted *what, const uint8_t *valid, float *scores)
{
    const uint16_t *maps[CZ_MAX_TAPS];
    cz_extractor_maps(s->extractor, what->values, maps);
    return cz_scorer_run(s->scorer, maps, valid, scores, &s->timing);
}

/* From one image's maps to its result. */
static cz_status finish(cz_session *s, const cz_extracted *what, cz_output *o, cz_result *result)
{
    cz_status status;
    memset(result, 0, sizeof *result);
    CZ_TRY(cz_session_make_room(s, o, s->grid_w, s->grid_h));
    cz_prep_valid(&s->prep, &what->geometry, s->grid_w, s->grid_h, s->valid);
    CZ_TRY(cz_session_raw_scores(s, what, s->valid, o->patches));
    o->geometry = what->geometry;
    o->input_w = s->prep.width;
    o->input_h = s->prep.height;
    result->from_cache = what->from_store;
    CZ_TRY(cz_session_conclude(s, o, result));
out:
    return status;
}

static cz_status make_outputs(cz_session *s, size_t count)
{
    for (size_t i = 0; i < s->output_count; i++) s->outputs[i].good = false;
    if (count <= s->output_count) return CZ_OK;
    cz_output *outputs = cz_grow(s->outputs, count, sizeof *outputs);
    if (outputs == NULL) return CZ_E_MEMORY;
    s->outputs = outputs;
    memset(outputs + s->output_count, 0, (count - s->output_count) * sizeof *outputs);
    s->output_count = count;
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
    for (size_t i = 0; i < count && s->tiling.width > 0; i++)
        CZ_TRY(cz_session_score_tiled(s, &images[i], &s->outputs[i], &results[i]));
    for (size_t first = 0; first < count && s->tiling.width == 0; first += s->batch) {
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

cz_precision cz_session_precision(const cz_session *session)
{
    return session->precision;
}
