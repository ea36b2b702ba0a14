/* SPDX-License-Identifier: Apache-2.0 */
#include "calibration.h"
#include "eval.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MOST_TOLD = 20, MAX_AT = 8192 };

/* ---- the data set -------------------------------------------------------------------------------------------------- */

static bool is_file(const char *path)
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
    } else if (is_file(a->data)) {
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
    char *dot = a->data != NULL && is_file(a->data) ? strrchr(out, '.') : NULL;
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
                  a->data != NULL && !is_file(a->data) ? a->data : NULL, "layout", cz_dataset_layout(r->data), "at",
                  a->at > 0 ? json_integer((json_int_t)a->at) : json_string("mask"), "maps", a->save_maps);
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
    options.log = cli_log;
    options.map = r->input_map ? CZ_MAP_INPUT : CZ_MAP_ORIGINAL;
    options.no_decision = 1; /* made here, with whatever threshold was asked for */
    int code = check_categories(r);
    if (code == CLI_OK) code = choose(r);
    if (code != CLI_OK) return code;
    cz_status status = eval_sum_open(&r->options, &r->sum);
    if (status == CZ_OK) status = cz_session_open(model, &options, &r->session);
    if (status != CZ_OK) return cli_fail(status);
    r->sum.at = a->at;
    r->sum.mm_per_pixel = a->mm_per_pixel;
    r->sum.min_area = a->min_area;
    code = eval_find_threshold(a->threshold_text, a->pixel_threshold, model, &r->sum.threshold);
    return code == CLI_OK ? open_outputs(r) : code;
}

void eval_run_close(eval_run *r)
{
    free(r->chosen);
    free(r->full);
    cz_session_close(r->session);
    eval_sum_close(&r->sum);
    eval_pixels_free(&r->pixels);
    pictures_free(&r->pictures);
    report_close(r->page);
    scores_abort(&r->scores);
    json_decref(r->map_names);
    json_decref(r->known);
    memset(r, 0, sizeof *r);
}

/* ---- one photo ----------------------------------------------------------------------------------------------------- */

/* Below DIR, as MVTec's evaluation code looks for maps: CATEGORY/test/KIND/NAME.tiff. Names that would meet get a number. */
static void name_map(eval_run *r, const cz_sample *sample, int label)
{
    const char *slash = strrchr(sample->relative, '/'), *file = slash != NULL ? slash + 1 : sample->relative;
    const char *dot = strrchr(file, '.');
    const int stem = dot != NULL && dot != file ? (int)(dot - file) : (int)strlen(file);
    const char *kind = sample->kind[0] != '\0' ? sample->kind : label == 1 ? "anomalous" : "good";
    char category[256], folder[256], number[24] = "";
    (void)snprintf(category, sizeof category, "%.250s", eval_category(r, sample->category));
    (void)snprintf(folder, sizeof folder, "%.250s", kind);
    for (char *p = category; *p != '\0'; p++) *p = *p == '/' || (p == category && *p == '.') ? '_' : *p;
    for (char *p = folder; *p != '\0'; p++) *p = *p == '/' || (p == folder && *p == '.') ? '_' : *p;
    for (unsigned i = 2; i < 1000000; i++) {
        (void)snprintf(r->map_name, sizeof r->map_name, "%s/test/%s/%.*s%s.tiff", category, folder,
                       stem > 400 ? 400 : stem, file, number);
        if (json_object_get(r->map_names, r->map_name) == NULL) break;
        (void)snprintf(number, sizeof number, "_%u", i);
    }
    (void)json_object_set_new(r->map_names, r->map_name, json_true());
}

static cz_status make_parents(char *path)
{
    for (char *p = strchr(path + 1, '/'); p != NULL; p = strchr(p + 1, '/')) {
        *p = '\0';
        const bool made = mkdir(path, 0777) == 0 || errno == EEXIST;
        if (!made) {
            char line[1200];
            (void)snprintf(line, sizeof line, "%.1000s: cannot make folder: %s", path, strerror(errno));
            return cz_source_error(errno == ENOSPC ? CZ_E_NO_SPACE : CZ_E_IO, line);
        }
        *p = '/';
    }
    return CZ_OK;
}

static cz_status save_map(eval_run *r, const cz_sample *sample, int label)
{
    r->map_name[0] = '\0';
    if (r->a->save_maps == NULL) return CZ_OK;
    name_map(r, sample, label);
    const size_t room = strlen(r->a->save_maps) + strlen(r->map_name) + 2;
    char *path = malloc(room);
    if (path == NULL) return cz_source_error(CZ_E_MEMORY, "out of memory");
    (void)snprintf(path, room, "%s/%s", r->a->save_maps, r->map_name);
    cz_status status = make_parents(path);
    if (status == CZ_OK) status = cz_map_write_tiff(path, r->pixels.map, r->pixels.width, r->pixels.height);
    free(path);
    /* Not the photo's fault, and no other map could be written either. */
    return status == CZ_E_IO ? CZ_E_NO_SPACE : status;
}

/* Below the data set's root where it has one. */
static const char *below_root(const eval_run *r, const char *path)
{
    const char *root = r->a->data;
    if (root == NULL || is_file(root)) return path;
    const size_t length = strlen(root);
    if (strncmp(path, root, length) != 0) return path;
    path += length;
    while (*path == '/') path++;
    return path;
}

static cz_status save_score(eval_run *r, const cz_sample *sample, int label, double score, bool trained_on, bool failed)
{
    if (r->scores.stream == NULL) return CZ_OK;
    scores_item item = {.path = sample->relative,
                        .category = eval_category(r, sample->category),
                        .kind = sample->kind,
                        .label = label,
                        .score = score,
                        .mask_count = sample->mask_count,
                        .nonzero = sample->mask_rule == CZ_MASK_NONZERO,
                        .map = r->map_name[0] != '\0' ? r->map_name : NULL,
                        .trained_on = trained_on,
                        .failed = failed};
    item.masks = calloc(item.mask_count + 1, sizeof *item.masks);
    if (item.masks == NULL) return cz_source_error(CZ_E_MEMORY, "out of memory");
    for (size_t i = 0; i < item.mask_count; i++) item.masks[i] = below_root(r, sample->masks[i]);
    const int code = scores_add(&r->scores, &item);
    free(item.masks);
    return code == CLI_OK ? CZ_OK : cz_source_error(CZ_E_NO_SPACE, "scores cannot be saved");
}

/* The same result with the map at the photo's own size, for pictures. */
static cz_status full_result(eval_run *r, const cz_result *result, const cz_image *photo, cz_result *out)
{
    *out = *result;
    if (!r->input_map) return CZ_OK;
    const size_t count = photo->width * photo->height;
    if (count > r->full_room) {
        free(r->full);
        r->full = calloc(count, sizeof *r->full);
        r->full_room = r->full != NULL ? count : 0;
        if (r->full == NULL) return cz_source_error(CZ_E_MEMORY, "out of memory");
    }
    eval_resample(result->map, result->map_width, result->map_height, r->full, photo->width, photo->height);
    out->map = r->full;
    out->map_width = photo->width;
    out->map_height = photo->height;
    return CZ_OK;
}

static cz_status add_pictures(eval_run *r, const cz_sample *sample, int label, const cz_image *photo,
                              const cz_result *result, const cz_image *truth)
{
    cz_result full;
    if (r->page == NULL && r->a->overlays == NULL) return CZ_OK;
    cz_status status = full_result(r, result, photo, &full);
    if (status == CZ_OK && r->a->overlays != NULL) {
        char *relative = strdup(sample->relative);
        const input item = {.relative = relative, .label = label};
        status = relative != NULL ? pictures_add(&r->pictures, &item, photo, &full, NULL)
                                  : cz_source_error(CZ_E_MEMORY, "out of memory");
        free(relative);
        if (status == CZ_E_IO) status = CZ_E_NO_SPACE;
    }
    return status == CZ_OK && r->page != NULL ? eval_page_add(r, sample, label, photo, &full, truth) : status;
}

/* A label that is not known comes from the masks (KolektorSDD); a normal photo's masks have to be empty. */
static cz_status settle_label(const cz_picture *mask, int *label)
{
    if (mask->pixels == NULL) return CZ_OK;
    bool empty = true;
    for (size_t y = 0; y < mask->image.height && empty; y++) {
        empty = memchr((const uint8_t *)mask->image.data + y * mask->image.stride, 255, mask->image.width) == NULL;
    }
    if (*label < 0) *label = empty ? 0 : 1;
    if (*label == 0 && !empty) {
        return cz_source_error(CZ_E_FORMAT, "it is labelled normal, and its mask marks defects");
    }
    return CZ_OK;
}

/* What was decoded and decided of one photo. */
typedef struct seen {
    cz_picture photo, mask;
    cz_result result;
    int label;
} seen;

static cz_status look(eval_run *r, const cz_sample *sample, seen *s)
{
    const cz_read_options *read = &r->a->common.read;
    cz_status status = cz_picture_read(sample->path, read, &s->photo);
    if (status == CZ_OK && sample->mask_count > 0) {
        status = eval_read_masks(sample->masks, sample->mask_count, sample->mask_rule, read, &s->mask);
        if (status == CZ_OK) status = eval_check_aspect(&s->mask.image, s->photo.image.width, s->photo.image.height);
    }
    if (status == CZ_OK) status = settle_label(&s->mask, &s->label);
    if (status == CZ_OK && s->label >= 0) status = cz_score(r->session, &s->photo.image, &s->result);
    return status;
}

static cz_status take(eval_run *r, const cz_sample *sample, const seen *s)
{
    const char *category = eval_category(r, sample->category);
    const cz_image *truth = s->mask.pixels != NULL ? &s->mask.image : NULL;
    const bool trained_on = eval_known(r->known, &s->photo.image, r->digest);
    cz_status status =
        eval_pixels_make(&r->pixels, s->result.map, s->result.map_width, s->result.map_height, truth, r->a->at);
    if (status == CZ_OK) status = eval_sum_add(&r->sum, category, s->label, s->result.score, &r->pixels);
    r->sum.trained_on += trained_on;
    if (status == CZ_OK && r->a->at == 0 && r->a->save_maps != NULL && truth != NULL) {
        /* Maps are saved at the photo's size, as the truth of other programs is. */
        status = eval_pixels_make(&r->pixels, s->result.map, s->result.map_width, s->result.map_height, NULL, 0);
    }
    if (status == CZ_OK) status = save_map(r, sample, s->label);
    if (status == CZ_OK) status = save_score(r, sample, s->label, s->result.score, trained_on, false);
    if (status == CZ_OK) status = add_pictures(r, sample, s->label, &s->photo.image, &s->result, truth);
    return status;
}

static cz_status note_failure(eval_run *r, const cz_sample *sample, eval_count *c)
{
    c->failed++;
    if (r->told++ < MOST_TOLD) {
        const bool named = strncmp(cz_last_error(), sample->path, strlen(sample->path)) == 0;
        cli_error("%s%s%s", named ? "" : sample->path, named ? "" : ": ", cz_last_error());
    } else if (r->told == MOST_TOLD + 1) {
        cli_error("further photos that fail are counted, not named");
    }
    r->map_name[0] = '\0';
    return save_score(r, sample, -1, 0.0, false, true);
}

/* CZ_OK also when the photo itself was at fault: it is counted and reported. */
static cz_status eval_one(eval_run *r, const cz_sample *sample)
{
    seen s = {.label = sample->label};
    eval_count *c = eval_sum_category(&r->sum, eval_category(r, sample->category));
    if (c == NULL) return CZ_E_MEMORY;
    if (sample->label < 0 && sample->mask_count == 0) {
        c->unlabelled++;
        return CZ_OK;
    }
    cz_status status = look(r, sample, &s);
    if (status == CZ_E_FORMAT || status == CZ_E_LIMIT || status == CZ_E_UNSUPPORTED || status == CZ_E_IO ||
        status == CZ_E_ARG) {
        status = note_failure(r, sample, c);
    } else if (status == CZ_OK) {
        status = take(r, sample, &s);
    }
    cz_picture_free(&s.photo);
    cz_picture_free(&s.mask);
    return status;
}

int eval_run_all(eval_run *r)
{
    for (size_t i = 0; i < r->chosen_count; i++) {
        if (cli_progress(NULL, "evaluating", i, r->chosen_count, "") != 0) return cli_fail(CZ_E_CANCELLED);
        const cz_status status = eval_one(r, cz_dataset_at(r->data, r->chosen[i]));
        if (status != CZ_OK) return cli_fail(status);
    }
    cli_progress_end();
    const eval_count total = eval_sum_total(&r->sum);
    if (total.normal + total.anomalous == 0) {
        cli_error("none of the %zu test photos could be scored", r->chosen_count);
        return CLI_SOME_FAILED;
    }
    const int code = scores_commit(&r->scores);
    return code != CLI_OK ? code : total.failed > 0 ? CLI_SOME_FAILED : CLI_OK;
}
