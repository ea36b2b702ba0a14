/* SPDX-License-Identifier: Apache-2.0 */
/* What a training's options mean: which loop runs, around which detector, with which configuration. */
#ifndef CZ_API_TRAIN_SETTINGS_H
#define CZ_API_TRAIN_SETTINGS_H

#include "heads/head.h"

/* Checks all options; *out is a copy in which nothing is left open but what method "knn" asks its photos (rotations, neighbourhood):
 * the detector is named, the feature width is that of the weights unless given, and the contrastive term is off where the method has
 * none. CZ_E_ARG. */
cz_status cz_train_options_settle(const cz_train_options *options, const cz_backbone *backbone, cz_train_options *out);
/* Methods "cozad" and "comet": tasks, weights, inner loops. The others but the next train the detector plainly. */
bool cz_train_in_tasks(const char *method);
/* Method "knn": a bank is filled, nothing is trained. */
bool cz_train_by_bank(const char *method);
/* The rest is of settled options. A sample is a whole image (flow at level "image"). */
bool cz_train_is_image_level(const cz_train_options *options);
/* A patch's features are relational numbers. */
bool cz_train_is_relational(const cz_train_options *options);
/* There are patches that are known to be anomalous. */
bool cz_train_has_negatives(const cz_train_options *options);
/* `products`: what matrix products are computed in. */
void cz_train_head_config(const cz_train_options *options, cz_precision products, cz_head_config *out);

#endif
