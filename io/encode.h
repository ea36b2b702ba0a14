/* SPDX-License-Identifier: Apache-2.0 */
/* PNG with text chunks, for heat maps. */
#ifndef CZ_IO_ENCODE_H
#define CZ_IO_ENCODE_H

#include "io/picture.h"

#define CZ_PNG_MAX_TEXTS 4

typedef struct cz_png_text {
    const char *keyword; /* at most 79 Latin-1 characters */
    const char *text;
} cz_png_text;

/* A map that is there, as a cz_map_source: the ctx of its `rows`, cz_whole_map_rows. */
typedef struct cz_whole_map {
    const float *map;
    size_t width;
} cz_whole_map;
cz_status cz_whole_map_rows(void *ctx, size_t first, size_t count, float *out);

/* A picture whose rows come one after the other: `row` fills the next one. GRAY8, GRAY16 or RGB8. */
typedef struct cz_png_rows {
    size_t width, height;
    cz_pixel_format format;
    cz_status (*row)(void *ctx, size_t y, uint8_t *out);
    void *ctx;
} cz_png_rows;
/* To a temporary file, renamed; `text` as below. Messages have the path. */
cz_status cz_png_write_rows(const char *path, const cz_png_rows *rows, const cz_png_text *texts, size_t count);

/* Memory of cz_alloc. */
cz_status cz_png_encode(const cz_image *image, const cz_png_text *texts, size_t count, char **out, size_t *size);

#endif
