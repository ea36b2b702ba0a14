/* SPDX-License-Identifier: Apache-2.0 */
/* Which precision a model is trained, calibrated and scored in: names, choice, refusals, what is stored. */
#include "api/calibration.h"
#include "api/precision.h"
#include "backbone/quantise.h"
#include "cozad/cozad.h"
#include "engine/engine.h"
#include "tensor/tensors.h"
#include "util/alloc.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SIDE = 80, PHOTOS = 6, INPUT = 64 };

static uint8_t trained[PHOTOS][SIDE * SIDE], fresh[PHOTOS][SIDE * SIDE];
static char folder[] = "/tmp/cozad-precision-XXXXXX";
static cz_backbone *backbone;
static cz_model *model; /* in fp32, with ranges */

static const char *path_of(const char *name)
{
    static char path[160];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void fill(uint8_t photos[PHOTOS][SIDE * SIDE], unsigned state)
{
    for (size_t i = 0; i < PHOTOS; i++) {
        for (size_t p = 0; p < SIDE * SIDE; p++) {
            state = state * 1664525u + 1013904223u;
            photos[i][p] = (uint8_t)(100 + 60 * ((p / 7 + p / SIDE / 5) % 2) + (state >> 27));
        }
    }
}

/* ctx: the photos; those of `bad` cannot be read. */
static bool bad[PHOTOS];
static size_t loads;

static cz_status load(void *ctx, size_t index, cz_image *out)
{
    loads++;
    if (bad[index]) return cz_source_error(CZ_E_FORMAT, "photo is damaged");
    *out = (cz_image){((uint8_t(*)[SIDE * SIDE]) ctx)[index], SIDE, SIDE, SIDE, CZ_GRAY8};
    return CZ_OK;
}

static cz_image_source source_of(void *photos)
{
    cz_image_source source = CZ_IMAGE_SOURCE_INIT;
    source.count = PHOTOS;
    source.load = load;
    source.ctx = photos;
    return source;
}

static char said[4096]; /* all log lines */

static void hear(void *ctx, const char *message)
{
    (void)ctx;
    const size_t used = strlen(said);
    (void)snprintf(said + used, sizeof said - used, "%s\n", message);
}

static cz_train_options small(cz_precision precision)
{
    cz_train_options o;
    cz_train_options_init(&o);
    o.image_width = o.image_height = INPUT;
    o.feature_width = 32;
    o.hidden_width = 16;
    o.epochs = 1;
    o.patches_per_image = 16;
    o.threads = 1;
    o.seed = 3;
    o.precision = precision;
    o.log = hear;
    return o;
}

static cz_status train(const cz_train_options *o, cz_model **out)
{
    const cz_image_source source = source_of(trained);
    said[0] = '\0';
    return cz_train(backbone, &source, o, out);
}

static cz_status open_in(const cz_model *m, cz_precision precision, int no_decision, cz_session **out)
{
    cz_session_options o = CZ_SESSION_OPTIONS_INIT;
    o.threads = 1;
    o.precision = precision;
    o.no_decision = no_decision;
    return cz_session_open(m, &o, out);
}

static void says(const char *text)
{
    if (strstr(cz_last_error(), text) == NULL) fail_msg("\"%s\" does not say \"%s\"", cz_last_error(), text);
}

static const json_t *described(const cz_model *m, const char *key)
{
    return json_object_get(m->meta, key);
}

/* ---- names and choice ----------------------------------------------------------------------------------------------- */

static void names(void **state)
{
    (void)state;
    static const cz_precision all[] = {CZ_PRECISION_FP32, CZ_PRECISION_FP32_WINOGRAD, CZ_PRECISION_BF16,
                                       CZ_PRECISION_INT8, CZ_PRECISION_AUTO,          CZ_PRECISION_MODEL};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        cz_precision found = (cz_precision)-1;
        assert_int_equal(cz_precision_find(cz_precision_name(all[i]), &found), 1);
        assert_int_equal(found, all[i]);
        assert_int_equal(cz_precision_check(all[i]), CZ_OK);
        assert_string_equal(cz_precision_algorithm(all[i]),
                            all[i] == CZ_PRECISION_FP32_WINOGRAD ? "winograd" : "direct");
    }
    cz_precision found;
    assert_int_equal(cz_precision_find("fp16", &found), 0);
    assert_string_equal(cz_precision_name((cz_precision)55), "unknown");
    assert_int_equal(cz_precision_check((cz_precision)4), CZ_E_ARG);
    assert_int_equal(cz_precision_check((cz_precision)-1), CZ_E_ARG);
}

static unsigned natives; /* bit by precision */

static bool pretend(cz_precision precision)
{
    return (natives >> precision & 1u) != 0;
}

static cz_precision choice(double winograd, double bf16, double int8, unsigned native)
{
    const double error[CZ_PRECISIONS] = {0.0, winograd, bf16, int8};
    natives = native;
    return cz_precision_choose(error, pretend);
}

static void choosing(void **state)
{
    (void)state;
    const double good = CZ_AUTO_ERROR / 2, worse = CZ_AUTO_ERROR * 1.01, unknown = (double)NAN;
    enum { ALL = 15 };
    assert_int_equal(choice(good, good, good, ALL), CZ_PRECISION_INT8);
    assert_int_equal(choice(good, good, CZ_AUTO_ERROR, ALL), CZ_PRECISION_INT8);
    assert_int_equal(choice(good, good, worse, ALL), CZ_PRECISION_BF16);
    assert_int_equal(choice(good, good, unknown, ALL), CZ_PRECISION_BF16);
    assert_int_equal(choice(good, worse, worse, ALL), CZ_PRECISION_FP32_WINOGRAD);
    assert_int_equal(choice(worse, worse, worse, ALL), CZ_PRECISION_FP32);
    assert_int_equal(choice(unknown, unknown, unknown, ALL), CZ_PRECISION_FP32);
    assert_int_equal(choice(good, good, good, ALL & ~(1u << CZ_PRECISION_INT8)), CZ_PRECISION_BF16);
    assert_int_equal(choice(good, good, good, 1u << CZ_PRECISION_FP32_WINOGRAD), CZ_PRECISION_FP32_WINOGRAD);
    assert_int_equal(choice(good, good, good, 1u << CZ_PRECISION_FP32), CZ_PRECISION_FP32);
    assert_true(cz_engine_native(CZ_PRECISION_FP32));
    assert_false(cz_engine_native(CZ_PRECISION_AUTO));
}

/* What a model's own words mean, without a network: (asked, calibrated in or NULL, trained in or NULL) -> precision. */
static cz_status meant(cz_precision asked, const char *calibrated, const char *in, cz_precision *out)
{
    cz_model *m = NULL;
    assert_int_equal(cz_model_create(&m), CZ_OK);
    m->meta = json_object();
    if (in != NULL) assert_int_equal(json_object_set_new(m->meta, "precision", json_string(in)), 0);
    if (calibrated != NULL) {
        m->calibration = cz_calloc(1, sizeof *m->calibration);
        assert_int_equal(json_object_set_new(m->meta, "calibration", json_pack("{s:s}", "precision", calibrated)), 0);
    }
    cz_error_clear();
    const cz_status status = cz_precision_of_model(m, asked, out);
    cz_model_close(m);
    return status;
}

static void meaning(void **state)
{
    (void)state;
    static const struct {
        cz_precision asked;
        const char *calibrated, *trained;
        cz_precision wanted;
    } cases[] = {
        {CZ_PRECISION_MODEL, NULL, "bf16", CZ_PRECISION_BF16},
        {CZ_PRECISION_MODEL, NULL, NULL, CZ_PRECISION_FP32},
        {CZ_PRECISION_MODEL, "int8", "bf16", CZ_PRECISION_INT8},
        {CZ_PRECISION_MODEL, "fp32-winograd", NULL, CZ_PRECISION_FP32_WINOGRAD},
        {CZ_PRECISION_AUTO, "bf16", "fp32", CZ_PRECISION_BF16},
        {CZ_PRECISION_AUTO, NULL, "bf16", CZ_PRECISION_FP32}, /* no errors are known */
        {CZ_PRECISION_FP32, "bf16", "int8", CZ_PRECISION_FP32},
        {CZ_PRECISION_INT8, NULL, NULL, CZ_PRECISION_INT8},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cz_precision found = (cz_precision)77;
        assert_int_equal(meant(cases[i].asked, cases[i].calibrated, cases[i].trained, &found), CZ_OK);
        if (found != cases[i].wanted) fail_msg("case %zu: %s", i, cz_precision_name(found));
    }
    cz_precision found;
    assert_int_equal(meant(CZ_PRECISION_MODEL, NULL, "fp8", &found), CZ_E_MODEL);
    says("fp8");
    assert_int_equal(meant(CZ_PRECISION_MODEL, "auto", NULL, &found), CZ_E_MODEL);
    assert_int_equal(meant((cz_precision)55, NULL, NULL, &found), CZ_E_ARG);
}

/* ---- training ------------------------------------------------------------------------------------------------------- */

static void stored(void **state)
{
    (void)state;
    cz_model *again = NULL, *without = NULL;
    assert_string_equal(json_string_value(described(model, "precision")), "fp32");
    assert_string_equal(json_string_value(described(model, "algorithm")), "direct");
    assert_int_equal(model->quant.count, 16);
    const json_t *ranges = described(model, "int8_ranges"), *errors = described(model, "precision_errors");
    char hash[17];
    cz_quant_hash(&model->quant, hash);
    assert_int_equal(json_integer_value(json_object_get(ranges, "nodes")), 16);
    assert_int_equal(json_integer_value(json_object_get(ranges, "images")), PHOTOS);
    assert_string_equal(json_string_value(json_object_get(ranges, "hash")), hash);
    static const struct {
        cz_precision precision;
        double least, most;
    } sane[] = {
        {CZ_PRECISION_FP32_WINOGRAD, 0.0, 0.01}, {CZ_PRECISION_BF16, 1e-4, 0.03}, {CZ_PRECISION_INT8, 1e-3, 0.2}};
    for (size_t i = 0; i < 3; i++) {
        const json_t *error = json_object_get(errors, cz_precision_name(sane[i].precision));
        if (!cz_engine_native(sane[i].precision)) {
            assert_null(error);
        } else {
            const double value = json_number_value(error);
            printf("%s: features differ by %.4f %%\n", cz_precision_name(sane[i].precision), 100.0 * value);
            if (!json_is_number(error) || value < sane[i].least || value > sane[i].most)
                fail_msg("an error of %g in %s", value, cz_precision_name(sane[i].precision));
        }
    }
    /* in a file, and in the copies that are made of a model */
    assert_int_equal(cz_model_save(model, path_of("model.cozad")), CZ_OK);
    assert_int_equal(cz_model_open(path_of("model.cozad"), backbone, &again), CZ_OK);
    assert_memory_equal(&again->quant, &model->quant, sizeof model->quant);
    cz_model_close(again);
    assert_int_equal(cz_model_copy(model, &model->head->config, &again), CZ_OK);
    assert_memory_equal(&again->quant, &model->quant, sizeof model->quant);
    assert_non_null(cz_tensors_lookup(again->extra, "quant.ranges"));
    cz_model_close(again);
    /* without, nothing else is different */
    cz_train_options o = small(CZ_PRECISION_FP32);
    o.quantise_images = 0;
    loads = 0;
    assert_int_equal(train(&o, &without), CZ_OK);
    assert_int_equal(loads, PHOTOS);
    assert_null(described(without, "int8_ranges"));
    assert_null(described(without, "precision_errors"));
    assert_int_equal(without->quant.count, 0);
    assert_memory_equal(without->params, model->params, model->head->param_count * sizeof *model->params);
    cz_model_close(without);
}

/* Evenly spaced, no more than asked for; what cannot be read is left out. */
static void photos(void **state)
{
    (void)state;
    cz_model *m = NULL;
    cz_train_options o = small(CZ_PRECISION_FP32);
    o.quantise_images = 3;
    loads = 0;
    assert_int_equal(train(&o, &m), CZ_OK);
    assert_int_equal(loads, PHOTOS + 3);
    assert_int_equal(json_integer_value(json_object_get(described(m, "int8_ranges"), "images")), 3);
    cz_model_close(m);
    bad[2] = true; /* photos 0, 2 and 4 are looked at */
    assert_int_equal(train(&o, &m), CZ_OK);
    assert_int_equal(json_integer_value(json_object_get(described(m, "int8_ranges"), "images")), 2);
    const char *skipped = strstr(said, "skipped"); /* told once, by who reads all of them */
    assert_non_null(skipped);
    assert_null(strstr(skipped + 1, "skipped"));
    cz_model_close(m);
    /* none of those: the model has no ranges, but is a model */
    bad[0] = bad[4] = true;
    assert_int_equal(train(&o, &m), CZ_OK);
    assert_int_equal(m->quant.count, 0);
    assert_non_null(strstr(said, "no ranges for int8"));
    cz_model_close(m);
    o.precision = CZ_PRECISION_INT8;
    assert_int_equal(train(&o, &m), CZ_E_NO_IMAGES);
    memset(bad, 0, sizeof bad);
}

static int stop_measuring(void *ctx, const char *what, size_t done, size_t total, const char *detail)
{
    (void)ctx;
    (void)total;
    (void)detail;
    return strcmp(what, "precision") == 0 && done == 2;
}

static void refusals(void **state)
{
    (void)state;
    cz_model *m = NULL;
    cz_session *session = NULL;
    cz_train_options o = small(CZ_PRECISION_MODEL);
    assert_int_equal(train(&o, &m), CZ_E_ARG);
    o = small((cz_precision)55);
    assert_int_equal(train(&o, &m), CZ_E_ARG);
    o = small(CZ_PRECISION_INT8);
    o.quantise_images = 0;
    assert_int_equal(train(&o, &m), CZ_E_ARG);
    says("quantise_images");
    static const cz_precision measured[] = {CZ_PRECISION_FP32, CZ_PRECISION_AUTO}; /* after features, before them */
    for (size_t i = 0; i < 2; i++) {
        o = small(measured[i]);
        o.progress = stop_measuring;
        assert_int_equal(train(&o, &m), CZ_E_CANCELLED);
    }
    assert_int_equal(open_in(model, (cz_precision)55, 0, &session), CZ_E_ARG);
    cz_features_options f = CZ_FEATURES_OPTIONS_INIT;
    cz_tensors *into = NULL;
    const cz_image image = {trained[0], SIDE, SIDE, SIDE, CZ_GRAY8};
    assert_int_equal(cz_tensors_create(&into), CZ_OK);
    f.threads = 1;
    static const cz_precision no_features[] = {CZ_PRECISION_INT8, CZ_PRECISION_AUTO, CZ_PRECISION_MODEL,
                                               (cz_precision)9};
    for (size_t i = 0; i < sizeof no_features / sizeof *no_features; i++) {
        f.precision = no_features[i];
        assert_int_equal(cz_features_images(backbone, &image, 1, &f, into), CZ_E_ARG);
    }
    cz_tensors_close(into);
}

/* `auto` is the rule applied to what the model says itself. */
static void automatic(void **state)
{
    (void)state;
    cz_model *m = NULL;
    cz_session *session = NULL;
    cz_train_options o = small(CZ_PRECISION_AUTO);
    double error[CZ_PRECISIONS] = {0.0};
    assert_int_equal(train(&o, &m), CZ_OK);
    assert_non_null(strstr(said, "precision: auto means "));
    for (size_t i = 1; i < CZ_PRECISIONS; i++) {
        const json_t *value = json_object_get(described(m, "precision_errors"), cz_precision_name((cz_precision)i));
        error[i] = json_is_number(value) ? json_number_value(value) : (double)NAN;
    }
    const cz_precision wanted = cz_precision_choose(error, cz_engine_native);
    assert_string_equal(json_string_value(described(m, "precision")), cz_precision_name(wanted));
    assert_int_equal(open_in(m, CZ_PRECISION_MODEL, 0, &session), CZ_OK);
    assert_int_equal(cz_session_precision(session), wanted);
    cz_session_close(session);
    assert_int_equal(open_in(m, CZ_PRECISION_AUTO, 0, &session), CZ_OK);
    assert_int_equal(cz_session_precision(session), wanted);
    cz_session_close(session);
    cz_model_close(m);
    o.quantise_images = 0; /* nothing is known */
    assert_int_equal(train(&o, &m), CZ_OK);
    assert_string_equal(json_string_value(described(m, "precision")), "fp32");
    cz_model_close(m);
}

/* The same photos in every precision: about the same scores, and a model's own precision is what it was trained in. */
static void every_precision(void **state)
{
    (void)state;
    static const struct {
        cz_precision precision;
        double most; /* difference of scores of one model, as a share of their spread to 0 */
    } all[] = {{CZ_PRECISION_FP32_WINOGRAD, 0.01}, {CZ_PRECISION_BF16, 0.05}, {CZ_PRECISION_INT8, 0.5}};
    double score[CZ_PRECISIONS] = {0.0};
    cz_session *session = NULL;
    cz_result result;
    const cz_image image = {fresh[1], SIDE, SIDE, SIDE, CZ_GRAY8};
    assert_int_equal(open_in(model, CZ_PRECISION_MODEL, 0, &session), CZ_OK);
    assert_int_equal(cz_session_precision(session), CZ_PRECISION_FP32);
    assert_int_equal(cz_score(session, &image, &result), CZ_OK);
    score[0] = result.score;
    cz_session_close(session);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        const cz_precision p = all[i].precision;
        if (open_in(model, p, 0, &session) != CZ_OK) fail_msg("%s: %s", cz_precision_name(p), cz_last_error());
        assert_int_equal(cz_session_precision(session), p);
        assert_int_equal(cz_score(session, &image, &result), CZ_OK);
        cz_session_close(session);
        score[p] = result.score;
        printf("%s: score %.6f, in fp32 %.6f\n", cz_precision_name(p), score[p], score[0]);
        assert_true(fabs(score[p] - score[0]) <= all[i].most * fabs(score[0]));
        cz_model *m = NULL;
        const cz_train_options o = small(p);
        if (train(&o, &m) != CZ_OK) fail_msg("%s: %s", cz_precision_name(p), cz_last_error());
        assert_string_equal(json_string_value(described(m, "precision")), cz_precision_name(p));
        assert_string_equal(json_string_value(described(m, "algorithm")), cz_precision_algorithm(p));
        assert_int_equal(open_in(m, CZ_PRECISION_MODEL, 0, &session), CZ_OK);
        assert_int_equal(cz_session_precision(session), p);
        cz_session_close(session);
        cz_model_close(m);
    }
}

/* ---- a threshold belongs to its precision -------------------------------------------------------------------------- */

static cz_model *calibrated(const cz_model *from, cz_precision precision)
{
    const cz_image_source source = source_of(fresh);
    cz_calibrate_options o;
    cz_model *out = NULL;
    cz_calibrate_options_init(&o);
    assert_int_equal(o.precision, CZ_PRECISION_MODEL);
    o.threads = 1;
    o.precision = precision;
    if (cz_calibrate(from, &source, &o, &out, NULL) != CZ_OK) fail_msg("%s", cz_last_error());
    return out;
}

static void thresholds(void **state)
{
    (void)state;
    cz_session *session = NULL;
    cz_model *in_fp32 = calibrated(model, CZ_PRECISION_MODEL), *in_bf16 = calibrated(in_fp32, CZ_PRECISION_BF16);
    assert_int_equal(open_in(in_fp32, CZ_PRECISION_BF16, 0, &session), CZ_E_ARG);
    says("fp32");
    says("--precision bf16");
    says("--no-decision");
    assert_int_equal(open_in(in_fp32, CZ_PRECISION_FP32_WINOGRAD, 0, &session), CZ_E_ARG);
    assert_int_equal(open_in(in_bf16, CZ_PRECISION_FP32, 0, &session), CZ_E_ARG);
    assert_int_equal(open_in(in_fp32, CZ_PRECISION_BF16, 1, &session), CZ_OK);
    assert_int_equal(cz_session_precision(session), CZ_PRECISION_BF16);
    cz_session_close(session);
    static const cz_precision own[] = {CZ_PRECISION_MODEL, CZ_PRECISION_AUTO, CZ_PRECISION_BF16};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        assert_int_equal(open_in(in_bf16, own[i], 0, &session), CZ_OK);
        assert_int_equal(cz_session_precision(session), CZ_PRECISION_BF16);
        cz_session_close(session);
    }
    /* calibrated again without a word about it: in what it was */
    cz_model *again = calibrated(in_bf16, CZ_PRECISION_MODEL);
    assert_int_equal(open_in(again, CZ_PRECISION_MODEL, 0, &session), CZ_OK);
    assert_int_equal(cz_session_precision(session), CZ_PRECISION_BF16);
    cz_session_close(session);
    cz_model_close(again);
    cz_model_close(in_bf16);
    cz_model_close(in_fp32);
}

/* ---- ranges that a model lacks --------------------------------------------------------------------------------------- */

static void measured_later(void **state)
{
    (void)state;
    cz_model *without = NULL, *out = NULL;
    cz_session *session = NULL;
    cz_train_options o = small(CZ_PRECISION_FP32);
    o.quantise_images = 0;
    assert_int_equal(train(&o, &without), CZ_OK);
    assert_int_equal(open_in(without, CZ_PRECISION_INT8, 0, &session), CZ_E_ARG);
    says("--quantise");
    says("cozad calibrate");
    assert_int_equal(open_in(without, CZ_PRECISION_AUTO, 0, &session), CZ_OK);
    assert_int_equal(cz_session_precision(session), CZ_PRECISION_FP32);
    cz_session_close(session);
    out = calibrated(without, CZ_PRECISION_INT8);
    assert_int_equal(out->quant.count, 16);
    assert_int_equal(without->quant.count, 0); /* stays as it is */
    assert_int_equal(open_in(out, CZ_PRECISION_MODEL, 0, &session), CZ_OK);
    assert_int_equal(cz_session_precision(session), CZ_PRECISION_INT8);
    cz_session_close(session);
    assert_int_equal(cz_model_save(out, path_of("int8.cozad")), CZ_OK);
    cz_model_close(out);
    assert_int_equal(cz_model_open(path_of("int8.cozad"), backbone, &out), CZ_OK);
    assert_int_equal(out->quant.count, 16);
    cz_model_close(out);
    out = calibrated(model, CZ_PRECISION_INT8); /* has ranges: those are kept */
    assert_memory_equal(&out->quant, &model->quant, sizeof out->quant);
    cz_model_close(out);

    const cz_image_source source = source_of(fresh);
    cz_adapt_options a;
    cz_adapt_options_init(&a);
    assert_int_equal(a.precision, CZ_PRECISION_MODEL);
    a.threads = 1;
    a.steps = 1;
    a.patches_per_image = 16;
    a.precision = CZ_PRECISION_INT8;
    assert_int_equal(cz_adapt(without, &source, &a, &out, NULL), CZ_OK);
    assert_int_equal(out->quant.count, 16);
    assert_string_equal(json_string_value(described(out, "precision")), "int8");
    cz_model_close(out);
    a.precision = CZ_PRECISION_MODEL;
    assert_int_equal(cz_adapt(model, &source, &a, &out, NULL), CZ_OK);
    assert_memory_equal(&out->quant, &model->quant, sizeof out->quant);
    assert_string_equal(json_string_value(described(out, "precision")), "fp32");
    cz_model_close(out);
    cz_model_close(without);
}

static void damaged(void **state)
{
    (void)state;
    cz_tensors *t = NULL;
    cz_model *m = NULL;
    const float wrong[2] = {1.0f, -1.0f};
    const cz_tensor_view view = {"quant.ranges", CZ_F32, 1, {2}, wrong, sizeof wrong};
    cz_train_options o = small(CZ_PRECISION_FP32);
    o.quantise_images = 0;
    assert_int_equal(train(&o, &m), CZ_OK);
    assert_int_equal(cz_model_save(m, path_of("plain.cozad")), CZ_OK);
    cz_model_close(m);
    assert_int_equal(cz_tensors_open(path_of("plain.cozad"), &t), CZ_OK);
    assert_int_equal(cz_tensors_add(t, &view), CZ_OK);
    assert_int_equal(cz_tensors_save(t, path_of("damaged.cozad")), CZ_OK);
    cz_tensors_close(t);
    assert_int_equal(cz_model_open(path_of("damaged.cozad"), backbone, &m), CZ_E_MODEL);
    says("quant.ranges");
}

/* ---- the whole ------------------------------------------------------------------------------------------------------ */

static int setup(void **state)
{
    (void)state;
    fill(trained, 1);
    fill(fresh, 77);
    if (mkdtemp(folder) == NULL || cz_backbone_open("random:resnet18:5", &backbone) != CZ_OK) return -1;
    const cz_train_options o = small(CZ_PRECISION_FP32);
    if (train(&o, &model) == CZ_OK) return 0;
    printf("%s\n", cz_last_error());
    return -1;
}

static int teardown(void **state)
{
    (void)state;
    char command[200];
    cz_model_close(model);
    cz_backbone_close(backbone);
    (void)snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command) == 0 ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),     cmocka_unit_test(choosing),        cmocka_unit_test(meaning),
        cmocka_unit_test(stored),    cmocka_unit_test(photos),          cmocka_unit_test(refusals),
        cmocka_unit_test(automatic), cmocka_unit_test(every_precision), cmocka_unit_test(thresholds),
        cmocka_unit_test(damaged),   cmocka_unit_test(measured_later),

    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
