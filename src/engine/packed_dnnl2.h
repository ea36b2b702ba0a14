/* SPDX-License-Identifier: Apache-2.0 */
/* Packed weights as a block of bytes: header, one record a convolution in the order of the network, then for each the
 * weights in oneDNN's layout, the bias, and for int8 the weights' scales, each 64-byte aligned. The block does not depend
 * on ranges of activations: a bias is kept as it is and scaled when a network takes it. */
#ifndef CZ_ENGINE_PACKED_DNNL2_H
#define CZ_ENGINE_PACKED_DNNL2_H

#include "engine/engine_dnnl2.h"

typedef enum cz_packed_algorithm { CZ_PACKED_DIRECT = 0, CZ_PACKED_WINOGRAD = 1 } cz_packed_algorithm;

/* What a convolution needs. */
typedef struct cz_packed_need {
    dnnl_memory_desc_t md;
    size_t out_channels;
    cz_packed_algorithm algorithm;
    uint32_t limit; /* int8: the largest magnitude of a weight; 0: weights are no integers */
} cz_packed_need;

/* The same, found in a block. */
typedef struct cz_packed_conv {
    const void *weights;
    const float *bias;   /* [out_channels] */
    const float *scales; /* [out_channels]: weight = scale * stored; NULL when limit is 0 */
    cz_packed_algorithm algorithm;
    uint32_t limit;
    uint64_t verified[4]; /* Winograd: N, C, H, W of the input with which it was compared to direct; else 0 */
} cz_packed_conv;

/* A block for these needs, weights, biases and scales yet to be filled in. */
cz_status cz_packed_new(const cz_packed_need *needs, size_t count, cz_packed **out);
size_t cz_packed_count(const cz_packed *packed);
/* False when convolution `index` has another number of output channels. */
bool cz_packed_get(const cz_packed *packed, size_t index, size_t out_channels, cz_packed_conv *out);
/* Whether convolution `index` is packed in just this way. */
bool cz_packed_suits(const cz_packed *packed, size_t index, const cz_packed_need *need);
/* Only before a block is given away. */
void *cz_packed_writable(cz_packed *packed, const void *part);
void cz_packed_set_verified(cz_packed *packed, size_t index, const size_t nchw[4]);

#endif
