/* SPDX-License-Identifier: Apache-2.0 */
/* Tables of pictures: path, split, label, mask, category. */
#include "data/dataset.h"

#include "util/alloc.h"
#include "util/file.h"
#include "util/names.h"

#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAX_MASKS 256
#define MAX_LINE  ((size_t)1 << 20) /* of JSON Lines */

cz_status cz_table_fail(cz_status status, const char *name, size_t line, const char *reason)
{
    return cz_fail(status, "%s:%zu: %s", name, line, reason);
}

/* ---- values -------------------------------------------------------------------------------------------------- */

/* false: it leaves its root */
static bool stays_below(const char *path, char *out)
{
    size_t used = 0;
    if (path[0] == '/') return false;
    while (*path != '\0') {
        const size_t length = strcspn(path, "/");
        if (length == 2 && path[0] == '.' && path[1] == '.') return false;
        if (length > 0 && !(length == 1 && path[0] == '.')) {
            if (used > 0) out[used++] = '/';
            memcpy(out + used, path, length);
            used += length;
        }
        path += length + (path[length] == '/');
    }
    out[used] = '\0';
    return true;
}

cz_status cz_table_path(const char *name, size_t line, const char *path, char out[CZ_DATA_MAX_PATH])
{
    if (strlen(path) >= CZ_DATA_MAX_PATH) return cz_table_fail(CZ_E_LIMIT, name, line, "a path is too long");
    if (!stays_below(path, out)) {
        return cz_fail(CZ_E_FORMAT, "%s:%zu: \"%.200s\" leaves its folder", name, line, path);
    }
    return out[0] != '\0' ? CZ_OK : cz_table_fail(CZ_E_FORMAT, name, line, "a path is empty");
}

bool cz_parse_split(const char *text, cz_split *out)
{
    static const struct {
        const char *name;
        cz_split split;
    } names[] = {{"", CZ_SPLIT_ANY},           {"train", CZ_SPLIT_TRAIN},      {"test", CZ_SPLIT_TEST},
                 {"val", CZ_SPLIT_VALIDATION}, {"valid", CZ_SPLIT_VALIDATION}, {"validation", CZ_SPLIT_VALIDATION}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcasecmp(text, names[i].name) == 0) {
            *out = names[i].split;
            return true;
        }
    }
    return false;
}

static bool parse_label(const char *text, int *out)
{
    static const char *const names[][2] = {{"", "\xff"},   {"0", "\0"},       {"1", "\1"},        {"normal", "\0"},
                                           {"good", "\0"}, {"anomaly", "\1"}, {"anomalous", "\1"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcasecmp(text, names[i][0]) != 0) continue;
        *out = (signed char)names[i][1][0];
        return true;
    }
    return false;
}

/* ---- rows ---------------------------------------------------------------------------------------------------- */

enum { COLUMN_PATH, COLUMN_SPLIT, COLUMN_LABEL, COLUMN_MASK, COLUMN_CATEGORY, COLUMNS };
static const char *const column_names[COLUMNS] = {"path", "split", "label", "mask", "category"};

typedef struct place {
    const char *relative; /* belongs to the sample */
    size_t line;
} place;

typedef struct manifest {
    cz_dataset *d;
    const char *name;
    bool header;
    size_t columns, column[COLUMNS]; /* SIZE_MAX: not there */
    size_t *lines;                   /* [count] where the samples came from */
    size_t room;
} manifest;

static cz_status add_row(manifest *m, size_t line, const char *const *value, const char *const *masks, size_t count)
{
    char path[CZ_DATA_MAX_PATH];
    cz_status status;
    cz_sample_facts facts = {.category = value[COLUMN_CATEGORY], .rule = CZ_MASK_HALF};
    CZ_TRY(cz_table_path(m->name, line, value[COLUMN_PATH], path));
    if (!parse_label(value[COLUMN_LABEL], &facts.label)) {
        /* Taken for unlabelled, a defective photo would be trained on. */
        status = cz_fail(CZ_E_FORMAT, "%s:%zu: the label \"%.40s\" is neither 0 nor 1 nor empty", m->name, line,
                         value[COLUMN_LABEL]);
        goto out;
    }
    if (!cz_parse_split(value[COLUMN_SPLIT], &facts.split)) {
        status = cz_fail(CZ_E_FORMAT, "%s:%zu: the split \"%.40s\" is none of train, test, validation and empty",
                         m->name, line, value[COLUMN_SPLIT]);
        goto out;
    }
    facts.kind = facts.label == 0 ? "good" : "";
    if (m->d->count == m->room) {
        const size_t room = m->room == 0 ? 256 : 2 * m->room;
        size_t *lines = cz_grow(m->lines, room, sizeof *lines);
        if (lines == NULL) return CZ_E_MEMORY;
        m->lines = lines;
        m->room = room;
    }
    m->lines[m->d->count] = line;
    CZ_TRY(cz_dataset_add(m->d, path, &facts, masks, count));
out:
    return status;
}

static int compare_places(const void *a, const void *b)
{
    const place *x = a, *y = b;
    const int order = strcmp(x->relative, y->relative);
    return order != 0 ? order : (x->line > y->line) - (x->line < y->line);
}

/* A photo that is listed twice may have two labels, or be in both splits. */
static cz_status refuse_twice(const manifest *m)
{
    const size_t count = m->d->count;
    cz_status status = CZ_OK;
    place *places = cz_alloc_array(count, sizeof *places);
    if (places == NULL) return CZ_E_MEMORY;
    for (size_t i = 0; i < count; i++) places[i] = (place){m->d->samples[i].relative, m->lines[i]};
    if (count > 1) qsort(places, count, sizeof *places, compare_places);
    for (size_t i = 1; i < count && status == CZ_OK; i++) {
        if (strcmp(places[i - 1].relative, places[i].relative) != 0) continue;
        status = cz_fail(CZ_E_FORMAT, "%s:%zu: \"%.200s\" is also in line %zu", m->name, places[i].line,
                         places[i].relative, places[i - 1].line);
    }
    cz_free(places);
    return status;
}

/* ---- CSV ----------------------------------------------------------------------------------------------------- */

cz_status cz_table_column(const char *name, const cz_csv_field *fields, size_t count, const char *wanted, size_t *out)
{
    *out = SIZE_MAX;
    for (size_t i = 0; i < count; i++) {
        const char *text = fields[i].text + strspn(fields[i].text, " ");
        size_t length = strlen(text);
        while (length > 0 && text[length - 1] == ' ') length--;
        if (length != strlen(wanted) || strncasecmp(text, wanted, length) != 0) continue;
        if (*out != SIZE_MAX) return cz_fail(CZ_E_FORMAT, "%s:1: the column \"%s\" is there twice", name, wanted);
        *out = i;
    }
    return CZ_OK;
}

static cz_status read_header(manifest *m, size_t line, const cz_csv_field *fields, size_t count)
{
    cz_status status = CZ_OK;
    for (size_t c = 0; c < COLUMNS; c++) {
        CZ_TRY(cz_table_column(m->name, fields, count, column_names[c], &m->column[c]));
    }
    m->header = true;
    m->columns = count;
    if (m->column[COLUMN_PATH] == SIZE_MAX) {
        const bool other = count == 1 && strpbrk(fields[0].text, ";\t") != NULL;
        status = cz_fail(CZ_E_FORMAT, "%s:%zu: there is no column \"path\"%s", m->name, line,
                         other ? "; fields are separated by commas" : "");
    }
out:
    return status;
}

static cz_status read_csv_row(void *ctx, size_t line, const cz_csv_field *fields, size_t count)
{
    manifest *m = ctx;
    char mask[CZ_DATA_MAX_PATH];
    const char *value[COLUMNS], *masks[1] = {mask};
    cz_status status = CZ_OK;
    if (!m->header) return read_header(m, line, fields, count);
    if (count != m->columns) {
        return cz_fail(CZ_E_FORMAT, "%s:%zu: the row has %zu fields, the heading %zu", m->name, line, count,
                       m->columns);
    }
    for (size_t c = 0; c < COLUMNS; c++) value[c] = m->column[c] < count ? fields[m->column[c]].text : "";
    const bool masked = value[COLUMN_MASK][0] != '\0';
    if (masked) CZ_TRY(cz_table_path(m->name, line, value[COLUMN_MASK], mask));
    CZ_TRY(add_row(m, line, value, masks, masked ? 1 : 0));
out:
    return status;
}

cz_status cz_manifest_csv(cz_dataset *d, const char *bytes, size_t size, const char *name)
{
    manifest m = {.d = d, .name = name};
    cz_status status;
    CZ_TRY(cz_csv_parse(bytes, size, name, read_csv_row, &m));
    if (!m.header) {
        status = cz_fail(CZ_E_FORMAT, "%s: is empty", name);
        goto out;
    }
    CZ_TRY(refuse_twice(&m));
out:
    cz_free(m.lines);
    return status;
}

/* ---- JSON Lines ---------------------------------------------------------------------------------------------- */

/* A string, or nothing where it is missing or null; a number or truth value for the label. */
static cz_status json_text(const manifest *m, size_t line, const json_t *row, size_t column, const char **out)
{
    const json_t *value = json_object_get(row, column_names[column]);
    *out = "";
    if (value == NULL || json_is_null(value)) return CZ_OK;
    if (json_is_string(value)) {
        *out = json_string_value(value);
        return CZ_OK;
    }
    if (column == COLUMN_LABEL && (json_is_boolean(value) || json_is_integer(value))) {
        const json_int_t number = json_is_boolean(value) ? json_is_true(value) : json_integer_value(value);
        *out = number == 0 ? "0" : number == 1 ? "1" : "another number";
        return CZ_OK;
    }
    return cz_fail(CZ_E_FORMAT, "%s:%zu: \"%s\" has a value of a wrong kind", m->name, line, column_names[column]);
}

/* "mask": one path or a list of them. Copies belong to `list`. */
static cz_status json_masks(const manifest *m, size_t line, const json_t *row, cz_text_list *list)
{
    char path[CZ_DATA_MAX_PATH];
    cz_status status = CZ_OK;
    const json_t *value = json_object_get(row, column_names[COLUMN_MASK]);
    if (value == NULL || json_is_null(value)) return CZ_OK;
    const size_t count = json_is_array(value) ? json_array_size(value) : 1;
    if (count > MAX_MASKS) return cz_table_fail(CZ_E_LIMIT, m->name, line, "there are more than 256 masks");
    for (size_t i = 0; i < count; i++) {
        const json_t *one = json_is_array(value) ? json_array_get(value, i) : value;
        if (!json_is_string(one)) return cz_table_fail(CZ_E_FORMAT, m->name, line, "a mask is no string");
        if (count == 1 && json_string_length(one) == 0) break;
        CZ_TRY(cz_table_path(m->name, line, json_string_value(one), path));
        CZ_TRY(cz_text_list_add(list, path));
    }
out:
    return status;
}

static cz_status read_json_row(manifest *m, size_t line, const json_t *row)
{
    const char *value[COLUMNS] = {""};
    cz_text_list masks = {0};
    cz_status status;
    if (!json_is_object(row)) return cz_table_fail(CZ_E_FORMAT, m->name, line, "is no JSON object");
    for (size_t c = 0; c < COLUMNS; c++) {
        if (c == COLUMN_MASK) continue;
        CZ_TRY(json_text(m, line, row, c, &value[c]));
    }
    CZ_TRY(json_masks(m, line, row, &masks));
    CZ_TRY(add_row(m, line, value, (const char *const *)masks.items, masks.count));
out:
    cz_text_list_free(&masks);
    return status;
}

cz_status cz_manifest_jsonl(cz_dataset *d, const char *bytes, size_t size, const char *name)
{
    manifest m = {.d = d, .name = name};
    cz_status status = CZ_OK;
    const char *at = bytes, *end = bytes + size;
    if (size >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0) at += 3;
    for (size_t line = 1; at < end; line++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        const size_t length = (size_t)((stop != NULL ? stop : end) - at);
        const char *text = at;
        at = stop != NULL ? stop + 1 : end;
        size_t blank = 0;
        while (blank < length && strchr(" \t\r", text[blank]) != NULL && text[blank] != '\0') blank++;
        if (blank == length) continue;
        if (length > MAX_LINE) {
            status = cz_table_fail(CZ_E_LIMIT, name, line, "the line has more than 1048576 bytes");
            goto out;
        }
        json_error_t error;
        json_t *row = json_loadb(text, length, JSON_REJECT_DUPLICATES, &error);
        status = row != NULL ? read_json_row(&m, line, row)
                             : cz_fail(CZ_E_FORMAT, "%s:%zu: is no JSON: %.100s", name, line, error.text);
        json_decref(row);
        if (status != CZ_OK) goto out;
    }
    CZ_TRY(refuse_twice(&m));
out:
    cz_free(m.lines);
    return status;
}

/* ---- files --------------------------------------------------------------------------------------------------- */

static cz_status read_table(const cz_dataset *d, const char *below, char **path, uint8_t **bytes, size_t *size)
{
    *bytes = NULL;
    *path = cz_below(d->root, below);
    return *path != NULL ? cz_file_read(*path, CZ_DATA_MAX_TABLE, bytes, size) : CZ_E_MEMORY;
}

cz_status cz_dataset_read_csv(const cz_dataset *d, const char *below, cz_csv_row_fn row, void *ctx)
{
    char *path;
    uint8_t *bytes;
    size_t size = 0;
    cz_status status;
    CZ_TRY(read_table(d, below, &path, &bytes, &size));
    CZ_TRY(cz_csv_parse((const char *)bytes, size, path, row, ctx));
out:
    cz_free(bytes);
    cz_free(path);
    return status;
}

cz_status cz_manifest_read(cz_dataset *d, const char *below)
{
    char *path;
    uint8_t *bytes;
    size_t size = 0;
    cz_status status;
    const char *dot = strrchr(cz_name_last(below), '.');
    const bool json = dot != NULL && (strcasecmp(dot, ".jsonl") == 0 || strcasecmp(dot, ".ndjson") == 0 ||
                                      strcasecmp(dot, ".json") == 0);
    CZ_TRY(read_table(d, below, &path, &bytes, &size));
    CZ_TRY((json ? cz_manifest_jsonl : cz_manifest_csv)(d, (const char *)bytes, size, path));
out:
    cz_free(bytes);
    cz_free(path);
    return status;
}

cz_status cz_layout_csv(cz_dataset *d, bool *found)
{
    static const char *const names[] = {"split.csv", "manifest.csv"};
    for (size_t i = 0; i < 2; i++) {
        if (!cz_is_file(d->root, names[i])) continue;
        *found = true;
        return cz_manifest_read(d, names[i]);
    }
    return CZ_OK;
}

cz_status cz_layout_jsonl(cz_dataset *d, bool *found)
{
    *found = cz_is_file(d->root, "manifest.jsonl");
    return *found ? cz_manifest_read(d, "manifest.jsonl") : CZ_OK;
}
