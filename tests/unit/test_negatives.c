/* SPDX-License-Identifier: Apache-2.0 */
/* Training with known negatives: what is drawn for a photo, what the model says of it, that it repeats and resumes, what is refused. */
#include "api/defective.h"
#include "two_products.h"

#include <math.h>

static void refused(const cz_train_options *o, const char *words)
{
    cz_model *model = NULL;
    const cz_image_source source = photos(2);
    assert_int_equal(cz_train(backbone, &source, o, &model), CZ_E_ARG);
    assert_null(model);
    if (strstr(cz_last_error(), words) == NULL) fail_msg("not about \"%s\": %s", words, cz_last_error());
}

static json_int_t negatives_of(const cz_model *m, const char *name)
{
    const json_t *n = json_object_get(part_of(m, "training"), "negatives");
    if (!json_is_integer(json_object_get(n, name))) fail_msg("no training.negatives.%s", name);
    return json_integer_value(json_object_get(n, name));
}

/* Whether a picture is among what the model has learnt from. */
static bool has_learnt(const cz_model *m, const uint8_t *picture)
{
    const cz_image image = {picture, SIDE, SIDE, SIDE, CZ_GRAY8};
    const json_t *hashes = json_object_get(part_of(m, "training"), "pixels_sha256");
    uint8_t digest[32];
    char hex[65];
    cz_image_sha256(&image, digest);
    for (size_t i = 0; i < 32; i++) (void)snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    for (size_t i = 0; i < json_array_size(hashes); i++)
        if (strcmp(json_string_value(json_array_get(hashes, i)), hex) == 0) return true;
    return false;
}

/* ---- what is drawn ------------------------------------------------------------------------------------------------ */

/* The patch of labelled photo *item (found out by the first row) that a row is; CELLS: none. */
static size_t place_of(drawing *d, const float *row, size_t *item)
{
    static float whole[CELLS * 48];
    for (size_t i = *item == LABELLED ? 0 : *item; i < (*item == LABELLED ? LABELLED : *item + 1); i++) {
        assert_int_equal(cz_patch_set_whole(&d->shown, i, whole), CELLS);
        for (size_t c = 0; c < CELLS; c++)
            if (memcmp(whole + c * 48, row, 48 * sizeof *row) == 0) {
                *item = i;
                return c;
            }
    }
    return CELLS;
}

/* What a labelled photo's patch is by its mask. */
static uint8_t kind_at(size_t item, size_t cell)
{
    if (cell / GRID == item) return cell % GRID <= item ? CZ_TARGET_ANOMALOUS : CZ_TARGET_NORMAL;
    return cell / GRID == item + 1 && cell % GRID == 0 ? CZ_DEFECTIVE_MIXED : CZ_TARGET_NORMAL;
}

/* Three of four patches are anomalous, each as often as the next, the others are different normal ones. */
static size_t expect_companion(drawing *d, size_t photo, uint64_t seed)
{
    static float out[TAKEN * 48];
    uint8_t target[TAKEN];
    size_t times[CELLS] = {0}, item = LABELLED;
    cz_rng rng;
    cz_rng_init(&rng, seed, CZ_RNG_TEST, photo, 0);
    memset(target, 9, sizeof target);
    assert_int_equal(cz_negatives_sample(d->negatives, photo, TAKEN, &rng, out, target), TAKEN);
    for (size_t i = 0; i < TAKEN; i++) {
        const size_t cell = place_of(d, out + i * 48, &item);
        assert_int_equal(target[i], i < 12 ? CZ_TARGET_ANOMALOUS : CZ_TARGET_NORMAL);
        if (cell == CELLS) fail_msg("row %zu is no patch of the labelled photo", i);
        assert_int_equal(kind_at(item, cell), target[i]);
        times[cell]++;
    }
    for (size_t c = 0; c < CELLS; c++) {
        if (kind_at(item, c) == CZ_TARGET_ANOMALOUS)
            assert_true(times[c] >= 12 / (item + 1) && times[c] <= (12 + item) / (item + 1));
        else
            assert_true(times[c] <= 1);
    }
    assert_int_equal(item % 2, photo % 2); /* never another product's */
    return item;
}

static void test_labelled_companions(void **state)
{
    (void)state;
    drawing d;
    size_t synthetic, shown, seen[LABELLED] = {0};
    open_drawing(&d, 0, true);
    cz_negatives_count(d.negatives, &synthetic, &shown);
    assert_int_equal(synthetic, 0);
    assert_int_equal(shown, LABELLED);
    assert_int_equal(cz_negatives_labelled(d.negatives)->count, LABELLED);
    for (size_t photo = 0; photo < PHOTOS; photo++)
        for (uint64_t seed = 0; seed < 6; seed++) seen[expect_companion(&d, photo, seed)]++;
    for (size_t i = 0; i < LABELLED; i++) assert_true(seen[i] > 4); /* each of its category */
    close_drawing(&d);
}

/* Shares of counts that four do not divide, and none. */
static void test_counts(void **state)
{
    (void)state;
    static float out[CELLS * 48];
    uint8_t target[CELLS];
    drawing d;
    open_drawing(&d, 0, true);
    for (size_t wanted = 0; wanted <= CELLS; wanted++) {
        cz_rng rng;
        size_t anomalous = 0;
        cz_rng_init(&rng, wanted, CZ_RNG_TEST, 0, 0);
        const size_t rows = cz_negatives_sample(d.negatives, 1, wanted, &rng, out, target);
        assert_int_equal(rows, wanted);
        for (size_t i = 0; i < rows; i++) anomalous += target[i] == CZ_TARGET_ANOMALOUS;
        assert_int_equal(anomalous, (3 * wanted + 3) / 4);
    }
    close_drawing(&d);
}

/* Copies and labelled photos are drawn as often as each other; a copy's patches are none of a labelled photo. */
static void test_both(void **state)
{
    (void)state;
    static float out[TAKEN * 48];
    uint8_t target[TAKEN];
    drawing d;
    size_t synthetic, shown, drawn = 0, label = 0, none = 0;
    open_drawing(&d, 6, true);
    cz_negatives_count(d.negatives, &synthetic, &shown);
    assert_true(synthetic > PHOTOS && synthetic <= 6 * PHOTOS);
    for (uint64_t i = 0; i < 200; i++) {
        cz_rng rng;
        size_t item = LABELLED;
        cz_rng_init(&rng, 1, CZ_RNG_TEST, i, 0);
        const size_t rows = cz_negatives_sample(d.negatives, i % PHOTOS, TAKEN, &rng, out, target);
        none += rows == 0;
        if (rows == 0) continue;
        if (place_of(&d, out, &item) == CELLS)
            drawn++;
        else
            label++;
    }
    assert_int_equal(none, 0);
    assert_true(drawn > 60 && label > 60);
    close_drawing(&d);
}

/* ---- training ------------------------------------------------------------------------------------------------------- */

static int stop(void *ctx, const cz_train_step *step)
{
    size_t *left = ctx;
    assert_true(isfinite(step->loss));
    return *left > 0 && --*left == 0;
}

/* Stopped after three steps and resumed: the same bytes. Other negatives are another training. */
static void expect_resumed(cz_train_options o, const cz_model *whole)
{
    char checkpoint[sizeof path + 16];
    size_t left = 3;
    cz_model *model = NULL;
    const cz_image_source source = photos(2);
    (void)snprintf(checkpoint, sizeof checkpoint, "%s.checkpoint", path);
    o.checkpoint = checkpoint;
    o.step = stop;
    o.ctx = &left;
    assert_int_equal(cz_train(backbone, &source, &o, &model), CZ_E_CANCELLED);
    o.resume = 1;
    o.negatives.synthetic++;
    assert_int_equal(cz_train(backbone, &source, &o, &model), CZ_E_MODEL);
    o.negatives.synthetic--;
    memset(masks[1] + SIDE * SIDE / 2, 255, SIDE * SIDE / 4);
    assert_int_equal(cz_train(backbone, &source, &o, &model), CZ_E_MODEL);
    memset(masks[1] + SIDE * SIDE / 2, 0, SIDE * SIDE / 4);
    model = train(&o);
    assert_true(same(whole, model));
    cz_model_close(model);
    unlink(checkpoint);
}

static void test_methods(void **state)
{
    (void)state;
    static const char *const methods[] = {"simplenet", "cozad"}, *const descriptors[] = {"patch", "relational"};
    const cz_image_source shown = labelled(&nothing);
    for (size_t m = 0; m < 2; m++) {
        cz_train_options o = options(methods[m]);
        cz_model *plain = train(&o);
        assert_null(json_object_get(part_of(plain, "training"), "negatives"));
        assert_true(json_is_true(json_object_get(part_of(plain, "head"), "noise_twins")));
        for (size_t i = 0; i < 4; i++) { /* either kind of patch, with and without noise */
            o.descriptor = descriptors[i % 2];
            o.negatives.noise = i < 2;
            o.negatives.synthetic = 2;
            set_labelled(&o, &shown);
            cz_model *model = train(&o), *again = train(&o);
            assert_true(same(model, again));
            assert_false(same(model, plain));
            assert_int_equal(negatives_of(model, "copies"), 2);
            assert_int_equal(negatives_of(model, "labelled"), LABELLED);
            assert_in_range(negatives_of(model, "synthetic"), 1, 2 * PHOTOS);
            const json_t *noise = json_object_get(json_object_get(part_of(model, "training"), "negatives"), "noise");
            const json_t *twins = json_object_get(part_of(model, "head"), "noise_twins");
            assert_true(json_is_boolean(noise) && json_is_true(noise) == (i < 2));
            assert_true(json_is_boolean(twins) && json_is_true(twins) == (i < 2));
            assert_string_equal(json_string_value(json_object_get(part_of(model, "head"), "descriptor")),
                                descriptors[i % 2]);
            assert_true((model->relation != NULL) == (i % 2 == 1));
            if (i == 3) expect_resumed(o, model);
            cz_model_close(model);
            cz_model_close(again);
        }
        cz_model_close(plain);
    }
}

/* What the model has learnt from has the labelled photos; those that cannot be read are left out and told of. */
static void test_left_out(void **state)
{
    (void)state;
    static const broken cases[] = {{2, LABELLED}, {LABELLED, 2}, {2, 3}};
    for (size_t i = 0; i < 3; i++) {
        broken which = cases[i];
        const cz_image_source shown = labelled(&which);
        cz_train_options o = options("simplenet");
        set_labelled(&o, &shown);
        lines[0] = '\0';
        cz_model *model = train(&o);
        if (strstr(lines, "skipped") == NULL) fail_msg("\"%s\"", lines);
        const size_t readable = LABELLED - (i == 2 ? 2 : 1);
        assert_int_equal(negatives_of(model, "labelled"), readable);
        assert_int_equal(negatives_of(model, "synthetic"), 0);
        assert_int_equal(json_array_size(json_object_get(part_of(model, "training"), "pixels_sha256")),
                         PHOTOS + readable);
        assert_int_equal(cz_model_photos_count(model), PHOTOS); /* they are none of the normal photos */
        for (size_t p = 0; p < PHOTOS; p++) assert_true(has_learnt(model, pixels[p]));
        for (size_t p = 0; p < LABELLED; p++)
            assert_true(has_learnt(model, defects[p]) == (p != which.photo && p != which.mask));
        cz_model_close(model);
    }
    /* copies are none of the photos that a figure may not be had on */
    cz_train_options o = options("simplenet");
    o.negatives.synthetic = 3;
    cz_model *model = train(&o);
    assert_int_equal(json_array_size(json_object_get(part_of(model, "training"), "pixels_sha256")), PHOTOS);
    assert_int_equal(negatives_of(model, "labelled"), 0);
    cz_model_close(model);
}

static size_t one_category(void *ctx, size_t index)
{
    (void)ctx;
    (void)index;
    return 1;
}

/* Labelled photos of a product of which there is no other photo are never drawn, and not counted. */
static void test_other_products(void **state)
{
    (void)state;
    cz_image_source source = photos(2);
    const cz_image_source shown = labelled(&nothing);
    cz_train_options o = options("simplenet");
    cz_model *model = NULL;
    set_labelled(&o, &shown);
    source.category = one_category;
    if (cz_train(backbone, &source, &o, &model) != CZ_OK) fail_msg("%s", cz_last_error());
    assert_int_equal(negatives_of(model, "labelled"), LABELLED / 2);
    cz_model_close(model);
}

/* Masks without a defect are no negatives. */
static void test_no_defect(void **state)
{
    (void)state;
    static uint8_t kept[sizeof masks];
    cz_model *model = NULL;
    const cz_image_source source = photos(2), shown = labelled(&nothing);
    cz_train_options o = options("simplenet");
    set_labelled(&o, &shown);
    memcpy(kept, masks, sizeof masks);
    memset(masks, 0, sizeof masks);
    assert_int_equal(cz_train(backbone, &source, &o, &model), CZ_E_NO_IMAGES);
    assert_non_null(strstr(cz_last_error(), "no drawn or labelled defect covers a patch"));
    memcpy(masks, kept, sizeof masks);
}

static void test_refused(void **state)
{
    (void)state;
    const cz_image_source shown = labelled(&nothing);
    cz_image_source wrong = shown;
    cz_train_options o = options("flow");
    o.negatives.synthetic = 1;
    refused(&o, "detector \"simplenet\": \"flow\"");
    o = options("comet");
    o.detector = "flow";
    set_labelled(&o, &shown);
    refused(&o, "detector \"simplenet\": \"flow\"");
    o = options("knn");
    o.negatives.synthetic = 1;
    refused(&o, "detector \"simplenet\": \"knn\"");
    o = options("simplenet");
    o.negatives.noise = 0;
    refused(&o, "without noise there must be other negatives");
    o = options("simplenet");
    o.negatives.synthetic = 65;
    refused(&o, "65 defective copies");
    o = options("knn");
    o.descriptor = "relational";
    refused(&o, "relational descriptors are for detectors of patches that are trained");
    o = options("flow");
    o.descriptor = "relational";
    o.flow.level = "image";
    refused(&o, "relational descriptors are for detectors of patches that are trained");
    o.flow.level = NULL;
    refused(&o, "flow level \"\" is not one of: patch, image");
    o = options("simplenet");
    o.descriptor = "relative";
    refused(&o, "descriptor \"relative\" is not one of: patch, relational");
    o.descriptor = NULL;
    refused(&o, "descriptor \"\" is not one of: patch, relational");
    o = options("simplenet");
    o.negatives.labelled = &shown; /* and no masks */
    refused(&o, "labelled photos without callbacks");
    wrong.load = NULL;
    set_labelled(&o, &wrong);
    refused(&o, "labelled photos without callbacks");
    wrong = shown;
    wrong.struct_size = 8;
    refused(&o, "unknown struct_size");
    o = options("simplenet");
    o.negatives.struct_size = 8;
    refused(&o, "cz_negatives_options: unknown struct_size 8");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_labelled_companions),
                                       cmocka_unit_test(test_counts),
                                       cmocka_unit_test(test_both),
                                       cmocka_unit_test(test_methods),
                                       cmocka_unit_test(test_left_out),
                                       cmocka_unit_test(test_other_products),
                                       cmocka_unit_test(test_no_defect),
                                       cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
