/* SPDX-License-Identifier: Apache-2.0 */
/* Plain training of any detector: epochs over random patches of all photos (docs/math.md section 3). */
#include "api/trainer.h"

#include "api/checkpoint.h"
#include "util/alloc.h"
#include "util/threads.h"

#include <math.h>
#include <stdio.h>

typedef struct plain {
    cz_trainer *t;
    cz_head_work *work;
    size_t *order; /* [images] */
    double sum;    /* of this epoch's losses */
    double began;
    size_t first_step; /* of this process */
} plain;

/* The photos of the step after the one that takes `count` from `first` on; within the epoch, whose order is known. */
static void read_ahead(const plain *p, size_t first, size_t count)
{
    const cz_feature_set *set = &p->t->patches.set;
    for (size_t i = first + count; i < set->count && i < first + 2 * count; i++)
        cz_feature_set_read_ahead(set, p->order[i]);
}

static cz_status train_step(plain *p, size_t epoch, size_t step, size_t first, size_t count, double *loss,
                            double norms[CZ_HEAD_MAX_GROUPS])
{
    cz_status status;
    cz_trainer *t = p->t;
    cz_model *m = t->model;
    size_t patches = 0, own;
    for (size_t i = 0; i < count; i++) {
        /* which patches depends on (seed, epoch, photo) alone */
        const size_t image = p->order[first + i];
        cz_rng rng;
        cz_rng_init(&rng, t->options->seed, CZ_RNG_PATCHES, (uint64_t)epoch * t->patches.set.count + image, 0);
        patches += cz_trainer_draw(t, image, &rng, patches, &own);
    }
    read_ahead(p, first, count);
    cz_batch batch = {0};
    batch.patches = patches;
    batch.width = t->patches.width;
    batch.features = t->features;
    batch.images = 1;
    batch.target = t->target;
    const cz_head_noise noise = {t->options->seed, step, 0, NULL};
    status = cz_head_forward(m->head, m->params, &batch, &noise, p->work);
    if (status == CZ_E_ARG) status = cz_fail(CZ_E_DIVERGED, "the detector's loss is not finite");
    if (status != CZ_OK) return status;
    CZ_TRY(cz_head_loss(m->head, &batch, p->work, loss));
    cz_head_batch_state(m->head, p->work, t->batch_state);
    CZ_TRY(cz_head_backward(m->head, m->params, &batch, NULL, p->work, t->grads));
    CZ_TRY(cz_trainer_update(t, norms));
    cz_head_state_update(m->head, m->state, t->batch_state);
out:
    return status;
}

/* Tells the caller about a step; what plain training has not is NaN. */
static cz_status tell(plain *p, size_t epoch, size_t step, size_t images, double loss, const double *norms)
{
    const cz_train_options *o = p->t->options;
    if (o->step == NULL) return CZ_OK;
    const double seconds = (cz_now_ms() - p->began) / 1e3, done = (double)(step + 1 - p->first_step);
    const double none = (double)NAN;
    const cz_train_step report = {
        .struct_size = sizeof report,
        .epoch = epoch,
        .step = step,
        .steps = p->t->steps,
        .loss = loss,
        .loss_ad = loss,
        .loss_weighted = loss,
        .loss_contrast = none,
        .loss_decay = none,
        .support_ad = none,
        .mean_weight = none,
        .share_below_one = none,
        .det_sigma = none,
        .lambda_ratio = none,
        .inner_shift = none,
        .support_drop = none,
        .meta_cosine = none,
        .gradient_adaptor = norms[0],
        .gradient_discriminator = p->t->model->head->groups > 1 ? norms[1] : none,
        .images_per_second = done * (double)images / seconds,
        .seconds = seconds,
        .seconds_left = seconds / done * (double)(p->t->steps - step - 1),
    };
    return o->step(o->ctx, &report) == 0 ? CZ_OK : cz_fail(CZ_E_CANCELLED, "cancelled");
}

static cz_checkpoint describe_checkpoint(plain *p, uint64_t step)
{
    cz_trainer *t = p->t;
    cz_checkpoint c = {.head = t->model->head,
                       .params = t->model->params,
                       .state = t->model->state,
                       .adam = &t->adam,
                       .step = step,
                       .key = t->key};
    c.sums[0] = p->sum;
    c.sums[1] = t->loss;
    return c;
}

static cz_status keep(plain *p, size_t step, cz_status status)
{
    const cz_checkpoint c = describe_checkpoint(p, step);
    return cz_trainer_keep(p->t, &c, status);
}

static void save_now_and_then(plain *p, size_t step)
{
    const cz_checkpoint c = describe_checkpoint(p, step);
    cz_trainer_save_every(p->t, &c);
}

static cz_status run_epoch(plain *p, size_t epoch, size_t from, size_t steps)
{
    cz_trainer *t = p->t;
    const size_t images = t->patches.set.count, batch = t->options->batch;
    char detail[40] = "";
    cz_rng rng;
    for (size_t i = 0; i < images; i++) p->order[i] = i;
    cz_rng_init(&rng, t->options->seed, CZ_RNG_SHUFFLE, epoch, 0);
    cz_rng_shuffle(&rng, p->order, images);
    if (from == 0) p->sum = 0.0;
    if (epoch > 0) (void)snprintf(detail, sizeof detail, "loss %.4f", t->loss);
    for (size_t i = from; i < steps; i++) {
        const size_t first = i * batch, count = images - first < batch ? images - first : batch;
        const size_t step = epoch * steps + i;
        double loss = 0.0, norms[CZ_HEAD_MAX_GROUPS] = {0};
        cz_status status = cz_patch_set_report(&t->patches, "training", step, t->steps, detail);
        if (status == CZ_OK) status = train_step(p, epoch, step, first, count, &loss, norms);
        if (status != CZ_OK) return keep(p, step, status);
        p->sum += loss;
        if (i + 1 == steps) t->loss = p->sum / (double)steps;
        status = tell(p, epoch, step, count, loss, norms);
        if (status == CZ_OK) save_now_and_then(p, step + 1);
        if (status != CZ_OK) return keep(p, step + 1, status);
    }
    return CZ_OK;
}

cz_status cz_train_plain(cz_trainer *t)
{
    cz_status status;
    const size_t images = t->patches.set.count;
    const size_t steps = (images + t->options->batch - 1) / t->options->batch;
    const size_t rows = (t->options->batch < images ? t->options->batch : images) * cz_trainer_patches(t);
    plain p = {.t = t, .began = cz_now_ms()};
    t->steps = steps * t->options->epochs;
    cz_trainer_warn_of_few_steps(t, steps);
    CZ_TRY(cz_trainer_reserve(t, rows));
    CZ_TRY(cz_head_work_create(t->model->head, rows, &p.work));
    p.order = cz_alloc_array(images, sizeof *p.order);
    if (p.order == NULL) CZ_TRY(CZ_E_MEMORY);
    cz_checkpoint c = describe_checkpoint(&p, 0);
    CZ_TRY(cz_trainer_resume(t, &c));
    p.sum = c.sums[0];
    t->loss = c.sums[1];
    p.first_step = c.step;
    for (size_t step = c.step; step < t->steps; step += steps - step % steps) {
        CZ_TRY(run_epoch(&p, step / steps, step % steps, steps));
    }
    char detail[40];
    (void)snprintf(detail, sizeof detail, "loss %.4f", t->loss);
    CZ_TRY(cz_patch_set_report(&t->patches, "training", t->steps, t->steps, detail));
out:
    cz_head_work_destroy(p.work);
    cz_free(p.order);
    return status;
}
