/* SPDX-License-Identifier: Apache-2.0 */
#include "heads/compose.h"

#include "engine/engine.h"
#include "util/alloc.h"

#include <math.h>
#include <string.h>

enum { MAX_TAPS = 8, LANES = 16 };

/* Bilinear neighbours along one axis, align_corners=False: (1 - t) * row low + t * row high. */
typedef struct axis_step {
    size_t low, high;
    float t;
} axis_step;

typedef struct tap {
    cz_tap_shape shape;
    size_t cells, count;       /* h * w; columns of D */
    float *pooled;             /* [max_images, cells, count] */
    float *product;            /* [max_images, cells, K] */
    cz_matmul *single, *batch; /* for 1 image and for max_images (NULL when that is 1) */
    axis_step *y, *x;          /* [grid_h], [grid_w]; NULL for the first tap */
} tap;

struct cz_composed {
    const cz_pooler *pooler;
    size_t hidden, max_images, images, tap_count;
    float slope;
    float *c, *w2; /* [K] */
    tap taps[MAX_TAPS];
};

void cz_composed_destroy(cz_composed *c)
{
    if (!c) return;
    for (size_t t = 0; t < c->tap_count; t++) {
        tap *own = &c->taps[t];
        cz_free(own->pooled);
        cz_free(own->product);
        cz_free(own->y);
        cz_free(own->x);
        if (own->single) cz_engine_matmul_destroy(own->single);
        if (own->batch) cz_engine_matmul_destroy(own->batch);
    }
    cz_free(c->c);
    cz_free(c->w2);
    cz_free(c);
}

static axis_step *axis_create(size_t in, size_t out)
{
    axis_step *steps = cz_alloc_array(out, sizeof *steps);
    for (size_t i = 0; steps && i < out; i++) {
        double at = ((double)i + 0.5) * (double)in / (double)out - 0.5;
        if (at < 0) at = 0;
        size_t low = (size_t)at;
        if (low > in - 1) low = in - 1;
        steps[i] = (axis_step){low, low + 1 < in ? low + 1 : low, (float)(at - (double)low)};
    }
    return steps;
}

/* The tap's column block of M [K, D], packed. */
static cz_status matmul_create(const cz_composition *composition, size_t first, size_t count, size_t rows,
                               size_t threads, cz_matmul **out)
{
    const size_t k = composition->hidden, d = composition->width;
    float *block = cz_alloc_array(k * count, sizeof *block);
    if (!block) return CZ_E_MEMORY;
    for (size_t i = 0; i < k; i++) memcpy(block + i * count, composition->m + i * d + first, count * sizeof *block);
    const cz_matmul_desc desc = {.m = rows, .n = k, .k = count, .b = block, .b_is_nk = true, .threads = threads};
    const cz_status status = cz_engine_matmul_create(&desc, out);
    cz_free(block);
    return status;
}

static cz_status tap_create(cz_composed *c, const cz_composition *composition, size_t index, const cz_tap_shape *shape,
                            size_t threads)
{
    tap *own = &c->taps[index];
    size_t first, pooled, product;
    cz_status status = CZ_E_MEMORY;
    own->shape = *shape;
    cz_pooler_columns(c->pooler, index, &first, &own->count);
    if (!cz_mul_size(shape->height, shape->width, &own->cells) || own->cells < 1)
        return cz_fail(CZ_E_ARG, "tap %zu has no cells", index);
    if (!cz_mul_size(c->max_images * own->cells, own->count, &pooled) ||
        !cz_mul_size(c->max_images * own->cells, c->hidden, &product))
        return cz_fail(CZ_E_ARG, "%zu images at once are too many", c->max_images);
    own->pooled = cz_alloc_array(pooled, sizeof *own->pooled);
    own->product = cz_alloc_array(product, sizeof *own->product);
    if (!own->pooled || !own->product) goto out;
    CZ_TRY(matmul_create(composition, first, own->count, own->cells, threads, &own->single));
    if (c->max_images > 1)
        CZ_TRY(matmul_create(composition, first, own->count, own->cells * c->max_images, threads, &own->batch));
    if (index > 0) {
        own->y = axis_create(shape->height, c->taps[0].shape.height);
        own->x = axis_create(shape->width, c->taps[0].shape.width);
        if (!own->y || !own->x) status = CZ_E_MEMORY;
    }
out:
    return status;
}

cz_status cz_composed_create(const cz_composition *composition, const cz_pooler *pooler, const cz_tap_shape *taps,
                             size_t max_images, size_t threads, cz_composed **out)
{
    const size_t count = cz_pooler_taps(pooler), k = composition->hidden;
    cz_status status = CZ_E_MEMORY;
    if (cz_pooler_width(pooler) != composition->width)
        return cz_fail(CZ_E_ARG, "features are %zu wide, the detector expects %zu", cz_pooler_width(pooler),
                       composition->width);
    if (count < 1 || count > MAX_TAPS) return cz_fail(CZ_E_ARG, "%zu taps are not in 1 … %d", count, (int)MAX_TAPS);
    if (max_images < 1 || max_images > 4096) return cz_fail(CZ_E_ARG, "%zu images at once", max_images);
    if (taps[0].height != cz_pooler_grid_h(pooler) || taps[0].width != cz_pooler_grid_w(pooler))
        return cz_fail(CZ_E_ARG, "the taps are not those of the pooler");
    cz_composed *c = cz_calloc(1, sizeof *c);
    if (!c) return status;
    c->pooler = pooler;
    c->hidden = k;
    c->slope = composition->slope;
    c->max_images = max_images;
    c->tap_count = count;
    c->c = cz_alloc_array(k, sizeof *c->c);
    c->w2 = cz_alloc_array(k, sizeof *c->w2);
    if (!c->c || !c->w2) goto out;
    memcpy(c->c, composition->c, k * sizeof *c->c);
    memcpy(c->w2, composition->w2, k * sizeof *c->w2);
    for (size_t t = 0; t < count; t++) CZ_TRY(tap_create(c, composition, t, &taps[t], threads));
    *out = c;
    return CZ_OK;
out:
    cz_composed_destroy(c);
    return status;
}

cz_status cz_composed_pool(cz_composed *c, const float *const *maps, size_t images, float scale)
{
    if (images < 1 || images > c->max_images)
        return cz_fail(CZ_E_ARG, "%zu images, the scorer was made for %zu", images, c->max_images);
    for (size_t t = 0; t < c->tap_count; t++) {
        const tap *own = &c->taps[t];
        for (size_t n = 0; n < images; n++)
            cz_pooler_tap(c->pooler, t, maps[t] + n * own->cells * own->shape.channels, scale,
                          own->pooled + n * own->cells * own->count);
    }
    c->images = images;
    return CZ_OK;
}

static cz_status multiply(const cz_composed *c, const tap *own)
{
    if (own->batch && c->images == c->max_images) return cz_engine_matmul_run(own->batch, own->pooled, own->product);
    for (size_t n = 0; n < c->images; n++) {
        const cz_status status = cz_engine_matmul_run(own->single, own->pooled + n * own->cells * own->count,
                                                      own->product + n * own->cells * c->hidden);
        if (status != CZ_OK) return status;
    }
    return CZ_OK;
}

/* Where one patch's sum comes from: the first tap's product at the patch and, for every later tap, the four neighbours. */
typedef struct corners {
    const float *at[4];
    float weight[4];
} corners;

static corners find_corners(const tap *own, size_t image, size_t y, size_t x, size_t hidden)
{
    const axis_step v = own->y[y], h = own->x[x];
    const float *base = own->product + image * own->cells * hidden;
    const float *low = base + v.low * own->shape.width * hidden, *high = base + v.high * own->shape.width * hidden;
    return (corners){
        {low + h.low * hidden, low + h.high * hidden, high + h.low * hidden, high + h.high * hidden},
        {(1 - v.t) * (1 - h.t), (1 - v.t) * h.t, v.t * (1 - h.t), v.t * h.t},
    };
}

/* sum [n] = first + c, plus every later tap, upsampled */
static void add_taps(const float *restrict first, const float *restrict c, const corners *later, size_t later_count,
                     size_t offset, size_t n, float *restrict sum)
{
    for (size_t i = 0; i < n; i++) sum[i] = first[i] + c[i];
    for (size_t t = 0; t < later_count; t++) {
        const float *a = later[t].at[0] + offset, *b = later[t].at[1] + offset;
        const float *p = later[t].at[2] + offset, *q = later[t].at[3] + offset;
        const float wa = later[t].weight[0], wb = later[t].weight[1], wp = later[t].weight[2], wq = later[t].weight[3];
        for (size_t i = 0; i < n; i++) sum[i] += (wa * a[i] + wb * b[i]) + (wp * p[i] + wq * q[i]);
    }
}

/* -w2 . leaky(sum) added to `lane`, in partial sums whose order is fixed */
static void activate(const float *restrict sum, const float *restrict w2, size_t n, float slope, float *restrict lane)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t j = 0; j < LANES; j++) {
            const float s = sum[i + j], below = slope * s;
            lane[j] -= w2[i + j] * (s > below ? s : below);
        }
    for (size_t j = 0; i + j < n; j++) {
        const float s = sum[i + j], below = slope * s;
        lane[j] -= w2[i + j] * (s > below ? s : below);
    }
}

static float patch_score(const cz_composed *c, const float *first, const corners *later)
{
    enum { PIECE = 256 }; /* channels whose sum stays in the first cache */
    float sum[PIECE], lane[LANES] = {0}, score = 0;
    for (size_t k = 0; k < c->hidden; k += PIECE) {
        const size_t n = c->hidden - k < PIECE ? c->hidden - k : PIECE;
        add_taps(first + k, c->c + k, later, c->tap_count - 1, k, n, sum);
        activate(sum, c->w2 + k, n, c->slope, lane);
    }
    for (size_t j = 0; j < LANES; j++) score += lane[j];
    return score;
}

cz_status cz_composed_scores(cz_composed *c, float *scores)
{
    if (c->images < 1) return cz_fail(CZ_E_ARG, "nothing was pooled");
    for (size_t t = 0; t < c->tap_count; t++) {
        const cz_status status = multiply(c, &c->taps[t]);
        if (status != CZ_OK) return status;
    }
    const size_t height = c->taps[0].shape.height, width = c->taps[0].shape.width;
#pragma omp parallel for schedule(static)
    for (size_t row = 0; row < c->images * height; row++)
        for (size_t x = 0; x < width; x++) {
            const size_t patch = row * width + x;
            corners later[MAX_TAPS - 1];
            for (size_t t = 1; t < c->tap_count; t++)
                later[t - 1] = find_corners(&c->taps[t], row / height, row % height, x, c->hidden);
            scores[patch] = patch_score(c, c->taps[0].product + patch * c->hidden, later);
        }
    return CZ_OK;
}

size_t cz_composed_memory(const cz_composed *c)
{
    size_t bytes = 2 * c->hidden * sizeof(float);
    for (size_t t = 0; t < c->tap_count; t++) {
        const tap *own = &c->taps[t];
        bytes += c->max_images * own->cells * (own->count + c->hidden) * sizeof(float);
        bytes += cz_engine_matmul_memory(own->single) + (own->batch ? cz_engine_matmul_memory(own->batch) : 0);
    }
    return bytes;
}
