/* SPDX-License-Identifier: Apache-2.0 */
/* The queue and the threads. Each worker has sessions of one thread of its own, so that none waits for another (docs/throughput.md).
 *
 * Images are computed one by one unless sv_pool_batch says otherwise. Batches of 1, 2 and 4 were measured with one-thread sessions, in
 * milliseconds of processor time an image, 256 x 256: ResNet-18 fp32 66 to 69, 65 to 75, 69 to 70; Wide-ResNet-50-2 int8 51 to 53, 47,
 * 36 to 51, where two runs of the same differ by as much. What a batch may gain is less than what it costs: its first image waits for the
 * last, and a score's last digits would depend on who else asked at the time. */
#include "pool.h"

#include "log.h"
#include "pool_work.h"

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MOST_WORKERS = 1024 };
/* A session of a replaced model is kept so long while requests for it may still be in the queue. */
static const double stale_seconds = 1.0;

typedef struct worker {
    sv_pool *pool;
    size_t index;
    pthread_t thread;
} worker;

struct sv_pool {
    sv_settings settings;
    pthread_mutex_t lock; /* of all below but `cancel` */
    pthread_cond_t work;  /* for workers that may take: there is some */
    pthread_cond_t rest;  /* for workers beyond `active`: they may take, or look at their sessions */
    pthread_cond_t done;  /* nothing waits and nothing runs */
    sv_job *first, *last; /* waiting */
    size_t waiting, running, active, batch;
    uint64_t finished, rejected, expired;
    bool closing;
    atomic_bool cancel;
    size_t count; /* of workers that were started */
    worker workers[];
};

/* ---- workers ------------------------------------------------------------------------------------------------------- */

/* Beyond one job only where all workers have one: latency before throughput. With the lock held. */
static size_t take(sv_pool *p, sv_job **jobs)
{
    const size_t share = (p->waiting + p->active - 1) / p->active;
    const uint64_t serial = p->first->model->serial;
    const size_t most = share < p->batch ? share : p->batch;
    size_t count = 0;
    while (count < most && p->first != NULL && p->first->model->serial == serial) {
        jobs[count] = p->first;
        p->first = p->first->next;
        jobs[count++]->next = NULL;
    }
    if (p->first == NULL) p->last = NULL;
    p->waiting -= count;
    p->running += count;
    return count;
}

/* 0: the pool ends. */
static size_t wait_for_jobs(worker *w, sv_bench *b, sv_job **jobs)
{
    sv_pool *p = w->pool;
    size_t count = 0;
    sv_bench_sweep(b, stale_seconds);
    (void)pthread_mutex_lock(&p->lock);
    while (count == 0 && !(p->closing && p->first == NULL)) {
        const bool may = w->index < p->active;
        if (may && p->first != NULL) {
            b->max_batch = p->batch;
            count = take(p, jobs);
        } else if (sv_bench_stale(b, 0.0)) {
            (void)pthread_mutex_unlock(&p->lock);
            sv_bench_sweep(b, 0.0);
            (void)pthread_mutex_lock(&p->lock);
        } else {
            (void)pthread_cond_wait(may ? &p->work : &p->rest, &p->lock);
        }
    }
    (void)pthread_mutex_unlock(&p->lock);
    return count;
}

static void finished(void *ctx, sv_job *job)
{
    sv_pool *p = ctx;
    const bool late = job->outcome.status == CZ_E_CANCELLED && !atomic_load(&p->cancel);
    (void)pthread_mutex_lock(&p->lock);
    if (late) p->expired++;
    if (!late) p->finished++;
    (void)pthread_mutex_unlock(&p->lock);
    job->done(job->ctx, job);
    (void)pthread_mutex_lock(
        &p->lock); /* one that runs is one whose `done` has not returned: sv_pool_close waits for it */
    p->running--;
    if (p->running == 0 && p->waiting == 0) (void)pthread_cond_broadcast(&p->done);
    (void)pthread_mutex_unlock(&p->lock);
}

static void *run(void *argument)
{
    worker *w = argument;
    sv_pool *p = w->pool;
    sv_job *jobs[SV_BATCH_MOST];
    sv_bench bench;
    size_t count;
    sv_bench_init(&bench, &p->settings, &p->cancel);
    while ((count = wait_for_jobs(w, &bench, jobs)) > 0) sv_bench_run(&bench, jobs, count, finished, p);
    sv_bench_free(&bench);
    return NULL;
}

/* With all signals but those of a program's own mistakes blocked: see the conventions of cozad.h. */
static bool start(worker *w)
{
    static const int own[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP};
    sigset_t all, before;
    (void)sigfillset(&all);
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) (void)sigdelset(&all, own[i]);
    if (pthread_sigmask(SIG_SETMASK, &all, &before) != 0) return false;
    const bool started = pthread_create(&w->thread, NULL, run, w) == 0;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

static void wake_all(sv_pool *p)
{
    (void)pthread_cond_broadcast(&p->work);
    (void)pthread_cond_broadcast(&p->rest);
}

/* ---- open, close --------------------------------------------------------------------------------------------------- */

/* Processors that this process may run on. */
static size_t processors(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0) return (size_t)CPU_COUNT(&set);
    const long online = sysconf(_SC_NPROCESSORS_ONLN); /* more of them than fit in the set */
    return online > 0 ? (size_t)online : 1;
}

static bool make_locks(sv_pool *p)
{
    pthread_condattr_t clock;
    if (pthread_condattr_init(&clock) != 0) return false;
    const bool made = pthread_condattr_setclock(&clock, CLOCK_MONOTONIC) == 0 &&
                      pthread_mutex_init(&p->lock, NULL) == 0 && pthread_cond_init(&p->work, NULL) == 0 &&
                      pthread_cond_init(&p->rest, NULL) == 0 && pthread_cond_init(&p->done, &clock) == 0;
    (void)pthread_condattr_destroy(&clock);
    return made;
}

cz_status sv_pool_open(const sv_settings *settings, sv_pool **out)
{
    size_t count = settings->threads > 0 ? settings->threads : processors();
    if (count > MOST_WORKERS) count = MOST_WORKERS;
    sv_pool *p = calloc(1, sizeof *p + count * sizeof *p->workers);
    if (p == NULL || !make_locks(p)) {
        free(p);
        return sv_fail(CZ_E_MEMORY, "out of memory");
    }
    p->settings = *settings;
    if (p->settings.max_pixels == 0) p->settings.max_pixels = (uint64_t)1 << 26;
    if (p->settings.queue == 0) p->settings.queue = 256;
    p->batch = 1;
    p->active = count;
    atomic_init(&p->cancel, false);
    for (; p->count < count; p->count++) {
        p->workers[p->count] = (worker){.pool = p, .index = p->count};
        if (!start(&p->workers[p->count])) break;
    }
    if (p->count == 0) {
        sv_pool_close(p, 0.0);
        return sv_fail(CZ_E_MEMORY, "no worker could be started");
    }
    sv_pool_limit(p, 1.0); /* fewer may have been started than were asked for */
    *out = p;
    return CZ_OK;
}

static void wait_until_done(sv_pool *p, double seconds)
{
    struct timespec end;
    if (!(seconds > 0.0)) return;
    (void)clock_gettime(CLOCK_MONOTONIC, &end);
    const double whole = floor(fmin(seconds, 1e6));
    end.tv_sec += (time_t)whole;
    end.tv_nsec += (long)((fmin(seconds, 1e6) - whole) * 1e9);
    if (end.tv_nsec >= 1000000000L) {
        end.tv_nsec -= 1000000000L;
        end.tv_sec++;
    }
    while (p->waiting + p->running > 0) {
        if (pthread_cond_timedwait(&p->done, &p->lock, &end) != 0) return;
    }
}

void sv_pool_close(sv_pool *p, double seconds)
{
    if (p == NULL) return;
    (void)pthread_mutex_lock(&p->lock);
    p->closing = true;
    p->active = p->count;
    wake_all(p);
    if (p->count > 0) wait_until_done(p, seconds);
    if (p->waiting + p->running > 0)
        sv_log(SV_WARN, "pool cancelled", "waiting", "%zu", p->waiting, "running", "%zu", p->running, NULL);
    atomic_store(&p->cancel, true);
    (void)pthread_mutex_unlock(&p->lock);
    for (size_t i = 0; i < p->count; i++) (void)pthread_join(p->workers[i].thread, NULL);
    (void)pthread_cond_destroy(&p->work);
    (void)pthread_cond_destroy(&p->rest);
    (void)pthread_cond_destroy(&p->done);
    (void)pthread_mutex_destroy(&p->lock);
    free(p);
}

/* ---- asked for ----------------------------------------------------------------------------------------------------- */

cz_status sv_pool_submit(sv_pool *p, sv_job *const *jobs, size_t count)
{
    cz_status status = CZ_OK;
    const double now = sv_now();
    (void)pthread_mutex_lock(&p->lock);
    if (p->closing) {
        status = CZ_E_CANCELLED;
    } else if (count > p->settings.queue - p->waiting) { /* never more of them wait */
        status = CZ_E_LIMIT;
        p->rejected += count;
    }
    for (size_t i = 0; status == CZ_OK && i < count; i++) {
        jobs[i]->submitted = now;
        jobs[i]->next = NULL;
        if (p->last != NULL) p->last->next = jobs[i];
        if (p->last == NULL) p->first = jobs[i];
        p->last = jobs[i];
        p->waiting++;
        (void)pthread_cond_signal(&p->work);
    }
    (void)pthread_mutex_unlock(&p->lock);
    if (status == CZ_E_CANCELLED) return sv_fail(status, "the server is ending");
    if (status != CZ_OK) return sv_fail(status, "too many images are waiting; try again later");
    return CZ_OK;
}

void sv_pool_state_get(sv_pool *p, sv_pool_state *out)
{
    (void)pthread_mutex_lock(&p->lock);
    *out = (sv_pool_state){.waiting = p->waiting,
                           .running = p->running,
                           .workers = p->active,
                           .done = p->finished,
                           .rejected = p->rejected,
                           .expired = p->expired};
    (void)pthread_mutex_unlock(&p->lock);
}

void sv_pool_forget(sv_pool *p)
{
    (void)pthread_mutex_lock(&p->lock);
    wake_all(p);
    (void)pthread_mutex_unlock(&p->lock);
}

void sv_pool_batch(sv_pool *p, size_t most)
{
    (void)pthread_mutex_lock(&p->lock);
    p->batch = most < 1 ? 1 : most > SV_BATCH_MOST ? SV_BATCH_MOST : most;
    (void)pthread_mutex_unlock(&p->lock);
}

void sv_pool_limit(sv_pool *p, double share)
{
    (void)pthread_mutex_lock(&p->lock);
    const double workers = floor(share * (double)p->count);
    if (!p->closing) p->active = workers >= (double)p->count ? p->count : workers > 1.0 ? (size_t)workers : 1;
    wake_all(p); /* those of `work` and of `rest` are others now */
    (void)pthread_mutex_unlock(&p->lock);
}
