/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Patch features (docs/math.md section 2) without unfolding. Unfolding to (c, ky, kx), adaptive pooling of 9 C values to
 * D, concatenation of T taps and adaptive pooling of T D to D are linear, so each output is a weighted sum of one
 * contiguous range of the 9 C flat values:
 *   concatenated entry j of tap t = mean of flat entries floor(j L / D) … ceil((j + 1) L / D) - 1, L = 9 C;
 *   output i = mean of concatenated entries i T … i T + T - 1.
 * They also commute with the bilinear upsampling, so every tap is pooled at its own resolution.
 */
#include "features/patch.h"

#include "features/simd.h"
#include "util/alloc.h"

#include <string.h>

#define CHANNEL_BLOCK 256 /* channels of a tile; with TILE_X columns and 3 rows it stays in the first-level cache */
#define TILE_X        8
#define UNFOLD_BLOCK  256 /* channels unfolded at once in the general form */

typedef struct tap_plan {
    cz_tap_shape shape;
    size_t first, count; /* columns of D */
    /* general form: output i = sum over f < span of weight[i * span + f] * flat[start[i] + f] */
    size_t span;
    uint32_t *start; /* [count] first flat entry */
    float *weight;   /* [count, span]; windows are up to `span` long, shorter ones have weights of 0 */
    /* Fast form: output i = rows i*run … i*run + run - 1 of (c, ky), each weighted by kernel over kx. 0: not possible. */
    size_t run;
    float kernel[3];
    float *zeros; /* [C] stands for what lies outside the map */
} tap_plan;

struct cz_pooler {
    tap_plan *taps;
    size_t count, width, scratch;
};

/* ---- plan -------------------------------------------------------------------------------------------------------- */

/* Adds the share of concatenated entry j to w[flat - base]; returns the end of the range. */
static size_t add_entry(size_t j, size_t length, size_t width, double share, size_t base, double *w)
{
    const size_t start = j * length / width, end = ((j + 1) * length + width - 1) / width;
    if (w)
        for (size_t f = start; f < end; f++) w[f - base] += share / (double)(end - start);
    return end;
}

/* Flat range [*start, return) of column `column`; weights into w if not NULL (cleared here). */
static size_t column_range(const tap_plan *t, size_t tap, size_t taps, size_t width, size_t column, size_t *start,
                           double *w)
{
    const size_t length = t->shape.channels * 9, low = tap * width, high = low + width;
    size_t j0 = column * taps, j1 = j0 + taps, end = 0;
    j0 = j0 > low ? j0 - low : 0;
    j1 = (j1 < high ? j1 : high) - low;
    *start = j0 * length / width;
    if (w) memset(w, 0, ((j1 * length + width - 1) / width - *start) * sizeof *w);
    for (size_t j = j0; j < j1; j++) end = add_entry(j, length, width, 1.0 / (double)taps, *start, w);
    return end;
}

/* Does every output consist of `run` whole (c, ky) rows with the same three weights? */
static void find_fast_form(tap_plan *t)
{
    const size_t run = t->span / 3;
    t->run = 0;
    if (t->span % 3 != 0 || run > CHANNEL_BLOCK || t->shape.channels * 3 != run * t->count) return;
    if (CHANNEL_BLOCK * 3 % run != 0) return;
    for (size_t i = 0; i < t->count; i++) {
        if (t->start[i] != i * t->span) return;
        for (size_t f = 0; f < t->span; f++)
            if (t->weight[i * t->span + f] != t->weight[f % 3]) return;
    }
    memcpy(t->kernel, t->weight, sizeof t->kernel);
    t->run = run;
}

static cz_status plan_tap(tap_plan *t, size_t tap, size_t taps, size_t width)
{
    const size_t length = t->shape.channels * 9;
    size_t start, places;
    t->first = tap * width / taps;
    t->count = ((tap + 1) * width + taps - 1) / taps - t->first;
    for (size_t i = 0; i < t->count; i++) {
        const size_t n = column_range(t, tap, taps, width, t->first + i, &start, NULL) - start;
        if (n > t->span) t->span = n;
    }
    if (!cz_mul_size(t->count, t->span, &places)) return cz_fail(CZ_E_LIMIT, "patch features: too wide");
    t->start = cz_alloc_array(t->count, sizeof *t->start);
    t->weight = cz_calloc(places, sizeof *t->weight);
    t->zeros = cz_calloc(t->shape.channels, sizeof *t->zeros);
    double *w = cz_alloc_array(t->span, sizeof *w);
    if (!t->start || !t->weight || !t->zeros || !w) {
        cz_free(w);
        return CZ_E_MEMORY;
    }
    for (size_t i = 0; i < t->count; i++) {
        const size_t n = column_range(t, tap, taps, width, t->first + i, &start, w) - start;
        const size_t shift = start + t->span > length ? start + t->span - length : 0; /* stay inside */
        t->start[i] = (uint32_t)(start - shift);
        for (size_t f = 0; f < n; f++) t->weight[i * t->span + shift + f] = (float)w[f];
    }
    cz_free(w);
    find_fast_form(t);
    return CZ_OK;
}

static cz_status check(const cz_tap_shape *taps, size_t count, size_t width)
{
    if (!taps || count == 0 || count > 64) return cz_fail(CZ_E_ARG, "patch features: 1 to 64 taps");
    if (width == 0 || width > 1u << 20) return cz_fail(CZ_E_ARG, "patch features: a width of 1 to 1048576");
    for (size_t t = 0; t < count; t++) {
        const cz_tap_shape s = taps[t];
        size_t values;
        if (s.channels == 0 || s.channels > 1u << 20 || s.height == 0 || s.width == 0)
            return cz_fail(CZ_E_ARG, "patch features: tap %zu is %zux%zux%zu", t, s.channels, s.height, s.width);
        const size_t wide = s.channels > width ? s.channels : width; /* of this map and of all that is made from it */
        if (!cz_mul_size(s.height, s.width, &values) || !cz_mul_size(values, wide, &values) || values > SIZE_MAX / 64)
            return cz_fail(CZ_E_LIMIT, "patch features: tap %zu is too large", t);
    }
    return CZ_OK;
}

cz_status cz_pooler_create(const cz_tap_shape *taps, size_t count, size_t width, cz_pooler **out)
{
    cz_status status = check(taps, count, width);
    if (status != CZ_OK) return status;
    cz_pooler *p = cz_calloc(1, sizeof *p);
    if (!p) return CZ_E_MEMORY;
    p->width = width;
    p->count = count;
    p->taps = cz_calloc(count, sizeof *p->taps);
    if (!p->taps) {
        status = CZ_E_MEMORY;
        goto out;
    }
    for (size_t t = 0; t < count; t++) {
        tap_plan *plan = &p->taps[t];
        plan->shape = taps[t];
        CZ_TRY(plan_tap(plan, t, count, width));
        /* a pooled map and one flag a pixel (cz_pooler_rows) */
        const size_t need = taps[t].height * taps[t].width * (plan->count + 1);
        if (t > 0 && need > p->scratch) p->scratch = need;
    }
    *out = p;
    p = NULL;
out:
    cz_pooler_destroy(p);
    return status;
}

void cz_pooler_destroy(cz_pooler *p)
{
    if (!p) return;
    for (size_t t = 0; p->taps && t < p->count; t++) {
        cz_free(p->taps[t].start);
        cz_free(p->taps[t].weight);
        cz_free(p->taps[t].zeros);
    }
    cz_free(p->taps);
    cz_free(p);
}

size_t cz_pooler_taps(const cz_pooler *p)
{
    return p->count;
}

size_t cz_pooler_width(const cz_pooler *p)
{
    return p->width;
}

size_t cz_pooler_grid_h(const cz_pooler *p)
{
    return p->taps[0].shape.height;
}

size_t cz_pooler_grid_w(const cz_pooler *p)
{
    return p->taps[0].shape.width;
}

void cz_pooler_columns(const cz_pooler *p, size_t tap, size_t *first, size_t *count)
{
    *first = p->taps[tap].first;
    *count = p->taps[tap].count;
}

size_t cz_pooler_scratch(const cz_pooler *p)
{
    return p->scratch;
}

/* ---- pooling, general form ------------------------------------------------------------------------------------------ */

/* The channels of the pixel at (y + dy - 1, x + dx - 1), zeros outside. */
static inline const float *pixel(const tap_plan *t, const float *map, size_t y, size_t x, size_t dy, size_t dx)
{
    if (y + dy < 1 || y + dy > t->shape.height || x + dx < 1 || x + dx > t->shape.width) return t->zeros;
    return map + ((y + dy - 1) * t->shape.width + (x + dx - 1)) * t->shape.channels;
}

/* One output straight from the map: a window longer than the unfolded block. */
static float long_window(const float *const near[9], const float *w, size_t start, size_t n)
{
    float sum = 0.0f;
    for (size_t f = start; f < start + n; f++) sum += w[f - start] * near[f % 9][f / 9];
    return sum;
}

static void unfold(const float *const near[9], size_t c0, size_t c1, float *flat)
{
    for (size_t c = c0; c < c1; c++)
        for (size_t k = 0; k < 9; k++) flat[(c - c0) * 9 + k] = near[k][c];
}

/* Outputs [i0, i1) from the flat entries that begin at `base`; four at a time keep the adder busy. */
static void weighted_windows(const tap_plan *t, size_t i0, size_t i1, const float *flat, size_t base, float scale,
                             float *out)
{
    const size_t span = t->span;
    size_t i = i0;
    for (; i + 4 <= i1; i += 4) {
        const float *w = t->weight + i * span;
        const float *v0 = flat + (t->start[i] - base), *v1 = flat + (t->start[i + 1] - base);
        const float *v2 = flat + (t->start[i + 2] - base), *v3 = flat + (t->start[i + 3] - base);
        float s0 = 0.0f, s1 = 0.0f, s2 = 0.0f, s3 = 0.0f;
        for (size_t f = 0; f < span; f++) {
            s0 += w[f] * v0[f];
            s1 += w[f + span] * v1[f];
            s2 += w[f + 2 * span] * v2[f];
            s3 += w[f + 3 * span] * v3[f];
        }
        out[i] = s0 * scale;
        out[i + 1] = s1 * scale;
        out[i + 2] = s2 * scale;
        out[i + 3] = s3 * scale;
    }
    for (; i < i1; i++) {
        float sum = 0.0f;
        for (size_t f = 0; f < span; f++) sum += t->weight[i * span + f] * flat[t->start[i] - base + f];
        out[i] = sum * scale;
    }
}

/* Unfolds a few channels at a time, in (c, ky, kx) order, for the outputs whose windows lie in them. */
static void pool_pixel_general(const tap_plan *t, const float *map, float scale, size_t y, size_t x, float *out)
{
    const float *near[9];
    float flat[UNFOLD_BLOCK * 9];
    for (size_t k = 0; k < 9; k++) near[k] = pixel(t, map, y, x, k / 3, k % 3);
    for (size_t i = 0; i < t->count;) {
        const size_t c0 = t->start[i] / 9, left = t->shape.channels - c0;
        const size_t c1 = c0 + (left < UNFOLD_BLOCK ? left : UNFOLD_BLOCK);
        size_t end = i;
        while (end < t->count && t->start[end] + t->span <= c1 * 9) end++;
        if (end == i) {
            out[i] = long_window(near, t->weight + i * t->span, t->start[i], t->span) * scale;
            i++;
            continue;
        }
        unfold(near, c0, c1, flat);
        weighted_windows(t, i, end, flat, c0 * 9, scale, out);
        i = end;
    }
}

/* ---- pooling, fast form --------------------------------------------------------------------------------------------- */

/* r[c] = the three columns of one row, weighted: x[ky] of docs/math.md section 2 before the shift by ky. */
CZ_INLINE void sum_columns(const float *restrict a, const float *restrict b, const float *restrict c, const float k[3],
                           size_t n, float *restrict r)
{
    for (size_t i = 0; i < n; i++) r[i] = k[0] * a[i] + k[1] * b[i] + k[2] * c[i];
}

/* out[i] = scale * sum of rows i*run … of (c, ky); row (c, ky) is r_ky[c]. The common cases: 3 outputs from `run` channels. */
CZ_INLINE void combine(const float *restrict r0, const float *restrict r1, const float *restrict r2, size_t run,
                       float scale, size_t channels, float *restrict out)
{
    if (run == 1) {
        for (size_t c = 0; c < channels; c++) {
            out[3 * c] = r0[c] * scale;
            out[3 * c + 1] = r1[c] * scale;
            out[3 * c + 2] = r2[c] * scale;
        }
    } else if (run == 2) {
        for (size_t m = 0; m < channels / 2; m++) {
            out[3 * m] = (r0[2 * m] + r1[2 * m]) * scale;
            out[3 * m + 1] = (r2[2 * m] + r0[2 * m + 1]) * scale;
            out[3 * m + 2] = (r1[2 * m + 1] + r2[2 * m + 1]) * scale;
        }
    } else if (run == 4) {
        for (size_t m = 0; m < channels / 4; m++) {
            const size_t c = 4 * m;
            out[3 * m] = (((r0[c] + r1[c]) + r2[c]) + r0[c + 1]) * scale;
            out[3 * m + 1] = (((r1[c + 1] + r2[c + 1]) + r0[c + 2]) + r1[c + 2]) * scale;
            out[3 * m + 2] = (((r2[c + 2] + r0[c + 3]) + r1[c + 3]) + r2[c + 3]) * scale;
        }
    } else {
        float rows[3 * CHANNEL_BLOCK]; /* in (c, ky) order */
        for (size_t c = 0; c < channels; c++) {
            rows[3 * c] = r0[c];
            rows[3 * c + 1] = r1[c];
            rows[3 * c + 2] = r2[c];
        }
        for (size_t i = 0; i < channels * 3 / run; i++) {
            float sum = rows[i * run];
            for (size_t f = 1; f < run; f++) sum += rows[i * run + f];
            out[i] = sum * scale;
        }
    }
}

/* Rows [y0, y1), columns [x0, x1), channels [c0, c1): goes down the map with three summed rows at hand. */
CZ_INLINE void pool_tile_body(const tap_plan *t, const float *map, float scale, const size_t y[2], const size_t x[2],
                              const size_t c[2], float *out, size_t out_stride)
{
    float ring[3][TILE_X][CHANNEL_BLOCK];
    const size_t n = c[1] - c[0], column = c[0] * 3 / t->run;
    /* rows are counted from 1, so that row 0 is the one above the map */
    for (size_t row = y[0]; row < y[1] + 2; row++) {
        for (size_t u = x[0]; u < x[1]; u++)
            sum_columns(pixel(t, map, row, u, 0, 0) + c[0], pixel(t, map, row, u, 0, 1) + c[0],
                        pixel(t, map, row, u, 0, 2) + c[0], t->kernel, n, ring[row % 3][u - x[0]]);
        if (row < y[0] + 2) continue;
        float *to = out + (row - 2) * t->shape.width * out_stride + column;
        for (size_t u = x[0]; u < x[1]; u++)
            combine(ring[(row - 2) % 3][u - x[0]], ring[(row - 1) % 3][u - x[0]], ring[row % 3][u - x[0]], t->run,
                    scale, n, to + u * out_stride);
    }
}

static void pool_tile_plain(const tap_plan *t, const float *map, float scale, const size_t y[2], const size_t x[2],
                            const size_t c[2], float *out, size_t out_stride)
{
    pool_tile_body(t, map, scale, y, x, c, out, out_stride);
}

CZ_TARGET_AVX2 static void pool_tile_avx2(const tap_plan *t, const float *map, float scale, const size_t y[2],
                                          const size_t x[2], const size_t c[2], float *out, size_t out_stride)
{
    pool_tile_body(t, map, scale, y, x, c, out, out_stride);
}

/* One part of a map, general or fast; the value of an output does not depend on how the map was cut. */
static void pool_part(const tap_plan *t, const float *map, float scale, const size_t y[2], const size_t x[2],
                      const size_t c[2], float *out, size_t out_stride)
{
    if (t->run > 0) {
        if (cz_has_avx2())
            pool_tile_avx2(t, map, scale, y, x, c, out, out_stride);
        else
            pool_tile_plain(t, map, scale, y, x, c, out, out_stride);
        return;
    }
    for (size_t v = y[0]; v < y[1]; v++)
        for (size_t u = x[0]; u < x[1]; u++)
            pool_pixel_general(t, map, scale, v, u, out + (v * t->shape.width + u) * out_stride);
}

/* Channels of a tile: a multiple of `run`, so that a tile makes whole outputs. */
static size_t channel_block(const tap_plan *t)
{
    return t->run > 0 ? CHANNEL_BLOCK : t->shape.channels;
}

static void pool_map(const tap_plan *t, const float *map, float scale, float *out, size_t out_stride)
{
    const size_t channels = t->shape.channels, h = t->shape.height, w = t->shape.width;
    const size_t block = channel_block(t), bands = h < 8 ? 1 : h < 32 ? 2 : 4;
    const size_t blocks = (channels + block - 1) / block, across = (w + TILE_X - 1) / TILE_X;
#pragma omp parallel for schedule(static) if (h * w * channels > 32768)
    for (size_t i = 0; i < bands * across * blocks; i++) {
        const size_t band = i / (across * blocks), a = i / blocks % across, b = i % blocks;
        const size_t y[2] = {band * h / bands, (band + 1) * h / bands};
        const size_t x[2] = {a * TILE_X, (a + 1) * TILE_X < w ? (a + 1) * TILE_X : w};
        const size_t c[2] = {b * block, (b + 1) * block < channels ? (b + 1) * block : channels};
        pool_part(t, map, scale, y, x, c, out, out_stride);
    }
}

void cz_pooler_tap(const cz_pooler *p, size_t tap, const float *map, float scale, float *out)
{
    pool_map(&p->taps[tap], map, scale, out, p->taps[tap].count);
}

/* One pixel to out + pixel * out_stride, the same bits as pool_map's. */
static void pool_pixel(const tap_plan *t, const float *map, float scale, size_t index, float *out, size_t out_stride)
{
    const size_t v = index / t->shape.width, u = index % t->shape.width;
    const size_t y[2] = {v, v + 1}, x[2] = {u, u + 1}, block = channel_block(t);
    for (size_t c0 = 0; c0 < t->shape.channels; c0 += block) {
        const size_t c[2] = {c0, c0 + block < t->shape.channels ? c0 + block : t->shape.channels};
        pool_part(t, map, scale, y, x, c, out, out_stride);
    }
}

/* ---- upsampling ------------------------------------------------------------------------------------------------------ */

typedef struct lerp {
    size_t i0, i1;
    float w0, w1;
} lerp;

/* PyTorch's upsample_bilinear2d, align_corners=False: source = (i + 1/2) * in / out - 1/2, not below 0. */
static lerp lerp_at(size_t i, size_t in, size_t out)
{
    const float scale = (float)in / (float)out;
    float at = ((float)i + 0.5f) * scale - 0.5f;
    if (at < 0.0f) at = 0.0f;
    lerp l;
    l.i0 = (size_t)at;
    if (l.i0 > in - 1) l.i0 = in - 1;
    l.i1 = l.i0 + (l.i0 < in - 1 ? 1 : 0);
    l.w1 = at - (float)l.i0;
    l.w0 = 1.0f - l.w1;
    return l;
}

typedef struct corners {
    const float *a, *b, *c, *d; /* upper left, upper right, lower left, lower right */
    float wy0, wy1, wx0, wx1;
} corners;

CZ_INLINE void blend_body(const corners *q, size_t n, bool add, float *restrict out)
{
    const float *restrict a = q->a, *restrict b = q->b, *restrict c = q->c, *restrict d = q->d;
    const float wy0 = q->wy0, wy1 = q->wy1, wx0 = q->wx0, wx1 = q->wx1;
    if (add)
        for (size_t i = 0; i < n; i++) out[i] += wy0 * (wx0 * a[i] + wx1 * b[i]) + wy1 * (wx0 * c[i] + wx1 * d[i]);
    else
        for (size_t i = 0; i < n; i++) out[i] = wy0 * (wx0 * a[i] + wx1 * b[i]) + wy1 * (wx0 * c[i] + wx1 * d[i]);
}

static void blend_plain(const corners *q, size_t n, bool add, float *out)
{
    blend_body(q, n, add, out);
}

CZ_TARGET_AVX2 static void blend_avx2(const corners *q, size_t n, bool add, float *out)
{
    blend_body(q, n, add, out);
}

/* A map of rows of `n` used values, `stride` apart, on a tap's grid. */
typedef struct low_map {
    const float *values;
    size_t h, w, n, stride;
} low_map;

static void upsample_pixel(const low_map *in, lerp ly, lerp lx, bool add, float *out)
{
    const float *upper = in->values + ly.i0 * in->w * in->stride, *lower = in->values + ly.i1 * in->w * in->stride;
    const corners q = {upper + lx.i0 * in->stride,
                       upper + lx.i1 * in->stride,
                       lower + lx.i0 * in->stride,
                       lower + lx.i1 * in->stride,
                       ly.w0,
                       ly.w1,
                       lx.w0,
                       lx.w1};
    if (cz_has_avx2())
        blend_avx2(&q, in->n, add, out);
    else
        blend_plain(&q, in->n, add, out);
}

static void upsample_map(const cz_pooler *p, const low_map *in, float *out, size_t out_stride, bool add)
{
    const size_t gh = cz_pooler_grid_h(p), gw = cz_pooler_grid_w(p);
#pragma omp parallel for schedule(static) if (gh * gw * in->n > 32768)
    for (size_t y = 0; y < gh; y++) {
        const lerp ly = lerp_at(y, in->h, gh);
        for (size_t x = 0; x < gw; x++)
            upsample_pixel(in, ly, lerp_at(x, in->w, gw), add, out + (y * gw + x) * out_stride);
    }
}

void cz_pooler_upsample(const cz_pooler *p, size_t tap, const float *in, size_t n, float *out, size_t out_stride,
                        bool add)
{
    const low_map low = {in, p->taps[tap].shape.height, p->taps[tap].shape.width, n, n};
    upsample_map(p, &low, out, out_stride, add);
}

/* ---- all taps --------------------------------------------------------------------------------------------------------- */

/* Columns of tap t that an earlier tap has written too: they are added to. At most one, the first. */
static size_t shared_columns(const cz_pooler *p, size_t t)
{
    const tap_plan *before = &p->taps[t - 1];
    return before->first + before->count > p->taps[t].first ? 1 : 0;
}

void cz_pooler_patches(const cz_pooler *p, const float *const *maps, float scale, float *scratch, float *out)
{
    pool_map(&p->taps[0], maps[0], scale, out, p->width);
    for (size_t t = 1; t < p->count; t++) {
        const tap_plan *plan = &p->taps[t];
        const size_t shared = shared_columns(p, t), count = plan->count;
        pool_map(plan, maps[t], scale, scratch, count);
        const low_map first = {scratch, plan->shape.height, plan->shape.width, shared, count};
        const low_map rest = {scratch + shared, plan->shape.height, plan->shape.width, count - shared, count};
        if (shared > 0) upsample_map(p, &first, out + plan->first, p->width, true);
        upsample_map(p, &rest, out + plan->first + shared, p->width, false);
    }
}

/* Pools those pixels of a later tap that the chosen rows look at. Flags: [h * w] bytes, cleared here. */
static void pool_needed(const cz_pooler *p, const tap_plan *t, const float *map, float scale, const size_t *rows,
                        size_t row_count, float *pooled)
{
    const size_t gh = cz_pooler_grid_h(p), gw = cz_pooler_grid_w(p), w = t->shape.width, pixels = t->shape.height * w;
    uint8_t *needed = (uint8_t *)(void *)(pooled + pixels * t->count);
    memset(needed, 0, pixels);
    for (size_t i = 0; i < row_count; i++) {
        const lerp ly = lerp_at(rows[i] / gw, t->shape.height, gh), lx = lerp_at(rows[i] % gw, w, gw);
        needed[ly.i0 * w + lx.i0] = needed[ly.i0 * w + lx.i1] = 1;
        needed[ly.i1 * w + lx.i0] = needed[ly.i1 * w + lx.i1] = 1;
    }
#pragma omp parallel for schedule(dynamic, 16) if (pixels * t->shape.channels > 32768)
    for (size_t i = 0; i < pixels; i++)
        if (needed[i]) pool_pixel(t, map, scale, i, pooled, t->count);
}

void cz_pooler_rows(const cz_pooler *p, const float *const *maps, float scale, const size_t *rows, size_t row_count,
                    float *scratch, float *out)
{
    const size_t gh = cz_pooler_grid_h(p), gw = cz_pooler_grid_w(p), width = p->width;
    const tap_plan *base = &p->taps[0];
#pragma omp parallel for schedule(static) if (row_count * base->count > 16384)
    for (size_t i = 0; i < row_count; i++) {
        /* pool_pixel counts from the map's first pixel; row i of out stands for pixel rows[i] */
        pool_pixel(base, maps[0], scale, rows[i], out + i * width, 0);
    }
    for (size_t t = 1; t < p->count; t++) {
        const tap_plan *plan = &p->taps[t];
        const size_t shared = shared_columns(p, t), count = plan->count;
        pool_needed(p, plan, maps[t], scale, rows, row_count, scratch);
        const low_map first = {scratch, plan->shape.height, plan->shape.width, shared, count};
        const low_map rest = {scratch + shared, plan->shape.height, plan->shape.width, count - shared, count};
#pragma omp parallel for schedule(static) if (row_count * count > 16384)
        for (size_t i = 0; i < row_count; i++) {
            const lerp ly = lerp_at(rows[i] / gw, plan->shape.height, gh);
            const lerp lx = lerp_at(rows[i] % gw, plan->shape.width, gw);
            float *to = out + i * width + plan->first;
            if (shared > 0) upsample_pixel(&first, ly, lx, true, to);
            upsample_pixel(&rest, ly, lx, false, to + shared);
        }
    }
}
