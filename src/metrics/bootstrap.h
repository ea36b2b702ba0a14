/* SPDX-License-Identifier: Apache-2.0 */
/* Intervals by resampling images within each label (docs/metrics.md section 5). */
#ifndef CZ_METRICS_BOOTSTRAP_H
#define CZ_METRICS_BOOTSTRAP_H

#include "cozad/cozad_eval.h"
#include "metrics/bins.h"
#include "metrics/ranks.h"

/* What is kept of an image's pixels: at most about 300 + 256 clusters of neighbouring scores, each with the mean number
 * of its bins (metrics/bins.h). */
typedef struct cz_cluster {
    uint32_t bin;
    float weight; /* pixels */
} cz_cluster;
typedef struct cz_sketch {
    uint32_t normal_count, defect_count;
    cz_cluster *normal; /* [normal_count]; the block of the sketch itself */
    cz_cluster *defect; /* [defect_count] */
    float *overlap;     /* [defect_count] of per-region overlap */
} cz_sketch;
/* From the bins of one image; cz_free. */
cz_status cz_sketch_make(const cz_bins *image, cz_sketch **out);

typedef struct cz_bootstrap {
    const cz_ranks *ranks;            /* of all images */
    const cz_sketch *const *sketches; /* [ranks->count], NULL: no pixels; NULL: none of any */
    const cz_bins *bins;              /* their sum; NULL without sketches */
    size_t resamples;
    uint64_t seed;
    uint32_t task; /* number of the stream, below 2^24: different for every set of images */
} cz_bootstrap;

/* coarse [CZ_METRICS]: the metrics of all images as the resamples see them; replicates [resamples, CZ_METRICS]. NaN:
 * undefined. Does not depend on the thread count. OpenMP. */
cz_status cz_bootstrap_run(const cz_bootstrap *b, double *coarse, double *replicates);

/* Half of a 95 % interval: the standard deviation of the replicates (NaN when less than half of them are defined), times
 * Student's t for 2 (n - 1) degrees of freedom; n: images of the smaller label. */
void cz_bootstrap_half_widths(const double *replicates, size_t resamples, size_t normal, size_t anomalous,
                              double half[CZ_METRICS]);
/* value -+ half, as far as the first order goes, on the scale of log(v / (1 - v)), so that it stays within 0 and 1. NaN at
 * 0 and 1, where resampling says nothing. */
void cz_logit_interval(double value, double half, double *low, double *high);

/* Which images the r-th resample takes: times [count], how often each; images are drawn with replacement from those of
 * each label. members [count]: the normal ones, then the anomalous ones. */
void cz_resample(const uint32_t *members, size_t normal, size_t anomalous, uint64_t seed, uint64_t r, uint32_t task,
                 uint32_t *times);
/* members as above. */
void cz_resample_members(const uint8_t *labels, size_t count, uint32_t *members);

/* The 2.5 % and 97.5 % quantiles of values [count] that are not NaN (linear between order statistics), which are
 * reordered; NaN both when less than half are defined. */
void cz_percentile_interval(double *values, size_t count, double *low, double *high);

#endif
