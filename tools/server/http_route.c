/* SPDX-License-Identifier: Apache-2.0 */
/* Paths, and which handler one belongs to. */
#include "http_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool http_utf8(const char *text)
{
    for (const unsigned char *s = (const unsigned char *)text; *s != '\0';) {
        size_t more;
        if (*s < 0x80) {
            more = 0;
        } else if (*s >= 0xC2 && *s < 0xE0) {
            more = 1;
        } else if (*s >= 0xE0 && *s < 0xF0) {
            more = 2;
            if ((s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xED && s[1] > 0x9F)) return false; /* overlong, surrogates */
        } else if (*s >= 0xF0 && *s < 0xF5) {
            more = 3;
            if ((s[0] == 0xF0 && s[1] < 0x90) || (s[0] == 0xF4 && s[1] > 0x8F)) return false;
        } else {
            return false;
        }
        for (s++; more > 0; more--, s++) {
            if ((*s & 0xC0) != 0x80) return false;
        }
    }
    return true;
}

static int hex(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool http_decode(char *text)
{
    char *out = text;
    for (const char *in = text; *in != '\0'; in++) {
        if (*in != '%') {
            *out++ = *in;
            continue;
        }
        const int high = hex(in[1]), low = high < 0 ? -1 : hex(in[2]);
        if (low < 0 || high * 16 + low == 0) return false;
        *out++ = (char)(high * 16 + low);
        in += 2;
    }
    *out = '\0';
    return http_utf8(text);
}

static bool segment_ok(const char *s)
{
    if (strcmp(s, ".") == 0 || strcmp(s, "..") == 0) return false;
    for (; *s != '\0'; s++) {
        const unsigned char c = (unsigned char)*s;
        if (c < 0x20 || c == 0x7F || c == '/' || c == '\\') return false;
    }
    return true;
}

bool http_path_split(const char *raw, http_path *out)
{
    const size_t length = strlen(raw);
    out->count = 0;
    if (raw[0] != '/' || length > HTTP_PATH) return false;
    memcpy(out->text, raw + 1, length);
    if (length == 1) return true;
    char *rest = out->text;
    while (rest != NULL) {
        char *slash = strchr(rest, '/');
        if (slash != NULL) *slash = '\0';
        if (out->count == HTTP_SEGMENTS || !http_decode(rest) || !segment_ok(rest)) return false;
        out->segments[out->count++] = rest;
        rest = slash != NULL ? slash + 1 : NULL;
    }
    return true;
}

/* ---- routes ------------------------------------------------------------------------------------------------------- */

static cz_status add_route(sv_http *h, const char *const texts[3], bool public, sv_handler handler, void *ctx)
{
    http_route *route = calloc(1, sizeof *route);
    if (route == NULL) return sv_fail(CZ_E_MEMORY, "out of memory");
    route->method = strdup(texts[0]);
    route->pattern = strdup(texts[1]);
    route->name = strdup(texts[2]);
    route->handler = handler;
    route->ctx = ctx;
    route->public = public;
    const bool memory = route->method != NULL && route->pattern != NULL && route->name != NULL;
    *h->last_route = route; /* sv_http_free frees it, whole or not */
    h->last_route = &route->next;
    if (!memory) return sv_fail(CZ_E_MEMORY, "out of memory");
    if (!http_path_split(route->pattern, &route->split))
        return sv_fail(CZ_E_INTERNAL, "the pattern %s is no path", route->pattern);
    return CZ_OK;
}

cz_status sv_http_route(sv_http *h, const char *method, const char *pattern, const char *name, sv_handler handler,
                        void *ctx)
{
    const char *const texts[3] = {method, pattern, name};
    return add_route(h, texts, strcmp(pattern, "/v2/health/live") == 0, handler, ctx);
}

cz_status sv_http_route_public(sv_http *h, const char *method, const char *pattern, const char *name,
                               sv_handler handler, void *ctx)
{
    const char *const texts[3] = {method, pattern, name};
    return add_route(h, texts, true, handler, ctx);
}

void http_routes_free(sv_http *h)
{
    while (h->routes != NULL) {
        http_route *next = h->routes->next;
        free(h->routes->method);
        free(h->routes->pattern);
        free(h->routes->name);
        free(h->routes);
        h->routes = next;
    }
    h->last_route = &h->routes;
}

static bool fits(const http_route *route, sv_request *r)
{
    const http_path *path = &r->path;
    if (route->split.count != path->count) return false;
    r->arg_count = 0;
    for (size_t i = 0; i < path->count; i++) {
        if (strcmp(route->split.segments[i], "{}") == 0) {
            if (path->segments[i][0] == '\0') return false;
            r->args[r->arg_count++] = path->segments[i];
        } else if (strcmp(route->split.segments[i], path->segments[i]) != 0) {
            return false;
        }
    }
    return true;
}

static void add_method(char allow[64], const char *method)
{
    const size_t n = strlen(allow);
    if (strstr(allow, method) == NULL) (void)snprintf(allow + n, 64 - n, "%s%s", n > 0 ? ", " : "", method);
}

void http_route_find(sv_http *h, sv_request *r)
{
    r->allow[0] = '\0';
    for (const http_route *route = h->routes; route != NULL; route = route->next) {
        if (!fits(route, r)) continue;
        const bool get = strcmp(route->method, "GET") == 0;
        if (strcmp(r->method, route->method) == 0 || (get && strcmp(r->method, "HEAD") == 0)) {
            r->route = route;
            return;
        }
        add_method(r->allow, route->method);
        if (get) add_method(r->allow, "HEAD");
    }
    if (r->allow[0] == '\0') {
        http_refuse(r, 404, "there is nothing at this path");
    } else if (strcmp(r->method, "OPTIONS") == 0) {
        http_refuse(r, 204, "%s", "");
    } else {
        http_refuse(r, 405, "this path takes %s", r->allow);
    }
}
