/* SPDX-License-Identifier: Apache-2.0 */
/* Files of the studio: written whole or not at all. */
#include "studio_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

char *studio_path(const char *format, ...)
{
    char *text = NULL;
    va_list arguments;
    va_start(arguments, format);
    if (vasprintf(&text, format, arguments) < 0) text = NULL;
    va_end(arguments);
    return text;
}

static const char *base(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

/* Folders of this machine are none of a client's business: the file's own name is enough. */
static cz_status fail_errno(const char *path, const char *verb, int error)
{
    const bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
    if (full) return sv_fail(CZ_E_NO_SPACE, "%s: cannot %s: the server's disk is full", base(path), verb);
    return sv_fail(CZ_E_IO, "%s: cannot %s: %s", base(path), verb, strerror(error));
}

static cz_status no_memory(void)
{
    return sv_fail(CZ_E_MEMORY, "out of memory");
}

/* 0 or an errno. */
static int write_all(int file, const char *data, size_t size)
{
    while (size > 0) {
        const ssize_t wrote = write(file, data, size);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote <= 0) return wrote < 0 ? errno : ENOSPC;
        data += wrote;
        size -= (size_t)wrote;
    }
    return 0;
}

/* A new name in a folder survives a power cut only when the folder is written too. */
static void sync_folder(const char *path)
{
    char *folder = strdup(path);
    if (folder == NULL) return;
    char *slash = strrchr(folder, '/');
    if (slash != NULL) *slash = '\0';
    const int file = open(slash != NULL ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (file >= 0) (void)fsync(file);
    if (file >= 0) (void)close(file);
    free(folder);
}

/* ".NAME.XXXXXX": hidden, and without the extension that a model folder is searched for. */
static char *temporary_name(const char *path)
{
    const char *name = base(path);
    return studio_path("%.*s.%s.XXXXXX", (int)(name - path), path, name);
}

typedef struct fresh {
    char *temporary;
    int file;
} fresh;

static cz_status fresh_open(const char *path, fresh *f)
{
    f->temporary = temporary_name(path);
    if (f->temporary == NULL) return no_memory();
    f->file = mkostemp(f->temporary, O_CLOEXEC);
    if (f->file >= 0) return CZ_OK;
    const int error = errno;
    free(f->temporary);
    return fail_errno(path, "write", error);
}

static cz_status fresh_finish(fresh *f, const char *path, int error)
{
    if (error == 0 && fchmod(f->file, 0640) != 0) error = errno;
    if (error == 0 && fsync(f->file) != 0) error = errno;
    if (close(f->file) != 0 && error == 0) error = errno;
    if (error == 0 && rename(f->temporary, path) != 0) error = errno;
    if (error != 0) (void)unlink(f->temporary);
    free(f->temporary);
    if (error != 0) return fail_errno(path, "write", error);
    sync_folder(path);
    return CZ_OK;
}

cz_status studio_write(const char *path, const void *data, size_t size)
{
    fresh f;
    const cz_status status = fresh_open(path, &f);
    if (status != CZ_OK) return status;
    return fresh_finish(&f, path, write_all(f.file, data, size));
}

cz_status studio_write_json(const char *path, const json_t *json)
{
    char *text = json != NULL ? json_dumps(json, JSON_COMPACT) : NULL;
    if (text == NULL) return no_memory();
    const cz_status status = studio_write(path, text, strlen(text));
    free(text);
    return status;
}

cz_status studio_copy(const char *from, const char *to)
{
    enum { PART = 1 << 18 };
    fresh f;
    const int in = open(from, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (in < 0) return fail_errno(from, "read", errno);
    char *part = malloc(PART);
    cz_status status = part != NULL ? fresh_open(to, &f) : no_memory();
    if (status == CZ_OK) {
        int error = 0;
        ssize_t got;
        do {
            got = read(in, part, PART);
            if (got < 0 && errno != EINTR) error = errno;
            if (got > 0) error = write_all(f.file, part, (size_t)got);
        } while (error == 0 && got != 0);
        status = fresh_finish(&f, to, error);
    }
    free(part);
    (void)close(in);
    return status;
}

cz_status studio_read(const char *path, size_t limit, char **out, size_t *size)
{
    struct stat info;
    const int file = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (file < 0) return fail_errno(path, "read", errno);
    cz_status status = CZ_OK;
    char *data = NULL;
    size_t done = 0;
    if (fstat(file, &info) != 0) {
        status = fail_errno(path, "read", errno);
    } else if (!S_ISREG(info.st_mode)) {
        status = sv_fail(CZ_E_IO, "%s: is not a regular file", base(path));
    } else if (info.st_size < 0 || (uint64_t)info.st_size > limit) {
        status = sv_fail(CZ_E_LIMIT, "%s: is longer than %zu bytes", base(path), limit);
    } else if ((data = malloc((size_t)info.st_size + 1)) == NULL) {
        status = no_memory();
    }
    while (status == CZ_OK && done < (size_t)info.st_size) {
        const ssize_t got = read(file, data + done, (size_t)info.st_size - done);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) status = fail_errno(path, "read", errno);
        if (got <= 0) break; /* it shrank: what is there is what is read */
        done += (size_t)got;
    }
    (void)close(file);
    if (status == CZ_OK) {
        data[done] = '\0';
        *out = data;
        *size = done;
    } else {
        free(data);
    }
    return status;
}

json_t *studio_read_json(const char *path, size_t limit)
{
    char *text = NULL;
    size_t size = 0;
    if (studio_read(path, limit, &text, &size) != CZ_OK) return NULL;
    json_t *json = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL);
    free(text);
    return json;
}

cz_status studio_append(const char *path, const char *line)
{
    const int file = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (file < 0) return fail_errno(path, "write", errno);
    char last = '\n';
    const off_t before = lseek(file, 0, SEEK_END);
    int error = before < 0 ? errno : 0;
    /* A server that was killed may have left half a line. */
    if (before > 0 && pread(file, &last, 1, before - 1) != 1) error = EIO;
    if (error == 0 && last != '\n') error = write_all(file, "\n", 1);
    if (error == 0) error = write_all(file, line, strlen(line));
    if (error == 0 && fdatasync(file) != 0) error = errno;
    if (error != 0 && before >= 0) (void)!ftruncate(file, before); /* half a line would spoil the next one */
    if (close(file) != 0 && error == 0) error = errno;
    return error == 0 ? CZ_OK : fail_errno(path, "write", error);
}

cz_status studio_make_folder(const char *path)
{
    struct stat info;
    if (mkdir(path, 0750) == 0) {
        sync_folder(path);
        return CZ_OK;
    }
    const int error = errno;
    if (error == EEXIST && stat(path, &info) == 0 && S_ISDIR(info.st_mode)) return CZ_OK;
    return fail_errno(path, "make the folder", error);
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info, (void)kind, (void)where;
    return remove(path) != 0 && errno != ENOENT ? errno : 0;
}

cz_status studio_remove_tree(const char *path)
{
    const int error = nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
    if (error == 0 || (error < 0 && errno == ENOENT)) return CZ_OK;
    return fail_errno(path, "remove", error > 0 ? error : errno);
}

void studio_sweep(const char *folder)
{
    DIR *all = opendir(folder);
    if (all == NULL) return;
    for (const struct dirent *entry; (entry = readdir(all)) != NULL;) {
        const char *name = entry->d_name;
        if (name[0] != '.' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) continue;
        char *path = studio_path("%s/%s", folder, name);
        if (path != NULL && studio_remove_tree(path) != CZ_OK)
            sv_log(SV_WARN, "studio", "leftover", "%s", cz_last_error(), NULL);
        free(path);
    }
    (void)closedir(all);
}
