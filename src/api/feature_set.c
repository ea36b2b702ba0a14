/* SPDX-License-Identifier: Apache-2.0 */
#include "api/feature_set.h"

#include "util/alloc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

void cz_feature_set_init(size_t values, cz_feature_set *out)
{
    memset(out, 0, sizeof *out);
    out->values = values;
    out->file = -1;
}

void cz_feature_set_free(cz_feature_set *set)
{
    for (size_t i = 0; i < set->count; i++) {
        cz_store_release(&set->items[i].entry);
        cz_free(set->items[i].valid);
    }
    cz_free(set->items);
    if (set->file >= 0) (void)close(set->file);
    cz_feature_set_init(0, set);
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

static cz_status map_copy(cz_feature_set *set, const uint16_t *values, cz_store_entry *out)
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

cz_status cz_feature_set_add(cz_feature_set *set, cz_extractor *x, size_t index, const cz_extracted *what,
                             uint8_t *valid, size_t valid_count, const uint8_t sha256[32])
{
    if (set->count == set->room) {
        const size_t room = set->room == 0 ? 64 : 2 * set->room;
        struct cz_feature_item *items = cz_grow(set->items, room, sizeof *items);
        if (items == NULL) return CZ_E_MEMORY;
        set->items = items;
        set->room = room;
    }
    struct cz_feature_item *item = &set->items[set->count];
    memset(item, 0, sizeof *item);
    if (!cz_extractor_take_entry(x, index, &item->entry)) {
        const cz_status status = map_copy(set, what->values, &item->entry);
        if (status != CZ_OK) return status;
    }
    item->values = item->entry.values;
    item->valid = valid;
    item->valid_count = valid_count;
    memcpy(item->sha256, sha256, sizeof item->sha256);
    set->count++;
    return CZ_OK;
}
