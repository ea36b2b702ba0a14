/* SPDX-License-Identifier: Apache-2.0 */
/* A training run in the middle, in a file: going on from it gives the same model, bit for bit, as never having stopped. */
#ifndef CZ_API_CHECKPOINT_H
#define CZ_API_CHECKPOINT_H

#include "heads/head.h"
#include "losses/model_uncertainty.h"
#include "losses/soft_confident.h"
#include "optim/adam.h"

#define CZ_CHECKPOINT_SUMS 8

/* The caller's own buffers and objects, made for this training: saving reads them, loading fills them. The random numbers
 * need no place here: they depend on the seed and the step alone. */
typedef struct cz_checkpoint {
    const cz_head *head;
    float *params, *state;           /* [head->param_count], [head->state_count] */
    cz_adam *adam;                   /* of as many parameters */
    cz_uncertainty *uncertainty;     /* with its options set; NULL: none */
    cz_score_window **windows;       /* [window_count]; loading replaces each by a restored one of its capacity */
    size_t window_count;             /* 0: none */
    uint64_t step;                   /* the next step to do */
    double sums[CZ_CHECKPOINT_SUMS]; /* running figures of the epoch; any value, NaN included */
    const char *key; /* 64 hex digits: a hash over what must not have changed (options, photos, backbone) */
} cz_checkpoint;

/* Replaces the file at `path` whole or not at all (CZ_E_NO_SPACE, CZ_E_IO: what was there stays). Parameters or optimiser
 * moments that are not finite are CZ_E_DIVERGED: a good checkpoint is never replaced by one that could not be loaded. */
cz_status cz_checkpoint_save(const cz_checkpoint *c, const char *path);

/* Fills everything that `c` points to, its step and sums; on failure nothing of it has changed. CZ_E_MODEL, with the
 * file's name, when it is damaged, does not fit `c`, or has another key. */
cz_status cz_checkpoint_load(cz_checkpoint *c, const char *path);

/* Whether there is anything at `path`. */
bool cz_checkpoint_exists(const char *path);

#endif
