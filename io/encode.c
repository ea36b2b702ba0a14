/* SPDX-License-Identifier: Apache-2.0 */
/* Writing pictures: PNG through libspng (fast settings: a page of overlays should not wait for its last per cent), JPEG
 * through libjpeg. Files are replaced whole or not at all. */
#include "io/encode.h"

#include "util/alloc.h"
#include "util/file.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <jpeglib.h>
#include <spng.h>

enum {
    JPEG_QUALITY = 92,
    /* zlib's Z_RLE: with the "up" filter on photos both faster than its plain level 1 (52 against 66 ms for 1024 x 1024
     * RGB) and smaller (by 15 %) */
    ZLIB_RLE = 3
};

/* ---- PNG ---- */

static cz_status png_fail(int error)
{
    if (!error) return CZ_OK;
    bool memory = error == SPNG_EMEM || error == SPNG_EZLIB_INIT; /* the settings are right */
    return cz_fail(memory ? CZ_E_MEMORY : CZ_E_INTERNAL, "PNG: %s", spng_strerror(error));
}

static void *gate_realloc(void *old, size_t bytes)
{
    return cz_grow(old, 1, bytes);
}

/* Where the bytes go is set before. Only image's size and format are looked at. */
static int png_begin(spng_ctx *ctx, const cz_image *image, const cz_png_text *texts, size_t count)
{
    bool gray = image->format == CZ_GRAY8 || image->format == CZ_GRAY16;
    bool alpha = image->format == CZ_RGBA8 || image->format == CZ_BGRA8;
    struct spng_ihdr header = {
        .width = (uint32_t)image->width,
        .height = (uint32_t)image->height,
        .bit_depth = image->format == CZ_GRAY16 ? 16 : 8,
        .color_type = gray    ? SPNG_COLOR_TYPE_GRAYSCALE
                      : alpha ? SPNG_COLOR_TYPE_TRUECOLOR_ALPHA
                              : SPNG_COLOR_TYPE_TRUECOLOR,
    };
    int error = spng_set_option(ctx, SPNG_IMG_COMPRESSION_LEVEL, 1);
    if (!error) error = spng_set_option(ctx, SPNG_IMG_COMPRESSION_STRATEGY, ZLIB_RLE);
    if (!error) error = spng_set_option(ctx, SPNG_FILTER_CHOICE, SPNG_FILTER_CHOICE_UP);
    if (!error) error = spng_set_ihdr(ctx, &header);
    struct spng_text chunks[CZ_PNG_MAX_TEXTS] = {0};
    if (count > CZ_PNG_MAX_TEXTS) return SPNG_EINTERNAL;
    for (size_t i = 0; i < count; i++) {
        snprintf(chunks[i].keyword, sizeof(chunks[i].keyword), "%s", texts[i].keyword);
        chunks[i].type = SPNG_TEXT;
        chunks[i].length = strlen(texts[i].text);
        chunks[i].text = (char *)texts[i].text; /* libspng copies it */
    }
    if (!error && count) error = spng_set_text(ctx, chunks, (uint32_t)count);
    if (!error) error = spng_encode_image(ctx, NULL, 0, SPNG_FMT_PNG, SPNG_ENCODE_PROGRESSIVE | SPNG_ENCODE_FINALIZE);
    return error;
}

/* Row y in PNG's order of channels: the caller's memory, or `scratch` where they are reversed. */
static const void *png_row(const cz_image *image, size_t y, uint8_t *scratch)
{
    const uint8_t *from = (const uint8_t *)image->data + y * image->stride;
    if (image->format != CZ_BGR8 && image->format != CZ_BGRA8) return from;
    size_t pixel = cz_pixel_size(image->format);
    for (size_t x = 0; x < image->width; x++) {
        const uint8_t *p = from + x * pixel;
        uint8_t *q = scratch + x * pixel;
        q[0] = p[2];
        q[1] = p[1];
        q[2] = p[0];
        if (pixel == 4) q[3] = p[3];
    }
    return scratch;
}

cz_status cz_png_encode(const cz_image *image, const cz_png_text *texts, size_t count, char **out, size_t *size)
{
    cz_status status = cz_image_check(image);
    if (status != CZ_OK) return status;
    if (image->width > INT32_MAX || image->height > INT32_MAX)
        return cz_fail(CZ_E_ARG, "%zu x %zu pixels do not fit in a PNG", image->width, image->height);
    struct spng_alloc gate = {cz_alloc, gate_realloc, cz_calloc, cz_free};
    size_t bytes = image->width * cz_pixel_size(image->format);
    uint8_t *scratch = cz_alloc(bytes);
    spng_ctx *ctx = scratch ? spng_ctx_new2(&gate, SPNG_CTX_ENCODER) : NULL;
    if (!ctx) {
        status = CZ_E_MEMORY;
        goto out;
    }
    int error = spng_set_option(ctx, SPNG_ENCODE_TO_BUFFER, 1);
    if (!error) error = png_begin(ctx, image, texts, count);
    for (size_t y = 0; y < image->height && !error; y++) {
        error = spng_encode_row(ctx, png_row(image, y, scratch), bytes);
        if (error == SPNG_EOI && y + 1 == image->height) error = SPNG_OK; /* how the last row is announced */
    }
    CZ_TRY(png_fail(error));
    char *buffer = spng_get_png_buffer(ctx, size, &error);
    if (!buffer) CZ_TRY(png_fail(error ? error : SPNG_EINTERNAL));
    *out = buffer;
out:
    spng_ctx_free(ctx);
    cz_free(scratch);
    return status;
}

/* A file that libspng writes to, and the status of the first write that failed. */
typedef struct png_file {
    cz_atomic_file file;
    cz_status status;
} png_file;

static int on_png_write(spng_ctx *ctx, void *user, void *bytes, size_t count)
{
    (void)ctx;
    png_file *f = user;
    if (f->status == CZ_OK) f->status = cz_atomic_write(&f->file, bytes, count);
    return f->status == CZ_OK ? 0 : SPNG_IO_ERROR;
}

static cz_status png_write_rows(spng_ctx *ctx, png_file *f, const cz_png_rows *rows, const cz_png_text *texts,
                                size_t count)
{
    cz_status status = CZ_OK;
    const cz_image shape = {.width = rows->width, .height = rows->height, .format = rows->format};
    const size_t bytes = rows->width * cz_pixel_size(rows->format);
    uint8_t *row = cz_alloc(bytes);
    if (row == NULL) return CZ_E_MEMORY;
    int error = spng_set_png_stream(ctx, on_png_write, f);
    if (!error) error = png_begin(ctx, &shape, texts, count);
    for (size_t y = 0; y < rows->height && !error; y++) {
        CZ_TRY(rows->row(rows->ctx, y, row));
        error = spng_encode_row(ctx, row, bytes);
        if (error == SPNG_EOI && y + 1 == rows->height) error = SPNG_OK;
    }
    status = f->status != CZ_OK ? f->status : png_fail(error);
out:
    cz_free(row);
    return status;
}

cz_status cz_png_write_rows(const char *path, const cz_png_rows *rows, const cz_png_text *texts, size_t count)
{
    if (rows->width == 0 || rows->height == 0 || rows->width > INT32_MAX / 8 || rows->height > INT32_MAX)
        return cz_fail(CZ_E_ARG, "%s: %zu x %zu pixels do not fit in a PNG", path, rows->width, rows->height);
    struct spng_alloc gate = {cz_alloc, gate_realloc, cz_calloc, cz_free};
    png_file f = {.status = CZ_OK};
    cz_status status = cz_atomic_open(path, &f.file);
    if (status != CZ_OK) return status;
    spng_ctx *ctx = spng_ctx_new2(&gate, SPNG_CTX_ENCODER);
    status = ctx != NULL ? png_write_rows(ctx, &f, rows, texts, count) : CZ_E_MEMORY;
    spng_ctx_free(ctx); /* NULL is fine */
    if (status == CZ_OK) return cz_atomic_commit(&f.file);
    cz_atomic_abort(&f.file);
    return status;
}

cz_status cz_picture_encode_png(const cz_image *image, char **out, size_t *size)
{
    cz_error_clear();
    if (!out || !size) return cz_fail(CZ_E_ARG, "nowhere to put the PNG");
    return cz_png_encode(image, NULL, 0, out, size);
}

/* ---- JPEG ---- */

typedef struct jpeg_writer {
    struct jpeg_compress_struct cinfo;
    struct jpeg_error_mgr errors;
    jmp_buf jump;
    cz_status status;
    unsigned char *bytes; /* malloc'ed by libjpeg */
    unsigned long size;
    uint8_t *row;
} jpeg_writer;

static void on_error(j_common_ptr cinfo)
{
    jpeg_writer *w = cinfo->client_data;
    char text[JMSG_LENGTH_MAX];
    cinfo->err->format_message(cinfo, text);
    w->status = cz_fail(CZ_E_INTERNAL, "JPEG: %s", text);
    longjmp(w->jump, 1);
}

static void on_message(j_common_ptr cinfo, int level)
{
    (void)cinfo, (void)level;
}

static void gray_row(const cz_image *image, size_t y, uint8_t *to)
{
    const uint8_t *from = (const uint8_t *)image->data + y * image->stride;
    if (image->format == CZ_GRAY8) {
        memcpy(to, from, image->width);
        return;
    }
    for (size_t x = 0; x < image->width; x++) {
        uint16_t wide;
        memcpy(&wide, from + 2 * x, 2);
        to[x] = cz_to8(wide);
    }
}

static void write_rows(jpeg_writer *w, const cz_image *image, int quality)
{
    j_compress_ptr c = &w->cinfo;
    bool gray = image->format == CZ_GRAY8 || image->format == CZ_GRAY16;
    jpeg_create_compress(c);
    jpeg_mem_dest(c, &w->bytes, &w->size);
    c->image_width = (JDIMENSION)image->width;
    c->image_height = (JDIMENSION)image->height;
    c->input_components = gray ? 1 : 3;
    c->in_color_space = gray ? JCS_GRAYSCALE : JCS_RGB;
    jpeg_set_defaults(c);
    jpeg_set_quality(c, quality, TRUE);
    if (quality >= 90) c->comp_info[0].h_samp_factor = c->comp_info[0].v_samp_factor = 1; /* keep thin coloured lines */
    jpeg_start_compress(c, TRUE);
    for (size_t y = 0; y < image->height; y++) {
        JSAMPROW row = w->row;
        if (gray)
            gray_row(image, y, row);
        else
            cz_image_row_rgb(image, y, row);
        jpeg_write_scanlines(c, &row, 1);
    }
    jpeg_finish_compress(c);
}

static cz_status jpeg_encode(const cz_image *image, int quality, char **out, size_t *size)
{
    cz_status status = cz_image_check(image);
    if (status != CZ_OK) return status;
    if (image->width > JPEG_MAX_DIMENSION || image->height > JPEG_MAX_DIMENSION)
        return cz_fail(CZ_E_ARG, "%zu x %zu pixels do not fit in a JPEG", image->width, image->height);
    jpeg_writer *w = cz_calloc(1, sizeof(*w)); /* not a local: it changes between setjmp and longjmp */
    if (!w) return CZ_E_MEMORY;
    char *copy = NULL;
    w->row = cz_alloc_array(image->width, 3);
    if (!w->row) w->status = CZ_E_MEMORY;
    w->cinfo.err = jpeg_std_error(&w->errors);
    w->cinfo.client_data = w;
    w->errors.error_exit = on_error;
    w->errors.emit_message = on_message;
    if (w->status == CZ_OK && setjmp(w->jump) == 0) write_rows(w, image, quality);
    status = w->status;
    if (status == CZ_OK) {
        copy = cz_alloc(w->size);
        if (copy) {
            memcpy(copy, w->bytes, w->size);
            *out = copy;
            *size = w->size;
        } else {
            status = CZ_E_MEMORY;
        }
    }
    jpeg_destroy_compress(&w->cinfo);
    free(w->bytes);
    cz_free(w->row);
    cz_free(w);
    return status;
}

cz_status cz_picture_encode_jpeg(const cz_image *image, int quality, char **out, size_t *size)
{
    cz_error_clear();
    if (!out || !size) return cz_fail(CZ_E_ARG, "nowhere to put the JPEG");
    if (quality < 1 || quality > 100) return cz_fail(CZ_E_ARG, "JPEG quality %d is not 1 to 100", quality);
    return jpeg_encode(image, quality, out, size);
}

/* ---- files ---- */

static bool has_extension(const char *path, const char *extension)
{
    size_t n = strlen(path), e = strlen(extension);
    return n > e && strcasecmp(path + n - e, extension) == 0;
}

cz_status cz_picture_write(const char *path, const cz_image *image)
{
    cz_error_clear();
    if (!path) return cz_fail(CZ_E_ARG, "no path to write to");
    char *bytes = NULL;
    size_t size = 0;
    cz_status status;
    if (has_extension(path, ".png"))
        status = cz_png_encode(image, NULL, 0, &bytes, &size);
    else if (has_extension(path, ".jpg") || has_extension(path, ".jpeg"))
        status = jpeg_encode(image, JPEG_QUALITY, &bytes, &size);
    else
        return cz_fail(CZ_E_ARG, "%s: pictures are written as .png, .jpg or .jpeg", path);
    if (status != CZ_OK)
        cz_fail_prefix(status, path);
    else
        status = cz_file_write_atomic(path, bytes, size); /* its messages have the path */
    cz_free(bytes);
    return status;
}
