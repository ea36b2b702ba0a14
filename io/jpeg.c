/* SPDX-License-Identifier: Apache-2.0 */
/* JPEG through libjpeg(-turbo), with its default (slow integer) transform and fancy upsampling: the same pixels as
 * Pillow. libjpeg repairs what it can and warns; a warning that says pixels are missing or wrong is an error here. */
#include "io/decode.h"
#include "util/alloc.h"

#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>

#include <jerror.h>

/* Each scan of a progressive file costs a pass over the picture; real files have about ten. */
#define MAX_SCANS 100

typedef struct jpeg_reader {
    struct jpeg_decompress_struct cinfo;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf jump;
    cz_status status;
    const cz_encoded *in;
    cz_picture picture;
    int orientation;
} jpeg_reader;

static void leave(jpeg_reader *r, cz_status status)
{
    r->status = status;
    longjmp(r->jump, 1);
}

static void on_error(j_common_ptr cinfo)
{
    jpeg_reader *r = cinfo->client_data;
    char text[JMSG_LENGTH_MAX];
    cz_status status = CZ_E_FORMAT;
    switch (cinfo->err->msg_code) {
    case JERR_OUT_OF_MEMORY:
        status = CZ_E_MEMORY;
        break;
    case JERR_BAD_PRECISION: /* 12-bit and lossless files */
    case JERR_SOF_UNSUPPORTED:
    case JERR_ARITH_NOTIMPL:
    case JERR_CONVERSION_NOTIMPL:
        status = CZ_E_UNSUPPORTED;
        break;
    default:
        break;
    }
    cinfo->err->format_message(cinfo, text);
    leave(r, cz_fail(status, "JPEG: %s", text));
}

static void on_message(j_common_ptr cinfo, int level)
{
    if (level >= 0) return;
    switch (cinfo->err->msg_code) {
    case JWRN_EXTRANEOUS_DATA: /* stray bytes between markers: several cameras */
    case JWRN_JFIF_MAJOR:
    case JWRN_ADOBE_XFORM:
    case JWRN_BOGUS_ICC:
    case JWRN_NOT_SEQUENTIAL:
        return;
    default:
        on_error(cinfo);
    }
}

static void on_progress(j_common_ptr cinfo)
{
    jpeg_reader *r = cinfo->client_data;
    if (r->cinfo.input_scan_number > MAX_SCANS) leave(r, cz_fail(CZ_E_LIMIT, "JPEG: more than %d scans", MAX_SCANS));
}

static void find_orientation(jpeg_reader *r)
{
    for (jpeg_saved_marker_ptr m = r->cinfo.marker_list; m; m = m->next) {
        if (m->marker != JPEG_APP0 + 1 || m->data_length < 6 || memcmp(m->data, "Exif\0", 6) != 0) continue;
        r->orientation = cz_exif_orientation(m->data + 6, m->data_length - 6);
        return;
    }
}

static void read_rows(jpeg_reader *r)
{
    enum { ROWS = 8 };
    j_decompress_ptr c = &r->cinfo;
    JSAMPROW rows[ROWS];
    while (c->output_scanline < c->output_height) {
        JDIMENSION left = c->output_height - c->output_scanline, n = left < ROWS ? left : ROWS;
        for (JDIMENSION i = 0; i < n; i++) rows[i] = cz_picture_row(&r->picture, c->output_scanline + i);
        jpeg_read_scanlines(c, rows, n);
    }
}

/* Inks are stored inverted, as Adobe does and Pillow assumes. */
static void read_rows_cmyk(jpeg_reader *r)
{
    j_decompress_ptr c = &r->cinfo;
    JSAMPARRAY row = c->mem->alloc_sarray((j_common_ptr)c, JPOOL_IMAGE, c->output_width * 4, 1);
    while (c->output_scanline < c->output_height) {
        uint8_t *rgb = cz_picture_row(&r->picture, c->output_scanline);
        jpeg_read_scanlines(c, row, 1);
        for (size_t x = 0; x < c->output_width; x++) {
            const JSAMPLE *s = row[0] + 4 * x;
            uint8_t ink[4] = {(uint8_t)(255 - s[0]), (uint8_t)(255 - s[1]), (uint8_t)(255 - s[2]),
                              (uint8_t)(255 - s[3])};
            cz_cmyk_to_rgb(ink, rgb + 3 * x);
        }
    }
}

static void read_all(jpeg_reader *r)
{
    j_decompress_ptr c = &r->cinfo;
    jpeg_create_decompress(c);
    c->client_data = r;
    jpeg_mem_src(c, r->in->bytes, (unsigned long)r->in->size);
    jpeg_save_markers(c, JPEG_APP0 + 1, 0xFFFF);
    jpeg_read_header(c, TRUE);
    cz_status status = cz_picture_check_size(c->image_width, c->image_height, r->in->max_pixels);
    if (status != CZ_OK) leave(r, status);
    find_orientation(r);
    switch (c->num_components) {
    case 1:
        c->out_color_space = JCS_GRAYSCALE;
        break;
    case 3:
        c->out_color_space = JCS_RGB;
        break;
    case 4:
        c->out_color_space = JCS_CMYK;
        break;
    default:
        leave(r, cz_fail(CZ_E_UNSUPPORTED, "JPEG with %d colour components", c->num_components));
    }
    c->progress = &r->progress;
    jpeg_start_decompress(c);
    status =
        cz_picture_alloc(c->output_width, c->output_height, c->num_components == 1 ? CZ_GRAY8 : CZ_RGB8, &r->picture);
    if (status != CZ_OK) leave(r, status);
    if (c->num_components == 4)
        read_rows_cmyk(r);
    else
        read_rows(r);
    jpeg_finish_decompress(c); /* reads on to the end marker, so that a missing one is noticed */
}

cz_status cz_jpeg_decode(const cz_encoded *in, cz_picture *out, int *orientation)
{
    jpeg_reader *r = cz_calloc(1, sizeof(*r)); /* not a local: it changes between setjmp and longjmp */
    if (!r) return CZ_E_MEMORY;
    r->in = in;
    r->orientation = 1;
    r->cinfo.err = jpeg_std_error(&r->errors);
    r->cinfo.client_data = r;
    r->errors.error_exit = on_error;
    r->errors.emit_message = on_message;
    r->progress.progress_monitor = on_progress;
    if (setjmp(r->jump) == 0) read_all(r);
    jpeg_destroy_decompress(&r->cinfo);
    cz_status status = r->status;
    if (status == CZ_OK) {
        *out = r->picture;
        *orientation = r->orientation;
    } else {
        cz_picture_free(&r->picture);
    }
    cz_free(r);
    return status;
}
