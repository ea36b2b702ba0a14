/* SPDX-License-Identifier: Apache-2.0 */
/* Synthetic defects in image space: a photo of a good part gets a drawn flaw, so that a detector has something to tell
 * apart from normal. A shape (spots of noise, a scratch, ellipses, a rectangle) is filled with a texture, a shifted
 * copy of the photo, a colour, a change of tone or a blur, and blended in. */
#ifndef CZ_NEGATIVES_DEFECT_H
#define CZ_NEGATIVES_DEFECT_H

#include "util/status.h"

#include <stdbool.h>

#define CZ_DEFECT_MIN_SIDE 16
#define CZ_DEFECT_MAX_SIDE 16384

typedef enum cz_defect_shape {
    CZ_DEFECT_SPOTS,     /* the peaks of fractal noise inside a disc */
    CZ_DEFECT_SCRATCH,   /* a line whose direction turns slowly */
    CZ_DEFECT_ELLIPSES,  /* 1 to 4 near each other */
    CZ_DEFECT_RECTANGLE, /* turned by any angle */
    CZ_DEFECT_SHAPES
} cz_defect_shape;

typedef enum cz_defect_filling {
    CZ_DEFECT_TEXTURE, /* another picture, scaled to the size of this one */
    CZ_DEFECT_SHIFTED, /* this picture shifted, its sides joined, and half of the time turned */
    CZ_DEFECT_COLOUR,  /* one colour, mostly a grey, with noise */
    CZ_DEFECT_TONE,    /* darker, or paler and lighter */
    CZ_DEFECT_BLUR,
    CZ_DEFECT_FILLINGS
} cz_defect_filling;

typedef struct cz_defect_options {
    uint64_t seed;
    uint64_t index;         /* number of the photo, below 2^48; the same seed and index draw the same defect */
    const uint8_t *texture; /* [texture_height, texture_width, 3] RGB, or NULL: CZ_DEFECT_TEXTURE is not drawn */
    size_t texture_height, texture_width; /* 1 … 65535 */
} cz_defect_options;

typedef struct cz_defect {
    bool changed; /* false: nothing visible came out of 20 tries; the other members are 0 */
    cz_defect_shape shape;
    cz_defect_filling filling;
    unsigned attempt;           /* 0 … 19: the try that was taken */
    size_t x, y, width, height; /* pixels outside this box are as they were */
    size_t area;                /* pixels that are 255 in the mask */
} cz_defect;

/* Puts one drawn defect on an RGB picture.
 * height, width: CZ_DEFECT_MIN_SIDE … CZ_DEFECT_MAX_SIDE. The size of a defect grows with sqrt(height * width).
 * rgb: [height, width, 3], changed in place. A picture of grey pixels only (R = G = B) stays one.
 * mask: [height, width] becomes 255 where the shape covers a pixel by more than 0.3 and one of its channels changed by
 *   more than 6 levels, else 0. There are at least 6 such pixels and they changed by more than 10 levels on average;
 *   around and between them pixels may have changed less, those that the shape does not cover did not.
 * out: what was drawn.
 * The same bytes whatever the number of threads. Takes 10 to 40 bytes of memory for every pixel of the defect's box.
 * CZ_E_ARG (sizes, index), CZ_E_MEMORY: rgb, mask and out are as they were. */
cz_status cz_defect_draw(const cz_defect_options *options, size_t height, size_t width, uint8_t *rgb, uint8_t *mask,
                         cz_defect *out);

#endif
