/* SPDX-License-Identifier: Apache-2.0 */
/* Resizing against Pillow 9.4: digests made by make_pillow_goldens.py, zero differing pixels. */
#include "cozad/cozad_io.h"
#include "features/preprocess.h"
#include "features/resize.h"
#include "util/sha256.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint64_t splitmix(uint64_t x)
{
    x += UINT64_C(0x9E3779B97F4A7C15);
    x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
    return x ^ (x >> 31);
}

/* [h] rows of w * channels samples, `gap` bytes of something else after each; exactly as large as needed. */
static uint8_t *picture(size_t channels, size_t w, size_t h, uint64_t seed, size_t gap)
{
    const size_t row = w * channels, stride = row + gap;
    const uint64_t run = seed % 2 == 1 ? 1 + seed % 7 : 1;
    uint8_t *pixels = malloc(stride * (h - 1) + row);
    assert_non_null(pixels);
    memset(pixels, 0xa5, stride * (h - 1) + row);
    for (size_t i = 0; i < row * h; i++)
        pixels[i / row * stride + i % row] = (uint8_t)(splitmix((seed << 40) + i / run) >> 56);
    return pixels;
}

static void digest_of(const uint8_t *data, size_t bytes, char hex[65])
{
    uint8_t digest[32];
    cz_sha256 sha;
    cz_sha256_init(&sha);
    cz_sha256_update(&sha, data, bytes);
    cz_sha256_final(&sha, digest);
    cz_sha256_hex(digest, hex);
}

static FILE *open_list(const char *name)
{
    char path[1024];
    (void)snprintf(path, sizeof path, "%s/%s", TEST_FILES, name);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    return file;
}

static void random_sizes(void **state)
{
    (void)state;
    FILE *list = open_list("pillow_random.txt");
    size_t channels, sw, sh, dw, dh, count = 0, wrong = 0;
    unsigned long long seed;
    char expected[65], hex[65];
    while (fscanf(list, "%zu %zu %zu %zu %zu %llu %64s", &channels, &sw, &sh, &dw, &dh, &seed, expected) == 7) {
        const size_t gap = count % 3;
        uint8_t *source = picture(channels, sw, sh, seed, gap), *out = malloc(dw * dh * channels);
        assert_non_null(out);
        for (int plain = 0; plain < 2; plain++) {
            const cz_resize_spec spec = {source, sw, sh, sw * channels + gap, channels, dw, dh, 0,
                                         0,      dw, dh, plain != 0};
            memset(out, 0x5a, dw * dh * channels);
            assert_int_equal(cz_resize_window(&spec, out), CZ_OK);
            digest_of(out, dw * dh * channels, hex);
            if (strcmp(hex, expected) == 0) continue;
            print_message("%zux%zu -> %zux%zu, %zu channels, %s: differs\n", sw, sh, dw, dh, channels,
                          plain ? "plain" : "vector");
            wrong++;
        }
        free(source);
        free(out);
        count++;
    }
    fclose(list);
    print_message("%zu cases, twice each: %zu differ from Pillow\n", count, wrong);
    assert_true(count >= 240);
    assert_int_equal(wrong, 0);
}

/* A window of the result is that window's bytes; four channels are the three and a fourth. */
static void windows_and_four_channels(void **state)
{
    (void)state;
    const size_t sw = 301, sh = 177, dw = 95, dh = 203;
    for (size_t channels = 1; channels <= 4; channels += channels == 1 ? 2 : 1) {
        uint8_t *source = picture(channels, sw, sh, 5, 0);
        uint8_t *whole = malloc(dw * dh * channels), *part = malloc(40 * 50 * channels);
        assert_int_equal(cz_resize_bilinear(source, sw, sh, sw * channels, channels, dw, dh, whole), CZ_OK);
        const cz_resize_spec spec = {source, sw, sh, sw * channels, channels, dw, dh, 55, 101, 40, 50, false};
        assert_int_equal(cz_resize_window(&spec, part), CZ_OK);
        for (size_t y = 0; y < 50; y++)
            assert_memory_equal(part + y * 40 * channels, whole + ((101 + y) * dw + 55) * channels, 40 * channels);
        for (size_t c = 0; c < channels; c++) { /* channel by channel */
            uint8_t *one = malloc(sw * sh), *gray = malloc(dw * dh);
            for (size_t i = 0; i < sw * sh; i++) one[i] = source[i * channels + c];
            assert_int_equal(cz_resize_bilinear(one, sw, sh, sw, 1, dw, dh, gray), CZ_OK);
            for (size_t i = 0; i < dw * dh; i++) assert_int_equal(whole[i * channels + c], gray[i]);
            free(one);
            free(gray);
        }
        free(source);
        free(whole);
        free(part);
    }
}

static void bad_arguments(void **state)
{
    (void)state;
    uint8_t pixels[64] = {0}, out[64];
    assert_int_equal(cz_resize_bilinear(pixels, 0, 4, 4, 1, 2, 2, out), CZ_E_ARG);
    assert_int_equal(cz_resize_bilinear(pixels, 4, 4, 4, 1, 2, 0, out), CZ_E_ARG);
    assert_int_equal(cz_resize_bilinear(pixels, 4, 4, 4, 1, 65536, 1, out), CZ_E_ARG);
    assert_int_equal(cz_resize_bilinear(pixels, 4, 4, 3, 1, 2, 2, out), CZ_E_ARG);
    assert_int_equal(cz_resize_bilinear(pixels, 4, 4, 8, 2, 2, 2, out), CZ_E_ARG);
    assert_int_equal(cz_resize_bilinear(NULL, 4, 4, 4, 1, 2, 2, out), CZ_E_ARG);
}

typedef struct tally {
    size_t count, missing, decoded_otherwise, wrong;
} tally;

/* One photo of the list: decoded here, compared with what Pillow decoded, then resized. */
static void check_photo(const char *root, const char *path, const char *pixels, const char *small, size_t channels,
                        tally *t)
{
    char full[2048], hex[65];
    static uint8_t out[256 * 256 * 3];
    cz_picture picture;
    (void)snprintf(full, sizeof full, "%s/data/%s", root, path);
    if (cz_picture_read(full, NULL, &picture) != CZ_OK) {
        print_message("%s: %s\n", path, cz_last_error());
        t->missing++;
        return;
    }
    const cz_image *image = &picture.image;
    const size_t have = image->format == CZ_GRAY8 ? 1 : image->format == CZ_RGB8 ? 3 : 0;
    bool same = have == channels && image->stride == image->width * have;
    if (same) {
        digest_of(image->data, image->height * image->stride, hex);
        same = strcmp(hex, pixels) == 0;
    }
    if (!same) {
        print_message("%s: decoded otherwise than by Pillow\n", path);
        t->decoded_otherwise++;
    } else {
        assert_int_equal(
            cz_resize_bilinear(image->data, image->width, image->height, image->stride, have, 256, 256, out), CZ_OK);
        digest_of(out, 256 * 256 * have, hex);
        if (strcmp(hex, small) != 0) {
            print_message("%s: differs after resizing\n", path);
            t->wrong++;
        }
    }
    t->count++;
    cz_picture_free(&picture);
}

static void real_photos(void **state)
{
    (void)state;
    const char *root = getenv("COZAD_TEST_DATA");
    char probe[2048];
    (void)snprintf(probe, sizeof probe, "%s/data/README.md", root ? root : "");
    FILE *there = fopen(probe, "r");
    if (!there) {
        print_message("skipped: real_photos (no outside data)\n");
        skip();
    }
    fclose(there);
    FILE *list = open_list("pillow_photos.txt");
    char pixels[65], small[65], mode[8], path[1024];
    size_t width, height;
    tally t = {0, 0, 0, 0};
    while (fscanf(list, "%64s %64s %7s %zu %zu %1023[^\n]", pixels, small, mode, &width, &height, path) == 6)
        check_photo(root, path + strspn(path, " "), pixels, small, mode[0] == 'L' ? 1 : 3, &t);
    fclose(list);
    print_message("%zu photos: %zu differ after resizing, %zu decoded otherwise, %zu unreadable\n", t.count, t.wrong,
                  t.decoded_otherwise, t.missing);
    assert_true(t.count - t.decoded_otherwise >= 50);
    assert_int_equal(t.missing, 0);
    assert_int_equal(t.wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_sizes),
        cmocka_unit_test(windows_and_four_channels),
        cmocka_unit_test(bad_arguments),
        cmocka_unit_test(real_photos),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
