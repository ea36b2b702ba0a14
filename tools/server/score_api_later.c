/* SPDX-License-Identifier: Apache-2.0 */
/* Two threads for requests that read the disk for long (history, loading models): the event thread must not wait. */
#include "score_api_internal.h"

#include <signal.h>

void api_later(sv_score_api *a, sv_request *r, api_slow slow)
{
    api_lane *lane = &a->lane;
    (void)pthread_mutex_lock(&lane->lock);
    const bool taken = !lane->closing && lane->count < API_LANE_ROOM;
    if (taken) {
        lane->tasks[(lane->first + lane->count) % API_LANE_ROOM] = (api_task){slow, r};
        lane->count++;
        (void)pthread_cond_signal(&lane->wake);
    }
    (void)pthread_mutex_unlock(&lane->lock);
    if (taken) return;
    sv_answer_header(r, "Retry-After", "1");
    sv_answer_error(r, 503, "too many requests of this kind are waiting");
}

static void *work(void *ctx)
{
    sv_score_api *a = ctx;
    api_lane *lane = &a->lane;
    (void)pthread_mutex_lock(&lane->lock);
    for (;;) {
        while (lane->count == 0 && !lane->closing) (void)pthread_cond_wait(&lane->wake, &lane->lock);
        if (lane->count == 0) break; /* what waits is answered before the end */
        const api_task task = lane->tasks[lane->first];
        lane->first = (lane->first + 1) % API_LANE_ROOM;
        lane->count--;
        (void)pthread_mutex_unlock(&lane->lock);
        task.slow(a, task.request);
        (void)pthread_mutex_lock(&lane->lock);
    }
    (void)pthread_mutex_unlock(&lane->lock);
    return NULL;
}

cz_status api_lane_open(sv_score_api *a)
{
    api_lane *lane = &a->lane;
    sigset_t all, before;
    (void)pthread_mutex_init(&lane->lock, NULL);
    (void)pthread_cond_init(&lane->wake, NULL);
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the main thread's */
    while (lane->threads < API_LANE_THREADS && pthread_create(&lane->thread[lane->threads], NULL, work, a) == 0)
        lane->threads++;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (lane->threads > 0) return CZ_OK;
    api_lane_close(a);
    return sv_fail(CZ_E_MEMORY, "a thread could not be started");
}

void api_lane_close(sv_score_api *a)
{
    api_lane *lane = &a->lane;
    (void)pthread_mutex_lock(&lane->lock);
    lane->closing = true;
    (void)pthread_cond_broadcast(&lane->wake);
    (void)pthread_mutex_unlock(&lane->lock);
    for (size_t i = 0; i < lane->threads; i++) (void)pthread_join(lane->thread[i], NULL);
    (void)pthread_cond_destroy(&lane->wake);
    (void)pthread_mutex_destroy(&lane->lock);
}
