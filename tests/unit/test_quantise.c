/* SPDX-License-Identifier: Apache-2.0 */
/* Ranges for int8: the histogram against brute force in double over the values themselves, nodes of a network, files. */
#include "backbone/backbone_internal.h"
#include "backbone/quantise.h"
#include "backbone/range.h"
#include "tensor/tensors.h"
#include "util/alloc.h"
#include "util/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { COUNT = 20000, SIDE = 64 };

static float values[COUNT];

/* ---- kinds of activations ------------------------------------------------------------------------------------------- */

static double uniform(cz_rng *rng)
{
    return ((double)(cz_rng_u64(rng) >> 11) + 0.5) * 0x1p-53;
}

static double normal(cz_rng *rng)
{
    return sqrt(-2.0 * log(uniform(rng))) * cos(2.0 * 3.14159265358979323846 * uniform(rng));
}

typedef enum kind { UNIFORM, SIGNED, RECTIFIED, LONG_TAIL, OUTLIERS, SMALL, KINDS } kind;

static float draw(kind k, cz_rng *rng)
{
    switch (k) {
    case UNIFORM:
        return (float)uniform(rng);
    case SIGNED:
        return (float)(3.0 * normal(rng));
    case RECTIFIED:
        return (float)fmax(0.0, normal(rng) - 0.5);
    case LONG_TAIL:
        return (float)pow(-log(uniform(rng)), 2.5);
    case OUTLIERS: /* one value in a thousand is far from the others */
        return (float)(uniform(rng) < 1e-3 ? 40.0 + normal(rng) : fabs(normal(rng)));
    default:
        return (float)(1e-6 * normal(rng));
    }
}

static void fill(kind k)
{
    cz_rng rng;
    cz_rng_init(&rng, 7, CZ_RNG_PATCHES, (uint64_t)k, 0);
    for (size_t i = 0; i < COUNT; i++) values[i] = draw(k, &rng);
}

/* ---- twins ---------------------------------------------------------------------------------------------------------- */

/* What 8 bits make of the values, each by itself. */
static double squared_error(double range, size_t levels)
{
    const double step = range / (double)levels;
    double sum = 0.0;
    for (size_t i = 0; i < COUNT; i++) {
        const double x = fabs((double)values[i]), q = fmin(nearbyint(x / step), (double)levels) * step;
        sum += (x - q) * (x - q);
    }
    return sum;
}

static int ascending(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

static void least_error(void **state)
{
    (void)state;
    cz_range *r = cz_calloc(1, sizeof *r);
    for (kind k = 0; k < KINDS; k++) {
        for (size_t levels = 15; levels <= 255; levels = 2 * levels + 1) {
            fill(k);
            memset(r, 0, sizeof *r);
            assert_int_equal(cz_range_add(r, values, COUNT), CZ_OK);
            double largest = 0.0, best = INFINITY;
            for (size_t i = 0; i < COUNT; i++) largest = fmax(largest, fabs((double)values[i]));
            assert_float_equal(r->largest, largest, 0);
            for (int i = 0; i < 300; i++) best = fmin(best, squared_error(largest * exp2(-i / 40.0), levels));
            const double range = (double)cz_range_least_error(r, levels), error = squared_error(range, levels);
            if (!(range > 0.0 && range <= largest)) fail_msg("kind %d: a range of %g", (int)k, range);
            if (error > 1.02 * best)
                fail_msg("kind %d, %zu levels: an error of %g, the best is %g", (int)k, levels, error, best);
            /* clipping is worth it where the tail is thin, and not where there is none */
            if (k == UNIFORM) assert_true(range > 0.9 * largest);
            if (k == SIGNED && levels == 15) assert_true(range < 0.8 * largest);
        }
    }
    cz_free(r);
}

static void share(void **state)
{
    (void)state;
    static const double shares[] = {0.5, 0.9, 0.999, 0.9999, 0.99999, 1.0};
    static float sorted[COUNT];
    cz_range *r = cz_calloc(1, sizeof *r);
    for (kind k = 0; k < KINDS; k++) {
        fill(k);
        memset(r, 0, sizeof *r);
        assert_int_equal(cz_range_add(r, values, COUNT), CZ_OK);
        for (size_t i = 0; i < COUNT; i++) sorted[i] = fabsf(values[i]);
        qsort(sorted, COUNT, sizeof *sorted, ascending);
        for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
            const float exact = sorted[(size_t)ceil(shares[i] * COUNT) - 1], found = cz_range_share(r, shares[i]);
            const float bin = r->top / CZ_RANGE_BINS;
            if (exact == 0.0f) continue; /* the first bin with values is told then */
            if (found < exact || found > exact + bin)
                fail_msg("kind %d, %g: %.9g, exactly %.9g", (int)k, shares[i], (double)found, (double)exact);
        }
    }
    cz_free(r);
}

/* In whatever order and portions: the largest value last makes all bins merge. */
static void order(void **state)
{
    (void)state;
    cz_range *whole = cz_calloc(1, sizeof *whole), *parts = cz_calloc(1, sizeof *parts);
    fill(LONG_TAIL);
    values[17] = 0.0f;
    assert_int_equal(cz_range_add(whole, values, COUNT), CZ_OK);
    qsort(values, COUNT, sizeof *values, ascending);
    for (size_t i = 0; i < COUNT; i += 100) assert_int_equal(cz_range_add(parts, values + i, 100), CZ_OK);
    assert_memory_equal(whole, parts, sizeof *whole);
    assert_int_equal(whole->total, COUNT);
    assert_int_equal(whole->zeros, 1);
    cz_free(whole);
    cz_free(parts);
}

static void edges(void **state)
{
    (void)state;
    cz_range *r = cz_calloc(1, sizeof *r), *before = cz_calloc(1, sizeof *r);
    const float zeros[3] = {0.0f, -0.0f, 0.0f}, powers[3] = {1.0f, -2.0f, 4.0f}, denormal = 1e-42f;
    const float bad[][2] = {{1.0f, NAN}, {INFINITY, 0.0f}, {-INFINITY, 1.0f}, {1e31f, 0.0f}};
    assert_int_equal(cz_range_add(r, zeros, 3), CZ_OK);
    assert_int_equal(r->zeros, 3);
    assert_float_equal(cz_range_least_error(r, 255), 1.0f, 0);
    assert_float_equal(cz_range_share(r, 0.99), 1.0f, 0);
    assert_int_equal(cz_range_add(r, &denormal, 1), CZ_OK);
    assert_int_equal(cz_range_add(r, powers, 3), CZ_OK);
    assert_float_equal(r->top, 8.0f, 0);
    assert_int_equal(r->bins[CZ_RANGE_BINS / 2], 1);
    assert_int_equal(r->bins[0], 1);
    *before = *r;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(cz_range_add(r, bad[i], 2), CZ_E_WEIGHTS);
        assert_memory_equal(r, before, sizeof *r);
    }
    cz_free(r);
    cz_free(before);
}

/* ---- a network ------------------------------------------------------------------------------------------------------ */

static void picture(size_t index, float *input)
{
    for (size_t i = 0; i < (size_t)SIDE * SIDE * 3; i++)
        input[i] = (float)sin((double)(i % 977) * 0.13 * (double)(index + 1)) * (1.0f + (float)index);
}

static void nodes(void **state)
{
    (void)state;
    enum { PICTURES = 3 };
    static float input[SIDE * SIDE * 3];
    cz_backbone *b = NULL;
    cz_quantiser *q = NULL;
    cz_plan *plan = NULL, *plain = NULL;
    cz_quant quant;
    const cz_plan_options options = {.taps = "layer2,layer3",
                                     .batch = 1,
                                     .height = SIDE,
                                     .width = SIDE,
                                     .threads = 1,
                                     .precision = CZ_PRECISION_FP32};
    assert_int_equal(cz_backbone_open("random:resnet18:3", &b), CZ_OK);
    assert_int_equal(cz_quantiser_create(b, "layer2,layer3", SIDE, SIDE, 1, &q), CZ_OK);
    assert_int_equal(cz_plan_create_observed(b, &options, &plan), CZ_OK);
    assert_int_equal(cz_plan_create(b, &options, &plain), CZ_OK);
    assert_int_equal(cz_plan_node_count(plain), 0);
    const size_t count = cz_plan_node_count(plan);
    assert_int_equal(count, 1 + 1 + 4 + 5 + 5); /* stem, pool, two blocks a stage, a downsampling in two of them */
    cz_range *ranges = cz_calloc(count, sizeof *ranges);
    for (size_t p = 0; p < PICTURES; p++) {
        picture(p, input);
        assert_int_equal(cz_quantiser_add(q, input), CZ_OK);
        assert_int_equal(cz_plan_run(plan, input), CZ_OK);
        assert_int_equal(cz_plan_run(plain, input), CZ_OK);
        for (size_t i = 0; i < count; i++) {
            size_t n;
            const float *made = cz_plan_node(plan, i, &n);
            assert_int_equal(cz_range_add(&ranges[i], made, n), CZ_OK);
        }
        /* keeping every node changes none of them */
        for (size_t t = 0; t < 2; t++) {
            const cz_tap *tap = cz_plan_tap(plain, t);
            const size_t bytes = tap->channels * tap->height * tap->width * sizeof(float);
            assert_memory_equal(cz_plan_tap_data(plain, t), cz_plan_tap_data(cz_quantiser_plan(q), t), bytes);
        }
    }
    assert_int_equal(cz_quantiser_finish(q, &quant), CZ_OK);
    assert_int_equal(quant.count, count);
    for (size_t i = 0; i < count; i++) {
        const cz_node *node = &b->layout.nodes[i];
        const float own =
            fmaxf(cz_range_least_error(&ranges[i], node->relu ? 255 : 127), cz_range_share(&ranges[i], 0.99999));
        const float wanted = node->kind == CZ_NODE_POOL ? quant.range[node->input] : own;
        if (quant.range[i] != wanted) fail_msg("node %zu: %.9g, not %.9g", i, (double)quant.range[i], (double)wanted);
        assert_true(quant.range[i] > 0.0f && quant.range[i] <= fmaxf(ranges[i].largest, 1e-20f));
    }
    cz_quantiser_destroy(q);
    cz_plan_destroy(plan);
    cz_plan_destroy(plain);
    cz_free(ranges);
    cz_backbone_close(b);
}

static void limits(void **state)
{
    (void)state;
    static float input[SIDE * SIDE * 3];
    cz_backbone *b = NULL;
    cz_quantiser *q = NULL;
    cz_quant quant;
    assert_int_equal(cz_backbone_open("random:resnet18:3", &b), CZ_OK);
    assert_int_equal(cz_quantiser_create(b, "layer3", SIDE, SIDE, 1, &q), CZ_OK);
    assert_int_equal(cz_quantiser_finish(q, &quant), CZ_E_ARG);
    picture(0, input);
    input[5] = 1e36f;
    assert_int_equal(cz_quantiser_add(q, input), CZ_E_WEIGHTS);
    cz_quantiser_destroy(q);
    assert_int_equal(cz_quantiser_create(b, "layer1", SIDE, SIDE, 1, &q), CZ_OK);
    picture(0, input);
    assert_int_equal(cz_quantiser_add(q, input), CZ_OK);
    assert_int_equal(cz_quantiser_finish(q, &quant), CZ_OK);
    assert_int_equal(quant.count, 6);
    cz_quantiser_destroy(q);
    assert_int_equal(cz_quantiser_create(b, "layer9", SIDE, SIDE, 1, &q), CZ_E_ARG);
    cz_backbone_close(b);
}

/* ---- files ---------------------------------------------------------------------------------------------------------- */

static cz_status load(const cz_tensor_view *view, cz_quant *out)
{
    cz_tensors *t = NULL;
    assert_int_equal(cz_tensors_create(&t), CZ_OK);
    if (view != NULL) assert_int_equal(cz_tensors_put(t, view, 0), CZ_OK);
    const cz_status status = cz_quant_load(t, out);
    cz_tensors_close(t);
    return status;
}

static void files(void **state)
{
    (void)state;
    cz_quant quant = {.count = 3, .range = {1.0f, 2.5f, 1e-20f}}, back;
    cz_tensors *t = NULL;
    char a[17], b[17];
    assert_int_equal(cz_tensors_create(&t), CZ_OK);
    assert_int_equal(cz_quant_save(&quant, t), CZ_OK);
    assert_int_equal(cz_quant_load(t, &back), CZ_OK);
    assert_memory_equal(&quant, &back, sizeof quant);
    cz_tensors_close(t);
    cz_quant_hash(&quant, a);
    assert_int_equal(strspn(a, "0123456789abcdef"), 16);
    cz_quant_hash(&back, b);
    assert_string_equal(a, b);
    back.range[1] = nextafterf(2.5f, 3.0f);
    cz_quant_hash(&back, b);
    assert_string_not_equal(a, b);
    back = quant;
    back.count = 2;
    cz_quant_hash(&back, b);
    assert_string_not_equal(a, b);
}

static void hostile(void **state)
{
    (void)state;
    static const float wrong[] = {0.0f, -1.0f, 1e-30f, 2e30f, INFINITY, -INFINITY, NAN};
    float room[CZ_QUANT_MAX + 2];
    cz_quant quant, untouched;
    memset(&untouched, 0x5a, sizeof untouched);
    quant = untouched;
    for (size_t i = 0; i < CZ_QUANT_MAX + 2; i++) room[i] = 1.0f;
    assert_int_equal(load(NULL, &quant), CZ_E_MODEL);
    const cz_tensor_view views[] = {
        {"quant.ranges", CZ_F32, 1, {CZ_QUANT_MAX + 1}, room, (CZ_QUANT_MAX + 1) * 4},
        {"quant.ranges", CZ_F32, 1, {0}, room, 0},
        {"quant.ranges", CZ_F32, 2, {2, 2}, room, 16},
        {"quant.ranges", CZ_F32, 0, {0}, room, 4},
        {"quant.ranges", CZ_BF16, 1, {4}, room, 8},
        {"quant.ranges", CZ_F64, 1, {4}, room, 32},
        {"quant.other", CZ_F32, 1, {4}, room, 16},
    };
    for (size_t i = 0; i < sizeof views / sizeof *views; i++) assert_int_equal(load(&views[i], &quant), CZ_E_MODEL);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const cz_tensor_view view = {"quant.ranges", CZ_F32, 1, {5}, room, 20};
        room[4] = wrong[i];
        assert_int_equal(load(&view, &quant), CZ_E_MODEL);
        room[4] = 1.0f;
    }
    assert_memory_equal(&quant, &untouched, sizeof quant);
    /* as large as may be, and not aligned */
    unsigned char bytes[CZ_QUANT_MAX * 4 + 1];
    memcpy(bytes + 1, room, CZ_QUANT_MAX * 4);
    const cz_tensor_view most = {"quant.ranges", CZ_F32, 1, {CZ_QUANT_MAX}, bytes + 1, CZ_QUANT_MAX * 4};
    assert_int_equal(load(&most, &quant), CZ_OK);
    assert_int_equal(quant.count, CZ_QUANT_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(least_error), cmocka_unit_test(share),  cmocka_unit_test(order), cmocka_unit_test(edges),
        cmocka_unit_test(nodes),       cmocka_unit_test(limits), cmocka_unit_test(files), cmocka_unit_test(hostile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
