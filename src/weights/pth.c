/* SPDX-License-Identifier: Apache-2.0 */
#include "weights/pth.h"

#include "util/alloc.h"
#include "weights/pth_reader.h"

#include <string.h>

bool cz_pth_is_zip(const uint8_t *data, size_t size)
{
    return size >= 4 && memcmp(data, "PK\3\4", 4) == 0;
}

/* PROTO, then LONG1 of ten bytes: the beginning of the magic number. */
bool cz_pth_is_legacy(const uint8_t *data, size_t size)
{
    return size >= 4 && data[0] == 0x80 && data[1] >= 2 && data[1] <= 5 && (data[2] == 0x8a || data[2] == 0x95);
}

cz_status cz_pth_parse(const uint8_t *data, size_t size, cz_tensors **out)
{
    cz_status status;
    cz_pth_reader reader;
    cz_pth_reader_init(&reader, data, size);
    CZ_TRY(cz_tensors_create(&reader.tensors));
    if (cz_pth_is_zip(data, size)) {
        CZ_TRY(cz_pth_read_zip(&reader));
    } else if (cz_pth_is_legacy(data, size)) {
        CZ_TRY(cz_pth_read_legacy(&reader));
    } else {
        CZ_TRY(cz_fail(CZ_E_FORMAT, "not a PyTorch checkpoint"));
    }
    *out = reader.tensors;
    reader.tensors = NULL;
out:
    cz_pth_reader_free(&reader);
    return status;
}

cz_status cz_pth_open(const char *path, cz_tensors **out)
{
    cz_status status;
    cz_mapping mapping = {NULL, 0};
    cz_tensors *tensors = NULL;
    CZ_TRY(cz_file_map(path, &mapping));
    status = cz_pth_parse(mapping.data, mapping.size, &tensors);
    if (status != CZ_OK) CZ_TRY(cz_fail_prefix(status, path));
    cz_tensors_own_mapping(tensors, &mapping);
    *out = tensors;
out:
    cz_file_unmap(&mapping);
    return status;
}
