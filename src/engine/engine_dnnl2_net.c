/* SPDX-License-Identifier: Apache-2.0 */
/* Networks on oneDNN 2.x: building, running, outputs. Compilation is in engine_dnnl2_compile.c. */
#include "engine/net_dnnl2.h"

#include "tensor/bf16.h"
#include "util/alloc.h"
#include "util/threads.h"

#include <string.h>

/* No ImageNet-family network comes near; keeps every product of sizes far from overflow. */
#define MAX_EXTENT ((size_t)1 << 20)
#define MAX_VALUES ((size_t)1 << 40)

cz_status cz_net_reserve(void *array, size_t *room, size_t count, size_t size)
{
    void *old;
    memcpy(&old, array, sizeof old);
    if (count == *room) {
        const size_t grown = *room ? 2 * *room : 32;
        old = cz_grow(old, grown, size);
        if (!old) return CZ_E_MEMORY;
        memcpy(array, &old, sizeof old);
        *room = grown;
    }
    memset((unsigned char *)old + count * size, 0, size);
    return CZ_OK;
}

cz_status cz_net_create(cz_net **out)
{
    cz_net *net = cz_calloc(1, sizeof *net);
    if (!net) return CZ_E_MEMORY;
    net->scratch_buffer = CZ_NET_NONE;
    const cz_status status = cz_dnnl_context_init(&net->context);
    if (status != CZ_OK) {
        cz_free(net);
        return status;
    }
    *out = net;
    return CZ_OK;
}

static void free_step(const cz_net_step *step)
{
    if (step->primitive) dnnl_primitive_destroy(step->primitive);
    if (step->weights) dnnl_memory_destroy(step->weights);
    if (step->bias) dnnl_memory_destroy(step->bias);
    if (step->scratch) dnnl_memory_destroy(step->scratch);
    cz_free(step->scales);
    cz_free(step->bias_scaled);
}

void cz_net_clear_program(cz_net *net)
{
    for (size_t i = 0; i < net->step_count; i++) free_step(&net->steps[i]);
    for (size_t i = 0; i < net->slot_count; i++)
        if (net->slots[i].memory) dnnl_memory_destroy(net->slots[i].memory);
    net->step_count = net->slot_count = net->buffer_count = 0;
    net->scratch_bytes = net->arena_bytes = 0;
    net->scratch_buffer = CZ_NET_NONE;
    cz_free(net->arena);
    net->arena = NULL;
    cz_packed_release(net->packed);
    net->packed = NULL;
}

void cz_net_destroy(cz_net *net)
{
    if (!net) return;
    cz_net_clear_program(net);
    cz_dnnl_context_free(&net->context);
    cz_free(net->tensors);
    cz_free(net->nodes);
    cz_free(net->slots);
    cz_free(net->buffers);
    cz_free(net->steps);
    cz_free(net);
}

static cz_status add_tensor(cz_net *net, const size_t nchw[4], cz_net_value *out)
{
    size_t values = 1;
    for (size_t i = 0; i < 4; i++) {
        if (nchw[i] == 0 || nchw[i] > MAX_EXTENT) return cz_fail(CZ_E_ARG, "network: extent %zu out of range", nchw[i]);
        if (!cz_mul_size(values, nchw[i], &values) || values > MAX_VALUES)
            return cz_fail(CZ_E_LIMIT, "network: a tensor of %zu x %zu x %zu x %zu is too large", nchw[0], nchw[1],
                           nchw[2], nchw[3]);
    }
    const cz_status status = cz_net_reserve(&net->tensors, &net->tensor_room, net->tensor_count, sizeof *net->tensors);
    if (status != CZ_OK) return status;
    memcpy(net->tensors[net->tensor_count].nchw, nchw, 4 * sizeof *nchw);
    *out = net->tensor_count++;
    return CZ_OK;
}

cz_status cz_net_input(cz_net *net, size_t batch, size_t height, size_t width, size_t channels, cz_net_value *out)
{
    const size_t nchw[4] = {batch, channels, height, width};
    if (net->tensor_count != 0) return cz_fail(CZ_E_ARG, "network: a second input");
    return add_tensor(net, nchw, out);
}

/* (extent + pads - kernel) / stride + 1, or 0 when the kernel does not fit. */
static size_t window_count(size_t extent, size_t kernel, size_t stride, size_t pads)
{
    return extent + pads < kernel ? 0 : (extent + pads - kernel) / stride + 1;
}

static cz_status add_node(cz_net *net, cz_net_node *node, const size_t nchw[4], cz_net_value *out)
{
    cz_status status = cz_net_reserve(&net->nodes, &net->node_room, net->node_count, sizeof *net->nodes);
    if (status != CZ_OK) return status;
    status = add_tensor(net, nchw, &node->result);
    if (status != CZ_OK) return status;
    node->ordinal = net->conv_count;
    net->nodes[net->node_count++] = *node;
    if (!node->is_pool) net->conv_count++;
    *out = node->result;
    return CZ_OK;
}

static cz_status check_open(const cz_net *net, cz_net_value input)
{
    if (net->threads != 0) return cz_fail(CZ_E_ARG, "network: already finalised");
    if (input >= net->tensor_count) return cz_fail(CZ_E_ARG, "network: no value %zu", input);
    return CZ_OK;
}

cz_status cz_net_conv(cz_net *net, cz_net_value input, cz_net_value residual, const cz_conv_desc *desc,
                      cz_net_value *out)
{
    cz_status status = check_open(net, input);
    if (status != CZ_OK) return status;
    if (desc->stride == 0 || desc->kernel_h == 0 || desc->kernel_w == 0 || desc->kernel_h > MAX_EXTENT ||
        desc->kernel_w > MAX_EXTENT || desc->pad >= desc->kernel_h || desc->pad >= desc->kernel_w)
        return cz_fail(CZ_E_ARG, "network: convolution with a bad kernel, stride or padding");
    const size_t *in = net->tensors[input].nchw;
    const size_t nchw[4] = {in[0], desc->out_channels, window_count(in[2], desc->kernel_h, desc->stride, 2 * desc->pad),
                            window_count(in[3], desc->kernel_w, desc->stride, 2 * desc->pad)};
    if (residual != CZ_NET_NONE) {
        status = check_open(net, residual);
        if (status != CZ_OK) return status;
        if (memcmp(net->tensors[residual].nchw, nchw, sizeof nchw) != 0)
            return cz_fail(CZ_E_ARG, "network: a residual of another shape than the convolution's result");
    }
    cz_net_node node = {.input = input, .residual = residual, .conv = *desc};
    return add_node(net, &node, nchw, out);
}

cz_status cz_net_max_pool(cz_net *net, cz_net_value input, const cz_pool_desc *desc, cz_net_value *out)
{
    const cz_status status = check_open(net, input);
    if (status != CZ_OK) return status;
    if (desc->stride == 0 || desc->kernel == 0 || desc->pad_begin >= desc->kernel || desc->pad_end_h >= desc->kernel ||
        desc->pad_end_w >= desc->kernel)
        return cz_fail(CZ_E_ARG, "network: pooling with a bad kernel, stride or padding");
    const size_t *in = net->tensors[input].nchw;
    const size_t nchw[4] = {in[0], in[1],
                            window_count(in[2], desc->kernel, desc->stride, desc->pad_begin + desc->pad_end_h),
                            window_count(in[3], desc->kernel, desc->stride, desc->pad_begin + desc->pad_end_w)};
    cz_net_node node = {.is_pool = true, .input = input, .residual = CZ_NET_NONE, .pool = *desc};
    return add_node(net, &node, nchw, out);
}

cz_status cz_net_mark_output(cz_net *net, cz_net_value value)
{
    const cz_status status = check_open(net, value);
    if (status != CZ_OK) return status;
    if (value == 0) return cz_fail(CZ_E_ARG, "network: the input is no output");
    net->tensors[value].is_output = true;
    return CZ_OK;
}

cz_status cz_net_finalise(cz_net *net, const cz_net_options *options)
{
    cz_threads_scope scope;
    if (net->threads != 0 || net->node_count == 0 || options->threads == 0)
        return cz_fail(CZ_E_ARG, "network: empty, already finalised, or no thread count");
    if (options->precision < CZ_PRECISION_FP32 || options->precision > CZ_PRECISION_INT8)
        return cz_fail(CZ_E_UNSUPPORTED, "network: no precision %d", (int)options->precision);
    cz_status status = cz_threads_enter(options->threads, &scope);
    if (status != CZ_OK) return status;
    status = cz_net_compile(net, options);
    cz_threads_leave(&scope);
    if (status != CZ_OK) {
        cz_net_clear_program(net);
        return status;
    }
    net->threads = options->threads;
    for (size_t i = 0; i < net->node_count; i++) net->nodes[i].conv.weights = net->nodes[i].conv.bias = NULL;
    return CZ_OK;
}

static const void *slot_data(const cz_net *net, size_t slot)
{
    return net->arena + net->buffers[net->slots[slot].buffer].offset;
}

static size_t value_count(const cz_net_slot *slot)
{
    size_t count = 1;
    for (int i = 0; i < slot->md.ndims; i++) count *= (size_t)slot->md.dims[i];
    return count;
}

cz_status cz_net_run_step(cz_net *net, const cz_net_step *step)
{
    if (step->kind != CZ_STEP_ROUND)
        return cz_dnnl_check(dnnl_primitive_execute(step->primitive, net->context.stream, step->arg_count, step->args),
                             "run");
    /* both in NHWC, without padding */
    cz_bf16_round(slot_data(net, step->from), value_count(&net->slots[step->from]),
                  (uint16_t *)(uintptr_t)slot_data(net, step->to));
    return CZ_OK;
}

cz_status cz_net_run(cz_net *net, const float *input)
{
    cz_threads_scope scope;
    if (net->threads == 0) return cz_fail(CZ_E_ARG, "network: run before it is finalised");
    cz_status status = cz_threads_enter(net->threads, &scope);
    if (status != CZ_OK) return status;
    CZ_DNNL(dnnl_memory_set_data_handle(net->slots[0].memory, (void *)(uintptr_t)input), "input");
    for (size_t i = 0; i < net->step_count; i++) CZ_TRY(cz_net_run_step(net, &net->steps[i]));
    CZ_DNNL(dnnl_stream_wait(net->context.stream), "run");
out:
    cz_threads_leave(&scope);
    return status;
}

static const void *output(const cz_net *net, cz_net_value value, dnnl_data_type_t type)
{
    if (net->threads == 0 || value >= net->tensor_count || !net->tensors[value].is_output || net->outputs != type)
        return NULL;
    return slot_data(net, net->tensors[value].output);
}

const float *cz_net_output(const cz_net *net, cz_net_value value)
{
    return output(net, value, dnnl_f32);
}

const uint16_t *cz_net_output_bf16(const cz_net *net, cz_net_value value)
{
    return output(net, value, dnnl_bf16);
}

cz_packed *cz_net_packed(const cz_net *net)
{
    return net->packed;
}

void cz_net_shape(const cz_net *net, cz_net_value value, size_t shape[4])
{
    const size_t *nchw = net->tensors[value].nchw;
    shape[0] = nchw[0];
    shape[1] = nchw[2];
    shape[2] = nchw[3];
    shape[3] = nchw[1];
}

size_t cz_net_memory(const cz_net *net)
{
    size_t packed = 0;
    if (net->packed) (void)cz_packed_bytes(net->packed, &packed);
    return packed + net->arena_bytes;
}
