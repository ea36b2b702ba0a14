/* SPDX-License-Identifier: Apache-2.0 */
#include "weights/pickle.h"

#include "util/alloc.h"

#include <inttypes.h>
#include <string.h>

#define NOTHING    UINT32_MAX
#define MAX_GLOBAL ((size_t)256)
#define MAX_MARKS  ((size_t)1 << 16)

enum global { ORDERED_DICT, REBUILD_TENSOR, REBUILD_PARAMETER, FIRST_STORAGE };

/* Everything that a state dict may name. Storage types begin at FIRST_STORAGE. */
static const struct allowed {
    const char *module, *name;
    cz_dtype dtype;
} ALLOWED[] = {
    {"collections", "OrderedDict", CZ_U8},
    {"torch._utils", "_rebuild_tensor_v2", CZ_U8},
    {"torch._utils", "_rebuild_parameter", CZ_U8},
    {"torch", "FloatStorage", CZ_F32},
    {"torch", "HalfStorage", CZ_F16},
    {"torch", "BFloat16Storage", CZ_BF16},
    {"torch", "DoubleStorage", CZ_F64},
    {"torch", "LongStorage", CZ_I64},
    {"torch", "IntStorage", CZ_I32},
    {"torch", "CharStorage", CZ_I8},
    {"torch", "ByteStorage", CZ_U8},
};

typedef struct reader {
    const uint8_t *data;
    size_t size, at, op_at; /* op_at: offset of the opcode being executed */
    size_t ops, copied;
    uint32_t *stack; /* value indices */
    size_t height, stack_capacity;
    size_t *marks; /* stack heights at each MARK */
    size_t mark_count, mark_capacity;
    uint32_t *memo;
    size_t memo_count, memo_capacity, memo_next;
    cz_pickle *out;
} reader;

/* A defect of the pickle at the opcode being executed. */
static cz_status bad(const reader *r, const char *what)
{
    const uint8_t code = r->data[r->op_at];
    return cz_fail(CZ_E_FORMAT, "pickle opcode %s (0x%02x) at byte %zu: %s", cz_pickle_opcode_name(code), code,
                   r->op_at, what);
}

bool cz_pickle_text_is(const cz_pickle_value *value, const char *text)
{
    const size_t length = strlen(text);
    return value->kind == CZ_PICKLE_TEXT && value->as.text.length == length &&
           memcmp(value->as.text.bytes, text, length) == 0;
}

/* `array` with room for `needed` items, NULL when out of memory (the old one stays valid). The capacity doubles, so that
 * a sequence of pushes costs linear time. */
static void *grown(void *array, size_t *capacity, size_t needed, size_t item)
{
    if (array && needed <= *capacity) return array;
    size_t next = *capacity < 16 ? 16 : *capacity * 2;
    if (next < needed) next = needed;
    void *bigger = cz_grow(array, next, item);
    if (bigger) *capacity = next;
    return bigger;
}

static cz_status push(reader *r, uint32_t value)
{
    if (r->height >= CZ_PICKLE_MAX_STACK) return bad(r, "the stack is too deep");
    uint32_t *stack = grown(r->stack, &r->stack_capacity, r->height + 1, sizeof *stack);
    if (!stack) return CZ_E_MEMORY;
    r->stack = stack;
    r->stack[r->height++] = value;
    return CZ_OK;
}

/* Appends a new value and pushes it; *slot is valid until the next call. */
static cz_status push_new(reader *r, cz_pickle_kind kind, cz_pickle_value **slot)
{
    cz_pickle *p = r->out;
    if (p->count >= CZ_PICKLE_MAX_VALUES) return bad(r, "too many values");
    cz_pickle_value *values = grown(p->values, &p->capacity, p->count + 1, sizeof *values);
    if (!values) return CZ_E_MEMORY;
    p->values = values;
    cz_pickle_value *value = &values[p->count];
    memset(value, 0, sizeof *value);
    value->kind = kind;
    p->count++;
    if (slot) *slot = value;
    return push(r, (uint32_t)(p->count - 1));
}

/* Values above the innermost mark. */
static size_t above_mark(const reader *r)
{
    return r->height - (r->mark_count ? r->marks[r->mark_count - 1] : 0);
}

static cz_status pop(reader *r, uint32_t *value)
{
    if (above_mark(r) == 0) return bad(r, "the stack is empty");
    *value = r->stack[--r->height];
    return CZ_OK;
}

static cz_status peek(const reader *r, uint32_t *value)
{
    if (above_mark(r) == 0) return bad(r, "the stack is empty");
    *value = r->stack[r->height - 1];
    return CZ_OK;
}

/* Removes the innermost mark; the values above it are stack[*first … height). */
static cz_status pop_mark(reader *r, size_t *first)
{
    if (r->mark_count == 0) return bad(r, "no mark on the stack");
    *first = r->marks[--r->mark_count];
    return CZ_OK;
}

static cz_status take(reader *r, size_t bytes, const uint8_t **out)
{
    if (bytes > r->size - r->at) return bad(r, "the pickle ends inside its argument");
    *out = r->data + r->at;
    r->at += bytes;
    return CZ_OK;
}

/* A little-endian number of 1, 2, 4 or 8 bytes. */
static cz_status take_number(reader *r, size_t bytes, uint64_t *out)
{
    const uint8_t *p = NULL;
    cz_status status = take(r, bytes, &p);
    if (status != CZ_OK) return status;
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; i++) value |= (uint64_t)p[i] << (8 * i);
    *out = value;
    return CZ_OK;
}

static cz_status sequence_append(reader *r, uint32_t container, const uint32_t *items, size_t count)
{
    if (count == 0) return CZ_OK;
    cz_pickle_value *v = &r->out->values[container];
    size_t capacity = v->as.sequence.capacity;
    const size_t needed = (size_t)v->as.sequence.count + count;
    if (needed > UINT32_MAX / 4) return bad(r, "too many items");
    uint32_t *larger = grown(v->as.sequence.items, &capacity, needed, sizeof *larger);
    if (!larger) return CZ_E_MEMORY;
    v->as.sequence.items = larger;
    v->as.sequence.capacity = (uint32_t)capacity;
    memcpy(larger + v->as.sequence.count, items, count * sizeof *items);
    v->as.sequence.count = (uint32_t)needed;
    return CZ_OK;
}

static cz_status op_integer(reader *r, size_t bytes)
{
    uint64_t number = 0;
    cz_status status = take_number(r, bytes, &number);
    cz_pickle_value *v = NULL;
    if (status == CZ_OK) status = push_new(r, CZ_PICKLE_INT, &v);
    if (status == CZ_OK) v->as.integer = bytes == 4 ? (int64_t)(int32_t)(uint32_t)number : (int64_t)number;
    return status;
}

/* LONG1: two's complement, little-endian. */
static cz_status op_long(reader *r)
{
    uint64_t length = 0;
    const uint8_t *p = NULL;
    cz_pickle_value *v = NULL;
    cz_status status = take_number(r, 1, &length);
    if (status == CZ_OK) status = take(r, (size_t)length, &p);
    if (status == CZ_OK) status = push_new(r, length <= 8 ? CZ_PICKLE_INT : CZ_PICKLE_LONG, &v);
    if (status != CZ_OK) return status;
    if (length > 8) {
        v->as.text.bytes = p;
        v->as.text.length = (size_t)length;
        return CZ_OK;
    }
    uint64_t value = length > 0 && (p[length - 1] & 0x80) ? UINT64_MAX : 0;
    for (size_t i = (size_t)length; i-- > 0;) value = (value << 8) | p[i];
    memcpy(&v->as.integer, &value, sizeof value);
    return CZ_OK;
}

static cz_status op_text(reader *r, size_t length_bytes)
{
    uint64_t length = 0;
    const uint8_t *p = NULL;
    cz_pickle_value *v = NULL;
    cz_status status = take_number(r, length_bytes, &length);
    if (status == CZ_OK) status = take(r, (size_t)length, &p);
    if (status == CZ_OK) status = push_new(r, CZ_PICKLE_TEXT, &v);
    if (status != CZ_OK) return status;
    v->as.text.bytes = p;
    v->as.text.length = (size_t)length;
    return CZ_OK;
}

static cz_status push_global(reader *r, const uint8_t *module, size_t module_length, const uint8_t *name,
                             size_t name_length)
{
    for (size_t i = 0; i < sizeof ALLOWED / sizeof ALLOWED[0]; i++) {
        if (strlen(ALLOWED[i].module) == module_length && memcmp(ALLOWED[i].module, module, module_length) == 0 &&
            strlen(ALLOWED[i].name) == name_length && memcmp(ALLOWED[i].name, name, name_length) == 0) {
            cz_pickle_value *v = NULL;
            cz_status status = push_new(r, CZ_PICKLE_GLOBAL, &v);
            if (status == CZ_OK) v->as.global = (int)i;
            return status;
        }
    }
    return cz_fail(CZ_E_FORMAT, "refused global '%.*s.%.*s' at byte %zu of the pickle: not part of a tensor state dict",
                   (int)(module_length > 80 ? 80 : module_length), (const char *)module,
                   (int)(name_length > 80 ? 80 : name_length), (const char *)name, r->op_at);
}

static cz_status op_global(reader *r)
{
    const uint8_t *text[2];
    size_t length[2];
    for (int i = 0; i < 2; i++) {
        const size_t left = r->size - r->at < MAX_GLOBAL ? r->size - r->at : MAX_GLOBAL;
        const uint8_t *end = left ? memchr(r->data + r->at, '\n', left) : NULL;
        if (!end) return bad(r, "a global without an end");
        text[i] = r->data + r->at;
        length[i] = (size_t)(end - text[i]);
        r->at += length[i] + 1;
    }
    return push_global(r, text[0], length[0], text[1], length[1]);
}

static cz_status op_stack_global(reader *r)
{
    cz_status status;
    uint32_t name = 0, module = 0;
    CZ_TRY(pop(r, &name));
    CZ_TRY(pop(r, &module));
    const cz_pickle_value *n = &r->out->values[name], *m = &r->out->values[module];
    if (n->kind != CZ_PICKLE_TEXT || m->kind != CZ_PICKLE_TEXT) return bad(r, "a global whose name is no text");
    status = push_global(r, m->as.text.bytes, m->as.text.length, n->as.text.bytes, n->as.text.length);
out:
    return status;
}

static cz_status op_put(reader *r, uint64_t slot)
{
    uint32_t value = 0;
    cz_status status = peek(r, &value);
    if (status != CZ_OK) return status;
    /* Picklers number slots from 0 on, so a slot beyond the opcodes read so far is an attempt to have memory allocated. */
    if (slot >= r->ops) return bad(r, "a memo slot out of range");
    uint32_t *memo = grown(r->memo, &r->memo_capacity, (size_t)slot + 1, sizeof *memo);
    if (!memo) return CZ_E_MEMORY;
    r->memo = memo;
    while (r->memo_count <= slot) r->memo[r->memo_count++] = NOTHING;
    r->memo[slot] = value;
    return CZ_OK;
}

static cz_status op_get(reader *r, uint64_t slot)
{
    if (slot >= r->memo_count || r->memo[slot] == NOTHING) return bad(r, "an empty memo slot");
    return push(r, r->memo[slot]);
}

/* A tuple of the values stack[first … height). */
static cz_status op_tuple(reader *r, size_t first)
{
    const size_t count = r->height - first;
    cz_pickle_value *v = NULL;
    r->height = first;
    uint32_t *items = NULL;
    if (count) {
        items = cz_alloc_array(count, sizeof *items);
        if (!items) return CZ_E_MEMORY;
        memcpy(items, r->stack + first, count * sizeof *items);
    }
    cz_status status = push_new(r, CZ_PICKLE_TUPLE, &v);
    if (status != CZ_OK) {
        cz_free(items);
        return status;
    }
    v->as.sequence.items = items;
    v->as.sequence.count = v->as.sequence.capacity = (uint32_t)count;
    return CZ_OK;
}

static cz_status op_small_tuple(reader *r, size_t count)
{
    if (above_mark(r) < count) return bad(r, "the stack is empty");
    return op_tuple(r, r->height - count);
}

/* APPEND(S) and SETITEM(S): moves stack[first … height) into the container below them. */
static cz_status op_fill(reader *r, size_t first, cz_pickle_kind kind)
{
    const size_t count = r->height - first;
    uint32_t container = 0;
    r->height = first;
    cz_status status = peek(r, &container);
    if (status != CZ_OK) return status;
    if (r->out->values[container].kind != kind) return bad(r, "the container is of another type");
    if (kind == CZ_PICKLE_DICT && count % 2 != 0) return bad(r, "a key without a value");
    return sequence_append(r, container, r->stack + first, count);
}

static cz_status op_fill_marked(reader *r, cz_pickle_kind kind)
{
    size_t first = 0;
    cz_status status = pop_mark(r, &first);
    return status == CZ_OK ? op_fill(r, first, kind) : status;
}

static cz_status op_fill_one(reader *r, size_t count, cz_pickle_kind kind)
{
    if (above_mark(r) < count + 1) return bad(r, "the stack is empty");
    return op_fill(r, r->height - count, kind);
}

/* The tuple's item i; NULL when absent or of another kind. */
static const cz_pickle_value *item(const cz_pickle *p, const cz_pickle_value *tuple, size_t i, cz_pickle_kind kind)
{
    if (i >= tuple->as.sequence.count) return NULL;
    const cz_pickle_value *v = &p->values[tuple->as.sequence.items[i]];
    return v->kind == kind ? v : NULL;
}

/* ('storage', type, key, location, elements[, view]) */
static cz_status op_persistent_id(reader *r)
{
    cz_pickle *p = r->out;
    uint32_t index = 0;
    cz_status status = pop(r, &index);
    if (status != CZ_OK) return status;
    const cz_pickle_value *id = &p->values[index];
    if (id->kind != CZ_PICKLE_TUPLE || id->as.sequence.count < 5 || id->as.sequence.count > 6)
        return bad(r, "not the name of a storage");
    const cz_pickle_value *tag = item(p, id, 0, CZ_PICKLE_TEXT), *type = item(p, id, 1, CZ_PICKLE_GLOBAL);
    const cz_pickle_value *key = item(p, id, 2, CZ_PICKLE_TEXT), *count = item(p, id, 4, CZ_PICKLE_INT);
    if (!tag || !cz_pickle_text_is(tag, "storage")) return bad(r, "not the name of a storage");
    if (!type || type->as.global < FIRST_STORAGE || !key || !count || count->as.integer < 0)
        return bad(r, "a malformed name of a storage");
    if (id->as.sequence.count == 6 && !item(p, id, 5, CZ_PICKLE_NONE))
        return bad(r, "views of storages are not supported");
    const cz_dtype dtype = ALLOWED[type->as.global].dtype;
    const uint32_t key_index = id->as.sequence.items[2];
    const uint64_t elements = (uint64_t)count->as.integer;

    uint32_t *storages = grown(p->storages, &p->storage_capacity, p->storage_count + 1, sizeof *storages);
    if (!storages) return CZ_E_MEMORY;
    p->storages = storages;
    cz_pickle_value *v = NULL;
    status = push_new(r, CZ_PICKLE_STORAGE, &v);
    if (status != CZ_OK) return status;
    v->dtype = dtype;
    v->as.storage.key = key_index;
    v->as.storage.count = elements;
    p->storages[p->storage_count++] = (uint32_t)(p->count - 1);
    return CZ_OK;
}

/* OrderedDict() or OrderedDict([[key, value], …]), as Python 2 wrote it. */
static cz_status make_ordered_dict(reader *r, uint32_t arguments)
{
    cz_pickle *p = r->out;
    if (p->values[arguments].as.sequence.count > 1) return bad(r, "OrderedDict with odd arguments");
    cz_status status = push_new(r, CZ_PICKLE_DICT, NULL);
    if (status != CZ_OK || p->values[arguments].as.sequence.count == 0) return status;
    const uint32_t dict = (uint32_t)(p->count - 1);
    const cz_pickle_value *list = item(p, &p->values[arguments], 0, CZ_PICKLE_LIST);
    if (!list) return bad(r, "OrderedDict with odd arguments");
    /* One list may be named again and again through the memo: the pairs copied may not outgrow the file. */
    r->copied += list->as.sequence.count;
    if (r->copied > r->size) return bad(r, "too many items");
    for (size_t i = 0; i < list->as.sequence.count; i++) {
        const cz_pickle_value *pair = &p->values[list->as.sequence.items[i]];
        if ((pair->kind != CZ_PICKLE_LIST && pair->kind != CZ_PICKLE_TUPLE) || pair->as.sequence.count != 2)
            return bad(r, "OrderedDict with odd arguments");
        status = sequence_append(r, dict, pair->as.sequence.items, 2);
        if (status != CZ_OK) return status;
    }
    return CZ_OK;
}

/* _rebuild_tensor_v2(storage, offset, sizes, strides, requires_grad, hooks[, metadata]) */
static cz_status make_tensor(reader *r, uint32_t arguments)
{
    cz_pickle *p = r->out;
    const cz_pickle_value *a = &p->values[arguments];
    const uint32_t count = a->as.sequence.count;
    const cz_pickle_value *offset = item(p, a, 1, CZ_PICKLE_INT);
    if (count < 6 || count > 7 || !item(p, a, 0, CZ_PICKLE_STORAGE) || !offset || offset->as.integer < 0 ||
        !item(p, a, 2, CZ_PICKLE_TUPLE) || !item(p, a, 3, CZ_PICKLE_TUPLE))
        return bad(r, "_rebuild_tensor_v2 with odd arguments");
    if (count == 7 && !item(p, a, 6, CZ_PICKLE_NONE)) return bad(r, "tensors with metadata are not supported");
    const uint32_t storage = a->as.sequence.items[0], sizes = a->as.sequence.items[2],
                   strides = a->as.sequence.items[3];
    const uint64_t first = (uint64_t)offset->as.integer;
    cz_pickle_value *v = NULL;
    cz_status status = push_new(r, CZ_PICKLE_TENSOR, &v);
    if (status != CZ_OK) return status;
    v->as.tensor.storage = storage;
    v->as.tensor.sizes = sizes;
    v->as.tensor.strides = strides;
    v->as.tensor.offset = first;
    return CZ_OK;
}

static cz_status op_reduce(reader *r)
{
    cz_status status;
    uint32_t arguments = 0, callable = 0;
    CZ_TRY(pop(r, &arguments));
    CZ_TRY(pop(r, &callable));
    const cz_pickle_value *a = &r->out->values[arguments], *c = &r->out->values[callable];
    if (c->kind != CZ_PICKLE_GLOBAL) return bad(r, "a call of something that is no function");
    if (a->kind != CZ_PICKLE_TUPLE) return bad(r, "a call without a tuple of arguments");
    switch (c->as.global) {
    case ORDERED_DICT:
        return make_ordered_dict(r, arguments);
    case REBUILD_TENSOR:
        return make_tensor(r, arguments);
    case REBUILD_PARAMETER:
        if (!item(r->out, a, 0, CZ_PICKLE_TENSOR)) return bad(r, "_rebuild_parameter with odd arguments");
        return push(r, a->as.sequence.items[0]);
    default:
        return bad(r, "a call of a storage type");
    }
out:
    return status;
}

/* The only state a state dict has is OrderedDict's _metadata (version numbers of modules), which nothing here needs. */
static cz_status op_build(reader *r)
{
    cz_status status;
    uint32_t state = 0, object = 0;
    CZ_TRY(pop(r, &state));
    CZ_TRY(peek(r, &object));
    if (r->out->values[object].kind != CZ_PICKLE_DICT || r->out->values[state].kind != CZ_PICKLE_DICT)
        return bad(r, "state for something that is no dict");
out:
    return status;
}

static cz_status push_bool(reader *r, bool value)
{
    cz_pickle_value *v = NULL;
    cz_status status = push_new(r, CZ_PICKLE_BOOL, &v);
    if (status == CZ_OK) v->as.integer = value;
    return status;
}

static cz_status op_mark(reader *r)
{
    if (r->mark_count >= MAX_MARKS) return bad(r, "too many marks");
    size_t *marks = grown(r->marks, &r->mark_capacity, r->mark_count + 1, sizeof *marks);
    if (!marks) return CZ_E_MEMORY;
    r->marks = marks;
    r->marks[r->mark_count++] = r->height;
    return CZ_OK;
}

static cz_status op_proto(reader *r)
{
    uint64_t version = 0;
    cz_status status = take_number(r, 1, &version);
    if (status == CZ_OK && (version < 2 || version > 5)) return bad(r, "a pickle protocol other than 2 to 5");
    return status;
}

static cz_status numbered(reader *r, size_t bytes, cz_status (*then)(reader *, uint64_t))
{
    uint64_t number = 0;
    cz_status status = take_number(r, bytes, &number);
    return status == CZ_OK ? then(r, number) : status;
}

static cz_status skip(reader *r, size_t bytes)
{
    const uint8_t *ignored = NULL;
    return take(r, bytes, &ignored);
}

static cz_status op_tuple_marked(reader *r)
{
    size_t first = 0;
    cz_status status = pop_mark(r, &first);
    return status == CZ_OK ? op_tuple(r, first) : status;
}

static cz_status op_float(reader *r)
{
    cz_status status = skip(r, 8); /* learning rates and the like: nothing that a tensor needs */
    return status == CZ_OK ? push_new(r, CZ_PICKLE_FLOAT, NULL) : status;
}

static cz_status execute(reader *r, uint8_t code)
{
    /* clang-format off */
    switch (code) {
    case 0x80: return op_proto(r);
    case 0x95: return skip(r, 8); /* FRAME: a hint for buffering */
    case '(': return op_mark(r);
    case ')': return op_tuple(r, r->height);
    case '}': return push_new(r, CZ_PICKLE_DICT, NULL);
    case ']': return push_new(r, CZ_PICKLE_LIST, NULL);
    case 'N': return push_new(r, CZ_PICKLE_NONE, NULL);
    case 0x88: return push_bool(r, true);
    case 0x89: return push_bool(r, false);
    case 'J': return op_integer(r, 4);
    case 'K': return op_integer(r, 1);
    case 'M': return op_integer(r, 2);
    case 0x8a: return op_long(r);
    case 'G': return op_float(r);
    case 'X':
    case 'T': return op_text(r, 4);
    case 0x8c:
    case 'U': return op_text(r, 1);
    case 't': return op_tuple_marked(r);
    case 0x85: return op_small_tuple(r, 1);
    case 0x86: return op_small_tuple(r, 2);
    case 0x87: return op_small_tuple(r, 3);
    case 'a': return op_fill_one(r, 1, CZ_PICKLE_LIST);
    case 'e': return op_fill_marked(r, CZ_PICKLE_LIST);
    case 's': return op_fill_one(r, 2, CZ_PICKLE_DICT);
    case 'u': return op_fill_marked(r, CZ_PICKLE_DICT);
    case 'q': return numbered(r, 1, op_put);
    case 'r': return numbered(r, 4, op_put);
    case 0x94: return op_put(r, r->memo_next++);
    case 'h': return numbered(r, 1, op_get);
    case 'j': return numbered(r, 4, op_get);
    case 'c': return op_global(r);
    case 0x93: return op_stack_global(r);
    case 'Q': return op_persistent_id(r);
    case 'R': return op_reduce(r);
    case 'b': return op_build(r);
    default: return bad(r, "refused: not part of a tensor state dict");
    }
    /* clang-format on */
}

static cz_status run(reader *r, size_t *used)
{
    if (r->size < 2 || r->data[0] != 0x80) return cz_fail(CZ_E_FORMAT, "not a pickle of protocol 2 or later");
    while (r->at < r->size) {
        r->op_at = r->at++;
        r->ops++;
        const uint8_t code = r->data[r->op_at];
        if (code == '.') {
            if (r->height != 1 || r->mark_count != 0) return bad(r, "one value should be left on the stack");
            r->out->root = r->stack[0];
            *used = r->at;
            return CZ_OK;
        }
        cz_status status = execute(r, code);
        if (status != CZ_OK) return status;
    }
    return cz_fail(CZ_E_FORMAT, "the pickle ends without a STOP opcode, at byte %zu", r->size);
}

cz_status cz_pickle_load(const uint8_t *data, size_t size, size_t *used, cz_pickle *out)
{
    memset(out, 0, sizeof *out);
    reader r = {.data = data, .size = size < CZ_PICKLE_MAX_BYTES ? size : CZ_PICKLE_MAX_BYTES, .out = out};
    cz_status status = run(&r, used);
    cz_free(r.stack);
    cz_free(r.marks);
    cz_free(r.memo);
    if (status != CZ_OK) cz_pickle_free(out);
    return status;
}

void cz_pickle_free(cz_pickle *pickle)
{
    for (size_t i = 0; i < pickle->count; i++) {
        const cz_pickle_kind kind = pickle->values[i].kind;
        if (kind == CZ_PICKLE_TUPLE || kind == CZ_PICKLE_LIST || kind == CZ_PICKLE_DICT)
            cz_free(pickle->values[i].as.sequence.items);
    }
    cz_free(pickle->values);
    cz_free(pickle->storages);
    memset(pickle, 0, sizeof *pickle);
}
