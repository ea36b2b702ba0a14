/* SPDX-License-Identifier: Apache-2.0 */
/* Backbone loading: recognising architectures, errors that name the tensor, folding, saving, and plans. Numbers against
 * PyTorch are in tests/parity. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "backbone/arch.h"
#include "backbone/backbone.h"
#include "backbone/fold.h"
#include "tensor/tensors.h"
#include "util/alloc.h"
#include "util/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SEED 5

typedef struct recipe {
    const char *arch, *prefix;
    const char *leave_out; /* tensor that is not written */
    const char *misshape;  /* tensor whose first extent is one larger */
    const char *poison;    /* tensor whose first value is `poison_value` */
    float poison_value;
    const char *integer; /* tensor of I32 */
    size_t stages;
} recipe;

static void put(cz_tensors *t, const recipe *r, const cz_weight_source *source, const char *name, const size_t *shape,
                size_t rank)
{
    char full[96];
    size_t count = 1;
    if (r->leave_out && strcmp(r->leave_out, name) == 0) return;
    snprintf(full, sizeof full, "%s%s", r->prefix ? r->prefix : "", name);
    cz_tensor_view view = {.name = full, .rank = rank};
    for (size_t i = 0; i < rank; i++) count *= view.shape[i] = shape[i];
    float *values = cz_alloc(2 * count * sizeof *values);
    assert_non_null(values);
    assert_int_equal(source->fetch(source->ctx, name, shape, rank, values), CZ_OK);
    if (r->misshape && strcmp(r->misshape, name) == 0) {
        memset(values + count, 0, count * sizeof *values);
        count = count / view.shape[0] * (view.shape[0] + 1);
        view.shape[0]++;
    }
    if (r->poison && strcmp(r->poison, name) == 0) values[0] = r->poison_value;
    if (r->integer && strcmp(r->integer, name) == 0) view.dtype = CZ_I32;
    view.data = values;
    view.bytes = count * sizeof *values;
    assert_int_equal(cz_tensors_put(t, &view, 1), CZ_OK);
}

/* What a checkpoint of `r->arch` holds, in hash weights. */
static cz_tensors *checkpoint(const recipe *r)
{
    cz_tensors *t;
    cz_layout *layout = malloc(sizeof *layout);
    const cz_arch *arch = cz_arch_find(r->arch);
    assert_non_null(layout);
    assert_non_null(arch);
    const cz_variant variant = {.stages = r->stages ? r->stages : 3};
    const cz_random_source random = {SEED, arch->bottleneck};
    const cz_weight_source source = cz_source_of_hash(&random);
    cz_layout_build(arch, &variant, layout);
    assert_int_equal(cz_tensors_create(&t), CZ_OK);
    for (size_t i = 0; i < layout->conv_count; i++) {
        static const char *const parts[] = {"weight", "bias", "running_mean", "running_var"};
        const cz_layer_conv *c = &layout->convs[i];
        const size_t shape[4] = {c->out, c->in, c->kernel, c->kernel};
        char name[64];
        snprintf(name, sizeof name, "%s.weight", c->name);
        put(t, r, &source, name, shape, 4);
        for (size_t p = 0; p < 4; p++) {
            snprintf(name, sizeof name, "%s.%s", c->norm, parts[p]);
            put(t, r, &source, name, shape, 1);
        }
    }
    free(layout);
    return t;
}

static void expect_failure(const recipe *r, const char *key, const char *value, const char *message)
{
    cz_tensors *t = checkpoint(r);
    cz_backbone *b = NULL;
    if (key) assert_int_equal(cz_tensors_set_metadata(t, key, value), CZ_OK);
    cz_error_clear();
    assert_int_equal(cz_backbone_from_tensors(t, "x", "x", &b), CZ_E_WEIGHTS);
    assert_null(b);
    if (!strstr(cz_last_error(), message)) fail_msg("\"%s\" lacks \"%s\"", cz_last_error(), message);
    cz_tensors_close(t);
}

static void test_errors(void **state)
{
    (void)state;
    recipe r = {.arch = "resnet18", .leave_out = "layer2.0.conv2.weight"};
    expect_failure(&r, NULL, NULL, "layer2.0.conv2.weight: missing; resnet18 needs it, with shape [128, 128, 3, 3]");
    r = (recipe){.arch = "resnet18", .leave_out = "conv1.weight"};
    expect_failure(&r, NULL, NULL, "conv1.weight: missing");
    r = (recipe){.arch = "resnet18", .leave_out = "layer3.0.downsample.1.running_var"};
    expect_failure(&r, NULL, NULL, "layer3.0.downsample.1.running_var: missing; resnet18 needs it, with shape [256]");
    r = (recipe){.arch = "resnet18", .leave_out = "layer1.0.bn1.weight"};
    expect_failure(&r, NULL, NULL, "layer1.0.bn1.weight: missing");
    r = (recipe){.arch = "resnet18", .misshape = "layer1.1.conv1.weight"};
    expect_failure(&r, NULL, NULL,
                   "layer1.1.conv1.weight: shape [64, 64, 3, 3] expected for resnet18, found [65, 64, 3, 3]");
    r = (recipe){.arch = "resnet18", .misshape = "bn1.running_mean"};
    expect_failure(&r, NULL, NULL, "bn1.running_mean: shape [64] expected for resnet18, found [65]");
    r = (recipe){.arch = "resnet18", .poison = "layer1.0.conv1.weight", .poison_value = NAN};
    expect_failure(&r, NULL, NULL, "layer1.0.conv1.weight: value 0 is not finite");
    r = (recipe){.arch = "resnet18", .poison = "bn1.running_var", .poison_value = -1};
    expect_failure(&r, NULL, NULL, "bn1.running_var: value 0 is negative");
    r = (recipe){.arch = "resnet18", .integer = "bn1.bias"};
    expect_failure(&r, NULL, NULL, "bn1.bias: floating-point values expected, found I32");
    r = (recipe){.arch = "resnet18"};
    expect_failure(&r, "architecture", "vgg16", "unknown architecture \"vgg16\": known are resnet18");
    expect_failure(&r, "architecture", "resnet34", "layer1.2.conv1.weight: missing");
    expect_failure(&r, "architecture", "resnet50", "layer1.0.conv1.weight: shape [64, 64, 1, 1] expected");
    expect_failure(&r, "input_mean", "[1, 2, 3]", "only one of input_mean and input_std");
    expect_failure(&r, "input_range", "0..1 BGR", "input_range");
    expect_failure(&r, "bn_eps", "tiny", "bn_eps");
    expect_failure(&r, "bn_eps", "-1", "bn_eps");
    expect_failure(&r, "stride_in", "elsewhere", "stride_in");
    expect_failure(&r, "stem_pool", "5x5", "stem_pool");
    expect_failure(&r, "feature_scale", "-2", "feature_scale");
    r = (recipe){.arch = "resnet34"};
    expect_failure(&r, "architecture", "resnet18",
                   "layer1.2.conv1.weight: unexpected, layer1 of resnet18 has 2 blocks");
    r = (recipe){.arch = "resnet18", .stages = 4, .leave_out = "layer4.1.bn2.bias"};
    expect_failure(&r, NULL, NULL, "layer4.1.bn2.bias: missing; resnet18 needs it, with shape [512]");
    cz_backbone *b;
    r = (recipe){.arch = "resnet18", .stages = 4};
    expect_failure(&r, "architecture", "cozad_r32", "layer4: unexpected, cozad_r32 has no such stage");
    r = (recipe){.arch = "cozad_r32"};
    expect_failure(&r, "architecture", "resnet18", "conv1.weight: shape [64, 3, 7, 7] expected");
    expect_failure(&r, "feature_width", "0", "feature_width");
    expect_failure(&r, "feature_width", "384.5", "feature_width");
    expect_failure(&r, "feature_width", "1e9", "feature_width");
    assert_int_equal(cz_backbone_random("resnet19", 0, &b), CZ_E_ARG);
    cz_tensors *empty;
    assert_int_equal(cz_tensors_create(&empty), CZ_OK);
    assert_int_equal(cz_backbone_from_tensors(empty, "x", "x", &b), CZ_E_WEIGHTS);
    cz_tensors_close(empty);
}

static void test_architectures(void **state)
{
    (void)state;
    static const char *const names[] = {"resnet18",        "resnet34",         "resnet50", "resnet101",
                                        "wide_resnet50_2", "wide_resnet101_2", "cozad_r32"};
    static const char *const prefixes[] = {"", "module.", "model."};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const recipe r = {.arch = names[i], .prefix = prefixes[i % 3]};
        cz_tensors *t = checkpoint(&r);
        cz_backbone *b, *random;
        assert_int_equal(cz_backbone_from_tensors(t, "name", "path", &b), CZ_OK);
        cz_tensors_close(t);
        assert_int_equal(cz_backbone_random(names[i], SEED, &random), CZ_OK);
        assert_string_equal(cz_backbone_architecture(b), names[i]);
        assert_string_equal(cz_backbone_name(b), "name");
        assert_string_equal(cz_backbone_path(b), "path");
        assert_string_equal(cz_backbone_sha256(b),
                            cz_backbone_sha256(random)); /* names, shapes, values: all the same */
        assert_int_equal(strlen(cz_backbone_sha256(b)), 64);
        assert_true(cz_backbone_feature_scale(b) == 1 && cz_backbone_feature_scale(random) == 0);
        assert_int_equal(cz_backbone_feature_width(b), i == 6 ? 384 : 1536);
        assert_string_equal(cz_backbone_version(b), "");
        assert_false(cz_backbone_has_ranges(b));
        cz_backbone_close(b);
        cz_backbone_close(random);
    }
}

static void test_sha256(void **state)
{
    (void)state;
    char first[65];
    recipe r = {.arch = "resnet18"};
    for (int variant = 0; variant < 6; variant++) {
        cz_backbone *b;
        r.poison = variant == 1 ? "layer3.1.bn2.running_mean" : NULL;
        r.poison_value = 0.123f;
        cz_tensors *t = checkpoint(&r);
        if (variant == 2)
            assert_int_equal(cz_tensors_set_metadata(t, "stem_pool", "3x3 stride 2 padding 0 ceil_mode"), 0);
        if (variant == 3) assert_int_equal(cz_tensors_set_metadata(t, "bn_eps", "1e-3"), 0);
        if (variant == 4) assert_int_equal(cz_tensors_set_metadata(t, "stride_in", "conv1 (the first 1x1)"), 0);
        if (variant == 5) { /* torchvision's own conventions spelled out change nothing */
            assert_int_equal(cz_tensors_set_metadata(t, "input_range", "0..1 RGB"), 0);
            assert_int_equal(cz_tensors_set_metadata(t, "input_mean", "[0.485,0.456,0.406]"), 0);
            assert_int_equal(cz_tensors_set_metadata(t, "input_std", "[0.229,0.224,0.225]"), 0);
            assert_int_equal(cz_tensors_set_metadata(t, "bn_eps", "1e-5"), 0);
        }
        assert_int_equal(cz_backbone_from_tensors(t, "x", "x", &b), CZ_OK);
        if (variant == 0) strcpy(first, cz_backbone_sha256(b));
        assert_true((strcmp(first, cz_backbone_sha256(b)) == 0) == (variant == 0 || variant == 5));
        cz_backbone_close(b);
        cz_tensors_close(t);
    }
}

static void test_metadata(void **state)
{
    (void)state;
    const recipe r = {.arch = "resnet50"};
    float mean[3], std[3];
    cz_backbone *b;
    cz_tensors *t = checkpoint(&r);
    assert_int_equal(cz_backbone_from_tensors(t, "x", "x", &b), CZ_OK);
    cz_backbone_normalisation(b, mean, std);
    assert_true(fabsf(mean[0] - 123.675f) < 1e-5f && fabsf(std[2] - 57.375f) < 1e-5f);
    cz_backbone_close(b);
    assert_int_equal(cz_tensors_set_metadata(t, "input_range", "0..255 RGB"), CZ_OK);
    assert_int_equal(cz_tensors_set_metadata(t, "input_mean", "[123.1516, 115.9029, 103.0626]"), CZ_OK);
    assert_int_equal(cz_tensors_set_metadata(t, "input_std", "[1,1,1]"), CZ_OK);
    assert_int_equal(cz_tensors_set_metadata(t, "stem_pool", "3x3 stride 2 padding 0 ceil_mode"), CZ_OK);
    assert_int_equal(cz_backbone_from_tensors(t, "x", "x", &b), CZ_OK);
    cz_backbone_normalisation(b, mean, std);
    assert_true(mean[1] == 115.9029f && std[0] == 1.0f);
    assert_true(cz_backbone_feature_scale(b) == 0);
    cz_tap tap;
    assert_int_equal(cz_backbone_tap_shape(b, "stem.pool", 256, 255, &tap), CZ_OK);
    assert_true(tap.channels == 64 && tap.height == 64 && tap.width == 64); /* 128: ceil(125 / 2) + 1 */
    cz_backbone_close(b);
    assert_int_equal(cz_tensors_set_metadata(t, "feature_scale", "0.5"), CZ_OK);
    assert_int_equal(cz_backbone_from_tensors(t, "x", "x", &b), CZ_OK);
    assert_true(cz_backbone_feature_scale(b) == 0.5);
    cz_backbone_close(b);
    cz_tensors_close(t);
}

static float *image(size_t batch, size_t height, size_t width)
{
    const size_t count = batch * height * width * 3;
    float *out = malloc(count * sizeof *out);
    assert_non_null(out);
    for (size_t i = 0; i < count; i++) out[i] = 2 * cz_hash_uniform(77, i);
    return out;
}

static cz_plan *plan_of(const cz_backbone *b, const char *taps, size_t batch, size_t height, size_t width,
                        size_t threads)
{
    cz_plan *plan = NULL;
    const cz_plan_options options = {taps, batch, height, width, threads, CZ_PRECISION_FP32, NULL, false};
    assert_int_equal(cz_plan_create(b, &options, &plan), CZ_OK);
    return plan;
}

/* stem.relu from the raw tensors: convolution, batch norm, ReLU in double, nothing folded */
static void test_fold(void **state)
{
    (void)state;
    enum { S = 20, O = 10 };
    const recipe r = {.arch = "resnet18"};
    const cz_random_source random = {SEED, false};
    const cz_weight_source source = cz_source_of_hash(&random);
    static const char *const parts[] = {"bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var"};
    static float weights[64 * 147], norm[4][64];
    const size_t shape[4] = {64, 3, 7, 7};
    cz_backbone *b;
    cz_tensors *t = checkpoint(&r);
    float *in = image(1, S, S);
    assert_int_equal(cz_tensors_set_metadata(t, "bn_eps", "0.25"), CZ_OK);
    assert_int_equal(cz_backbone_from_tensors(t, "x", "x", &b), CZ_OK);
    cz_plan *plan = plan_of(b, "stem.relu", 1, S, S, 1);
    assert_int_equal(cz_plan_run(plan, in), CZ_OK);
    assert_int_equal(source.fetch(source.ctx, "conv1.weight", shape, 4, weights), CZ_OK);
    for (size_t p = 0; p < 4; p++) assert_int_equal(source.fetch(source.ctx, parts[p], shape, 1, norm[p]), CZ_OK);
    for (size_t i = 0; i < (size_t)O * O * 64; i++) {
        const size_t o = i % 64, x = i / 64 % O, y = i / 64 / O;
        double sum = 0;
        for (size_t k = 0; k < 147; k++) {
            const size_t c = k / 49, iy = 2 * y + k / 7 % 7 - 3, ix = 2 * x + k % 7 - 3;
            if (iy < S && ix < S) sum += (double)weights[o * 147 + k] * in[(iy * S + ix) * 3 + c];
        }
        const double want = (sum - norm[2][o]) / sqrt(norm[3][o] + 0.25) * norm[0][o] + norm[1][o];
        assert_true(fabs(cz_plan_tap_data(plan, 0)[i] - (want > 0 ? want : 0)) < 2e-5);
    }
    cz_plan_destroy(plan);
    cz_backbone_close(b);
    cz_tensors_close(t);
    free(in);
}

static void test_save(void **state)
{
    (void)state;
    char path[] = "backbone_save_XXXXXX";
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    static const char *const archs[] = {"resnet18", "resnet50"};
    for (size_t i = 0; i < 2; i++) {
        const recipe r = {.arch = archs[i], .stages = i ? 3 : 4};
        const char *taps = i ? "stem.pool,layer3" : "stem.pool,layer3,layer4";
        cz_tensors *t = checkpoint(&r), *saved;
        cz_backbone *a, *b;
        if (i) { /* MSRA conventions survive */
            assert_int_equal(cz_tensors_set_metadata(t, "stride_in", "conv1 (the first 1x1)"), CZ_OK);
            assert_int_equal(cz_tensors_set_metadata(t, "stem_pool", "3x3 stride 2 padding 0 ceil_mode"), CZ_OK);
            assert_int_equal(cz_tensors_set_metadata(t, "input_mean", "[0.1,0.2,0.3]"), CZ_OK);
            assert_int_equal(cz_tensors_set_metadata(t, "input_std", "[0.3,0.7,0.9]"), CZ_OK);
        }
        assert_int_equal(cz_backbone_from_tensors(t, "a", "", &a), CZ_OK);
        assert_int_equal(cz_backbone_save(a, path), CZ_OK);
        assert_int_equal(cz_safetensors_open(path, &saved), CZ_OK);
        assert_int_equal(cz_backbone_from_tensors(saved, "b", path, &b), CZ_OK);
        float na[6], nb[6], *in = image(1, 66, 61);
        cz_backbone_normalisation(a, na, na + 3);
        cz_backbone_normalisation(b, nb, nb + 3);
        assert_memory_equal(na, nb, sizeof na);
        assert_true(cz_backbone_feature_scale(a) == cz_backbone_feature_scale(b));
        assert_string_equal(cz_backbone_architecture(b), archs[i]);
        cz_plan *pa = plan_of(a, taps, 1, 66, 61, 1), *pb = plan_of(b, taps, 1, 66, 61, 1);
        assert_int_equal(cz_plan_run(pa, in), CZ_OK);
        assert_int_equal(cz_plan_run(pb, in), CZ_OK);
        for (size_t k = 0; k < cz_plan_tap_count(pa); k++) {
            const cz_tap *tap = cz_plan_tap(pa, k);
            assert_memory_equal(cz_plan_tap_data(pa, k), cz_plan_tap_data(pb, k),
                                tap->channels * tap->height * tap->width * sizeof(float));
        }
        cz_plan_destroy(pa), cz_plan_destroy(pb);
        cz_backbone_close(a), cz_backbone_close(b);
        cz_tensors_close(t), cz_tensors_close(saved);
        free(in);
    }
    unlink(path);
    cz_backbone *b;
    assert_int_equal(cz_backbone_random("resnet18", 0, &b), CZ_OK);
    assert_int_not_equal(cz_backbone_save(b, "no/such/folder/file"), CZ_OK);
    cz_backbone_close(b);
}

static double worst_difference(const float *a, const float *b, size_t count)
{
    double difference = 0, norm = 0;
    for (size_t i = 0; i < count; i++) {
        difference += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        norm += (double)b[i] * b[i];
    }
    return sqrt(difference / norm);
}

/* Odd sizes; a batch gives what its images give alone; one thread what two give. */
static void test_batch_and_threads(void **state)
{
    (void)state;
    static const char *const archs[] = {"resnet18", "wide_resnet50_2"};
    for (size_t i = 0; i < 2; i++) {
        cz_backbone *b;
        float *in = image(3, 65, 50);
        assert_int_equal(cz_backbone_random(archs[i], 1, &b), CZ_OK);
        cz_plan *batch = plan_of(b, "layer3,layer1.0, layer2", 3, 65, 50, 2);
        cz_plan *one = plan_of(b, "layer3,layer1.0, layer2", 1, 65, 50, 1);
        assert_int_equal(cz_plan_run(batch, in), CZ_OK);
        assert_true(cz_plan_memory(batch) > cz_plan_memory(one));
        for (size_t n = 0; n < 3; n++) {
            assert_int_equal(cz_plan_run(one, in + n * 65 * 50 * 3), CZ_OK);
            for (size_t k = 0; k < 3; k++) {
                const cz_tap *tap = cz_plan_tap(one, k);
                const size_t count = tap->channels * tap->height * tap->width;
                assert_true(worst_difference(cz_plan_tap_data(batch, k) + n * count, cz_plan_tap_data(one, k), count) <
                            1e-5);
            }
        }
        assert_null(cz_plan_tap(one, 3));
        assert_null(cz_plan_tap_data(one, 3));
        cz_plan_destroy(batch), cz_plan_destroy(one);
        cz_backbone_close(b);
        free(in);
    }
}

static void test_taps(void **state)
{
    (void)state;
    cz_backbone *b;
    cz_plan *plan = NULL;
    cz_tap tap;
    assert_int_equal(cz_backbone_random("wide_resnet50_2", 1, &b), CZ_OK);
    static const struct {
        const char *name;
        size_t c, h, w;
    } expected[] = {{"stem.relu", 64, 128, 150}, {"stem.pool", 64, 64, 75}, {"layer1", 256, 64, 75},
                    {"layer1.2", 256, 64, 75},   {"layer2.0", 512, 32, 38}, {"layer3", 1024, 16, 19}};
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        assert_int_equal(cz_backbone_tap_shape(b, expected[i].name, 256, 300, &tap), CZ_OK);
        assert_true(tap.channels == expected[i].c && tap.height == expected[i].h && tap.width == expected[i].w);
        assert_string_equal(tap.name, expected[i].name);
    }
    static const char *const bad[] = {"layer4",
                                      "layer2.4",
                                      "",
                                      "layer2,,layer3",
                                      "layer2,",
                                      "fc",
                                      "a name that is far longer than any tap there is could ever be"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const cz_plan_options options = {bad[i], 1, 64, 64, 1, CZ_PRECISION_FP32, NULL, false};
        cz_error_clear();
        assert_int_equal(cz_plan_create(b, &options, &plan), CZ_E_ARG);
        assert_true(cz_backbone_flops(b, bad[i], 64, 64) == 0);
    }
    cz_error_clear();
    assert_int_equal(cz_backbone_tap_shape(b, "layer4", 64, 64, &tap), CZ_E_ARG);
    assert_non_null(strstr(cz_last_error(), "unknown tap \"layer4\""));
    assert_non_null(strstr(cz_last_error(), "layer3 (layer3.0 to layer3.5)"));
    cz_error_clear();
    assert_int_equal(cz_backbone_tap_shape(b, "layer3", 0, 64, &tap), CZ_E_ARG);
    cz_plan_options options = {"layer3", 0, 64, 64, 1, CZ_PRECISION_FP32, NULL, false};
    assert_int_equal(cz_plan_create(b, &options, &plan), CZ_E_ARG);
    options = (cz_plan_options){"layer1", 1, 64, 64, 1, (cz_precision)9, NULL, false};
    assert_int_equal(cz_plan_create(b, &options, &plan), CZ_E_UNSUPPORTED);
    assert_true(fabs(cz_backbone_flops(b, "layer2,layer3", 256, 256) / 24.0e9 - 1) < 0.01);   /* the known cost */
    options = (cz_plan_options){"layer2,layer3", 1, 1, 1, 1, CZ_PRECISION_FP32, NULL, false}; /* one pixel */
    assert_int_equal(cz_plan_create(b, &options, &plan), CZ_OK);
    const float pixel[3] = {1, -1, 0.5f};
    assert_int_equal(cz_plan_run(plan, pixel), CZ_OK);
    cz_plan_destroy(plan);
    cz_backbone *same = cz_backbone_retain(b);
    cz_backbone_close(b);
    assert_string_equal(cz_backbone_architecture(same), "wide_resnet50_2");
    cz_backbone_close(same);
    cz_backbone_close(NULL);
    cz_plan_destroy(NULL);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    const recipe r = {.arch = "resnet18", .stages = 1};
    cz_tensors *t = checkpoint(&r);
    for (unsigned long n = 1;; n++) {
        cz_backbone *b = NULL;
        cz_plan *plan = NULL;
        const cz_plan_options options = {"layer1", 1, 32, 32, 1, CZ_PRECISION_FP32, NULL, false};
        cz_alloc_fail_after(n);
        cz_status status = cz_backbone_from_tensors(t, "x", "x", &b);
        if (status == CZ_OK) status = cz_plan_create(b, &options, &plan);
        cz_alloc_fail_after(0);
        cz_plan_destroy(plan);
        cz_backbone_close(b);
        if (status == CZ_OK) {
            assert_true(n > 20);
            break;
        }
        assert_int_equal(status, CZ_E_MEMORY);
    }
    cz_tensors_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_errors),        cmocka_unit_test(test_architectures),
        cmocka_unit_test(test_sha256),        cmocka_unit_test(test_metadata),
        cmocka_unit_test(test_fold),          cmocka_unit_test(test_save),
        cmocka_unit_test(test_taps),          cmocka_unit_test(test_batch_and_threads),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
