/* SPDX-License-Identifier: Apache-2.0 */
/* A child process, and what it writes. */
#include "studio_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

enum { NICE = 10, LINE_MOST = 1 << 18, PART = 1 << 16, WORDS = 4096 };

/* ---- starting ------------------------------------------------------------------------------------------------------- */

typedef struct files {
    int in, out, err, lock; /* above those that they become in the child */
} files;

static int high(int file)
{
    if (file < 0 || file > 9) return file;
    const int copy = fcntl(file, F_DUPFD_CLOEXEC, 10);
    (void)close(file);
    return copy;
}

static void close_files(const files *f)
{
    const int all[] = {f->in, f->out, f->err, f->lock};
    for (size_t i = 0; i < 4; i++)
        if (all[i] >= 0) (void)close(all[i]);
}

static cz_status open_files(const studio_child *c, files *f)
{
    const int flags = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW;
    *f = (files){-1, -1, -1, -1};
    f->lock = high(open(c->lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640));
    if (f->lock >= 0 && flock(f->lock, LOCK_EX | LOCK_NB) != 0) {
        close_files(f);
        return sv_fail(CZ_E_CANCELLED, "an earlier process of this job still runs");
    }
    f->in = high(open("/dev/null", O_RDONLY | O_CLOEXEC));
    f->out = high(open(c->out, flags, 0640));
    f->err = high(open(c->err, flags, 0640));
    if (f->lock >= 0 && f->in >= 0 && f->out >= 0 && f->err >= 0) return CZ_OK;
    const int error = errno;
    close_files(f);
    if (error == ENOSPC || error == EDQUOT) return sv_fail(CZ_E_NO_SPACE, "the server's disk is full");
    return sv_fail(CZ_E_IO, "the job's files cannot be written: %s", strerror(error));
}

/* Between fork and exec in a program of many threads: nothing but system calls. */
static void become(const studio_child *c, const files *f, pid_t parent)
{
    static const int defaults[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGXFSZ, SIGCHLD, SIGQUIT};
    static const char failed[] = "cozad: the program that trains cannot be run\n";
    struct sigaction action;
    sigset_t none;
    memset(&action, 0, sizeof action);
    action.sa_handler = SIG_DFL;
    for (size_t i = 0; i < sizeof defaults / sizeof *defaults; i++) (void)sigaction(defaults[i], &action, NULL);
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)setpgid(0, 0);
    (void)setpriority(PRIO_PROCESS, 0, NICE);
    /* The lock's descriptor goes on into the program: it is free when the last process of the group has ended. */
    if (dup2(f->in, 0) < 0 || dup2(f->out, 1) < 0 || dup2(f->err, 2) < 0 || dup2(f->lock, 3) < 0) _exit(127);
    (void)close_range(4, ~0U, 0);
    /* A server that is killed takes it along; there is the last checkpoint. SIGINT would be sent again by each of the server's threads that
     * dies after the one before it, and the third one ends cozad at once anyway. */
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(127); /* it ended in between */
    if (chdir(c->folder) == 0) (void)execv(c->words[0], c->words);
    (void)!write(2, failed, sizeof failed - 1);
    _exit(127);
}

cz_status studio_child_start(const studio_child *c, pid_t *pid)
{
    files f;
    const pid_t parent = getpid();
    const cz_status status = open_files(c, &f);
    if (status != CZ_OK) return status;
    const pid_t child = fork();
    if (child == 0) become(c, &f, parent);
    const int error = errno;
    close_files(&f);
    if (child < 0) return sv_fail(CZ_E_MEMORY, "a process cannot be started: %s", strerror(error));
    (void)setpgid(child, child); /* whoever comes first */
    *pid = child;
    return CZ_OK;
}

void studio_child_signal(pid_t pid, int number)
{
    if (kill(-pid, number) != 0) (void)kill(pid, number);
}

/* ---- its messages --------------------------------------------------------------------------------------------------- */

bool studio_last_words(const char *path, char out[STUDIO_TEXT])
{
    char text[WORDS + 1], *found = NULL;
    const int file = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (file < 0) return false;
    const off_t size = lseek(file, 0, SEEK_END);
    const ssize_t got = size > 0 ? pread(file, text, WORDS, size > WORDS ? size - WORDS : 0) : 0;
    (void)close(file);
    if (got <= 0) return false;
    text[got] = '\0';
    for (ssize_t i = 0; i < got; i++)
        if (text[i] == '\0') text[i] = '?';
    for (char *line = text; line != NULL && *line != '\0';) {
        char *stop = strchr(line, '\n');
        if (stop != NULL) *stop = '\0';
        if (strncmp(line, "cozad: ", 7) == 0) found = line + 7;
        line = stop != NULL ? stop + 1 : NULL;
    }
    if (found == NULL) return false;
    json_t *valid = json_string(found); /* it is to be shown: UTF-8 or nothing */
    for (char *p = found; valid == NULL && *p != '\0'; p++)
        if ((unsigned char)*p >= 0x80) *p = '?';
    json_decref(valid);
    size_t length = strlen(found);
    if (length >= STUDIO_TEXT) length = STUDIO_TEXT - 1;
    while (length > 0 && ((unsigned char)found[length] & 0xc0) == 0x80) length--; /* no half character */
    (void)snprintf(out, STUDIO_TEXT, "%.*s", (int)length, found);
    return true;
}

/* ---- its log -------------------------------------------------------------------------------------------------------- */

/* A line about a phase without steps. With the last of its photos a phase after the steps gives way to the saving, of which no line
 * tells. */
static void take_phase(const json_t *line, const char *event, studio_progress *p)
{
    static const char *const phases[] = {"features", "precision", "statistics", "comparing", "confidence"};
    const json_int_t done = json_integer_value(json_object_get(line, "done"));
    const json_int_t total = json_integer_value(json_object_get(line, "total"));
    for (size_t i = 0; i < sizeof phases / sizeof *phases; i++) {
        if (strcmp(event, phases[i]) != 0 || done < 0 || total <= 0 || done > total) continue;
        p->phase = done < total || !p->any_step ? phases[i] : NULL;
        p->share = (double)done / (double)total;
    }
}

static void take_line(const char *text, size_t size, studio_progress *p)
{
    json_t *line = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL);
    const char *event = json_string_value(json_object_get(line, "event"));
    const json_int_t step = json_integer_value(json_object_get(line, "step"));
    const json_int_t steps = json_integer_value(json_object_get(line, "steps"));
    if (event != NULL && strcmp(event, "start") == 0) {
        p->started = true;
        p->phase = NULL;
    } else if (event != NULL && strcmp(event, "step") == 0 && step >= 0 && step < steps) {
        const json_t *loss = json_object_get(line, "loss"), *left = json_object_get(line, "seconds_left");
        p->any_step = true;
        p->phase = NULL;
        p->step = (size_t)step + 1;
        p->steps = (size_t)steps;
        p->loss = json_is_number(loss) ? json_number_value(loss) : NAN;
        p->eta = json_is_number(left) ? json_number_value(left) : NAN;
    } else if (event != NULL) {
        take_phase(line, event, p);
    }
    json_decref(line);
}

/* Lines that are longer than any of a log are passed over. */
static void take_part(studio_log *log, const char *part, size_t size, studio_progress *p)
{
    while (size > 0) {
        const char *stop = memchr(part, '\n', size);
        const size_t length = stop != NULL ? (size_t)(stop - part) : size;
        if (log->used + length > LINE_MOST) log->skip = true;
        if (!log->skip) {
            memcpy(log->line + log->used, part, length);
            log->used += length;
        }
        if (stop == NULL) return;
        if (!log->skip && log->used > 0) take_line(log->line, log->used, p);
        log->used = 0;
        log->skip = false;
        part = stop + 1;
        size -= length + 1;
    }
}

void studio_log_read(studio_log *log, const char *path, studio_progress *progress)
{
    char part[PART];
    if (log->line == NULL && (log->line = malloc(LINE_MOST)) == NULL) return;
    const int file = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (file < 0) return;
    const off_t size = lseek(file, 0, SEEK_END);
    if (size >= 0 && size < log->at) { /* a new one */
        log->at = 0;
        log->used = 0;
        log->skip = false;
    }
    for (ssize_t got; (got = pread(file, part, sizeof part, log->at)) > 0;) {
        log->at += got;
        take_part(log, part, (size_t)got, progress);
    }
    (void)close(file);
}

void studio_log_free(studio_log *log)
{
    free(log->line);
    memset(log, 0, sizeof *log);
}
