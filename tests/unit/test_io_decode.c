/* SPDX-License-Identifier: Apache-2.0 */
/* Reading pictures. Expected pixels: files/make_images.py (Pillow, and numpy where Pillow drops precision or alpha). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cozad/cozad_io.h"
#include "util/alloc.h"
#include "util/file.h"
#include "util/sha256.h"

#include <dirent.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IMAGES TEST_FILES "/images/"

static const char *const format_names[] = {"GRAY8", "GRAY16", "RGB8"};
static const size_t pixel_sizes[] = {1, 2, 3};

static void hash_picture(const cz_picture *p, char hex[65])
{
    cz_sha256 sha;
    uint8_t digest[32];
    cz_sha256_init(&sha);
    for (size_t y = 0; y < p->image.height; y++)
        cz_sha256_update(&sha, (const uint8_t *)p->image.data + y * p->image.stride,
                         p->image.width * pixel_sizes[p->image.format]);
    cz_sha256_final(&sha, digest);
    cz_sha256_hex(digest, hex);
}

static void assert_whole(const cz_picture *p)
{
    assert_non_null(p->pixels);
    assert_ptr_equal(p->pixels, p->image.data);
    assert_true(p->image.format == CZ_GRAY8 || p->image.format == CZ_GRAY16 || p->image.format == CZ_RGB8);
    assert_true(p->image.width > 0 && p->image.height > 0);
    assert_true(p->image.stride >= p->image.width * pixel_sizes[p->image.format]);
    char hex[65];
    hash_picture(p, hex); /* touches every pixel, for the sanitizers */
}

/* One line of expected.txt; the number of failures (0 or 1). */
static int check_line(const char *line)
{
    char name[64], what[32], hash[65] = "", got[65] = "", path[512];
    size_t width = 0, height = 0;
    int fields = sscanf(line, "%63s %31s %zu %zu %64s", name, what, &width, &height, hash);
    assert_true(fields == 5 || fields == 2 || fields == 3);
    snprintf(path, sizeof(path), IMAGES "%s", name);
    cz_picture p = {0};
    cz_status status = cz_picture_read(path, NULL, &p);
    if (strcmp(what, "error") == 0) {
        char kind[32];
        assert_int_equal(sscanf(line, "%*s %*s %31s", kind), 1);
        int ok = strcmp(kind, "FORMAT") == 0 ? status == CZ_E_FORMAT : status == CZ_E_UNSUPPORTED;
        if (strcmp(kind, "UNSUPPORTED_OR_OK") == 0) ok = ok || status == CZ_OK;
        /* the message begins with the path and says something more, on one line */
        const char *message = cz_last_error();
        size_t n = strlen(path);
        ok = ok && (status == CZ_OK ||
                    (strncmp(message, path, n) == 0 && strlen(message) > n + 10 && !strchr(message, '\n')));
        if (!ok) print_error("%s: expected %s, got %s (%s)\n", name, kind, cz_status_name(status), message);
        if (status == CZ_OK)
            cz_picture_free(&p);
        else
            assert_null(p.pixels);
        return !ok;
    }
    if (status != CZ_OK) {
        print_error("%s: %s (%s)\n", name, cz_status_name(status), cz_last_error());
        return 1;
    }
    assert_whole(&p);
    hash_picture(&p, got);
    int ok = strcmp(format_names[p.image.format], what) == 0 && p.image.width == width && p.image.height == height &&
             strcmp(got, hash) == 0;
    if (!ok)
        print_error("%s: %s %zu x %zu, pixels %s; expected %s %zu x %zu\n", name, format_names[p.image.format],
                    p.image.width, p.image.height, strcmp(got, hash) ? "differ" : "agree", what, width, height);
    cz_picture_free(&p);
    assert_null(p.pixels);
    return !ok;
}

static void test_expected_pixels(void **state)
{
    (void)state;
    FILE *f = fopen(IMAGES "expected.txt", "r");
    assert_non_null(f);
    char line[256];
    int failed = 0, lines = 0;
    while (fgets(line, sizeof(line), f)) {
        failed += check_line(line);
        lines++;
    }
    fclose(f);
    assert_true(lines > 100);
    assert_int_equal(failed, 0);
}

static void test_masks(void **state)
{
    (void)state;
    static const char *const names[] = {"mask_1.png", "mask_253.png", "mask_255.png", "mask_bit1.png", "mask_red.png"};
    char first[65] = "", hex[65], path[512];
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        cz_picture p = {0};
        snprintf(path, sizeof(path), IMAGES "%s", names[i]);
        assert_int_equal(cz_picture_read_mask(path, NULL, &p), CZ_OK);
        assert_int_equal(p.image.format, CZ_GRAY8);
        const uint8_t *v = p.pixels;
        assert_int_equal(v[0], 0);
        assert_int_equal(v[14 * p.image.stride + 18], 255);
        hash_picture(&p, hex);
        if (!i) memcpy(first, hex, sizeof(hex));
        assert_string_equal(hex, first);
        cz_picture_free(&p);
    }
    cz_picture p = {0};
    size_t set = 0;
    assert_int_equal(cz_picture_read_mask(IMAGES "mask_none.png", NULL, &p), CZ_OK);
    for (size_t i = 0; i < p.image.width * p.image.height; i++) assert_int_equal(((const uint8_t *)p.pixels)[i], 0);
    cz_picture_free(&p);
    assert_int_equal(cz_picture_read_mask(IMAGES "mask_soft.jpg", NULL, &p), CZ_OK);
    for (size_t i = 0; i < p.image.width * p.image.height; i++) {
        uint8_t v = ((const uint8_t *)p.pixels)[i];
        assert_true(v == 0 || v == 255);
        set += v == 255;
    }
    assert_in_range(set, 260, 320); /* radius sqrt(90): 283 pixels */
    cz_picture_free(&p);
    assert_int_equal(cz_picture_read_mask(IMAGES "text.png", NULL, &p), CZ_E_FORMAT);
    assert_int_equal(cz_picture_read_mask(IMAGES "gray16.png", NULL, &p), CZ_OK);
    cz_picture_free(&p);
}

static int is_error_or_other(const char *name)
{
    static const char *const skipped[] = {"expected.txt", "empty.png",    "text.png",
                                          "noise.png",    "no_vips.webp", "document.png"};
    for (size_t i = 0; i < sizeof(skipped) / sizeof(skipped[0]); i++)
        if (strcmp(name, skipped[i]) == 0) return 1;
    return name[0] == '.';
}

/* Calls `check` with every picture file of the fixtures. */
static void for_each_file(void (*check)(const char *name, const uint8_t *bytes, size_t size))
{
    DIR *dir = opendir(IMAGES);
    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir));) {
        if (is_error_or_other(e->d_name)) continue;
        char path[1024];
        uint8_t *bytes;
        size_t size;
        snprintf(path, sizeof(path), IMAGES "%s", e->d_name);
        assert_int_equal(cz_file_read(path, 1 << 20, &bytes, &size), CZ_OK);
        check(e->d_name, bytes, size);
        cz_free(bytes);
    }
    closedir(dir);
}

static int has_suffix(const char *name, const char *suffix)
{
    size_t n = strlen(name), s = strlen(suffix);
    return n >= s && strcmp(name + n - s, suffix) == 0;
}

/* In an exact copy, so that a read past the end is seen by the sanitizer. */
static cz_status decode_copy(const uint8_t *bytes, size_t size, const cz_read_options *options, cz_picture *out)
{
    uint8_t *copy = malloc(size ? size : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, size);
    cz_status status = cz_picture_decode(copy, size, options, out);
    free(copy);
    return status;
}

static void check_truncated(const char *name, const uint8_t *bytes, size_t size)
{
    cz_picture whole = {0};
    char expected[65] = "", hex[65];
    if (cz_picture_decode(bytes, size, NULL, &whole) != CZ_OK) return;
    hash_picture(&whole, expected);
    cz_picture_free(&whole);
    for (size_t n = 0; n < size; n += n < 100 || size - n < 40 ? 1 : 13) {
        cz_picture p = {0};
        cz_status status = decode_copy(bytes, n, NULL, &p);
        if (status != CZ_OK) {
            assert_null(p.pixels);
            assert_true(cz_last_error()[0]);
            continue;
        }
        /* "255" at the end of a text is as good as "25" */
        if (strncmp(name, "plain.", 6) == 0 && size - n < 3) {
            cz_picture_free(&p);
            continue;
        }
        /* else all that may be missing is what stands behind the pixels */
        hash_picture(&p, hex);
        cz_picture_free(&p);
        if (strcmp(hex, expected) != 0 || has_suffix(name, ".jpg") || has_suffix(name, ".png"))
            fail_msg("%s cut to %zu of %zu bytes was accepted", name, n, size);
    }
}

static void test_truncated(void **state)
{
    (void)state;
    for_each_file(check_truncated);
}

static void check_mutated(const char *name, const uint8_t *bytes, size_t size)
{
    cz_read_options options = CZ_READ_OPTIONS_INIT;
    options.max_pixels = 1 << 20;
    uint8_t *copy = malloc(size);
    assert_non_null(copy);
    uint32_t x = 12345; /* xorshift32: the same changes in every run */
    size_t count = size < 4000 ? 300 : 150;
    for (size_t i = 0; i < count; i++) {
        memcpy(copy, bytes, size);
        x ^= x << 13, x ^= x >> 17, x ^= x << 5;
        /* half of them in the first bytes, where the structure is */
        size_t at = i % 2 ? x % size : x % (size < 200 ? size : 200);
        copy[at] ^= (uint8_t)((1u << (x >> 8 & 7)) | (i % 3 == 0 ? 0xA5u : 0u));
        cz_picture p = {0};
        cz_status status = cz_picture_decode(copy, size, &options, &p);
        if (status == CZ_OK)
            assert_whole(&p);
        else if (p.pixels || !cz_last_error()[0])
            fail_msg("%s with byte %zu changed: failed without a message, or left pixels", name, at);
        cz_picture_free(&p);
    }
    free(copy);
}

static void test_mutated(void **state)
{
    (void)state;
    for_each_file(check_mutated);
}

/* The checksum of PNG chunks, bit by bit. */
static uint32_t png_checksum(const uint8_t *p, size_t n)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++) crc = crc & 1 ? crc >> 1 ^ 0xEDB88320u : crc >> 1;
    }
    return ~crc;
}

static void put_u32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++) p[i] = (uint8_t)(v >> (24 - 8 * i));
}

/* Has the header of a PNG claim another size, with a good checksum. */
static void claim_size(char *png, uint32_t width, uint32_t height)
{
    uint8_t *header = (uint8_t *)png + 12; /* type, then 13 bytes, then the checksum of both */
    put_u32(header + 4, width);
    put_u32(header + 8, height);
    put_u32(header + 17, png_checksum(header, 17));
}

/* 16 million zeros in some 20 kB, and then claims of more. */
static void test_bomb(void **state)
{
    (void)state;
    enum { SIDE = 4000 };
    uint8_t *zeros = calloc(SIDE, SIDE);
    assert_non_null(zeros);
    cz_image image = {zeros, SIDE, SIDE, SIDE, CZ_GRAY8};
    cz_picture p = {0};
    char *png = NULL;
    size_t size = 0;
    assert_int_equal(cz_picture_encode_png(&image, &png, &size), CZ_OK);
    free(zeros);
    assert_true(size < 100000);
    cz_read_options options = CZ_READ_OPTIONS_INIT;
    options.max_pixels = SIDE * SIDE - 1;
    assert_int_equal(cz_picture_decode(png, size, &options, &p), CZ_E_LIMIT);
    options.max_pixels = SIDE * SIDE;
    assert_int_equal(cz_picture_decode(png, size, &options, &p), CZ_OK);
    cz_picture_free(&p);
    claim_size(png, 20000, 20000);
    assert_int_equal(cz_picture_decode(png, size, NULL, &p), CZ_E_LIMIT);
    assert_non_null(strstr(cz_last_error(), "20000 x 20000"));
    assert_non_null(strstr(cz_last_error(), "268435456"));
    assert_non_null(strstr(cz_last_error(), "--max-pixels"));
    claim_size(png, SIDE, SIDE + 1); /* within the limit, but the pixels are not there */
    assert_int_equal(cz_picture_decode(png, size, NULL, &p), CZ_E_FORMAT);
    claim_size(png, 0xFFFFFFFF, 0xFFFFFFFF);
    assert_int_not_equal(cz_picture_decode(png, size, NULL, &p), CZ_OK);
    assert_null(p.pixels);
    cz_string_free(png);
}

static void test_limits(void **state)
{
    (void)state;
    static const char *const names[] = {"gray.jpg", "gray8.png", "gray8.tif",    "gray8.bmp",
                                        "raw.pgm",  "plain.ppm", "rgb_tiled.tif"};
    cz_read_options options = CZ_READ_OPTIONS_INIT;
    cz_picture p = {0};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char path[512];
        snprintf(path, sizeof(path), IMAGES "%s", names[i]);
        options.max_pixels = 37 * 29 - 1;
        assert_int_equal(cz_picture_read(path, &options, &p), CZ_E_LIMIT);
        assert_non_null(strstr(cz_last_error(), "37 x 29"));
        options.max_pixels = 37 * 29;
        assert_int_equal(cz_picture_read(path, &options, &p), CZ_OK);
        cz_picture_free(&p);
    }
    options.max_bytes = 100;
    assert_int_equal(cz_picture_read(IMAGES "rgb8.png", &options, &p), CZ_E_LIMIT);
    options.struct_size = 3;
    assert_int_equal(cz_picture_read(IMAGES "rgb8.png", &options, &p), CZ_E_ARG);
    assert_int_equal(cz_picture_read(IMAGES "none.png", NULL, &p), CZ_E_IO);
    assert_int_equal(cz_picture_read(TEST_FILES, NULL, &p), CZ_E_IO);
    assert_int_equal(cz_picture_read(NULL, NULL, &p), CZ_E_ARG);
    assert_int_equal(cz_picture_decode(NULL, 0, NULL, &p), CZ_E_FORMAT);
}

static void check_out_of_memory(const char *name, const uint8_t *bytes, size_t size)
{
    cz_picture p = {0};
    for (unsigned long n = 1; n < 50; n++) {
        cz_alloc_fail_after(n);
        cz_status status = cz_picture_decode(bytes, size, NULL, &p);
        cz_alloc_fail_after(0);
        if (status == CZ_E_MEMORY) continue;
        cz_picture_free(&p);
        return; /* as it goes with memory enough */
    }
    fail_msg("%s never got by", name);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    for_each_file(check_out_of_memory);
}

static void test_names(void **state)
{
    (void)state;
    static const char *const yes[] = {"a.jpg", "/b/c.JPEG", "x.y.Png", "a.tif", "a.tiff", "a.bmp", "a.pgm", "a.webp"};
    static const char *const no[] = {"jpg", "a.txt", "a.json", ".png", "d/._photo.jpg", "a.png/b", "a.", "", "a.jpgx"};
    for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) assert_true(cz_picture_is_name(yes[i]));
    for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++) assert_false(cz_picture_is_name(no[i]));
}

static size_t photos, unreadable;

static int visit(const char *path, const struct stat *info, int type, struct FTW *where)
{
    (void)info, (void)where;
    if (type != FTW_F || !cz_picture_is_name(path)) return 0;
    cz_picture p = {0};
    photos++;
    if (cz_picture_read(path, NULL, &p) == CZ_OK)
        assert_whole(&p);
    else {
        print_error("%s\n", cz_last_error());
        unreadable++;
    }
    cz_picture_free(&p);
    return 0;
}

static void test_outside_photos(void **state)
{
    (void)state;
    const char *root = getenv("COZAD_TEST_DATA");
    char folder[1024];
    snprintf(folder, sizeof(folder), "%s/data", root ? root : "");
    DIR *dir = root ? opendir(folder) : NULL;
    if (!dir) {
        print_message("skipped: outside_photos (no outside data)\n");
        skip();
    }
    closedir(dir);
    assert_int_equal(nftw(folder, visit, 16, FTW_PHYS), 0);
    print_message("%zu photos read\n", photos);
    assert_true(photos > 0);
    assert_int_equal(unreadable, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_expected_pixels), cmocka_unit_test(test_masks), cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_mutated),         cmocka_unit_test(test_bomb),  cmocka_unit_test(test_limits),
        cmocka_unit_test(test_out_of_memory),   cmocka_unit_test(test_names), cmocka_unit_test(test_outside_photos),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
