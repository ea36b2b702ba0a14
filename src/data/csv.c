/* SPDX-License-Identifier: Apache-2.0 */
/* Tables of RFC 4180. */
#include "data/dataset.h"

#include "util/alloc.h"

#include <string.h>

#define MAX_FIELDS 64

typedef struct reader {
    const char *at, *end, *name;
    size_t line;  /* of `at`, from 1 */
    char *buffer; /* the row's fields one after the other, each with its zero byte */
    size_t room, used;
    size_t start[MAX_FIELDS], count;
} reader;

static cz_status put(reader *r, char c)
{
    if (r->used - r->start[r->count] > CZ_DATA_MAX_PATH) {
        return cz_table_fail(CZ_E_LIMIT, r->name, r->line, "a field has more than 4096 bytes");
    }
    if (r->used == r->room) {
        const size_t room = r->room == 0 ? 1024 : 2 * r->room;
        char *buffer = cz_grow(r->buffer, room, 1);
        if (buffer == NULL) return CZ_E_MEMORY;
        r->buffer = buffer;
        r->room = room;
    }
    r->buffer[r->used++] = c;
    return CZ_OK;
}

static bool at_line_end(const reader *r)
{
    return r->at == r->end || *r->at == '\n' || (*r->at == '\r' && r->at + 1 < r->end && r->at[1] == '\n');
}

/* Up to and with the closing quote. */
static cz_status read_quoted(reader *r)
{
    const size_t begin = r->line;
    cz_status status;
    for (r->at++;; r->at++) {
        if (r->at == r->end) return cz_table_fail(CZ_E_FORMAT, r->name, begin, "a quote is not closed");
        if (*r->at == '\0') return cz_table_fail(CZ_E_FORMAT, r->name, r->line, "there is a zero byte");
        if (*r->at == '"') {
            if (r->at + 1 == r->end || r->at[1] != '"') break;
            r->at++;
        }
        if (*r->at == '\n') r->line++;
        CZ_TRY(put(r, *r->at));
    }
    r->at++;
    if (!at_line_end(r) && *r->at != ',') {
        status = cz_table_fail(CZ_E_FORMAT, r->name, r->line, "there is text behind a closing quote");
    } else {
        status = CZ_OK;
    }
out:
    return status;
}

static cz_status read_plain(reader *r)
{
    cz_status status = CZ_OK;
    for (; !at_line_end(r) && *r->at != ','; r->at++) {
        if (*r->at == '"') return cz_table_fail(CZ_E_FORMAT, r->name, r->line, "a field without quotes has one inside");
        if (*r->at == '\0') return cz_table_fail(CZ_E_FORMAT, r->name, r->line, "there is a zero byte");
        CZ_TRY(put(r, *r->at));
    }
out:
    return status;
}

static cz_status read_row(reader *r)
{
    cz_status status;
    r->used = r->count = 0;
    for (;;) {
        if (r->count == MAX_FIELDS) return cz_table_fail(CZ_E_LIMIT, r->name, r->line, "a row has more than 64 fields");
        r->start[r->count] = r->used;
        CZ_TRY(r->at < r->end && *r->at == '"' ? read_quoted(r) : read_plain(r));
        CZ_TRY(put(r, '\0'));
        r->count++;
        if (r->at == r->end || *r->at != ',') break;
        r->at++;
    }
    /* at_line_end: an LF, a CR LF or the end */
    if (r->at < r->end) r->at += *r->at == '\r' ? 2 : 1;
out:
    return status;
}

cz_status cz_csv_parse(const char *bytes, size_t size, const char *name, cz_csv_row_fn row, void *ctx)
{
    reader r = {.at = bytes, .end = bytes + size, .name = name, .line = 1};
    cz_csv_field fields[MAX_FIELDS];
    cz_status status = CZ_OK;
    if (size >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0) r.at += 3;
    if (size >= 2 && (memcmp(bytes, "\xff\xfe", 2) == 0 || memcmp(bytes, "\xfe\xff", 2) == 0)) {
        return cz_table_fail(CZ_E_FORMAT, name, 1, "the text is UTF-16; save it as UTF-8");
    }
    while (r.at < r.end) {
        const size_t line = r.line;
        CZ_TRY(read_row(&r));
        r.line++;
        if (r.count == 1 && r.buffer[0] == '\0') continue;
        for (size_t i = 0; i < r.count; i++) {
            const size_t next = i + 1 < r.count ? r.start[i + 1] : r.used;
            fields[i] = (cz_csv_field){r.buffer + r.start[i], next - r.start[i] - 1};
        }
        CZ_TRY(row(ctx, line, fields, r.count));
    }
out:
    cz_free(r.buffer);
    return status;
}
