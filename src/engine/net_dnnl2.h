/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of cz_net on oneDNN 2.x: what the builder (engine_dnnl2_net.c) leaves for the compiler
 * (engine_dnnl2_compile.c). */
#ifndef CZ_ENGINE_NET_DNNL2_H
#define CZ_ENGINE_NET_DNNL2_H

#include "engine/arena.h"
#include "engine/engine_dnnl2.h"

/* Where a value lives in one particular layout. Several slots may share a buffer (an in-place sum). */
typedef struct cz_net_slot {
    dnnl_memory_desc_t md;
    dnnl_memory_t memory;
    size_t buffer; /* CZ_NET_NONE: the caller's input */
} cz_net_slot;

typedef struct cz_net_tensor {
    size_t nchw[4];
    size_t uses; /* consumers not yet compiled */
    bool is_output;
    size_t slot;   /* as its producer wrote it */
    size_t output; /* slot in NHWC, when is_output */
} cz_net_tensor;

typedef struct cz_net_node {
    bool is_pool;
    cz_net_value input, residual, result;
    cz_conv_desc conv;
    cz_pool_desc pool;
} cz_net_node;

/* One primitive of the compiled program. */
typedef struct cz_net_step {
    dnnl_primitive_t primitive;
    bool is_reorder;
    size_t from, to; /* slots */
    size_t node;     /* whose weights; CZ_NET_NONE for pools and reorders */
    dnnl_memory_desc_t weights_md, scratch_md;
    size_t weights_offset, bias_offset; /* bytes into the weight block */
    dnnl_memory_t weights, bias, scratch;
    dnnl_exec_arg_t args[5];
    int arg_count;
} cz_net_step;

struct cz_net {
    cz_dnnl_context context;
    size_t threads; /* 0 until finalised */
    size_t tensor_count, node_count, slot_count, buffer_count, step_count;
    size_t tensor_room, node_room, slot_room, buffer_room, step_room;
    cz_net_tensor *tensors; /* [0] is the input */
    cz_net_node *nodes;
    cz_net_slot *slots; /* [0] is the caller's input */
    cz_arena_buffer *buffers;
    cz_net_step *steps;
    size_t scratch_bytes, weights_bytes, arena_bytes, scratch_buffer;
    unsigned char *weights, *arena;
};

/* Makes room for one more element of `size` bytes behind `count`, cleared. */
cz_status cz_net_reserve(void *array, size_t *room, size_t count, size_t size);
cz_status cz_net_compile(cz_net *net);

#endif
