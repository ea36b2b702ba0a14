/* SPDX-License-Identifier: Apache-2.0 */
/* Verbs that run `cozad train` and `cozad eval` many times (ablate, eval --contaminate): one child process at a time, and a
 * results folder in which everything that is done stays, so that the same command goes on from there. */
#ifndef JOBS_H
#define JOBS_H

#include "common.h"

#include <sys/types.h>

enum { JOBS_PATH = 4096 };

typedef struct jobs {
    const char *folder; /* of the results; at most JOBS_PATH / 2 bytes, which its user checks */
    const char *binary; /* what is run as `cozad` */
    int lock;           /* file descriptor, -1: none */
} jobs;

/* ---- jobs_files.c: exit codes ------------------------------------------------------------------------------------- */

bool jobs_exists(const char *path);
int jobs_make_folder(const char *path);
/* Temporary file, fsync, rename. An exit code. */
int jobs_write(const char *path, const char *text, size_t size);
/* The same with indented JSON; takes the reference. */
int jobs_write_json(const char *path, json_t *value);
/* NULL when there is none or it is no JSON object; `say` names the reason on stderr. */
json_t *jobs_read_json(const char *path, bool say);

/* ---- jobs_folder.c ------------------------------------------------------------------------------------------------ */

/* Nobody else works in the folder until jobs_unlock; an exit code. */
int jobs_lock(jobs *j);
void jobs_unlock(jobs *j);
/* Says in the lock file who works here, for the message that the next one prints. child 0: none. */
void jobs_note_child(const jobs *j, pid_t child);
/* The object in the file at `path`, where there is one, is what the folder was made for: CLI_USAGE and the first
 * difference where it is not `mine`. `what`: "base" in "results of another base". */
int jobs_compare(const jobs *j, const char *path, json_t *mine, const char *what);

/* ---- jobs_child.c ------------------------------------------------------------------------------------------------- */

typedef struct jobs_end {
    int exit;   /* exit code; -1 when ended by a signal */
    int signal; /* 0: none */
} jobs_end;
/* Runs `binary` with the words (an array of strings, the first is the program's name) and waits. Standard output goes to
 * the file `out`, standard error is passed on. An interruption is forwarded; the child is waited for in any case. Returns
 * CLI_OK (see *end), CLI_INTERRUPTED or CLI_RESOURCES. */
int jobs_run_child(const jobs *j, const json_t *words, const char *out, jobs_end *end);
/* Exit code 3 with the file there: some photos could not be read, which train and eval have said. */
bool jobs_went_well(const jobs_end *end, const char *file);
/* The words as one line for a shell; free(). */
char *jobs_shell_line(const json_t *words);
/* A word more; false: out of memory, or not UTF-8. */
bool jobs_push(json_t *words, const char *text);
/* What training and evaluation share: threads (0: not said), feature store, --quiet. `usual_limit`: of the feature store; another
 * one is passed on. */
bool jobs_push_running(json_t *words, const common_options *common, uint64_t usual_limit, size_t threads);
/* Of a clock that only goes forward. */
double jobs_seconds(void);

#endif
