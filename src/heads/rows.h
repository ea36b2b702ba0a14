/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The passes over rows between SimpleNet's matrix products: batch norm, LeakyReLU and the product with w2 fused, so that
 * each reads and writes its matrix once. All use OpenMP over groups of CZ_ROWS_GROUP rows; sums over rows are taken
 * within a group in order and over groups in order, so no result depends on the thread count.
 */
#ifndef CZ_HEADS_ROWS_H
#define CZ_HEADS_ROWS_H

#include "util/rng.h"

#include <stddef.h>
#include <stdint.h>

#define CZ_ROWS_GROUP 128
#define CZ_ROWS_BLOCK 32 /* rows that are summed in float before their sum joins a double */
/* max(x, slope x) is LeakyReLU, since 0 <= slope < 1; its derivative at 0 is the slope. */
#define CZ_LEAKY_SLOPE 0.2f

/* Batch norm with w2 behind it: y = (z - mean) * istd * scale + shift, D = sum over columns of w2 leaky(y). All [K]. */
typedef struct cz_norm {
    size_t columns; /* K */
    const float *mean, *istd, *scale, *shift, *w2;
} cz_norm;

static inline size_t cz_rows_groups(size_t rows)
{
    return (rows + CZ_ROWS_GROUP - 1) / CZ_ROWS_GROUP;
}

static inline size_t cz_rows_group_end(size_t group, size_t rows)
{
    const size_t end = (group + 1) * CZ_ROWS_GROUP;
    return end < rows ? end : rows;
}

/* Doubles of scratch that the sums below need. */
size_t cz_rows_scratch(size_t rows, size_t columns);

/* x: [rows, columns] -> mean [columns] and sum of squares about it, m2 [columns]. Chan, Golub & LeVeque (1979) merging. */
void cz_rows_moments(const float *x, size_t rows, size_t columns, double *scratch, double *mean, double *m2);
/* The same in pieces: part takes rows [first, first + count) of the whole (first a multiple of CZ_ROWS_GROUP), x being its first
 * row; merge ends it. */
void cz_rows_moments_part(const float *x, size_t first, size_t count, size_t columns, double *scratch);
void cz_rows_moments_merge(size_t rows, size_t columns, const double *scratch, double *mean, double *m2);
/* Merges (count_b, mean_b, m2_b) into (count_a, mean, m2); the same formula. */
void cz_rows_merge(size_t columns, double count_a, double *mean, double *m2, double count_b, const double *mean_b,
                   const double *m2_b);
/* x: [rows, columns] -> sum [columns] */
void cz_rows_sum(const float *x, size_t rows, size_t columns, double *scratch, double *sum);
/* x: [rows, columns] += row [columns] */
void cz_rows_add(float *x, size_t rows, size_t columns, const float *row);
/* q: [rows, columns] += bias [columns] (NULL: none), then noised = q + noise; noised may be noise. */
void cz_rows_noise(float *q, size_t rows, size_t columns, const float *bias, const float *noise, float *noised);

/* z: [rows, K] -> d [rows] */
void cz_rows_forward(const cz_norm *norm, const float *z, size_t rows, float *d);
/* With e = g leaky'(y): e1 [K] = sum over rows of e, e2 [K] = sum over rows of e x, where x = (z - mean) istd and g [rows] is
 * dL/dD. What the gradients of w2, scale and shift are made of. */
void cz_rows_backward_sums(const cz_norm *norm, const float *z, const float *g, size_t rows, double *scratch,
                           double *e1, double *e2);
/* dz: [2 * half, K] dL/dz, which may be z; sum: [half, K] dz of row r plus that of row half + r. */
void cz_rows_backward(const cz_norm *norm, const float *z, const float *g, size_t half, const double *e1,
                      const double *e2, float *coefficients /* [3 K] scratch */, float *dz, float *sum);

/* ---- for products in bf16: operands leave these passes rounded --------------------------------------------------- */

/* Noise of Eq. 15: element i of a batch's [P, D], drawn from the stream, or given. */
typedef struct cz_rows_eps {
    cz_rng rng;
    float std;
    const float *injected; /* NULL: drawn */
} cz_rows_eps;
/* q: [count] elements of the batch's from `first` (a multiple of 4) on -> genuine = q, noised = q + eps, rounded. */
void cz_rows_noise_bf16(const float *q, size_t first, size_t count, const cz_rows_eps *eps, uint16_t *genuine,
                        uint16_t *noised);
/* coefficients: [3 K] for cz_rows_backward_bf16, of a batch of 2 * half rows. */
void cz_rows_backward_coefficients(const cz_norm *norm, size_t half, const double *e1, const double *e2,
                                   float *coefficients);
/* dL/dz of rows [first, first + count) and of their noised twins, turned: [K, count] each; sum: [count, K] the rows' sums.
 * z, g: of the whole batch, as in cz_rows_backward. */
void cz_rows_backward_bf16(const cz_norm *norm, const float *coefficients, const float *z, const float *g, size_t half,
                           size_t first, size_t count, uint16_t *genuine, uint16_t *noised, uint16_t *sum);
/* out: [columns, rows] = (a + b)^T; b: NULL or as a, [rows, columns]. */
void cz_rows_turn_bf16(const float *a, const float *b, size_t rows, size_t columns, uint16_t *out);
/* x: [rows, columns] -> sum [columns] */
void cz_rows_sum_bf16(const uint16_t *x, size_t rows, size_t columns, double *scratch, double *sum);

#endif
