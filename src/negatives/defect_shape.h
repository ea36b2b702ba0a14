/* SPDX-License-Identifier: Apache-2.0 */
/* Where a defect is: soft masks of random shape. */
#ifndef CZ_NEGATIVES_DEFECT_SHAPE_H
#define CZ_NEGATIVES_DEFECT_SHAPE_H

#include "negatives/defect.h"
#include "util/rng.h"

/* Each try has streams of its own, so that what one part draws does not depend on how much another drew. */
typedef enum cz_defect_stream {
    CZ_DEFECT_STREAM_SHAPE,
    CZ_DEFECT_STREAM_LATTICE, /* of the noise behind spots */
    CZ_DEFECT_STREAM_FILLING,
    CZ_DEFECT_STREAM_OPACITY,
    CZ_DEFECT_STREAM_GRAIN, /* noise of a colour */
    CZ_DEFECT_STREAMS
} cz_defect_stream;

typedef struct cz_defect_try {
    uint64_t seed, index;
    unsigned attempt;
} cz_defect_try;

void cz_defect_rng(const cz_defect_try *attempt, cz_defect_stream stream, cz_rng *out);

/* A window of the picture and how much of each of its pixels the shape covers; outside of it nothing is covered. */
typedef struct cz_soft_mask {
    size_t picture_height, picture_width;
    size_t x, y, width, height; /* 0 by 0 where the shape lies outside of the picture */
    float *value;               /* [height, width], 0 … 1 */
} cz_soft_mask;

/* The shape of one try on a picture of this size. CZ_E_MEMORY */
cz_status cz_defect_shape_draw(const cz_defect_try *attempt, size_t height, size_t width, cz_defect_shape *shape,
                               cz_soft_mask *out);
void cz_soft_mask_free(cz_soft_mask *mask);

/* Sets the window to the pixels that the rectangle with these corners (x0, y0, x1, y1) touches, `margin` pixels larger
 * on every side, cut at the picture's edge; values are 0. CZ_E_MEMORY */
cz_status cz_soft_mask_window(cz_soft_mask *mask, const double corners[4], double margin);

/* defect_noise.c: spots. `rng` is the stream of shapes. CZ_E_MEMORY, with what to free in `mask` */
cz_status cz_defect_spots(const cz_defect_try *attempt, cz_rng *rng, double margin, cz_soft_mask *mask);

/* sqrt(height * width) */
double cz_soft_mask_side(const cz_soft_mask *mask);
/* [low, high) */
double cz_defect_between(cz_rng *rng, double low, double high);

#endif
