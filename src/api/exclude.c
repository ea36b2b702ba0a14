/* SPDX-License-Identifier: Apache-2.0 */
#include "api/exclude.h"

#include "util/alloc.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- finding them ------------------------------------------------------------------------------------------------- */

static int by_digest(const void *a, const void *b)
{
    return memcmp(a, b, 32);
}

/* The hash reads the pixels before anything else has looked at their description. */
static bool is_readable(const cz_image *image)
{
    static const size_t bytes[] = {1, 2, 3, 3, 4, 4}; /* of cz_pixel_format */
    return image->data != NULL && (size_t)image->format < sizeof bytes / sizeof *bytes &&
           image->stride / bytes[image->format] >= image->width;
}

/* false: to be left out. */
static cz_status stays(const cz_subset *e, size_t index, const uint8_t *digests, size_t count, bool *out)
{
    cz_image image;
    uint8_t digest[32];
    memset(&image, 0, sizeof image);
    *out = true;
    const cz_status status = e->all->load(e->all->ctx, index, &image);
    if (status == CZ_E_MEMORY || status == CZ_E_CANCELLED) return status;
    cz_error_clear();
    if (status != CZ_OK) return CZ_OK;
    if (is_readable(&image)) {
        cz_image_sha256(&image, digest);
        *out = bsearch(digest, digests, count, 32, by_digest) == NULL;
    }
    if (e->all->release != NULL) e->all->release(e->all->ctx, index, &image);
    return CZ_OK;
}

static cz_status look_at_all(cz_subset *e, const cz_train_options *o, const uint8_t *digests)
{
    for (size_t i = 0; i < e->all->count; i++) {
        bool kept;
        if (o->progress != NULL && o->progress(o->ctx, "sorting out", i, e->all->count, "") != 0)
            return cz_fail(CZ_E_CANCELLED, "cancelled");
        const cz_status status = stays(e, i, digests, o->excluded_count, &kept);
        if (status != CZ_OK) return status;
        if (kept) e->index[e->source.count++] = i;
    }
    return CZ_OK;
}

cz_status cz_exclude(const cz_image_source *all, const cz_train_options *o, cz_subset *out)
{
    cz_status status;
    uint8_t *digests = NULL;
    *out = (cz_subset){.all = all};
    if (o->excluded == NULL) return cz_fail(CZ_E_ARG, "cz_train_options: excluded is NULL");
    CZ_TRY(cz_subset_create(all, out));
    digests = cz_alloc_array(o->excluded_count, 32);
    if (digests == NULL) CZ_TRY(CZ_E_MEMORY);
    for (size_t i = 0; i < o->excluded_count; i++) memcpy(digests + 32 * i, o->excluded[i].sha256, 32);
    qsort(digests, o->excluded_count, 32, by_digest);
    CZ_TRY(look_at_all(out, o, digests));
    if (o->log != NULL) {
        const size_t left_out = all->count - out->source.count;
        char line[160];
        (void)snprintf(line, sizeof line, "%zu photo%s left out as decided earlier (%zu decision%s to leave out)",
                       left_out, left_out == 1 ? " is" : "s are", o->excluded_count, o->excluded_count == 1 ? "" : "s");
        o->log(o->ctx, line);
    }
    if (out->source.count == 0) status = cz_fail(CZ_E_NO_IMAGES, "all %zu photos are left out", all->count);
out:
    cz_free(digests);
    return status;
}
