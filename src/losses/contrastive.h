/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Patch contrastive loss with nearest-neighbour positives, in chunks (docs/math.md section 5, paper Eq. 1 to 4).
 *
 * P patches, E their width, B chunk size. The P rows of q are visited in a shuffled order, cut into chunks of B (a remainder
 * shorter than knn + 2 joins the last chunk). Within a chunk, with s(u, v) the cosine similarity over temperature:
 *   L_i = logsumexp(positives and negatives) - logsumexp(positives)
 *   positives  the twin q_i + delta_i and the knn rows most similar to q_i (ties to the lower index of the chunk)
 *   negatives  all other rows of the chunk; literal: all rows j, i itself (as 1 / temperature) and the positives included
 * The loss is the mean over all P patches. Neighbour sets and delta are constants of every derivative.
 */
#ifndef CZ_LOSSES_CONTRASTIVE_H
#define CZ_LOSSES_CONTRASTIVE_H

#include "util/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct cz_contrast_options {
    size_t chunk;       /* B, 256; at least 2 */
    size_t knn;         /* 5; 0: Eq. 1 */
    double temperature; /* tau_c, 0.1; 1e-6 … 1e6 */
    double noise_std;   /* sigma of delta, 0.015 */
    bool literal;       /* the denominator as printed; needs knn >= 1 */
} cz_contrast_options;
void cz_contrast_options_init(cz_contrast_options *options);

/* Drawn from the counter rng: delta (seed, CZ_RNG_TWIN, step, task), order (seed, CZ_RNG_CHUNKS, step, task); or given. */
typedef struct cz_contrast_noise {
    uint64_t seed, step;
    uint32_t task;
    const float *delta;  /* [P, E], row i belongs to row i of q whatever the order; NULL: drawn */
    const size_t *order; /* [P] permutation; NULL: drawn */
} cz_contrast_noise;

/* Buffers for at most `capacity` patches of width E; memory is one [capacity, E] twin buffer plus O(B^2 + B E). Keeps delta
 * and order of the last gradient call for the Hessian-vector product. */
typedef struct cz_contrast_work cz_contrast_work;
cz_status cz_contrast_work_create(const cz_contrast_options *options, size_t capacity, size_t width,
                                  cz_contrast_work **out);
void cz_contrast_work_destroy(cz_contrast_work *work);

/* *loss = the mean L_i; dq [P, E] = scale * d(loss)/dq (overwritten; NULL: the loss alone). q: [P, E]. A chunk without
 * negatives (knn or fewer other rows; not so when literal) has a loss of 0. CZ_E_DIVERGED when q or delta is not finite,
 * CZ_E_ARG when P is 0 or above the capacity or a given order is no permutation. OpenMP; no result depends on the thread
 * count beyond what the engine's matrix products do. */
cz_status cz_contrast_gradient(cz_contrast_work *work, const float *q, size_t patches, const cz_contrast_noise *noise,
                               double scale, double *loss, float *dq);
/* tangent_dq [P, E] = scale * (d^2 loss / dq^2) tangent_q, at the q, delta and order of the last gradient call (same q must
 * be passed again; CZ_E_ARG when there was none or of another P). Any number of times. tangent_dq may be tangent_q. */
cz_status cz_contrast_hessian(cz_contrast_work *work, const float *q, size_t patches, const float *tangent_q,
                              double scale, float *tangent_dq);

#endif
