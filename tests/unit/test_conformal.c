/* SPDX-License-Identifier: Apache-2.0 */
/* Conformal p-values are valid and Benjamini-Hochberg on them keeps its rate: by counting, by hand and by simulation. */
#include "calibrate/conformal.h"
#include "calibrate/fdr.h"
#include "cozad/cozad.h"
#include "util/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int ascending(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

static void counts(void **state)
{
    (void)state;
    const float s[] = {1.0f, 2.0f, 2.0f, 3.0f};
    static const struct {
        float score;
        double p;
    } known[] = {{0.0f, 1.0}, {1.0f, 1.0}, {1.5f, 0.8}, {2.0f, 0.8}, {2.5f, 0.4}, {3.0f, 0.4}, {4.0f, 0.2}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        assert_true(fabs(cz_conformal_p(s, 4, known[i].score) - known[i].p) < 1e-15);
    assert_true(isnan(cz_conformal_p(s, 4, NAN)));
    assert_true(cz_conformal_p(s, 4, INFINITY) == 0.2 && cz_conformal_p(s, 4, -INFINITY) == 1.0);
}

/* P(p <= a) <= a for a normal photo, and with no ties exactly floor(a (n+1)) / (n+1). */
static void valid(void **state)
{
    (void)state;
    enum { N = 19, RUNS = 40000 };
    for (int tied = 0; tied < 2; tied++) {
        size_t small[21] = {0}; /* p <= i/20 */
        for (size_t run = 0; run < RUNS; run++) {
            float x[N + 1];
            cz_rng rng;
            cz_rng_init(&rng, 21, CZ_RNG_TEST, run, (uint32_t)tied);
            for (size_t i = 0; i <= N; i++) {
                const double z = cz_rng_normal(&rng);
                x[i] = (float)(tied ? floor(3.0 * z) : z);
            }
            qsort(x, N, sizeof *x, ascending);
            const double p = cz_conformal_p(x, N, x[N]);
            for (int i = 1; i <= 20; i++) small[i] += p <= 0.05 * i + 1e-12;
        }
        for (int i = 1; i <= 20; i++) {
            const double a = 0.05 * i, share = (double)small[i] / RUNS,
                         error = 4.0 * sqrt(a * (1.0 - a) / RUNS) + 1e-12;
            if (share > a + error) fail_msg("P(p <= %g) = %g", a, share);
            if (!tied && share < a - error) fail_msg("P(p <= %g) = only %g", a, share);
        }
    }
}

static void by_hand(void **state)
{
    (void)state;
    /* The example of Benjamini and Hochberg (1995), section 3.2, at 5 %: the first four of fifteen. */
    const double p[] = {0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344,
                        0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0000};
    uint8_t found[15];
    size_t total;
    assert_int_equal(cz_false_discovery(p, 15, 0.05, found, &total), CZ_OK);
    assert_int_equal(total, 4);
    for (size_t i = 0; i < 15; i++) assert_int_equal(found[i], i < 4);
    /* A later p-value that is small enough takes earlier ones along: 0.03 > 0.05/3, but 0.05 <= 0.05. */
    const double step_up[] = {0.05, 0.03, 0.04};
    assert_int_equal(cz_false_discovery(step_up, 3, 0.05, found, &total), CZ_OK);
    assert_int_equal(total, 3);
    const double edge[] = {0.01, 0.01, 1, 1, 1, 1, 1, 1, 1, 1}; /* 0.05 * 2 / 10 is not 0.01 in floating point */
    assert_int_equal(cz_false_discovery(edge, 10, 0.05, found, &total), CZ_OK);
    assert_int_equal(total, 2);
    assert_int_equal(cz_false_discovery(p, 0, 0.05, found, &total), CZ_OK);
    assert_int_equal(total, 0);
    const double wrong[] = {0.5, (double)NAN}, above[] = {1.5};
    assert_int_equal(cz_false_discovery(wrong, 2, 0.05, found, NULL), CZ_E_ARG);
    assert_int_equal(cz_false_discovery(above, 1, 0.05, found, NULL), CZ_E_ARG);
    assert_int_equal(cz_false_discovery(p, 15, 0.0, found, NULL), CZ_E_ARG);
    assert_int_equal(cz_false_discovery(p, 15, 1.0, found, NULL), CZ_E_ARG);
    assert_int_equal(cz_false_discovery(NULL, 2, 0.05, found, NULL), CZ_E_ARG);
}

/* One calibration set serves the whole batch, so the p-values depend on each other; the rate holds all the same (Bates et al. 2023). It is
 * rate * share of normal photos at the most, and there is power. */
static void rate_is_kept(void **state)
{
    (void)state;
    enum { N = 400, NORMAL = 80, BAD = 20, RUNS = 3000 };
    static float x[N];
    double p[NORMAL + BAD], proportion = 0.0, power = 0.0;
    uint8_t found[NORMAL + BAD];
    const double rate = 0.1;
    for (size_t run = 0; run < RUNS; run++) {
        cz_rng rng;
        size_t total, false_ones = 0;
        cz_rng_init(&rng, 31, CZ_RNG_TEST, run, 0);
        for (size_t i = 0; i < N; i++) x[i] = (float)cz_rng_normal(&rng);
        qsort(x, N, sizeof *x, ascending);
        for (size_t i = 0; i < NORMAL + BAD; i++)
            p[i] = cz_conformal_p(x, N, (float)(cz_rng_normal(&rng) + (i < NORMAL ? 0.0 : 3.0)));
        assert_int_equal(cz_benjamini_hochberg(p, NORMAL + BAD, rate, found, &total), CZ_OK);
        for (size_t i = 0; i < NORMAL; i++) false_ones += found[i];
        if (total > 0) proportion += (double)false_ones / (double)total;
        power += (double)(total - false_ones) / BAD;
    }
    proportion /= RUNS;
    power /= RUNS;
    printf("false-discovery rate %.4f of at most %.4f, power %.3f\n", proportion, rate, power);
    if (proportion > rate * NORMAL / (NORMAL + BAD) + 0.006) fail_msg("false-discovery rate %g", proportion);
    if (proportion < 0.04 || power < 0.5) fail_msg("rate %g, power %g: too careful", proportion, power);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(counts), cmocka_unit_test(valid), cmocka_unit_test(by_hand),
                                       cmocka_unit_test(rate_is_kept)};
    return cmocka_run_group_tests_name("conformal", tests, NULL, NULL);
}
