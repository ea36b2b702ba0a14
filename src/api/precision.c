/* SPDX-License-Identifier: Apache-2.0 */
/* Names of precisions. */
#include "cozad/cozad.h"

#include <string.h>

static const struct {
    cz_precision precision;
    const char *name;
} table[] = {
    {CZ_PRECISION_FP32, "fp32"}, {CZ_PRECISION_FP32_WINOGRAD, "fp32-winograd"},
    {CZ_PRECISION_BF16, "bf16"}, {CZ_PRECISION_INT8, "int8"},
    {CZ_PRECISION_AUTO, "auto"}, {CZ_PRECISION_MODEL, "model"},
};

enum { COUNT = sizeof table / sizeof table[0] };

const char *cz_precision_name(cz_precision precision)
{
    for (size_t i = 0; i < COUNT; i++)
        if (table[i].precision == precision) return table[i].name;
    return "unknown";
}

int cz_precision_find(const char *name, cz_precision *out)
{
    for (size_t i = 0; i < COUNT; i++) {
        if (strcmp(table[i].name, name) != 0) continue;
        *out = table[i].precision;
        return 1;
    }
    return 0;
}
