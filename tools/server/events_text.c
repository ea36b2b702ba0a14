/* SPDX-License-Identifier: Apache-2.0 */
/* One result as a record, a line of JSON and a row of CSV. */
#include "events_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Bytes of the character that begins at `s`, 0: not UTF-8 (RFC 3629: no overlong forms, no surrogates). Reads no further than a zero. */
static size_t character(const unsigned char *s)
{
    if (s[0] < 0x80) return 1;
    size_t more = 0;
    unsigned least = 0x80, most = 0xbf; /* of the second byte */
    if (s[0] >= 0xc2 && s[0] <= 0xdf) {
        more = 1;
    } else if (s[0] >= 0xe0 && s[0] <= 0xef) {
        more = 2;
        if (s[0] == 0xe0) least = 0xa0;
        if (s[0] == 0xed) most = 0x9f;
    } else if (s[0] >= 0xf0 && s[0] <= 0xf4) {
        more = 3;
        if (s[0] == 0xf0) least = 0x90;
        if (s[0] == 0xf4) most = 0x8f;
    } else {
        return 0;
    }
    if (s[1] < least || s[1] > most) return 0;
    for (size_t i = 2; i <= more; i++)
        if (s[i] < 0x80 || s[i] > 0xbf) return 0;
    return more + 1;
}

void sv_text_copy(char *out, size_t size, const char *text)
{
    const unsigned char *s = (const unsigned char *)(text == NULL ? "" : text);
    size_t used = 0;
    while (*s != 0) {
        const size_t length = character(s), put = length == 0 ? 3 : length;
        if (put >= size - used) break;
        memcpy(out + used, length == 0 ? "\xef\xbf\xbd" : (const char *)s, put);
        used += put;
        s += length == 0 ? 1 : length;
    }
    out[used] = '\0';
}

void sv_event_set(sv_event *e, const sv_scored *s)
{
    e->id = 0;
    e->wall = s->wall;
    sv_text_copy(e->model, sizeof e->model, s->model);
    sv_text_copy(e->version, sizeof e->version, s->version);
    sv_text_copy(e->name, sizeof e->name, s->name);
    sv_text_copy(e->client, sizeof e->client, s->client);
    sv_text_copy(e->route, sizeof e->route, s->route);
    e->score = s->outcome->score;
    e->p_value = s->outcome->p_value;
    e->threshold = s->outcome->threshold;
    e->decision = s->outcome->decision < 0 ? -1 : s->outcome->decision > 0;
}

static const char *decision_word(int decision)
{
    return decision < 0 ? NULL : decision == 0 ? "normal" : "anomalous";
}

static json_t *real(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

json_t *sv_event_json(const sv_event *e)
{
    char time[32];
    json_t *out = json_object();
    if (out == NULL) return NULL;
    int bad = 0;
    if (e->id != 0) bad |= json_object_set_new(out, "id", json_integer((json_int_t)e->id));
    bad |= json_object_set_new(out, "time", json_string(sv_time_text(e->wall, time)));
    bad |= json_object_set_new(out, "model", json_string(e->model));
    bad |= json_object_set_new(out, "version", json_string(e->version));
    bad |= json_object_set_new(out, "name", json_string(e->name));
    bad |= json_object_set_new(out, "score", real(e->score));
    bad |= json_object_set_new(out, "p_value", real(e->p_value));
    bad |= json_object_set_new(out, "threshold", real(e->threshold));
    const char *word = decision_word(e->decision);
    bad |= json_object_set_new(out, "decision", word == NULL ? json_null() : json_string(word));
    bad |= json_object_set_new(out, "client", json_string(e->client));
    bad |= json_object_set_new(out, "route", json_string(e->route));
    if (bad == 0) return out;
    json_decref(out);
    return NULL;
}

size_t sv_event_line(const sv_event *e, char line[SV_LINE])
{
    json_t *json = sv_event_json(e);
    if (json == NULL) return 0;
    const size_t length = json_dumpb(json, line, SV_LINE - 1, JSON_COMPACT | JSON_REAL_PRECISION(12));
    json_decref(json);
    if (length == 0 || length > SV_LINE - 1) return 0;
    line[length] = '\n';
    return length + 1;
}

/* ---- CSV (RFC 4180) ------------------------------------------------------------------------------------------------ */

void sv_event_csv_head(FILE *f)
{
    (void)fputs("id,time,model,version,name,score,p_value,threshold,decision,client,route\r\n", f);
}

/* Spreadsheets take a cell that begins so for a formula, also behind white space that they cut off: an apostrophe makes it text. */
static bool is_formula(const char *text)
{
    text += strspn(text, " \t\r\n\v\f");
    return *text != '\0' && strchr("=+-@|%", *text) != NULL;
}

static void cell(FILE *f, const char *text, char after)
{
    (void)fputc('"', f);
    if (is_formula(text) || *text == '\t' || *text == '\r' || *text == '\n') (void)fputc('\'', f);
    for (;;) {
        const size_t plain = strcspn(text, "\"");
        (void)fwrite(text, 1, plain, f);
        text += plain;
        if (*text == '\0') break;
        (void)fputs("\"\"", f);
        text++;
    }
    (void)fputc('"', f);
    (void)fputc(after, f);
}

static void number(FILE *f, double value)
{
    if (isfinite(value)) (void)fprintf(f, "%.12g", value);
    (void)fputc(',', f);
}

void sv_event_csv(FILE *f, const sv_event *e)
{
    char time[32];
    const char *word = decision_word(e->decision);
    (void)fprintf(f, "%llu,%s,", (unsigned long long)e->id, sv_time_text(e->wall, time));
    cell(f, e->model, ',');
    cell(f, e->version, ',');
    cell(f, e->name, ',');
    number(f, e->score);
    number(f, e->p_value);
    number(f, e->threshold);
    (void)fprintf(f, "%s,", word == NULL ? "" : word);
    cell(f, e->client, ',');
    cell(f, e->route, '\r');
    (void)fputc('\n', f);
}
