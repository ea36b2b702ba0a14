/* SPDX-License-Identifier: Apache-2.0 */
/* What a cz_evaluation holds. */
#ifndef CZ_METRICS_EVALUATION_H
#define CZ_METRICS_EVALUATION_H

#include "cozad/cozad_eval.h"
#include "metrics/bootstrap.h"
#include "metrics/components.h"
#include "metrics/pixels.h"

/* Images of one category, or of all. */
typedef struct cz_images {
    char *name;
    size_t count, capacity, masks;
    double *score;      /* [count] */
    uint8_t *label;     /* [count] */
    cz_sketch **sketch; /* [count], an entry NULL: no pixels */
    cz_pixels pixels;
    bool computed; /* `figures` and `half` are of all images */
    cz_figures figures;
    double half[CZ_METRICS]; /* half widths of the intervals; NaN: none */
} cz_images;

struct cz_evaluation {
    cz_evaluation_options options;
    cz_images *categories;
    size_t count, capacity;
    cz_pixel_counter counter;
};

#endif
