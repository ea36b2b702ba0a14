/* SPDX-License-Identifier: Apache-2.0 */
/* Relational descriptors against their definition in double, and what must hold whatever the numbers. */
#include "features/relation.h"

#include "features/simd.h"
#include "tensor/dtype.h"
#include "util/alloc.h"
#include "util/rng.h"

#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { KINDS = 9, NUMBERS = 27, TAPS = 3 };

typedef struct relation_case {
    const char *name;
    size_t count;
    cz_tap_shape taps[TAPS];
    unsigned masked; /* of 8 patches, how many are not valid */
    bool constant;
    double bound; /* of the logarithms' and ranks' differences; 0: 5e-6 */
} relation_case;

typedef struct input {
    uint16_t *maps[TAPS];
    uint8_t *valid; /* NULL: all */
    size_t patches, width;
    float *out;
} input;

static input make_input(const relation_case *of)
{
    input in = {.patches = of->taps[0].height * of->taps[0].width, .width = of->count * NUMBERS};
    for (size_t t = 0; t < of->count; t++) {
        const size_t c = of->taps[t].channels, n = c * of->taps[t].height * of->taps[t].width;
        in.maps[t] = malloc(n * sizeof(uint16_t));
        for (size_t i = 0; i < n; i++) {
            const float u = of->constant ? 0.0f : cz_hash_uniform(100 + t, i);
            in.maps[t][i] = cz_f32_to_bf16(u * (float)(i % c % 5 + 1) + 0.4f);
        }
    }
    if (of->masked > 0) {
        in.valid = malloc(in.patches);
        for (size_t p = 0; p < in.patches; p++)
            in.valid[p] = cz_hash_uniform(7, p) > (float)of->masked / 4.0f - 1.0f ? 3 : 0;
    }
    in.out = malloc(in.patches * in.width * sizeof *in.out);
    memset(in.out, 0xff, in.patches * in.width * sizeof *in.out);
    return in;
}

static void free_input(input *in)
{
    for (size_t t = 0; t < TAPS; t++) free(in->maps[t]);
    free(in->valid);
    free(in->out);
}

static cz_status run(const relation_case *of, const input *in, float *out)
{
    const uint16_t *const maps[TAPS] = {in->maps[0], in->maps[1], in->maps[2]};
    cz_relation *r = NULL;
    assert_int_equal(cz_relation_create(of->taps, of->count, &r), CZ_OK);
    assert_int_equal(cz_relation_width(r), in->width);
    assert_int_equal(cz_relation_grid_w(r), of->taps[0].width);
    assert_int_equal(cz_relation_grid_h(r), of->taps[0].height);
    const cz_status status = cz_relation_run(r, maps, in->valid, out);
    cz_relation_destroy(r);
    return status;
}

/* ---- the definition --------------------------------------------------------------------------------------------------- */

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double lower_median(const double *values, size_t n)
{
    double *sorted = malloc(n * sizeof *sorted);
    memcpy(sorted, values, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, ascending);
    const double median = sorted[(n - 1) / 2];
    free(sorted);
    return median;
}

static double mean_of_first(const double *sorted, size_t n, size_t most)
{
    const size_t count = n < most ? n : most;
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += sorted[i];
    return sum / (double)count;
}

typedef struct twin {
    cz_tap_shape s;
    size_t guard, n;
    double *x;     /* [h * w, C] */
    bool *in;      /* [h * w] */
    double *kinds; /* [h * w, 9] */
    double *forms; /* [h * w, 27] */
    double crowd[KINDS];
} twin;

static double apart(const double *a, const double *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (a[i] - b[i]) * (a[i] - b[i]);
    return sqrt(sum);
}

static double cosine(const double *a, const double *b, size_t n)
{
    double ab = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < n; i++) {
        ab += a[i] * b[i];
        aa += a[i] * a[i];
        bb += b[i] * b[i];
    }
    return aa > 0 && bb > 0 ? ab / sqrt(aa * bb) : 0;
}

static void twin_medians(const twin *t, double *median, double *spread)
{
    double *column = malloc(t->n * sizeof *column);
    for (size_t k = 0; k < t->s.channels; k++) {
        size_t n = 0;
        for (size_t i = 0; i < t->s.height * t->s.width; i++)
            if (t->in[i]) column[n++] = t->x[i * t->s.channels + k];
        median[k] = lower_median(column, n);
        spread[k] = 0;
        for (size_t i = 0; i < n; i++) spread[k] += fabs(column[i] - median[k]);
        spread[k] = spread[k] / (double)n + 1e-6;
    }
    free(column);
}

static double from_box(const twin *t, size_t y, size_t x, size_t reach)
{
    const size_t c = t->s.channels;
    double *mean = calloc(c, sizeof *mean), cells = 0;
    for (size_t v = 0; v < t->s.height; v++)
        for (size_t u = 0; u < t->s.width; u++) {
            if (v + reach < y || v > y + reach || u + reach < x || u > x + reach || !t->in[v * t->s.width + u])
                continue;
            cells++;
            for (size_t k = 0; k < c; k++) mean[k] += t->x[(v * t->s.width + u) * c + k];
        }
    for (size_t k = 0; k < c; k++) mean[k] /= cells;
    const double result = apart(t->x + (y * t->s.width + x) * c, mean, c);
    free(mean);
    return result;
}

static void twin_far(const twin *t, size_t y, size_t x, double *kinds)
{
    const size_t c = t->s.channels, w = t->s.width, cells = t->s.height * w, g = t->guard;
    double *near = malloc(cells * sizeof *near), *turned = malloc(cells * sizeof *turned);
    const double *own = t->x + (y * w + x) * c;
    size_t n = 0;
    for (size_t j = 0; j < cells; j++) {
        const size_t v = j / w, u = j % w;
        const bool close = v <= y + g && y <= v + g && u <= x + g && x <= u + g;
        if (close || !t->in[j]) continue;
        near[n] = apart(own, t->x + j * c, c);
        turned[n++] = 1 - cosine(own, t->x + j * c, c);
    }
    qsort(near, n, sizeof *near, ascending);
    qsort(turned, n, sizeof *turned, ascending);
    kinds[2] = n > 0 ? near[0] : kinds[1];
    kinds[3] = n > 0 ? mean_of_first(near, n, 5) : kinds[1];
    kinds[4] = n > 0 ? mean_of_first(near, n, 20) : kinds[1];
    kinds[5] = n > 0 ? fmax(mean_of_first(turned, n, 5), 1e-6) : 1e-6;
    free(near);
    free(turned);
}

static void twin_kinds(twin *t)
{
    const size_t c = t->s.channels, w = t->s.width;
    double *median = malloc(c * sizeof *median), *spread = malloc(c * sizeof *spread);
    double *nought = calloc(c, sizeof *nought);
    twin_medians(t, median, spread);
    for (size_t i = 0; i < t->s.height * w; i++) {
        const double *x = t->x + i * c;
        double *kinds = t->kinds + i * KINDS, sum = 0;
        if (!t->in[i]) continue;
        for (size_t k = 0; k < c; k++) sum += pow((x[k] - median[k]) / spread[k], 2);
        kinds[0] = sqrt(sum / (double)c);
        kinds[1] = apart(x, median, c);
        twin_far(t, i / w, i % w, kinds);
        kinds[6] = from_box(t, i / w, i % w, 1);
        kinds[7] = from_box(t, i / w, i % w, 3);
        kinds[8] = apart(x, nought, c);
    }
    free(median);
    free(spread);
    free(nought);
}

/* crowd: how many ranks numbers that rounding may swap are apart, over n - 1; two cells that are each other's nearest are equal in
 * any precision */
static void twin_forms(twin *t)
{
    const size_t cells = t->s.height * t->s.width;
    double *column = malloc(t->n * sizeof *column);
    for (size_t k = 0; k < KINDS; k++) {
        size_t n = 0, at = 0;
        for (size_t i = 0; i < cells; i++)
            if (t->in[i]) column[n++] = log(fmax(t->kinds[i * KINDS + k], 1e-6));
        const double median = lower_median(column, n), last = n > 1 ? (double)(n - 1) : 1;
        t->crowd[k] = 0;
        for (size_t i = 0; i < cells; i++) {
            size_t below = 0, close = 0;
            if (!t->in[i]) continue;
            for (size_t j = 0; j < n; j++) {
                below += column[j] < column[at] || (column[j] == column[at] && j < at);
                close += column[j] != column[at] && fabs(column[j] - column[at]) < 1e-5;
            }
            t->forms[i * NUMBERS + k] = column[at];
            t->forms[i * NUMBERS + KINDS + k] = column[at] - median;
            t->forms[i * NUMBERS + 2 * KINDS + k] = n > 1 ? (double)below / last - 0.5 : 0;
            t->crowd[k] = fmax(t->crowd[k], (double)close / last);
            at++;
        }
    }
    free(column);
}

static twin make_twin(const relation_case *of, const input *in, size_t tap)
{
    const cz_tap_shape s = of->taps[tap], first = of->taps[0];
    const size_t cells = s.height * s.width;
    twin t = {.s = s, .guard = (size_t)fmax(2, ceil(3.0 * (double)s.width / (double)first.width))};
    t.x = malloc(cells * s.channels * sizeof *t.x);
    t.in = calloc(cells, sizeof *t.in);
    t.kinds = calloc(cells * KINDS, sizeof *t.kinds);
    t.forms = calloc(cells * NUMBERS, sizeof *t.forms);
    for (size_t i = 0; i < cells * s.channels; i++) t.x[i] = (double)cz_bf16_to_f32(in->maps[tap][i]);
    for (size_t p = 0; p < in->patches; p++) {
        if (in->valid && !in->valid[p]) continue;
        const size_t y = p / first.width, x = p % first.width;
        for (size_t i = 0; i < cells; i++) { /* open intervals that overlap, in units of 1 / (h H) and 1 / (w W) */
            const size_t v = i / s.width, u = i % s.width;
            if (v * first.height < (y + 1) * s.height && y * s.height < (v + 1) * first.height &&
                u * first.width < (x + 1) * s.width && x * s.width < (u + 1) * first.width)
                t.in[i] = true;
        }
    }
    for (size_t i = 0; i < cells; i++) t.n += t.in[i];
    twin_kinds(&t);
    twin_forms(&t);
    return t;
}

static double source_index(size_t i, size_t in, size_t out)
{
    const double at = ((double)i + 0.5) * (double)in / (double)out - 0.5;
    return at > 0.0 ? at : 0.0;
}

/* Number k of patch (y, x). */
static double twin_at(const twin *t, cz_tap_shape first, size_t y, size_t x, size_t k)
{
    const double sy = source_index(y, t->s.height, first.height), sx = source_index(x, t->s.width, first.width);
    double sum = 0, weights = 0;
    for (size_t i = 0; i < t->s.height * t->s.width; i++) {
        const double v = fmin(sy, (double)t->s.height - 1) - (double)(i / t->s.width);
        const double u = fmin(sx, (double)t->s.width - 1) - (double)(i % t->s.width);
        const double weight = fmax(0, 1 - fabs(v)) * fmax(0, 1 - fabs(u));
        if (!t->in[i]) continue;
        sum += weight * t->forms[i * NUMBERS + k];
        weights += weight;
    }
    return sum / weights;
}

static void compare(const relation_case *of)
{
    input in = make_input(of);
    double most = 0, rank = 0;
    const double bound = of->bound > 0 ? of->bound : 5e-6;
    assert_int_equal(run(of, &in, in.out), CZ_OK);
    for (size_t tap = 0; tap < of->count; tap++) {
        twin t = make_twin(of, &in, tap);
        for (size_t p = 0; p < in.patches; p++) {
            const float *got = in.out + p * in.width + tap * NUMBERS;
            for (size_t k = 0; k < NUMBERS; k++) {
                if (in.valid && !in.valid[p]) {
                    assert_true(got[k] == 0.0f && !signbit(got[k]));
                    continue;
                }
                const size_t w = of->taps[0].width;
                const double error = fabs((double)got[k] - twin_at(&t, of->taps[0], p / w, p % w, k));
                const double slack = k < 2 * KINDS ? 0 : t.crowd[k % KINDS];
                if (k < 2 * KINDS) most = fmax(most, error);
                if (k >= 2 * KINDS && slack == 0) rank = fmax(rank, error);
                if (!(error <= slack + bound))
                    fail_msg("%s: tap %zu, patch %zu, number %zu: %g", of->name, tap, p, k, error);
            }
        }
        free(t.x);
        free(t.in);
        free(t.kinds);
        free(t.forms);
    }
    printf("%s: largest difference of logarithms %.1e, of ranks %.1e\n", of->name, most, rank);
    free_input(&in);
}

static void test_definition(void **state)
{
    static const relation_case cases[] = {
        {.name = "one tap", .count = 1, .taps = {{33, 11, 13}}},
        {.name = "two taps", .count = 2, .taps = {{70, 14, 18}, {131, 7, 9}}},
        {.name = "odd sizes", .count = 2, .taps = {{16, 13, 9}, {5, 7, 5}}},
        {.name = "three taps, one finer", .count = 3, .taps = {{8, 9, 10}, {12, 4, 3}, {9, 15, 21}}},
        {.name = "masked", .count = 2, .taps = {{40, 15, 17}, {24, 8, 9}}, .masked = 3},
        {.name = "hardly any", .count = 2, .taps = {{19, 12, 12}, {24, 6, 6}}, .masked = 7},
        {.name = "few far cells", .count = 1, .taps = {{20, 6, 7}}},
        {.name = "no far cells", .count = 2, .taps = {{20, 3, 4}, {11, 2, 2}}},
        {.name = "a row", .count = 1, .taps = {{6, 1, 40}}},
        {.name = "one cell", .count = 2, .taps = {{6, 1, 1}, {3, 1, 1}}},
        {.name = "one channel",
         .count = 1,
         .taps = {{1, 8, 9}},
         .bound = 1e-4}, /* tiny distances beside large values */
        {.name = "constant", .count = 2, .taps = {{48, 12, 10}, {7, 6, 5}}, .constant = true},
        {.name = "strips", .count = 1, .taps = {{12, 17, 20}}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) compare(&cases[i]);
}

/* Nothing is odd: all values are equal, and ranks follow the cells. */
static void test_constant(void **state)
{
    const relation_case of = {.count = 1, .taps = {{48, 9, 10}}, .constant = true};
    input in = make_input(&of);
    (void)state;
    assert_int_equal(run(&of, &in, in.out), CZ_OK);
    for (size_t p = 0; p < in.patches; p++) {
        const float *row = in.out + p * NUMBERS;
        for (size_t k = 0; k < KINDS; k++) {
            if (k < 8) assert_true(row[k] == logf(1e-6f));
            assert_true(row[KINDS + k] == 0.0f);
            assert_true(row[2 * KINDS + k] == (float)p / (float)(in.patches - 1) - 0.5f);
        }
    }
    memset(in.maps[0], 0, in.patches * 48 * sizeof(uint16_t)); /* of norm 0: no direction, so nothing alike */
    assert_int_equal(run(&of, &in, in.out), CZ_OK);
    for (size_t k = 0; k < KINDS; k++) assert_true(in.out[k] == (k == 5 ? 0.0f : logf(1e-6f)));
    free_input(&in);
}

static void test_same_bits(void **state)
{
    const relation_case of = {.count = 2, .taps = {{96, 20, 17}, {130, 10, 9}}, .masked = 1};
    const int before = omp_get_max_threads();
    input in = make_input(&of);
    const size_t bytes = in.patches * in.width * sizeof(float);
    float *again = malloc(bytes);
    (void)state;
    omp_set_num_threads(1);
    assert_int_equal(run(&of, &in, in.out), CZ_OK);
    for (int threads = 2; threads <= 5; threads++) {
        omp_set_num_threads(threads);
        assert_int_equal(run(&of, &in, again), CZ_OK);
        assert_int_equal(omp_get_max_threads(), threads);
        assert_memory_equal(again, in.out, bytes);
    }
    for (int level = CZ_SIMD_PLAIN; level <= CZ_SIMD_LEVEL_AVX2; level++) {
        cz_simd_limit((cz_simd)level);
        assert_int_equal(run(&of, &in, again), CZ_OK);
        assert_memory_equal(again, in.out, bytes);
    }
    cz_simd_limit(CZ_SIMD_LEVEL_AVX512);
    omp_set_num_threads(before);
    free(again);
    free_input(&in);
}

/* A patch that occurs nowhere else, in a texture where every other one does. */
static void test_defect(void **state)
{
    enum { SIDE = 16, CHANNELS = 32, ODD = 5 * SIDE + 9 };
    const relation_case of = {.count = 1, .taps = {{CHANNELS, SIDE, SIDE}}};
    input in = make_input(&of);
    (void)state;
    for (size_t p = 0; p < in.patches; p++)
        for (size_t k = 0; k < CHANNELS; k++) {
            const size_t phase = p / SIDE % 2 * 2 + p % SIDE % 2;
            const float v = cz_hash_uniform(p == ODD ? 99 : phase, k), noise = 0.02f * cz_hash_uniform(500 + p, k);
            in.maps[0][p * CHANNELS + k] = cz_f32_to_bf16(v + noise);
        }
    assert_int_equal(run(&of, &in, in.out), CZ_OK);
    for (size_t k = 2; k <= 5; k++) {
        const float *row = in.out + ODD * NUMBERS;
        assert_true(row[2 * KINDS + k] == 0.5f);
        assert_true(row[KINDS + k] > 2.0f); /* 7 times the median */
    }
    free_input(&in);
}

static void test_arguments(void **state)
{
    const cz_tap_shape good[2] = {{4, 3, 5}, {4, 2, 2}}, empty = {4, 0, 5}, huge = {4, 1 << 11, 1 << 10};
    cz_tap_shape many[65];
    uint16_t map[60] = {0};
    float out[15 * 2 * NUMBERS];
    const uint16_t *maps[2] = {map, NULL};
    cz_relation *r = NULL;
    cz_status inside = CZ_OK;
    (void)state;
    for (size_t t = 0; t < 65; t++) many[t] = good[0];
    assert_int_equal(cz_relation_create(NULL, 1, &r), CZ_E_ARG);
    assert_int_equal(cz_relation_create(good, 0, &r), CZ_E_ARG);
    assert_int_equal(cz_relation_create(many, 65, &r), CZ_E_ARG);
    assert_int_equal(cz_relation_create(&empty, 1, &r), CZ_E_ARG);
    assert_int_equal(cz_relation_create(&huge, 1, &r), CZ_E_LIMIT);
    assert_null(r);
    assert_int_equal(cz_relation_create(good, 2, &r), CZ_OK);
    assert_int_equal(cz_relation_run(r, NULL, NULL, out), CZ_E_ARG);
    assert_int_equal(cz_relation_run(r, maps, NULL, out), CZ_E_ARG);
    maps[1] = map;
    assert_int_equal(cz_relation_run(r, maps, NULL, NULL), CZ_E_ARG);
#pragma omp parallel num_threads(2)
#pragma omp single
    inside = cz_relation_run(r, maps, NULL, out);
    assert_int_equal(inside, CZ_E_ARG);
    assert_int_equal(cz_relation_run(r, maps, NULL, out), CZ_OK);
    cz_relation_destroy(r);
    cz_relation_destroy(NULL);
}

static void test_not_finite(void **state)
{
    const relation_case of = {.count = 1, .taps = {{4, 4, 5}}};
    static const uint16_t broken[] = {0x7f80, 0xff80, 0x7fc0, 0x7f00}; /* the last one: its square overflows */
    input in = make_input(&of);
    (void)state;
    in.valid = malloc(in.patches);
    for (size_t i = 0; i < 4; i++) {
        memset(in.valid, 1, in.patches);
        in.maps[0][7 * 4 + 2] = broken[i];
        assert_int_equal(run(&of, &in, in.out), CZ_E_DIVERGED);
        in.valid[7] = 0; /* where it does not count, it does no harm */
        assert_int_equal(run(&of, &in, in.out), CZ_OK);
        for (size_t k = 0; k < in.patches * in.width; k++) assert_true(isfinite(in.out[k]));
    }
    memset(in.valid, 0, in.patches);
    assert_int_equal(run(&of, &in, in.out), CZ_OK);
    for (size_t k = 0; k < in.patches * in.width; k++) assert_true(in.out[k] == 0.0f);
    free_input(&in);
}

static void test_memory(void **state)
{
    const cz_tap_shape taps[2] = {{4, 6, 5}, {4, 3, 3}};
    cz_relation *r = NULL;
    unsigned long failed = 0;
    (void)state;
    for (unsigned long n = 1; r == NULL && n < 100; n++) {
        cz_alloc_fail_after(n);
        const cz_status status = cz_relation_create(taps, 2, &r);
        cz_alloc_fail_after(0);
        assert_int_equal(status, r ? CZ_OK : CZ_E_MEMORY);
        failed = n;
    }
    assert_true(failed > 14 && r != NULL);
    cz_relation_destroy(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_definition), cmocka_unit_test(test_constant),  cmocka_unit_test(test_same_bits),
        cmocka_unit_test(test_defect),     cmocka_unit_test(test_arguments), cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
