/* SPDX-License-Identifier: Apache-2.0 */
/* How much each training photo is trusted at the end of a training (docs/inspect.md). */
#ifndef CZ_API_CONFIDENCE_H
#define CZ_API_CONFIDENCE_H

#include "api/model.h"
#include "api/mutual.h"
#include "api/patches.h"

typedef struct cz_photo_confidence {
    double weight; /* of 0 … 1: Eq. 5 of its level; by the head's scores the mean of its 1 % least trusted patches */
    double share_below_one; /* of its patches */
    double score;           /* as cz_score gives */
    double level; /* mean of what its 1 % least trusted patches have: scores, or how odd they are among the photos */
    size_t place; /* its least trusted patch, index of the grid */
    size_t category;
    bool apart; /* from the bulk of its category: what the contamination counts */
} cz_photo_confidence;

typedef struct cz_confidence {
    cz_photo_confidence *photos; /* [count], in the order of the set */
    size_t count;
    size_t grid_width, grid_height;
    double contamination; /* share of photos that stand apart; NaN: too few photos in every category */
} cz_confidence;

/* Scores of one photo's inspected patches: scores [*count], *place: their places in the grid. */
typedef struct cz_confidence_input {
    size_t photos, categories;
    const size_t *category; /* [photos] below `categories`; NULL: all 0 */
    size_t grid, top_k;     /* patches of a photo at the most; image score = mean of the top_k largest */
    cz_status (*scores)(void *ctx, size_t photo, float *scores, size_t *count, const size_t **place);
    void *ctx;
    size_t limit; /* scores of one category that are kept for quartiles; beyond it each photo's are thinned. 0: 2^22 */
} cz_confidence_input;

/* Asks for every photo's scores once, a category at a time. CZ_E_DIVERGED when one is not finite. */
cz_status cz_confidence_compute(const cz_confidence_input *input, cz_confidence *out);
/* Photos of a training set by the model's scores, and those of categories of at least CZ_MUTUAL_LEAST photos by comparison with each other
 * (api/mutual.h), which does not depend on how well the head has learnt. features: scratch of [grid, D]. */
cz_status cz_confidence_measure(cz_patch_set *p, const cz_model *model, const cz_image_source *source, float *features,
                                cz_confidence *out);
/* Replaces what `c` says of the photos of large enough categories; `c->contamination` is counted anew. */
cz_status cz_confidence_compare(const cz_mutual *mutual, const size_t *category, size_t categories, cz_confidence *c);
void cz_confidence_free(cz_confidence *c);

#endif
