/* SPDX-License-Identifier: Apache-2.0 */
#include "api/defective.h"

#include "heads/head.h"
#include "negatives/defect.h"
#include "util/alloc.h"
#include "util/rng.h"

#include <string.h>

/* A patch is normal below the first share of it that a defect covers, and anomalous from the second on. */
static const double NORMAL_BELOW = 0.02, ANOMALOUS_FROM = 0.3;
/* Enough for every photo's copies to have a number of their own (64 at the most). */
#define NUMBERS ((uint64_t)64)

/* ---- pixels -------------------------------------------------------------------------------------------------------- */

/* red, green, blue of a pixel of each cz_pixel_format, in its samples */
static const struct {
    size_t samples, bytes, place[3];
} formats[] = {{1, 1, {0, 0, 0}}, {1, 2, {0, 0, 0}}, {3, 1, {0, 1, 2}},
               {3, 1, {2, 1, 0}}, {4, 1, {0, 1, 2}}, {4, 1, {2, 1, 0}}};

static uint8_t eight_bits(const uint8_t *sample, size_t bytes)
{
    uint16_t wide;
    if (bytes == 1) return *sample;
    memcpy(&wide, sample, sizeof wide);
    return (uint8_t)(((uint32_t)wide * 255 + 32767) / 65535);
}

/* A photo as [height, width, 3] RGB; cz_free. */
static cz_status to_rgb(const cz_image *image, uint8_t **out)
{
    size_t bytes, row;
    if (image->data == NULL || (size_t)image->format >= sizeof formats / sizeof *formats || image->width == 0 ||
        image->height == 0)
        return cz_fail(CZ_E_ARG, "a picture without pixels, or of an unknown format");
    const size_t step = formats[image->format].samples * formats[image->format].bytes;
    if (!cz_mul_size(image->width, step, &row) || image->stride < row)
        return cz_fail(CZ_E_ARG, "a picture whose rows overlap");
    if (!cz_mul_size(image->width, 3, &row) || !cz_mul_size(row, image->height, &bytes))
        return cz_fail(CZ_E_MEMORY, "a picture is too large");
    uint8_t *rgb = cz_alloc(bytes);
    if (rgb == NULL) return CZ_E_MEMORY;
    for (size_t y = 0; y < image->height; y++) {
        const uint8_t *from = (const uint8_t *)image->data + y * image->stride;
        uint8_t *to = rgb + y * row;
        for (size_t x = 0; x < image->width; x++, from += step)
            for (size_t c = 0; c < 3; c++)
                *to++ = eight_bits(from + formats[image->format].place[c] * formats[image->format].bytes,
                                   formats[image->format].bytes);
    }
    *out = rgb;
    return CZ_OK;
}

/* ---- which patches show it ------------------------------------------------------------------------------------------ */

/* The mask takes the way that its photo takes to the network's input, so that region, fit and cut are the same. */
static cz_status mark(const cz_defective *d, const cz_image *mask, uint8_t *kind)
{
    cz_status status;
    cz_geometry geometry;
    const cz_prep *prep = d->options.prep;
    const float outside[3] = {0, 0, 0};
    const size_t gw = d->options.grid_w, gh = d->options.grid_h;
    uint8_t *rgb = cz_alloc_array(prep->width * prep->height, 3);
    if (rgb == NULL) return CZ_E_MEMORY;
    CZ_TRY(cz_prep_image(prep, mask, outside, rgb, &geometry));
    for (size_t cell = 0; cell < d->cells; cell++) {
        const size_t x0 = cell % gw * prep->width / gw, x1 = (cell % gw + 1) * prep->width / gw;
        const size_t y0 = cell / gw * prep->height / gh, y1 = (cell / gw + 1) * prep->height / gh;
        size_t sum = 0;
        for (size_t y = y0; y < y1; y++)
            for (size_t x = x0; x < x1; x++) sum += rgb[3 * (y * prep->width + x)];
        const double share = (double)sum / (255.0 * (double)((x1 - x0) * (y1 - y0)));
        kind[cell] = share < NORMAL_BELOW      ? (uint8_t)CZ_TARGET_NORMAL
                     : share >= ANOMALOUS_FROM ? (uint8_t)CZ_TARGET_ANOMALOUS
                                               : CZ_DEFECTIVE_MIXED;
    }
out:
    cz_free(rgb);
    return status;
}

/* ---- drawn ---------------------------------------------------------------------------------------------------------- */

static size_t photo_of(const cz_defective *d, size_t index)
{
    return d->options.copies > 0 ? d->options.set->items[index / d->options.copies].source : index;
}

static cz_status load_rgb(const cz_image_source *photos, size_t index, uint8_t **rgb, size_t *width, size_t *height)
{
    cz_image image;
    memset(&image, 0, sizeof image);
    cz_status status = photos->load(photos->ctx, index, &image);
    if (status != CZ_OK) return status;
    *width = image.width;
    *height = image.height;
    status = to_rgb(&image, rgb);
    if (photos->release != NULL) photos->release(photos->ctx, index, &image);
    return status;
}

/* Draws on [height, width, 3] rgb, and marks the patches. */
static cz_status draw(const cz_defective *d, size_t index, uint8_t *rgb, size_t width, size_t height)
{
    cz_status status;
    const cz_defective_options *o = &d->options;
    cz_defect_options how = {.seed = o->seed, .index = photo_of(d, index) * NUMBERS + index % o->copies};
    cz_defect what;
    cz_rng rng;
    uint8_t *texture = NULL, *mask = NULL;
    cz_rng_init(&rng, o->seed, CZ_RNG_DEFECT, how.index, 1); /* which photo lends its texture */
    const size_t lender = o->set->items[cz_rng_below(&rng, o->set->count)].source;
    CZ_TRY(load_rgb(o->photos, lender, &texture, &how.texture_width, &how.texture_height));
    how.texture = texture;
    mask = cz_alloc_array(width, height);
    if (mask == NULL) CZ_TRY(CZ_E_MEMORY);
    CZ_TRY(cz_defect_draw(&how, height, width, rgb, mask, &what));
    const cz_image picture = {mask, width, height, width, CZ_GRAY8};
    CZ_TRY(mark(d, &picture, d->kind + index * d->cells));
out:
    cz_free(texture);
    cz_free(mask);
    return status;
}

static cz_status load_drawn(void *ctx, size_t index, cz_image *out)
{
    const cz_defective *d = ctx;
    uint8_t *rgb = NULL;
    size_t width, height;
    cz_status status = load_rgb(d->options.photos, photo_of(d, index), &rgb, &width, &height);
    if (status == CZ_OK) status = draw(d, index, rgb, width, height);
    if (status != CZ_OK) {
        cz_free(rgb);
        return status;
    }
    *out = (cz_image){rgb, width, height, 3 * width, CZ_RGB8};
    return CZ_OK;
}

static void release_drawn(void *ctx, size_t index, cz_image *image)
{
    (void)ctx;
    (void)index;
    cz_free((void *)(uintptr_t)image->data);
}

/* ---- labelled ------------------------------------------------------------------------------------------------------- */

/* Any mask becomes 0 and 255 first: what is read may be soft. */
static cz_status mark_label(const cz_defective *d, const cz_image *mask, const cz_image *photo, uint8_t *kind)
{
    if (mask->data == NULL || mask->format != CZ_GRAY8 || mask->width == 0 || mask->height == 0 ||
        mask->stride < mask->width)
        return cz_fail(CZ_E_ARG, "a mask is not a grey picture of 8 bits");
    uint8_t *hard = cz_alloc_array(photo->width, photo->height);
    if (hard == NULL) return CZ_E_MEMORY;
    for (size_t y = 0; y < photo->height; y++) {
        const uint8_t *row = (const uint8_t *)mask->data + y * mask->height / photo->height * mask->stride;
        for (size_t x = 0; x < photo->width; x++)
            hard[y * photo->width + x] = row[x * mask->width / photo->width] >= 128 ? 255 : 0;
    }
    const cz_image picture = {hard, photo->width, photo->height, photo->width, CZ_GRAY8};
    const cz_status status = mark(d, &picture, kind);
    cz_free(hard);
    return status;
}

static cz_status load_labelled(void *ctx, size_t index, cz_image *out)
{
    const cz_defective *d = ctx;
    const cz_image_source *photos = d->options.photos;
    cz_image mask;
    memset(&mask, 0, sizeof mask);
    cz_status status = photos->load(photos->ctx, index, out);
    if (status != CZ_OK) return status;
    status = d->options.mask(photos->ctx, index, &mask);
    if (status == CZ_OK) {
        status = mark_label(d, &mask, out, d->kind + index * d->cells);
        if (d->options.release_mask != NULL) d->options.release_mask(photos->ctx, index, &mask);
    }
    if (status != CZ_OK && photos->release != NULL) photos->release(photos->ctx, index, out);
    return status;
}

static void release_labelled(void *ctx, size_t index, cz_image *image)
{
    const cz_image_source *photos = ((const cz_defective *)ctx)->options.photos;
    if (photos->release != NULL) photos->release(photos->ctx, index, image);
}

/* ---- both ----------------------------------------------------------------------------------------------------------- */

static const char *name_of(void *ctx, size_t index)
{
    const cz_defective *d = ctx;
    return d->options.photos->name(d->options.photos->ctx, photo_of(d, index));
}

static cz_status make(const cz_defective_options *o, size_t count, cz_defective *out)
{
    *out = (cz_defective){.options = *o, .cells = o->grid_w * o->grid_h};
    out->kind = cz_calloc(count, out->cells);
    if (out->kind == NULL) return CZ_E_MEMORY;
    out->source = (cz_image_source)CZ_IMAGE_SOURCE_INIT;
    out->source.count = count;
    if (o->photos->name != NULL) out->source.name = name_of;
    out->source.ctx = out;
    /* Drawn ones are loaded one at a time: two of them may borrow the same photo's texture. */
    out->source.concurrent = o->copies == 0 && o->photos->concurrent;
    return CZ_OK;
}

cz_status cz_defective_draw(const cz_defective_options *o, cz_defective *out)
{
    size_t count;
    if (o->copies > NUMBERS || !cz_mul_size(o->set->count, o->copies, &count))
        return cz_fail(CZ_E_ARG, "%zu copies of %zu photos", o->copies, o->set->count);
    const cz_status status = make(o, count, out);
    out->source.load = load_drawn;
    out->source.release = release_drawn;
    return status;
}

cz_status cz_defective_label(const cz_defective_options *o, cz_defective *out)
{
    const cz_status status = make(o, o->photos->count, out);
    out->source.load = load_labelled;
    out->source.release = release_labelled;
    return status;
}

void cz_defective_free(cz_defective *d)
{
    cz_free(d->kind);
    memset(d, 0, sizeof *d);
}
