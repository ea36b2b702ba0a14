/* SPDX-License-Identifier: Apache-2.0 */
/* Pictures written row by row against the same made whole, and TIFFs whose strips are too large to be read at once. */
#include "cozad/cozad_io.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <tiffio.h>

enum { WIDTH = 211, HEIGHT = 157, LARGE_W = 1000, LARGE_H = 700 };

static float map[WIDTH * HEIGHT];
static uint8_t photo_bytes[WIDTH * HEIGHT * 3];
static const cz_image photo = {photo_bytes, WIDTH, HEIGHT, WIDTH * 3, CZ_RGB8};
static char folder[] = "/tmp/cozad-rows-XXXXXX";

static const char *path_of(const char *name)
{
    static char path[2][200];
    static int turn;
    turn = !turn;
    (void)snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    return path[turn];
}

/* ctx: the row at which it fails, as size_t *, or NULL */
static cz_status rows(void *ctx, size_t first, size_t count, float *out)
{
    assert_true(first < HEIGHT && count <= HEIGHT - first && count > 0);
    if (ctx != NULL && first + count > *(size_t *)ctx) return cz_source_error(CZ_E_CANCELLED, "no more rows");
    memcpy(out, map + first * WIDTH, count * WIDTH * sizeof *out);
    return CZ_OK;
}

static const cz_map_source source = {WIDTH, HEIGHT, rows, NULL};

static void same_file(const char *a, const char *b)
{
    FILE *x = fopen(a, "rb"), *y = fopen(b, "rb");
    assert_non_null(x);
    assert_non_null(y);
    int c, d;
    do {
        c = fgetc(x);
        d = fgetc(y);
        assert_int_equal(c, d);
    } while (c != EOF);
    (void)fclose(x);
    (void)fclose(y);
}

static void heat_map(void **state)
{
    (void)state;
    float *back = NULL;
    size_t width = 0, height = 0;
    assert_int_equal(cz_heatmap_write(path_of("a.png"), map, WIDTH, HEIGHT, -1.0, 2.0), CZ_OK);
    assert_int_equal(cz_heatmap_write_rows(path_of("b.png"), &source, -1.0, 2.0), CZ_OK);
    same_file(path_of("a.png"), path_of("b.png"));
    assert_int_equal(cz_heatmap_read(path_of("b.png"), &back, &width, &height), CZ_OK);
    assert_true(width == WIDTH && height == HEIGHT);
    for (size_t i = 0; i < WIDTH * HEIGHT; i++) {
        const double want = isnan(map[i]) ? -1.0 : fmin(fmax((double)map[i], -1.0), 2.0);
        assert_true(fabs((double)back[i] - want) <= 3.0 / 65535.0);
    }
    cz_string_free((char *)back);
}

static void overlay(void **state)
{
    (void)state;
    cz_picture whole = {0}, read = {0}, small = {0}, want = {0};
    const cz_read_options options = CZ_READ_OPTIONS_INIT;
    assert_int_equal(cz_overlay(&photo, map, -1.0, 2.0, &whole), CZ_OK);
    assert_int_equal(cz_overlay_write(path_of("c.png"), &photo, &source, -1.0, 2.0), CZ_OK);
    assert_int_equal(cz_picture_read(path_of("c.png"), &options, &read), CZ_OK);
    assert_true(read.image.width == WIDTH && read.image.height == HEIGHT && read.image.format == CZ_RGB8);
    assert_memory_equal(read.pixels, whole.pixels, WIDTH * HEIGHT * 3);
    for (size_t longest = 1; longest < 300; longest += 37) {
        assert_int_equal(cz_picture_thumbnail(&whole.image, longest, &want), CZ_OK);
        assert_int_equal(cz_overlay_thumbnail(&photo, &source, -1.0, 2.0, longest, &small), CZ_OK);
        assert_true(small.image.width == want.image.width && small.image.height == want.image.height);
        assert_memory_equal(small.pixels, want.pixels, want.image.stride * want.image.height);
        cz_picture_free(&small);
        cz_picture_free(&want);
    }
    cz_picture_free(&whole);
    cz_picture_free(&read);
}

/* What was there before stays when a row cannot be made, and nothing else is left behind. */
static void failures(void **state)
{
    (void)state;
    size_t last = 100;
    cz_map_source bad = {WIDTH, HEIGHT, rows, &last};
    cz_picture small = {0};
    assert_int_equal(cz_heatmap_write(path_of("d.png"), map, WIDTH, HEIGHT, 0.0, 1.0), CZ_OK);
    assert_int_equal(cz_heatmap_write(path_of("e.png"), map, WIDTH, HEIGHT, 0.0, 1.0), CZ_OK);
    assert_int_equal(cz_heatmap_write_rows(path_of("d.png"), &bad, 0.0, 1.0), CZ_E_CANCELLED);
    assert_string_equal(cz_last_error(), "no more rows");
    same_file(path_of("d.png"), path_of("e.png"));
    assert_int_equal(cz_overlay_write(path_of("f.png"), &photo, &bad, 0.0, 1.0), CZ_E_CANCELLED);
    assert_int_equal(access(path_of("f.png"), F_OK), -1);
    assert_int_equal(cz_overlay_thumbnail(&photo, &bad, 0.0, 1.0, 20, &small), CZ_E_CANCELLED);
    assert_int_equal(cz_heatmap_write_rows(path_of("d.png"), &source, 1.0, 0.0), CZ_E_ARG);
    assert_int_equal(cz_heatmap_write_rows(NULL, &source, 0.0, 1.0), CZ_E_ARG);
    assert_int_equal(cz_heatmap_write_rows(path_of("no/such/folder.png"), &source, 0.0, 1.0), CZ_E_IO);
    bad.width = WIDTH - 1;
    assert_int_equal(cz_overlay_write(path_of("f.png"), &photo, &bad, 0.0, 1.0), CZ_E_ARG);
    bad.rows = NULL;
    assert_int_equal(cz_heatmap_write_rows(path_of("d.png"), &bad, 0.0, 1.0), CZ_E_ARG);
    assert_null(small.pixels);
}

/* ---- large strips ---- */

static unsigned sample(size_t x, size_t y, unsigned c, unsigned bits)
{
    const unsigned v = (unsigned)(x * 7 + y * 13 + c * 101 + x * y / 50);
    return bits == 8 ? v & 255u : (v * 641u) & 65535u;
}

/* Modes of libtiff: w little-endian, b big-endian, 8 BigTIFF. */
static void write_tiff(const char *path, const char *mode, unsigned bits, unsigned samples, uint16_t compression,
                       uint32_t strip_rows)
{
    TIFF *tif = TIFFOpen(path, mode);
    assert_non_null(tif);
    TIFFSetField(tif, TIFFTAG_IMAGEWIDTH, (uint32_t)LARGE_W);
    TIFFSetField(tif, TIFFTAG_IMAGELENGTH, (uint32_t)LARGE_H);
    TIFFSetField(tif, TIFFTAG_BITSPERSAMPLE, bits);
    TIFFSetField(tif, TIFFTAG_SAMPLESPERPIXEL, samples);
    TIFFSetField(tif, TIFFTAG_COMPRESSION, compression);
    TIFFSetField(tif, TIFFTAG_PHOTOMETRIC, samples == 3 ? PHOTOMETRIC_RGB : PHOTOMETRIC_MINISBLACK);
    TIFFSetField(tif, TIFFTAG_PLANARCONFIG, PLANARCONFIG_CONTIG);
    TIFFSetField(tif, TIFFTAG_ROWSPERSTRIP, strip_rows);
    uint16_t row[LARGE_W * 3];
    for (size_t y = 0; y < LARGE_H; y++) {
        for (size_t i = 0; i < (size_t)LARGE_W * samples; i++) {
            const unsigned v = sample(i / samples, y, (unsigned)(i % samples), bits);
            if (bits == 8)
                ((uint8_t *)row)[i] = (uint8_t)v;
            else
                row[i] = (uint16_t)v;
        }
        assert_int_equal(TIFFWriteScanline(tif, row, (uint32_t)y, 0), 1);
    }
    TIFFClose(tif);
}

static void check_picture(const cz_picture *p, unsigned bits, unsigned samples)
{
    assert_true(p->image.width == LARGE_W && p->image.height == LARGE_H);
    assert_int_equal(p->image.format, samples == 3 ? CZ_RGB8 : bits == 8 ? CZ_GRAY8 : CZ_GRAY16);
    for (size_t y = 0; y < LARGE_H; y++) {
        const uint8_t *row = (const uint8_t *)p->pixels + y * p->image.stride;
        for (size_t i = 0; i < (size_t)LARGE_W * samples; i++) {
            const unsigned v = sample(i / samples, y, (unsigned)(i % samples), bits);
            uint16_t wide = 0;
            if (p->image.format == CZ_GRAY16) {
                memcpy(&wide, row + 2 * i, 2);
                assert_int_equal(wide, v);
            } else {
                assert_int_equal(row[i], bits == 8 ? v : (v * 255u + 32767u) / 65535u);
            }
        }
    }
}

static uint8_t *slurp(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    *size = (size_t)ftell(f);
    rewind(f);
    uint8_t *bytes = malloc(*size);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, *size, f), *size);
    (void)fclose(f);
    return bytes;
}

static void spill(const char *path, const uint8_t *bytes, size_t size)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

static void large_strips(void **state)
{
    (void)state;
    static const char *const modes[] = {"wl", "wb", "w8l"};
    static const uint16_t compressions[] = {COMPRESSION_NONE, COMPRESSION_LZW, COMPRESSION_ADOBE_DEFLATE,
                                            COMPRESSION_PACKBITS};
    const cz_read_options options = CZ_READ_OPTIONS_INIT;
    const char *path = "";
    for (unsigned kind = 0; kind < 3 * 4 * 2 * 2; kind++) {
        const unsigned bits = kind % 2 ? 16 : 8, samples = kind / 2 % 2 ? 3 : 1;
        const uint32_t strip = kind % 5 == 0 ? 600 : LARGE_H; /* two strips, or one of everything */
        path = path_of("large.tif");
        write_tiff(path, modes[kind / 4 % 3], bits, samples, compressions[kind / 12], strip);
        cz_picture p = {0}, q = {0};
        if (cz_picture_read(path, &options, &p) != CZ_OK) fail_msg("%s", cz_last_error());
        check_picture(&p, bits, samples);
        size_t size;
        uint8_t *bytes = slurp(path, &size);
        assert_int_equal(cz_picture_decode(bytes, size, &options, &q), CZ_OK);
        assert_memory_equal(p.pixels, q.pixels, p.image.stride * p.image.height);
        cz_picture_free(&p);
        cz_picture_free(&q);
        free(bytes);
    }
}

/* Offsets and sizes of strips that lie are no pictures. */
static void damaged(void **state)
{
    (void)state;
    const cz_read_options options = CZ_READ_OPTIONS_INIT;
    cz_picture p = {0};
    size_t size, found = 0;
    char path[200], cut[200];
    (void)snprintf(path, sizeof path, "%s", path_of("whole.tif"));
    (void)snprintf(cut, sizeof cut, "%s", path_of("cut.tif"));
    for (int packed = 0; packed < 2; packed++) {
        write_tiff(path, "wl", 8, 3, packed ? COMPRESSION_PACKBITS : COMPRESSION_NONE, LARGE_H);
        TIFF *tif = TIFFOpen(path, "r");
        const uint64_t at = TIFFGetStrileOffset(tif, 0), bytes = TIFFGetStrileByteCount(tif, 0);
        TIFFClose(tif);
        uint8_t *all = slurp(path, &size);
        /* the table comes last in such files: the strip's offset in it is made wrong */
        for (size_t i = (size_t)(at + bytes); i + 12 <= size; i += 2) {
            uint16_t tag, type;
            memcpy(&tag, all + i, 2);
            memcpy(&type, all + i + 2, 2);
            if (tag != TIFFTAG_STRIPOFFSETS || (type != TIFF_LONG && type != TIFF_SHORT)) continue;
            uint8_t kept[4];
            memcpy(kept, all + i + 8, 4);
            memset(all + i + 8, 0xFF, 4);
            spill(cut, all, size);
            assert_int_equal(cz_picture_read(cut, &options, &p), CZ_E_FORMAT);
            memcpy(all + i + 8, kept, 4);
            found++;
        }
        spill(cut, all, size / 2);
        assert_int_equal(cz_picture_read(cut, &options, &p), CZ_E_FORMAT);
        assert_null(p.pixels);
        free(all);
    }
    assert_int_equal(found, 2);
    const cz_read_options small = {sizeof small, 0, 1000};
    assert_int_equal(cz_picture_read(path, &small, &p), CZ_E_LIMIT);
    assert_non_null(strstr(cz_last_error(), "whole.tif"));
}

static int set_up(void **state)
{
    (void)state;
    uint32_t seed = 3;
    for (size_t i = 0; i < WIDTH * HEIGHT; i++) {
        seed = seed * 1664525u + 1013904223u;
        map[i] = seed >> 28 == 0 ? NAN : (float)(seed >> 8) / 4194304.0f - 1.5f;
        for (size_t c = 0; c < 3; c++) photo_bytes[3 * i + c] = (uint8_t)(seed >> (8 + 5 * c));
    }
    return mkdtemp(folder) != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    static const char *const names[] = {"a.png", "b.png",     "c.png",     "d.png",
                                        "e.png", "large.tif", "whole.tif", "cut.tif"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) (void)unlink(path_of(names[i]));
    return rmdir(folder); /* nothing else is left */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heat_map),     cmocka_unit_test(overlay), cmocka_unit_test(failures),
        cmocka_unit_test(large_strips), cmocka_unit_test(damaged),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
