/* SPDX-License-Identifier: Apache-2.0 */
#include "api/feature_set.h"

#include "util/alloc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

cz_status cz_feature_set_create(size_t count, size_t values, cz_feature_set *out)
{
    *out = (cz_feature_set){count, values, cz_calloc(count, sizeof *out->items), -1, 0};
    if (out->items == NULL) out->count = 0;
    return out->items != NULL ? CZ_OK : CZ_E_MEMORY;
}

void cz_feature_set_free(cz_feature_set *set)
{
    for (size_t i = 0; i < set->count; i++) {
        cz_store_release(&set->items[i].entry);
        cz_free(set->items[i].valid);
    }
    if (set->items != NULL && set->file >= 0) (void)close(set->file); /* a cleared one has no file, whatever it says */
    cz_free(set->items);
    *set = (cz_feature_set){0, 0, NULL, -1, 0};
}

void cz_feature_set_compact(cz_feature_set *set)
{
    size_t kept = 0;
    for (size_t i = 0; i < set->count; i++) {
        if (set->items[i].values != NULL) set->items[kept++] = set->items[i];
    }
    set->count = kept;
}

/* Maps of a set up to this size may all stay in memory. */
#define RESIDENT_BYTES ((uint64_t)512 << 20)

void cz_feature_set_release_pages(const cz_feature_set *set, size_t image)
{
    if ((uint64_t)set->count * set->values * sizeof *set->items->values <= RESIDENT_BYTES) return;
    const cz_mapping *mapping = &set->items[image].entry.mapping;
    if (mapping->data != NULL) (void)madvise((void *)(uintptr_t)mapping->data, mapping->size, MADV_DONTNEED);
}

void cz_feature_set_read_ahead(const cz_feature_set *set, size_t image)
{
    const cz_mapping *mapping = &set->items[image].entry.mapping;
    if (mapping->data != NULL) (void)madvise((void *)(uintptr_t)mapping->data, mapping->size, MADV_WILLNEED);
}

/* A file without a name: it is gone with the process, whatever ends it. */
static cz_status open_file(cz_feature_set *set)
{
    const char *folder = getenv("TMPDIR");
    char *path = cz_path_join(folder != NULL && folder[0] != '\0' ? folder : "/tmp", "cozad-features-XXXXXX");
    if (path == NULL) return CZ_E_MEMORY;
    cz_status status = CZ_OK;
    set->file = mkostemp(path, O_CLOEXEC);
    if (set->file < 0) {
        status = cz_fail_errno(path, "write", errno);
    } else {
        (void)unlink(path);
    }
    cz_free(path);
    return status;
}

cz_status cz_feature_set_map(cz_feature_set *set, const uint16_t *values, cz_store_entry *out)
{
    if (set->file < 0) {
        const cz_status status = open_file(set);
        if (status != CZ_OK) return status;
    }
    const size_t bytes = set->values * sizeof *values;
    for (size_t done = 0; done < bytes;) {
        const ssize_t n = pwrite(set->file, (const char *)values + done, bytes - done, (off_t)(set->file_size + done));
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0)
            return cz_fail_errno("temporary features (set TMPDIR to a folder with room)", "write",
                                 n < 0 ? errno : ENOSPC);
        done += (size_t)n;
    }
    void *data = mmap(NULL, bytes, PROT_READ, MAP_SHARED, set->file, (off_t)set->file_size);
    if (data == MAP_FAILED) return cz_fail_errno("temporary features", "map", errno);
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    set->file_size += (bytes + page - 1) / page * page;
    *out = (cz_store_entry){{data, bytes}, data, set->values};
    return CZ_OK;
}
