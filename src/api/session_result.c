/* SPDX-License-Identifier: Apache-2.0 */
/* From patch scores to a result: image score, decision, map, regions. */
#include "api/session.h"

#include "api/calibration.h"
#include "calibrate/conformal.h"
#include "metrics/region_scan.h"
#include "util/alloc.h"
#include "util/threads.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Rows of a map that are made at once where the whole is too large to keep. */
#define BAND_ROWS ((size_t)64)

void cz_output_free(cz_output *o)
{
    cz_free(o->patches);
    cz_free(o->filled);
    cz_free(o->map);
    cz_free(o->regions);
    cz_score_map_destroy(o->mapper);
    memset(o, 0, sizeof *o);
}

cz_status cz_session_make_room(cz_session *s, cz_output *o, size_t grid_w, size_t grid_h)
{
    const size_t count = grid_w * grid_h;
    o->good = false;
    o->grid_w = grid_w;
    o->grid_h = grid_h;
    if (count > o->room) {
        cz_free(o->patches);
        cz_free(o->filled);
        o->room = 0;
        o->filled = NULL;
        o->patches = cz_alloc_array(count, sizeof *o->patches);
        if (o->patches == NULL) return CZ_E_MEMORY;
        if (s->map_kind != CZ_MAP_NONE) {
            o->filled = cz_alloc_array(count, sizeof *o->filled);
            if (o->filled == NULL) return CZ_E_MEMORY;
        }
        o->room = count;
    }
    if (count <= s->valid_room) return CZ_OK;
    cz_free(s->valid);
    s->valid_room = 0;
    s->valid = cz_alloc(count);
    if (s->valid == NULL) return CZ_E_MEMORY;
    s->valid_room = count;
    return CZ_OK;
}

static int descending(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

/* The mean of the k largest of the inspected patches. */
static cz_status mean_of_top(cz_session *s, const cz_output *o, size_t k, double *out)
{
    const size_t grid = o->grid_w * o->grid_h;
    size_t count = 0;
    if (grid > s->sorted_room) {
        cz_free(s->sorted);
        s->sorted_room = 0;
        s->sorted = cz_alloc_array(grid, sizeof *s->sorted);
        if (s->sorted == NULL) return CZ_E_MEMORY;
        s->sorted_room = grid;
    }
    for (size_t i = 0; i < grid; i++) {
        if (s->valid[i]) s->sorted[count++] = o->patches[i];
    }
    qsort(s->sorted, count, sizeof *s->sorted, descending);
    if (k > count) k = count;
    double sum = 0.0;
    for (size_t i = 0; i < k; i++) sum += (double)s->sorted[i];
    *out = sum / (double)k;
    return CZ_OK;
}

/* Maximum of the inspected patches, or the mean of the k largest; and the lowest of them. Patches that are not inspected become NaN. */
static cz_status image_score(cz_session *s, cz_output *o, double *score, float *lowest)
{
    float low = INFINITY, high = -INFINITY;
    const size_t grid = o->grid_w * o->grid_h;
    size_t count = 0;
    for (size_t i = 0; i < grid; i++) {
        if (!s->valid[i]) {
            o->patches[i] = NAN;
            continue;
        }
        const float v = o->patches[i];
        if (!isfinite(v)) return cz_fail(CZ_E_MODEL, "the model gives a score that is not a finite number");
        if (v < low) low = v;
        if (v > high) high = v;
        count++;
    }
    if (count == 0) return cz_fail(CZ_E_ARG, "the region and the ignore mask leave nothing to inspect");
    *lowest = low;
    *score = (double)high;
    return s->model->top_k > 1 ? mean_of_top(s, o, s->model->top_k, score) : CZ_OK;
}

/* ---- map ----------------------------------------------------------------------------------------------------------- */

/* Tiles: the plan of the whole region at the tiles' scale, blurred as one tile is. */
static cz_status make_mapper(const cz_session *s, cz_output *o)
{
    cz_score_map_destroy(o->mapper);
    o->mapper = NULL;
    const cz_score_map_shape shape = {o->grid_w,
                                      o->grid_h,
                                      o->input_w,
                                      o->input_h,
                                      4.0 * (double)s->prep.width / 256.0,
                                      4.0 * (double)s->prep.height / 256.0};
    return cz_score_map_create_shape(&shape, &o->mapper);
}

static const cz_score_map *mapper_of(const cz_session *s, const cz_output *o)
{
    return o->mapper != NULL ? o->mapper : s->mapper;
}

static cz_status make_map(cz_session *s, cz_output *o, cz_result *result)
{
    const bool input = s->map_kind == CZ_MAP_INPUT;
    const size_t width = input ? o->input_w : o->geometry.image_width;
    const size_t height = input ? o->input_h : o->geometry.image_height;
    size_t room;
    if (s->map_kind == CZ_MAP_ROWS) {
        result->map_width = width;
        result->map_height = height;
        return CZ_OK;
    }
    if (!cz_mul_size(width, height, &room) || (s->tiling.width > 0 && room > CZ_TILED_MAP_MOST))
        return cz_fail(CZ_E_LIMIT, "a map of %zux%zu: of tiles, more than %zu pixels are had by rows only", width,
                       height, CZ_TILED_MAP_MOST);
    if (room > o->map_room) {
        cz_free(o->map);
        o->map_room = 0;
        o->map = cz_alloc_array(room, sizeof *o->map);
        if (o->map == NULL) return CZ_E_MEMORY;
        o->map_room = room;
    }
    if (input) {
        cz_score_map_input(mapper_of(s, o), o->filled, o->map);
    } else {
        const cz_status status =
            cz_score_map_original_rows(mapper_of(s, o), o->filled, &s->prep, &o->geometry, 0, height, o->map);
        if (status != CZ_OK) return status;
    }
    result->map = o->map;
    result->map_width = width;
    result->map_height = height;
    return CZ_OK;
}

cz_status cz_session_map_rows(cz_session *s, size_t index, size_t first, size_t count, float *out)
{
    cz_error_clear();
    cz_status status;
    cz_threads_scope scope = {0};
    if (s == NULL || out == NULL) return cz_fail(CZ_E_ARG, "cz_session_map_rows: a NULL argument");
    if (s->map_kind != CZ_MAP_ROWS) return cz_fail(CZ_E_ARG, "the session was not opened with CZ_MAP_ROWS");
    if (index >= s->output_count || !s->outputs[index].good)
        return cz_fail(CZ_E_ARG, "image %zu was not scored by the session's last call", index);
    const cz_output *o = &s->outputs[index];
    const size_t height = o->geometry.image_height;
    if (first > height || count > height - first)
        return cz_fail(CZ_E_ARG, "rows %zu to %zu of a map of %zu", first, first + count, height);
    if (count == 0) return CZ_OK;
    CZ_TRY(cz_threads_enter(s->threads, &scope));
    CZ_TRY(cz_score_map_original_rows(mapper_of(s, o), o->filled, &s->prep, &o->geometry, first, count, out));
out:
    cz_threads_leave(&scope);
    return status;
}

/* ---- regions ------------------------------------------------------------------------------------------------------- */

/* The map is not there: its rows are made, looked at and forgotten. */
static cz_status scan_rows(cz_session *s, const cz_output *o, cz_region_scan *scan)
{
    cz_status status = CZ_OK;
    const size_t width = o->geometry.image_width, height = o->geometry.image_height;
    const size_t room = width * BAND_ROWS;
    if (room > s->row_room) {
        cz_free(s->row_buffer);
        s->row_room = 0;
        s->row_buffer = cz_alloc_array(room, sizeof *s->row_buffer);
        if (s->row_buffer == NULL) return CZ_E_MEMORY;
        s->row_room = room;
    }
    for (size_t y = 0; y < height; y += BAND_ROWS) {
        const size_t n = height - y < BAND_ROWS ? height - y : BAND_ROWS;
        CZ_TRY(cz_score_map_original_rows(mapper_of(s, o), o->filled, &s->prep, &o->geometry, y, n, s->row_buffer));
        for (size_t i = 0; i < n; i++) CZ_TRY(cz_region_scan_row(scan, s->row_buffer + i * width));
    }
out:
    return status;
}

static cz_status find_regions(cz_session *s, cz_output *o, cz_result *result)
{
    cz_status status = CZ_OK;
    if (o->regions == NULL) o->regions = cz_alloc_array(CZ_MAX_REGIONS, sizeof *o->regions);
    if (o->regions == NULL) return CZ_E_MEMORY;
    if (result->map != NULL) {
        CZ_TRY(cz_regions(result->map, result->map_width, result->map_height, result->pixel_threshold, s->region_area,
                          o->regions, CZ_MAX_REGIONS, &result->region_total));
    } else {
        cz_region_scan *scan = NULL;
        CZ_TRY(cz_region_scan_create(o->geometry.image_width, result->pixel_threshold, s->region_area, CZ_MAX_REGIONS,
                                     &scan));
        status = scan_rows(s, o, scan);
        if (status == CZ_OK) status = cz_region_scan_end(scan, o->regions, &result->region_total);
        cz_region_scan_destroy(scan);
    }
    result->regions = o->regions;
    result->region_count = result->region_total < CZ_MAX_REGIONS ? result->region_total : CZ_MAX_REGIONS;
out:
    return status;
}

/* ---- all together -------------------------------------------------------------------------------------------------- */

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

cz_status cz_session_conclude(cz_session *s, cz_output *o, cz_result *result)
{
    cz_status status;
    float lowest = 0.0f;
    const size_t grid = o->grid_w * o->grid_h;
    double start = cz_now_ms();
    CZ_TRY(image_score(s, o, &result->score, &lowest));
    if (s->map_kind != CZ_MAP_NONE) {
        for (size_t i = 0; i < grid; i++) o->filled[i] = s->valid[i] ? o->patches[i] : lowest;
    }
    s->timing.head += cz_now_ms() - start;
    result->grid_width = o->grid_w;
    result->grid_height = o->grid_h;
    result->patch_scores = o->patches;
    decide(s, result);
    start = cz_now_ms();
    cz_score_map_destroy(o->mapper);
    o->mapper = NULL;
    if (s->map_kind != CZ_MAP_NONE) {
        const bool own = o->grid_w != s->grid_w || o->grid_h != s->grid_h || o->input_w != s->prep.width ||
                         o->input_h != s->prep.height;
        if (own) CZ_TRY(make_mapper(s, o));
        CZ_TRY(make_map(s, o, result));
    }
    if (s->regions) CZ_TRY(find_regions(s, o, result));
    s->timing.map += cz_now_ms() - start;
    o->good = true;
out:
    return status;
}
