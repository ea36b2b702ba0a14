/* SPDX-License-Identifier: Apache-2.0 */
/* The greedy selection against its definition. */
#include "api/coreset.h"
#include "util/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static double distance2(const float *a, const float *b, size_t width)
{
    double sum = 0;
    for (size_t i = 0; i < width; i++) sum += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    return sum;
}

/* By the definition: every point against every pick, all of it in double. */
static size_t naive(const float *points, size_t count, size_t width, size_t wanted, size_t first, size_t *picks)
{
    double *nearest = malloc(count * sizeof *nearest);
    size_t picked = 1;
    picks[0] = first;
    for (size_t i = 0; i < count; i++) nearest[i] = distance2(points + i * width, points + first * width, width);
    while (picked < wanted) {
        size_t far = 0;
        for (size_t i = 1; i < count; i++)
            if (nearest[i] > nearest[far]) far = i;
        if (!(nearest[far] > 0)) break;
        picks[picked++] = far;
        for (size_t i = 0; i < count; i++)
            nearest[i] = fmin(nearest[i], distance2(points + i * width, points + far * width, width));
    }
    free(nearest);
    return picked;
}

static void fill(float *points, size_t count, uint64_t seed)
{
    cz_rng rng;
    cz_rng_init(&rng, seed, CZ_RNG_TEST, 0, 0);
    for (size_t i = 0; i < count; i++) points[i] = (float)cz_rng_normal(&rng);
}

static void compare(const float *points, size_t count, size_t width, size_t wanted, size_t first, size_t expected)
{
    size_t *mine = malloc(wanted * sizeof *mine), *twin = malloc(wanted * sizeof *twin), picked = 0;
    const cz_coreset_options o = {.points = points, .count = count, .width = width, .wanted = wanted, .first = first};
    assert_int_equal(cz_coreset_pick(&o, mine, &picked), CZ_OK);
    assert_int_equal(picked, naive(points, count, width, wanted, first, twin));
    assert_int_equal(picked, expected);
    for (size_t i = 0; i < picked; i++)
        if (mine[i] != twin[i]) fail_msg("pick %zu of %zu: %zu, not %zu", i, count, mine[i], twin[i]);
    free(mine);
    free(twin);
}

static void test_coreset(void **state)
{
    enum { COUNT = 700, WIDE = 19 };
    (void)state;
    float *points = malloc(COUNT * WIDE * sizeof *points);
    fill(points, COUNT * WIDE, 1);
    compare(points, COUNT, WIDE, 90, 5, 90);
    compare(points, COUNT, WIDE, 1, 699, 1);
    compare(points, 300, WIDE, 300, 0, 300); /* all of them, in the order of their distance */
    for (size_t i = 0; i < COUNT * WIDE; i++) points[i] *= i / WIDE % 50 == 0 ? 30.0f : 0.1f; /* dense, with outliers */
    compare(points, COUNT, WIDE, 200, 77, 200);
    for (size_t i = 0; i < COUNT; i++) /* a lattice: most distances are there many times */
        for (size_t c = 0; c < 3; c++) points[i * 3 + c] = (float)(c == 0 ? i % 9 : c == 1 ? i / 9 % 9 : i / 81);
    compare(points, COUNT, 3, 150, 11, 150);
    for (size_t i = 0; i < COUNT; i++) points[i * 2] = (float)(i % 23), points[i * 2 + 1] = 1; /* 23 different ones */
    compare(points, COUNT, 2, 40, 3, 23);
    free(points);
}

static cz_status stop(void *ctx, size_t done, size_t total)
{
    size_t *calls = ctx;
    assert_true(done < total);
    return ++*calls == 2 ? CZ_E_CANCELLED : CZ_OK;
}

static void test_coreset_parts(void **state)
{
    enum { COUNT = 600, WIDE = 141 }; /* more dimensions than are looked at at once, and some over */
    (void)state;
    float *points = malloc(COUNT * WIDE * sizeof *points);
    size_t picks[200], picked = 0, calls = 0;
    fill(points, COUNT * WIDE, 2);
    compare(points, COUNT, WIDE, 200, 9, 200);
    for (size_t i = 0; i < COUNT * WIDE; i++) /* all that differs is in the last dimension, or in the first */
        if (i % WIDE != (i / WIDE < 300 ? 0 : WIDE - 1)) points[i] = 1;
    compare(points, COUNT, WIDE, 200, 400, 200);
    cz_coreset_options o = {.points = points, .count = COUNT, .width = WIDE, .wanted = 200, .report = stop};
    o.ctx = &calls;
    assert_int_equal(cz_coreset_pick(&o, picks, &picked), CZ_E_CANCELLED);
    assert_int_equal(calls, 2);
    o.wanted = COUNT + 1;
    assert_int_equal(cz_coreset_pick(&o, picks, &picked), CZ_E_INTERNAL);
    free(points);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_coreset), cmocka_unit_test(test_coreset_parts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
