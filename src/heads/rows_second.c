/* SPDX-License-Identifier: Apache-2.0 */
#include "heads/rows_second.h"

#include <string.h>

enum { SUMS = 3, BLOCK = CZ_ROWS_BLOCK };

/* For each group: three double rows of results and three float rows (two double rows' bytes hold them). */
enum { GROUP_ROWS = SUMS + 2 };

size_t cz_rows_tangent_scratch(size_t rows, size_t columns)
{
    return cz_rows_groups(rows) * columns * GROUP_ROWS;
}

/* One row that is beyond its margin: e = 0. */
static void row_sums_idle(const cz_norm *norm, const float *restrict z, const float *restrict rz, float *restrict s1,
                          float *restrict s2)
{
    const float *mean = norm->mean, *istd = norm->istd;
    for (size_t c = 0; c < norm->columns; c++) {
        s1[c] += rz[c];
        s2[c] += (z[c] - mean[c]) * istd[c] * rz[c];
    }
}

static void row_sums(const cz_norm *norm, const float *restrict z, const float *restrict rz, float over,
                     float *restrict s1, float *restrict s2, float *restrict s3)
{
    const float *mean = norm->mean, *istd = norm->istd, *scale = norm->scale, *shift = norm->shift;
    const float under = CZ_LEAKY_SLOPE * over;
    for (size_t c = 0; c < norm->columns; c++) {
        const float x = (z[c] - mean[c]) * istd[c];
        const float e = x * scale[c] + shift[c] > 0 ? over : under;
        s1[c] += rz[c];
        s2[c] += x * rz[c];
        s3[c] += e * rz[c];
    }
}

/* own [SUMS, columns] += sums of rows first … end - 1 of rz, x rz and e rz; block: [SUMS, columns] float */
static void group_sums(const cz_norm *norm, const float *z, const float *rz, const float *g, size_t first, size_t end,
                       double *own, float *block)
{
    const size_t columns = norm->columns;
    for (size_t start = first; start < end; start += BLOCK) {
        const size_t stop = end - start < BLOCK ? end : start + BLOCK;
        memset(block, 0, SUMS * columns * sizeof *block);
        for (size_t r = start; r < stop; r++) {
            const float *row = z + r * columns, *moved = rz + r * columns;
            if (g[r] == 0)
                row_sums_idle(norm, row, moved, block, block + columns);
            else
                row_sums(norm, row, moved, g[r], block, block + columns, block + 2 * columns);
        }
        for (size_t c = 0; c < SUMS * columns; c++) own[c] += (double)block[c];
    }
}

void cz_rows_tangent_sums(const cz_norm *norm, const float *z, const float *rz, const float *g, size_t rows,
                          const double *e1, const double *e2, double *scratch, double *m1, double *m2, double *e3)
{
    const size_t groups = cz_rows_groups(rows), columns = norm->columns;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < groups; i++) {
        double *own = scratch + i * columns * GROUP_ROWS;
        memset(own, 0, SUMS * columns * sizeof *own);
        group_sums(norm, z, rz, g, i * CZ_ROWS_GROUP, cz_rows_group_end(i, rows), own, (float *)(own + SUMS * columns));
    }
    for (size_t c = 0; c < columns; c++) {
        double sum[SUMS] = {0};
        for (size_t i = 0; i < groups; i++)
            for (size_t j = 0; j < SUMS; j++) sum[j] += scratch[(i * GROUP_ROWS + j) * columns + c];
        m1[c] = sum[0] / (double)rows;
        m2[c] = sum[1] / (double)rows;
        e3[c] = (double)norm->istd[c] * (sum[2] - m1[c] * e1[c] - m2[c] * e2[c]);
    }
}

/* Rdz = a (e - mean of e) + b (rz - m1) + c x; rows of [K] */
typedef struct coefficients {
    float *a, *mean_e, *b, *m1, *c;
} coefficients;

/* docs/math/second-order.md, "Back through batch norm" */
static coefficients combine(const cz_norm *norm, const cz_norm_tangent *tangent, const cz_rows_sums *sums, size_t rows,
                            float *room)
{
    const size_t columns = norm->columns;
    const coefficients k = {room, room + columns, room + 2 * columns, room + 3 * columns, room + 4 * columns};
    for (size_t c = 0; c < columns; c++) {
        const double istd = (double)norm->istd[c], scale = (double)norm->scale[c], w2 = (double)norm->w2[c];
        const double mean2 = sums->e2[c] / (double)rows, mean3 = sums->e3[c] / (double)rows;
        const double factor = istd * scale * w2, m2 = sums->m2[c];
        const double moved = istd * ((double)tangent->w2[c] * scale + w2 * (double)tangent->scale[c]);
        const double a = moved - istd * m2 * factor;
        k.a[c] = (float)a;
        k.mean_e[c] = (float)(sums->e1[c] / (double)rows);
        k.b[c] = (float)(-factor * istd * mean2);
        k.m1[c] = (float)sums->m1[c];
        k.c[c] = (float)(factor * (istd * m2 * mean2 - mean3) - a * mean2);
    }
    return k;
}

static void row_backward(const cz_norm *norm, const coefficients *k, const float *z, const float *rz, float over,
                         float *out)
{
    const float *mean = norm->mean, *istd = norm->istd, *scale = norm->scale, *shift = norm->shift;
    const float *restrict a = k->a, *restrict mean_e = k->mean_e, *restrict b = k->b, *restrict m1 = k->m1;
    const float *restrict slope = k->c;
    const float under = CZ_LEAKY_SLOPE * over;
#pragma omp simd
    for (size_t c = 0; c < norm->columns; c++) {
        const float x = (z[c] - mean[c]) * istd[c];
        const float e = x * scale[c] + shift[c] > 0 ? over : under;
        out[c] = a[c] * (e - mean_e[c]) + b[c] * (rz[c] - m1[c]) + slope[c] * x;
    }
}

void cz_rows_tangent_backward(const cz_norm *norm, const cz_norm_tangent *tangent, const cz_rows_sums *sums,
                              const float *z, const float *rz, const float *g, size_t half, float *coefficients_room,
                              float *out, float *sum)
{
    const size_t columns = norm->columns;
    const coefficients k = combine(norm, tangent, sums, 2 * half, coefficients_room);
#pragma omp parallel for schedule(static)
    for (size_t r = 0; r < half; r++) {
        const size_t genuine = r * columns, noised = (half + r) * columns;
        row_backward(norm, &k, z + genuine, rz + genuine, g[r], out + genuine);
        row_backward(norm, &k, z + noised, rz + noised, g[half + r], out + noised);
        for (size_t c = 0; c < columns; c++) sum[genuine + c] = out[genuine + c] + out[noised + c];
    }
}
