/* SPDX-License-Identifier: Apache-2.0 */
#include "eval.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const cli_verb verb = {
    "metrics", "SCORES [options]", "Prints the figures of cozad eval again, from the scores and maps that it saved.",
    "SCORES is what cozad eval --save-scores wrote. Maps and masks are looked for where they were then, unless --maps "
    "and "
    "--data say where they are now; without maps there are no pixel figures. With the same options the figures are the "
    "same to the last digit.",
    "  cozad metrics scores.jsonl\n"
    "  cozad metrics scores.jsonl --maps maps --data mvtec --json\n"
    "  cozad metrics scores.jsonl --resamples 10000 --threshold 0.4"};

typedef struct arguments {
    const char *scores, *maps, *data, *at_text, *threshold_text, *pixel;
    bool exact, simplenet;
    size_t resamples, threads, min_area, at;
    uint64_t seed;
    double mm_per_pixel;
    common_options common;
} arguments;

typedef struct run {
    const arguments *a;
    const char *maps, *data; /* NULL: none */
    scores_file file;
    eval_sum sum;
    eval_pixels pixels;
    size_t told;
} run;

static char *join(const char *folder, const char *name)
{
    const size_t room = strlen(folder) + strlen(name) + 2;
    char *path = malloc(room);
    if (path == NULL)
        (void)cz_source_error(CZ_E_MEMORY, "out of memory");
    else
        (void)snprintf(path, room, "%s/%s", folder, name);
    return path;
}

static cz_status read_truth(const run *r, const scores_item *item, cz_picture *out)
{
    char **paths = calloc(item->mask_count + 1, sizeof *paths);
    cz_status status = paths != NULL ? CZ_OK : cz_source_error(CZ_E_MEMORY, "out of memory");
    for (size_t i = 0; i < item->mask_count && status == CZ_OK; i++) {
        paths[i] = r->data != NULL ? join(r->data, item->masks[i]) : strdup(item->masks[i]);
        if (paths[i] == NULL) status = CZ_E_MEMORY;
    }
    if (status == CZ_OK) {
        status = eval_read_masks((const char *const *)paths, item->mask_count,
                                 item->nonzero ? CZ_MASK_NONZERO : CZ_MASK_HALF, &r->a->common.read, out);
    }
    for (size_t i = 0; paths != NULL && i < item->mask_count; i++) free(paths[i]);
    free(paths);
    return status;
}

static cz_status read_pixels(run *r, const scores_item *item, float **map)
{
    size_t width = 0, height = 0;
    cz_picture truth = {0};
    char *path = join(r->maps, item->map);
    cz_status status = path != NULL ? cz_map_read_tiff(path, map, &width, &height) : CZ_E_MEMORY;
    free(path);
    if (status == CZ_OK && item->mask_count > 0) status = read_truth(r, item, &truth);
    if (status == CZ_OK && truth.pixels != NULL && r->sum.at == 0) {
        status = eval_check_aspect(&truth.image, width, height);
    }
    if (status == CZ_OK) {
        status =
            eval_pixels_make(&r->pixels, *map, width, height, truth.pixels != NULL ? &truth.image : NULL, r->sum.at);
    }
    cz_picture_free(&truth);
    return status;
}

/* A map or mask that is missing takes its photo out, as in eval. */
static cz_status add(run *r, const scores_item *item)
{
    float *map = NULL;
    eval_count *c = eval_sum_category(&r->sum, item->category);
    if (c == NULL) return CZ_E_MEMORY;
    if (item->failed) {
        c->failed++;
        return CZ_OK;
    }
    cz_status status = CZ_OK;
    r->pixels.map = NULL;
    r->pixels.mask = NULL;
    if (r->maps != NULL && item->map != NULL) status = read_pixels(r, item, &map);
    if (status == CZ_OK) status = eval_sum_add(&r->sum, item->category, item->label, item->score, &r->pixels);
    if (status == CZ_OK) {
        r->sum.trained_on += item->trained_on;
    } else if (status != CZ_E_MEMORY) {
        if (r->told++ < 20) cli_error("%s: %s", item->path, cz_last_error());
        c->failed++;
        status = CZ_OK;
    }
    cz_string_free((char *)map);
    return status;
}

/* ---- options against the head -------------------------------------------------------------------------------------- */

static bool is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static bool wants(const run *r, bool masks)
{
    for (size_t i = 0; i < r->file.count; i++) {
        if (masks ? r->file.items[i].mask_count > 0 : r->file.items[i].map != NULL) return true;
    }
    return false;
}

static int find_folders(run *r)
{
    const arguments *a = r->a;
    if (!wants(r, false)) {
        if (a->maps == NULL) return CLI_OK;
        cli_error("%s: it names no maps (cozad eval --save-maps)", a->scores);
        return CLI_USAGE;
    }
    r->maps = a->maps != NULL ? a->maps : scores_head(&r->file, "maps");
    if (r->maps == NULL || !is_folder(r->maps)) {
        cli_error("%s: its maps are not there; say where with --maps DIR", r->maps != NULL ? r->maps : a->scores);
        return CLI_USAGE;
    }
    const char *then = scores_head(&r->file, "data");
    r->data = a->data != NULL ? a->data : then;
    if (r->data != NULL && wants(r, true) && !is_folder(r->data)) {
        cli_error("%s: the data set is not there; say where with --data ROOT", r->data);
        return CLI_USAGE;
    }
    return CLI_OK;
}

static int find_threshold(run *r)
{
    const arguments *a = r->a;
    eval_threshold *t = &r->sum.threshold;
    const json_t *saved = json_object_get(r->file.head, "threshold");
    const json_t *image = json_object_get(saved, "image"), *pixel = json_object_get(saved, "pixel");
    if (a->threshold_text == NULL && json_is_number(image) && json_is_number(pixel)) {
        const char *rule = json_string_value(json_object_get(saved, "rule"));
        *t = (eval_threshold){.known = true, .image = json_number_value(image), .pixel = json_number_value(pixel)};
        (void)snprintf(t->rule, sizeof t->rule, "%.290s", rule != NULL ? rule : "as saved");
        if (a->pixel[0] != '\0') t->pixel = strtod(a->pixel, NULL);
        return CLI_OK;
    }
    return eval_find_threshold(a->threshold_text, a->pixel[0] != '\0' ? strtod(a->pixel, NULL) : (double)NAN, NULL, t);
}

static int open_run(run *r)
{
    const arguments *a = r->a;
    cz_evaluation_options options = CZ_EVALUATION_OPTIONS_INIT;
    options.resamples = a->resamples;
    options.seed = a->seed;
    options.exact = a->exact;
    options.simplenet = a->simplenet;
    options.threads = a->threads;
    const cz_status status = eval_sum_open(&options, &r->sum);
    if (status != CZ_OK) return cli_fail(status);
    const json_t *at = json_object_get(r->file.head, "at");
    r->sum.at = a->at_text != NULL ? a->at : json_is_integer(at) ? (size_t)json_integer_value(at) : 0;
    if (r->sum.at > 8192) {
        cli_error("%s: line 1: \"at\" is too large", a->scores);
        return CLI_SOME_FAILED;
    }
    r->sum.mm_per_pixel = a->mm_per_pixel;
    r->sum.min_area = a->min_area;
    const int code = find_folders(r);
    return code == CLI_OK ? find_threshold(r) : code;
}

static int add_all(run *r)
{
    for (size_t i = 0; i < r->file.count; i++) {
        if (cli_progress(NULL, "reading", i, r->file.count, "") != 0) return cli_fail(CZ_E_CANCELLED);
        const cz_status status = add(r, &r->file.items[i]);
        if (status != CZ_OK) return cli_fail(status);
    }
    cli_progress_end();
    if (cz_evaluation_categories(r->sum.evaluation) == 0) {
        cli_error("%s: there are no scores", r->a->scores);
        return CLI_SOME_FAILED;
    }
    return CLI_OK;
}

static int print(run *r)
{
    eval_rows rows = {0};
    const cz_status status = eval_rows_make(&r->sum, &rows);
    int code = status == CZ_OK ? CLI_OK : cli_fail(status);
    if (code == CLI_OK && r->a->common.csv) {
        eval_print_csv(&rows);
    } else if (code == CLI_OK && r->a->common.json) {
        json_t *out = eval_json(&r->sum, &rows);
        static const char *const keys[] = {"backbone", "layout"};
        for (size_t i = 0; out != NULL && i < 2; i++) {
            const char *text = scores_head(&r->file, keys[i]);
            (void)json_object_set_new(out, keys[i], text != NULL ? json_string(text) : json_null());
        }
        common_print_json(out);
    } else if (code == CLI_OK) {
        eval_print_table(&r->sum, &rows);
    }
    eval_rows_free(&rows);
    if (code != CLI_OK) return code;
    eval_sum_warn(&r->sum, NULL, NULL);
    return eval_sum_total(&r->sum).failed > 0 ? CLI_SOME_FAILED : CLI_OK;
}

int cmd_metrics(int argc, char **argv)
{
    arguments a = {.resamples = 1000, .min_area = 1, .pixel = ""};
    run r = {.a = &a};
    common_init(&a.common);
    const cli_option options[] = {
        {"maps", 0, CLI_STRING, &a.maps, "DIR", "folder of the saved maps, where it is another one now", NULL},
        {"data", 0, CLI_STRING, &a.data, "ROOT", "folder that masks are below, where it is another one now", NULL},
        {"at", 0, CLI_STRING, &a.at_text, "mask|N", "compare maps and masks there; as saved unless given", NULL},
        {"threshold", 0, CLI_STRING, &a.threshold_text, "X", "count photos and regions above; as saved unless given",
         NULL},
        {"pixel-threshold", 0, CLI_NUMBER, &a.pixel, "X", "threshold of the maps, where it is another one", NULL},
        {"min-area", 0, CLI_SIZE, &a.min_area, "PIXELS", "smaller regions above the threshold do not count", NULL},
        {"mm-per-pixel", 0, CLI_REAL, &a.mm_per_pixel, "X", "print areas in square millimetres, too", NULL},
        {"resamples", 0, CLI_SIZE, &a.resamples, "N", "bootstrap resamples; 0: no intervals", NULL},
        {"seed", 0, CLI_U64, &a.seed, "S", "of the bootstrap", NULL},
        {"exact", 0, CLI_FLAG, &a.exact, NULL, "keep and sort all pixels: memory grows with them", NULL},
        {"simplenet-compat", 0, CLI_FLAG, &a.simplenet, NULL, "SimpleNet's own per-region overlap (an oracle)", NULL},
        {"threads", 0, CLI_SIZE, &a.threads, "N", "0: all", NULL},
        COMMON_READ_OPTIONS(a.common),
        {"json", 0, CLI_FLAG, &a.common.json, NULL, "one JSON object", NULL},
        {"csv", 0, CLI_FLAG, &a.common.csv, NULL, "one line a category", NULL},
    };
    cli_list args = {NULL, 0};
    int code = cli_parse(&verb, options, sizeof options / sizeof *options, argc, argv, &args);
    if (code < 0 && (args.count != 1 || (a.common.json && a.common.csv) || a.mm_per_pixel < 0.0)) {
        cli_error("metrics needs one file of saved scores, and not both --json and --csv; see 'cozad metrics --help'");
        code = CLI_USAGE;
    }
    if (code < 0) code = eval_parse_at(a.at_text, &a.at) == CLI_OK ? -1 : CLI_USAGE;
    if (code < 0) {
        common_finish(&a.common);
        a.scores = args.items[0];
        code = scores_read(a.scores, &r.file);
        if (code == CLI_OK) code = open_run(&r);
        if (code == CLI_OK) code = add_all(&r);
        if (code == CLI_OK) code = print(&r);
        eval_sum_close(&r.sum);
        eval_pixels_free(&r.pixels);
        scores_free(&r.file);
    }
    cli_list_free(&args);
    return cli_finish_output(code);
}
