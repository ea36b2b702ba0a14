/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plain twin of src/heads/flow*.c: loops as in docs/math/flow.md, one operation a line, for any REAL. Define REAL,
 * REF(name), REF_EXP, REF_ATAN and REF_RE (real part) before each inclusion. Complex numbers give exact derivatives along a
 * direction v: at theta + 1e-40 i v the imaginary part of any result is 1e-40 times its derivative, without the library's
 * formulas and without cancellation. theta in the library's order: for each block W1, b1, W2, b2, then mean and scale.
 */
#ifndef COZAD_TESTS_FLOW_REF_H
#define COZAD_TESTS_FLOW_REF_H

#include <complex.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct flow_config {
    size_t p, d, f, hidden, blocks; /* patches, feature width, dimensions, subnet width, blocks */
    double clamp;
    const float *projection; /* [f, d]; NULL: d = f */
    const uint32_t *order;   /* [blocks, f] block input j is output order[j] of the one before */
} flow_config;

static inline size_t flow_moved(const flow_config *s)
{
    return s->f / 2;
}

static inline size_t flow_kept(const flow_config *s)
{
    return s->f - s->f / 2;
}

static inline size_t flow_block_count(const flow_config *s)
{
    return s->hidden * (flow_kept(s) + 1) + 2 * flow_moved(s) * (s->hidden + 1);
}

static inline size_t flow_count(const flow_config *s)
{
    return s->blocks * flow_block_count(s) + 2 * s->f;
}

/* Derivatives of real arguments carried along by hand: atan and exp of a + 1e-40 b i to first order in b. */
static inline double complex flow_complex_atan(double complex x)
{
    return atan(creal(x)) + I * (cimag(x) / (1 + creal(x) * creal(x)));
}

static inline double complex flow_complex_exp(double complex x)
{
    return exp(creal(x)) * (1 + I * cimag(x));
}

#endif

typedef struct REF(flow_batch) {
    const REAL *o;         /* [p, d] */
    const REAL *weight;    /* [p] */
    const uint8_t *target; /* [p] 1: anomalous */
} REF(flow_batch);

typedef struct REF(flow_result) {
    REAL loss;
    double kink;   /* distance of the nearest relu argument from its kink */
    REAL *z;       /* [p, f] or NULL */
    REAL *log_det; /* [p] or NULL: with the standardisation's */
    REAL *score;   /* [p] or NULL */
    REAL *grads;   /* [flow_count] or NULL */
} REF(flow_result);

/* One patch's activations of one block. */
typedef struct REF(flow_block) {
    REAL *x, *pre, *h, *raw, *t, *s, *y; /* [f], [hidden] twice, [moved] thrice, [f] */
} REF(flow_block);

static inline void REF(flow_block_forward)(const flow_config *s, const REAL *theta, const REF(flow_block) * b,
                                           REAL *log_det, double *kink)
{
    const size_t a = flow_kept(s), m = flow_moved(s), k = s->hidden;
    const REAL *w1 = theta, *b1 = w1 + k * a, *w2 = b1 + k, *b2 = w2 + 2 * m * k;
    for (size_t i = 0; i < k; i++) {
        b->pre[i] = b1[i];
        for (size_t j = 0; j < a; j++) b->pre[i] += w1[i * a + j] * b->x[j];
        b->h[i] = (double)REF_RE(b->pre[i]) > 0 ? b->pre[i] : 0;
        if (fabs((double)REF_RE(b->pre[i])) < *kink) *kink = fabs((double)REF_RE(b->pre[i]));
    }
    for (size_t i = 0; i < m; i++) {
        b->raw[i] = b2[i];
        b->t[i] = b2[m + i];
        for (size_t j = 0; j < k; j++) b->raw[i] += w2[i * k + j] * b->h[j];
        for (size_t j = 0; j < k; j++) b->t[i] += w2[(m + i) * k + j] * b->h[j];
        b->s[i] = (REAL)(s->clamp * 2 / 3.14159265358979323846) * REF_ATAN(b->raw[i] / (REAL)s->clamp);
        *log_det += b->s[i];
        b->y[a + i] = b->x[a + i] * REF_EXP(b->s[i]) + b->t[i];
    }
    for (size_t j = 0; j < a; j++) b->y[j] = b->x[j];
}

/* dy [f] -> dx [f]; ds: dL/ds that the log-determinant gives */
static inline void REF(flow_block_backward)(const flow_config *s, const REAL *theta, const REF(flow_block) * b,
                                            REAL extra, const REAL *dy, REAL *dx, REAL *grads)
{
    const size_t a = flow_kept(s), m = flow_moved(s), k = s->hidden;
    const REAL *w1 = theta, *w2 = w1 + k * a + k;
    REAL *dw1 = grads, *db1 = dw1 + k * a, *dw2 = db1 + k, *db2 = dw2 + 2 * m * k;
    REAL *dh = calloc(k, sizeof *dh);
    for (size_t j = 0; j < a; j++) dx[j] = dy[j];
    for (size_t i = 0; i < m; i++) {
        const REAL e = REF_EXP(b->s[i]), v = b->raw[i] / (REAL)s->clamp;
        const REAL ds = dy[a + i] * b->x[a + i] * e + extra;
        const REAL draw = ds * (REAL)(2 / 3.14159265358979323846) / (1 + v * v), dt = dy[a + i];
        dx[a + i] = dy[a + i] * e;
        db2[i] += draw;
        db2[m + i] += dt;
        for (size_t j = 0; j < k; j++) {
            dw2[i * k + j] += draw * b->h[j];
            dw2[(m + i) * k + j] += dt * b->h[j];
            dh[j] += draw * w2[i * k + j] + dt * w2[(m + i) * k + j];
        }
    }
    for (size_t i = 0; i < k; i++) {
        if (!((double)REF_RE(b->pre[i]) > 0)) continue;
        db1[i] += dh[i];
        for (size_t j = 0; j < a; j++) {
            dw1[i * a + j] += dh[i] * b->x[j];
            dx[j] += dh[i] * w1[i * a + j];
        }
    }
    free(dh);
}

/* One patch o [d]: -log p / f; weight: dL/d of it, for grads. */
static inline REAL REF(flow_patch)(const flow_config *s, const REAL *theta, const REAL *o, REAL weight, REAL *z,
                                   REAL *log_det, double *kink, REAL *grads)
{
    const size_t f = s->f, m = flow_moved(s), k = s->hidden, each = 2 * f + 2 * k + 3 * m;
    const REAL *mean = theta + s->blocks * flow_block_count(s), *scale = mean + f;
    REAL *room = calloc(s->blocks * each + 3 * f, sizeof *room), *y = room + s->blocks * each, *dy = y + f;
    REAL *dx = dy + f, det = 0, energy = 0;
    REF(flow_block) *b = calloc(s->blocks, sizeof *b);
    for (size_t i = 0; i < f; i++) {
        REAL x = s->projection ? 0 : o[i];
        for (size_t j = 0; s->projection && j < s->d; j++) x += (REAL)s->projection[i * s->d + j] * o[j];
        y[i] = (x - mean[i]) / scale[i];
        det -= (REAL)log((double)REF_RE(scale[i])); /* mean and scale are never differentiated */
    }
    for (size_t n = 0; n < s->blocks; n++) {
        REAL *at = room + n * each;
        b[n].x = at;
        b[n].y = at + f;
        b[n].pre = b[n].y + f;
        b[n].h = b[n].pre + k;
        b[n].raw = b[n].h + k;
        b[n].t = b[n].raw + m;
        b[n].s = b[n].t + m;
        for (size_t j = 0; j < f; j++) b[n].x[j] = n ? b[n - 1].y[s->order[n * f + j]] : y[s->order[j]];
        REF(flow_block_forward)(s, theta + n * flow_block_count(s), &b[n], &det, kink);
    }
    for (size_t i = 0; i < f; i++) {
        const REAL last = b[s->blocks - 1].y[i];
        energy += last * last / 2;
        if (z) z[i] = last;
        dy[i] = weight / (REAL)f * last;
    }
    for (size_t n = s->blocks; grads && n-- > 0;) {
        REF(flow_block_backward)
        (s, theta + n * flow_block_count(s), &b[n], -weight / (REAL)f, dy, dx, grads + n * flow_block_count(s));
        for (size_t j = 0; j < f; j++) dy[s->order[n * f + j]] = dx[j];
    }
    if (log_det) *log_det = det;
    free(room);
    free(b);
    return (energy + (REAL)((double)f / 2 * log(2 * 3.14159265358979323846)) - det) / (REAL)f;
}

static inline void REF(flow_run)(const flow_config *s, const REAL *theta, const REF(flow_batch) * b,
                                 REF(flow_result) * out)
{
    out->loss = 0;
    out->kink = 1e30;
    for (size_t i = 0; out->grads && i < flow_count(s); i++) out->grads[i] = 0;
    for (size_t i = 0; i < s->p; i++) {
        const REAL weight = b->target[i] == 1 ? 0 : b->weight[i] / (REAL)s->p;
        const REAL score = REF(flow_patch)(s, theta, b->o + i * s->d, weight, out->z ? out->z + i * s->f : NULL,
                                           out->log_det ? out->log_det + i : NULL, &out->kink, out->grads);
        out->loss += weight * score;
        if (out->score) out->score[i] = score;
    }
}
