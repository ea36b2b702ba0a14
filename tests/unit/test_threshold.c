/* SPDX-License-Identifier: Apache-2.0 */
/* Thresholds: the binomial against SciPy and brute force, the promise of order statistics by simulation, ties, labelled rules
 * against trying every cut. */
#include "calibrate/pixel_quantile.h"
#include "calibrate/threshold.h"
#include "util/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
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

/* ---- the binomial distribution ------------------------------------------------------------------------------------ */

static void binomial(void **state)
{
    (void)state;
    /* scipy.stats.binom.cdf 1.10 */
    static const struct {
        size_t k, n;
        double p, cdf;
    } golden[] = {{0, 299, 0.01, 0.049536256637662465},        {3, 1000, 0.01, 0.010072654772014291},
                  {50, 120, 0.4, 0.68099064809474286},         {9000, 1000000, 0.01, 8.35041591692495e-25},
                  {10000, 1000000, 0.01, 0.50265961479951526}, {119, 120, 0.9, 0.99999677075398197}};
    for (size_t i = 0; i < sizeof golden / sizeof *golden; i++)
        assert_near(cz_binomial_cdf(golden[i].k, golden[i].n, golden[i].p), golden[i].cdf, 1e-9);
    /* brute force: all 2^n outcomes */
    for (size_t n = 1; n <= 12; n++) {
        for (int tenth = 1; tenth <= 9; tenth += 2) {
            const double p = 0.1 * tenth;
            double at[13] = {0.0}, sum = 0.0;
            for (unsigned outcome = 0; outcome < 1u << n; outcome++) {
                const int ones = __builtin_popcount(outcome);
                at[ones] += pow(p, ones) * pow(1.0 - p, (double)n - ones);
            }
            for (size_t k = 0; k <= n; k++) {
                sum += at[k];
                assert_near(cz_binomial_cdf(k, n, p), sum, 1e-12);
            }
        }
    }
    assert_true(cz_binomial_cdf(3, 5, 0.0) == 1.0 && cz_binomial_cdf(3, 5, 1.0) == 0.0);
    assert_true(cz_binomial_cdf(5, 5, 0.5) == 1.0);
}

/* ---- order statistics --------------------------------------------------------------------------------------------- */

static void needed(void **state)
{
    (void)state;
    static const struct {
        double target, confidence;
        size_t n;
    } known[] = {{0.10, 0.95, 29},  {0.05, 0.95, 59}, {0.02, 0.95, 149}, {0.01, 0.95, 299},
                 {0.01, 0.99, 459}, {0.5, 0.5, 1},    {0.5, 0.75, 2},    {0.9, 0.1, 1}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        assert_int_equal(cz_threshold_needed(known[i].target, known[i].confidence), known[i].n);
    assert_true(cz_threshold_needed(1e-300, 0.95) == SIZE_MAX);
    /* scipy.stats.beta.ppf(confidence, above + 1, n - above) */
    assert_near(cz_threshold_promise(0, 120, 0.95), 0.024655401055656376, 1e-12);
    assert_near(cz_threshold_promise(0, 299, 0.95), 0.009969146792899267, 1e-12);
    assert_near(cz_threshold_promise(3, 1000, 0.95), 0.0077352447184794578, 1e-9);
    assert_near(cz_threshold_promise(5, 59, 0.9), 0.15153646512750971, 1e-9);
}

/* The order found is the smallest whose bound holds: one lower breaks it. */
static void order(void **state)
{
    (void)state;
    static float scores[2000];
    cz_order_threshold t;
    for (size_t i = 0; i < 2000; i++) scores[i] = (float)i;
    static const double targets[] = {0.001, 0.01, 0.05, 0.2, 0.7}, confidences[] = {0.5, 0.95, 0.999};
    for (size_t n = 1; n <= 2000; n = n * 5 / 4 + 1) {
        for (size_t a = 0; a < 5; a++) {
            for (size_t b = 0; b < 3; b++) {
                const double target = targets[a], confidence = confidences[b];
                assert_int_equal(cz_threshold_fpr(scores, n, target, confidence, &t), CZ_OK);
                assert_true(t.order >= 1 && t.order <= n && t.value == (double)scores[t.order - 1]);
                const bool kept = cz_binomial_cdf(n - t.order, n, target) <= 1.0 - confidence;
                assert_true(kept == (n >= t.needed));
                assert_true(kept == (t.promise <= target));
                if (!kept) assert_int_equal(t.order, n);
                if (kept && t.order > 1) assert_true(cz_binomial_cdf(n - t.order + 1, n, target) > 1.0 - confidence);
            }
        }
    }
    assert_int_equal(cz_threshold_fpr(scores, 120, 0.01, 0.95, &t), CZ_OK);
    assert_true(t.order == 120 && t.needed == 299 && fabs(t.promise - 0.0247) < 1e-4);
    assert_int_equal(cz_threshold_fpr(scores, 0, 0.01, 0.95, &t), CZ_E_ARG);
    static const double wrong[] = {0.0, 1.0, -0.1, 2.0};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(cz_threshold_fpr(scores, 9, wrong[i], 0.95, &t), CZ_E_ARG);
        assert_int_equal(cz_threshold_fpr(scores, 9, 0.1, wrong[i], &t), CZ_E_ARG);
    }
    assert_int_equal(cz_threshold_fpr(scores, 9, (double)NAN, 0.95, &t), CZ_E_ARG);
}

/* Draws and exact upper tails P(X > t) of several distributions; the last two have ties. */
enum { UNIFORM, EXPONENTIAL, CAUCHY, NORMAL_SQUARED, ROUNDED, TWO_VALUES, DISTRIBUTIONS };

static float draw(int distribution, cz_rng *rng)
{
    const double u = cz_rng_uniform(rng);
    switch (distribution) {
    case UNIFORM:
        return (float)u;
    case EXPONENTIAL:
        return (float)-log1p(-u);
    case CAUCHY:
        return (float)tan(3.14159265358979 * (u - 0.5));
    case NORMAL_SQUARED: {
        const double z = cz_rng_normal(rng);
        return (float)(z * z);
    }
    case ROUNDED:
        return (float)floor(-20.0 * log1p(-u));
    default:
        return u < 0.97 ? 0.0f : 1.0f;
    }
}

static double tail(int distribution, double t)
{
    switch (distribution) {
    case UNIFORM:
        return 1.0 - t;
    case EXPONENTIAL:
        return exp(-t);
    case CAUCHY:
        return 0.5 - atan(t) / 3.14159265358979;
    case NORMAL_SQUARED:
        return erfc(sqrt(0.5 * t));
    case ROUNDED:
        return exp(-(t + 1.0) / 20.0);
    default:
        return t >= 1.0 ? 0.0 : 0.03;
    }
}

/* P(FPR <= target) >= confidence: of 4000 calibrations, 95 % within four standard errors of the exact probability where the
 * distribution has no ties, and never below where it has. */
static void promise_holds(void **state)
{
    (void)state;
    enum { RUNS = 4000 };
    static const struct {
        size_t n;
        double target;
    } cases[] = {{29, 0.10}, {59, 0.05}, {149, 0.02}, {299, 0.01}, {500, 0.02}};
    float scores[500];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const size_t n = cases[i].n;
        const double target = cases[i].target;
        for (int d = 0; d < DISTRIBUTIONS; d++) {
            size_t kept = 0, order_found = 0;
            for (size_t run = 0; run < RUNS; run++) {
                cz_rng rng;
                cz_order_threshold t;
                cz_rng_init(&rng, 7 + i, CZ_RNG_TEST, run, (uint32_t)d);
                for (size_t j = 0; j < n; j++) scores[j] = draw(d, &rng);
                qsort(scores, n, sizeof *scores, ascending);
                assert_int_equal(cz_threshold_fpr(scores, n, target, 0.95, &t), CZ_OK);
                kept += tail(d, t.value) <= target;
                order_found = t.order;
            }
            const double share = (double)kept / RUNS;
            const double exact = 1.0 - cz_binomial_cdf(n - order_found, n, target);
            const double error = 4.0 * sqrt(exact * (1.0 - exact) / RUNS);
            if (d == 0)
                printf("n %zu, target %g: order %zu, kept %.4f, exactly %.4f\n", n, target, order_found, share, exact);
            assert_true(exact >= 0.95);
            if (share < exact - error) fail_msg("n %zu, distribution %d: %g, exactly %g", n, d, share, exact);
            if (d < ROUNDED && share > exact + error)
                fail_msg("n %zu, distribution %d: %g is too careful", n, d, share);
            /* One photo fewer and the largest score promises too little. */
            if (order_found == n) assert_true(1.0 - cz_binomial_cdf(0, n - 1, target) < 0.95);
        }
    }
}

/* ---- unlabelled photos -------------------------------------------------------------------------------------------- */

/* Where the defective photos score; at NOWHERE there are none of them. */
enum { HIGHEST, LOWEST, AMONG, HALF_LOWEST, NOWHERE, PLACES };

static void draw_unlabelled(int place, size_t n, size_t bad, cz_rng *rng, float *scores)
{
    if (place == NOWHERE) bad = 0;
    if (place == HALF_LOWEST) bad /= 2;
    for (size_t j = 0; j < n; j++) {
        scores[j] = (float)cz_rng_uniform(rng); /* of a normal photo; their tail is 1 - t */
        if (j < bad && place == HIGHEST) scores[j] += 2.0f;
        if (j < bad && (place == LOWEST || place == HALF_LOWEST)) scores[j] -= 2.0f;
        if (j < bad && place == AMONG) scores[j] = 0.5f + 0.5f * scores[j];
    }
    qsort(scores, n, sizeof *scores, ascending);
}

/* Both statements are kept as often as they say, and where their bounds are reached no more often. */
static void unlabelled_promise(void **state)
{
    (void)state;
    enum { RUNS = 4000 };
    static const struct {
        size_t n;
        double contamination, target;
    } cases[] = {{80, 0.05, 0.10}, {120, 0.1, 0.05}, {400, 0.05, 0.02}, {300, 0.2, 0.05}, {200, 0.4, 0.03}};
    float scores[400];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const size_t n = cases[i].n, bad = (size_t)(cases[i].contamination * (double)n + 0.5);
        for (int place = 0; place < PLACES; place++) {
            size_t kept = 0, on_target = 0;
            cz_unlabelled_threshold t;
            for (size_t run = 0; run < RUNS; run++) {
                cz_rng rng;
                cz_rng_init(&rng, 70 + i, CZ_RNG_TEST, run, (uint32_t)place);
                draw_unlabelled(place, n, bad, &rng, scores);
                assert_int_equal(cz_threshold_unlabelled(scores, n, cases[i].contamination, cases[i].target, 0.95, &t),
                                 CZ_OK);
                kept += 1.0 - fmax(t.value, 0.0) <= t.promise;
                on_target += 1.0 - t.value <= cases[i].target;
            }
            assert_int_equal(t.discounted, bad);
            assert_true(t.separated <= cases[i].target && t.promise > t.separated && n >= t.needed);
            const double share = (double)kept / RUNS, met = (double)on_target / RUNS,
                         error = 4.0 * sqrt(0.05 * 0.95 / RUNS);
            if (place == 0)
                printf("n %zu, R %g: target %g, any case %.4f\n", n, cases[i].contamination, cases[i].target,
                       t.promise);
            if (share < 0.95 - error) fail_msg("n %zu, place %d: kept %g", n, place, share);
            if (place == LOWEST && share > 0.95 + error) fail_msg("n %zu: %g is too careful", n, share);
            if (place == HIGHEST && met < 0.95 - error) fail_msg("n %zu: %g within the target", n, met);
            if (place == LOWEST && cases[i].contamination >= 0.1)
                assert_true(met < 0.5); /* the other statement needs its condition */
        }
    }
}

static void unlabelled_edges(void **state)
{
    (void)state;
    float scores[400];
    cz_unlabelled_threshold t;
    cz_order_threshold plain;
    for (size_t i = 0; i < 400; i++) scores[i] = (float)i;
    for (size_t n = 1; n <= 400; n = n * 3 / 2 + 1) { /* no contamination: the rule for normal photos */
        assert_int_equal(cz_threshold_unlabelled(scores, n, 0.0, 0.02, 0.95, &t), CZ_OK);
        assert_int_equal(cz_threshold_fpr(scores, n, 0.02, 0.95, &plain), CZ_OK);
        assert_true(t.value == plain.value && t.order == plain.order && t.promise == plain.promise);
        assert_true(t.separated == plain.promise && t.discounted == 0 && t.needed == plain.needed);
    }
    /* the example of docs/calibration.md; scipy.stats.beta.ppf(0.95, 23, 358) */
    assert_int_equal(cz_threshold_unlabelled(scores, 400, 0.05, 0.02, 0.95, &t), CZ_OK);
    assert_true(t.discounted == 20 && t.order == 378);
    assert_near(t.promise, 0.08164088149192378, 1e-9);
    assert_int_equal(cz_threshold_unlabelled(scores, 100, 0.29, 0.02, 0.95, &t), CZ_OK);
    assert_int_equal(t.discounted, 29);
    assert_int_equal(t.needed, 149 + 60); /* 209 - floor(60.61) = 149 */
    /* half of them: five of ten are at or below the threshold, and may all be defective */
    assert_int_equal(cz_threshold_unlabelled(scores, 10, 0.5, 0.02, 0.95, &t), CZ_OK);
    assert_true(t.order == 5 && t.promise == 1.0);
    assert_int_equal(cz_threshold_unlabelled(scores, 10, 0.51, 0.02, 0.95, &t), CZ_E_ARG);
    assert_int_equal(cz_threshold_unlabelled(scores, 10, -0.1, 0.02, 0.95, &t), CZ_E_ARG);
    assert_int_equal(cz_threshold_unlabelled(scores, 10, (double)NAN, 0.02, 0.95, &t), CZ_E_ARG);
    assert_int_equal(cz_threshold_unlabelled(scores, 0, 0.1, 0.02, 0.95, &t), CZ_E_ARG);
}

static void ties(void **state)
{
    (void)state;
    float scores[300];
    cz_order_threshold t;
    for (size_t i = 0; i < 300; i++) scores[i] = 2.5f;
    assert_int_equal(cz_threshold_fpr(scores, 300, 0.01, 0.95, &t), CZ_OK);
    assert_true(t.value == 2.5); /* none of them is above */
    assert_true(cz_threshold_iqr(scores, 300) == 2.5);
}

/* ---- quartiles ---------------------------------------------------------------------------------------------------- */

static void quartiles(void **state)
{
    (void)state;
    const float x[] = {1.0f, 2.0f, 4.0f, 8.0f, 16.0f, 32.0f};
    /* numpy.percentile: 25 % 2.5, 75 % 14 */
    assert_near(cz_quantile(x, 6, 0.25), 2.5, 1e-15);
    assert_near(cz_quantile(x, 6, 0.75), 14.0, 1e-15);
    assert_near(cz_threshold_iqr(x, 6), 14.0 + 1.5 * 11.5, 1e-15);
    assert_true(cz_quantile(x, 6, 0.0) == 1.0 && cz_quantile(x, 6, 1.0) == 32.0 && cz_quantile(x, 1, 0.3) == 1.0);
}

/* ---- labelled scores ---------------------------------------------------------------------------------------------- */

static size_t count_above(const float *x, size_t n, double t)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++) count += (double)x[i] > t;
    return count;
}

static double f1_at(const cz_labelled_scores *s, double t)
{
    const double tp = (double)count_above(s->abnormal, s->abnormals, t);
    const double fp = (double)count_above(s->normal, s->normals, t);
    return 2.0 * tp / (tp + fp + (double)s->abnormals);
}

static double cost_at(const cz_labelled_scores *s, double t, double miss, double alarm)
{
    return miss * (double)(s->abnormals - count_above(s->abnormal, s->abnormals, t)) +
           alarm * (double)count_above(s->normal, s->normals, t);
}

static void labelled(void **state)
{
    (void)state;
    for (size_t run = 0; run < 300; run++) {
        float normal[20], abnormal[20];
        cz_rng rng;
        cz_rng_init(&rng, 3, CZ_RNG_TEST, run, 0);
        const size_t levels = run % 3 == 0 ? 4 : 1000; /* many ties in every third */
        cz_labelled_scores s = {normal, abnormal, 1 + cz_rng_below(&rng, 20), 1 + cz_rng_below(&rng, 20)};
        for (size_t i = 0; i < s.normals; i++) normal[i] = (float)cz_rng_below(&rng, levels);
        for (size_t i = 0; i < s.abnormals; i++) abnormal[i] = (float)(cz_rng_below(&rng, levels) + levels / 3);
        qsort(normal, s.normals, sizeof *normal, ascending);
        qsort(abnormal, s.abnormals, sizeof *abnormal, ascending);
        const double miss = 0.1 + 10.0 * cz_rng_uniform(&rng), alarm = 0.1 + cz_rng_uniform(&rng);
        double t, value, best_f1 = 0.0, best_cost = INFINITY;
        for (double cut = -0.5; cut < 2000.0; cut += 1.0) { /* scores are whole: this tries every cut */
            if (f1_at(&s, cut) > best_f1) best_f1 = f1_at(&s, cut);
            if (cost_at(&s, cut, miss, alarm) < best_cost) best_cost = cost_at(&s, cut, miss, alarm);
        }
        assert_int_equal(cz_threshold_f1(&s, &t, &value), CZ_OK);
        assert_near(value, best_f1, 1e-14);
        assert_near(f1_at(&s, t), best_f1, 1e-14);
        assert_int_equal(cz_threshold_cost(&s, miss, alarm, &t, &value), CZ_OK);
        assert_near(value, best_cost, 1e-13);
        assert_near(cost_at(&s, t, miss, alarm), best_cost, 1e-13);
    }
    const float low[] = {1.0f, 2.0f}, high[] = {4.0f, 5.0f}, next[] = {nextafterf(2.0f, 3.0f)};
    double t;
    const cz_labelled_scores apart = {low, high, 2, 2}, close = {low, next, 2, 1}, none = {low, NULL, 2, 0};
    assert_int_equal(cz_threshold_f1(&apart, &t, NULL), CZ_OK);
    assert_true(t == 3.0); /* the middle of the gap */
    assert_int_equal(cz_threshold_f1(&close, &t, NULL), CZ_OK);
    assert_true(t > 2.0 && t < (double)next[0]); /* neighbouring floats */
    assert_int_equal(cz_threshold_f1(&none, &t, NULL), CZ_E_ARG);
    assert_int_equal(cz_threshold_cost(&apart, 0.0, 1.0, &t, NULL), CZ_E_ARG);
    assert_int_equal(cz_threshold_cost(&apart, 1.0, (double)INFINITY, &t, NULL), CZ_E_ARG);
    /* A miss that costs next to nothing: nothing is called anomalous. */
    const cz_labelled_scores mixed = {high, low, 2, 2};
    assert_int_equal(cz_threshold_cost(&mixed, 1e-6, 1.0, &t, NULL), CZ_OK);
    assert_true(t == 5.0);
}

/* ---- pixels ------------------------------------------------------------------------------------------------------- */

static void pixels(void **state)
{
    (void)state;
    static float x[100000];
    cz_pixel_quantile *q = NULL;
    cz_rng rng;
    cz_rng_init(&rng, 5, CZ_RNG_TEST, 0, 0);
    for (size_t i = 0; i < 100000; i++) x[i] = (float)(cz_rng_normal(&rng) - 0.3);
    assert_int_equal(cz_pixel_quantile_create(&q), CZ_OK);
    assert_true(isnan(cz_pixel_quantile_value(q, 0.5)));
    const float none = NAN;
    cz_pixel_quantile_add(q, &none, 1);
    cz_pixel_quantile_add(q, x, 60000);
    cz_pixel_quantile_add(q, x + 60000, 40000);
    qsort(x, 100000, sizeof *x, ascending);
    static const double quantiles[] = {0.001, 0.2, 0.5, 0.9, 0.999, 1.0};
    for (size_t i = 0; i < 6; i++) {
        const double value = cz_pixel_quantile_value(q, quantiles[i]);
        const double exact = (double)x[(size_t)ceil(quantiles[i] * 100000.0) - 1];
        if (!(value >= exact && value <= exact + fabs(exact) / 1024.0))
            fail_msg("%g: %g, exactly %g", quantiles[i], value, exact);
    }
    assert_true(cz_pixel_quantile_value(q, 1.0) == (double)x[99999]);
    cz_pixel_quantile_destroy(q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(binomial),
        cmocka_unit_test(needed),
        cmocka_unit_test(order),
        cmocka_unit_test(ties),
        cmocka_unit_test(quartiles),
        cmocka_unit_test(promise_holds),
        cmocka_unit_test(labelled),
        cmocka_unit_test(pixels),
        cmocka_unit_test(unlabelled_promise),
        cmocka_unit_test(unlabelled_edges),
    };
    return cmocka_run_group_tests_name("threshold", tests, NULL, NULL);
}
