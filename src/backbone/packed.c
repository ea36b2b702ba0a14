/* SPDX-License-Identifier: Apache-2.0 */
#include "backbone/packed.h"

#include "backbone/backbone_internal.h"
#include "backbone/packed_file.h"
#include "util/alloc.h"
#include "util/xxh64.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- settings ---------------------------------------------------------------------------------------------------- */

/* COZAD_PACKED_CACHE: unset, "off", or the folder's limit in bytes. */
static uint64_t limit(void)
{
    const char *text = getenv("COZAD_PACKED_CACHE");
    if (!text || text[0] == '\0') return CZ_PACKED_LIMIT;
    if (text[0] < '0' || text[0] > '9') return strcmp(text, "off") == 0 ? 0 : CZ_PACKED_LIMIT;
    return strtoull(text, NULL, 10);
}

bool cz_packed_enabled(void)
{
    return limit() > 0;
}

char *cz_packed_context(const cz_plan_options *options)
{
    char engine[128], ranges[17] = "-";
    cz_engine_describe(engine, sizeof engine);
    const cz_quant *quant = options->precision == CZ_PRECISION_INT8 ? options->quant : NULL;
    if (quant)
        (void)snprintf(ranges, sizeof ranges, "%016llx",
                       (unsigned long long)cz_xxh64(quant->range, quant->count * sizeof *quant->range));
    return cz_format("cozad %s; %s; precision %d; ranges %s; taps %s; %zux%zu; batch %zu; threads %zu", cz_version(),
                     engine, (int)options->precision, ranges, options->taps, options->width, options->height,
                     options->batch, options->threads);
}

/* ---- in memory --------------------------------------------------------------------------------------------------- */

/* The caller holds `listing` and releases. */
static cz_packed *recall(cz_folded *f, const char *context)
{
    for (size_t i = 0; i < CZ_PACKED_KEPT && f->kept[i].context; i++) {
        if (strcmp(f->kept[i].context, context) != 0) continue;
        const cz_kept found = f->kept[i];
        memmove(&f->kept[1], &f->kept[0], i * sizeof f->kept[0]);
        f->kept[0] = found;
        return cz_packed_retain(found.packed);
    }
    return NULL;
}

/* Puts it in front; what is too much falls off at the end. The caller holds `listing`. */
static void keep(cz_folded *f, const char *context, cz_packed *packed)
{
    size_t at = 0;
    while (at < CZ_PACKED_KEPT - 1 && f->kept[at].context && strcmp(f->kept[at].context, context) != 0) at++;
    char *copy = cz_strdup(context);
    if (!copy) return;
    if (f->kept[at].context) {
        cz_free(f->kept[at].context);
        cz_packed_release(f->kept[at].packed);
    }
    memmove(&f->kept[1], &f->kept[0], at * sizeof f->kept[0]);
    f->kept[0].context = copy;
    f->kept[0].packed = cz_packed_retain(packed);
}

/* ---- the description in a file ----------------------------------------------------------------------------------- */

/* cz_free; NULL: out of memory, or a name that is no UTF-8. */
static char *describe(const cz_backbone *b, const char *context)
{
    const cz_description *d = &b->description;
    json_t *ranges = json_array();
    for (size_t i = 0; i < b->ranges.count; i++)
        (void)json_array_append_new(ranges, json_real((double)b->ranges.range[i]));
    json_t *text = json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:[f,f,f], s:[f,f,f], s:f, s:f, s:b, s:b, s:I, s:s, s:o}",
                             "context", context, "sha256", b->sha256, "name", b->name, "path", b->path, "architecture",
                             b->layout.arch->name, "stages", (json_int_t)b->layout.variant.stages, "mean",
                             (double)d->mean[0], (double)d->mean[1], (double)d->mean[2], "std", (double)d->std[0],
                             (double)d->std[1], (double)d->std[2], "eps", d->eps, "feature_scale", d->feature_scale,
                             "stride_in_conv1", (int)d->stride_in_conv1, "pool_ceil", (int)d->pool_ceil,
                             "feature_width", (json_int_t)d->feature_width, "version", d->version, "ranges", ranges);
    char *dumped = text ? json_dumps(text, JSON_INDENT(1)) : NULL;
    char *out = dumped ? cz_strdup(dumped) : NULL;
    free(dumped);
    json_decref(text);
    return out;
}

static bool read_floats(const json_t *list, float out[3])
{
    if (json_array_size(list) != 3) return false;
    for (size_t i = 0; i < 3; i++) {
        out[i] = (float)json_number_value(json_array_get(list, i));
        if (!isfinite(out[i])) return false;
    }
    return true;
}

static bool read_description(const json_t *text, cz_description *d)
{
    memset(d, 0, sizeof *d);
    d->eps = json_number_value(json_object_get(text, "eps"));
    d->feature_scale = json_number_value(json_object_get(text, "feature_scale"));
    d->stride_in_conv1 = json_is_true(json_object_get(text, "stride_in_conv1"));
    d->pool_ceil = json_is_true(json_object_get(text, "pool_ceil"));
    const json_t *width = json_object_get(text, "feature_width");
    const char *version = json_string_value(json_object_get(text, "version"));
    const json_int_t features = json_integer_value(width);
    if (!json_is_integer(width) || features < 0 || features > (json_int_t)CZ_DESCRIPTION_MAX_WIDTH || !version ||
        strlen(version) >= sizeof d->version)
        return false; /* one made before there were these is as good as none */
    d->feature_width = (size_t)features;
    memcpy(d->version, version, strlen(version) + 1);
    return read_floats(json_object_get(text, "mean"), d->mean) && read_floats(json_object_get(text, "std"), d->std) &&
           d->std[0] > 0 && d->std[1] > 0 && d->std[2] > 0 && d->eps >= 0 && d->feature_scale >= 0;
}

/* Those of every node, or none. */
static bool read_ranges(const json_t *list, size_t nodes, cz_quant *out)
{
    if (!json_is_array(list) || (json_array_size(list) != 0 && json_array_size(list) != nodes)) return false;
    for (size_t i = 0; i < json_array_size(list); i++) {
        out->range[i] = (float)json_number_value(json_array_get(list, i));
        if (!(out->range[i] > 0) || !isfinite(out->range[i])) return false;
    }
    out->count = json_array_size(list);
    return true;
}

static const char *get(const json_t *text, const char *key)
{
    const char *value = json_string_value(json_object_get(text, key));
    return value ? value : "";
}

/* Of this backbone; `context` NULL: any. */
static json_t *read_text(const cz_packed_file *file, const char sha256[65], const char *context)
{
    json_t *text = json_loadb(file->text, file->text_size, JSON_REJECT_DUPLICATES, NULL);
    if (strcmp(get(text, "sha256"), sha256) == 0 && (!context || strcmp(get(text, "context"), context) == 0))
        return text;
    json_decref(text);
    return NULL;
}

static cz_status backbone_of(const json_t *text, const char *name, const char *path, cz_backbone **out)
{
    cz_variant variant;
    cz_description description;
    const cz_arch *arch = cz_arch_find(get(text, "architecture"));
    const json_int_t stages = json_integer_value(json_object_get(text, "stages"));
    if (!arch || stages < 1 || stages > 4 || arch->blocks[stages - 1] == 0 || !read_description(text, &description))
        return CZ_OK;
    cz_backbone *b = cz_backbone_new(name ? name : get(text, "name"), path);
    if (!b) return CZ_E_MEMORY;
    b->description = description;
    variant.stages = (size_t)stages;
    variant.stride_in_conv1 = description.stride_in_conv1;
    variant.pool_ceil = description.pool_ceil;
    cz_layout_build(arch, &variant, &b->layout);
    (void)snprintf(b->sha256, sizeof b->sha256, "%s", get(text, "sha256"));
    if (!read_ranges(json_object_get(text, "ranges"), b->layout.node_count, &b->ranges)) {
        cz_backbone_close(b);
        return CZ_OK;
    }
    *out = b;
    return CZ_OK;
}

/* ---- on disk ----------------------------------------------------------------------------------------------------- */

static void let_go(void *ctx)
{
    cz_packed_file *file = ctx;
    cz_packed_file_close(file);
    cz_free(file);
}

static cz_packed *find_file(const cz_backbone *b, const char *context, const char *folder)
{
    cz_packed_key key;
    cz_packed *packed = NULL;
    cz_packed_file *file = cz_calloc(1, sizeof *file);
    if (!file) return NULL;
    cz_packed_key_make(b->sha256, context, &key);
    if (cz_packed_file_open(folder, key.name, true, file)) {
        json_t *text = read_text(file, b->sha256, context);
        if (text && cz_packed_from_bytes(file->bytes, file->size, let_go, file, &packed) == CZ_OK) file = NULL;
        json_decref(text);
    }
    if (file) let_go(file);
    return packed;
}

static bool has_file(const cz_backbone *b)
{
    return b->path[0] != '\0' && cz_packed_enabled();
}

/* What is done on the side leaves no message. */
static void hush(bool was_silent)
{
    if (was_silent) cz_error_clear();
}

cz_packed *cz_packed_find(const cz_backbone *b, const char *context)
{
    cz_folded *f = b->folded;
    const bool silent = cz_last_error()[0] == '\0';
    (void)pthread_mutex_lock(&f->listing);
    cz_packed *packed = recall(f, context);
    if (!packed && cz_packed_enabled()) {
        char *folder = cz_packed_folder();
        packed = folder ? find_file(b, context, folder) : NULL;
        cz_free(folder);
        if (packed) keep(f, context, packed);
    }
    (void)pthread_mutex_unlock(&f->listing);
    hush(silent);
    return packed;
}

void cz_packed_offer(const cz_backbone *b, const char *context, cz_packed *packed)
{
    cz_folded *f = b->folded;
    const bool silent = cz_last_error()[0] == '\0';
    (void)pthread_mutex_lock(&f->listing);
    keep(f, context, packed);
    (void)pthread_mutex_unlock(&f->listing);
    if (has_file(b)) {
        size_t size;
        cz_packed_key key;
        const void *bytes = cz_packed_bytes(packed, &size);
        char *folder = cz_packed_folder(), *text = folder ? describe(b, context) : NULL;
        cz_packed_key_make(b->sha256, context, &key);
        if (text) (void)cz_packed_file_write(folder, &key, text, bytes, size, limit());
        cz_free(text);
        cz_free(folder);
    }
    hush(silent);
}

cz_status cz_packed_open(const char sha256[65], const char *name, const char *path, cz_backbone **out)
{
    cz_status status = CZ_OK;
    cz_packed_listing listing = {0};
    char *folder = NULL;
    *out = NULL;
    if (!cz_packed_enabled() || strlen(sha256) != 64) return CZ_OK;
    folder = cz_packed_folder();
    if (!folder) CZ_TRY(CZ_E_MEMORY);
    CZ_TRY(cz_packed_scan(folder, &listing));
    for (size_t i = listing.count; !*out && i-- > 0;) {
        cz_packed_file file;
        if (strncmp(listing.entries[i].name, sha256, 16) != 0) continue;
        if (!cz_packed_file_open(folder, listing.entries[i].name, false, &file)) continue;
        json_t *text = read_text(&file, sha256, NULL);
        if (text) status = backbone_of(text, name, path, out);
        json_decref(text);
        cz_packed_file_close(&file);
        if (status != CZ_OK) goto out;
    }
out:
    cz_packed_listing_free(&listing);
    cz_free(folder);
    return status;
}
