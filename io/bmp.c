/* SPDX-License-Identifier: Apache-2.0 */
/* Windows and OS/2 bitmaps: 1, 4, 8, 16, 24 and 32 bits a pixel, uncompressed or with bit fields, either way up. */
#include "io/decode.h"

#include <string.h>

enum { FILE_HEADER = 14, RGB = 0, RLE8 = 1, RLE4 = 2, BITFIELDS = 3, ALPHABITFIELDS = 6 };

typedef struct bmp_reader {
    const uint8_t *bytes;
    size_t size, stride, pixels; /* pixels: offset of the first stored row */
    uint32_t header, compression, colours;
    int32_t width, height;
    unsigned bits;
    bool top_down, gray;
    uint8_t palette[256][3];
    uint32_t masks[4]; /* red, green, blue, alpha; 16 and 32 bits only */
} bmp_reader;

static unsigned u16(const uint8_t *p)
{
    return (unsigned)p[0] | (unsigned)p[1] << 8;
}

static uint32_t u32(const uint8_t *p)
{
    return (uint32_t)u16(p) | (uint32_t)u16(p + 2) << 16;
}

static cz_status read_header(bmp_reader *r)
{
    const uint8_t *p = r->bytes + FILE_HEADER;
    if (r->size < FILE_HEADER + 12) return cz_fail(CZ_E_FORMAT, "BMP: the file is cut off in its header");
    r->header = u32(p);
    bool core = r->header == 12; /* OS/2 1: 16-bit sizes, three bytes a palette entry */
    if (!core && (r->header < 40 || r->header > 124))
        return cz_fail(CZ_E_FORMAT, "BMP: unknown header of %u bytes", (unsigned)r->header);
    if (r->size < (size_t)FILE_HEADER + r->header)
        return cz_fail(CZ_E_FORMAT, "BMP: the file is cut off in its header");
    unsigned planes = u16(p + (core ? 8 : 12));
    r->bits = u16(p + (core ? 10 : 14));
    if (core) {
        r->width = (int32_t)u16(p + 4);
        r->height = (int32_t)u16(p + 6);
    } else {
        uint32_t height = u32(p + 8), width = u32(p + 4);
        r->top_down = height >> 31;
        if (r->top_down) height = 0 - height;
        if (width > INT32_MAX || height > INT32_MAX) return cz_fail(CZ_E_FORMAT, "BMP: impossible width or height");
        r->width = (int32_t)width;
        r->height = (int32_t)height;
        r->compression = u32(p + 16);
        r->colours = u32(p + 32);
    }
    if (planes != 1) return cz_fail(CZ_E_FORMAT, "BMP: %u planes in place of 1", planes);
    if (r->compression == RLE8 || r->compression == RLE4)
        return cz_fail(CZ_E_UNSUPPORTED,
                       "BMP: run-length compression is not supported; save it uncompressed or as PNG");
    if (r->compression != RGB && r->compression != BITFIELDS && r->compression != ALPHABITFIELDS)
        return cz_fail(CZ_E_UNSUPPORTED, "BMP: compression %u is not supported", (unsigned)r->compression);
    if (r->bits != 1 && r->bits != 4 && r->bits != 8 && r->bits != 16 && r->bits != 24 && r->bits != 32)
        return cz_fail(CZ_E_FORMAT, "BMP: %u bits a pixel", r->bits);
    if (r->compression != RGB && r->bits != 16 && r->bits != 32)
        return cz_fail(CZ_E_FORMAT, "BMP: bit fields with %u bits a pixel", r->bits);
    return CZ_OK;
}

static cz_status check_mask(uint32_t mask, unsigned bits, uint32_t *seen)
{
    uint32_t low = mask & (0 - mask);
    if ((*seen & mask) || (mask && ((mask / low) & (mask / low + 1))) || (bits == 16 && mask >> 16))
        return cz_fail(CZ_E_FORMAT, "BMP: impossible bit fields");
    *seen |= mask;
    return CZ_OK;
}

/* Bit fields lie in the header of version 2 and later, or behind the 40 bytes of version 1. */
static cz_status read_masks(bmp_reader *r, size_t *after)
{
    if (r->compression == RGB) {
        uint32_t five[3] = {0x7C00, 0x03E0, 0x001F}, eight[3] = {0xFF0000, 0x00FF00, 0x0000FF};
        memcpy(r->masks, r->bits == 16 ? five : eight, sizeof(five));
        return CZ_OK;
    }
    size_t count = r->compression == ALPHABITFIELDS || r->header >= 56 ? 4 : 3;
    size_t at = FILE_HEADER + 40, end = at + 4 * count;
    if (r->header == 64) return cz_fail(CZ_E_UNSUPPORTED, "BMP: OS/2 compression is not supported");
    if (end > r->size) return cz_fail(CZ_E_FORMAT, "BMP: the file is cut off in its header");
    uint32_t seen = 0;
    for (size_t i = 0; i < count; i++) {
        r->masks[i] = u32(r->bytes + at + 4 * i);
        cz_status status = check_mask(r->masks[i], r->bits, &seen);
        if (status != CZ_OK) return status;
    }
    if (!r->masks[0] || !r->masks[1] || !r->masks[2]) return cz_fail(CZ_E_FORMAT, "BMP: impossible bit fields");
    if (end > *after) *after = end;
    return CZ_OK;
}

static cz_status read_palette(bmp_reader *r, size_t *after)
{
    uint32_t most = 1u << r->bits;
    if (!r->colours) r->colours = most;
    if (r->colours > most) return cz_fail(CZ_E_FORMAT, "BMP: %u colours in %u bits", (unsigned)r->colours, r->bits);
    size_t entry = r->header == 12 ? 3 : 4;
    if (r->size - *after < entry * r->colours) return cz_fail(CZ_E_FORMAT, "BMP: the file is cut off in its palette");
    const uint8_t *p = r->bytes + *after;
    r->gray = true;
    for (uint32_t i = 0; i < r->colours; i++, p += entry) {
        for (int c = 0; c < 3; c++) r->palette[i][c] = p[2 - c];
        r->gray = r->gray && p[0] == p[1] && p[1] == p[2];
    }
    *after += entry * r->colours;
    return CZ_OK;
}

static cz_status locate_pixels(bmp_reader *r, size_t after)
{
    r->pixels = u32(r->bytes + 10);
    r->stride = (((size_t)r->width * r->bits + 31) / 32) * 4;
    if (r->pixels < after || r->pixels > r->size) return cz_fail(CZ_E_FORMAT, "BMP: pixels outside of the file");
    size_t left = r->size - r->pixels;
    if (r->stride > left / (size_t)r->height)
        return cz_fail(CZ_E_FORMAT, "BMP: the file is cut off: %zu bytes of pixels, %zu x %zu expected", left,
                       r->stride, (size_t)r->height);
    return CZ_OK;
}

static cz_status palette_row(const bmp_reader *r, const uint8_t *from, uint8_t *to)
{
    unsigned per_byte = 8 / r->bits, mask = (1u << r->bits) - 1;
    for (size_t x = 0; x < (size_t)r->width; x++) {
        unsigned shift = (unsigned)(per_byte - 1 - x % per_byte) * r->bits;
        unsigned index = (unsigned)from[x / per_byte] >> shift & mask;
        if (index >= r->colours)
            return cz_fail(CZ_E_FORMAT, "BMP: a pixel of colour %u of %u", index, (unsigned)r->colours);
        if (r->gray)
            to[x] = r->palette[index][0];
        else
            memcpy(to + 3 * x, r->palette[index], 3);
    }
    return CZ_OK;
}

/* A field of n bits as 0 … 255, cut (not rounded) as Pillow does. */
static unsigned field(uint32_t pixel, uint32_t mask)
{
    uint32_t low = mask & (0 - mask);
    return (unsigned)((uint64_t)((pixel & mask) / low) * 255 / (mask / low));
}

static uint32_t load(const bmp_reader *r, const uint8_t *from, size_t x)
{
    return r->bits == 16 ? u16(from + 2 * x) : u32(from + 4 * x);
}

static void colour_row(const bmp_reader *r, const uint8_t *from, bool alpha, uint8_t *to)
{
    for (size_t x = 0; x < (size_t)r->width; x++, to += 3) {
        if (r->bits == 24) {
            for (size_t c = 0; c < 3; c++) to[c] = from[3 * x + 2 - c];
            continue;
        }
        uint32_t pixel = load(r, from, x);
        for (int c = 0; c < 3; c++) to[c] = (uint8_t)field(pixel, r->masks[c]);
        if (!alpha) continue;
        for (int c = 0; c < 3; c++) to[c] = cz_white8(to[c], field(pixel, r->masks[3]));
    }
}

static const uint8_t *stored_row(const bmp_reader *r, size_t y)
{
    return r->bytes + r->pixels + (r->top_down ? y : (size_t)r->height - 1 - y) * r->stride;
}

/* Many writers leave alpha at 0 everywhere and mean "opaque". */
static bool uses_alpha(const bmp_reader *r)
{
    if (!r->masks[3]) return false;
    for (size_t y = 0; y < (size_t)r->height; y++)
        for (size_t x = 0; x < (size_t)r->width; x++)
            if (load(r, stored_row(r, y), x) & r->masks[3]) return true;
    return false;
}

cz_status cz_bmp_decode(const cz_encoded *in, cz_picture *out, int *orientation)
{
    (void)orientation;
    bmp_reader r = {.bytes = in->bytes, .size = in->size};
    cz_picture picture = {0};
    cz_status status;
    CZ_TRY(read_header(&r));
    CZ_TRY(cz_picture_check_size((uint64_t)r.width, (uint64_t)r.height, in->max_pixels));
    size_t after = FILE_HEADER + (size_t)r.header;
    if (r.bits <= 8)
        CZ_TRY(read_palette(&r, &after));
    else if (r.bits != 24)
        CZ_TRY(read_masks(&r, &after));
    CZ_TRY(locate_pixels(&r, after));
    CZ_TRY(cz_picture_alloc((size_t)r.width, (size_t)r.height, r.gray ? CZ_GRAY8 : CZ_RGB8, &picture));
    bool alpha = uses_alpha(&r);
    for (size_t y = 0; y < (size_t)r.height; y++) {
        if (r.bits <= 8)
            CZ_TRY(palette_row(&r, stored_row(&r, y), cz_picture_row(&picture, y)));
        else
            colour_row(&r, stored_row(&r, y), alpha, cz_picture_row(&picture, y));
    }
    *out = picture;
    return CZ_OK;
out:
    cz_picture_free(&picture);
    return status;
}
