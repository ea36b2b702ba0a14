/* SPDX-License-Identifier: Apache-2.0 */
#include "api/negatives.h"

#include "api/defective.h"
#include "util/alloc.h"

#include <string.h>

/* Photos that show a defect and what their patches are. */
typedef struct shown {
    cz_defective source;
    cz_patch_set set;
} shown;

struct cz_negatives {
    shown drawn, labelled;
    size_t copies;               /* drawn ones of a photo */
    size_t *of_photo;            /* [photos * copies] item of `drawn`, or NONE */
    size_t *by_category, *first; /* labelled items category by category; [categories + 1] */
    size_t usable;               /* labelled items whose category has photos */
    size_t *category;            /* [photos] */
    size_t most;                 /* patches of a photo */
    size_t *which;               /* [2 * most] scratch of a draw */
};

#define NONE SIZE_MAX

/* ---- making ------------------------------------------------------------------------------------------------------- */

static cz_status make_shown(const cz_negatives_settings *s, shown *out)
{
    cz_status status;
    cz_patch_options patches = s->patches;
    patches.source = &out->source.source;
    CZ_TRY(cz_patch_set_create(&patches, &out->set));
    out->set.scale = s->scale;
    if (s->scales != NULL) CZ_TRY(cz_patch_set_use_relations(&out->set, s->scales, false));
out:
    return status;
}

static const uint8_t *kinds_of(const shown *s, size_t item)
{
    return s->source.kind + s->set.set.items[item].source * s->source.cells;
}

static size_t count_kind(const shown *s, size_t item, uint8_t kind)
{
    const cz_feature_item *i = &s->set.set.items[item];
    const uint8_t *kinds = kinds_of(s, item);
    size_t count = 0;
    for (size_t c = 0; c < s->source.cells; c++) count += i->valid[c] && kinds[c] == kind;
    return count;
}

static cz_status make_drawn(cz_negatives *n, const cz_negatives_settings *s)
{
    cz_status status;
    const size_t photos = s->set->count;
    n->copies = s->options->negatives.synthetic;
    if (n->copies == 0) return CZ_OK;
    const cz_defective_options options = {.photos = s->photos,
                                          .set = s->set,
                                          .copies = n->copies,
                                          .seed = s->options->seed,
                                          .prep = s->patches.prep,
                                          .grid_w = s->grid_w,
                                          .grid_h = s->grid_h};
    CZ_TRY(cz_defective_draw(&options, &n->drawn.source));
    CZ_TRY(make_shown(s, &n->drawn));
    n->of_photo = cz_alloc_array(photos, n->copies * sizeof *n->of_photo);
    if (n->of_photo == NULL) CZ_TRY(CZ_E_MEMORY);
    for (size_t i = 0; i < photos * n->copies; i++) n->of_photo[i] = NONE;
    for (size_t i = 0; i < n->drawn.set.set.count; i++)
        if (count_kind(&n->drawn, i, CZ_TARGET_ANOMALOUS) > 0) n->of_photo[n->drawn.set.set.items[i].source] = i;
out:
    return status;
}

/* Labelled items in the order of their categories. */
static cz_status sort_labelled(cz_negatives *n, const cz_image_source *labelled, size_t categories)
{
    const cz_feature_set *set = &n->labelled.set.set;
    n->first = cz_calloc(categories + 1, sizeof *n->first);
    n->by_category = cz_alloc_array(set->count, sizeof *n->by_category);
    if (n->first == NULL || n->by_category == NULL) return CZ_E_MEMORY;
    size_t at = 0;
    for (size_t c = 0; c < categories; c++) {
        for (size_t i = 0; i < set->count; i++) {
            const size_t own = labelled->category != NULL ? labelled->category(labelled->ctx, set->items[i].source) : 0;
            if (own == c && count_kind(&n->labelled, i, CZ_TARGET_ANOMALOUS) > 0) n->by_category[at++] = i;
        }
        n->first[c + 1] = at;
    }
    return CZ_OK;
}

static void count_usable(cz_negatives *n, size_t photos, size_t categories)
{
    for (size_t c = 0; c < categories; c++) {
        bool trained = false;
        for (size_t i = 0; i < photos && !trained; i++) trained = n->category[i] == c;
        if (trained) n->usable += n->first[c + 1] - n->first[c];
    }
}

static cz_status make_labelled(cz_negatives *n, const cz_negatives_settings *s)
{
    cz_status status;
    const cz_image_source *labelled = s->options->negatives.labelled, *photos = s->photos;
    const bool named = photos->categories > 0 && photos->category != NULL;
    n->category = cz_calloc(s->set->count, sizeof *n->category);
    if (n->category == NULL) return CZ_E_MEMORY;
    for (size_t i = 0; named && i < s->set->count; i++)
        n->category[i] = photos->category(photos->ctx, s->set->items[i].source);
    if (labelled == NULL || labelled->count == 0) return CZ_OK;
    const cz_defective_options options = {.photos = labelled,
                                          .mask = s->options->negatives.mask,
                                          .release_mask = s->options->negatives.release_mask,
                                          .prep = s->patches.prep,
                                          .grid_w = s->grid_w,
                                          .grid_h = s->grid_h};
    CZ_TRY(cz_defective_label(&options, &n->labelled.source));
    CZ_TRY(make_shown(s, &n->labelled));
    CZ_TRY(sort_labelled(n, labelled, named ? photos->categories : 1));
    count_usable(n, s->set->count, named ? photos->categories : 1);
out:
    return status;
}

cz_status cz_negatives_create(const cz_negatives_settings *s, cz_negatives **out)
{
    cz_status status;
    size_t drawn, labelled;
    cz_negatives *n = cz_calloc(1, sizeof *n);
    if (n == NULL) return CZ_E_MEMORY;
    n->drawn.set.set.file = n->labelled.set.set.file = -1;
    CZ_TRY(make_drawn(n, s));
    CZ_TRY(make_labelled(n, s));
    n->most = s->grid_w * s->grid_h;
    n->which = cz_alloc_array(2 * n->most, sizeof *n->which);
    if (n->which == NULL) CZ_TRY(CZ_E_MEMORY);
    cz_negatives_count(n, &drawn, &labelled);
    if (drawn + labelled == 0) CZ_TRY(cz_fail(CZ_E_NO_IMAGES, "no drawn or labelled defect covers a patch"));
    *out = n;
    return CZ_OK;
out:
    cz_negatives_destroy(n);
    return status;
}

void cz_negatives_destroy(cz_negatives *n)
{
    if (n == NULL) return;
    cz_patch_set_free(&n->drawn.set);
    cz_patch_set_free(&n->labelled.set);
    cz_defective_free(&n->drawn.source);
    cz_defective_free(&n->labelled.source);
    cz_free(n->of_photo);
    cz_free(n->by_category);
    cz_free(n->first);
    cz_free(n->category);
    cz_free(n->which);
    cz_free(n);
}

void cz_negatives_count(const cz_negatives *n, size_t *synthetic, size_t *labelled)
{
    *synthetic = *labelled = 0;
    for (size_t i = 0; i < n->drawn.set.set.count; i++) *synthetic += count_kind(&n->drawn, i, CZ_TARGET_ANOMALOUS) > 0;
    *labelled = n->usable;
}

static void hash_shown(const shown *s, cz_sha256 *hash)
{
    for (size_t i = 0; i < s->set.set.count; i++) {
        const cz_feature_item *item = &s->set.set.items[i];
        const uint64_t source = item->source;
        cz_sha256_update(hash, item->sha256, sizeof item->sha256);
        cz_sha256_update(hash, &source, sizeof source);
        cz_sha256_update(hash, kinds_of(s, i), s->source.cells);
    }
}

void cz_negatives_hash(const cz_negatives *n, cz_sha256 *hash)
{
    hash_shown(&n->drawn, hash);
    hash_shown(&n->labelled, hash);
}

const cz_feature_set *cz_negatives_labelled(const cz_negatives *n)
{
    return n->labelled.set.set.count > 0 ? &n->labelled.set.set : NULL;
}

/* ---- drawing ------------------------------------------------------------------------------------------------------- */

/* A photo's companions are its copies with a defect, and every labelled photo of its category; one kind as often as the other. */
static shown *choose(cz_negatives *n, size_t photo, cz_rng *rng, size_t *item)
{
    const size_t *own = n->copies > 0 ? n->of_photo + photo * n->copies : NULL, category = n->category[photo];
    const size_t labelled = n->first != NULL ? n->first[category + 1] - n->first[category] : 0;
    size_t drawn = 0;
    for (size_t i = 0; i < n->copies; i++) drawn += own[i] != NONE;
    if (drawn + labelled == 0) return NULL;
    const bool label = labelled > 0 && (drawn == 0 || cz_rng_below(rng, 2) == 0);
    size_t index = (size_t)cz_rng_below(rng, label ? labelled : drawn);
    if (label) {
        *item = n->by_category[n->first[category] + index];
        return &n->labelled;
    }
    for (size_t i = 0;; i++)
        if (own[i] != NONE && index-- == 0) {
            *item = own[i];
            return &n->drawn;
        }
}

/* `wanted` different patches of one kind (fewer where there are fewer), as places among the inspected ones; which: [most]. */
static size_t draw_kind(const shown *s, size_t item, uint8_t kind, size_t wanted, cz_rng *rng, size_t *which,
                        size_t *scratch)
{
    const cz_feature_item *photo = &s->set.set.items[item];
    const uint8_t *kinds = kinds_of(s, item);
    size_t count = 0, seen = 0;
    for (size_t c = 0; c < s->source.cells; c++) {
        if (!photo->valid[c]) continue;
        if (kinds[c] == kind) scratch[count++] = seen;
        seen++;
    }
    if (wanted > count) wanted = count;
    cz_rng_choose(rng, count, wanted, which);
    for (size_t i = 0; i < wanted; i++) which[i] = scratch[which[i]];
    return wanted;
}

size_t cz_negatives_sample(cz_negatives *n, size_t photo, size_t wanted, cz_rng *rng, float *out, uint8_t *target)
{
    size_t item = 0;
    shown *s = choose(n, photo, rng, &item);
    if (s == NULL || wanted == 0) return 0;
    const size_t width = s->set.width, share = (3 * wanted + 3) / 4;
    size_t *which = n->which, *scratch = n->which + n->most;
    const size_t different = draw_kind(s, item, CZ_TARGET_ANOMALOUS, share, rng, which, scratch);
    cz_patch_set_pick(&s->set, item, which, different, out);
    for (size_t i = different; i < share; i++)
        memcpy(out + i * width, out + (i - different) * width, width * sizeof *out);
    memset(target, CZ_TARGET_ANOMALOUS, share);
    const size_t normal = draw_kind(s, item, CZ_TARGET_NORMAL, wanted - share, rng, which, scratch);
    if (normal > 0) cz_patch_set_pick(&s->set, item, which, normal, out + share * width);
    memset(target + share, CZ_TARGET_NORMAL, normal);
    return share + normal;
}
