/* SPDX-License-Identifier: Apache-2.0 */
#include "cozad/cozad_eval.h"
#include "eval_scores.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const cli_verb verb = {"compare", "A.jsonl B.jsonl [options]",
                              "Compares two detectors on the same photos: the difference of their image AUROC, with a "
                              "95 % interval and a p-value.",
                              "Both files are what cozad eval --save-scores wrote. Photos are paired by category and "
                              "path; those that only one file "
                              "has are named and left out, and labels that differ are refused. The p-values are of no "
                              "difference, two-sided, one a "
                              "line: with many categories some are small by chance. Only photos are resampled: how "
                              "much another training run would "
                              "differ, this does not say.",
                              "  cozad compare before.jsonl after.jsonl\n"
                              "  cozad compare before.jsonl after.jsonl --method bootstrap --resamples 10000 --json"};

enum { MOST_NAMED = 10 };

typedef struct arguments {
    const char *method;
    size_t resamples;
    uint64_t seed;
    common_options common;
} arguments;

typedef struct pairs {
    double *first, *second; /* [count] */
    uint8_t *labels;
    const char **categories;
    size_t count;
} pairs;

typedef struct line {
    const char *name;
    size_t normal, anomalous;
    double first, second;
    cz_comparison c;
} line;

/* {CATEGORY: {PATH: index of items}} */
static json_t *index_items(const scores_file *file)
{
    json_t *all = json_object();
    for (size_t i = 0; i < file->count; i++) {
        const scores_item *item = &file->items[i];
        if (item->failed) continue;
        json_t *inside = json_object_get(all, item->category);
        if (inside == NULL) {
            inside = json_object();
            (void)json_object_set_new(all, item->category, inside);
        }
        (void)json_object_set_new(inside, item->path, json_integer((json_int_t)i));
    }
    return all;
}

static const json_t *find(const json_t *index, const scores_item *item)
{
    return json_object_get(json_object_get(index, item->category), item->path);
}

/* Photos of `file` that the other one, indexed, has not. */
static json_t *list_unpaired(const scores_file *file, const json_t *other, const char *name)
{
    json_t *list = json_array();
    for (size_t i = 0; i < file->count; i++) {
        const scores_item *item = &file->items[i];
        if (item->failed || find(other, item) != NULL) continue;
        if (json_array_size(list) < MOST_NAMED) {
            cli_error("warning: only in %s: %s%s%s", name, item->category, item->category[0] != '\0' ? ": " : "",
                      item->path);
        }
        (void)json_array_append_new(list, json_pack("{s:s, s:s}", "category", item->category, "path", item->path));
    }
    if (json_array_size(list) > 0) {
        cli_error("warning: %zu of %zu photos are only in %s", json_array_size(list), file->count, name);
    }
    return list;
}

static int make_pairs(const scores_file *a, const scores_file *b, const json_t *index, char *const *names, pairs *out)
{
    out->first = calloc(a->count + 1, sizeof *out->first);
    out->second = calloc(a->count + 1, sizeof *out->second);
    out->labels = calloc(a->count + 1, sizeof *out->labels);
    out->categories = calloc(a->count + 1, sizeof *out->categories);
    if (out->first == NULL || out->second == NULL || out->labels == NULL || out->categories == NULL) {
        cli_error("out of memory");
        return CLI_RESOURCES;
    }
    for (size_t i = 0; i < a->count; i++) {
        const scores_item *one = &a->items[i];
        const json_t *at = one->failed ? NULL : find(index, one);
        if (at == NULL) continue;
        const scores_item *two = &b->items[(size_t)json_integer_value(at)];
        if (one->label != two->label) {
            cli_error("%s: labelled %d in %s and %d in %s: not the same test", one->path, one->label, names[0],
                      two->label, names[1]);
            return CLI_SOME_FAILED;
        }
        out->first[out->count] = one->score;
        out->second[out->count] = two->score;
        out->labels[out->count] = (uint8_t)one->label;
        out->categories[out->count++] = one->category;
    }
    if (out->count > 0) return CLI_OK;
    cli_error("%s and %s have no photo in common", names[0], names[1]);
    return CLI_SOME_FAILED;
}

static cz_status auroc(const double *scores, const uint8_t *labels, size_t count, double *out)
{
    cz_evaluation_options options = CZ_EVALUATION_OPTIONS_INIT;
    cz_figures figures;
    memset(&figures, 0, sizeof figures);
    figures.struct_size = sizeof figures;
    options.resamples = 0;
    const cz_status status = cz_score_figures(scores, labels, count, &options, &figures);
    *out = figures.metric[CZ_IMAGE_AUROC].value;
    return status;
}

/* Of one category (NULL: of all). Figures are NaN where a class is absent. */
static cz_status compare(const arguments *a, const pairs *all, const char *category, line *out)
{
    pairs p = {calloc(all->count, sizeof *p.first), calloc(all->count, sizeof *p.second),
               calloc(all->count, sizeof *p.labels), NULL, 0};
    cz_status status = CZ_OK;
    if (p.first == NULL || p.second == NULL || p.labels == NULL) status = cz_source_error(CZ_E_MEMORY, "out of memory");
    for (size_t i = 0; i < all->count && status == CZ_OK; i++) {
        if (category != NULL && strcmp(all->categories[i], category) != 0) continue;
        p.first[p.count] = all->first[i];
        p.second[p.count] = all->second[i];
        p.labels[p.count++] = all->labels[i];
        *(all->labels[i] != 0 ? &out->anomalous : &out->normal) += 1;
    }
    out->name = category != NULL ? category : "pooled";
    out->first = out->second = NAN;
    out->c = (cz_comparison){NAN, NAN, NAN, NAN};
    if (status == CZ_OK && out->normal > 0 && out->anomalous > 0) {
        status = auroc(p.first, p.labels, p.count, &out->first);
        if (status == CZ_OK) status = auroc(p.second, p.labels, p.count, &out->second);
        if (status == CZ_OK && strcmp(a->method, "bootstrap") == 0) {
            status = cz_compare_bootstrap(p.first, p.second, p.labels, p.count, a->resamples, a->seed, &out->c);
        } else if (status == CZ_OK) {
            status = cz_compare_delong(p.first, p.second, p.labels, p.count, &out->c);
        }
    }
    free(p.first);
    free(p.second);
    free(p.labels);
    return status;
}

/* ---- printing ------------------------------------------------------------------------------------------------------ */

static json_t *line_json(const line *l)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:I}", "first", common_json_real(l->first), "second",
                     common_json_real(l->second), "difference", common_json_real(l->c.difference), "low",
                     common_json_real(l->c.low), "high", common_json_real(l->c.high), "p_value",
                     common_json_real(l->c.p_value), "normal", (json_int_t)l->normal, "anomalous",
                     (json_int_t)l->anomalous);
}

static void print_line(const line *l, int width)
{
    for (const char *p = l->name; *p != '\0'; p++) (void)putchar((unsigned char)*p < 0x20 || *p == 0x7f ? '?' : *p);
    printf("%*s  %6zu  %9zu", width - (int)strlen(l->name), "", l->normal, l->anomalous);
    if (isnan(l->first)) {
        printf("  undefined: a class is absent\n");
        return;
    }
    printf("  %6.2f  %6.2f  %+7.2f", 100.0 * l->first, 100.0 * l->second, 100.0 * l->c.difference);
    if (isnan(l->c.low))
        printf("  %17s", "undefined");
    else
        printf("  %+7.2f to %+6.2f", 100.0 * l->c.low, 100.0 * l->c.high);
    if (isnan(l->c.p_value))
        printf("  undefined\n");
    else
        printf(l->c.p_value < 1e-4 && l->c.p_value > 0.0 ? "  %.1e\n" : "  %.4f\n", l->c.p_value);
}

static void print_table(const arguments *a, const line *lines, size_t count, char *const *names)
{
    int width = 8;
    for (size_t i = 0; i < count; i++) width = (int)strlen(lines[i].name) > width ? (int)strlen(lines[i].name) : width;
    printf("A: %s\nB: %s\n\n%-*s  normal  anomalous       A       B    A - B  %-17s  p\n", names[0], names[1], width,
           "category", "95 % interval");
    /* With one category, pooled says the same again. */
    for (size_t i = count == 2 ? 1 : 0; i < count; i++) print_line(&lines[i], width);
    printf("\nImage AUROC in percent; %s.\n",
           strcmp(a->method, "bootstrap") == 0 ? "paired bootstrap over photos" : "DeLong's test");
}

static int print(const arguments *a, const pairs *p, char *const *names, json_t *only[2])
{
    json_t *seen = json_object();
    line *lines = calloc(p->count + 1, sizeof *lines);
    size_t count = 0;
    cz_status status = lines != NULL && seen != NULL ? CZ_OK : cz_source_error(CZ_E_MEMORY, "out of memory");
    for (size_t i = 0; i < p->count && status == CZ_OK; i++) {
        if (json_object_get(seen, p->categories[i]) != NULL) continue;
        (void)json_object_set_new(seen, p->categories[i], json_true());
        status = compare(a, p, p->categories[i], &lines[count++]);
    }
    if (status == CZ_OK) status = compare(a, p, NULL, &lines[count++]);
    if (status == CZ_OK && a->common.json) {
        json_t *categories = json_object();
        for (size_t i = 0; i + 1 < count; i++)
            (void)json_object_set_new(categories, lines[i].name, line_json(&lines[i]));
        common_print_json(json_pack("{s:s, s:s, s:s, s:o, s:o, s:I, s:O, s:O}", "first", names[0], "second", names[1],
                                    "method", a->method, "categories", categories, "pooled",
                                    line_json(&lines[count - 1]), "paired", (json_int_t)p->count, "only_first", only[0],
                                    "only_second", only[1]));
    } else if (status == CZ_OK) {
        print_table(a, lines, count, names);
    }
    json_decref(seen);
    free(lines);
    return status == CZ_OK ? CLI_OK : cli_fail(status);
}

static int compare_files(const arguments *a, char *const *names)
{
    scores_file files[2] = {{0}, {0}};
    json_t *index[2] = {NULL, NULL}, *only[2] = {NULL, NULL};
    pairs p = {0};
    int code = scores_read(names[0], &files[0]);
    if (code == CLI_OK) code = scores_read(names[1], &files[1]);
    if (code == CLI_OK) {
        for (int i = 0; i < 2; i++) index[i] = index_items(&files[i]);
        for (int i = 0; i < 2; i++) only[i] = list_unpaired(&files[i], index[1 - i], names[i]);
        code = make_pairs(&files[0], &files[1], index[1], names, &p);
    }
    if (code == CLI_OK) code = print(a, &p, names, only);
    for (int i = 0; i < 2; i++) {
        json_decref(index[i]);
        json_decref(only[i]);
        scores_free(&files[i]);
    }
    free(p.first);
    free(p.second);
    free(p.labels);
    free(p.categories);
    return code;
}

int cmd_compare(int argc, char **argv)
{
    arguments a = {.method = "delong", .resamples = 10000};
    common_init(&a.common);
    const cli_option options[] = {
        {"method", 0, CLI_CHOICE, &a.method, NULL, "how interval and p-value are found", "delong|bootstrap"},
        {"resamples", 0, CLI_SIZE, &a.resamples, "N", "of the bootstrap", NULL},
        {"seed", 0, CLI_U64, &a.seed, "S", "of the bootstrap", NULL},
        {"json", 0, CLI_FLAG, &a.common.json, NULL, "one JSON object", NULL},
    };
    cli_list args = {NULL, 0};
    int code = cli_parse(&verb, options, sizeof options / sizeof *options, argc, argv, &args);
    if (code < 0 && (args.count != 2 || a.resamples == 0)) {
        cli_error(args.count != 2 ? "compare needs two files of saved scores; see 'cozad compare --help'"
                                  : "--resamples: at least 1");
        code = CLI_USAGE;
    }
    if (code < 0) code = compare_files(&a, (char *const *)(uintptr_t)args.items);
    cli_list_free(&args);
    return cli_finish_output(code);
}
