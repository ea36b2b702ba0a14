/* SPDX-License-Identifier: Apache-2.0 */
/* SimpleNet against PyTorch: one gradient, and 20 Adam steps from identical weights, batches and noise. Inputs are hashes
 * of their names, as in make_simplenet_goldens.py. */
#include "heads/head.h"
#include "optim/adam.h"
#include "tensor/tensors.h"
#include "util/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { D = 24, K = 16, P = 60, STEPS = 20 };

static void hashed(const char *name, size_t count, double scale, float offset, float *out)
{
    const uint64_t hash = cz_name_hash(name, 0);
    for (size_t i = 0; i < count; i++) out[i] = offset + cz_hash_uniform(hash, i) * (float)scale;
}

static void batch_of(int step, float *o, float *eps)
{
    char name[32];
    snprintf(name, sizeof name, "o.%d", step);
    hashed(name, P * D, 1, 0.3f, o);
    snprintf(name, sizeof name, "eps.%d", step);
    hashed(name, P * D, 0.015 * sqrt(3.0), 0, eps);
}

typedef struct fixture {
    cz_tensors *golden;
    cz_head *head;
    cz_head_work *work;
    const char *tag;
    float *params, *state, *grads;
    float o[P * D], eps[P * D];
} fixture;

static const float *golden(const fixture *f, const char *name, size_t count)
{
    char full[64];
    cz_tensor_view view;
    snprintf(full, sizeof full, "%s.%s", f->tag, name);
    assert_int_equal(cz_tensors_find(f->golden, full, &view), CZ_OK);
    assert_int_equal(view.bytes, count * sizeof(float));
    assert_int_equal((uintptr_t)view.data % sizeof(float), 0);
    return view.data;
}

static void set_params(fixture *f)
{
    static const struct {
        const char *name;
        double scale;
        float offset;
    } values[] = {{"adaptor.weight", 0.35, 0}, {"adaptor.bias", 0.2, 0}, {"hidden.weight", 0.4, 0},
                  {"hidden.bias", 0.2, 0},     {"norm.scale", 0.3, 1},   {"norm.shift", 0.2, 0},
                  {"output.weight", 0.6, 0}};
    cz_head_init(f->head, 1, f->params, f->state);
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        const cz_head_view *view = cz_head_param(f->head, values[i].name);
        if (view) hashed(values[i].name, view->count, values[i].scale, values[i].offset, f->params + view->first);
    }
}

static fixture *open_fixture(bool compat)
{
    fixture *f = calloc(1, sizeof *f);
    cz_head_config config;
    cz_head_config_init(&config);
    config.width = D;
    config.hidden = K;
    config.simplenet_compat = compat;
    f->tag = compat ? "compat" : "plain";
    assert_int_equal(cz_safetensors_open(TEST_FILES "/simplenet.safetensors", &f->golden), CZ_OK);
    assert_int_equal(cz_head_create("simplenet", &config, &f->head), CZ_OK);
    assert_int_equal(cz_head_work_create(f->head, P, &f->work), CZ_OK);
    f->params = calloc(f->head->param_count, sizeof(float));
    f->grads = calloc(f->head->param_count, sizeof(float));
    f->state = calloc(f->head->state_count, sizeof(float));
    set_params(f);
    return f;
}

static void close_fixture(fixture *f)
{
    cz_head_work_destroy(f->work);
    cz_head_destroy(f->head);
    cz_tensors_close(f->golden);
    free(f->params);
    free(f->grads);
    free(f->state);
    free(f);
}

/* Prints and bounds the largest difference, as a share of `unit`. */
static void compare(const fixture *f, const char *what, const float *ours, const float *theirs, size_t count,
                    double unit, double bound)
{
    double most = 0;
    for (size_t i = 0; i < count; i++) {
        const double difference = fabs((double)ours[i] - (double)theirs[i]) / unit;
        if (!(difference <= most)) most = difference;
    }
    printf("%s %s: largest difference %.2e (bound %.0e)\n", f->tag, what, most, bound);
    assert_true(most <= bound);
}

static double largest(const float *values, size_t count)
{
    double most = 0;
    for (size_t i = 0; i < count; i++) most = fabs((double)values[i]) > most ? fabs((double)values[i]) : most;
    return most;
}

static void gradients(bool compat)
{
    fixture *f = open_fixture(compat);
    static float weight[P], inject[P * D];
    hashed("weight", P, 0.4, 0.6f, weight);
    hashed("inject", P * D, 0.01, 0, inject);
    batch_of(0, f->o, f->eps);
    const cz_batch batch = {.patches = P, .width = D, .features = f->o, .images = 1, .weight = weight};
    const cz_head_noise noise = {.injected = f->eps};
    assert_int_equal(cz_head_forward(f->head, f->params, &batch, &noise, f->work), CZ_OK);
    assert_int_equal(cz_head_backward(f->head, f->params, &batch, inject, f->work, f->grads), CZ_OK);
    const float *score = golden(f, "score", P), *grads = golden(f, "grads", f->head->param_count);
    compare(f, "score", f->work->score, score, P, largest(score, P), 1e-5);
    /* each part by its own scale, except for b1, whose true gradient is 0: batch norm cancels it */
    for (size_t i = 0; i < f->head->param_views; i++) {
        const cz_head_view *v = &f->head->param[i];
        const bool b1 = strcmp(v->name, "hidden.bias") == 0;
        compare(f, v->name, f->grads + v->first, grads + v->first, v->count,
                b1 ? largest(grads, f->head->param_count) : largest(grads + v->first, v->count), 1e-5);
    }
    close_fixture(f);
}

static void test_gradients(void **state)
{
    (void)state;
    gradients(false);
    gradients(true);
}

static void train(fixture *f)
{
    cz_adam adam;
    cz_adam_group groups[CZ_HEAD_MAX_GROUPS];
    float stats[2 * K];
    assert_int_equal(cz_adam_init(f->head->param_count, &adam), CZ_OK);
    for (size_t i = 0; i < f->head->groups; i++) {
        const cz_head_group *g = &f->head->group[i];
        groups[i] = (cz_adam_group){g->first, g->count, g->lr, g->decay, g->decoupled};
    }
    const float *losses = golden(f, "losses", STEPS);
    for (int step = 0; step < STEPS; step++) {
        double loss;
        batch_of(step, f->o, f->eps);
        const cz_batch batch = {.patches = P, .width = D, .features = f->o, .images = 1};
        const cz_head_noise noise = {.injected = f->eps};
        assert_int_equal(cz_head_forward(f->head, f->params, &batch, &noise, f->work), CZ_OK);
        assert_int_equal(cz_head_loss(f->head, &batch, f->work, &loss), CZ_OK);
        assert_true(fabs(loss - (double)losses[step]) <= 1e-5);
        assert_int_equal(cz_head_backward(f->head, f->params, &batch, NULL, f->work, f->grads), CZ_OK);
        cz_head_batch_state(f->head, f->work, stats);
        cz_head_state_update(f->head, f->state, stats);
        cz_adam_step(&adam, groups, f->head->groups, f->params, f->grads);
    }
    cz_adam_free(&adam);
}

static void twenty_steps(bool compat)
{
    fixture *f = open_fixture(compat);
    const cz_head *head = f->head;
    float score[P];
    train(f);
    const float *theta = golden(f, "theta", head->param_count);
    for (size_t i = 0; i < head->param_views; i++) {
        const cz_head_view *v = &head->param[i];
        /* Batch norm cancels both biases of compat mode: their gradients are rounding noise, and Adam makes a random walk
         * of it that the running mean follows. */
        if (strstr(v->name, "bias")) continue;
        compare(f, v->name, f->params + v->first, theta + v->first, v->count, 1, 1e-4);
    }
    compare(f, "running variance", f->state + K, golden(f, "var", K), K, 1, 1e-4);
    if (!compat) {
        compare(f, "running mean", f->state, golden(f, "mean", K), K, 1, 1e-4);
        batch_of(0, f->o, f->eps);
        assert_int_equal(cz_head_score(head, f->params, f->state, f->o, P, score), CZ_OK);
        compare(f, "score", score, golden(f, "eval_score", P), P, 1, 1e-4);
    }
    close_fixture(f);
}

static void test_twenty_steps(void **state)
{
    (void)state;
    twenty_steps(false);
}

static void test_twenty_steps_compat(void **state)
{
    (void)state;
    twenty_steps(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_twenty_steps),
        cmocka_unit_test(test_twenty_steps_compat),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
