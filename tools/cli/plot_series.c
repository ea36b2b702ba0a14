/* SPDX-License-Identifier: Apache-2.0 */
/* Measured values of one field, their running median, quantiles. */
#include "plot_log.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    SMOOTH_FROM = 40,   /* points; fewer are drawn as they are */
    SMOOTH_POINTS = 240 /* of the smoothed line */
};

/* Hoare's, with pivots that a file cannot foresee well enough to make it quadratic. */
double plot_select(double *values, size_t count, size_t k)
{
    ptrdiff_t low = 0, high = (ptrdiff_t)count - 1;
    uint64_t state = count;
    while (low < high) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        const double pivot = values[low + (ptrdiff_t)((state >> 33) % (uint64_t)(high - low + 1))];
        ptrdiff_t i = low, j = high;
        while (i <= j) {
            while (values[i] < pivot) i++;
            while (values[j] > pivot) j--;
            if (i > j) break;
            const double held = values[i];
            values[i++] = values[j];
            values[j--] = held;
        }
        /* values[low … j] <= pivot <= values[i … high], and what lies between is the pivot */
        if ((ptrdiff_t)k <= j)
            high = j;
        else if ((ptrdiff_t)k >= i)
            low = i;
        else
            break;
    }
    return values[k];
}

static double median_of(double *values, size_t count)
{
    const double upper = plot_select(values, count, count / 2);
    if (count % 2 != 0) return upper;
    double lower = values[0];
    for (size_t i = 1; i < count / 2; i++) lower = fmax(lower, values[i]);
    return 0.5 * (lower + upper);
}

double plot_median(const plot_log *log, plot_field field, double share, double *scratch)
{
    const size_t tail = (size_t)fmax(1.0, ceil(share * (double)log->count));
    size_t count = 0;
    for (size_t i = log->count - tail; i < log->count; i++)
        if (!isnan(log->rows[i].value[field])) scratch[count++] = log->rows[i].value[field];
    return count > 0 ? median_of(scratch, count) : NAN;
}

double plot_last(const plot_log *log, plot_field field)
{
    for (size_t i = log->count; i-- > 0;)
        if (!isnan(log->rows[i].value[field])) return log->rows[i].value[field];
    return NAN;
}

/* Windows are symmetric and shrink towards both ends, to a quarter, so that a steep beginning is not flattened. */
static void smooth(plot_series *s, double *scratch)
{
    const size_t half = s->count / 80 > 4 ? s->count / 80 : 4;
    const size_t points = s->count < SMOOTH_POINTS ? s->count : SMOOTH_POINTS;
    for (size_t p = 0; p < points; p++) {
        const size_t centre = p * (s->count - 1) / (points - 1);
        const size_t edge = centre < s->count - 1 - centre ? centre : s->count - 1 - centre;
        const size_t least = half / 4 > 2 ? half / 4 : 2;
        const size_t reach = edge >= half ? half : edge > least ? edge : least;
        const size_t from = centre > reach ? centre - reach : 0;
        const size_t to = centre + reach < s->count ? centre + reach : s->count - 1;
        memcpy(scratch, s->y + from, (to - from + 1) * sizeof *scratch);
        s->smooth_x[p] = s->x[centre];
        s->smooth_y[p] = median_of(scratch, to - from + 1);
    }
    s->smooth_count = points;
}

cz_status plot_series_make(const plot_log *log, plot_field field, double scale, bool logarithmic, plot_series *out)
{
    plot_series s = {.x = malloc(log->count * sizeof(double)), .y = malloc(log->count * sizeof(double))};
    s.smooth_x = malloc(SMOOTH_POINTS * sizeof(double));
    s.smooth_y = malloc(SMOOTH_POINTS * sizeof(double));
    double *scratch = malloc(log->count * sizeof *scratch);
    if (s.x == NULL || s.y == NULL || s.smooth_x == NULL || s.smooth_y == NULL || scratch == NULL) {
        free(scratch);
        plot_series_free(&s);
        return cz_source_error(CZ_E_MEMORY, "the curves: out of memory");
    }
    for (size_t i = 0; i < log->count; i++) {
        const double value = log->rows[i].value[field] * scale;
        if (isnan(value)) continue;
        if (logarithmic && !(value > 0)) {
            s.not_positive++;
            continue;
        }
        s.x[s.count] = log->rows[i].value[PLOT_STEP];
        s.y[s.count++] = logarithmic ? log10(value) : value;
    }
    if (s.count >= SMOOTH_FROM) smooth(&s, scratch);
    free(scratch);
    *out = s;
    return CZ_OK;
}

void plot_series_free(plot_series *series)
{
    free(series->x);
    free(series->y);
    free(series->smooth_x);
    free(series->smooth_y);
    memset(series, 0, sizeof *series);
}
