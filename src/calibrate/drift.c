/* SPDX-License-Identifier: Apache-2.0 */
#include "calibrate/drift.h"

#include "util/alloc.h"

#include <math.h>

#define MAX_SCORES ((size_t)1 << 24)

static uint64_t distance(uint64_t a, uint64_t b)
{
    return a > b ? a - b : b - a;
}

/* n m D as a whole number: the largest |i m - j n| over all values, i and j of either sample being at or below. */
static uint64_t statistic_of(const float *first, size_t n, const float *second, size_t m)
{
    uint64_t largest = 0;
    for (size_t i = 0, j = 0; i < n && j < m;) {
        const float value = first[i] < second[j] ? first[i] : second[j];
        while (i < n && first[i] <= value) i++;
        while (j < m && second[j] <= value) j++;
        const uint64_t d = distance((uint64_t)i * m, (uint64_t)j * n);
        if (d > largest) largest = d;
    }
    return largest;
}

/* All orders of the n + m scores are equally likely: lattice paths from (0, 0) to (n, m). v[j] is the probability that a path to (i, j)
 * has been at a distance of at least d; its last step came from (i-1, j) with probability i/(i+j). No subtraction, so small
 * probabilities keep their digits (Hodges 1958, doi:10.1007/BF02589501). */
static cz_status exact_p(uint64_t d, size_t n, size_t m, double *p)
{
    double *v = cz_alloc_array(m + 1, sizeof *v);
    if (v == NULL) return CZ_E_MEMORY;
    v[0] = 0.0;
    for (size_t j = 1; j <= m; j++) v[j] = v[j - 1] > 0.0 || (uint64_t)j * n >= d ? 1.0 : 0.0;
    for (size_t i = 1; i <= n; i++) {
        if ((uint64_t)i * m >= d) v[0] = 1.0;
        for (size_t j = 1; j <= m; j++) {
            const double share = (double)i / (double)(i + j);
            v[j] = distance((uint64_t)i * m, (uint64_t)j * n) >= d ? 1.0 : share * v[j] + (1.0 - share) * v[j - 1];
        }
    }
    *p = v[m];
    cz_free(v);
    return CZ_OK;
}

/* 2 sum (-1)^(k-1) exp(-2 k^2 x^2) for large x; its theta-function twin for small x, where that series is slow. */
double cz_kolmogorov(double x)
{
    const double pi = 3.14159265358979323846;
    if (!(x > 0.0)) return 1.0;
    double sum = 0.0;
    if (x < 1.0) {
        for (int k = 1; k <= 9; k += 2) sum += exp(-(double)(k * k) * pi * pi / (8.0 * x * x));
        return 1.0 - sqrt(2.0 * pi) / x * sum;
    }
    for (int k = 1; k <= 6; k++) sum += (k % 2 == 1 ? 2.0 : -2.0) * exp(-2.0 * (double)(k * k) * x * x);
    return sum;
}

cz_status cz_ks(const float *first, size_t n, const float *second, size_t m, double *statistic, double *p)
{
    if (n == 0 || m == 0) return cz_fail(CZ_E_ARG, "there are no scores to compare");
    if (n > MAX_SCORES || m > MAX_SCORES) return cz_fail(CZ_E_LIMIT, "more than %zu scores", MAX_SCORES);
    const uint64_t d = statistic_of(first, n, second, m);
    const double a = (double)n, b = (double)m;
    *statistic = (double)d / (a * b);
    if (d == 0) {
        *p = 1.0;
        return CZ_OK;
    }
    if (a * b <= CZ_KS_EXACT_PAIRS) return exact_p(d, n, m, p);
    *p = cz_kolmogorov(*statistic * sqrt(a * b / (a + b)));
    return CZ_OK;
}
