/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cells of an image against those far from them. A matrix product in bf16 says which are the nearest; their distances are then
 * computed again from the features: |x|^2 - 2 x y + |y|^2 loses what matters where two cells are nearly the same.
 */
#include "features/relation_internal.h"
#include "features/simd.h"
#include "tensor/dtype.h"
#include "util/threads.h"

#include <math.h>
#include <string.h>

/* SLOTS: a row's smallest values are sought in so many parts, for a bound that few values stay below. */
enum { LANES = 32, SLOTS = 64, NEAREST = 20, FEW = 5, CHUNK = 512 };

typedef struct near {
    float value;
    uint32_t cell;
} near;

/* The `most` smallest, ascending; of equal values the first ones. */
typedef struct list {
    size_t count, most;
    near item[NEAREST];
} list;

typedef struct scan {
    cz_relation_cells *c;
    int threads;
} scan;

CZ_INLINE void insert(list *l, float value, size_t cell)
{
    if (l->count == l->most && !(value < l->item[l->most - 1].value)) return;
    size_t at = l->count < l->most ? l->count++ : l->most - 1;
    for (; at > 0 && l->item[at - 1].value > value; at--) l->item[at] = l->item[at - 1];
    l->item[at] = (near){value, (uint32_t)cell};
}

/* ---- the nearest -------------------------------------------------------------------------------------------------------- */

/* The smallest value that at least `most` are not above, itself included. */
CZ_INLINE float bound_of(const float *slot, uint32_t most)
{
    uint32_t rank[SLOTS] = {0};
    float bound = INFINITY;
    for (size_t k = 0; k < SLOTS; k++)
        for (size_t l = 0; l < SLOTS; l++) rank[l] += slot[k] <= slot[l];
    for (size_t l = 0; l < SLOTS; l++) {
        const float here = rank[l] >= most ? slot[l] : INFINITY;
        bound = here < bound ? here : bound;
    }
    return bound;
}

/* Bounds that the NEAREST smallest |y|^2 - 2 x y and the FEW smallest -x y / |y| are not above, from the smallest of each slot
 * (cell j is in slot j % SLOTS): few other values are below. */
CZ_INLINE void bounds_body(const cz_relation_cells *c, const float *product, float *bound)
{
    const float *restrict square = c->square, *restrict inverse = c->inverse;
    float distance[SLOTS], cosine[SLOTS];
    for (size_t l = 0; l < SLOTS; l++) distance[l] = cosine[l] = INFINITY;
    for (size_t j = 0; j < c->room; j += SLOTS) {
        for (size_t l = 0; l < SLOTS; l++) {
            const float d = square[j + l] - 2.0f * product[j + l], e = -product[j + l] * inverse[j + l];
            distance[l] = d < distance[l] ? d : distance[l];
            cosine[l] = e < cosine[l] ? e : cosine[l];
        }
    }
    bound[0] = bound_of(distance, NEAREST);
    bound[1] = bound_of(cosine, FEW);
}

CZ_SIMD_KERNEL(bounds, (const cz_relation_cells *c, const float *product, float *bound), (c, product, bound))

/* Cells within the guard get a product that makes them the last of all; the bound is then infinite where they are needed. */
static void strike_near(const cz_relation_cells *c, size_t i, float *product)
{
    const size_t w = c->shape.width, h = c->shape.height, y = c->place[i] / w, x = c->place[i] % w, g = c->guard;
    const size_t top = y > g ? y - g : 0, bottom = y + g < h ? y + g : h - 1;
    const size_t left = x > g ? x - g : 0, right = x + g < w ? x + g : w - 1;
    for (size_t v = top; v <= bottom; v++)
        for (size_t u = left; u <= right; u++) {
            const uint32_t j = c->index[v * w + u];
            if (j != CZ_RELATION_NONE) product[j] = -INFINITY;
        }
}

/* flag[j]: whether cell first + j has a value that is not above its bound. */
CZ_INLINE void flags_body(const cz_relation_cells *c, const float *product, size_t first, size_t count,
                          const float bound[2], uint8_t *flag)
{
    const float *restrict square = c->square + first, *restrict inverse = c->inverse + first;
    const float *restrict from = product + first, d_bound = bound[0], e_bound = bound[1];
    uint8_t *restrict to = flag;
    for (size_t j = 0; j < count; j++) {
        const float d = square[j] - 2.0f * from[j], e = -from[j] * inverse[j];
        to[j] = (uint8_t)((d <= d_bound) | (e <= e_bound));
    }
}

CZ_SIMD_KERNEL(flags,
               (const cz_relation_cells *c, const float *product, size_t first, size_t count, const float bound[2],
                uint8_t *flag),
               (c, product, first, count, bound, flag))

static void consider(const cz_relation_cells *c, const float *product, size_t j, const float bound[2], list *distance,
                     list *cosine)
{
    const float d = c->square[j] - 2.0f * product[j], e = -product[j] * c->inverse[j];
    if (j >= c->count || isinf(product[j])) return;
    if (d <= bound[0]) insert(distance, d, j);
    if (e <= bound[1]) insert(cosine, e, j);
}

static void find_near(const cz_relation_cells *c, const float *product, list *distance, list *cosine)
{
    float bound[2];
    uint8_t flag[CHUNK];
    bounds(c, product, bound);
    for (size_t first = 0; first < c->room; first += CHUNK) {
        const size_t count = c->room - first < CHUNK ? c->room - first : CHUNK;
        flags(c, product, first, count, bound, flag);
        for (size_t j = 0; j < count; j += 8) {
            uint64_t eight;
            size_t at[8], found = 0;
            memcpy(&eight, flag + j, sizeof eight);
            if (eight == 0) continue;
            for (size_t k = 0; k < 8; k++) { /* without a branch that nobody can predict */
                at[found] = first + j + k;
                found += flag[j + k];
            }
            for (size_t k = 0; k < found; k++) consider(c, product, at[k], bound, distance, cosine);
        }
    }
}

/* ---- their distances ------------------------------------------------------------------------------------------------------ */

/* |a x - b y|^2 */
CZ_INLINE void apart_body(const uint16_t *x, const uint16_t *y, size_t count, float a, float b, float *out)
{
    float lanes[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= count; i += LANES)
        for (size_t l = 0; l < LANES; l++) {
            const float d = a * cz_bf16_to_f32(x[i + l]) - b * cz_bf16_to_f32(y[i + l]);
            lanes[l] += d * d;
        }
    for (; i < count; i++) {
        const float d = a * cz_bf16_to_f32(x[i]) - b * cz_bf16_to_f32(y[i]);
        lanes[0] += d * d;
    }
    for (size_t l = 0; l < LANES / 2; l++) lanes[l] += lanes[l + LANES / 2];
    for (size_t l = 0; l < LANES / 4; l++) lanes[l] += lanes[l + LANES / 4];
    float sum = 0.0f;
    for (size_t l = 0; l < LANES / 4; l++) sum += lanes[l];
    *out = sum;
}

CZ_SIMD_KERNEL(apart, (const uint16_t *x, const uint16_t *y, size_t count, float a, float b, float *out),
               (x, y, count, a, b, out))

static float mean_of(const list *l, size_t most)
{
    const size_t n = l->count < most ? l->count : most;
    double sum = 0.0;
    for (size_t k = 0; k < n; k++) sum += (double)l->item[k].value;
    return (float)(sum / (double)n);
}

static void measure(cz_relation_cells *c, size_t i, const list *distance, const list *cosine)
{
    const size_t n = c->shape.channels, room = c->room;
    const uint16_t *x = c->rows + i * n;
    float *kinds = c->kinds + i;
    list exact = {.most = NEAREST};
    double sum = 0.0;
    if (distance->count == 0) {
        kinds[2 * room] = kinds[3 * room] = kinds[4 * room] = kinds[room];
        kinds[5 * room] = CZ_RELATION_FLOOR;
        return;
    }
    for (size_t k = 0; k < distance->count; k++) {
        float square;
        apart(x, c->rows + distance->item[k].cell * n, n, 1.0f, 1.0f, &square);
        insert(&exact, sqrtf(square), distance->item[k].cell);
    }
    kinds[2 * room] = exact.item[0].value;
    kinds[3 * room] = mean_of(&exact, FEW);
    kinds[4 * room] = mean_of(&exact, NEAREST);
    for (size_t k = 0; k < cosine->count; k++) { /* 1 - cos = |u - v|^2 / 2 of vectors of norm 1 */
        const size_t j = cosine->item[k].cell;
        float square = 2.0f;
        if (c->inverse[i] > 0.0f && c->inverse[j] > 0.0f)
            apart(x, c->rows + j * n, n, c->inverse[i], c->inverse[j], &square);
        sum += 0.5 * (double)square;
    }
    kinds[5 * room] = fmaxf((float)(sum / (double)cosine->count), CZ_RELATION_FLOOR);
}

static void scan_strip(void *ctx, size_t first, size_t count)
{
    const scan *s = ctx;
    cz_relation_cells *c = s->c;
    if (first >= c->count) return;
    if (count > c->count - first) count = c->count - first;
#pragma omp parallel for schedule(static) num_threads(s->threads)
    for (size_t r = 0; r < count; r++) {
        list distance = {.most = NEAREST}, cosine = {.most = FEW};
        float *product = c->products + r * c->room;
        strike_near(c, first + r, product);
        find_near(c, product, &distance, &cosine);
        measure(c, first + r, &distance, &cosine);
    }
}

/* The product on one thread: its sums may be split otherwise among several. */
cz_status cz_relation_far(cz_relation_cells *c, cz_gemm *gemm)
{
    cz_threads_scope scope = {0};
    cz_status status = cz_threads_enter(1, &scope);
    if (status != CZ_OK) return status;
    scan s = {c, scope.saved};
    const size_t room = c->room, n = c->shape.channels;
    const cz_gemm_desc product = {.m = room,
                                  .n = room,
                                  .k = n,
                                  .alpha = 1.0f,
                                  .a = {c->rows, n, false, true},
                                  .b = {c->turned, room, false, true},
                                  .c = c->products,
                                  .ldc = room,
                                  .done = scan_strip,
                                  .ctx = &s,
                                  .block = CZ_RELATION_STRIP,
                                  .c_is_block = true};
    status = cz_engine_gemm(gemm, &product);
    cz_threads_leave(&scope);
    return status;
}
