/* SPDX-License-Identifier: Apache-2.0 */
#include "mutual.h"

#include <stdlib.h>
#include <string.h>

static int by_score(const void *a, const void *b)
{
    const cz_mutual_photo *x = a, *y = b;
    if (x->score > y->score) return -1;
    if (x->score < y->score) return 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

static cz_status sort_photos(mutual_batch *b)
{
    const size_t count = cz_mutual_scores_count(b->scores);
    b->photos = calloc(count + 1, sizeof *b->photos);
    b->files = calloc(b->list->count + 1, sizeof *b->files);
    b->scored = calloc(b->list->count + 1, sizeof *b->scored);
    if (b->photos == NULL || b->files == NULL || b->scored == NULL)
        return cz_source_error(CZ_E_MEMORY, "out of memory");
    for (size_t i = 0; i < count; i++) (void)cz_mutual_scores_at(b->scores, i, &b->photos[i]);
    b->count = count;
    for (size_t i = 0; i < count; i++) b->scored[b->photos[i].index] = true;
    qsort(b->photos, count, sizeof *b->photos, by_score);
    return CZ_OK;
}

/* How the photos were compared, unless it was asked for. */
static void note_way(const mutual_setup *a, const cz_mutual_scores *scores)
{
    cz_mutual_way way;
    cz_mutual_scores_way(scores, &way);
    if (a->mutual.neighbourhood != CZ_MUTUAL_NEIGHBOURHOOD_AUTO && a->mutual.among != CZ_MUTUAL_AMONG_AUTO) return;
    cli_note(
        "--neighbourhood %d --among %s: the nearest twentieth of the photos is at %.2f of the middle distance (parts "
        "lie %s), a photo has %.1f others of its piece",
        (int)way.neighbourhood, way.among == CZ_MUTUAL_AMONG_DRAWN ? "drawn" : "similar", way.nearer,
        way.nearer < CZ_MUTUAL_ANYHOW ? "anyhow" : "alike", way.repeated);
}

int mutual_batch_score(mutual_setup *a, cz_backbone *backbone, const input_list *list, mutual_batch *out)
{
    *out = (mutual_batch){.list = list};
    cz_status status = input_source_open(list, INPUT_ANY, &a->common.read, &out->source);
    if (status != CZ_OK) return cli_fail(status);
    const cz_image_source images = input_source_callbacks(&out->source);
    status = cz_mutual_score(backbone, &images, &a->mutual, &out->scores);
    cli_progress_end();
    if (status == CZ_OK) note_way(a, out->scores);
    if (status == CZ_OK) status = sort_photos(out);
    if (status == CZ_OK) cz_mutual_scores_scale(out->scores, &a->pictures.low, &a->pictures.high);
    return status == CZ_OK ? CLI_OK : cli_fail(status);
}

/* The scores' own index of what is photos[i]. */
static size_t position(const mutual_batch *b, size_t i)
{
    size_t low = 0, high = b->count;
    while (low + 1 < high) {
        const size_t middle = (low + high) / 2;
        cz_mutual_photo photo;
        (void)cz_mutual_scores_at(b->scores, middle, &photo);
        if (photo.index > b->photos[i].index)
            high = middle;
        else
            low = middle;
    }
    return low;
}

static cz_status look_at(const mutual_setup *a, const mutual_batch *b, size_t i, mutual_view_fn look, void *ctx)
{
    const cz_mutual_photo *p = &b->photos[i];
    const input *item = &b->list->items[p->index];
    cz_picture picture = {0};
    float *map = NULL;
    cz_status status = cz_picture_read(item->path, &a->common.read, &picture);
    if (status == CZ_OK && (picture.image.width != p->width || picture.image.height != p->height))
        status = cz_source_error(CZ_E_FORMAT, "the photo has changed while it was compared");
    if (status == CZ_OK) {
        map = malloc(p->width * p->height * sizeof *map); /* of a decoded picture */
        if (map == NULL) status = cz_source_error(CZ_E_MEMORY, "out of memory");
    }
    if (status == CZ_OK) status = cz_mutual_scores_map(b->scores, position(b, i), map);
    const mutual_view view = {i, item, &picture.image, map};
    if (status == CZ_OK) status = look(ctx, &view);
    free(map);
    cz_picture_free(&picture);
    return status;
}

int mutual_batch_look(const mutual_setup *a, const mutual_batch *b, mutual_view_fn look, void *ctx, size_t *failed)
{
    for (size_t i = 0; i < b->count; i++) {
        if (cli_progress(NULL, "maps", i, b->count, "") != 0)
            return cli_fail(cz_source_error(CZ_E_CANCELLED, "interrupted"));
        const cz_status status = look_at(a, b, i, look, ctx);
        if (status == CZ_E_FORMAT || status == CZ_E_IO) {
            const char *path = b->list->items[b->photos[i].index].path, *reason = cz_last_error();
            const bool named = strncmp(reason, path, strlen(path)) == 0;
            cli_error("%s%s%s", named ? "" : path, named ? "" : ": ", reason);
            ++*failed;
        } else if (status != CZ_OK) {
            return cli_fail(status);
        }
    }
    cli_progress_end();
    return CLI_OK;
}

cz_status mutual_write_pictures(const mutual_setup *a, mutual_batch *b, const mutual_view *view)
{
    const cz_mutual_photo *p = &b->photos[view->photo];
    const cz_result result = {.score = p->score, .map_width = p->width, .map_height = p->height, .map = view->map};
    if (a->pictures.maps_dir == NULL && a->pictures.page == NULL) return CZ_OK;
    return pictures_make(&a->pictures, view->item, view->image, &result, NULL, NULL, &b->files[p->index]);
}

void mutual_batch_free(mutual_batch *b)
{
    for (size_t i = 0; b->files != NULL && i < b->list->count; i++) picture_files_free(&b->files[i]);
    free(b->files);
    free(b->scored);
    free(b->photos);
    cz_mutual_scores_free(b->scores);
    input_source_free(&b->source);
    memset(b, 0, sizeof *b);
}
