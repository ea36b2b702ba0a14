/* SPDX-License-Identifier: Apache-2.0 */
/* bench_stream FOLDER [--precision P] [--workers N] [--backbone B] [--image-size S] [--alone PHOTOS]: a folder of photos through
 * cz_score_stream, decoding included, with the core-milliseconds of every stage. The same stages are measured first by one worker alone
 * (PHOTOS, 40): what N processors could reach at best is N / their sum. One line of JSON. */
#include "cozad/cozad_io.h"
#include "cozad/cozad_stream.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { TRAINING_PHOTOS = 4, PATH_SIZE = 4096 };

typedef struct folder {
    const char *name;
    struct dirent **entries;
    cz_picture *pictures; /* [count], those that are loaded */
    size_t count;
} folder;

static int is_photo(const struct dirent *entry)
{
    return cz_picture_is_name(entry->d_name);
}

static cz_status load(void *ctx, size_t index, cz_image *out)
{
    const folder *f = ctx;
    char path[PATH_SIZE];
    (void)snprintf(path, sizeof path, "%s/%s", f->name, f->entries[index]->d_name);
    const cz_status status = cz_picture_read(path, NULL, &f->pictures[index]);
    if (status == CZ_OK) *out = f->pictures[index].image;
    return status;
}

static void release(void *ctx, size_t index, cz_image *image)
{
    const folder *f = ctx;
    (void)image;
    cz_picture_free(&f->pictures[index]);
}

static int count_failures(void *ctx, const cz_stream_item *item)
{
    if (item->status != CZ_OK) {
        (void)fprintf(stderr, "bench_stream: %s\n", item->error);
        ++*(size_t *)ctx;
    }
    return 0;
}

typedef struct arguments {
    const char *precision, *backbone;
    size_t workers, image, alone;
} arguments;

static cz_status make_model(const arguments *a, folder *f, cz_model **out)
{
    cz_backbone *backbone = NULL;
    cz_train_options options;
    cz_image_source source = CZ_IMAGE_SOURCE_INIT;
    cz_train_options_init(&options);
    options.epochs = 1;
    options.patches_per_image = 64;
    options.image_width = options.image_height = a->image;
    source.count = f->count < TRAINING_PHOTOS ? f->count : TRAINING_PHOTOS;
    source.load = load;
    source.release = release;
    source.ctx = f;
    cz_status status = cz_backbone_open(a->backbone, &backbone);
    if (status == CZ_OK) status = cz_train(backbone, &source, &options, out);
    cz_backbone_close(backbone);
    return status;
}

static cz_status run(const arguments *a, const cz_model *model, folder *f, size_t photos, size_t workers,
                     size_t *failed, cz_stream_timing *timing)
{
    cz_stream_options options = CZ_STREAM_OPTIONS_INIT;
    cz_image_source source = CZ_IMAGE_SOURCE_INIT;
    cz_precision precision = CZ_PRECISION_MODEL;
    if (!cz_precision_find(a->precision, &precision)) return cz_source_error(CZ_E_ARG, "unknown precision");
    options.session.precision = precision;
    options.session.threads = workers;
    options.session.map = CZ_MAP_INPUT;
    options.workers = workers;
    options.deliver = count_failures;
    options.ctx = failed;
    source.count = photos < f->count ? photos : f->count;
    source.load = load;
    source.release = release;
    source.ctx = f;
    source.concurrent = 1;
    return cz_score_stream(model, &source, &options, timing);
}

/* Core-milliseconds of one image, waiting left out. */
static double busy(const cz_stream_timing *t)
{
    return (t->load + t->score.total + t->work + t->deliver) / (double)t->images;
}

static void print(const arguments *a, const cz_stream_timing *alone, const cz_stream_timing *t, size_t failed)
{
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    const double n = (double)t->images, rate = n * 1e3 / t->elapsed;
    printf(
        "{\"backbone\":\"%s\",\"precision\":\"%s\",\"workers\":%zu,\"photos\":%zu,\"failed\":%zu,\"seconds\":%.3f,"
        "\"images_per_second\":%.3f,\"core_ms\":{\"load\":%.3f,\"preprocess\":%.3f,\"backbone\":%.3f,\"pooling\":%.3f,"
        "\"head\":%.3f,\"map\":%.3f,\"score\":%.3f,\"deliver\":%.3f,\"wait\":%.3f},\"alone_core_ms\":%.3f,"
        "\"of_alone\":%.4f,\"of_busy\":%.4f,\"peak_mb\":%.1f}\n",
        a->backbone, a->precision, t->workers, t->images, failed, t->elapsed * 1e-3, rate, t->load / n,
        t->score.preprocess / n, t->score.backbone / n, t->score.pooling / n, t->score.head / n, t->score.map / n,
        t->score.total / n, t->deliver / n, t->wait / n, busy(alone), rate * busy(alone) * 1e-3 / (double)t->workers,
        rate * busy(t) * 1e-3 / (double)t->workers, (double)usage.ru_maxrss / 1024.0);
}

static int parse(int argc, char **argv, arguments *a)
{
    for (int i = 2; i + 1 < argc; i += 2) {
        const char *value = argv[i + 1];
        const size_t number = strtoul(value, NULL, 10);
        if (strcmp(argv[i], "--precision") == 0)
            a->precision = value;
        else if (strcmp(argv[i], "--workers") == 0)
            a->workers = number;
        else if (strcmp(argv[i], "--backbone") == 0)
            a->backbone = value;
        else if (strcmp(argv[i], "--image-size") == 0)
            a->image = number;
        else if (strcmp(argv[i], "--alone") == 0)
            a->alone = number;
        else
            return 0;
    }
    return argc % 2 == 0 && a->workers > 0 && a->alone > 0;
}

int main(int argc, char **argv)
{
    arguments a = {"fp32", "random:wide_resnet50_2", 2, 256, 40};
    if (argc < 2 || !parse(argc, argv, &a)) {
        (void)fputs("Usage: bench_stream FOLDER [--precision fp32] [--workers 2] [--backbone NAME] [--image-size 256] "
                    "[--alone 40]\n",
                    stderr);
        return 2;
    }
    folder f = {.name = argv[1]};
    const int found = scandir(argv[1], &f.entries, is_photo, alphasort);
    if (found <= 0) {
        (void)fprintf(stderr, "bench_stream: %s: no photos\n", argv[1]);
        return 3;
    }
    f.count = (size_t)found;
    size_t failed = 0;
    cz_model *model = NULL;
    cz_stream_timing alone = {0}, all = {0};
    f.pictures = calloc(f.count, sizeof *f.pictures);
    cz_status status = f.pictures != NULL ? make_model(&a, &f, &model) : CZ_E_MEMORY;
    if (status == CZ_OK) status = run(&a, model, &f, a.alone, 1, &failed, &alone);
    if (status == CZ_OK) status = run(&a, model, &f, f.count, a.workers, &failed, &all);
    if (status == CZ_OK) print(&a, &alone, &all, failed);
    if (status != CZ_OK) (void)fprintf(stderr, "bench_stream: %s\n", cz_last_error());
    cz_model_close(model);
    for (size_t i = 0; i < f.count; i++) free(f.entries[i]);
    free(f.entries);
    free(f.pictures);
    return status != CZ_OK ? 1 : failed > 0 ? 3 : 0;
}
