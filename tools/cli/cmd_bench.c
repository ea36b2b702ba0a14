/* SPDX-License-Identifier: Apache-2.0 */
#include "common.h"
#include "inputs.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static const cli_verb verb = {
    "bench", "[options]", "Times every stage of scoring on this machine, and states the machine's own peak beside it.",
    "Medians over --repeat photos of noise, from decoded pixels to a map at the photo's own size; a model is trained "
    "on the "
    "spot for one epoch. The feature store is not used. \"of peak\" compares the backbone with a large matrix product "
    "measured "
    "in the same run.",
    "  cozad bench\n  cozad bench --backbone resnet50 --image-size 448 --threads 1 --json"};

enum { STAGES = 6 };
static const char *const stage_names[STAGES] = {"preprocess", "backbone", "pooling", "head", "map", "total"};

typedef struct arguments {
    const char *backbone, *size, *photo;
    size_t threads, batch, repeat, photo_width, photo_height;
    cz_train_options train;
    common_options common;
} arguments;

typedef struct noise {
    uint8_t *pixels;
    cz_image image;
} noise;

/* Smooth gradients with noise: plausible values, so that activations are neither flat nor denormal. */
static bool make_noise(noise *n, size_t width, size_t height)
{
    n->pixels = malloc(width * height * 3);
    if (n->pixels == NULL) return false;
    uint32_t state = 12345;
    for (size_t i = 0; i < width * height * 3; i++) {
        state = state * 1664525u + 1013904223u;
        n->pixels[i] = (uint8_t)(64 + (i / 3 % width) * 96 / width + (state >> 27));
    }
    n->image = (cz_image){n->pixels, width, height, width * 3, CZ_RGB8};
    return true;
}

static cz_status load_noise(void *ctx, size_t index, cz_image *out)
{
    (void)index;
    *out = ((noise *)ctx)->image;
    return CZ_OK;
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(double *values, size_t count)
{
    qsort(values, count, sizeof *values, compare);
    return values[count / 2];
}

static cz_status measure(const arguments *a, const cz_model *model, const noise *n, double medians[STAGES])
{
    cz_session_options options = CZ_SESSION_OPTIONS_INIT;
    cz_session *session = NULL;
    options.threads = a->threads;
    options.max_batch = a->batch;
    double *times = calloc(STAGES * a->repeat, sizeof *times);
    cz_image *images = calloc(a->batch, sizeof *images);
    cz_result *results = calloc(a->batch, sizeof *results);
    cz_status status = CZ_E_MEMORY;
    if (times == NULL || images == NULL || results == NULL) goto out;
    for (size_t i = 0; i < a->batch; i++) images[i] = n->image;
    status = cz_session_open(model, &options, &session);
    for (size_t i = 0; i < a->repeat + 2 && status == CZ_OK; i++) { /* two to warm up */
        status = cz_score_batch(session, images, a->batch, results);
        if (i < 2) continue;
        cz_timing t;
        cz_session_timing(session, &t);
        const double values[STAGES] = {t.preprocess, t.backbone, t.pooling, t.head, t.map, t.total};
        for (size_t s = 0; s < STAGES; s++) times[s * a->repeat + i - 2] = values[s] / (double)a->batch;
        if (cli_progress(NULL, "measuring", i, a->repeat + 2, "") != 0) status = CZ_E_CANCELLED;
    }
    cli_progress_end();
    for (size_t s = 0; s < STAGES; s++) medians[s] = median(times + s * a->repeat, a->repeat);
out:
    cz_session_close(session);
    free(times);
    free(images);
    free(results);
    return status;
}

/* Features of many photos, as training makes them: from the time when every worker has its plan to the last photo. */
typedef struct features_clock {
    double first, last; /* seconds */
    size_t done;        /* photos at `first` */
} features_clock;

enum { FEATURE_PHOTOS = 48, FEATURE_WARM_UP = 8 };

static double seconds(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Ends the training as soon as its features are there. */
static int watch_features(void *ctx, const char *what, size_t done, size_t total, const char *detail)
{
    features_clock *clock = ctx;
    (void)total;
    (void)detail;
    if (strcmp(what, "features") != 0 || cli_interrupted()) return 1;
    clock->last = seconds();
    if (clock->first == 0.0 && done >= FEATURE_WARM_UP) {
        clock->first = clock->last;
        clock->done = done;
    }
    return 0;
}

static cz_status measure_features(const arguments *a, cz_backbone *backbone, noise *n, double *ms)
{
    features_clock clock = {0.0, 0.0, 0};
    cz_train_options options = a->train;
    cz_model *model = NULL;
    cz_image_source source = CZ_IMAGE_SOURCE_INIT;
    source.count = FEATURE_PHOTOS;
    source.load = load_noise;
    source.ctx = n;
    options.progress = watch_features;
    options.ctx = &clock;
    const cz_status status = cz_train(backbone, &source, &options, &model);
    cz_model_close(model);
    if (cli_interrupted() || status != CZ_E_CANCELLED) return status;
    *ms = (clock.last - clock.first) * 1e3 / (double)(FEATURE_PHOTOS - clock.done);
    return CZ_OK;
}

static void print(const arguments *a, const cz_backbone *b, const double *ms, double features, double peak)
{
    const double flops = cz_backbone_flops(b, a->train.taps, a->train.image_width, a->train.image_height);
    const double rate = flops / (ms[1] * 1e6), rest = ms[5] - ms[1];
    if (a->common.json) {
        json_t *stages = json_object();
        for (size_t s = 0; s < STAGES; s++) {
            (void)json_object_set_new(stages, stage_names[s], json_pack("{s:f}", "ms", ms[s]));
        }
        common_print_json(json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:o, s:f, s:f, s:f, s:f, s:f}", "backbone",
                                    cz_backbone_name(b), "precision", "fp32", "image_width",
                                    (json_int_t)a->train.image_width, "image_height", (json_int_t)a->train.image_height,
                                    "batch", (json_int_t)a->batch, "threads", (json_int_t)a->threads, "stages", stages,
                                    "peak_gflops", peak, "backbone_gflops", rate, "backbone_of_peak", rate / peak,
                                    "total_over_backbone", ms[5] / ms[1], "features_ms", features));
        return;
    }
    printf("%s, %zux%zu, fp32, batch %zu, %zu threads (0: all), photo %zux%zu\n", cz_backbone_name(b),
           a->train.image_width, a->train.image_height, a->batch, a->threads, a->photo_width, a->photo_height);
    for (size_t s = 0; s < STAGES; s++) printf("  %-12s %8.2f ms an image\n", stage_names[s], ms[s]);
    printf("  backbone %.1f GFLOP at %.0f GFLOP/s: %.0f %% of this machine's %.0f (matrix product, same run)\n",
           flops / 1e9, rate, 100.0 * rate / peak, peak);
    printf("  everything else %.2f ms; total is %.3f x the backbone\n", rest, ms[5] / ms[1]);
    printf("  features of many photos, as training makes them: %.2f ms a photo, %.3f x the backbone\n", features,
           features / ms[1]);
}

static int bench(arguments *a)
{
    noise n = {0};
    cz_backbone *backbone = NULL;
    cz_model *model = NULL;
    double ms[STAGES] = {0}, features = 0.0, peak = 0.0;
    if (!make_noise(&n, a->photo_width, a->photo_height)) return cli_fail(CZ_E_MEMORY);
    cz_status status = cz_backbone_open(a->backbone, &backbone);
    if (status != CZ_OK) {
        free(n.pixels);
        return cli_fail_model(status);
    }
    cz_image_source source = CZ_IMAGE_SOURCE_INIT;
    source.count = 2;
    source.load = load_noise;
    source.ctx = &n;
    status = cz_train(backbone, &source, &a->train, &model);
    if (status == CZ_OK) status = cz_machine_gflops(a->threads, CZ_PRECISION_FP32, &peak);
    if (status == CZ_OK) status = measure(a, model, &n, ms);
    if (status == CZ_OK) status = measure_features(a, backbone, &n, &features);
    if (status == CZ_OK) print(a, backbone, ms, features, peak);
    cz_model_close(model);
    cz_backbone_close(backbone);
    free(n.pixels);
    return status == CZ_OK ? CLI_OK : cli_fail(status);
}

int cmd_bench(int argc, char **argv)
{
    arguments a = {.backbone = "random:wide_resnet50_2", .size = "256", .photo = "1024", .batch = 1, .repeat = 15};
    common_init(&a.common);
    cz_train_options_init(&a.train);
    a.train.epochs = 1;
    a.train.patches_per_image = 64;
    const cli_option options[] = {
        {"backbone", 0, CLI_STRING, &a.backbone, "NAME|FILE", "weights", NULL},
        {"taps", 0, CLI_STRING, &a.train.taps, "LIST", "where features are taken", NULL},
        {"image-size", 0, CLI_STRING, &a.size, "N|WxH", "network input", NULL},
        {"photo-size", 0, CLI_STRING, &a.photo, "N|WxH", "the photo's own size", NULL},
        {"batch", 0, CLI_SIZE, &a.batch, "N", "photos computed at once", NULL},
        {"threads", 0, CLI_SIZE, &a.threads, "N", "0: all", NULL},
        {"repeat", 0, CLI_SIZE, &a.repeat, "N", "measurements; the median is printed", NULL},
        {"json", 0, CLI_FLAG, &a.common.json, NULL, "one JSON object", NULL},
    };
    cli_list args = {NULL, 0};
    int code = cli_parse(&verb, options, sizeof options / sizeof *options, argc, argv, &args);
    if (code < 0) {
        a.train.threads = a.threads;
        const bool sizes = parse_size(a.size, &a.train.image_width, &a.train.image_height) &&
                           parse_size(a.photo, &a.photo_width, &a.photo_height) && a.photo_width > 0 &&
                           a.photo_height > 0 && a.photo_width <= 16384 && a.photo_height <= 16384;
        if (!sizes || args.count > 0 || a.repeat == 0 || a.repeat > 10000 || a.batch == 0 || a.batch > 256) {
            cli_error("bench: a size, --repeat or --batch is out of range; see 'cozad bench --help'");
            code = CLI_USAGE;
        } else {
            code = bench(&a);
        }
    }
    cli_list_free(&args);
    return cli_finish_output(code);
}
