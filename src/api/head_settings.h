/* SPDX-License-Identifier: Apache-2.0 */
/* Settings of detectors that have some of their own, as a model's JSON keeps them: an object of the detector's name in "head". */
#ifndef CZ_API_HEAD_SETTINGS_H
#define CZ_API_HEAD_SETTINGS_H

#include "api/model.h"

/* Adds those of m->head to `head`. */
cz_status cz_head_settings_write(const cz_model *m, json_t *head);
/* Reads those of detector m->detector: `config`, whose width is that of a patch, and m->image_level. CZ_E_MODEL when one is missing
 * or out of range. */
cz_status cz_head_settings_read(const json_t *head, cz_model *m, cz_head_config *config);

#endif
