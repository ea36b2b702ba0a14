/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pooling of one tap at its own resolution (docs/math.md section 2): the 3x3 neighbourhood's sums over kx first, three rows of
 * them at hand, then outputs from 1, 2 or 4 channels (the fast form); or any windows through a table (the general form).
 *
 * Channels are held as two halves, even and odd ones: two neighbouring bf16 values are one 32-bit word, so that parting them
 * costs nothing, and with 2 channels to 3 outputs everything stays element-wise.
 */
#include "features/patch_internal.h"
#include "features/simd.h"
#include "tensor/dtype.h"

#include <string.h>

#define CHANNEL_BLOCK CZ_POOL_CHANNELS
#define TILE_X        8
#define HALF          (CHANNEL_BLOCK / 2)
#define UNFOLD_MOST   2048 /* channels that the general form unfolds; more are read from the map */

typedef struct tile {
    size_t y[2], x[2], c[2]; /* rows, columns, channels: from, until */
} tile;

/* Sums over kx of one row of a tile. */
typedef struct halves {
    float even[HALF], odd[HALF];
} halves;

/* ---- types ---------------------------------------------------------------------------------------------------------- */

CZ_INLINE float as_float(uint32_t bits)
{
    float out;
    memcpy(&out, &bits, sizeof out);
    return out;
}

CZ_INLINE uint32_t pair_at(const uint16_t *values, size_t i)
{
    uint32_t pair;
    memcpy(&pair, values + 2 * i, sizeof pair);
    return pair;
}

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define FIRST(pair)  as_float((pair)&0xffff0000u)
#define SECOND(pair) as_float((pair) << 16)
#else
#define FIRST(pair)  as_float((pair) << 16)
#define SECOND(pair) as_float((pair)&0xffff0000u)
#endif

/* n floats -> bf16, cz_f32_to_bf16 written so that it vectorises */
CZ_INLINE void round_line_body(const float *restrict in, size_t n, uint16_t *restrict out)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, in + i, sizeof bits);
        const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
        out[i] = (uint16_t)((bits & 0x7fffffffu) > 0x7f800000u ? ((bits >> 16) | 0x40u) : rounded);
    }
}

/* Channel c0 of the pixel at (y + dy - 1, x + dx - 1), zeros outside. */
CZ_INLINE const void *pixel(const cz_tap_plan *t, cz_pool_from from, size_t y, size_t x, size_t k, size_t c0)
{
    const size_t dy = k / 3, dx = k % 3, size = from.bf16 ? sizeof(uint16_t) : sizeof(float);
    if (y + dy < 1 || y + dy > t->shape.height || x + dx < 1 || x + dx > t->shape.width) return t->zeros;
    const size_t at = ((y + dy - 1) * t->shape.width + (x + dx - 1)) * t->shape.channels + c0;
    return (const char *)from.values + at * size;
}

/* ---- fast form ------------------------------------------------------------------------------------------------------ */

/* The three columns of one row, weighted: x[ky] of docs/math.md section 2 before the shift by ky. n channels. */
CZ_INLINE void sum_columns(const void *left, const void *middle, const void *right, bool bf16, const float k[3],
                           size_t n, halves *restrict to)
{
    const float k0 = k[0], k1 = k[1], k2 = k[2];
    if (bf16) {
        const uint16_t *a = left, *b = middle, *c = right;
        for (size_t i = 0; i < n / 2; i++) {
            const uint32_t u = pair_at(a, i), v = pair_at(b, i), w = pair_at(c, i);
            to->even[i] = k0 * FIRST(u) + k1 * FIRST(v) + k2 * FIRST(w);
            to->odd[i] = k0 * SECOND(u) + k1 * SECOND(v) + k2 * SECOND(w);
        }
    } else {
        const float *a = left, *b = middle, *c = right;
        for (size_t i = 0; i < n / 2; i++) {
            to->even[i] = k0 * a[2 * i] + k1 * b[2 * i] + k2 * c[2 * i];
            to->odd[i] = k0 * a[2 * i + 1] + k1 * b[2 * i + 1] + k2 * c[2 * i + 1];
        }
    }
}

/* Three outputs from `run` channels, each a plane of its own; run 1 makes six planes from the halves. */
CZ_INLINE void combine_planes(const halves *restrict r0, const halves *restrict r1, const halves *restrict r2,
                              size_t run, float scale, size_t n, float *restrict out)
{
    const size_t m = n / run;
    if (run == 1) {
        const halves *const rows[3] = {r0, r1, r2};
        for (size_t k = 0; k < 3; k++)
            for (size_t i = 0; i < n / 2; i++) {
                out[k * (n / 2) + i] = rows[k]->even[i] * scale;
                out[(3 + k) * (n / 2) + i] = rows[k]->odd[i] * scale;
            }
    } else if (run == 2) {
        for (size_t i = 0; i < m; i++) {
            out[i] = (r0->even[i] + r1->even[i]) * scale;
            out[m + i] = (r2->even[i] + r0->odd[i]) * scale;
            out[2 * m + i] = (r1->odd[i] + r2->odd[i]) * scale;
        }
    } else {
        for (size_t i = 0; i < m; i++) {
            const size_t p = 2 * i, q = p + 1;
            out[i] = (((r0->even[p] + r1->even[p]) + r2->even[p]) + r0->odd[p]) * scale;
            out[m + i] = (((r1->odd[p] + r2->odd[p]) + r0->even[q]) + r1->even[q]) * scale;
            out[2 * m + i] = (((r2->even[q] + r0->odd[q]) + r1->odd[q]) + r2->odd[q]) * scale;
        }
    }
}

/* out[i] = scale * sum of rows i*run … of (c, ky) in column order. */
CZ_INLINE void combine_columns(const halves *restrict r0, const halves *restrict r1, const halves *restrict r2,
                               size_t run, float scale, size_t n, float *restrict out)
{
    if (run == 2) {
        for (size_t i = 0; i < n / 2; i++) {
            out[3 * i] = (r0->even[i] + r1->even[i]) * scale;
            out[3 * i + 1] = (r2->even[i] + r0->odd[i]) * scale;
            out[3 * i + 2] = (r1->odd[i] + r2->odd[i]) * scale;
        }
        return;
    }
    if (run == 4) {
        for (size_t i = 0; i < n / 4; i++) {
            const size_t p = 2 * i, q = p + 1;
            out[3 * i] = (((r0->even[p] + r1->even[p]) + r2->even[p]) + r0->odd[p]) * scale;
            out[3 * i + 1] = (((r1->odd[p] + r2->odd[p]) + r0->even[q]) + r1->even[q]) * scale;
            out[3 * i + 2] = (((r2->even[q] + r0->odd[q]) + r1->odd[q]) + r2->odd[q]) * scale;
        }
        return;
    }
    float rows[3 * CHANNEL_BLOCK]; /* in (c, ky) order */
    for (size_t i = 0; i < n / 2; i++) {
        rows[6 * i] = r0->even[i];
        rows[6 * i + 1] = r1->even[i];
        rows[6 * i + 2] = r2->even[i];
        rows[6 * i + 3] = r0->odd[i];
        rows[6 * i + 4] = r1->odd[i];
        rows[6 * i + 5] = r2->odd[i];
    }
    for (size_t i = 0; i < n * 3 / run; i++) {
        float sum = rows[i * run];
        for (size_t f = 1; f < run; f++) sum += rows[i * run + f];
        out[i] = sum * scale;
    }
}

/* Has the own order planes? Else it is that of the columns. */
static inline bool has_planes(const cz_tap_plan *t)
{
    return t->run == 1 || t->run == 2 || t->run == 4;
}

/* Outputs of one pixel of a tile to `row`, the pixel's first output in the target. */
CZ_INLINE void combine(const cz_tap_plan *t, const halves *const r[3], float scale, size_t n, cz_pool_to to, size_t row)
{
    float line[3 * CHANNEL_BLOCK];
    float *target = to.bf16 ? line : (float *)to.values + row;
    if (to.own_order && has_planes(t))
        combine_planes(r[0], r[1], r[2], t->run, scale, n, target);
    else
        combine_columns(r[0], r[1], r[2], t->run, scale, n, target);
    if (to.bf16) round_line_body(line, n * 3 / t->run, (uint16_t *)to.values + row);
}

/* Goes down the map with three summed rows at hand. */
CZ_INLINE void pool_tile_body(const cz_tap_plan *t, cz_pool_from from, float scale, const tile *part, cz_pool_to to)
{
    halves ring[3][TILE_X];
    const size_t c0 = part->c[0], n = part->c[1] - c0, column = c0 * 3 / t->run, x0 = part->x[0];
    /* rows are counted from 1, so that row 0 is the one above the map */
    for (size_t row = part->y[0]; row < part->y[1] + 2; row++) {
        for (size_t u = x0; u < part->x[1]; u++)
            sum_columns(pixel(t, from, row, u, 0, c0), pixel(t, from, row, u, 1, c0), pixel(t, from, row, u, 2, c0),
                        from.bf16, t->kernel, n, &ring[row % 3][u - x0]);
        if (row < part->y[0] + 2) continue;
        for (size_t u = x0; u < part->x[1]; u++) {
            const halves *const three[3] = {&ring[(row - 2) % 3][u - x0], &ring[(row - 1) % 3][u - x0],
                                            &ring[row % 3][u - x0]};
            combine(t, three, scale, n, to, ((row - 2) * t->shape.width + u) * to.stride + column);
        }
    }
}

CZ_SIMD_KERNEL(pool_tile, (const cz_tap_plan *t, cz_pool_from from, float scale, const tile *part, cz_pool_to to),
               (t, from, scale, part, to))

/* ---- general form --------------------------------------------------------------------------------------------------- */

CZ_INLINE float value_at(const void *near, bool bf16, size_t c)
{
    return bf16 ? cz_bf16_to_f32(((const uint16_t *)near)[c]) : ((const float *)near)[c];
}

/* More channels than are unfolded at once. */
static void pool_wide_pixel(const cz_tap_plan *t, const void *const near[9], bool bf16, float scale, size_t first,
                            size_t until, float *out)
{
    for (size_t i = first; i < until; i++) {
        float sum = 0.0f;
        for (size_t f = 0; f < t->span; f++) {
            const size_t place = (size_t)t->place[f * t->count + i];
            sum += t->weight[f * t->count + i] *
                   value_at(near[place / t->shape.channels], bf16, place % t->shape.channels);
        }
        out[i - first] = sum * scale;
    }
}

/* flat: [9, C], where the table's places point to */
CZ_INLINE void unfold(const void *const near[9], bool bf16, size_t channels, float *restrict flat)
{
    for (size_t k = 0; k < 9; k++) {
        if (!bf16) {
            memcpy(flat + k * channels, near[k], channels * sizeof *flat);
            continue;
        }
        const uint16_t *in = near[k];
        for (size_t c = 0; c < channels; c++) flat[k * channels + c] = as_float((uint32_t)in[c] << 16);
    }
}

/* Outputs [first, until) */
CZ_INLINE void pool_windows_body(const cz_tap_plan *t, const void *const near[9], bool bf16, float scale, size_t first,
                                 size_t until, float *restrict out)
{
    float flat[9 * UNFOLD_MOST];
    unfold(near, bf16, t->shape.channels, flat);
    /* window by window over all outputs: a long loop that can gather */
    for (size_t i = 0; i < until - first; i++) out[i] = 0.0f;
    for (size_t f = 0; f < t->span; f++) {
        const float *restrict w = t->weight + f * t->count + first;
        const int32_t *restrict place = t->place + f * t->count + first;
        for (size_t i = 0; i < until - first; i++) out[i] += w[i] * flat[place[i]];
    }
    for (size_t i = 0; i < until - first; i++) out[i] *= scale;
}

CZ_SIMD_KERNEL(pool_windows,
               (const cz_tap_plan *t, const void *const near[9], bool bf16, float scale, size_t first, size_t until,
                float *restrict out),
               (t, near, bf16, scale, first, until, out))
CZ_SIMD_KERNEL(round_line, (const float *restrict in, size_t n, uint16_t *restrict out), (in, n, out))

static void pool_pixel_general(const cz_tap_plan *t, cz_pool_from from, float scale, size_t y, size_t x, cz_pool_to to,
                               size_t row)
{
    enum { LINE = 4096 };
    const void *near[9];
    float line[LINE];
    for (size_t k = 0; k < 9; k++) near[k] = pixel(t, from, y, x, k, 0);
    for (size_t i = 0; i < t->count; i += LINE) {
        const size_t until = t->count - i < LINE ? t->count : i + LINE, at = row * to.stride + i;
        float *target = to.bf16 ? line : (float *)to.values + at;
        if (t->shape.channels > UNFOLD_MOST)
            pool_wide_pixel(t, near, from.bf16, scale, i, until, target);
        else
            pool_windows(t, near, from.bf16, scale, i, until, target);
        if (to.bf16) round_line(line, until - i, (uint16_t *)to.values + at);
    }
}

/* ---- parts ---------------------------------------------------------------------------------------------------------- */

/* One part of a map; the value of an output does not depend on how the map was cut. */
static void pool_part(const cz_tap_plan *t, cz_pool_from from, float scale, const tile *part, cz_pool_to to)
{
    if (t->run > 0) {
        pool_tile(t, from, scale, part, to);
        return;
    }
    for (size_t v = part->y[0]; v < part->y[1]; v++)
        for (size_t u = part->x[0]; u < part->x[1]; u++)
            pool_pixel_general(t, from, scale, v, u, to, v * t->shape.width + u);
}

/* Channels of a tile: a multiple of `run`, so that a tile makes whole outputs. */
static size_t channel_block(const cz_tap_plan *t)
{
    return t->run > 0 ? CHANNEL_BLOCK : t->shape.channels;
}

void cz_pool_map(const cz_tap_plan *t, cz_pool_from from, float scale, cz_pool_to to)
{
    const size_t channels = t->shape.channels, h = t->shape.height, w = t->shape.width;
    const size_t block = channel_block(t), bands = h < 8 ? 1 : h < 32 ? 2 : h / 8;
    const size_t blocks = (channels + block - 1) / block, across = (w + TILE_X - 1) / TILE_X;
#pragma omp parallel for schedule(static) if (h * w * channels > 32768)
    for (size_t i = 0; i < bands * across * blocks; i++) {
        const size_t band = i / (across * blocks), a = i / blocks % across, b = i % blocks;
        const tile part = {{band * h / bands, (band + 1) * h / bands},
                           {a * TILE_X, (a + 1) * TILE_X < w ? (a + 1) * TILE_X : w},
                           {b * block, (b + 1) * block < channels ? (b + 1) * block : channels}};
        pool_part(t, from, scale, &part, to);
    }
}

void cz_pool_pixel(const cz_tap_plan *t, cz_pool_from from, float scale, size_t index, cz_pool_to to)
{
    const size_t v = index / t->shape.width, u = index % t->shape.width, block = channel_block(t);
    for (size_t c0 = 0; c0 < t->shape.channels; c0 += block) {
        const tile part = {
            {v, v + 1}, {u, u + 1}, {c0, c0 + block < t->shape.channels ? c0 + block : t->shape.channels}};
        pool_part(t, from, scale, &part, to);
    }
}

void cz_pool_order(const cz_tap_plan *t, size_t *order)
{
    const size_t channels = t->shape.channels, run = t->run;
    if (!has_planes(t)) {
        for (size_t i = 0; i < t->count; i++) order[i] = i;
        return;
    }
    for (size_t c0 = 0; c0 < channels; c0 += CHANNEL_BLOCK) {
        const size_t n = channels - c0 < CHANNEL_BLOCK ? channels - c0 : CHANNEL_BLOCK;
        const size_t column = c0 * 3 / run, groups = run == 1 ? n / 2 : n / run, planes = run == 1 ? 6 : 3;
        for (size_t k = 0; k < planes; k++)
            for (size_t i = 0; i < groups; i++) order[column + k * groups + i] = column + i * planes + k;
    }
}
