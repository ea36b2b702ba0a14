/* SPDX-License-Identifier: Apache-2.0 */
/* cozad mutual --data: every category's test photos are one batch; labels and masks are for the figures alone. */
#include "datasets.h"
#include "eval.h"
#include "inputs_internal.h"
#include "mutual.h"

#include <stdlib.h>
#include <string.h>

static const char protocol[] = "transductive";

typedef struct data_run {
    mutual_setup *a;
    cz_backbone *backbone;
    cz_dataset *data;
    char name[256]; /* of a category that has none */
    bool split;     /* the data set tells test photos from others */
    eval_sum sum;
    eval_pixels pixels;
    scores_writer scores;
    size_t failed;
    /* the category in work */
    const char *category;
    input_list list;
    size_t *samples; /* [list.count] of the data set */
    mutual_batch batch;
} data_run;

/* ---- which photos ------------------------------------------------------------------------------------------------- */

static void name_data(data_run *r)
{
    char *path = realpath(r->a->data, NULL);
    const char *from = path != NULL ? path : r->a->data, *slash = strrchr(from, '/');
    (void)snprintf(r->name, sizeof r->name, "%.255s", slash != NULL && slash[1] != '\0' ? slash + 1 : from);
    char *dot = eval_is_file(r->a->data) ? strrchr(r->name, '.') : NULL;
    if (dot != NULL && dot != r->name) *dot = '\0';
    free(path);
}

static const char *name_of(const data_run *r, const char *category)
{
    return category[0] != '\0' ? category : r->name;
}

/* One of the comma-separated names, or there are none. */
static bool is_wanted(const data_run *r, const char *name)
{
    const size_t length = strlen(name);
    if (r->a->category == NULL) return true;
    for (const char *p = r->a->category; *p != '\0';) {
        const size_t n = strcspn(p, ",");
        if (n == length && strncmp(p, name, n) == 0) return true;
        p += n + (p[n] == ',' ? 1 : 0);
    }
    return false;
}

/* The category's test photos; where the data set does not tell splits, all of them. */
static cz_status choose(data_run *r, const char *category)
{
    const size_t count = cz_dataset_count(r->data);
    const input_kind unknown = {"", -1, INPUT_ANY, 0};
    cz_status status = CZ_OK;
    r->category = name_of(r, category);
    r->samples = calloc(count + 1, sizeof *r->samples);
    if (r->samples == NULL) return cz_source_error(CZ_E_MEMORY, "out of memory");
    for (size_t i = 0; i < count && status == CZ_OK; i++) {
        const cz_sample *s = cz_dataset_at(r->data, i);
        if (strcmp(s->category, category) != 0 || s->split != (r->split ? CZ_SPLIT_TEST : CZ_SPLIT_ANY)) continue;
        r->samples[r->list.count] = i;
        status = input_add(&r->list, strdup(s->path), strdup(s->relative), &unknown);
    }
    return status;
}

static void end_category(data_run *r)
{
    mutual_batch_free(&r->batch);
    inputs_free(&r->list);
    free(r->samples);
    r->samples = NULL;
}

/* ---- figures ------------------------------------------------------------------------------------------------------ */

/* Below the data set's root where it has one. */
static const char *below_root(const data_run *r, const char *path)
{
    const size_t length = strlen(r->a->data);
    if (eval_is_file(r->a->data) || strncmp(path, r->a->data, length) != 0) return path;
    path += length;
    while (*path == '/') path++;
    return path;
}

static cz_status save(data_run *r, const cz_sample *s, int label, double score, bool failed)
{
    if (r->scores.stream == NULL) return CZ_OK;
    scores_item item = {.path = s->relative,
                        .category = r->category,
                        .kind = s->kind,
                        .label = label,
                        .score = score,
                        .mask_count = s->mask_count,
                        .nonzero = s->mask_rule == CZ_MASK_NONZERO,
                        .failed = failed};
    item.masks = calloc(item.mask_count + 1, sizeof *item.masks);
    if (item.masks == NULL) return cz_source_error(CZ_E_MEMORY, "out of memory");
    for (size_t i = 0; i < item.mask_count; i++) item.masks[i] = below_root(r, s->masks[i]);
    const int code = scores_add(&r->scores, &item);
    free(item.masks);
    return code == CLI_OK ? CZ_OK : cz_source_error(CZ_E_NO_SPACE, "scores cannot be saved");
}

/* The photo and its truth into the figures. */
static cz_status add_figures(data_run *r, const cz_sample *s, const mutual_view *view, int label)
{
    const double score = r->batch.photos[view->photo].score;
    const cz_read_options *read = &r->a->common.read;
    cz_picture mask = {0};
    cz_status status = CZ_OK;
    if (label == 1 && s->mask_count > 0) {
        status = eval_read_masks(s->masks, s->mask_count, s->mask_rule, read, &mask);
        if (status == CZ_OK) status = eval_check_aspect(&mask.image, view->image->width, view->image->height);
    }
    if (status == CZ_OK)
        status = eval_pixels_make(&r->pixels, view->map, view->image->width, view->image->height,
                                  mask.pixels != NULL ? &mask.image : NULL, 0);
    if (status == CZ_OK) status = eval_sum_add(&r->sum, r->category, label, score, &r->pixels);
    cz_picture_free(&mask);
    return status;
}

static cz_status look(void *ctx, const mutual_view *view)
{
    data_run *r = ctx;
    const cz_sample *s = cz_dataset_at(r->data, r->samples[r->batch.photos[view->photo].index]);
    eval_count *count = eval_sum_category(&r->sum, r->category);
    if (count == NULL) return CZ_E_MEMORY;
    int label;
    cz_status status = dataset_label(s, &r->a->common.read, &label);
    if (status == CZ_OK && label < 0) {
        count->unlabelled++;
    } else if (status == CZ_OK) {
        status = add_figures(r, s, view, label);
        if (status == CZ_OK) status = save(r, s, label, r->batch.photos[view->photo].score, false);
    }
    if (status == CZ_OK) status = mutual_write_pictures(r->a, &r->batch, view);
    return status;
}

/* Photos without a score; they have been named. */
static cz_status count_failed(data_run *r, size_t lost)
{
    eval_count *count = eval_sum_category(&r->sum, r->category);
    if (count == NULL) return CZ_E_MEMORY;
    for (size_t i = 0; i < r->list.count; i++) {
        if (r->batch.scored[i]) continue;
        const cz_status status = save(r, cz_dataset_at(r->data, r->samples[i]), -1, 0.0, true);
        if (status != CZ_OK) return status;
    }
    count->failed += cz_mutual_scores_skipped(r->batch.scores) + lost;
    r->failed += count->failed;
    return CZ_OK;
}

static int do_category(data_run *r, const char *category)
{
    size_t lost = 0;
    cz_status status = choose(r, category);
    if (status == CZ_OK) status = pictures_check(&r->a->pictures, &r->list);
    int code = status == CZ_OK ? CLI_OK : cli_fail(status);
    if (code == CLI_OK && r->list.count > 0) {
        code = mutual_batch_score(r->a, r->backbone, &r->list, &r->batch);
        if (code == CLI_OK) code = mutual_batch_look(r->a, &r->batch, look, r, &lost);
        if (code == CLI_OK && (status = count_failed(r, lost)) != CZ_OK) code = cli_fail(status);
    }
    end_category(r);
    return code;
}

/* ---- output ------------------------------------------------------------------------------------------------------- */

static int print(data_run *r, const eval_rows *rows)
{
    const char *backbone = cz_backbone_name(r->backbone);
    if (r->a->common.csv) {
        cli_note("protocol: %s", protocol);
        eval_print_csv(rows);
    } else if (r->a->common.json) {
        json_t *out = eval_json(&r->sum, rows);
        if (out == NULL) return CLI_RESOURCES;
        (void)json_object_set_new(out, "protocol", json_string(protocol));
        (void)json_object_set_new(out, "backbone", json_string(backbone));
        (void)json_object_set_new(out, "layout", json_string(cz_dataset_layout(r->data)));
        common_print_json(out);
    } else {
        printf("%s (backbone %s), %s: the test photos compared with each other, nothing trained\n\n", r->name, backbone,
               protocol);
        eval_print_table(&r->sum, rows);
    }
    return CLI_OK;
}

static int conclude(data_run *r)
{
    eval_rows rows = {0};
    if (r->sum.count == 0) {
        cli_error("%s: there are no test photos%s", r->a->data, r->a->category != NULL ? " of that category" : "");
        return CLI_SOME_FAILED;
    }
    eval_sum_warn(&r->sum, NULL, NULL);
    if (cz_evaluation_categories(r->sum.evaluation) == 0) {
        cli_error("%s: no test photo has a label", r->a->data);
        return CLI_SOME_FAILED;
    }
    int code = scores_commit(&r->scores);
    const cz_status status = code == CLI_OK ? eval_rows_make(&r->sum, &rows) : CZ_OK;
    if (status != CZ_OK) code = cli_fail(status);
    if (code == CLI_OK) code = print(r, &rows);
    eval_rows_free(&rows);
    return code == CLI_OK && r->failed > 0 ? CLI_SOME_FAILED : code;
}

static int open_run(data_run *r)
{
    const mutual_setup *a = r->a;
    cz_evaluation_options options = CZ_EVALUATION_OPTIONS_INIT;
    const eval_setup where = {.data = a->data, .layout = a->layout};
    options.resamples = a->resamples;
    options.seed = a->mutual.seed;
    options.threads = a->mutual.threads;
    const int code = eval_open_data(&where, &r->data);
    if (code != CLI_OK) return code;
    name_data(r);
    for (size_t i = 0; i < cz_dataset_count(r->data); i++)
        r->split = r->split || cz_dataset_at(r->data, i)->split != CZ_SPLIT_ANY;
    const cz_status status = eval_sum_open(&options, &r->sum);
    if (status != CZ_OK) return cli_fail(status);
    if (a->save_scores == NULL) return CLI_OK;
    json_t *head =
        json_pack("{s:s, s:s, s:s?, s:s, s:s}", "protocol", protocol, "backbone", cz_backbone_name(r->backbone), "data",
                  eval_is_file(a->data) ? NULL : a->data, "layout", cz_dataset_layout(r->data), "at", "mask");
    return scores_open(&r->scores, a->save_scores, head);
}

int mutual_data(mutual_setup *a, cz_backbone *backbone)
{
    data_run r = {.a = a, .backbone = backbone};
    int code = open_run(&r);
    for (size_t i = 0; code == CLI_OK && i < cz_dataset_categories(r.data); i++) {
        const char *category = cz_dataset_category(r.data, i);
        if (is_wanted(&r, name_of(&r, category))) code = do_category(&r, category);
    }
    if (code == CLI_OK) code = conclude(&r);
    scores_abort(&r.scores);
    eval_pixels_free(&r.pixels);
    eval_sum_close(&r.sum);
    cz_dataset_close(r.data);
    return code;
}
