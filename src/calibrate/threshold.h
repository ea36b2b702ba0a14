/* SPDX-License-Identifier: Apache-2.0 */
/* Thresholds on image scores; an image is anomalous when its score is above (docs/calibration.md). All arrays ascending and finite. */
#ifndef CZ_CALIBRATE_THRESHOLD_H
#define CZ_CALIBRATE_THRESHOLD_H

#include "util/status.h"

/* P(X <= k) of X ~ Binomial(n, p), 0 <= p <= 1; relative error below 1e-9 for n up to 10^6. */
double cz_binomial_cdf(size_t k, size_t n, double p);
/* The fewest scores with which the largest one promises `target`: the smallest n with (1 - target)^n <= 1 - confidence. SIZE_MAX
 * where that is beyond 2^52. */
size_t cz_threshold_needed(double target, double confidence);
/* The p with P(Binomial(n, p) <= above) = 1 - confidence: with `above` of n scores above the threshold, the false-positive rate is at
 * most that, with that confidence. above < n. */
double cz_threshold_promise(size_t above, size_t n, double confidence);

typedef struct cz_order_threshold {
    double value;
    size_t order;   /* it is the order-th smallest score */
    double promise; /* above `target` where n is below `needed` */
    size_t needed;
} cz_order_threshold;
/* The smallest of scores [n] whose promise is at most `target`; the largest score when none is. CZ_E_ARG unless n > 0 and target and
 * confidence lie strictly between 0 and 1. */
cz_status cz_threshold_fpr(const float *scores, size_t n, double target, double confidence, cz_order_threshold *out);

/* Scores of unlabelled images, of which at most `discounted` show a defect (docs/calibration.md). The threshold is that of
 * cz_threshold_fpr for the n - discounted lowest. */
typedef struct cz_unlabelled_threshold {
    double value;
    size_t order, discounted;
    double
        separated; /* with the confidence asked for, the rate is at most this if the `discounted` highest are the defective ones */
    double promise; /* and at most this whatever the defective ones score */
    size_t needed;  /* the fewest images for `separated` to reach the target */
} cz_unlabelled_threshold;
/* discounted = floor(contamination n). CZ_E_ARG as cz_threshold_fpr, and unless 0 <= contamination <= 1/2. */
cz_status cz_threshold_unlabelled(const float *scores, size_t n, double contamination, double target, double confidence,
                                  cz_unlabelled_threshold *out);
/* Quantile by linear interpolation between order statistics, position q (n - 1). n > 0, 0 <= q <= 1. */
double cz_quantile(const float *scores, size_t n, double q);
/* Q3 + 1.5 (Q3 - Q1). n > 0. */
double cz_threshold_iqr(const float *scores, size_t n);

typedef struct cz_labelled_scores {
    const float *normal, *abnormal; /* [normals], [abnormals] */
    size_t normals, abnormals;
} cz_labelled_scores;
/* Largest F1 = 2 TP / (2 TP + FP + FN); of several thresholds the highest. Between two scores it lies in their middle. *f1 may be NULL. */
cz_status cz_threshold_f1(const cz_labelled_scores *scores, double *threshold, double *f1);
/* Smallest miss * FN + alarm * FP; of several thresholds the highest. */
cz_status cz_threshold_cost(const cz_labelled_scores *scores, double miss, double alarm, double *threshold,
                            double *cost);

#endif
