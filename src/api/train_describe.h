/* SPDX-License-Identifier: Apache-2.0 */
/* What a model file says about its own making. */
#ifndef CZ_API_TRAIN_DESCRIBE_H
#define CZ_API_TRAIN_DESCRIBE_H

#include "api/feature_set.h"
#include "api/knn_choice.h"
#include "api/model.h"
#include "api/negatives.h"

typedef struct cz_train_facts {
    const cz_train_options *options;
    const cz_image_source *source;
    const cz_feature_set *set;
    cz_precision precision;
    size_t skipped;
    double loss; /* mean of the last epoch */
    size_t steps;
    size_t candidates;             /* method "knn": patches that the bank was chosen from */
    const cz_negatives *negatives; /* NULL: none */
    const cz_knn_choice *choice;
} cz_train_facts;

/* Makes model->meta and json; may be called again. No times and no paths of photos (training_photos.h adds those at the end): this
 * is what a checkpoint must agree with. */
cz_status cz_train_describe(cz_model *model, const cz_train_facts *facts);

#endif
