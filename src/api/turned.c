/* SPDX-License-Identifier: Apache-2.0 */
#include "api/turned.h"

#include <string.h>

cz_status cz_turned_create(const cz_trainer *t, size_t turns, cz_turned *out)
{
    cz_status status;
    memset(out, 0, sizeof *out);
    out->set.set.file = -1;
    if (turns < 2) return CZ_OK;
    CZ_TRY(cz_subset_create(t->source, &out->readable));
    for (size_t i = 0; i < t->patches.set.count; i++) out->readable.index[i] = t->patches.set.items[i].source;
    out->readable.source.count = t->patches.set.count;
    CZ_TRY(cz_rotated_init(&out->readable.source, turns, &t->options->roi, &out->rotated));
    cz_patch_options patches = cz_trainer_patch_options(t, &out->rotated.source);
    patches.neighbourhood = t->patches.neighbourhood;
    CZ_TRY(cz_patch_set_create(&patches, &out->set));
    out->set.scale = t->patches.scale;
out:
    return status;
}

void cz_turned_free(cz_turned *turned)
{
    cz_patch_set_free(&turned->set);
    cz_subset_free(&turned->readable);
}

size_t cz_turned_photo(const cz_turned *turned, size_t index)
{
    return turned->set.set.items[index].source / (turned->rotated.turns - 1);
}
