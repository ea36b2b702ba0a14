/* SPDX-License-Identifier: Apache-2.0 */
#include "inputs.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_DEPTH 32

static cz_status fail(cz_status status, const char *path, const char *reason)
{
    char line[1024];
    (void)snprintf(line, sizeof line, "%s: %s", path, reason);
    return cz_source_error(status, line);
}

static char *join(const char *a, const char *b)
{
    const size_t la = strlen(a), lb = strlen(b);
    const bool slash = la > 0 && a[la - 1] != '/';
    char *out = malloc(la + lb + 2);
    if (out == NULL) return NULL;
    memcpy(out, a, la);
    if (slash) out[la] = '/';
    memcpy(out + la + (slash ? 1 : 0), b, lb + 1);
    return out;
}

void inputs_free(input_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->items[i].path);
        free(list->items[i].relative);
        free(list->items[i].mask);
        free(list->items[i].category);
    }
    free(list->items);
    *list = (input_list){NULL, 0, 0};
}

/* Takes over `path`, `relative` and `mask` in any case. */
static cz_status add(input_list *list, char *path, char *relative, char *mask, const char *category, int label,
                     input_split split)
{
    char *category_copy = strdup(category);
    if (list->count == list->room) {
        const size_t room = list->room == 0 ? 64 : 2 * list->room;
        input *items = realloc(list->items, room * sizeof *items);
        if (items != NULL) {
            list->items = items;
            list->room = room;
        }
    }
    if (path == NULL || relative == NULL || category_copy == NULL || list->count == list->room) {
        free(path);
        free(relative);
        free(mask);
        free(category_copy);
        return cz_source_error(CZ_E_MEMORY, "out of memory");
    }
    list->items[list->count++] = (input){path, relative, mask, category_copy, label, split};
    return CZ_OK;
}

static int visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

/* What every file found below a folder is given. */
typedef struct kind {
    const char *category, *mask_folder;
    int label;
    input_split split;
} kind;

/* MASKS/NAME_mask.png for NAME.any; NULL when there is none. */
static char *find_mask(const char *folder, const char *name)
{
    const char *dot = strrchr(name, '.');
    const size_t stem = dot != NULL ? (size_t)(dot - name) : strlen(name);
    static const char *const endings[] = {"_mask.png", ".png"};
    for (size_t i = 0; i < 2; i++) {
        char file[512];
        if (snprintf(file, sizeof file, "%.*s%s", (int)stem, name, endings[i]) >= (int)sizeof file) continue;
        char *path = join(folder, file);
        struct stat info;
        if (path != NULL && stat(path, &info) == 0 && S_ISREG(info.st_mode)) return path;
        free(path);
    }
    return NULL;
}

static cz_status walk(input_list *list, const char *folder, const char *below, const kind *k, int depth)
{
    struct dirent **entries = NULL;
    if (depth > MAX_DEPTH) return fail(CZ_E_LIMIT, folder, "folders are nested too deeply");
    const int count = scandir(folder, &entries, visible, alphasort);
    if (count < 0) return fail(CZ_E_IO, folder, strerror(errno));
    cz_status status = CZ_OK;
    for (int i = 0; i < count; i++) {
        const char *name = entries[i]->d_name;
        char *path = join(folder, name), *relative = below[0] != '\0' ? join(below, name) : strdup(name);
        struct stat info;
        if (status != CZ_OK || path == NULL || relative == NULL || lstat(path, &info) != 0) {
            if (path == NULL || relative == NULL) status = cz_source_error(CZ_E_MEMORY, "out of memory");
            free(path);
            free(relative);
        } else if (S_ISDIR(info.st_mode)) {
            status = walk(list, path, relative, k, depth + 1);
            free(path);
            free(relative);
        } else if (!S_ISDIR(info.st_mode) && cz_picture_is_name(name)) {
            char *mask = k->mask_folder != NULL ? find_mask(k->mask_folder, name) : NULL;
            status = add(list, path, relative, mask, k->category, k->label, k->split);
        } else {
            free(path);
            free(relative);
        }
        free(entries[i]);
    }
    free(entries);
    return status;
}

cz_status inputs_add_path(input_list *list, const char *path)
{
    struct stat info;
    if (stat(path, &info) != 0) return fail(CZ_E_IO, path, strerror(errno));
    const kind any = {"", NULL, -1, INPUT_ANY};
    if (S_ISDIR(info.st_mode)) return walk(list, path, "", &any, 0);
    const char *slash = strrchr(path, '/');
    return add(list, strdup(path), strdup(slash != NULL ? slash + 1 : path), NULL, "", -1, INPUT_ANY);
}

/* ---- data sets --------------------------------------------------------------------------------------------------- */

static bool is_folder(const char *root, const char *name)
{
    char *path = join(root, name);
    struct stat info;
    const bool yes = path != NULL && stat(path, &info) == 0 && S_ISDIR(info.st_mode);
    free(path);
    return yes;
}

const char *inputs_detect_layout(const char *root)
{
    char *csv = join(root, "split.csv");
    struct stat info;
    const bool has_csv = csv != NULL && stat(csv, &info) == 0 && S_ISREG(info.st_mode);
    free(csv);
    if (has_csv) return "csv";
    return is_folder(root, "test") || is_folder(root, "train/good") ? "mvtec" : NULL;
}

static cz_status add_kind(input_list *list, const char *root, const char *part, const char *name, input_split split)
{
    char below[512], masks[512];
    if (snprintf(below, sizeof below, "%s/%s", part, name) >= (int)sizeof below ||
        snprintf(masks, sizeof masks, "ground_truth/%s", name) >= (int)sizeof masks) {
        return fail(CZ_E_LIMIT, root, "a folder's name is too long");
    }
    const int label = strcmp(name, "good") == 0 ? 0 : 1;
    char *folder = join(root, below), *mask_folder = label == 1 ? join(root, masks) : NULL;
    cz_status status = CZ_OK;
    if (folder == NULL || (label == 1 && mask_folder == NULL)) status = cz_source_error(CZ_E_MEMORY, "out of memory");
    const kind k = {name, mask_folder, label, split};
    if (status == CZ_OK) status = walk(list, folder, below, &k, 0);
    free(folder);
    free(mask_folder);
    return status;
}

static cz_status add_mvtec(input_list *list, const char *root)
{
    cz_status status = CZ_OK;
    if (is_folder(root, "train/good")) status = add_kind(list, root, "train", "good", INPUT_TRAIN);
    if (status != CZ_OK || !is_folder(root, "test")) return status;
    char *test = join(root, "test");
    struct dirent **entries = NULL;
    const int count = test != NULL ? scandir(test, &entries, visible, alphasort) : -1;
    if (count < 0) status = fail(CZ_E_IO, root, "test folder cannot be read");
    for (int i = 0; i < count; i++) {
        if (status == CZ_OK && is_folder(test, entries[i]->d_name)) {
            status = add_kind(list, root, "test", entries[i]->d_name, INPUT_TEST);
        }
        free(entries[i]);
    }
    free(entries);
    free(test);
    return status;
}

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

static cz_status add_row(input_list *list, const char *root, char *const *fields, size_t count, const size_t *column)
{
    const char *value[COLUMNS];
    for (size_t i = 0; i < COLUMNS; i++) value[i] = column[i] < count ? fields[column[i]] : "";
    if (!stays_below(value[COLUMN_PATH]) || (value[COLUMN_MASK][0] != '\0' && !stays_below(value[COLUMN_MASK]))) {
        return fail(CZ_E_FORMAT, value[COLUMN_PATH], "a path in split.csv leaves its folder or is empty");
    }
    const input_split split = strcmp(value[COLUMN_SPLIT], "train") == 0  ? INPUT_TRAIN
                              : strcmp(value[COLUMN_SPLIT], "test") == 0 ? INPUT_TEST
                                                                         : INPUT_ANY;
    const int label = strcmp(value[COLUMN_LABEL], "0") == 0 ? 0 : strcmp(value[COLUMN_LABEL], "1") == 0 ? 1 : -1;
    char *mask = value[COLUMN_MASK][0] != '\0' ? join(root, value[COLUMN_MASK]) : NULL;
    return add(list, join(root, value[COLUMN_PATH]), strdup(value[COLUMN_PATH]), mask, label == 0 ? "good" : "", label,
               split);
}

static cz_status add_csv(input_list *list, const char *root)
{
    static const char *const names[COLUMNS] = {"path", "split", "label", "mask"};
    size_t column[COLUMNS] = {SIZE_MAX, SIZE_MAX, SIZE_MAX, SIZE_MAX};
    char line[4096], *fields[16];
    char *path = join(root, "split.csv");
    FILE *file = path != NULL ? fopen(path, "re") : NULL;
    cz_status status = CZ_OK;
    bool header = true;
    if (file == NULL) status = fail(CZ_E_IO, root, "split.csv cannot be opened");
    while (status == CZ_OK && fgets(line, sizeof line, file) != NULL) {
        if (strlen(line) == sizeof line - 1 || strchr(line, '"') != NULL) {
            status = fail(CZ_E_FORMAT, path, "a line is too long or has quotes");
            break;
        }
        const size_t count = split_fields(line, fields, 16);
        if (count == 1 && fields[0][0] == '\0') continue;
        for (size_t i = 0; header && i < count; i++) {
            for (size_t c = 0; c < COLUMNS; c++) {
                if (strcmp(fields[i], names[c]) == 0) column[c] = i;
            }
        }
        if (header && column[COLUMN_PATH] == SIZE_MAX) status = fail(CZ_E_FORMAT, path, "there is no column \"path\"");
        if (!header) status = add_row(list, root, fields, count, column);
        header = false;
    }
    if (file != NULL) (void)fclose(file);
    free(path);
    return status;
}

cz_status inputs_add_dataset(input_list *list, const char *root, const char *layout)
{
    if (layout == NULL || strcmp(layout, "auto") == 0) layout = inputs_detect_layout(root);
    if (layout == NULL) {
        return fail(CZ_E_NO_IMAGES, root, "no known layout: neither train/good and test (mvtec) nor split.csv (csv)");
    }
    return strcmp(layout, "csv") == 0 ? add_csv(list, root) : add_mvtec(list, root);
}

/* ---- sources ------------------------------------------------------------------------------------------------------ */

cz_status input_source_open(const input_list *list, input_split split, const cz_read_options *read, input_source *out)
{
    memset(out, 0, sizeof *out);
    out->list = list;
    out->read = *read;
    out->chosen = malloc((list->count + 1) * sizeof *out->chosen);
    if (out->chosen == NULL) return cz_source_error(CZ_E_MEMORY, "out of memory");
    for (size_t i = 0; i < list->count; i++) {
        const input *item = &list->items[i];
        if ((split == INPUT_ANY || item->split == split) && item->label != 1) out->chosen[out->count++] = i;
    }
    return CZ_OK;
}

void input_source_free(input_source *s)
{
    free(s->chosen);
    cz_picture_free(&s->picture);
    memset(s, 0, sizeof *s);
}

static cz_status load(void *ctx, size_t index, cz_image *out)
{
    input_source *s = ctx;
    const cz_status status = cz_picture_read(s->list->items[s->chosen[index]].path, &s->read, &s->picture);
    if (status == CZ_OK) *out = s->picture.image;
    if (status != CZ_OK) s->failed++;
    return status;
}

static void release(void *ctx, size_t index, cz_image *image)
{
    (void)index;
    (void)image;
    input_source *s = ctx;
    cz_picture_free(&s->picture);
}

static const char *name_of(void *ctx, size_t index)
{
    const input_source *s = ctx;
    return s->list->items[s->chosen[index]].path;
}

cz_image_source input_source_callbacks(input_source *s)
{
    cz_image_source source = CZ_IMAGE_SOURCE_INIT;
    source.count = s->count;
    source.load = load;
    source.release = release;
    source.name = name_of;
    source.ctx = s;
    return source;
}

/* ---- small parsers -------------------------------------------------------------------------------------------------- */

static bool parse_numbers(const char *text, char separator, size_t *out, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (*text < '0' || *text > '9') return false;
        char *end;
        errno = 0;
        const unsigned long value = strtoul(text, &end, 10);
        if (errno != 0 || value > 1u << 24) return false;
        out[i] = value;
        if (*end != (i + 1 < count ? separator : '\0')) return false;
        text = end + 1;
    }
    return true;
}

bool parse_roi(const char *text, cz_roi *out)
{
    size_t v[4];
    if (!parse_numbers(text, ',', v, 4) || v[2] == 0 || v[3] == 0) return false;
    *out = (cz_roi){v[0], v[1], v[2], v[3]};
    return true;
}

bool parse_size(const char *text, size_t *width, size_t *height)
{
    size_t v[2];
    if (parse_numbers(text, 'x', v, 2)) {
        *width = v[0];
        *height = v[1];
        return true;
    }
    if (!parse_numbers(text, 'x', v, 1)) return false;
    *width = *height = v[0];
    return true;
}

cz_fit parse_fit(const char *name)
{
    return strcmp(name, "letterbox") == 0 ? CZ_FIT_LETTERBOX : strcmp(name, "crop") == 0 ? CZ_FIT_CROP : CZ_FIT_SQUASH;
}
