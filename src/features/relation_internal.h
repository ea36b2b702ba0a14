/* SPDX-License-Identifier: Apache-2.0 */
/* One tap's part of a relational descriptor, shared by relation*.c. */
#ifndef CZ_FEATURES_RELATION_INTERNAL_H
#define CZ_FEATURES_RELATION_INTERNAL_H

#include "engine/engine.h"
#include "features/relation.h"

/* Rows of the Gram matrix that are there at once. */
#define CZ_RELATION_STRIP ((size_t)128)
/* Cells are padded to a multiple, so that masks of many sizes share prepared products. */
#define CZ_RELATION_ROUND ((size_t)64)
#define CZ_RELATION_NONE  UINT32_MAX
#define CZ_RELATION_FLOOR 1e-6f

/* The valid cells of one map, numbered in order. Buffers are those of the largest tap. */
typedef struct cz_relation_cells {
    cz_tap_shape shape;
    size_t guard;
    size_t count, room;  /* valid cells; that, padded */
    const uint16_t *map; /* [h, w, C] bf16 */
    uint32_t *index;     /* [h * w] numbers, CZ_RELATION_NONE where not valid */
    uint32_t *place;     /* [count] the cell of each number */
    uint16_t *rows;      /* [room, C] bf16, 0 beyond count */
    uint16_t *turned;    /* [C, room] */
    float *median;       /* [C] */
    float *scale;        /* [C] 1 / s */
    float *square;       /* [room] squared norms, infinite beyond count */
    float *inverse;      /* [room] 1 / norm, 0 for 0, NaN beyond count */
    float *products;     /* [CZ_RELATION_STRIP, room] */
    float *kinds;        /* [9, room] the values, then their logarithms */
    uint64_t *sorting;   /* [9, 2, room] */
    float *forms;        /* [count, 27] */
} cz_relation_cells;

/* From index and map to kinds. CZ_E_DIVERGED. */
cz_status cz_relation_kinds(cz_relation_cells *c, cz_gemm *gemm);
/* Kinds 2 to 5. */
cz_status cz_relation_far(cz_relation_cells *c, cz_gemm *gemm);
/* From kinds to forms. */
void cz_relation_forms(cz_relation_cells *c);

#endif
