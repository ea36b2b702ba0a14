/* SPDX-License-Identifier: Apache-2.0 */
/* Photos that show a defect: which of their patches do, whatever way the photo takes to the network's input, and copies with a drawn
 * one. */
#include "api/defective.h"
#include "heads/head.h"
#include "util/alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { INPUT = 64, GRID = 8, CELLS = GRID * GRID, CELL = INPUT / GRID, MOST = 160, PHOTOS = 4 };

#define NORMAL    ((uint8_t)CZ_TARGET_NORMAL)
#define ANOMALOUS ((uint8_t)CZ_TARGET_ANOMALOUS)

/* ---- labelled ----------------------------------------------------------------------------------------------------- */

/* One photo and its mask. */
typedef struct scene {
    size_t width, height, mask_width, mask_height;
    uint8_t photo[MOST * MOST], mask[MOST * MOST];
    cz_image given;         /* instead of that mask, unless it is all 0 */
    cz_status photo_status; /* of reading them */
    cz_status mask_status;
    int photos, masks; /* loaded and not yet released */
} scene;

static cz_status load_photo(void *ctx, size_t index, cz_image *out)
{
    scene *s = ctx;
    assert_int_equal(index, 0);
    if (s->photo_status != CZ_OK) return cz_source_error(s->photo_status, "no photo");
    *out = (cz_image){s->photo, s->width, s->height, s->width, CZ_GRAY8};
    s->photos++;
    return CZ_OK;
}

static void release_photo(void *ctx, size_t index, cz_image *image)
{
    (void)index;
    assert_ptr_equal(image->data, ((scene *)ctx)->photo);
    ((scene *)ctx)->photos--;
}

static cz_status load_mask(void *ctx, size_t index, cz_image *out)
{
    scene *s = ctx;
    (void)index;
    if (s->mask_status != CZ_OK) return cz_source_error(s->mask_status, "no mask");
    *out = (cz_image){s->mask, s->mask_width, s->mask_height, s->mask_width, CZ_GRAY8};
    if (s->given.width + s->given.height + s->given.stride > 0) *out = s->given;
    s->masks++;
    return CZ_OK;
}

static void release_mask(void *ctx, size_t index, cz_image *mask)
{
    (void)index;
    (void)mask;
    ((scene *)ctx)->masks--;
}

static const char *scene_name(void *ctx, size_t index)
{
    (void)ctx;
    return index == 0 ? "dented" : "?";
}

static scene *make_scene(size_t width, size_t height, size_t mask_width, size_t mask_height)
{
    scene *s = calloc(1, sizeof *s);
    s->width = width;
    s->height = height;
    s->mask_width = mask_width;
    s->mask_height = mask_height;
    memset(s->photo, 90, sizeof s->photo);
    return s;
}

static void paint(scene *s, size_t x, size_t y, size_t width, size_t height, uint8_t value)
{
    for (size_t row = y; row < y + height; row++) memset(s->mask + row * s->mask_width + x, value, width);
}

static void open_scene(scene *s, const cz_prep *prep, cz_image_source *photos, cz_defective *out)
{
    *photos = (cz_image_source)CZ_IMAGE_SOURCE_INIT;
    photos->count = 1;
    photos->load = load_photo;
    photos->release = release_photo;
    photos->name = scene_name;
    photos->ctx = s;
    photos->concurrent = 1;
    const cz_defective_options o = {.photos = photos,
                                    .mask = load_mask,
                                    .release_mask = release_mask,
                                    .prep = prep,
                                    .grid_w = GRID,
                                    .grid_h = GRID};
    assert_int_equal(cz_defective_label(&o, out), CZ_OK);
    assert_int_equal(out->source.count, 1);
    assert_int_equal(out->cells, CELLS);
    assert_int_equal(out->source.concurrent, 1);
    assert_string_equal(out->source.name(out->source.ctx, 0), "dented");
}

/* What the patches of a scene are; the scene is freed. */
static void kinds_of(scene *s, cz_fit fit, size_t resize, const cz_roi *roi, uint8_t kinds[CELLS])
{
    cz_prep prep;
    cz_defective d;
    cz_image_source photos;
    cz_image image;
    assert_int_equal(cz_prep_init(INPUT, INPUT, fit, resize, roi, NULL, &prep), CZ_OK);
    open_scene(s, &prep, &photos, &d);
    memset(d.kind, 77, CELLS);
    if (d.source.load(d.source.ctx, 0, &image) != CZ_OK) fail_msg("%s", cz_last_error());
    assert_ptr_equal(image.data, s->photo); /* the photo itself, not a copy */
    memcpy(kinds, d.kind, CELLS);
    assert_int_equal(s->photos, 1);
    assert_int_equal(s->masks, 0); /* not needed any more */
    d.source.release(d.source.ctx, 0, &image);
    assert_int_equal(s->photos, 0);
    cz_defective_free(&d);
    assert_null(d.kind);
    cz_prep_free(&prep);
    free(s);
}

/* Cells x0 … x1 - 1 of rows y0 … y1 - 1 are anomalous, all others normal. */
static void expect_block(const uint8_t kinds[CELLS], size_t x0, size_t y0, size_t x1, size_t y1)
{
    for (size_t c = 0; c < CELLS; c++) {
        const size_t x = c % GRID, y = c / GRID;
        const uint8_t expected = x >= x0 && x < x1 && y >= y0 && y < y1 ? ANOMALOUS : NORMAL;
        if (kinds[c] != expected) fail_msg("patch %zu,%zu is %d, not %d", x, y, kinds[c], expected);
    }
}

/* Below a fiftieth of a patch: normal; from three tenths on: anomalous. 64 pixels a patch. */
static void test_shares(void **state)
{
    (void)state;
    static const struct {
        size_t pixels;
        uint8_t kind;
    } cases[] = {{0, NORMAL},     {1, NORMAL},     {2, CZ_DEFECTIVE_MIXED}, {19, CZ_DEFECTIVE_MIXED},
                 {20, ANOMALOUS}, {63, ANOMALOUS}, {64, ANOMALOUS}};
    enum { COUNT = sizeof cases / sizeof *cases };
    uint8_t kinds[CELLS];
    scene *s = make_scene(INPUT, INPUT, INPUT, INPUT);
    for (size_t i = 0; i < COUNT; i++) /* one in every column, on the diagonal */
        for (size_t p = 0; p < cases[i].pixels; p++) s->mask[(i * CELL + p / CELL) * INPUT + i * CELL + p % CELL] = 255;
    kinds_of(s, CZ_FIT_SQUASH, 0, NULL, kinds);
    for (size_t c = 0; c < CELLS; c++) {
        const size_t x = c % GRID, y = c / GRID;
        const uint8_t expected = x == y && x < COUNT ? cases[x].kind : NORMAL;
        if (kinds[c] != expected) fail_msg("patch %zu,%zu is %d, not %d", x, y, kinds[c], expected);
    }
}

static void test_fits(void **state)
{
    (void)state;
    uint8_t kinds[CELLS];
    const cz_roi part = {32, 40, 64, 64};
    /* squash: 128 x 32 pixels, a patch is 16 x 4 of them */
    scene *s = make_scene(128, 32, 128, 32);
    paint(s, 32, 0, 48, 32, 255);
    kinds_of(s, CZ_FIT_SQUASH, 0, NULL, kinds);
    for (size_t c = 0; c < CELLS; c++) assert_int_equal(kinds[c] == ANOMALOUS, c % GRID >= 2 && c % GRID < 5);
    /* letterbox: 128 x 64 pixels become 64 x 32 in the middle; padding shows nothing */
    s = make_scene(128, 64, 128, 64);
    paint(s, 0, 0, 128, 64, 255);
    kinds_of(s, CZ_FIT_LETTERBOX, 0, NULL, kinds);
    expect_block(kinds, 0, 2, GRID, 6);
    /* crop: of 96 x 64 pixels the columns 16 … 79 */
    s = make_scene(96, 64, 96, 64);
    paint(s, 0, 0, 24, 8, 255);
    paint(s, 80, 0, 16, 64, 255);
    kinds_of(s, CZ_FIT_CROP, 64, NULL, kinds);
    expect_block(kinds, 0, 0, 1, 1);
    /* a region: what is outside of it is not looked at */
    s = make_scene(128, 128, 128, 128);
    paint(s, 32 + 2 * CELL, 40 + CELL, 2 * CELL, CELL, 255);
    paint(s, 0, 0, 128, 40, 255);
    paint(s, 96, 0, 32, 128, 255);
    kinds_of(s, CZ_FIT_SQUASH, 0, &part, kinds);
    expect_block(kinds, 2, 1, 4, 2);
}

/* A mask covers its photo, whatever its own size; 128 and above is defect. */
static void test_masks(void **state)
{
    (void)state;
    uint8_t kinds[CELLS];
    scene *s = make_scene(INPUT, INPUT, 8, 8);
    paint(s, 3, 5, 1, 1, 255);
    kinds_of(s, CZ_FIT_SQUASH, 0, NULL, kinds);
    expect_block(kinds, 3, 5, 4, 6);
    s = make_scene(INPUT, INPUT, 128, 128);
    paint(s, 16, 32, 32, 16, 255);
    kinds_of(s, CZ_FIT_SQUASH, 0, NULL, kinds);
    expect_block(kinds, 1, 2, 3, 3);
    s = make_scene(INPUT, INPUT, 1, 1);
    paint(s, 0, 0, 1, 1, 128);
    kinds_of(s, CZ_FIT_SQUASH, 0, NULL, kinds);
    expect_block(kinds, 0, 0, GRID, GRID);
    s = make_scene(INPUT, INPUT, INPUT, INPUT);
    paint(s, 0, 0, INPUT, INPUT, 127);
    kinds_of(s, CZ_FIT_SQUASH, 0, NULL, kinds);
    expect_block(kinds, 0, 0, 0, 0);
    /* rows with something between them */
    s = make_scene(INPUT, INPUT, MOST, INPUT);
    paint(s, 8, 8, 8, 8, 200);
    paint(s, INPUT, 0, MOST - INPUT, INPUT, 255);
    s->given = (cz_image){s->mask, INPUT, INPUT, MOST, CZ_GRAY8};
    kinds_of(s, CZ_FIT_SQUASH, 0, NULL, kinds);
    expect_block(kinds, 1, 1, 2, 2);
}

static void test_masks_refused(void **state)
{
    (void)state;
    scene *s = make_scene(INPUT, INPUT, INPUT, INPUT);
    const cz_image wrong[] = {
        {NULL, INPUT, INPUT, INPUT, CZ_GRAY8},        {s->mask, 0, INPUT, INPUT, CZ_GRAY8},
        {s->mask, INPUT, 0, INPUT, CZ_GRAY8},         {s->mask, INPUT, INPUT, INPUT - 1, CZ_GRAY8},
        {s->mask, INPUT, INPUT, 3 * INPUT, CZ_RGB8},  {s->mask, INPUT, INPUT, 2 * INPUT, CZ_GRAY16},
        {s->mask, INPUT, INPUT, 4 * INPUT, CZ_RGBA8}, {s->mask, INPUT, INPUT, INPUT, 17}};
    cz_prep prep;
    cz_defective d;
    cz_image_source photos;
    cz_image image;
    assert_int_equal(cz_prep_init(INPUT, INPUT, CZ_FIT_SQUASH, 0, NULL, NULL, &prep), CZ_OK);
    open_scene(s, &prep, &photos, &d);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        s->given = wrong[i];
        assert_int_equal(d.source.load(d.source.ctx, 0, &image), CZ_E_ARG);
        assert_non_null(strstr(cz_last_error(), "mask is not a grey picture"));
        assert_int_equal(s->photos, 0);
        assert_int_equal(s->masks, 0);
    }
    memset(&s->given, 0, sizeof s->given);
    s->mask_status = CZ_E_FORMAT;
    assert_int_equal(d.source.load(d.source.ctx, 0, &image), CZ_E_FORMAT);
    assert_string_equal(cz_last_error(), "no mask");
    assert_int_equal(s->photos, 0);
    s->mask_status = CZ_OK;
    s->photo_status = CZ_E_IO;
    assert_int_equal(d.source.load(d.source.ctx, 0, &image), CZ_E_IO);
    s->photo_status = CZ_OK;
    s->width = 0;
    assert_int_equal(d.source.load(d.source.ctx, 0, &image), CZ_E_ARG);
    assert_int_equal(s->photos + s->masks, 0);
    cz_defective_free(&d);
    cz_prep_free(&prep);
    free(s);
}

/* ---- drawn -------------------------------------------------------------------------------------------------------- */

enum { WIDE = 100, HIGH = 80 };

/* The same RGB pictures in any format. */
typedef struct album {
    cz_pixel_format format;
    bool grey;
    uint8_t bytes[WIDE * HIGH * 4 + HIGH * 5];
    cz_image given; /* instead, where its width or stride is not 0 */
    int open;
} album;

static uint8_t sample_of(const album *a, size_t index, size_t x, size_t y, size_t channel)
{
    const size_t c = a->grey ? 0 : channel;
    return (uint8_t)((x * (2 + index) + y * (3 + c) + (x * y * (c + 1)) / 16 + 40 * c) % 200 + 20);
}

static void put_pixel(const album *a, size_t index, size_t x, size_t y, uint8_t *to)
{
    uint8_t rgb[3];
    const uint16_t wide = (uint16_t)(sample_of(a, index, x, y, 0) * 257u);
    for (size_t c = 0; c < 3; c++) rgb[c] = sample_of(a, index, x, y, c);
    const bool swapped = a->format == CZ_BGR8 || a->format == CZ_BGRA8;
    if (a->format == CZ_GRAY8) {
        *to = rgb[0];
    } else if (a->format == CZ_GRAY16) {
        memcpy(to, &wide, sizeof wide);
    } else {
        for (size_t c = 0; c < 3; c++) to[c] = rgb[swapped ? 2 - c : c];
        if (a->format == CZ_RGBA8 || a->format == CZ_BGRA8) to[3] = (uint8_t)(x + 7 * y);
    }
}

static cz_status load_album(void *ctx, size_t index, cz_image *out)
{
    static const size_t pixel[] = {1, 2, 3, 3, 4, 4};
    album *a = ctx;
    assert_true(index < PHOTOS);
    assert_int_equal(a->open, 0); /* there is one at a time */
    a->open++;
    if (a->given.width + a->given.stride > 0) {
        *out = a->given;
        return CZ_OK;
    }
    const size_t bytes = pixel[a->format], stride = WIDE * bytes + 4;
    for (size_t y = 0; y < HIGH; y++)
        for (size_t x = 0; x < WIDE; x++) put_pixel(a, index, x, y, a->bytes + y * stride + x * bytes);
    *out = (cz_image){a->bytes, WIDE, HIGH, stride, a->format};
    return CZ_OK;
}

static void release_album(void *ctx, size_t index, cz_image *image)
{
    (void)index;
    (void)image;
    ((album *)ctx)->open--;
}

static const char *album_name(void *ctx, size_t index)
{
    static const char *const names[PHOTOS] = {"first", "second", "third", "fourth"};
    (void)ctx;
    return names[index];
}

/* All photos but the second, which could not be read. */
typedef struct drawing {
    album album;
    cz_image_source photos;
    cz_feature_item items[PHOTOS - 1];
    cz_feature_set set;
    cz_prep prep;
    cz_defective d;
} drawing;

static drawing *draw_album(cz_pixel_format format, bool grey, size_t copies, uint64_t seed)
{
    drawing *p = calloc(1, sizeof *p);
    p->album.format = format;
    p->album.grey = grey;
    p->photos = (cz_image_source)CZ_IMAGE_SOURCE_INIT;
    p->photos.count = PHOTOS;
    p->photos.load = load_album;
    p->photos.release = release_album;
    p->photos.name = album_name;
    p->photos.ctx = &p->album;
    p->photos.concurrent = 1;
    for (size_t i = 0; i < PHOTOS - 1; i++) p->items[i].source = i == 0 ? 0 : i + 1;
    p->set = (cz_feature_set){.count = PHOTOS - 1, .items = p->items, .file = -1};
    assert_int_equal(cz_prep_init(INPUT, INPUT, CZ_FIT_SQUASH, 0, NULL, NULL, &p->prep), CZ_OK);
    const cz_defective_options o = {.photos = &p->photos,
                                    .set = &p->set,
                                    .copies = copies,
                                    .seed = seed,
                                    .prep = &p->prep,
                                    .grid_w = GRID,
                                    .grid_h = GRID};
    assert_int_equal(cz_defective_draw(&o, &p->d), CZ_OK);
    return p;
}

static void drop(drawing *p)
{
    assert_int_equal(p->album.open, 0);
    cz_defective_free(&p->d);
    cz_prep_free(&p->prep);
    free(p);
}

/* rgb: [HIGH, WIDE, 3] */
static void take(drawing *p, size_t index, uint8_t *rgb, uint8_t kinds[CELLS])
{
    cz_image image;
    if (p->d.source.load(p->d.source.ctx, index, &image) != CZ_OK) fail_msg("%s", cz_last_error());
    assert_int_equal(image.format, CZ_RGB8);
    assert_int_equal(image.width, WIDE);
    assert_int_equal(image.height, HIGH);
    assert_int_equal(image.stride, 3 * WIDE);
    memcpy(rgb, image.data, WIDE * HIGH * 3);
    memcpy(kinds, p->d.kind + index * CELLS, CELLS);
    p->d.source.release(p->d.source.ctx, index, &image);
}

static bool same(drawing *a, size_t i, drawing *b, size_t j)
{
    static uint8_t one[WIDE * HIGH * 3], two[WIDE * HIGH * 3];
    uint8_t kinds[2][CELLS];
    take(a, i, one, kinds[0]);
    take(b, j, two, kinds[1]);
    const bool equal = memcmp(one, two, sizeof one) == 0;
    if (equal) assert_memory_equal(kinds[0], kinds[1], CELLS);
    return equal;
}

static void test_formats(void **state)
{
    (void)state;
    static const cz_pixel_format colours[] = {CZ_BGR8, CZ_RGBA8, CZ_BGRA8}, greys[] = {CZ_GRAY8, CZ_GRAY16, CZ_BGRA8};
    for (int grey = 0; grey < 2; grey++) {
        drawing *rgb = draw_album(CZ_RGB8, grey != 0, 2, 3);
        for (size_t f = 0; f < 3; f++) {
            drawing *other = draw_album(grey ? greys[f] : colours[f], grey != 0, 2, 3);
            for (size_t i = 0; i < 6; i++)
                if (!same(rgb, i, other, i)) fail_msg("format %d, picture %zu", other->album.format, i);
            drop(other);
        }
        drop(rgb);
    }
}

/* Seed and number of a copy say what is drawn on it, not how many copies there are. */
static void test_seeds(void **state)
{
    (void)state;
    drawing *a = draw_album(CZ_RGB8, false, 2, 3), *b = draw_album(CZ_RGB8, false, 2, 3);
    drawing *many = draw_album(CZ_RGB8, false, 5, 3), *other = draw_album(CZ_RGB8, false, 2, 4);
    assert_int_equal(a->d.source.count, 6);
    assert_int_equal(many->d.source.count, 15);
    for (size_t i = 6; i-- > 0;) { /* in any order */
        assert_true(same(a, i, b, i));
        assert_true(same(a, i, many, i / 2 * 5 + i % 2));
        assert_false(same(a, i, other, i));
        assert_false(same(a, i, a, i ^ 1));
    }
    drop(a);
    drop(b);
    drop(many);
    drop(other);
}

/* Names are those of the photos, also where one is missing; patches that are not as in the photo are anomalous or mixed. */
static void test_drawn(void **state)
{
    (void)state;
    enum { COPIES = 8 };
    static const char *const names[] = {"first", "third", "fourth"};
    static uint8_t rgb[WIDE * HIGH * 3];
    uint8_t kinds[CELLS];
    drawing *p = draw_album(CZ_RGB8, false, COPIES, 11);
    size_t shown = 0, anomalous = 0, normal = 0;
    assert_int_equal(p->d.source.concurrent, 0);
    for (size_t i = 0; i < p->d.source.count; i++) {
        size_t changed[CELLS] = {0}, own = 0;
        assert_string_equal(p->d.source.name(p->d.source.ctx, i), names[i / COPIES]);
        take(p, i, rgb, kinds);
        for (size_t at = 0; at < WIDE * HIGH; at++) {
            const size_t x = at % WIDE, y = at / WIDE, source = p->items[i / COPIES].source;
            for (size_t c = 0; c < 3; c++)
                if (rgb[3 * at + c] != sample_of(&p->album, source, x, y, c)) {
                    changed[y * GRID / HIGH * GRID + x * GRID / WIDE]++;
                    break;
                }
        }
        for (size_t c = 0; c < CELLS; c++) {
            assert_true(kinds[c] == NORMAL || kinds[c] == ANOMALOUS || kinds[c] == CZ_DEFECTIVE_MIXED);
            if (kinds[c] == ANOMALOUS && changed[c] * 4 < WIDE * HIGH / CELLS)
                fail_msg("picture %zu: patch %zu with %zu changed pixels", i, c, changed[c]);
            own += kinds[c] == ANOMALOUS;
            normal += kinds[c] == NORMAL;
        }
        anomalous += own;
        shown += own > 0;
    }
    assert_true(shown * 4 > p->d.source.count); /* many show their defect in a whole patch of this coarse grid */
    assert_true(normal > anomalous);
    drop(p);
}

static void test_drawn_refused(void **state)
{
    (void)state;
    cz_image image;
    drawing *p = draw_album(CZ_RGB8, false, 1, 1);
    uint8_t *bytes = p->album.bytes;
    const cz_image wrong[] = {{NULL, WIDE, HIGH, 3 * WIDE, CZ_RGB8},
                              {bytes, WIDE, 0, 3 * WIDE, CZ_RGB8},
                              {bytes, 0, HIGH, 3 * WIDE, CZ_RGB8},
                              {bytes, WIDE, HIGH, 3 * WIDE - 1, CZ_RGB8},
                              {bytes, WIDE, HIGH, 2 * WIDE - 1, CZ_GRAY16},
                              {bytes, WIDE, HIGH, 4 * WIDE, 6},
                              {bytes, WIDE, HIGH, 4 * WIDE, -1},
                              {bytes, 15, 64, 45, CZ_RGB8},
                              {bytes, 64, 15, 192, CZ_RGB8}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        p->album.given = wrong[i];
        if (p->d.source.load(p->d.source.ctx, 0, &image) != CZ_E_ARG) fail_msg("case %zu", i);
        assert_int_equal(p->album.open, 0);
    }
    p->album.given = (cz_image){bytes, 16, 16, 48, CZ_RGB8};
    assert_int_equal(p->d.source.load(p->d.source.ctx, 0, &image), CZ_OK);
    p->d.source.release(p->d.source.ctx, 0, &image);
    cz_defective_options o = p->d.options;
    cz_defective none;
    o.copies = 65;
    assert_int_equal(cz_defective_draw(&o, &none), CZ_E_ARG);
    p->photos.name = NULL;
    o.copies = 64;
    assert_int_equal(cz_defective_draw(&o, &none), CZ_OK);
    assert_null(none.source.name);
    assert_int_equal(none.source.count, 64 * (PHOTOS - 1));
    cz_defective_free(&none);
    drop(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_shares),  cmocka_unit_test(test_fits),
                                       cmocka_unit_test(test_masks),   cmocka_unit_test(test_masks_refused),
                                       cmocka_unit_test(test_formats), cmocka_unit_test(test_seeds),
                                       cmocka_unit_test(test_drawn),   cmocka_unit_test(test_drawn_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
