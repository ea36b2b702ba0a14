/* SPDX-License-Identifier: Apache-2.0 */
/* Whole arrays between F32 and bf16. Rounding is to nearest even, as cz_f32_to_bf16 does it: the same bits on every
 * processor. */
#ifndef CZ_TENSOR_BF16_H
#define CZ_TENSOR_BF16_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* out[i] = values[i] rounded; one thread. */
void cz_bf16_round_run(const float *values, size_t count, uint16_t *out);
/* The same, OpenMP. */
void cz_bf16_round(const float *values, size_t count, uint16_t *out);
/* out[i] = values[i] widened, which is exact; one thread. */
void cz_bf16_widen_run(const uint16_t *values, size_t count, float *out);

/* values: [rows, columns] F32, `stride` floats from row to row -> its transpose, rounded, out: [columns, rows], `out_stride`
 * from row to row; one thread. */
void cz_bf16_turn_run(const float *values, size_t stride, size_t rows, size_t columns, uint16_t *out,
                      size_t out_stride);

/* A matrix of F32 or bf16 as it is stored: [rows, columns], `stride` elements from row to row. */
typedef struct cz_bf16_source {
    const void *values;
    size_t rows, columns, stride;
    bool bf16;
} cz_bf16_source;
/* out: [rows, columns] dense, or with `transpose` [columns, rows] dense; rounded where the source is F32. OpenMP. */
void cz_bf16_pack(const cz_bf16_source *source, bool transpose, uint16_t *out);

#endif
