/* SPDX-License-Identifier: Apache-2.0 */
/* What a step is made of: patches of photos, and of companions that are known to show a defect. */
#include "api/train_settings.h"
#include "api/trainer.h"
#include "util/alloc.h"

#include <string.h>

cz_status cz_trainer_add_negatives(cz_trainer *t)
{
    if (!cz_train_has_negatives(t->options)) return CZ_OK;
    const cz_negatives_settings settings = {
        .options = t->options,
        .photos = t->source,
        .set = &t->patches.set,
        .patches = cz_trainer_patch_options(t, NULL),
        .grid_w = cz_pooler_grid_w(t->patches.pooler),
        .grid_h = cz_pooler_grid_h(t->patches.pooler),
        .scales = t->model->relation,
        .scale = t->patches.scale,
    };
    return cz_negatives_create(&settings, &t->negatives);
}

/* Of the photo alone. */
static size_t own_patches(const cz_trainer *t)
{
    const size_t wanted = t->options->patches_per_image;
    return wanted == 0 || wanted > t->patches.grid ? t->patches.grid : wanted;
}

size_t cz_trainer_patches(const cz_trainer *t)
{
    return own_patches(t) * (t->negatives != NULL ? 2 : 1);
}

cz_status cz_trainer_reserve(cz_trainer *t, size_t rows)
{
    size_t floats;
    if (rows < t->patches.grid) rows = t->patches.grid;
    if (!cz_mul_size(rows, t->patches.width, &floats)) return cz_fail(CZ_E_MEMORY, "a batch is too large");
    cz_free(t->features);
    cz_free(t->target);
    t->target = NULL;
    t->features = cz_alloc_array(floats, sizeof *t->features);
    if (t->features == NULL) return CZ_E_MEMORY;
    if (t->negatives != NULL && (t->target = cz_calloc(rows, sizeof *t->target)) == NULL) return CZ_E_MEMORY;
    return CZ_OK;
}

size_t cz_trainer_draw(cz_trainer *t, size_t image, cz_rng *rng, size_t at, size_t *own)
{
    const size_t width = t->patches.width;
    *own = cz_patch_set_sample(&t->patches, image, t->options->patches_per_image, rng, t->features + at * width);
    if (t->negatives == NULL) return *own;
    memset(t->target + at, CZ_TARGET_NORMAL, *own);
    return *own + cz_negatives_sample(t->negatives, image, own_patches(t), rng, t->features + (at + *own) * width,
                                      t->target + at + *own);
}

cz_status cz_trainer_statistics(cz_trainer *t)
{
    cz_status status;
    cz_model *m = t->model;
    cz_head_pass *pass = NULL;
    if (t->negatives == NULL) return cz_patch_set_statistics(&t->patches, m, t->features);
    CZ_TRY(cz_trainer_reserve(t, cz_trainer_patches(t)));
    CZ_TRY(cz_head_pass_begin(m->head, m->params, &pass));
    for (size_t i = 0; i < t->patches.set.count; i++) {
        size_t own;
        cz_rng rng;
        CZ_TRY(cz_patch_set_report(&t->patches, "statistics", i, t->patches.set.count, ""));
        cz_rng_init(&rng, t->options->seed, CZ_RNG_PATCHES, ((uint64_t)1 << 48) - 1 - i, 0); /* no step's draw */
        const size_t rows = cz_trainer_draw(t, i, &rng, 0, &own);
        CZ_TRY(cz_head_pass_add(m->head, pass, t->features, rows));
    }
    CZ_TRY(cz_head_pass_end(m->head, pass, m->params, m->state));
    CZ_TRY(cz_patch_set_report(&t->patches, "statistics", t->patches.set.count, t->patches.set.count, ""));
out:
    if (pass != NULL) cz_head_pass_destroy(m->head, pass);
    return status;
}
