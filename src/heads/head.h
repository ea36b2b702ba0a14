/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The detector interface: what turns patch features into scores and learns to.
 *
 * Three things are kept apart, so that meta-learning can copy, perturb and average them with one loop each:
 *   head    what was asked for (sizes, margins, learning rates) and the layout of the two buffers; immutable, shareable;
 *   params  theta, everything a gradient exists for: one flat buffer of head->param_count floats;
 *   state   what is measured instead of learned (batch-norm running statistics): head->state_count floats.
 * A new detector is one file that defines a cz_head_ops, and one line in head.c's table (docs/adding-a-detector.md).
 *
 * P patches of a batch, D patch-feature width, K hidden width, E embedding width. Matrices are row-major.
 */
#ifndef CZ_HEADS_HEAD_H
#define CZ_HEADS_HEAD_H

#include "util/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CZ_HEAD_MAX_VIEWS  66 /* a flow of 16 blocks: 4 each, and 2 */
#define CZ_HEAD_MAX_GROUPS 4
#define CZ_HEAD_MAX_WIDTH  ((size_t)1 << 16)

typedef enum cz_patch_target {
    CZ_TARGET_NORMAL = 0,
    CZ_TARGET_ANOMALOUS = 1, /* known to show a defect */
    CZ_TARGET_UNKNOWN = 2    /* from an uncurated set: treated as normal, its weight says how much */
} cz_patch_target;

typedef struct cz_batch {
    size_t patches, width; /* P >= 1, D */
    const float *features; /* [P, D] */
    size_t images;
    const size_t *image_first; /* [images + 1] rows of image i: first[i] … first[i + 1] - 1; NULL: one image */
    size_t grid_h, grid_w;     /* every image's patches are its whole grid; 0: they are a selection */
    const uint8_t *target;     /* [P] cz_patch_target; NULL: all normal */
    const float *weight;       /* [P] w_i; NULL: all 1. Read by loss and backward only, never by forward: weights may be
                                  computed from the scores of the forward pass that they then weigh. */
} cz_batch;

/* Noise comes from the counter rng (seed, CZ_RNG_NOISE, step, task), or from the caller. */
typedef struct cz_head_noise {
    uint64_t seed, step;
    uint32_t task;
    const float *injected; /* [P, D], already scaled by the noise's standard deviation; NULL: drawn */
} cz_head_noise;

typedef struct cz_head_config {
    size_t width;                            /* D, 1536 */
    size_t hidden;                           /* K, 1024 */
    double noise_std;                        /* sigma of Eq. 15, 0.015 */
    double margin_positive, margin_negative; /* th+ 0.5, th- -0.5 (Eq. 16) */
    bool weight_both;                        /* w_i weighs all of L_AD, not only its positive term */
    bool noise_twins;      /* simplenet: q- of Eq. 15 is a sample of every patch, true; false: only patches known to be
                              anomalous are below th- */
    bool simplenet_compat; /* the public SimpleNet code's biases and optimiser */
    double lr_adaptor, lr_discriminator; /* 1e-4, 2e-4 */
    size_t bank;                         /* knn: rows of the bank at the most, 10000 */
    uint64_t seed;                       /* knn: which rows are kept */
    cz_precision precision;              /* of training's matrix products: FP32, or BF16 (sums, parameters and all
                                                the rest stay in fp32); fresh scores by definition are always fp32 */
    size_t flow_blocks;                  /* flow (docs/math/flow.md): coupling blocks, 8 */
    size_t flow_hidden;                  /* width of their subnets; 0: as many as dimensions */
    size_t flow_project;                 /* dimensions that features are projected to, 256; 0, or D and more: none */
    double flow_clamp;                   /* largest |log scale| of a block, 1.9 */
    double lr_flow;                      /* 2e-4 */
    uint64_t structure_seed;             /* flow: of its projection and permutations, which no file holds */
} cz_head_config;
/* Fills in the defaults named above. */
void cz_head_config_init(cz_head_config *config);

/* A named part of params or state. */
typedef struct cz_head_view {
    char name[32]; /* "adaptor.weight"; in files "head.adaptor.weight" or "state.norm.mean" */
    size_t rank, shape[2];
    size_t first, count; /* range of the flat buffer */
    bool decay;          /* a weight matrix: part of ||theta||^2 (docs/math.md section 4) */
    bool fixed;          /* measured by a pass: no gradient, in no group, never part of ||theta||^2 */
} cz_head_view;

/* A range of params with an optimiser's settings of its own; the same fields as cz_adam_group, which is a layer above. */
typedef struct cz_head_group {
    size_t first, count;
    double lr, decay;
    int decoupled; /* AdamW */
} cz_head_group;

typedef struct cz_head_ops cz_head_ops;

typedef struct cz_head {
    const cz_head_ops *ops;
    cz_head_config config;
    size_t embed_width; /* E; 0: no embedding */
    size_t param_count, state_count;
    size_t param_views, state_views;
    cz_head_view param[CZ_HEAD_MAX_VIEWS], state[CZ_HEAD_MAX_VIEWS];
    size_t groups;
    cz_head_group group[CZ_HEAD_MAX_GROUPS];
    void *own; /* tables that setup made; teardown frees them */
} cz_head;

/* Results and saved activations of one forward pass; heads append their own buffers. One owner at a time. */
typedef struct cz_head_work {
    const cz_head *head;
    size_t capacity; /* P at the most */
    size_t patches;  /* P of the last forward pass */
    bool fresh;      /* its activations are there: backward has not used them up yet */
    bool keep;       /* made by cz_head_work_second_order: backward leaves them, tangent and hessian are possible */
    unsigned passed; /* of a keeping workspace: which of backward (1) and tangent (2) followed the last forward pass */
    float *score;    /* [P] higher is more anomalous, of the training-mode forward pass */
    float *loss;     /* [P] loss of each sample, unweighted */
    float *q;        /* [P, E] embedding, NULL without one; valid until backward */
} cz_head_work;

/* A pass over a whole set at the final theta, in chunks. */
typedef struct cz_head_pass cz_head_pass;

/* Inference form leaky(M o + c), score = -w2 . that, of heads that have it. */
typedef struct cz_composition {
    size_t width, hidden; /* D, K */
    float slope;          /* of leaky below 0 */
    float *m;             /* [K, D] */
    float *c;             /* [K] */
    float *w2;            /* [K] */
} cz_composition;

/* What a detector defines. NULL where it cannot do something; the functions below then return CZ_E_UNSUPPORTED. */
struct cz_head_ops {
    const char *name;
    bool pass_first;                   /* the full pass comes before training, and there is none after it */
    cz_status (*setup)(cz_head *head); /* checks config, fills in layout and groups */
    void (*teardown)(cz_head *head);   /* frees `own`, also after a setup that failed */
    void (*init)(const cz_head *head, uint64_t seed, float *params, float *state);
    cz_status (*work_create)(const cz_head *head, size_t capacity, cz_head_work **out);
    void (*work_destroy)(cz_head_work *work);
    size_t (*work_bytes)(const cz_head *head, size_t patches, bool second_order); /* estimate; NULL: SimpleNet's */
    cz_status (*forward)(const cz_head *head, const float *params, const cz_batch *batch, const cz_head_noise *noise,
                         cz_head_work *work);
    double (*loss)(const cz_head *head, const cz_batch *batch, const cz_head_work *work);
    cz_status (*backward)(const cz_head *head, const float *params, const cz_batch *batch, const float *dq,
                          cz_head_work *work, float *grads);
    /* Forward-over-reverse Hessian-vector product (docs/math/second-order.md), see the functions below. */
    cz_status (*work_second_order)(cz_head_work *work);
    cz_status (*tangent)(const cz_head *head, const float *params, const cz_batch *batch, const float *direction,
                         cz_head_work *work, float *tangent_q);
    cz_status (*hessian)(const cz_head *head, const float *params, const cz_batch *batch, const float *direction,
                         const float *dq, const float *tangent_dq, cz_head_work *work, float *out);
    cz_status (*embed)(const cz_head *head, const float *params, const float *features, size_t rows, float *q);
    void (*batch_state)(const cz_head *head, const cz_head_work *work, float *out);
    cz_status (*pass_begin)(const cz_head *head, const float *params, cz_head_pass **out);
    cz_status (*pass_add)(cz_head_pass *pass, const float *features, size_t rows);
    cz_status (*pass_end)(cz_head_pass *pass, float *params, float *state);
    void (*pass_destroy)(cz_head_pass *pass);
    cz_status (*score)(const cz_head *head, const float *params, const float *state, const float *features, size_t rows,
                       float *scores);
    cz_status (*compose)(const cz_head *head, const float *params, const float *state, cz_composition *out);
    /* What a file must hold beyond finite values of the right shape: CZ_E_MODEL. */
    cz_status (*check)(const cz_head *head, const float *params, const float *state);
};

/* NULL when there is none of that name. */
const cz_head_ops *cz_head_find(const char *name);
/* NULL when `index` is out of range. */
const cz_head_ops *cz_head_at(size_t index);
/* It has what a training loop needs; a bank is filled instead. */
bool cz_head_trains(const cz_head_ops *ops);
/* CZ_E_ARG names an unknown detector and lists the known ones, or the setting that is off. */
cz_status cz_head_create(const char *name, const cz_head_config *config, cz_head **out);
void cz_head_destroy(cz_head *head);
/* NULL when there is none; `name` as in the views. */
const cz_head_view *cz_head_param(const cz_head *head, const char *name);
const cz_head_view *cz_head_state(const cz_head *head, const char *name);

/* Seeded initial parameters (Xavier normal for weight matrices) and state. params: [param_count]; state: [state_count]. */
void cz_head_init(const cz_head *head, uint64_t seed, float *params, float *state);

cz_status cz_head_work_create(const cz_head *head, size_t capacity, cz_head_work **out);
void cz_head_work_destroy(cz_head_work *work);

/* Training mode: statistics are those of the whole batch (docs/math.md section 3), never of state. Fills work->score,
 * loss and q. A result that is not finite is CZ_E_ARG. OpenMP. */
cz_status cz_head_forward(const cz_head *head, const float *params, const cz_batch *batch, const cz_head_noise *noise,
                          cz_head_work *work);
/* The objective of that pass: the mean over P of the samples' losses, weighted by batch->weight. */
cz_status cz_head_loss(const cz_head *head, const cz_batch *batch, const cz_head_work *work, double *out);
/* grads [param_count] = d(loss)/d(theta) + (d q / d theta)^T dq; dq: [P, E] gradient of another loss with respect to
 * work->q, NULL: none. Weights are constants. Uses the activations up: one backward for each forward, except in
 * a second-order workspace. OpenMP. */
cz_status cz_head_backward(const cz_head *head, const float *params, const cz_batch *batch, const float *dq,
                           cz_head_work *work, float *grads);

/* Makes a workspace keep what second derivatives need; call once, before its first forward pass. Costs memory: SimpleNet
 * about (5 K + 2 D) floats a patch more than the plain workspace. */
cz_status cz_head_work_second_order(cz_head_work *work);
/* Forward-over-reverse product with the Hessian of the objective of the last forward pass, in a second-order workspace, in
 * the order forward, backward, tangent, hessian (the last two any number of times). `tangent` moves the pass along
 * `direction` [param_count] and writes the embedding's tangent tangent_q [P, E], from which a loss on q computes the
 * tangent of its own dL/dq; `hessian` takes that back:
 *   out [param_count] = (d^2 L / d theta^2) direction + d/dr [(d q / d theta)^T dq] along direction,
 * where dq is what backward was given and tangent_dq [P, E] its tangent (both NULL: none). Weights, noise and targets are
 * constants; kinks count as locally linear. `direction` must be that of the last tangent. OpenMP. */
cz_status cz_head_tangent(const cz_head *head, const float *params, const cz_batch *batch, const float *direction,
                          cz_head_work *work, float *tangent_q);
cz_status cz_head_hessian(const cz_head *head, const float *params, const cz_batch *batch, const float *direction,
                          const float *dq, const float *tangent_dq, cz_head_work *work, float *out);

/* q = G(o). features: [rows, D]; q: [rows, E]. */
cz_status cz_head_embed(const cz_head *head, const float *params, const float *features, size_t rows, float *q);

/* What the last forward pass would move the running statistics toward, laid out as state (variances unbiased); callers
 * may average several. Zero floats for heads without state. */
void cz_head_batch_state(const cz_head *head, const cz_head_work *work, float *out);
/* r <- 0.9 r + 0.1 b. state, batch_state: [state_count]. */
void cz_head_state_update(const cz_head *head, float *state, const float *batch_state);

/* A full pass over a set at the final theta: begin, add chunks of features [rows, D] in any sizes, end. For SimpleNet it
 * recomputes state; for a bank it is the training and writes params as well; with ops->pass_first it measures what training
 * starts from and writes that part of params. `params` must stay as they are in between.
 * The pass is the caller's to destroy whatever the outcome. Fewer rows than the statistics need is CZ_E_NO_IMAGES. */
cz_status cz_head_pass_begin(const cz_head *head, const float *params, cz_head_pass **out);
cz_status cz_head_pass_add(const cz_head *head, cz_head_pass *pass, const float *features, size_t rows);
cz_status cz_head_pass_end(const cz_head *head, cz_head_pass *pass, float *params, float *state);
void cz_head_pass_destroy(const cz_head *head, cz_head_pass *pass);

/* Inference mode (state's statistics), straight from the definition and for any head: features [rows, D] -> scores [rows].
 * Works in chunks of bounded memory. compose.h has the fast way. */
cz_status cz_head_score(const cz_head *head, const float *params, const float *state, const float *features,
                        size_t rows, float *scores);
/* Free with cz_composition_free. */
cz_status cz_head_compose(const cz_head *head, const float *params, const float *state, cz_composition *out);
void cz_composition_free(cz_composition *composition);

/* Adds F32 tensors head.NAME and state.NAME. */
cz_status cz_head_save(const cz_head *head, const float *params, const float *state, cz_tensors *into);
/* Reads them back. A missing, misshapen, non-F32 or non-finite tensor is CZ_E_MODEL and names it. */
cz_status cz_head_load(const cz_head *head, const cz_tensors *from, float *params, float *state);

#endif
