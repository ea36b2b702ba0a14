/* SPDX-License-Identifier: Apache-2.0 */
/* Tiles: where they lie, how they blend, and sessions that use them. */
#include "api/model.h"
#include "api/tiles.h"
#include "cozad/cozad_eval.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SIDE = 96, PHOTOS = 4, INPUT_W = 96, INPUT_H = 64, WIDE = 300, TALL = 220 };

static uint8_t gray[PHOTOS][SIDE * SIDE], large[TALL * WIDE];
static cz_backbone *backbone;
static cz_model *model;

static uint32_t seed = 9;
static double uniform(void)
{
    seed = seed * 1664525u + 1013904223u;
    return (double)(seed >> 8) / 16777216.0;
}

/* ---- where tiles lie ---- */

static void coverage(void **state)
{
    (void)state;
    cz_tile_axis a;
    for (int round = 0; round < 3000; round++) {
        const size_t extent = 1 + (size_t)(uniform() * 700), tile = 1 + (size_t)(uniform() * 300);
        const size_t overlap = (size_t)(uniform() * (double)tile), grid = 1 + (size_t)(uniform() * 40);
        if (overlap >= tile) continue;
        assert_int_equal(cz_tile_axis_make(extent, tile, overlap, grid, &a), CZ_OK);
        assert_true(a.size == (tile < extent ? tile : extent));
        assert_int_equal(cz_tile_start(&a, 0), 0);
        assert_int_equal(cz_tile_start(&a, a.count - 1) + a.size, extent);
        for (size_t i = 1; i < a.count; i++) {
            assert_true(cz_tile_start(&a, i) > cz_tile_start(&a, i - 1));
            assert_true(cz_tile_start(&a, i) + overlap <= cz_tile_start(&a, i - 1) + a.size);
        }
        /* no more of them than the overlap asks for */
        if (a.count > 1) assert_true((a.count - 2) * (tile - overlap) + tile < extent);
        if (a.count == 1) assert_int_equal(a.cells, grid);
    }
    assert_int_equal(cz_tile_axis_make(100, 32, 32, 8, &a), CZ_E_ARG);
    assert_int_equal(cz_tile_axis_make(100, 32, 33, 8, &a), CZ_E_ARG);
    assert_int_equal(cz_tile_axis_make(100, 0, 0, 8, &a), CZ_E_ARG);
    assert_int_equal(cz_tile_axis_make(SIZE_MAX / 2, 1, 0, 8, &a), CZ_E_LIMIT);
    assert_int_equal(cz_tile_axis_make(70000, 8, 0, 8, &a), CZ_E_LIMIT);
}

/* ---- blending ---- */

typedef double (*field)(double x, double y);

/* Every tile sees `f` at its patches' centres; `off` (may be NULL) says which pixels are not inspected. */
static void blend(const cz_tile_axis *x, const cz_tile_axis *y, field f, bool (*off)(double x, double y), float *grid,
                  uint8_t *valid)
{
    float scores[64 * 64];
    uint8_t tile_valid[64 * 64];
    cz_tile_blend *b = NULL;
    assert_int_equal(cz_tile_blend_create(x, y, &b), CZ_OK);
    for (size_t i = 0; i < x->cells * y->cells; i++) valid[i] = 77;
    for (size_t row = 0; row < y->count; row++) {
        for (size_t column = 0; column < x->count; column++) {
            for (size_t i = 0; i < x->grid * y->grid; i++) {
                const double cx = (double)cz_tile_start(x, column) +
                                  ((double)(i % x->grid) + 0.5) * (double)x->size / (double)x->grid;
                const double cy =
                    (double)cz_tile_start(y, row) + ((double)(i / x->grid) + 0.5) * (double)y->size / (double)y->grid;
                tile_valid[i] = off == NULL || !off(cx, cy);
                scores[i] = tile_valid[i] ? (float)f(cx, cy) : NAN; /* must not get through */
            }
            cz_tile_blend_add(b, column, row, scores, tile_valid, grid, valid);
        }
    }
    cz_tile_blend_destroy(b);
}

static double constant(double x, double y)
{
    (void)x, (void)y;
    return 0.1;
}

static double ramp(double x, double y)
{
    return 0.01 * x - 0.02 * y + 1.0;
}

static bool left_half(double x, double y)
{
    (void)y;
    return x < 100.0;
}

/* A constant is the same constant, a ramp stays a ramp (but where patches end), whatever the tiling. */
static void fields(void **state)
{
    (void)state;
    static float grid[1 << 20];
    static uint8_t valid[1 << 20];
    cz_tile_axis x, y;
    for (int round = 0; round < 200; round++) {
        const size_t width = 1 + (size_t)(uniform() * 500), height = 1 + (size_t)(uniform() * 500);
        const size_t tile_w = 20 + (size_t)(uniform() * 200), tile_h = 20 + (size_t)(uniform() * 200);
        const size_t overlap = (size_t)(uniform() * 20.0);
        const size_t grid_w = 1 + (size_t)(uniform() * 32), grid_h = 1 + (size_t)(uniform() * 32);
        assert_int_equal(cz_tile_axis_make(width, tile_w, overlap, grid_w, &x), CZ_OK);
        assert_int_equal(cz_tile_axis_make(height, tile_h, overlap, grid_h, &y), CZ_OK);
        assert_true(x.cells * y.cells <= sizeof grid / sizeof *grid);
        blend(&x, &y, constant, NULL, grid, valid);
        for (size_t i = 0; i < x.cells * y.cells; i++) assert_true(valid[i] == 1 && grid[i] == 0.1f);
        blend(&x, &y, ramp, NULL, grid, valid);
        const double step_x = (double)x.size / (double)x.grid, step_y = (double)y.size / (double)y.grid;
        for (size_t i = 0; i < x.cells * y.cells; i++) {
            const double cx = ((double)(i % x.cells) + 0.5) * (double)width / (double)x.cells;
            const double cy = ((double)(i / x.cells) + 0.5) * (double)height / (double)y.cells;
            /* at a tile's edge the outermost patch goes on: half a patch at the most */
            assert_true(fabs((double)grid[i] - ramp(cx, cy)) <= 0.005 * step_x + 0.01 * step_y + 1e-5);
        }
    }
}

/* What is not inspected has no part in any score, and half a patch's weight decides. */
static void masked(void **state)
{
    (void)state;
    static float grid[1 << 16];
    static uint8_t valid[1 << 16];
    cz_tile_axis x, y;
    assert_int_equal(cz_tile_axis_make(400, 128, 32, 16, &x), CZ_OK);
    assert_int_equal(cz_tile_axis_make(300, 128, 32, 16, &y), CZ_OK);
    blend(&x, &y, constant, left_half, grid, valid);
    for (size_t i = 0; i < x.cells * y.cells; i++) {
        const double cx = ((double)(i % x.cells) + 0.5) * 400.0 / (double)x.cells;
        if (cx < 100.0 - 8.0) assert_int_equal(valid[i], 0);
        if (cx > 100.0 + 8.0) assert_int_equal(valid[i], 1);
        assert_true(valid[i] ? grid[i] == 0.1f : grid[i] == 0.0f);
    }
}

/* One tile: the very numbers that went in, holes included. */
static void identity(void **state)
{
    (void)state;
    float scores[9 * 7], grid[9 * 7];
    uint8_t in[9 * 7], valid[9 * 7];
    cz_tile_axis x, y;
    cz_tile_blend *b = NULL;
    assert_int_equal(cz_tile_axis_make(31, 64, 5, 9, &x), CZ_OK);
    assert_int_equal(cz_tile_axis_make(64, 64, 5, 7, &y), CZ_OK);
    assert_true(x.cells == 9 && y.cells == 7);
    for (size_t i = 0; i < 9 * 7; i++) {
        scores[i] = (float)(uniform() - 0.5) * powf(10.0f, (float)(uniform() * 20.0 - 10.0));
        in[i] = uniform() > 0.2;
    }
    assert_int_equal(cz_tile_blend_create(&x, &y, &b), CZ_OK);
    for (int twice = 0; twice < 2; twice++) {
        cz_tile_blend_add(b, 0, 0, scores, in, grid, valid);
        assert_memory_equal(valid, in, sizeof in);
        for (size_t i = 0; i < 9 * 7; i++) assert_true(in[i] ? grid[i] == scores[i] : grid[i] == 0.0f);
    }
    cz_tile_blend_destroy(b);
}

/* No seam: neighbouring tiles that disagree pass smoothly into each other. */
static void seams(void **state)
{
    (void)state;
    float scores[16 * 16], grid[64 * 64];
    uint8_t ones[16 * 16], valid[64 * 64];
    cz_tile_axis x, y;
    cz_tile_blend *b = NULL;
    memset(ones, 1, sizeof ones);
    assert_int_equal(cz_tile_axis_make(192, 128, 64, 16, &x), CZ_OK);
    assert_int_equal(cz_tile_axis_make(128, 128, 64, 16, &y), CZ_OK);
    assert_true(x.count == 2 && y.count == 1 && x.cells == 24);
    assert_int_equal(cz_tile_blend_create(&x, &y, &b), CZ_OK);
    for (size_t t = 0; t < 2; t++) {
        for (size_t i = 0; i < 16 * 16; i++) scores[i] = (float)t;
        cz_tile_blend_add(b, t, 0, scores, ones, grid, valid);
    }
    cz_tile_blend_destroy(b);
    assert_true(grid[0] == 0.0f && grid[23] == 1.0f);
    for (size_t i = 1; i < 24; i++) {
        assert_true(grid[i] >= grid[i - 1]);
        assert_true(grid[i] - grid[i - 1] < 0.3f);
    }
}

/* ---- sessions ---- */

static cz_image whole_large(void)
{
    return (cz_image){large, WIDE, TALL, WIDE, CZ_GRAY8};
}

static cz_session *open_session(const cz_session_options *o)
{
    cz_session *s = NULL;
    if (cz_session_open(model, o, &s) != CZ_OK) fail_msg("%s", cz_last_error());
    return s;
}

static cz_session_options options(size_t tile_w, size_t tile_h, size_t overlap)
{
    cz_session_options o = CZ_SESSION_OPTIONS_INIT;
    o.threads = 1;
    o.tile_width = tile_w;
    o.tile_height = tile_h;
    o.tile_overlap = overlap;
    return o;
}

static void same_result(const cz_result *a, const cz_result *b)
{
    assert_true(a->score >= b->score && a->score <= b->score);
    assert_true(a->grid_width == b->grid_width && a->grid_height == b->grid_height);
    assert_memory_equal(a->patch_scores, b->patch_scores, a->grid_width * a->grid_height * sizeof(float));
    assert_true(a->map_width == b->map_width && a->map_height == b->map_height);
    if (a->map != NULL && b->map != NULL)
        assert_memory_equal(a->map, b->map, a->map_width * a->map_height * sizeof(float));
}

/* An image, or a region, that is no larger than a tile: bit for bit what it is without tiles. */
static void single_tile(void **state)
{
    (void)state;
    static const size_t sides[][2] = {{SIDE, SIDE}, {1, 1}, {1, 50}, {77, 3}, {SIDE, 31}};
    uint8_t ignore[SIDE * SIDE];
    for (size_t i = 0; i < SIDE * SIDE; i++) ignore[i] = i % SIDE < 40 && i / SIDE > 20 ? 255 : 0;
    const cz_image mask = {ignore, SIDE, SIDE, SIDE, CZ_GRAY8};
    const cz_roi roi = {10, 20, 60, 70};
    for (int kind = 0; kind < 4; kind++) {
        cz_session_options plain = options(0, 0, 0), tiled = options(SIDE, SIDE, 16);
        plain.map = tiled.map = kind == 3 ? CZ_MAP_INPUT : CZ_MAP_ORIGINAL;
        if (kind == 1) plain.ignore_mask = tiled.ignore_mask = &mask;
        if (kind == 2) plain.roi = tiled.roi = &roi;
        cz_session *a = open_session(&plain), *b = open_session(&tiled);
        for (size_t i = 0; i < (kind == 2 ? 1 : sizeof sides / sizeof *sides); i++) {
            const cz_image image = {gray[1], sides[i][0], sides[i][1], SIDE, CZ_GRAY8};
            cz_result x, y;
            assert_int_equal(cz_score(a, &image, &x), CZ_OK);
            if (cz_score(b, &image, &y) != CZ_OK) fail_msg("%s", cz_last_error());
            same_result(&x, &y);
        }
        cz_session_close(a);
        cz_session_close(b);
    }
}

/* Batches of tiles, threads and earlier images of other sizes make no difference. */
static void repeatable(void **state)
{
    (void)state;
    cz_session_options o = options(80, 70, 20);
    cz_session *a = open_session(&o);
    o.max_batch = 3;
    cz_session *b = open_session(&o);
    const cz_image images[] = {whole_large(), {gray[0], SIDE, SIDE, SIDE, CZ_GRAY8}, {large, 200, 81, WIDE, CZ_GRAY8}};
    cz_result x[3], y[3];
    assert_int_equal(cz_score_batch(b, images, 3, y), CZ_OK);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(cz_score(a, &images[i], &x[0]), CZ_OK);
        assert_true(fabs(x[0].score - y[i].score) <= 1e-4 * (1.0 + fabs(x[0].score)));
        assert_int_equal(x[0].grid_width, y[i].grid_width);
    }
    /* 300 = 80 + 4 * 55, 220 = 70 + 3 * 50; patches of 80 / 12 and 70 / 8 pixels */
    assert_int_equal(y[0].grid_width, 45);
    assert_int_equal(y[0].grid_height, 25);
    assert_int_equal(y[0].map_width, WIDE);
    assert_int_equal(y[0].map_height, TALL);
    cz_session_close(a);
    cz_session_close(b);
}

/* The image score is the largest of the common grid, and the map says where. */
static void finds_defect(void **state)
{
    (void)state;
    cz_session_options o = options(SIDE, SIDE, 32);
    cz_session *s = open_session(&o);
    const cz_image image = whole_large();
    cz_result r;
    assert_int_equal(cz_score(s, &image, &r), CZ_OK);
    float most = -INFINITY;
    size_t peak = 0, best = 0;
    for (size_t i = 0; i < r.grid_width * r.grid_height; i++)
        if (r.patch_scores[i] > most) most = r.patch_scores[best = i];
    assert_true(r.score >= (double)most && r.score <= (double)most);
    for (size_t i = 0; i < WIDE * TALL; i++)
        if (r.map[i] > r.map[peak]) peak = i;
    /* the defect is at 200 … 230, 90 … 120 */
    assert_true(peak % WIDE >= 185 && peak % WIDE < 245 && peak / WIDE >= 75 && peak / WIDE < 135);
    cz_session_close(s);
}

/* Rows on demand are the rows of the whole map, for tiles and without; regions too. */
static void rows(void **state)
{
    (void)state;
    const cz_roi roi = {33, 21, 240, 180};
    float *buffer = calloc(WIDE * TALL, sizeof *buffer);
    assert_non_null(buffer);
    for (int kind = 0; kind < 3; kind++) {
        cz_session_options o = kind == 0 ? options(0, 0, 0) : options(80, 64, 16);
        if (kind == 2) o.roi = &roi;
        cz_session *a = open_session(&o);
        o.map = CZ_MAP_ROWS;
        cz_session *b = open_session(&o);
        const cz_image image = whole_large();
        cz_result x, y;
        assert_int_equal(cz_session_map_rows(b, 0, 0, 1, buffer), CZ_E_ARG);
        assert_int_equal(cz_score(a, &image, &x), CZ_OK);
        assert_int_equal(cz_score(b, &image, &y), CZ_OK);
        assert_null(y.map);
        same_result(&x, &y);
        size_t at = 0;
        while (at < TALL) {
            const size_t left = TALL - at, wanted = 1 + (size_t)(uniform() * 30.0), n = wanted < left ? wanted : left;
            assert_int_equal(cz_session_map_rows(b, 0, at, n, buffer + at * WIDE), CZ_OK);
            at += n;
        }
        for (size_t i = 0; i < WIDE * TALL; i++)
            assert_true(isnan(x.map[i]) ? isnan(buffer[i]) : x.map[i] == buffer[i]);
        if (kind == 2) assert_true(isnan(x.map[0]) && !isnan(x.map[100 * WIDE + 100]));
        assert_int_equal(cz_session_map_rows(b, 0, TALL, 1, buffer), CZ_E_ARG);
        assert_int_equal(cz_session_map_rows(b, 0, 1, TALL, buffer), CZ_E_ARG);
        assert_int_equal(cz_session_map_rows(b, 0, SIZE_MAX, 2, buffer), CZ_E_ARG);
        assert_int_equal(cz_session_map_rows(b, 1, 0, 1, buffer), CZ_E_ARG);
        assert_int_equal(cz_session_map_rows(a, 0, 0, 1, buffer), CZ_E_ARG);
        assert_int_equal(cz_session_map_rows(b, 0, TALL, 0, buffer), CZ_OK);
        cz_session_close(a);
        cz_session_close(b);
    }
    free(buffer);
}

/* An ignored defect is not seen; nothing left to inspect is said so. */
static void ignored(void **state)
{
    (void)state;
    uint8_t *ignore = calloc(TALL, WIDE);
    assert_non_null(ignore);
    const cz_image image = whole_large(), mask = {ignore, WIDE, TALL, WIDE, CZ_GRAY8};
    cz_session_options o = options(SIDE, SIDE, 32);
    cz_session *a = open_session(&o);
    cz_result r;
    assert_int_equal(cz_score(a, &image, &r), CZ_OK);
    const double with = r.score;
    for (size_t y = 60; y < 150; y++) memset(ignore + y * WIDE + 170, 255, 90);
    o.ignore_mask = &mask;
    cz_session *b = open_session(&o);
    assert_int_equal(cz_score(b, &image, &r), CZ_OK);
    assert_true(r.score < with);
    assert_true(isnan(r.map[100 * WIDE + 200]) && !isnan(r.map[10 * WIDE + 10]));
    bool hole = false;
    for (size_t i = 0; i < r.grid_width * r.grid_height; i++) hole = hole || isnan(r.patch_scores[i]);
    assert_true(hole);
    memset(ignore, 255, TALL * WIDE);
    cz_session *c = open_session(&o);
    assert_int_equal(cz_score(c, &image, &r), CZ_E_ARG);
    cz_session_close(a);
    cz_session_close(b);
    cz_session_close(c);
    free(ignore);
}

static void refusals(void **state)
{
    (void)state;
    cz_session *s = NULL;
    cz_session_options o = options(64, 64, 64);
    assert_int_equal(cz_session_open(model, &o, &s), CZ_E_ARG);
    o = options(64, 32, 32);
    assert_int_equal(cz_session_open(model, &o, &s), CZ_E_ARG);
    o = options(64, 0, 0);
    assert_int_equal(cz_session_open(model, &o, &s), CZ_E_ARG);
    o = options(0, 0, 8);
    assert_int_equal(cz_session_open(model, &o, &s), CZ_E_ARG);
    const cz_fit fit = CZ_FIT_LETTERBOX;
    o = options(64, 64, 8);
    o.fit = &fit;
    assert_int_equal(cz_session_open(model, &o, &s), CZ_E_ARG);
    assert_null(s);
    o = options(64, 64, 8);
    s = open_session(&o);
    cz_result r;
    cz_image image = whole_large();
    image.stride = WIDE - 1;
    assert_int_equal(cz_score(s, &image, &r), CZ_E_ARG);
    image = whole_large();
    image.format = (cz_pixel_format)17;
    assert_int_equal(cz_score(s, &image, &r), CZ_E_ARG);
    image.data = NULL;
    assert_int_equal(cz_score(s, &image, &r), CZ_E_ARG);
    cz_session_close(s);
    const cz_roi roi = {WIDE, 0, 5, 5};
    o.roi = &roi;
    s = open_session(&o);
    image = whole_large();
    assert_int_equal(cz_score(s, &image, &r), CZ_E_ARG);
    cz_session_close(s);
}

/* ---- calibration ---- */

static cz_status load(void *ctx, size_t index, cz_image *out)
{
    (void)ctx;
    *out = (cz_image){gray[index], SIDE, SIDE, SIDE, CZ_GRAY8};
    return CZ_OK;
}

/* A threshold belongs to its tiles. */
static void calibrated(void **state)
{
    (void)state;
    cz_image_source photos = CZ_IMAGE_SOURCE_INIT;
    photos.count = PHOTOS;
    photos.load = load;
    cz_calibrate_options c;
    cz_calibrate_options_init(&c);
    c.rule = CZ_RULE_IQR;
    c.allow_training_photos = 1;
    c.threads = 1;
    c.tile_width = c.tile_height = 48;
    c.tile_overlap = 8;
    cz_model *with = NULL, *again = NULL;
    if (cz_calibrate(model, &photos, &c, &with, NULL) != CZ_OK) fail_msg("%s", cz_last_error());
    cz_session *s = NULL;
    cz_session_options o = options(48, 48, 8);
    assert_int_equal(cz_session_open(with, &o, &s), CZ_OK);
    cz_result r;
    const cz_image image = whole_large();
    assert_int_equal(cz_score(s, &image, &r), CZ_OK);
    assert_true(r.decision >= 0 && !isnan(r.p_value));
    cz_session_close(s);
    /* regions by rows and of the whole map */
    o.regions = 1;
    assert_int_equal(cz_session_open(with, &o, &s), CZ_OK);
    assert_int_equal(cz_score(s, &image, &r), CZ_OK);
    o.map = CZ_MAP_ROWS;
    cz_session *by_rows = NULL;
    cz_result y;
    assert_int_equal(cz_session_open(with, &o, &by_rows), CZ_OK);
    assert_int_equal(cz_score(by_rows, &image, &y), CZ_OK);
    assert_true(r.region_total > 0 && r.region_total == y.region_total && r.region_count == y.region_count);
    for (size_t i = 0; i < r.region_count; i++)
        assert_true(r.regions[i].area == y.regions[i].area && r.regions[i].peak_x == y.regions[i].peak_x);
    cz_session_close(s);
    cz_session_close(by_rows);
    static const size_t others[][3] = {{0, 0, 0}, {48, 48, 9}, {49, 48, 8}, {48, 47, 8}};
    for (size_t i = 0; i < 4; i++) {
        o = options(others[i][0], others[i][1], others[i][2]);
        s = NULL;
        assert_int_equal(cz_session_open(with, &o, &s), CZ_E_ARG);
        o.no_decision = 1;
        assert_int_equal(cz_session_open(with, &o, &s), CZ_OK);
        cz_session_close(s);
    }
    c.tile_width = c.tile_height = c.tile_overlap = 0;
    assert_int_equal(cz_calibrate(with, &photos, &c, &again, NULL), CZ_OK);
    o = options(48, 48, 8);
    assert_int_equal(cz_session_open(again, &o, &s), CZ_E_ARG);
    cz_model_close(again);
    cz_model_close(with);
}

/* ---- set-up ---- */

static uint8_t texture(size_t x, size_t y)
{
    return (uint8_t)(110.0 + 30.0 * sin((double)x * 0.9) * cos((double)y * 0.7) + 12.0 * uniform());
}

static int set_up(void **state)
{
    (void)state;
    cz_train_options t;
    cz_image_source source = CZ_IMAGE_SOURCE_INIT;
    for (size_t p = 0; p < PHOTOS; p++)
        for (size_t i = 0; i < SIDE * SIDE; i++) gray[p][i] = texture(i % SIDE, i / SIDE);
    for (size_t i = 0; i < WIDE * TALL; i++) large[i] = texture(i % WIDE, i / WIDE);
    for (size_t y = 90; y < 120; y++)
        for (size_t x = 200; x < 230; x++) large[y * WIDE + x] = (uint8_t)((x / 3 + y / 3) % 2 ? 250 : 5);
    if (cz_backbone_open("random:resnet18:3", &backbone) != CZ_OK) return -1;
    cz_train_options_init(&t);
    t.image_width = INPUT_W;
    t.image_height = INPUT_H;
    t.feature_width = 64;
    t.hidden_width = 32;
    t.epochs = 20;
    t.patches_per_image = 48;
    t.threads = 1;
    t.seed = 5;
    source.count = PHOTOS;
    source.load = load;
    return cz_train(backbone, &source, &t, &model) == CZ_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    cz_model_close(model);
    cz_backbone_close(backbone);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(coverage),   cmocka_unit_test(fields),       cmocka_unit_test(masked),
        cmocka_unit_test(identity),   cmocka_unit_test(seams),        cmocka_unit_test(single_tile),
        cmocka_unit_test(repeatable), cmocka_unit_test(finds_defect), cmocka_unit_test(rows),
        cmocka_unit_test(ignored),    cmocka_unit_test(refusals),     cmocka_unit_test(calibrated),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
