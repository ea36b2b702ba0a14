/* SPDX-License-Identifier: Apache-2.0 */
/* What needs no pairs of cells: medians, distances to them and to the neighbourhood, norms. Every channel, cell and row of cells
 * belongs to one thread, and sums run in lanes that are written out, so that neither threads nor processor change the bits. */
#include "features/relation_internal.h"
#include "features/simd.h"
#include "tensor/bf16.h"
#include "tensor/dtype.h"

#include <math.h>
#include <string.h>

/* BLOCK: channels of a neighbourhood's sums at a time. RING: columns of them that are kept. COUNTED: fits the counter. */
enum { LANES = 16, BLOCK = 64, RING = 8, REACH = 3, COUNTED = 32768 };

static float lane_sum(const float *lanes)
{
    double sum = 0.0;
    for (size_t l = 0; l < LANES; l++) sum += (double)lanes[l];
    return (float)sum;
}

/* ---- cells ------------------------------------------------------------------------------------------------------------ */

CZ_INLINE void largest_body(const uint16_t *values, size_t count, uint16_t *out)
{
    uint16_t most = 0;
    for (size_t i = 0; i < count; i++) {
        const uint16_t magnitude = values[i] & 0x7fff;
        most = magnitude > most ? magnitude : most;
    }
    *out = most;
}

CZ_SIMD_KERNEL(largest, (const uint16_t *values, size_t count, uint16_t *out), (values, count, out))

static cz_status gather(cz_relation_cells *c)
{
    const size_t n = c->shape.channels;
    int broken = 0;
#pragma omp parallel for schedule(static) reduction(| : broken)
    for (size_t i = 0; i < c->count; i++) {
        const uint16_t *from = c->map + c->place[i] * n;
        uint16_t most;
        largest(from, n, &most);
        broken |= most >= 0x7f80;
        memcpy(c->rows + i * n, from, n * sizeof *from);
    }
    if (broken) return cz_fail(CZ_E_DIVERGED, "features that are not finite");
    memset(c->rows + c->count * n, 0, (c->room - c->count) * n * sizeof *c->rows);
    const cz_bf16_source source = {c->rows, c->room, n, n, true};
    cz_bf16_pack(&source, true, c->turned);
    return CZ_OK;
}

/* ---- medians ------------------------------------------------------------------------------------------------------------ */

/* In the order of the numbers, from 0. */
CZ_INLINE uint16_t key_of(uint16_t bits)
{
    const uint16_t flip = (uint16_t)((uint16_t)(0u - (bits >> 15)) | 0x8000u);
    return bits ^ flip;
}

CZ_INLINE uint16_t bits_of(uint16_t key)
{
    return (key & 0x8000u) ? key ^ 0x8000u : (uint16_t)~key;
}

/* Value number `wanted` from below: bit by bit, by counting. Sixteen passes of a few instructions for many cells at once take less
 * than one pass that moves them. */
CZ_INLINE void middle_body(const uint16_t *values, size_t count, size_t wanted, uint16_t *out)
{
    uint16_t key = 0;
    for (int bit = 15; bit >= 0; bit--) {
        const uint16_t trial = (uint16_t)(key | 1u << bit);
        size_t below = 0;
        for (size_t first = 0; first < count; first += COUNTED) {
            const size_t n = count - first < COUNTED ? count - first : COUNTED;
            uint16_t found = 0;
            for (size_t i = 0; i < n; i++) found = (uint16_t)(found + (key_of(values[first + i]) < trial));
            below += found;
        }
        if (below <= wanted) key = trial;
    }
    *out = bits_of(key);
}

CZ_SIMD_KERNEL(middle, (const uint16_t *values, size_t count, size_t wanted, uint16_t *out),
               (values, count, wanted, out))

CZ_INLINE void spread_body(const uint16_t *values, size_t count, float median, float *out)
{
    float lanes[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= count; i += LANES)
        for (size_t l = 0; l < LANES; l++) lanes[l] += fabsf(cz_bf16_to_f32(values[i + l]) - median);
    for (; i < count; i++) lanes[0] += fabsf(cz_bf16_to_f32(values[i]) - median);
    *out = lane_sum(lanes) / (float)count + CZ_RELATION_FLOOR;
}

CZ_SIMD_KERNEL(spread, (const uint16_t *values, size_t count, float median, float *out), (values, count, median, out))

static void find_medians(cz_relation_cells *c)
{
#pragma omp parallel for schedule(static)
    for (size_t k = 0; k < c->shape.channels; k++) {
        const uint16_t *values = c->turned + k * c->room;
        uint16_t bits;
        float s;
        middle(values, c->count, (c->count - 1) / 2, &bits);
        c->median[k] = cz_bf16_to_f32(bits);
        spread(values, c->count, c->median[k], &s);
        c->scale[k] = 1.0f / s;
    }
}

/* ---- one cell at a time --------------------------------------------------------------------------------------------------- */

/* sums: of ((x - m) / s)^2, (x - m)^2, x^2 */
CZ_INLINE void sums_body(const uint16_t *x, const float *median, const float *scale, size_t count, float *sums)
{
    float a[LANES] = {0}, b[LANES] = {0}, s[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        for (size_t l = 0; l < LANES; l++) {
            const float v = cz_bf16_to_f32(x[i + l]), d = v - median[i + l], z = d * scale[i + l];
            a[l] += z * z;
            b[l] += d * d;
            s[l] += v * v;
        }
    }
    for (; i < count; i++) {
        const float v = cz_bf16_to_f32(x[i]), d = v - median[i], z = d * scale[i];
        a[0] += z * z;
        b[0] += d * d;
        s[0] += v * v;
    }
    sums[0] = lane_sum(a);
    sums[1] = lane_sum(b);
    sums[2] = lane_sum(s);
}

CZ_SIMD_KERNEL(sums, (const uint16_t *x, const float *median, const float *scale, size_t count, float *out),
               (x, median, scale, count, out))

static void measure_cells(cz_relation_cells *c)
{
    const size_t n = c->shape.channels, room = c->room;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < c->count; i++) {
        float sum[3];
        sums(c->rows + i * n, c->median, c->scale, n, sum);
        c->kinds[i] = sqrtf(sum[0] / (float)n);
        c->kinds[room + i] = sqrtf(sum[1]);
        c->kinds[8 * room + i] = sqrtf(sum[2]);
        c->square[i] = sum[2];
        c->inverse[i] = sum[2] > 0.0f ? 1.0f / sqrtf(sum[2]) : 0.0f;
    }
    for (size_t i = c->count; i < room; i++) {
        c->square[i] = INFINITY;
        c->inverse[i] = NAN; /* no cosine: below no bound */
    }
}

/* ---- neighbourhoods --------------------------------------------------------------------------------------------------------- */

/* Sums over the rows y - 1 … y + 1 and y - 3 … y + 3 of one column, and how many valid cells they are over. */
typedef struct column {
    float three[BLOCK], seven[BLOCK];
    size_t in_three, in_seven;
} column;

CZ_INLINE void sum_column(const cz_relation_cells *c, size_t y, size_t x, size_t first, size_t n, column *to)
{
    const size_t w = c->shape.width, low = y > REACH ? y - REACH : 0;
    const size_t high = y + REACH < c->shape.height ? y + REACH : c->shape.height - 1;
    to->in_three = to->in_seven = 0;
    for (size_t k = 0; k < BLOCK; k++) to->three[k] = to->seven[k] = 0.0f;
    for (size_t j = low; j <= high; j++) {
        const uint16_t *restrict from = c->map + (j * w + x) * c->shape.channels + first;
        float *restrict seven = to->seven, *restrict three = to->three;
        if (c->index[j * w + x] == CZ_RELATION_NONE) continue;
        to->in_seven++;
        for (size_t k = 0; k < n; k++) seven[k] += cz_bf16_to_f32(from[k]);
        if (j + 1 < y || j > y + 1) continue;
        to->in_three++;
        for (size_t k = 0; k < n; k++) three[k] += cz_bf16_to_f32(from[k]);
    }
}

/* sum of (x - total / cells)^2 */
CZ_INLINE float apart(const uint16_t *x, const float *total, size_t cells, size_t n)
{
    float lanes[BLOCK];
    float sum = 0.0f;
    for (size_t k = 0; k < n; k++) {
        const float d = cz_bf16_to_f32(x[k]) - total[k] / (float)cells; /* divided: exactly x where all are x */
        lanes[k] = d * d;
    }
    for (size_t k = n; k < BLOCK; k++) lanes[k] = 0.0f;
    for (size_t k = 0; k < BLOCK / 2; k++) lanes[k] += lanes[k + BLOCK / 2];
    for (size_t k = 0; k < BLOCK / 4; k++) lanes[k] += lanes[k + BLOCK / 4];
    for (size_t k = 0; k < BLOCK / 8; k++) lanes[k] += lanes[k + BLOCK / 8];
    for (size_t k = 0; k < BLOCK / 8; k++) sum += lanes[k];
    return sum;
}

/* What channels [first, first + n) add to the squared distances of cell (y, x). Its column's neighbours are in the ring. */
CZ_INLINE void add_distances(cz_relation_cells *c, size_t y, size_t x, size_t first, size_t n, const column *ring)
{
    const size_t w = c->shape.width, i = c->index[y * w + x];
    const size_t low = x > REACH ? x - REACH : 0, high = x + REACH < w ? x + REACH : w - 1;
    float three[BLOCK] = {0}, seven[BLOCK] = {0};
    size_t in_three = 0, in_seven = 0;
    if (i == CZ_RELATION_NONE) return;
    for (size_t j = low; j <= high; j++) {
        const column *from = &ring[j % RING];
        for (size_t k = 0; k < BLOCK; k++) seven[k] += from->seven[k];
        in_seven += from->in_seven;
        if (j + 1 < x || j > x + 1) continue;
        for (size_t k = 0; k < BLOCK; k++) three[k] += from->three[k];
        in_three += from->in_three;
    }
    const uint16_t *own = c->map + (y * w + x) * c->shape.channels + first;
    c->kinds[6 * c->room + i] += apart(own, three, in_three, n);
    c->kinds[7 * c->room + i] += apart(own, seven, in_seven, n);
}

CZ_INLINE void neighbours_body(cz_relation_cells *c, size_t y)
{
    const size_t w = c->shape.width, channels = c->shape.channels;
    column ring[RING];
    for (size_t first = 0; first < channels; first += BLOCK) {
        const size_t n = channels - first < BLOCK ? channels - first : BLOCK;
        for (size_t x = 0; x < w + REACH; x++) {
            if (x < w) sum_column(c, y, x, first, n, &ring[x % RING]);
            if (x >= REACH) add_distances(c, y, x - REACH, first, n, ring);
        }
    }
}

CZ_SIMD_KERNEL(neighbours, (cz_relation_cells * c, size_t y), (c, y))

static void measure_neighbourhoods(cz_relation_cells *c)
{
    float *three = c->kinds + 6 * c->room, *seven = three + c->room;
    memset(three, 0, 2 * c->room * sizeof *three);
#pragma omp parallel for schedule(dynamic, 1)
    for (size_t y = 0; y < c->shape.height; y++) neighbours(c, y);
    for (size_t i = 0; i < c->count; i++) {
        three[i] = sqrtf(three[i]);
        seven[i] = sqrtf(seven[i]);
    }
}

cz_status cz_relation_kinds(cz_relation_cells *c, cz_gemm *gemm)
{
    cz_status status = CZ_OK;
    CZ_TRY(gather(c));
    find_medians(c);
    measure_cells(c);
    measure_neighbourhoods(c);
    CZ_TRY(cz_relation_far(c, gemm));
    for (size_t k = 0; k < CZ_RELATION_KINDS; k++)
        for (size_t i = 0; i < c->count; i++)
            if (!isfinite(c->kinds[k * c->room + i])) CZ_TRY(cz_fail(CZ_E_DIVERGED, "features are too large"));
out:
    return status;
}
