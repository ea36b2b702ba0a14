/* SPDX-License-Identifier: Apache-2.0 */
/* The public face: training, model files, sessions. */
#include "api/model.h"
#include "cozad/cozad.h"
#include "tensor/tensors.h"
#include "util/file.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "unit/stop.h"

enum { SIDE = 96, PHOTOS = 5, INPUT = 64 };
/* Scores of the first two photos by the model in files/model-v1.cozad, printed when it was made. */
#define V1_SCORE_0 3.58891129
#define V1_SCORE_1 3.62246299

static uint8_t gray[PHOTOS][SIDE * SIDE];
static char folder[] = "/tmp/cozad-api-XXXXXX";
static cz_backbone *backbone;
static cz_model *model;

static const char *path_of(const char *name)
{
    static char path[2][160];
    static int turn;
    turn = !turn;
    (void)snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    return path[turn];
}

static cz_image photo(size_t index)
{
    return (cz_image){gray[index], SIDE, SIDE, SIDE, CZ_GRAY8};
}

/* ctx: index that fails, as size_t *, or NULL */
static cz_status load(void *ctx, size_t index, cz_image *out)
{
    if (ctx != NULL && *(const size_t *)ctx == index) return cz_source_error(CZ_E_FORMAT, "photo is damaged");
    *out = photo(index);
    return CZ_OK;
}

static void small_training(cz_train_options *o)
{
    cz_train_options_init(o);
    o->image_width = o->image_height = INPUT;
    o->feature_width = 16;
    o->hidden_width = 8;
    o->epochs = 3;
    o->patches_per_image = 8;
    o->threads = 1;
    o->seed = 11;
}

static cz_status train(const cz_train_options *o, size_t *bad, cz_model **out)
{
    cz_image_source source = CZ_IMAGE_SOURCE_INIT;
    source.count = PHOTOS;
    source.load = load;
    source.ctx = bad;
    return cz_train(backbone, &source, o, out);
}

static double score_one(const cz_model *m, const cz_session_options *o, const cz_image *image)
{
    cz_session *session = NULL;
    cz_result result;
    assert_int_equal(cz_session_open(m, o, &session), CZ_OK);
    const cz_status status = cz_score(session, image, &result);
    if (status != CZ_OK) fail_msg("%s", cz_last_error());
    const double score = result.score;
    cz_session_close(session);
    return score;
}

/* The same picture in every pixel format, with padding between rows, has one score. */
static void formats(void **state)
{
    (void)state;
    enum { STRIDE = SIDE * 4 + 12 };
    cz_session_options o = CZ_SESSION_OPTIONS_INIT;
    o.threads = 1;
    const cz_image plain = photo(1);
    const double want = score_one(model, &o, &plain);
    static const cz_pixel_format kinds[] = {CZ_RGB8, CZ_BGR8, CZ_RGBA8, CZ_BGRA8, CZ_GRAY16};
    static const size_t sizes[] = {3, 3, 4, 4, 2};
    uint8_t *data = malloc(STRIDE * SIDE);
    for (size_t k = 0; k < 5; k++) {
        memset(data, 0xAB, STRIDE * SIDE);
        for (size_t y = 0; y < SIDE; y++) {
            for (size_t x = 0; x < SIDE; x++) {
                /* 16 bits: v * 257 is what 8 bits mean */
                for (size_t c = 0; c < (sizes[k] == 4 ? 3 : sizes[k]); c++)
                    data[y * STRIDE + x * sizes[k] + c] = gray[1][y * SIDE + x];
            }
        }
        const cz_image image = {data, SIDE, SIDE, STRIDE, kinds[k]};
        assert_true(score_one(model, &o, &image) == want);
    }
    free(data);
}

static void results(void **state)
{
    (void)state;
    cz_session *session = NULL;
    cz_session_options o = CZ_SESSION_OPTIONS_INIT;
    cz_image images[PHOTOS];
    cz_result results[PHOTOS];
    double single[PHOTOS];
    for (size_t i = 0; i < PHOTOS; i++) {
        images[i] = photo(i);
        single[i] = score_one(model, &o, &images[i]);
    }
    o.max_batch = 2; /* 5 photos: two pairs and a rest */
    assert_int_equal(cz_session_open(model, &o, &session), CZ_OK);
    assert_int_equal(cz_score_batch(session, images, PHOTOS, results), CZ_OK);
    for (size_t i = 0; i < PHOTOS; i++) {
        assert_true(fabs(results[i].score - single[i]) <= 1e-4 * fmax(1.0, fabs(single[i])));
        assert_true(results[i].map_width == SIDE && results[i].map_height == SIDE);
        assert_true(results[i].grid_width == INPUT / 8 && results[i].grid_height == INPUT / 8);
        float most = -INFINITY;
        for (size_t p = 0; p < (INPUT / 8) * (INPUT / 8); p++) most = fmaxf(most, results[i].patch_scores[p]);
        assert_true((double)most == results[i].score);
        for (size_t p = 0; p < SIDE * SIDE; p++)
            assert_true(isfinite(results[i].map[p]) && results[i].map[p] <= most + 1e-4f);
    }
    assert_int_equal(cz_score_batch(session, images, 0, results), CZ_OK);
    images[0].stride = 1;
    assert_int_equal(cz_score(session, &images[0], results), CZ_E_ARG);
    images[0].data = NULL;
    assert_int_equal(cz_score(session, &images[0], results), CZ_E_ARG);
    cz_timing timing;
    cz_session_timing(session, &timing);
    cz_session_close(session);
}

/* No inference result depends on the thread count beyond rounding of a bf16 map. */
static void threads(void **state)
{
    (void)state;
    cz_session_options o = CZ_SESSION_OPTIONS_INIT;
    const cz_image image = photo(2);
    o.threads = 1;
    const double one = score_one(model, &o, &image);
    for (size_t n = 2; n <= 4; n++) {
        o.threads = n;
        assert_true(fabs(score_one(model, &o, &image) - one) <= 1e-4 * fmax(1.0, fabs(one)));
    }
}

static void regions(void **state)
{
    (void)state;
    cz_train_options t;
    small_training(&t);
    t.roi = (cz_roi){16, 8, 64, 80};
    uint8_t mask[4] = {255, 0, 0, 0}; /* the region's upper left quarter is not inspected */
    const cz_image ignore = {mask, 2, 2, 2, CZ_GRAY8};
    t.ignore_mask = &ignore;
    cz_model *m = NULL, *back = NULL;
    assert_int_equal(train(&t, NULL, &m), CZ_OK);
    assert_int_equal(cz_model_save(m, path_of("roi.cozad")), CZ_OK);
    assert_int_equal(cz_model_open(path_of("roi.cozad"), backbone, &back), CZ_OK);
    cz_session *session = NULL;
    cz_result r;
    const cz_image image = photo(0);
    assert_int_equal(cz_session_open(back, NULL, &session), CZ_OK);
    assert_int_equal(cz_score(session, &image, &r), CZ_OK);
    for (size_t y = 0; y < SIDE; y++) {
        for (size_t x = 0; x < SIDE; x++) {
            const int inside = x >= 16 && x < 80 && y >= 8 && y < 88, ignored = x < 48 && y < 48;
            assert_int_equal(isnan(r.map[y * SIDE + x]) ? 1 : 0, !inside || ignored);
        }
    }
    assert_true(isnan(r.patch_scores[0]) && isfinite(r.patch_scores[7]));
    cz_session_close(session);
    mask[0] = mask[1] = mask[2] = mask[3] = 255;
    cz_session_options o = CZ_SESSION_OPTIONS_INIT;
    o.ignore_mask = &ignore;
    assert_int_equal(cz_session_open(back, &o, &session), CZ_OK);
    assert_int_equal(cz_score(session, &image, &r), CZ_E_ARG); /* nothing is left to inspect */
    cz_session_close(session);
    cz_model_close(m);
    cz_model_close(back);
}

static void cancels_anywhere(void **state)
{
    (void)state;
    cz_train_options t;
    small_training(&t);
    stop s = {0, 0};
    t.progress = progress;
    t.ctx = &s;
    cz_model *m = NULL;
    assert_int_equal(train(&t, NULL, &m), CZ_OK);
    cz_model_close(m);
    const size_t calls = s.calls;
    for (size_t at = 1; at <= calls; at++) {
        s = (stop){0, at};
        m = NULL;
        assert_int_equal(train(&t, NULL, &m), CZ_E_CANCELLED);
        assert_null(m);
    }
}

static void bad_training(void **state)
{
    (void)state;
    cz_train_options t;
    cz_model *m = NULL;
    small_training(&t);
    t.method = "magic";
    assert_int_equal(train(&t, NULL, &m), CZ_E_ARG);
    small_training(&t);
    t.taps = "layer2,layer9";
    assert_int_equal(train(&t, NULL, &m), CZ_E_ARG);
    small_training(&t);
    t.struct_size = 8;
    assert_int_equal(train(&t, NULL, &m), CZ_E_ARG);
    small_training(&t);
    t.epochs = 0;
    assert_int_equal(train(&t, NULL, &m), CZ_E_ARG);
    cz_image_source none = CZ_IMAGE_SOURCE_INIT;
    none.load = load;
    small_training(&t);
    assert_int_equal(cz_train(backbone, &none, &t, &m), CZ_E_NO_IMAGES);
    /* A damaged photo is left out, and the model knows how many it has seen. */
    size_t bad = 3;
    assert_int_equal(train(&t, &bad, &m), CZ_OK);
    assert_true(strstr(cz_model_json(m), "\"images\": 4") != NULL &&
                strstr(cz_model_json(m), "\"images_skipped\": 1") != NULL);
    cz_model_close(m);
}

/* ---- files ---------------------------------------------------------------------------------------------------- */

/* Opens the small model's file as tensors, replaces `from` by `to` in its JSON, adds a tensor, and parses the result. */
static cz_status edited(const char *from, const char *to, cz_model **out)
{
    cz_tensors *t = NULL;
    assert_int_equal(cz_tensors_open(path_of("model.cozad"), &t), CZ_OK);
    const char *json = cz_tensors_metadata(t, "cozad"), *at = strstr(json, from);
    assert_non_null(at);
    char *text = malloc(strlen(json) + strlen(to) + 1);
    (void)sprintf(text, "%.*s%s%s", (int)(at - json), json, to, at + strlen(from));
    assert_int_equal(cz_tensors_set_metadata(t, "cozad", text), CZ_OK);
    free(text);
    const float value = 5.0f;
    const cz_tensor_view extra = {"calib.future", CZ_F32, 1, {1}, &value, sizeof value};
    assert_int_equal(cz_tensors_add(t, &extra), CZ_OK);
    assert_int_equal(cz_tensors_set_metadata(t, "note", "kept"), CZ_OK);
    assert_int_equal(cz_tensors_save(t, path_of("edited.cozad")), CZ_OK);
    cz_tensors_close(t);
    return cz_model_open(path_of("edited.cozad"), backbone, out);
}

static void refuses(const char *from, const char *to)
{
    cz_model *m = NULL;
    const cz_status status = edited(from, to, &m);
    if (status != CZ_E_MODEL) fail_msg("%s -> %s: %s", from, to, cz_status_name(status));
    assert_true(strstr(cz_last_error(), "edited.cozad: ") != NULL);
}

static void model_files(void **state)
{
    (void)state;
    cz_model *m = NULL;
    assert_int_equal(edited("\"precision\"", "\"from_the_future\": [1, 2], \"precision\"", &m), CZ_OK);
    assert_int_equal(cz_model_save(m, path_of("again.cozad")), CZ_OK);
    assert_non_null(strstr(cz_model_json(m), "from_the_future"));
    cz_model_close(m);
    cz_tensors *t = NULL;
    cz_tensor_view view;
    assert_int_equal(cz_tensors_open(path_of("again.cozad"), &t), CZ_OK);
    assert_int_equal(cz_tensors_find(t, "calib.future", &view), CZ_OK);
    assert_string_equal(cz_tensors_metadata(t, "note"), "kept");
    cz_tensors_close(t);
    assert_int_equal(edited("\"1.0\"", "\"1.7\"", &m), CZ_OK); /* a later minor version */
    cz_model_close(m);
    refuses("\"1.0\"", "\"2.0\"");
    refuses("\"1.0\"", "1");
    refuses("\"feature_width\": 16", "\"feature_width\": 17");
    refuses("\"hidden_width\": 8", "\"hidden_width\": 60000");
    refuses("\"hidden_width\": 8", "\"hidden_width\": -1");
    refuses("\"squash\"", "\"stretch\"");
    refuses("\"width\": 64", "\"width\": 0");
    refuses("\"detector\": \"simplenet\"", "\"detector\": \"oracle\"");
    refuses("\"top_k\": 1", "\"top_k\": 0");
    refuses("\"taps\"", "\"caps\"");
    refuses("{", "[");
}

/* Files of format version 1 are read for ever, and give the scores that they gave when they were made. */
static void version_1_fixture(void **state)
{
    (void)state;
    cz_model *m = NULL;
    if (cz_model_open(TEST_FILES "/model-v1.cozad", backbone, &m) != CZ_OK) fail_msg("%s", cz_last_error());
    cz_session_options o = CZ_SESSION_OPTIONS_INIT;
    o.threads = 1;
    for (size_t i = 0; i < 2; i++) {
        const cz_image image = photo(i);
        const double score = score_one(m, &o, &image);
        const double then[2] = {V1_SCORE_0, V1_SCORE_1};
        if (fabs(score - then[i]) > 1e-3 * fabs(then[i])) fail_msg("photo %zu: %.9g, was %.9g", i, score, then[i]);
    }
    cz_model_close(m);
}

/* ---- threads ---------------------------------------------------------------------------------------------------- */

static void *score_in_thread(void *score)
{
    cz_session_options o = CZ_SESSION_OPTIONS_INIT;
    o.threads = 1;
    const cz_image image = photo(3);
    for (int i = 0; i < 5; i++) *(double *)score = score_one(model, &o, &image);
    return NULL;
}

static void shared_model(void **state)
{
    (void)state;
    pthread_t workers[4];
    double scores[4];
    for (size_t i = 0; i < 4; i++) assert_int_equal(pthread_create(&workers[i], NULL, score_in_thread, &scores[i]), 0);
    for (size_t i = 0; i < 4; i++) (void)pthread_join(workers[i], NULL);
    for (size_t i = 1; i < 4; i++) assert_true(scores[i] == scores[0]);
}

static int set_up(void **state)
{
    (void)state;
    for (size_t p = 0; p < PHOTOS; p++) {
        for (size_t i = 0; i < SIDE * SIDE; i++) {
            gray[p][i] =
                (uint8_t)(100 + 40 * ((i % SIDE / 6 + i / SIDE / 6) % 2) + ((i * 2654435761u + p * 40503u) >> 16) % 16);
        }
    }
    if (mkdtemp(folder) == NULL || setenv("COZAD_HOME", folder, 1) != 0) return -1;
    if (cz_backbone_open("random:resnet18:1", &backbone) != CZ_OK) return -1;
    cz_train_options t;
    small_training(&t);
    if (train(&t, NULL, &model) != CZ_OK) return -1;
    return cz_model_save(model, path_of("model.cozad")) == CZ_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    cz_model_close(model);
    cz_backbone_close(backbone);
    char command[160];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

int main(int argc, char **argv)
{
    if (argc == 2) { /* makes the fixture: test_api FILE */
        void *state = NULL;
        if (set_up(&state) != 0 || cz_model_save(model, argv[1]) != CZ_OK) return 1;
        cz_session_options o = CZ_SESSION_OPTIONS_INIT;
        o.threads = 1;
        for (size_t i = 0; i < 2; i++) {
            const cz_image image = photo(i);
            printf("%.9g\n", score_one(model, &o, &image));
        }
        return tear_down(&state);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formats),     cmocka_unit_test(results),           cmocka_unit_test(threads),
        cmocka_unit_test(regions),     cmocka_unit_test(cancels_anywhere),  cmocka_unit_test(bad_training),
        cmocka_unit_test(model_files), cmocka_unit_test(version_1_fixture), cmocka_unit_test(shared_model)};
    return cmocka_run_group_tests_name("api", tests, set_up, tear_down);
}
