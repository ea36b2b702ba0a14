/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fast inference: a composition leaky(M o + c), score = -w2 . that, applied to pooled taps. o's columns are one range a tap
 * and a later tap's are an upsampled coarser map; M is linear, so its column block is applied at that tap's own resolution
 * and the K-channel result upsampled instead: exact up to rounding, a quarter of the products for layer2 + layer3.
 */
#ifndef CZ_HEADS_COMPOSE_H
#define CZ_HEADS_COMPOSE_H

#include "features/patch.h"
#include "heads/head.h"

/* One owner at a time (it holds buffers). */
typedef struct cz_composed cz_composed;

/* `taps` are the shapes that `pooler` was created with; `max_images` images at once at the most; `threads` > 0, the
 * OpenMP count in force at every run. Neither argument is needed afterwards, except `pooler`. */
cz_status cz_composed_create(const cz_composition *composition, const cz_pooler *pooler, const cz_tap_shape *taps,
                             size_t max_images, size_t threads, cz_composed **out);
void cz_composed_destroy(cz_composed *c);
/* Pools tapped maps into the scorer's buffers; maps[t]: [images, h_t, w_t, C_t] F32. OpenMP. */
cz_status cz_composed_pool(cz_composed *c, const float *const *maps, size_t images, float scale);
/* Scores of what was pooled: scores [images, P]. OpenMP. */
cz_status cz_composed_scores(cz_composed *c, float *scores);
size_t cz_composed_memory(const cz_composed *c);

#endif
