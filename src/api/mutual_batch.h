/* SPDX-License-Identifier: Apache-2.0 */
/* The comparing part of cozad_mutual.h: patch descriptors of a batch of photos in, scores out. It knows neither backbone nor pictures
 * (docs/math.md section 10). */
#ifndef CZ_API_MUTUAL_BATCH_H
#define CZ_API_MUTUAL_BATCH_H

#include "util/status.h"

#include <stdbool.h>

/* Side of a cell of the coarse comparison, patches. */
#define CZ_MUTUAL_CELL ((size_t)4)
/* Largest number of candidates that may be photos of the same piece, and the smallest ratio of mean distances that parts them from the
 * others. */
#define CZ_MUTUAL_SAME      ((size_t)8)
#define CZ_MUTUAL_SAME_STEP 1.1
/* A batch is looked at through so many of its photos at the most; the share of the others that are near to one; photos of its own piece
 * on average from which on pieces come several times. */
#define CZ_MUTUAL_LOOKED   ((size_t)64)
#define CZ_MUTUAL_ALIKE    0.05
#define CZ_MUTUAL_REPEATED 1.0
/* Share of what is usual at a place that is taken off. */
#define CZ_MUTUAL_USUAL 0.5f
/* Patches that an image score is the mean of. */
#define CZ_MUTUAL_TOP ((size_t)5)
/* An image score's MAD is at least this, in the unit of distances (descriptors have about unit length). */
#define CZ_MUTUAL_MAD 1e-3
/* A squared distance below this share of the patch's squared norm is rounding of the product and counts as 0. */
#define CZ_MUTUAL_ROUNDING 4e-6f

/* Descriptors: P = grid_w grid_h patches a photo, D dimensions each. */
typedef struct cz_mutual_batch {
    size_t photos, grid_w, grid_h, width;
    uint16_t *values;  /* [photos, D, P] bf16: as the second operand of a product wants them; 0 where not inspected */
    float *norms;      /* [photos, P] squared norms of them; INFINITY: not inspected */
    size_t cells;      /* of a photo, CZ_MUTUAL_CELL patches a side (fewer at the right and bottom edge) */
    float *cell;       /* [photos, cells, D] means of their inspected patches */
    float *cell_norms; /* [photos, cells] squared; INFINITY: nothing inspected */
    float *room;       /* [P] */
    double *sums;      /* [P] */
} cz_mutual_batch;

/* Bytes that one photo takes in a batch and in its result; false: more than can be counted. */
bool cz_mutual_batch_bytes(size_t grid_w, size_t grid_h, size_t width, size_t *out);
/* All photos empty. */
cz_status cz_mutual_batch_create(size_t photos, size_t grid_w, size_t grid_h, size_t width, cz_mutual_batch *out);
void cz_mutual_batch_free(cz_mutual_batch *b);
/* Takes one photo's descriptors, x: [P, D], valid: [P] 1 where inspected, at least once; NULL: all. CZ_E_DIVERGED for an inspected value
 * that is not finite. */
cz_status cz_mutual_batch_set(cz_mutual_batch *b, size_t photo, const float *x, const uint8_t *valid);

typedef struct cz_mutual_compare {
    size_t candidates, nearest; /* each at least 1 */
    bool same_piece;            /* leave them out */
    bool drawn;                 /* candidates are drawn with (seed, photo); otherwise the most similar photos */
    uint64_t seed;
    cz_progress_fn progress; /* NULL: none */
    void *ctx;
} cz_mutual_compare;

typedef struct cz_mutual_result {
    size_t photos, patches;       /* P */
    float *patch;                 /* [photos, P] distances; NaN: not inspected */
    double *score, *raw, *placed; /* [photos] */
    size_t *place;                /* [photos] patch with the largest score */
    size_t *left_out;             /* [photos] */
    size_t *closest;              /* [photos] the most similar photo */
} cz_mutual_result;

/* At least 2 photos, all set. Uses the OpenMP thread count in force; the result depends on it by rounding alone. */
cz_status cz_mutual_compare_all(const cz_mutual_batch *b, const cz_mutual_compare *how, cz_mutual_result *out);
void cz_mutual_result_free(cz_mutual_result *r);

/* What coarse distances tell of a batch (docs/math.md section 10, 7). */
typedef struct cz_mutual_look {
    double nearer; /* median over photos of: distance to the CZ_MUTUAL_ALIKE quantile of the others / to their median */
    double repeated; /* photos of the same piece that a photo has, on average */
} cz_mutual_look;
/* At least 2 photos, all set. */
cz_status cz_mutual_look_at(const cz_mutual_batch *b, cz_mutual_look *out);

/* mutual_images.c: from patch scores to raw, placed, score and place. */
cz_status cz_mutual_judge(cz_mutual_result *r);
/* Middle value, or the mean of the two; sorts `values`. count > 0. */
double cz_mutual_median(float *values, size_t count);

#endif
