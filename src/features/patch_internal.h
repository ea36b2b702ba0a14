/* SPDX-License-Identifier: Apache-2.0 */
/* What patch.c (the plan, upsampling, all taps together) and patch_pool.c (one tap's pooling) share. */
#ifndef CZ_FEATURES_PATCH_INTERNAL_H
#define CZ_FEATURES_PATCH_INTERNAL_H

#include "features/patch.h"

/* Channels of a tile of the fast form: with 8 columns and 3 rows it stays in the first-level cache. */
#define CZ_POOL_CHANNELS 256

typedef struct cz_tap_plan {
    cz_tap_shape shape;
    size_t cells;        /* of a neighbourhood: 9, or 1 */
    size_t first, count; /* columns of D */
    /* General form: output i = sum over f < span of weight[f, i] * (channel, ky, kx) number start[i] + f.
     * Windows are up to `span` long, shorter ones have weights of 0. */
    size_t span;
    float *weight;  /* [span, count] */
    int32_t *place; /* [span, count] (3 ky + kx) * C + c of each; both NULL in the fast form */
    /* Fast form: output i = rows i*run … i*run + run - 1 of (c, ky), each weighted by kernel over kx. 0: not possible. */
    size_t run;
    float kernel[3];
    float *zeros; /* [C] of either type: stands for what lies outside the map */
} cz_tap_plan;

/* A map [h, w, C] of one tap. */
typedef struct cz_pool_from {
    const void *values;
    bool bf16; /* else F32 */
} cz_pool_from;

/* Rows of `count` outputs, `stride` values apart. */
typedef struct cz_pool_to {
    void *values;
    size_t stride;
    bool bf16;      /* else F32 */
    bool own_order; /* cz_pooler_order's, else that of the columns */
} cz_pool_to;

/* Every pixel of a map. OpenMP. */
void cz_pool_map(const cz_tap_plan *t, cz_pool_from from, float scale, cz_pool_to to);
/* One pixel to row `index`, the same bits. */
void cz_pool_pixel(const cz_tap_plan *t, cz_pool_from from, float scale, size_t index, cz_pool_to to);

/* cz_pooler_order */
void cz_pool_order(const cz_tap_plan *t, size_t *order);

#endif
