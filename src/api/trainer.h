/* SPDX-License-Identifier: Apache-2.0 */
/* What one training run holds, and the loops that can fill it: train.c prepares and finishes, train_plain.c, train_cozad.c
 * and train_knn.c are the methods. */
#ifndef CZ_API_TRAINER_H
#define CZ_API_TRAINER_H

#include "api/checkpoint.h"
#include "api/knn_choice.h"
#include "api/negatives.h"
#include "api/patches.h"
#include "api/precision.h"
#include "optim/adam.h"

typedef struct cz_trainer {
    cz_train_options settled;        /* method "knn": something may be open until cz_train_knn_choose */
    const cz_train_options *options; /* those */
    const cz_image_source *source;
    cz_model *model;
    cz_precision precision; /* of the features */
    cz_precision_facts measured;
    cz_patch_set patches;
    cz_adam adam;
    cz_adam_group groups[CZ_HEAD_MAX_GROUPS];
    float *grads, *batch_state; /* [params], [state] */
    float *features;            /* [max(grid, rows of a step), D] */
    uint8_t *target;            /* [the same rows] cz_patch_target; NULL: all are normal */
    cz_negatives *negatives;    /* NULL: none */
    char key[65];               /* what a checkpoint must agree with */
    double loss;                /* of the last epoch */
    size_t steps;               /* optimiser steps in all */
    size_t left_out;            /* photos that a person has sorted out */
    size_t candidates;          /* patches that a bank was chosen from */
    cz_knn_choice choice;
} cz_trainer;

/* How the run makes patches of a source's photos; the trainer's model and precision must be there, and `source` outlive it. */
cz_patch_options cz_trainer_patch_options(const cz_trainer *t, const cz_image_source *source);
/* The companions of the photos that are known to show a defect, where the options ask for them. */
cz_status cz_trainer_add_negatives(cz_trainer *t);
/* Patches of one photo and its companion that a step uses at the most. */
size_t cz_trainer_patches(const cz_trainer *t);
/* Draws a photo's patches and behind them its companion's (trainer_draw.c): rows `at` and on of t->features and t->target. Returns how
 * many, *own of them the photo's. */
size_t cz_trainer_draw(cz_trainer *t, size_t image, cz_rng *rng, size_t at, size_t *own);
/* The head's full pass (cz_patch_set_statistics); with negatives over a draw of every photo, as the steps see them. */
cz_status cz_trainer_statistics(cz_trainer *t);
/* Allocates t->features for `rows` rows (at least a whole photo). */
cz_status cz_trainer_reserve(cz_trainer *t, size_t rows);
/* CZ_E_DIVERGED when a gradient is not finite; else one Adam step. `norms` [groups]: Euclidean norms of the gradient. */
cz_status cz_trainer_update(cz_trainer *t, double norms[CZ_HEAD_MAX_GROUPS]);
/* Fills in what `c` points to when the caller asked to resume and there is a checkpoint. */
cz_status cz_trainer_resume(cz_trainer *t, cz_checkpoint *c);
/* Every checkpoint_every steps. A checkpoint that cannot be written is a log line, not the end of the training. */
void cz_trainer_save_every(cz_trainer *t, const cz_checkpoint *c);
/* A training that ends before its time: keeps `c` (the last good state) when it was cancelled or diverged, and returns
 * `status` with a message that says so. */
cz_status cz_trainer_keep(cz_trainer *t, const cz_checkpoint *c, cz_status status);
/* A line for few optimiser steps, which leave a detector near its starting point (docs/results.md). */
void cz_trainer_warn_of_few_steps(const cz_trainer *t, size_t steps_an_epoch);

/* The epochs: parameters, t->loss and t->steps are set. */
cz_status cz_train_plain(cz_trainer *t);
cz_status cz_train_cozad(cz_trainer *t);
/* Method "knn": settles rotations and neighbourhood where they are open, in the options, the patches and the model, and tells the log.
 * t->features must have been reserved. */
cz_status cz_train_knn_choose(cz_trainer *t);
/* No epochs: makes the model's head and fills its bank; t->candidates and t->patches.own are set. */
cz_status cz_train_knn(cz_trainer *t);

#endif
