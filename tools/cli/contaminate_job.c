/* SPDX-License-Identifier: Apache-2.0 */
/* One training and its evaluation. Each step leaves its file only when it is whole, so that the next try goes on from there. */
#include "contaminate.h"

#include <string.h>
#include <unistd.h>

void contaminate_split_path(const contaminate *c, const contaminate_run *run, const char *file, char out[JOBS_PATH])
{
    (void)snprintf(out, JOBS_PATH, "%s/%s/seed%zu/rate%s%s%s", c->jobs.folder, c->targets[run->target].name, run->seed,
                   c->rates[run->rate].name, file[0] != '\0' ? "/" : "", file);
}

void contaminate_run_path(const contaminate *c, const contaminate_run *run, const char *file, char out[JOBS_PATH])
{
    char below[128];
    (void)snprintf(below, sizeof below, "%s-%s%s%.50s", c->detectors[run->detector], c->methods[run->method],
                   file[0] != '\0' ? "/" : "", file);
    contaminate_split_path(c, run, below, out);
}

/* ---- command lines ------------------------------------------------------------------------------------------------ */

/* --with METHOD:NAME=VALUE as --NAME=VALUE */
static bool push_with(const contaminate *c, const char *method, json_t *words)
{
    const size_t length = strlen(method);
    bool good = true;
    for (size_t i = 0; i < c->options.with.count; i++) {
        const char *text = c->options.with.items[i];
        if (strncmp(text, method, length) != 0 || text[length] != ':') continue;
        good = good && json_array_append_new(words, json_sprintf("--%s", text + length + 1)) == 0;
    }
    return good;
}

static bool push_data(const contaminate *c, const contaminate_run *run, json_t *words)
{
    char path[JOBS_PATH];
    contaminate_split_path(c, run, "", path);
    return jobs_push(words, "--data") && jobs_push(words, path) && jobs_push(words, "--layout") &&
           jobs_push(words, "jsonl") &&
           jobs_push_running(words, &c->train.common, c->usual_limit, c->train.train.threads);
}

static json_t *train_command(const contaminate *c, const contaminate_run *run)
{
    char path[JOBS_PATH];
    const char *method = c->methods[run->method], *detector = c->detectors[run->detector];
    (void)snprintf(path, sizeof path, "%s/base.json", c->jobs.folder);
    json_t *words =
        json_pack("[s,s,s,s,s,s,s,s,s]", "cozad", "train", "--method", strcmp(method, "plain") == 0 ? detector : method,
                  "--detector", detector, "--config", path, "--json");
    bool good = words != NULL && push_data(c, run, words) && push_with(c, method, words);
    good = good && jobs_push(words, "--seed") && json_array_append_new(words, json_sprintf("%zu", run->seed)) == 0;
    contaminate_run_path(c, run, "log.jsonl", path);
    good = good && jobs_push(words, "--log") && jobs_push(words, path);
    contaminate_run_path(c, run, "model.cozad", path);
    good = good && jobs_push(words, "-o") && jobs_push(words, path);
    contaminate_run_path(c, run, "model.cozad.checkpoint", path);
    if (jobs_exists(path)) good = good && jobs_push(words, "--resume");
    if (good) return words;
    json_decref(words);
    return NULL;
}

static json_t *eval_command(const contaminate *c, const contaminate_run *run)
{
    char path[JOBS_PATH];
    const char *backbone = json_string_value(json_object_get(c->config, "backbone"));
    contaminate_run_path(c, run, "model.cozad", path);
    json_t *words = json_pack("[s,s,s,s,s,s,s]", "cozad", "eval", "-m", path, "--json", "--resamples", "0");
    bool good = words != NULL && push_data(c, run, words);
    if (backbone != NULL) good = good && jobs_push(words, "--backbone") && jobs_push(words, backbone);
    if (good) return words;
    json_decref(words);
    return NULL;
}

/* ---- steps -------------------------------------------------------------------------------------------------------- */

static int note_failure(const contaminate *c, const contaminate_run *run, const char *step, const jobs_end *end)
{
    char path[JOBS_PATH], name[JOBS_PATH];
    contaminate_run_path(c, run, "", name);
    if (end->signal != 0) {
        cli_error("%s: %s was ended by signal %d", name, step, end->signal);
    } else if (end->exit == CLI_OK) {
        cli_error("%s: %s left no result", name, step);
    } else {
        cli_error("%s: %s ended with exit code %d", name, step, end->exit);
    }
    contaminate_run_path(c, run, "failed.json", path);
    const int code =
        jobs_write_json(path, json_pack("{s:s, s:i, s:i}", "step", step, "exit", end->exit, "signal", end->signal));
    return code == CLI_OK ? CLI_SOME_FAILED : code;
}

static void forget(const contaminate *c, const contaminate_run *run, const char *file)
{
    char path[JOBS_PATH];
    contaminate_run_path(c, run, file, path);
    (void)unlink(path);
}

static int train(const contaminate *c, const contaminate_run *run)
{
    char model[JOBS_PATH], out[JOBS_PATH], path[JOBS_PATH];
    jobs_end end = {0, 0};
    contaminate_run_path(c, run, "model.cozad", model);
    contaminate_run_path(c, run, "train.json", out);
    if (jobs_exists(model)) return CLI_OK;
    /* An interrupted training goes on from its checkpoint, one that failed starts again. */
    contaminate_run_path(c, run, "failed.json", path);
    if (jobs_exists(path)) forget(c, run, "model.cozad.checkpoint");
    contaminate_run_path(c, run, "model.cozad.checkpoint", path);
    if (!jobs_exists(path)) forget(c, run, "log.jsonl");
    json_t *words = train_command(c, run);
    const int code = words != NULL ? jobs_run_child(&c->jobs, words, out, &end) : CLI_RESOURCES;
    json_decref(words);
    if (code != CLI_OK) return code;
    return jobs_went_well(&end, model) ? CLI_OK : note_failure(c, run, "train", &end);
}

/* The figures of eval.json and what train said of itself. NULL: there is no figure. */
static json_t *collect(const contaminate *c, const contaminate_run *run)
{
    char path[JOBS_PATH];
    contaminate_run_path(c, run, "eval.json", path);
    json_t *eval = jobs_read_json(path, true), *mean = json_object_get(eval, "mean");
    contaminate_run_path(c, run, "train.json", path);
    json_t *trained = jobs_read_json(path, false), *result = NULL;
    if (json_is_number(json_object_get(mean, "image_auroc"))) {
        const json_t *pixel = json_object_get(mean, "pixel_auroc");
        result = json_pack("{s:f, s:o, s:I, s:I, s:I, s:f}", "image_auroc",
                           json_number_value(json_object_get(mean, "image_auroc")), "pixel_auroc",
                           json_is_number(pixel) ? json_real(json_number_value(pixel)) : json_null(), "trained_on",
                           json_integer_value(json_object_get(eval, "trained_on")), "photos",
                           json_integer_value(json_object_get(trained, "images")), "steps",
                           json_integer_value(json_object_get(trained, "steps")), "train_seconds",
                           json_number_value(json_object_get(trained, "seconds")));
    }
    json_decref(trained);
    json_decref(eval);
    return result;
}

static int evaluate(const contaminate *c, const contaminate_run *run, json_t **result)
{
    char out[JOBS_PATH];
    jobs_end end = {0, 0};
    contaminate_run_path(c, run, "eval.json", out);
    json_t *words = eval_command(c, run);
    const int code = words != NULL ? jobs_run_child(&c->jobs, words, out, &end) : CLI_RESOURCES;
    json_decref(words);
    if (code != CLI_OK) return code;
    *result = jobs_went_well(&end, out) ? collect(c, run) : NULL;
    return *result != NULL ? CLI_OK : note_failure(c, run, "eval", &end);
}

json_t *contaminate_result(const contaminate *c, const contaminate_run *run)
{
    char path[JOBS_PATH];
    contaminate_run_path(c, run, "run.json", path);
    json_t *result = jobs_read_json(path, false);
    if (json_is_number(json_object_get(result, "image_auroc"))) return result;
    json_decref(result);
    return NULL;
}

int contaminate_job_run(const contaminate *c, const contaminate_run *run)
{
    char path[JOBS_PATH];
    json_t *result = NULL;
    const double start = jobs_seconds();
    contaminate_run_path(c, run, "", path);
    int code = jobs_make_folder(path);
    if (code == CLI_OK) code = train(c, run);
    if (code == CLI_OK) code = evaluate(c, run, &result);
    if (code != CLI_OK) return code;
    (void)json_object_set_new(result, "seconds", json_real(jobs_seconds() - start));
    (void)json_object_set_new(result, "cozad", json_string(cz_version()));
    contaminate_run_path(c, run, "run.json", path);
    code = jobs_write_json(path, result);
    if (code != CLI_OK) return code;
    forget(c, run, "failed.json");
    forget(c, run, "train.json");
    if (!c->options.keep_models) forget(c, run, "model.cozad");
    return CLI_OK;
}
