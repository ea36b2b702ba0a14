/* SPDX-License-Identifier: Apache-2.0 */
/* Regions of a map above a threshold. */
#include "metrics/regions.h"

#include "metrics/region_scan.h"
#include "util/alloc.h"

#include <math.h>

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

cz_status cz_regions(const float *map, size_t width, size_t height, double threshold, size_t min_area, cz_region *out,
                     size_t most, size_t *count)
{
    cz_error_clear();
    if ((out == NULL && most > 0) || count == NULL) return cz_fail(CZ_E_ARG, "cz_regions: a NULL argument");
    size_t pixels;
    if (map == NULL || width == 0 || height == 0) return cz_fail(CZ_E_ARG, "no map, or one of 0 pixels");
    if (!cz_mul_size(width, height, &pixels)) return cz_fail(CZ_E_LIMIT, "a map of %zu x %zu pixels", width, height);
    cz_region_scan *scan = NULL;
    cz_status status;
    CZ_TRY(cz_region_scan_create(width, threshold, min_area, most, &scan));
    for (size_t y = 0; y < height; y++) CZ_TRY(cz_region_scan_row(scan, map + y * width));
    CZ_TRY(cz_region_scan_end(scan, out, count));
out:
    cz_region_scan_destroy(scan);
    return status;
}
