/* SPDX-License-Identifier: Apache-2.0 */
/* Patch scores of tapped maps by any detector: the composed head where there is one, else pooled patch features through
 * cz_head_score, some grid rows at a time. */
#ifndef CZ_API_SCORER_H
#define CZ_API_SCORER_H

#include "api/model.h"
#include "features/patch.h"

/* One owner at a time (it holds buffers). */
typedef struct cz_scorer cz_scorer;

typedef struct cz_scorer_options {
    const cz_model *model;    /* must outlive the scorer */
    const cz_tap_shape *taps; /* not needed afterwards */
    size_t tap_count;
    size_t threads;         /* > 0: the OpenMP count in force at every run */
    cz_precision precision; /* of the composed head's products; those of other heads are fp32 */
} cz_scorer_options;

cz_status cz_scorer_create(const cz_scorer_options *options, cz_scorer **out);
void cz_scorer_destroy(cz_scorer *s);
size_t cz_scorer_grid_w(const cz_scorer *s);
size_t cz_scorer_grid_h(const cz_scorer *s);
/* Scores of one image: maps[t]: [h_t, w_t, C_t] bf16; valid: [P] the inspected patches; scores: [P]. Where a sample is an image
 * all patches have its score, 0 without any inspected patch. Adds milliseconds to timing->pooling and timing->head. OpenMP. */
cz_status cz_scorer_run(cz_scorer *s, const uint16_t *const *maps, const uint8_t *valid, float *scores,
                        cz_timing *timing);

#endif
