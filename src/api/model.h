/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of cz_model, and its file: safetensors with prefixes head. state. prep. and one JSON text under the metadata
 * key "cozad". Keys and tensors that this version does not know are kept when a model is saved again. */
#ifndef CZ_API_MODEL_H
#define CZ_API_MODEL_H

#include "backbone/backbone.h"
#include "features/preprocess.h"
#include "heads/head.h"

#include <jansson.h>
#include <stdatomic.h>

#define CZ_MODEL_FORMAT_MAJOR 1
#define CZ_MODEL_FORMAT_MINOR 0

struct cz_model {
    atomic_int references;
    cz_backbone *backbone; /* NULL: only inspected */
    cz_head *head;
    float *params, *state;
    cz_prep prep;
    char *taps, *detector;
    size_t feature_width; /* D of a patch; the head's own width is another where a sample is an image */
    size_t neighbourhood; /* cells a side that a patch is made of: 3, or 1 */
    float *
        relation; /* [2, D]: a patch's features are relational numbers, these their scales (api/relate.h); NULL: pooled */
    bool image_level; /* a sample is an image's descriptor (features/descriptor.h): a score, no map */
    char *backbone_name, *backbone_sha256;
    double feature_scale;
    double score_median, score_max; /* patch scores of the training photos */
    size_t top_k;
    json_t *meta;      /* the whole JSON, unknown keys included */
    char *json;        /* the same as text */
    cz_tensors *extra; /* tensors of other parts (calib. quant. backbone. …) and unknown ones */
    struct cz_stored_calibration *calibration; /* NULL: none; api/calibration.h */
    cz_quant quant;                            /* ranges for int8, count 0: none; their tensor is in `extra` */
};

/* A model without backbone from a file's bytes. Every tensor and setting is checked. */
cz_status cz_model_parse(const uint8_t *data, size_t size, cz_model **out);
/* Empty, one reference. */
cz_status cz_model_create(cz_model **out);
cz_model *cz_model_retain(cz_model *model);
/* A model with the same parameters, uncalibrated. `config` NULL: nothing else changes; else the copy's head has it and its parameters
 * are going to change. Ranges for int8 are kept: they are the frozen backbone's. */
cz_status cz_model_copy(const cz_model *from, const cz_head_config *config, cz_model **out);
/* Makes `json` from `meta`. */
cz_status cz_model_refresh_json(cz_model *model);

#endif
