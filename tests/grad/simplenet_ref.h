/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plain twin of src/heads/simplenet.c: loops as in docs/math.md section 3, one operation a line, for any REAL. Define
 * REAL and REF(name) before each inclusion. theta in the library's order: A, (b_A), W1, (b_1), scale, shift, w2; the
 * brackets with compat only.
 */
#ifndef COZAD_TESTS_SIMPLENET_REF_H
#define COZAD_TESTS_SIMPLENET_REF_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

typedef struct ref_config {
    size_t p, d, k; /* patches, feature width, hidden width */
    bool compat, weight_both;
    double margin_positive, margin_negative;
    bool no_twins; /* the noised halves have no hinge; they are in the batch norm all the same */
} ref_config;

static inline size_t ref_count(const ref_config *s)
{
    return s->d * s->d + s->k * s->d + 3 * s->k + (s->compat ? s->d + s->k : 0);
}

#endif

typedef struct REF(batch) {
    const REAL *o, *eps;   /* [p, d] */
    const REAL *weight;    /* [p] */
    const uint8_t *target; /* [p] 1: anomalous */
    const REAL *inject;    /* [p, d] dL/dq of another loss, here sum(inject * q); NULL: none */
} REF(batch);

typedef struct REF(result) {
    REAL loss;      /* weighted mean of L_AD, plus sum(inject * q) */
    REAL kink;      /* distance of the nearest hinge or LeakyReLU argument from its kink */
    REAL *score;    /* [p] or NULL */
    REAL *mean;     /* [k] or NULL: batch mean of h */
    REAL *variance; /* [k] or NULL: unbiased */
    REAL *grads;    /* [ref_count] or NULL */
} REF(result);

static inline void REF(layer)(const REAL *w, const REAL *bias, const REAL *in, size_t rows, size_t from, size_t to,
                              REAL *out)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < to; i++) {
            REAL sum = bias ? bias[i] : 0;
            for (size_t j = 0; j < from; j++) sum += w[i * from + j] * in[r * from + j];
            out[r * to + i] = sum;
        }
}

/* out = W in + bias: gradients of W, bias (NULL: none) and in (NULL: none), all added to */
static inline void REF(layer_backward)(const REAL *w, const REAL *in, const REAL *dout, size_t rows, size_t from,
                                       size_t to, REAL *dw, REAL *dbias, REAL *din)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < to; i++) {
            const REAL g = dout[r * to + i];
            if (dbias) dbias[i] += g;
            for (size_t j = 0; j < from; j++) {
                dw[i * from + j] += g * in[r * from + j];
                if (din) din[r * from + j] += g * w[i * from + j];
            }
        }
}

static inline void REF(run)(const ref_config *s, const REAL *theta, const REF(batch) * b, REF(result) * out)
{
    const size_t p = s->p, d = s->d, k = s->k, n = 2 * p;
    const size_t at_ba = d * d, at_w1 = at_ba + (s->compat ? d : 0), at_b1 = at_w1 + k * d;
    const size_t at_scale = at_b1 + (s->compat ? k : 0), at_shift = at_scale + k, at_w2 = at_shift + k;
    const REAL *scale = theta + at_scale, *shift = theta + at_shift, *w2 = theta + at_w2;
    REAL *q = calloc(n * d, sizeof *q), *h = calloc(n * k, sizeof *h), *x = calloc(n * k, sizeof *x);
    REAL *y = calloc(n * k, sizeof *y), *big_d = calloc(n, sizeof *big_d), *dd = calloc(n, sizeof *dd);
    REAL *sd = calloc(k, sizeof *sd);
    out->kink = (REAL)1e30;
    REF(layer)(theta, s->compat ? theta + at_ba : NULL, b->o, p, d, d, q);
    for (size_t i = 0; i < p * d; i++) q[p * d + i] = q[i] + b->eps[i];
    REF(layer)(theta + at_w1, s->compat ? theta + at_b1 : NULL, q, n, d, k, h);
    for (size_t c = 0; c < k; c++) {
        REAL mean = 0, variance = 0;
        for (size_t r = 0; r < n; r++) mean += h[r * k + c];
        mean /= (REAL)n;
        for (size_t r = 0; r < n; r++) variance += (h[r * k + c] - mean) * (h[r * k + c] - mean);
        sd[c] = (REAL)sqrt((double)(variance / (REAL)n) + 1e-5);
        if (out->mean) out->mean[c] = mean;
        if (out->variance) out->variance[c] = variance / (REAL)(n - 1);
        for (size_t r = 0; r < n; r++) {
            x[r * k + c] = (h[r * k + c] - mean) / sd[c];
            y[r * k + c] = scale[c] * x[r * k + c] + shift[c];
            big_d[r] += w2[c] * (y[r * k + c] > 0 ? y[r * k + c] : (REAL)0.2 * y[r * k + c]);
            if (fabs((double)y[r * k + c]) < (double)out->kink) out->kink = (REAL)fabs((double)y[r * k + c]);
        }
    }
    out->loss = 0;
    for (size_t i = 0; i < p; i++) {
        const REAL hinge =
            b->target[i] == 1 ? big_d[i] - (REAL)s->margin_negative : (REAL)s->margin_positive - big_d[i];
        const REAL noised = s->no_twins ? -(REAL)1e30 : big_d[p + i] - (REAL)s->margin_negative;
        const REAL second_weight = s->weight_both ? b->weight[i] : 1;
        if (hinge > 0) out->loss += b->weight[i] * hinge / (REAL)p;
        if (noised > 0) out->loss += second_weight * noised / (REAL)p;
        if (hinge > 0) dd[i] = (b->target[i] == 1 ? 1 : -1) * b->weight[i] / (REAL)p;
        if (noised > 0) dd[p + i] = second_weight / (REAL)p;
        if (fabs((double)hinge) < (double)out->kink) out->kink = (REAL)fabs((double)hinge);
        if (fabs((double)noised) < (double)out->kink) out->kink = (REAL)fabs((double)noised);
        if (out->score) out->score[i] = -big_d[i];
    }
    for (size_t i = 0; b->inject && i < p * d; i++) out->loss += b->inject[i] * q[i];
    if (out->grads) {
        REAL *dh = calloc(n * k, sizeof *dh), *dq = calloc(n * d, sizeof *dq);
        for (size_t i = 0; i < ref_count(s); i++) out->grads[i] = 0;
        for (size_t c = 0; c < k; c++) {
            REAL dmean = 0, dvariance = 0;
            for (size_t r = 0; r < n; r++) {
                const REAL active = y[r * k + c] > 0 ? y[r * k + c] : (REAL)0.2 * y[r * k + c];
                const REAL dy = dd[r] * w2[c] * (y[r * k + c] > 0 ? 1 : (REAL)0.2);
                const REAL dx = dy * scale[c];
                out->grads[at_w2 + c] += dd[r] * active;
                out->grads[at_scale + c] += dy * x[r * k + c];
                out->grads[at_shift + c] += dy;
                /* x = (h - mean) / sd, sd = sqrt(variance + eps) */
                dh[r * k + c] = dx / sd[c];
                dmean -= dx / sd[c];
                dvariance -= dx * x[r * k + c] / (2 * sd[c] * sd[c]);
            }
            for (size_t r = 0; r < n; r++)
                dh[r * k + c] += dmean / (REAL)n + dvariance * 2 * x[r * k + c] * sd[c] / (REAL)n;
        }
        REF(layer_backward)
        (theta + at_w1, q, dh, n, d, k, out->grads + at_w1, s->compat ? out->grads + at_b1 : NULL, dq);
        for (size_t i = 0; i < p * d; i++) dq[i] += dq[p * d + i] + (b->inject ? b->inject[i] : 0);
        REF(layer_backward)(theta, b->o, dq, p, d, d, out->grads, s->compat ? out->grads + at_ba : NULL, NULL);
        free(dh);
        free(dq);
    }
    free(q);
    free(h);
    free(x);
    free(y);
    free(big_d);
    free(dd);
    free(sd);
}
