/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"
#include "common.h"
#include "inputs.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const cli_verb verb = {
    "drift", "-m MODEL [options] scores.jsonl|PHOTOS...",
    "Tells whether recent scores come from the distribution that a calibrated model was calibrated with.",
    "Each argument is a file of lines from 'cozad score --json' (- is standard input), a photo or a folder of photos, "
    "which "
    "are then scored. The two-sample Kolmogorov-Smirnov test compares them with the calibration scores; p is the "
    "probability of a difference this large without drift. Below --level it is called drift: a new camera, light or "
    "supplier, or more defects than before. The threshold's promise then no longer holds: calibrate again with photos "
    "of today. Exit code 0: no drift seen, 1: drift, 3: no drift, but some inputs failed.",
    "  cozad score -m part.cozad photos/today --json > today.jsonl; cozad drift -m part.cozad today.jsonl\n"
    "  cozad drift -m part.cozad photos/today --json"};

/* Smaller samples show only a large drift. */
enum { FEW = 20 };

typedef struct arguments {
    const char *model, *backbone;
    size_t threads;
    double level;
    common_options common;
} arguments;

typedef struct recent {
    double *scores;
    size_t count, room;
    size_t failed;
} recent;

static int add_score(recent *r, double score)
{
    if (r->count == r->room) {
        const size_t room = r->room == 0 ? 256 : 2 * r->room;
        double *scores = realloc(r->scores, room * sizeof *scores);
        if (scores == NULL) {
            cli_error("out of memory");
            return CLI_RESOURCES;
        }
        r->scores = scores;
        r->room = room;
    }
    r->scores[r->count++] = score;
    return CLI_OK;
}

/* ---- lines of scores ---------------------------------------------------------------------------------------------- */

static int add_line(recent *r, const char *path, size_t number, const char *line)
{
    json_error_t error;
    json_t *json = json_loads(line, JSON_REJECT_DUPLICATES, &error);
    const json_t *score = json_object_get(json, "score");
    int code = CLI_OK;
    if (!json_is_object(json)) {
        cli_error("%s:%zu: not a line of JSON: %s", path, number, json == NULL ? error.text : "not an object");
        code = CLI_SOME_FAILED;
    } else if (json_is_number(score)) {
        code = add_score(r, json_number_value(score));
    } else if (json_object_get(json, "error") != NULL) {
        r->failed++; /* a photo that could not be scored then */
    } else {
        cli_error("%s:%zu: has no \"score\"", path, number);
        code = CLI_SOME_FAILED;
    }
    json_decref(json);
    return code;
}

static int add_lines(recent *r, const char *path)
{
    const bool standard = strcmp(path, "-") == 0;
    FILE *file = standard ? stdin : fopen(path, "r");
    char *line = NULL;
    size_t room = 0, number = 0;
    int code = CLI_OK;
    if (file == NULL) {
        cli_error("%s: cannot open: %s", path, strerror(errno));
        return CLI_SOME_FAILED;
    }
    while (code == CLI_OK && getline(&line, &room, file) >= 0) {
        number++;
        if (line[strspn(line, " \t\r\n")] != '\0') code = add_line(r, path, number, line);
    }
    if (code == CLI_OK && ferror(file)) {
        cli_error("%s: cannot read: %s", path, strerror(errno));
        code = CLI_SOME_FAILED;
    }
    free(line);
    if (!standard) (void)fclose(file);
    return code;
}

/* ---- photos ------------------------------------------------------------------------------------------------------- */

static int score_photos(const arguments *a, const cz_model *model, const input_list *list, recent *r)
{
    cz_session_options options = CZ_SESSION_OPTIONS_INIT;
    cz_session *session = NULL;
    int code = CLI_OK;
    options.threads = a->threads;
    options.map = CZ_MAP_NONE;
    tile_apply(&a->common.tile, &options);
    options.cache = a->common.cache;
    options.precision = a->common.precision;
    options.log = cli_log;
    cz_status status = cz_session_open(model, &options, &session);
    if (status != CZ_OK) return cli_fail(status);
    for (size_t i = 0; i < list->count && code == CLI_OK; i++) {
        cz_picture photo = {0};
        cz_result result;
        if (cli_progress(NULL, "scoring", i, list->count, "") != 0) code = CLI_INTERRUPTED;
        if (code != CLI_OK) break;
        status = cz_picture_read(list->items[i].path, &a->common.read, &photo);
        const bool readable = status == CZ_OK;
        if (readable) status = cz_score(session, &photo.image, &result);
        cz_picture_free(&photo);
        if (status == CZ_OK) {
            code = add_score(r, result.score);
        } else if (!readable || status == CZ_E_ARG) {
            (void)cli_fail(status);
            r->failed++;
        } else {
            code = cli_fail(status);
        }
    }
    cli_progress_end();
    cz_session_close(session);
    return code;
}

/* ---- the verdict -------------------------------------------------------------------------------------------------- */

static int tell(const arguments *a, const cz_model *model, const recent *r)
{
    cz_calibration c;
    cz_drift d;
    (void)cz_model_calibration(model, &c);
    if (r->count == 0) {
        cli_error("there are no scores to compare");
        return CLI_SOME_FAILED;
    }
    const cz_status status = cz_measure_drift(model, r->scores, r->count, &d);
    if (status != CZ_OK) return cli_fail(status);
    const bool drift = d.p_value < a->level;
    const double above = (double)d.above / (double)r->count;
    if (a->common.json) {
        common_print_json(json_pack("{s:s, s:b, s:f, s:f, s:f, s:I, s:I, s:I, s:f, s:f, s:f, s:f}", "model", a->model,
                                    "drift", drift, "statistic", d.statistic, "p_value", d.p_value, "level", a->level,
                                    "images", (json_int_t)r->count, "calibration_images", (json_int_t)c.count, "failed",
                                    (json_int_t)r->failed, "median", d.median, "calibration_median",
                                    d.calibration_median, "threshold", c.threshold, "above_threshold", above));
    } else {
        printf("%s: D = %.4f, p = %.3g (Kolmogorov-Smirnov, %zu recent and %zu calibration scores)\n",
               drift ? "drift" : "no drift seen", d.statistic, d.p_value, r->count, c.count);
        printf("median %.6g, in calibration %.6g; %.3g %% score above the threshold\n", d.median, d.calibration_median,
               100.0 * above);
        (void)fflush(stdout);
    }
    if (r->count < FEW || c.count < FEW)
        cli_note("with %zu and %zu scores only a large drift shows", r->count, c.count);
    if (drift) cli_note("the threshold's promise no longer holds: look at the photos, and calibrate again");
    return drift ? CLI_ANOMALY : r->failed > 0 ? CLI_SOME_FAILED : CLI_OK;
}

static int open_model(const arguments *a, bool scores, cz_model **out)
{
    cz_calibration c;
    if (scores) {
        const int code = common_open_model(a->model, a->backbone, out);
        if (code != CLI_OK) return code;
    } else {
        const cz_status status = cz_model_inspect(a->model, out);
        if (status != CZ_OK) return cli_fail_model(status);
    }
    if (cz_model_calibration(*out, &c)) return CLI_OK;
    cli_error("%s: is not calibrated, there is nothing to compare with; see 'cozad calibrate --help'", a->model);
    return CLI_USAGE;
}

static bool is_photos(const char *path)
{
    struct stat info;
    return (stat(path, &info) == 0 && S_ISDIR(info.st_mode)) || cz_picture_is_name(path);
}

static int drift(arguments *a, const cli_list *args)
{
    input_list list;
    recent r = {NULL, 0, 0, 0};
    cz_model *model = NULL;
    memset(&list, 0, sizeof list);
    int code = CLI_OK;
    for (size_t i = 0; i < args->count && code == CLI_OK; i++) {
        if (!is_photos(args->items[i])) {
            code = add_lines(&r, args->items[i]);
        } else {
            const cz_status status = inputs_add_path(&list, args->items[i]);
            if (status == CZ_E_MEMORY) code = cli_fail(status);
            if (status != CZ_OK && status != CZ_E_MEMORY) {
                (void)cli_fail(status);
                r.failed++;
            }
        }
    }
    if (code == CLI_OK) code = open_model(a, list.count > 0, &model);
    if (code == CLI_OK) code = tile_settle(&a->common.tile, model);
    if (code == CLI_OK && list.count > 0) code = score_photos(a, model, &list, &r);
    if (code == CLI_OK) code = tell(a, model, &r);
    cz_model_close(model);
    free(r.scores);
    inputs_free(&list);
    return code;
}

int cmd_drift(int argc, char **argv)
{
    arguments a;
    memset(&a, 0, sizeof a);
    a.level = 0.01;
    common_init(&a.common);
    const cli_option options[] = {
        {"model", 'm', CLI_STRING, &a.model, "MODEL", "calibrated model file", NULL},
        {"level", 0, CLI_REAL, &a.level, "X", "p-values below are called drift", NULL},
        {"backbone", 0, CLI_STRING, &a.backbone, "NAME|FILE", "weights; found by the model's SHA-256 unless given",
         NULL},
        TILE_OPTIONS(a.common.tile),
        COMMON_PRECISION_OPTION(a.common),
        {"threads", 0, CLI_SIZE, &a.threads, "N", "0: all", NULL},
        COMMON_CACHE_OPTIONS(a.common),
        COMMON_READ_OPTIONS(a.common),
        {"json", 0, CLI_FLAG, &a.common.json, NULL, "JSON Lines", NULL},
    };
    cli_list args = {NULL, 0};
    int code = cli_parse(&verb, options, sizeof options / sizeof *options, argc, argv, &args);
    if (code < 0) {
        code = CLI_OK;
        if (a.model == NULL || args.count == 0) {
            cli_error("drift needs -m MODEL and a file of scores or photos; see 'cozad drift --help'");
            code = CLI_USAGE;
        } else if (!(a.level > 0.0 && a.level < 1.0)) {
            cli_error("--level: %g is not between 0 and 1", a.level);
            code = CLI_USAGE;
        } else {
            common_finish(&a.common);
            code = drift(&a, &args);
        }
    }
    cli_list_free(&args);
    return cli_finish_output(code);
}
