/* SPDX-License-Identifier: Apache-2.0 */
/* Score maps as TIFF with one 32-bit float a pixel, uncompressed: what MVTec's evaluation code and most image tools read. */
#include "io/picture.h"
#include "util/alloc.h"
#include "util/file.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <tiffio.h>

enum { STRIP_BYTES = 1 << 16 };

/* A buffer that libtiff reads from or writes to; libtiff's messages stay with it. */
typedef struct map_file {
    uint8_t *bytes;
    uint64_t size, room, at;
    bool writing, failed;
    char message[200];
} map_file;

static tmsize_t on_read(thandle_t handle, void *to, tmsize_t bytes)
{
    map_file *f = handle;
    const uint64_t left = f->at < f->size ? f->size - f->at : 0;
    if (bytes <= 0 || left == 0) return 0;
    const size_t n = (uint64_t)bytes < left ? (size_t)bytes : (size_t)left;
    memcpy(to, f->bytes + f->at, n);
    f->at += n;
    return (tmsize_t)n;
}

static bool make_room(map_file *f, uint64_t end)
{
    if (end <= f->room) return true;
    const uint64_t room = end > 2 * f->room ? end : 2 * f->room;
    uint8_t *bytes = room <= SIZE_MAX ? cz_grow(f->bytes, (size_t)room, 1) : NULL;
    if (bytes == NULL) return false;
    f->bytes = bytes;
    f->room = room;
    return true;
}

static tmsize_t on_write(thandle_t handle, void *from, tmsize_t bytes)
{
    map_file *f = handle;
    if (!f->writing || bytes < 0 || f->at > UINT64_MAX / 4 || !make_room(f, f->at + (uint64_t)bytes)) return -1;
    if (f->at > f->size) memset(f->bytes + f->size, 0, (size_t)(f->at - f->size));
    memcpy(f->bytes + f->at, from, (size_t)bytes);
    f->at += (uint64_t)bytes;
    if (f->at > f->size) f->size = f->at;
    return bytes;
}

static toff_t on_seek(thandle_t handle, toff_t offset, int whence)
{
    map_file *f = handle;
    if (whence == SEEK_CUR) offset += f->at;
    if (whence == SEEK_END) offset += f->size;
    return f->at = offset;
}

static int on_close(thandle_t handle)
{
    (void)handle;
    return 0;
}

static toff_t on_size(thandle_t handle)
{
    return ((map_file *)handle)->size;
}

static int on_error(TIFF *tif, void *data, const char *module, const char *format, va_list args)
{
    (void)tif, (void)module;
    map_file *f = data;
    if (f->message[0] == '\0') (void)vsnprintf(f->message, sizeof f->message, format, args);
    f->failed = true;
    return 1; /* handled: nothing is printed */
}

static int on_warning(TIFF *tif, void *data, const char *module, const char *format, va_list args)
{
    (void)tif, (void)data, (void)module, (void)format, (void)args;
    return 1;
}

static TIFF *open_tiff(map_file *f, const char *mode)
{
    TIFFOpenOptions *options = TIFFOpenOptionsAlloc();
    if (options == NULL) return NULL;
    TIFFOpenOptionsSetMaxSingleMemAlloc(options, (tmsize_t)(f->size * 4 + (1 << 24)));
    TIFFOpenOptionsSetErrorHandlerExtR(options, on_error, f);
    TIFFOpenOptionsSetWarningHandlerExtR(options, on_warning, f);
    TIFF *tif = TIFFClientOpenExt("TIFF", mode, f, on_read, on_write, on_seek, on_close, on_size, NULL, NULL, options);
    TIFFOpenOptionsFree(options);
    return tif;
}

static cz_status fail_tiff(const map_file *f, cz_status status, const char *what)
{
    return cz_fail(status, "TIFF: %s%s%s", what, f->message[0] != '\0' ? ": " : "", f->message);
}

/* ---- writing ---- */

static bool write_rows(TIFF *tif, const float *map, size_t width, size_t height)
{
    const size_t row_bytes = width * sizeof *map, rows = row_bytes < STRIP_BYTES ? STRIP_BYTES / row_bytes : 1;
    bool good = TIFFSetField(tif, TIFFTAG_IMAGEWIDTH, (uint32_t)width) &&
                TIFFSetField(tif, TIFFTAG_IMAGELENGTH, (uint32_t)height) &&
                TIFFSetField(tif, TIFFTAG_BITSPERSAMPLE, 32) && TIFFSetField(tif, TIFFTAG_SAMPLESPERPIXEL, 1) &&
                TIFFSetField(tif, TIFFTAG_SAMPLEFORMAT, SAMPLEFORMAT_IEEEFP) &&
                TIFFSetField(tif, TIFFTAG_PHOTOMETRIC, PHOTOMETRIC_MINISBLACK) &&
                TIFFSetField(tif, TIFFTAG_PLANARCONFIG, PLANARCONFIG_CONTIG) &&
                TIFFSetField(tif, TIFFTAG_COMPRESSION, COMPRESSION_NONE) &&
                TIFFSetField(tif, TIFFTAG_ROWSPERSTRIP, (uint32_t)rows);
    uint32_t strip = 0;
    for (size_t y = 0; y < height && good; y += rows, strip++) {
        const size_t n = height - y < rows ? height - y : rows;
        /* libtiff takes the buffer as not const, but changes it only to swap bytes, which the host's order needs not */
        void *from = (void *)(uintptr_t)(map + y * width);
        good = TIFFWriteEncodedStrip(tif, strip, from, (tmsize_t)(n * row_bytes)) == (tmsize_t)(n * row_bytes);
    }
    return good;
}

cz_status cz_map_write_tiff(const char *path, const float *map, size_t width, size_t height)
{
    cz_error_clear();
    if (path == NULL || map == NULL) return cz_fail(CZ_E_ARG, "a map without path or values");
    if (width == 0 || height == 0) return cz_fail(CZ_E_ARG, "%s: an empty map", path);
    if ((uint64_t)width > CZ_DEFAULT_MAX_PIXELS / height)
        return cz_fail(CZ_E_LIMIT, "%s: a map of %zux%zu", path, width, height);
    map_file f = {.writing = true};
    cz_status status = CZ_OK;
    TIFF *tif = open_tiff(&f, "w");
    bool good = tif != NULL && write_rows(tif, map, width, height) && TIFFFlush(tif);
    if (tif != NULL) TIFFClose(tif);
    if (!good || f.failed) status = fail_tiff(&f, CZ_E_MEMORY, "cannot be made (out of memory?)");
    if (status == CZ_OK) status = cz_file_write_atomic(path, f.bytes, (size_t)f.size);
    cz_free(f.bytes);
    return status;
}

/* ---- reading ---- */

typedef struct map_shape {
    uint32_t width, height, rows;
    uint16_t bits;
} map_shape;

static cz_status read_shape(const map_file *f, TIFF *tif, map_shape *s)
{
    uint16_t samples = 1, kind = SAMPLEFORMAT_UINT, compression = COMPRESSION_NONE, turned = ORIENTATION_TOPLEFT;
    if (!TIFFGetField(tif, TIFFTAG_IMAGEWIDTH, &s->width) || !TIFFGetField(tif, TIFFTAG_IMAGELENGTH, &s->height))
        return fail_tiff(f, CZ_E_FORMAT, "no width or height");
    const cz_status status = cz_picture_check_size(s->width, s->height, CZ_DEFAULT_MAX_PIXELS);
    if (status != CZ_OK) return status;
    (void)TIFFGetFieldDefaulted(tif, TIFFTAG_BITSPERSAMPLE, &s->bits);
    (void)TIFFGetFieldDefaulted(tif, TIFFTAG_SAMPLESPERPIXEL, &samples);
    (void)TIFFGetFieldDefaulted(tif, TIFFTAG_SAMPLEFORMAT, &kind);
    (void)TIFFGetFieldDefaulted(tif, TIFFTAG_COMPRESSION, &compression);
    (void)TIFFGetFieldDefaulted(tif, TIFFTAG_ORIENTATION, &turned);
    (void)TIFFGetFieldDefaulted(tif, TIFFTAG_ROWSPERSTRIP, &s->rows);
    if (kind != SAMPLEFORMAT_IEEEFP || (s->bits != 32 && s->bits != 64) || samples != 1)
        return cz_fail(CZ_E_UNSUPPORTED,
                       "TIFF: not a map: one floating-point sample of 32 or 64 bits a pixel is wanted");
    if (TIFFIsTiled(tif) || turned != ORIENTATION_TOPLEFT)
        return cz_fail(CZ_E_UNSUPPORTED, "TIFF: a map in tiles or turned");
    if (compression != COMPRESSION_NONE && compression != COMPRESSION_LZW && compression != COMPRESSION_ADOBE_DEFLATE &&
        compression != COMPRESSION_DEFLATE && compression != COMPRESSION_PACKBITS && compression != COMPRESSION_ZSTD)
        return cz_fail(CZ_E_UNSUPPORTED, "TIFF: compression %u of a map", compression);
    if (s->rows > s->height) s->rows = s->height;
    if (s->rows == 0) return cz_fail(CZ_E_FORMAT, "TIFF: strips without rows");
    /* Every strip's size must be what width and type make it. */
    const uint64_t row = (uint64_t)s->width * (s->bits / 8u);
    if (TIFFScanlineSize64(tif) != row) return fail_tiff(f, CZ_E_FORMAT, "rows of an unexpected size");
    if (compression == COMPRESSION_NONE && row * s->height > f->size) return fail_tiff(f, CZ_E_FORMAT, "cut off");
    return CZ_OK;
}

static cz_status read_strips(map_file *f, TIFF *tif, const map_shape *s, float *map)
{
    const size_t sample = s->bits / 8u, row = s->width * sample;
    uint8_t *strip = cz_alloc_array(s->rows, row);
    cz_status status = strip != NULL ? CZ_OK : CZ_E_MEMORY;
    for (uint32_t y = 0, i = 0; y < s->height && status == CZ_OK; y += s->rows, i++) {
        const uint32_t rows = s->height - y < s->rows ? s->height - y : s->rows;
        const tmsize_t bytes = (tmsize_t)(rows * row);
        if (TIFFReadEncodedStrip(tif, i, strip, bytes) != bytes || f->failed) {
            status = fail_tiff(f, CZ_E_FORMAT, "damaged or cut off");
            break;
        }
        float *to = map + (size_t)y * s->width;
        for (size_t x = 0; x < (size_t)rows * s->width; x++) {
            double wide;
            if (sample == sizeof *to) {
                memcpy(&to[x], strip + x * sample, sample);
            } else {
                memcpy(&wide, strip + x * sample, sample);
                to[x] = (float)wide;
            }
        }
        if (s->height - y <= s->rows) break; /* y + rows may wrap */
    }
    cz_free(strip);
    return status;
}

static cz_status decode_map(map_file *f, float **map, size_t *width, size_t *height)
{
    map_shape s = {0, 0, 0, 0};
    float *values = NULL;
    TIFF *tif = open_tiff(f, "rmO");
    if (tif == NULL) return fail_tiff(f, CZ_E_FORMAT, "the directory cannot be read");
    cz_status status = read_shape(f, tif, &s);
    f->failed = false; /* what was said about other tags */
    if (status == CZ_OK) {
        values = cz_alloc_array((size_t)s.width * s.height, sizeof *values);
        status = values != NULL ? read_strips(f, tif, &s, values) : CZ_E_MEMORY;
    }
    TIFFClose(tif);
    if (status != CZ_OK) {
        cz_free(values);
        return status;
    }
    *map = values;
    *width = s.width;
    *height = s.height;
    return CZ_OK;
}

cz_status cz_map_read_tiff(const char *path, float **map, size_t *width, size_t *height)
{
    cz_error_clear();
    if (path == NULL || map == NULL || width == NULL || height == NULL)
        return cz_fail(CZ_E_ARG, "nowhere to put the map");
    map_file f = {0};
    size_t size = 0;
    cz_status status = cz_file_read(path, (size_t)CZ_DEFAULT_MAX_BYTES, &f.bytes, &size);
    if (status != CZ_OK) return status;
    f.size = size;
    status = decode_map(&f, map, width, height);
    if (status != CZ_OK) (void)cz_fail_prefix(status, path);
    cz_free(f.bytes);
    return status;
}
