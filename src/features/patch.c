/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Patch features (docs/math.md section 2) without unfolding. Unfolding to (c, ky, kx), adaptive pooling of 9 C values to
 * D, concatenation of T taps and adaptive pooling of T D to D are linear, so each output is a weighted sum of one
 * contiguous range of the 9 C flat values:
 *   concatenated entry j of tap t = mean of flat entries floor(j L / D) … ceil((j + 1) L / D) - 1, L = 9 C;
 *   output i = mean of concatenated entries i T … i T + T - 1.
 * With a neighbourhood of one cell L = C.
 * They also commute with the bilinear upsampling, so every tap is pooled at its own resolution.
 */
#include "features/patch.h"

#include "features/patch_internal.h"
#include "features/simd.h"
#include "util/alloc.h"

#include <string.h>

#define MAX_TAPS 64

struct cz_pooler {
    cz_tap_plan *taps;
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
static size_t column_range(const cz_tap_plan *t, size_t tap, size_t taps, size_t width, size_t column, size_t *start,
                           double *w)
{
    const size_t length = t->shape.channels * t->cells, low = tap * width, high = low + width;
    size_t j0 = column * taps, j1 = j0 + taps, end = 0;
    j0 = j0 > low ? j0 - low : 0;
    j1 = (j1 < high ? j1 : high) - low;
    *start = j0 * length / width;
    if (w) memset(w, 0, ((j1 * length + width - 1) / width - *start) * sizeof *w);
    for (size_t j = j0; j < j1; j++) end = add_entry(j, length, width, 1.0 / (double)taps, *start, w);
    return end;
}

/* Does every output consist of `run` whole (c, ky) rows with the same three weights? start: [count], weights [count, span] */
static void find_fast_form(cz_tap_plan *t, const uint32_t *start, const float *weights)
{
    const size_t run = t->span / 3;
    t->run = 0;
    if (t->cells != 9) return;
    if (t->span % 3 != 0 || run > CZ_POOL_CHANNELS || t->shape.channels * 3 != run * t->count) return;
    if (CZ_POOL_CHANNELS * 3 % run != 0 || t->shape.channels % 2 != 0) return;
    for (size_t i = 0; i < t->count; i++) {
        if (start[i] != i * t->span) return;
        for (size_t f = 0; f < t->span; f++)
            if (weights[i * t->span + f] != weights[f % 3]) return;
    }
    memcpy(t->kernel, weights, sizeof t->kernel);
    t->run = run;
}

/* The general form's table, turned. */
static cz_status make_table(cz_tap_plan *t, const uint32_t *start, const float *weights)
{
    size_t places;
    if (!cz_mul_size(t->count, t->span, &places)) return cz_fail(CZ_E_LIMIT, "patch features: too wide");
    t->weight = cz_calloc(places, sizeof *t->weight);
    t->place = cz_calloc(places, sizeof *t->place);
    if (!t->weight || !t->place) return CZ_E_MEMORY;
    for (size_t i = 0; i < t->count; i++) {
        for (size_t f = 0; f < t->span; f++) {
            const size_t flat = start[i] + f;
            t->weight[f * t->count + i] = weights[i * t->span + f];
            const size_t k = t->cells == 1 ? 4 : flat % 9; /* alone: the one in the middle */
            t->place[f * t->count + i] = (int32_t)(k * t->shape.channels + flat / t->cells);
        }
    }
    return CZ_OK;
}

static cz_status plan_tap(cz_tap_plan *t, size_t tap, size_t taps, size_t width)
{
    cz_status status = CZ_E_MEMORY;
    const size_t length = t->shape.channels * t->cells;
    size_t first, places;
    t->first = tap * width / taps;
    t->count = ((tap + 1) * width + taps - 1) / taps - t->first;
    for (size_t i = 0; i < t->count; i++) {
        const size_t n = column_range(t, tap, taps, width, t->first + i, &first, NULL) - first;
        if (n > t->span) t->span = n;
    }
    if (!cz_mul_size(t->count, t->span, &places)) return cz_fail(CZ_E_LIMIT, "patch features: too wide");
    uint32_t *start = cz_alloc_array(t->count, sizeof *start);
    float *weights = cz_calloc(places, sizeof *weights);
    double *w = cz_alloc_array(t->span, sizeof *w);
    t->zeros = cz_calloc(t->shape.channels, sizeof *t->zeros);
    if (!start || !weights || !w || !t->zeros) goto out;
    for (size_t i = 0; i < t->count; i++) {
        const size_t n = column_range(t, tap, taps, width, t->first + i, &first, w) - first;
        const size_t shift = first + t->span > length ? first + t->span - length : 0; /* stay inside */
        start[i] = (uint32_t)(first - shift);
        for (size_t f = 0; f < n; f++) weights[i * t->span + shift + f] = (float)w[f];
    }
    find_fast_form(t, start, weights);
    status = t->run > 0 ? CZ_OK : make_table(t, start, weights);
out:
    cz_free(start);
    cz_free(weights);
    cz_free(w);
    return status;
}

static cz_status check(const cz_tap_shape *taps, size_t count, size_t width)
{
    if (!taps || count == 0 || count > MAX_TAPS) return cz_fail(CZ_E_ARG, "patch features: 1 to 64 taps");
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

cz_status cz_pooler_create(const cz_tap_shape *taps, size_t count, size_t width, size_t side, cz_pooler **out)
{
    cz_status status = check(taps, count, width);
    if (status != CZ_OK) return status;
    if (side != 1 && side != 3)
        return cz_fail(CZ_E_ARG, "patch features: a neighbourhood of %zu is neither 1 nor 3", side);
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
        cz_tap_plan *plan = &p->taps[t];
        plan->shape = taps[t];
        plan->cells = side * side;
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
        cz_free(p->taps[t].weight);
        cz_free(p->taps[t].place);
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

void cz_pooler_order(const cz_pooler *p, size_t tap, size_t *order)
{
    cz_pool_order(&p->taps[tap], order);
}

void cz_pooler_tap(const cz_pooler *p, size_t tap, const float *map, float scale, float *out)
{
    const cz_pool_to to = {out, p->taps[tap].count, false, false};
    cz_pool_map(&p->taps[tap], (cz_pool_from){map, false}, scale, to);
}

void cz_pooler_tap_ordered(const cz_pooler *p, size_t tap, const uint16_t *map, float scale, bool bf16, void *out)
{
    const cz_pool_to to = {out, p->taps[tap].count, bf16, true};
    cz_pool_map(&p->taps[tap], (cz_pool_from){map, true}, scale, to);
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

CZ_SIMD_KERNEL(blend, (const corners *q, size_t n, bool add, float *restrict out), (q, n, add, out))

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
    blend(&q, in->n, add, out);
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
    const cz_tap_plan *before = &p->taps[t - 1];
    return before->first + before->count > p->taps[t].first ? 1 : 0;
}

static void all_patches(const cz_pooler *p, const cz_pool_from *maps, float scale, float *scratch, float *out)
{
    cz_pool_map(&p->taps[0], maps[0], scale, (cz_pool_to){out, p->width, false, false});
    for (size_t t = 1; t < p->count; t++) {
        const cz_tap_plan *plan = &p->taps[t];
        const size_t shared = shared_columns(p, t), count = plan->count;
        cz_pool_map(plan, maps[t], scale, (cz_pool_to){scratch, count, false, false});
        const low_map first = {scratch, plan->shape.height, plan->shape.width, shared, count};
        const low_map rest = {scratch + shared, plan->shape.height, plan->shape.width, count - shared, count};
        if (shared > 0) upsample_map(p, &first, out + plan->first, p->width, true);
        upsample_map(p, &rest, out + plan->first + shared, p->width, false);
    }
}

/* Pools those pixels of a later tap that the chosen rows look at. Flags: [h * w] bytes, cleared here. */
static void pool_needed(const cz_pooler *p, const cz_tap_plan *t, cz_pool_from map, float scale, const size_t *rows,
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
        if (needed[i]) cz_pool_pixel(t, map, scale, i, (cz_pool_to){pooled, t->count, false, false});
}

static void some_patches(const cz_pooler *p, const cz_pool_from *maps, float scale, const size_t *rows,
                         size_t row_count, float *scratch, float *out)
{
    const size_t gh = cz_pooler_grid_h(p), gw = cz_pooler_grid_w(p), width = p->width;
    const cz_tap_plan *base = &p->taps[0];
#pragma omp parallel for schedule(static) if (row_count * base->count > 16384)
    for (size_t i = 0; i < row_count; i++) {
        /* cz_pool_pixel counts from the map's first pixel; row i of out stands for pixel rows[i] */
        cz_pool_pixel(base, maps[0], scale, rows[i], (cz_pool_to){out + i * width, 0, false, false});
    }
    for (size_t t = 1; t < p->count; t++) {
        const cz_tap_plan *plan = &p->taps[t];
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

void cz_pooler_patches(const cz_pooler *p, const float *const *maps, float scale, float *scratch, float *out)
{
    cz_pool_from from[MAX_TAPS];
    for (size_t t = 0; t < p->count; t++) from[t] = (cz_pool_from){maps[t], false};
    all_patches(p, from, scale, scratch, out);
}

void cz_pooler_patches_bf16(const cz_pooler *p, const uint16_t *const *maps, float scale, float *scratch, float *out)
{
    cz_pool_from from[MAX_TAPS];
    for (size_t t = 0; t < p->count; t++) from[t] = (cz_pool_from){maps[t], true};
    all_patches(p, from, scale, scratch, out);
}

void cz_pooler_rows(const cz_pooler *p, const float *const *maps, float scale, const size_t *rows, size_t row_count,
                    float *scratch, float *out)
{
    cz_pool_from from[MAX_TAPS];
    for (size_t t = 0; t < p->count; t++) from[t] = (cz_pool_from){maps[t], false};
    some_patches(p, from, scale, rows, row_count, scratch, out);
}

void cz_pooler_rows_bf16(const cz_pooler *p, const uint16_t *const *maps, float scale, const size_t *rows,
                         size_t row_count, float *scratch, float *out)
{
    cz_pool_from from[MAX_TAPS];
    for (size_t t = 0; t < p->count; t++) from[t] = (cz_pool_from){maps[t], true};
    some_patches(p, from, scale, rows, row_count, scratch, out);
}
