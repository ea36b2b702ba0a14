/* SPDX-License-Identifier: Apache-2.0 */
/* The composed head after its matrix products: c, later taps upsampled, LeakyReLU and the product with w2 in one pass over
 * some rows of patches. And pooled features into 8 bits. */
#ifndef CZ_HEADS_COMPOSE_PASS_H
#define CZ_HEADS_COMPOSE_PASS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CZ_COMPOSE_MAX_TAPS = 8 };

/* Bilinear neighbours along one axis, align_corners=False: (1 - t) * low + t * high. */
typedef struct cz_axis_step {
    size_t low, high;
    float t;
} cz_axis_step;

typedef struct cz_compose_later {
    const float *product;      /* [h, w, K] */
    size_t width;              /* w */
    const cz_axis_step *y, *x; /* [grid_h], [grid_w] */
    const float *steps;        /* [h, w] what the product is multiplied by; NULL: 1 */
} cz_compose_later;

typedef struct cz_compose_pass {
    size_t hidden, width;     /* K; patches of a row */
    float slope;              /* of LeakyReLU, at most 1 */
    const float *c, *w2;      /* [K] */
    const float *first;       /* [rows, width, K] product of the first tap */
    const float *first_steps; /* [rows, width] what it is multiplied by; NULL: 1 */
    size_t later;
    cz_compose_later taps[CZ_COMPOSE_MAX_TAPS - 1];
} cz_compose_pass;

/* Scores [rows, width] of grid rows y … y + rows - 1, which pass->first holds. OpenMP; the same bits for any thread count. */
void cz_compose_rows(const cz_compose_pass *pass, size_t y, size_t rows, float *scores);

/* in: [rows, count] bf16; out = round(value / steps[row]) to nearest even, steps[row] = the row's largest / 255. False, and nothing
 * of worth is written, when a value is negative or not finite. OpenMP. */
bool cz_compose_quantise_rows(const uint16_t *in, size_t rows, size_t count, float *steps, uint8_t *out);
/* Smallest and largest of n bf16 values and 0; not finite when a value is not. OpenMP. */
void cz_compose_range(const uint16_t *values, size_t n, float range[2]);
/* out = round(value * inverse + zero) to nearest even, within 0 … 255. OpenMP. */
void cz_compose_quantise(const uint16_t *values, size_t n, float inverse, float zero, uint8_t *out);

#endif
