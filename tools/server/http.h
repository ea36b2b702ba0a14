/* SPDX-License-Identifier: Apache-2.0 */
/* Connections, requests, answers. One event thread (epoll) reads requests; a handler is called in it once the whole body is there, and
 * either answers at once or keeps the request and answers later from any thread, exactly once. The connection sleeps in between.
 *
 * Access, before any handler: the value of Host must be a loopback name, the address bound to or one of allow_hosts (421 otherwise); where
 * there is an Origin it must be the server's own (403); changing requests (all but GET, HEAD, OPTIONS) from a browser, known by Origin or
 * Sec-Fetch-Site, must carry the page's token in "X-CoZAD-Token" (403; GET /api/session gives the token to same-origin readers only); with
 * --auth-token-file every request but /v2/health/live needs "Authorization: Bearer TOKEN" or the cookie that POST /api/login sets (401),
 * compared in constant time. Limits: connections, bytes of one body (413) and of all (503), header size (431), time. */
#ifndef SV_HTTP_H
#define SV_HTTP_H

#include "server.h"

#include <jansson.h>

typedef struct sv_http sv_http;
typedef struct sv_request sv_request;
typedef void (*sv_handler)(void *ctx, sv_request *request);

/* Binds and listens (or takes the socket of systemd, LISTEN_FDS) without accepting anything; *out: sv_http_free. */
cz_status sv_http_open(const sv_settings *settings, sv_http **out);
/* `pattern`: "/v2/models/{}/versions/{}/infer"; {} stands for one segment, non-empty, decoded from percent encoding. The first route that
 * fits wins; a path that fits with other methods only is 405 with Allow. Before sv_http_start. `ctx` outlives the server.
 * `name`: of the route in metrics ("infer"). */
cz_status sv_http_route(sv_http *h, const char *method, const char *pattern, const char *name, sv_handler handler,
                        void *ctx);
/* The same for what is no secret and is needed before a login (the page's files): no token is asked for. */
cz_status sv_http_route_public(sv_http *h, const char *method, const char *pattern, const char *name,
                               sv_handler handler, void *ctx);
/* Called after each answer, from any thread: for metrics and the access log. `milliseconds`: from the request's last byte. */
typedef void (*sv_http_observer)(void *ctx, const char *route, const char *method, const char *path, int status,
                                 double milliseconds, size_t in, size_t out);
void sv_http_observe(sv_http *h, sv_http_observer observer, void *ctx);
cz_status sv_http_start(sv_http *h);
const char *sv_http_url(const sv_http *h); /* "http://127.0.0.1:8080/" */
size_t sv_http_connections(const sv_http *h);
size_t sv_http_pending(const sv_http *h); /* requests that were accepted and are not answered */
/* Accepts no more, answers what was accepted, at most `seconds`; then closes everything. */
void sv_http_stop(sv_http *h, double seconds);
void sv_http_free(sv_http *h);

/* ---- a request: valid until it is answered ------------------------------------------------------------------------- */

const char *sv_request_method(const sv_request *r);
const char *sv_request_path(const sv_request *r);
const char *sv_request_arg(const sv_request *r, size_t index);        /* what {} number `index` stood for; "" beyond */
const char *sv_request_header(const sv_request *r, const char *name); /* NULL: none */
const char *sv_request_query(const sv_request *r, const char *name);  /* decoded; NULL: none, "" without a value */
const unsigned char *sv_request_body(const sv_request *r, size_t *size); /* NULL and 0: none */
const char *sv_request_client(const sv_request *r);                      /* "127.0.0.1" */
double sv_request_deadline(const sv_request *r);                         /* of sv_now */

/* ---- its answer: exactly one of these, which ends the request ------------------------------------------------------ */

/* Before the answer; copied. */
void sv_answer_header(sv_request *r, const char *name, const char *value);
/* Takes `body` (free). */
void sv_answer(sv_request *r, int status, const char *type, void *body, size_t size);
/* Pixels and files that live as long as the program. `etag`: answers If-None-Match with 304; NULL: none. */
void sv_answer_static(sv_request *r, const char *type, const void *body, size_t size, const char *etag);
/* Takes the reference. */
void sv_answer_json(sv_request *r, int status, json_t *json);
/* {"error": "…"} */
void sv_answer_error(sv_request *r, int status, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* The same with cz_last_error: CZ_E_FORMAT, _ARG, _UNSUPPORTED 400; _LIMIT 413; _NO_MEMORY, _NO_SPACE 507; others 500. */
void sv_answer_failure(sv_request *r, cz_status status);

/* Bytes a request's body parts into (multipart/form-data; docs: RFC 7578): `name`d part, or the first with a file name where `name` is NULL.
 * False: none, or malformed. Points into `body`. `type`: of the Content-Type header. Pure; fuzzed. */
bool sv_multipart_find(const char *type, const unsigned char *body, size_t size, const char *name,
                       const unsigned char **part, size_t *part_size, char filename[256]);

#endif
