/* SPDX-License-Identifier: Apache-2.0 */
#include "eval_pixels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void eval_pixels_free(eval_pixels *p)
{
    free(p->map_room);
    free(p->mask_room);
    memset(p, 0, sizeof *p);
}

/* ---- masks -------------------------------------------------------------------------------------------------------- */

static bool is_set(const cz_image *image, size_t x, size_t y)
{
    const size_t size = image->format == CZ_GRAY8 ? 1 : image->format == CZ_GRAY16 ? 2 : 3;
    const uint8_t *p = (const uint8_t *)image->data + y * image->stride + x * size;
    for (size_t i = 0; i < size; i++) {
        if (p[i] != 0) return true;
    }
    return false;
}

/* Any value but 0. The picture is turned into GRAY8 in place: a set pixel takes no more room than it had. */
static void set_nonzero(cz_picture *picture)
{
    cz_image *image = &picture->image;
    uint8_t *to = picture->pixels;
    for (size_t y = 0; y < image->height; y++) {
        for (size_t x = 0; x < image->width; x++) to[y * image->width + x] = is_set(image, x, y) ? 255 : 0;
    }
    image->format = CZ_GRAY8;
    image->stride = image->width;
}

static cz_status read_one(const char *path, cz_mask_rule rule, const cz_read_options *options, cz_picture *out)
{
    if (rule != CZ_MASK_NONZERO) return cz_picture_read_mask(path, options, out);
    const cz_status status = cz_picture_read(path, options, out);
    if (status == CZ_OK) set_nonzero(out);
    return status;
}

cz_status eval_read_masks(const char *const *paths, size_t count, cz_mask_rule rule, const cz_read_options *options,
                          cz_picture *out)
{
    cz_picture all = {0};
    cz_status status = read_one(paths[0], rule, options, &all);
    for (size_t i = 1; i < count && status == CZ_OK; i++) {
        cz_picture one = {0};
        status = read_one(paths[i], rule, options, &one);
        if (status == CZ_OK && (one.image.width != all.image.width || one.image.height != all.image.height)) {
            char line[1024];
            (void)snprintf(line, sizeof line, "%.900s: the masks of one photo differ in size", paths[i]);
            status = cz_source_error(CZ_E_FORMAT, line);
        }
        for (size_t y = 0; y < all.image.height && status == CZ_OK; y++) {
            uint8_t *to = (uint8_t *)all.pixels + y * all.image.stride;
            const uint8_t *from = (const uint8_t *)one.pixels + y * one.image.stride;
            for (size_t x = 0; x < all.image.width; x++) to[x] |= from[x];
        }
        cz_picture_free(&one);
    }
    if (status != CZ_OK) {
        cz_picture_free(&all);
        return status;
    }
    *out = all;
    return CZ_OK;
}

cz_status eval_check_aspect(const cz_image *mask, size_t width, size_t height)
{
    /* mask = s * photo, each side of either rounded: |mw h - mh w| <= (w + h) / 2 */
    const double off = (double)mask->width * (double)height - (double)mask->height * (double)width;
    const double most = ((double)width + (double)height) / 2.0;
    if (off <= most && off >= -most) return CZ_OK;
    char line[160];
    (void)snprintf(line, sizeof line, "the mask is %zux%zu, the photo %zux%zu: not the same shape", mask->width,
                   mask->height, width, height);
    return cz_source_error(CZ_E_FORMAT, line);
}

/* ---- sizes -------------------------------------------------------------------------------------------------------- */

typedef struct tap {
    size_t low, high;
    float share; /* of high */
} tap;

static tap tap_at(size_t i, size_t from, size_t to)
{
    const double at = ((double)i + 0.5) * (double)from / (double)to - 0.5;
    const double inside = at > 0.0 ? at : 0.0;
    size_t low = (size_t)inside;
    if (low > from - 1) low = from - 1;
    return (tap){low, low + 1 < from ? low + 1 : low, (float)(inside - (double)low)};
}

void eval_resample(const float *map, size_t width, size_t height, float *to, size_t to_width, size_t to_height)
{
    for (size_t y = 0; y < to_height; y++) {
        const tap v = tap_at(y, height, to_height);
        const float *top = map + v.low * width, *bottom = map + v.high * width;
        for (size_t x = 0; x < to_width; x++) {
            const tap h = tap_at(x, width, to_width);
            const float above = top[h.low] * (1 - h.share) + top[h.high] * h.share;
            const float below = bottom[h.low] * (1 - h.share) + bottom[h.high] * h.share;
            to[y * to_width + x] = above * (1 - v.share) + below * v.share;
        }
    }
}

static bool grow(void **room, size_t *have, size_t count, size_t size)
{
    if (count <= *have) return true;
    free(*room);
    *room = calloc(count, size);
    *have = *room != NULL ? count : 0;
    return *room != NULL;
}

static void nearest(const cz_image *mask, uint8_t *to, size_t width, size_t height)
{
    for (size_t y = 0; y < height; y++) {
        const size_t from_y = (2 * y + 1) * mask->height / (2 * height);
        const uint8_t *row = (const uint8_t *)mask->data + from_y * mask->stride;
        for (size_t x = 0; x < width; x++) to[y * width + x] = row[(2 * x + 1) * mask->width / (2 * width)];
    }
}

cz_status eval_pixels_make(eval_pixels *p, const float *map, size_t width, size_t height, const cz_image *mask,
                           size_t at)
{
    p->map = map;
    p->mask = NULL;
    p->width = at > 0 ? at : mask != NULL ? mask->width : width;
    p->height = at > 0 ? at : mask != NULL ? mask->height : height;
    const size_t count = p->width * p->height; /* of a decoded picture or of --at, which is bounded */
    void *room = p->map_room, *truth = p->mask_room;
    bool good = true;
    if (p->width != width || p->height != height) good = grow(&room, &p->map_count, count, sizeof *p->map_room);
    if (mask != NULL) good = grow(&truth, &p->mask_count, count, 1) && good;
    p->map_room = room;
    p->mask_room = truth;
    if (!good) return cz_source_error(CZ_E_MEMORY, "out of memory");
    if (p->width != width || p->height != height) {
        eval_resample(map, width, height, p->map_room, p->width, p->height);
        p->map = p->map_room;
    }
    if (mask != NULL) {
        nearest(mask, p->mask_room, p->width, p->height); /* equal sizes: a copy without padding */
        p->mask = p->mask_room;
    }
    return CZ_OK;
}
