/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One meta-step (docs/math.md section 6, paper Eq. 11 to 13): inner loops over the tasks' support sets, the meta-gradient
 * from their query sets. The optimiser's step is the caller's.
 */
#ifndef CZ_META_META_H
#define CZ_META_META_H

#include "losses/model_uncertainty.h"
#include "meta/objective.h"

typedef enum cz_meta_gradient {
    CZ_META_OFF = 0, /* plain training: the gradient at theta on support and query together */
    CZ_META_EXACT = 1,
    CZ_META_FIRST_ORDER = 2,
    CZ_META_REPTILE = 3
} cz_meta_gradient;

#define CZ_META_MAX_INNER 200

typedef struct cz_meta_options {
    cz_meta_gradient gradient;
    size_t inner_steps;                  /* S, 1 … CZ_META_MAX_INNER; reptile at least 2 */
    double inner_lr;                     /* alpha, 3e-3 */
    bool contrast_inner, contrast_outer; /* where the contrastive term is */
    size_t memory;                       /* bytes of workspaces at the most before activations are recomputed; 1 GB */
} cz_meta_options;
void cz_meta_options_init(cz_meta_options *options);

/* The caller's arrays; support and query index the same `all` (its first images are the support). */
typedef struct cz_meta_task {
    cz_task_set support, query, all;
    uint32_t index; /* for noise: streams (seed, step, index * 256 + inner step), query 255 */
    /* Tests: noise of inner step s (eps, delta, order) at [s], of the query at [S]; NULL: drawn. Reptile and off: of `all`. */
    const cz_objective_noise *injected;
} cz_meta_task;

typedef struct cz_meta_report {
    cz_terms support, query; /* means over tasks; support at theta (s = 0), query at theta_S */
    double det, lambda;      /* after this step's pair */
    double shift;            /* mean over tasks of |theta_S - theta| / |theta| */
    double support_drop; /* L_total of the support set at theta minus at theta_S, first task; NaN when not measured */
    double cosine;       /* of exact and first-order meta-gradient; NaN otherwise */
} cz_meta_report;

typedef struct cz_meta cz_meta;
/* patches, images: of the largest task in all (support and query together). */
cz_status cz_meta_create(const cz_head *head, const cz_objective *objective, const cz_meta_options *options,
                         size_t tasks, size_t patches, size_t images, cz_meta **out);
void cz_meta_destroy(cz_meta *meta);

typedef struct cz_meta_call {
    const float *params;
    const cz_meta_task *tasks;
    size_t count;
    cz_score_window *const *windows; /* [categories] or NULL; support scores at theta are pushed at the end, in order */
    cz_uncertainty *uncertainty;     /* this step's pair is pushed */
    uint64_t seed, step;
    bool measure_drop;
} cz_meta_call;

/* On failure uncertainty and windows are as before. grads [param_count] = the meta-gradient; batch_state [state_count]: task mean of the query's batch statistics. */
cz_status cz_meta_step(cz_meta *meta, const cz_meta_call *call, float *grads, float *batch_state,
                       cz_meta_report *report);
/* Inner loop alone (`cozad adapt`): params [param_count] are moved by S steps on `set`. before, after: the terms at both
 * ends; after NULL saves the forward pass that measures it (`steps` is then 1 or more). */
cz_status cz_meta_adapt(cz_meta *meta, const cz_task_set *set, double lambda, uint64_t seed, size_t steps,
                        float *params, cz_terms *before, cz_terms *after);

#endif
