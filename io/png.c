/* SPDX-License-Identifier: Apache-2.0 */
/* PNG through libspng. A checksum that is off anywhere is an error, and the file must go on to its end chunk. */
#include "io/decode.h"
#include "util/alloc.h"

#include <string.h>

#include <spng.h>

/* What is kept of text, profiles and the like; pixels are limited by max_pixels. */
#define MAX_CHUNK ((size_t)16 << 20)
#define MAX_CACHE ((size_t)64 << 20)

/* How rows come out of libspng, and what is made of them. */
typedef enum png_kind {
    PNG_AS_IS, /* gray 8, RGB 8, gray 16: libspng writes the picture itself */
    PNG_GA8,
    PNG_RGBA8,
    PNG_RGBA8_GRAY, /* gray with one transparent value */
    PNG_G16_KEY,
    PNG_GA16,
    PNG_RGB16,
    PNG_RGBA16
} png_kind;

typedef struct png_reader {
    spng_ctx *ctx;
    struct spng_ihdr header;
    struct spng_trns key;
    bool has_key; /* a tRNS chunk */
    png_kind kind;
    int format; /* enum spng_format */
    int flags;  /* enum spng_decode_flags */
    cz_picture picture;
    uint8_t *buffer; /* a row, or all rows of an interlaced file, when kind is not PNG_AS_IS */
} png_reader;

static cz_status png_fail(int error)
{
    switch (error) {
    case SPNG_OK:
        return CZ_OK;
    case SPNG_EMEM:
    case SPNG_EZLIB_INIT:
        return cz_fail(CZ_E_MEMORY, "PNG: out of memory");
    case SPNG_IO_EOF:
        return cz_fail(CZ_E_FORMAT, "PNG: the file is cut off");
    case SPNG_ECHUNK_LIMITS:
        return cz_fail(CZ_E_LIMIT, "PNG: more than %zu MiB besides pixels", MAX_CACHE >> 20);
    default:
        return cz_fail(CZ_E_FORMAT, "PNG: %s", spng_strerror(error));
    }
}

/* Steps over the chunks to the end of the last one, the checksum of which libspng does not read. */
static cz_status check_end(const cz_encoded *in)
{
    static const uint8_t end[12] = {0, 0, 0, 0, 'I', 'E', 'N', 'D', 0xAE, 0x42, 0x60, 0x82};
    for (size_t at = 8; in->size - at >= sizeof(end);) {
        const uint8_t *p = in->bytes + at;
        size_t length = (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
        if (memcmp(p, end, sizeof(end)) == 0) return CZ_OK;
        if (length > in->size - at - sizeof(end)) break;
        at += length + sizeof(end);
    }
    return png_fail(SPNG_IO_EOF);
}

static cz_status open_reader(const cz_encoded *in, png_reader *r)
{
    r->ctx = spng_ctx_new(0);
    if (!r->ctx) return cz_fail(CZ_E_MEMORY, "PNG: out of memory");
    int error = spng_set_crc_action(r->ctx, SPNG_CRC_ERROR, SPNG_CRC_ERROR);
    if (!error) error = spng_set_chunk_limits(r->ctx, MAX_CHUNK, MAX_CACHE);
    if (!error) error = spng_set_png_buffer(r->ctx, in->bytes, in->size);
    if (!error) error = spng_get_ihdr(r->ctx, &r->header);
    if (error) return png_fail(error);
    cz_status status = cz_picture_check_size(r->header.width, r->header.height, in->max_pixels);
    if (status == CZ_OK) status = check_end(in);
    if (status != CZ_OK) return status;
    error = spng_get_trns(r->ctx, &r->key);
    if (error && error != SPNG_ECHUNKAVAIL) return png_fail(error);
    r->has_key = !error;
    return CZ_OK;
}

/* Sets kind, format and flags; returns the picture's format. */
static cz_pixel_format choose(png_reader *r)
{
    r->flags = r->has_key ? SPNG_DECODE_TRNS : 0;
    r->format = SPNG_FMT_PNG;
    bool wide = r->header.bit_depth == 16;
    if (wide) r->flags = 0; /* libspng would bring 16-bit colours down by cutting them */
    switch (r->header.color_type) {
    case SPNG_COLOR_TYPE_GRAYSCALE:
        if (wide) {
            r->kind = r->has_key ? PNG_G16_KEY : PNG_AS_IS;
            return CZ_GRAY16;
        }
        r->format = r->has_key ? SPNG_FMT_RGBA8 : SPNG_FMT_G8;
        r->kind = r->has_key ? PNG_RGBA8_GRAY : PNG_AS_IS;
        return CZ_GRAY8;
    case SPNG_COLOR_TYPE_GRAYSCALE_ALPHA:
        r->kind = wide ? PNG_GA16 : PNG_GA8;
        return wide ? CZ_GRAY16 : CZ_GRAY8;
    case SPNG_COLOR_TYPE_TRUECOLOR_ALPHA:
        r->kind = wide ? PNG_RGBA16 : PNG_RGBA8;
        return CZ_RGB8;
    default:
        break; /* RGB and palette */
    }
    if (wide) {
        r->kind = PNG_RGB16;
        return CZ_RGB8;
    }
    r->kind = r->has_key ? PNG_RGBA8 : PNG_AS_IS;
    r->format = r->has_key ? SPNG_FMT_RGBA8 : SPNG_FMT_RGB8;
    return CZ_RGB8;
}

static size_t source_pixel(png_kind kind)
{
    switch (kind) {
    case PNG_AS_IS:
        return 0;
    case PNG_GA8:
    case PNG_G16_KEY:
        return 2;
    case PNG_RGBA8:
    case PNG_RGBA8_GRAY:
    case PNG_GA16:
        return 4;
    case PNG_RGB16:
        return 6;
    case PNG_RGBA16:
        return 8;
    }
    return 8;
}

static void convert_wide(const png_reader *r, const uint16_t *from, uint8_t *to, size_t width)
{
    const struct spng_trns *key = &r->key;
    for (size_t x = 0; x < width; x++) {
        uint16_t gray;
        switch (r->kind) {
        case PNG_G16_KEY:
        case PNG_GA16:
            if (r->kind == PNG_GA16)
                gray = cz_white16(from[2 * x], from[2 * x + 1]);
            else
                gray = from[x] == key->gray ? UINT16_MAX : from[x];
            memcpy(to + 2 * x, &gray, 2);
            break;
        case PNG_RGB16: {
            const uint16_t *p = from + 3 * x;
            bool clear = r->has_key && p[0] == key->red && p[1] == key->green && p[2] == key->blue;
            for (int c = 0; c < 3; c++) to[3 * x + (size_t)c] = clear ? 255 : cz_to8(p[c]);
            break;
        }
        default:
            for (size_t c = 0; c < 3; c++) to[3 * x + c] = cz_to8(cz_white16(from[4 * x + c], from[4 * x + 3]));
            break;
        }
    }
}

static void convert_row(const png_reader *r, const uint8_t *from, uint8_t *to)
{
    size_t width = r->header.width;
    switch (r->kind) {
    case PNG_GA8:
        for (size_t x = 0; x < width; x++) to[x] = cz_white8(from[2 * x], from[2 * x + 1]);
        break;
    case PNG_RGBA8_GRAY:
        for (size_t x = 0; x < width; x++) to[x] = cz_white8(from[4 * x], from[4 * x + 3]);
        break;
    case PNG_RGBA8:
        for (size_t x = 0; x < width; x++, from += 4, to += 3)
            for (int c = 0; c < 3; c++) to[c] = cz_white8(from[c], from[3]);
        break;
    default:
        convert_wide(r, (const uint16_t *)(const void *)from, to, width);
        break;
    }
}

static cz_status decode_converted(png_reader *r)
{
    size_t stride = (size_t)r->header.width * source_pixel(r->kind), bytes = stride;
    bool whole = r->header.interlace_method != SPNG_INTERLACE_NONE;
    if (whole && !cz_mul_size(stride, r->header.height, &bytes))
        return cz_fail(CZ_E_LIMIT, "PNG: the picture does not fit in memory");
    r->buffer = cz_alloc(bytes);
    if (!r->buffer) return CZ_E_MEMORY;
    int error = whole ? spng_decode_image(r->ctx, r->buffer, bytes, r->format, r->flags)
                      : spng_decode_image(r->ctx, NULL, 0, r->format, r->flags | SPNG_DECODE_PROGRESSIVE);
    for (size_t y = 0; y < r->header.height && !error; y++) {
        if (!whole) {
            error = spng_decode_row(r->ctx, r->buffer, stride);
            if (error == SPNG_EOI && y + 1 == r->header.height) error = SPNG_OK; /* how the last row is announced */
        }
        if (!error) convert_row(r, r->buffer + (whole ? y * stride : 0), cz_picture_row(&r->picture, y));
    }
    return png_fail(error);
}

static cz_status decode_all(png_reader *r, int *orientation)
{
    cz_status status = cz_picture_alloc(r->header.width, r->header.height, choose(r), &r->picture);
    if (status != CZ_OK) return status;
    if (r->kind == PNG_AS_IS)
        status = png_fail(spng_decode_image(r->ctx, r->picture.pixels, r->picture.image.stride * r->header.height,
                                            r->format, r->flags));
    else
        status = decode_converted(r);
    if (status != CZ_OK) return status;
    int error = spng_decode_chunks(r->ctx); /* what follows the pixels, up to the end chunk */
    if (error) return png_fail(error);
    struct spng_exif exif;
    if (spng_get_exif(r->ctx, &exif) == SPNG_OK)
        *orientation = cz_exif_orientation((const uint8_t *)exif.data, exif.length);
    return CZ_OK;
}

cz_status cz_png_decode(const cz_encoded *in, cz_picture *out, int *orientation)
{
    png_reader r = {0};
    cz_status status = open_reader(in, &r);
    if (status == CZ_OK) status = decode_all(&r, orientation);
    spng_ctx_free(r.ctx);
    cz_free(r.buffer);
    if (status == CZ_OK)
        *out = r.picture;
    else
        cz_picture_free(&r.picture);
    return status;
}
