/* SPDX-License-Identifier: Apache-2.0 */
/* Models whose patches are told by relational numbers: they score as they were trained wherever they are opened, their copies have the
 * same scales, and damaged ones are refused. */
#include "tensor/tensors.h"
#include "two_products.h"

#include <math.h>

static double score_of(const cz_model *m, const uint8_t *picture, const char *cache)
{
    cz_session *session = NULL;
    cz_session_options o = CZ_SESSION_OPTIONS_INIT;
    cz_result result;
    const cz_image image = {picture, SIDE, SIDE, SIDE, CZ_GRAY8};
    o.threads = 2;
    o.cache.dir = cache;
    if (cz_session_open(m, &o, &session) != CZ_OK || cz_score(session, &image, &result) != CZ_OK)
        fail_msg("%s", cz_last_error());
    const double score = result.score;
    cz_session_close(session);
    return score;
}

static void expect_near(double a, double b)
{
    if (!(fabs(a - b) <= 1e-5 * fmax(1, fabs(b)))) fail_msg("%.9g is not %.9g", a, b);
}

/* Every training photo scores in a session what it scored at the end of the training. */
static void expect_stored_scores(const cz_model *m, const char *cache)
{
    for (size_t i = 0; i < PHOTOS; i++) {
        cz_training_photo photo;
        assert_int_equal(cz_model_photo_at(m, i, &photo), CZ_OK);
        expect_near(score_of(m, pixels[i], cache), photo.score);
    }
}

static cz_train_options relational(const cz_image_source *shown)
{
    cz_train_options o = options("cozad");
    o.descriptor = "relational";
    o.negatives.noise = 0;
    o.negatives.synthetic = 2;
    set_labelled(&o, shown);
    return o;
}

/* In training, from the file and from the feature store: the same scores. Also of a flow, which is no composed head. */
static void test_relational_scores(void **state)
{
    (void)state;
    const cz_image_source shown = labelled(&nothing);
    char cache[sizeof path + 16], command[sizeof cache + 16];
    (void)snprintf(cache, sizeof cache, "%s.cache", path);
    (void)snprintf(command, sizeof command, "rm -rf %s", cache);
    for (size_t i = 0; i < 3; i++) {
        cz_train_options o = relational(&shown);
        cz_model *read = NULL;
        if (i == 1) { /* patches have another size */
            o.image_width = 96;
            o.fit = CZ_FIT_LETTERBOX;
        }
        if (i == 2) {
            o = options("comet");
            o.detector = "flow";
            o.flow.project = 16;
            o.descriptor = "relational";
        }
        cz_model *model = train(&o);
        assert_int_equal(model->feature_width, 54);
        expect_stored_scores(model, NULL);
        assert_int_equal(cz_model_save(model, path), CZ_OK);
        if (cz_model_open(path, backbone, &read) != CZ_OK) fail_msg("%s", cz_last_error());
        assert_memory_equal(read->relation, model->relation, 2 * 54 * sizeof(float));
        expect_stored_scores(read, NULL);
        assert_true(score_of(read, defects[5], NULL) == score_of(model, defects[5], NULL));
        cz_model_close(read);
        if (i == 0) {
            o.cache.dir = cache;
            for (size_t filled = 0; filled < 2; filled++) {
                cz_model *stored = train(&o);
                assert_true(same(model, stored));
                expect_stored_scores(stored, cache);
                cz_model_close(stored);
            }
            assert_int_equal(system(command), 0);
        }
        cz_model_close(model);
    }
}

/* The scales are those of the training photos' own numbers. */
static void test_scales(void **state)
{
    (void)state;
    drawing d;
    float scales[2 * 54];
    static float whole[CELLS * 54];
    double sum[54] = {0}, squares[54] = {0};
    open_drawing(&d, 0, true);
    assert_int_equal(cz_patch_set_use_relations(&d.set, scales, true), CZ_OK);
    assert_int_equal(d.set.width, 54);
    for (size_t i = 0; i < PHOTOS; i++) {
        assert_int_equal(cz_patch_set_whole(&d.set, i, whole), CELLS);
        for (size_t v = 0; v < CELLS * 54; v++) {
            sum[v % 54] += (double)whole[v];
            squares[v % 54] += (double)whole[v] * (double)whole[v];
        }
    }
    for (size_t c = 0; c < 54; c++) {
        const double mean = sum[c] / (PHOTOS * CELLS), spread = squares[c] / (PHOTOS * CELLS) - mean * mean;
        assert_true(fabs(mean) < 1e-3);
        if (scales[54 + c] != 0) assert_true(fabs(spread - 1) < 1e-3);
    }
    const cz_image_source shown = labelled(&nothing);
    const cz_train_options o = relational(&shown);
    cz_model *model = train(&o);
    assert_memory_equal(model->relation, scales, sizeof scales);
    cz_model_close(model);
    close_drawing(&d);
}

/* A copy of the model's file with its scales and its JSON's words changed. */
static void damage(const cz_model *m, const cz_tensor_view *scales, const char *from, const char *to)
{
    cz_tensors *t = NULL, *changed = NULL;
    cz_tensor_view view;
    assert_int_equal(cz_model_save(m, path), CZ_OK);
    assert_int_equal(cz_tensors_open(path, &t), CZ_OK);
    assert_int_equal(cz_tensors_create(&changed), CZ_OK);
    for (size_t i = 0; i < cz_tensors_count(t); i++) {
        assert_int_equal(cz_tensors_get(t, i, &view), CZ_OK);
        if (strcmp(view.name, "relation.scales") != 0) assert_int_equal(cz_tensors_add(changed, &view), CZ_OK);
    }
    if (scales != NULL) assert_int_equal(cz_tensors_add(changed, scales), CZ_OK);
    const char *json = cz_model_json(m), *at = strstr(json, from);
    if (at == NULL) fail_msg("no %s in %s", from, json);
    char *text = cz_format("%.*s%s%s", (int)(at - json), json, to, at + strlen(from));
    for (size_t i = 0; i < cz_tensors_metadata_count(t); i++) {
        const char *key, *value;
        assert_int_equal(cz_tensors_metadata_at(t, i, &key, &value), CZ_OK);
        assert_int_equal(cz_tensors_set_metadata(changed, key, strcmp(key, "cozad") == 0 ? text : value), CZ_OK);
    }
    assert_int_equal(cz_tensors_save(changed, path), CZ_OK);
    cz_free(text);
    cz_tensors_close(changed);
    cz_tensors_close(t);
}

static void test_damaged(void **state)
{
    (void)state;
    const cz_image_source shown = labelled(&nothing);
    cz_train_options o = relational(&shown);
    cz_model *model = train(&o), *read = NULL;
    float wrong[2 * 54], right[2 * 54];
    double wide[2 * 54] = {0};
    memcpy(wrong, model->relation, sizeof wrong);
    memcpy(right, wrong, sizeof right);
    const cz_tensor_view good = {"relation.scales", CZ_F32, 2, {2, 54}, right, sizeof right};
    cz_tensor_view bad[7] = {good, good, good, good, good, good, good};
    bad[0].shape[0] = 54, bad[0].shape[1] = 2;
    bad[1].rank = 1, bad[1].shape[0] = 108;
    bad[2].shape[1] = 53, bad[2].bytes = 2 * 53 * sizeof(float);
    bad[3].shape[0] = 1, bad[3].bytes = 54 * sizeof(float);
    bad[4].dtype = CZ_F64, bad[4].data = wide, bad[4].bytes = sizeof wide;
    bad[5].dtype = CZ_I32;
    bad[6].data = wrong;
    const char *descriptor = "\"descriptor\": \"relational\"", *width = "\"feature_width\": 54";
    damage(model, &good, descriptor, descriptor);
    if (cz_model_inspect(path, &read) != CZ_OK) fail_msg("%s", cz_last_error());
    assert_true(same(model, read));
    cz_model_close(read);
    for (size_t i = 0; i < 8; i++) {
        wrong[7 * i] = i % 2 ? (float)NAN : -(float)INFINITY;
        damage(model, i < 7 ? &bad[i] : NULL, descriptor, descriptor);
        assert_int_equal(cz_model_inspect(path, &read), CZ_E_MODEL);
        assert_non_null(strstr(cz_last_error(), "relation.scales"));
    }
    static const char *const kinds[] = {"\"descriptor\": \"relative\"", "\"descriptor\": 7", "\"descriptor\": null"};
    for (size_t i = 0; i < 3; i++) {
        damage(model, &good, descriptor, kinds[i]);
        assert_int_equal(cz_model_inspect(path, &read), CZ_E_MODEL);
        assert_non_null(strstr(cz_last_error(), "head.descriptor"));
    }
    damage(model, &good, width, "\"feature_width\": 53");
    assert_int_equal(cz_model_inspect(path, &read), CZ_E_MODEL);
    damage(model, &good, "\"layer2,layer3\"", "\"layer2\"");
    assert_int_equal(cz_model_inspect(path, &read), CZ_E_MODEL);
    assert_non_null(strstr(cz_last_error(), "do not go with its taps"));
    cz_model_close(model);
    /* pooled features of another width are none of these numbers */
    o = options("simplenet");
    model = train(&o);
    damage(model, &good, "\"descriptor\": \"patch\"", descriptor);
    assert_int_equal(cz_model_inspect(path, &read), CZ_E_MODEL);
    assert_non_null(strstr(cz_last_error(), "48 relational numbers"));
    cz_model_close(model);
}

/* Adapting and calibrating make models with the same scales. */
static void test_copies(void **state)
{
    (void)state;
    const cz_image_source shown = labelled(&nothing), source = labelled(&nothing);
    const cz_train_options o = relational(&shown);
    cz_model *model = train(&o), *adapted = NULL, *calibrated = NULL, *read = NULL;
    cz_adapt_options a;
    cz_adapt_report report;
    cz_adapt_options_init(&a);
    a.steps = 4;
    a.inner_lr = 0.01;
    a.threads = 2;
    if (cz_adapt(model, &source, &a, &adapted, &report) != CZ_OK) fail_msg("%s", cz_last_error());
    assert_true(isfinite(report.loss_after) && report.loss_after < report.loss_before);
    assert_memory_equal(adapted->relation, model->relation, 2 * 54 * sizeof(float));
    assert_true(score_of(adapted, defects[0], NULL) != score_of(model, defects[0], NULL));
    assert_int_equal(cz_model_save(adapted, path), CZ_OK);
    assert_int_equal(cz_model_open(path, backbone, &read), CZ_OK);
    assert_true(score_of(read, defects[0], NULL) == score_of(adapted, defects[0], NULL));
    cz_model_close(read);
    cz_model_close(adapted);

    cz_calibrate_options c;
    cz_calibrate_options_init(&c);
    c.target = 0.5;
    c.threads = 2;
    c.allow_training_photos = 1;
    if (cz_calibrate(model, &source, &c, &calibrated, NULL) != CZ_OK) fail_msg("%s", cz_last_error());
    assert_memory_equal(calibrated->relation, model->relation, 2 * 54 * sizeof(float));
    assert_int_equal(cz_model_save(calibrated, path), CZ_OK);
    assert_int_equal(cz_model_open(path, backbone, &read), CZ_OK);
    expect_stored_scores(read, NULL);
    cz_model_close(read);
    cz_model_close(calibrated);
    cz_model_close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_relational_scores), cmocka_unit_test(test_scales),
                                       cmocka_unit_test(test_damaged), cmocka_unit_test(test_copies)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
