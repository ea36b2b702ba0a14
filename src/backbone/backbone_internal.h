/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CZ_BACKBONE_BACKBONE_INTERNAL_H
#define CZ_BACKBONE_BACKBONE_INTERNAL_H

#include "backbone/arch.h"
#include "backbone/backbone.h"
#include "backbone/describe.h"
#include "engine/engine.h"

#include <pthread.h>
#include <stdatomic.h>

/* More shapes, batches and precisions than this in one process are packed again. */
#define CZ_PACKED_KEPT 4

typedef struct cz_kept {
    char *context;
    cz_packed *packed;
} cz_kept;

/* The part of a backbone that comes when it is needed: a backbone is const and shared between threads, this has locks. */
typedef struct cz_folded {
    pthread_mutex_t reading; /* of the weight file */
    atomic_bool there;       /* weights and bias are, and stay as they are */
    float *weights[CZ_MAX_CONVS];
    float *bias[CZ_MAX_CONVS];
    pthread_mutex_t packing; /* held while a plan packs, so that two of one kind do it once */
    pthread_mutex_t listing;
    cz_kept kept[CZ_PACKED_KEPT]; /* the last used first; an end is marked by context NULL */
} cz_folded;

struct cz_backbone {
    atomic_size_t references;
    char *name, *path;
    char sha256[65];
    cz_description description;
    cz_layout layout;
    cz_quant ranges; /* of the weight file, for every node; count 0: none */
    cz_folded *folded;
    float **weights; /* folded->weights: [out, in, kernel, kernel] each; NULL before cz_backbone_load */
    float **bias;    /* folded->bias: [out] each */
};

/* A backbone without weights. */
cz_backbone *cz_backbone_new(const char *name, const char *path);
/* Reads the weights unless they are there, from the file that they are known to be in: CZ_E_WEIGHTS when that has gone or
 * holds others by now. Everything that looks at b->weights calls it first. */
cz_status cz_backbone_load(const cz_backbone *b);

/* As cz_plan_create, but what every node up to the last tap makes is kept: for ranges of activations. F32 taps only. */
cz_status cz_plan_create_observed(const cz_backbone *b, const cz_plan_options *options, cz_plan **out);
/* Nodes of the layout that such a plan keeps; 0 for others. */
size_t cz_plan_node_count(const cz_plan *plan);
/* What a node made in the last run: [*values], channels last. */
const float *cz_plan_node(const cz_plan *plan, size_t node, size_t *values);

/* The packed weights that it uses; belong to it. */
const cz_packed *cz_plan_packed(const cz_plan *plan);

#endif
