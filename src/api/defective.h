/* SPDX-License-Identifier: Apache-2.0 */
/* Photos that show a defect as a source of their own, and which of their patches show it: copies of other photos with a drawn defect,
 * or photos whose defects are labelled by masks. */
#ifndef CZ_API_DEFECTIVE_H
#define CZ_API_DEFECTIVE_H

#include "api/feature_set.h"
#include "features/preprocess.h"

/* A third kind beside CZ_TARGET_NORMAL and CZ_TARGET_ANOMALOUS: the defect's edge crosses the patch. */
#define CZ_DEFECTIVE_MIXED ((uint8_t)3)

typedef struct cz_defective_options {
    const cz_image_source *photos;
    const cz_feature_set *set; /* drawn: photos that have copies, by their `source` */
    size_t copies;             /* drawn: of each */
    uint64_t seed;
    cz_status (*mask)(void *ctx, size_t index, cz_image *out); /* labelled: as in cz_negatives_options */
    void (*release_mask)(void *ctx, size_t index, cz_image *mask);
    const cz_prep *prep; /* must outlive the source */
    size_t grid_w, grid_h;
} cz_defective_options;

typedef struct cz_defective {
    cz_image_source source; /* its ctx is this struct; drawn: image i is a copy of set item i / copies */
    cz_defective_options options;
    size_t cells; /* P */
    uint8_t *
        kind; /* [source.count, P] filled in when an image is loaded: normal where a defect covers less than a fiftieth of the
                      patch, anomalous from three tenths on */
} cz_defective;

/* Photos of 16 … 16384 pixels a side; another one is CZ_E_ARG when it is loaded. */
cz_status cz_defective_draw(const cz_defective_options *options, cz_defective *out);
cz_status cz_defective_label(const cz_defective_options *options, cz_defective *out);
void cz_defective_free(cz_defective *d);

#endif
