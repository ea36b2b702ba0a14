/* SPDX-License-Identifier: Apache-2.0 */
#include "heads/head.h"

#include "heads/heads.h"
#include "tensor/dtype.h"
#include "tensor/tensors.h"
#include "util/alloc.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* The detectors. A test compiles this file once more with an entry of its own (tests/unit/test_example_detector.c). */
static const cz_head_ops *const table[] = {
    &cz_simplenet_ops,
    &cz_flow_ops,
    &cz_knn_ops,
#ifdef CZ_HEADS_MORE
    CZ_HEADS_MORE,
#endif
};

enum { TABLE_SIZE = sizeof table / sizeof table[0] };

/* Bits of cz_head_work.passed. */
enum { PASSED_BACKWARD = 1, PASSED_TANGENT = 2 };

/* One running update moves the state by this much (docs/math.md section 3). */
static const float STATE_MOMENTUM = 0.1f;

const cz_head_ops *cz_head_find(const char *name)
{
    for (size_t i = 0; name && i < TABLE_SIZE; i++)
        if (strcmp(table[i]->name, name) == 0) return table[i];
    return NULL;
}

const cz_head_ops *cz_head_at(size_t index)
{
    return index < TABLE_SIZE ? table[index] : NULL;
}

bool cz_head_trains(const cz_head_ops *ops)
{
    return ops->work_create && ops->forward && ops->loss && ops->backward;
}

void cz_head_config_init(cz_head_config *config)
{
    *config = (cz_head_config){
        .width = 1536,
        .hidden = 1024,
        .noise_std = 0.015,
        .margin_positive = 0.5,
        .margin_negative = -0.5,
        .lr_adaptor = 1e-4,
        .lr_discriminator = 2e-4,
        .noise_twins = true,
        .bank = 10000,
        .flow_blocks = 8,
        .flow_project = 256,
        .flow_clamp = 1.9,
        .lr_flow = 2e-4,
    };
}

static cz_status unknown_detector(const char *name)
{
    char known[256] = "";
    size_t used = 0;
    for (size_t i = 0; i < TABLE_SIZE && used < sizeof known; i++) {
        const int n = snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", table[i]->name);
        if (n > 0) used += (size_t)n;
    }
    return cz_fail(CZ_E_ARG, "unknown detector '%s' (known: %s)", name ? name : "", known);
}

cz_status cz_head_create(const char *name, const cz_head_config *config, cz_head **out)
{
    const cz_head_ops *ops = cz_head_find(name);
    if (!ops) return unknown_detector(name);
    if (config->width < 1 || config->width > CZ_HEAD_MAX_WIDTH)
        return cz_fail(CZ_E_ARG, "feature width %zu is not in 1 … %zu", config->width, CZ_HEAD_MAX_WIDTH);
    cz_head *head = cz_calloc(1, sizeof *head);
    if (!head) return CZ_E_MEMORY;
    head->ops = ops;
    head->config = *config;
    const cz_status status = ops->setup(head);
    if (status != CZ_OK) {
        cz_head_destroy(head);
        return status;
    }
    *out = head;
    return CZ_OK;
}

void cz_head_destroy(cz_head *head)
{
    if (head && head->ops->teardown) head->ops->teardown(head);
    cz_free(head);
}

static const cz_head_view *find_view(const cz_head_view *views, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(views[i].name, name) == 0) return &views[i];
    return NULL;
}

const cz_head_view *cz_head_param(const cz_head *head, const char *name)
{
    return find_view(head->param, head->param_views, name);
}

const cz_head_view *cz_head_state(const cz_head *head, const char *name)
{
    return find_view(head->state, head->state_views, name);
}

void cz_head_add_view(cz_head_view *views, size_t *view_count, size_t *total, const char *name, size_t rows,
                      size_t columns, bool decay)
{
    cz_head_view *view = &views[(*view_count)++];
    *view = (cz_head_view){.rank = columns ? 2 : 1, .shape = {rows, columns}, .first = *total, .decay = decay};
    snprintf(view->name, sizeof view->name, "%s", name);
    view->count = columns ? rows * columns : rows;
    *total += view->count;
}

static cz_status unsupported(const cz_head *head, const char *what)
{
    return cz_fail(CZ_E_UNSUPPORTED, "detector '%s' has no %s", head->ops->name, what);
}

/* ---- training ------------------------------------------------------------------------------------------------- */

void cz_head_init(const cz_head *head, uint64_t seed, float *params, float *state)
{
    head->ops->init(head, seed, params, state);
}

cz_status cz_head_work_create(const cz_head *head, size_t capacity, cz_head_work **out)
{
    if (!head->ops->work_create) return unsupported(head, "training by gradients");
    if (capacity < 1) return cz_fail(CZ_E_ARG, "a batch needs at least one patch");
    return head->ops->work_create(head, capacity, out);
}

void cz_head_work_destroy(cz_head_work *work)
{
    if (work) work->head->ops->work_destroy(work);
}

static cz_status check_batch(const cz_head *head, const cz_batch *batch, const cz_head_work *work)
{
    if (batch->width != head->config.width)
        return cz_fail(CZ_E_ARG, "features are %zu wide, the detector expects %zu", batch->width, head->config.width);
    if (batch->patches < 1 || batch->patches > work->capacity)
        return cz_fail(CZ_E_ARG, "a batch of %zu patches does not fit a workspace of %zu", batch->patches,
                       work->capacity);
    return CZ_OK;
}

static cz_status check_fresh(const cz_batch *batch, const cz_head_work *work)
{
    if (!work->fresh || work->patches != batch->patches)
        return cz_fail(CZ_E_ARG, "no forward pass of these %zu patches precedes", batch->patches);
    return CZ_OK;
}

cz_status cz_head_forward(const cz_head *head, const float *params, const cz_batch *batch, const cz_head_noise *noise,
                          cz_head_work *work)
{
    if (!head->ops->forward) return unsupported(head, "training by gradients");
    cz_status status = check_batch(head, batch, work);
    if (status != CZ_OK) return status;
    work->fresh = false;
    work->passed = 0;
    work->patches = batch->patches;
    status = head->ops->forward(head, params, batch, noise, work);
    if (status != CZ_OK) return status;
    double sum = 0;
    for (size_t i = 0; i < batch->patches; i++) sum += (double)work->score[i] + (double)work->loss[i];
    if (!isfinite(sum)) return cz_fail(CZ_E_ARG, "the training loss is not finite (features or parameters are not)");
    work->fresh = true;
    return CZ_OK;
}

cz_status cz_head_loss(const cz_head *head, const cz_batch *batch, const cz_head_work *work, double *out)
{
    if (!head->ops->loss) return unsupported(head, "loss");
    if (work->patches != batch->patches) return check_fresh(batch, work);
    *out = head->ops->loss(head, batch, work);
    return CZ_OK;
}

cz_status cz_head_backward(const cz_head *head, const float *params, const cz_batch *batch, const float *dq,
                           cz_head_work *work, float *grads)
{
    if (!head->ops->backward) return unsupported(head, "training by gradients");
    const cz_status status = check_fresh(batch, work);
    if (status != CZ_OK) return status;
    work->fresh = work->keep;
    work->passed |= PASSED_BACKWARD;
    return head->ops->backward(head, params, batch, dq, work, grads);
}

cz_status cz_head_work_second_order(cz_head_work *work)
{
    if (!work->head->ops->work_second_order) return unsupported(work->head, "Hessian-vector product");
    if (work->keep) return CZ_OK;
    const cz_status status = work->head->ops->work_second_order(work);
    work->keep = status == CZ_OK;
    work->fresh = false;
    return status;
}

static cz_status check_passed(const cz_batch *batch, const cz_head_work *work, unsigned needed)
{
    const cz_status status = check_fresh(batch, work);
    if (status != CZ_OK) return status;
    if (!work->keep) return cz_fail(CZ_E_ARG, "this workspace keeps nothing for second derivatives");
    if ((work->passed & needed) != needed)
        return cz_fail(CZ_E_ARG, "a Hessian-vector product comes after forward, backward and tangent");
    return CZ_OK;
}

cz_status cz_head_tangent(const cz_head *head, const float *params, const cz_batch *batch, const float *direction,
                          cz_head_work *work, float *tangent_q)
{
    if (!head->ops->tangent) return unsupported(head, "Hessian-vector product");
    const cz_status status = check_passed(batch, work, PASSED_BACKWARD);
    if (status != CZ_OK) return status;
    work->passed |= PASSED_TANGENT;
    return head->ops->tangent(head, params, batch, direction, work, tangent_q);
}

cz_status cz_head_hessian(const cz_head *head, const float *params, const cz_batch *batch, const float *direction,
                          const float *dq, const float *tangent_dq, cz_head_work *work, float *out)
{
    if (!head->ops->hessian) return unsupported(head, "Hessian-vector product");
    const cz_status status = check_passed(batch, work, PASSED_BACKWARD | PASSED_TANGENT);
    return status != CZ_OK ? status : head->ops->hessian(head, params, batch, direction, dq, tangent_dq, work, out);
}

cz_status cz_head_embed(const cz_head *head, const float *params, const float *features, size_t rows, float *q)
{
    if (!head->ops->embed) return unsupported(head, "embedding");
    return head->ops->embed(head, params, features, rows, q);
}

void cz_head_batch_state(const cz_head *head, const cz_head_work *work, float *out)
{
    if (head->ops->batch_state) head->ops->batch_state(head, work, out);
}

void cz_head_state_update(const cz_head *head, float *state, const float *batch_state)
{
    if (!head->ops->batch_state) return;
    for (size_t i = 0; i < head->state_count; i++)
        state[i] = (1.0f - STATE_MOMENTUM) * state[i] + STATE_MOMENTUM * batch_state[i];
}

cz_status cz_head_pass_begin(const cz_head *head, const float *params, cz_head_pass **out)
{
    if (!head->ops->pass_begin) return unsupported(head, "full pass");
    return head->ops->pass_begin(head, params, out);
}

cz_status cz_head_pass_add(const cz_head *head, cz_head_pass *pass, const float *features, size_t rows)
{
    if (!head->ops->pass_add) return unsupported(head, "full pass");
    return head->ops->pass_add(pass, features, rows);
}

cz_status cz_head_pass_end(const cz_head *head, cz_head_pass *pass, float *params, float *state)
{
    if (!head->ops->pass_end) return unsupported(head, "full pass");
    return head->ops->pass_end(pass, params, state);
}

void cz_head_pass_destroy(const cz_head *head, cz_head_pass *pass)
{
    if (pass && head->ops->pass_destroy) head->ops->pass_destroy(pass);
}

/* ---- inference ------------------------------------------------------------------------------------------------ */

cz_status cz_head_score(const cz_head *head, const float *params, const float *state, const float *features,
                        size_t rows, float *scores)
{
    return head->ops->score(head, params, state, features, rows, scores);
}

cz_status cz_head_compose(const cz_head *head, const float *params, const float *state, cz_composition *out)
{
    if (!head->ops->compose) return unsupported(head, "composed form");
    const size_t d = head->config.width, k = head->config.hidden;
    cz_composition made = {.width = d, .hidden = k};
    cz_status status = CZ_E_MEMORY;
    made.m = cz_alloc_array(k * d, sizeof *made.m);
    made.c = cz_alloc_array(k, sizeof *made.c);
    made.w2 = cz_alloc_array(k, sizeof *made.w2);
    if (!made.m || !made.c || !made.w2) goto out;
    CZ_TRY(head->ops->compose(head, params, state, &made));
    *out = made;
    return CZ_OK;
out:
    cz_composition_free(&made);
    return status;
}

void cz_composition_free(cz_composition *composition)
{
    cz_free(composition->m);
    cz_free(composition->c);
    cz_free(composition->w2);
    *composition = (cz_composition){0};
}

/* ---- files ---------------------------------------------------------------------------------------------------- */

static void file_name(const char *prefix, const cz_head_view *view, char out[48])
{
    snprintf(out, 48, "%s.%s", prefix, view->name);
}

static cz_status save_views(const cz_head_view *views, size_t count, const char *prefix, const float *values,
                            cz_tensors *into)
{
    for (size_t i = 0; i < count; i++) {
        char name[48];
        file_name(prefix, &views[i], name);
        const cz_tensor_view tensor = {
            .name = name,
            .dtype = CZ_F32,
            .rank = views[i].rank,
            .shape = {views[i].shape[0], views[i].shape[1]},
            .data = values + views[i].first,
            .bytes = views[i].count * sizeof *values,
        };
        const cz_status status = cz_tensors_add(into, &tensor);
        if (status != CZ_OK) return status;
    }
    return CZ_OK;
}

cz_status cz_head_save(const cz_head *head, const float *params, const float *state, cz_tensors *into)
{
    const cz_status status = save_views(head->param, head->param_views, "head", params, into);
    return status != CZ_OK ? status : save_views(head->state, head->state_views, "state", state, into);
}

static cz_status load_view(const cz_head_view *view, const char *prefix, const cz_tensors *from, float *values)
{
    char name[48];
    file_name(prefix, view, name);
    const cz_tensor_view *tensor = cz_tensors_lookup(from, name);
    if (!tensor) return cz_fail(CZ_E_MODEL, "tensor '%s' is missing", name);
    if (tensor->dtype != CZ_F32)
        return cz_fail(CZ_E_MODEL, "tensor '%s' is %s, expected F32", name, cz_dtype_name(tensor->dtype));
    bool same = tensor->rank == view->rank && tensor->bytes == view->count * sizeof *values;
    for (size_t i = 0; same && i < view->rank; i++) same = tensor->shape[i] == view->shape[i];
    if (!same)
        return cz_fail(CZ_E_MODEL, "tensor '%s' has the wrong shape, expected [%zu%s%.0zu]", name, view->shape[0],
                       view->rank == 2 ? ", " : "", view->shape[1]);
    float *out = values + view->first;
    memcpy(out, tensor->data, tensor->bytes);
    for (size_t i = 0; i < view->count; i++)
        if (!isfinite(out[i])) return cz_fail(CZ_E_MODEL, "tensor '%s' holds a value that is not finite", name);
    return CZ_OK;
}

cz_status cz_head_load(const cz_head *head, const cz_tensors *from, float *params, float *state)
{
    for (size_t i = 0; i < head->param_views; i++) {
        const cz_status status = load_view(&head->param[i], "head", from, params);
        if (status != CZ_OK) return status;
    }
    for (size_t i = 0; i < head->state_views; i++) {
        const cz_status status = load_view(&head->state[i], "state", from, state);
        if (status != CZ_OK) return status;
    }
    return head->ops->check ? head->ops->check(head, params, state) : CZ_OK;
}
