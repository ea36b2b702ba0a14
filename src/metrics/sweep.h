/* SPDX-License-Identifier: Apache-2.0 */
/* One pass over groups of scores, the highest first, that gives AUROC, average precision, the largest F1 and the area
 * under the per-region-overlap curve, each with how far the exact value can be (docs/metrics.md section 3). */
#ifndef CZ_METRICS_SWEEP_H
#define CZ_METRICS_SWEEP_H

#include <stdbool.h>

/* All samples between two neighbouring thresholds. */
typedef struct cz_group {
    double low, high; /* the lowest and highest score that may be in it; equal unless mixed */
    double normal, anomalous;
    double overlap; /* sum of 1 / area of the region each anomalous sample is of; 0 for images */
    bool mixed;     /* several different scores whose order is not known */
} cz_group;

/* Sums of very many small terms: Neumaier's, so that 1e8 pixels do not add up their roundings. */
typedef struct cz_sum {
    double sum, rest;
} cz_sum;
void cz_sum_add(cz_sum *s, double term);
double cz_sum_value(const cz_sum *s);

enum { CZ_SWEEP_LIMITS = 2 };

typedef struct cz_sweep {
    double normal, anomalous, regions;    /* totals, known beforehand */
    double above_normal, above_anomalous; /* so far */
    cz_sum above_overlap;                 /* so far */
    cz_sum wins, shared;                  /* AUROC: pairs ranked right, ties half; pairs within mixed groups */
    cz_sum precision_low, precision_high; /* average precision, times `anomalous` */
    double f1, f1_threshold, f1_bound;    /* best so far at a group's end; best that may lie inside a group */
    double limit[CZ_SWEEP_LIMITS];        /* false-positive rates */
    cz_sum area[CZ_SWEEP_LIMITS], area_error[CZ_SWEEP_LIMITS];
} cz_sweep;

/* regions: 0 when there is no per-region overlap to compute. */
void cz_sweep_begin(cz_sweep *s, double normal, double anomalous, double regions);
void cz_sweep_add(cz_sweep *s, const cz_group *g);

typedef struct cz_sweep_values {
    double auroc, ap, f1, f1_threshold, aupro[CZ_SWEEP_LIMITS];
    double auroc_bound, ap_bound, f1_bound, aupro_bound[CZ_SWEEP_LIMITS];
} cz_sweep_values;
/* NaN: undefined, a class (or every region) is absent. The bounds leave out rounding, below 1e-12. */
void cz_sweep_end(const cz_sweep *s, cz_sweep_values *out);

#endif
