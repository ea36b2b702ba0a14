/* SPDX-License-Identifier: Apache-2.0 */
/* Some photos of a source as a source of their own. */
#ifndef CZ_API_SUBSET_H
#define CZ_API_SUBSET_H

#include "util/status.h"

typedef struct cz_subset {
    cz_image_source source; /* its ctx is this struct */
    const cz_image_source *all;
    size_t *index; /* [source.count] in `all` */
} cz_subset;

/* An empty one with room for all: whoever fills it sets index and source.count. `all` must outlive `out`, and `out` must stay
 * where it is. */
cz_status cz_subset_create(const cz_image_source *all, cz_subset *out);
/* `count` of the photos, drawn by `seed`; they keep their order. Which ones depends on their names, not on that order, as long as
 * no two have the same one; without names it depends on their places. CZ_E_ARG when there are not so many. */
cz_status cz_subset_draw(const cz_image_source *all, size_t count, uint64_t seed, cz_subset *out);
void cz_subset_free(cz_subset *s);

#endif
