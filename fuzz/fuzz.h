/* SPDX-License-Identifier: Apache-2.0 */
/* What the fuzz targets share. */
#ifndef FUZZ_H
#define FUZZ_H

#include "cozad/cozad.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Reads every byte of every tensor, so that a view out of bounds is noticed. */
static inline void fuzz_touch(const cz_tensors *tensors)
{
    static volatile uint8_t sink;
    for (size_t i = 0; i < cz_tensors_count(tensors); i++) {
        cz_tensor_view v;
        uint8_t sum = 0;
        if (cz_tensors_get(tensors, i, &v) != CZ_OK || v.rank > CZ_MAX_RANK || v.name[0] == '\0') __builtin_trap();
        for (size_t k = 0; k < v.bytes; k++) sum = (uint8_t)(sum + ((const uint8_t *)v.data)[k]);
        sink = sum;
    }
    (void)sink;
}

#endif
