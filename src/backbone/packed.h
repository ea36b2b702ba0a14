/* SPDX-License-Identifier: Apache-2.0 */
/* Packed weights of a backbone, shared by its plans and kept in the user's cache folder (docs/architecture.md, "Start-up").
 * Best effort throughout: what cannot be read or written is done without, and no error message is left behind. */
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
/* Remembers what a plan has packed, and writes it to the cache folder, where files of this backbone have a place: it was read
 * from a file itself, and the folder is not switched off. */
void cz_packed_offer(const cz_backbone *b, const char *context, cz_packed *packed);

/* True unless COZAD_PACKED_CACHE is "off" (or 0). */
bool cz_packed_enabled(void);
/* The backbone of this digest as a packed file describes it, its weights to be read from `path` (copied; "": nowhere) when they
 * are needed. `name` NULL: the one it had. *out is NULL when there is no such file; the only error is CZ_E_MEMORY. */
cz_status cz_packed_open(const char sha256[65], const char *name, const char *path, cz_backbone **out);

#endif
