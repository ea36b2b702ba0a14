/* SPDX-License-Identifier: Apache-2.0 */
#include "inputs_internal.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_DEPTH 32

cz_status input_fail(cz_status status, const char *path, const char *reason)
{
    char line[1024];
    (void)snprintf(line, sizeof line, "%s: %s", path, reason);
    return cz_source_error(status, line);
}

char *input_join(const char *a, const char *b)
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
        free(list->items[i].category);
    }
    for (size_t i = 0; i < list->group_count; i++) free(list->groups[i]);
    for (size_t i = 0; i < list->defect_count; i++) {
        for (size_t m = 0; m < list->defects[i].mask_count; m++) free(list->defects[i].masks[m]);
        free(list->defects[i].masks);
        free(list->defects[i].path);
    }
    free(list->defects);
    free(list->groups);
    free(list->items);
    memset(list, 0, sizeof *list);
}

cz_status input_add(input_list *list, char *path, char *relative, const input_kind *k)
{
    char *category_copy = strdup(k->category);
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
        free(category_copy);
        return cz_source_error(CZ_E_MEMORY, "out of memory");
    }
    list->items[list->count++] = (input){path, relative, category_copy, k->label, k->split, k->group};
    return CZ_OK;
}

int input_visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

/* Every image below `folder`, in the order of names; `below`: the path of `folder` below its argument, "" at first. */
static cz_status walk(input_list *list, const char *folder, const char *below, const input_kind *k, int depth)
{
    struct dirent **entries = NULL;
    if (depth > MAX_DEPTH) return input_fail(CZ_E_LIMIT, folder, "folders are nested too deeply");
    const int count = scandir(folder, &entries, input_visible, alphasort);
    if (count < 0) return input_fail(CZ_E_IO, folder, strerror(errno));
    cz_status status = CZ_OK;
    for (int i = 0; i < count; i++) {
        const char *name = entries[i]->d_name;
        char *path = input_join(folder, name), *relative = below[0] != '\0' ? input_join(below, name) : strdup(name);
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
            status = input_add(list, path, relative, k);
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
    if (stat(path, &info) != 0) return input_fail(CZ_E_IO, path, strerror(errno));
    const input_kind any = {"", -1, INPUT_ANY, 0};
    if (S_ISDIR(info.st_mode)) return walk(list, path, "", &any, 0);
    const char *slash = strrchr(path, '/');
    return input_add(list, strdup(path), strdup(slash != NULL ? slash + 1 : path), &any);
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
