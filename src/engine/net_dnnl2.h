/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of cz_net on oneDNN 2.x: what the builder (engine_dnnl2_net.c) leaves for the compiler
 * (engine_dnnl2_compile.c), which asks engine_dnnl2_conv.c how a convolution is computed, engine_dnnl2_weights.c for its
 * weights and engine_dnnl2_verify.c whether Winograd may stay. */
#ifndef CZ_ENGINE_NET_DNNL2_H
#define CZ_ENGINE_NET_DNNL2_H

#include "engine/arena.h"
#include "engine/packed_dnnl2.h"

/* Where a value lives in one particular layout and type. Several slots may share a buffer (an in-place sum). */
typedef struct cz_net_slot {
    dnnl_memory_desc_t md;
    dnnl_memory_t memory;
    size_t buffer; /* CZ_NET_NONE: the caller's input */
    float scale;   /* 8 bits: value = scale * stored; else 1 */
} cz_net_slot;

typedef struct cz_net_tensor {
    size_t nchw[4];
    size_t uses; /* consumers not yet compiled */
    bool is_output;
    bool nonnegative; /* a ReLU came last: 8 bits are unsigned */
    size_t slot;      /* as its producer wrote it */
    size_t second;    /* as a reorder has made it for a consumer, or CZ_NET_NONE */
    size_t output;    /* slot in NHWC and in the type of outputs, when is_output */
} cz_net_tensor;

typedef struct cz_net_node {
    bool is_pool;
    bool no_winograd; /* it was tried, and differed too much from the direct convolution */
    size_t ordinal;   /* among the convolutions */
    cz_net_value input, residual, result;
    cz_conv_desc conv;
    cz_pool_desc pool;
} cz_net_node;

typedef enum cz_net_step_kind { CZ_STEP_CONV, CZ_STEP_POOL, CZ_STEP_REORDER, CZ_STEP_ROUND } cz_net_step_kind;

/* One primitive of the compiled program, or (CZ_STEP_ROUND) our own rounding of F32 to bf16. */
typedef struct cz_net_step {
    cz_net_step_kind kind;
    dnnl_primitive_t primitive;
    size_t from, to; /* slots */
    size_t node;     /* whose weights; CZ_NET_NONE for all but convolutions */
    cz_packed_need need;
    float *scales;      /* int8, [out_channels]: of the weights, where they were not packed before; this step's own */
    float *bias_scaled; /* int8, [out_channels]; this step's own */
    dnnl_memory_desc_t scratch_md;
    dnnl_memory_t weights, bias, scratch;
    dnnl_exec_arg_t args[5];
    int arg_count;
} cz_net_step;

struct cz_net {
    cz_dnnl_context context;
    size_t threads;           /* 0 until finalised */
    cz_net_options options;   /* `ranges` and `packed` only while it is compiled */
    const cz_packed *hint;    /* weights that the program being compiled is to suit, or NULL */
    dnnl_data_type_t outputs; /* f32 or bf16 */
    dnnl_data_type_t wide;    /* what is not in 8 bits is in this */
    bool blocked;             /* fp32-winograd: activations in nChw16c throughout */
    size_t tensor_count, node_count, conv_count, slot_count, buffer_count, step_count;
    size_t tensor_room, node_room, slot_room, buffer_room, step_room;
    cz_net_tensor *tensors; /* [0] is the input */
    cz_net_node *nodes;
    cz_net_slot *slots; /* [0] is the caller's input */
    cz_arena_buffer *buffers;
    cz_net_step *steps;
    size_t scratch_bytes, arena_bytes, scratch_buffer;
    unsigned char *arena;
    cz_packed *packed;
};

/* ---- engine_dnnl2_net.c ---- */

/* Makes room for one more element of `size` bytes behind `count`, cleared. */
cz_status cz_net_reserve(void *array, size_t *room, size_t count, size_t size);
/* Back to nodes alone. */
void cz_net_clear_program(cz_net *net);
cz_status cz_net_run_step(cz_net *net, const cz_net_step *step);

/* ---- engine_dnnl2_compile.c ---- */

cz_status cz_net_compile(cz_net *net, const cz_net_options *options);

/* ---- engine_dnnl2_conv.c ---- */

/* What one convolution is to read and write. */
typedef struct cz_conv_ask {
    const cz_net_node *node;
    dnnl_data_type_t source, weights, target;
    dnnl_data_type_t residual; /* undef: none */
    float source_scale, target_scale, residual_scale;
    const float *weight_scales; /* int8: [out_channels]; else NULL */
} cz_conv_ask;
/* Whether the layers that Winograd can do want nChw16c here, which the others then should have, too. */
cz_status cz_conv_wants_blocks(cz_net *net, bool *out);
/* *algorithm: what is wanted at first, then what it came to. */
cz_status cz_conv_choose(cz_net *net, const cz_conv_ask *ask, cz_packed_algorithm *algorithm,
                         dnnl_primitive_desc_t *pd);
/* The largest 8-bit weight for which no instruction in use saturates on the way to 32 bits. */
uint32_t cz_conv_weight_limit(dnnl_data_type_t source);

/* ---- engine_dnnl2_weights.c ---- */

/* scales: [out_channels], largest magnitude of the channel / limit, 1 for a channel of zeros. */
void cz_weights_scales(const cz_conv_desc *conv, size_t in_channels, uint32_t limit, float *scales);
/* net->packed: the hint, or newly packed. */
cz_status cz_weights_take(cz_net *net);
/* Memories of weights and bias for the step. */
cz_status cz_weights_bind(cz_net *net, cz_net_step *step);

/* ---- engine_dnnl2_verify.c ---- */

/* Runs every Winograd step that has not been verified on made-up values, and the direct convolution for comparison;
 * *refused: how many nodes got `no_winograd`. */
cz_status cz_net_verify(cz_net *net, size_t *refused);

#endif
