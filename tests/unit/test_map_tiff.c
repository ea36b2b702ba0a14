/* SPDX-License-Identifier: Apache-2.0 */
/* Score maps as TIFF: there and back bit for bit, what is refused, damaged files. */
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
#include <unistd.h>

static char folder[64];

static int make_folder(void **state)
{
    (void)state;
    strcpy(folder, "test_map_XXXXXX");
    return mkdtemp(folder) != NULL ? 0 : -1;
}

static const char *in_folder(const char *name)
{
    static char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static int remove_folder(void **state)
{
    (void)state;
    unlink(in_folder("a.tiff"));
    unlink(in_folder("b.tiff"));
    return rmdir(folder);
}

static float *make_map(size_t count)
{
    float *map = malloc(count * sizeof *map);
    assert_non_null(map);
    for (size_t i = 0; i < count; i++) map[i] = (float)sin((double)i * 0.37) * 1e3f;
    map[0] = NAN;
    map[count / 2] = -0.0f;
    map[count - 1] = 1e-38f;
    return map;
}

static void comes_back(size_t width, size_t height)
{
    float *map = make_map(width * height), *back = NULL;
    size_t w = 0, h = 0;
    assert_int_equal(cz_map_write_tiff(in_folder("a.tiff"), map, width, height), CZ_OK);
    assert_int_equal(cz_map_read_tiff(in_folder("a.tiff"), &back, &w, &h), CZ_OK);
    assert_int_equal(w, width);
    assert_int_equal(h, height);
    assert_memory_equal(map, back, width * height * sizeof *map);
    cz_string_free((char *)back);
    free(map);
}

static void test_round_trip(void **state)
{
    (void)state;
    comes_back(1, 1);
    comes_back(7, 300);
    comes_back(300, 200); /* several strips, the last one short */
    comes_back(20000, 3); /* a row longer than a strip aims at */
}

static void test_arguments(void **state)
{
    (void)state;
    const float one = 1.0f;
    float *back = NULL;
    size_t w, h;
    assert_int_equal(cz_map_write_tiff(NULL, &one, 1, 1), CZ_E_ARG);
    assert_int_equal(cz_map_write_tiff(in_folder("b.tiff"), NULL, 1, 1), CZ_E_ARG);
    assert_int_equal(cz_map_write_tiff(in_folder("b.tiff"), &one, 0, 1), CZ_E_ARG);
    assert_int_equal(cz_map_write_tiff(in_folder("b.tiff"), &one, (size_t)1 << 20, (size_t)1 << 20), CZ_E_LIMIT);
    assert_int_equal(cz_map_write_tiff("no/such/folder/b.tiff", &one, 1, 1), CZ_E_IO);
    assert_int_equal(cz_map_read_tiff(in_folder("none.tiff"), &back, &w, &h), CZ_E_IO);
    assert_int_equal(cz_map_read_tiff(in_folder("none.tiff"), NULL, &w, &h), CZ_E_ARG);
    assert_null(back);
}

/* Every byte flipped and every length cut: never a crash, and never a map of another size. */
static void test_damaged(void **state)
{
    (void)state;
    float *map = make_map(40);
    uint8_t *bytes = NULL;
    size_t size = 0, refused = 0;
    assert_int_equal(cz_map_write_tiff(in_folder("a.tiff"), map, 8, 5), CZ_OK);
    assert_int_equal(cz_file_read(in_folder("a.tiff"), 1 << 20, &bytes, &size), CZ_OK);
    for (size_t i = 0; i < 2 * size; i++) {
        float *back = NULL;
        size_t w = 0, h = 0;
        FILE *f = fopen(in_folder("b.tiff"), "wb");
        assert_non_null(f);
        if (i < size) bytes[i] ^= 0x55;
        assert_int_equal(fwrite(bytes, 1, i < size ? size : i - size, f), i < size ? size : i - size);
        assert_int_equal(fclose(f), 0);
        if (i < size) bytes[i] ^= 0x55;
        const cz_status status = cz_map_read_tiff(in_folder("b.tiff"), &back, &w, &h);
        if (status != CZ_OK) {
            assert_null(back);
            refused++;
        } else if (i < size) {
            volatile float sum = 0.0f; /* every value is there to be read */
            for (size_t k = 0; k < w * h; k++) sum += back[k];
        } else { /* only the pointer to a further directory, the last 4 bytes, may be missing: no value is */
            assert_true(i - size >= size - 4);
            assert_memory_equal(map, back, 40 * sizeof *map);
        }
        cz_string_free((char *)back);
    }
    assert_true(refused > size);
    cz_free(bytes);
    free(map);
}

/* Pictures are no maps. */
static void test_other_tiff(void **state)
{
    (void)state;
    float *back = NULL;
    size_t w, h;
    assert_int_equal(cz_map_read_tiff(TEST_FILES "/images/gray8.tif", &back, &w, &h), CZ_E_UNSUPPORTED);
    assert_int_equal(cz_map_read_tiff(TEST_FILES "/images/gray8.png", &back, &w, &h), CZ_E_FORMAT);
    assert_null(back);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_other_tiff),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
