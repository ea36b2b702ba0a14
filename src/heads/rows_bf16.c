/* SPDX-License-Identifier: Apache-2.0 */
/* The passes of rows.h that feed products in bf16: each block is rounded (and turned) while it is in the cache. */
#include "heads/rows.h"
#include "tensor/bf16.h"

#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__)
#define CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define CLONES
#endif

enum { PIECE = 2048, ROWS = 32, COLUMNS = 128 };

CLONES static void add(const float *a, const float *b, size_t count, float *out)
{
    for (size_t i = 0; i < count; i++) out[i] = a[i] + b[i];
}

void cz_rows_noise_bf16(const float *q, size_t first, size_t count, const cz_rows_eps *eps, uint16_t *genuine,
                        uint16_t *noised)
{
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < count; i += PIECE) {
        const size_t n = count - i < PIECE ? count - i : PIECE;
        float sum[PIECE];
        if (eps->injected) {
            add(q + i, eps->injected + first + i, n, sum);
        } else {
            cz_rng_normal_run(&eps->rng, first + i, sum, n, eps->std);
            add(q + i, sum, n, sum);
        }
        cz_bf16_round_run(q + i, n, genuine + i);
        cz_bf16_round_run(sum, n, noised + i);
    }
}

/* One row of row_backward in rows.c, from z to out. */
CLONES static void row_backward(const cz_norm *norm, const float *coefficients, size_t first, size_t count,
                                const float *restrict z, float over, float *restrict out)
{
    const float *restrict mean = norm->mean + first, *restrict istd = norm->istd + first;
    const float *restrict scale = norm->scale + first, *restrict shift = norm->shift + first;
    const float *restrict factor = coefficients + first, *restrict mean1 = factor + norm->columns;
    const float *restrict mean2 = mean1 + norm->columns;
    const float under = CZ_LEAKY_SLOPE * over;
    for (size_t c = 0; c < count; c++) {
        const float x = (z[first + c] - mean[c]) * istd[c];
        const float e = x * scale[c] + shift[c] > 0 ? over : under;
        out[c] = factor[c] * (e - mean1[c] - x * mean2[c]);
    }
}

void cz_rows_backward_bf16(const cz_norm *norm, const float *coefficients, const float *z, const float *g, size_t half,
                           size_t first, size_t count, uint16_t *genuine, uint16_t *noised, uint16_t *sum)
{
    const size_t columns = norm->columns;
#pragma omp parallel for schedule(static)
    for (size_t r = 0; r < count; r += ROWS) {
        const size_t rows = count - r < ROWS ? count - r : ROWS;
        float real[ROWS * COLUMNS], twin[ROWS * COLUMNS], both[COLUMNS];
        for (size_t c = 0; c < columns; c += COLUMNS) {
            const size_t n = columns - c < COLUMNS ? columns - c : COLUMNS;
            for (size_t i = 0; i < rows; i++) {
                const size_t at = first + r + i;
                row_backward(norm, coefficients, c, n, z + at * columns, g[at], real + i * COLUMNS);
                row_backward(norm, coefficients, c, n, z + (half + at) * columns, g[half + at], twin + i * COLUMNS);
                add(real + i * COLUMNS, twin + i * COLUMNS, n, both);
                cz_bf16_round_run(both, n, sum + (r + i) * columns + c);
            }
            cz_bf16_turn_run(real, COLUMNS, rows, n, genuine + c * count + r, count);
            cz_bf16_turn_run(twin, COLUMNS, rows, n, noised + c * count + r, count);
        }
    }
}

void cz_rows_turn_bf16(const float *a, const float *b, size_t rows, size_t columns, uint16_t *out)
{
#pragma omp parallel for schedule(static)
    for (size_t r = 0; r < rows; r += ROWS) {
        const size_t n = rows - r < ROWS ? rows - r : ROWS;
        float sum[ROWS * COLUMNS];
        if (!b) cz_bf16_turn_run(a + r * columns, columns, n, columns, out + r, rows);
        for (size_t c = 0; b && c < columns; c += COLUMNS) {
            const size_t wide = columns - c < COLUMNS ? columns - c : COLUMNS;
            for (size_t i = 0; i < n; i++)
                add(a + (r + i) * columns + c, b + (r + i) * columns + c, wide, sum + i * COLUMNS);
            cz_bf16_turn_run(sum, COLUMNS, n, wide, out + c * rows + r, rows);
        }
    }
}

void cz_rows_sum_bf16(const uint16_t *x, size_t rows, size_t columns, double *scratch, double *sum)
{
    const size_t groups = cz_rows_groups(rows);
#pragma omp parallel for schedule(static)
    for (size_t g = 0; g < groups; g++) {
        double *own = scratch + g * columns * 3;
        float *wide = (float *)(own + columns);
        memset(own, 0, columns * sizeof *own);
        for (size_t r = g * CZ_ROWS_GROUP; r < cz_rows_group_end(g, rows); r++) {
            cz_bf16_widen_run(x + r * columns, columns, wide);
            for (size_t c = 0; c < columns; c++) own[c] += (double)wide[c];
        }
    }
    memset(sum, 0, columns * sizeof *sum);
    for (size_t g = 0; g < groups; g++)
        for (size_t c = 0; c < columns; c++) sum[c] += scratch[g * 3 * columns + c];
}
