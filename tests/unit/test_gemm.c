/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/engine.h"
#include "tensor/bf16.h"
#include "tensor/dtype.h"
#include "util/alloc.h"
#include "util/rng.h"
#include "util/threads.h"

#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef struct matrix {
    float *values;    /* as stored */
    uint16_t *narrow; /* the same rounded */
    cz_gemm_operand operand;
} matrix;

/* op(O) is [rows, columns]. */
static matrix make(const char *name, size_t rows, size_t columns, bool trans, bool bf16)
{
    matrix m;
    const size_t high = trans ? columns : rows, stride = (trans ? rows : columns) + 3;
    const uint64_t hash = cz_name_hash(name, 0);
    m.values = malloc(high * stride * sizeof *m.values);
    m.narrow = malloc(high * stride * sizeof *m.narrow);
    for (size_t i = 0; i < high * stride; i++) {
        m.values[i] = i % stride < stride - 3 ? cz_hash_uniform(hash, i) : NAN; /* beyond a row: never read */
        m.narrow[i] = cz_f32_to_bf16(m.values[i]);
    }
    m.operand = (cz_gemm_operand){bf16 ? (const void *)m.narrow : (const void *)m.values, stride, trans, bf16};
    return m;
}

static void drop(matrix *m)
{
    free(m->values);
    free(m->narrow);
}

static double at(const matrix *m, size_t row, size_t column)
{
    const size_t stride = m->operand.stride;
    return (double)cz_bf16_to_f32(m->narrow[m->operand.trans ? column * stride + row : row * stride + column]);
}

typedef struct taken {
    const cz_gemm_desc *desc;
    float *whole; /* [m, n], filled block by block */
    size_t next;
} taken;

static void take(void *ctx, size_t first, size_t count)
{
    taken *t = ctx;
    const cz_gemm_desc *d = t->desc;
    assert_int_equal(first, t->next);
    assert_true(count > 0 && count <= d->block);
    assert_false(omp_in_parallel());
    const float *from = d->c + (d->c_is_block ? 0 : first * d->ldc);
    for (size_t r = 0; r < count; r++) memcpy(t->whole + (first + r) * d->n, from + r * d->ldc, d->n * sizeof(float));
    t->next = first + count;
}

static void compare(const cz_gemm_desc *d, const matrix *a, const matrix *b, const float *before, const float *got,
                    size_t ldc)
{
    for (size_t i = 0; i < d->m; i++)
        for (size_t j = 0; j < d->n; j++) {
            double sum = 0, size = 0;
            for (size_t l = 0; l < d->k; l++) {
                const double product = at(a, i, l) * at(b, l, j);
                sum += product;
                size += fabs(product);
            }
            const double old = d->beta != 0 ? (double)d->beta * (double)before[i * d->ldc + j] : 0;
            const double want = (double)d->alpha * sum + old;
            assert_true(fabs((double)got[i * ldc + j] - want) <= 1e-6 * (fabs((double)d->alpha) * size + fabs(old)));
        }
}

/* One shape and form against sums in double of the rounded operands. */
static void check_product(cz_gemm *gemm, const size_t size[3], unsigned form, float alpha, float beta)
{
    const size_t m = size[0], n = size[1], k = size[2], ldc = n + 2;
    matrix a = make("a", m, k, form & 1, form & 4), b = make("b", k, n, form & 2, form & 8);
    float *c = malloc(m * ldc * sizeof *c), *before = malloc(m * ldc * sizeof *before);
    float *whole = malloc(m * n * sizeof *whole);
    const uint64_t hash = cz_name_hash("c", 0);
    for (size_t i = 0; i < m * ldc; i++) c[i] = before[i] = beta == 0 ? NAN : cz_hash_uniform(hash, i);
    cz_gemm_desc desc = {
        .m = m, .n = n, .k = k, .alpha = alpha, .beta = beta, .a = a.operand, .b = b.operand, .c = c, .ldc = ldc};
    assert_int_equal(cz_engine_gemm(gemm, &desc), CZ_OK);
    compare(&desc, &a, &b, before, c, ldc);
    for (size_t i = 0; i < m * ldc; i++) /* beyond a row: untouched */
        if (i % ldc >= n) assert_memory_equal(c + i, before + i, sizeof *c);

    taken t = {&desc, whole, 0};
    desc.done = take;
    desc.ctx = &t;
    desc.block = 16;
    memcpy(c, before, m * ldc * sizeof *c);
    assert_int_equal(cz_engine_gemm(gemm, &desc), CZ_OK);
    assert_int_equal(t.next, m);
    compare(&desc, &a, &b, before, whole, n);
    if (beta == 0) {
        desc.c_is_block = true;
        t.next = 0;
        memset(whole, 0xff, m * n * sizeof *whole);
        assert_int_equal(cz_engine_gemm(gemm, &desc), CZ_OK);
        assert_int_equal(t.next, m);
        compare(&desc, &a, &b, before, whole, n);
    }
    drop(&a);
    drop(&b);
    free(c), free(before), free(whole);
}

static void test_against_double(void **state)
{
    (void)state;
    static const size_t sizes[][3] = {{1, 1, 1},  {5, 7, 3},      {33, 17, 65}, {1, 96, 40},
                                      {70, 1, 9}, {20, 24, 2500}, {9, 13, 4100}};
    cz_gemm *gemm;
    assert_int_equal(cz_engine_gemm_create(&gemm), CZ_OK);
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
        for (unsigned form = 0; form < 16; form++) {
            check_product(gemm, sizes[s], form, 1, 0);
            check_product(gemm, sizes[s], form, 2, 0.5f);
            check_product(gemm, sizes[s], form, 1, 1);
        }
    assert_true(cz_engine_gemm_memory(gemm) > 0);
    cz_engine_gemm_destroy(gemm);
}

/* The shapes of training, in their forms: many blocks of rows, packed weights, accumulation; two thread counts agree. */
static void test_large(void **state)
{
    (void)state;
    enum { M = 1300, N = 48, K = 96 };
    cz_gemm *gemm;
    assert_int_equal(cz_engine_gemm_create(&gemm), CZ_OK);
    matrix a = make("a", M, K, false, true), b = make("b", K, N, true, false);
    float *c[2] = {malloc((size_t)M * N * sizeof(float)), malloc((size_t)M * N * sizeof(float))};
    for (size_t threads = 1; threads <= 2; threads++) {
        cz_threads_scope scope;
        assert_int_equal(cz_threads_enter(threads, &scope), CZ_OK);
        const cz_gemm_desc desc = {
            .m = M, .n = N, .k = K, .alpha = 1, .a = a.operand, .b = b.operand, .c = c[threads - 1], .ldc = N};
        assert_int_equal(cz_engine_gemm(gemm, &desc), CZ_OK);
        cz_threads_leave(&scope);
        compare(&desc, &a, &b, NULL, c[threads - 1], N);
    }
    for (size_t i = 0; i < (size_t)M * N; i++) assert_true(fabsf(c[0][i] - c[1][i]) <= 1e-5f);
    drop(&a);
    drop(&b);
    free(c[0]), free(c[1]);
    cz_engine_gemm_destroy(gemm);
}

static void test_refusals(void **state)
{
    (void)state;
    cz_gemm *gemm;
    float a[12] = {0}, b[12] = {0}, c[12] = {0};
    assert_int_equal(cz_engine_gemm_create(&gemm), CZ_OK);
    const cz_gemm_desc good = {
        .m = 2, .n = 3, .k = 4, .alpha = 1, .a = {a, 4, false, false}, .b = {b, 3, false, false}, .c = c, .ldc = 3};
    cz_gemm_desc d = good;
    assert_int_equal(cz_engine_gemm(gemm, &d), CZ_OK);
    d.a.stride = 3;
    assert_int_equal(cz_engine_gemm(gemm, &d), CZ_E_ARG);
    d = good;
    d.b.trans = true;
    assert_int_equal(cz_engine_gemm(gemm, &d), CZ_E_ARG);
    d = good;
    d.ldc = 2;
    assert_int_equal(cz_engine_gemm(gemm, &d), CZ_E_ARG);
    d = good;
    d.k = 0;
    assert_int_equal(cz_engine_gemm(gemm, &d), CZ_E_ARG);
    d = good;
    d.c_is_block = true;
    assert_int_equal(cz_engine_gemm(gemm, &d), CZ_E_ARG);
    d = good;
    d.m = 0;
    assert_int_equal(cz_engine_gemm(gemm, &d), CZ_OK);
    cz_status inside = CZ_OK;
#pragma omp parallel num_threads(2)
#pragma omp single
    inside = cz_engine_gemm(gemm, &good);
    assert_int_equal(inside, CZ_E_ARG);
    cz_engine_gemm_destroy(gemm);
    cz_engine_gemm_destroy(NULL);
}

/* Out of memory anywhere is an error and leaves an object that works. */
static void test_out_of_memory(void **state)
{
    (void)state;
    enum { M = 40, N = 24, K = 33 };
    matrix a = make("a", M, K, true, false), b = make("b", K, N, false, false);
    float c[M * N];
    const cz_gemm_desc desc = {.m = M, .n = N, .k = K, .alpha = 1, .a = a.operand, .b = b.operand, .c = c, .ldc = N};
    cz_status status = CZ_E_MEMORY;
    for (unsigned long n = 1; status != CZ_OK; n++) {
        cz_gemm *gemm = NULL;
        assert_true(n < 20);
        cz_alloc_fail_after(n);
        status = cz_engine_gemm_create(&gemm);
        if (status == CZ_OK) status = cz_engine_gemm(gemm, &desc);
        cz_alloc_fail_after(0);
        assert_true(status == CZ_OK || status == CZ_E_MEMORY);
        if (gemm) assert_int_equal(cz_engine_gemm(gemm, &desc), CZ_OK);
        cz_engine_gemm_destroy(gemm);
    }
    drop(&a);
    drop(&b);
}

/* ---- rounding ---------------------------------------------------------------------------------------------------- */

static void test_rounding(void **state)
{
    (void)state;
    enum { COUNT = 40000 };
    float *values = malloc(COUNT * sizeof *values), *wide = malloc(COUNT * sizeof *wide);
    uint16_t *narrow = malloc(COUNT * sizeof *narrow);
    const float edges[] = {0.0f,    -0.0f,  INFINITY,    -INFINITY,   NAN,         -NAN,
                           3.4e38f, 1e-45f, 1.00390625f, 1.01171875f, 1.005859375f};
    for (size_t i = 0; i < COUNT; i++) { /* all sorts of bits */
        const uint32_t bits = (uint32_t)i * 2654435761u;
        memcpy(values + i, &bits, sizeof bits);
    }
    memcpy(values, edges, sizeof edges);
    cz_bf16_round(values, COUNT, narrow);
    for (size_t i = 0; i < COUNT; i++) assert_int_equal(narrow[i], cz_f32_to_bf16(values[i]));
    cz_bf16_widen_run(narrow, COUNT, wide);
    for (size_t i = 0; i < COUNT; i++) {
        const float want = cz_bf16_to_f32(narrow[i]);
        assert_memory_equal(wide + i, &want, sizeof want);
    }
    free(values), free(wide), free(narrow);
}

static void test_turning(void **state)
{
    (void)state;
    static const size_t sizes[][2] = {{1, 1}, {31, 15}, {32, 16}, {33, 17}, {100, 300}, {65, 129}};
    for (size_t s = 0; s < 6 * 2; s++) {
        const size_t rows = sizes[s / 2][0], columns = sizes[s / 2][1];
        const bool bf16 = s & 1;
        matrix m = make("m", rows, columns, false, bf16);
        uint16_t *out = malloc(rows * columns * sizeof *out), *turned = malloc(columns * (rows + 7) * sizeof *turned);
        const cz_bf16_source source = {m.operand.values, rows, columns, m.operand.stride, bf16};
        cz_bf16_pack(&source, true, out);
        for (size_t i = 0; i < rows * columns; i++)
            assert_int_equal(out[i], m.narrow[i % rows * m.operand.stride + i / rows]);
        cz_bf16_pack(&source, false, out);
        for (size_t i = 0; i < rows * columns; i++)
            assert_int_equal(out[i], m.narrow[i / columns * m.operand.stride + i % columns]);
        memset(turned, 0x11, columns * (rows + 7) * sizeof *turned);
        cz_bf16_turn_run(m.values, m.operand.stride, rows, columns, turned, rows + 7);
        for (size_t i = 0; i < columns * (rows + 7); i++) {
            const size_t c = i / (rows + 7), r = i % (rows + 7);
            assert_int_equal(turned[i], r < rows ? m.narrow[r * m.operand.stride + c] : 0x1111);
        }
        free(out), free(turned);
        drop(&m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_double), cmocka_unit_test(test_large),    cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_out_of_memory),  cmocka_unit_test(test_rounding), cmocka_unit_test(test_turning),
    };
    return cmocka_run_group_tests_name("gemm", tests, NULL, NULL);
}
