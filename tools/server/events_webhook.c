/* SPDX-License-Identifier: Apache-2.0 */
/* Results as POSTs of JSON to one address. */
#include "events_internal.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { TRIES = 4 };                    /* one, and three more */
static const double first_pause = 0.5; /* seconds; doubled each time */

typedef struct webhook {
    CURL *curl;
    struct curl_slist *headers;
    char *host; /* for messages: the address may hold a password */
    size_t received;
} webhook;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static CURLcode global = CURLE_FAILED_INIT;

static void init_curl(void)
{
    global = curl_global_init(CURL_GLOBAL_DEFAULT);
}

static void release(void *ctx)
{
    webhook *w = ctx;
    curl_easy_cleanup(w->curl);
    curl_slist_free_all(w->headers);
    curl_free(w->host);
    free(w);
}

/* The answer is of no use; a long one is cut off. */
static size_t discard(char *data, size_t size, size_t count, void *ctx)
{
    webhook *w = ctx;
    (void)data;
    w->received += size * count;
    return w->received > 65536 ? 0 : size * count;
}

static int watch(void *ctx, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    (void)a, (void)b, (void)c, (void)d;
    return sv_sink_late(ctx);
}

/* Training jobs, which are other programs, do not inherit the connection. */
static int keep_to_itself(void *ctx, curl_socket_t socket, curlsocktype purpose)
{
    (void)ctx;
    (void)purpose;
    (void)fcntl(socket, F_SETFD, FD_CLOEXEC);
    return CURL_SOCKOPT_OK;
}

/* 1: delivered, 0: worth another try, -1: it will not do. */
static int post(webhook *w, sv_sink *sink, const char *line, size_t length)
{
    long status = 0;
    w->received = 0;
    (void)curl_easy_setopt(w->curl, CURLOPT_XFERINFODATA, sink);
    (void)curl_easy_setopt(w->curl, CURLOPT_POSTFIELDS, line);
    (void)curl_easy_setopt(w->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)length);
    const CURLcode code = curl_easy_perform(w->curl);
    (void)curl_easy_getinfo(w->curl, CURLINFO_RESPONSE_CODE, &status);
    if ((code == CURLE_OK || code == CURLE_WRITE_ERROR) && status >= 200 && status < 300) return 1;
    if (code != CURLE_OK && code != CURLE_WRITE_ERROR) {
        sv_sink_reason(sink, "%s: %s", w->host, curl_easy_strerror(code));
        return code == CURLE_ABORTED_BY_CALLBACK ? -1 : 0;
    }
    sv_sink_reason(sink, "%s: answers %ld", w->host, status);
    return status >= 500 || status == 408 || status == 429 ? 0 : -1;
}

static size_t deliver(void *ctx, sv_sink *sink, const sv_event *events, size_t count)
{
    char line[SV_LINE];
    size_t delivered = 0;
    for (size_t i = 0; i < count; i++) {
        const size_t length = sv_event_line(&events[i], line);
        double pause = first_pause;
        int answer = length > 0 ? 0 : -1;
        for (int tries = 0; answer == 0 && tries < TRIES; tries++) {
            if (tries > 0) {
                if (!sv_sink_wait(sink, pause)) break;
                pause *= 2;
            }
            answer = post(ctx, sink, line, length - 1); /* without the newline */
        }
        delivered += answer > 0;
    }
    return delivered;
}

/* http and https only, and nothing is followed. Sets *host. */
static cz_status check(const char *url, char **host)
{
    char *scheme = NULL;
    CURLU *parts = curl_url();
    if (parts == NULL) return sv_fail(CZ_E_MEMORY, "webhook: out of memory");
    const bool parsed = curl_url_set(parts, CURLUPART_URL, url, 0) == CURLUE_OK &&
                        curl_url_get(parts, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
                        curl_url_get(parts, CURLUPART_HOST, host, 0) == CURLUE_OK;
    const bool good = parsed && (strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0) && (*host)[0] != '\0';
    curl_free(scheme);
    curl_url_cleanup(parts);
    return good ? CZ_OK : sv_fail(CZ_E_ARG, "webhook: the address must be http://HOST… or https://HOST…");
}

static bool configure(webhook *w, const char *url)
{
    CURL *c = w->curl;
    struct curl_slist *more = curl_slist_append(w->headers, "Content-Type: application/json");
    if (more != NULL) w->headers = more;
    struct curl_slist *last = more == NULL ? NULL : curl_slist_append(w->headers, "Expect:");
    if (c == NULL || last == NULL) return false;
    w->headers = last;
    int bad = curl_easy_setopt(c, CURLOPT_URL, url) != CURLE_OK;
#if LIBCURL_VERSION_NUM >= 0x075500
    bad |= curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https") != CURLE_OK;
#else
    bad |= curl_easy_setopt(c, CURLOPT_PROTOCOLS, CURLPROTO_HTTP | CURLPROTO_HTTPS) != CURLE_OK;
#endif
    bad |= curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L) != CURLE_OK;
    bad |= curl_easy_setopt(c, CURLOPT_SOCKOPTFUNCTION, keep_to_itself) != CURLE_OK;
    bad |= curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L) != CURLE_OK;
    bad |= curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, 5000L) != CURLE_OK;
    bad |= curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, 5000L) != CURLE_OK;
    bad |= curl_easy_setopt(c, CURLOPT_POST, 1L) != CURLE_OK;
    bad |= curl_easy_setopt(c, CURLOPT_HTTPHEADER, w->headers) != CURLE_OK;
    bad |= curl_easy_setopt(c, CURLOPT_USERAGENT, "cozad") != CURLE_OK;
    bad |= curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, discard) != CURLE_OK;
    bad |= curl_easy_setopt(c, CURLOPT_WRITEDATA, w) != CURLE_OK;
    bad |= curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L) != CURLE_OK;
    bad |= curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, watch) != CURLE_OK;
    return !bad;
}

cz_status sv_webhook_open(const char *url, bool anomalies_only, sv_sink **out)
{
    static const sv_sink_kind kind = {
        .name = "webhook", .capacity = 1024, .batch = 1, .deliver = deliver, .release = release};
    (void)pthread_once(&once, init_curl);
    if (global != CURLE_OK) return sv_fail(CZ_E_INTERNAL, "webhook: libcurl cannot be used");
    webhook *w = calloc(1, sizeof *w);
    if (w == NULL) return sv_fail(CZ_E_MEMORY, "webhook: out of memory");
    const cz_status status = check(url, &w->host);
    if (status == CZ_OK) {
        w->curl = curl_easy_init();
        if (configure(w, url)) return sv_sink_start(&kind, w, anomalies_only, out);
        (void)sv_fail(CZ_E_INTERNAL, "webhook: libcurl cannot be set up");
    }
    release(w);
    return status == CZ_OK ? CZ_E_INTERNAL : status;
}
