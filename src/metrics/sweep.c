/* SPDX-License-Identifier: Apache-2.0 */
#include "metrics/sweep.h"

#include <math.h>
#include <string.h>

void cz_sum_add(cz_sum *s, double term)
{
    const double total = s->sum + term;
    s->rest += fabs(s->sum) >= fabs(term) ? (s->sum - total) + term : (term - total) + s->sum;
    s->sum = total;
}

double cz_sum_value(const cz_sum *s)
{
    return s->sum + s->rest;
}

void cz_sweep_begin(cz_sweep *s, double normal, double anomalous, double regions)
{
    memset(s, 0, sizeof *s);
    s->normal = normal;
    s->anomalous = anomalous;
    s->regions = regions;
    s->f1 = -1.0;
    s->limit[0] = 0.3;
    s->limit[1] = 0.05;
}

/* Area below the curve's piece from (x0, y0) to (x1, y1) as far as the limit. In a mixed group the true piece is some
 * monotone one inside the rectangle. */
static void add_area(cz_sweep *s, const cz_group *g, double x0, double x1, double y0, double y1)
{
    for (int i = 0; i < CZ_SWEEP_LIMITS; i++) {
        const double limit = s->limit[i];
        if (x0 >= limit || x1 <= x0) continue;
        const double end = x1 <= limit ? x1 : limit;
        const double y_end = x1 <= limit ? y1 : y0 + (y1 - y0) * (limit - x0) / (x1 - x0);
        const double mean = 0.5 * (y0 + y_end);
        cz_sum_add(&s->area[i], (end - x0) * mean);
        if (g->mixed) cz_sum_add(&s->area_error[i], (end - x0) * fmax(y1 - mean, mean - y0));
    }
}

static void add_precision(cz_sweep *s, const cz_group *g, double normal, double anomalous)
{
    if (g->anomalous <= 0.0) return;
    const double grouped = g->anomalous * anomalous / (anomalous + normal);
    if (!g->mixed) {
        cz_sum_add(&s->precision_low, grouped);
        cz_sum_add(&s->precision_high, grouped);
        return;
    }
    /* Highest: all anomalous ones first, in one group. Lowest: all normal ones first, then one by one; precision is
     * concave in the number found, so that a sum over it is at least the mean of its ends. */
    const double first = (s->above_anomalous + fmin(1.0, g->anomalous));
    const double lowest = 0.5 * (first / (first + normal) + anomalous / (anomalous + normal));
    cz_sum_add(&s->precision_low, g->anomalous * lowest);
    cz_sum_add(&s->precision_high, g->anomalous * anomalous / (anomalous + s->above_normal));
}

void cz_sweep_add(cz_sweep *s, const cz_group *g)
{
    const double normal = s->above_normal + g->normal, anomalous = s->above_anomalous + g->anomalous;
    cz_sum_add(&s->wins, g->normal * (s->above_anomalous + 0.5 * g->anomalous));
    if (g->mixed) cz_sum_add(&s->shared, g->normal * g->anomalous);
    add_precision(s, g, normal, anomalous);
    if (anomalous > 0.0) {
        const double f1 = 2.0 * anomalous / (anomalous + normal + s->anomalous);
        if (f1 >= s->f1) { /* equal ones: the lowest threshold */
            s->f1 = f1;
            s->f1_threshold = g->low;
        }
        const double most = g->mixed ? 2.0 * anomalous / (anomalous + s->above_normal + s->anomalous) : f1;
        if (most > s->f1_bound) s->f1_bound = most;
    }
    if (s->regions > 0.0 && s->normal > 0.0) {
        const double before = cz_sum_value(&s->above_overlap);
        cz_sum_add(&s->above_overlap, g->overlap);
        add_area(s, g, s->above_normal / s->normal, normal / s->normal, before / s->regions,
                 cz_sum_value(&s->above_overlap) / s->regions);
    }
    s->above_normal = normal;
    s->above_anomalous = anomalous;
}

void cz_sweep_end(const cz_sweep *s, cz_sweep_values *out)
{
    const double none = (double)NAN;
    const double pairs = s->normal * s->anomalous;
    const bool defined = pairs > 0.0;
    out->auroc = defined ? cz_sum_value(&s->wins) / pairs : none;
    out->auroc_bound = defined ? 0.5 * cz_sum_value(&s->shared) / pairs : none;
    const double low = cz_sum_value(&s->precision_low), high = cz_sum_value(&s->precision_high);
    out->ap = defined ? 0.5 * (low + high) / s->anomalous : none;
    out->ap_bound = defined ? 0.5 * (high - low) / s->anomalous : none;
    out->f1 = defined ? s->f1 : none;
    out->f1_threshold = defined ? s->f1_threshold : none;
    out->f1_bound = defined ? fmax(0.0, s->f1_bound - s->f1) : none;
    for (int i = 0; i < CZ_SWEEP_LIMITS; i++) {
        const bool area = s->normal > 0.0 && s->regions > 0.0;
        out->aupro[i] = area ? cz_sum_value(&s->area[i]) / s->limit[i] : none;
        out->aupro_bound[i] = area ? cz_sum_value(&s->area_error[i]) / s->limit[i] : none;
    }
}
