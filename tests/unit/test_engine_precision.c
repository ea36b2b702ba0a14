/* SPDX-License-Identifier: Apache-2.0 */
/* The engine's precisions against plain loops in double that round and quantise as they are said to; Winograd against
 * direct; outputs in bf16; packed weights: shared, exported, mapped, tampered with. Run again under smaller instruction
 * sets (tests/CMakeLists.txt). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/engine.h"
#include "engine/net_dnnl2.h"
#include "tensor/dtype.h"
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

static bool has(cz_precision precision)
{
    /* AVX-512 without bf16 instructions emulates them; nothing smaller does */
    return precision != CZ_PRECISION_BF16 || cz_engine_native(CZ_PRECISION_FP32_WINOGRAD);
}

typedef struct shape {
    size_t n, h, w, ci, co, k, stride, pad;
} shape;

static size_t out_h(const shape *s)
{
    return (s->h + 2 * s->pad - s->k) / s->stride + 1;
}

static size_t out_w(const shape *s)
{
    return (s->w + 2 * s->pad - s->k) / s->stride + 1;
}

static size_t in_count(const shape *s)
{
    return s->n * s->h * s->w * s->ci;
}

static size_t out_count(const shape *s)
{
    return s->n * out_h(s) * out_w(s) * s->co;
}

static size_t weight_count(const shape *s)
{
    return s->co * s->ci * s->k * s->k;
}

/* out: [n, oh, ow, co] = sum of weights [co, ci, k, k] times in [n, h, w, ci]; nothing added */
static void conv_ref(const shape *s, const double *in, const double *weights, double *out)
{
    const size_t oh = out_h(s), ow = out_w(s);
    for (size_t o = 0; o < out_count(s); o++) {
        const size_t co = o % s->co, x = o / s->co % ow, y = o / s->co / ow % oh, n = o / s->co / ow / oh;
        double sum = 0;
        for (size_t ky = 0; ky < s->k; ky++)
            for (size_t kx = 0; kx < s->k; kx++) {
                const size_t iy = y * s->stride + ky - s->pad, ix = x * s->stride + kx - s->pad; /* wraps: too large */
                if (iy >= s->h || ix >= s->w) continue;
                for (size_t ci = 0; ci < s->ci; ci++)
                    sum += in[((n * s->h + iy) * s->w + ix) * s->ci + ci] *
                           weights[((co * s->ci + ci) * s->k + ky) * s->k + kx];
            }
        out[o] = sum;
    }
}

static double *doubles(const float *values, size_t count, bool bf16)
{
    double *out = malloc(count * sizeof *out);
    assert_non_null(out);
    for (size_t i = 0; i < count; i++)
        out[i] = bf16 ? (double)cz_bf16_to_f32(cz_f32_to_bf16(values[i])) : (double)values[i];
    return out;
}

static const shape shapes[] = {
    {1, 8, 8, 16, 16, 3, 1, 1},   {2, 9, 7, 3, 64, 7, 2, 3},     {1, 13, 11, 5, 7, 3, 2, 1},
    {3, 5, 6, 32, 48, 1, 1, 0},   {2, 15, 15, 17, 33, 1, 2, 0},  {1, 1, 1, 64, 64, 3, 1, 1},
    {1, 16, 16, 64, 64, 3, 1, 1}, {2, 7, 9, 13, 19, 3, 2, 1},    {2, 12, 20, 32, 64, 3, 1, 1},
    {3, 17, 13, 48, 32, 3, 1, 1}, {1, 14, 14, 128, 64, 3, 1, 1}, {1, 6, 6, 64, 256, 1, 1, 0},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

/* ---- floating precisions ----------------------------------------------------------------------------------------- */

/* relu?(conv + bias + conv): the residual is the same convolution again, kept in the network's own type. */
static cz_net *float_net(const shape *s, const float *weights, const float *bias, bool residual, cz_precision precision,
                         size_t threads, bool bf16_outputs, cz_net_value *out)
{
    cz_net *net;
    cz_net_value input, side = CZ_NET_NONE;
    cz_conv_desc desc = {s->co, s->k, s->k, s->stride, s->pad, weights, bias, false};
    assert_int_equal(cz_net_create(&net), CZ_OK);
    assert_int_equal(cz_net_input(net, s->n, s->h, s->w, s->ci, &input), CZ_OK);
    if (residual) assert_int_equal(cz_net_conv(net, input, CZ_NET_NONE, &desc, &side), CZ_OK);
    desc.relu = true;
    assert_int_equal(cz_net_conv(net, input, side, &desc, out), CZ_OK);
    assert_int_equal(cz_net_mark_output(net, *out), CZ_OK);
    const cz_net_options options = {.threads = threads, .precision = precision, .bf16_outputs = bf16_outputs};
    const cz_status status = cz_net_finalise(net, &options);
    if (!has(precision)) {
        assert_int_equal(status, CZ_E_UNSUPPORTED);
        assert_non_null(strstr(cz_last_error(), "bf16 needs a processor"));
        cz_error_clear();
        cz_net_destroy(net);
        return NULL;
    }
    assert_int_equal(status, CZ_OK);
    return net;
}

static void check_float(const shape *s, bool residual, cz_precision precision, double bound)
{
    const bool bf16 = precision == CZ_PRECISION_BF16;
    float *in = hashed("in", in_count(s), 1), *weights = hashed("w", weight_count(s), 0.3f),
          *bias = hashed("b", s->co, 1);
    double *x = doubles(in, in_count(s), bf16), *w = doubles(weights, weight_count(s), bf16);
    double *want = malloc(out_count(s) * sizeof *want);
    conv_ref(s, x, w, want);
    for (size_t i = 0; i < out_count(s); i++) {
        want[i] = (want[i] + bias[i % s->co]) * (residual ? 2 : 1);
        if (want[i] < 0) want[i] = 0;
    }
    for (size_t threads = 1; threads <= 3; threads++) {
        cz_net_value out;
        cz_net *net = float_net(s, weights, bias, residual, precision, threads, false, &out);
        if (!net) break;
        for (int run = 0; run < 2; run++) {
            assert_int_equal(cz_net_run(net, in), CZ_OK);
            const double error = relative_error(cz_net_output(net, out), want, out_count(s));
            if (error > bound) print_error("%zu -> %zu, kernel %zu: %g\n", s->ci, s->co, s->k, error);
            assert_true(error <= bound);
        }
        assert_null(cz_net_output_bf16(net, out));
        cz_net_destroy(net);
    }
    free(in), free(weights), free(bias), free(x), free(w), free(want);
}

static void test_bf16(void **state)
{
    (void)state;
    for (size_t i = 0; i < SHAPES; i++)
        for (int residual = 0; residual < 2; residual++) /* one rounding of 2^-9 at most, or two */
            check_float(&shapes[i], residual, CZ_PRECISION_BF16, residual ? 4e-3 : 2e-3);
}

static void test_winograd(void **state)
{
    (void)state;
    for (size_t i = 0; i < SHAPES; i++)
        for (int residual = 0; residual < 2; residual++)
            check_float(&shapes[i], residual, CZ_PRECISION_FP32_WINOGRAD, 1e-5);
}

/* Weights with which the transforms overflow where the direct convolution does not. */
static void test_winograd_refused(void **state)
{
    (void)state;
    const shape s = {2, 16, 16, 64, 64, 3, 1, 1};
    for (int wild = 0; wild < 2; wild++) {
        float *in = hashed("in", in_count(&s), wild ? 1e-4f : 1), *bias = hashed("b", s.co, 1);
        float *weights = hashed("w", weight_count(&s), wild ? 3e37f : 0.1f);
        cz_net_value a, b;
        cz_packed_conv part;
        cz_net *direct = float_net(&s, weights, bias, true, CZ_PRECISION_FP32, 1, false, &a);
        cz_net *net = float_net(&s, weights, bias, true, CZ_PRECISION_FP32_WINOGRAD, 1, false, &b);
        assert_int_equal(cz_net_run(direct, in), CZ_OK);
        assert_int_equal(cz_net_run(net, in), CZ_OK);
        const float *got = cz_net_output(net, b), *want = cz_net_output(direct, a);
        double difference = 0, norm = 0;
        for (size_t i = 0; i < out_count(&s); i++) {
            assert_true(isfinite(want[i]) && isfinite(got[i]));
            difference += pow((double)got[i] - (double)want[i], 2);
            norm += pow((double)want[i], 2);
        }
        assert_true(sqrt(difference / norm) < 1e-5);
        for (size_t i = 0; i < 2; i++) {
            assert_true(cz_packed_get(cz_net_packed(net), i, s.co, &part));
            const bool winograd = cz_engine_native(CZ_PRECISION_FP32_WINOGRAD) && !wild;
            assert_int_equal(part.algorithm, winograd ? CZ_PACKED_WINOGRAD : CZ_PACKED_DIRECT);
            assert_int_equal(part.verified[2], winograd ? s.h : 0);
        }
        cz_net_destroy(net);
        cz_net_destroy(direct);
        free(in), free(weights), free(bias);
    }
}

/* ---- int8 ---------------------------------------------------------------------------------------------------------- */

/* A network around one or two 8-bit convolutions: an identity brings the input to codes, which are exact because the input
 * is made of multiples of the scale that bf16 can represent; `side` (no ReLU, signed) is the residual. A pool of one pixel
 * shows the codes that the last convolution has stored; without it, its own F32 result. */
typedef struct int8_case {
    shape s;
    bool relu_first;  /* source is unsigned */
    int residual;     /* 0 none, 1 signed, 2 unsigned */
    bool relu, coded; /* of the last convolution; its result is seen in 8 bits */
} int8_case;

enum { INPUT, FIRST, SIDE, LAST, VALUES = 5 };

/* codes of weights [co, ci, k, k], and what 1 stands for in each channel */
static void quantise_weights(const shape *s, const float *weights, uint32_t limit, double *codes, double *scales)
{
    const size_t count = s->ci * s->k * s->k;
    for (size_t o = 0; o < s->co; o++) {
        float most = 0;
        for (size_t i = 0; i < count; i++) most = fmaxf(most, fabsf(weights[o * count + i]));
        scales[o] = (double)(most / (float)limit);
        for (size_t i = 0; i < count; i++) codes[o * count + i] = rint(weights[o * count + i] / scales[o]);
    }
}

static double code(double value, bool is_unsigned)
{
    const double c = rint(value), low = is_unsigned ? 0 : -128, high = is_unsigned ? 255 : 127;
    return c < low ? low : c > high ? high : c;
}

/* out: value of relu?(conv + bias + residual_scale * residual), not yet in codes; in and residual: codes */
static void conv_codes(const int8_case *c, const double *in, double in_scale, const float *weights, const float *bias,
                       const double *residual, double residual_scale, bool relu, double *out)
{
    double *codes = malloc(weight_count(&c->s) * sizeof *codes), *scales = malloc(c->s.co * sizeof *scales);
    quantise_weights(&c->s, weights, cz_conv_weight_limit(c->relu_first ? dnnl_u8 : dnnl_s8), codes, scales);
    conv_ref(&c->s, in, codes, out);
    for (size_t i = 0; i < out_count(&c->s); i++) {
        out[i] = out[i] * in_scale * scales[i % c->s.co] + bias[i % c->s.co];
        if (residual) out[i] += residual[i] * residual_scale;
        if (relu && out[i] < 0) out[i] = 0;
    }
    free(codes), free(scales);
}

static cz_net *int8_net(const int8_case *c, const float *weights, const float *side, const float *bias,
                        const float *ranges, size_t threads, cz_net_value *out)
{
    const shape *s = &c->s;
    cz_net *net;
    cz_net_value v[VALUES], residual = CZ_NET_NONE;
    float *identity = calloc(s->ci * s->ci, sizeof *identity), *zero = calloc(s->ci, sizeof *zero);
    const cz_conv_desc first = {s->ci, 1, 1, 1, 0, identity, zero, c->relu_first};
    const cz_conv_desc second = {s->co, s->k, s->k, s->stride, s->pad, side, bias, c->residual == 2};
    const cz_conv_desc last = {s->co, s->k, s->k, s->stride, s->pad, weights, bias, c->relu};
    const cz_pool_desc pixel = {1, 1, 0, 0, 0};
    for (size_t i = 0; i < s->ci; i++) identity[i * s->ci + i] = 1;
    assert_int_equal(cz_net_create(&net), CZ_OK);
    assert_int_equal(cz_net_input(net, s->n, s->h, s->w, s->ci, &v[INPUT]), CZ_OK);
    assert_int_equal(cz_net_conv(net, v[INPUT], CZ_NET_NONE, &first, &v[FIRST]), CZ_OK);
    assert_int_equal(cz_net_conv(net, v[FIRST], CZ_NET_NONE, &second, &v[SIDE]), CZ_OK);
    if (c->residual) residual = v[SIDE];
    assert_int_equal(cz_net_conv(net, v[FIRST], residual, &last, &v[LAST]), CZ_OK);
    *out = v[LAST];
    if (c->coded) assert_int_equal(cz_net_max_pool(net, v[LAST], &pixel, out), CZ_OK);
    assert_int_equal(cz_net_mark_output(net, *out), CZ_OK);
    const cz_net_options options = {.threads = threads, .precision = CZ_PRECISION_INT8, .ranges = ranges};
    assert_int_equal(cz_net_finalise(net, &options), CZ_OK);
    free(identity), free(zero);
    return net;
}

static void check_int8(const int8_case *c)
{
    const shape *s = &c->s;
    const size_t count = out_count(s);
    const double unit = 1 / 32.0;
    float *in = malloc(in_count(s) * sizeof *in), *weights = hashed("w", weight_count(s), 0.2f);
    float *side = hashed("s", weight_count(s), 0.2f), *bias = hashed("b", s->co, 0.5f);
    double *codes = malloc(in_count(s) * sizeof *codes), *aside = malloc(count * sizeof *aside);
    double *want = malloc(count * sizeof *want);
    float ranges[VALUES] = {1, (float)(unit * (c->relu_first ? 255 : 127)), 4, 6, 1};
    for (size_t i = 0; i < in_count(s); i++) {
        const double level = rint(cz_hash_uniform(7, i) * (c->relu_first ? 255 : 127));
        in[i] = (float)(level * unit);
        codes[i] = c->relu_first && level < 0 ? 0 : level;
    }
    const double side_scale = 4 / (c->residual == 2 ? 255.0 : 127.0), scale = 6 / (c->relu ? 255.0 : 127.0);
    conv_codes(c, codes, unit, side, bias, NULL, 0, c->residual == 2, aside);
    if (c->coded || c->residual) /* a residual is in codes whatever the result is */
        for (size_t i = 0; i < count; i++) aside[i] = code(aside[i] / side_scale, c->residual == 2);
    conv_codes(c, codes, unit, weights, bias, c->residual ? aside : NULL, side_scale, c->relu, want);
    /* a code in doubt may fall either way; with signed sources some processors halve the weights (oneDNN), which is no
     * longer what is computed here */
    const bool exact = c->relu_first || cz_engine_native(CZ_PRECISION_INT8);
    const double unsure = c->residual ? side_scale * 1.001 : 1e-4;
    for (size_t threads = 1; threads <= 2; threads++) {
        cz_net_value out;
        cz_net *net = int8_net(c, weights, side, bias, ranges, threads, &out);
        size_t off = 0;
        assert_int_equal(cz_net_run(net, in), CZ_OK);
        const float *got = cz_net_output(net, out);
        for (size_t i = 0; i < count; i++) {
            const double seen = c->coded ? code(want[i] / scale, c->relu) * scale : want[i];
            const double difference = fabs(got[i] - seen);
            off += difference > 1e-4 + 1e-5 * fabs(seen);
            if (exact) assert_true(difference <= unsure + (c->coded ? scale * 1.001 : 1e-4));
        }
        if (exact) assert_true(off <= count / 100 + 1);
        if (!exact && !c->coded) assert_true(relative_error(got, want, count) < 0.02);
        cz_net_destroy(net);
    }
    free(in), free(weights), free(side), free(bias), free(codes), free(aside), free(want);
}

static void test_int8(void **state)
{
    (void)state;
    for (size_t i = 0; i < SHAPES; i++)
        for (int bits = 0; bits < 24; bits++)
            check_int8(&(int8_case){shapes[i], bits & 1, bits >> 3, (bits & 2) != 0, (bits & 4) != 0});
}

/* Full-range codes and weights: 16-bit sums of two products would saturate. */
static void test_int8_saturation(void **state)
{
    (void)state;
    const int8_case c = {{1, 6, 6, 64, 32, 3, 1, 1}, true, 0, false, false};
    const shape *s = &c.s;
    float *in = malloc(in_count(s) * sizeof *in), *weights = malloc(weight_count(s) * sizeof *weights);
    float *bias = hashed("b", s->co, 0.5f);
    double *codes = malloc(in_count(s) * sizeof *codes), *want = malloc(out_count(s) * sizeof *want);
    const float ranges[VALUES] = {1, 255, 1, 1, 1};
    for (size_t i = 0; i < in_count(s); i++) codes[i] = in[i] = 255;
    for (size_t i = 0; i < weight_count(s); i++) weights[i] = i / (s->ci * 9) % 2 ? -1 : 1;
    conv_codes(&c, codes, 1, weights, bias, NULL, 0, false, want);
    cz_net_value out;
    cz_net *net = int8_net(&c, weights, weights, bias, ranges, 1, &out);
    assert_int_equal(cz_net_run(net, in), CZ_OK);
    assert_true(relative_error(cz_net_output(net, out), want, out_count(s)) < 1e-5);
    cz_net_destroy(net);
    free(in), free(weights), free(bias), free(codes), free(want);
}

static void test_int8_needs_ranges(void **state)
{
    (void)state;
    float *weights = hashed("w", 16 * 16, 1), *bias = hashed("b", 16, 1);
    const float bad[3][3] = {{1, 0, 1}, {1, NAN, 1}, {1, INFINITY, 1}};
    for (size_t i = 0; i < 4; i++) {
        cz_net *net;
        cz_net_value input, middle, out;
        const cz_conv_desc desc = {16, 1, 1, 1, 0, weights, bias, true};
        assert_int_equal(cz_net_create(&net), CZ_OK);
        assert_int_equal(cz_net_input(net, 1, 4, 4, 16, &input), CZ_OK);
        assert_int_equal(cz_net_conv(net, input, CZ_NET_NONE, &desc, &middle), CZ_OK);
        assert_int_equal(cz_net_conv(net, middle, CZ_NET_NONE, &desc, &out), CZ_OK);
        assert_int_equal(cz_net_mark_output(net, out), CZ_OK);
        cz_net_options options = {.threads = 1, .precision = CZ_PRECISION_INT8, .ranges = i < 3 ? bad[i] : NULL};
        assert_int_equal(cz_net_finalise(net, &options), CZ_E_ARG);
        cz_error_clear();
        options.precision = CZ_PRECISION_FP32; /* a network that could not be finalised can be tried again */
        assert_int_equal(cz_net_finalise(net, &options), CZ_OK);
        cz_net_destroy(net);
    }
    free(weights), free(bias);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bf16), cmocka_unit_test(test_winograd),        cmocka_unit_test(test_winograd_refused),
        cmocka_unit_test(test_int8), cmocka_unit_test(test_int8_saturation), cmocka_unit_test(test_int8_needs_ranges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
