/* SPDX-License-Identifier: Apache-2.0 */
/* The large part of a JSON request, "data", read without making a JSON value of each number. */
#include "oip_internal.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_JSON = 1 << 20 };

/* ---- finding it --------------------------------------------------------------------------------------------------- */

typedef struct skim {
    const unsigned char *in;
    size_t size, at;
    char *out; /* [size + 1], but at most MOST_JSON + 8: nothing longer is written */
    size_t out_size, room;
    size_t depth;
    size_t key, key_size;     /* the last string */
    bool inputs_next, inside; /* "inputs": was read; in that array */
    size_t input;
    oip_span *data;
} skim;

static void put(skim *s, const void *bytes, size_t count)
{
    if (count <= s->room - s->out_size) memcpy(s->out + s->out_size, bytes, count);
    s->out_size = count <= s->room - s->out_size ? s->out_size + count : s->room;
}

/* Behind the string that begins at `at`. */
static size_t string_end(const skim *s, size_t at)
{
    for (at++; at < s->size; at++) {
        if (s->in[at] == '\\') {
            at++;
        } else if (s->in[at] == '"') {
            return at + 1;
        }
    }
    return s->size;
}

/* Behind the array that begins at `at`. */
static size_t array_end(const skim *s, size_t at)
{
    size_t depth = 0;
    while (at < s->size) {
        const unsigned char c = s->in[at];
        if (c == '"') {
            at = string_end(s, at);
            continue;
        }
        at++;
        if (c == '[') depth++;
        if (c == ']' && --depth == 0) return at;
    }
    return s->size;
}

static bool key_is(const skim *s, const char *name)
{
    return s->key_size == strlen(name) && memcmp(s->in + s->key, name, s->key_size) == 0;
}

static bool is_space(unsigned char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* At a colon. */
static cz_status colon(skim *s)
{
    put(s, ":", 1);
    s->at++;
    s->inputs_next = s->depth == 1 && key_is(s, "inputs");
    if (!s->inside || s->depth != 3 || !key_is(s, "data")) return CZ_OK;
    while (s->at < s->size && is_space(s->in[s->at])) s->at++;
    if (s->at == s->size || s->in[s->at] != '[') return CZ_OK;
    if (s->data->at != NULL) return sv_fail(CZ_E_FORMAT, "more than one \"data\": the model has one input, \"image\"");
    const size_t end = array_end(s, s->at);
    *s->data = (oip_span){s->in + s->at, end - s->at, s->input};
    s->at = end;
    put(s, "null", 4);
    return CZ_OK;
}

static void bracket(skim *s, unsigned char c)
{
    if (c == '[' || c == '{') {
        s->depth++;
        if (s->depth == 2 && s->inputs_next && c == '[') {
            s->inside = true;
            s->input = 0;
        }
        s->inputs_next = false;
    } else if (s->depth > 0) {
        if (s->depth == 2) s->inside = false;
        s->depth--;
    }
}

static cz_status step(skim *s)
{
    const unsigned char c = s->in[s->at];
    if (c == ':') return colon(s);
    if (c == '"') {
        const size_t end = string_end(s, s->at);
        s->key = s->at + 1;
        s->key_size = end - s->at >= 2 ? end - s->at - 2 : 0;
        put(s, s->in + s->at, end - s->at);
        s->at = end;
        return CZ_OK;
    }
    if (c == '[' || c == '{' || c == ']' || c == '}') bracket(s, c);
    if (c == ',' && s->inside && s->depth == 2) s->input++;
    put(s, &c, 1);
    s->at++;
    return CZ_OK;
}

cz_status oip_skim(const unsigned char *json, size_t size, char **text, size_t *text_size, oip_span *data)
{
    skim s = {.in = json, .size = size, .data = data};
    s.room = size < MOST_JSON ? size + 8 : (size_t)MOST_JSON + 8; /* "null" may be longer than "[]" */
    cz_status status = CZ_OK;
    *data = (oip_span){NULL, 0, 0};
    s.out = malloc(s.room);
    if (s.out == NULL) return sv_fail(CZ_E_MEMORY, "out of memory");
    while (s.at < size && status == CZ_OK && s.out_size <= MOST_JSON) status = step(&s);
    if (status == CZ_OK && s.out_size > MOST_JSON)
        status = sv_fail(CZ_E_LIMIT, "the request's JSON beside \"data\" is longer than 1 MiB");
    if (status != CZ_OK) {
        free(s.out);
        return status;
    }
    *text = s.out;
    *text_size = s.out_size;
    return CZ_OK;
}

/* ---- reading it --------------------------------------------------------------------------------------------------- */

typedef struct reader {
    const unsigned char *at, *end;
    size_t index; /* of the element */
    unsigned char *out;
    const unsigned char **files; /* NULL: pixels */
    size_t *sizes;
} reader;

static unsigned char peek(reader *r)
{
    while (r->at < r->end && is_space(*r->at)) r->at++;
    return r->at < r->end ? *r->at : 0;
}

static bool take(reader *r, unsigned char c)
{
    if (peek(r) != c) return false;
    r->at++;
    return true;
}

static cz_status bad_shape(void)
{
    return sv_fail(CZ_E_FORMAT, "data: an array, flat or nested, with exactly as many elements as \"shape\" says");
}

static cz_status read_pixel(reader *r)
{
    (void)peek(r);
    const unsigned char *first = r->at;
    unsigned value = 0;
    while (r->at < r->end && *r->at >= '0' && *r->at <= '9' && r->at - first < 4) value = value * 10 + *r->at++ - '0';
    const size_t digits = (size_t)(r->at - first);
    const unsigned char next = peek(r);
    if (digits == 0 || digits > 3 || value > 255 || (digits > 1 && *first == '0') || (next != ',' && next != ']'))
        return sv_fail(CZ_E_FORMAT, "data: element %zu is not a whole number from 0 to 255", r->index);
    *r->out++ = (unsigned char)value;
    return CZ_OK;
}

static int hex_digit(unsigned char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The next character of a JSON string of ASCII; -1 at its closing quote, -2 where there is none that base64 knows. Some writers
 * escape '/' and '+'. */
static int next_character(reader *r)
{
    if (r->at == r->end) return -2;
    const unsigned char c = *r->at++;
    if (c == '"') return -1;
    if (c != '\\') return c;
    if (r->at == r->end) return -2;
    if (*r->at == '/') return *r->at++;
    if (*r->at != 'u' || r->end - r->at < 5) return -2;
    int value = 0;
    for (int i = 1; i <= 4; i++) {
        const int digit = hex_digit(r->at[i]);
        if (digit < 0) return -2;
        value = value * 16 + digit;
    }
    r->at += 5;
    return value < 128 ? value : -2;
}

static int base64_value(int c)
{
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* RFC 4648, section 4, padded. `at` is behind the opening quote; ends behind the closing one. */
static bool read_base64(reader *r)
{
    unsigned bits = 0;
    size_t count = 0, padding = 0;
    int c;
    while ((c = next_character(r)) >= 0) {
        const int value = c == '=' ? 0 : base64_value(c);
        if (value < 0 || (padding > 0 && c != '=')) return false;
        padding += c == '=';
        bits = bits << 6 | (unsigned)value;
        if (++count % 4 != 0) continue;
        if (padding > 2) return false;
        for (size_t i = 0; i < 3 - padding; i++) *r->out++ = (unsigned char)(bits >> (16 - 8 * i));
    }
    return c == -1 && count % 4 == 0 && padding <= 2;
}

static cz_status read_file(reader *r)
{
    unsigned char *const first = r->out;
    const bool object = take(r, '{');
    bool good = take(r, '"');
    if (good && object) {
        good = r->end - r->at >= 4 && memcmp(r->at, "b64\"", 4) == 0;
        if (good) r->at += 4;
        good = good && take(r, ':') && take(r, '"');
    }
    good = good && read_base64(r) && (!object || take(r, '}'));
    if (!good) return sv_fail(CZ_E_FORMAT, "data: element %zu is not base64 in a string or {\"b64\": …}", r->index);
    r->files[r->index] = first;
    r->sizes[r->index] = (size_t)(r->out - first);
    if (r->out == first) return sv_fail(CZ_E_FORMAT, "data: element %zu is empty", r->index);
    return CZ_OK;
}

/* One level of an array: shape[0] times the next. */
static cz_status read_level(reader *r, const size_t *shape, size_t rank)
{
    if (!take(r, '[')) return bad_shape();
    for (size_t i = 0; i < shape[0]; i++) {
        cz_status status;
        if (i > 0 && !take(r, ',')) return bad_shape();
        if (rank > 1) {
            status = read_level(r, shape + 1, rank - 1);
        } else {
            const unsigned char next = peek(r);
            if (next == ']' || next == '[' || next == 0) return bad_shape();
            status = r->files != NULL ? read_file(r) : read_pixel(r);
            r->index++;
        }
        if (status != CZ_OK) return status;
    }
    return take(r, ']') ? CZ_OK : bad_shape();
}

static cz_status read_all(reader *r, const oip_tensor *tensor)
{
    reader look = *r;
    size_t count = 1;
    for (size_t i = 0; i < tensor->rank; i++) count *= tensor->shape[i]; /* checked by the caller */
    const bool nested = take(&look, '[') && peek(&look) == '[';
    const cz_status status = nested ? read_level(r, tensor->shape, tensor->rank) : read_level(r, &count, 1);
    if (status != CZ_OK) return status;
    return r->at == r->end ? CZ_OK : bad_shape();
}

cz_status oip_read_pixels(const oip_span *data, const oip_tensor *tensor, unsigned char *out)
{
    reader r = {.at = data->at, .end = data->at + data->size, .out = out};
    return read_all(&r, tensor);
}

cz_status oip_read_files(const oip_span *data, const oip_tensor *tensor, unsigned char *out,
                         const unsigned char **files, size_t *sizes)
{
    reader r = {.at = data->at, .end = data->at + data->size, .out = out, .files = files, .sizes = sizes};
    return read_all(&r, tensor);
}
