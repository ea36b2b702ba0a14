/* SPDX-License-Identifier: Apache-2.0 */
#include "cozad/cozad_eval.h"
#include "metrics/ranks.h"
#include "util/alloc.h"

#include <math.h>

/* Keeps at most `most` points: the ends, and those nearest to equal steps along the curve. Returns how many. */
static size_t thin(const cz_curve_point *points, size_t count, cz_curve_point *out, size_t most)
{
    double length = 0.0, at = 0.0;
    size_t written = 0;
    for (size_t i = 1; i < count; i++)
        length += fabs(points[i].x - points[i - 1].x) + fabs(points[i].y - points[i - 1].y);
    const double step = most > 2 ? length / (double)(most - 1) : length;
    for (size_t i = 0; i < count; i++) {
        if (i > 0) at += fabs(points[i].x - points[i - 1].x) + fabs(points[i].y - points[i - 1].y);
        const bool due = count <= most || at >= step * (double)written;
        if (i + 1 == count || (due && written + 1 < most)) out[written++] = points[i];
    }
    return written;
}

static size_t curve(const double *scores, const uint8_t *labels, size_t count, cz_curve_point *out, size_t most,
                    bool precision)
{
    cz_ranks r;
    cz_error_clear();
    if (out == NULL || most < 2 || cz_ranks_open(&r, scores, labels, count) != CZ_OK) return 0;
    size_t written = 0;
    cz_curve_point *points = cz_alloc_array(r.groups + 1, sizeof *points);
    if (points != NULL && r.normal > 0 && r.anomalous > 0) {
        double normal = 0.0, anomalous = 0.0;
        points[0] = (cz_curve_point){0.0, precision ? 1.0 : 0.0, (double)INFINITY};
        for (size_t i = 0; i < r.groups; i++) {
            normal += r.each[2 * i];
            anomalous += r.each[2 * i + 1];
            const double found = anomalous / (double)r.anomalous;
            points[i + 1] = precision ? (cz_curve_point){found, anomalous / (anomalous + normal), r.score[i]}
                                      : (cz_curve_point){normal / (double)r.normal, found, r.score[i]};
        }
        written = thin(points, r.groups + 1, out, most);
    }
    cz_free(points);
    cz_ranks_close(&r);
    return written;
}

size_t cz_roc_curve(const double *scores, const uint8_t *labels, size_t count, cz_curve_point *out, size_t most)
{
    return curve(scores, labels, count, out, most, false);
}

size_t cz_pr_curve(const double *scores, const uint8_t *labels, size_t count, cz_curve_point *out, size_t most)
{
    return curve(scores, labels, count, out, most, true);
}
