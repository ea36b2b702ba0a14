/* SPDX-License-Identifier: Apache-2.0 */
/* Preprocessing: fits, regions, pixel formats, ignore masks, normalisation, and what is refused. */
#include "features/preprocess.h"

#include "util/alloc.h"
#include "util/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const float mean[3] = {123.675f, 116.28f, 103.53f}, deviation[3] = {58.395f, 57.12f, 57.375f};

static uint8_t noise(uint64_t seed, size_t i)
{
    return (uint8_t)(int)(128.0f + 127.0f * cz_hash_uniform(seed, i));
}

/* An image in any format, with bytes after each row, made from one RGB picture. */
typedef struct sample {
    cz_image image;
    uint8_t *pixels;
} sample;

static sample make(size_t w, size_t h, cz_pixel_format format)
{
    static const size_t sizes[6] = {1, 2, 3, 3, 4, 4};
    const size_t bytes = sizes[format], stride = w * bytes + 5;
    sample s = {{NULL, w, h, stride, format}, calloc(h, stride)};
    for (size_t y = 0; y < h; y++)
        for (size_t x = 0; x < w; x++) {
            const size_t i = (y * w + x) * 3;
            const uint8_t rgb[4] = {noise(1, i), noise(1, i + 1), noise(1, i + 2), noise(2, i)};
            uint8_t *p = s.pixels + y * stride + x * bytes;
            const uint16_t wide = (uint16_t)(rgb[0] * 257 - (rgb[0] > 0 && rgb[0] < 255 ? 100 : 0));
            if (format == CZ_GRAY16)
                memcpy(p, &wide, 2);
            else
                for (size_t c = 0; c < bytes; c++)
                    p[c] = format == CZ_BGR8 || format == CZ_BGRA8 ? (c == 3 ? rgb[3] : rgb[2 - c]) : rgb[c];
        }
    s.image.data = s.pixels;
    return s;
}

static void formats(void **state)
{
    (void)state;
    cz_prep prep;
    cz_geometry g;
    assert_int_equal(cz_prep_init(24, 20, CZ_FIT_SQUASH, 0, NULL, NULL, &prep), CZ_OK);
    uint8_t expected[24 * 20 * 3], rgb[24 * 20 * 3], gray[24 * 20];
    sample base = make(61, 47, CZ_RGB8);
    assert_int_equal(cz_resize_bilinear(base.pixels, 61, 47, base.image.stride, 3, 24, 20, expected), CZ_OK);
    const cz_pixel_format colour[4] = {CZ_RGB8, CZ_BGR8, CZ_RGBA8, CZ_BGRA8};
    for (size_t f = 0; f < 4; f++) {
        sample s = make(61, 47, colour[f]);
        assert_int_equal(cz_prep_image(&prep, &s.image, mean, rgb, &g), CZ_OK);
        assert_memory_equal(rgb, expected, sizeof rgb);
        free(s.pixels);
    }
    /* 16 bits: (v * 255 + 32767) / 65535 brings 257 b - 100 back to b, so both grays are equal */
    sample s8 = make(61, 47, CZ_GRAY8), s16 = make(61, 47, CZ_GRAY16);
    assert_int_equal(cz_resize_bilinear(s8.pixels, 61, 47, s8.image.stride, 1, 24, 20, gray), CZ_OK);
    for (int wide = 0; wide < 2; wide++) {
        assert_int_equal(cz_prep_image(&prep, wide ? &s16.image : &s8.image, mean, rgb, &g), CZ_OK);
        for (size_t i = 0; i < sizeof rgb; i++) assert_int_equal(rgb[i], gray[i / 3]);
    }
    free(base.pixels);
    free(s8.pixels);
    free(s16.pixels);
    cz_prep_free(&prep);
}

static void regions(void **state)
{
    (void)state;
    const cz_roi roi = {10, 20, 1000, 12}; /* clipped on the right */
    cz_prep prep;
    cz_geometry g;
    uint8_t expected[16 * 16 * 3], rgb[16 * 16 * 3];
    sample s = make(61, 47, CZ_RGB8);
    assert_int_equal(cz_prep_init(16, 16, CZ_FIT_SQUASH, 0, &roi, NULL, &prep), CZ_OK);
    assert_int_equal(cz_prep_image(&prep, &s.image, mean, rgb, &g), CZ_OK);
    assert_int_equal(g.region.x, 10);
    assert_int_equal(g.region.y, 20);
    assert_int_equal(g.region.width, 51);
    assert_int_equal(g.region.height, 12);
    assert_int_equal(
        cz_resize_bilinear(s.pixels + 20 * s.image.stride + 30, 51, 12, s.image.stride, 3, 16, 16, expected), CZ_OK);
    assert_memory_equal(rgb, expected, sizeof rgb);
    assert_true(fabs(g.step_x - 51.0 / 16) < 1e-12 && fabs(g.origin_x - (10 + 51.0 / 32 - 0.5)) < 1e-12);
    const cz_roi outside[2] = {{61, 0, 5, 5}, {0, 47, 5, 5}};
    for (size_t i = 0; i < 2; i++) {
        prep.roi = outside[i];
        assert_int_equal(cz_prep_image(&prep, &s.image, mean, rgb, &g), CZ_E_ARG);
        assert_non_null(strstr(cz_last_error(), "region"));
    }
    free(s.pixels);
    cz_prep_free(&prep);
}

static void letterbox(void **state)
{
    (void)state;
    cz_prep prep;
    cz_geometry g;
    static uint8_t rgb[64 * 48 * 3], content[64 * 48 * 3];
    static float in[64 * 48 * 3];
    uint8_t valid[8 * 6];
    sample s = make(200, 50, CZ_RGB8);
    assert_int_equal(cz_prep_init(64, 48, CZ_FIT_LETTERBOX, 0, NULL, NULL, &prep), CZ_OK);
    assert_int_equal(cz_prep_image(&prep, &s.image, mean, rgb, &g), CZ_OK);
    assert_int_equal(g.content_w, 64);
    assert_int_equal(g.content_h, 16);
    assert_int_equal(g.content_x, 0);
    assert_int_equal(g.content_y, 16);
    assert_int_equal(cz_resize_bilinear(s.pixels, 200, 50, s.image.stride, 3, 64, 16, content), CZ_OK);
    assert_memory_equal(rgb + 16 * 64 * 3, content, 64 * 16 * 3);
    assert_int_equal(rgb[0], 124);
    assert_int_equal(rgb[1], 116);
    assert_int_equal(rgb[2], 104);
    assert_memory_equal(rgb + 47 * 64 * 3, rgb, 64 * 3);
    cz_prep_normalise(&prep, &g, rgb, mean, deviation, in);
    for (size_t i = 0; i < 64 * 48 * 3; i++) {
        const size_t y = i / (64 * 3);
        const float expected = y < 16 || y >= 32 ? 0.0f : ((float)rgb[i] - mean[i % 3]) / deviation[i % 3];
        assert_true(in[i] == expected);
    }
    cz_prep_valid(&prep, &g, 8, 6, valid);
    for (size_t i = 0; i < 48; i++) assert_int_equal(valid[i], i / 8 == 2 || i / 8 == 3);
    free(s.pixels);
    /* portrait, so narrow that the content is one pixel wide; its cell is mostly padding */
    s = make(1, 500, CZ_GRAY8);
    assert_int_equal(cz_prep_image(&prep, &s.image, mean, rgb, &g), CZ_OK);
    assert_int_equal(g.content_w, 1);
    assert_int_equal(g.content_h, 48);
    cz_prep_normalise(&prep, &g, rgb, mean, deviation, in);
    assert_true(in[(g.content_x - 1) * 3] == 0.0f && in[(g.content_x + 1) * 3] == 0.0f && in[g.content_x * 3] != 0.0f);
    cz_prep_valid(&prep, &g, 8, 6, valid);
    for (size_t i = 0; i < 48; i++) assert_int_equal(valid[i], 0);
    free(s.pixels);
    cz_prep_free(&prep);
}

/* Sizes and offsets of torchvision's Resize(short side) and CenterCrop, worked out by their rules. */
static void crop(void **state)
{
    (void)state;
    static const size_t cases[][8] = {
        /* width, height, resize, crop, resized width, resized height, left, top */
        {100, 75, 41, 32, 54, 41, 11, 4}, /* int(41 * 100 / 75) = 54; (41 - 32) / 2 = 4.5 -> 4 */
        {75, 100, 43, 32, 43, 57, 6, 12}, /* 5.5 -> 6; 12.5 -> 12 */
        {64, 64, 35, 32, 35, 35, 2, 2},   /* 1.5 -> 2 */
        {64, 64, 33, 32, 33, 33, 0, 0},   /* 0.5 -> 0 */
        {50, 50, 50, 32, 50, 50, 9, 9},   {700, 3, 32, 32, 7466, 32, 3717, 0},
    };
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        const size_t w = cases[n][0], h = cases[n][1], size = cases[n][3], rw = cases[n][4], rh = cases[n][5];
        cz_prep prep;
        cz_geometry g;
        sample s = make(w, h, CZ_RGB8);
        uint8_t *rgb = malloc(size * size * 3), *whole = malloc(rw * rh * 3);
        assert_int_equal(cz_prep_init(size, size, CZ_FIT_CROP, cases[n][2], NULL, NULL, &prep), CZ_OK);
        assert_int_equal(cz_prep_image(&prep, &s.image, mean, rgb, &g), CZ_OK);
        assert_int_equal(cz_resize_bilinear(s.pixels, w, h, s.image.stride, 3, rw, rh, whole), CZ_OK);
        for (size_t y = 0; y < size; y++)
            assert_memory_equal(rgb + y * size * 3, whole + ((cases[n][7] + y) * rw + cases[n][6]) * 3, size * 3);
        assert_int_equal(g.content_w, size);
        const double step = (double)w / (double)rw;
        assert_true(fabs(g.step_x - step) < 1e-12);
        assert_true(fabs(g.origin_x - (((double)cases[n][6] + 0.5) * step - 0.5)) < 1e-9);
        cz_prep_free(&prep);
        free(s.pixels);
        free(rgb);
        free(whole);
    }
}

/* A cut larger than the resized image is padded around it. */
static void crop_with_padding(void **state)
{
    (void)state;
    cz_prep prep;
    cz_geometry g;
    uint8_t rgb[32 * 32 * 3], valid[16];
    sample s = make(40, 20, CZ_GRAY8);
    assert_int_equal(cz_prep_init(32, 32, CZ_FIT_CROP, 15, NULL, NULL, &prep), CZ_OK);
    assert_int_equal(cz_prep_image(&prep, &s.image, mean, rgb, &g), CZ_OK);
    assert_int_equal(g.content_x, 1);
    assert_int_equal(g.content_w, 30);
    assert_int_equal(g.content_y, 8);
    assert_int_equal(g.content_h, 15);
    assert_int_equal(rgb[0], 124);
    cz_prep_valid(&prep, &g, 4, 4, valid);
    for (size_t i = 0; i < 16; i++) assert_int_equal(valid[i], i / 4 == 1 || i / 4 == 2);
    free(s.pixels);
    cz_prep_free(&prep);
    assert_int_equal(cz_prep_init(20, 32, CZ_FIT_CROP, 0, NULL, NULL, &prep), CZ_OK);
    assert_int_equal(prep.resize, 20);
    cz_prep_free(&prep);
}

static void normalise(void **state)
{
    (void)state;
    cz_prep prep;
    cz_geometry g;
    for (size_t w = 1; w < 40; w++) {
        sample s = make(w, 3, CZ_RGB8);
        uint8_t rgb[40 * 3 * 3];
        float in[40 * 3 * 3];
        assert_int_equal(cz_prep_init(w, 3, CZ_FIT_SQUASH, 0, NULL, NULL, &prep), CZ_OK);
        assert_int_equal(cz_prep_image(&prep, &s.image, mean, rgb, &g), CZ_OK);
        cz_prep_normalise(&prep, &g, rgb, mean, deviation, in);
        for (size_t i = 0; i < w * 9; i++)
            assert_true(in[i] ==
                        ((float)s.pixels[i / (3 * w) * s.image.stride + i % (3 * w)] - mean[i % 3]) / deviation[i % 3]);
        free(s.pixels);
    }
}

static void ignore_masks(void **state)
{
    (void)state;
    /* 4x4 mask over the region; 128 and above count */
    uint8_t mask[4 * 5] = {255, 128, 127, 0, 9, 255, 255, 0, 0, 9, 0, 0, 0, 0, 9, 0, 0, 0, 200, 9};
    const cz_image image = {mask, 4, 4, 5, CZ_GRAY8};
    cz_prep prep;
    cz_geometry g;
    uint8_t rgb[32 * 32 * 3], valid[64];
    sample s = make(64, 64, CZ_GRAY8);
    assert_int_equal(cz_prep_init(32, 32, CZ_FIT_SQUASH, 0, NULL, &image, &prep), CZ_OK);
    assert_int_equal(cz_prep_image(&prep, &s.image, mean, rgb, &g), CZ_OK);
    cz_prep_valid(&prep, &g, 4, 4, valid);
    for (size_t i = 0; i < 16; i++) assert_int_equal(valid[i], mask[i / 4 * 5 + i % 4] < 128);
    cz_prep_valid(&prep, &g, 8, 8, valid);
    for (size_t i = 0; i < 64; i++) assert_int_equal(valid[i], mask[i / 16 * 5 + i % 8 / 2] < 128);
    cz_prep_valid(&prep, &g, 2, 2, valid);
    const uint8_t halves[4] = {0, 1, 1, 1};
    assert_memory_equal(valid, halves, 4);
    cz_prep_free(&prep);
    free(s.pixels);
}

static void bad_inputs(void **state)
{
    (void)state;
    cz_prep prep, good;
    cz_geometry g;
    uint8_t rgb[8 * 8 * 3], pixels[64] = {0};
    const cz_roi flat = {0, 0, 5, 0};
    const cz_image fine = {pixels, 4, 4, 12, CZ_RGB8}, colour_mask = fine;
    assert_int_equal(cz_prep_init(0, 8, CZ_FIT_SQUASH, 0, NULL, NULL, &prep), CZ_E_ARG);
    assert_int_equal(cz_prep_init(8, 70000, CZ_FIT_SQUASH, 0, NULL, NULL, &prep), CZ_E_ARG);
    assert_int_equal(cz_prep_init(8, 8, (cz_fit)7, 0, NULL, NULL, &prep), CZ_E_ARG);
    assert_int_equal(cz_prep_init(8, 8, CZ_FIT_CROP, 70000, NULL, NULL, &prep), CZ_E_ARG);
    assert_int_equal(cz_prep_init(8, 8, CZ_FIT_SQUASH, 0, &flat, NULL, &prep), CZ_E_ARG);
    assert_int_equal(cz_prep_init(8, 8, CZ_FIT_SQUASH, 0, NULL, &colour_mask, &prep), CZ_E_ARG);
    assert_int_equal(cz_prep_init(8, 8, CZ_FIT_SQUASH, 0, NULL, NULL, &good), CZ_OK);
    const cz_image bad[] = {
        {NULL, 4, 4, 12, CZ_RGB8},          {pixels, 0, 4, 12, CZ_RGB8},
        {pixels, 4, 0, 12, CZ_RGB8},        {pixels, 4, 4, 11, CZ_RGB8},
        {pixels, 4, 4, 15, CZ_RGBA8},       {pixels, 4, 4, 7, CZ_GRAY16},
        {pixels, 4, 4, 3, CZ_GRAY8},        {pixels, 4, 4, 12, (cz_pixel_format)9},
        {pixels, 4, 4, SIZE_MAX, CZ_GRAY8}, {pixels, 4, 4, SIZE_MAX / 4, CZ_GRAY8},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cz_error_clear();
        assert_int_equal(cz_prep_image(&good, &bad[i], mean, rgb, &g), CZ_E_ARG);
        assert_true(cz_last_error()[0] != '\0');
    }
    assert_int_equal(cz_prep_image(&good, NULL, mean, rgb, &g), CZ_E_ARG);
    const cz_image wide = {pixels, 65536, 1, 65536, CZ_GRAY8};
    assert_int_equal(cz_prep_image(&good, &wide, mean, rgb, &g), CZ_E_LIMIT);
    for (unsigned long n = 1; n < 100; n++) { /* every allocation fails once */
        const cz_image gray = {pixels, 3, 4, 8, CZ_GRAY16};
        cz_alloc_fail_after(n);
        const cz_status status = cz_prep_image(&good, &gray, mean, rgb, &g);
        cz_alloc_fail_after(0);
        if (status == CZ_OK) {
            assert_true(n > 8);
            return;
        }
        assert_int_equal(status, CZ_E_MEMORY);
    }
    fail();
}

static void identity(void **state)
{
    (void)state;
    uint8_t a[32], b[32];
    sample s = make(13, 7, CZ_RGB8);
    uint8_t packed[13 * 7 * 3];
    for (size_t y = 0; y < 7; y++) memcpy(packed + y * 39, s.pixels + y * s.image.stride, 39);
    const cz_image tight = {packed, 13, 7, 39, CZ_RGB8}, other = {packed, 7, 13, 21, CZ_RGB8};
    const cz_image swapped = {packed, 13, 7, 39, CZ_BGR8};
    cz_image_sha256(&s.image, a);
    cz_image_sha256(&tight, b);
    assert_memory_equal(a, b, 32);
    cz_image_sha256(&other, b);
    assert_memory_not_equal(a, b, 32);
    cz_image_sha256(&swapped, b);
    assert_memory_not_equal(a, b, 32);
    free(s.pixels);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formats),      cmocka_unit_test(regions),           cmocka_unit_test(letterbox),
        cmocka_unit_test(crop),         cmocka_unit_test(crop_with_padding), cmocka_unit_test(normalise),
        cmocka_unit_test(ignore_masks), cmocka_unit_test(bad_inputs),        cmocka_unit_test(identity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
