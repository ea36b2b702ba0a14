/* SPDX-License-Identifier: Apache-2.0 */
/* cz_calibrate and what a calibrated model decides: the input model stays whole, photos that were trained on are refused, a threshold
 * holds for what it was found with, hostile files are bad models. */
#include "api/model.h"
#include "cozad/cozad.h"
#include "cozad/cozad_eval.h"
#include "tensor/tensors.h"
#include "util/alloc.h"
#include "util/file.h"
#include "util/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "unit/stop.h"

enum { SIDE = 80, TRAINED = 6, NORMAL = 30, BAD = 8, INPUT = 64 };

typedef uint8_t photo[SIDE * SIDE];
static photo trained[TRAINED], normal[NORMAL], abnormal[BAD];
static char folder[] = "/tmp/cozad-calibrate-XXXXXX";
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

/* ---- sources: lists of photos ------------------------------------------------------------------------------------- */

typedef struct list {
    const uint8_t *photos[64]; /* NULL: cannot be read */
    size_t count;
} list;

static cz_status load(void *ctx, size_t index, cz_image *out)
{
    const uint8_t *pixels = ((list *)ctx)->photos[index];
    if (pixels == NULL) return cz_source_error(CZ_E_FORMAT, "photo is damaged");
    *out = (cz_image){pixels, SIDE, SIDE, SIDE, CZ_GRAY8};
    return CZ_OK;
}

static const char *name_of(void *ctx, size_t index)
{
    static char name[32];
    (void)ctx;
    (void)snprintf(name, sizeof name, "photo-%zu", index);
    return name;
}

static cz_image_source source_of(list *l)
{
    cz_image_source source = CZ_IMAGE_SOURCE_INIT;
    source.count = l->count;
    source.load = load;
    source.name = name_of;
    source.ctx = l;
    return source;
}

static list list_of(photo *photos, size_t count)
{
    list l = {.count = count};
    for (size_t i = 0; i < count; i++) l.photos[i] = photos[i];
    return l;
}

static cz_calibrate_options with(cz_threshold_rule rule, double target)
{
    cz_calibrate_options o;
    cz_calibrate_options_init(&o);
    o.rule = rule;
    o.target = target;
    o.threads = 1;
    return o;
}

static cz_model *calibrated(size_t count, const cz_calibrate_options *o, cz_calibration_report *report)
{
    list l = list_of(normal, count);
    const cz_image_source source = source_of(&l);
    cz_model *out = NULL;
    if (cz_calibrate(model, &source, o, &out, report) != CZ_OK) fail_msg("%s", cz_last_error());
    return out;
}

static bool same_model(const cz_model *a, const cz_model *b)
{
    uint8_t *x, *y;
    size_t nx, ny;
    assert_int_equal(cz_model_save(a, path_of("a")), CZ_OK);
    assert_int_equal(cz_model_save(b, path_of("b")), CZ_OK);
    assert_int_equal(cz_file_read(path_of("a"), 1 << 24, &x, &nx), CZ_OK);
    assert_int_equal(cz_file_read(path_of("b"), 1 << 24, &y, &ny), CZ_OK);
    const bool same = nx == ny && memcmp(x, y, nx) == 0;
    cz_free(x);
    cz_free(y);
    return same;
}

static cz_session *session_of(const cz_model *m, const cz_session_options *options)
{
    cz_session *session = NULL;
    cz_session_options o = options != NULL ? *options : (cz_session_options)CZ_SESSION_OPTIONS_INIT;
    o.threads = 1;
    if (cz_session_open(m, &o, &session) != CZ_OK) fail_msg("%s", cz_last_error());
    return session;
}

static cz_result score(cz_session *session, const uint8_t *pixels)
{
    cz_result result;
    const cz_image image = {pixels, SIDE, SIDE, SIDE, CZ_GRAY8};
    if (cz_score(session, &image, &result) != CZ_OK) fail_msg("%s", cz_last_error());
    return result;
}

/* ---- what it gives ------------------------------------------------------------------------------------------------ */

static void decides(void **state)
{
    (void)state;
    const cz_calibrate_options o = with(CZ_RULE_FPR, 0.1);
    cz_calibration_report r;
    cz_calibration c;
    cz_model *kept = calibrated(NORMAL, &o, NULL), *m = calibrated(NORMAL, &o, &r), *back = NULL;
    assert_true(same_model(kept, m)); /* repeatable */
    assert_int_equal(cz_model_calibration(model, &c), 0);
    assert_null(c.scores);
    assert_int_equal(cz_model_save(m, path_of("m.cozad")), CZ_OK);
    assert_int_equal(cz_model_open(path_of("m.cozad"), backbone, &back), CZ_OK);
    assert_true(same_model(back, m));
    assert_int_equal(cz_model_calibration(back, &c), 1);
    assert_true(c.rule == CZ_RULE_FPR && c.count == NORMAL && c.target == 0.1 && c.confidence == 0.95);
    assert_true(r.images == NORMAL && r.order == NORMAL && r.needed == 29 && r.skipped == 0 && r.trained_on == 0);
    assert_true(c.promise <= 0.1 && c.threshold == (double)c.scores[NORMAL - 1]);
    assert_true(c.threshold == r.calibration.threshold && c.pixel_threshold == r.calibration.pixel_threshold);

    cz_session_options options = CZ_SESSION_OPTIONS_INIT;
    options.regions = 1;
    cz_session *session = session_of(back, &options), *plain = session_of(model, NULL);
    size_t above = 0, pixels = 0, found = 0;
    for (size_t i = 0; i < NORMAL; i++) {
        const cz_result result = score(session, normal[i]);
        assert_int_equal(result.decision, 0); /* the highest is not above itself */
        assert_true(result.p_value == cz_p_value(&c, result.score) && result.p_value >= 2.0 / (NORMAL + 1) - 1e-12);
        for (size_t p = 0; p < SIDE * SIDE; p++) above += (double)result.map[p] > c.pixel_threshold;
        pixels += SIDE * SIDE;
        const cz_result was = score(plain, normal[i]);
        assert_true(was.score == result.score && isnan(was.p_value) && was.decision == -1 && was.regions == NULL);
        assert_true(isnan(was.threshold) && isnan(was.pixel_threshold));
    }
    assert_true((double)above <= 0.001 * (double)pixels && (double)above >= 0.0002 * (double)pixels);
    for (size_t i = 0; i < BAD; i++) {
        const cz_result result = score(session, abnormal[i]);
        assert_int_equal(result.decision, result.score > c.threshold);
        assert_true(result.threshold == c.threshold && result.pixel_threshold == c.pixel_threshold);
        found += result.decision == 1;
        if (result.decision != 1) continue;
        assert_true(result.p_value == 1.0 / (NORMAL + 1));
        assert_non_null(result.regions);
        assert_true(result.region_count >= 1 && result.region_count == result.region_total);
        assert_true(result.regions[0].peak > c.pixel_threshold && result.regions[0].area >= 1);
    }
    assert_true(found >= 2); /* random weights see little, but not nothing */
    cz_session_close(session);
    cz_session_close(plain);
    cz_model_close(back);
    cz_model_close(kept);
    cz_model_close(m);
}

static void too_few(void **state)
{
    (void)state;
    cz_calibrate_options o = with(CZ_RULE_FPR, 0.01);
    cz_calibration_report r;
    cz_model *m = calibrated(12, &o, &r), *none = NULL;
    assert_true(r.needed == 299 && r.calibration.promise > 0.2 && r.calibration.promise < 0.23 && r.order == 12);
    cz_model_close(m);
    o.strict = 1;
    list l = list_of(normal, 12);
    const cz_image_source source = source_of(&l);
    assert_int_equal(cz_calibrate(model, &source, &o, &none, &r), CZ_E_ARG);
    assert_non_null(strstr(cz_last_error(), "needs 299 images, you gave 12: the best I can promise is 22 %"));
    assert_null(none);
}

/* Photos that nobody has sorted: a lower threshold, a weaker promise, both in the file. */
static void unlabelled(void **state)
{
    (void)state;
    cz_calibrate_options o = with(CZ_RULE_FPR, 0.2), sorted = o;
    cz_calibration_report r;
    cz_calibration c, plain;
    o.contamination = 0.1;
    cz_model *m = calibrated(NORMAL, &o, &r), *back = NULL, *other = calibrated(NORMAL, &sorted, NULL);
    assert_int_equal(cz_model_save(m, path_of("u.cozad")), CZ_OK);
    assert_int_equal(cz_model_open(path_of("u.cozad"), backbone, &back), CZ_OK);
    assert_int_equal(cz_model_calibration(back, &c), 1);
    assert_int_equal(cz_model_calibration(other, &plain), 1);
    assert_true(r.discounted == 3 && c.contamination == 0.1 && c.count == NORMAL);
    assert_true(c.separated <= 0.2 && c.promise > c.separated && c.promise < 0.45);
    assert_true(c.threshold <= plain.threshold && plain.contamination == 0.0 && isnan(plain.separated));
    assert_true(c.threshold == r.calibration.threshold && c.promise == r.calibration.promise);
    assert_null(strstr(cz_model_json(other), "contamination\": 0.1"));
    cz_model_close(m);
    cz_model_close(back);
    cz_model_close(other);
    list l = list_of(normal, 10);
    const cz_image_source source = source_of(&l);
    cz_model *none = NULL;
    static const double wrong[] = {-0.1, 0.6};
    for (size_t i = 0; i < 3; i++) {
        o.contamination = i < 2 ? wrong[i] : (double)NAN;
        assert_int_equal(cz_calibrate(model, &source, &o, &none, NULL), CZ_E_ARG);
    }
    o.contamination = 0.1;
    o.rule = CZ_RULE_IQR;
    assert_int_equal(cz_calibrate(model, &source, &o, &none, NULL), CZ_E_ARG);
}

static void other_rules(void **state)
{
    (void)state;
    cz_calibration_report r;
    cz_calibration c;
    cz_calibrate_options o = with(CZ_RULE_IQR, 0.01);
    cz_model *m = calibrated(10, &o, &r);
    assert_int_equal(cz_model_calibration(m, &c), 1);
    assert_true(c.rule == CZ_RULE_IQR && isnan(c.promise) && isnan(c.target) && c.threshold > (double)c.scores[5]);
    cz_model_close(m);
    list good = list_of(normal, 3), bad = list_of(abnormal, BAD), both = list_of(normal, 2);
    cz_image_source source = source_of(&good), labelled = source_of(&bad);
    assert_int_equal(cz_calibrate(model, &source, &o, &m, NULL), CZ_E_ARG); /* three have no quartiles */
    for (int rule = CZ_RULE_F1; rule <= CZ_RULE_COST; rule++) {
        o = with((cz_threshold_rule)rule, 0.01);
        o.cost_miss = 5.0;
        o.abnormal = &labelled;
        m = calibrated(10, &o, &r);
        assert_int_equal(cz_model_calibration(m, &c), 1);
        assert_true((int)c.rule == rule && r.abnormal == BAD && isfinite(r.value) && c.count == 10);
        assert_non_null(strstr(cz_model_json(m), "\"abnormal_sha256\""));
        cz_model_close(m);
        o.abnormal = NULL;
        assert_int_equal(cz_calibrate(model, &source, &o, &m, NULL), CZ_E_ARG);
    }
    o.abnormal = &labelled;
    both.photos[1] = abnormal[2];
    source = source_of(&both);
    assert_int_equal(cz_calibrate(model, &source, &o, &m, NULL), CZ_E_ARG);
    assert_non_null(strstr(cz_last_error(), "photo-2: is given as normal and as abnormal"));
    o.rule = CZ_RULE_FPR;
    assert_int_equal(cz_calibrate(model, &source, &o, &m, NULL), CZ_E_ARG);
}

/* A copy of the same photo tells nothing new; a damaged one is left out. */
static size_t lines;

static void count_lines(void *ctx, const char *message)
{
    (void)ctx;
    lines += strstr(message, "photo-") != NULL;
}

static void odd_photos(void **state)
{
    (void)state;
    cz_calibrate_options o = with(CZ_RULE_FPR, 0.1);
    cz_calibration_report r;
    list l = list_of(normal, 9);
    l.photos[3] = normal[1];
    l.photos[5] = NULL;
    const cz_image_source source = source_of(&l);
    cz_model *m = NULL, *few = NULL;
    o.log = count_lines;
    lines = 0;
    assert_int_equal(cz_calibrate(model, &source, &o, &m, &r), CZ_OK);
    assert_true(r.images == 7 && r.repeated == 1 && r.skipped == 1 && lines == 2);
    cz_model_close(m);
    for (size_t i = 0; i < l.count; i++) l.photos[i] = NULL;
    assert_int_equal(cz_calibrate(model, &source, &o, &few, &r), CZ_E_NO_IMAGES);
    l.count = 0;
    const cz_image_source none = source_of(&l);
    assert_int_equal(cz_calibrate(model, &none, &o, &few, &r), CZ_E_NO_IMAGES);
    assert_null(few);
}

/* ---- photos that were trained on ---------------------------------------------------------------------------------- */

static void knows_its_photos(void **state)
{
    (void)state;
    cz_calibrate_options o = with(CZ_RULE_FPR, 0.1);
    cz_calibration_report r;
    cz_calibration c;
    list l = list_of(normal, 9), fresh = list_of(normal + 20, 2);
    l.photos[2] = trained[4];
    l.photos[7] = trained[0];
    const cz_image_source source = source_of(&l), more = source_of(&fresh);
    cz_model *m = NULL, *again = NULL;
    o.log = count_lines;
    lines = 0;
    assert_int_equal(cz_calibrate(model, &source, &o, &m, &r), CZ_E_TRAINED_ON);
    assert_null(m);
    assert_true(r.trained_on == 2 && lines == 2);
    assert_non_null(strstr(cz_last_error(), "2 of 9 photos"));
    assert_non_null(strstr(cz_last_error(), "photo-2, photo-7"));
    o.allow_training_photos = 1;
    assert_int_equal(cz_calibrate(model, &source, &o, &m, &r), CZ_OK);
    assert_int_equal(cz_model_calibration(m, &c), 1);
    assert_true(c.trained_on == 2 && c.count == 9);
    assert_non_null(strstr(cz_model_json(m), "\"trained_on\": 2"));

    /* Adapting makes another model of it: the calibration goes, and the photos adapted to are known. */
    cz_adapt_options adapt;
    cz_model *adapted = NULL, *twice = NULL;
    cz_adapt_options_init(&adapt);
    adapt.threads = 1;
    adapt.patches_per_image = 16;
    assert_int_equal(cz_adapt(m, &more, &adapt, &adapted, NULL), CZ_OK);
    assert_int_equal(cz_model_calibration(adapted, &c), 0);
    assert_int_equal(cz_model_save(adapted, path_of("adapted.cozad")), CZ_OK);
    assert_int_equal(cz_model_open(path_of("adapted.cozad"), backbone, &again), CZ_OK);
    list once = list_of(normal + 15, 1);
    const cz_image_source third = source_of(&once);
    assert_int_equal(cz_adapt(again, &third, &adapt, &twice, NULL), CZ_OK);
    o.allow_training_photos = 0;
    list all = list_of(normal, NORMAL);
    const cz_image_source everything = source_of(&all);
    cz_model *none = NULL;
    assert_int_equal(cz_calibrate(twice, &everything, &o, &none, &r), CZ_E_TRAINED_ON);
    assert_int_equal(r.trained_on, 3); /* 15 just now, 20 and 21 earlier */
    cz_model_close(m);
    cz_model_close(adapted);
    cz_model_close(again);
    cz_model_close(twice);
}

/* ---- a threshold belongs to how it was found ---------------------------------------------------------------------- */

static void belongs_together(void **state)
{
    (void)state;
    const cz_calibrate_options o = with(CZ_RULE_FPR, 0.1);
    cz_model *m = calibrated(10, &o, NULL);
    cz_session_options s = CZ_SESSION_OPTIONS_INIT;
    const cz_roi roi = {4, 4, 64, 64}, whole = {0, 0, 0, 0};
    const cz_fit letterbox = CZ_FIT_LETTERBOX, squash = CZ_FIT_SQUASH;
    static uint8_t pixels[16];
    const cz_image mask = {pixels, 4, 4, 4, CZ_GRAY8};
    const struct {
        const cz_roi *roi;
        const cz_fit *fit;
        const cz_image *mask;
        const char *what;
    } cases[] = {{&roi, NULL, NULL, "region"},
                 {NULL, &letterbox, NULL, "fit"},
                 {NULL, NULL, &mask, "ignore mask"},
                 {&whole, &squash, NULL, NULL}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cz_session *session = NULL;
        s.roi = cases[i].roi;
        s.fit = cases[i].fit;
        s.ignore_mask = cases[i].mask;
        s.no_decision = 0;
        const cz_status status = cz_session_open(m, &s, &session);
        if (cases[i].what == NULL) {
            assert_int_equal(status, CZ_OK); /* the model's own, only said aloud */
            cz_session_close(session);
            continue;
        }
        assert_int_equal(status, CZ_E_ARG);
        assert_non_null(strstr(cz_last_error(), cases[i].what));
        s.no_decision = 1;
        session = session_of(m, &s);
        const cz_result result = score(session, normal[0]);
        assert_true(result.decision == -1 && isnan(result.p_value));
        cz_session_close(session);
        s.regions = 1;
        assert_int_equal(cz_session_open(m, &s, &session), CZ_E_ARG);
        s.regions = 0;
    }
    cz_session *session = NULL;
    s = (cz_session_options)CZ_SESSION_OPTIONS_INIT;
    s.regions = 1;
    assert_int_equal(cz_session_open(model, &s, &session), CZ_E_ARG); /* uncalibrated */
    s.map = CZ_MAP_NONE;
    assert_int_equal(cz_session_open(m, &s, &session), CZ_E_ARG);
    cz_model_close(m);
}

static void drift(void **state)
{
    (void)state;
    const cz_calibrate_options o = with(CZ_RULE_FPR, 0.1);
    cz_model *m = calibrated(NORMAL, &o, NULL);
    cz_calibration c;
    cz_drift d;
    double scores[NORMAL];
    (void)cz_model_calibration(m, &c);
    for (size_t i = 0; i < NORMAL; i++) scores[i] = (double)c.scores[NORMAL - 1 - i];
    assert_int_equal(cz_measure_drift(m, scores, NORMAL, &d), CZ_OK);
    assert_true(d.p_value == 1.0 && d.statistic == 0.0 && d.above == 0 && d.median == d.calibration_median);
    for (size_t i = 0; i < NORMAL; i++) scores[i] += 100.0;
    assert_int_equal(cz_measure_drift(m, scores, NORMAL, &d), CZ_OK);
    assert_true(d.p_value < 1e-10 && d.statistic == 1.0 && d.above == NORMAL);
    assert_int_equal(cz_measure_drift(m, scores, 0, &d), CZ_E_ARG);
    assert_int_equal(cz_measure_drift(model, scores, 2, &d), CZ_E_ARG);
    scores[1] = (double)NAN;
    assert_int_equal(cz_measure_drift(m, scores, 2, &d), CZ_E_ARG);
    cz_model_close(m);
}

/* ---- refusals ----------------------------------------------------------------------------------------------------- */

static void refusals(void **state)
{
    (void)state;
    list l = list_of(normal, 4);
    const cz_image_source source = source_of(&l);
    cz_calibrate_options o = with(CZ_RULE_FPR, 0.1);
    cz_model *m = NULL, *inspected = NULL;
    assert_int_equal(cz_calibrate(NULL, &source, &o, &m, NULL), CZ_E_ARG);
    assert_int_equal(cz_calibrate(model, NULL, &o, &m, NULL), CZ_E_ARG);
    assert_int_equal(cz_calibrate(model, &source, NULL, &m, NULL), CZ_E_ARG);
    assert_int_equal(cz_model_save(model, path_of("m.cozad")), CZ_OK);
    assert_int_equal(cz_model_inspect(path_of("m.cozad"), &inspected), CZ_OK);
    assert_int_equal(cz_calibrate(inspected, &source, &o, &m, NULL), CZ_E_ARG);
    cz_model_close(inspected);
    static const double wrong[] = {0.0, 1.0, -1.0, 7.0};
    for (size_t i = 0; i < 4; i++) {
        o = with(CZ_RULE_FPR, wrong[i]);
        assert_int_equal(cz_calibrate(model, &source, &o, &m, NULL), CZ_E_ARG);
        o = with(CZ_RULE_FPR, 0.1);
        o.confidence = wrong[i];
        assert_int_equal(cz_calibrate(model, &source, &o, &m, NULL), CZ_E_ARG);
        o.confidence = 0.95;
        o.pixel_quantile = wrong[i];
        if (wrong[i] != 1.0) assert_int_equal(cz_calibrate(model, &source, &o, &m, NULL), CZ_E_ARG);
    }
    o = with((cz_threshold_rule)9, 0.1);
    assert_int_equal(cz_calibrate(model, &source, &o, &m, NULL), CZ_E_ARG);
    o = with(CZ_RULE_FPR, 0.1);
    o.struct_size = 8;
    assert_int_equal(cz_calibrate(model, &source, &o, &m, NULL), CZ_E_ARG);
    assert_null(m);
}

static cz_status open_edited(const char *json, const cz_tensor_view *scores)
{
    cz_tensors *from = NULL, *to = NULL;
    cz_model *m = NULL;
    assert_int_equal(cz_tensors_open(path_of("m.cozad"), &from), CZ_OK);
    assert_int_equal(cz_tensors_create(&to), CZ_OK);
    for (size_t i = 0; i < cz_tensors_count(from); i++) {
        cz_tensor_view view;
        assert_int_equal(cz_tensors_get(from, i, &view), CZ_OK);
        if (strcmp(view.name, "calib.scores") != 0) assert_int_equal(cz_tensors_add(to, &view), CZ_OK);
    }
    if (scores != NULL) assert_int_equal(cz_tensors_add(to, scores), CZ_OK);
    assert_int_equal(cz_tensors_set_metadata(to, "cozad", json), CZ_OK);
    assert_int_equal(cz_tensors_save(to, path_of("edited.cozad")), CZ_OK);
    const cz_status status = cz_model_open(path_of("edited.cozad"), backbone, &m);
    cz_model_close(m);
    cz_tensors_close(from);
    cz_tensors_close(to);
    return status;
}

static void hostile_files(void **state)
{
    (void)state;
    static const char *const edits[][2] = {
        {"rule", "\"best\""},      {"rule", "7"},
        {"threshold", "\"high\""}, {"threshold", "null"},
        {"threshold", "[1]"},      {"target", "2"},
        {"target", "\"x\""},       {"confidence", "-1"},
        {"promise", "null"},       {"pixel_threshold", "true"},
        {"pixel_quantile", "3"},   {"images", "9"},
        {"images", "11"},          {"images", "0"},
        {"images", "-1"},          {"images", "1e3"},
        {"images", "99999999999"}, {"precision", "5"},
        {"algorithm", "null"},     {"input", "{}"},
        {"input", "null"},         {"trained_on", "-3"},
        {"trained_on", "\"no\""},
    };
    const cz_calibrate_options o = with(CZ_RULE_FPR, 0.1);
    cz_model *m = calibrated(10, &o, NULL);
    cz_calibration c;
    (void)cz_model_calibration(m, &c);
    assert_int_equal(cz_model_save(m, path_of("m.cozad")), CZ_OK);
    cz_tensor_view scores = {"calib.scores", CZ_F32, 1, {10}, c.scores, 10 * sizeof(float)};
    assert_int_equal(open_edited(cz_model_json(m), &scores), CZ_OK);
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        json_t *meta = json_loads(cz_model_json(m), 0, NULL);
        json_t *value = json_loads(edits[i][1], JSON_DECODE_ANY, NULL);
        assert_int_equal(json_object_set_new(json_object_get(meta, "calibration"), edits[i][0], value), 0);
        char *text = json_dumps(meta, 0);
        const cz_status status = open_edited(text, &scores);
        if (status != CZ_E_MODEL) fail_msg("%s: %s gives %s", edits[i][0], edits[i][1], cz_status_name(status));
        free(text);
        json_decref(meta);
    }
    /* Scores missing, of another type or shape, unsorted, not finite, or without a calibration. */
    float values[10];
    double wide[10] = {0.0};
    assert_int_equal(open_edited(cz_model_json(m), NULL), CZ_E_MODEL);
    assert_int_equal(open_edited(cz_model_json(model), &scores), CZ_E_MODEL);
    assert_int_equal(open_edited(cz_model_json(model), NULL), CZ_OK);
    const cz_tensor_view odd[] = {{"calib.scores", CZ_F64, 1, {10}, wide, 80},
                                  {"calib.scores", CZ_F32, 2, {2, 5}, c.scores, 40},
                                  {"calib.scores", CZ_F32, 1, {9}, c.scores, 36}};
    for (size_t i = 0; i < 3; i++) assert_int_equal(open_edited(cz_model_json(m), &odd[i]), CZ_E_MODEL);
    static const float bad[] = {NAN, INFINITY, -INFINITY, -1e30f};
    for (size_t i = 0; i < 4; i++) {
        memcpy(values, c.scores, sizeof values);
        values[9] = bad[i];
        scores.data = values;
        assert_int_equal(open_edited(cz_model_json(m), &scores), CZ_E_MODEL);
    }
    json_t *meta = json_loads(cz_model_json(m), 0, NULL);
    assert_int_equal(json_object_set_new(meta, "calibration", json_string("yes")), 0);
    char *text = json_dumps(meta, 0);
    scores.data = c.scores;
    assert_int_equal(open_edited(text, &scores), CZ_E_MODEL);
    free(text);
    json_decref(meta);
    cz_model_close(m);
}

/* ---- interruption and memory -------------------------------------------------------------------------------------- */

static void cancels_anywhere(void **state)
{
    (void)state;
    cz_calibrate_options o = with(CZ_RULE_FPR, 0.1);
    stop s = {0, 0};
    o.progress = progress;
    o.ctx = &s;
    cz_model_close(calibrated(3, &o, NULL));
    const size_t calls = s.calls;
    assert_true(calls == 4);
    for (size_t at = 1; at <= calls; at++) {
        list l = list_of(normal, 3);
        const cz_image_source source = source_of(&l);
        cz_model *out = NULL;
        s = (stop){0, at};
        assert_int_equal(cz_calibrate(model, &source, &o, &out, NULL), CZ_E_CANCELLED);
        assert_null(out);
    }
}

static void out_of_memory(void **state)
{
    (void)state;
    list bad = list_of(abnormal, 1), good = list_of(normal, 2);
    const cz_image_source labelled = source_of(&bad), source = source_of(&good);
    cz_calibrate_options o = with(CZ_RULE_F1, 0.1);
    o.abnormal = &labelled;
    const unsigned long before = cz_alloc_count();
    cz_model_close(calibrated(2, &o, NULL));
    const unsigned long count = cz_alloc_count() - before;
    const unsigned long stride = count > 150 ? count / 150 : 1;
    for (unsigned long n = 1; n <= count; n += stride) {
        cz_model *out = NULL;
        cz_alloc_fail_after(n);
        const cz_status status = cz_calibrate(model, &source, &o, &out, NULL);
        cz_alloc_fail_after(0);
        if (status == CZ_OK)
            cz_model_close(out);
        else
            assert_null(out);
        if (status != CZ_OK && status != CZ_E_MEMORY) fail_msg("%lu: %s", n, cz_last_error());
    }
}

static int set_up(void **state)
{
    (void)state;
    for (size_t p = 0; p < TRAINED + NORMAL + BAD; p++) {
        uint8_t *to = p < TRAINED            ? trained[p]
                      : p < TRAINED + NORMAL ? normal[p - TRAINED]
                                             : abnormal[p - TRAINED - NORMAL];
        const bool bad = p >= TRAINED + NORMAL;
        for (size_t i = 0; i < SIDE * SIDE; i++) {
            const size_t x = i % SIDE, y = i / SIDE, grain = ((i * 2654435761u + p * 40503u) >> 16) % 16;
            to[i] = (uint8_t)(100 + 40 * ((x / 6 + y / 6) % 2) + grain);
            if (bad && x >= 20 + p % 8 && x < 44 + p % 8 && y >= 30 && y < 52) to[i] = (uint8_t)(x % 2 == 0 ? 255 : 0);
        }
    }
    cz_train_options o;
    cz_train_options_init(&o);
    o.method = "simplenet";
    o.image_width = o.image_height = INPUT;
    o.feature_width = 96;
    o.hidden_width = 32;
    o.epochs = 40;
    o.patches_per_image = 32;
    o.threads = 1;
    o.seed = 11;
    o.feature_scale = 1.0;
    o.noise_std = 0.3;
    list l = list_of(trained, TRAINED);
    const cz_image_source source = source_of(&l);
    if (mkdtemp(folder) == NULL || setenv("COZAD_HOME", folder, 1) != 0) return -1;
    if (cz_backbone_open("random:resnet18:1", &backbone) != CZ_OK) return -1;
    if (cz_train(backbone, &source, &o, &model) == CZ_OK) return 0;
    (void)fprintf(stderr, "%s\n", cz_last_error());
    return -1;
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decides),          cmocka_unit_test(too_few),
        cmocka_unit_test(unlabelled),       cmocka_unit_test(other_rules),
        cmocka_unit_test(odd_photos),       cmocka_unit_test(knows_its_photos),
        cmocka_unit_test(belongs_together), cmocka_unit_test(drift),
        cmocka_unit_test(refusals),         cmocka_unit_test(hostile_files),
        cmocka_unit_test(cancels_anywhere), cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests_name("calibrate", tests, set_up, tear_down);
}
