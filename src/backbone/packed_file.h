/* SPDX-License-Identifier: Apache-2.0 */
/* The files of packed weights and their folder. Only files that the user owns and nobody else can write are looked at. */
#ifndef CZ_BACKBONE_PACKED_FILE_H
#define CZ_BACKBONE_PACKED_FILE_H

#include "util/file.h"

#include <stdbool.h>
#include <time.h>

/*
 * FOLDER/SHA-KEY.czp, SHA the first 16 hex digits of the backbone's digest and KEY the 64 of SHA-256 over that digest and the
 * context, in the byte order of the host (another one fails the magic number):
 *      0  u64      magic
 *      8  u32      version
 *     12  u32      offset of the packed bytes, a multiple of 4096
 *     16  u64      how many they are
 *     24  u8[32]   key
 *     56  u64      checksum of the packed bytes: XXH64 over the XXH64 of every MiB
 *     64  u32      length of the text
 *     68  u32      zero
 *     72  u64      XXH64 of bytes 128 ... offset - 1
 *     80  u8[40]   zero
 *    120  u64      XXH64 of bytes 0 ... 119
 *    128           the text: JSON that describes the backbone and names the context; zeros up to the offset
 * offset           the packed bytes; nothing after them
 */
#define CZ_PACKED_HEADER  128
#define CZ_PACKED_VERSION 1
#define CZ_PACKED_LIMIT   UINT64_C(2000000000) /* of the folder, in bytes */
#define CZ_PACKED_NAME    (16 + 1 + 64 + 4 + 1)

typedef struct cz_packed_key {
    uint8_t digest[32];
    char name[CZ_PACKED_NAME]; /* of the file */
} cz_packed_key;
void cz_packed_key_make(const char sha256[65], const char *context, cz_packed_key *out);

/* $COZAD_HOME/packed or what stands for it (util/file.h); cz_free. */
char *cz_packed_folder(void);

/* A file, mapped and checked. */
typedef struct cz_packed_file {
    void *mapping;
    size_t mapped;
    const char *text; /* not terminated */
    size_t text_size;
    const uint8_t *bytes; /* 4096-byte aligned */
    size_t size;
} cz_packed_file;
/* False: there is none, or a damaged one, which is removed, or a foreign one. `deep` reads every byte and counts as a use. */
bool cz_packed_file_open(const char *folder, const char *name, bool deep, cz_packed_file *out);
void cz_packed_file_close(cz_packed_file *file);
/* Makes room within `limit` (least recently used go first), then writes beside the target and renames. The folder is made. */
bool cz_packed_file_write(const char *folder, const cz_packed_key *key, const char *text, const void *bytes,
                          size_t size, uint64_t limit);

typedef struct cz_packed_entry {
    char name[CZ_PACKED_NAME];
    uint64_t bytes;
    struct timespec used;
} cz_packed_entry;
typedef struct cz_packed_listing {
    cz_packed_entry *entries; /* least recently used first */
    size_t count, room;
    uint64_t bytes;
} cz_packed_listing;
/* A folder that is not there, or is not the user's own, gives an empty list. Temporary files older than an hour (of writers
 * that were killed) are removed. */
cz_status cz_packed_scan(const char *folder, cz_packed_listing *out);
void cz_packed_listing_free(cz_packed_listing *listing);
/* Removes from the front until at most `keep` bytes are left, under a lock file (another process at it: nothing is done, and
 * false is returned). `removed` is added to. */
bool cz_packed_evict(const char *folder, cz_packed_listing *listing, uint64_t keep, uint64_t *removed);
/* Every byte of it is read; nothing is removed. */
bool cz_packed_damaged(const char *folder, const char *name);
bool cz_packed_remove(const char *folder, const char *name);
/* The key in a listed name, 64 hex digits. */
void cz_packed_key_text(const char *name, char hex[65]);

#endif
