/* SPDX-License-Identifier: Apache-2.0 */
#include "tensor/tensors.h"

#include "tensor/dtype.h"
#include "util/alloc.h"

#include <string.h>

typedef struct entry {
    cz_tensor_view view;
    void *owned; /* view.data when it is ours */
} entry;

typedef struct pair {
    char *key, *value;
} pair;

struct cz_tensors {
    entry *entries;
    size_t count, room;
    uint32_t *slots; /* open addressing over names: index + 1, 0 is empty; slot_count is a power of two */
    size_t slot_count;
    pair *metadata;
    size_t metadata_count;
    cz_mapping mapping;
    const char *format;
};

cz_status cz_tensors_create(cz_tensors **out)
{
    cz_error_clear();
    cz_tensors *t = cz_calloc(1, sizeof *t);
    if (t == NULL) return CZ_E_MEMORY;
    t->format = "memory";
    *out = t;
    return CZ_OK;
}

void cz_tensors_close(cz_tensors *t)
{
    if (t == NULL) return;
    for (size_t i = 0; i < t->count; i++) {
        cz_free((void *)(uintptr_t)t->entries[i].view.name);
        cz_free(t->entries[i].owned);
    }
    for (size_t i = 0; i < t->metadata_count; i++) {
        cz_free(t->metadata[i].key);
        cz_free(t->metadata[i].value);
    }
    cz_free(t->entries);
    cz_free(t->slots);
    cz_free(t->metadata);
    cz_file_unmap(&t->mapping);
    cz_free(t);
}

const char *cz_tensors_format(const cz_tensors *t)
{
    return t->format;
}

void cz_tensors_set_format(cz_tensors *t, const char *static_name)
{
    t->format = static_name;
}

void cz_tensors_own_mapping(cz_tensors *t, cz_mapping *mapping)
{
    cz_file_unmap(&t->mapping);
    t->mapping = *mapping;
    *mapping = (cz_mapping){NULL, 0};
}

size_t cz_tensors_count(const cz_tensors *t)
{
    return t->count;
}

cz_status cz_tensors_get(const cz_tensors *t, size_t index, cz_tensor_view *out)
{
    cz_error_clear();
    if (index >= t->count) return cz_fail(CZ_E_ARG, "tensor %zu of %zu", index, t->count);
    *out = t->entries[index].view;
    return CZ_OK;
}

static size_t hash_name(const char *name)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (; *name != '\0'; name++) hash = (hash ^ (unsigned char)*name) * 0x100000001b3u;
    return (size_t)(hash ^ (hash >> 32));
}

/* The slot that holds `name`, or the empty one where it belongs. */
static uint32_t *find_slot(const cz_tensors *t, const char *name)
{
    for (size_t i = hash_name(name);; i++) {
        uint32_t *slot = &t->slots[i & (t->slot_count - 1)];
        if (*slot == 0 || strcmp(t->entries[*slot - 1].view.name, name) == 0) return slot;
    }
}

const cz_tensor_view *cz_tensors_lookup(const cz_tensors *t, const char *name)
{
    if (t->count == 0) return NULL;
    const uint32_t *slot = find_slot(t, name);
    return *slot == 0 ? NULL : &t->entries[*slot - 1].view;
}

cz_status cz_tensors_find(const cz_tensors *t, const char *name, cz_tensor_view *out)
{
    cz_error_clear();
    const cz_tensor_view *view = cz_tensors_lookup(t, name);
    if (view == NULL) return cz_fail(CZ_E_FORMAT, "there is no tensor \"%s\"", name);
    *out = *view;
    return CZ_OK;
}

static cz_status make_room(cz_tensors *t)
{
    if (t->count == t->room) {
        const size_t room = t->room == 0 ? 16 : 2 * t->room;
        entry *entries = cz_grow(t->entries, room, sizeof *entries);
        if (entries == NULL) return CZ_E_MEMORY;
        t->entries = entries;
        t->room = room;
    }
    if (2 * (t->count + 1) > t->slot_count) {
        const size_t slot_count = t->slot_count == 0 ? 64 : 2 * t->slot_count;
        uint32_t *slots = cz_calloc(slot_count, sizeof *slots);
        if (slots == NULL) return CZ_E_MEMORY;
        cz_free(t->slots);
        t->slots = slots;
        t->slot_count = slot_count;
        for (size_t i = 0; i < t->count; i++) *find_slot(t, t->entries[i].view.name) = (uint32_t)i + 1;
    }
    return CZ_OK;
}

cz_status cz_tensors_put(cz_tensors *t, const cz_tensor_view *view, int take)
{
    if (t->count >= CZ_TENSORS_MAX_COUNT) return cz_fail(CZ_E_LIMIT, "more than %zu tensors", CZ_TENSORS_MAX_COUNT);
    const cz_status status = make_room(t);
    if (status != CZ_OK) return status;
    uint32_t *slot = find_slot(t, view->name);
    if (*slot != 0) return cz_fail(CZ_E_ARG, "there are two tensors \"%s\"", view->name);
    char *name = cz_strdup(view->name);
    if (name == NULL) return CZ_E_MEMORY;
    entry *e = &t->entries[t->count++];
    e->view = *view;
    e->view.name = name;
    e->owned = take ? (void *)(uintptr_t)view->data : NULL;
    *slot = (uint32_t)t->count;
    return CZ_OK;
}

static cz_status check_view(const cz_tensor_view *view)
{
    if (view->name == NULL || view->name[0] == '\0') return cz_fail(CZ_E_ARG, "a tensor needs a name");
    if (view->rank > CZ_MAX_RANK) return cz_fail(CZ_E_ARG, "tensor \"%s\": rank %zu", view->name, view->rank);
    size_t bytes = cz_dtype_size(view->dtype);
    if (bytes == 0) return cz_fail(CZ_E_ARG, "tensor \"%s\": unknown dtype", view->name);
    for (size_t i = 0; i < view->rank; i++) {
        if (!cz_mul_size(bytes, view->shape[i], &bytes)) {
            return cz_fail(CZ_E_ARG, "tensor \"%s\": too large", view->name);
        }
    }
    if (bytes != view->bytes) {
        return cz_fail(CZ_E_ARG, "tensor \"%s\": %zu bytes where shape and dtype make %zu", view->name, view->bytes,
                       bytes);
    }
    return CZ_OK;
}

cz_status cz_tensors_add(cz_tensors *t, const cz_tensor_view *view)
{
    cz_error_clear();
    cz_status status;
    void *copy = NULL;
    CZ_TRY(check_view(view));
    copy = cz_alloc(view->bytes);
    if (copy == NULL) return CZ_E_MEMORY;
    if (view->bytes > 0) memcpy(copy, view->data, view->bytes);
    cz_tensor_view mine = *view;
    mine.data = copy;
    CZ_TRY(cz_tensors_put(t, &mine, 1));
    copy = NULL;
out:
    cz_free(copy);
    return status;
}

size_t cz_tensors_metadata_count(const cz_tensors *t)
{
    return t->metadata_count;
}

cz_status cz_tensors_metadata_at(const cz_tensors *t, size_t index, const char **key, const char **value)
{
    cz_error_clear();
    if (index >= t->metadata_count) return cz_fail(CZ_E_ARG, "metadata %zu of %zu", index, t->metadata_count);
    *key = t->metadata[index].key;
    *value = t->metadata[index].value;
    return CZ_OK;
}

const char *cz_tensors_metadata(const cz_tensors *t, const char *key)
{
    for (size_t i = 0; i < t->metadata_count; i++) {
        if (strcmp(t->metadata[i].key, key) == 0) return t->metadata[i].value;
    }
    return NULL;
}

cz_status cz_tensors_set_metadata(cz_tensors *t, const char *key, const char *value)
{
    cz_error_clear();
    char *value_copy = cz_strdup(value);
    if (value_copy == NULL) return CZ_E_MEMORY;
    for (size_t i = 0; i < t->metadata_count; i++) {
        if (strcmp(t->metadata[i].key, key) != 0) continue;
        cz_free(t->metadata[i].value);
        t->metadata[i].value = value_copy;
        return CZ_OK;
    }
    char *key_copy = cz_strdup(key);
    pair *metadata = key_copy == NULL ? NULL : cz_grow(t->metadata, t->metadata_count + 1, sizeof *metadata);
    if (metadata == NULL) {
        cz_free(key_copy);
        cz_free(value_copy);
        return CZ_E_MEMORY;
    }
    t->metadata = metadata;
    t->metadata[t->metadata_count++] = (pair){key_copy, value_copy};
    return CZ_OK;
}
