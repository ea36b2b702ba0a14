/* SPDX-License-Identifier: Apache-2.0 */
/* The engine against plain loops: convolutions, pooling, residual sums, matrix products, and the memory plan. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/arena.h"
#include "engine/engine.h"
#include "util/alloc.h"
#include "util/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static float *hashed(const char *name, size_t count, float scale)
{
    float *out = malloc(count * sizeof *out);
    assert_non_null(out);
    for (size_t i = 0; i < count; i++) out[i] = scale * cz_hash_uniform(cz_name_hash(name, 0), i);
    return out;
}

static double relative_error(const float *got, const double *want, size_t count)
{
    double difference = 0, norm = 0;
    for (size_t i = 0; i < count; i++) {
        difference += (got[i] - want[i]) * (got[i] - want[i]);
        norm += want[i] * want[i];
    }
    return sqrt(difference / (norm > 0 ? norm : 1));
}

typedef struct conv_case {
    size_t n, h, w, ci, co, k, stride, pad;
    bool relu, residual;
} conv_case;

/* out: [n, oh, ow, co]; input [n, h, w, ci], weights [co, ci, k, k], residual like out or NULL */
static void conv_ref(const conv_case *c, const float *in, const float *weights, const float *bias,
                     const float *residual, double *out)
{
    const size_t oh = (c->h + 2 * c->pad - c->k) / c->stride + 1, ow = (c->w + 2 * c->pad - c->k) / c->stride + 1;
    for (size_t o = 0; o < c->n * oh * ow * c->co; o++) {
        const size_t co = o % c->co, x = o / c->co % ow, y = o / c->co / ow % oh, n = o / c->co / ow / oh;
        double sum = bias[co] + (residual ? residual[o] : 0);
        for (size_t ky = 0; ky < c->k; ky++)
            for (size_t kx = 0; kx < c->k; kx++) {
                const size_t iy = y * c->stride + ky - c->pad, ix = x * c->stride + kx - c->pad; /* wraps: too large */
                if (iy >= c->h || ix >= c->w) continue;
                for (size_t ci = 0; ci < c->ci; ci++)
                    sum += (double)in[((n * c->h + iy) * c->w + ix) * c->ci + ci] *
                           weights[((co * c->ci + ci) * c->k + ky) * c->k + kx];
            }
        out[o] = c->relu && sum < 0 ? 0 : sum;
    }
}

static void identity_weights(float *weights, size_t channels)
{
    memset(weights, 0, channels * channels * sizeof *weights);
    for (size_t i = 0; i < channels; i++) weights[i * channels + i] = 1;
}

static void check_conv(const conv_case *c, size_t threads)
{
    const size_t oh = (c->h + 2 * c->pad - c->k) / c->stride + 1, ow = (c->w + 2 * c->pad - c->k) / c->stride + 1;
    const size_t in_count = c->n * c->h * c->w * c->ci, out_count = c->n * oh * ow * c->co;
    float *in = hashed("in", in_count, 1), *weights = hashed("w", c->co * c->ci * c->k * c->k, 0.3f);
    float *bias = hashed("b", c->co, 1), *identity = malloc(c->co * c->co * sizeof *identity);
    float *zero = calloc(c->co, sizeof *zero), *first = malloc(out_count * sizeof *first);
    double *want = malloc(out_count * sizeof *want);
    cz_net *net;
    cz_net_value input, side = CZ_NET_NONE, out;
    cz_conv_desc desc = {c->co, c->k, c->k, c->stride, c->pad, weights, bias, false};
    identity_weights(identity, c->co);
    assert_int_equal(cz_net_create(&net), CZ_OK);
    assert_int_equal(cz_net_input(net, c->n, c->h, c->w, c->ci, &input), CZ_OK);
    if (c->residual) { /* the same convolution, then an identity 1x1 with the first result as residual: doubles it */
        const cz_conv_desc one = {c->co, 1, 1, 1, 0, identity, zero, c->relu};
        cz_net_value through;
        assert_int_equal(cz_net_conv(net, input, CZ_NET_NONE, &desc, &side), CZ_OK);
        assert_int_equal(cz_net_conv(net, input, CZ_NET_NONE, &desc, &through), CZ_OK);
        assert_int_equal(cz_net_conv(net, through, side, &one, &out), CZ_OK);
    } else {
        desc.relu = c->relu;
        assert_int_equal(cz_net_conv(net, input, CZ_NET_NONE, &desc, &out), CZ_OK);
    }
    assert_int_equal(cz_net_mark_output(net, out), CZ_OK);
    assert_null(cz_net_output(net, out));
    assert_int_equal(cz_net_finalise(net, &(cz_net_options){.threads = threads}), CZ_OK);
    assert_int_equal(cz_net_run(net, in), CZ_OK);
    conv_case plain = *c;
    plain.relu = c->relu && !c->residual;
    conv_ref(&plain, in, weights, bias, NULL, want);
    for (size_t i = 0; c->residual && i < out_count; i++) want[i] = c->relu && want[i] < 0 ? 0 : 2 * want[i];
    const float *got = cz_net_output(net, out);
    assert_non_null(got);
    assert_true(relative_error(got, want, out_count) < 2e-6);
    memcpy(first, got, out_count * sizeof *first);
    assert_int_equal(cz_net_run(net, in), CZ_OK);
    assert_memory_equal(first, cz_net_output(net, out), out_count * sizeof *first);
    size_t shape[4];
    cz_net_shape(net, out, shape);
    assert_true(shape[0] == c->n && shape[1] == oh && shape[2] == ow && shape[3] == c->co);
    assert_true(cz_net_memory(net) > 0);
    cz_net_destroy(net);
    free(in), free(weights), free(bias), free(identity), free(zero), free(first), free(want);
}

static void test_conv(void **state)
{
    (void)state;
    static const conv_case cases[] = {
        {1, 8, 8, 16, 16, 3, 1, 1, false, false},  {2, 9, 7, 3, 64, 7, 2, 3, true, false},
        {1, 13, 11, 5, 7, 3, 2, 1, true, false},   {8, 5, 6, 32, 48, 1, 1, 0, false, false},
        {2, 15, 15, 17, 33, 1, 2, 0, true, false}, {1, 1, 1, 64, 64, 3, 1, 1, false, false},
        {3, 6, 10, 16, 32, 5, 1, 0, true, false},  {1, 16, 16, 64, 64, 3, 1, 1, true, true},
        {8, 7, 9, 13, 19, 3, 2, 1, true, true},    {2, 4, 4, 128, 256, 1, 2, 0, true, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t threads = 1; threads <= 2; threads++) check_conv(&cases[i], threads);
}

static void pool_ref(const float *in, size_t n, size_t h, size_t w, size_t c, const cz_pool_desc *d, size_t oh,
                     size_t ow, float *out)
{
    for (size_t o = 0; o < n * oh * ow * c; o++) {
        const size_t ch = o % c, x = o / c % ow, y = o / c / ow % oh, b = o / c / ow / oh;
        float best = -INFINITY;
        for (size_t ky = 0; ky < d->kernel; ky++)
            for (size_t kx = 0; kx < d->kernel; kx++) {
                const size_t iy = y * d->stride + ky - d->pad_begin, ix = x * d->stride + kx - d->pad_begin;
                if (iy < h && ix < w) best = fmaxf(best, in[((b * h + iy) * w + ix) * c + ch]);
            }
        out[o] = best;
    }
}

static void test_pool(void **state)
{
    (void)state;
    static const size_t cases[][9] = {/* n h w c kernel stride begin end_h end_w */
                                      {1, 12, 12, 64, 3, 2, 1, 0, 0},
                                      {2, 13, 9, 16, 3, 2, 1, 1, 1},
                                      {1, 12, 14, 64, 3, 2, 0, 1, 1},
                                      {8, 7, 7, 5, 3, 2, 0, 0, 1},
                                      {2, 6, 6, 20, 2, 1, 1, 1, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const size_t *p = cases[i], n = p[0], h = p[1], w = p[2], c = p[3];
        const cz_pool_desc pool = {p[4], p[5], p[6], p[7], p[8]};
        float *in = hashed("pool", n * h * w * c, 1);
        cz_net *net;
        cz_net_value input, out;
        size_t shape[4];
        for (size_t j = 0; j < n * h * w * c; j++) in[j] -= 2; /* padding counted as 0 would win every border */
        assert_int_equal(cz_net_create(&net), CZ_OK);
        assert_int_equal(cz_net_input(net, n, h, w, c, &input), CZ_OK);
        assert_int_equal(cz_net_max_pool(net, input, &pool, &out), CZ_OK);
        assert_int_equal(cz_net_mark_output(net, out), CZ_OK);
        assert_int_equal(cz_net_finalise(net, &(cz_net_options){.threads = 2}), CZ_OK);
        assert_int_equal(cz_net_run(net, in), CZ_OK);
        cz_net_shape(net, out, shape);
        const size_t count = shape[0] * shape[1] * shape[2] * shape[3];
        float *want = malloc(count * sizeof *want);
        pool_ref(in, n, h, w, c, &pool, shape[1], shape[2], want);
        assert_memory_equal(cz_net_output(net, out), want, count * sizeof *want);
        cz_net_destroy(net);
        free(in), free(want);
    }
}

enum { CHAIN = 6, CHANNELS = 24, SIDE = 10, BATCH = 2 };

/* The residual of link i of the chain: two back (dead afterwards), or always the first (needed again later). */
static size_t residual_of(size_t i, bool first)
{
    return first ? 0 : i - 2;
}

/* A chain of residual convolutions; every value is marked when `all`, else the last only. */
static cz_net *chain(float *const *weights, const float *bias, bool first, bool all, size_t threads,
                     cz_net_value values[CHAIN])
{
    cz_net *net;
    cz_net_value input;
    assert_int_equal(cz_net_create(&net), CZ_OK);
    assert_int_equal(cz_net_input(net, BATCH, SIDE, SIDE, CHANNELS, &input), CZ_OK);
    for (size_t i = 0; i < CHAIN; i++) {
        const cz_conv_desc desc = {CHANNELS, 3, 3, 1, 1, weights[i], bias, true};
        const cz_net_value from = i ? values[i - 1] : input;
        const cz_net_value residual = i >= 2 ? values[residual_of(i, first)] : from; /* at first: its own input */
        assert_int_equal(cz_net_conv(net, from, residual, &desc, &values[i]), CZ_OK);
        if (all || i + 1 == CHAIN) assert_int_equal(cz_net_mark_output(net, values[i]), CZ_OK);
    }
    assert_int_equal(cz_net_finalise(net, &(cz_net_options){.threads = threads}), CZ_OK);
    return net;
}

static void check_lifetimes(float *const *weights, const float *in, const float *bias, bool first)
{
    const size_t count = (size_t)BATCH * SIDE * SIDE * CHANNELS;
    float *values = malloc(CHAIN * count * sizeof *values);
    double *want = malloc(count * sizeof *want);
    cz_net_value ids[CHAIN], last[CHAIN];
    cz_net *all = chain(weights, bias, first, true, 2, ids), *one = chain(weights, bias, first, false, 1, last);
    assert_true(cz_net_memory(one) < cz_net_memory(all));
    for (int run = 0; run < 2; run++) {
        assert_int_equal(cz_net_run(all, in), CZ_OK);
        assert_int_equal(cz_net_run(one, in), CZ_OK);
        for (size_t i = 0; i < CHAIN; i++) {
            const conv_case c = {BATCH, SIDE, SIDE, CHANNELS, CHANNELS, 3, 1, 1, true, true};
            const float *from = i ? values + (i - 1) * count : in;
            conv_ref(&c, from, weights[i], bias, i >= 2 ? values + residual_of(i, first) * count : from, want);
            assert_true(relative_error(cz_net_output(all, ids[i]), want, count) < 5e-6);
            for (size_t j = 0; j < count; j++) values[i * count + j] = (float)want[j];
        }
        assert_true(relative_error(cz_net_output(one, last[CHAIN - 1]), want, count) < 5e-6);
    }
    assert_null(cz_net_output(one, last[0]));
    cz_net_destroy(all);
    cz_net_destroy(one);
    free(values), free(want);
}

static void test_lifetimes(void **state)
{
    (void)state;
    float *in = hashed("chain", (size_t)BATCH * SIDE * SIDE * CHANNELS, 1), *bias = hashed("bias", CHANNELS, 0.1f);
    float *weights[CHAIN];
    for (size_t i = 0; i < CHAIN; i++) {
        char name[16];
        snprintf(name, sizeof name, "w%zu", i);
        weights[i] = hashed(name, (size_t)CHANNELS * CHANNELS * 9, 0.08f);
    }
    check_lifetimes(weights, in, bias, false);
    check_lifetimes(weights, in, bias, true);
    for (size_t i = 0; i < CHAIN; i++) free(weights[i]);
    free(in), free(bias);
}

static void test_refusals(void **state)
{
    (void)state;
    float weights[27] = {0}, bias[3] = {0}, in[3 * 16] = {0};
    cz_net *net;
    cz_net_value input, out, other;
    cz_conv_desc desc = {1, 3, 3, 1, 1, weights, bias, false};
    const cz_pool_desc pool = {3, 2, 1, 0, 0}, bad_pool = {3, 0, 1, 1, 1};
    assert_int_equal(cz_net_create(&net), CZ_OK);
    assert_int_equal(cz_net_finalise(net, &(cz_net_options){.threads = 1}), CZ_E_ARG);
    assert_int_equal(cz_net_run(net, in), CZ_E_ARG);
    assert_int_equal(cz_net_input(net, 1, 0, 4, 3, &input), CZ_E_ARG);
    assert_int_equal(cz_net_input(net, 1 << 20, 1 << 20, 1 << 20, 3, &input), CZ_E_LIMIT);
    assert_int_equal(cz_net_input(net, 1, 4, 4, 3, &input), CZ_OK);
    assert_int_equal(cz_net_input(net, 1, 4, 4, 3, &input), CZ_E_ARG);
    assert_int_equal(cz_net_conv(net, 7, CZ_NET_NONE, &desc, &out), CZ_E_ARG);
    assert_int_equal(cz_net_conv(net, input, input, &desc, &out), CZ_E_ARG); /* 3 channels onto 1 */
    desc.stride = 0;
    assert_int_equal(cz_net_conv(net, input, CZ_NET_NONE, &desc, &out), CZ_E_ARG);
    desc = (cz_conv_desc){1, 7, 7, 1, 0, weights, bias, false}; /* larger than its input */
    assert_int_equal(cz_net_conv(net, input, CZ_NET_NONE, &desc, &out), CZ_E_ARG);
    assert_int_equal(cz_net_max_pool(net, input, &bad_pool, &out), CZ_E_ARG);
    assert_int_equal(cz_net_mark_output(net, input), CZ_E_ARG);
    assert_int_equal(cz_net_max_pool(net, input, &pool, &other), CZ_OK);
    assert_int_equal(cz_net_mark_output(net, other), CZ_OK);
    assert_int_equal(cz_net_finalise(net, &(cz_net_options){.threads = 1, .precision = (cz_precision)77}),
                     CZ_E_UNSUPPORTED);
    assert_int_equal(cz_net_finalise(net, &(cz_net_options){.threads = 1}), CZ_OK);
    assert_int_equal(cz_net_max_pool(net, input, &pool, &other), CZ_E_ARG);
    cz_status inside = CZ_OK;
#pragma omp parallel num_threads(2)
#pragma omp master
    inside = cz_net_run(net, in);
    assert_int_equal(inside, CZ_E_ARG);
    assert_int_equal(cz_net_run(net, in), CZ_OK);
    cz_net_destroy(net);
    cz_net_destroy(NULL);
}

/* Every allocation of build, finalise and run fails once. */
static void test_out_of_memory(void **state)
{
    (void)state;
    float *weights = hashed("w", 16 * 16 * 9, 1), *bias = hashed("b", 16, 1);
    for (unsigned long n = 1;; n++) {
        cz_net *net = NULL;
        cz_net_value input = 0, middle = 0, out = 0;
        const cz_conv_desc desc = {16, 3, 3, 1, 1, weights, bias, true};
        cz_alloc_fail_after(n);
        cz_status status = cz_net_create(&net);
        if (status == CZ_OK) status = cz_net_input(net, 1, 8, 8, 16, &input);
        if (status == CZ_OK) status = cz_net_conv(net, input, CZ_NET_NONE, &desc, &middle);
        if (status == CZ_OK) status = cz_net_conv(net, middle, middle, &desc, &out);
        if (status == CZ_OK) status = cz_net_mark_output(net, out);
        if (status == CZ_OK) status = cz_net_finalise(net, &(cz_net_options){.threads = 1});
        cz_alloc_fail_after(0);
        cz_net_destroy(net);
        if (status == CZ_OK) {
            assert_true(n > 5);
            break;
        }
        assert_int_equal(status, CZ_E_MEMORY);
    }
    free(weights), free(bias);
}

static void test_arena(void **state)
{
    (void)state;
    cz_arena_buffer b[40];
    size_t total, sum = 0, peak = 0;
    cz_rng rng;
    cz_rng_init(&rng, 7, CZ_RNG_TEST, 0, 0);
    for (size_t i = 0; i < 40; i++) {
        const size_t first = (size_t)cz_rng_below(&rng, 30);
        b[i] = (cz_arena_buffer){.bytes = (size_t)cz_rng_below(&rng, 5000),
                                 .first = first,
                                 .last = i % 9 == 0 ? SIZE_MAX : first + (size_t)cz_rng_below(&rng, 4)};
    }
    assert_int_equal(cz_arena_plan(b, 40, &total), CZ_OK);
    for (size_t i = 0; i < 40; i++) {
        sum += b[i].bytes;
        assert_int_equal(b[i].offset % CZ_ARENA_ALIGN, 0);
        assert_true(b[i].offset + b[i].bytes <= total);
        for (size_t j = 0; j < i; j++) {
            const bool time = b[i].first <= b[j].last && b[j].first <= b[i].last;
            const bool space = b[i].offset < b[j].offset + b[j].bytes && b[j].offset < b[i].offset + b[i].bytes;
            assert_false(time && space && b[i].bytes && b[j].bytes);
        }
    }
    for (size_t step = 0; step < 34; step++) {
        size_t alive = 0;
        for (size_t i = 0; i < 40; i++) alive += b[i].first <= step && step <= b[i].last ? b[i].bytes : 0;
        if (alive > peak) peak = alive;
    }
    assert_true(total < sum && total >= peak && (double)total < 1.5 * (double)peak);
    assert_int_equal(cz_arena_plan(NULL, 0, &total), CZ_OK);
    assert_int_equal(total, 0);
    cz_arena_buffer huge[2] = {{SIZE_MAX / 2, 0, 1, 0}, {SIZE_MAX / 2 + 2, 0, 1, 0}};
    assert_int_equal(cz_arena_plan(huge, 2, &total), CZ_E_LIMIT);
}

static void test_sgemm(void **state)
{
    (void)state;
    static const size_t sizes[][3] = {{1, 1, 1}, {5, 7, 3}, {33, 17, 65}, {1, 96, 40}, {70, 1, 9}};
    for (size_t s = 0; s < 5 * 4; s++) {
        const size_t m = sizes[s / 4][0], n = sizes[s / 4][1], k = sizes[s / 4][2];
        const bool ta = s & 1, tb = s & 2;
        const size_t lda = (ta ? m : k) + 3, ldb = (tb ? k : n) + 2, ldc = n + 1;
        float *a = hashed("a", lda * (ta ? k : m), 1), *b = hashed("b", ldb * (tb ? n : k), 1);
        float *c = hashed("c", ldc * m, 1), *before = hashed("c", ldc * m, 1);
        for (int pass = 0; pass < 2; pass++) {
            const float beta = pass ? 0 : 0.5f;
            if (pass)
                for (size_t i = 0; i < m * ldc; i++) c[i] = i % ldc < n ? NAN : before[i];
            assert_int_equal(cz_engine_sgemm(ta, tb, m, n, k, 2.0f, a, lda, b, ldb, beta, c, ldc), CZ_OK);
            for (size_t i = 0; i < m * ldc; i++) {
                const size_t y = i / ldc, x = i % ldc;
                double sum = 0;
                for (size_t j = 0; x < n && j < k; j++)
                    sum += (double)(ta ? a[j * lda + y] : a[y * lda + j]) * (tb ? b[x * ldb + j] : b[j * ldb + x]);
                const double want = x >= n ? before[i] : 2 * sum + beta * before[i]; /* beyond a row: untouched */
                assert_true(fabs(c[i] - want) < 2e-5);
            }
        }
        assert_int_equal(cz_engine_sgemm(ta, tb, m, n, k, 1, a, lda, b, ldb, 0, c, n - 1), CZ_E_ARG);
        free(a), free(b), free(c), free(before);
    }
}

static void test_matmul(void **state)
{
    (void)state;
    static const size_t sizes[][3] = {{1, 1, 1}, {7, 5, 3}, {64, 100, 48}, {33, 129, 65}};
    for (size_t s = 0; s < 4 * 8; s++) {
        const size_t m = sizes[s / 8][0], n = sizes[s / 8][1], k = sizes[s / 8][2];
        const bool nk = s & 1, with_bias = s & 2;
        float *a = hashed("a", m * k, 1), *b = hashed("b", k * n, 1), *bias = hashed("bias", n, 1);
        float *c = malloc(m * n * sizeof *c);
        double *want = malloc(m * n * sizeof *want);
        const cz_matmul_desc desc = {m, n, k, b, nk, with_bias ? bias : NULL, s & 4 ? 2 : 1, CZ_PRECISION_FP32, 0};
        cz_matmul *mm;
        assert_int_equal(cz_engine_matmul_create(&desc, &mm), CZ_OK);
        for (size_t i = 0; i < m * n; i++) {
            const size_t y = i / n, x = i % n;
            want[i] = with_bias ? bias[x] : 0;
            for (size_t j = 0; j < k; j++) want[i] += (double)a[y * k + j] * (nk ? b[x * k + j] : b[j * n + x]);
        }
        memset(b, 0, k * n * sizeof *b); /* packed: no longer read */
        memset(bias, 0, n * sizeof *bias);
        for (int run = 0; run < 2; run++) {
            assert_int_equal(cz_engine_matmul_run(mm, a, c), CZ_OK);
            assert_true(relative_error(c, want, m * n) < 1e-6);
        }
        assert_true(cz_engine_matmul_memory(mm) >= k * n * sizeof(float));
        cz_engine_matmul_destroy(mm);
        free(a), free(b), free(bias), free(c), free(want);
    }
    const cz_matmul_desc bad = {0};
    cz_matmul *mm;
    assert_int_equal(cz_engine_matmul_create(&bad, &mm), CZ_E_ARG);
    cz_engine_matmul_destroy(NULL);
}

static void test_describe(void **state)
{
    (void)state;
    char text[100], tiny[4];
    cz_engine_describe(text, sizeof text);
    assert_non_null(strstr(text, "oneDNN 2."));
    cz_engine_describe(tiny, sizeof tiny);
    assert_int_equal(strlen(tiny), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conv),  cmocka_unit_test(test_pool),     cmocka_unit_test(test_lifetimes),
        cmocka_unit_test(test_arena), cmocka_unit_test(test_refusals), cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_sgemm), cmocka_unit_test(test_matmul),   cmocka_unit_test(test_describe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
