/* SPDX-License-Identifier: Apache-2.0 */
/* Small photos of two products, some with labelled defects, and trainings with them of a moment. Included after a test's own includes. */
#ifndef COZAD_TESTS_TWO_PRODUCTS_H
#define COZAD_TESTS_TWO_PRODUCTS_H

#include "api/model.h"
#include "api/negatives.h"
#include "cozad/cozad.h"
#include "cozad/cozad_eval.h"
#include "util/alloc.h"
#include "util/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* Of two products in turns: even photos are of category 0, odd ones of 1. */
enum { PHOTOS = 12, LABELLED = 6, SIDE = 64, GRID = 8, CELLS = GRID * GRID, TAKEN = 16 };

static uint8_t pixels[PHOTOS][SIDE * SIDE], defects[LABELLED][SIDE * SIDE], masks[LABELLED][SIDE * SIDE];
static cz_backbone *backbone;
static char path[] = "/tmp/cozad-products-XXXXXX";

/* ---- photos ------------------------------------------------------------------------------------------------------- */

typedef struct broken {
    size_t photo, mask; /* labelled ones that cannot be read; none: LABELLED */
} broken;
static broken nothing = {LABELLED, LABELLED};

static inline cz_status load(void *ctx, size_t index, cz_image *out)
{
    (void)ctx;
    *out = (cz_image){pixels[index], SIDE, SIDE, SIDE, CZ_GRAY8};
    return CZ_OK;
}

static inline cz_status load_defect(void *ctx, size_t index, cz_image *out)
{
    if (index == ((const broken *)ctx)->photo) return cz_source_error(CZ_E_FORMAT, "no picture");
    *out = (cz_image){defects[index], SIDE, SIDE, SIDE, CZ_GRAY8};
    return CZ_OK;
}

static inline cz_status load_mask(void *ctx, size_t index, cz_image *out)
{
    if (index == ((const broken *)ctx)->mask) return cz_source_error(CZ_E_IO, "no mask");
    *out = (cz_image){masks[index], SIDE, SIDE, SIDE, CZ_GRAY8};
    return CZ_OK;
}

static inline size_t category(void *ctx, size_t index)
{
    (void)ctx;
    return index % 2;
}

static inline const char *category_name(void *ctx, size_t index)
{
    (void)ctx;
    return index == 0 ? "nut" : "bolt";
}

static inline cz_image_source photos(size_t categories)
{
    cz_image_source source = CZ_IMAGE_SOURCE_INIT;
    source.count = PHOTOS;
    source.load = load;
    source.categories = categories;
    if (categories > 0) {
        source.category = category;
        source.category_name = category_name;
    }
    return source;
}

static inline cz_image_source labelled(broken *which)
{
    cz_image_source source = photos(2);
    source.count = LABELLED;
    source.load = load_defect;
    source.ctx = which;
    return source;
}

static inline void set_labelled(cz_train_options *o, const cz_image_source *source)
{
    o->negatives.labelled = source;
    o->negatives.mask = load_mask;
}

/* Labelled photo i shows its defect in i + 1 patches of row i, and crosses into one below. */
static inline void draw_pictures(void)
{
    unsigned s = 5;
    for (unsigned i = 0; i < PHOTOS + LABELLED; i++) {
        uint8_t *to = i < PHOTOS ? pixels[i] : defects[i - PHOTOS];
        for (unsigned p = 0; p < SIDE * SIDE; p++) {
            s = s * 1664525u + 1013904223u;
            to[p] = (uint8_t)((p % SIDE * (2 + i % 2 * 3) + p / SIDE * (3 + i % 2)) % 200 + (s >> 27));
        }
    }
    for (unsigned i = 0; i < LABELLED; i++) {
        for (unsigned p = 0; p < SIDE * SIDE; p++) {
            const unsigned x = p % SIDE / GRID, y = p / SIDE;
            const bool whole = y / GRID == i && x <= i, edge = y == GRID * (i + 1) && x == 0;
            if (!whole && !edge) continue;
            masks[i][p] = 255;
            defects[i][p] = (uint8_t)(255 - p % 5 * 40);
        }
    }
}

static inline int set_up(void **state)
{
    (void)state;
    draw_pictures();
    const int file = mkstemp(path);
    if (file < 0) return -1;
    close(file);
    return cz_backbone_open("random:resnet18:1", &backbone) == CZ_OK ? 0 : -1;
}

static inline int tear_down(void **state)
{
    (void)state;
    unlink(path);
    cz_backbone_close(backbone);
    return 0;
}

/* ---- helpers ------------------------------------------------------------------------------------------------------ */

static char lines[2000]; /* of the log, until there is no more room */

static inline void keep_line(void *ctx, const char *message)
{
    (void)ctx;
    const size_t used = strlen(lines);
    (void)snprintf(lines + used, sizeof lines - used, "%s\n", message);
}

static inline cz_train_options options(const char *method)
{
    cz_train_options o;
    cz_train_options_init(&o);
    o.method = method;
    o.image_width = o.image_height = SIDE;
    o.feature_width = 48;
    o.hidden_width = 24;
    o.epochs = 3;
    o.batch = 4;
    o.patches_per_image = TAKEN;
    o.quantise_images = 0;
    o.cozad.tasks = 2;
    o.cozad.contrast_chunk = 32;
    o.threads = 2;
    o.seed = 3;
    o.log = keep_line;
    return o;
}

static inline cz_model *train(const cz_train_options *o)
{
    cz_model *model = NULL;
    const cz_image_source source = photos(2);
    if (cz_train(backbone, &source, o, &model) != CZ_OK) fail_msg("%s: %s", o->method, cz_last_error());
    return model;
}

static inline bool same(const cz_model *a, const cz_model *b)
{
    const cz_model *const models[] = {a, b};
    uint8_t *bytes[2];
    size_t size[2];
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(cz_model_save(models[i], path), CZ_OK);
        assert_int_equal(cz_file_read(path, 1 << 24, &bytes[i], &size[i]), CZ_OK);
    }
    const bool equal = size[0] == size[1] && memcmp(bytes[0], bytes[1], size[0]) == 0;
    cz_free(bytes[0]);
    cz_free(bytes[1]);
    return equal;
}

static inline json_t *part_of(const cz_model *m, const char *name)
{
    return json_object_get(m->meta, name);
}

/* The training photos' set and all that companions are made with. */
typedef struct drawing {
    cz_train_options options;
    cz_image_source photos, labelled;
    cz_cache_options cache;
    cz_prep prep;
    cz_patch_set set, shown; /* of the photos and of the labelled ones */
    cz_negatives *negatives;
} drawing;

static inline void open_drawing(drawing *d, size_t copies, bool label)
{
    *d = (drawing){.options = options("simplenet"),
                   .photos = photos(2),
                   .labelled = labelled(&nothing),
                   .cache = CZ_CACHE_OPTIONS_INIT};
    d->options.negatives.synthetic = copies;
    if (label) set_labelled(&d->options, &d->labelled);
    assert_int_equal(cz_prep_init(SIDE, SIDE, CZ_FIT_SQUASH, 0, NULL, NULL, &d->prep), CZ_OK);
    cz_patch_options patches = {.backbone = backbone,
                                .source = &d->photos,
                                .taps = "layer2,layer3",
                                .prep = &d->prep,
                                .width = 48,
                                .threads = 2,
                                .cache = &d->cache};
    assert_int_equal(cz_patch_set_create(&patches, &d->set), CZ_OK);
    patches.source = &d->labelled;
    assert_int_equal(cz_patch_set_create(&patches, &d->shown), CZ_OK);
    const cz_negatives_settings settings = {.options = &d->options,
                                            .photos = &d->photos,
                                            .set = &d->set.set,
                                            .patches = patches,
                                            .grid_w = GRID,
                                            .grid_h = GRID,
                                            .scale = 1.0};
    if (cz_negatives_create(&settings, &d->negatives) != CZ_OK) fail_msg("%s", cz_last_error());
}

static inline void close_drawing(drawing *d)
{
    cz_negatives_destroy(d->negatives);
    cz_patch_set_free(&d->set);
    cz_patch_set_free(&d->shown);
    cz_prep_free(&d->prep);
}

#endif
