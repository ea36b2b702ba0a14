/* SPDX-License-Identifier: Apache-2.0 */
/* Layouts of data sets. */
#include "inputs_internal.h"

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

static bool has_table(const char *root)
{
    char *csv = input_join(root, "split.csv");
    struct stat info;
    const bool yes = csv != NULL && stat(csv, &info) == 0 && S_ISREG(info.st_mode);
    free(csv);
    return yes;
}

const char *inputs_detect_layout(const char *root)
{
    if (has_table(root)) return "csv";
    if (input_is_folder(root, "test") || input_is_folder(root, "train/good")) return "mvtec";
    return input_is_folder(root, "yes") && input_is_folder(root, "no") ? "yesno" : NULL;
}

/* ---- folders ------------------------------------------------------------------------------------------------------ */

/* All below ROOT/BELOW. */
static cz_status add_folder(input_list *list, const char *root, const char *below, const input_kind *k)
{
    char *folder = below[0] != '\0' ? input_join(root, below) : strdup(root);
    const cz_status status =
        folder != NULL ? input_walk(list, folder, below, k, 0) : cz_source_error(CZ_E_MEMORY, "out of memory");
    free(folder);
    return status;
}

static cz_status add_kind(input_list *list, const char *root, const char *part, const char *name, input_split split)
{
    char below[512], masks[512];
    if (snprintf(below, sizeof below, "%s/%s", part, name) >= (int)sizeof below ||
        snprintf(masks, sizeof masks, "ground_truth/%s", name) >= (int)sizeof masks) {
        return input_fail(CZ_E_LIMIT, root, "a folder's name is too long");
    }
    const int label = strcmp(name, "good") == 0 ? 0 : 1;
    char *mask_folder = label == 1 ? input_join(root, masks) : NULL;
    if (label == 1 && mask_folder == NULL) return cz_source_error(CZ_E_MEMORY, "out of memory");
    const input_kind k = {name, mask_folder, label, split, 0};
    const cz_status status = add_folder(list, root, below, &k);
    free(mask_folder);
    return status;
}

static cz_status add_mvtec(input_list *list, const char *root)
{
    cz_status status = CZ_OK;
    if (input_is_folder(root, "train/good")) status = add_kind(list, root, "train", "good", INPUT_TRAIN);
    if (status != CZ_OK || !input_is_folder(root, "test")) return status;
    char *test = input_join(root, "test");
    struct dirent **entries = NULL;
    const int count = test != NULL ? scandir(test, &entries, input_visible, alphasort) : -1;
    if (count < 0) status = input_fail(CZ_E_IO, root, "test folder cannot be read");
    for (int i = 0; i < count; i++) {
        if (status == CZ_OK && input_is_folder(test, entries[i]->d_name)) {
            status = add_kind(list, root, "test", entries[i]->d_name, INPUT_TEST);
        }
        free(entries[i]);
    }
    free(entries);
    free(test);
    return status;
}

/* Nothing is set aside for training: every photo is a test photo, and there are no masks. */
static cz_status add_yesno(input_list *list, const char *root)
{
    const input_kind normal = {"good", NULL, 0, INPUT_TEST, 0}, anomalous = {"yes", NULL, 1, INPUT_TEST, 0};
    const cz_status status = add_folder(list, root, "no", &normal);
    return status == CZ_OK ? add_folder(list, root, "yes", &anomalous) : status;
}

/* ---- split.csv ---------------------------------------------------------------------------------------------------- */

/* Relative and without "..": it stays below the root. */
static bool stays_below(const char *path)
{
    if (path[0] == '/' || path[0] == '\0') return false;
    for (const char *p = path; p != NULL; p = strchr(p, '/')) {
        if (*p == '/') p++;
        if (strncmp(p, "..", 2) == 0 && (p[2] == '/' || p[2] == '\0')) return false;
    }
    return true;
}

enum { COLUMN_PATH, COLUMN_SPLIT, COLUMN_LABEL, COLUMN_MASK, COLUMNS };

typedef struct table {
    const char *root;
    bool training; /* only the rows to train on: split train, label 0 or empty */
    size_t group;
    size_t column[COLUMNS]; /* SIZE_MAX: not there */
} table;

/* Splits a line at commas, in place (fields with quotes are refused: the layout never has them). */
static size_t split_fields(char *line, char **fields, size_t most)
{
    size_t count = 0;
    line[strcspn(line, "\r\n")] = '\0';
    for (char *p = line; count < most; p++) {
        fields[count++] = p;
        p = strchr(p, ',');
        if (p == NULL) break;
        *p = '\0';
    }
    return count;
}

static cz_status read_header(table *t, char *const *fields, size_t count, const char *path)
{
    static const char *const names[COLUMNS] = {"path", "split", "label", "mask"};
    for (size_t c = 0; c < COLUMNS; c++) {
        t->column[c] = SIZE_MAX;
        for (size_t i = 0; i < count; i++) {
            if (strcmp(fields[i], names[c]) == 0) t->column[c] = i;
        }
    }
    return t->column[COLUMN_PATH] != SIZE_MAX ? CZ_OK : input_fail(CZ_E_FORMAT, path, "there is no column \"path\"");
}

static cz_status add_row(input_list *list, const table *t, char *const *fields, size_t count)
{
    const char *value[COLUMNS];
    for (size_t i = 0; i < COLUMNS; i++) value[i] = t->column[i] < count ? fields[t->column[i]] : "";
    if (!stays_below(value[COLUMN_PATH]) || (value[COLUMN_MASK][0] != '\0' && !stays_below(value[COLUMN_MASK]))) {
        return input_fail(CZ_E_FORMAT, value[COLUMN_PATH], "a path in split.csv leaves its folder or is empty");
    }
    const char *label = value[COLUMN_LABEL];
    if (label[0] != '\0' && ((label[0] != '0' && label[0] != '1') || label[1] != '\0')) {
        /* Taken for unlabelled, a defective photo would be trained on. */
        return input_fail(CZ_E_FORMAT, value[COLUMN_PATH], "its label in split.csv is neither 0 nor 1 nor empty");
    }
    const input_split split = strcmp(value[COLUMN_SPLIT], "train") == 0  ? INPUT_TRAIN
                              : strcmp(value[COLUMN_SPLIT], "test") == 0 ? INPUT_TEST
                                                                         : INPUT_ANY;
    const bool normal = label[0] == '0';
    const input_kind k = {normal ? "good" : "", NULL, label[0] == '\0' ? -1 : normal ? 0 : 1, split, t->group};
    if (t->training && (split != INPUT_TRAIN || k.label == 1)) return CZ_OK;
    char *mask = value[COLUMN_MASK][0] != '\0' ? input_join(t->root, value[COLUMN_MASK]) : NULL;
    return input_add(list, input_join(t->root, value[COLUMN_PATH]), strdup(value[COLUMN_PATH]), mask, &k);
}

static cz_status add_csv(input_list *list, table *t)
{
    char line[4096], *fields[16];
    char *path = input_join(t->root, "split.csv");
    FILE *file = path != NULL ? fopen(path, "re") : NULL;
    cz_status status = CZ_OK;
    bool header = true;
    if (file == NULL) status = input_fail(CZ_E_IO, t->root, "split.csv cannot be opened");
    while (status == CZ_OK && fgets(line, sizeof line, file) != NULL) {
        if (strlen(line) == sizeof line - 1 || strchr(line, '"') != NULL) {
            status = input_fail(CZ_E_FORMAT, path, "a line is too long or has quotes");
            break;
        }
        const size_t count = split_fields(line, fields, 16);
        if (count == 1 && fields[0][0] == '\0') continue;
        status = header ? read_header(t, fields, count, path) : add_row(list, t, fields, count);
        header = false;
    }
    if (status == CZ_OK && ferror(file)) status = input_fail(CZ_E_IO, path, "cannot be read");
    if (file != NULL) (void)fclose(file);
    free(path);
    return status;
}

/* ---- the layouts by name ------------------------------------------------------------------------------------------ */

cz_status inputs_add_dataset(input_list *list, const char *root, const char *layout)
{
    if (layout == NULL || strcmp(layout, "auto") == 0) layout = inputs_detect_layout(root);
    if (layout == NULL) {
        return input_fail(CZ_E_NO_IMAGES, root,
                          "no known layout: neither train/good and test (mvtec) nor split.csv (csv) nor yes and no "
                          "(yesno)");
    }
    table t = {.root = root};
    if (strcmp(layout, "csv") == 0) return add_csv(list, &t);
    return strcmp(layout, "yesno") == 0 ? add_yesno(list, root) : add_mvtec(list, root);
}

bool dataset_is_source_layout(const char *layout)
{
    static const char *const names[] = {"mvtec", "folder", "csv", "yesno"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(layout, names[i]) == 0) return true;
    }
    return false;
}

bool dataset_fits(const char *root, const char *layout)
{
    if (strcmp(layout, "mvtec") == 0) return input_is_folder(root, "train/good");
    if (strcmp(layout, "csv") == 0) return has_table(root);
    return input_is_folder(root, strcmp(layout, "yesno") == 0 ? "no" : ".");
}

cz_status dataset_add_training(input_list *list, const char *root, const char *layout, size_t group)
{
    const input_kind normal = {"good", NULL, 0, INPUT_TRAIN, group};
    table t = {.root = root, .training = true, .group = group};
    if (strcmp(layout, "csv") == 0) return add_csv(list, &t);
    if (strcmp(layout, "mvtec") == 0) return add_folder(list, root, "train/good", &normal);
    return add_folder(list, root, strcmp(layout, "yesno") == 0 ? "no" : "", &normal);
}
