/* SPDX-License-Identifier: Apache-2.0 */
/*
 * L_total of one set of patches (docs/math.md sections 4 and 5; paper Eq. 4, 7 and 10):
 *   L_total = mean_i w_i L_AD(x_i) + lambda ||theta||^2 + lambda_cont L_nn
 * around any detector of heads/head.h. w, lambda, quartiles, neighbour sets and noise are constants of every derivative.
 */
#ifndef CZ_META_OBJECTIVE_H
#define CZ_META_OBJECTIVE_H

#include "heads/head.h"
#include "losses/contrastive.h"
#include "losses/soft_confident.h"

/* Settings; plain values. */
typedef struct cz_objective {
    bool weigh;      /* data uncertainty on */
    bool image_unit; /* one weight an image, from its image score, instead of one a patch */
    size_t top_k;    /* image score: mean of the k largest patch scores; 1 */
    size_t warm;     /* w = 1 until a category's window and the set itself hold this many images, 4 */
    cz_confidence_options confidence;
    bool contrast; /* a term at all */
    double lambda_cont;
    cz_contrast_options contrast_options;
    bool sum;       /* sum over patches instead of their mean in the L_AD term */
    bool decay_all; /* ||theta||^2 over all parameters instead of weight matrices alone */
} cz_objective;
void cz_objective_init(cz_objective *objective);

/* Support, query, or both together, of one task. batch.weight is ignored: weights are made here. */
typedef struct cz_task_set {
    cz_batch batch;           /* with image_first */
    const uint32_t *category; /* [images] index into the windows; NULL: all 0 */
} cz_task_set;

/* The image has patches that are known to be anomalous (batch.target): there is nothing to doubt, so all its weights are 1, and its
 * scores say nothing of what is normal. */
bool cz_task_set_is_known(const cz_task_set *set, size_t image);

typedef struct cz_terms {
    double total;
    double ad;       /* unweighted mean L_AD, what model uncertainty looks at */
    double weighted; /* first term of L_total */
    double contrast; /* L_nn, before lambda_cont; 0 when off */
    double decay;    /* lambda ||theta||^2 */
    double mean_weight, share_below_one;
} cz_terms;

/* One pass through a set: the head's workspace, the contrastive one, weights, dL/dq and their tangents. */
typedef struct cz_objective_work cz_objective_work;
/* `second_order`: cz_objective_hessian will be called. */
cz_status cz_objective_work_create(const cz_head *head, const cz_objective *objective, size_t patches, size_t images,
                                   bool second_order, cz_objective_work **out);
void cz_objective_work_destroy(cz_objective_work *work);
size_t cz_objective_work_bytes(const cz_head *head, size_t patches, bool second_order);
/* Of the last gradient call: the head's own (scores, batch statistics) and the weights [P]. */
const cz_head_work *cz_objective_head_work(const cz_objective_work *work);
const float *cz_objective_weights(const cz_objective_work *work);

/* Image scores [images] (mean of the top_k largest patch scores) of a set; scratch: [P]. */
void cz_objective_image_scores(const cz_objective *objective, const cz_task_set *set, const float *scores,
                               float *scratch, float *out);

typedef struct cz_objective_noise {
    cz_head_noise head;
    cz_contrast_noise contrast;
} cz_objective_noise;

/* Everything that is constant while a derivative is taken. */
typedef struct cz_objective_call {
    const float *params;
    const cz_task_set *set;
    cz_score_window *const *windows; /* [categories], as at the start of the meta-step; NULL: w = 1 */
    double lambda;
    bool contrast; /* this loop has the contrastive term (--contrast-in) */
    cz_objective_noise noise;
} cz_objective_call;

/* Forward and backward. grads [param_count]: overwritten; NULL: the terms alone. On CZ_E_DIVERGED the message names the
 * term that is not finite. */
cz_status cz_objective_gradient(const cz_objective *objective, const cz_objective_call *call, cz_objective_work *work,
                                float *grads, cz_terms *terms);
/* out [param_count] = (d^2 L_total / d theta^2) direction, of the last gradient call with the same `call` in this
 * second-order workspace. */
cz_status cz_objective_hessian(const cz_objective *objective, const cz_objective_call *call, cz_objective_work *work,
                               const float *direction, float *out);

#endif
