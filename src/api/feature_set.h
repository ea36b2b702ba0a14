/* SPDX-License-Identifier: Apache-2.0 */
/* The tapped maps of a whole training set, memory-mapped: in the feature store when there is one, else in an unlinked
 * temporary file, so that memory does not grow with the number of images. */
#ifndef CZ_API_FEATURE_SET_H
#define CZ_API_FEATURE_SET_H

#include "api/extract.h"

typedef struct cz_feature_item {
    const uint16_t *values; /* bf16, as cz_extracted; NULL: nothing here */
    cz_store_entry entry;   /* what keeps them mapped */
    uint8_t *valid;         /* [P] patches that are inspected */
    size_t valid_count;
    uint8_t sha256[32]; /* of the photo's pixels */
    size_t source;      /* index of the photo in the source it came from */
    cz_geometry geometry;
} cz_feature_item;

typedef struct cz_feature_set {
    size_t count, values;
    cz_feature_item *items; /* [count] */
    int file;               /* -1: none yet */
    uint64_t file_size;
} cz_feature_set;

/* Room for `count` images, all empty. */
cz_status cz_feature_set_create(size_t count, size_t values, cz_feature_set *out);
void cz_feature_set_free(cz_feature_set *set);
/* Keeps `values` in the temporary file and maps them. One thread at a time. */
cz_status cz_feature_set_map(cz_feature_set *set, const uint16_t *values, cz_store_entry *out);
/* Lets go of one photo's pages in memory (the file keeps them) when the whole set is larger than memory should hold; the next
 * use brings them back. Does nothing for small sets. */
void cz_feature_set_release_pages(const cz_feature_set *set, size_t image);
/* A photo that is wanted soon: its pages are read from the disk while the processor does something else. */
void cz_feature_set_read_ahead(const cz_feature_set *set, size_t image);
/* Drops the empty ones; the others keep their order. */
void cz_feature_set_compact(cz_feature_set *set);

#endif
