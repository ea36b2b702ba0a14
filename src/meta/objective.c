/* SPDX-License-Identifier: Apache-2.0 */
#include "meta/objective.h"

#include "util/alloc.h"
#include "util/reduce.h"

#include <math.h>
#include <string.h>

void cz_objective_init(cz_objective *o)
{
    *o = (cz_objective){.weigh = true, .top_k = 1, .warm = 4, .contrast = true, .lambda_cont = 1.0};
    cz_confidence_options_init(&o->confidence);
    cz_contrast_options_init(&o->contrast_options);
}

struct cz_objective_work {
    const cz_head *head;
    size_t patches, images; /* capacities */
    cz_head_work *head_work;
    cz_contrast_work *contrast; /* NULL: no contrastive term */
    float *weights;             /* [P] */
    float *own;                 /* [max(P, images)] one category's scores, or image scores */
    float *own_weights;         /* the same size */
    float *image_score;         /* [images] */
    float *top;                 /* [P] scratch of the image score */
    float *dq;                  /* [P, E] NULL without an embedding */
    float *tangent_q, *tangent_dq;
    bool with_contrast; /* the last gradient call had the term */
};

size_t cz_objective_work_bytes(const cz_head *head, size_t patches, bool second_order)
{
    if (head->ops->work_bytes) return head->ops->work_bytes(head, patches, second_order);
    /* An estimate that errs upward: rows of [q; q-], h and their gradients, plus the contrastive twin. */
    const size_t wide = head->config.width + head->config.hidden;
    return patches * wide * sizeof(float) * (second_order ? 7 : 4);
}

cz_status cz_objective_work_create(const cz_head *head, const cz_objective *objective, size_t patches, size_t images,
                                   bool second_order, cz_objective_work **out)
{
    cz_status status;
    const size_t embed = head->embed_width, own = patches > images ? patches : images;
    if (objective->contrast && embed == 0)
        return cz_fail(CZ_E_UNSUPPORTED, "detector '%s' has no embedding for a contrastive term", head->ops->name);
    cz_objective_work *w = cz_calloc(1, sizeof *w);
    if (w == NULL) return CZ_E_MEMORY;
    w->head = head;
    w->patches = patches;
    w->images = images;
    CZ_TRY(cz_head_work_create(head, patches, &w->head_work));
    if (second_order) CZ_TRY(cz_head_work_second_order(w->head_work));
    if (objective->contrast)
        CZ_TRY(cz_contrast_work_create(&objective->contrast_options, patches, embed, &w->contrast));
    w->weights = cz_alloc_array(patches, sizeof *w->weights);
    w->own = cz_alloc_array(own, sizeof *w->own);
    w->own_weights = cz_alloc_array(own, sizeof *w->own_weights);
    w->image_score = cz_alloc_array(images, sizeof *w->image_score);
    w->top = cz_alloc_array(patches, sizeof *w->top);
    bool ok = w->weights && w->own && w->own_weights && w->image_score && w->top;
    if (w->contrast != NULL) ok = ok && (w->dq = cz_alloc_array(patches * embed, sizeof *w->dq)) != NULL;
    if (second_order && embed > 0)
        ok = ok && (w->tangent_q = cz_alloc_array(patches * embed, sizeof *w->tangent_q)) != NULL;
    if (second_order && w->contrast != NULL)
        ok = ok && (w->tangent_dq = cz_alloc_array(patches * embed, sizeof *w->tangent_dq)) != NULL;
    if (!ok) CZ_TRY(CZ_E_MEMORY);
    *out = w;
    return CZ_OK;
out:
    cz_objective_work_destroy(w);
    return status;
}

void cz_objective_work_destroy(cz_objective_work *w)
{
    if (w == NULL) return;
    cz_head_work_destroy(w->head_work);
    cz_contrast_work_destroy(w->contrast);
    float *const floats[] = {w->weights, w->own, w->own_weights, w->image_score,
                             w->top,     w->dq,  w->tangent_q,   w->tangent_dq};
    for (size_t i = 0; i < sizeof floats / sizeof floats[0]; i++) cz_free(floats[i]);
    cz_free(w);
}

const cz_head_work *cz_objective_head_work(const cz_objective_work *work)
{
    return work->head_work;
}

const float *cz_objective_weights(const cz_objective_work *work)
{
    return work->weights;
}

/* ---- weights ---------------------------------------------------------------------------------------------------- */

static size_t first_row(const cz_task_set *set, size_t image)
{
    if (set->batch.image_first != NULL) return set->batch.image_first[image];
    return image == 0 ? 0 : set->batch.patches;
}

static uint32_t category_of(const cz_task_set *set, size_t image)
{
    return set->category != NULL ? set->category[image] : 0;
}

bool cz_task_set_is_known(const cz_task_set *set, size_t image)
{
    const uint8_t *target = set->batch.target;
    if (target == NULL) return false;
    for (size_t i = first_row(set, image); i < first_row(set, image + 1); i++)
        if (target[i] == CZ_TARGET_ANOMALOUS) return true;
    return false;
}

/* Mean of the k largest; the image's score as in inference. */
static float image_score(const float *scores, size_t count, size_t k, float *scratch)
{
    double sum = 0.0;
    if (k > count) k = count;
    memcpy(scratch, scores, count * sizeof *scratch);
    for (size_t taken = 0; taken < k; taken++) {
        size_t best = taken;
        for (size_t i = taken + 1; i < count; i++) {
            if (scratch[i] > scratch[best]) best = i;
        }
        const float value = scratch[best];
        scratch[best] = scratch[taken];
        scratch[taken] = value;
        sum += (double)value;
    }
    return (float)(sum / (double)k);
}

void cz_objective_image_scores(const cz_objective *objective, const cz_task_set *set, const float *scores,
                               float *scratch, float *out)
{
    for (size_t i = 0; i < set->batch.images; i++) {
        const size_t first = first_row(set, i), count = first_row(set, i + 1) - first;
        out[i] = image_score(scores + first, count, objective->top_k, scratch);
    }
}

/* Own scores of one category: patches, or image scores. Returns how many; *images: of how many images. */
static size_t gather(const cz_objective *o, const cz_task_set *set, const cz_objective_work *w, uint32_t category,
                     size_t *images)
{
    const float *scores = w->head_work->score;
    size_t count = 0;
    *images = 0;
    for (size_t i = 0; i < set->batch.images; i++) {
        if (category_of(set, i) != category || cz_task_set_is_known(set, i)) continue;
        ++*images;
        if (o->image_unit) {
            w->own[count++] = w->image_score[i];
            continue;
        }
        const size_t first = first_row(set, i), rows = first_row(set, i + 1) - first;
        memcpy(w->own + count, scores + first, rows * sizeof *scores);
        count += rows;
    }
    return count;
}

/* Writes own_weights back to the rows they belong to, in gather's order. */
static void scatter(const cz_objective *o, const cz_task_set *set, cz_objective_work *w, uint32_t category)
{
    size_t at = 0;
    for (size_t i = 0; i < set->batch.images; i++) {
        if (category_of(set, i) != category || cz_task_set_is_known(set, i)) continue;
        const size_t first = first_row(set, i), rows = first_row(set, i + 1) - first;
        for (size_t r = 0; r < rows; r++) w->weights[first + r] = w->own_weights[o->image_unit ? at : at + r];
        at += o->image_unit ? 1 : rows;
    }
}

/* Eq. 5 and 6 for every category of the set: its window as it was at the start of the meta-step, and its own scores. */
static cz_status weigh(const cz_objective *o, const cz_objective_call *call, cz_objective_work *w)
{
    const cz_task_set *set = call->set;
    for (size_t i = 0; i < set->batch.patches; i++) w->weights[i] = 1;
    if (!o->weigh || call->windows == NULL) return CZ_OK;
    if (o->image_unit) cz_objective_image_scores(o, set, w->head_work->score, w->top, w->image_score);
    for (size_t i = 0; i < set->batch.images; i++) {
        const uint32_t category = category_of(set, i);
        bool seen = false;
        for (size_t j = 0; j < i && !seen; j++) seen = category_of(set, j) == category;
        if (seen) continue;
        const cz_score_window *window = call->windows[category];
        size_t images;
        cz_spread spread;
        const size_t count = gather(o, set, w, category, &images);
        if (count == 0 || images + cz_score_window_images(window) < o->warm) continue;
        cz_status status = cz_score_window_spread(window, w->own, count, &spread);
        if (status == CZ_OK) status = cz_confidence_weights(&o->confidence, &spread, w->own, count, w->own_weights);
        if (status != CZ_OK) return status;
        scatter(o, set, w, category);
    }
    return CZ_OK;
}

/* ---- terms ------------------------------------------------------------------------------------------------------ */

static double squares(const cz_objective *o, const cz_head *head, const float *params)
{
    double total = 0.0;
    for (size_t v = 0; v < head->param_views; v++) {
        const cz_head_view *view = &head->param[v];
        if (!view->decay && (!o->decay_all || view->fixed)) continue;
        total += cz_dot(params + view->first, params + view->first, view->count);
    }
    return total;
}

/* out += factor * values over the decayed parameters: the gradient of lambda ||theta||^2 and its Hessian, both 2 lambda. */
static void add_decayed(const cz_objective *o, const cz_head *head, double factor, const float *values, float *out)
{
    const float f = (float)factor;
    for (size_t v = 0; v < head->param_views; v++) {
        const cz_head_view *view = &head->param[v];
        if (!view->decay && (!o->decay_all || view->fixed)) continue;
#pragma omp parallel for schedule(static)
        for (size_t i = view->first; i < view->first + view->count; i++) out[i] += f * values[i];
    }
}

static void multiply(float *values, size_t count, double factor)
{
    const float f = (float)factor;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < count; i++) values[i] *= f;
}

static cz_status check_terms(const cz_terms *t)
{
    const struct {
        const char *name;
        double value;
    } terms[] = {
        {"the detector's loss", t->weighted}, {"the contrastive loss", t->contrast}, {"||theta||^2", t->decay}};
    for (size_t i = 0; i < sizeof terms / sizeof terms[0]; i++) {
        if (!isfinite(terms[i].value)) return cz_fail(CZ_E_DIVERGED, "%s is not finite", terms[i].name);
    }
    return CZ_OK;
}

static void mean_weights(const cz_objective_work *w, size_t patches, cz_terms *t)
{
    double sum = 0.0;
    size_t below = 0;
    for (size_t i = 0; i < patches; i++) {
        sum += (double)w->weights[i];
        below += w->weights[i] < 1;
    }
    t->mean_weight = sum / (double)patches;
    t->share_below_one = (double)below / (double)patches;
}

/* The head's forward pass, weights from its scores, and the terms that need no backward pass. */
static cz_status run_forward(const cz_objective *o, const cz_objective_call *call, cz_batch *batch,
                             cz_objective_work *w, cz_terms *t)
{
    cz_status status;
    const cz_head *head = w->head;
    *t = (cz_terms){0};
    status = cz_head_forward(head, call->params, batch, &call->noise.head, w->head_work);
    if (status == CZ_E_ARG) status = cz_fail(CZ_E_DIVERGED, "the detector's loss is not finite");
    if (status != CZ_OK) return status;
    CZ_TRY(weigh(o, call, w));
    mean_weights(w, batch->patches, t);
    for (size_t i = 0; i < batch->patches; i++) t->ad += (double)w->head_work->loss[i];
    t->ad /= (double)batch->patches;
    batch->weight = w->weights;
    CZ_TRY(cz_head_loss(head, batch, w->head_work, &t->weighted));
    if (o->sum) t->weighted *= (double)batch->patches;
    t->decay = call->lambda * squares(o, head, call->params);
out:
    return status;
}

cz_status cz_objective_gradient(const cz_objective *o, const cz_objective_call *call, cz_objective_work *w,
                                float *grads, cz_terms *t)
{
    cz_status status;
    const cz_head *head = w->head;
    cz_batch batch = call->set->batch;
    const size_t patches = batch.patches;
    if (patches > w->patches || batch.images > w->images) return cz_fail(CZ_E_ARG, "a task of %zu patches", patches);
    const double reduction = o->sum ? (double)patches : 1.0;
    w->with_contrast = o->contrast && call->contrast && w->contrast != NULL;
    CZ_TRY(run_forward(o, call, &batch, w, t));
    if (w->with_contrast) {
        /* The head's backward pass adds dL/dq to the gradient of a mean; a sum is made of both together afterwards. */
        CZ_TRY(cz_contrast_gradient(w->contrast, w->head_work->q, patches, &call->noise.contrast,
                                    o->lambda_cont / reduction, &t->contrast, grads != NULL ? w->dq : NULL));
    }
    t->total = t->weighted + t->decay + (w->with_contrast ? o->lambda_cont * t->contrast : 0.0);
    CZ_TRY(check_terms(t));
    if (grads == NULL) return CZ_OK;
    CZ_TRY(cz_head_backward(head, call->params, &batch, w->with_contrast ? w->dq : NULL, w->head_work, grads));
    if (o->sum) multiply(grads, head->param_count, reduction);
    add_decayed(o, head, 2.0 * call->lambda, call->params, grads);
out:
    return status;
}

cz_status cz_objective_hessian(const cz_objective *o, const cz_objective_call *call, cz_objective_work *w,
                               const float *direction, float *out)
{
    cz_status status;
    const cz_head *head = w->head;
    cz_batch batch = call->set->batch;
    const double reduction = o->sum ? (double)batch.patches : 1.0;
    const bool contrast = w->with_contrast;
    batch.weight = w->weights;
    CZ_TRY(cz_head_tangent(head, call->params, &batch, direction, w->head_work, w->tangent_q));
    if (contrast) {
        CZ_TRY(cz_contrast_hessian(w->contrast, w->head_work->q, batch.patches, w->tangent_q,
                                   o->lambda_cont / reduction, w->tangent_dq));
    }
    CZ_TRY(cz_head_hessian(head, call->params, &batch, direction, contrast ? w->dq : NULL,
                           contrast ? w->tangent_dq : NULL, w->head_work, out));
    if (o->sum) multiply(out, head->param_count, reduction);
    add_decayed(o, head, 2.0 * call->lambda, direction, out);
out:
    return status;
}
