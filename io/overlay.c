/* SPDX-License-Identifier: Apache-2.0 */
/* Pictures for people: the map over the photo, the colours of the scale, and small versions for pages. */
#include "io/encode.h"
#include "io/picture.h"
#include "util/alloc.h"

#include <math.h>
#include <string.h>

enum { BAND_ROWS = 32 }; /* of the map, asked for at once */

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

/* A photo with a map over it, row by row. */
typedef struct overlay {
    const cz_image *photo;
    const cz_map_source *map;
    double low, factor;
    scale colours;
    float *band; /* [BAND_ROWS, width] rows first … first + count-1 of the map */
    size_t first, count;
} overlay;

static void overlay_free(overlay *o)
{
    cz_free(o->band);
}

static cz_status overlay_init(overlay *o, const cz_image *photo, const cz_map_source *map, double low, double high)
{
    cz_status status = cz_image_check(photo);
    if (status != CZ_OK) return status;
    if (!map || !map->rows) return cz_fail(CZ_E_ARG, "an overlay without a map");
    if (map->width != photo->width || map->height != photo->height)
        return cz_fail(CZ_E_ARG, "a map of %zu x %zu over a photo of %zu x %zu", map->width, map->height, photo->width,
                       photo->height);
    if (!isfinite(low) || !isfinite(high) || low > high)
        return cz_fail(CZ_E_ARG, "a colour scale cannot range from %g to %g", low, high);
    *o = (overlay){.photo = photo, .map = map, .low = low, .factor = high > low ? 255 / (high - low) : 0};
    make_scale(&o->colours);
    o->band = cz_alloc_array(photo->width, BAND_ROWS * sizeof(float));
    return o->band ? CZ_OK : CZ_E_MEMORY;
}

/* row: [width] RGB of the photo, changed in place */
static void colour_row(const overlay *o, const float *values, uint8_t *row)
{
    for (size_t x = 0; x < o->photo->width; x++, row += 3) {
        if (isnan(values[x])) {
            for (int c = 0; c < 3; c++) row[c] = (uint8_t)(row[c] * 2 / 5);
            continue;
        }
        double t = ((double)values[x] - o->low) * o->factor;
        int i = t >= 255 ? 255 : t > 0 ? (int)(t + 0.5) : 0;
        if (o->colours.alpha[i]) blend(row, o->colours.rgb[i], o->colours.alpha[i]);
    }
}

static cz_status overlay_row(void *ctx, size_t y, uint8_t *out)
{
    overlay *o = ctx;
    if (y < o->first || y >= o->first + o->count) {
        size_t left = o->photo->height - y;
        o->count = 0;
        cz_status status = o->map->rows(o->map->ctx, y, left < BAND_ROWS ? left : BAND_ROWS, o->band);
        if (status != CZ_OK) return status;
        o->first = y;
        o->count = left < BAND_ROWS ? left : BAND_ROWS;
    }
    cz_image_row_rgb(o->photo, y, out);
    colour_row(o, o->band + (y - o->first) * o->photo->width, out);
    return CZ_OK;
}

cz_status cz_overlay_write(const char *path, const cz_image *photo, const cz_map_source *map, double low, double high)
{
    cz_error_clear();
    overlay o = {0};
    if (!path) return cz_fail(CZ_E_ARG, "no path to write to");
    cz_status status = overlay_init(&o, photo, map, low, high);
    if (status == CZ_OK) {
        const cz_png_rows png = {photo->width, photo->height, CZ_RGB8, overlay_row, &o};
        status = cz_png_write_rows(path, &png, NULL, 0);
    }
    overlay_free(&o);
    return status;
}

cz_status cz_overlay(const cz_image *photo, const float *map, double low, double high, cz_picture *out)
{
    cz_error_clear();
    cz_status status = cz_image_check(photo);
    if (status != CZ_OK) return status;
    if (!map || !out) return cz_fail(CZ_E_ARG, "an overlay without a map or a place to put it");
    cz_whole_map whole = {map, photo->width};
    const cz_map_source source = {photo->width, photo->height, cz_whole_map_rows, &whole};
    overlay o = {0};
    cz_picture picture = {0};
    CZ_TRY(overlay_init(&o, photo, &source, low, high));
    CZ_TRY(cz_picture_alloc(photo->width, photo->height, CZ_RGB8, &picture));
    for (size_t y = 0; y < photo->height; y++) CZ_TRY(overlay_row(&o, y, cz_picture_row(&picture, y)));
    *out = picture;
    picture.pixels = NULL;
out:
    overlay_free(&o);
    cz_picture_free(&picture);
    return status;
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

/* Where the rows to be shrunk come from, in ascending order; those on a border twice. */
typedef struct row_source {
    size_t width, height;
    bool gray;
    cz_status (*row)(void *ctx, size_t y, uint8_t *out);
    void *ctx;
} row_source;

static cz_status shrink(const row_source *in, uint8_t *row, float *sums, cz_picture *out)
{
    size_t channels = in->gray ? 1 : 3, n = in->width * channels, height = in->height;
    double step = (double)height / (double)out->image.height;
    size_t held = height; /* the row that `row` holds */
    for (size_t y = 0; y < out->image.height; y++) {
        double from = (double)y * step, until = y + 1 == out->image.height ? (double)height : (double)(y + 1) * step;
        size_t first = (size_t)from, last = (size_t)ceil(until);
        if (last > height) last = height;
        memset(sums, 0, n * sizeof(*sums));
        for (size_t i = first; i < last; i++) {
            cz_status status = i == held ? CZ_OK : in->row(in->ctx, i, row);
            if (status != CZ_OK) return status;
            held = i;
            add_row(row, n, (float)(fmin(until, (double)(i + 1)) - fmax(from, (double)i)), sums);
        }
        shrink_row(sums, in->width, channels, cz_picture_row(out, y), out->image.width, until - from);
    }
    return CZ_OK;
}

static size_t scaled(size_t side, size_t longest, size_t largest)
{
    size_t v = (size_t)((double)side * (double)longest / (double)largest + 0.5);
    return v ? v : 1;
}

/* Neither side longer than `longest`; as it is when it is small already. */
static cz_status make_small(const row_source *in, size_t longest, cz_picture *out)
{
    cz_status status = CZ_OK;
    size_t largest = in->width > in->height ? in->width : in->height;
    size_t width = largest > longest ? scaled(in->width, longest, largest) : in->width;
    size_t height = largest > longest ? scaled(in->height, longest, largest) : in->height;
    cz_picture small = {0};
    uint8_t *row = NULL;
    float *sums = NULL;
    CZ_TRY(cz_picture_alloc(width, height, in->gray ? CZ_GRAY8 : CZ_RGB8, &small));
    if (largest <= longest) {
        for (size_t y = 0; y < height; y++) CZ_TRY(in->row(in->ctx, y, cz_picture_row(&small, y)));
    } else {
        row = cz_alloc_array(in->width, 3);
        sums = cz_alloc_array(in->width, 3 * sizeof(float));
        if (!row || !sums) CZ_TRY(CZ_E_MEMORY);
        CZ_TRY(shrink(in, row, sums, &small));
    }
    *out = small;
    small.pixels = NULL;
out:
    cz_picture_free(&small);
    cz_free(row);
    cz_free(sums);
    return status;
}

/* A picture that is there, as rows. */
typedef struct plain {
    const cz_image *image;
    bool gray;
} plain;

static cz_status plain_row(void *ctx, size_t y, uint8_t *out)
{
    const plain *p = ctx;
    image_row(p->image, y, p->gray, out);
    return CZ_OK;
}

cz_status cz_picture_thumbnail(const cz_image *image, size_t longest, cz_picture *out)
{
    cz_error_clear();
    cz_status status = cz_image_check(image);
    if (status != CZ_OK) return status;
    if (!longest || !out) return cz_fail(CZ_E_ARG, "a thumbnail of no size, or nowhere to put it");
    plain p = {image, image->format == CZ_GRAY8 || image->format == CZ_GRAY16};
    const row_source in = {image->width, image->height, p.gray, plain_row, &p};
    return make_small(&in, longest, out);
}

cz_status cz_overlay_thumbnail(const cz_image *photo, const cz_map_source *map, double low, double high, size_t longest,
                               cz_picture *out)
{
    cz_error_clear();
    overlay o = {0};
    if (!longest || !out) return cz_fail(CZ_E_ARG, "a thumbnail of no size, or nowhere to put it");
    cz_status status = overlay_init(&o, photo, map, low, high);
    if (status == CZ_OK) {
        const row_source in = {photo->width, photo->height, false, overlay_row, &o};
        status = make_small(&in, longest, out);
    }
    overlay_free(&o);
    return status;
}
