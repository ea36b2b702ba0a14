/* SPDX-License-Identifier: Apache-2.0 */
/* Figures of several seeds as one: mean, standard deviation, interval. */
#ifndef SEEDS_H
#define SEEDS_H

#include <stddef.h>

typedef struct seeds_sum {
    size_t count; /* of the values, NaN left out */
    double mean;  /* NaN: there is none */
    double std;   /* of the sample (n - 1); NaN for fewer than two */
    double low,
        high; /* 95 % interval of the mean by Student's t with n - 1 degrees of freedom; NaN for fewer than two */
} seeds_sum;

seeds_sum seeds_sum_of(const double *values, size_t count);

#endif
