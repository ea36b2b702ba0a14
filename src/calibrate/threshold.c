/* SPDX-License-Identifier: Apache-2.0 */
#include "calibrate/threshold.h"

#include <math.h>
#include <stdbool.h>

/* ---- order statistics --------------------------------------------------------------------------------------------- */

/* Terms by their ratio, p(j+1) / p(j) = (n - j) / (j + 1) * p / (1 - p), as logarithms: the first ones may underflow. */
double cz_binomial_cdf(size_t k, size_t n, double p)
{
    if (k >= n || p <= 0.0) return 1.0;
    if (p >= 1.0) return 0.0;
    const double odds = log(p) - log1p(-p);
    double term = (double)n * log1p(-p), sum = exp(term);
    for (size_t j = 0; j < k; j++) {
        term += log((double)(n - j) / (double)(j + 1)) + odds;
        const double added = exp(term);
        sum += added;
        /* Behind the largest term they only fall: the rest is below this one times its ratio's geometric sum. */
        if ((double)j > (double)n * p + 1.0 && added < sum * 1e-18) break;
    }
    return sum < 1.0 ? sum : 1.0;
}

size_t cz_threshold_needed(double target, double confidence)
{
    const double miss = log1p(-confidence), each = log1p(-target);
    const double n = ceil(miss / each);
    if (!(n < 4503599627370496.0)) return SIZE_MAX;
    size_t needed = n < 1.0 ? 1 : (size_t)n;
    /* The division may have been rounded over a whole number. */
    while (needed > 1 && (double)(needed - 1) * each <= miss) needed--;
    while ((double)needed * each > miss) needed++;
    return needed;
}

double cz_threshold_promise(size_t above, size_t n, double confidence)
{
    if (above == 0) return -expm1(log1p(-confidence) / (double)n);
    double low = 0.0, high = 1.0; /* the distribution function falls from 1 to 0 between them */
    for (int i = 0; i < 200 && high - low > 1e-15 * high; i++) {
        const double middle = 0.5 * (low + high);
        if (cz_binomial_cdf(above, n, middle) > 1.0 - confidence) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return high;
}

/* With the k-th smallest of n scores as threshold T, the false-positive rate 1 - F(T) is Beta(n - k + 1, k) for a continuous F, and never
 * above that in distribution for any other. P(1 - F(T) <= a) = 1 - P(Binomial(n, a) <= n - k). */
cz_status cz_threshold_fpr(const float *scores, size_t n, double target, double confidence, cz_order_threshold *out)
{
    if (n == 0) return cz_fail(CZ_E_ARG, "there are no scores to find a threshold from");
    if (!(target > 0.0 && target < 1.0))
        return cz_fail(CZ_E_ARG, "a target false-positive rate of %g is not between 0 and 1", target);
    if (!(confidence > 0.0 && confidence < 1.0))
        return cz_fail(CZ_E_ARG, "a confidence of %g is not between 0 and 1", confidence);
    /* The largest number of scores above the threshold that the target still bears: cz_binomial_cdf rises with it. */
    size_t low = 0, high = n; /* low bears it (or is 0), high does not */
    while (high - low > 1) {
        const size_t middle = low + (high - low) / 2;
        if (cz_binomial_cdf(middle, n, target) <= 1.0 - confidence) {
            low = middle;
        } else {
            high = middle;
        }
    }
    out->order = n - low;
    out->value = (double)scores[out->order - 1];
    out->promise = cz_threshold_promise(low, n, confidence);
    out->needed = cz_threshold_needed(target, confidence);
    /* The bisection above and the one inside the promise round apart. */
    if (n >= out->needed && out->promise > target) out->promise = target;
    return CZ_OK;
}

/* Of n images at most m show a defect, so at least n - m are normal. With the k-th smallest of all as threshold, at least k - m of the
 * normal ones are at or below it wherever the defective ones are: at most n - k normal ones of n - m are above. */
cz_status cz_threshold_unlabelled(const float *scores, size_t n, double contamination, double target, double confidence,
                                  cz_unlabelled_threshold *out)
{
    cz_order_threshold clean;
    if (!(contamination >= 0.0 && contamination <= 0.5))
        return cz_fail(CZ_E_ARG, "a contamination of %g is not between 0 and 0.5", contamination);
    const double share = floor(contamination * (double)n + 1e-9); /* 0.29 * 100 is 29 */
    out->discounted = (size_t)share;
    const cz_status status = cz_threshold_fpr(scores, n - out->discounted, target, confidence, &clean);
    if (status != CZ_OK) return status;
    out->value = clean.value;
    out->order = clean.order;
    out->separated = clean.promise;
    out->promise =
        clean.order > out->discounted ? cz_threshold_promise(n - clean.order, n - out->discounted, confidence) : 1.0;
    if (out->discounted == 0) out->promise = clean.promise;
    out->needed = clean.needed;
    if (clean.needed < SIZE_MAX / 4) {
        double all = floor((double)clean.needed / (1.0 - contamination) - 1.0);
        while (all - floor(contamination * all + 1e-9) < (double)clean.needed) all += 1.0;
        out->needed = (size_t)all;
    }
    return CZ_OK;
}

/* ---- quartiles ---------------------------------------------------------------------------------------------------- */

double cz_quantile(const float *scores, size_t n, double q)
{
    const double at = q * (double)(n - 1), below = floor(at);
    const size_t i = (size_t)below;
    if (i + 1 >= n) return (double)scores[n - 1];
    const double low = (double)scores[i];
    return low + (at - below) * ((double)scores[i + 1] - low);
}

double cz_threshold_iqr(const float *scores, size_t n)
{
    const double q1 = cz_quantile(scores, n, 0.25), q3 = cz_quantile(scores, n, 0.75);
    return q3 + 1.5 * (q3 - q1);
}

/* ---- labelled scores ---------------------------------------------------------------------------------------------- */

/* All ways to cut, from "nothing is anomalous" downward: fp and tp are above the threshold. */
typedef struct cut {
    const cz_labelled_scores *scores;
    size_t fp, tp;
    double threshold;
} cut;

static float highest_left(const cut *c)
{
    const cz_labelled_scores *s = c->scores;
    const float n = c->fp < s->normals ? s->normal[s->normals - 1 - c->fp] : -INFINITY;
    const float a = c->tp < s->abnormals ? s->abnormal[s->abnormals - 1 - c->tp] : -INFINITY;
    return n > a ? n : a;
}

/* Moves the next lower score (all that share it) above the threshold; false when none is left. */
static bool next_cut(cut *c)
{
    const cz_labelled_scores *s = c->scores;
    const float value = highest_left(c);
    if (!isfinite(value)) return false;
    while (c->fp < s->normals && s->normal[s->normals - 1 - c->fp] == value) c->fp++;
    while (c->tp < s->abnormals && s->abnormal[s->abnormals - 1 - c->tp] == value) c->tp++;
    const float below = highest_left(c);
    /* Scores are floats: the middle of two of them is a double strictly between. */
    c->threshold = isfinite(below) ? 0.5 * ((double)value + (double)below) : (double)nextafterf(value, -INFINITY);
    return true;
}

static cz_status check_labelled(const cz_labelled_scores *s)
{
    if (s->normals > 0 && s->abnormals > 0) return CZ_OK;
    return cz_fail(CZ_E_ARG, "this rule needs normal and abnormal photos, there are %zu and %zu", s->normals,
                   s->abnormals);
}

cz_status cz_threshold_f1(const cz_labelled_scores *scores, double *threshold, double *f1)
{
    const cz_status status = check_labelled(scores);
    if (status != CZ_OK) return status;
    cut c = {scores, 0, 0, 0.0};
    double best = 0.0;
    c.threshold = (double)highest_left(&c);
    *threshold = c.threshold;
    while (next_cut(&c)) {
        /* 2 TP + FP + FN = TP + FP + all abnormal ones */
        const double value = 2.0 * (double)c.tp / ((double)(c.tp + c.fp) + (double)scores->abnormals);
        if (value > best) {
            best = value;
            *threshold = c.threshold;
        }
    }
    if (f1 != NULL) *f1 = best;
    return CZ_OK;
}

cz_status cz_threshold_cost(const cz_labelled_scores *scores, double miss, double alarm, double *threshold,
                            double *cost)
{
    const cz_status status = check_labelled(scores);
    if (status != CZ_OK) return status;
    if (!(miss > 0.0 && alarm > 0.0) || !isfinite(miss) || !isfinite(alarm))
        return cz_fail(CZ_E_ARG, "costs of %g for a miss and %g for an alarm are not positive numbers", miss, alarm);
    cut c = {scores, 0, 0, 0.0};
    c.threshold = (double)highest_left(&c);
    double best = miss * (double)scores->abnormals;
    *threshold = c.threshold;
    while (next_cut(&c)) {
        const double value = miss * (double)(scores->abnormals - c.tp) + alarm * (double)c.fp;
        if (value < best) {
            best = value;
            *threshold = c.threshold;
        }
    }
    if (cost != NULL) *cost = best;
    return CZ_OK;
}
