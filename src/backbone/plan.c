/* SPDX-License-Identifier: Apache-2.0 */
/* A backbone compiled for one input shape, batch, thread count and precision. */
#include "backbone/backbone_internal.h"
#include "engine/engine.h"
#include "util/alloc.h"

#include <string.h>

struct cz_plan {
    cz_net *net;
    size_t tap_count;
    cz_tap taps[CZ_MAX_TAPS];
    cz_net_value values[CZ_MAX_TAPS];
};

/* values: [last + 1], filled in. */
static cz_status add_nodes(cz_plan *plan, const cz_backbone *b, const cz_plan_options *options, size_t last,
                           const cz_extent *extents, cz_net_value *values)
{
    cz_status status = CZ_OK;
    cz_net_value image;
    CZ_TRY(cz_net_input(plan->net, options->batch, options->height, options->width, 3, &image));
    for (size_t i = 0; i <= last; i++) {
        const cz_node *node = &b->layout.nodes[i];
        const cz_net_value from = node->input == CZ_NO_NODE ? image : values[node->input];
        if (node->kind == CZ_NODE_POOL) {
            const cz_extent *in = &extents[node->input];
            const cz_pool_desc pool = {.kernel = 3,
                                       .stride = 2,
                                       .pad_begin = cz_pool_pad_begin(&b->layout),
                                       .pad_end_h = cz_pool_pad_end(&b->layout, in->height),
                                       .pad_end_w = cz_pool_pad_end(&b->layout, in->width)};
            CZ_TRY(cz_net_max_pool(plan->net, from, &pool, &values[i]));
            continue;
        }
        const cz_layer_conv *conv = &b->layout.convs[node->conv];
        const cz_conv_desc desc = {.out_channels = conv->out,
                                   .kernel_h = conv->kernel,
                                   .kernel_w = conv->kernel,
                                   .stride = conv->stride,
                                   .pad = conv->pad,
                                   .weights = b->weights[node->conv],
                                   .bias = b->bias[node->conv],
                                   .relu = node->relu};
        const cz_net_value residual = node->residual == CZ_NO_NODE ? CZ_NET_NONE : values[node->residual];
        CZ_TRY(cz_net_conv(plan->net, from, residual, &desc, &values[i]));
    }
out:
    return status;
}

cz_status cz_plan_create(const cz_backbone *b, const cz_plan_options *options, cz_plan **out)
{
    cz_status status = CZ_OK;
    size_t nodes[CZ_MAX_TAPS], last = 0;
    char names[CZ_MAX_TAPS][24];
    cz_extent extents[CZ_MAX_NODES];
    cz_net_value values[CZ_MAX_NODES];
    if (options->batch == 0 || options->threads == 0)
        return cz_fail(CZ_E_ARG, "plan: batch and threads must be positive");
    cz_plan *plan = cz_calloc(1, sizeof *plan);
    if (!plan) return CZ_E_MEMORY;
    CZ_TRY(cz_layout_parse_taps(&b->layout, options->taps, nodes, names, &plan->tap_count));
    for (size_t i = 0; i < plan->tap_count; i++) last = nodes[i] > last ? nodes[i] : last;
    CZ_TRY(cz_layout_extents(&b->layout, options->height, options->width, last, extents));
    CZ_TRY(cz_net_create(&plan->net));
    CZ_TRY(add_nodes(plan, b, options, last, extents, values));
    for (size_t i = 0; i < plan->tap_count; i++) {
        const cz_extent *e = &extents[nodes[i]];
        plan->taps[i] = (cz_tap){.channels = e->channels, .height = e->height, .width = e->width};
        memcpy(plan->taps[i].name, names[i], sizeof names[i]);
        plan->values[i] = values[nodes[i]];
        CZ_TRY(cz_net_mark_output(plan->net, plan->values[i]));
    }
    const cz_net_options net = {
        .threads = options->threads, .precision = options->precision, .bf16_outputs = options->bf16_taps};
    CZ_TRY(cz_net_finalise(plan->net, &net));
    *out = plan;
    plan = NULL;
out:
    cz_plan_destroy(plan);
    return status;
}

void cz_plan_destroy(cz_plan *plan)
{
    if (!plan) return;
    cz_net_destroy(plan->net);
    cz_free(plan);
}

size_t cz_plan_tap_count(const cz_plan *plan)
{
    return plan->tap_count;
}

const cz_tap *cz_plan_tap(const cz_plan *plan, size_t index)
{
    return index < plan->tap_count ? &plan->taps[index] : NULL;
}

cz_status cz_plan_run(cz_plan *plan, const float *input)
{
    return cz_net_run(plan->net, input);
}

const float *cz_plan_tap_data(const cz_plan *plan, size_t index)
{
    return index < plan->tap_count ? cz_net_output(plan->net, plan->values[index]) : NULL;
}

size_t cz_plan_memory(const cz_plan *plan)
{
    return cz_net_memory(plan->net);
}
