/* SPDX-License-Identifier: Apache-2.0 */
/* Quartiles, weights and determinants against numpy. Scores are hashes of their names, as in make_confidence_goldens.py. */
#include "losses/model_uncertainty.h"
#include "losses/soft_confident.h"
#include "tensor/tensors.h"
#include "util/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MOST = 4099, STEPS = 40, PAIRS = 10, WEIGHTS = 1024 };

static const size_t COUNTS[] = {1, 2, 3, 4, 5, 6, 7, 8, 23, 24, 25, 26, 100, 1023, 1024, 1025, 4099};
#define SETS (sizeof COUNTS / sizeof COUNTS[0])

static cz_tensors *golden;

static int open_golden(void **state)
{
    (void)state;
    return cz_safetensors_open(TEST_FILES "/confidence.safetensors", &golden) == CZ_OK ? 0 : -1;
}

static int close_golden(void **state)
{
    (void)state;
    cz_tensors_close(golden);
    return 0;
}

static void values_of(const char *name, double *out, size_t count)
{
    cz_tensor_view view;
    assert_int_equal(cz_tensors_find(golden, name, &view), CZ_OK);
    assert_true(view.dtype == CZ_F64 && view.bytes == count * sizeof *out);
    memcpy(out, view.data, view.bytes);
}

static void scores_of(size_t count, float *out)
{
    char name[32];
    snprintf(name, sizeof name, "scores.%zu", count);
    for (size_t i = 0; i < count; i++) {
        const float u = cz_hash_uniform(cz_name_hash(name, 0), i);
        out[i] = (i % 8 ? u : 6 * fabsf(u)) - 0.5f;
    }
}

/* A third in the window, the rest as the batch's own. */
static cz_spread spread_of(const float *scores, size_t count)
{
    cz_score_window *window;
    cz_spread spread;
    assert_int_equal(cz_score_window_create(MOST, &window), CZ_OK);
    cz_score_window_push(window, scores, count / 3, 1);
    assert_int_equal(cz_score_window_spread(window, scores + count / 3, count - count / 3, &spread), CZ_OK);
    cz_score_window_destroy(window);
    return spread;
}

static void quartiles(void **state)
{
    (void)state;
    static float scores[MOST];
    double want[SETS][4];
    values_of("spread", &want[0][0], SETS * 4);
    for (size_t s = 0; s < SETS; s++) {
        scores_of(COUNTS[s], scores);
        const cz_spread got = spread_of(scores, COUNTS[s]);
        assert_true(got.least == want[s][0] && got.q1 == want[s][1]); /* to the last bit */
        assert_true(got.median == want[s][2] && got.q3 == want[s][3]);
    }
}

static void weights(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        cz_weight_anchor anchor;
    } anchors[] = {
        {"weights.median", CZ_ANCHOR_MEDIAN}, {"weights.min", CZ_ANCHOR_MIN}, {"weights.none", CZ_ANCHOR_NONE}};
    static float scores[WEIGHTS], got[WEIGHTS];
    static double want[WEIGHTS];
    scores_of(WEIGHTS, scores);
    const cz_spread spread = spread_of(scores, WEIGHTS);
    for (size_t k = 0; k < 3; k++) {
        cz_confidence_options options;
        double most = 0;
        size_t below = 0;
        cz_confidence_options_init(&options);
        options.anchor = anchors[k].anchor;
        values_of(anchors[k].name, want, WEIGHTS);
        assert_int_equal(cz_confidence_weights(&options, &spread, scores, WEIGHTS, got), CZ_OK);
        for (size_t i = 0; i < WEIGHTS; i++) {
            most = fmax(most, fabs((double)got[i] - want[i]));
            below += want[i] < 1;
        }
        printf("%s: largest difference %.1e, %zu of %d below 1\n", anchors[k].name, most, below, WEIGHTS);
        assert_true(most <= 6e-8 && below > 50); /* one rounding to fp32 */
    }
}

static void determinants(void **state)
{
    (void)state;
    double pairs[STEPS][2], want[STEPS];
    values_of("pairs", &pairs[0][0], STEPS * 2);
    for (int raw = 0; raw < 2; raw++) {
        cz_uncertainty_options options;
        cz_uncertainty u;
        double most = 0;
        cz_uncertainty_options_init(&options);
        options.raw = raw;
        assert_int_equal(options.pairs, PAIRS);
        assert_int_equal(cz_uncertainty_init(&u, &options), CZ_OK);
        values_of(raw ? "det.raw" : "det.scaled", want, STEPS);
        for (size_t i = 0; i < STEPS; i++) {
            assert_int_equal(cz_uncertainty_push(&u, pairs[i][0], pairs[i][1]), CZ_OK);
            if (i + 1 < PAIRS) {
                assert_true(u.det == 0 && want[i] == 0);
            } else {
                assert_true(want[i] > 0);
                most = fmax(most, fabs(u.det - want[i]) / want[i]);
            }
        }
        printf("det, %s losses: largest relative difference %.1e\n", raw ? "raw" : "scaled", most);
        assert_true(most <= 1e-11);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(quartiles), cmocka_unit_test(weights),
                                       cmocka_unit_test(determinants)};
    return cmocka_run_group_tests_name("confidence parity", tests, open_golden, close_golden);
}
