/* SPDX-License-Identifier: Apache-2.0 */
/* What a model file says about its own making. */
#ifndef CZ_API_TRAIN_META_H
#define CZ_API_TRAIN_META_H

#include "api/feature_set.h"
#include "api/model.h"

typedef struct cz_train_facts {
    const cz_train_options *options;
    const cz_feature_set *set;
    size_t skipped;
    double loss;                              /* mean of the last epoch */
    double feature_seconds, training_seconds; /* not stored: the same seed gives the same file */
} cz_train_facts;

/* Fills model->meta, json. */
cz_status cz_train_describe(cz_model *model, const cz_train_facts *facts);

#endif
