/* SPDX-License-Identifier: Apache-2.0 */
/* From nodes to a list of oneDNN primitives: every convolution and pool chooses its own layouts, reorders go where two do
 * not agree (in layout, type or scale), residual sums are done in place where the residual is not needed again, and one
 * arena holds every activation.
 *
 * Types. fp32 and bf16: one for all. int8: a convolution that reads the network's input, and the pools behind it, are in
 * `wide`; every other convolution reads 8 bits, unsigned behind a ReLU. What was measured on ResNet-50 (layer2 and layer3,
 * relative error of features, photos of screws): residual sums in bf16 or F32 instead of 8 bits 12.1 % and 16.8 % for
 * 12.4 % and 16.7 %, a stem in F32 instead of bf16 12.0 % and 16.5 %: not worth their time. A marked value that nothing
 * else reads is written as it will be read, from the 32-bit sums. One that is read on is made in 8 bits and widened:
 * 12.5 % for 12.4 % at layer2, and two passes over it less. */
#include "engine/net_dnnl2.h"

#include "util/alloc.h"

#include <math.h>
#include <string.h>

static cz_status add_slot(cz_net *net, const dnnl_memory_desc_t *md, float scale, size_t buffer, size_t *out)
{
    cz_status status = CZ_OK;
    CZ_TRY(cz_net_reserve(&net->slots, &net->slot_room, net->slot_count, sizeof *net->slots));
    net->slots[net->slot_count].md = *md;
    net->slots[net->slot_count].scale = scale;
    net->slots[net->slot_count].buffer = buffer;
    *out = net->slot_count++;
out:
    return status;
}

static cz_status add_buffer(cz_net *net, size_t bytes, size_t *out)
{
    cz_status status = CZ_OK;
    CZ_TRY(cz_net_reserve(&net->buffers, &net->buffer_room, net->buffer_count, sizeof *net->buffers));
    net->buffers[net->buffer_count] =
        (cz_arena_buffer){.bytes = bytes, .first = net->step_count, .last = net->step_count};
    *out = net->buffer_count++;
out:
    return status;
}

/* A slot with a buffer of its own, sized from the layout (which may be padded), never from the logical shape. */
static cz_status add_own_slot(cz_net *net, const dnnl_memory_desc_t *md, float scale, size_t *out)
{
    size_t buffer;
    const cz_status status = add_buffer(net, dnnl_memory_desc_get_size(md), &buffer);
    return status == CZ_OK ? add_slot(net, md, scale, buffer, out) : status;
}

/* The buffer must hold its contents from its first to its last mention. */
static void touch(cz_net *net, size_t slot, size_t step)
{
    const size_t buffer = net->slots[slot].buffer;
    if (buffer != CZ_NET_NONE && net->buffers[buffer].last < step) net->buffers[buffer].last = step;
}

/* Takes over `primitive` whatever happens. */
static cz_status add_step(cz_net *net, cz_net_step_kind kind, dnnl_primitive_t primitive, size_t from, size_t to,
                          cz_net_step **out)
{
    const cz_status status = cz_net_reserve(&net->steps, &net->step_room, net->step_count, sizeof *net->steps);
    if (status != CZ_OK) {
        if (primitive) dnnl_primitive_destroy(primitive);
        return status;
    }
    touch(net, from, net->step_count);
    touch(net, to, net->step_count);
    cz_net_step *step = &net->steps[net->step_count++];
    step->kind = kind;
    step->primitive = primitive;
    step->from = from;
    step->to = to;
    step->node = CZ_NET_NONE;
    *out = step;
    return CZ_OK;
}

static cz_status add_reorder(cz_net *net, size_t from, size_t to)
{
    cz_status status = CZ_OK;
    cz_net_step *step;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_t primitive;
    const float scale = net->slots[from].scale / net->slots[to].scale;
    CZ_TRY(cz_dnnl_attr(false, false, &attr));
    if (scale < 1 || scale > 1) CZ_DNNL(dnnl_primitive_attr_set_output_scales(attr, 1, 0, &scale), "scale");
    CZ_DNNL(dnnl_reorder_primitive_desc_create(&pd, &net->slots[from].md, net->context.engine, &net->slots[to].md,
                                               net->context.engine, attr),
            "reorder");
    CZ_DNNL(dnnl_primitive_create(&primitive, pd), "reorder");
    CZ_TRY(add_step(net, CZ_STEP_REORDER, primitive, from, to, &step));
    step->scratch_md = cz_dnnl_query_md(pd, dnnl_query_scratchpad_md);
out:
    if (pd) dnnl_primitive_desc_destroy(pd);
    if (attr) dnnl_primitive_attr_destroy(attr);
    return status;
}

static bool is_like(const cz_net *net, size_t slot, const dnnl_memory_desc_t *md)
{
    return slot != CZ_NET_NONE && dnnl_memory_desc_equal(&net->slots[slot].md, md);
}

/* *out: a slot that holds the value in layout and type `md`, reordered if need be. Values have one scale in 8 bits. */
static cz_status slot_like(cz_net *net, cz_net_value value, const dnnl_memory_desc_t *md, float scale, size_t *out)
{
    cz_status status = CZ_OK;
    cz_net_tensor *tensor = &net->tensors[value];
    *out = tensor->slot;
    if (is_like(net, *out, md)) return CZ_OK;
    *out = tensor->second;
    if (is_like(net, *out, md)) return CZ_OK;
    CZ_TRY(add_own_slot(net, md, scale, out));
    CZ_TRY(add_reorder(net, tensor->slot, *out));
    tensor->second = *out;
out:
    return status;
}

/* ---- types --------------------------------------------------------------------------------------------------------- */

static bool is_coded(dnnl_data_type_t type)
{
    return type == dnnl_u8 || type == dnnl_s8;
}

/* What 1 stands for in the 8 bits of a value. */
static cz_status code_scale(const cz_net *net, cz_net_value value, float *out)
{
    const cz_net_tensor *tensor = &net->tensors[value];
    if (tensor->slot != CZ_NET_NONE && is_coded(net->slots[tensor->slot].md.data_type)) {
        *out = net->slots[tensor->slot].scale; /* a pool keeps that of what it reads */
        return CZ_OK;
    }
    const float range = net->options.ranges ? net->options.ranges[value] : 0;
    if (!(range >= 1e-30f && range <= 1e30f))
        return cz_fail(CZ_E_ARG, "network: no range for value %zu in int8", value);
    *out = range / (tensor->nonnegative ? 255.0f : 127.0f);
    return CZ_OK;
}

static dnnl_data_type_t code_type(const cz_net_tensor *tensor)
{
    return tensor->nonnegative ? dnnl_u8 : dnnl_s8;
}

static cz_status ask_coded(const cz_net *net, const cz_net_node *node, cz_conv_ask *ask)
{
    cz_status status = CZ_OK;
    ask->source = code_type(&net->tensors[node->input]);
    ask->weights = dnnl_s8;
    CZ_TRY(code_scale(net, node->input, &ask->source_scale));
    if (net->tensors[node->result].is_output && net->tensors[node->result].uses == 0) {
        ask->target = net->wide == dnnl_bf16 ? net->outputs : dnnl_f32;
    } else {
        ask->target = code_type(&net->tensors[node->result]);
        CZ_TRY(code_scale(net, node->result, &ask->target_scale));
    }
    if (node->residual == CZ_NET_NONE) goto out;
    ask->residual = ask->target;
    if (!is_coded(ask->target)) goto out;
    ask->residual = code_type(&net->tensors[node->residual]);
    CZ_TRY(code_scale(net, node->residual, &ask->residual_scale));
out:
    return status;
}

static cz_status ask_for(const cz_net *net, const cz_net_node *node, cz_conv_ask *ask)
{
    *ask = (cz_conv_ask){.node = node,
                         .source = net->wide,
                         .weights = net->wide,
                         .target = net->wide,
                         .source_scale = 1,
                         .target_scale = 1,
                         .residual_scale = 1};
    if (node->residual != CZ_NET_NONE) ask->residual = net->wide;
    return net->options.precision == CZ_PRECISION_INT8 && node->input != 0 ? ask_coded(net, node, ask) : CZ_OK;
}

/* ---- nodes --------------------------------------------------------------------------------------------------------- */

/* The slot a convolution writes to. With a residual it holds the residual beforehand: the residual's own buffer when
 * nobody reads it later and it is not the convolution's input, else a copy. */
static cz_status conv_target(cz_net *net, const cz_conv_ask *ask, size_t from, const dnnl_memory_desc_t *md,
                             size_t *out)
{
    cz_status status = CZ_OK;
    const cz_net_node *node = ask->node;
    size_t slot;
    if (node->residual == CZ_NET_NONE) return add_own_slot(net, md, ask->target_scale, out);
    const cz_net_tensor *residual = &net->tensors[node->residual];
    dnnl_memory_desc_t before = *md;
    before.data_type = ask->residual; /* of the same size */
    slot = is_like(net, residual->slot, &before) ? residual->slot : residual->second;
    if (is_like(net, slot, &before) && residual->uses == 1 && !(residual->is_output && residual->output == slot) &&
        net->slots[slot].buffer != CZ_NET_NONE && net->slots[slot].buffer != net->slots[from].buffer)
        return add_slot(net, md, ask->target_scale, net->slots[slot].buffer, out);
    if (!is_like(net, slot, &before)) slot = residual->slot;
    size_t copy;
    CZ_TRY(add_own_slot(net, &before, ask->residual_scale, &copy));
    CZ_TRY(add_reorder(net, slot, copy));
    CZ_TRY(add_slot(net, md, ask->target_scale, net->slots[copy].buffer, out));
out:
    return status;
}

static cz_status pool_pd(cz_net *net, const cz_net_node *node, dnnl_primitive_desc_t *pd)
{
    cz_status status = CZ_OK;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_memory_desc_t target;
    dnnl_pooling_desc_t op;
    const cz_pool_desc *pool = &node->pool;
    const dnnl_memory_desc_t *source = &net->slots[net->tensors[node->input].slot].md;
    const dnnl_dims_t strides = {(dnnl_dim_t)pool->stride, (dnnl_dim_t)pool->stride};
    const dnnl_dims_t kernel = {(dnnl_dim_t)pool->kernel, (dnnl_dim_t)pool->kernel};
    const dnnl_dims_t begin = {(dnnl_dim_t)pool->pad_begin, (dnnl_dim_t)pool->pad_begin};
    const dnnl_dims_t end = {(dnnl_dim_t)pool->pad_end_h, (dnnl_dim_t)pool->pad_end_w};
    CZ_TRY(cz_dnnl_md4(net->tensors[node->result].nchw, source->data_type, dnnl_format_tag_any, &target));
    CZ_DNNL(dnnl_pooling_forward_desc_init(&op, dnnl_forward_inference, dnnl_pooling_max, source, &target, strides,
                                           kernel, begin, end),
            "pooling");
    CZ_TRY(cz_dnnl_attr(false, false, &attr));
    CZ_DNNL(dnnl_primitive_desc_create(pd, &op, attr, net->context.engine, NULL), "pooling");
out:
    if (attr) dnnl_primitive_attr_destroy(attr);
    return status;
}

static cz_status compile_pool(cz_net *net, const cz_net_node *node)
{
    cz_status status = CZ_OK;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_primitive_t primitive;
    cz_net_step *step;
    size_t to;
    const size_t from = net->tensors[node->input].slot;
    CZ_TRY(pool_pd(net, node, &pd));
    const dnnl_memory_desc_t target = cz_dnnl_query_md(pd, dnnl_query_dst_md);
    CZ_TRY(add_own_slot(net, &target, net->slots[from].scale, &to));
    CZ_DNNL(dnnl_primitive_create(&primitive, pd), "pooling");
    CZ_TRY(add_step(net, CZ_STEP_POOL, primitive, from, to, &step));
    step->scratch_md = cz_dnnl_query_md(pd, dnnl_query_scratchpad_md);
    net->tensors[node->result].slot = to;
out:
    if (pd) dnnl_primitive_desc_destroy(pd);
    return status;
}

/* Whether the weights to be suited are packed like this, and Winograd is known (or can be found out) to be accurate. */
static bool hint_suits(const cz_net *net, const cz_net_node *node, const cz_packed_need *need)
{
    cz_packed_conv part;
    if (!net->hint) return true;
    if (!cz_packed_suits(net->hint, node->ordinal, need)) return false;
    if (need->algorithm != CZ_PACKED_WINOGRAD || node->conv.weights) return true;
    if (!cz_packed_get(net->hint, node->ordinal, need->out_channels, &part)) return false;
    const size_t *nchw = net->tensors[node->input].nchw;
    return part.verified[0] == nchw[0] && part.verified[1] == nchw[1] && part.verified[2] == nchw[2] &&
           part.verified[3] == nchw[3];
}

/* What is known before oneDNN is asked: algorithm, and scales of the weights. False: the hint is for something else. */
static bool foresee(const cz_net *net, const cz_net_node *node, cz_packed_need *need, const float **scales)
{
    cz_packed_conv part;
    need->out_channels = node->conv.out_channels;
    *scales = NULL;
    if (net->options.precision == CZ_PRECISION_FP32_WINOGRAD && !node->no_winograd)
        need->algorithm = CZ_PACKED_WINOGRAD;
    if (!net->hint) return true;
    if (!cz_packed_get(net->hint, node->ordinal, need->out_channels, &part) || part.limit != need->limit) return false;
    if (need->algorithm == CZ_PACKED_WINOGRAD) need->algorithm = part.algorithm;
    *scales = part.scales;
    return true;
}

/* *suits: false when the hint does not, and nothing was added. */
static cz_status compile_conv(cz_net *net, size_t index, bool *suits)
{
    cz_status status = CZ_OK;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_primitive_t primitive;
    cz_net_step *step;
    cz_conv_ask ask;
    float *own = NULL;
    const float *scales;
    cz_packed_need need = {.limit = 0};
    const cz_net_node *node = &net->nodes[index];
    size_t from, to;
    CZ_TRY(ask_for(net, node, &ask));
    if (ask.weights == dnnl_s8) need.limit = cz_conv_weight_limit(ask.source);
    *suits = foresee(net, node, &need, &scales);
    if (!*suits) goto out;
    if (need.limit && !scales) {
        scales = own = cz_alloc_array(need.out_channels, sizeof *own);
        if (!own) CZ_TRY(CZ_E_MEMORY);
        cz_weights_scales(&node->conv, net->tensors[node->input].nchw[1], need.limit, own);
    }
    ask.weight_scales = scales;
    CZ_TRY(cz_conv_choose(net, &ask, &need.algorithm, &pd));
    need.md = cz_dnnl_query_md(pd, dnnl_query_weights_md);
    *suits = hint_suits(net, node, &need);
    if (!*suits) goto out;
    const dnnl_memory_desc_t source = cz_dnnl_query_md(pd, dnnl_query_src_md);
    const dnnl_memory_desc_t target = cz_dnnl_query_md(pd, dnnl_query_dst_md);
    CZ_TRY(slot_like(net, node->input, &source, ask.source_scale, &from));
    CZ_TRY(conv_target(net, &ask, from, &target, &to));
    CZ_DNNL(dnnl_primitive_create(&primitive, pd), "convolution");
    CZ_TRY(add_step(net, CZ_STEP_CONV, primitive, from, to, &step));
    step->node = index;
    step->need = need;
    step->scales = own;
    own = NULL;
    step->scratch_md = cz_dnnl_query_md(pd, dnnl_query_scratchpad_md);
    net->tensors[node->result].slot = to;
out:
    cz_free(own);
    if (pd) dnnl_primitive_desc_destroy(pd);
    return status;
}

/* A marked value that is not in NHWC and of the right type anyway is copied at once, so that the original's memory can be
 * reused. bf16 is rounded by our own code, the same on every processor, where it was not rounded already. */
static cz_status compile_output(cz_net *net, cz_net_value value)
{
    cz_status status = CZ_OK;
    dnnl_memory_desc_t as_made, wanted;
    cz_net_step *step;
    cz_net_tensor *tensor = &net->tensors[value];
    if (!tensor->is_output) return CZ_OK;
    CZ_TRY(cz_dnnl_md4(tensor->nchw, net->outputs, dnnl_nhwc, &wanted));
    const bool rounded = net->slots[tensor->slot].md.data_type == dnnl_bf16;
    CZ_TRY(cz_dnnl_md4(tensor->nchw, net->outputs == dnnl_bf16 && rounded ? dnnl_bf16 : dnnl_f32, dnnl_nhwc, &as_made));
    tensor->output = tensor->slot;
    if (!is_like(net, tensor->slot, &as_made)) {
        CZ_TRY(add_own_slot(net, &as_made, 1, &tensor->output));
        CZ_TRY(add_reorder(net, tensor->slot, tensor->output));
    }
    if (net->outputs == dnnl_bf16 && !rounded) {
        const size_t from = tensor->output;
        CZ_TRY(add_own_slot(net, &wanted, 1, &tensor->output));
        CZ_TRY(add_step(net, CZ_STEP_ROUND, NULL, from, tensor->output, &step));
    }
    net->buffers[net->slots[tensor->output].buffer].last = SIZE_MAX;
out:
    return status;
}

/* ---- the program --------------------------------------------------------------------------------------------------- */

static void count_uses(cz_net *net)
{
    for (size_t i = 0; i < net->tensor_count; i++) {
        net->tensors[i].uses = 0;
        net->tensors[i].slot = net->tensors[i].second = net->tensors[i].output = CZ_NET_NONE;
        net->tensors[i].nonnegative = false;
    }
    for (size_t i = 0; i < net->node_count; i++) {
        const cz_net_node *node = &net->nodes[i];
        net->tensors[node->input].uses++;
        if (node->residual != CZ_NET_NONE) net->tensors[node->residual].uses++;
        net->tensors[node->result].nonnegative =
            node->is_pool ? net->tensors[node->input].nonnegative : node->conv.relu;
    }
}

static cz_status compile_nodes(cz_net *net, bool *suits)
{
    cz_status status = CZ_OK;
    dnnl_memory_desc_t input;
    cz_net_clear_program(net);
    count_uses(net);
    *suits = true;
    CZ_TRY(cz_dnnl_md4(net->tensors[0].nchw, dnnl_f32, dnnl_nhwc, &input));
    CZ_TRY(add_slot(net, &input, 1, CZ_NET_NONE, &net->tensors[0].slot));
    for (size_t i = 0; i < net->node_count && *suits; i++) {
        const cz_net_node *node = &net->nodes[i];
        if (node->is_pool)
            CZ_TRY(compile_pool(net, node));
        else
            CZ_TRY(compile_conv(net, i, suits));
        if (!*suits) break;
        net->tensors[node->input].uses--;
        if (node->residual != CZ_NET_NONE) net->tensors[node->residual].uses--;
        CZ_TRY(compile_output(net, node->result));
    }
out:
    return status;
}

static cz_status place_activations(cz_net *net)
{
    cz_status status = CZ_OK;
    for (size_t i = 0; i < net->step_count; i++) {
        const size_t bytes = dnnl_memory_desc_get_size(&net->steps[i].scratch_md);
        if (bytes > net->scratch_bytes) net->scratch_bytes = bytes;
    }
    CZ_TRY(add_buffer(net, net->scratch_bytes, &net->scratch_buffer));
    net->buffers[net->scratch_buffer].first = 0;
    net->buffers[net->scratch_buffer].last = SIZE_MAX;
    CZ_TRY(cz_arena_plan(net->buffers, net->buffer_count, &net->arena_bytes));
    net->arena = cz_alloc(net->arena_bytes);
    if (!net->arena) CZ_TRY(CZ_E_MEMORY);
    for (size_t i = 0; i < net->slot_count; i++) {
        cz_net_slot *slot = &net->slots[i];
        void *data = slot->buffer == CZ_NET_NONE ? NULL : net->arena + net->buffers[slot->buffer].offset;
        CZ_DNNL(dnnl_memory_create(&slot->memory, &slot->md, net->context.engine, data), "activation");
    }
out:
    return status;
}

static cz_status bind_step(cz_net *net, cz_net_step *step)
{
    cz_status status = CZ_OK;
    unsigned char *scratch = net->arena + net->buffers[net->scratch_buffer].offset;
    dnnl_exec_arg_t *args = step->args;
    const bool is_reorder = step->kind == CZ_STEP_REORDER;
    if (step->kind == CZ_STEP_ROUND) return CZ_OK;
    CZ_DNNL(dnnl_memory_create(&step->scratch, &step->scratch_md, net->context.engine, scratch), "scratchpad");
    args[0] = (dnnl_exec_arg_t){is_reorder ? DNNL_ARG_FROM : DNNL_ARG_SRC, net->slots[step->from].memory};
    args[1] = (dnnl_exec_arg_t){is_reorder ? DNNL_ARG_TO : DNNL_ARG_DST, net->slots[step->to].memory};
    args[2] = (dnnl_exec_arg_t){DNNL_ARG_SCRATCHPAD, step->scratch};
    step->arg_count = 3;
    if (step->kind != CZ_STEP_CONV) return CZ_OK;
    CZ_TRY(cz_weights_bind(net, step));
    args[3] = (dnnl_exec_arg_t){DNNL_ARG_WEIGHTS, step->weights};
    args[4] = (dnnl_exec_arg_t){DNNL_ARG_BIAS, step->bias};
    step->arg_count = 5;
out:
    return status;
}

static cz_status need_weights(const cz_net *net)
{
    for (size_t i = 0; i < net->node_count; i++) {
        if (net->nodes[i].is_pool || (net->nodes[i].conv.weights && net->nodes[i].conv.bias)) continue;
        return net->options.packed ? cz_fail(CZ_E_WEIGHTS, "network: the packed weights are for another one")
                                   : cz_fail(CZ_E_ARG, "network: a convolution without weights");
    }
    return CZ_OK;
}

/* A whole program, with the hint's weights if there is one and it suits. */
static cz_status compile_with(cz_net *net, const cz_packed *hint)
{
    cz_status status = CZ_OK;
    bool suits = false;
    net->hint = hint && cz_packed_count(hint) == net->conv_count ? hint : NULL;
    if (net->hint) CZ_TRY(compile_nodes(net, &suits));
    if (!suits) {
        net->hint = NULL;
        CZ_TRY(need_weights(net));
        CZ_TRY(compile_nodes(net, &suits));
    }
    CZ_TRY(cz_weights_take(net));
    CZ_TRY(place_activations(net));
    for (size_t i = 0; i < net->step_count; i++) CZ_TRY(bind_step(net, &net->steps[i]));
out:
    return status;
}

static cz_status choose_types(cz_net *net)
{
    const cz_precision precision = net->options.precision;
    net->blocked = false;
    net->wide =
        precision == CZ_PRECISION_BF16 || (precision == CZ_PRECISION_INT8 && cz_engine_native(CZ_PRECISION_BF16))
            ? dnnl_bf16
            : dnnl_f32;
    net->outputs = net->options.bf16_outputs ? dnnl_bf16 : dnnl_f32;
    return precision == CZ_PRECISION_FP32_WINOGRAD ? cz_conv_wants_blocks(net, &net->blocked) : CZ_OK;
}

cz_status cz_net_compile(cz_net *net, const cz_net_options *options)
{
    cz_status status = CZ_OK;
    const cz_packed *hint = options->packed;
    size_t refused;
    net->options = *options;
    CZ_TRY(choose_types(net));
    do { /* again without what was refused, which is rare */
        CZ_TRY(compile_with(net, hint));
        CZ_TRY(cz_net_verify(net, &refused));
        hint = NULL;
    } while (refused > 0);
out:
    net->hint = NULL;
    net->options.packed = NULL;
    net->options.ranges = NULL;
    return status;
}
