/* SPDX-License-Identifier: Apache-2.0 */
/* torch.save since 1.6: a zip archive with NAME/data.pkl (the pickle), NAME/data/KEY (one entry a storage), NAME/version
 * and, in newer files, NAME/byteorder. libzip reads the archive. PyTorch stores its entries uncompressed, and those are
 * used where they lie: the archive is handed to libzip through a source of our own that notes where it was read last. */
#include "weights/pth_reader.h"

#include "util/alloc.h"

#include <string.h>
#include <zip.h>

#define MAX_ENTRIES ((zip_int64_t)200000)
/* Deflate cannot expand more than 1032-fold. */
#define MAX_RATIO   ((zip_uint64_t)1040)
#define PROBE_BYTES ((size_t)32)

typedef struct archive {
    const uint8_t *data;
    size_t size;
    size_t at;        /* position of the next read */
    size_t last_read; /* where the last read began */
    zip_error_t error;
    zip_t *zip;
    char *prefix; /* "NAME/" */
} archive;

static zip_int64_t source_seek(archive *a, void *data, zip_uint64_t length)
{
    const zip_int64_t offset = zip_source_seek_compute_offset(a->at, a->size, data, length, &a->error);
    if (offset < 0) return -1;
    a->at = (size_t)offset;
    return 0;
}

static zip_int64_t source_read(archive *a, void *data, zip_uint64_t length)
{
    const size_t left = a->size - a->at;
    const size_t bytes = length < left ? (size_t)length : left;
    if (bytes) memcpy(data, a->data + a->at, bytes);
    a->last_read = a->at;
    a->at += bytes;
    return (zip_int64_t)bytes;
}

static zip_int64_t source_stat(const archive *a, void *data, zip_uint64_t length)
{
    if (length < sizeof(zip_stat_t)) return -1;
    zip_stat_t *st = data;
    zip_stat_init(st);
    st->size = a->size;
    st->valid = ZIP_STAT_SIZE;
    return (zip_int64_t)sizeof *st;
}

static zip_int64_t source_callback(void *context, void *data, zip_uint64_t length, zip_source_cmd_t command)
{
    archive *a = context;
    switch (command) {
    case ZIP_SOURCE_OPEN:
        a->at = 0;
        return 0;
    case ZIP_SOURCE_CLOSE:
        return 0;
    case ZIP_SOURCE_FREE:
        return 0;
    case ZIP_SOURCE_READ:
        return source_read(a, data, length);
    case ZIP_SOURCE_SEEK:
        return source_seek(a, data, length);
    case ZIP_SOURCE_TELL:
        return (zip_int64_t)a->at;
    case ZIP_SOURCE_STAT:
        return source_stat(a, data, length);
    case ZIP_SOURCE_ERROR:
        return zip_error_to_data(&a->error, data, length);
    case ZIP_SOURCE_SUPPORTS:
        return zip_source_make_command_bitmap(ZIP_SOURCE_OPEN, ZIP_SOURCE_CLOSE, ZIP_SOURCE_FREE, ZIP_SOURCE_READ,
                                              ZIP_SOURCE_SEEK, ZIP_SOURCE_TELL, ZIP_SOURCE_STAT, ZIP_SOURCE_ERROR,
                                              ZIP_SOURCE_SUPPORTS, -1);
    default:
        zip_error_set(&a->error, ZIP_ER_OPNOTSUPP, 0);
        return -1;
    }
}

static cz_status fail_zip(zip_error_t *error, const char *what)
{
    const cz_status status = zip_error_code_zip(error) == ZIP_ER_MEMORY ? CZ_E_MEMORY : CZ_E_FORMAT;
    return cz_fail(status, "%s: %s", what, zip_error_strerror(error));
}

static cz_status open_archive(archive *a)
{
    zip_error_t error;
    zip_error_init(&error);
    cz_status status = CZ_OK;
    zip_source_t *source = zip_source_function_create(source_callback, a, &error);
    if (source) a->zip = zip_open_from_source(source, ZIP_RDONLY | ZIP_CHECKCONS, &error);
    if (!a->zip) {
        status = fail_zip(&error, "not a usable zip archive");
        zip_source_free(source);
    }
    zip_error_fini(&error);
    return status;
}

/* Checks what the directory says of an entry. */
static cz_status stat_entry(archive *a, zip_uint64_t index, zip_stat_t *st)
{
    const zip_uint64_t wanted =
        ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD | ZIP_STAT_ENCRYPTION_METHOD | ZIP_STAT_NAME;
    if (zip_stat_index(a->zip, index, ZIP_FL_ENC_RAW, st) != 0 || (st->valid & wanted) != wanted)
        return cz_fail(CZ_E_FORMAT, "the zip archive's directory is damaged");
    if (st->encryption_method != ZIP_EM_NONE) return cz_fail(CZ_E_FORMAT, "zip entry %s is encrypted", st->name);
    if (st->comp_method != ZIP_CM_STORE && st->comp_method != ZIP_CM_DEFLATE)
        return cz_fail(CZ_E_FORMAT, "zip entry %s: compression method %u is not supported", st->name, st->comp_method);
    if (st->comp_size > a->size || (st->comp_method == ZIP_CM_STORE && st->size != st->comp_size) ||
        st->size / MAX_RATIO > st->comp_size)
        return cz_fail(CZ_E_FORMAT, "zip entry %s: %llu bytes out of %llu cannot be", st->name,
                       (unsigned long long)st->size, (unsigned long long)st->comp_size);
    return CZ_OK;
}

/* Where a stored entry lies in the file: libzip looks it up and reads its first bytes, and where that read began is the
 * place. NULL when the bytes there are not the ones that were read, which only another way of reading could cause. */
static const uint8_t *place_of(archive *a, zip_uint64_t index, size_t size)
{
    uint8_t probe[PROBE_BYTES];
    const size_t wanted = size < PROBE_BYTES ? size : PROBE_BYTES;
    zip_file_t *file = zip_fopen_index(a->zip, index, ZIP_FL_COMPRESSED);
    if (!file) return NULL;
    const zip_int64_t got = zip_fread(file, probe, wanted);
    const size_t at = a->last_read;
    (void)zip_fclose(file);
    if (got != (zip_int64_t)wanted || at > a->size || size > a->size - at) return NULL;
    return memcmp(a->data + at, probe, wanted) == 0 ? a->data + at : NULL;
}

static cz_status read_entry(archive *a, zip_uint64_t index, size_t size, uint8_t **out)
{
    uint8_t *buffer = cz_alloc(size);
    if (!buffer) return CZ_E_MEMORY;
    zip_file_t *file = zip_fopen_index(a->zip, index, 0);
    uint8_t extra;
    /* The read past the end has libzip compare the checksum. */
    const bool whole = file && zip_fread(file, buffer, size) == (zip_int64_t)size && zip_fread(file, &extra, 1) == 0;
    if (file) (void)zip_fclose(file);
    if (!whole) {
        cz_free(buffer);
        return cz_fail(CZ_E_FORMAT, "zip entry %s is damaged", zip_get_name(a->zip, index, ZIP_FL_ENC_RAW));
    }
    *out = buffer;
    return CZ_OK;
}

/* *data: the entry's bytes; *owned: what to free, NULL when it is a view of the file. */
static cz_status entry_bytes(archive *a, const zip_stat_t *st, const uint8_t **data, uint8_t **owned)
{
    *owned = NULL;
    *data = st->comp_method == ZIP_CM_STORE ? place_of(a, st->index, (size_t)st->size) : NULL;
    if (*data) return CZ_OK;
    const cz_status status = read_entry(a, st->index, (size_t)st->size, owned);
    if (status == CZ_OK) *data = *owned;
    return status;
}

static cz_status load_storage(cz_pth_reader *reader, cz_pth_storage *storage)
{
    cz_status status;
    archive *a = reader->load_context;
    zip_stat_t st;
    char *name = cz_format("%sdata/%.*s", a->prefix, (int)storage->key_length, (const char *)storage->key);
    if (!name) return CZ_E_MEMORY;
    const zip_int64_t index = zip_name_locate(a->zip, name, ZIP_FL_ENC_RAW);
    if (index < 0) CZ_TRY(cz_fail(CZ_E_FORMAT, "storage %s is not in the file", name));
    CZ_TRY(stat_entry(a, (zip_uint64_t)index, &st));
    if (st.size != storage->bytes)
        CZ_TRY(cz_fail(CZ_E_FORMAT, "storage %s: %llu bytes where %zu were announced", name,
                       (unsigned long long)st.size, storage->bytes));
    if (st.comp_method != ZIP_CM_STORE) {
        if (storage->bytes > reader->budget)
            CZ_TRY(cz_fail(CZ_E_LIMIT, "storage %s decompresses to more than the limit allows", name));
        reader->budget -= storage->bytes;
    }
    status = entry_bytes(a, &st, &storage->data, &storage->owned);
out:
    cz_free(name);
    return status;
}

/* The one entry NAME/data.pkl. */
static cz_status find_pickle(archive *a, zip_uint64_t *index)
{
    static const char TAIL[] = "/data.pkl";
    const zip_int64_t count = zip_get_num_entries(a->zip, 0);
    if (count > MAX_ENTRIES) return cz_fail(CZ_E_LIMIT, "a zip archive of %lld entries", (long long)count);
    for (zip_int64_t i = 0; i < count; i++) {
        const char *name = zip_get_name(a->zip, (zip_uint64_t)i, ZIP_FL_ENC_RAW);
        const char *slash = name ? strchr(name, '/') : NULL;
        if (!slash || strcmp(slash, TAIL) != 0) continue;
        if (a->prefix) return cz_fail(CZ_E_FORMAT, "the zip archive holds two data.pkl");
        a->prefix = cz_strndup(name, (size_t)(slash - name) + 1);
        if (!a->prefix) return CZ_E_MEMORY;
        *index = (zip_uint64_t)i;
    }
    if (!a->prefix)
        return cz_fail(CZ_E_FORMAT, "a zip archive, but not a PyTorch checkpoint: it holds no NAME/data.pkl");
    return CZ_OK;
}

static cz_status check_byte_order(archive *a)
{
    cz_status status;
    zip_stat_t st;
    uint8_t *order = NULL;
    char *name = cz_format("%sbyteorder", a->prefix);
    if (!name) return CZ_E_MEMORY;
    const zip_int64_t index = zip_name_locate(a->zip, name, ZIP_FL_ENC_RAW);
    cz_free(name);
    if (index < 0) return CZ_OK; /* written before 2.0, on a little-endian machine as good as always */
    CZ_TRY(stat_entry(a, (zip_uint64_t)index, &st));
    if (st.size == 6) CZ_TRY(read_entry(a, st.index, 6, &order));
    if (!order || memcmp(order, "little", 6) != 0)
        CZ_TRY(cz_fail(CZ_E_FORMAT, "written on a big-endian machine, which is not supported"));
out:
    cz_free(order);
    return status;
}

cz_status cz_pth_read_zip(cz_pth_reader *reader)
{
    cz_status status;
    archive a = {.data = reader->data, .size = reader->size};
    uint8_t *owned = NULL;
    zip_error_init(&a.error);
    zip_uint64_t index = 0;
    zip_stat_t st;
    const uint8_t *bytes = NULL;
    size_t used = 0;
    CZ_TRY(open_archive(&a));
    CZ_TRY(find_pickle(&a, &index));
    CZ_TRY(check_byte_order(&a));
    CZ_TRY(stat_entry(&a, index, &st));
    if (st.size > CZ_PICKLE_MAX_BYTES || st.size > reader->budget)
        CZ_TRY(cz_fail(CZ_E_LIMIT, "zip entry %s: %llu bytes are too many", st.name, (unsigned long long)st.size));
    CZ_TRY(entry_bytes(&a, &st, &bytes, &owned));
    CZ_TRY(cz_pickle_load(bytes, (size_t)st.size, &used, &reader->pickle));
    if (used != st.size) CZ_TRY(cz_fail(CZ_E_FORMAT, "%zu bytes after the pickle's end", (size_t)st.size - used));
    CZ_TRY(cz_pth_group_storages(reader));
    reader->load = load_storage;
    reader->load_context = &a;
    CZ_TRY(cz_pth_collect(reader));
    cz_tensors_set_format(reader->tensors, "pytorch-zip");
out:
    if (a.zip) zip_discard(a.zip);
    zip_error_fini(&a.error);
    cz_free(a.prefix);
    cz_free(owned);
    return status;
}
