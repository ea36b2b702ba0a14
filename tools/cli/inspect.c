/* SPDX-License-Identifier: Apache-2.0 */
/* The photos of a model: sorted, found again, pictured. */
#include "inspect.h"

#include "map_rows.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- rows --------------------------------------------------------------------------------------------------------- */

static int by_trust(const void *a, const void *b)
{
    const cz_training_photo *x = &((const inspect_row *)a)->photo, *y = &((const inspect_row *)b)->photo;
    if (x->excluded != y->excluded) return x->excluded - y->excluded;
    if (x->weight < y->weight || x->weight > y->weight) return x->weight < y->weight ? -1 : 1;
    if (x->level < y->level || x->level > y->level) return x->level > y->level ? -1 : 1;
    if (x->score < y->score || x->score > y->score) return x->score > y->score ? -1 : 1;
    return strcmp(x->sha256, y->sha256);
}

cz_status inspect_open(inspect *in)
{
    const size_t count = cz_model_photos_count(in->model);
    in->rows = calloc(count + 1, sizeof *in->rows);
    if (in->rows == NULL) return cz_source_error(CZ_E_MEMORY, "out of memory");
    for (size_t i = 0; i < count; i++) {
        inspect_row *row = &in->rows[i];
        const cz_status status = cz_model_photo_at(in->model, i, &row->photo);
        if (status != CZ_OK) return status;
        if (row->photo.excluded) {
            in->excluded++;
            continue;
        }
        if (isnan(row->photo.weight))
            return cz_source_error(CZ_E_MODEL, "the model does not know how far it trusts its photos: it was trained "
                                               "by an earlier version; train it again");
        row->suspect = in->distrust > 0.0 ? row->photo.weight < in->distrust : row->photo.apart != 0;
        in->suspects += row->suspect;
        in->trained++;
    }
    qsort(in->rows, count, sizeof *in->rows, by_trust);
    in->estimated = cz_model_contamination(in->model, &in->contamination) != 0;
    return CZ_OK;
}

void inspect_close(inspect *in)
{
    for (size_t i = 0; in->rows != NULL && i < in->trained + in->excluded; i++) {
        free(in->rows[i].file);
        report_free_thumbs(in->rows[i].thumbs);
    }
    free(in->rows);
    cz_model_close(in->model);
    memset(in, 0, sizeof *in);
}

const char *inspect_name(const cz_training_photo *photo, char text[512])
{
    if (photo->name != NULL) {
        (void)snprintf(text, 512, "%s", photo->name);
    } else {
        (void)snprintf(text, 512, "(nameless, pixels %.16s)", photo->sha256);
    }
    for (char *c = text; *c != '\0'; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f) *c = '?';
    }
    return text;
}

/* ---- finding files ------------------------------------------------------------------------------------------------ */

static bool has_pixels(const cz_image *image, const char *sha256)
{
    uint8_t digest[32];
    char hex[65];
    cz_image_sha256(image, digest);
    for (size_t i = 0; i < sizeof digest; i++) (void)snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    return strcmp(hex, sha256) == 0;
}

/* A name is a model file's word: only a plain file is opened, and what it shows is used only where it is the photo. */
static bool is_plain(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

/* Below the folders, whatever the names say: every picture is read until all are found. */
static cz_status search(inspect *in, const cli_list *folders, const cz_read_options *read, size_t wanted)
{
    input_list list = {0};
    cz_status status = CZ_OK;
    for (size_t i = 0; status == CZ_OK && i < folders->count; i++) status = inputs_add_path(&list, folders->items[i]);
    for (size_t i = 0; status == CZ_OK && wanted > 0 && i < list.count; i++) {
        cz_picture picture = {0};
        if (cli_progress(NULL, "looking for photos", i, list.count, "") != 0)
            status = cz_source_error(CZ_E_CANCELLED, "interrupted");
        if (status != CZ_OK || cz_picture_read(list.items[i].path, read, &picture) != CZ_OK) continue;
        for (size_t k = 0; k < in->shown; k++) {
            inspect_row *row = &in->rows[k];
            if (row->file != NULL || !has_pixels(&picture.image, row->photo.sha256)) continue;
            row->file = strdup(list.items[i].path);
            wanted--;
        }
        cz_picture_free(&picture);
    }
    inputs_free(&list);
    return status;
}

/* ---- pictures ----------------------------------------------------------------------------------------------------- */

static cz_status picture_row(inspect_row *row, const cz_image *photo, cz_session *session, double low, double high)
{
    cz_result result;
    cz_picture overlay = {0};
    const map_rows rows = {&result, session};
    cz_status status = cz_score(session, photo, &result);
    if (status != CZ_OK) return status;
    const cz_map_source map = map_rows_source(&rows);
    status = cz_overlay_thumbnail(photo, &map, low, high, REPORT_THUMB, &overlay);
    char name[512];
    const report_item item = {.path = inspect_name(&row->photo, name),
                              .score = row->photo.score,
                              .label = -1,
                              .photo = photo,
                              .overlay = &overlay.image};
    if (status == CZ_OK) status = report_make_thumbs(&item, &row->thumbs);
    cz_picture_free(&overlay);
    return status;
}

/* From `path`, when its pixels are the photo's. */
static cz_status try_file(inspect_row *row, const char *path, const cz_read_options *read, cz_session *session,
                          const double scale[2])
{
    cz_picture picture = {0};
    cz_status status = CZ_OK;
    if (!is_plain(path) || cz_picture_read(path, read, &picture) != CZ_OK) return CZ_OK;
    if (has_pixels(&picture.image, row->photo.sha256)) {
        if (row->file == NULL) row->file = strdup(path);
        status = picture_row(row, &picture.image, session, scale[0], scale[1]);
    }
    cz_picture_free(&picture);
    return status;
}

cz_status inspect_pictures(inspect *in, const cli_list *folders, const cz_read_options *read,
                           const cz_session_options *options)
{
    cz_session *session = NULL;
    double scale[2];
    size_t missing = 0;
    cz_status status = cz_session_open(in->model, options, &session);
    cz_model_scale(in->model, &scale[0], &scale[1]);
    for (size_t i = 0; status == CZ_OK && i < in->shown; i++) {
        inspect_row *row = &in->rows[i];
        if (cli_progress(NULL, "pictures", i, in->shown, "") != 0)
            status = cz_source_error(CZ_E_CANCELLED, "interrupted");
        if (status == CZ_OK && row->photo.name != NULL) status = try_file(row, row->photo.name, read, session, scale);
        missing += row->thumbs == NULL;
    }
    if (status == CZ_OK && missing > 0) status = search(in, folders, read, missing);
    for (size_t i = 0; status == CZ_OK && i < in->shown; i++) {
        inspect_row *row = &in->rows[i];
        if (row->thumbs == NULL && row->file != NULL) status = try_file(row, row->file, read, session, scale);
    }
    cli_progress_end();
    cz_session_close(session);
    return status;
}
