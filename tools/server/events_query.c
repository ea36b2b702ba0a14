/* SPDX-License-Identifier: Apache-2.0 */
/* The history, read: from the database through a connection of its own, which its writer does not wait for, or from memory. */
#include "events_sql.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct sv_reader {
    pthread_mutex_t mutex;
    sqlite3 *db;
    double limit; /* of sv_now: when the search that runs is given up */
};

static int out_of_time(void *ctx)
{
    return sv_now() > ((const sv_reader *)ctx)->limit;
}

cz_status sv_reader_open(const char *path, sv_reader **out)
{
    sv_reader *r = calloc(1, sizeof *r);
    if (r == NULL) return sv_fail(CZ_E_MEMORY, "%s: out of memory", path);
    const cz_status status = sv_sql_open(path, SQLITE_OPEN_READONLY, &r->db);
    if (status != CZ_OK || pthread_mutex_init(&r->mutex, NULL) != 0) {
        (void)sqlite3_close(r->db);
        free(r);
        return status != CZ_OK ? status : sv_fail(CZ_E_MEMORY, "%s: out of memory", path);
    }
    sqlite3_progress_handler(r->db, 1000, out_of_time, r);
    *out = r;
    return CZ_OK;
}

void sv_reader_close(sv_reader *r)
{
    if (r == NULL) return;
    (void)sqlite3_close(r->db);
    (void)pthread_mutex_destroy(&r->mutex);
    free(r);
}

/* ---- SQL: every value is bound, none is part of the text ------------------------------------------------------------ */

/* %text% with its own % and _ taken literally. free(). */
static char *pattern(const char *text)
{
    const size_t length = strlen(text);
    if (length > (SIZE_MAX - 3) / 2) return NULL;
    char *out = malloc(2 * length + 3), *p = out;
    if (out == NULL) return NULL;
    *p++ = '%';
    for (; *text != '\0'; text++) {
        if (strchr("%_\\", *text) != NULL) *p++ = '\\';
        *p++ = *text;
    }
    *p++ = '%';
    *p = '\0';
    return out;
}

/* SELECT `what` with the conditions that `f` asks for; ids only where `paged`. */
static cz_status prepare(sv_reader *r, const char *what, const sv_filter *f, bool paged, sqlite3_stmt **out)
{
    char sql[512];
    const bool model = f->model != NULL, text = f->text != NULL,
               before = paged && f->before > 0 && f->before <= INT64_MAX;
    (void)snprintf(sql, sizeof sql, "SELECT %s FROM results WHERE 1%s%s%s%s%s", what, model ? " AND model = ?1" : "",
                   text ? " AND (name LIKE ?2 ESCAPE '\\' OR model LIKE ?2 ESCAPE '\\')" : "",
                   f->decision == -2 ? "" : " AND decision = ?3", before ? " AND id < ?4" : "",
                   paged ? " ORDER BY id DESC LIMIT ?5" : "");
    char *like = text ? pattern(f->text) : NULL;
    if (text && like == NULL) return sv_fail(CZ_E_MEMORY, "history: out of memory");
    int code = sqlite3_prepare_v2(r->db, sql, -1, out, NULL);
    if (code == SQLITE_OK && model) code = sqlite3_bind_text(*out, 1, f->model, -1, SQLITE_TRANSIENT);
    if (code == SQLITE_OK && text) code = sqlite3_bind_text(*out, 2, like, -1, SQLITE_TRANSIENT);
    if (code == SQLITE_OK && f->decision != -2) code = sqlite3_bind_int(*out, 3, f->decision);
    if (code == SQLITE_OK && before) code = sqlite3_bind_int64(*out, 4, (sqlite3_int64)f->before);
    if (code == SQLITE_OK && paged)
        code = sqlite3_bind_int64(*out, 5, f->most > INT64_MAX ? INT64_MAX : (sqlite3_int64)f->most);
    free(like);
    if (code == SQLITE_OK) return CZ_OK;
    const cz_status status = sv_fail(CZ_E_IO, "history: %s", sqlite3_errmsg(r->db));
    (void)sqlite3_finalize(*out);
    *out = NULL;
    return status;
}

static double real(sqlite3_stmt *q, int column)
{
    return sqlite3_column_type(q, column) == SQLITE_NULL ? (double)NAN : sqlite3_column_double(q, column);
}

static void text(sqlite3_stmt *q, int column, char *out, size_t size)
{
    sv_text_copy(out, size, (const char *)sqlite3_column_text(q, column));
}

/* The file may hold anything: every value is brought into its range. */
static void read_row(sqlite3_stmt *q, sv_event *e)
{
    e->id = (uint64_t)sqlite3_column_int64(q, 0);
    e->wall = sqlite3_column_double(q, 1);
    if (!(e->wall >= 0 && e->wall < 2.5e11)) e->wall = 0; /* years to 9999 */
    text(q, 2, e->model, sizeof e->model);
    text(q, 3, e->version, sizeof e->version);
    text(q, 4, e->name, sizeof e->name);
    e->score = real(q, 5);
    e->p_value = real(q, 6);
    e->threshold = real(q, 7);
    const int decision = sqlite3_column_int(q, 8);
    e->decision = decision < 0 ? -1 : decision > 0;
    text(q, 9, e->client, sizeof e->client);
    text(q, 10, e->route, sizeof e->route);
}

cz_status sv_reader_rows(sv_reader *r, const sv_filter *f, sv_row row, void *ctx, bool *complete)
{
    static const char columns[] = "id, time, model, version, name, score, p_value, threshold, decision, client, route";
    sqlite3_stmt *q = NULL;
    (void)pthread_mutex_lock(&r->mutex);
    r->limit = sv_now() + f->seconds;
    cz_status status = prepare(r, columns, f, true, &q);
    if (status == CZ_OK) {
        int code;
        bool more = true;
        sv_event event;
        while (more && (code = sqlite3_step(q)) == SQLITE_ROW) {
            read_row(q, &event);
            more = row(ctx, &event) && sv_now() <= r->limit;
        }
        *complete = more && code == SQLITE_DONE;
        if (more && code != SQLITE_DONE && code != SQLITE_INTERRUPT)
            status = sv_fail(CZ_E_IO, "history: %s", sqlite3_errmsg(r->db));
    }
    (void)sqlite3_finalize(q);
    (void)pthread_mutex_unlock(&r->mutex);
    return status;
}

cz_status sv_reader_count(sv_reader *r, const sv_filter *f, int64_t *total)
{
    sqlite3_stmt *q = NULL;
    (void)pthread_mutex_lock(&r->mutex);
    r->limit = sv_now() + f->seconds;
    cz_status status = prepare(r, "count(*)", f, false, &q);
    if (status == CZ_OK) {
        const int code = sqlite3_step(q);
        *total = code == SQLITE_ROW ? sqlite3_column_int64(q, 0) : -1;
        if (code != SQLITE_ROW && code != SQLITE_INTERRUPT)
            status = sv_fail(CZ_E_IO, "history: %s", sqlite3_errmsg(r->db));
    }
    (void)sqlite3_finalize(q);
    (void)pthread_mutex_unlock(&r->mutex);
    return status;
}

/* ---- memory -------------------------------------------------------------------------------------------------------- */

struct sv_memory {
    pthread_mutex_t mutex;
    uint64_t pushed;
    sv_event events[SV_MEMORY_ROWS]; /* number i, from 1 on, at (i - 1) % SV_MEMORY_ROWS */
};

cz_status sv_memory_open(sv_memory **out)
{
    sv_memory *m = calloc(1, sizeof *m);
    if (m == NULL || pthread_mutex_init(&m->mutex, NULL) != 0) {
        free(m);
        return sv_fail(CZ_E_MEMORY, "history: out of memory");
    }
    *out = m;
    return CZ_OK;
}

void sv_memory_close(sv_memory *m)
{
    if (m == NULL) return;
    (void)pthread_mutex_destroy(&m->mutex);
    free(m);
}

void sv_memory_push(sv_memory *m, const sv_event *event)
{
    (void)pthread_mutex_lock(&m->mutex);
    sv_event *e = &m->events[m->pushed % SV_MEMORY_ROWS];
    *e = *event;
    e->id = ++m->pushed;
    (void)pthread_mutex_unlock(&m->mutex);
}

static int lower(int c)
{
    return c >= 'A' && c <= 'Z' ? c + 32 : c;
}

/* As LIKE does: upper and lower case of ASCII are one. */
static bool contains(const char *whole, const char *part)
{
    for (;; whole++) {
        size_t i = 0;
        while (part[i] != '\0' && lower((unsigned char)whole[i]) == lower((unsigned char)part[i])) i++;
        if (part[i] == '\0') return true;
        if (*whole == '\0') return false;
    }
}

static bool fits(const sv_filter *f, const sv_event *e)
{
    return (f->model == NULL || strcmp(e->model, f->model) == 0) && (f->decision == -2 || e->decision == f->decision) &&
           (f->text == NULL || contains(e->name, f->text) || contains(e->model, f->text));
}

cz_status sv_memory_rows(sv_memory *m, const sv_filter *f, sv_row row, void *ctx, int64_t *total)
{
    /* Copied, so that workers do not wait while text is made. */
    sv_event *found = malloc(SV_MEMORY_ROWS * sizeof *found);
    if (found == NULL) return sv_fail(CZ_E_MEMORY, "history: out of memory");
    size_t count = 0;
    *total = 0;
    (void)pthread_mutex_lock(&m->mutex);
    for (uint64_t id = m->pushed; id > 0 && id + SV_MEMORY_ROWS > m->pushed; id--) {
        const sv_event *e = &m->events[(id - 1) % SV_MEMORY_ROWS];
        if (!fits(f, e)) continue;
        ++*total;
        if (count < f->most && (f->before == 0 || id < f->before)) found[count++] = *e;
    }
    (void)pthread_mutex_unlock(&m->mutex);
    for (size_t i = 0; i < count && row(ctx, &found[i]); i++) continue;
    free(found);
    return CZ_OK;
}
