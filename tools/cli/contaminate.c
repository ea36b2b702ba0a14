/* SPDX-License-Identifier: Apache-2.0 */
#include "contaminate.h"

#include <stdlib.h>
#include <string.h>

bool contaminate_asked(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--contaminate") == 0 || strncmp(argv[i], "--contaminate=", 14) == 0) return true;
    }
    return false;
}

/* ---- results folder ----------------------------------------------------------------------------------------------- */

/* What may not change below a results folder. Seeds, methods, detectors and categories may be added. */
static json_t *identity(const contaminate *c)
{
    json_t *rates = json_array(), *with = json_array();
    for (size_t i = 0; i < c->rate_count; i++) (void)json_array_append_new(rates, json_real(c->rates[i].percent));
    for (size_t i = 0; i < c->options.with.count; i++) {
        (void)json_array_append_new(with, json_string(c->options.with.items[i]));
    }
    return json_pack("{s:i, s:s, s:s, s:o, s:s, s:s, s:f, s:b, s:O, s:s, s:o}", "format", 1, "data", c->root, "layout",
                     cz_dataset_layout(c->dataset), "rates", rates, "from", c->options.from, "keep_in_test",
                     c->options.keep, "most", c->options.most, "cap", (int)c->options.cap, "config", c->config,
                     "backbone", c->train.backbone, "with", with);
}

static int open_folder(contaminate *c)
{
    char path[JOBS_PATH], base[JOBS_PATH];
    (void)snprintf(path, sizeof path, "%s/contaminate.json", c->jobs.folder);
    (void)snprintf(base, sizeof base, "%s/base.json", c->jobs.folder);
    if (jobs_exists(path) && !c->options.resume) {
        cli_error("%s: holds runs already; --resume goes on with them", c->jobs.folder);
        return CLI_USAGE;
    }
    json_t *mine = identity(c);
    if (mine == NULL) {
        cli_error("out of memory, or a path that is not UTF-8");
        return CLI_RESOURCES;
    }
    int code = jobs_make_folder(c->jobs.folder);
    if (code == CLI_OK) code = jobs_lock(&c->jobs);
    if (code == CLI_OK) code = jobs_compare(&c->jobs, path, mine, "protocol");
    /* base.json first: a folder with contaminate.json is whole. */
    if (code == CLI_OK && !jobs_exists(path)) {
        code = jobs_write_json(base, json_incref(c->config));
        if (code == CLI_OK) code = jobs_write_json(path, json_incref(mine));
    }
    json_decref(mine);
    return code;
}

/* ---- the runs ----------------------------------------------------------------------------------------------------- */

typedef struct work {
    size_t runs, done, failed, timed;
    double seconds; /* of the runs that are done */
} work;

/* Calls `visit` for every run, seeds outside: every row has a figure early. Anything but CLI_OK ends it. */
static int each_run(contaminate *c, work *w, int (*visit)(contaminate *, const contaminate_run *, work *))
{
    contaminate_run r;
    for (r.seed = 1; r.seed <= c->options.seeds; r.seed++)
        for (r.target = 0; r.target < c->target_count; r.target++)
            for (r.rate = 0; r.rate < c->rate_count; r.rate++)
                for (r.detector = 0; r.detector < c->detector_count; r.detector++)
                    for (r.method = 0; r.method < c->method_count; r.method++) {
                        const int code = visit(c, &r, w);
                        if (code != CLI_OK) return code;
                    }
    return CLI_OK;
}

static void add_done(const json_t *result, work *w)
{
    w->done++;
    w->timed++;
    w->seconds += json_number_value(json_object_get(result, "seconds"));
}

static int count_run(contaminate *c, const contaminate_run *r, work *w)
{
    json_t *result = contaminate_result(c, r);
    w->runs++;
    if (result != NULL) add_done(result, w);
    json_decref(result);
    return CLI_OK;
}

static void note_next(const contaminate *c, const contaminate_run *r, const work *w)
{
    char left[64] = "";
    if (w->timed > 0) {
        const double minutes = w->seconds / (double)w->timed * (double)(w->runs - w->done - w->failed) / 60.0;
        if (minutes < 90.0) {
            (void)snprintf(left, sizeof left, ", about %.0f min left", minutes < 1.0 ? 1.0 : minutes);
        } else {
            (void)snprintf(left, sizeof left, ", about %.1f h left", minutes / 60.0);
        }
    }
    cli_note("run %zu of %zu: %s, seed %zu, %s %%, %s, %s%s", w->done + w->failed + 1, w->runs,
             c->targets[r->target].name, r->seed, c->rates[r->rate].name, c->detectors[r->detector],
             c->methods[r->method], left);
}

static int do_run(contaminate *c, const contaminate_run *r, work *w)
{
    json_t *result = contaminate_result(c, r);
    const bool there = result != NULL;
    json_decref(result);
    if (there) return CLI_OK;
    if (cli_interrupted()) return CLI_INTERRUPTED;
    note_next(c, r, w);
    int code = contaminate_make_split(c, r);
    if (code != CLI_OK) return code;
    code = contaminate_job_run(c, r);
    if (code != CLI_OK && code != CLI_SOME_FAILED) return code;
    result = contaminate_result(c, r);
    if (result != NULL) {
        add_done(result, w);
    } else {
        w->failed++;
    }
    json_decref(result);
    return contaminate_tables(c, false); /* for who looks in meanwhile */
}

static int run(contaminate *c)
{
    work w = {0};
    int code = contaminate_open_data(c);
    if (code == CLI_OK) code = open_folder(c);
    if (code != CLI_OK) return code;
    (void)each_run(c, &w, count_run);
    if (w.done > 0) cli_note("%zu of %zu runs are done already", w.done, w.runs);
    code = each_run(c, &w, do_run);
    if (code == CLI_INTERRUPTED) {
        cli_error("interrupted; what is done stays, the same command with --resume goes on from here");
        return code;
    }
    if (code != CLI_OK) return code;
    code = contaminate_tables(c, true);
    return code == CLI_OK && w.failed > 0 ? CLI_SOME_FAILED : code;
}

static void free_all(contaminate *c)
{
    jobs_unlock(&c->jobs);
    for (size_t i = 0; i < c->target_count; i++) {
        free(c->targets[i].train);
        free(c->targets[i].test);
        free(c->targets[i].pool);
    }
    free(c->targets);
    cz_dataset_close(c->dataset);
    contaminate_free_options(c);
}

int contaminate_main(int argc, char **argv)
{
    contaminate c = {.options = CONTAMINATE_OPTIONS_INIT, .layout = "auto", .jobs = {.lock = -1}};
    /* Tests put a script in the place of this program. */
    const char *stand_in = getenv("COZAD_ABLATE_BINARY");
    c.jobs.binary = stand_in != NULL && stand_in[0] != '\0' ? stand_in : "/proc/self/exe";
    int code = contaminate_read_options(&c, argc, argv);
    c.jobs.folder = c.options.output;
    if (code < 0) code = run(&c);
    free_all(&c);
    return cli_finish_output(code);
}
