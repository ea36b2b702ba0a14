/* SPDX-License-Identifier: Apache-2.0 */
/* What a model file says of the photos it was trained on: "photos", "excluded" and "confidence" of its JSON (docs/inspect.md). Files
 * written before there were any have none of them. */
#ifndef CZ_API_TRAINING_PHOTOS_H
#define CZ_API_TRAINING_PHOTOS_H

#include "api/confidence.h"

/* Adds them to model->meta. The set's items name photos of `source`; `left_out`: how many of the excluded ones were there. */
cz_status cz_training_photos_store(cz_model *model, const cz_train_options *options, const cz_image_source *source,
                                   const cz_feature_set *set, const cz_confidence *confidence, size_t left_out);
/* CZ_E_MODEL where one of them is not as it must be. */
cz_status cz_training_photos_check(const cz_model *model);

#endif
