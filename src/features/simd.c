/* SPDX-License-Identifier: Apache-2.0 */
#include "features/simd.h"

#include <stdatomic.h>

static atomic_int limit = CZ_SIMD_LEVEL_AVX512;

cz_simd cz_simd_level(void)
{
    int level = CZ_SIMD_PLAIN;
#if defined(__x86_64__) && defined(__GNUC__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        level = CZ_SIMD_LEVEL_AVX512;
    else if (__builtin_cpu_supports("avx2"))
        level = CZ_SIMD_LEVEL_AVX2;
#endif
    const int allowed = atomic_load_explicit(&limit, memory_order_relaxed);
    return (cz_simd)(level < allowed ? level : allowed);
}

void cz_simd_limit(cz_simd level)
{
    atomic_store_explicit(&limit, (int)level, memory_order_relaxed);
}
