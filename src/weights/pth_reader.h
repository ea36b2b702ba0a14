/* SPDX-License-Identifier: Apache-2.0 */
/* What the two checkpoint formats share: distinct storages, and turning a pickled tree into named tensors. */
#ifndef CZ_WEIGHTS_PTH_READER_H
#define CZ_WEIGHTS_PTH_READER_H

#include "tensor/tensors.h"
#include "weights/pickle.h"

/* One block of numbers that tensors are views of. */
typedef struct cz_pth_storage {
    const uint8_t *key; /* its name in the file, into the pickle */
    size_t key_length;
    cz_dtype dtype;
    size_t bytes;
    const uint8_t *data; /* NULL until loaded */
    uint8_t *owned;      /* when it had to be decompressed */
} cz_pth_storage;

typedef struct cz_pth_reader cz_pth_reader;
struct cz_pth_reader {
    const uint8_t *data; /* the whole file */
    size_t size;
    size_t budget; /* bytes that tensors may still take */
    cz_pickle pickle;
    cz_pth_storage *storages; /* sorted by key */
    size_t storage_count;
    cz_status (*load)(cz_pth_reader *reader, cz_pth_storage *storage); /* finds a storage's bytes on first use */
    void *load_context;
    cz_tensors *tensors;
    size_t visits;
};

void cz_pth_reader_init(cz_pth_reader *reader, const uint8_t *data, size_t size);
void cz_pth_reader_free(cz_pth_reader *reader);
/* After the pickle was loaded: unites storages named more than once; type and size must agree. */
cz_status cz_pth_group_storages(cz_pth_reader *reader);
cz_pth_storage *cz_pth_find_storage(const cz_pth_reader *reader, const uint8_t *key, size_t length);
/* Fills reader->tensors from the pickle's root. */
cz_status cz_pth_collect(cz_pth_reader *reader);

cz_status cz_pth_read_zip(cz_pth_reader *reader);
cz_status cz_pth_read_legacy(cz_pth_reader *reader);

#endif
