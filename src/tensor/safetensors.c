/* SPDX-License-Identifier: Apache-2.0 */
/* The safetensors format: 8 bytes little-endian header length, a JSON header, then the tensors' bytes without holes. */
#include "tensor/dtype.h"
#include "tensor/tensors.h"
#include "util/alloc.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

typedef struct span {
    size_t begin, end;
    const char *name; /* belongs to the collection */
} span;

static cz_status parse_dtype(const char *tensor, const char *text, cz_dtype *out)
{
    static const cz_dtype known[] = {CZ_F32, CZ_F16, CZ_BF16, CZ_F64, CZ_I64, CZ_I32, CZ_I8, CZ_U8};
    for (size_t i = 0; text != NULL && i < sizeof known / sizeof *known; i++) {
        if (strcmp(text, cz_dtype_name(known[i])) == 0) {
            *out = known[i];
            return CZ_OK;
        }
    }
    return cz_fail(CZ_E_FORMAT, "tensor \"%s\": dtype %s is not one of F64 F32 F16 BF16 I64 I32 I8 U8", tensor,
                   text != NULL ? text : "(missing)");
}

/* A non-negative JSON integer that fits size_t. */
static bool get_size(const json_t *value, size_t *out)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0) return false;
    *out = (size_t)json_integer_value(value);
    return true;
}

static cz_status parse_tensor(const char *name, const json_t *entry, const uint8_t *body, size_t body_size,
                              cz_tensor_view *view, size_t *begin)
{
    if (name[0] == '\0') return cz_fail(CZ_E_FORMAT, "a tensor has an empty name");
    if (!json_is_object(entry)) return cz_fail(CZ_E_FORMAT, "tensor \"%s\": not an object", name);
    if (json_object_size(entry) != 3) {
        return cz_fail(CZ_E_FORMAT, "tensor \"%s\": not exactly dtype, shape and data_offsets", name);
    }
    const json_t *shape = json_object_get(entry, "shape"), *offsets = json_object_get(entry, "data_offsets");
    view->name = name;
    cz_status status = parse_dtype(name, json_string_value(json_object_get(entry, "dtype")), &view->dtype);
    if (status != CZ_OK) return status;
    if (!json_is_array(shape) || json_array_size(shape) > CZ_MAX_RANK) {
        return cz_fail(CZ_E_FORMAT, "tensor \"%s\": shape is not a list of at most %d sizes", name, CZ_MAX_RANK);
    }
    view->rank = json_array_size(shape);
    size_t bytes = cz_dtype_size(view->dtype);
    for (size_t i = 0; i < view->rank; i++) {
        if (!get_size(json_array_get(shape, i), &view->shape[i]) || !cz_mul_size(bytes, view->shape[i], &bytes)) {
            return cz_fail(CZ_E_FORMAT, "tensor \"%s\": shape is not a list of sizes, or too large", name);
        }
    }
    size_t end;
    if (!json_is_array(offsets) || json_array_size(offsets) != 2 || !get_size(json_array_get(offsets, 0), begin) ||
        !get_size(json_array_get(offsets, 1), &end) || *begin > end || end > body_size) {
        return cz_fail(CZ_E_FORMAT, "tensor \"%s\": data_offsets do not lie within the %zu bytes of data", name,
                       body_size);
    }
    if (end - *begin != bytes) {
        return cz_fail(CZ_E_FORMAT, "tensor \"%s\": %zu bytes where shape and dtype make %zu", name, end - *begin,
                       bytes);
    }
    view->bytes = bytes;
    view->data = body + *begin;
    return CZ_OK;
}

static cz_status parse_metadata(const json_t *metadata, cz_tensors *t)
{
    if (!json_is_object(metadata)) return cz_fail(CZ_E_FORMAT, "__metadata__ is not an object");
    if (json_object_size(metadata) > CZ_TENSORS_MAX_METADATA) {
        return cz_fail(CZ_E_LIMIT, "__metadata__ has more than %zu entries", CZ_TENSORS_MAX_METADATA);
    }
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)metadata, key, value)
    {
        if (!json_is_string(value)) return cz_fail(CZ_E_FORMAT, "__metadata__ \"%s\" is not text", key);
        const cz_status status = cz_tensors_set_metadata(t, key, json_string_value(value));
        if (status != CZ_OK) return status;
    }
    return CZ_OK;
}

static int compare_spans(const void *a, const void *b)
{
    const span *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end) return x->end < y->end ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* No overlap and no hole: sorted by offset, every tensor begins where the one before it ended. */
static cz_status check_spans(span *spans, size_t count, size_t body_size)
{
    qsort(spans, count, sizeof *spans, compare_spans);
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        if (spans[i].begin != at) {
            return cz_fail(CZ_E_FORMAT, "tensor \"%s\": %s before it", spans[i].name,
                           spans[i].begin < at ? "overlaps the one" : "unused bytes lie");
        }
        at = spans[i].end;
    }
    if (at != body_size) return cz_fail(CZ_E_FORMAT, "%zu unused bytes after the last tensor", body_size - at);
    return CZ_OK;
}

static cz_status parse_header(const json_t *header, const uint8_t *body, size_t body_size, cz_tensors *t)
{
    cz_status status = CZ_OK;
    const size_t total = json_object_size(header);
    size_t count = 0;
    const char *name;
    json_t *entry;
    span *spans = cz_alloc_array(total, sizeof *spans);
    cz_tensor_view *views = cz_alloc_array(total, sizeof *views);
    if (spans == NULL || views == NULL) {
        status = CZ_E_MEMORY;
        goto out;
    }
    if (total > CZ_TENSORS_MAX_COUNT) {
        status = cz_fail(CZ_E_LIMIT, "%zu tensors are more than %zu", total, CZ_TENSORS_MAX_COUNT);
        goto out;
    }
    json_object_foreach((json_t *)(uintptr_t)header, name, entry)
    {
        if (strcmp(name, "__metadata__") == 0) {
            CZ_TRY(parse_metadata(entry, t));
            continue;
        }
        size_t begin;
        memset(&views[count], 0, sizeof views[count]);
        CZ_TRY(parse_tensor(name, entry, body, body_size, &views[count], &begin));
        spans[count] = (span){begin, begin + views[count].bytes, name};
        count++;
    }
    CZ_TRY(check_spans(spans, count, body_size));
    for (size_t i = 0; i < count; i++) CZ_TRY(cz_tensors_put(t, &views[i], 0));
out:
    cz_free(spans);
    cz_free(views);
    return status;
}

cz_status cz_safetensors_parse(const uint8_t *data, size_t size, cz_tensors **out)
{
    cz_status status = CZ_OK;
    cz_tensors *t = NULL;
    json_t *header = NULL;
    if (size < 8) return cz_fail(CZ_E_FORMAT, "not a safetensors file: %zu bytes", size);
    uint64_t length = 0;
    for (int i = 0; i < 8; i++) length |= (uint64_t)data[i] << (8 * i);
    if (length > size - 8) return cz_fail(CZ_E_FORMAT, "not a safetensors file: header length is past the file's end");
    if (length > CZ_SAFETENSORS_MAX_HEADER) {
        return cz_fail(CZ_E_LIMIT, "safetensors header of %llu bytes is over the limit", (unsigned long long)length);
    }
    if (length == 0 || data[8] != '{') return cz_fail(CZ_E_FORMAT, "not a safetensors file: header is not JSON");
    json_error_t error;
    header = json_loadb((const char *)data + 8, (size_t)length, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(header)) {
        status = cz_fail(CZ_E_FORMAT, "safetensors header is not a JSON object: %s",
                         header == NULL ? error.text : "another type");
        goto out;
    }
    CZ_TRY(cz_tensors_create(&t));
    cz_tensors_set_format(t, "safetensors");
    CZ_TRY(parse_header(header, data + 8 + length, size - 8 - (size_t)length, t));
    *out = t;
    t = NULL;
out:
    json_decref(header);
    cz_tensors_close(t);
    return status;
}

cz_status cz_safetensors_open(const char *path, cz_tensors **out)
{
    cz_mapping mapping;
    cz_status status = cz_file_map(path, &mapping);
    if (status != CZ_OK) return status;
    cz_tensors *t = NULL;
    status = cz_safetensors_parse(mapping.data, mapping.size, &t);
    if (status != CZ_OK) {
        cz_file_unmap(&mapping);
        return status == CZ_E_MEMORY ? status : cz_fail_prefix(status, path);
    }
    cz_tensors_own_mapping(t, &mapping);
    *out = t;
    return CZ_OK;
}

/* {"dtype": …, "shape": […], "data_offsets": […]} */
static json_t *describe(const cz_tensor_view *view, size_t begin)
{
    json_t *shape = json_array();
    for (size_t i = 0; i < view->rank; i++) {
        if (json_array_append_new(shape, json_integer((json_int_t)view->shape[i])) != 0) {
            json_decref(shape);
            return NULL;
        }
    }
    return json_pack("{s:s, s:o, s:[I,I]}", "dtype", cz_dtype_name(view->dtype), "shape", shape, "data_offsets",
                     (json_int_t)begin, (json_int_t)(begin + view->bytes));
}

/* The header's text padded with spaces to a multiple of 8, so that tensors start aligned; free(). */
static cz_status make_header(const cz_tensors *t, char **out, size_t *length)
{
    cz_status status = CZ_OK;
    char *text = NULL;
    json_t *header = json_object(), *metadata = json_object();
    int failed = header == NULL || metadata == NULL;
    const char *key, *value;
    for (size_t i = 0; !failed && i < cz_tensors_metadata_count(t); i++) {
        CZ_TRY(cz_tensors_metadata_at(t, i, &key, &value));
        failed |= json_object_set_new(metadata, key, json_string(value));
    }
    if (!failed && json_object_size(metadata) > 0) failed |= json_object_set(header, "__metadata__", metadata);
    size_t at = 0;
    for (size_t i = 0; !failed && i < cz_tensors_count(t); i++) {
        cz_tensor_view view;
        CZ_TRY(cz_tensors_get(t, i, &view));
        failed |= json_object_set_new(header, view.name, describe(&view, at));
        at += view.bytes;
    }
    if (!failed) text = json_dumps(header, JSON_COMPACT | JSON_ENSURE_ASCII);
    if (text == NULL) {
        status = cz_fail(CZ_E_ARG, "a tensor's name or metadata is not UTF-8 text");
        goto out;
    }
    const size_t used = strlen(text), padded = (used + 7) / 8 * 8;
    char *grown = realloc(text, padded + 1);
    if (grown == NULL) {
        status = cz_fail(CZ_E_MEMORY, "out of memory");
        goto out;
    }
    text = grown;
    memset(text + used, ' ', padded - used);
    text[padded] = '\0';
    *out = text;
    *length = padded;
    text = NULL;
out:
    free(text);
    json_decref(header);
    json_decref(metadata);
    return status;
}

cz_status cz_tensors_save(const cz_tensors *t, const char *path)
{
    cz_error_clear();
    cz_status status;
    cz_atomic_file file = {NULL, NULL, NULL};
    char *header = NULL;
    size_t length = 0;
    CZ_TRY(make_header(t, &header, &length));
    CZ_TRY(cz_atomic_open(path, &file));
    uint8_t prefix[8];
    for (int i = 0; i < 8; i++) prefix[i] = (uint8_t)((uint64_t)length >> (8 * i));
    CZ_TRY(cz_atomic_write(&file, prefix, sizeof prefix));
    CZ_TRY(cz_atomic_write(&file, header, length));
    for (size_t i = 0; i < cz_tensors_count(t); i++) {
        cz_tensor_view view;
        CZ_TRY(cz_tensors_get(t, i, &view));
        CZ_TRY(cz_atomic_write(&file, view.data, view.bytes));
    }
    status = cz_atomic_commit(&file);
out:
    cz_atomic_abort(&file);
    free(header);
    return status;
}
