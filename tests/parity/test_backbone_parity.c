/* SPDX-License-Identifier: Apache-2.0 */
/* Every tap against PyTorch: torchvision's own activations (outside data), and golden files (make_backbone_goldens.py). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "golden.h"

#define GOLDEN_SIDE  256
#define GOLDEN_LIMIT 1e-5
#define ORACLE_LIMIT 2e-5

static void check_golden(const cz_backbone *b, const char *file, float factor, size_t threads)
{
    cz_tensors *golden;
    cz_plan *plan;
    const cz_plan_options options = {"stem.relu,stem.pool,layer1,layer2,layer3",
                                     1,
                                     GOLDEN_SIDE,
                                     GOLDEN_SIDE,
                                     threads,
                                     CZ_PRECISION_FP32,
                                     NULL,
                                     false};
    float *input = golden_input(GOLDEN_SIDE, factor);
    assert_non_null(input);
    assert_int_equal(cz_safetensors_open(file, &golden), CZ_OK);
    assert_int_equal(cz_plan_create(b, &options, &plan), CZ_OK);
    assert_int_equal(cz_plan_run(plan, input), CZ_OK);
    for (size_t i = 0; i < cz_plan_tap_count(plan); i++) {
        const cz_tap *tap = cz_plan_tap(plan, i);
        const double error =
            golden_error(golden, tap->name, cz_plan_tap_data(plan, i), tap->height * tap->width, tap->channels, true);
        printf("%s %s, %zu threads: relative L2 error %.2e\n", cz_backbone_name(b), tap->name, threads, error);
        assert_true(error <= GOLDEN_LIMIT);
    }
    cz_plan_destroy(plan);
    cz_tensors_close(golden);
    free(input);
}

static void check_random(const char *architecture, const char *file)
{
    cz_backbone *b;
    assert_int_equal(cz_backbone_random(architecture, 1, &b), CZ_OK);
    check_golden(b, file, 1, 2);
    cz_backbone_close(b);
}

static void test_resnet18(void **state)
{
    (void)state;
    check_random("resnet18", TEST_FILES "/backbone_resnet18.safetensors");
}

static void test_resnet50(void **state)
{
    (void)state;
    check_random("resnet50", TEST_FILES "/backbone_resnet50.safetensors");
}

static void test_wide_resnet50_2(void **state)
{
    (void)state;
    check_random("wide_resnet50_2", TEST_FILES "/backbone_wide_resnet50_2.safetensors");
}

static void test_cozad_r32(void **state)
{
    (void)state;
    check_random("cozad_r32", TEST_FILES "/backbone_cozad_r32.safetensors");
}

static void test_resnet50_msra(void **state)
{
    (void)state;
    char *path = outside_weights("resnet50_msra.safetensors");
    if (!path) skip();
    cz_backbone *b = open_weights(path);
    assert_non_null(b);
    assert_string_equal(cz_backbone_architecture(b), "resnet50");
    assert_true(cz_backbone_feature_scale(b) == 0);
    for (size_t threads = 1; threads <= 2; threads++)
        check_golden(b, TEST_FILES "/backbone_resnet50_msra.safetensors", 60, threads);
    cz_backbone_close(b);
    free(path);
}

/* [1, C, H, W] in the file to [H, W, C] */
static float *load_nhwc(const cz_tensors *tensors, const char *name, size_t *channels, size_t *pixels)
{
    const cz_tensor_view *view = cz_tensors_lookup(tensors, name);
    assert_non_null(view);
    assert_true(view->dtype == CZ_F32 && view->rank == 4 && view->shape[0] == 1);
    *channels = view->shape[1];
    *pixels = view->shape[2] * view->shape[3];
    float *out = malloc(view->bytes);
    assert_non_null(out);
    for (size_t i = 0; i < *channels * *pixels; i++)
        memcpy(&out[i % *pixels * *channels + i / *pixels], (const char *)view->data + i * sizeof *out, sizeof *out);
    return out;
}

static void test_oracle(void **state)
{
    (void)state;
    char *weights = outside_weights("resnet18_tv_folded.safetensors");
    char *activations = outside_weights("resnet18_tv_activations.safetensors");
    if (!weights || !activations) {
        free(weights), free(activations);
        skip();
    }
    cz_backbone *b = open_weights(weights);
    cz_tensors *oracle;
    cz_plan *plan;
    size_t channels, pixels;
    assert_non_null(b);
    assert_int_equal(cz_safetensors_open(activations, &oracle), CZ_OK);
    float *input = load_nhwc(oracle, "input", &channels, &pixels);
    const cz_plan_options options = {
        "layer3,stem.relu,stem.pool,layer1,layer2.0,layer2,layer3.0", 1, 224, 224, 2, CZ_PRECISION_FP32, NULL, false};
    assert_int_equal(cz_plan_create(b, &options, &plan), CZ_OK);
    assert_int_equal(cz_plan_run(plan, input), CZ_OK);
    assert_int_equal(cz_plan_tap_count(plan), 7);
    for (size_t t = 0; t < 7; t++) {
        const cz_tap *tap = cz_plan_tap(plan, t);
        const float *got = cz_plan_tap_data(plan, t);
        float *want = load_nhwc(oracle, tap->name, &channels, &pixels), worst = 0;
        assert_true(channels == tap->channels && pixels == tap->height * tap->width);
        for (size_t i = 0; i < channels * pixels; i++) worst = fmaxf(worst, fabsf(got[i] - want[i]));
        printf("oracle %s: max abs difference %.2e\n", tap->name, (double)worst);
        assert_true(worst <= ORACLE_LIMIT);
        free(want);
    }
    cz_plan_destroy(plan);
    cz_tensors_close(oracle);
    cz_backbone_close(b);
    free(input), free(weights), free(activations);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_oracle),          cmocka_unit_test(test_resnet18),      cmocka_unit_test(test_resnet50),
        cmocka_unit_test(test_wide_resnet50_2), cmocka_unit_test(test_resnet50_msra), cmocka_unit_test(test_cozad_r32),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
