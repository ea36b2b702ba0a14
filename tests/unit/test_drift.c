/* SPDX-License-Identifier: Apache-2.0 */
/* The two-sample Kolmogorov-Smirnov test against scipy.stats.ks_2samp(method="exact") and scipy.special.kolmogorov (1.10), against
 * all orders, and by simulation. */
#include "calibrate/drift.h"
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

static void assert_near(double value, double wanted, double relative)
{
    if (!(fabs(value - wanted) <= relative * fabs(wanted))) fail_msg("%.17g, wanted %.17g", value, wanted);
}

/* The same numbers as in the script that made the golden values: an LCG's upper 24 bits. */
static void sequence(uint32_t seed, size_t n, double scale, double shift, float *out)
{
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        out[i] = (float)((double)(seed >> 8) / 16777216.0 * scale + shift);
    }
    qsort(out, n, sizeof *out, ascending);
}

static void golden(void **state)
{
    (void)state;
    static const struct {
        size_t n, m;
        double scale, shift, statistic, p;
    } known[] = {
        {5, 4, 1, 0, 0.40000000000000002, 0.74603174603174593},
        {10, 10, 1, 0.25, 0.40000000000000002, 0.41752365281777043},
        {7, 13, 1, 0.5, 0.7142857142857143, 0.0068369453044375642},
        {120, 40, 1, 0.1, 0.22500000000000001, 0.088641739355716856},
        {299, 200, 1, 0.05, 0.14005016722408026, 0.016054980033401087},
        {299, 100, 2, -0.5, 0.25321070234113713, 9.6049666554629418e-05},
        {1, 1, 1, 0, 1, 1},
        {50, 50, 1, 0.9, 0.92000000000000004, 7.773164323782225e-23},
        {30, 200, 1, 0.3, 0.50166666666666671, 1.5157041132184377e-06},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        float a[300], b[300];
        double statistic, p, back;
        sequence(1, known[i].n, 1.0, 0.0, a);
        sequence(77, known[i].m, known[i].scale, known[i].shift, b);
        assert_int_equal(cz_ks(a, known[i].n, b, known[i].m, &statistic, &p), CZ_OK);
        assert_near(statistic, known[i].statistic, 1e-14);
        assert_near(p, known[i].p, 1e-11);
        assert_int_equal(cz_ks(b, known[i].m, a, known[i].n, &statistic, &back), CZ_OK); /* symmetric */
        assert_near(statistic, known[i].statistic, 1e-14);
        assert_near(back, p, 1e-11);
    }
    const float a[] = {1, 1, 2, 3, 3, 3, 4}, b[] = {2, 3, 3, 4, 5, 5}; /* ties within and between */
    double statistic, p;
    assert_int_equal(cz_ks(a, 7, b, 6, &statistic, &p), CZ_OK);
    assert_near(statistic, 0.35714285714285715, 1e-14);
    assert_near(p, 0.7115384615384616, 1e-12);
    assert_int_equal(cz_ks(a, 7, a, 7, &statistic, &p), CZ_OK);
    assert_true(statistic == 0.0 && p == 1.0);
    assert_int_equal(cz_ks(a, 0, b, 6, &statistic, &p), CZ_E_ARG);
    assert_int_equal(cz_ks(a, 7, b, 0, &statistic, &p), CZ_E_ARG);
}

static void limit(void **state)
{
    (void)state;
    static const double known[][2] = {{0.2, 0.99999999999949496},  {0.5, 0.96394524366487511},
                                      {0.9, 0.39273070794065429},  {1, 0.26999967167735456},
                                      {1.1, 0.1777181926064012},   {1.5, 0.022217962616525127},
                                      {3, 3.0459959489425258e-08}, {6, 1.0760372320042276e-31}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        assert_near(cz_kolmogorov(known[i][0]), known[i][1], 1e-12);
    assert_true(cz_kolmogorov(0.0) == 1.0);
    /* Beyond the exact table the limit takes over: nearly the same where they meet. */
    enum { N = 12000 };
    float *a = malloc(N * sizeof *a), *b = malloc(N * sizeof *b);
    double statistic, p, limit_p;
    sequence(1, N, 1.0, 0.0, a);
    sequence(77, N, 1.0, 0.012, b);
    assert_int_equal(cz_ks(a, N, b, N, &statistic, &limit_p), CZ_OK);
    assert_near(limit_p, cz_kolmogorov(statistic * sqrt(N / 2.0)), 1e-12);
    sequence(1, 3000, 1.0, 0.0, a);
    sequence(77, 1000, 1.0, 0.03, b);
    assert_int_equal(cz_ks(a, 3000, b, 1000, &statistic, &p), CZ_OK);
    assert_near(p, cz_kolmogorov(statistic * sqrt(750.0)), 0.1);
    free(a);
    free(b);
}

/* Every way to choose which 4 of 9 scores are of the first sample. */
static void all_orders(void **state)
{
    (void)state;
    double at[126], p_of[126];
    size_t count = 0;
    for (unsigned set = 0; set < 1u << 9; set++) {
        if (__builtin_popcount(set) != 4) continue;
        float a[4], b[5];
        size_t na = 0, nb = 0;
        for (unsigned i = 0; i < 9; i++) {
            if ((set >> i & 1u) != 0)
                a[na++] = (float)i;
            else
                b[nb++] = (float)i;
        }
        assert_int_equal(cz_ks(a, 4, b, 5, &at[count], &p_of[count]), CZ_OK);
        count++;
    }
    assert_int_equal(count, 126);
    for (size_t i = 0; i < count; i++) {
        size_t as_far = 0;
        for (size_t j = 0; j < count; j++) as_far += at[j] >= at[i] - 1e-12;
        assert_near(p_of[i], (double)as_far / 126.0, 1e-12);
    }
}

/* Without drift p < 0.05 in at most 5 % of all cases; half a standard deviation is found with 200 against 200. */
static void level(void **state)
{
    (void)state;
    enum { N = 200, M = 120, RUNS = 2000 };
    size_t false_alarms = 0, hits = 0;
    float a[N], b[M], c[N];
    for (size_t run = 0; run < RUNS; run++) {
        cz_rng rng;
        double statistic, p;
        cz_rng_init(&rng, 41, CZ_RNG_TEST, run, 0);
        for (size_t i = 0; i < N; i++) a[i] = (float)cz_rng_normal(&rng);
        for (size_t i = 0; i < M; i++) b[i] = (float)cz_rng_normal(&rng);
        for (size_t i = 0; i < N; i++) c[i] = (float)(cz_rng_normal(&rng) + 0.5);
        qsort(a, N, sizeof *a, ascending);
        qsort(b, M, sizeof *b, ascending);
        qsort(c, N, sizeof *c, ascending);
        assert_int_equal(cz_ks(a, N, b, M, &statistic, &p), CZ_OK);
        false_alarms += p <= 0.05;
        if (run % 10 != 0) continue;
        assert_int_equal(cz_ks(a, N, c, N, &statistic, &p), CZ_OK);
        hits += p <= 0.01;
    }
    printf("false alarms at 5 %%: %.4f; half a standard deviation found: %.3f\n", (double)false_alarms / RUNS,
           (double)hits / (RUNS / 10));
    assert_true(false_alarms <= RUNS * 7 / 100 && false_alarms >= RUNS * 3 / 100);
    assert_true(hits >= RUNS / 10 * 9 / 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(golden), cmocka_unit_test(limit), cmocka_unit_test(all_orders),
                                       cmocka_unit_test(level)};
    return cmocka_run_group_tests_name("drift", tests, NULL, NULL);
}
