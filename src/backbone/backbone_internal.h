/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CZ_BACKBONE_BACKBONE_INTERNAL_H
#define CZ_BACKBONE_BACKBONE_INTERNAL_H

#include "backbone/arch.h"
#include "backbone/backbone.h"
#include "backbone/describe.h"

#include <stdatomic.h>

struct cz_backbone {
    atomic_size_t references;
    char *name, *path;
    char sha256[65];
    cz_description description;
    cz_layout layout;
    float *weights[CZ_MAX_CONVS]; /* [out, in, kernel, kernel], folded */
    float *bias[CZ_MAX_CONVS];    /* [out] */
};

#endif
