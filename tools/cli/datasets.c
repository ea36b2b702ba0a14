/* SPDX-License-Identifier: Apache-2.0 */
/* From data sets to lists of inputs. */
#include "datasets.h"

#include "eval_pixels.h"
#include "inputs_internal.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

bool input_is_folder(const char *root, const char *name)
{
    char *path = input_join(root, name);
    struct stat info;
    const bool yes = path != NULL && stat(path, &info) == 0 && S_ISDIR(info.st_mode);
    free(path);
    return yes;
}

/* One of `names`, separated by '|'. */
static bool is_among(const char *name, const char *names)
{
    const size_t length = strlen(name);
    for (const char *p = names; p != NULL && length > 0; p = strchr(p, '|')) {
        if (*p == '|') p++;
        if (strncmp(p, name, length) == 0 && (p[length] == '|' || p[length] == '\0')) return true;
    }
    return false;
}

bool dataset_is_layout(const char *name)
{
    for (size_t i = 0; cz_dataset_layout_name(i) != NULL; i++) {
        if (strcmp(cz_dataset_layout_name(i), name) == 0) return true;
    }
    return false;
}

cz_status dataset_label(const cz_sample *sample, const cz_read_options *options, int *label)
{
    *label = sample->label;
    if (sample->label >= 0 || sample->mask_count == 0) return CZ_OK;
    cz_picture truth = {0};
    const cz_status status = eval_read_masks(sample->masks, sample->mask_count, sample->mask_rule, options, &truth);
    if (status != CZ_OK) return status;
    *label = 0;
    for (size_t y = 0; y < truth.image.height && *label == 0; y++) {
        const uint8_t *row = (const uint8_t *)truth.image.data + y * truth.image.stride;
        for (size_t x = 0; x < truth.image.width && *label == 0; x++) *label = row[x] != 0;
    }
    cz_picture_free(&truth);
    return CZ_OK;
}

/* Whether a set is one category by itself, or a folder of them; a table may name several. */
static bool is_single(const cz_dataset *d, const char *root)
{
    const char *layout = cz_dataset_layout(d);
    if (is_among(layout, "csv|jsonl")) return true;
    if (!is_among(layout, "mvtec|loco|btad|visa|viaduct")) return cz_dataset_categories(d) < 2;
    return input_is_folder(root, "test") || input_is_folder(root, "test_public") ||
           input_is_folder(root, "train/good") || input_is_folder(root, "train/ok");
}

const char *inputs_detect_layout(const char *root)
{
    cz_dataset *d = NULL;
    const char *layout = NULL;
    if (cz_dataset_open(root, NULL, &d) == CZ_OK && is_single(d, root)) {
        layout = cz_dataset_layout(d); /* a constant of the library */
    }
    cz_dataset_close(d);
    return layout;
}

/* ---- samples to inputs -------------------------------------------------------------------------------------------- */

static cz_status add_sample(input_list *list, const cz_sample *s, size_t group)
{
    int label;
    const cz_read_options read = CZ_READ_OPTIONS_INIT;
    const cz_status status = dataset_label(s, &read, &label);
    if (status != CZ_OK) return status;
    const input_split split = s->split == CZ_SPLIT_TRAIN  ? INPUT_TRAIN
                              : s->split == CZ_SPLIT_TEST ? INPUT_TEST
                              : s->split == CZ_SPLIT_ANY  ? INPUT_ANY
                                                          : INPUT_VALIDATION;
    const input_kind k = {s->kind, label, split, group};
    return input_add(list, strdup(s->path), strdup(s->relative), &k);
}

/* One group for each category. */
static cz_status name_groups(input_list *list, const cz_dataset *d)
{
    const size_t count = cz_dataset_categories(d);
    if (count < 2) return CZ_OK;
    list->groups = calloc(count, sizeof *list->groups);
    if (list->groups == NULL) return cz_source_error(CZ_E_MEMORY, "out of memory");
    for (; list->group_count < count; list->group_count++) {
        const char *name = cz_dataset_category(d, list->group_count);
        list->groups[list->group_count] = strdup(name[0] != '\0' ? name : "(none)");
        if (list->groups[list->group_count] == NULL) return cz_source_error(CZ_E_MEMORY, "out of memory");
    }
    return CZ_OK;
}

cz_status inputs_add_dataset(input_list *list, const char *root, const char *layout)
{
    cz_dataset *d = NULL;
    cz_status status = cz_dataset_open(root, layout, &d);
    if (status == CZ_OK) status = name_groups(list, d);
    size_t group = 0;
    for (size_t i = 0; status == CZ_OK && i < cz_dataset_count(d); i++) {
        const cz_sample *s = cz_dataset_at(d, i);
        /* sorted by category, as the groups are */
        while (group < list->group_count && strcmp(cz_dataset_category(d, group), s->category) != 0) group++;
        status = add_sample(list, s, group);
    }
    for (size_t i = 0; status == CZ_OK && i < list->group_count; i++)
        status = labelled_add(list, d, cz_dataset_category(d, i), i);
    if (status == CZ_OK && list->group_count == 0) status = labelled_add(list, d, NULL, 0);
    cz_dataset_close(d);
    return status;
}

/* ---- sources ------------------------------------------------------------------------------------------------------ */

/* A photo that a source is trained on: normal or, in a table or a plain folder, of no label. Sets that put nothing aside for
 * training give what is known to be normal. */
static cz_status is_training(const cz_sample *s, bool undivided, bool plain, bool *yes)
{
    const cz_read_options read = CZ_READ_OPTIONS_INIT;
    int label = s->label;
    cz_status status = CZ_OK;
    *yes = undivided || s->split == CZ_SPLIT_TRAIN;
    if (*yes) status = dataset_label(s, &read, &label);
    *yes = *yes && (undivided && !plain ? label == 0 : label != 1);
    return status;
}

cz_status dataset_add_training(input_list *list, const cz_dataset *d, const char *category, size_t group)
{
    cz_status status = CZ_OK;
    const bool plain = strcmp(cz_dataset_layout(d), "folder") == 0;
    bool undivided = plain || is_among(cz_dataset_layout(d), "yesno|brainmri|br35h|headct|kolektor|rsdd|magnetic_tile");
    for (size_t i = 0; i < cz_dataset_count(d); i++) {
        if (cz_dataset_at(d, i)->split == CZ_SPLIT_TRAIN) undivided = false;
    }
    for (size_t i = 0; status == CZ_OK && i < cz_dataset_count(d); i++) {
        const cz_sample *s = cz_dataset_at(d, i);
        bool yes;
        if (category != NULL && strcmp(s->category, category) != 0) continue;
        status = is_training(s, undivided, plain, &yes);
        const input_kind k = {"good", 0, INPUT_TRAIN, group};
        if (status == CZ_OK && yes) status = input_add(list, strdup(s->path), strdup(s->relative), &k);
    }
    return status;
}

bool dataset_fits(const char *root, const char *layout)
{
    /* What training needs, where a folder can be told by its name alone. */
    if (is_among(layout, "mvtec|loco|dtd_synthetic|viaduct")) return input_is_folder(root, "train/good");
    if (is_among(layout, "folder|yesno|brainmri"))
        return input_is_folder(root, strcmp(layout, "folder") == 0 ? "." : "no");
    cz_dataset *d = NULL;
    const cz_status status = cz_dataset_open(root, layout, &d);
    const bool table = is_among(layout, "csv|jsonl");
    /* a damaged table is one: opening it again says what is wrong */
    const bool yes = status == CZ_OK ? table || cz_dataset_categories(d) < 2
                                     : table && status != CZ_E_NO_IMAGES && status != CZ_E_IO;
    cz_dataset_close(d);
    return yes;
}
