/* SPDX-License-Identifier: Apache-2.0 */
/* XXH64 (Yann Collet's specification), seed 0: a fast checksum against damage, none against intent. */
#ifndef CZ_UTIL_XXH64_H
#define CZ_UTIL_XXH64_H

#include <stddef.h>
#include <stdint.h>

uint64_t cz_xxh64(const void *data, size_t bytes);

#endif
