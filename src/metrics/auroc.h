/* SPDX-License-Identifier: Apache-2.0 */
/* Area under the ROC curve. The public functions are declared in cozad.h; here is what they stand on. */
#ifndef CZ_METRICS_AUROC_H
#define CZ_METRICS_AUROC_H

#include "util/status.h"

/* Order-preserving 32-bit key of a float: x < y implies key(x) < key(y); -0 and 0 have one key, NaN has the lowest. */
uint32_t cz_float_key(float value);

#endif
