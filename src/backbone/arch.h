/* SPDX-License-Identifier: Apache-2.0 */
/* The ResNet family as data: which convolutions there are, how they are joined, and how an architecture is recognised.
 * cozad_r32 is this project's own: ResNet-18's blocks in widths 32, 96 and 192, and no layer4. The order of nodes is what ranges
 * in weight files and models go by, and stays as it is. */
#ifndef CZ_BACKBONE_ARCH_H
#define CZ_BACKBONE_ARCH_H

#include "util/status.h"

#include <stdbool.h>

/* ResNet-101 to layer4 has 104 convolutions and one pool. */
#define CZ_MAX_CONVS 112
#define CZ_MAX_NODES 120
#define CZ_NO_NODE   SIZE_MAX

typedef struct cz_arch {
    const char *name; /* torchvision's, or cozad_r32 */
    bool bottleneck;
    size_t width;         /* of a bottleneck's 3x3 for every 64 planes: 64, or 128 for the wide ones */
    size_t blocks[4];     /* 0: there is no such stage */
    size_t stem;          /* output channels of conv1 */
    size_t planes[4];     /* output channels of each stage, a quarter of them for bottlenecks */
    size_t feature_width; /* D of patch features unless told otherwise */
} cz_arch;

/* What differs between networks of one architecture. */
typedef struct cz_variant {
    size_t stages;        /* 1 … 4: layer1 … layerN are there */
    bool stride_in_conv1; /* He et al.'s original: stride in the first 1x1 of a bottleneck, torchvision: in the 3x3 */
    bool pool_ceil;       /* stem pool 3x3 stride 2: padding 0 and ceil mode, torchvision: padding 1 */
} cz_variant;

typedef struct cz_layer_conv {
    char name[32]; /* "layer2.0.conv1", without ".weight" */
    char norm[32]; /* "layer2.0.bn1" */
    size_t out, in, kernel, stride, pad;
} cz_layer_conv;

typedef enum cz_node_kind { CZ_NODE_CONV, CZ_NODE_POOL } cz_node_kind;

typedef struct cz_node {
    cz_node_kind kind;
    size_t conv;     /* index of the convolution */
    size_t input;    /* node, or CZ_NO_NODE: the image */
    size_t residual; /* node or CZ_NO_NODE */
    bool relu;
    char tap[24]; /* "layer2.0", or "" */
} cz_node;

/* The whole network in an order in which it can be computed. */
typedef struct cz_layout {
    const cz_arch *arch;
    cz_variant variant;
    cz_layer_conv convs[CZ_MAX_CONVS];
    cz_node nodes[CZ_MAX_NODES];
    size_t conv_count, node_count;
} cz_layout;

/* NULL for an unknown name. */
const cz_arch *cz_arch_find(const char *name);
/* "resnet18, resnet34, …, cozad_r32" */
const char *cz_arch_names(void);
/* Metadata `architecture`, else shapes and names; sets variant->stages too. Tensor names begin with `prefix`. */
cz_status cz_arch_detect(const cz_tensors *tensors, const char *prefix, const cz_arch **arch, size_t *stages);
void cz_layout_build(const cz_arch *arch, const cz_variant *variant, cz_layout *out);

/* The node of a tap: stem.relu, stem.pool, layerL (its last block), layerL.B. CZ_E_ARG lists the known ones. */
cz_status cz_layout_find_tap(const cz_layout *layout, const char *tap, size_t *node);
/* Splits "layer2,layer3" (spaces allowed) and finds each. nodes, names: [CZ_MAX_TAPS]. */
cz_status cz_layout_parse_taps(const cz_layout *layout, const char *taps, size_t *nodes, char (*names)[24],
                               size_t *count);

typedef struct cz_extent {
    size_t channels, height, width;
} cz_extent;
/* extents: [last + 1] of nodes 0 … last for an image of height x width. */
cz_status cz_layout_extents(const cz_layout *layout, size_t height, size_t width, size_t last, cz_extent *extents);
/* Zero padding of the stem pool at the right or bottom of an axis of `extent` pixels, so that oneDNN's floor makes the
 * same number of windows. */
size_t cz_pool_pad_begin(const cz_layout *layout);
size_t cz_pool_windows(const cz_layout *layout, size_t extent);
size_t cz_pool_pad_end(const cz_layout *layout, size_t extent);

#endif
