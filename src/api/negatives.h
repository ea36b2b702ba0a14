/* SPDX-License-Identifier: Apache-2.0 */
/* Patches that are known to be anomalous: copies of the training photos with drawn defects, and labelled photos of defects
 * (docs/zero-shot.md). Their features are computed once, like those of the photos. */
#ifndef CZ_API_NEGATIVES_H
#define CZ_API_NEGATIVES_H

#include "api/patches.h"
#include "util/sha256.h"

typedef struct cz_negatives_settings {
    const cz_train_options *options;
    const cz_image_source *photos; /* the training photos */
    const cz_feature_set *set;     /* their features: photos that could not be read have no copies */
    cz_patch_options patches;      /* how patches are made; its source is not looked at */
    size_t grid_w, grid_h;
    float *scales; /* of relational numbers (cz_patch_set_use_relations); NULL: pooled features */
    double scale;
} cz_negatives_settings;

typedef struct cz_negatives cz_negatives;

/* CZ_E_NO_IMAGES when none of them shows a defect that covers a patch. */
cz_status cz_negatives_create(const cz_negatives_settings *settings, cz_negatives **out);
void cz_negatives_destroy(cz_negatives *n);
/* How many photos show a defect, drawn and labelled (of categories that have training photos). */
void cz_negatives_count(const cz_negatives *n, size_t *synthetic, size_t *labelled);
/* The labelled photos' features: their pixels' digests make part of what the model has learnt from. NULL: none. */
const cz_feature_set *cz_negatives_labelled(const cz_negatives *n);

/* All that is drawn from: photos and which of their patches show a defect. */
void cz_negatives_hash(const cz_negatives *n, cz_sha256 *hash);

/* A companion of item `photo` of the training set, drawn with `rng`: a copy of it with a defect, or a labelled photo of its category.
 * `wanted` patches of it, three of four of them anomalous, repeated where there are fewer, the others normal ones; patches that a
 * defect's edge crosses are neither. out: [wanted, D]; target: [wanted] cz_patch_target. Returns how many, 0 without companion. */
size_t cz_negatives_sample(cz_negatives *n, size_t photo, size_t wanted, cz_rng *rng, float *out, uint8_t *target);

#endif
