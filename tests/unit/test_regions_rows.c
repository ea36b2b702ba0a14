/* SPDX-License-Identifier: Apache-2.0 */
/* Regions row by row against regions of the whole map, labelled by flood fill. */
#include "metrics/region_scan.h"
#include "metrics/regions.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MOST = 4096 };

static uint32_t seed = 1;
static double uniform(void)
{
    seed = seed * 1664525u + 1013904223u;
    return (double)(seed >> 8) / 16777216.0;
}

/* ---- the plain twin ---- */

typedef struct picture {
    const float *map;
    size_t width, height;
    double threshold;
    uint8_t *seen;
    size_t *stack;
} picture;

static bool above(const picture *p, size_t i)
{
    return (double)p->map[i] > p->threshold;
}

static cz_region flood(const picture *p, size_t start)
{
    size_t depth = 1, x1 = 0, y1 = 0;
    cz_region r = {.x = SIZE_MAX, .y = SIZE_MAX, .peak = -(double)INFINITY};
    p->stack[0] = start;
    p->seen[start] = 1;
    while (depth > 0) {
        const size_t i = p->stack[--depth], x = i % p->width, y = i / p->width;
        const double v = (double)p->map[i];
        if (x < r.x) r.x = x;
        if (y < r.y) r.y = y;
        if (x + 1 > x1) x1 = x + 1;
        if (y + 1 > y1) y1 = y + 1;
        r.area++;
        r.mean += v;
        if (v > r.peak || (v >= r.peak && (y < r.peak_y || (y == r.peak_y && x < r.peak_x)))) {
            r.peak = v;
            r.peak_x = x;
            r.peak_y = y;
        }
        for (size_t ny = y > 0 ? y - 1 : 0; ny <= y + 1 && ny < p->height; ny++) {
            for (size_t nx = x > 0 ? x - 1 : 0; nx <= x + 1 && nx < p->width; nx++) {
                const size_t n = ny * p->width + nx;
                if (p->seen[n] || !above(p, n)) continue;
                p->seen[n] = 1;
                p->stack[depth++] = n;
            }
        }
    }
    r.width = x1 - r.x;
    r.height = y1 - r.y;
    r.mean /= (double)r.area;
    return r;
}

static int by_peak(const void *a, const void *b)
{
    const cz_region *x = a, *y = b;
    if (x->peak > y->peak || x->peak < y->peak) return x->peak > y->peak ? -1 : 1;
    if (x->peak_y != y->peak_y) return x->peak_y < y->peak_y ? -1 : 1;
    return x->peak_x < y->peak_x ? -1 : x->peak_x > y->peak_x;
}

static size_t plain(const float *map, size_t width, size_t height, double threshold, size_t min_area, cz_region *out)
{
    picture p = {map, width, height, threshold, calloc(width * height, 1), calloc(width * height, sizeof(size_t))};
    size_t count = 0;
    assert_non_null(p.seen);
    assert_non_null(p.stack);
    for (size_t i = 0; i < width * height; i++) {
        if (p.seen[i] || !above(&p, i)) continue;
        const cz_region r = flood(&p, i);
        if (r.area < min_area) continue;
        assert_true(count < MOST);
        out[count++] = r;
    }
    qsort(out, count, sizeof *out, by_peak);
    free(p.seen);
    free(p.stack);
    return count;
}

/* ---- comparison ---- */

static void same(const cz_region *a, const cz_region *b)
{
    assert_true(a->x == b->x && a->y == b->y && a->width == b->width && a->height == b->height);
    assert_true(a->area == b->area && a->peak_x == b->peak_x && a->peak_y == b->peak_y);
    assert_true(a->peak >= b->peak && a->peak <= b->peak);
    assert_true(fabs(a->mean - b->mean) <= 1e-12 * (1.0 + fabs(b->mean)));
}

static void check(const float *map, size_t width, size_t height, double threshold, size_t min_area, size_t most)
{
    static cz_region want[MOST], whole[MOST], rows[MOST];
    const size_t count = plain(map, width, height, threshold, min_area, want);
    const size_t shown = count < most ? count : most;
    size_t got = 0, total = 0;
    cz_region_scan *scan = NULL;
    assert_int_equal(cz_regions(map, width, height, threshold, min_area, whole, most, &got), CZ_OK);
    assert_int_equal(cz_region_scan_create(width, threshold, min_area, most, &scan), CZ_OK);
    for (size_t y = 0; y < height; y++) assert_int_equal(cz_region_scan_row(scan, map + y * width), CZ_OK);
    assert_int_equal(cz_region_scan_end(scan, rows, &total), CZ_OK);
    cz_region_scan_destroy(scan);
    assert_int_equal(got, count);
    assert_int_equal(total, count);
    for (size_t i = 0; i < shown; i++) {
        same(&whole[i], &want[i]);
        same(&rows[i], &want[i]);
    }
}

/* Noise, with few levels so that peaks tie, and NaN. */
static void random_maps(void **state)
{
    (void)state;
    float map[64 * 64];
    for (int round = 0; round < 1500; round++) {
        const size_t width = 1 + (size_t)(uniform() * 40), height = 1 + (size_t)(uniform() * 40);
        const double levels = round % 3 == 0 ? 4.0 : 1000.0, threshold = 0.2 + 0.7 * uniform();
        for (size_t i = 0; i < width * height; i++) {
            map[i] = (float)(floor(uniform() * levels) / levels);
            if (round % 5 == 0 && uniform() < 0.05) map[i] = NAN;
        }
        check(map, width, height, threshold, 1 + (size_t)(uniform() * 4), round % 2 ? MOST : 3);
    }
}

/* Shapes whose parts meet late: combs, spirals, rings in rings. */
static void shapes(void **state)
{
    (void)state;
    enum { SIDE = 41 };
    float map[SIDE * SIDE];
    for (size_t i = 0; i < SIDE * SIDE; i++) map[i] = i / SIDE + 1 == SIDE || i % SIDE % 2 == 0 ? 1.0f : 0.0f;
    map[7] = 2.0f;
    check(map, SIDE, SIDE, 0.5, 1, MOST);
    for (size_t i = 0; i < SIDE * SIDE; i++) {
        const size_t x = i % SIDE, y = i / SIDE, far_x = x > 20 ? x - 20 : 20 - x, far_y = y > 20 ? y - 20 : 20 - y;
        const size_t ring = far_x > far_y ? far_x : far_y;
        map[i] = ring % 2 == 0 ? (float)(1 + ring) : 0.0f;
    }
    check(map, SIDE, SIDE, 0.5, 1, MOST);
    /* a spiral: one arm, cut open ring by ring */
    for (size_t k = 1; k < 20; k += 2) map[(20 - k) * SIDE + 20 - k] = 5.0f;
    check(map, SIDE, SIDE, 0.5, 1, MOST);
    for (size_t i = 0; i < SIDE * SIDE; i++) map[i] = 1.0f;
    check(map, SIDE, SIDE, 0.5, 1, MOST); /* all */
    check(map, SIDE, SIDE, 1.0, 1, MOST); /* nothing */
    check(map, 1, SIDE, 0.5, 1, MOST);
    check(map, SIDE, 1, 0.5, 1, MOST);
}

/* More regions than are kept: the highest are, and all are counted. Memory does not grow with the rows. */
static void many(void **state)
{
    (void)state;
    enum { WIDTH = 64, ROWS = 20000, KEPT = 10 };
    cz_region_scan *scan = NULL;
    cz_region out[KEPT];
    size_t total = 0;
    float row[WIDTH] = {0};
    assert_int_equal(cz_region_scan_create(WIDTH, 0.5, 1, KEPT, &scan), CZ_OK);
    for (size_t y = 0; y < ROWS; y++) {
        for (size_t x = 0; x < WIDTH; x++) row[x] = y % 2 == 0 && x % 2 == 0 ? (float)(1 + y * WIDTH + x) : 0.0f;
        assert_int_equal(cz_region_scan_row(scan, row), CZ_OK);
    }
    assert_int_equal(cz_region_scan_end(scan, out, &total), CZ_OK);
    cz_region_scan_destroy(scan);
    assert_int_equal(total, ROWS / 2 * (WIDTH / 2));
    for (size_t i = 0; i < KEPT; i++) assert_true(out[i].peak_y == ROWS - 2 && out[i].peak_x == WIDTH - 2 - 2 * i);
}

static void refusals(void **state)
{
    (void)state;
    cz_region_scan *scan = NULL;
    assert_int_equal(cz_region_scan_create(0, 0.5, 1, 1, &scan), CZ_E_ARG);
    assert_int_equal(cz_region_scan_create(4, (double)NAN, 1, 1, &scan), CZ_E_ARG);
    assert_null(scan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_maps),
        cmocka_unit_test(shapes),
        cmocka_unit_test(many),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
