/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the flow detector (docs/math/flow.md) offers beside heads/head.h: the map itself, both ways. All of these are
 * CZ_E_ARG for any other detector. F dimensions, D patch-feature width, x the projected features, z the normal variables.
 */
#ifndef CZ_HEADS_FLOW_H
#define CZ_HEADS_FLOW_H

#include "heads/head.h"

#define CZ_FLOW_MAX_BLOCKS 16

/* F; 0 for another detector. */
size_t cz_flow_width(const cz_head *head);
/* [F, D], orthonormal rows; NULL when x is the feature itself. Belongs to the head. */
const float *cz_flow_projection(const cz_head *head);
/* [F]: input j of a block is output order[j] of the block before it (of the standardised x, for block 0). Belongs to the
 * head; NULL when there is no such block. */
const uint32_t *cz_flow_order(const cz_head *head, size_t block);

/* features: [rows, D] -> z [rows, F] and log |det dz/dx| [rows], standardisation included:
 * log p(x) = log N(z; 0, I) + log_det. Either may be NULL. Works in chunks of bounded memory. OpenMP. */
cz_status cz_flow_forward(const cz_head *head, const float *params, const float *features, size_t rows, float *z,
                          double *log_det);
/* z: [rows, F] -> x [rows, F]: of standard normal z, samples. OpenMP. */
cz_status cz_flow_inverse(const cz_head *head, const float *params, const float *z, size_t rows, float *x);

#endif
