/* SPDX-License-Identifier: Apache-2.0 */
/* The contrastive loss over a whole set: noise, order and the loop over chunks. One chunk is contrastive_chunk.c's. */
#include "losses/contrastive.h"

#include "losses/contrastive_chunk.h"
#include "util/alloc.h"
#include "util/rng.h"

#include <math.h>
#include <string.h>

struct cz_contrast_work {
    cz_contrast_options options;
    size_t capacity, width;
    size_t patches; /* P of the last gradient call; 0: there was none, or it failed */
    float *delta;   /* [capacity, E] */
    size_t *order;  /* [capacity] */
    bool *seen;     /* [capacity] scratch */
    cz_contrast_chunk chunk;
};

void cz_contrast_options_init(cz_contrast_options *options)
{
    *options = (cz_contrast_options){.chunk = 256, .knn = 5, .temperature = 0.1, .noise_std = 0.015};
}

static cz_status check_options(const cz_contrast_options *o)
{
    if (o->chunk < 2) return cz_fail(CZ_E_ARG, "contrastive chunk of %zu patches: at least 2 are needed", o->chunk);
    if (!(o->temperature >= 1e-6 && o->temperature <= 1e6))
        return cz_fail(CZ_E_ARG, "contrastive temperature %g is not in 1e-6 … 1e6", o->temperature);
    if (!(o->noise_std >= 0) || !isfinite(o->noise_std))
        return cz_fail(CZ_E_ARG, "noise standard deviation %g is not a finite value >= 0", o->noise_std);
    if (o->literal && o->knn < 1) return cz_fail(CZ_E_ARG, "the literal contrastive loss (Eq. 2) needs knn >= 1");
    return CZ_OK;
}

/* A remainder this short joins the chunk before it: too few rows to have knn neighbours and a negative. */
static size_t shortest_remainder(const cz_contrast_options *o)
{
    const size_t wanted = o->knn < SIZE_MAX - 2 ? o->knn + 2 : SIZE_MAX;
    return wanted < o->chunk ? wanted : o->chunk;
}

/* Rows of the chunk that begins where `left` rows are left. */
static size_t chunk_rows(const cz_contrast_options *o, size_t left)
{
    return left <= o->chunk || left - o->chunk < shortest_remainder(o) ? left : o->chunk;
}

cz_status cz_contrast_work_create(const cz_contrast_options *options, size_t capacity, size_t width,
                                  cz_contrast_work **out)
{
    cz_status status = check_options(options);
    size_t elements, longest;
    if (status != CZ_OK) return status;
    if (capacity < 1 || width < 1)
        return cz_fail(CZ_E_ARG, "contrastive loss of %zu patches of width %zu", capacity, width);
    if (!cz_mul_size(capacity, width, &elements))
        return cz_fail(CZ_E_LIMIT, "contrastive loss of %zu patches of width %zu is too large", capacity, width);
    if (!cz_add_size(options->chunk, shortest_remainder(options) - 1, &longest) || longest > capacity)
        longest = capacity;
    cz_contrast_work *work = cz_calloc(1, sizeof *work);
    if (!work) return CZ_E_MEMORY;
    work->options = *options;
    work->capacity = capacity;
    work->width = width;
    work->chunk = (cz_contrast_chunk){.width = width,
                                      .capacity = longest,
                                      .knn = options->knn,
                                      .temperature = options->temperature,
                                      .literal = options->literal};
    status = CZ_E_MEMORY;
    work->delta = cz_alloc_array(elements, sizeof *work->delta);
    work->order = cz_alloc_array(capacity, sizeof *work->order);
    work->seen = cz_alloc_array(capacity, sizeof *work->seen);
    if (!work->delta || !work->order || !work->seen) goto out;
    CZ_TRY(cz_contrast_chunk_create(&work->chunk));
    *out = work;
    return CZ_OK;
out:
    cz_contrast_work_destroy(work);
    return status;
}

void cz_contrast_work_destroy(cz_contrast_work *work)
{
    if (!work) return;
    cz_contrast_chunk_free(&work->chunk);
    cz_free(work->delta);
    cz_free(work->order);
    cz_free(work->seen);
    cz_free(work);
}

/* Fills the kept delta and order. */
static cz_status draw(cz_contrast_work *work, size_t patches, const cz_contrast_noise *noise)
{
    const size_t elements = patches * work->width; /* at most capacity * width */
    cz_rng rng;
    if (noise->delta) {
        memcpy(work->delta, noise->delta, elements * sizeof *work->delta);
    } else {
        cz_rng_init(&rng, noise->seed, CZ_RNG_TWIN, noise->step, noise->task);
        cz_rng_normal_fill(&rng, 0, work->delta, elements, (float)work->options.noise_std);
    }
    if (!noise->order) {
        for (size_t i = 0; i < patches; i++) work->order[i] = i;
        cz_rng_init(&rng, noise->seed, CZ_RNG_CHUNKS, noise->step, noise->task);
        cz_rng_shuffle(&rng, work->order, patches);
        return CZ_OK;
    }
    memset(work->seen, 0, patches * sizeof *work->seen);
    for (size_t i = 0; i < patches; i++) {
        const size_t at = noise->order[i];
        if (at >= patches || work->seen[at])
            return cz_fail(CZ_E_ARG, "contrastive order of %zu patches is not a permutation", patches);
        work->seen[at] = true;
        work->order[i] = at;
    }
    return CZ_OK;
}

static void aim(cz_contrast_work *work, const float *q, const float *tangent)
{
    work->chunk.q = q;
    work->chunk.delta = work->delta;
    work->chunk.tangent = tangent;
}

cz_status cz_contrast_gradient(cz_contrast_work *work, const float *q, size_t patches, const cz_contrast_noise *noise,
                               double scale, double *loss, float *dq)
{
    cz_status status = CZ_OK;
    cz_contrast_chunk *chunk = &work->chunk;
    /* G is tau times a derivative: 1 / tau belongs to the similarities, 1 / P to the mean */
    const double factor = scale / ((double)patches * work->options.temperature);
    double total = 0;
    work->patches = 0;
    if (patches < 1 || patches > work->capacity)
        return cz_fail(CZ_E_ARG, "contrastive loss: %zu patches are not in 1 … %zu", patches, work->capacity);
    CZ_TRY(draw(work, patches, noise));
    aim(work, q, NULL);
    for (size_t first = 0; first < patches; first += chunk->rows) {
        chunk->rows = chunk_rows(&work->options, patches - first);
        chunk->order = work->order + first;
        CZ_TRY(cz_contrast_chunk_forward(chunk));
        for (size_t i = 0; i < chunk->rows; i++) total += chunk->row[i].loss;
        if (dq) CZ_TRY(cz_contrast_chunk_gradient(chunk, factor, dq));
    }
    *loss = total / (double)patches;
    work->patches = patches;
out:
    return status;
}

cz_status cz_contrast_hessian(cz_contrast_work *work, const float *q, size_t patches, const float *tangent_q,
                              double scale, float *tangent_dq)
{
    cz_status status = CZ_OK;
    cz_contrast_chunk *chunk = &work->chunk;
    const double factor = scale / ((double)patches * work->options.temperature);
    if (patches < 1 || patches != work->patches)
        return cz_fail(CZ_E_ARG, "contrastive Hessian of %zu patches, but the last gradient was of %zu", patches,
                       work->patches);
    aim(work, q, tangent_q);
    for (size_t first = 0; first < patches; first += chunk->rows) {
        chunk->rows = chunk_rows(&work->options, patches - first);
        chunk->order = work->order + first;
        CZ_TRY(cz_contrast_chunk_forward(chunk));
        CZ_TRY(cz_contrast_chunk_hessian(chunk, factor, tangent_dq));
    }
out:
    return status;
}
