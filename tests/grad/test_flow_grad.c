/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The flow's gradients and Hessian-vector products, twice: fourth-order differences in double of the plain twin against its
 * hand-written backward and its exact products, and the library in fp32 against the twin in double.
 */
#include "flow_problem.h"
#include "util/threads.h"

static double loss_at(const flow_problem *p, const ref64_flow_batch *batch, size_t index, double value)
{
    const double kept = p->theta[index];
    ref64_flow_result result = {0};
    p->theta[index] = value;
    ref64_flow_run(&p->config, p->theta, batch, &result);
    p->theta[index] = kept;
    return result.loss;
}

static void gradient_by_differences(const flow_case *c, uint64_t seed)
{
    flow_problem p;
    const double step = 1e-5;
    flow_make_smooth(&p, c, seed, 1e-3);
    const ref64_flow_batch batch = flow_wide_batch(&p);
    double *grads = calloc(p.count, sizeof *grads), worst = 0;
    ref64_flow_result result = {.grads = grads};
    ref64_flow_run(&p.config, p.theta, &batch, &result);
    const double most = flow_largest(grads, p.count), bound = 1e-6 * (most > 1e-8 ? most : 1e-8);
    assert_true(most > 1e-3);
    for (size_t i = 0; i < p.count - 2 * p.config.f; i++) {
        const double near = loss_at(&p, &batch, i, p.theta[i] + step) - loss_at(&p, &batch, i, p.theta[i] - step);
        const double far =
            loss_at(&p, &batch, i, p.theta[i] + 2 * step) - loss_at(&p, &batch, i, p.theta[i] - 2 * step);
        const double slope = (8 * near - far) / (12 * step);
        worst = fmax(worst, fabs(slope - grads[i]) / most);
        if (!(fabs(slope - grads[i]) <= bound))
            fail_msg("P %zu D %zu F %zu: parameter %zu: %.12g by differences, %.12g by backward (largest %.3g)", c->p,
                     c->d, c->f, i, slope, grads[i], most);
    }
    for (size_t i = p.count - 2 * p.config.f; i < p.count; i++) assert_true(grads[i] == 0);
    print_message("P %zu D %zu F %zu B %zu: gradient within %.1e\n", c->p, c->d, p.config.f, c->blocks, worst);
    free(grads);
    flow_drop(&p);
}

static void product_by_differences(const flow_case *c, uint64_t seed)
{
    flow_problem p;
    flow_make_smooth(&p, c, seed, 1e-3);
    const size_t n = p.count, learnt = n - 2 * p.config.f;
    const double step = 1e-5, factor[4] = {8, -8, -1, 1}, at[4] = {1, -1, 2, -2};
    const ref64_flow_batch batch = flow_wide_batch(&p);
    double *product = calloc(n, sizeof *product), *slope = calloc(n, sizeof *slope), *grads = calloc(n, sizeof *grads);
    double *v = calloc(n, sizeof *v), *theta = calloc(n, sizeof *theta), worst = 0;
    float *v32 = calloc(n, sizeof *v32);
    flow_fill("v", seed, n, 1, 0, v, v32);
    flow_exact_product(&p.config, p.theta, v, p.o, p.weight, p.target, product, NULL);
    for (size_t j = 0; j < 4; j++) {
        ref64_flow_result result = {.grads = grads};
        for (size_t i = 0; i < n; i++) theta[i] = p.theta[i] + (i < learnt ? at[j] * step * v[i] : 0);
        ref64_flow_run(&p.config, theta, &batch, &result);
        for (size_t i = 0; i < n; i++) slope[i] += factor[j] * grads[i] / (12 * step);
    }
    const double most = flow_largest(product, n), bound = 1e-6 * (most > 1e-8 ? most : 1e-8);
    assert_true(most > 1e-3);
    for (size_t i = 0; i < n; i++) {
        worst = fmax(worst, fabs(slope[i] - product[i]) / most);
        if (!(fabs(slope[i] - product[i]) <= bound))
            fail_msg("P %zu D %zu F %zu: parameter %zu: %.12g by differences, %.12g exactly (largest %.3g)", c->p, c->d,
                     c->f, i, slope[i], product[i], most);
    }
    print_message("P %zu D %zu F %zu B %zu: product within %.1e\n", c->p, c->d, p.config.f, c->blocks, worst);
    double *const all[] = {product, slope, grads, v, theta};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) free(all[i]);
    free(v32);
    flow_drop(&p);
}

static void test_twin_against_differences(void **state)
{
    (void)state;
    for (size_t i = 0; i < FLOW_CASES; i++) {
        gradient_by_differences(&flow_cases[i], 11 + i);
        product_by_differences(&flow_cases[i], 21 + i);
    }
}

/* ---- the library ---------------------------------------------------------------------------------------------- */

static cz_batch batch_of(const flow_problem *p)
{
    return (cz_batch){.patches = p->config.p,
                      .width = p->config.d,
                      .features = p->o32,
                      .images = 1,
                      .target = p->target,
                      .weight = p->weight32};
}

static void expect_within(const flow_problem *p, const char *what, const float *values, const double *expected,
                          size_t count, double bound)
{
    const double apart = flow_apart(values, expected, count);
    if (!(apart <= bound))
        fail_msg("P %zu D %zu F %zu H %zu B %zu: %s differs by %.3g of the largest", p->config.p, p->config.d,
                 p->config.f, p->config.hidden, p->config.blocks, what, apart);
}

/* Scores, loss, gradient of a plain and of a keeping workspace, and the product along v. */
static void library(const flow_case *c, uint64_t seed, double distance)
{
    flow_problem p;
    flow_make_smooth(&p, c, seed, distance);
    const size_t n = p.count;
    cz_head_work *plain = NULL, *keep = NULL;
    double *grads64 = calloc(n, sizeof *grads64), *product64 = calloc(n, sizeof *product64), *v = calloc(n, sizeof *v);
    double *score64 = calloc(c->p, sizeof *score64), loss;
    float *grads = calloc(n, sizeof *grads), *kept = calloc(n, sizeof *kept), *product = calloc(n, sizeof *product);
    float *v32 = calloc(n, sizeof *v32), *again = calloc(n, sizeof *again);
    const ref64_flow_batch wide = flow_wide_batch(&p);
    ref64_flow_result result = {.grads = grads64, .score = score64};
    ref64_flow_run(&p.config, p.theta, &wide, &result);
    flow_fill("v", seed, n, 1, 0, v, v32);
    flow_exact_product(&p.config, p.theta, v, p.o, p.weight, p.target, product64, NULL);

    const cz_batch batch = batch_of(&p);
    /* a larger workspace than needed: nothing may depend on its size */
    assert_int_equal(cz_head_work_create(p.head, c->p + 3, &plain), CZ_OK);
    assert_int_equal(cz_head_forward(p.head, p.theta32, &batch, NULL, plain), CZ_OK);
    assert_int_equal(cz_head_loss(p.head, &batch, plain, &loss), CZ_OK);
    expect_within(&p, "score", plain->score, score64, c->p, 1e-5);
    assert_true(fabs(loss - result.loss) <= 1e-5 * (1 + fabs(result.loss)));
    for (size_t i = 0; i < c->p; i++) assert_true(plain->loss[i] == (p.target[i] == 1 ? 0 : plain->score[i]));
    assert_int_equal(cz_head_backward(p.head, p.theta32, &batch, NULL, plain, grads), CZ_OK);
    expect_within(&p, "gradient", grads, grads64, n, 1e-4);
    assert_int_equal(cz_head_backward(p.head, p.theta32, &batch, NULL, plain, grads), CZ_E_ARG); /* used up */
    const ref32_flow_batch narrow = {p.o32, p.weight32, p.target};
    ref32_flow_result narrow_result = {.grads = again};
    ref32_flow_run(&p.config, p.theta32, &narrow, &narrow_result);
    expect_within(&p, "plain fp32 gradient", again, grads64, n, 1e-4);

    assert_int_equal(cz_head_work_create(p.head, c->p, &keep), CZ_OK);
    assert_int_equal(cz_head_work_second_order(keep), CZ_OK);
    assert_int_equal(cz_head_work_second_order(keep), CZ_OK); /* a second call changes nothing */
    assert_int_equal(cz_head_forward(p.head, p.theta32, &batch, NULL, keep), CZ_OK);
    assert_int_equal(cz_head_tangent(p.head, p.theta32, &batch, v32, keep, NULL), CZ_E_ARG); /* before backward */
    assert_int_equal(cz_head_backward(p.head, p.theta32, &batch, NULL, keep, kept), CZ_OK);
    assert_memory_equal(kept, grads, n * sizeof *kept);
    for (int times = 0; times < 2; times++) { /* as often as one likes */
        assert_int_equal(cz_head_tangent(p.head, p.theta32, &batch, v32, keep, NULL), CZ_OK);
        assert_int_equal(cz_head_hessian(p.head, p.theta32, &batch, v32, NULL, NULL, keep, times ? again : product),
                         CZ_OK);
    }
    assert_memory_equal(again, product, n * sizeof *again);
    expect_within(&p, "product", product, product64, n, 1e-4);
    for (size_t i = n - 2 * p.config.f; i < n; i++) assert_true(grads[i] == 0 && product[i] == 0);

    cz_head_work_destroy(plain);
    cz_head_work_destroy(keep);
    double *const doubles[] = {grads64, product64, v, score64};
    float *const floats[] = {grads, kept, product, v32, again};
    for (size_t i = 0; i < sizeof doubles / sizeof doubles[0]; i++) free(doubles[i]);
    for (size_t i = 0; i < sizeof floats / sizeof floats[0]; i++) free(floats[i]);
    flow_drop(&p);
}

static void test_library_against_twin(void **state)
{
    (void)state;
    for (size_t i = 0; i < FLOW_CASES; i++) library(&flow_cases[i], 31 + i, 1e-4);
}

/* Past the sizes where the passes over rows change path: strips of 64 columns, 16 lanes, groups of 128 rows. */
static void test_library_larger(void **state)
{
    static const flow_case larger[] = {{5, 130, 0, 3, 2, 1.9}, {131, 5, 0, 17, 2, 1.9}, {3, 150, 140, 9, 2, 1.9}};
    (void)state;
    for (size_t i = 0; i < sizeof larger / sizeof larger[0]; i++) library(&larger[i], 51 + i, 3e-6);
}

static void test_library_random_sizes(void **state)
{
    (void)state;
    cz_rng rng;
    cz_rng_init(&rng, 4, CZ_RNG_TEST, 0, 0);
    for (uint64_t i = 0; i < 40; i++) {
        flow_case c = {.clamp = 0.5 + 2 * cz_rng_uniform(&rng)};
        c.p = 1 + cz_rng_below(&rng, 12);
        c.d = 2 + cz_rng_below(&rng, 10);
        c.f = cz_rng_below(&rng, 2) ? 2 + cz_rng_below(&rng, 10) : 0; /* may be d and more: none */
        c.hidden = cz_rng_below(&rng, 12);
        c.blocks = 1 + cz_rng_below(&rng, 4);
        library(&c, 100 + i, 2e-5);
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
