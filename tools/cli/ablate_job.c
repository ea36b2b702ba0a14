/* SPDX-License-Identifier: Apache-2.0 */
/* One row with one seed: `cozad train`, then `cozad eval` for every target. Each step leaves its file only when it is
 * whole, so that the next try goes on from there. */
#include "ablate.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- command lines ----------------------------------------------------------------------------------------------- */

static bool push_common(const ablate *a, json_t *words)
{
    return jobs_push_running(words, &a->common, a->usual_limit, a->threads) &&
           (!a->names_backbone || (jobs_push(words, "--backbone") && jobs_push(words, a->backbone_name)));
}

json_t *ablate_train_command(const ablate *a, const ablate_row *row, size_t seed)
{
    char path[JOBS_PATH];
    json_t *words = json_pack("[s,s,s,s,s,s]", "cozad", "train", "--method", "cozad", "--config",
                              ablate_path(a, NULL, 0, "base.json", path));
    bool good = words != NULL;
    for (size_t i = 0; i < a->sources.count; i++) {
        good = good && jobs_push(words, "--source") && jobs_push(words, a->sources.items[i]);
    }
    good = good && push_common(a, words) && json_array_extend(words, row->switches) == 0;
    good = good && jobs_push(words, "--seed") && json_array_append_new(words, json_sprintf("%zu", seed)) == 0;
    good = good && jobs_push(words, "--log") && jobs_push(words, ablate_path(a, row->key, seed, "log.jsonl", path));
    good = good && jobs_push(words, "-o") && jobs_push(words, ablate_path(a, row->key, seed, "model.cozad", path));
    if (jobs_exists(ablate_path(a, row->key, seed, "model.cozad.checkpoint", path))) {
        good = good && jobs_push(words, "--resume");
    }
    if (good) return words;
    json_decref(words);
    return NULL;
}

json_t *ablate_eval_command(const ablate *a, const ablate_row *row, size_t seed, const ablate_target *target,
                            size_t place)
{
    char path[JOBS_PATH];
    json_t *words = json_pack(
        "[s,s,s,s,s,s,s,s,s]", "cozad", "eval", "-m", ablate_path(a, row->key, seed, "model.cozad", path), "--data",
        json_string_value(json_array_get(target->places, place)), "--layout", target->layout, "--json");
    if (words != NULL && push_common(a, words)) return words;
    json_decref(words);
    return NULL;
}

/* ---- steps ------------------------------------------------------------------------------------------------------- */

static const char *target_path(const ablate *a, const ablate_row *row, size_t seed, const ablate_target *target,
                               char out[JOBS_PATH])
{
    char name[128];
    (void)snprintf(name, sizeof name, "%s.json", target->name);
    return ablate_path(a, row->key, seed, name, out);
}

static int note_failure(const ablate *a, const ablate_row *row, size_t seed, const char *step, const jobs_end *end)
{
    char path[JOBS_PATH];
    if (end->signal != 0) {
        cli_error("%s, seed %zu: %s was ended by signal %d", row->key, seed, step, end->signal);
    } else if (end->exit == CLI_OK) {
        cli_error("%s, seed %zu: %s left no result", row->key, seed, step);
    } else {
        cli_error("%s, seed %zu: %s ended with exit code %d", row->key, seed, step, end->exit);
    }
    const int code =
        jobs_write_json(ablate_path(a, row->key, seed, "failed.json", path),
                        json_pack("{s:s, s:i, s:i}", "step", step, "exit", end->exit, "signal", end->signal));
    return code == CLI_OK ? CLI_SOME_FAILED : code;
}

static int train(const ablate *a, const ablate_row *row, size_t seed)
{
    char model[JOBS_PATH], other[JOBS_PATH];
    jobs_end end = {0, 0};
    if (jobs_exists(ablate_path(a, row->key, seed, "model.cozad", model))) return CLI_OK;
    /* An interrupted training goes on from its checkpoint, one that failed starts again. */
    if (jobs_exists(ablate_path(a, row->key, seed, "failed.json", other))) {
        (void)unlink(ablate_path(a, row->key, seed, "model.cozad.checkpoint", other));
    }
    if (!jobs_exists(ablate_path(a, row->key, seed, "model.cozad.checkpoint", other))) {
        (void)unlink(ablate_path(a, row->key, seed, "log.jsonl", other));
    }
    json_t *words = ablate_train_command(a, row, seed);
    int code = words != NULL ? jobs_run_child(&a->jobs, words, "/dev/null", &end) : CLI_RESOURCES;
    json_decref(words);
    if (code != CLI_OK) return code;
    return jobs_went_well(&end, model) ? CLI_OK : note_failure(a, row, seed, "train", &end);
}

/* Adds the categories of `one` to `all`; false when it has none of the expected form. */
static bool merge(json_t *all, const json_t *one, const char *place)
{
    const char *name;
    json_t *figures, *categories = json_object_get(one, "categories");
    bool good = json_is_object(categories) && json_object_size(categories) > 0;
    json_object_foreach(categories, name, figures)
    {
        const bool complete = json_is_number(json_object_get(figures, "image_auroc")) &&
                              (json_is_number(json_object_get(figures, "pixel_auroc")) ||
                               json_is_null(json_object_get(figures, "pixel_auroc")));
        /* Two folders of one name: told apart by their paths. */
        const char *key = json_object_get(all, name) == NULL ? name : place;
        good = good && complete && json_object_set(all, key, figures) == 0;
    }
    return good;
}

/* The mean over categories of a figure; null where no category has it. */
static json_t *mean_of(const json_t *categories, const char *figure)
{
    double sum = 0.0;
    size_t count = 0;
    const char *name;
    json_t *figures;
    json_object_foreach((json_t *)categories, name, figures)
    {
        const json_t *value = json_object_get(figures, figure);
        if (!json_is_number(value)) continue;
        sum += json_number_value(value);
        count++;
    }
    return common_json_real(count > 0 ? sum / (double)count : (double)NAN);
}

static int evaluate(const ablate *a, const ablate_row *row, size_t seed, const ablate_target *target)
{
    char path[JOBS_PATH], out[JOBS_PATH + 8], step[160];
    if (jobs_exists(target_path(a, row, seed, target, path))) return CLI_OK;
    (void)snprintf(out, sizeof out, "%s.out", path);
    (void)snprintf(step, sizeof step, "eval of %s", target->name);
    json_t *categories = json_object();
    int code = categories != NULL ? CLI_OK : CLI_RESOURCES;
    for (size_t place = 0; place < json_array_size(target->places) && code == CLI_OK; place++) {
        jobs_end end = {0, 0};
        json_t *words = ablate_eval_command(a, row, seed, target, place);
        code = words != NULL ? jobs_run_child(&a->jobs, words, out, &end) : CLI_RESOURCES;
        json_decref(words);
        if (code != CLI_OK) break;
        json_t *one = jobs_went_well(&end, out) ? jobs_read_json(out, true) : NULL;
        if (one == NULL || !merge(categories, one, json_string_value(json_array_get(target->places, place)))) {
            code = note_failure(a, row, seed, step, &end);
        }
        json_decref(one);
    }
    (void)unlink(out);
    if (code == CLI_OK) {
        json_t *mean = json_pack("{s:o, s:o}", "image_auroc", mean_of(categories, "image_auroc"), "pixel_auroc",
                                 mean_of(categories, "pixel_auroc"));
        code = jobs_write_json(path, json_pack("{s:O, s:o}", "categories", categories, "mean", mean));
    }
    json_decref(categories);
    return code;
}

/* ---- a row ------------------------------------------------------------------------------------------------------- */

/* row.json says what the key stands for; one that says otherwise was made by another version of this program. */
static int describe(const ablate *a, const ablate_row *row)
{
    char path[JOBS_PATH];
    int code = jobs_make_folder(ablate_path(a, row->key, 0, "", path));
    if (code != CLI_OK) return code;
    if (!jobs_exists(ablate_path(a, row->key, 0, "row.json", path))) {
        return jobs_write_json(path, json_pack("{s:s, s:O, s:s}", "row", row->key, "switches", row->switches,
                                               "base_sha256", a->base_sha256));
    }
    json_t *old = jobs_read_json(path, true);
    const char *base = json_string_value(json_object_get(old, "base_sha256"));
    if (old == NULL || base == NULL || strcmp(base, a->base_sha256) != 0 ||
        !json_equal(json_object_get(old, "switches"), row->switches)) {
        cli_error("%s: was made with other switches or another base; remove its folder to run it again", path);
        code = CLI_USAGE;
    }
    json_decref(old);
    return code;
}

bool ablate_job_done(const ablate *a, const ablate_row *row, size_t seed, double *took)
{
    char path[JOBS_PATH];
    json_t *run = jobs_read_json(ablate_path(a, row->key, seed, "run.json", path), false);
    bool done = run != NULL;
    for (size_t i = 0; i < a->target_count && done; i++) {
        done = jobs_exists(target_path(a, row, seed, &a->targets[i], path));
    }
    if (took != NULL) *took = json_number_value(json_object_get(run, "seconds"));
    json_decref(run);
    return done;
}

int ablate_job_run(const ablate *a, const ablate_row *row, size_t seed)
{
    char path[JOBS_PATH];
    const double start = jobs_seconds();
    int code = describe(a, row);
    if (code == CLI_OK) code = jobs_make_folder(ablate_path(a, row->key, seed, "", path));
    if (code == CLI_OK) code = train(a, row, seed);
    for (size_t i = 0; i < a->target_count && code == CLI_OK; i++) code = evaluate(a, row, seed, &a->targets[i]);
    if (code != CLI_OK) return code;
    code = jobs_write_json(ablate_path(a, row->key, seed, "run.json", path),
                           json_pack("{s:f, s:s}", "seconds", jobs_seconds() - start, "cozad", cz_version()));
    if (code != CLI_OK) return code;
    (void)unlink(ablate_path(a, row->key, seed, "failed.json", path));
    if (!a->keep_models) (void)unlink(ablate_path(a, row->key, seed, "model.cozad", path));
    return CLI_OK;
}
