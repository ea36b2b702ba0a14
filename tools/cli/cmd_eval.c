/* SPDX-License-Identifier: Apache-2.0 */
#include "contaminate.h"
#include "eval.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const cli_verb verb = {
    "eval", "-m MODEL --data ROOT [options]",
    "Scores the test photos of a labelled data set and prints figures with 95 % intervals: image AUROC, average "
    "precision and best F1, the same for pixels, and the area under the per-region overlap (AUPRO).",
    "ROOT is one category or a folder of many, in any of the published layouts (see cozad-eval(1)), or a manifest in "
    "CSV "
    "or JSON Lines; --normal, --abnormal and --masks name plain folders instead. Pixels are compared at the mask's own "
    "resolution; normal photos count as all normal, and anomalous photos without a mask are left out of the pixel "
    "figures. Labels are used for the figures only. A photo that cannot be read, or whose mask has another shape, is "
    "named and counted; the exit code is then 3.\n\n"
    "With --contaminate there is no model: defective photos are put among the training photos, models are trained and "
    "compared; 'cozad eval --contaminate 0 --help' says how, and lists the training options that go with it.",
    "  cozad eval -m screw.cozad --data mvtec/screw\n"
    "  cozad eval -m many.cozad --data mvtec --at 256 --json\n"
    "  cozad eval -m part.cozad --normal good --abnormal bad --masks masks --report part.html\n"
    "  cozad eval -m screw.cozad --data mvtec/screw --save-scores scores.jsonl --save-maps maps\n"
    "  cozad eval --suite cozad-paper --root datasets -m from-visa.cozad\n"
    "  cozad eval --contaminate 0,5,10,20% --data mvtec/tire:mvtec --contaminate-cap --report tire.html -o "
    "contaminated/"};

/* -1: go on. */
static int check(const eval_setup *a, size_t arguments)
{
    const char *problem = NULL;
    if (a->model == NULL || arguments > 0) {
        problem = "eval needs -m MODEL and --data ROOT, and nothing else";
    } else if (a->suite != NULL) {
        if (strcmp(a->suite, "cozad-paper") != 0) problem = "there is one suite, cozad-paper";
        if (a->root == NULL) problem = "--suite needs --root DIR, the folder of the data sets";
        if (a->data != NULL || a->normal != NULL || a->report != NULL || a->overlays != NULL ||
            a->save_scores != NULL || a->save_maps != NULL || a->category != NULL || a->common.csv) {
            problem = "--suite goes with none of --data, --normal, --category, --report, --overlays, --save-scores, "
                      "--save-maps and --csv";
        }
    } else if ((a->data != NULL) == (a->normal != NULL)) {
        problem = a->data != NULL ? "--data and --normal cannot be mixed" : "eval needs -m MODEL and --data ROOT";
    } else if (a->normal == NULL && (a->abnormal != NULL || a->masks != NULL)) {
        problem = "--abnormal and --masks need --normal DIR";
    } else if (a->abnormal == NULL && a->masks != NULL) {
        problem = "--masks needs --abnormal DIR";
    } else if (a->root != NULL || a->visa_model != NULL) {
        problem = "--root and --visa-model go with --suite";
    } else if (a->best_of.count > 0 && !a->simplenet) {
        problem = "--best-of chooses by the test labels: it goes with --simplenet-compat alone";
    } else if (a->common.json && a->common.csv) {
        problem = "--json and --csv cannot be mixed";
    } else if (a->mm_per_pixel < 0.0 || (a->mm_per_pixel > 0.0 && a->at > 0)) {
        problem = a->at > 0 ? "--mm-per-pixel is about the masks' own pixels: not with --at N"
                            : "--mm-per-pixel cannot be negative";
    }
    if (problem == NULL) return -1;
    cli_error("%s; see 'cozad eval --help'", problem);
    return CLI_USAGE;
}

static int print(const eval_run *r, const eval_rows *rows)
{
    if (r->a->common.csv) {
        eval_print_csv(rows);
        return CLI_OK;
    }
    const char *backbone = cz_backbone_name(cz_model_backbone(r->model));
    if (r->a->common.json) {
        json_t *out = eval_json(&r->sum, rows);
        if (out != NULL) {
            (void)json_object_set_new(out, "backbone", json_string(backbone));
            (void)json_object_set_new(out, "layout", json_string(cz_dataset_layout(r->data)));
            if (r->a->best_of.count > 0) {
                (void)json_object_set_new(
                    out, "chosen_on_test_labels",
                    json_pack("{s:s, s:I}", "model", r->a->model, "of", (json_int_t)r->a->best_of.count + 1));
            }
        }
        common_print_json(out);
        return out != NULL ? CLI_OK : CLI_RESOURCES;
    }
    printf("%s (backbone %s)\n\n", r->category, backbone);
    eval_print_table(&r->sum, rows);
    if (r->a->best_of.count > 0) {
        printf("ORACLE: %s is the best of %zu models on these very test photos, chosen with their labels.\n",
               r->a->model, r->a->best_of.count + 1);
    }
    return CLI_OK;
}

/* As SimpleNet's code keeps its best epoch: image AUROC, ties by pixel AUROC, on the very photos that are reported. */
static int try_model(const eval_setup *base, const char *path, cz_dataset *data, double out[2])
{
    eval_setup a = *base;
    eval_run r = {0};
    eval_rows rows = {0};
    cz_model *model = NULL;
    a.model = path;
    a.resamples = 0;
    a.report = a.overlays = a.save_scores = a.save_maps = NULL;
    int code = common_open_model(path, a.backbone, &model);
    if (code == CLI_OK) code = eval_run_open(&r, &a, model, data);
    if (code == CLI_OK) code = eval_run_all(&r);
    if (code == CLI_OK || code == CLI_SOME_FAILED) {
        const cz_status status = r.sum.evaluation != NULL ? eval_rows_make(&r.sum, &rows) : CZ_OK;
        code = status == CZ_OK ? CLI_OK : cli_fail(status);
    }
    out[0] = out[1] = -1.0;
    if (code == CLI_OK && rows.rows != NULL) {
        const cz_figure *m = rows.rows[rows.categories].figures.metric;
        out[0] = isnan(m[CZ_IMAGE_AUROC].value) ? -1.0 : m[CZ_IMAGE_AUROC].value;
        out[1] = isnan(m[CZ_PIXEL_AUROC].value) ? -1.0 : m[CZ_PIXEL_AUROC].value;
    }
    eval_rows_free(&rows);
    eval_run_close(&r);
    cz_model_close(model);
    return code;
}

static int choose_best(eval_setup *a, cz_dataset *data)
{
    double best[2] = {-2.0, -2.0}, one[2];
    const char *chosen = a->model, *candidate = a->model;
    for (size_t i = 0; i <= a->best_of.count; i++) {
        if (i > 0) candidate = a->best_of.items[i - 1];
        const int code = try_model(a, candidate, data, one);
        if (code != CLI_OK) return code;
        if (one[0] > best[0] || (one[0] >= best[0] && one[1] > best[1])) {
            memcpy(best, one, sizeof best);
            chosen = candidate;
        }
    }
    a->model = chosen;
    return CLI_OK;
}

static int evaluate(eval_setup *a)
{
    eval_run r = {0};
    eval_rows rows = {0};
    cz_model *model = NULL;
    cz_dataset *data = NULL;
    int code = eval_open_data(a, &data);
    if (code == CLI_OK && a->best_of.count > 0) code = choose_best(a, data);
    if (code == CLI_OK) code = common_open_model(a->model, a->backbone, &model);
    if (code == CLI_OK) code = eval_run_open(&r, a, model, data);
    if (code == CLI_OK) code = eval_run_all(&r);
    const bool scored = r.sum.evaluation != NULL && cz_evaluation_categories(r.sum.evaluation) > 0;
    if ((code == CLI_OK || code == CLI_SOME_FAILED) && scored) {
        const cz_status status = eval_rows_make(&r.sum, &rows);
        int printed = status == CZ_OK ? print(&r, &rows) : cli_fail(status);
        if (printed == CLI_OK) printed = eval_page_write(&r, &rows);
        if (printed != CLI_OK) code = printed;
    }
    eval_rows_free(&rows);
    eval_run_close(&r);
    cz_dataset_close(data);
    cz_model_close(model);
    return code;
}

int cmd_eval(int argc, char **argv)
{
    eval_setup a = {.layout = "auto", .resamples = 1000, .min_area = 1, .pixel_threshold = NAN};
    common_init(&a.common);
    const char *pixel = "";
    contaminate_options contaminated = CONTAMINATE_OPTIONS_INIT; /* for --help: contaminate_main reads its own */
    const cli_option options[] = {
        {"model", 'm', CLI_STRING, &a.model, "MODEL", "model file", NULL},
        {"backbone", 0, CLI_STRING, &a.backbone, "NAME|FILE", "weights; found by the model's SHA-256 unless given",
         NULL},
        {"data", 0, CLI_STRING, &a.data, "ROOT", "the data set, or a manifest file", NULL},
        {"layout", 0, CLI_STRING, &a.layout, "NAME", "how it is laid out: mvtec, visa, btad, csv, ...", NULL},
        {"category", 0, CLI_STRING, &a.category, "NAME,...", "these categories only", NULL},
        {"normal", 0, CLI_STRING, &a.normal, "DIR", "instead of --data: normal test photos", NULL},
        {"abnormal", 0, CLI_STRING, &a.abnormal, "DIR", "anomalous test photos", NULL},
        {"masks", 0, CLI_STRING, &a.masks, "DIR", "masks of the anomalous photos, by name", NULL},
        {"at", 0, CLI_STRING, &a.at_text, "mask|N", "compare maps and masks there; N: the papers' way, N x N pixels",
         NULL},
        {"threshold", 0, CLI_STRING, &a.threshold_text, "X|calibrated",
         "count photos and regions above; the model's own unless given", NULL},
        {"pixel-threshold", 0, CLI_NUMBER, &pixel, "X", "threshold of the maps, where it is another one", NULL},
        {"min-area", 0, CLI_SIZE, &a.min_area, "PIXELS", "smaller regions above the threshold do not count", NULL},
        {"mm-per-pixel", 0, CLI_REAL, &a.mm_per_pixel, "X", "print areas in square millimetres, too", NULL},
        {"resamples", 0, CLI_SIZE, &a.resamples, "N", "bootstrap resamples; 0: no intervals", NULL},
        {"seed", 0, CLI_U64, &a.seed, "S", "of the bootstrap", NULL},
        {"exact", 0, CLI_FLAG, &a.exact, NULL, "keep and sort all pixels: memory grows with them", NULL},
        {"simplenet-compat", 0, CLI_FLAG, &a.simplenet, NULL, "SimpleNet's own per-region overlap (an oracle)", NULL},
        {"best-of", 0, CLI_LIST, &a.best_of, "MODEL",
         "with --simplenet-compat: a further model to choose from (an oracle); several times", NULL},
        {"report", 0, CLI_STRING, &a.report, "FILE", "write one HTML page", NULL},
        {"overlays", 0, CLI_STRING, &a.overlays, "DIR", "write heat maps and overlays", NULL},
        {"save-scores", 0, CLI_STRING, &a.save_scores, "FILE", "write JSON Lines for cozad metrics and compare", NULL},
        {"save-maps", 0, CLI_STRING, &a.save_maps, "DIR", "write maps as TIFF, as MVTec's evaluation code reads them",
         NULL},
        {"suite", 0, CLI_STRING, &a.suite, "cozad-paper", "the paper's Tables 1 and 2 beside its own figures", NULL},
        {"root", 0, CLI_STRING, &a.root, "DIR", "folder of the data sets of --suite", NULL},
        {"visa-model", 0, CLI_STRING, &a.visa_model, "MODEL", "model of --suite for the target VisA", NULL},
        TILE_OPTIONS(a.common.tile),
        COMMON_PRECISION_OPTION(a.common),
        {"workers", 0, CLI_SIZE, &a.workers, "N", "photos scored side by side, each by threads / N; 0: one a thread",
         NULL},
        {"threads", 0, CLI_SIZE, &a.threads, "N", "0: all", NULL},
        COMMON_CACHE_OPTIONS(a.common),
        COMMON_READ_OPTIONS(a.common),
        {"json", 0, CLI_FLAG, &a.common.json, NULL, "one JSON object", NULL},
        {"csv", 0, CLI_FLAG, &a.common.csv, NULL, "one line a category", NULL},
        {"Contaminated training photos, with the options of train", 0, CLI_HEADING, NULL, NULL, NULL, NULL},
        CONTAMINATE_OPTIONS(contaminated), /* the last ones */
    };
    enum { OPTIONS = sizeof options / sizeof *options };
    bool given[OPTIONS] = {false};
    cli_list args = {NULL, 0};
    if (contaminate_asked(argc, argv)) return contaminate_main(argc, argv);
    int code = cli_parse_given(&verb, options, OPTIONS, argc, argv, &args, given);
    for (size_t i = OPTIONS - CONTAMINATE_OPTION_COUNT; i < OPTIONS && code < 0; i++) {
        if (!given[i]) continue;
        cli_error("--%s goes with --contaminate; see 'cozad eval --help'", options[i].name);
        code = CLI_USAGE;
    }
    if (code < 0) code = eval_parse_at(a.at_text, &a.at) == CLI_OK ? -1 : CLI_USAGE;
    if (code < 0) code = check(&a, args.count);
    if (code < 0) {
        if (pixel[0] != '\0') a.pixel_threshold = strtod(pixel, NULL);
        common_finish(&a.common);
        code = a.suite != NULL ? eval_suite(&a) : evaluate(&a);
    }
    cli_list_free(&args);
    cli_list_free(&a.best_of);
    cli_list_free(&contaminated.with);
    return cli_finish_output(code);
}
