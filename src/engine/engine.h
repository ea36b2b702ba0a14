/* SPDX-License-Identifier: Apache-2.0 */
/* The compute engine: a small network compiler (convolutions, max pooling, residual sums) and matrix products. Nothing
 * outside this folder knows which library does the work; engine_dnnl2*.c stand on oneDNN 2.x.
 *
 * Threads: oneDNN bakes the OpenMP thread count into a primitive, so cz_net and cz_matmul set the count they were made
 * for around create and run themselves, and put the caller's back. Running inside an OpenMP region is CZ_E_ARG. One
 * object may be run by one thread at a time. */
#ifndef CZ_ENGINE_ENGINE_H
#define CZ_ENGINE_ENGINE_H

#include "util/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One line: library, version, instruction set in use, as "oneDNN 2.6.3, AVX-512 …". Always terminated. */
void cz_engine_describe(char *text, size_t size);
/* Whether this processor has instructions of its own for a precision, so that it is faster than fp32 and not merely possible. */
bool cz_engine_native(cz_precision precision);

/* ---- networks ------------------------------------------------------------------------------------------------ */

/* Built node by node, then compiled once by cz_net_finalise; after that it can only be run. */
typedef struct cz_net cz_net;
/* A tensor between nodes: an index into the network. */
typedef size_t cz_net_value;
#define CZ_NET_NONE SIZE_MAX

typedef struct cz_conv_desc {
    size_t out_channels, kernel_h, kernel_w;
    size_t stride, pad; /* both axes, all four sides */
    const float
        *weights;      /* [out_channels, in_channels, kernel_h, kernel_w]; read by cz_net_finalise, not kept after it */
    const float *bias; /* [out_channels]; likewise */
    bool relu;         /* applied last, after the residual sum */
} cz_conv_desc;

typedef struct cz_pool_desc {
    size_t kernel, stride;
    size_t pad_begin;            /* top and left; padding never wins the maximum */
    size_t pad_end_h, pad_end_w; /* bottom, right */
} cz_pool_desc;

cz_status cz_net_create(cz_net **out);
void cz_net_destroy(cz_net *net);
/* The one input, [batch, height, width, channels] F32. */
cz_status cz_net_input(cz_net *net, size_t batch, size_t height, size_t width, size_t channels, cz_net_value *out);
/* out = relu?(conv(input) + bias + residual?); `residual` is CZ_NET_NONE or of the output's shape. */
cz_status cz_net_conv(cz_net *net, cz_net_value input, cz_net_value residual, const cz_conv_desc *desc,
                      cz_net_value *out);
cz_status cz_net_max_pool(cz_net *net, cz_net_value input, const cz_pool_desc *desc, cz_net_value *out);
/* Keeps a value (not the input) readable after a run. Marking twice is harmless. */
cz_status cz_net_mark_output(cz_net *net, cz_net_value value);

/* The packed weights of a network: one block of bytes, immutable, counted, shared by networks of the same nodes, shapes and
 * settings (or those whose layouts happen to agree), and fit to be written to a file and mapped again. */
typedef struct cz_packed cz_packed;
cz_packed *cz_packed_retain(cz_packed *packed);
void cz_packed_release(cz_packed *packed); /* NULL is fine */
/* Everything, with a header that says what it holds; 64-byte aligned. */
const void *cz_packed_bytes(const cz_packed *packed, size_t *size);
/* `bytes` (64-byte aligned) are used in place until `let_go(ctx)` is called with the last reference. Offsets and sizes are checked
 * against `size`, CZ_E_FORMAT (then let_go is not called); whether they suit a network is for cz_net_finalise to say. The values
 * themselves are taken on trust: the caller has a checksum. */
cz_status cz_packed_from_bytes(const void *bytes, size_t size, void (*let_go)(void *ctx), void *ctx, cz_packed **out);

typedef struct cz_net_options {
    size_t threads;         /* > 0 */
    cz_precision precision; /* not AUTO, not MODEL */
    const float *ranges; /* int8: [values] the largest magnitude that value v's 8 bits stand for; [0] is the input's */
    bool
        bf16_outputs; /* marked values are read with cz_net_output_bf16 (rounded to nearest even), else cz_net_output */
    cz_packed *packed; /* NULL, or weights to use where they suit every convolution; retained */
} cz_net_options;
/* Chooses layouts, packs the weights, plans memory. With `packed` the nodes' weights and biases may be NULL: CZ_E_WEIGHTS when
 * it does not suit after all. */
cz_status cz_net_finalise(cz_net *net, const cz_net_options *options);
/* The weights that a finalised network uses; belongs to it. */
cz_packed *cz_net_packed(const cz_net *net);
/* input: [batch, height, width, channels] F32. */
cz_status cz_net_run(cz_net *net, const float *input);
/* [batch, height, width, channels] F32 of a marked value, valid until the next run; NULL for one that is not marked. */
const float *cz_net_output(const cz_net *net, cz_net_value value);
const uint16_t *cz_net_output_bf16(const cz_net *net, cz_net_value value); /* the same, with bf16_outputs */
/* Shape of any value: batch, height, width, channels. */
void cz_net_shape(const cz_net *net, cz_net_value value, size_t shape[4]);
/* Bytes of packed weights (even where they are shared), activations and scratch of a finalised network. */
size_t cz_net_memory(const cz_net *net);

/* ---- matrix products ------------------------------------------------------------------------------------------ */

/* C = alpha op(A) op(B) + beta C, row-major; op(A) [M, K], op(B) [K, N], C [M, N]; `lda` … are row strides in floats of
 * the matrices as stored. Uses the OpenMP thread count in force. beta = 0 never reads C. */
cz_status cz_engine_sgemm(bool trans_a, bool trans_b, size_t m, size_t n, size_t k, float alpha, const float *a,
                          size_t lda, const float *b, size_t ldb, float beta, float *c, size_t ldc);

/* The same products in bf16: operands rounded to bf16 (to nearest even) where they are not yet, sums and result in fp32. Where
 * oneDNN has no bf16 product the rounded operands are multiplied in fp32, so the result means the same on every processor. */
/* Prepared products, and scratch memory that grows to what the products given to it need. */
typedef struct cz_gemm cz_gemm;
typedef struct cz_gemm_operand {
    const void *values; /* F32, or bf16 */
    size_t stride;      /* elements from row to row as stored */
    bool trans, bf16;
} cz_gemm_operand;
typedef struct cz_gemm_desc {
    size_t m, n, k;
    float alpha, beta; /* beta = 0 never reads C */
    cz_gemm_operand a, b;
    float *c;
    size_t ldc;
    /* NULL, or called when `count` rows of C from `first` on are ready, in ascending order and while they are near; `block`
     * rows (0: the engine's choice) at a time. It may not use the same cz_gemm. */
    void (*done)(void *ctx, size_t first, size_t count);
    void *ctx;
    size_t block;
    bool c_is_block; /* C has room for `block` rows only: each block takes the place of the one before */
} cz_gemm_desc;
cz_status cz_engine_gemm_create(cz_gemm **out);
/* Uses the OpenMP thread count in force. Fastest: A in bf16, not transposed; B a weight matrix in any form, or in bf16 and not
 * transposed. A `k` above a few thousand is added up in parts, in order. */
cz_status cz_engine_gemm(cz_gemm *gemm, const cz_gemm_desc *desc);
void cz_engine_gemm_destroy(cz_gemm *gemm);
size_t cz_engine_gemm_memory(const cz_gemm *gemm);

/* C = A B + bias with a B that is packed once. */
typedef struct cz_matmul cz_matmul;
typedef struct cz_matmul_desc {
    size_t m, n, k;
    const float *b; /* [k, n], or [n, k] when b_is_nk; copied */
    bool b_is_nk;
    const float *bias;      /* [n] or NULL; copied */
    size_t threads;         /* > 0 */
    cz_precision precision; /* FP32; BF16: `a` is bf16; INT8: `a` is u8, B is quantised by column */
    float a_range;          /* INT8: what 255 in `a` stands for */
} cz_matmul_desc;
cz_status cz_engine_matmul_create(const cz_matmul_desc *desc, cz_matmul **out);
/* a: [m, k] floats, bf16 or u8 by the precision, c: [m, n] F32, both dense. */
cz_status cz_engine_matmul_run(cz_matmul *mm, const void *a, float *c);
void cz_engine_matmul_destroy(cz_matmul *mm);
size_t cz_engine_matmul_memory(const cz_matmul *mm);

#endif
