/* SPDX-License-Identifier: Apache-2.0 */
/* Options of method "cozad" as the layers below take them, and as a model's JSON keeps them. */
#ifndef CZ_API_COZAD_SETTINGS_H
#define CZ_API_COZAD_SETTINGS_H

#include "meta/objective.h"

#include <jansson.h>

/* Defaults, then every field that `from` (training.cozad of a model) has. Texts point into `from`. A field of another type
 * is CZ_E_MODEL. */
cz_status cz_cozad_options_read(const json_t *from, cz_cozad_options *out);

/* noise_std: sigma of Eq. 15; top_k: of the image score. CZ_E_ARG names an option that is out of range. */
cz_status cz_cozad_objective(const cz_cozad_options *options, double noise_std, size_t top_k, cz_objective *out);

#endif
