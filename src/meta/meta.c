/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lambda of the outer loss is known only after every task's query loss (docs/math.md section 4), and theta_S enters it; so a
 * meta-step has two phases: inner loops and query gradients without the L2 term of all tasks, then that term and the way
 * back through the inner loops. Activations of the inner loops are kept in between as far as memory allows (slots), else
 * they are computed again.
 */
#include "meta/meta.h"

#include "util/alloc.h"
#include "util/reduce.h"

#include <math.h>
#include <string.h>

#define QUERY_STREAM 255u

void cz_meta_options_init(cz_meta_options *o)
{
    *o = (cz_meta_options){.gradient = CZ_META_EXACT,
                           .inner_steps = 1,
                           .inner_lr = 3e-3,
                           .contrast_inner = true,
                           .contrast_outer = true,
                           .memory = (size_t)1 << 30};
}

struct cz_meta {
    const cz_head *head;
    cz_objective objective;
    cz_meta_options options;
    size_t tasks, patches, images;
    size_t slots;              /* tasks whose inner activations are kept at once: all, or 1 */
    cz_objective_work **inner; /* [slots * S] exact, else [1] */
    size_t inner_count;
    cz_objective_work *query, *spare; /* spare: measures the support loss after an exact inner loop */
    float **path;                     /* [slots * S] theta_1 … theta_S-1 of each slot (exact), [0] unused */
    float **adapted;                  /* [tasks] theta_S */
    float **outer;                    /* [tasks] gradient of the query loss at theta_S, without the L2 term */
    float *step, *first_order;        /* [params] one gradient or product; sum of the v_S */
    float *scores;                    /* [tasks * patches] support scores at theta */
    float *own_scores, *own_images;   /* one category's, for the windows */
    float *state;                     /* [state_count] */
    cz_score_window *empty;           /* of adapting, where nothing precedes */
};

static bool is_exact(const cz_meta *m)
{
    return m->options.gradient == CZ_META_EXACT;
}

/* ---- making ------------------------------------------------------------------------------------------------------ */

static cz_status check_options(const cz_meta_options *o)
{
    if (o->inner_steps < 1 || o->inner_steps > CZ_META_MAX_INNER)
        return cz_fail(CZ_E_ARG, "inner steps: %zu is not in 1 … %d", o->inner_steps, CZ_META_MAX_INNER);
    if (o->gradient == CZ_META_REPTILE && o->inner_steps < 2)
        return cz_fail(CZ_E_ARG, "reptile with one inner step is plain training (meta off): it needs 2 or more");
    if (!(o->inner_lr > 0) || !isfinite(o->inner_lr))
        return cz_fail(CZ_E_ARG, "inner learning rate %g is not a positive number", o->inner_lr);
    return CZ_OK;
}

static cz_status make_works(cz_meta *m, size_t images)
{
    cz_status status = CZ_OK;
    const size_t steps = is_exact(m) ? m->options.inner_steps : 1;
    size_t bytes = cz_objective_work_bytes(m->head, m->patches, true) + m->head->param_count * sizeof(float);
    m->slots = m->tasks;
    if (!is_exact(m) || bytes > m->options.memory / steps / m->tasks) m->slots = 1;
    m->inner_count = is_exact(m) ? m->slots * steps : 1;
    m->inner = cz_calloc(m->inner_count, sizeof *m->inner);
    m->path = cz_calloc(m->inner_count, sizeof *m->path);
    if (m->inner == NULL || m->path == NULL) return CZ_E_MEMORY;
    for (size_t i = 0; i < m->inner_count; i++) {
        CZ_TRY(cz_objective_work_create(m->head, &m->objective, m->patches, images, is_exact(m), &m->inner[i]));
        if (!is_exact(m) || i % steps == 0) continue;
        m->path[i] = cz_alloc_array(m->head->param_count, sizeof **m->path);
        if (m->path[i] == NULL) CZ_TRY(CZ_E_MEMORY);
    }
    if (m->options.gradient != CZ_META_OFF)
        CZ_TRY(cz_objective_work_create(m->head, &m->objective, m->patches, images, false, &m->query));
out:
    return status;
}

static cz_status make_vectors(cz_meta *m, size_t images)
{
    const size_t params = m->head->param_count;
    const bool adapts = m->options.gradient != CZ_META_OFF;
    m->adapted = cz_calloc(m->tasks, sizeof *m->adapted);
    m->outer = cz_calloc(m->tasks, sizeof *m->outer);
    m->step = cz_alloc_array(params, sizeof *m->step);
    m->scores = cz_alloc_array(m->tasks * m->patches, sizeof *m->scores);
    m->own_scores = cz_alloc_array(m->patches, sizeof *m->own_scores);
    m->own_images = cz_alloc_array(images, sizeof *m->own_images);
    m->state = cz_calloc(m->head->state_count + 1, sizeof *m->state);
    bool ok = m->adapted && m->outer && m->step && m->scores && m->own_scores && m->own_images && m->state;
    if (is_exact(m)) ok = ok && (m->first_order = cz_alloc_array(params, sizeof *m->first_order)) != NULL;
    for (size_t t = 0; ok && adapts && t < m->tasks; t++) {
        ok = (m->adapted[t] = cz_alloc_array(params, sizeof **m->adapted)) != NULL;
        if (ok && is_exact(m)) ok = (m->outer[t] = cz_alloc_array(params, sizeof **m->outer)) != NULL;
    }
    return ok ? CZ_OK : CZ_E_MEMORY;
}

cz_status cz_meta_create(const cz_head *head, const cz_objective *objective, const cz_meta_options *options,
                         size_t tasks, size_t patches, size_t images, cz_meta **out)
{
    cz_status status = check_options(options);
    size_t total;
    if (status != CZ_OK) return status;
    if (tasks < 1 || patches < 1 || images < 1 || !cz_mul_size(tasks, patches, &total))
        return cz_fail(CZ_E_ARG, "a meta-step of %zu tasks of %zu patches", tasks, patches);
    cz_meta *m = cz_calloc(1, sizeof *m);
    if (m == NULL) return CZ_E_MEMORY;
    m->head = head;
    m->objective = *objective;
    m->options = *options;
    m->tasks = tasks;
    m->patches = patches;
    m->images = images;
    CZ_TRY(make_works(m, images));
    CZ_TRY(make_vectors(m, images));
    CZ_TRY(cz_score_window_create(1, &m->empty));
    *out = m;
    return CZ_OK;
out:
    cz_meta_destroy(m);
    return status;
}

void cz_meta_destroy(cz_meta *m)
{
    if (m == NULL) return;
    for (size_t i = 0; i < m->inner_count; i++) {
        if (m->inner != NULL) cz_objective_work_destroy(m->inner[i]);
        if (m->path != NULL) cz_free(m->path[i]);
    }
    for (size_t t = 0; t < m->tasks; t++) {
        if (m->adapted != NULL) cz_free(m->adapted[t]);
        if (m->outer != NULL) cz_free(m->outer[t]);
    }
    cz_objective_work_destroy(m->query);
    cz_objective_work_destroy(m->spare);
    cz_score_window_destroy(m->empty);
    cz_free(m->inner);
    cz_free(m->path);
    cz_free(m->adapted);
    cz_free(m->outer);
    cz_free(m->step);
    cz_free(m->first_order);
    cz_free(m->scores);
    cz_free(m->own_scores);
    cz_free(m->own_images);
    cz_free(m->state);
    cz_free(m);
}

/* ---- vectors ----------------------------------------------------------------------------------------------------- */

/* out = a + factor b; out may be a. */
static void axpy(const float *a, double factor, const float *b, size_t count, float *out)
{
    const float f = (float)factor;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < count; i++) out[i] = a[i] + f * b[i];
}

static void add_terms(cz_terms *sum, const cz_terms *t, double factor)
{
    sum->total += factor * t->total;
    sum->ad += factor * t->ad;
    sum->weighted += factor * t->weighted;
    sum->contrast += factor * t->contrast;
    sum->decay += factor * t->decay;
    sum->mean_weight += factor * t->mean_weight;
    sum->share_below_one += factor * t->share_below_one;
}

/* ---- one task ---------------------------------------------------------------------------------------------------- */

/* One running meta-step. */
typedef struct meta_step {
    cz_meta *m;
    const cz_meta_call *call;
    double lambda; /* from the pairs up to the previous meta-step */
    float *grads, *batch_state;
    cz_meta_report *report;
} meta_step;

static cz_objective_noise noise_of(const meta_step *s, const cz_meta_task *task, size_t inner, uint32_t stream)
{
    if (task->injected != NULL) return task->injected[inner];
    const uint32_t id = task->index * 256 + stream;
    return (cz_objective_noise){{s->call->seed, s->call->step, id, NULL},
                                {s->call->seed, s->call->step, id, NULL, NULL}};
}

static cz_objective_call call_of(const meta_step *s, const cz_task_set *set, const float *params, double lambda,
                                 bool contrast, cz_objective_noise noise)
{
    return (cz_objective_call){params, set, s->call->windows, lambda, contrast, noise};
}

/* Eq. 11: theta_0 … theta_S on the support set. `first`: also reports and keeps the scores at theta. Leaves theta_S in
 * m->adapted[t], activations and theta_s in the slot. */
static cz_status inner_loop(meta_step *s, size_t t, size_t slot, bool first)
{
    cz_meta *m = s->m;
    const cz_meta_task *task = &s->call->tasks[t];
    const size_t steps = m->options.inner_steps, params = m->head->param_count;
    const float *theta = s->call->params;
    for (size_t i = 0; i < steps; i++) {
        const size_t at = is_exact(m) ? slot * steps + i : 0;
        cz_objective_work *work = m->inner[at];
        cz_terms terms;
        const cz_objective_call call =
            call_of(s, &task->support, theta, s->lambda, m->options.contrast_inner, noise_of(s, task, i, (uint32_t)i));
        const cz_status status = cz_objective_gradient(&m->objective, &call, work, m->step, &terms);
        if (status != CZ_OK) return status;
        if (first && i == 0) {
            add_terms(&s->report->support, &terms, 1.0 / (double)s->call->count);
            memcpy(m->scores + t * m->patches, cz_objective_head_work(work)->score,
                   task->support.batch.patches * sizeof *m->scores);
            if (t == 0) s->report->support_drop = terms.total;
        }
        float *next = i + 1 == steps || !is_exact(m) ? m->adapted[t] : m->path[at + 1];
        axpy(theta, -m->options.inner_lr, m->step, params, next);
        theta = next;
    }
    return CZ_OK;
}

/* The query loss at theta_S, its gradient without the L2 term (NULL: loss alone), and the batch statistics. */
static cz_status query_loss(meta_step *s, size_t t, float *grads)
{
    cz_meta *m = s->m;
    cz_terms terms;
    const cz_meta_task *task = &s->call->tasks[t];
    const double share = 1.0 / (double)s->call->count;
    const cz_objective_call call = call_of(s, &task->query, m->adapted[t], 0.0, m->options.contrast_outer,
                                           noise_of(s, task, m->options.inner_steps, QUERY_STREAM));
    const cz_status status = cz_objective_gradient(&m->objective, &call, m->query, grads, &terms);
    if (status != CZ_OK) return status;
    add_terms(&s->report->query, &terms, share);
    cz_head_batch_state(m->head, cz_objective_head_work(m->query), m->state);
    for (size_t i = 0; i < m->head->state_count; i++) s->batch_state[i] += (float)share * m->state[i];
    const double size = cz_dot(s->call->params, s->call->params, m->head->param_count);
    s->report->shift +=
        share * sqrt(cz_distance2(m->adapted[t], s->call->params, m->head->param_count) / (size > 0 ? size : 1));
    return CZ_OK;
}

/* L_total of the first task's support set at theta_S, same noise as at theta. */
static cz_status measure_drop(meta_step *s)
{
    cz_meta *m = s->m;
    cz_terms terms;
    const cz_meta_task *task = &s->call->tasks[0];
    cz_status status = CZ_OK;
    if (m->spare == NULL)
        status = cz_objective_work_create(m->head, &m->objective, m->patches, m->images, false, &m->spare);
    if (status != CZ_OK) return status;
    const cz_objective_call call =
        call_of(s, &task->support, m->adapted[0], s->lambda, m->options.contrast_inner, noise_of(s, task, 0, 0));
    status = cz_objective_gradient(&m->objective, &call, m->spare, NULL, &terms);
    s->report->support_drop -= terms.total;
    return status;
}

/* v_S -> v_0, last inner step first; v in m->outer[t]. */
static cz_status pull_back(meta_step *s, size_t t, size_t slot)
{
    cz_meta *m = s->m;
    const cz_meta_task *task = &s->call->tasks[t];
    const size_t steps = m->options.inner_steps, params = m->head->param_count;
    for (size_t i = steps; i-- > 0;) {
        const size_t at = slot * steps + i;
        const cz_objective_call call = call_of(s, &task->support, i == 0 ? s->call->params : m->path[at], s->lambda,
                                               m->options.contrast_inner, noise_of(s, task, i, (uint32_t)i));
        const cz_status status = cz_objective_hessian(&m->objective, &call, m->inner[at], m->outer[t], m->step);
        if (status != CZ_OK) return status;
        axpy(m->outer[t], -m->options.inner_lr, m->step, params, m->outer[t]);
    }
    return CZ_OK;
}

/* ---- the meta-step ----------------------------------------------------------------------------------------------- */

/* This step's pair; lambda(Sigma') of the outer loss. */
static cz_status push_pair(meta_step *s)
{
    cz_uncertainty *u = s->call->uncertainty;
    const cz_status status = cz_uncertainty_push(u, s->report->support.ad, s->report->query.ad);
    s->report->det = u->det;
    s->report->lambda = cz_uncertainty_lambda(u);
    return status;
}

/* The L2 term of the outer loss at `theta`, with this step's lambda: its gradient is added to out (NULL: the loss
 * alone). */
static void add_outer_decay(meta_step *s, const float *theta, double share, float *out)
{
    const cz_head *head = s->m->head;
    double total = 0.0;
    for (size_t v = 0; v < head->param_views; v++) {
        const cz_head_view *view = &head->param[v];
        if (!view->decay && (!s->m->objective.decay_all || view->fixed)) continue;
        const float *values = theta + view->first;
        if (out != NULL)
            axpy(out + view->first, 2.0 * s->report->lambda * share, values, view->count, out + view->first);
        total += cz_dot(values, values, view->count);
    }
    s->report->query.decay += (s->call->count > 0 ? 1.0 / (double)s->call->count : 0.0) * s->report->lambda * total;
}

static cz_status step_exact(meta_step *s)
{
    cz_status status;
    cz_meta *m = s->m;
    const size_t count = s->call->count, params = m->head->param_count;
    const double share = 1.0 / (double)count;
    const bool kept = m->slots >= count;
    for (size_t t = 0; t < count; t++) {
        CZ_TRY(inner_loop(s, t, kept ? t : 0, true));
        CZ_TRY(query_loss(s, t, m->outer[t]));
    }
    if (s->call->measure_drop) CZ_TRY(measure_drop(s));
    CZ_TRY(push_pair(s));
    memset(m->first_order, 0, params * sizeof *m->first_order);
    for (size_t t = count; t-- > 0;) { /* the last task's activations are still there */
        if (!kept && t + 1 < count) CZ_TRY(inner_loop(s, t, 0, false));
        add_outer_decay(s, m->adapted[t], 1.0, m->outer[t]);
        axpy(m->first_order, share, m->outer[t], params, m->first_order);
        CZ_TRY(pull_back(s, t, kept ? t : 0));
        axpy(s->grads, share, m->outer[t], params, s->grads);
    }
    const double norms = sqrt(cz_dot(s->grads, s->grads, params) * cz_dot(m->first_order, m->first_order, params));
    s->report->cosine = norms > 0 ? cz_dot(s->grads, m->first_order, params) / norms : (double)NAN;
out:
    return status;
}

static cz_status step_first_order(meta_step *s)
{
    cz_status status;
    cz_meta *m = s->m;
    const size_t count = s->call->count;
    const double share = 1.0 / (double)count;
    for (size_t t = 0; t < count; t++) {
        CZ_TRY(inner_loop(s, t, 0, true));
        if (t == 0 && s->call->measure_drop) CZ_TRY(measure_drop(s));
        CZ_TRY(query_loss(s, t, m->step));
        axpy(s->grads, share, m->step, m->head->param_count, s->grads);
    }
    CZ_TRY(push_pair(s));
    for (size_t t = 0; t < count; t++) add_outer_decay(s, m->adapted[t], share, s->grads);
out:
    return status;
}

/* Of a pass over support and query together: the two parts' unweighted losses, and the support's scores. */
static void split_terms(meta_step *s, size_t t, const cz_terms *terms)
{
    cz_meta *m = s->m;
    const cz_meta_task *task = &s->call->tasks[t];
    const cz_head_work *work = cz_objective_head_work(m->inner[0]);
    const size_t support = task->support.batch.patches, all = task->all.batch.patches;
    cz_terms part[2] = {*terms, *terms};
    part[0].ad = part[1].ad = 0.0;
    for (size_t i = 0; i < all; i++) part[i >= support].ad += (double)work->loss[i];
    part[0].ad /= (double)support;
    part[1].ad /= (double)(all - support);
    add_terms(&s->report->support, &part[0], 1.0 / (double)s->call->count);
    if (m->options.gradient == CZ_META_OFF) add_terms(&s->report->query, &part[1], 1.0 / (double)s->call->count);
    /* without an inner loop the whole batch is training data */
    memcpy(m->scores + t * m->patches, work->score,
           (m->options.gradient == CZ_META_OFF ? all : support) * sizeof *m->scores);
}

static bool has_contrast(const cz_meta *m)
{
    return m->options.contrast_inner || m->options.contrast_outer;
}

static cz_status step_off(meta_step *s)
{
    cz_status status = CZ_OK;
    cz_meta *m = s->m;
    const double share = 1.0 / (double)s->call->count;
    for (size_t t = 0; t < s->call->count; t++) {
        cz_terms terms;
        const cz_meta_task *task = &s->call->tasks[t];
        const cz_objective_call call =
            call_of(s, &task->all, s->call->params, 0.0, has_contrast(m), noise_of(s, task, 0, 0));
        CZ_TRY(cz_objective_gradient(&m->objective, &call, m->inner[0], m->step, &terms));
        axpy(s->grads, share, m->step, m->head->param_count, s->grads);
        split_terms(s, t, &terms);
        cz_head_batch_state(m->head, cz_objective_head_work(m->inner[0]), m->state);
        for (size_t i = 0; i < m->head->state_count; i++) s->batch_state[i] += (float)share * m->state[i];
    }
    CZ_TRY(push_pair(s));
    add_outer_decay(s, s->call->params, 1.0, s->grads);
    s->report->query.decay *= (double)s->call->count; /* one theta, not one a task */
out:
    return status;
}

static cz_status step_reptile(meta_step *s)
{
    cz_status status = CZ_OK;
    cz_meta *m = s->m;
    const size_t steps = m->options.inner_steps, params = m->head->param_count;
    const double share = 1.0 / (double)(s->call->count * steps);
    for (size_t t = 0; t < s->call->count; t++) {
        const cz_meta_task *task = &s->call->tasks[t];
        const float *theta = s->call->params;
        for (size_t i = 0; i < steps; i++) {
            cz_terms terms;
            const cz_objective_call call =
                call_of(s, &task->all, theta, s->lambda, has_contrast(m), noise_of(s, task, i, (uint32_t)i));
            CZ_TRY(cz_objective_gradient(&m->objective, &call, m->inner[0], m->step, &terms));
            if (i == 0) split_terms(s, t, &terms);
            axpy(s->grads, share, m->step, params, s->grads);
            axpy(theta, -m->options.inner_lr, m->step, params, m->adapted[t]);
            theta = m->adapted[t];
        }
        CZ_TRY(query_loss(s, t, NULL));
    }
    CZ_TRY(push_pair(s));
    for (size_t t = 0; t < s->call->count; t++) add_outer_decay(s, m->adapted[t], 0.0, NULL);
out:
    return status;
}

/* Support scores at theta into the windows of their categories, in task order. */
static void push_scores(meta_step *s)
{
    cz_meta *m = s->m;
    for (size_t t = 0; s->call->windows != NULL && t < s->call->count; t++) {
        const cz_meta_task *task = &s->call->tasks[t];
        const cz_task_set *set = m->options.gradient == CZ_META_OFF ? &task->all : &task->support;
        const float *scores = m->scores + t * m->patches;
        if (m->objective.image_unit)
            cz_objective_image_scores(&m->objective, set, scores, m->own_scores, m->own_images);
        for (size_t i = 0; i < set->batch.images; i++) {
            cz_score_window *window = s->call->windows[set->category != NULL ? set->category[i] : 0];
            const size_t *first = set->batch.image_first;
            if (cz_task_set_is_known(set, i)) continue;
            if (m->objective.image_unit) {
                cz_score_window_push(window, m->own_images + i, 1, 1);
            } else if (first != NULL) {
                cz_score_window_push(window, scores + first[i], first[i + 1] - first[i], 1);
            } else {
                cz_score_window_push(window, scores, set->batch.patches, 1);
            }
        }
    }
}

static void finish_report(cz_meta_report *r, const cz_meta *m, bool measured)
{
    r->query.total = r->query.weighted + r->query.decay;
    if (m->objective.contrast) r->query.total += m->objective.lambda_cont * r->query.contrast; /* 0 where left out */
    if (!measured || m->options.gradient == CZ_META_OFF || m->options.gradient == CZ_META_REPTILE)
        r->support_drop = (double)NAN;
    if (m->options.gradient == CZ_META_OFF) r->shift = (double)NAN;
}

cz_status cz_meta_step(cz_meta *m, const cz_meta_call *call, float *grads, float *batch_state, cz_meta_report *report)
{
    static cz_status (*const steps[])(meta_step *) = {step_off, step_exact, step_first_order, step_reptile};
    if (call->count < 1 || call->count > m->tasks)
        return cz_fail(CZ_E_ARG, "%zu tasks, made for %zu", call->count, m->tasks);
    for (size_t t = 0; t < call->count; t++) {
        if (call->tasks[t].all.batch.patches > m->patches)
            return cz_fail(CZ_E_ARG, "a task of %zu patches, made for %zu", call->tasks[t].all.batch.patches,
                           m->patches);
    }
    memset(report, 0, sizeof *report);
    report->cosine = (double)NAN;
    memset(grads, 0, m->head->param_count * sizeof *grads);
    memset(batch_state, 0, m->head->state_count * sizeof *batch_state);
    meta_step s = {m, call, cz_uncertainty_lambda(call->uncertainty), grads, batch_state, report};
    const cz_uncertainty before = *call->uncertainty;
    cz_status status = steps[m->options.gradient](&s);
    if (status == CZ_OK && !isfinite(cz_dot(grads, grads, m->head->param_count)))
        status = cz_fail(CZ_E_DIVERGED, "the meta-gradient is not finite");
    if (status != CZ_OK) { /* as if the step had never been begun: a checkpoint may follow */
        *call->uncertainty = before;
        return status;
    }
    push_scores(&s);
    finish_report(report, m, call->measure_drop);
    return CZ_OK;
}

cz_status cz_meta_adapt(cz_meta *m, const cz_task_set *set, double lambda, uint64_t seed, size_t steps, float *params,
                        cz_terms *before, cz_terms *after)
{
    cz_status status = CZ_OK;
    cz_score_window *const windows[] = {m->empty};
    cz_task_set own = *set;
    own.category = NULL; /* one product: the photos at hand are all that their scores are compared with */
    cz_objective_call call = {params, &own, windows, lambda, m->options.contrast_inner, {{0}, {0}}};
    for (size_t i = 0; i < steps || (i == steps && after != NULL); i++) {
        cz_terms terms;
        const uint32_t stream = (uint32_t)(i < steps ? i : 0); /* the same noise at both ends */
        call.noise = (cz_objective_noise){{seed, 0, stream, NULL}, {seed, 0, stream, NULL, NULL}};
        CZ_TRY(cz_objective_gradient(&m->objective, &call, m->inner[0], i < steps ? m->step : NULL, &terms));
        if (i == 0) *before = terms;
        if (after != NULL) *after = terms;
        if (i < steps) axpy(params, -m->options.inner_lr, m->step, m->head->param_count, params);
    }
out:
    return status;
}
