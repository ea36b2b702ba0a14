/* SPDX-License-Identifier: Apache-2.0 */
/* cz_score_stream: workers with sessions of their own, usually of one thread each (docs/throughput.md). They wait for one another only
 * when the line is full and at its end: one that shares its processor with a neighbour takes fewer images, and nobody waits for it
 * layer by layer, as the threads of one session do. */
#include "api/stream_queue.h"
#include "util/alloc.h"
#include "util/threads.h"

#include <signal.h>
#include <string.h>

#define MAX_WORKERS ((size_t)1024)

typedef struct worker {
    cz_stream_queue *q;
    const cz_model *model;
    const cz_session_options *options; /* its `threads` are one worker's */
    cz_session *session;
    size_t first, count; /* the batch in hand */
    bool *done;          /* [batch] finished: not to be touched any more */
    cz_image *images;    /* [batch] those that could be loaded */
    size_t *indices;     /* [batch] of them */
    cz_result *results;  /* [batch] */
    cz_stream_timing timing;
    pthread_t thread;
    bool has_batch, leads, started;
} worker;

/* ---- one batch ---------------------------------------------------------------------------------------------------- */

static cz_status open_session(worker *w)
{
    if (w->session != NULL) return CZ_OK;
    if (!w->leads) w->leads = cz_stream_lead(w->q, &w->timing.wait);
    cz_session_options options = *w->options;
    options.precision = w->q->precision;
    const double start = cz_now_ms();
    const cz_status status = cz_session_open(w->model, &options, &w->session);
    w->timing.open += cz_now_ms() - start;
    /* One that was left to be chosen is chosen once. */
    if (status == CZ_OK && w->leads) w->q->precision = cz_session_precision(w->session);
    return status;
}

static void led(worker *w, bool good)
{
    if (w->leads) cz_stream_led(w->q, good);
    w->leads = false;
}

static void add_timing(worker *w)
{
    cz_timing t, *sum = &w->timing.score;
    cz_session_timing(w->session, &t);
    sum->preprocess += t.preprocess;
    sum->backbone += t.backbone;
    sum->pooling += t.pooling;
    sum->head += t.head;
    sum->map += t.map;
    sum->total += t.total;
}

/* What the session owns is used and copied before its next call. Not CZ_OK: all is to end. */
static cz_status finish(worker *w, cz_stream_place *place, const cz_result *result)
{
    cz_stream_queue *q = w->q;
    const cz_stream_options *o = q->options;
    cz_status status = CZ_OK;
    if (result != NULL) {
        place->result = *result;
        place->item.result = &place->result;
        place->item.session = w->session;
    }
    if (result != NULL && o->work != NULL) {
        const double start = cz_now_ms();
        cz_error_clear();
        status = o->work(o->ctx, &place->item);
        w->timing.work += cz_now_ms() - start;
        if (status != CZ_OK) cz_stream_note(place, status);
        if (cz_stream_is_items_fault(status)) status = CZ_OK;
    }
    place->item.session = NULL;
    if (status == CZ_OK && result != NULL && (status = cz_stream_keep(q, place)) != CZ_OK)
        cz_stream_note(place, status);
    if (!o->keep_map) {
        cz_stream_release(q, place);
        place->image.data = NULL;
    }
    place->fatal = status != CZ_OK;
    w->done[place->item.index - w->first] = true;
    w->timing.images++;
    cz_stream_finish(q, place, &w->timing.deliver);
    return status;
}

static cz_status score_one(worker *w, cz_stream_place *place)
{
    const cz_status status = cz_score(w->session, &place->image, w->results);
    if (status == CZ_OK) {
        add_timing(w);
        led(w, true);
        return finish(w, place, w->results);
    }
    if (!cz_stream_is_items_fault(status)) return status;
    cz_stream_note(place, status);
    return finish(w, place, NULL);
}

/* One image that does not fit (a region outside it, say) must not take its neighbours along: then each is scored by itself. */
static cz_status score_loaded(worker *w, size_t count)
{
    cz_status status = CZ_OK;
    bool whole = false;
    if (count > 1) {
        status = cz_score_batch(w->session, w->images, count, w->results);
        if (status != CZ_OK && !cz_stream_is_items_fault(status)) return status;
        whole = status == CZ_OK;
        if (whole) add_timing(w);
        if (whole) led(w, true);
    }
    for (size_t i = 0; i < count; i++) {
        cz_stream_place *place = cz_stream_place_of(w->q, w->indices[i]);
        CZ_TRY(whole ? finish(w, place, &w->results[i]) : score_one(w, place));
    }
out:
    return status;
}

static cz_status process(worker *w)
{
    cz_status status = CZ_OK;
    size_t loaded = 0;
    memset(w->done, 0, w->count * sizeof *w->done);
    if (w->leads) CZ_TRY(open_session(w)); /* bad options end it all before anything is loaded */
    for (size_t i = 0; i < w->count; i++) {
        cz_stream_place *place = cz_stream_place_of(w->q, w->first + i);
        const double start = cz_now_ms();
        status = cz_stream_load(w->q, place);
        w->timing.load += cz_now_ms() - start;
        if (status == CZ_OK) {
            w->images[loaded] = place->image;
            w->indices[loaded++] = w->first + i;
        } else if (!cz_stream_is_items_fault(status)) {
            return status;
        }
    }
    if (loaded > 0) CZ_TRY(open_session(w));
    for (size_t i = 0; i < w->count; i++) {
        cz_stream_place *place = cz_stream_place_of(w->q, w->first + i);
        if (place->item.status != CZ_OK) CZ_TRY(finish(w, place, NULL));
    }
    status = score_loaded(w, loaded);
out:
    return status;
}

/* ---- workers ------------------------------------------------------------------------------------------------------ */

/* After a failure that is no single image's. False: the worker has left, short of memory, and others do its part. */
static bool give_up(worker *w, cz_status status)
{
    cz_stream_queue *q = w->q;
    size_t first = 0;
    while (first < w->count && w->done[first]) first++;
    if (first == w->count) return true; /* the last of the batch has met it, and says so */
    cz_stream_place *place = cz_stream_place_of(q, w->first + first);
    cz_stream_note(place, status);
    for (size_t i = first; i < w->count; i++) {
        if (!w->done[i]) cz_stream_release(q, cz_stream_place_of(q, w->first + i));
    }
    bool untouched = true;
    for (size_t i = 0; i < w->count; i++) untouched = untouched && !w->done[i];
    if (status == CZ_E_MEMORY && untouched) {
        cz_session_close(w->session); /* makes room for the others */
        w->session = NULL;
        if (cz_stream_hand_back(q, w->first)) return false;
    }
    place->fatal = true;
    cz_stream_finish(q, place, &w->timing.deliver);
    return true;
}

static void run_worker(worker *w)
{
    while (w->has_batch || cz_stream_take(w->q, &w->first, &w->count, &w->timing.wait)) {
        w->has_batch = false;
        const cz_status status = process(w);
        led(w, false);
        if (status != CZ_OK && !give_up(w, status)) return;
        cz_stream_done(w->q);
    }
    cz_stream_leave(w->q);
}

static void *run_thread(void *argument)
{
    worker *w = argument;
    cz_threads_scope scope;
    if (cz_threads_enter(w->options->threads, &scope) == CZ_OK) {
        run_worker(w);
        cz_threads_leave(&scope);
    } else {
        cz_stream_leave(w->q);
    }
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
    w->started = pthread_create(&w->thread, NULL, run_thread, w) == 0;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return w->started;
}

static cz_status make_worker(worker *w, const worker *like)
{
    *w = *like;
    const size_t batch = w->q->batch;
    w->done = cz_alloc_array(batch, sizeof *w->done);
    w->images = cz_alloc_array(batch, sizeof *w->images);
    w->indices = cz_alloc_array(batch, sizeof *w->indices);
    w->results = cz_alloc_array(batch, sizeof *w->results);
    return w->done != NULL && w->images != NULL && w->indices != NULL && w->results != NULL ? CZ_OK : CZ_E_MEMORY;
}

static void add_up(const worker *w, cz_stream_timing *sum)
{
    const cz_stream_timing *t = &w->timing;
    sum->open += t->open;
    sum->load += t->load;
    sum->work += t->work;
    sum->deliver += t->deliver;
    sum->wait += t->wait;
    sum->images += t->images;
    sum->workers += w->session != NULL;
    sum->score.preprocess += t->score.preprocess;
    sum->score.backbone += t->score.backbone;
    sum->score.pooling += t->score.pooling;
    sum->score.head += t->score.head;
    sum->score.map += t->score.map;
    sum->score.total += t->score.total;
}

/* The caller's thread is the first worker: for one image there is no other. */
static void run_all(worker *workers, size_t count)
{
    worker *first = &workers[0];
    first->leads = cz_stream_lead(first->q, &first->timing.wait);
    first->has_batch = cz_stream_take(first->q, &first->first, &first->count, &first->timing.wait);
    for (size_t i = 1; i < count; i++) {
        if (!start(&workers[i])) cz_stream_leave(first->q); /* no loss: the others do its part */
    }
    run_worker(first);
    for (size_t i = 1; i < count; i++) {
        if (workers[i].started) (void)pthread_join(workers[i].thread, NULL);
    }
}

static cz_status run_stream(const worker *like, size_t count, cz_stream_timing *sum)
{
    cz_status status = CZ_OK;
    cz_stream_queue *q = like->q;
    worker *workers = cz_calloc(count, sizeof *workers);
    if (workers == NULL) return CZ_E_MEMORY;
    CZ_TRY(cz_stream_queue_open(q, count));
    for (size_t i = 0; i < count; i++) CZ_TRY(make_worker(&workers[i], like));
    run_all(workers, count);
    cz_error_clear();
    if (q->status != CZ_OK) status = cz_fail(q->status, "%s", q->error);
    if (status == CZ_OK && q->delivered != q->count) status = cz_fail(CZ_E_INTERNAL, "a stream lost an image");
out:
    for (size_t i = 0; i < count; i++) {
        add_up(&workers[i], sum);
        cz_session_close(workers[i].session);
        cz_free(workers[i].done);
        cz_free(workers[i].images);
        cz_free(workers[i].indices);
        cz_free(workers[i].results);
    }
    cz_free(workers);
    cz_stream_queue_close(q);
    return status;
}

/* How many workers, how many threads for each, and how many images on the way. */
static size_t plan_workers(const cz_stream_options *o, cz_session_options *session, cz_stream_queue *q)
{
    const size_t threads = o->session.threads > 0 ? o->session.threads : cz_threads_available();
    size_t workers = o->workers > 0 ? o->workers : o->session.tile_width > 0 ? 1 : threads;
    const bool tiled = o->session.tile_width > 0; /* images one by one, max_batch tiles of each at once */
    q->batch = o->session.max_batch > 0 && o->session.map != CZ_MAP_ROWS && !tiled ? o->session.max_batch : 1;
    if (o->in_flight > 0 && q->batch > o->in_flight) q->batch = o->in_flight;
    if (q->batch > q->count) q->batch = q->count;
    const size_t batches = q->count / q->batch + (q->count % q->batch > 0);
    if (workers > batches) workers = batches;
    q->room = o->in_flight > 0 ? o->in_flight : (2 * workers + 2) * q->batch;
    if (q->room > q->count) q->room = q->count;
    *session = o->session;
    session->threads = threads / workers > 0 ? threads / workers : 1;
    if (!tiled) session->max_batch = q->batch;
    return workers;
}

static cz_status check(const cz_model *model, const cz_image_source *images, const cz_stream_options *o)
{
    if (model == NULL || images == NULL || o == NULL || images->load == NULL)
        return cz_fail(CZ_E_ARG, "cz_score_stream: a NULL argument");
    if (o->struct_size < sizeof *o)
        return cz_fail(CZ_E_ARG, "cz_stream_options: unknown struct_size %zu", o->struct_size);
    if (o->session.struct_size < sizeof o->session)
        return cz_fail(CZ_E_ARG, "cz_session_options: unknown struct_size %zu", o->session.struct_size);
    if (images->struct_size < sizeof *images) return cz_fail(CZ_E_ARG, "cz_image_source: unknown struct_size");
    if (o->workers > MAX_WORKERS) return cz_fail(CZ_E_ARG, "%zu workers are more than %zu", o->workers, MAX_WORKERS);
    if (o->session.max_batch > 65536 || o->in_flight > (size_t)1 << 24)
        return cz_fail(CZ_E_ARG, "a batch of %zu or %zu images on the way is too many", o->session.max_batch,
                       o->in_flight);
    return CZ_OK;
}

cz_status cz_score_stream(const cz_model *model, const cz_image_source *images, const cz_stream_options *options,
                          cz_stream_timing *timing)
{
    cz_error_clear();
    cz_status status = check(model, images, options);
    cz_threads_scope scope = {0};
    cz_stream_timing sum = {0};
    if (status != CZ_OK) return status;
    const double begin = cz_now_ms();
    if (images->count > 0) {
        cz_session_options session;
        cz_stream_queue q = {
            .source = images, .options = options, .count = images->count, .precision = options->session.precision};
        const size_t workers = plan_workers(options, &session, &q);
        const worker like = {.q = &q, .model = model, .options = &session};
        status = cz_threads_enter(session.threads, &scope);
        if (status == CZ_OK) status = run_stream(&like, workers, &sum);
        cz_threads_leave(&scope);
    }
    sum.elapsed = cz_now_ms() - begin;
    if (timing != NULL) *timing = sum;
    return status;
}
