/* SPDX-License-Identifier: Apache-2.0 */
/* Routes of the protocol and of the page's JSON that score nothing themselves. */
#include "assets.h"
#include "score_api_internal.h"
#include "studio.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- helpers ------------------------------------------------------------------------------------------------------ */

bool api_type_is(const char *type, const char *wanted)
{
    const size_t length = strlen(wanted);
    if (strncasecmp(type, wanted, length) != 0) return false;
    return wanted[length - 1] == '/' || type[length] == '\0' || strchr("; \t", type[length]) != NULL;
}

int api_flag(sv_request *r, const char *name)
{
    const char *text = sv_request_query(r, name);
    if (text == NULL || strcmp(text, "0") == 0 || strcmp(text, "false") == 0) return 0;
    if (text[0] == '\0' || strcmp(text, "1") == 0 || strcmp(text, "true") == 0) return 1;
    sv_answer_error(r, 400, "%s: 1 or 0", name);
    return -1;
}

bool api_number(sv_request *r, const char *name, uint64_t other, uint64_t most, uint64_t *out)
{
    const char *text = sv_request_query(r, name);
    *out = other;
    if (text == NULL) return true;
    const size_t digits = strspn(text, "0123456789");
    errno = 0;
    if (digits > 0 && digits < 20 && text[digits] == '\0') *out = strtoull(text, NULL, 10);
    if (digits > 0 && digits < 20 && text[digits] == '\0' && errno == 0 && *out <= most) return true;
    sv_answer_error(r, 400, "%s: a number from 0 to %llu", name, (unsigned long long)most);
    return false;
}

const json_t *api_entry(const json_t *index, const char *name)
{
    for (size_t i = 0; i < json_array_size(index); i++) {
        const json_t *entry = json_array_get(index, i);
        const char *text = json_string_value(json_object_get(entry, "name"));
        if (text != NULL && strcmp(text, name) == 0) return entry;
    }
    return NULL;
}

static bool entry_ready(const json_t *entry)
{
    const char *state = json_string_value(json_object_get(entry, "state"));
    return state != NULL && strcmp(state, "READY") == 0;
}

void api_first(const sv_score_api *a, char name[SV_NAME])
{
    json_t *index = sv_models_index(a->models);
    name[0] = '\0';
    for (size_t i = 0; i < json_array_size(index) && name[0] == '\0'; i++) {
        const json_t *entry = json_array_get(index, i);
        const char *text = json_string_value(json_object_get(entry, "name"));
        if (text != NULL && strlen(text) < SV_NAME && entry_ready(entry)) strcpy(name, text);
    }
    json_decref(index);
}

const sv_model *api_find(const sv_score_api *a, sv_request *r, const char *name, const char *version)
{
    const sv_model *model = sv_name_ok(name) ? sv_models_get(a->models, name, version) : NULL;
    if (model != NULL) return model;
    json_t *index = sv_models_index(a->models);
    const json_t *entry = api_entry(index, name);
    const char *reason = json_string_value(json_object_get(entry, "reason"));
    if (name[0] == '\0') {
        sv_answer_error(r, 404, "no model is loaded");
    } else if (entry == NULL) {
        sv_answer_error(r, 404, "there is no model of that name");
    } else if (entry_ready(entry)) {
        sv_answer_error(r, 404, "the model has no such version");
    } else {
        sv_answer_error(r, 404, "the model is not loaded%s%s", reason && reason[0] ? ": " : "", reason ? reason : "");
    }
    json_decref(index);
    return NULL;
}

/* ---- the protocol ------------------------------------------------------------------------------------------------- */

static void get_live(void *ctx, sv_request *r)
{
    (void)ctx;
    sv_answer_json(r, 200, json_pack("{s:b}", "live", 1));
}

static void get_ready(void *ctx, sv_request *r)
{
    const sv_score_api *a = ctx;
    const bool ready = sv_models_ready(a->models);
    sv_answer_json(r, ready ? 200 : 503, json_pack("{s:b}", "ready", ready ? 1 : 0));
}

static void get_server(void *ctx, sv_request *r)
{
    (void)ctx;
    sv_answer_json(r, 200, sv_oip_server());
}

static void get_model(void *ctx, sv_request *r)
{
    const sv_score_api *a = ctx;
    const sv_model *model = api_find(a, r, sv_request_arg(r, 0), sv_request_arg(r, 1));
    if (model != NULL) sv_answer_json(r, 200, sv_oip_model(model, a->settings->max_batch));
    sv_model_release(model);
}

static void get_model_ready(void *ctx, sv_request *r)
{
    const sv_score_api *a = ctx;
    const char *name = sv_request_arg(r, 0);
    json_t *index = sv_models_index(a->models);
    const json_t *entry = api_entry(index, name);
    const sv_model *model = entry != NULL ? sv_models_get(a->models, name, sv_request_arg(r, 1)) : NULL;
    if (entry == NULL || (model == NULL && entry_ready(entry))) {
        sv_answer_error(r, 404, "there is no model of that %s", entry == NULL ? "name" : "version");
    } else {
        sv_answer_json(r, model != NULL ? 200 : 503,
                       json_pack("{s:O, s:b}", "name", json_object_get(entry, "name"), "ready", model != NULL ? 1 : 0));
    }
    sv_model_release(model);
    json_decref(index);
}

/* A body is optional; {"ready": true} leaves out what is not loaded. False: answered. */
static bool read_index_wish(sv_request *r, bool *ready)
{
    size_t size = 0;
    const unsigned char *body = sv_request_body(r, &size);
    *ready = false;
    if (size == 0) return true;
    json_t *root = size <= 65536 ? json_loadb((const char *)body, size, JSON_REJECT_DUPLICATES, NULL) : NULL;
    const json_t *value = json_object_get(root, "ready");
    const bool good = json_is_object(root) && (value == NULL || json_is_boolean(value));
    *ready = json_is_true(value);
    json_decref(root);
    if (!good) sv_answer_error(r, 400, "the body is a JSON object; \"ready\" is true or false");
    return good;
}

static void post_index(void *ctx, sv_request *r)
{
    const sv_score_api *a = ctx;
    bool ready;
    if (!read_index_wish(r, &ready)) return;
    json_t *index = sv_models_index(a->models);
    for (size_t i = json_array_size(index); ready && i-- > 0;)
        if (!entry_ready(json_array_get(index, i))) (void)json_array_remove(index, i);
    sv_answer_json(r, 200, index);
}

static void load_or_unload(sv_score_api *a, sv_request *r, cz_status (*change)(sv_models *, const char *))
{
    const char *name = sv_request_arg(r, 0);
    const cz_status status = sv_name_ok(name) ? change(a->models, name) : CZ_E_ARG;
    if (status == CZ_OK) {
        sv_answer_json(r, 200, json_object());
        return;
    }
    json_t *index = sv_name_ok(name) ? sv_models_index(a->models) : NULL;
    if (api_entry(index, name) == NULL) {
        sv_answer_error(r, 404, "there is no model of that name");
    } else if (status == CZ_E_MODEL || status == CZ_E_WEIGHTS || status == CZ_E_IO) {
        sv_answer_error(r, 400, "%s", cz_last_error());
    } else {
        sv_answer_failure(r, status);
    }
    json_decref(index);
}

static void slow_load(sv_score_api *a, sv_request *r)
{
    load_or_unload(a, r, sv_models_load);
}

static void slow_unload(sv_score_api *a, sv_request *r)
{
    load_or_unload(a, r, sv_models_unload);
}

static void post_load(void *ctx, sv_request *r)
{
    api_later(ctx, r, slow_load);
}

static void post_unload(void *ctx, sv_request *r)
{
    api_later(ctx, r, slow_unload);
}

/* ---- history, metrics, the description ---------------------------------------------------------------------------- */

typedef struct rows {
    const char *model, *text;
    int decision;
    uint64_t before, most;
} rows;

/* False: answered. */
static bool read_rows(sv_request *r, uint64_t usual, uint64_t most, rows *out)
{
    static const char *const names[] = {"unknown", "normal", "anomalous"};
    const char *decision = sv_request_query(r, "decision");
    out->model = sv_request_query(r, "model");
    out->text = sv_request_query(r, "text");
    if (out->model != NULL && out->model[0] == '\0') out->model = NULL;
    if (out->text != NULL && out->text[0] == '\0') out->text = NULL;
    out->decision = -2;
    for (int i = 0; decision != NULL && i < 3; i++)
        if (strcmp(decision, names[i]) == 0) out->decision = i - 1;
    if (decision != NULL && decision[0] != '\0' && out->decision == -2) {
        sv_answer_error(r, 400, "decision: normal, anomalous or unknown");
        return false;
    }
    return api_number(r, "before", 0, INT64_MAX, &out->before) && api_number(r, "most", usual, most, &out->most);
}

static void slow_history(sv_score_api *a, sv_request *r)
{
    rows w;
    if (!read_rows(r, 100, 1000, &w)) return;
    json_t *found = sv_events_history(a->events, w.model, w.text, w.decision, w.before, (size_t)w.most);
    if (found == NULL) {
        sv_answer_error(r, 500, "the history cannot be read");
    } else {
        sv_answer_json(r, 200, found);
    }
}

static void slow_history_csv(sv_score_api *a, sv_request *r)
{
    rows w;
    if (!read_rows(r, 100000, 100000, &w)) return;
    char *text = sv_events_history_csv(a->events, w.model, w.text, w.decision, (size_t)w.most);
    if (text == NULL) {
        sv_answer_error(r, 500, "the history cannot be read");
        return;
    }
    sv_answer_header(r, "Content-Disposition", "attachment; filename=\"history.csv\"");
    sv_answer(r, 200, "text/csv; charset=utf-8", text, strlen(text));
}

static void slow_metrics(sv_score_api *a, sv_request *r)
{
    sv_pool_state pool = {0};
    size_t ready = 0;
    json_t *index = sv_models_index(a->models);
    for (size_t i = 0; i < json_array_size(index); i++) {
        const char *name = json_string_value(json_object_get(json_array_get(index, i), "name"));
        const sv_model *model = name != NULL ? sv_models_get(a->models, name, NULL) : NULL;
        if (model == NULL) continue;
        ready++;
        (void)sv_events_drift(a->events, model); /* measured for the text below */
        sv_model_release(model);
    }
    json_decref(index);
    sv_pool_state_get(a->pool, &pool);
    char *text = sv_events_metrics(a->events, &pool, sv_http_connections(a->http), ready, sv_studio_running(a->studio));
    if (text == NULL) {
        sv_answer_failure(r, sv_fail(CZ_E_MEMORY, "out of memory"));
    } else {
        sv_answer(r, 200, "text/plain; version=0.0.4; charset=utf-8", text, strlen(text));
    }
}

static void get_history(void *ctx, sv_request *r)
{
    api_later(ctx, r, slow_history);
}

static void get_history_csv(void *ctx, sv_request *r)
{
    api_later(ctx, r, slow_history_csv);
}

static void get_metrics(void *ctx, sv_request *r)
{
    api_later(ctx, r, slow_metrics);
}

static void get_description(void *ctx, sv_request *r)
{
    (void)ctx;
    for (size_t i = 0; i < sv_asset_count; i++) {
        const sv_asset *asset = &sv_assets[i];
        if (strcmp(asset->path, "/openapi.json") != 0) continue;
        sv_answer_static(r, asset->type, asset->data, asset->size, asset->etag);
        return;
    }
    sv_answer_error(r, 404, "this build has no description");
}

/* ---- routes ------------------------------------------------------------------------------------------------------- */

static const struct {
    const char *method, *pattern, *name;
    sv_handler handler;
} routes[] = {
    {"GET", "/v2", "server", get_server},
    {"GET", "/v2/", "server", get_server}, /* as the protocol's own description writes it */
    {"GET", "/v2/health/live", "live", get_live},
    {"GET", "/v2/health/ready", "ready", get_ready},
    {"GET", "/v2/models/{}", "model", get_model},
    {"GET", "/v2/models/{}/versions/{}", "model", get_model},
    {"GET", "/v2/models/{}/ready", "model_ready", get_model_ready},
    {"GET", "/v2/models/{}/versions/{}/ready", "model_ready", get_model_ready},
    {"POST", "/v2/models/{}/infer", "infer", api_infer},
    {"POST", "/v2/models/{}/versions/{}/infer", "infer", api_infer},
    {"POST", "/v2/repository/index", "repository", post_index},
    {"POST", "/v2/repository/models/{}/load", "repository", post_load},
    {"POST", "/v2/repository/models/{}/unload", "repository", post_unload},
    {"POST", "/score", "score", api_score},
    {"GET", "/api/models", "models", api_models},
    {"GET", "/api/models/{}", "models", api_model},
    {"GET", "/api/history", "history", get_history},
    {"GET", "/api/history.csv", "history", get_history_csv},
    {"GET", "/metrics", "metrics", get_metrics},
    {"GET", "/openapi.json", "openapi", get_description},
};

cz_status sv_score_api_open(const sv_settings *settings, sv_http *http, sv_models *models, sv_pool *pool,
                            sv_events *events, struct sv_studio *studio, sv_score_api **out)
{
    sv_score_api *a = calloc(1, sizeof *a);
    if (a == NULL) return sv_fail(CZ_E_MEMORY, "out of memory");
    a->settings = settings;
    a->http = http;
    a->models = models;
    a->pool = pool;
    a->events = events;
    a->studio = studio;
    cz_status status = api_lane_open(a);
    if (status != CZ_OK) {
        free(a);
        return status;
    }
    for (size_t i = 0; i < sizeof routes / sizeof *routes && status == CZ_OK; i++)
        status = sv_http_route(http, routes[i].method, routes[i].pattern, routes[i].name, routes[i].handler, a);
    if (status != CZ_OK) { /* routes that were added are never called: the server does not start */
        sv_score_api_free(a);
        return status;
    }
    *out = a;
    return CZ_OK;
}

void sv_score_api_free(sv_score_api *a)
{
    if (a == NULL) return;
    api_lane_close(a);
    free(a);
}
