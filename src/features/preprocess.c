/* SPDX-License-Identifier: Apache-2.0 */
/* From an image to the network's input: region, fit, resize, normalisation, and which patches count. */
#include "features/preprocess.h"

#include "features/resize.h"
#include "features/simd.h"
#include "util/alloc.h"
#include "util/sha256.h"

#include <math.h>
#include <string.h>

#define MAX_INPUT_SIDE 65535

static size_t pixel_bytes(cz_pixel_format format)
{
    switch (format) {
    case CZ_GRAY8:
        return 1;
    case CZ_GRAY16:
        return 2;
    case CZ_RGB8:
    case CZ_BGR8:
        return 3;
    case CZ_RGBA8:
    case CZ_BGRA8:
        return 4;
    }
    return 0;
}

static cz_status check_image(const cz_image *image)
{
    if (!image || !image->data) return cz_fail(CZ_E_ARG, "image: no pixels");
    if (image->width == 0 || image->height == 0) return cz_fail(CZ_E_ARG, "image: a side of 0 pixels");
    if (image->width > CZ_RESIZE_MAX_SIDE || image->height > CZ_RESIZE_MAX_SIDE)
        return cz_fail(CZ_E_LIMIT, "image: %zux%zu is larger than %d on a side", image->width, image->height,
                       CZ_RESIZE_MAX_SIDE);
    const size_t bytes = pixel_bytes(image->format);
    if (bytes == 0) return cz_fail(CZ_E_ARG, "image: unknown pixel format %d", (int)image->format);
    size_t total;
    if (image->stride < image->width * bytes)
        return cz_fail(CZ_E_ARG, "image: a stride of %zu bytes is less than a row of %zu", image->stride,
                       image->width * bytes);
    if (!cz_mul_size(image->stride, image->height, &total) || total > PTRDIFF_MAX)
        return cz_fail(CZ_E_ARG, "image: stride x height is out of range");
    return CZ_OK;
}

static cz_status copy_mask(const cz_image *mask, cz_prep *prep)
{
    cz_status status = check_image(mask);
    if (status != CZ_OK) return cz_fail_prefix(status, "ignore mask");
    if (mask->format != CZ_GRAY8) return cz_fail(CZ_E_ARG, "ignore mask: not 8-bit gray");
    prep->ignore = cz_alloc_array(mask->height, mask->width);
    if (!prep->ignore) return CZ_E_MEMORY;
    for (size_t y = 0; y < mask->height; y++) {
        const uint8_t *row = (const uint8_t *)mask->data + y * mask->stride;
        uint8_t *to = prep->ignore + y * mask->width;
        for (size_t x = 0; x < mask->width; x++) to[x] = row[x] >= 128;
    }
    prep->ignore_width = mask->width;
    prep->ignore_height = mask->height;
    return CZ_OK;
}

cz_status cz_prep_init(size_t width, size_t height, cz_fit fit, size_t resize, const cz_roi *roi, const cz_image *mask,
                       cz_prep *out)
{
    if (width == 0 || height == 0 || width > MAX_INPUT_SIDE || height > MAX_INPUT_SIDE)
        return cz_fail(CZ_E_ARG, "network input: sides are 1 to %d", MAX_INPUT_SIDE);
    if (fit != CZ_FIT_SQUASH && fit != CZ_FIT_LETTERBOX && fit != CZ_FIT_CROP)
        return cz_fail(CZ_E_ARG, "unknown fit %d", (int)fit);
    if (resize > CZ_RESIZE_MAX_SIDE)
        return cz_fail(CZ_E_ARG, "resize: the short side is at most %d", CZ_RESIZE_MAX_SIDE);
    if (roi && roi->width > 0 && roi->height == 0) return cz_fail(CZ_E_ARG, "region: a height of 0 pixels");
    cz_prep prep = {.width = width, .height = height, .fit = fit};
    if (fit == CZ_FIT_CROP) prep.resize = resize > 0 ? resize : width < height ? width : height;
    if (roi && roi->width > 0) prep.roi = *roi;
    if (mask) {
        const cz_status status = copy_mask(mask, &prep);
        if (status != CZ_OK) return status;
    }
    *out = prep;
    return CZ_OK;
}

void cz_prep_free(cz_prep *prep)
{
    if (!prep) return;
    cz_free(prep->ignore);
    memset(prep, 0, sizeof *prep);
}

/* ---- geometry ---------------------------------------------------------------------------------------------------- */

static cz_status clip_region(const cz_prep *prep, const cz_image *image, cz_roi *region)
{
    *region = (cz_roi){0, 0, image->width, image->height};
    if (prep->roi.width == 0) return CZ_OK;
    const cz_roi r = prep->roi;
    if (r.x >= image->width || r.y >= image->height)
        return cz_fail(CZ_E_ARG, "region %zu,%zu,%zu,%zu lies outside the %zux%zu image", r.x, r.y, r.width, r.height,
                       image->width, image->height);
    region->x = r.x;
    region->y = r.y;
    region->width = r.width < image->width - r.x ? r.width : image->width - r.x;
    region->height = r.height < image->height - r.y ? r.height : image->height - r.y;
    return CZ_OK;
}

/* How the region is resized, and which window of the result lands where on the input. */
typedef struct placement {
    size_t dw, dh;       /* the whole resized region */
    size_t cut_x, cut_y; /* window of it, of the geometry's content size */
} placement;

/* Python's round((have - want) / 2.0): halves go to the even neighbour. */
static size_t centre_cut(size_t have, size_t want)
{
    const size_t difference = have - want, half = difference / 2;
    return difference % 2 == 1 && half % 2 == 1 ? half + 1 : half;
}

/* One axis of the centre cut: `have` resized pixels on an input side of `want`; less than that is padded as torchvision's
 * CenterCrop pads, the smaller half first. */
static void place_axis(size_t have, size_t want, size_t *cut, size_t *content, size_t *size)
{
    *cut = have > want ? centre_cut(have, want) : 0;
    *content = have < want ? (want - have) / 2 : 0;
    *size = have < want ? have : want;
}

/* torchvision's Resize(int): the short side becomes `resize`, the long one int(resize * long / short). */
static void crop_sizes(const cz_prep *prep, const cz_roi *region, placement *p)
{
    const size_t w = region->width, h = region->height, s = prep->resize;
    const size_t small = w <= h ? w : h, large = w <= h ? h : w;
    const size_t resized = (size_t)((double)(s * large) / (double)small);
    p->dw = w <= h ? s : resized;
    p->dh = w <= h ? resized : s;
}

static size_t scaled_side(size_t side, size_t numerator, size_t denominator)
{
    const size_t v = (2 * side * numerator + denominator) / (2 * denominator); /* round half up */
    return v > 0 ? v : 1;
}

static placement place(const cz_prep *prep, cz_geometry *g)
{
    const size_t w = g->region.width, h = g->region.height;
    placement p = {prep->width, prep->height, 0, 0};
    g->content_x = g->content_y = 0;
    g->content_w = prep->width;
    g->content_h = prep->height;
    if (prep->fit == CZ_FIT_LETTERBOX) {
        if (w * prep->height >= h * prep->width)
            p.dh = scaled_side(h, prep->width, w);
        else
            p.dw = scaled_side(w, prep->height, h);
        if (p.dh > prep->height) p.dh = prep->height;
        if (p.dw > prep->width) p.dw = prep->width;
        g->content_w = p.dw;
        g->content_h = p.dh;
        g->content_x = (prep->width - p.dw) / 2;
        g->content_y = (prep->height - p.dh) / 2;
    } else if (prep->fit == CZ_FIT_CROP) {
        crop_sizes(prep, &g->region, &p);
        place_axis(p.dw, prep->width, &p.cut_x, &g->content_x, &g->content_w);
        place_axis(p.dh, prep->height, &p.cut_y, &g->content_y, &g->content_h);
    }
    g->step_x = (double)w / (double)p.dw;
    g->step_y = (double)h / (double)p.dh;
    /* Input pixel u is resized pixel u - content + cut, whose centre is at (that + 1/2) * step - 1/2 of the region. */
    const double shift_x = (double)p.cut_x - (double)g->content_x, shift_y = (double)p.cut_y - (double)g->content_y;
    g->origin_x = (double)g->region.x + (shift_x + 0.5) * g->step_x - 0.5;
    g->origin_y = (double)g->region.y + (shift_y + 0.5) * g->step_y - 0.5;
    return p;
}

/* ---- pixels ------------------------------------------------------------------------------------------------------ */

static uint8_t rounded_mean(float mean)
{
    const float v = roundf(mean);
    return v >= 255.0f ? 255 : v > 0.0f ? (uint8_t)v : 0; /* NaN: 0 */
}

static void fill_padding(const cz_prep *prep, const cz_geometry *g, const float mean[3], uint8_t *rgb)
{
    if (g->content_w == prep->width && g->content_h == prep->height) return;
    const uint8_t fill[3] = {rounded_mean(mean[0]), rounded_mean(mean[1]), rounded_mean(mean[2])};
    for (size_t i = 0; i < prep->width * prep->height; i++) memcpy(rgb + 3 * i, fill, 3);
}

/* 16-bit gray region -> 8 bits, (v * 255 + 32767) / 65535. */
static uint8_t *narrow_region(const cz_image *image, const cz_roi *region)
{
    uint8_t *gray = cz_alloc_array(region->height, region->width);
    if (!gray) return NULL;
    for (size_t y = 0; y < region->height; y++) {
        const uint8_t *row = (const uint8_t *)image->data + (region->y + y) * image->stride + 2 * region->x;
        uint8_t *to = gray + y * region->width;
        for (size_t x = 0; x < region->width; x++) {
            uint16_t v;
            memcpy(&v, row + 2 * x, sizeof v);
            to[x] = (uint8_t)(((uint32_t)v * 255u + 32767u) / 65535u);
        }
    }
    return gray;
}

/* One resized row in its own format -> RGB. */
static void row_to_rgb(cz_pixel_format format, const uint8_t *from, size_t n, uint8_t *to)
{
    switch (format) {
    case CZ_GRAY8:
    case CZ_GRAY16:
        for (size_t x = 0; x < n; x++) to[3 * x] = to[3 * x + 1] = to[3 * x + 2] = from[x];
        break;
    case CZ_RGB8:
        memcpy(to, from, 3 * n);
        break;
    case CZ_BGR8:
        for (size_t x = 0; x < n; x++) {
            to[3 * x] = from[3 * x + 2];
            to[3 * x + 1] = from[3 * x + 1];
            to[3 * x + 2] = from[3 * x];
        }
        break;
    case CZ_RGBA8:
        for (size_t x = 0; x < n; x++) memcpy(to + 3 * x, from + 4 * x, 3);
        break;
    case CZ_BGRA8:
        for (size_t x = 0; x < n; x++) {
            to[3 * x] = from[4 * x + 2];
            to[3 * x + 1] = from[4 * x + 1];
            to[3 * x + 2] = from[4 * x];
        }
        break;
    }
}

/* Resizing works channel by channel, so the conversion to RGB comes after it: fewer pixels, the same result. */
static cz_status resize_region(const cz_prep *prep, const cz_image *image, const cz_geometry *g, const placement *p,
                               uint8_t *rgb)
{
    cz_status status = CZ_OK;
    const size_t bytes = pixel_bytes(image->format);
    const size_t channels = image->format == CZ_GRAY16 ? 1 : bytes;
    uint8_t *narrow = NULL, *small = NULL;
    cz_resize_spec spec = {
        .source = (const uint8_t *)image->data + g->region.y * image->stride + g->region.x * bytes,
        .sw = g->region.width,
        .sh = g->region.height,
        .stride = image->stride,
        .channels = channels,
        .dw = p->dw,
        .dh = p->dh,
        .x = p->cut_x,
        .y = p->cut_y,
        .width = g->content_w,
        .height = g->content_h,
    };
    if (image->format == CZ_GRAY16) {
        narrow = narrow_region(image, &g->region);
        if (!narrow) return CZ_E_MEMORY;
        spec.source = narrow;
        spec.stride = g->region.width;
    }
    const bool direct = image->format == CZ_RGB8 && g->content_w == prep->width && g->content_h == prep->height;
    if (!direct) {
        small = cz_alloc_array(g->content_w * g->content_h, channels);
        if (!small) {
            status = CZ_E_MEMORY;
            goto out;
        }
    }
    CZ_TRY(cz_resize_window(&spec, direct ? rgb : small));
    for (size_t y = 0; y < g->content_h && !direct; y++)
        row_to_rgb(image->format, small + y * g->content_w * channels, g->content_w,
                   rgb + ((g->content_y + y) * prep->width + g->content_x) * 3);
out:
    cz_free(narrow);
    cz_free(small);
    return status;
}

cz_status cz_prep_image(const cz_prep *prep, const cz_image *image, const float mean[3], uint8_t *rgb,
                        cz_geometry *geometry)
{
    cz_status status = check_image(image);
    if (status != CZ_OK) return status;
    cz_geometry g = {.image_width = image->width, .image_height = image->height};
    CZ_TRY(clip_region(prep, image, &g.region));
    const placement p = place(prep, &g);
    fill_padding(prep, &g, mean, rgb);
    CZ_TRY(resize_region(prep, image, &g, &p, rgb));
    *geometry = g;
out:
    return status;
}

/* ---- normalisation ------------------------------------------------------------------------------------------------ */

#define PERIOD 48 /* a multiple of 3 channels and of 16 lanes */

CZ_INLINE void normalise_body(const uint8_t *rgb, size_t n, const float *mean, const float *std, float *out)
{
    size_t i = 0;
    for (; i + PERIOD <= n; i += PERIOD)
        for (size_t j = 0; j < PERIOD; j++) out[i + j] = ((float)rgb[i + j] - mean[j]) / std[j];
    for (size_t j = 0; i + j < n; j++) out[i + j] = ((float)rgb[i + j] - mean[j]) / std[j];
}

static void normalise_plain(const uint8_t *rgb, size_t n, const float *mean, const float *std, float *out)
{
    normalise_body(rgb, n, mean, std, out);
}

CZ_TARGET_AVX2 static void normalise_avx2(const uint8_t *rgb, size_t n, const float *mean, const float *std, float *out)
{
    normalise_body(rgb, n, mean, std, out);
}

/* 0 outside the content of row y. */
static void clear_padding(const cz_prep *prep, const cz_geometry *g, size_t y, float *row)
{
    const size_t right = g->content_x + g->content_w;
    if (y < g->content_y || y >= g->content_y + g->content_h) {
        memset(row, 0, prep->width * 3 * sizeof *row);
        return;
    }
    memset(row, 0, g->content_x * 3 * sizeof *row);
    memset(row + right * 3, 0, (prep->width - right) * 3 * sizeof *row);
}

void cz_prep_normalise(const cz_prep *prep, const cz_geometry *geometry, const uint8_t *rgb, const float mean[3],
                       const float std[3], float *out)
{
    float mean48[PERIOD], std48[PERIOD];
    for (size_t j = 0; j < PERIOD; j++) {
        mean48[j] = mean[j % 3];
        std48[j] = std[j % 3];
    }
    const bool avx2 = cz_has_avx2();
    const size_t n = prep->width * 3;
#pragma omp parallel for schedule(static) if (prep->height * n > 65536)
    for (size_t y = 0; y < prep->height; y++) {
        if (avx2)
            normalise_avx2(rgb + y * n, n, mean48, std48, out + y * n);
        else
            normalise_plain(rgb + y * n, n, mean48, std48, out + y * n);
        clear_padding(prep, geometry, y, out + y * n);
    }
}

/* ---- which patches count ------------------------------------------------------------------------------------------- */

/* Does input pixel (x, y) show something to be inspected? */
static bool inspected(const cz_prep *prep, const cz_geometry *g, size_t x, size_t y)
{
    if (x < g->content_x || x >= g->content_x + g->content_w) return false;
    if (y < g->content_y || y >= g->content_y + g->content_h) return false;
    if (!prep->ignore) return true;
    /* position in the region, 0 … 1, taken at the pixel's centre */
    const double u = (g->origin_x + (double)x * g->step_x + 0.5 - (double)g->region.x) / (double)g->region.width;
    const double v = (g->origin_y + (double)y * g->step_y + 0.5 - (double)g->region.y) / (double)g->region.height;
    size_t mx = u > 0.0 ? (size_t)(u * (double)prep->ignore_width) : 0;
    size_t my = v > 0.0 ? (size_t)(v * (double)prep->ignore_height) : 0;
    if (mx >= prep->ignore_width) mx = prep->ignore_width - 1;
    if (my >= prep->ignore_height) my = prep->ignore_height - 1;
    return prep->ignore[my * prep->ignore_width + mx] == 0;
}

void cz_prep_valid(const cz_prep *prep, const cz_geometry *geometry, size_t gw, size_t gh, uint8_t *valid)
{
    if (!prep->ignore && geometry->content_w == prep->width && geometry->content_h == prep->height) {
        memset(valid, 1, gw * gh);
        return;
    }
    for (size_t i = 0; i < gw * gh; i++) {
        const size_t gx = i % gw, gy = i / gw;
        const size_t x0 = gx * prep->width / gw, y0 = gy * prep->height / gh;
        size_t x1 = (gx + 1) * prep->width / gw, y1 = (gy + 1) * prep->height / gh;
        if (x1 == x0) x1++; /* a grid finer than the input */
        if (y1 == y0) y1++;
        size_t good = 0;
        for (size_t y = y0; y < y1; y++)
            for (size_t x = x0; x < x1; x++) good += inspected(prep, geometry, x, y);
        valid[i] = 2 * good >= (x1 - x0) * (y1 - y0);
    }
}

/* ---- identity ------------------------------------------------------------------------------------------------------ */

void cz_image_sha256(const cz_image *image, uint8_t digest[32])
{
    uint8_t head[24];
    const uint64_t numbers[3] = {image->width, image->height, (uint64_t)image->format};
    for (size_t i = 0; i < 24; i++) head[i] = (uint8_t)(numbers[i / 8] >> (8 * (i % 8)));
    cz_sha256 sha;
    cz_sha256_init(&sha);
    cz_sha256_update(&sha, head, sizeof head);
    const size_t row = image->width * pixel_bytes(image->format);
    for (size_t y = 0; y < image->height; y++)
        cz_sha256_update(&sha, (const uint8_t *)image->data + y * image->stride, row);
    cz_sha256_final(&sha, digest);
}
