/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SimpleNet (Liu et al., CVPR 2023) as docs/math.md section 3 states it:
 *   q = A o                                     adaptor, Eq. 14                     A [D, D]
 *   q- = q + eps                                synthetic anomaly, Eq. 15
 *   h = W1 q, y = BN(h), D = w2 . leaky(y)      discriminator                       W1 [K, D], w2 [K]
 *   L = mean w_i max(0, th+ - D(q)) + max(0, D(q-) - th-)        Eq. 16
 * Batch norm takes its statistics over all 2P rows of [q; q-]. Score a = -D(q), Eq. 17.
 */
#include "heads/simplenet.h"

#include "engine/engine.h"
#include "heads/heads.h"
#include "heads/rows.h"
#include "util/alloc.h"
#include "util/rng.h"

#include <math.h>
#include <string.h>

static const double NORM_EPSILON = 1e-5;

enum { CHUNK = 2048 }; /* rows at once where a whole set is passed over */

static cz_status setup(cz_head *head)
{
    const cz_head_config *c = &head->config;
    if (c->hidden < 1 || c->hidden > CZ_HEAD_MAX_WIDTH)
        return cz_fail(CZ_E_ARG, "hidden width %zu is not in 1 … %zu", c->hidden, CZ_HEAD_MAX_WIDTH);
    if (!(c->noise_std >= 0) || !isfinite(c->noise_std))
        return cz_fail(CZ_E_ARG, "noise standard deviation %g is not a finite value >= 0", c->noise_std);
    if (!isfinite(c->margin_positive) || !isfinite(c->margin_negative))
        return cz_fail(CZ_E_ARG, "margins %g and %g must be finite", c->margin_positive, c->margin_negative);
    if (!(c->lr_adaptor > 0) || !isfinite(c->lr_adaptor) || !(c->lr_discriminator > 0) ||
        !isfinite(c->lr_discriminator))
        return cz_fail(CZ_E_ARG, "learning rates %g and %g must be finite and positive", c->lr_adaptor,
                       c->lr_discriminator);
    if (c->precision != CZ_PRECISION_FP32 && c->precision != CZ_PRECISION_BF16)
        return cz_fail(CZ_E_ARG, "a detector is trained in fp32 or bf16");
    const size_t d = c->width, k = c->hidden;
    const bool compat = c->simplenet_compat;
    size_t *total = &head->param_count, *count = &head->param_views;
    cz_head_add_view(head->param, count, total, "adaptor.weight", d, d, true);
    if (compat) cz_head_add_view(head->param, count, total, "adaptor.bias", d, 0, false);
    const size_t theta1 = *total;
    cz_head_add_view(head->param, count, total, "hidden.weight", k, d, true);
    if (compat) cz_head_add_view(head->param, count, total, "hidden.bias", k, 0, false);
    cz_head_add_view(head->param, count, total, "norm.scale", k, 0, false);
    cz_head_add_view(head->param, count, total, "norm.shift", k, 0, false);
    cz_head_add_view(head->param, count, total, "output.weight", 1, k, true);
    cz_head_add_view(head->state, &head->state_views, &head->state_count, "norm.mean", k, 0, false);
    cz_head_add_view(head->state, &head->state_views, &head->state_count, "norm.var", k, 0, false);
    head->embed_width = d;
    head->groups = 2;
    head->group[0] = (cz_head_group){0, theta1, c->lr_adaptor, compat ? 1e-2 : 0, compat};
    head->group[1] = (cz_head_group){theta1, *total - theta1, c->lr_discriminator, compat ? 1e-5 : 0, 0};
    return CZ_OK;
}

static void xavier(uint64_t seed, uint32_t index, float *weights, size_t rows, size_t columns)
{
    cz_rng rng;
    cz_rng_init(&rng, seed, CZ_RNG_INIT, 0, index);
    cz_rng_normal_fill(&rng, 0, weights, rows * columns, (float)sqrt(2.0 / (double)(rows + columns)));
}

/* torch.nn.Linear's own, which the public SimpleNet code leaves in place: uniform within 1 / sqrt(fan_in). */
static void uniform_bias(uint64_t seed, uint32_t index, float *bias, size_t count, size_t fan_in)
{
    const double bound = 1.0 / sqrt((double)fan_in);
    cz_rng rng;
    cz_rng_init(&rng, seed, CZ_RNG_INIT, 0, index);
    for (size_t i = 0; i < count; i++) bias[i] = (float)(bound * (2.0 * cz_rng_uniform(&rng) - 1.0));
}

static void init(const cz_head *head, uint64_t seed, float *params, float *state)
{
    const size_t d = head->config.width, k = head->config.hidden;
    const cz_simplenet_parts p = cz_simplenet_layout(head);
    xavier(seed, 0, params + p.adaptor, d, d);
    xavier(seed, 1, params + p.hidden, k, d);
    xavier(seed, 2, params + p.output, 1, k);
    if (head->config.simplenet_compat) {
        uniform_bias(seed, 3, params + p.adaptor_bias, d, d);
        uniform_bias(seed, 4, params + p.hidden_bias, k, d);
    }
    for (size_t c = 0; c < k; c++) {
        params[p.scale + c] = 1;
        params[p.shift + c] = 0;
        state[c] = 0;
        state[k + c] = 1;
    }
}

/* ---- training ------------------------------------------------------------------------------------------------- */

static void work_destroy(cz_head_work *base)
{
    cz_simplenet_work *w = (cz_simplenet_work *)base;
    float *const floats[] = {base->score, base->loss, w->q2,   w->z,    w->sum,
                             w->d,        w->g,       w->mean, w->istd, w->coefficients};
    double *const doubles[] = {w->mean64, w->m264, w->e1, w->e2, w->column, w->scratch};
    for (size_t i = 0; i < sizeof floats / sizeof floats[0]; i++) cz_free(floats[i]);
    for (size_t i = 0; i < sizeof doubles / sizeof doubles[0]; i++) cz_free(doubles[i]);
    cz_simplenet_second_destroy(w->second);
    cz_simplenet_bf16_destroy(w->bf16);
    cz_free(w);
}

static cz_status work_create(const cz_head *head, size_t capacity, cz_head_work **out)
{
    const size_t d = head->config.width, k = head->config.hidden, wide = d > k ? d : k;
    size_t rows, most;
    if (!cz_mul_size(capacity, 2, &rows) || !cz_mul_size(rows, wide * 3 * sizeof(double), &most))
        return cz_fail(CZ_E_ARG, "a batch of %zu patches is too large", capacity);
    cz_simplenet_work *w = cz_calloc(1, sizeof *w);
    if (!w) return CZ_E_MEMORY;
    w->base.head = head;
    w->base.capacity = capacity;
    const bool bf16 = head->config.precision == CZ_PRECISION_BF16;
    bool ok = true;
#define TAKE(pointer, count) ok = ok && ((pointer) = cz_alloc_array((count), sizeof *(pointer))) != NULL
    TAKE(w->base.score, capacity);
    TAKE(w->base.loss, capacity);
    TAKE(w->q2, (bf16 ? capacity : rows) * d);
    TAKE(w->z, rows * k);
    if (!bf16) TAKE(w->sum, capacity * k);
    TAKE(w->d, rows);
    TAKE(w->g, rows);
    TAKE(w->mean, k);
    TAKE(w->istd, k);
    TAKE(w->coefficients, 3 * k);
    TAKE(w->mean64, k);
    TAKE(w->m264, k);
    TAKE(w->e1, k);
    TAKE(w->e2, k);
    TAKE(w->column, wide);
    TAKE(w->scratch, cz_rows_scratch(rows, wide));
#undef TAKE
    if (!ok || (bf16 && cz_simplenet_bf16_create(w) != CZ_OK)) {
        work_destroy(&w->base);
        return CZ_E_MEMORY;
    }
    w->base.q = w->q2;
    *out = &w->base;
    return CZ_OK;
}

/* q = A o (+ bias); q- = q + eps */
static cz_status make_pairs(const cz_head *head, const float *params, const cz_batch *batch, const cz_head_noise *noise,
                            cz_simplenet_work *w)
{
    const size_t d = head->config.width, rows = batch->patches;
    const cz_simplenet_parts p = cz_simplenet_layout(head);
    float *noised = w->q2 + rows * d;
    cz_status status = CZ_OK;
    CZ_TRY(cz_engine_sgemm(false, true, rows, d, d, 1, batch->features, d, params + p.adaptor, d, 0, w->q2, d));
    const float *eps = noise->injected;
    if (!eps) {
        cz_rng rng;
        cz_rng_init(&rng, noise->seed, CZ_RNG_NOISE, noise->step, noise->task);
        cz_rng_normal_fill(&rng, 0, noised, rows * d, (float)head->config.noise_std);
        eps = noised;
    }
    cz_rows_noise(w->q2, rows, d, head->config.simplenet_compat ? params + p.adaptor_bias : NULL, eps, noised);
out:
    return status;
}

/* h = W1 [q; q-] (+ b1) and its moments */
static cz_status products(const cz_head *head, const float *params, const cz_batch *batch, const cz_head_noise *noise,
                          cz_simplenet_work *w)
{
    const size_t d = head->config.width, k = head->config.hidden, rows = 2 * batch->patches;
    const cz_simplenet_parts p = cz_simplenet_layout(head);
    cz_status status = CZ_OK;
    CZ_TRY(make_pairs(head, params, batch, noise, w));
    CZ_TRY(cz_engine_sgemm(false, true, rows, k, d, 1, w->q2, d, params + p.hidden, d, 0, w->z, k));
    if (head->config.simplenet_compat) cz_rows_add(w->z, rows, k, params + p.hidden_bias);
    cz_rows_moments(w->z, rows, k, w->scratch, w->mean64, w->m264);
out:
    return status;
}

/* Hinges of one sample: how far its D(q) and D(q-) are on the wrong side of their margins. A patch known to be anomalous
 * belongs below th- like its noised twin. Without twins the second is 0: q- is still there, and counts in the batch norm. */
static void hinges(const cz_head *head, const cz_batch *batch, const cz_simplenet_work *w, size_t i, float *first,
                   float *second)
{
    const float upper = (float)head->config.margin_positive, lower = (float)head->config.margin_negative;
    const bool anomalous = batch->target && batch->target[i] == CZ_TARGET_ANOMALOUS;
    const float genuine = w->d[i], noised = w->d[batch->patches + i];
    const float a = anomalous ? genuine - lower : upper - genuine, b = noised - lower;
    /* written so that a NaN stays one */
    *first = a <= 0 ? 0 : a;
    *second = b <= 0 || !head->config.noise_twins ? 0 : b;
}

static cz_status forward(const cz_head *head, const float *params, const cz_batch *batch, const cz_head_noise *noise,
                         cz_head_work *base)
{
    cz_simplenet_work *w = (cz_simplenet_work *)base;
    const size_t k = head->config.hidden, rows = 2 * batch->patches;
    cz_status status = CZ_OK;
    CZ_TRY(w->bf16 ? cz_simplenet_bf16_forward(head, params, batch, noise, w)
                   : products(head, params, batch, noise, w));
    for (size_t c = 0; c < k; c++) {
        w->mean[c] = (float)w->mean64[c];
        w->istd[c] = (float)(1.0 / sqrt(w->m264[c] / (double)rows + NORM_EPSILON));
    }
    const cz_norm norm = cz_simplenet_norm(head, params, w);
    cz_rows_forward(&norm, w->z, rows, w->d);
    for (size_t i = 0; i < batch->patches; i++) {
        float first, second;
        hinges(head, batch, w, i, &first, &second);
        base->score[i] = -w->d[i];
        base->loss[i] = first + second;
    }
out:
    return status;
}

static double loss(const cz_head *head, const cz_batch *batch, const cz_head_work *base)
{
    double sum = 0;
    for (size_t i = 0; i < batch->patches; i++) {
        const double weight = batch->weight ? (double)batch->weight[i] : 1;
        float first, second;
        hinges(head, batch, (const cz_simplenet_work *)base, i, &first, &second);
        sum += weight * (double)first + (head->config.weight_both ? weight : 1) * (double)second;
    }
    return sum / (double)batch->patches;
}

/* Eq. 16: L = mean w_i max(0, th+ - D(q_i)) + max(0, D(q-_i) - th-); derivative 0 at the hinge's kink. */
static void loss_backward(const cz_head *head, const cz_batch *batch, cz_simplenet_work *w)
{
    const size_t count = batch->patches;
    for (size_t i = 0; i < count; i++) {
        const double weight = batch->weight ? (double)batch->weight[i] : 1;
        const bool anomalous = batch->target && batch->target[i] == CZ_TARGET_ANOMALOUS;
        const double both = head->config.weight_both ? weight : 1;
        float first, second;
        hinges(head, batch, w, i, &first, &second);
        w->g[i] = first > 0 ? (float)((anomalous ? weight : -weight) / (double)count) : 0;
        w->g[count + i] = second > 0 ? (float)(both / (double)count) : 0;
    }
}

static void sums_to_float(const double *sums, size_t count, float *out)
{
    for (size_t i = 0; i < count; i++) out[i] = (float)sums[i];
}

/* D = w2 . leaky(y), y = scale x + shift, x = (h - mean) istd. With e = g leaky'(y) the sums e1 = sum e and e2 = sum e x give
 * dshift = w2 e1, dscale = w2 e2 and, since leaky(y) = leaky'(y) y, dw2 = scale e2 + shift e1. */
static void discriminator_backward(const cz_head *head, const float *params, size_t half, cz_simplenet_work *w,
                                   float *grads)
{
    const cz_simplenet_parts p = cz_simplenet_layout(head);
    const size_t k = head->config.hidden;
    const cz_norm norm = cz_simplenet_norm(head, params, w);
    cz_rows_backward_sums(&norm, w->z, w->g, 2 * half, w->scratch, w->e1, w->e2);
    for (size_t c = 0; c < k; c++) {
        grads[p.shift + c] = (float)((double)norm.w2[c] * w->e1[c]);
        grads[p.scale + c] = (float)((double)norm.w2[c] * w->e2[c]);
        grads[p.output + c] = (float)((double)norm.scale[c] * w->e2[c] + (double)norm.shift[c] * w->e1[c]);
    }
}

static cz_status backward(const cz_head *head, const float *params, const cz_batch *batch, const float *dq,
                          cz_head_work *base, float *grads)
{
    cz_simplenet_work *w = (cz_simplenet_work *)base;
    const size_t d = head->config.width, k = head->config.hidden, half = batch->patches;
    const bool compat = head->config.simplenet_compat;
    const cz_simplenet_parts p = cz_simplenet_layout(head);
    const cz_norm norm = cz_simplenet_norm(head, params, w);
    float *dz = w->second ? w->second->dz : w->z, *total = w->second ? w->second->total : w->q2 + half * d;
    cz_status status = CZ_OK;
    loss_backward(head, batch, w);
    discriminator_backward(head, params, half, w, grads);
    if (w->bf16) return cz_simplenet_bf16_backward(head, params, half, dq, w, grads);
    cz_rows_backward(&norm, w->z, w->g, half, w->e1, w->e2, w->coefficients, dz, w->sum); /* dL/dh, in place of h */
    if (compat) {                                                                         /* h = W1 q + b1 */
        cz_rows_sum(w->sum, half, k, w->scratch, w->column);
        sums_to_float(w->column, k, grads + p.hidden_bias);
    }
    /* h = W1 [q; q-]: dW1 = dh^T [q; q-] */
    CZ_TRY(cz_engine_sgemm(true, false, k, d, 2 * half, 1, dz, k, w->q2, d, 0, grads + p.hidden, d));
    /* dq = W1^T (dh + dh-): q- = q + eps passes its gradient on to q, so the rows are summed before the product */
    if (dq) memcpy(total, dq, half * d * sizeof *total);
    CZ_TRY(cz_engine_sgemm(false, false, half, d, k, 1, w->sum, k, params + p.hidden, d, dq ? 1 : 0, total, d));
    if (compat) { /* q = A o + b */
        cz_rows_sum(total, half, d, w->scratch, w->column);
        sums_to_float(w->column, d, grads + p.adaptor_bias);
    }
    /* q = A o: dA = dq^T o */
    CZ_TRY(cz_engine_sgemm(true, false, d, d, half, 1, total, d, batch->features, d, 0, grads + p.adaptor, d));
out:
    return status;
}

static void batch_state(const cz_head *head, const cz_head_work *base, float *out)
{
    const cz_simplenet_work *w = (const cz_simplenet_work *)base;
    const size_t k = head->config.hidden;
    const double unbiased = (double)(2 * base->patches - 1);
    for (size_t c = 0; c < k; c++) {
        out[c] = (float)w->mean64[c];
        out[k + c] = (float)(w->m264[c] / unbiased);
    }
}

/* ---- the whole set --------------------------------------------------------------------------------------------- */

struct cz_head_pass {
    const cz_head *head;
    double count;
    float *m, *c;          /* [K, D] W1 A, [K] W1 b + b1 */
    float *z;              /* [CHUNK, K] */
    double *squares;       /* [K] squared norm of W1's rows */
    double *mean, *m2;     /* [K] so far */
    double *mean_b, *m2_b; /* [K] of a chunk */
    double *scratch;
    cz_gemm *gemm; /* NULL: precision fp32 */
};

static void pass_destroy(cz_head_pass *pass)
{
    cz_engine_gemm_destroy(pass->gemm);
    cz_free(pass->m);
    cz_free(pass->c);
    cz_free(pass->z);
    cz_free(pass->squares); /* holds all the double rows */
    cz_free(pass->scratch);
    cz_free(pass);
}

/* m [K, D] = W1 A, c [K] = W1 b + b1 */
static cz_status product(const cz_head *head, const float *params, float *m, float *c)
{
    const size_t d = head->config.width, k = head->config.hidden;
    const cz_simplenet_parts p = cz_simplenet_layout(head);
    const float *w1 = params + p.hidden;
    for (size_t i = 0; i < k; i++) {
        double sum = head->config.simplenet_compat ? (double)params[p.hidden_bias + i] : 0;
        for (size_t j = 0; head->config.simplenet_compat && j < d; j++)
            sum += (double)w1[i * d + j] * (double)params[p.adaptor_bias + j];
        c[i] = (float)sum;
    }
    return cz_engine_sgemm(false, false, k, d, d, 1, w1, d, params + p.adaptor, d, 0, m, d);
}

static cz_status pass_begin(const cz_head *head, const float *params, cz_head_pass **out)
{
    const size_t d = head->config.width, k = head->config.hidden;
    const float *w1 = params + cz_simplenet_layout(head).hidden;
    cz_status status = CZ_E_MEMORY;
    cz_head_pass *pass = cz_calloc(1, sizeof *pass);
    if (!pass) return status;
    pass->head = head;
    pass->m = cz_alloc_array(k * d, sizeof *pass->m);
    pass->c = cz_alloc_array(k, sizeof *pass->c);
    pass->z = cz_alloc_array(CHUNK * k, sizeof *pass->z);
    pass->squares = cz_calloc(5 * k, sizeof *pass->squares);
    pass->scratch = cz_alloc_array(cz_rows_scratch(CHUNK, k), sizeof *pass->scratch);
    if (!pass->m || !pass->c || !pass->z || !pass->squares || !pass->scratch) goto out;
    pass->mean = pass->squares + k;
    pass->m2 = pass->mean + k;
    pass->mean_b = pass->m2 + k;
    pass->m2_b = pass->mean_b + k;
    for (size_t i = 0; i < k; i++)
        for (size_t j = 0; j < d; j++) pass->squares[i] += (double)w1[i * d + j] * (double)w1[i * d + j];
    CZ_TRY(product(head, params, pass->m, pass->c));
    if (head->config.precision == CZ_PRECISION_BF16) CZ_TRY(cz_engine_gemm_create(&pass->gemm));
    *out = pass;
    return CZ_OK;
out:
    pass_destroy(pass);
    return status;
}

/* out [rows, n] = x [rows, d] weights^T, in bf16 with a `gemm` */
static cz_status rows_times(cz_gemm *gemm, const float *x, size_t rows, size_t d, const float *weights, size_t n,
                            float *out)
{
    if (!gemm) return cz_engine_sgemm(false, true, rows, n, d, 1, x, d, weights, d, 0, out, n);
    const cz_gemm_desc desc = {.m = rows,
                               .n = n,
                               .k = d,
                               .alpha = 1,
                               .a = {x, d, false, false},
                               .b = {weights, d, true, false},
                               .c = out,
                               .ldc = n};
    return cz_engine_gemm(gemm, &desc);
}

static cz_status pass_add(cz_head_pass *pass, const float *features, size_t rows)
{
    const size_t d = pass->head->config.width, k = pass->head->config.hidden;
    for (size_t first = 0; first < rows; first += CHUNK) {
        const size_t count = rows - first < CHUNK ? rows - first : CHUNK;
        const cz_status status = rows_times(pass->gemm, features + first * d, count, d, pass->m, k, pass->z);
        if (status != CZ_OK) return status;
        cz_rows_moments(pass->z, count, k, pass->scratch, pass->mean_b, pass->m2_b);
        cz_rows_merge(k, pass->count, pass->mean, pass->m2, (double)count, pass->mean_b, pass->m2_b);
        pass->count += (double)count;
    }
    return CZ_OK;
}

/* Statistics of [q; q-] over the set. The noise enters by its expectation instead of by a draw: its mean is 0 and it adds
 * sigma^2 |w1|^2 to the variance of the second half. Unbiased, as everywhere in the running statistics. */
static cz_status pass_end(cz_head_pass *pass, float *params, float *state)
{
    (void)params;
    const cz_head_config *config = &pass->head->config;
    const size_t k = config->hidden;
    if (pass->count < 1) return cz_fail(CZ_E_NO_IMAGES, "no patch to take batch-norm statistics from");
    const double noise = 0.5 * config->noise_std * config->noise_std, rows = 2 * pass->count;
    for (size_t c = 0; c < k; c++) {
        const double mean = pass->mean[c] + (double)pass->c[c];
        const double variance = pass->m2[c] / pass->count + noise * pass->squares[c];
        if (!isfinite(mean) || !isfinite(variance))
            return cz_fail(CZ_E_ARG, "batch-norm statistics are not finite (features or parameters are not)");
        state[c] = (float)mean;
        state[k + c] = (float)(variance * rows / (rows - 1));
        if (!isfinite(state[c]) || !isfinite(state[k + c]))
            return cz_fail(CZ_E_ARG, "batch-norm statistics are beyond fp32");
    }
    return CZ_OK;
}

/* ---- inference ------------------------------------------------------------------------------------------------ */

static cz_status embed(const cz_head *head, const float *params, const float *features, size_t rows, float *q)
{
    const size_t d = head->config.width;
    const cz_simplenet_parts p = cz_simplenet_layout(head);
    cz_gemm *gemm = NULL;
    cz_status status = CZ_OK;
    if (head->config.precision == CZ_PRECISION_BF16) CZ_TRY(cz_engine_gemm_create(&gemm));
    CZ_TRY(rows_times(gemm, features, rows, d, params + p.adaptor, d, q));
    if (head->config.simplenet_compat) cz_rows_add(q, rows, d, params + p.adaptor_bias);
out:
    cz_engine_gemm_destroy(gemm);
    return status;
}

static cz_status score(const cz_head *head, const float *params, const float *state, const float *features, size_t rows,
                       float *scores)
{
    const size_t d = head->config.width, k = head->config.hidden;
    const cz_simplenet_parts p = cz_simplenet_layout(head);
    cz_status status = CZ_E_MEMORY;
    float *q = cz_alloc_array((rows < CHUNK ? rows : CHUNK) * d, sizeof *q);
    float *z = cz_alloc_array((rows < CHUNK ? rows : CHUNK) * k, sizeof *z);
    float *istd = cz_alloc_array(k, sizeof *istd);
    if (!q || !z || !istd) goto out;
    for (size_t c = 0; c < k; c++) istd[c] = (float)(1.0 / sqrt((double)state[k + c] + NORM_EPSILON));
    const cz_norm norm = {k, state, istd, params + p.scale, params + p.shift, params + p.output};
    status = CZ_OK;
    for (size_t first = 0; first < rows; first += CHUNK) {
        const size_t count = rows - first < CHUNK ? rows - first : CHUNK;
        CZ_TRY(rows_times(NULL, features + first * d, count, d, params + p.adaptor, d, q));
        if (head->config.simplenet_compat) cz_rows_add(q, count, d, params + p.adaptor_bias);
        CZ_TRY(cz_engine_sgemm(false, true, count, k, d, 1, q, d, params + p.hidden, d, 0, z, k));
        if (head->config.simplenet_compat) cz_rows_add(z, count, k, params + p.hidden_bias);
        cz_rows_forward(&norm, z, count, scores + first);
        for (size_t i = first; i < first + count; i++) scores[i] = -scores[i]; /* Eq. 17 */
    }
out:
    cz_free(q);
    cz_free(z);
    cz_free(istd);
    return status;
}

/* BN(W1 (A o + b) + b1) = s (W1 A) o + s (W1 b + b1 - mean) + shift with s = scale / sqrt(var + eps) */
static cz_status compose(const cz_head *head, const float *params, const float *state, cz_composition *out)
{
    const size_t d = head->config.width, k = head->config.hidden;
    const cz_simplenet_parts p = cz_simplenet_layout(head);
    const cz_status status = product(head, params, out->m, out->c);
    if (status != CZ_OK) return status;
    out->slope = CZ_LEAKY_SLOPE;
    for (size_t i = 0; i < k; i++) {
        const double s = (double)params[p.scale + i] / sqrt((double)state[k + i] + NORM_EPSILON);
        out->c[i] = (float)(s * ((double)out->c[i] - (double)state[i]) + (double)params[p.shift + i]);
        out->w2[i] = params[p.output + i];
        for (size_t j = 0; j < d; j++) out->m[i * d + j] = (float)(s * (double)out->m[i * d + j]);
    }
    return CZ_OK;
}

static cz_status check(const cz_head *head, const float *params, const float *state)
{
    (void)params;
    for (size_t c = 0; c < head->config.hidden; c++)
        if (!(state[head->config.hidden + c] >= 0))
            return cz_fail(CZ_E_MODEL, "tensor 'state.norm.var' holds a negative variance");
    return CZ_OK;
}

const cz_head_ops cz_simplenet_ops = {
    .name = "simplenet",
    .setup = setup,
    .init = init,
    .work_create = work_create,
    .work_destroy = work_destroy,
    .forward = forward,
    .loss = loss,
    .backward = backward,
    .work_second_order = cz_simplenet_work_second_order,
    .tangent = cz_simplenet_tangent,
    .hessian = cz_simplenet_hessian,
    .embed = embed,
    .batch_state = batch_state,
    .pass_begin = pass_begin,
    .pass_add = pass_add,
    .pass_end = pass_end,
    .pass_destroy = pass_destroy,
    .score = score,
    .compose = compose,
    .check = check,
};
