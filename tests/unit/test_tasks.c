/* SPDX-License-Identifier: Apache-2.0 */
#include "meta/tasks.h"
#include "util/reduce.h"
#include "util/rng.h"
#include "util/threads.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { WANTED = 16 };

/* Categories of 100, 10, 1, 0 and 3 images, mixed up. */
static void fill(uint32_t *category, size_t images)
{
    static const size_t sizes[] = {100, 10, 1, 0, 3};
    size_t at = 0;
    for (uint32_t c = 0; c < 5; c++)
        for (size_t i = 0; i < sizes[c]; i++) category[at++ * 7 % images] = c;
    assert_int_equal(at, images);
}

static void test_draw(void **state)
{
    (void)state;
    uint32_t category[114];
    size_t drawn[5] = {0};
    cz_task_pool pool;
    fill(category, 114);
    assert_int_equal(cz_task_pool_create(category, 114, 5, true, &pool), CZ_OK);
    for (uint64_t step = 0; step < 4000; step++) {
        size_t images[WANTED], again[WANTED], count, support, same, half;
        assert_int_equal(cz_task_draw(&pool, 5, step, 2, WANTED, images, &count, &support), CZ_OK);
        assert_int_equal(cz_task_draw(&pool, 5, step, 2, WANTED, again, &same, &half), CZ_OK);
        assert_true(same == count && half == support && memcmp(images, again, count * sizeof *images) == 0);
        assert_in_range(count, 2, WANTED);
        const size_t query = (size_t)(0.3 * (double)count);
        assert_int_equal(count - support, query > 0 ? query : 1);
        bool seen[114] = {false}, has[5] = {false};
        for (size_t i = 0; i < count; i++) {
            assert_in_range(images[i], 0, 113);
            assert_false(seen[images[i]]);
            seen[images[i]] = has[category[images[i]]] = true;
        }
        size_t kinds = 0;
        for (size_t c = 0; c < 5; c++) {
            kinds += has[c];
            drawn[c] += has[c];
        }
        assert_in_range(kinds, 1, 2);
        assert_false(has[3]); /* has no images */
    }
    /* equally likely whatever their size: 3/8 of the tasks each, and those of one image always come with another */
    for (size_t c = 0; c < 5; c++) {
        if (c == 3) continue;
        const double share = (double)drawn[c] / 4000.0;
        assert_true(share > 0.34 && share < 0.55);
    }
    cz_task_pool_free(&pool);
}

static void test_unbalanced(void **state)
{
    (void)state;
    uint32_t category[114];
    size_t images[WANTED], count, support, large = 0, small = 0;
    cz_task_pool pool;
    fill(category, 114);
    assert_int_equal(cz_task_pool_create(category, 114, 5, false, &pool), CZ_OK);
    for (uint64_t step = 0; step < 2000; step++) {
        assert_int_equal(cz_task_draw(&pool, 5, step, 0, WANTED, images, &count, &support), CZ_OK);
        bool has[5] = {false};
        for (size_t i = 0; i < count; i++) has[category[images[i]]] = true;
        large += has[0];
        small += has[4];
    }
    assert_true(large > 1800 && small < 500);
    cz_task_pool_free(&pool);
}

static void test_few(void **state)
{
    (void)state;
    size_t images[WANTED], count, support;
    cz_task_pool pool;
    assert_int_equal(cz_task_pool_create(NULL, 0, 1, true, &pool), CZ_E_NO_IMAGES);
    assert_int_equal(cz_task_pool_create((uint32_t[]){0, 3}, 2, 2, true, &pool), CZ_E_ARG);
    assert_int_equal(cz_task_pool_create(NULL, 1, 1, true, &pool), CZ_OK);
    assert_int_equal(cz_task_draw(&pool, 1, 0, 0, WANTED, images, &count, &support), CZ_E_NO_IMAGES);
    cz_task_pool_free(&pool);
    assert_int_equal(cz_task_pool_create((uint32_t[]){0, 1}, 2, 2, true, &pool), CZ_OK);
    for (uint64_t step = 0; step < 20; step++) {
        assert_int_equal(cz_task_draw(&pool, 1, step, 0, WANTED, images, &count, &support), CZ_OK);
        assert_true(count == 2 && support == 1 && images[0] + images[1] == 1);
    }
    cz_task_pool_free(&pool);
}

/* Against plain sums, at sizes around the blocks, and the same bits for one and two threads. */
static void test_sums(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 15, 17, 8191, 8192, 8193, 100003, 2097152, 2097153, 3000001};
    float *a = malloc(3000001 * sizeof *a), *b = malloc(3000001 * sizeof *b);
    cz_rng rng;
    cz_rng_init(&rng, 3, CZ_RNG_TEST, 0, 0);
    cz_rng_normal_fill(&rng, 0, a, 3000001, 1);
    cz_rng_init(&rng, 4, CZ_RNG_TEST, 0, 0);
    cz_rng_normal_fill(&rng, 0, b, 3000001, 1);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        double results[2][2], dot = 0, distance = 0;
        for (size_t threads = 1; threads <= 2; threads++) {
            cz_threads_scope scope;
            assert_int_equal(cz_threads_enter(threads, &scope), CZ_OK);
            results[threads - 1][0] = cz_dot(a, b, sizes[i]);
            results[threads - 1][1] = cz_distance2(a, b, sizes[i]);
            cz_threads_leave(&scope);
        }
        for (size_t j = 0; j < sizes[i]; j++) {
            dot += (double)a[j] * (double)b[j];
            distance += ((double)a[j] - (double)b[j]) * ((double)a[j] - (double)b[j]);
        }
        assert_memory_equal(results[0], results[1], sizeof results[0]);
        assert_true(fabs(results[0][0] - dot) <= 1e-9 * (1 + (double)sizes[i]));
        assert_true(fabs(results[0][1] - distance) <= 1e-12 * (1 + distance));
    }
    free(a);
    free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_draw),
        cmocka_unit_test(test_unbalanced),
        cmocka_unit_test(test_few),
        cmocka_unit_test(test_sums),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
