/* SPDX-License-Identifier: Apache-2.0 */
/* cz_adapt: the input model stays whole, the same seed gives the same model, the support loss drops. */
#include "api/model.h"
#include "cozad/cozad.h"
#include "tensor/tensors.h"
#include "util/alloc.h"
#include "util/file.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "unit/stop.h"

enum { SIDE = 96, PHOTOS = 6, INPUT = 64 };

static uint8_t known[PHOTOS][SIDE * SIDE], fresh[PHOTOS][SIDE * SIDE]; /* two products */
static char folder[] = "/tmp/cozad-adapt-XXXXXX";
static cz_backbone *backbone;
static cz_model *plain, *model; /* trained by methods simplenet and cozad */

static const char *path_of(const char *name)
{
    static char path[2][160];
    static int turn;
    turn = !turn;
    (void)snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    return path[turn];
}

/* ctx: the photos; index `bad` cannot be read. */
static size_t bad = SIZE_MAX;

static cz_status load(void *ctx, size_t index, cz_image *out)
{
    if (index == bad) return cz_source_error(CZ_E_FORMAT, "photo is damaged");
    *out = (cz_image){((uint8_t(*)[SIDE * SIDE]) ctx)[index], SIDE, SIDE, SIDE, CZ_GRAY8};
    return CZ_OK;
}

static cz_image_source source_of(void *photos, size_t count)
{
    cz_image_source source = CZ_IMAGE_SOURCE_INIT;
    source.count = count;
    source.load = load;
    source.ctx = photos;
    return source;
}

static cz_adapt_options small(size_t steps)
{
    cz_adapt_options o;
    cz_adapt_options_init(&o);
    o.steps = steps;
    o.inner_lr = 0.02;
    o.patches_per_image = 16;
    o.seed = 4;
    o.threads = 1;
    return o;
}

static cz_model *adapted(const cz_model *from, size_t count, const cz_adapt_options *o, cz_adapt_report *report)
{
    const cz_image_source source = source_of(fresh, count);
    cz_model *out = NULL;
    if (cz_adapt(from, &source, o, &out, report) != CZ_OK) fail_msg("%s", cz_last_error());
    return out;
}

static void saved_bytes(const cz_model *m, uint8_t **bytes, size_t *size)
{
    assert_int_equal(cz_model_save(m, path_of("bytes.cozad")), CZ_OK);
    assert_int_equal(cz_file_read(path_of("bytes.cozad"), 1 << 24, bytes, size), CZ_OK);
}

static bool same_model(const cz_model *a, const cz_model *b)
{
    uint8_t *x, *y;
    size_t nx, ny;
    saved_bytes(a, &x, &nx);
    saved_bytes(b, &y, &ny);
    const bool same = nx == ny && memcmp(x, y, nx) == 0;
    cz_free(x);
    cz_free(y);
    return same;
}

static double score_of(const cz_model *m, uint8_t *pixels)
{
    cz_session *session = NULL;
    cz_result result;
    cz_session_options o = CZ_SESSION_OPTIONS_INIT;
    o.threads = 1;
    const cz_image image = {pixels, SIDE, SIDE, SIDE, CZ_GRAY8};
    assert_int_equal(cz_session_open(m, &o, &session), CZ_OK);
    assert_int_equal(cz_score(session, &image, &result), CZ_OK);
    const double score = result.score;
    cz_session_close(session);
    return score;
}

static void drops_and_repeats(void **state)
{
    (void)state;
    const cz_adapt_options o = small(8);
    cz_adapt_report r, again;
    uint8_t *before, *after;
    size_t size_before, size_after;
    saved_bytes(model, &before, &size_before);
    const double score = score_of(model, fresh[0]);
    cz_model *a = adapted(model, PHOTOS, &o, &r), *b = adapted(model, PHOTOS, &o, &again);
    assert_int_equal(r.images, PHOTOS);
    if (!(r.loss_after < r.loss_before) || !(r.ad_after < r.ad_before))
        fail_msg("loss %g -> %g, L_AD %g -> %g", r.loss_before, r.loss_after, r.ad_before, r.ad_after);
    assert_true(r.mean_weight > 0.0 && r.mean_weight <= 1.0);
    assert_true(same_model(a, b));
    assert_true(r.loss_before == again.loss_before && r.loss_after == again.loss_after);
    saved_bytes(model, &after, &size_after); /* what it came from is as it was, and scores so */
    assert_int_equal(size_before, size_after);
    assert_memory_equal(before, after, size_before);
    assert_true(score_of(model, fresh[0]) == score);
    assert_true(score_of(a, fresh[0]) != score);
    cz_model_close(b);
    cz_adapt_options other = o;
    other.seed++;
    b = adapted(model, PHOTOS, &other, NULL);
    assert_false(same_model(a, b));
    cz_free(before);
    cz_free(after);
    cz_model_close(a);
    cz_model_close(b);
}

/* From a cache of features the model is the same, bit for bit. */
static void feature_store(void **state)
{
    (void)state;
    cz_adapt_options o = small(3);
    cz_model *a = adapted(model, 3, &o, NULL);
    char store[160];
    (void)snprintf(store, sizeof store, "%s", path_of("store"));
    o.cache.dir = store;
    for (int turn = 0; turn < 2; turn++) {
        cz_model *b = adapted(model, 3, &o, NULL);
        assert_true(same_model(a, b));
        cz_model_close(b);
    }
    cz_model_close(a);
}

/* One photo; one patch of it would have no statistics and is refused, not a crash. */
static void few_photos(void **state)
{
    (void)state;
    cz_adapt_options o = small(5);
    cz_adapt_report r;
    cz_model *a = adapted(model, 1, &o, &r);
    assert_int_equal(r.images, 1);
    assert_true(r.mean_weight == 1.0); /* too few photos to tell which of their patches are odd */
    assert_true(r.loss_after < r.loss_before && isfinite(score_of(a, fresh[1])));
    cz_model_close(a);
    o.patches_per_image = 0; /* all of them */
    a = adapted(model, 1, &o, &r);
    assert_true(r.loss_after < r.loss_before);
    cz_model_close(a);
    const cz_image_source none = source_of(fresh, 0), one = source_of(fresh, 1);
    a = NULL;
    assert_int_equal(cz_adapt(model, &none, &o, &a, NULL), CZ_E_NO_IMAGES);
    o.patches_per_image = 1;
    const cz_status status = cz_adapt(model, &one, &o, &a, NULL);
    assert_true(status == CZ_OK || cz_last_error()[0] != '\0');
    cz_model_close(a);
}

/* Statistics and colour scale belong to the final parameters and these photos; the rest of the description is kept. */
static void description(void **state)
{
    (void)state;
    const cz_adapt_options o = small(2);
    cz_adapt_report r;
    cz_model *a = adapted(model, 2, &o, &r), *back = NULL;
    json_t *was = json_loads(cz_model_json(model), 0, NULL), *is = json_loads(cz_model_json(a), 0, NULL);
    static const char *const kept[] = {"training", "backbone", "input", "head", "format_version"};
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        assert_true(json_equal(json_object_get(was, kept[i]), json_object_get(is, kept[i])));
    assert_false(json_equal(json_object_get(was, "training_scores"), json_object_get(is, "training_scores")));
    const json_t *says = json_object_get(is, "adapted");
    assert_int_equal(json_integer_value(json_object_get(says, "images")), 2);
    assert_int_equal(json_integer_value(json_object_get(says, "steps")), 2);
    assert_true(json_real_value(json_object_get(says, "inner_lr")) == 0.02);
    assert_true(json_real_value(json_object_get(says, "loss_before")) == r.loss_before);
    assert_true(json_real_value(json_object_get(says, "loss_after")) == r.loss_after);
    assert_int_equal(json_array_size(json_object_get(says, "pixels_sha256")), 2);
    assert_int_equal(strlen(json_string_value(json_array_get(json_object_get(says, "pixels_sha256"), 1))), 64);
    json_decref(was);
    json_decref(is);
    assert_memory_not_equal(a->state, model->state, a->head->state_count * sizeof(float));
    /* The file is a model like any other, and may be adapted again: it remembers both. */
    assert_int_equal(cz_model_save(a, path_of("a.cozad")), CZ_OK);
    assert_int_equal(cz_model_open(path_of("a.cozad"), backbone, &back), CZ_OK);
    assert_true(score_of(back, fresh[3]) == score_of(a, fresh[3]));
    cz_model *twice = adapted(back, 3, &o, NULL);
    assert_non_null(strstr(cz_model_json(twice), "\"earlier\""));
    cz_model_close(twice);
    cz_model_close(back);
    cz_model_close(a);
}

/* The number of steps and the rate are the model's own unless given; a plainly trained model has the defaults. */
static size_t notes;

static void note(void *ctx, const char *message)
{
    (void)ctx;
    notes += strstr(message, "method cozad") != NULL;
}

static void own_settings(void **state)
{
    (void)state;
    cz_adapt_options o = small(0);
    o.inner_lr = 0.0;
    o.log = note;
    cz_model *a = adapted(model, 2, &o, NULL);
    assert_int_equal(notes, 0);
    assert_non_null(strstr(cz_model_json(a), "\"inner_lr\": 0.0070000000000000001"));
    cz_model_close(a);
    cz_adapt_report r;
    o.inner_lr = 0.02;
    o.steps = 5;
    a = adapted(plain, 4, &o, &r);
    assert_int_equal(notes, 1);
    assert_true(r.loss_after < r.loss_before);
    cz_model_close(a);
}

static void damaged_photo(void **state)
{
    (void)state;
    const cz_adapt_options o = small(1);
    cz_adapt_report r;
    bad = 1;
    cz_model *a = adapted(model, 3, &o, &r);
    bad = SIZE_MAX;
    assert_int_equal(r.images, 2);
    assert_non_null(strstr(cz_model_json(a), "\"images_skipped\": 1"));
    cz_model_close(a);
}

/* ---- refusals --------------------------------------------------------------------------------------------------- */

static cz_status attempt(const cz_model *m, const cz_adapt_options *o)
{
    const cz_image_source source = source_of(fresh, 2);
    cz_model *out = NULL;
    const cz_status status = cz_adapt(m, &source, o, &out, NULL);
    assert_null(out);
    assert_true(cz_last_error()[0] != '\0');
    return status;
}

static void refusals(void **state)
{
    (void)state;
    cz_adapt_options o = small(1);
    cz_backbone *other = NULL;
    cz_model *m = NULL;
    assert_int_equal(cz_model_save(model, path_of("m.cozad")), CZ_OK);
    assert_int_equal(cz_backbone_open("random:resnet18:2", &other), CZ_OK);
    assert_int_equal(cz_model_open(path_of("m.cozad"), other, &m), CZ_E_WEIGHTS);
    cz_backbone_close(other);
    assert_int_equal(cz_model_inspect(path_of("m.cozad"), &m), CZ_OK);
    assert_int_equal(attempt(m, &o), CZ_E_ARG); /* has no backbone */
    cz_model_close(m);
    assert_int_equal(cz_adapt(NULL, NULL, &o, &m, NULL), CZ_E_ARG);
    o.inner_lr = -1.0;
    assert_int_equal(attempt(model, &o), CZ_E_ARG);
    o.inner_lr = (double)NAN;
    assert_int_equal(attempt(model, &o), CZ_E_ARG);
    o = small(SIZE_MAX);
    assert_int_equal(attempt(model, &o), CZ_E_ARG);
    o = small(1);
    o.struct_size = 4;
    assert_int_equal(attempt(model, &o), CZ_E_ARG);
    o = small(30);
    o.inner_lr = 1e30;
    assert_int_equal(attempt(model, &o), CZ_E_DIVERGED);
}

/* Settings of a hostile model file. */
static void hostile_settings(void **state)
{
    (void)state;
    static const char *const edits[][2] = {
        {"\"temperature\": 0.1", "\"temperature\": -1"},
        {"\"knn\": 5", "\"knn\": 1.5"},
        {"\"contrast\": true", "\"contrast\": 1"},
        {"\"decay\": \"matrices\"", "\"decay\": \"most\""},
        {"\"knn\": 5", "\"knn\": 99999999999"},
        {"\"contrast_chunk\": 256", "\"contrast_chunk\": 0"},
        {"\"weight_anchor\": \"median\"", "\"weight_anchor\": [1]"},
    };
    const cz_adapt_options o = small(1);
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        cz_tensors *t = NULL;
        cz_model *m = NULL;
        assert_int_equal(cz_model_save(model, path_of("m.cozad")), CZ_OK);
        assert_int_equal(cz_tensors_open(path_of("m.cozad"), &t), CZ_OK);
        const char *json = cz_tensors_metadata(t, "cozad"), *at = strstr(json, edits[i][0]);
        if (at == NULL) fail_msg("no %s", edits[i][0]);
        char *text = malloc(strlen(json) + strlen(edits[i][1]) + 1);
        (void)sprintf(text, "%.*s%s%s", (int)(at - json), json, edits[i][1], at + strlen(edits[i][0]));
        assert_int_equal(cz_tensors_set_metadata(t, "cozad", text), CZ_OK);
        assert_int_equal(cz_tensors_save(t, path_of("edited.cozad")), CZ_OK);
        free(text);
        cz_tensors_close(t);
        assert_int_equal(cz_model_open(path_of("edited.cozad"), backbone, &m), CZ_OK);
        const cz_status status = attempt(m, &o);
        if (status != CZ_E_MODEL) fail_msg("%s: %s", edits[i][1], cz_status_name(status));
        cz_model_close(m);
    }
}

static void cancels_anywhere(void **state)
{
    (void)state;
    stop s = {0, 0};
    cz_adapt_options o = small(3);
    o.progress = progress;
    o.ctx = &s;
    cz_model_close(adapted(model, 2, &o, NULL));
    const size_t calls = s.calls;
    assert_true(calls > 6);
    for (size_t at = 1; at <= calls; at++) {
        s = (stop){0, at};
        assert_int_equal(attempt(model, &o), CZ_E_CANCELLED);
    }
}

/* Every allocation in turn fails: an error, nothing leaked, nothing half made. */
static void out_of_memory(void **state)
{
    (void)state;
    const cz_adapt_options o = small(2);
    const cz_image_source source = source_of(fresh, 2);
    const unsigned long before = cz_alloc_count();
    cz_model_close(adapted(model, 2, &o, NULL));
    const unsigned long count = cz_alloc_count() - before;
    const unsigned long stride = count > 200 ? count / 200 : 1;
    for (unsigned long n = 1; n <= count; n += stride) {
        cz_model *out = NULL;
        cz_alloc_fail_after(n);
        const cz_status status = cz_adapt(model, &source, &o, &out, NULL);
        cz_alloc_fail_after(0);
        if (status == CZ_OK)
            cz_model_close(out);
        else
            assert_null(out);
        assert_true(status == CZ_OK || status == CZ_E_MEMORY);
    }
}

static cz_status train(const char *method, cz_model **out)
{
    cz_train_options o;
    cz_train_options_init(&o);
    o.method = method;
    o.image_width = o.image_height = INPUT;
    o.feature_width = 16;
    o.hidden_width = 8;
    o.epochs = 3;
    o.patches_per_image = 8;
    o.threads = 1;
    o.seed = 11;
    o.cozad.inner_lr = 7e-3;
    o.cozad.tasks = 2;
    const cz_image_source source = source_of(known, PHOTOS);
    return cz_train(backbone, &source, &o, out);
}

static int set_up(void **state)
{
    (void)state;
    for (size_t p = 0; p < PHOTOS; p++) {
        for (size_t i = 0; i < SIDE * SIDE; i++) {
            const size_t x = i % SIDE, y = i / SIDE, grain = ((i * 2654435761u + p * 40503u) >> 16) % 16;
            known[p][i] = (uint8_t)(100 + 40 * ((x / 6 + y / 6) % 2) + grain);
            fresh[p][i] = (uint8_t)(60 + 90 * (x / 9 % 2) + 2 * grain);
        }
    }
    if (mkdtemp(folder) == NULL || setenv("COZAD_HOME", folder, 1) != 0) return -1;
    if (cz_backbone_open("random:resnet18:1", &backbone) != CZ_OK) return -1;
    if (train("simplenet", &plain) == CZ_OK && train("cozad", &model) == CZ_OK) return 0;
    (void)fprintf(stderr, "%s\n", cz_last_error());
    return -1;
}

static int tear_down(void **state)
{
    (void)state;
    cz_model_close(plain);
    cz_model_close(model);
    cz_backbone_close(backbone);
    char command[160];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(drops_and_repeats), cmocka_unit_test(feature_store),    cmocka_unit_test(few_photos),
        cmocka_unit_test(description),       cmocka_unit_test(own_settings),     cmocka_unit_test(damaged_photo),
        cmocka_unit_test(refusals),          cmocka_unit_test(hostile_settings), cmocka_unit_test(cancels_anywhere),
        cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests_name("adapt", tests, set_up, tear_down);
}
