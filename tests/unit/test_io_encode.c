/* SPDX-License-Identifier: Apache-2.0 */
/* Writing pictures, heat maps, overlays and thumbnails. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cozad/cozad_io.h"
#include "util/alloc.h"
#include "util/file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { W = 45, H = 31 };

static char folder[64];

static int make_folder(void **state)
{
    (void)state;
    strcpy(folder, "test_io_XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    static const char *const names[] = {"a.png", "b.jpg", "h.png"};
    char path[128];
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
        unlink(path);
    }
    return rmdir(folder); /* fails when a temporary file was left behind */
}

static const char *in_folder(const char *name)
{
    static char path[128];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

/* A picture with rows wider than their pixels; smooth, so that JPEG keeps it. */
static cz_image make_image(cz_pixel_format format, uint8_t *data, size_t stride)
{
    static const size_t sizes[] = {1, 2, 3, 3, 4, 4};
    memset(data, 0xEE, stride * H);
    for (size_t y = 0; y < H; y++)
        for (size_t x = 0; x < W; x++)
            for (size_t c = 0; c < sizes[format]; c++)
                data[y * stride + x * sizes[format] + c] = (uint8_t)(x * 3 + y * 2 + c * 20);
    return (cz_image){data, W, H, stride, format};
}

static void rgb_of(const cz_image *image, size_t x, size_t y, int rgb[3])
{
    const uint8_t *row = (const uint8_t *)image->data + y * image->stride;
    switch (image->format) {
    case CZ_GRAY8:
        rgb[0] = rgb[1] = rgb[2] = row[x];
        break;
    case CZ_GRAY16:
        rgb[0] = rgb[1] = rgb[2] = row[2 * x + 1];
        break; /* little-endian: about v / 257 */
    case CZ_RGB8:
        for (int c = 0; c < 3; c++) rgb[c] = row[3 * x + (size_t)c];
        break;
    case CZ_BGR8:
        for (int c = 0; c < 3; c++) rgb[c] = row[3 * x + 2 - (size_t)c];
        break;
    case CZ_RGBA8:
        for (int c = 0; c < 3; c++) rgb[c] = row[4 * x + (size_t)c];
        break;
    case CZ_BGRA8:
        for (int c = 0; c < 3; c++) rgb[c] = row[4 * x + 2 - (size_t)c];
        break;
    }
}

static void test_png_round_trip(void **state)
{
    (void)state;
    static uint8_t data[H * (W * 4 + 12)];
    for (int f = CZ_GRAY8; f <= CZ_BGRA8; f++) {
        cz_image image = make_image((cz_pixel_format)f, data, W * 4 + 12);
        bool alpha = f == CZ_RGBA8 || f == CZ_BGRA8;
        if (alpha)
            for (size_t y = 0; y < H; y++)
                for (size_t x = 0; x < W; x++) data[y * image.stride + 4 * x + 3] = x < 20 ? 255 : 0;
        char *png = NULL;
        size_t size = 0;
        cz_picture back = {0};
        assert_int_equal(cz_picture_encode_png(&image, &png, &size), CZ_OK);
        assert_int_equal(cz_picture_decode(png, size, NULL, &back), CZ_OK);
        cz_string_free(png);
        assert_int_equal(back.image.format, f == CZ_GRAY8 ? CZ_GRAY8 : f == CZ_GRAY16 ? CZ_GRAY16 : CZ_RGB8);
        for (size_t y = 0; y < H; y++)
            for (size_t x = 0; x < W; x++) {
                int want[3], got[3];
                rgb_of(&image, x, y, want);
                rgb_of(&back.image, x, y, got);
                for (int c = 0; c < 3; c++) assert_int_equal(got[c], alpha && x >= 20 ? 255 : want[c]);
                if (f == CZ_GRAY16)
                    assert_memory_equal((char *)back.pixels + y * back.image.stride + 2 * x,
                                        data + y * image.stride + 2 * x, 2);
            }
        cz_picture_free(&back);
    }
}

static void test_jpeg_round_trip(void **state)
{
    (void)state;
    static uint8_t data[H * (W * 4 + 12)];
    for (int f = CZ_GRAY8; f <= CZ_BGRA8; f++) {
        cz_image image = make_image((cz_pixel_format)f, data, W * 4 + 12);
        char *bytes = NULL;
        size_t size = 0;
        cz_picture back = {0};
        assert_int_equal(cz_picture_encode_jpeg(&image, 95, &bytes, &size), CZ_OK);
        assert_int_equal(cz_picture_decode(bytes, size, NULL, &back), CZ_OK);
        cz_string_free(bytes);
        assert_int_equal(back.image.format, f <= CZ_GRAY16 ? CZ_GRAY8 : CZ_RGB8);
        for (size_t y = 0; y < H; y++)
            for (size_t x = 0; x < W; x++) {
                int want[3], got[3];
                rgb_of(&image, x, y, want);
                rgb_of(&back.image, x, y, got);
                for (int c = 0; c < 3; c++) assert_in_range(got[c] - want[c] + 8, 0, 16);
            }
        cz_picture_free(&back);
    }
}

static void test_write(void **state)
{
    (void)state;
    static uint8_t data[H * W * 3];
    cz_image image = make_image(CZ_RGB8, data, W * 3);
    cz_picture back = {0};
    assert_int_equal(cz_picture_write(in_folder("a.png"), &image), CZ_OK);
    assert_int_equal(cz_picture_read(in_folder("a.png"), NULL, &back), CZ_OK);
    assert_memory_equal(back.pixels, data, sizeof(data));
    cz_picture_free(&back);
    assert_int_equal(cz_picture_write(in_folder("b.jpg"), &image), CZ_OK);
    assert_int_equal(cz_picture_read(in_folder("b.jpg"), NULL, &back), CZ_OK);
    cz_picture_free(&back);
    assert_int_equal(cz_picture_write(in_folder("c.gif"), &image), CZ_E_ARG);
    assert_non_null(strstr(cz_last_error(), "c.gif"));
    /* a write that fails leaves the earlier file as it was */
    image.stride = 1;
    assert_int_equal(cz_picture_write(in_folder("a.png"), &image), CZ_E_ARG);
    assert_int_equal(cz_picture_read(in_folder("a.png"), NULL, &back), CZ_OK);
    cz_picture_free(&back);
    image.stride = W * 3;
    assert_int_equal(cz_picture_write("no/such/folder/a.png", &image), CZ_E_IO);
}

/* A full disk is tested with cz_file_write_atomic, which does all the writing. */
static void test_unwritable(void **state)
{
    (void)state;
    static uint8_t data[H * W];
    cz_image image = make_image(CZ_GRAY8, data, W);
    assert_int_equal(cz_picture_write("/proc/a.png", &image), CZ_E_IO);
    assert_non_null(strstr(cz_last_error(), "/proc/a.png"));
}

static void test_bad_arguments(void **state)
{
    (void)state;
    static uint8_t data[H * W];
    cz_image good = make_image(CZ_GRAY8, data, W), bad;
    char *bytes;
    size_t size;
    cz_picture p;
    bad = good, bad.data = NULL;
    assert_int_equal(cz_picture_encode_png(&bad, &bytes, &size), CZ_E_ARG);
    bad = good, bad.width = 0;
    assert_int_equal(cz_picture_encode_png(&bad, &bytes, &size), CZ_E_ARG);
    bad = good, bad.format = (cz_pixel_format)77;
    assert_int_equal(cz_picture_encode_jpeg(&bad, 90, &bytes, &size), CZ_E_ARG);
    bad = good, bad.width = SIZE_MAX;
    assert_int_equal(cz_picture_encode_png(&bad, &bytes, &size), CZ_E_ARG);
    assert_int_equal(cz_picture_encode_jpeg(&good, 0, &bytes, &size), CZ_E_ARG);
    assert_int_equal(cz_picture_encode_jpeg(&good, 101, &bytes, &size), CZ_E_ARG);
    assert_int_equal(cz_picture_thumbnail(&good, 0, &p), CZ_E_ARG);
    assert_int_equal(cz_overlay(&good, NULL, 0, 1, &p), CZ_E_ARG);
    static const float map[H * W];
    assert_int_equal(cz_overlay(&good, map, NAN, 1, &p), CZ_E_ARG);
    assert_int_equal(cz_overlay(&good, map, 2, 1, &p), CZ_E_ARG);
}

static void test_heatmap(void **state)
{
    (void)state;
    static float map[H * W];
    const double low = -3.25, high = 17.123456;
    for (size_t i = 0; i < H * W; i++) map[i] = (float)(-4 + 22.0 * (double)i / (H * W));
    map[7] = NAN;
    map[8] = INFINITY;
    map[9] = -INFINITY;
    float *back = NULL;
    size_t width = 0, height = 0;
    assert_int_equal(cz_heatmap_write(in_folder("h.png"), map, W, H, low, high), CZ_OK);
    assert_int_equal(cz_heatmap_read(in_folder("h.png"), &back, &width, &height), CZ_OK);
    assert_int_equal(width, W);
    assert_int_equal(height, H);
    double half_step = (high - low) / 65535 / 2 + 1e-6;
    for (size_t i = 0; i < H * W; i++) {
        double want = isnan(map[i]) ? low : fmin(fmax((double)map[i], low), high);
        assert_true(fabs((double)back[i] - want) <= half_step);
    }
    cz_string_free((char *)back);
    /* any viewer's view: 16-bit gray, NaN 0 */
    cz_picture p = {0};
    assert_int_equal(cz_picture_read(in_folder("h.png"), NULL, &p), CZ_OK);
    assert_int_equal(p.image.format, CZ_GRAY16);
    assert_int_equal(((const uint16_t *)p.pixels)[7], 0);
    assert_int_equal(((const uint16_t *)p.pixels)[8], 65535);
    cz_picture_free(&p);
    uint8_t *bytes;
    size_t size;
    assert_int_equal(cz_file_read(in_folder("h.png"), 1 << 20, &bytes, &size), CZ_OK);
    assert_non_null(memmem(bytes, size, "tEXtcozad:low\0-3.25", 19));
    assert_non_null(memmem(bytes, size,
                           "tEXtcozad:high\0"
                           "17.123456",
                           24));
    cz_free(bytes);
    /* a map of one value */
    assert_int_equal(cz_heatmap_write(in_folder("h.png"), map + 20, 1, 1, 5, 5), CZ_OK);
    assert_int_equal(cz_heatmap_read(in_folder("h.png"), &back, &width, &height), CZ_OK);
    assert_true((double)back[0] == 5);
    cz_string_free((char *)back);
    assert_int_equal(cz_heatmap_write(in_folder("h.png"), map, W, H, 0, INFINITY), CZ_E_ARG);
    assert_int_equal(cz_heatmap_write(in_folder("h.png"), map, W, H, 1, 0), CZ_E_ARG);
    assert_int_equal(cz_heatmap_read(TEST_FILES "/images/gray16.png", &back, &width, &height), CZ_E_FORMAT);
    assert_int_equal(cz_heatmap_read(TEST_FILES "/images/text.png", &back, &width, &height), CZ_E_FORMAT);
    assert_int_equal(cz_heatmap_read(TEST_FILES "/images/empty.png", &back, &width, &height), CZ_E_FORMAT);
    assert_int_equal(cz_heatmap_read(in_folder("none.png"), &back, &width, &height), CZ_E_IO);
}

/* CIE lightness of an sRGB colour */
static double lightness(const uint8_t rgb[3])
{
    static const double weights[] = {0.2126, 0.7152, 0.0722};
    double luminance = 0;
    for (int c = 0; c < 3; c++) {
        double v = rgb[c] / 255.0;
        luminance += weights[c] * (v <= 0.04045 ? v / 12.92 : pow((v + 0.055) / 1.055, 2.4));
    }
    return luminance > 0.008856 ? 116 * cbrt(luminance) - 16 : 903.3 * luminance;
}

static void test_colours(void **state)
{
    (void)state;
    double last = -1;
    for (int i = 0; i <= 100; i++) {
        uint8_t rgb[3];
        cz_overlay_colour(i / 100.0, rgb);
        double l = lightness(rgb);
        assert_true(l > last);                 /* brighter all the way */
        assert_true(i == 0 || l - last < 2.5); /* and evenly */
        last = l;
    }
    assert_true(last > 90);
    uint8_t a[3], b[3];
    cz_overlay_colour(-1, a), cz_overlay_colour(0, b);
    assert_memory_equal(a, b, 3);
    cz_overlay_colour(NAN, a);
    assert_memory_equal(a, b, 3);
    cz_overlay_colour(7, a), cz_overlay_colour(1, b);
    assert_memory_equal(a, b, 3);
}

static void test_overlay(void **state)
{
    (void)state;
    static uint8_t data[H * W];
    static float map[H * W];
    cz_image photo = make_image(CZ_GRAY8, data, W);
    for (size_t i = 0; i < H * W; i++) map[i] = 1;
    map[0] = NAN;
    map[1] = 5;
    map[2] = 99;
    map[3] = -99;
    map[4] = 3;
    cz_picture p = {0};
    assert_int_equal(cz_overlay(&photo, map, 1, 5, &p), CZ_OK);
    assert_int_equal(p.image.format, CZ_RGB8);
    const uint8_t *v = p.pixels;
    for (size_t i = 10; i < W; i++) /* at `low` the photo itself */
        for (size_t c = 0; c < 3; c++) assert_int_equal(v[3 * i + c], data[i]);
    assert_true(v[0] <= data[0]);
    for (int c = 0; c < 3; c++) assert_int_equal(v[9 + c], data[3]); /* below low: clamped */
    assert_true(v[3] > 100 && v[3] > v[5] + 40);                     /* at high: a warm colour */
    assert_true(v[12] > data[4] + 40);                               /* half way: seen */
    cz_picture_free(&p);
    assert_int_equal(cz_overlay(&photo, map, 1, 1, &p), CZ_OK); /* no range: no colour, no division by zero */
    cz_picture_free(&p);
}

static void test_thumbnail(void **state)
{
    (void)state;
    static uint8_t data[64 * 100];
    for (size_t y = 0; y < 64; y++)
        for (size_t x = 0; x < 100; x++) data[y * 100 + x] = (uint8_t)(((x ^ y) & 1) * 200 + (x < 50 ? 0 : 55));
    cz_image image = {data, 100, 64, 100, CZ_GRAY8};
    cz_picture p = {0};
    assert_int_equal(cz_picture_thumbnail(&image, 50, &p), CZ_OK);
    assert_int_equal(p.image.width, 50);
    assert_int_equal(p.image.height, 32);
    for (size_t y = 0; y < 32; y++) /* exact means of 2 x 2 */
        for (size_t x = 0; x < 50; x++)
            assert_int_equal(((uint8_t *)p.pixels)[y * p.image.stride + x], x < 25 ? 100 : 155);
    cz_picture_free(&p);
    assert_int_equal(cz_picture_thumbnail(&image, 33, &p), CZ_OK); /* not a whole factor: near the mean everywhere */
    assert_int_equal(p.image.width, 33);
    assert_int_equal(p.image.height, 21);
    double mean = 0;
    for (size_t y = 0; y < 21; y++)
        for (size_t x = 0; x < 33; x++) mean += ((uint8_t *)p.pixels)[y * p.image.stride + x] / (21.0 * 33);
    assert_true(fabs(mean - 127.5) < 1.5);
    cz_picture_free(&p);
    assert_int_equal(cz_picture_thumbnail(&image, 100, &p), CZ_OK);
    assert_memory_equal(p.pixels, data, sizeof(data));
    cz_picture_free(&p);
    image.width = 25, image.stride = 100, image.format = CZ_BGRA8;
    assert_int_equal(cz_picture_thumbnail(&image, 1, &p), CZ_OK);
    assert_int_equal(p.image.format, CZ_RGB8);
    assert_int_equal(p.image.width, 1);
    assert_int_equal(p.image.height, 1);
    cz_picture_free(&p);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    static uint8_t data[H * W * 3];
    static const float map[H * W];
    cz_image image = make_image(CZ_RGB8, data, W * 3);
    char *bytes = NULL;
    size_t size = 0;
    for (int what = 0; what < 5; what++) {
        unsigned long n = 1;
        for (; n < 200; n++) {
            cz_picture p = {0};
            cz_status s = CZ_OK;
            cz_alloc_fail_after(n);
            if (what == 0) s = cz_picture_encode_png(&image, &bytes, &size);
            if (what == 1) s = cz_picture_encode_jpeg(&image, 90, &bytes, &size);
            if (what == 2) s = cz_heatmap_write(in_folder("h.png"), map, W, H, 0, 1);
            if (what == 3) s = cz_overlay(&image, map, 0, 1, &p);
            if (what == 4) s = cz_picture_thumbnail(&image, 9, &p);
            cz_alloc_fail_after(0);
            cz_picture_free(&p);
            if (s == CZ_OK) break;
            assert_int_equal(s, CZ_E_MEMORY);
        }
        assert_in_range(n, 2, 199);
        if (what < 2) cz_string_free(bytes);
        bytes = NULL;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_png_round_trip), cmocka_unit_test(test_jpeg_round_trip), cmocka_unit_test(test_write),
        cmocka_unit_test(test_unwritable),     cmocka_unit_test(test_bad_arguments),   cmocka_unit_test(test_heatmap),
        cmocka_unit_test(test_colours),        cmocka_unit_test(test_overlay),         cmocka_unit_test(test_thumbnail),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
