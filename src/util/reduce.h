/* SPDX-License-Identifier: Apache-2.0 */
/* Sums over long arrays in double whose result does not depend on the thread count. */
#ifndef CZ_UTIL_REDUCE_H
#define CZ_UTIL_REDUCE_H

#include <stddef.h>

/* sum of a[i] b[i]; b may be a. OpenMP. */
double cz_dot(const float *a, const float *b, size_t count);
/* sum of (a[i] - b[i])^2. OpenMP. */
double cz_distance2(const float *a, const float *b, size_t count);

#endif
