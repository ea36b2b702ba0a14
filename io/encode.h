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

/* Memory of cz_alloc. */
cz_status cz_png_encode(const cz_image *image, const cz_png_text *texts, size_t count, char **out, size_t *size);

#endif
