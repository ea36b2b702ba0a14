/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The distance of a point to the nearest pick only falls, so an old value bounds the new one from above. Points lie in a heap by
 * these bounds, and only the one at its top is compared with the picks since it was last looked at: the same picks as comparing
 * every point with every pick, in about half the work. One thread: between two picks there is too little to share out.
 */
#include "api/coreset.h"

#include "util/alloc.h"

#include <math.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__)
#define CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define CLONES
#endif

/* Running sums: additions that do not wait for each other. */
enum { LANES = 16 };
/* Dimensions after which it is seen whether the others are needed. */
enum { PART = 64 };
/* Picks between two reports. */
enum { REPORT = 64 };

typedef struct coreset {
    const cz_coreset_options *o;
    float *taken;    /* [wanted, width] the picks, one behind the other */
    float *distance; /* [count] squared, to the nearest of the first seen[i] picks */
    size_t *seen;    /* [count] */
    size_t *heap;    /* [size] points, the farthest first */
    size_t size, picked;
} coreset;

/* ---- the heap ----------------------------------------------------------------------------------------------------- */

static bool before(const coreset *c, size_t a, size_t b)
{
    if (c->distance[a] > c->distance[b] || c->distance[a] < c->distance[b]) return c->distance[a] > c->distance[b];
    return a < b;
}

/* Brings `point` to its place in the part of the heap below `at`, which is free. */
static void sift(coreset *c, size_t at, size_t point)
{
    for (size_t child = 2 * at + 1; child < c->size; child = 2 * at + 1) {
        if (child + 1 < c->size && before(c, c->heap[child + 1], c->heap[child])) child++;
        if (!before(c, c->heap[child], point)) break;
        c->heap[at] = c->heap[child];
        at = child;
    }
    c->heap[at] = point;
}

/* ---- distances ---------------------------------------------------------------------------------------------------- */

/* sum of (a[i] - b[i])^2, i < PART */
static inline float squared_part(const float *a, const float *b)
{
    float lanes[LANES] = {0};
    for (size_t i = 0; i < PART; i += LANES)
        for (size_t l = 0; l < LANES; l++) lanes[l] += (a[i + l] - b[i + l]) * (a[i + l] - b[i + l]);
    for (size_t l = 0; l < 8; l++) lanes[l] += lanes[l + 8];
    for (size_t l = 0; l < 4; l++) lanes[l] += lanes[l + 4];
    return (lanes[0] + lanes[2]) + (lanes[1] + lanes[3]);
}

/* The smallest of `limit` and the squared distances of `point` to `count` picks: of differences, not of norms and products, so that
 * it is 0 for equal points. A pick is given up as soon as a part of the dimensions is too far. */
CLONES static float nearest(const float *point, const float *taken, size_t count, size_t width, float limit)
{
    for (size_t k = 0; k < count; k++) {
        const float *pick = taken + k * width;
        float sum = 0;
        size_t i = 0;
        for (; i + PART <= width && sum < limit; i += PART) sum += squared_part(point + i, pick + i);
        for (; i < width && sum < limit; i++) sum += (point[i] - pick[i]) * (point[i] - pick[i]);
        limit = sum < limit ? sum : limit;
    }
    return limit;
}

static void take(coreset *c, size_t point, size_t *picks)
{
    memcpy(c->taken + c->picked * c->o->width, c->o->points + point * c->o->width, c->o->width * sizeof *c->taken);
    picks[c->picked++] = point;
}

/* Every point but the first against the first. */
static void begin(coreset *c, size_t *picks)
{
    const size_t width = c->o->width;
    take(c, c->o->first, picks);
    for (size_t i = 0; i < c->o->count; i++) {
        c->distance[i] = nearest(c->o->points + i * width, c->taken, 1, width, INFINITY);
        c->seen[i] = 1;
        if (i != c->o->first) c->heap[c->size++] = i;
    }
    for (size_t i = c->size / 2; i-- > 0;) sift(c, i, c->heap[i]);
}

/* Until the top of the heap is a point whose distance is that to all picks. */
static void settle_top(coreset *c)
{
    const size_t width = c->o->width;
    for (size_t p = c->heap[0]; c->seen[p] < c->picked; p = c->heap[0]) {
        c->distance[p] = nearest(c->o->points + p * width, c->taken + c->seen[p] * width, c->picked - c->seen[p], width,
                                 c->distance[p]);
        c->seen[p] = c->picked;
        sift(c, 0, p);
    }
}

cz_status cz_coreset_pick(const cz_coreset_options *o, size_t *picks, size_t *picked)
{
    cz_status status = CZ_E_MEMORY;
    coreset c = {.o = o};
    if (o->width == 0 || o->wanted == 0 || o->wanted > o->count || o->first >= o->count)
        return cz_fail(CZ_E_INTERNAL, "a selection of %zu of %zu points", o->wanted, o->count);
    c.taken = cz_alloc_array(o->wanted, o->width * sizeof *c.taken);
    c.distance = cz_alloc_array(o->count, sizeof *c.distance);
    c.seen = cz_alloc_array(o->count, sizeof *c.seen);
    c.heap = cz_alloc_array(o->count, sizeof *c.heap);
    if (c.taken == NULL || c.distance == NULL || c.seen == NULL || c.heap == NULL) goto out;
    status = CZ_OK;
    begin(&c, picks);
    while (c.picked < o->wanted && c.size > 0) {
        if (o->report != NULL && c.picked % REPORT == 0) CZ_TRY(o->report(o->ctx, c.picked, o->wanted));
        settle_top(&c);
        if (!(c.distance[c.heap[0]] > 0)) break;
        take(&c, c.heap[0], picks);
        if (--c.size > 0) sift(&c, 0, c.heap[c.size]);
    }
    *picked = c.picked;
out:
    cz_free(c.taken);
    cz_free(c.distance);
    cz_free(c.seen);
    cz_free(c.heap);
    return status;
}
