/* SPDX-License-Identifier: Apache-2.0 */
/* Photos that score each other (cozad_mutual.h): descriptors against a naive twin, the odd photo, seeds and threads, photos that cannot be
 * read, refusals. The comparison itself: test_mutual_batch.c. */
#include "api/mutual_describe.h"
#include "api/patches.h"
#include "cozad/cozad_mutual.h"
#include "tensor/dtype.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static double rounded(float value)
{
    return (double)cz_bf16_to_f32(cz_f32_to_bf16(value));
}

static void check_near(double got, double wanted, double off, const char *what, size_t i)
{
    if (!(fabs(got - wanted) <= off)) fail_msg("%s of photo %zu: %.9g, wanted %.9g", what, i, got, wanted);
}

static int stop_at(void *ctx, const char *what, size_t done, size_t total, const char *detail)
{
    size_t *left = ctx;
    (void)what;
    (void)detail;
    assert_true(done <= total);
    return (*left)-- == 0;
}

enum { COUNT = 12, SIDE = 64, ODD_PHOTO = 5 };

static uint8_t photos[COUNT][SIDE * SIDE];
static cz_backbone *backbone;
static size_t broken = SIZE_MAX;

static cz_status load(void *ctx, size_t index, cz_image *out)
{
    (void)ctx;
    if (index == broken) return cz_source_error(CZ_E_FORMAT, "no picture");
    *out = (cz_image){photos[index], SIDE, SIDE, SIDE, CZ_GRAY8};
    return CZ_OK;
}

static int setup(void **state)
{
    (void)state;
    cz_rng rng;
    cz_rng_init(&rng, 3, CZ_RNG_TEST, 0, 0);
    for (size_t i = 0; i < COUNT; i++)
        for (size_t p = 0; p < SIDE * SIDE; p++)
            photos[i][p] = (uint8_t)(110 + (p / SIDE + p % SIDE) % 16 + (size_t)(cz_rng_uniform(&rng) * 8.0));
    for (size_t y = 20; y < 44; y++) memset(&photos[ODD_PHOTO][y * SIDE + 24], 255, 20);
    return cz_backbone_open("random:resnet18:1", &backbone) == CZ_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    cz_backbone_close(backbone);
    return 0;
}

static cz_image_source source_of(size_t count)
{
    cz_image_source source = CZ_IMAGE_SOURCE_INIT;
    source.count = count;
    source.load = load;
    return source;
}

static void small_options(cz_mutual_options *o)
{
    cz_mutual_options_init(o);
    o->image_width = o->image_height = SIDE;
    o->width = 32;
    o->threads = 1;
}

/* Of 3 x 3 cells, nine always: outside is zero. */
static void naive_mean(double *values, size_t w, size_t h, size_t n)
{
    double *from = malloc(w * h * n * sizeof *from);
    assert_non_null(from);
    memcpy(from, values, w * h * n * sizeof *from);
    for (size_t i = 0; i < w * h * n; i++) {
        const long x = (long)(i / n % w), y = (long)(i / n / w);
        values[i] = 0.0;
        for (long v = y - 1; v <= y + 1; v++)
            for (long u = x - 1; u <= x + 1; u++)
                if (v >= 0 && u >= 0 && v < (long)h && u < (long)w)
                    values[i] += from[((size_t)v * w + (size_t)u) * n + i % n] / 9.0;
    }
    free(from);
}

/* One tap of one photo, projected and on the grid of the first. */
static void naive_projection(const cz_mutual_describe *how, size_t photo, size_t tap, size_t gw, size_t gh, double *out)
{
    const cz_tap_shape *s = cz_extractor_shape(how->extractor, tap);
    const size_t n = how->width, c = s->channels;
    const uint16_t *maps[CZ_MAX_TAPS];
    float *projection = malloc(c * n * sizeof *projection);
    double *small = calloc(s->height * s->width * n, sizeof *small);
    cz_rng rng;
    assert_non_null(projection);
    assert_non_null(small);
    cz_extractor_maps(how->extractor, how->set->items[photo].values, maps);
    cz_rng_init(&rng, how->seed, CZ_RNG_MUTUAL, 0, ((uint32_t)1 << 20) + (uint32_t)tap);
    cz_rng_normal_fill(&rng, 0, projection, c * n, 1.0f / sqrtf((float)n));
    for (size_t p = 0; p < s->height * s->width; p++)
        for (size_t k = 0; k < n; k++)
            for (size_t j = 0; j < c; j++)
                small[p * n + k] += (double)cz_bf16_to_f32(maps[tap][p * c + j]) * rounded(projection[j * n + k]);
    if (how->neighbourhood == 3) naive_mean(small, s->width, s->height, n);
    for (size_t p = 0; p < gw * gh; p++) {
        const double v = fmax(((double)(p / gw) + 0.5) * (double)s->height / (double)gh - 0.5, 0.0);
        const double u = fmax(((double)(p % gw) + 0.5) * (double)s->width / (double)gw - 0.5, 0.0);
        const size_t y = (size_t)v, x0 = (size_t)u, y1 = y + 1 < s->height ? y + 1 : y,
                     x1 = x0 + 1 < s->width ? x0 + 1 : x0;
        const double b = v - (double)y, a = u - (double)x0;
        for (size_t k = 0; k < n; k++)
            out[p * n + k] =
                (1 - b) * ((1 - a) * small[(y * s->width + x0) * n + k] + a * small[(y * s->width + x1) * n + k]) +
                b * ((1 - a) * small[(y1 * s->width + x0) * n + k] + a * small[(y1 * s->width + x1) * n + k]);
    }
    free(projection);
    free(small);
}

/* The descriptors themselves: projection, upsampling, root mean square, mean. */
static void descriptors_of(size_t neighbourhood)
{
    enum { WIDTH = 8, TAPS = 2 };
    cz_patch_set set;
    cz_mutual_batch b;
    const cz_image_source source = source_of(COUNT);
    const cz_prep prep = {.width = SIDE, .height = SIDE};
    const cz_cache_options cache = CZ_CACHE_OPTIONS_INIT; /* no store */
    const cz_patch_options options = {.backbone = backbone,
                                      .source = &source,
                                      .taps = "layer2,layer3",
                                      .prep = &prep,
                                      .width = 96,
                                      .threads = 1,
                                      .precision = CZ_PRECISION_FP32,
                                      .cache = &cache};
    if (cz_patch_set_create(&options, &set) != CZ_OK) fail_msg("%s", cz_last_error());
    const cz_mutual_describe how = {.extractor = set.extractor,
                                    .set = &set.set,
                                    .source = &source,
                                    .width = WIDTH,
                                    .neighbourhood = neighbourhood,
                                    .seed = 9};
    if (cz_mutual_describe_all(&how, &b) != CZ_OK) fail_msg("%s", cz_last_error());
    assert_int_equal(b.width, TAPS * WIDTH);
    const size_t patches = b.grid_w * b.grid_h;
    assert_int_equal(patches, set.grid);
    double *all = malloc(COUNT * patches * WIDTH * sizeof *all), worst = 0.0;
    assert_non_null(all);
    for (size_t t = 0; t < TAPS; t++) {
        double square = 0.0, mean[WIDTH] = {0};
        for (size_t i = 0; i < COUNT; i++) naive_projection(&how, i, t, b.grid_w, b.grid_h, all + i * patches * WIDTH);
        for (size_t j = 0; j < COUNT * patches * WIDTH; j++) {
            square += all[j] * all[j] / (double)(COUNT * patches);
            mean[j % WIDTH] += all[j] / (double)(COUNT * patches);
        }
        for (size_t j = 0; j < COUNT * patches * WIDTH; j++) {
            const size_t i = j / WIDTH / patches, p = j / WIDTH % patches, k = t * WIDTH + j % WIDTH;
            const double got = (double)cz_bf16_to_f32(b.values[(i * b.width + k) * patches + p]);
            const double wanted = (all[j] - mean[j % WIDTH]) / sqrt(square);
            worst = fmax(worst, fabs(got - wanted) / fmax(1.0, fabs(wanted)));
        }
    }
    print_message("descriptors differ from the twin's by at most %.2g of the larger ones\n", worst);
    assert_true(worst < 4.5e-3); /* bf16 rounds by up to 2^-8 */
    free(all);
    cz_mutual_batch_free(&b);
    cz_patch_set_free(&set);
}

static void descriptors(void **state)
{
    (void)state;
    descriptors_of(1);
    descriptors_of(3);
}

static cz_mutual_scores *score(const cz_image_source *source, const cz_mutual_options *o)
{
    cz_mutual_scores *s = NULL;
    if (cz_mutual_score(backbone, source, o, &s) != CZ_OK) fail_msg("%s", cz_last_error());
    return s;
}

static void finds_the_odd_photo(void **state)
{
    (void)state;
    cz_mutual_options o;
    cz_mutual_photo odd, p;
    double low, high, peak = -1.0;
    small_options(&o);
    const cz_image_source source = source_of(COUNT);
    cz_mutual_scores *s = score(&source, &o);
    assert_int_equal(cz_mutual_scores_count(s), COUNT);
    assert_int_equal(cz_mutual_scores_skipped(s), 0);
    assert_int_equal(cz_mutual_scores_at(s, ODD_PHOTO, &odd), CZ_OK);
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(cz_mutual_scores_at(s, i, &p), CZ_OK);
        assert_int_equal(p.index, i);
        assert_true(p.nearest != i && p.nearest < COUNT);
        assert_int_equal(p.width, SIDE);
        assert_true(i == ODD_PHOTO || (p.score < odd.score && p.raw < odd.raw && p.placed < odd.placed));
    }
    assert_int_equal(cz_mutual_scores_at(s, COUNT, &p), CZ_E_ARG);
    assert_in_range(odd.place_x, 16, 52);
    assert_in_range(odd.place_y, 12, 52);
    static float map[SIDE * SIDE];
    assert_int_equal(cz_mutual_scores_map(s, ODD_PHOTO, map), CZ_OK);
    assert_int_equal(cz_mutual_scores_map(s, COUNT, map), CZ_E_ARG);
    size_t at = 0;
    for (size_t i = 0; i < SIDE * SIDE; i++) {
        assert_true(isfinite(map[i]));
        if ((double)map[i] > peak) {
            peak = (double)map[i];
            at = i;
        }
    }
    assert_in_range(at % SIDE, 12, 56);
    assert_in_range(at / SIDE, 8, 56);
    cz_mutual_scores_scale(s, &low, &high);
    assert_true(low > 0.0 && low < high && high < 100.0);
    cz_mutual_scores_free(s);
}

static cz_mutual_way way_of(cz_mutual_neighbourhood neighbourhood, cz_mutual_among among, double *raw)
{
    cz_mutual_options o;
    cz_mutual_photo photo;
    cz_mutual_way way;
    small_options(&o);
    o.neighbourhood = neighbourhood;
    o.among = among;
    o.candidates = 4;
    const cz_image_source source = source_of(COUNT);
    cz_mutual_scores *s = score(&source, &o);
    cz_mutual_scores_way(s, &way);
    assert_int_equal(cz_mutual_scores_at(s, 0, &photo), CZ_OK);
    *raw = photo.raw;
    cz_mutual_scores_free(s);
    return way;
}

/* What was asked for is done; else the photos decide, which is then what asking for that gives. */
static void the_way(void **state)
{
    (void)state;
    double of_auto, alone, wide, drawn, same;
    const cz_mutual_way way = way_of(CZ_MUTUAL_NEIGHBOURHOOD_AUTO, CZ_MUTUAL_AMONG_AUTO, &of_auto);
    assert_true(way.nearer > 0.0 && way.nearer <= 1.0 && way.repeated >= 0.0);
    assert_int_equal(way.neighbourhood, way.nearer < CZ_MUTUAL_ANYHOW ? 1 : 3);
    cz_mutual_way asked = way_of(CZ_MUTUAL_NEIGHBOURHOOD_1, CZ_MUTUAL_AMONG_SIMILAR, &alone);
    assert_int_equal(asked.neighbourhood, CZ_MUTUAL_NEIGHBOURHOOD_1);
    assert_int_equal(asked.among, CZ_MUTUAL_AMONG_SIMILAR);
    assert_true(isnan(asked.nearer) && isnan(asked.repeated));
    asked = way_of(CZ_MUTUAL_NEIGHBOURHOOD_3, CZ_MUTUAL_AMONG_SIMILAR, &wide);
    assert_int_equal(asked.neighbourhood, CZ_MUTUAL_NEIGHBOURHOOD_3);
    asked = way_of(CZ_MUTUAL_NEIGHBOURHOOD_AUTO, CZ_MUTUAL_AMONG_DRAWN, &drawn);
    assert_int_equal(asked.among, CZ_MUTUAL_AMONG_DRAWN);
    assert_int_equal(asked.neighbourhood, way.neighbourhood);
    (void)way_of(way.neighbourhood, way.among, &same);
    check_near(same, of_auto, 0.0, "raw", 0);
    assert_true(fabs(alone - wide) > 1e-4 && fabs(drawn - of_auto) > 1e-4);
}

static cz_status load_twice(void *ctx, size_t index, cz_image *out)
{
    return load(ctx, index / 2, out);
}

/* Every piece is there twice, under another name: photos are compared with drawn ones, and never with their own piece. */
static void pieces_twice(void **state)
{
    (void)state;
    cz_mutual_options o;
    cz_mutual_photo p;
    cz_mutual_way way;
    small_options(&o);
    o.candidates = 4;
    cz_image_source source = source_of(2 * COUNT);
    source.load = load_twice;
    cz_mutual_scores *s = score(&source, &o);
    cz_mutual_scores_way(s, &way);
    assert_int_equal(way.among, CZ_MUTUAL_AMONG_DRAWN);
    assert_true(way.repeated >= 1.0 && way.nearer >= CZ_MUTUAL_ANYHOW);
    for (size_t i = 0; i < 2 * COUNT; i++) {
        assert_int_equal(cz_mutual_scores_at(s, i, &p), CZ_OK);
        assert_int_equal(p.nearest, i ^ 1);
        assert_true(p.same_piece >= 1 && p.raw > 0.0);
    }
    cz_mutual_scores_free(s);
}

static void check_same(const cz_mutual_scores *a, const cz_mutual_scores *b, double off)
{
    cz_mutual_photo p, q;
    assert_int_equal(cz_mutual_scores_count(a), cz_mutual_scores_count(b));
    for (size_t i = 0; i < cz_mutual_scores_count(a); i++) {
        assert_int_equal(cz_mutual_scores_at(a, i, &p), CZ_OK);
        assert_int_equal(cz_mutual_scores_at(b, i, &q), CZ_OK);
        check_near(p.raw, q.raw, off, "raw", i);
        check_near(p.placed, q.placed, off, "placed", i);
    }
}

static void seeds_and_threads(void **state)
{
    (void)state;
    cz_mutual_options o;
    cz_mutual_photo p, q;
    small_options(&o);
    const cz_image_source source = source_of(COUNT);
    cz_mutual_scores *one = score(&source, &o), *again = score(&source, &o);
    check_same(one, again, 0.0);
    cz_mutual_scores_free(again);
    o.threads = 2;
    again = score(&source, &o);
    check_same(one, again, 2e-3); /* a different order of sums may round a descriptor to its other bf16 neighbour */
    cz_mutual_scores_free(again);
    o.seed = 1;
    again = score(&source, &o);
    assert_int_equal(cz_mutual_scores_at(one, 0, &p), CZ_OK);
    assert_int_equal(cz_mutual_scores_at(again, 0, &q), CZ_OK);
    assert_true(fabs(p.raw - q.raw) > 1e-6);
    cz_mutual_scores_free(again);
    cz_mutual_scores_free(one);
}

/* A photo that cannot be read is not there, and the others keep their numbers; a letterbox's padding is not inspected. */
static void left_out_and_padded(void **state)
{
    (void)state;
    cz_mutual_options o;
    cz_mutual_photo p;
    small_options(&o);
    o.image_width = 2 * SIDE;
    o.fit = CZ_FIT_LETTERBOX;
    broken = 2;
    const cz_image_source source = source_of(COUNT);
    cz_mutual_scores *s = score(&source, &o);
    broken = SIZE_MAX;
    assert_int_equal(cz_mutual_scores_count(s), COUNT - 1);
    assert_int_equal(cz_mutual_scores_skipped(s), 1);
    for (size_t i = 0; i < COUNT - 1; i++) {
        assert_int_equal(cz_mutual_scores_at(s, i, &p), CZ_OK);
        assert_int_equal(p.index, i < 2 ? i : i + 1);
        assert_int_not_equal(p.nearest, 2);
        assert_true(isnan(p.patch_scores[0]) && isfinite(p.patch_scores[p.grid_width / 2]) && isfinite(p.score));
        assert_true(p.place_x < SIDE && p.place_y < SIDE);
    }
    cz_mutual_scores_free(s);
}

static void wrong(const cz_image_source *source, const cz_mutual_options *o, cz_status wanted, const char *text)
{
    cz_mutual_scores *s = NULL;
    assert_int_equal(cz_mutual_score(backbone, source, o, &s), wanted);
    assert_null(s);
    if (strstr(cz_last_error(), text) == NULL) fail_msg("\"%s\" does not say \"%s\"", cz_last_error(), text);
}

static void public_refusals(void **state)
{
    (void)state;
    cz_mutual_options o;
    small_options(&o);
    cz_image_source source = source_of(7), enough = source_of(8), all = source_of(COUNT);
    wrong(&source, &o, CZ_E_NO_IMAGES, "from 8 on; there are 7");
    broken = 3;
    wrong(&enough, &o, CZ_E_NO_IMAGES, "only 7 of 8 photos");
    broken = SIZE_MAX;
    cz_mutual_scores_free(score(&enough, &o));
    o.memory = 1000;
    wrong(&all, &o, CZ_E_LIMIT, "12 photos of 8x8 patches");
    small_options(&o);
    o.candidates = 0;
    wrong(&all, &o, CZ_E_ARG, "candidates");
    small_options(&o);
    o.nearest = 0;
    wrong(&all, &o, CZ_E_ARG, "nearest");
    small_options(&o);
    o.width = 5000;
    wrong(&all, &o, CZ_E_ARG, "1 … 4096");
    small_options(&o);
    o.taps = "layer9";
    wrong(&all, &o, CZ_E_ARG, "layer9");
    small_options(&o);
    o.neighbourhood = 2;
    wrong(&all, &o, CZ_E_ARG, "neither 1 nor 3");
    small_options(&o);
    o.among = 7;
    wrong(&all, &o, CZ_E_ARG, "choice of photos 7");
    small_options(&o);
    o.precision = CZ_PRECISION_AUTO;
    wrong(&all, &o, CZ_E_ARG, "auto");
    o.struct_size = 4;
    wrong(&all, &o, CZ_E_ARG, "struct_size");
    for (size_t when = 0; when < 60; when += 7) { /* in every phase */
        size_t left = when;
        small_options(&o);
        o.progress = stop_at;
        o.ctx = &left;
        cz_mutual_scores *s = NULL;
        const cz_status status = cz_mutual_score(backbone, &all, &o, &s);
        assert_int_equal(status, when < 12 + 24 + 12 ? CZ_E_CANCELLED : status);
        cz_mutual_scores_free(s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(descriptors),       cmocka_unit_test(finds_the_odd_photo),
        cmocka_unit_test(seeds_and_threads), cmocka_unit_test(left_out_and_padded),
        cmocka_unit_test(pieces_twice),      cmocka_unit_test(the_way),
        cmocka_unit_test(public_refusals),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
