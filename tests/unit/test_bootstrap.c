/* SPDX-License-Identifier: Apache-2.0 */
#include "cozad/cozad_eval.h"
#include "metrics/bootstrap.h"
#include "util/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SIDE = 24, PIXELS = SIDE * SIDE, NORMAL = 14, ANOMALOUS = 18, IMAGES = NORMAL + ANOMALOUS };

typedef struct set {
    float map[IMAGES][PIXELS];
    uint8_t mask[IMAGES][PIXELS];
    double score[IMAGES];
    uint8_t label[IMAGES];
} set;

/* Images of different level and defects of different contrast: resampling has something to say. */
static void make_set(set *s, uint64_t seed)
{
    cz_rng rng;
    cz_rng_init(&rng, seed, CZ_RNG_TEST, 0, 0);
    for (size_t k = 0; k < IMAGES; k++) {
        const double level = 3.0 + 0.4 * cz_rng_normal(&rng), contrast = 1.0 + 0.7 * cz_rng_normal(&rng);
        const size_t x0 = (size_t)cz_rng_below(&rng, SIDE - 6), y0 = (size_t)cz_rng_below(&rng, SIDE - 6);
        s->label[k] = k >= NORMAL;
        s->score[k] = level + (k >= NORMAL ? contrast : 0.0);
        for (size_t i = 0; i < PIXELS; i++) {
            const size_t x = i % SIDE, y = i / SIDE;
            s->mask[k][i] = k >= NORMAL && ((x - x0 < 5 && y - y0 < 4) || (k % 2 && x == 0 && y < 3));
            s->map[k][i] = (float)(level + 0.6 * cz_rng_normal(&rng) + (s->mask[k][i] ? contrast : 0.0));
        }
    }
}

static void evaluate(const set *s, const cz_evaluation_options *options, const uint32_t *times, cz_figures *f)
{
    cz_evaluation *e;
    assert_int_equal(cz_evaluation_open(options, &e), CZ_OK);
    for (size_t k = 0; k < IMAGES; k++)
        for (uint32_t t = 0; t < (times ? times[k] : 1); t++)
            assert_int_equal(cz_evaluation_add(e, "a", s->label[k], s->score[k], s->map[k], s->mask[k], SIDE, SIDE),
                             CZ_OK);
    assert_int_equal(cz_evaluation_figures(e, 0, f), CZ_OK);
    cz_evaluation_close(e);
}

static bool same(const cz_figures *a, const cz_figures *b)
{
    return memcmp(a->metric, b->metric, sizeof a->metric) == 0;
}

static void repeatable(void **state)
{
    (void)state;
    static set s;
    make_set(&s, 1);
    cz_figures one, two, other;
    cz_evaluation_options options = CZ_EVALUATION_OPTIONS_INIT;
    options.resamples = 200;
    options.threads = 1;
    evaluate(&s, &options, NULL, &one);
    options.threads = 3;
    evaluate(&s, &options, NULL, &two);
    assert_true(same(&one, &two));
    options.seed = 1;
    evaluate(&s, &options, NULL, &other);
    for (int m = 0; m < CZ_METRICS; m++) {
        const cz_figure *f = &one.metric[m];
        assert_true(f->value == other.metric[m].value);
        assert_true(f->low != other.metric[m].low);
        assert_true(f->low < f->value && f->value < f->high && f->low >= 0 && f->high <= 1);
        assert_true(fabs(f->low - other.metric[m].low) < 0.3 * (f->high - f->low));
    }
}

/* The same resamples, each evaluated from its pixels: what the compact histograms cost. */
static void coarse_enough(void **state)
{
    (void)state;
    static set s;
    enum { RESAMPLES = 150 };
    static double replicates[RESAMPLES * CZ_METRICS];
    for (uint64_t seed = 2; seed < 5; seed++) {
        make_set(&s, seed);
        cz_figures f, one;
        cz_evaluation_options options = CZ_EVALUATION_OPTIONS_INIT;
        options.resamples = RESAMPLES;
        options.threads = 1;
        evaluate(&s, &options, NULL, &f);
        uint32_t members[IMAGES], times[IMAGES];
        options.resamples = 0;
        cz_resample_members(s.label, IMAGES, members);
        for (uint64_t r = 0; r < RESAMPLES; r++) {
            cz_resample(members, NORMAL, ANOMALOUS, 0, r, (uint32_t)(cz_name_hash("a", 0) >> 41), times);
            uint32_t normal = 0, all = 0;
            for (size_t k = 0; k < IMAGES; k++) {
                normal += k < NORMAL ? times[k] : 0;
                all += times[k];
            }
            assert_true(normal == NORMAL && all == IMAGES); /* stratified */
            evaluate(&s, &options, times, &one);
            for (int m = 0; m < CZ_METRICS; m++) replicates[r * CZ_METRICS + (size_t)m] = one.metric[m].value;
        }
        double half[CZ_METRICS], low, high;
        cz_bootstrap_half_widths(replicates, RESAMPLES, NORMAL, ANOMALOUS, half);
        for (int m = 0; m < CZ_METRICS; m++) {
            const cz_figure *got = &f.metric[m];
            cz_logit_interval(got->value, half[m], &low, &high);
            const double off = fmax(fabs(got->low - low), fabs(got->high - high)) / (high - low);
            print_message("%-12s %.4f [%.4f %.4f] by pixels [%.4f %.4f]: off by %.2f %% of its width\n",
                          cz_metric_name((cz_metric)m), got->value, got->low, got->high, low, high, 100 * off);
            assert_true(off < (m <= CZ_IMAGE_F1 ? 1e-9 : 0.02));
        }
    }
}

/* Binormal scores: the true AUROC is known. 2000 simulations: the standard error is 0.5 %. */
static void coverage(void **state)
{
    (void)state;
    enum { SETS = 2000, N0 = 30, N1 = 40 };
    const double shift = 1.5, truth = 0.5 * erfc(-shift / 2);
    int covered = 0;
    for (uint64_t i = 0; i < SETS; i++) {
        double scores[N0 + N1];
        uint8_t labels[N0 + N1];
        cz_rng rng;
        cz_rng_init(&rng, 7, CZ_RNG_TEST, i, 0);
        for (size_t k = 0; k < N0 + N1; k++) {
            labels[k] = k >= N0;
            scores[k] = cz_rng_normal(&rng) + (k >= N0 ? shift : 0);
        }
        cz_evaluation_options options = {sizeof options, 150, i, 0, 0, 1};
        cz_figures f;
        assert_int_equal(cz_score_figures(scores, labels, N0 + N1, &options, &f), CZ_OK);
        covered += f.metric[CZ_IMAGE_AUROC].low <= truth && truth <= f.metric[CZ_IMAGE_AUROC].high;
    }
    print_message("coverage of the 95 %% interval of AUROC, %d sets of %d and %d images, 150 resamples: %.2f %%\n",
                  SETS, N0, N1, 100.0 * covered / SETS);
    assert_in_range(covered, 93 * SETS / 100, 97 * SETS / 100);
}

static void corners(void **state)
{
    (void)state;
    double scores[20];
    uint8_t labels[20];
    cz_figures f;
    cz_evaluation_options options = {sizeof options, 100, 0, 0, 0, 1};
    for (size_t i = 0; i < 20; i++) {
        scores[i] = (double)i;
        labels[i] = i >= 10;
    }
    assert_int_equal(cz_score_figures(scores, labels, 20, &options, &f), CZ_OK); /* perfect */
    assert_true(f.metric[CZ_IMAGE_AUROC].value == 1 && f.metric[CZ_IMAGE_AUROC].high == 1);
    assert_true(fabs(f.metric[CZ_IMAGE_AUROC].low - pow(0.05, 0.1)) < 1e-12);
    assert_true(f.metric[CZ_IMAGE_AP].value == 1 && isnan(f.metric[CZ_IMAGE_AP].low));
    for (size_t i = 0; i < 20; i++) scores[i] = -scores[i];
    assert_int_equal(cz_score_figures(scores, labels, 20, &options, &f), CZ_OK);
    assert_true(f.metric[CZ_IMAGE_AUROC].value == 0 && f.metric[CZ_IMAGE_AUROC].low == 0);
    assert_true(fabs(f.metric[CZ_IMAGE_AUROC].high - (1 - pow(0.05, 0.1))) < 1e-12);
    memset(scores, 0, sizeof scores);
    assert_int_equal(cz_score_figures(scores, labels, 20, &options, &f), CZ_OK); /* all equal */
    assert_true(f.metric[CZ_IMAGE_AUROC].low == 0.5 && f.metric[CZ_IMAGE_AUROC].high == 0.5);
    scores[3] = 1;
    assert_int_equal(cz_score_figures(scores, labels, 11, &options, &f), CZ_OK); /* one anomalous image: no interval */
    assert_true(!isnan(f.metric[CZ_IMAGE_AUROC].value) && isnan(f.metric[CZ_IMAGE_AUROC].low));
    memset(labels, 0, sizeof labels);
    assert_int_equal(cz_score_figures(scores, labels, 20, &options, &f), CZ_OK);
    assert_true(isnan(f.metric[CZ_IMAGE_AUROC].value) && isnan(f.metric[CZ_IMAGE_AUROC].low));
}

/* Of independent categories; one that is undefined is left out. */
static void mean_of_categories(void **state)
{
    (void)state;
    cz_evaluation *e;
    cz_figures f, each[3];
    cz_rng rng;
    cz_rng_init(&rng, 8, CZ_RNG_TEST, 0, 0);
    assert_int_equal(cz_evaluation_open(NULL, &e), CZ_OK);
    static const char *const names[] = {"x", "y", "only normal"};
    for (size_t c = 0; c < 3; c++)
        for (size_t i = 0; i < 60; i++) {
            const int label = c < 2 && i % 3 == 0;
            assert_int_equal(cz_evaluation_add(e, names[c], label, cz_rng_normal(&rng) + 1.2 * label, NULL, NULL, 0, 0),
                             CZ_OK);
        }
    for (size_t c = 0; c < 3; c++) assert_int_equal(cz_evaluation_figures(e, c, &each[c]), CZ_OK);
    assert_int_equal(cz_evaluation_figures(e, CZ_EVALUATION_MEAN, &f), CZ_OK);
    for (int m = CZ_IMAGE_AUROC; m <= CZ_IMAGE_F1; m++) {
        const cz_figure *x = &each[0].metric[m], *y = &each[1].metric[m], *mean = &f.metric[m];
        assert_true(isnan(each[2].metric[m].value));
        assert_true(fabs(mean->value - (x->value + y->value) / 2) < 1e-15);
        const double width = hypot(x->high - x->low, y->high - y->low) / 2;
        assert_true(fabs((mean->high - mean->low) / width - 1) < 0.05);
    }
    assert_int_equal(f.normal, 140);
    assert_true(isnan(f.metric[CZ_PIXEL_AP].value) && isnan(f.metric[CZ_PIXEL_AP].low));
    cz_evaluation_close(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(repeatable), cmocka_unit_test(coarse_enough),
                                       cmocka_unit_test(coverage), cmocka_unit_test(corners),
                                       cmocka_unit_test(mean_of_categories)};
    return cmocka_run_group_tests_name("bootstrap", tests, NULL, NULL);
}
