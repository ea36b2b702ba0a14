/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plain twin of a whole meta-step (docs/math.md sections 3 to 6) with SimpleNet: loops, one operation a line. Numbers
 * are complex: a step of 1e-40 i along a direction makes the imaginary part of any result its exact derivative along it.
 * So Hessian-vector products come from the hand-written backward alone, without cancellation and without the library's
 * formulas. Comparisons look at real parts. A real theta gives a plain double computation, for finite differences.
 * theta in the library's order: A [D, D], W1 [K, D], scale [K], shift [K], w2 [K].
 */
#ifndef COZAD_TESTS_META_REF_H
#define COZAD_TESTS_META_REF_H

#include <complex.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

typedef double complex mref_num;

enum { MREF_P = 24, MREF_D = 7, MREF_K = 6, MREF_KNN = 3, MREF_STEPS = 3, MREF_TASKS = 2, MREF_WINDOW = 16 };
enum { MREF_PARAMS = MREF_D * MREF_D + MREF_K * MREF_D + 3 * MREF_K };

typedef struct mref_config {
    size_t d, k, support, query; /* patches; `all` is support, then query */
    size_t tasks, steps;
    double alpha, margin_positive, margin_negative;
    bool weigh, weight_both, sum, decay_all, contrast_inner, contrast_outer;
    double kappa, floor, lambda_cont, temperature, lambda_inner, lambda_outer;
    size_t chunk, knn;
    const double *window; /* [window_count] */
    size_t window_count;
} mref_config;

/* Data of one pass, and what stays constant under derivatives once `frozen`. */
typedef struct mref_set {
    size_t p;
    const double *o;                                     /* [p, d] */
    double eps[MREF_P * MREF_D], delta[MREF_P * MREF_D]; /* [p, d] */
    size_t order[MREF_P];
    bool frozen;
    double w[MREF_P];
    size_t near[MREF_P][MREF_KNN]; /* rows */
    double kink;                   /* distance of the nearest kink or tie */
} mref_set;

static inline size_t mref_count(const mref_config *c)
{
    return c->d * c->d + c->k * c->d + 3 * c->k;
}

static inline void mref_approach(mref_set *set, double distance)
{
    if (fabs(distance) < set->kink) set->kink = fabs(distance);
}

/* ---- weights (docs/math.md section 4) ---------------------------------------------------------------------------- */

static inline int mref_order(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static inline double mref_quantile(const double *sorted, size_t count, double share)
{
    const double at = share * (double)(count - 1);
    const size_t low = (size_t)at, high = low + 1 < count ? low + 1 : low;
    return sorted[low] + (at - (double)low) * (sorted[high] - sorted[low]);
}

static inline void mref_weights(const mref_config *c, const mref_num *d, mref_set *set)
{
    double all[MREF_P + MREF_WINDOW];
    for (size_t i = 0; i < set->p; i++) all[i] = -creal(d[i]);
    memcpy(all + set->p, c->window, c->window_count * sizeof *all);
    qsort(all, set->p + c->window_count, sizeof *all, mref_order);
    const double q1 = mref_quantile(all, set->p + c->window_count, 0.25);
    const double median = mref_quantile(all, set->p + c->window_count, 0.5);
    const double q3 = mref_quantile(all, set->p + c->window_count, 0.75);
    const double tau = q3 + c->kappa * (q3 - q1) - median;
    for (size_t i = 0; i < set->p; i++) {
        const double a = -creal(d[i]) - median;
        set->w[i] = !c->weigh || a <= tau ? 1 : fmax(c->floor, tau / a);
    }
}

/* ---- the contrastive loss (section 5) ---------------------------------------------------------------------------- */

static inline mref_num mref_dot(const mref_num *u, const mref_num *v, size_t d)
{
    mref_num sum = 0;
    for (size_t c = 0; c < d; c++) sum += u[c] * v[c];
    return sum;
}

static inline mref_num mref_cosine(const mref_num *u, const mref_num *v, size_t d)
{
    return mref_dot(u, v, d) / (csqrt(mref_dot(u, u, d)) * csqrt(mref_dot(v, v, d)));
}

/* du += g dcos/du: v / (|u| |v|) - cos u / |u|^2 */
static inline void mref_cosine_backward(const mref_num *u, const mref_num *v, size_t d, mref_num g, mref_num *du)
{
    const mref_num uu = mref_dot(u, u, d), cosine = mref_cosine(u, v, d);
    const mref_num norms = csqrt(uu) * csqrt(mref_dot(v, v, d));
    for (size_t c = 0; c < d; c++) du[c] += g * (v[c] / norms - cosine * u[c] / uu);
}

/* The knn rows of `rows` most similar to rows[at]. */
static inline void mref_mine(const mref_config *c, const mref_num *q, const size_t *rows, size_t count, size_t at,
                             mref_set *set)
{
    bool taken[MREF_P] = {false};
    double last = 2;
    taken[at] = true;
    for (size_t n = 0; n <= c->knn; n++) {
        size_t best = count;
        double most = -2;
        for (size_t j = 0; j < count; j++) {
            const double s = creal(mref_cosine(q + rows[at] * c->d, q + rows[j] * c->d, c->d));
            if (!taken[j] && s > most) {
                most = s;
                best = j;
            }
        }
        if (best == count) return;
        if (n == c->knn) {
            mref_approach(set, last - most);
            return;
        }
        taken[best] = true;
        last = most;
        set->near[rows[at]][n] = rows[best];
    }
}

/* L_i of the row at place `at` of a chunk, its gradient (times `scale`) added to dq. */
static inline mref_num mref_contrast_row(const mref_config *c, const mref_set *set, const mref_num *q,
                                         const size_t *rows, size_t count, size_t at, double scale, mref_num *dq)
{
    const size_t d = c->d, i = rows[at];
    mref_num twin[MREF_D], s[MREF_P], itself, positives, everything;
    bool positive[MREF_P];
    for (size_t e = 0; e < d; e++) twin[e] = q[i * d + e] + set->delta[i * d + e];
    itself = mref_cosine(q + i * d, twin, d) / c->temperature;
    positives = everything = cexp(itself);
    for (size_t j = 0; j < count; j++) {
        positive[j] = false;
        for (size_t n = 0; n < c->knn; n++) positive[j] = positive[j] || set->near[i][n] == rows[j];
        if (j == at) continue;
        s[j] = mref_cosine(q + i * d, q + rows[j] * d, d) / c->temperature;
        everything += cexp(s[j]);
        if (positive[j]) positives += cexp(s[j]);
    }
    /* dL/ds = share of everything - share of the positives */
    const mref_num g = scale * (cexp(itself) / everything - cexp(itself) / positives) / c->temperature;
    mref_cosine_backward(q + i * d, twin, d, g, dq + i * d);
    mref_cosine_backward(twin, q + i * d, d, g, dq + i * d);
    for (size_t j = 0; j < count; j++) {
        if (j == at) continue;
        const mref_num gj =
            scale * (cexp(s[j]) / everything - (positive[j] ? cexp(s[j]) / positives : 0)) / c->temperature;
        mref_cosine_backward(q + i * d, q + rows[j] * d, d, gj, dq + i * d);
        mref_cosine_backward(q + rows[j] * d, q + i * d, d, gj, dq + rows[j] * d);
    }
    return clog(everything) - clog(positives);
}

/* Mean of L_i; dq = lambda_cont times its gradient. */
static inline mref_num mref_contrast(const mref_config *c, mref_set *set, const mref_num *q, mref_num *dq)
{
    mref_num sum = 0;
    for (size_t first = 0, count; first < set->p; first += count) {
        count = set->p - first < c->chunk ? set->p - first : c->chunk;
        if (set->p - first - count < c->knn + 2) count = set->p - first;
        const size_t *rows = set->order + first;
        for (size_t at = 0; at < count; at++) {
            if (!set->frozen) mref_mine(c, q, rows, count, at, set);
            sum += mref_contrast_row(c, set, q, rows, count, at, c->lambda_cont / (double)set->p, dq);
        }
    }
    return sum / (double)set->p;
}

/* ---- L_total (sections 3 to 5) ----------------------------------------------------------------------------------- */

/* Activations of [q; q-]. */
typedef struct mref_layers {
    mref_num q[2 * MREF_P * MREF_D], x[2 * MREF_P * MREF_K], y[2 * MREF_P * MREF_K], d[2 * MREF_P], sd[MREF_K];
} mref_layers;

static inline void mref_linear(const mref_num *w, const mref_num *in, size_t rows, size_t from, size_t to,
                               mref_num *out)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < to; i++) out[r * to + i] = mref_dot(w + i * from, in + r * from, from);
}

static inline void mref_forward(const mref_config *c, const mref_num *theta, mref_set *set, mref_layers *l)
{
    const size_t p = set->p, n = 2 * p, d = c->d, k = c->k;
    const mref_num *w1 = theta + d * d, *scale = w1 + k * d, *shift = scale + k, *w2 = shift + k;
    mref_num o[MREF_P * MREF_D];
    for (size_t i = 0; i < p * d; i++) o[i] = set->o[i];
    mref_linear(theta, o, p, d, d, l->q);
    for (size_t i = 0; i < p * d; i++) l->q[p * d + i] = l->q[i] + set->eps[i];
    mref_linear(w1, l->q, n, d, k, l->x);
    for (size_t r = 0; r < n; r++) l->d[r] = 0;
    for (size_t i = 0; i < k; i++) {
        mref_num mean = 0, variance = 0;
        for (size_t r = 0; r < n; r++) mean += l->x[r * k + i] / (double)n;
        for (size_t r = 0; r < n; r++) l->x[r * k + i] -= mean;
        for (size_t r = 0; r < n; r++) variance += l->x[r * k + i] * l->x[r * k + i] / (double)n;
        l->sd[i] = csqrt(variance + 1e-5);
        for (size_t r = 0; r < n; r++) {
            l->x[r * k + i] /= l->sd[i];
            l->y[r * k + i] = scale[i] * l->x[r * k + i] + shift[i];
            l->d[r] += w2[i] * l->y[r * k + i] * (creal(l->y[r * k + i]) > 0 ? 1 : 0.2);
            mref_approach(set, creal(l->y[r * k + i]));
        }
    }
}

/* dD [2p] -> gradients of W1, scale, shift, w2; dq [p] is added to */
static inline void mref_discriminator_backward(const mref_config *c, const mref_num *theta, const mref_set *set,
                                               const mref_layers *l, const mref_num *dd, mref_num *grads, mref_num *dq)
{
    const size_t p = set->p, n = 2 * p, d = c->d, k = c->k, at = d * d + k * d;
    const mref_num *w1 = theta + d * d, *scale = w1 + k * d, *w2 = scale + 2 * k;
    for (size_t i = 0; i < k; i++) {
        mref_num dx[2 * MREF_P], mean = 0, projection = 0;
        for (size_t r = 0; r < n; r++) {
            const double slope = creal(l->y[r * k + i]) > 0 ? 1 : 0.2;
            const mref_num dy = dd[r] * w2[i] * slope;
            grads[at + i] += dy * l->x[r * k + i];
            grads[at + k + i] += dy;
            grads[at + 2 * k + i] += dd[r] * slope * l->y[r * k + i];
            dx[r] = dy * scale[i];
            mean += dx[r] / (double)n;
            projection += dx[r] * l->x[r * k + i] / (double)n;
        }
        for (size_t r = 0; r < n; r++) {
            const mref_num dh = (dx[r] - mean - l->x[r * k + i] * projection) / l->sd[i];
            for (size_t j = 0; j < d; j++) {
                grads[d * d + i * d + j] += dh * l->q[r * d + j];
                dq[r % p * d + j] += dh * w1[i * d + j]; /* q- = q + eps */
            }
        }
    }
}

/* The weighted L_AD; dd [2p] its gradient with respect to D. */
static inline mref_num mref_hinges(const mref_config *c, mref_set *set, const mref_num *d, mref_num *dd)
{
    const double unit = c->sum ? 1 : 1 / (double)set->p;
    mref_num sum = 0;
    for (size_t i = 0; i < set->p; i++) {
        const mref_num genuine = c->margin_positive - d[i], noised = d[set->p + i] - c->margin_negative;
        const double first = unit * set->w[i], second = unit * (c->weight_both ? set->w[i] : 1);
        mref_approach(set, creal(genuine));
        mref_approach(set, creal(noised));
        sum += creal(genuine) > 0 ? first * genuine : 0;
        sum += creal(noised) > 0 ? second * noised : 0;
        dd[i] = creal(genuine) > 0 ? -first : 0;
        dd[set->p + i] = creal(noised) > 0 ? second : 0;
    }
    return sum;
}

/* lambda ||theta||^2, its gradient added. */
static inline mref_num mref_decay(const mref_config *c, const mref_num *theta, double lambda, mref_num *grads)
{
    const size_t matrices = c->d * c->d + c->k * c->d, output = matrices + 2 * c->k;
    mref_num sum = 0;
    for (size_t i = 0; i < mref_count(c); i++) {
        if (!c->decay_all && i >= matrices && i < output) continue;
        sum += lambda * theta[i] * theta[i];
        grads[i] += 2 * lambda * theta[i];
    }
    return sum;
}

/* L_total of one set; grads [mref_count]. The first call on a set freezes its constants. */
static inline mref_num mref_total(const mref_config *c, const mref_num *theta, mref_set *set, double lambda,
                                  bool contrast, mref_num *grads)
{
    const size_t p = set->p, d = c->d;
    mref_layers l;
    mref_num dd[2 * MREF_P], dq[MREF_P * MREF_D];
    for (size_t i = 0; i < mref_count(c); i++) grads[i] = 0;
    for (size_t i = 0; i < p * d; i++) dq[i] = 0;
    if (!set->frozen) set->kink = 1e30;
    mref_forward(c, theta, set, &l);
    if (!set->frozen) mref_weights(c, l.d, set);
    mref_num total = mref_hinges(c, set, l.d, dd);
    mref_discriminator_backward(c, theta, set, &l, dd, grads, dq);
    if (contrast) total += c->lambda_cont * mref_contrast(c, set, l.q, dq);
    for (size_t r = 0; r < p; r++)
        for (size_t i = 0; i < d; i++)
            for (size_t j = 0; j < d; j++) grads[i * d + j] += dq[r * d + i] * set->o[r * d + j];
    total += mref_decay(c, theta, lambda, grads);
    set->frozen = true;
    return total;
}

/* ---- the meta-step (section 6) ----------------------------------------------------------------------------------- */

typedef struct mref_task {
    mref_set support[MREF_STEPS], query, all[MREF_STEPS];
} mref_task;

/* trace [steps + 1][mref_count]: theta_0 … theta_S */
static inline void mref_inner(const mref_config *c, mref_task *task, mref_num trace[][MREF_PARAMS])
{
    mref_num grads[MREF_PARAMS];
    for (size_t s = 0; s < c->steps; s++) {
        mref_total(c, trace[s], &task->support[s], c->lambda_inner, c->contrast_inner, grads);
        for (size_t i = 0; i < mref_count(c); i++) trace[s + 1][i] = trace[s][i] - c->alpha * grads[i];
    }
}

/* L_meta as a function of theta: what finite differences look at. */
static inline double mref_meta_loss(const mref_config *c, const double *theta, mref_task *tasks)
{
    mref_num trace[MREF_STEPS + 1][MREF_PARAMS], grads[MREF_PARAMS];
    double sum = 0;
    for (size_t t = 0; t < c->tasks; t++) {
        for (size_t i = 0; i < mref_count(c); i++) trace[0][i] = theta[i];
        mref_inner(c, &tasks[t], trace);
        sum += creal(mref_total(c, trace[c->steps], &tasks[t].query, c->lambda_outer, c->contrast_outer, grads));
    }
    return sum / (double)c->tasks;
}

/* out = the Hessian of L_total of a support set at `theta`, times v */
static inline void mref_hessian(const mref_config *c, const mref_num *theta, mref_set *set, const double *v,
                                double *out)
{
    const double step = 1e-40;
    mref_num moved[MREF_PARAMS], grads[MREF_PARAMS];
    for (size_t i = 0; i < mref_count(c); i++) moved[i] = creal(theta[i]) + step * v[i] * I;
    mref_total(c, moved, set, c->lambda_inner, c->contrast_inner, grads);
    for (size_t i = 0; i < mref_count(c); i++) out[i] = cimag(grads[i]) / step;
}

typedef enum mref_order_of { MREF_NONE, MREF_LAST_FIRST, MREF_FIRST_FIRST } mref_order_of;

/* g = mean of v_0, v_(s-1) = v_s - alpha H_(s-1) v_s. MREF_NONE: first order; MREF_FIRST_FIRST: the mistake. */
static inline void mref_meta_gradient(const mref_config *c, const double *theta, mref_task *tasks, mref_order_of order,
                                      double *out)
{
    mref_num trace[MREF_STEPS + 1][MREF_PARAMS], grads[MREF_PARAMS];
    double v[MREF_PARAMS], product[MREF_PARAMS];
    const size_t n = mref_count(c);
    for (size_t i = 0; i < n; i++) out[i] = 0;
    for (size_t t = 0; t < c->tasks; t++) {
        for (size_t i = 0; i < n; i++) trace[0][i] = theta[i];
        mref_inner(c, &tasks[t], trace);
        mref_total(c, trace[c->steps], &tasks[t].query, c->lambda_outer, c->contrast_outer, grads);
        for (size_t i = 0; i < n; i++) v[i] = creal(grads[i]);
        for (size_t i = 0; order != MREF_NONE && i < c->steps; i++) {
            const size_t s = order == MREF_LAST_FIRST ? c->steps - 1 - i : i;
            mref_hessian(c, trace[s], &tasks[t].support[s], v, product);
            for (size_t j = 0; j < n; j++) v[j] -= c->alpha * product[j];
        }
        for (size_t i = 0; i < n; i++) out[i] += v[i] / (double)c->tasks;
    }
}

/* Reptile: the mean gradient of support and query together along the inner loop; one step: no meta-learning. */
static inline void mref_union_gradient(const mref_config *c, const double *theta, mref_task *tasks, double *out)
{
    mref_num at[MREF_PARAMS], grads[MREF_PARAMS];
    const size_t n = mref_count(c);
    for (size_t i = 0; i < n; i++) out[i] = 0;
    for (size_t t = 0; t < c->tasks; t++) {
        for (size_t i = 0; i < n; i++) at[i] = theta[i];
        for (size_t s = 0; s < c->steps; s++) {
            mref_total(c, at, &tasks[t].all[s], c->lambda_inner, c->contrast_inner, grads);
            for (size_t i = 0; i < n; i++) out[i] += creal(grads[i]) / (double)(c->steps * c->tasks);
            for (size_t i = 0; i < n; i++) at[i] -= c->alpha * grads[i];
        }
    }
}

#endif
