/* SPDX-License-Identifier: Apache-2.0 */
/* The data set of a target, seed and rate: a manifest below links to the photos, and the list of what was injected. */
#include "contaminate.h"
#include "datasets.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- manifest.jsonl ----------------------------------------------------------------------------------------------- */

static bool put_line(FILE *f, json_t *line)
{
    char *text = line != NULL ? json_dumps(line, JSON_COMPACT | JSON_PRESERVE_ORDER) : NULL;
    const bool good = text != NULL && fprintf(f, "%s\n", text) > 0;
    free(text);
    json_decref(line);
    return good;
}

/* No label: what a training is given is unsorted. */
static bool put_training(FILE *f, const char *link, const cz_sample *s)
{
    return put_line(f, json_pack("{s:o, s:s}", "path", json_sprintf("%s/%s", link, s->relative), "split", "train"));
}

static bool put_test(FILE *f, const cz_sample *s, int label)
{
    json_t *masks = json_array();
    /* A manifest's masks are set above half of their largest value: those with another rule would be read wrongly. */
    for (size_t i = 0; i < s->mask_count && label == 1 && s->mask_rule == CZ_MASK_HALF; i++) {
        const size_t root = strlen(s->path) - strlen(s->relative);
        if (strncmp(s->masks[i], s->path, root) != 0) continue;
        (void)json_array_append_new(masks, json_sprintf("photos/%s", s->masks[i] + root));
    }
    return put_line(f, json_pack("{s:o, s:s, s:i, s:o}", "path", json_sprintf("photos/%s", s->relative), "split",
                                 "test", "label", label, "mask", masks));
}

/* Photos that the largest rate injects, as a mark for each sample of the data set. */
static void mark_removed(const contaminate *c, const contaminate_target *t, const size_t *order, bool *removed)
{
    const size_t count = contaminate_removes(c) ? t->injected[c->rate_count - 1] : 0;
    for (size_t i = 0; i < count; i++) removed[order[i]] = true;
}

static bool holds(const char *path, const char *text, size_t size)
{
    FILE *f = fopen(path, "re");
    bool same = f != NULL;
    for (size_t i = 0; i < size && same; i++) same = fgetc(f) == (unsigned char)text[i];
    if (f != NULL) {
        same = same && fgetc(f) == EOF;
        (void)fclose(f);
    }
    return same;
}

static int write_manifest(const contaminate *c, const contaminate_run *run, const size_t *order, const bool *removed)
{
    const contaminate_target *t = &c->targets[run->target];
    char path[JOBS_PATH], *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    bool good = f != NULL;
    for (size_t i = 0; i < t->train_count && good; i++) {
        good = put_training(f, "photos", cz_dataset_at(c->dataset, t->train[i]));
    }
    for (size_t i = 0; i < t->injected[run->rate] && good; i++) {
        good = put_training(f, "injected", cz_dataset_at(c->dataset, order[i]));
    }
    for (size_t i = 0; i < t->test_count && good; i++) {
        const cz_sample *s = cz_dataset_at(c->dataset, t->test[i]);
        int label = s->label;
        if (removed[t->test[i]]) continue;
        good = dataset_label(s, &c->train.common.read, &label) == CZ_OK && put_test(f, s, label);
    }
    if (f != NULL && fclose(f) != 0) good = false;
    if (!good) cli_error("%s: out of memory, or a path that is not UTF-8", t->name);
    contaminate_split_path(c, run, "manifest.jsonl", path);
    int code = good ? CLI_OK : CLI_RESOURCES;
    if (code == CLI_OK && jobs_exists(path) && !holds(path, text, size)) {
        cli_error("%s: the data set has changed since; choose another results folder", path);
        code = CLI_USAGE;
    }
    if (code == CLI_OK) code = jobs_write(path, text, size);
    free(text);
    return code;
}

/* ---- injected.csv ------------------------------------------------------------------------------------------------- */

static void put_field(FILE *f, const char *text)
{
    const bool quoted = strpbrk(text, ",\"\r\n") != NULL;
    if (quoted) (void)fputc('"', f);
    for (; *text != '\0'; text++) {
        if (*text == '"') (void)fputc('"', f);
        (void)fputc(*text, f);
    }
    if (quoted) (void)fputc('"', f);
}

static int write_injected(const contaminate *c, const contaminate_run *run, const size_t *order)
{
    const contaminate_target *t = &c->targets[run->target];
    char path[JOBS_PATH], room[CONTAMINATE_KIND], *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    if (f == NULL) {
        cli_error("out of memory");
        return CLI_RESOURCES;
    }
    (void)fputs("path,category,kind,seed,rate_percent,in_test\n", f);
    for (size_t i = 0; i < t->injected[run->rate]; i++) {
        const cz_sample *s = cz_dataset_at(c->dataset, order[i]);
        put_field(f, s->relative);
        (void)fputc(',', f);
        put_field(f, s->category);
        (void)fputc(',', f);
        put_field(f, contaminate_kind(s, room));
        (void)fprintf(f, ",%zu,%s,%s\n", run->seed, c->rates[run->rate].name,
                      contaminate_overlap(c, t, run->rate) > 0 ? "yes" : "no");
    }
    const bool good = fclose(f) == 0;
    if (!good) cli_error("out of memory");
    contaminate_split_path(c, run, "injected.csv", path);
    const int code = good ? jobs_write(path, text, size) : CLI_RESOURCES;
    free(text);
    return code;
}

/* ---- the folder --------------------------------------------------------------------------------------------------- */

static int make_folders(const contaminate *c, const contaminate_run *run)
{
    char path[JOBS_PATH];
    const contaminate_target *t = &c->targets[run->target];
    (void)snprintf(path, sizeof path, "%s/%s", c->jobs.folder, t->name);
    int code = jobs_make_folder(path);
    (void)snprintf(path, sizeof path, "%s/%s/seed%zu", c->jobs.folder, t->name, run->seed);
    if (code == CLI_OK) code = jobs_make_folder(path);
    contaminate_split_path(c, run, "", path);
    return code == CLI_OK ? jobs_make_folder(path) : code;
}

static int make_link(const contaminate *c, const contaminate_run *run, const char *name)
{
    char path[JOBS_PATH];
    contaminate_split_path(c, run, name, path);
    (void)unlink(path); /* the data set may have moved since */
    if (symlink(c->root, path) == 0) return CLI_OK;
    cli_error("%s: cannot make this link: %s", path, strerror(errno));
    return CLI_RESOURCES;
}

int contaminate_make_split(const contaminate *c, const contaminate_run *run)
{
    const contaminate_target *t = &c->targets[run->target];
    size_t *order = calloc(t->limit + 1, sizeof *order);
    bool *removed = calloc(cz_dataset_count(c->dataset) + 1, sizeof *removed);
    int code = CLI_RESOURCES;
    if (order == NULL || removed == NULL) {
        cli_error("out of memory");
        goto out;
    }
    code = contaminate_draw(c, t, run->seed, order);
    if (code == CLI_OK) mark_removed(c, t, order, removed);
    if (code == CLI_OK) code = make_folders(c, run);
    if (code == CLI_OK) code = make_link(c, run, "photos");
    if (code == CLI_OK) code = make_link(c, run, "injected");
    if (code == CLI_OK) code = write_injected(c, run, order);
    if (code == CLI_OK) code = write_manifest(c, run, order, removed);
out:
    free(order);
    free(removed);
    return code;
}
