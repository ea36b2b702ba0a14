/* SPDX-License-Identifier: Apache-2.0 */
#include "optim/adam.h"

#include "util/alloc.h"

#include <math.h>

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

/* Wider registers give the same bits: every operation is rounded by itself (square roots and quotients too). */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__)
#define CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define CLONES
#endif

enum { BLOCK = 16384 }; /* elements of a thread's turn */

CLONES static void update(const adam_step *s, size_t count, float *restrict p, const float *restrict g,
                          float *restrict m, float *restrict v)
{
    const float beta1 = s->beta1, beta2 = s->beta2, rest1 = s->one_minus_beta1, rest2 = s->one_minus_beta2;
    const float root = s->root, epsilon = s->epsilon, size = s->size, decay = s->decay, shrink = s->shrink;
    for (size_t i = 0; i < count; i++) {
        p[i] *= shrink;
        const float grad = g[i] + decay * p[i];
        m[i] = m[i] * beta1 + grad * rest1;
        v[i] = v[i] * beta2 + grad * grad * rest2;
        p[i] -= size * (m[i] / (sqrtf(v[i]) / root + epsilon));
    }
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
            update(&step, last - first, params + first, grads + first, adam->m + first, adam->v + first);
        }
    }
}
