/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The passes over rows between the matrix products of SimpleNet's Hessian-vector product (docs/math/second-order.md), as
 * in rows.h: fused, OpenMP over groups of rows, the same result for any thread count. R is the tangent along a direction.
 */
#ifndef CZ_HEADS_ROWS_SECOND_H
#define CZ_HEADS_ROWS_SECOND_H

#include "heads/rows.h"

#define CZ_ROWS_TANGENT_COEFFICIENTS 5

/* Rows of cz_norm's scale and w2 along the direction, all [K]. */
typedef struct cz_norm_tangent {
    const float *scale, *w2;
} cz_norm_tangent;

/* Doubles of scratch that the sums below need. */
size_t cz_rows_tangent_scratch(size_t rows, size_t columns);

/* z, rz: [rows, K], z's tangent; g: [rows] dL/dD; e1, e2: [K] of cz_rows_backward_sums. Fills m1 [K] = mean over rows of rz,
 * m2 [K] = mean of x rz and e3 [K] = sum over rows of e Rx, where x = (z - mean) istd, e = g leaky'(y) and
 * Rx = istd (rz - m1 - x m2). */
void cz_rows_tangent_sums(const cz_norm *norm, const float *z, const float *rz, const float *g, size_t rows,
                          const double *e1, const double *e2, double *scratch, double *m1, double *m2, double *e3);

/* The column sums that the tangent of dL/dz is made of, as above; all [K]. */
typedef struct cz_rows_sums {
    const double *e1, *e2, *e3, *m1, *m2;
} cz_rows_sums;

/* out: [2 * half, K] tangent of dL/dz, which may be rz; sum: [half, K] that of row r plus that of row half + r. */
void cz_rows_tangent_backward(const cz_norm *norm, const cz_norm_tangent *tangent, const cz_rows_sums *sums,
                              const float *z, const float *rz, const float *g, size_t half,
                              float *coefficients /* [CZ_ROWS_TANGENT_COEFFICIENTS K] scratch */, float *out,
                              float *sum);

#endif
