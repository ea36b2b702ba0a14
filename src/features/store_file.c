/* SPDX-License-Identifier: Apache-2.0 */
#include "features/store_file.h"

#include "util/alloc.h"
#include "util/xxh64.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC           UINT64_C(0x31524f5453465a43) /* "CZFSTOR1" in a little-endian file */
#define HASHED_HEADER   120
#define STALE_SECONDS   3600
#define SUFFIX          ".czf"
#define TEMPORARY       ".tmp"
#define KEY_REST_DIGITS 62

/* ---- one file --------------------------------------------------------------------------------------------------------- */

uint64_t cz_store_hash(const void *data, size_t bytes)
{
    return cz_xxh64(data, bytes);
}

static uint64_t read64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static void put(uint8_t *to, const void *from, size_t n)
{
    memcpy(to, from, n);
}

void cz_store_header_make(const cz_store_key *key, const uint16_t *values, size_t count,
                          uint8_t header[CZ_STORE_HEADER])
{
    const uint64_t magic = MAGIC, number = count;
    const uint32_t version = CZ_STORE_VERSION, size = CZ_STORE_HEADER;
    memset(header, 0, CZ_STORE_HEADER);
    put(header, &magic, 8);
    put(header + 8, &version, 4);
    put(header + 12, &size, 4);
    put(header + 16, &number, 8);
    put(header + 24, key->digest, sizeof key->digest);
    const uint64_t payload = cz_store_hash(values, count * sizeof *values);
    put(header + 56, &payload, 8);
    const uint64_t self = cz_store_hash(header, HASHED_HEADER);
    put(header + HASHED_HEADER, &self, 8);
}

bool cz_store_file_whole(const uint8_t *data, size_t size, const cz_store_key *key, size_t *count, bool deep)
{
    uint32_t version, header_size;
    if (size < CZ_STORE_HEADER || read64(data) != MAGIC) return false;
    if (read64(data + HASHED_HEADER) != cz_store_hash(data, HASHED_HEADER)) return false;
    memcpy(&version, data + 8, 4);
    memcpy(&header_size, data + 12, 4);
    if (version != CZ_STORE_VERSION || header_size != CZ_STORE_HEADER) return false;
    if (memcmp(data + 24, key->digest, sizeof key->digest) != 0) return false;
    const uint64_t number = read64(data + 16);
    if (number > SIZE_MAX / 4 || (size_t)number * sizeof(uint16_t) != size - CZ_STORE_HEADER) return false;
    if (deep && read64(data + 56) != cz_store_hash(data + CZ_STORE_HEADER, size - CZ_STORE_HEADER)) return false;
    *count = (size_t)number;
    return true;
}

static void key_hex(const cz_store_key *key, char hex[65])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < 32; i++) {
        hex[2 * i] = digits[key->digest[i] >> 4];
        hex[2 * i + 1] = digits[key->digest[i] & 15];
    }
    hex[64] = '\0';
}

char *cz_store_file_path(const char *dir, const cz_store_key *key)
{
    char hex[65];
    key_hex(key, hex);
    return cz_format("%s/%.2s/%s" SUFFIX, dir, hex, hex + 2);
}

/* ---- the folder ------------------------------------------------------------------------------------------------------- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
}

/* `digits` hex digits of text into out; false if there are others. */
static bool read_hex(const char *text, size_t digits, uint8_t *out)
{
    for (size_t i = 0; i < digits; i++) {
        const int v = hex_digit(text[i]);
        if (v < 0) return false;
        out[i / 2] = (uint8_t)(i % 2 == 0 ? v << 4 : out[i / 2] | v);
    }
    return true;
}

static bool ends_with(const char *name, const char *suffix)
{
    const size_t n = strlen(name), m = strlen(suffix);
    return n >= m && strcmp(name + n - m, suffix) == 0;
}

static cz_status append(cz_store_listing *l, const cz_store_file *file)
{
    if (l->count == l->capacity) {
        const size_t capacity = l->capacity > 0 ? 2 * l->capacity : 256;
        cz_store_file *grown = cz_grow(l->files, capacity, sizeof *grown);
        if (!grown) return CZ_E_MEMORY;
        l->files = grown;
        l->capacity = capacity;
    }
    l->files[l->count++] = *file;
    l->bytes += file->bytes;
    return CZ_OK;
}

/* One of the 256 folders; `byte` is the first of its keys. */
static cz_status scan_folder(int parent, uint8_t byte, bool sweep, cz_store_listing *l)
{
    char name[3];
    (void)snprintf(name, sizeof name, "%02x", byte);
    const int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) return CZ_OK;
    DIR *folder = fdopendir(fd);
    if (!folder) {
        close(fd);
        return CZ_OK;
    }
    cz_status status = CZ_OK;
    const time_t now = time(NULL);
    for (const struct dirent *e = readdir(folder); e && status == CZ_OK; e = readdir(folder)) {
        struct stat st;
        cz_store_file file = {.key.digest = {byte}};
        if (strlen(e->d_name) < KEY_REST_DIGITS || !read_hex(e->d_name, KEY_REST_DIGITS, file.key.digest + 1)) continue;
        if (fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode)) continue;
        if (ends_with(e->d_name, TEMPORARY)) {
            if (sweep && now - st.st_mtim.tv_sec > STALE_SECONDS) (void)unlinkat(fd, e->d_name, 0);
            continue;
        }
        if (strcmp(e->d_name + KEY_REST_DIGITS, SUFFIX) != 0) continue;
        file.bytes = (uint64_t)st.st_size;
        file.used = st.st_mtim;
        status = append(l, &file);
    }
    closedir(folder);
    return status;
}

static int by_use(const void *a, const void *b)
{
    const cz_store_file *p = a, *q = b;
    if (p->used.tv_sec != q->used.tv_sec) return p->used.tv_sec < q->used.tv_sec ? -1 : 1;
    if (p->used.tv_nsec != q->used.tv_nsec) return p->used.tv_nsec < q->used.tv_nsec ? -1 : 1;
    return memcmp(p->key.digest, q->key.digest, sizeof p->key.digest);
}

cz_status cz_store_scan(const char *dir, bool sweep, cz_store_listing *out)
{
    memset(out, 0, sizeof *out);
    const int parent = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (parent < 0) return errno == ENOENT ? CZ_OK : cz_fail_errno(dir, "open", errno);
    cz_status status = CZ_OK;
    for (unsigned byte = 0; byte < 256 && status == CZ_OK; byte++)
        status = scan_folder(parent, (uint8_t)byte, sweep, out);
    close(parent);
    if (status != CZ_OK)
        cz_store_listing_free(out);
    else if (out->count > 1)
        qsort(out->files, out->count, sizeof *out->files, by_use);
    return status;
}

void cz_store_listing_free(cz_store_listing *listing)
{
    cz_free(listing->files);
    memset(listing, 0, sizeof *listing);
}

/* An entry used since the listing was made is spared. */
static bool remove_entry(const char *dir, const cz_store_file *file)
{
    char *path = cz_store_file_path(dir, &file->key);
    struct stat st;
    bool gone = false;
    if (path && stat(path, &st) == 0 && st.st_mtim.tv_sec == file->used.tv_sec &&
        st.st_mtim.tv_nsec == file->used.tv_nsec)
        gone = unlink(path) == 0;
    cz_free(path);
    return gone;
}

bool cz_store_evict(const char *dir, cz_store_listing *listing, uint64_t keep, uint64_t *removed)
{
    char *path = cz_format("%s/lock", dir);
    if (!path) return false;
    const int lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    cz_free(path);
    if (lock < 0) return false;
    if (flock(lock, LOCK_EX | LOCK_NB) != 0) {
        close(lock);
        return false;
    }
    for (size_t i = 0; i < listing->count && listing->bytes > keep; i++) {
        if (!remove_entry(dir, &listing->files[i])) continue;
        listing->bytes -= listing->files[i].bytes;
        *removed += listing->files[i].bytes;
    }
    close(lock);
    return true;
}
