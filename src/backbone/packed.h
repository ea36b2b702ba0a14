/* SPDX-License-Identifier: Apache-2.0 */
/* Packed weights of a backbone, shared by its plans and kept in the user's cache folder (docs/architecture.md, "Start-up"). */
#ifndef CZ_BACKBONE_PACKED_H
#define CZ_BACKBONE_PACKED_H

#include "backbone/backbone.h"
#include "engine/engine.h"

/* What decides the packed bytes beside the weights: engine, processor, precision, ranges, taps, shape, batch, threads. A text
 * without '\n'; cz_free. NULL when out of memory. */
char *cz_packed_context(const cz_plan_options *options);
/* Weights packed earlier for (backbone, context): from another plan of this backbone, else mapped from the cache folder; NULL: none
 * (or a file that is damaged, which is removed). The caller releases. */
cz_packed *cz_packed_find(const cz_backbone *b, const char *context);
/* Remembers what a plan has packed, and writes it to the cache folder unless it came from there. Best effort. */
void cz_packed_offer(const cz_backbone *b, const char *context, cz_packed *packed);

#endif
