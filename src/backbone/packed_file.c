/* SPDX-License-Identifier: Apache-2.0 */
#include "backbone/packed_file.h"

#include "util/alloc.h"
#include "util/sha256.h"
#include "util/xxh64.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC         UINT64_C(0x314b434150205a43) /* "CZ PACK1" in a little-endian file */
#define HASHED_HEADER 120
#define PAGE          ((size_t)4096)
#define MAX_TEXT      ((size_t)1 << 16)
#define CHUNK         ((size_t)1 << 20)
#define MAX_CHUNKS    ((size_t)1 << 14) /* 16 GB */
#define SUFFIX        ".czp"
#define SHA_DIGITS    16
#define STALE_SECONDS 3600

/* ---- bytes ------------------------------------------------------------------------------------------------------- */

typedef struct header {
    uint64_t magic;
    uint32_t version, offset;
    uint64_t size;
    uint8_t key[32];
    uint64_t checksum;
    uint32_t text_size, zero;
    uint64_t text_checksum;
    uint8_t unused[40];
    uint64_t self;
} header;
_Static_assert(sizeof(header) == CZ_PACKED_HEADER && offsetof(header, self) == HASHED_HEADER, "no gaps");

/* XXH64 over the XXH64 of every MiB, so that several threads share the work. False: too many, or out of memory. */
static bool checksum(const uint8_t *bytes, size_t size, uint64_t *out)
{
    const size_t count = size / CHUNK + (size % CHUNK != 0);
    if (count == 0 || count > MAX_CHUNKS) return false;
    uint64_t *sums = cz_alloc_array(count, sizeof *sums);
    if (!sums) return false;
#pragma omp parallel for schedule(dynamic)
    for (size_t i = 0; i < count; i++) sums[i] = cz_xxh64(bytes + i * CHUNK, i + 1 < count ? CHUNK : size - i * CHUNK);
    *out = cz_xxh64(sums, count * sizeof *sums);
    cz_free(sums);
    return true;
}

static int hex_value(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A name as cz_packed_key_make gives it; the key in it. */
static bool read_name(const char *name, uint8_t key[32])
{
    if (strlen(name) != CZ_PACKED_NAME - 1 || name[SHA_DIGITS] != '-' || strcmp(name + SHA_DIGITS + 65, SUFFIX) != 0)
        return false;
    for (size_t i = 0; i < SHA_DIGITS; i++)
        if (hex_value(name[i]) < 0) return false;
    for (size_t i = 0; i < 64; i++) {
        const int v = hex_value(name[SHA_DIGITS + 1 + i]);
        if (v < 0) return false;
        key[i / 2] = (uint8_t)(i % 2 == 0 ? v << 4 : key[i / 2] | v);
    }
    return true;
}

void cz_packed_key_make(const char sha256[65], const char *context, cz_packed_key *out)
{
    cz_sha256 sha;
    char hex[65];
    cz_sha256_init(&sha);
    cz_sha256_update(&sha, sha256, 64);
    cz_sha256_update(&sha, context, strlen(context));
    cz_sha256_final(&sha, out->digest);
    cz_sha256_hex(out->digest, hex);
    (void)snprintf(out->name, sizeof out->name, "%.*s-%.64s" SUFFIX, SHA_DIGITS, sha256, hex);
}

void cz_packed_key_text(const char *name, char hex[65])
{
    (void)snprintf(hex, 65, "%.64s", name + SHA_DIGITS + 1);
}

typedef enum outcome { GOOD, DAMAGED, NOT_OURS } outcome; /* NOT_OURS: nothing can be said, nothing is done */

/* Everything but the packed bytes themselves, unless `deep`. */
static outcome check(const uint8_t *data, size_t size, const uint8_t key[32], bool deep, cz_packed_file *file)
{
    header h;
    uint64_t sum;
    if (size < sizeof h) return DAMAGED;
    memcpy(&h, data, sizeof h);
    if (h.magic != MAGIC || h.self != cz_xxh64(data, HASHED_HEADER) || h.version != CZ_PACKED_VERSION) return DAMAGED;
    if (memcmp(h.key, key, sizeof h.key) != 0 || h.text_size > MAX_TEXT) return DAMAGED;
    if (h.offset % PAGE != 0 || h.offset < sizeof h + h.text_size || h.offset > sizeof h + MAX_TEXT + PAGE ||
        h.offset >= size || h.size != size - h.offset)
        return DAMAGED;
    if (cz_xxh64(data + sizeof h, h.offset - sizeof h) != h.text_checksum) return DAMAGED;
    file->text = (const char *)data + sizeof h;
    file->text_size = h.text_size;
    file->bytes = data + h.offset;
    file->size = size - h.offset;
    if (!deep) return GOOD;
    if (!checksum(file->bytes, file->size, &sum)) return NOT_OURS;
    return sum == h.checksum ? GOOD : DAMAGED;
}

/* ---- the folder -------------------------------------------------------------------------------------------------- */

char *cz_packed_folder(void)
{
    char *home = cz_home_dir();
    char *folder = home ? cz_path_join(home, "packed") : NULL;
    cz_free(home);
    return folder;
}

/* Nobody else can have put anything there. */
static bool is_private(const struct stat *info)
{
    return info->st_uid == geteuid() && (info->st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

/* -1: it is not there, or not private. */
static int open_folder(const char *folder)
{
    struct stat info;
    const int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || (fstat(fd, &info) == 0 && is_private(&info))) return fd;
    (void)close(fd);
    return -1;
}

static int make_folder(const char *folder)
{
    char *parent = cz_strdup(folder);
    char *slash = parent ? strrchr(parent, '/') : NULL;
    if (slash) *slash = '\0';
    const bool made = slash && cz_make_dirs(parent) == CZ_OK && (mkdir(folder, 0700) == 0 || errno == EEXIST);
    cz_free(parent);
    return made ? open_folder(folder) : -1;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static outcome map_file(int folder, const char *name, bool deep, cz_packed_file *out)
{
    uint8_t key[32];
    struct stat info;
    memset(out, 0, sizeof *out);
    if (!read_name(name, key)) return NOT_OURS;
    const int fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) return NOT_OURS;
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode) || !is_private(&info)) {
        (void)close(fd);
        return NOT_OURS;
    }
    outcome result = DAMAGED;
    const size_t size = info.st_size > 0 ? (size_t)info.st_size : 0;
    void *data = size >= CZ_PACKED_HEADER ? mmap(NULL, size, PROT_READ, MAP_PRIVATE | (deep ? MAP_POPULATE : 0), fd, 0)
                                          : MAP_FAILED;
    if (data != MAP_FAILED) {
        result = check(data, size, key, deep, out);
        out->mapping = data;
        out->mapped = size;
        if (result != GOOD) cz_packed_file_close(out);
    } else if (size >= CZ_PACKED_HEADER) {
        result = NOT_OURS; /* out of address space says nothing about the file */
    }
    (void)close(fd);
    return result;
}

bool cz_packed_file_open(const char *folder, const char *name, bool deep, cz_packed_file *out)
{
    const int fd = open_folder(folder);
    if (fd < 0) return false;
    const outcome result = map_file(fd, name, deep, out);
    if (result == DAMAGED) (void)unlinkat(fd, name, 0);
    if (result == GOOD && deep) (void)utimensat(fd, name, NULL, AT_SYMLINK_NOFOLLOW);
    (void)close(fd);
    return result == GOOD;
}

void cz_packed_file_close(cz_packed_file *file)
{
    if (file->mapping) (void)munmap(file->mapping, file->mapped);
    memset(file, 0, sizeof *file);
}

bool cz_packed_damaged(const char *folder, const char *name)
{
    cz_packed_file file;
    const int fd = open_folder(folder);
    if (fd < 0) return false;
    const bool damaged = map_file(fd, name, true, &file) == DAMAGED;
    cz_packed_file_close(&file);
    (void)close(fd);
    return damaged;
}

bool cz_packed_remove(const char *folder, const char *name)
{
    const int fd = open_folder(folder);
    const bool gone = fd >= 0 && unlinkat(fd, name, 0) == 0;
    if (fd >= 0) (void)close(fd);
    return gone;
}

/* ---- listing and making room ------------------------------------------------------------------------------------- */

static bool is_temporary(const char *name)
{
    const size_t length = strlen(name);
    return length > 4 && strcmp(name + length - 4, ".tmp") == 0 && strstr(name, SUFFIX ".") != NULL;
}

static cz_status append(cz_packed_listing *l, const char *name, const struct stat *info)
{
    if (l->count == l->room) {
        const size_t room = l->room > 0 ? 2 * l->room : 32;
        cz_packed_entry *grown = cz_grow(l->entries, room, sizeof *grown);
        if (!grown) return CZ_E_MEMORY;
        l->entries = grown;
        l->room = room;
    }
    cz_packed_entry *e = &l->entries[l->count++];
    memcpy(e->name, name, CZ_PACKED_NAME);
    e->bytes = (uint64_t)info->st_size;
    e->used = info->st_mtim;
    l->bytes += e->bytes;
    return CZ_OK;
}

static int by_use(const void *a, const void *b)
{
    const cz_packed_entry *p = a, *q = b;
    if (p->used.tv_sec != q->used.tv_sec) return p->used.tv_sec < q->used.tv_sec ? -1 : 1;
    if (p->used.tv_nsec != q->used.tv_nsec) return p->used.tv_nsec < q->used.tv_nsec ? -1 : 1;
    return strcmp(p->name, q->name);
}

cz_status cz_packed_scan(const char *folder, cz_packed_listing *out)
{
    memset(out, 0, sizeof *out);
    const int fd = open_folder(folder);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (!dir) {
        if (fd >= 0) (void)close(fd);
        return CZ_OK;
    }
    cz_status status = CZ_OK;
    const time_t now = time(NULL);
    for (const struct dirent *e; status == CZ_OK && (e = readdir(dir)) != NULL;) {
        struct stat info;
        uint8_t key[32];
        const bool ours = read_name(e->d_name, key);
        if ((!ours && !is_temporary(e->d_name)) || fstatat(fd, e->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0 ||
            !S_ISREG(info.st_mode) || !is_private(&info))
            continue;
        if (ours)
            status = append(out, e->d_name, &info);
        else if (now - info.st_mtim.tv_sec > STALE_SECONDS)
            (void)unlinkat(fd, e->d_name, 0);
    }
    (void)closedir(dir);
    if (status != CZ_OK)
        cz_packed_listing_free(out);
    else if (out->count > 1)
        qsort(out->entries, out->count, sizeof *out->entries, by_use);
    return status;
}

void cz_packed_listing_free(cz_packed_listing *listing)
{
    cz_free(listing->entries);
    memset(listing, 0, sizeof *listing);
}

bool cz_packed_evict(const char *folder, cz_packed_listing *listing, uint64_t keep, uint64_t *removed)
{
    if (listing->bytes <= keep) return true;
    const int fd = open_folder(folder);
    const int lock = fd >= 0 ? openat(fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600) : -1;
    const bool locked = lock >= 0 && flock(lock, LOCK_EX | LOCK_NB) == 0;
    for (size_t i = 0; locked && i < listing->count && listing->bytes > keep; i++) {
        const cz_packed_entry *e = &listing->entries[i];
        struct stat info;
        if (fstatat(fd, e->name, &info, AT_SYMLINK_NOFOLLOW) == 0) {
            /* One used since the listing was made is spared. */
            if (info.st_mtim.tv_sec != e->used.tv_sec || info.st_mtim.tv_nsec != e->used.tv_nsec) continue;
            if (unlinkat(fd, e->name, 0) != 0) continue;
            *removed += e->bytes;
        }
        listing->bytes -= e->bytes;
    }
    if (lock >= 0) (void)close(lock);
    if (fd >= 0) (void)close(fd);
    return locked;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static bool write_all(int fd, const void *data, size_t bytes)
{
    const uint8_t *p = data;
    while (bytes > 0) {
        const ssize_t n = write(fd, p, bytes);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        p += n;
        bytes -= (size_t)n;
    }
    return true;
}

/* Not fsynced: after a power cut the checksum finds what is missing, and a cache may lose entries. */
static bool write_in(int folder, const char *name, const uint8_t *head, size_t head_size, const void *bytes,
                     size_t size)
{
    static atomic_ulong serial;
    char temporary[CZ_PACKED_NAME + 64];
    (void)snprintf(temporary, sizeof temporary, "%s.%ld.%lu.tmp", name, (long)getpid(), atomic_fetch_add(&serial, 1));
    const int fd = openat(folder, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return false;
    bool done = write_all(fd, head, head_size) && write_all(fd, bytes, size);
    if (close(fd) != 0) done = false;
    if (done) done = renameat(folder, temporary, folder, name) == 0;
    if (!done) (void)unlinkat(folder, temporary, 0);
    return done;
}

bool cz_packed_file_write(const char *folder, const cz_packed_key *key, const char *text, const void *bytes,
                          size_t size, uint64_t limit)
{
    const size_t text_size = strlen(text), head_size = (sizeof(header) + text_size + PAGE - 1) / PAGE * PAGE;
    header h = {.magic = MAGIC, .version = CZ_PACKED_VERSION, .offset = (uint32_t)head_size, .size = size};
    if (text_size > MAX_TEXT || size == 0 || size > limit || head_size > limit - size) return false;
    const int fd = make_folder(folder);
    if (fd < 0) return false;
    cz_packed_listing listing = {0};
    uint64_t removed = 0;
    uint8_t *head = cz_calloc(1, head_size);
    bool done = head && checksum(bytes, size, &h.checksum) && cz_packed_scan(folder, &listing) == CZ_OK &&
                cz_packed_evict(folder, &listing, limit - size - head_size, &removed) &&
                listing.bytes <= limit - size - head_size;
    if (done) {
        memcpy(head + sizeof h, text, text_size);
        memcpy(h.key, key->digest, sizeof h.key);
        h.text_size = (uint32_t)text_size;
        h.text_checksum = cz_xxh64(head + sizeof h, head_size - sizeof h);
        h.self = cz_xxh64(&h, HASHED_HEADER);
        memcpy(head, &h, sizeof h);
        done = write_in(fd, key->name, head, head_size, bytes, size);
    }
    cz_packed_listing_free(&listing);
    cz_free(head);
    (void)close(fd);
    return done;
}
