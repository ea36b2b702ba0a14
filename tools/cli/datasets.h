/* SPDX-License-Identifier: Apache-2.0 */
/* Data sets for several verbs, on top of cz_dataset. */
#ifndef DATASETS_H
#define DATASETS_H

#include "cozad/cozad_eval.h"
#include "cozad/cozad_io.h"

#include <stdbool.h>

/* A sample's label; where only its masks tell (label -1 with masks), they are read. */
cz_status dataset_label(const cz_sample *sample, const cz_read_options *options, int *label);
/* There is a layout of that name ("auto" is none). */
bool dataset_is_layout(const char *name);

#endif
