/* SPDX-License-Identifier: Apache-2.0 */
/* Reading pictures: which decoder a file needs is seen from its first bytes, never from its name. */
#include "io/decode.h"

#include "util/alloc.h"
#include "util/file.h"
#include "util/names.h"

#include <string.h>

typedef struct magic {
    size_t at;
    const char *bytes;
    size_t length;
    const char *name;    /* for messages */
    cz_decode_fn decode; /* NULL: recognised so that the message can name it */
} magic;

#define AT(offset, text, name, decode)                                                                                 \
    {                                                                                                                  \
        offset, text, sizeof(text) - 1, name, decode                                                                   \
    }

static const magic known[] = {
    AT(0, "\xFF\xD8\xFF", "JPEG", cz_jpeg_decode),
    AT(0, "\x89PNG\r\n\x1A\n", "PNG", cz_png_decode),
    AT(0, "II\x2A\0", "TIFF", cz_tiff_decode),
    AT(0, "MM\0\x2A", "TIFF", cz_tiff_decode),
    AT(0, "II\x2B\0", "TIFF", cz_tiff_decode),
    AT(0, "MM\0\x2B", "TIFF", cz_tiff_decode),
    AT(8, "WEBP", "WebP", cz_vips_decode),
    AT(0, "GIF87a", "GIF", cz_vips_decode),
    AT(0, "GIF89a", "GIF", cz_vips_decode),
    AT(4, "ftypavif", "AVIF", cz_vips_decode),
    AT(4, "ftypavis", "AVIF", cz_vips_decode),
    AT(4, "ftypheic", "HEIF", cz_vips_decode),
    AT(4, "ftypheix", "HEIF", cz_vips_decode),
    AT(4, "ftyphevc", "HEIF", cz_vips_decode),
    AT(4, "ftypmif1", "HEIF", cz_vips_decode),
    AT(4, "ftypmsf1", "HEIF", cz_vips_decode),
    AT(0, "\xFF\x0A", "JPEG XL", cz_vips_decode),
    AT(0, "\0\0\0\x0CJXL \r\n\x87\n", "JPEG XL", cz_vips_decode),
    AT(0, "\0\0\0\x0CjP  \r\n\x87\n", "JPEG 2000", cz_vips_decode),
    AT(0, "\xFF\x4F\xFF\x51", "JPEG 2000", cz_vips_decode),
    AT(0, "%PDF", "PDF", NULL),
    AT(0, "8BPS", "Photoshop", NULL),
    AT(0, "\x76\x2F\x31\x01", "OpenEXR", NULL),
    AT(0, "PK\x03\x04", "zip", NULL),
    AT(0, "P7\n", "PAM", NULL),
    AT(0, "Pf\n", "PFM", NULL),
    AT(0, "PF\n", "PFM", NULL),
    AT(128, "DICM", "DICOM", NULL),
};

static bool is_bmp(const cz_encoded *in)
{
    /* "BM" alone begins many a text: the header's size must be one that exists */
    return in->size >= 18 && in->bytes[0] == 'B' && in->bytes[1] == 'M' && in->bytes[14] >= 12 &&
           in->bytes[14] <= 124 && !in->bytes[15] && !in->bytes[16] && !in->bytes[17];
}

static bool is_pnm(const cz_encoded *in)
{
    const uint8_t *p = in->bytes;
    return in->size >= 3 && p[0] == 'P' && p[1] >= '1' && p[1] <= '6' &&
           (p[2] == ' ' || p[2] == '#' || (p[2] >= 9 && p[2] <= 13));
}

static bool is_text(const cz_encoded *in)
{
    size_t n = in->size < 64 ? in->size : 64;
    for (size_t i = 0; i < n; i++)
        if ((in->bytes[i] < ' ' && (in->bytes[i] < 9 || in->bytes[i] > 13)) || in->bytes[i] == 127) return false;
    return true;
}

static cz_status fail_unknown(const cz_encoded *in)
{
    if (is_text(in)) return cz_fail(CZ_E_FORMAT, "not an image: a text file");
    uint8_t b[4] = {0};
    memcpy(b, in->bytes, in->size < 4 ? in->size : 4);
    return cz_fail(CZ_E_FORMAT, "not an image of a known format (%zu bytes, the first are %02x %02x %02x %02x)",
                   in->size, b[0], b[1], b[2], b[3]);
}

static cz_status find_decoder(const cz_encoded *in, cz_decode_fn *decode)
{
    if (!in->size) return cz_fail(CZ_E_FORMAT, "the file is empty");
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        const magic *m = &known[i];
        if (in->size < m->at + m->length || memcmp(in->bytes + m->at, m->bytes, m->length) != 0) continue;
        if (!m->decode)
            return cz_fail(CZ_E_UNSUPPORTED, "a %s file; supported are JPEG, PNG, TIFF, BMP and PNM", m->name);
#ifndef COZAD_WITH_VIPS
        if (m->decode == cz_vips_decode)
            return cz_fail(CZ_E_UNSUPPORTED, "a %s file, and this build has no libvips (COZAD_WITH_VIPS) to read it",
                           m->name);
#endif
        *decode = m->decode;
        return CZ_OK;
    }
    if (is_bmp(in))
        *decode = cz_bmp_decode;
    else if (is_pnm(in))
        *decode = cz_pnm_decode;
    else
        return fail_unknown(in);
    return CZ_OK;
}

cz_status cz_picture_decode_bytes(const cz_encoded *in, cz_picture *out)
{
    cz_decode_fn decode = NULL;
    cz_picture picture = {0};
    int orientation = 1;
    cz_status status;
    CZ_TRY(find_decoder(in, &decode));
    CZ_TRY(decode(in, &picture, &orientation));
    CZ_TRY(cz_picture_upright(&picture, orientation));
    *out = picture;
    return CZ_OK;
out:
    cz_picture_free(&picture);
    return status;
}

/* The caller's options (of any version) with the defaults filled in. */
static cz_status settle(const cz_read_options *options, uint64_t *max_pixels, uint64_t *max_bytes)
{
    *max_pixels = CZ_DEFAULT_MAX_PIXELS;
    *max_bytes = CZ_DEFAULT_MAX_BYTES;
    if (!options) return CZ_OK;
    if (options->struct_size < sizeof(cz_read_options))
        return cz_fail(CZ_E_ARG, "cz_read_options without its struct_size");
    if (options->max_pixels) *max_pixels = options->max_pixels;
    if (options->max_bytes) *max_bytes = options->max_bytes;
    /* far above any memory, far below where sums of sizes wrap */
    if (*max_pixels > (uint64_t)1 << 40) *max_pixels = (uint64_t)1 << 40;
    if (*max_bytes > (uint64_t)1 << 48) *max_bytes = (uint64_t)1 << 48;
    return CZ_OK;
}

cz_status cz_picture_decode(const void *bytes, size_t size, const cz_read_options *options, cz_picture *out)
{
    cz_error_clear();
    if ((!bytes && size) || !out) return cz_fail(CZ_E_ARG, "cz_picture_decode: no bytes or nowhere to put the picture");
    cz_encoded in = {bytes, size, 0, NULL};
    uint64_t max_bytes;
    cz_status status = settle(options, &in.max_pixels, &max_bytes);
    if (status != CZ_OK) return status;
    if (size > max_bytes)
        return cz_fail(CZ_E_LIMIT, "%zu bytes, more than the limit of %llu", size, (unsigned long long)max_bytes);
    return cz_picture_decode_bytes(&in, out);
}

static bool is_tiff(const uint8_t *head, size_t size)
{
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        const magic *m = &known[i];
        if (m->decode == cz_tiff_decode && size >= m->length && memcmp(head, m->bytes, m->length) == 0) return true;
    }
    return false;
}

/* A TIFF is decoded from the file, strip by strip: it may be as large as its picture. *found: it was one. */
static cz_status read_tiff(const char *path, uint64_t max_bytes, cz_encoded *in, cz_picture *out, bool *found)
{
    uint8_t head[4];
    cz_picture picture = {0};
    int orientation = 1;
    *found = false;
    cz_status status = cz_file_open(path, &in->file, &in->size);
    if (status != CZ_OK) return status; /* the message has the path */
    *found = is_tiff(head, fread(head, 1, sizeof(head), in->file));
    if (*found && in->size > max_bytes) {
        status =
            cz_fail(CZ_E_LIMIT, "%zu bytes are more than the limit of %llu", in->size, (unsigned long long)max_bytes);
    } else if (*found) {
        status = cz_tiff_decode(in, &picture, &orientation);
        if (status == CZ_OK) status = cz_picture_upright(&picture, orientation);
    }
    if (*found && status == CZ_OK) *out = picture;
    if (*found && status != CZ_OK) {
        cz_picture_free(&picture);
        cz_fail_prefix(status, path);
    }
    (void)fclose(in->file);
    in->file = NULL;
    return status;
}

static cz_status read_file(const char *path, const cz_read_options *options, cz_picture *out)
{
    if (!path || !out) return cz_fail(CZ_E_ARG, "no path or nowhere to put the picture");
    cz_encoded in = {0};
    uint64_t max_bytes;
    uint8_t *bytes = NULL;
    cz_status status = settle(options, &in.max_pixels, &max_bytes);
    if (status != CZ_OK) return status;
    bool found;
    status = read_tiff(path, max_bytes, &in, out, &found);
    if (status != CZ_OK || found) return status;
    status = cz_file_read(path, (size_t)max_bytes, &bytes, &in.size);
    if (status != CZ_OK) return status; /* the message has the path */
    in.bytes = bytes;
    status = cz_picture_decode_bytes(&in, out);
    if (status != CZ_OK) cz_fail_prefix(status, path);
    cz_free(bytes);
    return status;
}

cz_status cz_picture_read(const char *path, const cz_read_options *options, cz_picture *out)
{
    cz_error_clear();
    return read_file(path, options, out);
}

/* Colours count with their largest channel, so that a mask painted in red is one. */
static unsigned mask_value(const cz_image *image, const uint8_t *row, size_t x)
{
    uint16_t wide;
    switch (image->format) {
    case CZ_GRAY8:
        return row[x];
    case CZ_GRAY16:
        memcpy(&wide, row + 2 * x, 2);
        return wide;
    default:
        break;
    }
    const uint8_t *p = row + 3 * x;
    unsigned v = p[0] > p[1] ? p[0] : p[1];
    return v > p[2] ? v : p[2];
}

cz_status cz_picture_read_mask(const char *path, const cz_read_options *options, cz_picture *out)
{
    cz_error_clear();
    cz_picture any = {0}, mask = {0};
    cz_status status;
    if (!out) return cz_fail(CZ_E_ARG, "nowhere to put the mask");
    CZ_TRY(read_file(path, options, &any));
    CZ_TRY(cz_picture_alloc(any.image.width, any.image.height, CZ_GRAY8, &mask));
    unsigned largest = 0;
    for (size_t y = 0; y < any.image.height; y++)
        for (size_t x = 0; x < any.image.width; x++) {
            unsigned v = mask_value(&any.image, cz_picture_row(&any, y), x);
            if (v > largest) largest = v;
        }
    for (size_t y = 0; y < any.image.height; y++)
        for (size_t x = 0; x < any.image.width; x++)
            cz_picture_row(&mask, y)[x] = mask_value(&any.image, cz_picture_row(&any, y), x) * 2 > largest ? 255 : 0;
    *out = mask;
out:
    cz_picture_free(&any);
    return status;
}

int cz_picture_is_name(const char *path)
{
    return path && cz_name_is_picture(path);
}
