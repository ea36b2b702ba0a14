/* SPDX-License-Identifier: Apache-2.0 */
/* Matrix products with a packed right side in bf16 and 8 bits against plain loops in double. (fp32: test_engine.c) */
#include "engine/engine.h"
#include "tensor/dtype.h"
#include "util/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef struct problem {
    size_t m, n, k;
    bool b_is_nk, with_bias;
    float *b, *bias, *c;
    void *a;
    double *expected;
} problem;

static double b_at(const problem *p, size_t row, size_t column)
{
    return (double)p->b[p->b_is_nk ? column * p->k + row : row * p->n + column];
}

/* a: bf16 values, or bytes of which 255 stands for `range` */
static problem make(size_t seed, cz_precision precision, float range)
{
    static const size_t sizes[][3] = {{1, 1, 1},      {16, 64, 64}, {7, 33, 129}, {64, 256, 192},
                                      {128, 100, 77}, {5, 16, 3},   {96, 70, 768}};
    const size_t *size = sizes[seed % (sizeof sizes / sizeof *sizes)];
    problem p = {.m = size[0], .n = size[1], .k = size[2], .b_is_nk = seed & 1, .with_bias = seed & 2};
    p.b = malloc(p.n * p.k * sizeof *p.b);
    p.bias = malloc(p.n * sizeof *p.bias);
    p.c = malloc(p.m * p.n * sizeof *p.c);
    p.a = malloc(p.m * p.k * sizeof(uint16_t));
    p.expected = calloc(p.m * p.n, sizeof *p.expected);
    for (size_t i = 0; i < p.n * p.k; i++) p.b[i] = cz_hash_uniform(seed, i) * 0.3f;
    for (size_t i = 0; i < p.n; i++) p.bias[i] = cz_hash_uniform(seed + 100, i);
    for (size_t i = 0; i < p.m * p.k; i++) {
        const float v = cz_hash_uniform(seed + 200, i);
        if (precision == CZ_PRECISION_BF16)
            ((uint16_t *)p.a)[i] = cz_f32_to_bf16(v);
        else
            ((uint8_t *)p.a)[i] = (uint8_t)lrintf(255 * fabsf(v));
    }
    for (size_t i = 0; i < p.m; i++)
        for (size_t j = 0; j < p.n; j++) {
            double sum = p.with_bias ? (double)p.bias[j] : 0.0;
            for (size_t l = 0; l < p.k; l++) {
                const double a = precision == CZ_PRECISION_BF16
                                     ? (double)cz_bf16_to_f32(((uint16_t *)p.a)[i * p.k + l])
                                     : (double)((uint8_t *)p.a)[i * p.k + l] * (double)range / 255.0;
                sum += a * b_at(&p, l, j);
            }
            p.expected[i * p.n + j] = sum;
        }
    return p;
}

static void drop(problem *p)
{
    free(p->a);
    free(p->b);
    free(p->bias);
    free(p->c);
    free(p->expected);
}

/* Root mean square difference over root mean square of the result; -1 where the library cannot do it here. */
static double run(problem *p, cz_precision precision, size_t threads, float range)
{
    const cz_matmul_desc desc = {p->m,    p->n,      p->k, p->b, p->b_is_nk, p->with_bias ? p->bias : NULL,
                                 threads, precision, range};
    cz_matmul *mm;
    const cz_status status = cz_engine_matmul_create(&desc, &mm);
    if (status == CZ_E_UNSUPPORTED && precision == CZ_PRECISION_BF16) return -1;
    assert_int_equal(status, CZ_OK);
    assert_true(cz_engine_matmul_memory(mm) >= p->n * p->k);
    double error = 0, size = 0;
    for (int again = 0; again < 2; again++) {
        for (size_t i = 0; i < p->m * p->n; i++) p->c[i] = NAN;
        assert_int_equal(cz_engine_matmul_run(mm, p->a, p->c), CZ_OK);
    }
    for (size_t i = 0; i < p->m * p->n; i++) {
        error += pow((double)p->c[i] - p->expected[i], 2);
        size += pow(p->expected[i], 2);
    }
    cz_engine_matmul_destroy(mm);
    return sqrt(error / size);
}

static void bf16(void **state)
{
    (void)state;
    double worst = 0;
    for (size_t seed = 0; seed < 28; seed++) {
        problem p = make(seed, CZ_PRECISION_BF16, 0);
        const double error = run(&p, CZ_PRECISION_BF16, 1 + seed % 3, 0);
        drop(&p);
        if (error < 0) {
            print_message("bf16: not on this processor\n");
            return;
        }
        if (error > worst) worst = error;
        assert_true(error <= 6e-3); /* B is rounded to 8 bits of mantissa */
    }
    print_message("bf16: largest relative error %.2e\n", worst);
}

static void int8(void **state)
{
    (void)state;
    double worst = 0;
    for (size_t seed = 0; seed < 28; seed++) {
        const float range = 0.5f + (float)seed;
        problem p = make(seed, CZ_PRECISION_INT8, range);
        const double error = run(&p, CZ_PRECISION_INT8, 1 + seed % 3, range);
        if (error > worst) worst = error;
        assert_true(error <= 1.5e-2); /* columns in steps of 1/127 of their largest, 1/63 without VNNI */
        drop(&p);
    }
    print_message("int8: largest relative error %.2e\n", worst);
}

/* The largest bytes against the largest weights of one sign: 16-bit intermediates must not saturate. */
static void int8_extremes(void **state)
{
    (void)state;
    enum { M = 20, N = 32, K = 512 };
    static uint8_t a[M * K];
    static float b[K * N], c[M * N];
    memset(a, 255, sizeof a);
    for (size_t i = 0; i < K * N; i++) b[i] = i % 2 ? -1.5f : 1.5f; /* [K, N]: whole columns of one sign */
    const cz_matmul_desc desc = {M, N, K, b, false, NULL, 1, CZ_PRECISION_INT8, 1.0f};
    cz_matmul *mm;
    assert_int_equal(cz_engine_matmul_create(&desc, &mm), CZ_OK);
    assert_int_equal(cz_engine_matmul_run(mm, a, c), CZ_OK);
    for (size_t i = 0; i < M * N; i++) assert_true(fabsf(c[i] - (i % 2 ? -768.0f : 768.0f)) <= 1e-2f);
    cz_engine_matmul_destroy(mm);
}

static void bad_arguments(void **state)
{
    (void)state;
    const float b[4] = {1, 0, 0, 1};
    cz_matmul *mm = NULL;
    cz_matmul_desc desc = {2, 2, 2, b, false, NULL, 1, CZ_PRECISION_INT8, 0};
    assert_int_equal(cz_engine_matmul_create(&desc, &mm), CZ_E_ARG);
    desc.a_range = INFINITY;
    assert_int_equal(cz_engine_matmul_create(&desc, &mm), CZ_E_ARG);
    desc.precision = CZ_PRECISION_AUTO;
    assert_int_equal(cz_engine_matmul_create(&desc, &mm), CZ_E_ARG);
    desc.precision = CZ_PRECISION_BF16;
    desc.k = 0;
    assert_int_equal(cz_engine_matmul_create(&desc, &mm), CZ_E_ARG);
    assert_null(mm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bf16),
        cmocka_unit_test(int8),
        cmocka_unit_test(int8_extremes),
        cmocka_unit_test(bad_arguments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
