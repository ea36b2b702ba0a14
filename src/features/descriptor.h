/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One descriptor of a whole image, as DifferNet makes one: means of its patch features over the grid and over the quarters of a
 * 2 x 2 division, [whole, upper left, upper right, lower left, lower right][D]. The columns of a tap are means of that tap at its
 * own scale: an upsampled map has the mean that it had before (for whole factors, up to rounding).
 */
#ifndef CZ_FEATURES_DESCRIPTOR_H
#define CZ_FEATURES_DESCRIPTOR_H

#include "util/status.h"

#include <stdbool.h>
#include <stddef.h>

/* 5 D */
size_t cz_descriptor_width(size_t width);

typedef struct cz_descriptor cz_descriptor;
cz_status cz_descriptor_create(size_t width, size_t grid_w, size_t grid_h, cz_descriptor **out);
void cz_descriptor_destroy(cz_descriptor *d);
void cz_descriptor_begin(cz_descriptor *d);
/* Patches of the grid in any number of calls: features [count, D], rows [count] their places. OpenMP; the same bits for any
 * thread count. */
void cz_descriptor_add(cz_descriptor *d, const float *features, const size_t *rows, size_t count);
/* out: [5 D]. A quarter without patches has the whole's mean; false without any patch at all. */
bool cz_descriptor_end(const cz_descriptor *d, float *out);

#endif
