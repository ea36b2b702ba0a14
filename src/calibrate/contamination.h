/* SPDX-License-Identifier: Apache-2.0 */
/* How many of a set of photos stand apart from the others, by one score each (docs/inspect.md). */
#ifndef CZ_CALIBRATE_CONTAMINATION_H
#define CZ_CALIBRATE_CONTAMINATION_H

#include "util/status.h"

/* Quartiles of fewer scores say nothing about the rest. */
#define CZ_CONTAMINATION_LEAST ((size_t)12)
/* Shares above cannot be told from the bulk. */
#define CZ_CONTAMINATION_MOST 0.5

typedef struct cz_contamination {
    double rate;   /* share of scores above the limit, at most CZ_CONTAMINATION_MOST */
    double limit;  /* Q3 + 2 (Q3 - Q1) of what is taken for clean */
    size_t beyond; /* scores above it */
} cz_contamination;

/* scores [n] ascending and finite, n > 0. With a share e on top set aside, the clean quartiles are the quantiles (1 - e) / 4 and
 * 3 (1 - e) / 4 of all; e falls from 1/2 to the largest share that its own limit confirms. Where scores have no spread, or n is
 * below CZ_CONTAMINATION_LEAST: rate 0, limit infinite. */
cz_contamination cz_contamination_estimate(const float *scores, size_t n);

#endif
