/* SPDX-License-Identifier: Apache-2.0 */
/* Measures on a few photos what lower precisions need and what they cost: ranges for int8, and how far features are from fp32. */
#ifndef CZ_API_MEASURE_H
#define CZ_API_MEASURE_H

#include "api/precision.h"

typedef struct cz_measure_options {
    cz_backbone *backbone;
    const cz_image_source *source;
    size_t photos; /* of the source at the most, evenly spaced */
    const char *taps;
    const cz_prep *prep;
    size_t width;            /* D */
    size_t threads;          /* 0: all the process may use; in force already (cz_threads_enter) */
    cz_progress_fn progress; /* of the photos, as "precision" */
    cz_log_fn log;
    void *ctx;
} cz_measure_options;

/* Photos that ranges are measured on unless told otherwise. */
#define CZ_QUANTISE_IMAGES ((size_t)32)

/* A photo that cannot be read is left out without a word: whoever reads all of them tells. A precision that cannot be computed, or not
 * natively, has no error. CZ_E_NO_IMAGES when no photo could be read. */
cz_status cz_precision_measure(const cz_measure_options *options, cz_precision_facts *out);
/* For a model that is to be computed in int8 and has no ranges: measures them on `options->photos` photos of the source and stores
 * what was found. Of the options, backbone, taps, prep and width are the model's. Does nothing in other precisions. */
cz_status cz_precision_measure_model(cz_model *model, cz_precision precision, const cz_measure_options *options);

#endif
