/* SPDX-License-Identifier: Apache-2.0 */
/* Regions of a map above a threshold. */
#include "metrics/regions.h"

#include "util/alloc.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

cz_status cz_components_above(cz_components *c, const float *map, size_t width, size_t height, double threshold)
{
    size_t pixels;
    if (map == NULL || width == 0 || height == 0) return cz_fail(CZ_E_ARG, "no map, or one of 0 pixels");
    if (!cz_mul_size(width, height, &pixels) || pixels >= UINT32_MAX)
        return cz_fail(CZ_E_LIMIT, "a map of %zu x %zu pixels is too large", width, height);
    if (isnan(threshold)) return cz_fail(CZ_E_ARG, "the threshold is not a number");
    uint8_t *row = cz_alloc(width);
    if (row == NULL) return CZ_E_MEMORY;
    cz_status status = CZ_OK;
    cz_components_begin(c);
    for (size_t y = 0; y < height && status == CZ_OK; y++) {
        const float *values = map + y * width;
        for (size_t x = 0; x < width; x++) row[x] = (double)values[x] > threshold; /* false for NaN */
        status = cz_components_row(c, row, width);
    }
    if (status == CZ_OK) cz_components_end(c);
    cz_free(row);
    return status;
}

/* regions: [c->count], cleared. width and height are 1 beyond the right and lower ends until all runs are in; mean is the
 * sum. */
static void measure(const cz_components *c, const float *map, size_t width, cz_region *regions)
{
    for (size_t i = 0; i < c->run_count; i++) {
        const cz_run *run = &c->runs[i];
        cz_region *r = &regions[run->region];
        const float *row = map + run->y * width;
        if (r->area == 0) {
            *r = (cz_region){.x = run->begin, .y = run->y, .width = run->end, .peak = -(double)INFINITY};
        }
        if (run->begin < r->x) r->x = run->begin;
        if (run->end > r->width) r->width = run->end;
        r->height = (size_t)run->y + 1;
        r->area += run->end - run->begin;
        for (size_t x = run->begin; x < run->end; x++) {
            r->mean += (double)row[x];
            if ((double)row[x] <= r->peak) continue;
            r->peak = (double)row[x];
            r->peak_x = x;
            r->peak_y = run->y;
        }
    }
    for (size_t i = 0; i < c->count; i++) {
        regions[i].width -= regions[i].x;
        regions[i].height -= regions[i].y;
        regions[i].mean /= (double)regions[i].area;
    }
}

static int by_peak(const void *a, const void *b)
{
    const cz_region *x = a, *y = b;
    if (x->peak != y->peak) return x->peak > y->peak ? -1 : 1;
    if (x->peak_y != y->peak_y) return x->peak_y < y->peak_y ? -1 : 1;
    return x->peak_x < y->peak_x ? -1 : x->peak_x > y->peak_x;
}

cz_status cz_regions(const float *map, size_t width, size_t height, double threshold, size_t min_area, cz_region *out,
                     size_t most, size_t *count)
{
    cz_error_clear();
    if ((out == NULL && most > 0) || count == NULL) return cz_fail(CZ_E_ARG, "cz_regions: a NULL argument");
    cz_components c = {0};
    cz_region *regions = NULL;
    size_t kept = 0;
    cz_status status = CZ_OK;
    CZ_TRY(cz_components_above(&c, map, width, height, threshold));
    regions = cz_calloc(c.count, sizeof *regions);
    if (regions == NULL) {
        status = CZ_E_MEMORY;
        goto out;
    }
    measure(&c, map, width, regions);
    for (size_t i = 0; i < c.count; i++)
        if (regions[i].area >= min_area) regions[kept++] = regions[i];
    if (kept > 0) qsort(regions, kept, sizeof *regions, by_peak);
    if (most > 0) memcpy(out, regions, (kept < most ? kept : most) * sizeof *out);
    *count = kept;
out:
    cz_free(regions);
    cz_components_free(&c);
    return status;
}
