/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the flow head share: flow.c (layout, training's forward pass, full pass), flow_backward.c, flow_second.c
 * (second derivatives), flow_map.c (the map in chunks: scores, forward, inverse) and flow_plan.c (fixed tables). */
#ifndef CZ_HEADS_FLOW_INTERNAL_H
#define CZ_HEADS_FLOW_INTERNAL_H

#include "heads/flow.h"
#include "heads/flow_rows.h"

/* Fixed by the configuration. A = F - M dimensions pass a block unchanged, M = F / 2 are moved. */
typedef struct cz_flow_plan {
    size_t width, f, kept, moved, hidden, blocks; /* D, F, A, M, H, B */
    cz_flow_clamp clamp;
    size_t block_count; /* floats of one block's parameters; block b's begin at b * block_count */
    size_t mean, scale; /* offsets of the standardisation in params */
    float *projection;  /* [F, D] or NULL */
    uint32_t *from;     /* [B, F] input j of block b is output from[j] of the one before */
    uint32_t *place;    /* [B, F] the inverse: output k becomes input place[k] */
} cz_flow_plan;

/* One block's parameters, or their gradients: [s_raw, t] = W2 relu(W1 x1 + b1) + b2. */
typedef struct cz_flow_net {
    float *w1, *b1, *w2, *b2; /* [H, A], [H], [2M, H], [2M] */
} cz_flow_net;

static inline const cz_flow_plan *cz_flow_plan_of(const cz_head *head)
{
    return head->own;
}

static inline cz_flow_net cz_flow_net_at(const cz_flow_plan *plan, float *values, size_t block)
{
    cz_flow_net net;
    net.w1 = values + block * plan->block_count;
    net.b1 = net.w1 + plan->hidden * plan->kept;
    net.w2 = net.b1 + plan->hidden;
    net.b2 = net.w2 + 2 * plan->moved * plan->hidden;
    return net;
}

typedef struct cz_flow_const_net {
    const float *w1, *b1, *w2, *b2;
} cz_flow_const_net;

static inline cz_flow_const_net cz_flow_const_net_at(const cz_flow_plan *plan, const float *values, size_t block)
{
    cz_flow_const_net net;
    net.w1 = values + block * plan->block_count;
    net.b1 = net.w1 + plan->hidden * plan->kept;
    net.w2 = net.b1 + plan->hidden;
    net.b2 = net.w2 + 2 * plan->moved * plan->hidden;
    return net;
}

static inline cz_flow_halves cz_flow_halves_of(const cz_flow_plan *plan)
{
    return (cz_flow_halves){plan->kept, plan->moved, plan->clamp};
}

/* Where a pass through the blocks leaves its activations. One that keeps has a buffer a block; one that does not goes to and
 * fro between two of x and has one of the others. */
typedef struct cz_flow_trace {
    size_t capacity;
    bool keep;
    float *x;        /* [B + 1 or 2][capacity, F] block inputs; at B: z */
    float *h;        /* [B or 1][capacity, H] relu(W1 x1 + b1) */
    float *out;      /* [B or 1][capacity, 2M] s_raw and, in place of t, exp(s) */
    double *log_det; /* [capacity] of the last pass, without the standardisation's */
    float *inverse;  /* [F] 1 / scale */
} cz_flow_trace;

static inline float *cz_flow_x(const cz_flow_trace *t, const cz_flow_plan *plan, size_t block)
{
    return t->x + (t->keep ? block : block % 2) * t->capacity * plan->f;
}

static inline float *cz_flow_h(const cz_flow_trace *t, const cz_flow_plan *plan, size_t block)
{
    return t->h + (t->keep ? block : 0) * t->capacity * plan->hidden;
}

static inline float *cz_flow_out(const cz_flow_trace *t, const cz_flow_plan *plan, size_t block)
{
    return t->out + (t->keep ? block : 0) * t->capacity * 2 * plan->moved;
}

/* CZ_E_ARG when the sizes overflow. Freed by cz_flow_trace_free, also when half made. */
cz_status cz_flow_trace_make(const cz_flow_plan *plan, size_t capacity, bool keep, cz_flow_trace *out);
void cz_flow_trace_free(cz_flow_trace *trace);
/* x [rows, F] = the projected features [rows, D]; a pointer to the features themselves where there is no projection, else to
 * `room` [rows, F]. */
cz_status cz_flow_project(const cz_flow_plan *plan, const float *features, size_t rows, float *room, const float **x);
/* features [rows, D] -> z and log_det in the trace; rows <= capacity. */
cz_status cz_flow_run(const cz_flow_plan *plan, const float *params, const float *features, size_t rows,
                      cz_flow_trace *trace);
/* The net of block `block` on x1 [rows, A], in rows of F: h and out [rows, 2M], without b2. */
cz_status cz_flow_subnet(const cz_flow_plan *plan, const float *params, size_t block, const float *x, size_t rows,
                         float *h, float *out);
/* F / 2 log 2 pi + sum of log scale: what -log p has beside |z|^2 / 2 - log_det. */
double cz_flow_constant(const cz_flow_plan *plan, const float *params);
/* scores [rows] = -log p / F of the last run */
void cz_flow_energy(const cz_flow_plan *plan, const float *params, const cz_flow_trace *trace, size_t rows,
                    float *scores);

/* What a keeping workspace has besides. The backward buffers are one a block. */
typedef struct cz_flow_second {
    float *rx;   /* [B + 1][P, F] tangents of the trace's x */
    float *rh;   /* [B][P, H] */
    float *rout; /* [B][P, 2M] of s_raw and t */
    float *rdx[2];
    float *rdout, *rdh; /* one block's */
} cz_flow_second;

typedef struct cz_flow_work {
    cz_head_work base;
    cz_flow_trace trace;
    float *g;     /* [P] dL/d(-log p) */
    float *dx[2]; /* [P, F] dL/dx of a block's input, of its output */
    float *dout;  /* [1 or B][P, 2M] dL/d[s_raw, t] */
    float *dh;    /* [1 or B][P, H] dL/d(W1 x1 + b1) */
    double *column, *scratch;
    cz_flow_second *second; /* NULL: nothing is kept */
} cz_flow_work;

static inline float *cz_flow_dout(const cz_flow_work *w, const cz_flow_plan *plan, size_t block)
{
    return w->dout + (w->second ? block : 0) * w->base.capacity * 2 * plan->moved;
}

static inline float *cz_flow_dh(const cz_flow_work *w, const cz_flow_plan *plan, size_t block)
{
    return w->dh + (w->second ? block : 0) * w->base.capacity * plan->hidden;
}

/* out [columns] = sum over rows of x; uses the workspace's scratch */
void cz_flow_sum_rows(cz_flow_work *w, const float *x, size_t rows, size_t columns, float *out);

/* Checks the configuration: CZ_E_ARG. The plan is freed by cz_flow_plan_free, also when half made. */
cz_status cz_flow_plan_make(const cz_head_config *config, cz_flow_plan **out);
void cz_flow_plan_free(cz_flow_plan *plan);

/* cz_head_ops' functions of these names. */
cz_status cz_flow_backward(const cz_head *head, const float *params, const cz_batch *batch, const float *dq,
                           cz_head_work *work, float *grads);
cz_status cz_flow_work_second_order(cz_head_work *work);
cz_status cz_flow_tangent(const cz_head *head, const float *params, const cz_batch *batch, const float *direction,
                          cz_head_work *work, float *tangent_q);
cz_status cz_flow_hessian(const cz_head *head, const float *params, const cz_batch *batch, const float *direction,
                          const float *dq, const float *tangent_dq, cz_head_work *work, float *out);
void cz_flow_second_destroy(cz_flow_second *second);
cz_status cz_flow_score(const cz_head *head, const float *params, const float *state, const float *features,
                        size_t rows, float *scores);

#endif
