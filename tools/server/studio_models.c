/* SPDX-License-Identifier: Apache-2.0 */
/* What a job made: the photos that its model distrusts, and the model among those that are served. In the worker. */
#include "studio_internal.h"

#include "cozad/cozad_eval.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The training behind a job (itself, or what it calibrated), done. Status 0: found. */
static studio_reply find_training(sv_studio *s, const char *id, char training[SV_NAME], char dataset[SV_NAME])
{
    (void)pthread_mutex_lock(&s->lock);
    const studio_job *job = studio_job_find(s, id);
    if (job != NULL && job->source[0] != '\0') job = studio_job_find(s, job->source);
    const bool there = job != NULL, done = there && job->state == STUDIO_DONE;
    if (done) {
        (void)snprintf(training, SV_NAME, "%s", job->id);
        (void)snprintf(dataset, SV_NAME, "%s", job->dataset);
    }
    (void)pthread_mutex_unlock(&s->lock);
    if (!there) return studio_error(404, "there is no job of this name");
    if (!done) return studio_error(409, "the training is not done");
    return (studio_reply){0};
}

/* ---- distrusted photos ---------------------------------------------------------------------------------------------- */

typedef struct known {
    char sha256[65], name[SV_NAME];
} known;

static int by_sha256(const void *a, const void *b)
{
    return strcmp(((const known *)a)->sha256, ((const known *)b)->sha256);
}

/* The data set's photos by their pixels; free. *count is 0 when it is gone. NULL: out of memory. */
static known *index_photos(sv_studio *s, const char *dataset, size_t *count)
{
    (void)pthread_mutex_lock(&s->lock);
    const studio_dataset *d = studio_dataset_find(s, dataset);
    *count = d != NULL ? d->count : 0;
    known *all = calloc(*count + 1, sizeof *all);
    for (size_t i = 0; all != NULL && i < *count; i++) {
        memcpy(all[i].sha256, d->photos[i].sha256, sizeof all[i].sha256);
        memcpy(all[i].name, d->photos[i].name, sizeof all[i].name);
    }
    (void)pthread_mutex_unlock(&s->lock);
    if (all != NULL) qsort(all, *count, sizeof *all, by_sha256);
    return all;
}

static int by_trust(const void *a, const void *b)
{
    const cz_training_photo *x = a, *y = b;
    if (x->weight != y->weight) return (x->weight > y->weight) - (x->weight < y->weight);
    return (x->score < y->score) - (x->score > y->score);
}

static json_t *describe(const cz_training_photo *p, const known *all, size_t count)
{
    known key = {"", ""};
    (void)snprintf(key.sha256, sizeof key.sha256, "%s", p->sha256);
    const known *found = count > 0 ? bsearch(&key, all, count, sizeof *all, by_sha256) : NULL;
    if (found == NULL) return NULL; /* removed meanwhile: there is nothing to show or to decide */
    json_t *out = json_pack("{s:s, s:s, s:o, s:o, s:o, s:b}", "name", found->name, "sha256", found->sha256,
                            "confidence", studio_real(p->weight), "share_below_one", studio_real(p->share_below_one),
                            "score", studio_real(p->score), "suspect", p->apart != 0);
    if (p->grid_width > 0 && p->grid_height > 0) /* of the photo's width and height */
        (void)json_object_set_new(out, "place",
                                  json_pack("[f, f]", ((double)p->place_x + 0.5) / (double)p->grid_width,
                                            ((double)p->place_y + 0.5) / (double)p->grid_height));
    return out;
}

/* Worst first. */
static json_t *describe_all(const cz_model *model, const known *all, size_t count)
{
    const size_t most = cz_model_photos_count(model);
    cz_training_photo *photos = calloc(most + 1, sizeof *photos);
    json_t *out = json_array();
    size_t used = 0;
    for (size_t i = 0; photos != NULL && i < most; i++) {
        if (cz_model_photo_at(model, i, &photos[used]) != CZ_OK) continue;
        used += photos[used].excluded == 0 && isfinite(photos[used].weight);
    }
    if (used > 0) qsort(photos, used, sizeof *photos, by_trust);
    for (size_t i = 0; i < used; i++) {
        json_t *one = describe(&photos[i], all, count);
        if (one != NULL) (void)json_array_append_new(out, one);
    }
    if (photos == NULL) {
        json_decref(out);
        out = NULL;
    }
    free(photos);
    return out;
}

static json_t *excluded_names(sv_studio *s, const char *dataset)
{
    json_t *out = json_array();
    (void)pthread_mutex_lock(&s->lock);
    const studio_dataset *d = studio_dataset_find(s, dataset);
    for (size_t i = 0; d != NULL && i < d->count; i++)
        if (d->photos[i].excluded) (void)json_array_append_new(out, json_string(d->photos[i].name));
    (void)pthread_mutex_unlock(&s->lock);
    return out;
}

studio_reply studio_job_distrusted(sv_studio *s, const char *id)
{
    char training[SV_NAME], dataset[SV_NAME];
    studio_reply reply = find_training(s, id, training, dataset);
    if (reply.status != 0) return reply;
    size_t count = 0;
    double rate = 0.0;
    cz_model *model = NULL;
    char *path = studio_path("%s/jobs/%s/model.cozad", s->root, training);
    known *all = index_photos(s, dataset, &count);
    const cz_status status =
        path != NULL && all != NULL ? cz_model_inspect(path, &model) : sv_fail(CZ_E_MEMORY, "out of memory");
    if (status == CZ_OK) {
        json_t *photos = describe_all(model, all, count);
        json_t *out =
            json_pack("{s:o, s:o, s:s}", "photos", photos, "excluded", excluded_names(s, dataset), "dataset", dataset);
        const bool estimated = cz_model_contamination(model, &rate) == 1;
        (void)json_object_set_new(out, "contamination", estimated ? json_real(rate) : json_null());
        if (estimated && rate > 0.25)
            (void)json_object_set_new(out, "warning",
                                      json_string("so many photos stand apart that the model may have learnt from "
                                                  "defects, and the trusted ones may be the wrong ones"));
        if (photos != NULL && json_array_size(photos) == 0)
            (void)json_object_set_new(out, "reason",
                                      json_string("only a training of method comet says how far it trusts each photo"));
        reply = studio_json(200, out);
    } else {
        reply = status == CZ_E_MEMORY ? studio_failure(status) : studio_error(500, "the job's model cannot be read");
    }
    cz_model_close(model);
    free(all);
    free(path);
    return reply;
}

/* ---- activation ----------------------------------------------------------------------------------------------------- */

/* A name that a file of the command line is served under cannot be given to another one. */
static bool is_given(const sv_studio *s, const char *name)
{
    const size_t length = strlen(name);
    for (size_t i = 0; i < s->settings->model_count; i++) {
        const char *slash = strrchr(s->settings->models[i], '/');
        const char *file = slash != NULL ? slash + 1 : s->settings->models[i];
        if (strncmp(file, name, length) == 0 && (file[length] == '\0' || strcmp(file + length, ".cozad") == 0))
            return true;
    }
    return false;
}

/* Whose model.cozad: of a training its newest calibration's, unless it is not wanted. Under the lock. */
static const studio_job *choose(const sv_studio *s, const studio_job *job, bool calibrated)
{
    const studio_job *better = calibrated && job->source[0] == '\0' ? studio_calibration_of(s, job->id) : NULL;
    return better != NULL ? better : job;
}

/* Replaces what is served under `as`; a model that cannot be read replaces nothing. */
static cz_status put(sv_studio *s, const char *id, const char *as)
{
    char *from = studio_path("%s/jobs/%s/model.cozad", s->root, id), *to = studio_path("%s/%s.cozad", s->models, as);
    cz_model *model = NULL;
    cz_status status = from != NULL && to != NULL ? CZ_OK : sv_fail(CZ_E_MEMORY, "out of memory");
    if (status == CZ_OK && cz_model_inspect(from, &model) != CZ_OK)
        status = sv_fail(CZ_E_MODEL, "the job's model cannot be read");
    cz_model_close(model);
    if (status == CZ_OK) status = studio_copy(from, to);
    if (status == CZ_OK && s->hooks.load != NULL) status = s->hooks.load(s->hooks.ctx, as);
    free(to);
    free(from);
    return status;
}

static void note_activated(sv_studio *s, const char *id, const char *as)
{
    (void)pthread_mutex_lock(&s->lock);
    studio_job *job = studio_job_find(s, id);
    if (job != NULL) (void)snprintf(job->activated, sizeof job->activated, "%s", as);
    (void)pthread_mutex_unlock(&s->lock);
    if (studio_job_save(s, id) != CZ_OK)
        sv_log(SV_WARN, "studio", "job", "%s", id, "saving", "%s", cz_last_error(), NULL);
}

studio_reply studio_job_activate(sv_studio *s, const char *id, const json_t *body)
{
    char as[SV_NAME] = "", own[SV_NAME] = "", chosen[SV_NAME] = "";
    const json_t *name = json_object_get(body, "as"), *wanted = json_object_get(body, "calibrated");
    const size_t known_keys = (name != NULL) + (size_t)(wanted != NULL);
    if (!json_is_object(body) || json_object_size(body) != known_keys || (wanted != NULL && !json_is_boolean(wanted)))
        return studio_error(400, "a model is activated with {\"as\": name, \"calibrated\": true or false}");
    (void)pthread_mutex_lock(&s->lock);
    const studio_job *job = studio_job_find(s, id);
    const bool there = job != NULL, done = there && job->state == STUDIO_DONE;
    bool calibrated = false;
    if (done) {
        const studio_job *best = choose(s, job, wanted == NULL || json_is_true(wanted));
        (void)snprintf(as, sizeof as, "%s", job->name);
        (void)snprintf(own, sizeof own, "%s", job->id);
        (void)snprintf(chosen, sizeof chosen, "%s", best->id);
        calibrated = best->source[0] != '\0';
    }
    (void)pthread_mutex_unlock(&s->lock);
    if (!there) return studio_error(404, "there is no job of this name");
    if (!done) return studio_error(409, "the job is not done");
    if (name != NULL) {
        const char *text = json_string_value(name);
        if (text == NULL || strlen(text) != json_string_length(name) || !sv_name_ok(text))
            return studio_error(400, "\"as\" is a name: letters, digits, '.', '_' and '-', at most %d of them",
                                SV_NAME - 1);
        (void)snprintf(as, sizeof as, "%s", text);
    }
    if (is_given(s, as)) return studio_error(409, "%s is served from a file that the command line names", as);
    const cz_status status = put(s, chosen, as);
    if (status != CZ_OK) return studio_failure(status);
    note_activated(s, own, as);
    return studio_json(200, json_pack("{s:s, s:s, s:b}", "as", as, "job", chosen, "calibrated", (int)calibrated));
}
