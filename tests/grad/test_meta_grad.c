/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The meta-gradient, twice: finite differences in double of the plain twin's L_query(theta_S(theta)) against the twin's
 * products of exact Hessians, and the library's fp32 meta-step against the twin. Weights, lambda, neighbours and noise
 * stay as they are at theta (docs/math.md section 4: constants of every derivative).
 */
#include "meta/meta.h"
#include "util/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "meta_ref.h"

enum { SUPPORT_IMAGES = 3, QUERY_IMAGES = 2, IMAGES = SUPPORT_IMAGES + QUERY_IMAGES };

/* Floats of one pass's noise; set.eps and delta are the same values. */
typedef struct noise32 {
    float eps[MREF_P * MREF_D], delta[MREF_P * MREF_D];
} noise32;

typedef struct problem {
    mref_config config;
    double theta[MREF_PARAMS], o[MREF_TASKS][MREF_P * MREF_D], window[MREF_WINDOW];
    float theta32[MREF_PARAMS], o32[MREF_TASKS][MREF_P * MREF_D], window32[MREF_WINDOW];
    mref_task task[MREF_TASKS];
    noise32 support[MREF_TASKS][MREF_STEPS], query[MREF_TASKS], all[MREF_TASKS][MREF_STEPS];
} problem;

/* Which terms, and how. Alone: margins no score reaches make L_AD vanish. */
typedef struct variant {
    const char *name;
    bool no_ad, no_weigh, no_contrast, no_decay, weight_both, sum, decay_all, no_inner, no_outer, eq1, uncertain;
} variant;

static const variant variants[] = {
    {.name = "all terms", .uncertain = true},
    {.name = "detector alone", .no_contrast = true, .no_decay = true},
    {.name = "detector alone, unweighted", .no_weigh = true, .no_contrast = true, .no_decay = true},
    {.name = "decay alone", .no_ad = true, .no_contrast = true},
    {.name = "contrast alone", .no_ad = true, .no_decay = true},
    {.name = "contrast alone, Eq. 1", .no_ad = true, .no_decay = true, .eq1 = true},
    {.name = "contrast in the inner loop", .no_outer = true},
    {.name = "contrast in the outer loop", .no_inner = true},
    {.name = "sum", .sum = true},
    {.name = "both terms weighted, all parameters decayed", .weight_both = true, .decay_all = true, .uncertain = true},
};

enum { VARIANTS = sizeof variants / sizeof variants[0] };

/* ---- the problem ---------------------------------------------------------------------------------------------- */

/* Values that float holds exactly, so that both precisions see the same problem. */
static void fill(const char *name, size_t index, uint64_t seed, size_t count, double scale, double offset, double *wide,
                 float *narrow)
{
    const uint64_t hash = cz_name_hash(name, seed * 64 + index);
    for (size_t i = 0; i < count; i++) {
        narrow[i] = (float)(offset + scale * (double)cz_hash_uniform(hash, i));
        wide[i] = (double)narrow[i];
    }
}

static void make_set(const problem *p, size_t rows, const double *o, size_t index, uint64_t seed, mref_set *set,
                     noise32 *noise)
{
    cz_rng rng;
    set->p = rows;
    set->o = o;
    fill("eps", index, seed, rows * p->config.d, 0.4, 0, set->eps, noise->eps);
    fill("delta", index, seed, rows * p->config.d, 0.4, 0, set->delta, noise->delta);
    for (size_t i = 0; i < rows; i++) set->order[i] = i;
    cz_rng_init(&rng, seed, CZ_RNG_TEST, index, 0);
    cz_rng_shuffle(&rng, set->order, rows);
}

static mref_config config_of(const variant *v, size_t steps)
{
    mref_config c = {.d = 6,
                     .k = 5,
                     .support = 13, /* chunks of 6 and, with knn 2, 7 */
                     .query = 6,
                     .tasks = 2,
                     .steps = steps,
                     .alpha = v->sum ? 0.1 / 13 : 0.1,
                     .margin_positive = v->no_ad ? -100 : 0.5,
                     .margin_negative = v->no_ad ? 100 : -0.5,
                     .weigh = !v->no_weigh,
                     .weight_both = v->weight_both,
                     .sum = v->sum,
                     .decay_all = v->decay_all,
                     .contrast_inner = !v->no_contrast && !v->no_inner,
                     .contrast_outer = !v->no_contrast && !v->no_outer,
                     .kappa = 0.3,
                     .floor = 1e-3,
                     .lambda_cont = 0.7,
                     .temperature = 0.4,
                     .chunk = 6,
                     .knn = v->eq1 ? 0 : 2,
                     .window_count = 12};
    /* an alpha at which the Hessian matters (of the decay it is 2 lambda) */
    if (v->no_ad) c.alpha = v->no_contrast ? 10 : 0.6;
    c.lambda_inner = c.lambda_outer = v->no_decay ? 0 : 0.01;
    return c;
}

static void make(problem *p, const mref_config *config, uint64_t seed)
{
    const mref_config *c = &p->config;
    memset(p, 0, sizeof *p);
    p->config = *config;
    p->config.window = p->window;
    fill("theta", 0, seed, mref_count(c), 0.7, 0, p->theta, p->theta32);
    fill("scale", 0, seed, c->k, 0.3, 1, p->theta + (c->d + c->k) * c->d, p->theta32 + (c->d + c->k) * c->d);
    fill("window", 0, seed, c->window_count, 0.3, 0, p->window, p->window32);
    for (size_t t = 0; t < c->tasks; t++) {
        fill("o", t, seed, (c->support + c->query) * c->d, 1, 0.2, p->o[t], p->o32[t]);
        for (size_t s = 0; s < c->steps; s++) {
            make_set(p, c->support, p->o[t], t * 16 + s, seed, &p->task[t].support[s], &p->support[t][s]);
            make_set(p, c->support + c->query, p->o[t], t * 16 + 4 + s, seed, &p->task[t].all[s], &p->all[t][s]);
        }
        make_set(p, c->query, p->o[t] + c->support * c->d, t * 16 + 8, seed, &p->task[t].query, &p->query[t]);
    }
}

/* Forgets what was frozen: the next pass at theta settles it anew. */
static void thaw(problem *p)
{
    for (size_t t = 0; t < p->config.tasks; t++) {
        p->task[t].query.frozen = false;
        for (size_t s = 0; s < p->config.steps; s++) p->task[t].support[s].frozen = p->task[t].all[s].frozen = false;
    }
}

static double nearest_kink(const problem *p, bool whole)
{
    double least = 1e30;
    for (size_t t = 0; t < p->config.tasks; t++) {
        for (size_t s = 0; s < p->config.steps; s++)
            least = fmin(least, whole ? p->task[t].all[s].kink : p->task[t].support[s].kink);
        if (!whole) least = fmin(least, p->task[t].query.kink);
    }
    return least;
}

/* A problem that keeps off kinks and ties and, where asked, in which weights below 1 occur. */
static void make_smooth(problem *p, const mref_config *config, uint64_t seed, double distance)
{
    double out[MREF_PARAMS];
    for (int tries = 0; tries < 1000; tries++, seed += 1000) {
        make(p, config, seed);
        mref_union_gradient(&p->config, p->theta, p->task, out);
        mref_meta_gradient(&p->config, p->theta, p->task, MREF_NONE, out);
        double least = 1;
        for (size_t i = 0; i < config->query; i++) least = fmin(least, p->task[0].query.w[i]);
        for (size_t i = 0; i < config->support; i++) least = fmin(least, p->task[0].support[0].w[i]);
        if (config->weigh && least > 0.9) continue;
        if (nearest_kink(p, true) > distance && nearest_kink(p, false) > distance) return;
    }
    fail_msg("no seed keeps off the kinks");
}

static double largest(const double *values, size_t count)
{
    double most = 0;
    for (size_t i = 0; i < count; i++) most = fabs(values[i]) > most ? fabs(values[i]) : most;
    return most;
}

static double apart(const double *a, const double *b, size_t count)
{
    double most = 0;
    for (size_t i = 0; i < count; i++) most = fabs(a[i] - b[i]) > most ? fabs(a[i] - b[i]) : most;
    return most / largest(b, count);
}

/* ---- finite differences --------------------------------------------------------------------------------------- */

static double loss_at(problem *p, size_t index, double moved)
{
    const double kept = p->theta[index];
    p->theta[index] = kept + moved;
    const double loss = mref_meta_loss(&p->config, p->theta, p->task);
    p->theta[index] = kept;
    return loss;
}

/* `bound` of the largest gradient; fourth order: the curvature of batch norm over few rows is large. */
static void expect_slopes(problem *p, const char *name, const double *grads)
{
    const double step = 2e-5, most = largest(grads, mref_count(&p->config));
    const double bound = 1e-6 * (most > 1e-8 ? most : 1e-8);
    double worst = 0;
    assert_true(most > 1e-6);
    for (size_t i = 0; i < mref_count(&p->config); i++) {
        const double near = loss_at(p, i, step) - loss_at(p, i, -step);
        const double far = loss_at(p, i, 2 * step) - loss_at(p, i, -2 * step);
        const double slope = (8 * near - far) / (12 * step);
        worst = fmax(worst, fabs(slope - grads[i]) / most);
        if (!(fabs(slope - grads[i]) <= bound))
            fail_msg("%s, S %zu: parameter %zu: %.12g by differences, %.12g by products (largest %.3g)", name,
                     p->config.steps, i, slope, grads[i], most);
    }
    printf("%s, S %zu: finite differences within %.1e\n", name, p->config.steps, worst);
}

/* Problems in which a missing Hessian and products in the wrong order make a difference (the decay's own commute), as
 * large as docs/math.md section 6 wants it. `exact` gets the right gradient. */
static void make_telling(problem *p, const variant *v, size_t steps, uint64_t seed, double *exact)
{
    const mref_config config = config_of(v, steps);
    const size_t n = mref_count(&config);
    const bool commute = steps == 1 || (v->no_ad && v->no_contrast);
    double plain[MREF_PARAMS], wrong[MREF_PARAMS];
    for (int tries = 0; tries < 100; tries++, seed += 1000000) {
        make_smooth(p, &config, seed, 4e-4);
        mref_meta_gradient(&p->config, p->theta, p->task, MREF_LAST_FIRST, exact);
        mref_meta_gradient(&p->config, p->theta, p->task, MREF_NONE, plain);
        mref_meta_gradient(&p->config, p->theta, p->task, MREF_FIRST_FIRST, wrong);
        if (apart(plain, exact, n) > 0.1 && (commute || apart(wrong, exact, n) > 1e-3)) return;
    }
    fail_msg("%s, S %zu: no problem in which mistakes would show", v->name, steps);
}

static void test_twin_against_differences(void **state)
{
    (void)state;
    for (size_t i = 0; i < VARIANTS; i++)
        for (size_t steps = 1; steps <= 3; steps += 2) {
            problem p;
            double exact[MREF_PARAMS];
            make_telling(&p, &variants[i], steps, 20 + i, exact);
            expect_slopes(&p, variants[i].name, exact);
        }
}

/* One set's gradient: no inner loop. */
static void test_objective_against_differences(void **state)
{
    (void)state;
    for (size_t i = 0; i < VARIANTS; i++) {
        problem p;
        double grads[MREF_PARAMS];
        mref_config config = config_of(&variants[i], 1);
        if (variants[i].no_outer || (variants[i].no_ad && variants[i].no_contrast)) continue; /* nothing of its own */
        make_smooth(&p, &config, 40 + i, 4e-4);
        p.config.alpha = 0;
        thaw(&p);
        mref_meta_gradient(&p.config, p.theta, p.task, MREF_NONE, grads);
        expect_slopes(&p, variants[i].name, grads);
    }
}

/* ---- the library ------------------------------------------------------------------------------------------------ */

typedef struct library {
    cz_head *head;
    cz_meta *meta;
    cz_score_window *window;
    cz_uncertainty uncertainty;
    size_t support_first[SUPPORT_IMAGES + 1], query_first[QUERY_IMAGES + 1], all_first[IMAGES + 1];
    cz_objective_noise noise[MREF_TASKS][MREF_STEPS + 1];
    cz_meta_task task[MREF_TASKS];
    float grads[MREF_PARAMS], state[2 * MREF_K];
    cz_meta_report report;
} library;

static cz_objective_noise noise_of(const noise32 *noise, const mref_set *set)
{
    return (cz_objective_noise){.head.injected = noise->eps, .contrast = {.delta = noise->delta, .order = set->order}};
}

static cz_task_set set_of(const problem *p, size_t task, size_t first, size_t images, const size_t *rows)
{
    return (cz_task_set){.batch = {.patches = rows[images],
                                   .width = p->config.d,
                                   .features = p->o32[task] + first * p->config.d,
                                   .images = images,
                                   .image_first = rows}};
}

static void make_library_tasks(const problem *p, bool whole, library *l)
{
    const size_t support[] = {0, 4, 9, p->config.support}, query[] = {0, 2, p->config.query};
    memcpy(l->support_first, support, sizeof support);
    memcpy(l->query_first, query, sizeof query);
    for (size_t i = 0; i <= IMAGES; i++)
        l->all_first[i] = i <= SUPPORT_IMAGES ? support[i] : p->config.support + query[i - SUPPORT_IMAGES];
    for (size_t t = 0; t < p->config.tasks; t++) {
        for (size_t s = 0; s < p->config.steps; s++)
            l->noise[t][s] = whole ? noise_of(&p->all[t][s], &p->task[t].all[s])
                                   : noise_of(&p->support[t][s], &p->task[t].support[s]);
        l->noise[t][p->config.steps] = noise_of(&p->query[t], &p->task[t].query);
        l->task[t] = (cz_meta_task){.support = set_of(p, t, 0, SUPPORT_IMAGES, l->support_first),
                                    .query = set_of(p, t, p->config.support, QUERY_IMAGES, l->query_first),
                                    .all = set_of(p, t, 0, IMAGES, l->all_first),
                                    .index = (uint32_t)t,
                                    .injected = l->noise[t]};
    }
}

static void make_objective(const mref_config *c, cz_objective *o)
{
    cz_objective_init(o);
    o->weigh = c->weigh;
    o->confidence.kappa = c->kappa;
    o->confidence.floor = c->floor;
    o->contrast = c->contrast_inner || c->contrast_outer;
    o->lambda_cont = c->lambda_cont;
    o->contrast_options.chunk = c->chunk;
    o->contrast_options.knn = c->knn;
    o->contrast_options.temperature = c->temperature;
    o->sum = c->sum;
    o->decay_all = c->decay_all;
}

static void open_library(const problem *p, cz_meta_gradient gradient, bool uncertain, library *l)
{
    const mref_config *c = &p->config;
    cz_head_config head;
    cz_objective objective;
    cz_meta_options options;
    cz_uncertainty_options uncertainty;
    memset(l, 0, sizeof *l);
    cz_head_config_init(&head);
    head.width = c->d;
    head.hidden = c->k;
    head.weight_both = c->weight_both;
    head.margin_positive = c->margin_positive;
    head.margin_negative = c->margin_negative;
    assert_int_equal(cz_head_create("simplenet", &head, &l->head), CZ_OK);
    assert_int_equal(l->head->param_count, mref_count(c));
    make_objective(c, &objective);
    cz_meta_options_init(&options);
    options.gradient = gradient;
    options.inner_steps = c->steps;
    options.inner_lr = c->alpha;
    options.contrast_inner = c->contrast_inner;
    options.contrast_outer = c->contrast_outer;
    assert_int_equal(cz_meta_create(l->head, &objective, &options, c->tasks, c->support + c->query, IMAGES, &l->meta),
                     CZ_OK);
    cz_uncertainty_options_init(&uncertainty);
    uncertainty.pairs = 3;
    uncertainty.lambda0 = c->lambda_inner;
    uncertainty.gamma = uncertain ? 1 : 0;
    assert_int_equal(cz_uncertainty_init(&l->uncertainty, &uncertainty), CZ_OK);
    for (int i = 0; i < 3; i++) assert_int_equal(cz_uncertainty_push(&l->uncertainty, 1 + i, i == 1 ? 2 : 1), CZ_OK);
    assert_int_equal(cz_score_window_create(1000, &l->window), CZ_OK);
    cz_score_window_push(l->window, p->window32, c->window_count, 4);
    make_library_tasks(p, gradient == CZ_META_OFF || gradient == CZ_META_REPTILE, l);
}

static void close_library(library *l)
{
    cz_meta_destroy(l->meta);
    cz_head_destroy(l->head);
    cz_score_window_destroy(l->window);
}

static void library_step(const problem *p, library *l)
{
    cz_score_window *const windows[] = {l->window};
    const cz_meta_call call = {.params = p->theta32,
                               .tasks = l->task,
                               .count = p->config.tasks,
                               .windows = windows,
                               .uncertainty = &l->uncertainty};
    if (cz_meta_step(l->meta, &call, l->grads, l->state, &l->report) != CZ_OK) fail_msg("%s", cz_last_error());
}

static void expect_gradient(const char *name, const library *l, const double *expected, size_t count)
{
    double grads[MREF_PARAMS];
    for (size_t i = 0; i < count; i++) grads[i] = (double)l->grads[i];
    const double worst = apart(grads, expected, count);
    printf("%s: library within %.1e of the twin\n", name, worst);
    assert_true(worst <= 1e-5);
}

/* exact, first-order, reptile and off against the twin, with lambda as the library's own uncertainty makes it. */
static void compare_library(const variant *v, cz_meta_gradient gradient, size_t steps, uint64_t seed)
{
    static const char *const names[] = {"off", "exact", "first-order", "reptile"};
    problem p;
    library l;
    double expected[MREF_PARAMS];
    char name[128];
    const mref_config config = config_of(v, steps);
    const bool whole = gradient == CZ_META_OFF || gradient == CZ_META_REPTILE;
    make_smooth(&p, &config, seed, 4e-5);
    open_library(&p, gradient, v->uncertain, &l);
    p.config.lambda_inner = cz_uncertainty_lambda(&l.uncertainty);
    assert_true(!v->uncertain || p.config.lambda_inner > 1.1 * config.lambda_inner);
    library_step(&p, &l);
    p.config.lambda_outer = l.report.lambda;
    assert_true(!v->uncertain || fabs(p.config.lambda_outer / p.config.lambda_inner - 1) > 1e-3);
    if (gradient == CZ_META_OFF) p.config.lambda_inner = p.config.lambda_outer;
    if (whole) p.config.contrast_inner = p.config.contrast_inner || p.config.contrast_outer;
    thaw(&p);
    if (whole)
        mref_union_gradient(&p.config, p.theta, p.task, expected);
    else
        mref_meta_gradient(&p.config, p.theta, p.task, gradient == CZ_META_EXACT ? MREF_LAST_FIRST : MREF_NONE,
                           expected);
    if (!whole) {
        const double loss = mref_meta_loss(&p.config, p.theta, p.task);
        assert_true(fabs(l.report.query.total - loss) <= 1e-5 * (1 + fabs(loss)));
    }
    snprintf(name, sizeof name, "%s, %s, S %zu", v->name, names[gradient], steps);
    expect_gradient(name, &l, expected, mref_count(&config));
    close_library(&l);
}

static void test_library_against_twin(void **state)
{
    (void)state;
    for (size_t i = 0; i < VARIANTS; i++) {
        for (size_t steps = 1; steps <= 3; steps++) compare_library(&variants[i], CZ_META_EXACT, steps, 60 + i);
        compare_library(&variants[i], CZ_META_FIRST_ORDER, 2, 60 + i);
        compare_library(&variants[i], CZ_META_REPTILE, 3, 60 + i);
        compare_library(&variants[i], CZ_META_OFF, 1, 60 + i);
    }
}

/* The first task of the first step may be smaller than those of later ones: categories have few images or many. */
static void test_growing_tasks(void **state)
{
    (void)state;
    problem p;
    library l;
    const mref_config config = config_of(&variants[0], 2);
    make(&p, &config, 7);
    open_library(&p, CZ_META_EXACT, false, &l);
    cz_score_window *const windows[] = {l.window};
    cz_meta_call call = {.params = p.theta32,
                         .tasks = l.task,
                         .count = 1,
                         .windows = windows,
                         .uncertainty = &l.uncertainty,
                         .seed = 1,
                         .measure_drop = true};
    l.task[0].injected = NULL;
    const cz_meta_task large = l.task[0];
    l.task[0].support = set_of(&p, 0, 0, 1, l.all_first);
    l.task[0].query = set_of(&p, 0, l.all_first[1], 1, l.query_first);
    l.task[0].all = set_of(&p, 0, 0, 2, l.all_first);
    l.task[0].all.batch.patches = l.task[0].support.batch.patches + l.task[0].query.batch.patches;
    for (size_t i = 0; i < 3; i++, call.step++, l.task[0] = large) {
        if (cz_meta_step(l.meta, &call, l.grads, l.state, &l.report) != CZ_OK) fail_msg("%s", cz_last_error());
        assert_true(isfinite(l.report.support_drop));
    }
    close_library(&l);
}

/* Of the rows of the support's image that is trusted least, one is known to be anomalous. */
static size_t know_one(const problem *p, uint8_t target[MREF_P])
{
    const size_t first[] = {0, 4, 9, p->config.support};
    size_t least = 0, image = 0;
    for (size_t i = 0; i < p->config.support; i++)
        if (p->task[0].support[0].w[i] < p->task[0].support[0].w[least]) least = i;
    while (first[image + 1] <= least) image++;
    memset(target, CZ_TARGET_NORMAL, MREF_P);
    target[least == first[image] ? least + 1 : least - 1] = CZ_TARGET_ANOMALOUS; /* all of its rows are meant */
    return image;
}

/* The support's weights in the first task: those of the known image are 1, the others' as if it were not there. */
static void expect_weights(const problem *p, const library *l, size_t known, const uint8_t *target)
{
    const size_t rows = p->config.support, *first = l->support_first;
    cz_objective objective;
    cz_objective_work *work = NULL;
    cz_score_window *const windows[] = {l->window};
    float own[MREF_P], expected[MREF_P];
    size_t count = 0, at = 0;
    cz_spread spread;
    cz_terms terms;
    cz_task_set set = l->task[0].support;
    make_objective(&p->config, &objective);
    cz_objective_call call = {.params = p->theta32, .set = &set, .windows = windows, .noise = l->noise[0][0]};
    assert_int_equal(cz_objective_work_create(l->head, &objective, rows, SUPPORT_IMAGES, false, &work), CZ_OK);
    for (size_t i = 0; i < SUPPORT_IMAGES; i++) assert_true(cz_task_set_is_known(&set, i) == (i == known));
    set.batch.target = NULL;
    for (size_t i = 0; i < SUPPORT_IMAGES; i++) assert_false(cz_task_set_is_known(&set, i));
    assert_int_equal(cz_objective_gradient(&objective, &call, work, NULL, &terms), CZ_OK);
    for (size_t i = first[known]; i < first[known + 1]; i++) at += cz_objective_weights(work)[i] < 1;
    assert_true(at > 0); /* else the rest would say nothing */
    set.batch.target = target;
    assert_int_equal(cz_objective_gradient(&objective, &call, work, NULL, &terms), CZ_OK);
    for (size_t i = 0; i < rows; i++)
        if (i < first[known] || i >= first[known + 1]) own[count++] = cz_objective_head_work(work)->score[i];
    assert_int_equal(cz_score_window_spread(l->window, own, count, &spread), CZ_OK);
    assert_int_equal(cz_confidence_weights(&objective.confidence, &spread, own, count, expected), CZ_OK);
    at = 0;
    for (size_t i = 0; i < rows; i++) {
        const bool trusted = i >= first[known] && i < first[known + 1];
        assert_true(cz_objective_weights(work)[i] == (trusted ? 1 : expected[at]));
        at += !trusted;
    }
    cz_objective_work_destroy(work);
}

/* An image with patches that are known to be anomalous: nothing of it goes into the windows. */
static void test_known_images(void **state)
{
    (void)state;
    problem p;
    uint8_t target[MREF_P];
    float held[64];
    const mref_config config = config_of(&variants[1], 1);
    make_smooth(&p, &config, 300, 4e-5);
    const size_t known = know_one(&p, target);
    for (int unit = 0; unit < 2; unit++) {
        library l;
        cz_objective objective;
        cz_meta_options options;
        open_library(&p, CZ_META_EXACT, false, &l);
        for (size_t t = 0; t < p.config.tasks; t++)
            l.task[t].support.batch.target = l.task[t].all.batch.target = target;
        if (unit == 0) expect_weights(&p, &l, known, target);
        if (unit == 1) {
            make_objective(&config, &objective);
            objective.image_unit = true;
            cz_meta_options_init(&options);
            cz_meta_destroy(l.meta);
            assert_int_equal(cz_meta_create(l.head, &objective, &options, p.config.tasks,
                                            p.config.support + p.config.query, IMAGES, &l.meta),
                             CZ_OK);
        }
        library_step(&p, &l);
        const size_t rows = l.support_first[known + 1] - l.support_first[known];
        const size_t more = unit == 0 ? p.config.support - rows : SUPPORT_IMAGES - 1;
        assert_int_equal(cz_score_window_images(l.window), 4 + p.config.tasks * (SUPPORT_IMAGES - 1));
        assert_int_equal(cz_score_window_count(l.window), p.config.window_count + p.config.tasks * more);
        cz_score_window_values(l.window, held);
        assert_memory_equal(held, p.window32, p.config.window_count * sizeof *held);
        close_library(&l);
    }
}

/* First order is the exact gradient at an alpha of nothing; and what is no option is refused. */
static void test_limits(void **state)
{
    (void)state;
    problem p;
    cz_meta *meta = NULL;
    cz_head_config head_config;
    cz_head *head;
    cz_objective objective;
    cz_meta_options options;
    mref_config config = config_of(&variants[0], 3);
    double expected[MREF_PARAMS];
    config.alpha = 1e-12;
    make_smooth(&p, &config, 80, 4e-5);
    library l[2];
    for (int i = 0; i < 2; i++) {
        open_library(&p, i ? CZ_META_FIRST_ORDER : CZ_META_EXACT, false, &l[i]);
        library_step(&p, &l[i]);
    }
    for (size_t i = 0; i < mref_count(&config); i++) expected[i] = (double)l[0].grads[i];
    expect_gradient("alpha 0", &l[1], expected, mref_count(&config));
    for (int i = 0; i < 2; i++) close_library(&l[i]);

    cz_head_config_init(&head_config);
    head_config.width = head_config.hidden = 4;
    assert_int_equal(cz_head_create("simplenet", &head_config, &head), CZ_OK);
    cz_objective_init(&objective);
    cz_meta_options_init(&options);
    options.gradient = CZ_META_REPTILE; /* with S = 1 that is plain training */
    assert_int_equal(cz_meta_create(head, &objective, &options, 1, 8, 2, &meta), CZ_E_ARG);
    cz_meta_options_init(&options);
    options.inner_steps = 0;
    assert_int_equal(cz_meta_create(head, &objective, &options, 1, 8, 2, &meta), CZ_E_ARG);
    options.inner_steps = 1;
    options.inner_lr = 0;
    assert_int_equal(cz_meta_create(head, &objective, &options, 1, 8, 2, &meta), CZ_E_ARG);
    assert_null(meta);
    cz_head_destroy(head);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_objective_against_differences),
        cmocka_unit_test(test_twin_against_differences),
        cmocka_unit_test(test_library_against_twin),
        cmocka_unit_test(test_growing_tasks),
        cmocka_unit_test(test_known_images),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
