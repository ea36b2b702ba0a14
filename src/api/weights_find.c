/* SPDX-License-Identifier: Apache-2.0 */
#include "api/weights_find.h"

#include "util/alloc.h"
#include "util/file.h"
#include "weights/lookup.h"

#include <dirent.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define INDEX_NAME     "weights.index"
#define INDEX_LIMIT    ((size_t)1 << 20)
#define INDEX_ENTRIES  ((size_t)1000)
#define MAX_CANDIDATES 200

/* {"PATH": {"size": bytes, "mtime": nanoseconds, "sha256": "…", or "" for a file that is no backbone}} */
typedef struct index_file {
    json_t *entries;
    char *path;
    bool changed;
} index_file;

/* A missing or damaged index is an empty one: everything in it can be found out again. */
static cz_status index_open(index_file *index)
{
    memset(index, 0, sizeof *index);
    char *home = cz_home_dir();
    index->path = home ? cz_path_join(home, INDEX_NAME) : NULL;
    cz_free(home);
    if (!index->path) return CZ_E_MEMORY;
    uint8_t *bytes = NULL;
    size_t size = 0;
    struct stat info;
    if (stat(index->path, &info) == 0 && cz_file_read(index->path, INDEX_LIMIT, &bytes, &size) == CZ_OK) {
        index->entries = json_loadb((const char *)bytes, size, JSON_REJECT_DUPLICATES, NULL);
        cz_free(bytes);
    }
    cz_error_clear();
    if (!json_is_object(index->entries) || json_object_size(index->entries) > INDEX_ENTRIES) {
        json_decref(index->entries);
        index->entries = json_object();
    }
    return index->entries ? CZ_OK : cz_fail(CZ_E_MEMORY, "out of memory");
}

/* Saves what was learnt, if it can: a read-only home only costs time. Leaves the error message as it was. */
static void index_close(index_file *index)
{
    char *message = cz_strdup(cz_last_error());
    if (index->changed && index->entries) {
        char *text = json_dumps(index->entries, JSON_INDENT(1) | JSON_SORT_KEYS);
        char *slash = strrchr(index->path, '/');
        if (slash) {
            *slash = '\0';
            const cz_status made = cz_make_dirs(index->path);
            *slash = '/';
            if (text && made == CZ_OK) (void)cz_file_write_atomic(index->path, text, strlen(text));
        }
        free(text);
    }
    cz_error_clear();
    if (message && message[0] != '\0') (void)cz_fail(CZ_OK, "%s", message);
    cz_free(message);
    json_decref(index->entries);
    cz_free(index->path);
}

static json_int_t file_time(const struct stat *info)
{
    return (json_int_t)info->st_mtim.tv_sec * 1000000000 + (json_int_t)info->st_mtim.tv_nsec;
}

static const char *index_get(const index_file *index, const char *path, const struct stat *info)
{
    const json_t *entry = json_object_get(index->entries, path);
    const json_t *size = json_object_get(entry, "size"), *time = json_object_get(entry, "mtime");
    if (!json_is_integer(size) || json_integer_value(size) != (json_int_t)info->st_size || !json_is_integer(time) ||
        json_integer_value(time) != file_time(info))
        return NULL;
    return json_string_value(json_object_get(entry, "sha256"));
}

static void index_put(index_file *index, const char *path, const struct stat *info, const char *sha256)
{
    if (json_object_size(index->entries) >= INDEX_ENTRIES) (void)json_object_clear(index->entries);
    json_t *entry =
        json_pack("{s:I, s:I, s:s}", "size", (json_int_t)info->st_size, "mtime", file_time(info), "sha256", sha256);
    if (entry && json_object_set_new(index->entries, path, entry) == 0) index->changed = true;
}

/* True when the file at `path` holds the backbone that is looked for. */
static bool matches(index_file *index, const char *path, const char *sha256)
{
    struct stat info;
    if (stat(path, &info) != 0 || !S_ISREG(info.st_mode)) return false;
    const char *known = index_get(index, path, &info);
    if (known) return strcmp(known, sha256) == 0;
    cz_backbone *b = NULL;
    const cz_status status = cz_backbone_open(path, &b);
    const bool found = status == CZ_OK && strcmp(cz_backbone_sha256(b), sha256) == 0;
    /* Not read for want of memory or rights: says nothing about what the file holds. */
    if (status != CZ_E_MEMORY && status != CZ_E_IO) index_put(index, path, &info, b ? cz_backbone_sha256(b) : "");
    cz_backbone_close(b);
    cz_error_clear();
    return found;
}

static bool is_weight_file(const char *name)
{
    static const char *const EXTENSIONS[] = {".safetensors", ".pth", ".pt"};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < sizeof EXTENSIONS / sizeof EXTENSIONS[0]; i++) {
        if (strcmp(dot, EXTENSIONS[i]) == 0) return true;
    }
    return false;
}

/* *path: the match in `folder`; NULL when none. */
static cz_status scan_folder(index_file *index, const char *folder, const char *sha256, char **path)
{
    DIR *dir = opendir(folder);
    if (!dir) return CZ_OK;
    cz_status status = CZ_OK;
    const struct dirent *entry;
    for (int seen = 0; !*path && status == CZ_OK && seen < MAX_CANDIDATES && (entry = readdir(dir)) != NULL;) {
        if (!is_weight_file(entry->d_name)) continue;
        seen++;
        char *candidate = cz_path_join(folder, entry->d_name);
        if (!candidate) {
            status = CZ_E_MEMORY;
        } else if (matches(index, candidate, sha256)) {
            *path = candidate;
        } else {
            cz_free(candidate);
        }
    }
    (void)closedir(dir);
    return status;
}

static cz_status try_hint(index_file *index, const char *hint, const char *sha256, char **path)
{
    char *candidate = NULL;
    if (!hint || hint[0] == '\0') return CZ_OK;
    const cz_status status = cz_weights_lookup(hint, &candidate);
    if (status != CZ_OK) {
        cz_error_clear();
        return status == CZ_E_MEMORY ? cz_fail(status, "out of memory") : CZ_OK;
    }
    if (matches(index, candidate, sha256)) {
        *path = candidate;
    } else {
        cz_free(candidate);
    }
    return CZ_OK;
}

static cz_status fail_not_found(const char *sha256, const char *hint, char **folders)
{
    const char *name = hint && hint[0] != '\0' ? hint : "unnamed";
    return cz_fail(
        CZ_E_WEIGHTS,
        "the model's backbone (%s, SHA-256 %.12s...) is not in %s%s%s%s%s; put the file there or name it with "
        "--backbone",
        name, sha256, folders[0] ? folders[0] : "any folder", folders[1] ? ", " : "", folders[1] ? folders[1] : "",
        folders[2] ? ", " : "", folders[2] ? folders[2] : "");
}

cz_status cz_weights_find_sha(const char *sha256_hex, const char *name_hint, char **path)
{
    cz_status status;
    char *folders[CZ_WEIGHTS_FOLDERS] = {NULL};
    char *found = NULL;
    index_file index;
    CZ_TRY(index_open(&index));
    CZ_TRY(cz_weights_folders(folders));
    CZ_TRY(try_hint(&index, name_hint, sha256_hex, &found));
    for (size_t i = 0; !found && i < CZ_WEIGHTS_FOLDERS && folders[i]; i++)
        CZ_TRY(scan_folder(&index, folders[i], sha256_hex, &found));
    if (!found) CZ_TRY(fail_not_found(sha256_hex, name_hint, folders));
    *path = found;
out:
    index_close(&index);
    cz_weights_folders_free(folders);
    return status;
}

/* ---- one file ---------------------------------------------------------------------------------------------------- */

static char *absolute(const char *path)
{
    char *resolved = realpath(path, NULL);
    char *copy = resolved ? cz_strdup(resolved) : NULL;
    free(resolved);
    return copy;
}

void cz_weights_known(const char *path, cz_weights_stamp *stamp, char sha256[65])
{
    struct stat info;
    index_file index;
    const bool silent = cz_last_error()[0] == '\0';
    sha256[0] = '\0';
    *stamp = (cz_weights_stamp){.path = absolute(path)};
    if (stamp->path && stat(stamp->path, &info) == 0 && S_ISREG(info.st_mode)) {
        stamp->size = (int64_t)info.st_size;
        stamp->time = file_time(&info);
        const char *known = index_open(&index) == CZ_OK ? index_get(&index, stamp->path, &info) : NULL;
        if (known && strlen(known) == 64) memcpy(sha256, known, 65);
        index_close(&index);
    } else {
        cz_free(stamp->path);
        stamp->path = NULL;
    }
    if (silent) cz_error_clear();
}

void cz_weights_learn(const cz_weights_stamp *stamp, const char *sha256)
{
    struct stat info;
    index_file index;
    /* A file so young could change again within the clock's grain, and look the same. */
    if (stamp->time / 1000000000 + 2 > (int64_t)time(NULL)) return;
    if (!stamp->path || stat(stamp->path, &info) != 0 || info.st_size != stamp->size || file_time(&info) != stamp->time)
        return;
    const bool silent = cz_last_error()[0] == '\0';
    if (index_open(&index) == CZ_OK) {
        const char *known = index_get(&index, stamp->path, &info);
        if (!known || strcmp(known, sha256) != 0) index_put(&index, stamp->path, &info, sha256);
    }
    index_close(&index);
    if (silent) cz_error_clear();
}
