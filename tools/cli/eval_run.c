/* SPDX-License-Identifier: Apache-2.0 */
#include "calibration.h"
#include "eval.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MOST_TOLD = 20, MAX_AT = 8192 };

/* ---- the data set -------------------------------------------------------------------------------------------------- */

bool eval_is_file(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

static void warn_strays(const cz_dataset *d)
{
    const size_t count = cz_dataset_stray_masks(d);
    for (size_t i = 0; i < count && i < MOST_TOLD; i++) {
        cli_error("warning: %s: a mask without a photo", cz_dataset_stray_mask(d, i));
    }
    if (count > MOST_TOLD) cli_error("warning: %zu further masks without a photo", count - MOST_TOLD);
}

int eval_open_data(const eval_setup *a, cz_dataset **out)
{
    cz_status status;
    if (a->normal != NULL) {
        status = cz_dataset_open_folders(a->normal, a->abnormal, a->masks, out);
    } else if (eval_is_file(a->data)) {
        status = cz_dataset_open_manifest(a->data, out);
    } else {
        status = cz_dataset_open(a->data, a->layout, out);
    }
    if (status != CZ_OK) return cli_fail(status);
    warn_strays(*out);
    return CLI_OK;
}

/* The last part of the path of a folder or, without its ending, of a file. */
static void name_data(const eval_setup *a, char out[256])
{
    const char *given = a->data != NULL ? a->data : a->normal;
    char *path = realpath(given, NULL);
    const char *from = path != NULL ? path : given, *slash = strrchr(from, '/');
    (void)snprintf(out, 256, "%.255s", slash != NULL && slash[1] != '\0' ? slash + 1 : from);
    char *dot = a->data != NULL && eval_is_file(a->data) ? strrchr(out, '.') : NULL;
    if (dot != NULL && dot != out) *dot = '\0';
    free(path);
}

const char *eval_category(const eval_run *r, const char *category)
{
    return category[0] != '\0' ? category : r->category;
}

static bool is_listed(const char *list, const char *name)
{
    const size_t length = strlen(name);
    for (const char *p = list; *p != '\0';) {
        const size_t n = strcspn(p, ",");
        if (n == length && strncmp(p, name, n) == 0) return true;
        p += n + (p[n] == ',' ? 1 : 0);
    }
    return false;
}

/* Every name of --category is there. */
static int check_categories(const eval_run *r)
{
    for (const char *p = r->a->category; p != NULL && *p != '\0';) {
        const size_t n = strcspn(p, ",");
        bool found = false;
        for (size_t i = 0; i < cz_dataset_categories(r->data) && !found; i++) {
            const char *name = eval_category(r, cz_dataset_category(r->data, i));
            found = strlen(name) == n && strncmp(name, p, n) == 0;
        }
        if (!found) {
            char all[800] = "";
            for (size_t i = 0; i < cz_dataset_categories(r->data); i++) {
                const size_t at = strlen(all);
                (void)snprintf(all + at, sizeof all - at, "%s%.100s", at > 0 ? ", " : "",
                               eval_category(r, cz_dataset_category(r->data, i)));
            }
            cli_error("there is no category \"%.*s\"; there are: %s", (int)n, p, all);
            return CLI_USAGE;
        }
        p += n + (p[n] == ',' ? 1 : 0);
    }
    return CLI_OK;
}

/* Test photos; where the data set does not tell splits, all of them. */
static int choose(eval_run *r)
{
    const size_t count = cz_dataset_count(r->data);
    bool split = false;
    for (size_t i = 0; i < count; i++) split = split || cz_dataset_at(r->data, i)->split != CZ_SPLIT_ANY;
    r->chosen = calloc(count + 1, sizeof *r->chosen);
    if (r->chosen == NULL) {
        cli_error("out of memory");
        return CLI_RESOURCES;
    }
    size_t labelled = 0;
    for (size_t i = 0; i < count; i++) {
        const cz_sample *s = cz_dataset_at(r->data, i);
        if (s->split != (split ? CZ_SPLIT_TEST : CZ_SPLIT_ANY)) continue;
        if (r->a->category != NULL && !is_listed(r->a->category, eval_category(r, s->category))) continue;
        r->chosen[r->chosen_count++] = i;
        labelled += s->label >= 0 || s->mask_count > 0;
    }
    if (labelled > 0) return CLI_OK;
    const char *where = r->a->data != NULL ? r->a->data : r->a->normal;
    if (r->chosen_count > 0) {
        cli_error("%s: none of its %zu test photos has a label (is there a column \"label\"?)", where, r->chosen_count);
    } else {
        cli_error("%s: there are no test photos", where);
    }
    return CLI_SOME_FAILED;
}

/* ---- opening ------------------------------------------------------------------------------------------------------- */

int eval_parse_at(const char *text, size_t *out)
{
    *out = 0;
    if (text == NULL || strcmp(text, "mask") == 0) return CLI_OK;
    char *end;
    const unsigned long value = text[0] >= '0' && text[0] <= '9' ? strtoul(text, &end, 10) : 0;
    if (value == 0 || *end != '\0' || value > MAX_AT) {
        cli_error("--at: \"%.40s\" is neither mask nor a number of pixels up to %d", text, MAX_AT);
        return CLI_USAGE;
    }
    *out = value;
    return CLI_OK;
}

int eval_find_threshold(const char *text, double pixel, const cz_model *model, eval_threshold *out)
{
    cz_calibration c;
    *out = (eval_threshold){0};
    const bool calibrated = model != NULL && cz_model_calibration(model, &c) != 0;
    if (text == NULL || strcmp(text, "calibrated") == 0) {
        if (calibrated) {
            *out = (eval_threshold){.known = true, .image = c.threshold, .pixel = c.pixel_threshold};
            char words[CALIBRATION_TEXT];
            (void)snprintf(out->rule, sizeof out->rule, "calibrated: %s", calibration_describe(&c, words));
        } else if (text != NULL) {
            cli_error("--threshold calibrated: the model is not calibrated (cozad calibrate)");
            return CLI_USAGE;
        }
    } else {
        char *end;
        const double value = strtod(text, &end);
        if (end == text || *end != '\0' || !isfinite(value)) {
            cli_error("--threshold: \"%.40s\" is neither a number nor calibrated", text);
            return CLI_USAGE;
        }
        *out = (eval_threshold){.known = true, .image = value, .pixel = value, .rule = "as given"};
    }
    if (!isnan(pixel)) {
        if (!out->known) {
            cli_error("--pixel-threshold needs --threshold or a calibrated model");
            return CLI_USAGE;
        }
        out->pixel = pixel;
    }
    return CLI_OK;
}

/* The network's own map is what the papers resize; with a region, an ignore mask or a cut it does not show the whole photo. */
static bool sees_whole_photo(const cz_model *model)
{
    json_t *meta = json_loads(cz_model_json(model), 0, NULL);
    const json_t *in = json_object_get(meta, "input");
    const char *fit = json_string_value(json_object_get(in, "fit"));
    const bool whole = fit != NULL && strcmp(fit, "squash") == 0 && json_object_get(in, "roi") == NULL &&
                       !json_is_true(json_object_get(in, "ignore_mask"));
    json_decref(meta);
    return whole;
}

static json_t *scores_header(const eval_run *r)
{
    const eval_setup *a = r->a;
    char sha256[65] = "";
    (void)cz_file_sha256(a->model, sha256);
    json_t *head =
        json_pack("{s:s, s:s, s:s, s:s?, s:s, s:o, s:s?}", "model", a->model, "model_sha256", sha256, "backbone",
                  cz_backbone_name(cz_model_backbone(r->model)), "data",
                  a->data != NULL && !eval_is_file(a->data) ? a->data : NULL, "layout", cz_dataset_layout(r->data),
                  "at", a->at > 0 ? json_integer((json_int_t)a->at) : json_string("mask"), "maps", a->save_maps);
    if (head != NULL && r->sum.threshold.known) {
        (void)json_object_set_new(head, "threshold",
                                  json_pack("{s:f, s:f, s:s}", "image", r->sum.threshold.image, "pixel",
                                            r->sum.threshold.pixel, "rule", r->sum.threshold.rule));
    }
    return head;
}

static int open_outputs(eval_run *r)
{
    const eval_setup *a = r->a;
    int code = CLI_OK;
    cz_model_scale(r->model, &r->pictures.low, &r->pictures.high);
    r->pictures.maps_dir = a->overlays;
    r->pictures.overlay = true;
    if (a->report != NULL) {
        code = common_check_writable(a->report);
        const cz_status status = code == CLI_OK ? report_open(0, &r->page) : CZ_OK;
        if (status != CZ_OK) code = cli_fail(status);
    }
    if (code == CLI_OK && a->save_scores != NULL) code = scores_open(&r->scores, a->save_scores, scores_header(r));
    r->map_names = json_object();
    return code;
}

/* The model's own threshold holds in one precision. */
static int check_precision(eval_run *r, cz_precision precision)
{
    const eval_setup *a = r->a;
    const char *text = a->threshold_text, *name = cz_precision_name(precision);
    if (!r->sum.threshold.known || (text != NULL && strcmp(text, "calibrated") != 0)) return CLI_OK;
    json_t *meta = json_loads(cz_model_json(r->model), 0, NULL);
    const char *was = json_string_value(json_object_get(json_object_get(meta, "calibration"), "precision"));
    int code = CLI_OK;
    if (was != NULL && strcmp(was, name) != 0) {
        if (text != NULL || !isnan(a->pixel_threshold)) {
            cli_error("the model's threshold was calibrated in %s and says nothing in %s: calibrate again with "
                      "--precision %s, or give --threshold X",
                      was, name, name);
            code = CLI_USAGE;
        } else {
            cli_note("no threshold: the model's was calibrated in %s and says nothing in %s", was, name);
            r->sum.threshold = (eval_threshold){.known = false};
        }
    }
    json_decref(meta);
    return code;
}

/* And with one tiling. */
static int check_tiles(eval_run *r, const tile_options *tile)
{
    const eval_setup *a = r->a;
    const char *text = a->threshold_text;
    if (!r->sum.threshold.known || (text != NULL && strcmp(text, "calibrated") != 0)) return CLI_OK;
    if (tile_is_calibrated(tile, r->model)) return CLI_OK;
    if (text != NULL || !isnan(a->pixel_threshold)) {
        cli_error(
            "the model's threshold was calibrated with another --tile and says nothing here: calibrate again with "
            "this one, or give --threshold X");
        return CLI_USAGE;
    }
    cli_note("no threshold: the model's was calibrated with another --tile and says nothing here");
    r->sum.threshold = (eval_threshold){.known = false};
    return CLI_OK;
}

int eval_run_open(eval_run *r, const eval_setup *a, cz_model *model, cz_dataset *data)
{
    cz_session_options options = CZ_SESSION_OPTIONS_INIT;
    const cz_evaluation_options defaults = CZ_EVALUATION_OPTIONS_INIT;
    *r = (eval_run){.a = a, .model = model, .data = data, .options = defaults};
    r->category = r->category_room;
    r->known = eval_known_photos(model);
    name_data(a, r->category_room);
    r->options.resamples = a->resamples;
    r->options.seed = a->seed;
    r->options.exact = a->exact;
    r->options.simplenet = a->simplenet;
    r->options.threads = a->threads;
    r->input_map = a->at > 0 && sees_whole_photo(model);
    options.threads = a->threads;
    options.cache = a->common.cache;
    options.precision = a->common.precision;
    options.log = cli_log;
    options.map = r->input_map ? CZ_MAP_INPUT : CZ_MAP_ORIGINAL;
    tile_options tile = a->common.tile;
    int code = tile_settle(&tile, model);
    tile_apply(&tile, &options);
    options.no_decision = 1; /* made here, with whatever threshold was asked for */
    if (code == CLI_OK) code = check_categories(r);
    if (code == CLI_OK) code = choose(r);
    if (code != CLI_OK) return code;
    cz_status status = eval_sum_open(&r->options, &r->sum);
    /* What can be wrong with the options is known before anything is read, and which precision it is going to be. */
    cz_session *session = NULL;
    if (status == CZ_OK) status = cz_session_open(model, &options, &session);
    const cz_precision precision = status == CZ_OK ? cz_session_precision(session) : CZ_PRECISION_FP32;
    cz_session_close(session);
    r->session = options;
    if (status != CZ_OK) return cli_fail(status);
    r->sum.at = a->at;
    r->sum.mm_per_pixel = a->mm_per_pixel;
    r->sum.min_area = a->min_area;
    code = eval_find_threshold(a->threshold_text, a->pixel_threshold, model, &r->sum.threshold);
    if (code == CLI_OK) code = check_precision(r, precision);
    if (code == CLI_OK) code = check_tiles(r, &tile);
    return code == CLI_OK ? open_outputs(r) : code;
}

void eval_run_close(eval_run *r)
{
    free(r->chosen);
    eval_sum_close(&r->sum);
    pictures_free(&r->pictures);
    report_close(r->page);
    scores_abort(&r->scores);
    json_decref(r->map_names);
    json_decref(r->known);
    memset(r, 0, sizeof *r);
}
