/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SimpleNet's Hessian-vector product, twice: fourth-order differences in double of the plain twin's gradient along the
 * direction against the twin's product, and the library's fp32 product against the twin in double. The other loss on q is
 * sum(inject q + bend q^2 / 2), whose gradient moves with q.
 */
#include "simplenet_problem.h"
#include "util/alloc.h"
#include "util/threads.h"

#define REAL      float
#define REF(name) ref32_##name
#include "simplenet_hvp_ref.h"
#undef REAL
#undef REF
#define REAL      double
#define REF(name) ref64_##name
#include "simplenet_hvp_ref.h"
#undef REAL
#undef REF

/* A problem with two directions and the bend of the loss on q; float holds all values exactly. */
typedef struct curved {
    problem p;
    size_t pd;
    double *u, *v, *bend;
    float *u32, *v32, *bend32;
} curved;

static void pair(const char *name, uint64_t seed, size_t count, double **wide, float **narrow)
{
    *wide = calloc(count, sizeof **wide);
    *narrow = calloc(count, sizeof **narrow);
    fill(name, seed, count, 1, 0, *wide, *narrow);
}

static void make_curved(curved *c, const ref_config *config, uint64_t seed, double distance)
{
    make_smooth(&c->p, config, seed, distance);
    c->pd = config->p * config->d;
    pair("u", seed, c->p.count, &c->u, &c->u32);
    pair("v", seed, c->p.count, &c->v, &c->v32);
    pair("bend", seed, c->pd, &c->bend, &c->bend32);
}

static void drop_curved(curved *c)
{
    double *const wide[] = {c->u, c->v, c->bend};
    float *const narrow[] = {c->u32, c->v32, c->bend32};
    for (size_t i = 0; i < 3; i++) {
        free(wide[i]);
        free(narrow[i]);
    }
    drop(&c->p);
}

/* grads = gradient at theta + step u, of the loss on q as well if `inject` */
static void gradient_at(const curved *c, bool inject, double step, double *grads)
{
    const ref_config *s = &c->p.config;
    double *theta = calloc(c->p.count, sizeof *theta), *dq = calloc(c->pd, sizeof *dq);
    ref64_batch batch = wide_batch(&c->p, false);
    ref64_result result = {.grads = grads};
    for (size_t i = 0; i < c->p.count; i++) theta[i] = c->p.theta[i] + step * c->u[i];
    ref64_layer(theta, s->compat ? theta + s->d * s->d : NULL, c->p.o, s->p, s->d, s->d, dq);
    for (size_t i = 0; i < c->pd; i++) dq[i] = c->p.inject[i] + c->bend[i] * dq[i];
    if (inject) batch.inject = dq;
    ref64_run(s, theta, &batch, &result);
    free(theta);
    free(dq);
}

/* The twin in double: out = Hessian times direction; tangent_q [p, d] or NULL */
static void twin(const curved *c, const double *direction, bool inject, double *tangent_q, double *out)
{
    const ref_config *s = &c->p.config;
    const ref64_batch batch = wide_batch(&c->p, false);
    double *moved = calloc(c->pd, sizeof *moved);
    ref64_layer(direction, s->compat ? direction + s->d * s->d : NULL, c->p.o, s->p, s->d, s->d, moved);
    for (size_t i = 0; i < c->pd; i++) moved[i] *= c->bend[i];
    ref64_product product = {.tangent_q = tangent_q, .tangent_dq = inject ? moved : NULL, .out = out};
    ref64_hvp(s, c->p.theta, direction, &batch, &product);
    free(moved);
}

static void finite_differences(const ref_config *config, uint64_t seed, bool inject)
{
    curved c;
    make_curved(&c, config, seed, 1e-3);
    const size_t n = c.p.count;
    const double step = 1e-5, factor[4] = {8, -8, -1, 1}, at[4] = {1, -1, 2, -2};
    double *product = calloc(n, sizeof *product), *slope = calloc(n, sizeof *slope), *grads = calloc(n, sizeof *grads);
    twin(&c, c.u, inject, NULL, product);
    for (size_t j = 0; j < 4; j++) {
        gradient_at(&c, inject, at[j] * step, grads);
        for (size_t i = 0; i < n; i++) slope[i] += factor[j] * grads[i] / (12 * step);
    }
    const double most = largest(product, n), bound = 1e-6 * (most > 1e-8 ? most : 1e-8);
    double worst = 0;
    for (size_t i = 0; i < n; i++) worst = fabs(slope[i] - product[i]) > worst ? fabs(slope[i] - product[i]) : worst;
    print_message("P %zu D %zu K %zu: |Hv| %.3g, worst %.3g relative\n", config->p, config->d, config->k, most,
                  worst / most);
    for (size_t i = 0; i < n; i++)
        if (!(fabs(slope[i] - product[i]) <= bound))
            fail_msg("P %zu D %zu K %zu: parameter %zu: %.12g by differences, %.12g by the product (largest %.3g)",
                     config->p, config->d, config->k, i, slope[i], product[i], most);
    free(product);
    free(slope);
    free(grads);
    drop_curved(&c);
}

static void test_twin_against_differences(void **state)
{
    (void)state;
    for (size_t i = 0; i < CASES; i++)
        for (int inject = 0; inject < 2; inject++) finite_differences(&cases[i], 11 + i, inject != 0);
}

/* ---- the library ---------------------------------------------------------------------------------------------- */

/* A keeping workspace after forward and backward of `c`, and what backward was given and gave. */
typedef struct passed {
    cz_head *head;
    cz_head_work *work;
    cz_batch batch;
    float *dq, *grads; /* dq: NULL without the loss on q */
} passed;

static void start(const curved *c, bool inject, passed *l)
{
    const ref_config *s = &c->p.config;
    *l = (passed){.head = head_for(s), .grads = calloc(c->p.count, sizeof *l->grads)};
    l->batch = (cz_batch){.patches = s->p,
                          .width = s->d,
                          .features = c->p.o32,
                          .images = 1,
                          .target = c->p.target,
                          .weight = c->p.weight32};
    const cz_head_noise noise = {.injected = c->p.eps32};
    assert_int_equal(cz_head_work_create(l->head, s->p + 3, &l->work), CZ_OK);
    assert_int_equal(cz_head_work_second_order(l->work), CZ_OK);
    assert_int_equal(cz_head_work_second_order(l->work), CZ_OK); /* a second call changes nothing */
    assert_int_equal(cz_head_forward(l->head, c->p.theta32, &l->batch, &noise, l->work), CZ_OK);
    if (inject) {
        l->dq = calloc(c->pd, sizeof *l->dq);
        for (size_t i = 0; i < c->pd; i++) l->dq[i] = c->p.inject32[i] + c->bend32[i] * l->work->q[i];
    }
    assert_int_equal(cz_head_backward(l->head, c->p.theta32, &l->batch, l->dq, l->work, l->grads), CZ_OK);
}

static void stop(passed *l)
{
    cz_head_work_destroy(l->work);
    cz_head_destroy(l->head);
    free(l->dq);
    free(l->grads);
}

/* out = Hessian times direction by the library; tangent_q: [p, d] */
static void product(const curved *c, passed *l, const float *direction, float *tangent_q, float *out)
{
    float *moved = calloc(c->pd, sizeof *moved);
    assert_int_equal(cz_head_tangent(l->head, c->p.theta32, &l->batch, direction, l->work, tangent_q), CZ_OK);
    for (size_t i = 0; i < c->pd; i++) moved[i] = c->bend32[i] * tangent_q[i];
    assert_int_equal(
        cz_head_hessian(l->head, c->p.theta32, &l->batch, direction, l->dq, l->dq ? moved : NULL, l->work, out), CZ_OK);
    free(moved);
}

/* Backward of a keeping workspace gives the bits of a plain one, as often as it is asked. */
static void assert_plain_backward(const curved *c, passed *l)
{
    const cz_head_noise noise = {.injected = c->p.eps32};
    cz_head_work *plain = NULL;
    float *grads = calloc(c->p.count, sizeof *grads), *q = calloc(c->pd, sizeof *q);
    assert_int_equal(cz_head_work_create(l->head, c->p.config.p, &plain), CZ_OK);
    assert_int_equal(cz_head_forward(l->head, c->p.theta32, &l->batch, &noise, plain), CZ_OK);
    memcpy(q, plain->q, c->pd * sizeof *q);
    assert_int_equal(cz_head_backward(l->head, c->p.theta32, &l->batch, l->dq, plain, grads), CZ_OK);
    assert_memory_equal(grads, l->grads, c->p.count * sizeof *grads);
    assert_memory_equal(q, l->work->q, c->pd * sizeof *q);
    memset(grads, 0, c->p.count * sizeof *grads);
    assert_int_equal(cz_head_backward(l->head, c->p.theta32, &l->batch, l->dq, l->work, grads), CZ_OK);
    assert_memory_equal(grads, l->grads, c->p.count * sizeof *grads);
    cz_head_work_destroy(plain);
    free(grads);
    free(q);
}

/* Largest difference relative to the largest value. */
static double distance_of(const float *values, const double *expected, size_t count)
{
    double worst = 0;
    for (size_t i = 0; i < count; i++) {
        const double apart = fabs((double)values[i] - expected[i]);
        if (!(apart <= worst)) worst = apart;
    }
    return worst / (largest(expected, count) + 1e-30);
}

static double plain_distance(const curved *c, bool inject, const double *expected)
{
    const ref_config *s = &c->p.config;
    const ref32_batch batch = {c->p.o32, c->p.eps32, c->p.weight32, c->p.target, NULL};
    float *out = calloc(c->p.count, sizeof *out), *moved = calloc(c->pd, sizeof *moved);
    ref32_layer(c->u32, s->compat ? c->u32 + s->d * s->d : NULL, c->p.o32, s->p, s->d, s->d, moved);
    for (size_t i = 0; i < c->pd; i++) moved[i] *= c->bend32[i];
    ref32_product result = {.tangent_dq = inject ? moved : NULL, .out = out};
    ref32_hvp(s, c->p.theta32, c->u32, &batch, &result);
    const double distance = distance_of(out, expected, c->p.count);
    free(out);
    free(moved);
    return distance;
}

/* What single precision loses to the cancellations of batch norm over few rows is known from the twin in float. */
static void library(const ref_config *config, uint64_t seed, bool inject, double distance, double *worst)
{
    curved c;
    passed l;
    make_curved(&c, config, seed, distance);
    start(&c, inject, &l);
    const size_t n = c.p.count;
    double *first64 = calloc(n, sizeof *first64), *second64 = calloc(n, sizeof *second64);
    double *moved64 = calloc(c.pd, sizeof *moved64);
    float *first = calloc(n, sizeof *first), *second = calloc(n, sizeof *second), *again = calloc(n, sizeof *again);
    float *moved = calloc(c.pd, sizeof *moved);
    twin(&c, c.v, inject, NULL, second64);
    twin(&c, c.u, inject, moved64, first64);
    product(&c, &l, c.u32, moved, first);
    assert_near("tangent of q", moved, moved64, c.pd, 1e-5);
    product(&c, &l, c.v32, moved, second);
    const double plain = plain_distance(&c, inject, first64), bound = plain > 1e-5 ? 10 * plain : 1e-4;
    const double apart = distance_of(first, first64, n);
    if (apart > *worst) *worst = apart;
    if (!(apart <= bound))
        fail_msg("P %zu D %zu K %zu: %.3g off the twin, %.3g allowed", config->p, config->d, config->k, apart, bound);
    assert_true(distance_of(second, second64, n) <= 20 * bound);
    product(&c, &l, c.u32, moved, again); /* nothing is left over from another direction */
    assert_memory_equal(again, first, n * sizeof *again);
    assert_plain_backward(&c, &l);
    product(&c, &l, c.v32, moved, again);
    assert_memory_equal(again, second, n * sizeof *again);
    void *const all[] = {first64, second64, moved64, first, second, again, moved};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) free(all[i]);
    stop(&l);
    drop_curved(&c);
}

static void test_library_against_twin(void **state)
{
    double worst = 0;
    (void)state;
    for (size_t i = 0; i < CASES; i++)
        for (int inject = 0; inject < 2; inject++) library(&cases[i], 31 + i, inject != 0, 1e-3, &worst);
    print_message("largest relative difference %.3g\n", worst);
}

/* Past the sizes where the passes over rows change path: blocks of 32 and 128 rows. */
static void test_library_larger(void **state)
{
    static const ref_config larger[] = {{65, 17, 19, false, false, 0.5, -0.5, false},
                                        {67, 9, 33, true, false, 0.5, -0.5, false},
                                        {129, 12, 16, false, true, 0.5, -0.5, false},
                                        {66, 12, 17, false, false, 0.5, -0.5, true}};
    double worst = 0;
    (void)state;
    for (size_t i = 0; i < sizeof larger / sizeof larger[0]; i++) library(&larger[i], 51 + i, i != 0, 2e-5, &worst);
    print_message("largest relative difference %.3g\n", worst);
}

static void test_library_random_sizes(void **state)
{
    double worst = 0;
    cz_rng rng;
    (void)state;
    cz_rng_init(&rng, 4, CZ_RNG_TEST, 0, 0);
    for (uint64_t i = 0; i < 40; i++) {
        ref_config config = {.margin_positive = 0.5, .margin_negative = -0.5};
        config.p = 1 + cz_rng_below(&rng, 20);
        config.d = 1 + cz_rng_below(&rng, 12);
        config.k = 1 + cz_rng_below(&rng, 21);
        config.compat = cz_rng_below(&rng, 2) != 0;
        config.weight_both = cz_rng_below(&rng, 2) != 0;
        config.no_twins = i % 4 == 3;
        library(&config, 100 + i, cz_rng_below(&rng, 2) != 0, 1e-4, &worst);
    }
    print_message("largest relative difference %.3g\n", worst);
}

static double dot(const double *a, const double *b, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += a[i] * b[i];
    return sum;
}

/* H (2 u - 3 v) = 2 H u - 3 H v and u . H v = v . H u, of the twin in double and of the library. */
static void linear_and_symmetric(const ref_config *config, uint64_t seed, bool inject)
{
    curved c;
    passed l;
    make_curved(&c, config, seed, 1e-3);
    start(&c, inject, &l);
    const size_t n = c.p.count;
    double *hu = calloc(n, sizeof *hu), *hv = calloc(n, sizeof *hv), *sum = calloc(n, sizeof *sum);
    float *fu = calloc(n, sizeof *fu), *fv = calloc(n, sizeof *fv), *fsum = calloc(n, sizeof *fsum);
    float *mixed32 = calloc(n, sizeof *mixed32), *moved = calloc(c.pd, sizeof *moved);
    double *mixed = calloc(n, sizeof *mixed);
    for (size_t i = 0; i < n; i++) {
        mixed[i] = 2 * c.u[i] - 3 * c.v[i];
        mixed32[i] = (float)mixed[i];
    }
    twin(&c, c.u, inject, NULL, hu);
    twin(&c, c.v, inject, NULL, hv);
    twin(&c, mixed, inject, NULL, sum);
    const double uhv = dot(c.u, hv, n), vhu = dot(c.v, hu, n);
    const double size = sqrt(dot(c.u, c.u, n) * dot(hv, hv, n));
    assert_true(fabs(uhv - vhu) <= 1e-12 * size);
    for (size_t i = 0; i < n; i++) assert_true(fabs(2 * hu[i] - 3 * hv[i] - sum[i]) <= 1e-12 * largest(sum, n));

    product(&c, &l, c.u32, moved, fu);
    product(&c, &l, c.v32, moved, fv);
    product(&c, &l, mixed32, moved, fsum);
    for (size_t i = 0; i < n; i++) {
        sum[i] = 2 * (double)fu[i] - 3 * (double)fv[i];
        hu[i] = (double)fu[i];
        hv[i] = (double)fv[i];
    }
    assert_near("linear", fsum, sum, n, 1e-4);
    assert_true(fabs(dot(c.u, hv, n) - dot(c.v, hu, n)) <= 1e-4 * size);
    void *const all[] = {hu, hv, sum, fu, fv, fsum, mixed32, moved, mixed};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) free(all[i]);
    stop(&l);
    drop_curved(&c);
}

static void test_linear_and_symmetric(void **state)
{
    (void)state;
    for (size_t i = 0; i < CASES; i++)
        for (int inject = 0; inject < 2; inject++) linear_and_symmetric(&cases[i], 71 + i, inject != 0);
}

/* hessian leaves what tangent left: again with another tangent of dq, and NULL is a tangent of 0. */
static void test_hessian_twice(void **state)
{
    curved c;
    passed l;
    (void)state;
    make_curved(&c, &cases[0], 5, 1e-3);
    start(&c, true, &l);
    const cz_head *h = l.head;
    const float *theta = c.p.theta32;
    float *a = calloc(c.p.count, sizeof *a), *b = calloc(c.p.count, sizeof *b), *none = calloc(c.p.count, sizeof *none);
    float *moved = calloc(c.pd, sizeof *moved), *zero = calloc(c.pd, sizeof *zero);
    assert_int_equal(cz_head_tangent(h, theta, &l.batch, c.u32, l.work, moved), CZ_OK);
    assert_int_equal(cz_head_hessian(h, theta, &l.batch, c.u32, l.dq, c.bend32, l.work, a), CZ_OK);
    assert_int_equal(cz_head_hessian(h, theta, &l.batch, c.u32, l.dq, NULL, l.work, none), CZ_OK);
    assert_memory_not_equal(a, none, c.p.count * sizeof *a);
    assert_int_equal(cz_head_hessian(h, theta, &l.batch, c.u32, l.dq, zero, l.work, b), CZ_OK);
    for (size_t i = 0; i < c.p.count; i++) assert_true(b[i] == none[i]);
    assert_int_equal(cz_head_hessian(h, theta, &l.batch, c.u32, l.dq, c.bend32, l.work, b), CZ_OK);
    assert_memory_equal(a, b, c.p.count * sizeof *a);
    void *const all[] = {a, b, none, moved, zero};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) free(all[i]);
    stop(&l);
    drop_curved(&c);
}

static void test_order_of_calls(void **state)
{
    curved c;
    (void)state;
    make_curved(&c, &cases[0], 6, 1e-3);
    const ref_config *s = &c.p.config;
    cz_head *h = head_for(s);
    cz_head_work *w = NULL;
    cz_batch batch = {.patches = s->p, .width = s->d, .features = c.p.o32, .images = 1};
    const cz_head_noise noise = {.injected = c.p.eps32};
    float *out = calloc(c.p.count, sizeof *out), *moved = calloc(c.pd, sizeof *moved), *theta = c.p.theta32;
    assert_int_equal(cz_head_work_create(h, s->p, &w), CZ_OK);
    assert_int_equal(cz_head_forward(h, theta, &batch, &noise, w), CZ_OK);
    assert_int_equal(cz_head_backward(h, theta, &batch, NULL, w, out), CZ_OK);
    assert_int_equal(cz_head_tangent(h, theta, &batch, c.u32, w, moved), CZ_E_ARG); /* a plain workspace */
    assert_int_equal(cz_head_work_second_order(w), CZ_OK);
    assert_int_equal(cz_head_tangent(h, theta, &batch, c.u32, w, moved), CZ_E_ARG); /* no forward since */
    assert_int_equal(cz_head_backward(h, theta, &batch, NULL, w, out), CZ_E_ARG);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(cz_head_forward(h, theta, &batch, &noise, w), CZ_OK);
        assert_int_equal(cz_head_tangent(h, theta, &batch, c.u32, w, moved), CZ_E_ARG); /* no backward */
        assert_int_equal(cz_head_backward(h, theta, &batch, NULL, w, out), CZ_OK);
        assert_int_equal(cz_head_hessian(h, theta, &batch, c.u32, NULL, NULL, w, out), CZ_E_ARG); /* no tangent */
        assert_int_equal(cz_head_tangent(h, theta, &batch, c.u32, w, moved), CZ_OK);
        assert_int_equal(cz_head_hessian(h, theta, &batch, c.u32, NULL, NULL, w, out), CZ_OK);
        batch.patches--;
        assert_int_equal(cz_head_hessian(h, theta, &batch, c.u32, NULL, NULL, w, out), CZ_E_ARG);
        batch.patches++;
    }
    cz_head_work_destroy(w);
    cz_head_destroy(h);
    free(out);
    free(moved);
    drop_curved(&c);
}

/* The same bits at 1 and 2 threads and from a workspace that held a larger batch before. */
static void test_thread_count(void **state)
{
    static const ref_config config = {300, 40, 70, true, false, 0.5, -0.5, false};
    curved c;
    float *out[2], *moved = calloc(config.p * config.d, sizeof *moved);
    (void)state;
    make_curved(&c, &config, 7, 0);
    for (size_t threads = 1; threads <= 2; threads++) {
        cz_threads_scope scope;
        passed l;
        assert_int_equal(cz_threads_enter(threads, &scope), CZ_OK);
        start(&c, true, &l);
        out[threads - 1] = calloc(c.p.count, sizeof **out);
        product(&c, &l, c.u32, moved, out[threads - 1]);
        stop(&l);
        cz_threads_leave(&scope);
    }
    assert_memory_equal(out[0], out[1], c.p.count * sizeof **out);
    free(out[0]);
    free(out[1]);
    free(moved);
    drop_curved(&c);
}

/* Each allocation of work_second_order in turn fails; the workspace stays a plain one, and can be asked again. */
static void test_out_of_memory(void **state)
{
    (void)state;
    cz_head *h = head_for(&cases[0]);
    cz_head_work *w = NULL;
    assert_int_equal(cz_head_work_create(h, 4, &w), CZ_OK);
    const unsigned long before = cz_alloc_count();
    unsigned long failures = 0;
    for (;; failures++) {
        cz_alloc_fail_after(failures + 1);
        const cz_status status = cz_head_work_second_order(w);
        cz_alloc_fail_after(0);
        if (status == CZ_OK) break;
        assert_int_equal(status, CZ_E_MEMORY);
        assert_false(w->keep);
    }
    assert_true(failures > 5 && cz_alloc_count() > before);
    assert_true(w->keep);
    cz_head_work_destroy(w);
    cz_head_destroy(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_twin_against_differences),
        cmocka_unit_test(test_library_against_twin),
        cmocka_unit_test(test_library_larger),
        cmocka_unit_test(test_library_random_sizes),
        cmocka_unit_test(test_linear_and_symmetric),
        cmocka_unit_test(test_hessian_twice),
        cmocka_unit_test(test_order_of_calls),
        cmocka_unit_test(test_thread_count),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
