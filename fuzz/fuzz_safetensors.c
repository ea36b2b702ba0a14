/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"

#include "tensor/tensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cz_tensors *tensors = NULL;
    cz_error_clear();
    if (cz_safetensors_parse(data, size, &tensors) == CZ_OK) fuzz_touch(tensors);
    cz_tensors_close(tensors);
    return 0;
}
