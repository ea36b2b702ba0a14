/* SPDX-License-Identifier: Apache-2.0 */
/* Seeded problems for the plain twins of the flow (float, double, complex) and for the library, the same in all. */
#ifndef COZAD_TESTS_FLOW_PROBLEM_H
#define COZAD_TESTS_FLOW_PROBLEM_H

#include "heads/flow.h"
#include "util/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

#include <cmocka.h>

#define REAL      float
#define REF(name) ref32_##name
#define REF_EXP   expf
#define REF_ATAN  atanf
#define REF_RE(x) (x)
#include "flow_ref.h"
#undef REAL
#undef REF
#undef REF_EXP
#undef REF_ATAN
#undef REF_RE
#define REAL      double
#define REF(name) ref64_##name
#define REF_EXP   exp
#define REF_ATAN  atan
#define REF_RE(x) (x)
#include "flow_ref.h"
#undef REAL
#undef REF
#undef REF_EXP
#undef REF_ATAN
#undef REF_RE
#define REAL      double complex
#define REF(name) refc_##name
#define REF_EXP   flow_complex_exp
#define REF_ATAN  flow_complex_atan
#define REF_RE(x) creal(x)
#include "flow_ref.h"
#undef REAL
#undef REF
#undef REF_EXP
#undef REF_ATAN
#undef REF_RE

typedef struct flow_problem {
    flow_config config;
    cz_head *head; /* owns projection and order */
    size_t count;
    double *theta, *o, *weight;
    float *theta32, *o32, *weight32;
    uint8_t *target;
} flow_problem;

/* p, d, f (0: d), hidden (0: f), blocks, clamp */
typedef struct flow_case {
    size_t p, d, f, hidden, blocks;
    double clamp;
} flow_case;

static const flow_case flow_cases[] = {
    {6, 7, 0, 5, 1, 1.9}, {5, 4, 0, 0, 3, 1.9}, {1, 2, 0, 1, 2, 0.6}, {9, 9, 5, 6, 2, 1.9}, {4, 8, 6, 3, 8, 1.2},
};

enum { FLOW_CASES = sizeof flow_cases / sizeof flow_cases[0] };

/* Values that float holds exactly, so that every precision sees the same problem. */
static inline void flow_fill(const char *name, uint64_t seed, size_t count, double scale, double offset, double *wide,
                             float *narrow)
{
    const uint64_t hash = cz_name_hash(name, seed);
    for (size_t i = 0; i < count; i++) {
        narrow[i] = (float)(offset + scale * (double)cz_hash_uniform(hash, i));
        wide[i] = (double)narrow[i];
    }
}

static inline cz_head *flow_head(const flow_case *c, uint64_t seed)
{
    cz_head_config config;
    cz_head *head = NULL;
    cz_head_config_init(&config);
    config.width = c->d;
    config.flow_project = c->f;
    config.flow_hidden = c->hidden;
    config.flow_blocks = c->blocks;
    config.flow_clamp = c->clamp;
    config.structure_seed = seed;
    assert_int_equal(cz_head_create("flow", &config, &head), CZ_OK);
    return head;
}

static inline flow_config flow_config_of(const cz_head *head, size_t patches)
{
    const cz_head_config *c = &head->config;
    const size_t f = cz_flow_width(head);
    return (flow_config){.p = patches,
                         .d = c->width,
                         .f = f,
                         .hidden = c->flow_hidden ? c->flow_hidden : f,
                         .blocks = c->flow_blocks,
                         .clamp = c->flow_clamp,
                         .projection = cz_flow_projection(head),
                         .order = cz_flow_order(head, 0)};
}

static inline void flow_make(flow_problem *p, const flow_case *c, uint64_t seed)
{
    *p = (flow_problem){.head = flow_head(c, seed)};
    p->config = flow_config_of(p->head, c->p);
    p->count = flow_count(&p->config);
    assert_int_equal(p->head->param_count, p->count);
    const size_t f = p->config.f, sizes[] = {p->count, c->p * c->d, c->p};
    double **const wide[] = {&p->theta, &p->o, &p->weight};
    float **const narrow[] = {&p->theta32, &p->o32, &p->weight32};
    const double scale[] = {0.6, 1.5, 0.45}, offset[] = {0, 0.2, 0.55};
    static const char *const names[] = {"theta", "o", "weight"};
    for (size_t i = 0; i < 3; i++) {
        *wide[i] = calloc(sizes[i], sizeof **wide[i]);
        *narrow[i] = calloc(sizes[i], sizeof **narrow[i]);
        flow_fill(names[i], seed, sizes[i], scale[i], offset[i], *wide[i], *narrow[i]);
    }
    flow_fill("scale", seed, f, 0.3, 1, p->theta + p->count - f, p->theta32 + p->count - f);
    p->target = calloc(c->p, 1);
    for (size_t i = 0; i < c->p; i++) p->target[i] = (uint8_t)(i % 4 == 3 ? 1 : i % 4 == 2 ? 2 : 0);
}

static inline void flow_drop(flow_problem *p)
{
    double *const wide[] = {p->theta, p->o, p->weight};
    float *const narrow[] = {p->theta32, p->o32, p->weight32};
    for (size_t i = 0; i < 3; i++) {
        free(wide[i]);
        free(narrow[i]);
    }
    free(p->target);
    cz_head_destroy(p->head);
}

static inline ref64_flow_batch flow_wide_batch(const flow_problem *p)
{
    return (ref64_flow_batch){p->o, p->weight, p->target};
}

/* A problem whose relu arguments all keep off their kinks. */
static inline void flow_make_smooth(flow_problem *p, const flow_case *c, uint64_t seed, double distance)
{
    for (int tries = 0; tries < 1000; tries++, seed += 1000) {
        flow_make(p, c, seed);
        const ref64_flow_batch batch = flow_wide_batch(p);
        ref64_flow_result result = {0};
        ref64_flow_run(&p->config, p->theta, &batch, &result);
        if (result.kink > distance) return;
        flow_drop(p);
    }
    fail_msg("no seed keeps off the kinks");
}

static inline double flow_largest(const double *values, size_t count)
{
    double most = 0;
    for (size_t i = 0; i < count; i++) most = fabs(values[i]) > most ? fabs(values[i]) : most;
    return most;
}

/* Largest difference relative to the largest value. */
static inline double flow_apart(const float *values, const double *expected, size_t count)
{
    double worst = 0;
    for (size_t i = 0; i < count; i++) {
        const double apart = fabs((double)values[i] - expected[i]);
        if (!(apart <= worst)) worst = apart;
    }
    return worst / (flow_largest(expected, count) + 1e-30);
}

/* out [count] = Hessian of the objective at theta, times v; grads (NULL: not wanted) the gradient. By complex numbers. */
static inline void flow_exact_product(const flow_config *s, const double *theta, const double *v, const double *o,
                                      const double *weight, const uint8_t *target, double *out, double *grads)
{
    const size_t n = flow_count(s), learnt = n - 2 * s->f;
    double complex *at = calloc(n, sizeof *at), *made = calloc(n, sizeof *made);
    double complex *wide_o = calloc(s->p * s->d, sizeof *wide_o), *wide_w = calloc(s->p, sizeof *wide_w);
    for (size_t i = 0; i < n; i++) at[i] = theta[i] + (i < learnt ? 1e-40 * v[i] * I : 0);
    for (size_t i = 0; i < s->p * s->d; i++) wide_o[i] = o[i];
    for (size_t i = 0; i < s->p; i++) wide_w[i] = weight[i];
    const refc_flow_batch batch = {wide_o, wide_w, target};
    refc_flow_result result = {.grads = made};
    refc_flow_run(s, at, &batch, &result);
    for (size_t i = 0; i < n; i++) {
        out[i] = cimag(made[i]) / 1e-40;
        if (grads) grads[i] = creal(made[i]);
    }
    free(at);
    free(made);
    free(wide_o);
    free(wide_w);
}

/* [count] drawn N(0, 1) */
static inline float *flow_normals(uint64_t index, size_t count)
{
    float *values = calloc(count, sizeof *values);
    cz_rng rng;
    cz_rng_init(&rng, 5, CZ_RNG_TEST, index, 0);
    cz_rng_normal_fill(&rng, 0, values, count, 1);
    return values;
}

/* The full pass over `rows`, in two uneven pieces. */
static inline void flow_measure(const cz_head *head, const float *rows, size_t count, float *params)
{
    cz_head_pass *pass = NULL;
    assert_int_equal(cz_head_pass_begin(head, params, &pass), CZ_OK);
    assert_int_equal(cz_head_pass_add(head, pass, rows, count / 3), CZ_OK);
    assert_int_equal(cz_head_pass_add(head, pass, rows + count / 3 * head->config.width, count - count / 3), CZ_OK);
    assert_int_equal(cz_head_pass_end(head, pass, params, NULL), CZ_OK);
    cz_head_pass_destroy(head, pass);
}

#endif
