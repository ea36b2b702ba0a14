/* SPDX-License-Identifier: Apache-2.0 */
/* Folders as sorted lists. */
#include "data/dataset.h"

#include "util/alloc.h"
#include "util/file.h"
#include "util/names.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

char *cz_below(const char *a, const char *b)
{
    if (a[0] == '\0') return cz_strdup(b);
    return b[0] != '\0' ? cz_path_join(a, b) : cz_strdup(a);
}

static bool has_mode(const char *root, const char *below, mode_t kind)
{
    char path[CZ_DATA_MAX_PATH];
    const size_t length = strlen(root), more = strlen(below);
    struct stat info;
    if (length + more + 2 > sizeof path) return false;
    memcpy(path, root, length);
    path[length] = '/';
    memcpy(path + length + 1, below, more + 1);
    return stat(path, &info) == 0 && (info.st_mode & S_IFMT) == kind;
}

bool cz_is_folder(const char *root, const char *below)
{
    return has_mode(root, below, S_IFDIR);
}

bool cz_is_file(const char *root, const char *below)
{
    return has_mode(root, below, S_IFREG);
}

static int compare_entries(const void *a, const void *b)
{
    return strcmp(((const cz_entry *)a)->name, ((const cz_entry *)b)->name);
}

/* What it is; neither a file nor a folder (a pipe, a device) is nothing. */
static void classify(int folder, cz_entry *e)
{
    struct stat info;
    if (fstatat(folder, e->name, &info, AT_SYMLINK_NOFOLLOW) != 0) return;
    const bool link = S_ISLNK(info.st_mode);
    if (link && fstatat(folder, e->name, &info, 0) != 0) {
        e->picture = cz_name_is_picture(e->name); /* a link to nothing: named when it is read */
        return;
    }
    e->folder = S_ISDIR(info.st_mode);
    e->link = e->folder && link;
    e->picture = S_ISREG(info.st_mode) && cz_name_is_picture(e->name);
}

static cz_status fill(DIR *stream, const char *path, cz_listing *l)
{
    size_t room = 0;
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(stream);
        if (entry == NULL) return errno == 0 ? CZ_OK : cz_fail_errno(path, "read", errno);
        if (entry->d_name[0] == '.') continue;
        if (l->count >= CZ_DATA_MAX_SAMPLES) return cz_fail(CZ_E_LIMIT, "%s: has too many entries", path);
        if (l->count == room) {
            room = room == 0 ? 64 : 2 * room;
            cz_entry *entries = cz_grow(l->entries, room, sizeof *entries);
            if (entries == NULL) return CZ_E_MEMORY;
            l->entries = entries;
        }
        cz_entry *e = &l->entries[l->count];
        *e = (cz_entry){.name = cz_strdup(entry->d_name)};
        if (e->name == NULL) return CZ_E_MEMORY;
        l->count++;
        classify(dirfd(stream), e);
    }
}

static cz_status list(const char *root, const char *below, bool optional, cz_listing *out)
{
    cz_status status = CZ_OK;
    DIR *stream = NULL;
    *out = (cz_listing){.below = cz_strdup(below)};
    char *path = cz_below(root, below);
    if (path == NULL || out->below == NULL) {
        status = CZ_E_MEMORY;
        goto out;
    }
    stream = opendir(path);
    if (stream == NULL) {
        if (!optional || (errno != ENOENT && errno != ENOTDIR)) status = cz_fail_errno(path, "open folder", errno);
        goto out;
    }
    CZ_TRY(fill(stream, path, out));
    if (out->count > 1) qsort(out->entries, out->count, sizeof *out->entries, compare_entries);
out:
    if (stream != NULL) (void)closedir(stream);
    cz_free(path);
    if (status != CZ_OK) cz_listing_free(out);
    return status;
}

cz_status cz_listing_read(const char *root, const char *below, cz_listing *out)
{
    return list(root, below, false, out);
}

cz_status cz_listing_read_optional(const char *root, const char *below, cz_listing *out)
{
    return list(root, below, true, out);
}

void cz_listing_free(cz_listing *l)
{
    for (size_t i = 0; i < l->count; i++) cz_free(l->entries[i].name);
    cz_free(l->entries);
    cz_free(l->below);
    *l = (cz_listing){0};
}

/* The first entry that is not before `text`. */
static size_t lower_bound(const cz_listing *l, const char *text)
{
    size_t low = 0, high = l->count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (strcmp(l->entries[middle].name, text) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

cz_entry *cz_listing_find(const cz_listing *l, const char *name)
{
    const size_t at = lower_bound(l, name);
    return at < l->count && strcmp(l->entries[at].name, name) == 0 ? &l->entries[at] : NULL;
}

cz_entry *cz_listing_find_picture(const cz_listing *l, const char *stem, size_t stem_length, const char *suffix)
{
    char wanted[NAME_MAX + 2];
    const size_t more = strlen(suffix), length = stem_length + more + 1;
    if (length >= sizeof wanted) return NULL;
    memcpy(wanted, stem, stem_length);
    memcpy(wanted + stem_length, suffix, more);
    memcpy(wanted + length - 1, ".", 2);
    for (size_t i = lower_bound(l, wanted); i < l->count; i++) {
        cz_entry *e = &l->entries[i];
        if (strncmp(e->name, wanted, length) != 0) break;
        if (e->picture && strchr(e->name + length, '.') == NULL) return e;
    }
    return NULL;
}

static cz_status walk(const char *root, const char *below, cz_walk_fn visit, void *ctx, int depth)
{
    cz_listing l = {0};
    cz_status status = CZ_OK;
    char *relative = NULL;
    if (depth > CZ_DATA_MAX_DEPTH) return cz_fail(CZ_E_LIMIT, "%s/%s: folders are nested too deeply", root, below);
    CZ_TRY(cz_listing_read(root, below, &l));
    for (size_t i = 0; i < l.count; i++) {
        const cz_entry *e = &l.entries[i];
        if (!e->picture && (!e->folder || e->link)) continue;
        relative = cz_below(below, e->name);
        if (relative == NULL) {
            status = CZ_E_MEMORY;
            goto out;
        }
        CZ_TRY(e->folder ? walk(root, relative, visit, ctx, depth + 1) : visit(ctx, relative, e->name));
        cz_free(relative);
        relative = NULL;
    }
out:
    cz_free(relative);
    cz_listing_free(&l);
    return status;
}

cz_status cz_walk(const char *root, const char *below, cz_walk_fn visit, void *ctx)
{
    return walk(root, below, visit, ctx, 0);
}
