/* SPDX-License-Identifier: Apache-2.0 */
/* A backbone compiled for one input shape, batch, thread count and precision. */
#include "backbone/backbone_internal.h"
#include "backbone/packed.h"
#include "engine/engine.h"
#include "util/alloc.h"

#include <math.h>
#include <string.h>

struct cz_plan {
    cz_net *net;
    size_t tap_count;
    cz_tap taps[CZ_MAX_TAPS];
    cz_net_value values[CZ_MAX_TAPS];
    size_t node_count; /* of those kept for the observer; else 0 */
    cz_net_value nodes[CZ_MAX_NODES];
};

/* values: [last + 1], filled in. `bare`: without weights, which another thread may just be reading. */
static cz_status add_nodes(cz_plan *plan, const cz_backbone *b, const cz_plan_options *options, size_t last,
                           const cz_extent *extents, bool bare, cz_net_value *values)
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
                                   .weights = bare ? NULL : b->weights[node->conv],
                                   .bias = bare ? NULL : b->bias[node->conv],
                                   .relu = node->relu};
        const cz_net_value residual = node->residual == CZ_NO_NODE ? CZ_NET_NONE : values[node->residual];
        CZ_TRY(cz_net_conv(plan->net, from, residual, &desc, &values[i]));
    }
out:
    return status;
}

/* The largest magnitude of a normalised pixel. */
static float input_range(const cz_backbone *b)
{
    float mean[3], std[3], range = 0;
    cz_backbone_normalisation(b, mean, std);
    for (size_t i = 0; i < 3; i++) range = fmaxf(range, fmaxf(fabsf(mean[i]), fabsf(255.0f - mean[i])) / std[i]);
    return range;
}

/* ranges: [CZ_MAX_NODES + 1], by value of the network: the input, then what each node up to the last makes. */
static cz_status spread_ranges(const cz_backbone *b, const cz_plan_options *options, size_t last,
                               const cz_net_value *values, float *ranges)
{
    const cz_quant *quant = options->quant;
    if (!quant || quant->count <= last)
        return cz_fail(CZ_E_ARG, "plan: int8 needs ranges of %zu nodes, there are %zu", last + 1,
                       quant ? quant->count : 0);
    ranges[0] = input_range(b);
    for (size_t i = 0; i <= last; i++) ranges[values[i]] = quant->range[i];
    return CZ_OK;
}

/* The network, with weights that are packed already (then the backbone's own need not be there), or without. */
static cz_status build(cz_plan *plan, const cz_backbone *b, const cz_plan_options *options, bool observed,
                       cz_packed *packed)
{
    cz_status status = CZ_OK;
    size_t nodes[CZ_MAX_TAPS], last = 0;
    char names[CZ_MAX_TAPS][24];
    cz_extent extents[CZ_MAX_NODES];
    cz_net_value values[CZ_MAX_NODES];
    float ranges[CZ_MAX_NODES + 1];
    CZ_TRY(cz_layout_parse_taps(&b->layout, options->taps, nodes, names, &plan->tap_count));
    for (size_t i = 0; i < plan->tap_count; i++) last = nodes[i] > last ? nodes[i] : last;
    CZ_TRY(cz_layout_extents(&b->layout, options->height, options->width, last, extents));
    CZ_TRY(cz_net_create(&plan->net));
    CZ_TRY(add_nodes(plan, b, options, last, extents, packed != NULL, values));
    for (size_t i = 0; i < plan->tap_count; i++) {
        const cz_extent *e = &extents[nodes[i]];
        plan->taps[i] = (cz_tap){.channels = e->channels, .height = e->height, .width = e->width};
        memcpy(plan->taps[i].name, names[i], sizeof names[i]);
        plan->values[i] = values[nodes[i]];
        CZ_TRY(cz_net_mark_output(plan->net, plan->values[i]));
    }
    for (size_t i = 0; observed && i <= last; i++) {
        plan->nodes[plan->node_count++] = values[i];
        CZ_TRY(cz_net_mark_output(plan->net, values[i]));
    }
    cz_net_options net = {.threads = options->threads,
                          .precision = options->precision,
                          .bf16_outputs = options->bf16_taps,
                          .packed = packed};
    if (options->precision == CZ_PRECISION_INT8) {
        CZ_TRY(spread_ranges(b, options, last, values, ranges));
        net.ranges = ranges;
    }
    CZ_TRY(cz_net_finalise(plan->net, &net));
out:
    return status;
}

/* From weights that were packed before. False: there are none that fit, and the plan is as it was. */
static bool build_packed(cz_plan *plan, const cz_backbone *b, const cz_plan_options *options, const char *context)
{
    cz_packed *packed = cz_packed_find(b, context);
    if (!packed) return false;
    const bool done = build(plan, b, options, false, packed) == CZ_OK;
    cz_packed_release(packed);
    if (done) return true;
    cz_error_clear();
    cz_net_destroy(plan->net);
    memset(plan, 0, sizeof *plan);
    return false;
}

static cz_status build_first(cz_plan *plan, const cz_backbone *b, const cz_plan_options *options, const char *context)
{
    cz_status status = CZ_OK;
    CZ_TRY(cz_backbone_load(b));
    CZ_TRY(build(plan, b, options, false, NULL));
    cz_packed_offer(b, context, cz_net_packed(plan->net));
out:
    return status;
}

/* Plans of one kind that are made at the same time are packed by the first of them. */
static cz_status build_shared(cz_plan *plan, const cz_backbone *b, const cz_plan_options *options)
{
    cz_status status = CZ_OK;
    char *context = cz_packed_context(options);
    if (!context) return CZ_E_MEMORY;
    if (!build_packed(plan, b, options, context)) {
        (void)pthread_mutex_lock(&b->folded->packing);
        if (!build_packed(plan, b, options, context)) status = build_first(plan, b, options, context);
        (void)pthread_mutex_unlock(&b->folded->packing);
    }
    cz_free(context);
    return status;
}

static cz_status create(const cz_backbone *b, const cz_plan_options *options, bool observed, cz_plan **out)
{
    cz_status status = CZ_OK;
    if (options->batch == 0 || options->threads == 0)
        return cz_fail(CZ_E_ARG, "plan: batch and threads must be positive");
    cz_plan *plan = cz_calloc(1, sizeof *plan);
    if (!plan) return CZ_E_MEMORY;
    if (observed) {
        CZ_TRY(cz_backbone_load(b));
        CZ_TRY(build(plan, b, options, true, NULL));
    } else {
        CZ_TRY(build_shared(plan, b, options));
    }
    *out = plan;
    plan = NULL;
out:
    cz_plan_destroy(plan);
    return status;
}

cz_status cz_plan_create(const cz_backbone *b, const cz_plan_options *options, cz_plan **out)
{
    return create(b, options, false, out);
}

cz_status cz_plan_create_observed(const cz_backbone *b, const cz_plan_options *options, cz_plan **out)
{
    return create(b, options, true, out);
}

size_t cz_plan_node_count(const cz_plan *plan)
{
    return plan->node_count;
}

const float *cz_plan_node(const cz_plan *plan, size_t node, size_t *values)
{
    size_t shape[4];
    if (node >= plan->node_count) return NULL;
    cz_net_shape(plan->net, plan->nodes[node], shape);
    *values = shape[0] * shape[1] * shape[2] * shape[3];
    return cz_net_output(plan->net, plan->nodes[node]);
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

const uint16_t *cz_plan_tap_bf16(const cz_plan *plan, size_t index)
{
    return index < plan->tap_count ? cz_net_output_bf16(plan->net, plan->values[index]) : NULL;
}

size_t cz_plan_memory(const cz_plan *plan)
{
    return cz_net_memory(plan->net);
}

const cz_packed *cz_plan_packed(const cz_plan *plan)
{
    return cz_net_packed(plan->net);
}
