/* SPDX-License-Identifier: Apache-2.0 */
#include "features/descriptor.h"

#include "util/alloc.h"

#include <string.h>

enum { QUARTERS = 4, COLUMNS = 64 };

struct cz_descriptor {
    size_t width, grid_w, grid_h;
    size_t count[QUARTERS];
    double *sums; /* [4, D] */
};

size_t cz_descriptor_width(size_t width)
{
    return (QUARTERS + 1) * width;
}

cz_status cz_descriptor_create(size_t width, size_t grid_w, size_t grid_h, cz_descriptor **out)
{
    cz_descriptor *d = cz_calloc(1, sizeof *d);
    if (d == NULL) return CZ_E_MEMORY;
    d->width = width;
    d->grid_w = grid_w;
    d->grid_h = grid_h;
    d->sums = cz_calloc(QUARTERS * width, sizeof *d->sums);
    if (d->sums == NULL) {
        cz_descriptor_destroy(d);
        return CZ_E_MEMORY;
    }
    *out = d;
    return CZ_OK;
}

void cz_descriptor_destroy(cz_descriptor *d)
{
    if (d != NULL) cz_free(d->sums);
    cz_free(d);
}

void cz_descriptor_begin(cz_descriptor *d)
{
    memset(d->count, 0, sizeof d->count);
    memset(d->sums, 0, QUARTERS * d->width * sizeof *d->sums);
}

static size_t quarter_of(const cz_descriptor *d, size_t place)
{
    const size_t x = place % d->grid_w, y = place / d->grid_w;
    return (2 * y >= d->grid_h ? 2u : 0u) + (2 * x >= d->grid_w ? 1u : 0u);
}

void cz_descriptor_add(cz_descriptor *d, const float *features, const size_t *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) d->count[quarter_of(d, rows[i])]++;
#pragma omp parallel for schedule(static)
    for (size_t first = 0; first < d->width; first += COLUMNS) {
        const size_t n = d->width - first < COLUMNS ? d->width - first : COLUMNS;
        for (size_t i = 0; i < count; i++) {
            double *sums = d->sums + quarter_of(d, rows[i]) * d->width + first;
            const float *row = features + i * d->width + first;
            for (size_t c = 0; c < n; c++) sums[c] += (double)row[c];
        }
    }
}

bool cz_descriptor_end(const cz_descriptor *d, float *out)
{
    size_t all = 0;
    for (size_t q = 0; q < QUARTERS; q++) all += d->count[q];
    if (all == 0) return false;
    for (size_t c = 0; c < d->width; c++) {
        double sum = 0.0;
        for (size_t q = 0; q < QUARTERS; q++) sum += d->sums[q * d->width + c];
        out[c] = (float)(sum / (double)all);
        for (size_t q = 0; q < QUARTERS; q++) {
            float *to = out + (q + 1) * d->width + c;
            *to = d->count[q] > 0 ? (float)(d->sums[q * d->width + c] / (double)d->count[q]) : out[c];
        }
    }
    return true;
}
