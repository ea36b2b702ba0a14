/* SPDX-License-Identifier: Apache-2.0 */
/* A results folder: what it was made for, and who works in it. */
#include "jobs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

static char *shown(const json_t *value)
{
    return value != NULL ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(9))
                         : strdup("not set");
}

/* Counts keys of two objects that differ and writes the first into `text`. */
static size_t differences(json_t *before, json_t *now, const char *prefix, char text[400])
{
    size_t count = 0;
    const char *key;
    json_t *unused, *all = json_copy(before);
    if (all == NULL || json_object_update_missing(all, now) != 0) count = 1;
    json_object_foreach(all, key, unused)
    {
        json_t *old = json_object_get(before, key), *new = json_object_get(now, key);
        if (old != NULL && new != NULL && json_equal(old, new)) continue;
        if (json_is_object(old) && json_is_object(new)) {
            char below[64];
            (void)snprintf(below, sizeof below, "%s%s.", prefix, key);
            count += differences(old, new, below, text);
            continue;
        }
        char *was = shown(old), *is = shown(new);
        if (count == 0 && was != NULL && is != NULL && text[0] == '\0') {
            (void)snprintf(text, 400, "%s%.60s was %.120s and is now %.120s", prefix, key, was, is);
        }
        free(was);
        free(is);
        count++;
    }
    json_decref(all);
    return count;
}

int jobs_compare(const jobs *j, const char *path, json_t *mine, const char *what)
{
    if (!jobs_exists(path)) return CLI_OK;
    json_t *theirs = jobs_read_json(path, true);
    if (theirs == NULL) return CLI_USAGE;
    char text[400] = "";
    const size_t count = differences(theirs, mine, "", text);
    json_decref(theirs);
    if (count == 0) return CLI_OK;
    cli_error("%s holds results of another %s: %s%s; choose another folder", j->folder, what, text,
              count > 1 ? " (and more)" : "");
    return CLI_USAGE;
}

int jobs_lock(jobs *j)
{
    char path[JOBS_PATH + 8], holder[64] = "";
    (void)snprintf(path, sizeof path, "%s/.lock", j->folder);
    /* Not closed on exec: a child that outlives this process (kill -9) goes on holding the lock. */
    j->lock = open(path, O_RDWR | O_CREAT, 0666); // NOLINT
    if (j->lock < 0) {
        cli_error("%s: %s", path, strerror(errno));
        return CLI_RESOURCES;
    }
    if (flock(j->lock, LOCK_EX | LOCK_NB) == 0) {
        jobs_note_child(j, 0);
        return CLI_OK;
    }
    const ssize_t size = pread(j->lock, holder, sizeof holder - 1, 0);
    holder[size > 0 ? size : 0] = '\0';
    holder[strcspn(holder, "\n")] = '\0';
    cli_error("%s: another run works in this folder (process %s)", j->folder, holder[0] != '\0' ? holder : "unknown");
    (void)close(j->lock);
    j->lock = -1;
    return CLI_RESOURCES;
}

void jobs_note_child(const jobs *j, pid_t child)
{
    char text[64];
    if (j->lock < 0) return;
    if (child != 0) {
        (void)snprintf(text, sizeof text, "%ld and its child %ld\n", (long)getpid(), (long)child);
    } else {
        (void)snprintf(text, sizeof text, "%ld\n", (long)getpid());
    }
    /* Only for a message: nothing depends on its being written. */
    if (ftruncate(j->lock, 0) == 0 && pwrite(j->lock, text, strlen(text), 0) < 0) return;
}

void jobs_unlock(jobs *j)
{
    if (j->lock >= 0) (void)close(j->lock);
    j->lock = -1;
}
