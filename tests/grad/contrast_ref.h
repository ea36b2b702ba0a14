/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plain twin of src/losses/contrastive*.c: loops as in docs/math/contrastive.md, one operation a line, for any REAL.
 * Define REAL and REF(name) before each inclusion. The library's rearrangements are not repeated: weights are differences
 * of two softmaxes, vectors are added up as vectors, every tangent follows the line of the value that it belongs to.
 */
#ifndef COZAD_TESTS_CONTRAST_REF_H
#define COZAD_TESTS_CONTRAST_REF_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

typedef struct contrast_config {
    size_t p, e, chunk, knn; /* patches, width, chunk size, mined neighbours */
    double temperature;
    bool literal;
} contrast_config;

/* Rows of the chunk that begins where `left` are left. */
static inline size_t contrast_rows(const contrast_config *s, size_t left)
{
    if (left < 2 * s->chunk && left < s->chunk + s->knn + 2) return left;
    return left < s->chunk ? left : s->chunk;
}

#endif

typedef struct REF(contrast_result) {
    REAL loss; /* mean over all patches */
    REAL gap;  /* least difference of cosines between a mined row and one that is not */
    REAL *dq;  /* [p, e] or NULL */
    REAL *hvp; /* [p, e] or NULL: needs a tangent */
} REF(contrast_result);

static inline REAL REF(dot)(const REAL *a, const REAL *b, size_t n)
{
    REAL sum = 0;
    for (size_t x = 0; x < n; x++) sum += a[x] * b[x];
    return sum;
}

/* x -> x / max(|x|, 1e-8) and its tangent; *free: 0 where clamped */
static inline void REF(unit)(const REAL *x, const REAL *dx, size_t e, REAL *u, REAL *du, REAL *norm, REAL *dnorm,
                             bool *free)
{
    const REAL length = (REAL)sqrt((double)REF(dot)(x, x, e));
    *free = (double)length > 1e-8;
    *norm = *free ? length : (REAL)1e-8;
    for (size_t i = 0; i < e; i++) u[i] = x[i] / *norm;
    *dnorm = *free ? REF(dot)(u, dx, e) : 0;
    for (size_t i = 0; i < e; i++) du[i] = (dx[i] - u[i] * *dnorm) / *norm;
}

/* u = x / m backwards: out += (v - u (u . v)) / m, its tangent into dout */
static inline void REF(unit_backward)(const REAL *u, const REAL *du, REAL norm, REAL dnorm, bool free, const REAL *v,
                                      const REAL *dv, size_t e, REAL *out, REAL *dout)
{
    const REAL along = free ? REF(dot)(u, v, e) : 0;
    const REAL dalong = free ? REF(dot)(du, v, e) + REF(dot)(u, dv, e) : 0;
    for (size_t i = 0; i < e; i++) {
        const REAL top = v[i] - u[i] * along;
        const REAL dtop = dv[i] - du[i] * along - u[i] * dalong;
        out[i] += top / norm;
        dout[i] += dtop / norm - top * dnorm / (norm * norm);
    }
}

/* logits [count] with multiplicities -> log of the sum, softmax (one share of each), its tangent */
static inline REAL REF(softmax)(const REAL *s, const REAL *ds, const REAL *times, size_t count, REAL *a, REAL *da)
{
    REAL top = (REAL)-1e30, total = 0, mean = 0;
    for (size_t j = 0; j < count; j++)
        if (times[j] > 0 && s[j] > top) top = s[j];
    for (size_t j = 0; j < count; j++) a[j] = times[j] > 0 ? times[j] * (REAL)exp((double)(s[j] - top)) : 0;
    for (size_t j = 0; j < count; j++) total += a[j];
    for (size_t j = 0; j < count; j++) a[j] /= total;
    for (size_t j = 0; j < count; j++) mean += a[j] * ds[j];
    for (size_t j = 0; j < count; j++) da[j] = a[j] * (ds[j] - mean);
    return top + (REAL)log((double)total);
}

/* One row's loss: g [n + 1] = dL_i / d(s_i1 … s_in, t_i), its tangent dg. s, ds: [n + 1], the twin last. */
static inline REAL REF(row)(const contrast_config *c, const REAL *s, const REAL *ds, size_t n, size_t i, REAL *gap,
                            REAL *g, REAL *dg)
{
    const size_t k = c->knn < n ? c->knn : n - 1;
    REAL *positive = calloc(n + 1, sizeof *positive), *all = calloc(n + 2, sizeof *all);
    REAL *p = calloc(n + 1, sizeof *p), *dp = calloc(n + 1, sizeof *dp);
    REAL *a = calloc(n + 2, sizeof *a), *da = calloc(n + 2, sizeof *da);
    REAL *logit = calloc(n + 2, sizeof *logit), *dlogit = calloc(n + 2, sizeof *dlogit);
    for (size_t m = 0; m < k; m++) {
        size_t best = n;
        for (size_t j = 0; j < n; j++)
            if (j != i && positive[j] == 0 && (best == n || s[j] > s[best])) best = j;
        positive[best] = 1;
    }
    for (size_t j = 0; j < n; j++)
        for (size_t m = 0; m < n && j != i && positive[j] > 0; m++)
            if (m != i && positive[m] == 0 && (s[j] - s[m]) * (REAL)c->temperature < *gap)
                *gap = (s[j] - s[m]) * (REAL)c->temperature;
    positive[n] = 1;
    for (size_t j = 0; j <= n; j++) { /* the denominator */
        all[j] = j == i ? 0 : c->literal && j < n ? 1 + positive[j] : 1;
        logit[j] = s[j];
        dlogit[j] = ds[j];
    }
    logit[n + 1] = (REAL)(1 / c->temperature); /* j = i as printed */
    all[n + 1] = c->literal ? 1 : 0;
    const REAL loss = REF(softmax)(logit, dlogit, all, n + 2, a, da) - REF(softmax)(s, ds, positive, n + 1, p, dp);
    for (size_t j = 0; j <= n; j++) g[j] = j == i ? 0 : a[j] - p[j];
    for (size_t j = 0; j <= n; j++) dg[j] = j == i ? 0 : da[j] - dp[j];
    REAL *const all_of_them[] = {positive, all, p, dp, a, da, logit, dlogit};
    for (size_t m = 0; m < 8; m++) free(all_of_them[m]);
    return loss;
}

/* rows [n] of one chunk */
static inline void REF(contrast_chunk)(const contrast_config *c, const REAL *q, const REAL *delta, const REAL *tangent,
                                       const size_t *rows, size_t n, REF(contrast_result) * out)
{
    const size_t e = c->e;
    const REAL tau = (REAL)c->temperature, share = 1 / ((REAL)c->p * tau);
    REAL *u = calloc(n * e, sizeof *u), *du = calloc(n * e, sizeof *du);
    REAL *t = calloc(n * e, sizeof *t), *dt = calloc(n * e, sizeof *dt); /* u~ */
    REAL *norm = calloc(4 * n, sizeof *norm), *dnorm = norm + n, *tnorm = norm + 2 * n, *dtnorm = norm + 3 * n;
    REAL *s = calloc(2 * (n + 1), sizeof *s), *ds = s + n + 1;
    REAL *g = calloc(n * (n + 1), sizeof *g), *dg = calloc(n * (n + 1), sizeof *dg);
    REAL *twin = calloc(e, sizeof *twin), *still = calloc(e, sizeof *still);
    bool *is_free = calloc(2 * n, sizeof *is_free);
    for (size_t i = 0; i < n; i++) {
        const REAL *x = q + rows[i] * e, *dx = tangent ? tangent + rows[i] * e : still;
        for (size_t y = 0; y < e; y++) twin[y] = x[y] + delta[rows[i] * e + y];
        REF(unit)(x, dx, e, u + i * e, du + i * e, &norm[i], &dnorm[i], &is_free[i]);
        REF(unit)(twin, dx, e, t + i * e, dt + i * e, &tnorm[i], &dtnorm[i], &is_free[n + i]);
    }
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j <= n; j++) {
            const REAL *v = j < n ? u + j * e : t + i * e, *dv = j < n ? du + j * e : dt + i * e;
            s[j] = REF(dot)(u + i * e, v, e) / tau;
            ds[j] = (REF(dot)(du + i * e, v, e) + REF(dot)(u + i * e, dv, e)) / tau;
        }
        out->loss += REF(row)(c, s, ds, n, i, &out->gap, g + i * (n + 1), dg + i * (n + 1)) / (REAL)c->p;
    }
    REAL *v = calloc(4 * e, sizeof *v), *dv = v + e, *w = v + 2 * e, *dw = v + 3 * e;
    REAL *dq = calloc(2 * e, sizeof *dq), *ddq = dq + e;
    for (size_t i = 0; i < n; i++) {
        const REAL h = g[i * (n + 1) + n] * share, dh = dg[i * (n + 1) + n] * share;
        for (size_t y = 0; y < e; y++) {
            v[y] = h * t[i * e + y];
            dv[y] = dh * t[i * e + y] + h * dt[i * e + y];
            w[y] = h * u[i * e + y];
            dw[y] = dh * u[i * e + y] + h * du[i * e + y];
            for (size_t j = 0; j < n; j++) {
                const REAL both = (g[i * (n + 1) + j] + g[j * (n + 1) + i]) * share;
                const REAL dboth = (dg[i * (n + 1) + j] + dg[j * (n + 1) + i]) * share;
                v[y] += both * u[j * e + y];
                dv[y] += dboth * u[j * e + y] + both * du[j * e + y];
            }
            dq[y] = ddq[y] = 0;
        }
        REF(unit_backward)(u + i * e, du + i * e, norm[i], dnorm[i], is_free[i], v, dv, e, dq, ddq);
        REF(unit_backward)(t + i * e, dt + i * e, tnorm[i], dtnorm[i], is_free[n + i], w, dw, e, dq, ddq);
        for (size_t y = 0; y < e; y++) {
            if (out->dq) out->dq[rows[i] * e + y] = dq[y];
            if (out->hvp) out->hvp[rows[i] * e + y] = ddq[y];
        }
    }
    REAL *const all_of_them[] = {u, du, t, dt, norm, s, g, dg, twin, still, v, dq};
    for (size_t m = 0; m < 12; m++) free(all_of_them[m]);
    free(is_free);
}

static inline void REF(contrast)(const contrast_config *c, const REAL *q, const REAL *delta, const REAL *tangent,
                                 const size_t *order, REF(contrast_result) * out)
{
    out->loss = 0;
    out->gap = (REAL)1e30;
    for (size_t first = 0, rows; first < c->p; first += rows) {
        rows = contrast_rows(c, c->p - first);
        REF(contrast_chunk)(c, q, delta, tangent, order + first, rows, out);
    }
}
