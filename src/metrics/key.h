/* SPDX-License-Identifier: Apache-2.0 */
/* Order-preserving integer keys of floats: what is sorted and counted. */
#ifndef CZ_METRICS_KEY_H
#define CZ_METRICS_KEY_H

#include <math.h>
#include <stdint.h>
#include <string.h>

/* x < y implies key(x) < key(y); -0 and 0 have one key, NaN has the lowest. */
static inline uint32_t cz_float_key(float value)
{
    if (isnan(value)) return 0;
    if (value == 0.0f) value = 0.0f;
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

/* The float of a key; the keys beyond the infinities, which only NaN could have, give the infinity beside them. */
static inline float cz_key_float(uint32_t key)
{
    if (key < 0x007fffffu) return -INFINITY;
    if (key > 0xff800000u) return INFINITY;
    const uint32_t bits = (key & 0x80000000u) != 0 ? key & 0x7fffffffu : ~key;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

#endif
