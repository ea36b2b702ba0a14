/* SPDX-License-Identifier: Apache-2.0 */
/* A whole random ResNet-18 and cozad_r32 in every precision against fp32: features within a stated error. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "backbone/backbone.h"
#include "backbone/quantise.h"
#include "engine/engine.h"
#include "tensor/dtype.h"
#include "util/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE = 64, VALUES = SIDE * SIDE * 3 };

static double error_of(const cz_plan *plan, const cz_plan *fp32, size_t tap, bool bf16)
{
    const cz_tap *shape = cz_plan_tap(fp32, tap);
    const float *want = cz_plan_tap_data(fp32, tap), *got = cz_plan_tap_data(plan, tap);
    const uint16_t *half = cz_plan_tap_bf16(plan, tap);
    double difference = 0, norm = 0;
    assert_true(bf16 ? half != NULL && got == NULL : half == NULL && got != NULL);
    for (size_t i = 0; i < shape->channels * shape->height * shape->width; i++) {
        const double value = (double)(bf16 ? cz_bf16_to_f32(half[i]) : got[i]);
        difference += (value - (double)want[i]) * (value - (double)want[i]);
        norm += (double)want[i] * (double)want[i];
    }
    return sqrt(difference / norm);
}

static void check(const cz_backbone *b, const cz_quant *quant, const cz_plan *fp32, const float *input,
                  cz_precision precision, double bound)
{
    for (int bf16 = 0; bf16 < 2; bf16++)
        for (size_t threads = 1; threads <= 2; threads++) {
            cz_plan *plan;
            const cz_plan_options options = {
                "layer1,layer2,layer3", 1, SIDE, SIDE, threads, precision, quant, bf16 != 0};
            if (precision == CZ_PRECISION_BF16 && !cz_engine_native(CZ_PRECISION_FP32_WINOGRAD)) {
                assert_int_equal(cz_plan_create(b, &options, &plan), CZ_E_UNSUPPORTED);
                cz_error_clear();
                continue;
            }
            assert_int_equal(cz_plan_create(b, &options, &plan), CZ_OK);
            assert_int_equal(cz_plan_run(plan, input), CZ_OK);
            for (size_t tap = 0; tap < 3; tap++) {
                const double error = error_of(plan, fp32, tap, bf16 != 0);
                if (error > bound + bf16 * 2e-3) print_error("precision %d, tap %zu: %g\n", (int)precision, tap, error);
                assert_true(error <= bound + bf16 * 2e-3); /* rounding to bf16: 1.7e-3 */
            }
            cz_plan_destroy(plan);
        }
}

static void check_architecture(const char *architecture)
{
    cz_backbone *b;
    cz_quantiser *q;
    cz_quant quant;
    cz_plan *fp32;
    float *input = malloc(VALUES * sizeof *input);
    assert_int_equal(cz_backbone_random(architecture, 3, &b), CZ_OK);
    assert_int_equal(cz_quantiser_create(b, "layer1,layer2,layer3", SIDE, SIDE, 1, &q), CZ_OK);
    for (uint64_t photo = 0; photo < 3; photo++) {
        for (size_t i = 0; i < VALUES; i++) input[i] = 2 * cz_hash_uniform(photo << 32, i);
        assert_int_equal(cz_quantiser_add(q, input), CZ_OK);
    }
    assert_int_equal(cz_quantiser_finish(q, &quant), CZ_OK);
    cz_quantiser_destroy(q);
    const cz_plan_options options = {"layer1,layer2,layer3", 1, SIDE, SIDE, 1, CZ_PRECISION_FP32, NULL, false};
    assert_int_equal(cz_plan_create(b, &options, &fp32), CZ_OK);
    for (size_t i = 0; i < VALUES; i++) input[i] = 2 * cz_hash_uniform(99, i); /* another photo */
    assert_int_equal(cz_plan_run(fp32, input), CZ_OK);
    check(b, &quant, fp32, input, CZ_PRECISION_FP32, 1e-5);
    check(b, &quant, fp32, input, CZ_PRECISION_FP32_WINOGRAD, 2e-5);
    check(b, &quant, fp32, input, CZ_PRECISION_BF16, 2e-2);
    check(b, &quant, fp32, input, CZ_PRECISION_INT8, 1e-1);
    cz_plan_destroy(fp32);
    cz_backbone_close(b);
    free(input);
}

static void test_resnet18(void **state)
{
    (void)state;
    check_architecture("resnet18");
}

static void test_cozad_r32(void **state)
{
    (void)state;
    check_architecture("cozad_r32");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_resnet18), cmocka_unit_test(test_cozad_r32)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
