/* SPDX-License-Identifier: Apache-2.0 */
#include "negatives/blur.h"

#include "util/alloc.h"

#include <math.h>
#include <string.h>

enum { PASSES = 3, LANES = 16 };

/* Weights: 1 for offsets -radius … radius, `edge` for the two beyond, times `scale`. */
typedef struct box_filter {
    size_t radius;
    double edge, scale;
} box_filter;

static box_filter filter_for(double sigma)
{
    const double variance = sigma * sigma / PASSES;
    const double r = floor(0.5 * sqrt(12.0 * variance + 1.0) - 0.5);
    box_filter filter;
    filter.radius = (size_t)r;
    filter.edge = (2.0 * r + 1.0) * (r * (r + 1.0) - 3.0 * variance) / (6.0 * (variance - (r + 1.0) * (r + 1.0)));
    filter.scale = 1.0 / (2.0 * (r + filter.edge) + 1.0);
    return filter;
}

size_t cz_blur_reach(double sigma)
{
    return PASSES * (filter_for(sigma).radius + 1);
}

static inline const float *row_at(const float *line, size_t index, size_t count, size_t lanes)
{
    return line + (index < count ? index : count - 1) * lanes;
}

static inline const float *row_before(const float *line, size_t index, size_t back, size_t lanes)
{
    return line + (index > back ? index - back : 0) * lanes;
}

/* One box filter along `count` rows of `lanes` values. */
static void filter_line(const box_filter *filter, const float *in, size_t count, size_t lanes, float *out)
{
    const size_t r = filter->radius;
    double sum[LANES];
    for (size_t k = 0; k < lanes; k++) sum[k] = (double)in[k] * (double)(r + 1);
    for (size_t i = 1; i <= r; i++) {
        const float *row = row_at(in, i, count, lanes);
        for (size_t k = 0; k < lanes; k++) sum[k] += (double)row[k];
    }
    for (size_t i = 0; i < count; i++) {
        const float *ahead = row_at(in, i + r + 1, count, lanes), *last = row_before(in, i, r, lanes);
        const float *behind = row_before(in, i, r + 1, lanes);
        for (size_t k = 0; k < lanes; k++) {
            out[i * lanes + k] =
                (float)((sum[k] + filter->edge * ((double)ahead[k] + (double)behind[k])) * filter->scale);
            sum[k] += (double)ahead[k] - (double)last[k];
        }
    }
}

/* Blurs `count` rows of `lanes` values that are `stride` values apart. line: [2, count, lanes] */
static void blur_line(const box_filter *filter, float *values, size_t count, size_t stride, size_t lanes, float *line)
{
    float *a = line, *b = line + count * lanes;
    for (size_t i = 0; i < count; i++) memcpy(a + i * lanes, values + i * stride, lanes * sizeof *a);
    for (int pass = 0; pass < PASSES; pass++) {
        filter_line(filter, a, count, lanes, b);
        float *swap = a;
        a = b;
        b = swap;
    }
    for (size_t i = 0; i < count; i++) memcpy(values + i * stride, a + i * lanes, lanes * sizeof *a);
}

cz_status cz_blur(float *values, size_t height, size_t width, size_t channels, double sigma)
{
    if (!(sigma > 0.0) || height == 0 || width == 0) return CZ_OK;
    const box_filter filter = filter_for(sigma);
    float *line = cz_alloc_array(height > width ? height : width, 2 * LANES * sizeof *line);
    if (line == NULL) return CZ_E_MEMORY;
    const size_t row = width * channels;
    for (size_t y = 0; y < height; y++) blur_line(&filter, values + y * row, width, channels, channels, line);
    for (size_t x = 0; x < row; x += LANES)
        blur_line(&filter, values + x, height, row, row - x < LANES ? row - x : LANES, line);
    cz_free(line);
    return CZ_OK;
}
