/* SPDX-License-Identifier: Apache-2.0 */
/* cz_train: features once, then epochs over random patches of them (docs/math.md sections 1 to 3). */
#include "api/collect.h"
#include "api/model.h"
#include "api/train_meta.h"
#include "optim/adam.h"
#include "util/alloc.h"
#include "util/rng.h"
#include "util/sha256.h"
#include "util/threads.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void cz_train_options_init(cz_train_options *o)
{
    memset(o, 0, sizeof *o);
    o->struct_size = sizeof *o;
    o->method = "simplenet";
    o->detector = "simplenet";
    o->taps = "layer2,layer3";
    o->image_width = o->image_height = 256;
    o->fit = CZ_FIT_SQUASH;
    o->feature_width = 1536;
    o->feature_rms = 0.245;
    o->hidden_width = 1024;
    o->epochs = 40;
    o->batch = 16;
    o->patches_per_image = 128;
    o->noise_std = 0.015;
    o->margin_positive = 0.5;
    o->margin_negative = -0.5;
    o->lr_adaptor = 1e-4;
    o->lr_discriminator = 2e-4;
    o->top_k = 1;
    o->cache = (cz_cache_options)CZ_CACHE_OPTIONS_INIT;
}

/* Everything one training run holds. */
typedef struct trainer {
    const cz_train_options *options;
    const cz_image_source *source;
    cz_model *model;
    cz_extractor *extractor;
    cz_pooler *pooler;
    cz_feature_set set;
    size_t grid; /* P of one image */
    float *widened, *scratch;
    const float *maps[CZ_MAX_TAPS];
    cz_head_work *work;
    cz_adam adam;
    cz_adam_group groups[CZ_HEAD_MAX_GROUPS];
    float *grads, *batch_state, *features; /* [params], [state], [batch * patches, D] */
    size_t *rows, *order;                  /* [P], [images] */
    size_t skipped;
} trainer;

static cz_status check_options(const cz_train_options *o)
{
    if (o->struct_size < sizeof *o)
        return cz_fail(CZ_E_ARG, "cz_train_options: unknown struct_size %zu", o->struct_size);
    if (strcmp(o->method, "simplenet") != 0) {
        return cz_fail(CZ_E_ARG, "method \"%s\" is not one of: simplenet", o->method);
    }
    if (strcmp(o->detector, "simplenet") != 0) {
        return cz_fail(CZ_E_ARG, "detector \"%s\" is not one of: simplenet", o->detector);
    }
    if (o->image_width < 32 || o->image_height < 32 || o->image_width > 8192 || o->image_height > 8192) {
        return cz_fail(CZ_E_ARG, "image size %zux%zu is not within 32 … 8192", o->image_width, o->image_height);
    }
    if (o->epochs == 0 || o->epochs > 1000000) return cz_fail(CZ_E_ARG, "%zu epochs", o->epochs);
    if (o->batch == 0 || o->batch > 65536) return cz_fail(CZ_E_ARG, "a batch of %zu", o->batch);
    if (o->top_k == 0) return cz_fail(CZ_E_ARG, "top_k is at least 1");
    if (!(o->feature_scale >= 0.0) || !(o->feature_rms > 0.0)) return cz_fail(CZ_E_ARG, "a feature scale below 0");
    return CZ_OK;
}

static cz_status report(const trainer *t, const char *what, size_t done, size_t total, const char *detail)
{
    if (t->options->progress == NULL) return CZ_OK;
    if (t->options->progress(t->options->ctx, what, done, total, detail) == 0) return CZ_OK;
    return cz_fail(CZ_E_CANCELLED, "cancelled");
}

static cz_status make_model(trainer *t, cz_backbone *backbone)
{
    const cz_train_options *o = t->options;
    cz_status status;
    cz_model *m = t->model;
    cz_head_config config;
    cz_head_config_init(&config);
    config.width = o->feature_width;
    config.hidden = o->hidden_width;
    config.noise_std = o->noise_std;
    config.margin_positive = o->margin_positive;
    config.margin_negative = o->margin_negative;
    config.simplenet_compat = o->simplenet_compat != 0;
    config.lr_adaptor = o->lr_adaptor;
    config.lr_discriminator = o->lr_discriminator;
    m->backbone = cz_backbone_retain(backbone);
    m->top_k = o->top_k;
    m->taps = cz_strdup(o->taps);
    m->detector = cz_strdup(o->detector);
    m->backbone_name = cz_strdup(cz_backbone_name(backbone));
    m->backbone_sha256 = cz_strdup(cz_backbone_sha256(backbone));
    if (m->taps == NULL || m->detector == NULL || m->backbone_name == NULL || m->backbone_sha256 == NULL) {
        return CZ_E_MEMORY;
    }
    CZ_TRY(cz_prep_init(o->image_width, o->image_height, o->fit, o->resize, &o->roi, o->ignore_mask, &m->prep));
    CZ_TRY(cz_head_create(o->detector, &config, &m->head));
    m->params = cz_alloc_array(m->head->param_count, sizeof *m->params);
    m->state = cz_alloc_array(m->head->state_count, sizeof *m->state);
    if (m->params == NULL || m->state == NULL) return CZ_E_MEMORY;
    cz_head_init(m->head, o->seed, m->params, m->state);
out:
    return status;
}

static cz_status make_buffers(trainer *t)
{
    cz_status status;
    cz_tap_shape shapes[CZ_MAX_TAPS];
    const size_t taps = cz_extractor_taps(t->extractor);
    for (size_t i = 0; i < taps; i++) shapes[i] = *cz_extractor_shape(t->extractor, i);
    CZ_TRY(cz_pooler_create(shapes, taps, t->options->feature_width, &t->pooler));
    t->grid = cz_pooler_grid_h(t->pooler) * cz_pooler_grid_w(t->pooler);
    t->widened = cz_alloc_array(cz_extractor_values(t->extractor), sizeof *t->widened);
    t->scratch = cz_alloc_array(cz_pooler_scratch(t->pooler), sizeof *t->scratch);
    t->rows = cz_alloc_array(t->grid, sizeof *t->rows);
    if (t->widened == NULL || t->scratch == NULL || t->rows == NULL) status = CZ_E_MEMORY;
out:
    return status;
}

/* ---- features -------------------------------------------------------------------------------------------------- */

static cz_status collect(trainer *t, cz_backbone *backbone, const cz_extractor_options *extract)
{
    cz_status status;
    cz_extractor_options shared = *extract;
    if (shared.threads == 0) shared.threads = cz_threads_available();
    const cz_collect_options options = {
        .backbone = backbone,
        .source = t->source,
        .extract = &shared,
        .grid_w = cz_pooler_grid_w(t->pooler),
        .grid_h = cz_pooler_grid_h(t->pooler),
        .progress = t->options->progress,
        .ctx = t->options->ctx,
    };
    CZ_TRY(cz_feature_set_create(t->source->count, cz_extractor_values(t->extractor), &t->set));
    CZ_TRY(cz_collect(&options, &t->set, &t->skipped));
out:
    return status;
}

/* All inspected patches of one image into t->features (room for a whole image); returns how many. */
static size_t pool_image(trainer *t, size_t image, double scale)
{
    const cz_feature_item *item = &t->set.items[image];
    size_t count = 0;
    for (size_t i = 0; i < t->grid; i++) {
        if (item->valid[i]) t->rows[count++] = i;
    }
    cz_extractor_widen(t->extractor, item->values, t->widened, t->maps);
    cz_pooler_rows(t->pooler, t->maps, (float)scale, t->rows, count, t->scratch, t->features);
    return count;
}

/* One constant brings the root mean square of o over the training patches to rho (docs/math.md section 2). */
static cz_status measure_scale(trainer *t)
{
    const cz_train_options *o = t->options;
    double scale = o->feature_scale > 0.0 ? o->feature_scale : cz_backbone_feature_scale(t->model->backbone);
    if (scale <= 0.0) {
        double sum = 0.0, count = 0.0;
        for (size_t i = 0; i < t->set.count; i++) {
            const size_t n = pool_image(t, i, 1.0) * o->feature_width;
            double part = 0.0;
            const float *features = t->features;
#pragma omp parallel for schedule(static) reduction(+ : part)
            for (size_t j = 0; j < n; j++) part += (double)features[j] * (double)features[j];
            sum += part;
            count += (double)n;
        }
        const double rms = sqrt(sum / count);
        if (!(rms > 0.0) || !isfinite(rms))
            return cz_fail(CZ_E_WEIGHTS, "the backbone's features are all zero or not finite");
        scale = o->feature_rms / rms;
    }
    t->model->feature_scale = scale;
    return CZ_OK;
}

/* ---- epochs ----------------------------------------------------------------------------------------------------- */

static size_t patches_of(const trainer *t, size_t image)
{
    const size_t valid = t->set.items[image].valid_count, wanted = t->options->patches_per_image;
    return wanted == 0 || wanted > valid ? valid : wanted;
}

/* The chosen patches of one image, appended at `out`; depends on (seed, epoch, image) alone. */
static size_t sample_image(trainer *t, size_t epoch, size_t image, float *out)
{
    const cz_feature_item *item = &t->set.items[image];
    const size_t wanted = patches_of(t, image);
    cz_rng rng;
    cz_rng_init(&rng, t->options->seed, CZ_RNG_PATCHES, (uint64_t)epoch * t->set.count + image, 0);
    cz_rng_choose(&rng, item->valid_count, wanted, t->rows);
    size_t seen = 0, next = 0; /* the k-th valid patch -> its place in the grid */
    for (size_t i = 0; i < t->grid && next < wanted; i++) {
        if (!item->valid[i]) continue;
        if (t->rows[next] == seen++) t->rows[next++] = i;
    }
    cz_extractor_widen(t->extractor, item->values, t->widened, t->maps);
    cz_pooler_rows(t->pooler, t->maps, (float)t->model->feature_scale, t->rows, wanted, t->scratch, out);
    return wanted;
}

static cz_status train_step(trainer *t, size_t epoch, size_t step, size_t first, size_t count, double *loss)
{
    cz_status status;
    cz_model *m = t->model;
    size_t patches = 0;
    for (size_t i = 0; i < count; i++) {
        patches += sample_image(t, epoch, t->order[first + i], t->features + patches * m->head->config.width);
    }
    cz_batch batch = {0};
    batch.patches = patches;
    batch.width = m->head->config.width;
    batch.features = t->features;
    batch.images = 1;
    const cz_head_noise noise = {t->options->seed, step, 0, NULL};
    CZ_TRY(cz_head_forward(m->head, m->params, &batch, &noise, t->work));
    CZ_TRY(cz_head_loss(m->head, &batch, t->work, loss));
    cz_head_batch_state(m->head, t->work, t->batch_state);
    CZ_TRY(cz_head_backward(m->head, m->params, &batch, NULL, t->work, t->grads));
    cz_adam_step(&t->adam, t->groups, m->head->groups, m->params, t->grads);
    cz_head_state_update(m->head, m->state, t->batch_state);
out:
    return status;
}

static cz_status prepare_epochs(trainer *t)
{
    cz_status status;
    const cz_head *head = t->model->head;
    const size_t images = t->set.count;
    const size_t wanted = t->options->patches_per_image;
    const size_t per_image = wanted == 0 || wanted > t->grid ? t->grid : wanted;
    const size_t batch = t->options->batch < images ? t->options->batch : images;
    const size_t rows = batch * per_image > t->grid ? batch * per_image : t->grid;
    size_t floats;
    if (!cz_mul_size(rows, head->config.width, &floats)) return cz_fail(CZ_E_MEMORY, "a batch is too large");
    CZ_TRY(cz_head_work_create(head, batch * per_image, &t->work));
    CZ_TRY(cz_adam_init(head->param_count, &t->adam));
    for (size_t i = 0; i < head->groups; i++) {
        t->groups[i] = (cz_adam_group){head->group[i].first, head->group[i].count, head->group[i].lr,
                                       head->group[i].decay, head->group[i].decoupled};
    }
    t->grads = cz_alloc_array(head->param_count, sizeof *t->grads);
    t->batch_state = cz_alloc_array(head->state_count, sizeof *t->batch_state);
    t->order = cz_alloc_array(images, sizeof *t->order);
    t->features = cz_alloc_array(floats, sizeof *t->features);
    if (t->grads == NULL || t->batch_state == NULL || t->order == NULL || t->features == NULL) status = CZ_E_MEMORY;
out:
    return status;
}

/* Below this many optimiser steps the discriminator has hardly left its starting point (docs/results.md). */
#define FEW_STEPS ((size_t)400)

static void warn_of_few_steps(const trainer *t, size_t steps_an_epoch)
{
    const size_t steps = steps_an_epoch * t->options->epochs;
    if (steps >= FEW_STEPS || t->options->log == NULL) return;
    char line[200];
    (void)snprintf(line, sizeof line,
                   "only %zu optimiser steps (%zu photos, %zu epochs): the model will be weak; %zu epochs make %zu",
                   steps, t->set.count, t->options->epochs, (2 * FEW_STEPS + steps_an_epoch - 1) / steps_an_epoch,
                   2 * FEW_STEPS);
    t->options->log(t->options->ctx, line);
}

static cz_status run_epochs(trainer *t, double *last_loss)
{
    const size_t images = t->set.count, batch = t->options->batch;
    const size_t steps = (images + batch - 1) / batch, total = steps * t->options->epochs;
    warn_of_few_steps(t, steps);
    char detail[40] = "";
    size_t step = 0;
    for (size_t epoch = 0; epoch < t->options->epochs; epoch++) {
        for (size_t i = 0; i < images; i++) t->order[i] = i;
        cz_rng rng;
        cz_rng_init(&rng, t->options->seed, CZ_RNG_SHUFFLE, epoch, 0);
        cz_rng_shuffle(&rng, t->order, images);
        double sum = 0.0;
        for (size_t first = 0; first < images; first += batch) {
            cz_status status = report(t, "training", step, total, detail);
            if (status != CZ_OK) return status;
            double loss = 0.0;
            const size_t count = images - first < batch ? images - first : batch;
            status = train_step(t, epoch, step, first, count, &loss);
            if (status != CZ_OK) return status;
            sum += loss;
            step++;
        }
        *last_loss = sum / (double)steps;
        (void)snprintf(detail, sizeof detail, "loss %.4f", *last_loss);
    }
    return report(t, "training", total, total, detail);
}

/* Running statistics at the final theta over all patches of the training photos. */
static cz_status finalise(trainer *t)
{
    cz_status status;
    cz_model *m = t->model;
    cz_head_pass *pass = NULL;
    CZ_TRY(cz_head_pass_begin(m->head, m->params, &pass));
    for (size_t i = 0; i < t->set.count; i++) {
        CZ_TRY(report(t, "statistics", i, t->set.count, ""));
        const size_t rows = pool_image(t, i, m->feature_scale);
        CZ_TRY(cz_head_pass_add(m->head, pass, t->features, rows));
    }
    CZ_TRY(cz_head_pass_end(m->head, pass, m->params, m->state));
    CZ_TRY(report(t, "statistics", t->set.count, t->set.count, ""));
out:
    if (pass != NULL) cz_head_pass_destroy(m->head, pass);
    return status;
}

/* Photos whose patch scores are looked at for the colour scale: enough for a median and a typical maximum. */
#define SCALE_PHOTOS ((size_t)32)

static int ascending(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

/* Median and maximum of the training photos' patch scores, for pictures only (cz_model_scale), never a threshold. */
static cz_status measure_scores(trainer *t)
{
    cz_status status = CZ_OK;
    cz_model *m = t->model;
    const size_t photos = t->set.count < SCALE_PHOTOS ? t->set.count : SCALE_PHOTOS;
    size_t count = 0;
    float *scores = cz_alloc_array(photos * t->grid, sizeof *scores);
    if (scores == NULL) return CZ_E_MEMORY;
    for (size_t i = 0; i < photos; i++) {
        const size_t rows = pool_image(t, i * t->set.count / photos, m->feature_scale);
        CZ_TRY(cz_head_score(m->head, m->params, m->state, t->features, rows, scores + count));
        count += rows;
    }
    qsort(scores, count, sizeof *scores, ascending);
    m->score_median = (double)scores[count / 2];
    m->score_max = (double)scores[count - 1];
    if (!isfinite(m->score_median) || !isfinite(m->score_max)) {
        status = cz_fail(CZ_E_INTERNAL, "training ended with scores that are not finite; lower the learning rates");
    }
out:
    cz_free(scores);
    return status;
}

static void free_trainer(trainer *t)
{
    cz_feature_set_free(&t->set);
    cz_extractor_destroy(t->extractor);
    cz_pooler_destroy(t->pooler);
    cz_head_work_destroy(t->work);
    cz_adam_free(&t->adam);
    cz_free(t->widened);
    cz_free(t->scratch);
    cz_free(t->rows);
    cz_free(t->order);
    cz_free(t->grads);
    cz_free(t->batch_state);
    cz_free(t->features);
    cz_model_close(t->model); /* last: the workspace knows its head */
}

cz_status cz_train(cz_backbone *backbone, const cz_image_source *images, const cz_train_options *options,
                   cz_model **out)
{
    cz_error_clear();
    cz_status status;
    trainer t;
    memset(&t, 0, sizeof t);
    t.set.file = -1;
    t.options = options;
    t.source = images;
    cz_threads_scope scope = {0};
    double loss = 0.0, times[3];
    if (backbone == NULL || images == NULL || options == NULL || out == NULL || images->load == NULL) {
        return cz_fail(CZ_E_ARG, "cz_train: a NULL argument");
    }
    if (images->struct_size < sizeof *images) return cz_fail(CZ_E_ARG, "cz_image_source: unknown struct_size");
    CZ_TRY(check_options(options));
    CZ_TRY(cz_threads_enter(options->threads, &scope));
    CZ_TRY(cz_model_create(&t.model));
    CZ_TRY(make_model(&t, backbone));
    const cz_extractor_options extract = {options->taps,      &t.model->prep,  options->threads, 1,
                                          options->precision, &options->cache, options->log,     options->ctx};
    CZ_TRY(cz_extractor_create(backbone, &extract, &t.extractor));
    CZ_TRY(make_buffers(&t));
    times[0] = cz_now_ms();
    CZ_TRY(collect(&t, backbone, &extract));
    times[1] = cz_now_ms();
    CZ_TRY(prepare_epochs(&t));
    CZ_TRY(measure_scale(&t));
    CZ_TRY(run_epochs(&t, &loss));
    CZ_TRY(finalise(&t));
    CZ_TRY(measure_scores(&t));
    times[2] = cz_now_ms();
    const cz_train_facts facts = {
        options, &t.set, t.skipped, loss, (times[1] - times[0]) / 1e3, (times[2] - times[1]) / 1e3};
    CZ_TRY(cz_train_describe(t.model, &facts));
    *out = t.model;
    t.model = NULL;
out:
    free_trainer(&t);
    cz_threads_leave(&scope);
    return status;
}
