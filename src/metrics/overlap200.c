/* SPDX-License-Identifier: Apache-2.0 */
/* SimpleNet's per-region overlap: thresholds low + k (high - low) / 200, k = 0 … 199, of all maps; the points whose
 * false-positive rate is below the limit; that rate divided by the largest of them; the area from the smallest on. */
#include "metrics/pixels.h"

#include <math.h>

enum { THRESHOLDS = 200 };

typedef struct point {
    double x, y;                   /* false-positive rate, overlap */
    double x_low, x_high, y_error; /* where they can be */
} point;

typedef struct tails {
    point points[THRESHOLDS]; /* by threshold, the highest first */
    size_t done;
    double low, step;       /* of the thresholds */
    double normal, overlap; /* so far */
    double normals, regions;
} tails;

static double threshold(const tails *t, size_t done)
{
    return t->low + (double)(THRESHOLDS - 1 - done) * t->step;
}

static void put(tails *t, double normal, double overlap)
{
    point *p = &t->points[t->done++];
    p->x_low = t->normal / t->normals;
    p->x_high = (t->normal + normal) / t->normals;
    p->x = 0.5 * (p->x_low + p->x_high);
    p->y = (t->overlap + 0.5 * overlap) / t->regions;
    p->y_error = 0.5 * overlap / t->regions;
}

/* Found is what lies above the threshold. A threshold within a mixed group finds some of it. */
static void visit(void *ctx, const cz_group *g)
{
    tails *t = ctx;
    while (t->done < THRESHOLDS && threshold(t, t->done) >= g->high) put(t, 0.0, 0.0);
    while (t->done < THRESHOLDS && threshold(t, t->done) >= g->low) put(t, g->normal, g->overlap);
    t->normal += g->normal;
    t->overlap += g->overlap;
}

/* Of the first `count` points, and how far off it can be: moving the heights changes the area by at most the mean of
 * their errors over each piece, moving the rates by |d| by at most 2 |d| times the largest height, and so the quotient. */
static double area(const tails *t, size_t count, double *bound)
{
    const point *last = &t->points[count - 1];
    double sum = 0.0, error = 0.0, shift = 0.0, height = 0.0;
    for (size_t i = 0; i < count; i++) {
        const point *p = &t->points[i];
        shift = fmax(shift, 0.5 * (p->x_high - p->x_low));
        height = fmax(height, p->y + p->y_error);
        if (i == 0) continue;
        sum += 0.5 * (p->y + p[-1].y) * (p->x - p[-1].x);
        error += 0.5 * (p->y_error + p[-1].y_error) * (p->x - p[-1].x);
    }
    error += 2.0 * shift * height;
    const double value = sum / last->x;
    if (last->x_low <= 0.0) {
        *bound = last->x_high > 0.0 ? 1.0 : 0.0;
    } else {
        *bound = fmax((sum + error) / last->x_low - value, value - fmax(0.0, sum - error) / last->x_high);
    }
    return value;
}

void cz_pixels_overlap200(const cz_pixels *p, double limit, double *value, double *bound)
{
    *value = *bound = (double)NAN;
    const double low = (double)p->low, high = (double)p->high;
    if (p->normal == 0 || p->regions == 0 || !isfinite(low) || !isfinite(high) || low >= high) return;
    tails t = {
        .low = low, .step = (high - low) / THRESHOLDS, .normals = (double)p->normal, .regions = (double)p->regions};
    cz_pixels_visit(p, visit, &t);
    while (t.done < THRESHOLDS) put(&t, 0.0, 0.0); /* only by rounding: a threshold below the lowest score */
    size_t sure = 0, may = 0, count = 0;
    for (size_t i = 0; i < THRESHOLDS; i++) {
        sure += t.points[i].x_high < limit;
        may += t.points[i].x_low < limit;
        count += t.points[i].x < limit;
    }
    if (count < 2 || t.points[count - 1].x <= 0.0) {
        if (may >= 2 && may != count) *value = 0.0, *bound = 1.0;
        return;
    }
    *value = area(&t, count, bound);
    for (size_t k = sure; k <= may; k++) { /* which points are below the limit is not sure */
        double off = 1.0;
        if (k == count) continue;
        const double other = k >= 2 && t.points[k - 1].x > 0.0 ? area(&t, k, &off) : *value;
        *bound = fmax(*bound, fabs(other - *value) + off);
    }
}
