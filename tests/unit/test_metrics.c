/* SPDX-License-Identifier: Apache-2.0 */
/* Metrics against their definitions, threshold by threshold and region by region. */
#include "cozad/cozad_eval.h"
#include "metrics/key.h"
#include "unit/flood.h"
#include "util/alloc.h"
#include "util/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef struct twin {
    double auroc, ap, f1, aupro[2];
} twin;

static int descending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x > y ? -1 : x < y;
}

/* Area below the polyline through (0, 0) and the points, as far as `limit`. */
static double area_to(const double *x, const double *y, size_t count, double limit)
{
    double area = 0, px = 0, py = 0;
    for (size_t i = 0; i < count && px < limit; i++) {
        double ex = x[i], ey = y[i];
        if (ex > limit) {
            ey = py + (ey - py) * (limit - px) / (ex - px);
            ex = limit;
        }
        area += (ex - px) * (py + ey) / 2;
        px = ex;
        py = ey;
    }
    return area / limit;
}

/* scores [count]; region [count]: 0 normal, else the number of a region (1 … regions). NaN scores are left out. */
static twin by_definition(const double *scores, const int *region, size_t count, int regions)
{
    twin t = {NAN, NAN, NAN, {NAN, NAN}};
    double *levels = calloc(count + 1, sizeof *levels), *x = calloc(count + 1, sizeof *x),
           *y = calloc(count + 1, sizeof *y);
    double *area = calloc((size_t)regions + 1, sizeof *area), *hit = calloc((size_t)regions + 1, sizeof *hit);
    size_t n = 0;
    double p = 0, pairs = 0, wins = 0, recall = 0;
    for (size_t i = 0; i < count; i++) {
        if (isnan(scores[i])) continue;
        levels[n++] = scores[i];
        area[region[i]]++;
        p += region[i] > 0;
        for (size_t k = 0; k < count; k++) {
            if (isnan(scores[k]) || region[i] == 0 || region[k] != 0) continue;
            pairs++;
            wins += scores[i] > scores[k] ? 1 : scores[i] == scores[k] ? 0.5 : 0;
        }
    }
    qsort(levels, n, sizeof *levels, descending);
    int seen = 0;
    for (int r = 1; r <= regions; r++) seen += area[r] > 0;
    for (size_t i = 0; i < n; i++) {
        double tp = 0, fp = 0, overlap = 0;
        memset(hit, 0, ((size_t)regions + 1) * sizeof *hit);
        for (size_t k = 0; k < count; k++) {
            if (!(scores[k] >= levels[i])) continue;
            hit[region[k]]++;
            tp += region[k] > 0;
            fp += region[k] == 0;
        }
        for (int r = 1; r <= regions; r++)
            if (area[r] > 0) overlap += hit[r] / area[r];
        x[i] = fp / area[0];
        y[i] = overlap / seen;
        if (p == 0 || area[0] == 0) continue;
        t.ap = (isnan(t.ap) ? 0 : t.ap) + (tp / p - recall) * tp / (tp + fp);
        recall = tp / p;
        t.f1 = fmax(t.f1, 2 * tp / (tp + fp + p));
    }
    if (pairs > 0) t.auroc = wins / pairs;
    for (int i = 0; i < 2; i++)
        if (area[0] > 0 && seen > 0) t.aupro[i] = area_to(x, y, n, i == 0 ? 0.3 : 0.05);
    free(levels), free(x), free(y), free(area), free(hit);
    return t;
}

static void assert_near(double got, double want, double within)
{
    if (isnan(want) && isnan(got)) return;
    if (!(fabs(got - want) <= within)) print_error("%.17g is not %.17g (within %g)\n", got, want, within);
    assert_true(fabs(got - want) <= within);
}

static const cz_evaluation_options no_intervals = {sizeof(cz_evaluation_options), 0, 0, 0, 0, 1};

static void check_scores(const double *scores, const uint8_t *labels, size_t count)
{
    cz_figures f;
    int region[64];
    for (size_t i = 0; i < count; i++) region[i] = labels[i] != 0;
    const twin want = by_definition(scores, region, count, 1);
    assert_int_equal(cz_score_figures(scores, labels, count, &no_intervals, &f), CZ_OK);
    assert_near(f.metric[CZ_IMAGE_AUROC].value, want.auroc, 1e-12);
    assert_near(f.metric[CZ_IMAGE_AP].value, want.ap, 1e-12);
    assert_near(f.metric[CZ_IMAGE_F1].value, want.f1, 1e-12);
    assert_near(f.metric[CZ_IMAGE_F1].bound, isnan(want.f1) ? NAN : 0, 0);
    assert_true(isnan(f.metric[CZ_PIXEL_AUROC].value));
    assert_true(isnan(f.metric[CZ_IMAGE_AUROC].low));
    if (isnan(want.f1)) {
        assert_true(isnan(f.image_f1_threshold));
        return;
    }
    double tp = 0, fp = 0, p = 0;
    for (size_t i = 0; i < count; i++) {
        p += labels[i] != 0;
        tp += scores[i] >= f.image_f1_threshold && labels[i] != 0;
        fp += scores[i] >= f.image_f1_threshold && labels[i] == 0;
    }
    assert_near(2 * tp / (tp + fp + p), want.f1, 1e-12); /* the threshold does what is said of it */
}

static void image_random(void **state)
{
    (void)state;
    for (uint64_t round = 0; round < 400; round++) {
        double scores[64];
        uint8_t labels[64];
        cz_rng rng;
        cz_rng_init(&rng, 4, CZ_RNG_TEST, round, 0);
        const size_t count = (size_t)cz_rng_below(&rng, 65);
        const uint64_t levels = 1 + cz_rng_below(&rng, round % 2 ? 6 : 100000);
        for (size_t i = 0; i < count; i++) {
            scores[i] = ((double)cz_rng_below(&rng, levels) - 3) / 7;
            labels[i] = (uint8_t)cz_rng_below(&rng, 2 + round % 5 * 10) < 1;
        }
        check_scores(scores, labels, count);
    }
}

static void image_corners(void **state)
{
    (void)state;
    const double equal[5] = {2, 2, 2, 2, 2}, rising[5] = {-1, 0, 1, 2, 3}, zeros[4] = {0.0, -0.0, 0.0, -0.0};
    const double infinite[5] = {-INFINITY, INFINITY, INFINITY, 0, -INFINITY};
    const uint8_t none[5] = {0}, all[5] = {1, 1, 1, 1, 1}, last[5] = {0, 0, 0, 0, 1}, first[5] = {1, 0, 0, 0, 0};
    const uint8_t mixed[5] = {1, 0, 1, 1, 0};
    const double *const scores[] = {equal, rising, infinite};
    for (size_t i = 0; i < 3; i++) {
        check_scores(scores[i], none, 5);
        check_scores(scores[i], all, 5);
        check_scores(scores[i], last, 5);
        check_scores(scores[i], first, 5);
        check_scores(scores[i], mixed, 5);
    }
    check_scores(zeros, mixed, 4);
    check_scores(NULL, NULL, 0);
    cz_figures f;
    double bad[5] = {1, 2, NAN, 3, 4};
    assert_int_equal(cz_score_figures(bad, mixed, 5, NULL, &f), CZ_E_ARG);
    assert_int_equal(cz_score_figures(rising, mixed, 5, NULL, NULL), CZ_E_ARG);
    cz_evaluation_options unknown = CZ_EVALUATION_OPTIONS_INIT;
    unknown.struct_size = 3;
    assert_int_equal(cz_score_figures(rising, mixed, 5, &unknown, &f), CZ_E_ARG);
    for (int m = 0; m < CZ_METRICS; m++) assert_non_null(cz_metric_name((cz_metric)m));
    assert_null(cz_metric_name(CZ_METRICS));
}

enum { SIDE = 12, PIXELS = SIDE * SIDE, IMAGES = 4 };

typedef struct set {
    float map[IMAGES][PIXELS];
    uint8_t mask[IMAGES][PIXELS];
    int label[IMAGES];
} set;

/* kind: 0 fine scores, 1 ties, 2 all equal, 3 one defective pixel, 4 no defect, 5 infinite and NaN, 6 neighbours within one
 * bin, 7 both signs */
static void make_set(set *s, uint64_t round, unsigned kind)
{
    cz_rng rng;
    cz_rng_init(&rng, 5, CZ_RNG_TEST, round, kind);
    for (size_t k = 0; k < IMAGES; k++) {
        s->label[k] = k % 2;
        const double density = 0.3 * cz_rng_uniform(&rng);
        for (size_t i = 0; i < PIXELS; i++) {
            s->mask[k][i] = kind == 3 ? k == 1 && i == 77 : kind != 4 && k % 2 && cz_rng_uniform(&rng) < density;
            float v = (float)cz_rng_uniform(&rng) + 0.3f * (float)(s->mask[k][i] != 0);
            if (kind == 1) v = floorf(v * 8);
            if (kind == 2) v = 0.25f;
            if (kind == 5 && cz_rng_below(&rng, 6) == 0)
                v = cz_rng_below(&rng, 3) == 0 ? NAN : cz_rng_below(&rng, 2) ? INFINITY : -INFINITY;
            if (kind == 6) v = 1.0f + v * 0.001f;
            if (kind == 7) v -= 0.6f;
            s->map[k][i] = v;
        }
    }
}

static twin twin_of(const set *s)
{
    static double scores[IMAGES * PIXELS];
    static int region[IMAGES * PIXELS];
    int regions = 0;
    for (size_t k = 0; k < IMAGES; k++) {
        const int found = flood_label(s->mask[k], SIDE, SIDE, region + k * PIXELS);
        for (size_t i = 0; i < PIXELS; i++) {
            if (region[k * PIXELS + i] > 0) region[k * PIXELS + i] += regions;
            scores[k * PIXELS + i] = (double)s->map[k][i];
        }
        regions += found;
    }
    return by_definition(scores, region, IMAGES * PIXELS, regions);
}

static void evaluate(const set *s, const cz_evaluation_options *options, size_t which, cz_figures *f)
{
    cz_evaluation *e;
    assert_int_equal(cz_evaluation_open(options, &e), CZ_OK);
    for (size_t k = 0; k < IMAGES; k++) {
        const uint8_t *mask = k == 0 ? NULL : s->mask[k]; /* the first is normal */
        assert_int_equal(cz_evaluation_add(e, "a", s->label[k], (double)k, s->map[k], mask, SIDE, SIDE), CZ_OK);
    }
    assert_int_equal(cz_evaluation_figures(e, which, f), CZ_OK);
    cz_evaluation_close(e);
}

static void check_pixels(const cz_figures *f, const twin *want)
{
    const double values[5] = {want->auroc, want->ap, want->f1, want->aupro[0], want->aupro[1]};
    for (int m = 0; m < 5; m++) {
        const cz_figure *got = &f->metric[CZ_PIXEL_AUROC + m];
        assert_near(got->value, values[m], got->bound + 1e-11);
        if (!isnan(got->value)) assert_true(got->value >= 0 && got->value <= 1 + 1e-12 && got->bound >= 0);
    }
}

static void pixels_random(void **state)
{
    (void)state;
    static set s;
    for (uint64_t round = 0; round < 6; round++)
        for (unsigned kind = 0; kind < 8; kind++) {
            make_set(&s, round, kind);
            const twin want = twin_of(&s);
            cz_figures f;
            cz_evaluation_options options = no_intervals;
            evaluate(&s, &options, 0, &f);
            check_pixels(&f, &want);
            /* neither ties nor infinities cost accuracy; scores that share a bin do, and the bound says so */
            if (kind == 1 || kind == 2) assert_near(f.metric[CZ_PIXEL_AUROC].bound, 0, 0);
            if (kind == 6) assert_true(f.metric[CZ_PIXEL_AUROC].bound > 0.01);
            evaluate(&s, &options, CZ_EVALUATION_POOLED, &f);
            check_pixels(&f, &want);
            evaluate(&s, &options, CZ_EVALUATION_MEAN, &f);
            check_pixels(&f, &want);
            options.exact = 1;
            evaluate(&s, &options, kind % 2 ? 0 : CZ_EVALUATION_POOLED, &f);
            check_pixels(&f, &want);
            for (int m = CZ_PIXEL_AUROC; m < CZ_METRICS; m++) assert_false(f.metric[m].bound > 0);
            if (kind == 4) assert_true(isnan(f.metric[CZ_AUPRO_030].value) && f.regions == 0);
        }
}

/* SimpleNet's, threshold by threshold. */
static double overlap200(const set *s, double limit)
{
    static int region[IMAGES][PIXELS];
    int count[IMAGES];
    double low = INFINITY, high = -INFINITY, x[200], y[200], normal = 0, area = 0;
    for (size_t k = 0; k < IMAGES; k++) {
        count[k] = flood_label(s->mask[k], SIDE, SIDE, region[k]);
        for (size_t i = 0; i < PIXELS; i++) {
            low = fmin(low, (double)s->map[k][i]);
            high = fmax(high, (double)s->map[k][i]);
            normal += s->mask[k][i] == 0;
        }
    }
    size_t n = 0;
    for (size_t t = 200; t-- > 0;) {
        double fp = 0, sum = 0, regions = 0;
        const double threshold = low + (double)t * ((high - low) / 200);
        for (size_t k = 0; k < IMAGES; k++) {
            for (size_t i = 0; i < PIXELS; i++) fp += s->mask[k][i] == 0 && (double)s->map[k][i] > threshold;
            for (int r = 1; r <= count[k]; r++, regions++) {
                double pixels = 0, above = 0;
                for (size_t i = 0; i < PIXELS; i++) {
                    pixels += region[k][i] == r;
                    above += region[k][i] == r && (double)s->map[k][i] > threshold;
                }
                sum += above / pixels;
            }
        }
        if (!(fp / normal < limit)) break;
        x[n] = fp / normal;
        y[n++] = sum / regions;
    }
    if (n < 2 || x[n - 1] <= 0) return NAN;
    for (size_t i = 1; i < n; i++) area += (x[i] - x[i - 1]) * (y[i] + y[i - 1]) / 2 / x[n - 1];
    return area;
}

static void simplenet(void **state)
{
    (void)state;
    static set s;
    const unsigned kinds[] = {0, 1, 3, 6, 7};
    for (uint64_t round = 0; round < 20; round++)
        for (size_t k = 0; k < 5; k++) {
            make_set(&s, 100 + round, kinds[k]);
            cz_figures f;
            cz_evaluation_options options = no_intervals;
            options.simplenet = 1;
            for (int exact = 0; exact < 2; exact++) {
                options.exact = exact;
                evaluate(&s, &options, 0, &f);
                const double want[2] = {overlap200(&s, 0.3), overlap200(&s, 0.05)};
                for (int i = 0; i < 2; i++) {
                    const cz_figure *got = &f.metric[i ? CZ_AUPRO_005 : CZ_AUPRO_030];
                    if (exact || !isnan(want[i])) assert_near(got->value, want[i], got->bound + 1e-11);
                    if (exact) assert_false(got->bound > 0);
                }
            }
        }
}

/* The case that is worked out in docs/metrics.md. */
static void by_hand(void **state)
{
    (void)state;
    const float first[20] = {0.9f, 0.8f, 0.1f, 0.1f, 0.1f, 0.1f, 0.1f, 0.3f, 0.1f, 0.1f,
                             0.1f, 0.1f, 0.7f, 0.1f, 0.1f, 0.1f, 0.1f, 0.1f, 0.1f, 0.4f};
    const float second[5] = {0.6f, 0.5f, 0.1f, 0.1f, 0.1f};
    const uint8_t mask[20] = {1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1};
    for (int exact = 0; exact < 2; exact++) {
        cz_evaluation_options options = no_intervals;
        cz_evaluation *e;
        cz_figures f;
        options.exact = exact;
        assert_int_equal(cz_evaluation_open(&options, &e), CZ_OK);
        assert_int_equal(cz_evaluation_add(e, "", 1, 0.9, first, mask, 5, 4), CZ_OK);
        assert_int_equal(cz_evaluation_add(e, "", 0, 0.6, second, NULL, 5, 1), CZ_OK);
        assert_int_equal(cz_evaluation_figures(e, 0, &f), CZ_OK);
        assert_int_equal(f.regions, 2);
        assert_int_equal(f.pixels, 25);
        assert_int_equal(f.masks, 1);
        assert_near(f.metric[CZ_AUPRO_030].value, 451.0 / 816.0, 1e-12);
        assert_near(f.metric[CZ_AUPRO_005].value, 1.0 / 3.0, 1e-12);
        assert_near(f.metric[CZ_AUPRO_030].bound, 0, 0);
        cz_evaluation_close(e);
    }
}

static void arguments(void **state)
{
    (void)state;
    cz_evaluation *e;
    cz_figures f;
    const float map[4] = {1, 2, 3, 4};
    assert_int_equal(cz_evaluation_open(NULL, &e), CZ_OK);
    assert_int_equal(cz_evaluation_add(e, "a", 2, 0, NULL, NULL, 0, 0), CZ_E_ARG);
    assert_int_equal(cz_evaluation_add(e, "a", 0, NAN, NULL, NULL, 0, 0), CZ_E_ARG);
    assert_int_equal(cz_evaluation_add(e, "a", 0, INFINITY, NULL, NULL, 0, 0), CZ_E_ARG);
    assert_int_equal(cz_evaluation_add(e, "a", 0, 1, map, NULL, 0, 4), CZ_E_ARG);
    assert_int_equal(cz_evaluation_add(e, "a", 0, 1, map, NULL, SIZE_MAX, 4), CZ_E_LIMIT);
    assert_int_equal(cz_evaluation_categories(e), 0);
    assert_int_equal(cz_evaluation_figures(e, 0, &f), CZ_E_ARG);
    assert_int_equal(cz_evaluation_figures(e, CZ_EVALUATION_MEAN, &f), CZ_OK);
    assert_true(isnan(f.metric[0].value));
    assert_int_equal(cz_evaluation_figures(e, CZ_EVALUATION_POOLED, &f), CZ_OK);
    assert_int_equal(cz_evaluation_add(e, NULL, 1, 1, map, NULL, 2, 2), CZ_OK); /* no mask: no pixels */
    assert_int_equal(cz_evaluation_add(e, "b", 0, 1, map, NULL, 2, 2), CZ_OK);
    assert_int_equal(cz_evaluation_categories(e), 2);
    assert_string_equal(cz_evaluation_category(e, 0), "");
    assert_string_equal(cz_evaluation_category(e, 1), "b");
    assert_null(cz_evaluation_category(e, 2));
    assert_int_equal(cz_evaluation_figures(e, 0, &f), CZ_OK);
    assert_true(f.pixels == 0 && f.anomalous == 1 && f.masks == 0 && isnan(f.metric[CZ_IMAGE_AUROC].value));
    assert_int_equal(cz_evaluation_figures(e, 1, &f), CZ_OK);
    assert_true(f.pixels == 4 && f.normal == 1);
    assert_int_equal(cz_evaluation_figures(e, CZ_EVALUATION_POOLED, &f), CZ_OK);
    assert_near(f.metric[CZ_IMAGE_AUROC].value, 0.5, 0);
    cz_evaluation_close(e);
}

/* An image of only NaN, and a region of only NaN, count for nothing. */
static void not_inspected(void **state)
{
    (void)state;
    cz_evaluation *e;
    cz_figures f;
    const float none[4] = {NAN, NAN, NAN, NAN}, some[6] = {NAN, 1, 5, 2, 1, NAN};
    const uint8_t mask[6] = {1, 0, 1, 0, 0, 1}, all[4] = {1, 1, 1, 1};
    assert_int_equal(cz_evaluation_open(NULL, &e), CZ_OK);
    assert_int_equal(cz_evaluation_add(e, "a", 1, 1, none, all, 2, 2), CZ_OK);
    assert_int_equal(cz_evaluation_add(e, "a", 1, 1, some, mask, 6, 1), CZ_OK);
    assert_int_equal(cz_evaluation_figures(e, 0, &f), CZ_OK);
    assert_true(f.pixels == 4 && f.regions == 1 && f.masks == 2);
    assert_near(f.metric[CZ_AUPRO_030].value, 1, 1e-12);
    cz_evaluation_close(e);
}

static void curves(void **state)
{
    (void)state;
    cz_curve_point p[50];
    double scores[400];
    uint8_t labels[400];
    const double few[4] = {3, 2, 2, 1};
    const uint8_t which[4] = {1, 0, 1, 0};
    assert_int_equal(cz_roc_curve(few, which, 4, p, 50), 4);
    assert_true(p[0].x == 0 && p[0].y == 0 && p[0].threshold > 1e300);
    assert_true(p[1].x == 0 && p[1].y == 0.5 && p[1].threshold == 3);
    assert_true(p[2].x == 0.5 && p[2].y == 1 && p[3].x == 1 && p[3].y == 1);
    assert_int_equal(cz_pr_curve(few, which, 4, p, 50), 4);
    assert_true(p[0].x == 0 && p[0].y == 1 && p[2].x == 1 && fabs(p[2].y - 2.0 / 3) < 1e-15 && p[3].y == 0.5);
    cz_rng rng;
    cz_rng_init(&rng, 6, CZ_RNG_TEST, 0, 0);
    for (size_t i = 0; i < 400; i++) {
        labels[i] = (uint8_t)cz_rng_below(&rng, 2);
        scores[i] = cz_rng_normal(&rng) + labels[i];
    }
    const size_t count = cz_roc_curve(scores, labels, 400, p, 50);
    assert_true(count > 40 && count <= 50);
    assert_true(p[count - 1].x == 1 && p[count - 1].y == 1);
    for (size_t i = 1; i < count; i++) assert_true(p[i].x >= p[i - 1].x && p[i].y >= p[i - 1].y);
    assert_int_equal(cz_roc_curve(scores, labels, 400, p, 2), 2);
    assert_int_equal(cz_roc_curve(scores, labels, 400, p, 1), 0);
    memset(labels, 0, sizeof labels);
    assert_int_equal(cz_roc_curve(scores, labels, 400, p, 50), 0);
}

static void keys(void **state)
{
    (void)state;
    const float values[] = {-INFINITY, -3.5f, -1e-40f, 0.0f, 1e-45f, 1.0f, 1.5f, 3e38f, INFINITY};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        assert_true(cz_key_float(cz_float_key(values[i])) == values[i]);
        if (i > 0) assert_true(cz_float_key(values[i]) > cz_float_key(values[i - 1]));
    }
    assert_int_equal(cz_float_key(NAN), 0);
    assert_int_equal(cz_float_key(-0.0f), cz_float_key(0.0f));
}

/* Every allocation fails once: no crash, no leak, CZ_E_MEMORY, and what was there before is still there. */
static void out_of_memory(void **state)
{
    (void)state;
    static set s;
    make_set(&s, 0, 0);
    for (unsigned long n = 1;; n++) {
        cz_evaluation *e = NULL;
        cz_figures f;
        cz_evaluation_options options = {sizeof options, 10, 0, 1, 0, 1};
        cz_alloc_fail_after(n);
        cz_status status = cz_evaluation_open(&options, &e);
        for (size_t k = 0; k < IMAGES && status == CZ_OK; k++)
            status = cz_evaluation_add(e, "a", s.label[k], (double)k, s.map[k], s.mask[k], SIDE, SIDE);
        if (status == CZ_OK) status = cz_evaluation_figures(e, 0, &f);
        if (status == CZ_OK) status = cz_evaluation_figures(e, CZ_EVALUATION_MEAN, &f);
        if (status == CZ_OK) status = cz_evaluation_figures(e, CZ_EVALUATION_POOLED, &f);
        cz_alloc_fail_after(0);
        cz_evaluation_close(e);
        if (status == CZ_OK) {
            assert_true(n > 20);
            break;
        }
        assert_int_equal(status, CZ_E_MEMORY);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(image_random),  cmocka_unit_test(image_corners),
                                       cmocka_unit_test(pixels_random), cmocka_unit_test(simplenet),
                                       cmocka_unit_test(by_hand),       cmocka_unit_test(arguments),
                                       cmocka_unit_test(not_inspected), cmocka_unit_test(curves),
                                       cmocka_unit_test(keys),          cmocka_unit_test(out_of_memory)};
    return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
