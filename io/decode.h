/* SPDX-License-Identifier: Apache-2.0 */
/* The decoder table: one entry and one file a format. */
#ifndef CZ_IO_DECODE_H
#define CZ_IO_DECODE_H

#include "io/picture.h"

#include <stdio.h>

typedef struct cz_encoded {
    const uint8_t *bytes;
    size_t size;
    uint64_t max_pixels; /* a larger picture is CZ_E_LIMIT before its pixels are allocated */
    FILE *file;          /* not NULL: instead of `bytes`, which is NULL; TIFF only, whose files may be huge */
} cz_encoded;

/* A decoder writes GRAY8, GRAY16 or RGB8 as the file stores it, and how that is to be turned (*orientation is 1 on
 * entry, cz_picture_upright follows). On failure *out is left as it was. */
typedef cz_status (*cz_decode_fn)(const cz_encoded *in, cz_picture *out, int *orientation);

cz_status cz_jpeg_decode(const cz_encoded *in, cz_picture *out, int *orientation);
cz_status cz_png_decode(const cz_encoded *in, cz_picture *out, int *orientation);
cz_status cz_tiff_decode(const cz_encoded *in, cz_picture *out, int *orientation);
cz_status cz_bmp_decode(const cz_encoded *in, cz_picture *out, int *orientation);
cz_status cz_pnm_decode(const cz_encoded *in, cz_picture *out, int *orientation);
/* Other formats, through libvips; CZ_E_UNSUPPORTED in a build without it. */
cz_status cz_vips_decode(const cz_encoded *in, cz_picture *out, int *orientation);

/* The whole table. Does not clear the error line; messages have no path. */
cz_status cz_picture_decode_bytes(const cz_encoded *in, cz_picture *out);

#endif
