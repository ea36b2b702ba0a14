/* SPDX-License-Identifier: Apache-2.0 */
#include "cozad/cozad_eval.h"
#include "util/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* The definition: over all pairs, ties half. */
static double naive(const float *scores, const uint8_t *labels, size_t count)
{
    double wins = 0, pairs = 0;
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < count; j++) {
            if (!labels[i] || labels[j]) continue;
            pairs += 1;
            wins += scores[i] > scores[j] ? 1.0 : scores[i] == scores[j] ? 0.5 : 0.0;
        }
    }
    return wins / pairs;
}

static void exact(void **state)
{
    (void)state;
    cz_rng rng;
    for (uint64_t round = 0; round < 200; round++) {
        float scores[60];
        uint8_t labels[60];
        cz_rng_init(&rng, 1, CZ_RNG_TEST, round, 0);
        const size_t count = 2 + (size_t)cz_rng_below(&rng, 58);
        for (size_t i = 0; i < count; i++) {
            scores[i] = (float)cz_rng_below(&rng, 12) - 5.5f; /* many ties, both signs */
            if (round % 2 == 0) scores[i] *= (float)cz_rng_uniform(&rng);
            labels[i] = (uint8_t)cz_rng_below(&rng, 2);
        }
        labels[0] = 0;
        labels[1] = 3;
        double value, bound;
        assert_int_equal(cz_auroc(scores, labels, count, &value), CZ_OK);
        const double want = naive(scores, labels, count);
        assert_true(fabs(value - want) < 1e-12);
        cz_auroc_stream *stream;
        assert_int_equal(cz_auroc_stream_open(&stream), CZ_OK);
        assert_int_equal(cz_auroc_stream_add(stream, scores, labels, count / 2), CZ_OK);
        assert_int_equal(cz_auroc_stream_add(stream, scores + count / 2, labels + count / 2, count - count / 2), CZ_OK);
        value = cz_auroc_stream_value(stream, &bound);
        assert_true(fabs(value - want) <= bound + 1e-12);
        cz_auroc_stream_close(stream);
    }
}

static void corners(void **state)
{
    (void)state;
    double value;
    const float scores[3] = {0.0f, -0.0f, 1.0f};
    const uint8_t none[3] = {0, 0, 0}, tie[3] = {1, 0, 0};
    assert_int_equal(cz_auroc(scores, none, 3, &value), CZ_OK);
    assert_true(isnan(value)); /* a class is absent */
    assert_int_equal(cz_auroc(scores, tie, 2, &value), CZ_OK);
    assert_true(value == 0.5); /* 0 and -0 tie */
    const float bad[2] = {1.0f, NAN};
    assert_int_equal(cz_auroc(bad, tie, 2, &value), CZ_E_ARG);
    cz_auroc_stream *stream;
    assert_int_equal(cz_auroc_stream_open(&stream), CZ_OK);
    assert_true(isnan(cz_auroc_stream_value(stream, NULL)));
    const float lowest[2] = {NAN, -INFINITY};
    const uint8_t labels[2] = {0, 1};
    assert_int_equal(cz_auroc_stream_add(stream, lowest, labels, 2), CZ_OK);
    assert_true(cz_auroc_stream_value(stream, NULL) == 1.0); /* NaN is below everything */
    cz_auroc_stream_close(stream);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(exact), cmocka_unit_test(corners)};
    return cmocka_run_group_tests_name("auroc", tests, NULL, NULL);
}
