/* SPDX-License-Identifier: Apache-2.0 */
#include "util/xxh64.h"

#include <string.h>

#define PRIME1 UINT64_C(0x9E3779B185EBCA87)
#define PRIME2 UINT64_C(0xC2B2AE3D27D4EB4F)
#define PRIME3 UINT64_C(0x165667B19E3779F9)
#define PRIME4 UINT64_C(0x85EBCA77C2B2AE63)
#define PRIME5 UINT64_C(0x27D4EB2F165667C5)

static inline uint64_t rotate(uint64_t v, unsigned by)
{
    return v << by | v >> (64 - by);
}

static inline uint64_t read64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline uint64_t hash_round(uint64_t lane, uint64_t word)
{
    return rotate(lane + word * PRIME2, 31) * PRIME1;
}

static uint64_t hash_tail(uint64_t h, const uint8_t *p, size_t left)
{
    for (; left >= 8; p += 8, left -= 8) h = rotate(h ^ hash_round(0, read64(p)), 27) * PRIME1 + PRIME4;
    if (left >= 4) {
        uint32_t v;
        memcpy(&v, p, sizeof v);
        h = rotate(h ^ v * PRIME1, 23) * PRIME2 + PRIME3;
        p += 4;
        left -= 4;
    }
    for (; left > 0; p++, left--) h = rotate(h ^ *p * PRIME5, 11) * PRIME1;
    h = (h ^ h >> 33) * PRIME2;
    h = (h ^ h >> 29) * PRIME3;
    return h ^ h >> 32;
}

uint64_t cz_xxh64(const void *data, size_t bytes)
{
    const uint8_t *p = data;
    size_t left = bytes;
    if (bytes < 32) return hash_tail(PRIME5 + bytes, p, left);
    uint64_t lane[4] = {PRIME1 + PRIME2, PRIME2, 0, 0 - PRIME1};
    for (; left >= 32; p += 32, left -= 32)
        for (size_t i = 0; i < 4; i++) lane[i] = hash_round(lane[i], read64(p + 8 * i));
    uint64_t h = rotate(lane[0], 1) + rotate(lane[1], 7) + rotate(lane[2], 12) + rotate(lane[3], 18);
    for (size_t i = 0; i < 4; i++) h = (h ^ hash_round(0, lane[i])) * PRIME1 + PRIME4;
    return hash_tail(h + bytes, p, left);
}
