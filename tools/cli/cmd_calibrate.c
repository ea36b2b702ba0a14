/* SPDX-License-Identifier: Apache-2.0 */
#include "calibration.h"
#include "cli.h"
#include "common.h"
#include "inputs.h"

#include <math.h>
#include <string.h>
#include <sys/stat.h>

static const cli_verb verb = {
    "calibrate", "-m MODEL --normal DIR | --unlabelled DIR --contamination R [options] -o NEW",
    "Finds a model's threshold from normal photos that it was not trained on, and says what that threshold promises.",
    "With --rule fpr (the default) the threshold is the smallest score for which, whatever the distribution of scores, "
    "the "
    "false-positive rate is at most --fpr with probability --confidence over the choice of photos: 1 % at 95 % needs "
    "299 "
    "photos, 2 % 149, 5 % 59, 10 % 29. With fewer the largest score is taken and the promise that it does bear is "
    "stated. --rule iqr is third quartile + 1.5 x interquartile range and promises nothing; f1 and cost need photos "
    "with defects (--abnormal) and hold for their mixture. NEW is MODEL with the threshold, the scores (for p-values) "
    "and a pixel threshold for regions. Photos that the model was trained on are refused (exit code 3): their scores "
    "are too low. The promise is about photos like these: same product, camera and light.\n\n"
    "--unlabelled takes photos that nobody has sorted, of which at most the share --contamination shows a defect: as "
    "many of the highest scores are set aside, and the rule goes on with the rest. That promises --fpr only if the "
    "defective ones do score highest; what it promises whatever they score is stated as well, and is stored in NEW.",
    "  cozad calibrate -m part.cozad --normal photos/held-out -o part-cal.cozad\n"
    "  cozad calibrate -m part.cozad --normal photos/held-out --fpr 0.05 --strict -o part-cal.cozad\n"
    "  cozad calibrate -m part.cozad --normal photos/held-out --abnormal photos/bad --rule cost --cost-miss 50 "
    "-o part-cal.cozad\n"
    "  cozad calibrate -m part.cozad --unlabelled photos/unsorted --contamination 0.1 --fpr 0.05 -o part-cal.cozad"};

typedef struct arguments {
    const char *model, *normal, *unlabelled, *abnormal, *backbone, *output, *rule;
    bool allow, strict;
    common_options common;
    cz_calibrate_options calibrate;
} arguments;

static bool same_file(const char *a, const char *b)
{
    struct stat x, y;
    return strcmp(a, b) == 0 || (stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino);
}

/* ---- output ------------------------------------------------------------------------------------------------------- */

static void print_json(const arguments *a, const cz_calibration_report *r)
{
    const cz_calibration *c = &r->calibration;
    json_t *line = json_pack(
        "{s:s, s:s, s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o}", "model", a->output, "rule",
        cz_threshold_rule_name(c->rule), "threshold", common_json_real(c->threshold), "pixel_threshold",
        common_json_real(c->pixel_threshold), "pixel_quantile", common_json_real(c->pixel_quantile), "images",
        (json_int_t)r->images, "abnormal", (json_int_t)r->abnormal, "skipped", (json_int_t)r->skipped, "repeated",
        (json_int_t)r->repeated, "trained_on", (json_int_t)r->trained_on, "target", common_json_real(c->target),
        "confidence", common_json_real(c->confidence), "promise", common_json_real(c->promise));
    if (c->rule == CZ_RULE_FPR) {
        (void)json_object_set_new(line, "order", json_integer((json_int_t)r->order));
        (void)json_object_set_new(line, "images_needed", json_integer((json_int_t)r->needed));
    }
    if (c->contamination > 0.0) {
        (void)json_object_set_new(line, "contamination", json_real(c->contamination));
        (void)json_object_set_new(line, "discounted", json_integer((json_int_t)r->discounted));
        (void)json_object_set_new(line, "promise_if_separated", common_json_real(c->separated));
    }
    if (c->rule == CZ_RULE_F1) (void)json_object_set_new(line, "f1", common_json_real(r->value));
    if (c->rule == CZ_RULE_COST) (void)json_object_set_new(line, "cost", common_json_real(r->value));
    common_print_json(line);
}

static void print_text(const arguments *a, const cz_calibration_report *r)
{
    const cz_calibration *c = &r->calibration;
    char text[CALIBRATION_TEXT];
    printf("%s: threshold %.6g: %s\n", a->output, c->threshold, calibration_describe(c, text));
    if (c->contamination > 0.0) {
        printf("%zu of the %zu photos score above it, %zu of them set aside as possibly defective\n",
               r->images - r->order, r->images, r->discounted);
    } else if (c->rule == CZ_RULE_FPR && r->order < r->images) {
        printf("%zu of the %zu photos score above it\n", r->images - r->order, r->images);
    } else if (c->rule == CZ_RULE_F1) {
        printf("F1 %.4f on these %zu normal and %zu abnormal photos\n", r->value, r->images, r->abnormal);
    } else if (c->rule == CZ_RULE_COST) {
        printf("cost %.6g on these %zu normal and %zu abnormal photos\n", r->value, r->images, r->abnormal);
    }
    printf("pixel threshold %.6g: %.4g %% of the %s photos' pixels are at or below\n", c->pixel_threshold,
           100.0 * c->pixel_quantile, c->contamination > 0.0 ? "unlabelled" : "normal");
    (void)fflush(stdout);
}

static void warn(const cz_calibration_report *r)
{
    const cz_calibration *c = &r->calibration;
    char text[CALIBRATION_TEXT];
    if (c->rule == CZ_RULE_FPR && (c->contamination > 0.0 ? c->separated : c->promise) > c->target)
        cli_error("%s", calibration_warning(c, r->needed, text));
    if (r->trained_on > 0)
        cli_error("%zu of the photos were trained on: nothing is promised, and the model says so", r->trained_on);
    if (c->rule == CZ_RULE_F1 || c->rule == CZ_RULE_COST)
        cli_note("this threshold was chosen with labels: figures on these photos flatter it");
}

/* ---- the work ----------------------------------------------------------------------------------------------------- */

static int run(arguments *a, input_source *normal, input_source *abnormal)
{
    cz_model *model = NULL, *calibrated = NULL;
    cz_calibration_report report;
    const cz_image_source good = input_source_callbacks(normal);
    cz_image_source bad = CZ_IMAGE_SOURCE_INIT;
    if (a->abnormal != NULL) {
        bad = input_source_callbacks(abnormal);
        a->calibrate.abnormal = &bad;
    }
    int code = common_open_model(a->model, a->backbone, &model);
    if (code != CLI_OK) return code;
    if ((code = tile_settle(&a->common.tile, model)) != CLI_OK) {
        cz_model_close(model);
        return code;
    }
    a->calibrate.tile_width = a->common.tile.width;
    a->calibrate.tile_height = a->common.tile.height;
    a->calibrate.tile_overlap = a->common.tile.pixels;
    cz_status status = cz_calibrate(model, &good, &a->calibrate, &calibrated, &report);
    cli_progress_end();
    if (status == CZ_OK) status = cz_model_save(calibrated, a->output);
    if (status == CZ_OK) {
        warn(&report);
        if (a->common.json) {
            print_json(a, &report);
        } else {
            print_text(a, &report);
        }
        if (report.skipped > 0) code = CLI_SOME_FAILED;
    } else {
        code = cli_fail(status);
        if (status == CZ_E_TRAINED_ON) cli_note("--allow-training-photos uses them all the same, without a promise");
    }
    cz_model_close(calibrated);
    cz_model_close(model);
    return code;
}

static int open_source(const arguments *a, const char *folder, input_list *list, input_source *out)
{
    cz_status status = inputs_add_path(list, folder);
    if (status == CZ_OK) status = input_source_open(list, INPUT_ANY, &a->common.read, out);
    if (status != CZ_OK) return cli_fail(status);
    if (out->count > 0) return CLI_OK;
    cli_error("%s: there are no images to calibrate with", folder);
    return CLI_SOME_FAILED;
}

static int calibrate(arguments *a)
{
    input_list lists[2];
    input_source sources[2];
    memset(lists, 0, sizeof lists);
    memset(sources, 0, sizeof sources);
    int code = common_check_writable(a->output);
    if (code == CLI_OK) code = open_source(a, a->normal != NULL ? a->normal : a->unlabelled, &lists[0], &sources[0]);
    if (code == CLI_OK && a->abnormal != NULL) code = open_source(a, a->abnormal, &lists[1], &sources[1]);
    if (code == CLI_OK) code = run(a, &sources[0], &sources[1]);
    for (int i = 0; i < 2; i++) {
        input_source_free(&sources[i]);
        inputs_free(&lists[i]);
    }
    return code;
}

static int check_arguments(arguments *a, const cli_list *args)
{
    static const char *const rules[] = {"fpr", "iqr", "f1", "cost"}; /* in the order of cz_threshold_rule */
    size_t rule = 0;
    if (args->count > 0) {
        cli_error("%s: calibrate takes its photos from --normal and --abnormal", args->items[0]);
        return CLI_USAGE;
    }
    if (a->normal != NULL && a->unlabelled != NULL) {
        cli_error("--normal and --unlabelled exclude each other");
        return CLI_USAGE;
    }
    if (a->model == NULL || (a->normal == NULL && a->unlabelled == NULL) || a->output == NULL) {
        cli_error("calibrate needs -m MODEL, --normal DIR and -o NEW; see 'cozad calibrate --help'");
        return CLI_USAGE;
    }
    if ((a->unlabelled != NULL) != (a->calibrate.contamination != 0.0)) {
        cli_error(a->unlabelled != NULL
                      ? "--unlabelled needs --contamination R: the share of defective photos that there is at the most"
                      : "--contamination is for photos given with --unlabelled");
        return CLI_USAGE;
    }
    if (same_file(a->output, a->model)) {
        cli_error("%s: is the model to calibrate; it stays as it is, so -o must name another file", a->output);
        return CLI_USAGE;
    }
    while (strcmp(rules[rule], a->rule) != 0) rule++;
    a->calibrate.rule = (cz_threshold_rule)rule;
    a->calibrate.allow_training_photos = a->allow;
    a->calibrate.strict = a->strict;
    const bool labelled = rule == CZ_RULE_F1 || rule == CZ_RULE_COST;
    if (a->unlabelled != NULL && rule != CZ_RULE_FPR) {
        cli_error("--unlabelled is for --rule fpr");
        return CLI_USAGE;
    }
    if (labelled != (a->abnormal != NULL)) {
        cli_error(labelled ? "--rule %s needs --abnormal" : "--rule %s uses normal photos alone: no --abnormal",
                  a->rule);
        return CLI_USAGE;
    }
    return CLI_OK;
}

int cmd_calibrate(int argc, char **argv)
{
    arguments a;
    memset(&a, 0, sizeof a);
    a.rule = "fpr";
    common_init(&a.common);
    cz_calibrate_options_init(&a.calibrate);
    cz_calibrate_options *o = &a.calibrate;
    const cli_option options[] = {
        {"model", 'm', CLI_STRING, &a.model, "MODEL", "model file to calibrate; stays as it is", NULL},
        {"normal", 0, CLI_STRING, &a.normal, "DIR", "normal photos that were not trained on", NULL},
        {"unlabelled", 0, CLI_STRING, &a.unlabelled, "DIR", "photos that nobody has sorted, instead", NULL},
        {"contamination", 0, CLI_REAL, &o->contamination, "R", "unlabelled: share of them with a defect, at the most",
         NULL},
        {"output", 'o', CLI_STRING, &a.output, "NEW", "model file to write", NULL},
        {"rule", 0, CLI_CHOICE, &a.rule, NULL, "how the threshold is found", "fpr|iqr|f1|cost"},
        {"fpr", 0, CLI_REAL, &o->target, "X", "fpr: false-positive rate to stay below", NULL},
        {"confidence", 0, CLI_REAL, &o->confidence, "X", "fpr: probability that it does", NULL},
        {"strict", 0, CLI_FLAG, &a.strict, NULL, "fpr: too few photos are an error, exit code 2", NULL},
        {"abnormal", 0, CLI_STRING, &a.abnormal, "DIR", "f1, cost: photos with defects", NULL},
        {"cost-miss", 0, CLI_REAL, &o->cost_miss, "X", "cost: of a defect that is not found", NULL},
        {"cost-alarm", 0, CLI_REAL, &o->cost_alarm, "X", "cost: of a normal photo called anomalous", NULL},
        {"pixel-quantile", 0, CLI_REAL, &o->pixel_quantile, "X",
         "share of normal pixels at or below the pixel threshold", NULL},
        {"allow-training-photos", 0, CLI_FLAG, &a.allow, NULL, "use photos that were trained on; nothing is promised",
         NULL},
        {"backbone", 0, CLI_STRING, &a.backbone, "NAME|FILE", "weights; found by the model's SHA-256 unless given",
         NULL},
        TILE_OPTIONS(a.common.tile),
        COMMON_PRECISION_OPTION(a.common),
        {"threads", 0, CLI_SIZE, &o->threads, "N", "0: all", NULL},
        COMMON_CACHE_OPTIONS(a.common),
        COMMON_READ_OPTIONS(a.common),
        {"json", 0, CLI_FLAG, &a.common.json, NULL, "JSON Lines", NULL},
    };
    cli_list args = {NULL, 0};
    int code = cli_parse(&verb, options, sizeof options / sizeof *options, argc, argv, &args);
    if (code < 0) {
        code = check_arguments(&a, &args);
        if (code == CLI_OK) {
            common_finish(&a.common);
            o->cache = a.common.cache;
            o->precision = a.common.precision;
            o->progress = cli_progress;
            o->log = cli_log;
            code = calibrate(&a);
        }
    }
    cli_list_free(&args);
    return cli_finish_output(code);
}
