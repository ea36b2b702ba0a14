/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One unit of work is up to COLUMNS patches of one row. For PIECE channels at a time the rows above and below of each later tap
 * are blended first (few columns, which neighbouring patches share), then each patch blends two of them. Everything stays
 * in the first-level cache; sums go in an order that is written out, so that all variants give the same bits.
 */
#include "heads/compose_pass.h"

#include "features/simd.h"
#include "tensor/dtype.h"

#include <math.h>
#include <string.h>

enum { PIECE = 128, COLUMNS = 16, LOW = COLUMNS + 2, LANES = 16, CHUNK = 16384 };

/* Columns [x0, x1) of one row. */
typedef struct unit {
    size_t y, x0, x1;
    const float *first; /* [x1 - x0, K] */
    const float *steps; /* [x1 - x0] or NULL */
} unit;

/* out [columns, n] = rows low and high of a later tap blended, times their steps */
CZ_INLINE void blend_rows(const cz_compose_later *t, size_t y, size_t x0, size_t columns, size_t hidden, size_t k,
                          size_t n, float (*restrict out)[PIECE])
{
    const cz_axis_step v = t->y[y];
    for (size_t x = 0; x < columns; x++) {
        const size_t above = v.low * t->width + x0 + x, below = v.high * t->width + x0 + x;
        const float *restrict low = t->product + above * hidden + k, *restrict high = t->product + below * hidden + k;
        const float w0 = (1 - v.t) * (t->steps ? t->steps[above] : 1.0f);
        const float w1 = v.t * (t->steps ? t->steps[below] : 1.0f);
        for (size_t i = 0; i < n; i++) out[x][i] = w0 * low[i] + w1 * high[i];
    }
}

CZ_INLINE float leaky(float s, float slope)
{
    const float below = slope * s;
    return s > below ? s : below;
}

/* The common case, one later tap: everything of a patch's piece in one go. n: whole lanes. */
CZ_INLINE void fused_patch(const cz_compose_pass *p, const float *restrict first, float step, size_t k, size_t n,
                           const float *restrict a, const float *restrict b, float t, float *restrict lane)
{
    const float *restrict c = p->c + k, *restrict w2 = p->w2 + k;
    const float s = 1 - t, slope = p->slope;
    for (size_t i = 0; i < n; i += LANES)
        for (size_t j = 0; j < LANES; j++) {
            const float sum = (step * first[i + j] + c[i + j]) + (s * a[i + j] + t * b[i + j]);
            lane[j] -= w2[i + j] * leaky(sum, slope);
        }
}

/* Any number of later taps, any n up to PIECE. */
CZ_INLINE void any_patch(const cz_compose_pass *p, const float *restrict first, float step, size_t k, size_t n,
                         float (*const *low)[PIECE], const size_t *from, size_t x, float *restrict lane)
{
    float sum[PIECE];
    for (size_t i = 0; i < n; i++) sum[i] = step * first[i] + p->c[k + i];
    for (size_t q = 0; q < p->later; q++) {
        const cz_axis_step h = p->taps[q].x[x];
        const float *a = low[q][h.low - from[q]], *b = low[q][h.high - from[q]], t = h.t, s = 1 - t;
        for (size_t i = 0; i < n; i++) sum[i] += s * a[i] + t * b[i];
    }
    for (size_t i = 0; i < n; i++) lane[i % LANES] -= p->w2[k + i] * leaky(sum[i], p->slope);
}

CZ_INLINE void score_unit_body(const cz_compose_pass *p, const unit *u, float *restrict scores)
{
    float low[CZ_COMPOSE_MAX_TAPS - 1][LOW][PIECE], lane[COLUMNS][LANES];
    float(*rows[CZ_COMPOSE_MAX_TAPS - 1])[PIECE];
    size_t from[CZ_COMPOSE_MAX_TAPS - 1], columns[CZ_COMPOSE_MAX_TAPS - 1];
    for (size_t q = 0; q < p->later; q++) {
        rows[q] = low[q];
        from[q] = p->taps[q].x[u->x0].low;
        columns[q] = p->taps[q].x[u->x1 - 1].high - from[q] + 1;
    }
    memset(lane, 0, sizeof lane);
    for (size_t k = 0; k < p->hidden; k += PIECE) {
        const size_t n = p->hidden - k < PIECE ? p->hidden - k : PIECE;
        for (size_t q = 0; q < p->later; q++)
            blend_rows(&p->taps[q], u->y, from[q], columns[q], p->hidden, k, n, low[q]);
        for (size_t x = u->x0; x < u->x1; x++) {
            const float *first = u->first + (x - u->x0) * p->hidden + k, step = u->steps ? u->steps[x - u->x0] : 1.0f;
            if (p->later == 1 && n % LANES == 0) {
                const cz_axis_step h = p->taps[0].x[x];
                fused_patch(p, first, step, k, n, low[0][h.low - from[0]], low[0][h.high - from[0]], h.t,
                            lane[x - u->x0]);
            } else {
                any_patch(p, first, step, k, n, rows, from, x, lane[x - u->x0]);
            }
        }
    }
    for (size_t x = 0; x < u->x1 - u->x0; x++) {
        float score = 0;
        for (size_t j = 0; j < LANES; j++) score += lane[x][j];
        scores[x] = score;
    }
}

CZ_SIMD_KERNEL(score_unit, (const cz_compose_pass *p, const unit *u, float *restrict scores), (p, u, scores))

/* As many columns from x0 on, at most COLUMNS of them, as a unit has room for the later taps' columns of. */
static size_t unit_end(const cz_compose_pass *p, size_t x0)
{
    size_t x1 = p->width - x0 < COLUMNS ? p->width : x0 + COLUMNS;
    for (size_t q = 0; q < p->later; q++)
        while (x1 > x0 + 1 && p->taps[q].x[x1 - 1].high - p->taps[q].x[x0].low + 1 > LOW) x1--;
    return x1;
}

void cz_compose_rows(const cz_compose_pass *p, size_t y, size_t rows, float *scores)
{
    const size_t across = (p->width + COLUMNS - 1) / COLUMNS;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < rows * across; i++) {
        const size_t row = i / across, until = i % across + 1 < across ? (i % across + 1) * COLUMNS : p->width;
        for (size_t x = i % across * COLUMNS, end; x < until; x = end) {
            end = unit_end(p, x) < until ? unit_end(p, x) : until;
            const size_t patch = row * p->width + x;
            const unit u = {y + row, x, end, p->first + patch * p->hidden,
                            p->first_steps ? p->first_steps + patch : NULL};
            score_unit(p, &u, scores + patch);
        }
    }
}

/* ---- 8 bits --------------------------------------------------------------------------------------------------------- */

/* As integers, bf16 values that are not negative stand in their own order, negative ones in the opposite one, after all others. */
CZ_INLINE void extremes_body(const uint16_t *restrict values, size_t n, int16_t *restrict largest,
                             uint16_t *restrict lowest)
{
    int16_t a = 0;
    uint16_t b = 0;
    for (size_t i = 0; i < n; i++) {
        const int16_t v = (int16_t)values[i];
        a = v > a ? v : a;
        b = values[i] > b ? values[i] : b;
    }
    *largest = a;
    *lowest = b;
}

CZ_SIMD_KERNEL(extremes,
               (const uint16_t *restrict values, size_t n, int16_t *restrict largest, uint16_t *restrict lowest),
               (values, n, largest, lowest))

void cz_compose_range(const uint16_t *values, size_t n, float range[2])
{
    int largest = 0, lowest = 0;
#pragma omp parallel for schedule(static) reduction(max : largest, lowest) if (n > CHUNK)
    for (size_t i = 0; i < n; i += CHUNK) {
        int16_t a;
        uint16_t b;
        extremes(values + i, n - i < CHUNK ? n - i : CHUNK, &a, &b);
        if (a > largest) largest = a;
        if (b > lowest) lowest = b;
    }
    range[0] = lowest > 0x8000 ? cz_bf16_to_f32((uint16_t)lowest) : 0.0f;
    range[1] = cz_bf16_to_f32((uint16_t)largest);
}

CZ_INLINE void quantise_body(const uint16_t *restrict values, size_t n, float inverse, float zero,
                             uint8_t *restrict out)
{
    for (size_t i = 0; i < n; i++) {
        const uint32_t bits = (uint32_t)values[i] << 16;
        float v;
        memcpy(&v, &bits, sizeof v);
        /* adding 2^23 leaves the nearest integer in the low bits */
        const float q = v * inverse + zero + 0x1p23f;
        uint32_t sum;
        memcpy(&sum, &q, sizeof sum);
        int32_t whole = (int32_t)(sum - 0x4b000000u);
        whole = whole > 0 ? whole : 0;
        out[i] = (uint8_t)(whole < 255 ? whole : 255);
    }
}

CZ_SIMD_KERNEL(quantise, (const uint16_t *restrict values, size_t n, float inverse, float zero, uint8_t *restrict out),
               (values, n, inverse, zero, out))

void cz_compose_quantise(const uint16_t *values, size_t n, float inverse, float zero, uint8_t *out)
{
#pragma omp parallel for schedule(static) if (n > CHUNK)
    for (size_t i = 0; i < n; i += CHUNK) quantise(values + i, n - i < CHUNK ? n - i : CHUNK, inverse, zero, out + i);
}

bool cz_compose_quantise_rows(const uint16_t *in, size_t rows, size_t count, float *steps, uint8_t *out)
{
    int refused = 0;
#pragma omp parallel for schedule(static) reduction(| : refused) if (rows * count > CHUNK)
    for (size_t r = 0; r < rows; r++) {
        const uint16_t *row = in + r * count;
        int16_t largest;
        uint16_t lowest;
        extremes(row, count, &largest, &lowest);
        const float top = cz_bf16_to_f32((uint16_t)largest);
        refused |= lowest > 0x8000 || !isfinite(top);
        steps[r] = top > 0 && isfinite(top) ? top / 255.0f : 1.0f;
        quantise(row, count, 1.0f / steps[r], 0.0f, out + r * count);
    }
    return refused == 0;
}
