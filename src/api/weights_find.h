/* SPDX-License-Identifier: Apache-2.0 */
/* Backbones by the SHA-256 that a model stores, for models opened without one. */
#ifndef CZ_API_WEIGHTS_FIND_H
#define CZ_API_WEIGHTS_FIND_H

#include "util/status.h"

#include <stdint.h>

/* The file whose backbone has this SHA-256 (cz_backbone_sha256): `name_hint` (may be NULL; the name or path that the
 * backbone had when the model was trained) first, then every weight file of the lookup folders. What a file holds is
 * remembered in HOME/weights.index by path, size and time, so that each is read once. CZ_E_WEIGHTS says where it
 * looked. *path: cz_free. */
cz_status cz_weights_find_sha(const char *sha256_hex, const char *name_hint, char **path);
/* The same, opened; a hint "random:ARCH[:SEED]" makes the weights again. */
cz_status cz_backbone_open_sha(const char *sha256_hex, const char *name_hint, cz_backbone **out);

/* What a weight file looked like at a moment. */
typedef struct cz_weights_stamp {
    char *path; /* absolute, cz_free; NULL: not a file that the index could know */
    int64_t size, time;
} cz_weights_stamp;
/* *sha256 is "" unless the index knows the file as it is now. Never fails. */
void cz_weights_known(const char *path, cz_weights_stamp *stamp, char sha256[65]);
/* Puts into the index what was read after the stamp was taken. */
void cz_weights_learn(const cz_weights_stamp *stamp, const char *sha256);

#endif
