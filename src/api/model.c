/* SPDX-License-Identifier: Apache-2.0 */
#include "api/model.h"

#include "api/calibration.h"
#include "api/head_settings.h"
#include "api/precision.h"
#include "api/relate.h"
#include "api/training_photos.h"
#include "tensor/tensors.h"
#include "util/alloc.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

cz_status cz_model_create(cz_model **out)
{
    cz_model *m = cz_calloc(1, sizeof *m);
    if (m == NULL) return CZ_E_MEMORY;
    atomic_init(&m->references, 1);
    *out = m;
    return CZ_OK;
}

cz_model *cz_model_retain(cz_model *model)
{
    atomic_fetch_add(&model->references, 1);
    return model;
}

void cz_model_close(cz_model *m)
{
    if (m == NULL || atomic_fetch_sub(&m->references, 1) > 1) return;
    cz_backbone_close(m->backbone);
    cz_head_destroy(m->head);
    cz_free(m->params);
    cz_free(m->state);
    cz_free(m->relation);
    cz_prep_free(&m->prep);
    cz_free(m->taps);
    cz_free(m->detector);
    cz_free(m->backbone_name);
    cz_free(m->backbone_sha256);
    json_decref(m->meta);
    free(m->json);
    cz_tensors_close(m->extra);
    cz_calibration_free(m->calibration);
    cz_free(m);
}

const char *cz_model_json(const cz_model *model)
{
    return model->json != NULL ? model->json : "{}";
}

void cz_model_scale(const cz_model *model, double *low, double *high)
{
    *low = model->score_median;
    *high = 2.0 * model->score_max - model->score_median;
    if (!(*high > *low)) *high = *low + 1e-6;
}

cz_backbone *cz_model_backbone(const cz_model *model)
{
    return model->backbone;
}

cz_status cz_model_refresh_json(cz_model *m)
{
    char *text = json_dumps(m->meta, JSON_INDENT(1) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(17));
    if (text == NULL) return cz_fail(CZ_E_MEMORY, "out of memory");
    free(m->json);
    m->json = text;
    return CZ_OK;
}

/* ---- reading -------------------------------------------------------------------------------------------------- */

static cz_status get_object(const json_t *from, const char *key, const json_t **out)
{
    *out = json_object_get(from, key);
    return json_is_object(*out) ? CZ_OK : cz_fail(CZ_E_MODEL, "model: \"%s\" is missing or not an object", key);
}

static cz_status get_text(const json_t *from, const char *key, char **out)
{
    const char *text = json_string_value(json_object_get(from, key));
    if (text == NULL) return cz_fail(CZ_E_MODEL, "model: \"%s\" is missing or not text", key);
    *out = cz_strdup(text);
    return *out != NULL ? CZ_OK : CZ_E_MEMORY;
}

static cz_status get_size(const json_t *from, const char *key, size_t low, size_t high, size_t *out)
{
    const json_t *value = json_object_get(from, key);
    const json_int_t whole = json_integer_value(value);
    if (!json_is_integer(value) || whole < 0 || (uint64_t)whole < low || (uint64_t)whole > high) {
        return cz_fail(CZ_E_MODEL, "model: \"%s\" is missing or not a whole number of %zu to %zu", key, low, high);
    }
    *out = (size_t)whole;
    return CZ_OK;
}

static cz_status get_real(const json_t *from, const char *key, double *out)
{
    const json_t *value = json_object_get(from, key);
    if (!json_is_number(value) || !isfinite(json_number_value(value))) {
        return cz_fail(CZ_E_MODEL, "model: \"%s\" is missing or not a number", key);
    }
    *out = json_number_value(value);
    return CZ_OK;
}

static cz_status read_version(const json_t *meta)
{
    const char *text = json_string_value(json_object_get(meta, "format_version"));
    char *end = NULL;
    const unsigned long major = text != NULL ? strtoul(text, &end, 10) : 0;
    if (text == NULL || end == text || *end != '.') return cz_fail(CZ_E_MODEL, "model: no format_version");
    if (major != CZ_MODEL_FORMAT_MAJOR) {
        return cz_fail(CZ_E_MODEL, "model: format version %.20s, this cozad reads %d.x", text, CZ_MODEL_FORMAT_MAJOR);
    }
    return CZ_OK;
}

static cz_status read_prep(const json_t *meta, const cz_tensors *tensors, cz_model *m)
{
    cz_status status;
    const json_t *input = NULL, *roi_json = NULL;
    char *fit_name = NULL;
    size_t width, height, resize, fit;
    cz_roi roi = {0, 0, 0, 0};
    cz_image mask;
    const cz_image *mask_given = NULL;
    static const char *const fits[] = {"squash", "letterbox", "crop"};
    CZ_TRY(get_object(meta, "input", &input));
    CZ_TRY(get_size(input, "width", 1, 16384, &width));
    CZ_TRY(get_size(input, "height", 1, 16384, &height));
    CZ_TRY(get_size(input, "resize", 0, 16384, &resize));
    CZ_TRY(get_text(input, "fit", &fit_name));
    for (fit = 0; fit < 3 && strcmp(fits[fit], fit_name) != 0; fit++) {
    }
    if (fit == 3) {
        status = cz_fail(CZ_E_MODEL, "model: fit \"%.40s\" is not squash, letterbox or crop", fit_name);
        goto out;
    }
    if (json_object_get(input, "roi") != NULL) {
        CZ_TRY(get_object(input, "roi", &roi_json));
        CZ_TRY(get_size(roi_json, "x", 0, 1 << 24, &roi.x));
        CZ_TRY(get_size(roi_json, "y", 0, 1 << 24, &roi.y));
        CZ_TRY(get_size(roi_json, "width", 1, 1 << 24, &roi.width));
        CZ_TRY(get_size(roi_json, "height", 1, 1 << 24, &roi.height));
    }
    const cz_tensor_view *view = cz_tensors_lookup(tensors, "prep.ignore");
    if (view != NULL) {
        if (view->dtype != CZ_U8 || view->rank != 2 || view->bytes == 0 || view->shape[0] > 65535 ||
            view->shape[1] > 65535) {
            status = cz_fail(CZ_E_MODEL, "model: tensor \"prep.ignore\" is not a U8 picture");
            goto out;
        }
        mask = (cz_image){view->data, view->shape[1], view->shape[0], view->shape[1], CZ_GRAY8};
        mask_given = &mask;
    }
    CZ_TRY(cz_prep_init(width, height, (cz_fit)fit, resize, &roi, mask_given, &m->prep));
out:
    cz_free(fit_name);
    return status;
}

/* "relational" patches: their columns' means and factors. */
static cz_status read_relation(const json_t *head, const cz_tensors *tensors, cz_model *m)
{
    const char *kind = json_string_value(json_object_get(head, "descriptor"));
    const cz_tensor_view *view = cz_tensors_lookup(tensors, "relation.scales");
    const size_t width = m->feature_width;
    if (json_object_get(head, "descriptor") == NULL) return CZ_OK; /* files from before there were two */
    if (kind == NULL || (strcmp(kind, "patch") != 0 && strcmp(kind, "relational") != 0))
        return cz_fail(CZ_E_MODEL, "model: \"head.descriptor\" is not patch or relational");
    if (strcmp(kind, "patch") == 0) return CZ_OK;
    if (width != cz_relate_width(m->taps) || m->image_level)
        return cz_fail(CZ_E_MODEL, "model: %zu relational numbers a patch do not go with its taps", width);
    if (view == NULL || view->dtype != CZ_F32 || view->rank != 2 || view->shape[0] != 2 || view->shape[1] != width)
        return cz_fail(CZ_E_MODEL, "model: tensor \"relation.scales\" is missing or not F32 [2, %zu]", width);
    m->relation = cz_alloc_array(2 * width, sizeof *m->relation);
    if (m->relation == NULL) return CZ_E_MEMORY;
    memcpy(m->relation, view->data, 2 * width * sizeof *m->relation);
    for (size_t i = 0; i < 2 * width; i++)
        if (!isfinite(m->relation[i])) return cz_fail(CZ_E_MODEL, "model: \"relation.scales\" is not finite");
    return CZ_OK;
}

static cz_status read_head(const json_t *meta, const cz_tensors *tensors, cz_model *m)
{
    cz_status status;
    const json_t *head = NULL, *scores = NULL;
    cz_head_config config;
    cz_head_config_init(&config);
    CZ_TRY(get_object(meta, "head", &head));
    CZ_TRY(get_text(head, "detector", &m->detector));
    CZ_TRY(get_size(head, "feature_width", 1, CZ_HEAD_MAX_WIDTH, &config.width));
    CZ_TRY(get_size(head, "hidden_width", 1, CZ_HEAD_MAX_WIDTH, &config.hidden));
    CZ_TRY(get_real(head, "noise_std", &config.noise_std));
    CZ_TRY(get_real(head, "margin_positive", &config.margin_positive));
    CZ_TRY(get_real(head, "margin_negative", &config.margin_negative));
    CZ_TRY(get_size(head, "top_k", 1, 1 << 24, &m->top_k));
    CZ_TRY(get_object(meta, "training_scores", &scores));
    CZ_TRY(get_real(scores, "median", &m->score_median));
    CZ_TRY(get_real(scores, "max", &m->score_max));
    config.simplenet_compat = json_is_true(json_object_get(head, "simplenet_compat"));
    m->feature_width = config.width;
    m->neighbourhood = 3;
    if (json_object_get(head, "neighbourhood") != NULL)
        CZ_TRY(get_size(head, "neighbourhood", 1, 3, &m->neighbourhood));
    if (m->neighbourhood == 2) CZ_TRY(cz_fail(CZ_E_MODEL, "model: a neighbourhood of 2 is neither 1 nor 3"));
    config.noise_twins = !json_is_false(json_object_get(head, "noise_twins"));
    CZ_TRY(cz_head_settings_read(head, m, &config));
    CZ_TRY(read_relation(head, tensors, m));
    CZ_TRY(cz_head_create(m->detector, &config, &m->head));
    /* The file must hold as many floats as the settings ask for before that much memory is taken. */
    size_t floats = 0;
    for (size_t i = 0; i < cz_tensors_count(tensors); i++) {
        cz_tensor_view view;
        CZ_TRY(cz_tensors_get(tensors, i, &view));
        floats += view.bytes / 4;
    }
    if (floats < m->head->param_count) {
        status = cz_fail(CZ_E_MODEL, "model: %zu values where its head has %zu", floats, m->head->param_count);
        goto out;
    }
    m->params = cz_alloc_array(m->head->param_count, sizeof *m->params);
    m->state = cz_alloc_array(m->head->state_count, sizeof *m->state);
    if (m->params == NULL || m->state == NULL) {
        status = CZ_E_MEMORY;
        goto out;
    }
    CZ_TRY(cz_head_load(m->head, tensors, m->params, m->state));
out:
    return status;
}

static cz_status read_settings(const cz_tensors *tensors, cz_model *m)
{
    cz_status status;
    const json_t *backbone = NULL;
    CZ_TRY(read_version(m->meta));
    CZ_TRY(get_object(m->meta, "backbone", &backbone));
    CZ_TRY(get_text(backbone, "name", &m->backbone_name));
    CZ_TRY(get_text(backbone, "sha256", &m->backbone_sha256));
    CZ_TRY(get_text(backbone, "taps", &m->taps));
    CZ_TRY(get_real(backbone, "feature_scale", &m->feature_scale));
    if (m->feature_scale <= 0.0) {
        status = cz_fail(CZ_E_MODEL, "model: feature_scale is not positive");
        goto out;
    }
    CZ_TRY(read_prep(m->meta, tensors, m));
    CZ_TRY(read_head(m->meta, tensors, m));
out:
    return status;
}

static bool is_own(const char *name)
{
    return strncmp(name, "head.", 5) == 0 || strncmp(name, "state.", 6) == 0 || strcmp(name, "prep.ignore") == 0 ||
           strcmp(name, "relation.scales") == 0;
}

/* Tensors and metadata of other parts, copied. */
static cz_status keep_extra(const cz_tensors *tensors, cz_model *m)
{
    cz_status status;
    CZ_TRY(cz_tensors_create(&m->extra));
    for (size_t i = 0; i < cz_tensors_count(tensors); i++) {
        cz_tensor_view view;
        CZ_TRY(cz_tensors_get(tensors, i, &view));
        if (!is_own(view.name)) CZ_TRY(cz_tensors_add(m->extra, &view));
    }
    for (size_t i = 0; i < cz_tensors_metadata_count(tensors); i++) {
        const char *key, *value;
        CZ_TRY(cz_tensors_metadata_at(tensors, i, &key, &value));
        if (strcmp(key, "cozad") != 0) CZ_TRY(cz_tensors_set_metadata(m->extra, key, value));
    }
out:
    return status;
}

cz_status cz_model_parse(const uint8_t *data, size_t size, cz_model **out)
{
    cz_status status;
    cz_tensors *tensors = NULL;
    cz_model *m = NULL;
    const char *text;
    json_error_t error;
    CZ_TRY(cz_safetensors_parse(data, size, &tensors));
    text = cz_tensors_metadata(tensors, "cozad");
    if (text == NULL) {
        status = cz_fail(CZ_E_MODEL, "not a cozad model: its metadata has no \"cozad\"");
        goto out;
    }
    CZ_TRY(cz_model_create(&m));
    m->meta = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(m->meta)) {
        status =
            cz_fail(CZ_E_MODEL, "model: its metadata is not JSON: %s", m->meta == NULL ? error.text : "not an object");
        goto out;
    }
    CZ_TRY(read_settings(tensors, m));
    CZ_TRY(keep_extra(tensors, m));
    CZ_TRY(cz_precision_read(m));
    CZ_TRY(cz_calibration_read(m));
    CZ_TRY(cz_training_photos_check(m));
    CZ_TRY(cz_model_refresh_json(m));
    *out = m;
    m = NULL;
out:
    cz_model_close(m);
    cz_tensors_close(tensors);
    /* Whatever part of the reader refused: to the user it is one thing, a bad model. */
    if (status == CZ_E_FORMAT || status == CZ_E_ARG || status == CZ_E_LIMIT) status = CZ_E_MODEL;
    return status;
}

cz_status cz_model_inspect(const char *path, cz_model **out)
{
    cz_error_clear();
    cz_mapping mapping;
    cz_status status = cz_file_map(path, &mapping);
    if (status != CZ_OK) return status;
    status = cz_model_parse(mapping.data, mapping.size, out);
    cz_file_unmap(&mapping);
    return status == CZ_OK || status == CZ_E_MEMORY ? status : cz_fail_prefix(status, path);
}

/* ---- writing -------------------------------------------------------------------------------------------------- */

static cz_status add_mask(const cz_model *m, cz_tensors *t)
{
    if (m->prep.ignore == NULL) return CZ_OK;
    const size_t count = m->prep.ignore_width * m->prep.ignore_height;
    uint8_t *mask = cz_alloc(count);
    if (mask == NULL) return CZ_E_MEMORY;
    for (size_t i = 0; i < count; i++) mask[i] = m->prep.ignore[i] ? 255 : 0;
    const cz_tensor_view view = {"prep.ignore", CZ_U8, 2, {m->prep.ignore_height, m->prep.ignore_width}, mask, count};
    const cz_status status = cz_tensors_add(t, &view);
    cz_free(mask);
    return status;
}

static cz_status add_relation(const cz_model *m, cz_tensors *t)
{
    const size_t width = m->feature_width;
    const cz_tensor_view view = {"relation.scales", CZ_F32, 2, {2, width}, m->relation, 2 * width * sizeof(float)};
    return m->relation != NULL ? cz_tensors_add(t, &view) : CZ_OK;
}

cz_status cz_model_save(const cz_model *m, const char *path)
{
    cz_error_clear();
    cz_status status;
    cz_tensors *t = NULL;
    CZ_TRY(cz_tensors_create(&t));
    CZ_TRY(cz_tensors_set_metadata(t, "cozad", m->json));
    for (size_t i = 0; m->extra != NULL && i < cz_tensors_metadata_count(m->extra); i++) {
        const char *key, *value;
        CZ_TRY(cz_tensors_metadata_at(m->extra, i, &key, &value));
        CZ_TRY(cz_tensors_set_metadata(t, key, value));
    }
    CZ_TRY(cz_head_save(m->head, m->params, m->state, t));
    CZ_TRY(add_mask(m, t));
    CZ_TRY(add_relation(m, t));
    for (size_t i = 0; m->extra != NULL && i < cz_tensors_count(m->extra); i++) {
        cz_tensor_view view;
        CZ_TRY(cz_tensors_get(m->extra, i, &view));
        CZ_TRY(cz_tensors_add(t, &view));
    }
    CZ_TRY(cz_tensors_save(t, path));
out:
    cz_tensors_close(t);
    return status;
}
