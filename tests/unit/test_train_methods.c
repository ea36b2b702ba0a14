/* SPDX-License-Identifier: Apache-2.0 */
/* Every detector by every method, with its switches: trains, repeats, resumes, is saved and read, scores alike with any number of
 * threads, adapts. What one detector does not have is refused with a line that says so. */
#include "api/model.h"
#include "cozad/cozad.h"
#include "tensor/tensors.h"
#include "util/alloc.h"
#include "util/file.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { PHOTOS = 12, SIDE = 64 };

static const char *const detectors[] = {"simplenet", "flow"};
enum { DETECTORS = sizeof detectors / sizeof *detectors };

static unsigned char pixels[PHOTOS][SIDE * SIDE];
static cz_backbone *backbone;
static char path[] = "/tmp/cozad-methods-XXXXXX";

static cz_status load(void *ctx, size_t index, cz_image *out)
{
    (void)ctx;
    *out = (cz_image){pixels[index], SIDE, SIDE, SIDE, CZ_GRAY8};
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
    unsigned s = 5;
    for (unsigned i = 0; i < PHOTOS; i++)
        for (unsigned p = 0; p < SIDE * SIDE; p++) {
            s = s * 1664525u + 1013904223u;
            pixels[i][p] = (unsigned char)((p % SIDE * (2 + i % 3) + p / SIDE * 3) % 200 + (s >> 27));
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

/* ---- helpers ------------------------------------------------------------------------------------------------------ */

static int count_steps(void *ctx, const cz_train_step *step)
{
    size_t *left = ctx;
    assert_true(isfinite(step->loss) && isfinite(step->loss_ad) && isfinite(step->gradient_adaptor));
    return *left > 0 && --*left == 0;
}

static cz_train_options options(const char *method, const char *detector)
{
    cz_train_options o;
    cz_train_options_init(&o);
    o.method = method;
    o.detector = detector;
    o.image_width = o.image_height = SIDE;
    o.feature_width = 64;
    o.hidden_width = 32;
    o.flow.project = 16;
    o.flow.blocks = 4;
    o.epochs = 4;
    o.batch = 4;
    o.patches_per_image = 12;
    o.quantise_images = 0;
    o.cozad.tasks = 2;
    o.cozad.contrast_chunk = 32;
    o.threads = 2;
    o.seed = 3;
    return o;
}

static cz_model *train(const cz_train_options *o)
{
    cz_model *model = NULL;
    const cz_image_source source = photos(PHOTOS);
    if (cz_train(backbone, &source, o, &model) != CZ_OK)
        fail_msg("%s, %s: %s", o->method, o->detector != NULL ? o->detector : "", cz_last_error());
    return model;
}

static void refused(const cz_train_options *o, const char *words)
{
    cz_model *model = NULL;
    const cz_image_source source = photos(PHOTOS);
    assert_int_equal(cz_train(backbone, &source, o, &model), CZ_E_ARG);
    if (strstr(cz_last_error(), words) == NULL) fail_msg("not about \"%s\": %s", words, cz_last_error());
}

static void bytes_of(const cz_model *m, uint8_t **bytes, size_t *size)
{
    assert_int_equal(cz_model_save(m, path), CZ_OK);
    assert_int_equal(cz_file_read(path, 1 << 24, bytes, size), CZ_OK);
}

static bool same(const cz_model *a, const cz_model *b)
{
    uint8_t *x, *y;
    size_t nx, ny;
    bytes_of(a, &x, &nx);
    bytes_of(b, &y, &ny);
    const bool equal = nx == ny && memcmp(x, y, nx) == 0;
    cz_free(x);
    cz_free(y);
    return equal;
}

/* Score and patch scores [64] of the first photo. */
static double score_of(const cz_model *m, size_t threads, const cz_session_options *given, float *patches)
{
    cz_session *session = NULL;
    cz_session_options o = CZ_SESSION_OPTIONS_INIT;
    cz_result result;
    const cz_image image = {pixels[0], SIDE, SIDE, SIDE, CZ_GRAY8};
    if (given != NULL) o = *given;
    o.threads = threads;
    if (cz_session_open(m, &o, &session) != CZ_OK || cz_score(session, &image, &result) != CZ_OK)
        fail_msg("%s", cz_last_error());
    const double score = result.score;
    const size_t n = result.grid_width * result.grid_height;
    if (patches != NULL && n <= 64) memcpy(patches, result.patch_scores, n * sizeof *patches);
    cz_session_close(session);
    return score;
}

static void check_model(const cz_model *m)
{
    cz_model *read = NULL;
    float one[64], two[64];
    assert_int_equal(cz_model_save(m, path), CZ_OK);
    if (cz_model_open(path, backbone, &read) != CZ_OK) fail_msg("%s", cz_last_error());
    assert_true(same(m, read));
    const double score = score_of(m, 1, NULL, one);
    assert_true(score == score_of(read, 1, NULL, two));
    assert_memory_equal(one, two, sizeof one);
    assert_true(fabs(score - score_of(m, 2, NULL, two)) <= 1e-5 * fmax(1, fabs(score)));
    for (size_t i = 0; i < 64; i++)
        assert_true(fabs((double)one[i] - (double)two[i]) <= 1e-5 * fmax(1, fabs((double)one[i])));
    cz_model_close(read);
}

/* ---- tests -------------------------------------------------------------------------------------------------------- */

static void set_switch(cz_cozad_options *c, size_t i)
{
    switch (i) {
    case 1:
        c->scl = 0;
        break;
    case 2:
        c->meta = 0;
        break;
    case 3:
        c->scl = c->meta = 0;
        break;
    case 4:
        c->meta_gradient = "first-order";
        break;
    case 5:
        c->meta_gradient = "reptile";
        break;
    case 6:
        c->hard_cl = 1;
        break;
    case 7:
        c->confidence_unit = "image";
        break;
    case 8:
        c->loss_reduction = "sum", c->decay = "all";
        break;
    case 9:
        c->weight_both = 1, c->model_uncertainty = 0;
        break;
    case 10:
        c->inner_steps = 3;
        break;
    default:
        break;
    }
}

static void test_matrix(void **state)
{
    (void)state;
    for (size_t d = 0; d < DETECTORS; d++) {
        assert_string_equal(cz_detector_name(d), detectors[d]);
        for (size_t i = 0; i < 12; i++) {
            cz_train_options o = options(i == 11 ? detectors[d] : "comet", detectors[d]);
            set_switch(&o.cozad, i);
            cz_model *model = train(&o), *again = train(&o);
            assert_true(same(model, again));
            check_model(model);
            assert_true((strstr(cz_model_json(model), "\"contrast\": false") != NULL) == (i != 11));
            cz_model_close(model);
            cz_model_close(again);
        }
    }
    assert_null(cz_detector_name(DETECTORS));
    cz_train_options o = options("cozad", "flow");
    o.cozad.contrast = 0;
    cz_model_close(train(&o));
    o = options("flow", NULL);
    cz_model_close(train(&o));
}

static void test_refused(void **state)
{
    (void)state;
    cz_train_options o = options("simplenet", "flow");
    refused(&o, "trains the detector of that name");
    o = options("flow", "simplenet");
    refused(&o, "trains the detector of that name");
    o = options("cozad", "flow");
    refused(&o, "embedding");
    o = options("flow", "flow");
    o.simplenet_compat = 1;
    refused(&o, "simplenet_compat");
    o = options("comet", "knn");
    refused(&o, "not one of: simplenet, flow");
    o = options("fancy", NULL);
    refused(&o, "not one of: cozad, comet, knn, simplenet, flow");
    o = options("flow", NULL);
    o.flow.level = "pixel";
    refused(&o, "level");
    o = options("flow", NULL);
    o.flow.blocks = 17;
    refused(&o, "blocks");
    o = options("flow", NULL);
    o.flow.struct_size = 8;
    refused(&o, "cz_flow_options");
}

/* Stopped after `at` steps and resumed: the same bytes. */
static void test_resume(void **state)
{
    (void)state;
    static const char *const methods[] = {"comet", "flow"};
    for (size_t m = 0; m < 2; m++) {
        cz_train_options o = options(methods[m], "flow");
        cz_model *whole = train(&o), *model = NULL;
        char checkpoint[sizeof path + 16];
        size_t left = 3;
        const cz_image_source source = photos(PHOTOS);
        (void)snprintf(checkpoint, sizeof checkpoint, "%s.checkpoint", path);
        o.checkpoint = checkpoint;
        o.step = count_steps;
        o.ctx = &left;
        assert_int_equal(cz_train(backbone, &source, &o, &model), CZ_E_CANCELLED);
        o.resume = 1;
        o.flow.blocks++;
        assert_int_equal(cz_train(backbone, &source, &o, &model), CZ_E_MODEL);
        o.flow.blocks--;
        model = train(&o);
        assert_true(same(whole, model));
        cz_model_close(whole);
        cz_model_close(model);
        unlink(checkpoint);
    }
}

/* Features in bf16; the flow's own products are fp32 all the same, SimpleNet's are bf16. */
static void test_bf16(void **state)
{
    (void)state;
    for (size_t d = 0; d < DETECTORS; d++) {
        cz_train_options o = options("comet", detectors[d]);
        o.precision = CZ_PRECISION_BF16;
        cz_model *model = train(&o);
        assert_non_null(strstr(cz_model_json(model), "\"precision\": \"bf16\""));
        check_model(model);
        cz_model_close(model);
    }
}

/* The flow's standardisation is what the inner loop was prepared for: it stays. */
static void test_adapt(void **state)
{
    (void)state;
    static const char *const methods[] = {"comet", "flow"};
    for (size_t d = 0; d < DETECTORS; d++)
        for (size_t m = 0; m < 2; m++) {
            if (m == 1 && d == 0) continue;
            const cz_train_options o = options(methods[m], detectors[d]);
            cz_model *model = train(&o), *adapted = NULL;
            const cz_image_source source = photos(4);
            cz_adapt_report report;
            cz_adapt_options a;
            cz_adapt_options_init(&a);
            a.steps = 6;
            a.inner_lr = 0.01;
            a.threads = 1;
            if (cz_adapt(model, &source, &a, &adapted, &report) != CZ_OK) fail_msg("%s", cz_last_error());
            if (!(report.loss_after < report.loss_before))
                fail_msg("%s: %g, %g", detectors[d], report.loss_before, report.loss_after);
            const cz_head_view *mean = cz_head_param(model->head, "input.mean");
            assert_true((mean != NULL) == (d == 1));
            if (mean != NULL)
                assert_memory_equal(model->params + mean->first, adapted->params + mean->first,
                                    mean->count * sizeof(float));
            check_model(adapted);
            cz_model_close(model);
            cz_model_close(adapted);
        }
}

/* One descriptor a photo: one score, a map of one colour; the mask and the region are left out of it. */
static void test_image_level(void **state)
{
    (void)state;
    float patches[64];
    cz_train_options o = options("comet", "flow");
    o.flow.level = "image";
    cz_model *model = train(&o);
    check_model(model);
    assert_int_equal(model->head->config.width, 5 * o.feature_width);
    const double score = score_of(model, 2, NULL, patches);
    for (size_t i = 1; i < 64; i++) assert_true(patches[i] == patches[0]);
    assert_true((float)score == patches[0]);
    uint8_t half[4] = {0, 255, 0, 255};
    const cz_image mask = {half, 2, 2, 2, CZ_GRAY8};
    cz_session_options session = CZ_SESSION_OPTIONS_INIT;
    session.ignore_mask = &mask;
    const double masked = score_of(model, 1, &session, patches);
    assert_true(masked != score && isnan(patches[7]) && patches[0] == (float)masked);
    cz_adapt_options a;
    cz_model *adapted = NULL;
    const cz_image_source source = photos(4);
    cz_adapt_options_init(&a);
    a.threads = 1;
    assert_int_equal(cz_adapt(model, &source, &a, &adapted, NULL), CZ_OK);
    check_model(adapted);
    cz_model_close(adapted);
    cz_model_close(model);
}

/* A model's settings come from outside: each wrong one is told of. */
static void test_hostile(void **state)
{
    (void)state;
    static const char *const texts[][2] = {
        {"\"blocks\": 4", "\"blocks\": 9"},       {"\"blocks\": 4", "\"blocks\": 400"},
        {"\"blocks\": 4", "\"blocks\": \"4\""},   {"\"hidden\": 0", "\"hidden\": -1"},
        {"\"hidden\": 0", "\"hidden\": 65536"},   {"\"project\": 16", "\"project\": 17"},
        {"\"project\": 16", "\"project\": 1e3"},  {"\"clamp\": 1.", "\"clamp\": -1."},
        {"\"clamp\": 1.", "\"clamp\": 1111."},    {"\"level\": \"patch\"", "\"level\": \"pixel\""},
        {"\"level\": \"patch\"", "\"level\": 3"}, {"\"structure_seed\": \"0", "\"structure_seed\": \"g"},
        {"\"flow\": {", "\"flaw\": {"},           {"\"detector\": \"flow\"", "\"detector\": \"knn\""}};
    const cz_train_options o = options("flow", NULL);
    cz_model *model = train(&o);
    cz_tensors *tensors = NULL;
    assert_int_equal(cz_model_save(model, path), CZ_OK);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        cz_model *read = NULL;
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
    cz_model_close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_matrix), cmocka_unit_test(test_refused),
                                       cmocka_unit_test(test_resume), cmocka_unit_test(test_bf16),
                                       cmocka_unit_test(test_adapt),  cmocka_unit_test(test_image_level),
                                       cmocka_unit_test(test_hostile)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
