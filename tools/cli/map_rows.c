/* SPDX-License-Identifier: Apache-2.0 */
#include "map_rows.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { BAND_ROWS = 64 };

static cz_status make_rows(void *ctx, size_t first, size_t count, float *out)
{
    const map_rows *r = ctx;
    if (r->result->map == NULL) return cz_session_map_rows(r->session, 0, first, count, out);
    const size_t width = r->result->map_width;
    memcpy(out, r->result->map + first * width, count * width * sizeof *out);
    return CZ_OK;
}

cz_map_source map_rows_source(const map_rows *rows)
{
    return (cz_map_source){rows->result->map_width, rows->result->map_height, make_rows, (void *)(uintptr_t)rows};
}

static void widen(const float *values, size_t count, double *low, double *high)
{
    for (size_t i = 0; i < count; i++) {
        const double value = (double)values[i];
        if (value < *low) *low = value;
        if (value > *high) *high = value;
    }
}

cz_status map_rows_range(const map_rows *rows, double *low, double *high)
{
    const cz_map_source source = map_rows_source(rows);
    cz_status status = CZ_OK;
    *low = INFINITY;
    *high = -INFINITY;
    if (rows->result->map != NULL) {
        widen(rows->result->map, source.width * source.height, low, high);
    } else {
        float *band = calloc(source.width, BAND_ROWS * sizeof *band);
        if (band == NULL) return cz_source_error(CZ_E_MEMORY, "out of memory");
        for (size_t y = 0; y < source.height && status == CZ_OK; y += BAND_ROWS) {
            const size_t n = source.height - y < BAND_ROWS ? source.height - y : BAND_ROWS;
            status = source.rows(source.ctx, y, n, band);
            if (status == CZ_OK) widen(band, n * source.width, low, high);
        }
        free(band);
    }
    if (!(*high > *low)) {
        *low = isfinite(*low) ? *low : 0.0;
        *high = *low + 1.0;
    }
    return status;
}
