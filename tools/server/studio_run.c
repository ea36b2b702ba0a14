/* SPDX-License-Identifier: Apache-2.0 */
/* The runner: one job after the other, each a child process. */
#include "studio_internal.h"

#include "cozad/cozad_eval.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LOOK_MS = 200, RESULT_MOST = 1 << 18, CHECKPOINT_STEPS = 20, EXIT_SOME_FAILED = 3, EXIT_BAD_MODEL = 4 };

typedef struct run {
    sv_studio *s;
    char id[SV_NAME], dataset[SV_NAME], source[SV_NAME], source_dataset[SV_NAME];
    double contamination; /* of the model to calibrate */
    json_t *options;
    bool begun;   /* by a server before this one */
    char *folder; /* "jobs/ID": all paths are below the state folder, in which the child runs */
} run;

typedef struct child_end {
    bool cancelled, closing;
    int exit, signal; /* exit -1: by a signal */
} child_end;

/* ---- files of a job ------------------------------------------------------------------------------------------------- */

static char *file_of(const run *r, const char *name)
{
    return studio_path("%s/%s/%s", r->s->root, r->folder, name);
}

static bool has(const run *r, const char *name)
{
    char *path = file_of(r, name);
    const bool there = path != NULL && access(path, F_OK) == 0;
    free(path);
    return there;
}

static void forget(const run *r, const char *name)
{
    char *path = file_of(r, name);
    if (path != NULL) (void)unlink(path);
    free(path);
}

/* Names of the photos that the next training, or calibration, leaves out or takes. */
static json_t *photo_list(sv_studio *s, const char *dataset, bool excluded)
{
    json_t *out = json_array();
    (void)pthread_mutex_lock(&s->lock);
    const studio_dataset *d = studio_dataset_find(s, dataset);
    for (size_t i = 0; d != NULL && i < d->count; i++) {
        if (d->photos[i].excluded != excluded) continue;
        (void)json_array_append_new(out, json_pack("[s, s]", d->photos[i].name, d->photos[i].sha256));
    }
    (void)pthread_mutex_unlock(&s->lock);
    return out;
}

/* The decisions stay what they were when the training began: it could not be gone on with otherwise. */
static cz_status write_excluded(const run *r, bool *any)
{
    cz_status status = CZ_OK;
    *any = has(r, "exclude.csv");
    if (has(r, "model.cozad.checkpoint")) return CZ_OK;
    json_t *photos = photo_list(r->s, r->dataset, true), *photo;
    char *text = NULL, *path = file_of(r, "exclude.csv");
    size_t size = 0, i;
    FILE *stream = open_memstream(&text, &size);
    *any = json_array_size(photos) > 0;
    if (stream != NULL) {
        (void)fputs("path,decision,sha256\n", stream);
        json_array_foreach(photos, i, photo)
        {
            (void)fprintf(stream, "datasets/%s/photos/%s,exclude,%s\n", r->dataset,
                          json_string_value(json_array_get(photo, 0)), json_string_value(json_array_get(photo, 1)));
        }
    }
    if (stream == NULL || fclose(stream) != 0 || path == NULL) {
        status = sv_fail(CZ_E_MEMORY, "out of memory");
    } else if (*any) {
        status = studio_write(path, text, size);
    } else {
        (void)unlink(path);
    }
    free(text);
    free(path);
    json_decref(photos);
    return status;
}

/* A folder of links to those that are not excluded: calibrating knows no list of its own. */
static cz_status link_photos(const run *r)
{
    json_t *photos = photo_list(r->s, r->dataset, false), *photo;
    char *folder = file_of(r, "photos");
    size_t i;
    cz_status status = folder != NULL ? studio_remove_tree(folder) : sv_fail(CZ_E_MEMORY, "out of memory");
    if (status == CZ_OK) status = studio_make_folder(folder);
    json_array_foreach(photos, i, photo)
    {
        const char *name = json_string_value(json_array_get(photo, 0));
        char *to = studio_path("../../../datasets/%s/photos/%s", r->dataset, name);
        char *link = studio_path("%s/%s", folder, name);
        if (status == CZ_OK && (to == NULL || link == NULL || symlink(to, link) != 0))
            status =
                sv_fail(errno == ENOSPC ? CZ_E_NO_SPACE : CZ_E_IO, "photos: cannot be linked: %s", strerror(errno));
        free(link);
        free(to);
    }
    free(folder);
    json_decref(photos);
    return status;
}

/* ---- commands ------------------------------------------------------------------------------------------------------- */

static void common_words(const run *r, studio_words *w)
{
    const sv_settings *o = r->s->settings;
    studio_word(w, "--threads");
    studio_word(w, "%zu", r->s->threads);
    studio_word(w, "--cache-dir");
    studio_word(w, "cache");
    if (o->max_pixels > 0) {
        studio_word(w, "--max-pixels");
        studio_word(w, "%llu", (unsigned long long)o->max_pixels);
    }
    studio_word(w, "--json");
    studio_word(w, "--quiet");
}

static cz_status train_words(const run *r, studio_words *w)
{
    bool excluded = false;
    const cz_status status = write_excluded(r, &excluded);
    if (status != CZ_OK) return status;
    studio_word(w, "%s", r->s->binary);
    studio_word(w, "train");
    studio_word(w, "--normal");
    studio_word(w, "datasets/%s/photos", r->dataset);
    studio_word(w, "-o");
    studio_word(w, "%s/model.cozad", r->folder);
    studio_word(w, "--log");
    studio_word(w, "%s/log.jsonl", r->folder);
    studio_word(w, "--resume");
    studio_word(w, "--checkpoint-every");
    studio_word(w, "%d", CHECKPOINT_STEPS);
    if (excluded) {
        studio_word(w, "--exclude");
        studio_word(w, "%s/exclude.csv", r->folder);
    }
    studio_train_words(r->options, r->s->backbone, w);
    common_words(r, w);
    return CZ_OK;
}

/* Photos that were trained on promise nothing, and the model says so; which share of them may be defective is estimated. */
static cz_status calibrate_words(const run *r, studio_words *w)
{
    const bool same = strcmp(r->dataset, r->source_dataset) == 0, unsorted = same && r->contamination > 0.0;
    json_t *excluded = photo_list(r->s, r->dataset, true);
    const bool linked = json_array_size(excluded) > 0;
    json_decref(excluded);
    if (linked) {
        const cz_status status = link_photos(r);
        if (status != CZ_OK) return status;
    }
    studio_word(w, "%s", r->s->binary);
    studio_word(w, "calibrate");
    studio_word(w, "-m");
    studio_word(w, "jobs/%s/model.cozad", r->source);
    studio_word(w, unsorted ? "--unlabelled" : "--normal");
    if (linked) {
        studio_word(w, "%s/photos", r->folder);
    } else {
        studio_word(w, "datasets/%s/photos", r->dataset);
    }
    if (unsorted) {
        studio_word(w, "--contamination");
        studio_word(w, "%.6f", fmin(fmax(r->contamination, 1e-6), 0.5));
    }
    if (same) studio_word(w, "--allow-training-photos");
    studio_word(w, "--fpr");
    studio_word(w, "%.9g", json_number_value(json_object_get(r->options, "alpha")));
    studio_word(w, "-o");
    studio_word(w, "%s/model.cozad", r->folder);
    if (r->s->backbone != NULL) {
        studio_word(w, "--backbone");
        studio_word(w, "%s", r->s->backbone);
    }
    common_words(r, w);
    return CZ_OK;
}

/* ---- waiting -------------------------------------------------------------------------------------------------------- */

/* A while, or until something was asked for. Under the lock. */
static void doze(sv_studio *s)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += LOOK_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    (void)pthread_cond_timedwait(&s->jobs_changed, &s->lock, &until);
}

/* Under the lock. */
static void show(const run *r, const studio_progress *p)
{
    studio_job *job = studio_job_find(r->s, r->id);
    const char *phase = r->source[0] != '\0' ? "calibration" : "starting";
    if (p->started) phase = "features";
    if (p->any_step) phase = p->step < p->steps ? "training" : "save";
    if (p->phase != NULL) phase = p->phase;
    (void)snprintf(job->phase, sizeof job->phase, "%s", phase);
    job->step = p->step;
    job->steps = p->steps;
    job->progress = p->steps > 0 ? (double)p->step / (double)p->steps : 0.0;
    if (p->phase != NULL) job->progress = p->share;
    job->loss = p->loss;
    job->eta = strcmp(phase, "training") == 0 ? p->eta : NAN;
}

/* SIGINT once, which leaves a checkpoint; SIGKILL when that takes too long. */
static void press(const run *r, pid_t pid, double *asked)
{
    if (*asked == 0.0) {
        *asked = sv_now();
        studio_child_signal(pid, SIGINT);
    } else if (*asked > 0.0 && sv_now() - *asked > r->s->grace) {
        *asked = -1.0;
        studio_child_signal(pid, SIGKILL);
    }
}

static void wait_for(const run *r, pid_t pid, child_end *end)
{
    sv_studio *s = r->s;
    studio_log log = {0};
    studio_progress progress = {.loss = NAN, .eta = NAN};
    char *path = file_of(r, "log.jsonl");
    double asked = 0.0;
    int status = 0;
    for (;;) {
        const pid_t ended = waitpid(pid, &status, WNOHANG);
        if (path != NULL && r->source[0] == '\0') studio_log_read(&log, path, &progress);
        (void)pthread_mutex_lock(&s->lock);
        show(r, &progress);
        end->cancelled = studio_job_find(s, r->id)->cancel;
        end->closing = s->closing;
        if (ended == 0) doze(s);
        (void)pthread_mutex_unlock(&s->lock);
        if (ended == pid || (ended < 0 && errno != EINTR)) {
            if (ended < 0) status = 0x7f00; /* it was waited for by somebody else */
            break;
        }
        if (end->cancelled || end->closing) press(r, pid, &asked);
    }
    studio_child_signal(pid, SIGKILL); /* what it may have left behind of its group */
    end->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    end->exit = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    studio_log_free(&log);
    free(path);
}

/* ---- one job -------------------------------------------------------------------------------------------------------- */

/* After a server that was killed its child may take a moment to end as well. */
static cz_status start(const run *r, const studio_words *w, pid_t *pid)
{
    sv_studio *s = r->s;
    char *out = file_of(r, "result.json"), *err = file_of(r, "messages.txt"), *lock = file_of(r, "lock");
    const studio_child c = {s->root, out, err, lock, w->items};
    cz_status status = out != NULL && err != NULL && lock != NULL && !w->failed ? CZ_OK : CZ_E_MEMORY;
    if (status != CZ_OK) (void)sv_fail(status, "out of memory");
    for (const double begin = sv_now(); status == CZ_OK;) {
        status = studio_child_start(&c, pid);
        if (status != CZ_E_CANCELLED || sv_now() - begin > 2.0 * s->grace) break;
        (void)pthread_mutex_lock(&s->lock);
        const bool stop = s->closing || studio_job_find(s, r->id)->cancel;
        if (!stop) doze(s);
        (void)pthread_mutex_unlock(&s->lock);
        if (!stop) status = CZ_OK;
    }
    free(lock);
    free(err);
    free(out);
    return status;
}

static cz_status run_child(const run *r, child_end *end)
{
    studio_words words = {0};
    pid_t pid = 0;
    cz_status status = r->source[0] != '\0' ? calibrate_words(r, &words) : train_words(r, &words);
    if (status == CZ_OK) status = start(r, &words, &pid);
    studio_words_free(&words);
    if (status == CZ_OK) wait_for(r, pid, end);
    return status;
}

/* What the child printed. */
static json_t *read_result(const run *r)
{
    char *path = file_of(r, "result.json");
    json_t *result = path != NULL ? studio_read_json(path, RESULT_MOST) : NULL;
    if (result != NULL) (void)json_object_del(result, "model");
    free(path);
    return json_is_object(result) ? result : NULL;
}

static double read_contamination(const run *r)
{
    cz_model *model = NULL;
    double rate = NAN;
    char *path = file_of(r, "model.cozad");
    if (path != NULL && cz_model_inspect(path, &model) == CZ_OK && cz_model_contamination(model, &rate) != 1)
        rate = NAN;
    cz_model_close(model);
    free(path);
    return rate;
}

/* The numbers of a calibration hold for photos that the model had not learnt from; with others there is no promise. */
static void take_promise_back(json_t *result)
{
    static const char *const keys[] = {"promise", "promise_if_separated"};
    if (json_integer_value(json_object_get(result, "trained_on")) == 0) return;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (json_object_get(result, keys[i]) != NULL) (void)json_object_set_new(result, keys[i], json_null());
}

static void settle_done(const run *r)
{
    json_t *result = read_result(r);
    take_promise_back(result);
    const double contamination = r->source[0] == '\0' ? read_contamination(r) : NAN;
    const char *failed = r->source[0] == '\0' ? "failed" : "skipped";
    (void)pthread_mutex_lock(&r->s->lock);
    studio_job *job = studio_job_find(r->s, r->id);
    job->photos = (size_t)json_integer_value(json_object_get(result, "images"));
    job->failed_photos = (size_t)json_integer_value(json_object_get(result, failed));
    job->contamination = contamination;
    json_decref(job->result);
    job->result = r->source[0] != '\0' ? json_incref(result) : NULL;
    (void)pthread_mutex_unlock(&r->s->lock);
    json_decref(result);
}

static void explain(const run *r, const child_end *end, char out[STUDIO_TEXT])
{
    char *path = file_of(r, "messages.txt");
    const bool said = path != NULL && studio_last_words(path, out);
    free(path);
    if (end->signal != 0) {
        (void)snprintf(out, STUDIO_TEXT, "the process was ended by signal %d%s", end->signal,
                       end->signal == SIGKILL ? ", perhaps for want of memory" : "");
    } else if (!said && end->exit != 0) {
        (void)snprintf(out, STUDIO_TEXT, "the process ended with exit code %d and said nothing", end->exit);
    }
}

/* The last word about it, in memory and on the disk. */
static void settle(const run *r, studio_state state, const char *message)
{
    (void)pthread_mutex_lock(&r->s->lock);
    studio_job *job = studio_job_find(r->s, r->id);
    job->state = state;
    job->ended = state == STUDIO_QUEUE ? 0.0 : sv_wall();
    job->cancel = false;
    (void)snprintf(job->message, sizeof job->message, "%s", message);
    (void)pthread_mutex_unlock(&r->s->lock);
    if (studio_job_save(r->s, r->id) != CZ_OK)
        sv_log(SV_ERROR, "job", "id", "%s", r->id, "saving", "%s", cz_last_error(), NULL);
    if (studio_dataset_save(r->s, r->dataset) != CZ_OK)
        sv_log(SV_WARN, "job", "id", "%s", r->id, "saving", "%s", cz_last_error(), NULL);
    sv_log(state == STUDIO_FAILED ? SV_WARN : SV_INFO, "job", "id", "%s", r->id, "state", "%s",
           studio_state_name(state), "message", "%s", message, NULL);
}

/* A model without a checkpoint beside it was finished before a server was killed. */
static bool is_finished(const run *r)
{
    return r->begun && has(r, "model.cozad") && !has(r, "model.cozad.checkpoint");
}

static void run_one(const run *r)
{
    child_end end = {0};
    char message[STUDIO_TEXT] = "";
    if (!is_finished(r)) {
        cz_status status = studio_job_save(r->s, r->id);
        const bool resumed = has(r, "model.cozad.checkpoint");
        if (status == CZ_OK) status = run_child(r, &end);
        if (status == CZ_OK && end.exit == EXIT_BAD_MODEL && resumed && !end.cancelled && !end.closing) {
            /* A checkpoint that does not fit any more, after an update say: from the beginning then. */
            forget(r, "model.cozad.checkpoint");
            status = run_child(r, &end);
        }
        if (status == CZ_E_CANCELLED) {
            (void)pthread_mutex_lock(&r->s->lock);
            end.closing = r->s->closing;
            end.cancelled = studio_job_find(r->s, r->id)->cancel;
            (void)pthread_mutex_unlock(&r->s->lock);
            end.exit = -1;
        }
        if (status != CZ_OK && !(status == CZ_E_CANCELLED && (end.closing || end.cancelled))) {
            (void)snprintf(message, sizeof message, "%s", cz_last_error());
            settle(r, STUDIO_FAILED, message);
            return;
        }
    }
    const bool good = (end.exit == 0 || end.exit == EXIT_SOME_FAILED) && has(r, "model.cozad");
    if (!good && end.cancelled) {
        settle(r, STUDIO_CANCELLED, "cancelled");
    } else if (!good && end.closing) {
        settle(r, STUDIO_QUEUE, "interrupted by the end of the server; goes on when it is started again");
    } else {
        explain(r, &end, message);
        if (!good && message[0] == '\0') (void)snprintf(message, sizeof message, "the process wrote no model");
        if (good) settle_done(r);
        settle(r, good ? STUDIO_DONE : STUDIO_FAILED, message);
    }
}

/* ---- the queue ------------------------------------------------------------------------------------------------------ */

/* Under the lock. */
static studio_job *first_waiting(const sv_studio *s)
{
    for (size_t i = 0; i < s->job_count; i++)
        if (s->jobs[i]->state == STUDIO_QUEUE) return s->jobs[i];
    return NULL;
}

/* Under the lock. */
static void begin(run *r, sv_studio *s, studio_job *job)
{
    *r = (run){.s = s, .begun = job->started > 0.0, .contamination = NAN};
    (void)snprintf(r->id, sizeof r->id, "%s", job->id);
    (void)snprintf(r->dataset, sizeof r->dataset, "%s", job->dataset);
    (void)snprintf(r->source, sizeof r->source, "%s", job->source);
    const studio_job *source = job->source[0] != '\0' ? studio_job_find(s, job->source) : NULL;
    if (source != NULL) {
        (void)snprintf(r->source_dataset, sizeof r->source_dataset, "%s", source->dataset);
        r->contamination = source->contamination;
    }
    r->options = json_incref(job->options);
    job->state = STUDIO_RUNNING;
    job->cancel = false;
    if (!r->begun) job->started = sv_wall();
    job->message[0] = '\0';
    (void)snprintf(job->phase, sizeof job->phase, "starting");
    s->running = 1;
}

static void limit(const sv_studio *s, double share)
{
    if (s->hooks.limit != NULL) s->hooks.limit(s->hooks.ctx, share);
}

void *studio_run_jobs(void *studio)
{
    sv_studio *s = studio;
    for (;;) {
        run r;
        studio_job *job = NULL;
        (void)pthread_mutex_lock(&s->lock);
        while (!s->closing && (job = first_waiting(s)) == NULL) (void)pthread_cond_wait(&s->jobs_changed, &s->lock);
        const bool closing = s->closing;
        if (!closing) begin(&r, s, job);
        (void)pthread_mutex_unlock(&s->lock);
        if (closing) return NULL;
        r.folder = studio_path("jobs/%s", r.id);
        limit(s, 0.5);
        if (r.folder != NULL) {
            run_one(&r);
        } else {
            settle(&r, STUDIO_FAILED, "out of memory");
        }
        limit(s, 1.0);
        free(r.folder);
        json_decref(r.options);
        (void)pthread_mutex_lock(&s->lock);
        s->running = 0;
        (void)pthread_mutex_unlock(&s->lock);
    }
}
