/* SPDX-License-Identifier: Apache-2.0 */
/* From nodes to a list of oneDNN primitives: every convolution and pool chooses its own layouts (`format any`), reorders
 * go where two do not agree, residual sums are done in place where the residual is not needed again, and one arena holds
 * every activation. */
#include "engine/net_dnnl2.h"

#include "util/alloc.h"

#include <string.h>

static cz_status add_slot(cz_net *net, const dnnl_memory_desc_t *md, size_t buffer, size_t *out)
{
    cz_status status = CZ_OK;
    CZ_TRY(cz_net_reserve(&net->slots, &net->slot_room, net->slot_count, sizeof *net->slots));
    net->slots[net->slot_count].md = *md;
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
static cz_status add_own_slot(cz_net *net, const dnnl_memory_desc_t *md, size_t *out)
{
    size_t buffer;
    const cz_status status = add_buffer(net, dnnl_memory_desc_get_size(md), &buffer);
    return status == CZ_OK ? add_slot(net, md, buffer, out) : status;
}

/* The buffer must hold its contents from its first to its last mention. */
static void touch(cz_net *net, size_t slot, size_t step)
{
    const size_t buffer = net->slots[slot].buffer;
    if (buffer != CZ_NET_NONE && net->buffers[buffer].last < step) net->buffers[buffer].last = step;
}

/* Takes over `primitive` whatever happens. */
static cz_status add_step(cz_net *net, dnnl_primitive_t primitive, size_t from, size_t to, cz_net_step **out)
{
    const cz_status status = cz_net_reserve(&net->steps, &net->step_room, net->step_count, sizeof *net->steps);
    if (status != CZ_OK) {
        dnnl_primitive_destroy(primitive);
        return status;
    }
    touch(net, from, net->step_count);
    touch(net, to, net->step_count);
    cz_net_step *step = &net->steps[net->step_count++];
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
    CZ_TRY(cz_dnnl_attr(false, false, &attr));
    CZ_DNNL(dnnl_reorder_primitive_desc_create(&pd, &net->slots[from].md, net->context.engine, &net->slots[to].md,
                                               net->context.engine, attr),
            "reorder");
    CZ_DNNL(dnnl_primitive_create(&primitive, pd), "reorder");
    CZ_TRY(add_step(net, primitive, from, to, &step));
    step->is_reorder = true;
    step->scratch_md = cz_dnnl_query_md(pd, dnnl_query_scratchpad_md);
out:
    if (pd) dnnl_primitive_desc_destroy(pd);
    if (attr) dnnl_primitive_attr_destroy(attr);
    return status;
}

/* *out: a slot that holds `from` in layout `md`, reordered if need be. */
static cz_status slot_in_layout(cz_net *net, size_t from, const dnnl_memory_desc_t *md, size_t *out)
{
    cz_status status = CZ_OK;
    *out = from;
    if (dnnl_memory_desc_equal(&net->slots[from].md, md)) return CZ_OK;
    CZ_TRY(add_own_slot(net, md, out));
    CZ_TRY(add_reorder(net, from, *out));
out:
    return status;
}

/* The slot a convolution writes to. With a residual it holds the residual beforehand: the residual's own buffer when
 * nobody reads it later and it is not the convolution's input, else a copy. */
static cz_status conv_target(cz_net *net, const cz_net_node *node, size_t from, const dnnl_memory_desc_t *md,
                             size_t *out)
{
    cz_status status = CZ_OK;
    if (node->residual == CZ_NET_NONE) return add_own_slot(net, md, out);
    const cz_net_tensor *residual = &net->tensors[node->residual];
    const size_t slot = residual->slot;
    const bool kept = residual->is_output && residual->output == slot;
    if (dnnl_memory_desc_equal(&net->slots[slot].md, md) && residual->uses == 1 && !kept &&
        net->slots[slot].buffer != CZ_NET_NONE && net->slots[slot].buffer != net->slots[from].buffer)
        return add_slot(net, md, net->slots[slot].buffer, out);
    CZ_TRY(add_own_slot(net, md, out));
    CZ_TRY(add_reorder(net, slot, *out));
out:
    return status;
}

static cz_status conv_pd(cz_net *net, const cz_net_node *node, dnnl_primitive_desc_t *pd)
{
    cz_status status = CZ_OK;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_memory_desc_t source, weights, bias, target;
    dnnl_convolution_desc_t op;
    const cz_conv_desc *conv = &node->conv;
    const size_t oihw[4] = {conv->out_channels, net->tensors[node->input].nchw[1], conv->kernel_h, conv->kernel_w};
    const dnnl_dims_t bias_dims = {(dnnl_dim_t)conv->out_channels};
    const dnnl_dims_t strides = {(dnnl_dim_t)conv->stride, (dnnl_dim_t)conv->stride};
    const dnnl_dims_t pads = {(dnnl_dim_t)conv->pad, (dnnl_dim_t)conv->pad};
    const dnnl_format_tag_t any = dnnl_format_tag_any;
    CZ_TRY(cz_dnnl_md4(net->tensors[node->input].nchw, any, &source));
    CZ_TRY(cz_dnnl_md4(oihw, any, &weights));
    CZ_TRY(cz_dnnl_md4(net->tensors[node->result].nchw, any, &target));
    CZ_DNNL(dnnl_memory_desc_init_by_tag(&bias, 1, bias_dims, dnnl_f32, dnnl_x), "bias");
    CZ_DNNL(dnnl_convolution_forward_desc_init(&op, dnnl_forward_inference, dnnl_convolution_direct, &source, &weights,
                                               &bias, &target, strides, pads, pads),
            "convolution");
    CZ_TRY(cz_dnnl_attr(node->residual != CZ_NET_NONE, conv->relu, &attr));
    CZ_DNNL(dnnl_primitive_desc_create(pd, &op, attr, net->context.engine, NULL), "convolution");
out:
    if (attr) dnnl_primitive_attr_destroy(attr);
    return status;
}

static cz_status pool_pd(cz_net *net, const cz_net_node *node, dnnl_primitive_desc_t *pd)
{
    cz_status status = CZ_OK;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_memory_desc_t target;
    dnnl_pooling_desc_t op;
    const dnnl_dim_t k = (dnnl_dim_t)node->pool.kernel, s = (dnnl_dim_t)node->pool.stride;
    const dnnl_dims_t kernel = {k, k}, strides = {s, s};
    const dnnl_dims_t begin = {(dnnl_dim_t)node->pool.pad_begin, (dnnl_dim_t)node->pool.pad_begin};
    const dnnl_dims_t end = {(dnnl_dim_t)node->pool.pad_end_h, (dnnl_dim_t)node->pool.pad_end_w};
    CZ_TRY(cz_dnnl_md4(net->tensors[node->result].nchw, dnnl_format_tag_any, &target));
    CZ_DNNL(dnnl_pooling_forward_desc_init(&op, dnnl_forward_inference, dnnl_pooling_max,
                                           &net->slots[net->tensors[node->input].slot].md, &target, strides, kernel,
                                           begin, end),
            "pooling");
    CZ_TRY(cz_dnnl_attr(false, false, &attr));
    CZ_DNNL(dnnl_primitive_desc_create(pd, &op, attr, net->context.engine, NULL), "pooling");
out:
    if (attr) dnnl_primitive_attr_destroy(attr);
    return status;
}

static cz_status compile_node(cz_net *net, size_t index)
{
    cz_status status = CZ_OK;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_primitive_t primitive;
    cz_net_step *step;
    const cz_net_node *node = &net->nodes[index];
    size_t from, to;
    if (node->is_pool)
        CZ_TRY(pool_pd(net, node, &pd));
    else
        CZ_TRY(conv_pd(net, node, &pd));
    const dnnl_memory_desc_t source = cz_dnnl_query_md(pd, dnnl_query_src_md);
    const dnnl_memory_desc_t target = cz_dnnl_query_md(pd, dnnl_query_dst_md);
    CZ_TRY(slot_in_layout(net, net->tensors[node->input].slot, &source, &from));
    CZ_TRY(conv_target(net, node, from, &target, &to));
    CZ_DNNL(dnnl_primitive_create(&primitive, pd), "primitive");
    CZ_TRY(add_step(net, primitive, from, to, &step));
    step->scratch_md = cz_dnnl_query_md(pd, dnnl_query_scratchpad_md);
    if (!node->is_pool) {
        step->node = index;
        step->weights_md = cz_dnnl_query_md(pd, dnnl_query_weights_md);
    }
    net->tensors[node->input].uses--;
    if (node->residual != CZ_NET_NONE) net->tensors[node->residual].uses--;
    net->tensors[node->result].slot = to;
out:
    if (pd) dnnl_primitive_desc_destroy(pd);
    return status;
}

/* A marked value that is not in NHWC anyway is copied at once, so that the original's memory can be reused. */
static cz_status compile_output(cz_net *net, cz_net_tensor *tensor)
{
    cz_status status = CZ_OK;
    dnnl_memory_desc_t nhwc;
    if (!tensor->is_output) return CZ_OK;
    CZ_TRY(cz_dnnl_md4(tensor->nchw, dnnl_nhwc, &nhwc));
    CZ_TRY(slot_in_layout(net, tensor->slot, &nhwc, &tensor->output));
    net->buffers[net->slots[tensor->output].buffer].last = SIZE_MAX;
out:
    return status;
}

static cz_status place_weights(cz_net *net)
{
    size_t total = 0;
    for (size_t i = 0; i < net->step_count; i++) {
        cz_net_step *step = &net->steps[i];
        if (step->node == CZ_NET_NONE) continue;
        const size_t align = CZ_ARENA_ALIGN;
        step->weights_offset = total;
        total += (dnnl_memory_desc_get_size(&step->weights_md) + align - 1) / align * align;
        step->bias_offset = total;
        total += (net->nodes[step->node].conv.out_channels * sizeof(float) + align - 1) / align * align;
    }
    net->weights_bytes = total;
    net->weights = cz_alloc(total);
    return net->weights ? CZ_OK : CZ_E_MEMORY;
}

static cz_status pack_weights(cz_net *net, cz_net_step *step)
{
    cz_status status = CZ_OK;
    dnnl_memory_desc_t plain, bias;
    const cz_net_node *node = &net->nodes[step->node];
    const cz_conv_desc *conv = &node->conv;
    const size_t oihw[4] = {conv->out_channels, net->tensors[node->input].nchw[1], conv->kernel_h, conv->kernel_w};
    const dnnl_dims_t bias_dims = {(dnnl_dim_t)conv->out_channels};
    unsigned char *weights = net->weights + step->weights_offset, *bias_data = net->weights + step->bias_offset;
    CZ_TRY(cz_dnnl_md4(oihw, dnnl_oihw, &plain));
    CZ_DNNL(dnnl_memory_desc_init_by_tag(&bias, 1, bias_dims, dnnl_f32, dnnl_x), "bias");
    CZ_TRY(cz_dnnl_reorder_now(&net->context, &plain, conv->weights, &step->weights_md, weights));
    memcpy(bias_data, conv->bias, conv->out_channels * sizeof(float));
    CZ_DNNL(dnnl_memory_create(&step->weights, &step->weights_md, net->context.engine, weights), "weights");
    CZ_DNNL(dnnl_memory_create(&step->bias, &bias, net->context.engine, bias_data), "bias");
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
    CZ_DNNL(dnnl_memory_create(&step->scratch, &step->scratch_md, net->context.engine, scratch), "scratchpad");
    args[0] = (dnnl_exec_arg_t){step->is_reorder ? DNNL_ARG_FROM : DNNL_ARG_SRC, net->slots[step->from].memory};
    args[1] = (dnnl_exec_arg_t){step->is_reorder ? DNNL_ARG_TO : DNNL_ARG_DST, net->slots[step->to].memory};
    args[2] = (dnnl_exec_arg_t){DNNL_ARG_SCRATCHPAD, step->scratch};
    step->arg_count = 3;
    if (step->node == CZ_NET_NONE) return CZ_OK;
    CZ_TRY(pack_weights(net, step));
    args[3] = (dnnl_exec_arg_t){DNNL_ARG_WEIGHTS, step->weights};
    args[4] = (dnnl_exec_arg_t){DNNL_ARG_BIAS, step->bias};
    step->arg_count = 5;
out:
    return status;
}

cz_status cz_net_compile(cz_net *net)
{
    cz_status status = CZ_OK;
    dnnl_memory_desc_t input;
    if (net->slot_count != 0) return cz_fail(CZ_E_ARG, "network: an earlier finalise failed");
    CZ_TRY(cz_dnnl_md4(net->tensors[0].nchw, dnnl_nhwc, &input));
    CZ_TRY(add_slot(net, &input, CZ_NET_NONE, &net->tensors[0].slot));
    for (size_t i = 0; i < net->node_count; i++) {
        CZ_TRY(compile_node(net, i));
        CZ_TRY(compile_output(net, &net->tensors[net->nodes[i].result]));
    }
    CZ_TRY(place_weights(net));
    CZ_TRY(place_activations(net));
    for (size_t i = 0; i < net->step_count; i++) CZ_TRY(bind_step(net, &net->steps[i]));
    for (size_t i = 0; i < net->node_count; i++) net->nodes[i].conv.weights = net->nodes[i].conv.bias = NULL;
out:
    return status;
}
