/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 (FIPS 180-4), with the processor's SHA instructions where it has them. */
#ifndef CZ_UTIL_SHA256_H
#define CZ_UTIL_SHA256_H

#include <stddef.h>
#include <stdint.h>

typedef struct cz_sha256 {
    uint32_t state[8];
    uint64_t bytes;
    uint8_t block[64];
} cz_sha256;

void cz_sha256_init(cz_sha256 *sha);
void cz_sha256_update(cz_sha256 *sha, const void *data, size_t bytes);
void cz_sha256_final(cz_sha256 *sha, uint8_t digest[32]);
void cz_sha256_hex(const uint8_t digest[32], char hex[65]);

#endif
