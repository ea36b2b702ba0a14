/* SPDX-License-Identifier: Apache-2.0 */
#include "models_file.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Heads have some megabytes, the largest flow some hundred. */
#define MOST_BYTES ((off_t)1 << 32)

typedef struct box {
    sv_model model; /* first: a pointer to it is one to the box */
    atomic_size_t references;
    atomic_bool retired;
    char sha256[65];
} box;

static box *box_of(const sv_model *model)
{
    return (box *)(uintptr_t)model;
}

const sv_model *sv_model_hold(const sv_model *model)
{
    atomic_fetch_add(&box_of(model)->references, 1);
    return model;
}

static void destroy(box *b)
{
    cz_model_close(b->model.model);
    json_decref(b->model.json);
    free(b->model.path);
    free(b);
}

void sv_model_release(const sv_model *model)
{
    if (model != NULL && atomic_fetch_sub(&box_of(model)->references, 1) == 1) destroy(box_of(model));
}

void sv_model_retire(const sv_model *model)
{
    atomic_store(&box_of(model)->retired, true);
}

bool sv_model_retired(const sv_model *model)
{
    return atomic_load(&box_of(model)->retired);
}

/* ---- files --------------------------------------------------------------------------------------------------------- */

sv_stamp sv_stamp_of(const struct stat *file)
{
    return (sv_stamp){file->st_dev, file->st_ino, file->st_size, file->st_mtim, file->st_ctim};
}

static bool same_time(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

bool sv_stamp_same(const sv_stamp *a, const sv_stamp *b)
{
    return a->device == b->device && a->inode == b->inode && a->size == b->size &&
           same_time(&a->modified, &b->modified) && same_time(&a->changed, &b->changed);
}

bool sv_stamp_read(const char *path, sv_stamp *out)
{
    struct stat file;
    if (stat(path, &file) != 0 || !S_ISREG(file.st_mode)) return false;
    *out = sv_stamp_of(&file);
    return true;
}

static cz_status copy_bytes(const char *path, int from, int to, off_t size)
{
    enum { CHUNK = 1 << 18 };
    off_t total = 0;
    cz_status status = CZ_OK;
    char *buffer = malloc(CHUNK);
    if (buffer == NULL) return sv_fail(CZ_E_MEMORY, "out of memory");
    for (;;) {
        const ssize_t got = read(from, buffer, CHUNK);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) status = sv_fail(CZ_E_IO, "%s: cannot be read: %s", path, strerror(errno));
        if (got <= 0) break;
        for (ssize_t at = 0; at < got && status == CZ_OK;) {
            const ssize_t put = write(to, buffer + at, (size_t)(got - at));
            if (put > 0) at += put;
            if (put < 0 && errno != EINTR) status = sv_fail(CZ_E_MEMORY, "%s: %s", path, strerror(errno));
        }
        total += got;
        if (status != CZ_OK || total > size) break;
    }
    free(buffer);
    if (status == CZ_OK && total != size) status = sv_fail(CZ_E_IO, "%s: is being written", path);
    return status;
}

/* The library maps the files it reads, and a mapped file that somebody cuts short ends the process. A copy in memory cannot be cut, and
 * its SHA-256 is that of the very bytes the model is made of. */
static cz_status copy_file(const char *path, int *out, sv_stamp *stamp)
{
    struct stat before, after;
    int copy = -1;
    cz_status status = CZ_OK;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO is not waited for */
    if (fd < 0) return sv_fail(CZ_E_IO, "%s: cannot open: %s", path, strerror(errno));
    if (fstat(fd, &before) != 0 || !S_ISREG(before.st_mode)) {
        status = sv_fail(CZ_E_IO, "%s: is not a file", path);
        goto out;
    }
    *stamp = sv_stamp_of(&before);
    if (before.st_size == 0) status = sv_fail(CZ_E_MODEL, "%s: is empty", path);
    if (before.st_size > MOST_BYTES) status = sv_fail(CZ_E_LIMIT, "%s: is larger than 4 GiB", path);
    if (status == CZ_OK && (copy = memfd_create("cozad model", MFD_CLOEXEC)) < 0)
        status = sv_fail(CZ_E_MEMORY, "%s: no memory for a copy: %s", path, strerror(errno));
    if (status == CZ_OK) status = copy_bytes(path, fd, copy, before.st_size);
    if (status == CZ_OK && fstat(fd, &after) == 0) {
        const sv_stamp end = sv_stamp_of(&after);
        /* A rename or a removal changes the inode's times, not its bytes. */
        if (after.st_size != before.st_size || !same_time(&end.modified, &stamp->modified))
            status = sv_fail(CZ_E_IO, "%s: is being written", path);
    }
out:
    (void)close(fd);
    if (status == CZ_OK) {
        *out = copy;
    } else if (copy >= 0) {
        (void)close(copy);
    }
    return status;
}

/* ---- a model ------------------------------------------------------------------------------------------------------- */

/* The weights that are open already, where they are the model's own. *out stays NULL: none are. */
static cz_status choose_backbone(const sv_model_source *s, const char *copy, cz_backbone **out)
{
    cz_model *seen = NULL;
    *out = s->backbone;
    if (s->backbone != NULL || s->known_count == 0) return CZ_OK;
    const cz_status status = cz_model_inspect(copy, &seen);
    if (status != CZ_OK) return status;
    json_t *meta = json_loads(cz_model_json(seen), 0, NULL);
    const char *sha256 = json_string_value(json_object_get(json_object_get(meta, "backbone"), "sha256"));
    for (size_t i = 0; sha256 != NULL && i < s->known_count; i++) {
        if (strcmp(cz_backbone_sha256(s->known[i]), sha256) == 0) *out = s->known[i];
    }
    json_decref(meta);
    cz_model_close(seen);
    return CZ_OK;
}

static cz_status describe(box *b)
{
    sv_model *m = &b->model;
    cz_calibration c;
    cz_model_scale(m->model, &m->low, &m->high);
    m->calibrated = cz_model_calibration(m->model, &c) != 0;
    m->threshold = m->calibrated ? c.threshold : (double)NAN;
    m->pixel_threshold = m->calibrated ? c.pixel_threshold : (double)NAN;
    m->json = json_loads(cz_model_json(m->model), 0, NULL);
    m->loaded = sv_wall();
    return m->json != NULL ? CZ_OK : sv_fail(CZ_E_MEMORY, "out of memory");
}

static size_t side_of(const json_t *tile, const char *key)
{
    const json_int_t side = json_integer_value(json_object_get(tile, key));
    return side > 0 ? (size_t)side : 0;
}

cz_status sv_model_session(const sv_model *model, cz_precision precision, size_t max_batch, cz_session **out)
{
    cz_session_options o = CZ_SESSION_OPTIONS_INIT;
    const json_t *tile = json_object_get(json_object_get(model->json, "calibration"), "tile");
    o.threads = 1;
    o.precision = precision;
    o.map = CZ_MAP_ROWS; /* made when asked for: most requests want none, and one session then serves both */
    o.max_batch = max_batch;
    o.tile_width = side_of(tile, "width");
    o.tile_height = side_of(tile, "height");
    o.tile_overlap = side_of(tile, "overlap");
    return cz_session_open(model->model, &o, out);
}

/* A photo that the model's region and tiles fit in. */
static void size_of_photo(const sv_model *model, size_t *width, size_t *height)
{
    const json_t *input = json_object_get(model->json, "input"), *roi = json_object_get(input, "roi");
    const json_t *tile = json_object_get(json_object_get(model->json, "calibration"), "tile");
    *width = side_of(input, "width");
    *height = side_of(input, "height");
    if (tile != NULL) {
        *width = side_of(tile, "width");
        *height = side_of(tile, "height");
    }
    if (roi != NULL) {
        *width = side_of(roi, "x") + side_of(roi, "width");
        *height = side_of(roi, "y") + side_of(roi, "height");
    }
}

/* Settings that do not go with the model, and a model whose scores are no numbers, are told now and not to whoever sends the first photo,
 * who also need not wait for packed weights and generated code. */
static cz_status try_session(const sv_model_source *s, const sv_model *model)
{
    enum { MOST_SIDE = 8192 };
    size_t width, height;
    cz_session *session = NULL;
    cz_status status = sv_model_session(model, s->settings->precision, 1, &session);
    size_of_photo(model, &width, &height);
    if (status == CZ_OK && width > 0 && height > 0 && width <= MOST_SIDE && height <= MOST_SIDE) {
        status = cz_session_warmup(session, width, height, 1);
        if (status != CZ_E_MODEL) status = CZ_OK; /* what else may be wrong with that photo is no fault of the model */
    }
    cz_session_close(session);
    return status;
}

/* Of the file and not of its copy, which nobody has heard of. */
static cz_status name_file(cz_status status, const char *copy, const char *path)
{
    char text[1024];
    const size_t length = strlen(copy);
    (void)snprintf(text, sizeof text, "%s", cz_last_error());
    const char *rest = strncmp(text, copy, length) == 0 && text[length] == ':' ? text + length + 1 : text;
    while (*rest == ' ') rest++;
    if (strncmp(rest, path, strlen(path)) == 0) return sv_fail(status, "%s", text);
    return sv_fail(status, "%s: %s", path, *rest != '\0' ? rest : cz_status_name(status));
}

static cz_status open_copy(const sv_model_source *s, const char *copy, box *b)
{
    sv_model *m = &b->model;
    cz_backbone *backbone = NULL;
    cz_status status = choose_backbone(s, copy, &backbone);
    if (status == CZ_OK) status = cz_model_open(copy, backbone, &m->model);
    if (status == CZ_OK) status = describe(b);
    return status == CZ_OK ? try_session(s, m) : status;
}

static cz_status make(const sv_model_source *s, const char *copy, const char *sha256, const sv_model **out)
{
    box *b = calloc(1, sizeof *b);
    if (b == NULL) return sv_fail(CZ_E_MEMORY, "out of memory");
    sv_model *m = &b->model;
    atomic_init(&b->references, 1);
    atomic_init(&b->retired, false);
    (void)snprintf(b->sha256, sizeof b->sha256, "%s", sha256);
    (void)snprintf(m->version, sizeof m->version, "%.16s", sha256);
    (void)snprintf(m->name, sizeof m->name, "%s", s->name);
    m->serial = s->serial;
    m->path = strdup(s->path);
    cz_status status = m->path != NULL ? open_copy(s, copy, b) : sv_fail(CZ_E_MEMORY, "out of memory");
    if (status == CZ_OK) {
        *out = m;
    } else {
        status = name_file(status, copy, s->path);
        destroy(b);
    }
    return status;
}

cz_status sv_model_file_open(const sv_model_source *source, const sv_model **out, sv_stamp *stamp)
{
    char copy[64], sha256[65];
    int fd = -1;
    cz_status status = copy_file(source->path, &fd, stamp);
    if (status != CZ_OK) return status;
    (void)snprintf(copy, sizeof copy, "/proc/self/fd/%d", fd);
    status = cz_file_sha256(copy, sha256);
    if (status != CZ_OK) {
        status = name_file(status, copy, source->path);
    } else if (source->current != NULL && strcmp(box_of(source->current)->sha256, sha256) == 0) {
        *out = sv_model_hold(source->current);
    } else {
        status = make(source, copy, sha256, out);
    }
    (void)close(fd);
    return status;
}
