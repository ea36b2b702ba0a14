/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fast inference: a composition leaky(M o + c), score = -w2 . that, applied to pooled taps. o's columns are one range a tap
 * and a later tap's are an upsampled coarser map; M is linear, so its column block is applied at that tap's own resolution
 * and the K-channel result upsampled instead: exact up to rounding, a quarter of the products for layer2 + layer3.
 * Some rows of the first tap's product are made at a time, and upsampling, c, LeakyReLU and the product with w2 go over them in
 * one pass: the K-channel map of the patches is never there as a whole.
 */
#ifndef CZ_HEADS_COMPOSE_H
#define CZ_HEADS_COMPOSE_H

#include "features/patch.h"
#include "heads/head.h"

/* One owner at a time (it holds buffers). */
typedef struct cz_composed cz_composed;

typedef struct cz_composed_options {
    const cz_tap_shape *taps; /* the shapes that the pooler was created with; not needed afterwards */
    size_t max_images;        /* at once, at the most */
    size_t threads;           /* > 0: the OpenMP count in force at every run */
    /* Of the matrix products; FP32_WINOGRAD means FP32. BF16: pooled features and M in bf16. INT8: M in 8 bits by column, pooled
     * features in 8 bits over each row's own range (docs/math/composed_head.md). Sums are F32 in all. */
    cz_precision precision;
} cz_composed_options;

/* `composition` is not needed afterwards; `pooler` is. */
cz_status cz_composed_create(const cz_composition *composition, const cz_pooler *pooler,
                             const cz_composed_options *options, cz_composed **out);
void cz_composed_destroy(cz_composed *c);
/* Pools tapped maps into the scorer's buffers; maps[t]: [images, h_t, w_t, C_t] bf16, as the backbone and the feature store give
 * them. OpenMP. */
cz_status cz_composed_pool(cz_composed *c, const uint16_t *const *maps, size_t images, float scale);
/* Scores of what was pooled: scores [images, P]. OpenMP. */
cz_status cz_composed_scores(cz_composed *c, float *scores);
size_t cz_composed_memory(const cz_composed *c);

#endif
