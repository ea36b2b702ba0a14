/* SPDX-License-Identifier: Apache-2.0 */
/* One file of the feature store, and walks over its folder. */
#ifndef CZ_FEATURES_STORE_FILE_H
#define CZ_FEATURES_STORE_FILE_H

#include "features/store.h"

#include <time.h>

/*
 * DIR/ab/cdef….czf, named by the key's 64 hex digits, in the byte order of the host (another one fails the magic number):
 *      0  u64      magic
 *      8  u32      CZ_STORE_VERSION
 *     12  u32      128, the header's size
 *     16  u64      count of bf16 values
 *     24  u8[32]   key
 *     56  u64      XXH64 (seed 0) of the payload
 *     64  u8[56]   zero
 *    120  u64      XXH64 (seed 0) of bytes 0 … 119
 *    128           the values; nothing after them
 */
#define CZ_STORE_HEADER 128

uint64_t cz_store_hash(const void *data, size_t bytes); /* XXH64, seed 0 */
void cz_store_header_make(const cz_store_key *key, const uint16_t *values, size_t count,
                          uint8_t header[CZ_STORE_HEADER]);
/* Is this a whole file of `key`? `deep` reads the payload too. */
bool cz_store_file_whole(const uint8_t *data, size_t size, const cz_store_key *key, size_t *count, bool deep);
/* DIR/ab/cdef….czf; cz_free. */
char *cz_store_file_path(const char *dir, const cz_store_key *key);

typedef struct cz_store_file {
    cz_store_key key;
    uint64_t bytes;
    struct timespec used;
} cz_store_file;
typedef struct cz_store_listing {
    cz_store_file *files; /* least recently used first */
    size_t count, capacity;
    uint64_t bytes;
} cz_store_listing;
/* A folder that is not there gives an empty list. Temporary files older than an hour (of writers that were killed) are
 * removed when `sweep`. Nothing that the store has not named itself is looked at. */
cz_status cz_store_scan(const char *dir, bool sweep, cz_store_listing *out);
void cz_store_listing_free(cz_store_listing *listing);
/* Removes from the front until at most `keep` bytes are left, under DIR/lock (another process at it: nothing is done, and
 * false is returned). `removed` is added to. */
bool cz_store_evict(const char *dir, cz_store_listing *listing, uint64_t keep, uint64_t *removed);

#endif
