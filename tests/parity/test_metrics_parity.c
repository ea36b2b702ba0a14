/* SPDX-License-Identifier: Apache-2.0 */
/* Against scikit-learn and scipy.ndimage.label: make_metrics_goldens.py, which also says how the data are made. */
#include "cozad/cozad_eval.h"
#include "util/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MOST = 8192 };

static void assert_near(double got, double want, double within, const char *what, unsigned seed)
{
    if (isnan(got) && isnan(want)) return;
    if (!(fabs(got - want) <= within)) print_error("%s of %u: %.17g is not %.17g\n", what, seed, got, want);
    assert_true(fabs(got - want) <= within);
}

static void check_image(const char *fields)
{
    unsigned seed, count;
    double levels, share, want[3], scores[256];
    uint8_t labels[256];
    cz_figures f;
    assert_int_equal(
        sscanf(fields, "%u %u %lf %lf %lf %lf %lf", &seed, &count, &levels, &share, want, want + 1, want + 2), 7);
    assert_true(count <= 256);
    for (size_t i = 0; i < count; i++) {
        scores[i] = floor((double)cz_hash_uniform(cz_name_hash("score", seed), i) * levels) / 64;
        labels[i] = cz_hash_uniform(cz_name_hash("label", seed), i) < (float)share;
    }
    const cz_evaluation_options options = {sizeof options, 0, 0, 0, 0, 1};
    assert_int_equal(cz_score_figures(scores, labels, count, &options, &f), CZ_OK);
    for (int m = 0; m < 3; m++) assert_near(f.metric[m].value, want[m], 1e-9, cz_metric_name((cz_metric)m), seed);
}

static void make_pixels(unsigned seed, size_t image, size_t w, size_t h, float levels, double density, float *map,
                        uint8_t *mask)
{
    for (size_t i = 0; i < w * h; i++) {
        const float noise = cz_hash_uniform(cz_name_hash("mask", seed), image * w * h + i);
        mask[i] = image % 2 == 1 && density > 0 && noise * 0.5f + 0.5f < (float)density;
    }
    for (size_t r = 0; r < 2 && image % 2 == 1 && density > 0; r++) {
        size_t corner[4];
        for (size_t k = 0; k < 4; k++)
            corner[k] =
                (size_t)(((double)cz_hash_uniform(cz_name_hash("corner", seed), 8 * image + 4 * r + k) + 1) * 0.5 * 8);
        for (size_t y = corner[1]; y < corner[1] + corner[3]; y++)
            for (size_t x = corner[0]; x < corner[0] + corner[2]; x++) mask[y * w + x] = 1;
    }
    for (size_t i = 0; i < w * h; i++) {
        const float u = cz_hash_uniform(cz_name_hash("map", seed), image * w * h + i);
        map[i] = floorf((u + 0.5f * (float)mask[i]) * levels) / levels;
    }
}

static void check_pixel(const char *fields)
{
    static float map[MOST];
    static uint8_t mask[MOST];
    unsigned seed, images, w, h, regions;
    double levels, density, want[6];
    cz_figures f;
    assert_int_equal(sscanf(fields, "%u %u %u %u %lf %lf %lf %lf %lf %lf %lf %lf %u", &seed, &images, &w, &h, &levels,
                            &density, want, want + 1, want + 2, want + 3, want + 4, want + 5, &regions),
                     13);
    assert_true(w * h <= MOST && w >= 16 && h >= 16);
    for (int mode = 0; mode < 4; mode++) { /* streaming or exact; the definition or SimpleNet's */
        const cz_evaluation_options options = {sizeof options, 0, 0, mode & 1, mode >> 1, 1};
        cz_evaluation *e;
        assert_int_equal(cz_evaluation_open(&options, &e), CZ_OK);
        for (size_t k = 0; k < images; k++) {
            make_pixels(seed, k, w, h, (float)levels, density, map, mask);
            assert_int_equal(cz_evaluation_add(e, "a", k % 2, 0.5, map, mask, w, h), CZ_OK);
        }
        assert_int_equal(cz_evaluation_figures(e, 0, &f), CZ_OK);
        assert_int_equal(f.regions, regions);
        for (int m = 0; m < 5; m++) {
            const cz_figure *got = &f.metric[CZ_PIXEL_AUROC + m];
            if (mode & 1) assert_false(got->bound > 0);
            if (mode >> 1 && m == 4) continue; /* not theirs */
            assert_near(got->value, mode >> 1 && m == 3 ? want[5] : want[m], got->bound + 1e-9,
                        cz_metric_name((cz_metric)(CZ_PIXEL_AUROC + m)), seed);
        }
        cz_evaluation_close(e);
    }
}

static void goldens(void **state)
{
    (void)state;
    FILE *file = fopen(TEST_FILES "/metrics.txt", "r");
    char line[1024];
    int image = 0, pixel = 0;
    assert_non_null(file);
    while (fgets(line, sizeof line, file)) {
        if (strncmp(line, "image ", 6) == 0) {
            check_image(line + 6);
            image++;
        } else {
            assert_memory_equal(line, "pixel ", 6);
            check_pixel(line + 6);
            pixel++;
        }
    }
    fclose(file);
    assert_int_equal(image, 40);
    assert_int_equal(pixel, 14);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(goldens)};
    return cmocka_run_group_tests_name("metrics_parity", tests, NULL, NULL);
}
