/* SPDX-License-Identifier: Apache-2.0 */
/* The flow detector as a head: its fixed tables, settings, full pass, files and memory. */
#include "grad/flow_problem.h"
#include "tensor/tensors.h"
#include "util/alloc.h"
#include "util/status.h"

#include <float.h>

/* ---- tables ----------------------------------------------------------------------------------------------------- */

static void expect_permutations(const cz_head *head)
{
    const size_t f = cz_flow_width(head);
    for (size_t b = 0; b < head->config.flow_blocks; b++) {
        bool seen[64] = {false};
        for (size_t j = 0; j < f; j++) {
            const uint32_t from = cz_flow_order(head, b)[j];
            assert_true(from < f && !seen[from]);
            seen[from] = true;
        }
    }
    assert_null(cz_flow_order(head, head->config.flow_blocks));
}

static void test_tables(void **state)
{
    static const flow_case c = {1, 60, 40, 3, 4, 1.9};
    (void)state;
    cz_head *head = flow_head(&c, 3), *same = flow_head(&c, 3), *other = flow_head(&c, 4);
    const float *r = cz_flow_projection(head);
    assert_int_equal(cz_flow_width(head), 40);
    for (size_t i = 0; i < 40; i++)
        for (size_t j = 0; j <= i; j++) {
            double dot = 0;
            for (size_t e = 0; e < 60; e++) dot += (double)r[i * 60 + e] * (double)r[j * 60 + e];
            assert_true(fabs(dot - (i == j ? 1 : 0)) < 1e-6);
        }
    expect_permutations(head);
    assert_memory_equal(r, cz_flow_projection(same), 40 * 60 * sizeof *r);
    assert_memory_equal(cz_flow_order(head, 0), cz_flow_order(same, 0), 4 * 40 * sizeof(uint32_t));
    assert_memory_not_equal(r, cz_flow_projection(other), 40 * 60 * sizeof *r);
    assert_memory_not_equal(cz_flow_order(head, 3), cz_flow_order(other, 3), 40 * sizeof(uint32_t));
    assert_memory_not_equal(cz_flow_order(head, 0), cz_flow_order(head, 1), 40 * sizeof(uint32_t));
    cz_head_destroy(head);
    cz_head_destroy(same);
    cz_head_destroy(other);
}

static void expect_refused(cz_head_config config, const char *word)
{
    cz_head *head = NULL;
    cz_error_clear();
    assert_int_equal(cz_head_create("flow", &config, &head), CZ_E_ARG);
    if (!strstr(cz_last_error(), word)) fail_msg("'%s' does not name '%s'", cz_last_error(), word);
}

static void test_configurations(void **state)
{
    (void)state;
    cz_head_config c;
    cz_head *head = NULL;
    cz_head_config_init(&c);
    assert_true(c.flow_blocks == 8 && c.flow_hidden == 0 && c.flow_project == 256 && c.structure_seed == 0);
    assert_true(c.flow_clamp == 1.9 && c.lr_flow == 2e-4);
    c.width = 20; /* below the default projection: none */
    assert_int_equal(cz_head_create("flow", &c, &head), CZ_OK);
    assert_int_equal(cz_flow_width(head), 20);
    assert_null(cz_flow_projection(head));
    assert_true(head->ops->pass_first && head->embed_width == 0 && head->state_count == 0);
    assert_int_equal(head->groups, 1);
    assert_int_equal(head->group[0].first + head->group[0].count, head->param_count - 40);
    cz_head_destroy(head);
    cz_head_config bad = c;
    bad.width = 1;
    expect_refused(bad, "2 dimensions");
    bad = c;
    bad.flow_project = 1;
    expect_refused(bad, "2 dimensions");
    for (size_t blocks = 0; blocks <= 17; blocks += 17) {
        bad = c;
        bad.flow_blocks = blocks;
        expect_refused(bad, "blocks");
    }
    for (size_t i = 0; i < 4; i++) {
        bad = c;
        bad.flow_clamp = (double[]){0, -1, 10.5, NAN}[i];
        expect_refused(bad, "clamp");
        bad = c;
        bad.lr_flow = (double[]){0, -1, INFINITY, NAN}[i];
        expect_refused(bad, "learning rate");
    }
    bad = c;
    bad.flow_hidden = CZ_HEAD_MAX_WIDTH + 1;
    expect_refused(bad, "hidden");
    bad = c;
    bad.width = CZ_HEAD_MAX_WIDTH;
    bad.flow_project = CZ_HEAD_MAX_WIDTH - 1;
    expect_refused(bad, "projection");
}

static void test_other_detectors_are_no_flow(void **state)
{
    (void)state;
    cz_head_config c;
    cz_head *head = NULL;
    float value = 0;
    cz_head_config_init(&c);
    c.width = c.hidden = 4;
    assert_int_equal(cz_head_create("simplenet", &c, &head), CZ_OK);
    assert_int_equal(cz_flow_width(head), 0);
    assert_null(cz_flow_projection(head));
    assert_null(cz_flow_order(head, 0));
    assert_int_equal(cz_flow_forward(head, &value, &value, 1, &value, NULL), CZ_E_ARG);
    assert_int_equal(cz_flow_inverse(head, &value, &value, 1, &value), CZ_E_ARG);
    cz_head_destroy(head);
}

/* ---- the full pass ---------------------------------------------------------------------------------------------- */

static void test_pass(void **state)
{
    static const flow_case c = {1, 6, 0, 3, 1, 1.9};
    enum { ROWS = 4500 };
    (void)state;
    cz_head *head = flow_head(&c, 1);
    cz_head_pass *pass = NULL;
    float *params = calloc(head->param_count, sizeof *params), *o = flow_normals(1, ROWS * 6);
    for (size_t i = 0; i < ROWS; i++) {
        for (size_t k = 0; k < 6; k++) o[i * 6 + k] = 40 + (float)k + (float)(k + 1) * o[i * 6 + k];
        o[i * 6 + 5] = 7; /* a dimension that never moves */
    }
    cz_head_init(head, 1, params, NULL);
    float *before = calloc(head->param_count, sizeof *before);
    memcpy(before, params, head->param_count * sizeof *params);
    flow_measure(head, o, ROWS, params);
    const float *mean = params + cz_head_param(head, "input.mean")->first;
    const float *scale = params + cz_head_param(head, "input.scale")->first;
    double total = 0;
    for (size_t k = 0; k < 6; k++) {
        double sum = 0, squares = 0;
        for (size_t i = 0; i < ROWS; i++) sum += (double)o[i * 6 + k] / ROWS;
        for (size_t i = 0; i < ROWS; i++) squares += pow((double)o[i * 6 + k] - sum, 2) / ROWS;
        total += squares / 6;
        assert_true(fabs((double)mean[k] - sum) <= 1e-5 * fabs(sum));
        if (k < 5) assert_true(fabs((double)scale[k] - sqrt(squares)) <= 1e-4 * sqrt(squares));
    }
    assert_true(fabs((double)scale[5] - 1e-3 * sqrt(total)) <= 1e-4 * 1e-3 * sqrt(total));
    assert_memory_equal(before, params, head->group[0].count * sizeof *params); /* the learnt part stays */
    for (size_t i = 0; i < ROWS * 6; i++) o[i] = 3;
    flow_measure(head, o, ROWS, params);
    for (size_t k = 0; k < 6; k++) assert_true(fabsf(mean[k] - 3) < 1e-6f && scale[k] == 1);
    assert_int_equal(cz_head_pass_begin(head, params, &pass), CZ_OK);
    assert_int_equal(cz_head_pass_end(head, pass, params, NULL), CZ_E_NO_IMAGES);
    o[7] = INFINITY;
    assert_int_equal(cz_head_pass_add(head, pass, o, ROWS), CZ_OK);
    assert_int_equal(cz_head_pass_end(head, pass, params, NULL), CZ_E_ARG);
    assert_true(fabsf(mean[1] - 3) < 1e-6f);
    cz_head_pass_destroy(head, pass);
    cz_head_destroy(head);
    free(params);
    free(before);
    free(o);
}

/* ---- files ------------------------------------------------------------------------------------------------------ */

/* Saves params with `change` made to the tensor of that name and loads them. */
static cz_status load_with(const flow_problem *p, const char *name, float change, float *loaded)
{
    cz_tensors *tensors = NULL;
    float *params = calloc(p->count, sizeof *params);
    memcpy(params, p->theta32, p->count * sizeof *params);
    if (name) params[cz_head_param(p->head, name)->first + 1] = change;
    assert_int_equal(cz_tensors_create(&tensors), CZ_OK);
    assert_int_equal(cz_head_save(p->head, params, NULL, tensors), CZ_OK);
    cz_error_clear();
    const cz_status status = cz_head_load(p->head, tensors, loaded, NULL);
    cz_tensors_close(tensors);
    free(params);
    return status;
}

static void test_files(void **state)
{
    static const flow_case c = {1, 12, 10, 7, 16, 1.9};
    (void)state;
    flow_problem p;
    flow_make(&p, &c, 2);
    float *loaded = calloc(p.count, sizeof *loaded);
    assert_int_equal(p.head->param_views, 4 * 16 + 2);
    assert_true(p.head->param_views <= CZ_HEAD_MAX_VIEWS);
    assert_non_null(cz_head_param(p.head, "block15.second.bias"));
    assert_int_equal(load_with(&p, NULL, 0, loaded), CZ_OK);
    assert_memory_equal(loaded, p.theta32, p.count * sizeof *loaded);
    const float hostile[] = {0, -1, FLT_MIN / 4, -0.0f, NAN, INFINITY};
    for (size_t i = 0; i < sizeof hostile / sizeof hostile[0]; i++) {
        assert_int_equal(load_with(&p, "input.scale", hostile[i], loaded), CZ_E_MODEL);
        assert_non_null(strstr(cz_last_error(), "head.input.scale"));
    }
    assert_int_equal(load_with(&p, "block3.first.weight", INFINITY, loaded), CZ_E_MODEL);
    assert_non_null(strstr(cz_last_error(), "head.block3.first.weight"));
    assert_int_equal(load_with(&p, "input.mean", NAN, loaded), CZ_E_MODEL);
    free(loaded);
    flow_drop(&p);
}

/* Another number of blocks or dimensions, and nothing at all. */
static void test_misshapen_files(void **state)
{
    static const flow_case wide = {1, 12, 0, 7, 3, 1.9}, narrow = {1, 10, 0, 7, 3, 1.9}, more = {1, 12, 0, 7, 4, 1.9};
    (void)state;
    flow_problem a, b, d;
    cz_tensors *tensors = NULL, *nothing = NULL;
    flow_make(&a, &wide, 2);
    flow_make(&b, &narrow, 2);
    flow_make(&d, &more, 2);
    float *loaded = calloc(d.count, sizeof *loaded);
    assert_int_equal(cz_tensors_create(&tensors), CZ_OK);
    assert_int_equal(cz_tensors_create(&nothing), CZ_OK);
    assert_int_equal(cz_head_save(a.head, a.theta32, NULL, tensors), CZ_OK);
    cz_error_clear();
    assert_int_equal(cz_head_load(b.head, tensors, loaded, NULL), CZ_E_MODEL);
    assert_non_null(strstr(cz_last_error(), "shape"));
    cz_error_clear();
    assert_int_equal(cz_head_load(d.head, tensors, loaded, NULL), CZ_E_MODEL);
    assert_non_null(strstr(cz_last_error(), "block3"));
    assert_int_equal(cz_head_load(a.head, nothing, loaded, NULL), CZ_E_MODEL);
    cz_tensors_close(tensors);
    cz_tensors_close(nothing);
    flow_drop(&a);
    flow_drop(&b);
    flow_drop(&d);
    free(loaded);
}

/* ---- memory ----------------------------------------------------------------------------------------------------- */

static void test_workspaces(void **state)
{
    static const flow_case c = {4, 12, 6, 7, 2, 1.9};
    (void)state;
    flow_problem p;
    cz_head_work *work = NULL;
    flow_make(&p, &c, 2);
    assert_int_equal(cz_head_work_create(p.head, 0, &work), CZ_E_ARG);
    assert_int_equal(cz_head_work_create(p.head, SIZE_MAX / 64, &work), CZ_E_ARG);
    assert_true(p.head->ops->work_bytes(p.head, 10, true) > p.head->ops->work_bytes(p.head, 10, false));
    flow_drop(&p);
}

/* Every allocation fails once: an error each time, nothing leaks. */
static void test_out_of_memory(void **state)
{
    (void)state;
    cz_head_config config;
    cz_head_config_init(&config);
    config.width = 6;
    config.flow_project = 4;
    config.flow_blocks = 2;
    bool failed = true;
    for (unsigned long n = 1; failed; n++) {
        cz_head *head = NULL;
        cz_head_work *work = NULL;
        cz_head_pass *pass = NULL;
        cz_status status = CZ_OK;
        float params[200] = {0}, values[4 * 6] = {0}, scores[4];
        cz_alloc_fail_after(n);
        CZ_TRY(cz_head_create("flow", &config, &head));
        assert_true(head->param_count <= 200);
        cz_head_init(head, 1, params, NULL);
        CZ_TRY(cz_head_work_create(head, 4, &work));
        CZ_TRY(cz_head_work_second_order(work));
        CZ_TRY(cz_head_pass_begin(head, params, &pass));
        CZ_TRY(cz_head_score(head, params, NULL, values, 4, scores));
        CZ_TRY(cz_flow_inverse(head, params, values, 4, values));
    out:
        cz_alloc_fail_after(0);
        failed = status != CZ_OK;
        if (failed) assert_int_equal(status, CZ_E_MEMORY);
        assert_true(n < 200);
        if (pass) cz_head_pass_destroy(head, pass);
        cz_head_work_destroy(work);
        cz_head_destroy(head);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables),
        cmocka_unit_test(test_configurations),
        cmocka_unit_test(test_other_detectors_are_no_flow),
        cmocka_unit_test(test_pass),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_misshapen_files),
        cmocka_unit_test(test_workspaces),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
