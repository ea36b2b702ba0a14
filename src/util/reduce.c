/* SPDX-License-Identifier: Apache-2.0 */
#include "util/reduce.h"

/* Blocks are summed by whichever thread is free and added up in order; each has LANES running sums, so that the additions do
 * not wait for each other. */
/* The same lanes in the same order on every processor: only how many go at once differs. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__)
#define CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define CLONES
#endif

enum { LANES = 16, BLOCK = 8192, BATCH = 256 };

static double sum_block(const double lanes[LANES])
{
    double sum = 0.0;
    for (size_t l = 0; l < LANES; l++) sum += lanes[l];
    return sum;
}

CLONES static double dot_block(const float *a, const float *b, size_t count)
{
    double lanes[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        for (size_t l = 0; l < LANES; l++) lanes[l] += (double)a[i + l] * (double)b[i + l];
    }
    for (; i < count; i++) lanes[0] += (double)a[i] * (double)b[i];
    return sum_block(lanes);
}

CLONES static double distance_block(const float *a, const float *b, size_t count)
{
    double lanes[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        for (size_t l = 0; l < LANES; l++) {
            const double d = (double)a[i + l] - (double)b[i + l];
            lanes[l] += d * d;
        }
    }
    for (; i < count; i++) lanes[0] += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    return sum_block(lanes);
}

static double reduce(double (*block)(const float *, const float *, size_t), const float *a, const float *b,
                     size_t count)
{
    double total = 0.0;
    for (size_t first = 0; first < count; first += (size_t)BATCH * BLOCK) {
        double partial[BATCH];
        const size_t left = count - first, blocks = left / BLOCK + 1 < BATCH ? left / BLOCK + 1 : BATCH;
#pragma omp parallel for schedule(static)
        for (size_t i = 0; i < blocks; i++) {
            const size_t at = i * BLOCK < left ? i * BLOCK : left, n = left - at < BLOCK ? left - at : BLOCK;
            partial[i] = block(a + first + at, b + first + at, n);
        }
        for (size_t i = 0; i < blocks; i++) total += partial[i];
    }
    return total;
}

double cz_dot(const float *a, const float *b, size_t count)
{
    return reduce(dot_block, a, b, count);
}

double cz_distance2(const float *a, const float *b, size_t count)
{
    return reduce(distance_block, a, b, count);
}
