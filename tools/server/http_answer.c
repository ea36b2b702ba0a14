/* SPDX-License-Identifier: Apache-2.0 */
/* Answers: made in any thread, sent by the event thread. */
#include "http_internal.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What every answer says unless its handler said otherwise. */
static const http_pair defaults[] = {
    {"X-Content-Type-Options", "nosniff"},
    {"Referrer-Policy", "no-referrer"},
    {"Cross-Origin-Resource-Policy", "same-origin"},
    {"Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"},
    {"Cache-Control", "no-store"},
};

static bool was_added(const sv_request *r, const char *name)
{
    for (size_t i = 0; i < r->added_count; i++) {
        if (strcasecmp(r->added[i].name, name) == 0) return true;
    }
    return false;
}

static void add_default(const sv_request *r, struct MHD_Response *response, const char *name, const char *value)
{
    if (!was_added(r, name)) (void)MHD_add_response_header(response, name, value);
}

static void add_headers(const sv_request *r, struct MHD_Response *response, int status, const char *type)
{
    for (size_t i = 0; i < r->added_count; i++) {
        (void)MHD_add_response_header(response, r->added[i].name, r->added[i].value);
    }
    for (size_t i = 0; i < sizeof defaults / sizeof *defaults; i++) {
        add_default(r, response, defaults[i].name, defaults[i].value);
    }
    if (type != NULL) add_default(r, response, "Content-Type", type);
    if (status == 503) add_default(r, response, "Retry-After", "1");
}

/* Ends the request: with `response` (NULL: the connection is closed), unless the keeper has answered it meanwhile. */
static void finish(sv_request *r, int status, struct MHD_Response *response, size_t size)
{
    sv_http *h = r->http;
    (void)pthread_mutex_lock(&h->lock);
    struct MHD_Connection *resume = NULL;
    if (!r->answered) {
        r->answered = true;
        r->status = response != NULL ? status : 500;
        r->answer_size = size;
        r->answered_at = sv_now();
        r->response = response;
        if (response != NULL && h->draining) (void)MHD_add_response_header(response, "Connection", "close");
        response = NULL;
        if (r->suspended) resume = r->connection;
        r->suspended = false;
    }
    if (r->held) {
        r->held = false;
        if (r->next != NULL) r->next->previous = r->previous;
        *(r->previous != NULL ? &r->previous->next : &h->working) = r->next;
        h->pending--;
    }
    const bool last = !r->attached;
    (void)pthread_cond_broadcast(&h->changed);
    (void)pthread_mutex_unlock(&h->lock);
    if (response != NULL) MHD_destroy_response(response);
    if (last) http_request_release(r);
    /* From here on the event thread may free it. */
    if (resume != NULL) MHD_resume_connection(resume);
}

void sv_answer_header(sv_request *r, const char *name, const char *value)
{
    http_pair *added = realloc(r->added, (r->added_count + 1) * sizeof *added);
    if (added == NULL) return;
    r->added = added;
    char *a = strdup(name), *b = strdup(value);
    if (a == NULL || b == NULL) {
        free(a);
        free(b);
        return;
    }
    r->added[r->added_count++] = (http_pair){a, b};
}

void sv_answer(sv_request *r, int status, const char *type, void *body, size_t size)
{
    struct MHD_Response *response = NULL;
    if (body != NULL && size > 0) {
        response = MHD_create_response_from_buffer(size, body, MHD_RESPMEM_MUST_FREE);
        if (response == NULL) free(body);
    } else {
        static char nothing[1];
        free(body);
        size = 0;
        response = MHD_create_response_from_buffer(0, nothing, MHD_RESPMEM_PERSISTENT);
    }
    if (response != NULL) add_headers(r, response, status, size > 0 ? type : NULL);
    finish(r, status, response, size);
}

/* One of the list of If-None-Match, in the weak comparison. */
static bool matches(const char *list, const char *etag)
{
    const size_t n = strlen(etag);
    while (list != NULL && *list != '\0') {
        list += strspn(list, ", \t");
        if (*list == '*') return true;
        if (strncmp(list, "W/", 2) == 0) list += 2;
        const size_t length = strcspn(list, ", \t");
        if (length == n && memcmp(list, etag, n) == 0) return true;
        list += length;
    }
    return false;
}

void sv_answer_static(sv_request *r, const char *type, const void *body, size_t size, const char *etag)
{
    const bool same = etag != NULL && matches(sv_request_header(r, "If-None-Match"), etag);
    /* MHD promises not to write to it. */
    struct MHD_Response *response =
        MHD_create_response_from_buffer(same ? 0 : size, (void *)(uintptr_t)body, MHD_RESPMEM_PERSISTENT);
    if (etag != NULL && !was_added(r, "Cache-Control")) sv_answer_header(r, "Cache-Control", "no-cache");
    if (etag != NULL) sv_answer_header(r, "ETag", etag);
    const int status = same ? 304 : 200;
    if (response != NULL) add_headers(r, response, status, same ? NULL : type);
    finish(r, status, response, same ? 0 : size);
}

void sv_answer_json(sv_request *r, int status, json_t *json)
{
    /* 15 digits: seconds since 1970 keep their microseconds, 0.1 stays 0.1. */
    char *text = json != NULL ? json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(15)) : NULL;
    json_decref(json);
    if (text == NULL) {
        sv_answer_error(r, 500, "the answer could not be written as JSON");
    } else {
        sv_answer(r, status, "application/json", text, strlen(text));
    }
}

/* {"error": text}: bytes that are no UTF-8 become '?'. malloc; NULL: no memory. */
static char *error_text(const char *text)
{
    char copy[1024];
    (void)snprintf(copy, sizeof copy, "%s", text);
    if (!http_utf8(copy)) {
        for (char *c = copy; *c != '\0'; c++) {
            if ((unsigned char)*c >= 0x80) *c = '?';
        }
    }
    json_t *json = json_pack("{s:s}", "error", copy);
    char *out = json != NULL ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    return out;
}

void sv_answer_error(sv_request *r, int status, const char *format, ...)
{
    char text[1024];
    va_list list;
    va_start(list, format);
    (void)vsnprintf(text, sizeof text, format, list);
    va_end(list);
    char *body = error_text(text);
    sv_answer(r, status, "application/json", body, body != NULL ? strlen(body) : 0);
}

void sv_answer_failure(sv_request *r, cz_status status)
{
    int code = 500;
    switch (status) {
    case CZ_E_FORMAT:
    case CZ_E_ARG:
    case CZ_E_UNSUPPORTED:
        code = 400;
        break;
    case CZ_E_LIMIT:
        code = 413;
        break;
    case CZ_E_MEMORY:
    case CZ_E_NO_SPACE:
        code = 507;
        break;
    default:
        break;
    }
    const char *text = cz_last_error();
    sv_answer_error(r, code, "%s", text[0] != '\0' ? text : cz_status_name(status));
}

struct MHD_Response *http_error_response(const sv_request *r, int status, const char *text, bool close)
{
    static char nothing[1];
    char *body = status != 204 ? error_text(text) : NULL;
    struct MHD_Response *response = body != NULL
                                        ? MHD_create_response_from_buffer(strlen(body), body, MHD_RESPMEM_MUST_FREE)
                                        : MHD_create_response_from_buffer(0, nothing, MHD_RESPMEM_PERSISTENT);
    if (response == NULL) {
        free(body);
        return NULL;
    }
    for (size_t i = 0; i < sizeof defaults / sizeof *defaults; i++) {
        (void)MHD_add_response_header(response, defaults[i].name, defaults[i].value);
    }
    if (body != NULL) (void)MHD_add_response_header(response, "Content-Type", "application/json");
    if (status == 401) (void)MHD_add_response_header(response, "WWW-Authenticate", "Bearer");
    if (status == 503) (void)MHD_add_response_header(response, "Retry-After", "1");
    if (status == 204 || status == 405) (void)MHD_add_response_header(response, "Allow", r->allow);
    if (close) (void)MHD_add_response_header(response, "Connection", "close");
    return response;
}
