/* SPDX-License-Identifier: Apache-2.0 */
/* cozad eval --suite cozad-paper: every data set of the paper that is there, zero-shot, beside the paper's figures. */
#include "eval_suite.h"

#include "eval.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MOST_SETS = 16, HASHED = 20, MOST_NOTES = 40 };

typedef struct outcome {
    bool found, scored, seen;
    char *path, *category; /* category: those to evaluate, NULL: all */
    char why[200];         /* seen: what was learnt from */
    size_t categories;
    eval_row mean;
} outcome;

typedef struct suite {
    const eval_setup *a;
    cz_model *model, *visa_model; /* visa_model NULL: the same one */
    outcome outcomes[MOST_SETS];
    char *notes[MOST_NOTES]; /* footnotes in the order of their numbers */
    size_t note_count;
} suite;

/* ---- finding the data ---------------------------------------------------------------------------------------------- */

/* Lower case, letters and digits alone: "MVTec_AD" is "mvtecad". */
static void simplify(const char *name, char out[128])
{
    size_t n = 0;
    for (; *name != '\0' && n < 127; name++) {
        if (isalnum((unsigned char)*name)) out[n++] = (char)tolower((unsigned char)*name);
    }
    out[n] = '\0';
}

static bool is_word(const char *words, const char *word)
{
    const size_t length = strlen(word);
    for (const char *p = words; *p != '\0'; p += strspn(p, " ")) {
        const size_t n = strcspn(p, " ");
        if (n == length && strncmp(p, word, n) == 0) return true;
        p += n;
    }
    return false;
}

static char *join(const char *a, const char *b)
{
    const size_t room = strlen(a) + strlen(b) + 2;
    char *path = malloc(room);
    if (path != NULL) (void)snprintf(path, room, "%s/%s", a, b);
    return path;
}

static bool is_folder(const char *path)
{
    struct stat info;
    return path != NULL && stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static void take_folder(suite *s, const char *name)
{
    char simple[128];
    simplify(name, simple);
    for (size_t i = 0; i < suite_set_count && i < MOST_SETS; i++) {
        outcome *o = &s->outcomes[i];
        if (simple[0] == '\0' || !is_word(suite_sets[i].folders, simple)) continue;
        char *path = join(s->a->root, name);
        if (!is_folder(path) || o->found) {
            if (o->found) cli_error("warning: %s: a second folder for %s; left out", path, suite_sets[i].name);
            free(path);
            continue;
        }
        o->found = true;
        o->path = path;
    }
}

static int find_sets(suite *s)
{
    struct dirent **entries = NULL;
    const int count = scandir(s->a->root, &entries, NULL, alphasort);
    if (count < 0) {
        cli_error("%s: cannot be read: %s", s->a->root, strerror(errno));
        return CLI_SOME_FAILED;
    }
    size_t found = 0;
    for (int i = 0; i < count; i++) {
        if (entries[i]->d_name[0] != '.') take_folder(s, entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    for (size_t i = 0; i < suite_set_count; i++) found += s->outcomes[i].found;
    if (found > 0) return CLI_OK;
    cli_error(
        "%s: none of the paper's data sets is there (folders mvtec, visa, btad, ksdd2, rsdd, dagm, dtd_synthetic, "
        "headct, brainmri, br35h)",
        s->a->root);
    return CLI_SOME_FAILED;
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

/* Which categories belong to the set: a folder "mvtec" may hold others beside its fifteen. */
static int choose_categories(const suite_set *set, const cz_dataset *d, outcome *o)
{
    const size_t count = cz_dataset_categories(d);
    o->categories = count;
    if (set->only == NULL) return CLI_OK;
    size_t length = 1;
    for (size_t i = 0; i < count; i++) length += strlen(cz_dataset_category(d, i)) + 1;
    o->category = calloc(length, 1);
    if (o->category == NULL) return CLI_RESOURCES;
    o->categories = 0;
    for (size_t i = 0; i < count; i++) {
        const char *name = cz_dataset_category(d, i);
        if (!is_listed(set->only, name)) {
            cli_note("%s: \"%s\" is no category of it; left out", set->name, name);
            continue;
        }
        if (o->categories++ > 0) (void)strcat(o->category, ",");
        (void)strcat(o->category, name);
    }
    if (o->categories > 0) return CLI_OK;
    cli_error("%s: none of the categories of %s", o->path, set->name);
    return CLI_SOME_FAILED;
}

/* ---- what the model has seen --------------------------------------------------------------------------------------- */

/* Its names, and a few training photos of each category; the test photos are looked at when they are scored. */
static void look_for_seen(const suite *s, const cz_model *model, const cz_dataset *d, outcome *o)
{
    for (size_t i = 0; i < cz_dataset_categories(d); i++) {
        const char *name = cz_dataset_category(d, i);
        if (name[0] == '\0' || (o->category != NULL && !is_listed(o->category, name))) continue;
        if (!eval_known_category(model, name)) continue;
        o->seen = true;
        (void)snprintf(o->why, sizeof o->why, "its training had a category \"%.120s\"", name);
        return;
    }
    json_t *known = eval_known_photos(model);
    const char *category = NULL;
    size_t looked = 0;
    for (size_t i = 0; i < cz_dataset_count(d) && !o->seen; i++) {
        const cz_sample *sample = cz_dataset_at(d, i);
        if (sample->split == CZ_SPLIT_TEST) continue;
        if (category == NULL || strcmp(category, sample->category) != 0) {
            category = sample->category;
            looked = 0;
        }
        if (looked++ >= HASHED) continue;
        cz_picture photo;
        if (cz_picture_read(sample->path, &s->a->common.read, &photo) != CZ_OK) continue;
        uint8_t digest[32];
        o->seen = eval_known(known, &photo.image, digest);
        cz_picture_free(&photo);
    }
    if (o->seen) (void)snprintf(o->why, sizeof o->why, "it learnt from its training photos");
    json_decref(known);
}

/* ---- one data set -------------------------------------------------------------------------------------------------- */

static int open_set(const suite_set *set, const eval_setup *a, cz_dataset **out)
{
    /* Copies are often laid out anew: the published layout first, then whatever is found. */
    if (cz_dataset_open(a->data, set->layout, out) == CZ_OK) return CLI_OK;
    const cz_status status = cz_dataset_open(a->data, "auto", out);
    return status == CZ_OK ? CLI_OK : cli_fail(status);
}

static int run_set(suite *s, size_t index)
{
    const suite_set *set = &suite_sets[index];
    outcome *o = &s->outcomes[index];
    cz_model *model = set->target_of_own && s->visa_model != NULL ? s->visa_model : s->model;
    eval_setup a = *s->a;
    eval_run r = {0};
    eval_rows rows = {0};
    cz_dataset *data = NULL;
    a.data = o->path;
    a.model = model == s->visa_model ? s->a->visa_model : s->a->model;
    if (a.at_text == NULL) a.at = 256; /* the papers' way */
    int code = open_set(set, &a, &data);
    if (code == CLI_OK) code = choose_categories(set, data, o);
    a.category = o->category;
    if (code == CLI_OK) look_for_seen(s, model, data, o);
    if (code == CLI_OK) code = eval_run_open(&r, &a, model, data);
    if (code == CLI_OK) {
        cli_note("%s: %s, %zu photos", set->name, o->path, r.chosen_count);
        code = eval_run_all(&r);
    }
    if (code == CLI_OK ||
        (code == CLI_SOME_FAILED && r.sum.evaluation != NULL && cz_evaluation_categories(r.sum.evaluation) > 0)) {
        eval_sum_warn(&r.sum, NULL, NULL);
        const cz_status status = eval_rows_make(&r.sum, &rows);
        if (status == CZ_OK) {
            o->scored = true;
            o->mean = rows.rows[rows.categories];
            if (r.sum.trained_on > 0 && !o->seen) {
                o->seen = true;
                (void)snprintf(o->why, sizeof o->why, "it learnt from %zu of its test photos", r.sum.trained_on);
            }
        } else {
            code = cli_fail(status);
        }
    }
    eval_rows_free(&rows);
    eval_run_close(&r);
    cz_dataset_close(data);
    return code;
}

/* ---- printing ------------------------------------------------------------------------------------------------------ */

/* Its number, from 1; 0 when there is no room. */
static size_t note(suite *s, const char *text)
{
    for (size_t i = 0; i < s->note_count; i++) {
        if (strcmp(s->notes[i], text) == 0) return i + 1;
    }
    if (s->note_count == MOST_NOTES || (s->notes[s->note_count] = strdup(text)) == NULL) return 0;
    return ++s->note_count;
}

static void mark(suite *s, const char *text)
{
    const size_t number = note(s, text);
    if (number > 0) printf(" [%zu]", number);
}

static void print_ours(suite *s, const suite_set *set, const outcome *o, cz_metric metric)
{
    char text[400];
    if (!o->scored) {
        printf("%s | |\n", o->found ? " failed" : "");
        return;
    }
    const cz_figure *f = &o->mean.figures.metric[metric];
    if (isnan(f->value)) {
        const bool none = metric == CZ_PIXEL_AUROC && o->mean.count.without_mask == o->mean.count.anomalous;
        printf(" %s | |\n", none ? "no masks" : "undefined");
        return;
    }
    printf(" %.1f", 100.0 * f->value);
    if (o->seen) {
        (void)snprintf(text, sizeof text, "NOT zero-shot on %s: the model has seen this data set (%s).", set->name,
                       o->why);
        mark(s, text);
    }
    if (set->categories > 0 && o->categories != set->categories) {
        (void)snprintf(text, sizeof text, "%zu of the %zu categories of %s: not comparable with the paper's mean.",
                       o->categories, set->categories, set->name);
        mark(s, text);
    }
    if (o->mean.count.failed > 0) {
        (void)snprintf(text, sizeof text, "%zu photos of %s could not be read.", o->mean.count.failed, set->name);
        mark(s, text);
    }
    if (isnan(f->low))
        printf(" | |\n");
    else
        printf(" | %.1f-%.1f |\n", 100.0 * f->low, 100.0 * f->high);
}

static void print_one(suite *s, int number, const char *caption, cz_metric metric)
{
    printf("## Table %d. %s\n\n| Domain | Dataset |", number, caption);
    for (size_t m = 0; m < SUITE_METHODS; m++) printf(" %s |", suite_methods[m]);
    printf(" ours | 95 %% |\n| --- | --- |");
    for (size_t m = 0; m < SUITE_METHODS + 2; m++) printf(" ---: |");
    printf("\n");
    for (size_t i = 0; i < suite_set_count; i++) {
        const suite_set *set = &suite_sets[i];
        printf("| %s | %s", set->domain, number == 1 ? set->name : set->name2);
        if (number == 1 && i == 0) {
            mark(s, "The paper's text claims the best figure on 6 of 7 industrial sets; in its Table 1 it is 5 of 7.");
        }
        if (number == 2 && strcmp(set->name, "KSDD2") == 0) {
            mark(s, "The paper's text ranks CoZAD fourth on KSDD2; in its Table 2 it is sixth.");
        }
        if (number == 2 && set->labels_only) {
            mark(s, "Published with image labels only; the paper does not say which masks its pixel figures rest on.");
        }
        printf(" |");
        for (size_t m = 0; m < SUITE_METHODS; m++) printf(" %s |", number == 1 ? set->image[m] : set->pixel[m]);
        print_ours(s, set, &s->outcomes[i], metric);
    }
    printf("\n");
}

static void print_tables(suite *s)
{
    bool zero_shot = true;
    for (size_t i = 0; i < suite_set_count; i++) zero_shot = zero_shot && !s->outcomes[i].seen;
    print_one(s, 1, "Image-level AUROC (%)", CZ_IMAGE_AUROC);
    print_one(s, 2, "Pixel-level AUROC (%)", CZ_PIXEL_AUROC);
    for (size_t i = 0; i < s->note_count; i++) printf("[%zu] %s\n", i + 1, s->notes[i]);
    printf("\nours: %s", s->a->model);
    if (s->a->visa_model != NULL) printf(" (VisA: %s)", s->a->visa_model);
    printf(", backbone %s; mean over categories", cz_backbone_name(cz_model_backbone(s->model)));
    if (s->a->at > 0 || s->a->at_text == NULL) {
        printf(", maps and masks at %zux%zu", s->a->at > 0 ? s->a->at : 256, s->a->at > 0 ? s->a->at : 256);
    }
    printf(zero_shot ? "; zero-shot: no photo of a target was seen in training, as far as its names and hashes tell.\n"
                     : "; not all of it zero-shot, see the notes.\n");
    printf("The paper's protocol: trained on VisA's normal photos, for the target VisA on MVTec AD's. Its figures are "
           "as it "
           "prints them.\n");
}

static json_t *paper_json(const char *const figures[SUITE_METHODS])
{
    json_t *out = json_object();
    for (size_t m = 0; m < SUITE_METHODS; m++)
        (void)json_object_set_new(out, suite_methods[m], json_real(strtod(figures[m], NULL)));
    return out;
}

static json_t *ours_json(const outcome *o)
{
    if (!o->scored) return json_null();
    const cz_figure *image = &o->mean.figures.metric[CZ_IMAGE_AUROC], *pixel = &o->mean.figures.metric[CZ_PIXEL_AUROC];
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:b, s:s?, s:I, s:I}", "image_auroc",
                     common_json_real(image->value), "image_auroc_low", common_json_real(image->low),
                     "image_auroc_high", common_json_real(image->high), "pixel_auroc", common_json_real(pixel->value),
                     "pixel_auroc_low", common_json_real(pixel->low), "pixel_auroc_high", common_json_real(pixel->high),
                     "zero_shot", !o->seen, "seen_because", o->seen ? o->why : NULL, "categories",
                     (json_int_t)o->categories, "failed", (json_int_t)o->mean.count.failed);
}

static void print_json(const suite *s)
{
    json_t *sets = json_object();
    for (size_t i = 0; i < suite_set_count; i++) {
        const suite_set *set = &suite_sets[i];
        (void)json_object_set_new(sets, set->name,
                                  json_pack("{s:{s:o, s:o}, s:o}", "paper_percent", "image_auroc",
                                            paper_json(set->image), "pixel_auroc", paper_json(set->pixel), "ours",
                                            ours_json(&s->outcomes[i])));
    }
    common_print_json(json_pack("{s:s, s:o, s:s, s:s}", "suite", "cozad-paper", "datasets", sets, "model", s->a->model,
                                "backbone", cz_backbone_name(cz_model_backbone(s->model))));
}

/* ---- all of it ----------------------------------------------------------------------------------------------------- */

static bool goes_on(int code)
{
    return code == CLI_OK || code == CLI_SOME_FAILED;
}

int eval_suite(const eval_setup *a)
{
    suite s = {.a = a};
    int code = find_sets(&s);
    if (code == CLI_OK) code = common_open_model(a->model, a->backbone, &s.model);
    if (code == CLI_OK && a->visa_model != NULL) code = common_open_model(a->visa_model, a->backbone, &s.visa_model);
    for (size_t i = 0; i < suite_set_count && goes_on(code) && s.model != NULL; i++) {
        if (!s.outcomes[i].found) continue;
        const int one = run_set(&s, i);
        if (one != CLI_OK) code = one;
    }
    if (goes_on(code) && s.model != NULL) {
        if (a->common.json)
            print_json(&s);
        else
            print_tables(&s);
    }
    for (size_t i = 0; i < MOST_SETS; i++) {
        free(s.outcomes[i].path);
        free(s.outcomes[i].category);
    }
    for (size_t i = 0; i < s.note_count; i++) free(s.notes[i]);
    cz_model_close(s.model);
    cz_model_close(s.visa_model);
    return code;
}
