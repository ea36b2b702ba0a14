/* SPDX-License-Identifier: Apache-2.0 */
#include "backbone/arch.h"

#include "backbone/backbone.h"
#include "tensor/tensors.h"

#include <stdio.h>
#include <string.h>

#define MAX_SIDE ((size_t)16384) /* of an image; far above memory's own limit */

#define FAMILY 64, {64, 128, 256, 512}, 1536
static const cz_arch architectures[] = {
    {"resnet18", false, 64, {2, 2, 2, 2}, FAMILY},
    {"resnet34", false, 64, {3, 4, 6, 3}, FAMILY},
    {"resnet50", true, 64, {3, 4, 6, 3}, FAMILY},
    {"resnet101", true, 64, {3, 4, 23, 3}, FAMILY},
    {"wide_resnet50_2", true, 128, {3, 4, 6, 3}, FAMILY},
    {"wide_resnet101_2", true, 128, {3, 4, 23, 3}, FAMILY},
    {"cozad_r32", false, 64, {2, 2, 2, 0}, 32, {32, 96, 192, 0}, 384},
};
#define ARCHITECTURES (sizeof architectures / sizeof *architectures)

const cz_arch *cz_arch_find(const char *name)
{
    for (size_t i = 0; i < ARCHITECTURES; i++)
        if (strcmp(architectures[i].name, name) == 0) return &architectures[i];
    return NULL;
}

const char *cz_arch_names(void)
{
    return "resnet18, resnet34, resnet50, resnet101, wide_resnet50_2, wide_resnet101_2, cozad_r32";
}

/* ---- recognising ---------------------------------------------------------------------------------------------- */

static bool has_block(const cz_tensors *tensors, const char *prefix, size_t layer, size_t block)
{
    char name[64];
    snprintf(name, sizeof name, "%slayer%zu.%zu.conv1.weight", prefix, layer, block);
    return cz_tensors_lookup(tensors, name) != NULL;
}

/* true when any tensor belongs to layer `layer`, so that a gap inside it is an error and not the end of the file. */
static bool has_stage(const cz_tensors *tensors, const char *prefix, size_t layer)
{
    char start[32];
    const size_t length = (size_t)snprintf(start, sizeof start, "%slayer%zu.", prefix, layer);
    cz_tensor_view view;
    for (size_t i = 0; i < cz_tensors_count(tensors); i++)
        if (cz_tensors_get(tensors, i, &view) == CZ_OK && strncmp(view.name, start, length) == 0) return true;
    return false;
}

/* By the stem's channels, kind of block, width of layer1 and depth; what does not fit is then reported tensor by tensor. Never
 * NULL. */
static const cz_arch *guess(const cz_tensors *tensors, const char *prefix)
{
    char name[64];
    snprintf(name, sizeof name, "%slayer1.0.conv3.weight", prefix);
    const bool bottleneck = cz_tensors_lookup(tensors, name) != NULL;
    snprintf(name, sizeof name, "%slayer1.0.conv1.weight", prefix);
    const cz_tensor_view *first = cz_tensors_lookup(tensors, name);
    const size_t width = bottleneck && first && first->rank == 4 && first->shape[0] >= 128 ? 128 : 64;
    snprintf(name, sizeof name, "%sconv1.weight", prefix);
    const cz_tensor_view *conv = cz_tensors_lookup(tensors, name);
    const size_t stem = conv && conv->rank == 4 && conv->shape[0] == 32 ? 32 : 64;
    const bool deep = bottleneck ? has_block(tensors, prefix, 3, 6)
                                 : has_block(tensors, prefix, 1, 2) || has_block(tensors, prefix, 2, 2);
    size_t found = 0;
    for (size_t i = 0; i < ARCHITECTURES; i++) { /* the deeper one of a pair comes second */
        const cz_arch *arch = &architectures[i];
        if (arch->bottleneck != bottleneck || arch->width != width || arch->stem != stem) continue;
        found = i;
        if (!deep) break;
    }
    return &architectures[found];
}

cz_status cz_arch_detect(const cz_tensors *tensors, const char *prefix, const cz_arch **arch, size_t *stages)
{
    const char *named = cz_tensors_metadata(tensors, "architecture");
    const cz_arch *found = named ? cz_arch_find(named) : guess(tensors, prefix);
    if (!found) return cz_fail(CZ_E_WEIGHTS, "unknown architecture \"%s\": known are %s", named, cz_arch_names());
    size_t count = 1;
    for (size_t layer = 2; layer <= 4; layer++) {
        if (!has_stage(tensors, prefix, layer)) continue;
        count = layer; /* a stage left out before this one shows as its missing tensors */
    }
    if (found->blocks[count - 1] == 0)
        return cz_fail(CZ_E_WEIGHTS, "layer%zu: unexpected, %s has no such stage", count, found->name);
    for (size_t layer = 1; layer <= count; layer++)
        if (has_block(tensors, prefix, layer, found->blocks[layer - 1]))
            return cz_fail(CZ_E_WEIGHTS, "layer%zu.%zu.conv1.weight: unexpected, layer%zu of %s has %zu blocks", layer,
                           found->blocks[layer - 1], layer, found->name, found->blocks[layer - 1]);
    *arch = found;
    *stages = count;
    return CZ_OK;
}

/* ---- building -------------------------------------------------------------------------------------------------- */

static size_t add_conv(cz_layout *l, const char *name, const char *norm, size_t in, size_t out, size_t kernel,
                       size_t stride)
{
    cz_layer_conv *conv = &l->convs[l->conv_count];
    *conv = (cz_layer_conv){.out = out, .in = in, .kernel = kernel, .stride = stride, .pad = kernel / 2};
    snprintf(conv->name, sizeof conv->name, "%s", name);
    snprintf(conv->norm, sizeof conv->norm, "%s", norm);
    return l->conv_count++;
}

static size_t add_node(cz_layout *l, const cz_node *node)
{
    l->nodes[l->node_count] = *node;
    return l->node_count++;
}

typedef struct block_shape {
    uint8_t layer, index; /* so narrow that their names fit */
    size_t in, inner, out, stride;
} block_shape;

static size_t block_conv(cz_layout *l, const block_shape *b, uint8_t number, size_t in, size_t out, size_t kernel,
                         size_t stride)
{
    char name[32], norm[32];
    snprintf(name, sizeof name, "layer%u.%u.conv%u", b->layer, b->index, number);
    snprintf(norm, sizeof norm, "layer%u.%u.bn%u", b->layer, b->index, number);
    return add_conv(l, name, norm, in, out, kernel, stride);
}

/* `input` is a node; returns the block's last node. The convolution list keeps the order conv1, conv2, (conv3,)
 * downsample; the node list computes downsample before the convolution that adds it. */
static size_t add_block(cz_layout *l, const block_shape *b, size_t input)
{
    const bool three = l->arch->bottleneck, first = l->variant.stride_in_conv1;
    size_t convs[3], node = input, shortcut = input;
    if (three) {
        convs[0] = block_conv(l, b, 1, b->in, b->inner, 1, first ? b->stride : 1);
        convs[1] = block_conv(l, b, 2, b->inner, b->inner, 3, first ? 1 : b->stride);
        convs[2] = block_conv(l, b, 3, b->inner, b->out, 1, 1);
    } else {
        convs[0] = block_conv(l, b, 1, b->in, b->out, 3, b->stride);
        convs[1] = block_conv(l, b, 2, b->out, b->out, 3, 1);
    }
    const size_t last = three ? 2 : 1;
    for (size_t i = 0; i < last; i++)
        node = add_node(l, &(cz_node){.conv = convs[i], .input = node, .residual = CZ_NO_NODE, .relu = true});
    if (b->stride != 1 || b->in != b->out) {
        char name[32], norm[32];
        snprintf(name, sizeof name, "layer%u.%u.downsample.0", b->layer, b->index);
        snprintf(norm, sizeof norm, "layer%u.%u.downsample.1", b->layer, b->index);
        const size_t conv = add_conv(l, name, norm, b->in, b->out, 1, b->stride);
        shortcut = add_node(l, &(cz_node){.conv = conv, .input = input, .residual = CZ_NO_NODE});
    }
    cz_node end = {.conv = convs[last], .input = node, .residual = shortcut, .relu = true};
    snprintf(end.tap, sizeof end.tap, "layer%u.%u", b->layer, b->index);
    return add_node(l, &end);
}

void cz_layout_build(const cz_arch *arch, const cz_variant *variant, cz_layout *out)
{
    memset(out, 0, sizeof *out);
    out->arch = arch;
    out->variant = *variant;
    const size_t stem = add_conv(out, "conv1", "bn1", 3, arch->stem, 7, 2);
    size_t node = add_node(
        out, &(cz_node){.conv = stem, .input = CZ_NO_NODE, .residual = CZ_NO_NODE, .relu = true, .tap = "stem.relu"});
    node = add_node(out, &(cz_node){.kind = CZ_NODE_POOL, .input = node, .residual = CZ_NO_NODE, .tap = "stem.pool"});
    size_t channels = arch->stem;
    for (uint8_t layer = 1; layer <= variant->stages; layer++) {
        const size_t planes = arch->planes[layer - 1];
        block_shape b = {.layer = layer, .in = channels, .inner = planes * arch->width / 64};
        b.out = arch->bottleneck ? 4 * planes : planes;
        for (b.index = 0; b.index < arch->blocks[layer - 1]; b.index++) {
            b.stride = layer > 1 && b.index == 0 ? 2 : 1;
            node = add_block(out, &b, node);
            b.in = b.out;
        }
        channels = b.out;
    }
}

/* ---- taps ------------------------------------------------------------------------------------------------------ */

static cz_status unknown_tap(const cz_layout *l, const char *tap)
{
    char known[160];
    int at = snprintf(known, sizeof known, "stem.relu, stem.pool");
    for (size_t i = 0; i < l->variant.stages && at > 0 && (size_t)at < sizeof known; i++)
        at += snprintf(known + at, sizeof known - (size_t)at, ", layer%zu (layer%zu.0 to layer%zu.%zu)", i + 1, i + 1,
                       i + 1, l->arch->blocks[i] - 1);
    return cz_fail(CZ_E_ARG, "unknown tap \"%s\": these weights (%s) have %s", tap, l->arch->name, known);
}

cz_status cz_layout_find_tap(const cz_layout *layout, const char *tap, size_t *node)
{
    char name[24];
    snprintf(name, sizeof name, "%s", tap);
    if (strlen(tap) >= sizeof name) return unknown_tap(layout, tap);
    for (size_t layer = 1; layer <= layout->variant.stages; layer++) {
        char whole[12];
        snprintf(whole, sizeof whole, "layer%zu", layer);
        if (strcmp(tap, whole) == 0) snprintf(name, sizeof name, "%s.%zu", whole, layout->arch->blocks[layer - 1] - 1);
    }
    for (size_t i = 0; name[0] != '\0' && i < layout->node_count; i++) {
        if (strcmp(layout->nodes[i].tap, name) != 0) continue;
        *node = i;
        return CZ_OK;
    }
    return unknown_tap(layout, tap);
}

cz_status cz_layout_parse_taps(const cz_layout *layout, const char *taps, size_t *nodes, char (*names)[24],
                               size_t *count)
{
    if (!taps || *taps == '\0') return cz_fail(CZ_E_ARG, "no taps given");
    *count = 0;
    for (const char *at = taps;; at++) {
        at += strspn(at, " ");
        size_t length = strcspn(at, ",");
        const char *next = at + length;
        while (length > 0 && at[length - 1] == ' ') length--;
        if (*count == CZ_MAX_TAPS) return cz_fail(CZ_E_ARG, "more than %d taps", CZ_MAX_TAPS);
        if (length >= sizeof *names)
            return cz_fail(CZ_E_ARG, "unknown tap \"%.*s\"", length < 60 ? (int)length : 60, at);
        memcpy(names[*count], at, length);
        names[*count][length] = '\0';
        const cz_status status = cz_layout_find_tap(layout, names[*count], &nodes[*count]);
        if (status != CZ_OK) return status;
        ++*count;
        if (*next == '\0') return CZ_OK;
        at = next;
    }
}

/* ---- shapes ---------------------------------------------------------------------------------------------------- */

size_t cz_pool_pad_begin(const cz_layout *layout)
{
    return layout->variant.pool_ceil ? 0 : 1;
}

/* PyTorch's rule: in ceil mode a last window must begin inside the image. */
size_t cz_pool_windows(const cz_layout *layout, size_t extent)
{
    if (!layout->variant.pool_ceil) return (extent + 2 - 3) / 2 + 1; /* extent >= 1 */
    return extent < 3 ? 1 : (extent - 3 + 1) / 2 + 1;
}

size_t cz_pool_pad_end(const cz_layout *layout, size_t extent)
{
    const size_t covered = (cz_pool_windows(layout, extent) - 1) * 2 + 3, begin = cz_pool_pad_begin(layout);
    return covered > extent + begin ? covered - extent - begin : 0;
}

cz_status cz_layout_extents(const cz_layout *layout, size_t height, size_t width, size_t last, cz_extent *extents)
{
    if (height == 0 || width == 0 || height > MAX_SIDE || width > MAX_SIDE)
        return cz_fail(CZ_E_ARG, "network input of %zu x %zu pixels: each side must be 1 to %zu", width, height,
                       MAX_SIDE);
    for (size_t i = 0; i <= last; i++) {
        const cz_node *node = &layout->nodes[i];
        const cz_extent in = node->input == CZ_NO_NODE ? (cz_extent){3, height, width} : extents[node->input];
        if (node->kind == CZ_NODE_POOL) {
            extents[i] =
                (cz_extent){in.channels, cz_pool_windows(layout, in.height), cz_pool_windows(layout, in.width)};
            continue;
        }
        const cz_layer_conv *conv = &layout->convs[node->conv];
        extents[i].channels = conv->out; /* pad = kernel / 2 with odd kernels: ceil(extent / stride) */
        extents[i].height = (in.height + conv->stride - 1) / conv->stride;
        extents[i].width = (in.width + conv->stride - 1) / conv->stride;
    }
    return CZ_OK;
}
