/* SPDX-License-Identifier: Apache-2.0 */
/* Conformal p-values (Vovk et al. 2005; docs/calibration.md). */
#ifndef CZ_CALIBRATE_CONFORMAL_H
#define CZ_CALIBRATE_CONFORMAL_H

#include <stddef.h>

/* scores: [n] ascending, finite. (1 + number of scores at or above `score`) / (n + 1); NaN for NaN. */
double cz_conformal_p(const float *scores, size_t n, float score);

#endif
