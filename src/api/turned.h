/* SPDX-License-Identifier: Apache-2.0 */
/* Turned copies of the training photos, as a set of patches of their own. */
#ifndef CZ_API_TURNED_H
#define CZ_API_TURNED_H

#include "api/rotate.h"
#include "api/subset.h"
#include "api/trainer.h"

typedef struct cz_turned {
    cz_subset readable; /* the photos whose features are there */
    cz_rotated rotated;
    cz_patch_set set; /* (turns - 1) images a photo; empty with one turn */
} cz_turned;

/* Computes (or finds in the feature store) the features of every photo of t->patches turned by 360 / turns degrees, turns - 1 times.
 * Its patches are made and scaled as those are at the time. turns >= 1. `out` must stay where it is and is freed by cz_turned_free,
 * also after an error. */
cz_status cz_turned_create(const cz_trainer *t, size_t turns, cz_turned *out);
void cz_turned_free(cz_turned *turned);
/* The photo, of t->patches, that image `index` of the set shows. */
size_t cz_turned_photo(const cz_turned *turned, size_t index);

#endif
