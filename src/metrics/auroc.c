/* SPDX-License-Identifier: Apache-2.0 */
#include "metrics/auroc.h"

#include "util/alloc.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BIN_BITS 20
#define BINS     ((size_t)1 << BIN_BITS)

uint32_t cz_float_key(float value)
{
    if (isnan(value)) return 0;
    if (value == 0.0f) value = 0.0f;
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    const uint32_t key = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
    return key;
}

typedef struct sample {
    uint32_t key;
    uint32_t positive;
} sample;

static int compare(const void *a, const void *b)
{
    const sample *x = a, *y = b;
    return x->key < y->key ? -1 : x->key > y->key;
}

/* Mann-Whitney's U over groups of equal scores: every pair (normal, anomalous) counts 1 when the anomalous one scores
 * higher, one half when they tie. */
cz_status cz_auroc(const float *scores, const uint8_t *labels, size_t count, double *out)
{
    cz_error_clear();
    sample *samples = cz_alloc_array(count, sizeof *samples);
    if (samples == NULL) return CZ_E_MEMORY;
    for (size_t i = 0; i < count; i++) {
        if (isnan(scores[i])) {
            cz_free(samples);
            return cz_fail(CZ_E_ARG, "score %zu is not a number", i);
        }
        samples[i] = (sample){cz_float_key(scores[i]), labels[i] != 0};
    }
    qsort(samples, count, sizeof *samples, compare);
    double below = 0.0, wins = 0.0, positives = 0.0; /* normal ones below the group; U; anomalous ones so far */
    for (size_t i = 0; i < count;) {
        double p = 0.0, n = 0.0;
        const uint32_t key = samples[i].key;
        for (; i < count && samples[i].key == key; i++) {
            p += samples[i].positive;
            n += 1 - samples[i].positive;
        }
        wins += p * (below + 0.5 * n);
        below += n;
        positives += p;
    }
    cz_free(samples);
    *out = below > 0.0 && positives > 0.0 ? wins / (below * positives) : (double)NAN;
    return CZ_OK;
}

struct cz_auroc_stream {
    uint64_t normal[BINS], anomalous[BINS];
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
    cz_free(s);
}

cz_status cz_auroc_stream_add(cz_auroc_stream *s, const float *scores, const uint8_t *labels, size_t count)
{
    cz_error_clear();
    if (s == NULL || (scores == NULL && count > 0)) return cz_fail(CZ_E_ARG, "cz_auroc_stream_add: a NULL argument");
    for (size_t i = 0; i < count; i++) {
        const size_t bin = cz_float_key(scores[i]) >> (32 - BIN_BITS);
        if (labels != NULL && labels[i] != 0) {
            s->anomalous[bin]++;
        } else {
            s->normal[bin]++;
        }
    }
    return CZ_OK;
}

/* Pairs within one bin count half; exactly, they count between 0 and 1, so the error is at most half of their share. */
double cz_auroc_stream_value(const cz_auroc_stream *s, double *error_bound)
{
    double below = 0.0, wins = 0.0, positives = 0.0, shared = 0.0;
    for (size_t i = 0; i < BINS; i++) {
        const double n = (double)s->normal[i], p = (double)s->anomalous[i];
        wins += p * (below + 0.5 * n);
        shared += p * n;
        below += n;
        positives += p;
    }
    const double pairs = below * positives;
    if (error_bound != NULL) *error_bound = pairs > 0.0 ? 0.5 * shared / pairs : (double)NAN;
    return pairs > 0.0 ? wins / pairs : (double)NAN;
}
