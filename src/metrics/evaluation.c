/* SPDX-License-Identifier: Apache-2.0 */
#include "metrics/evaluation.h"

#include "util/alloc.h"

#include <math.h>
#include <string.h>

const char *cz_metric_name(cz_metric metric)
{
    static const char *const names[CZ_METRICS] = {"image_auroc", "image_ap", "image_f1",  "pixel_auroc",
                                                  "pixel_ap",    "pixel_f1", "aupro_030", "aupro_005"};
    return (unsigned)metric < CZ_METRICS ? names[metric] : NULL;
}

cz_status cz_evaluation_open(const cz_evaluation_options *options, cz_evaluation **out)
{
    cz_error_clear();
    if (out == NULL) return cz_fail(CZ_E_ARG, "cz_evaluation_open: out is NULL");
    const cz_evaluation_options defaults = CZ_EVALUATION_OPTIONS_INIT;
    if (options == NULL) options = &defaults;
    if (options->struct_size < sizeof *options)
        return cz_fail(CZ_E_ARG, "cz_evaluation_options: unknown struct_size %zu", options->struct_size);
    if (options->resamples > 1000000) return cz_fail(CZ_E_LIMIT, "more than 1000000 resamples");
    cz_evaluation *e = cz_calloc(1, sizeof *e);
    if (e == NULL) return CZ_E_MEMORY;
    e->options = *options;
    *out = e;
    return CZ_OK;
}

static void free_images(cz_images *c)
{
    for (size_t i = 0; i < c->count; i++) cz_free(c->sketch[i]);
    cz_free(c->name);
    cz_free(c->score);
    cz_free(c->label);
    cz_free(c->sketch);
    cz_pixels_free(&c->pixels);
}

void cz_evaluation_close(cz_evaluation *e)
{
    if (e == NULL) return;
    for (size_t i = 0; i < e->count; i++) free_images(&e->categories[i]);
    cz_free(e->categories);
    cz_pixel_counter_free(&e->counter);
    cz_free(e);
}

size_t cz_evaluation_categories(const cz_evaluation *e)
{
    return e == NULL ? 0 : e->count;
}

const char *cz_evaluation_category(const cz_evaluation *e, size_t index)
{
    return e == NULL || index >= e->count ? NULL : e->categories[index].name;
}

/* Pixels are counted for each category: a new one costs a megabyte or more. */
enum { MOST_CATEGORIES = 10000 };

static cz_status find_category(cz_evaluation *e, const char *name, cz_images **out)
{
    for (size_t i = e->count; i > 0; i--) { /* images come category by category */
        if (strcmp(e->categories[i - 1].name, name) != 0) continue;
        *out = &e->categories[i - 1];
        return CZ_OK;
    }
    if (e->count == MOST_CATEGORIES) return cz_fail(CZ_E_LIMIT, "more than %d categories", MOST_CATEGORIES);
    if (e->count == e->capacity) {
        const size_t capacity = e->capacity == 0 ? 4 : 2 * e->capacity;
        cz_images *grown = cz_grow(e->categories, capacity, sizeof *grown);
        if (grown == NULL) return CZ_E_MEMORY;
        e->categories = grown;
        e->capacity = capacity;
    }
    cz_images *c = &e->categories[e->count];
    memset(c, 0, sizeof *c);
    c->name = cz_strdup(name);
    if (c->name == NULL) return CZ_E_MEMORY;
    e->count++;
    *out = c;
    return CZ_OK;
}

static cz_status reserve(cz_images *c)
{
    if (c->count < c->capacity) return CZ_OK;
    const size_t capacity = c->capacity == 0 ? 64 : 2 * c->capacity;
    double *score = cz_grow(c->score, capacity, sizeof *score);
    if (score != NULL) c->score = score;
    uint8_t *label = cz_grow(c->label, capacity, sizeof *label);
    if (label != NULL) c->label = label;
    cz_sketch **sketch = cz_grow(c->sketch, capacity, sizeof *sketch);
    if (sketch != NULL) c->sketch = sketch;
    if (score == NULL || label == NULL || sketch == NULL) return CZ_E_MEMORY;
    c->capacity = capacity;
    return CZ_OK;
}

static cz_status check_image(const cz_evaluation *e, int label, double score, const float *map, size_t width,
                             size_t height)
{
    size_t pixels;
    if (e == NULL) return cz_fail(CZ_E_ARG, "cz_evaluation_add: no evaluation");
    if (label != 0 && label != 1) return cz_fail(CZ_E_ARG, "the label %d is neither 0 nor 1", label);
    if (!isfinite(score)) return cz_fail(CZ_E_ARG, "an image's score is not a finite number");
    if (map == NULL) return CZ_OK;
    if (width == 0 || height == 0) return cz_fail(CZ_E_ARG, "a map of %zu x %zu pixels", width, height);
    if (!cz_mul_size(width, height, &pixels) || pixels >= UINT32_MAX)
        return cz_fail(CZ_E_LIMIT, "a map of %zu x %zu pixels is too large", width, height);
    return CZ_OK;
}

cz_status cz_evaluation_add(cz_evaluation *e, const char *category, int label, double score, const float *map,
                            const uint8_t *mask, size_t width, size_t height)
{
    cz_error_clear();
    cz_status status = CZ_OK;
    cz_images *c = NULL;
    cz_sketch *sketch = NULL;
    CZ_TRY(check_image(e, label, score, map, width, height));
    CZ_TRY(find_category(e, category == NULL ? "" : category, &c));
    CZ_TRY(reserve(c));
    if (map != NULL && (mask != NULL || label == 0)) {
        CZ_TRY(cz_pixels_count(&e->counter, map, mask, width, height));
        if (e->options.resamples > 0) CZ_TRY(cz_sketch_make(&e->counter.bins, &sketch));
        CZ_TRY(cz_pixels_add(&c->pixels, &e->counter, map, mask, width, height, e->options.exact != 0));
        c->masks += label == 1;
    }
    c->score[c->count] = score;
    c->label[c->count] = (uint8_t)label;
    c->sketch[c->count++] = sketch;
    sketch = NULL;
    c->computed = false;
out:
    cz_free(sketch);
    if (status != CZ_OK && c != NULL &&
        c->count == 0) { /* its first image: the category goes as it came, as the last */
        free_images(c);
        e->count--;
    }
    return status;
}
