/* SPDX-License-Identifier: Apache-2.0 */
/* The photos that a model has learnt from, by the SHA-256 of their pixels. */
#ifndef CZ_API_KNOWN_PHOTOS_H
#define CZ_API_KNOWN_PHOTOS_H

#include "api/model.h"

typedef struct cz_known_photos {
    const char **hex; /* [count] ascending; the texts belong to the model's JSON */
    size_t count;
} cz_known_photos;

/* Training, adapting, and adapting before that. */
cz_status cz_known_photos_make(const cz_model *model, cz_known_photos *out);
void cz_known_photos_free(cz_known_photos *known);
bool cz_known_photos_have(const cz_known_photos *known, const uint8_t sha256[32]);

#endif
