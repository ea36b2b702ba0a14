/* SPDX-License-Identifier: Apache-2.0 */
/* Workers, one a core: decode, score (batches of what waits for the same model), make overlays. A bounded queue: first come, first served;
 * a job past its deadline is not scored. Any thread. */
#ifndef SV_POOL_H
#define SV_POOL_H

#include "models.h"

#include "cozad/cozad_eval.h"
#include "cozad/cozad_io.h"

typedef struct sv_pool sv_pool;

/* What is made of one image beside the score. */
enum {
    SV_MAP = 1,
    SV_REGIONS = 2,
    SV_OVERLAY = 4 /* PNG of the photo with the map */,
    SV_HEAT = 8 /* PNG, RGBA: the map's colours alone */
};

typedef struct sv_outcome {
    cz_status status; /* CZ_E_CANCELLED: past its deadline, or the server ends */
    char error[256];
    size_t width, height;                              /* of the image, upright */
    double score, p_value, threshold, pixel_threshold; /* NaN without calibration */
    int decision;                                      /* -1, 0, 1 */
    cz_region *regions;                                /* free */
    size_t region_count, region_total;
    float *map;           /* [height, width]; free */
    char *overlay, *heat; /* PNG; cz_string_free */
    size_t overlay_size, heat_size;
    double queue_ms, decode_ms, score_ms, picture_ms;
    size_t batch; /* images that were computed together */
} sv_outcome;
void sv_outcome_free(sv_outcome *o);

/* One image to score. Filled by the caller, who owns all that it points to until `done` was called. */
typedef struct sv_job {
    const sv_model *model;        /* held by the caller */
    const unsigned char *encoded; /* a picture file's bytes; NULL: `image` */
    size_t encoded_size;
    cz_image image;
    unsigned want; /* SV_MAP | … */
    double deadline;
    void (*done)(void *ctx, struct sv_job *job); /* in a worker, once; may free the job */
    void *ctx;
    sv_outcome outcome;  /* for `done`, which frees it with sv_outcome_free or takes what it needs */
    struct sv_job *next; /* the pool's */
    double submitted;    /* the pool's */
} sv_job;

typedef struct sv_pool_state {
    size_t waiting, running, workers;
    uint64_t done, rejected, expired;
} sv_pool_state;

cz_status sv_pool_open(const sv_settings *settings, sv_pool **out);
/* All or none of `count` jobs are taken. CZ_E_LIMIT: the queue is full; CZ_E_CANCELLED: ending. */
cz_status sv_pool_submit(sv_pool *p, sv_job *const *jobs, size_t count);
void sv_pool_state_get(sv_pool *p, sv_pool_state *out);
/* Sessions of models that nobody holds any more are closed, by their workers. sv_models_on_change calls it. */
void sv_pool_forget(sv_pool *p);
/* Images of one model that a worker takes at once where more wait than there are workers; 1 unless set (pool.c says why). Before the first
 * job. */
void sv_pool_batch(sv_pool *p, size_t most);
/* Fewer workers while a training runs: `share` in (0, 1] of the cores, at least one. */
void sv_pool_limit(sv_pool *p, double share);
/* What waits is scored until `seconds` have passed, then cancelled. */
void sv_pool_close(sv_pool *p, double seconds);

#endif
