/* SPDX-License-Identifier: Apache-2.0 */
/* Data sets: the table of layouts, and what the public functions do. docs/data-sets.md describes the layouts. */
#include "data/dataset.h"

#include "util/alloc.h"
#include "util/file.h"
#include "util/names.h"

#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* In the order of detection: tables first, then what is easily told from others, then the general ones. */
static const struct {
    const char *name;
    cz_layout_read_fn read;
    bool detected;         /* "auto" tries it */
    const char *expecting; /* for messages */
} layouts[] = {
    {"csv", cz_layout_csv, true, "it has no file split.csv or manifest.csv"},
    {"jsonl", cz_layout_jsonl, true, "it has no file manifest.jsonl"},
    {"visa", cz_layout_visa, true, "it has neither split_csv/1cls.csv nor CATEGORY/Data/Images nor CATEGORY/test"},
    {"loco", cz_layout_loco, true, "there is no folder test/logical_anomalies or test/structural_anomalies"},
    {"btad", cz_layout_btad, true, "there is no folder train/ok or test/ko"},
    {"kolektor2", cz_layout_kolektor2, true, "there is no picture NAME_GT in train or test"},
    {"kolektor", cz_layout_kolektor, true, "there is no folder kosNN"},
    {"dagm", cz_layout_dagm, true, "there is no folder ClassN/Train or ClassN/Test"},
    {"headct", cz_layout_headct, true, "it has no file labels.csv with the columns id and hemorrhage"},
    {"br35h", cz_layout_br35h, true, "it has no folders yes, no and pred"},
    {"yesno", cz_layout_brainmri, true, "it has no folders yes and no"},
    {"brainmri", cz_layout_brainmri, false, "it has no folders yes and no"},
    {"magnetic_tile", cz_layout_magnetic_tile, true, "there is no folder MT_KIND/Imgs"},
    {"mvtec", cz_layout_mvtec, true, "neither it nor a folder of it has a folder train/good or test"},
    {"dtd_synthetic", cz_layout_mvtec, false, "neither it nor a folder of it has a folder train/good or test"},
    {"viaduct", cz_layout_viaduct, true, "no folder down to the third level has a folder train/good or test"},
    {"rsdd", cz_layout_rsdd, true, "there is no folder with a folder GroundTruth"},
    {"folder", cz_layout_folder, false, "it is no folder"},
};
#define LAYOUTS (sizeof layouts / sizeof *layouts)

const char *cz_dataset_layout_name(size_t index)
{
    return index < LAYOUTS ? layouts[index].name : NULL;
}

/* ---- lists --------------------------------------------------------------------------------------------------- */

cz_status cz_text_list_add(cz_text_list *list, const char *text)
{
    if (list->count == list->room) {
        const size_t room = list->room == 0 ? 16 : 2 * list->room;
        char **items = cz_grow(list->items, room, sizeof *items);
        if (items == NULL) return CZ_E_MEMORY;
        list->items = items;
        list->room = room;
    }
    list->items[list->count] = cz_strdup(text);
    return list->items[list->count] != NULL ? (list->count++, CZ_OK) : CZ_E_MEMORY;
}

void cz_text_list_free(cz_text_list *list)
{
    for (size_t i = 0; i < list->count; i++) cz_free(list->items[i]);
    cz_free(list->items);
    *list = (cz_text_list){0};
}

static void free_text(const char *text)
{
    cz_free((void *)(uintptr_t)text);
}

static void free_sample(cz_sample *s)
{
    for (size_t i = 0; i < s->mask_count; i++) free_text(s->masks[i]);
    cz_free((void *)(uintptr_t)s->masks);
    free_text(s->path);
    free_text(s->relative);
    free_text(s->category);
    free_text(s->kind);
}

/* ---- filling ------------------------------------------------------------------------------------------------- */

static cz_status copy_masks(const cz_dataset *d, cz_sample *s, const char *const *masks, size_t count)
{
    if (count == 0) return CZ_OK;
    const char **copies = cz_calloc(count, sizeof *copies);
    if (copies == NULL) return CZ_E_MEMORY;
    s->masks = copies;
    for (; s->mask_count < count; s->mask_count++) {
        copies[s->mask_count] = cz_below(d->mask_root != NULL ? d->mask_root : d->root, masks[s->mask_count]);
        if (copies[s->mask_count] == NULL) return CZ_E_MEMORY;
    }
    return CZ_OK;
}

cz_status cz_dataset_add(cz_dataset *d, const char *relative, const cz_sample_facts *facts, const char *const *masks,
                         size_t count)
{
    cz_status status;
    cz_sample s = {.label = facts->label, .split = facts->split, .mask_rule = facts->rule};
    if (d->count >= CZ_DATA_MAX_SAMPLES)
        return cz_fail(CZ_E_LIMIT, "%s: has more than %zu pictures", d->root, d->count);
    if (d->count == d->room) {
        const size_t room = d->room == 0 ? 256 : 2 * d->room;
        cz_sample *samples = cz_grow(d->samples, room, sizeof *samples);
        if (samples == NULL) return CZ_E_MEMORY;
        d->samples = samples;
        d->room = room;
    }
    CZ_TRY(copy_masks(d, &s, masks, count));
    s.path = cz_below(d->root, relative);
    s.relative = cz_below(d->prefix != NULL ? d->prefix : "", relative);
    s.category = cz_strdup(facts->category);
    s.kind = cz_strdup(facts->kind);
    if (s.path == NULL || s.relative == NULL || s.category == NULL || s.kind == NULL) {
        status = CZ_E_MEMORY;
        goto out;
    }
    d->samples[d->count++] = s;
    return CZ_OK;
out:
    free_sample(&s);
    return status;
}

cz_status cz_dataset_add_stray(cz_dataset *d, const char *relative)
{
    char *path = cz_below(d->mask_root != NULL ? d->mask_root : d->root, relative);
    const cz_status status = path != NULL ? cz_text_list_add(&d->stray, path) : CZ_E_MEMORY;
    cz_free(path);
    return status;
}

cz_status cz_dataset_add_strays(cz_dataset *d, const cz_listing *masks)
{
    cz_status status = CZ_OK;
    for (size_t i = 0; i < masks->count && status == CZ_OK; i++) {
        const cz_entry *e = &masks->entries[i];
        if (e->used || (!e->picture && !e->folder)) continue;
        char *path = cz_below(masks->below, e->name);
        status = path != NULL ? cz_dataset_add_stray(d, path) : CZ_E_MEMORY;
        cz_free(path);
    }
    return status;
}

cz_status cz_dataset_set_kind(cz_dataset *d, size_t index, const char *kind)
{
    char *copy = cz_strdup(kind);
    if (copy == NULL) return CZ_E_MEMORY;
    free_text(d->samples[index].kind);
    d->samples[index].kind = copy;
    return CZ_OK;
}

char *cz_dataset_own_name(const cz_dataset *d)
{
    char real[PATH_MAX];
    return cz_strdup(realpath(d->root, real) != NULL ? cz_name_last(real) : "");
}

static int compare_samples(const void *a, const void *b)
{
    const cz_sample *x = a, *y = b;
    int order = strcmp(x->category, y->category);
    if (order == 0) order = (x->split > y->split) - (x->split < y->split);
    return order != 0 ? order : strcmp(x->relative, y->relative);
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sorts, and lists the categories. */
static cz_status finish(cz_dataset *d)
{
    if (d->count > 1) qsort(d->samples, d->count, sizeof *d->samples, compare_samples);
    if (d->stray.count > 1) qsort(d->stray.items, d->stray.count, sizeof *d->stray.items, compare_texts);
    for (size_t i = 0; i < d->count; i++) {
        const char *name = d->samples[i].category;
        if (i > 0 && strcmp(d->samples[i - 1].category, name) == 0) continue;
        const cz_status status = cz_text_list_add(&d->categories, name);
        if (status != CZ_OK) return status;
    }
    return CZ_OK;
}

/* ---- opening ------------------------------------------------------------------------------------------------- */

static cz_status create(const char *root, cz_dataset **out)
{
    struct stat info;
    if (root == NULL || out == NULL) return cz_fail(CZ_E_ARG, "no folder, or nowhere to put the data set");
    if (strlen(root) >= CZ_DATA_MAX_PATH / 2) return cz_fail(CZ_E_LIMIT, "%.60s…: the path is too long", root);
    if (stat(root, &info) != 0) return cz_fail(CZ_E_IO, "%s: %s", root, strerror(errno));
    if (!S_ISDIR(info.st_mode)) return cz_fail(CZ_E_IO, "%s: is not a folder", root);
    cz_dataset *d = cz_calloc(1, sizeof *d);
    if (d == NULL) return CZ_E_MEMORY;
    d->root = cz_strdup(root);
    if (d->root == NULL) {
        cz_free(d);
        return CZ_E_MEMORY;
    }
    *out = d;
    return CZ_OK;
}

static cz_status detect(cz_dataset *d)
{
    for (size_t i = 0; i < LAYOUTS; i++) {
        bool found = false;
        if (!layouts[i].detected) continue;
        d->layout = layouts[i].name;
        const cz_status status = layouts[i].read(d, &found);
        if (status != CZ_OK || found) return status;
    }
    return cz_fail(
        CZ_E_NO_IMAGES,
        "%s: no known layout: neither train/good and test (mvtec) nor split.csv (csv) nor yes and no (yesno) "
        "nor one of the others",
        d->root);
}

static cz_status unknown_layout(const char *layout)
{
    char names[512] = "";
    for (size_t i = 0, used = 0; i < LAYOUTS; i++) {
        used += (size_t)snprintf(names + used, sizeof names - used, ", %s", layouts[i].name);
    }
    return cz_fail(CZ_E_ARG, "there is no layout \"%.40s\" (known: auto%s)", layout, names);
}

static cz_status read_named(cz_dataset *d, const char *layout)
{
    for (size_t i = 0; i < LAYOUTS; i++) {
        if (strcmp(layout, layouts[i].name) != 0) continue;
        bool found = false;
        d->layout = layouts[i].name;
        d->named = true;
        const cz_status status = layouts[i].read(d, &found);
        if (status != CZ_OK || found) return status;
        return cz_fail(CZ_E_NO_IMAGES, "%s: is not laid out as %s: %s", d->root, layout, layouts[i].expecting);
    }
    return unknown_layout(layout);
}

/* Hands `d` out, or closes it. */
static cz_status settle(cz_dataset *d, cz_status status, cz_dataset **out)
{
    if (status == CZ_OK) status = finish(d);
    if (status == CZ_OK) {
        *out = d;
    } else {
        cz_dataset_close(d);
    }
    return status;
}

cz_status cz_dataset_open(const char *root, const char *layout, cz_dataset **out)
{
    cz_dataset *d = NULL;
    cz_error_clear();
    const cz_status status = create(root, out != NULL ? &d : NULL);
    if (status != CZ_OK) return status;
    const bool any = layout == NULL || strcmp(layout, "auto") == 0;
    return settle(d, any ? detect(d) : read_named(d, layout), out);
}

cz_status cz_dataset_open_manifest(const char *path, cz_dataset **out)
{
    cz_dataset *d = NULL;
    cz_error_clear();
    if (path == NULL || out == NULL) return cz_fail(CZ_E_ARG, "no manifest, or nowhere to put the data set");
    const char *name = cz_name_last(path);
    const size_t length = (size_t)(name - path);
    char *folder = length > 0 ? cz_strndup(path, length > 1 ? length - 1 : 1) : cz_strdup(".");
    cz_status status = folder != NULL ? create(folder, &d) : CZ_E_MEMORY;
    cz_free(folder);
    if (status != CZ_OK) return status;
    const char *dot = strrchr(name, '.');
    d->layout = dot != NULL && strncmp(dot, ".csv", 4) != 0 ? "jsonl" : "csv";
    status = cz_manifest_read(d, name);
    return settle(d, status, out);
}

cz_status cz_dataset_open_folders(const char *normal, const char *abnormal, const char *masks, cz_dataset **out)
{
    cz_dataset *d = NULL;
    cz_error_clear();
    const cz_status status = create(normal, out != NULL ? &d : NULL);
    if (status != CZ_OK) return status;
    d->layout = "folder";
    return settle(d, cz_read_folders(d, abnormal, masks), out);
}

void cz_dataset_close(cz_dataset *d)
{
    if (d == NULL) return;
    for (size_t i = 0; i < d->count; i++) free_sample(&d->samples[i]);
    cz_free(d->samples);
    cz_text_list_free(&d->categories);
    cz_text_list_free(&d->stray);
    cz_free(d->root);
    cz_free(d);
}

/* ---- asking -------------------------------------------------------------------------------------------------- */

const char *cz_dataset_layout(const cz_dataset *d)
{
    return d != NULL ? d->layout : "";
}

size_t cz_dataset_count(const cz_dataset *d)
{
    return d != NULL ? d->count : 0;
}

const cz_sample *cz_dataset_at(const cz_dataset *d, size_t index)
{
    return d != NULL && index < d->count ? &d->samples[index] : NULL;
}

size_t cz_dataset_categories(const cz_dataset *d)
{
    return d != NULL ? d->categories.count : 0;
}

const char *cz_dataset_category(const cz_dataset *d, size_t index)
{
    return d != NULL && index < d->categories.count ? d->categories.items[index] : NULL;
}

size_t cz_dataset_stray_masks(const cz_dataset *d)
{
    return d != NULL ? d->stray.count : 0;
}

const char *cz_dataset_stray_mask(const cz_dataset *d, size_t index)
{
    return d != NULL && index < d->stray.count ? d->stray.items[index] : NULL;
}
