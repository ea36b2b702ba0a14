/* SPDX-License-Identifier: Apache-2.0 */
#include "optim/adam.h"

#include "util/alloc.h"

#include <math.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

cz_status cz_adam_init(size_t count, cz_adam *out)
{
    cz_adam adam = {.beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .count = count};
    adam.m = cz_calloc(count, sizeof *adam.m);
    adam.v = cz_calloc(count, sizeof *adam.v);
    if (!adam.m || !adam.v) {
        cz_adam_free(&adam);
        return CZ_E_MEMORY;
    }
    *out = adam;
    return CZ_OK;
}

void cz_adam_free(cz_adam *adam)
{
    cz_free(adam->m);
    cz_free(adam->v);
    adam->m = NULL;
    adam->v = NULL;
}

/* The step's constants, rounded to float where PyTorch does. */
typedef struct adam_step {
    float beta1, beta2, one_minus_beta1, one_minus_beta2, root, epsilon, size;
    float decay;  /* coupled: g + decay * p */
    float shrink; /* decoupled: p * shrink */
} adam_step;

/* Compilers keep sqrtf scalar because it may set errno; the instruction gives the same bits four at a time. */
static void square_roots(const float *restrict v, size_t count, float *restrict out)
{
    size_t i = 0;
#if defined(__SSE2__)
    for (; i + 4 <= count; i += 4) _mm_storeu_ps(out + i, _mm_sqrt_ps(_mm_loadu_ps(v + i)));
#endif
    for (; i < count; i++) out[i] = sqrtf(v[i]);
}

enum { PIECE = 256, BLOCK = 16384 }; /* elements between two passes of the cache, of a thread's turn */

static void update_piece(const adam_step *s, size_t count, float *restrict p, const float *restrict g,
                         float *restrict m, float *restrict v)
{
    const float beta1 = s->beta1, beta2 = s->beta2, rest1 = s->one_minus_beta1, rest2 = s->one_minus_beta2;
    const float root = s->root, epsilon = s->epsilon, size = s->size, decay = s->decay, shrink = s->shrink;
    float roots[PIECE];
    for (size_t i = 0; i < count; i++) {
        p[i] *= shrink;
        const float grad = g[i] + decay * p[i];
        m[i] = m[i] * beta1 + grad * rest1;
        v[i] = v[i] * beta2 + grad * grad * rest2;
    }
    square_roots(v, count, roots);
    for (size_t i = 0; i < count; i++) p[i] -= size * (m[i] / (roots[i] / root + epsilon));
}

void cz_adam_step(cz_adam *adam, const cz_adam_group *groups, size_t group_count, float *params, const float *grads)
{
    adam->step++;
    const double t = (double)adam->step;
    const double correction1 = 1.0 - pow(adam->beta1, t), correction2 = 1.0 - pow(adam->beta2, t);
    for (size_t i = 0; i < group_count; i++) {
        const cz_adam_group *group = &groups[i];
        const adam_step step = {
            .beta1 = (float)adam->beta1,
            .beta2 = (float)adam->beta2,
            .one_minus_beta1 = (float)(1.0 - adam->beta1),
            .one_minus_beta2 = (float)(1.0 - adam->beta2),
            .root = (float)sqrt(correction2),
            .epsilon = (float)adam->epsilon,
            .size = (float)(group->lr / correction1),
            .decay = group->decoupled ? 0.0f : (float)group->decay,
            .shrink = group->decoupled ? (float)(1.0 - group->lr * group->decay) : 1.0f,
        };
        const size_t end = group->first + group->count;
#pragma omp parallel for schedule(static)
        for (size_t first = group->first; first < end; first += BLOCK) {
            const size_t last = end - first < BLOCK ? end : first + BLOCK;
            for (size_t at = first; at < last; at += PIECE)
                update_piece(&step, last - at < PIECE ? last - at : PIECE, params + at, grads + at, adam->m + at,
                             adam->v + at);
        }
    }
}
