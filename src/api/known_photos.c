/* SPDX-License-Identifier: Apache-2.0 */
#include "api/known_photos.h"

#include "util/alloc.h"
#include "util/sha256.h"

#include <stdlib.h>
#include <string.h>

static int compare(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Adds the texts of one list, or only counts them. */
static void take(const json_t *part, cz_known_photos *known)
{
    const json_t *list = json_object_get(part, "pixels_sha256");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *hex = json_string_value(json_array_get(list, i));
        if (hex == NULL) continue;
        if (known->hex != NULL) known->hex[known->count] = hex;
        known->count++;
    }
}

static void take_all(const cz_model *model, cz_known_photos *known)
{
    known->count = 0;
    take(json_object_get(model->meta, "training"), known);
    for (const json_t *part = json_object_get(model->meta, "adapted"); part != NULL;
         part = json_object_get(part, "earlier")) {
        take(part, known);
    }
}

cz_status cz_known_photos_make(const cz_model *model, cz_known_photos *out)
{
    cz_known_photos known = {NULL, 0};
    take_all(model, &known);
    known.hex = cz_alloc_array(known.count, sizeof *known.hex);
    if (known.hex == NULL) return CZ_E_MEMORY;
    take_all(model, &known);
    qsort(known.hex, known.count, sizeof *known.hex, compare);
    *out = known;
    return CZ_OK;
}

void cz_known_photos_free(cz_known_photos *known)
{
    cz_free(known->hex);
    *known = (cz_known_photos){NULL, 0};
}

bool cz_known_photos_have(const cz_known_photos *known, const uint8_t sha256[32])
{
    char hex[65];
    const char *key = hex;
    cz_sha256_hex(sha256, hex);
    return bsearch(&key, known->hex, known->count, sizeof *known->hex, compare) != NULL;
}
