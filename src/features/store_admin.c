/* SPDX-License-Identifier: Apache-2.0 */
/* The public cz_cache_* functions: looking at and emptying a feature store, and with the default folder the packed weights that
 * lie beside it. */
#include "features/store.h"

#include "backbone/packed_file.h"
#include "features/store_file.h"
#include "util/alloc.h"
#include "util/sha256.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

char *cz_cache_default_dir(void)
{
    char *home = cz_home_dir();
    char *dir = home ? cz_path_join(home, "features") : NULL;
    cz_free(home);
    return dir;
}

/* The folder that the options mean; cz_free. */
static cz_status folder(const cz_cache_options *options, char **out)
{
    if (options && options->struct_size < sizeof *options)
        return cz_fail(CZ_E_ARG, "cache options: struct_size is not set");
    const char *dir = options && options->dir ? options->dir : "";
    *out = dir[0] != '\0' ? cz_strdup(dir) : cz_cache_default_dir();
    return *out ? CZ_OK : CZ_E_MEMORY;
}

/* Reads every byte. */
static bool damaged(const char *dir, const cz_store_file *file)
{
    char *path = cz_store_file_path(dir, &file->key);
    cz_mapping mapping = {NULL, 0};
    bool whole = false;
    size_t count;
    if (path && file->bytes > 0 && cz_file_map(path, &mapping) == CZ_OK) {
        whole = cz_store_file_whole(mapping.data, mapping.size, &file->key, &count, true);
        cz_file_unmap(&mapping);
    } else {
        cz_error_clear();
    }
    cz_free(path);
    return !whole;
}

/* Packed weights have one folder only; a store in a folder of its own has none. */
static bool with_packed(const cz_cache_options *options)
{
    return !options || !options->dir || options->dir[0] == '\0';
}

static cz_status list_packed(int verify, cz_cache_visit_fn visit, void *ctx)
{
    cz_status status = CZ_OK;
    cz_packed_listing listing = {0};
    char *dir = cz_packed_folder();
    if (!dir) return CZ_E_MEMORY;
    CZ_TRY(cz_packed_scan(dir, &listing));
    for (size_t i = 0; i < listing.count; i++) {
        const cz_packed_entry *file = &listing.entries[i];
        cz_cache_entry entry = {.bytes = file->bytes, .last_used = file->used.tv_sec, .packed = 1};
        cz_packed_key_text(file->name, entry.key);
        if (verify) entry.damaged = cz_packed_damaged(dir, file->name);
        if (visit(ctx, &entry) != 0) CZ_TRY(cz_fail(CZ_E_CANCELLED, "cache list: cancelled"));
    }
out:
    cz_packed_listing_free(&listing);
    cz_free(dir);
    return status;
}

cz_status cz_cache_list(const cz_cache_options *options, int verify, cz_cache_visit_fn visit, void *ctx)
{
    cz_status status = CZ_OK;
    char *dir = NULL;
    cz_store_listing listing = {0};
    cz_error_clear();
    if (!visit) return cz_fail(CZ_E_ARG, "cache list: no visitor");
    CZ_TRY(folder(options, &dir));
    CZ_TRY(cz_store_scan(dir, false, &listing));
    for (size_t i = 0; i < listing.count; i++) {
        const cz_store_file *file = &listing.files[i];
        cz_cache_entry entry = {.bytes = file->bytes, .last_used = file->used.tv_sec};
        cz_sha256_hex(file->key.digest, entry.key);
        if (verify) entry.damaged = damaged(dir, file);
        if (visit(ctx, &entry) != 0) {
            status = cz_fail(CZ_E_CANCELLED, "cache list: cancelled");
            goto out;
        }
    }
    if (with_packed(options)) CZ_TRY(list_packed(verify, visit, ctx));
out:
    cz_store_listing_free(&listing);
    cz_free(dir);
    return status;
}

/* Damaged entries go first: they are moved out of the listing. */
static void drop_damaged(const char *dir, cz_store_listing *listing, uint64_t *removed)
{
    size_t kept = 0;
    for (size_t i = 0; i < listing->count; i++) {
        const cz_store_file file = listing->files[i];
        char *path = damaged(dir, &file) ? cz_store_file_path(dir, &file.key) : NULL;
        if (path && unlink(path) == 0) {
            listing->bytes -= file.bytes;
            *removed += file.bytes;
        } else {
            listing->files[kept++] = file;
        }
        cz_free(path);
    }
    listing->count = kept;
}

/* Damaged ones and, least recently used first, what is over `keep_bytes`. *left: what remains. */
static cz_status prune_packed(uint64_t keep_bytes, uint64_t *removed, uint64_t *left)
{
    cz_status status = CZ_OK;
    cz_packed_listing listing = {0};
    char *dir = cz_packed_folder();
    if (!dir) return CZ_E_MEMORY;
    CZ_TRY(cz_packed_scan(dir, &listing));
    for (size_t i = 0; keep_bytes > 0 && i < listing.count; i++) {
        cz_packed_entry *file = &listing.entries[i];
        if (!cz_packed_damaged(dir, file->name) || !cz_packed_remove(dir, file->name)) continue;
        listing.bytes -= file->bytes;
        *removed += file->bytes;
        file->bytes = 0;
    }
    if (!cz_packed_evict(dir, &listing, keep_bytes, removed) || listing.bytes > keep_bytes)
        status = cz_fail(CZ_E_IO, "%s: in use by another process, or the folder cannot be written", dir);
    *left = listing.bytes;
out:
    cz_packed_listing_free(&listing);
    cz_free(dir);
    return status;
}

static cz_status prune_store(const char *dir, uint64_t keep_bytes, uint64_t *removed)
{
    cz_status status = CZ_OK;
    cz_store_listing listing = {0};
    CZ_TRY(cz_store_scan(dir, true, &listing));
    if (listing.count > 0) {
        if (keep_bytes > 0) drop_damaged(dir, &listing, removed); /* with 0 all of them go in any case */
        if (!cz_store_evict(dir, &listing, keep_bytes, removed))
            status = cz_fail(CZ_E_IO, "%s: another process is pruning, or the folder cannot be written", dir);
        else if (listing.bytes > keep_bytes)
            status = cz_fail(CZ_E_IO, "%s: some entries are in use or cannot be removed", dir);
    }
out:
    cz_store_listing_free(&listing);
    return status;
}

/* Features go before packed weights, which are few and cost every start. */
cz_status cz_cache_prune(const cz_cache_options *options, uint64_t keep_bytes, uint64_t *removed_bytes)
{
    cz_status status = CZ_OK;
    char *dir = NULL;
    uint64_t removed = 0, packed = 0;
    cz_error_clear();
    CZ_TRY(folder(options, &dir));
    if (with_packed(options)) status = prune_packed(keep_bytes, &removed, &packed);
    const cz_status features = prune_store(dir, keep_bytes > packed ? keep_bytes - packed : 0, &removed);
    if (status == CZ_OK) status = features;
out:
    if (removed_bytes) *removed_bytes = removed;
    cz_free(dir);
    return status;
}
