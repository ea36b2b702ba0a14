/* SPDX-License-Identifier: Apache-2.0 */
/* What a weight file's metadata says about the network beside its tensors; absent keys mean torchvision's conventions. */
#ifndef CZ_BACKBONE_DESCRIBE_H
#define CZ_BACKBONE_DESCRIBE_H

#include "util/sha256.h"
#include "util/status.h"

#include <stdbool.h>

typedef struct cz_description {
    float mean[3], std[3]; /* RGB, 0 … 255 units */
    double eps;            /* of batch norm */
    double feature_scale;  /* 0: to be measured on training photos */
    bool stride_in_conv1, pool_ceil;
    size_t feature_width; /* D of patch features; 0: the architecture's */
    char version[32];     /* "" where there is none */
} cz_description;

/* What a file may ask for as feature_width. */
#define CZ_DESCRIPTION_MAX_WIDTH ((size_t)1 << 16)

void cz_description_default(cz_description *out);
/* Keys read: input_range, input_mean, input_std, bn_eps, stride_in, stem_pool, feature_scale, feature_width, version (left
 * out when longer: other people's files have keys of that name too). */
cz_status cz_description_read(const cz_tensors *tensors, cz_description *out);
/* Writes them so that cz_description_read gives the same again. */
cz_status cz_description_write(const cz_description *d, cz_tensors *tensors);
/* Feeds what changes the network's output, and feature_width, so that packed weights of one digest never say another, unless it is torchvision's: files of the same tensors that are to be run
 * differently must not pass for one another, and a torchvision .pth (which has no metadata) equals its conversion. */
void cz_description_hash(const cz_description *d, cz_sha256 *sha);

#endif
