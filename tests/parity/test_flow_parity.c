/* SPDX-License-Identifier: Apache-2.0 */
/* The flow against PyTorch in double: tables, map, log-determinant, score, gradient, Hessian-vector product. Inputs are hashes
 * of their names, as in make_flow_goldens.py. */
#include "heads/flow.h"
#include "tensor/tensors.h"
#include "util/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { D = 24, P = 40, HIDDEN = 12, BLOCKS = 3 };

typedef struct fixture {
    cz_tensors *golden;
    const char *tag;
    cz_head *head;
    float *params, *direction, *o, *weight;
} fixture;

static void hashed(const fixture *f, const char *name, size_t count, float scale, float offset, float *out)
{
    char full[64];
    snprintf(full, sizeof full, "%s.%s", f->tag, name);
    const uint64_t hash = cz_name_hash(full, 0);
    for (size_t i = 0; i < count; i++) out[i] = offset + cz_hash_uniform(hash, i) * scale;
}

static const void *golden(const fixture *f, const char *name, size_t bytes)
{
    char full[64];
    cz_tensor_view view;
    snprintf(full, sizeof full, "%s.%s", f->tag, name);
    assert_int_equal(cz_tensors_find(f->golden, full, &view), CZ_OK);
    assert_int_equal(view.bytes, bytes);
    assert_int_equal((uintptr_t)view.data % 4, 0);
    return view.data;
}

static fixture open_fixture(const char *tag, size_t project)
{
    fixture f = {.tag = tag};
    cz_head_config config;
    cz_head_config_init(&config);
    config.width = D;
    config.flow_project = project;
    config.flow_hidden = HIDDEN;
    config.flow_blocks = BLOCKS;
    config.structure_seed = UINT64_C(0xC0FFEE1234);
    assert_int_equal(cz_safetensors_open(TEST_FILES "/flow.safetensors", &f.golden), CZ_OK);
    assert_int_equal(cz_head_create("flow", &config, &f.head), CZ_OK);
    const size_t n = f.head->param_count, width = cz_flow_width(f.head);
    f.params = calloc(n, sizeof *f.params);
    f.direction = calloc(n, sizeof *f.direction);
    f.o = calloc(P * D, sizeof *f.o);
    f.weight = calloc(P, sizeof *f.weight);
    hashed(&f, "theta", n - 2 * width, 0.5f, 0, f.params);
    hashed(&f, "mean", width, 0.5f, 0, f.params + cz_head_param(f.head, "input.mean")->first);
    hashed(&f, "scale", width, 0.25f, 1, f.params + cz_head_param(f.head, "input.scale")->first);
    hashed(&f, "v", n - 2 * width, 1, 0, f.direction);
    hashed(&f, "o", P * D, 1.5f, 0.25f, f.o);
    hashed(&f, "weight", P, 0.375f, 0.625f, f.weight);
    return f;
}

static void close_fixture(fixture *f)
{
    cz_head_destroy(f->head);
    cz_tensors_close(f->golden);
    free(f->params);
    free(f->direction);
    free(f->o);
    free(f->weight);
}

/* Prints and bounds the largest difference, as a share of the largest value. */
static void compare(const fixture *f, const char *what, const float *ours, const float *theirs, size_t count,
                    double bound)
{
    double apart = 0, most = 0;
    for (size_t i = 0; i < count; i++) {
        const double difference = fabs((double)ours[i] - (double)theirs[i]);
        if (!(difference <= apart)) apart = difference;
        most = fmax(most, fabs((double)theirs[i]));
    }
    printf("%s %s: largest difference %.2e of the largest value (bound %.0e)\n", f->tag, what, apart / most, bound);
    assert_true(apart <= bound * most);
}

/* Models do not hold these: another table would be another detector. */
static void tables(const fixture *f)
{
    const size_t width = cz_flow_width(f->head);
    const int32_t *order = golden(f, "order", BLOCKS * width * sizeof *order);
    for (size_t b = 0; b < BLOCKS; b++)
        for (size_t j = 0; j < width; j++)
            assert_int_equal(cz_flow_order(f->head, b)[j], (uint32_t)order[b * width + j]);
    if (cz_flow_projection(f->head) == NULL) return;
    compare(f, "projection", cz_flow_projection(f->head), golden(f, "projection", width * D * sizeof(float)), width * D,
            1e-6);
}

static void map(const fixture *f)
{
    const size_t width = cz_flow_width(f->head);
    float *z = calloc(P * width, sizeof *z);
    double log_det[P], expected[P], worst = 0;
    assert_int_equal(cz_flow_forward(f->head, f->params, f->o, P, z, log_det), CZ_OK);
    compare(f, "z", z, golden(f, "z", P * width * sizeof *z), P * width, 1e-5);
    memcpy(expected, golden(f, "log_det", sizeof expected), sizeof expected);
    for (size_t i = 0; i < P; i++) worst = fmax(worst, fabs(log_det[i] - expected[i]));
    printf("%s log-determinant: largest difference %.2e nats (bound 1e-5)\n", f->tag, worst);
    assert_true(worst <= 1e-5);
    free(z);
}

static void derivatives(const fixture *f)
{
    const size_t n = f->head->param_count, learnt = n - 2 * cz_flow_width(f->head);
    float *grads = calloc(n, sizeof *grads), *product = calloc(n, sizeof *product);
    const float *theirs = golden(f, "grads", learnt * sizeof *grads);
    cz_head_work *work = NULL;
    double loss;
    const cz_batch batch = {.patches = P, .width = D, .features = f->o, .images = 1, .weight = f->weight};
    assert_int_equal(cz_head_work_create(f->head, P, &work), CZ_OK);
    assert_int_equal(cz_head_work_second_order(work), CZ_OK);
    assert_int_equal(cz_head_forward(f->head, f->params, &batch, NULL, work), CZ_OK);
    compare(f, "score", work->score, golden(f, "score", P * sizeof(float)), P, 1e-5);
    assert_int_equal(cz_head_loss(f->head, &batch, work, &loss), CZ_OK);
    assert_true(fabs(loss - (double)*(const float *)golden(f, "loss", sizeof(float))) <= 1e-5);
    assert_int_equal(cz_head_backward(f->head, f->params, &batch, NULL, work, grads), CZ_OK);
    for (size_t i = 0; i < f->head->param_views - 2; i++) { /* each part by its own scale */
        const cz_head_view *v = &f->head->param[i];
        compare(f, v->name, grads + v->first, theirs + v->first, v->count, 1e-5);
    }
    assert_int_equal(cz_head_tangent(f->head, f->params, &batch, f->direction, work, NULL), CZ_OK);
    assert_int_equal(cz_head_hessian(f->head, f->params, &batch, f->direction, NULL, NULL, work, product), CZ_OK);
    compare(f, "Hessian-vector product", product, golden(f, "product", learnt * sizeof *product), learnt, 1e-5);
    cz_head_work_destroy(work);
    free(grads);
    free(product);
}

static void test_against_pytorch(void **state)
{
    static const struct {
        const char *tag;
        size_t project;
    } cases[] = {{"plain", 0}, {"projected", 11}};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        fixture f = open_fixture(cases[i].tag, cases[i].project);
        tables(&f);
        map(&f);
        derivatives(&f);
        close_fixture(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_against_pytorch)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
