/* SPDX-License-Identifier: Apache-2.0 */
/* From photo to stored maps: keys of the feature store by precision, and bits. */
#include "api/extract.h"
#include "backbone/quantise.h"
#include "cozad/cozad.h"
#include "tensor/dtype.h"
#include "util/alloc.h"
#include "util/threads.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SIDE = 80, INPUT = 64 };

static uint8_t pixels[SIDE * SIDE];
static char folder[] = "/tmp/cozad-extract-XXXXXX";
static cz_backbone *backbone;
static cz_prep prep;
static cz_quant ranges = {.count = 16};

static cz_extractor *extractor_of(cz_precision precision, const cz_quant *quant)
{
    static char cache[200];
    (void)snprintf(cache, sizeof cache, "%s/store", folder);
    cz_cache_options options = CZ_CACHE_OPTIONS_INIT;
    options.dir = cache;
    const cz_extractor_options o = {.taps = "layer2,layer3",
                                    .prep = &prep,
                                    .threads = 1,
                                    .batch = 1,
                                    .precision = precision,
                                    .quant = quant,
                                    .cache = &options};
    cz_extractor *x = NULL;
    assert_int_equal(cz_extractor_create(backbone, &o, &x), CZ_OK);
    return x;
}

static void keys(void **state)
{
    (void)state;
    char wanted[1024], hash[17];
    float mean[3], std[3];
    cz_quant other = ranges;
    cz_backbone_normalisation(backbone, mean, std);
    /* word for word what earlier versions wrote */
    (void)snprintf(wanted, sizeof wanted,
                   "v%d;backbone=%s;taps=layer2,layer3;mean=%.9g,%.9g,%.9g;std=%.9g,%.9g,%.9g;precision=fp32;"
                   "algorithm=direct;augment=none",
                   CZ_STORE_VERSION, cz_backbone_sha256(backbone), (double)mean[0], (double)mean[1], (double)mean[2],
                   (double)std[0], (double)std[1], (double)std[2]);
    cz_extractor *x = extractor_of(CZ_PRECISION_FP32, &ranges);
    assert_string_equal(cz_extractor_context(x), wanted);
    cz_extractor_destroy(x);
    x = extractor_of(CZ_PRECISION_FP32_WINOGRAD, NULL);
    assert_non_null(strstr(cz_extractor_context(x), ";precision=fp32-winograd;algorithm=winograd;augment=none"));
    cz_extractor_destroy(x);
    x = extractor_of(CZ_PRECISION_BF16, &ranges);
    assert_non_null(strstr(cz_extractor_context(x), ";precision=bf16;algorithm=direct;augment=none"));
    cz_extractor_destroy(x);
    for (size_t i = 0; i < 2; i++) {
        cz_quant_hash(&other, hash);
        (void)snprintf(wanted, sizeof wanted, ";precision=int8;algorithm=direct;ranges=%s;augment=none", hash);
        x = extractor_of(CZ_PRECISION_INT8, &other);
        assert_non_null(strstr(cz_extractor_context(x), wanted));
        cz_extractor_destroy(x);
        other.range[3] *= 1.5f;
    }
}

/* Nothing is lost on the way: what the extractor gives in fp32 is the network's maps, rounded to nearest even. */
static void extracted_bits(void **state)
{
    (void)state;
    float mean[3], std[3];
    cz_geometry geometry;
    cz_extracted what;
    cz_timing timing = {0};
    cz_plan *plan = NULL;
    cz_threads_scope scope;
    const cz_image image = {pixels, SIDE, SIDE, SIDE, CZ_GRAY8};
    uint8_t *rgb = cz_alloc(INPUT * INPUT * 3);
    float *input = cz_alloc_array(INPUT * INPUT * 3, sizeof *input);
    assert_int_equal(cz_threads_enter(1, &scope), CZ_OK);
    cz_backbone_normalisation(backbone, mean, std);
    assert_int_equal(cz_prep_image(&prep, &image, mean, rgb, &geometry), CZ_OK);
    cz_prep_normalise(&prep, &geometry, rgb, mean, std, input);
    const cz_plan_options options = {.taps = "layer2,layer3",
                                     .batch = 1,
                                     .height = INPUT,
                                     .width = INPUT,
                                     .threads = 1,
                                     .precision = CZ_PRECISION_FP32};
    assert_int_equal(cz_plan_create(backbone, &options, &plan), CZ_OK);
    assert_int_equal(cz_plan_run(plan, input), CZ_OK);
    cz_extractor *x = extractor_of(CZ_PRECISION_FP32, NULL);
    for (size_t turn = 0; turn < 2; turn++) { /* computed, and from the store */
        assert_int_equal(cz_extractor_run(x, &image, 1, &what, &timing), CZ_OK);
        assert_int_equal(what.from_store, turn);
        size_t at = 0;
        for (size_t t = 0; t < 2; t++) {
            const cz_tap *tap = cz_plan_tap(plan, t);
            const float *map = cz_plan_tap_data(plan, t);
            for (size_t i = 0; i < tap->channels * tap->height * tap->width; i++, at++) {
                if (what.values[at] != cz_f32_to_bf16(map[i]))
                    fail_msg("value %zu: %04x, not %04x", at, what.values[at], cz_f32_to_bf16(map[i]));
            }
        }
        assert_int_equal(at, cz_extractor_values(x));
    }
    cz_extractor_destroy(x);
    cz_plan_destroy(plan);
    cz_threads_leave(&scope);
    cz_free(rgb);
    cz_free(input);
}

static int setup(void **state)
{
    (void)state;
    const cz_roi whole = {0, 0, 0, 0};
    for (size_t i = 0; i < sizeof pixels; i++) pixels[i] = (uint8_t)(i * 7 + i / SIDE * 13);
    for (size_t i = 0; i < ranges.count; i++) ranges.range[i] = 1.0f + (float)i;
    if (mkdtemp(folder) == NULL || cz_backbone_open("random:resnet18:5", &backbone) != CZ_OK) return -1;
    return cz_prep_init(INPUT, INPUT, CZ_FIT_SQUASH, 0, &whole, NULL, &prep) == CZ_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    char command[200];
    cz_prep_free(&prep);
    cz_backbone_close(backbone);
    (void)snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command) == 0 ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys),
        cmocka_unit_test(extracted_bits),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
