/* SPDX-License-Identifier: Apache-2.0 */
#include "meta/tasks.h"

#include "util/alloc.h"
#include "util/rng.h"

#include <string.h>

cz_status cz_task_pool_create(const uint32_t *category, size_t images, size_t categories, bool balance,
                              cz_task_pool *out)
{
    cz_status status = CZ_OK;
    if (images == 0 || categories == 0) return cz_fail(CZ_E_NO_IMAGES, "no image to draw tasks from");
    cz_task_pool p = {.images = images, .categories = categories, .balance = balance, .query_share = 0.3};
    p.category = cz_calloc(images, sizeof *p.category);
    p.member = cz_alloc_array(images, sizeof *p.member);
    p.first = cz_calloc(categories + 1, sizeof *p.first);
    if (p.category == NULL || p.member == NULL || p.first == NULL) CZ_TRY(CZ_E_MEMORY);
    for (size_t i = 0; i < images; i++) {
        if (category != NULL) p.category[i] = category[i];
        if (p.category[i] >= categories) CZ_TRY(cz_fail(CZ_E_ARG, "image %zu has no such category", i));
        p.first[p.category[i] + 1]++;
    }
    for (size_t c = 0; c < categories; c++) p.first[c + 1] += p.first[c];
    size_t at = 0;
    for (size_t c = 0; c < categories; c++) {
        for (size_t i = 0; i < images; i++) {
            if (p.category[i] == c) p.member[at++] = i;
        }
    }
    *out = p;
    return CZ_OK;
out:
    cz_task_pool_free(&p);
    return status;
}

void cz_task_pool_free(cz_task_pool *pool)
{
    cz_free(pool->category);
    cz_free(pool->member);
    cz_free(pool->first);
    memset(pool, 0, sizeof *pool);
}

static size_t size_of(const cz_task_pool *p, size_t category)
{
    return p->first[category + 1] - p->first[category];
}

/* A category other than `taken` that has images, or p->categories when there is none. */
static size_t draw_category(const cz_task_pool *p, size_t taken, cz_rng *rng)
{
    uint64_t total = 0;
    for (size_t c = 0; c < p->categories; c++) {
        if (c != taken && size_of(p, c) > 0) total += p->balance ? 1 : size_of(p, c);
    }
    if (total == 0) return p->categories;
    uint64_t at = cz_rng_below(rng, total);
    for (size_t c = 0; c < p->categories; c++) {
        if (c == taken || size_of(p, c) == 0) continue;
        const uint64_t share = p->balance ? 1 : size_of(p, c);
        if (at < share) return c;
        at -= share;
    }
    return p->categories;
}

/* `count` different images of one category, appended to out. */
static void draw_images(const cz_task_pool *p, size_t category, size_t count, cz_rng *rng, size_t *out)
{
    cz_rng_choose(rng, size_of(p, category), count, out);
    for (size_t i = 0; i < count; i++) out[i] = p->member[p->first[category] + out[i]];
}

cz_status cz_task_draw(const cz_task_pool *p, uint64_t seed, uint64_t step, uint32_t task, size_t wanted, size_t *out,
                       size_t *count, size_t *support)
{
    cz_rng rng;
    cz_rng_init(&rng, seed, CZ_RNG_TASK, step, task);
    const bool two = cz_rng_below(&rng, 2) == 1;
    const size_t a = draw_category(p, p->categories, &rng);
    size_t from_a = size_of(p, a) < wanted ? size_of(p, a) : wanted, from_b = 0;
    if (two || from_a < 2) {
        const size_t b = draw_category(p, a, &rng);
        if (b < p->categories) {
            const size_t half = wanted / 2;
            from_b = size_of(p, b) < half ? size_of(p, b) : half;
            if (from_a > wanted - from_b) from_a = wanted - from_b;
            draw_images(p, b, from_b, &rng, out + from_a);
        }
    }
    draw_images(p, a, from_a, &rng, out);
    *count = from_a + from_b;
    if (*count < 2) return cz_fail(CZ_E_NO_IMAGES, "meta-learning needs two images a task at least");
    cz_rng_shuffle(&rng, out, *count);
    size_t query = (size_t)(p->query_share * (double)*count);
    if (query < 1) query = 1;
    if (query > *count - 1) query = *count - 1;
    *support = *count - query;
    return CZ_OK;
}
