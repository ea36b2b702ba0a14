/* SPDX-License-Identifier: Apache-2.0 */
/* A request from its first line to its handler: the callbacks of libmicrohttpd, all of them in its event thread. */
#include "http_internal.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_ROOM = 65536, MOST_PAIRS = 256 };
/* A request that is refused is read to its end if that is at most so many bodies' worth: a client that is still sending may not see an
 * answer that comes before. */
enum { READ_ANYWAY = 4 };

void http_refuse(sv_request *r, int status, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    (void)vsnprintf(r->reason, sizeof r->reason, format, list);
    va_end(list);
    r->refused = status;
}

void http_phase_set(sv_http *h, http_connection *c, http_phase phase)
{
    h->receiving -= c->phase == HTTP_RECEIVING;
    h->answering -= c->phase == HTTP_ANSWERING;
    c->phase = phase;
    c->since = sv_now();
    h->receiving += c->phase == HTTP_RECEIVING;
    h->answering += c->phase == HTTP_ANSWERING;
}

/* ---- connections -------------------------------------------------------------------------------------------------- */

static http_connection *peer_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info != NULL ? info->socket_context : NULL;
}

void http_connection_event(void *cls, struct MHD_Connection *connection, void **socket_context,
                           enum MHD_ConnectionNotificationCode code)
{
    sv_http *h = cls;
    http_connection *c = *socket_context;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        c = calloc(1, sizeof *c);
        *socket_context = c; /* without memory its requests are dropped */
        if (c == NULL) return;
        c->fd = info != NULL ? info->connect_fd : -1;
        c->since = sv_now();
        (void)pthread_mutex_lock(&h->lock);
        c->next = h->connections;
        if (c->next != NULL) c->next->previous = c;
        h->connections = c;
        h->connection_count++;
        (void)pthread_mutex_unlock(&h->lock);
    } else if (c != NULL) {
        *socket_context = NULL;
        (void)pthread_mutex_lock(&h->lock);
        http_phase_set(h, c, HTTP_IDLE);
        if (c->next != NULL) c->next->previous = c->previous;
        *(c->previous != NULL ? &c->previous->next : &h->connections) = c->next;
        h->connection_count--;
        (void)pthread_cond_broadcast(&h->changed);
        (void)pthread_mutex_unlock(&h->lock);
        free(c);
    }
}

void *http_request_line(void *cls, const char *uri, struct MHD_Connection *connection)
{
    sv_http *h = cls;
    http_connection *c = peer_of(connection);
    (void)uri;
    if (c != NULL) {
        (void)pthread_mutex_lock(&h->lock);
        http_phase_set(h, c, HTTP_RECEIVING);
        (void)pthread_mutex_unlock(&h->lock);
    }
    return NULL;
}

/* ---- what it says ------------------------------------------------------------------------------------------------- */

typedef struct collector {
    http_pair *pairs; /* NULL: only counts */
    char *text;
    size_t count, bytes;
} collector;

static enum MHD_Result collect(void *cls, enum MHD_ValueKind kind, const char *name, const char *value)
{
    collector *c = cls;
    const size_t n = strlen(name) + 1, m = value != NULL ? strlen(value) + 1 : 1;
    (void)kind;
    if (c->pairs != NULL) {
        c->pairs[c->count].name = memcpy(c->text + c->bytes, name, n);
        c->pairs[c->count].value = memcpy(c->text + c->bytes + n, value != NULL ? value : "", m);
    }
    c->count++;
    c->bytes += n + m;
    return MHD_YES;
}

/* Header fields and query are copied: whoever answers may be slower than the connection. */
static bool copy_fields(sv_request *r)
{
    collector headers = {NULL, NULL, 0, 0}, query = {NULL, NULL, 0, 0};
    (void)MHD_get_connection_values(r->connection, MHD_HEADER_KIND, collect, &headers);
    (void)MHD_get_connection_values(r->connection, MHD_GET_ARGUMENT_KIND, collect, &query);
    if (headers.count > MOST_PAIRS || query.count > MOST_PAIRS) {
        http_refuse(r, 431, "more than %d header fields or arguments", MOST_PAIRS);
        headers.count = query.count = 0;
        return true;
    }
    r->headers = calloc(headers.count + 1, sizeof *r->headers);
    r->query = calloc(query.count + 1, sizeof *r->query);
    r->text = malloc(headers.bytes + query.bytes + 1);
    if (r->headers == NULL || r->query == NULL || r->text == NULL) return false;
    headers = (collector){r->headers, r->text, 0, 0};
    (void)MHD_get_connection_values(r->connection, MHD_HEADER_KIND, collect, &headers);
    r->header_count = headers.count;
    query = (collector){r->query, r->text + headers.bytes, 0, 0};
    (void)MHD_get_connection_values(r->connection, MHD_GET_ARGUMENT_KIND, collect, &query);
    r->query_count = query.count;
    for (size_t i = 0; i < r->query_count; i++) {
        /* They point into r->text. */
        if (!http_decode((char *)(uintptr_t)r->query[i].name) || !http_decode((char *)(uintptr_t)r->query[i].value))
            http_refuse(r, 400, "the query is malformed");
    }
    return true;
}

static void read_length(sv_request *r)
{
    const char *length = sv_request_header(r, "Content-Length");
    r->chunked = sv_request_header(r, "Transfer-Encoding") != NULL;
    if (length == NULL || r->chunked) return;
    /* libmicrohttpd has refused what is no number; what is too large for it is none of ours. */
    r->declared = (size_t)strtoull(length, NULL, 10);
}

static void check_size(const sv_http *h, sv_request *r)
{
    if (r->declared > h->settings->max_body)
        http_refuse(r, 413, "the body has %zu bytes, at most %zu are taken", r->declared, h->settings->max_body);
}

/* Everything that can be told from the head. */
static void examine(sv_http *h, sv_request *r, const char *url)
{
    read_length(r);
    if (r->refused == 0) check_size(h, r);
    const int refused = r->refused;
    if (strlen(url) > HTTP_PATH) {
        http_refuse(r, 414, "the path is longer than %d bytes", HTTP_PATH);
    } else if (!http_path_split(url, &r->path)) {
        http_refuse(r, 400, "the path is malformed");
    } else if (refused == 0) {
        http_route_find(h, r);
    }
    http_access_check(h, r); /* what it refuses is not told anything else */
}

static sv_request *request_new(sv_http *h, struct MHD_Connection *connection, const char *url, const char *method)
{
    sv_request *r = calloc(1, sizeof *r);
    if (r == NULL) return NULL;
    r->http = h;
    r->connection = connection;
    r->peer = peer_of(connection);
    r->attached = true;
    r->method = strdup(method);
    r->raw_path = strdup(url);
    if (r->peer == NULL || r->method == NULL || r->raw_path == NULL || !copy_fields(r)) {
        http_request_release(r);
        return NULL;
    }
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    http_address_text(info != NULL ? info->client_addr : NULL, r->client, sizeof r->client);
    examine(h, r, url);
    return r;
}

/* Frees it: neither MHD nor a handler has it any more. */
void http_request_release(sv_request *r)
{
    if (r->room > 0) {
        (void)pthread_mutex_lock(&r->http->lock);
        r->http->bodies -= r->room;
        (void)pthread_mutex_unlock(&r->http->lock);
    }
    for (size_t i = 0; i < r->added_count; i++) {
        free((char *)(uintptr_t)r->added[i].name);
        free((char *)(uintptr_t)r->added[i].value);
    }
    free(r->added);
    free(r->headers);
    free(r->query);
    free(r->text);
    free(r->method);
    free(r->raw_path);
    free(r->body);
    free(r);
}

/* ---- its body ----------------------------------------------------------------------------------------------------- */

/* Room for `size` bytes, within what all bodies may take. */
static bool make_room(sv_request *r, size_t size)
{
    sv_http *h = r->http;
    size_t room = r->room > 0 ? 2 * r->room : FIRST_ROOM;
    if (r->declared > 0 && room > r->declared) room = r->declared;
    if (room > h->settings->max_body) room = h->settings->max_body;
    if (room < size) room = size;
    (void)pthread_mutex_lock(&h->lock);
    const bool fits = room - r->room <= h->settings->max_bodies - h->bodies;
    if (fits) h->bodies += room - r->room;
    (void)pthread_mutex_unlock(&h->lock);
    unsigned char *body = fits ? realloc(r->body, room) : NULL;
    if (body != NULL) {
        r->body = body;
        r->room = room;
        return true;
    }
    if (fits) {
        (void)pthread_mutex_lock(&h->lock);
        h->bodies -= room - r->room;
        (void)pthread_mutex_unlock(&h->lock);
    }
    http_refuse(r, 503, "too much is being sent at once; try again in a moment");
    return false;
}

static void take(sv_request *r, const char *bytes, size_t count)
{
    if (r->refused != 0) return; /* read and dropped */
    if (count > r->http->settings->max_body - r->size) {
        http_refuse(r, 413, "the body has more than %zu bytes", r->http->settings->max_body);
    } else if (r->size + count <= r->room || make_room(r, r->size + count)) {
        memcpy(r->body + r->size, bytes, count);
        r->size += count;
    }
}

/* ---- to its handler ----------------------------------------------------------------------------------------------- */

/* The answer that waits in `response` goes out. MHD_NO closes the connection. */
static enum MHD_Result send_answer(sv_request *r)
{
    (void)pthread_mutex_lock(&r->http->lock);
    struct MHD_Response *response = r->response;
    const int status = r->status;
    r->response = NULL;
    http_phase_set(r->http, r->peer, HTTP_ANSWERING);
    (void)pthread_mutex_unlock(&r->http->lock);
    if (response == NULL) return MHD_NO;
    const enum MHD_Result queued = MHD_queue_response(r->connection, (unsigned)status, response);
    MHD_destroy_response(response);
    return queued;
}

static enum MHD_Result refuse_now(sv_request *r, bool unread)
{
    sv_http *h = r->http;
    r->complete = r->complete > 0.0 ? r->complete : sv_now();
    (void)pthread_mutex_lock(&h->lock);
    const bool close = unread || h->draining;
    r->answered = true;
    r->status = r->refused;
    r->answered_at = sv_now();
    r->response = http_error_response(r, r->refused, r->reason, close);
    (void)pthread_mutex_unlock(&h->lock);
    return send_answer(r);
}

static enum MHD_Result dispatch(sv_request *r)
{
    sv_http *h = r->http;
    r->complete = sv_now();
    r->deadline = r->complete + h->settings->timeout;
    (void)pthread_mutex_lock(&h->lock);
    const bool cut = r->peer->cut, closing = h->closing;
    if (!cut && !closing) {
        http_phase_set(h, r->peer, HTTP_WORKING);
        r->held = true;
        r->next = h->working;
        if (r->next != NULL) r->next->previous = r;
        h->working = r;
        h->pending++;
    }
    (void)pthread_mutex_unlock(&h->lock);
    if (cut) return MHD_NO;
    if (closing) {
        http_refuse(r, 503, "the server ends");
        return refuse_now(r, true);
    }
    r->route->handler(r->route->ctx, r);
    (void)pthread_mutex_lock(&h->lock);
    const bool answered = r->answered;
    if (!answered) {
        r->suspended = true;
        MHD_suspend_connection(r->connection);
    }
    (void)pthread_mutex_unlock(&h->lock);
    return answered ? send_answer(r) : MHD_YES;
}

/* The head is there. MHD_YES without an answer: go on with the body. */
static enum MHD_Result begin(sv_http *h, sv_request *r)
{
    const char *expect = sv_request_header(r, "Expect");
    const bool waits = expect != NULL && strcasecmp(expect, "100-continue") == 0;
    if (r->refused == 0) return MHD_YES;
    const bool body = r->chunked || r->declared > 0;
    const bool large = r->declared / READ_ANYWAY > h->settings->max_body;
    /* An answer at this point ends the connection. */
    return body && (waits || large) ? refuse_now(r, true) : MHD_YES;
}

enum MHD_Result http_handle(void *cls, struct MHD_Connection *connection, const char *url, const char *method,
                            const char *version, const char *upload, size_t *upload_size, void **con_cls)
{
    sv_http *h = cls;
    sv_request *r = *con_cls;
    (void)version;
    if (r == NULL) {
        *con_cls = r = request_new(h, connection, url, method);
        return r != NULL ? begin(h, r) : MHD_NO;
    }
    if (*upload_size > 0) {
        (void)pthread_mutex_lock(&h->lock);
        const bool cut = r->peer->cut;
        (void)pthread_mutex_unlock(&h->lock);
        if (cut) return MHD_NO;
        take(r, upload, *upload_size);
        *upload_size = 0;
        return MHD_YES;
    }
    (void)pthread_mutex_lock(&h->lock);
    const bool answered = r->answered;
    (void)pthread_mutex_unlock(&h->lock);
    if (answered) return send_answer(r);
    return r->refused != 0 ? refuse_now(r, false) : dispatch(r);
}

static void observe(sv_http *h, const sv_request *r)
{
    if (h->observer == NULL || !r->answered) return;
    const char *name = r->route != NULL ? r->route->name : "none";
    h->observer(h->observer_ctx, name, r->method, r->raw_path, r->status, 1000.0 * (r->answered_at - r->complete),
                r->size, r->answer_size);
}

void http_completed(void *cls, struct MHD_Connection *connection, void **con_cls, enum MHD_RequestTerminationCode code)
{
    sv_http *h = cls;
    sv_request *r = *con_cls;
    http_connection *c = r != NULL ? r->peer : peer_of(connection);
    (void)code;
    *con_cls = NULL;
    (void)pthread_mutex_lock(&h->lock);
    if (r != NULL && !r->answered && c->cut) { /* the keeper has said so */
        r->answered = true;
        r->status = 408;
        r->complete = r->answered_at = sv_now();
    }
    (void)pthread_mutex_unlock(&h->lock);
    if (r != NULL) observe(h, r);
    (void)pthread_mutex_lock(&h->lock);
    if (c != NULL) http_phase_set(h, c, HTTP_IDLE);
    bool last = false;
    if (r != NULL) {
        r->attached = false;
        last = !r->held;
        if (r->response != NULL) MHD_destroy_response(r->response);
        r->response = NULL;
    }
    (void)pthread_cond_broadcast(&h->changed);
    (void)pthread_mutex_unlock(&h->lock);
    if (last) http_request_release(r);
}

/* ---- for handlers ------------------------------------------------------------------------------------------------- */

const char *sv_request_method(const sv_request *r)
{
    return r->method;
}

const char *sv_request_path(const sv_request *r)
{
    return r->raw_path;
}

const char *sv_request_arg(const sv_request *r, size_t index)
{
    return index < r->arg_count ? r->args[index] : "";
}

const char *sv_request_header(const sv_request *r, const char *name)
{
    for (size_t i = 0; i < r->header_count; i++) {
        if (strcasecmp(r->headers[i].name, name) == 0) return r->headers[i].value;
    }
    return NULL;
}

const char *sv_request_query(const sv_request *r, const char *name)
{
    for (size_t i = 0; i < r->query_count; i++) {
        if (strcmp(r->query[i].name, name) == 0) return r->query[i].value;
    }
    return NULL;
}

const unsigned char *sv_request_body(const sv_request *r, size_t *size)
{
    *size = r->size;
    return r->size > 0 ? r->body : NULL;
}

const char *sv_request_client(const sv_request *r)
{
    return r->client;
}

double sv_request_deadline(const sv_request *r)
{
    return r->deadline;
}
