/* SPDX-License-Identifier: Apache-2.0 */
/* Which images make up a task (docs/math.md section 6). */
#ifndef CZ_META_TASKS_H
#define CZ_META_TASKS_H

#include "util/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Images by category. */
typedef struct cz_task_pool {
    size_t images, categories;
    uint32_t *category; /* [images] */
    size_t *member;     /* [images] images sorted by category, then index */
    size_t *first;      /* [categories + 1] ranges of member */
    bool balance;       /* categories are equally likely whatever their size; else as their sizes are */
    double query_share; /* 0.3 */
} cz_task_pool;

/* Copies `category` [images] (NULL: all 0). Categories without images are never drawn. */
cz_status cz_task_pool_create(const uint32_t *category, size_t images, size_t categories, bool balance,
                              cz_task_pool *out);
void cz_task_pool_free(cz_task_pool *pool);
/* Draws at most `wanted` different images from one or two categories, in random order; out: [wanted]. The first *support of
 * the *count drawn are the support set, the rest, max(1, floor(query_share * count)), the query set. Depends on (seed, step,
 * task) alone. CZ_E_NO_IMAGES when fewer than two images can be drawn. */
cz_status cz_task_draw(const cz_task_pool *pool, uint64_t seed, uint64_t step, uint32_t task, size_t wanted,
                       size_t *out, size_t *count, size_t *support);

#endif
