/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Model uncertainty (docs/math.md section 4, paper Eq. 8 and 9): the covariance of the last n (training, validation) loss
 * pairs sets the strength of the L2 term.
 */
#ifndef CZ_LOSSES_MODEL_UNCERTAINTY_H
#define CZ_LOSSES_MODEL_UNCERTAINTY_H

#include "util/status.h"

#include <stdbool.h>
#include <stddef.h>

#define CZ_UNCERTAINTY_MAX_PAIRS 256

typedef struct cz_uncertainty_options {
    size_t pairs;   /* n, 10; 2 … CZ_UNCERTAINTY_MAX_PAIRS */
    double lambda0; /* 5e-6 */
    double gamma;   /* 1; 0 switches model uncertainty off */
    double det_max; /* 100 */
    bool raw;       /* losses as they are (Eq. 8 as printed) instead of divided by their first standard deviations */
} cz_uncertainty_options;
void cz_uncertainty_options_init(cz_uncertainty_options *options);

/* Plain values, so that a checkpoint can keep it as it is. */
typedef struct cz_uncertainty {
    cz_uncertainty_options options;
    double pair[CZ_UNCERTAINTY_MAX_PAIRS][2]; /* ring of (training, validation) */
    size_t pushed;                            /* ever */
    double scale[2];                          /* standard deviations of the first n pairs, floor 1e-8; frozen then */
    double det;                               /* of the scaled covariance, clamped to [0, det_max]; 0 before n pairs */
} cz_uncertainty;

/* CZ_E_ARG when an option is out of range. */
cz_status cz_uncertainty_init(cz_uncertainty *u, const cz_uncertainty_options *options);
/* One pair a meta-step: unweighted mean L_AD, no regularisation or contrastive term. CZ_E_ARG when not finite. */
cz_status cz_uncertainty_push(cz_uncertainty *u, double training, double validation);
/* lambda0 (1 + gamma det), Eq. 9 */
double cz_uncertainty_lambda(const cz_uncertainty *u);

#endif
