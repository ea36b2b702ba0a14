/* SPDX-License-Identifier: Apache-2.0 */
/* From a batch's patch scores to image scores (docs/math.md section 10). */
#include "api/mutual_batch.h"
#include "util/alloc.h"

#include <math.h>
#include <stdlib.h>

static int ascending(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

double cz_mutual_median(float *values, size_t count)
{
    qsort(values, count, sizeof *values, ascending);
    const double high = (double)values[count / 2];
    return count % 2 ? high : 0.5 * ((double)values[count / 2 - 1] + high);
}

/* The mean of the largest patch[i] - CZ_MUTUAL_USUAL usual[i] (usual NULL: 0) of one photo. */
static double mean_of_top(const float *patch, const float *usual, size_t count)
{
    double top[CZ_MUTUAL_TOP], sum = 0.0;
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        if (isnan(patch[i])) continue;
        const double v = (double)patch[i] - (usual != NULL ? (double)(CZ_MUTUAL_USUAL * usual[i]) : 0.0);
        if (n == CZ_MUTUAL_TOP && v <= top[n - 1]) continue;
        size_t at = n < CZ_MUTUAL_TOP ? n++ : n - 1;
        for (; at > 0 && top[at - 1] < v; at--) top[at] = top[at - 1];
        top[at] = v;
    }
    for (size_t i = 0; i < n; i++) sum += top[i];
    return n > 0 ? sum / (double)n : 0.0;
}

static size_t place_of_largest(const float *patch, size_t count)
{
    size_t best = 0;
    for (size_t i = 1; i < count; i++) {
        if (isnan(patch[best]) || patch[i] > patch[best]) best = i;
    }
    return best;
}

/* score = (value - median) / MAD */
static void measure_standing(const double *value, size_t count, float *room, double *score)
{
    for (size_t i = 0; i < count; i++) room[i] = (float)value[i];
    const double middle = cz_mutual_median(room, count);
    for (size_t i = 0; i < count; i++) room[i] = (float)fabs(value[i] - middle);
    const double mad = cz_mutual_median(room, count), spread = mad > CZ_MUTUAL_MAD ? mad : CZ_MUTUAL_MAD;
    for (size_t i = 0; i < count; i++) score[i] = (value[i] - middle) / spread;
}

/* usual: [P] the median over photos at each place. */
static void measure_places(const cz_mutual_result *r, float *room, float *usual)
{
    for (size_t place = 0; place < r->patches; place++) {
        size_t n = 0;
        for (size_t i = 0; i < r->photos; i++) {
            const float v = r->patch[i * r->patches + place];
            if (!isnan(v)) room[n++] = v;
        }
        usual[place] = n > 0 ? (float)cz_mutual_median(room, n) : 0.0f;
    }
}

cz_status cz_mutual_judge(cz_mutual_result *r)
{
    cz_status status = CZ_OK;
    float *room = cz_alloc_array(r->photos, sizeof *room), *usual = cz_alloc_array(r->patches, sizeof *usual);
    if (room == NULL || usual == NULL) {
        status = CZ_E_MEMORY;
        goto out;
    }
    measure_places(r, room, usual);
    for (size_t i = 0; i < r->photos; i++) {
        const float *patch = r->patch + i * r->patches;
        r->raw[i] = mean_of_top(patch, NULL, r->patches);
        r->placed[i] = mean_of_top(patch, usual, r->patches);
        r->place[i] = place_of_largest(patch, r->patches);
    }
    measure_standing(r->placed, r->photos, room, r->score);
out:
    cz_free(room);
    cz_free(usual);
    return status;
}
