/* SPDX-License-Identifier: Apache-2.0 */
/* The composed head in all precisions against the definition in double; its vector variants, thread counts and batches against
 * each other; 8-bit features against a plain loop. */
#include "engine/engine.h"
#include "features/simd.h"
#include "heads/compose.h"
#include "heads/compose_pass.h"
#include "tensor/dtype.h"
#include "util/rng.h"

#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MOST_TAPS = 3 };

typedef struct scene {
    size_t tap_count, width, hidden, images, patches;
    cz_tap_shape taps[MOST_TAPS];
    cz_pooler *pooler;
    cz_composition composition;
    uint16_t *maps[MOST_TAPS]; /* [images, h, w, C] */
    double *expected;          /* [images, patches] */
} scene;

static float noise(uint64_t seed, size_t i)
{
    return cz_hash_uniform(seed, i);
}

/* As out of a ReLU: mostly 0, some channels much stronger than others. */
static float sparse(uint64_t seed, size_t i, size_t channels)
{
    const float v = noise(seed, i), strong = noise(seed + 77, i % channels) > 0.7f ? 4.0f : 0.5f;
    return v > 0.2f ? strong * v * v : 0.0f;
}

static void make_maps(scene *s, bool negative)
{
    for (size_t t = 0; t < s->tap_count; t++) {
        const size_t channels = s->taps[t].channels,
                     count = s->images * s->taps[t].height * s->taps[t].width * channels;
        s->maps[t] = malloc(count * sizeof *s->maps[t]);
        assert_non_null(s->maps[t]);
        for (size_t i = 0; i < count; i++)
            s->maps[t][i] = cz_f32_to_bf16(negative ? noise(t + 1, i) : sparse(t + 1, i, channels));
    }
}

/* -w2 . leaky(M o + c) of every patch, in double. */
static void expect(scene *s, float scale)
{
    const size_t d = s->width, k = s->hidden;
    float *o = malloc(s->patches * d * sizeof *o),
          *scratch = malloc((cz_pooler_scratch(s->pooler) + 1) * sizeof *scratch);
    s->expected = calloc(s->images * s->patches, sizeof *s->expected);
    for (size_t n = 0; n < s->images; n++) {
        const uint16_t *one[MOST_TAPS] = {0};
        for (size_t t = 0; t < s->tap_count; t++)
            one[t] = s->maps[t] + n * s->taps[t].height * s->taps[t].width * s->taps[t].channels;
        cz_pooler_patches_bf16(s->pooler, one, scale, scratch, o);
        for (size_t p = 0; p < s->patches; p++) {
            for (size_t i = 0; i < k; i++) {
                double sum = (double)s->composition.c[i];
                for (size_t j = 0; j < d; j++) sum += (double)s->composition.m[i * d + j] * (double)o[p * d + j];
                s->expected[n * s->patches + p] -=
                    (double)s->composition.w2[i] * (sum > 0 ? sum : (double)s->composition.slope * sum);
            }
        }
    }
    free(o);
    free(scratch);
}

static scene make(const cz_tap_shape *taps, size_t tap_count, size_t width, size_t hidden, size_t images, bool negative)
{
    scene s = {.tap_count = tap_count, .width = width, .hidden = hidden, .images = images};
    memcpy(s.taps, taps, tap_count * sizeof *taps);
    s.patches = taps[0].height * taps[0].width;
    assert_int_equal(cz_pooler_create(taps, tap_count, width, 3, &s.pooler), CZ_OK);
    s.composition = (cz_composition){.width = width, .hidden = hidden, .slope = 0.2f};
    s.composition.m = malloc(hidden * width * sizeof(float));
    s.composition.c = malloc(hidden * sizeof(float));
    s.composition.w2 = malloc(hidden * sizeof(float));
    const float spread = 2.0f / sqrtf((float)width);
    for (size_t i = 0; i < hidden * width; i++) s.composition.m[i] = spread * noise(11, i);
    for (size_t i = 0; i < hidden; i++) s.composition.c[i] = 0.3f * noise(12, i);
    for (size_t i = 0; i < hidden; i++) s.composition.w2[i] = noise(13, i) / sqrtf((float)hidden);
    make_maps(&s, negative);
    expect(&s, 0.7f);
    return s;
}

static void drop(scene *s)
{
    for (size_t t = 0; t < s->tap_count; t++) free(s->maps[t]);
    free(s->composition.m);
    free(s->composition.c);
    free(s->composition.w2);
    free(s->expected);
    cz_pooler_destroy(s->pooler);
}

/* Scores [images, patches]; the caller frees. NULL where the library has no such products here. */
static float *run(const scene *s, cz_precision precision, size_t max_images, size_t threads)
{
    const cz_composed_options options = {s->taps, max_images, threads, precision};
    cz_composed *c = NULL;
    float *scores = malloc(s->images * s->patches * sizeof *scores);
    omp_set_num_threads((int)threads);
    const cz_status status = cz_composed_create(&s->composition, s->pooler, &options, &c);
    if (status == CZ_E_UNSUPPORTED && precision == CZ_PRECISION_BF16) {
        free(scores);
        return NULL;
    }
    assert_int_equal(status, CZ_OK);
    for (size_t n = 0; n < s->images; n += max_images) {
        const size_t count = s->images - n < max_images ? s->images - n : max_images;
        const uint16_t *maps[MOST_TAPS] = {0};
        for (size_t t = 0; t < s->tap_count; t++)
            maps[t] = s->maps[t] + n * s->taps[t].height * s->taps[t].width * s->taps[t].channels;
        assert_int_equal(cz_composed_pool(c, maps, count, 0.7f), CZ_OK);
        assert_int_equal(cz_composed_scores(c, scores + n * s->patches), CZ_OK);
    }
    cz_composed_destroy(c);
    return scores;
}

static double spread(const scene *s)
{
    const size_t n = s->images * s->patches;
    double mean = 0, square = 0;
    for (size_t i = 0; i < n; i++) mean += s->expected[i] / (double)n;
    for (size_t i = 0; i < n; i++) square += (s->expected[i] - mean) * (s->expected[i] - mean) / (double)n;
    return sqrt(square);
}

/* Root mean square difference to the definition over the standard deviation of the patches' scores. */
static double error(const scene *s, const float *scores)
{
    const size_t n = s->images * s->patches;
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += pow((double)scores[i] - s->expected[i], 2) / (double)n;
    return sqrt(sum) / spread(s);
}

static const struct {
    const char *name;
    size_t tap_count, width, hidden, images;
    cz_tap_shape taps[MOST_TAPS];
} shapes[] = {
    {"usual", 2, 384, 256, 2, {{128, 16, 16}, {256, 8, 8}}},
    {"not square", 2, 384, 128, 1, {{128, 6, 22}, {256, 3, 11}}},
    {"odd sizes", 2, 101, 67, 3, {{50, 7, 9}, {70, 4, 5}}},
    {"one tap", 1, 192, 130, 2, {{128, 9, 13}}},
    {"three taps", 3, 96, 144, 1, {{64, 12, 10}, {128, 6, 5}, {256, 3, 3}}},
    {"finer second", 2, 96, 48, 1, {{64, 3, 19}, {32, 7, 70}}},
    {"wide grid", 2, 24, 32, 1, {{8, 2, 200}, {16, 1, 100}}},
    {"one cell", 2, 24, 16, 2, {{8, 1, 1}, {16, 1, 1}}},
};

enum { SHAPES = sizeof shapes / sizeof *shapes };

static scene shape(size_t i, bool negative)
{
    return make(shapes[i].taps, shapes[i].tap_count, shapes[i].width, shapes[i].hidden, shapes[i].images, negative);
}

static void against_definition(void **state)
{
    static const struct {
        cz_precision precision;
        double bound;
    } cases[] = {{CZ_PRECISION_FP32, 1e-5},
                 {CZ_PRECISION_FP32_WINOGRAD, 1e-5},
                 {CZ_PRECISION_BF16, 1e-2},
                 {CZ_PRECISION_INT8, 4e-2}};
    (void)state;
    for (size_t k = 0; k < 4; k++) {
        double worst = 0;
        for (size_t i = 0; i < 2 * SHAPES; i++) {
            scene s = shape(i / 2, i % 2 == 1);
            float *scores = run(&s, cases[k].precision, 2, 2);
            /* one cell's patches all but agree: their deviation is no measure */
            if (scores && s.patches > 1) {
                const double e = error(&s, scores);
                if (!(e <= worst)) worst = e;
                if (!(e <= cases[k].bound)) print_message("%s: %.3g\n", shapes[i / 2].name, e);
                assert_true(e <= cases[k].bound);
            }
            free(scores);
            drop(&s);
        }
        print_message("%s: largest error %.2e of the scores' deviation\n", cz_precision_name(cases[k].precision),
                      worst);
    }
}

static void variants_threads_and_batches(void **state)
{
    static const cz_precision precisions[] = {CZ_PRECISION_FP32, CZ_PRECISION_BF16, CZ_PRECISION_INT8};
    (void)state;
    for (size_t i = 0; i < 3 * SHAPES; i++) {
        scene s = shape(i / 3, false);
        const size_t bytes = s.images * s.patches * sizeof(float);
        const double scale = s.patches > 1 ? spread(&s) : 1.0;
        float *base = run(&s, precisions[i % 3], 1, 1);
        for (int level = CZ_SIMD_PLAIN; base && level < CZ_SIMD_LEVEL_AVX512; level++) {
            cz_simd_limit((cz_simd)level);
            float *scores = run(&s, precisions[i % 3], 1, 1);
            assert_memory_equal(scores, base, bytes);
            free(scores);
        }
        cz_simd_limit(CZ_SIMD_LEVEL_AVX512);
        for (size_t threads = 1; base && threads <= 3; threads++) {
            float *scores = run(&s, precisions[i % 3], 3, threads);
            if (threads == 1) assert_memory_equal(scores, base, bytes);
            for (size_t n = 0; n < s.images * s.patches; n++)
                assert_true(fabs((double)scores[n] - (double)base[n]) <= 1e-5 * scale);
            free(scores);
        }
        free(base);
        drop(&s);
    }
}

static void damaged_features(void **state)
{
    (void)state;
    scene s = shape(0, false);
    const cz_composed_options options = {s.taps, 1, 1, CZ_PRECISION_INT8};
    cz_composed *c = NULL;
    assert_int_equal(cz_composed_create(&s.composition, s.pooler, &options, &c), CZ_OK);
    s.maps[1][5] = 0x7fc0; /* NaN */
    assert_int_equal(cz_composed_pool(c, (const uint16_t *const *)s.maps, 1, 1), CZ_E_MODEL);
    s.maps[1][5] = 0xff80; /* -infinity */
    assert_int_equal(cz_composed_pool(c, (const uint16_t *const *)s.maps, 1, 1), CZ_E_MODEL);
    cz_composed_destroy(c);
    cz_composed_options bad = options;
    bad.threads = 0;
    assert_int_equal(cz_composed_create(&s.composition, s.pooler, &bad, &c), CZ_E_ARG);
    bad = options;
    bad.max_images = 0;
    assert_int_equal(cz_composed_create(&s.composition, s.pooler, &bad, &c), CZ_E_ARG);
    drop(&s);
}

/* Features that are all 0 and rows of one value come back as such. */
static void bytes(void **state)
{
    (void)state;
    enum { ROWS = 7, COUNT = 133 };
    uint16_t in[ROWS * COUNT];
    uint8_t out[ROWS * COUNT];
    float steps[ROWS];
    for (int level = CZ_SIMD_PLAIN; level <= CZ_SIMD_LEVEL_AVX512; level++) {
        cz_simd_limit((cz_simd)level);
        for (size_t i = 0; i < ROWS * COUNT; i++)
            in[i] = i / COUNT == 2 ? 0 : cz_f32_to_bf16(sparse(5, i, COUNT) * (float)(1 + i / COUNT));
        in[3 * COUNT] = 0x8000; /* -0 is not negative */
        assert_true(cz_compose_quantise_rows(in, ROWS, COUNT, steps, out));
        for (size_t i = 0; i < ROWS * COUNT; i++) {
            const float v = cz_bf16_to_f32(in[i]), back = (float)out[i] * steps[i / COUNT];
            assert_true(fabsf(v - back) <= 0.501f * steps[i / COUNT]);
            assert_int_equal(out[i], (uint8_t)lrintf(v * (1.0f / steps[i / COUNT])));
        }
        assert_true(steps[2] == 1.0f);
        in[4 * COUNT + 1] = cz_f32_to_bf16(-1e30f);
        assert_false(cz_compose_quantise_rows(in, ROWS, COUNT, steps, out));
        in[4 * COUNT + 1] = cz_f32_to_bf16(-0.25f);
        assert_false(cz_compose_quantise_rows(in, ROWS, COUNT, steps, out));
        float range[2], top = 0;
        for (size_t i = 0; i < ROWS * COUNT; i++) top = fmaxf(top, cz_bf16_to_f32(in[i]));
        cz_compose_range(in, ROWS * COUNT, range);
        assert_true(range[0] == -0.25f && range[1] == top);
        const float step = (range[1] - range[0]) / 255, zero = rintf(-range[0] / step);
        cz_compose_quantise(in, ROWS * COUNT, 1 / step, zero, out);
        for (size_t i = 0; i < ROWS * COUNT; i++)
            assert_true(fabsf(cz_bf16_to_f32(in[i]) - step * ((float)out[i] - zero)) <= 1.01f * step);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(against_definition),
        cmocka_unit_test(variants_threads_and_batches),
        cmocka_unit_test(damaged_features),
        cmocka_unit_test(bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
