/* SPDX-License-Identifier: Apache-2.0 */
/* What the nearest-neighbour bank has beside the detector interface. */
#ifndef CZ_HEADS_KNN_H
#define CZ_HEADS_KNN_H

#include "heads/head.h"

#define CZ_KNN_MAX_BANK ((size_t)1 << 22)

/* cz_head_score of detector "knn" without rows first … end - 1 of its bank: what a training photo scores when its own patches do not
 * count. With all rows left out none is: a score needs a neighbour. features: [rows, D]; scores: [rows]. */
cz_status cz_knn_score_without(const cz_head *head, const float *params, const float *state, size_t first, size_t end,
                               const float *features, size_t rows, float *scores);

#endif
