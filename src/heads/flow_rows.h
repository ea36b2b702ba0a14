/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The passes over rows between the flow's matrix products. Rows are independent but for sums taken elsewhere, each is gone
 * through in a fixed order, and the wider registers' clones do the same operations: no result depends on the thread
 * count or on the instruction set. A NaN stays one. M moved dimensions follow A kept ones in a row of F = A + M.
 */
#ifndef CZ_HEADS_FLOW_ROWS_H
#define CZ_HEADS_FLOW_ROWS_H

#include <stddef.h>
#include <stdint.h>

/* s = amplitude atan(s_raw inverse), |s| < clamp; ds/ds_raw = slope / (1 + (s_raw inverse)^2) */
typedef struct cz_flow_clamp {
    float amplitude, inverse, slope; /* clamp 2 / pi, 1 / clamp, 2 / pi */
} cz_flow_clamp;

typedef struct cz_flow_halves {
    size_t kept, moved; /* A, M */
    cz_flow_clamp clamp;
} cz_flow_halves;

/* next [rows, F]: column place[k] = (x[k] - mean[k]) inverse[k] */
void cz_flow_rows_standardise(const float *x, size_t rows, size_t f, const float *mean, const float *inverse,
                              const uint32_t *place, float *next);
/* h [rows, columns] = relu(h + bias) */
void cz_flow_rows_relu(float *h, size_t rows, size_t columns, const float *bias);
/* y1 = x1, y2 = x2 exp(s) + t, from out = [s_raw, t] before its bias [2M]; next [rows, F]: column place[k] = y[k] (NULL: y
 * itself). Leaves [s_raw, exp(s)] in out; log_det [rows] += sum of s. */
void cz_flow_rows_couple(const cz_flow_halves *c, const float *x, float *out, size_t rows, const float *bias,
                         const uint32_t *place, float *next, double *log_det);
/* The way back: y [rows, F] -> before [rows, F]: column from[j] = x[j], x2 = (y2 - t) exp(-s); out as the net leaves it. */
void cz_flow_rows_uncouple(const cz_flow_halves *c, const float *y, const float *out, size_t rows, const float *bias,
                           const uint32_t *from, float *before);
/* before [rows, F]: column k = x[place[k]]; may not be x */
void cz_flow_rows_gather(const float *x, size_t rows, size_t f, const uint32_t *place, float *before);
/* half the sum of squares of one row z [F] */
double cz_flow_row_energy(const float *z, size_t f);
/* out = g x, g [rows] */
void cz_flow_rows_scale(const float *x, size_t rows, size_t f, const float *g, float *out);

/* d [rows, F]: dL/dy becomes dL/dx but for what the net adds to dL/dx1; dout [rows, 2M] = dL/d[s_raw, t]. g [rows] is
 * dL/d(-log p). out: [s_raw, exp(s)]. */
void cz_flow_rows_couple_backward(const cz_flow_halves *c, const float *x, const float *out, const float *g,
                                  size_t rows, float *d, float *dout);
/* dh = 0 where h = 0 */
void cz_flow_rows_relu_backward(const float *h, size_t count, float *dh);

/* rh [rows, columns] = rh + bias, 0 where h = 0 */
void cz_flow_rows_relu_tangent(const float *h, size_t rows, size_t columns, const float *bias, float *rh);
/* Tangents: rx [rows, F], rout [rows, 2M] of [s_raw, t] before its bias, which is added; next as in couple. */
void cz_flow_rows_couple_tangent(const cz_flow_halves *c, const float *x, const float *out, const float *rx,
                                 float *rout, size_t rows, const float *bias, const uint32_t *place, float *next);

/* One block's rows as the passes before left them. */
typedef struct cz_flow_moved {
    const float *x, *out;   /* couple's */
    const float *dout, *g;  /* couple_backward's */
    const float *rx, *rout; /* couple_tangent's */
} cz_flow_moved;
/* rd [rows, F]: tangent of dL/dy becomes that of dL/dx but for the net's part; rdout [rows, 2M]: tangent of dout. */
void cz_flow_rows_couple_hessian(const cz_flow_halves *c, const cz_flow_moved *m, size_t rows, float *rd, float *rdout);

#endif
