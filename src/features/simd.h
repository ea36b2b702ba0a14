/* SPDX-License-Identifier: Apache-2.0 */
/* Run-time choice between a plain C loop and the same loop compiled for AVX2 or AVX-512. Kernels that use it are element-wise
 * (or in integers, or add in an order that is written out), so all give the same bits. */
#ifndef CZ_FEATURES_SIMD_H
#define CZ_FEATURES_SIMD_H

#include <stdbool.h>

#define CZ_INLINE static inline __attribute__((always_inline))

#if defined(__x86_64__) && defined(__GNUC__)
#define CZ_SIMD_AVX2   1
#define CZ_TARGET_AVX2 __attribute__((target("avx2")))
#if defined(__clang__)
#define CZ_TARGET_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl")))
#else
#define CZ_TARGET_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,prefer-vector-width=512")))
#endif
#else
#define CZ_SIMD_AVX2 0
#define CZ_TARGET_AVX2
#define CZ_TARGET_AVX512
#endif

typedef enum cz_simd { CZ_SIMD_PLAIN = 0, CZ_SIMD_LEVEL_AVX2 = 1, CZ_SIMD_LEVEL_AVX512 = 2 } cz_simd;
/* The widest of them that the processor has. */
cz_simd cz_simd_level(void);
/* Test hook: no wider than this from now on, for the whole process. */
void cz_simd_limit(cz_simd level);

static inline bool cz_has_avx2(void)
{
    return cz_simd_level() >= CZ_SIMD_LEVEL_AVX2;
}

/* name(...) calls name_avx512, name_avx2 or name_plain, all made from the always-inlined name_body: CZ_SIMD_KERNEL(name, (types and
 * names), (names)) of a function without result. */
#define CZ_SIMD_KERNEL(name, parameters, arguments)                                                                    \
    static void name##_plain parameters                                                                                \
    {                                                                                                                  \
        name##_body arguments;                                                                                         \
    }                                                                                                                  \
    CZ_TARGET_AVX2 static void name##_avx2 parameters                                                                  \
    {                                                                                                                  \
        name##_body arguments;                                                                                         \
    }                                                                                                                  \
    CZ_TARGET_AVX512 static void name##_avx512 parameters                                                              \
    {                                                                                                                  \
        name##_body arguments;                                                                                         \
    }                                                                                                                  \
    static void name parameters                                                                                        \
    {                                                                                                                  \
        const cz_simd level = cz_simd_level();                                                                         \
        if (level >= CZ_SIMD_LEVEL_AVX512)                                                                             \
            name##_avx512 arguments;                                                                                   \
        else if (level >= CZ_SIMD_LEVEL_AVX2)                                                                          \
            name##_avx2 arguments;                                                                                     \
        else                                                                                                           \
            name##_plain arguments;                                                                                    \
    }

#endif
