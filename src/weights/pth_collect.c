/* SPDX-License-Identifier: Apache-2.0 */
#include "weights/pth_reader.h"

#include "tensor/dtype.h"
#include "util/alloc.h"
#include "weights/pth.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MAX_NAME    ((size_t)1024)
#define MAX_NESTING 16
#define MAX_VISITS  ((size_t)1 << 20)

typedef cz_pickle_value value;

void cz_pth_reader_init(cz_pth_reader *reader, const uint8_t *data, size_t size)
{
    memset(reader, 0, sizeof *reader);
    reader->data = data;
    reader->size = size;
    if (!cz_mul_size(size, CZ_PTH_EXPANSION, &reader->budget)) reader->budget = SIZE_MAX;
}

void cz_pth_reader_free(cz_pth_reader *reader)
{
    for (size_t i = 0; i < reader->storage_count; i++) cz_free(reader->storages[i].owned);
    cz_free(reader->storages);
    cz_pickle_free(&reader->pickle);
    cz_tensors_close(reader->tensors);
    memset(reader, 0, sizeof *reader);
}

static int compare_keys(const uint8_t *a, size_t a_length, const uint8_t *b, size_t b_length)
{
    if (a_length != b_length) return a_length < b_length ? -1 : 1;
    return a_length ? memcmp(a, b, a_length) : 0;
}

static int compare_storages(const void *a, const void *b)
{
    const cz_pth_storage *x = a, *y = b;
    return compare_keys(x->key, x->key_length, y->key, y->key_length);
}

cz_pth_storage *cz_pth_find_storage(const cz_pth_reader *reader, const uint8_t *key, size_t length)
{
    if (reader->storage_count == 0) return NULL;
    const cz_pth_storage wanted = {.key = key, .key_length = length};
    return bsearch(&wanted, reader->storages, reader->storage_count, sizeof wanted, compare_storages);
}

static cz_status add_storage(cz_pth_reader *reader, const value *v)
{
    const value *key = &reader->pickle.values[v->as.storage.key];
    cz_pth_storage *s = &reader->storages[reader->storage_count];
    *s = (cz_pth_storage){.key = key->as.text.bytes, .key_length = key->as.text.length, .dtype = v->dtype};
    if (s->key_length == 0 || s->key_length > MAX_NAME) return cz_fail(CZ_E_FORMAT, "a storage with an unusable name");
    if (v->as.storage.count > SIZE_MAX || !cz_mul_size((size_t)v->as.storage.count, cz_dtype_size(v->dtype), &s->bytes))
        return cz_fail(CZ_E_FORMAT, "a storage of %" PRIu64 " elements cannot be", v->as.storage.count);
    reader->storage_count++;
    return CZ_OK;
}

cz_status cz_pth_group_storages(cz_pth_reader *reader)
{
    cz_pickle *p = &reader->pickle;
    if (p->storage_count == 0) return CZ_OK;
    reader->storages = cz_alloc_array(p->storage_count, sizeof *reader->storages);
    if (!reader->storages) return CZ_E_MEMORY;
    for (size_t i = 0; i < p->storage_count; i++) {
        const cz_status status = add_storage(reader, &p->values[p->storages[i]]);
        if (status != CZ_OK) return status;
    }
    qsort(reader->storages, reader->storage_count, sizeof *reader->storages, compare_storages);
    size_t kept = 1;
    for (size_t i = 1; i < reader->storage_count; i++) {
        const cz_pth_storage *s = &reader->storages[i], *last = &reader->storages[kept - 1];
        if (compare_storages(s, last) != 0) {
            reader->storages[kept++] = *s;
        } else if (s->dtype != last->dtype || s->bytes != last->bytes) {
            return cz_fail(CZ_E_FORMAT, "a storage is named twice with different types or sizes");
        }
    }
    reader->storage_count = kept;
    return CZ_OK;
}

static cz_status read_dimensions(const cz_pth_reader *reader, const char *name, uint32_t tuple, size_t *out,
                                 size_t *count)
{
    const value *v = &reader->pickle.values[tuple];
    if (v->as.sequence.count > CZ_MAX_RANK)
        return cz_fail(CZ_E_FORMAT, "tensor \"%s\": %u dimensions, at most %d are supported", name,
                       (unsigned)v->as.sequence.count, CZ_MAX_RANK);
    for (size_t i = 0; i < v->as.sequence.count; i++) {
        const value *dimension = &reader->pickle.values[v->as.sequence.items[i]];
        if (dimension->kind != CZ_PICKLE_INT || dimension->as.integer < 0)
            return cz_fail(CZ_E_FORMAT, "tensor \"%s\": a size or stride is no number from 0 on", name);
        out[i] = (size_t)dimension->as.integer;
    }
    *count = v->as.sequence.count;
    return CZ_OK;
}

/* Elements of a view, the elements it spans in its storage (offset + 1 + the last one's distance), and whether it is
 * contiguous. False when something overflows. */
static bool measure(const cz_tensor_view *view, const size_t *strides, size_t offset, size_t *count, size_t *span,
                    bool *contiguous)
{
    size_t elements = 1, last = offset;
    for (size_t i = 0; i < view->rank; i++) {
        if (!cz_mul_size(elements, view->shape[i], &elements)) return false;
    }
    *count = elements;
    *span = offset;
    *contiguous = true;
    if (elements == 0) return true;
    size_t expected = 1;
    for (size_t i = view->rank; i-- > 0;) {
        size_t distance;
        if (view->shape[i] == 1) continue;
        if (strides[i] != expected) *contiguous = false;
        expected *= view->shape[i];
        if (!cz_mul_size(view->shape[i] - 1, strides[i], &distance) || !cz_add_size(last, distance, &last))
            return false;
    }
    return cz_add_size(last, 1, span);
}

/* out: [count] elements of `item` bytes in row-major order; `source` is the first element. Bounds were checked. */
static void copy_strided(const cz_tensor_view *view, const size_t *strides, const uint8_t *source, size_t item,
                         size_t count, uint8_t *out)
{
    size_t index[CZ_MAX_RANK] = {0};
    size_t at = 0; /* elements from `source` */
    for (size_t n = 0; n < count; n++) {
        memcpy(out + n * item, source + at * item, item);
        for (size_t i = view->rank; i-- > 0;) {
            at += strides[i];
            if (++index[i] < view->shape[i]) break;
            at -= strides[i] * view->shape[i];
            index[i] = 0;
        }
    }
}

/* Puts a tensor whose bytes cannot be a view of the file: another memory order, or a decompressed storage. */
static cz_status put_copy(cz_pth_reader *reader, cz_tensor_view *view, const size_t *strides, const uint8_t *source,
                          size_t count, bool contiguous)
{
    uint8_t *copy = cz_alloc(view->bytes);
    if (!copy) return CZ_E_MEMORY;
    if (contiguous) {
        memcpy(copy, source, view->bytes);
    } else {
        copy_strided(view, strides, source, cz_dtype_size(view->dtype), count, copy);
    }
    view->data = copy;
    const cz_status status = cz_tensors_put(reader->tensors, view, 1);
    if (status != CZ_OK) cz_free(copy);
    return status;
}

static cz_status put_tensor(cz_pth_reader *reader, const char *name, const value *tensor)
{
    cz_status status;
    const value *id = &reader->pickle.values[tensor->as.tensor.storage];
    const value *key = &reader->pickle.values[id->as.storage.key];
    cz_pth_storage *storage = cz_pth_find_storage(reader, key->as.text.bytes, key->as.text.length);
    cz_tensor_view view = {.name = name, .dtype = id->dtype};
    size_t strides[CZ_MAX_RANK] = {0}, stride_count = 0, count = 0, span = 0;
    bool contiguous = false;
    if (cz_tensors_lookup(reader->tensors, name)) return cz_fail(CZ_E_FORMAT, "there are two tensors \"%s\"", name);
    CZ_TRY(read_dimensions(reader, name, tensor->as.tensor.sizes, view.shape, &view.rank));
    CZ_TRY(read_dimensions(reader, name, tensor->as.tensor.strides, strides, &stride_count));
    if (stride_count != view.rank)
        return cz_fail(CZ_E_FORMAT, "tensor \"%s\": as many strides as sizes expected", name);
    const size_t item = cz_dtype_size(view.dtype);
    const size_t offset = (size_t)tensor->as.tensor.offset;
    if (!measure(&view, strides, offset, &count, &span, &contiguous) || !cz_mul_size(count, item, &view.bytes) ||
        span > storage->bytes / item)
        return cz_fail(CZ_E_FORMAT, "tensor \"%s\" reaches beyond its storage of %zu bytes", name, storage->bytes);
    if (view.bytes > reader->budget)
        return cz_fail(CZ_E_LIMIT, "tensor \"%s\": the tensors together are more than %zu times the file's size", name,
                       CZ_PTH_EXPANSION);
    reader->budget -= view.bytes;
    if (count == 0) {
        view.data = reader->data;
        return cz_tensors_put(reader->tensors, &view, 0);
    }
    if (!storage->data) CZ_TRY(reader->load(reader, storage));
    const uint8_t *source = storage->data + offset * item;
    if (!contiguous || storage->owned) return put_copy(reader, &view, strides, source, count, contiguous);
    view.data = source;
    status = cz_tensors_put(reader->tensors, &view, 0);
out:
    return status;
}

/* A name is shown to people and written as JSON: well-formed UTF-8 (no surrogates, no overlong forms) without a 0. */
static bool is_text(const uint8_t *s, size_t length)
{
    for (size_t i = 0; i < length;) {
        const uint8_t c = s[i++];
        size_t more = 0;
        uint32_t least = 0, code = c;
        if (c == 0) return false;
        if (c >= 0x80) {
            more = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : 1;
            least = more == 3 ? 0x10000 : more == 2 ? 0x800 : 0x80;
            code = c & (0x3fu >> more);
            if (c < 0xc2 || c > 0xf4) return false;
        }
        if (more > length - i) return false;
        for (; more > 0; more--, i++) {
            if ((s[i] & 0xc0) != 0x80) return false;
            code = (code << 6) | (s[i] & 0x3fu);
        }
        if (code < least || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return false;
    }
    return true;
}

/* Appends ".key" to the name; *end: its new length. */
static cz_status extend_name(char *name, size_t length, const value *key, size_t *end)
{
    char digits[24];
    const uint8_t *text = (const uint8_t *)digits;
    size_t more = 0;
    if (key->kind == CZ_PICKLE_TEXT) {
        text = key->as.text.bytes;
        more = key->as.text.length;
    } else if (key->kind == CZ_PICKLE_INT) {
        more = (size_t)snprintf(digits, sizeof digits, "%" PRId64, key->as.integer);
    } else {
        return cz_fail(CZ_E_FORMAT, "a tensor's name is neither text nor a number");
    }
    const size_t dot = length > 0;
    if (more >= MAX_NAME || length + dot + more >= MAX_NAME)
        return cz_fail(CZ_E_LIMIT, "a tensor's name is longer than %zu bytes", MAX_NAME);
    if (length + more == 0 || !is_text(text, more)) return cz_fail(CZ_E_FORMAT, "a tensor's name is not UTF-8 text");
    if (dot) name[length] = '.';
    memcpy(name + length + dot, text, more);
    *end = length + dot + more;
    name[*end] = '\0';
    return CZ_OK;
}

static cz_status collect(cz_pth_reader *reader, uint32_t container, char *name, size_t length, int depth);

static cz_status collect_item(cz_pth_reader *reader, const value *key, uint32_t item, char *name, size_t length,
                              int depth)
{
    const value *v = &reader->pickle.values[item];
    const bool container = v->kind == CZ_PICKLE_DICT || v->kind == CZ_PICKLE_LIST || v->kind == CZ_PICKLE_TUPLE;
    if (v->kind != CZ_PICKLE_TENSOR && !container) return CZ_OK;
    size_t end = length;
    cz_status status = extend_name(name, length, key, &end);
    if (status == CZ_OK) status = container ? collect(reader, item, name, end, depth + 1) : put_tensor(reader, name, v);
    name[length] = '\0';
    return status;
}

/* Walks a tree that may be a graph (the memo allows cycles and sharing), so depth and visits are limited. */
static cz_status collect(cz_pth_reader *reader, uint32_t container, char *name, size_t length, int depth)
{
    const value *v = &reader->pickle.values[container];
    const size_t step = v->kind == CZ_PICKLE_DICT ? 2 : 1;
    if (depth > MAX_NESTING) return cz_fail(CZ_E_FORMAT, "dicts are nested more than %d deep", MAX_NESTING);
    for (size_t i = 0; i + step <= v->as.sequence.count; i += step) {
        if (++reader->visits > MAX_VISITS) return cz_fail(CZ_E_LIMIT, "more than %zu values", MAX_VISITS);
        const value position = {.kind = CZ_PICKLE_INT, .as.integer = (int64_t)i};
        const value *key = step == 2 ? &reader->pickle.values[v->as.sequence.items[i]] : &position;
        const cz_status status = collect_item(reader, key, v->as.sequence.items[i + step - 1], name, length, depth);
        if (status != CZ_OK) return status;
    }
    return CZ_OK;
}

/* {"state_dict": {…}, "epoch": 90, "optimizer": {…}}: what training scripts write. */
static uint32_t choose_root(const cz_pickle *p)
{
    static const char *const WRAPPERS[] = {"state_dict", "model"};
    const value *root = &p->values[p->root];
    for (size_t w = 0; w < 2; w++) {
        for (size_t i = 0; i + 2 <= root->as.sequence.count; i += 2) {
            const uint32_t inner = root->as.sequence.items[i + 1];
            if (cz_pickle_text_is(&p->values[root->as.sequence.items[i]], WRAPPERS[w]) &&
                p->values[inner].kind == CZ_PICKLE_DICT)
                return inner;
        }
    }
    return p->root;
}

cz_status cz_pth_collect(cz_pth_reader *reader)
{
    char name[MAX_NAME + 1] = "";
    if (reader->pickle.values[reader->pickle.root].kind != CZ_PICKLE_DICT)
        return cz_fail(CZ_E_FORMAT, "the checkpoint holds no dict of tensors");
    const cz_status status = collect(reader, choose_root(&reader->pickle), name, 0, 0);
    if (status == CZ_OK && cz_tensors_count(reader->tensors) == 0)
        return cz_fail(CZ_E_FORMAT, "the checkpoint holds no tensors");
    return status;
}
