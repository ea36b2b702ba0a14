/* SPDX-License-Identifier: Apache-2.0 */
/* Memory planning: buffers with known lifetimes get offsets in one block; those never alive together may share bytes. */
#ifndef CZ_ENGINE_ARENA_H
#define CZ_ENGINE_ARENA_H

#include "util/status.h"

#include <stddef.h>

#define CZ_ARENA_ALIGN ((size_t)64)

typedef struct cz_arena_buffer {
    size_t bytes;
    size_t first, last; /* steps, inclusive, in which the bytes must stay untouched by others */
    size_t offset;      /* result, a multiple of CZ_ARENA_ALIGN */
} cz_arena_buffer;

/* Greedy by size: the largest buffer first, each at the lowest offset free during its life. *total: bytes needed. */
cz_status cz_arena_plan(cz_arena_buffer *buffers, size_t count, size_t *total);

#endif
