/* SPDX-License-Identifier: Apache-2.0 */
#include "metrics/ranks.h"

#include "util/alloc.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct item {
    double score;
    size_t index;
} item;

static int descending(const void *a, const void *b)
{
    const double x = ((const item *)a)->score, y = ((const item *)b)->score;
    return x > y ? -1 : x < y;
}

cz_status cz_ranks_open(cz_ranks *r, const double *scores, const uint8_t *labels, size_t count)
{
    memset(r, 0, sizeof *r);
    if (count > 0 && (scores == NULL || labels == NULL)) return cz_fail(CZ_E_ARG, "scores or labels are NULL");
    if (count > UINT32_MAX) return cz_fail(CZ_E_LIMIT, "%zu scores are more than 2^32", count);
    for (size_t i = 0; i < count; i++)
        if (isnan(scores[i])) return cz_fail(CZ_E_ARG, "score %zu is not a number", i);
    item *items = cz_alloc_array(count, sizeof *items);
    r->group = cz_alloc_array(count, sizeof *r->group);
    r->label = cz_alloc_array(count, sizeof *r->label);
    r->score = cz_alloc_array(count, sizeof *r->score);
    r->each = cz_calloc(count, 2 * sizeof *r->each);
    if (items == NULL || r->group == NULL || r->label == NULL || r->score == NULL || r->each == NULL) {
        cz_free(items);
        cz_ranks_close(r);
        return CZ_E_MEMORY;
    }
    r->count = count;
    for (size_t i = 0; i < count; i++) {
        items[i] = (item){scores[i], i};
        r->label[i] = labels[i] != 0;
        r->anomalous += r->label[i];
    }
    r->normal = count - r->anomalous;
    qsort(items, count, sizeof *items, descending);
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || items[i].score != items[i - 1].score) r->score[r->groups++] = items[i].score;
        r->group[items[i].index] = (uint32_t)(r->groups - 1);
        r->each[2 * (r->groups - 1) + r->label[items[i].index]] += 1.0;
    }
    cz_free(items);
    return CZ_OK;
}

void cz_ranks_close(cz_ranks *r)
{
    cz_free(r->group);
    cz_free(r->label);
    cz_free(r->score);
    cz_free(r->each);
    memset(r, 0, sizeof *r);
}

static void sweep_work(const cz_ranks *r, const double *work, cz_sweep_values *out)
{
    double normal = 0.0, anomalous = 0.0;
    for (size_t i = 0; i < r->groups; i++) {
        normal += work[2 * i];
        anomalous += work[2 * i + 1];
    }
    cz_sweep sweep;
    cz_sweep_begin(&sweep, normal, anomalous, 0.0);
    for (size_t i = 0; i < r->groups; i++) {
        if (work[2 * i] + work[2 * i + 1] <= 0.0) continue;
        const cz_group group = {r->score[i], r->score[i], work[2 * i], work[2 * i + 1], 0.0, false};
        cz_sweep_add(&sweep, &group);
    }
    cz_sweep_end(&sweep, out);
}

void cz_ranks_weighted(const cz_ranks *r, const uint32_t *times, double *work, cz_sweep_values *out)
{
    memset(work, 0, 2 * r->groups * sizeof *work);
    for (size_t i = 0; i < r->count; i++) work[2 * r->group[i] + r->label[i]] += (double)times[i];
    sweep_work(r, work, out);
}

void cz_ranks_values(const cz_ranks *r, cz_sweep_values *out)
{
    sweep_work(r, r->each, out);
}
