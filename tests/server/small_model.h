/* SPDX-License-Identifier: Apache-2.0 */
/* Photos and models that tests of the server make for themselves, in a folder that is removed at the end. */
#ifndef SMALL_MODEL_H
#define SMALL_MODEL_H

#include "cozad/cozad.h"

#include <ftw.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SMALL_SIDE = 72, SMALL_MOST = 128, SMALL_TRAIN = 4, SMALL_HELD_OUT = 12 };
#define SMALL_BACKBONE "random:resnet18:1"

static char small_folder[64];

/* A noisy gray ramp of `width` x `height`; `seed` tells one from another. pixels: [height, width]. */
static inline cz_image small_photo(uint8_t *pixels, size_t width, size_t height, unsigned seed)
{
    uint32_t state = seed * 2654435761u + 12345u;
    for (size_t i = 0; i < width * height; i++) {
        state = state * 1664525u + 1013904223u;
        pixels[i] = (uint8_t)(60 + i % width * 80 / width + (state >> 24) % 40);
    }
    return (cz_image){pixels, width, height, width, CZ_GRAY8};
}

typedef struct small_source {
    unsigned first;
    uint8_t pixels[SMALL_SIDE * SMALL_SIDE];
} small_source;

static inline cz_status small_load(void *ctx, size_t index, cz_image *out)
{
    small_source *s = ctx;
    *out = small_photo(s->pixels, SMALL_SIDE, SMALL_SIDE, s->first + (unsigned)index);
    return CZ_OK;
}

/* Trains a model, calibrates it if asked to, and writes it. Another seed gives another file. */
static inline cz_status small_model_write(const char *path, uint64_t seed, int calibrated)
{
    cz_backbone *backbone = NULL;
    cz_model *model = NULL, *better = NULL;
    small_source photos = {.first = 100};
    cz_image_source source = CZ_IMAGE_SOURCE_INIT;
    cz_train_options o;
    cz_calibrate_options c;
    cz_train_options_init(&o);
    cz_calibrate_options_init(&c);
    o.image_width = o.image_height = 64;
    o.feature_width = 16;
    o.hidden_width = 8;
    o.epochs = 1;
    o.patches_per_image = 8;
    o.threads = c.threads = 1;
    o.quantise_images = 0;
    o.seed = seed;
    source.count = SMALL_TRAIN;
    source.load = small_load;
    source.ctx = &photos;
    cz_status status = cz_backbone_open(SMALL_BACKBONE, &backbone);
    if (status == CZ_OK) status = cz_train(backbone, &source, &o, &model);
    photos.first = 500;
    source.count = SMALL_HELD_OUT;
    c.rule = CZ_RULE_IQR;
    c.pixel_quantile = 0.7; /* low, so that there are regions */
    if (status == CZ_OK && calibrated) status = cz_calibrate(model, &source, &c, &better, NULL);
    if (status == CZ_OK) status = cz_model_save(calibrated ? better : model, path);
    if (status != CZ_OK) fprintf(stderr, "%s: %s\n", path, cz_last_error());
    cz_model_close(better);
    cz_model_close(model);
    cz_backbone_close(backbone);
    return status;
}

static inline const char *small_path(const char *name)
{
    static _Thread_local char paths[64][160];
    static _Thread_local unsigned turn;
    char *path = paths[turn++ % 64];
    (void)snprintf(path, sizeof paths[0], "%s/%s", small_folder, name);
    return path;
}

static inline int small_write(const char *path, const void *bytes, size_t size)
{
    FILE *f = fopen(path, "wb");
    if (f == NULL) return -1;
    const size_t put = fwrite(bytes, 1, size, f);
    return fclose(f) == 0 && put == size ? 0 : -1;
}

/* free() */
static inline char *small_read(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    char *bytes = malloc(1 << 24);
    *size = f != NULL && bytes != NULL ? fread(bytes, 1, 1 << 24, f) : 0;
    if (f != NULL) (void)fclose(f);
    return bytes;
}

static inline int small_copy(const char *from, const char *to)
{
    size_t size;
    char *bytes = small_read(from, &size);
    const int failed = bytes == NULL || small_write(to, bytes, size) != 0;
    free(bytes);
    return failed ? -1 : 0;
}

static inline int small_begin(void)
{
    (void)snprintf(small_folder, sizeof small_folder, "/tmp/cozad-server-XXXXXX");
    return mkdtemp(small_folder) != NULL ? 0 : -1;
}

static inline int small_remove(const char *path, const struct stat *file, int kind, struct FTW *at)
{
    (void)file;
    (void)kind;
    (void)at;
    return remove(path);
}

static inline void small_end(void)
{
    (void)nftw(small_folder, small_remove, 8, FTW_DEPTH | FTW_PHYS);
}

#endif
