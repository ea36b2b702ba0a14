/* SPDX-License-Identifier: Apache-2.0 */
/* Run-time choice between a plain C loop and the same loop compiled for AVX2. Kernels that use it are element-wise (or in
 * integers), so both give the same bits. */
#ifndef CZ_FEATURES_SIMD_H
#define CZ_FEATURES_SIMD_H

#include <stdbool.h>

#define CZ_INLINE static inline __attribute__((always_inline))

#if defined(__x86_64__) && defined(__GNUC__)
#define CZ_SIMD_AVX2   1
#define CZ_TARGET_AVX2 __attribute__((target("avx2")))
static inline bool cz_has_avx2(void)
{
    return __builtin_cpu_supports("avx2") != 0;
}
#else
#define CZ_SIMD_AVX2 0
#define CZ_TARGET_AVX2
static inline bool cz_has_avx2(void)
{
    return false;
}
#endif

#endif
