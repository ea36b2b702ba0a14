/* SPDX-License-Identifier: Apache-2.0 */
/* Scores and models as JSON. */
#include "score_api_internal.h"

#include <math.h>
#include <string.h>
#include <sys/stat.h>

json_t *api_real(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

json_t *api_string(const char *text)
{
    char plain[256];
    size_t i = 0;
    json_t *value = json_string(text);
    if (value != NULL) return value;
    for (; text[i] != '\0' && i + 1 < sizeof plain; i++)
        plain[i] = (char)((unsigned char)text[i] < 128 ? text[i] : '?');
    plain[i] = '\0';
    return json_string(plain);
}

const char *api_decision(int decision)
{
    return decision < 0 ? NULL : decision > 0 ? "anomalous" : "normal";
}

json_t *sv_score_json(const sv_model *model, const char *name, const sv_outcome *o)
{
    json_t *ms = json_pack("{s:o, s:o, s:o, s:o}", "queue", api_real(o->queue_ms), "decode", api_real(o->decode_ms),
                           "score", api_real(o->score_ms), "picture", api_real(o->picture_ms));
    json_t *out =
        json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:s?, s:o, s:I, s:I, s:o, s:o}", "model", model->name, "version",
                  model->version, "name", api_string(name), "score", api_real(o->score), "threshold",
                  api_real(o->threshold), "p_value", api_real(o->p_value), "decision", api_decision(o->decision),
                  "pixel_threshold", api_real(o->pixel_threshold), "width", (json_int_t)o->width, "height",
                  (json_int_t)o->height, "regions", sv_oip_regions(o), "ms", ms);
    if (o->region_total > o->region_count)
        (void)json_object_set_new(out, "regions_total", json_integer((json_int_t)o->region_total));
    return out;
}

/* ---- models ------------------------------------------------------------------------------------------------------- */

/* Copies from[key] where it is there. */
static void copy(json_t *to, const char *as, const json_t *from, const char *key)
{
    json_t *value = json_object_get(from, key);
    if (value != NULL) (void)json_object_set(to, as, value);
}

static json_t *backbone_json(const json_t *meta)
{
    static const char *const keys[] = {"name", "architecture", "sha256", "taps"};
    json_t *out = json_object();
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        copy(out, keys[i], json_object_get(meta, "backbone"), keys[i]);
    return out;
}

static json_t *calibration_json(const json_t *meta)
{
    static const char *const keys[] = {"rule",       "threshold",     "pixel_threshold", "pixel_quantile",
                                       "target",     "confidence",    "promise",         "images",
                                       "trained_on", "contamination", "precision"};
    const json_t *calibration = json_object_get(meta, "calibration");
    if (!json_is_object(calibration)) return json_null();
    json_t *out = json_object();
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) copy(out, keys[i], calibration, keys[i]);
    return out;
}

static json_t *file_time(const char *path)
{
    struct stat info;
    char text[32];
    if (stat(path, &info) != 0) return json_null();
    return json_string(sv_time_text((double)info.st_mtim.tv_sec, text));
}

/* Adds what the opened model knows of itself. */
static void describe(const sv_score_api *a, const sv_model *model, json_t *out)
{
    const json_t *training = json_object_get(model->json, "training");
    const int drift = sv_events_drift(a->events, model);
    char text[32];
    copy(out, "method", training, "method");
    copy(out, "detector", json_object_get(model->json, "head"), "detector");
    (void)json_object_set_new(out, "backbone", backbone_json(model->json));
    copy(out, "input", model->json, "input");
    copy(out, "precision", model->json, "precision");
    copy(out, "images", training, "images");
    copy(out, "epochs", training, "epochs");
    copy(out, "software_version", model->json, "software_version");
    (void)json_object_set_new(out, "calibrated", json_boolean(model->calibrated));
    (void)json_object_set_new(out, "calibration", calibration_json(model->json));
    (void)json_object_set_new(out, "scale",
                              json_pack("{s:o, s:o}", "low", api_real(model->low), "high", api_real(model->high)));
    (void)json_object_set_new(out, "loaded", json_string(sv_time_text(model->loaded, text)));
    (void)json_object_set_new(out, "modified", file_time(model->path));
    (void)json_object_set_new(out, "drift", drift < 0 ? json_null() : json_boolean(drift));
}

/* Fills up to this depth; deeper is left out: metadata are a file's, and any nesting is possible in them. */
enum { MOST_DEPTH = 12, MOST_ITEMS = 16 };

/* Without where files lie on this machine, and with long lists (a hash for each photo) counted instead. */
static json_t *trimmed(const json_t *value, int depth)
{
    if (json_is_array(value) && json_array_size(value) > MOST_ITEMS)
        return json_pack("{s:I}", "entries", (json_int_t)json_array_size(value));
    if ((json_is_array(value) || json_is_object(value)) && depth >= MOST_DEPTH) return json_null();
    if (json_is_array(value)) {
        json_t *out = json_array();
        for (size_t i = 0; i < json_array_size(value); i++)
            (void)json_array_append_new(out, trimmed(json_array_get(value, i), depth + 1));
        return out;
    }
    if (!json_is_object(value)) return json_deep_copy(value);
    json_t *out = json_object();
    const char *key;
    const json_t *item;
    for (void *at = json_object_iter((json_t *)(uintptr_t)value); at != NULL;
         at = json_object_iter_next((json_t *)(uintptr_t)value, at)) {
        key = json_object_iter_key(at);
        item = json_object_iter_value(at);
        if (strcmp(key, "path") == 0) continue;
        (void)json_object_set_new(out, key, trimmed(item, depth + 1));
    }
    return out;
}

/* `entry`: of the index. */
static json_t *model_json(const sv_score_api *a, const json_t *entry, bool all)
{
    const char *name = json_string_value(json_object_get(entry, "name"));
    json_t *out = json_copy((json_t *)(uintptr_t)entry);
    const sv_model *model = name != NULL ? sv_models_get(a->models, name, NULL) : NULL;
    if (model != NULL) {
        describe(a, model, out);
        if (all) (void)json_object_set_new(out, "metadata", trimmed(model->json, 0));
    }
    sv_model_release(model);
    return out;
}

void api_models(void *ctx, sv_request *r)
{
    const sv_score_api *a = ctx;
    json_t *index = sv_models_index(a->models), *list = json_array();
    char first[SV_NAME];
    for (size_t i = 0; i < json_array_size(index); i++)
        (void)json_array_append_new(list, model_json(a, json_array_get(index, i), false));
    json_decref(index);
    api_first(a, first);
    sv_answer_json(r, 200, json_pack("{s:o, s:s?}", "models", list, "default", first[0] != '\0' ? first : NULL));
}

void api_model(void *ctx, sv_request *r)
{
    const sv_score_api *a = ctx;
    json_t *index = sv_models_index(a->models);
    const json_t *entry = api_entry(index, sv_request_arg(r, 0));
    if (entry == NULL) {
        sv_answer_error(r, 404, "there is no model of that name");
    } else {
        sv_answer_json(r, 200, model_json(a, entry, true));
    }
    json_decref(index);
}
