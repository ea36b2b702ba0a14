/* SPDX-License-Identifier: Apache-2.0 */
/* Score windows, quartiles by selection, and weights of data uncertainty (docs/math.md section 4). */
#include "losses/soft_confident.h"
#include "util/alloc.h"
#include "util/rng.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MOST = 8192 };

static cz_rng stream(uint64_t step)
{
    cz_rng rng;
    cz_rng_init(&rng, 31, CZ_RNG_TEST, step, 0);
    return rng;
}

static cz_score_window *window_of(size_t capacity, const float *scores, size_t count)
{
    cz_score_window *window;
    assert_int_equal(cz_score_window_create(capacity, &window), CZ_OK);
    cz_score_window_push(window, scores, count, 1);
    return window;
}

static cz_spread spread_of(const float *scores, size_t count)
{
    cz_spread spread;
    cz_score_window *window = window_of(count, scores, count);
    assert_int_equal(cz_score_window_spread(window, NULL, 0, &spread), CZ_OK);
    cz_score_window_destroy(window);
    return spread;
}

static cz_confidence_options options_of(cz_weight_anchor anchor)
{
    cz_confidence_options options;
    cz_confidence_options_init(&options);
    options.anchor = anchor;
    return options;
}

/* ---- the window ----------------------------------------------------------------------------------------------- */

/* Against a list that keeps everything: counts, order, and the newest that are left. */
static void ring(void **state)
{
    (void)state;
    static float all[4000], got[64];
    for (uint64_t round = 0; round < 200; round++) {
        cz_rng rng = stream(round);
        const size_t capacity = 1 + (size_t)cz_rng_below(&rng, 40);
        cz_score_window *window;
        size_t pushed = 0, images = 0;
        assert_int_equal(cz_score_window_create(capacity, &window), CZ_OK);
        assert_int_equal(cz_score_window_capacity(window), capacity);
        for (int push = 0; push < 30; push++) {
            /* none, few, exactly the capacity, more than the capacity */
            const size_t count = push % 7 == 3 ? capacity : (size_t)cz_rng_below(&rng, push % 5 ? 12 : 2 * capacity);
            for (size_t i = 0; i < count; i++) all[pushed + i] = (float)cz_rng_normal(&rng);
            cz_score_window_push(window, count ? all + pushed : NULL, count, count % 3);
            pushed += count;
            images += count % 3;
            const size_t held = pushed < capacity ? pushed : capacity;
            assert_int_equal(cz_score_window_count(window), held);
            assert_int_equal(cz_score_window_images(window), images);
            cz_score_window_values(window, got);
            assert_memory_equal(got, all + pushed - held, held * sizeof *got);
        }
        cz_score_window_destroy(window);
    }
    cz_score_window_destroy(NULL);
}

static void restored(void **state)
{
    (void)state;
    static float scores[1000], kept[300], again[300];
    cz_rng rng = stream(1);
    for (size_t i = 0; i < 1000; i++) scores[i] = (float)cz_rng_normal(&rng);
    cz_score_window *window, *copy;
    assert_int_equal(cz_score_window_create(300, &window), CZ_OK);
    for (size_t i = 0; i < 900; i += 90) cz_score_window_push(window, scores + i, 90, 2);
    cz_score_window_values(window, kept);
    assert_int_equal(cz_score_window_create(300, &copy), CZ_OK);
    cz_score_window_push(copy, kept, cz_score_window_count(window), cz_score_window_images(window));
    assert_int_equal(cz_score_window_images(copy), 20);
    for (int round = 0; round < 5; round++) { /* the same now, and after further pushes */
        cz_spread a, b;
        assert_int_equal(cz_score_window_spread(window, scores + 900, 100, &a), CZ_OK);
        assert_int_equal(cz_score_window_spread(copy, scores + 900, 100, &b), CZ_OK);
        assert_memory_equal(&a, &b, sizeof a);
        cz_score_window_push(window, scores + 77 * round, 77, 1);
        cz_score_window_push(copy, scores + 77 * round, 77, 1);
        cz_score_window_values(window, kept);
        cz_score_window_values(copy, again);
        assert_memory_equal(kept, again, sizeof kept);
    }
    cz_score_window_destroy(window);
    cz_score_window_destroy(copy);
}

/* ---- order statistics ----------------------------------------------------------------------------------------- */

static int ascending(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* numpy.percentile's definition, on a sorted copy. */
static double percentile(const float *sorted, size_t count, double share)
{
    const double at = (double)(count - 1) * share, below = floor(at), t = at - below;
    const size_t i = (size_t)below;
    const double a = (double)sorted[i], b = (double)sorted[i + 1 < count ? i + 1 : i];
    return t >= 0.5 ? b - (b - a) * (1 - t) : a + (b - a) * t;
}

/* Every kind of digit: near each other, tied, of one sign, of all magnitudes, equal but for the last bits. */
static float score_of(cz_rng *rng, uint64_t kind)
{
    switch (kind % 6) {
    case 0:
        return (float)cz_rng_normal(rng);
    case 1:
        return (float)cz_rng_below(rng, 7) - 3.0f;
    case 2:
        return -1e-3f * (float)cz_rng_uniform(rng);
    case 3:
        return (float)ldexp(2 * cz_rng_uniform(rng) - 1, (int)cz_rng_below(rng, 270) - 142);
    case 4:
        return 1.0f + (float)cz_rng_below(rng, 30) * FLT_EPSILON;
    default:
        return cz_rng_below(rng, 10) ? 0.25f : (cz_rng_below(rng, 2) ? FLT_MAX : -FLT_MAX);
    }
}

static void quartiles(void **state)
{
    (void)state;
    static float scores[MOST], sorted[MOST], kept[MOST];
    for (uint64_t round = 0; round < 600; round++) {
        cz_rng rng = stream(round);
        const size_t most = round % 3 == 0 ? 12 : round % 3 == 1 ? 200 : MOST;
        const size_t count = 1 + (size_t)cz_rng_below(&rng, most), own = (size_t)cz_rng_below(&rng, count + 1);
        for (size_t i = 0; i < count; i++) scores[i] = score_of(&rng, round / 3);
        memcpy(sorted, scores, count * sizeof *scores);
        qsort(sorted, count, sizeof *sorted, ascending);
        cz_score_window *window = window_of(count, scores, count - own);
        cz_spread spread;
        assert_int_equal(cz_score_window_spread(window, own ? scores + count - own : NULL, own, &spread), CZ_OK);
        assert_true(spread.least == (double)sorted[0]);
        assert_true(spread.q1 == percentile(sorted, count, 0.25));
        assert_true(spread.median == percentile(sorted, count, 0.5));
        assert_true(spread.q3 == percentile(sorted, count, 0.75));
        cz_score_window_values(window, kept); /* unchanged */
        assert_int_equal(cz_score_window_count(window), count - own);
        assert_memory_equal(kept, scores, (count - own) * sizeof *kept);
        cz_score_window_destroy(window);
    }
}

static void not_finite(void **state)
{
    (void)state;
    static const float bad[3] = {NAN, INFINITY, -INFINITY};
    const float fine[4] = {1, 2, 3, 4};
    cz_spread spread = {7, 7, 7, 7};
    const cz_confidence_options options = options_of(CZ_ANCHOR_MEDIAN);
    for (int i = 0; i < 3; i++) {
        float own[3] = {1, 2, bad[i]}, weights[3] = {7, 7, 7};
        cz_score_window *window = window_of(4, fine, 2);
        assert_int_equal(cz_score_window_spread(window, own, 3, &spread), CZ_E_ARG);
        cz_score_window_push(window, own, 3, 1);
        assert_int_equal(cz_score_window_spread(window, fine, 4, &spread), CZ_E_ARG);
        assert_true(spread.least == 7 && spread.q3 == 7); /* written on success only */
        cz_score_window_push(window, fine, 4, 1);         /* once it is dropped, all is well */
        assert_int_equal(cz_score_window_spread(window, NULL, 0, &spread), CZ_OK);
        assert_true(spread.least == 1 && spread.q1 == 1.75 && spread.median == 2.5 && spread.q3 == 3.25);
        assert_int_equal(cz_confidence_weights(&options, &spread, own, 3, weights), CZ_E_ARG);
        assert_true(weights[0] == 7 && weights[2] == 7);
        spread = (cz_spread){7, 7, 7, 7};
        cz_score_window_destroy(window);
    }
}

static void refused(void **state)
{
    (void)state;
    cz_score_window *window = NULL;
    cz_spread spread;
    float weight = 7;
    const float score = 1;
    const cz_spread good = {0, 1, 2, 3};
    assert_int_equal(cz_score_window_create(0, &window), CZ_E_ARG);
    assert_int_equal(cz_score_window_create(SIZE_MAX / 2, &window), CZ_E_MEMORY);
    assert_int_equal(cz_score_window_create(3, &window), CZ_OK);
    assert_int_equal(cz_score_window_spread(window, NULL, 0, &spread), CZ_E_ARG); /* no scores at all */
    cz_score_window_destroy(window);
    for (int i = 0; i < 8; i++) {
        cz_confidence_options o = options_of(CZ_ANCHOR_MEDIAN);
        cz_spread s = good;
        if (i == 0) o.kappa = -1;
        if (i == 1) o.kappa = (double)NAN;
        if (i == 2) o.floor = 0;
        if (i == 3) o.floor = 1.5;
        if (i == 4) o.anchor = (cz_weight_anchor)9;
        if (i == 5) s.q1 = (double)NAN;
        if (i == 6) s.q3 = 1.5;
        if (i == 7) s.q3 = (double)INFINITY;
        assert_int_equal(cz_confidence_weights(&o, &s, &score, 1, &weight), CZ_E_ARG);
    }
    assert_true(weight == 7);
}

static void out_of_memory(void **state)
{
    (void)state;
    const float scores[2] = {1, 2}, many[100] = {0};
    cz_score_window *window = NULL;
    cz_spread spread;
    for (unsigned long n = 1; n <= 3; n++) {
        cz_alloc_fail_after(n);
        assert_int_equal(cz_score_window_create(8, &window), CZ_E_MEMORY);
    }
    cz_alloc_fail_after(0);
    window = window_of(8, scores, 2);
    cz_alloc_fail_after(1);
    assert_int_equal(cz_score_window_spread(window, NULL, 0, &spread), CZ_E_MEMORY);
    cz_alloc_fail_after(0);
    assert_int_equal(cz_score_window_spread(window, NULL, 0, &spread), CZ_OK);
    cz_alloc_fail_after(1); /* growing fails, what fits the old scratch still works afterwards */
    assert_int_equal(cz_score_window_spread(window, many, 100, &spread), CZ_E_MEMORY);
    cz_alloc_fail_after(0);
    assert_int_equal(cz_score_window_spread(window, NULL, 0, &spread), CZ_OK);
    assert_true(spread.median == 1.5);
    const unsigned long before = cz_alloc_count(); /* the scratch is kept */
    assert_int_equal(cz_score_window_spread(window, NULL, 0, &spread), CZ_OK);
    assert_int_equal(cz_alloc_count(), before);
    cz_score_window_destroy(window);
}

/* ---- weights -------------------------------------------------------------------------------------------------- */

/* By hand: Q1 = 1, median 2, Q3 = 3, tau = 3 + 1.5 * 2 = 6. */
static void formula(void **state)
{
    (void)state;
    const cz_spread spread = {0, 1, 2, 3};
    const float scores[7] = {-50, 2, 6, 6.001f, 10, 26, 1e9f};
    float w[7];
    cz_confidence_options options = options_of(CZ_ANCHOR_MEDIAN);
    assert_true(options.kappa == 1.5 && options.floor == 1e-3 && !options.hard);
    assert_int_equal(cz_confidence_weights(&options, &spread, scores, 7, w), CZ_OK);
    assert_true(w[0] == 1 && w[1] == 1 && w[2] == 1 && w[3] < 1 && w[3] > 0.999f); /* continuous at tau */
    assert_true(w[4] == 0.5f && w[5] == (float)(4.0 / 24.0) && w[6] == 1e-3f);
    options.anchor = CZ_ANCHOR_MIN; /* tau~ = 6 */
    assert_int_equal(cz_confidence_weights(&options, &spread, scores, 7, w), CZ_OK);
    assert_true(w[2] == 1 && w[4] == 0.6f && w[5] == (float)(6.0 / 26.0));
    options.hard = true; /* tau itself is trusted */
    assert_int_equal(cz_confidence_weights(&options, &spread, scores, 7, w), CZ_OK);
    assert_true(w[0] == 1 && w[2] == 1 && w[3] == 0 && w[6] == 0);
    options.hard = false;
    options.kappa = 0; /* tau = Q3 */
    assert_int_equal(cz_confidence_weights(&options, &spread, scores, 7, w), CZ_OK);
    assert_true(w[1] == 1 && w[2] == 0.5f);
    options.floor = 1;
    assert_int_equal(cz_confidence_weights(&options, &spread, scores, 7, w), CZ_OK);
    for (int i = 0; i < 7; i++) assert_true(w[i] == 1);
}

/* Eq. 5 as printed where it makes sense; 1 up to max(0, tau); never outside [floor, 1]. */
static void no_anchor(void **state)
{
    (void)state;
    const cz_confidence_options options = options_of(CZ_ANCHOR_NONE);
    const cz_spread positive = {0, 1, 2, 3}, negative = {-10, -9, -8.5, -8}; /* tau 6 and -6.5 */
    const float high[4] = {-3, 5, 12, 60}, low[5] = {-20, -7, -1, 0, 0.5f};
    float w[5];
    assert_int_equal(cz_confidence_weights(&options, &positive, high, 4, w), CZ_OK);
    assert_true(w[0] == 1 && w[1] == 1 && w[2] == 0.5f && w[3] == 0.1f);
    assert_int_equal(cz_confidence_weights(&options, &negative, low, 5, w), CZ_OK);
    assert_true(w[0] == 1 && w[1] == 1 && w[2] == 1 && w[3] == 1 && w[4] == 1e-3f);
    static float scores[500], weights[500];
    for (uint64_t round = 0; round < 100; round++) {
        cz_rng rng = stream(round);
        const double centre = 20 * cz_rng_uniform(&rng) - 15;
        for (int i = 0; i < 500; i++) scores[i] = (float)(centre + cz_rng_normal(&rng) * (i % 10 ? 1 : 8));
        const cz_spread spread = spread_of(scores, 500);
        const double tau = spread.q3 + 1.5 * (spread.q3 - spread.q1);
        assert_int_equal(cz_confidence_weights(&options, &spread, scores, 500, weights), CZ_OK);
        for (int i = 0; i < 500; i++) {
            const double a = (double)scores[i];
            assert_true(weights[i] >= (float)options.floor && weights[i] <= 1);
            if (tau > 0 && a > 0) assert_float_equal((double)weights[i], fmax(1e-3, fmin(1, tau / a)), 1e-6);
        }
    }
}

/* On a grid of dyadic numbers shifts and powers of two are exact, so weights must be equal to the last bit; any other scale
 * and shift moves scores by their rounding, and weights by that share of tau~. */
static void invariant(void **state)
{
    (void)state;
    static float scores[600], moved[600], before[600], after[600];
    const cz_weight_anchor anchors[2] = {CZ_ANCHOR_MEDIAN, CZ_ANCHOR_MIN};
    for (uint64_t round = 0; round < 200; round++) {
        cz_rng rng = stream(round);
        cz_confidence_options options = options_of(anchors[round % 2]);
        const size_t count = 8 + (size_t)cz_rng_below(&rng, 592);
        const bool exact = round % 4 < 2;
        options.hard = exact && round % 8 >= 4; /* a step: only where nothing rounds */
        const double shift = exact ? (double)cz_rng_below(&rng, 1 << 18) / 1024 - 128 : 40 * cz_rng_normal(&rng);
        const double scale = exact ? ldexp(1, (int)cz_rng_below(&rng, 40) - 20) : exp(6 * cz_rng_uniform(&rng) - 3);
        for (size_t i = 0; i < count; i++) {
            const double score = floor(1024 * cz_rng_normal(&rng) * (i % 9 ? 1 : 6)) / 1024;
            scores[i] = (float)score;
            moved[i] = (float)(scale * (score + shift));
        }
        const cz_spread a = spread_of(scores, count), b = spread_of(moved, count);
        assert_int_equal(cz_confidence_weights(&options, &a, scores, count, before), CZ_OK);
        assert_int_equal(cz_confidence_weights(&options, &b, moved, count, after), CZ_OK);
        if (exact) assert_memory_equal(before, after, count * sizeof *before);
        for (size_t i = 0; i < count; i++) assert_true(fabsf(before[i] - after[i]) <= 2e-5f);
    }
}

/* Whatever the scores, the window and the options: weights are in [floor, 1], fall as scores rise, are 1 up to tau and
 * below it from there on. */
static void bounded(void **state)
{
    (void)state;
    static float scores[300], weights[300];
    for (uint64_t round = 0; round < 600; round++) {
        cz_rng rng = stream(round);
        cz_confidence_options options = options_of((cz_weight_anchor)(round % 3));
        options.floor = round % 5 ? 1e-3 : cz_rng_uniform(&rng) + 1e-6;
        if (options.floor > 1) options.floor = 1;
        options.kappa = 3 * cz_rng_uniform(&rng);
        const size_t count = 1 + (size_t)cz_rng_below(&rng, 300), held = (size_t)cz_rng_below(&rng, count);
        for (size_t i = 0; i < count; i++) scores[i] = score_of(&rng, round / 3);
        cz_score_window *window = window_of(500, scores, held);
        cz_spread spread;
        assert_int_equal(cz_score_window_spread(window, scores + held, count - held, &spread), CZ_OK);
        cz_score_window_destroy(window);
        qsort(scores, count, sizeof *scores, ascending);
        assert_int_equal(cz_confidence_weights(&options, &spread, scores, count, weights), CZ_OK);
        const double range = spread.q3 - spread.q1, tau = spread.q3 + options.kappa * range;
        for (size_t i = 0; i < count; i++) {
            assert_true(weights[i] >= (float)options.floor && weights[i] <= 1);
            assert_true(i == 0 || weights[i] <= weights[i - 1]);
            if ((double)scores[i] <= tau - 1e-12 * fabs(tau)) assert_true(weights[i] == 1);
            if (range == 0) assert_true(weights[i] == 1);
        }
    }
}

static void constant(void **state)
{
    (void)state;
    static float scores[1000], weights[1000];
    const float values[4] = {0, -0.7f, 3e-39f, -FLT_MAX};
    for (int v = 0; v < 4; v++) {
        for (int i = 0; i < 1000; i++) scores[i] = values[v];
        const cz_spread spread = spread_of(scores, 1000);
        assert_true(spread.q1 == spread.q3);
        scores[999] = 100; /* even a sample far from a constant window */
        for (int hard = 0; hard < 2; hard++) {
            for (int anchor = 0; anchor < 3; anchor++) {
                cz_confidence_options options = options_of((cz_weight_anchor)anchor);
                options.hard = hard;
                assert_int_equal(cz_confidence_weights(&options, &spread, scores, 1000, weights), CZ_OK);
                for (int i = 0; i < 1000; i++) assert_true(weights[i] == 1);
            }
        }
    }
}

static void hard(void **state)
{
    (void)state;
    static float scores[700], weights[700];
    for (uint64_t round = 0; round < 50; round++) {
        cz_rng rng = stream(round);
        for (int i = 0; i < 700; i++) scores[i] = (float)(cz_rng_normal(&rng) * (i % 10 ? 1 : 5));
        const cz_spread spread = spread_of(scores, 700);
        const double tau = spread.q3 + 1.5 * (spread.q3 - spread.q1);
        cz_confidence_options options = options_of((cz_weight_anchor)(round % 3));
        options.hard = true;
        assert_int_equal(cz_confidence_weights(&options, &spread, scores, 700, weights), CZ_OK);
        size_t out = 0;
        for (int i = 0; i < 700; i++) {
            assert_true(weights[i] == ((double)scores[i] <= tau ? 1.0f : 0.0f));
            out += weights[i] == 0;
        }
        assert_true(out > 0 && out < 200);
    }
}

/* Largest change of any weight when one score of the window is put at -100 standard deviations. */
static double low_outlier(uint64_t seed, size_t held, cz_weight_anchor anchor)
{
    static float scores[MOST], own[1000], before[1000], after[1000];
    cz_rng rng = stream(seed);
    const cz_confidence_options options = options_of(anchor);
    cz_spread a, b;
    double most = 0;
    for (size_t i = 0; i < held; i++) scores[i] = (float)(cz_rng_normal(&rng) - 0.5);
    for (size_t i = 0; i < 1000; i++) own[i] = (float)(cz_rng_normal(&rng) * (i % 4 ? 1 : 4) - 0.5);
    cz_score_window *window = window_of(held, scores, held);
    assert_int_equal(cz_score_window_spread(window, NULL, 0, &a), CZ_OK);
    const float low = -100.5f;
    cz_score_window_push(window, &low, 1, 1);
    assert_int_equal(cz_score_window_spread(window, NULL, 0, &b), CZ_OK);
    cz_score_window_destroy(window);
    assert_true(b.least == (double)low);
    assert_int_equal(cz_confidence_weights(&options, &a, own, 1000, before), CZ_OK);
    assert_int_equal(cz_confidence_weights(&options, &b, own, 1000, after), CZ_OK);
    for (size_t i = 0; i < 1000; i++) most = fmax(most, fabs((double)before[i] - (double)after[i]));
    return most;
}

static void one_low_outlier(void **state)
{
    (void)state;
    const size_t sizes[4] = {512, 1024, 4096, MOST}; /* 512: four images of 128 patches, where weighting begins */
    for (size_t s = 0; s < 4; s++) {
        double most = 0, min_anchor = 1;
        for (uint64_t seed = 0; seed < 40; seed++) {
            most = fmax(most, low_outlier(seed, sizes[s], CZ_ANCHOR_MEDIAN));
            min_anchor = fmin(min_anchor, low_outlier(seed, sizes[s], CZ_ANCHOR_MIN));
        }
        printf("one score at -100 sd among %zu: weights move by at most %.4f (anchor min: at least %.2f)\n", sizes[s],
               most, min_anchor);
        assert_true(most <= 0.02);
        assert_true(min_anchor > 0.2); /* why the minimum is not the default */
    }
}

/* 90 % N(m, s^2), 10 % at the clean Q3 + 6 clean IQR, in the window as well as in the batch. */
static void contaminated(void **state)
{
    (void)state;
    static float scores[MOST], weights[MOST];
    double most_out = 0, least_in = 1;
    for (uint64_t seed = 0; seed < 40; seed++) {
        cz_rng rng = stream(seed);
        const double mean = 4 * cz_rng_normal(&rng), sd = exp(2 * cz_rng_normal(&rng));
        const cz_confidence_options options = options_of(CZ_ANCHOR_MEDIAN);
        const size_t count = seed % 2 ? MOST : 1000;
        double in = 0, out = 0, inliers = 0, outliers = 0;
        for (size_t i = 0; i < count; i++)
            scores[i] = (float)(mean + sd * (i % 10 ? cz_rng_normal(&rng) : 0.67448975 + 6 * 1.3489795));
        const cz_spread spread = spread_of(scores, count);
        assert_int_equal(cz_confidence_weights(&options, &spread, scores, count, weights), CZ_OK);
        for (size_t i = 0; i < count; i++) {
            *(i % 10 ? &in : &out) += (double)weights[i];
            *(i % 10 ? &inliers : &outliers) += 1;
        }
        most_out = fmax(most_out, out / outliers);
        least_in = fmin(least_in, in / inliers);
    }
    printf("10 %% outliers: mean weight at most %.3f, inliers at least %.4f\n", most_out, least_in);
    assert_true(most_out < 0.40);
    assert_true(least_in > 0.97);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ring),
        cmocka_unit_test(restored),
        cmocka_unit_test(quartiles),
        cmocka_unit_test(not_finite),
        cmocka_unit_test(refused),
        cmocka_unit_test(out_of_memory),
        cmocka_unit_test(formula),
        cmocka_unit_test(no_anchor),
        cmocka_unit_test(invariant),
        cmocka_unit_test(bounded),
        cmocka_unit_test(constant),
        cmocka_unit_test(hard),
        cmocka_unit_test(one_low_outlier),
        cmocka_unit_test(contaminated),
    };
    return cmocka_run_group_tests_name("soft_confident", tests, NULL, NULL);
}
