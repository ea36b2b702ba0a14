/* SPDX-License-Identifier: Apache-2.0 */
/* Seeded problems for the plain twins of SimpleNet and for the library, the same in float and double. */
#ifndef COZAD_TESTS_SIMPLENET_PROBLEM_H
#define COZAD_TESTS_SIMPLENET_PROBLEM_H

#include "heads/head.h"
#include "util/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define REAL      float
#define REF(name) ref32_##name
#include "simplenet_ref.h"
#undef REAL
#undef REF
#define REAL      double
#define REF(name) ref64_##name
#include "simplenet_ref.h"
#undef REAL
#undef REF

typedef struct problem {
    ref_config config;
    size_t count;
    double *theta, *o, *eps, *weight, *inject;
    float *theta32, *o32, *eps32, *weight32, *inject32;
    uint8_t *target;
} problem;

/* Values that float holds exactly, so that both precisions see the same problem. */
static inline void fill(const char *name, uint64_t seed, size_t count, double scale, double offset, double *wide,
                        float *narrow)
{
    const uint64_t hash = cz_name_hash(name, seed);
    for (size_t i = 0; i < count; i++) {
        narrow[i] = (float)(offset + scale * (double)cz_hash_uniform(hash, i));
        wide[i] = (double)narrow[i];
    }
}

static inline ref64_batch wide_batch(const problem *p, bool inject)
{
    return (ref64_batch){p->o, p->eps, p->weight, p->target, inject ? p->inject : NULL};
}

static inline void make(problem *p, const ref_config *config, uint64_t seed)
{
    const size_t pd = config->p * config->d, n = ref_count(config);
    *p = (problem){.config = *config, .count = n};
    double **const wide[] = {&p->theta, &p->o, &p->eps, &p->weight, &p->inject};
    float **const narrow[] = {&p->theta32, &p->o32, &p->eps32, &p->weight32, &p->inject32};
    const size_t sizes[] = {n, pd, pd, config->p, pd};
    const double scale[] = {0.7, 1, 0.4, 0.45, 0.1}, offset[] = {0, 0.2, 0, 0.55, 0};
    static const char *const names[] = {"theta", "o", "eps", "weight", "inject"};
    for (size_t i = 0; i < 5; i++) {
        *wide[i] = calloc(sizes[i], sizeof **wide[i]);
        *narrow[i] = calloc(sizes[i], sizeof **narrow[i]);
        fill(names[i], seed, sizes[i], scale[i], offset[i], *wide[i], *narrow[i]);
    }
    p->target = calloc(config->p, 1);
    for (size_t i = 0; i < config->p; i++) p->target[i] = (uint8_t)(i % 4 == 3 ? 1 : i % 4 == 2 ? 2 : 0);
}

static inline void drop(problem *p)
{
    double *const wide[] = {p->theta, p->o, p->eps, p->weight, p->inject};
    float *const narrow[] = {p->theta32, p->o32, p->eps32, p->weight32, p->inject32};
    for (size_t i = 0; i < 5; i++) {
        free(wide[i]);
        free(narrow[i]);
    }
    free(p->target);
}

/* A problem whose hinge and LeakyReLU arguments all keep off their kinks. */
static inline void make_smooth(problem *p, const ref_config *config, uint64_t seed, double distance)
{
    for (int tries = 0; tries < 400; tries++, seed += 1000) {
        make(p, config, seed);
        const ref64_batch batch = wide_batch(p, false);
        ref64_result result = {0};
        ref64_run(config, p->theta, &batch, &result);
        if (result.kink > distance) return;
        drop(p);
    }
    fail_msg("no seed keeps off the kinks");
}

static const ref_config cases[] = {
    {6, 7, 5, false, false, 0.5, -0.5, false}, {1, 3, 4, false, false, 0.5, -0.5, false},
    {5, 1, 1, false, false, 0.5, -0.5, false}, {9, 4, 6, true, false, 0.5, -0.5, false},
    {6, 5, 3, true, true, 0.8, -0.2, false},   {7, 6, 9, false, true, 0.5, 0.5, false},
    {9, 7, 5, false, false, 0.5, -0.5, true},  {8, 5, 6, true, true, 0.5, -0.5, true},
};

enum { CASES = sizeof cases / sizeof cases[0] };

static inline double largest(const double *values, size_t count)
{
    double most = 0;
    for (size_t i = 0; i < count; i++) most = fabs(values[i]) > most ? fabs(values[i]) : most;
    return most;
}

static inline cz_head *head_for(const ref_config *config)
{
    cz_head_config c;
    cz_head *head = NULL;
    cz_head_config_init(&c);
    c.width = config->d;
    c.hidden = config->k;
    c.simplenet_compat = config->compat;
    c.weight_both = config->weight_both;
    c.margin_positive = config->margin_positive;
    c.margin_negative = config->margin_negative;
    c.noise_twins = !config->no_twins;
    assert_int_equal(cz_head_create("simplenet", &c, &head), CZ_OK);
    assert_int_equal(head->param_count, ref_count(config));
    return head;
}

static inline void assert_near(const char *what, const float *values, const double *expected, size_t count,
                               double relative)
{
    const double bound = relative * largest(expected, count) + 1e-12;
    for (size_t i = 0; i < count; i++)
        if (!(fabs((double)values[i] - expected[i]) <= bound))
            fail_msg("%s %zu: %.9g, expected %.9g (largest allowed difference %.3g)", what, i, (double)values[i],
                     expected[i], bound);
}

#endif
