/* SPDX-License-Identifier: Apache-2.0 */
#include "backbone/range.h"

#include <math.h>
#include <string.h>

/* Activations of this size are a broken network's, and far from where float's powers of two end. */
#define MOST 1e30f
/* A histogram of smaller values than these would need scales that float does not have. */
#define LEAST_EXPONENT (-64)

/* The largest magnitude. Integer order of the bits is the order of magnitudes, with infinities and NaN on top. */
static float largest_of(const float *values, size_t count)
{
    uint32_t most = 0;
    float largest;
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        bits &= 0x7fffffffu;
        most = bits > most ? bits : most;
    }
    memcpy(&largest, &most, sizeof largest);
    return largest;
}

static float power_above(float value)
{
    int exponent;
    (void)frexpf(value, &exponent);
    return ldexpf(1.0f, exponent > LEAST_EXPONENT ? exponent : LEAST_EXPONENT);
}

/* Pairs of bins become one until `top` is reached: exactly what bins of that width would have counted from the start. */
static void widen(cz_range *r, float top)
{
    if (r->top == 0.0f) r->top = top;
    for (; r->top < top; r->top *= 2.0f) {
        for (size_t i = 0; i < CZ_RANGE_BINS / 2; i++) r->bins[i] = r->bins[2 * i] + r->bins[2 * i + 1];
        memset(r->bins + CZ_RANGE_BINS / 2, 0, sizeof r->bins / 2);
    }
}

cz_status cz_range_add(cz_range *r, const float *values, size_t count)
{
    const float largest = largest_of(values, count);
    if (!(largest <= MOST)) return cz_fail(CZ_E_WEIGHTS, "an activation is not finite or beyond %g", (double)MOST);
    r->total += count;
    if (largest > 0.0f) widen(r, power_above(largest));
    if (largest > r->largest) r->largest = largest;
    if (r->top == 0.0f) {
        r->zeros += count;
        return CZ_OK;
    }
    const float scale = (float)CZ_RANGE_BINS / r->top; /* a power of two: exact */
    for (size_t i = 0; i < count; i++) {
        const float magnitude = fabsf(values[i]);
        if (magnitude == 0.0f) {
            r->zeros++;
        } else {
            r->bins[(size_t)(magnitude * scale)]++;
        }
    }
    return CZ_OK;
}

/* Integral over 0 … x of the squared difference between x and the nearest of 0, step, 2 step … levels * step. */
static double squared_error(double x, double step, double levels)
{
    const double whole = fmin(floor(x / step + 0.5), levels), rest = x - whole * step;
    return whole * step * step * step / 12.0 + rest * rest * rest / 3.0;
}

/* Sum of squared errors of all values but for a factor. */
static double error_of(const cz_range *r, double range, size_t levels)
{
    const double width = (double)r->top / CZ_RANGE_BINS, step = range / (double)levels;
    double sum = 0.0;
    for (size_t i = 0; i < CZ_RANGE_BINS && (double)i * width <= (double)r->largest; i++) {
        if (r->bins[i] == 0) continue;
        const double from = squared_error((double)i * width, step, (double)levels);
        sum += (double)r->bins[i] * (squared_error((double)(i + 1) * width, step, (double)levels) - from);
    }
    return sum;
}

/* The best of `range` / 2^(i / a_halving) for i of `from` … `to`, within what was seen. */
static double search(const cz_range *r, size_t levels, double range, int from, int to, double a_halving)
{
    double best = range, least = error_of(r, range, levels);
    for (int i = from; i <= to; i++) {
        const double candidate = range * exp2(-(double)i / a_halving);
        const double error = candidate <= (double)r->largest ? error_of(r, candidate, levels) : INFINITY;
        if (error >= least) continue;
        least = error;
        best = candidate;
    }
    return best;
}

float cz_range_least_error(const cz_range *r, size_t levels)
{
    enum { COARSE = 16, HALVINGS = 8, FINE = 128 };
    if (r->top == 0.0f) return 1.0f;
    const double coarse = search(r, levels, (double)r->largest, 1, COARSE * HALVINGS, COARSE);
    return (float)search(r, levels, coarse, 1 - FINE / COARSE, FINE / COARSE - 1, FINE);
}

float cz_range_share(const cz_range *r, double share)
{
    if (r->top == 0.0f) return 1.0f;
    const double wanted = share * (double)r->total;
    uint64_t seen = r->zeros;
    for (size_t i = 0; i < CZ_RANGE_BINS; i++) {
        seen += r->bins[i];
        const float edge = (float)(i + 1) * (r->top / CZ_RANGE_BINS);
        if ((double)seen >= wanted && r->bins[i] > 0) return edge < r->largest ? edge : r->largest;
    }
    return r->largest;
}
