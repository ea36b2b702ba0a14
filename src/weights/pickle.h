/* SPDX-License-Identifier: Apache-2.0 */
/* A reader of pickles that hold a state dict, and of nothing else. No object is ever built from a name found in the file:
 * the globals below are recognised by their spelling, every other one is refused before anything is done with it. */
#ifndef CZ_WEIGHTS_PICKLE_H
#define CZ_WEIGHTS_PICKLE_H

#include "util/status.h"

#include <stdbool.h>

/* Limits; beyond them a pickle is refused. A value costs at least one byte of the file, so memory is bounded by it. */
#define CZ_PICKLE_MAX_BYTES  ((size_t)256 << 20)
#define CZ_PICKLE_MAX_VALUES ((size_t)1 << 22)
#define CZ_PICKLE_MAX_STACK  ((size_t)1 << 20)

typedef enum cz_pickle_kind {
    CZ_PICKLE_NONE,
    CZ_PICKLE_BOOL,
    CZ_PICKLE_INT,
    CZ_PICKLE_LONG, /* more than 64 bits: only its bytes are kept */
    CZ_PICKLE_FLOAT,
    CZ_PICKLE_TEXT,
    CZ_PICKLE_TUPLE,
    CZ_PICKLE_LIST,
    CZ_PICKLE_DICT,
    CZ_PICKLE_GLOBAL,
    CZ_PICKLE_STORAGE,
    CZ_PICKLE_TENSOR
} cz_pickle_kind;

typedef struct cz_pickle_value {
    cz_pickle_kind kind;
    union {
        int64_t integer; /* BOOL, INT */
        struct {
            const uint8_t *bytes; /* into the pickle */
            size_t length;
        } text; /* TEXT, LONG */
        struct {
            uint32_t *items; /* value indices; DICT: key, value, key, value … */
            uint32_t count, capacity;
        } sequence; /* TUPLE, LIST, DICT */
        int global;
        struct {
            uint32_t key;   /* value index of a TEXT */
            uint32_t group; /* for the reader above: which of the distinct storages */
            uint64_t count; /* elements */
        } storage;
        struct {
            uint32_t storage, sizes, strides; /* value indices of a STORAGE and two TUPLEs */
            uint64_t offset;                  /* elements */
        } tensor;
    } as;
    cz_dtype dtype; /* STORAGE */
} cz_pickle_value;

typedef struct cz_pickle {
    cz_pickle_value *values;
    size_t count, capacity;
    uint32_t *storages; /* value indices of all STORAGE values, in file order */
    size_t storage_count, storage_capacity;
    uint32_t root;
} cz_pickle;

/* Reads one pickle from the beginning of `data`; *used: its length. `data` must outlive the result. On CZ_E_FORMAT the
 * message names the first opcode (name, hex, offset) or global that is not allowed. */
cz_status cz_pickle_load(const uint8_t *data, size_t size, size_t *used, cz_pickle *out);
void cz_pickle_free(cz_pickle *pickle);
/* pickletools' name of an opcode. */
const char *cz_pickle_opcode_name(uint8_t code);
bool cz_pickle_text_is(const cz_pickle_value *value, const char *text);

#endif
