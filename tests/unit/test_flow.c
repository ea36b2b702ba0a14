/* SPDX-License-Identifier: Apache-2.0 */
/* The flow detector as a map: log-determinant, inverse, scores, likelihood of a known density, threads. */
#include "grad/flow_problem.h"
#include "optim/adam.h"
#include "util/threads.h"

static const double LOG_TWO_PI = 1.83787706640934548356;

/* ---- the map ---------------------------------------------------------------------------------------------------- */

/* log |det| of a [n, n], which is used up; partial pivots */
static double log_determinant(double *a, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        size_t best = i;
        for (size_t r = i + 1; r < n; r++)
            if (fabs(a[r * n + i]) > fabs(a[best * n + i])) best = r;
        for (size_t c = 0; c < n; c++) {
            const double kept = a[i * n + c];
            a[i * n + c] = a[best * n + c];
            a[best * n + c] = kept;
        }
        sum += log(fabs(a[i * n + i]));
        for (size_t r = i + 1; r < n; r++)
            for (size_t c = n; c-- > i;) a[r * n + c] -= a[r * n + i] / a[i * n + i] * a[i * n + c];
    }
    return sum;
}

/* z of the twin for one patch whose feature `index` is moved */
static void twin_at(const flow_problem *p, size_t patch, size_t index, double moved, double *z)
{
    double o[64], kink = 1e30;
    memcpy(o, p->o + patch * p->config.d, p->config.d * sizeof *o);
    o[index] += moved;
    (void)ref64_flow_patch(&p->config, p->theta, o, 1, z, NULL, &kink, NULL);
}

static double numerical_log_det(const flow_problem *p, size_t patch)
{
    const size_t f = p->config.f;
    const double step = 1e-4;
    double jacobian[16 * 16], z[4][16];
    for (size_t j = 0; j < f; j++) {
        for (size_t i = 0; i < 4; i++) twin_at(p, patch, j, (double[]){1, -1, 2, -2}[i] * step, z[i]);
        for (size_t i = 0; i < f; i++)
            jacobian[i * f + j] = (8 * (z[0][i] - z[1][i]) - (z[2][i] - z[3][i])) / (12 * step);
    }
    return log_determinant(jacobian, f);
}

static void test_log_determinant(void **state)
{
    static const flow_case cases[] = {{6, 7, 0, 5, 1, 1.9}, {5, 4, 0, 0, 3, 1.9}, {4, 12, 0, 8, 8, 1.2}};
    (void)state;
    for (size_t n = 0; n < 3; n++) {
        flow_problem p;
        double log_det[8], ours[8], worst = 0;
        flow_make_smooth(&p, &cases[n], 7 + n, 5e-3);
        const ref64_flow_batch batch = flow_wide_batch(&p);
        ref64_flow_result result = {.log_det = log_det};
        ref64_flow_run(&p.config, p.theta, &batch, &result);
        assert_int_equal(cz_flow_forward(p.head, p.theta32, p.o32, cases[n].p, NULL, ours), CZ_OK);
        for (size_t i = 0; i < cases[n].p; i++) {
            worst = fmax(worst, fabs(numerical_log_det(&p, i) - log_det[i]));
            assert_true(fabs(log_det[i]) > 1e-3);
            assert_true(fabs(ours[i] - log_det[i]) <= 3e-6 * (1 + fabs(log_det[i])));
        }
        print_message("F %zu B %zu: log-determinant within %.1e of the numerical Jacobian's\n", p.config.f,
                      cases[n].blocks, worst);
        assert_true(worst <= 1e-8);
        flow_drop(&p);
    }
}

/* More rows than one chunk; through a projection, x = R o. */
static void test_inverse(void **state)
{
    static const flow_case cases[] = {{1, 24, 0, 0, 8, 1.9}, {1, 30, 17, 20, 5, 1.9}};
    enum { ROWS = 1500 };
    (void)state;
    for (size_t n = 0; n < 2; n++) {
        flow_problem p;
        flow_make(&p, &cases[n], 3);
        for (size_t i = 0; i < p.count - 2 * p.config.f; i++) p.theta32[i] *= 0.3f;
        const size_t f = p.config.f, d = p.config.d;
        float *o = flow_normals(1, ROWS * d), *z = calloc(ROWS * f, sizeof *z), *x = calloc(ROWS * f, sizeof *x);
        float *back = calloc(ROWS * f, sizeof *back), *wide = flow_normals(2, ROWS * f);
        double worst = 0, moved = 0;
        assert_int_equal(cz_flow_forward(p.head, p.theta32, o, ROWS, z, NULL), CZ_OK);
        assert_int_equal(cz_flow_inverse(p.head, p.theta32, z, ROWS, back), CZ_OK);
        for (size_t i = 0; i < ROWS * f; i++) {
            double expected = (double)o[i % (ROWS * d)];
            if (p.config.projection) {
                expected = 0;
                for (size_t e = 0; e < d; e++)
                    expected += (double)p.config.projection[i % f * d + e] * (double)o[i / f * d + e];
            }
            worst = fmax(worst, fabs((double)back[i] - expected));
            moved = fmax(moved, fabs((double)z[i] - expected));
        }
        print_message("F %zu B %zu: inverse of forward within %.1e\n", f, cases[n].blocks, worst);
        assert_true(worst <= 1e-5 && moved > 0.1);
        if (!p.config.projection) { /* the other way round */
            assert_int_equal(cz_flow_inverse(p.head, p.theta32, wide, ROWS, x), CZ_OK);
            assert_int_equal(cz_flow_forward(p.head, p.theta32, x, ROWS, z, NULL), CZ_OK);
            for (size_t i = 0; i < ROWS * f; i++) assert_true(fabsf(z[i] - wide[i]) <= 1e-5f * (1 + fabsf(wide[i])));
        }
        float *const all[] = {o, z, x, back, wide};
        for (size_t i = 0; i < 5; i++) free(all[i]);
        flow_drop(&p);
    }
}

/* A fresh flow is the standardisation and a shuffle; scores are those of the training mode, in any chunks. */
static void test_start_and_scores(void **state)
{
    static const flow_case c = {1, 9, 0, 0, 3, 1.9};
    enum { ROWS = 1100 };
    (void)state;
    flow_problem p;
    cz_head_work *work = NULL;
    float *o = flow_normals(1, ROWS * 9), *scores = calloc(ROWS, sizeof *scores), *fresh, state_unused = 0;
    double *log_det = calloc(ROWS, sizeof *log_det);
    flow_make(&p, &c, 3);
    fresh = calloc(p.count, sizeof *fresh);
    cz_head_init(p.head, 7, fresh, &state_unused);
    for (size_t i = 0; i < 9; i++) fresh[p.count - 9 + i] = 2;
    assert_int_equal(cz_flow_forward(p.head, fresh, o, ROWS, NULL, log_det), CZ_OK);
    assert_int_equal(cz_head_score(p.head, fresh, NULL, o, ROWS, scores), CZ_OK);
    for (size_t r = 0; r < ROWS; r++) {
        double energy = 0;
        for (size_t i = 0; i < 9; i++) energy += (double)o[r * 9 + i] * (double)o[r * 9 + i] / 8;
        assert_true(fabs(log_det[r] + 9 * log(2)) < 1e-6);
        assert_true(fabs((double)scores[r] - (energy / 9 + LOG_TWO_PI / 2 + log(2))) < 1e-5);
    }
    const cz_batch batch = {.patches = ROWS, .width = 9, .features = o, .images = 1};
    assert_int_equal(cz_head_work_create(p.head, ROWS, &work), CZ_OK);
    assert_int_equal(cz_head_forward(p.head, p.theta32, &batch, NULL, work), CZ_OK);
    assert_int_equal(cz_head_score(p.head, p.theta32, NULL, o, ROWS, scores), CZ_OK);
    for (size_t r = 0; r < ROWS; r++) assert_true(fabsf(scores[r] - work->score[r]) <= 1e-6f * (1 + fabsf(scores[r])));
    o[10] = NAN;
    assert_int_equal(cz_head_forward(p.head, p.theta32, &batch, NULL, work), CZ_E_ARG);
    cz_head_work_destroy(work);
    flow_drop(&p);
    free(o);
    free(fresh);
    free(scores);
    free(log_det);
}

/* ---- likelihood of a known density ------------------------------------------------------------------------------ */

enum { TOY_D = 8, TOY_ROWS = 512, TOY_STEPS = 400, TOY_TEST = 8192 };

/* Correlated Gaussian: x = mean + L n with a lower triangular L; log p [rows] to `truth` when given. */
static float *toy_rows(uint64_t index, size_t rows, double *truth)
{
    float *x = flow_normals(100 + index, rows * TOY_D);
    for (size_t r = 0; r < rows; r++) {
        float *row = x + r * TOY_D;
        double energy = 0, log_det = 0;
        for (size_t i = TOY_D; i-- > 0;) {
            double value = 3 - 0.4 * (double)i;
            energy += (double)row[i] * (double)row[i] / 2;
            log_det += log(0.5 + 0.1 * (double)i);
            for (size_t j = 0; j < i; j++) value += (double)row[j] * 0.9 * cos((double)(i * 3 + j));
            row[i] = (float)(value + (double)row[i] * (0.5 + 0.1 * (double)i));
        }
        if (truth) truth[r] = -energy - log_det - TOY_D * LOG_TWO_PI / 2;
    }
    return x;
}

static double mean_score(const cz_head *head, const float *params, const float *rows, size_t count)
{
    float *scores = calloc(count, sizeof *scores);
    double sum = 0;
    assert_int_equal(cz_head_score(head, params, NULL, rows, count, scores), CZ_OK);
    for (size_t i = 0; i < count; i++) sum += (double)scores[i] / (double)count;
    free(scores);
    return sum;
}

static void train_toy(const cz_head *head, float *params)
{
    cz_head_work *work = NULL;
    cz_adam adam;
    float *grads = calloc(head->param_count, sizeof *grads);
    assert_int_equal(cz_head_work_create(head, TOY_ROWS, &work), CZ_OK);
    assert_int_equal(cz_adam_init(head->param_count, &adam), CZ_OK);
    for (uint64_t step = 0; step < TOY_STEPS; step++) {
        float *x = toy_rows(step + 2, TOY_ROWS, NULL);
        const double rate = step < TOY_STEPS / 2 ? 1e-2 : step < TOY_STEPS * 3 / 4 ? 3e-3 : 5e-4;
        const cz_adam_group group = {head->group[0].first, head->group[0].count, rate, 0, 0};
        const cz_batch batch = {.patches = TOY_ROWS, .width = TOY_D, .features = x, .images = 1};
        assert_int_equal(cz_head_forward(head, params, &batch, NULL, work), CZ_OK);
        assert_int_equal(cz_head_backward(head, params, &batch, NULL, work, grads), CZ_OK);
        cz_adam_step(&adam, &group, 1, params, grads);
        free(x);
    }
    cz_head_work_destroy(work);
    cz_adam_free(&adam);
    free(grads);
}

static void test_gaussian_toy(void **state)
{
    static const flow_case c = {1, TOY_D, 0, 32, 8, 1.9};
    (void)state;
    cz_threads_scope scope;
    assert_int_equal(cz_threads_enter(1, &scope), CZ_OK);
    cz_head *head = flow_head(&c, 1);
    float *params = calloc(head->param_count, sizeof *params);
    double *truth = calloc(TOY_TEST, sizeof *truth), expected = 0;
    float *test = toy_rows(0, TOY_TEST, truth), *first = toy_rows(1, TOY_TEST, NULL);
    for (size_t i = 0; i < TOY_TEST; i++) expected -= truth[i] / TOY_TEST / TOY_D;
    cz_head_init(head, 1, params, NULL);
    flow_measure(head, first, TOY_TEST, params);
    const double before = mean_score(head, params, test, TOY_TEST);
    train_toy(head, params);
    const double after = mean_score(head, params, test, TOY_TEST);
    print_message("-log p a dimension: true %.4f, standardised alone %.4f, flow %.4f (%.2f %% off)\n", expected, before,
                  after, 100 * (after / expected - 1));
    assert_true(before > 1.1 * expected); /* there was something to learn */
    assert_true(fabs(after / expected - 1) <= 0.01);
    cz_head_destroy(head);
    cz_threads_leave(&scope);
    free(params);
    free(truth);
    free(test);
    free(first);
}

/* ---- threads ---------------------------------------------------------------------------------------------------- */

typedef struct threaded {
    float *score, *grads, *product, *whole, *scale;
    double *log_det;
} threaded;

static threaded run_threads(size_t threads, const flow_problem *p, const float *o, const float *v)
{
    enum { P = 300 };
    threaded t = {calloc(P, sizeof(float)), calloc(p->count, sizeof(float)), calloc(p->count, sizeof(float)),
                  calloc(P, sizeof(float)), calloc(p->count, sizeof(float)), calloc(P, sizeof(double))};
    cz_threads_scope scope;
    cz_head_work *work = NULL;
    const cz_batch batch = {.patches = P, .width = p->config.d, .features = o, .images = 1};
    assert_int_equal(cz_threads_enter(threads, &scope), CZ_OK);
    cz_head *head = flow_head(&(flow_case){P, p->config.d, p->config.f, p->config.hidden, p->config.blocks, 1.9}, 9);
    assert_int_equal(cz_head_work_create(head, P, &work), CZ_OK);
    assert_int_equal(cz_head_work_second_order(work), CZ_OK);
    assert_int_equal(cz_head_forward(head, p->theta32, &batch, NULL, work), CZ_OK);
    memcpy(t.score, work->score, P * sizeof *t.score);
    assert_int_equal(cz_head_backward(head, p->theta32, &batch, NULL, work, t.grads), CZ_OK);
    assert_int_equal(cz_head_tangent(head, p->theta32, &batch, v, work, NULL), CZ_OK);
    assert_int_equal(cz_head_hessian(head, p->theta32, &batch, v, NULL, NULL, work, t.product), CZ_OK);
    assert_int_equal(cz_head_score(head, p->theta32, NULL, o, P, t.whole), CZ_OK);
    assert_int_equal(cz_flow_forward(head, p->theta32, o, P, NULL, t.log_det), CZ_OK);
    flow_measure(head, o, P, t.scale);
    cz_head_work_destroy(work);
    cz_head_destroy(head);
    cz_threads_leave(&scope);
    return t;
}

static void expect_close(const float *a, const float *b, size_t count)
{
    float most = 0;
    for (size_t i = 0; i < count; i++) most = fmaxf(most, fabsf(b[i]));
    for (size_t i = 0; i < count; i++) assert_true(fabsf(a[i] - b[i]) <= 1e-5f * most);
}

/* The passes over rows give the same bits; a product of matrices may be cut differently, as elsewhere. */
static void test_thread_count(void **state)
{
    static const flow_case c = {300, 60, 40, 50, 3, 1.9};
    (void)state;
    flow_problem p;
    flow_make(&p, &c, 9);
    for (size_t i = 0; i < p.count - 2 * p.config.f; i++) p.theta32[i] *= 0.2f;
    float *o = flow_normals(1, 300 * 60), *v = flow_normals(2, p.count);
    threaded one = run_threads(1, &p, o, v);
    for (size_t threads = 2; threads <= 5; threads += 3) {
        threaded many = run_threads(threads, &p, o, v);
        expect_close(many.score, one.score, 300);
        expect_close(many.whole, one.whole, 300);
        expect_close(many.grads, one.grads, p.count);
        expect_close(many.product, one.product, p.count);
        expect_close(many.scale, one.scale, p.count);
        for (size_t i = 0; i < 300; i++) assert_true(fabs(many.log_det[i] - one.log_det[i]) < 1e-4);
        float *const all[] = {many.score, many.grads, many.product, many.whole, many.scale};
        for (size_t i = 0; i < 5; i++) free(all[i]);
        free(many.log_det);
    }
    float *const all[] = {one.score, one.grads, one.product, one.whole, one.scale, o, v};
    for (size_t i = 0; i < 7; i++) free(all[i]);
    free(one.log_det);
    flow_drop(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_log_determinant),  cmocka_unit_test(test_inverse),
        cmocka_unit_test(test_start_and_scores), cmocka_unit_test(test_gaussian_toy),
        cmocka_unit_test(test_thread_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
