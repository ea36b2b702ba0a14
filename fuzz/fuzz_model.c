/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"

#include "api/model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cz_model *model = NULL;
    cz_error_clear();
    if (cz_model_parse(data, size, &model) == CZ_OK && cz_model_json(model) == NULL) __builtin_trap();
    cz_model_close(model);
    return 0;
}
