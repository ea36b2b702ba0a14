/* SPDX-License-Identifier: Apache-2.0 */
#include "backbone/fold.h"

#include "tensor/dtype.h"
#include "tensor/tensors.h"
#include "util/alloc.h"
#include "util/rng.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- from a file ------------------------------------------------------------------------------------------------- */

static const cz_tensor_view *file_lookup(const cz_file_source *file, const char *name)
{
    char full[96];
    snprintf(full, sizeof full, "%s%s", file->prefix, name);
    return cz_tensors_lookup(file->tensors, full);
}

static bool file_has(const void *ctx, const char *name)
{
    return file_lookup(ctx, name) != NULL;
}

static void shape_text(const size_t *shape, size_t rank, char text[96])
{
    size_t at = 1;
    memcpy(text, "[", 2);
    for (size_t i = 0; i < rank && at < 90; i++) {
        const int n = snprintf(text + at, 96 - at, i ? ", %zu" : "%zu", shape[i]);
        at = n < 0 || at + (size_t)n > 94 ? 94 : at + (size_t)n;
    }
    memcpy(text + at, "]", 2);
}

static cz_status file_fetch(const void *ctx, const char *name, const size_t *shape, size_t rank, float *out)
{
    const cz_file_source *file = ctx;
    char want[96], have[96];
    size_t count = 1;
    shape_text(shape, rank, want);
    const cz_tensor_view *view = file_lookup(file, name);
    if (!view) return cz_fail(CZ_E_WEIGHTS, "%s: missing; %s needs it, with shape %s", name, file->arch, want);
    bool same = view->rank == rank;
    for (size_t i = 0; i < rank; i++) {
        same = same && view->shape[i] == shape[i];
        count *= shape[i]; /* of a known architecture: small */
    }
    if (!same) {
        shape_text(view->shape, view->rank, have);
        return cz_fail(CZ_E_WEIGHTS, "%s: shape %s expected for %s, found %s", name, want, file->arch, have);
    }
    if (view->dtype != CZ_F32 && view->dtype != CZ_F16 && view->dtype != CZ_BF16 && view->dtype != CZ_F64)
        return cz_fail(CZ_E_WEIGHTS, "%s: floating-point values expected, found %s", name, cz_dtype_name(view->dtype));
    const cz_status status = cz_to_f32(view->dtype, view->data, count, out);
    if (status != CZ_OK) return status;
    for (size_t i = 0; i < count; i++)
        if (!isfinite(out[i])) return cz_fail(CZ_E_WEIGHTS, "%s: value %zu is not finite", name, i);
    return CZ_OK;
}

cz_weight_source cz_source_of_file(const cz_file_source *file)
{
    return (cz_weight_source){file, file_has, file_fetch};
}

/* ---- from a hash ------------------------------------------------------------------------------------------------- */

static bool ends_with(const char *text, const char *end)
{
    const size_t a = strlen(text), b = strlen(end);
    return a >= b && strcmp(text + a - b, end) == 0;
}

static bool hash_has(const void *ctx, const char *name)
{
    (void)ctx;
    return ends_with(name, ".weight"); /* batch norm, hence no convolution bias */
}

static cz_status hash_fetch(const void *ctx, const char *name, const size_t *shape, size_t rank, float *out)
{
    const cz_random_source *random = ctx;
    const uint64_t hash = cz_name_hash(name, random->seed);
    size_t count = 1;
    float scale = 0.1f, shift = 0;
    for (size_t i = 0; i < rank; i++) count *= shape[i];
    if (rank == 4) {
        scale = (float)sqrt(6.0 / (double)(shape[1] * shape[2] * shape[3]));
    } else if (ends_with(name, ".running_var")) {
        scale = 0.5f;
        shift = 1.0f;
    } else if (ends_with(name, ".weight")) {
        const bool last =
            strncmp(name, "layer", 5) == 0 && ends_with(name, random->bottleneck ? ".bn3.weight" : ".bn2.weight");
        scale = last ? 0.05f : 0.2f;
        shift = last ? 0.25f : 1.0f;
    }
    for (size_t i = 0; i < count; i++) out[i] = shift + scale * cz_hash_uniform(hash, i);
    return CZ_OK;
}

cz_weight_source cz_source_of_hash(const cz_random_source *random)
{
    return (cz_weight_source){random, hash_has, hash_fetch};
}

/* ---- folding ----------------------------------------------------------------------------------------------------- */

static void hash_tensor(cz_sha256 *sha, const char *name, const size_t *shape, size_t rank, const float *values)
{
    uint64_t header[1 + CZ_MAX_RANK];
    size_t count = 1;
    header[0] = rank;
    for (size_t i = 0; i < rank; i++) {
        header[1 + i] = shape[i];
        count *= shape[i];
    }
    cz_sha256_update(sha, name, strlen(name) + 1);
    cz_sha256_update(sha, header, (1 + rank) * sizeof *header);
    cz_sha256_update(sha, values, count * sizeof *values);
}

/* [out] values of BASE.PART */
static cz_status fetch_vector(const cz_weight_source *source, const char *base, const char *part, size_t count,
                              cz_sha256 *sha, float *out)
{
    char name[64];
    snprintf(name, sizeof name, "%s.%s", base, part);
    const cz_status status = source->fetch(source->ctx, name, &count, 1, out);
    if (status == CZ_OK) hash_tensor(sha, name, &count, 1, out);
    return status;
}

/* y = gamma (W x + b - mean) / sqrt(var + eps) + beta, in double. statistics: [4, out] gamma, beta, mean, var */
static cz_status fold_norm(const cz_layer_conv *conv, double eps, const float *statistics, float *weights, float *bias)
{
    const size_t n = conv->out, row = conv->in * conv->kernel * conv->kernel;
    for (size_t o = 0; o < n; o++) {
        const double variance = (double)statistics[3 * n + o] + eps;
        if (!(variance > 0)) return cz_fail(CZ_E_WEIGHTS, "%s.running_var: value %zu is negative", conv->norm, o);
        const double scale = (double)statistics[o] / sqrt(variance);
        const double shifted = (double)statistics[n + o] + ((double)bias[o] - (double)statistics[2 * n + o]) * scale;
        bias[o] = (float)shifted;
        for (size_t i = 0; i < row; i++) weights[o * row + i] = (float)((double)weights[o * row + i] * scale);
    }
    return CZ_OK;
}

cz_status cz_fold_conv(const cz_weight_source *source, const cz_layer_conv *conv, double eps, cz_sha256 *sha,
                       float *weights, float *bias)
{
    cz_status status = CZ_OK;
    char name[64], norm[64];
    float *statistics = NULL;
    const size_t shape[4] = {conv->out, conv->in, conv->kernel, conv->kernel};
    snprintf(name, sizeof name, "%s.weight", conv->name);
    CZ_TRY(source->fetch(source->ctx, name, shape, 4, weights));
    hash_tensor(sha, name, shape, 4, weights);
    snprintf(name, sizeof name, "%s.bias", conv->name);
    snprintf(norm, sizeof norm, "%s.weight", conv->norm);
    const bool has_bias = source->has(source->ctx, name), has_norm = source->has(source->ctx, norm);
    memset(bias, 0, conv->out * sizeof *bias);
    if (has_bias) CZ_TRY(fetch_vector(source, conv->name, "bias", conv->out, sha, bias));
    if (has_bias && !has_norm) goto out;
    statistics = cz_alloc_array(4 * conv->out, sizeof *statistics);
    if (!statistics) CZ_TRY(CZ_E_MEMORY);
    static const char *const parts[4] = {"weight", "bias", "running_mean", "running_var"};
    for (size_t i = 0; i < 4; i++)
        CZ_TRY(fetch_vector(source, conv->norm, parts[i], conv->out, sha, statistics + i * conv->out));
    CZ_TRY(fold_norm(conv, eps, statistics, weights, bias));
out:
    cz_free(statistics);
    return status;
}
