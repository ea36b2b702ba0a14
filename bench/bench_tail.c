/* SPDX-License-Identifier: Apache-2.0 */
/* bench_tail [--frames N] [--precision P] [--threads T] [--backbone B] [--image-size S] [--photo-size S] [--pause MS]: latency of one image
 * at a time, from decoded pixels to a map at the photo's own size, after cz_session_warmup: median, p99, p99.9 and the longest. With
 * --pause the frames come as a camera's do, and threads fall asleep in between. */
#include "cozad/cozad.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { WARM_UP = 5, TRAINING_PHOTOS = 4 };

typedef struct arguments {
    const char *precision, *backbone;
    size_t frames, threads, image, photo, pause;
} arguments;

static double now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static cz_status load(void *ctx, size_t index, cz_image *out)
{
    (void)index;
    *out = *(const cz_image *)ctx;
    return CZ_OK;
}

static cz_status make_model(const arguments *a, cz_image *photo, cz_model **out)
{
    cz_backbone *backbone = NULL;
    cz_train_options options;
    cz_image_source source = CZ_IMAGE_SOURCE_INIT;
    cz_train_options_init(&options);
    options.epochs = 1;
    options.patches_per_image = 64;
    options.image_width = options.image_height = a->image;
    options.threads = a->threads;
    source.count = TRAINING_PHOTOS;
    source.load = load;
    source.ctx = photo;
    cz_status status = cz_backbone_open(a->backbone, &backbone);
    if (status == CZ_OK) status = cz_train(backbone, &source, &options, out);
    cz_backbone_close(backbone);
    return status;
}

/* ms: [frames] */
static cz_status measure(const arguments *a, const cz_model *model, const cz_image *photo, double *ms)
{
    cz_session_options options = CZ_SESSION_OPTIONS_INIT;
    cz_session *session = NULL;
    cz_result result;
    cz_precision precision = CZ_PRECISION_MODEL;
    const struct timespec pause = {(time_t)(a->pause / 1000), (long)(a->pause % 1000) * 1000000};
    if (!cz_precision_find(a->precision, &precision)) return cz_source_error(CZ_E_ARG, "unknown precision");
    options.precision = precision;
    options.threads = a->threads;
    cz_status status = cz_session_open(model, &options, &session);
    if (status == CZ_OK) status = cz_session_warmup(session, photo->width, photo->height, WARM_UP);
    for (size_t i = 0; i < a->frames && status == CZ_OK; i++) {
        if (a->pause > 0) (void)nanosleep(&pause, NULL);
        const double start = now_ms();
        status = cz_score(session, photo, &result);
        ms[i] = now_ms() - start;
    }
    cz_session_close(session);
    return status;
}

/* The smallest value that at least `share` of them do not exceed. */
static double percentile(const double *sorted, size_t count, double share)
{
    size_t at = (size_t)(share * (double)count);
    if ((double)at < share * (double)count) at++;
    return sorted[at > 0 ? at - 1 : 0];
}

static void print(const arguments *a, double *ms)
{
    const double first = ms[0];
    qsort(ms, a->frames, sizeof *ms, ascending);
    const double p50 = percentile(ms, a->frames, 0.5);
    printf("{\"backbone\":\"%s\",\"precision\":\"%s\",\"threads\":%zu,\"image\":%zu,\"photo\":%zu,\"frames\":%zu,"
           "\"pause_ms\":%zu,\"first\":%.3f,\"p50\":%.3f,\"p99\":%.3f,\"p999\":%.3f,\"max\":%.3f,\"p999_over_p50\":%."
           "3f}\n",
           a->backbone, a->precision, a->threads, a->image, a->photo, a->frames, a->pause, first, p50,
           percentile(ms, a->frames, 0.99), percentile(ms, a->frames, 0.999), ms[a->frames - 1],
           percentile(ms, a->frames, 0.999) / p50);
}

static int parse(int argc, char **argv, arguments *a)
{
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *value = argv[i + 1];
        const size_t number = strtoul(value, NULL, 10);
        if (strcmp(argv[i], "--frames") == 0)
            a->frames = number;
        else if (strcmp(argv[i], "--precision") == 0)
            a->precision = value;
        else if (strcmp(argv[i], "--threads") == 0)
            a->threads = number;
        else if (strcmp(argv[i], "--backbone") == 0)
            a->backbone = value;
        else if (strcmp(argv[i], "--image-size") == 0)
            a->image = number;
        else if (strcmp(argv[i], "--photo-size") == 0)
            a->photo = number;
        else if (strcmp(argv[i], "--pause") == 0)
            a->pause = number;
        else
            return 0;
    }
    return argc % 2 == 1 && a->frames > 0 && a->frames <= 10000000 && a->photo > 0 && a->photo <= 16384;
}

int main(int argc, char **argv)
{
    arguments a = {"fp32", "random:wide_resnet50_2", 10000, 2, 256, 1024, 0};
    if (!parse(argc, argv, &a)) {
        (void)fputs(
            "Usage: bench_tail [--frames 10000] [--precision fp32] [--threads 2] [--backbone NAME] [--image-size 256]\n"
            "                  [--photo-size 1024] [--pause MS]\n",
            stderr);
        return 2;
    }
    const size_t bytes = a.photo * a.photo * 3;
    uint8_t *pixels = malloc(bytes);
    double *ms = calloc(a.frames, sizeof *ms);
    cz_model *model = NULL;
    cz_status status = CZ_E_MEMORY;
    if (pixels != NULL && ms != NULL) {
        uint32_t state = 1;
        for (size_t i = 0; i < bytes; i++) {
            state = state * 1664525u + 1013904223u;
            pixels[i] = (uint8_t)(64 + (i / 3 % a.photo) * 96 / a.photo + (state >> 27));
        }
        cz_image photo = {pixels, a.photo, a.photo, a.photo * 3, CZ_RGB8};
        status = make_model(&a, &photo, &model);
        if (status == CZ_OK) status = measure(&a, model, &photo, ms);
        if (status == CZ_OK) print(&a, ms);
    }
    if (status != CZ_OK) (void)fprintf(stderr, "bench_tail: %s\n", cz_last_error());
    cz_model_close(model);
    free(ms);
    free(pixels);
    return status == CZ_OK ? 0 : 1;
}
