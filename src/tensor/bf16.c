/* SPDX-License-Identifier: Apache-2.0 */
#include "tensor/bf16.h"

#include "tensor/dtype.h"

#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__)
#define CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define CLONES
#endif

enum { PIECE = 16384, ROWS = 32, COLUMNS = 16, STRIP = 128 };

/* The bits of floats, looked at where they lie. */
typedef uint32_t __attribute__((may_alias)) word;

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define LITTLE false
#else
#define LITTLE true
#endif

/* cz_f32_to_bf16 without a branch, in the low half. */
static inline __attribute__((always_inline)) uint32_t round_bits(uint32_t bits)
{
    const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16, nan = (bits >> 16) | 0x40u;
    return (bits & 0x7fffffffu) > 0x7f800000u ? nan : rounded;
}

CLONES void cz_bf16_round_run(const float *values, size_t count, uint16_t *out)
{
    const word *restrict bits = (const word *)values;
    uint16_t *restrict to = out;
    for (size_t i = 0; i < count; i++) to[i] = (uint16_t)round_bits(bits[i]);
}

void cz_bf16_round(const float *values, size_t count, uint16_t *out)
{
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < count; i += PIECE)
        cz_bf16_round_run(values + i, count - i < PIECE ? count - i : PIECE, out + i);
}

CLONES void cz_bf16_widen_run(const uint16_t *values, size_t count, float *out)
{
    const uint16_t *restrict from = values;
    word *restrict bits = (word *)out;
    for (size_t i = 0; i < count; i++) bits[i] = (uint32_t)from[i] << 16;
}

/* in [16, 16] -> its transpose; COLUMNS = ROWS / 2 = 16 */
static inline __attribute__((always_inline)) void turn(const uint32_t *restrict in, uint32_t *restrict out)
{
    for (size_t c = 0; c < COLUMNS; c++)
        for (size_t r = 0; r < ROWS / 2; r++) out[c * (ROWS / 2) + r] = in[r * COLUMNS + c];
}

/* tile: [ROWS, COLUMNS] bits of F32, `from` words from row to row -> out: [COLUMNS, ROWS], `stride` from row to row. Pairs of
 * rows share a word on the way: half the moves of a plain transposition. */
CLONES static void turn_tile(const word *restrict tile, size_t from, uint16_t *restrict out, size_t stride)
{
    uint32_t pairs[ROWS / 2 * COLUMNS], turned[COLUMNS * ROWS / 2];
    for (size_t r = 0; r < ROWS / 2; r++) {
        const word *even = tile + 2 * r * from, *odd = even + from;
        for (size_t c = 0; c < COLUMNS; c++)
            pairs[r * COLUMNS + c] = LITTLE ? round_bits(even[c]) | round_bits(odd[c]) << 16
                                            : round_bits(odd[c]) | round_bits(even[c]) << 16;
    }
    turn(pairs, turned);
    for (size_t c = 0; c < COLUMNS; c++) memcpy(out + c * stride, turned + c * (ROWS / 2), ROWS * sizeof *out);
}

/* What turn_tile cannot take where it lies: bf16, or the matrix's edge, which is filled up with 0. */
static void load_tile(const cz_bf16_source *s, size_t row, size_t column, size_t rows, size_t columns, uint32_t *tile)
{
    if (rows < ROWS || columns < COLUMNS) memset(tile, 0, ROWS * COLUMNS * sizeof *tile);
    for (size_t r = 0; r < rows; r++) {
        const size_t at = (row + r) * s->stride + column;
        if (!s->bf16) memcpy(tile + r * COLUMNS, (const float *)s->values + at, columns * sizeof *tile);
        for (size_t c = 0; s->bf16 && c < columns; c++)
            tile[r * COLUMNS + c] = (uint32_t)((const uint16_t *)s->values)[at + c] << 16;
    }
}

/* out: [columns, rows], `stride` from row to row */
static void transpose_block(const cz_bf16_source *s, size_t row, size_t column, uint16_t *out, size_t stride)
{
    const size_t rows = s->rows - row < ROWS ? s->rows - row : ROWS;
    const size_t columns = s->columns - column < COLUMNS ? s->columns - column : COLUMNS;
    const bool whole = rows == ROWS && columns == COLUMNS;
    uint16_t *to = out + column * stride + row;
    if (whole && !s->bf16) {
        turn_tile((const word *)s->values + row * s->stride + column, s->stride, to, stride);
        return;
    }
    uint32_t tile[ROWS * COLUMNS];
    uint16_t edge[COLUMNS * ROWS];
    load_tile(s, row, column, rows, columns, tile);
    turn_tile(tile, COLUMNS, whole ? to : edge, whole ? stride : ROWS);
    for (size_t c = 0; !whole && c < columns; c++) memcpy(to + c * stride, edge + c * ROWS, rows * sizeof *to);
}

/* STRIP columns at once: whole stretches of a row are read, since rows are pages apart. */
static void transpose_strip(const cz_bf16_source *s, size_t first, uint16_t *out, size_t stride)
{
    const size_t end = s->columns - first < STRIP ? s->columns : first + STRIP;
    for (size_t row = 0; row < s->rows; row += ROWS)
        for (size_t column = first; column < end; column += COLUMNS) transpose_block(s, row, column, out, stride);
}

void cz_bf16_turn_run(const float *values, size_t stride, size_t rows, size_t columns, uint16_t *out, size_t out_stride)
{
    const cz_bf16_source source = {values, rows, columns, stride, false};
    for (size_t column = 0; column < columns; column += STRIP) transpose_strip(&source, column, out, out_stride);
}

void cz_bf16_pack(const cz_bf16_source *s, bool transpose, uint16_t *out)
{
    if (transpose) {
#pragma omp parallel for schedule(static)
        for (size_t column = 0; column < s->columns; column += STRIP) transpose_strip(s, column, out, s->rows);
        return;
    }
#pragma omp parallel for schedule(static)
    for (size_t r = 0; r < s->rows; r++) {
        if (s->bf16)
            memcpy(out + r * s->columns, (const uint16_t *)s->values + r * s->stride, s->columns * sizeof *out);
        else
            cz_bf16_round_run((const float *)s->values + r * s->stride, s->columns, out + r * s->columns);
    }
}
