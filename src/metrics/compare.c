/* SPDX-License-Identifier: Apache-2.0 */
/* Two detectors on the same images (docs/metrics.md section 7). */
#include "cozad/cozad_eval.h"
#include "metrics/bootstrap.h"
#include "metrics/ranks.h"
#include "util/alloc.h"

#include <math.h>
#include <string.h>

/* share [count]: of an image, the share of images of the other label that it is ranked right against, ties half. Midranks by
 * one sort: Sun and Xu (2014). */
static void placements(const cz_ranks *r, double *share, double *work)
{
    double normal = 0.0, anomalous = 0.0;
    for (size_t g = 0; g < r->groups; g++) { /* from the highest score */
        const double n = r->each[2 * g], p = r->each[2 * g + 1];
        work[2 * g] = (anomalous + 0.5 * p) / (double)r->anomalous;
        work[2 * g + 1] = ((double)r->normal - normal - 0.5 * n) / (double)r->normal;
        normal += n;
        anomalous += p;
    }
    for (size_t i = 0; i < r->count; i++) share[i] = work[2 * r->group[i] + r->label[i]];
}

/* Sample variance, over the images of one label, of share_a - share_b. */
static double variance(const double *a, const double *b, const uint8_t *labels, uint8_t label, size_t count)
{
    double mean = 0.0, sum = 0.0, n = 0.0;
    for (size_t i = 0; i < count; i++) {
        if (labels[i] != label) continue;
        mean += a[i] - b[i];
        n += 1.0;
    }
    mean /= n;
    for (size_t i = 0; i < count; i++)
        if (labels[i] == label) sum += (a[i] - b[i] - mean) * (a[i] - b[i] - mean);
    return n > 1.0 ? sum / (n - 1.0) : (double)NAN;
}

static void delong(const cz_ranks *a, const cz_ranks *b, const double *share_a, const double *share_b,
                   cz_comparison *out)
{
    const double none = (double)NAN;
    *out = (cz_comparison){none, none, none, none};
    if (a->normal == 0 || a->anomalous == 0) return;
    cz_sweep_values first, second;
    cz_ranks_values(a, &first);
    cz_ranks_values(b, &second);
    out->difference = first.auroc - second.auroc;
    const double square = variance(share_a, share_b, a->label, 1, a->count) / (double)a->anomalous +
                          variance(share_a, share_b, a->label, 0, a->count) / (double)a->normal;
    if (isnan(square)) return; /* one image of a label: no variance */
    const double deviation = sqrt(square);
    out->low = fmax(-1.0, out->difference - 1.959963984540054 * deviation);
    out->high = fmin(1.0, out->difference + 1.959963984540054 * deviation);
    if (deviation > 0.0) {
        out->p_value = erfc(fabs(out->difference) / deviation / sqrt(2.0));
    } else {
        out->p_value = out->difference != 0.0 ? 0.0 : 1.0;
    }
}

cz_status cz_compare_delong(const double *first, const double *second, const uint8_t *labels, size_t count,
                            cz_comparison *out)
{
    cz_error_clear();
    if (out == NULL) return cz_fail(CZ_E_ARG, "cz_compare_delong: out is NULL");
    cz_ranks a = {0}, b = {0};
    double *work = NULL;
    cz_status status = CZ_OK;
    CZ_TRY(cz_ranks_open(&a, first, labels, count));
    CZ_TRY(cz_ranks_open(&b, second, labels, count));
    work = cz_alloc_array(count, 4 * sizeof *work);
    if (work == NULL) {
        status = CZ_E_MEMORY;
        goto out;
    }
    if (a.normal > 0 && a.anomalous > 0) {
        placements(&a, work, work + 2 * count);
        placements(&b, work + count, work + 2 * count);
    }
    delong(&a, &b, work, work + count, out);
out:
    cz_free(work);
    cz_ranks_close(&a);
    cz_ranks_close(&b);
    return status;
}

static double shares_below(const double *values, size_t count, double sign)
{
    size_t below = 0;
    for (size_t i = 0; i < count; i++) below += sign * values[i] <= 0.0;
    return ((double)below + 1.0) / ((double)count + 1.0);
}

/* differences [resamples] of AUROC */
static cz_status resample_differences(const cz_ranks *a, const cz_ranks *b, size_t resamples, uint64_t seed,
                                      double *differences)
{
    const size_t count = a->count;
    uint32_t *members = cz_alloc_array(count, 2 * sizeof *members);
    double *work = cz_alloc_array(count, 2 * sizeof *work);
    cz_status status = members == NULL || work == NULL ? CZ_E_MEMORY : CZ_OK;
    if (status == CZ_OK) cz_resample_members(a->label, count, members);
    for (size_t r = 0; status == CZ_OK && r < resamples; r++) {
        cz_sweep_values x, y;
        cz_resample(members, a->normal, a->anomalous, seed, r, 0, members + count);
        cz_ranks_weighted(a, members + count, work, &x);
        cz_ranks_weighted(b, members + count, work, &y);
        differences[r] = x.auroc - y.auroc;
    }
    cz_free(members);
    cz_free(work);
    return status;
}

cz_status cz_compare_bootstrap(const double *first, const double *second, const uint8_t *labels, size_t count,
                               size_t resamples, uint64_t seed, cz_comparison *out)
{
    cz_error_clear();
    if (out == NULL || resamples == 0) return cz_fail(CZ_E_ARG, "cz_compare_bootstrap: no resamples, or out is NULL");
    const double none = (double)NAN;
    cz_ranks a = {0}, b = {0};
    double *differences = NULL;
    cz_comparison result = {none, none, none, none};
    cz_sweep_values x, y;
    cz_status status = CZ_OK;
    CZ_TRY(cz_ranks_open(&a, first, labels, count));
    CZ_TRY(cz_ranks_open(&b, second, labels, count));
    if (a.normal > 0 && a.anomalous > 0) {
        cz_ranks_values(&a, &x);
        cz_ranks_values(&b, &y);
        result.difference = x.auroc - y.auroc;
        differences = cz_alloc_array(resamples, sizeof *differences);
        if (differences == NULL) {
            status = CZ_E_MEMORY;
            goto out;
        }
        CZ_TRY(resample_differences(&a, &b, resamples, seed, differences));
        const double up = shares_below(differences, resamples, 1.0), down = shares_below(differences, resamples, -1.0);
        result.p_value = fmin(1.0, 2.0 * fmin(up, down));
        cz_percentile_interval(differences, resamples, &result.low, &result.high);
    }
    *out = result;
out:
    cz_free(differences);
    cz_ranks_close(&a);
    cz_ranks_close(&b);
    return status;
}
