/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of events share: results to count, and a strict reader of the text for Prometheus. After cmocka.h. */
#ifndef EVENTS_HELP_H
#define EVENTS_HELP_H

#include "events_internal.h"
#include "log.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Not every test uses all of them. */
#pragma GCC diagnostic ignored "-Wunused-function"

static char folder[] = "/tmp/cozad-events-XXXXXX";

static const char *in_folder(const char *name)
{
    static char path[4][256];
    static unsigned turn;
    char *out = path[turn++ % 4];
    (void)snprintf(out, sizeof path[0], "%s/%s", folder, name);
    return out;
}

static sv_events *open_events(const char *history)
{
    sv_settings settings;
    sv_events *e = NULL;
    sv_settings_init(&settings);
    settings.history = history;
    const cz_status status = sv_events_open(&settings, &e);
    if (status != CZ_OK) print_error("%s\n", cz_last_error());
    assert_int_equal(status, CZ_OK);
    return e;
}

static void score(sv_events *e, const char *model, const char *name, double value, int decision)
{
    const sv_outcome outcome = {.status = CZ_OK,
                                .score = value,
                                .p_value = decision < 0 ? (double)NAN : 0.25,
                                .threshold = decision < 0 ? (double)NAN : 1.5,
                                .decision = decision,
                                .batch = 1};
    const sv_scored s = {.wall = sv_wall(),
                         .model = model,
                         .version = "00112233aabbccdd",
                         .name = name,
                         .client = "127.0.0.1",
                         .route = "score",
                         .outcome = &outcome};
    sv_events_scored(e, &s);
}

static char *metrics(sv_events *e)
{
    const sv_pool_state pool = {.waiting = 3, .running = 2, .workers = 2, .done = 9, .rejected = 4, .expired = 5};
    char *text = sv_events_metrics(e, &pool, 7, 2, 1);
    assert_non_null(text);
    return text;
}

/* The value of the one line that begins with `series` and a blank; NaN: there is none. */
static double value_of(const char *text, const char *series)
{
    const size_t length = strlen(series);
    double found = (double)NAN;
    for (const char *line = text; line != NULL && *line != '\0';) {
        if (strncmp(line, series, length) == 0 && line[length] == ' ') {
            assert_true(isnan(found)); /* twice is wrong */
            found = strtod(line + length, NULL);
        }
        line = strchr(line, '\n');
        if (line != NULL) line++;
    }
    return found;
}

/* ---- the format, strictly ------------------------------------------------------------------------------------------ */

static size_t name_length(const char *s)
{
    const size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_:0123456789");
    return n > 0 && (s[0] < '0' || s[0] > '9') ? n : 0;
}

/* {a="b",…}; the rest after it, NULL: malformed. */
static const char *labels(const char *s, char *le, size_t size)
{
    if (*s != '{') return s;
    do {
        s++;
        const size_t n = name_length(s);
        const bool is_le = n == 2 && strncmp(s, "le", 2) == 0;
        size_t used = 0;
        if (n == 0 || s[n] != '=' || s[n + 1] != '"') return NULL;
        for (s += n + 2; *s != '"'; s++) {
            if (*s == '\n' || *s == '\0') return NULL;
            if (*s == '\\' && strchr("\\\"n", *++s) == NULL) return NULL;
            if (is_le && used + 1 < size) le[used++] = *s;
        }
        if (is_le) le[used] = '\0';
        s++;
    } while (*s == ',');
    return *s == '}' ? s + 1 : NULL;
}

typedef struct format {
    char family[64], type[16];
    char seen[64][64]; /* families that were told */
    size_t families, samples;
    double last, total; /* of the histogram series that is being read: counts may only grow */
} format;

static void read_comment(format *f, const char *line)
{
    char name[64], type[16];
    if (strncmp(line, "# HELP ", 7) == 0) {
        const size_t n = name_length(line + 7);
        assert_true(n > 0 && n < sizeof name && line[7 + n] == ' ');
        memcpy(name, line + 7, n);
        name[n] = '\0';
        for (size_t i = 0; i < f->families; i++) assert_string_not_equal(f->seen[i], name);
        assert_true(f->families < 64);
        memcpy(f->seen[f->families++], name, sizeof name);
        memcpy(f->family, name, sizeof name);
        f->type[0] = '\0';
        return;
    }
    assert_int_equal(sscanf(line, "# TYPE %63s %15s", name, type), 2);
    assert_string_equal(name, f->family);
    assert_true(strcmp(type, "counter") == 0 || strcmp(type, "gauge") == 0 || strcmp(type, "histogram") == 0);
    memcpy(f->type, type, sizeof type);
}

static void read_sample(format *f, const char *line)
{
    char le[32] = "", *end = NULL;
    const size_t n = name_length(line), family = strlen(f->family);
    assert_true(n >= family && strncmp(line, f->family, family) == 0 && f->type[0] != '\0');
    const char *rest = labels(line + n, le, sizeof le);
    assert_non_null(rest);
    assert_true(*rest == ' ');
    const double value = strtod(rest + 1, &end);
    assert_true(end > rest + 1 && (*end == '\n'));
    f->samples++;
    if (strcmp(f->type, "histogram") != 0) {
        assert_int_equal(n, family);
        if (strcmp(f->type, "counter") == 0) assert_true(value >= 0);
        return;
    }
    const char *part = line + family;
    if (strncmp(part, "_bucket", 7) == 0) {
        assert_true(le[0] != '\0');
        assert_true(value >= f->last);
        f->last = f->total = value;
        if (strcmp(le, "+Inf") == 0) f->last = 0;
    } else if (strncmp(part, "_count", 6) == 0) {
        assert_true(value == f->total && f->last == 0); /* +Inf was there, and is the count */
    } else {
        assert_true(strncmp(part, "_sum", 4) == 0);
    }
}

static size_t check_format(const char *text)
{
    format f = {0};
    assert_true(text[0] != '\0' && text[strlen(text) - 1] == '\n');
    for (const char *line = text; *line != '\0'; line = strchr(line, '\n') + 1) {
        if (*line == '#') {
            read_comment(&f, line);
        } else {
            read_sample(&f, line);
        }
    }
    return f.samples;
}

static int set_up(void **state)
{
    (void)state;
    sv_log_setup(false, SV_ERROR);
    return mkdtemp(folder) == NULL ? -1 : 0;
}

static int tear_down(void **state)
{
    (void)state;
    char command[128];
    (void)snprintf(command, sizeof command, "rm -r '%s'", folder);
    return system(command);
}

#endif
