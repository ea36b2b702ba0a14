/* SPDX-License-Identifier: Apache-2.0 */
/* What a defect is filled with. */
#ifndef CZ_NEGATIVES_DEFECT_FILL_H
#define CZ_NEGATIVES_DEFECT_FILL_H

#include "negatives/defect_shape.h"

typedef struct cz_defect_photo {
    const uint8_t *rgb; /* [height, width, 3] */
    size_t height, width;
    bool grey; /* R = G = B everywhere: fillings are grey too */
} cz_defect_photo;

typedef struct cz_defect_fill {
    cz_defect_filling kind;
    const cz_defect_photo *photo;
    size_t x, y, width, height; /* the window that is filled */
    uint8_t *texture;           /* [height, width, 3] */
    size_t shift_x, shift_y;
    unsigned turns;    /* quarter turns, counterclockwise */
    float colour[3];   /* 0 … 255 and beyond */
    float gain, level; /* of tone and blur: value * gain + level */
    float grain_std;
    cz_rng grain;
    float *grain_row; /* [width] */
    float *blurred;   /* [.., blurred_width, 3], from (blurred_x, blurred_y) on */
    size_t blurred_x, blurred_y, blurred_width;
} cz_defect_fill;

/* Draws a filling for the mask's window. CZ_E_MEMORY. Keeps `photo`. */
cz_status cz_defect_fill_create(const cz_defect_try *attempt, const cz_defect_options *options,
                                const cz_defect_photo *photo, const cz_soft_mask *mask, cz_defect_fill *out);
/* Row `row` of the window. out: [width, 3], not clamped */
void cz_defect_fill_row(const cz_defect_fill *fill, size_t row, float *out);
void cz_defect_fill_free(cz_defect_fill *fill);

#endif
