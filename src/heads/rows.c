/* SPDX-License-Identifier: Apache-2.0 */
#include "heads/rows.h"

#include <string.h>

enum { BLOCK = CZ_ROWS_BLOCK, LANES = 16 };

/* The loops over columns, for wider registers too: the same operations in the same order, hence the same bits. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__)
#define CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define CLONES
#endif

/* For each group: two double rows of results and two float rows (one double row's bytes) of sums under way. */
size_t cz_rows_scratch(size_t rows, size_t columns)
{
    return cz_rows_groups(rows) * columns * 3;
}

void cz_rows_merge(size_t columns, double count_a, double *mean, double *m2, double count_b, const double *mean_b,
                   const double *m2_b)
{
    const double total = count_a + count_b, share = count_b / total, factor = count_a * share;
    for (size_t c = 0; c < columns; c++) {
        const double delta = mean_b[c] - mean[c];
        mean[c] += delta * share;
        m2[c] += m2_b[c] + delta * delta * factor;
    }
}

/* Moments of at most BLOCK rows, centred before squaring; mean and m2: [columns] float. */
CLONES static void block_moments(const float *x, size_t rows, size_t columns, float *mean, float *m2)
{
    memcpy(mean, x, columns * sizeof *mean);
    for (size_t r = 1; r < rows; r++)
        for (size_t c = 0; c < columns; c++) mean[c] += x[r * columns + c];
    const float inverse = 1.0f / (float)rows;
    for (size_t c = 0; c < columns; c++) {
        mean[c] *= inverse;
        m2[c] = 0;
    }
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < columns; c++) {
            const float d = x[r * columns + c] - mean[c];
            m2[c] += d * d;
        }
}

static void group_moments(const float *x, size_t rows, size_t columns, double *mean, double *m2, float *work)
{
    float *block_mean = work, *block_m2 = work + columns;
    for (size_t first = 0; first < rows; first += BLOCK) {
        const size_t count = rows - first < BLOCK ? rows - first : BLOCK;
        block_moments(x + first * columns, count, columns, block_mean, block_m2);
        const double total = (double)(first + count), share = (double)count / total, factor = (double)first * share;
        for (size_t c = 0; c < columns; c++) {
            const double start = first ? mean[c] : 0, delta = (double)block_mean[c] - start;
            mean[c] = start + delta * share;
            m2[c] = (first ? m2[c] : 0) + (double)block_m2[c] + delta * delta * factor;
        }
    }
}

void cz_rows_moments_part(const float *x, size_t first, size_t count, size_t columns, double *scratch)
{
    const size_t groups = cz_rows_groups(count);
    scratch += first / CZ_ROWS_GROUP * columns * 3;
#pragma omp parallel for schedule(static)
    for (size_t g = 0; g < groups; g++) {
        double *own = scratch + g * columns * 3;
        const size_t from = g * CZ_ROWS_GROUP;
        group_moments(x + from * columns, cz_rows_group_end(g, count) - from, columns, own, own + columns,
                      (float *)(own + 2 * columns));
    }
}

void cz_rows_moments_merge(size_t rows, size_t columns, const double *scratch, double *mean, double *m2)
{
    const size_t groups = cz_rows_groups(rows);
    memset(mean, 0, columns * sizeof *mean);
    memset(m2, 0, columns * sizeof *m2);
    for (size_t g = 0; g < groups; g++) {
        const double *own = scratch + g * columns * 3;
        const size_t first = g * CZ_ROWS_GROUP;
        cz_rows_merge(columns, (double)first, mean, m2, (double)(cz_rows_group_end(g, rows) - first), own,
                      own + columns);
    }
}

void cz_rows_moments(const float *x, size_t rows, size_t columns, double *scratch, double *mean, double *m2)
{
    cz_rows_moments_part(x, 0, rows, columns, scratch);
    cz_rows_moments_merge(rows, columns, scratch, mean, m2);
}

/* out [columns] = sum of every group's row `which`, in order */
static void add_groups(const double *scratch, size_t groups, size_t columns, size_t which, double *out)
{
    memset(out, 0, columns * sizeof *out);
    for (size_t g = 0; g < groups; g++)
        for (size_t c = 0; c < columns; c++) out[c] += scratch[(g * 3 + which) * columns + c];
}

void cz_rows_sum(const float *x, size_t rows, size_t columns, double *scratch, double *sum)
{
    const size_t groups = cz_rows_groups(rows);
#pragma omp parallel for schedule(static)
    for (size_t g = 0; g < groups; g++) {
        double *own = scratch + g * columns * 3;
        memset(own, 0, columns * sizeof *own);
        for (size_t r = g * CZ_ROWS_GROUP; r < cz_rows_group_end(g, rows); r++)
            for (size_t c = 0; c < columns; c++) own[c] += (double)x[r * columns + c];
    }
    add_groups(scratch, groups, columns, 0, sum);
}

void cz_rows_add(float *x, size_t rows, size_t columns, const float *row)
{
#pragma omp parallel for schedule(static)
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < columns; c++) x[r * columns + c] += row[c];
}

void cz_rows_noise(float *q, size_t rows, size_t columns, const float *bias, const float *noise, float *noised)
{
#pragma omp parallel for schedule(static)
    for (size_t r = 0; r < rows; r++) {
        float *own = q + r * columns;
        for (size_t c = 0; bias && c < columns; c++) own[c] += bias[c];
        for (size_t c = 0; c < columns; c++) noised[r * columns + c] = own[c] + noise[r * columns + c];
    }
}

static inline float leaky(float y)
{
    const float below = CZ_LEAKY_SLOPE * y;
    return y > below ? y : below;
}

/* One row: sum of w2 leaky(y), in LANES partial sums whose order is fixed. */
CLONES static float row_forward(const cz_norm *norm, const float *z)
{
    const float *mean = norm->mean, *istd = norm->istd, *scale = norm->scale, *shift = norm->shift, *w2 = norm->w2;
    const size_t columns = norm->columns, whole = columns - columns % LANES;
    float lane[LANES] = {0};
    for (size_t c = 0; c < whole; c += LANES)
        for (size_t j = 0; j < LANES; j++)
            lane[j] += w2[c + j] * leaky((z[c + j] - mean[c + j]) * istd[c + j] * scale[c + j] + shift[c + j]);
    for (size_t c = whole; c < columns; c++)
        lane[c - whole] += w2[c] * leaky((z[c] - mean[c]) * istd[c] * scale[c] + shift[c]);
    float sum = 0;
    for (size_t j = 0; j < LANES; j++) sum += lane[j];
    return sum;
}

void cz_rows_forward(const cz_norm *norm, const float *z, size_t rows, float *d)
{
#pragma omp parallel for schedule(static)
    for (size_t r = 0; r < rows; r++) d[r] = row_forward(norm, z + r * norm->columns);
}

CLONES static void block_backward_sums(const cz_norm *norm, const float *z, const float *g, size_t rows,
                                       float *restrict e1, float *restrict e2)
{
    const float *mean = norm->mean, *istd = norm->istd, *scale = norm->scale, *shift = norm->shift;
    const size_t columns = norm->columns;
    memset(e1, 0, columns * sizeof *e1);
    memset(e2, 0, columns * sizeof *e2);
    for (size_t r = 0; r < rows; r++) {
        if (g[r] == 0) continue; /* a sample beyond its margin */
        const float over = g[r], under = CZ_LEAKY_SLOPE * g[r];
        for (size_t c = 0; c < columns; c++) {
            const float x = (z[r * columns + c] - mean[c]) * istd[c];
            const float e = x * scale[c] + shift[c] > 0 ? over : under;
            e1[c] += e;
            e2[c] += e * x;
        }
    }
}

void cz_rows_backward_sums(const cz_norm *norm, const float *z, const float *g, size_t rows, double *scratch,
                           double *e1, double *e2)
{
    const size_t groups = cz_rows_groups(rows), columns = norm->columns;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < groups; i++) {
        double *own1 = scratch + i * columns * 3, *own2 = own1 + columns;
        float *block1 = (float *)(own2 + columns), *block2 = block1 + columns;
        const size_t end = cz_rows_group_end(i, rows);
        memset(own1, 0, 2 * columns * sizeof *own1);
        for (size_t r = i * CZ_ROWS_GROUP; r < end; r += BLOCK) {
            block_backward_sums(norm, z + r * columns, g + r, end - r < BLOCK ? end - r : BLOCK, block1, block2);
            for (size_t c = 0; c < columns; c++) {
                own1[c] += (double)block1[c];
                own2[c] += (double)block2[c];
            }
        }
    }
    add_groups(scratch, groups, columns, 0, e1);
    add_groups(scratch, groups, columns, 1, e2);
}

void cz_rows_backward_coefficients(const cz_norm *norm, size_t half, const double *e1, const double *e2,
                                   float *coefficients)
{
    const size_t columns = norm->columns;
    float *factor = coefficients, *mean1 = factor + columns, *mean2 = mean1 + columns;
    for (size_t c = 0; c < columns; c++) {
        factor[c] = norm->scale[c] * norm->istd[c] * norm->w2[c];
        mean1[c] = (float)(e1[c] / (double)(2 * half));
        mean2[c] = (float)(e2[c] / (double)(2 * half));
    }
}

/* dz = scale istd w2 (e - mean of e - x mean of (e x)); factor, mean1, mean2: [K] */
CLONES static void row_backward(const cz_norm *norm, const float *restrict factor, const float *restrict mean1,
                                const float *restrict mean2, float over, float *restrict z)
{
    const float *mean = norm->mean, *istd = norm->istd, *scale = norm->scale, *shift = norm->shift;
    const float under = CZ_LEAKY_SLOPE * over;
    for (size_t c = 0; c < norm->columns; c++) {
        const float x = (z[c] - mean[c]) * istd[c];
        const float e = x * scale[c] + shift[c] > 0 ? over : under;
        z[c] = factor[c] * (e - mean1[c] - x * mean2[c]);
    }
}

void cz_rows_backward(const cz_norm *norm, const float *z, const float *g, size_t half, const double *e1,
                      const double *e2, float *coefficients, float *dz, float *sum)
{
    const size_t columns = norm->columns;
    const float *factor = coefficients, *mean1 = factor + columns, *mean2 = mean1 + columns;
    cz_rows_backward_coefficients(norm, half, e1, e2, coefficients);
#pragma omp parallel for schedule(static)
    for (size_t r = 0; r < half; r++) {
        float *genuine = dz + r * columns, *noised = dz + (half + r) * columns;
        if (dz != z) {
            memcpy(genuine, z + r * columns, columns * sizeof *z);
            memcpy(noised, z + (half + r) * columns, columns * sizeof *z);
        }
        row_backward(norm, factor, mean1, mean2, g[r], genuine);
        row_backward(norm, factor, mean1, mean2, g[half + r], noised);
        for (size_t c = 0; c < columns; c++) sum[r * columns + c] = genuine[c] + noised[c];
    }
}
