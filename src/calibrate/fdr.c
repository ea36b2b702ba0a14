/* SPDX-License-Identifier: Apache-2.0 */
#include "calibrate/fdr.h"

#include "util/alloc.h"

#include <stdlib.h>
#include <string.h>

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

cz_status cz_benjamini_hochberg(const double *p, size_t count, double rate, uint8_t *found, size_t *total)
{
    if (!(rate > 0.0 && rate < 1.0))
        return cz_fail(CZ_E_ARG, "a false-discovery rate of %g is not between 0 and 1", rate);
    for (size_t i = 0; i < count; i++) {
        if (!(p[i] >= 0.0 && p[i] <= 1.0)) return cz_fail(CZ_E_ARG, "p-value %zu is not in [0, 1]", i);
    }
    double *sorted = cz_alloc_array(count, sizeof *sorted);
    if (sorted == NULL) return CZ_E_MEMORY;
    if (count > 0) memcpy(sorted, p, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, ascending);
    /* Conformal p-values are multiples of 1/(n+1) and rates are decimal: 0.05 * 2 / 10 must count as 0.01. */
    const double slack = 1.0 + 1e-12;
    double largest = -1.0;
    for (size_t i = 0; i < count; i++) {
        if (sorted[i] <= rate * (double)(i + 1) / (double)count * slack) largest = sorted[i];
    }
    cz_free(sorted);
    size_t hits = 0;
    for (size_t i = 0; i < count; i++) hits += found[i] = p[i] <= largest;
    if (total != NULL) *total = hits;
    return CZ_OK;
}
