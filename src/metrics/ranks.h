/* SPDX-License-Identifier: Apache-2.0 */
/* Labelled scores of images, sorted once into groups of equal ones; metrics of them and of weighted copies. */
#ifndef CZ_METRICS_RANKS_H
#define CZ_METRICS_RANKS_H

#include "metrics/sweep.h"
#include "util/status.h"

typedef struct cz_ranks {
    size_t count, groups, normal, anomalous;
    uint32_t *group; /* [count] of each image; 0 has the highest score */
    uint8_t *label;  /* [count] 0, 1 */
    double *score;   /* [groups] */
    double *each;    /* [groups, 2] how many normal and anomalous ones */
} cz_ranks;

/* A score that is NaN is CZ_E_ARG; infinite ones are ordered like others. labels: 0 or not. */
cz_status cz_ranks_open(cz_ranks *r, const double *scores, const uint8_t *labels, size_t count);
void cz_ranks_close(cz_ranks *r);
void cz_ranks_values(const cz_ranks *r, cz_sweep_values *out);
/* times [count]: how often each image counts; work: [2 groups]. */
void cz_ranks_weighted(const cz_ranks *r, const uint32_t *times, double *work, cz_sweep_values *out);

#endif
