/* SPDX-License-Identifier: Apache-2.0 */
/* What the decoders share: size limits, allocation of pictures, turning them upright, and small pixel arithmetic. */
#ifndef CZ_IO_PICTURE_H
#define CZ_IO_PICTURE_H

#include "cozad/cozad_io.h"
#include "util/status.h"

#include <stdbool.h>

#define CZ_DEFAULT_MAX_PIXELS ((uint64_t)1 << 28)
#define CZ_DEFAULT_MAX_BYTES  ((uint64_t)1 << 30)

/* Bytes of one pixel; 0 for a value that is no format. */
size_t cz_pixel_size(cz_pixel_format format);
/* CZ_E_ARG unless there are pixels, a known format and a stride that holds a row. */
cz_status cz_image_check(const cz_image *image);
/* CZ_E_FORMAT for an empty picture, CZ_E_LIMIT for more than `max_pixels`. */
cz_status cz_picture_check_size(uint64_t width, uint64_t height, uint64_t max_pixels);
/* Uncleared pixels without padding between rows. */
cz_status cz_picture_alloc(size_t width, size_t height, cz_pixel_format format, cz_picture *out);
/* First byte of row y of a picture made by cz_picture_alloc. */
uint8_t *cz_picture_row(const cz_picture *picture, size_t y);
/* Turns a picture stored with EXIF orientation 1…8 upright; other values are 1. The picture stays valid on failure. */
cz_status cz_picture_upright(cz_picture *picture, int orientation);
/* Row y of any format as RGB8; rgb: [width, 3] */
void cz_image_row_rgb(const cz_image *image, size_t y, uint8_t *rgb);

/* Orientation 1…8 of a TIFF structure as EXIF stores it; 1 when there is none or when it is damaged. */
int cz_exif_orientation(const uint8_t *tiff, size_t size);

/* v * 255 / 65535, rounded */
static inline uint8_t cz_to8(unsigned v)
{
    return (uint8_t)((v * 255u + 32767u) / 65535u);
}

/* A value of opacity `alpha` over white, rounded. */
static inline uint8_t cz_white8(unsigned v, unsigned alpha)
{
    return (uint8_t)((v * alpha + 255u * (255u - alpha) + 127u) / 255u);
}

static inline uint16_t cz_white16(uint64_t v, uint64_t alpha)
{
    return (uint16_t)((v * alpha + 65535u * (65535u - alpha) + 32767u) / 65535u);
}

/* a * b / 255, rounded as Pillow rounds it (its CMYK conversion is built on this) */
static inline unsigned cz_muldiv255(unsigned a, unsigned b)
{
    unsigned t = a * b + 128;
    return (t + (t >> 8)) >> 8;
}

/* ink: amounts of cyan, magenta, yellow, black (255: full) */
static inline void cz_cmyk_to_rgb(const uint8_t ink[4], uint8_t rgb[3])
{
    unsigned paper = 255u - ink[3];
    for (int c = 0; c < 3; c++) rgb[c] = (uint8_t)(paper - cz_muldiv255(ink[c], paper));
}

#endif
