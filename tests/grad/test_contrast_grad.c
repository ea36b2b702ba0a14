/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The contrastive loss's gradient and Hessian-vector product, twice: finite differences in double of the plain twin's loss
 * and gradient against the twin's hand-written ones, and the library in fp32 against the twin in double.
 */
#include "losses/contrastive.h"
#include "util/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define REAL      float
#define REF(name) ref32_##name
#include "contrast_ref.h"
#undef REAL
#undef REF
#define REAL      double
#define REF(name) ref64_##name
#include "contrast_ref.h"

typedef struct problem {
    contrast_config config;
    size_t count; /* p e */
    double *q, *delta, *tangent, *dq, *hvp;
    float *q32, *delta32, *tangent32;
    size_t *order;
} problem;

/* Values that float holds exactly, so that both precisions see the same problem. */
static void fill(const char *name, uint64_t seed, size_t count, double scale, double offset, double *wide,
                 float *narrow)
{
    const uint64_t hash = cz_name_hash(name, seed);
    for (size_t i = 0; i < count; i++) {
        narrow[i] = (float)(offset + scale * (double)cz_hash_uniform(hash, i));
        wide[i] = (double)narrow[i];
    }
}

static void make(problem *p, const contrast_config *config, double noise, uint64_t seed)
{
    const size_t n = config->p * config->e;
    *p = (problem){.config = *config, .count = n};
    double **const wide[] = {&p->q, &p->delta, &p->tangent, &p->dq, &p->hvp};
    float **const narrow[] = {&p->q32, &p->delta32, &p->tangent32};
    for (size_t i = 0; i < 5; i++) *wide[i] = calloc(n, sizeof **wide[i]);
    for (size_t i = 0; i < 3; i++) *narrow[i] = calloc(n, sizeof **narrow[i]);
    fill("q", seed, n, 1, 0.3, p->q, p->q32);
    fill("delta", seed, n, noise, 0, p->delta, p->delta32);
    fill("tangent", seed, n, 1, 0.1, p->tangent, p->tangent32);
    p->order = calloc(config->p, sizeof *p->order);
    for (size_t i = 0; i < config->p; i++) p->order[i] = i;
    cz_rng rng;
    cz_rng_init(&rng, seed, CZ_RNG_TEST, 0, 0);
    cz_rng_shuffle(&rng, p->order, config->p);
}

static void drop(problem *p)
{
    double *const wide[] = {p->q, p->delta, p->tangent, p->dq, p->hvp};
    float *const narrow[] = {p->q32, p->delta32, p->tangent32};
    for (size_t i = 0; i < 5; i++) free(wide[i]);
    for (size_t i = 0; i < 3; i++) free(narrow[i]);
    free(p->order);
}

static ref64_contrast_result run64(const problem *p, double *dq, double *hvp)
{
    ref64_contrast_result result = {.dq = dq, .hvp = hvp};
    ref64_contrast(&p->config, p->q, p->delta, p->tangent, p->order, &result);
    return result;
}

/* A problem whose mined rows keep off ties; dq and hvp are filled in. */
static double make_smooth(problem *p, const contrast_config *config, double noise, uint64_t seed, double distance)
{
    for (int tries = 0; tries < 100; tries++, seed += 1000) {
        make(p, config, noise, seed);
        const ref64_contrast_result result = run64(p, p->dq, p->hvp);
        if (result.gap > distance) return result.loss;
        drop(p);
    }
    fail_msg("no seed keeps off ties");
    return 0;
}

static double largest(const double *values, size_t count)
{
    double most = 0;
    for (size_t i = 0; i < count; i++) most = fabs(values[i]) > most ? fabs(values[i]) : most;
    return most;
}

static double relative_to(const double *values, size_t count)
{
    const double most = largest(values, count);
    return most > 1e-8 ? most : 1e-8;
}

static double loss_at(const problem *p, size_t index, double value)
{
    const double kept = p->q[index];
    p->q[index] = value;
    const double loss = run64(p, NULL, NULL).loss;
    p->q[index] = kept;
    return loss;
}

/* Fourth order in the step: a temperature of 0.05 bends sharply. Only the entries `first` … `first + count - 1`. */
static void gradient_differences(const problem *p, size_t first, size_t count, double step)
{
    const double most = relative_to(p->dq, p->count);
    for (size_t i = first; i < first + count; i++) {
        const double near = loss_at(p, i, p->q[i] + step) - loss_at(p, i, p->q[i] - step);
        const double far = loss_at(p, i, p->q[i] + 2 * step) - loss_at(p, i, p->q[i] - 2 * step);
        const double slope = (8 * near - far) / (12 * step);
        if (!(fabs(slope - p->dq[i]) <= 1e-6 * most))
            fail_msg("P %zu E %zu knn %zu: entry %zu: %.12g by differences, %.12g by backward (largest %.3g)",
                     p->config.p, p->config.e, p->config.knn, i, slope, p->dq[i], most);
    }
}

static void hessian_differences(const problem *p, double step)
{
    static const double at[] = {1, -1, 2, -2}, weight[] = {8, -8, -1, 1};
    double *slope = calloc(p->count, sizeof *slope), *dq = calloc(p->count, sizeof *dq);
    double *kept = calloc(p->count, sizeof *kept);
    memcpy(kept, p->q, p->count * sizeof *kept);
    for (size_t s = 0; s < 4; s++) {
        for (size_t i = 0; i < p->count; i++) p->q[i] = kept[i] + at[s] * step * p->tangent[i];
        run64(p, dq, NULL);
        for (size_t i = 0; i < p->count; i++) slope[i] += weight[s] * dq[i] / (12 * step);
    }
    memcpy(p->q, kept, p->count * sizeof *kept);
    const double most = relative_to(p->hvp, p->count);
    for (size_t i = 0; i < p->count; i++)
        if (!(fabs(slope[i] - p->hvp[i]) <= 1e-6 * most))
            fail_msg("P %zu E %zu knn %zu: entry %zu: %.12g by differences, %.12g by product (largest %.3g)",
                     p->config.p, p->config.e, p->config.knn, i, slope[i], p->hvp[i], most);
    free(slope);
    free(dq);
    free(kept);
}

/* several chunks; a remainder that joins, one that does not; no neighbours; no negatives; literal; cold */
static const contrast_config small[] = {
    {9, 4, 16, 0, 0.1, false},   {12, 5, 16, 2, 0.1, false}, {17, 6, 6, 2, 0.2, false}, {15, 3, 6, 2, 0.1, false},
    {12, 5, 16, 2, 0.1, true},   {17, 6, 6, 1, 0.2, true},   {2, 3, 4, 0, 0.1, false},  {1, 4, 4, 1, 0.1, true},
    {20, 6, 16, 3, 0.05, false}, {8, 7, 2, 0, 0.5, false},   {7, 2, 3, 1, 0.3, true},
};
enum { SMALL = sizeof small / sizeof small[0] };

static void test_twin_against_differences(void **state)
{
    (void)state;
    for (size_t i = 0; i < SMALL; i++)
        for (uint64_t seed = 1; seed < 3; seed++) {
            problem p;
            make_smooth(&p, &small[i], 0.3, 10 * seed + i, 3e-3);
            assert_true(largest(p.dq, p.count) > 1e-6);
            assert_true(largest(p.hvp, p.count) > 1e-6);
            gradient_differences(&p, 0, p.count, 1e-4);
            hessian_differences(&p, 1e-4);
            drop(&p);
        }
}

/* A row below the smallest norm: its similarity is linear in it, its gradient 1e8 times larger. */
static void test_clamped_row_against_differences(void **state)
{
    (void)state;
    const contrast_config config = {6, 4, 8, 1, 0.1, false};
    for (int clamp_twin = 0; clamp_twin < 2; clamp_twin++) {
        problem p;
        make(&p, &config, 0.3, 5);
        for (size_t x = 0; x < 4; x++) {
            p.q[x] *= 1e-9;
            if (clamp_twin) p.delta[x] *= 1e-9;
            for (size_t i = 4; i < p.count; i++) p.tangent[i] = 0;
        }
        assert_true(run64(&p, p.dq, p.hvp).gap > 1e-3);
        assert_true(largest(p.dq, 4) > 1e3);
        gradient_differences(&p, 0, 4, 1e-12);
        hessian_differences(&p, 1e-12);
        drop(&p);
    }
}

static cz_contrast_work *work_for(const contrast_config *config)
{
    cz_contrast_options options;
    cz_contrast_work *work = NULL;
    cz_contrast_options_init(&options);
    options.chunk = config->chunk;
    options.knn = config->knn;
    options.temperature = config->temperature;
    options.literal = config->literal;
    /* larger than needed: nothing may depend on it */
    assert_int_equal(cz_contrast_work_create(&options, config->p + 3, config->e, &work), CZ_OK);
    return work;
}

static double worst(const char *what, const problem *p, const float *values, const double *expected, double scale,
                    double bar)
{
    const double most = relative_to(expected, p->count);
    double error = 0;
    for (size_t i = 0; i < p->count; i++) {
        const double difference = fabs((double)values[i] / scale - expected[i]) / most;
        if (!(difference <= bar))
            fail_msg("%s, P %zu E %zu B %zu knn %zu literal %d: entry %zu: %.9g, expected %.9g (largest %.3g)", what,
                     p->config.p, p->config.e, p->config.chunk, p->config.knn, p->config.literal, i,
                     (double)values[i] / scale, expected[i], most);
        error = difference > error ? difference : error;
    }
    return error;
}

/* relative errors of gradient and product into errors[2] */
static void library(const contrast_config *config, double noise, uint64_t seed, double bar, double errors[2])
{
    problem p;
    const double scale = 2.5, expected = make_smooth(&p, config, noise, seed, 1e-6);
    cz_contrast_work *work = work_for(config);
    float *dq = calloc(p.count, sizeof *dq), *hvp = calloc(p.count, sizeof *hvp);
    const cz_contrast_noise given = {.delta = p.delta32, .order = p.order};
    double loss = -1, alone = -1;
    assert_int_equal(cz_contrast_gradient(work, p.q32, config->p, &given, 1, &alone, NULL), CZ_OK);
    assert_int_equal(cz_contrast_gradient(work, p.q32, config->p, &given, scale, &loss, dq), CZ_OK);
    assert_true(loss == alone);
    assert_true(fabs(loss - expected) <= 1e-6 * (1 + fabs(expected)));
    const double gradient = worst("gradient", &p, dq, p.dq, scale, bar);
    assert_int_equal(cz_contrast_hessian(work, p.q32, config->p, p.tangent32, scale, hvp), CZ_OK);
    const double product = worst("Hessian product", &p, hvp, p.hvp, scale, bar);
    /* again, in place: nothing was used up */
    assert_int_equal(cz_contrast_hessian(work, p.q32, config->p, p.tangent32, scale, p.tangent32), CZ_OK);
    assert_memory_equal(p.tangent32, hvp, p.count * sizeof *hvp);
    errors[0] = gradient > errors[0] ? gradient : errors[0];
    errors[1] = product > errors[1] ? product : errors[1];
    cz_contrast_work_destroy(work);
    free(dq);
    free(hvp);
    drop(&p);
}

static void test_library_against_twin(void **state)
{
    (void)state;
    static const contrast_config large[] = {
        {300, 40, 64, 5, 0.1, false},  {300, 40, 64, 5, 0.1, true},   {130, 100, 256, 0, 0.1, false},
        {261, 64, 256, 5, 0.1, false}, {200, 33, 50, 5, 0.02, false}, {64, 257, 64, 9, 0.07, true},
    };
    double errors[2] = {0, 0};
    for (size_t i = 0; i < SMALL; i++) library(&small[i], 0.3, 40 + i, 1e-5, errors);
    for (size_t i = 0; i < sizeof large / sizeof large[0]; i++) {
        library(&large[i], 0.3, 60 + i, 1e-5, errors);
        library(&large[i], 0.015, 80 + i, 1e-5, errors);
    }
    print_message("largest relative error: gradient %.1e, Hessian product %.1e\n", errors[0], errors[1]);
}

/* The library on clamped rows: row 0's entries, 1e8 times larger, and the others' each against their own largest. */
static void test_clamped_row_of_library(void **state)
{
    (void)state;
    const contrast_config config = {6, 4, 8, 1, 0.1, false};
    for (int kind = 0; kind < 3; kind++) { /* row 0 clamped; row 0 and its twin; the twin alone */
        problem p;
        make(&p, &config, 0.3, 5);
        for (size_t x = 0; x < 4; x++) {
            const float small_q = kind == 2 ? p.q32[x] : p.q32[x] * 1e-9f;
            const float small_delta = kind == 0 ? p.delta32[x] : kind == 1 ? p.delta32[x] * 1e-9f : -p.q32[x];
            p.q[x] = (double)(p.q32[x] = small_q);
            p.delta[x] = (double)(p.delta32[x] = small_delta);
            p.tangent[x] = (double)(p.tangent32[x] *= 1e-9f);
        }
        assert_true(run64(&p, p.dq, p.hvp).gap > 1e-3);
        cz_contrast_work *work = work_for(&config);
        float *out = calloc(p.count, sizeof *out);
        const cz_contrast_noise given = {.delta = p.delta32, .order = p.order};
        double loss;
        assert_int_equal(cz_contrast_gradient(work, p.q32, config.p, &given, 1, &loss, out), CZ_OK);
        for (size_t round = 0; round < 2; round++) {
            const double *expected = round == 0 ? p.dq : p.hvp;
            const double most[] = {largest(expected, 4), largest(expected + 4, p.count - 4)};
            for (size_t i = 0; i < p.count; i++)
                if (!(fabs((double)out[i] - expected[i]) <= 1e-5 * most[i >= 4]))
                    fail_msg("kind %d, %s, entry %zu: %.9g, expected %.9g (largest %.3g)", kind,
                             round == 0 ? "gradient" : "product", i, (double)out[i], expected[i], most[i >= 4]);
            assert_int_equal(cz_contrast_hessian(work, p.q32, config.p, p.tangent32, 1, out), CZ_OK);
        }
        cz_contrast_work_destroy(work);
        free(out);
        drop(&p);
    }
}

static size_t pick(cz_rng *rng, size_t from, size_t to)
{
    return from + (size_t)cz_rng_below(rng, to - from + 1);
}

static void test_random_sizes(void **state)
{
    (void)state;
    double errors[2] = {0, 0};
    cz_rng rng;
    cz_rng_init(&rng, 7, CZ_RNG_TEST, 1, 0);
    for (uint64_t i = 0; i < 120; i++) {
        contrast_config config = {.p = pick(&rng, 1, 70),
                                  .e = pick(&rng, 2, 40),
                                  .chunk = pick(&rng, 2, 40),
                                  .knn = pick(&rng, 0, 9),
                                  .temperature = 0.05 + 0.5 * cz_rng_uniform(&rng)};
        config.literal = config.knn > 0 && pick(&rng, 0, 1) == 1;
        library(&config, 0.2, 1000 + i, 1e-5, errors);
    }
    print_message("largest relative error: gradient %.1e, Hessian product %.1e\n", errors[0], errors[1]);
}

/* u . H v = v . H u */
static void test_symmetric(void **state)
{
    (void)state;
    for (size_t i = 0; i < SMALL; i++) {
        problem p;
        make_smooth(&p, &small[i], 0.3, 90 + i, 1e-6);
        cz_contrast_work *work = work_for(&p.config);
        float *hv = calloc(p.count, sizeof *hv), *hu = calloc(p.count, sizeof *hu);
        double *other = calloc(p.count, sizeof *other), *wide_hu = calloc(p.count, sizeof *wide_hu);
        float *other32 = calloc(p.count, sizeof *other32);
        const cz_contrast_noise given = {.delta = p.delta32, .order = p.order};
        double loss, uhv = 0, vhu = 0, size = 0, wide_uhv = 0, wide_vhu = 0;
        fill("other", i, p.count, 1, 0, other, other32);
        assert_int_equal(cz_contrast_gradient(work, p.q32, p.config.p, &given, 1, &loss, NULL), CZ_OK);
        assert_int_equal(cz_contrast_hessian(work, p.q32, p.config.p, p.tangent32, 1, hv), CZ_OK);
        assert_int_equal(cz_contrast_hessian(work, p.q32, p.config.p, other32, 1, hu), CZ_OK);
        ref64_contrast_result result = {.hvp = wide_hu};
        ref64_contrast(&p.config, p.q, p.delta, other, p.order, &result);
        for (size_t x = 0; x < p.count; x++) {
            uhv += other[x] * (double)hv[x];
            vhu += p.tangent[x] * (double)hu[x];
            wide_uhv += other[x] * p.hvp[x];
            wide_vhu += p.tangent[x] * wide_hu[x];
            size += fabs(other[x] * (double)hv[x]);
        }
        assert_true(fabs(wide_uhv - wide_vhu) <= 1e-12 * size);
        assert_true(fabs(uhv - vhu) <= 1e-5 * size);
        cz_contrast_work_destroy(work);
        free(hv);
        free(hu);
        free(other);
        free(other32);
        free(wide_hu);
        drop(&p);
    }
}

/* The twin in float runs the same lines: it must not be far, or double hides something. */
static void test_twin_in_float(void **state)
{
    (void)state;
    problem p;
    make_smooth(&p, &small[2], 0.3, 3, 1e-4);
    float *dq = calloc(p.count, sizeof *dq), *hvp = calloc(p.count, sizeof *hvp);
    ref32_contrast_result result = {.dq = dq, .hvp = hvp};
    ref32_contrast(&p.config, p.q32, p.delta32, p.tangent32, p.order, &result);
    worst("twin gradient", &p, dq, p.dq, 1, 1e-4);
    worst("twin product", &p, hvp, p.hvp, 1, 1e-4);
    free(dq);
    free(hvp);
    drop(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_twin_against_differences),
        cmocka_unit_test(test_clamped_row_against_differences),
        cmocka_unit_test(test_library_against_twin),
        cmocka_unit_test(test_clamped_row_of_library),
        cmocka_unit_test(test_random_sizes),
        cmocka_unit_test(test_symmetric),
        cmocka_unit_test(test_twin_in_float),
    };
    return cmocka_run_group_tests_name("contrast_grad", tests, NULL, NULL);
}
