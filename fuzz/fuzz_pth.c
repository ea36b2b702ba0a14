/* SPDX-License-Identifier: Apache-2.0 */
/* PyTorch checkpoints: zip archives, legacy streams and bare pickles. */
#include "fuzz.h"

#include "tensor/tensors.h"
#include "weights/pickle.h"
#include "weights/pth.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cz_tensors *tensors = NULL;
    cz_error_clear();
    if (cz_pth_parse(data, size, &tensors) == CZ_OK) fuzz_touch(tensors);
    cz_tensors_close(tensors);

    cz_pickle pickle;
    size_t used = 0;
    cz_error_clear();
    if (cz_pickle_load(data, size, &used, &pickle) == CZ_OK) {
        if (used > size) __builtin_trap();
        cz_pickle_free(&pickle);
    }
    return 0;
}
