/* SPDX-License-Identifier: Apache-2.0 */
#include "cozad/cozad_eval.h"
#include "metrics/components.h"
#include "unit/flood.h"
#include "util/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SIDE = 40, PIXELS = SIDE * SIDE };

static void paint(const cz_components *c, size_t width, int *labels)
{
    for (size_t i = 0; i < c->run_count; i++)
        for (size_t x = c->runs[i].begin; x < c->runs[i].end; x++)
            labels[c->runs[i].y * width + x] = (int)c->runs[i].region + 1;
}

static void check_mask(cz_components *c, const uint8_t *mask, size_t w, size_t h)
{
    static int want[PIXELS], got[PIXELS];
    const int count = flood_label(mask, w, h, want);
    memset(got, 0, sizeof got);
    assert_int_equal(cz_components_label(c, mask, w, h), CZ_OK);
    assert_int_equal(c->count, count);
    paint(c, w, got);
    for (size_t i = 0; i < w * h; i++) assert_int_equal(got[i], want[i]);
}

static void random_masks(void **state)
{
    (void)state;
    cz_components c = {0};
    for (uint64_t round = 0; round < 400; round++) {
        uint8_t mask[PIXELS];
        cz_rng rng;
        cz_rng_init(&rng, 2, CZ_RNG_TEST, round, 0);
        const size_t w = 1 + (size_t)cz_rng_below(&rng, SIDE), h = 1 + (size_t)cz_rng_below(&rng, SIDE);
        const double density = cz_rng_uniform(&rng);
        for (size_t i = 0; i < w * h; i++) mask[i] = (uint8_t)(cz_rng_uniform(&rng) < density ? 1 + round % 255 : 0);
        check_mask(&c, mask, w, h);
    }
    cz_components_free(&c);
}

/* Spirals, combs and diagonals join late: what a single pass gets wrong. */
static void shapes(void **state)
{
    (void)state;
    static const char *const pictures[] = {
        "#.#.#.#"
        "#.#.#.#"
        "#######",
        "#.....#"
        ".#...#."
        "..#.#..",
        "#..#..#"
        ".##.##."
        "#..#..#",
        "#####.."
        "....#.#"
        "###.#.#"
        "#...#.#"
        "#####.#",
        ".......",
        "#######",
        "#.#.#.#"
        "......."
        "#.#.#.#",
    };
    static const int counts[] = {1, 2, 1, 2, 0, 1, 8};
    cz_components c = {0};
    for (size_t i = 0; i < sizeof pictures / sizeof *pictures; i++) {
        uint8_t mask[64];
        const size_t count = strlen(pictures[i]);
        for (size_t k = 0; k < count; k++) mask[k] = pictures[i][k] == '#';
        check_mask(&c, mask, 7, count / 7);
        assert_int_equal(c.count, counts[i]);
    }
    cz_components_free(&c);
}

static void regions_of_map(void **state)
{
    (void)state;
    const float n = NAN;
    const float map[4 * 6] = {
        0.9f, 0.1f, 0.1f, 0.1f, 0.1f, 0.6f, /* one pixel; */
        0.1f, 0.8f, 0.1f, 0.1f, 0.1f, 0.1f, /* */
        0.1f, 0.1f, n,    0.1f, 2.0f, 0.7f, /* NaN joins nothing */
        0.5f, 0.1f, 0.1f, 0.7f, 0.1f, 0.1f, /* 0.5 is not above 0.5 */
    };
    cz_region r[4];
    size_t count;
    assert_int_equal(cz_regions(map, 6, 4, 0.5, 0, r, 4, &count), CZ_OK);
    assert_int_equal(count, 3);
    assert_int_equal(r[0].area, 3);
    assert_true(r[0].peak == 2.0 && r[0].peak_x == 4 && r[0].peak_y == 2);
    assert_true(r[0].x == 3 && r[0].y == 2 && r[0].width == 3 && r[0].height == 2);
    assert_true(fabs(r[0].mean - (2.0 + 2 * (double)0.7f) / 3) < 1e-12);
    assert_true(r[1].x == 0 && r[1].y == 0 && r[1].width == 2 && r[1].height == 2 && r[1].area == 2);
    assert_true(r[2].x == 5 && r[2].area == 1 && r[2].peak_x == 5 && r[2].peak_y == 0);
    assert_int_equal(cz_regions(map, 6, 4, 0.5, 2, r, 1, &count), CZ_OK);
    assert_int_equal(count, 2); /* both, though only one is written */
    assert_int_equal(cz_regions(map, 6, 4, 3.0, 0, NULL, 0, &count), CZ_OK);
    assert_int_equal(count, 0);
    assert_int_equal(cz_regions(map, 6, 4, NAN, 0, r, 4, &count), CZ_E_ARG);
    assert_int_equal(cz_regions(NULL, 6, 4, 0.5, 0, r, 4, &count), CZ_E_ARG);
    assert_int_equal(cz_regions(map, 0, 4, 0.5, 0, r, 4, &count), CZ_E_ARG);
    assert_int_equal(cz_regions(map, SIZE_MAX / 2, 4, 0.5, 0, r, 4, &count), CZ_E_LIMIT);
}

static size_t class_of(size_t area)
{
    return area <= 10 ? 0 : area <= 100 ? 1 : area <= 1000 ? 2 : area <= 10000 ? 3 : 4;
}

/* Against counting pixel by pixel. */
static void figures_of_regions(void **state)
{
    (void)state;
    for (uint64_t round = 0; round < 200; round++) {
        float map[PIXELS];
        uint8_t mask[PIXELS], above[PIXELS];
        static int defects[PIXELS], alarms[PIXELS];
        cz_rng rng;
        cz_rng_init(&rng, 3, CZ_RNG_TEST, round, 0);
        const double density = cz_rng_uniform(&rng) * 0.3, threshold = cz_rng_uniform(&rng);
        const size_t min_area = (size_t)cz_rng_below(&rng, 4);
        for (size_t i = 0; i < PIXELS; i++) {
            map[i] = (float)cz_rng_uniform(&rng);
            above[i] = (double)map[i] > threshold;
            mask[i] = cz_rng_uniform(&rng) < density;
        }
        cz_region_figures want = {.images = 1}, got = {0};
        const int defect_count = flood_label(mask, SIDE, SIDE, defects);
        const int alarm_count = flood_label(above, SIDE, SIDE, alarms);
        size_t *size = calloc((size_t)alarm_count + 1, sizeof *size);
        uint8_t *touches = calloc((size_t)alarm_count + 1, 1);
        for (size_t i = 0; i < PIXELS; i++) {
            size[alarms[i]]++;
            if (mask[i]) touches[alarms[i]] = 1;
        }
        for (int d = 1; d <= defect_count; d++) {
            size_t area = 0;
            bool found = false;
            for (size_t i = 0; i < PIXELS; i++) {
                area += defects[i] == d;
                if (defects[i] == d && alarms[i] > 0 && size[alarms[i]] >= min_area) found = true;
            }
            want.defects[class_of(area)]++;
            want.found[class_of(area)] += found;
        }
        for (int a = 1; a <= alarm_count; a++)
            if (!touches[a] && size[a] >= min_area) want.false_alarms[class_of(size[a])]++;
        assert_int_equal(cz_region_figures_add(&got, map, mask, SIDE, SIDE, threshold, min_area), CZ_OK);
        assert_memory_equal(&got, &want, sizeof got);
        free(size);
        free(touches);
    }
    cz_region_figures f = {0};
    const float map[4] = {1, 0, 0, 1};
    assert_int_equal(cz_region_figures_add(&f, map, NULL, 2, 2, 0.5, 0), CZ_OK);
    assert_true(f.images == 1 && f.false_alarms[0] == 1); /* joined by a corner */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(random_masks), cmocka_unit_test(shapes),
                                       cmocka_unit_test(regions_of_map), cmocka_unit_test(figures_of_regions)};
    return cmocka_run_group_tests_name("components", tests, NULL, NULL);
}
