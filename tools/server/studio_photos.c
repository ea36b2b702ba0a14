/* SPDX-License-Identifier: Apache-2.0 */
/* Photos of a data set: checked, stored, shown. In the worker. */
#include "studio_internal.h"

#include "cozad/cozad_io.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FILE_MOST = 1 << 30 };

static cz_read_options read_options(const sv_studio *s)
{
    cz_read_options options = CZ_READ_OPTIONS_INIT;
    options.max_pixels = s->settings->max_pixels > 0 ? s->settings->max_pixels : UINT64_C(1) << 26;
    return options;
}

/* Decodes it once: what training will read is known to be readable. */
static cz_status look(const sv_studio *s, const void *bytes, size_t size, studio_photo *photo)
{
    static const char digits[] = "0123456789abcdef";
    const cz_read_options options = read_options(s);
    cz_picture picture = {0};
    uint8_t digest[32];
    const cz_status status = cz_picture_decode(bytes, size, &options, &picture);
    if (status != CZ_OK) return status;
    cz_image_sha256(&picture.image, digest);
    for (size_t i = 0; i < 32; i++) {
        photo->sha256[2 * i] = digits[digest[i] >> 4];
        photo->sha256[2 * i + 1] = digits[digest[i] & 15];
    }
    photo->sha256[64] = '\0';
    photo->width = picture.image.width;
    photo->height = picture.image.height;
    photo->bytes = size;
    photo->added = sv_wall();
    cz_picture_free(&picture);
    return CZ_OK;
}

static studio_reply stored(int status, const studio_photo *p, bool duplicate)
{
    return studio_json(status, json_pack("{s:s, s:s, s:I, s:I, s:I, s:b}", "name", p->name, "sha256", p->sha256,
                                         "bytes", (json_int_t)p->bytes, "width", (json_int_t)p->width, "height",
                                         (json_int_t)p->height, "duplicate", (int)duplicate));
}

/* Why it cannot be taken, by what is in memory; status 0: it can. */
static studio_reply refuse(sv_studio *s, const char *dataset, const studio_photo *photo)
{
    studio_reply reply = {0};
    (void)pthread_mutex_lock(&s->lock);
    const studio_dataset *d = studio_dataset_find(s, dataset);
    const studio_photo *same = NULL;
    for (size_t i = 0; d != NULL && same == NULL && i < d->count; i++)
        if (strcmp(d->photos[i].sha256, photo->sha256) == 0) same = &d->photos[i];
    if (d == NULL) {
        reply = studio_error(404, "there is no data set of this name");
    } else if (same != NULL) {
        reply = stored(200, same, true);
    } else if (studio_photo_find(d, photo->name) != NULL) {
        reply = studio_error(409, "%s: another photo has this name", photo->name);
    } else if (studio_dataset_busy(s, dataset, true)) {
        reply = studio_error(409, "a training with these photos runs or was interrupted; wait for it, or cancel it");
    } else if (d->count >= STUDIO_PHOTOS) {
        reply = studio_error(409, "a data set has at most %d photos", STUDIO_PHOTOS);
    } else if (photo->bytes > s->quota || s->bytes > s->quota - photo->bytes) {
        reply = studio_error(507, "uploads may take %.0f MB in all, and that is used up: remove data sets or photos",
                             (double)s->quota / 1e6);
    }
    (void)pthread_mutex_unlock(&s->lock);
    return reply;
}

/* The line that makes a stored photo known; then it is in memory too. */
static cz_status enter(sv_studio *s, const char *dataset, const studio_photo *photo)
{
    json_t *line = studio_photo_line(photo);
    char *text = line != NULL ? json_dumps(line, JSON_COMPACT) : NULL;
    char *with_end = text != NULL ? studio_path("%s\n", text) : NULL;
    char *index = studio_path("%s/datasets/%s/photos.jsonl", s->root, dataset);
    cz_status status = with_end != NULL && index != NULL ? studio_append(index, with_end) : CZ_E_MEMORY;
    if (status == CZ_OK) {
        (void)pthread_mutex_lock(&s->lock);
        studio_dataset *d = studio_dataset_find(s, dataset);
        if (d == NULL || !studio_photo_insert(d, photo)) {
            status = CZ_E_MEMORY;
        } else {
            s->bytes += photo->bytes;
            d->used = sv_wall();
        }
        (void)pthread_mutex_unlock(&s->lock);
    }
    free(index);
    free(with_end);
    free(text);
    json_decref(line);
    return status == CZ_E_MEMORY ? sv_fail(CZ_E_MEMORY, "out of memory") : status;
}

studio_reply studio_photo_put(sv_studio *s, const char *dataset, const char *name, const void *bytes, size_t size)
{
    studio_photo photo;
    memset(&photo, 0, sizeof photo);
    if (!sv_name_ok(dataset)) return studio_error(404, "there is no data set of this name");
    if (!sv_name_ok(name))
        return studio_error(400,
                            "a photo's name has letters, digits, '.', '_' and '-', at most %d of them, and does "
                            "not begin with a dot",
                            SV_NAME - 1);
    if (!cz_picture_is_name(name)) return studio_error(400, "%s: a photo's name ends in .jpg, .png, .tif, …", name);
    if (bytes == NULL || size == 0) return studio_error(400, "%s: the request has no picture in it", name);
    (void)snprintf(photo.name, sizeof photo.name, "%.*s", SV_NAME - 1, name);
    (void)pthread_mutex_lock(&s->lock);
    const bool there = studio_dataset_find(s, dataset) != NULL;
    (void)pthread_mutex_unlock(&s->lock);
    if (!there) return studio_error(404, "there is no data set of this name");
    cz_status status = look(s, bytes, size, &photo);
    if (status != CZ_OK) return studio_failure(status);
    studio_reply reply = refuse(s, dataset, &photo);
    if (reply.status != 0) return reply;
    char *path = studio_path("%s/datasets/%s/photos/%s", s->root, dataset, name);
    status = path != NULL ? studio_write(path, bytes, size) : sv_fail(CZ_E_MEMORY, "out of memory");
    if (status == CZ_OK && (status = enter(s, dataset, &photo)) != CZ_OK) {
        char why[STUDIO_TEXT];
        (void)snprintf(why, sizeof why, "%s", cz_last_error());
        (void)unlink(path);
        (void)sv_fail(status, "%s", why);
    }
    free(path);
    return status == CZ_OK ? stored(201, &photo, false) : studio_failure(status);
}

studio_reply studio_photo_delete(sv_studio *s, const char *dataset, const char *name)
{
    (void)pthread_mutex_lock(&s->lock);
    studio_dataset *d = studio_dataset_find(s, dataset);
    studio_photo *photo = d != NULL ? studio_photo_find(d, name) : NULL;
    const bool busy = studio_dataset_busy(s, dataset, true), there = photo != NULL;
    const bool excluded = there && photo->excluded;
    if (photo != NULL && !busy) {
        const size_t at = (size_t)(photo - d->photos);
        s->bytes -= photo->bytes;
        d->bytes -= photo->bytes;
        d->count--;
        memmove(d->photos + at, d->photos + at + 1, (d->count - at) * sizeof *d->photos);
    }
    (void)pthread_mutex_unlock(&s->lock);
    if (!there) return studio_error(404, "there is no photo of this name");
    if (busy)
        return studio_error(409, "a training with these photos runs or was interrupted; wait for it, or cancel it");
    /* Its line stays: one without a photo counts for nothing. */
    char *path = studio_path("%s/datasets/%s/photos/%s", s->root, dataset, name);
    if (path == NULL || (unlink(path) != 0 && errno != ENOENT))
        sv_log(SV_WARN, "studio", "photo", "%s", name, "removing", "%s", strerror(errno), NULL);
    free(path);
    /* A later photo of this name is not meant by the decision. */
    if (excluded && studio_dataset_save(s, dataset) != CZ_OK)
        sv_log(SV_WARN, "studio", "dataset", "%s", dataset, "saving", "%s", cz_last_error(), NULL);
    return studio_json(200, json_pack("{s:s}", "removed", name));
}

/* ---- showing -------------------------------------------------------------------------------------------------------- */

/* By what the decoder found it to be it is a picture; the type only tells the browser which. */
static const char *type_of(const unsigned char *bytes, size_t size)
{
    if (size > 3 && memcmp(bytes, "\xff\xd8\xff", 3) == 0) return "image/jpeg";
    if (size > 8 && memcmp(bytes, "\x89PNG\r\n\x1a\n", 8) == 0) return "image/png";
    if (size > 2 && memcmp(bytes, "BM", 2) == 0) return "image/bmp";
    if (size > 4 && (memcmp(bytes, "II*", 3) == 0 || memcmp(bytes, "MM\0*", 4) == 0)) return "image/tiff";
    if (size > 12 && memcmp(bytes, "RIFF", 4) == 0 && memcmp(bytes + 8, "WEBP", 4) == 0) return "image/webp";
    return "application/octet-stream";
}

static cz_status make_thumbnail(const sv_studio *s, const char *path, size_t longest, studio_reply *reply)
{
    const cz_read_options options = read_options(s);
    cz_picture photo = {0}, small = {0};
    char *jpeg = NULL;
    size_t size = 0;
    cz_status status = cz_picture_read(path, &options, &photo);
    if (status == CZ_OK) status = cz_picture_thumbnail(&photo.image, longest, &small);
    if (status == CZ_OK) status = cz_picture_encode_jpeg(&small.image, 85, &jpeg, &size);
    if (status == CZ_OK && (reply->body = malloc(size)) == NULL) status = sv_fail(CZ_E_MEMORY, "out of memory");
    if (status == CZ_OK) memcpy(reply->body, jpeg, size);
    reply->size = size;
    reply->type = "image/jpeg";
    cz_string_free(jpeg);
    cz_picture_free(&small);
    cz_picture_free(&photo);
    return status;
}

studio_reply studio_photo_get(sv_studio *s, const char *dataset, const char *name, size_t longest, const char *known)
{
    studio_reply reply = {.status = 200, .type = "image/jpeg"};
    if (longest > STUDIO_THUMB_MOST) return studio_error(400, "\"size\" is at most %d", STUDIO_THUMB_MOST);
    (void)pthread_mutex_lock(&s->lock);
    const studio_dataset *d = studio_dataset_find(s, dataset);
    const studio_photo *photo = d != NULL ? studio_photo_find(d, name) : NULL;
    if (photo != NULL) (void)snprintf(reply.etag, sizeof reply.etag, "\"%.40s-%zu\"", photo->sha256, longest);
    (void)pthread_mutex_unlock(&s->lock);
    if (photo == NULL) return studio_error(404, "there is no photo of this name");
    if (known != NULL && strcmp(known, reply.etag) == 0) {
        reply.status = 304;
        return reply;
    }
    char *path = studio_path("%s/datasets/%s/photos/%s", s->root, dataset, name);
    cz_status status = path != NULL ? CZ_OK : sv_fail(CZ_E_MEMORY, "out of memory");
    if (status == CZ_OK && longest > 0) {
        status = make_thumbnail(s, path, longest, &reply);
    } else if (status == CZ_OK && (status = studio_read(path, FILE_MOST, &reply.body, &reply.size)) == CZ_OK) {
        reply.type = type_of((const unsigned char *)reply.body, reply.size);
    }
    free(path);
    if (status == CZ_OK) return reply;
    studio_reply_free(&reply);
    return studio_error(500, "%s: cannot be shown", name); /* the library's message names the server's folders */
}

/* ---- after a server that was killed --------------------------------------------------------------------------------- */

static void adopt_one(sv_studio *s, const char *dataset, const char *name)
{
    char *path = studio_path("%s/datasets/%s/photos/%s", s->root, dataset, name), *bytes = NULL;
    studio_photo photo;
    size_t size = 0;
    memset(&photo, 0, sizeof photo);
    cz_status status = path != NULL ? CZ_OK : CZ_E_MEMORY;
    if (status == CZ_OK && !(sv_name_ok(name) && cz_picture_is_name(name))) status = CZ_E_FORMAT;
    if (status == CZ_OK) status = studio_read(path, FILE_MOST, &bytes, &size);
    if (status == CZ_OK) status = look(s, bytes, size, &photo);
    if (status == CZ_OK) {
        (void)snprintf(photo.name, sizeof photo.name, "%.*s", SV_NAME - 1, name);
        status = enter(s, dataset, &photo);
    }
    /* One that is no picture was never promised to anybody. */
    if (status == CZ_E_FORMAT || status == CZ_E_UNSUPPORTED || status == CZ_E_LIMIT) (void)unlink(path);
    sv_log(status == CZ_OK ? SV_INFO : SV_WARN, "studio", "dataset", "%s", dataset, "photo", "%s", name, "status", "%s",
           cz_status_name(status), NULL);
    free(bytes);
    free(path);
}

static void adopt_all(sv_studio *s, const char *dataset)
{
    char *folder = studio_path("%s/datasets/%s/photos", s->root, dataset);
    DIR *all = folder != NULL ? opendir(folder) : NULL;
    for (const struct dirent *entry; all != NULL && (entry = readdir(all)) != NULL;) {
        if (entry->d_name[0] == '.') continue;
        (void)pthread_mutex_lock(&s->lock);
        const studio_dataset *d = studio_dataset_find(s, dataset);
        const bool known = d == NULL || s->closing || studio_photo_find(d, entry->d_name) != NULL;
        (void)pthread_mutex_unlock(&s->lock);
        if (!known) adopt_one(s, dataset, entry->d_name);
    }
    if (all != NULL) (void)closedir(all);
    free(folder);
}

void studio_adopt(sv_studio *s)
{
    for (;;) {
        char name[SV_NAME] = "";
        (void)pthread_mutex_lock(&s->lock);
        for (size_t i = 0; name[0] == '\0' && i < s->dataset_count; i++) {
            if (!s->datasets[i]->orphans) continue;
            s->datasets[i]->orphans = false;
            (void)snprintf(name, sizeof name, "%s", s->datasets[i]->name);
        }
        (void)pthread_mutex_unlock(&s->lock);
        if (name[0] == '\0') return;
        adopt_all(s, name);
    }
}
