/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The meta-gradient through the flow, which has no embedding and so no contrastive term: finite differences in double of
 * the plain twin's L_query(theta_S(theta)) against products of its exact Hessians, and the library's fp32 meta-step
 * against those. Weights are 1 here; test_flow_grad.c has them.
 */
#include "flow_problem.h"
#include "meta/meta.h"

enum { TASKS = 2, SUPPORT = 9, QUERY = 5, ALL = SUPPORT + QUERY, MOST = 400, STEPS = 3 };

static const flow_case meta_case = {ALL, 6, 0, 5, 2, 1.9};
static const double lambda = 0.01;

typedef struct meta_problem {
    flow_problem flow; /* its o: [TASKS][ALL, D] in o and o32 below */
    double o[TASKS][ALL * 8], ones[ALL];
    float o32[TASKS][ALL * 8];
    uint8_t target[ALL];
    size_t steps;
    double alpha, kink;
} meta_problem;

/* Adds lambda ||theta||^2 over weight matrices: its value; `factor` times its gradient at `values` to out (NULL: not). */
static double decay(const meta_problem *p, const double *values, double factor, double *out)
{
    double sum = 0;
    for (size_t v = 0; v < p->flow.head->param_views; v++) {
        const cz_head_view *view = &p->flow.head->param[v];
        for (size_t i = view->first; view->decay && i < view->first + view->count; i++) {
            sum += lambda * values[i] * values[i];
            if (out) out[i] += factor * 2 * lambda * values[i];
        }
    }
    return sum;
}

static double set_loss(meta_problem *p, const double *theta, size_t task, bool query, double *grads)
{
    flow_config c = p->flow.config;
    c.p = query ? QUERY : SUPPORT;
    const ref64_flow_batch batch = {p->o[task] + (query ? SUPPORT * c.d : 0), p->ones, p->target};
    ref64_flow_result result = {.grads = grads};
    ref64_flow_run(&c, theta, &batch, &result);
    p->kink = fmin(p->kink, result.kink);
    return result.loss + decay(p, theta, 1, grads);
}

/* path [steps + 1][MOST]: theta_0 … theta_S of a task */
static void inner_loop(meta_problem *p, size_t task, double path[][MOST])
{
    double grads[MOST];
    const size_t learnt = p->flow.count - 2 * p->flow.config.f;
    memcpy(path[0], p->flow.theta, p->flow.count * sizeof *path[0]);
    for (size_t s = 0; s < p->steps; s++) {
        (void)set_loss(p, path[s], task, false, grads);
        for (size_t i = 0; i < p->flow.count; i++) path[s + 1][i] = path[s][i] - (i < learnt ? p->alpha * grads[i] : 0);
    }
}

static double meta_loss(meta_problem *p)
{
    static double path[STEPS + 1][MOST];
    double loss = 0;
    for (size_t t = 0; t < TASKS; t++) {
        inner_loop(p, t, path);
        loss += set_loss(p, path[p->steps], t, true, NULL) / TASKS;
    }
    return loss;
}

/* `hessian` false: first order */
static void meta_gradient(meta_problem *p, bool hessian, double *out)
{
    static double path[STEPS + 1][MOST], v[MOST], hv[MOST];
    flow_config c = p->flow.config;
    c.p = SUPPORT;
    memset(out, 0, p->flow.count * sizeof *out);
    for (size_t t = 0; t < TASKS; t++) {
        inner_loop(p, t, path);
        (void)set_loss(p, path[p->steps], t, true, v);
        for (size_t s = p->steps; hessian && s-- > 0;) {
            flow_exact_product(&c, path[s], v, p->o[t], p->ones, p->target, hv, NULL);
            (void)decay(p, v, 1, hv);
            for (size_t i = 0; i < p->flow.count; i++) v[i] -= p->alpha * hv[i];
        }
        for (size_t i = 0; i < p->flow.count; i++) out[i] += v[i] / TASKS;
    }
}

/* Keeps off kinks along the inner loops, too; `grads` gets the exact meta-gradient. */
static void make_problem(meta_problem *p, size_t steps, uint64_t seed, double *grads)
{
    for (int tries = 0; tries < 1000; tries++, seed += 1000) {
        *p = (meta_problem){.steps = steps, .alpha = 0.3, .kink = 1e30};
        flow_make(&p->flow, &meta_case, seed);
        assert_true(p->flow.count <= MOST);
        for (size_t i = 0; i < ALL; i++) p->ones[i] = 1;
        for (size_t t = 0; t < TASKS; t++)
            flow_fill("task", seed * 64 + t, ALL * meta_case.d, 1.5, 0.2, p->o[t], p->o32[t]);
        meta_gradient(p, true, grads);
        if (p->kink > 5e-4) return;
        flow_drop(&p->flow);
    }
    fail_msg("no seed keeps off the kinks");
}

static double apart(const double *a, const double *b, size_t count)
{
    double most = 0;
    for (size_t i = 0; i < count; i++) most = fmax(most, fabs(a[i] - b[i]));
    return most / flow_largest(b, count);
}

static double moved_loss(meta_problem *p, size_t index, double moved)
{
    const double kept = p->flow.theta[index];
    p->flow.theta[index] = kept + moved;
    const double loss = meta_loss(p);
    p->flow.theta[index] = kept;
    return loss;
}

static void test_twin_against_differences(void **state)
{
    (void)state;
    for (size_t steps = 1; steps <= STEPS; steps += 2) {
        static meta_problem p;
        double grads[MOST], plain[MOST], worst = 0;
        const double step = 1e-5;
        make_problem(&p, steps, 3 + steps, grads);
        meta_gradient(&p, false, plain);
        const size_t learnt = p.flow.count - 2 * p.flow.config.f;
        const double most = flow_largest(grads, learnt), dropped = apart(plain, grads, learnt);
        assert_true(dropped > 0.1); /* a missing Hessian would be seen */
        for (size_t i = 0; i < learnt; i++) {
            const double near = moved_loss(&p, i, step) - moved_loss(&p, i, -step);
            const double far = moved_loss(&p, i, 2 * step) - moved_loss(&p, i, -2 * step);
            const double slope = (8 * near - far) / (12 * step);
            worst = fmax(worst, fabs(slope - grads[i]) / most);
        }
        print_message("S %zu: finite differences within %.1e; without Hessian %.0f %% off\n", steps, worst,
                      100 * dropped);
        assert_true(worst <= 1e-6);
        flow_drop(&p.flow);
    }
}

/* ---- the library ------------------------------------------------------------------------------------------------ */

static cz_task_set set_of(const meta_problem *p, size_t task, size_t first, size_t images, const size_t *rows)
{
    return (cz_task_set){.batch = {.patches = rows[images],
                                   .width = p->flow.config.d,
                                   .features = p->o32[task] + first * p->flow.config.d,
                                   .images = images,
                                   .image_first = rows}};
}

/* theta is also decayed where it is no weight matrix with `all`, but never where it is measured. */
static void run_library(const meta_problem *p, cz_meta_gradient gradient, bool all, double lambda0, float *grads)
{
    static const size_t support[] = {0, 5, SUPPORT}, query[] = {0, QUERY}, whole[] = {0, 5, SUPPORT, ALL};
    cz_objective objective;
    cz_meta_options options;
    cz_uncertainty_options uncertain;
    cz_uncertainty uncertainty;
    cz_meta *meta = NULL;
    cz_meta_task tasks[TASKS];
    cz_meta_report report;
    float no_state;
    cz_objective_init(&objective);
    objective.contrast = objective.weigh = false;
    objective.decay_all = all;
    cz_meta_options_init(&options);
    options.gradient = gradient;
    options.inner_steps = p->steps;
    options.inner_lr = p->alpha;
    options.contrast_inner = options.contrast_outer = false;
    cz_uncertainty_options_init(&uncertain);
    uncertain.lambda0 = lambda0;
    uncertain.gamma = 0;
    assert_int_equal(cz_uncertainty_init(&uncertainty, &uncertain), CZ_OK);
    for (size_t t = 0; t < TASKS; t++)
        tasks[t] = (cz_meta_task){.support = set_of(p, t, 0, 2, support),
                                  .query = set_of(p, t, SUPPORT, 1, query),
                                  .all = set_of(p, t, 0, 3, whole),
                                  .index = (uint32_t)t};
    assert_int_equal(cz_meta_create(p->flow.head, &objective, &options, TASKS, ALL, 3, &meta), CZ_OK);
    const cz_meta_call call = {
        .params = p->flow.theta32, .tasks = tasks, .count = TASKS, .uncertainty = &uncertainty, .seed = 1};
    if (cz_meta_step(meta, &call, grads, &no_state, &report) != CZ_OK) fail_msg("%s", cz_last_error());
    cz_meta_destroy(meta);
}

static void test_library_against_twin(void **state)
{
    (void)state;
    for (size_t steps = 1; steps <= STEPS; steps++) {
        static meta_problem p;
        double expected[MOST], plain[MOST];
        float grads[MOST];
        make_problem(&p, steps, 13 + steps, expected);
        meta_gradient(&p, false, plain);
        run_library(&p, CZ_META_EXACT, false, lambda, grads);
        const double exact = flow_apart(grads, expected, p.flow.count);
        run_library(&p, CZ_META_FIRST_ORDER, false, lambda, grads);
        const double first = flow_apart(grads, plain, p.flow.count);
        print_message("S %zu: library within %.1e (exact), %.1e (first order) of the twin\n", steps, exact, first);
        assert_true(exact <= 1e-5 && first <= 1e-5);
        flow_drop(&p.flow);
    }
}

/* --decay all: mean and scale are no parameters to shrink. */
static void test_measured_is_not_decayed(void **state)
{
    (void)state;
    static meta_problem p;
    double expected[MOST];
    float grads[2][MOST];
    static const cz_meta_gradient ways[] = {CZ_META_EXACT, CZ_META_FIRST_ORDER, CZ_META_OFF};
    make_problem(&p, 2, 33, expected);
    const size_t learnt = p.flow.count - 2 * p.flow.config.f;
    const cz_head_view *bias = cz_head_param(p.flow.head, "block0.first.bias");
    for (size_t w = 0; w < 3; w++) {
        run_library(&p, ways[w], false, 0.1, grads[0]);
        run_library(&p, ways[w], true, 0.1, grads[1]);
        assert_memory_not_equal(grads[0] + bias->first, grads[1] + bias->first, bias->count * sizeof(float));
        for (size_t i = learnt; i < p.flow.count; i++) assert_true(grads[0][i] == 0 && grads[1][i] == 0);
    }
    flow_drop(&p.flow);
}

/* A contrastive term needs an embedding. */
static void test_contrast_is_refused(void **state)
{
    (void)state;
    cz_objective objective;
    cz_meta_options options;
    cz_meta *meta = NULL;
    cz_head *head = flow_head(&meta_case, 1);
    cz_objective_init(&objective);
    cz_meta_options_init(&options);
    assert_int_equal(cz_meta_create(head, &objective, &options, TASKS, ALL, 3, &meta), CZ_E_UNSUPPORTED);
    assert_null(meta);
    cz_head_destroy(head);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_twin_against_differences),
        cmocka_unit_test(test_library_against_twin),
        cmocka_unit_test(test_measured_is_not_decayed),
        cmocka_unit_test(test_contrast_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
