/* SPDX-License-Identifier: Apache-2.0 */
#include "tensor/dtype.h"

static const struct {
    const char *name;
    size_t size;
} dtypes[] = {[CZ_F32] = {"F32", 4}, [CZ_F16] = {"F16", 2}, [CZ_BF16] = {"BF16", 2}, [CZ_F64] = {"F64", 8},
              [CZ_I64] = {"I64", 8}, [CZ_I32] = {"I32", 4}, [CZ_I8] = {"I8", 1},     [CZ_U8] = {"U8", 1}};

size_t cz_dtype_size(cz_dtype dtype)
{
    return (size_t)dtype < sizeof dtypes / sizeof *dtypes ? dtypes[dtype].size : 0;
}

const char *cz_dtype_name(cz_dtype dtype)
{
    return (size_t)dtype < sizeof dtypes / sizeof *dtypes ? dtypes[dtype].name : "?";
}

float cz_f16_to_f32(uint16_t value)
{
    const uint32_t sign = (uint32_t)(value & 0x8000u) << 16;
    uint32_t exponent = (value >> 10) & 0x1fu, mantissa = value & 0x3ffu, bits;
    if (exponent == 0x1f) {
        bits = sign | 0x7f800000u | mantissa << 13;
    } else if (exponent != 0) {
        bits = sign | (exponent + 112) << 23 | mantissa << 13;
    } else { /* zero or subnormal: mantissa * 2^-24 is exact in F32 */
        const float magnitude = (float)mantissa * 0x1p-24f;
        memcpy(&bits, &magnitude, sizeof bits);
        bits |= sign;
    }
    float out;
    memcpy(&out, &bits, sizeof out);
    return out;
}

cz_status cz_to_f32(cz_dtype dtype, const void *source, size_t count, float *out)
{
    const uint8_t *bytes = source;
    switch (dtype) {
    case CZ_F32:
        if (count > 0) memcpy(out, bytes, count * sizeof *out);
        return CZ_OK;
    case CZ_F16:
    case CZ_BF16:
        for (size_t i = 0; i < count; i++) {
            uint16_t value;
            memcpy(&value, bytes + 2 * i, sizeof value);
            out[i] = dtype == CZ_F16 ? cz_f16_to_f32(value) : cz_bf16_to_f32(value);
        }
        return CZ_OK;
    case CZ_F64:
        for (size_t i = 0; i < count; i++) {
            double value;
            memcpy(&value, bytes + 8 * i, sizeof value);
            out[i] = (float)value;
        }
        return CZ_OK;
    default:
        return cz_fail(CZ_E_UNSUPPORTED, "%s is not a floating-point type", cz_dtype_name(dtype));
    }
}
