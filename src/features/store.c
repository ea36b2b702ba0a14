/* SPDX-License-Identifier: Apache-2.0 */
/* The feature store as training and scoring use it. store_admin.c has what `cozad cache` uses. */
#include "features/store.h"

#include "features/store_file.h"
#include "util/alloc.h"
#include "util/sha256.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct cz_store {
    pthread_mutex_t mutex; /* of everything below `dir` and `limit` */
    char *dir;
    uint64_t limit;
    bool counted;       /* `total` is known */
    bool stopped;       /* a full or unwritable disk: no more puts */
    uint64_t total;     /* bytes in the folder, as far as this process knows */
    uint64_t unscanned; /* bytes written here since the folder was last looked at */
    uint64_t *checked;  /* open addressing: keys (first 8 bytes, never 0) whose checksum was right */
    size_t checked_count, checked_capacity;
    unsigned long temporary; /* number of the next temporary file */
    char problem[512];
};

cz_status cz_store_open(const cz_cache_options *options, cz_store **out)
{
    cz_status status = CZ_OK;
    if (!options || !options->dir || options->struct_size < sizeof *options)
        return cz_fail(CZ_E_ARG, "feature store: no folder given");
    cz_store *s = cz_calloc(1, sizeof *s);
    if (!s) return CZ_E_MEMORY;
    pthread_mutex_init(&s->mutex, NULL);
    s->limit = options->limit_bytes > 0 ? options->limit_bytes : CZ_STORE_DEFAULT_LIMIT;
    s->dir = options->dir[0] != '\0' ? cz_strdup(options->dir) : cz_cache_default_dir();
    if (!s->dir) {
        status = CZ_E_MEMORY;
        goto out;
    }
    CZ_TRY(cz_make_dirs(s->dir));
    *out = s;
    s = NULL;
out:
    cz_store_close(s);
    return status;
}

void cz_store_close(cz_store *s)
{
    if (!s) return;
    pthread_mutex_destroy(&s->mutex);
    cz_free(s->dir);
    cz_free(s->checked);
    cz_free(s);
}

const char *cz_store_problem(const cz_store *s)
{
    return s->problem;
}

void cz_store_key_make(const uint8_t *input, size_t height, size_t width, const char *context, cz_store_key *out)
{
    uint8_t head[32];
    const uint64_t numbers[4] = {CZ_STORE_VERSION, height, width, strlen(context)};
    for (size_t i = 0; i < sizeof head; i++) head[i] = (uint8_t)(numbers[i / 8] >> (8 * (i % 8)));
    cz_sha256 sha;
    cz_sha256_init(&sha);
    cz_sha256_update(&sha, head, sizeof head);
    cz_sha256_update(&sha, context, (size_t)numbers[3]);
    cz_sha256_update(&sha, input, height * width * 3);
    cz_sha256_final(&sha, out->digest);
}

/* ---- keys whose payload was checked in this process ------------------------------------------------------------------- */

static uint64_t short_key(const cz_store_key *key)
{
    uint64_t v;
    memcpy(&v, key->digest, sizeof v);
    return v > 0 ? v : 1;
}

/* The slot that holds v, or the empty one where it belongs; the capacity is a power of two, never full. */
static size_t find_slot(const uint64_t *slots, size_t capacity, uint64_t v)
{
    size_t i = (size_t)v & (capacity - 1);
    while (slots[i] != 0 && slots[i] != v) i = (i + 1) & (capacity - 1);
    return i;
}

static bool was_checked(cz_store *s, const cz_store_key *key)
{
    pthread_mutex_lock(&s->mutex);
    const uint64_t v = short_key(key);
    const bool found = s->checked_capacity > 0 && s->checked[find_slot(s->checked, s->checked_capacity, v)] == v;
    pthread_mutex_unlock(&s->mutex);
    return found;
}

/* Being unable to remember only costs another check. The caller holds the mutex. */
static void remember_checked(cz_store *s, const cz_store_key *key)
{
    if (2 * (s->checked_count + 1) > s->checked_capacity) {
        const size_t capacity = s->checked_capacity > 0 ? 2 * s->checked_capacity : 1024;
        uint64_t *grown = cz_calloc(capacity, sizeof *grown);
        if (!grown) return;
        for (size_t i = 0; i < s->checked_capacity; i++)
            if (s->checked[i] != 0) grown[find_slot(grown, capacity, s->checked[i])] = s->checked[i];
        cz_free(s->checked);
        s->checked = grown;
        s->checked_capacity = capacity;
    }
    uint64_t *slot = &s->checked[find_slot(s->checked, s->checked_capacity, short_key(key))];
    if (*slot == 0) s->checked_count++;
    *slot = short_key(key);
}

/* ---- reading ---------------------------------------------------------------------------------------------------------- */

/* Maps a regular file and marks it as used now. */
static bool map_entry(const char *path, cz_mapping *out)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) return false;
    struct stat st;
    void *data = MAP_FAILED;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0) {
        data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
        const struct timespec now[2] = {{0, UTIME_OMIT}, {0, UTIME_NOW}};
        (void)futimens(fd, now); /* a read-only store works too, without an order */
    }
    close(fd);
    if (data == MAP_FAILED) return false;
    *out = (cz_mapping){data, (size_t)st.st_size};
    return true;
}

bool cz_store_get(cz_store *s, const cz_store_key *key, size_t count, cz_store_entry *out)
{
    cz_mapping mapping;
    size_t found = 0;
    const bool silent = cz_last_error()[0] == '\0';
    char *path = cz_store_file_path(s->dir, key);
    if (!path) {
        if (silent) cz_error_clear(); /* not found is no failure of the caller's */
        return false;
    }
    const bool mapped = map_entry(path, &mapping);
    const bool deep = mapped && !was_checked(s, key);
    const bool whole = mapped && cz_store_file_whole(mapping.data, mapping.size, key, &found, deep);
    if (mapped && !whole) (void)unlink(path); /* damaged: made anew by the next put */
    cz_free(path);
    if (mapped && (!whole || found != count)) cz_file_unmap(&mapping);
    if (!whole || found != count) return false;
    if (deep) {
        pthread_mutex_lock(&s->mutex);
        remember_checked(s, key);
        pthread_mutex_unlock(&s->mutex);
        if (silent) cz_error_clear();
    }
    out->mapping = mapping;
    out->values = (const uint16_t *)(const void *)(mapping.data + CZ_STORE_HEADER);
    out->count = count;
    return true;
}

void cz_store_release(cz_store_entry *entry)
{
    if (!entry || !entry->mapping.data) return;
    cz_file_unmap(&entry->mapping);
    memset(entry, 0, sizeof *entry);
}

/* ---- writing ---------------------------------------------------------------------------------------------------------- */

/* Remembers the first problem; the next put would meet it as well, so there is none. The caller holds the mutex. */
static bool refuse(cz_store *s, const char *reason)
{
    if (s->problem[0] == '\0')
        (void)snprintf(s->problem, sizeof s->problem, "feature store %.300s: nothing more is stored: %.100s", s->dir,
                       reason);
    s->stopped = true;
    return false;
}

static int write_all(int fd, const void *data, size_t bytes)
{
    const uint8_t *p = data;
    while (bytes > 0) {
        const ssize_t n = write(fd, p, bytes);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return n < 0 ? errno : ENOSPC;
        p += n;
        bytes -= (size_t)n;
    }
    return 0;
}

/* Not fsynced: after a power cut the checksum finds what is missing, and a cache may lose entries. 0 or an errno. */
static int write_entry(const char *path, const char *temporary, const uint8_t *header, const void *values, size_t bytes)
{
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0 && errno == ENOENT) { /* the first entry of its folder */
        char folder[4096];
        const char *slash = strrchr(path, '/');
        if (!slash || (size_t)(slash - path) >= sizeof folder) return ENAMETOOLONG;
        memcpy(folder, path, (size_t)(slash - path));
        folder[slash - path] = '\0';
        if (mkdir(folder, 0777) != 0 && errno != EEXIST) return errno;
        fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    }
    if (fd < 0) return errno;
    int error = write_all(fd, header, CZ_STORE_HEADER);
    if (error == 0) error = write_all(fd, values, bytes);
    if (close(fd) != 0 && error == 0) error = errno;
    if (error == 0 && rename(temporary, path) != 0) error = errno;
    if (error != 0) (void)unlink(temporary);
    return error;
}

/* Looks at the folder when it was never done, when it is over the limit as far as known, or when so much was written here
 * that others may have written much too. Then evicts a tenth more than needed. The caller holds the mutex. */
static void keep_limit(cz_store *s)
{
    if (s->counted && s->total <= s->limit && s->unscanned <= s->limit / 16) return;
    cz_store_listing listing;
    uint64_t removed = 0;
    s->unscanned = 0;
    if (cz_store_scan(s->dir, true, &listing) != CZ_OK) return;
    if (listing.bytes > s->limit) (void)cz_store_evict(s->dir, &listing, s->limit - s->limit / 10, &removed);
    s->total = listing.bytes;
    s->counted = true;
    cz_store_listing_free(&listing);
}

static bool put_locked(cz_store *s, const cz_store_key *key, const uint16_t *values, size_t count)
{
    uint8_t header[CZ_STORE_HEADER];
    const size_t bytes = count * sizeof *values;
    if (s->stopped) return false;
    if (bytes + CZ_STORE_HEADER > s->limit - s->limit / 10)
        return refuse(s, "one entry is larger than the limit allows");
    char *path = cz_store_file_path(s->dir, key);
    /* scan_folder finds leftovers by the key's digits and the ending */
    char *temporary = path ? cz_format("%s.%ld.%lu.tmp", path, (long)getpid(), s->temporary++) : NULL;
    bool done = false;
    if (temporary) {
        cz_store_header_make(key, values, count, header);
        const int error = write_entry(path, temporary, header, values, bytes);
        if (error == 0) {
            s->total += bytes + CZ_STORE_HEADER;
            s->unscanned += bytes + CZ_STORE_HEADER;
            remember_checked(s, key);
            keep_limit(s);
            done = true;
        } else {
            (void)refuse(s, strerror(error));
        }
    }
    cz_free(temporary);
    cz_free(path);
    return done;
}

bool cz_store_put(cz_store *s, const cz_store_key *key, const uint16_t *values, size_t count)
{
    if (count > SIZE_MAX / 4) return false;
    const bool silent = cz_last_error()[0] == '\0';
    pthread_mutex_lock(&s->mutex);
    const bool done = put_locked(s, key, values, count);
    pthread_mutex_unlock(&s->mutex);
    if (silent) cz_error_clear(); /* what went wrong here is no failure of the caller's */
    return done;
}
