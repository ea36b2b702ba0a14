/* SPDX-License-Identifier: Apache-2.0 */
/* Backbones by the SHA-256 that a model stores, for models opened without one. */
#ifndef CZ_API_WEIGHTS_FIND_H
#define CZ_API_WEIGHTS_FIND_H

#include "util/status.h"

/* The file whose backbone has this SHA-256 (cz_backbone_sha256): `name_hint` (may be NULL; the name or path that the
 * backbone had when the model was trained) first, then every weight file of the lookup folders. What a file holds is
 * remembered in HOME/weights.index by path, size and time, so that each is read once. CZ_E_WEIGHTS says where it
 * looked. *path: cz_free. */
cz_status cz_weights_find_sha(const char *sha256_hex, const char *name_hint, char **path);
/* The same, opened; a hint "random:ARCH[:SEED]" makes the weights again. */
cz_status cz_backbone_open_sha(const char *sha256_hex, const char *name_hint, cz_backbone **out);

#endif
