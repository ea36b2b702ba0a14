/* SPDX-License-Identifier: Apache-2.0 */
/* A quantile of very many map values in bounded memory. */
#ifndef CZ_CALIBRATE_PIXEL_QUANTILE_H
#define CZ_CALIBRATE_PIXEL_QUANTILE_H

#include "util/status.h"

/* 2^20 bins over the ordered bit patterns of float: a bin is 2^-11 of its value wide. 8 MB. */
typedef struct cz_pixel_quantile cz_pixel_quantile;
cz_status cz_pixel_quantile_create(cz_pixel_quantile **out);
void cz_pixel_quantile_destroy(cz_pixel_quantile *q);
/* NaN (not inspected) is left out. */
void cz_pixel_quantile_add(cz_pixel_quantile *q, const float *values, size_t count);
/* A value that at least the share `quantile` of all is at or below: the upper end of the bin where that share is reached, never above the
 * largest value. NaN without values. */
double cz_pixel_quantile_value(const cz_pixel_quantile *q, double quantile);

#endif
