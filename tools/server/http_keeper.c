/* SPDX-License-Identifier: Apache-2.0 */
/* Ends what takes too long: requests that arrive drop by drop (408), answers that do not come (504), answers that nobody fetches, and
 * where connections run short those that are idle. libmicrohttpd itself closes connections on which nothing moves at all. */
#include "http_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* Seconds after a deadline for the one who knows more to say so; how much longer than a request its answer may take; connections that
 * are idle for less are left alone. */
static const double grace = 1.0, answer_times = 4.0, young = 1.0;

/* What a connection has exceeded; NULL: nothing. */
static const char *exceeded(const sv_http *h, const http_connection *c, double now)
{
    const double timeout = h->settings->timeout, age = now - c->since;
    switch (c->phase) {
    case HTTP_IDLE: /* the head trickles, otherwise it had been closed before */
        return age > h->settings->idle_timeout + timeout ? "the head of a request" : NULL;
    case HTTP_RECEIVING:
        return age > timeout ? "a request's arrival" : NULL;
    case HTTP_ANSWERING:
        return age > answer_times * timeout ? "fetching an answer" : NULL;
    default:
        return NULL;
    }
}

/* Needs the lock: the descriptor is closed only after the connection has left the list. */
static void cut(sv_http *h, http_connection *c, const char *what)
{
    static const char answer[] =
        "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Type: application/json\r\n"
        "Content-Length: 40\r\n\r\n{\"error\":\"the request took too long\"}   ";
    c->cut = true;
    /* Nothing of MHD's is on its way while a request arrives. Below TLS there is no place for it. */
    if (c->phase == HTTP_RECEIVING && h->settings->tls_cert == NULL)
        (void)send(c->fd, answer, sizeof answer - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)shutdown(c->fd, SHUT_RDWR);
    if (what != NULL) sv_log(SV_WARN, "connection cut", "took too long", "%s", what, NULL);
}

static void check_connections(sv_http *h, double now)
{
    const size_t most = h->settings->max_connections, spare = most / 16 + 1;
    (void)pthread_mutex_lock(&h->lock);
    for (http_connection *c = h->connections; c != NULL; c = c->next) {
        const char *what = c->cut ? NULL : exceeded(h, c, now);
        if (what != NULL) cut(h, c, what);
    }
    /* New ones are put first in the list, so that the last ones are the oldest. */
    if (h->connection_count + spare > most) {
        size_t wanted = h->connection_count + spare - most;
        http_connection *last = h->connections;
        while (last != NULL && last->next != NULL) last = last->next;
        for (http_connection *c = last; c != NULL && wanted > 0; c = c->previous) {
            if (c->cut || c->phase != HTTP_IDLE || now - c->since < young) continue;
            cut(h, c, NULL);
            wanted--;
        }
    }
    (void)pthread_mutex_unlock(&h->lock);
}

/* Answers one request in place of its handler, whose answer is dropped when it comes. False: there was none. */
static bool answer_for(sv_http *h, double before, int status, const char *text)
{
    struct MHD_Connection *resume = NULL;
    (void)pthread_mutex_lock(&h->lock);
    sv_request *r = h->working;
    while (r != NULL && (r->answered || r->deadline >= before)) r = r->next;
    if (r != NULL) {
        r->answered = true;
        r->status = status;
        r->answered_at = sv_now();
        r->response = http_error_response(r, status, text, true);
        if (r->suspended) resume = r->connection;
        r->suspended = false;
    }
    (void)pthread_mutex_unlock(&h->lock);
    if (resume != NULL) MHD_resume_connection(resume);
    return r != NULL;
}

void http_give_up(sv_http *h)
{
    (void)pthread_mutex_lock(&h->lock);
    h->closing = true;
    (void)pthread_mutex_unlock(&h->lock);
    while (answer_for(h, INFINITY, 503, "the server ends")) {
    }
}

static void *keep(void *ctx)
{
    sv_http *h = ctx;
    double interval =
        (h->settings->timeout < h->settings->idle_timeout ? h->settings->timeout : h->settings->idle_timeout) / 8.0;
    interval = interval < 0.05 ? 0.05 : interval > 0.5 ? 0.5 : interval;
    (void)pthread_mutex_lock(&h->lock);
    double next = sv_now() + interval;
    while (!h->keeper_ends) {
        struct timespec until;
        until.tv_sec = (time_t)next;
        until.tv_nsec = (long)((next - floor(next)) * 1e9);
        (void)pthread_cond_timedwait(&h->changed, &h->lock, &until);
        const double now = sv_now();
        if (h->keeper_ends || now < next) continue;
        (void)pthread_mutex_unlock(&h->lock);
        check_connections(h, now);
        while (answer_for(h, now - grace, 504, "the answer took too long")) {
        }
        (void)pthread_mutex_lock(&h->lock);
        next = now + interval;
    }
    (void)pthread_mutex_unlock(&h->lock);
    return NULL;
}

cz_status http_keeper_start(sv_http *h)
{
    const int code = pthread_create(&h->keeper, NULL, keep, h);
    if (code != 0) return sv_fail(CZ_E_INTERNAL, "a thread: %s", strerror(code));
    h->keeper_runs = true;
    return CZ_OK;
}

void http_keeper_stop(sv_http *h)
{
    if (!h->keeper_runs) return;
    (void)pthread_mutex_lock(&h->lock);
    h->keeper_ends = true;
    (void)pthread_cond_broadcast(&h->changed);
    (void)pthread_mutex_unlock(&h->lock);
    (void)pthread_join(h->keeper, NULL);
    h->keeper_runs = false;
}
