/* SPDX-License-Identifier: Apache-2.0 */
/* Options of method "cozad" as the layers below take them, and as a model's JSON keeps them. */
#ifndef CZ_API_COZAD_SETTINGS_H
#define CZ_API_COZAD_SETTINGS_H

#include "meta/meta.h"

#include <jansson.h>

/* Defaults, then every field that `from` (training.cozad of a model) has. Texts point into `from`. A field of another type
 * is CZ_E_MODEL. */
cz_status cz_cozad_options_read(const json_t *from, cz_cozad_options *out);

/* CZ_E_ARG names an option that is out of range or no known word. */
cz_status cz_cozad_options_check(const cz_cozad_options *options);

/* Each checks what it uses. noise_std: sigma of Eq. 15; top_k: of the image score. */
cz_status cz_cozad_objective(const cz_cozad_options *options, double noise_std, size_t top_k, cz_objective *out);
cz_status cz_cozad_meta(const cz_cozad_options *options, cz_meta_options *out);
cz_status cz_cozad_uncertainty(const cz_cozad_options *options, cz_uncertainty_options *out);

#endif
