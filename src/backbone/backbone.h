/* SPDX-License-Identifier: Apache-2.0 */
/* The frozen backbone F (docs/math.md section 1): ResNet-18/34/50/101, Wide-ResNet-50-2/101-2 and cozad_r32, stem to layer4
 * where the weights have it, batch norm folded. `cz_backbone` holds the folded weights; a `cz_plan` is the network compiled for one
 * input shape, batch, thread count and precision. */
#ifndef CZ_BACKBONE_BACKBONE_H
#define CZ_BACKBONE_BACKBONE_H

#include "util/status.h"

#include <stdbool.h>

#define CZ_MAX_TAPS 24

/* Reads architecture, folds batch norm (eps from metadata, 1e-5), checks every tensor that taps up to the last stage
 * present need. `name` and `path` are copied. Tensor names may carry a "module." or "model." prefix. */
cz_status cz_backbone_from_tensors(const cz_tensors *tensors, const char *name, const char *path, cz_backbone **out);
/* Random weights from cz_hash_uniform, scaled so that activations keep their size (He), stem to layer3. */
cz_status cz_backbone_random(const char *architecture, uint64_t seed, cz_backbone **out);
cz_backbone *cz_backbone_retain(cz_backbone *b); /* atomic count; returns b */

/* Per-channel mean and std of the RGB input, in 0…255 units: input = (x - mean) / std. */
void cz_backbone_normalisation(const cz_backbone *b, float mean[3], float std[3]);
/* Feature scale of docs/math.md section 2: a positive constant from metadata "feature_scale", 1 for torchvision's input
 * normalisation (std not 1), or 0: to be measured on the training photos (metadata "calibrate", random weights, or
 * input_std 1). */
double cz_backbone_feature_scale(const cz_backbone *b);

typedef struct cz_tap {
    char name[24]; /* stem.relu, stem.pool, layer1 … layer4, layerL.B */
    size_t channels, height, width;
} cz_tap;

/* Ranges of activations for int8, by node of the layout; made by backbone/quantise.h. */
#define CZ_QUANT_MAX 120
typedef struct cz_quant {
    size_t count;              /* nodes from the first on that have a range */
    float range[CZ_QUANT_MAX]; /* largest value that the node's 8 bits stand for, > 0 */
} cz_quant;

/* Ranges of every node that the weight file has inside; NULL: none. */
const cz_quant *cz_backbone_ranges(const cz_backbone *b);

typedef struct cz_plan_options {
    const char *taps; /* comma-separated */
    size_t batch, height, width;
    size_t threads; /* > 0; plans must be run under the same count (cz_threads_enter) */
    cz_precision precision;
    const cz_quant *quant; /* for int8 */
    bool bf16_taps;        /* taps are read with cz_plan_tap_bf16 */
} cz_plan_options;

typedef struct cz_plan cz_plan;

/* Nothing later than the last tap is computed; memory is planned once from lifetimes and reused by every run. */
cz_status cz_plan_create(const cz_backbone *b, const cz_plan_options *options, cz_plan **out);
void cz_plan_destroy(cz_plan *plan);
size_t cz_plan_tap_count(const cz_plan *plan);
const cz_tap *cz_plan_tap(const cz_plan *plan, size_t index); /* in the order asked for */
/* input: [N, H, W, 3] normalised F32 (channels last). */
cz_status cz_plan_run(cz_plan *plan, const float *input);
/* [N, h, w, C] F32, channels last; belongs to the plan, valid until its next run. */
const float *cz_plan_tap_data(const cz_plan *plan, size_t index);
const uint16_t *cz_plan_tap_bf16(const cz_plan *plan, size_t index); /* the same as bf16, with bf16_taps */
size_t cz_plan_memory(const cz_plan *plan); /* bytes of packed weights, activations and scratch */

/* Shape of a tap without a plan; CZ_E_ARG names an unknown tap and lists the known ones. */
cz_status cz_backbone_tap_shape(const cz_backbone *b, const char *tap, size_t height, size_t width, cz_tap *out);

#endif
