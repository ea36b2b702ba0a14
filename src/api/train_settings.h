/* SPDX-License-Identifier: Apache-2.0 */
/* What a training's options mean: which loop runs, around which detector, with which configuration. */
#ifndef CZ_API_TRAIN_SETTINGS_H
#define CZ_API_TRAIN_SETTINGS_H

#include "heads/head.h"

/* Checks all options; *out is a copy in which nothing is left open: the detector is named, the feature width is that of the weights
 * unless given, and the contrastive term is off where the method has none. CZ_E_ARG. */
cz_status cz_train_options_settle(const cz_train_options *options, const cz_backbone *backbone, cz_train_options *out);
/* Methods "cozad" and "comet": tasks, weights, inner loops. The others but the next train the detector plainly. */
bool cz_train_in_tasks(const char *method);
/* Method "knn": a bank is filled, nothing is trained. */
bool cz_train_by_bank(const char *method);
/* Of settled options. `products`: what matrix products are computed in. */
void cz_train_head_config(const cz_train_options *options, cz_precision products, cz_head_config *out);

#endif
