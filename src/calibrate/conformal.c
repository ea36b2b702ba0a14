/* SPDX-License-Identifier: Apache-2.0 */
#include "calibrate/conformal.h"

#include <math.h>

double cz_conformal_p(const float *scores, size_t n, float score)
{
    if (isnan(score)) return (double)NAN;
    size_t low = 0, high = n; /* scores[low - 1] < score <= scores[high] */
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (scores[middle] < score) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return (double)(1 + n - low) / (double)(n + 1);
}
