/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/arena.h"

#include "util/alloc.h"

#include <stdbool.h>
#include <stdlib.h>

static int by_size_descending(const void *a, const void *b)
{
    const cz_arena_buffer *x = *(cz_arena_buffer *const *)a, *y = *(cz_arena_buffer *const *)b;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? 1 : -1;
    return x < y ? -1 : x > y; /* same plan on every machine */
}

static int by_offset(const void *a, const void *b)
{
    const cz_arena_buffer *x = *(cz_arena_buffer *const *)a, *y = *(cz_arena_buffer *const *)b;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static bool overlap_in_time(const cz_arena_buffer *a, const cz_arena_buffer *b)
{
    return a->first <= b->last && b->first <= a->last;
}

/* The lowest gap that `buffer` fits into among `placed` (any order; sorted here). */
static size_t lowest_gap(const cz_arena_buffer *buffer, cz_arena_buffer **placed, size_t count)
{
    size_t offset = 0;
    qsort(placed, count, sizeof *placed, by_offset);
    for (size_t i = 0; i < count; i++) {
        if (!overlap_in_time(buffer, placed[i])) continue;
        if (placed[i]->offset >= offset + buffer->bytes) break;
        const size_t end = placed[i]->offset + placed[i]->bytes;
        if (end > offset) offset = end;
    }
    return offset;
}

cz_status cz_arena_plan(cz_arena_buffer *buffers, size_t count, size_t *total)
{
    size_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        size_t rounded;
        if (!cz_add_size(buffers[i].bytes, CZ_ARENA_ALIGN - 1, &rounded))
            return cz_fail(CZ_E_LIMIT, "network too large");
        buffers[i].bytes = rounded / CZ_ARENA_ALIGN * CZ_ARENA_ALIGN;
        /* offsets never exceed the sum of all sizes, so that no later sum can overflow */
        if (!cz_add_size(sum, buffers[i].bytes, &sum)) return cz_fail(CZ_E_LIMIT, "network too large");
    }
    *total = 0;
    if (count == 0) return CZ_OK;
    cz_arena_buffer **order = cz_alloc_array(count, 2 * sizeof *order);
    if (!order) return CZ_E_MEMORY;
    cz_arena_buffer **placed = order + count;
    for (size_t i = 0; i < count; i++) order[i] = &buffers[i];
    qsort(order, count, sizeof *order, by_size_descending);
    for (size_t i = 0; i < count; i++) {
        order[i]->offset = lowest_gap(order[i], placed, i);
        placed[i] = order[i];
        const size_t end = order[i]->offset + order[i]->bytes;
        if (end > *total) *total = end;
    }
    cz_free(order);
    return CZ_OK;
}
