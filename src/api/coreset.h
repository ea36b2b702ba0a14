/* SPDX-License-Identifier: Apache-2.0 */
/* Greedy k-centre selection (Sener and Savarese 2018, as PatchCore uses it, Roth et al. 2022): each next point is the one that
 * is farthest from all that were taken before. */
#ifndef CZ_API_CORESET_H
#define CZ_API_CORESET_H

#include "util/status.h"

typedef struct cz_coreset_options {
    const float *points; /* [count, width], finite */
    size_t count, width;
    size_t wanted; /* 1 … count */
    size_t first;  /* < count: the point to begin with */
    /* Called now and then; anything but CZ_OK ends the selection with that status. NULL: none. */
    cz_status (*report)(void *ctx, size_t done, size_t total);
    void *ctx;
} cz_coreset_options;

/* picks: [wanted], in the order in which they were taken; of points that are equally far the one of the lowest index. *picked
 * is `wanted`, or less where every point left over equals one that was taken. One thread. */
cz_status cz_coreset_pick(const cz_coreset_options *options, size_t *picks, size_t *picked);

#endif
