/* SPDX-License-Identifier: Apache-2.0 */
/* Have scores moved? Two-sample Kolmogorov-Smirnov test (docs/calibration.md). */
#ifndef CZ_CALIBRATE_DRIFT_H
#define CZ_CALIBRATE_DRIFT_H

#include "util/status.h"

/* Pairs up to which the p-value is exact: a table's worth of additions, a second at the most. */
#define CZ_KS_EXACT_PAIRS 1e8

/* first [n] and second [m] ascending, finite, n, m in 1 … 2^24. *statistic: largest distance of the two empirical distribution
 * functions; *p: P(a distance at least that large) when both come from one continuous distribution (two-sided). Ties make it too
 * large, never too small. */
cz_status cz_ks(const float *first, size_t n, const float *second, size_t m, double *statistic, double *p);
/* P(sup |B| >= x) of a Brownian bridge: the limit for large samples. */
double cz_kolmogorov(double x);

#endif
