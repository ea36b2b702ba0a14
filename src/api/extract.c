/* SPDX-License-Identifier: Apache-2.0 */
#include "api/extract.h"

#include "api/precision.h"
#include "backbone/quantise.h"
#include "tensor/dtype.h"
#include "util/alloc.h"
#include "util/threads.h"

#include <stdio.h>
#include <string.h>

/* Room for the text that names what decides features, with taps of at most CZ_MAX_TAPS names. */
#define CONTEXT_ROOM 2048

/* One image of a batch in work. */
typedef struct slot {
    uint8_t *rgb; /* [height, width, 3] */
    cz_geometry geometry;
    cz_store_key key;
    cz_store_entry entry; /* mapped when found or just written */
    bool mapped, from_store;
    uint16_t *values; /* [values], used when not mapped */
} slot;

struct cz_extractor {
    cz_backbone *backbone;
    const cz_prep *prep;
    char *taps;
    size_t threads, batch, tap_count, values;
    cz_precision precision;
    cz_quant quant;
    cz_tap_shape shapes[CZ_MAX_TAPS];
    cz_plan *single, *full; /* for one image and for `batch` images; made when first needed */
    float *input;           /* [batch, height, width, 3] */
    slot *slots;            /* [batch] */
    size_t *missing;        /* [batch] slots to compute */
    float mean[3], std[3];
    cz_store *store;
    cz_store *set_aside; /* cz_extractor_use_store */
    char *context;       /* of store keys */
    bool complained;
    cz_log_fn log;
    void *ctx;
};

static cz_status read_taps(cz_extractor *x)
{
    for (const char *p = x->taps; *p != '\0';) {
        const size_t length = strcspn(p, ",");
        char name[24];
        if (x->tap_count == CZ_MAX_TAPS || length == 0 || length >= sizeof name) {
            return cz_fail(CZ_E_ARG, "taps \"%s\": a list of names such as layer2,layer3 is wanted", x->taps);
        }
        memcpy(name, p, length);
        name[length] = '\0';
        cz_tap tap;
        const cz_status status = cz_backbone_tap_shape(x->backbone, name, x->prep->height, x->prep->width, &tap);
        if (status != CZ_OK) return status;
        x->shapes[x->tap_count++] = (cz_tap_shape){tap.channels, tap.height, tap.width};
        x->values += tap.channels * tap.height * tap.width;
        p += length + (p[length] == ',' ? 1 : 0);
    }
    return x->tap_count > 0 ? CZ_OK : cz_fail(CZ_E_ARG, "no taps");
}

static cz_status open_store(cz_extractor *x, const cz_cache_options *cache)
{
    char ranges[32] = ""; /* int8: features are those of one set of ranges */
    if (cache == NULL || cache->dir == NULL) return CZ_OK;
    if (x->precision == CZ_PRECISION_INT8) {
        char hash[17];
        cz_quant_hash(&x->quant, hash);
        (void)snprintf(ranges, sizeof ranges, ";ranges=%s", hash);
    }
    x->context = cz_format(
        "v%d;backbone=%s;taps=%s;mean=%.9g,%.9g,%.9g;std=%.9g,%.9g,%.9g;precision=%s;algorithm=%s%s;augment=none",
        CZ_STORE_VERSION, cz_backbone_sha256(x->backbone), x->taps, (double)x->mean[0], (double)x->mean[1],
        (double)x->mean[2], (double)x->std[0], (double)x->std[1], (double)x->std[2], cz_precision_name(x->precision),
        cz_precision_algorithm(x->precision), ranges);
    if (x->context == NULL) return CZ_E_MEMORY;
    /* A store that cannot be opened is no reason to stop: the features are computed, and the user is told once. */
    if (cz_store_open(cache, &x->store) != CZ_OK) {
        if (x->log != NULL) x->log(x->ctx, cz_last_error());
        cz_error_clear();
        x->store = NULL;
    }
    return CZ_OK;
}

static cz_status make_slots(cz_extractor *x)
{
    const size_t pixels = x->prep->height * x->prep->width * 3;
    x->slots = cz_calloc(x->batch, sizeof *x->slots);
    x->missing = cz_alloc_array(x->batch, sizeof *x->missing);
    if (x->slots == NULL || x->missing == NULL) return CZ_E_MEMORY;
    for (size_t i = 0; i < x->batch; i++) {
        x->slots[i].rgb = cz_alloc(pixels);
        x->slots[i].values = cz_alloc_array(x->values, sizeof *x->slots[i].values);
        if (x->slots[i].rgb == NULL || x->slots[i].values == NULL) return CZ_E_MEMORY;
    }
    return CZ_OK;
}

cz_status cz_extractor_create(cz_backbone *backbone, const cz_extractor_options *options, cz_extractor **out)
{
    cz_status status = CZ_OK;
    cz_extractor *x = cz_calloc(1, sizeof *x);
    if (x == NULL) return CZ_E_MEMORY;
    x->backbone = cz_backbone_retain(backbone);
    x->prep = options->prep;
    x->threads = options->threads > 0 ? options->threads : cz_threads_available();
    x->batch = options->batch > 0 ? options->batch : 1;
    x->precision = options->precision;
    if (options->quant != NULL) x->quant = *options->quant;
    x->log = options->log;
    x->ctx = options->ctx;
    cz_backbone_normalisation(backbone, x->mean, x->std);
    x->taps = cz_strdup(options->taps);
    if (x->taps == NULL) {
        status = CZ_E_MEMORY;
        goto out;
    }
    CZ_TRY(read_taps(x));
    CZ_TRY(open_store(x, options->cache));
    CZ_TRY(make_slots(x));
    *out = x;
    x = NULL;
out:
    cz_extractor_destroy(x);
    return status;
}

static void unmap(slot *s)
{
    if (s->mapped) cz_store_release(&s->entry);
    s->mapped = false;
}

void cz_extractor_destroy(cz_extractor *x)
{
    if (x == NULL) return;
    for (size_t i = 0; x->slots != NULL && i < x->batch; i++) {
        unmap(&x->slots[i]);
        cz_free(x->slots[i].rgb);
        cz_free(x->slots[i].values);
    }
    cz_free(x->slots);
    cz_free(x->missing);
    cz_plan_destroy(x->single);
    cz_plan_destroy(x->full);
    cz_free(x->input);
    cz_store_close(x->store);
    cz_store_close(x->set_aside);
    cz_free(x->context);
    cz_free(x->taps);
    cz_backbone_close(x->backbone);
    cz_free(x);
}

void cz_extractor_use_store(cz_extractor *x, bool use)
{
    cz_store **from = use ? &x->set_aside : &x->store, **to = use ? &x->store : &x->set_aside;
    if (*to != NULL) return;
    *to = *from;
    *from = NULL;
}

size_t cz_extractor_taps(const cz_extractor *x)
{
    return x->tap_count;
}

const cz_tap_shape *cz_extractor_shape(const cz_extractor *x, size_t tap)
{
    return &x->shapes[tap];
}

size_t cz_extractor_values(const cz_extractor *x)
{
    return x->values;
}

/* The plan for `count` images at once; the weights are packed on the first call only. */
static cz_status get_plan(cz_extractor *x, size_t count, cz_plan **out)
{
    cz_plan **plan = count == 1 ? &x->single : &x->full;
    if (*plan == NULL) {
        const cz_plan_options options = {.taps = x->taps,
                                         .batch = count,
                                         .height = x->prep->height,
                                         .width = x->prep->width,
                                         .threads = x->threads,
                                         .precision = x->precision,
                                         .quant = x->quant.count > 0 ? &x->quant : NULL,
                                         .bf16_taps = true};
        const cz_status status = cz_plan_create(x->backbone, &options, plan);
        if (status != CZ_OK) return status;
    }
    if (x->input == NULL) {
        x->input = cz_alloc_array(x->batch * x->prep->height * x->prep->width * 3, sizeof *x->input);
        if (x->input == NULL) return CZ_E_MEMORY;
    }
    *out = *plan;
    return CZ_OK;
}

static void copy_taps(const cz_extractor *x, const cz_plan *plan, size_t index, uint16_t *values)
{
    for (size_t t = 0; t < x->tap_count; t++) {
        const size_t count = x->shapes[t].channels * x->shapes[t].height * x->shapes[t].width;
        memcpy(values, cz_plan_tap_bf16(plan, t) + index * count, count * sizeof *values);
        values += count;
    }
}

/* Writes what was computed; afterwards the slot's values may lie in the store's mapping (training keeps that instead of
 * a copy in memory). */
static void remember(cz_extractor *x, slot *s)
{
    if (x->store == NULL) return;
    if (cz_store_put(x->store, &s->key, s->values, x->values)) return;
    if (!x->complained && x->log != NULL) x->log(x->ctx, cz_store_problem(x->store));
    x->complained = true;
}

static cz_status compute(cz_extractor *x, const size_t *missing, size_t count, cz_timing *timing)
{
    const size_t pixels = x->prep->height * x->prep->width * 3;
    cz_plan *plan;
    cz_status status;
    double start = cz_now_ms();
    CZ_TRY(get_plan(x, count, &plan));
    for (size_t i = 0; i < count; i++) {
        const slot *s = &x->slots[missing[i]];
        cz_prep_normalise(x->prep, &s->geometry, s->rgb, x->mean, x->std, x->input + i * pixels);
    }
    timing->preprocess += cz_now_ms() - start;
    start = cz_now_ms();
    CZ_TRY(cz_plan_run(plan, x->input));
    for (size_t i = 0; i < count; i++) copy_taps(x, plan, i, x->slots[missing[i]].values);
    timing->backbone += cz_now_ms() - start;
    for (size_t i = 0; i < count; i++) remember(x, &x->slots[missing[i]]);
out:
    return status;
}

static cz_status prepare(cz_extractor *x, slot *s, const cz_image *image)
{
    unmap(s);
    s->from_store = false;
    const cz_status status = cz_prep_image(x->prep, image, x->mean, s->rgb, &s->geometry);
    if (status != CZ_OK || x->store == NULL) return status;
    /* Letterbox padding enters the network as exactly 0, not as the byte that stands for it: which part is padding counts. */
    char context[CONTEXT_ROOM];
    const cz_geometry *g = &s->geometry;
    (void)snprintf(context, sizeof context, "%s;content=%zu,%zu,%zu,%zu", x->context, g->content_x, g->content_y,
                   g->content_w, g->content_h);
    cz_store_key_make(s->rgb, x->prep->height, x->prep->width, context, &s->key);
    s->mapped = cz_store_get(x->store, &s->key, x->values, &s->entry);
    s->from_store = s->mapped;
    return CZ_OK;
}

cz_status cz_extractor_prepare(cz_extractor *x, const cz_image *images, size_t count, cz_timing *timing)
{
    cz_status status = CZ_OK;
    if (count == 0 || count > x->batch) return cz_fail(CZ_E_INTERNAL, "%zu images in a batch of %zu", count, x->batch);
    const double start = cz_now_ms();
    for (size_t i = 0; i < count; i++) CZ_TRY(prepare(x, &x->slots[i], &images[i]));
    timing->preprocess += cz_now_ms() - start;
out:
    return status;
}

cz_status cz_extractor_compute(cz_extractor *x, size_t count, cz_extracted *out, cz_timing *timing)
{
    cz_status status = CZ_OK;
    size_t missing = 0;
    for (size_t i = 0; i < count; i++) {
        if (!x->slots[i].mapped) x->missing[missing++] = i;
    }
    if (missing == x->batch && missing > 1) {
        CZ_TRY(compute(x, x->missing, missing, timing));
    } else {
        for (size_t i = 0; i < missing; i++) CZ_TRY(compute(x, x->missing + i, 1, timing));
    }
    for (size_t i = 0; i < count; i++) {
        const slot *s = &x->slots[i];
        out[i] = (cz_extracted){s->geometry, s->mapped ? s->entry.values : s->values, s->mapped ? &s->entry : NULL,
                                s->from_store};
    }
out:
    return status;
}

cz_status cz_extractor_run(cz_extractor *x, const cz_image *images, size_t count, cz_extracted *out, cz_timing *timing)
{
    const cz_status status = cz_extractor_prepare(x, images, count, timing);
    return status == CZ_OK ? cz_extractor_compute(x, count, out, timing) : status;
}

bool cz_extractor_take_entry(cz_extractor *x, size_t index, cz_store_entry *out)
{
    slot *s = &x->slots[index];
    if (!s->mapped) {
        if (x->store == NULL || !cz_store_get(x->store, &s->key, x->values, &s->entry)) return false;
    }
    *out = s->entry;
    s->mapped = false;
    return true;
}

const char *cz_extractor_context(const cz_extractor *x)
{
    return x->context;
}

void cz_extractor_maps(const cz_extractor *x, const uint16_t *values, const uint16_t **maps)
{
    for (size_t t = 0; t < x->tap_count; t++) {
        maps[t] = values;
        values += x->shapes[t].channels * x->shapes[t].height * x->shapes[t].width;
    }
}
