/* SPDX-License-Identifier: Apache-2.0 */
/* Results as lines of a file. Lines are written whole, several at a time; a file that was moved away is made anew within a second. */
#include "events_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct jsonl {
    char *path; /* NULL: stdout */
    int file;   /* -1: could not be opened again */
    double looked;
    char block[SV_LINE]; /* a pipe takes as much at once when it takes any */
} jsonl;

static void release(void *ctx)
{
    jsonl *j = ctx;
    if (j->path != NULL && j->file >= 0) (void)close(j->file);
    free(j->path);
    free(j);
}

/* A pipe without a reader is an error instead of a wait. */
static int open_file(const char *path)
{
    return open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0666);
}

/* Is the file still what its path names? */
static void look(jsonl *j)
{
    struct stat held, named;
    const double now = sv_now();
    if (j->path == NULL || (j->file >= 0 && now - j->looked < 1.0)) return;
    j->looked = now;
    if (j->file >= 0 && fstat(j->file, &held) == 0 && stat(j->path, &named) == 0 && held.st_ino == named.st_ino &&
        held.st_dev == named.st_dev) {
        return;
    }
    const int fresh = open_file(j->path);
    if (fresh < 0) return; /* the old one is better than none */
    if (j->file >= 0) (void)close(j->file);
    j->file = fresh;
}

static void idle(void *ctx, sv_sink *sink)
{
    (void)sink;
    look(ctx);
}

/* False: the server ends. */
static bool writable(const jsonl *j, sv_sink *sink)
{
    struct pollfd p = {.fd = j->file, .events = POLLOUT};
    while (!sv_sink_late(sink)) {
        const int ready = poll(&p, 1, 200);
        if (ready > 0 || (ready < 0 && errno != EINTR)) return true;
    }
    sv_sink_reason(sink, "nobody reads what is written");
    return false;
}

/* Whole lines, or nothing of them where the file can be cut. */
static bool write_block(const jsonl *j, sv_sink *sink, size_t size)
{
    size_t done = 0;
    while (done < size) {
        if (!writable(j, sink)) break;
        const ssize_t n = write(j->file, j->block + done, size - done);
        if (n > 0) {
            done += (size_t)n;
        } else if (n == 0 || (errno != EINTR && errno != EAGAIN)) {
            sv_sink_reason(sink, "%s: %s", j->path == NULL ? "stdout" : j->path,
                           n == 0 ? "takes nothing" : strerror(errno));
            break;
        }
    }
    struct stat info;
    /* A full disk took a part: it ends at the file's end unless another process has appended to it since. */
    if (done > 0 && done < size && fstat(j->file, &info) == 0 && S_ISREG(info.st_mode) && info.st_size >= (off_t)done)
        (void)!ftruncate(j->file, info.st_size - (off_t)done);
    return done == size;
}

static size_t deliver(void *ctx, sv_sink *sink, const sv_event *events, size_t count)
{
    jsonl *j = ctx;
    size_t delivered = 0, waiting = 0, used = 0;
    look(j);
    if (j->file < 0) {
        sv_sink_reason(sink, "%s: cannot be opened", j->path);
        return 0;
    }
    for (size_t i = 0; i < count; i++) {
        char line[SV_LINE];
        const size_t length = sv_event_line(&events[i], line);
        if (length > sizeof j->block - used) {
            if (write_block(j, sink, used)) delivered += waiting;
            waiting = used = 0;
        }
        memcpy(j->block + used, line, length);
        used += length;
        waiting += length > 0;
    }
    if (write_block(j, sink, used)) delivered += waiting;
    return delivered;
}

cz_status sv_jsonl_open(const char *path, sv_sink **out)
{
    static const sv_sink_kind kind = {
        .name = "jsonl", .capacity = 1024, .batch = 64, .deliver = deliver, .idle = idle, .release = release};
    struct stat info;
    jsonl *j = calloc(1, sizeof *j);
    if (j == NULL) return sv_fail(CZ_E_MEMORY, "%s: out of memory", path);
    j->file = STDOUT_FILENO;
    if (strcmp(path, "-") != 0) {
        j->path = strdup(path);
        j->file = j->path == NULL ? -1 : open_file(path);
        if (j->file < 0 || fstat(j->file, &info) != 0) {
            const cz_status status = sv_fail(CZ_E_IO, "%s: results cannot be written: %s", path,
                                             j->path == NULL ? "out of memory" : strerror(errno));
            if (j->path == NULL) j->file = STDOUT_FILENO;
            release(j);
            return status;
        }
        j->looked = sv_now();
    }
    return sv_sink_start(&kind, j, false, out);
}
