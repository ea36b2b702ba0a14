/* SPDX-License-Identifier: Apache-2.0 */
/* The tapped maps of a whole training set, memory-mapped: in the feature store when there is one, else in an unlinked
 * temporary file, so that memory does not grow with the number of images. */
#ifndef CZ_API_FEATURE_SET_H
#define CZ_API_FEATURE_SET_H

#include "api/extract.h"

typedef struct cz_feature_set {
    size_t count, room, values;
    struct cz_feature_item {
        const uint16_t *values; /* bf16, as cz_extracted */
        cz_store_entry entry;   /* what keeps them mapped */
        uint8_t *valid;         /* [P] patches that are inspected */
        size_t valid_count;
        uint8_t sha256[32]; /* of the photo's pixels */
    } * items;
    int file; /* -1: none yet */
    uint64_t file_size;
} cz_feature_set;

void cz_feature_set_init(size_t values, cz_feature_set *out);
void cz_feature_set_free(cz_feature_set *set);
/* Takes over `valid` (cz_alloc) on success. */
cz_status cz_feature_set_add(cz_feature_set *set, cz_extractor *x, size_t index, const cz_extracted *what,
                             uint8_t *valid, size_t valid_count, const uint8_t sha256[32]);

#endif
