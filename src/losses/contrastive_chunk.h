/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One chunk of the contrastive loss (docs/math/contrastive.md has the formulas and their names). n rows of the chunk, E their
 * width, k mined neighbours. u = q / m with m = max(|q|, CZ_CONTRAST_MIN_NORM), u~ the same of the twin q + delta; a dot
 * over a letter there is "d…" here: its tangent along the direction of a Hessian-vector product.
 */
#ifndef CZ_LOSSES_CONTRASTIVE_CHUNK_H
#define CZ_LOSSES_CONTRASTIVE_CHUNK_H

#include "util/status.h"

#include <stdbool.h>
#include <stddef.h>

#define CZ_CONTRAST_MIN_NORM 1e-8

typedef struct cz_contrast_row {
    double norm, twin_norm;   /* m, m~ */
    double dnorm, dtwin_norm; /* 0 where clamped */
    double free, twin_free;   /* f, f~: 1, or 0 where the norm is clamped */
    double cosine, dcosine;   /* c = u . u~ */
    double rest;              /* r, share of the negatives in the denominator */
    double positive_twin;     /* p_t, weight of the twin among the positives */
    double dtwin;             /* tangent of h = -r p_t */
    double loss;              /* L_i */
    float delta_factor;       /* what delta_i is multiplied by in the result */
} cz_contrast_row;

typedef struct cz_contrast_chunk {
    /* settings */
    size_t width, capacity; /* E, n at the most */
    size_t knn;
    double temperature;
    bool literal;
    /* this chunk */
    size_t rows, neighbours; /* n, k = min(knn, n - 1) */
    const size_t *order;     /* [n] its rows in q, delta and tangent */
    const float *q;          /* [P, E] */
    const float *delta;      /* [P, E] */
    const float *tangent;    /* [P, E] direction of the Hessian-vector product; NULL: none */
    /* buffers, dense for n rows */
    cz_contrast_row *row; /* [n] */
    size_t *neighbour;    /* [n, k] most similar first */
    double *positive;     /* [n, k] p_j, their weights among the positives */
    float *u;             /* [2 n, E] u, below it du */
    float *cosine;        /* [n, n] u_i . u_j, the diagonal overwritten by a value below all cosines */
    float *dcosine;       /* [n, n] */
    float *weight;        /* [n, n] r_i times the weight of j among i's negatives; then g = tau dL_i / d s_ij */
    float *dweight;       /* [n, n] */
    float *both;          /* [n, n] g_ij + g_ji */
    float *dboth;         /* [n, n] */
    float *mix;           /* [n, n], or [n, 2 n] with a tangent: result = mix [u; du] + delta_factor delta */
    float *result;        /* [n, E] */
} cz_contrast_chunk;

cz_status cz_contrast_chunk_create(cz_contrast_chunk *chunk);
void cz_contrast_chunk_free(cz_contrast_chunk *chunk);

/* Rows normalised, cosines, neighbours and weights: fills row, u, cosine, neighbour, positive, weight. CZ_E_DIVERGED when q
 * or delta is not finite. */
cz_status cz_contrast_chunk_forward(cz_contrast_chunk *chunk);
/* After forward: rows of out [P, E] = factor tau d(sum L_i)/dq. Uses weight up. */
cz_status cz_contrast_chunk_gradient(cz_contrast_chunk *chunk, double factor, float *out);
/* After forward with a tangent: the tangent of those rows. Uses weight up. */
cz_status cz_contrast_chunk_hessian(cz_contrast_chunk *chunk, double factor, float *out);

#endif
