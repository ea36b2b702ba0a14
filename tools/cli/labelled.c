/* SPDX-License-Identifier: Apache-2.0 */
#include "labelled.h"
#include "eval_pixels.h"
#include "inputs_internal.h"

#include <stdlib.h>
#include <string.h>

/* ---- gathering ------------------------------------------------------------------------------------------------------ */

static bool copy_masks(const cz_sample *s, input_defect *out)
{
    out->masks = calloc(s->mask_count, sizeof *out->masks);
    if (out->masks == NULL) return false;
    for (; out->mask_count < s->mask_count; out->mask_count++)
        if ((out->masks[out->mask_count] = strdup(s->masks[out->mask_count])) == NULL) return false;
    return true;
}

cz_status labelled_add(input_list *list, const cz_dataset *d, const char *category, size_t group)
{
    for (size_t i = 0; i < cz_dataset_count(d); i++) {
        const cz_sample *s = cz_dataset_at(d, i);
        if (s->label == 0 || s->mask_count == 0 || (category != NULL && strcmp(s->category, category) != 0)) continue;
        input_defect *grown = realloc(list->defects, (list->defect_count + 1) * sizeof *grown);
        if (grown == NULL) return cz_source_error(CZ_E_MEMORY, "out of memory");
        list->defects = grown;
        input_defect *one = &list->defects[list->defect_count++];
        *one = (input_defect){.path = strdup(s->path), .mask_rule = (int)s->mask_rule, .group = group};
        if (one->path == NULL || !copy_masks(s, one)) return cz_source_error(CZ_E_MEMORY, "out of memory");
    }
    return CZ_OK;
}

/* ---- for the library ------------------------------------------------------------------------------------------------ */

static cz_status load(void *ctx, size_t index, cz_image *out)
{
    labelled_source *s = ctx;
    cz_picture_free(&s->photos[index]);
    const cz_status status = cz_picture_read(s->list->defects[index].path, &s->read, &s->photos[index]);
    if (status == CZ_OK) *out = s->photos[index].image;
    return status;
}

static void release(void *ctx, size_t index, cz_image *image)
{
    (void)image;
    cz_picture_free(&((labelled_source *)ctx)->photos[index]);
}

static cz_status load_mask(void *ctx, size_t index, cz_image *out)
{
    labelled_source *s = ctx;
    const input_defect *d = &s->list->defects[index];
    cz_picture_free(&s->masks[index]);
    cz_status status = eval_read_masks((const char *const *)d->masks, d->mask_count, (cz_mask_rule)d->mask_rule,
                                       &s->read, &s->masks[index]);
    if (status == CZ_OK)
        status = eval_check_aspect(&s->masks[index].image, s->photos[index].image.width, s->photos[index].image.height);
    if (status == CZ_OK) *out = s->masks[index].image;
    return status;
}

static void release_mask(void *ctx, size_t index, cz_image *image)
{
    (void)image;
    cz_picture_free(&((labelled_source *)ctx)->masks[index]);
}

static const char *name_of(void *ctx, size_t index)
{
    return ((labelled_source *)ctx)->list->defects[index].path;
}

static size_t group_of(void *ctx, size_t index)
{
    return ((labelled_source *)ctx)->list->defects[index].group;
}

cz_status labelled_open(const input_list *list, const cz_read_options *read, labelled_source *out)
{
    *out = (labelled_source){.list = list, .read = *read};
    out->photos = calloc(list->defect_count + 1, sizeof *out->photos);
    out->masks = calloc(list->defect_count + 1, sizeof *out->masks);
    if (out->photos == NULL || out->masks == NULL) {
        labelled_close(out);
        return cz_source_error(CZ_E_MEMORY, "out of memory");
    }
    const cz_image_source none = CZ_IMAGE_SOURCE_INIT;
    out->source = none;
    out->source.count = list->defect_count;
    out->source.load = load;
    out->source.release = release;
    out->source.name = name_of;
    out->source.ctx = out;
    out->source.concurrent = 1;
    if (list->group_count > 0) {
        out->source.categories = list->group_count;
        out->source.category = group_of;
    }
    return CZ_OK;
}

void labelled_close(labelled_source *s)
{
    for (size_t i = 0; s->photos != NULL && s->masks != NULL && i < s->source.count; i++) {
        cz_picture_free(&s->photos[i]);
        cz_picture_free(&s->masks[i]);
    }
    free(s->photos);
    free(s->masks);
    memset(s, 0, sizeof *s);
}

void labelled_offer(labelled_source *s, cz_negatives_options *out)
{
    if (s->source.count == 0) return;
    out->labelled = &s->source;
    out->mask = load_mask;
    out->release_mask = release_mask;
}
