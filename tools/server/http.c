/* SPDX-License-Identifier: Apache-2.0 */
/* The server's beginning and end. */
#include "http_internal.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Seconds without a request after which nothing more is expected on connections that stay open; seconds for the last answers to leave. */
static const double quiet = 0.2, last_answers = 2.0;

static cz_status read_pem(const char *path, char **out)
{
    enum { LARGEST = 1 << 20 };
    FILE *file = fopen(path, "rb");
    if (file == NULL) return sv_fail(CZ_E_ARG, "%s: cannot open: %s", path, strerror(errno));
    char *text = malloc(LARGEST + 1);
    const size_t size = text != NULL ? fread(text, 1, LARGEST + 1, file) : 0;
    const bool failed = ferror(file) != 0;
    (void)fclose(file);
    if (text == NULL) return sv_fail(CZ_E_MEMORY, "out of memory");
    if (failed || size > LARGEST) {
        free(text);
        return sv_fail(CZ_E_ARG, "%s: %s", path, failed ? "cannot read" : "is larger than 1 MiB");
    }
    text[size] = '\0';
    *out = text;
    return CZ_OK;
}

static cz_status open_tls(sv_http *h)
{
    const sv_settings *s = h->settings;
    if (s->tls_cert == NULL && s->tls_key == NULL) return CZ_OK;
    if (s->tls_cert == NULL || s->tls_key == NULL) return sv_fail(CZ_E_ARG, "--tls-cert and --tls-key belong together");
    if (MHD_is_feature_supported(MHD_FEATURE_TLS) != MHD_YES)
        return sv_fail(CZ_E_UNSUPPORTED, "libmicrohttpd was built without TLS");
    const cz_status status = read_pem(s->tls_cert, &h->tls_cert);
    return status == CZ_OK ? read_pem(s->tls_key, &h->tls_key) : status;
}

static cz_status check_settings(const sv_settings *s)
{
    if (!(s->timeout > 0.0 && s->timeout <= 86400.0) || !(s->idle_timeout > 0.0 && s->idle_timeout <= 86400.0))
        return sv_fail(CZ_E_ARG, "timeouts are more than 0 and at most 86400 seconds");
    if (s->max_connections == 0 || s->max_connections > 1000000) return sv_fail(CZ_E_ARG, "connections: 1 to 1000000");
    if (s->max_body == 0 || s->max_body > (size_t)1 << 40 || s->max_bodies < s->max_body)
        return sv_fail(CZ_E_ARG, "one body is at least a byte, all of them together at least as large as one");
    return CZ_OK;
}

cz_status sv_http_open(const sv_settings *settings, sv_http **out)
{
    pthread_condattr_t attributes;
    sv_http *h = calloc(1, sizeof *h);
    if (h == NULL) return sv_fail(CZ_E_MEMORY, "out of memory");
    h->settings = settings;
    h->listener = -1;
    h->last_route = &h->routes;
    (void)pthread_mutex_init(&h->lock, NULL);
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&h->changed, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    cz_status status = check_settings(settings);
    if (status == CZ_OK) status = http_access_open(h);
    if (status == CZ_OK) status = open_tls(h);
    if (status == CZ_OK) status = http_socket_open(h);
    if (status == CZ_OK) status = http_access_routes(h);
    if (status == CZ_OK) {
        *out = h;
    } else {
        sv_http_free(h);
    }
    return status;
}

void sv_http_free(sv_http *h)
{
    if (h == NULL) return;
    if (h->daemon != NULL) sv_http_stop(h, 0.0);
    if (h->listener >= 0) (void)close(h->listener);
    http_routes_free(h);
    http_access_close(h);
    if (h->tls_key != NULL) explicit_bzero(h->tls_key, strlen(h->tls_key));
    free(h->tls_cert);
    free(h->tls_key);
    (void)pthread_cond_destroy(&h->changed);
    (void)pthread_mutex_destroy(&h->lock);
    free(h);
}

void sv_http_observe(sv_http *h, sv_http_observer observer, void *ctx)
{
    h->observer = observer;
    h->observer_ctx = ctx;
}

const char *sv_http_url(const sv_http *h)
{
    return h->url;
}

/* Segments are decoded one by one, after the path was split. */
static size_t leave_escaped(void *cls, struct MHD_Connection *connection, char *text)
{
    (void)cls;
    (void)connection;
    return strlen(text);
}

static void library_log(void *cls, const char *format, va_list list)
{
    sv_http *h = cls;
    char text[256];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    (void)vsnprintf(text, sizeof text, format, list);
#pragma GCC diagnostic pop
    text[strcspn(text, "\r\n")] = '\0';
    if (h->daemon == NULL) (void)snprintf(h->library_message, sizeof h->library_message, "%s", text);
    sv_log(SV_DEBUG, "libmicrohttpd", "message", "%s", text, NULL);
}

cz_status sv_http_start(sv_http *h)
{
    const sv_settings *s = h->settings;
    const unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC | MHD_USE_ERROR_LOG |
                           (h->tls_cert != NULL ? MHD_USE_TLS : 0);
    const double idle = ceil(s->idle_timeout);
    struct MHD_OptionItem tls[] = {
        {MHD_OPTION_END, 0, NULL}, {MHD_OPTION_END, 0, NULL}, {MHD_OPTION_END, 0, NULL}, {MHD_OPTION_END, 0, NULL}};
    static char priorities[] = "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2";
    if (h->tls_cert != NULL) {
        tls[0] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_CERT, 0, h->tls_cert};
        tls[1] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_KEY, 0, h->tls_key};
        tls[2] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_PRIORITIES, 0, priorities};
    }
    struct MHD_Daemon *daemon = MHD_start_daemon(
        flags, (uint16_t)h->port, NULL, NULL, http_handle, h, MHD_OPTION_EXTERNAL_LOGGER, library_log, h,
        MHD_OPTION_LISTEN_SOCKET, h->listener, MHD_OPTION_CONNECTION_LIMIT, (unsigned)s->max_connections,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)idle, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)HTTP_CONNECTION_MEMORY, MHD_OPTION_UNESCAPE_CALLBACK, leave_escaped, h, MHD_OPTION_NOTIFY_COMPLETED,
        http_completed, h, MHD_OPTION_NOTIFY_CONNECTION, http_connection_event, h, MHD_OPTION_URI_LOG_CALLBACK,
        http_request_line, h, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_ARRAY, tls, MHD_OPTION_END);
    if (daemon == NULL) {
        return sv_fail(h->tls_cert != NULL ? CZ_E_ARG : CZ_E_INTERNAL, "the HTTP server does not start: %s",
                       h->library_message[0] != '\0' ? h->library_message : "no reason given");
    }
    h->daemon = daemon;
    return http_keeper_start(h);
}

size_t sv_http_connections(const sv_http *h)
{
    sv_http *own = (sv_http *)(uintptr_t)h; /* for its lock */
    (void)pthread_mutex_lock(&own->lock);
    const size_t n = own->connection_count;
    (void)pthread_mutex_unlock(&own->lock);
    return n;
}

size_t sv_http_pending(const sv_http *h)
{
    sv_http *own = (sv_http *)(uintptr_t)h;
    (void)pthread_mutex_lock(&own->lock);
    const size_t n = own->pending;
    (void)pthread_mutex_unlock(&own->lock);
    return n;
}

/* ---- the end ------------------------------------------------------------------------------------------------------ */

/* Those that the kernel has accepted already are accepted. */
static void accept_waiting(sv_http *h, int listener)
{
    for (;;) {
        struct sockaddr_storage address;
        socklen_t size = sizeof address;
        const int fd = accept4(listener, (struct sockaddr *)&address, &size, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0) return;
        (void)MHD_add_connection(h->daemon, fd, (struct sockaddr *)&address, size); /* closes it where it fails */
    }
}

/* Until nothing has been on its way for `calm` seconds, or `until`. */
static void wait_quiet(sv_http *h, double calm, double until)
{
    (void)pthread_mutex_lock(&h->lock);
    double busy = sv_now();
    for (double now = busy; now < until; now = sv_now()) {
        if (h->pending + h->receiving + h->answering > 0) busy = now;
        if (now - busy >= calm) break;
        const double next = now + 0.05;
        struct timespec t = {(time_t)next, (long)((next - floor(next)) * 1e9)};
        (void)pthread_cond_timedwait(&h->changed, &h->lock, &t);
    }
    (void)pthread_mutex_unlock(&h->lock);
}

void sv_http_stop(sv_http *h, double seconds)
{
    if (h->daemon == NULL) return;
    (void)pthread_mutex_lock(&h->lock);
    h->draining = true;
    (void)pthread_mutex_unlock(&h->lock);
    const int listener = MHD_quiesce_daemon(h->daemon);
    h->listener = -1;
    if (listener >= 0) {
        accept_waiting(h, listener);
        (void)close(listener);
    }
    wait_quiet(h, quiet, sv_now() + (seconds > 0.0 ? seconds : 0.0));
    http_give_up(h);
    wait_quiet(h, 0.02, sv_now() + last_answers);
    http_give_up(h); /* what came in between */
    http_keeper_stop(h);
    MHD_stop_daemon(h->daemon);
    h->daemon = NULL;
}
