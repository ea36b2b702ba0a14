/* SPDX-License-Identifier: Apache-2.0 */
/* Data sets: folders of photos, and what is known of them. */
#include "studio_internal.h"

#include "cozad/cozad_io.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { INDEX_MOST = 256 << 20, STATE_MOST = 16 << 20 };

/* ---- in memory ------------------------------------------------------------------------------------------------------ */

void studio_dataset_free(studio_dataset *d)
{
    if (d == NULL) return;
    free(d->photos);
    free(d);
}

/* Where `name` is, or belongs. */
static size_t dataset_place(const sv_studio *s, const char *name)
{
    size_t low = 0, high = s->dataset_count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (strcmp(s->datasets[middle]->name, name) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

studio_dataset *studio_dataset_find(const sv_studio *s, const char *name)
{
    const size_t at = dataset_place(s, name);
    return at < s->dataset_count && strcmp(s->datasets[at]->name, name) == 0 ? s->datasets[at] : NULL;
}

bool studio_dataset_insert(sv_studio *s, studio_dataset *d)
{
    if (s->dataset_count == s->dataset_room) {
        const size_t room = s->dataset_room == 0 ? 16 : 2 * s->dataset_room;
        studio_dataset **all = realloc(s->datasets, room * sizeof *all);
        if (all == NULL) return false;
        s->datasets = all;
        s->dataset_room = room;
    }
    const size_t at = dataset_place(s, d->name);
    memmove(s->datasets + at + 1, s->datasets + at, (s->dataset_count - at) * sizeof *s->datasets);
    s->datasets[at] = d;
    s->dataset_count++;
    s->bytes += d->bytes;
    return true;
}

static size_t photo_place(const studio_dataset *d, const char *name)
{
    size_t low = 0, high = d->count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (strcmp(d->photos[middle].name, name) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

studio_photo *studio_photo_find(const studio_dataset *d, const char *name)
{
    const size_t at = photo_place(d, name);
    return at < d->count && strcmp(d->photos[at].name, name) == 0 ? &d->photos[at] : NULL;
}

bool studio_photo_insert(studio_dataset *d, const studio_photo *photo)
{
    if (d->count == d->room) {
        const size_t room = d->room == 0 ? 32 : 2 * d->room;
        studio_photo *photos = realloc(d->photos, room * sizeof *photos);
        if (photos == NULL) return false;
        d->photos = photos;
        d->room = room;
    }
    const size_t at = photo_place(d, photo->name);
    memmove(d->photos + at + 1, d->photos + at, (d->count - at) * sizeof *d->photos);
    d->photos[at] = *photo;
    d->count++;
    d->bytes += photo->bytes;
    return true;
}

/* ---- what is on the disk -------------------------------------------------------------------------------------------- */

json_t *studio_photo_line(const studio_photo *p)
{
    return json_pack("{s:s, s:s, s:I, s:I, s:I, s:f}", "name", p->name, "sha256", p->sha256, "bytes",
                     (json_int_t)p->bytes, "width", (json_int_t)p->width, "height", (json_int_t)p->height, "added",
                     p->added);
}

static bool parse_line(const char *text, size_t size, studio_photo *out)
{
    const char *name, *sha256;
    json_int_t bytes, width, height;
    memset(out, 0, sizeof *out);
    json_t *line = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL);
    const bool good = json_unpack(line, "{s:s, s:s, s:I, s:I, s:I, s:F}", "name", &name, "sha256", &sha256, "bytes",
                                  &bytes, "width", &width, "height", &height, "added", &out->added) == 0 &&
                      sv_name_ok(name) && cz_picture_is_name(name) && strlen(sha256) == 64 &&
                      strspn(sha256, "0123456789abcdef") == 64 && bytes > 0 && width > 0 && height > 0;
    if (good) {
        (void)snprintf(out->name, sizeof out->name, "%s", name);
        (void)snprintf(out->sha256, sizeof out->sha256, "%s", sha256);
        out->bytes = (uint64_t)bytes;
        out->width = (size_t)width;
        out->height = (size_t)height;
    }
    json_decref(line);
    return good;
}

typedef struct index_line {
    studio_photo photo;
    size_t order; /* in the file */
} index_line;

/* The last line of a name comes first. */
static int by_name(const void *a, const void *b)
{
    const index_line *x = a, *y = b;
    const int order = strcmp(x->photo.name, y->photo.name);
    return order != 0 ? order : (x->order < y->order) - (x->order > y->order);
}

/* Lines that are damaged, or half written when the power went, are left out. */
static bool read_lines(const char *text, size_t size, index_line **out, size_t *count)
{
    size_t room = 0, used = 0;
    index_line *lines = NULL;
    for (size_t at = 0; at < size;) {
        const char *stop = memchr(text + at, '\n', size - at);
        const size_t length = stop != NULL ? (size_t)(stop - text) - at : size - at;
        if (used == room) {
            room = room == 0 ? 64 : 2 * room;
            index_line *more = realloc(lines, room * sizeof *lines);
            if (more == NULL) {
                free(lines);
                return false;
            }
            lines = more;
        }
        lines[used].order = used;
        if (length > 0 && parse_line(text + at, length, &lines[used].photo)) used++;
        at += length + 1;
    }
    *out = lines;
    *count = used;
    return true;
}

/* Those that have a photo of that size. */
static cz_status take_lines(studio_dataset *d, const char *folder, index_line *lines, size_t count)
{
    if (count > 0) qsort(lines, count, sizeof *lines, by_name);
    for (size_t i = 0; i < count; i++) {
        const studio_photo *photo = &lines[i].photo;
        struct stat info;
        if (i > 0 && strcmp(photo->name, lines[i - 1].photo.name) == 0) continue;
        char *path = studio_path("%s/photos/%s", folder, photo->name);
        const bool there =
            path != NULL && lstat(path, &info) == 0 && S_ISREG(info.st_mode) && (uint64_t)info.st_size == photo->bytes;
        free(path);
        if (there && !studio_photo_insert(d, photo)) return sv_fail(CZ_E_MEMORY, "out of memory");
    }
    return CZ_OK;
}

/* Whether there are photos without a line. */
static bool has_orphans(const studio_dataset *d, const char *folder)
{
    bool found = false;
    char *path = studio_path("%s/photos", folder);
    DIR *all = path != NULL ? opendir(path) : NULL;
    for (const struct dirent *entry; all != NULL && !found && (entry = readdir(all)) != NULL;)
        found = entry->d_name[0] != '.' && studio_photo_find(d, entry->d_name) == NULL;
    if (all != NULL) (void)closedir(all);
    free(path);
    return found;
}

static cz_status load_photos(studio_dataset *d, const char *folder)
{
    char *index = studio_path("%s/photos.jsonl", folder), *text = NULL;
    index_line *lines = NULL;
    struct stat info;
    size_t size = 0, count = 0;
    cz_status status = CZ_OK;
    if (index != NULL && stat(index, &info) == 0 && (double)info.st_mtime > d->used) d->used = (double)info.st_mtime;
    if (index != NULL && studio_read(index, INDEX_MOST, &text, &size) == CZ_OK) {
        if (!read_lines(text, size, &lines, &count)) status = sv_fail(CZ_E_MEMORY, "out of memory");
        if (status == CZ_OK) status = take_lines(d, folder, lines, count);
    }
    free(text);
    free(index);
    free(lines);
    d->orphans = has_orphans(d, folder);
    return status;
}

/* Without dataset.json (a server that was killed while it made the folder) there are the folder's own dates. */
static void load_state(studio_dataset *d, const char *folder)
{
    char *path = studio_path("%s/dataset.json", folder);
    json_t *state = path != NULL ? studio_read_json(path, STATE_MOST) : NULL;
    struct stat info;
    if (stat(folder, &info) == 0) d->created = d->used = (double)info.st_mtime;
    const double created = json_number_value(json_object_get(state, "created"));
    const double used = json_number_value(json_object_get(state, "used"));
    if (created > 0.0) d->created = created;
    if (used > 0.0) d->used = used;
    json_decref(state);
    free(path);
}

static void load_excluded(studio_dataset *d, const char *folder)
{
    char *path = studio_path("%s/dataset.json", folder);
    json_t *state = path != NULL ? studio_read_json(path, STATE_MOST) : NULL, *name;
    size_t i;
    json_array_foreach(json_object_get(state, "excluded"), i, name)
    {
        studio_photo *photo = json_is_string(name) ? studio_photo_find(d, json_string_value(name)) : NULL;
        if (photo != NULL) photo->excluded = true;
    }
    json_decref(state);
    free(path);
}

static cz_status load_one(sv_studio *s, const char *name)
{
    char *folder = studio_path("%s/datasets/%s", s->root, name), *photos = NULL;
    studio_dataset *d = calloc(1, sizeof *d);
    struct stat info;
    cz_status status = folder != NULL && d != NULL ? CZ_OK : sv_fail(CZ_E_MEMORY, "out of memory");
    if (status != CZ_OK || lstat(folder, &info) != 0 || !S_ISDIR(info.st_mode)) goto out;
    (void)snprintf(d->name, sizeof d->name, "%.*s", SV_NAME - 1, name);
    photos = studio_path("%s/photos", folder);
    status = photos != NULL ? studio_make_folder(photos) : sv_fail(CZ_E_MEMORY, "out of memory");
    if (status != CZ_OK) goto out;
    studio_sweep(folder);
    studio_sweep(photos);
    load_state(d, folder);
    status = load_photos(d, folder);
    if (status == CZ_OK) load_excluded(d, folder);
    if (status == CZ_OK && !studio_dataset_insert(s, d)) status = sv_fail(CZ_E_MEMORY, "out of memory");
    if (status == CZ_OK) d = NULL;
out:
    studio_dataset_free(d);
    free(photos);
    free(folder);
    return status;
}

cz_status studio_datasets_load(sv_studio *s)
{
    cz_status status = CZ_OK;
    char *path = studio_path("%s/datasets", s->root);
    DIR *all = path != NULL ? opendir(path) : NULL;
    if (all == NULL) status = sv_fail(CZ_E_IO, "datasets: cannot read: %s", strerror(errno));
    for (const struct dirent *entry; status == CZ_OK && (entry = readdir(all)) != NULL;)
        if (sv_name_ok(entry->d_name)) status = load_one(s, entry->d_name);
    if (all != NULL) (void)closedir(all);
    free(path);
    return status;
}

cz_status studio_dataset_save(sv_studio *s, const char *name)
{
    json_t *excluded = json_array(), *state = NULL;
    (void)pthread_mutex_lock(&s->saving);
    (void)pthread_mutex_lock(&s->lock);
    studio_dataset *d = studio_dataset_find(s, name);
    if (d != NULL) {
        d->used = sv_wall();
        for (size_t i = 0; i < d->count; i++)
            if (d->photos[i].excluded) (void)json_array_append_new(excluded, json_string(d->photos[i].name));
        state = json_pack("{s:s, s:f, s:f, s:O}", "name", d->name, "created", d->created, "used", d->used, "excluded",
                          excluded);
    }
    (void)pthread_mutex_unlock(&s->lock);
    cz_status status = CZ_OK;
    if (d != NULL) {
        char *path = studio_path("%s/datasets/%s/dataset.json", s->root, name);
        status = path != NULL ? studio_write_json(path, state) : sv_fail(CZ_E_MEMORY, "out of memory");
        free(path);
    }
    (void)pthread_mutex_unlock(&s->saving);
    json_decref(state);
    json_decref(excluded);
    return status;
}

/* ---- answers -------------------------------------------------------------------------------------------------------- */

/* Under the lock. */
static json_t *describe(const sv_studio *s, const studio_dataset *d)
{
    size_t excluded = 0;
    for (size_t i = 0; i < d->count; i++) excluded += d->photos[i].excluded;
    return json_pack("{s:s, s:I, s:I, s:I, s:o, s:o, s:b}", "name", d->name, "count", (json_int_t)d->count, "bytes",
                     (json_int_t)d->bytes, "excluded", (json_int_t)excluded, "created", studio_time(d->created), "used",
                     studio_time(d->used), "busy", (int)studio_dataset_busy(s, d->name, false));
}

studio_reply studio_dataset_list(sv_studio *s)
{
    json_t *all = json_array();
    (void)pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < s->dataset_count; i++) (void)json_array_append_new(all, describe(s, s->datasets[i]));
    json_t *out = json_pack("{s:o, s:I, s:I, s:f}", "datasets", all, "bytes", (json_int_t)s->bytes, "quota",
                            (json_int_t)s->quota, "retention_days", s->settings->retention_days);
    (void)pthread_mutex_unlock(&s->lock);
    return studio_json(200, out);
}

static json_t *describe_photo(const studio_photo *p)
{
    return json_pack("{s:s, s:s, s:I, s:I, s:I, s:o, s:b}", "name", p->name, "sha256", p->sha256, "bytes",
                     (json_int_t)p->bytes, "width", (json_int_t)p->width, "height", (json_int_t)p->height, "added",
                     studio_time(p->added), "excluded", (int)p->excluded);
}

studio_reply studio_dataset_get(sv_studio *s, const char *name, size_t from, size_t most)
{
    if (most == 0) most = STUDIO_LIST;
    if (most > STUDIO_LIST_MOST) return studio_error(400, "at most %d photos can be listed at once", STUDIO_LIST_MOST);
    json_t *photos = json_array(), *out = NULL;
    (void)pthread_mutex_lock(&s->lock);
    const studio_dataset *d = studio_dataset_find(s, name);
    if (d != NULL) {
        size_t i = from;
        for (; i < d->count && i - from < most; i++) (void)json_array_append_new(photos, describe_photo(&d->photos[i]));
        out = describe(s, d);
        (void)json_object_set(out, "photos", photos);
        (void)json_object_set_new(out, "next", i < d->count ? json_integer((json_int_t)i) : json_null());
    }
    (void)pthread_mutex_unlock(&s->lock);
    json_decref(photos);
    return d != NULL ? studio_json(200, out) : studio_error(404, "there is no data set of this name");
}

/* ---- changes: in the worker ----------------------------------------------------------------------------------------- */

static studio_reply make(sv_studio *s, const char *name)
{
    char *folder = studio_path("%s/datasets/%s", s->root, name);
    char *photos = studio_path("%s/datasets/%s/photos", s->root, name);
    studio_dataset *d = calloc(1, sizeof *d);
    cz_status status = folder != NULL && photos != NULL && d != NULL ? CZ_OK : sv_fail(CZ_E_MEMORY, "out of memory");
    bool inserted = false;
    if (status == CZ_OK) status = studio_make_folder(folder);
    if (status == CZ_OK) status = studio_make_folder(photos);
    if (status == CZ_OK) {
        (void)snprintf(d->name, sizeof d->name, "%.*s", SV_NAME - 1, name);
        d->created = d->used = sv_wall();
        (void)pthread_mutex_lock(&s->lock);
        inserted = studio_dataset_insert(s, d);
        (void)pthread_mutex_unlock(&s->lock);
        if (!inserted) status = sv_fail(CZ_E_MEMORY, "out of memory");
    }
    if (inserted) status = studio_dataset_save(s, name);
    studio_reply reply = status == CZ_OK ? studio_dataset_get(s, name, 0, 0) : studio_failure(status);
    if (status == CZ_OK) reply.status = 201;
    if (!inserted) {
        if (folder != NULL) (void)studio_remove_tree(folder);
        studio_dataset_free(d);
    } else if (status != CZ_OK) {
        studio_reply gone = studio_dataset_delete(s, name);
        studio_reply_free(&gone);
    }
    free(photos);
    free(folder);
    return reply;
}

studio_reply studio_dataset_create(sv_studio *s, const json_t *body)
{
    const char *name = json_string_value(json_object_get(body, "name"));
    if (name == NULL || !sv_name_ok(name) || json_object_size(body) != 1)
        return studio_error(400,
                            "a data set is made with {\"name\": …}: letters, digits, '.', '_' and '-', at most %d "
                            "of them, not beginning with a dot",
                            SV_NAME - 1);
    (void)pthread_mutex_lock(&s->lock);
    const bool there = studio_dataset_find(s, name) != NULL, full = s->dataset_count >= STUDIO_DATASETS;
    (void)pthread_mutex_unlock(&s->lock);
    if (there) return studio_error(409, "there is a data set named %s", name);
    if (full) return studio_error(409, "there are %d data sets; remove some", STUDIO_DATASETS);
    return make(s, name);
}

/* Takes it out of sight at once; the photos themselves take a while. Under the lock. NULL with *status: it stays. */
static char *take_away(sv_studio *s, const char *name, cz_status *status)
{
    const size_t at = dataset_place(s, name);
    char *folder = studio_path("%s/datasets/%s", s->root, name);
    char *gone = studio_path("%s/datasets/.%s.%.6f", s->root, name, sv_now());
    *status = folder != NULL && gone != NULL ? CZ_OK : sv_fail(CZ_E_MEMORY, "out of memory");
    if (*status == CZ_OK && rename(folder, gone) != 0 && errno != ENOENT)
        *status = sv_fail(CZ_E_IO, "%s: cannot remove: %s", name, strerror(errno));
    free(folder);
    if (*status != CZ_OK) {
        free(gone);
        return NULL;
    }
    s->bytes -= s->datasets[at]->bytes;
    studio_dataset_free(s->datasets[at]);
    s->dataset_count--;
    memmove(s->datasets + at, s->datasets + at + 1, (s->dataset_count - at) * sizeof *s->datasets);
    return gone;
}

studio_reply studio_dataset_delete(sv_studio *s, const char *name)
{
    cz_status status = CZ_OK;
    char *gone = NULL;
    (void)pthread_mutex_lock(&s->lock);
    const bool there = studio_dataset_find(s, name) != NULL, busy = studio_dataset_busy(s, name, false);
    if (there && !busy) gone = take_away(s, name, &status);
    (void)pthread_mutex_unlock(&s->lock);
    if (!there) return studio_error(404, "there is no data set of this name");
    if (busy) return studio_error(409, "a job that waits or runs uses %s", name);
    if (status == CZ_OK && studio_remove_tree(gone) != CZ_OK) /* the next start tries again */
        sv_log(SV_WARN, "studio", "removing", "%s", cz_last_error(), NULL);
    free(gone);
    return status == CZ_OK ? studio_json(200, json_pack("{s:s}", "removed", name)) : studio_failure(status);
}

/* The name of a data set that has grown old; false: none. */
static bool find_old(sv_studio *s, double before, char name[SV_NAME])
{
    bool found = false;
    (void)pthread_mutex_lock(&s->lock);
    for (size_t i = 0; !found && i < s->dataset_count; i++) {
        const studio_dataset *d = s->datasets[i];
        found = d->used < before && !studio_dataset_busy(s, d->name, false);
        if (found) (void)snprintf(name, SV_NAME, "%s", d->name);
    }
    (void)pthread_mutex_unlock(&s->lock);
    return found;
}

void studio_retain(sv_studio *s)
{
    char name[SV_NAME];
    if (!(s->settings->retention_days > 0.0)) return;
    const double before = sv_wall() - s->settings->retention_days * 86400.0;
    for (size_t i = 0; i < STUDIO_DATASETS && find_old(s, before, name); i++) {
        studio_reply reply = studio_dataset_delete(s, name);
        const bool good = reply.status == 200;
        const char *error = json_string_value(json_object_get(reply.json, "error"));
        sv_log(good ? SV_INFO : SV_WARN, "retention", "dataset", "%s", name, "removed", "%s", good ? "yes" : "no",
               "reason", "%s", error, NULL);
        studio_reply_free(&reply);
        if (!good) return;
    }
}

/* ---- decisions ------------------------------------------------------------------------------------------------------ */

static bool names_are_photos(const studio_dataset *d, const json_t *names)
{
    for (size_t i = 0; i < json_array_size(names); i++) {
        const char *name = json_string_value(json_array_get(names, i));
        if (name == NULL || studio_photo_find(d, name) == NULL) return false;
    }
    return true;
}

studio_reply studio_exclude(sv_studio *s, const char *id, const json_t *body)
{
    const json_t *names = json_object_get(body, "photos");
    char dataset[SV_NAME] = "";
    bool known = false;
    if (!json_is_array(names) || json_object_size(body) != 1)
        return studio_error(400, "decisions are {\"photos\": [names]}");
    (void)pthread_mutex_lock(&s->lock);
    const studio_job *job = studio_job_find(s, id);
    studio_dataset *d = job != NULL ? studio_dataset_find(s, job->dataset) : NULL;
    if (d != NULL && (known = names_are_photos(d, names))) {
        (void)snprintf(dataset, sizeof dataset, "%s", d->name);
        for (size_t i = 0; i < d->count; i++) d->photos[i].excluded = false;
        for (size_t i = 0; i < json_array_size(names); i++)
            studio_photo_find(d, json_string_value(json_array_get(names, i)))->excluded = true;
    }
    (void)pthread_mutex_unlock(&s->lock);
    if (job == NULL) return studio_error(404, "there is no job of this name");
    if (d == NULL) return studio_error(404, "the job's data set is not there any more");
    if (!known) return studio_error(400, "\"photos\" are names of photos of the data set");
    const cz_status status = studio_dataset_save(s, dataset);
    if (status != CZ_OK) return studio_failure(status);
    return studio_json(200,
                       json_pack("{s:s, s:I}", "dataset", dataset, "excluded", (json_int_t)json_array_size(names)));
}
