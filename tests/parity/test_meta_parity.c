/* SPDX-License-Identifier: Apache-2.0 */
/* Whole meta-steps against PyTorch's autograd in double. Inputs are hashes of their names: make_meta_goldens.py. */
#include "meta/meta.h"
#include "tensor/tensors.h"
#include "util/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { D = 24, K = 16, TASKS = 2, SUPPORT = 40, ALL = 56, IMAGES = 7, SUPPORT_IMAGES = 5, MAX_STEPS = 3, SEED = 14 };
enum { PARAMS = D * D + K * D + 3 * K };

static const size_t first_row[IMAGES + 1] = {0, 8, 17, 25, 33, 40, 48, 56};
static const size_t query_first[] = {0, 8, 16};
static const uint32_t category[TASKS][IMAGES] = {{0, 1, 0, 1, 0, 0, 1}, {1, 1, 0, 1, 0, 1, 1}};

/* What differs from the script's BASE. */
typedef struct variant {
    const char *tag;
    cz_meta_gradient gradient;
    size_t steps;
    bool no_inner, no_outer, no_weigh, no_uncertainty, hard, sum, image, both, literal, eq1;
} variant;

static const variant variants[] = {
    {.tag = "exact1", .gradient = CZ_META_EXACT, .steps = 1},
    {.tag = "exact3", .gradient = CZ_META_EXACT, .steps = 3},
    {.tag = "first1", .gradient = CZ_META_FIRST_ORDER, .steps = 1},
    {.tag = "first3", .gradient = CZ_META_FIRST_ORDER, .steps = 3},
    {.tag = "reptile3", .gradient = CZ_META_REPTILE, .steps = 3},
    {.tag = "off", .gradient = CZ_META_OFF, .steps = 1},
    {.tag = "inner", .gradient = CZ_META_EXACT, .steps = 3, .no_outer = true},
    {.tag = "outer", .gradient = CZ_META_EXACT, .steps = 3, .no_inner = true},
    {.tag = "plain", .gradient = CZ_META_EXACT, .steps = 3, .no_weigh = true, .no_uncertainty = true},
    {.tag = "noweight", .gradient = CZ_META_EXACT, .steps = 3, .no_weigh = true},
    {.tag = "nocontrast", .gradient = CZ_META_EXACT, .steps = 3, .no_inner = true, .no_outer = true},
    {.tag = "hard", .gradient = CZ_META_EXACT, .steps = 3, .hard = true},
    {.tag = "sum", .gradient = CZ_META_EXACT, .steps = 3, .sum = true},
    {.tag = "image", .gradient = CZ_META_EXACT, .steps = 3, .image = true},
    {.tag = "both", .gradient = CZ_META_EXACT, .steps = 3, .both = true},
    {.tag = "literal", .gradient = CZ_META_EXACT, .steps = 3, .literal = true},
    {.tag = "knn0", .gradient = CZ_META_EXACT, .steps = 3, .eq1 = true},
};

static void hashed(const char *name, size_t count, double scale, float offset, float *out)
{
    const uint64_t hash = cz_name_hash(name, SEED);
    for (size_t i = 0; i < count; i++) out[i] = offset + cz_hash_uniform(hash, i) * (float)scale;
}

/* ---- the problem ---------------------------------------------------------------------------------------------- */

/* Noise of one pass. */
typedef struct pass {
    float eps[ALL * D], delta[ALL * D];
    size_t order[ALL];
} pass;

typedef struct fixture {
    const variant *variant;
    cz_tensors *golden;
    cz_head *head;
    cz_objective objective;
    cz_meta_options options;
    cz_meta *meta;
    cz_score_window *windows[2];
    cz_uncertainty uncertainty;
    cz_meta_task task[TASKS];
    cz_meta_report report;
    float features[TASKS][ALL * D];
    pass passes[TASKS][MAX_STEPS + 1];
    cz_objective_noise noise[TASKS][MAX_STEPS + 1];
    float params[PARAMS], grads[PARAMS], state[2 * K];
} fixture;

static void make_features(size_t task, float *out)
{
    char name[32];
    float centre[2][D], odd[ALL];
    snprintf(name, sizeof name, "o.%zu", task);
    hashed(name, ALL * D, 0.5, 0, out);
    snprintf(name, sizeof name, "odd.%zu", task);
    hashed(name, ALL, 1, 0, odd);
    hashed("centre.0", D, 1, 0, centre[0]);
    hashed("centre.1", D, 1, 0, centre[1]);
    for (size_t image = 0; image < IMAGES; image++)
        for (size_t row = first_row[image]; row < first_row[image + 1]; row++)
            for (size_t c = 0; c < D; c++) {
                const float value = centre[category[task][image]][c] + out[row * D + c];
                out[row * D + c] = odd[row] > 0.7f ? -value : value;
            }
}

/* order: rows sorted by the hash of their index */
static void make_order(const char *name, size_t rows, size_t *order)
{
    const uint64_t hash = cz_name_hash(name, SEED);
    for (size_t i = 0; i < rows; i++) {
        size_t at = i;
        for (; at > 0 && cz_hash_uniform(hash, order[at - 1]) > cz_hash_uniform(hash, i); at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
}

static void make_noise(fixture *f, size_t task, size_t step, size_t rows)
{
    pass *p = &f->passes[task][step];
    char name[32], suffix[24];
    const bool query = step == f->variant->steps;
    snprintf(suffix, sizeof suffix, "%zu", step);
    snprintf(name, sizeof name, "eps.%zu.%s", task, query ? "q" : suffix);
    hashed(name, rows * D, 0.3, 0, p->eps);
    snprintf(name, sizeof name, "delta.%zu.%s", task, query ? "q" : suffix);
    hashed(name, rows * D, 0.3, 0, p->delta);
    snprintf(name, sizeof name, "order.%zu.%s", task, query ? "q" : suffix);
    make_order(name, rows, p->order);
    f->noise[task][step] =
        (cz_objective_noise){.head.injected = p->eps, .contrast = {.delta = p->delta, .order = p->order}};
}

static cz_task_set make_set(const fixture *f, size_t task, size_t begin, size_t images, const size_t *first)
{
    return (cz_task_set){.batch = {.patches = first[images],
                                   .width = D,
                                   .features = f->features[task] + first_row[begin] * D,
                                   .images = images,
                                   .image_first = first},
                         .category = category[task] + begin};
}

static void make_tasks(fixture *f)
{
    const bool whole = f->variant->gradient == CZ_META_OFF || f->variant->gradient == CZ_META_REPTILE;
    for (size_t t = 0; t < TASKS; t++) {
        make_features(t, f->features[t]);
        for (size_t s = 0; s <= f->variant->steps; s++)
            make_noise(f, t, s, s == f->variant->steps ? ALL - SUPPORT : whole ? ALL : SUPPORT);
        f->task[t] = (cz_meta_task){.support = make_set(f, t, 0, SUPPORT_IMAGES, first_row),
                                    .query = make_set(f, t, SUPPORT_IMAGES, IMAGES - SUPPORT_IMAGES, query_first),
                                    .all = make_set(f, t, 0, IMAGES, first_row),
                                    .index = (uint32_t)t,
                                    .injected = f->noise[t]};
    }
}

/* As they are at the start of the meta-step: after each one they hold its scores as well. */
static void make_measures(fixture *f)
{
    static const double earlier[4][2] = {{0.75, 1.25}, {1.5, 0.875}, {1.0, 1.125}, {1.25, 1.5}};
    const size_t count = f->variant->image ? 9 : 60, images = f->variant->image ? 9 : 5;
    cz_uncertainty_options options;
    for (size_t c = 0; c < 2; c++) {
        char name[32];
        float scores[60];
        snprintf(name, sizeof name, "%s.%zu", f->variant->image ? "imagewindow" : "window", c);
        hashed(name, count, 0.5, 0.1f, scores);
        cz_score_window_destroy(f->windows[c]);
        assert_int_equal(cz_score_window_create(1000, &f->windows[c]), CZ_OK);
        cz_score_window_push(f->windows[c], scores, count, images);
    }
    cz_uncertainty_options_init(&options);
    options.pairs = 3;
    options.lambda0 = 1e-3;
    options.gamma = f->variant->no_uncertainty ? 0 : 0.5;
    assert_int_equal(cz_uncertainty_init(&f->uncertainty, &options), CZ_OK);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(cz_uncertainty_push(&f->uncertainty, earlier[i][0], earlier[i][1]), CZ_OK);
}

static void make_options(fixture *f)
{
    const variant *v = f->variant;
    cz_objective *o = &f->objective;
    cz_objective_init(o);
    o->weigh = !v->no_weigh;
    o->image_unit = v->image;
    o->top_k = v->image ? 2 : 1;
    o->confidence.kappa = 0.5;
    o->confidence.floor = 0.05;
    o->confidence.hard = v->hard;
    o->contrast = !v->no_inner || !v->no_outer;
    o->lambda_cont = 0.5;
    o->contrast_options.chunk = 12;
    o->contrast_options.knn = v->eq1 ? 0 : 3;
    o->contrast_options.temperature = 0.3;
    o->contrast_options.literal = v->literal;
    o->sum = v->sum;
    o->decay_all = v->both;
    cz_meta_options_init(&f->options);
    f->options.gradient = v->gradient;
    f->options.inner_steps = v->steps;
    f->options.inner_lr = v->sum ? 0.05 / 40 : 0.05;
    f->options.contrast_inner = !v->no_inner;
    f->options.contrast_outer = !v->no_outer;
}

static void make_params(fixture *f)
{
    static const struct {
        const char *name;
        double scale;
        float offset;
    } values[] = {{"adaptor.weight", 0.35, 0},
                  {"hidden.weight", 0.4, 0},
                  {"norm.scale", 0.3, 1},
                  {"norm.shift", 0.2, 0},
                  {"output.weight", 0.6, 0}};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        const cz_head_view *view = cz_head_param(f->head, values[i].name);
        hashed(values[i].name, view->count, values[i].scale, values[i].offset, f->params + view->first);
    }
}

static fixture *open_fixture(const variant *v, size_t memory)
{
    fixture *f = calloc(1, sizeof *f);
    cz_head_config config;
    f->variant = v;
    cz_head_config_init(&config);
    config.width = D;
    config.hidden = K;
    config.weight_both = v->both;
    assert_int_equal(cz_safetensors_open(TEST_FILES "/meta.safetensors", &f->golden), CZ_OK);
    assert_int_equal(cz_head_create("simplenet", &config, &f->head), CZ_OK);
    assert_int_equal(f->head->param_count, PARAMS);
    make_params(f);
    make_tasks(f);
    make_measures(f);
    make_options(f);
    if (memory != SIZE_MAX) f->options.memory = memory;
    assert_int_equal(cz_meta_create(f->head, &f->objective, &f->options, TASKS, ALL, IMAGES, &f->meta), CZ_OK);
    return f;
}

static void close_fixture(fixture *f)
{
    cz_meta_destroy(f->meta);
    for (size_t c = 0; c < 2; c++) cz_score_window_destroy(f->windows[c]);
    cz_head_destroy(f->head);
    cz_tensors_close(f->golden);
    free(f);
}

static void step(fixture *f)
{
    const cz_meta_call call = {.params = f->params,
                               .tasks = f->task,
                               .count = TASKS,
                               .windows = f->windows,
                               .uncertainty = &f->uncertainty,
                               .seed = 1,
                               .measure_drop = true};
    const cz_status status = cz_meta_step(f->meta, &call, f->grads, f->state, &f->report);
    if (status != CZ_OK) fail_msg("%s: %s", f->variant->tag, cz_last_error());
}

/* ---- comparisons ------------------------------------------------------------------------------------------------ */

static const void *golden(const fixture *f, const char *name, cz_dtype dtype, size_t count)
{
    char full[64];
    cz_tensor_view view;
    snprintf(full, sizeof full, "%s.%s", f->variant->tag, name);
    assert_int_equal(cz_tensors_find(f->golden, full, &view), CZ_OK);
    assert_int_equal(view.dtype, dtype);
    assert_int_equal(view.bytes, count * (dtype == CZ_F64 ? sizeof(double) : sizeof(float)));
    assert_int_equal((uintptr_t)view.data % sizeof(float), 0);
    return view.data;
}

static double scalar(const fixture *f, const char *name, size_t count, size_t index)
{
    double value;
    memcpy(&value, (const char *)golden(f, name, CZ_F64, count) + index * sizeof value, sizeof value);
    return value;
}

static double largest(const float *values, size_t count)
{
    double most = 0;
    for (size_t i = 0; i < count; i++) most = fabs((double)values[i]) > most ? fabs((double)values[i]) : most;
    return most;
}

/* Largest difference as a share of the largest expected value. */
static double distance(const float *ours, const float *theirs, size_t count)
{
    const double unit = largest(theirs, count);
    double most = 0;
    for (size_t i = 0; i < count; i++) {
        const double difference = fabs((double)ours[i] - (double)theirs[i]) / unit;
        if (!(difference <= most)) most = difference;
    }
    return most;
}

static void expect_near(const fixture *f, const char *what, double ours, double theirs, double bound)
{
    if (!(fabs(ours - theirs) <= bound * (1 + fabs(theirs))))
        fail_msg("%s %s: %.9g, expected %.9g", f->variant->tag, what, ours, theirs);
}

static void expect_all_near(const fixture *f, const char *what, const float *ours, size_t count, double bound)
{
    const double most = distance(ours, golden(f, what, CZ_F32, count), count);
    printf("%s %s: largest difference %.2e (bound %.0e)\n", f->variant->tag, what, most, bound);
    assert_true(most <= bound);
}

static void expect_terms(const fixture *f, const char *what, const cz_terms *t)
{
    static const char *const names[] = {"total", "ad", "weighted", "contrast", "decay", "mean weight", "share w < 1"};
    const double values[] = {t->total, t->ad, t->weighted, t->contrast, t->decay, t->mean_weight, t->share_below_one};
    for (size_t i = 0; i < 7; i++) {
        char full[64];
        snprintf(full, sizeof full, "%s %s", what, names[i]);
        expect_near(f, full, values[i], scalar(f, what, 7, i), 1e-5);
    }
}

/* Gradients, terms and figures of one step. */
static void expect_step(const fixture *f)
{
    static const char *const names[] = {"det", "lambda / lambda0", "shift", "cosine"};
    const double lambda0 = f->uncertainty.options.lambda0, units[] = {1, lambda0, 1, 1};
    const double values[] = {f->report.det, f->report.lambda, f->report.shift, f->report.cosine};
    expect_all_near(f, "grads", f->grads, PARAMS, 1e-5);
    expect_all_near(f, "statistics", f->state, 2 * K, 1e-5);
    if (f->variant->gradient == CZ_META_OFF) /* support and query are one pass */
        expect_near(f, "support ad", f->report.support.ad, scalar(f, "support", 7, 1), 1e-5);
    else
        expect_terms(f, "support", &f->report.support);
    expect_terms(f, "query", &f->report.query);
    for (size_t i = 0; i < 4; i++) {
        const double expected = scalar(f, "scalars", 4, i);
        if (isnan(expected))
            assert_true(isnan(values[i]));
        else
            expect_near(f, names[i], values[i] / units[i], expected / units[i], 1e-5);
    }
}

static void test_meta_steps(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof variants / sizeof variants[0]; i++) {
        fixture *f = open_fixture(&variants[i], SIZE_MAX);
        step(f);
        expect_step(f);
        if (f->variant->gradient == CZ_META_EXACT || f->variant->gradient == CZ_META_FIRST_ORDER)
            expect_near(f, "drop", f->report.support_drop, scalar(f, "drop", 1, 0), 1e-5);
        close_fixture(f);
    }
}

/* A second step with the same object, and one that has to compute its activations again for lack of memory. */
static void test_again_and_with_little_memory(void **state)
{
    static const size_t memory[] = {SIZE_MAX, 0};
    (void)state;
    for (size_t i = 0; i < sizeof variants / sizeof variants[0]; i++)
        for (size_t m = 0; m < 2; m++) {
            if (variants[i].gradient == CZ_META_OFF) continue;
            fixture *f = open_fixture(&variants[i], memory[m]);
            step(f);
            make_measures(f);
            step(f);
            expect_step(f);
            close_fixture(f);
        }
}

/* The golden problem is one in which a missing Hessian and products in the wrong order would not pass. */
static void test_mistakes_would_show(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        fixture *f = open_fixture(&variants[i], SIZE_MAX);
        const float *right = golden(f, "grads", CZ_F32, PARAMS);
        assert_true(distance(golden(f, "no_hessian", CZ_F32, PARAMS), right, PARAMS) > 0.1);
        step(f);
        assert_true(distance(f->grads, golden(f, "no_hessian", CZ_F32, PARAMS), PARAMS) > 0.1);
        if (f->variant->steps > 1) {
            assert_true(distance(golden(f, "reversed", CZ_F32, PARAMS), right, PARAMS) > 1e-3);
            assert_true(distance(f->grads, golden(f, "reversed", CZ_F32, PARAMS), PARAMS) > 1e-3);
        }
        close_fixture(f);
    }
}

/* Scores and weights of the first task's support set at theta. */
static void test_weights(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof variants / sizeof variants[0]; i++) {
        if (variants[i].gradient != CZ_META_EXACT && variants[i].gradient != CZ_META_FIRST_ORDER) continue;
        fixture *f = open_fixture(&variants[i], SIZE_MAX);
        cz_objective_work *work;
        cz_terms terms;
        const cz_objective_call call = {.params = f->params,
                                        .set = &f->task[0].support,
                                        .windows = f->windows,
                                        .lambda = cz_uncertainty_lambda(&f->uncertainty),
                                        .contrast = f->options.contrast_inner,
                                        .noise = f->noise[0][0]};
        assert_int_equal(cz_objective_work_create(f->head, &f->objective, ALL, IMAGES, false, &work), CZ_OK);
        assert_int_equal(cz_objective_gradient(&f->objective, &call, work, f->grads, &terms), CZ_OK);
        expect_all_near(f, "w", cz_objective_weights(work), SUPPORT, 2e-5);
        expect_all_near(f, "scores", cz_objective_head_work(work)->score, SUPPORT, 1e-5);
        cz_objective_work_destroy(work);
        close_fixture(f);
    }
}

/* After a step each window holds the support scores at theta of its category, in task order, behind what it held. */
static void test_windows(void **state)
{
    (void)state;
    fixture *f = open_fixture(&variants[0], SIZE_MAX);
    float values[2][200];
    const size_t rows[2] = {25, 15}, images[2] = {3, 2}; /* of the first task */
    step(f);
    const float *scores = golden(f, "scores", CZ_F32, SUPPORT);
    size_t at[2] = {60, 60}, total = 0;
    for (size_t c = 0; c < 2; c++) {
        assert_true(cz_score_window_count(f->windows[c]) > 60 + rows[c]);
        assert_true(cz_score_window_images(f->windows[c]) > 5 + images[c]);
        total += cz_score_window_images(f->windows[c]);
        cz_score_window_values(f->windows[c], values[c]);
    }
    assert_int_equal(total, 2 * 5 + TASKS * SUPPORT_IMAGES);
    assert_int_equal(cz_score_window_count(f->windows[0]) + cz_score_window_count(f->windows[1]),
                     2 * 60 + TASKS * SUPPORT);
    for (size_t image = 0; image < SUPPORT_IMAGES; image++)
        for (size_t row = first_row[image]; row < first_row[image + 1]; row++) {
            const uint32_t c = category[0][image];
            expect_near(f, "window", (double)values[c][at[c]++], (double)scores[row], 1e-6);
        }
    close_fixture(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_meta_steps),
        cmocka_unit_test(test_again_and_with_little_memory),
        cmocka_unit_test(test_mistakes_would_show),
        cmocka_unit_test(test_weights),
        cmocka_unit_test(test_windows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
