/* SPDX-License-Identifier: Apache-2.0 */
#include "seeds.h"

#include <math.h>

/* 97.5 % quantile of Student's t; beyond the table Cornish-Fisher's expansion, right to 1e-3. */
static double student(size_t freedom)
{
    static const double table[] = {12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281};
    if (freedom <= sizeof table / sizeof *table) return table[freedom - 1];
    const double z = 1.959963984540054, f = (double)freedom;
    return z + (z * z * z + z) / (4.0 * f) + (5.0 * pow(z, 5.0) + 16.0 * z * z * z + 3.0 * z) / (96.0 * f * f);
}

seeds_sum seeds_sum_of(const double *values, size_t count)
{
    seeds_sum s = {.mean = NAN, .std = NAN, .low = NAN, .high = NAN};
    double mean = 0.0, squares = 0.0;
    for (size_t i = 0; i < count; i++) { /* Welford's */
        if (isnan(values[i])) continue;
        const double off = values[i] - mean;
        s.count++;
        mean += off / (double)s.count;
        squares += off * (values[i] - mean);
    }
    if (s.count > 0) s.mean = mean;
    if (s.count < 2) return s;
    const double n = (double)s.count;
    s.std = sqrt(squares / (n - 1.0));
    const double half = student(s.count - 1) * s.std / sqrt(n);
    s.low = mean - half;
    s.high = mean + half;
    return s;
}
