/* SPDX-License-Identifier: Apache-2.0 */
/* The covariance of loss pairs and lambda (docs/math.md section 4, paper Eq. 8 and 9). */
#include "losses/model_uncertainty.h"
#include "util/rng.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { MOST = 600 };

static cz_uncertainty_options defaults(void)
{
    cz_uncertainty_options options;
    cz_uncertainty_options_init(&options);
    return options;
}

static cz_uncertainty begin(const cz_uncertainty_options *options)
{
    cz_uncertainty u;
    assert_int_equal(cz_uncertainty_init(&u, options), CZ_OK);
    return u;
}

/* Two passes over pairs[first … first + n), as a textbook has it. */
static void covariance(double pairs[][2], size_t n, double mean[2], double sigma[2][2])
{
    memset(sigma, 0, 4 * sizeof(double));
    for (size_t k = 0; k < 2; k++) {
        mean[k] = 0;
        for (size_t i = 0; i < n; i++) mean[k] += pairs[i][k];
        mean[k] /= (double)n;
    }
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < 2; k++)
            for (size_t l = 0; l < 2; l++)
                sigma[k][l] += (pairs[i][k] - mean[k]) * (pairs[i][l] - mean[l]) / (double)(n - 1);
}

/* Every determinant along a run equals the naive one of the last n pairs, scaled by the first n. */
static void naive(void **state)
{
    (void)state;
    static double pairs[MOST][2];
    size_t inside = 0, clamped = 0;
    for (uint64_t round = 0; round < 300; round++) {
        cz_rng rng;
        cz_rng_init(&rng, 5, CZ_RNG_TEST, round, 0);
        cz_uncertainty_options options = defaults();
        options.pairs = round % 10 == 9 ? CZ_UNCERTAINTY_MAX_PAIRS : 2 + (size_t)cz_rng_below(&rng, 30);
        options.raw = round % 2;
        const double unit = options.raw ? 1 : pow(10, -(double)cz_rng_below(&rng, 6));
        cz_uncertainty u = begin(&options);
        const size_t n = options.pairs, steps = n + (size_t)cz_rng_below(&rng, 60);
        double mean[2], sigma[2][2], scale[2] = {1, 1};
        for (size_t i = 0; i < steps; i++) {
            const double common = cz_rng_normal(&rng), growth = 1 + 0.1 * (double)i;
            for (size_t k = 0; k < 2; k++)
                pairs[i][k] = unit * (0.7 + growth * (0.6 * common + 0.3 * cz_rng_normal(&rng)));
            assert_int_equal(cz_uncertainty_push(&u, pairs[i][0], pairs[i][1]), CZ_OK);
            assert_int_equal(u.pushed, i + 1);
            if (i + 1 < n) { /* nothing to say yet */
                assert_true(u.det == 0 && cz_uncertainty_lambda(&u) == options.lambda0);
                continue;
            }
            covariance(pairs + i + 1 - n, n, mean, sigma);
            if (i + 1 == n && !options.raw)
                for (size_t k = 0; k < 2; k++) scale[k] = sqrt(sigma[k][k]);
            for (size_t k = 0; k < 2; k++) assert_true(fabs(u.scale[k] - scale[k]) <= 1e-13 * scale[k]);
            const double whole = sigma[0][0] * sigma[1][1] / pow(scale[0] * scale[1], 2);
            const double det = whole - pow(sigma[0][1] / (scale[0] * scale[1]), 2);
            const double want = fmin(100, fmax(0, det));
            assert_true(fabs(u.det - want) <=
                        1e-12 * (whole + want)); /* both are differences of products near `whole` */
            assert_true(u.det >= 0 && u.det <= options.det_max);
            assert_true(cz_uncertainty_lambda(&u) == options.lambda0 * (1 + options.gamma * u.det));
            inside += u.det > 0.01 && u.det < 99;
            clamped += u.det == 100;
        }
    }
    assert_true(inside > 1000 && clamped > 10); /* both were seen */
}

/* At the n-th pair the scaled variances are 1: det = 1 - r^2. */
static void first_determinant(void **state)
{
    (void)state;
    const cz_uncertainty_options options = defaults();
    assert_true(options.pairs == 10 && options.lambda0 == 5e-6 && options.gamma == 1 && options.det_max == 100);
    assert_true(!options.raw);
    double pairs[10][2], mean[2], sigma[2][2];
    cz_rng rng;
    cz_rng_init(&rng, 6, CZ_RNG_TEST, 0, 0);
    cz_uncertainty u = begin(&options), line = begin(&options), literal;
    cz_uncertainty_options raw = options;
    raw.raw = true;
    literal = begin(&raw);
    for (size_t i = 0; i < 10; i++) {
        pairs[i][0] = 3e-3 * cz_rng_uniform(&rng);
        pairs[i][1] = 0.5 * pairs[i][0] + 1e-3 * cz_rng_uniform(&rng);
        assert_int_equal(cz_uncertainty_push(&u, pairs[i][0], pairs[i][1]), CZ_OK);
        assert_int_equal(cz_uncertainty_push(&literal, pairs[i][0], pairs[i][1]), CZ_OK);
        assert_int_equal(cz_uncertainty_push(&line, pairs[i][0], 3 * pairs[i][0] + 1), CZ_OK);
    }
    covariance(pairs, 10, mean, sigma);
    const double r = sigma[0][1] / sqrt(sigma[0][0] * sigma[1][1]);
    assert_true(fabs(u.det - (1 - r * r)) < 1e-12 && u.det > 0.1);
    assert_true(line.det >= 0 && line.det < 1e-12); /* two losses that move as one leave no area */
    /* why losses are scaled: as they are, nothing of Eq. 9 is left */
    assert_true(literal.scale[0] == 1 && literal.det > 0 && literal.det < 1e-11);
    assert_true(cz_uncertainty_lambda(&literal) / raw.lambda0 - 1 < 1e-11);
}

/* The same ten pairs, then wilder and wilder ones: the scale stays as it was, det and lambda grow up to the clamp. */
static void grows(void **state)
{
    (void)state;
    const cz_uncertainty_options options = defaults();
    cz_uncertainty u = begin(&options);
    double last_det = 0, last_lambda = 0, scale[2] = {0, 0};
    for (int block = 0; block < 8; block++) {
        for (int i = 0; i < 10; i++) { /* a fixed pattern, wider by 2 in each direction each time */
            const double wide = ldexp(1e-3, block), x = i % 5 - 2, y = (i * 3) % 7 - 3;
            assert_int_equal(cz_uncertainty_push(&u, 0.2 + wide * x, 0.3 + wide * y), CZ_OK);
        }
        if (block == 0) memcpy(scale, u.scale, sizeof scale);
        assert_memory_equal(u.scale, scale, sizeof scale);
        const double lambda = cz_uncertainty_lambda(&u);
        assert_true(block == 0 || u.det > last_det || u.det == 100);
        assert_true(block == 0 || lambda > last_lambda || u.det == 100);
        if (block > 0 && u.det < 100) assert_true(fabs(u.det / last_det - 16) < 1e-9); /* an area squared */
        last_det = u.det;
        last_lambda = lambda;
    }
    assert_true(u.det == 100);
    assert_true(cz_uncertainty_lambda(&u) == 5e-6 * (1 + 1.0 * 100));
}

static void corners(void **state)
{
    (void)state;
    cz_uncertainty_options options = defaults();
    options.gamma = 0; /* off: lambda0 exactly, whatever det is */
    cz_uncertainty u = begin(&options), same;
    for (int i = 0; i < 40; i++) {
        assert_int_equal(cz_uncertainty_push(&u, i % 3, i % 7), CZ_OK);
        assert_true(cz_uncertainty_lambda(&u) == options.lambda0);
    }
    assert_true(u.det > 0);
    /* constant losses: the floor keeps the scale from 0; the first change after them is uncertain without bound */
    options.gamma = 1;
    u = begin(&options);
    for (int i = 0; i < 12; i++) assert_int_equal(cz_uncertainty_push(&u, 0.1, 0.3), CZ_OK);
    assert_true(u.scale[0] == 1e-8 && u.scale[1] == 1e-8 && u.det < 1e-12);
    assert_int_equal(cz_uncertainty_push(&u, 0.2, 0.3), CZ_OK);
    assert_int_equal(cz_uncertainty_push(&u, 0.1, 0.4), CZ_OK);
    assert_true(u.det == 100);
    /* huge but finite: clamped, never NaN */
    assert_int_equal(cz_uncertainty_push(&u, DBL_MAX, DBL_MAX), CZ_OK);
    assert_int_equal(cz_uncertainty_push(&u, 0, DBL_MAX), CZ_OK);
    assert_true(u.det == 100);
    u = begin(&options);
    for (int i = 0; i < 20; i++) assert_int_equal(cz_uncertainty_push(&u, (i % 3) * 1e307, (i % 4) * 1e307), CZ_OK);
    assert_true(u.det > 0 && u.det <= 100 && isfinite(u.scale[0]) && isfinite(u.scale[1]));
    /* a copy goes on as the original does, to the last bit */
    memcpy(&same, &u, sizeof u);
    for (int i = 0; i < 30; i++) {
        assert_int_equal(cz_uncertainty_push(&u, 1e306 * i, 1e306 * (i % 5)), CZ_OK);
        assert_int_equal(cz_uncertainty_push(&same, 1e306 * i, 1e306 * (i % 5)), CZ_OK);
        assert_true(u.det == same.det);
    }
}

static void refused(void **state)
{
    (void)state;
    for (int i = 0; i < 9; i++) {
        cz_uncertainty_options o = defaults();
        cz_uncertainty u;
        if (i == 0) o.pairs = 1;
        if (i == 1) o.pairs = CZ_UNCERTAINTY_MAX_PAIRS + 1;
        if (i == 2) o.lambda0 = -1;
        if (i == 3) o.lambda0 = (double)NAN;
        if (i == 4) o.gamma = -1e-9;
        if (i == 5) o.gamma = (double)INFINITY;
        if (i == 6) o.det_max = -1;
        if (i == 7) o.det_max = (double)INFINITY;
        if (i == 8) o.lambda0 = 1e300, o.gamma = 1e300;
        assert_int_equal(cz_uncertainty_init(&u, &o), CZ_E_ARG);
    }
    const cz_uncertainty_options options = defaults();
    cz_uncertainty u = begin(&options);
    assert_int_equal(cz_uncertainty_push(&u, 1, (double)NAN), CZ_E_ARG);
    assert_int_equal(cz_uncertainty_push(&u, (double)INFINITY, 1), CZ_E_ARG);
    assert_int_equal(u.pushed, 0);
    u.options.pairs = 100000; /* a damaged checkpoint writes nowhere */
    assert_int_equal(cz_uncertainty_push(&u, 1, 1), CZ_E_ARG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(naive),   cmocka_unit_test(first_determinant), cmocka_unit_test(grows),
        cmocka_unit_test(corners), cmocka_unit_test(refused),
    };
    return cmocka_run_group_tests_name("model_uncertainty", tests, NULL, NULL);
}
