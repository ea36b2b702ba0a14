/* SPDX-License-Identifier: Apache-2.0 */
#include "heads/flow_rows.h"

#include <string.h>

/* Columns at a time where results are scattered, and partial sums; LANES divides STRIP. */
enum { STRIP = 64, LANES = 16 };

/* The loops over columns, for wider registers too: the same operations in the same order, hence the same bits. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__)
#define CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define CLONES
#endif

/* ---- functions that the compiler can vectorise for every width: no choice but between constants ------------------------ */

/* atan to 1.5e-7: of t = min(|u|, 1) / max(|u|, 1) by a least-maximum polynomial (relative error 1.6e-8), and
 * atan(u) = pi / 2 - atan(1 / u) for u > 1. A NaN stays one; of infinity it is NaN. */
static inline float arctangent(float u)
{
    const float sign = u < 0 ? -1.0f : 1.0f, x = sign * u;
    const float above = x > 1.0f ? 1.0f : 0.0f, below = 1.0f - above;
    const float t = (x * below + above) / (x * above + below), q = t * t;
    float p = 2.849886325e-3f;
    p = p * q - 1.606861581e-2f;
    p = p * q + 4.269149796e-2f;
    p = p * q - 7.504292742e-2f;
    p = p * q + 1.064093319e-1f;
    p = p * q - 1.420364425e-1f;
    p = p * q + 1.999261937e-1f;
    p = p * q - 3.333307334e-1f;
    return sign * (above * 1.57079633f + (below - above) * (t + t * (q * p)));
}

/* |x| <= 80; to 2 units in the last place, with the polynomial of Cephes' expf (Moshier). A NaN stays one. */
static inline float exponential(float x)
{
    const float shift = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer, in the lowest bits */
    const float shifted = x * 1.44269504f + shift, n = shifted - shift;
    const float r = x - n * 0.693359375f + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    uint32_t bits;
    float power;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits << 23) + UINT32_C(0x3f800000);
    memcpy(&power, &bits, sizeof power);
    return p * power;
}

static inline float slope_at(const cz_flow_clamp *clamp, float raw)
{
    const float v = raw * clamp->inverse;
    return clamp->slope / (1.0f + v * v);
}

static inline float lanes_sum(const float lane[LANES])
{
    float sum = 0;
    for (size_t i = 0; i < LANES; i++) sum += lane[i];
    return sum;
}

/* row[place[k]] = values[k]; place NULL: row[k] */
static inline void scatter(const float *values, size_t count, const uint32_t *place, size_t first, float *row)
{
    if (place)
        for (size_t k = 0; k < count; k++) row[place[first + k]] = values[k];
    else
        memcpy(row + first, values, count * sizeof *row);
}

static inline size_t strip(size_t first, size_t count)
{
    return count - first < STRIP ? count - first : STRIP;
}

/* ---- forward ---------------------------------------------------------------------------------------------------- */

CLONES static void standardise_row(const float *x, size_t f, const float *mean, const float *inverse,
                                   const uint32_t *place, float *next)
{
    for (size_t first = 0; first < f; first += STRIP) {
        const size_t n = strip(first, f);
        float y[STRIP];
        for (size_t k = 0; k < n; k++) y[k] = (x[first + k] - mean[first + k]) * inverse[first + k];
        scatter(y, n, place, first, next);
    }
}

void cz_flow_rows_standardise(const float *x, size_t rows, size_t f, const float *mean, const float *inverse,
                              const uint32_t *place, float *next)
{
#pragma omp parallel for schedule(static)
    for (size_t r = 0; r < rows; r++) standardise_row(x + r * f, f, mean, inverse, place, next + r * f);
}

CLONES static void relu_row(float *restrict h, size_t columns, const float *restrict bias)
{
    for (size_t c = 0; c < columns; c++) {
        const float y = h[c] + bias[c];
        h[c] = y <= 0 ? 0 : y;
    }
}

void cz_flow_rows_relu(float *h, size_t rows, size_t columns, const float *bias)
{
#pragma omp parallel for schedule(static)
    for (size_t r = 0; r < rows; r++) relu_row(h + r * columns, columns, bias);
}

/* n <= STRIP columns: y = x exp(s) + t and the partial sums of s */
CLONES static void couple_strip(const cz_flow_clamp *clamp, const float *restrict x, float *restrict raw,
                                float *restrict out, const float *restrict raw_bias, const float *restrict bias,
                                size_t n, float *restrict y, float *restrict lane)
{
    const float amplitude = clamp->amplitude, inverse = clamp->inverse;
    float s[STRIP];
    memset(s, 0, sizeof s);
    for (size_t j = 0; j < n; j++) {
        const float u = raw[j] + raw_bias[j], t = out[j] + bias[j];
        s[j] = amplitude * arctangent(u * inverse);
        const float e = exponential(s[j]);
        y[j] = x[j] * e + t;
        raw[j] = u;
        out[j] = e;
    }
    for (size_t j = 0; j < STRIP; j += LANES)
        for (size_t i = 0; i < LANES; i++) lane[i] += s[j + i];
}

void cz_flow_rows_couple(const cz_flow_halves *c, const float *x, float *out, size_t rows, const float *bias,
                         const uint32_t *place, float *next, double *log_det)
{
    const size_t a = c->kept, m = c->moved, f = a + m;
#pragma omp parallel for schedule(static)
    for (size_t r = 0; r < rows; r++) {
        float *raw = out + r * 2 * m, lane[LANES] = {0}, y[STRIP];
        scatter(x + r * f, a, place, 0, next + r * f);
        for (size_t first = 0; first < m; first += STRIP) {
            const size_t n = strip(first, m);
            couple_strip(&c->clamp, x + r * f + a + first, raw + first, raw + m + first, bias + first, bias + m + first,
                         n, y, lane);
            scatter(y, n, place, a + first, next + r * f);
        }
        log_det[r] += (double)lanes_sum(lane);
    }
}

/* x = (y - t) exp(-s) */
CLONES static void uncouple_strip(const cz_flow_clamp *clamp, const float *restrict y, const float *restrict raw,
                                  const float *restrict out, const float *restrict raw_bias, const float *restrict bias,
                                  size_t n, float *restrict x)
{
    for (size_t j = 0; j < n; j++) {
        const float s = clamp->amplitude * arctangent((raw[j] + raw_bias[j]) * clamp->inverse);
        x[j] = (y[j] - (out[j] + bias[j])) * exponential(-s);
    }
}

void cz_flow_rows_uncouple(const cz_flow_halves *c, const float *y, const float *out, size_t rows, const float *bias,
                           const uint32_t *from, float *before)
{
    const size_t a = c->kept, m = c->moved, f = a + m;
#pragma omp parallel for schedule(static)
    for (size_t r = 0; r < rows; r++) {
        const float *raw = out + r * 2 * m;
        float x[STRIP];
        scatter(y + r * f, a, from, 0, before + r * f);
        for (size_t first = 0; first < m; first += STRIP) {
            const size_t n = strip(first, m);
            uncouple_strip(&c->clamp, y + r * f + a + first, raw + first, raw + m + first, bias + first,
                           bias + m + first, n, x);
            scatter(x, n, from, a + first, before + r * f);
        }
    }
}

void cz_flow_rows_gather(const float *x, size_t rows, size_t f, const uint32_t *place, float *before)
{
#pragma omp parallel for schedule(static)
    for (size_t r = 0; r < rows; r++)
        for (size_t k = 0; k < f; k++) before[r * f + k] = x[r * f + place[k]];
}

CLONES static double row_energy(const float *z, size_t f)
{
    const size_t whole = f - f % LANES;
    float lane[LANES] = {0};
    for (size_t c = 0; c < whole; c += LANES)
        for (size_t i = 0; i < LANES; i++) lane[i] += z[c + i] * z[c + i];
    for (size_t c = whole; c < f; c++) lane[c - whole] += z[c] * z[c];
    return 0.5 * (double)lanes_sum(lane);
}

double cz_flow_row_energy(const float *z, size_t f)
{
    return row_energy(z, f);
}

/* ---- backward --------------------------------------------------------------------------------------------------- */

void cz_flow_rows_scale(const float *x, size_t rows, size_t f, const float *g, float *out)
{
#pragma omp parallel for schedule(static)
    for (size_t r = 0; r < rows; r++) {
        const float factor = g[r];
        for (size_t c = 0; c < f; c++) out[r * f + c] = factor * x[r * f + c];
    }
}

/* y2 = x2 e + t, -log p = ... - sum s: dt = dy2, ds = dy2 x2 e - g, dx2 = dy2 e */
CLONES static void couple_row_backward(const cz_flow_halves *c, const float *restrict x, const float *restrict out,
                                       float g, float *restrict d, float *restrict dout)
{
    const size_t m = c->moved;
    const cz_flow_clamp clamp = c->clamp;
    for (size_t j = 0; j < m; j++) {
        const float dy = d[j], dx = dy * out[m + j];
        dout[j] = (dx * x[j] - g) * slope_at(&clamp, out[j]);
        dout[m + j] = dy;
        d[j] = dx;
    }
}

void cz_flow_rows_couple_backward(const cz_flow_halves *c, const float *x, const float *out, const float *g,
                                  size_t rows, float *d, float *dout)
{
    const size_t m = c->moved, f = c->kept + m;
#pragma omp parallel for schedule(static)
    for (size_t r = 0; r < rows; r++)
        couple_row_backward(c, x + r * f + c->kept, out + r * 2 * m, g[r], d + r * f + c->kept, dout + r * 2 * m);
}

void cz_flow_rows_relu_backward(const float *h, size_t count, float *dh)
{
#pragma omp parallel for simd schedule(static)
    for (size_t i = 0; i < count; i++) dh[i] = h[i] > 0 ? dh[i] : 0;
}

/* ---- tangents --------------------------------------------------------------------------------------------------- */

CLONES static void relu_row_tangent(const float *restrict h, size_t columns, const float *restrict bias,
                                    float *restrict rh)
{
    for (size_t c = 0; c < columns; c++) {
        const float active = h[c] > 0 ? 1.0f : 0.0f;
        rh[c] = active * (rh[c] + bias[c]);
    }
}

void cz_flow_rows_relu_tangent(const float *h, size_t rows, size_t columns, const float *bias, float *rh)
{
#pragma omp parallel for schedule(static)
    for (size_t r = 0; r < rows; r++) relu_row_tangent(h + r * columns, columns, bias, rh + r * columns);
}

/* Ry2 = Rx2 e + x2 e Rs + Rt, Rs = s' Rs_raw */
CLONES static void couple_strip_tangent(const cz_flow_halves *c, const float *restrict x, const float *restrict out,
                                        const float *restrict rx, float *restrict rout, const float *restrict bias,
                                        size_t n, float *restrict ry)
{
    const size_t m = c->moved;
    const cz_flow_clamp clamp = c->clamp;
    for (size_t j = 0; j < n; j++) {
        const float raw = rout[j] + bias[j], rt = rout[m + j] + bias[m + j];
        ry[j] = (rx[j] + x[j] * (slope_at(&clamp, out[j]) * raw)) * out[m + j] + rt;
        rout[j] = raw;
        rout[m + j] = rt;
    }
}

void cz_flow_rows_couple_tangent(const cz_flow_halves *c, const float *x, const float *out, const float *rx,
                                 float *rout, size_t rows, const float *bias, const uint32_t *place, float *next)
{
    const size_t a = c->kept, m = c->moved, f = a + m;
#pragma omp parallel for schedule(static)
    for (size_t r = 0; r < rows; r++) {
        float ry[STRIP];
        scatter(rx + r * f, a, place, 0, next + r * f);
        for (size_t first = 0; first < m; first += STRIP) {
            const size_t n = strip(first, m), at = r * f + a + first, net = r * 2 * m + first;
            couple_strip_tangent(c, x + at, out + net, rx + at, rout + net, bias + first, n, ry);
            scatter(ry, n, place, a + first, next + r * f);
        }
    }
}

/* Of dt = dy2, dx2 = dy2 e, ds = dy2 x2 e - g, ds_raw = ds s'. With v = s_raw / clamp, s'' = -2 v s'^2 / amplitude. */
CLONES static void couple_row_hessian(const cz_flow_halves *c, const float *restrict x, const float *restrict out,
                                      const float *restrict dout, float g, const float *restrict rx,
                                      const float *restrict rout, float *restrict rd, float *restrict rdout)
{
    const size_t m = c->moved;
    const cz_flow_clamp clamp = c->clamp;
    const float bend = -2.0f * clamp.inverse / clamp.slope;
    for (size_t j = 0; j < m; j++) {
        const float slope = slope_at(&clamp, out[j]), curve = bend * (out[j] * clamp.inverse) * slope * slope;
        const float e = out[m + j], dy = dout[m + j], rdy = rd[j], rs = slope * rout[j];
        const float ds = dy * x[j] * e - g, rds = (rdy * x[j] + dy * (rx[j] + x[j] * rs)) * e;
        rd[j] = (rdy + dy * rs) * e;
        rdout[j] = rds * slope + ds * curve * rout[j];
        rdout[m + j] = rdy;
    }
}

void cz_flow_rows_couple_hessian(const cz_flow_halves *c, const cz_flow_moved *p, size_t rows, float *rd, float *rdout)
{
    const size_t m = c->moved, f = c->kept + m;
#pragma omp parallel for schedule(static)
    for (size_t r = 0; r < rows; r++) {
        const size_t at = r * f + c->kept, net = r * 2 * m;
        couple_row_hessian(c, p->x + at, p->out + net, p->dout + net, p->g[r], p->rx + at, p->rout + net, rd + at,
                           rdout + net);
    }
}
