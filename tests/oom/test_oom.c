/* SPDX-License-Identifier: Apache-2.0 */
/* Fails the 1st, 2nd, 3rd … allocation of every public call: each time the answer is CZ_E_MEMORY (or, where memory is only a
 * convenience, success), nothing crashes, and under LeakSanitizer nothing leaks. */
#include "cozad/cozad_eval.h"
#include "cozad/cozad_io.h"
#include "cozad/cozad_mutual.h"
#include "util/alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { SIDE = 64, PHOTOS = 3 };

static uint8_t pixels[PHOTOS][SIDE * SIDE];
static char folder[] = "/tmp/cozad-oom-XXXXXX";
static cz_backbone *backbone;
static cz_model *model;

static cz_image photo(size_t index)
{
    return (cz_image){pixels[index], SIDE, SIDE, SIDE, CZ_GRAY8};
}

static cz_status load(void *ctx, size_t index, cz_image *out)
{
    (void)ctx;
    *out = photo(index);
    return CZ_OK;
}

static const char *path_of(const char *name)
{
    static char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

/* Runs `call` with ever later allocations failing until none fails any more. */
static void sweep(const char *name, cz_status (*call)(void), unsigned long step)
{
    unsigned long failures = 0;
    for (unsigned long n = 1;; n += step) {
        const unsigned long before = cz_alloc_count();
        cz_alloc_fail_after(n);
        const cz_status status = call();
        const bool reached = cz_alloc_count() - before >= n;
        cz_alloc_fail_after(0);
        if (!reached) {
            if (status != CZ_OK) fail_msg("%s: %s without a failed allocation", name, cz_last_error());
            break;
        }
        if (status != CZ_OK && status != CZ_E_MEMORY) {
            fail_msg("%s: allocation %lu failed and the answer is %s (%s)", name, n, cz_status_name(status),
                     cz_last_error());
        }
        if (status == CZ_E_MEMORY) assert_true(cz_last_error()[0] != '\0');
        failures += status == CZ_E_MEMORY;
        assert_true(n < 100000);
    }
    if (failures == 0) fail_msg("%s: no allocation of it goes through the gate", name);
    printf("%s: %lu allocations made to fail\n", name, failures);
}

static void small_training(cz_train_options *options)
{
    cz_train_options_init(options);
    options->image_width = options->image_height = SIDE;
    options->feature_width = 64;
    options->hidden_width = 32;
    options->epochs = 1;
    options->patches_per_image = 8;
    options->threads = 1;
    options->seed = 3;
}

static cz_status train_into(cz_model **out, const char *cache)
{
    cz_train_options options;
    small_training(&options);
    options.cache.dir = cache;
    cz_image_source source = CZ_IMAGE_SOURCE_INIT;
    source.count = PHOTOS;
    source.load = load;
    return cz_train(backbone, &source, &options, out);
}

static cz_status call_train(void)
{
    cz_model *trained = NULL;
    const cz_status status = train_into(&trained, NULL);
    cz_model_close(trained);
    return status;
}

static cz_status call_train_cached(void)
{
    cz_model *trained = NULL;
    char cache[160];
    (void)snprintf(cache, sizeof cache, "%s/cache", folder);
    const cz_status status = train_into(&trained, cache);
    cz_model_close(trained);
    return status;
}

static cz_status call_train_knn(void)
{
    cz_model *trained = NULL;
    cz_train_options options;
    cz_image_source source = CZ_IMAGE_SOURCE_INIT;
    small_training(&options);
    options.method = "knn";
    options.knn.bank = 20;
    options.knn.rotations = 2;
    options.shots = 2;
    source.count = PHOTOS;
    source.load = load;
    const cz_status status = cz_train(backbone, &source, &options, &trained);
    cz_model_close(trained);
    return status;
}

/* What is left open is measured. */
static cz_status call_train_knn_auto(void)
{
    cz_model *trained = NULL;
    cz_train_options options;
    cz_image_source source = CZ_IMAGE_SOURCE_INIT;
    small_training(&options);
    options.method = "knn";
    options.knn.bank = 20;
    options.knn.rotations = options.neighbourhood = 0;
    options.shots = 2;
    source.count = PHOTOS;
    source.load = load;
    const cz_status status = cz_train(backbone, &source, &options, &trained);
    cz_model_close(trained);
    return status;
}

static cz_status load_mask(void *ctx, size_t index, cz_image *out)
{
    static const uint8_t all = 255;
    (void)ctx;
    (void)index;
    *out = (cz_image){&all, 1, 1, 1, CZ_GRAY8};
    return CZ_OK;
}

/* Drawn and labelled defects, told by relational numbers. */
static cz_status call_train_negatives(void)
{
    cz_model *trained = NULL;
    cz_train_options options;
    cz_image_source source = CZ_IMAGE_SOURCE_INIT;
    small_training(&options);
    source.count = PHOTOS;
    source.load = load;
    options.descriptor = "relational";
    options.negatives.synthetic = 1;
    options.negatives.labelled = &source;
    options.negatives.mask = load_mask;
    const cz_status status = cz_train(backbone, &source, &options, &trained);
    cz_model_close(trained);
    return status;
}

static cz_status load_again(void *ctx, size_t index, cz_image *out)
{
    return load(ctx, index % PHOTOS, out);
}

static cz_status call_mutual(void)
{
    cz_mutual_scores *scores = NULL;
    cz_mutual_options options;
    cz_image_source source = CZ_IMAGE_SOURCE_INIT;
    static float map[SIDE * SIDE];
    cz_mutual_options_init(&options);
    options.image_width = options.image_height = SIDE;
    options.threads = 1;
    source.count = CZ_MUTUAL_PHOTOS;
    source.load = load_again;
    cz_status status = cz_mutual_score(backbone, &source, &options, &scores);
    if (status == CZ_OK) status = cz_mutual_scores_map(scores, 0, map);
    cz_mutual_scores_free(scores);
    return status;
}

static cz_status call_backbone(void)
{
    cz_backbone *b = NULL;
    const cz_status status = cz_backbone_open("random:resnet18:2", &b);
    cz_backbone_close(b);
    return status;
}

static cz_status call_backbone_file(void)
{
    cz_backbone *b = NULL;
    const cz_status status = cz_backbone_open(path_of("backbone.safetensors"), &b);
    cz_backbone_close(b);
    return status;
}

static cz_status call_backbone_save(void)
{
    return cz_backbone_save(backbone, path_of("again.safetensors"));
}

static cz_status call_model_save(void)
{
    return cz_model_save(model, path_of("model.cozad"));
}

static cz_status call_model_open(void)
{
    cz_model *m = NULL;
    const cz_status status = cz_model_open(path_of("model.cozad"), backbone, &m);
    cz_model_close(m);
    return status;
}

static cz_status call_score(void)
{
    cz_session *session = NULL;
    cz_session_options options = CZ_SESSION_OPTIONS_INIT;
    options.threads = 1;
    const cz_image image = photo(0);
    cz_result result;
    cz_status status = cz_session_open(model, &options, &session);
    if (status == CZ_OK) status = cz_score(session, &image, &result);
    cz_session_close(session);
    return status;
}

static cz_status call_ranges(void)
{
    cz_tensors *into = NULL;
    cz_image_source source = CZ_IMAGE_SOURCE_INIT;
    cz_ranges_options options = CZ_RANGES_OPTIONS_INIT;
    source.count = PHOTOS;
    source.load = load;
    options.image_width = options.image_height = SIDE;
    options.threads = 1;
    cz_status status = cz_tensors_create(&into);
    if (status == CZ_OK) status = cz_backbone_measure_ranges(backbone, &source, &options, into);
    cz_tensors_close(into);
    return status;
}

static cz_status call_features(void)
{
    cz_features_options options = CZ_FEATURES_OPTIONS_INIT;
    options.taps = "input,layer1,patches";
    options.image_width = options.image_height = SIDE;
    options.threads = 1;
    const cz_image image = photo(1);
    cz_tensors *into = NULL;
    cz_status status = cz_tensors_create(&into);
    if (status == CZ_OK) status = cz_features_images(backbone, &image, 1, &options, into);
    if (status == CZ_OK) status = cz_tensors_save(into, path_of("features.safetensors"));
    cz_tensors_close(into);
    return status;
}

static cz_status call_tensors_open(void)
{
    cz_tensors *t = NULL;
    const cz_status status = cz_tensors_open(path_of("backbone.safetensors"), &t);
    cz_tensors_close(t);
    return status;
}

static cz_status call_pictures(void)
{
    const cz_image image = photo(2);
    cz_picture read = {0}, over = {0};
    static float map[SIDE * SIDE];
    cz_status status = cz_picture_write(path_of("photo.png"), &image);
    if (status == CZ_OK) status = cz_picture_read(path_of("photo.png"), NULL, &read);
    if (status == CZ_OK) status = cz_overlay(&read.image, map, 0.0, 1.0, &over);
    if (status == CZ_OK) status = cz_heatmap_write(path_of("map.png"), map, SIDE, SIDE, 0.0, 1.0);
    cz_picture_free(&read);
    cz_picture_free(&over);
    return status;
}

static cz_status call_auroc(void)
{
    const float scores[4] = {1.0f, 2.0f, 3.0f, 4.0f};
    const uint8_t labels[4] = {0, 1, 0, 1};
    double value;
    cz_auroc_stream *stream = NULL;
    cz_status status = cz_auroc(scores, labels, 4, &value);
    if (status == CZ_OK) status = cz_auroc_stream_open(&stream);
    if (status == CZ_OK) status = cz_auroc_stream_add(stream, scores, labels, 4);
    cz_auroc_stream_close(stream);
    return status;
}

static void sweep_all(void **state)
{
    (void)state;
    sweep("auroc", call_auroc, 1);
    sweep("backbone random", call_backbone, 1);
    sweep("backbone save", call_backbone_save, 1);
    sweep("backbone file", call_backbone_file, 1);
    sweep("tensors open", call_tensors_open, 3);
    sweep("train", call_train, 1);
    sweep("train a bank", call_train_knn, 1);
    sweep("train a bank, rotations auto", call_train_knn_auto, 1);
    sweep("train against negatives", call_train_negatives, 5);
    sweep("train with a feature store", call_train_cached, 1);
    sweep("photos that score each other", call_mutual, 1);
    sweep("model save", call_model_save, 1);
    sweep("model open", call_model_open, 1);
    sweep("session and score", call_score, 1);
    sweep("features", call_features, 1);
    sweep("ranges of weights", call_ranges, 1);
    sweep("pictures", call_pictures, 1);
}

static int set_up(void **state)
{
    (void)state;
    for (size_t p = 0; p < PHOTOS; p++) {
        for (size_t i = 0; i < SIDE * SIDE; i++) pixels[p][i] = (uint8_t)((i * 2654435761u + p * 97u) >> 7);
    }
    if (mkdtemp(folder) == NULL || setenv("COZAD_HOME", folder, 1) != 0) return -1;
    if (cz_backbone_open("random:resnet18:1", &backbone) != CZ_OK) return -1;
    if (cz_backbone_save(backbone, path_of("backbone.safetensors")) != CZ_OK) return -1;
    if (train_into(&model, NULL) != CZ_OK) return -1;
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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(sweep_all)};
    return cmocka_run_group_tests_name("out of memory", tests, set_up, tear_down);
}
