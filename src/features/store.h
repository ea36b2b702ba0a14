/* SPDX-License-Identifier: Apache-2.0 */
/* Feature store (docs/architecture.md): tapped maps before pooling, bf16, memory-mapped, one file an image, named by the SHA-256 of
 * everything that decides them. Safe for several processes; least recently used entries go first; a full disk or a
 * damaged entry means computing again, never an error. */
#ifndef CZ_FEATURES_STORE_H
#define CZ_FEATURES_STORE_H

#include "util/file.h"
#include "util/status.h"

#include <stdbool.h>

#define CZ_STORE_VERSION       1
#define CZ_STORE_DEFAULT_LIMIT ((uint64_t)20 * 1000 * 1000 * 1000)

typedef struct cz_store cz_store;
/* Opens (and makes) a folder; options->dir "" is the default one. */
cz_status cz_store_open(const cz_cache_options *options, cz_store **out);
void cz_store_close(cz_store *s);
typedef struct cz_store_key {
    uint8_t digest[32];
} cz_store_key;
/* `input` is the network's 8-bit RGB input [h, w, 3] (it decides the maps, whatever the file looked like); `context` is a
 * text of everything else: backbone SHA-256, taps, normalisation, precision, algorithm, augmentation. */
void cz_store_key_make(const uint8_t *input, size_t height, size_t width, const char *context, cz_store_key *out);

typedef struct cz_store_entry {
    cz_mapping mapping;
    const uint16_t *values; /* bf16, 64-byte aligned; the taps one after the other, [h, w, C] each */
    size_t count;
} cz_store_entry;
/* true: found, whole (header, size; checksum on the entry's first use in this process) and exactly `count` values. */
bool cz_store_get(cz_store *s, const cz_store_key *key, size_t count, cz_store_entry *out);
void cz_store_release(cz_store_entry *entry);
/* Best effort, atomic. Evicts when over the limit. Returns false (and remembers why: cz_store_problem) when it could not. */
bool cz_store_put(cz_store *s, const cz_store_key *key, const uint16_t *values, size_t count);
const char *cz_store_problem(const cz_store *s); /* "" or one line, the first */

#endif
