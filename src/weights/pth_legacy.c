/* SPDX-License-Identifier: Apache-2.0 */
/* torch.save before 1.6: pickles of a magic number, a protocol version, facts about the machine, the state dict and the
 * list of storage keys; then for each key an int64 element count and the elements. */
#include "weights/pth_reader.h"

#include "tensor/dtype.h"
#include "util/alloc.h"

#include <inttypes.h>
#include <string.h>

#define PROTOCOL_VERSION 1001

/* 0x1950a86a20f9469cfc6c as pickle's LONG1 stores it */
static const uint8_t MAGIC[10] = {0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19};

/* The pickle at *at; moves *at behind it. */
static cz_status next_pickle(const cz_pth_reader *reader, size_t *at, const char *what, cz_pickle *out)
{
    size_t used = 0;
    cz_status status = cz_pickle_load(reader->data + *at, reader->size - *at, &used, out);
    if (status != CZ_OK) return cz_fail_prefix(status, what);
    *at += used;
    return CZ_OK;
}

static bool is_magic(const cz_pickle_value *v)
{
    return v->kind == CZ_PICKLE_LONG && v->as.text.length == sizeof MAGIC &&
           memcmp(v->as.text.bytes, MAGIC, sizeof MAGIC) == 0;
}

static cz_status check_machine(const cz_pickle *p)
{
    const cz_pickle_value *root = &p->values[p->root];
    if (root->kind != CZ_PICKLE_DICT) return cz_fail(CZ_E_FORMAT, "system information is not a dict");
    for (size_t i = 0; i + 2 <= root->as.sequence.count; i += 2) {
        const cz_pickle_value *value = &p->values[root->as.sequence.items[i + 1]];
        if (cz_pickle_text_is(&p->values[root->as.sequence.items[i]], "little_endian")) {
            if (value->kind != CZ_PICKLE_BOOL || value->as.integer != 1)
                return cz_fail(CZ_E_FORMAT, "written on a big-endian machine, which is not supported");
            return CZ_OK;
        }
    }
    return cz_fail(CZ_E_FORMAT, "system information does not tell the byte order");
}

static cz_status read_preamble(const cz_pth_reader *reader, size_t *at)
{
    cz_status status;
    cz_pickle p = {0};
    CZ_TRY(next_pickle(reader, at, "magic number", &p));
    if (!is_magic(&p.values[p.root])) CZ_TRY(cz_fail(CZ_E_FORMAT, "not a PyTorch checkpoint: no magic number"));
    cz_pickle_free(&p);
    CZ_TRY(next_pickle(reader, at, "protocol version", &p));
    const cz_pickle_value *version = &p.values[p.root];
    if (version->kind != CZ_PICKLE_INT || version->as.integer != PROTOCOL_VERSION)
        CZ_TRY(cz_fail(CZ_E_FORMAT, "a legacy checkpoint of another version than %d", PROTOCOL_VERSION));
    cz_pickle_free(&p);
    CZ_TRY(next_pickle(reader, at, "system information", &p));
    status = check_machine(&p);
out:
    cz_pickle_free(&p);
    return status;
}

static cz_status read_storage(cz_pth_reader *reader, const cz_pickle_value *key, size_t *at)
{
    if (key->kind != CZ_PICKLE_TEXT)
        return cz_fail(CZ_E_FORMAT, "the list of storages holds something that is no name");
    cz_pth_storage *storage = cz_pth_find_storage(reader, key->as.text.bytes, key->as.text.length);
    if (!storage) return cz_fail(CZ_E_FORMAT, "the list of storages holds one that no tensor uses");
    if (storage->data) return cz_fail(CZ_E_FORMAT, "the list of storages holds one twice");
    if (reader->size - *at < 8) return cz_fail(CZ_E_FORMAT, "the file ends in the middle of its storages");
    uint64_t count = 0;
    for (size_t i = 0; i < 8; i++) count |= (uint64_t)reader->data[*at + i] << (8 * i);
    *at += 8;
    const size_t expected = storage->bytes / cz_dtype_size(storage->dtype);
    if (count != expected)
        return cz_fail(CZ_E_FORMAT, "a storage of %" PRIu64 " elements where %zu were announced", count, expected);
    if (storage->bytes > reader->size - *at) return cz_fail(CZ_E_FORMAT, "the file ends in the middle of its storages");
    storage->data = reader->data + *at;
    *at += storage->bytes;
    return CZ_OK;
}

static cz_status load_missing(cz_pth_reader *reader, cz_pth_storage *storage)
{
    (void)reader;
    return cz_fail(CZ_E_FORMAT, "storage \"%.*s\" is not in the file",
                   (int)(storage->key_length > 64 ? 64 : storage->key_length), (const char *)storage->key);
}

cz_status cz_pth_read_legacy(cz_pth_reader *reader)
{
    cz_status status;
    cz_pickle keys = {0};
    size_t at = 0;
    reader->load = load_missing;
    CZ_TRY(read_preamble(reader, &at));
    CZ_TRY(next_pickle(reader, &at, "state dict", &reader->pickle));
    CZ_TRY(cz_pth_group_storages(reader));
    CZ_TRY(next_pickle(reader, &at, "list of storages", &keys));
    const cz_pickle_value *list = &keys.values[keys.root];
    if (list->kind != CZ_PICKLE_LIST) CZ_TRY(cz_fail(CZ_E_FORMAT, "the list of storages is not a list"));
    for (size_t i = 0; i < list->as.sequence.count; i++)
        CZ_TRY(read_storage(reader, &keys.values[list->as.sequence.items[i]], &at));
    if (at != reader->size) CZ_TRY(cz_fail(CZ_E_FORMAT, "%zu bytes after the last storage", reader->size - at));
    CZ_TRY(cz_pth_collect(reader));
    cz_tensors_set_format(reader->tensors, "pytorch-legacy");
out:
    cz_pickle_free(&keys);
    return status;
}
