/* SPDX-License-Identifier: Apache-2.0 */
/* The studio's life, its worker and its replies. */
#include "studio_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

enum { HOUR = 3600 };

typedef struct studio_task {
    void (*run)(sv_studio *s, void *ctx);
    void *ctx;
    struct studio_task *next;
} studio_task;

/* ---- replies -------------------------------------------------------------------------------------------------------- */

studio_reply studio_json(int status, json_t *json)
{
    if (json == NULL) return studio_error(507, "out of memory");
    return (studio_reply){.status = status, .json = json};
}

studio_reply studio_error(int status, const char *format, ...)
{
    char text[STUDIO_TEXT];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    json_t *json = json_pack("{s:s}", "error", text);
    if (json == NULL) json = json_pack("{s:s}", "error", "the request was refused"); /* the text is not UTF-8 */
    return (studio_reply){.status = status, .json = json};
}

studio_reply studio_failure(cz_status status)
{
    const char *reason = cz_last_error();
    int code = 500;
    if (status == CZ_E_FORMAT || status == CZ_E_ARG || status == CZ_E_UNSUPPORTED) code = 400;
    if (status == CZ_E_LIMIT) code = 413;
    if (status == CZ_E_MEMORY || status == CZ_E_NO_SPACE) code = 507;
    return studio_error(code, "%s", reason[0] != '\0' ? reason : cz_status_name(status));
}

void studio_reply_free(studio_reply *r)
{
    json_decref(r->json);
    free(r->body);
    memset(r, 0, sizeof *r);
}

json_t *studio_real(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

json_t *studio_time(double wall)
{
    char text[32];
    return wall > 0.0 ? json_string(sv_time_text(wall, text)) : json_null();
}

/* ---- the worker ----------------------------------------------------------------------------------------------------- */

bool studio_submit(sv_studio *s, void (*run)(sv_studio *s, void *ctx), void *ctx)
{
    studio_task *task = malloc(sizeof *task);
    if (task == NULL) return false;
    *task = (studio_task){run, ctx, NULL};
    (void)pthread_mutex_lock(&s->lock);
    const bool taken = !s->closing && s->worker_started && s->tasks < STUDIO_TASKS;
    if (taken) {
        if (s->last != NULL) s->last->next = task;
        if (s->last == NULL) s->first = task;
        s->last = task;
        s->tasks++;
        (void)pthread_cond_signal(&s->work);
    }
    (void)pthread_mutex_unlock(&s->lock);
    if (!taken) free(task);
    return taken;
}

/* NULL with *end: nothing is left to do; NULL alone: it is time to look for what has grown old. */
static studio_task *next_task(sv_studio *s, double until, bool *end)
{
    (void)pthread_mutex_lock(&s->lock);
    while (s->first == NULL && !s->closing && sv_now() < until) {
        struct timespec limit;
        (void)clock_gettime(CLOCK_MONOTONIC, &limit);
        limit.tv_sec += (time_t)fmax(1.0, ceil(until - sv_now()));
        (void)pthread_cond_timedwait(&s->work, &s->lock, &limit);
    }
    studio_task *task = s->first;
    if (task != NULL) {
        s->first = task->next;
        if (s->first == NULL) s->last = NULL;
        s->tasks--;
    }
    *end = task == NULL && s->closing;
    (void)pthread_mutex_unlock(&s->lock);
    return task;
}

static void *work(void *studio)
{
    sv_studio *s = studio;
    bool end = false;
    double retain = sv_now();
    studio_adopt(s);
    while (!end) {
        if (sv_now() >= retain) {
            studio_retain(s);
            retain = sv_now() + HOUR;
        }
        studio_task *task = next_task(s, retain, &end);
        if (task == NULL) continue;
        task->run(s, task->ctx);
        free(task);
    }
    return NULL;
}

/* ---- life ----------------------------------------------------------------------------------------------------------- */

/* One server at a time: two would run the same jobs. */
static cz_status lock_state(sv_studio *s)
{
    char *path = studio_path("%s/lock", s->root);
    if (path == NULL) return sv_fail(CZ_E_MEMORY, "out of memory");
    s->lock_file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    free(path);
    if (s->lock_file < 0) return sv_fail(CZ_E_IO, "%s: cannot write there: %s", s->root, strerror(errno));
    if (flock(s->lock_file, LOCK_EX | LOCK_NB) == 0) return CZ_OK;
    return sv_fail(CZ_E_IO, "%s: another server uses this state folder", s->root);
}

static cz_status make_folders(sv_studio *s)
{
    static const char *const names[] = {"datasets", "jobs", "models"};
    cz_status status = CZ_OK;
    for (size_t i = 0; status == CZ_OK && i < sizeof names / sizeof *names; i++) {
        char *path = studio_path("%s/%s", s->root, names[i]);
        status = path != NULL ? studio_make_folder(path) : sv_fail(CZ_E_MEMORY, "out of memory");
        if (status == CZ_OK) studio_sweep(path);
        free(path);
    }
    return status;
}

/* A file's path must hold in the child, which runs in the state folder; a name is left as it is. */
static char *absolute(const char *name)
{
    char *path = realpath(name, NULL);
    return path != NULL ? path : strdup(name);
}

static cz_status settle_paths(sv_studio *s)
{
    const sv_settings *o = s->settings;
    const cz_status status = studio_make_folder(o->state_dir);
    if (status != CZ_OK) return status;
    s->root = realpath(o->state_dir, NULL);
    if (s->root == NULL) return sv_fail(CZ_E_IO, "%s: %s", o->state_dir, strerror(errno));
    s->binary = absolute(o->binary != NULL ? o->binary : "/proc/self/exe");
    s->backbone = o->backbone != NULL ? absolute(o->backbone) : NULL;
    s->models = o->model_dir != NULL ? absolute(o->model_dir) : studio_path("%s/models", s->root);
    const bool good = s->binary != NULL && s->models != NULL && (o->backbone == NULL || s->backbone != NULL);
    return good ? CZ_OK : sv_fail(CZ_E_MEMORY, "out of memory");
}

/* Half of the cores: the other half goes on scoring (sv_pool_limit). */
static size_t child_threads(const sv_settings *o)
{
    const long cores = sysconf(_SC_NPROCESSORS_ONLN);
    const size_t all = o->threads > 0 ? o->threads : cores > 0 ? (size_t)cores : 1;
    return all > 1 ? all - all / 2 : 1;
}

static void make_conditions(sv_studio *s)
{
    pthread_condattr_t clock;
    (void)pthread_mutex_init(&s->lock, NULL);
    (void)pthread_mutex_init(&s->saving, NULL);
    (void)pthread_condattr_init(&clock);
    (void)pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&s->work, &clock);
    (void)pthread_cond_init(&s->jobs_changed, &clock);
    (void)pthread_condattr_destroy(&clock);
}

cz_status studio_create(const sv_settings *settings, const studio_hooks *hooks, sv_studio **out)
{
    sv_studio *s = calloc(1, sizeof *s);
    if (s == NULL) return sv_fail(CZ_E_MEMORY, "out of memory");
    make_conditions(s);
    s->settings = settings;
    s->hooks = *hooks;
    s->lock_file = -1;
    s->quota = settings->quota > 0 ? settings->quota : UINT64_C(2000000000);
    s->threads = child_threads(settings);
    s->grace = 20.0;
    cz_status status = CZ_OK;
    if (settings->state_dir != NULL) {
        status = settle_paths(s);
        if (status == CZ_OK) status = lock_state(s);
        if (status == CZ_OK) status = make_folders(s);
        if (status == CZ_OK) status = studio_datasets_load(s);
        if (status == CZ_OK) status = studio_jobs_load(s);
    }
    if (status == CZ_OK) {
        *out = s;
    } else {
        sv_studio_close(s);
    }
    return status;
}

cz_status studio_start(sv_studio *s)
{
    /* Signals are for the server's own thread; those of a program's own mistakes stay with who makes them. */
    static const int own[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP};
    if (s->root == NULL) return CZ_OK;
    sigset_t all, before;
    (void)sigfillset(&all);
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) (void)sigdelset(&all, own[i]);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    (void)pthread_mutex_lock(&s->lock);
    s->worker_started = pthread_create(&s->worker, NULL, work, s) == 0;
    s->runner_started = s->worker_started && pthread_create(&s->runner, NULL, studio_run_jobs, s) == 0;
    (void)pthread_mutex_unlock(&s->lock);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return s->runner_started ? CZ_OK : sv_fail(CZ_E_MEMORY, "a thread cannot be started");
}

size_t sv_studio_running(sv_studio *s)
{
    (void)pthread_mutex_lock(&s->lock);
    const size_t running = s->running;
    (void)pthread_mutex_unlock(&s->lock);
    return running;
}

void sv_studio_close(sv_studio *s)
{
    if (s == NULL) return;
    (void)pthread_mutex_lock(&s->lock);
    s->closing = true;
    (void)pthread_cond_broadcast(&s->work);
    (void)pthread_cond_broadcast(&s->jobs_changed);
    (void)pthread_mutex_unlock(&s->lock);
    if (s->worker_started) (void)pthread_join(s->worker, NULL); /* what waits is answered */
    if (s->runner_started) (void)pthread_join(s->runner, NULL);
    for (size_t i = 0; i < s->dataset_count; i++) studio_dataset_free(s->datasets[i]);
    for (size_t i = 0; i < s->job_count; i++) studio_job_free(s->jobs[i]);
    free(s->datasets);
    free(s->jobs);
    if (s->lock_file >= 0) (void)close(s->lock_file);
    free(s->root);
    free(s->binary);
    free(s->backbone);
    free(s->models);
    free(s->routes);
    (void)pthread_cond_destroy(&s->work);
    (void)pthread_cond_destroy(&s->jobs_changed);
    (void)pthread_mutex_destroy(&s->saving);
    (void)pthread_mutex_destroy(&s->lock);
    free(s);
}
