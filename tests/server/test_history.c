/* SPDX-License-Identifier: Apache-2.0 */
/* The history: filters, paging, CSV, hostile input, a full disk, a killed process. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "events_help.h"

#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* ---- history ------------------------------------------------------------------------------------------------------- */

/* "name name name" of the rows, in order. */
static const char *names(json_t *history)
{
    static char text[4096];
    text[0] = '\0';
    json_t *row;
    size_t i;
    assert_non_null(history);
    json_array_foreach(json_object_get(history, "rows"), i, row)
    {
        if (i > 0) strcat(text, " ");
        strcat(text, json_string_value(json_object_get(row, "name")));
    }
    return text;
}

static json_int_t total(const json_t *history)
{
    return json_integer_value(json_object_get(history, "total"));
}

static void expect_rows(sv_events *e, const char *model, const char *text, int decision, const char *expected)
{
    json_t *h = sv_events_history(e, model, text, decision, 0, 100);
    assert_string_equal(names(h), expected);
    size_t count = expected[0] != '\0';
    for (const char *p = expected; *p != '\0'; p++) count += *p == ' ';
    assert_int_equal(total(h), count);
    assert_true(json_is_true(json_object_get(h, "complete")));
    json_decref(h);
}

static void check_history(sv_events *e)
{
    score(e, "screw", "One.jpg", -0.125, 0);
    score(e, "screw", "two.jpg", 2.5, 1);
    score(e, "cable", "three.png", 1e300, -1);
    score(e, "cable", "fo%ur", (double)INFINITY, 0);
    score(e, "cable", "f_ve\\", 0.1, 1);
    expect_rows(e, NULL, NULL, -2, "f_ve\\ fo%ur three.png two.jpg One.jpg");
    expect_rows(e, "", "", -2, "f_ve\\ fo%ur three.png two.jpg One.jpg");
    expect_rows(e, "screw", NULL, -2, "two.jpg One.jpg");
    expect_rows(e, "scre", NULL, -2, "");
    expect_rows(e, "SCREW", NULL, -2, "");
    expect_rows(e, NULL, "oNE", -2, "One.jpg");
    expect_rows(e, NULL, "crew", -2, "two.jpg One.jpg");
    expect_rows(e, NULL, "%", -2, "fo%ur");
    expect_rows(e, NULL, "_", -2, "f_ve\\");
    expect_rows(e, NULL, "\\", -2, "f_ve\\");
    expect_rows(e, NULL, NULL, 1, "f_ve\\ two.jpg");
    expect_rows(e, NULL, NULL, -1, "three.png");
    expect_rows(e, "cable", "f", 0, "fo%ur");
    json_t *h = sv_events_history(e, NULL, NULL, -2, 0, 2);
    assert_string_equal(names(h), "f_ve\\ fo%ur");
    assert_int_equal(total(h), 5);
    json_t *last = json_array_get(json_object_get(h, "rows"), 1);
    assert_true(json_is_null(json_object_get(last, "score"))); /* infinite */
    json_t *next = sv_events_history(e, NULL, NULL, -2, (uint64_t)json_integer_value(json_object_get(last, "id")), 2);
    assert_string_equal(names(next), "three.png two.jpg");
    assert_int_equal(total(next), 5);
    json_t *row = json_array_get(json_object_get(next, "rows"), 0);
    assert_true(json_is_null(json_object_get(row, "decision")) && json_is_null(json_object_get(row, "p_value")));
    assert_true(json_real_value(json_object_get(row, "score")) == 1e300);
    row = json_array_get(json_object_get(next, "rows"), 1);
    assert_string_equal(json_string_value(json_object_get(row, "decision")), "anomalous");
    assert_string_equal(json_string_value(json_object_get(row, "version")), "00112233aabbccdd");
    assert_string_equal(json_string_value(json_object_get(row, "client")), "127.0.0.1");
    assert_int_equal(strlen(json_string_value(json_object_get(row, "time"))), 24);
    json_decref(h);
    json_decref(next);
    h = sv_events_history(e, NULL, NULL, -2, UINT64_MAX, SIZE_MAX);
    assert_int_equal(json_array_size(json_object_get(h, "rows")), 5);
    json_decref(h);
    h = sv_events_history(e, NULL, NULL, -2, 1, 0);
    assert_int_equal(json_array_size(json_object_get(h, "rows")), 0);
    json_decref(h);
}

static void history_in_memory(void **state)
{
    (void)state;
    sv_events *e = open_events(NULL);
    check_history(e);
    for (int i = 0; i < 1500; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "n%d", i);
        score(e, "m", name, i, 0);
    }
    json_t *h = sv_events_history(e, NULL, NULL, -2, 0, 5000);
    assert_int_equal(total(h), 1000);
    assert_int_equal(json_array_size(json_object_get(h, "rows")), 1000);
    json_t *last = json_array_get(json_object_get(h, "rows"), 999);
    assert_string_equal(json_string_value(json_object_get(last, "name")), "n500");
    json_decref(h);
    sv_events_close(e, 1);
}

static void history_on_disk(void **state)
{
    (void)state;
    const char *path = in_folder("history.db");
    sv_events *e = open_events(path);
    check_history(e);
    sv_events_close(e, 5);
    e = open_events(path); /* what was written is there, and goes on */
    expect_rows(e, "screw", NULL, -2, "two.jpg One.jpg");
    score(e, "screw", "six", 1, 0);
    expect_rows(e, "screw", NULL, -2, "six two.jpg One.jpg");
    sv_events_close(e, 5);
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db,
                                  "SELECT 1 FROM results INDEXED BY results_model_time WHERE model = 'a' AND time > 0",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    (void)sqlite3_close(db);
}

static const char *const hostile[] = {"'; DROP TABLE results; --",
                                      "\" OR 1=1 --",
                                      "x' UNION SELECT 1,2,3,4,5,6,7,8,9,10,11 --",
                                      "\\' ; DELETE FROM results",
                                      "%' OR '1'='1",
                                      "\x01\x02\x7f",
                                      "\xff\xfe",
                                      "\xc0\xaf",
                                      "\xed\xa0\x80",
                                      "\xf5\x80",
                                      "a\xe2\x82",
                                      "?1",
                                      ":model",
                                      "\"quoted\"",
                                      "line\r\nbreak",
                                      "\xe2\x82\xac\xf0\x9f\x98\x80"};
enum { HOSTILE = sizeof hostile / sizeof hostile[0] };

static void hostile_values(void **state)
{
    (void)state;
    for (int on_disk = 0; on_disk < 2; on_disk++) {
        sv_events *e = open_events(on_disk ? in_folder("hostile.db") : NULL);
        for (size_t i = 0; i < HOSTILE; i++) score(e, hostile[i], hostile[i], 1, 0);
        for (size_t i = 0; i < HOSTILE; i++) {
            json_decref(sv_events_history(e, hostile[i], hostile[i], -2, 0, 10));
            char *csv = sv_events_history_csv(e, hostile[i], hostile[i], -2, 10);
            assert_non_null(csv);
            free(csv);
        }
        json_t *found = sv_events_history(e, NULL, hostile[0], -2, 0, 10);
        assert_int_equal(total(found), 1); /* found by its own text */
        json_decref(found);
        found = sv_events_history(e, hostile[4], NULL, -2, 0, 10);
        assert_int_equal(total(found), 1); /* and not everything */
        json_decref(found);
        json_t *all = sv_events_history(e, NULL, NULL, -2, 0, 100);
        assert_int_equal(total(all), HOSTILE);
        char *text = json_dumps(all, 0); /* valid UTF-8, or there were none */
        assert_non_null(text);
        assert_non_null(strstr(text, "\xe2\x82\xac\xf0\x9f\x98\x80"));
        assert_non_null(strstr(text, "a\xef\xbf\xbd\xef\xbf\xbd"));
        free(text);
        json_decref(all);
        text = metrics(e);
        (void)check_format(text);
        free(text);
        sv_events_close(e, 5);
    }
}

static void long_names(void **state)
{
    (void)state;
    char name[2000], out[8];
    sv_events *e = open_events(NULL);
    memset(name, 'a', sizeof name);
    name[254] = '\xc3'; /* a character that does not fit any more */
    name[255] = '\xa4';
    name[sizeof name - 1] = '\0';
    score(e, name, name, 1, 0);
    json_t *h = sv_events_history(e, NULL, NULL, -2, 0, 1);
    assert_int_equal(strlen(names(h)), 254);
    json_decref(h);
    sv_events_close(e, 1);
    sv_text_copy(out, sizeof out, "\xff\xff\xff");
    assert_string_equal(out, "\xef\xbf\xbd\xef\xbf\xbd");
    sv_event worst = {.score = -1.23456789012e-300, .p_value = 0.123456789012, .threshold = -1e300, .wall = 1.8e9};
    memset(worst.name, 1, sizeof worst.name - 1);
    memset(worst.model, 1, sizeof worst.model - 1);
    memset(worst.version, 1, sizeof worst.version - 1);
    memset(worst.client, 1, sizeof worst.client - 1);
    memset(worst.route, 1, sizeof worst.route - 1);
    char line[SV_LINE];
    assert_in_range(sv_event_line(&worst, line), 2000, SV_LINE);
}

/* A strict reader of RFC 4180; the number of cells in the row that begins at *p, which moves on. */
static size_t csv_row(const char **p, char cells[16][300])
{
    size_t count = 0;
    for (;;) {
        size_t used = 0;
        if (**p == '"') {
            for (++*p; **p != '"' || (*p)[1] == '"'; ++*p) {
                assert_true(**p != '\0');
                if (**p == '"') ++*p;
                cells[count][used++] = **p;
            }
            ++*p;
        } else {
            for (; strchr(",\r", **p) == NULL; ++*p) {
                assert_true(**p != '"' && **p != '\n' && **p != '\0');
                cells[count][used++] = **p;
            }
        }
        cells[count++][used] = '\0';
        if (**p == '\r') break;
        assert_true(**p == ',' && count < 16);
        ++*p;
    }
    assert_true((*p)[1] == '\n');
    *p += 2;
    return count;
}

static void csv(void **state)
{
    (void)state;
    static const char *const bad[] = {"=1+1", "+A1", "-2",          "@SUM(A1)",  "\t=1",
                                      "\r=1", " =1", "a\"b,c\r\nd", "plain.jpg", ""};
    enum { BAD = sizeof bad / sizeof bad[0] };
    sv_events *e = open_events(in_folder("csv.db"));
    for (size_t i = 0; i < BAD; i++) score(e, "m", bad[i], -1.5, i % 2 == 0);
    char *text = sv_events_history_csv(e, NULL, NULL, -2, 100), cells[16][300];
    assert_non_null(text);
    const char *p = text;
    assert_int_equal(csv_row(&p, cells), 11);
    assert_string_equal(cells[0], "id");
    assert_string_equal(cells[4], "name");
    for (size_t i = BAD; i-- > 0;) {
        assert_int_equal(csv_row(&p, cells), 11);
        assert_true(strchr("=+@\t\r\n-", cells[4][0]) == NULL || cells[4][0] == '\0');
        assert_string_equal(cells[4][0] == '\'' ? cells[4] + 1 : cells[4], bad[i]);
        assert_string_equal(cells[5], "-1.5");
        assert_string_equal(cells[8], i % 2 == 0 ? "anomalous" : "normal");
    }
    assert_true(*p == '\0');
    free(text);
    text = sv_events_history_csv(e, NULL, "plain", -2, 100);
    p = text;
    (void)csv_row(&p, cells);
    (void)csv_row(&p, cells);
    assert_true(*p == '\0');
    free(text);
    sv_events_close(e, 5);
}

/* ---- the database file --------------------------------------------------------------------------------------------- */

static void make_database(const char *path, const char *sql)
{
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void refuse(const char *path, const char *reason)
{
    sv_settings settings;
    sv_events *e = NULL;
    sv_settings_init(&settings);
    settings.history = path;
    assert_int_not_equal(sv_events_open(&settings, &e), CZ_OK);
    assert_null(e);
    if (strstr(cz_last_error(), reason) == NULL) print_error("%s\n", cz_last_error());
    assert_non_null(strstr(cz_last_error(), reason));
    assert_null(strchr(cz_last_error(), '\n'));
}

static void refused_files(void **state)
{
    (void)state;
    make_database(in_folder("other.db"), "CREATE TABLE results (id INTEGER PRIMARY KEY)");
    refuse(in_folder("other.db"), "another program's");
    int application = ('C' << 24) | ('Z' << 16) | ('A' << 8) | 'D';
    char sql[128];
    (void)snprintf(sql, sizeof sql, "PRAGMA application_id = %d; PRAGMA user_version = 2", application);
    make_database(in_folder("newer.db"), sql);
    refuse(in_folder("newer.db"), "version 2");
    (void)snprintf(sql, sizeof sql, "PRAGMA application_id = %d; PRAGMA user_version = 1; CREATE TABLE results (id)",
                   application);
    make_database(in_folder("layout.db"), sql);
    refuse(in_folder("layout.db"), "can be used");
    char text[4096];
    FILE *f = fopen(in_folder("text.db"), "w");
    assert_non_null(f);
    memset(text, 'x', sizeof text);
    assert_int_equal(fwrite(text, 1, sizeof text, f), sizeof text);
    assert_int_equal(fclose(f), 0);
    refuse(in_folder("text.db"), "not an SQLite database");
    refuse(folder, "must be a file");
    refuse("/dev/null", "must be a file");
    refuse(in_folder("none/history.db"), "cannot be");
    struct stat info; /* nothing was changed */
    assert_int_equal(stat(in_folder("text.db"), &info), 0);
    assert_int_equal(info.st_size, 4096);
    f = fopen(in_folder("empty.db"), "w"); /* an empty file is an empty database */
    assert_int_equal(fclose(f), 0);
    sv_events_close(open_events(in_folder("empty.db")), 1);
}

static void retention(void **state)
{
    (void)state;
    const char *path = in_folder("many.db");
    sv_sink *sink = NULL;
    sv_reader *reader = NULL;
    int64_t rows = 0;
    const sv_filter all = {.decision = -2, .most = 1, .seconds = 5};
    assert_int_equal(sv_history_open(path, 2500, &sink), CZ_OK);
    assert_int_equal(sv_reader_open(path, &reader), CZ_OK);
    sv_event event = {.wall = 1, .model = "m"};
    for (int i = 1; i <= 6000; i++) {
        event.score = i;
        sv_sink_push(sink, &event);
        if (i % 1000 != 0) continue;
        sv_sink_flush(sink, 30);
        assert_int_equal(sv_reader_count(reader, &all, &rows), CZ_OK);
        assert_in_range(rows, i < 1500 ? i : 1500 - 256, i < 2500 ? i : 2500);
    }
    assert_int_equal(sv_sink_lost(sink), 0);
    sv_sink_end(sink, 1);
    sv_sink_join(sink);
    sv_reader_close(reader);
    sqlite3 *db = NULL;
    sqlite3_stmt *q = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "SELECT max(id), max(score), max(id) - min(id) + 1 - count(*) FROM results",
                                        -1, &q, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_step(q), SQLITE_ROW);
    assert_int_equal(sqlite3_column_int(q, 0), 6000); /* the latest are kept, without a gap */
    assert_int_equal(sqlite3_column_int(q, 1), 6000);
    assert_int_equal(sqlite3_column_int(q, 2), 0);
    (void)sqlite3_finalize(q);
    (void)sqlite3_close(db);
}

static void assert_intact(const char *path, int64_t least)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *q = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &q, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(q), SQLITE_ROW);
    assert_string_equal((const char *)sqlite3_column_text(q, 0), "ok");
    (void)sqlite3_finalize(q);
    assert_int_equal(sqlite3_prepare_v2(db, "SELECT count(*) FROM results", -1, &q, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(q), SQLITE_ROW);
    assert_true(sqlite3_column_int64(q, 0) >= least);
    (void)sqlite3_finalize(q);
    (void)sqlite3_close(db);
}

static void disk_full(void **state)
{
    (void)state;
    const char *path = in_folder("full.db");
    struct rlimit before, small;
    sv_events *e = open_events(path);
    score(e, "m", "first", 1, 0);
    expect_rows(e, NULL, NULL, -2, "first");
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 200 * 1000;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    const double start = sv_now();
    for (int i = 0; i < 3000; i++) score(e, "m", "lost or not", 1, 0);
    assert_true(sv_now() - start < 1);
    json_t *h = NULL;
    for (int i = 0; i < 20; i++) { /* until all were tried; reading goes on */
        json_decref(h);
        h = sv_events_history(e, NULL, NULL, -2, 0, 1);
        assert_non_null(h);
    }
    json_decref(h);
    char *text = metrics(e);
    const double lost = value_of(text, "cozad_sink_lost_total{sink=\"history\"}");
    free(text);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_true(lost > 0 && lost <= 3000);
    score(e, "m", "last", 1, 0); /* there is room again */
    h = sv_events_history(e, NULL, NULL, -2, 0, 1);
    assert_string_equal(names(h), "last");
    text = metrics(e);
    assert_int_equal((double)total(h) + value_of(text, "cozad_sink_lost_total{sink=\"history\"}"), 3002);
    free(text);
    json_decref(h);
    sv_events_close(e, 5);
    assert_intact(path, 2);
}

/* Writes until it is killed, and tells how many rows its history has shown it. */
static void write_forever(const char *path, int told)
{
    sv_settings settings;
    sv_events *e = NULL;
    sv_settings_init(&settings);
    settings.history = path;
    if (sv_events_open(&settings, &e) != CZ_OK) _exit(1);
    for (;;) {
        for (int i = 0; i < 50; i++) score(e, "m", "name of a photo.jpg", 1, i % 2);
        json_t *h = sv_events_history(e, NULL, NULL, -2, 0, 1);
        const json_int_t rows = total(h);
        json_decref(h);
        if (write(told, &rows, sizeof rows) != (ssize_t)sizeof rows) _exit(1);
    }
}

static void killed(void **state)
{
    (void)state;
    const char *path = in_folder("killed.db");
    for (int round = 0; round < 5; round++) {
        int ends[2];
        json_int_t rows = 0, last = 0;
        assert_int_equal(pipe(ends), 0);
        const pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            (void)close(ends[0]);
            write_forever(path, ends[1]);
        }
        (void)close(ends[1]);
        const double until = sv_now() + 0.3 + 0.07 * round;
        while (sv_now() < until && read(ends[0], &rows, sizeof rows) == (ssize_t)sizeof rows) last = rows;
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_int_equal(waitpid(child, NULL, 0), child);
        while (read(ends[0], &rows, sizeof rows) == (ssize_t)sizeof rows) last = rows;
        (void)close(ends[0]);
        assert_true(last > 0);
        assert_intact(path, last);
    }
    sv_events_close(open_events(path), 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(history_in_memory),
        cmocka_unit_test(history_on_disk),
        cmocka_unit_test(hostile_values),
        cmocka_unit_test(long_names),
        cmocka_unit_test(csv),
        cmocka_unit_test(refused_files),
        cmocka_unit_test(retention),
        cmocka_unit_test(disk_full),
        cmocka_unit_test(killed),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
