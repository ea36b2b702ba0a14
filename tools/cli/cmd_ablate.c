/* SPDX-License-Identifier: Apache-2.0 */
#include "ablate.h"

#include <stdlib.h>
#include <string.h>

static const cli_verb verb = {
    "ablate", "--config base.json [--rows LIST] [--source S]... --target T... -o RESULTS/",
    "Trains and evaluates the configurations of the paper's Tables 3 to 7, one process after the other, and prints the "
    "tables with the paper's figures beside ours.",
    "Every row is the base configuration with a few switches of 'cozad train --method cozad' set; rows that several "
    "tables share are trained once. A row and seed that is done is not run again, so the command may be interrupted "
    "and "
    "repeated, with more rows or seeds; a results folder that was made from another base, other sources or other "
    "targets "
    "is refused. A row that fails is noted with its exit code and the others go on; the exit code is then 3.\n"
    "--rows takes table3 to table7, a line of one (table4:no-confident) and rows: baseline, scl, meta, contrast, "
    "scl-meta, scl-contrast, meta-contrast, full, no-data-uncertainty, no-model-uncertainty, hard-cl, kappa-X, knn-K, "
    "lambda-cont-X, taps-LIST (kappa-0.5, taps-layer1-layer2). Table 6 needs weights with layer4 for two of its lines.",
    "  cozad ablate --config base.json --source mvtec:mvtec:tire,metal_nut --target mvtec:mvtec:screw \\\n"
    "      --target magnetic_tile:csv --seeds 3 -o results/\n"
    "  cozad ablate --config base.json --rows table3,kappa-0.5 --target mvtec:mvtec -o results/ --dry-run"};

/* What is chosen and can be run. */
static bool wanted(const ablate_row *row)
{
    return row->chosen && !row->missing_taps;
}

/* Rows of Table 6 whose taps the weights lack are not tried. */
static int check_taps(ablate *a)
{
    cz_backbone *backbone = NULL;
    for (size_t i = 0; i < a->plan.count; i++) {
        ablate_row *row = &a->plan.rows[i];
        if (row->taps == NULL || !row->chosen) continue;
        if (backbone == NULL) {
            const cz_status status = cz_backbone_open(a->backbone_name, &backbone);
            if (status != CZ_OK) return cli_fail_model(status);
        }
        row->missing_taps = cz_backbone_flops(backbone, row->taps, 256, 256) <= 0.0;
        if (row->missing_taps) cli_note("%s: the weights %s do not have its taps", row->key, a->backbone_name);
    }
    cz_backbone_close(backbone);
    return CLI_OK;
}

typedef struct work {
    size_t rows, jobs, done, failed;
    double seconds; /* of the jobs that are done */
    size_t timed;
} work;

static work count_work(const ablate *a)
{
    work w = {0};
    for (size_t i = 0; i < a->plan.count; i++) {
        if (!wanted(&a->plan.rows[i])) continue;
        w.rows++;
        for (size_t seed = 1; seed <= a->seeds; seed++) {
            double took = 0.0;
            const bool done = ablate_job_done(a, &a->plan.rows[i], seed, &took);
            w.jobs++;
            w.done += done;
            w.timed += done;
            w.seconds += done ? took : 0.0;
        }
    }
    return w;
}

/* ---- --dry-run --------------------------------------------------------------------------------------------------- */

static int add_command(const ablate *a, json_t *commands, json_t *words)
{
    if (words == NULL) {
        cli_error("out of memory, or a path that is not UTF-8");
        return CLI_RESOURCES;
    }
    if (!a->common.json) {
        char *line = jobs_shell_line(words);
        printf("  %s\n", line != NULL ? line : "?");
        free(line);
    }
    (void)json_array_append_new(commands, words);
    return CLI_OK;
}

static int show_job(const ablate *a, const ablate_row *row, size_t seed)
{
    const bool done = ablate_job_done(a, row, seed, NULL);
    json_t *commands = json_array();
    if (!a->common.json) printf("%s, seed %zu: %s\n", row->key, seed, done ? "done" : "to run");
    int code = done ? CLI_OK : add_command(a, commands, ablate_train_command(a, row, seed));
    for (size_t i = 0; i < a->target_count && !done; i++) {
        for (size_t p = 0; p < json_array_size(a->targets[i].places) && code == CLI_OK; p++) {
            code = add_command(a, commands, ablate_eval_command(a, row, seed, &a->targets[i], p));
        }
    }
    if (a->common.json && code == CLI_OK) {
        common_print_json(json_pack("{s:s, s:I, s:b, s:O}", "row", row->key, "seed", (json_int_t)seed, "done",
                                    (int)done, "commands", commands));
    }
    json_decref(commands);
    return code;
}

static int dry_run(const ablate *a)
{
    int code = CLI_OK;
    for (size_t i = 0; i < a->plan.count; i++) {
        if (!wanted(&a->plan.rows[i])) continue;
        for (size_t seed = 1; seed <= a->seeds && code == CLI_OK; seed++) code = show_job(a, &a->plan.rows[i], seed);
    }
    const work w = count_work(a);
    if (code == CLI_OK && !a->common.json) {
        printf("%zu rows, %zu runs: %zu done, %zu to run\n", w.rows, w.jobs, w.done, w.jobs - w.done);
    }
    return code;
}

/* ---- the run ----------------------------------------------------------------------------------------------------- */

static void note_next(const ablate *a, const work *w, const ablate_row *row, size_t seed)
{
    char left[64] = "";
    if (w->timed > 0) {
        const double minutes = w->seconds / (double)w->timed * (double)(w->jobs - w->done - w->failed) / 60.0;
        if (minutes < 90.0) {
            (void)snprintf(left, sizeof left, ", about %.0f min left", minutes < 1.0 ? 1.0 : minutes);
        } else {
            (void)snprintf(left, sizeof left, ", about %.1f h left", minutes / 60.0);
        }
    }
    cli_note("run %zu of %zu: %s, seed %zu of %zu%s", w->done + w->failed + 1, w->jobs, row->key, seed, a->seeds, left);
}

static int run_all(const ablate *a)
{
    work w = count_work(a);
    if (w.done > 0) cli_note("%zu of %zu runs are done already", w.done, w.jobs);
    for (size_t seed = 1; seed <= a->seeds; seed++) { /* seeds outside: every row has a figure early */
        for (size_t i = 0; i < a->plan.count; i++) {
            const ablate_row *row = &a->plan.rows[i];
            double took = 0.0;
            if (!wanted(row) || ablate_job_done(a, row, seed, NULL)) continue;
            if (cli_interrupted()) return CLI_INTERRUPTED;
            note_next(a, &w, row, seed);
            const int code = ablate_job_run(a, row, seed);
            if (code != CLI_OK && code != CLI_SOME_FAILED) return code;
            if (code == CLI_OK && ablate_job_done(a, row, seed, &took)) {
                w.done++;
                w.timed++;
                w.seconds += took;
            } else {
                w.failed++;
            }
            const int written = ablate_tables(a, false); /* for who looks in meanwhile */
            if (written != CLI_OK) return written;
        }
    }
    return w.failed > 0 ? CLI_SOME_FAILED : CLI_OK;
}

static int run(ablate *a)
{
    int code = ablate_read_config(a);
    if (code == CLI_OK) code = ablate_plan_make(&a->plan, &a->base, a->rows);
    if (code == CLI_OK) code = ablate_read_targets(a);
    if (code == CLI_OK) code = ablate_open_folder(a, !a->dry_run);
    if (code == CLI_OK) code = check_taps(a);
    if (code != CLI_OK) return code;
    if (a->dry_run) return dry_run(a);
    code = run_all(a);
    if (code == CLI_INTERRUPTED) {
        cli_error("interrupted; what is done stays, the same command goes on from here");
        return code;
    }
    if (code != CLI_OK && code != CLI_SOME_FAILED) return code;
    const int printed = ablate_tables(a, true);
    return printed != CLI_OK ? printed : code;
}

static void free_all(ablate *a)
{
    jobs_unlock(&a->jobs);
    ablate_plan_free(&a->plan);
    for (size_t i = 0; i < a->target_count; i++) {
        json_decref(a->targets[i].spec);
        json_decref(a->targets[i].places);
    }
    free(a->targets);
    json_decref(a->config);
    cli_list_free(&a->sources);
    cli_list_free(&a->target_texts);
}

int cmd_ablate(int argc, char **argv)
{
    ablate a = {.rows = "table3,table4,table5,table7", .seeds = 3, .jobs = {.lock = -1}};
    common_init(&a.common);
    a.usual_limit = a.common.cache_limit;
    const cli_option options[] = {
        {"config", 0, CLI_STRING, &a.config_path, "FILE", "base configuration, as of train --config", NULL},
        {"rows", 0, CLI_STRING, &a.rows, "LIST", "tables and rows to run", NULL},
        {"source", 0, CLI_LIST, &a.sources, "ROOT:LAYOUT[:CATEGORY,...]", "as of train; may be given several times",
         NULL},
        {"target", 0, CLI_LIST, &a.target_texts, "ROOT:LAYOUT[:CATEGORY,...]",
         "what to evaluate on; may be given several times", NULL},
        {"seeds", 0, CLI_SIZE, &a.seeds, "N", "train every row with the seeds 1 to N", NULL},
        {"output", 'o', CLI_STRING, &a.jobs.folder, "DIR", "results folder; holds everything that is done", NULL},
        {"backbone", 0, CLI_STRING, &a.backbone, "NAME|FILE", "weights, in place of the configuration's", NULL},
        {"keep-models", 0, CLI_FLAG, &a.keep_models, NULL, "do not remove a row's model once it is evaluated", NULL},
        {"dry-run", 0, CLI_FLAG, &a.dry_run, NULL, "only list what would run, with the command lines", NULL},
        {"threads", 0, CLI_SIZE, &a.threads, "N", "0: all", NULL},
        COMMON_CACHE_OPTIONS(a.common),
        {"json", 0, CLI_FLAG, &a.common.json, NULL, "the tables as one JSON object", NULL},
    };
    cli_list args = {NULL, 0};
    /* Tests put a script in the place of this program. */
    const char *stand_in = getenv("COZAD_ABLATE_BINARY");
    a.jobs.binary = stand_in != NULL && stand_in[0] != '\0' ? stand_in : "/proc/self/exe";
    int code = cli_parse(&verb, options, sizeof options / sizeof *options, argc, argv, &args);
    if (code < 0 && (a.config_path == NULL || a.jobs.folder == NULL || a.target_texts.count == 0 || args.count > 0)) {
        cli_error(
            "ablate needs --config FILE, --target ROOT:LAYOUT and -o DIR, and no other arguments; see 'cozad ablate "
            "--help'");
        code = CLI_USAGE;
    }
    if (code < 0 && (a.seeds == 0 || a.seeds > 1000)) {
        cli_error("--seeds: from 1 to 1000");
        code = CLI_USAGE;
    }
    if (code < 0) code = run(&a);
    cli_list_free(&args);
    free_all(&a);
    return cli_finish_output(code);
}
