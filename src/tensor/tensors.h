/* SPDX-License-Identifier: Apache-2.0 */
/* A named collection of tensors (the inside of the public cz_tensors) and the safetensors reader and writer. */
#ifndef CZ_TENSOR_TENSORS_H
#define CZ_TENSOR_TENSORS_H

#include "util/file.h"
#include "util/status.h"

/* Limits of the reader; beyond them a file is refused, never truncated. */
#define CZ_SAFETENSORS_MAX_HEADER ((size_t)100 * 1000 * 1000)
#define CZ_TENSORS_MAX_COUNT      ((size_t)100000)
#define CZ_TENSORS_MAX_METADATA   ((size_t)4096)

/* Parses safetensors bytes. `data` must outlive the result (views point into it). Everything is validated before
 * anything is returned: header length, JSON, dtype, shape x dtype = length, offsets in bounds, no overlap, no hole. */
cz_status cz_safetensors_parse(const uint8_t *data, size_t size, cz_tensors **out);
/* Maps and parses; the result owns the mapping. */
cz_status cz_safetensors_open(const char *path, cz_tensors **out);

/* For readers of other formats: `take` true hands over `view->data` (from cz_alloc), else it must outlive `t`. */
cz_status cz_tensors_put(cz_tensors *t, const cz_tensor_view *view, int take);
void cz_tensors_set_format(cz_tensors *t, const char *static_name);
/* Hands over a mapping that views point into. */
void cz_tensors_own_mapping(cz_tensors *t, cz_mapping *mapping);
/* NULL when absent, without touching the error message. */
const cz_tensor_view *cz_tensors_lookup(const cz_tensors *t, const char *name);

#endif
