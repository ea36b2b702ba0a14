/* SPDX-License-Identifier: Apache-2.0 */
#include "negatives/defect.h"

#include "features/resize.h"
#include "negatives/defect_fill.h"
#include "negatives/defect_shape.h"
#include "util/alloc.h"

#include <stdlib.h>
#include <string.h>

enum { TRIES = 20, CHANNELS = 3, LEAST_PIXELS = 6, NOTICEABLE = 6, LEAST_MEAN = 10 };

static const float COVERED = 0.3f;

static bool is_grey(const uint8_t *rgb, size_t pixels)
{
    for (size_t i = 0; i < pixels; i++)
        if (rgb[CHANNELS * i] != rgb[CHANNELS * i + 1] || rgb[CHANNELS * i] != rgb[CHANNELS * i + 2]) return false;
    return true;
}

static bool covers_enough(const cz_soft_mask *mask)
{
    size_t covered = 0;
    for (size_t i = 0; i < mask->width * mask->height; i++) covered += mask->value[i] > COVERED;
    return covered >= LEAST_PIXELS;
}

/* The mask's window of the picture with the filling blended in, and what changed. */
typedef struct blend {
    uint8_t *rgb;     /* [height, width, 3] */
    uint8_t *marked;  /* [height, width]: 255 or 0 */
    size_t area, sum; /* pixels marked; the sum of their changes, in levels */
} blend;

static void blend_free(blend *b)
{
    cz_free(b->rgb);
    cz_free(b->marked);
}

/* Returns by how many levels the pixel's channel changed most. */
static int blend_pixel(const uint8_t *photo, const float *filling, float share, uint8_t *out)
{
    int most = 0;
    for (int k = 0; k < CHANNELS; k++) {
        const float value = (float)photo[k] + (filling[k] - (float)photo[k]) * share;
        out[k] = (uint8_t)(value <= 0.0f ? 0.0f : value >= 255.0f ? 255.0f : value + 0.5f);
        const int change = abs(out[k] - photo[k]);
        most = change > most ? change : most;
    }
    return most;
}

static cz_status blend_fill(const cz_defect_fill *fill, const cz_soft_mask *mask, float opacity, blend *out)
{
    cz_status status = CZ_OK;
    const cz_defect_photo *photo = fill->photo;
    const size_t count = mask->width * mask->height;
    float *row = cz_alloc_array(mask->width, CHANNELS * sizeof *row);
    out->rgb = cz_alloc_array(count, CHANNELS);
    out->marked = cz_calloc(count, 1);
    if (row == NULL || out->rgb == NULL || out->marked == NULL) {
        status = CZ_E_MEMORY;
        goto out;
    }
    for (size_t y = 0; y < mask->height; y++) {
        const uint8_t *from = photo->rgb + ((mask->y + y) * photo->width + mask->x) * CHANNELS;
        cz_defect_fill_row(fill, y, row);
        for (size_t x = 0; x < mask->width; x++) {
            const size_t i = y * mask->width + x;
            const int change =
                blend_pixel(from + x * CHANNELS, row + x * CHANNELS, mask->value[i] * opacity, out->rgb + i * CHANNELS);
            if (!(mask->value[i] > COVERED) || change <= NOTICEABLE) continue;
            out->marked[i] = 255;
            out->area++;
            out->sum += (size_t)change;
        }
    }
out:
    cz_free(row);
    return status;
}

/* Copies the window into picture and mask. */
static void put(const blend *b, const cz_soft_mask *window, uint8_t *rgb, uint8_t *mask)
{
    const size_t width = window->picture_width;
    memset(mask, 0, window->picture_height * width);
    for (size_t y = 0; y < window->height; y++) {
        const size_t at = (window->y + y) * width + window->x;
        memcpy(rgb + at * CHANNELS, b->rgb + y * window->width * CHANNELS, window->width * CHANNELS);
        memcpy(mask + at, b->marked + y * window->width, window->width);
    }
}

/* One try; out->changed says whether the result was visible and is in `rgb`. */
static cz_status draw_once(const cz_defect_try *attempt, const cz_defect_options *options, const cz_defect_photo *photo,
                           uint8_t *rgb, uint8_t *mask, cz_defect *out)
{
    cz_soft_mask soft = {0};
    cz_defect_fill fill = {0};
    blend b = {0};
    cz_defect_shape shape;
    cz_rng rng;
    cz_status status;
    CZ_TRY(cz_defect_shape_draw(attempt, photo->height, photo->width, &shape, &soft));
    if (!covers_enough(&soft)) goto out;
    CZ_TRY(cz_defect_fill_create(attempt, options, photo, &soft, &fill));
    cz_defect_rng(attempt, CZ_DEFECT_STREAM_OPACITY, &rng);
    CZ_TRY(blend_fill(&fill, &soft, (float)cz_defect_between(&rng, 0.35, 1.0), &b));
    if (b.area < LEAST_PIXELS || b.sum <= LEAST_MEAN * b.area) goto out;
    put(&b, &soft, rgb, mask);
    *out = (cz_defect){true, shape, fill.kind, attempt->attempt, soft.x, soft.y, soft.width, soft.height, b.area};
out:
    blend_free(&b);
    cz_defect_fill_free(&fill);
    cz_soft_mask_free(&soft);
    return status;
}

static bool side_ok(size_t side)
{
    return side >= CZ_DEFECT_MIN_SIDE && side <= CZ_DEFECT_MAX_SIDE;
}

static cz_status check(const cz_defect_options *options, size_t height, size_t width)
{
    if (!side_ok(height) || !side_ok(width))
        return cz_fail(CZ_E_ARG, "a defect is drawn on pictures of %d to %d pixels a side, not %zu x %zu",
                       CZ_DEFECT_MIN_SIDE, CZ_DEFECT_MAX_SIDE, width, height);
    if (options->index >> 48 != 0) return cz_fail(CZ_E_ARG, "a defect's index is below 2^48");
    if (options->texture == NULL) return CZ_OK;
    if (options->texture_height < 1 || options->texture_height > CZ_RESIZE_MAX_SIDE || options->texture_width < 1 ||
        options->texture_width > CZ_RESIZE_MAX_SIDE)
        return cz_fail(CZ_E_ARG, "a defect's texture has sides of 1 to %d pixels, not %zu x %zu", CZ_RESIZE_MAX_SIDE,
                       options->texture_width, options->texture_height);
    return CZ_OK;
}

cz_status cz_defect_draw(const cz_defect_options *options, size_t height, size_t width, uint8_t *rgb, uint8_t *mask,
                         cz_defect *out)
{
    cz_status status = check(options, height, width);
    if (status != CZ_OK) return status;
    const cz_defect_photo photo = {rgb, height, width, is_grey(rgb, height * width)};
    cz_defect drawn = {0};
    for (unsigned i = 0; i < TRIES && !drawn.changed; i++) {
        const cz_defect_try attempt = {options->seed, options->index, i};
        status = draw_once(&attempt, options, &photo, rgb, mask, &drawn);
        if (status != CZ_OK) return status;
    }
    if (!drawn.changed) memset(mask, 0, height * width);
    *out = drawn;
    return CZ_OK;
}
