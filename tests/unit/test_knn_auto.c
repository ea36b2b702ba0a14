/* SPDX-License-Identifier: Apache-2.0 */
/* Method "knn" with rotations and neighbourhood left open: drawn parts at any angle, and such that always lie the same way. */
#include "api/model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { PHOTOS = 33, SIDE = 64, PIXELS = SIDE * SIDE };

static unsigned char anyhow[PHOTOS][PIXELS], same[PHOTOS][PIXELS];
static unsigned char (*shown)[PIXELS] = anyhow;
static cz_backbone *backbone;
static char path[] = "/tmp/cozad-auto-XXXXXX";
static char told[600]; /* the log's line about it */
static size_t lines;   /* of that kind */
static bool stop;      /* while angles are looked for */

/* ---- drawn parts -------------------------------------------------------------------------------------------------- */

/* A hammer, in its own coordinates: not the same at any two angles. */
static double part(double x, double y)
{
    if (fabs(x) < 3 && y > -14 && y < 22) return 60;
    if (y > -22 && y <= -14 && x > -12 && x < 18) return x > 8 ? 235 : 30;
    return 150;
}

static void draw(unsigned char *out, double angle, double dx, double dy, unsigned *seed)
{
    const double c = cos(angle), s = sin(angle);
    for (size_t p = 0; p < PIXELS; p++) {
        double sum = 0;
        for (size_t k = 0; k < 9; k++) { /* edges without steps */
            const double x = (double)(p % SIDE) + (double)(k % 3) / 3 - SIDE / 2 - dx;
            const double y = (double)(p / SIDE) + (double)(k / 3) / 3 - SIDE / 2 - dy;
            sum += part(x * c + y * s, y * c - x * s);
        }
        *seed = *seed * 1664525u + 1013904223u;
        out[p] = (unsigned char)(sum / 9 + (double)(*seed >> 29));
    }
}

static cz_status load(void *ctx, size_t index, cz_image *out)
{
    (void)ctx;
    *out = (cz_image){shown[index], SIDE, SIDE, SIDE, CZ_GRAY8};
    return CZ_OK;
}

static cz_image_source photos(size_t count)
{
    cz_image_source source = CZ_IMAGE_SOURCE_INIT;
    source.count = count;
    source.load = load;
    return source;
}

static int set_up(void **state)
{
    (void)state;
    unsigned seed = 7;
    for (size_t i = 0; i < PHOTOS; i++) {
        const double dx = (double)(i * 5 % 7) / 3 - 1, dy = (double)(i * 3 % 5) / 2 - 1;
        draw(anyhow[i], 2.399963 * (double)i, dx, dy, &seed); /* the golden angle */
        draw(same[i], 0.3 + 0.01 * (double)(i % 3), dx, dy, &seed);
    }
    const int file = mkstemp(path);
    if (file < 0) return -1;
    close(file);
    return cz_backbone_open("builtin", &backbone) == CZ_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(path);
    cz_backbone_close(backbone);
    return 0;
}

/* ---- training ----------------------------------------------------------------------------------------------------- */

static void note(void *ctx, const char *line)
{
    (void)ctx;
    if (strstr(line, ": auto means") == NULL) return;
    (void)snprintf(told, sizeof told, "%s", line);
    lines++;
}

static int progress(void *ctx, const char *what, size_t done, size_t total, const char *detail)
{
    (void)ctx;
    (void)total;
    return stop && strcmp(what, "training") == 0 && strcmp(detail, "looking for angles") == 0 && done > 0;
}

static cz_train_options options(size_t rotations, size_t neighbourhood)
{
    cz_train_options o;
    cz_train_options_init(&o);
    o.method = "knn";
    o.image_width = o.image_height = SIDE;
    o.feature_width = 48;
    o.quantise_images = 0;
    o.threads = 2;
    o.seed = 3;
    o.knn.rotations = rotations;
    o.neighbourhood = neighbourhood;
    o.log = note;
    o.progress = progress;
    return o;
}

static cz_model *train_on(const cz_train_options *o, size_t count)
{
    cz_model *model = NULL;
    const cz_image_source source = photos(count);
    told[0] = '\0';
    lines = 0;
    if (cz_train(backbone, &source, o, &model) != CZ_OK) fail_msg("%s", cz_last_error());
    return model;
}

static void has(const cz_model *model, const char *text)
{
    if (strstr(cz_model_json(model), text) == NULL) fail_msg("no %s in %s", text, cz_model_json(model));
}

static bool has_not(const cz_model *model, const char *text)
{
    return strstr(cz_model_json(model), text) == NULL;
}

/* What was chosen, by the model, its description and the log. */
static void chose(const cz_train_options *o, size_t count, size_t rotations, size_t neighbourhood, const char *why)
{
    char text[64];
    cz_model *model = train_on(o, count);
    const size_t grid = SIDE / 8 * (SIDE / 8);
    assert_int_equal(lines, 1);
    if (strstr(told, why) == NULL) fail_msg("not about \"%s\": %s", why, told);
    assert_int_equal(model->neighbourhood, neighbourhood);
    assert_int_equal(model->head->config.bank, count * rotations * grid);
    (void)snprintf(text, sizeof text, "\"rotations\": %zu", rotations);
    has(model, text);
    (void)snprintf(text, sizeof text, "\"neighbourhood\": %zu", neighbourhood);
    has(model, text);
    (void)snprintf(text, sizeof text, "rotations: auto means %zu here", rotations);
    assert_true((strstr(told, text) != NULL) == (o->knn.rotations == 0));
    (void)snprintf(text, sizeof text, "neighbourhood: auto means %zu here", neighbourhood);
    assert_true((strstr(told, text) != NULL) == (o->neighbourhood == 0));
    has(model, o->knn.rotations == 0 ? "\"rotations\": true" : "\"rotations\": false");
    has(model, o->neighbourhood == 0 ? "\"neighbourhood\": true" : "\"neighbourhood\": false");
    assert_true(has_not(model, "\"reason\"") != has_not(model, "\"fall\""));
    cz_model_close(model);
}

/* ---- tests -------------------------------------------------------------------------------------------------------- */

static void test_any_angle(void **state)
{
    (void)state;
    static const char why[] = "nearer to each other; from 10 % on parts lie anyhow";
    shown = anyhow;
    for (size_t k = 2; k <= 8; k *= 2) {
        const cz_train_options o = options(0, 0);
        chose(&o, k, 16, 1, why);
        printf("    %zu photos at any angle: %s\n", k, told);
    }
    cz_train_options o = options(0, 3);
    chose(&o, 4, 16, 3, why);
    o = options(5, 0);
    chose(&o, 4, 5, 1, why);
    o = options(1, 0);
    chose(&o, 4, 1, 1, why);
}

static void test_same_way(void **state)
{
    (void)state;
    static const char why[] = "nearer to each other; from 10 % on parts lie anyhow";
    shown = same;
    for (size_t k = 2; k <= 8; k *= 2) {
        const cz_train_options o = options(0, 0);
        chose(&o, k, 1, 3, why);
        printf("    %zu photos the same way: %s\n", k, told);
    }
    cz_train_options o = options(0, 1);
    chose(&o, 4, 1, 1, why);
    o = options(5, 0);
    chose(&o, 4, 5, 3, why);
    for (size_t i = 0; i < 4; i++) memcpy(same[i], same[0], PIXELS); /* nothing to fall */
    o = options(0, 0);
    o.knn.select = "random";
    cz_model_close(train_on(&o, 4));
    assert_non_null(strstr(told, " 0.0 %"));
}

/* Where the photos are not asked. */
static void test_not_measured(void **state)
{
    (void)state;
    unsigned char half[4] = {0, 0, 0, 255};
    const cz_image mask = {half, 2, 2, 2, CZ_GRAY8};
    cz_train_options o = options(0, 0);
    shown = anyhow;
    chose(&o, 1, 1, 3, "one photo has no other");
    chose(&o, PHOTOS, 1, 3, "so many photos");
    stop = true; /* they would be asked now */
    chose(&o, PHOTOS, 1, 3, "so many photos");
    stop = false;
    o.ignore_mask = &mask;
    cz_model *model = train_on(&o, 4);
    assert_non_null(strstr(told, "an ignore mask would not turn"));
    has(model, "\"rotations\": 1");
    has(model, "\"reason\": \"an ignore mask");
    cz_model_close(model);
    for (size_t n = 0; n < 2; n++) { /* nothing was open */
        o = options(1 + n, 1 + 2 * n);
        model = train_on(&o, 4);
        assert_int_equal(lines, 0);
        assert_true(has_not(model, "\"auto\""));
        cz_model_close(model);
    }
}

/* The same bank as with what was chosen said by hand, whatever the threads; the file is scored as it was trained. */
static void test_same_model(void **state)
{
    (void)state;
    cz_train_options o = options(0, 0);
    shown = anyhow;
    cz_model *model = train_on(&o, 4), *again = train_on(&o, 4), *read = NULL;
    assert_string_equal(cz_model_json(model), cz_model_json(again));
    cz_model_close(again);
    o.threads = 1;
    again = train_on(&o, 4);
    assert_string_equal(cz_model_json(model), cz_model_json(again));
    const size_t bytes = model->head->param_count * sizeof(float);
    assert_memory_equal(model->params, again->params, bytes);
    cz_model_close(again);
    o = options(16, 1);
    again = train_on(&o, 4);
    assert_int_equal(again->head->param_count, model->head->param_count);
    assert_memory_equal(model->params, again->params, bytes);
    assert_true(model->feature_scale == again->feature_scale && model->score_max == again->score_max);
    assert_int_equal(cz_model_save(model, path), CZ_OK);
    if (cz_model_open(path, backbone, &read) != CZ_OK) fail_msg("%s", cz_last_error());
    cz_session *session = NULL;
    cz_session_options s = CZ_SESSION_OPTIONS_INIT;
    cz_result result;
    const cz_image image = {anyhow[2], SIDE, SIDE, SIDE, CZ_GRAY8};
    if (cz_session_open(read, &s, &session) != CZ_OK || cz_score(session, &image, &result) != CZ_OK)
        fail_msg("%s", cz_last_error());
    assert_true(result.score == 0);
    cz_session_close(session);
    cz_model_close(read);
    cz_model_close(again);
    cz_model_close(model);
}

static void test_stopped(void **state)
{
    (void)state;
    const cz_train_options o = options(0, 0);
    const cz_image_source source = photos(4);
    cz_model *model = NULL;
    stop = true;
    assert_int_equal(cz_train(backbone, &source, &o, &model), CZ_E_CANCELLED);
    assert_null(model);
    stop = false;
}

/* Other methods have nothing to ask. */
static void test_other_methods(void **state)
{
    (void)state;
    const cz_image_source source = photos(4);
    cz_train_options o = options(1, 0);
    cz_model *model = NULL;
    o.method = "simplenet";
    o.epochs = 1;
    o.hidden_width = 16;
    model = train_on(&o, 4);
    assert_int_equal(model->neighbourhood, 3);
    assert_int_equal(lines, 0);
    cz_model_close(model);
    o.knn.rotations = 0;
    model = NULL;
    assert_int_equal(cz_train(backbone, &source, &o, &model), CZ_E_ARG);
    assert_non_null(strstr(cz_last_error(), "rotations are for method \"knn\""));
    o = options(0, 2);
    assert_int_equal(cz_train(backbone, &source, &o, &model), CZ_E_ARG);
    assert_non_null(strstr(cz_last_error(), "a neighbourhood of 2"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_any_angle),     cmocka_unit_test(test_not_measured),
                                       cmocka_unit_test(test_same_model),    cmocka_unit_test(test_stopped),
                                       cmocka_unit_test(test_other_methods), cmocka_unit_test(test_same_way)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
