/* SPDX-License-Identifier: Apache-2.0 */
/* From tapped maps to the descriptors of cozad_mutual.h: every tap projected at random, brought to the first one's grid and to the same
 * scale over the batch, its mean over the batch taken off (docs/math.md section 10), with or without the mean over
 * their neighbours. */
#ifndef CZ_API_MUTUAL_DESCRIBE_H
#define CZ_API_MUTUAL_DESCRIBE_H

#include "api/feature_set.h"
#include "api/mutual_batch.h"

typedef struct cz_mutual_describe {
    const cz_extractor *extractor;
    const cz_feature_set *set;
    const cz_image_source *source; /* for names in messages */
    size_t width;                  /* dimensions a tap */
    size_t neighbourhood;          /* 3: mean of 3 x 3 cells of a tap, outside zero; 1: none */
    uint64_t seed;
    cz_progress_fn progress; /* NULL: none */
    void *ctx;
} cz_mutual_describe;

/* All photos of the set, in its order; every map is read twice. CZ_E_DIVERGED, naming the photo, for features that are not finite. Uses
 * the OpenMP thread count in force. */
cz_status cz_mutual_describe_all(const cz_mutual_describe *how, cz_mutual_batch *out);

#endif
