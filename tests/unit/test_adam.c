/* SPDX-License-Identifier: Apache-2.0 */
#include "optim/adam.h"
#include "tensor/tensors.h"
#include "util/rng.h"
#include "util/threads.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The textbook, one parameter, in double. */
static void plain_adam(double *p, double *m, double *v, double g, int step, const cz_adam_group *group)
{
    if (group->decoupled) *p -= group->lr * group->decay * *p;
    if (!group->decoupled) g += group->decay * *p;
    *m = 0.9 * *m + 0.1 * g;
    *v = 0.999 * *v + 0.001 * g * g;
    *p -= group->lr * (*m / (1 - pow(0.9, step))) / (sqrt(*v / (1 - pow(0.999, step))) + 1e-8);
}

static void gradient(int step, size_t count, float *g)
{
    char name[16];
    snprintf(name, sizeof name, "g.%d", step);
    const uint64_t hash = cz_name_hash(name, 0);
    for (size_t i = 0; i < count; i++) {
        g[i] = cz_hash_uniform(hash, i);
        if (i % 7 == 0) g[i] *= 1e-8f;
        if (i % 11 == 0) g[i] = 0;
    }
}

/* Three groups with a gap before, between and after: what lies in no group stays. */
static void test_against_plain_twin(void **state)
{
    enum { COUNT = 40000, STEPS = 30 };
    static float params[COUNT], grads[COUNT];
    static double p[COUNT], m[COUNT], v[COUNT];
    static const cz_adam_group groups[] = {
        {3, 100, 1e-3, 0, 0}, {103, 20001, 2e-3, 1e-2, 0}, {20110, 19000, 1e-3, 1e-1, 1}};
    cz_adam adam;
    (void)state;
    assert_int_equal(cz_adam_init(COUNT, &adam), CZ_OK);
    const uint64_t hash = cz_name_hash("p", 0);
    for (size_t i = 0; i < COUNT; i++) p[i] = (double)(params[i] = cz_hash_uniform(hash, i));
    for (int step = 1; step <= STEPS; step++) {
        gradient(step, COUNT, grads);
        cz_adam_step(&adam, groups, 3, params, grads);
        for (size_t k = 0; k < 3; k++)
            for (size_t i = groups[k].first; i < groups[k].first + groups[k].count; i++)
                plain_adam(&p[i], &m[i], &v[i], (double)grads[i], step, &groups[k]);
    }
    assert_int_equal(adam.step, STEPS);
    for (size_t i = 0; i < COUNT; i++)
        if (!(fabs((double)params[i] - p[i]) <= 2e-6)) fail_msg("%zu: %.9g, expected %.9g", i, (double)params[i], p[i]);
    const size_t gaps[] = {0, 2, 20104, 20109, 39110, COUNT - 1};
    for (size_t i = 0; i < sizeof gaps / sizeof gaps[0]; i++)
        assert_true(params[gaps[i]] == cz_hash_uniform(hash, gaps[i]));
    cz_adam_free(&adam);
}

static void test_against_pytorch(void **state)
{
    enum { COUNT = 101, STEPS = 25 };
    static const struct {
        const char *name;
        cz_adam_group group;
    } cases[] = {{"adam", {0, COUNT, 1e-3, 0, 0}},
                 {"adam_decay", {0, COUNT, 1e-3, 1e-2, 0}},
                 {"adamw", {0, COUNT, 1e-3, 1e-2, 1}}};
    cz_tensors *golden = NULL;
    (void)state;
    assert_int_equal(cz_safetensors_open(TEST_FILES "/adam.safetensors", &golden), CZ_OK);
    for (size_t k = 0; k < 3; k++) {
        float params[COUNT], grads[COUNT], expected[COUNT];
        cz_tensor_view view;
        cz_adam adam;
        double most = 0;
        assert_int_equal(cz_tensors_find(golden, cases[k].name, &view), CZ_OK);
        assert_int_equal(view.bytes, sizeof expected);
        memcpy(expected, view.data, sizeof expected);
        assert_int_equal(cz_adam_init(COUNT, &adam), CZ_OK);
        for (size_t i = 0; i < COUNT; i++) params[i] = cz_hash_uniform(cz_name_hash("p", 0), i);
        for (int step = 0; step < STEPS; step++) {
            gradient(step, COUNT, grads);
            cz_adam_step(&adam, &cases[k].group, 1, params, grads);
        }
        for (size_t i = 0; i < COUNT; i++) most = fmax(most, fabs((double)params[i] - (double)expected[i]));
        printf("%s: largest difference %.2e\n", cases[k].name, most);
        assert_true(most <= 2e-7);
        cz_adam_free(&adam);
    }
    cz_tensors_close(golden);
}

static void test_thread_count_changes_nothing(void **state)
{
    enum { COUNT = 50000 };
    static float params[2][COUNT], grads[COUNT];
    const cz_adam_group group = {0, COUNT, 1e-3, 1e-2, 0};
    (void)state;
    gradient(0, COUNT, grads);
    for (size_t threads = 1; threads <= 2; threads++) {
        cz_threads_scope scope;
        cz_adam adam;
        assert_int_equal(cz_threads_enter(threads, &scope), CZ_OK);
        assert_int_equal(cz_adam_init(COUNT, &adam), CZ_OK);
        for (size_t i = 0; i < COUNT; i++) params[threads - 1][i] = cz_hash_uniform(1, i);
        for (int step = 0; step < 3; step++) cz_adam_step(&adam, &group, 1, params[threads - 1], grads);
        cz_adam_free(&adam);
        cz_threads_leave(&scope);
    }
    assert_memory_equal(params[0], params[1], sizeof params[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_plain_twin),
        cmocka_unit_test(test_against_pytorch),
        cmocka_unit_test(test_thread_count_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
