/* SPDX-License-Identifier: Apache-2.0 */
/* Pictures for people: the map over the photo, the colours of the scale, and small versions for pages. */
#include "io/picture.h"

#include "util/alloc.h"

#include <math.h>
#include <string.h>

/* Red, green, blue and opacity at 256 steps of t. */
typedef struct scale {
    uint8_t rgb[256][3];
    unsigned alpha[256]; /* of 256 */
} scale;

/* Night blue, violet, crimson, orange, pale yellow: lightness rises all the way (tested), so that the scale also reads
 * in gray and for the colour-blind. Straight lines between the stops. */
void cz_overlay_colour(double t, uint8_t rgb[3])
{
    static const struct {
        double at, rgb[3];
    } stops[] = {
        {0.00, {28, 16, 92}},   {0.20, {92, 18, 128}},  {0.40, {176, 22, 116}},  {0.55, {226, 42, 66}},
        {0.70, {246, 104, 20}}, {0.85, {255, 184, 18}}, {1.00, {255, 246, 140}},
    };
    enum { COUNT = sizeof(stops) / sizeof(stops[0]) };
    if (!(t > 0)) t = 0; /* NaN too */
    if (t > 1) t = 1;
    size_t i = 0;
    while (i + 2 < COUNT && t > stops[i + 1].at) i++;
    double f = (t - stops[i].at) / (stops[i + 1].at - stops[i].at);
    for (int c = 0; c < 3; c++) rgb[c] = (uint8_t)(stops[i].rgb[c] + f * (stops[i + 1].rgb[c] - stops[i].rgb[c]) + 0.5);
}

static void make_scale(scale *s)
{
    for (int i = 0; i < 256; i++) {
        double t = i / 255.0, rise = t < 0.12 ? 0 : t < 0.6 ? (t - 0.12) / 0.48 : 1;
        cz_overlay_colour(t, s->rgb[i]);
        /* nothing near `low`, so that the ordinary parts of a photo stay as they are; three quarters from 0.6 on */
        s->alpha[i] = (unsigned)(0.78 * rise * rise * (3 - 2 * rise) * 256 + 0.5);
    }
}

/* The photo's own light and shade on the colour, so that its structure shows where the colour is strong. */
static void blend(uint8_t pixel[3], const uint8_t colour[3], unsigned alpha)
{
    unsigned light = (77u * pixel[0] + 150u * pixel[1] + 29u * pixel[2]) >> 8;
    unsigned shade = 168 + light * 88 / 255; /* of 256 */
    for (int c = 0; c < 3; c++)
        pixel[c] = (uint8_t)((pixel[c] * (256 - alpha) + (colour[c] * shade >> 8) * alpha + 128) >> 8);
}

cz_status cz_overlay(const cz_image *photo, const float *map, double low, double high, cz_picture *out)
{
    cz_error_clear();
    cz_status status = cz_image_check(photo);
    if (status != CZ_OK) return status;
    if (!map || !out) return cz_fail(CZ_E_ARG, "an overlay without a map or a place to put it");
    if (!isfinite(low) || !isfinite(high) || low > high)
        return cz_fail(CZ_E_ARG, "a colour scale cannot range from %g to %g", low, high);
    cz_picture picture = {0};
    status = cz_picture_alloc(photo->width, photo->height, CZ_RGB8, &picture);
    if (status != CZ_OK) return status;
    scale s;
    make_scale(&s);
    double factor = high > low ? 255 / (high - low) : 0;
    for (size_t y = 0; y < photo->height; y++) {
        uint8_t *row = cz_picture_row(&picture, y);
        cz_image_row_rgb(photo, y, row);
        for (size_t x = 0; x < photo->width; x++, row += 3) {
            float value = map[y * photo->width + x];
            if (isnan(value)) {
                for (int c = 0; c < 3; c++) row[c] = (uint8_t)(row[c] * 2 / 5);
                continue;
            }
            double t = ((double)value - low) * factor;
            int i = t >= 255 ? 255 : t > 0 ? (int)(t + 0.5) : 0;
            if (s.alpha[i]) blend(row, s.rgb[i], s.alpha[i]);
        }
    }
    *out = picture;
    return CZ_OK;
}

/* ---- small versions ---- */

/* Adds row y (as gray or RGB bytes) times `weight` to sums: [width * channels] */
static void add_row(const uint8_t *row, size_t n, float weight, float *sums)
{
    for (size_t i = 0; i < n; i++) sums[i] += weight * row[i];
}

/* The mean of what each output pixel covers; a source pixel on the border counts by its covered part. */
static void shrink_row(const float *sums, size_t width, size_t channels, uint8_t *to, size_t out_width, double rows)
{
    double step = (double)width / (double)out_width;
    for (size_t x = 0; x < out_width; x++) {
        double from = (double)x * step, until = x + 1 == out_width ? (double)width : (double)(x + 1) * step;
        size_t first = (size_t)from, last = (size_t)ceil(until);
        if (last > width) last = width;
        double total[3] = {0};
        for (size_t i = first; i < last; i++) {
            double covered = fmin(until, (double)(i + 1)) - fmax(from, (double)i);
            for (size_t c = 0; c < channels; c++) total[c] += covered * (double)sums[i * channels + c];
        }
        for (size_t c = 0; c < channels; c++) {
            double v = total[c] / (rows * (until - from)) + 0.5;
            to[x * channels + c] = (uint8_t)(v > 255 ? 255 : v);
        }
    }
}

static void image_row(const cz_image *image, size_t y, bool gray, uint8_t *to)
{
    const uint8_t *from = (const uint8_t *)image->data + y * image->stride;
    if (!gray) {
        cz_image_row_rgb(image, y, to);
        return;
    }
    for (size_t x = 0; x < image->width; x++) {
        uint16_t wide;
        if (image->format == CZ_GRAY8) {
            to[x] = from[x];
        } else {
            memcpy(&wide, from + 2 * x, 2);
            to[x] = cz_to8(wide);
        }
    }
}

static void shrink(const cz_image *image, bool gray, uint8_t *row, float *sums, cz_picture *out)
{
    size_t channels = gray ? 1 : 3, n = image->width * channels, height = image->height;
    double step = (double)height / (double)out->image.height;
    for (size_t y = 0; y < out->image.height; y++) {
        double from = (double)y * step, until = y + 1 == out->image.height ? (double)height : (double)(y + 1) * step;
        size_t first = (size_t)from, last = (size_t)ceil(until);
        if (last > height) last = height;
        memset(sums, 0, n * sizeof(*sums));
        for (size_t i = first; i < last; i++) {
            image_row(image, i, gray, row);
            add_row(row, n, (float)(fmin(until, (double)(i + 1)) - fmax(from, (double)i)), sums);
        }
        shrink_row(sums, image->width, channels, cz_picture_row(out, y), out->image.width, until - from);
    }
}

static size_t scaled(size_t side, size_t longest, size_t largest)
{
    size_t v = (size_t)((double)side * (double)longest / (double)largest + 0.5);
    return v ? v : 1;
}

cz_status cz_picture_thumbnail(const cz_image *image, size_t longest, cz_picture *out)
{
    cz_error_clear();
    cz_status status = cz_image_check(image);
    if (status != CZ_OK) return status;
    if (!longest || !out) return cz_fail(CZ_E_ARG, "a thumbnail of no size, or nowhere to put it");
    bool gray = image->format == CZ_GRAY8 || image->format == CZ_GRAY16;
    size_t largest = image->width > image->height ? image->width : image->height;
    size_t width = largest > longest ? scaled(image->width, longest, largest) : image->width;
    size_t height = largest > longest ? scaled(image->height, longest, largest) : image->height;
    cz_picture small = {0};
    uint8_t *row = NULL;
    float *sums = NULL;
    CZ_TRY(cz_picture_alloc(width, height, gray ? CZ_GRAY8 : CZ_RGB8, &small));
    if (largest <= longest) {
        for (size_t y = 0; y < height; y++) image_row(image, y, gray, cz_picture_row(&small, y));
        *out = small;
        return CZ_OK;
    }
    row = cz_alloc_array(image->width, 3);
    sums = cz_alloc_array(image->width, 3 * sizeof(float));
    if (!row || !sums) CZ_TRY(CZ_E_MEMORY);
    shrink(image, gray, row, sums, &small);
    *out = small;
    small.pixels = NULL;
out:
    cz_picture_free(&small);
    cz_free(row);
    cz_free(sums);
    return status;
}
