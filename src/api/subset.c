/* SPDX-License-Identifier: Apache-2.0 */
#include "api/subset.h"

#include "util/alloc.h"
#include "util/rng.h"

#include <stdlib.h>
#include <string.h>

static cz_status load(void *ctx, size_t index, cz_image *out)
{
    const cz_subset *s = ctx;
    return s->all->load(s->all->ctx, s->index[index], out);
}

static void release(void *ctx, size_t index, cz_image *image)
{
    const cz_subset *s = ctx;
    s->all->release(s->all->ctx, s->index[index], image);
}

static const char *name_of(void *ctx, size_t index)
{
    const cz_subset *s = ctx;
    return s->all->name(s->all->ctx, s->index[index]);
}

static size_t category_of(void *ctx, size_t index)
{
    const cz_subset *s = ctx;
    return s->all->category(s->all->ctx, s->index[index]);
}

static const char *category_name(void *ctx, size_t category)
{
    const cz_subset *s = ctx;
    return s->all->category_name(s->all->ctx, category);
}

cz_status cz_subset_create(const cz_image_source *all, cz_subset *out)
{
    *out = (cz_subset){.source = *all, .all = all};
    out->source.count = 0;
    out->source.load = load;
    if (all->release != NULL) out->source.release = release;
    if (all->name != NULL) out->source.name = name_of;
    if (all->category != NULL) out->source.category = category_of;
    if (all->category_name != NULL) out->source.category_name = category_name;
    out->source.ctx = out;
    out->index = cz_alloc_array(all->count, sizeof *out->index);
    return out->index != NULL ? CZ_OK : CZ_E_MEMORY;
}

void cz_subset_free(cz_subset *s)
{
    cz_free(s->index);
    memset(s, 0, sizeof *s);
}

/* ---- drawing ------------------------------------------------------------------------------------------------------ */

typedef struct named {
    char *name; /* a copy: a source may use one buffer for all */
    size_t index;
} named;

static int by_name(const void *a, const void *b)
{
    const named *x = a, *y = b;
    const int order = strcmp(x->name, y->name);
    return order != 0 ? order : (x->index > y->index) - (x->index < y->index);
}

static cz_status sort_by_name(const cz_image_source *all, named *photos)
{
    for (size_t i = 0; i < all->count; i++) {
        const char *name = all->name != NULL ? all->name(all->ctx, i) : NULL;
        photos[i] = (named){cz_strdup(name != NULL ? name : ""), i};
        if (photos[i].name == NULL) return CZ_E_MEMORY;
    }
    qsort(photos, all->count, sizeof *photos, by_name);
    return CZ_OK;
}

static int ascending(const void *a, const void *b)
{
    const size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return (x > y) - (x < y);
}

cz_status cz_subset_draw(const cz_image_source *all, size_t count, uint64_t seed, cz_subset *out)
{
    cz_status status;
    named *photos = NULL;
    cz_rng rng;
    *out = (cz_subset){.all = all};
    if (count > all->count)
        return cz_fail(CZ_E_ARG, "%zu shots are more than the %zu photo%s there %s", count, all->count,
                       all->count == 1 ? "" : "s", all->count == 1 ? "is" : "are");
    CZ_TRY(cz_subset_create(all, out));
    photos = cz_calloc(all->count, sizeof *photos);
    if (photos == NULL) CZ_TRY(CZ_E_MEMORY);
    CZ_TRY(sort_by_name(all, photos));
    cz_rng_init(&rng, seed, CZ_RNG_SHOTS, 0, 0);
    cz_rng_choose(&rng, all->count, count, out->index);
    for (size_t i = 0; i < count; i++) out->index[i] = photos[out->index[i]].index;
    qsort(out->index, count, sizeof *out->index, ascending);
    out->source.count = count;
out:
    for (size_t i = 0; photos != NULL && i < all->count; i++) cz_free(photos[i].name);
    cz_free(photos);
    return status;
}
