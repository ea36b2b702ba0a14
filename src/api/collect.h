/* SPDX-License-Identifier: Apache-2.0 */
/* The features of all training photos, by several workers at once. */
#ifndef CZ_API_COLLECT_H
#define CZ_API_COLLECT_H

#include "api/feature_set.h"

typedef struct cz_collect_options {
    cz_backbone *backbone;
    const cz_image_source *source;
    const cz_extractor_options *extract; /* its `threads` are shared out among the workers */
    size_t grid_w, grid_h;
    cz_progress_fn progress; /* called by one thread at a time, as the log is, and the source unless it is concurrent */
    void *ctx;
} cz_collect_options;

/* Fills `out` in the source's order, without the photos that could not be read; their number goes to *skipped. The result
 * does not depend on which worker took which photo. CZ_E_NO_IMAGES when none is left. */
cz_status cz_collect(const cz_collect_options *options, cz_feature_set *out, size_t *skipped);

#endif
