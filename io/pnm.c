/* SPDX-License-Identifier: Apache-2.0 */
/* Netpbm P1 to P6, one picture a file. Samples are scaled from the file's largest value to 255 or (gray) 65535. */
#include "io/decode.h"

#include <string.h>

typedef struct pnm_reader {
    const uint8_t *p, *end;
    int type; /* 1 … 6 */
    uint32_t width, height, maxval;
} pnm_reader;

static bool is_space(uint8_t c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* White space and comments, which run from '#' to the end of a line. */
static void skip_space(pnm_reader *r)
{
    while (r->p < r->end) {
        if (*r->p == '#')
            while (r->p < r->end && *r->p != '\n' && *r->p != '\r') r->p++;
        else if (is_space(*r->p))
            r->p++;
        else
            return;
    }
}

static cz_status read_number(pnm_reader *r, const char *what, uint32_t *out)
{
    skip_space(r);
    if (r->p == r->end) return cz_fail(CZ_E_FORMAT, "PNM: the file is cut off before %s", what);
    uint64_t value = 0;
    const uint8_t *first = r->p;
    for (; r->p < r->end && *r->p >= '0' && *r->p <= '9'; r->p++) {
        value = value * 10 + (uint64_t)(*r->p - '0');
        if (value > UINT32_MAX) return cz_fail(CZ_E_FORMAT, "PNM: %s is too large a number", what);
    }
    if (r->p == first) return cz_fail(CZ_E_FORMAT, "PNM: %s is not a number", what);
    *out = (uint32_t)value;
    return CZ_OK;
}

static cz_status read_header(pnm_reader *r)
{
    cz_status status;
    r->type = r->p[1] - '0';
    r->p += 2;
    CZ_TRY(read_number(r, "the width", &r->width));
    CZ_TRY(read_number(r, "the height", &r->height));
    r->maxval = 1;
    if (r->type != 1 && r->type != 4) CZ_TRY(read_number(r, "the largest value", &r->maxval));
    if (!r->maxval || r->maxval > 65535)
        return cz_fail(CZ_E_FORMAT, "PNM: the largest value is %u, not 1 to 65535", (unsigned)r->maxval);
    /* exactly one byte of white space before binary samples */
    if (r->p == r->end || !is_space(*r->p)) return cz_fail(CZ_E_FORMAT, "PNM: the header does not end");
    r->p++;
out:
    return status;
}

/* The next sample of a plain (text) file. Bits of a plain bitmap need no space between them. */
static cz_status next_plain(pnm_reader *r, uint32_t *out)
{
    if (r->type != 1) return read_number(r, "a sample", out);
    skip_space(r);
    if (r->p == r->end) return cz_fail(CZ_E_FORMAT, "PNM: the file is cut off before a sample");
    if (*r->p != '0' && *r->p != '1') return cz_fail(CZ_E_FORMAT, "PNM: a bit that is neither 0 nor 1");
    *out = (uint32_t)(*r->p++ - '0');
    return CZ_OK;
}

static cz_status store(const pnm_reader *r, uint32_t v, cz_pixel_format format, uint8_t *row, size_t i)
{
    if (v > r->maxval)
        return cz_fail(CZ_E_FORMAT, "PNM: a sample of %u above the largest value %u", (unsigned)v, (unsigned)r->maxval);
    if (r->type == 1 || r->type == 4) {
        row[i] = v ? 0 : 255;
    } else if (format == CZ_GRAY16) {
        uint16_t wide = (uint16_t)((v * UINT64_C(65535) + r->maxval / 2) / r->maxval);
        memcpy(row + 2 * i, &wide, 2);
    } else {
        row[i] = (uint8_t)((v * UINT64_C(255) + r->maxval / 2) / r->maxval);
    }
    return CZ_OK;
}

static cz_status read_row(pnm_reader *r, cz_pixel_format format, size_t samples, uint8_t *row)
{
    cz_status status = CZ_OK;
    for (size_t i = 0; i < samples; i++) {
        uint32_t v;
        if (r->type <= 3)
            CZ_TRY(next_plain(r, &v));
        else if (r->type == 4)
            v = (uint32_t)r->p[i / 8] >> (7 - i % 8) & 1u;
        else if (r->maxval > 255)
            v = (uint32_t)r->p[2 * i] << 8 | r->p[2 * i + 1];
        else
            v = r->p[i];
        CZ_TRY(store(r, v, format, row, i));
    }
out:
    return status;
}

cz_status cz_pnm_decode(const cz_encoded *in, cz_picture *out, int *orientation)
{
    (void)orientation;
    pnm_reader r = {.p = in->bytes, .end = in->bytes + in->size};
    cz_picture picture = {0};
    cz_status status;
    CZ_TRY(read_header(&r));
    CZ_TRY(cz_picture_check_size(r.width, r.height, in->max_pixels));
    bool colour = r.type == 3 || r.type == 6;
    size_t samples = (size_t)r.width * (colour ? 3 : 1), left = (size_t)(r.end - r.p);
    size_t row_bytes = r.type == 4 ? (samples + 7) / 8 : samples * (r.maxval > 255 && r.type > 3 ? 2 : 1);
    /* a plain sample takes at least its digit, and but for bitmaps a space */
    size_t least = r.type <= 3 ? (r.type == 1 ? samples : 2 * samples) * r.height - (r.type > 1) : row_bytes * r.height;
    if (left < least)
        CZ_TRY(
            cz_fail(CZ_E_FORMAT, "PNM: the file is cut off: %zu bytes of samples, at least %zu expected", left, least));
    cz_pixel_format format = colour ? CZ_RGB8 : r.maxval > 255 ? CZ_GRAY16 : CZ_GRAY8;
    CZ_TRY(cz_picture_alloc(r.width, r.height, format, &picture));
    for (size_t y = 0; y < r.height; y++) {
        CZ_TRY(read_row(&r, format, samples, cz_picture_row(&picture, y)));
        if (r.type > 3) r.p += row_bytes;
    }
    *out = picture;
    return CZ_OK;
out:
    cz_picture_free(&picture);
    return status;
}
