/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CZ_OPTIM_ADAM_H
#define CZ_OPTIM_ADAM_H

#include "util/status.h"

/* Adam (Kingma & Ba 2015), bias-corrected, in PyTorch's order of operations; AdamW's decoupled decay when asked for. */
typedef struct cz_adam_group {
    size_t first, count; /* range of the flat parameter buffer */
    double lr;
    double decay;  /* 0: none */
    int decoupled; /* AdamW */
} cz_adam_group;

typedef struct cz_adam {
    double beta1, beta2, epsilon; /* 0.9, 0.999, 1e-8 */
    uint64_t step;
    size_t count;
    float *m, *v; /* [count] */
} cz_adam;

cz_status cz_adam_init(size_t count, cz_adam *out);
void cz_adam_free(cz_adam *adam);
/* One step over the given groups (parameters in no group stay as they are). params, grads: [count]. OpenMP. */
void cz_adam_step(cz_adam *adam, const cz_adam_group *groups, size_t group_count, float *params, const float *grads);

#endif
