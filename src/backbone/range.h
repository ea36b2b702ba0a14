/* SPDX-License-Identifier: Apache-2.0 */
/* The range that 8 bits of one activation should stand for, from a histogram of magnitudes (docs/precision.md). */
#ifndef CZ_BACKBONE_RANGE_H
#define CZ_BACKBONE_RANGE_H

#include "util/status.h"

#define CZ_RANGE_BINS 4096

/* Magnitudes seen: exact zeros apart, the others in bins of equal width from 0 to `top`. In which order and in what portions they
 * came makes no difference. All zero to begin with. */
typedef struct cz_range {
    float largest;
    float top; /* the power of two above `largest`; 0: nothing but zeros so far */
    uint64_t total, zeros;
    uint64_t bins[CZ_RANGE_BINS];
} cz_range;

/* CZ_E_WEIGHTS for a value that is not finite or beyond 1e30; then nothing was added. */
cz_status cz_range_add(cz_range *r, const float *values, size_t count);
/* The largest value that `levels` steps from 0 should reach so that rounding and cutting off lose least together: mean squared error
 * with each bin's values spread evenly over it. 1 where there are only zeros. */
float cz_range_least_error(const cz_range *r, size_t levels);
/* At or above `share` (0 … 1) of all magnitudes, zeros included; to the width of a bin. 1 where there are only zeros. */
float cz_range_share(const cz_range *r, double share);

#endif
