/* SPDX-License-Identifier: Apache-2.0 */
#include "log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* A line is one write of at most this: pipes pass it on as a whole. */
enum { LINE = 4096, VALUE = 1024 };

static atomic_bool as_json;
static atomic_int lowest_level = SV_INFO;

typedef struct line {
    char text[LINE];
    size_t length;
} line;

void sv_log_setup(bool json, sv_level lowest)
{
    atomic_store(&as_json, json);
    atomic_store(&lowest_level, (int)lowest);
}

/* What does not fit is left out as a whole; the last 2 bytes are for the end of the line. */
static bool put(line *l, const char *text, size_t length)
{
    if (length > sizeof l->text - 2 - l->length) return false;
    memcpy(l->text + l->length, text, length);
    l->length += length;
    return true;
}

static bool put_text(line *l, const char *text)
{
    return put(l, text, strlen(text));
}

/* Length of the UTF-8 character at `s`, 0 where there is none. */
static size_t character(const unsigned char *s)
{
    if (s[0] < 0x80) return 1;
    const size_t length = s[0] >= 0xC2 && s[0] < 0xE0   ? 2
                          : s[0] >= 0xE0 && s[0] < 0xF0 ? 3
                          : s[0] >= 0xF0 && s[0] < 0xF5 ? 4
                                                        : 0;
    for (size_t i = 1; i < length; i++) {
        if ((s[i] & 0xC0) != 0x80) return 0;
    }
    if ((s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xED && s[1] > 0x9F)) return 0;
    if ((s[0] == 0xF0 && s[1] < 0x90) || (s[0] == 0xF4 && s[1] > 0x8F)) return 0;
    return length;
}

/* In quotes, with JSON's escapes; bytes that are no UTF-8 become '?'. The control characters of ISO 6429 beyond ASCII are escaped too:
 * terminals obey them. */
static void put_quoted(line *l, const char *value)
{
    char out[6 * VALUE + 8];
    size_t n = 0;
    out[n++] = '"';
    for (const unsigned char *s = (const unsigned char *)value; *s != '\0';) {
        const size_t length = character(s);
        if (length == 0) {
            out[n++] = '?';
        } else if (*s == '"' || *s == '\\') {
            out[n++] = '\\';
            out[n++] = (char)*s;
        } else if (*s < 0x20 || *s == 0x7F || (s[0] == 0xC2 && s[1] < 0xA0)) {
            n += (size_t)snprintf(out + n, 7, "\\u%04x", length == 2 ? s[1] : *s);
        } else {
            memcpy(out + n, s, length);
            n += length;
        }
        s += length == 0 ? 1 : length;
    }
    out[n++] = '"';
    if (!put(l, out, n)) (void)put_text(l, "\"...\"");
}

static bool is_plain(const char *value)
{
    if (*value == '\0') return false;
    for (; *value != '\0'; value++) {
        if (*value <= ' ' || *value == '"' || *value == '=' || *value == '\\' || *value >= 0x7F) return false;
    }
    return true;
}

/* One value of the list as text; true: it is a number. */
static bool next_value(const char *format, va_list *list, char out[VALUE])
{
    const size_t length = strlen(format);
    const char kind = length > 0 ? format[length - 1] : 's';
    const bool is_long = length > 1 && format[length - 2] == 'l', is_size = length > 1 && format[length - 2] == 'z';
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    if (kind == 's') {
        const char *text = va_arg(*list, const char *);
        (void)snprintf(out, VALUE, format, text != NULL ? text : "");
    } else if (kind == 'f' || kind == 'g' || kind == 'e') {
        (void)snprintf(out, VALUE, format, va_arg(*list, double));
    } else if (is_long) {
        (void)snprintf(out, VALUE, format, va_arg(*list, unsigned long));
    } else if (is_size) {
        (void)snprintf(out, VALUE, format, va_arg(*list, size_t));
    } else {
        (void)snprintf(out, VALUE, format, va_arg(*list, int));
    }
#pragma GCC diagnostic pop
    return kind != 's' && strspn(out, "+-0123456789.e") == strlen(out); /* neither nan nor inf */
}

void sv_log(sv_level level, const char *event, ...)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    if ((int)level < atomic_load(&lowest_level) || level > SV_ERROR) return;
    const bool json = atomic_load(&as_json);
    line l;
    char time[32], value[VALUE];
    l.length = 0;
    (void)put_text(&l, json ? "{\"time\": \"" : "");
    (void)put_text(&l, sv_time_text(sv_wall(), time));
    (void)put_text(&l, json ? "\", \"level\": \"" : " ");
    (void)put_text(&l, names[level]);
    (void)put_text(&l, json ? "\", \"event\": " : " ");
    if (json) {
        put_quoted(&l, event);
    } else {
        (void)put_text(&l, event);
    }
    va_list list;
    va_start(list, event);
    for (const char *key; (key = va_arg(list, const char *)) != NULL;) {
        const bool number = next_value(va_arg(list, const char *), &list, value);
        const size_t before = l.length;
        const bool fits = put_text(&l, json ? ", \"" : " ") && put_text(&l, key) && put_text(&l, json ? "\": " : "=");
        if (!fits || l.length + strlen(value) + 8 > sizeof l.text) {
            l.length = before; /* half a pair would be no JSON */
        } else if (json ? number : is_plain(value)) {
            (void)put_text(&l, value);
        } else {
            put_quoted(&l, value);
        }
    }
    va_end(list);
    if (json) l.text[l.length++] = '}';
    l.text[l.length++] = '\n';
    /* Nothing can be done about a log that cannot be written. */
    if (write(STDERR_FILENO, l.text, l.length) < 0) return;
}
