/* SPDX-License-Identifier: Apache-2.0 */
/* False-discovery rate of a batch: Benjamini and Hochberg (1995), doi:10.1111/j.2517-6161.1995.tb02031.x. */
#ifndef CZ_CALIBRATE_FDR_H
#define CZ_CALIBRATE_FDR_H

#include "util/status.h"

/* p: [count] in [0, 1]. found: [count] 1 where p <= the largest p_(i) with p_(i) <= rate i / count. CZ_E_ARG unless 0 < rate < 1. */
cz_status cz_benjamini_hochberg(const double *p, size_t count, double rate, uint8_t *found, size_t *total);

#endif
