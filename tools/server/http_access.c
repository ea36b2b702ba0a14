/* SPDX-License-Identifier: Apache-2.0 */
/* Who may ask. A page of another site can reach a server on the reader's own machine, by its name (DNS rebinding) or by sending forms:
 * hence the checks of Host, Origin and the page's token. */
#include "http_internal.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SHORTEST_TOKEN = 16, LONGEST_TOKEN = 1024 };

bool http_same(const char *secret, const char *text)
{
    const size_t length = strlen(text), wanted = strlen(secret);
    volatile unsigned char difference = length != wanted;
    for (size_t i = 0; i < length; i++) {
        difference =
            (unsigned char)(difference | ((unsigned char)text[i] ^ (unsigned char)secret[wanted > 0 ? i % wanted : 0]));
    }
    return difference == 0;
}

static bool random_text(char out[65])
{
    unsigned char bytes[32];
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes) return false;
    for (size_t i = 0; i < sizeof bytes; i++) (void)snprintf(out + 2 * i, 3, "%02x", bytes[i]);
    return true;
}

static cz_status read_token(const char *path, char **out)
{
    char text[LONGEST_TOKEN + 64];
    struct stat info;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return sv_fail(CZ_E_ARG, "%s: cannot open: %s", path, strerror(errno));
    const bool known = fstat(fd, &info) == 0;
    const ssize_t size = known ? read(fd, text, sizeof text - 1) : -1;
    const int reason = errno;
    (void)close(fd);
    if (size < 0) return sv_fail(CZ_E_ARG, "%s: cannot read: %s", path, strerror(reason));
    if ((info.st_mode & S_IROTH) != 0)
        return sv_fail(CZ_E_ARG, "%s: every user can read the token; chmod 600 it", path);
    if (size == (ssize_t)sizeof text - 1 || memchr(text, '\0', (size_t)size) != NULL)
        return sv_fail(CZ_E_ARG, "%s: holds more than a token", path);
    text[size] = '\0';
    char *first = text;
    while (isspace((unsigned char)*first)) first++;
    char *end = first + strlen(first);
    while (end > first && isspace((unsigned char)end[-1])) *--end = '\0';
    for (const char *c = first; *c != '\0'; c++) {
        if (*c <= ' ' || *c > '~')
            return sv_fail(CZ_E_ARG, "%s: a token is one word of printable ASCII characters", path);
    }
    if (strlen(first) < SHORTEST_TOKEN || strlen(first) > LONGEST_TOKEN)
        return sv_fail(CZ_E_ARG, "%s: a token has %d to %d characters", path, SHORTEST_TOKEN, LONGEST_TOKEN);
    *out = strdup(first);
    explicit_bzero(text, sizeof text);
    return *out != NULL ? CZ_OK : sv_fail(CZ_E_MEMORY, "out of memory");
}

cz_status http_access_open(sv_http *h)
{
    const char *file = h->settings->auth_token_file;
    if (!random_text(h->page_token) || !random_text(h->cookie))
        return sv_fail(CZ_E_IO, "random numbers: %s", strerror(errno));
    return file != NULL && file[0] != '\0' ? read_token(file, &h->auth) : CZ_OK;
}

void http_access_close(sv_http *h)
{
    if (h->auth != NULL) explicit_bzero(h->auth, strlen(h->auth));
    free(h->auth);
    h->auth = NULL;
}

/* ---- what a request says of itself -------------------------------------------------------------------------------- */

static size_t header_times(const sv_request *r, const char *name)
{
    size_t n = 0;
    for (size_t i = 0; i < r->header_count; i++) n += strcasecmp(r->headers[i].name, name) == 0;
    return n;
}

/* The host of "host:port", "[v6]:port" or "host", without brackets; false: neither. */
static bool host_of(const char *value, char out[256])
{
    const char *end;
    if (*value == '[') {
        end = strchr(++value, ']');
        if (end == NULL || (end[1] != '\0' && end[1] != ':')) return false;
    } else {
        end = value + strcspn(value, ":");
    }
    const char *port = *end == ']' ? end + 1 : end;
    if (*port == ':' && port[1 + strspn(port + 1, "0123456789")] != '\0') return false;
    const size_t length = (size_t)(end - value);
    if (length == 0 || length > 255) return false;
    memcpy(out, value, length);
    out[length] = '\0';
    if (length > 1 && out[length - 1] == '.') out[length - 1] = '\0'; /* a name with its root */
    return true;
}

static bool is_allowed_name(const sv_http *h, const char *host)
{
    for (size_t i = 0; i < h->settings->allow_host_count; i++) {
        if (strcasecmp(h->settings->allow_hosts[i], host) == 0) return true;
    }
    return false;
}

/* Where the server is bound to all addresses, the one that was connected to is its own. */
static bool is_own_address(const sv_request *r, const char *host)
{
    struct sockaddr_storage address;
    socklen_t size = sizeof address;
    char text[64];
    if (strcasecmp(host, r->http->host) == 0) return true;
    if (getsockname(r->peer->fd, (struct sockaddr *)&address, &size) != 0) return false;
    http_address_text((const struct sockaddr *)&address, text, sizeof text);
    return strcasecmp(text, host) == 0;
}

static bool origin_ok(const sv_http *h, const char *origin, const char *host_value, const char *host)
{
    const char *scheme = h->settings->tls_cert != NULL ? "https://" : "http://";
    const size_t n = strlen(scheme);
    if (strncasecmp(origin, scheme, n) == 0) return strcasecmp(origin + n, host_value) == 0;
    /* A proxy in front may speak TLS where this server does not. */
    if (strncasecmp(origin, "https://", 8) != 0) return false;
    return is_allowed_name(h, host) && strcasecmp(origin + 8, host_value) == 0;
}

/* The value of the server's own cookie equals its secret. */
static bool has_cookie(const sv_http *h, const sv_request *r)
{
    const size_t n = strlen(h->cookie_name);
    for (size_t i = 0; i < r->header_count; i++) {
        if (strcasecmp(r->headers[i].name, "Cookie") != 0) continue;
        const char *rest = r->headers[i].value;
        while (*rest != '\0') {
            rest += strspn(rest, "; \t");
            const size_t length = strcspn(rest, ";");
            char value[65];
            if (length == n + 1 + 64 && strncmp(rest, h->cookie_name, n) == 0 && rest[n] == '=') {
                memcpy(value, rest + n + 1, 64);
                value[64] = '\0';
                if (http_same(h->cookie, value)) return true;
            }
            rest += length;
        }
    }
    return false;
}

static bool has_token(const sv_http *h, const sv_request *r)
{
    const char *value = sv_request_header(r, "Authorization");
    if (value == NULL || strncasecmp(value, "Bearer ", 7) != 0) return false;
    value += 7;
    while (*value == ' ') value++;
    return http_same(h->auth, value);
}

static bool refuse_page(sv_request *r, const char *reason)
{
    http_refuse(r, 403, "%s", reason);
    return false;
}

/* False: refused. */
static bool check_browser(const sv_http *h, sv_request *r, const char *host_value, const char *host)
{
    static const char foreign[] = "requests of other sites' pages are refused";
    const char *origin = sv_request_header(r, "Origin"), *site = sv_request_header(r, "Sec-Fetch-Site");
    const char *token = sv_request_header(r, "X-CoZAD-Token");
    const bool own_site = site == NULL || strcmp(site, "same-origin") == 0 || strcmp(site, "none") == 0;
    const bool reads =
        strcmp(r->method, "GET") == 0 || strcmp(r->method, "HEAD") == 0 || strcmp(r->method, "OPTIONS") == 0;
    if (origin != NULL && (header_times(r, "Origin") > 1 || !origin_ok(h, origin, host_value, host)))
        return refuse_page(r, foreign);
    if (reads) return own_site || strcmp(r->raw_path, "/api/session") != 0 || refuse_page(r, foreign);
    if (!own_site) return refuse_page(r, foreign);
    if (origin == NULL && site == NULL) return true;         /* no browser */
    if (strcmp(r->raw_path, "/api/login") == 0) return true; /* before it there is no token */
    if (token != NULL && http_same(h->page_token, token)) return true;
    return refuse_page(r, "the header X-CoZAD-Token is missing or of an earlier start: load the page again");
}

void http_access_check(sv_http *h, sv_request *r)
{
    const char *value = sv_request_header(r, "Host");
    char host[256];
    if (value == NULL || header_times(r, "Host") > 1 || !host_of(value, host)) {
        http_refuse(r, 400, "needs one header Host");
        return;
    }
    if (!http_loopback_name(host) && !is_allowed_name(h, host) && !is_own_address(r, host)) {
        http_refuse(r, 421, "this server is not called so (Host; see cozad serve --allow-host)");
        return;
    }
    if (!check_browser(h, r, value, host)) return;
    r->authorised = h->auth == NULL || has_token(h, r) || has_cookie(h, r);
    if (!r->authorised && (r->route == NULL || !r->route->public))
        http_refuse(r, 401, "needs the access token (Authorization: Bearer TOKEN)");
}

/* ---- the page's session ------------------------------------------------------------------------------------------- */

static void answer_session(void *ctx, sv_request *r)
{
    const sv_http *h = ctx;
    sv_answer_json(
        r, 200, json_pack("{s:s, s:b, s:s}", "token", h->page_token, "auth", h->auth != NULL, "version", cz_version()));
}

static void answer_login(void *ctx, sv_request *r)
{
    const sv_http *h = ctx;
    size_t size;
    const unsigned char *body = sv_request_body(r, &size);
    char cookie[256];
    if (h->auth == NULL) {
        sv_answer_error(r, 404, "this server needs no token");
        return;
    }
    json_t *json = json_loadb(body != NULL ? (const char *)body : "", size, JSON_REJECT_DUPLICATES, NULL);
    const char *token = json_string_value(json_object_get(json, "token"));
    const bool right = token != NULL && http_same(h->auth, token);
    if (token == NULL) {
        sv_answer_error(r, 400, "wants JSON: {\"token\": \"...\"}");
    } else if (!right) {
        sv_log(SV_WARN, "login refused", "client", "%s", sv_request_client(r), NULL);
        sv_answer_error(r, 401, "this token is not the right one");
    } else {
        (void)snprintf(cookie, sizeof cookie, "%s=%s; HttpOnly; SameSite=Strict; Path=/%s", h->cookie_name, h->cookie,
                       h->settings->tls_cert != NULL ? "; Secure" : "");
        sv_answer_header(r, "Set-Cookie", cookie);
        sv_answer_json(r, 200, json_pack("{s:b}", "ok", 1));
    }
    json_decref(json);
}

cz_status http_access_routes(sv_http *h)
{
    /* Cookies do not tell ports apart: two servers on one machine would take each other's away. */
    (void)snprintf(h->cookie_name, sizeof h->cookie_name, "cozad_session_%u", h->port);
    cz_status status = sv_http_route(h, "GET", "/api/session", "session", answer_session, h);
    if (status == CZ_OK) status = sv_http_route_public(h, "POST", "/api/login", "login", answer_login, h);
    return status;
}
