/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Relational descriptors: how odd a patch is for its own image, in numbers that say nothing of what it shows and therefore mean the
 * same on another product.
 *
 * Nine kinds a tap, at the tap's own grid and over its valid cells x_i alone, [C]:
 *   0 root mean square over the channels of (x_i - m) / s, m the channel's median over the cells (of an even number the lower
 *     one), s the mean of |x - m| plus 1e-6;
 *   1 Euclidean distance to the vector m;
 *   2 Euclidean distance to the nearest cell that is far, i. e. more than `guard` cells away, max(|dy|, |dx|) > guard;
 *   3 mean of the distances to the 5 nearest far cells, 4 to the 20 nearest;
 *   5 mean of 1 - cosine over the 5 far cells of the largest cosine, not below 1e-6; beside a vector of norm 0 the cosine is 0;
 *   6 distance to the mean of its 3 x 3 neighbourhood (itself included; cells inside the map that are valid), 7 of 7 x 7;
 *   8 its norm.
 * guard is 3 in the first tap and max(2, ceil(3 w_t / w_0)) in the others. With fewer than 5 or 20 far cells the means are over those
 * that are there; with none, kinds 2 to 4 are kind 1's value and kind 5 is 1e-6. Three forms of each kind:
 *   0 v = log(max(value, 1e-6)); 1 v less its median over the image's cells (the lower one);
 *   2 v's rank among them / (n - 1) - 1/2, equal values in order of their cells; 0 where n = 1.
 * Coarser (or finer) taps' numbers are upsampled bilinearly (align_corners=False) to the first tap's grid; beside cells that are not
 * valid, the weights of the others are made to add up to 1.
 */
#ifndef CZ_FEATURES_RELATION_H
#define CZ_FEATURES_RELATION_H

#include "features/patch.h"
#include "util/status.h"

#include <stdint.h>

#define CZ_RELATION_KINDS ((size_t)9)
#define CZ_RELATION_FORMS ((size_t)3)

/* Holds its buffers: one run at a time. */
typedef struct cz_relation cz_relation;

/* The grid is that of the first tap. CZ_E_ARG for no tap, more than 64, or one of size 0; CZ_E_LIMIT past 2^20 cells a map. Memory:
 * about 4 bytes a value of the largest map and 1 KB a cell. */
cz_status cz_relation_create(const cz_tap_shape *taps, size_t count, cz_relation **out);
void cz_relation_destroy(cz_relation *r);
size_t cz_relation_width(const cz_relation *r); /* 27 a tap, [tap][form][kind] */
size_t cz_relation_grid_w(const cz_relation *r);
size_t cz_relation_grid_h(const cz_relation *r);
/* maps[t]: [h_t, w_t, C_t] bf16; valid: [P] of the first tap's grid, 0 or not, or NULL: all; a cell of another tap is valid when it
 * shares area with a valid one of the first. out: [P, width] F32; rows of patches that are not valid are 0. OpenMP; the same bits for
 * any thread count. CZ_E_DIVERGED where a valid cell holds a value that is not finite, or squares overflow; CZ_E_ARG inside an
 * OpenMP parallel region. After a failure `out` holds anything. */
cz_status cz_relation_run(cz_relation *r, const uint16_t *const *maps, const uint8_t *valid, float *out);

#endif
