/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Data uncertainty (docs/math.md section 4, paper Eq. 5 and 6): how much a sample is trusted, from its anomaly score
 * against the quartiles of recent scores of its own category.
 */
#ifndef CZ_LOSSES_SOFT_CONFIDENT_H
#define CZ_LOSSES_SOFT_CONFIDENT_H

#include "util/status.h"

#include <stdbool.h>
#include <stddef.h>

typedef enum cz_weight_anchor {
    CZ_ANCHOR_MEDIAN = 0,
    CZ_ANCHOR_MIN = 1,
    CZ_ANCHOR_NONE = 2 /* Eq. 5 as printed */
} cz_weight_anchor;

typedef struct cz_confidence_options {
    double kappa; /* of Eq. 6, 1.5 */
    double floor; /* w_min, 1e-3; within (0, 1] */
    cz_weight_anchor anchor;
    bool hard; /* w = 1 where a <= tau, else 0, whatever the anchor: the "hard CL" row of Table 4 */
} cz_confidence_options;
void cz_confidence_options_init(cz_confidence_options *options);

/* Order statistics of a set of scores, interpolated linearly between neighbours (as numpy.percentile does). */
typedef struct cz_spread {
    double least, q1, median, q3;
} cz_spread;

/* The most recent scores of one category, oldest dropped first. */
typedef struct cz_score_window cz_score_window;
cz_status cz_score_window_create(size_t capacity, cz_score_window **out);
void cz_score_window_destroy(cz_score_window *window);
/* `images`: how many images these scores come from. */
void cz_score_window_push(cz_score_window *window, const float *scores, size_t count, size_t images);
size_t cz_score_window_count(const cz_score_window *window); /* scores held, at most the capacity */
size_t cz_score_window_capacity(const cz_score_window *window);
size_t cz_score_window_images(const cz_score_window *window); /* pushed ever, evicted ones included */
/* Oldest first; out: [count]. Together with push this restores a window (checkpoints). */
void cz_score_window_values(const cz_score_window *window, float *out);

/* Spread of the window and `own` [count] together; the scores held are not changed, but a scratch of the window's is used:
 * one thread at a time. CZ_E_ARG when both are empty or a score is not finite. Work grows linearly (selection, no sort). */
cz_status cz_score_window_spread(const cz_score_window *window, const float *own, size_t count, cz_spread *out);

/* weights [count] in [floor, 1] (hard: 0 or 1). With the anchor's a~ = a - anchor, tau~ = tau - anchor, tau of Eq. 6:
 * w = 1 if a~ <= tau~, else max(floor, tau~ / a~). A spread with q1 == q3 gives 1 throughout, hard or not. CZ_ANCHOR_NONE:
 * w = 1 if a <= max(0, tau), else max(floor, tau / a). CZ_E_ARG on a score that is not finite, a spread that is not ascending
 * and finite, kappa < 0 or a floor outside (0, 1]; nothing is written then. */
cz_status cz_confidence_weights(const cz_confidence_options *options, const cz_spread *spread, const float *scores,
                                size_t count, float *weights);

#endif
