/* SPDX-License-Identifier: Apache-2.0 */
/* Packed weights: shared, exported and used in place, refused where they do not suit, tampered with; outputs in bf16; thread
 * counts; and every allocation failing once, in each precision. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/engine.h"
#include "tensor/dtype.h"
#include "util/alloc.h"
#include "util/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE = 12, CHANNELS = 32, CONVS = 4, OUTPUTS = SIDE / 2 * (SIDE / 2) * CHANNELS };

typedef struct fixture {
    float *in, *bias, *weights[CONVS];
} fixture;

static const cz_precision precisions[] = {CZ_PRECISION_FP32, CZ_PRECISION_FP32_WINOGRAD, CZ_PRECISION_BF16,
                                          CZ_PRECISION_INT8};
enum { PRECISIONS = sizeof precisions / sizeof *precisions };

static bool has(cz_precision precision)
{
    return precision != CZ_PRECISION_BF16 || cz_engine_native(CZ_PRECISION_FP32_WINOGRAD);
}

static float *hashed(const char *name, size_t count, float scale)
{
    float *out = malloc(count * sizeof *out);
    assert_non_null(out);
    for (size_t i = 0; i < count; i++) out[i] = scale * cz_hash_uniform(cz_name_hash(name, 0), i);
    return out;
}

static int setup(void **state)
{
    static const char *const names[CONVS] = {"a", "b", "c", "d"};
    fixture *f = calloc(1, sizeof *f);
    f->in = hashed("in", SIDE * SIDE * 3, 1);
    f->bias = hashed("bias", CHANNELS, 0.2f);
    for (size_t i = 0; i < CONVS; i++) f->weights[i] = hashed(names[i], CHANNELS * CHANNELS * 9, i ? 0.15f : 0.4f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;
    for (size_t i = 0; i < CONVS; i++) free(f->weights[i]);
    free(f->in), free(f->bias), free(f);
    return 0;
}

/* Nodes only: a stem, a pool, and a block of three with a residual; its middle and its end are marked. */
static cz_status build(const fixture *f, bool bare, size_t channels, cz_net **net, cz_net_value out[2])
{
    static const size_t kernel[CONVS] = {3, 3, 3, 1};
    cz_net_value v, first = 0;
    cz_status status = cz_net_create(net);
    if (status == CZ_OK) status = cz_net_input(*net, 1, SIDE, SIDE, 3, &v);
    for (size_t i = 0; i < CONVS && status == CZ_OK; i++) {
        const cz_conv_desc desc = {.out_channels = channels,
                                   .kernel_h = kernel[i],
                                   .kernel_w = kernel[i],
                                   .stride = 1,
                                   .pad = kernel[i] / 2,
                                   .weights = bare ? NULL : f->weights[i],
                                   .bias = bare ? NULL : f->bias,
                                   .relu = i != 2};
        const cz_pool_desc pool = {3, 2, 1, 0, 0};
        status = cz_net_conv(*net, v, i == 3 ? first : CZ_NET_NONE, &desc, &v);
        if (i == 0 && status == CZ_OK) status = cz_net_max_pool(*net, v, &pool, &v);
        if (i == 1 || i == 3) out[i / 2] = v;
        if (i == 1) first = v;
    }
    for (size_t i = 0; i < 2 && status == CZ_OK; i++) status = cz_net_mark_output(*net, out[i]);
    return status;
}

/* Values: input, stem, pool, and the three convolutions behind it. */
static const float ranges[CONVS + 2] = {1, 3, 3, 4, 5, 5};

static cz_status finalise(cz_net *net, cz_precision precision, size_t threads, bool bf16_outputs, cz_packed *packed)
{
    const cz_net_options options = {threads, precision, ranges, bf16_outputs, packed};
    return cz_net_finalise(net, &options);
}

static cz_net *whole(const fixture *f, cz_precision precision, size_t threads, bool bf16_outputs, cz_packed *packed,
                     cz_net_value out[2])
{
    cz_net *net;
    assert_int_equal(build(f, false, CHANNELS, &net, out), CZ_OK);
    assert_int_equal(finalise(net, precision, threads, bf16_outputs, packed), CZ_OK);
    assert_int_equal(cz_net_run(net, f->in), CZ_OK);
    return net;
}

static cz_status bare(const fixture *f, cz_precision precision, size_t channels, cz_packed *packed, cz_net **net,
                      cz_net_value out[2])
{
    assert_int_equal(build(f, true, channels, net, out), CZ_OK);
    return finalise(*net, precision, 1, false, packed);
}

static void count_release(void *ctx)
{
    ++*(int *)ctx;
}

/* A copy of a block, as from a file. */
static unsigned char *exported(const cz_packed *packed, size_t *size)
{
    const void *bytes = cz_packed_bytes(packed, size);
    unsigned char *copy = aligned_alloc(64, (*size + 63) / 64 * 64);
    assert_non_null(copy);
    memcpy(copy, bytes, *size);
    return copy;
}

static void test_share_and_export(void **state)
{
    const fixture *f = *state;
    for (size_t p = 0; p < PRECISIONS; p++) {
        cz_net *a, *b, *c;
        cz_net_value out[2];
        cz_packed *packed;
        size_t size;
        int released = 0;
        if (!has(precisions[p])) continue;
        a = whole(f, precisions[p], 1, false, NULL, out);
        unsigned char *bytes = exported(cz_net_packed(a), &size);
        assert_int_equal(cz_packed_from_bytes(bytes, size, count_release, &released, &packed), CZ_OK);
        b = whole(f, precisions[p], 1, false, cz_net_packed(a), out); /* layouts may depend on the thread count */
        assert_ptr_equal(cz_net_packed(b), cz_net_packed(a));
        assert_int_equal(bare(f, precisions[p], CHANNELS, packed, &c, out), CZ_OK);
        assert_ptr_equal(cz_net_packed(c), packed);
        cz_packed_release(packed);
        assert_int_equal(cz_net_run(c, f->in), CZ_OK);
        for (size_t i = 0; i < 2; i++)
            assert_memory_equal(cz_net_output(c, out[i]), cz_net_output(a, out[i]), OUTPUTS * sizeof(float));
        assert_true(cz_net_memory(c) >= size);
        cz_net_destroy(a);
        assert_int_equal(cz_net_run(b, f->in), CZ_OK);
        assert_memory_equal(cz_net_output(b, out[0]), cz_net_output(c, out[0]), OUTPUTS * sizeof(float));
        cz_net_destroy(b);
        assert_int_equal(released, 0);
        cz_net_destroy(c);
        assert_int_equal(released, 1);
        free(bytes);
    }
    cz_packed_release(NULL);
}

/* The same weights give the same bytes. */
static void test_deterministic(void **state)
{
    const fixture *f = *state;
    for (size_t p = 0; p < PRECISIONS; p++) {
        cz_net_value out[2];
        size_t x, y;
        if (!has(precisions[p])) continue;
        cz_net *a = whole(f, precisions[p], 1, false, NULL, out), *b = whole(f, precisions[p], 1, false, NULL, out);
        const void *left = cz_packed_bytes(cz_net_packed(a), &x), *right = cz_packed_bytes(cz_net_packed(b), &y);
        assert_int_equal(x, y);
        assert_memory_equal(left, right, x);
        cz_net_destroy(a);
        cz_net_destroy(b);
    }
}

static void test_not_suited(void **state)
{
    const fixture *f = *state;
    cz_net_value out[2];
    cz_net *fp32 = whole(f, CZ_PRECISION_FP32, 1, false, NULL, out), *net;
    /* no weights at all */
    assert_int_equal(bare(f, CZ_PRECISION_FP32, CHANNELS, NULL, &net, out), CZ_E_ARG);
    cz_error_clear();
    cz_net_destroy(net);
    /* another number of channels */
    assert_int_equal(bare(f, CZ_PRECISION_FP32, CHANNELS / 2, cz_net_packed(fp32), &net, out), CZ_E_WEIGHTS);
    cz_error_clear();
    cz_net_destroy(net);
    /* another precision: packed anew where there are weights */
    assert_int_equal(bare(f, CZ_PRECISION_INT8, CHANNELS, cz_net_packed(fp32), &net, out), CZ_E_WEIGHTS);
    cz_error_clear();
    cz_net_destroy(net);
    net = whole(f, CZ_PRECISION_INT8, 1, false, cz_net_packed(fp32), out);
    assert_ptr_not_equal(cz_net_packed(net), cz_net_packed(fp32));
    cz_net *again = whole(f, CZ_PRECISION_INT8, 1, false, NULL, out);
    assert_memory_equal(cz_net_output(net, out[1]), cz_net_output(again, out[1]), OUTPUTS * sizeof(float));
    cz_net_destroy(again);
    cz_net_destroy(net);
    /* another number of convolutions */
    cz_net_value input, value;
    const cz_conv_desc desc = {.out_channels = CHANNELS, .kernel_h = 3, .kernel_w = 3, .stride = 1, .pad = 1};
    assert_int_equal(cz_net_create(&net), CZ_OK);
    assert_int_equal(cz_net_input(net, 1, SIDE, SIDE, 3, &input), CZ_OK);
    assert_int_equal(cz_net_conv(net, input, CZ_NET_NONE, &desc, &value), CZ_OK);
    assert_int_equal(cz_net_mark_output(net, value), CZ_OK);
    assert_int_equal(finalise(net, CZ_PRECISION_FP32, 1, false, cz_net_packed(fp32)), CZ_E_WEIGHTS);
    cz_error_clear();
    cz_net_destroy(net);
    cz_net_destroy(fp32);
}

/* A bit of every byte of header and table flipped: refused on reading, or found unsuited, or (in an offset that still lies
 * inside, or a shape that nothing was verified with) used for what it is; never a crash. Then every cut of the file. */
static void test_tampered(void **state)
{
    const fixture *f = *state;
    for (size_t p = 0; p < PRECISIONS; p += 3) {
        cz_net_value out[2];
        size_t size, refused = 0, unsuited = 0, used = 0;
        cz_packed *packed;
        cz_net *net, *a = whole(f, precisions[p], 1, false, NULL, out);
        unsigned char *bytes = exported(cz_net_packed(a), &size);
        uint32_t record;
        memcpy(&record, bytes + 12, sizeof record); /* magic, version, then the bytes of a record */
        for (size_t at = 0; at < 64 + CONVS * record; at++) {
            const unsigned bit = 1u << (at * 5 % 8);
            bytes[at] ^= (unsigned char)bit;
            if (cz_packed_from_bytes(bytes, size, NULL, NULL, &packed) != CZ_OK) {
                refused++;
            } else {
                const cz_status status = bare(f, precisions[p], CHANNELS, packed, &net, out);
                assert_true(status == CZ_OK || status == CZ_E_WEIGHTS);
                if (status == CZ_OK) assert_int_equal(cz_net_run(net, f->in), CZ_OK);
                *(status == CZ_OK ? &used : &unsuited) += 1;
                cz_packed_release(packed);
                cz_net_destroy(net);
            }
            cz_error_clear();
            bytes[at] ^= (unsigned char)bit;
        }
        /* all of the header; all of each descriptor; offsets may go either way */
        assert_true(refused >= 64 && unsuited >= CONVS * sizeof(uint64_t) && used < CONVS * 96);
        for (size_t cut = 0; cut < size; cut += cut < 4096 ? 1 : 997) {
            assert_int_equal(cz_packed_from_bytes(bytes, cut, NULL, NULL, &packed), CZ_E_FORMAT);
            cz_error_clear();
        }
        assert_int_equal(cz_packed_from_bytes(bytes + 8, size - 8, NULL, NULL, &packed), CZ_E_ARG);
        cz_error_clear();
        memset(bytes + 64, 0xff, CONVS * record);
        assert_int_equal(cz_packed_from_bytes(bytes, size, NULL, NULL, &packed), CZ_E_FORMAT);
        cz_error_clear();
        cz_net_destroy(a);
        free(bytes);
    }
}

/* In fp32 the bf16 outputs are the F32 ones, rounded; in bf16 nothing is lost; in int8 the last is written from its own
 * sums. */
static void test_bf16_outputs(void **state)
{
    const fixture *f = *state;
    for (size_t p = 0; p < PRECISIONS; p++) {
        cz_net_value out[2];
        if (!has(precisions[p])) continue;
        cz_net *wide = whole(f, precisions[p], 1, false, NULL, out),
               *narrow = whole(f, precisions[p], 1, true, NULL, out);
        for (size_t i = 0; i < 2; i++) {
            const float *want = cz_net_output(wide, out[i]);
            const uint16_t *got = cz_net_output_bf16(narrow, out[i]);
            assert_non_null(want);
            assert_non_null(got);
            assert_null(cz_net_output_bf16(wide, out[i]));
            assert_null(cz_net_output(narrow, out[i]));
            for (size_t j = 0; j < OUTPUTS; j++) {
                if (precisions[p] != CZ_PRECISION_INT8 || i == 0)
                    assert_int_equal(got[j], cz_f32_to_bf16(want[j]));
                else /* its residual was added before the rounding, in bf16 */
                    assert_true(fabsf(cz_bf16_to_f32(got[j]) - want[j]) <= 0.005f * (fabsf(want[j]) + 4));
            }
        }
        cz_net_destroy(wide);
        cz_net_destroy(narrow);
    }
}

static void test_threads(void **state)
{
    const fixture *f = *state;
    for (size_t p = 0; p < PRECISIONS; p++) {
        cz_net_value out[2];
        if (!has(precisions[p])) continue;
        cz_net *one = whole(f, precisions[p], 1, false, NULL, out);
        for (size_t threads = 2; threads <= 4; threads++) {
            cz_net *net = whole(f, precisions[p], threads, false, NULL, out);
            for (size_t i = 0; i < 2; i++) {
                const float *a = cz_net_output(one, out[i]), *b = cz_net_output(net, out[i]);
                double difference = 0, norm = 0;
                for (size_t j = 0; j < OUTPUTS; j++) {
                    difference += pow((double)a[j] - (double)b[j], 2);
                    norm += pow((double)a[j], 2);
                }
                assert_true(norm > 0 && sqrt(difference / norm) <= 1e-5);
            }
            cz_net_destroy(net);
        }
        cz_net_destroy(one);
    }
}

/* What is lost against fp32, so that a precision that computes something else altogether is seen; the ranges are guesses. */
static void test_close_to_fp32(void **state)
{
    static const double bound[PRECISIONS] = {0, 1e-5, 1e-2, 0.12};
    const fixture *f = *state;
    cz_net_value out[2];
    cz_net *fp32 = whole(f, CZ_PRECISION_FP32, 1, false, NULL, out);
    for (size_t p = 1; p < PRECISIONS; p++) {
        if (!has(precisions[p])) continue;
        cz_net *net = whole(f, precisions[p], 1, false, NULL, out);
        for (size_t i = 0; i < 2; i++) {
            const float *a = cz_net_output(fp32, out[i]), *b = cz_net_output(net, out[i]);
            double difference = 0, norm = 0;
            for (size_t j = 0; j < OUTPUTS; j++) {
                difference += pow((double)a[j] - (double)b[j], 2);
                norm += pow((double)a[j], 2);
            }
            if (sqrt(difference / norm) > bound[p]) print_error("%zu: %g\n", p, sqrt(difference / norm));
            assert_true(sqrt(difference / norm) <= bound[p]);
        }
        cz_net_destroy(net);
    }
    cz_net_destroy(fp32);
}

static void test_out_of_memory(void **state)
{
    const fixture *f = *state;
    for (size_t p = 0; p < PRECISIONS; p++) {
        if (!has(precisions[p])) continue;
        for (unsigned long n = 1;; n++) {
            cz_net *net = NULL;
            cz_net_value out[2];
            cz_alloc_fail_after(n);
            cz_status status = build(f, false, CHANNELS, &net, out);
            if (status == CZ_OK) status = finalise(net, precisions[p], 1, true, NULL);
            cz_alloc_fail_after(0);
            cz_net_destroy(net);
            if (status == CZ_OK) break;
            assert_int_equal(status, CZ_E_MEMORY);
            cz_error_clear();
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_share_and_export), cmocka_unit_test(test_deterministic),
        cmocka_unit_test(test_not_suited),       cmocka_unit_test(test_tampered),
        cmocka_unit_test(test_bf16_outputs),     cmocka_unit_test(test_threads),
        cmocka_unit_test(test_close_to_fp32),    cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
