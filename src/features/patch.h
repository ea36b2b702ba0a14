/* SPDX-License-Identifier: Apache-2.0 */
/* Patch features o = pool(F(x)) (docs/math.md section 2), computed directly as a sparse linear map, without unfolding. */
#ifndef CZ_FEATURES_PATCH_H
#define CZ_FEATURES_PATCH_H

#include "util/status.h"

#include <stdbool.h>

typedef struct cz_tap_shape {
    size_t channels, height, width;
} cz_tap_shape;

/* For a list of taps, in order; the patch grid is that of the first. Every output of tap t lies in columns
 * [first, first + count) of D; with tap counts that do not divide D neighbouring ranges overlap by one column, whose
 * value is the sum over taps. */
typedef struct cz_pooler cz_pooler;
/* side: of the neighbourhood that is unfolded, 3 (docs/math.md section 2), or 1: a cell alone. */
cz_status cz_pooler_create(const cz_tap_shape *taps, size_t count, size_t width, size_t side, cz_pooler **out);
void cz_pooler_destroy(cz_pooler *p);
size_t cz_pooler_taps(const cz_pooler *p);
size_t cz_pooler_width(const cz_pooler *p); /* D */
size_t cz_pooler_grid_h(const cz_pooler *p);
size_t cz_pooler_grid_w(const cz_pooler *p);
void cz_pooler_columns(const cz_pooler *p, size_t tap, size_t *first, size_t *count);
/* Pools one tap at its own resolution. map: [h, w, C] F32; out: [h * w, count] F32, row stride `count`, times `scale`. OpenMP. */
void cz_pooler_tap(const cz_pooler *p, size_t tap, const float *map, float scale, float *out);
/* The same from the backbone's bf16, for matrix products that take any order of columns: place j holds column
 * cz_pooler_order's order[j], [count] (0 … count - 1, counted from the tap's first). out: [h * w, count] F32, or bf16 (rounded to
 * nearest even). Bit for bit what cz_pooler_tap gives for the widened map. OpenMP. */
void cz_pooler_order(const cz_pooler *p, size_t tap, size_t *order);
void cz_pooler_tap_ordered(const cz_pooler *p, size_t tap, const uint16_t *map, float scale, bool bf16, void *out);
/* Bilinear upsampling (align_corners=False) of [h, w, n] from the tap's grid to the patch grid, added to or stored in
 * out: [grid_h * grid_w] rows of n values, `out_stride` apart. Also used for the composed head's products. OpenMP. */
void cz_pooler_upsample(const cz_pooler *p, size_t tap, const float *in, size_t n, float *out, size_t out_stride,
                        bool add);
/* All together. maps[t]: [h_t, w_t, C_t] F32; scratch: cz_pooler_scratch(p) floats; out: [P, D]. */
size_t cz_pooler_scratch(const cz_pooler *p);
void cz_pooler_patches(const cz_pooler *p, const float *const *maps, float scale, float *scratch, float *out);
/* The same for chosen patches only (training): rows[i] < P, ascending; out: [row_count, D]. */
void cz_pooler_rows(const cz_pooler *p, const float *const *maps, float scale, const size_t *rows, size_t row_count,
                    float *scratch, float *out);
/* Both straight from bf16 maps, the same bits as from widened ones. */
void cz_pooler_patches_bf16(const cz_pooler *p, const uint16_t *const *maps, float scale, float *scratch, float *out);
void cz_pooler_rows_bf16(const cz_pooler *p, const uint16_t *const *maps, float scale, const size_t *rows,
                         size_t row_count, float *scratch, float *out);

#endif
