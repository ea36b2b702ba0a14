/* SPDX-License-Identifier: Apache-2.0 */
/* What one worker does with the jobs that it has taken: pool.c hands them out. */
#ifndef SV_POOL_WORK_H
#define SV_POOL_WORK_H

#include "pool.h"

#include <stdatomic.h>

enum {
    SV_SLOTS = 4, /* sessions of one worker: activations of so many models */
    SV_BATCH_MOST = 16
};

/* One worker's own; no other thread touches it. */
typedef struct sv_bench {
    struct {
        const sv_model *model; /* a reference; NULL: free */
        cz_session *session;
        double used; /* of sv_now */
    } slots[SV_SLOTS];
    cz_precision precision;
    uint64_t max_pixels;
    size_t max_batch;          /* of sessions, 1 … SV_BATCH_MOST */
    const atomic_bool *cancel; /* true: nothing more is computed */
    cz_picture pictures[SV_BATCH_MOST];
    cz_image images[SV_BATCH_MOST]; /* those that could be decoded */
    sv_job *jobs[SV_BATCH_MOST];    /* theirs */
    cz_result results[SV_BATCH_MOST];
} sv_bench;

void sv_bench_init(sv_bench *b, const sv_settings *settings, const atomic_bool *cancel);
void sv_bench_free(sv_bench *b);
/* All of `count` jobs of one model, at most max_batch; each is told `finished` once, which may free it. */
void sv_bench_run(sv_bench *b, sv_job *const *jobs, size_t count, void (*finished)(void *ctx, sv_job *job), void *ctx);
/* Whether one of the sessions is of a model that was replaced or unloaded and not used for `seconds`; closes those. */
bool sv_bench_stale(const sv_bench *b, double seconds);
void sv_bench_sweep(sv_bench *b, double seconds);

/* Map and pictures of a result, as far as `job->want` asks for them. `image`: scored as number `index` of the session's last call. */
cz_status sv_pictures_make(cz_session *session, size_t index, const cz_image *image, const cz_result *result,
                           sv_job *job);

#endif
