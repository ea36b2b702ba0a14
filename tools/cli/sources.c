/* SPDX-License-Identifier: Apache-2.0 */
/* --source arguments, and what cz_train is told about photos. */
#include "datasets.h"
#include "inputs_internal.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_CATEGORIES ((size_t)4096)
#define LAYOUT_LIST                                                                                                    \
    "mvtec, folder, csv, yesno, jsonl, loco, visa, btad, kolektor, kolektor2, rsdd, dagm, headct, br35h, viaduct, …"

/* ---- ROOT:LAYOUT[:CATEGORY,…] -------------------------------------------------------------------------------------- */

typedef struct source_spec {
    char *text; /* the fields below point into it */
    char *root, *layout;
    char **categories;
    size_t count;
} source_spec;

static void free_spec(source_spec *s)
{
    free(s->text);
    free(s->categories);
    memset(s, 0, sizeof *s);
}

static cz_status bad_source(const char *text, const char *reason)
{
    char line[700];
    (void)snprintf(line, sizeof line, "--source \"%.400s\": %s", text, reason);
    return cz_source_error(CZ_E_ARG, line);
}

static bool add_category(source_spec *s, char *name)
{
    char **categories = realloc(s->categories, (s->count + 1) * sizeof *categories);
    if (categories == NULL) return false;
    s->categories = categories;
    s->categories[s->count++] = name;
    return true;
}

/* Cuts `s->text` at unescaped separators, in place: fields[0] ROOT, [1] LAYOUT, then one for each category. */
static const char *cut_fields(source_spec *s, const char *text)
{
    char *out = s->text, *field = out;
    size_t fields = 0;
    for (const char *p = text;; p++) {
        const bool separator = *p == '\0' || *p == ':' || (*p == ',' && fields >= 2);
        if (!separator) {
            if (*p == '\\' && *++p == '\0') return "ends with a backslash";
            *out++ = *p;
            continue;
        }
        if (*p == ':' && fields >= 2) return "has a third ':' (one in a name is written \\:)";
        *out++ = '\0';
        if (field[0] == '\0') return "has an empty part";
        if (fields == 0) s->root = field;
        if (fields == 1) s->layout = field;
        if (fields >= 2 && (s->count >= MAX_CATEGORIES || !add_category(s, field))) return "names too many categories";
        fields++;
        field = out;
        if (*p == '\0') break;
    }
    if (fields < 2) return "is not ROOT:LAYOUT[:CATEGORY,...] (a ':' in ROOT is written \\:)";
    return dataset_is_layout(s->layout) ? NULL : "the layout is not one of " LAYOUT_LIST;
}

static cz_status parse_spec(const char *text, source_spec *out)
{
    memset(out, 0, sizeof *out);
    out->text = malloc(strlen(text) + 1);
    if (out->text == NULL) return cz_source_error(CZ_E_MEMORY, "out of memory");
    const char *problem = cut_fields(out, text);
    return problem == NULL ? CZ_OK : bad_source(text, problem);
}

cz_status inputs_check_source(const char *text)
{
    source_spec s;
    const cz_status status = parse_spec(text, &s);
    free_spec(&s);
    return status;
}

/* ---- categories ----------------------------------------------------------------------------------------------------- */

/* Where the last `parts` components of an absolute path begin; the whole path when it has no more of them. */
static const char *last_parts(const char *path, size_t parts)
{
    const char *p = path + strlen(path);
    while (p > path) {
        if (p[-1] == '/' && --parts == 0) break;
        p--;
    }
    return *p != '\0' ? p : path;
}

static bool is_taken(const input_list *list, const char *name)
{
    for (size_t i = 0; i < list->group_count; i++) {
        if (strcmp(list->groups[i], name) == 0) return true;
    }
    return false;
}

/* The folder's last components, as many (from `parts` on) as tell it from the categories before it; a folder that was
 * given before gets a number. */
static char *make_name(const input_list *list, const char *real, size_t parts)
{
    const char *name = last_parts(real, parts);
    while (is_taken(list, name) && name > real + 1) name = last_parts(real, ++parts);
    if (!is_taken(list, name)) return strdup(name);
    const size_t room = strlen(real) + 24;
    char *numbered = malloc(room);
    for (size_t n = 2; numbered != NULL; n++) {
        (void)snprintf(numbered, room, "%s#%zu", last_parts(real, 1), n);
        if (!is_taken(list, numbered)) break;
    }
    return numbered;
}

/* A group named for the last `parts` components of a path. */
static cz_status add_group(input_list *list, const char *real, size_t parts)
{
    char **groups = realloc(list->groups, (list->group_count + 1) * sizeof *groups);
    if (groups != NULL) list->groups = groups;
    char *name = make_name(list, real, parts);
    if (groups == NULL || name == NULL) {
        free(name);
        return cz_source_error(CZ_E_MEMORY, "out of memory");
    }
    list->groups[list->group_count++] = name;
    return CZ_OK;
}

/* The training photos of a data set, or of one category of it, as a group of their own. */
static cz_status add_category_photos(input_list *list, const cz_dataset *d, const char *folder, const char *category,
                                     size_t parts)
{
    const size_t before = list->count;
    if (list->group_count >= MAX_CATEGORIES) return input_fail(CZ_E_LIMIT, folder, "more than 4096 categories");
    char *real = realpath(folder, NULL);
    if (real == NULL) return input_fail(CZ_E_IO, folder, strerror(errno));
    char *named = category != NULL ? input_join(real, category) : strdup(real);
    cz_status status = named != NULL ? add_group(list, named, parts) : cz_source_error(CZ_E_MEMORY, "out of memory");
    if (status == CZ_OK) status = dataset_add_training(list, d, category, list->group_count - 1);
    if (status == CZ_OK) status = labelled_add(list, d, category, list->group_count - 1);
    if (status == CZ_OK && list->count == before) {
        status = input_fail(CZ_E_NO_IMAGES, category != NULL ? named : folder, "has no normal photos to train on");
    }
    free(named);
    free(real);
    return status;
}

/* The whole folder as one category. */
static cz_status add_folder(input_list *list, const char *folder, const char *layout, size_t parts)
{
    cz_dataset *d = NULL;
    cz_status status = cz_dataset_open(folder, layout, &d);
    if (status == CZ_OK) status = add_category_photos(list, d, folder, NULL, parts);
    cz_dataset_close(d);
    return status;
}

static void expectation(const char *layout, char line[160])
{
    const char *what = strcmp(layout, "mvtec") == 0   ? "folder train/good"
                       : strcmp(layout, "csv") == 0   ? "file split.csv"
                       : strcmp(layout, "yesno") == 0 ? "folder no"
                                                      : NULL;
    if (strcmp(layout, "folder") == 0) {
        (void)snprintf(line, 160, "is no folder");
    } else if (what != NULL) {
        (void)snprintf(line, 160, "is no %s category: it has no %s", layout, what);
    } else {
        (void)snprintf(line, 160, "is no %s category", layout);
    }
}

/* A folder of ROOT, or a category that the data set at ROOT has by itself. */
static cz_status add_below(input_list *list, const source_spec *s, const char *name)
{
    char reason[160];
    cz_dataset *d = NULL;
    char *folder = input_join(s->root, name);
    if (folder == NULL) return cz_source_error(CZ_E_MEMORY, "out of memory");
    cz_status status;
    if (dataset_fits(folder, s->layout)) {
        status = add_folder(list, folder, s->layout, 2);
    } else {
        bool there = false;
        const bool plain = strcmp(s->layout, "folder") == 0; /* has no categories */
        status = plain ? CZ_E_NO_IMAGES : cz_dataset_open(s->root, s->layout, &d);
        for (size_t i = 0; !there && i < cz_dataset_categories(d); i++)
            there = strcmp(cz_dataset_category(d, i), name) == 0;
        expectation(s->layout, reason);
        status = there ? add_category_photos(list, d, s->root, name, 2) : input_fail(CZ_E_NO_IMAGES, folder, reason);
    }
    cz_dataset_close(d);
    free(folder);
    return status;
}

/* Every folder of ROOT that looks like a category. */
static cz_status add_folders(input_list *list, const source_spec *s)
{
    struct dirent **entries = NULL;
    const int count = scandir(s->root, &entries, input_visible, alphasort);
    if (count < 0) return input_fail(CZ_E_IO, s->root, strerror(errno));
    cz_status status = CZ_OK;
    for (int i = 0; i < count; i++) {
        char *folder = status == CZ_OK ? input_join(s->root, entries[i]->d_name) : NULL;
        if (folder != NULL && dataset_fits(folder, s->layout)) status = add_folder(list, folder, s->layout, 2);
        free(folder);
        free(entries[i]);
    }
    free(entries);
    return status;
}

/* Every category of the data set at ROOT. */
static cz_status add_categories(input_list *list, const source_spec *s)
{
    cz_dataset *d = NULL;
    cz_status status = cz_dataset_open(s->root, s->layout, &d);
    for (size_t i = 0; status == CZ_OK && i < cz_dataset_categories(d); i++) {
        status = add_category_photos(list, d, s->root, cz_dataset_category(d, i), 2);
    }
    cz_dataset_close(d);
    return status;
}

static cz_status add_found(input_list *list, const source_spec *s)
{
    const size_t before = list->group_count;
    cz_status status = add_folders(list, s);
    if (status == CZ_OK && list->group_count == before) {
        status = add_categories(list, s);
        if (status == CZ_E_NO_IMAGES) status = CZ_OK;
    }
    if (status == CZ_OK && list->group_count == before) {
        char line[160], reason[200];
        expectation(s->layout, line);
        (void)snprintf(reason, sizeof reason, "%s, nor has a folder of it", line);
        status = input_fail(CZ_E_NO_IMAGES, s->root, reason);
    }
    return status;
}

cz_status inputs_add_source(input_list *list, const char *text)
{
    source_spec s;
    cz_status status = parse_spec(text, &s);
    if (status == CZ_OK && s.count == 0) {
        const bool itself = dataset_fits(s.root, s.layout);
        if (itself) status = add_folder(list, s.root, s.layout, 1);
        if (!itself) status = add_found(list, &s);
    }
    for (size_t i = 0; status == CZ_OK && i < s.count; i++) status = add_below(list, &s, s.categories[i]);
    free_spec(&s);
    return status;
}

/* ---- photos given twice ----------------------------------------------------------------------------------------------- */

typedef struct real_photo {
    char *real;
    size_t item;
} real_photo;

static int compare_photos(const void *a, const void *b)
{
    const real_photo *x = a, *y = b;
    const int order = strcmp(x->real, y->real);
    return order != 0 ? order : (x->item > y->item) - (x->item < y->item);
}

cz_status inputs_find_twice(const input_list *list, inputs_twice_fn tell, void *ctx)
{
    real_photo *photos = calloc(list->count + 1, sizeof *photos);
    size_t count = 0;
    if (photos == NULL) return cz_source_error(CZ_E_MEMORY, "out of memory");
    for (size_t i = 0; i < list->count; i++) {
        char *real = realpath(list->items[i].path, NULL); /* one that is gone is named when it is read */
        if (real != NULL) photos[count++] = (real_photo){real, i};
    }
    qsort(photos, count, sizeof *photos, compare_photos);
    for (size_t i = 1; i < count; i++) {
        if (strcmp(photos[i].real, photos[i - 1].real) == 0) {
            tell(ctx, list->items[photos[i - 1].item].path, list->items[photos[i].item].path);
        }
    }
    for (size_t i = 0; i < count; i++) free(photos[i].real);
    free(photos);
    return CZ_OK;
}

/* ---- for the library -------------------------------------------------------------------------------------------------- */

cz_status input_source_open(const input_list *list, input_split split, const cz_read_options *read, input_source *out)
{
    memset(out, 0, sizeof *out);
    out->list = list;
    out->read = *read;
    out->chosen = malloc((list->count + 1) * sizeof *out->chosen);
    out->refused = calloc(list->count + 1, sizeof *out->refused);
    out->pictures = calloc(list->count + 1, sizeof *out->pictures);
    if (out->chosen == NULL || out->refused == NULL || out->pictures == NULL) {
        input_source_free(out);
        return cz_source_error(CZ_E_MEMORY, "out of memory");
    }
    for (size_t i = 0; i < list->count; i++) {
        const input *item = &list->items[i];
        if ((split == INPUT_ANY || item->split == split) && item->label != 1) out->chosen[out->count++] = i;
    }
    return CZ_OK;
}

void input_source_free(input_source *s)
{
    for (size_t i = 0; s->pictures != NULL && i < s->count; i++) cz_picture_free(&s->pictures[i]);
    free(s->chosen);
    free(s->refused);
    free(s->pictures);
    memset(s, 0, sizeof *s);
}

static cz_status load(void *ctx, size_t index, cz_image *out)
{
    input_source *s = ctx;
    cz_picture *picture = &s->pictures[index];
    cz_picture_free(picture);
    const cz_status status = cz_picture_read(s->list->items[s->chosen[index]].path, &s->read, picture);
    if (status == CZ_OK) *out = picture->image;
    if (status != CZ_OK && !s->refused[index]) s->failed++;
    if (status != CZ_OK) s->refused[index] = true;
    return status;
}

static void release(void *ctx, size_t index, cz_image *image)
{
    (void)image;
    input_source *s = ctx;
    cz_picture_free(&s->pictures[index]);
}

static const char *name_of(void *ctx, size_t index)
{
    const input_source *s = ctx;
    return s->list->items[s->chosen[index]].path;
}

static size_t group_of(void *ctx, size_t index)
{
    const input_source *s = ctx;
    return s->list->items[s->chosen[index]].group;
}

static const char *group_name(void *ctx, size_t group)
{
    const input_source *s = ctx;
    return s->list->groups[group];
}

cz_image_source input_source_callbacks(input_source *s)
{
    cz_image_source source = CZ_IMAGE_SOURCE_INIT;
    source.count = s->count;
    source.load = load;
    source.release = release;
    source.name = name_of;
    source.ctx = s;
    source.concurrent = 1;
    if (s->list->group_count > 0) {
        source.categories = s->list->group_count;
        source.category = group_of;
        source.category_name = group_name;
    }
    return source;
}
