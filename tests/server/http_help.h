/* SPDX-License-Identifier: Apache-2.0 */
/* A server of some routes and a client of plain sockets, for the tests of http*.c. */
#ifndef HTTP_HELP_H
#define HTTP_HELP_H

#include "http.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

typedef struct observed {
    pthread_mutex_t lock;
    size_t count;
    char route[64], path[256];
    int status;
    size_t in, out;
} observed;

typedef struct fixture {
    sv_settings settings;
    sv_http *http;
    unsigned port;
    observed seen;
    atomic_size_t handled;
    atomic_bool go; /* what "later" waits for */
    pthread_t threads[64];
    atomic_size_t thread_count;
} fixture;

static inline void observe_test(void *ctx, const char *route, const char *method, const char *path, int status,
                                double milliseconds, size_t in, size_t out)
{
    observed *o = ctx;
    (void)pthread_mutex_lock(&o->lock);
    o->count++;
    (void)snprintf(o->route, sizeof o->route, "%s", route);
    (void)snprintf(o->path, sizeof o->path, "%s %s", method, path);
    o->status = status;
    o->in = in;
    o->out = out;
    if (milliseconds < 0.0) o->status = -1;
    (void)pthread_mutex_unlock(&o->lock);
}

/* GET /echo/{}/x/{}: what the request says. */
static inline void answer_echo(void *ctx, sv_request *r)
{
    fixture *f = ctx;
    const char *q = sv_request_query(r, "q"), *flag = sv_request_query(r, "flag"), *none = sv_request_query(r, "none");
    size_t size;
    const unsigned char *body = sv_request_body(r, &size);
    f->handled++;
    sv_answer_json(r, 200,
                   json_pack("{s:s, s:s, s:s, s:s?, s:s?, s:b, s:s#, s:s, s:s?}", "method", sv_request_method(r), "a",
                             sv_request_arg(r, 0), "b", sv_request_arg(r, 1), "q", q, "flag", flag, "none",
                             none != NULL, "body", size > 0 ? (const char *)body : "", (int)size, "client",
                             sv_request_client(r), "x", sv_request_header(r, "x-thing")));
}

static inline void answer_size(void *ctx, sv_request *r)
{
    fixture *f = ctx;
    size_t size, sum = 0;
    const unsigned char *body = sv_request_body(r, &size);
    for (size_t i = 0; i < size; i++) sum += body[i];
    f->handled++;
    sv_answer_json(r, 200, json_pack("{s:I, s:I}", "size", (json_int_t)size, "sum", (json_int_t)sum));
}

static inline void answer_static_text(void *ctx, sv_request *r)
{
    static const char text[] = "what never changes";
    (void)ctx;
    sv_answer_static(r, "text/plain", text, sizeof text - 1, "\"tag1\"");
}

typedef struct later {
    fixture *f;
    sv_request *r;
} later;

static inline void *answer_in_thread(void *ctx)
{
    later *l = ctx;
    while (!atomic_load(&l->f->go)) (void)usleep(5000);
    char *text = strdup("later");
    sv_answer_header(l->r, "X-Late", "yes");
    sv_answer(l->r, 201, "text/plain", text, 5);
    free(l);
    return NULL;
}

/* Answered by a thread once `go` is set. */
static inline void answer_later(void *ctx, sv_request *r)
{
    fixture *f = ctx;
    later *l = malloc(sizeof *l);
    const size_t i = atomic_fetch_add(&f->thread_count, 1);
    assert_non_null(l);
    assert_true(i < 64);
    *l = (later){f, r};
    f->handled++;
    assert_int_equal(pthread_create(&f->threads[i], NULL, answer_in_thread, l), 0);
}

static inline void answer_failed(void *ctx, sv_request *r)
{
    (void)ctx;
    sv_answer_failure(r, sv_fail((cz_status)atoi(sv_request_arg(r, 0)), "no \xFF \"good\""));
}

/* Sets up the defaults of the tests; start() after the test has changed some. */
static inline fixture *fixture_new(void)
{
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    sv_settings_init(&f->settings);
    (void)pthread_mutex_init(&f->seen.lock, NULL);
    f->settings.port = 0;
    f->settings.max_body = 200000;
    f->settings.max_bodies = 1000000;
    f->settings.timeout = 20.0;
    f->settings.idle_timeout = 20.0;
    return f;
}

static inline void start(fixture *f)
{
    if (sv_http_open(&f->settings, &f->http) != CZ_OK) fail_msg("%s", cz_last_error());
    assert_int_equal(sv_http_route(f->http, "GET", "/echo/{}/x/{}", "echo", answer_echo, f), CZ_OK);
    assert_int_equal(sv_http_route(f->http, "POST", "/echo/{}/x/{}", "echo", answer_echo, f), CZ_OK);
    assert_int_equal(sv_http_route(f->http, "POST", "/size", "size", answer_size, f), CZ_OK);
    assert_int_equal(sv_http_route(f->http, "GET", "/later", "later", answer_later, f), CZ_OK);
    assert_int_equal(sv_http_route(f->http, "GET", "/failed/{}", "failed", answer_failed, f), CZ_OK);
    assert_int_equal(sv_http_route(f->http, "GET", "/v2/health/live", "live", answer_static_text, f), CZ_OK);
    assert_int_equal(sv_http_route(f->http, "GET", "/", "page", answer_static_text, f), CZ_OK);
    assert_int_equal(sv_http_route_public(f->http, "GET", "/static", "page", answer_static_text, f), CZ_OK);
    sv_http_observe(f->http, observe_test, &f->seen);
    if (sv_http_start(f->http) != CZ_OK) fail_msg("%s", cz_last_error());
    const char *colon = strrchr(sv_http_url(f->http), ':');
    assert_non_null(colon);
    f->port = (unsigned)atoi(colon + 1);
    assert_true(f->port > 0);
}

static inline void finish(fixture *f)
{
    sv_http_stop(f->http, 1.0);
    atomic_store(&f->go, true);
    for (size_t i = 0; i < f->thread_count; i++) (void)pthread_join(f->threads[i], NULL);
    sv_http_free(f->http);
    (void)pthread_mutex_destroy(&f->seen.lock);
    free(f);
}

/* ---- the client --------------------------------------------------------------------------------------------------- */

static inline int dial(const fixture *f)
{
    struct sockaddr_in address;
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_port = htons((uint16_t)f->port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static inline void say_bytes(int fd, const char *text, size_t size)
{
    while (size > 0) {
        const ssize_t n = send(fd, text, size, MSG_NOSIGNAL);
        if (n <= 0) return; /* the server has had enough: its answer shows why */
        text += n;
        size -= (size_t)n;
    }
}

static inline void say(int fd, const char *text)
{
    say_bytes(fd, text, strlen(text));
}

typedef struct answer {
    int status; /* 0: the connection was closed without one; -1: nothing within ten seconds */
    char head[4096], body[4096];
} answer;

static inline ssize_t receive(int fd, char *out, size_t size, int milliseconds)
{
    struct pollfd p = {fd, POLLIN, 0};
    return poll(&p, 1, milliseconds) == 1 ? recv(fd, out, size, 0) : -2;
}

/* One answer off the connection, byte by byte up to its end. `head_only`: of HEAD. */
static inline answer hear_any(int fd, bool head_only)
{
    answer a;
    size_t n = 0;
    memset(&a, 0, sizeof a);
    while (strstr(a.head, "\r\n\r\n") == NULL && n + 1 < sizeof a.head) {
        const ssize_t got = receive(fd, a.head + n, 1, 10000);
        if (got <= 0) {
            a.status = got == -2 ? -1 : 0;
            return a;
        }
        n++;
    }
    a.status = atoi(a.head + 9);
    const char *length = strcasestr(a.head, "Content-Length: ");
    size_t wanted = length != NULL && !head_only ? (size_t)atol(length + 16) : 0;
    assert_true(wanted < sizeof a.body);
    for (n = 0; n < wanted;) {
        const ssize_t got = receive(fd, a.body + n, wanted - n, 10000);
        if (got <= 0) break;
        n += (size_t)got;
    }
    return a;
}

static inline answer hear(int fd)
{
    return hear_any(fd, false);
}

/* The other side closes within ten seconds. */
static inline bool is_closed(int fd)
{
    char c;
    return receive(fd, &c, 1, 10000) == 0 || receive(fd, &c, 1, 0) != 1;
}

/* One request on a connection of its own; "Host" and the empty line are added to `head`. */
static inline answer ask(const fixture *f, const char *head, const char *body)
{
    char text[8192];
    const int fd = dial(f);
    int n = snprintf(text, sizeof text, "%sHost: localhost:%u\r\n", head, f->port);
    if (body != NULL) n += snprintf(text + n, sizeof text - (size_t)n, "Content-Length: %zu\r\n", strlen(body));
    n += snprintf(text + n, sizeof text - (size_t)n, "\r\n%s", body != NULL ? body : "");
    assert_true(n < (int)sizeof text);
    say(fd, text);
    const answer a = hear_any(fd, strncmp(head, "HEAD ", 5) == 0);
    (void)close(fd);
    return a;
}

static inline answer get(const fixture *f, const char *path)
{
    char head[4096];
    (void)snprintf(head, sizeof head, "GET %s HTTP/1.1\r\n", path);
    return ask(f, head, NULL);
}

static inline void wait_for(const atomic_size_t *value, size_t wanted)
{
    for (int i = 0; i < 1000 && atomic_load(value) < wanted; i++) (void)usleep(5000);
    assert_true(atomic_load(value) >= wanted);
}

#endif
