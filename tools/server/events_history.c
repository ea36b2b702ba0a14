/* SPDX-License-Identifier: Apache-2.0 */
/* The history's writer: a sink that puts what waits into SQLite, one transaction for all of it. The journal is a write-ahead log, synced at
 * its checkpoints: a process that is killed loses nothing it committed, a power cut at most the latest rows, and neither damages the file. */
#include "events_sql.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { DROP = 1000 /* rows at once, where there are too many */, BUSY_MS = 2000 };

typedef struct history {
    sqlite3 *db;
    sqlite3_stmt *begin, *commit, *rollback, *insert, *drop;
    uint64_t rows, most;
} history;

/* No trigger, view or function of a file from elsewhere runs here. */
static void harden(sqlite3 *db)
{
    (void)sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    (void)sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    (void)sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
    (void)sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_VIEW, 0, NULL);
}

cz_status sv_sql_open(const char *path, int flags, sqlite3 **out)
{
    const size_t size = strlen(path) + 3;
    char *plain = malloc(size);
    if (plain == NULL) return sv_fail(CZ_E_MEMORY, "%s: out of memory", path);
    (void)snprintf(plain, size, "%s%s", path[0] == '/' ? "" : "./", path);
    const int code = sqlite3_open_v2(plain, out, flags | SQLITE_OPEN_FULLMUTEX, NULL);
    free(plain);
    if (code == SQLITE_OK) {
        harden(*out);
        (void)sqlite3_busy_timeout(*out, BUSY_MS);
        return CZ_OK;
    }
    const cz_status status = sv_fail(CZ_E_IO, "%s: the history cannot be opened: %s", path, sqlite3_errstr(code));
    (void)sqlite3_close(*out);
    *out = NULL;
    return status;
}

int sv_sql_integer(sqlite3 *db, const char *sql, int64_t *out)
{
    sqlite3_stmt *q = NULL;
    int code = sqlite3_prepare_v2(db, sql, -1, &q, NULL);
    if (code == SQLITE_OK) code = sqlite3_step(q);
    if (code == SQLITE_ROW) *out = sqlite3_column_int64(q, 0);
    (void)sqlite3_finalize(q);
    return code == SQLITE_ROW ? SQLITE_OK : code == SQLITE_DONE ? SQLITE_ERROR : code;
}

/* ---- opening ------------------------------------------------------------------------------------------------------- */

/* Is it a history of this version, or empty? Nothing was written yet. */
static cz_status recognise(sqlite3 *db, const char *path, bool *empty)
{
    int64_t application = 0, version = 0, tables = 0;
    int code = sv_sql_integer(db, "PRAGMA application_id", &application);
    if (code == SQLITE_OK) code = sv_sql_integer(db, "PRAGMA user_version", &version);
    if (code == SQLITE_OK) code = sv_sql_integer(db, "SELECT count(*) FROM sqlite_master", &tables);
    if (code == SQLITE_NOTADB) return sv_fail(CZ_E_FORMAT, "%s: is not an SQLite database; nothing was changed", path);
    if (code != SQLITE_OK) return sv_fail(CZ_E_IO, "%s: the history cannot be read: %s", path, sqlite3_errmsg(db));
    *empty = application == 0 && version == 0 && tables == 0;
    if (*empty || (application == SV_SQL_APPLICATION && version == SV_SQL_SCHEMA)) return CZ_OK;
    if (application != SV_SQL_APPLICATION)
        return sv_fail(CZ_E_FORMAT, "%s: is another program's database, not a history; nothing was changed", path);
    return sv_fail(CZ_E_UNSUPPORTED,
                   "%s: is a history of version %lld, this program knows version %d; nothing was changed", path,
                   (long long)version, SV_SQL_SCHEMA);
}

static cz_status create(sqlite3 *db, const char *path)
{
    static const char schema[] = "CREATE TABLE IF NOT EXISTS results (id INTEGER PRIMARY KEY AUTOINCREMENT, time REAL "
                                 "NOT NULL, model TEXT NOT NULL, "
                                 "version TEXT NOT NULL, name TEXT NOT NULL, score REAL, p_value REAL, threshold REAL, "
                                 "decision INTEGER NOT NULL, "
                                 "client TEXT NOT NULL, route TEXT NOT NULL);"
                                 "CREATE INDEX IF NOT EXISTS results_model_time ON results (model, time);"
                                 /* With the row number at their end, in whose order the page lists. */
                                 "CREATE INDEX IF NOT EXISTS results_model ON results (model);"
                                 "CREATE INDEX IF NOT EXISTS results_decision ON results (decision);";
    char numbers[96];
    (void)snprintf(numbers, sizeof numbers, "PRAGMA application_id = %d; PRAGMA user_version = %d;", SV_SQL_APPLICATION,
                   SV_SQL_SCHEMA);
    if (sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_OK &&
        sqlite3_exec(db, schema, NULL, NULL, NULL) == SQLITE_OK &&
        sqlite3_exec(db, numbers, NULL, NULL, NULL) == SQLITE_OK &&
        sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) == SQLITE_OK) {
        return CZ_OK;
    }
    const cz_status status = sv_fail(CZ_E_IO, "%s: the history cannot be made: %s", path, sqlite3_errmsg(db));
    (void)sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    return status;
}

static int start_log(sqlite3 *db)
{
    sqlite3_stmt *q = NULL;
    int code = sqlite3_prepare_v2(db, "PRAGMA journal_mode = WAL", -1, &q, NULL);
    if (code == SQLITE_OK) code = sqlite3_step(q);
    const unsigned char *mode = code == SQLITE_ROW ? sqlite3_column_text(q, 0) : NULL;
    const bool good = mode != NULL && strcmp((const char *)mode, "wal") == 0;
    (void)sqlite3_finalize(q);
    if (!good) return code == SQLITE_ROW ? SQLITE_CANTOPEN : code;
    return sqlite3_exec(db, "PRAGMA synchronous = NORMAL; PRAGMA journal_size_limit = 16777216", NULL, NULL, NULL);
}

static int prepare(history *h)
{
    const struct {
        sqlite3_stmt **statement;
        const char *sql;
    } all[] = {
        {&h->begin, "BEGIN IMMEDIATE"},
        {&h->commit, "COMMIT"},
        {&h->rollback, "ROLLBACK"},
        {&h->insert,
         "INSERT INTO results (time, model, version, name, score, p_value, threshold, decision, client, route) "
         "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)"},
        {&h->drop, "DELETE FROM results WHERE id IN (SELECT id FROM results ORDER BY id LIMIT ?1)"},
    };
    int code = SQLITE_OK;
    for (size_t i = 0; i < sizeof all / sizeof all[0] && code == SQLITE_OK; i++)
        code = sqlite3_prepare_v3(h->db, all[i].sql, -1, SQLITE_PREPARE_PERSISTENT, all[i].statement, NULL);
    return code;
}

static cz_status set_up(history *h, const char *path)
{
    struct stat info;
    bool empty = false;
    int64_t rows = 0;
    if (path[0] == '\0' || (stat(path, &info) == 0 && !S_ISREG(info.st_mode)))
        return sv_fail(CZ_E_ARG, "%s: the history must be a file", path);
    cz_status status = sv_sql_open(path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, &h->db);
    if (status == CZ_OK) status = recognise(h->db, path, &empty);
    if (status != CZ_OK) return status;
    if (sqlite3_db_readonly(h->db, "main") != 0) return sv_fail(CZ_E_IO, "%s: the history cannot be written", path);
    const int code = start_log(h->db);
    if (code != SQLITE_OK)
        return sv_fail(CZ_E_IO, "%s: the history cannot be written: %s", path, sqlite3_errmsg(h->db));
    if (empty) status = create(h->db, path);
    if (status != CZ_OK) return status;
    if (prepare(h) != SQLITE_OK)
        return sv_fail(CZ_E_FORMAT, "%s: is not a history that can be used: %s", path, sqlite3_errmsg(h->db));
    if (sv_sql_integer(h->db, "SELECT count(*) FROM results", &rows) != SQLITE_OK)
        return sv_fail(CZ_E_IO, "%s: the history cannot be read: %s", path, sqlite3_errmsg(h->db));
    h->rows = (uint64_t)rows;
    return CZ_OK;
}

/* ---- writing ------------------------------------------------------------------------------------------------------- */

static int run(sqlite3_stmt *statement)
{
    const int code = sqlite3_step(statement);
    (void)sqlite3_reset(statement);
    return code == SQLITE_DONE ? SQLITE_OK : code;
}

static int insert(history *h, const sv_event *e)
{
    sqlite3_stmt *q = h->insert;
    int bad = sqlite3_bind_double(q, 1, e->wall);
    bad |= sqlite3_bind_text(q, 2, e->model, -1, SQLITE_STATIC);
    bad |= sqlite3_bind_text(q, 3, e->version, -1, SQLITE_STATIC);
    bad |= sqlite3_bind_text(q, 4, e->name, -1, SQLITE_STATIC);
    bad |= sqlite3_bind_double(q, 5, e->score); /* NaN becomes NULL */
    bad |= sqlite3_bind_double(q, 6, e->p_value);
    bad |= sqlite3_bind_double(q, 7, e->threshold);
    bad |= sqlite3_bind_int(q, 8, e->decision);
    bad |= sqlite3_bind_text(q, 9, e->client, -1, SQLITE_STATIC);
    bad |= sqlite3_bind_text(q, 10, e->route, -1, SQLITE_STATIC);
    const int code = bad ? SQLITE_NOMEM : run(q);
    (void)sqlite3_clear_bindings(q);
    return code;
}

/* Room for `count` more rows. Other processes may have written too, so what is left is counted anew. */
static int make_room(history *h, size_t count, uint64_t *rows)
{
    int64_t left = 0;
    *rows = h->rows;
    if (*rows + count <= h->most) return SQLITE_OK;
    const uint64_t surplus = *rows + count - h->most;
    const sqlite3_int64 drop = (sqlite3_int64)(surplus > DROP ? surplus : DROP);
    int code = sqlite3_bind_int64(h->drop, 1, drop);
    if (code == SQLITE_OK) code = run(h->drop);
    if (code == SQLITE_OK) code = sv_sql_integer(h->db, "SELECT count(*) FROM results", &left);
    *rows = (uint64_t)left;
    return code;
}

static size_t deliver(void *ctx, sv_sink *sink, const sv_event *events, size_t count)
{
    history *h = ctx;
    uint64_t rows = 0;
    int code = run(h->begin);
    const bool begun = code == SQLITE_OK;
    if (begun) code = make_room(h, count, &rows);
    for (size_t i = 0; i < count && code == SQLITE_OK; i++) code = insert(h, &events[i]);
    if (code == SQLITE_OK) code = run(h->commit);
    if (code == SQLITE_OK) {
        h->rows = rows + count;
        return count;
    }
    sv_sink_reason(sink, "%s", sqlite3_errmsg(h->db));
    if (sqlite3_get_autocommit(h->db) == 0) (void)run(h->rollback);
    return 0;
}

static void release(void *ctx)
{
    history *h = ctx;
    sqlite3_stmt *const all[] = {h->begin, h->commit, h->rollback, h->insert, h->drop};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) (void)sqlite3_finalize(all[i]);
    (void)sqlite3_close(h->db);
    free(h);
}

cz_status sv_history_open(const char *path, uint64_t rows, sv_sink **out)
{
    static const sv_sink_kind kind = {
        .name = "history", .capacity = 4096, .batch = 256, .deliver = deliver, .release = release};
    history *h = calloc(1, sizeof *h);
    if (h == NULL) return sv_fail(CZ_E_MEMORY, "%s: out of memory", path);
    h->most = rows;
    const cz_status status = set_up(h, path);
    if (status == CZ_OK) return sv_sink_start(&kind, h, false, out);
    release(h);
    return status;
}
