/* SPDX-License-Identifier: Apache-2.0 */
#include "api/collect.h"

#include "util/alloc.h"
#include "util/threads.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* Independent workers with one-thread plans beat one plan of many threads by a tenth or more: nobody waits for a slower
 * core at every layer, and decoding overlaps with computing. Each holds its own packed weights, hence the limit. */
#define MAX_WORKERS ((size_t)8)

typedef struct job {
    const cz_collect_options *options;
    cz_feature_set *set;
    pthread_mutex_t lock; /* everything below, a source that is not concurrent, the callbacks and the set's file */
    size_t next, done, skipped;
    cz_status status; /* first failure that ends it all */
    char message[1024];
} job;

typedef struct worker {
    job *j;
    size_t threads;
    cz_extractor *extractor;
    pthread_t thread;
    int started;
} worker;

/* Which failures are the photo's own fault (skip it) and which end the training. */
static bool is_photos_fault(cz_status status)
{
    return status == CZ_E_FORMAT || status == CZ_E_LIMIT || status == CZ_E_UNSUPPORTED || status == CZ_E_IO ||
           status == CZ_E_ARG;
}

/* With the lock held: ends everything, or notes a skipped photo. */
static void note_failure(job *j, size_t index, cz_status status)
{
    const char *reason = cz_last_error();
    if (!is_photos_fault(status)) {
        if (j->status == CZ_OK) (void)snprintf(j->message, sizeof j->message, "%s", reason);
        if (j->status == CZ_OK) j->status = status;
        return;
    }
    const cz_image_source *source = j->options->source;
    const char *given = source->name != NULL ? source->name(source->ctx, index) : NULL;
    const char *name = given != NULL ? given : "";
    const bool named = name[0] != '\0' && strstr(reason, name) != NULL;
    char line[1200];
    (void)snprintf(line, sizeof line, "%s%s%s; skipped", named ? "" : name, named || name[0] == '\0' ? "" : ": ",
                   reason);
    if (j->options->extract->log != NULL) j->options->extract->log(j->options->extract->ctx, line);
    j->skipped++;
    cz_error_clear();
}

/* With the lock held unless the source is concurrent: the photo's pixels are needed only here. */
static cz_status load(worker *w, size_t index, cz_feature_item *item)
{
    const cz_image_source *source = w->j->options->source;
    cz_image image;
    cz_timing timing = {0};
    memset(&image, 0, sizeof image);
    cz_status status = source->load(source->ctx, index, &image);
    if (status != CZ_OK) return status;
    status = cz_extractor_prepare(w->extractor, &image, 1, &timing);
    if (status == CZ_OK) cz_image_sha256(&image, item->sha256);
    if (source->release != NULL) source->release(source->ctx, index, &image);
    return status;
}

static cz_status mark_valid(const job *j, const cz_geometry *geometry, cz_feature_item *item)
{
    const size_t grid = j->options->grid_w * j->options->grid_h;
    item->valid = cz_alloc(grid);
    if (item->valid == NULL) return CZ_E_MEMORY;
    cz_prep_valid(j->options->extract->prep, geometry, j->options->grid_w, j->options->grid_h, item->valid);
    for (size_t i = 0; i < grid; i++) item->valid_count += item->valid[i];
    if (item->valid_count > 0) return CZ_OK;
    return cz_fail(CZ_E_ARG, "the region and the ignore mask leave nothing to inspect");
}

/* Without the lock, but for the temporary file. */
static cz_status compute(worker *w, cz_feature_item *item)
{
    cz_status status;
    cz_extracted what;
    cz_timing timing = {0};
    CZ_TRY(cz_extractor_compute(w->extractor, 1, &what, &timing));
    item->geometry = what.geometry;
    CZ_TRY(mark_valid(w->j, &what.geometry, item));
    if (!cz_extractor_take_entry(w->extractor, 0, &item->entry)) {
        (void)pthread_mutex_lock(&w->j->lock);
        status = cz_feature_set_map(w->j->set, what.values, &item->entry);
        (void)pthread_mutex_unlock(&w->j->lock);
    }
    if (status == CZ_OK) item->values = item->entry.values;
out:
    return status;
}

static void report(job *j)
{
    const cz_collect_options *o = j->options;
    if (o->progress == NULL || j->status != CZ_OK) return;
    if (o->progress(o->ctx, "features", j->done, o->source->count, "") != 0) {
        j->status = CZ_E_CANCELLED;
        (void)snprintf(j->message, sizeof j->message, "cancelled");
    }
}

static void work(worker *w)
{
    job *j = w->j;
    (void)pthread_mutex_lock(&j->lock);
    while (j->status == CZ_OK && j->next < j->options->source->count) {
        const size_t index = j->next++;
        cz_feature_item *item = &j->set->items[index];
        report(j);
        if (j->status != CZ_OK) break;
        const bool together = j->options->source->concurrent != 0;
        if (together) (void)pthread_mutex_unlock(&j->lock);
        cz_status status = load(w, index, item);
        item->source = index;
        if (!together) (void)pthread_mutex_unlock(&j->lock);
        if (status == CZ_OK) status = compute(w, item);
        (void)pthread_mutex_lock(&j->lock);
        j->done++;
        if (status == CZ_OK) cz_feature_set_release_pages(j->set, index); /* checking its sum has read all of it */
        if (status != CZ_OK) {
            cz_free(item->valid);
            memset(item, 0, sizeof *item);
            note_failure(j, index, status);
        }
    }
    (void)pthread_mutex_unlock(&j->lock);
}

static void *run_thread(void *argument)
{
    worker *w = argument;
    cz_threads_scope scope;
    if (cz_threads_enter(w->threads, &scope) == CZ_OK) {
        work(w);
        cz_threads_leave(&scope);
    }
    return NULL;
}

static cz_status run_workers(job *j, worker *workers, size_t count)
{
    cz_status status = CZ_OK;
    cz_threads_scope scope = {0};
    for (size_t i = 0; i < count; i++) {
        cz_extractor_options extract = *j->options->extract;
        workers[i].j = j;
        workers[i].threads = extract.threads = extract.threads / count > 0 ? extract.threads / count : 1;
        CZ_TRY(cz_extractor_create(j->options->backbone, &extract, &workers[i].extractor));
    }
    for (size_t i = 1; i < count; i++) {
        /* One that cannot be started is no loss: the others do its part. */
        workers[i].started = pthread_create(&workers[i].thread, NULL, run_thread, &workers[i]) == 0;
    }
    CZ_TRY(cz_threads_enter(workers[0].threads, &scope));
    work(&workers[0]);
out:
    for (size_t i = 1; i < count; i++) {
        if (workers[i].started) (void)pthread_join(workers[i].thread, NULL);
    }
    cz_threads_leave(&scope);
    return status;
}

cz_status cz_collect(const cz_collect_options *options, cz_feature_set *out, size_t *skipped)
{
    cz_status status;
    const size_t photos = options->source->count, threads = options->extract->threads;
    size_t count = threads < MAX_WORKERS ? threads : MAX_WORKERS;
    if (count > photos) count = photos;
    if (count == 0) count = 1;
    job j = {.options = options, .set = out};
    worker *workers = cz_calloc(count, sizeof *workers);
    if (workers == NULL) return CZ_E_MEMORY;
    if (pthread_mutex_init(&j.lock, NULL) != 0) {
        cz_free(workers);
        return cz_fail(CZ_E_MEMORY, "out of memory (a lock)");
    }
    status = run_workers(&j, workers, count);
    if (status == CZ_OK && j.status != CZ_OK) {
        cz_error_clear();
        status = cz_fail(j.status, "%s", j.message);
    }
    for (size_t i = 0; i < count; i++) cz_extractor_destroy(workers[i].extractor);
    cz_free(workers);
    (void)pthread_mutex_destroy(&j.lock);
    *skipped = j.skipped;
    cz_feature_set_compact(out);
    if (status == CZ_OK && out->count == 0)
        status = cz_fail(CZ_E_NO_IMAGES, "no image could be read: nothing to train on");
    report(&j);
    return status == CZ_OK && j.status != CZ_OK ? cz_fail(j.status, "%s", j.message) : status;
}
