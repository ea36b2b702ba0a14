/* SPDX-License-Identifier: Apache-2.0 */
/* Patch features against the literal definition (unfold, upsample, pool, concatenate, pool) in double. */
#include "features/patch.h"

#include "features/simd.h"
#include "tensor/dtype.h"
#include "util/alloc.h"
#include "util/rng.h"

#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static float *random_map(cz_tap_shape s, uint64_t seed)
{
    const size_t n = s.channels * s.height * s.width;
    float *map = malloc(n * sizeof *map);
    assert_non_null(map);
    for (size_t i = 0; i < n; i++) map[i] = cz_hash_uniform(seed, i);
    return map;
}

static double source_index(size_t i, size_t in, size_t out)
{
    const double at = ((double)i + 0.5) * (double)in / (double)out - 0.5;
    return at > 0.0 ? at : 0.0;
}

typedef struct pool_case {
    const char *name;
    size_t width, count;
    cz_tap_shape taps[4];
    size_t side; /* of the neighbourhood */
} pool_case;

/* Flat entry f = (c, ky, kx) of the map unfolded in neighbourhoods of side x side, at (y, x). */
static double unfolded(const float *map, cz_tap_shape s, size_t side, size_t f, size_t y, size_t x)
{
    if (side == 1) return (double)map[(y * s.width + x) * s.channels + f];
    const size_t c = f / 9, yy = y + f % 9 / 3, xx = x + f % 3; /* one more than the neighbour's */
    if (yy < 1 || yy > s.height || xx < 1 || xx > s.width) return 0.0;
    return (double)map[((yy - 1) * s.width + xx - 1) * s.channels + c];
}

static void adaptive(const double *in, size_t n, double *out, size_t m)
{
    for (size_t j = 0; j < m; j++) {
        const size_t start = j * n / m, end = ((j + 1) * n + m - 1) / m;
        double sum = 0.0;
        for (size_t i = start; i < end; i++) sum += in[i];
        out[j] = sum / (double)(end - start);
    }
}

/* One patch, literally. */
static void literal_patch(const pool_case *of, const float *const *maps, size_t y, size_t x, double *out)
{
    const cz_tap_shape *taps = of->taps;
    const size_t count = of->count, width = of->width, side = of->side;
    double *pooled = malloc(count * width * sizeof *pooled);
    for (size_t t = 0; t < count; t++) {
        const cz_tap_shape s = taps[t];
        const double sy = source_index(y, s.height, taps[0].height), sx = source_index(x, s.width, taps[0].width);
        const size_t y0 = (size_t)sy < s.height ? (size_t)sy : s.height - 1, y1 = y0 + 1 < s.height ? y0 + 1 : y0;
        const size_t x0 = (size_t)sx < s.width ? (size_t)sx : s.width - 1, x1 = x0 + 1 < s.width ? x0 + 1 : x0;
        const double ly = sy - (double)y0, lx = sx - (double)x0;
        double *flat = malloc(s.channels * side * side * sizeof *flat);
        for (size_t f = 0; f < s.channels * side * side; f++)
            flat[f] =
                (1 - ly) *
                    ((1 - lx) * unfolded(maps[t], s, side, f, y0, x0) + lx * unfolded(maps[t], s, side, f, y0, x1)) +
                ly * ((1 - lx) * unfolded(maps[t], s, side, f, y1, x0) + lx * unfolded(maps[t], s, side, f, y1, x1));
        adaptive(flat, s.channels * side * side, pooled + t * width, width);
        free(flat);
    }
    adaptive(pooled, count * width, out, width);
    free(pooled);
}

static const pool_case cases[] = {
    {"64", 1536, 1, {{64, 9, 7}}, 3},
    {"128,256", 1536, 2, {{128, 8, 10}, {256, 4, 5}}, 3},
    {"256,512", 1536, 2, {{256, 8, 6}, {512, 4, 3}}, 3},
    {"512,1024", 1536, 2, {{512, 8, 8}, {1024, 4, 4}}, 3},
    {"512,1024 odd grid", 1536, 2, {{512, 11, 19}, {1024, 6, 10}}, 3},
    {"512,1024,2048", 1536, 3, {{512, 6, 6}, {1024, 3, 3}, {2048, 2, 2}}, 3},
    {"256,512,1024,2048", 1536, 4, {{256, 8, 8}, {512, 4, 4}, {1024, 2, 2}, {2048, 1, 1}}, 3},
    {"512,1024 D 1024", 1024, 2, {{512, 7, 5}, {1024, 4, 3}}, 3},
    {"512,1024 D 100", 100, 2, {{512, 5, 5}, {1024, 3, 3}}, 3},
    {"50,70", 1536, 2, {{50, 7, 9}, {70, 3, 5}}, 3},
    {"50,70 D 100", 100, 2, {{50, 7, 9}, {70, 3, 5}}, 3},
    {"50,70,33 D 101", 101, 3, {{50, 7, 9}, {70, 3, 5}, {33, 2, 2}}, 3},
    {"512,1024,2048 D 1000", 1000, 3, {{512, 4, 4}, {1024, 2, 2}, {2048, 1, 1}}, 3},
    {"three taps D 1", 1, 3, {{5, 4, 4}, {300, 2, 2}, {7, 1, 1}}, 3},
    {"three taps D 2", 2, 3, {{5, 4, 4}, {300, 2, 2}, {7, 1, 1}}, 3},
    {"same grid", 96, 2, {{64, 6, 5}, {32, 6, 5}}, 3},
    {"finer second", 96, 2, {{64, 3, 4}, {32, 7, 9}}, 3},
    {"1x1", 1536, 2, {{512, 1, 1}, {1024, 1, 1}}, 3},
    {"one channel", 7, 1, {{1, 3, 20}}, 3},
    {"run 6", 1024, 1, {{2048, 3, 3}}, 3},
    {"run 1, two blocks", 1152, 1, {{384, 3, 9}}, 3},
    {"run 4, two blocks", 270, 1, {{360, 4, 3}}, 3},
    {"odd channels, one to one", 99, 1, {{33, 4, 5}}, 3},
    {"more channels than are unfolded", 700, 2, {{2500, 3, 2}, {3, 1, 1}}, 3},
    {"more columns than a line", 5000, 1, {{20, 2, 3}}, 3},
    {"a cell alone", 512, 2, {{512, 8, 8}, {1024, 4, 4}}, 1},
    {"a cell alone, D 1536", 1536, 2, {{128, 5, 7}, {256, 3, 4}}, 1},
    {"a cell alone, D 101", 101, 3, {{50, 7, 9}, {70, 3, 5}, {33, 2, 2}}, 1},
    {"a cell alone, one channel", 7, 1, {{1, 3, 20}}, 1},
};

typedef struct fixture {
    const pool_case *c;
    cz_pooler *p;
    const float *maps[4];
    float *scratch;
    size_t patches;
} fixture;

static void set_up(fixture *f, const pool_case *c)
{
    f->c = c;
    assert_int_equal(cz_pooler_create(c->taps, c->count, c->width, c->side, &f->p), CZ_OK);
    for (size_t t = 0; t < c->count; t++) f->maps[t] = random_map(c->taps[t], 100 + t);
    f->scratch = malloc((cz_pooler_scratch(f->p) + 1) * sizeof *f->scratch);
    f->patches = c->taps[0].height * c->taps[0].width;
}

static void tear_down(fixture *f)
{
    for (size_t t = 0; t < f->c->count; t++) free((void *)(uintptr_t)f->maps[t]);
    free(f->scratch);
    cz_pooler_destroy(f->p);
}

static void against_definition(void **state)
{
    (void)state;
    double worst_of_all = 0.0;
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        fixture f;
        set_up(&f, &cases[n]);
        const size_t width = f.c->width, gw = f.c->taps[0].width;
        assert_int_equal(cz_pooler_width(f.p), width);
        assert_int_equal(cz_pooler_taps(f.p), f.c->count);
        assert_int_equal(cz_pooler_grid_h(f.p) * cz_pooler_grid_w(f.p), f.patches);
        float *out = malloc(f.patches * width * sizeof *out);
        double *expected = malloc(width * sizeof *expected), worst = 0.0;
        for (size_t i = 0; i < f.patches * width; i++) out[i] = NAN; /* every value must be written */
        cz_pooler_patches(f.p, f.maps, 2.5f, f.scratch, out);
        for (size_t i = 0; i < f.patches; i++) {
            literal_patch(f.c, f.maps, i / gw, i % gw, expected);
            for (size_t d = 0; d < width; d++) {
                const double error = fabs((double)out[i * width + d] - 2.5 * expected[d]);
                if (!(error <= worst)) worst = error;
            }
        }
        if (!(worst <= 2e-6)) print_message("%s: max abs difference %.3g\n", f.c->name, worst);
        assert_true(worst <= 2e-6);
        if (worst > worst_of_all) worst_of_all = worst;
        free(out);
        free(expected);
        tear_down(&f);
    }
    print_message("largest difference to the definition in double: %.2g\n", worst_of_all);
}

/* The columns of a tap and its pooled map are what cz_pooler_patches is made of. */
static void taps_one_by_one(void **state)
{
    (void)state;
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        fixture f;
        set_up(&f, &cases[n]);
        const size_t width = f.c->width;
        float *whole = malloc(f.patches * width * sizeof *whole), *sum = calloc(f.patches * width, sizeof *sum);
        cz_pooler_patches(f.p, f.maps, 1.0f, f.scratch, whole);
        for (size_t t = 0; t < f.c->count; t++) {
            size_t first, count;
            cz_pooler_columns(f.p, t, &first, &count);
            assert_true(first + count <= width);
            float *low = malloc(f.c->taps[t].height * f.c->taps[t].width * count * sizeof *low);
            cz_pooler_tap(f.p, t, f.maps[t], 1.0f, low);
            cz_pooler_upsample(f.p, t, low, count, sum + first, width, true);
            free(low);
        }
        for (size_t i = 0; i < f.patches * width; i++) assert_true(fabsf(sum[i] - whole[i]) <= 1e-6f);
        free(whole);
        free(sum);
        tear_down(&f);
    }
}

static void rows_equal_full(void **state)
{
    (void)state;
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        fixture f;
        set_up(&f, &cases[n]);
        const size_t width = f.c->width;
        float *whole = malloc(f.patches * width * sizeof *whole), *some = malloc(f.patches * width * sizeof *some);
        size_t *rows = malloc(f.patches * sizeof *rows), count = 0;
        for (size_t step = 1; step <= 3; step++) {
            count = 0;
            for (size_t i = step - 1; i < f.patches; i += step * step) rows[count++] = i;
            cz_pooler_patches(f.p, f.maps, 0.7f, f.scratch, whole);
            memset(some, 0xff, f.patches * width * sizeof *some);
            cz_pooler_rows(f.p, f.maps, 0.7f, rows, count, f.scratch, some);
            for (size_t i = 0; i < count; i++)
                assert_memory_equal(some + i * width, whole + rows[i] * width, width * sizeof *some);
        }
        free(whole);
        free(some);
        free(rows);
        tear_down(&f);
    }
}

/* From bf16 maps: the bits that widened ones give, whatever the processor has; rounding and order as documented. */
static void bf16_equals_widened(const pool_case *c)
{
    fixture f;
    set_up(&f, c);
    const size_t width = c->width, bytes = f.patches * width * sizeof(float);
    float *wide[4], *expected = malloc(bytes), *got = malloc(bytes);
    uint16_t *maps[4];
    size_t *rows = malloc(f.patches * sizeof *rows), *order = malloc(width * sizeof *order);
    for (size_t t = 0; t < c->count; t++) {
        const size_t n = c->taps[t].channels * c->taps[t].height * c->taps[t].width;
        maps[t] = malloc(n * sizeof *maps[t]);
        wide[t] = malloc(n * sizeof *wide[t]);
        for (size_t i = 0; i < n; i++) wide[t][i] = cz_bf16_to_f32(maps[t][i] = cz_f32_to_bf16(f.maps[t][i]));
    }
    for (size_t i = 0; i < f.patches; i++) rows[i] = i;
    cz_simd_limit(CZ_SIMD_PLAIN);
    cz_pooler_patches(f.p, (const float *const *)wide, 0.7f, f.scratch, expected);
    for (int level = CZ_SIMD_PLAIN; level <= CZ_SIMD_LEVEL_AVX512; level++) {
        cz_simd_limit((cz_simd)level);
        cz_pooler_patches(f.p, (const float *const *)wide, 0.7f, f.scratch, got);
        assert_memory_equal(got, expected, bytes);
        cz_pooler_patches_bf16(f.p, (const uint16_t *const *)maps, 0.7f, f.scratch, got);
        assert_memory_equal(got, expected, bytes);
        cz_pooler_rows_bf16(f.p, (const uint16_t *const *)maps, 0.7f, rows, f.patches, f.scratch, got);
        assert_memory_equal(got, expected, bytes);
        for (size_t t = 0; t < c->count; t++) {
            size_t first, count;
            cz_pooler_columns(f.p, t, &first, &count);
            cz_pooler_order(f.p, t, order);
            const size_t n = c->taps[t].height * c->taps[t].width * count;
            float *plain = malloc(n * sizeof *plain), *ordered = malloc(n * sizeof *ordered);
            uint16_t *rounded = malloc(n * sizeof *rounded);
            cz_pooler_tap(f.p, t, wide[t], 1.3f, plain);
            cz_pooler_tap_ordered(f.p, t, maps[t], 1.3f, false, ordered);
            cz_pooler_tap_ordered(f.p, t, maps[t], 1.3f, true, rounded);
            for (size_t i = 0; i < n; i++) {
                assert_true(ordered[i] == plain[i / count * count + order[i % count]]);
                assert_int_equal(rounded[i], cz_f32_to_bf16(ordered[i]));
            }
            free(plain);
            free(ordered);
            free(rounded);
        }
    }
    for (size_t t = 0; t < c->count; t++) free(maps[t]), free(wide[t]);
    free(expected);
    free(got);
    free(rows);
    free(order);
    tear_down(&f);
}

static void bf16_maps(void **state)
{
    (void)state;
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) bf16_equals_widened(&cases[n]);
}

static void rounding_keeps_what_is_no_number(void **state)
{
    (void)state;
    const cz_tap_shape tap = {2, 1, 1};
    const uint16_t maps[3][2] = {{0x7fc0, 0x3f80}, {0x7f80, 0x3f80}, {0x8000, 0x0001}};
    cz_pooler *p;
    assert_int_equal(cz_pooler_create(&tap, 1, 18, 3, &p), CZ_OK); /* flat entries one to one */
    for (size_t i = 0; i < 3; i++) {
        float wide[18];
        uint16_t out[18];
        cz_pooler_tap_ordered(p, 0, maps[i], 1.0f, false, wide);
        cz_pooler_tap_ordered(p, 0, maps[i], 1.0f, true, out);
        for (size_t k = 0; k < 18; k++) assert_int_equal(out[k], cz_f32_to_bf16(wide[k]));
    }
    cz_pooler_destroy(p);
}

static void threads_equal(void **state)
{
    (void)state;
    const pool_case big[] = {{"big", 1536, 2, {{512, 32, 32}, {1024, 16, 16}}, 3},
                             {"general", 700, 2, {{130, 33, 31}, {77, 15, 17}}, 3}};
    for (size_t n = 0; n < 2; n++) {
        fixture f;
        set_up(&f, &big[n]);
        const size_t bytes = f.patches * f.c->width * sizeof(float);
        float *one = malloc(bytes), *two = malloc(bytes), *some = malloc(bytes);
        size_t *rows = malloc(f.patches * sizeof *rows);
        for (size_t i = 0; i < f.patches; i++) rows[i] = i;
        omp_set_num_threads(1);
        cz_pooler_patches(f.p, f.maps, 1.0f, f.scratch, one);
        for (int threads = 2; threads <= 3; threads++) {
            omp_set_num_threads(threads);
            cz_pooler_patches(f.p, f.maps, 1.0f, f.scratch, two);
            assert_memory_equal(one, two, bytes);
            cz_pooler_rows(f.p, f.maps, 1.0f, rows, f.patches, f.scratch, some);
            assert_memory_equal(one, some, bytes);
        }
        free(one);
        free(two);
        free(some);
        free(rows);
        tear_down(&f);
    }
}

static void upsample_values(void **state)
{
    (void)state;
    const cz_tap_shape taps[2] = {{4, 4, 4}, {4, 2, 2}};
    cz_pooler *p;
    assert_int_equal(cz_pooler_create(taps, 2, 8, 3, &p), CZ_OK);
    const float in[4] = {0.0f, 4.0f, 8.0f, 12.0f};
    const float expected[16] = {0, 1, 3, 4,  2, 3, 5,  6,
                                6, 7, 9, 10, 8, 9, 11, 12}; /* torch.nn.functional.interpolate */
    float out[16];
    cz_pooler_upsample(p, 1, in, 1, out, 1, false);
    for (size_t i = 0; i < 16; i++) assert_true(out[i] == expected[i]);
    cz_pooler_upsample(p, 1, in, 1, out, 1, true);
    for (size_t i = 0; i < 16; i++) assert_true(out[i] == 2.0f * expected[i]);
    cz_pooler_destroy(p);
}

static void bad_arguments(void **state)
{
    (void)state;
    cz_pooler *p = NULL;
    const cz_tap_shape good = {64, 4, 4}, empty = {64, 0, 4}, none = {0, 4, 4}, huge = {64, SIZE_MAX / 2, 9};
    assert_int_equal(cz_pooler_create(&good, 0, 100, 3, &p), CZ_E_ARG);
    assert_int_equal(cz_pooler_create(&good, 1, 0, 3, &p), CZ_E_ARG);
    assert_int_equal(cz_pooler_create(&good, 1, 100, 2, &p), CZ_E_ARG);
    assert_int_equal(cz_pooler_create(&empty, 1, 100, 3, &p), CZ_E_ARG);
    assert_int_equal(cz_pooler_create(&none, 1, 100, 3, &p), CZ_E_ARG);
    assert_int_equal(cz_pooler_create(&huge, 1, 100, 3, &p), CZ_E_LIMIT);
    assert_null(p);
    for (unsigned long n = 1; n < 100; n++) { /* every allocation fails once */
        cz_alloc_fail_after(n);
        const cz_status status = cz_pooler_create(&good, 1, 100, 3, &p);
        cz_alloc_fail_after(0);
        if (status == CZ_OK) {
            assert_true(n > 4);
            cz_pooler_destroy(p);
            return;
        }
        assert_int_equal(status, CZ_E_MEMORY);
    }
    fail();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(against_definition), cmocka_unit_test(taps_one_by_one),
        cmocka_unit_test(rows_equal_full),    cmocka_unit_test(threads_equal),
        cmocka_unit_test(upsample_values),    cmocka_unit_test(bad_arguments),
        cmocka_unit_test(bf16_maps),          cmocka_unit_test(rounding_keeps_what_is_no_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
