/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the SimpleNet head share: simplenet.c (first derivatives), simplenet_second.c (second) and
 * simplenet_bf16.c (the matrix products of both in bf16). */
#ifndef CZ_HEADS_SIMPLENET_H
#define CZ_HEADS_SIMPLENET_H

#include "engine/engine.h"
#include "heads/head.h"
#include "heads/rows.h"

/* Offsets of theta's parts; the biases are there with simplenet_compat only (b1 is cancelled by batch norm: its gradient
 * is rounding noise, which Adam would turn into a random walk). */
typedef struct cz_simplenet_parts {
    size_t adaptor, adaptor_bias, hidden, hidden_bias, scale, shift, output;
} cz_simplenet_parts;

/* What a keeping workspace has besides: scratch in place of z and q-, and what tangent leaves for hessian. */
typedef struct cz_simplenet_second {
    float *dz;           /* [2P, K] scratch: dL/dz in backward, its tangent in hessian */
    float *total;        /* [P, D] scratch: dL/dq in backward, its tangent in hessian */
    float *sum;          /* [P, K] scratch: tangent of work->sum */
    float *rq;           /* [P, D] tangent of q, and of q- */
    float *rz;           /* [2P, K] tangent of z, but for a row that batch norm cancels */
    double *m1, *m2;     /* [K] mean of rz, mean of x rz */
    double *e3;          /* [K] sum of e times the tangent of x */
    float *coefficients; /* [CZ_ROWS_TANGENT_COEFFICIENTS K] */
    double *scratch;
} cz_simplenet_second;

/* What a workspace of precision bf16 has besides; its q2 holds q alone and it has no `sum`. */
typedef struct cz_simplenet_bf16 {
    cz_gemm *gemm;
    uint16_t *o;         /* [P, D] features */
    uint16_t *q2;        /* [2P, D] q over q-; backward puts dL/dq where q- was, unless it keeps */
    uint16_t *sum;       /* [P, K] dL/dz of q plus that of q- */
    uint16_t *turned;    /* [2, K, rows] dL/dz of a part of q and of q- */
    uint16_t *own_total; /* NULL, or where dL/dq goes in a workspace that keeps */
    float *block;        /* [rows, D] a part of dL/dq */
} cz_simplenet_bf16;

typedef struct cz_simplenet_work {
    cz_head_work base;     /* q is the first half of q2 */
    float *q2;             /* [2P, D] q over q-; backward puts dL/dq where q- was, unless it keeps */
    float *z;              /* [2P, K] W1 [q; q-], before batch norm; backward turns it into dL/dz, unless it keeps */
    float *sum;            /* [P, K] dL/dz of q plus that of q- */
    float *d, *g;          /* [2P] discriminator's output, dL/dD */
    float *mean, *istd;    /* [K] batch statistics, 1 / sqrt(var + eps) */
    float *coefficients;   /* [3 K] */
    double *mean64, *m264; /* [K] the same as double, m2 = sum of squares about the mean */
    double *e1, *e2;       /* [K] sums over rows of e and of e x, see simplenet.c */
    double *column;        /* [max(D, K)] column sums */
    double *scratch;
    cz_simplenet_second *second; /* NULL: nothing is kept */
    cz_simplenet_bf16 *bf16;     /* NULL: precision fp32 */
} cz_simplenet_work;

static inline cz_simplenet_parts cz_simplenet_layout(const cz_head *head)
{
    const size_t d = head->config.width, k = head->config.hidden;
    const bool compat = head->config.simplenet_compat;
    cz_simplenet_parts p;
    p.adaptor = 0;
    p.adaptor_bias = d * d;
    p.hidden = p.adaptor_bias + (compat ? d : 0);
    p.hidden_bias = p.hidden + k * d;
    p.scale = p.hidden_bias + (compat ? k : 0);
    p.shift = p.scale + k;
    p.output = p.shift + k;
    return p;
}

/* Batch norm with the statistics of the last forward pass. */
static inline cz_norm cz_simplenet_norm(const cz_head *head, const float *params, const cz_simplenet_work *w)
{
    const cz_simplenet_parts p = cz_simplenet_layout(head);
    return (cz_norm){head->config.hidden, w->mean, w->istd, params + p.scale, params + p.shift, params + p.output};
}

/* cz_head_ops' functions of these names. */
cz_status cz_simplenet_work_second_order(cz_head_work *work);
cz_status cz_simplenet_tangent(const cz_head *head, const float *params, const cz_batch *batch, const float *direction,
                               cz_head_work *work, float *tangent_q);
cz_status cz_simplenet_hessian(const cz_head *head, const float *params, const cz_batch *batch, const float *direction,
                               const float *dq, const float *tangent_dq, cz_head_work *work, float *out);
void cz_simplenet_second_destroy(cz_simplenet_second *second);

/* The products in bf16 of a workspace made for it, in place of those in fp32: forward fills q2 and bf16->q2, z, mean64 and m264;
 * backward the gradients of A and W1 (and biases); tangent rq and rz; hessian those parts of out. */
cz_status cz_simplenet_bf16_create(cz_simplenet_work *work);
cz_status cz_simplenet_bf16_keep(cz_simplenet_work *work);
void cz_simplenet_bf16_destroy(cz_simplenet_bf16 *bf16);
cz_status cz_simplenet_bf16_forward(const cz_head *head, const float *params, const cz_batch *batch,
                                    const cz_head_noise *noise, cz_simplenet_work *work);
cz_status cz_simplenet_bf16_backward(const cz_head *head, const float *params, size_t half, const float *dq,
                                     cz_simplenet_work *work, float *grads);
cz_status cz_simplenet_bf16_tangent(const cz_head *head, const float *params, size_t half, const float *direction,
                                    cz_simplenet_work *work);
cz_status cz_simplenet_bf16_hessian(const cz_head *head, const float *params, size_t half, const float *direction,
                                    const float *tangent_dq, cz_simplenet_work *work, float *out);

#endif
