/* SPDX-License-Identifier: Apache-2.0 */
/* CoZAD, image files in and out: reading what cameras, phones and microscopes write; heat maps and overlays.
 * The conventions of cozad.h hold. */
#ifndef COZAD_COZAD_IO_H
#define COZAD_COZAD_IO_H

#include "cozad/cozad.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Several lines: versions of the image libraries. Belongs to the calling thread. */
CZ_API const char *cz_io_build_info(void);

/* Pixels owned by this struct; `image` points into them. Release with cz_picture_free. */
typedef struct cz_picture {
    cz_image image; /* GRAY8, GRAY16 or RGB8, upright (EXIF orientation applied) */
    void *pixels;
} cz_picture;

typedef struct cz_read_options {
    size_t struct_size;
    uint64_t max_pixels; /* larger images are CZ_E_LIMIT before any pixel is decoded; 0: 2^28 (16384 x 16384) */
    uint64_t max_bytes;  /* of the file; 0: 2^30 */
} cz_read_options;
#define CZ_READ_OPTIONS_INIT                                                                                           \
    {                                                                                                                  \
        sizeof(cz_read_options), 0, 0                                                                                  \
    }

/* JPEG (also CMYK, progressive), PNG (palette, alpha, 16-bit), TIFF, BMP, PNM; by content, whatever the name says. Alpha is
 * composited on white. A truncated or damaged file is CZ_E_FORMAT, never a partial picture. Messages begin with the path. */
CZ_API cz_status cz_picture_read(const char *path, const cz_read_options *options, cz_picture *out);
CZ_API cz_status cz_picture_decode(const void *bytes, size_t size, const cz_read_options *options, cz_picture *out);
CZ_API void cz_picture_free(cz_picture *picture);
/* A mask: GRAY8 with 0 and 255. Any format; a pixel is set where its value is above half of the largest value in the file
 * (masks in the wild are 0/1, 0/253, 0/255 or soft). */
CZ_API cz_status cz_picture_read_mask(const char *path, const cz_read_options *options, cz_picture *out);
/* True for the file name extensions that folders are searched for (jpg jpeg png tif tiff bmp pgm ppm pnm webp …). */
CZ_API int cz_picture_is_name(const char *path);

/* Writes PNG by the extension .png, JPEG by .jpg/.jpeg (quality 92), atomically. */
CZ_API cz_status cz_picture_write(const char *path, const cz_image *image);
/* PNG bytes in memory; free with cz_string_free. */
CZ_API cz_status cz_picture_encode_png(const cz_image *image, char **out, size_t *size);
/* JPEG bytes in memory, quality 1…100; free with cz_string_free. */
CZ_API cz_status cz_picture_encode_jpeg(const cz_image *image, int quality, char **out, size_t *size);

/* A map whose rows are made when they are asked for, so that it need not fit in memory: `rows` fills out [count, width] with rows
 * [first, first + count); it may be asked for any row more than once. cz_session_map_rows makes such rows. */
typedef struct cz_map_source {
    size_t width, height;
    cz_status (*rows)(void *ctx, size_t first, size_t count, float *out);
    void *ctx;
} cz_map_source;

/* A heat map as 16-bit gray PNG: value = low + gray / 65535 * (high - low); NaN is 0. low and high are written as text
 * chunks "cozad:low" and "cozad:high" (%.9g). */
CZ_API cz_status cz_heatmap_write(const char *path, const float *map, size_t width, size_t height, double low,
                                  double high);
CZ_API cz_status cz_heatmap_write_rows(const char *path, const cz_map_source *map, double low, double high);
/* Reads one back; free `*map` with cz_string_free. */
CZ_API cz_status cz_heatmap_read(const char *path, float **map, size_t *width, size_t *height);
/* Score maps as TIFF with one 32-bit float a pixel, as MVTec's evaluation code reads them; NaN stays NaN. Written atomically. */
CZ_API cz_status cz_map_write_tiff(const char *path, const float *map, size_t width, size_t height);
/* One floating-point sample of 32 or 64 bits a pixel, in strips; free `*map` with cz_string_free. */
CZ_API cz_status cz_map_read_tiff(const char *path, float **map, size_t *width, size_t *height);
/* The photo with the map over it (colours of increasing brightness, transparent at `low`, the same for all images of one
 * low, high); NaN leaves the photo as it is, darkened. Result RGB8 of the photo's size; map: [height, width] of the photo. */
CZ_API cz_status cz_overlay(const cz_image *photo, const float *map, double low, double high, cz_picture *out);
/* The same as a PNG file, written row by row; memory for some rows. The map has the photo's size. */
CZ_API cz_status cz_overlay_write(const char *path, const cz_image *photo, const cz_map_source *map, double low,
                                  double high);
/* cz_picture_thumbnail of the overlay, without making the whole. */
CZ_API cz_status cz_overlay_thumbnail(const cz_image *photo, const cz_map_source *map, double low, double high,
                                      size_t longest, cz_picture *out);
/* Colour of the scale at t in [0, 1], for legends. */
CZ_API void cz_overlay_colour(double t, uint8_t rgb[3]);
/* Shrinks so that neither side is longer than `longest` (area mean); an already small image is copied. RGB8 or GRAY8. */
CZ_API cz_status cz_picture_thumbnail(const cz_image *image, size_t longest, cz_picture *out);

#ifdef __cplusplus
}
#endif
#endif
