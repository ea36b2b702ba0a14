/* SPDX-License-Identifier: Apache-2.0 */
/* Words about a calibration that several verbs need. */
#ifndef CALIBRATION_H
#define CALIBRATION_H

#include "cozad/cozad.h"

enum { CALIBRATION_TEXT = 256 };

/* "at most 1 % false alarms with 95 % confidence, from 299 normal photos" */
const char *calibration_describe(const cz_calibration *c, char text[CALIBRATION_TEXT]);
/* "at most 1 % with 95 % confidence needs 299 images, you gave 120: the best I can promise is 2.5 %" */
const char *calibration_warning(const cz_calibration *c, size_t needed, char text[CALIBRATION_TEXT]);
/* A share as a percentage with three digits, rounded up: a promise is never better told than it is. Buffer of 32. */
const char *calibration_percent(double share, char text[32]);

#endif
