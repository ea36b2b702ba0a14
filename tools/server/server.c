/* SPDX-License-Identifier: Apache-2.0 */
/* `cozad serve`: opens the parts, waits for a signal, closes them. */
#include "server.h"

#include "assets.h"
#include "events.h"
#include "http.h"
#include "log.h"
#include "models.h"
#include "pool.h"
#include "score_api.h"
#include "studio.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* Of the command line (cli.h). */
enum { EXIT_OK = 0, EXIT_USAGE = 2, EXIT_MODEL = 4, EXIT_RESOURCES = 5 };
/* Seconds for work whose requests are answered already, and for sinks to take what waits. */
static const double leftover = 1.0, sinks = 5.0;

typedef struct server {
    sv_http *http;
    sv_events *events;
    sv_models *models;
    sv_pool *pool;
    sv_studio *studio;
    sv_score_api *api;
} server;

/* ---- the page's files --------------------------------------------------------------------------------------------- */

/* Nothing is loaded from elsewhere, nothing is run that is no file of the page, nobody may frame it. */
static const char page_policy[] =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "media-src 'self' blob:; connect-src 'self'; manifest-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'";

static void answer_asset(void *ctx, sv_request *request)
{
    const sv_asset *asset = ctx;
    sv_answer_header(request, "Content-Security-Policy", page_policy);
    sv_answer_header(request, "Permissions-Policy", "camera=(self), microphone=(), geolocation=()");
    sv_answer_static(request, asset->type, asset->data, asset->size, asset->etag);
}

static cz_status add_assets(sv_http *http)
{
    cz_status status = CZ_OK;
    for (size_t i = 0; i < sv_asset_count && status == CZ_OK; i++) {
        void *asset = (void *)(uintptr_t)&sv_assets[i];
        status = sv_http_route_public(http, "GET", sv_assets[i].path, "page", answer_asset, asset);
        if (status == CZ_OK && strcmp(sv_assets[i].path, "/index.html") == 0)
            status = sv_http_route_public(http, "GET", "/", "page", answer_asset, asset);
    }
    return status;
}

/* ---- systemd ------------------------------------------------------------------------------------------------------ */

/* The protocol of sd_notify(3): a datagram to the socket that the environment names. */
static void notify(const char *text)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address;
    if (path == NULL || (path[0] != '/' && path[0] != '@')) return;
    const size_t length = strlen(path);
    if (length >= sizeof address.sun_path) return;
    memset(&address, 0, sizeof address);
    address.sun_family = AF_UNIX;
    memcpy(address.sun_path, path, length);
    if (path[0] == '@') address.sun_path[0] = '\0'; /* an abstract one */
    const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return;
    const socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
    if (sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&address, size) < 0)
        sv_log(SV_WARN, "notify", "error", "%s", strerror(errno), NULL);
    (void)close(fd);
}

/* ---- the parts ---------------------------------------------------------------------------------------------------- */

static void on_change(void *ctx, const char *name)
{
    server *s = ctx;
    (void)name;
    sv_pool_forget(s->pool);
}

static cz_status open_parts(const sv_settings *settings, server *s)
{
    /* The address first: one that is taken or not allowed shows before models were loaded for seconds. */
    cz_status status = sv_http_open(settings, &s->http);
    if (status == CZ_OK) status = sv_events_open(settings, &s->events);
    if (status == CZ_OK) status = sv_models_open(settings, &s->models);
    if (status == CZ_OK) status = sv_pool_open(settings, &s->pool);
    if (status != CZ_OK) return status;
    sv_models_on_change(s->models, on_change, s);
    sv_http_observe(s->http, sv_events_answered, s->events);
    status = sv_studio_open(settings, s->http, s->models, s->pool, &s->studio);
    if (status == CZ_OK)
        status = sv_score_api_open(settings, s->http, s->models, s->pool, s->events, s->studio, &s->api);
    if (status == CZ_OK) status = add_assets(s->http);
    return status == CZ_OK ? sv_http_start(s->http) : status;
}

/* Requests first, while everything that answers them is still there. */
static void close_parts(const sv_settings *settings, server *s)
{
    if (s->http != NULL) sv_http_stop(s->http, settings->drain);
    if (s->studio != NULL) sv_studio_close(s->studio);
    if (s->pool != NULL) sv_pool_close(s->pool, leftover);
    if (s->api != NULL) sv_score_api_free(s->api);
    if (s->events != NULL) sv_events_close(s->events, sinks);
    sv_http_free(s->http);
    if (s->models != NULL) sv_models_free(s->models);
}

static int exit_code(cz_status status)
{
    switch (status) {
    case CZ_OK:
        return EXIT_OK;
    case CZ_E_ARG:
    case CZ_E_UNSUPPORTED:
        return EXIT_USAGE;
    case CZ_E_MODEL:
    case CZ_E_WEIGHTS:
    case CZ_E_FORMAT:
        return EXIT_MODEL;
    default:
        return EXIT_RESOURCES;
    }
}

/* Until a signal says to end. */
static int wait_for_end(server *s, const sigset_t *signals)
{
    const struct timespec second = {1, 0};
    for (;;) {
        const int signal = sigtimedwait(signals, NULL, &second);
        if (signal == SIGTERM || signal == SIGINT) return signal;
        sv_models_poll(s->models); /* every second, and at once on SIGHUP */
    }
}

int sv_serve(const sv_settings *settings)
{
    server s;
    sigset_t signals, before;
    int code;
    memset(&s, 0, sizeof s);
    sv_log_setup(settings->json_log, SV_INFO);
    /* Before any thread is made: all of them inherit it, and no handler runs on a stack that computes. */
    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGTERM);
    (void)sigaddset(&signals, SIGINT);
    (void)sigaddset(&signals, SIGHUP);
    (void)pthread_sigmask(SIG_BLOCK, &signals, &before);
    (void)signal(SIGPIPE, SIG_IGN);
    const cz_status status = open_parts(settings, &s);
    code = exit_code(status);
    if (status == CZ_OK) {
        (void)printf("cozad: serving on %s\n", sv_http_url(s.http));
        (void)fflush(stdout);
        sv_log(SV_INFO, "ready", "url", "%s", sv_http_url(s.http), "version", "%s", cz_version(), NULL);
        notify("READY=1");
        const int reason = wait_for_end(&s, &signals);
        notify("STOPPING=1");
        sv_log(SV_INFO, "stopping", "signal", "%s", reason == SIGINT ? "SIGINT" : "SIGTERM", "pending", "%zu",
               sv_http_pending(s.http), NULL);
        /* A second ^C does not wait. */
        sigset_t interrupt;
        (void)sigemptyset(&interrupt);
        (void)sigaddset(&interrupt, SIGINT);
        (void)signal(SIGINT, SIG_DFL);
        (void)pthread_sigmask(SIG_UNBLOCK, &interrupt, NULL);
    } else {
        const char *text = cz_last_error();
        (void)fprintf(stderr, "cozad: %s\n", text[0] != '\0' ? text : cz_status_name(status));
    }
    close_parts(settings, &s);
    if (status == CZ_OK) sv_log(SV_INFO, "stopped", NULL);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return code;
}
