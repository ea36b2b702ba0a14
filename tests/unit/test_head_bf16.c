/* SPDX-License-Identifier: Apache-2.0 */
/* SimpleNet with matrix products in bf16 beside the same in fp32, which finite differences check. */
#include "heads/head.h"
#include "optim/adam.h"
#include "util/alloc.h"
#include "util/rng.h"
#include "util/threads.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { D = 96, K = 64, P = 2100 }; /* more rows than any block of the code */

static float *hashed(const char *name, size_t count, float scale)
{
    float *values = calloc(count ? count : 1, sizeof *values);
    const uint64_t hash = cz_name_hash(name, 0);
    assert_non_null(values);
    for (size_t i = 0; i < count; i++) values[i] = scale * cz_hash_uniform(hash, i);
    return values;
}

static cz_head *make(cz_precision precision, bool compat)
{
    cz_head_config config;
    cz_head *head;
    cz_head_config_init(&config);
    assert_int_equal(config.precision, CZ_PRECISION_FP32);
    config.width = D;
    config.hidden = K;
    config.simplenet_compat = compat;
    config.precision = precision;
    config.noise_std = 0.1;
    assert_int_equal(cz_head_create("simplenet", &config, &head), CZ_OK);
    return head;
}

static double norm(const float *a, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += (double)a[i] * (double)a[i];
    return sqrt(sum);
}

/* |a - b| / |b| */
static double apart(const float *a, const float *b, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    return sqrt(sum) / norm(b, count);
}

typedef struct outcome {
    double loss;
    float *score, *q, *grads, *batch_state, *tangent_q, *hessian;
} outcome;

typedef struct problem {
    size_t patches;
    bool compat, second, injected;
    const float *noise; /* NULL: drawn */
} problem;

static outcome run(cz_precision precision, const problem *p)
{
    cz_head *head = make(precision, p->compat);
    outcome o = {.loss = 0};
    float *params = calloc(head->param_count, sizeof *params), *state = calloc(head->state_count, sizeof *state);
    float *features = hashed("o", p->patches * D, 1), *dq = hashed("dq", p->patches * D, 2e-3f);
    float *direction = hashed("v", head->param_count, 0.1f), *tangent_dq = hashed("tdq", p->patches * D, 1e-3f);
    cz_head_work *work;
    cz_head_init(head, 5, params, state);
    const cz_batch batch = {.patches = p->patches, .width = D, .features = features, .images = 1};
    const cz_head_noise noise = {.seed = 3, .step = 4, .task = 1, .injected = p->noise};
    assert_int_equal(cz_head_work_create(head, p->patches, &work), CZ_OK);
    if (p->second) assert_int_equal(cz_head_work_second_order(work), CZ_OK);
    o.score = calloc(p->patches, sizeof(float));
    o.q = calloc(p->patches * D, sizeof(float));
    o.tangent_q = calloc(p->patches * D, sizeof(float));
    o.grads = calloc(head->param_count, sizeof(float));
    o.hessian = calloc(head->param_count, sizeof(float));
    o.batch_state = calloc(head->state_count, sizeof(float));
    assert_int_equal(cz_head_forward(head, params, &batch, &noise, work), CZ_OK);
    assert_int_equal(cz_head_loss(head, &batch, work, &o.loss), CZ_OK);
    memcpy(o.score, work->score, p->patches * sizeof(float));
    memcpy(o.q, work->q, p->patches * D * sizeof(float));
    cz_head_batch_state(head, work, o.batch_state);
    assert_int_equal(cz_head_backward(head, params, &batch, p->injected ? dq : NULL, work, o.grads), CZ_OK);
    for (int i = 0; p->second && i < 2; i++) { /* a second product is the same */
        assert_int_equal(cz_head_tangent(head, params, &batch, direction, work, o.tangent_q), CZ_OK);
        assert_int_equal(cz_head_hessian(head, params, &batch, direction, p->injected ? dq : NULL,
                                         p->injected ? tangent_dq : NULL, work, o.hessian),
                         CZ_OK);
    }
    cz_head_work_destroy(work);
    cz_head_destroy(head);
    free(params), free(state), free(features), free(dq), free(direction), free(tangent_dq);
    return o;
}

static void drop(outcome *o)
{
    float *const all[] = {o->score, o->q, o->grads, o->batch_state, o->tangent_q, o->hessian};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) free(all[i]);
}

/* A rounded operand is off by at most 2^-9 of itself. Gradients are further apart: LeakyReLU's slope jumps where a value close
 * to 0 changes its sign, which few rows average badly. The part of each parameter is compared, so that none hides behind
 * a larger one. */
static void compare(const problem *p)
{
    const double bound = p->patches < 100 ? 0.15 : 0.06;
    cz_head *head = make(CZ_PRECISION_FP32, p->compat);
    outcome narrow = run(CZ_PRECISION_BF16, p), wide = run(CZ_PRECISION_FP32, p);
    assert_true(fabs(narrow.loss - wide.loss) < 5e-3 * wide.loss);
    assert_true(apart(narrow.q, wide.q, p->patches * D) < 5e-3);
    assert_true(apart(narrow.score, wide.score, p->patches) < 3e-2);
    assert_true(apart(narrow.batch_state, wide.batch_state, head->state_count) < 5e-3);
    assert_true(apart(narrow.grads, wide.grads, head->param_count) < bound);
    assert_true(memcmp(narrow.q, wide.q, p->patches * D * sizeof(float)) != 0); /* it is another computation */
    for (size_t i = 0; i < head->param_views; i++) {
        const cz_head_view *v = &head->param[i];
        if (strcmp(v->name, "hidden.bias") == 0) continue; /* batch norm cancels it: rounding noise */
        const double grads = apart(narrow.grads + v->first, wide.grads + v->first, v->count);
        assert_true(grads < bound);
        if (!p->second) continue;
        const double hessian = apart(narrow.hessian + v->first, wide.hessian + v->first, v->count);
        assert_true(hessian < bound);
    }
    if (p->second) assert_true(apart(narrow.tangent_q, wide.tangent_q, p->patches * D) < 5e-3);
    drop(&narrow);
    drop(&wide);
    cz_head_destroy(head);
}

static void test_first_derivatives(void **state)
{
    (void)state;
    float *noise = hashed("noise", (size_t)P * D, 0.15f);
    const problem problems[] = {{P, false, false, false, NULL},
                                {P, false, false, true, noise},
                                {P, true, false, true, NULL},
                                {513, false, false, true, NULL},
                                {33, false, false, true, noise}};
    for (size_t i = 0; i < sizeof problems / sizeof problems[0]; i++) compare(&problems[i]);
    free(noise);
}

static void test_second_derivatives(void **state)
{
    (void)state;
    const problem problems[] = {
        {P, false, true, false, NULL}, {P, false, true, true, NULL}, {P, true, true, true, NULL}};
    for (size_t i = 0; i < sizeof problems / sizeof problems[0]; i++) compare(&problems[i]);
}

/* Only the order of sums inside a product may change with the thread count. */
static void test_thread_count(void **state)
{
    (void)state;
    const problem p = {P, false, true, true, NULL};
    outcome o[2];
    cz_head *head = make(CZ_PRECISION_FP32, false);
    for (size_t i = 0; i < 2; i++) {
        cz_threads_scope scope;
        assert_int_equal(cz_threads_enter(i + 1, &scope), CZ_OK);
        o[i] = run(CZ_PRECISION_BF16, &p);
        cz_threads_leave(&scope);
    }
    assert_true(fabs(o[0].loss - o[1].loss) <= 1e-5 * o[0].loss);
    assert_true(apart(o[0].score, o[1].score, P) <= 1e-4);
    assert_true(apart(o[0].grads, o[1].grads, head->param_count) <= 1e-3);
    drop(&o[0]);
    drop(&o[1]);
    cz_head_destroy(head);
}

static void test_embed_and_pass(void **state)
{
    (void)state;
    float *features = hashed("o", (size_t)P * D, 1), *q[2], *statistics[2];
    for (int i = 0; i < 2; i++) {
        cz_head *head = make(i ? CZ_PRECISION_BF16 : CZ_PRECISION_FP32, true);
        float *params = calloc(head->param_count, sizeof *params);
        cz_head_pass *pass = NULL;
        q[i] = calloc((size_t)P * D, sizeof(float));
        statistics[i] = calloc(head->state_count, sizeof(float));
        cz_head_init(head, 5, params, statistics[i]);
        assert_int_equal(cz_head_embed(head, params, features, P, q[i]), CZ_OK);
        assert_int_equal(cz_head_pass_begin(head, params, &pass), CZ_OK);
        assert_int_equal(cz_head_pass_add(head, pass, features, 700), CZ_OK);
        assert_int_equal(cz_head_pass_add(head, pass, features + (size_t)700 * D, P - 700), CZ_OK);
        assert_int_equal(cz_head_pass_end(head, pass, params, statistics[i]), CZ_OK);
        cz_head_pass_destroy(head, pass);
        cz_head_destroy(head);
        free(params);
    }
    assert_true(apart(q[1], q[0], (size_t)P * D) < 5e-3);
    assert_true(memcmp(q[1], q[0], (size_t)P * D * sizeof(float)) != 0);
    assert_true(apart(statistics[1], statistics[0], 2 * K) < 5e-3);
    free(features), free(q[0]), free(q[1]), free(statistics[0]), free(statistics[1]);
}

/* Losses of a short training. Features: few directions, some noise. */
static void train(cz_precision precision, size_t steps, double *first, double *last)
{
    cz_head *head = make(precision, false);
    float *params = calloc(head->param_count, sizeof *params), *grads = calloc(head->param_count, sizeof *grads);
    float *statistics = calloc(head->state_count, sizeof *statistics), *o = hashed("o", (size_t)256 * D, 0.05f);
    cz_adam adam;
    cz_adam_group groups[CZ_HEAD_MAX_GROUPS];
    cz_head_work *work;
    for (size_t i = 0; i < (size_t)256 * D; i++) o[i] += 0.4f * sinf((float)(i % D) * (float)(1 + i / D % 4));
    cz_head_init(head, 5, params, statistics);
    assert_int_equal(cz_head_work_create(head, 256, &work), CZ_OK);
    assert_int_equal(cz_adam_init(head->param_count, &adam), CZ_OK);
    for (size_t i = 0; i < head->groups; i++)
        groups[i] = (cz_adam_group){head->group[i].first, head->group[i].count, 5 * head->group[i].lr, 0, 0};
    const cz_batch batch = {.patches = 256, .width = D, .features = o, .images = 1};
    for (size_t step = 0; step < steps; step++) {
        const cz_head_noise noise = {.seed = 3, .step = step};
        assert_int_equal(cz_head_forward(head, params, &batch, &noise, work), CZ_OK);
        assert_int_equal(cz_head_loss(head, &batch, work, step == 0 ? first : last), CZ_OK);
        assert_int_equal(cz_head_backward(head, params, &batch, NULL, work, grads), CZ_OK);
        cz_adam_step(&adam, groups, head->groups, params, grads);
    }
    cz_head_work_destroy(work);
    cz_head_destroy(head);
    cz_adam_free(&adam);
    free(params), free(grads), free(statistics), free(o);
}

static void test_training_ends_where_fp32_does(void **state)
{
    (void)state;
    double first[2], last[2];
    train(CZ_PRECISION_FP32, 150, &first[0], &last[0]);
    train(CZ_PRECISION_BF16, 150, &first[1], &last[1]);
    assert_true(last[0] < 0.5 * first[0]); /* it has learnt */
    assert_true(fabs(last[1] - last[0]) < 0.02 * first[0]);
}

static void test_refusals_and_memory(void **state)
{
    (void)state;
    cz_head_config config;
    cz_head *head = NULL;
    cz_head_config_init(&config);
    config.precision = CZ_PRECISION_INT8;
    assert_int_equal(cz_head_create("simplenet", &config, &head), CZ_E_ARG);
    head = make(CZ_PRECISION_BF16, true);
    float *params = calloc(head->param_count, sizeof *params),
          *statistics = calloc(head->state_count, sizeof *statistics);
    float *grads = calloc(head->param_count, sizeof *grads), *o = hashed("o", (size_t)40 * D, 1);
    cz_head_init(head, 5, params, statistics);
    const cz_batch batch = {.patches = 40, .width = D, .features = o, .images = 1};
    const cz_head_noise noise = {.seed = 3};
    cz_status status = CZ_E_MEMORY;
    for (unsigned long n = 1; status != CZ_OK; n++) {
        cz_head_work *work = NULL;
        assert_true(n < 100);
        cz_alloc_fail_after(n);
        status = cz_head_work_create(head, 40, &work);
        if (status == CZ_OK) status = cz_head_work_second_order(work);
        if (status == CZ_OK) status = cz_head_forward(head, params, &batch, &noise, work);
        if (status == CZ_OK) status = cz_head_backward(head, params, &batch, NULL, work, grads);
        cz_alloc_fail_after(0);
        assert_true(status == CZ_OK || status == CZ_E_MEMORY);
        cz_head_work_destroy(work);
    }
    cz_head_destroy(head);
    free(params), free(statistics), free(grads), free(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_derivatives),
        cmocka_unit_test(test_second_derivatives),
        cmocka_unit_test(test_thread_count),
        cmocka_unit_test(test_embed_and_pass),
        cmocka_unit_test(test_training_ends_where_fp32_does),
        cmocka_unit_test(test_refusals_and_memory),
    };
    return cmocka_run_group_tests_name("head_bf16", tests, NULL, NULL);
}
