/* SPDX-License-Identifier: Apache-2.0 */
/* CoZAD without training: the unlabelled photos of one product score each other (docs/mutual.md, docs/math.md section 10). What is odd
 * about a photo is what the photos most like it do not have. After MuSc (Li et al. 2024), with a search from coarse to fine so that the
 * cost grows linearly with the number of photos but for a small part. The conventions of cozad.h hold. */
#ifndef COZAD_COZAD_MUTUAL_H
#define COZAD_COZAD_MUTUAL_H

#include "cozad/cozad.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Fewer photos are not compared: their opinion of each other is worth little. */
#define CZ_MUTUAL_PHOTOS ((size_t)8)

/* What a patch's descriptor is: the mean of 3 x 3 cells (outside the photo is zero), which a border of a photo is told by and noise is
 * less in; or one cell alone, which where parts lie anyhow tells small defects better. Automatic: from the photos themselves, alone
 * where the nearest twentieth of them is at less than CZ_MUTUAL_ANYHOW of the middle distance. */
typedef enum cz_mutual_neighbourhood {
    CZ_MUTUAL_NEIGHBOURHOOD_AUTO = 0,
    CZ_MUTUAL_NEIGHBOURHOOD_1 = 1,
    CZ_MUTUAL_NEIGHBOURHOOD_3 = 3
} cz_mutual_neighbourhood;

/* Which photos a photo is compared with: the most similar ones, or some drawn from all. Automatic: drawn where a photo has at least one
 * other of the same piece on average, since not all of those are recognised and the most similar photos are full of them; and never
 * where parts lie anyhow. */
typedef enum cz_mutual_among {
    CZ_MUTUAL_AMONG_AUTO = 0,
    CZ_MUTUAL_AMONG_SIMILAR = 1,
    CZ_MUTUAL_AMONG_DRAWN = 2
} cz_mutual_among;

/* A batch whose `nearer` (below) is smaller has parts that lie anyhow. */
#define CZ_MUTUAL_ANYHOW 0.8

typedef struct cz_mutual_options {
    size_t struct_size;
    const char *taps;                 /* "layer2,layer3"; the patches are those of the first */
    size_t image_width, image_height; /* network input, each 32 … 8192; 256 x 256 */
    cz_fit fit;
    size_t resize;               /* short side before the centre cut of CZ_FIT_CROP; 0: min(width, height) */
    cz_roi roi;                  /* width 0: the whole photo */
    const cz_image *ignore_mask; /* GRAY8; pixels >= 128 are not inspected; scaled to the region; NULL: none */
    size_t width;                /* dimensions that each tap is projected to, 1 … 4096; 64 */
    size_t
        candidates; /* M: photos that each is compared with patch by patch, at least 1; 24. More than the others: all */
    size_t nearest; /* K: a patch's score is the mean distance to its K nearest, at least 1; 3 */
    int same_piece; /* 1: candidates that show the very same piece once more are left out (docs/mutual.md); 0: they count; 1 */
    uint64_t seed;   /* of the projection and of what is drawn */
    uint64_t memory; /* bytes of descriptors at the most, 0: 8 GB. About 300 kB a photo of 256 x 256, as its square */
    size_t threads;  /* 0: all the process may use */
    cz_precision
        precision; /* of the backbone: fp32, fp32-winograd, bf16, or int8 for weights with ranges inside; fp32 */
    cz_cache_options cache;
    cz_progress_fn progress; /* phases "features", "describing photos", "comparing photos" */
    cz_log_fn log;
    void *ctx;
    cz_mutual_neighbourhood neighbourhood; /* automatic */
    cz_mutual_among among;                 /* automatic */
} cz_mutual_options;
/* Fills in the defaults named above. */
CZ_API void cz_mutual_options_init(cz_mutual_options *options);

/* What the batch says of one photo. Scores are comparable within one batch alone. */
typedef struct cz_mutual_photo {
    size_t index;                   /* in the source */
    double score;                   /* `placed` as (value - median) / MAD over the batch */
    double raw;                     /* mean of the 5 largest patch scores, a distance */
    double placed;                  /* the same after half of each place's median over the batch is taken off */
    size_t place_x, place_y;        /* middle of the patch with the largest score, pixels of the photo */
    size_t same_piece;              /* candidates left out as photos of the same piece, 0 … 16 */
    size_t nearest;                 /* most similar photo, index in the source; of the same piece or not */
    size_t width, height;           /* of the photo, pixels */
    size_t grid_width, grid_height; /* patches */
    const float
        *patch_scores; /* [grid_height, grid_width], distances >= 0; NaN: not inspected. Belongs to the scores */
} cz_mutual_photo;

typedef struct cz_mutual_scores cz_mutual_scores;

/* Scores the photos of a source by comparing them with each other. A photo that cannot be read is left out with a log line;
 * CZ_E_NO_IMAGES when fewer than CZ_MUTUAL_PHOTOS are left, CZ_E_LIMIT when descriptors would take more than `memory`, CZ_E_DIVERGED for
 * features that are not finite, CZ_E_CANCELLED. Same photos in the same order, same seed: same scores, whatever the number of threads,
 * up to rounding. Labels and names play no part. */
CZ_API cz_status cz_mutual_score(cz_backbone *backbone, const cz_image_source *images, const cz_mutual_options *options,
                                 cz_mutual_scores **out);
CZ_API void cz_mutual_scores_free(cz_mutual_scores *scores);
/* Photos that were scored, in the source's order, and those that could not be read. */
CZ_API size_t cz_mutual_scores_count(const cz_mutual_scores *scores);
CZ_API size_t cz_mutual_scores_skipped(const cz_mutual_scores *scores);
/* How they were compared, and what that was decided by. */
typedef struct cz_mutual_way {
    cz_mutual_neighbourhood neighbourhood; /* not automatic */
    cz_mutual_among among;                 /* not automatic */
    /* NaN where nothing was automatic. */
    double nearer;   /* distance to the nearest twentieth of the other photos, share of the middle one */
    double repeated; /* other photos of the same piece that a photo has, on average */
} cz_mutual_way;
CZ_API void cz_mutual_scores_way(const cz_mutual_scores *scores, cz_mutual_way *out);
/* CZ_E_ARG when `index` is out of range. */
CZ_API cz_status cz_mutual_scores_at(const cz_mutual_scores *scores, size_t index, cz_mutual_photo *out);
/* The photo's map at its own size, out: [height, width], a patch score's unit; NaN: not inspected. Several threads at once may. */
CZ_API cz_status cz_mutual_scores_map(const cz_mutual_scores *scores, size_t index, float *out);
/* Ends of a colour scale for all maps: median and 99.9 % quantile of all patch scores. low < high. */
CZ_API void cz_mutual_scores_scale(const cz_mutual_scores *scores, double *low, double *high);

#ifdef __cplusplus
}
#endif
#endif
