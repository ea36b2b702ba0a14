/* SPDX-License-Identifier: Apache-2.0 */
/* Methods "cozad" and "comet": soft confident learning, contrastive learning (cozad alone) and meta-learning around any detector
 * (docs/math.md sections 4 to 7). */
#include "api/cozad_settings.h"
#include "api/trainer.h"
#include "meta/meta.h"
#include "meta/tasks.h"
#include "util/alloc.h"
#include "util/threads.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* The support loss after the inner loop costs a forward pass of its own; every so many meta-steps is enough to watch it. */
#define DROP_EVERY 10
/* Image scores kept a category, in epochs (docs/math.md section 4). */
#define IMAGE_EPOCHS 4

/* One task's images and the arrays its sets point to. */
typedef struct task_images {
    size_t *images;     /* [batch] drawn photos */
    size_t *first;      /* [entries + 1] rows of each photo and companion, from the task's own first row */
    size_t *query;      /* [entries + 1] those of the query's, from the query's first row */
    uint32_t *category; /* [entries] */
} task_images;

typedef struct cozad {
    cz_trainer *t;
    const cz_cozad_options *o;
    cz_objective objective;
    cz_meta_options meta_options;
    cz_meta *meta;
    cz_task_pool pool;
    cz_uncertainty uncertainty;
    cz_score_window **windows; /* [categories] */
    size_t categories, batch, tasks;
    cz_meta_task *task;  /* [tasks] */
    task_images *images; /* [tasks] */
    size_t *ahead;       /* [batch] photos of a task to come */
    size_t entries;      /* photos of a task, and as many companions where there are negatives */
    size_t steps;        /* an epoch */
    double sum;          /* of this epoch's losses */
    size_t seen;         /* images in this process's steps */
    double began;
    size_t first_step;
} cozad;

/* ---- making ------------------------------------------------------------------------------------------------------ */

static cz_status make_pool(cozad *c)
{
    cz_status status = CZ_OK;
    const cz_image_source *source = c->t->source;
    const cz_feature_set *set = &c->t->patches.set;
    const bool named = source->categories > 0 && source->category != NULL;
    c->categories = named ? source->categories : 1;
    uint32_t *category = cz_calloc(set->count, sizeof *category);
    if (category == NULL) return CZ_E_MEMORY;
    for (size_t i = 0; named && i < set->count; i++) {
        const size_t value = source->category(source->ctx, set->items[i].source);
        if (value >= c->categories) CZ_TRY(cz_fail(CZ_E_ARG, "image %zu: there is no category %zu", i, value));
        category[i] = (uint32_t)value;
    }
    CZ_TRY(cz_task_pool_create(category, set->count, c->categories, c->o->balance != 0, &c->pool));
    c->pool.query_share = c->o->query_share;
out:
    cz_free(category);
    return status;
}

static cz_status make_windows(cozad *c)
{
    c->windows = cz_calloc(c->categories, sizeof *c->windows);
    if (c->windows == NULL) return CZ_E_MEMORY;
    for (size_t i = 0; i < c->categories; i++) {
        const size_t images = c->pool.first[i + 1] - c->pool.first[i];
        const size_t capacity =
            c->objective.image_unit ? IMAGE_EPOCHS * (images > 0 ? images : 1) : c->o->weight_window;
        const cz_status status = cz_score_window_create(capacity, &c->windows[i]);
        if (status != CZ_OK) return status;
    }
    return CZ_OK;
}

static cz_status make_tasks(cozad *c)
{
    c->task = cz_calloc(c->tasks, sizeof *c->task);
    c->images = cz_calloc(c->tasks, sizeof *c->images);
    c->ahead = cz_alloc_array(c->batch, sizeof *c->ahead);
    if (c->task == NULL || c->images == NULL || c->ahead == NULL) return CZ_E_MEMORY;
    for (size_t i = 0; i < c->tasks; i++) {
        task_images *t = &c->images[i];
        t->images = cz_alloc_array(c->batch, sizeof *t->images);
        t->first = cz_alloc_array(c->entries + 1, sizeof *t->first);
        t->query = cz_alloc_array(c->entries + 1, sizeof *t->query);
        t->category = cz_alloc_array(c->entries, sizeof *t->category);
        if (!t->images || !t->first || !t->query || !t->category) return CZ_E_MEMORY;
    }
    return CZ_OK;
}

static cz_status prepare(cozad *c)
{
    cz_status status;
    const cz_train_options *o = c->t->options;
    const size_t images = c->t->patches.set.count, per_image = cz_trainer_patches(c->t);
    cz_uncertainty_options uncertainty;
    CZ_TRY(cz_cozad_objective(c->o, o->noise_std, o->top_k, &c->objective));
    CZ_TRY(cz_cozad_meta(c->o, &c->meta_options));
    CZ_TRY(cz_cozad_uncertainty(c->o, &uncertainty));
    CZ_TRY(cz_uncertainty_init(&c->uncertainty, &uncertainty));
    if (images < 2) CZ_TRY(cz_fail(CZ_E_NO_IMAGES, "method \"%s\" needs two photos at least", o->method));
    c->batch = o->batch < images ? o->batch : images;
    if (c->batch < 2) c->batch = 2;
    c->entries = c->t->negatives != NULL ? 2 * c->batch : c->batch;
    c->tasks = c->o->meta ? c->o->tasks : 1;
    c->steps = (images + c->batch * c->tasks - 1) / (c->batch * c->tasks);
    c->t->steps = c->steps * o->epochs;
    CZ_TRY(make_pool(c));
    CZ_TRY(make_windows(c));
    CZ_TRY(make_tasks(c));
    CZ_TRY(cz_trainer_reserve(c->t, c->tasks * c->batch * per_image));
    CZ_TRY(cz_meta_create(c->t->model->head, &c->objective, &c->meta_options, c->tasks, c->batch * per_image,
                          c->entries, &c->meta));
out:
    return status;
}

static void release(cozad *c)
{
    for (size_t i = 0; c->windows != NULL && i < c->categories; i++) cz_score_window_destroy(c->windows[i]);
    for (size_t i = 0; c->images != NULL && i < c->tasks; i++) {
        cz_free(c->images[i].images);
        cz_free(c->images[i].first);
        cz_free(c->images[i].query);
        cz_free(c->images[i].category);
    }
    cz_free(c->windows);
    cz_free(c->images);
    cz_free(c->ahead);
    cz_free(c->task);
    cz_task_pool_free(&c->pool);
    cz_meta_destroy(c->meta);
}

/* ---- a meta-step --------------------------------------------------------------------------------------------------- */

/* Entries from..to of a task whose rows begin with row `at` of the trainer's; first: their rows, from the set's own first. */
static cz_task_set make_set(const cozad *c, size_t at, size_t rows, const size_t *first, const uint32_t *category,
                            size_t images)
{
    const cz_trainer *t = c->t;
    cz_task_set set = {.category = category};
    set.batch.patches = rows;
    set.batch.width = t->patches.width;
    set.batch.features = t->features + at * t->patches.width;
    set.batch.target = t->target != NULL ? t->target + at : NULL;
    set.batch.images = images;
    set.batch.image_first = first;
    return set;
}

/* The patches of one photo, and behind them those of its companion as an image of its own; entry: where they go. Returns the entry
 * after them. */
static size_t draw_photo(cozad *c, size_t step, size_t index, size_t image, size_t at, size_t entry)
{
    task_images *a = &c->images[index];
    size_t own;
    cz_rng rng; /* which patches depends on (seed, meta-step, task, photo) alone */
    cz_rng_init(&rng, c->t->options->seed, CZ_RNG_PATCHES, (uint64_t)step * c->t->patches.set.count + image,
                (uint32_t)index + 1);
    const size_t rows = cz_trainer_draw(c->t, image, &rng, at + a->first[entry], &own);
    a->category[entry] = c->pool.category[image];
    a->first[entry + 1] = a->first[entry] + own;
    if (rows == own) return entry + 1;
    a->category[entry + 1] = c->pool.category[image];
    a->first[entry + 2] = a->first[entry] + rows;
    return entry + 2;
}

/* Draws a task's photos and their patches, from row `at` on. Returns the number of rows. */
static cz_status draw_task(cozad *c, size_t step, size_t index, size_t at, size_t *rows)
{
    task_images *a = &c->images[index];
    size_t count, support, entries = 0, split = 0;
    const cz_status status =
        cz_task_draw(&c->pool, c->t->options->seed, step, (uint32_t)index, c->batch, a->images, &count, &support);
    if (status != CZ_OK) return status;
    a->first[0] = 0;
    for (size_t i = 0; i < count; i++) {
        if (i == support) split = entries;
        entries = draw_photo(c, step, index, a->images[i], at, entries);
    }
    const size_t query = a->first[split];
    for (size_t i = split; i <= entries; i++) a->query[i - split] = a->first[i] - query;
    *rows = a->first[entries];
    c->task[index] = (cz_meta_task){
        .support = make_set(c, at, query, a->first, a->category, split),
        .query = make_set(c, at + query, *rows - query, a->query, a->category + split, entries - split),
        .all = make_set(c, at, *rows, a->first, a->category, entries),
        .index = (uint32_t)index,
    };
    c->seen += count;
    return CZ_OK;
}

/* Photos of the next meta-step: the same draw as it will make. */
static void read_ahead(cozad *c, size_t step)
{
    const uint64_t seed = c->t->options->seed;
    if (step >= c->t->steps) return;
    for (size_t i = 0; i < c->tasks; i++) {
        size_t count, support;
        if (cz_task_draw(&c->pool, seed, step, (uint32_t)i, c->batch, c->ahead, &count, &support) != CZ_OK) return;
        for (size_t j = 0; j < count; j++) cz_feature_set_read_ahead(&c->t->patches.set, c->ahead[j]);
    }
}

static cz_status meta_step(cozad *c, size_t step, cz_meta_report *report, double *norms)
{
    cz_status status;
    cz_trainer *t = c->t;
    cz_model *m = t->model;
    size_t at = 0;
    for (size_t i = 0; i < c->tasks; i++) {
        size_t rows = 0;
        CZ_TRY(draw_task(c, step, i, at, &rows));
        at += rows;
    }
    read_ahead(c, step + 1);
    const cz_meta_call call = {m->params,       c->task,          c->tasks, c->windows,
                               &c->uncertainty, t->options->seed, step,     step % DROP_EVERY == 0};
    CZ_TRY(cz_meta_step(c->meta, &call, t->grads, t->batch_state, report));
    CZ_TRY(cz_trainer_update(t, norms));
    cz_head_state_update(m->head, m->state, t->batch_state);
out:
    return status;
}

static cz_status tell(cozad *c, size_t step, const cz_meta_report *r, const double *norms)
{
    const cz_train_options *o = c->t->options;
    if (o->step == NULL) return CZ_OK;
    const double seconds = (cz_now_ms() - c->began) / 1e3, done = (double)(step + 1 - c->first_step);
    const cz_train_step report = {
        .struct_size = sizeof report,
        .epoch = step / c->steps,
        .step = step,
        .steps = c->t->steps,
        .loss = r->query.total,
        .loss_ad = r->query.ad,
        .loss_weighted = r->query.weighted,
        .loss_contrast = c->objective.contrast ? r->query.contrast : (double)NAN,
        .loss_decay = r->query.decay,
        .support_ad = r->support.ad,
        .mean_weight = 0.5 * (r->support.mean_weight + r->query.mean_weight),
        .share_below_one = 0.5 * (r->support.share_below_one + r->query.share_below_one),
        .det_sigma = r->det,
        .lambda_ratio = c->o->lambda0 > 0.0 ? r->lambda / c->o->lambda0 : (double)NAN,
        .inner_shift = r->shift,
        .support_drop = r->support_drop,
        .meta_cosine = r->cosine,
        .gradient_adaptor = norms[0],
        .gradient_discriminator = c->t->model->head->groups > 1 ? norms[1] : (double)NAN,
        .images_per_second = (double)c->seen / seconds,
        .seconds = seconds,
        .seconds_left = seconds / done * (double)(c->t->steps - step - 1),
    };
    return o->step(o->ctx, &report) == 0 ? CZ_OK : cz_fail(CZ_E_CANCELLED, "cancelled");
}

/* ---- the whole ----------------------------------------------------------------------------------------------------- */

static cz_checkpoint describe_checkpoint(cozad *c, uint64_t step)
{
    cz_trainer *t = c->t;
    cz_checkpoint k = {.head = t->model->head,
                       .params = t->model->params,
                       .state = t->model->state,
                       .adam = &t->adam,
                       .uncertainty = &c->uncertainty,
                       .windows = c->windows,
                       .window_count = c->categories,
                       .step = step,
                       .key = t->key};
    k.sums[0] = c->sum;
    k.sums[1] = t->loss;
    return k;
}

static cz_status keep(cozad *c, size_t step, cz_status status)
{
    const cz_checkpoint k = describe_checkpoint(c, step);
    return cz_trainer_keep(c->t, &k, status);
}

static cz_status one_step(cozad *c, size_t step, char *detail, size_t room)
{
    cz_trainer *t = c->t;
    cz_meta_report report;
    double norms[CZ_HEAD_MAX_GROUPS] = {0};
    if (step % c->steps == 0) c->sum = 0.0;
    cz_status status = cz_patch_set_report(&t->patches, "training", step, t->steps, detail);
    if (status == CZ_OK) status = meta_step(c, step, &report, norms);
    if (status != CZ_OK) return keep(c, step, status);
    c->sum += report.query.total;
    if ((step + 1) % c->steps == 0) t->loss = c->sum / (double)c->steps;
    (void)snprintf(detail, room, "loss %.4f, w %.3f, lambda/lambda0 %.3g", report.query.total, report.query.mean_weight,
                   c->o->lambda0 > 0.0 ? report.lambda / c->o->lambda0 : 0.0);
    status = tell(c, step, &report, norms);
    if (status != CZ_OK) return keep(c, step + 1, status);
    const cz_checkpoint k = describe_checkpoint(c, step + 1);
    cz_trainer_save_every(t, &k);
    return CZ_OK;
}

cz_status cz_train_cozad(cz_trainer *t)
{
    cz_status status;
    cozad c = {.t = t, .o = &t->options->cozad};
    char detail[96] = "";
    CZ_TRY(prepare(&c));
    cz_trainer_warn_of_few_steps(t, c.steps);
    cz_checkpoint k = describe_checkpoint(&c, 0);
    CZ_TRY(cz_trainer_resume(t, &k));
    c.sum = k.sums[0];
    t->loss = k.sums[1];
    c.first_step = (size_t)k.step;
    c.began = cz_now_ms();
    for (size_t step = c.first_step; step < t->steps; step++) CZ_TRY(one_step(&c, step, detail, sizeof detail));
    CZ_TRY(cz_patch_set_report(&t->patches, "training", t->steps, t->steps, detail));
out:
    release(&c);
    return status;
}
