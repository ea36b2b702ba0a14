/* SPDX-License-Identifier: Apache-2.0 */
/* What the benchmarks of heads share. A benchmark that fails says why and ends. */
#ifndef BENCH_COMMON_H
#define BENCH_COMMON_H

#include "cozad/cozad.h"
#include "util/alloc.h"
#include "util/rng.h"

#include <stdio.h>
#include <stdlib.h>

static inline void check(cz_status status)
{
    if (status == CZ_OK) return;
    fprintf(stderr, "bench: %s\n", cz_last_error());
    exit(1);
}

/* [count] of N(0, std^2), the same in every run; cz_free. */
static inline float *random_floats(size_t count, float std)
{
    float *values = cz_alloc_array(count, sizeof *values);
    if (!values) check(CZ_E_MEMORY);
    cz_rng rng;
    cz_rng_init(&rng, 1, CZ_RNG_TEST, 0, 0);
    cz_rng_normal_fill(&rng, 0, values, count, std);
    return values;
}

/* For qsort of times. */
static inline int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

#endif
