/* SPDX-License-Identifier: Apache-2.0 */
/* Score maps against a naive twin in double, and against SciPy and PyTorch (make_map_goldens.py). */
#include "calibrate/score_map.h"

#include "features/simd.h"
#include "util/alloc.h"
#include "util/rng.h"

#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static double interpolate(const double *in, size_t w, size_t h, double x, double y)
{
    x = x < 0 ? 0 : x > (double)(w - 1) ? (double)(w - 1) : x;
    y = y < 0 ? 0 : y > (double)(h - 1) ? (double)(h - 1) : y;
    const size_t x0 = (size_t)x, y0 = (size_t)y, x1 = x0 + 1 < w ? x0 + 1 : x0, y1 = y0 + 1 < h ? y0 + 1 : y0;
    const double lx = x - (double)x0, ly = y - (double)y0;
    return (1 - ly) * ((1 - lx) * in[y0 * w + x0] + lx * in[y0 * w + x1]) +
           ly * ((1 - lx) * in[y1 * w + x0] + lx * in[y1 * w + x1]);
}

static void resize(const double *in, size_t w, size_t h, double *out, size_t ow, size_t oh)
{
    for (size_t y = 0; y < oh; y++)
        for (size_t x = 0; x < ow; x++)
            out[y * ow + x] = interpolate(in, w, h, ((double)x + 0.5) * (double)w / (double)ow - 0.5,
                                          ((double)y + 0.5) * (double)h / (double)oh - 0.5);
}

/* step by step to the mirrored pixel: d c b a | a b c d | d c b a */
static long mirror(long i, long n)
{
    while (i < 0 || i >= n) i = i < 0 ? -1 - i : 2 * n - 1 - i;
    return i;
}

/* One axis of a direct Gaussian; stride between the axis' samples. */
static void blur_line(const double *in, double *out, size_t n, size_t stride, double sigma)
{
    const long radius = (long)(4.0 * sigma + 0.5);
    for (long i = 0; i < (long)n; i++) {
        double sum = 0.0, weights = 0.0;
        for (long d = -radius; d <= radius; d++) {
            const double w = exp(-0.5 * (double)(d * d) / (sigma * sigma));
            weights += w;
            sum += w * in[(size_t)mirror(i + d, (long)n) * stride];
        }
        out[(size_t)i * stride] = sum / weights;
    }
}

static void twin_of(const float *scores, const cz_score_map_shape *shape, double *map)
{
    const size_t gw = shape->grid_w, gh = shape->grid_h, w = shape->width, h = shape->height;
    double *s = malloc(gw * gh * sizeof *s), *big = malloc(w * h * sizeof *big), *mid = malloc(w * h * sizeof *mid);
    for (size_t i = 0; i < gw * gh; i++) s[i] = (double)scores[i];
    resize(s, gw, gh, big, w, h);
    for (size_t x = 0; x < w; x++) blur_line(big + x, mid + x, h, w, shape->sigma_y);
    for (size_t y = 0; y < h; y++) blur_line(mid + y * w, map + y * w, w, 1, shape->sigma_x);
    free(s);
    free(big);
    free(mid);
}

static void twin(const float *scores, size_t gw, size_t gh, double *map, size_t w, size_t h)
{
    const cz_score_map_shape shape = {gw, gh, w, h, 4.0 * (double)w / 256.0, 4.0 * (double)h / 256.0};
    twin_of(scores, &shape, map);
}

static void against_twin(void **state)
{
    (void)state;
    const size_t sizes[][4] = {{32, 32, 256, 256}, {40, 24, 320, 192}, {7, 5, 33, 90}, {1, 1, 1, 1},
                               {2, 1, 3, 2},       {300, 4, 600, 32},  {9, 9, 4, 5},   {16, 16, 16, 16}};
    for (size_t n = 0; n < sizeof sizes / sizeof *sizes; n++) {
        const size_t gw = sizes[n][0], gh = sizes[n][1], w = sizes[n][2], h = sizes[n][3];
        float *scores = malloc(gw * gh * sizeof *scores), *map = malloc(w * h * sizeof *map);
        float *again = malloc(w * h * sizeof *again);
        double *expected = malloc(w * h * sizeof *expected), worst = 0.0;
        for (size_t i = 0; i < gw * gh; i++) scores[i] = 5.0f * cz_hash_uniform(n, i);
        cz_score_map *m;
        assert_int_equal(cz_score_map_create(gw, gh, w, h, &m), CZ_OK);
        omp_set_num_threads(1);
        cz_score_map_input(m, scores, map);
        omp_set_num_threads(2);
        cz_score_map_input(m, scores, again);
        assert_memory_equal(map, again, w * h * sizeof *map);
        twin(scores, gw, gh, expected, w, h);
        for (size_t i = 0; i < w * h; i++) {
            const double error = fabs((double)map[i] - expected[i]);
            if (!(error <= worst)) worst = error;
        }
        if (!(worst <= 5e-6)) print_message("%zux%zu -> %zux%zu: %.3g\n", gw, gh, w, h, worst);
        assert_true(worst <= 5e-6);
        cz_score_map_destroy(m);
        free(scores);
        free(map);
        free(again);
        free(expected);
    }
}

/* The geometry that preprocessing gives an image of this size. */
static void geometry_of(const cz_prep *prep, size_t w, size_t h, cz_geometry *g)
{
    const float mean[3] = {0, 0, 0};
    uint8_t *pixels = calloc(w * h, 1), *rgb = malloc(prep->width * prep->height * 3);
    const cz_image image = {pixels, w, h, w, CZ_GRAY8};
    assert_int_equal(cz_prep_image(prep, &image, mean, rgb, g), CZ_OK);
    free(pixels);
    free(rgb);
}

static void against_scipy_and_pytorch(void **state)
{
    (void)state;
    FILE *file = fopen(TEST_FILES "/score_map.txt", "r");
    assert_non_null(file);
    size_t gw, gh, w, h, iw, ih, samples, cases = 0;
    double worst = 0.0;
    while (fscanf(file, " case %zu %zu %zu %zu %zu %zu %zu", &gw, &gh, &w, &h, &iw, &ih, &samples) == 7) {
        float *scores = malloc(gw * gh * sizeof *scores), *map = malloc(w * h * sizeof *map);
        float *original = malloc(iw * ih * sizeof *original);
        for (size_t i = 0; i < gw * gh; i++)
            scores[i] = (float)((double)(i * 7919 % 1009) / 1009.0 + (i == gw * gh / 3 ? 3.0 : 0.0));
        cz_score_map *m;
        cz_prep prep;
        cz_geometry g;
        assert_int_equal(cz_score_map_create(gw, gh, w, h, &m), CZ_OK);
        assert_int_equal(cz_prep_init(w, h, CZ_FIT_SQUASH, 0, NULL, NULL, &prep), CZ_OK);
        geometry_of(&prep, iw, ih, &g);
        cz_score_map_input(m, scores, map);
        assert_int_equal(cz_score_map_original(map, &prep, &g, original), CZ_OK);
        for (size_t i = 0; i < samples; i++) {
            size_t p, q;
            double small, large;
            assert_int_equal(fscanf(file, "%zu %lf %zu %lf", &p, &small, &q, &large), 4);
            worst = fmax(worst, fabs((double)map[p] - small));
            worst = fmax(worst, fabs((double)original[q] - large));
            assert_true(fabs((double)map[p] - small) <= 3e-6 && fabs((double)original[q] - large) <= 3e-6);
        }
        cz_score_map_destroy(m);
        cz_prep_free(&prep);
        free(scores);
        free(map);
        free(original);
        cases++;
    }
    fclose(file);
    print_message("%zu cases, largest difference %.2g\n", cases, worst);
    assert_int_equal(cases, 8);
}

/* A map that is linear in image coordinates comes back as that, wherever the fit put it; NaN elsewhere. */
static void linear_map(cz_fit fit, size_t iw, size_t ih, const cz_roi *roi)
{
    cz_prep prep;
    cz_geometry g;
    assert_int_equal(cz_prep_init(64, 48, fit, fit == CZ_FIT_CROP ? 60 : 0, roi, NULL, &prep), CZ_OK);
    geometry_of(&prep, iw, ih, &g);
    float *map = malloc(64 * 48 * sizeof *map), *out = malloc(iw * ih * sizeof *out);
    for (size_t v = 0; v < 48; v++)
        for (size_t u = 0; u < 64; u++)
            map[v * 64 + u] = (float)(g.origin_x + (double)u * g.step_x + 1000.0 * (g.origin_y + (double)v * g.step_y));
    assert_int_equal(cz_score_map_original(map, &prep, &g, out), CZ_OK);
    const double left = g.origin_x + ((double)g.content_x - 0.5) * g.step_x;
    const double top = g.origin_y + ((double)g.content_y - 0.5) * g.step_y;
    const double right = left + (double)g.content_w * g.step_x, bottom = top + (double)g.content_h * g.step_y;
    size_t inside = 0;
    for (size_t y = 0; y < ih; y++) {
        for (size_t x = 0; x < iw; x++) {
            const double fx = (double)x, fy = (double)y, e = 1e-6;
            const float v = out[y * iw + x];
            const bool in_region = x >= g.region.x && x < g.region.x + g.region.width && y >= g.region.y &&
                                   y < g.region.y + g.region.height;
            if (!in_region || fx < left - e || fx > right + e || fy < top - e || fy > bottom + e) {
                assert_true(isnan(v));
            } else if (fx > left + g.step_x / 2 + e && fx < right - g.step_x / 2 - e && fy > top + g.step_y / 2 + e &&
                       fy < bottom - g.step_y / 2 - e) {
                assert_true(fabs((double)v - (fx + 1000.0 * fy)) <= 1e-6 * (fx + 1000.0 * fy) + 0.02);
                inside++;
            } else if (fx > left + e && fx < right - e && fy > top + e && fy < bottom - e) {
                assert_true(!isnan(v));
            }
        }
    }
    assert_true(inside > 0);
    free(map);
    free(out);
    cz_prep_free(&prep);
}

static void fits_and_regions(void **state)
{
    (void)state;
    const cz_roi roi = {13, 21, 50, 200};
    const cz_fit fits[3] = {CZ_FIT_SQUASH, CZ_FIT_LETTERBOX, CZ_FIT_CROP};
    for (size_t f = 0; f < 3; f++) {
        linear_map(fits[f], 200, 150, NULL);
        linear_map(fits[f], 97, 301, NULL);
        linear_map(fits[f], 30, 20, NULL);
        linear_map(fits[f], 200, 150, &roi);
    }
}

static void ignore_mask(void **state)
{
    (void)state;
    uint8_t mask[4] = {0, 255, 0, 0}; /* upper right quarter of the region */
    const cz_image image = {mask, 2, 2, 2, CZ_GRAY8};
    const cz_roi roi = {10, 4, 20, 12};
    cz_prep prep;
    cz_geometry g;
    assert_int_equal(cz_prep_init(16, 16, CZ_FIT_SQUASH, 0, &roi, &image, &prep), CZ_OK);
    geometry_of(&prep, 50, 40, &g);
    float map[256], out[2000];
    for (size_t i = 0; i < 256; i++) map[i] = 1.0f;
    for (int threads = 1; threads <= 2; threads++) {
        omp_set_num_threads(threads);
        assert_int_equal(cz_score_map_original(map, &prep, &g, out), CZ_OK);
        for (size_t y = 0; y < 40; y++)
            for (size_t x = 0; x < 50; x++) {
                const bool shown = x >= 10 && x < 30 && y >= 4 && y < 16 && !(x >= 20 && y < 10);
                if (shown)
                    assert_true(out[y * 50 + x] == 1.0f);
                else
                    assert_true(isnan(out[y * 50 + x]));
            }
    }
    cz_prep_free(&prep);
}

/* A blur of its own, narrow and wide, on random shapes; every variant and any rows give the same bits. */
static void rows_and_blurs(void **state)
{
    (void)state;
    for (size_t n = 0; n < 40; n++) {
        const float u = fabsf(cz_hash_uniform(60, n)), v = fabsf(cz_hash_uniform(61, n));
        const cz_score_map_shape shape = {1 + (size_t)(40 * u),    1 + (size_t)(25 * v),
                                          1 + n * 7 % 90,          1 + (size_t)(77 * fabsf(u - v)),
                                          0.01 + 0.31 * (double)n, 12.0 * (double)v + 0.1};
        const size_t w = shape.width, h = shape.height, patches = shape.grid_w * shape.grid_h;
        float *scores = malloc(patches * sizeof *scores), *map = malloc(w * h * sizeof *map);
        float *some = malloc(w * h * sizeof *some);
        double *expected = malloc(w * h * sizeof *expected);
        for (size_t i = 0; i < patches; i++) scores[i] = 5.0f * cz_hash_uniform(n, i);
        cz_score_map *m;
        assert_int_equal(cz_score_map_create_shape(&shape, &m), CZ_OK);
        cz_score_map_input(m, scores, map);
        twin_of(scores, &shape, expected);
        for (size_t i = 0; i < w * h; i++) assert_true(fabs((double)map[i] - expected[i]) <= 5e-6);
        for (int level = CZ_SIMD_PLAIN; level <= CZ_SIMD_LEVEL_AVX512; level++) {
            cz_simd_limit((cz_simd)level);
            for (size_t first = 0; first < h; first += 1 + n % 5) {
                const size_t rows = h - first < n % 7 ? h - first : n % 7;
                cz_score_map_rows(m, scores, first, rows, some);
                assert_memory_equal(some, map + first * w, rows * w * sizeof *map);
            }
        }
        cz_score_map_destroy(m);
        free(scores);
        free(map);
        free(some);
        free(expected);
    }
}

/* All rows of a map at the image's size, made in pieces of `piece` rows without the map before it. */
static void check_original_rows(const cz_score_map *m, const float *scores, const cz_prep *prep, const cz_geometry *g,
                                size_t piece)
{
    const size_t width = g->image_width, count = width * g->image_height;
    float *map = malloc(prep->width * prep->height * sizeof *map), *whole = malloc(count * sizeof *whole);
    float *some = malloc(count * sizeof *some);
    cz_score_map_input(m, scores, map);
    assert_int_equal(cz_score_map_original(map, prep, g, whole), CZ_OK);
    for (int level = CZ_SIMD_PLAIN; level <= CZ_SIMD_LEVEL_AVX512; level++) {
        cz_simd_limit((cz_simd)level);
        omp_set_num_threads(1 + level);
        for (size_t y = 0; y < g->image_height; y += piece) {
            const size_t rows = g->image_height - y < piece ? g->image_height - y : piece;
            for (size_t i = 0; i < rows * width; i++) some[y * width + i] = -1e9f; /* every value must be written */
            assert_int_equal(cz_score_map_original_rows(m, scores, prep, g, y, rows, some + y * width), CZ_OK);
        }
        for (size_t i = 0; i < count; i++)
            assert_true(isnan(whole[i]) ? isnan(some[i]) : memcmp(&whole[i], &some[i], sizeof *some) == 0);
    }
    free(map);
    free(whole);
    free(some);
}

static void original_rows(void **state)
{
    (void)state;
    const size_t images[][2] = {{200, 150}, {97, 301}, {30, 20}, {301, 300}};
    const cz_fit fits[3] = {CZ_FIT_SQUASH, CZ_FIT_LETTERBOX, CZ_FIT_CROP};
    const cz_roi roi = {13, 11, 50, 200};
    uint8_t mask[6] = {0, 255, 0, 0, 0, 255};
    const cz_image image = {mask, 3, 2, 3, CZ_GRAY8};
    float scores[9 * 7];
    cz_score_map *m;
    for (size_t i = 0; i < 63; i++) scores[i] = cz_hash_uniform(9, i);
    assert_int_equal(cz_score_map_create(9, 7, 64, 48, &m), CZ_OK);
    for (size_t i = 0; i < 4 * 3 * 4; i++) {
        cz_prep prep;
        cz_geometry g;
        assert_int_equal(cz_prep_init(64, 48, fits[i / 4 % 3], fits[i / 4 % 3] == CZ_FIT_CROP ? 60 : 0,
                                      i % 2 ? &roi : NULL, i / 12 % 2 ? &image : NULL, &prep),
                         CZ_OK);
        geometry_of(&prep, images[i % 4][0], images[i % 4][1], &g);
        check_original_rows(m, scores, &prep, &g, i % 3 ? 1 + i : 1000);
        cz_prep_free(&prep);
    }
    cz_prep prep;
    cz_geometry g;
    float out[30];
    assert_int_equal(cz_prep_init(64, 48, CZ_FIT_SQUASH, 0, NULL, NULL, &prep), CZ_OK);
    geometry_of(&prep, 30, 20, &g);
    assert_int_equal(cz_score_map_original_rows(m, scores, &prep, &g, 20, 0, out), CZ_OK);
    assert_int_equal(cz_score_map_original_rows(m, scores, &prep, &g, 20, 1, out), CZ_E_ARG);
    g.content_w = 65;
    assert_int_equal(cz_score_map_original_rows(m, scores, &prep, &g, 0, 1, out), CZ_E_INTERNAL);
    cz_prep_free(&prep);
    cz_score_map_destroy(m);
}

/* 16384 x 16384 from 2048 x 2048 patches: the plan is small and a few rows are made at once. */
static void large(void **state)
{
    (void)state;
    const cz_score_map_shape shape = {2048, 2048, 16384, 16384, 4.0, 4.0};
    const size_t patches = 2048 * 2048, width = 16384;
    float *scores = malloc(patches * sizeof *scores), *rows = malloc(4 * width * sizeof *rows);
    cz_score_map *m;
    assert_int_equal(cz_score_map_create_shape(&shape, &m), CZ_OK);
    for (size_t i = 0; i < patches; i++) scores[i] = (float)(i / 2048) + 0.001f * (float)(i % 2048);
    cz_score_map_rows(m, scores, 8000, 4, rows);
    for (size_t i = 0; i < 4 * width; i++) { /* linear scores stay what they are, away from the borders */
        const double x = ((double)(i % width) + 0.5) / 8 - 0.5, y = ((double)(8000 + i / width) + 0.5) / 8 - 0.5;
        if (i % width > 100 && i % width < width - 100)
            assert_true(fabs((double)rows[i] - (y + 0.001 * x)) <= 1e-5 * y);
    }
    cz_score_map_destroy(m);
    free(scores);
    free(rows);
}

static void bad_arguments(void **state)
{
    (void)state;
    cz_score_map *m = NULL;
    const cz_score_map_shape blurs[] = {{4, 4, 8, 8, 0.0, 1.0},
                                        {4, 4, 8, 8, 1.0, -1.0},
                                        {4, 4, 8, 8, NAN, 1.0},
                                        {4, 4, 8, 8, 1.0, INFINITY},
                                        {4, 4, 8, 8, 1e6, 1.0}};
    for (size_t i = 0; i < sizeof blurs / sizeof *blurs; i++)
        assert_int_equal(cz_score_map_create_shape(&blurs[i], &m), CZ_E_ARG);
    assert_int_equal(cz_score_map_create(0, 4, 8, 8, &m), CZ_E_ARG);
    assert_int_equal(cz_score_map_create(4, 4, 8, 0, &m), CZ_E_ARG);
    assert_int_equal(cz_score_map_create(4, 4, 70000, 8, &m), CZ_E_LIMIT);
    for (unsigned long n = 1; n < 100; n++) { /* every allocation fails once */
        cz_alloc_fail_after(n);
        const cz_status status = cz_score_map_create(4, 4, 8, 8, &m);
        cz_alloc_fail_after(0);
        if (status == CZ_OK) {
            assert_true(n > 10);
            cz_score_map_destroy(m);
            return;
        }
        assert_int_equal(status, CZ_E_MEMORY);
    }
    fail();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(against_twin),     cmocka_unit_test(against_scipy_and_pytorch),
        cmocka_unit_test(fits_and_regions), cmocka_unit_test(ignore_mask),
        cmocka_unit_test(bad_arguments),    cmocka_unit_test(rows_and_blurs),
        cmocka_unit_test(original_rows),    cmocka_unit_test(large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
