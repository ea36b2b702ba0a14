/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs: what they are, where they are kept. studio_run.c runs them. */
#include "studio_internal.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { STATE_MOST = 1 << 20 };

static const char *const state_names[] = {"queued", "running", "done", "failed", "cancelled"};

const char *studio_state_name(studio_state state)
{
    return state_names[state];
}

void studio_job_free(studio_job *job)
{
    if (job == NULL) return;
    json_decref(job->options);
    json_decref(job->result);
    free(job);
}

studio_job *studio_job_find(const sv_studio *s, const char *id)
{
    for (size_t i = 0; i < s->job_count; i++)
        if (strcmp(s->jobs[i]->id, id) == 0) return s->jobs[i];
    return NULL;
}

bool studio_dataset_busy(const sv_studio *s, const char *dataset, bool begun)
{
    for (size_t i = 0; i < s->job_count; i++) {
        const studio_job *job = s->jobs[i];
        if (strcmp(job->dataset, dataset) != 0) continue;
        if (job->state == STUDIO_RUNNING) return true;
        if (job->state == STUDIO_QUEUE && (!begun || job->started > 0.0)) return true;
    }
    return false;
}

const studio_job *studio_calibration_of(const sv_studio *s, const char *id)
{
    for (size_t i = s->job_count; i > 0; i--) {
        const studio_job *job = s->jobs[i - 1];
        if (job->state == STUDIO_DONE && strcmp(job->source, id) == 0) return job;
    }
    return NULL;
}

/* Whether a calibration of it waits or runs. Under the lock. */
static bool is_needed(const sv_studio *s, const char *id)
{
    for (size_t i = 0; i < s->job_count; i++) {
        const studio_job *job = s->jobs[i];
        if (strcmp(job->source, id) == 0 && (job->state == STUDIO_QUEUE || job->state == STUDIO_RUNNING)) return true;
    }
    return false;
}

static bool insert(sv_studio *s, studio_job *job)
{
    if (s->job_count == s->job_room) {
        const size_t room = s->job_room == 0 ? 16 : 2 * s->job_room;
        studio_job **all = realloc(s->jobs, room * sizeof *all);
        if (all == NULL) return false;
        s->jobs = all;
        s->job_room = room;
    }
    s->jobs[s->job_count++] = job;
    return true;
}

/* ---- on the disk ---------------------------------------------------------------------------------------------------- */

static json_t *to_state(const studio_job *job)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:O, s:s, s:f, s:f, s:f, s:s, s:I, s:I, s:o, s:O?, s:s}", "id", job->id,
                     "name", job->name, "dataset", job->dataset, "source", job->source, "options", job->options,
                     "state", state_names[job->state], "created", job->created, "started", job->started, "ended",
                     job->ended, "message", job->message, "photos", (json_int_t)job->photos, "failed_photos",
                     (json_int_t)job->failed_photos, "contamination", studio_real(job->contamination), "result",
                     job->result, "activated", job->activated);
}

cz_status studio_job_save(sv_studio *s, const char *id)
{
    json_t *state = NULL;
    (void)pthread_mutex_lock(&s->saving);
    (void)pthread_mutex_lock(&s->lock);
    const studio_job *job = studio_job_find(s, id);
    if (job != NULL) state = to_state(job);
    (void)pthread_mutex_unlock(&s->lock);
    cz_status status = CZ_OK;
    if (job != NULL) {
        char *path = studio_path("%s/jobs/%s/job.json", s->root, id);
        status = path != NULL ? studio_write_json(path, state) : sv_fail(CZ_E_MEMORY, "out of memory");
        free(path);
    }
    (void)pthread_mutex_unlock(&s->saving);
    json_decref(state);
    return status;
}

static void copy_text(char *out, size_t room, const json_t *state, const char *key)
{
    const char *text = json_string_value(json_object_get(state, key));
    (void)snprintf(out, room, "%s", text != NULL ? text : "");
}

static void copy_name(char out[SV_NAME], const json_t *state, const char *key)
{
    const char *text = json_string_value(json_object_get(state, key));
    (void)snprintf(out, SV_NAME, "%s", text != NULL && sv_name_ok(text) ? text : "");
}

/* Checked as a request is: nothing in it reaches a command line otherwise. NULL: it cannot be used. */
static studio_job *from_state(const char *id, const json_t *state)
{
    studio_job *job = calloc(1, sizeof *job);
    if (job == NULL) return NULL;
    (void)snprintf(job->id, sizeof job->id, "%.*s", SV_NAME - 1, id); /* a sv_name_ok: whole */
    copy_name(job->name, state, "name");
    copy_name(job->dataset, state, "dataset");
    copy_name(job->source, state, "source");
    copy_name(job->activated, state, "activated");
    copy_text(job->message, sizeof job->message, state, "message");
    job->created = json_number_value(json_object_get(state, "created"));
    job->started = json_number_value(json_object_get(state, "started"));
    job->ended = json_number_value(json_object_get(state, "ended"));
    job->photos = (size_t)json_integer_value(json_object_get(state, "photos"));
    job->failed_photos = (size_t)json_integer_value(json_object_get(state, "failed_photos"));
    const json_t *contamination = json_object_get(state, "contamination");
    job->contamination = json_is_number(contamination) ? json_number_value(contamination) : NAN;
    job->result =
        json_is_object(json_object_get(state, "result")) ? json_incref(json_object_get(state, "result")) : NULL;
    job->loss = job->eta = NAN;
    const char *name = json_string_value(json_object_get(state, "state"));
    size_t which = 0;
    while (name != NULL && which < 5 && strcmp(name, state_names[which]) != 0) which++;
    const json_t *options = json_object_get(state, "options");
    const cz_status status = job->source[0] != '\0' ? studio_calibrate_options(options, &job->options)
                                                    : studio_train_options(options, &job->options);
    if (status == CZ_OK && name != NULL && which < 5 && job->name[0] != '\0' && job->dataset[0] != '\0') {
        job->state = (studio_state)which;
        return job;
    }
    studio_job_free(job);
    return NULL;
}

static cz_status load_one(sv_studio *s, const char *id)
{
    char *folder = studio_path("%s/jobs/%s", s->root, id), *path = studio_path("%s/jobs/%s/job.json", s->root, id);
    cz_status status = folder != NULL && path != NULL ? CZ_OK : sv_fail(CZ_E_MEMORY, "out of memory");
    if (status == CZ_OK && access(path, F_OK) != 0) {
        (void)studio_remove_tree(folder); /* its making was cut short, nobody was told of it */
    } else if (status == CZ_OK) {
        json_t *state = studio_read_json(path, STATE_MOST);
        studio_job *job = state != NULL ? from_state(id, state) : NULL;
        studio_sweep(folder);
        if (job == NULL) sv_log(SV_WARN, "studio", "job", "%s", id, "skipped", "%s", "job.json is damaged", NULL);
        if (job != NULL && job->state == STUDIO_RUNNING) {
            job->state = STUDIO_QUEUE; /* `started` says that there may be a checkpoint */
            (void)snprintf(job->message, sizeof job->message, "interrupted by a restart of the server; goes on");
        }
        if (job != NULL && !insert(s, job)) {
            studio_job_free(job);
            status = sv_fail(CZ_E_MEMORY, "out of memory");
        }
        json_decref(state);
    }
    free(path);
    free(folder);
    return status;
}

static int by_creation(const void *a, const void *b)
{
    const studio_job *x = *(studio_job *const *)a, *y = *(studio_job *const *)b;
    return x->created != y->created ? (x->created > y->created) - (x->created < y->created) : strcmp(x->id, y->id);
}

cz_status studio_jobs_load(sv_studio *s)
{
    cz_status status = CZ_OK;
    char *path = studio_path("%s/jobs", s->root);
    DIR *all = path != NULL ? opendir(path) : NULL;
    if (all == NULL) status = sv_fail(CZ_E_IO, "jobs: cannot read: %s", strerror(errno));
    for (const struct dirent *entry; status == CZ_OK && (entry = readdir(all)) != NULL;)
        if (sv_name_ok(entry->d_name)) status = load_one(s, entry->d_name);
    if (all != NULL) (void)closedir(all);
    free(path);
    if (s->job_count > 0) qsort(s->jobs, s->job_count, sizeof *s->jobs, by_creation);
    return status;
}

/* ---- answers -------------------------------------------------------------------------------------------------------- */

static json_t *name_or_null(const char *name)
{
    return name[0] != '\0' ? json_string(name) : json_null();
}

/* Under the lock. */
static json_t *describe(const sv_studio *s, const studio_job *job)
{
    const bool training = job->source[0] == '\0', running = job->state == STUDIO_RUNNING;
    const studio_job *calibration = training ? studio_calibration_of(s, job->id) : NULL;
    const char *method = json_string_value(json_object_get(job->options, "method"));
    const double progress = job->state == STUDIO_DONE ? 1.0 : job->progress;
    char warning[160];
    json_t *out =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:f, s:s, s:I, s:I, s:o, s:o, s:s, s:I, s:I, s:O}",
                  "id", job->id, "kind", training ? "train" : "calibrate", "name", job->name, "dataset", job->dataset,
                  "state", state_names[job->state], "method", method != NULL ? method : "calibrate", "created",
                  studio_time(job->created), "started", studio_time(job->started), "ended", studio_time(job->ended),
                  "progress", progress, "phase", running ? job->phase : state_names[job->state], "step",
                  (json_int_t)job->step, "steps", (json_int_t)job->steps, "loss", studio_real(job->loss), "eta_seconds",
                  running ? studio_real(job->eta) : json_null(), "message", job->message, "photos",
                  (json_int_t)job->photos, "failed_photos", (json_int_t)job->failed_photos, "options", job->options);
    (void)json_object_set_new(out, "contamination", studio_real(job->contamination));
    if (job->contamination > 0.25) {
        (void)snprintf(warning, sizeof warning,
                       "about %.0f %% of the photos stand apart: with so many the model may have learnt from defects",
                       100.0 * job->contamination);
        (void)json_object_set_new(out, "warning", json_string(warning));
    }
    if (!training) (void)json_object_set_new(out, "source", json_string(job->source));
    if (training)
        (void)json_object_set_new(out, "calibration", name_or_null(calibration != NULL ? calibration->id : ""));
    if (job->result != NULL) (void)json_object_set(out, "result", job->result);
    (void)json_object_set_new(out, "activated", name_or_null(job->activated));
    (void)json_object_set_new(out, "cancelling", json_boolean(running && job->cancel));
    return out;
}

studio_reply studio_job_list(sv_studio *s)
{
    json_t *all = json_array();
    (void)pthread_mutex_lock(&s->lock);
    for (size_t i = s->job_count; i > 0; i--) (void)json_array_append_new(all, describe(s, s->jobs[i - 1]));
    (void)pthread_mutex_unlock(&s->lock);
    return studio_json(200, json_pack("{s:o}", "jobs", all));
}

studio_reply studio_job_get(sv_studio *s, const char *id)
{
    json_t *out = NULL;
    (void)pthread_mutex_lock(&s->lock);
    const studio_job *job = studio_job_find(s, id);
    if (job != NULL) out = describe(s, job);
    (void)pthread_mutex_unlock(&s->lock);
    return job != NULL ? studio_json(200, out) : studio_error(404, "there is no job of this name");
}

/* ---- changes: in the worker ----------------------------------------------------------------------------------------- */

/* Why another job cannot be taken; status 0: it can. Under the lock. */
static studio_reply refuse(const sv_studio *s, const char *dataset)
{
    size_t waiting = 0, photos = 0;
    const studio_dataset *d = studio_dataset_find(s, dataset);
    if (d == NULL) return studio_error(404, "there is no data set named %s", dataset);
    for (size_t i = 0; i < d->count; i++) photos += !d->photos[i].excluded;
    if (photos == 0) return studio_error(409, "%s has no photos", dataset);
    for (size_t i = 0; i < s->job_count; i++) waiting += s->jobs[i]->state == STUDIO_QUEUE;
    if (waiting >= STUDIO_QUEUED) return studio_error(409, "%d jobs wait already", STUDIO_QUEUED);
    if (s->job_count >= STUDIO_JOBS) return studio_error(409, "there are %d jobs; remove some", STUDIO_JOBS);
    return (studio_reply){0};
}

/* "20261122-081530-1": after all that are there. */
static void make_id(const sv_studio *s, double wall, char id[SV_NAME])
{
    const time_t seconds = (time_t)wall;
    struct tm parts;
    char text[32];
    (void)strftime(text, sizeof text, "%Y%m%d-%H%M%S", gmtime_r(&seconds, &parts));
    unsigned number = 1;
    do {
        (void)snprintf(id, SV_NAME, "%s-%u", text, number++);
    } while (studio_job_find(s, id) != NULL);
}

/* Takes `job`. It is on the disk before the runner can see it. */
static studio_reply add(sv_studio *s, studio_job *job)
{
    char id[SV_NAME];
    (void)pthread_mutex_lock(&s->lock);
    studio_reply reply = refuse(s, job->dataset);
    if (reply.status == 0) make_id(s, job->created = sv_wall(), job->id);
    (void)pthread_mutex_unlock(&s->lock);
    if (reply.status != 0) {
        studio_job_free(job);
        return reply;
    }
    job->state = STUDIO_QUEUE;
    job->contamination = job->loss = job->eta = NAN;
    (void)snprintf(id, sizeof id, "%s", job->id);
    char *folder = studio_path("%s/jobs/%s", s->root, id), *path = studio_path("%s/jobs/%s/job.json", s->root, id);
    json_t *state = to_state(job);
    cz_status status =
        folder != NULL && path != NULL ? studio_make_folder(folder) : sv_fail(CZ_E_MEMORY, "out of memory");
    if (status == CZ_OK) status = studio_write_json(path, state);
    if (status == CZ_OK) {
        (void)pthread_mutex_lock(&s->lock);
        if (!insert(s, job)) status = sv_fail(CZ_E_MEMORY, "out of memory");
        if (status == CZ_OK) reply = studio_json(201, describe(s, job));
        (void)pthread_cond_broadcast(&s->jobs_changed);
        (void)pthread_mutex_unlock(&s->lock);
    }
    if (status != CZ_OK) {
        reply = studio_failure(status);
        if (folder != NULL) (void)studio_remove_tree(folder);
        studio_job_free(job);
    }
    json_decref(state);
    free(path);
    free(folder);
    return reply;
}

studio_reply studio_job_create(sv_studio *s, const json_t *body)
{
    studio_job *job = calloc(1, sizeof *job);
    if (job == NULL) return studio_error(507, "out of memory");
    const cz_status status = studio_train_options(body, &job->options);
    if (status != CZ_OK) {
        studio_job_free(job);
        return studio_failure(status);
    }
    copy_name(job->dataset, job->options, "dataset");
    copy_name(job->name, job->options, "name");
    return add(s, job);
}

studio_reply studio_job_calibrate(sv_studio *s, const char *id, const json_t *body)
{
    studio_job *job = calloc(1, sizeof *job);
    if (job == NULL) return studio_error(507, "out of memory");
    const cz_status status = studio_calibrate_options(body, &job->options);
    if (status != CZ_OK) {
        studio_job_free(job);
        return studio_failure(status);
    }
    copy_name(job->dataset, job->options, "dataset");
    (void)pthread_mutex_lock(&s->lock);
    const studio_job *of = studio_job_find(s, id);
    if (of != NULL && of->source[0] != '\0') of = studio_job_find(s, of->source);
    const bool done = of != NULL && of->state == STUDIO_DONE;
    if (done) {
        (void)snprintf(job->source, sizeof job->source, "%s", of->id);
        (void)snprintf(job->name, sizeof job->name, "%s", of->name);
        if (job->dataset[0] == '\0') (void)snprintf(job->dataset, sizeof job->dataset, "%s", of->dataset);
    }
    (void)pthread_mutex_unlock(&s->lock);
    if (done) return add(s, job);
    studio_job_free(job);
    if (of == NULL) return studio_error(404, "there is no job of this name");
    return studio_error(409, "the training is not done");
}

/* Takes one that ended out of the list. Under the lock. */
static void drop(sv_studio *s, const studio_job *job)
{
    size_t at = 0;
    while (s->jobs[at] != job) at++;
    studio_job_free(s->jobs[at]);
    s->job_count--;
    memmove(s->jobs + at, s->jobs + at + 1, (s->job_count - at) * sizeof *s->jobs);
}

static studio_reply remove_folder(sv_studio *s, const char *id)
{
    char *folder = studio_path("%s/jobs/%s", s->root, id), *gone = studio_path("%s/jobs/.%s", s->root, id);
    if (folder != NULL && gone != NULL && rename(folder, gone) == 0) (void)studio_remove_tree(gone);
    free(gone);
    free(folder);
    return studio_json(200, json_pack("{s:s}", "removed", id));
}

studio_reply studio_job_delete(sv_studio *s, const char *id)
{
    (void)pthread_mutex_lock(&s->lock);
    studio_job *job = studio_job_find(s, id);
    const studio_state before = job != NULL ? job->state : STUDIO_DONE;
    const bool needed = is_needed(s, id);
    char own[SV_NAME] = "";
    if (job != NULL) (void)snprintf(own, sizeof own, "%s", job->id);
    if (job != NULL && before == STUDIO_RUNNING) {
        job->cancel = true;
        (void)pthread_cond_broadcast(&s->jobs_changed);
    } else if (job != NULL && before == STUDIO_QUEUE) {
        job->state = STUDIO_CANCELLED;
        job->ended = sv_wall();
        (void)snprintf(job->message, sizeof job->message, "cancelled before it ran");
    } else if (job != NULL && !needed) {
        drop(s, job);
    }
    (void)pthread_mutex_unlock(&s->lock);
    if (job == NULL) return studio_error(404, "there is no job of this name");
    studio_reply reply;
    if (before == STUDIO_RUNNING || before == STUDIO_QUEUE) {
        const cz_status status = before == STUDIO_QUEUE ? studio_job_save(s, own) : CZ_OK;
        reply = status == CZ_OK ? studio_job_get(s, own) : studio_failure(status);
        if (reply.status == 200 && before == STUDIO_RUNNING) reply.status = 202;
    } else {
        reply = needed ? studio_error(409, "a calibration of this model waits or runs") : remove_folder(s, own);
    }
    return reply;
}
