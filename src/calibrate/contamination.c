/* SPDX-License-Identifier: Apache-2.0 */
#include "calibrate/contamination.h"

#include "calibrate/threshold.h"

#include <math.h>

/* 3.4 standard deviations above the mean of a normal distribution: one clean photo in 2,700; of a Gumbel one in 80. */
#define REACH 2.0

static size_t count_above(const float *scores, size_t n, double limit)
{
    size_t low = 0, high = n; /* scores[low - 1] <= limit < scores[high] */
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if ((double)scores[middle] <= limit) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return n - low;
}

/* e only ever falls, and takes at most n values: it ends. */
cz_contamination cz_contamination_estimate(const float *scores, size_t n)
{
    cz_contamination out = {0.0, (double)INFINITY, 0};
    if (n < CZ_CONTAMINATION_LEAST) return out;
    for (double share = CZ_CONTAMINATION_MOST, last = 1.0; share < last;) {
        const double q1 = cz_quantile(scores, n, 0.25 * (1.0 - share));
        const double q3 = cz_quantile(scores, n, 0.75 * (1.0 - share));
        if (!(q3 > q1)) return (cz_contamination){0.0, (double)INFINITY, 0};
        out.limit = q3 + REACH * (q3 - q1);
        out.beyond = count_above(scores, n, out.limit);
        last = share;
        share = fmin(share, (double)out.beyond / (double)n);
        out.rate = share;
    }
    return out;
}
