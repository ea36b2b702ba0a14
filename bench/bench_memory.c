/* SPDX-License-Identifier: Apache-2.0 */
/* bench_memory [PHOTOS [BACKBONE [PATCHES]]]: one epoch of method "cozad" over generated photos in five categories, without the
 * feature store; prints the peak of resident memory as it goes. The maps go to $TMPDIR. */
#include "cozad/cozad.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { SIDE = 256, CATEGORIES = 5, EVERY = 1000 };

static unsigned char pixels[SIDE * SIDE];

static cz_status load(void *ctx, size_t index, cz_image *out)
{
    (void)ctx;
    unsigned noise = (unsigned)index * 77 + 1;
    for (size_t i = 0; i < sizeof pixels; i++) {
        noise = noise * 1664525u + 1013904223u;
        pixels[i] =
            (unsigned char)((i % SIDE * (2 + index % 7) + i / SIDE * (index % 3 * 2 + 1)) % 200 + (noise >> 27));
    }
    *out = (cz_image){pixels, SIDE, SIDE, SIDE, CZ_GRAY8};
    return CZ_OK;
}

static size_t category(void *ctx, size_t index)
{
    (void)ctx;
    return index % CATEGORIES;
}

static void print_peak(const char *what, size_t done, size_t total)
{
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    printf("%s %zu/%zu: peak %ld MB\n", what, done, total, usage.ru_maxrss / 1024);
    (void)fflush(stdout);
}

static int progress(void *ctx, const char *what, size_t done, size_t total, const char *detail)
{
    (void)ctx;
    (void)detail;
    if (done % EVERY == 0 || (strcmp(what, "training") == 0 && done % 10 == 0)) print_peak(what, done, total);
    return 0;
}

int main(int argc, char **argv)
{
    cz_backbone *backbone = NULL;
    cz_model *model = NULL;
    cz_train_options options;
    cz_image_source source = CZ_IMAGE_SOURCE_INIT;
    cz_train_options_init(&options);
    options.method = "cozad";
    options.epochs = 1;
    options.progress = progress;
    options.patches_per_image = argc > 3 ? strtoul(argv[3], NULL, 10) : 16;
    source.count = argc > 1 ? strtoul(argv[1], NULL, 10) : 10000;
    source.load = load;
    source.categories = CATEGORIES;
    source.category = category;
    cz_status status = cz_backbone_open(argc > 2 ? argv[2] : "random:resnet18:1", &backbone);
    if (status == CZ_OK) status = cz_train(backbone, &source, &options, &model);
    if (status != CZ_OK) (void)fprintf(stderr, "bench_memory: %s\n", cz_last_error());
    if (status == CZ_OK) print_peak("done", source.count, source.count);
    cz_model_close(model);
    cz_backbone_close(backbone);
    return status == CZ_OK ? 0 : 1;
}
