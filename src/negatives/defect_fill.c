/* SPDX-License-Identifier: Apache-2.0 */
#include "negatives/defect_fill.h"

#include "features/resize.h"
#include "negatives/blur.h"
#include "util/alloc.h"

#include <math.h>

enum { CHANNELS = 3 };

/* ITU-R BT.601, as image libraries turn colour into grey */
static float luma(float r, float g, float b)
{
    return 0.299f * r + 0.587f * g + 0.114f * b;
}

static float pick(cz_rng *rng, double low, double high)
{
    return (float)cz_defect_between(rng, low, high);
}

static cz_status draw_texture(const cz_defect_options *options, cz_defect_fill *fill)
{
    const cz_resize_spec spec = {.source = options->texture,
                                 .sw = options->texture_width,
                                 .sh = options->texture_height,
                                 .stride = options->texture_width * CHANNELS,
                                 .channels = CHANNELS,
                                 .dw = fill->photo->width,
                                 .dh = fill->photo->height,
                                 .x = fill->x,
                                 .y = fill->y,
                                 .width = fill->width,
                                 .height = fill->height};
    fill->texture = cz_alloc_array(fill->width * fill->height, CHANNELS);
    return fill->texture == NULL ? CZ_E_MEMORY : cz_resize_window(&spec, fill->texture);
}

/* At least an eighth of a side away, in either direction. */
static size_t draw_shift(cz_rng *rng, size_t side)
{
    const size_t least = side / 8;
    return least + (size_t)cz_rng_below(rng, side - 2 * least);
}

static void draw_turn(cz_rng *rng, cz_defect_fill *fill)
{
    if (cz_rng_below(rng, 2) == 0) return;
    const unsigned turns = 1 + (unsigned)cz_rng_below(rng, 3);
    fill->turns = fill->photo->width == fill->photo->height ? turns : 2;
}

static cz_status draw_colour(const cz_defect_try *attempt, cz_rng *rng, cz_defect_fill *fill)
{
    const float base = pick(rng, 0.0, 255.0);
    const bool tinted = cz_rng_uniform(rng) < 0.4;
    for (int k = 0; k < CHANNELS; k++) fill->colour[k] = base + (tinted ? 25.0f * (float)cz_rng_normal(rng) : 0.0f);
    fill->grain_std = pick(rng, 0.0, 12.0);
    cz_defect_rng(attempt, CZ_DEFECT_STREAM_GRAIN, &fill->grain);
    fill->grain_row = cz_alloc_array(fill->width, sizeof *fill->grain_row);
    return fill->grain_row == NULL ? CZ_E_MEMORY : CZ_OK;
}

/* Blurs the window and as much around it as reaches into it. */
static cz_status draw_blur(cz_rng *rng, cz_defect_fill *fill)
{
    const cz_defect_photo *p = fill->photo;
    const double side = sqrt((double)p->height * (double)p->width);
    const double sigma = cz_defect_between(rng, 2.0, 6.0) * side / 256.0;
    const size_t reach = cz_blur_reach(sigma);
    const size_t x = fill->x > reach ? fill->x - reach : 0, y = fill->y > reach ? fill->y - reach : 0;
    const size_t right = fill->x + fill->width + reach, bottom = fill->y + fill->height + reach;
    const size_t width = (right < p->width ? right : p->width) - x;
    const size_t height = (bottom < p->height ? bottom : p->height) - y;
    fill->gain = pick(rng, 0.8, 1.2);
    fill->blurred_x = x;
    fill->blurred_y = y;
    fill->blurred_width = width;
    fill->blurred = cz_alloc_array(width * height, CHANNELS * sizeof *fill->blurred);
    if (fill->blurred == NULL) return CZ_E_MEMORY;
    for (size_t row = 0; row < height; row++) {
        const uint8_t *from = p->rgb + ((y + row) * p->width + x) * CHANNELS;
        float *to = fill->blurred + row * width * CHANNELS;
        for (size_t i = 0; i < width * CHANNELS; i++) to[i] = (float)from[i];
    }
    return cz_blur(fill->blurred, height, width, CHANNELS, sigma);
}

cz_status cz_defect_fill_create(const cz_defect_try *attempt, const cz_defect_options *options,
                                const cz_defect_photo *photo, const cz_soft_mask *mask, cz_defect_fill *out)
{
    cz_defect_fill fill = {
        .photo = photo, .x = mask->x, .y = mask->y, .width = mask->width, .height = mask->height, .gain = 1.0f};
    cz_rng rng;
    cz_defect_rng(attempt, CZ_DEFECT_STREAM_FILLING, &rng);
    const uint64_t first = options->texture == NULL ? 1 : 0;
    fill.kind = (cz_defect_filling)(first + cz_rng_below(&rng, CZ_DEFECT_FILLINGS - first));
    cz_status status = CZ_OK;
    switch (fill.kind) {
    case CZ_DEFECT_TEXTURE:
        CZ_TRY(draw_texture(options, &fill));
        break;
    case CZ_DEFECT_SHIFTED:
        fill.shift_x = draw_shift(&rng, photo->width);
        fill.shift_y = draw_shift(&rng, photo->height);
        draw_turn(&rng, &fill);
        break;
    case CZ_DEFECT_COLOUR:
        CZ_TRY(draw_colour(attempt, &rng, &fill));
        break;
    case CZ_DEFECT_TONE:
        fill.gain = pick(&rng, 0.3, 0.75);
        if (cz_rng_below(&rng, 2) == 0) fill.level = pick(&rng, 0.0, 100.0);
        break;
    default:
        CZ_TRY(draw_blur(&rng, &fill));
        break;
    }
    *out = fill;
    return CZ_OK;
out:
    cz_defect_fill_free(&fill);
    return status;
}

void cz_defect_fill_free(cz_defect_fill *fill)
{
    cz_free(fill->texture);
    cz_free(fill->grain_row);
    cz_free(fill->blurred);
    fill->texture = NULL;
    fill->grain_row = fill->blurred = NULL;
}

/* The pixel that (x, y) of the turned, shifted photo shows. */
static const uint8_t *shifted_pixel(const cz_defect_fill *f, size_t x, size_t y)
{
    const size_t w = f->photo->width, h = f->photo->height;
    size_t sx = x, sy = y;
    if (f->turns == 1) {
        sx = w - 1 - y;
        sy = x;
    } else if (f->turns == 2) {
        sx = w - 1 - x;
        sy = h - 1 - y;
    } else if (f->turns == 3) {
        sx = y;
        sy = h - 1 - x;
    }
    sx += f->shift_x;
    sy += f->shift_y;
    return f->photo->rgb + ((sy < h ? sy : sy - h) * w + (sx < w ? sx : sx - w)) * CHANNELS;
}

static void shifted_row(const cz_defect_fill *f, size_t y, float *out)
{
    for (size_t i = 0; i < f->width; i++) {
        const uint8_t *from = shifted_pixel(f, f->x + i, y);
        for (size_t k = 0; k < CHANNELS; k++) out[i * CHANNELS + k] = (float)from[k];
    }
}

static void colour_row(const cz_defect_fill *f, size_t row, float *out)
{
    const uint64_t offset = (uint64_t)row * ((f->width + 3) / 4 * 4);
    cz_rng_normal_run(&f->grain, offset, f->grain_row, f->width, f->grain_std);
    for (size_t i = 0; i < f->width * CHANNELS; i++) out[i] = f->colour[i % CHANNELS] + f->grain_row[i / CHANNELS];
}

void cz_defect_fill_row(const cz_defect_fill *fill, size_t row, float *out)
{
    const size_t y = fill->y + row, values = fill->width * CHANNELS;
    const uint8_t *photo = fill->photo->rgb + (y * fill->photo->width + fill->x) * CHANNELS;
    const float *blurred;
    switch (fill->kind) {
    case CZ_DEFECT_TEXTURE:
        for (size_t i = 0; i < values; i++) out[i] = (float)fill->texture[row * values + i];
        break;
    case CZ_DEFECT_SHIFTED:
        shifted_row(fill, y, out);
        break;
    case CZ_DEFECT_COLOUR:
        colour_row(fill, row, out);
        break;
    case CZ_DEFECT_TONE:
        for (size_t i = 0; i < values; i++) out[i] = (float)photo[i] * fill->gain + fill->level;
        break;
    default:
        blurred = fill->blurred + ((y - fill->blurred_y) * fill->blurred_width + fill->x - fill->blurred_x) * CHANNELS;
        for (size_t i = 0; i < values; i++) out[i] = blurred[i] * fill->gain;
        break;
    }
    if (!fill->photo->grey) return;
    for (size_t i = 0; i < values; i += CHANNELS)
        out[i] = out[i + 1] = out[i + 2] = luma(out[i], out[i + 1], out[i + 2]);
}
