/* SPDX-License-Identifier: Apache-2.0 */
/* TIFF through libtiff: the first picture of the file, in strips or tiles, gray, palette, RGB or CMYK of 1 to 16 bits.
 * Rarer colour spaces go through libtiff's own conversion. Messages of libtiff stay with the one file being read. */
#include "io/decode.h"
#include "util/alloc.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <tiffio.h>

#if TIFFLIB_VERSION < 20221213
#error "libtiff 4.5 or later is needed: earlier ones report errors through a setting of the whole process"
#endif

enum {
    MAX_SAMPLES = 8,
    LARGE_STRIP = 1 << 20 /* bytes of a decoded strip: of larger ones some rows are read at a time */
};

typedef struct tiff_reader {
    const cz_encoded *in;
    uint64_t at;
    TIFF *tif;
    char message[200]; /* the first complaint of libtiff */
    bool reading_pixels, damaged;
    uint32_t width, height;
    uint16_t bits, samples, photometric, planar, compression, alpha_type;
    unsigned colours;  /* samples that make the colour: 1, 3 or 4 */
    unsigned used;     /* colours, and alpha if there is one */
    bool alpha, tiled; /* alpha: the sample after the colours */
    bool by_rows; /* strips so large (some writers make one of the whole picture) that blocks are some rows of them */
    bool stored;  /* and their bytes are the rows as they are */
    uint32_t strip_rows;
    uint32_t block_width, block_height;
    size_t row_bytes; /* of a block, in one plane */
    uint8_t *blocks;  /* [planes, block_height, row_bytes] */
    uint16_t *values; /* [block_width, used] */
    uint8_t palette[256][3];
    cz_picture picture;
} tiff_reader;

/* ---- libtiff's view of a buffer ---- */

static tmsize_t on_read(thandle_t handle, void *to, tmsize_t bytes)
{
    tiff_reader *r = handle;
    uint64_t left = r->at < r->in->size ? r->in->size - r->at : 0;
    if (bytes < 0 || !left) return 0;
    size_t n = (uint64_t)bytes < left ? (size_t)bytes : (size_t)left;
    if (!r->in->file)
        memcpy(to, r->in->bytes + r->at, n);
    else if (fseeko(r->in->file, (off_t)r->at, SEEK_SET) == 0)
        n = fread(to, 1, n, r->in->file); /* fewer: libtiff calls the file cut off */
    else
        n = 0;
    r->at += n;
    return (tmsize_t)n;
}

static tmsize_t on_write(thandle_t handle, void *from, tmsize_t bytes)
{
    (void)handle, (void)from, (void)bytes;
    return -1;
}

static toff_t on_seek(thandle_t handle, toff_t offset, int whence)
{
    tiff_reader *r = handle;
    if (whence == SEEK_CUR) offset += r->at;
    if (whence == SEEK_END) offset += r->in->size;
    return r->at = offset;
}

static int on_close(thandle_t handle)
{
    (void)handle;
    return 0;
}

static toff_t on_size(thandle_t handle)
{
    return ((tiff_reader *)handle)->in->size;
}

static void keep_message(tiff_reader *r, const char *format, va_list args)
{
    if (!r->message[0]) vsnprintf(r->message, sizeof(r->message), format, args);
}

static int on_error(TIFF *tif, void *data, const char *module, const char *format, va_list args)
{
    (void)tif, (void)module;
    tiff_reader *r = data;
    keep_message(r, format, args);
    if (r->reading_pixels) r->damaged = true;
    return 1; /* handled: nothing is printed */
}

/* While pixels are decoded, warnings tell of missing or surplus data (fax, JPEG, PackBits); one is about its age. */
static int on_warning(TIFF *tif, void *data, const char *module, const char *format, va_list args)
{
    tiff_reader *r = data;
    if (r->reading_pixels && !(module && strcmp(module, "LZWPreDecode") == 0))
        on_error(tif, data, module, format, args);
    return 1;
}

static cz_status tiff_fail(const tiff_reader *r, const char *what)
{
    return cz_fail(CZ_E_FORMAT, "TIFF: %s%s%s", what, r->message[0] ? ": " : "", r->message);
}

static cz_status tiff_open(tiff_reader *r)
{
    TIFFOpenOptions *options = TIFFOpenOptionsAlloc();
    if (!options) return cz_fail(CZ_E_MEMORY, "TIFF: out of memory");
    /* libtiff's own buffers: a strip or its compressed bytes, and the tables of strip offsets */
    uint64_t most = r->in->max_pixels * 16 + ((uint64_t)1 << 24) + r->in->size;
    TIFFOpenOptionsSetMaxSingleMemAlloc(options, (tmsize_t)most);
    TIFFOpenOptionsSetErrorHandlerExtR(options, on_error, r);
    TIFFOpenOptionsSetWarningHandlerExtR(options, on_warning, r);
    /* m: no mapping; O: strip tables on demand */
    r->tif = TIFFClientOpenExt("TIFF", "rmO", r, on_read, on_write, on_seek, on_close, on_size, NULL, NULL, options);
    TIFFOpenOptionsFree(options);
    return r->tif ? CZ_OK : tiff_fail(r, "the directory cannot be read");
}

/* ---- what is in the file ---- */

static bool is_known_compression(unsigned compression)
{
    switch (compression) {
    case COMPRESSION_NONE:
    case COMPRESSION_CCITTRLE:
    case COMPRESSION_CCITTRLEW:
    case COMPRESSION_CCITTFAX3:
    case COMPRESSION_CCITTFAX4:
    case COMPRESSION_LZW:
    case COMPRESSION_JPEG:
    case COMPRESSION_ADOBE_DEFLATE:
    case COMPRESSION_DEFLATE:
    case COMPRESSION_PACKBITS:
    case COMPRESSION_LZMA:
    case COMPRESSION_ZSTD:
        return TIFFIsCODECConfigured((uint16_t)compression);
    default:
        return false;
    }
}

static cz_status read_tags(tiff_reader *r, int *orientation)
{
    uint16_t sample_format = SAMPLEFORMAT_UINT, turned = 1, extras = 0, *extra_types = NULL;
    if (!TIFFGetField(r->tif, TIFFTAG_IMAGEWIDTH, &r->width) || !TIFFGetField(r->tif, TIFFTAG_IMAGELENGTH, &r->height))
        return tiff_fail(r, "no width or height");
    cz_status status = cz_picture_check_size(r->width, r->height, r->in->max_pixels);
    if (status != CZ_OK) return status;
    TIFFGetFieldDefaulted(r->tif, TIFFTAG_BITSPERSAMPLE, &r->bits);
    TIFFGetFieldDefaulted(r->tif, TIFFTAG_SAMPLESPERPIXEL, &r->samples);
    TIFFGetFieldDefaulted(r->tif, TIFFTAG_PLANARCONFIG, &r->planar);
    TIFFGetFieldDefaulted(r->tif, TIFFTAG_COMPRESSION, &r->compression);
    TIFFGetFieldDefaulted(r->tif, TIFFTAG_SAMPLEFORMAT, &sample_format);
    TIFFGetFieldDefaulted(r->tif, TIFFTAG_ORIENTATION, &turned);
    TIFFGetFieldDefaulted(r->tif, TIFFTAG_EXTRASAMPLES, &extras, &extra_types);
    if (!TIFFGetField(r->tif, TIFFTAG_PHOTOMETRIC, &r->photometric))
        r->photometric = r->samples >= 3 ? PHOTOMETRIC_RGB : PHOTOMETRIC_MINISBLACK;
    *orientation = turned;
    if (!is_known_compression(r->compression))
        return cz_fail(CZ_E_UNSUPPORTED, "TIFF: compression %u is not supported", r->compression);
    if (sample_format == SAMPLEFORMAT_IEEEFP)
        return cz_fail(CZ_E_UNSUPPORTED, "TIFF: floating-point samples are not supported; save 8 or 16 bits a sample");
    if (sample_format != SAMPLEFORMAT_UINT && sample_format != SAMPLEFORMAT_VOID)
        return cz_fail(CZ_E_UNSUPPORTED, "TIFF: signed or complex samples are not supported");
    if (!r->samples || r->samples > MAX_SAMPLES)
        return cz_fail(CZ_E_UNSUPPORTED, "TIFF: %u samples a pixel", r->samples);
    if (r->planar != PLANARCONFIG_CONTIG && r->planar != PLANARCONFIG_SEPARATE)
        return cz_fail(CZ_E_FORMAT, "TIFF: unknown planar configuration %u", r->planar);
    r->alpha_type = extras && extra_types ? extra_types[0] : EXTRASAMPLE_UNSPECIFIED;
    return CZ_OK;
}

static cz_status read_palette(tiff_reader *r)
{
    uint16_t *map[3];
    if (!TIFFGetField(r->tif, TIFFTAG_COLORMAP, &map[0], &map[1], &map[2])) return tiff_fail(r, "no palette");
    size_t count = (size_t)1 << r->bits;
    unsigned largest = 0;
    for (int c = 0; c < 3; c++)
        for (size_t i = 0; i < count; i++) largest = map[c][i] > largest ? map[c][i] : largest;
    /* entries have 16 bits; some writers put 8 into them */
    for (int c = 0; c < 3; c++)
        for (size_t i = 0; i < count; i++) r->palette[i][c] = (uint8_t)(largest > 255 ? map[c][i] >> 8 : map[c][i]);
    return CZ_OK;
}

/* True when the rows can be read here; false leaves the file to libtiff's conversion. */
static bool plan_colours(tiff_reader *r)
{
    uint16_t inks = INKSET_CMYK;
    bool deep = r->bits == 8 || r->bits == 16;
    switch (r->photometric) {
    case PHOTOMETRIC_MINISWHITE:
    case PHOTOMETRIC_MINISBLACK:
        r->colours = 1;
        if (!deep && ((r->bits != 1 && r->bits != 2 && r->bits != 4) || r->samples != 1)) return false;
        break;
    case PHOTOMETRIC_PALETTE:
        r->colours = 1;
        if (r->samples != 1 || (r->bits != 1 && r->bits != 2 && r->bits != 4 && r->bits != 8)) return false;
        break;
    case PHOTOMETRIC_YCBCR:
        if (r->compression != COMPRESSION_JPEG || r->planar != PLANARCONFIG_CONTIG || r->samples != 3 || r->bits != 8)
            return false;
        TIFFSetField(r->tif, TIFFTAG_JPEGCOLORMODE, JPEGCOLORMODE_RGB);
        r->colours = 3;
        break;
    case PHOTOMETRIC_RGB:
        r->colours = 3;
        if (!deep) return false;
        break;
    case PHOTOMETRIC_SEPARATED:
        TIFFGetFieldDefaulted(r->tif, TIFFTAG_INKSET, &inks);
        r->colours = 4;
        if (!deep || inks != INKSET_CMYK) return false;
        break;
    default:
        return false;
    }
    r->alpha = r->samples > r->colours && r->colours != 4 &&
               (r->alpha_type == EXTRASAMPLE_ASSOCALPHA || r->alpha_type == EXTRASAMPLE_UNASSALPHA);
    r->used = r->colours + (r->alpha ? 1 : 0);
    return r->samples >= r->colours;
}

static cz_status plan_blocks(tiff_reader *r)
{
    uint32_t rows = r->height;
    r->tiled = TIFFIsTiled(r->tif) != 0;
    if (r->tiled) {
        if (!TIFFGetField(r->tif, TIFFTAG_TILEWIDTH, &r->block_width) ||
            !TIFFGetField(r->tif, TIFFTAG_TILELENGTH, &r->block_height))
            return tiff_fail(r, "no tile size");
    } else {
        TIFFGetFieldDefaulted(r->tif, TIFFTAG_ROWSPERSTRIP, &rows);
        r->block_width = r->width;
        r->block_height = rows < r->height ? rows : r->height;
    }
    size_t whole_row = (size_t)r->width * r->samples * r->bits / 8 + 1;
    if (!r->tiled && (r->planar == PLANARCONFIG_CONTIG || r->samples == 1) &&
        whole_row * r->block_height > LARGE_STRIP) {
        uint16_t fill = FILLORDER_MSB2LSB;
        TIFFGetFieldDefaulted(r->tif, TIFFTAG_FILLORDER, &fill);
        r->by_rows = true;
        r->strip_rows = r->block_height;
        r->stored = r->compression == COMPRESSION_NONE && (r->bits == 8 || r->bits == 16) && fill == FILLORDER_MSB2LSB;
        r->block_height = whole_row < LARGE_STRIP ? (uint32_t)(LARGE_STRIP / whole_row) : 1;
    }
    /* a tile may be larger than a small picture, but not without bound */
    uint64_t most = r->in->max_pixels > 1 << 20 ? r->in->max_pixels : 1 << 20;
    cz_status status = cz_picture_check_size(r->block_width, r->block_height, most);
    if (status != CZ_OK) return status;
    size_t in_plane = r->planar == PLANARCONFIG_CONTIG ? r->samples : 1, planes = in_plane == r->samples ? 1 : r->used;
    r->row_bytes = ((size_t)r->block_width * in_plane * r->bits + 7) / 8;
    tmsize_t expected = r->tiled ? TIFFTileRowSize(r->tif) : TIFFScanlineSize(r->tif);
    if (expected < 0 || (size_t)expected != r->row_bytes) return tiff_fail(r, "rows of an unexpected size");
    size_t bytes;
    if (!cz_mul_size(r->row_bytes, r->block_height, &bytes) || !cz_mul_size(bytes, planes, &bytes))
        return cz_fail(CZ_E_LIMIT, "TIFF: a strip or tile that does not fit in memory");
    r->blocks = cz_alloc(bytes);
    r->values = cz_alloc_array(r->block_width, r->used * sizeof(uint16_t));
    return r->blocks && r->values ? CZ_OK : CZ_E_MEMORY;
}

/* ---- rows ---- */

/* Samples of one row of a block as they are stored. */
static void unpack_row(const tiff_reader *r, size_t row, size_t width)
{
    size_t plane_bytes = r->row_bytes * r->block_height;
    bool separate = r->planar == PLANARCONFIG_SEPARATE && r->samples > 1;
    for (unsigned s = 0; s < r->used; s++) {
        const uint8_t *from = r->blocks + row * r->row_bytes + (separate ? s * plane_bytes : 0);
        size_t step = separate ? 1 : r->samples, first = separate ? 0 : s;
        uint16_t *to = r->values + s;
        if (r->bits == 8) {
            for (size_t x = 0; x < width; x++) to[x * r->used] = from[x * step + first];
        } else if (r->bits == 16) {
            for (size_t x = 0; x < width; x++) memcpy(to + x * r->used, from + 2 * (x * step + first), 2);
        } else { /* one sample a pixel */
            unsigned mask = (1u << r->bits) - 1, per_byte = 8u / r->bits;
            for (size_t x = 0; x < width; x++)
                to[x] = (uint16_t)((unsigned)from[x / per_byte] >> (per_byte - 1 - x % per_byte) * r->bits & mask);
        }
    }
}

/* One colour value over white; both in 0 … `top`. Associated alpha has been multiplied in already. */
static uint16_t over_white(const tiff_reader *r, unsigned v, unsigned alpha, unsigned top)
{
    if (r->alpha_type == EXTRASAMPLE_ASSOCALPHA) {
        unsigned sum = v + (top - alpha);
        return (uint16_t)(sum < top ? sum : top);
    }
    return top == 255 ? cz_white8(v, alpha) : cz_white16(v, alpha);
}

static void store_gray(const tiff_reader *r, size_t width, uint8_t *to)
{
    unsigned most = (1u << r->bits) - 1, top = r->bits == 16 ? 65535 : 255;
    for (size_t x = 0; x < width; x++) {
        const uint16_t *p = r->values + x * r->used;
        unsigned v = *p * (top / most); /* 255 and 65535 are multiples of what 1, 2, 4, 8 and 16 bits hold */
        if (r->photometric == PHOTOMETRIC_MINISWHITE) v = top - v;
        uint16_t wide = r->alpha ? over_white(r, v, p[1], top) : (uint16_t)v;
        if (top == 255)
            to[x] = (uint8_t)wide;
        else
            memcpy(to + 2 * x, &wide, 2);
    }
}

static void store_colour(const tiff_reader *r, size_t width, uint8_t *to)
{
    unsigned top = r->bits == 16 ? 65535 : 255;
    for (size_t x = 0; x < width; x++, to += 3) {
        const uint16_t *p = r->values + x * r->used;
        if (r->photometric == PHOTOMETRIC_PALETTE) {
            memcpy(to, r->palette[*p], 3);
            continue;
        }
        uint8_t v[4];
        for (unsigned c = 0; c < r->colours; c++) {
            unsigned value = r->alpha ? over_white(r, p[c], p[r->colours], top) : p[c];
            v[c] = top == 255 ? (uint8_t)value : cz_to8(value);
        }
        if (r->colours == 4)
            cz_cmyk_to_rgb(v, to);
        else
            memcpy(to, v, 3);
    }
}

/* libtiff would hold all of a strip that is not compressed. */
static cz_status read_stored_row(tiff_reader *r, uint32_t y, uint8_t *to)
{
    const uint32_t strip = y / r->strip_rows, row = y % r->strip_rows;
    const uint64_t at = TIFFGetStrileOffset(r->tif, strip), bytes = TIFFGetStrileByteCount(r->tif, strip);
    const uint64_t skipped = (uint64_t)row * r->row_bytes;
    if (at > r->in->size || bytes > r->in->size - at || skipped > bytes || r->row_bytes > bytes - skipped)
        return tiff_fail(r, "damaged or cut off");
    r->at = at + skipped;
    if (on_read(r, to, (tmsize_t)r->row_bytes) != (tmsize_t)r->row_bytes) return tiff_fail(r, "damaged or cut off");
    if (r->bits == 16 && TIFFIsByteSwapped(r->tif))
        TIFFSwabArrayOfShort((uint16_t *)(void *)to, (tmsize_t)(r->row_bytes / 2));
    return CZ_OK;
}

static cz_status read_rows(tiff_reader *r, uint32_t y0, size_t rows)
{
    for (size_t y = 0; y < rows; y++) {
        uint8_t *to = r->blocks + y * r->row_bytes;
        if (r->stored) {
            const cz_status status = read_stored_row(r, y0 + (uint32_t)y, to);
            if (status != CZ_OK) return status;
        } else if (TIFFReadScanline(r->tif, to, y0 + (uint32_t)y, 0) < 0 || r->damaged) {
            return tiff_fail(r, "damaged or cut off");
        }
    }
    return CZ_OK;
}

static cz_status read_block(tiff_reader *r, uint32_t x0, uint32_t y0, size_t rows)
{
    bool separate = r->planar == PLANARCONFIG_SEPARATE && r->samples > 1;
    if (r->by_rows) return read_rows(r, y0, rows);
    size_t plane_bytes = r->row_bytes * r->block_height, expected = r->tiled ? plane_bytes : rows * r->row_bytes;
    for (unsigned s = 0; s < (separate ? r->used : 1); s++) {
        uint8_t *to = r->blocks + s * plane_bytes;
        uint32_t index =
            r->tiled ? TIFFComputeTile(r->tif, x0, y0, 0, (uint16_t)s) : TIFFComputeStrip(r->tif, y0, (uint16_t)s);
        tmsize_t got = r->tiled ? TIFFReadEncodedTile(r->tif, index, to, (tmsize_t)expected)
                                : TIFFReadEncodedStrip(r->tif, index, to, (tmsize_t)expected);
        if (got < 0 || (size_t)got != expected || r->damaged) return tiff_fail(r, "damaged or cut off");
    }
    return CZ_OK;
}

static cz_status read_blocks(tiff_reader *r)
{
    size_t pixel = cz_pixel_size(r->picture.image.format);
    for (uint32_t y0 = 0; y0 < r->height; y0 += r->block_height) {
        for (uint32_t x0 = 0; x0 < r->width; x0 += r->block_width) {
            size_t rows = r->height - y0 < r->block_height ? r->height - y0 : r->block_height;
            size_t width = r->width - x0 < r->block_width ? r->width - x0 : r->block_width;
            cz_status status = read_block(r, x0, y0, rows);
            if (status != CZ_OK) return status;
            for (size_t y = 0; y < rows; y++) {
                uint8_t *to = cz_picture_row(&r->picture, y0 + y) + x0 * pixel;
                unpack_row(r, y, width);
                if (pixel == 3)
                    store_colour(r, width, to);
                else
                    store_gray(r, width, to);
            }
            if (r->width - x0 <= r->block_width) break; /* x0 + block_width may wrap */
        }
        if (r->height - y0 <= r->block_height) break;
    }
    return CZ_OK;
}

/* Colour spaces that libtiff knows and this file does not (CIELAB, plain YCbCr, LogLuv). */
static cz_status read_converted(tiff_reader *r)
{
    char reason[1024] = "";
    if (!TIFFRGBAImageOK(r->tif, reason))
        return cz_fail(CZ_E_UNSUPPORTED, "TIFF: photometric interpretation %u with %u samples of %u bits: %s",
                       r->photometric, r->samples, r->bits, reason);
    uint32_t *raster = cz_alloc_array((size_t)r->width * sizeof(*raster), r->height);
    if (!raster) return CZ_E_MEMORY;
    TIFFSetField(r->tif, TIFFTAG_ORIENTATION, ORIENTATION_TOPLEFT); /* turned later, like the others */
    cz_status status = CZ_OK;
    if (!TIFFReadRGBAImageOriented(r->tif, r->width, r->height, raster, ORIENTATION_TOPLEFT, 1) || r->damaged)
        status = tiff_fail(r, "damaged or cut off");
    if (status == CZ_OK) status = cz_picture_alloc(r->width, r->height, CZ_RGB8, &r->picture);
    if (status == CZ_OK) {
        uint8_t *to = r->picture.pixels;
        for (size_t i = 0; i < (size_t)r->width * r->height; i++, to += 3) {
            uint32_t v = raster[i]; /* colours come multiplied with alpha */
            unsigned missing = 255u - TIFFGetA(v), rgb[3] = {TIFFGetR(v), TIFFGetG(v), TIFFGetB(v)};
            for (int c = 0; c < 3; c++) to[c] = (uint8_t)(rgb[c] + missing < 255 ? rgb[c] + missing : 255);
        }
    }
    cz_free(raster);
    return status;
}

static cz_status read_all(tiff_reader *r, int *orientation)
{
    cz_status status;
    CZ_TRY(tiff_open(r));
    CZ_TRY(read_tags(r, orientation));
    bool own = plan_colours(r);
    r->message[0] = '\0'; /* what was said about other tags */
    r->reading_pixels = true;
    if (!own) return read_converted(r);
    if (r->photometric == PHOTOMETRIC_PALETTE) CZ_TRY(read_palette(r));
    CZ_TRY(plan_blocks(r));
    bool gray = r->colours == 1 && r->photometric != PHOTOMETRIC_PALETTE;
    cz_pixel_format format = !gray ? CZ_RGB8 : r->bits == 16 ? CZ_GRAY16 : CZ_GRAY8;
    CZ_TRY(cz_picture_alloc(r->width, r->height, format, &r->picture));
    CZ_TRY(read_blocks(r));
out:
    return status;
}

cz_status cz_tiff_decode(const cz_encoded *in, cz_picture *out, int *orientation)
{
    tiff_reader r = {.in = in};
    cz_status status = read_all(&r, orientation);
    if (r.tif) TIFFClose(r.tif);
    cz_free(r.blocks);
    cz_free(r.values);
    if (status == CZ_OK)
        *out = r.picture;
    else
        cz_picture_free(&r.picture);
    return status;
}
