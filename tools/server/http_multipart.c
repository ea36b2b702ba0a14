/* SPDX-License-Identifier: Apache-2.0 */
/* multipart/form-data (RFC 7578, RFC 2046). Only bodies that are well-formed to their end are taken apart. */
#include "http_internal.h"

#include <stdio.h>
#include <string.h>

enum { LONGEST_BOUNDARY = 70, LONGEST_HEAD = 16384, FILENAME = 256, MOST_PARTS = 1024 };

typedef struct span {
    const char *text;
    size_t size;
} span;

static void skip_blanks(span *s)
{
    while (s->size > 0 && (*s->text == ' ' || *s->text == '\t')) {
        s->text++;
        s->size--;
    }
}

static span take_until(span *s, const char *stops)
{
    span out = {s->text, 0};
    while (s->size > 0 && strchr(stops, *s->text) == NULL) { /* a zero byte ends it too: `stops` ends with one */
        out.size++;
        s->text++;
        s->size--;
    }
    return out;
}

static bool same(span a, const char *b)
{
    return a.size == strlen(b) && strncasecmp(a.text, b, a.size) == 0;
}

/* The text between quotes; \" and \\ are escapes, other backslashes stand for themselves (paths of old browsers). */
static bool take_quoted(span *s, char *out, size_t room)
{
    size_t n = 0;
    for (s->text++, s->size--; s->size > 0; s->text++, s->size--) {
        if (*s->text == '"') {
            s->text++;
            s->size--;
            out[n] = '\0';
            return true;
        }
        if (*s->text == '\\' && s->size > 1 && (s->text[1] == '"' || s->text[1] == '\\')) {
            s->text++;
            s->size--;
        }
        if ((unsigned char)*s->text < 0x20 || *s->text == 0x7F || n + 1 == room) return false;
        out[n++] = *s->text;
    }
    return false;
}

/* Goes over "; name=value; name="value"": false at the end or where it is malformed (*bad). */
static bool next_parameter(span *s, span *name, char *value, size_t room, bool *bad)
{
    skip_blanks(s);
    if (s->size == 0) return false;
    *bad = true;
    if (*s->text != ';') return false;
    s->text++;
    s->size--;
    skip_blanks(s);
    *bad = s->size > 0;
    if (s->size == 0) return false; /* a semicolon at the end */
    *name = take_until(s, "=; \t\"");
    if (name->size == 0 || s->size == 0 || *s->text != '=') return false;
    s->text++;
    s->size--;
    if (s->size > 0 && *s->text == '"') {
        *bad = !take_quoted(s, value, room);
    } else {
        const span token = take_until(s, "; \t\"");
        *bad = token.size == 0 || token.size >= room;
        if (!*bad) {
            memcpy(value, token.text, token.size);
            value[token.size] = '\0';
        }
    }
    return !*bad;
}

static bool find_boundary(const char *type, char out[LONGEST_BOUNDARY + 1])
{
    span rest = {type, strlen(type)}, name;
    char value[256];
    bool bad = false, found = false;
    skip_blanks(&rest);
    if (!same(take_until(&rest, "; \t"), "multipart/form-data")) return false;
    while (next_parameter(&rest, &name, value, sizeof value, &bad)) {
        if (!same(name, "boundary")) continue;
        const size_t length = strlen(value);
        if (found || length == 0 || length > LONGEST_BOUNDARY) return false;
        memcpy(out, value, length + 1);
        found = true;
    }
    return found && !bad;
}

/* ---- one part ----------------------------------------------------------------------------------------------------- */

typedef struct head {
    bool named, filed;
    char name[FILENAME], filename[FILENAME];
} head;

/* Only the last component, as text: whatever a client calls its folders is none of ours. */
static void clean_filename(char *name)
{
    const char *last = name;
    for (const char *c = name; *c != '\0'; c++) {
        if (*c == '/' || *c == '\\') last = c + 1;
    }
    memmove(name, last, strlen(last) + 1);
    if (http_utf8(name)) return;
    for (char *c = name; *c != '\0'; c++) {
        if ((unsigned char)*c >= 0x80) *c = '?';
    }
}

static bool read_disposition(span line, head *h)
{
    span name;
    char value[FILENAME];
    bool bad = false;
    skip_blanks(&line);
    if (!same(take_until(&line, "; \t"), "form-data")) return false;
    while (next_parameter(&line, &name, value, sizeof value, &bad)) {
        if (same(name, "name") && !h->named) {
            memcpy(h->name, value, sizeof value);
            h->named = true;
        } else if (same(name, "filename") && !h->filed) {
            memcpy(h->filename, value, sizeof value);
            clean_filename(h->filename);
            h->filed = true;
        }
    }
    return !bad;
}

/* `text`: header lines with their ends, without the empty one. */
static bool read_head(span text, head *h)
{
    memset(h, 0, sizeof *h);
    while (text.size > 0) {
        const char *end = memmem(text.text, text.size, "\r\n", 2);
        if (end == NULL) return false;
        span line = {text.text, (size_t)(end - text.text)};
        text.size -= line.size + 2;
        text.text = end + 2;
        const span name = take_until(&line, ":");
        if (name.size == 0 || line.size == 0 || *line.text != ':') return false;
        line.text++;
        line.size--;
        if (same(name, "Content-Disposition") && !read_disposition(line, h)) return false;
    }
    return h->named;
}

/* Behind a boundary: 1 a part follows (*rest is moved to its head), 0 the last one was before, -1 malformed. */
static int boundary_end(span *rest)
{
    if (rest->size >= 2 && memcmp(rest->text, "--", 2) == 0) return 0;
    skip_blanks(rest);
    if (rest->size < 2 || memcmp(rest->text, "\r\n", 2) != 0) return -1;
    rest->text += 2;
    rest->size -= 2;
    return 1;
}

/* The next part of *rest, which begins with its head; moves on behind the boundary that ends it. */
static bool next_part(span *rest, const char *delimiter, head *h, span *content)
{
    span lines = {rest->text, 0};
    if (rest->size < 2 || memcmp(rest->text, "\r\n", 2) == 0) return false; /* no head: no name */
    const size_t most = rest->size < LONGEST_HEAD ? rest->size : LONGEST_HEAD;
    const char *end = memmem(rest->text, most, "\r\n\r\n", 4);
    if (end == NULL) return false;
    lines.size = (size_t)(end - rest->text) + 2;
    if (!read_head(lines, h)) return false;
    /* The empty line's end may be the beginning of the delimiter: an empty part. */
    span body = {end + 2, rest->size - lines.size};
    const size_t length = strlen(delimiter);
    const char *stop = memmem(body.text, body.size, delimiter, length);
    if (stop == NULL) return false;
    content->text = body.text + 2;
    content->size = stop == body.text ? 0 : (size_t)(stop - content->text);
    const size_t used = (size_t)(stop - body.text) + length;
    *rest = (span){body.text + used, body.size - used};
    return true;
}

bool sv_multipart_find(const char *type, const unsigned char *body, size_t size, const char *name,
                       const unsigned char **part, size_t *part_size, char filename[256])
{
    char delimiter[LONGEST_BOUNDARY + 5] = "\r\n--";
    span rest = {(const char *)body, size}, content;
    bool found = false;
    int more;
    head h;
    if (type == NULL || body == NULL || !find_boundary(type, delimiter + 4)) return false;
    /* The first delimiter has no line before it, or a preamble. */
    const size_t length = strlen(delimiter);
    size_t used = length - 2;
    if (size < used || memcmp(body, delimiter + 2, used) != 0) {
        const char *first = memmem(body, size, delimiter, length);
        if (first == NULL) return false;
        used = (size_t)(first - rest.text) + length;
    }
    rest = (span){rest.text + used, size - used};
    for (size_t i = 0; (more = boundary_end(&rest)) == 1; i++) {
        if (i == MOST_PARTS || !next_part(&rest, delimiter, &h, &content)) return false;
        if (found || !(name != NULL ? strcmp(h.name, name) == 0 : h.filed)) continue;
        found = true;
        *part = (const unsigned char *)content.text;
        *part_size = content.size;
        memcpy(filename, h.filename, FILENAME);
    }
    return more == 0 && found;
}
