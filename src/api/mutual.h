/* SPDX-License-Identifier: Apache-2.0 */
/* Photos compared with each other: how far each patch is from the most similar patch of any other photo of its category. It needs no
 * trained head, and a defect that one photo alone has is far from everything however weak a head may be (docs/inspect.md). */
#ifndef CZ_API_MUTUAL_H
#define CZ_API_MUTUAL_H

#include "api/patches.h"

/* A category of fewer photos is not compared: its photos' opinion of each other is worth little. */
#define CZ_MUTUAL_LEAST ((size_t)8)

typedef struct cz_mutual {
    float *distance; /* [photos, grid] in grid order; NaN: not inspected, or of a category that is too small */
    float *
        placed; /* the same, against what is usual at that place of the photos: (distance - median) / MAD over the category */
    size_t photos, grid;
} cz_mutual;

/* category [photos] below `categories`. At most about 8,192 patches of a category are what others are compared with, drawn with
 * (seed, category), the same number from each photo. Features are projected to 256 dimensions for it. features: scratch of [grid, D].
 * Same set, same seed: same distances, whatever the number of threads (up to rounding). */
cz_status cz_mutual_measure(cz_patch_set *p, const size_t *category, size_t categories, uint64_t seed, float *features,
                            cz_mutual *out);
void cz_mutual_free(cz_mutual *m);

#endif
