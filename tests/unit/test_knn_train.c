/* SPDX-License-Identifier: Apache-2.0 */
/* Method "knn": turned photos, drawn photos, what comes into the bank, and the model that comes of it. */
#include "api/model.h"
#include "api/rotate.h"
#include "api/subset.h"
#include "cozad/cozad_eval.h"
#include "heads/knn.h"
#include "tensor/tensors.h"
#include "util/alloc.h"
#include "util/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { PHOTOS = 12, SIDE = 64, GRID = 64, ALL = PHOTOS * GRID, WIDTH = 48 };

static unsigned char pixels[PHOTOS][SIDE * SIDE];
static char names[PHOTOS][16];
static bool backwards; /* the source gives the photos in the opposite order */
static cz_backbone *backbone;
static char path[] = "/tmp/cozad-knn-XXXXXX";

static size_t place(size_t index)
{
    return backwards ? PHOTOS - 1 - index : index;
}

static cz_status load(void *ctx, size_t index, cz_image *out)
{
    (void)ctx;
    *out = (cz_image){pixels[place(index)], SIDE, SIDE, SIDE, CZ_GRAY8};
    return CZ_OK;
}

static const char *name_of(void *ctx, size_t index)
{
    (void)ctx;
    return names[place(index)];
}

static cz_image_source photos(size_t count)
{
    cz_image_source source = CZ_IMAGE_SOURCE_INIT;
    source.count = count;
    source.load = load;
    source.name = name_of;
    return source;
}

static int set_up(void **state)
{
    (void)state;
    unsigned s = 5;
    for (unsigned i = 0; i < PHOTOS; i++) {
        (void)snprintf(names[i], sizeof names[i], "p%02u.png", i);
        for (unsigned p = 0; p < SIDE * SIDE; p++) {
            s = s * 1664525u + 1013904223u;
            pixels[i][p] = (unsigned char)((p % SIDE * (2 + i % 3) + p / SIDE * 3) % 200 + (s >> 27));
        }
    }
    const int file = mkstemp(path);
    if (file < 0) return -1;
    close(file);
    return cz_backbone_open("random:resnet18:1", &backbone) == CZ_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(path);
    cz_backbone_close(backbone);
    return 0;
}

static cz_train_options options(void)
{
    cz_train_options o;
    cz_train_options_init(&o);
    o.method = "knn";
    o.image_width = o.image_height = SIDE;
    o.feature_width = WIDTH;
    o.quantise_images = 0;
    o.threads = 2;
    o.seed = 3;
    return o;
}

static cz_model *train_on(const cz_train_options *o, size_t count)
{
    cz_model *model = NULL;
    const cz_image_source source = photos(count);
    if (cz_train(backbone, &source, o, &model) != CZ_OK) fail_msg("%s", cz_last_error());
    return model;
}

static void refused(const cz_train_options *o, const char *words)
{
    cz_model *model = NULL;
    const cz_image_source source = photos(PHOTOS);
    assert_int_equal(cz_train(backbone, &source, o, &model), CZ_E_ARG);
    if (strstr(cz_last_error(), words) == NULL) fail_msg("not about \"%s\": %s", words, cz_last_error());
}

static double score_of(const cz_model *m, const unsigned char *photo)
{
    cz_session *session = NULL;
    cz_session_options o = CZ_SESSION_OPTIONS_INIT;
    cz_result result;
    const cz_image image = {photo, SIDE, SIDE, SIDE, CZ_GRAY8};
    o.threads = 1;
    if (cz_session_open(m, &o, &session) != CZ_OK || cz_score(session, &image, &result) != CZ_OK)
        fail_msg("%s", cz_last_error());
    const double score = result.score;
    cz_session_close(session);
    return score;
}

static double distance2(const float *a, const float *b, size_t width)
{
    double sum = 0;
    for (size_t i = 0; i < width; i++) sum += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    return sum;
}

static void fill(float *points, size_t count, uint64_t seed)
{
    cz_rng rng;
    cz_rng_init(&rng, seed, CZ_RNG_TEST, 0, 0);
    for (size_t i = 0; i < count; i++) points[i] = (float)cz_rng_normal(&rng);
}

/* ---- turned photos ------------------------------------------------------------------------------------------------ */

static cz_image given;

static cz_status load_given(void *ctx, size_t index, cz_image *out)
{
    (void)ctx;
    if (index == 1) return cz_source_error(CZ_E_FORMAT, "no picture");
    *out = given;
    return CZ_OK;
}

/* Turned by step * 360 / turns; `out` has the picture's size. */
static void turned(const cz_image *image, size_t turns, size_t step, const cz_roi *roi, unsigned char *out)
{
    static const size_t bytes[] = {1, 2, 3, 3, 4, 4};
    cz_image_source source = CZ_IMAGE_SOURCE_INIT;
    cz_rotated r;
    cz_image got;
    source.count = 2;
    source.load = load_given;
    given = *image;
    assert_int_equal(cz_rotated_init(&source, turns, roi, &r), CZ_OK);
    assert_int_equal(r.source.count, 2 * (turns - 1));
    assert_int_equal(r.source.load(r.source.ctx, step - 1, &got), CZ_OK);
    assert_true(got.width == image->width && got.height == image->height && got.format == image->format);
    const size_t row = image->width * bytes[image->format];
    for (size_t y = 0; y < image->height; y++)
        memcpy(out + y * row, (const unsigned char *)got.data + y * got.stride, row);
    r.source.release(r.source.ctx, step - 1, &got);
    assert_int_equal(r.source.load(r.source.ctx, turns - 1, &got), CZ_E_FORMAT); /* photo 1 */
}

static void test_quarter_turns(void **state)
{
    enum { N = 9, STRIDE = 31 };
    (void)state;
    unsigned char in[N * STRIDE], out[N * N * 3];
    const cz_roi all = {0, 0, 0, 0};
    for (size_t i = 0; i < sizeof in; i++) in[i] = (unsigned char)(i * 37 + i / 7);
    const cz_image image = {in, N, N, STRIDE, CZ_RGB8};
    for (size_t step = 1; step < 4; step++) {
        turned(&image, 4, step, &all, out);
        for (size_t y = 0; y < N; y++)
            for (size_t x = 0; x < N; x++) /* clockwise: the left column becomes the top row */
                for (size_t c = 0; c < 3; c++) {
                    const size_t sx = step == 1 ? y : step == 2 ? N - 1 - x : N - 1 - y;
                    const size_t sy = step == 1 ? N - 1 - x : step == 2 ? N - 1 - y : x;
                    assert_int_equal(out[(y * N + x) * 3 + c], in[sy * STRIDE + sx * 3 + c]);
                }
    }
}

static void test_any_turn(void **state)
{
    enum { W = 40, H = 24 };
    (void)state;
    static unsigned short in[W * H], out[W * H];
    static unsigned char flat[W * H], round[W * H];
    const cz_roi all = {0, 0, 0, 0}, part = {4, 2, 9, 9};
    /* a plane stays a plane where no corner is filled in */
    for (size_t i = 0; i < W * H; i++) in[i] = (unsigned short)(1000 + 300 * (i % W) + 500 * (i / W));
    const cz_image image = {in, W, H, W * sizeof *in, CZ_GRAY16};
    turned(&image, 8, 1, &all, (unsigned char *)out);
    const double half = sqrt(0.5);
    for (size_t y = 0; y < H; y++)
        for (size_t x = 0; x < W; x++) {
            const double dx = (double)x - 19.5, dy = (double)y - 11.5;
            const double sx = 19.5 + half * (dx + dy), sy = 11.5 + half * (dy - dx);
            assert_true(out[y * W + x] >= 1000 && out[y * W + x] <= 1000 + 300 * (W - 1) + 500 * (H - 1));
            if (sx < 0 || sy < 0 || sx > W - 1 || sy > H - 1) continue;
            assert_true(fabs((double)out[y * W + x] - (1000 + 300 * sx + 500 * sy)) <= 1);
        }
    /* about the region's middle, (8, 6): what was 3 to its left is 3 above it; no corner is black */
    memset(flat, 200, sizeof flat);
    flat[6 * W + 5] = 90;
    const cz_image grey = {flat, W, H, W, CZ_GRAY8};
    turned(&grey, 4, 1, &part, round);
    for (size_t i = 0; i < W * H; i++) assert_true(round[i] == 200 || round[i] == 90);
    assert_int_equal(round[3 * W + 8], 90);
    /* rows from outside are the mirror image of those inside: -2 is 2, -1 is 1, 3 is 1, 4 is 0 */
    static const size_t mirrored[] = {2, 1, 0, 1, 2, 1, 0};
    const cz_image low = {flat, 7, 3, 7, CZ_GRAY8};
    for (size_t i = 0; i < 21; i++) flat[i] = (unsigned char)(i + 1);
    turned(&low, 4, 1, &all, round);
    for (size_t y = 0; y < 3; y++)
        for (size_t x = 0; x < 7; x++) assert_int_equal(round[y * 7 + x], flat[mirrored[6 - x] * 7 + 2 + y]);
    flat[0] = 200;
    /* one pixel has nothing to turn */
    const cz_image one = {flat, 1, 1, 1, CZ_GRAY8};
    turned(&one, 5, 2, &all, round);
    assert_int_equal(round[0], 200);
}

/* ---- drawn photos ------------------------------------------------------------------------------------------------- */

static unsigned drawn(size_t count, uint64_t seed)
{
    const cz_image_source source = photos(PHOTOS);
    cz_subset s;
    unsigned set = 0;
    assert_int_equal(cz_subset_draw(&source, count, seed, &s), CZ_OK);
    assert_int_equal(s.source.count, count);
    for (size_t i = 0; i < count; i++) {
        assert_true(i == 0 || s.index[i] > s.index[i - 1]);
        set |= 1u << strtoul(s.source.name(s.source.ctx, i) + 1, NULL, 10);
    }
    cz_subset_free(&s);
    return set;
}

static void test_shots(void **state)
{
    (void)state;
    unsigned differ = 0;
    for (uint64_t seed = 0; seed < 6; seed++) {
        const unsigned set = drawn(4, seed);
        assert_int_equal(set, drawn(4, seed));
        backwards = true;
        assert_int_equal(set, drawn(4, seed));
        backwards = false;
        differ += set != drawn(4, seed + 1);
    }
    assert_true(differ >= 5);
    assert_int_equal(drawn(PHOTOS, 1), (1u << PHOTOS) - 1);
    cz_train_options o = options();
    o.shots = PHOTOS + 1;
    refused(&o, "13 shots are more than the 12 photos");
    o.shots = 4;
    cz_model *model = train_on(&o, PHOTOS);
    unsigned set = 0;
    assert_int_equal(cz_model_photos_count(model), 4);
    for (size_t i = 0; i < 4; i++) {
        cz_training_photo photo;
        assert_int_equal(cz_model_photo_at(model, i, &photo), CZ_OK);
        set |= 1u << strtoul(photo.name + 1, NULL, 10);
    }
    assert_int_equal(set, drawn(4, o.seed));
    assert_non_null(strstr(cz_model_json(model), "\"shots\": 4"));
    cz_model_close(model);
    o.method = "simplenet"; /* any method */
    o.epochs = 1;
    model = train_on(&o, PHOTOS);
    assert_int_equal(cz_model_photos_count(model), 4);
    cz_model_close(model);
}

/* ---- models ------------------------------------------------------------------------------------------------------- */

/* All patches fit: each training photo's are there, the file is no larger than they are, and reads back as it was. */
static void test_all_fit(void **state)
{
    (void)state;
    unsigned char other[SIDE * SIDE];
    cz_train_options o = options();
    cz_model *model = train_on(&o, PHOTOS), *read = NULL, *again = train_on(&o, PHOTOS);
    assert_int_equal(model->head->config.bank, ALL);
    assert_int_equal(model->head->param_count, ALL * WIDTH);
    assert_true(model->state[0] == ALL);
    assert_memory_equal(model->params, again->params, ALL * WIDTH * sizeof(float));
    assert_string_equal(cz_model_json(model), cz_model_json(again));
    for (size_t i = 0; i < PHOTOS; i++) assert_true(score_of(model, pixels[i]) == 0);
    assert_true(model->score_median > 0 && model->score_max > model->score_median); /* own patches do not count */
    for (size_t i = 0; i < sizeof other; i++) other[i] = (unsigned char)(255 - pixels[0][i]);
    assert_true(score_of(model, other) > 0.5 * model->score_median);
    assert_int_equal(cz_model_save(model, path), CZ_OK);
    if (cz_model_open(path, backbone, &read) != CZ_OK) fail_msg("%s", cz_last_error());
    assert_int_equal(read->head->config.bank, ALL);
    assert_true(score_of(read, other) == score_of(model, other));
    assert_string_equal(cz_model_json(read), cz_model_json(model));
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    assert_true((size_t)ftell(file) < ALL * WIDTH * sizeof(float) + 16384);
    (void)fclose(file);
    cz_adapt_options adapt;
    cz_model *adapted = NULL;
    const cz_image_source source = photos(4);
    cz_adapt_options_init(&adapt);
    assert_int_equal(cz_adapt(model, &source, &adapt, &adapted, NULL), CZ_E_UNSUPPORTED);
    cz_model_close(model);
    cz_model_close(again);
    cz_model_close(read);
}

/* Rows of the bank are patches of the whole bank, in its order. */
static void check_rows(const cz_model *part, const cz_model *whole)
{
    size_t at = 0;
    const size_t bytes = WIDTH * sizeof(float);
    for (size_t i = 0; i < part->head->config.bank; i++, at++) {
        while (at < ALL && memcmp(part->params + i * WIDTH, whole->params + at * WIDTH, bytes) != 0) at++;
        assert_true(at < ALL);
    }
}

/* The largest distance of a patch to the bank: what a coreset keeps small. */
static double radius(const cz_model *part, const cz_model *whole)
{
    float *scores = malloc(ALL * sizeof *scores);
    double most = 0;
    assert_int_equal(cz_head_score(part->head, part->params, part->state, whole->params, ALL, scores), CZ_OK);
    for (size_t i = 0; i < ALL; i++) most = fmax(most, (double)scores[i]);
    free(scores);
    return most;
}

static void test_selection(void **state)
{
    (void)state;
    cz_train_options o = options();
    cz_model *whole = train_on(&o, PHOTOS), *model[5];
    o.knn.bank = 60;
    model[0] = train_on(&o, PHOTOS);
    o.threads = 1;
    model[1] = train_on(&o, PHOTOS);
    o.seed++;
    model[2] = train_on(&o, PHOTOS);
    o.seed--;
    o.knn.select = "random";
    model[3] = train_on(&o, PHOTOS);
    o.seed++;
    model[4] = train_on(&o, PHOTOS);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(model[i]->head->config.bank, 60);
        assert_true(model[i]->state[0] == 60);
        check_rows(model[i], whole);
    }
    const size_t bytes = 60 * WIDTH * sizeof(float);
    assert_memory_equal(model[0]->params, model[1]->params, bytes); /* whatever the threads */
    assert_memory_not_equal(model[0]->params, model[2]->params, bytes);
    assert_memory_not_equal(model[0]->params, model[3]->params, bytes);
    assert_memory_not_equal(model[3]->params, model[4]->params, bytes);
    assert_true(radius(model[0], whole) < 0.9 * radius(model[3], whole));
    assert_non_null(strstr(cz_model_json(model[0]), "\"candidates\": 480")); /* 8 times the bank */
    assert_non_null(strstr(cz_model_json(model[3]), "\"candidates\": 60"));
    for (size_t i = 0; i < 5; i++) cz_model_close(model[i]);
    cz_model_close(whole);
}

static void test_rotations(void **state)
{
    (void)state;
    unsigned char quarter[SIDE * SIDE], eighth[SIDE * SIDE];
    const cz_roi all = {0, 0, 0, 0};
    const cz_image image = {pixels[2], SIDE, SIDE, SIDE, CZ_GRAY8};
    turned(&image, 4, 1, &all, quarter);
    turned(&image, 8, 1, &all, eighth);
    cz_train_options o = options();
    cz_model *plain = train_on(&o, 3);
    o.knn.rotations = 4;
    cz_model *model = train_on(&o, 3);
    assert_int_equal(model->head->config.bank, 3 * 4 * GRID);
    assert_int_equal(cz_model_photos_count(model), 3);
    assert_non_null(strstr(cz_model_json(model), "\"images\": 3"));
    assert_true(score_of(model, pixels[2]) == 0 && score_of(model, quarter) == 0);
    assert_true(score_of(plain, quarter) > 0 && score_of(model, eighth) > 0);
    assert_true(model->score_median > 0 && model->score_median <= plain->score_median);
    cz_model_close(model);
    cz_model_close(plain);
    for (size_t n = 1; n <= 2; n++) { /* one photo alone: its strips are compared with each other */
        o.knn.rotations = n;
        model = train_on(&o, 1);
        assert_int_equal(model->head->config.bank, n * GRID);
        assert_true(model->score_median > 0 && score_of(model, pixels[0]) == 0);
        cz_model_close(model);
    }
}

/* Photos that are all the same: nothing is farther than 0, so the bank stays small, and no row is left without itself. */
static void test_equal_photos(void **state)
{
    (void)state;
    static unsigned char kept[SIDE * SIDE];
    memcpy(kept, pixels[1], sizeof kept);
    memcpy(pixels[1], pixels[0], sizeof kept);
    cz_train_options o = options();
    o.knn.bank = 100;
    cz_model *model = train_on(&o, 2);
    assert_int_equal(model->head->config.bank, GRID);
    assert_true(score_of(model, pixels[1]) == 0);
    cz_model_close(model);
    memcpy(pixels[1], kept, sizeof kept);
}

static void test_score_without(void **state)
{
    enum { ROWS = 40, D = 5, QUERIES = 9 };
    (void)state;
    float bank[ROWS * D], queries[QUERIES * D], scores[QUERIES], filled = ROWS;
    cz_head_config config;
    cz_head *head = NULL;
    fill(bank, ROWS * D, 5);
    fill(queries, QUERIES * D, 6);
    cz_head_config_init(&config);
    config.width = D;
    config.bank = ROWS;
    assert_int_equal(cz_head_create("knn", &config, &head), CZ_OK);
    const size_t ranges[][2] = {{0, 0}, {0, 7}, {7, 21}, {21, ROWS}, {0, ROWS}};
    for (size_t k = 0; k < 5; k++) {
        const size_t first = ranges[k][0], end = ranges[k][1];
        const bool all = first == 0 && end == ROWS;
        assert_int_equal(cz_knn_score_without(head, bank, &filled, first, end, queries, QUERIES, scores), CZ_OK);
        for (size_t q = 0; q < QUERIES; q++) {
            double best = INFINITY;
            for (size_t i = 0; i < ROWS; i++)
                if (all || i < first || i >= end) best = fmin(best, distance2(queries + q * D, bank + i * D, D));
            assert_true(fabs((double)scores[q] - sqrt(best)) <= 1e-5);
        }
    }
    assert_int_equal(cz_knn_score_without(head, bank, &filled, 3, ROWS + 1, queries, 1, scores), CZ_E_INTERNAL);
    cz_head_destroy(head);
}

/* ---- what is refused ---------------------------------------------------------------------------------------------- */

static void test_refused(void **state)
{
    (void)state;
    uint8_t half[4] = {0, 255, 0, 255};
    const cz_image mask = {half, 2, 2, 2, CZ_GRAY8};
    cz_train_options o = options();
    o.detector = "knn";
    cz_model_close(train_on(&o, 2));
    o.detector = "flow";
    refused(&o, "trains the detector of that name");
    o = options();
    o.knn.select = "best";
    refused(&o, "not one of: coreset, random");
    o = options();
    o.knn.bank = 0;
    refused(&o, "bank of 0");
    o = options();
    o.knn.bank = CZ_KNN_MAX_BANK + 1;
    refused(&o, "bank of 4194305");
    o = options();
    o.knn.rotations = 361;
    refused(&o, "361 rotations");
    o = options();
    o.knn.rotations = 2;
    o.ignore_mask = &mask;
    refused(&o, "would not turn");
    o = options();
    o.knn.rotations = 2;
    o.method = "simplenet";
    refused(&o, "rotations are for method \"knn\"");
    o = options();
    o.method = "comet";
    o.detector = "knn";
    refused(&o, "not one of: simplenet, flow");
    o = options();
    o.knn.struct_size = 8;
    refused(&o, "cz_knn_options");
}

static int cancel(void *ctx, const char *what, size_t done, size_t total, const char *detail)
{
    (void)total;
    const char *wanted = ctx;
    return strcmp(what, "training") == 0 && strcmp(detail, wanted) == 0 && done > 0;
}

static void test_cancelled(void **state)
{
    (void)state;
    static char details[][24] = {"reading patches", "choosing patches", "filling the bank"};
    for (size_t i = 0; i < 3; i++) {
        cz_train_options o = options();
        cz_model *model = NULL;
        const cz_image_source source = photos(PHOTOS);
        o.knn.bank = 300;
        o.progress = cancel;
        o.ctx = details[i];
        assert_int_equal(cz_train(backbone, &source, &o, &model), CZ_E_CANCELLED);
        assert_null(model);
    }
}

/* Settings and sizes of a file come from outside. */
static void test_hostile(void **state)
{
    (void)state;
    static const char *const texts[][2] = {
        {"\"bank\": 768", "\"bank\": 767"},     {"\"bank\": 768", "\"bank\": 769"},
        {"\"bank\": 768", "\"bank\": 0"},       {"\"bank\": 768", "\"bank\": 4194305"},
        {"\"bank\": 768", "\"bank\": \"768\""}, {"\"knn\": {", "\"known\": {"}};
    static const float filled[] = {0, 769, 1.5f, -1};
    const cz_train_options o = options();
    cz_model *model = train_on(&o, PHOTOS), *read = NULL;
    cz_tensors *tensors = NULL;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const char *json = cz_model_json(model), *at = strstr(json, texts[i][0]);
        if (at == NULL) fail_msg("no %s in %s", texts[i][0], json);
        char *changed = cz_format("%.*s%s%s", (int)(at - json), json, texts[i][1], at + strlen(texts[i][0]));
        assert_int_equal(cz_model_save(model, path), CZ_OK);
        assert_int_equal(cz_tensors_open(path, &tensors), CZ_OK);
        assert_int_equal(cz_tensors_set_metadata(tensors, "cozad", changed), CZ_OK);
        assert_int_equal(cz_tensors_save(tensors, path), CZ_OK);
        cz_tensors_close(tensors);
        if (cz_model_inspect(path, &read) != CZ_E_MODEL) fail_msg("%s was read", texts[i][1]);
        cz_free(changed);
    }
    for (size_t i = 0; i < sizeof filled / sizeof *filled; i++) {
        model->state[0] = filled[i];
        assert_int_equal(cz_model_save(model, path), CZ_OK);
        if (cz_model_inspect(path, &read) != CZ_E_MODEL) fail_msg("%g rows were read", (double)filled[i]);
    }
    cz_model_close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quarter_turns), cmocka_unit_test(test_any_turn),      cmocka_unit_test(test_shots),
        cmocka_unit_test(test_all_fit),       cmocka_unit_test(test_selection),     cmocka_unit_test(test_rotations),
        cmocka_unit_test(test_equal_photos),  cmocka_unit_test(test_score_without), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_cancelled),     cmocka_unit_test(test_hostile)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
