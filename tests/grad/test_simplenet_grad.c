/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SimpleNet's gradients, twice: finite differences in double of the plain twin's loss against the twin's hand-written
 * backward, and the library's fp32 backward against the twin in double.
 */
#include "simplenet_problem.h"
#include "util/alloc.h"
#include "util/threads.h"

static double loss_at(const problem *p, const ref64_batch *batch, size_t index, double value)
{
    const double kept = p->theta[index];
    ref64_result result = {0};
    p->theta[index] = value;
    ref64_run(&p->config, p->theta, batch, &result);
    p->theta[index] = kept;
    return result.loss;
}

static void finite_differences(const ref_config *config, uint64_t seed, bool inject)
{
    problem p;
    const double step = 2e-6;
    make_smooth(&p, config, seed, 1e-3);
    const ref64_batch batch = wide_batch(&p, inject);
    double *grads = calloc(p.count, sizeof *grads);
    ref64_result result = {.grads = grads};
    ref64_run(config, p.theta, &batch, &result);
    const double most = largest(grads, p.count), bound = 1e-6 * (most > 1e-8 ? most : 1e-8);
    assert_true(most > 1e-6);
    for (size_t i = 0; i < p.count; i++) {
        /* fourth order: 1e-6 leaves no room for the curvature of batch norm over few rows */
        const double near = loss_at(&p, &batch, i, p.theta[i] + step) - loss_at(&p, &batch, i, p.theta[i] - step);
        const double far =
            loss_at(&p, &batch, i, p.theta[i] + 2 * step) - loss_at(&p, &batch, i, p.theta[i] - 2 * step);
        const double slope = (8 * near - far) / (12 * step);
        if (!(fabs(slope - grads[i]) <= bound))
            fail_msg("P %zu D %zu K %zu: parameter %zu: %.12g by differences, %.12g by backward (largest %.3g)",
                     config->p, config->d, config->k, i, slope, grads[i], most);
    }
    free(grads);
    drop(&p);
}

static void test_twin_against_differences(void **state)
{
    (void)state;
    for (size_t i = 0; i < CASES; i++)
        for (int inject = 0; inject < 2; inject++) finite_differences(&cases[i], 11 + i, inject != 0);
}

/* `relative` of the largest gradient of all. */
static void library(const ref_config *config, uint64_t seed, bool inject, double distance, double relative)
{
    problem p;
    cz_head_work *work = NULL;
    make_smooth(&p, config, seed, distance);
    cz_head *head = head_for(config);
    float *grads = calloc(p.count, sizeof *grads), *stats = calloc(2 * config->k, sizeof *stats);
    double *grads64 = calloc(p.count, sizeof *grads64), *stats64 = calloc(2 * config->k, sizeof *stats64);
    double *score64 = calloc(config->p, sizeof *score64), loss, injected = 0;
    ref64_result result = {.grads = grads64, .mean = stats64, .variance = stats64 + config->k, .score = score64};
    const ref64_batch reference = wide_batch(&p, inject);
    ref64_run(config, p.theta, &reference, &result);

    const cz_batch batch = {.patches = config->p,
                            .width = config->d,
                            .features = p.o32,
                            .images = 1,
                            .target = p.target,
                            .weight = p.weight32};
    const cz_head_noise noise = {.injected = p.eps32};
    /* a larger workspace than needed: nothing may depend on its size */
    assert_int_equal(cz_head_work_create(head, config->p + 3, &work), CZ_OK);
    assert_int_equal(cz_head_forward(head, p.theta32, &batch, &noise, work), CZ_OK);
    assert_int_equal(cz_head_loss(head, &batch, work, &loss), CZ_OK);
    for (size_t i = 0; inject && i < config->p * config->d; i++) injected += p.inject[i] * (double)work->q[i];
    cz_head_batch_state(head, work, stats);
    assert_near("score", work->score, score64, config->p, 1e-4);
    assert_near("statistic", stats, stats64, 2 * config->k, 1e-5);
    assert_true(fabs(loss + injected - result.loss) <= 1e-5 * (1 + fabs(result.loss)));
    assert_int_equal(cz_head_backward(head, p.theta32, &batch, inject ? p.inject32 : NULL, work, grads), CZ_OK);
    assert_near("gradient", grads, grads64, p.count, relative);
    assert_int_equal(cz_head_backward(head, p.theta32, &batch, NULL, work, grads), CZ_E_ARG); /* used up */

    float *grads32 = calloc(p.count, sizeof *grads32);
    const ref32_batch plain = {p.o32, p.eps32, p.weight32, p.target, inject ? p.inject32 : NULL};
    ref32_result plain_result = {.grads = grads32};
    ref32_run(config, p.theta32, &plain, &plain_result);
    assert_near("plain fp32 gradient", grads32, grads64, p.count, relative);

    cz_head_work_destroy(work);
    cz_head_destroy(head);
    free(grads);
    free(grads32);
    free(stats);
    free(grads64);
    free(stats64);
    free(score64);
    drop(&p);
}

static void test_library_against_twin(void **state)
{
    (void)state;
    for (size_t i = 0; i < CASES; i++)
        for (int inject = 0; inject < 2; inject++) library(&cases[i], 31 + i, inject != 0, 1e-3, 1e-4);
}

/* Past the sizes where the passes over rows change path: blocks of 32 and 128 rows, 16 lanes. */
static void test_library_larger(void **state)
{
    static const ref_config larger[] = {{65, 17, 19, false, false, 0.5, -0.5, false},
                                        {67, 9, 33, true, false, 0.5, -0.5, false},
                                        {129, 12, 16, false, true, 0.5, -0.5, false},
                                        {66, 12, 17, false, false, 0.5, -0.5, true}};
    (void)state;
    for (size_t i = 0; i < sizeof larger / sizeof larger[0]; i++) library(&larger[i], 51 + i, i != 0, 2e-5, 1e-4);
}

static void test_library_random_sizes(void **state)
{
    (void)state;
    cz_rng rng;
    cz_rng_init(&rng, 4, CZ_RNG_TEST, 0, 0);
    for (uint64_t i = 0; i < 40; i++) {
        ref_config config = {.margin_positive = 0.5, .margin_negative = -0.5};
        config.p = 1 + cz_rng_below(&rng, 20);
        config.d = 1 + cz_rng_below(&rng, 12);
        config.k = 1 + cz_rng_below(&rng, 21);
        config.compat = cz_rng_below(&rng, 2) != 0;
        config.weight_both = cz_rng_below(&rng, 2) != 0;
        config.no_twins = i % 4 == 3;
        library(&config, 100 + i, cz_rng_below(&rng, 2) != 0, 1e-4, 1e-4);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_twin_against_differences),
        cmocka_unit_test(test_library_against_twin),
        cmocka_unit_test(test_library_larger),
        cmocka_unit_test(test_library_random_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
