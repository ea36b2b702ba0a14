/* SPDX-License-Identifier: Apache-2.0 */
#include "backbone/quantise.h"

#include "backbone/backbone_internal.h"
#include "backbone/range.h"
#include "tensor/tensors.h"
#include "util/alloc.h"
#include "util/sha256.h"

#include <math.h>
#include <string.h>

/* What post-ReLU values have of the 8 bits, and what signed ones have. */
#define LEVELS_UNSIGNED ((size_t)255)
#define LEVELS_SIGNED   ((size_t)127)
#define SHARE           0.99999
/* What a range may be: scales and their products stay far from where float ends. */
#define LEAST_RANGE 1e-20f
#define MOST_RANGE  1e30f

_Static_assert(CZ_QUANT_MAX >= CZ_MAX_NODES, "a range for each node");

struct cz_quantiser {
    const cz_layout *layout; /* of the backbone, which outlives this */
    cz_plan *plan;
    size_t count, photos;
    cz_range *ranges; /* [count] */
};

cz_status cz_quantiser_create(const cz_backbone *b, const char *taps, size_t height, size_t width, size_t threads,
                              cz_quantiser **out)
{
    cz_status status;
    const cz_plan_options options = {
        .taps = taps, .batch = 1, .height = height, .width = width, .threads = threads, .precision = CZ_PRECISION_FP32};
    cz_quantiser *q = cz_calloc(1, sizeof *q);
    if (q == NULL) return CZ_E_MEMORY;
    q->layout = &b->layout;
    CZ_TRY(cz_plan_create_observed(b, &options, &q->plan));
    q->count = cz_plan_node_count(q->plan);
    q->ranges = cz_calloc(q->count, sizeof *q->ranges);
    if (q->ranges == NULL) {
        status = CZ_E_MEMORY;
        goto out;
    }
    *out = q;
    q = NULL;
out:
    cz_quantiser_destroy(q);
    return status;
}

void cz_quantiser_destroy(cz_quantiser *q)
{
    if (q == NULL) return;
    cz_plan_destroy(q->plan);
    cz_free(q->ranges);
    cz_free(q);
}

const cz_plan *cz_quantiser_plan(const cz_quantiser *q)
{
    return q->plan;
}

/* A maximum has the range of what it was chosen from, so that its 8 bits are the same ones. */
static bool has_own_range(const cz_quantiser *q, size_t node)
{
    return q->layout->nodes[node].kind != CZ_NODE_POOL;
}

cz_status cz_quantiser_add(cz_quantiser *q, const float *input)
{
    const cz_status status = cz_plan_run(q->plan, input);
    if (status != CZ_OK) return status;
    bool failed = false;
#pragma omp parallel for schedule(dynamic) reduction(|| : failed)
    for (size_t i = 0; i < q->count; i++) {
        size_t count;
        const float *values = cz_plan_node(q->plan, i, &count);
        if (has_own_range(q, i)) failed = cz_range_add(&q->ranges[i], values, count) != CZ_OK || failed;
    }
    /* said again: a message belongs to the thread that found it */
    if (failed) return cz_fail(CZ_E_WEIGHTS, "the backbone's activations are not finite");
    q->photos++;
    return CZ_OK;
}

cz_status cz_quantiser_finish(const cz_quantiser *q, cz_quant *out)
{
    if (q->photos == 0) return cz_fail(CZ_E_ARG, "ranges for int8 need at least one photo");
    cz_quant quant = {.count = q->count};
#pragma omp parallel for schedule(dynamic)
    for (size_t i = 0; i < q->count; i++) {
        const size_t levels = q->layout->nodes[i].relu ? LEVELS_UNSIGNED : LEVELS_SIGNED;
        if (!has_own_range(q, i)) continue;
        const float range = fmaxf(cz_range_least_error(&q->ranges[i], levels), cz_range_share(&q->ranges[i], SHARE));
        quant.range[i] = fmaxf(range, LEAST_RANGE);
    }
    for (size_t i = 0; i < q->count; i++)
        if (!has_own_range(q, i)) quant.range[i] = quant.range[q->layout->nodes[i].input];
    *out = quant;
    return CZ_OK;
}

void cz_quant_hash(const cz_quant *quant, char hex[17])
{
    uint8_t digest[32];
    char all[65];
    const uint64_t count = quant->count;
    cz_sha256 hash;
    cz_sha256_init(&hash);
    cz_sha256_update(&hash, &count, sizeof count);
    cz_sha256_update(&hash, quant->range, quant->count * sizeof *quant->range);
    cz_sha256_final(&hash, digest);
    cz_sha256_hex(digest, all);
    memcpy(hex, all, 16);
    hex[16] = '\0';
}

cz_status cz_quant_save(const cz_quant *quant, cz_tensors *into)
{
    const cz_tensor_view view = {CZ_QUANT_TENSOR, CZ_F32,       1,
                                 {quant->count},  quant->range, quant->count * sizeof *quant->range};
    return cz_tensors_add(into, &view);
}

cz_status cz_quant_load(const cz_tensors *from, cz_quant *out)
{
    const cz_tensor_view *view = cz_tensors_lookup(from, CZ_QUANT_TENSOR);
    if (view == NULL) return cz_fail(CZ_E_MODEL, "there is no tensor \"" CZ_QUANT_TENSOR "\"");
    if (view->dtype != CZ_F32 || view->rank != 1 || view->shape[0] == 0 || view->shape[0] > CZ_QUANT_MAX)
        return cz_fail(CZ_E_MODEL, "tensor \"" CZ_QUANT_TENSOR "\" is not F32 [1 … %d]", CZ_QUANT_MAX);
    cz_quant quant = {.count = view->shape[0]};
    memcpy(quant.range, view->data, quant.count * sizeof *quant.range);
    for (size_t i = 0; i < quant.count; i++) {
        if (!(quant.range[i] >= LEAST_RANGE && quant.range[i] <= MOST_RANGE))
            return cz_fail(CZ_E_MODEL, "tensor \"" CZ_QUANT_TENSOR "\": %g at %zu is not a range",
                           (double)quant.range[i], i);
    }
    *out = quant;
    return CZ_OK;
}
