/* SPDX-License-Identifier: Apache-2.0 */
/* cozad mutual: a batch of photos (mutual_batch.c), its table (cmd_mutual.c), or figures of a labelled data set (mutual_data.c). */
#ifndef MUTUAL_H
#define MUTUAL_H

#include "cozad/cozad_mutual.h"
#include "pictures.h"

#include "common.h"

typedef struct mutual_setup {
    const char *backbone, *size, *fit, *roi, *mask, *same_piece, *precision, *neighbourhood, *among, *report;
    const char *data, *layout, *category, *save_scores;
    size_t top, resamples;
    cz_mutual_options mutual;
    common_options common;
    pictures pictures;
    cz_picture ignored; /* of --ignore-mask */
} mutual_setup;

/* One batch and what came of it. */
typedef struct mutual_batch {
    const input_list *list;
    input_source source;
    cz_mutual_scores *scores;
    cz_mutual_photo *photos; /* [count] the highest score first; index: of the list's items */
    size_t count;
    bool *scored;         /* [list->count] the item is among them; the others have been named */
    picture_files *files; /* [list->count] pictures that were written of an item */
} mutual_batch;

/* The photos of the list, whose labels are all unknown, score each other. An exit code: CLI_OK also when some photos could not be read
 * (they are named; batch->scored). `out` must stay where it is. */
int mutual_batch_score(mutual_setup *a, cz_backbone *backbone, const input_list *list, mutual_batch *out);
/* For each photo of the batch, the highest score first: reads it again and makes its map. */
typedef struct mutual_view {
    size_t photo; /* index of batch->photos */
    const input *item;
    const cz_image *image;
    const float *map; /* [image->height, image->width] */
} mutual_view;
typedef cz_status (*mutual_view_fn)(void *ctx, const mutual_view *view);
/* A photo that has changed or gone since is told of and counted in *failed, as is one for which `look` gives CZ_E_FORMAT or
 * CZ_E_IO. An exit code. */
int mutual_batch_look(const mutual_setup *a, const mutual_batch *batch, mutual_view_fn look, void *ctx, size_t *failed);
/* Heat map, overlay and thumbnails as --maps, --overlay and --report say. */
cz_status mutual_write_pictures(const mutual_setup *a, mutual_batch *batch, const mutual_view *view);
/* mutual_page.c: nothing without --report. left_out: photos that could not be used. Exit codes. */
int mutual_page_open(mutual_setup *a);
int mutual_page_write(mutual_setup *a, mutual_batch *batch, const cz_backbone *backbone, size_t left_out);
void mutual_batch_free(mutual_batch *batch);

/* mutual_data.c: an exit code. */
int mutual_data(mutual_setup *a, cz_backbone *backbone);

#endif
