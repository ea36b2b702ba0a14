/* SPDX-License-Identifier: Apache-2.0 */
/* A sink: a ring of results that wait, and the thread that delivers them. Nobody but that thread ever waits for the sink. */
#include "events_internal.h"
#include "log.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TELL_EVERY = 60 }; /* seconds between two log lines about losses */

struct sv_sink {
    sv_sink_kind kind;
    void *ctx;
    bool anomalies_only;
    pthread_t thread;
    sv_event *batch;       /* [kind.batch], the thread's */
    pthread_mutex_t mutex; /* over all that follows */
    pthread_cond_t woken, handled_more;
    sv_event *ring; /* [kind.capacity] */
    size_t first, count;
    uint64_t pushed, handled; /* results that came in, and that were delivered or lost after it */
    uint64_t lost, told;
    double told_at; /* 0: never */
    char reason[160];
    bool ending, ended; /* asked to; the thread touches nothing any more */
    double limit;       /* of sv_now */
};

static struct timespec later(double seconds)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    const double whole = (double)(time_t)seconds;
    t.tv_sec += (time_t)seconds;
    t.tv_nsec += (long)((seconds - whole) * 1e9);
    if (t.tv_nsec >= 1000000000L) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000L;
    }
    return t;
}

/* Tells of losses at once, then once a minute. With the mutex, which is open while the line is written. */
static void tell(sv_sink *s, bool last)
{
    const double now = sv_now();
    if (s->lost == s->told || (!last && s->told_at > 0 && now - s->told_at < TELL_EVERY)) return;
    const uint64_t fresh = s->lost - s->told, all = s->lost;
    char reason[sizeof s->reason];
    memcpy(reason, s->reason, sizeof reason);
    s->told = s->lost;
    s->told_at = now;
    (void)pthread_mutex_unlock(&s->mutex);
    sv_log(SV_WARN, "results_lost", "sink", "%s", s->kind.name, "lost", "%" PRIu64, fresh, "total", "%" PRIu64, all,
           "reason", "%s", reason, NULL);
    (void)pthread_mutex_lock(&s->mutex);
}

static void wait_for_work(sv_sink *s)
{
    while (s->count == 0 && !s->ending) {
        const struct timespec until = later(1.0);
        if (pthread_cond_timedwait(&s->woken, &s->mutex, &until) != ETIMEDOUT || s->count > 0) continue;
        tell(s, false);
        if (s->kind.idle == NULL) continue;
        (void)pthread_mutex_unlock(&s->mutex);
        s->kind.idle(s->ctx, s);
        (void)pthread_mutex_lock(&s->mutex);
    }
}

static size_t take(sv_sink *s)
{
    size_t n = 0;
    for (; n < s->kind.batch && s->count > 0; n++) {
        s->batch[n] = s->ring[s->first];
        s->first = (s->first + 1) % s->kind.capacity;
        s->count--;
    }
    return n;
}

static void *run(void *ctx)
{
    sv_sink *s = ctx;
    if (s->kind.begin != NULL) s->kind.begin(s->ctx, s);
    (void)pthread_mutex_lock(&s->mutex);
    for (;;) {
        wait_for_work(s);
        if (s->count == 0) break;
        if (s->ending && sv_now() >= s->limit) {
            s->lost += s->count;
            s->count = 0;
            break;
        }
        const size_t n = take(s);
        (void)pthread_mutex_unlock(&s->mutex);
        const size_t delivered = s->kind.deliver(s->ctx, s, s->batch, n);
        (void)pthread_mutex_lock(&s->mutex);
        s->handled += n;
        s->lost += n - delivered;
        (void)pthread_cond_broadcast(&s->handled_more);
        tell(s, false);
    }
    tell(s, true);
    (void)pthread_mutex_unlock(&s->mutex);
    if (s->kind.release != NULL) s->kind.release(s->ctx);
    (void)pthread_mutex_lock(&s->mutex);
    s->ended = true;
    (void)pthread_cond_broadcast(&s->handled_more);
    (void)pthread_mutex_unlock(&s->mutex);
    return NULL;
}

static void destroy(sv_sink *s)
{
    free(s->ring);
    free(s->batch);
    free(s);
}

static bool make_locks(sv_sink *s)
{
    pthread_condattr_t monotonic;
    if (pthread_condattr_init(&monotonic) != 0) return false;
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    int made = 0;
    if (pthread_mutex_init(&s->mutex, NULL) == 0) made = 1;
    if (made == 1 && pthread_cond_init(&s->woken, &monotonic) == 0) made = 2;
    if (made == 2 && pthread_cond_init(&s->handled_more, &monotonic) == 0) made = 3;
    (void)pthread_condattr_destroy(&monotonic);
    if (made == 3) return true;
    if (made >= 2) (void)pthread_cond_destroy(&s->woken);
    if (made >= 1) (void)pthread_mutex_destroy(&s->mutex);
    return false;
}

static void destroy_locks(sv_sink *s)
{
    (void)pthread_cond_destroy(&s->handled_more);
    (void)pthread_cond_destroy(&s->woken);
    (void)pthread_mutex_destroy(&s->mutex);
}

cz_status sv_sink_start(const sv_sink_kind *kind, void *ctx, bool anomalies_only, sv_sink **out)
{
    sigset_t all, before;
    sv_sink *s = calloc(1, sizeof *s);
    if (s == NULL) goto no_memory;
    s->kind = *kind;
    s->ctx = ctx;
    s->anomalies_only = anomalies_only;
    s->ring = calloc(kind->capacity, sizeof *s->ring);
    s->batch = calloc(kind->batch, sizeof *s->batch);
    if (s->ring == NULL || s->batch == NULL || !make_locks(s)) {
        destroy(s);
        goto no_memory;
    }
    (void)snprintf(s->reason, sizeof s->reason, "the queue is full");
    /* Signals are for the thread that waits for them; and what is written to a closed pipe or past a limit is an error here. */
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    const int error = pthread_create(&s->thread, NULL, run, s);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0) {
        destroy_locks(s);
        destroy(s);
        if (kind->release != NULL) kind->release(ctx);
        return sv_fail(CZ_E_INTERNAL, "%s: no thread: %s", kind->name, strerror(error));
    }
    *out = s;
    return CZ_OK;
no_memory:
    if (kind->release != NULL) kind->release(ctx);
    return sv_fail(CZ_E_MEMORY, "%s: out of memory", kind->name);
}

void sv_sink_push(sv_sink *s, const sv_event *event)
{
    if (s->anomalies_only && event->decision <= 0) return;
    (void)pthread_mutex_lock(&s->mutex);
    if (s->ending || s->count == s->kind.capacity) {
        s->lost++;
    } else {
        s->ring[(s->first + s->count) % s->kind.capacity] = *event;
        s->count++;
        s->pushed++;
        if (s->count == 1) (void)pthread_cond_signal(&s->woken);
    }
    (void)pthread_mutex_unlock(&s->mutex);
}

void sv_sink_flush(sv_sink *s, double seconds)
{
    const struct timespec until = later(seconds);
    (void)pthread_mutex_lock(&s->mutex);
    const uint64_t wanted = s->pushed;
    while (s->handled < wanted && !s->ending)
        if (pthread_cond_timedwait(&s->handled_more, &s->mutex, &until) == ETIMEDOUT) break;
    (void)pthread_mutex_unlock(&s->mutex);
}

uint64_t sv_sink_lost(sv_sink *s)
{
    (void)pthread_mutex_lock(&s->mutex);
    const uint64_t lost = s->lost;
    (void)pthread_mutex_unlock(&s->mutex);
    return lost;
}

const char *sv_sink_name(const sv_sink *s)
{
    return s->kind.name;
}

void sv_sink_end(sv_sink *s, double seconds)
{
    if (s == NULL) return;
    (void)pthread_mutex_lock(&s->mutex);
    s->ending = true;
    s->limit = sv_now() + (seconds > 0 ? seconds : 0);
    (void)pthread_cond_broadcast(&s->woken);
    (void)pthread_cond_broadcast(&s->handled_more);
    (void)pthread_mutex_unlock(&s->mutex);
}

void sv_sink_join(sv_sink *s)
{
    if (s == NULL) return;
    (void)pthread_mutex_lock(&s->mutex);
    const double left = s->limit - sv_now();
    /* Beyond the limit a deliverer needs a moment to notice; one that hangs in a system call (a dead file server) never does. */
    const struct timespec until = later((left > 0 ? left : 0) + 3.0);
    while (!s->ended)
        if (pthread_cond_timedwait(&s->handled_more, &s->mutex, &until) == ETIMEDOUT) break;
    const bool ended = s->ended;
    (void)pthread_mutex_unlock(&s->mutex);
    if (!ended) {
        sv_log(SV_ERROR, "sink_hangs", "sink", "%s", s->kind.name, NULL);
        (void)pthread_detach(s->thread);
        return; /* it may still use its memory */
    }
    (void)pthread_join(s->thread, NULL);
    destroy_locks(s);
    destroy(s);
}

bool sv_sink_late(sv_sink *s)
{
    (void)pthread_mutex_lock(&s->mutex);
    tell(s, false);
    const bool late = s->ending && sv_now() >= s->limit;
    (void)pthread_mutex_unlock(&s->mutex);
    return late;
}

bool sv_sink_wait(sv_sink *s, double seconds)
{
    const double end = sv_now() + seconds;
    (void)pthread_mutex_lock(&s->mutex);
    for (;;) {
        tell(s, false);
        const double now = sv_now(), stop = s->ending && s->limit < end ? s->limit : end;
        if (now >= stop) break;
        const struct timespec until = later(stop - now); /* the end of the server wakes it: sv_sink_end */
        (void)pthread_cond_timedwait(&s->woken, &s->mutex, &until);
    }
    const bool late = s->ending && sv_now() >= s->limit;
    (void)pthread_mutex_unlock(&s->mutex);
    return !late;
}

void sv_sink_reason(sv_sink *s, const char *format, ...)
{
    char text[sizeof s->reason];
    va_list list;
    va_start(list, format);
    (void)vsnprintf(text, sizeof text, format, list);
    va_end(list);
    (void)pthread_mutex_lock(&s->mutex);
    memcpy(s->reason, text, sizeof text);
    (void)pthread_mutex_unlock(&s->mutex);
}
