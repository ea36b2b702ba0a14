/* SPDX-License-Identifier: Apache-2.0 */
/* Patch features of whole networks against PyTorch's literal unfold, upsample and pool (make_backbone_goldens.py). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "features/patch.h"
#include "golden.h"

enum { SIDE = 256 };

static void check_patches(const cz_backbone *b, const char *file, float factor)
{
    cz_tensors *golden;
    cz_plan *plan;
    cz_pooler *pooler;
    cz_tap_shape shapes[2];
    const float *maps[2];
    const size_t width = cz_backbone_feature_width(b); /* 1536, or 384 for cozad_r32 */
    const cz_plan_options options = {"layer2,layer3", 1, SIDE, SIDE, 2, CZ_PRECISION_FP32, NULL, false};
    float *input = golden_input(SIDE, factor);
    assert_non_null(input);
    assert_int_equal(cz_safetensors_open(file, &golden), CZ_OK);
    assert_int_equal(cz_plan_create(b, &options, &plan), CZ_OK);
    assert_int_equal(cz_plan_run(plan, input), CZ_OK);
    for (size_t i = 0; i < 2; i++) {
        const cz_tap *tap = cz_plan_tap(plan, i);
        shapes[i] = (cz_tap_shape){tap->channels, tap->height, tap->width};
        maps[i] = cz_plan_tap_data(plan, i);
    }
    assert_int_equal(cz_pooler_create(shapes, 2, width, 3, &pooler), CZ_OK);
    const size_t patches = cz_pooler_grid_h(pooler) * cz_pooler_grid_w(pooler);
    assert_int_equal(patches, 1024);
    float *scratch = malloc((cz_pooler_scratch(pooler) + 1) * sizeof *scratch);
    float *out = malloc(patches * width * sizeof *out);
    assert_non_null(scratch);
    assert_non_null(out);
    cz_pooler_patches(pooler, maps, 1.0f, scratch, out);
    const double error = golden_error(golden, "patches", out, patches, width, false);
    printf("%s patches: relative L2 error %.2e\n", cz_backbone_name(b), error);
    assert_true(error <= 1e-5);
    cz_pooler_destroy(pooler);
    cz_plan_destroy(plan);
    cz_tensors_close(golden);
    free(scratch), free(out), free(input);
}

static void test_random(void **state)
{
    (void)state;
    static const char *const names[][2] = {{"resnet18", TEST_FILES "/backbone_resnet18.safetensors"},
                                           {"resnet50", TEST_FILES "/backbone_resnet50.safetensors"},
                                           {"wide_resnet50_2", TEST_FILES "/backbone_wide_resnet50_2.safetensors"},
                                           {"cozad_r32", TEST_FILES "/backbone_cozad_r32.safetensors"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        cz_backbone *b;
        assert_int_equal(cz_backbone_random(names[i][0], 1, &b), CZ_OK);
        check_patches(b, names[i][1], 1);
        cz_backbone_close(b);
    }
}

static void test_msra(void **state)
{
    (void)state;
    char *path = outside_weights("resnet50_msra.safetensors");
    if (!path) skip();
    cz_backbone *b = open_weights(path);
    assert_non_null(b);
    check_patches(b, TEST_FILES "/backbone_resnet50_msra.safetensors", 60);
    cz_backbone_close(b);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random), cmocka_unit_test(test_msra)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
