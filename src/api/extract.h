/* SPDX-License-Identifier: Apache-2.0 */
/* Image in, tapped maps out: preprocessing, feature store and backbone behind one call. Training, scoring and evaluation
 * all come through here, so that they see the same numbers (rounded to bf16, docs/math.md section 2). */
#ifndef CZ_API_EXTRACT_H
#define CZ_API_EXTRACT_H

#include "backbone/backbone.h"
#include "features/patch.h"
#include "features/preprocess.h"
#include "features/store.h"

typedef struct cz_extractor_options {
    const char *taps;
    const cz_prep *prep; /* belongs to the caller, must outlive the extractor */
    size_t threads, batch;
    cz_precision precision;        /* one that is computed in */
    const cz_quant *quant;         /* for int8: copied; else NULL */
    const cz_cache_options *cache; /* dir NULL: no store */
    cz_log_fn log;
    void *ctx;
} cz_extractor_options;

typedef struct cz_extractor cz_extractor;

cz_status cz_extractor_create(cz_backbone *backbone, const cz_extractor_options *options, cz_extractor **out);
void cz_extractor_destroy(cz_extractor *x);
/* Whether images are looked up in the feature store and added to it; true at first, where there is one. */
void cz_extractor_use_store(cz_extractor *x, bool use);
size_t cz_extractor_taps(const cz_extractor *x);
const cz_tap_shape *cz_extractor_shape(const cz_extractor *x, size_t tap);
/* bf16 values of one image: all taps one after the other, [h, w, C] each. */
size_t cz_extractor_values(const cz_extractor *x);

/* What one image became. Belongs to the extractor, valid until its next run. */
typedef struct cz_extracted {
    cz_geometry geometry;
    const uint16_t *values;      /* [cz_extractor_values] bf16 */
    const cz_store_entry *entry; /* non-NULL: `values` lie in this mapping of the feature store */
    bool from_store;
} cz_extracted;

/* cz_extractor_run in two halves: after the first the images' pixels are not needed any more. */
cz_status cz_extractor_prepare(cz_extractor *x, const cz_image *images, size_t count, cz_timing *timing);
cz_status cz_extractor_compute(cz_extractor *x, size_t count, cz_extracted *out, cz_timing *timing);
/* count <= batch. The caller has set the thread count (cz_threads_enter). Adds milliseconds to timing->preprocess and
 * timing->backbone. */
cz_status cz_extractor_run(cz_extractor *x, const cz_image *images, size_t count, cz_extracted *out, cz_timing *timing);
/* Hands a mapping over to the caller, who releases it with cz_store_release; false when there is none. */
bool cz_extractor_take_entry(cz_extractor *x, size_t index, cz_store_entry *out);
/* What the store's keys say of the features beside the pixels; NULL without a store. For tests. */
const char *cz_extractor_context(const cz_extractor *x);
/* Where the values' taps begin: maps [taps], as the pooler and the composed head take them. */
void cz_extractor_maps(const cz_extractor *x, const uint16_t *values, const uint16_t **maps);

#endif
