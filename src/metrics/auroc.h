/* SPDX-License-Identifier: Apache-2.0 */
/* Area under the ROC curve. The public functions are declared in cozad_eval.h; here is what they stand on. */
#ifndef CZ_METRICS_AUROC_H
#define CZ_METRICS_AUROC_H

#include "metrics/key.h"
#include "util/status.h"

#endif
