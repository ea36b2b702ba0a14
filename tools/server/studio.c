/* SPDX-License-Identifier: Apache-2.0 */
/* The studio's routes: from a request to a function on data, and back. */
#include "studio_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef studio_reply (*answerer)(sv_studio *s, sv_request *request);

/* ---- requests ------------------------------------------------------------------------------------------------------- */

/* A whole number of the query; false: not one. */
static bool query_number(sv_request *r, const char *name, size_t *out)
{
    const char *text = sv_request_query(r, name);
    *out = 0;
    if (text == NULL) return true;
    if (text[0] == '\0' || strlen(text) > 9 || text[strspn(text, "0123456789")] != '\0') return false;
    *out = (size_t)strtoul(text, NULL, 10);
    return true;
}

/* An empty body is {}. NULL with *error: not an object. A new reference. */
static json_t *json_body(sv_request *r, studio_reply *error)
{
    size_t size = 0;
    const unsigned char *body = sv_request_body(r, &size);
    json_error_t where;
    if (size == 0) return json_object();
    if (size > STUDIO_BODY) {
        *error = studio_error(413, "a request of this kind has at most %d bytes", STUDIO_BODY);
        return NULL;
    }
    json_t *json = json_loadb((const char *)body, size, JSON_REJECT_DUPLICATES, &where);
    if (json_is_object(json)) return json;
    *error = studio_error(400, json == NULL ? "line %d: not well-formed JSON" : "line %d: not a JSON object",
                          json == NULL ? where.line : 1);
    json_decref(json);
    return NULL;
}

/* ---- routes --------------------------------------------------------------------------------------------------------- */

static studio_reply datasets_get(sv_studio *s, sv_request *r)
{
    (void)r;
    return studio_dataset_list(s);
}

static studio_reply dataset_get(sv_studio *s, sv_request *r)
{
    size_t from, most;
    if (!query_number(r, "from", &from) || !query_number(r, "most", &most))
        return studio_error(400, "\"from\" and \"most\" are whole numbers");
    return studio_dataset_get(s, sv_request_arg(r, 0), from, most);
}

static studio_reply datasets_post(sv_studio *s, sv_request *r)
{
    studio_reply reply = {0};
    json_t *body = json_body(r, &reply);
    if (body != NULL) reply = studio_dataset_create(s, body);
    json_decref(body);
    return reply;
}

static studio_reply dataset_delete(sv_studio *s, sv_request *r)
{
    return studio_dataset_delete(s, sv_request_arg(r, 0));
}

static studio_reply photo_put(sv_studio *s, sv_request *r)
{
    size_t size = 0;
    const unsigned char *body = sv_request_body(r, &size);
    return studio_photo_put(s, sv_request_arg(r, 0), sv_request_arg(r, 1), body, size);
}

static studio_reply photo_get(sv_studio *s, sv_request *r)
{
    size_t longest;
    if (!query_number(r, "size", &longest)) return studio_error(400, "\"size\" is a whole number");
    return studio_photo_get(s, sv_request_arg(r, 0), sv_request_arg(r, 1), longest,
                            sv_request_header(r, "If-None-Match"));
}

static studio_reply photo_delete(sv_studio *s, sv_request *r)
{
    return studio_photo_delete(s, sv_request_arg(r, 0), sv_request_arg(r, 1));
}

static studio_reply jobs_get(sv_studio *s, sv_request *r)
{
    (void)r;
    return studio_job_list(s);
}

static studio_reply job_get(sv_studio *s, sv_request *r)
{
    return studio_job_get(s, sv_request_arg(r, 0));
}

static studio_reply jobs_post(sv_studio *s, sv_request *r)
{
    studio_reply reply = {0};
    json_t *body = json_body(r, &reply);
    if (body != NULL) reply = studio_job_create(s, body);
    json_decref(body);
    return reply;
}

static studio_reply job_delete(sv_studio *s, sv_request *r)
{
    return studio_job_delete(s, sv_request_arg(r, 0));
}

static studio_reply job_distrusted(sv_studio *s, sv_request *r)
{
    return studio_job_distrusted(s, sv_request_arg(r, 0));
}

typedef studio_reply (*job_verb)(sv_studio *s, const char *id, const json_t *body);

static studio_reply with_body(sv_studio *s, sv_request *r, job_verb verb)
{
    studio_reply reply = {0};
    json_t *body = json_body(r, &reply);
    if (body != NULL) reply = verb(s, sv_request_arg(r, 0), body);
    json_decref(body);
    return reply;
}

static studio_reply job_exclude(sv_studio *s, sv_request *r)
{
    return with_body(s, r, studio_exclude);
}

static studio_reply job_calibrate(sv_studio *s, sv_request *r)
{
    return with_body(s, r, studio_job_calibrate);
}

static studio_reply job_activate(sv_studio *s, sv_request *r)
{
    return with_body(s, r, studio_job_activate);
}

typedef struct route {
    const char *method, *pattern, *name;
    answerer answer;
    bool slow; /* in the worker */
} route;

static const route routes[] = {
    {"GET", "/api/datasets", "datasets", datasets_get, false},
    {"POST", "/api/datasets", "datasets", datasets_post, true},
    {"GET", "/api/datasets/{}", "dataset", dataset_get, false},
    {"DELETE", "/api/datasets/{}", "dataset", dataset_delete, true},
    {"PUT", "/api/datasets/{}/photos/{}", "photo", photo_put, true},
    {"GET", "/api/datasets/{}/photos/{}", "photo", photo_get, true},
    {"DELETE", "/api/datasets/{}/photos/{}", "photo", photo_delete, true},
    {"GET", "/api/jobs", "jobs", jobs_get, false},
    {"POST", "/api/jobs", "jobs", jobs_post, true},
    {"GET", "/api/jobs/{}", "job", job_get, false},
    {"DELETE", "/api/jobs/{}", "job", job_delete, true},
    {"GET", "/api/jobs/{}/distrusted", "distrusted", job_distrusted, true},
    {"POST", "/api/jobs/{}/exclude", "exclude", job_exclude, true},
    {"POST", "/api/jobs/{}/calibrate", "calibrate", job_calibrate, true},
    {"POST", "/api/jobs/{}/activate", "activate", job_activate, true},
};
enum { ROUTES = sizeof routes / sizeof *routes };

/* ---- answers -------------------------------------------------------------------------------------------------------- */

static void send(sv_request *request, studio_reply *reply)
{
    if (reply->etag[0] == '\0') {
        sv_answer_json(request, reply->status, reply->json);
        return;
    }
    sv_answer_header(request, "ETag", reply->etag);
    sv_answer_header(request, "Cache-Control", "private, no-cache");
    sv_answer(request, reply->status, reply->type, reply->body, reply->size);
}

/* Handlers know their route by the context that it was added with. */
typedef struct context {
    sv_studio *s;
    const route *route;
} context;

typedef struct slow_request {
    const route *route;
    sv_request *request;
} slow_request;

static void run_slow(sv_studio *s, void *ctx)
{
    slow_request *slow = ctx;
    if (sv_now() > sv_request_deadline(slow->request)) {
        sv_answer_error(slow->request, 504, "the server is busy with earlier requests");
    } else {
        studio_reply reply = slow->route->answer(s, slow->request);
        send(slow->request, &reply);
    }
    free(slow);
}

static void handle(void *ctx, sv_request *request)
{
    const context *c = ctx;
    if (c->s->root == NULL) {
        sv_answer_error(request, 404, "this server was started without --state-dir: nothing can be trained here");
        return;
    }
    if (!c->route->slow) {
        studio_reply reply = c->route->answer(c->s, request);
        send(request, &reply);
        return;
    }
    slow_request *slow = malloc(sizeof *slow);
    if (slow != NULL) *slow = (slow_request){c->route, request};
    if (slow == NULL || !studio_submit(c->s, run_slow, slow)) {
        free(slow);
        sv_answer_header(request, "Retry-After", "1");
        sv_answer_error(request, 503, "too many requests wait");
    }
}

/* ---- life ----------------------------------------------------------------------------------------------------------- */

typedef struct rest {
    sv_models *models;
    sv_pool *pool;
    context contexts[ROUTES];
} rest;

static cz_status load_model(void *ctx, const char *name)
{
    return sv_models_load(((rest *)ctx)->models, name);
}

static void limit_pool(void *ctx, double share)
{
    sv_pool_limit(((rest *)ctx)->pool, share);
}

cz_status sv_studio_open(const sv_settings *settings, sv_http *http, sv_models *models, sv_pool *pool, sv_studio **out)
{
    sv_studio *s = NULL;
    rest *r = calloc(1, sizeof *r);
    if (r == NULL) return sv_fail(CZ_E_MEMORY, "out of memory");
    r->models = models;
    r->pool = pool;
    const studio_hooks hooks = {load_model, limit_pool, r};
    cz_status status = studio_create(settings, &hooks, &s);
    if (status != CZ_OK) {
        free(r);
        return status;
    }
    s->routes = r;
    for (size_t i = 0; status == CZ_OK && i < ROUTES; i++) {
        r->contexts[i] = (context){s, &routes[i]};
        status = sv_http_route(http, routes[i].method, routes[i].pattern, routes[i].name, handle, &r->contexts[i]);
    }
    if (status == CZ_OK) status = studio_start(s);
    if (status == CZ_OK) {
        *out = s;
    } else {
        sv_studio_close(s);
    }
    return status;
}
