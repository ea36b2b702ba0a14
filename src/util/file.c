/* SPDX-License-Identifier: Apache-2.0 */
#include "util/file.h"

#include "util/alloc.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

cz_status cz_fail_errno(const char *path, const char *verb, int error)
{
    const bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
    return cz_fail(full ? CZ_E_NO_SPACE : CZ_E_IO, "%s: cannot %s: %s", path, verb, strerror(error));
}

static cz_status open_regular(const char *path, int *fd, size_t *size)
{
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* opening a pipe must not wait for its other end */
    if (*fd < 0) return cz_fail_errno(path, "open", errno);
    struct stat info;
    if (fstat(*fd, &info) != 0) {
        const int error = errno;
        (void)close(*fd);
        return cz_fail_errno(path, "read", error);
    }
    if (!S_ISREG(info.st_mode)) {
        (void)close(*fd);
        return cz_fail(CZ_E_IO, "%s: %s", path, S_ISDIR(info.st_mode) ? "is a folder" : "is not a regular file");
    }
    *size = (size_t)info.st_size;
    return CZ_OK;
}

cz_status cz_file_open(const char *path, FILE **out, size_t *size)
{
    int fd = -1;
    const cz_status status = open_regular(path, &fd, size);
    if (status != CZ_OK) return status;
    *out = fdopen(fd, "rb");
    if (*out != NULL) return CZ_OK;
    (void)close(fd);
    return cz_fail(CZ_E_MEMORY, "%s: out of memory", path);
}

cz_status cz_file_map(const char *path, cz_mapping *out)
{
    int fd = -1;
    size_t size = 0;
    const cz_status status = open_regular(path, &fd, &size);
    if (status != CZ_OK) return status;
    cz_mapping mapping = {NULL, size};
    if (size > 0) {
        void *data = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED) {
            const int error = errno;
            (void)close(fd);
            return cz_fail_errno(path, "map", error);
        }
        mapping.data = data;
    }
    (void)close(fd);
    *out = mapping;
    return CZ_OK;
}

void cz_file_unmap(cz_mapping *mapping)
{
    if (mapping->data != NULL) (void)munmap((void *)(uintptr_t)mapping->data, mapping->size);
    mapping->data = NULL;
    mapping->size = 0;
}

cz_status cz_file_read(const char *path, size_t limit, uint8_t **out, size_t *size)
{
    cz_status status = CZ_OK;
    uint8_t *data = NULL;
    size_t total = 0, done = 0;
    int fd = -1;
    status = open_regular(path, &fd, &total);
    if (status != CZ_OK) return status;
    if (total > limit) {
        status = cz_fail(CZ_E_LIMIT, "%s: %zu bytes are more than the limit of %zu", path, total, limit);
        goto out;
    }
    data = cz_alloc(total + 1);
    if (data == NULL) {
        status = CZ_E_MEMORY;
        goto out;
    }
    while (done < total) {
        const ssize_t n = read(fd, data + done, total - done);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            status = cz_fail_errno(path, "read", errno);
            goto out;
        }
        if (n == 0) break; /* shrank meanwhile: what is there is what is read */
        done += (size_t)n;
    }
    data[done] = 0;
    *out = data;
    *size = done;
    data = NULL;
out:
    cz_free(data);
    (void)close(fd);
    return status;
}

/* It can only be read by setting it, for all threads: one at a time, and meanwhile to the strictest, so that what another thread makes
 * at that moment is never open to more than it should be. */
static mode_t read_umask(void)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    (void)pthread_mutex_lock(&lock);
    const mode_t mask = umask(077);
    (void)umask(mask);
    (void)pthread_mutex_unlock(&lock);
    return mask;
}

cz_status cz_atomic_open(const char *path, cz_atomic_file *out)
{
    *out = (cz_atomic_file){NULL, NULL, NULL};
    cz_atomic_file file = {NULL, cz_strdup(path), cz_format("%s.XXXXXX.tmp", path)};
    if (file.path == NULL || file.temporary == NULL) {
        cz_atomic_abort(&file);
        return CZ_E_MEMORY;
    }
    const int fd = mkostemps(file.temporary, 4, O_CLOEXEC);
    if (fd < 0) {
        const int error = errno;
        file.temporary[0] = '\0';
        cz_atomic_abort(&file);
        return cz_fail_errno(path, "write", error);
    }
    /* mkostemps makes 0600; a result file gets what the umask allows, or keeps the mode of the file it replaces. */
    struct stat old;
    const mode_t mask = read_umask();
    (void)fchmod(fd, stat(path, &old) == 0 ? (old.st_mode & 0777) : (0666 & ~mask));
    file.stream = fdopen(fd, "wb");
    if (file.stream == NULL) {
        const int error = errno;
        (void)close(fd);
        cz_atomic_abort(&file);
        return cz_fail_errno(path, "write", error);
    }
    *out = file;
    return CZ_OK;
}

cz_status cz_atomic_write(cz_atomic_file *file, const void *data, size_t bytes)
{
    if (bytes > 0 && fwrite(data, 1, bytes, file->stream) != bytes) return cz_fail_errno(file->path, "write", errno);
    return CZ_OK;
}

/* After the rename the folder's own entry must reach the disk too. A file system without it is not an error. */
static void sync_folder(const char *path)
{
    char *folder = cz_strdup(path);
    if (folder == NULL) return;
    char *slash = strrchr(folder, '/');
    if (slash != NULL) slash[slash == folder ? 1 : 0] = '\0';
    const int fd = open(slash != NULL ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)fsync(fd);
        (void)close(fd);
    }
    cz_free(folder);
}

cz_status cz_atomic_commit(cz_atomic_file *file)
{
    cz_status status = CZ_OK;
    if (fflush(file->stream) != 0 || fsync(fileno(file->stream)) != 0) {
        status = cz_fail_errno(file->path, "write", errno);
    }
    if (fclose(file->stream) != 0 && status == CZ_OK) status = cz_fail_errno(file->path, "write", errno);
    file->stream = NULL;
    if (status == CZ_OK && rename(file->temporary, file->path) != 0) {
        status = cz_fail_errno(file->path, "write", errno);
    }
    if (status == CZ_OK) {
        file->temporary[0] = '\0';
        sync_folder(file->path);
    }
    cz_atomic_abort(file);
    return status;
}

void cz_atomic_abort(cz_atomic_file *file)
{
    if (file->stream != NULL) (void)fclose(file->stream);
    if (file->temporary != NULL && file->temporary[0] != '\0') (void)unlink(file->temporary);
    cz_free(file->temporary);
    cz_free(file->path);
    *file = (cz_atomic_file){NULL, NULL, NULL};
}

cz_status cz_file_write_atomic(const char *path, const void *data, size_t bytes)
{
    cz_status status;
    cz_atomic_file file = {NULL, NULL, NULL};
    CZ_TRY(cz_atomic_open(path, &file));
    CZ_TRY(cz_atomic_write(&file, data, bytes));
    return cz_atomic_commit(&file);
out:
    cz_atomic_abort(&file);
    return status;
}

cz_status cz_make_dirs(const char *path)
{
    char *copy = cz_strdup(path);
    if (copy == NULL) return CZ_E_MEMORY;
    cz_status status = CZ_OK;
    for (char *p = copy + 1; copy[0] != '\0' && status == CZ_OK; p++) {
        if (*p != '/' && *p != '\0') continue;
        const char end = *p;
        *p = '\0';
        if (mkdir(copy, 0777) != 0 && errno != EEXIST) status = cz_fail_errno(path, "make folder", errno);
        *p = end;
        if (end == '\0') break;
    }
    struct stat info;
    if (status == CZ_OK && copy[0] != '\0' && (stat(copy, &info) != 0 || !S_ISDIR(info.st_mode))) {
        status = cz_fail(CZ_E_IO, "%s: is not a folder", path);
    }
    cz_free(copy);
    return status;
}

char *cz_path_stem(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;
    const char *dot = strrchr(name, '.');
    return cz_strndup(name, dot != NULL && dot != name ? (size_t)(dot - name) : strlen(name));
}

char *cz_path_join(const char *a, const char *b)
{
    const size_t length = strlen(a);
    return cz_format("%s%s%s", a, length > 0 && a[length - 1] != '/' ? "/" : "", b);
}

char *cz_home_dir(void)
{
    const char *home = getenv("COZAD_HOME");
    if (home != NULL && home[0] != '\0') return cz_strdup(home);
    home = getenv("XDG_CACHE_HOME");
    if (home != NULL && home[0] == '/') return cz_path_join(home, "cozad");
    home = getenv("HOME");
    if (home != NULL && home[0] == '/') return cz_path_join(home, ".cache/cozad");
    return cz_format("/tmp/cozad-%lu", (unsigned long)getuid());
}

char *cz_share_dir(void)
{
    /* The library lies in PREFIX/lib or PREFIX/lib/ARCH; share/cozad is looked for upwards from there, so that an install
     * tree can be moved as a whole. */
    Dl_info info;
    if (dladdr((const void *)(uintptr_t)&cz_share_dir, &info) != 0 && info.dli_fname != NULL) {
        char *folder = realpath(info.dli_fname, NULL);
        for (int up = 0; folder != NULL && up < 4; up++) {
            char *slash = strrchr(folder, '/');
            if (slash == NULL) break;
            *slash = '\0';
            char *share = cz_path_join(folder, "share/cozad");
            struct stat entry;
            if (share != NULL && stat(share, &entry) == 0 && S_ISDIR(entry.st_mode)) {
                free(folder);
                return share;
            }
            cz_free(share);
        }
        free(folder);
    }
    return cz_strdup(COZAD_DATADIR);
}
