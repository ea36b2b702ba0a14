/* SPDX-License-Identifier: Apache-2.0 */
#include "common.h"
#include "pictures.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const cli_verb verb = {
    "eval", "-m MODEL --data ROOT [options]",
    "Scores the test photos of a labelled data set and prints image AUROC and pixel AUROC.",
    "Pixels are compared at the mask's own resolution over all test photos together; normal photos count as all "
    "normal, and "
    "anomalous photos without a mask are left out of the pixel figure (their number is printed). Labels are used for "
    "the "
    "figures only.",
    "  cozad eval -m screw.cozad --data mvtec/screw\n"
    "  cozad eval -m tile.cozad --data magnetic_tile --layout csv --json\n"
    "  cozad eval -m screw.cozad --data mvtec/screw --report screw.html --overlays screw-overlays"};

typedef struct arguments {
    const char *model, *backbone, *data, *layout, *report, *overlays;
    size_t threads;
    common_options common;
    pictures pictures;
} arguments;

typedef struct run {
    arguments *a;
    const input_list *list;
    cz_session *session;
    cz_auroc_stream *pixels;
    float *scores; /* [count] */
    uint8_t *labels;
    size_t count, normal, anomalous, masks, without_mask, failed;
} run;

/* The map at (x, y) of a mask of another size: bilinear, align_corners=False; equal sizes give the map itself. */
static float sample_map(const cz_result *r, const cz_image *mask, size_t x, size_t y)
{
    if (mask->width == r->map_width && mask->height == r->map_height) return r->map[y * r->map_width + x];
    const double sx = fmax(((double)x + 0.5) * (double)r->map_width / (double)mask->width - 0.5, 0.0);
    const double sy = fmax(((double)y + 0.5) * (double)r->map_height / (double)mask->height - 0.5, 0.0);
    const size_t x0 = (size_t)sx, y0 = (size_t)sy;
    const size_t x1 = x0 + 1 < r->map_width ? x0 + 1 : x0, y1 = y0 + 1 < r->map_height ? y0 + 1 : y0;
    const float fx = (float)(sx - (double)x0), fy = (float)(sy - (double)y0);
    const float *top = r->map + y0 * r->map_width, *bottom = r->map + y1 * r->map_width;
    return (top[x0] * (1 - fx) + top[x1] * fx) * (1 - fy) + (bottom[x0] * (1 - fx) + bottom[x1] * fx) * fy;
}

static cz_status add_pixels(run *r, const cz_result *result, const cz_image *mask)
{
    if (mask == NULL) return cz_auroc_stream_add(r->pixels, result->map, NULL, result->map_width * result->map_height);
    float *scores = malloc(mask->width * sizeof *scores);
    if (scores == NULL) return cz_source_error(CZ_E_MEMORY, "out of memory");
    cz_status status = CZ_OK;
    for (size_t y = 0; y < mask->height && status == CZ_OK; y++) {
        for (size_t x = 0; x < mask->width; x++) scores[x] = sample_map(result, mask, x, y);
        status = cz_auroc_stream_add(r->pixels, scores, (const uint8_t *)mask->data + y * mask->stride, mask->width);
    }
    free(scores);
    return status;
}

static cz_status add_figures(run *r, const input *item, const cz_result *result, const cz_image *mask)
{
    r->scores[r->count] = (float)result->score;
    r->labels[r->count++] = (uint8_t)(item->label == 1);
    if (item->label == 1) {
        r->anomalous++;
        if (mask == NULL) {
            r->without_mask++;
            return CZ_OK;
        }
        r->masks++;
    } else {
        r->normal++;
    }
    return add_pixels(r, result, mask);
}

/* One test photo. CZ_OK also when the photo itself was at fault: it is counted and reported. */
static cz_status eval_one(run *r, const input *item)
{
    cz_picture photo = {0}, mask = {0};
    cz_result result;
    cz_status status = cz_picture_read(item->path, &r->a->common.read, &photo);
    if (status == CZ_OK && item->mask != NULL && item->label == 1) {
        status = cz_picture_read_mask(item->mask, &r->a->common.read, &mask);
    }
    if (status == CZ_OK) status = cz_score(r->session, &photo.image, &result);
    if (status == CZ_E_FORMAT || status == CZ_E_LIMIT || status == CZ_E_UNSUPPORTED || status == CZ_E_IO ||
        status == CZ_E_ARG) {
        r->failed++;
        cli_error("%s%s%s", strstr(cz_last_error(), item->path) != NULL ? "" : item->path,
                  strstr(cz_last_error(), item->path) != NULL ? "" : ": ", cz_last_error());
        status = CZ_OK;
    } else if (status == CZ_OK) {
        const cz_image *truth = mask.pixels != NULL ? &mask.image : NULL;
        status = add_figures(r, item, &result, truth);
        if (status == CZ_OK) status = pictures_add(&r->a->pictures, item, &photo.image, &result, truth);
    }
    cz_picture_free(&photo);
    cz_picture_free(&mask);
    return status;
}

static int eval_all(run *r)
{
    size_t done = 0, total = 0;
    for (size_t i = 0; i < r->list->count; i++) total += r->list->items[i].split == INPUT_TEST;
    for (size_t i = 0; i < r->list->count; i++) {
        const input *item = &r->list->items[i];
        if (item->split != INPUT_TEST || item->label < 0) continue;
        if (cli_progress(NULL, "evaluating", done++, total, "") != 0) return cli_fail(CZ_E_CANCELLED);
        const cz_status status = eval_one(r, item);
        if (status != CZ_OK) return cli_fail(status);
    }
    cli_progress_end();
    if (r->count == 0) {
        cli_error("%s: there are no labelled test photos", r->a->data);
        return CLI_SOME_FAILED;
    }
    return r->failed > 0 ? CLI_SOME_FAILED : CLI_OK;
}

static const char *category_name(const char *root)
{
    static char name[128];
    size_t length = strlen(root);
    while (length > 1 && root[length - 1] == '/') length--;
    size_t start = length;
    while (start > 0 && root[start - 1] != '/') start--;
    (void)snprintf(name, sizeof name, "%.*s", (int)(length - start), root + start);
    return name;
}

static int write_page(const run *r, const cz_model *model, double image_auroc, double pixel_auroc)
{
    report *page = r->a->pictures.page;
    const cz_backbone *backbone = cz_model_backbone(model);
    char date[32], step[256];
    const time_t now = time(NULL);
    struct tm day;
    (void)strftime(date, sizeof date, "%Y-%m-%d", gmtime_r(&now, &day));
    const report_metric metric = {category_name(r->a->data), image_auroc, r->masks > 0 ? pixel_auroc : (double)NAN,
                                  r->normal, r->anomalous};
    const report_fact facts[] = {{"Model", r->a->model}, {"Data", r->a->data}, {"cozad", cz_version()}, {"Date", date}};
    cz_status status =
        report_set_title(page, category_name(r->a->data), "Test photos sorted by score, the most anomalous first.");
    if (status == CZ_OK) status = report_set_facts(page, facts, sizeof facts / sizeof *facts);
    if (status == CZ_OK) {
        status = report_set_backbone(page, cz_backbone_name(backbone),
                                     strncmp(cz_backbone_name(backbone), "random:", 7) == 0);
    }
    if (status == CZ_OK) status = report_set_metrics(page, &metric, 1);
    (void)snprintf(step, sizeof step, "cozad eval -m %.90s --data %.90s --report page.html", r->a->model, r->a->data);
    if (status == CZ_OK) {
        status = report_add_step(page, "A model was trained on the normal training photos alone.",
                                 "cozad train --data ROOT -o MODEL");
    }
    if (status == CZ_OK)
        status = report_add_step(page, "The test photos were scored; labels were used for the figures only.", step);
    report_set_scale(page, r->a->pictures.low, r->a->pictures.high);
    if (status == CZ_OK) status = report_write(page, r->a->report);
    return status == CZ_OK ? CLI_OK : cli_fail(status);
}

static int print_figures(const run *r, const cz_model *model)
{
    double image = NAN, bound = 0.0;
    const cz_status status = cz_auroc(r->scores, r->labels, r->count, &image);
    if (status != CZ_OK) return cli_fail(status);
    const double pixel = r->masks > 0 ? cz_auroc_stream_value(r->pixels, &bound) : (double)NAN;
    const char *name = category_name(r->a->data);
    if (r->a->common.json) {
        json_t *one = json_pack("{s:o, s:o, s:o, s:I, s:I, s:I, s:I}", "image_auroc", common_json_real(image),
                                "pixel_auroc", common_json_real(pixel), "pixel_auroc_error_bound",
                                common_json_real(r->masks > 0 ? bound : (double)NAN), "normal", (json_int_t)r->normal,
                                "anomalous", (json_int_t)r->anomalous, "without_mask", (json_int_t)r->without_mask,
                                "failed", (json_int_t)r->failed);
        json_t *mean =
            json_pack("{s:o, s:o}", "image_auroc", common_json_real(image), "pixel_auroc", common_json_real(pixel));
        common_print_json(json_pack("{s:{s:o}, s:o, s:s}", "categories", name, one, "mean", mean, "backbone",
                                    cz_backbone_name(cz_model_backbone(model))));
    } else {
        printf("%s: image AUROC %.1f %%", name, 100.0 * image);
        if (r->masks > 0) {
            printf(", pixel AUROC %.1f %%", 100.0 * pixel);
        } else {
            printf(", pixel AUROC: no masks");
        }
        printf("  (%zu normal, %zu anomalous, %zu without mask; backbone %s)\n", r->normal, r->anomalous,
               r->without_mask, cz_backbone_name(cz_model_backbone(model)));
    }
    return r->a->report != NULL ? write_page(r, model, image, pixel) : CLI_OK;
}

static int prepare(run *r, const cz_model *model)
{
    arguments *a = r->a;
    cz_session_options options = CZ_SESSION_OPTIONS_INIT;
    options.threads = a->threads;
    options.cache = a->common.cache;
    options.log = cli_log;
    cz_model_scale(model, &a->pictures.low, &a->pictures.high);
    a->pictures.maps_dir = a->overlays;
    a->pictures.overlay = true;
    r->scores = calloc(r->list->count + 1, sizeof *r->scores);
    r->labels = calloc(r->list->count + 1, sizeof *r->labels);
    cz_status status = r->scores != NULL && r->labels != NULL ? CZ_OK : cz_source_error(CZ_E_MEMORY, "out of memory");
    if (status == CZ_OK && a->report != NULL) status = report_open(0, &a->pictures.page);
    if (status == CZ_OK) status = cz_auroc_stream_open(&r->pixels);
    if (status == CZ_OK) status = cz_session_open(model, &options, &r->session);
    return status == CZ_OK ? CLI_OK : cli_fail(status);
}

static int evaluate(arguments *a, const input_list *list)
{
    run r = {.a = a, .list = list};
    cz_model *model = NULL;
    int code = common_open_model(a->model, a->backbone, &model);
    if (code == CLI_OK && a->report != NULL) code = common_check_writable(a->report);
    if (code == CLI_OK) code = prepare(&r, model);
    if (code == CLI_OK) code = eval_all(&r);
    if ((code == CLI_OK || code == CLI_SOME_FAILED) && r.count > 0) {
        const int printed = print_figures(&r, model);
        if (printed != CLI_OK) code = printed;
    }
    free(r.scores);
    free(r.labels);
    cz_auroc_stream_close(r.pixels);
    cz_session_close(r.session);
    cz_model_close(model);
    return code;
}

int cmd_eval(int argc, char **argv)
{
    arguments a = {.layout = "auto"};
    common_init(&a.common);
    const cli_option options[] = {
        {"model", 'm', CLI_STRING, &a.model, "MODEL", "model file", NULL},
        {"backbone", 0, CLI_STRING, &a.backbone, "NAME|FILE", "weights; found by the model's SHA-256 unless given",
         NULL},
        {"data", 0, CLI_STRING, &a.data, "ROOT", "the data set", NULL},
        {"layout", 0, CLI_CHOICE, &a.layout, NULL, "how it is laid out", "auto|mvtec|csv|yesno"},
        {"report", 0, CLI_STRING, &a.report, "FILE", "write one HTML page", NULL},
        {"overlays", 0, CLI_STRING, &a.overlays, "DIR", "write heat maps and overlays", NULL},
        {"threads", 0, CLI_SIZE, &a.threads, "N", "0: all", NULL},
        COMMON_CACHE_OPTIONS(a.common),
        COMMON_READ_OPTIONS(a.common),
        {"json", 0, CLI_FLAG, &a.common.json, NULL, "one JSON object", NULL},
    };
    cli_list args = {NULL, 0};
    input_list list = {0};
    int code = cli_parse(&verb, options, sizeof options / sizeof *options, argc, argv, &args);
    if (code >= 0) goto out;
    if (a.model == NULL || a.data == NULL || args.count > 0) {
        cli_error("eval needs -m MODEL and --data ROOT, and nothing else; see 'cozad eval --help'");
        code = CLI_USAGE;
        goto out;
    }
    const cz_status status = inputs_add_dataset(&list, a.data, a.layout);
    code = status == CZ_OK ? CLI_OK : cli_fail(status);
    if (code == CLI_OK) {
        common_finish(&a.common);
        code = evaluate(&a, &list);
    }
out:
    pictures_free(&a.pictures);
    inputs_free(&list);
    cli_list_free(&args);
    return cli_finish_output(code);
}
