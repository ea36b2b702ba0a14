/* SPDX-License-Identifier: Apache-2.0 */
/* cz_adapt: inner-loop steps (paper Eq. 11, docs/math.md section 6) of a trained model on a few photos of a new product. */
#include "api/cozad_settings.h"
#include "api/measure.h"
#include "api/patches.h"
#include "meta/meta.h"
#include "util/alloc.h"
#include "util/sha256.h"
#include "util/threads.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Patches that one step sees at the most: memory stays bounded however many photos there are. Beyond it a step draws some of
 * the photos. */
#define STEP_PATCHES ((size_t)8192)
/* Parameters are float: more steps than this are a mistake. */
#define MAX_STEPS ((size_t)1000000)

void cz_adapt_options_init(cz_adapt_options *o)
{
    *o = (cz_adapt_options){.struct_size = sizeof *o,
                            .patches_per_image = 128,
                            .cache = CZ_CACHE_OPTIONS_INIT,
                            .precision = CZ_PRECISION_MODEL};
}

typedef struct adapter {
    const cz_model *source; /* stays as it is */
    const cz_adapt_options *options;
    cz_model *model;
    cz_precision precision;
    cz_cozad_options settings; /* of the source's training; its texts belong to the source */
    cz_objective objective;
    cz_meta *meta;
    cz_patch_set patches;
    size_t steps, shown; /* S; photos a step sees */
    double inner_lr;
    float *features; /* [max(grid, patches of a step), D] */
    size_t *photo;   /* [shown] of this step */
    size_t *first;   /* [shown + 1] rows of each */
    cz_terms before, after;
} adapter;

/* ---- settings ----------------------------------------------------------------------------------------------------- */

static cz_status check_options(const cz_adapt_options *o)
{
    if (o->struct_size < sizeof *o)
        return cz_fail(CZ_E_ARG, "cz_adapt_options: unknown struct_size %zu", o->struct_size);
    if (!(o->inner_lr >= 0.0) || !isfinite(o->inner_lr))
        return cz_fail(CZ_E_ARG, "inner learning rate %g is not a positive number", o->inner_lr);
    if (o->steps > MAX_STEPS) return cz_fail(CZ_E_ARG, "%zu steps are more than %zu", o->steps, MAX_STEPS);
    return CZ_OK;
}

static void tell(const adapter *a, const char *line)
{
    if (a->options->log != NULL) a->options->log(a->options->ctx, line);
}

/* The objective that the model was trained with, so that its inner loop is what meta-learning prepared it for. */
static cz_status read_settings(adapter *a)
{
    cz_status status;
    const cz_model *m = a->source;
    const json_t *stored = json_object_get(json_object_get(m->meta, "training"), "cozad");
    if (stored == NULL) tell(a, "the model was not trained by method cozad: it is adapted with that method's defaults");
    CZ_TRY(cz_cozad_options_read(stored, &a->settings));
    if (stored == NULL && m->head->embed_width == 0) a->settings.contrast = 0;
    CZ_TRY(cz_cozad_objective(&a->settings, m->head->config.noise_std, m->top_k, &a->objective));
    const bool reptile = strcmp(a->settings.meta_gradient, "reptile") == 0;
    a->steps = a->options->steps > 0 ? a->options->steps : a->settings.inner_steps;
    if (a->steps == 0) a->steps = reptile ? 5 : 1;
    a->inner_lr = a->options->inner_lr > 0.0 ? a->options->inner_lr : a->settings.inner_lr;
    if (a->steps > MAX_STEPS || !(a->inner_lr > 0.0)) {
        status =
            cz_fail(CZ_E_MODEL, "model: training.cozad has an inner loop of %zu steps at %g", a->steps, a->inner_lr);
    }
out:
    /* out of range in a file is the file's fault */
    return status == CZ_E_ARG ? CZ_E_MODEL : status;
}

/* ---- the inner loop ----------------------------------------------------------------------------------------------- */

static cz_status prepare(adapter *a)
{
    cz_status status;
    const cz_adapt_options *o = a->options;
    const size_t photos = a->patches.set.count, grid = a->patches.grid;
    const size_t wanted = o->patches_per_image, most = wanted == 0 || wanted > grid ? grid : wanted;
    a->shown = STEP_PATCHES / most > 0 ? STEP_PATCHES / most : 1;
    if (a->shown > photos) a->shown = photos;
    const size_t rows = a->shown * most;
    size_t floats;
    if (!cz_mul_size(rows > grid ? rows : grid, a->patches.width, &floats)) {
        return cz_fail(CZ_E_MEMORY, "a step's patches are too large");
    }
    a->features = cz_alloc_array(floats, sizeof *a->features);
    a->photo = cz_alloc_array(a->shown, sizeof *a->photo);
    a->first = cz_alloc_array(a->shown + 1, sizeof *a->first);
    if (a->features == NULL || a->photo == NULL || a->first == NULL) return CZ_E_MEMORY;
    cz_meta_options meta;
    cz_meta_options_init(&meta);
    meta.gradient = CZ_META_OFF; /* nothing looks back through the steps */
    meta.inner_lr = a->inner_lr;
    meta.contrast_inner = strcmp(a->settings.contrast_in, "outer") != 0;
    CZ_TRY(cz_meta_create(a->model->head, &a->objective, &meta, 1, rows, a->shown, &a->meta));
out:
    return status;
}

/* The support set of one step: which photos and patches depends on (seed, step, photo) alone. */
static cz_task_set draw_support(adapter *a, size_t step)
{
    const cz_adapt_options *o = a->options;
    const size_t photos = a->patches.set.count;
    cz_rng rng;
    cz_rng_init(&rng, o->seed, CZ_RNG_TASK, step, 1);
    cz_rng_choose(&rng, photos, a->shown, a->photo);
    a->first[0] = 0;
    for (size_t i = 0; i < a->shown; i++) {
        cz_rng_init(&rng, o->seed, CZ_RNG_PATCHES, (uint64_t)step * photos + a->photo[i], 0);
        a->first[i + 1] = a->first[i] + cz_patch_set_sample(&a->patches, a->photo[i], o->patches_per_image, &rng,
                                                            a->features + a->first[i] * a->patches.width);
    }
    cz_task_set set = {.category = NULL};
    set.batch.patches = a->first[a->shown];
    set.batch.width = a->patches.width;
    set.batch.features = a->features;
    set.batch.images = a->shown;
    set.batch.image_first = a->first;
    return set;
}

/* `count` inner steps (0: none, only the terms) on the support set of `step`. */
static cz_status inner_step(adapter *a, size_t step, size_t count, cz_terms *before, cz_terms *after)
{
    cz_rng rng; /* noise of its own for every step */
    cz_rng_init(&rng, a->options->seed, CZ_RNG_TASK, step, 2);
    const uint64_t seed = cz_rng_u64(&rng);
    const cz_task_set set = draw_support(a, step);
    /* lambda of Eq. 9 without loss pairs: lambda0 */
    return cz_meta_adapt(a->meta, &set, a->settings.lambda0, seed, count, a->model->params, before, after);
}

/* Both ends are measured on the support set of the first step, with the same noise. */
static cz_status inner_loop(adapter *a)
{
    cz_status status;
    char detail[40] = "";
    cz_terms terms;
    for (size_t step = 0; step < a->steps; step++) {
        CZ_TRY(cz_patch_set_report(&a->patches, "adapting", step, a->steps, detail));
        CZ_TRY(inner_step(a, step, 1, &terms, NULL));
        if (step == 0) a->before = terms;
        (void)snprintf(detail, sizeof detail, "loss %.4f", terms.total);
    }
    CZ_TRY(inner_step(a, 0, 0, &terms, &a->after));
    if (!(a->after.total < a->before.total)) {
        tell(a, "the support loss has not dropped: a smaller inner learning rate may help");
    }
    CZ_TRY(cz_patch_set_report(&a->patches, "adapting", a->steps, a->steps, detail));
out:
    return status;
}

/* ---- the result --------------------------------------------------------------------------------------------------- */

static cz_status describe(adapter *a)
{
    const cz_adapt_options *o = a->options;
    cz_model *m = a->model;
    json_t *hashes = json_array();
    for (size_t i = 0; i < a->patches.set.count; i++) {
        char hex[65];
        cz_sha256_hex(a->patches.set.items[i].sha256, hex);
        (void)json_array_append_new(hashes, json_string(hex));
    }
    json_t *adapted = json_pack("{s:I, s:I, s:I, s:f, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:o}", "images",
                                (json_int_t)a->patches.set.count, "images_skipped", (json_int_t)a->patches.skipped,
                                "steps", (json_int_t)a->steps, "inner_lr", a->inner_lr, "patches_per_image",
                                (json_int_t)o->patches_per_image, "seed", (json_int_t)o->seed, "loss_before",
                                a->before.total, "loss_after", a->after.total, "ad_before", a->before.ad, "ad_after",
                                a->after.ad, "mean_weight", a->after.mean_weight, "pixels_sha256", hashes);
    json_t *scores = json_pack("{s:f, s:f}", "median", m->score_median, "max", m->score_max);
    /* A model that is adapted again still knows every photo that it has learnt from. */
    json_t *earlier = json_object_get(m->meta, "adapted");
    int failed = adapted == NULL || scores == NULL;
    if (!failed) failed = json_object_set_new(m->meta, "precision", json_string(cz_precision_name(a->precision)));
    if (!failed) failed = json_object_set_new(m->meta, "algorithm", json_string(cz_precision_algorithm(a->precision)));
    if (!failed && earlier != NULL) failed = json_object_set(adapted, "earlier", earlier);
    if (!failed) failed = json_object_set(m->meta, "adapted", adapted);
    if (!failed) failed = json_object_set(m->meta, "training_scores", scores);
    json_decref(adapted);
    json_decref(scores);
    return failed ? cz_fail(CZ_E_MEMORY, "out of memory") : cz_model_refresh_json(m);
}

/* A copy of the source with what its precision needs. */
static cz_status make_model(adapter *a, const cz_image_source *images)
{
    cz_status status;
    const cz_adapt_options *o = a->options;
    const cz_measure_options measure = {.source = images,
                                        .photos = CZ_QUANTISE_IMAGES,
                                        .threads = o->threads,
                                        .progress = o->progress,
                                        .log = o->log,
                                        .ctx = o->ctx};
    cz_head_config config = a->source->head->config;
    config.weight_both = a->settings.weight_both != 0;
    config.noise_twins = true; /* nothing here is known to be anomalous: noise is what there is */
    CZ_TRY(cz_precision_of_model(a->source, o->precision, &a->precision));
    config.precision = cz_precision_products(a->precision);
    CZ_TRY(cz_model_copy(a->source, &config, &a->model));
    CZ_TRY(cz_precision_measure_model(a->model, a->precision, &measure));
out:
    return status;
}

static cz_status run(adapter *a, const cz_image_source *images)
{
    cz_status status;
    const cz_adapt_options *o = a->options;
    CZ_TRY(read_settings(a));
    CZ_TRY(make_model(a, images));
    const cz_patch_options patches = {.backbone = a->model->backbone,
                                      .source = images,
                                      .taps = a->model->taps,
                                      .prep = &a->model->prep,
                                      .width = a->model->feature_width,
                                      .neighbourhood = a->model->neighbourhood,
                                      .threads = o->threads,
                                      .precision = a->precision,
                                      .quant = cz_precision_ranges(a->model),
                                      .cache = &o->cache,
                                      .progress = o->progress,
                                      .log = o->log,
                                      .ctx = o->ctx};
    CZ_TRY(cz_patch_set_create(&patches, &a->patches));
    a->patches.scale = a->model->feature_scale;
    if (a->model->relation != NULL) CZ_TRY(cz_patch_set_use_relations(&a->patches, a->model->relation, false));
    if (a->model->image_level) CZ_TRY(cz_patch_set_use_images(&a->patches));
    CZ_TRY(prepare(a));
    CZ_TRY(inner_loop(a));
    /* What a pass before training has measured is part of what the inner loop was prepared for. */
    if (!a->model->head->ops->pass_first) CZ_TRY(cz_patch_set_statistics(&a->patches, a->model, a->features));
    CZ_TRY(cz_patch_set_score_scale(&a->patches, a->model, a->features));
    CZ_TRY(describe(a));
out:
    return status;
}

static void release(adapter *a)
{
    cz_meta_destroy(a->meta); /* before the head that it knows */
    cz_patch_set_free(&a->patches);
    cz_free(a->features);
    cz_free(a->photo);
    cz_free(a->first);
    cz_model_close(a->model);
}

cz_status cz_adapt(const cz_model *model, const cz_image_source *images, const cz_adapt_options *options,
                   cz_model **out, cz_adapt_report *report)
{
    cz_error_clear();
    cz_status status;
    cz_threads_scope scope = {0};
    if (model == NULL || images == NULL || options == NULL || out == NULL || images->load == NULL) {
        return cz_fail(CZ_E_ARG, "cz_adapt: a NULL argument");
    }
    if (images->struct_size < sizeof *images) return cz_fail(CZ_E_ARG, "cz_image_source: unknown struct_size");
    if (model->backbone == NULL) return cz_fail(CZ_E_ARG, "the model was opened without its backbone");
    if ((status = check_options(options)) != CZ_OK) return status;
    adapter a = {.source = model, .options = options};
    a.patches.set.file = -1;
    if ((status = cz_threads_enter(options->threads, &scope)) != CZ_OK) return status;
    CZ_TRY(run(&a, images));
    if (report != NULL) {
        *report = (cz_adapt_report){a.patches.set.count, a.before.total, a.after.total,
                                    a.before.ad,         a.after.ad,     a.after.mean_weight};
    }
    *out = a.model;
    a.model = NULL;
out:
    release(&a);
    cz_threads_leave(&scope);
    return status;
}
