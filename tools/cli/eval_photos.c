/* SPDX-License-Identifier: Apache-2.0 */
/* The photos of cozad eval: a stream (cozad_stream.h) in which several are read, scored and drawn at once, and counted in their order. */
#include "eval.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MOST_TOLD = 20 };

typedef struct photo_stream {
    eval_run *r;
    eval_photo *photos; /* [r->chosen_count] */
    size_t done;
    bool interrupted;
    cz_status status; /* of `deliver`, with its message */
    char message[1024];
} photo_stream;

static const cz_sample *sample_at(const photo_stream *s, size_t index)
{
    return cz_dataset_at(s->r->data, s->r->chosen[index]);
}

static void photo_free(eval_photo *p)
{
    cz_picture_free(&p->photo);
    cz_picture_free(&p->mask);
    eval_pixels_free(&p->pixels);
    eval_pixels_free(&p->saved);
    picture_files_free(&p->files);
    report_free_thumbs(p->thumbs);
    *p = (eval_photo){0};
}

static bool is_unlabelled(const cz_sample *sample)
{
    return sample->label < 0 && sample->mask_count == 0;
}

/* ---- reading ------------------------------------------------------------------------------------------------------- */

/* A label that is not known comes from the masks (KolektorSDD); a normal photo's masks have to be empty. */
static cz_status settle_label(const cz_picture *mask, int *label)
{
    if (mask->pixels == NULL) return CZ_OK;
    bool empty = true;
    for (size_t y = 0; y < mask->image.height && empty; y++) {
        empty = memchr((const uint8_t *)mask->image.data + y * mask->image.stride, 255, mask->image.width) == NULL;
    }
    if (*label < 0) *label = empty ? 0 : 1;
    if (*label == 0 && !empty) {
        return cz_source_error(CZ_E_FORMAT, "it is labelled normal, and its mask marks defects");
    }
    return CZ_OK;
}

static cz_status read_photo(const photo_stream *s, const cz_sample *sample, eval_photo *p)
{
    const cz_read_options *read = &s->r->a->common.read;
    p->label = sample->label;
    cz_status status = cz_picture_read(sample->path, read, &p->photo);
    if (status == CZ_OK && sample->mask_count > 0) {
        status = eval_read_masks(sample->masks, sample->mask_count, sample->mask_rule, read, &p->mask);
        if (status == CZ_OK) status = eval_check_aspect(&p->mask.image, p->photo.image.width, p->photo.image.height);
    }
    return status == CZ_OK ? settle_label(&p->mask, &p->label) : status;
}

static cz_status load(void *ctx, size_t index, cz_image *out)
{
    photo_stream *s = ctx;
    eval_photo *p = &s->photos[index];
    photo_free(p);
    if (is_unlabelled(sample_at(s, index))) return cz_source_error(CZ_E_ARG, "without a label");
    const cz_status status = read_photo(s, sample_at(s, index), p);
    if (status == CZ_OK) *out = p->photo.image;
    if (status != CZ_OK) photo_free(p);
    return status;
}

static void release(void *ctx, size_t index, cz_image *image)
{
    photo_stream *s = ctx;
    (void)image;
    cz_picture_free(&s->photos[index].photo);
}

/* ---- in the worker that has scored the photo ------------------------------------------------------------------------ */

/* The map outlives the session's next call. */
static cz_status make_pixels(eval_pixels *p, const cz_result *result, const cz_image *truth, size_t at)
{
    cz_status status = eval_pixels_make(p, result->map, result->map_width, result->map_height, truth, at);
    if (status != CZ_OK || p->map != result->map) return status;
    const size_t count = result->map_width * result->map_height;
    p->map_room = malloc(count * sizeof *p->map_room);
    if (p->map_room == NULL) return cz_source_error(CZ_E_MEMORY, "out of memory");
    p->map_count = count;
    memcpy(p->map_room, result->map, count * sizeof *p->map_room);
    p->map = p->map_room;
    return CZ_OK;
}

/* `full`: the same result with the map at the photo's own size, for pictures; its map is *room where it was made. */
static cz_status make_full(const eval_run *r, const cz_result *result, const cz_image *photo, cz_result *full,
                           float **room)
{
    *full = *result;
    if (!r->input_map) return CZ_OK;
    *room = malloc(photo->width * photo->height * sizeof **room);
    if (*room == NULL) return cz_source_error(CZ_E_MEMORY, "out of memory");
    eval_resample(result->map, result->map_width, result->map_height, *room, photo->width, photo->height);
    full->map = *room;
    full->map_width = photo->width;
    full->map_height = photo->height;
    return CZ_OK;
}

static cz_status make_pictures(const eval_run *r, const cz_sample *sample, const cz_stream_item *scored, eval_photo *p)
{
    cz_result full;
    float *room = NULL;
    if (r->page == NULL && r->a->overlays == NULL) return CZ_OK;
    cz_status status = make_full(r, scored->result, scored->image, &full, &room);
    if (status == CZ_OK && r->a->overlays != NULL) {
        char *relative = strdup(sample->relative);
        const input item = {.relative = relative, .label = p->label};
        status = relative != NULL
                     ? pictures_make(&r->pictures, &item, scored->image, &full, scored->session, NULL, &p->files)
                     : cz_source_error(CZ_E_MEMORY, "out of memory");
        free(relative);
    }
    if (status == CZ_OK && r->page != NULL) status = eval_page_make(r, sample, p, &full);
    free(room);
    return status;
}

static cz_status work(void *ctx, cz_stream_item *scored)
{
    const photo_stream *s = ctx;
    const eval_run *r = s->r;
    eval_photo *p = &s->photos[scored->index];
    const cz_image *truth = p->mask.pixels != NULL ? &p->mask.image : NULL;
    p->trained_on = eval_known(r->known, scored->image, p->digest);
    cz_status status = make_pixels(&p->pixels, scored->result, truth, r->a->at);
    if (status == CZ_OK && r->a->at == 0 && r->a->save_maps != NULL && truth != NULL) {
        /* Maps are saved at the photo's size, as the truth of other programs is. */
        status = make_pixels(&p->saved, scored->result, NULL, 0);
    }
    if (status == CZ_OK) status = make_pictures(r, sample_at(s, scored->index), scored, p);
    return status;
}

/* ---- in the photos' order -------------------------------------------------------------------------------------------- */

/* Below DIR, as MVTec's evaluation code looks for maps: CATEGORY/test/KIND/NAME.tiff. Names that would meet get a number. */
static void name_map(eval_run *r, const cz_sample *sample, int label)
{
    const char *slash = strrchr(sample->relative, '/'), *file = slash != NULL ? slash + 1 : sample->relative;
    const char *dot = strrchr(file, '.');
    const int stem = dot != NULL && dot != file ? (int)(dot - file) : (int)strlen(file);
    const char *kind = sample->kind[0] != '\0' ? sample->kind : label == 1 ? "anomalous" : "good";
    char category[256], folder[256], number[24] = "";
    (void)snprintf(category, sizeof category, "%.250s", eval_category(r, sample->category));
    (void)snprintf(folder, sizeof folder, "%.250s", kind);
    for (char *p = category; *p != '\0'; p++) *p = *p == '/' || (p == category && *p == '.') ? '_' : *p;
    for (char *p = folder; *p != '\0'; p++) *p = *p == '/' || (p == folder && *p == '.') ? '_' : *p;
    for (unsigned i = 2; i < 1000000; i++) {
        (void)snprintf(r->map_name, sizeof r->map_name, "%s/test/%s/%.*s%s.tiff", category, folder,
                       stem > 400 ? 400 : stem, file, number);
        if (json_object_get(r->map_names, r->map_name) == NULL) break;
        (void)snprintf(number, sizeof number, "_%u", i);
    }
    (void)json_object_set_new(r->map_names, r->map_name, json_true());
}

static cz_status make_parents(char *path)
{
    for (char *p = strchr(path + 1, '/'); p != NULL; p = strchr(p + 1, '/')) {
        *p = '\0';
        const bool made = mkdir(path, 0777) == 0 || errno == EEXIST;
        if (!made) {
            char line[1200];
            (void)snprintf(line, sizeof line, "%.1000s: cannot make folder: %s", path, strerror(errno));
            return cz_source_error(errno == ENOSPC ? CZ_E_NO_SPACE : CZ_E_IO, line);
        }
        *p = '/';
    }
    return CZ_OK;
}

static cz_status save_map(eval_run *r, const cz_sample *sample, const eval_photo *p)
{
    const eval_pixels *pixels = p->saved.width > 0 ? &p->saved : &p->pixels;
    r->map_name[0] = '\0';
    if (r->a->save_maps == NULL) return CZ_OK;
    name_map(r, sample, p->label);
    const size_t room = strlen(r->a->save_maps) + strlen(r->map_name) + 2;
    char *path = malloc(room);
    if (path == NULL) return cz_source_error(CZ_E_MEMORY, "out of memory");
    (void)snprintf(path, room, "%s/%s", r->a->save_maps, r->map_name);
    cz_status status = make_parents(path);
    if (status == CZ_OK) status = cz_map_write_tiff(path, pixels->map, pixels->width, pixels->height);
    free(path);
    /* Not the photo's fault, and no other map could be written either. */
    return status == CZ_E_IO ? CZ_E_NO_SPACE : status;
}

/* Below the data set's root where it has one. */
static const char *below_root(const eval_run *r, const char *path)
{
    const char *root = r->a->data;
    if (root == NULL || eval_is_file(root)) return path;
    const size_t length = strlen(root);
    if (strncmp(path, root, length) != 0) return path;
    path += length;
    while (*path == '/') path++;
    return path;
}

static cz_status save_score(eval_run *r, const cz_sample *sample, int label, double score, bool trained_on, bool failed)
{
    if (r->scores.stream == NULL) return CZ_OK;
    scores_item item = {.path = sample->relative,
                        .category = eval_category(r, sample->category),
                        .kind = sample->kind,
                        .label = label,
                        .score = score,
                        .mask_count = sample->mask_count,
                        .nonzero = sample->mask_rule == CZ_MASK_NONZERO,
                        .map = r->map_name[0] != '\0' ? r->map_name : NULL,
                        .trained_on = trained_on,
                        .failed = failed};
    item.masks = calloc(item.mask_count + 1, sizeof *item.masks);
    if (item.masks == NULL) return cz_source_error(CZ_E_MEMORY, "out of memory");
    for (size_t i = 0; i < item.mask_count; i++) item.masks[i] = below_root(r, sample->masks[i]);
    const int code = scores_add(&r->scores, &item);
    free(item.masks);
    return code == CLI_OK ? CZ_OK : cz_source_error(CZ_E_NO_SPACE, "scores cannot be saved");
}

static cz_status count_photo(eval_run *r, const cz_sample *sample, eval_photo *p, double score)
{
    const char *category = eval_category(r, sample->category);
    cz_status status = eval_sum_add(&r->sum, category, p->label, score, &p->pixels);
    eval_add_digest(r->digest, p->digest);
    r->sum.trained_on += p->trained_on;
    if (status == CZ_OK) status = save_map(r, sample, p);
    if (status == CZ_OK) status = save_score(r, sample, p->label, score, p->trained_on, false);
    if (status == CZ_OK && r->page != NULL) status = eval_page_add(r, sample, p, score);
    return status;
}

static cz_status note_failure(eval_run *r, const cz_sample *sample, const char *reason, eval_count *c)
{
    c->failed++;
    if (r->told++ < MOST_TOLD) {
        const bool named = strncmp(reason, sample->path, strlen(sample->path)) == 0;
        cli_error("%s%s%s", named ? "" : sample->path, named ? "" : ": ", reason);
    } else if (r->told == MOST_TOLD + 1) {
        cli_error("further photos that fail are counted, not named");
    }
    r->map_name[0] = '\0';
    return save_score(r, sample, -1, 0.0, false, true);
}

static cz_status take(photo_stream *s, const cz_stream_item *scored)
{
    eval_run *r = s->r;
    const cz_sample *sample = sample_at(s, scored->index);
    eval_count *c = eval_sum_category(&r->sum, eval_category(r, sample->category));
    if (c == NULL) return CZ_E_MEMORY;
    if (is_unlabelled(sample)) {
        c->unlabelled++;
        return CZ_OK;
    }
    if (scored->status != CZ_OK) return note_failure(r, sample, scored->error, c);
    return count_photo(r, sample, &s->photos[scored->index], scored->result->score);
}

static int deliver(void *ctx, const cz_stream_item *scored)
{
    photo_stream *s = ctx;
    const size_t count = s->r->chosen_count;
    s->status = take(s, scored);
    if (s->status != CZ_OK) (void)snprintf(s->message, sizeof s->message, "%s", cz_last_error());
    photo_free(&s->photos[scored->index]);
    s->done++;
    s->interrupted = cli_progress(NULL, "evaluating", s->done, count, "") != 0 && s->done < count;
    return s->status != CZ_OK || s->interrupted;
}

static cz_status run_stream(photo_stream *s)
{
    cz_stream_options stream = CZ_STREAM_OPTIONS_INIT;
    cz_image_source images = CZ_IMAGE_SOURCE_INIT;
    images.count = s->r->chosen_count;
    images.load = load;
    images.release = release;
    images.ctx = s;
    images.concurrent = 1;
    stream.session = s->r->session;
    stream.workers = s->r->a->workers;
    stream.work = work;
    stream.deliver = deliver;
    stream.ctx = s;
    if (cli_progress(NULL, "evaluating", 0, images.count, "") != 0) return cz_source_error(CZ_E_CANCELLED, "cancelled");
    const cz_status status = cz_score_stream(s->r->model, &images, &stream, NULL);
    return s->status != CZ_OK ? cz_source_error(s->status, s->message) : status;
}

int eval_run_all(eval_run *r)
{
    photo_stream s = {.r = r, .photos = calloc(r->chosen_count + 1, sizeof *s.photos)};
    cz_status status = s.photos != NULL ? run_stream(&s) : cz_source_error(CZ_E_MEMORY, "out of memory");
    for (size_t i = 0; s.photos != NULL && i < r->chosen_count; i++) photo_free(&s.photos[i]);
    free(s.photos);
    cli_progress_end();
    if (status != CZ_OK) return cli_fail(status);
    const eval_count total = eval_sum_total(&r->sum);
    if (total.normal + total.anomalous == 0) {
        cli_error("none of the %zu test photos could be scored", r->chosen_count);
        return CLI_SOME_FAILED;
    }
    const int code = scores_commit(&r->scores);
    return code != CLI_OK ? code : total.failed > 0 ? CLI_SOME_FAILED : CLI_OK;
}
