/* SPDX-License-Identifier: Apache-2.0 */
#include "pool_work.h"
#include "models_file.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

void sv_bench_init(sv_bench *b, const sv_settings *settings, const atomic_bool *cancel)
{
    memset(b, 0, sizeof *b);
    b->precision = settings->precision;
    b->max_pixels = settings->max_pixels;
    b->max_batch = 1;
    b->cancel = cancel;
}

/* ---- sessions ------------------------------------------------------------------------------------------------------ */

static void close_slot(sv_bench *b, size_t i)
{
    cz_session_close(b->slots[i].session);
    sv_model_release(b->slots[i].model);
    memset(&b->slots[i], 0, sizeof b->slots[i]);
}

void sv_bench_free(sv_bench *b)
{
    for (size_t i = 0; i < SV_SLOTS; i++) close_slot(b, i);
}

static bool is_stale(const sv_bench *b, size_t i, double seconds)
{
    return b->slots[i].model != NULL && sv_model_retired(b->slots[i].model) && sv_now() - b->slots[i].used >= seconds;
}

bool sv_bench_stale(const sv_bench *b, double seconds)
{
    for (size_t i = 0; i < SV_SLOTS; i++) {
        if (is_stale(b, i, seconds)) return true;
    }
    return false;
}

void sv_bench_sweep(sv_bench *b, double seconds)
{
    for (size_t i = 0; i < SV_SLOTS; i++) {
        if (is_stale(b, i, seconds)) close_slot(b, i);
    }
}

static cz_status session_of(sv_bench *b, const sv_model *model, cz_session **out)
{
    size_t slot = 0;
    for (size_t i = 0; i < SV_SLOTS; i++) {
        if (b->slots[i].model != NULL && b->slots[i].model->serial == model->serial) {
            b->slots[i].used = sv_now();
            *out = b->slots[i].session;
            return CZ_OK;
        }
        if (b->slots[i].used < b->slots[slot].used) slot = i; /* a free one has 0 */
    }
    close_slot(b, slot);
    cz_session *session = NULL;
    const cz_status status = sv_model_session(model, b->precision, b->max_batch, &session);
    if (status != CZ_OK) return status;
    b->slots[slot].session = *out = session;
    b->slots[slot].model = sv_model_hold(model);
    b->slots[slot].used = sv_now();
    return CZ_OK;
}

/* ---- one job's stages ---------------------------------------------------------------------------------------------- */

static void begin(sv_job *job)
{
    sv_outcome *o = &job->outcome;
    memset(o, 0, sizeof *o);
    o->score = o->p_value = o->threshold = o->pixel_threshold = (double)NAN;
    o->decision = -1;
    o->queue_ms = 1e3 * (sv_now() - job->submitted);
}

/* Of cz_last_error. */
static void note(sv_job *job, cz_status status)
{
    sv_outcome *o = &job->outcome;
    const char *text = cz_last_error();
    o->status = status;
    (void)snprintf(o->error, sizeof o->error, "%s", text[0] != '\0' ? text : cz_status_name(status));
    sv_outcome_free(o); /* nothing of half an answer */
    o->region_count = o->region_total = o->overlay_size = o->heat_size = 0;
}

/* Before each stage: nobody waits for what comes after the deadline. */
static bool may_go_on(const sv_bench *b, sv_job *job)
{
    if (atomic_load(b->cancel)) {
        note(job, sv_fail(CZ_E_CANCELLED, "the server is ending"));
    } else if (sv_now() > job->deadline) {
        note(job, sv_fail(CZ_E_CANCELLED, "the request's time was over before it was scored"));
    } else {
        return true;
    }
    return false;
}

static cz_status check_pixels(const sv_bench *b, const cz_image *image)
{
    uint64_t pixels;
    if (image->data == NULL || image->width == 0 || image->height == 0)
        return sv_fail(CZ_E_ARG, "an image without pixels");
    if (__builtin_mul_overflow((uint64_t)image->width, (uint64_t)image->height, &pixels) || pixels > b->max_pixels)
        return sv_fail(CZ_E_LIMIT, "an image of %zu x %zu pixels is over the limit of %llu pixels", image->width,
                       image->height, (unsigned long long)b->max_pixels);
    return CZ_OK;
}

static cz_status decode(sv_bench *b, sv_job *job, cz_picture *picture, cz_image *out)
{
    cz_read_options read = CZ_READ_OPTIONS_INIT;
    if (job->encoded == NULL) {
        *out = job->image;
        return check_pixels(b, out);
    }
    const double start = sv_now();
    read.max_pixels = b->max_pixels;
    const cz_status status = cz_picture_decode(job->encoded, job->encoded_size, &read, picture);
    job->outcome.decode_ms = 1e3 * (sv_now() - start);
    if (status == CZ_OK) *out = picture->image;
    return status;
}

/* What the session owns is copied here, before its next call. */
static void take_result(const sv_bench *b, cz_session *session, size_t index, const cz_image *image, const cz_result *r,
                        sv_job *job)
{
    sv_outcome *o = &job->outcome;
    o->score = r->score;
    o->p_value = r->p_value;
    o->threshold = r->threshold;
    o->pixel_threshold = r->pixel_threshold;
    o->decision = r->decision;
    if (job->want == 0 || !may_go_on(b, job)) return;
    const double start = sv_now();
    const cz_status status = sv_pictures_make(session, index, image, r, job);
    o->picture_ms = 1e3 * (sv_now() - start);
    if (status != CZ_OK) note(job, status);
}

/* ---- a batch ------------------------------------------------------------------------------------------------------- */

/* Scores images [first, first + count) at once; false: not to be scored together. */
static bool score(sv_bench *b, cz_session *session, size_t first, size_t count)
{
    const double start = sv_now();
    const cz_status status = cz_score_batch(session, b->images + first, count, b->results);
    const double ms = 1e3 * (sv_now() - start);
    if (status != CZ_OK && count > 1) return false;
    if (status != CZ_OK) note(b->jobs[first], status);
    for (size_t i = 0; i < count; i++) {
        sv_job *job = b->jobs[first + i];
        job->outcome.score_ms = ms;
        job->outcome.batch = count;
        if (status == CZ_OK) take_result(b, session, i, &b->images[first + i], &b->results[i], job);
    }
    return true;
}

/* Those of jobs [0, count) that can be scored come to the front of b->images and b->jobs; their number. The others have their outcome. */
static size_t load(sv_bench *b, sv_job *const *jobs, size_t count)
{
    size_t loaded = 0;
    for (size_t i = 0; i < count; i++) {
        sv_job *job = jobs[i];
        begin(job);
        if (!may_go_on(b, job)) continue;
        const cz_status status = decode(b, job, &b->pictures[i], &b->images[loaded]);
        if (status != CZ_OK) note(job, status);
        job->outcome.width = status == CZ_OK ? b->images[loaded].width : 0;
        job->outcome.height = status == CZ_OK ? b->images[loaded].height : 0;
        if (status == CZ_OK && may_go_on(b, job)) b->jobs[loaded++] = job;
    }
    return loaded;
}

void sv_bench_run(sv_bench *b, sv_job *const *jobs, size_t count, void (*finished)(void *ctx, sv_job *job), void *ctx)
{
    cz_session *session = NULL;
    const size_t loaded = load(b, jobs, count);
    const cz_status status = loaded > 0 ? session_of(b, jobs[0]->model, &session) : CZ_OK;
    for (size_t i = 0; status != CZ_OK && i < loaded; i++) note(b->jobs[i], status);
    /* One image that does not fit (a region outside it, say) must not take its neighbours along. */
    if (session != NULL && !score(b, session, 0, loaded)) {
        for (size_t i = 0; i < loaded; i++) (void)score(b, session, i, 1);
    }
    for (size_t i = 0; i < count; i++) {
        cz_picture_free(&b->pictures[i]);
        memset(&b->pictures[i], 0, sizeof b->pictures[i]);
        finished(ctx, jobs[i]);
    }
}
