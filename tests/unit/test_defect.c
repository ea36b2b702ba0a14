/* SPDX-License-Identifier: Apache-2.0 */
#include "negatives/blur.h"
#include "negatives/defect.h"
#include "negatives/defect_shape.h"
#include "util/alloc.h"
#include "util/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SIDE = 128, TEXTURE_WIDTH = 90, TEXTURE_HEIGHT = 70, SEEDS = 200 };

typedef struct scene {
    size_t height, width;
    uint8_t *before, *after; /* [height, width, 3] */
    uint8_t *mask;           /* [height, width] */
} scene;

/* Stripes and a disc with some noise, in colour or in grey. */
static void paint(uint8_t *rgb, size_t height, size_t width, uint64_t seed, bool grey)
{
    cz_rng rng;
    cz_rng_init(&rng, seed, CZ_RNG_TEST, 1, 0);
    for (size_t y = 0; y < height; y++) {
        for (size_t x = 0; x < width; x++) {
            const double dx = (double)x / (double)width - 0.5, dy = (double)y / (double)height - 0.4;
            const double base = dx * dx + dy * dy < 0.09 ? 60.0 : 150.0 + 40.0 * sin(20.0 * (dx + dy));
            uint8_t *at = rgb + (y * width + x) * 3;
            for (int k = 0; k < 3; k++)
                at[k] = grey && k > 0 ? at[0] : (uint8_t)(base + 12.0 * k + 8.0 * cz_rng_uniform(&rng));
        }
    }
}

static scene scene_create(size_t height, size_t width, bool grey)
{
    scene s = {height, width, malloc(height * width * 3), malloc(height * width * 3), malloc(height * width)};
    assert_non_null(s.before);
    assert_non_null(s.after);
    assert_non_null(s.mask);
    paint(s.before, height, width, 5, grey);
    memset(s.mask, 77, height * width);
    return s;
}

static void scene_free(scene *s)
{
    free(s->before);
    free(s->after);
    free(s->mask);
}

static const uint8_t *texture(void)
{
    static uint8_t pixels[TEXTURE_HEIGHT * TEXTURE_WIDTH * 3];
    cz_rng rng;
    cz_rng_init(&rng, 6, CZ_RNG_TEST, 2, 0);
    for (size_t i = 0; i < sizeof pixels; i++) pixels[i] = (uint8_t)cz_rng_u32(&rng);
    return pixels;
}

static cz_defect_options options_of(uint64_t seed, uint64_t index, bool textured)
{
    return (cz_defect_options){.seed = seed,
                               .index = index,
                               .texture = textured ? texture() : NULL,
                               .texture_height = TEXTURE_HEIGHT,
                               .texture_width = TEXTURE_WIDTH};
}

static cz_defect draw(scene *s, const cz_defect_options *options)
{
    cz_defect defect;
    memcpy(s->after, s->before, s->height * s->width * 3);
    assert_int_equal(cz_defect_draw(options, s->height, s->width, s->after, s->mask, &defect), CZ_OK);
    return defect;
}

static int change_at(const scene *s, size_t pixel)
{
    int most = 0;
    for (size_t k = 0; k < 3; k++) {
        const int change = abs(s->after[3 * pixel + k] - s->before[3 * pixel + k]);
        most = change > most ? change : most;
    }
    return most;
}

/* Mask, picture and the shape drawn once more agree pixel by pixel. */
static void check_pixels(const scene *s, const cz_defect_options *options, const cz_defect *defect)
{
    const cz_defect_try attempt = {options->seed, options->index, defect->attempt};
    cz_defect_shape shape;
    cz_soft_mask soft;
    assert_int_equal(cz_defect_shape_draw(&attempt, s->height, s->width, &shape, &soft), CZ_OK);
    assert_int_equal(shape, defect->shape);
    assert_true(soft.x == defect->x && soft.y == defect->y);
    assert_true(soft.width == defect->width && soft.height == defect->height);
    assert_true(defect->x + defect->width <= s->width && defect->y + defect->height <= s->height);
    size_t area = 0, sum = 0;
    for (size_t i = 0; i < s->height * s->width; i++) {
        /* What is left of the box wraps around to a large number. */
        const size_t x = i % s->width - soft.x, y = i / s->width - soft.y;
        const float covered = x < soft.width && y < soft.height ? soft.value[y * soft.width + x] : 0.0f;
        const int change = change_at(s, i);
        assert_true(covered >= 0.0f && covered <= 1.0f);
        if (covered == 0.0f) assert_int_equal(change, 0);
        assert_int_equal(s->mask[i], covered > 0.3f && change > 6 ? 255 : 0);
        area += s->mask[i] != 0;
        sum += s->mask[i] != 0 ? (size_t)change : 0;
    }
    assert_int_equal(area, defect->area);
    assert_true(area >= 6 && sum > 10 * area);
    cz_soft_mask_free(&soft);
}

static void check_untouched(const scene *s, const cz_defect *defect)
{
    assert_true(!defect->changed && defect->attempt == 0 && defect->area == 0);
    assert_true(defect->x == 0 && defect->y == 0 && defect->width == 0 && defect->height == 0);
    assert_true((int)defect->shape == 0 && (int)defect->filling == 0);
    assert_memory_equal(s->before, s->after, s->height * s->width * 3);
    for (size_t i = 0; i < s->height * s->width; i++) assert_int_equal(s->mask[i], 0);
}

static void mask_and_picture_agree(void **state)
{
    (void)state;
    scene s = scene_create(SIDE, SIDE, false);
    int shapes[CZ_DEFECT_SHAPES] = {0}, fillings[CZ_DEFECT_FILLINGS] = {0};
    size_t changed = 0, smallest = SIZE_MAX, largest = 0;
    double share = 0.0;
    for (uint64_t i = 0; i < SEEDS; i++) {
        const cz_defect_options options = options_of(3 + i, 7 * i, true);
        const cz_defect defect = draw(&s, &options);
        if (!defect.changed) {
            check_untouched(&s, &defect);
            continue;
        }
        check_pixels(&s, &options, &defect);
        shapes[defect.shape]++;
        fillings[defect.filling]++;
        changed++;
        smallest = defect.area < smallest ? defect.area : smallest;
        largest = defect.area > largest ? defect.area : largest;
        share += (double)defect.area / (SIDE * SIDE);
    }
    assert_true(changed >= SEEDS - 2);
    for (int i = 0; i < CZ_DEFECT_SHAPES; i++) assert_in_range(shapes[i], SEEDS / 12, SEEDS / 2);
    for (int i = 0; i < CZ_DEFECT_FILLINGS; i++) assert_in_range(fillings[i], SEEDS / 20, SEEDS / 2);
    assert_true(smallest < SIDE * SIDE / 400);
    assert_in_range(largest, SIDE * SIDE / 50, SIDE * SIDE / 5);
    assert_true(share / (double)changed > 0.003 && share / (double)changed < 0.03);
    scene_free(&s);
}

static void same_seed_same_defect(void **state)
{
    (void)state;
    scene a = scene_create(SIDE, SIDE, false), b = scene_create(SIDE, SIDE, false);
    size_t different = 0;
    for (uint64_t i = 0; i < 20; i++) {
        const cz_defect_options options = options_of(11, i, true), other = options_of(12, i, true);
        const cz_defect first = draw(&a, &options);
        const cz_defect second = draw(&b, &options);
        assert_memory_equal(a.after, b.after, SIDE * SIDE * 3);
        assert_memory_equal(a.mask, b.mask, SIDE * SIDE);
        assert_int_equal(first.shape, second.shape);
        assert_int_equal(first.filling, second.filling);
        assert_int_equal(first.area, second.area);
        (void)draw(&b, &other);
        different += memcmp(a.mask, b.mask, SIDE * SIDE) != 0;
        const cz_defect_options next = options_of(11, i + 1, true);
        (void)draw(&b, &next);
        different += memcmp(a.mask, b.mask, SIDE * SIDE) != 0;
    }
    assert_int_equal(different, 40);
    scene_free(&a);
    scene_free(&b);
}

static void grey_stays_grey(void **state)
{
    (void)state;
    scene s = scene_create(SIDE, SIDE, true);
    int fillings[CZ_DEFECT_FILLINGS] = {0};
    for (uint64_t i = 0; i < 80; i++) {
        const cz_defect_options options = options_of(21, i, true);
        const cz_defect defect = draw(&s, &options);
        fillings[defect.filling] += defect.changed;
        for (size_t p = 0; p < SIDE * SIDE; p++) {
            assert_int_equal(s.after[3 * p], s.after[3 * p + 1]);
            assert_int_equal(s.after[3 * p], s.after[3 * p + 2]);
        }
    }
    for (int i = 0; i < CZ_DEFECT_FILLINGS; i++) assert_true(fillings[i] > 0);
    scene_free(&s);
}

static void any_size(void **state)
{
    (void)state;
    static const size_t sizes[][2] = {{16, 16}, {17, 16}, {16, 33}, {19, 61}, {501, 16}, {16, 1500}, {97, 211}};
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        scene s = scene_create(sizes[k][0], sizes[k][1], k % 2 == 1);
        size_t changed = 0;
        for (uint64_t i = 0; i < 40; i++) {
            const cz_defect_options options = options_of(31, i, i % 2 == 0);
            const cz_defect defect = draw(&s, &options);
            if (defect.changed)
                check_pixels(&s, &options, &defect);
            else
                check_untouched(&s, &defect);
            if (options.texture == NULL && defect.changed) assert_int_not_equal(defect.filling, CZ_DEFECT_TEXTURE);
            changed += defect.changed;
        }
        assert_true(changed >= 35);
        scene_free(&s);
    }
}

/* On black, neither the picture itself nor a black texture shows. */
static void black(void **state)
{
    (void)state;
    static const uint8_t black_texture[3];
    scene s = scene_create(64, 64, false);
    memset(s.before, 0, 64 * 64 * 3);
    for (uint64_t i = 0; i < 40; i++) {
        cz_defect_options options = options_of(41, i, true);
        options.texture = black_texture;
        options.texture_height = options.texture_width = 1;
        const cz_defect defect = draw(&s, &options);
        if (defect.changed) {
            assert_true(defect.filling == CZ_DEFECT_COLOUR || defect.filling == CZ_DEFECT_TONE);
            check_pixels(&s, &options, &defect);
        } else {
            check_untouched(&s, &defect);
        }
    }
    scene_free(&s);
}

/* A defect takes the same share of a picture four times as wide and high. */
static void sizes_scale(void **state)
{
    (void)state;
    double area[2] = {0.0, 0.0};
    for (size_t k = 0; k < 2; k++) {
        const size_t side = 64 << (2 * k);
        for (uint64_t i = 0; i < 100; i++) {
            const cz_defect_try attempt = {51, i, 0};
            cz_defect_shape shape;
            cz_soft_mask soft;
            assert_int_equal(cz_defect_shape_draw(&attempt, side, side, &shape, &soft), CZ_OK);
            for (size_t p = 0; p < soft.width * soft.height; p++)
                area[k] += (double)soft.value[p] / (double)(side * side);
            cz_soft_mask_free(&soft);
        }
    }
    assert_true(area[1] > 0.7 * area[0] && area[1] < 1.3 * area[0]);
}

/* Of the noise a tenth at most, within a disc of 3 to 38 per cent of the picture: 0.6 per cent of it on average. */
static void spots_are_peaks(void **state)
{
    (void)state;
    double share = 0.0;
    size_t drawn = 0;
    for (uint64_t i = 0; i < 800; i++) {
        const cz_defect_try attempt = {71, i, 0};
        cz_defect_shape shape;
        cz_soft_mask soft;
        assert_int_equal(cz_defect_shape_draw(&attempt, 64, 96, &shape, &soft), CZ_OK);
        double sum = 0.0;
        for (size_t p = 0; p < soft.width * soft.height; p++) sum += (double)soft.value[p] / (64 * 96);
        cz_soft_mask_free(&soft);
        if (shape != CZ_DEFECT_SPOTS) continue;
        assert_true(sum < 0.11);
        share += sum;
        drawn++;
    }
    assert_in_range(drawn, 150, 250);
    assert_true(share > 0.003 * (double)drawn && share < 0.010 * (double)drawn);
}

/* A point becomes a bump of the asked variance and of its own sum; what is constant stays. */
static void blur(void **state)
{
    (void)state;
    enum { WIDTH = 121, HEIGHT = 95, X = 60, Y = 47 };
    static const double sigmas[] = {0.3, 0.5, 1.0, 2.7, 9.0};
    static float values[HEIGHT * WIDTH * 2];
    for (size_t k = 0; k < sizeof sigmas / sizeof *sigmas; k++) {
        for (size_t i = 0; i < (size_t)HEIGHT * WIDTH; i++) {
            values[2 * i] = 0.0f;
            values[2 * i + 1] = 42.0f;
        }
        values[2 * (Y * WIDTH + X)] = 1.0f;
        assert_int_equal(cz_blur(values, HEIGHT, WIDTH, 2, sigmas[k]), CZ_OK);
        double sum = 0.0, xx = 0.0, yy = 0.0;
        for (int y = 0; y < HEIGHT; y++) {
            for (int x = 0; x < WIDTH; x++) {
                const double v = (double)values[2 * (y * WIDTH + x)];
                const int reach = (int)cz_blur_reach(sigmas[k]);
                if (abs(x - X) > reach || abs(y - Y) > reach) assert_true(fabs(v) < 1e-7);
                assert_true(fabs((double)values[2 * (y * WIDTH + x) + 1] - 42.0) < 1e-3);
                sum += v;
                xx += v * (x - X) * (x - X);
                yy += v * (y - Y) * (y - Y);
            }
        }
        const double variance = sigmas[k] * sigmas[k];
        assert_true(fabs(sum - 1.0) < 1e-4);
        assert_true(fabs(xx - variance) < 0.01 * variance && fabs(yy - variance) < 0.01 * variance);
    }
}

static void refuses(const cz_defect_options *options, size_t height, size_t width)
{
    static uint8_t rgb[32 * 32 * 3], mask[32 * 32];
    cz_defect defect;
    cz_error_clear();
    assert_int_equal(cz_defect_draw(options, height, width, rgb, mask, &defect), CZ_E_ARG);
    assert_true(strlen(cz_last_error()) > 0);
}

static void arguments(void **state)
{
    (void)state;
    cz_defect_options options = options_of(1, 1, false);
    refuses(&options, 15, 32);
    refuses(&options, 32, 15);
    refuses(&options, 0, 0);
    refuses(&options, 16385, 32);
    refuses(&options, 32, 16385);
    options.index = (uint64_t)1 << 48;
    refuses(&options, 32, 32);
    options = options_of(1, 1, true);
    options.texture_width = 0;
    refuses(&options, 32, 32);
    options = options_of(1, 1, true);
    options.texture_height = 65536;
    refuses(&options, 32, 32);
}

/* Every allocation fails once: the picture and the mask are as they were, and nothing leaks. */
static void out_of_memory(void **state)
{
    (void)state;
    scene s = scene_create(48, 40, false);
    size_t failures = 0;
    for (uint64_t i = 0; i < 40; i++) {
        const cz_defect_options options = options_of(61, i, true);
        for (unsigned long n = 1;; n++) {
            cz_defect defect;
            memcpy(s.after, s.before, 48 * 40 * 3);
            memset(s.mask, 77, 48 * 40);
            cz_alloc_fail_after(n);
            const cz_status status = cz_defect_draw(&options, 48, 40, s.after, s.mask, &defect);
            cz_alloc_fail_after(0);
            cz_error_clear();
            if (status == CZ_OK) break;
            assert_int_equal(status, CZ_E_MEMORY);
            assert_memory_equal(s.before, s.after, 48 * 40 * 3);
            for (size_t p = 0; p < 48 * 40; p++) assert_int_equal(s.mask[p], 77);
            failures++;
        }
    }
    assert_true(failures > 100);
    scene_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mask_and_picture_agree),
        cmocka_unit_test(same_seed_same_defect),
        cmocka_unit_test(grey_stays_grey),
        cmocka_unit_test(any_size),
        cmocka_unit_test(black),
        cmocka_unit_test(sizes_scale),
        cmocka_unit_test(spots_are_peaks),
        cmocka_unit_test(blur),
        cmocka_unit_test(arguments),
        cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
