/* SPDX-License-Identifier: Apache-2.0 */
#include "calibrate/pixel_quantile.h"

#include "metrics/key.h"
#include "util/alloc.h"

#include <math.h>

#define BIN_BITS 20
#define BINS     ((size_t)1 << BIN_BITS)

struct cz_pixel_quantile {
    uint64_t bins[BINS], count;
    float largest;
};

cz_status cz_pixel_quantile_create(cz_pixel_quantile **out)
{
    cz_pixel_quantile *q = cz_calloc(1, sizeof *q);
    if (q == NULL) return CZ_E_MEMORY;
    q->largest = -INFINITY;
    *out = q;
    return CZ_OK;
}

void cz_pixel_quantile_destroy(cz_pixel_quantile *q)
{
    cz_free(q);
}

void cz_pixel_quantile_add(cz_pixel_quantile *q, const float *values, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (isnan(values[i])) continue;
        q->bins[cz_float_key(values[i]) >> (32 - BIN_BITS)]++;
        q->count++;
        if (values[i] > q->largest) q->largest = values[i];
    }
}

double cz_pixel_quantile_value(const cz_pixel_quantile *q, double quantile)
{
    if (q->count == 0) return (double)NAN;
    const double wanted = quantile * (double)q->count;
    double below = 0.0;
    for (size_t i = 0; i < BINS; i++) {
        below += (double)q->bins[i];
        if (q->bins[i] == 0 || below < wanted) continue;
        const float end = cz_key_float((uint32_t)(((i + 1) << (32 - BIN_BITS)) - 1));
        return (double)(end < q->largest ? end : q->largest);
    }
    return (double)q->largest;
}
