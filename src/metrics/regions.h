/* SPDX-License-Identifier: Apache-2.0 */
/* Regions of a map above a threshold. The public functions are declared in cozad_eval.h. */
#ifndef CZ_METRICS_REGIONS_H
#define CZ_METRICS_REGIONS_H

#include "cozad/cozad_eval.h"
#include "metrics/components.h"

/* 8-connected regions of map > threshold; NaN is not above. */
cz_status cz_components_above(cz_components *c, const float *map, size_t width, size_t height, double threshold);

#endif
