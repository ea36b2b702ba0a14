/* SPDX-License-Identifier: Apache-2.0 */
/* The contrastive loss against the paper's equations written as double loops, and its edges. */
#include "losses/contrastive.h"
#include "util/alloc.h"
#include "util/rng.h"

#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static float *noise_like(const char *name, uint64_t seed, size_t count, double scale, double offset)
{
    float *out = calloc(count + 1, sizeof *out);
    const uint64_t hash = cz_name_hash(name, seed);
    for (size_t i = 0; i < count; i++) out[i] = (float)(offset + scale * (double)cz_hash_uniform(hash, i));
    return out;
}

static size_t *shuffled(size_t count, uint64_t seed)
{
    size_t *order = calloc(count + 1, sizeof *order);
    cz_rng rng;
    for (size_t i = 0; i < count; i++) order[i] = i;
    cz_rng_init(&rng, seed, CZ_RNG_TEST, 0, 0);
    cz_rng_shuffle(&rng, order, count);
    return order;
}

static cz_contrast_options options_of(size_t chunk, size_t knn, double temperature, bool literal)
{
    cz_contrast_options o;
    cz_contrast_options_init(&o);
    o.chunk = chunk;
    o.knn = knn;
    o.temperature = temperature;
    o.literal = literal;
    return o;
}

static cz_contrast_work *work_for(const cz_contrast_options *options, size_t patches, size_t width)
{
    cz_contrast_work *work = NULL;
    assert_int_equal(cz_contrast_work_create(options, patches, width, &work), CZ_OK);
    return work;
}

static double loss_of(const cz_contrast_options *options, const float *q, size_t patches, size_t width,
                      const cz_contrast_noise *noise, float *dq)
{
    double loss = NAN;
    cz_contrast_work *work = work_for(options, patches, width);
    assert_int_equal(cz_contrast_gradient(work, q, patches, noise, 1, &loss, dq), CZ_OK);
    cz_contrast_work_destroy(work);
    return loss;
}

/* sim(a, b + shift), the paper's; shift may be NULL */
static double similarity(const float *a, const float *b, const float *shift, size_t e)
{
    double ab = 0, aa = 0, bb = 0;
    for (size_t x = 0; x < e; x++) {
        const double other = (double)b[x] + (shift ? (double)shift[x] : 0);
        ab += (double)a[x] * other;
        aa += (double)a[x] * (double)a[x];
        bb += other * other;
    }
    return ab / (sqrt(aa) * sqrt(bb));
}

/* Eq. 1, sum over the rows [n] */
static double equation_1(const float *q, const float *delta, const size_t *rows, size_t n, size_t e, double tau)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        const float *own = q + rows[i] * e;
        const double twin = exp(similarity(own, own, delta + rows[i] * e, e) / tau);
        double below = twin;
        for (size_t j = 0; j < n; j++)
            if (j != i) below += exp(similarity(own, q + rows[j] * e, NULL, e) / tau);
        sum -= log(twin / below);
    }
    return sum;
}

/* Eq. 2, sum over the rows; `literal`: the last sum of the denominator over all j, else over those that are not positives */
static double equation_2(const float *q, const float *delta, const size_t *rows, size_t n, size_t e,
                         const cz_contrast_options *o)
{
    double sum = 0;
    double *s = calloc(n, sizeof *s);
    bool *mined = calloc(n, sizeof *mined);
    for (size_t i = 0; i < n; i++) {
        const float *own = q + rows[i] * e;
        double above = exp(similarity(own, own, delta + rows[i] * e, e) / o->temperature), below = 0;
        for (size_t j = 0; j < n; j++) {
            s[j] = exp(similarity(own, q + rows[j] * e, NULL, e) / o->temperature);
            mined[j] = false;
        }
        for (size_t m = 0; m < o->knn && m + 1 < n; m++) {
            size_t best = n;
            for (size_t j = 0; j < n; j++)
                if (j != i && !mined[j] && (best == n || s[j] > s[best])) best = j;
            mined[best] = true;
            above += s[best];
        }
        for (size_t j = 0; j < n; j++)
            if (o->literal || (j != i && !mined[j])) below += s[j];
        sum -= log(above / (above + below));
    }
    free(s);
    free(mined);
    return sum;
}

static void assert_close(double value, double expected, double relative)
{
    if (!(fabs(value - expected) <= relative * (fabs(expected) > 1e-3 ? fabs(expected) : 1e-3)))
        fail_msg("%.12g, expected %.12g", value, expected);
}

enum { E = 24 };

static void test_equation_1(void **state)
{
    (void)state;
    static const size_t sizes[] = {2, 3, 17, 64};
    for (size_t s = 0; s < 4; s++) {
        const size_t p = sizes[s];
        float *q = noise_like("q", s, p * E, 1, 0.3), *delta = noise_like("delta", s, p * E, 0.3, 0);
        size_t *order = shuffled(p, s);
        const cz_contrast_options o = options_of(64, 0, 0.1, false);
        const cz_contrast_noise noise = {.delta = delta, .order = order};
        assert_close(loss_of(&o, q, p, E, &noise, NULL), equation_1(q, delta, order, p, E, 0.1) / (double)p, 1e-6);
        free(q);
        free(delta);
        free(order);
    }
}

/* Chunks by hand: {first row of each …, P}. */
static void chunked(size_t b, size_t knn, bool literal, const size_t *bounds, size_t chunks)
{
    const size_t p = bounds[chunks];
    float *q = noise_like("q", p + knn, p * E, 1, 0.3), *delta = noise_like("delta", p, p * E, 0.3, 0);
    size_t *order = shuffled(p, p);
    const cz_contrast_options o = options_of(b, knn, 0.1, literal);
    const cz_contrast_noise noise = {.delta = delta, .order = order};
    double expected = 0;
    for (size_t c = 0; c < chunks; c++)
        expected += equation_2(q, delta, order + bounds[c], bounds[c + 1] - bounds[c], E, &o);
    assert_close(loss_of(&o, q, p, E, &noise, NULL), expected / (double)p, 1e-6);
    free(q);
    free(delta);
    free(order);
}

static void test_chunks(void **state)
{
    (void)state;
    for (int literal = 0; literal < 2; literal++) {
        chunked(10, 3, literal != 0, (size_t[]){0, 10}, 1);
        chunked(10, 3, literal != 0, (size_t[]){0, 10, 20, 30}, 3);
        /* a remainder of knn + 1 joins the last chunk, one of knn + 2 does not */
        chunked(10, 3, literal != 0, (size_t[]){0, 10, 24}, 2);
        chunked(10, 3, literal != 0, (size_t[]){0, 10, 20, 25}, 3);
        chunked(10, 3, literal != 0, (size_t[]){0, 14}, 1);
        chunked(10, 3, literal != 0, (size_t[]){0, 10, 15}, 2);
        chunked(10, 3, literal != 0, (size_t[]){0, 6}, 1);
        /* chunks that are shorter than knn + 2 themselves */
        chunked(4, 7, literal != 0, (size_t[]){0, 4, 8}, 2);
        chunked(4, 7, literal != 0, (size_t[]){0, 4, 11}, 2);
    }
    chunked(10, 0, false, (size_t[]){0, 10, 21}, 2);
    chunked(10, 0, false, (size_t[]){0, 10, 20, 22}, 3);
    chunked(2, 0, false, (size_t[]){0, 2, 5}, 2);
}

static void test_order_matters(void **state)
{
    (void)state;
    const size_t p = 40;
    float *q = noise_like("q", 1, p * E, 1, 0.3), *delta = noise_like("delta", 1, p * E, 0.3, 0);
    size_t *one = shuffled(p, 1), *two = shuffled(p, 2);
    for (size_t chunk = 10; chunk <= 40; chunk += 30) {
        const cz_contrast_options o = options_of(chunk, 3, 0.1, false);
        const cz_contrast_noise first = {.delta = delta, .order = one}, second = {.delta = delta, .order = two};
        const double difference = fabs(loss_of(&o, q, p, E, &first, NULL) - loss_of(&o, q, p, E, &second, NULL));
        assert_true(chunk == 40 ? difference < 1e-6 : difference > 1e-5); /* one chunk is a set */
    }
    free(q);
    free(delta);
    free(one);
    free(two);
}

/* Unit vectors along axes: every cosine is exactly 0 or 1. Row 0 is equally far from rows 1, 2 and 3: knn = 1 takes row 1,
 * as seen by who gets pulled. */
static void test_ties(void **state)
{
    (void)state;
    enum { ROWS = 5, WIDTH = 4 };
    float q[ROWS * WIDTH] = {0}, delta[ROWS * WIDTH] = {0}, dq[ROWS * WIDTH];
    size_t order[ROWS] = {0, 1, 2, 3, 4};
    const cz_contrast_options o = options_of(8, 1, 0.5, false);
    q[0 * WIDTH + 0] = 1;
    q[1 * WIDTH + 1] = q[2 * WIDTH + 1] = q[3 * WIDTH + 1] = 1; /* three of a kind */
    q[4 * WIDTH + 2] = 1;
    /* rows 0 and 4: all cosines 0, so index 0 of the others; rows 1, 2, 3: among each other, index 1 (row 1: 2) */
    const cz_contrast_noise noise = {.delta = delta, .order = order};
    (void)loss_of(&o, q, ROWS, WIDTH, &noise, dq);
    /* row 0's direction 1 gets positive pull from row 1 alone, and row 2 in direction 0 only pushes: compare the two */
    const double a = (double)dq[1 * WIDTH + 0], b = (double)dq[2 * WIDTH + 0], c = (double)dq[3 * WIDTH + 0];
    assert_true(a < b);
    assert_true(b == c);
    /* another order of visiting, another lower index: rows 3, 2, 1 */
    const size_t turned[ROWS] = {0, 3, 2, 1, 4};
    const cz_contrast_noise other = {.delta = delta, .order = turned};
    (void)loss_of(&o, q, ROWS, WIDTH, &other, dq);
    assert_true(dq[3 * WIDTH + 0] < dq[2 * WIDTH + 0]);
    assert_true(dq[2 * WIDTH + 0] == dq[1 * WIDTH + 0]);
}

/* A long row of ties, in which blocks of equal values follow each other. */
static void test_many_ties(void **state)
{
    (void)state;
    enum { ROWS = 61, WIDTH = 3, K = 20 };
    float *q = calloc(ROWS * WIDTH, sizeof *q), *delta = calloc(ROWS * WIDTH, sizeof *delta);
    float *dq = calloc(ROWS * WIDTH, sizeof *dq);
    size_t order[ROWS];
    const cz_contrast_options o = options_of(64, K, 0.5, false);
    for (size_t i = 0; i < ROWS; i++) {
        q[i * WIDTH + (i == 0 ? 0 : 1)] = 1;
        order[i] = i;
    }
    const cz_contrast_noise noise = {.delta = delta, .order = order};
    (void)loss_of(&o, q, ROWS, WIDTH, &noise, dq);
    for (size_t i = 2; i <= K; i++) assert_true(dq[i * WIDTH] == dq[1 * WIDTH]);
    assert_true(dq[K * WIDTH] < dq[(K + 1) * WIDTH]);
    for (size_t i = K + 2; i < ROWS; i++) assert_true(dq[i * WIDTH] == dq[(K + 1) * WIDTH]);
    free(q);
    free(delta);
    free(dq);
}

static void assert_finite(const float *values, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!isfinite(values[i])) fail_msg("entry %zu is %g", i, (double)values[i]);
}

static void test_no_nan(void **state)
{
    (void)state;
    static const double temperatures[] = {0.1, 0.01, 1e-6, 1e6};
    const size_t p = 45;
    for (size_t t = 0; t < 4; t++)
        for (int literal = 0; literal < 2; literal++)
            for (int kind = 0; kind < 4; kind++) {
                const cz_contrast_options o = options_of(20, 3, temperatures[t], literal != 0);
                float *q = noise_like("q", 9, p * E, 1, 0), *delta = noise_like("delta", 9, p * E, 0.3, 0);
                float *tangent = noise_like("tangent", 9, p * E, 1, 0), *dq = calloc(p * E, sizeof *dq);
                const cz_contrast_noise noise = {.delta = delta};
                double loss = NAN;
                for (size_t i = 0; i < p * E; i++) {
                    if (kind == 1) q[i] = 0;              /* nothing but zero vectors */
                    if (kind == 2 && i < 5 * E) q[i] = 0; /* some */
                    if (kind == 1 || (kind == 2 && i < 2 * E)) delta[i] = 0;
                    if (kind == 3) q[i] *= i < 5 * E ? 1e15f : i < 9 * E ? 1e-6f : 1;
                }
                cz_contrast_work *work = work_for(&o, p, E);
                assert_int_equal(cz_contrast_gradient(work, q, p, &noise, 1, &loss, dq), CZ_OK);
                assert_true(isfinite(loss) && loss >= 0);
                assert_finite(dq, p * E);
                assert_int_equal(cz_contrast_hessian(work, q, p, tangent, 1, dq), CZ_OK);
                assert_finite(dq, p * E);
                cz_contrast_work_destroy(work);
                free(q);
                free(delta);
                free(tangent);
                free(dq);
            }
}

/* Fewer other rows than knn: nothing to push away. */
static void test_no_negatives(void **state)
{
    (void)state;
    for (size_t p = 1; p < 8; p++) {
        float *q = noise_like("q", p, p * E, 1, 0.3), *dq = calloc(p * E, sizeof *dq);
        const cz_contrast_options o = options_of(16, 6, 0.1, false), eq1 = options_of(16, 0, 0.1, false);
        const cz_contrast_noise noise = {.seed = 3};
        const double loss = loss_of(&o, q, p, E, &noise, dq);
        assert_true(loss == 0);
        for (size_t i = 0; i < p * E; i++) assert_true(dq[i] == 0);
        assert_true(p == 1 ? loss_of(&eq1, q, p, E, &noise, dq) == 0 : loss_of(&eq1, q, p, E, &noise, dq) > 0);
        free(q);
        free(dq);
    }
}

static void test_threads(void **state)
{
    (void)state;
    const size_t p = 300, e = 192;
    const int before = omp_get_max_threads();
    float *q = noise_like("q", 4, p * e, 1, 0.3), *tangent = noise_like("tangent", 4, p * e, 1, 0);
    float *dq[2], *hvp[2];
    double loss[2];
    const cz_contrast_options o = options_of(128, 5, 0.1, false);
    const cz_contrast_noise noise = {.seed = 5, .step = 6, .task = 7};
    for (int t = 0; t < 2; t++) {
        cz_contrast_work *work = work_for(&o, p, e);
        dq[t] = calloc(p * e, sizeof *dq[t]);
        hvp[t] = calloc(p * e, sizeof *hvp[t]);
        omp_set_num_threads(t + 1);
        assert_int_equal(cz_contrast_gradient(work, q, p, &noise, 1, &loss[t], dq[t]), CZ_OK);
        assert_int_equal(cz_contrast_hessian(work, q, p, tangent, 1, hvp[t]), CZ_OK);
        cz_contrast_work_destroy(work);
    }
    omp_set_num_threads(before);
    assert_true(loss[0] == loss[1]);
    assert_memory_equal(dq[0], dq[1], p * e * sizeof *dq[0]);
    assert_memory_equal(hvp[0], hvp[1], p * e * sizeof *hvp[0]);
    for (int t = 0; t < 2; t++) {
        free(dq[t]);
        free(hvp[t]);
    }
    free(q);
    free(tangent);
}

static int ascending(const void *a, const void *b)
{
    const size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return x < y ? -1 : x > y;
}

/* What is drawn is what the counter rng gives for (seed, step, task), and nothing else enters. */
static void test_drawn(void **state)
{
    (void)state;
    const size_t p = 75;
    float *q = noise_like("q", 8, p * E, 1, 0.3), *dq = calloc(p * E, sizeof *dq), *same = calloc(p * E, sizeof *same);
    float *delta = calloc(p * E, sizeof *delta);
    size_t *order = calloc(p, sizeof *order);
    const cz_contrast_options o = options_of(20, 3, 0.1, false);
    const cz_contrast_noise drawn = {.seed = 21, .step = 22, .task = 23};
    cz_rng rng;
    cz_rng_init(&rng, 21, CZ_RNG_TWIN, 22, 23);
    cz_rng_normal_fill(&rng, 0, delta, p * E, (float)o.noise_std);
    for (size_t i = 0; i < p; i++) order[i] = i;
    cz_rng_init(&rng, 21, CZ_RNG_CHUNKS, 22, 23);
    cz_rng_shuffle(&rng, order, p);
    const cz_contrast_noise given = {.delta = delta, .order = order};
    const double loss = loss_of(&o, q, p, E, &drawn, dq);
    assert_true(loss == loss_of(&o, q, p, E, &given, same));
    assert_memory_equal(dq, same, p * E * sizeof *dq);

    /* a workspace that was used for other things, and is larger, draws the same */
    cz_contrast_work *work = work_for(&o, p + 30, E);
    const cz_contrast_noise others[] = {
        {.seed = 1, .step = 22, .task = 23}, {.seed = 21, .step = 1, .task = 23}, {.seed = 21, .step = 22, .task = 1}};
    double value;
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(cz_contrast_gradient(work, q, p, &others[i], 1, &value, same), CZ_OK);
        assert_true(fabs(value - loss) > 1e-7);
    }
    assert_int_equal(cz_contrast_gradient(work, q, p, &drawn, 1, &value, same), CZ_OK);
    assert_true(value == loss);
    assert_memory_equal(dq, same, p * E * sizeof *dq);
    cz_contrast_work_destroy(work);

    qsort(order, p, sizeof *order, ascending);
    for (size_t i = 0; i < p; i++) assert_int_equal(order[i], i);
    free(q);
    free(dq);
    free(same);
    free(delta);
    free(order);
}

static void test_refused(void **state)
{
    (void)state;
    cz_contrast_work *work = NULL;
    cz_contrast_options bad[6];
    for (size_t i = 0; i < 6; i++) cz_contrast_options_init(&bad[i]);
    bad[0].chunk = 1;
    bad[1].temperature = 0;
    bad[2].temperature = NAN;
    bad[3].noise_std = -1;
    bad[4].noise_std = INFINITY;
    bad[5].literal = true;
    bad[5].knn = 0;
    for (size_t i = 0; i < 6; i++) assert_int_equal(cz_contrast_work_create(&bad[i], 4, 4, &work), CZ_E_ARG);
    cz_contrast_options good = options_of(8, 2, 0.1, false);
    assert_int_equal(cz_contrast_work_create(&good, 0, 4, &work), CZ_E_ARG);
    assert_int_equal(cz_contrast_work_create(&good, 4, 0, &work), CZ_E_ARG);
    assert_int_equal(cz_contrast_work_create(&good, SIZE_MAX / 2, 4, &work), CZ_E_LIMIT);
    good.chunk = SIZE_MAX; /* never more rows than the capacity */
    good.knn = SIZE_MAX;
    work = work_for(&good, 10, E);
    float *q = noise_like("q", 1, 11 * E, 1, 0.3), *dq = calloc(11 * E, sizeof *dq);
    double loss;
    size_t order[10] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 8};
    cz_contrast_noise noise = {.seed = 1};
    assert_int_equal(cz_contrast_hessian(work, q, 10, q, 1, dq), CZ_E_ARG); /* before any gradient */
    assert_int_equal(cz_contrast_gradient(work, q, 11, &noise, 1, &loss, dq), CZ_E_ARG);
    assert_int_equal(cz_contrast_gradient(work, q, 0, &noise, 1, &loss, dq), CZ_E_ARG);
    assert_int_equal(cz_contrast_gradient(work, q, 10, &noise, 1, &loss, dq), CZ_OK);
    assert_int_equal(cz_contrast_hessian(work, q, 9, q, 1, dq), CZ_E_ARG);
    noise.order = order;
    assert_int_equal(cz_contrast_gradient(work, q, 10, &noise, 1, &loss, dq), CZ_E_ARG);
    order[9] = 10;
    assert_int_equal(cz_contrast_gradient(work, q, 10, &noise, 1, &loss, dq), CZ_E_ARG);
    noise.order = NULL;
    static const float wrong[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < 3; i++) {
        q[3 * E + 2] = wrong[i];
        assert_int_equal(cz_contrast_gradient(work, q, 10, &noise, 1, &loss, dq), CZ_E_DIVERGED);
        assert_int_equal(cz_contrast_hessian(work, q, 10, q, 1, dq), CZ_E_ARG); /* nothing is kept of a failed call */
        q[3 * E + 2] = 1;
        float *delta = noise_like("delta", 1, 10 * E, 0.1, 0);
        delta[5] = wrong[i];
        const cz_contrast_noise given = {.delta = delta};
        assert_int_equal(cz_contrast_gradient(work, q, 10, &given, 1, &loss, dq), CZ_E_DIVERGED);
        free(delta);
    }
    cz_contrast_work_destroy(work);
    cz_contrast_work_destroy(NULL);
    free(q);
    free(dq);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    const cz_contrast_options o = options_of(8, 2, 0.1, false);
    cz_contrast_work *work = NULL;
    cz_status status = CZ_E_MEMORY;
    unsigned long n = 1;
    for (; status == CZ_E_MEMORY && n < 100; n++) {
        cz_alloc_fail_after(n);
        status = cz_contrast_work_create(&o, 20, 5, &work);
    }
    cz_alloc_fail_after(0);
    assert_int_equal(status, CZ_OK);
    assert_true(n > 5);
    cz_contrast_work_destroy(work);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equation_1),   cmocka_unit_test(test_chunks),        cmocka_unit_test(test_order_matters),
        cmocka_unit_test(test_ties),         cmocka_unit_test(test_many_ties),     cmocka_unit_test(test_no_nan),
        cmocka_unit_test(test_no_negatives), cmocka_unit_test(test_threads),       cmocka_unit_test(test_drawn),
        cmocka_unit_test(test_refused),      cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests_name("contrast", tests, NULL, NULL);
}
