/* SPDX-License-Identifier: Apache-2.0 */
#include "cozad/cozad_eval.h"
#include "util/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MOST = 80 };

/* Scores of two detectors that share some of their noise. levels 0: no ties. */
static size_t make(double *a, double *b, uint8_t *labels, uint64_t round, double shift_a, double shift_b, double levels)
{
    cz_rng rng;
    cz_rng_init(&rng, 9, CZ_RNG_TEST, round, 0);
    const size_t count = 20 + (size_t)cz_rng_below(&rng, MOST - 19);
    for (size_t i = 0; i < count; i++) {
        const double shared = cz_rng_normal(&rng);
        labels[i] = i % 2 == 0 || cz_rng_below(&rng, 3) == 0;
        a[i] = shared + 0.7 * cz_rng_normal(&rng) + shift_a * labels[i];
        b[i] = shared + 0.7 * cz_rng_normal(&rng) + shift_b * labels[i];
        if (levels > 0) {
            a[i] = floor(a[i] * levels);
            b[i] = floor(b[i] * levels);
        }
    }
    return count;
}

static double kernel(double anomalous, double normal)
{
    return anomalous > normal ? 1 : anomalous == normal ? 0.5 : 0;
}

/* DeLong, DeLong and Clarke-Pearson (1988) as printed: structural components over all pairs. */
static void delong_by_definition(const double *a, const double *b, const uint8_t *labels, size_t count,
                                 double *difference, double *deviation)
{
    double v[2][MOST], theta[2] = {0, 0}, n[2] = {0, 0};
    const double *const scores[2] = {a, b};
    for (size_t i = 0; i < count; i++) n[labels[i]]++;
    for (int d = 0; d < 2; d++)
        for (size_t i = 0; i < count; i++) {
            v[d][i] = 0;
            for (size_t k = 0; k < count; k++) {
                if (labels[i] == labels[k]) continue;
                v[d][i] += labels[i] ? kernel(scores[d][i], scores[d][k]) : kernel(scores[d][k], scores[d][i]);
            }
            v[d][i] /= n[!labels[i]];
            if (labels[i]) theta[d] += v[d][i] / n[1];
        }
    double covariance[2][2][2] = {{{0}}}; /* [label][detector][detector] */
    for (size_t i = 0; i < count; i++)
        for (int d = 0; d < 2; d++)
            for (int q = 0; q < 2; q++)
                covariance[labels[i]][d][q] += (v[d][i] - theta[d]) * (v[q][i] - theta[q]) / (n[labels[i]] - 1);
    double square = 0;
    for (int label = 0; label < 2; label++)
        square += (covariance[label][0][0] + covariance[label][1][1] - 2 * covariance[label][0][1]) / n[label];
    *difference = theta[0] - theta[1];
    *deviation = sqrt(square);
}

static void delong(void **state)
{
    (void)state;
    for (uint64_t round = 0; round < 200; round++) {
        double a[MOST], b[MOST], difference, deviation;
        uint8_t labels[MOST];
        cz_comparison c;
        const size_t count = make(a, b, labels, round, 1.0, 0.5, round % 2 ? 2 : 0);
        delong_by_definition(a, b, labels, count, &difference, &deviation);
        assert_int_equal(cz_compare_delong(a, b, labels, count, &c), CZ_OK);
        assert_true(fabs(c.difference - difference) < 1e-12);
        assert_true(fabs(c.p_value - erfc(fabs(difference) / deviation / sqrt(2))) < 1e-10);
        assert_true(fabs((c.high - c.low) / 2 / 1.959963984540054 - deviation) < 1e-12);
    }
}

/* Two detectors of equal strength: p below 0.05 in about 5 % of all sets. 1000 sets: the standard error is 0.7 %. */
static void false_differences(void **state)
{
    (void)state;
    enum { SETS = 1000 };
    int by_delong = 0, by_bootstrap = 0, covered = 0;
    for (uint64_t i = 0; i < SETS; i++) {
        double a[MOST], b[MOST];
        uint8_t labels[MOST];
        cz_comparison c;
        const size_t count = make(a, b, labels, 1000 + i, 1.0, 1.0, 0);
        assert_int_equal(cz_compare_delong(a, b, labels, count, &c), CZ_OK);
        by_delong += c.p_value < 0.05;
        covered += c.low <= 0 && 0 <= c.high;
        assert_int_equal(cz_compare_bootstrap(a, b, labels, count, 199, i, &c), CZ_OK);
        by_bootstrap += c.p_value < 0.05;
    }
    print_message(
        "of %d sets without a difference, p < 0.05: DeLong %.1f %%, bootstrap %.1f %%; DeLong covers %.1f %%\n", SETS,
        100.0 * by_delong / SETS, 100.0 * by_bootstrap / SETS, 100.0 * covered / SETS);
    assert_in_range(by_delong, 25, 80);
    assert_in_range(by_bootstrap, 20, 85);
    assert_in_range(covered, 92 * SETS / 100, 975 * SETS / 1000);
}

static void corners(void **state)
{
    (void)state;
    double a[MOST], b[MOST];
    uint8_t labels[MOST];
    cz_comparison c, again;
    const size_t count = make(a, b, labels, 3, 1.5, 0.0, 0);
    assert_int_equal(cz_compare_delong(a, a, labels, count, &c), CZ_OK);
    assert_true(c.difference == 0 && c.low == 0 && c.high == 0 && c.p_value == 1);
    assert_int_equal(cz_compare_bootstrap(a, a, labels, count, 100, 0, &c), CZ_OK);
    assert_true(c.difference == 0 && c.p_value == 1);
    assert_int_equal(cz_compare_bootstrap(a, b, labels, count, 500, 5, &c), CZ_OK);
    assert_int_equal(cz_compare_bootstrap(a, b, labels, count, 500, 5, &again), CZ_OK);
    assert_memory_equal(&c, &again, sizeof c);
    assert_true(c.low < c.difference && c.difference < c.high && c.p_value < 0.05);
    assert_int_equal(cz_compare_bootstrap(a, b, labels, count, 0, 5, &c), CZ_E_ARG);
    memset(labels, 1, sizeof labels);
    assert_int_equal(cz_compare_delong(a, b, labels, count, &c), CZ_OK);
    assert_true(isnan(c.difference) && isnan(c.p_value));
    assert_int_equal(cz_compare_bootstrap(a, b, labels, count, 10, 5, &c), CZ_OK);
    assert_true(isnan(c.difference) && isnan(c.p_value));
    labels[0] = 0; /* one normal image: a difference, but no variance */
    assert_int_equal(cz_compare_delong(a, b, labels, count, &c), CZ_OK);
    assert_true(!isnan(c.difference) && isnan(c.p_value));
    a[4] = NAN;
    assert_int_equal(cz_compare_delong(a, b, labels, count, &c), CZ_E_ARG);
    assert_int_equal(cz_compare_bootstrap(b, a, labels, count, 10, 0, &c), CZ_E_ARG);
    assert_int_equal(cz_compare_delong(b, b, labels, count, NULL), CZ_E_ARG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(delong), cmocka_unit_test(false_differences),
                                       cmocka_unit_test(corners)};
    return cmocka_run_group_tests_name("compare", tests, NULL, NULL);
}
