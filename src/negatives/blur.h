/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CZ_NEGATIVES_BLUR_H
#define CZ_NEGATIVES_BLUR_H

#include "util/status.h"

/* Gaussian blur by three box filters of fractional width (Gwosdek et al. 2011, "Theoretical foundations of Gaussian
 * convolution by extended box filtering"): the cost does not depend on sigma, and the variance is exact. */

/* How far a pixel's value spreads, in pixels. sigma >= 0. */
size_t cz_blur_reach(double sigma);
/* values: [height, width, channels] in place, channels 1 … 16; pixels of the edge are repeated outwards.
 * sigma in pixels; 0 changes nothing. CZ_E_MEMORY */
cz_status cz_blur(float *values, size_t height, size_t width, size_t channels, double sigma);

#endif
