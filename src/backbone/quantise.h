/* SPDX-License-Identifier: Apache-2.0 */
/* Ranges of activations for int8 (docs/precision.md): fp32 forward passes over a few dozen photos, a histogram a node, and the range that
 * loses least. */
#ifndef CZ_BACKBONE_QUANTISE_H
#define CZ_BACKBONE_QUANTISE_H

#include "backbone/backbone.h"

typedef struct cz_quantiser cz_quantiser;
/* A plan for one image that keeps every node up to the last of `taps`. */
cz_status cz_quantiser_create(const cz_backbone *b, const char *taps, size_t height, size_t width, size_t threads,
                              cz_quantiser **out);
void cz_quantiser_destroy(cz_quantiser *q);
/* input: [height, width, 3] normalised. */
cz_status cz_quantiser_add(cz_quantiser *q, const float *input);
/* Its plan, for the taps of the photo that was added last. */
const cz_plan *cz_quantiser_plan(const cz_quantiser *q);
/* For each node the larger of the range of least mean squared error and the 99.999th percentile: what is rare in normal photos may be
 * what a defect looks like. CZ_E_ARG before any photo. */
cz_status cz_quantiser_finish(const cz_quantiser *q, cz_quant *out);

/* 16 hex digits that name the ranges in keys of stores. */
void cz_quant_hash(const cz_quant *quant, char hex[17]);
/* As the tensor quant.ranges [count] of a model or weight file, and back; a missing one is CZ_E_MODEL. */
#define CZ_QUANT_TENSOR "quant.ranges"
cz_status cz_quant_save(const cz_quant *quant, cz_tensors *into);
cz_status cz_quant_load(const cz_tensors *from, cz_quant *out);

#endif
