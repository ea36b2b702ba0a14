/* SPDX-License-Identifier: Apache-2.0 */
/* What is made of a scored image beside the score. */
#include "pool_work.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_REGIONS = 1000 }; /* as a session of the library gives */

void sv_outcome_free(sv_outcome *o)
{
    free(o->regions);
    free(o->map);
    cz_string_free(o->overlay);
    cz_string_free(o->heat);
    o->regions = NULL;
    o->map = NULL;
    o->overlay = o->heat = NULL;
}

static cz_status out_of_memory(void)
{
    return sv_fail(CZ_E_MEMORY, "out of memory");
}

static cz_status find_regions(const float *map, sv_outcome *o)
{
    cz_region *regions = malloc(MOST_REGIONS * sizeof *regions);
    if (regions == NULL) return out_of_memory();
    size_t total = 0;
    const cz_status status = cz_regions(map, o->width, o->height, o->pixel_threshold, 1, regions, MOST_REGIONS, &total);
    const size_t count = total < MOST_REGIONS ? total : MOST_REGIONS;
    if (status == CZ_OK && count > 0) { /* there may be many answers on the way, of few regions each */
        cz_region *less = realloc(regions, count * sizeof *regions);
        o->regions = less != NULL ? less : regions;
        o->region_count = count;
        o->region_total = total;
    } else {
        free(regions);
    }
    return status;
}

static cz_status make_overlay(const cz_image *image, const float *map, const sv_model *model, sv_outcome *o)
{
    cz_picture picture = {0};
    cz_status status = cz_overlay(image, map, model->low, model->high, &picture);
    if (status == CZ_OK) status = cz_picture_encode_png(&picture.image, &o->overlay, &o->overlay_size);
    cz_picture_free(&picture);
    return status;
}

/* Colours of the scale at 256 steps. Nothing near `low`, all from 0.6 on, as in cz_overlay, but in full: a page sets how much of it shows. */
static void make_scale(uint8_t rgba[256][4])
{
    for (int i = 0; i < 256; i++) {
        const double t = i / 255.0, rise = t < 0.12 ? 0.0 : t < 0.6 ? (t - 0.12) / 0.48 : 1.0;
        cz_overlay_colour(t, rgba[i]);
        rgba[i][3] = (uint8_t)(255.0 * rise * rise * (3.0 - 2.0 * rise) + 0.5);
    }
}

static cz_status make_heat(const float *map, const sv_model *model, sv_outcome *o)
{
    uint8_t scale[256][4];
    size_t pixels, bytes;
    const double factor = model->high > model->low ? 255.0 / (model->high - model->low) : 0.0;
    if (__builtin_mul_overflow(o->width, o->height, &pixels) || __builtin_mul_overflow(pixels, (size_t)4, &bytes))
        return sv_fail(CZ_E_LIMIT, "an image of %zu x %zu pixels", o->width, o->height);
    uint8_t *rgba = malloc(bytes);
    if (rgba == NULL) return out_of_memory();
    make_scale(scale);
    for (size_t i = 0; i < pixels; i++) {
        const double t = ((double)map[i] - model->low) * factor;
        const int step = t >= 255.0 ? 255 : t > 0.0 ? (int)(t + 0.5) : 0; /* NaN, not inspected: nothing */
        memcpy(rgba + 4 * i, scale[step], 4);
    }
    const cz_image picture = {rgba, o->width, o->height, 4 * o->width, CZ_RGBA8};
    const cz_status status = cz_picture_encode_png(&picture, &o->heat, &o->heat_size);
    free(rgba);
    return status;
}

cz_status sv_pictures_make(cz_session *session, size_t index, const cz_image *image, const cz_result *result,
                           sv_job *job)
{
    sv_outcome *o = &job->outcome;
    const bool regions = (job->want & SV_REGIONS) != 0 && isfinite(result->pixel_threshold);
    size_t bytes;
    if (!regions && (job->want & (SV_MAP | SV_OVERLAY | SV_HEAT)) == 0) return CZ_OK;
    if (__builtin_mul_overflow(o->width, o->height, &bytes) || __builtin_mul_overflow(bytes, sizeof(float), &bytes))
        return sv_fail(CZ_E_LIMIT, "an image of %zu x %zu pixels", o->width, o->height);
    float *map = malloc(bytes);
    if (map == NULL) return out_of_memory();
    cz_status status = cz_session_map_rows(session, index, 0, o->height, map);
    if (status == CZ_OK && regions) status = find_regions(map, o);
    if (status == CZ_OK && (job->want & SV_OVERLAY) != 0) status = make_overlay(image, map, job->model, o);
    if (status == CZ_OK && (job->want & SV_HEAT) != 0) status = make_heat(map, job->model, o);
    if (status == CZ_OK && (job->want & SV_MAP) != 0) {
        o->map = map;
        map = NULL;
    }
    free(map);
    return status;
}
