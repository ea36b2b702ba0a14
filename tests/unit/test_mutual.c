/* SPDX-License-Identifier: Apache-2.0 */
/* Photos compared with each other: distances against a naive twin, two opinions against planted oddities. */
#include "api/confidence.h"
#include "cozad/cozad.h"
#include "engine/engine.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { COUNT = 24, SIDE = 64, WIDTH = 96, ODD = 5, ODD_PLACE = 17 };

static uint8_t photos[COUNT][SIDE * SIDE];
static cz_backbone *backbone;
static cz_prep prep;

static cz_status load(void *ctx, size_t index, cz_image *out)
{
    (void)ctx;
    *out = (cz_image){photos[index], SIDE, SIDE, SIDE, CZ_GRAY8};
    return CZ_OK;
}

static int setup(void **state)
{
    (void)state;
    cz_rng rng;
    cz_rng_init(&rng, 3, CZ_RNG_TEST, 0, 0);
    for (size_t i = 0; i < COUNT; i++)
        for (size_t p = 0; p < SIDE * SIDE; p++)
            photos[i][p] = (uint8_t)(110 + (p / SIDE + p % SIDE) % 16 + (size_t)(cz_rng_uniform(&rng) * 8.0));
    for (size_t y = 20; y < 44; y++) memset(&photos[ODD][y * SIDE + 24], 255, 20);
    prep = (cz_prep){.width = SIDE, .height = SIDE};
    return cz_backbone_open("random:resnet18:1", &backbone) == CZ_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    cz_backbone_close(backbone);
    return 0;
}

static void open_set(cz_patch_set *p)
{
    static cz_image_source source = CZ_IMAGE_SOURCE_INIT;
    static const cz_cache_options cache = CZ_CACHE_OPTIONS_INIT; /* no store */
    source.count = COUNT;
    source.load = load;
    const cz_patch_options options = {.backbone = backbone,
                                      .source = &source,
                                      .taps = "layer2,layer3",
                                      .prep = &prep,
                                      .width = WIDTH,
                                      .threads = 1,
                                      .precision = CZ_PRECISION_FP32,
                                      .cache = &cache};
    if (cz_patch_set_create(&options, p) != CZ_OK) fail_msg("%s", cz_last_error());
}

/* The exact distance, in all dimensions, to all patches of all others of the category. */
static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t count)
{
    qsort(values, count, sizeof *values, ascending);
    return count % 2 ? values[count / 2] : 0.5 * (values[count / 2 - 1] + values[count / 2]);
}

/* (distance - median) / (MAD + a thousandth of the typical photo's mean), of the category with index 0. */
static void check_place(const cz_mutual *m, const size_t *category, size_t place)
{
    double at[COUNT], apart[COUNT], means[COUNT];
    size_t n = 0;
    for (size_t i = 0; i < COUNT; i++) {
        if (category[i] != 0) continue;
        means[n] = 0.0;
        for (size_t j = 0; j < m->grid; j++) means[n] += (double)m->distance[i * m->grid + j] / (double)m->grid;
        at[n++] = (double)m->distance[i * m->grid + place];
    }
    const double middle = median(at, n);
    for (size_t i = 0; i < n; i++) apart[i] = fabs(at[i] - middle);
    const double spread = median(apart, n) + 1e-3 * median(means, n);
    for (size_t i = 0; i < COUNT; i++) {
        if (category[i] != 0) continue;
        const double expected = ((double)m->distance[i * m->grid + place] - middle) / spread;
        assert_true(fabs((double)m->placed[i * m->grid + place] - expected) <= 1e-4 * (1.0 + fabs(expected)));
    }
}

static double naive(const float *all, const size_t *category, size_t grid, size_t photo, size_t place)
{
    double best = INFINITY;
    for (size_t i = 0; i < COUNT; i++) {
        if (i == photo || category[i] != category[photo]) continue;
        for (size_t j = 0; j < grid; j++) {
            double sum = 0.0;
            for (size_t k = 0; k < WIDTH; k++) {
                const double d =
                    (double)all[(photo * grid + place) * WIDTH + k] - (double)all[(i * grid + j) * WIDTH + k];
                sum += d * d;
            }
            best = sum < best ? sum : best;
        }
    }
    return sqrt(best);
}

/* 24 x 64 patches are below the bank's limit, so all take part: only the projection stands between the two. */
static void distances(void **state)
{
    (void)state;
    cz_patch_set p;
    cz_mutual m, again;
    size_t category[COUNT];
    open_set(&p);
    const size_t grid = p.grid;
    float *features = malloc(grid * WIDTH * sizeof *features), *all = malloc(COUNT * grid * WIDTH * sizeof *all);
    assert_non_null(features);
    assert_non_null(all);
    for (size_t i = 0; i < COUNT; i++) category[i] = i < 16 ? 0 : i < 22 ? 1 : 2; /* 16, 6 and 2 photos */
    for (size_t i = 0; i < COUNT; i++) assert_int_equal(cz_patch_set_whole(&p, i, all + i * grid * WIDTH), grid);
    assert_int_equal(cz_mutual_measure(&p, category, 3, 7, features, &m), CZ_OK);
    assert_int_equal(m.photos, COUNT);
    assert_int_equal(m.grid, grid);
    double worst = 0.0;
    for (size_t i = 0; i < COUNT; i++) {
        for (size_t j = 0; j < grid; j++) {
            const float got = m.distance[i * grid + j];
            if (i >= 16) { /* too few to be compared */
                assert_true(isnan(got) && isnan(m.placed[i * grid + j]));
                continue;
            }
            const double exact = naive(all, category, grid, i, j);
            worst = fmax(worst, fabs((double)got - exact) / exact);
        }
    }
    print_message("projected distances differ from exact ones by at most %.1f %%\n", 100.0 * worst);
    assert_true(
        worst <
        0.25); /* 256 dimensions: 4.4 % is one standard deviation of one distance; these are least ones of 960 */
    for (size_t j = 0; j < grid; j++) check_place(&m, category, j);
    assert_int_equal(cz_mutual_measure(&p, category, 3, 7, features, &again), CZ_OK);
    assert_memory_equal(again.distance, m.distance, COUNT * grid * sizeof *m.distance);
    cz_mutual_free(&again);
    cz_mutual_free(&m);
    free(features);
    free(all);
    cz_patch_set_free(&p);
}

/* The bright photo is the least trusted of real features. */
static void finds_the_odd_photo(void **state)
{
    (void)state;
    cz_patch_set p;
    cz_mutual m;
    const size_t category[COUNT] = {0};
    open_set(&p);
    float *features = malloc(p.grid * WIDTH * sizeof *features);
    assert_non_null(features);
    assert_int_equal(cz_mutual_measure(&p, category, 1, 0, features, &m), CZ_OK);
    cz_photo_confidence list[COUNT] = {{0}};
    cz_confidence c = {.photos = list, .count = COUNT};
    assert_int_equal(cz_confidence_compare(&m, category, 1, &c), CZ_OK);
    for (size_t i = 0; i < COUNT; i++) {
        if (i != ODD) assert_true(list[i].level < list[ODD].level && list[i].weight >= list[ODD].weight);
    }
    assert_true(list[ODD].apart && list[ODD].weight < 0.7);
    cz_mutual_free(&m);
    free(features);
    cz_patch_set_free(&p);
}

/* One photo is odd for its place only, another everywhere; both opinions are heard, scores stay the model's. */
static void two_opinions(void **state)
{
    (void)state;
    enum { GRID = 100 };
    static float distance[COUNT * GRID], placed[COUNT * GRID];
    size_t category[COUNT] = {0};
    cz_rng rng;
    cz_rng_init(&rng, 5, CZ_RNG_TEST, 0, 0);
    for (size_t i = 0; i < COUNT * GRID; i++) {
        distance[i] = 10.0f + (float)cz_rng_normal(&rng);
        placed[i] = (float)cz_rng_normal(&rng);
    }
    placed[ODD * GRID + ODD_PLACE] = 30.0f;
    distance[9 * GRID + 44] = 40.0f;
    category[COUNT - 1] = 1; /* alone in its category: what is known of it stays */
    const cz_mutual m = {distance, placed, COUNT, GRID};
    cz_photo_confidence list[COUNT];
    for (size_t i = 0; i < COUNT; i++)
        list[i] = (cz_photo_confidence){.weight = 0.25, .score = (double)i, .level = 3.0, .category = category[i]};
    cz_confidence c = {.photos = list, .count = COUNT};
    assert_int_equal(cz_confidence_compare(&m, category, 2, &c), CZ_OK);
    assert_true(list[ODD].apart && list[9].apart);
    assert_int_equal(list[ODD].place, ODD_PLACE);
    assert_int_equal(list[9].place, 44);
    size_t apart = 0;
    for (size_t i = 0; i < COUNT - 1; i++) {
        assert_true(list[i].score >= (double)i && list[i].score <= (double)i);
        assert_true(list[i].weight > 0.0 && list[i].weight <= 1.0);
        if (i != ODD && i != 9) assert_true(list[i].level < list[ODD].level && list[i].level < list[9].level);
        apart += list[i].apart;
    }
    assert_true(fabs(c.contamination - (double)apart / (COUNT - 1)) < 1e-12);
    assert_true(list[COUNT - 1].weight >= 0.25 && list[COUNT - 1].weight <= 0.25 && list[COUNT - 1].level >= 3.0);
}

/* Photos that are all alike stand out from nothing. */
static void all_alike(void **state)
{
    (void)state;
    enum { GRID = 4 };
    static float zero[COUNT * GRID];
    const size_t category[COUNT] = {0};
    const cz_mutual m = {zero, zero, COUNT, GRID};
    cz_photo_confidence list[COUNT] = {{0}};
    cz_confidence c = {.photos = list, .count = COUNT};
    assert_int_equal(cz_confidence_compare(&m, category, 1, &c), CZ_OK);
    for (size_t i = 0; i < COUNT; i++) assert_true(list[i].weight >= 1.0 && !list[i].apart);
    assert_true(c.contamination >= 0.0 && c.contamination <= 0.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(distances),
        cmocka_unit_test(finds_the_odd_photo),
        cmocka_unit_test(two_opinions),
        cmocka_unit_test(all_alike),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
