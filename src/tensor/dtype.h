/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CZ_TENSOR_DTYPE_H
#define CZ_TENSOR_DTYPE_H

#include "util/status.h"

#include <string.h>

size_t cz_dtype_size(cz_dtype dtype);
const char *cz_dtype_name(cz_dtype dtype); /* safetensors' names: "F32", … */
/* Converts `count` elements of any floating dtype to F32; `source` need not be aligned. CZ_E_UNSUPPORTED for others. */
cz_status cz_to_f32(cz_dtype dtype, const void *source, size_t count, float *out);

/* Round to nearest even; NaN stays NaN. */
static inline uint16_t cz_f32_to_bf16(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((bits >> 16) | 0x40u);
    return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

static inline float cz_bf16_to_f32(uint16_t value)
{
    const uint32_t bits = (uint32_t)value << 16;
    float out;
    memcpy(&out, &bits, sizeof out);
    return out;
}

float cz_f16_to_f32(uint16_t value);

#endif
