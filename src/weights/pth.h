/* SPDX-License-Identifier: Apache-2.0 */
/* PyTorch checkpoints: the zip format of torch.save since 1.6 and the legacy stream before it (torchvision's older files,
 * wide_resnet50_2-95faca4d.pth among them). Only dicts of tensors are accepted, nested ones flattened with dots; a
 * top-level "state_dict" or "model" dict is taken in place of everything beside it. Other values are left out.
 *
 * Stored (uncompressed) tensors are views into the file's bytes: a 275 MB file costs no copy. Limits: names of 1,024
 * bytes, nesting of 16, rank 8, and all tensors together at most CZ_PTH_EXPANSION times the file's size, so that a small
 * file cannot ask for much memory. */
#ifndef CZ_WEIGHTS_PTH_H
#define CZ_WEIGHTS_PTH_H

#include "tensor/tensors.h"

#include <stdbool.h>

#define CZ_PTH_EXPANSION ((size_t)8)

/* `data` must outlive the result (views point into it). */
cz_status cz_pth_parse(const uint8_t *data, size_t size, cz_tensors **out);
/* Maps and parses; the result owns the mapping. The message begins with the path. */
cz_status cz_pth_open(const char *path, cz_tensors **out);
bool cz_pth_is_zip(const uint8_t *data, size_t size);
bool cz_pth_is_legacy(const uint8_t *data, size_t size);

#endif
