/* SPDX-License-Identifier: Apache-2.0 */
/* cz_features_images and cz_features_tensor: intermediates in F32, unrounded. */
#include "api/precision.h"
#include "backbone/backbone.h"
#include "features/patch.h"
#include "features/preprocess.h"
#include "tensor/dtype.h"
#include "tensor/tensors.h"
#include "util/alloc.h"
#include "util/threads.h"

#include <string.h>

#define MAX_NAMES CZ_MAX_TAPS

typedef struct name_list {
    char names[MAX_NAMES][24];
    size_t count;
} name_list;

static bool contains(const name_list *list, const char *name)
{
    for (size_t i = 0; i < list->count; i++) {
        if (strcmp(list->names[i], name) == 0) return true;
    }
    return false;
}

static cz_status add_name(name_list *list, const char *name, size_t length)
{
    if (length == 0 || length >= sizeof list->names[0] || list->count == MAX_NAMES) {
        return cz_fail(CZ_E_ARG, "taps: a list of names such as layer2,layer3,patches is wanted");
    }
    memcpy(list->names[list->count], name, length);
    list->names[list->count][length] = '\0';
    list->count++;
    return CZ_OK;
}

static cz_status split(const char *text, name_list *list)
{
    if (text == NULL) text = "";
    do {
        const size_t length = strcspn(text, ",");
        const cz_status status = add_name(list, text, length);
        if (status != CZ_OK) return status;
        text += length;
    } while (*text++ == ',');
    return CZ_OK;
}

/* The names joined by commas; cz_free. */
static char *join(const name_list *list)
{
    char *text = cz_calloc(list->count + 1, sizeof list->names[0]);
    for (size_t i = 0; text != NULL && i < list->count; i++) {
        if (i > 0) strcat(text, ",");
        strcat(text, list->names[i]);
    }
    return text;
}

typedef struct run {
    const cz_features_options *options;
    size_t batch, height, width;
    const float *input; /* [N, H, W, 3] */
    cz_plan *plan;      /* NULL when no tap of the network is wanted */
    cz_tensors *into;
    size_t feature_width; /* D */
} run;

static size_t plan_index(const cz_plan *plan, const char *name)
{
    size_t i = 0;
    while (strcmp(cz_plan_tap(plan, i)->name, name) != 0) i++;
    return i;
}

/* [N, h, w, C] -> [N, C, h, w], as PyTorch orders it. */
static cz_status put_map(cz_tensors *into, const char *name, const float *map, size_t n, size_t c, size_t h, size_t w)
{
    const size_t plane = h * w;
    float *out = cz_alloc_array(n * c * plane, sizeof *out);
    if (out == NULL) return CZ_E_MEMORY;
    for (size_t i = 0; i < n; i++) {
        for (size_t p = 0; p < plane; p++) {
            for (size_t k = 0; k < c; k++) out[(i * c + k) * plane + p] = map[(i * plane + p) * c + k];
        }
    }
    const cz_tensor_view view = {name, CZ_F32, 4, {n, c, h, w}, out, n * c * plane * sizeof *out};
    const cz_status status = cz_tensors_put(into, &view, 1);
    if (status != CZ_OK) cz_free(out);
    return status;
}

static cz_status put_patches(const run *r)
{
    cz_status status;
    name_list list = {.count = 0};
    cz_tap_shape shapes[CZ_MAX_TAPS];
    size_t index[CZ_MAX_TAPS];
    const float *maps[CZ_MAX_TAPS];
    cz_pooler *pooler = NULL;
    float *scratch = NULL, *out = NULL;
    const size_t d = r->feature_width;
    CZ_TRY(split(r->options->patch_taps, &list));
    for (size_t t = 0; t < list.count; t++) {
        index[t] = plan_index(r->plan, list.names[t]);
        const cz_tap *tap = cz_plan_tap(r->plan, index[t]);
        shapes[t] = (cz_tap_shape){tap->channels, tap->height, tap->width};
    }
    CZ_TRY(cz_pooler_create(shapes, list.count, d, 3, &pooler));
    const size_t patches = cz_pooler_grid_h(pooler) * cz_pooler_grid_w(pooler);
    scratch = cz_alloc_array(cz_pooler_scratch(pooler), sizeof *scratch);
    out = cz_alloc_array(r->batch * patches * d, sizeof *out);
    if (scratch == NULL || out == NULL) {
        status = CZ_E_MEMORY;
        goto out;
    }
    for (size_t n = 0; n < r->batch; n++) {
        for (size_t t = 0; t < list.count; t++) {
            maps[t] = cz_plan_tap_data(r->plan, index[t]) + n * shapes[t].channels * shapes[t].height * shapes[t].width;
        }
        cz_pooler_patches(pooler, maps, (float)r->options->feature_scale, scratch, out + n * patches * d);
    }
    const cz_tensor_view view = {
        "patches", CZ_F32, 3, {r->batch, patches, d}, out, r->batch * patches * d * sizeof *out};
    CZ_TRY(cz_tensors_put(r->into, &view, 1));
    out = NULL;
out:
    cz_free(scratch);
    cz_free(out);
    cz_pooler_destroy(pooler);
    return status;
}

static cz_status put_all(const run *r, const name_list *names)
{
    cz_status status = CZ_OK;
    for (size_t i = 0; i < names->count; i++) {
        const char *name = names->names[i];
        if (strcmp(name, "input") == 0) {
            CZ_TRY(put_map(r->into, name, r->input, r->batch, 3, r->height, r->width));
        } else if (strcmp(name, "patches") == 0) {
            CZ_TRY(put_patches(r));
        } else {
            const size_t index = plan_index(r->plan, name);
            const cz_tap *tap = cz_plan_tap(r->plan, index);
            CZ_TRY(put_map(r->into, name, cz_plan_tap_data(r->plan, index), r->batch, tap->channels, tap->height,
                           tap->width));
        }
    }
out:
    return status;
}

/* The network's taps among the names, with those of `patches`. */
static cz_status network_taps(const name_list *names, const cz_features_options *o, name_list *out)
{
    name_list wanted = *names;
    cz_status status = CZ_OK;
    if (contains(names, "patches")) CZ_TRY(split(o->patch_taps, &wanted));
    for (size_t i = 0; i < wanted.count; i++) {
        const char *name = wanted.names[i];
        if (strcmp(name, "input") == 0 || strcmp(name, "patches") == 0 || contains(out, name)) continue;
        CZ_TRY(add_name(out, name, strlen(name)));
    }
out:
    return status;
}

static cz_status compute(const cz_backbone *b, run *r)
{
    cz_status status;
    name_list names = {.count = 0}, taps = {.count = 0};
    char *tap_text = NULL;
    r->feature_width = r->options->feature_width > 0 ? r->options->feature_width : cz_backbone_feature_width(b);
    CZ_TRY(split(r->options->taps, &names));
    CZ_TRY(network_taps(&names, r->options, &taps));
    if (taps.count > 0) {
        tap_text = join(&taps);
        if (tap_text == NULL) return CZ_E_MEMORY;
        const size_t threads = r->options->threads > 0 ? r->options->threads : cz_threads_available();
        const cz_plan_options plan = {.taps = tap_text,
                                      .batch = r->batch,
                                      .height = r->height,
                                      .width = r->width,
                                      .threads = threads,
                                      .precision = r->options->precision,
                                      .quant = cz_backbone_ranges(b)};
        CZ_TRY(cz_plan_create(b, &plan, &r->plan));
        CZ_TRY(cz_plan_run(r->plan, r->input));
    }
    CZ_TRY(put_all(r, &names));
out:
    cz_plan_destroy(r->plan);
    cz_free(tap_text);
    return status;
}

static cz_status check(const cz_backbone *b, const cz_features_options *o, const cz_tensors *into)
{
    if (b == NULL || o == NULL || into == NULL) return cz_fail(CZ_E_ARG, "cz_features: a NULL argument");
    if (o->struct_size < sizeof *o) return cz_fail(CZ_E_ARG, "cz_features_options: unknown struct_size");
    const cz_status status = cz_precision_check(o->precision);
    if (status != CZ_OK) return status;
    if ((o->precision == CZ_PRECISION_INT8 && !cz_backbone_has_ranges(b)) || o->precision == CZ_PRECISION_AUTO ||
        o->precision == CZ_PRECISION_MODEL)
        return cz_fail(
            CZ_E_ARG,
            "features in %s need a model, which knows ranges and errors: fp32, fp32-winograd or bf16; int8 of "
            "weights with ranges inside",
            cz_precision_name(o->precision));
    if (o->feature_width > 65536) return cz_fail(CZ_E_ARG, "a feature width of %zu", o->feature_width);
    return CZ_OK;
}

cz_status cz_features_images(const cz_backbone *b, const cz_image *images, size_t count, const cz_features_options *o,
                             cz_tensors *into)
{
    cz_error_clear();
    cz_status status;
    cz_threads_scope scope = {0};
    cz_prep prep = {0};
    uint8_t *rgb = NULL;
    float *input = NULL, mean[3], std[3];
    CZ_TRY(check(b, o, into));
    if (count == 0) return cz_fail(CZ_E_NO_IMAGES, "no images");
    CZ_TRY(cz_threads_enter(o->threads, &scope));
    CZ_TRY(cz_prep_init(o->image_width, o->image_height, o->fit, o->resize, NULL, NULL, &prep));
    const size_t values = o->image_width * o->image_height * 3;
    rgb = cz_alloc(values);
    input = cz_alloc_array(count, values * sizeof *input);
    if (rgb == NULL || input == NULL) {
        status = CZ_E_MEMORY;
        goto out;
    }
    cz_backbone_normalisation(b, mean, std);
    for (size_t i = 0; i < count; i++) {
        cz_geometry geometry;
        CZ_TRY(cz_prep_image(&prep, &images[i], mean, rgb, &geometry));
        cz_prep_normalise(&prep, &geometry, rgb, mean, std, input + i * values);
    }
    run r = {o, count, o->image_height, o->image_width, input, NULL, into, 0};
    CZ_TRY(compute(b, &r));
out:
    cz_free(rgb);
    cz_free(input);
    cz_prep_free(&prep);
    cz_threads_leave(&scope);
    return status;
}

cz_status cz_features_tensor(const cz_backbone *b, const cz_tensor_view *view, const cz_features_options *o,
                             cz_tensors *into)
{
    cz_error_clear();
    cz_status status;
    cz_threads_scope scope = {0};
    float *planes = NULL, *input = NULL;
    CZ_TRY(check(b, o, into));
    if (view == NULL || view->rank != 4 || view->shape[1] != 3 || view->bytes == 0) {
        return cz_fail(CZ_E_ARG, "tensor \"%s\": an input [N, 3, H, W] is wanted", view != NULL ? view->name : "");
    }
    CZ_TRY(cz_threads_enter(o->threads, &scope));
    const size_t n = view->shape[0], h = view->shape[2], w = view->shape[3], plane = h * w;
    planes = cz_alloc_array(n * 3 * plane, sizeof *planes);
    input = cz_alloc_array(n * 3 * plane, sizeof *input);
    if (planes == NULL || input == NULL) {
        status = CZ_E_MEMORY;
        goto out;
    }
    CZ_TRY(cz_to_f32(view->dtype, view->data, n * 3 * plane, planes));
    for (size_t i = 0; i < n; i++) {
        for (size_t p = 0; p < plane; p++) {
            for (size_t c = 0; c < 3; c++) input[(i * plane + p) * 3 + c] = planes[(i * 3 + c) * plane + p];
        }
    }
    run r = {o, n, h, w, input, NULL, into, 0};
    CZ_TRY(compute(b, &r));
out:
    cz_free(planes);
    cz_free(input);
    cz_threads_leave(&scope);
    return status;
}
