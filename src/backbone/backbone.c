/* SPDX-License-Identifier: Apache-2.0 */
#include "backbone/backbone_internal.h"
#include "backbone/fold.h"
#include "backbone/quantise.h"
#include "tensor/tensors.h"
#include "util/alloc.h"

#include <stdio.h>
#include <string.h>

/* ---- life -------------------------------------------------------------------------------------------------------- */

static cz_folded *folded_new(void)
{
    cz_folded *f = cz_calloc(1, sizeof *f);
    if (!f) return NULL;
    atomic_init(&f->there, false);
    (void)pthread_mutex_init(&f->reading, NULL);
    (void)pthread_mutex_init(&f->packing, NULL);
    (void)pthread_mutex_init(&f->listing, NULL);
    return f;
}

static void folded_free(cz_folded *f)
{
    if (!f) return;
    for (size_t i = 0; i < CZ_MAX_CONVS; i++) {
        cz_free(f->weights[i]);
        cz_free(f->bias[i]);
    }
    for (size_t i = 0; i < CZ_PACKED_KEPT; i++) {
        cz_free(f->kept[i].context);
        if (f->kept[i].packed) cz_packed_release(f->kept[i].packed);
    }
    (void)pthread_mutex_destroy(&f->reading);
    (void)pthread_mutex_destroy(&f->packing);
    (void)pthread_mutex_destroy(&f->listing);
    cz_free(f);
}

cz_backbone *cz_backbone_new(const char *name, const char *path)
{
    cz_backbone *b = cz_calloc(1, sizeof *b);
    if (!b) return NULL;
    atomic_init(&b->references, 1);
    b->folded = folded_new();
    b->name = b->folded ? cz_strdup(name) : NULL;
    b->path = b->name ? cz_strdup(path ? path : "") : NULL;
    if (b->path) {
        b->weights = b->folded->weights;
        b->bias = b->folded->bias;
        return b;
    }
    cz_backbone_close(b);
    return NULL;
}

cz_backbone *cz_backbone_retain(cz_backbone *b)
{
    atomic_fetch_add_explicit(&b->references, 1, memory_order_relaxed);
    return b;
}

void cz_backbone_close(cz_backbone *b)
{
    if (!b || atomic_fetch_sub_explicit(&b->references, 1, memory_order_acq_rel) != 1) return;
    folded_free(b->folded);
    cz_free(b->name);
    cz_free(b->path);
    cz_free(b);
}

/* Everything that follows from description, layout and source. */
static cz_status load(cz_backbone *b, const cz_weight_source *source)
{
    cz_sha256 sha;
    uint8_t digest[32];
    cz_sha256_init(&sha);
    for (size_t i = 0; i < b->layout.conv_count; i++) {
        const cz_layer_conv *conv = &b->layout.convs[i];
        b->weights[i] = cz_alloc_array(conv->out * conv->in * conv->kernel * conv->kernel, sizeof **b->weights);
        b->bias[i] = cz_alloc_array(conv->out, sizeof **b->bias);
        if (!b->weights[i] || !b->bias[i]) return CZ_E_MEMORY;
        const cz_status status = cz_fold_conv(source, conv, b->description.eps, &sha, b->weights[i], b->bias[i]);
        if (status != CZ_OK) return status;
    }
    cz_description_hash(&b->description, &sha);
    if (b->ranges.count > 0) {
        cz_sha256_update(&sha, CZ_QUANT_TENSOR, sizeof CZ_QUANT_TENSOR);
        cz_sha256_update(&sha, b->ranges.range, b->ranges.count * sizeof *b->ranges.range);
    }
    cz_sha256_final(&sha, digest);
    cz_sha256_hex(digest, b->sha256);
    atomic_store_explicit(&b->folded->there, true, memory_order_release);
    return CZ_OK;
}

static cz_status load_ranges(cz_backbone *b, const cz_tensors *tensors)
{
    if (!cz_tensors_lookup(tensors, CZ_QUANT_TENSOR)) return CZ_OK;
    if (cz_quant_load(tensors, &b->ranges) != CZ_OK) return CZ_E_WEIGHTS; /* its message says what is wrong */
    if (b->ranges.count == b->layout.node_count) return CZ_OK;
    return cz_fail(CZ_E_WEIGHTS, "tensor \"" CZ_QUANT_TENSOR "\": %zu ranges, the network has %zu nodes",
                   b->ranges.count, b->layout.node_count);
}

/* Data-parallel training and wrappers put these before every name. */
static const char *find_prefix(const cz_tensors *tensors)
{
    static const char *const prefixes[] = {"", "module.", "model.", "backbone."};
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        char name[64];
        snprintf(name, sizeof name, "%sconv1.weight", prefixes[i]);
        if (cz_tensors_lookup(tensors, name)) return prefixes[i];
    }
    return "";
}

cz_status cz_backbone_from_tensors(const cz_tensors *tensors, const char *name, const char *path, cz_backbone **out)
{
    cz_status status = CZ_OK;
    const cz_arch *arch;
    cz_variant variant;
    cz_backbone *b = cz_backbone_new(name, path);
    if (!b) return CZ_E_MEMORY;
    const char *prefix = find_prefix(tensors);
    CZ_TRY(cz_description_read(tensors, &b->description));
    CZ_TRY(cz_arch_detect(tensors, prefix, &arch, &variant.stages));
    variant.stride_in_conv1 = b->description.stride_in_conv1;
    variant.pool_ceil = b->description.pool_ceil;
    cz_layout_build(arch, &variant, &b->layout);
    const cz_file_source file = {tensors, prefix, arch->name};
    const cz_weight_source source = cz_source_of_file(&file);
    CZ_TRY(load_ranges(b, tensors));
    CZ_TRY(load(b, &source));
    *out = b;
    b = NULL;
out:
    cz_backbone_close(b);
    return status;
}

cz_status cz_backbone_random(const char *architecture, uint64_t seed, cz_backbone **out)
{
    cz_status status = CZ_OK;
    const cz_arch *arch = cz_arch_find(architecture);
    if (!arch) return cz_fail(CZ_E_ARG, "unknown architecture \"%s\": known are %s", architecture, cz_arch_names());
    char name[64];
    snprintf(name, sizeof name, "random:%s:%llu", architecture, (unsigned long long)seed);
    cz_backbone *b = cz_backbone_new(name, "");
    if (!b) return CZ_E_MEMORY;
    cz_description_default(&b->description);
    b->description.feature_scale = 0;
    const cz_variant variant = {.stages = 3};
    cz_layout_build(arch, &variant, &b->layout);
    const cz_random_source random = {seed, arch->bottleneck};
    const cz_weight_source source = cz_source_of_hash(&random);
    CZ_TRY(load(b, &source));
    *out = b;
    b = NULL;
out:
    cz_backbone_close(b);
    return status;
}

/* ---- weights that come later ------------------------------------------------------------------------------------- */

static cz_status read_file(const cz_backbone *b)
{
    cz_status status = CZ_OK;
    cz_tensors *tensors = NULL;
    cz_backbone *read = NULL;
    if (b->path[0] == '\0')
        return cz_fail(CZ_E_WEIGHTS,
                       "the weights of %s (SHA-256 %.12s...) are needed and their file is gone; put it back or name it "
                       "with --backbone",
                       b->name, b->sha256);
    CZ_TRY(cz_tensors_open(b->path, &tensors));
    CZ_TRY(cz_backbone_from_tensors(tensors, b->name, b->path, &read));
    if (strcmp(read->sha256, b->sha256) != 0)
        CZ_TRY(cz_fail(CZ_E_WEIGHTS, "%s holds other weights than it did: SHA-256 %.12s... instead of %.12s...",
                       b->path, read->sha256, b->sha256));
    memcpy(b->folded->weights, read->folded->weights, sizeof b->folded->weights);
    memcpy(b->folded->bias, read->folded->bias, sizeof b->folded->bias);
    memset(read->folded->weights, 0, sizeof read->folded->weights);
    memset(read->folded->bias, 0, sizeof read->folded->bias);
    atomic_store_explicit(&b->folded->there, true, memory_order_release);
out:
    if (status != CZ_OK && status != CZ_E_MEMORY && !strstr(cz_last_error(), b->path))
        status = cz_fail_prefix(status, b->path);
    cz_backbone_close(read);
    cz_tensors_close(tensors);
    return status;
}

cz_status cz_backbone_load(const cz_backbone *b)
{
    cz_status status = CZ_OK;
    if (atomic_load_explicit(&b->folded->there, memory_order_acquire)) return CZ_OK;
    (void)pthread_mutex_lock(&b->folded->reading);
    if (!atomic_load_explicit(&b->folded->there, memory_order_relaxed)) status = read_file(b);
    (void)pthread_mutex_unlock(&b->folded->reading);
    return status;
}

/* ---- what it is -------------------------------------------------------------------------------------------------- */

const char *cz_backbone_name(const cz_backbone *b)
{
    return b->name;
}

const char *cz_backbone_architecture(const cz_backbone *b)
{
    return b->layout.arch->name;
}

const char *cz_backbone_path(const cz_backbone *b)
{
    return b->path;
}

const char *cz_backbone_sha256(const cz_backbone *b)
{
    return b->sha256;
}

const char *cz_backbone_version(const cz_backbone *b)
{
    return b->description.version;
}

size_t cz_backbone_feature_width(const cz_backbone *b)
{
    return b->description.feature_width > 0 ? b->description.feature_width : b->layout.arch->feature_width;
}

int cz_backbone_has_ranges(const cz_backbone *b)
{
    return b->ranges.count > 0;
}

const cz_quant *cz_backbone_ranges(const cz_backbone *b)
{
    return b->ranges.count > 0 ? &b->ranges : NULL;
}

void cz_backbone_normalisation(const cz_backbone *b, float mean[3], float std[3])
{
    memcpy(mean, b->description.mean, 3 * sizeof *mean);
    memcpy(std, b->description.std, 3 * sizeof *std);
}

double cz_backbone_feature_scale(const cz_backbone *b)
{
    return b->description.feature_scale;
}

cz_status cz_backbone_tap_shape(const cz_backbone *b, const char *tap, size_t height, size_t width, cz_tap *out)
{
    cz_status status = CZ_OK;
    size_t node;
    cz_extent extents[CZ_MAX_NODES];
    CZ_TRY(cz_layout_find_tap(&b->layout, tap, &node));
    CZ_TRY(cz_layout_extents(&b->layout, height, width, node, extents));
    *out = (cz_tap){.channels = extents[node].channels, .height = extents[node].height, .width = extents[node].width};
    snprintf(out->name, sizeof out->name, "%s", tap);
out:
    return status;
}

double cz_backbone_flops(const cz_backbone *b, const char *taps, size_t width, size_t height)
{
    size_t nodes[CZ_MAX_TAPS], count, last = 0;
    char names[CZ_MAX_TAPS][24];
    cz_extent extents[CZ_MAX_NODES];
    double flops = 0;
    cz_error_clear();
    if (cz_layout_parse_taps(&b->layout, taps, nodes, names, &count) != CZ_OK) return 0;
    for (size_t i = 0; i < count; i++) last = nodes[i] > last ? nodes[i] : last;
    if (cz_layout_extents(&b->layout, height, width, last, extents) != CZ_OK) return 0;
    for (size_t i = 0; i <= last; i++) {
        if (b->layout.nodes[i].kind != CZ_NODE_CONV) continue;
        const cz_layer_conv *conv = &b->layout.convs[b->layout.nodes[i].conv];
        flops += 2.0 * (double)(extents[i].height * extents[i].width) * (double)(conv->out * conv->in) *
                 (double)(conv->kernel * conv->kernel);
    }
    return flops;
}

/* ---- saving ------------------------------------------------------------------------------------------------------ */

static cz_status put_conv(cz_tensors *tensors, const cz_layer_conv *conv, const float *weights, const float *bias)
{
    char name[64];
    const size_t k = conv->kernel;
    cz_tensor_view view = {.name = name, .rank = 4, .shape = {conv->out, conv->in, k, k}, .data = weights};
    view.bytes = conv->out * conv->in * k * k * sizeof *weights;
    snprintf(name, sizeof name, "%s.weight", conv->name);
    const cz_status status = cz_tensors_put(tensors, &view, 0);
    if (status != CZ_OK) return status;
    view = (cz_tensor_view){.name = name, .rank = 1, .shape = {conv->out}, .data = bias};
    view.bytes = conv->out * sizeof *bias;
    snprintf(name, sizeof name, "%s.bias", conv->name);
    return cz_tensors_put(tensors, &view, 0);
}

cz_status cz_backbone_save(const cz_backbone *b, const char *path)
{
    cz_status status = CZ_OK;
    cz_tensors *tensors = NULL;
    char stages[32];
    snprintf(stages, sizeof stages, b->layout.variant.stages > 1 ? "stem to layer%zu" : "stem, layer%zu",
             b->layout.variant.stages);
    CZ_TRY(cz_backbone_load(b));
    CZ_TRY(cz_tensors_create(&tensors));
    CZ_TRY(cz_tensors_set_metadata(tensors, "architecture", b->layout.arch->name));
    CZ_TRY(cz_tensors_set_metadata(tensors, "stages", stages));
    CZ_TRY(cz_tensors_set_metadata(tensors, "block", b->layout.arch->bottleneck ? "bottleneck" : "basic"));
    CZ_TRY(cz_tensors_set_metadata(tensors, "batchnorm", "folded into the convolutions (conv.bias)"));
    CZ_TRY(cz_description_write(&b->description, tensors));
    for (size_t i = 0; i < b->layout.conv_count; i++)
        CZ_TRY(put_conv(tensors, &b->layout.convs[i], b->weights[i], b->bias[i]));
    if (b->ranges.count > 0) CZ_TRY(cz_quant_save(&b->ranges, tensors));
    CZ_TRY(cz_tensors_save(tensors, path));
out:
    cz_tensors_close(tensors);
    return status;
}
