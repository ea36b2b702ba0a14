/* SPDX-License-Identifier: Apache-2.0 */
/* Winograd's convolution against the direct one, with the weights that it will have. */
#include "engine/net_dnnl2.h"

#include "util/alloc.h"
#include "util/rng.h"

#include <math.h>
#include <string.h>

/* Largest ||winograd - direct|| / ||direct|| of an image. fp32 Winograd F(4, 3) is at 1e-6 to 1e-5 for weights as they
 * are; what is beyond this is overflow, cancellation, or a kernel that is wrong. */
#define BOUND 1e-4

/* One image of what comes out of a ReLU: [h, w, c] NHWC, the same for every image of the batch. */
static void make_input(const size_t nchw[4], uint64_t seed, float *out)
{
    const size_t count = nchw[1] * nchw[2] * nchw[3];
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < count; i++) {
        const float u = cz_hash_uniform(seed, i);
        out[i] = u > 0 ? 2 * u : 0;
    }
    for (size_t n = 1; n < nchw[0]; n++) memcpy(out + n * count, out, count * sizeof *out);
}

/* want: [oh, ow, oc] of one image, without residual and ReLU, which the caller adds. */
static cz_status direct(const cz_net *net, const cz_net_node *node, const float *input, float *want)
{
    cz_status status = CZ_OK;
    cz_net *other = NULL;
    cz_net_value from, to;
    cz_conv_desc conv = node->conv;
    const size_t *in = net->tensors[node->input].nchw, *out = net->tensors[node->result].nchw;
    const cz_net_options options = {.threads = net->options.threads, .precision = CZ_PRECISION_FP32};
    conv.relu = false;
    CZ_TRY(cz_net_create(&other));
    CZ_TRY(cz_net_input(other, 1, in[2], in[3], in[1], &from));
    CZ_TRY(cz_net_conv(other, from, CZ_NET_NONE, &conv, &to));
    CZ_TRY(cz_net_mark_output(other, to));
    CZ_TRY(cz_net_finalise(other, &options));
    CZ_TRY(cz_net_run(other, input));
    memcpy(want, cz_net_output(other, to), out[1] * out[2] * out[3] * sizeof *want);
out:
    cz_net_destroy(other);
    return status;
}

/* The step as it will be run, from input to got (both NHWC, whole batch); got holds the residual beforehand. */
static cz_status winograd(cz_net *net, const cz_net_step *step, const float *input, float *got)
{
    cz_status status = CZ_OK;
    dnnl_memory_desc_t in, out;
    const cz_net_node *node = &net->nodes[step->node];
    const cz_net_slot *from = &net->slots[step->from], *to = &net->slots[step->to];
    unsigned char *target = net->arena + net->buffers[to->buffer].offset;
    CZ_TRY(cz_dnnl_md4(net->tensors[node->input].nchw, dnnl_f32, dnnl_nhwc, &in));
    CZ_TRY(cz_dnnl_md4(net->tensors[node->result].nchw, dnnl_f32, dnnl_nhwc, &out));
    if (from->buffer == CZ_NET_NONE) /* the network's own input, NHWC */
        CZ_DNNL(dnnl_memory_set_data_handle(from->memory, (void *)(uintptr_t)input), "input");
    else
        CZ_TRY(
            cz_dnnl_reorder_now(&net->context, &in, input, &from->md, net->arena + net->buffers[from->buffer].offset));
    if (node->residual != CZ_NET_NONE) CZ_TRY(cz_dnnl_reorder_now(&net->context, &out, got, &to->md, target));
    CZ_TRY(cz_net_run_step(net, step));
    CZ_TRY(cz_dnnl_reorder_now(&net->context, &to->md, target, &out, got));
out:
    return status;
}

/* got: [count]; want: [count], to which residual (or NULL) and ReLU are still to be applied. */
static double relative_error(const float *got, const float *want, const float *residual, bool relu, size_t count)
{
    double difference = 0, norm = 0;
    for (size_t i = 0; i < count; i++) {
        float w = want[i] + (residual ? residual[i] : 0);
        if (relu && w < 0) w = 0;
        difference += ((double)got[i] - (double)w) * ((double)got[i] - (double)w);
        norm += (double)w * (double)w;
    }
    return norm > 0 ? sqrt(difference / norm) : sqrt(difference);
}

/* The direct convolution is computed for one image: all of the batch are equal. */
static cz_status verify_step(cz_net *net, const cz_net_step *step, bool *good)
{
    cz_status status = CZ_OK;
    const cz_net_node *node = &net->nodes[step->node];
    const size_t *in = net->tensors[node->input].nchw, *out = net->tensors[node->result].nchw;
    const size_t count = out[1] * out[2] * out[3];
    float *input = cz_alloc_array(in[0] * in[1] * in[2] * in[3], sizeof *input), *residual = NULL;
    float *want = cz_alloc_array(count, sizeof *want), *got = cz_alloc_array(out[0] * count, sizeof *got);
    if (!input || !want || !got) CZ_TRY(CZ_E_MEMORY);
    make_input(in, 1, input);
    CZ_TRY(direct(net, node, input, want));
    if (node->residual != CZ_NET_NONE) {
        residual = cz_alloc_array(out[0] * count, sizeof *residual);
        if (!residual) CZ_TRY(CZ_E_MEMORY);
        make_input(out, 2, residual);
        memcpy(got, residual, out[0] * count * sizeof *got);
    }
    CZ_TRY(winograd(net, step, input, got));
    *good = true;
    for (size_t n = 0; n < out[0] && *good; n++)
        *good = relative_error(got + n * count, want, residual, node->conv.relu, count) <= BOUND; /* not NaN */
out:
    cz_free(input);
    cz_free(residual);
    cz_free(want);
    cz_free(got);
    return status;
}

cz_status cz_net_verify(cz_net *net, size_t *refused)
{
    cz_status status = CZ_OK;
    cz_packed_conv part;
    *refused = 0;
    for (size_t i = 0; i < net->step_count; i++) {
        const cz_net_step *step = &net->steps[i];
        bool good = true;
        if (step->kind != CZ_STEP_CONV || step->need.algorithm != CZ_PACKED_WINOGRAD) continue;
        cz_net_node *node = &net->nodes[step->node];
        const size_t *nchw = net->tensors[node->input].nchw;
        if (!cz_packed_get(net->packed, node->ordinal, node->conv.out_channels, &part))
            return cz_fail(CZ_E_INTERNAL, "network: lost weights");
        if (part.verified[0] == nchw[0] && part.verified[1] == nchw[1] && part.verified[2] == nchw[2] &&
            part.verified[3] == nchw[3])
            continue;
        CZ_TRY(verify_step(net, step, &good));
        if (!good) {
            node->no_winograd = true;
            ++*refused;
        } else if (!net->hint) { /* a block that others hold is not touched */
            cz_packed_set_verified(net->packed, node->ordinal, nchw);
        }
    }
out:
    return status;
}
