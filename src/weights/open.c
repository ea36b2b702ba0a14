/* SPDX-License-Identifier: Apache-2.0 */
#include "tensor/tensors.h"
#include "weights/pth.h"

#include <string.h>

typedef cz_status (*parse_fn)(const uint8_t *data, size_t size, cz_tensors **out);

/* By content: a checkpoint of either format is often called .pt, .pth, .bin or anything else. */
static parse_fn recognise(const uint8_t *data, size_t size)
{
    if (size > 8 && data[8] == '{' && data[7] == 0) return cz_safetensors_parse;
    if (cz_pth_is_zip(data, size) || cz_pth_is_legacy(data, size)) return cz_pth_parse;
    return NULL;
}

static cz_status fail_unknown(const uint8_t *data, size_t size)
{
    if (size == 0) return cz_fail(CZ_E_FORMAT, "the file is empty");
    if (size > 262 && memcmp(data + 257, "ustar", 5) == 0)
        return cz_fail(CZ_E_FORMAT, "a tar archive: checkpoints older than PyTorch 0.1.10 are not supported");
    if (data[0] == 0x80) return cz_fail(CZ_E_FORMAT, "a pickle, but not a PyTorch checkpoint");
    return cz_fail(CZ_E_FORMAT, "not a weight file (safetensors or PyTorch checkpoint)");
}

cz_status cz_tensors_open(const char *path, cz_tensors **out)
{
    cz_status status;
    cz_mapping mapping = {NULL, 0};
    cz_tensors *tensors = NULL;
    cz_error_clear();
    if (!path || !out) return cz_fail(CZ_E_ARG, "cz_tensors_open: a NULL argument");
    CZ_TRY(cz_file_map(path, &mapping));
    const parse_fn parse = recognise(mapping.data, mapping.size);
    status = parse ? parse(mapping.data, mapping.size, &tensors) : fail_unknown(mapping.data, mapping.size);
    if (status != CZ_OK) CZ_TRY(cz_fail_prefix(status, path));
    cz_tensors_own_mapping(tensors, &mapping);
    *out = tensors;
out:
    cz_file_unmap(&mapping);
    return status;
}
