/* SPDX-License-Identifier: Apache-2.0 */
/* cz_train: features once, then a method's epochs over random patches of them (docs/math.md sections 1 to 7). */
#include "api/exclude.h"
#include "api/measure.h"
#include "api/train_describe.h"
#include "api/train_settings.h"
#include "api/trainer.h"
#include "api/training_photos.h"
#include "backbone/quantise.h"
#include "engine/engine.h"
#include "util/alloc.h"
#include "util/reduce.h"
#include "util/sha256.h"
#include "util/threads.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static cz_status make_model(cz_trainer *t, cz_backbone *backbone)
{
    const cz_train_options *o = t->options;
    cz_model *m = t->model;
    m->backbone = cz_backbone_retain(backbone);
    m->top_k = o->top_k;
    m->taps = cz_strdup(o->taps);
    m->detector = cz_strdup(o->detector);
    m->backbone_name = cz_strdup(cz_backbone_name(backbone));
    m->backbone_sha256 = cz_strdup(cz_backbone_sha256(backbone));
    if (m->taps == NULL || m->detector == NULL || m->backbone_name == NULL || m->backbone_sha256 == NULL) {
        return CZ_E_MEMORY;
    }
    return cz_prep_init(o->image_width, o->image_height, o->fit, o->resize, &o->roi, o->ignore_mask, &m->prep);
}

static cz_status make_head(cz_trainer *t)
{
    const cz_train_options *o = t->options;
    cz_status status;
    cz_model *m = t->model;
    cz_head_config config;
    cz_train_head_config(o, cz_precision_products(t->precision), &config);
    if (cz_train_by_bank(o->method)) config.bank = 1; /* until cz_train_knn knows how much goes into it */
    m->feature_width = o->feature_width;
    m->neighbourhood = o->neighbourhood;
    m->image_level = cz_train_is_image_level(o);
    if (cz_train_is_relational(o)) {
        m->feature_width = config.width;
        m->relation = cz_calloc(2 * config.width, sizeof *m->relation);
        if (m->relation == NULL) return CZ_E_MEMORY;
    }
    CZ_TRY(cz_head_create(o->detector, &config, &m->head));
    m->params = cz_alloc_array(m->head->param_count, sizeof *m->params);
    m->state = cz_alloc_array(m->head->state_count, sizeof *m->state);
    if (m->params == NULL || m->state == NULL) return CZ_E_MEMORY;
    cz_head_init(m->head, o->seed, m->params, m->state);
out:
    return status;
}

/* ---- precision ------------------------------------------------------------------------------------------------------ */

static void tell(const cz_trainer *t, const char *line)
{
    if (t->options->log != NULL) t->options->log(t->options->ctx, line);
}

/* Ranges for int8 and the errors of the other precisions. Only training in int8 cannot do without. */
static cz_status measure(cz_trainer *t)
{
    const cz_train_options *o = t->options;
    const cz_measure_options options = {.backbone = t->model->backbone,
                                        .source = t->source,
                                        .photos = o->quantise_images,
                                        .taps = o->taps,
                                        .prep = &t->model->prep,
                                        .width = o->feature_width,
                                        .threads = o->threads,
                                        .progress = o->progress,
                                        .log = o->log,
                                        .ctx = o->ctx};
    const cz_status status = cz_precision_measure(&options, &t->measured);
    if (status == CZ_OK || status == CZ_E_MEMORY || status == CZ_E_CANCELLED || o->precision == CZ_PRECISION_INT8)
        return status;
    char line[1200];
    (void)snprintf(line, sizeof line, "the model gets no ranges for int8: %s", cz_last_error());
    tell(t, line);
    cz_error_clear();
    return CZ_OK;
}

static void tell_choice(const cz_trainer *t)
{
    char line[300];
    size_t used = (size_t)snprintf(line, sizeof line, "precision: auto means %s here", cz_precision_name(t->precision));
    for (size_t i = 1; i < CZ_PRECISIONS; i++) {
        if (isnan(t->measured.error[i])) continue;
        used += (size_t)snprintf(line + used, sizeof line - used, "%s %s %.2f %%",
                                 strchr(line, ';') == NULL ? "; features differ from fp32:" : ",",
                                 cz_precision_name((cz_precision)i), 100.0 * t->measured.error[i]);
    }
    tell(t, line);
}

/* Before features where they depend on what is measured. */
static cz_status choose_precision(cz_trainer *t)
{
    const cz_train_options *o = t->options;
    t->precision = o->precision;
    if (o->precision != CZ_PRECISION_INT8 && o->precision != CZ_PRECISION_AUTO) return CZ_OK;
    if (o->quantise_images > 0) {
        const cz_status status = measure(t);
        if (status != CZ_OK) return status;
    } else if (o->precision == CZ_PRECISION_INT8) {
        t->measured.quant = *cz_backbone_ranges(t->model->backbone); /* there are some: cz_train_options_settle */
    }
    if (o->precision != CZ_PRECISION_AUTO) return CZ_OK;
    t->precision = cz_precision_choose(t->measured.error, cz_engine_native);
    tell_choice(t);
    return CZ_OK;
}

/* After them where they do not. */
static cz_status measure_rest(cz_trainer *t)
{
    return t->measured.photos == 0 && t->options->quantise_images > 0 ? measure(t) : CZ_OK;
}

/* ---- what the methods share ------------------------------------------------------------------------------------- */

/* One constant brings the root mean square of o over the training patches to rho (docs/math.md section 2). */
static cz_status measure_scale(cz_trainer *t)
{
    const cz_train_options *o = t->options;
    double scale = o->feature_scale > 0.0 ? o->feature_scale : cz_backbone_feature_scale(t->model->backbone);
    if (t->model->relation != NULL) {
        scale = o->feature_rms; /* their spread is 1 */
    } else if (scale <= 0.0) {
        const double rms = cz_patch_set_rms(&t->patches, t->features);
        if (!(rms > 0.0) || !isfinite(rms))
            return cz_fail(CZ_E_WEIGHTS, "the backbone's features are all zero or not finite");
        scale = o->feature_rms / rms;
    }
    t->model->feature_scale = t->patches.scale = scale;
    return CZ_OK;
}

cz_patch_options cz_trainer_patch_options(const cz_trainer *t, const cz_image_source *source)
{
    const cz_train_options *o = t->options;
    return (cz_patch_options){.backbone = t->model->backbone,
                              .source = source,
                              .taps = o->taps,
                              .prep = &t->model->prep,
                              .width = o->feature_width,
                              .neighbourhood = o->neighbourhood,
                              .threads = o->threads,
                              .precision = t->precision,
                              .quant = &t->measured.quant,
                              .cache = &o->cache,
                              .progress = o->progress,
                              .log = o->log,
                              .ctx = o->ctx};
}

static cz_status prepare_optimiser(cz_trainer *t)
{
    cz_status status;
    const cz_head *head = t->model->head;
    if (!cz_head_trains(head->ops)) return CZ_OK;
    CZ_TRY(cz_adam_init(head->param_count, &t->adam));
    for (size_t i = 0; i < head->groups; i++) {
        t->groups[i] = (cz_adam_group){head->group[i].first, head->group[i].count, head->group[i].lr,
                                       head->group[i].decay, head->group[i].decoupled};
    }
    t->grads = cz_alloc_array(head->param_count, sizeof *t->grads);
    t->batch_state = cz_alloc_array(head->state_count, sizeof *t->batch_state);
    if (t->grads == NULL || t->batch_state == NULL) status = CZ_E_MEMORY;
out:
    return status;
}

/* Its first part speaks for a group of several. */
static const char *group_name(const cz_head *head, const cz_head_group *group)
{
    if (head->groups == 1) return "the detector";
    for (size_t v = 0; v < head->param_views; v++)
        if (head->param[v].first == group->first) return head->param[v].name;
    return head->ops->name;
}

cz_status cz_trainer_update(cz_trainer *t, double norms[CZ_HEAD_MAX_GROUPS])
{
    const cz_head *head = t->model->head;
    for (size_t g = 0; g < head->groups; g++) {
        const float *values = t->grads + head->group[g].first;
        const double sum = cz_dot(values, values, head->group[g].count);
        norms[g] = sqrt(sum);
        if (!isfinite(sum)) {
            return cz_fail(CZ_E_DIVERGED, "the gradient of %s is not finite", group_name(head, &head->group[g]));
        }
    }
    cz_adam_step(&t->adam, t->groups, head->groups, t->model->params, t->grads);
    /* too late for a checkpoint of this step, but an earlier one stays as it is */
    if (!isfinite(cz_dot(t->model->params, t->model->params, head->param_count)))
        return cz_fail(CZ_E_DIVERGED, "a parameter is not finite");
    return CZ_OK;
}

/* Below this many optimiser steps a detector has hardly left its starting point (docs/results.md). */
#define FEW_STEPS ((size_t)400)

void cz_trainer_warn_of_few_steps(const cz_trainer *t, size_t steps_an_epoch)
{
    const size_t steps = steps_an_epoch * t->options->epochs;
    if (steps >= FEW_STEPS || t->options->log == NULL) return;
    char line[200];
    (void)snprintf(line, sizeof line,
                   "only %zu optimiser steps (%zu photos, %zu epochs): the model will be weak; %zu epochs make %zu",
                   steps, t->patches.set.count, t->options->epochs,
                   (2 * FEW_STEPS + steps_an_epoch - 1) / steps_an_epoch, 2 * FEW_STEPS);
    t->options->log(t->options->ctx, line);
}

/* ---- checkpoints -------------------------------------------------------------------------------------------------- */

/* Over all that a resumed training must have in common with the one that was stopped: the model's own description (options,
 * weights, photos). */
static void make_key(cz_trainer *t, const char *description)
{
    uint8_t digest[32];
    cz_sha256 hash;
    cz_sha256_init(&hash);
    cz_sha256_update(&hash, description, strlen(description));
    if (t->precision == CZ_PRECISION_INT8) {
        char ranges[17];
        cz_quant_hash(&t->measured.quant, ranges);
        cz_sha256_update(&hash, ranges, 16);
    }
    for (size_t i = 0; i < t->patches.set.count; i++) {
        const uint64_t source = t->patches.set.items[i].source;
        cz_sha256_update(&hash, t->patches.set.items[i].sha256, 32);
        cz_sha256_update(&hash, &source, sizeof source);
    }
    if (t->negatives != NULL) cz_negatives_hash(t->negatives, &hash);
    cz_sha256_final(&hash, digest);
    cz_sha256_hex(digest, t->key);
}

cz_status cz_trainer_resume(cz_trainer *t, cz_checkpoint *c)
{
    const cz_train_options *o = t->options;
    if (!o->resume || o->checkpoint == NULL || !cz_checkpoint_exists(o->checkpoint)) return CZ_OK;
    const cz_status status = cz_checkpoint_load(c, o->checkpoint);
    if (status == CZ_OK && c->step > t->steps)
        return cz_fail(CZ_E_MODEL, "%s: says step %llu of %zu", o->checkpoint, (unsigned long long)c->step, t->steps);
    return status;
}

void cz_trainer_save_every(cz_trainer *t, const cz_checkpoint *c)
{
    const cz_train_options *o = t->options;
    if (o->checkpoint == NULL || o->checkpoint_every == 0 || c->step % o->checkpoint_every != 0) return;
    if (cz_checkpoint_save(c, o->checkpoint) == CZ_OK || o->log == NULL) return;
    char line[1200];
    (void)snprintf(line, sizeof line, "checkpoint not written: %s", cz_last_error());
    o->log(o->ctx, line);
}

cz_status cz_trainer_keep(cz_trainer *t, const cz_checkpoint *c, cz_status status)
{
    const char *path = t->options->checkpoint;
    if (path == NULL || (status != CZ_E_CANCELLED && status != CZ_E_DIVERGED)) return status;
    char reason[1024];
    (void)snprintf(reason, sizeof reason, "%s", cz_last_error());
    const cz_status saved = cz_checkpoint_save(c, path);
    if (saved != CZ_OK && cz_checkpoint_exists(path))
        return cz_fail(status, "%s at step %llu of %zu; an earlier state is in %s", reason, (unsigned long long)c->step,
                       t->steps, path);
    if (saved != CZ_OK)
        return cz_fail(status, "%s at step %llu of %zu; there is no checkpoint", reason, (unsigned long long)c->step,
                       t->steps);
    return cz_fail(status, "%s at step %llu of %zu; the state before it is in %s", reason, (unsigned long long)c->step,
                   t->steps, path);
}

/* ---- the whole ------------------------------------------------------------------------------------------------------ */

static void free_trainer(cz_trainer *t)
{
    cz_negatives_destroy(t->negatives);
    cz_patch_set_free(&t->patches);
    cz_free(t->target);
    cz_adam_free(&t->adam);
    cz_free(t->grads);
    cz_free(t->batch_state);
    cz_free(t->features);
    cz_model_close(t->model);
}

static cz_status describe(cz_trainer *t)
{
    const cz_train_facts facts = {t->options, t->source, &t->patches.set, t->precision, t->patches.skipped,
                                  t->loss,    t->steps,  t->candidates,   t->negatives, &t->choice};
    return cz_train_describe(t->model, &facts);
}

/* By the method, with the full pass where its detector wants it. */
static cz_status learn(cz_trainer *t)
{
    cz_status status;
    const char *method = t->options->method;
    const bool first = t->model->head->ops->pass_first;
    if (cz_train_by_bank(method)) return cz_train_knn(t);
    if (first) CZ_TRY(cz_trainer_statistics(t));
    CZ_TRY(cz_train_in_tasks(method) ? cz_train_cozad(t) : cz_train_plain(t));
    if (!first) CZ_TRY(cz_trainer_statistics(t));
out:
    return status;
}

/* A share of photos above which the bulk may no longer be the normal ones. */
#define MANY_APART 0.25

/* How far each photo is trusted now that the model is what it is (docs/inspect.md). */
static cz_status judge_photos(cz_trainer *t)
{
    cz_confidence c;
    cz_status status = cz_confidence_measure(&t->patches, t->model, t->source, t->features, &c);
    if (status != CZ_OK) return status;
    if (c.contamination > MANY_APART) {
        char line[200];
        (void)snprintf(
            line, sizeof line,
            "about %.0f %% of the photos stand apart from the others: with so many the model may have learnt "
            "from defects; look at them (cozad inspect)",
            100.0 * c.contamination);
        tell(t, line);
    }
    status = cz_training_photos_store(t->model, t->options, t->source, &t->patches.set, &c, t->left_out);
    cz_confidence_free(&c);
    return status;
}

static cz_status run(cz_trainer *t, cz_backbone *backbone)
{
    cz_status status;
    CZ_TRY(cz_model_create(&t->model));
    CZ_TRY(make_model(t, backbone));
    CZ_TRY(choose_precision(t));
    CZ_TRY(make_head(t));
    const cz_patch_options patches = cz_trainer_patch_options(t, t->source);
    CZ_TRY(cz_patch_set_create(&patches, &t->patches));
    CZ_TRY(prepare_optimiser(t));
    CZ_TRY(cz_trainer_reserve(t, 0));
    CZ_TRY(cz_train_knn_choose(t));
    if (t->model->relation != NULL) {
        CZ_TRY(cz_patch_set_use_relations(&t->patches, t->model->relation, true));
        CZ_TRY(cz_trainer_reserve(t, 0)); /* they may be wider than pooled features */
    }
    CZ_TRY(measure_scale(t));
    if (t->model->image_level) {
        CZ_TRY(cz_patch_set_use_images(&t->patches));
        CZ_TRY(cz_trainer_reserve(t, 0));
    }
    CZ_TRY(cz_trainer_add_negatives(t));
    CZ_TRY(describe(t)); /* without the figures that training makes */
    make_key(t, t->model->json);
    CZ_TRY(measure_rest(t));
    CZ_TRY(learn(t));
    CZ_TRY(cz_patch_set_score_scale(&t->patches, t->model, t->features));
    CZ_TRY(describe(t));
    CZ_TRY(judge_photos(t));
    CZ_TRY(cz_precision_store(t->model, &t->measured));
    CZ_TRY(cz_model_refresh_json(t->model));
out:
    return status;
}

cz_status cz_train(cz_backbone *backbone, const cz_image_source *images, const cz_train_options *options,
                   cz_model **out)
{
    cz_error_clear();
    cz_status status;
    cz_trainer t;
    memset(&t, 0, sizeof t);
    t.patches.set.file = -1;
    t.options = options;
    t.source = images;
    cz_precision_facts_init(&t.measured);
    cz_threads_scope scope = {0};
    cz_subset rest = {.index = NULL}, drawn = {.index = NULL};
    if (backbone == NULL || images == NULL || options == NULL || out == NULL || images->load == NULL) {
        return cz_fail(CZ_E_ARG, "cz_train: a NULL argument");
    }
    if (images->struct_size < sizeof *images) return cz_fail(CZ_E_ARG, "cz_image_source: unknown struct_size");
    CZ_TRY(cz_train_options_settle(options, backbone, &t.settled));
    t.options = &t.settled;
    if (options->excluded_count > 0) {
        CZ_TRY(cz_exclude(images, options, &rest));
        t.source = &rest.source;
        t.left_out = images->count - rest.source.count;
    }
    if (options->shots > 0) {
        CZ_TRY(cz_subset_draw(t.source, options->shots, options->seed, &drawn));
        t.source = &drawn.source;
    }
    CZ_TRY(cz_threads_enter(options->threads, &scope));
    CZ_TRY(run(&t, backbone));
    *out = t.model;
    t.model = NULL;
out:
    free_trainer(&t);
    cz_subset_free(&rest);
    cz_subset_free(&drawn);
    cz_threads_leave(&scope);
    return status;
}
