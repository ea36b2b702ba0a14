/* SPDX-License-Identifier: Apache-2.0 */
#include "io/picture.h"

#include "util/alloc.h"

#include <inttypes.h>
#include <string.h>

size_t cz_pixel_size(cz_pixel_format format)
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

cz_status cz_image_check(const cz_image *image)
{
    if (!image || !image->data) return cz_fail(CZ_E_ARG, "an image without pixels");
    if (!image->width || !image->height)
        return cz_fail(CZ_E_ARG, "an empty image, %zu x %zu pixels", image->width, image->height);
    size_t pixel = cz_pixel_size(image->format), row, all;
    if (!pixel) return cz_fail(CZ_E_ARG, "unknown pixel format %d", (int)image->format);
    if (!cz_mul_size(image->width, pixel, &row) || image->stride < row)
        return cz_fail(CZ_E_ARG, "a stride of %zu bytes for rows of %zu pixels", image->stride, image->width);
    if (!cz_mul_size(image->stride, image->height, &all) || all > PTRDIFF_MAX)
        return cz_fail(CZ_E_ARG, "an image larger than memory, %zu x %zu pixels", image->width, image->height);
    return CZ_OK;
}

cz_status cz_picture_check_size(uint64_t width, uint64_t height, uint64_t max_pixels)
{
    if (!width || !height)
        return cz_fail(CZ_E_FORMAT, "an empty picture, %" PRIu64 " x %" PRIu64 " pixels", width, height);
    if (width > max_pixels / height)
        return cz_fail(CZ_E_LIMIT,
                       "%" PRIu64 " x %" PRIu64 " pixels, more than the limit of %" PRIu64
                       " in all; --max-pixels raises it",
                       width, height, max_pixels);
    return CZ_OK;
}

cz_status cz_picture_alloc(size_t width, size_t height, cz_pixel_format format, cz_picture *out)
{
    size_t stride, bytes;
    if (!cz_mul_size(width, cz_pixel_size(format), &stride) || !cz_mul_size(stride, height, &bytes) ||
        bytes > PTRDIFF_MAX)
        return cz_fail(CZ_E_LIMIT, "%zu x %zu pixels do not fit in memory", width, height);
    void *pixels = cz_alloc(bytes);
    if (!pixels) return CZ_E_MEMORY;
    out->pixels = pixels;
    out->image = (cz_image){pixels, width, height, stride, format};
    return CZ_OK;
}

uint8_t *cz_picture_row(const cz_picture *picture, size_t y)
{
    return (uint8_t *)picture->pixels + y * picture->image.stride;
}

void cz_picture_free(cz_picture *picture)
{
    if (!picture) return;
    cz_free(picture->pixels);
    memset(picture, 0, sizeof(*picture));
}

/* out[y][x] = in[origin + x * dx + y * dy], all in bytes. Square tiles keep the transposing cases inside the cache. */
static void turn(const uint8_t *origin, ptrdiff_t dx, ptrdiff_t dy, size_t pixel, cz_picture *out)
{
    enum { TILE = 32 };
    size_t width = out->image.width, height = out->image.height;
    for (size_t y0 = 0; y0 < height; y0 += TILE) {
        size_t y1 = height - y0 < TILE ? height : y0 + TILE;
        for (size_t x0 = 0; x0 < width; x0 += TILE) {
            size_t x1 = width - x0 < TILE ? width : x0 + TILE;
            for (size_t y = y0; y < y1; y++) {
                const uint8_t *from = origin + (ptrdiff_t)x0 * dx + (ptrdiff_t)y * dy;
                uint8_t *to = cz_picture_row(out, y) + x0 * pixel;
                for (size_t x = x0; x < x1; x++, to += pixel) {
                    for (size_t b = 0; b < pixel; b++) to[b] = from[b];
                    if (x + 1 < x1) from += dx;
                }
            }
        }
    }
}

cz_status cz_picture_upright(cz_picture *picture, int orientation)
{
    if (orientation < 2 || orientation > 8) return CZ_OK;
    const cz_image *in = &picture->image;
    size_t pixel = cz_pixel_size(in->format);
    ptrdiff_t right = (ptrdiff_t)pixel, down = (ptrdiff_t)in->stride;
    ptrdiff_t last_x = (ptrdiff_t)(in->width - 1) * right, last_y = (ptrdiff_t)(in->height - 1) * down;
    /* TIFF 6.0, tag 274: where the stored rows and columns begin */
    bool swap = orientation >= 5;
    bool from_right = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
    bool from_bottom = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
    cz_picture out;
    cz_status status = cz_picture_alloc(swap ? in->height : in->width, swap ? in->width : in->height, in->format, &out);
    if (status != CZ_OK) return status;
    ptrdiff_t dx = from_right ? -right : right, dy = from_bottom ? -down : down;
    const uint8_t *origin = (const uint8_t *)in->data + (from_right ? last_x : 0) + (from_bottom ? last_y : 0);
    turn(origin, swap ? dy : dx, swap ? dx : dy, pixel, &out);
    cz_picture_free(picture);
    *picture = out;
    return CZ_OK;
}

void cz_image_row_rgb(const cz_image *image, size_t y, uint8_t *rgb)
{
    const uint8_t *from = (const uint8_t *)image->data + y * image->stride;
    size_t width = image->width, pixel = cz_pixel_size(image->format);
    bool reversed = image->format == CZ_BGR8 || image->format == CZ_BGRA8;
    if (image->format == CZ_GRAY8 || image->format == CZ_GRAY16) {
        for (size_t x = 0; x < width; x++, rgb += 3) {
            uint16_t wide;
            uint8_t v = from[x * pixel];
            if (pixel == 2) {
                memcpy(&wide, from + 2 * x, 2);
                v = cz_to8(wide);
            }
            rgb[0] = rgb[1] = rgb[2] = v;
        }
        return;
    }
    for (size_t x = 0; x < width; x++, rgb += 3, from += pixel) {
        rgb[0] = from[reversed ? 2 : 0];
        rgb[1] = from[1];
        rgb[2] = from[reversed ? 0 : 2];
    }
}
