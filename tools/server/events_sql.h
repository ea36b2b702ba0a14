/* SPDX-License-Identifier: Apache-2.0 */
/* What the writer and the reader of the history's database share. */
#ifndef SV_EVENTS_SQL_H
#define SV_EVENTS_SQL_H

#include "events_internal.h"

#include <sqlite3.h>

enum { SV_SQL_APPLICATION = 0x435a4144 /* "CZAD" */, SV_SQL_SCHEMA = 1 };

/* `flags`: SQLITE_OPEN_READWRITE | …. A path is a path, also ":memory:" and "file:…". */
cz_status sv_sql_open(const char *path, int flags, sqlite3 **out);
/* An integer that a PRAGMA or a SELECT gives. */
int sv_sql_integer(sqlite3 *db, const char *sql, int64_t *out);

#endif
