/* SPDX-License-Identifier: Apache-2.0 */
/* The page of cozad eval. */
#include "eval.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static report_item entry_of(const eval_run *r, const cz_sample *sample, int label, double score)
{
    return (report_item){.path = sample->path,
                         .score = score,
                         .label = label,
                         .category = eval_category(r, sample->category),
                         .note = sample->kind};
}

cz_status eval_page_make(const eval_run *r, const cz_sample *sample, eval_photo *photo, const cz_result *result)
{
    cz_picture overlay = {0};
    report_item entry = entry_of(r, sample, photo->label, result->score);
    cz_status status = cz_overlay(&photo->photo.image, result->map, r->pictures.low, r->pictures.high, &overlay);
    entry.photo = &photo->photo.image;
    entry.overlay = &overlay.image;
    entry.truth = photo->mask.pixels != NULL ? &photo->mask.image : NULL;
    if (status == CZ_OK) status = report_make_thumbs(&entry, &photo->thumbs);
    cz_picture_free(&overlay);
    return status;
}

cz_status eval_page_add(eval_run *r, const cz_sample *sample, eval_photo *photo, double score)
{
    const report_item entry = entry_of(r, sample, photo->label, score);
    report_thumbs *thumbs = photo->thumbs;
    photo->thumbs = NULL;
    return thumbs != NULL ? report_add_made(r->page, &entry, thumbs) : CZ_OK;
}

static cz_status set_figures(eval_run *r, const eval_rows *rows)
{
    const size_t count = rows->categories + 2;
    report_row *lines = calloc(count, sizeof *lines);
    if (lines == NULL) return cz_source_error(CZ_E_MEMORY, "out of memory");
    for (size_t i = 0; i < count; i++) {
        lines[i].name = i < rows->categories ? rows->rows[i].name : NULL;
        lines[i].figures = rows->rows[i].figures;
        lines[i].kind = i < rows->categories ? REPORT_CATEGORY : i == rows->categories ? REPORT_MEAN : REPORT_POOLED;
    }
    const cz_status status = report_set_figures(r->page, lines, rows->categories > 1 ? count : rows->categories);
    free(lines);
    return status;
}

/* How the model was trained, as its file says, without the digests of its photos; free. */
static char *describe_training(const cz_model *model)
{
    json_t *meta = json_loads(cz_model_json(model), 0, NULL);
    json_t *training = json_object_get(meta, "training");
    if (training != NULL) (void)json_object_del(training, "pixels_sha256");
    char *text = training != NULL ? json_dumps(training, JSON_COMPACT) : NULL;
    json_decref(meta);
    return text;
}

static cz_status set_facts(eval_run *r)
{
    const eval_setup *a = r->a;
    const cz_backbone *backbone = cz_model_backbone(r->model);
    char date[32], at[48], sha256[65] = "", command[512], photos[65];
    char *training = describe_training(r->model);
    for (size_t i = 0; i < sizeof r->digest; i++) (void)snprintf(photos + 2 * i, 3, "%02x", r->digest[i]);
    const time_t now = time(NULL);
    struct tm day;
    (void)strftime(date, sizeof date, "%Y-%m-%d", gmtime_r(&now, &day));
    (void)snprintf(at, sizeof at, a->at > 0 ? "%zux%zu" : "the mask's own resolution", a->at, a->at);
    (void)cz_file_sha256(a->model, sha256);
    const char *data = a->data != NULL ? a->data : a->normal;
    (void)snprintf(command, sizeof command, "cozad eval -m %.120s %s %.200s%s%.20s --seed %llu --report page.html",
                   a->model, a->data != NULL ? "--data" : "--normal", data, a->at > 0 ? " --at " : "",
                   a->at > 0 ? a->at_text : "", (unsigned long long)a->seed);
    const report_fact facts[] = {{"Model", a->model}, {"Data", data}, {"cozad", cz_version()}, {"Date", date}};
    const report_fact provenance[] = {{"Model's SHA-256", sha256},
                                      {"Backbone", cz_backbone_name(backbone)},
                                      {"Backbone's SHA-256", cz_backbone_sha256(backbone)},
                                      {"Trained with", training != NULL ? training : "unknown"},
                                      {"Photos' SHA-256, summed", photos},
                                      {"Layout", cz_dataset_layout(r->data)},
                                      {"Maps and masks compared at", at},
                                      {"cozad", cz_version()},
                                      {"Date", date},
                                      {"Command", command}};
    cz_status status = report_set_facts(r->page, facts, sizeof facts / sizeof *facts);
    if (status == CZ_OK) status = report_set_provenance(r->page, provenance, sizeof provenance / sizeof *provenance);
    free(training);
    if (status == CZ_OK) {
        status = report_set_backbone(r->page, cz_backbone_name(backbone),
                                     strncmp(cz_backbone_name(backbone), "random:", 7) == 0);
    }
    if (status == CZ_OK) {
        status = report_add_step(r->page, "A model was trained on the normal training photos alone.",
                                 "cozad train --data ROOT -o MODEL");
    }
    if (status == CZ_OK) {
        status =
            report_add_step(r->page, "The test photos were scored; labels were used for the figures only.", command);
    }
    return status;
}

typedef struct warned {
    report *page;
    cz_status status;
} warned;

static void add_warning(void *ctx, const char *line)
{
    warned *w = ctx;
    static const char head[] = "warning: ";
    const char *text = strncmp(line, head, sizeof head - 1) == 0 ? line + sizeof head - 1 : line;
    if (w->status == CZ_OK) w->status = report_add_warning(w->page, text);
}

int eval_page_write(eval_run *r, const eval_rows *rows)
{
    warned w = {r->page, CZ_OK};
    eval_sum_warn(&r->sum, r->page != NULL ? add_warning : NULL, &w);
    if (r->page == NULL) return CLI_OK;
    const eval_threshold *t = &r->sum.threshold;
    cz_status status = w.status;
    if (status == CZ_OK) {
        status = report_set_title(r->page, r->category, "Test photos sorted by score, the most anomalous first.");
    }
    if (status == CZ_OK) status = set_facts(r);
    if (status == CZ_OK) status = set_figures(r, rows);
    report_set_scale(r->page, r->pictures.low, r->pictures.high);
    if (status == CZ_OK && t->known) status = report_set_threshold(r->page, t->image, t->rule);
    if (t->known && r->sum.regions.images > 0) report_set_regions(r->page, &r->sum.regions, t->pixel);
    if (status == CZ_OK) status = report_write(r->page, r->a->report);
    return status == CZ_OK ? CLI_OK : cli_fail(status);
}
