/* SPDX-License-Identifier: Apache-2.0 */
/* Weight files like the one that comes with cozad: cozad_r32 in F16 with version, widths and ranges for int8 inside. The file is made
 * of hash weights here; the real one is checked where it is. */
#include "api/model.h"
#include "api/precision.h"
#include "backbone/backbone.h"
#include "backbone/fold.h"
#include "backbone/packed.h"
#include "backbone/quantise.h"
#include "tensor/dtype.h"
#include "tensor/tensors.h"
#include "util/alloc.h"

#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { PHOTOS = 4, SIDE = 64, NODES = 16 };

static char home[] = "/tmp/test_builtin_XXXXXX";
static char file[64];
static uint8_t photos[PHOTOS][SIDE * SIDE];

static int setup(void **state)
{
    (void)state;
    if (!mkdtemp(home) || setenv("COZAD_HOME", home, 1) != 0 || setenv("XDG_CACHE_HOME", home, 1) != 0) return 1;
    (void)snprintf(file, sizeof file, "%s/builtin.safetensors", home);
    for (size_t i = 0; i < PHOTOS; i++)
        for (size_t p = 0; p < sizeof photos[i]; p++)
            photos[i][p] = (uint8_t)((p * (7 + i) + p / SIDE * 13 + (p * p >> 5) % 40) % 251);
    return 0;
}

static int teardown(void **state)
{
    char command[64];
    (void)state;
    (void)snprintf(command, sizeof command, "rm -rf '%s'", home);
    return system(command);
}

static cz_status load(void *ctx, size_t index, cz_image *out)
{
    (void)ctx;
    *out = (cz_image){photos[index], SIDE, SIDE, SIDE, CZ_GRAY8};
    return CZ_OK;
}

static cz_image_source source_of_photos(void)
{
    cz_image_source source = CZ_IMAGE_SOURCE_INIT;
    source.count = PHOTOS;
    source.load = load;
    return source;
}

/* Toward zero; what is too small for a normal half becomes 0. */
static uint16_t half_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    const int exponent = (int)(bits >> 23 & 0xff) - 127 + 15;
    assert_true(exponent < 31);
    return (uint16_t)(bits >> 16 & 0x8000u) |
           (uint16_t)(exponent > 0 ? (unsigned)exponent << 10 | (bits >> 13 & 0x3ff) : 0);
}

static void put(cz_tensors *t, const cz_weight_source *source, const char *name, const size_t *shape, size_t rank)
{
    cz_tensor_view view = {.name = name, .rank = rank, .dtype = CZ_F16};
    size_t count = 1;
    for (size_t i = 0; i < rank; i++) count *= view.shape[i] = shape[i];
    float *values = cz_alloc(count * sizeof *values);
    uint16_t *halves = cz_alloc(count * sizeof *halves);
    assert_non_null(values);
    assert_non_null(halves);
    assert_int_equal(source->fetch(source->ctx, name, shape, rank, values), CZ_OK);
    for (size_t i = 0; i < count; i++) halves[i] = half_of(values[i]);
    view.data = halves;
    view.bytes = count * sizeof *halves;
    assert_int_equal(cz_tensors_put(t, &view, 1), CZ_OK);
    cz_free(values);
}

/* What distillation exports. */
static cz_tensors *tensors_of(uint64_t seed, bool named)
{
    static cz_layout layout;
    static const char *const parts[] = {"weight", "bias", "running_mean", "running_var"};
    const cz_variant variant = {.stages = 3};
    const cz_random_source random = {seed, false};
    const cz_weight_source source = cz_source_of_hash(&random);
    cz_tensors *t;
    cz_layout_build(cz_arch_find("cozad_r32"), &variant, &layout);
    assert_int_equal(layout.node_count, NODES);
    assert_int_equal(cz_tensors_create(&t), CZ_OK);
    for (size_t i = 0; i < layout.conv_count; i++) {
        const cz_layer_conv *c = &layout.convs[i];
        const size_t shape[4] = {c->out, c->in, c->kernel, c->kernel};
        char name[64];
        (void)snprintf(name, sizeof name, "%s.weight", c->name);
        put(t, &source, name, shape, 4);
        for (size_t p = 0; p < 4; p++) {
            (void)snprintf(name, sizeof name, "%s.%s", c->norm, parts[p]);
            put(t, &source, name, shape, 1);
        }
    }
    if (named) {
        assert_int_equal(cz_tensors_set_metadata(t, "architecture", "cozad_r32"), CZ_OK);
        assert_int_equal(cz_tensors_set_metadata(t, "version", "builtin-1"), CZ_OK);
        assert_int_equal(cz_tensors_set_metadata(t, "feature_width", "96"), CZ_OK);
        assert_int_equal(cz_tensors_set_metadata(t, "feature_scale", "0.25"), CZ_OK);
    }
    return t;
}

static cz_backbone *backbone_of(const cz_tensors *t)
{
    cz_backbone *b = NULL;
    if (cz_backbone_from_tensors(t, "builtin", "", &b) != CZ_OK) fail_msg("%s", cz_last_error());
    return b;
}

static void measure(cz_tensors *t)
{
    cz_backbone *b = backbone_of(t);
    const cz_image_source source = source_of_photos();
    cz_ranges_options o = CZ_RANGES_OPTIONS_INIT;
    o.image_width = o.image_height = SIDE;
    o.threads = 1;
    if (cz_backbone_measure_ranges(b, &source, &o, t) != CZ_OK) fail_msg("%s", cz_last_error());
    cz_backbone_close(b);
}

/* ---- the file -------------------------------------------------------------------------------------------------------- */

static void test_described(void **state)
{
    (void)state;
    cz_tensors *t = tensors_of(1, true);
    cz_backbone *b = backbone_of(t);
    cz_tap tap;
    assert_string_equal(cz_backbone_architecture(b), "cozad_r32");
    assert_string_equal(cz_backbone_version(b), "builtin-1");
    assert_int_equal(cz_backbone_feature_width(b), 96);
    assert_true(cz_backbone_feature_scale(b) == 0.25);
    assert_null(cz_backbone_ranges(b));
    assert_int_equal(cz_backbone_tap_shape(b, "layer2", 256, 256, &tap), CZ_OK);
    assert_true(tap.channels == 96 && tap.height == 32 && tap.width == 32);
    assert_int_equal(cz_backbone_tap_shape(b, "layer3", 256, 256, &tap), CZ_OK);
    assert_true(tap.channels == 192 && tap.height == 16 && tap.width == 16);
    assert_int_equal(cz_backbone_tap_shape(b, "layer4", 256, 256, &tap), CZ_E_ARG);
    cz_backbone_close(b);
    assert_int_equal(cz_tensors_set_metadata(t, "version", "a version that is longer than a version may be"), CZ_OK);
    b = backbone_of(t);
    assert_string_equal(cz_backbone_version(b), "");
    cz_backbone_close(b);
    cz_tensors_close(t);
    t = tensors_of(1, false); /* by the shapes alone */
    b = backbone_of(t);
    assert_string_equal(cz_backbone_architecture(b), "cozad_r32");
    assert_int_equal(cz_backbone_feature_width(b), 384);
    assert_true(cz_backbone_feature_scale(b) == 1);
    cz_backbone_close(b);
    cz_tensors_close(t);
}

/* F16 is read exactly: the same values as F32 give the same features. */
static void test_half(void **state)
{
    (void)state;
    cz_tensors *t = tensors_of(1, false), *wide;
    assert_int_equal(cz_tensors_create(&wide), CZ_OK);
    for (size_t i = 0; i < cz_tensors_count(t); i++) {
        cz_tensor_view view;
        assert_int_equal(cz_tensors_get(t, i, &view), CZ_OK);
        const size_t count = view.bytes / 2;
        float *values = cz_alloc(count * sizeof *values);
        assert_non_null(values);
        assert_int_equal(cz_to_f32(CZ_F16, view.data, count, values), CZ_OK);
        view.dtype = CZ_F32;
        view.data = values;
        view.bytes = count * sizeof *values;
        assert_int_equal(cz_tensors_put(wide, &view, 1), CZ_OK);
    }
    cz_backbone *a = backbone_of(t), *b = backbone_of(wide);
    assert_string_equal(cz_backbone_sha256(a), cz_backbone_sha256(b));
    cz_backbone_close(a);
    cz_backbone_close(b);
    cz_tensors_close(t);
    cz_tensors_close(wide);
}

static void refuses(const float *values, size_t count, const char *message)
{
    cz_tensors *t = tensors_of(1, true);
    cz_backbone *b = NULL;
    const cz_tensor_view view = {CZ_QUANT_TENSOR, CZ_F32, 1, {count}, values, count * sizeof *values};
    assert_int_equal(cz_tensors_add(t, &view), CZ_OK);
    cz_error_clear();
    assert_int_equal(cz_backbone_from_tensors(t, "x", "", &b), CZ_E_WEIGHTS);
    assert_null(b);
    if (!strstr(cz_last_error(), message)) fail_msg("\"%s\" lacks \"%s\"", cz_last_error(), message);
    cz_tensors_close(t);
}

static void test_ranges_refused(void **state)
{
    (void)state;
    float values[CZ_QUANT_MAX];
    for (size_t i = 0; i < CZ_QUANT_MAX; i++) values[i] = 1;
    refuses(values, NODES - 1, "15 ranges, the network has 16 nodes");
    refuses(values, NODES + 1, "17 ranges, the network has 16 nodes");
    values[3] = NAN;
    refuses(values, NODES, "is not a range");
    values[3] = 0;
    refuses(values, NODES, "is not a range");
}

/* Measured, stored, part of the digest, and there again after saving. */
static void test_ranges(void **state)
{
    (void)state;
    cz_tensors *t = tensors_of(1, true), *saved;
    cz_backbone *plain = backbone_of(t);
    measure(t);
    assert_non_null(strstr(cz_tensors_metadata(t, "int8_ranges"), "4 photos, 64 x 64"));
    cz_backbone *b = backbone_of(t), *again;
    const cz_quant *ranges = cz_backbone_ranges(b);
    assert_non_null(ranges);
    assert_int_equal(ranges->count, NODES);
    assert_true(cz_backbone_has_ranges(b));
    assert_string_not_equal(cz_backbone_sha256(plain), cz_backbone_sha256(b));
    const cz_image_source source = source_of_photos();
    const cz_ranges_options o = CZ_RANGES_OPTIONS_INIT;
    assert_int_equal(cz_backbone_measure_ranges(b, &source, &o, t), CZ_E_ARG); /* there are some */
    assert_int_equal(cz_backbone_measure_ranges(b, &source, NULL, t), CZ_E_ARG);
    assert_int_equal(cz_backbone_save(b, file), CZ_OK);
    assert_int_equal(cz_safetensors_open(file, &saved), CZ_OK);
    again = backbone_of(saved);
    assert_memory_equal(cz_backbone_ranges(again)->range, ranges->range, NODES * sizeof *ranges->range);
    assert_int_equal(cz_backbone_feature_width(again), 96);
    assert_string_equal(cz_backbone_version(again), "builtin-1");
    cz_backbone_close(again);
    cz_tensors_close(saved);
    cz_backbone_close(b);
    cz_backbone_close(plain);
    cz_tensors_close(t);
}

/* A backbone that is opened by its packed weights alone knows all that the file says. */
static void test_packed(void **state)
{
    (void)state;
    cz_tensors *t = tensors_of(1, true);
    const struct timespec times[2] = {{1000000000, 0}, {1000000000, 0}};
    cz_backbone *b, *packed = NULL;
    cz_plan *plan;
    (void)setenv("COZAD_PACKED_CACHE", "", 1);
    measure(t);
    assert_int_equal(cz_tensors_save(t, file), CZ_OK);
    assert_int_equal(utimensat(AT_FDCWD, file, times, 0), 0);
    assert_int_equal(cz_backbone_open("builtin", &b), CZ_OK);
    const cz_plan_options options = {.taps = "layer3",
                                     .batch = 1,
                                     .height = SIDE,
                                     .width = SIDE,
                                     .threads = 1,
                                     .precision = CZ_PRECISION_INT8,
                                     .quant = cz_backbone_ranges(b)};
    assert_int_equal(cz_plan_create(b, &options, &plan), CZ_OK);
    cz_plan_destroy(plan);
    assert_int_equal(cz_packed_open(cz_backbone_sha256(b), NULL, "", &packed), CZ_OK);
    assert_non_null(packed);
    assert_string_equal(cz_backbone_architecture(packed), "cozad_r32");
    assert_string_equal(cz_backbone_version(packed), "builtin-1");
    assert_int_equal(cz_backbone_feature_width(packed), 96);
    assert_non_null(cz_backbone_ranges(packed));
    assert_memory_equal(cz_backbone_ranges(packed), cz_backbone_ranges(b), sizeof(cz_quant));
    cz_backbone_close(packed);
    cz_backbone_close(b);
    assert_int_equal(cz_backbone_open("builtin", &b), CZ_OK); /* now by the index */
    assert_non_null(cz_backbone_ranges(b));
    cz_backbone_close(b);
    cz_tensors_close(t);
    (void)setenv("COZAD_PACKED_CACHE", "off", 1);
}

/* ---- what training and scoring make of it ----------------------------------------------------------------------------- */

static cz_train_options small(void)
{
    cz_train_options o;
    cz_train_options_init(&o);
    assert_int_equal(o.feature_width, 0);
    o.image_width = o.image_height = SIDE;
    o.hidden_width = 16;
    o.epochs = 1;
    o.patches_per_image = 16;
    o.threads = 1;
    o.quantise_images = 0;
    return o;
}

static cz_status open_int8(const cz_model *m, cz_session **out)
{
    cz_session_options o = CZ_SESSION_OPTIONS_INIT;
    o.threads = 1;
    o.precision = CZ_PRECISION_INT8;
    return cz_session_open(m, &o, out);
}

static void test_model(void **state)
{
    (void)state;
    const cz_image_source source = source_of_photos();
    cz_train_options o = small();
    cz_tensors *t = tensors_of(1, true);
    cz_backbone *plain = backbone_of(t);
    cz_model *m = NULL;
    cz_session *s = NULL;
    cz_result result;
    const cz_image image = {photos[0], SIDE, SIDE, SIDE, CZ_GRAY8};
    /* no ranges anywhere */
    if (cz_train(plain, &source, &o, &m) != CZ_OK) fail_msg("%s", cz_last_error());
    assert_int_equal(m->feature_width, 96);
    assert_true(m->feature_scale == 0.25);
    assert_string_equal(json_string_value(json_object_get(json_object_get(m->meta, "backbone"), "version")),
                        "builtin-1");
    assert_int_equal(open_int8(m, &s), CZ_E_ARG);
    cz_model_close(m);
    o.precision = CZ_PRECISION_INT8;
    assert_int_equal(cz_train(plain, &source, &o, &m), CZ_E_ARG);
    cz_backbone_close(plain);
    /* those of the weights: for a model without, and for training */
    measure(t);
    cz_backbone *b = backbone_of(t);
    o.precision = CZ_PRECISION_FP32;
    assert_int_equal(cz_train(b, &source, &o, &m), CZ_OK);
    assert_int_equal(m->quant.count, 0);
    assert_int_equal(open_int8(m, &s), CZ_OK);
    assert_int_equal(cz_score(s, &image, &result), CZ_OK);
    assert_true(isfinite(result.score));
    cz_session_close(s);
    cz_model_close(m);
    o.precision = CZ_PRECISION_INT8;
    assert_int_equal(cz_train(b, &source, &o, &m), CZ_OK);
    assert_int_equal(m->quant.count, NODES);
    assert_memory_equal(m->quant.range, cz_backbone_ranges(b)->range, NODES * sizeof *m->quant.range);
    cz_model_close(m);
    /* a training's own win, a width that is given too */
    o.quantise_images = 1;
    o.feature_width = 48;
    assert_int_equal(cz_train(b, &source, &o, &m), CZ_OK);
    assert_int_equal(m->feature_width, 48);
    assert_true(m->quant.count > 0);
    assert_memory_not_equal(m->quant.range, cz_backbone_ranges(b)->range, NODES * sizeof *m->quant.range);
    assert_ptr_equal(cz_precision_ranges(m), &m->quant);
    cz_model_close(m);
    cz_backbone_close(b);
    cz_tensors_close(t);
}

static void test_features(void **state)
{
    (void)state;
    cz_tensors *t = tensors_of(1, true), *into;
    cz_tensor_view view;
    const cz_image image = {photos[0], SIDE, SIDE, SIDE, CZ_GRAY8};
    cz_features_options o = CZ_FEATURES_OPTIONS_INIT;
    o.image_width = o.image_height = SIDE;
    o.threads = 1;
    o.precision = CZ_PRECISION_INT8;
    cz_backbone *plain = backbone_of(t);
    assert_int_equal(cz_tensors_create(&into), CZ_OK);
    assert_int_equal(cz_features_images(plain, &image, 1, &o, into), CZ_E_ARG);
    measure(t);
    cz_backbone *b = backbone_of(t);
    if (cz_features_images(b, &image, 1, &o, into) != CZ_OK) fail_msg("%s", cz_last_error());
    assert_int_equal(cz_tensors_find(into, "patches", &view), CZ_OK);
    assert_true(view.shape[1] == 64 && view.shape[2] == 96);
    cz_tensors_close(into);
    cz_backbone_close(plain);
    cz_backbone_close(b);
    cz_tensors_close(t);
}

/* ---- the real one ----------------------------------------------------------------------------------------------------- */

static void test_real(void **state)
{
    (void)state;
    cz_backbone *b = NULL;
    struct stat info;
    (void)unlink(file); /* the one made above would be found before it */
    if (cz_backbone_open("builtin", &b) != CZ_OK) fail_msg("%s", cz_last_error());
    assert_string_equal(cz_backbone_name(b), "builtin");
    /* a released version never changes */
    assert_string_equal(cz_backbone_sha256(b), "b2be38f0fe0b2fbd272b55fdc65537623317cfd2dc26817a6b8cca4c48b53e9a");
    assert_string_equal(cz_backbone_architecture(b), "cozad_r32");
    assert_string_equal(cz_backbone_version(b), "builtin-1");
    assert_int_equal(cz_backbone_feature_width(b), 384);
    assert_true(cz_backbone_feature_scale(b) > 0);
    assert_true(cz_backbone_has_ranges(b));
    assert_int_equal(stat(cz_backbone_path(b), &info), 0);
    assert_true(info.st_size <= 4000000);
    cz_backbone_close(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_described), cmocka_unit_test(test_half),  cmocka_unit_test(test_ranges_refused),
        cmocka_unit_test(test_ranges),    cmocka_unit_test(test_model), cmocka_unit_test(test_features),
        cmocka_unit_test(test_packed),    cmocka_unit_test(test_real),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
