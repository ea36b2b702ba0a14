/* SPDX-License-Identifier: Apache-2.0 */
#include "metrics/auroc.h"
#include "cozad/cozad_eval.h"

#include "metrics/bins.h"
#include "metrics/ranks.h"
#include "util/alloc.h"

cz_status cz_auroc(const float *scores, const uint8_t *labels, size_t count, double *out)
{
    cz_error_clear();
    double *wide = cz_alloc_array(count, sizeof *wide);
    cz_ranks ranks = {0};
    cz_status status = wide == NULL ? CZ_E_MEMORY : CZ_OK;
    for (size_t i = 0; status == CZ_OK && i < count; i++) wide[i] = (double)scores[i];
    if (status == CZ_OK) status = cz_ranks_open(&ranks, wide, labels, count);
    cz_free(wide);
    if (status != CZ_OK) return status;
    cz_sweep_values values;
    cz_ranks_values(&ranks, &values);
    cz_ranks_close(&ranks);
    *out = values.auroc;
    return CZ_OK;
}

struct cz_auroc_stream {
    cz_bins bins;
    uint64_t normal, anomalous;
};

cz_status cz_auroc_stream_open(cz_auroc_stream **out)
{
    cz_error_clear();
    cz_auroc_stream *s = cz_calloc(1, sizeof *s);
    if (s == NULL) return CZ_E_MEMORY;
    *out = s;
    return CZ_OK;
}

void cz_auroc_stream_close(cz_auroc_stream *s)
{
    if (s == NULL) return;
    cz_bins_free(&s->bins);
    cz_free(s);
}

/* NaN has the lowest key: below everything. */
cz_status cz_auroc_stream_add(cz_auroc_stream *s, const float *scores, const uint8_t *labels, size_t count)
{
    cz_error_clear();
    if (s == NULL || (scores == NULL && count > 0)) return cz_fail(CZ_E_ARG, "cz_auroc_stream_add: a NULL argument");
    for (size_t i = 0; i < count; i++) {
        const uint32_t key = cz_float_key(scores[i]);
        cz_bin *bin = cz_bins_at(&s->bins, key);
        if (bin == NULL) return CZ_E_MEMORY;
        cz_bin_note(bin, key);
        if (labels != NULL && labels[i] != 0) {
            bin->anomalous++;
            s->anomalous++;
        } else {
            bin->normal++;
            s->normal++;
        }
    }
    return CZ_OK;
}

/* Pairs within one bin count half; exactly, they count between 0 and 1, so the error is at most half of their share. */
double cz_auroc_stream_value(const cz_auroc_stream *s, double *error_bound)
{
    cz_sweep sweep;
    cz_sweep_values values;
    cz_sweep_begin(&sweep, (double)s->normal, (double)s->anomalous, 0.0);
    cz_bins_sweep(&s->bins, &sweep);
    cz_sweep_end(&sweep, &values);
    if (error_bound != NULL) *error_bound = values.auroc_bound;
    return values.auroc;
}
