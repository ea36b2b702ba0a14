/* SPDX-License-Identifier: Apache-2.0 */
/* A photo's relational numbers (features/relation.h) as a head takes them: rounded to bf16 like all features, and each column
 * brought to the mean and spread that it had over the training photos. */
#ifndef CZ_API_RELATE_H
#define CZ_API_RELATE_H

#include "api/feature_set.h"
#include "features/relation.h"

/* How many numbers a patch has with a list of taps ("layer2,layer3"). */
size_t cz_relate_width(const char *taps);

/* values: [P, width] bf16; scales: [2, width], the columns' means and the factors that make their spread 1. Rows rows[0 … count - 1],
 * times `scale`; out: [count, width]. */
void cz_relate_rows(const uint16_t *values, const float *scales, size_t width, float scale, const size_t *rows,
                    size_t count, float *out);

/* The numbers of all photos of `photos` into `out` (made here): one item a photo, its values [P, width]. `x` names the taps.
 * CZ_E_CANCELLED when `report` does not return CZ_OK. */
cz_status cz_relate_all(const cz_feature_set *photos, const cz_extractor *x,
                        cz_status (*report)(void *ctx, size_t done, size_t total), void *ctx, cz_feature_set *out);

/* scales [2, width] of the inspected patches of all photos; a column that never changes has the factor 0. */
cz_status cz_relate_measure(const cz_feature_set *photos, const cz_feature_set *related, size_t width, float *scales);

#endif
