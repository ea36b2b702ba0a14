/* SPDX-License-Identifier: Apache-2.0 */
/* Convolution weights from a source of named tensors, batch norm folded in. */
#ifndef CZ_BACKBONE_FOLD_H
#define CZ_BACKBONE_FOLD_H

#include "backbone/arch.h"
#include "util/sha256.h"

/* Tensors by canonical (torchvision) name, from a file or out of thin air. */
typedef struct cz_weight_source {
    const void *ctx;
    bool (*has)(const void *ctx, const char *name);
    /* F32 values into out: [product of shape]. CZ_E_WEIGHTS names the tensor and what was expected. */
    cz_status (*fetch)(const void *ctx, const char *name, const size_t *shape, size_t rank, float *out);
} cz_weight_source;

typedef struct cz_file_source {
    const cz_tensors *tensors;
    const char *prefix; /* before each name in the file: "", "module.", … */
    const char *arch;   /* for messages */
} cz_file_source;
cz_weight_source cz_source_of_file(const cz_file_source *file);

/* Raw (not folded) random weights, element i of tensor NAME from u = cz_hash_uniform(cz_name_hash(NAME, seed), i) in
 * [-1, 1), every operation in fp32:
 *   convolution   u * (float)sqrt(6 / (in * kernel * kernel))     (He: variance 2 / fan-in)
 *   bn.weight     1 + 0.2 u; the last batch norm of a block's main branch 0.25 + 0.05 u, which keeps the sums in range
 *   bn.bias       0.1 u
 *   running_mean  0.1 u
 *   running_var   1 + 0.5 u
 * tests/parity/hashweights.py makes the same bits. */
typedef struct cz_random_source {
    uint64_t seed;
    bool bottleneck;
} cz_random_source;
cz_weight_source cz_source_of_hash(const cz_random_source *random);

/* One convolution, ready for use. weights: [out, in, kernel, kernel], bias: [out]. `sha` is fed with what was read, before
 * folding, as name, 0 byte, rank, extents (64 bits each) and F32 values, all little-endian. A batch norm named conv->norm
 * is folded in double; where there is none, NAME.bias must be there. */
cz_status cz_fold_conv(const cz_weight_source *source, const cz_layer_conv *conv, double eps, cz_sha256 *sha,
                       float *weights, float *bias);

#endif
