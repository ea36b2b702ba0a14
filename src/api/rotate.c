/* SPDX-License-Identifier: Apache-2.0 */
#include "api/rotate.h"

#include "util/alloc.h"

#include <math.h>
#include <string.h>

static const double PI = 3.14159265358979323846;

/* ---- one picture -------------------------------------------------------------------------------------------------- */

typedef struct channels {
    size_t count, bytes; /* of a pixel, of one of its channels */
} channels;

static const channels formats[] = {{1, 1}, {1, 2}, {3, 1}, {3, 1}, {4, 1}, {4, 1}}; /* of cz_pixel_format */
enum { FORMATS = sizeof formats / sizeof *formats };

/* Mirrored at the first and the last pixel until it is within 0 … n - 1. */
static double fold(double v, size_t n)
{
    const double last = (double)(n - 1);
    if (v >= 0.0 && v <= last) return v;
    if (n < 2) return 0.0;
    v = fmod(fabs(v), 2.0 * last);
    return v > last ? 2.0 * last - v : v;
}

static double value_at(const cz_image *image, channels c, size_t x, size_t y, size_t channel)
{
    const uint8_t *p = (const uint8_t *)image->data + y * image->stride + x * c.count * c.bytes + channel * c.bytes;
    uint16_t wide;
    if (c.bytes == 1) return (double)*p;
    memcpy(&wide, p, sizeof wide);
    return (double)wide;
}

static void put(uint8_t *out, channels c, double value)
{
    const uint16_t wide = (uint16_t)(value + 0.5);
    if (c.bytes == 1) {
        *out = (uint8_t)wide;
    } else {
        memcpy(out, &wide, sizeof wide);
    }
}

static void sample(const cz_image *image, channels c, double x, double y, uint8_t *out)
{
    const size_t x0 = (size_t)x, y0 = (size_t)y;
    const size_t x1 = x0 + 1 < image->width ? x0 + 1 : x0, y1 = y0 + 1 < image->height ? y0 + 1 : y0;
    const double fx = x - (double)x0, fy = y - (double)y0;
    for (size_t k = 0; k < c.count; k++) {
        const double top = value_at(image, c, x0, y0, k) * (1.0 - fx) + value_at(image, c, x1, y0, k) * fx;
        const double low = value_at(image, c, x0, y1, k) * (1.0 - fx) + value_at(image, c, x1, y1, k) * fx;
        put(out + k * c.bytes, c, top * (1.0 - fy) + low * fy);
    }
}

/* Quarter turns without rounding. */
static void turn(size_t step, size_t turns, double *cosine, double *sine)
{
    static const double cosines[] = {1.0, 0.0, -1.0, 0.0}, sines[] = {0.0, 1.0, 0.0, -1.0};
    const double angle = 2.0 * PI * (double)step / (double)turns;
    const bool quarters = 4 * step % turns == 0;
    *cosine = quarters ? cosines[4 * step / turns] : cos(angle);
    *sine = quarters ? sines[4 * step / turns] : sin(angle);
}

static cz_status rotate(const cz_rotated *r, const cz_image *image, size_t step, cz_image *out)
{
    size_t stride, bytes;
    double cosine, sine;
    if (image->data == NULL || (size_t)image->format >= FORMATS || image->width == 0 || image->height == 0)
        return cz_fail(CZ_E_ARG, "a picture without pixels, or of an unknown format");
    const channels c = formats[image->format];
    if (!cz_mul_size(image->width, c.count * c.bytes, &stride) || image->stride < stride)
        return cz_fail(CZ_E_ARG, "a picture whose rows overlap");
    if (!cz_mul_size(stride, image->height, &bytes)) return cz_fail(CZ_E_MEMORY, "a picture is too large");
    uint8_t *pixels = cz_alloc(bytes);
    if (pixels == NULL) return CZ_E_MEMORY;
    const bool whole = r->roi.width == 0;
    const double cx = whole ? 0.5 * (double)(image->width - 1) : (double)r->roi.x + 0.5 * ((double)r->roi.width - 1.0);
    const double cy =
        whole ? 0.5 * (double)(image->height - 1) : (double)r->roi.y + 0.5 * ((double)r->roi.height - 1.0);
    turn(step, r->turns, &cosine, &sine);
    for (size_t y = 0; y < image->height; y++)
        for (size_t x = 0; x < image->width; x++) {
            const double dx = (double)x - cx, dy = (double)y - cy;
            sample(image, c, fold(cx + dx * cosine + dy * sine, image->width),
                   fold(cy - dx * sine + dy * cosine, image->height), pixels + y * stride + x * c.count * c.bytes);
        }
    *out = (cz_image){pixels, image->width, image->height, stride, image->format};
    return CZ_OK;
}

/* ---- the source --------------------------------------------------------------------------------------------------- */

static size_t photo_of(const cz_rotated *r, size_t index)
{
    return index / (r->turns - 1);
}

static cz_status load(void *ctx, size_t index, cz_image *out)
{
    const cz_rotated *r = ctx;
    const size_t photo = photo_of(r, index);
    cz_image image;
    memset(&image, 0, sizeof image);
    cz_status status = r->all->load(r->all->ctx, photo, &image);
    if (status != CZ_OK) return status;
    status = rotate(r, &image, 1 + index % (r->turns - 1), out);
    if (r->all->release != NULL) r->all->release(r->all->ctx, photo, &image);
    return status;
}

static void release(void *ctx, size_t index, cz_image *image)
{
    (void)ctx;
    (void)index;
    cz_free((void *)(uintptr_t)image->data);
}

static const char *name_of(void *ctx, size_t index)
{
    const cz_rotated *r = ctx;
    return r->all->name(r->all->ctx, photo_of(r, index));
}

cz_status cz_rotated_init(const cz_image_source *all, size_t turns, const cz_roi *roi, cz_rotated *out)
{
    size_t count;
    if (turns < 2 || !cz_mul_size(all->count, turns - 1, &count))
        return cz_fail(CZ_E_ARG, "%zu photos in %zu positions", all->count, turns);
    *out = (cz_rotated){.all = all, .turns = turns, .roi = *roi};
    out->source = (cz_image_source)CZ_IMAGE_SOURCE_INIT;
    out->source.count = count;
    out->source.load = load;
    out->source.release = release;
    if (all->name != NULL) out->source.name = name_of;
    out->source.ctx = out;
    out->source.concurrent = all->concurrent;
    return CZ_OK;
}
