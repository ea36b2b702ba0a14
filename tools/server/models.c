/* SPDX-License-Identifier: Apache-2.0 */
#include "models.h"

#include "log.h"
#include "models_file.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_NAMES = 1024, REASON = 512, LISTENERS = 4 };
static const double quiet_seconds = 0.5;
static const char extension[] = ".cozad";

/* One name. Made once, never removed before the end. */
typedef struct entry {
    char name[SV_NAME];
    char *path;
    bool given;                /* with -m */
    bool unloaded;             /* on request: stays so until it is loaded on request */
    bool gone;                 /* its file was missed, and that has been dealt with */
    const sv_model *current;   /* NULL: unavailable */
    char reason[REASON];       /* why it is, or why its new file is not taken */
    sv_stamp tried, seen;      /* of the file: as it was last opened, well or not; as it was last looked at */
    double seen_at, missed_at; /* of sv_now; 0: not so */
    bool was_tried;
} entry;

typedef struct listener {
    void (*changed)(void *ctx, const char *name);
    void *ctx;
} listener;

struct sv_models {
    sv_settings settings;
    cz_backbone *backbone;   /* of settings; NULL */
    char *folder;            /* the model directory, else where the page puts its models; NULL: neither */
    pthread_mutex_t opening; /* held by whoever changes anything, for as long as opening a file takes; before `lock` */
    pthread_mutex_t lock;    /* of what `sv_models_get` reads */
    entry *entries[MOST_NAMES];
    size_t count;
    uint64_t serial;
    listener listeners[LISTENERS];
    size_t listener_count;
};

static void tell(sv_models *m, const char *name)
{
    listener all[LISTENERS];
    (void)pthread_mutex_lock(&m->lock);
    const size_t count = m->listener_count;
    memcpy(all, m->listeners, sizeof all);
    (void)pthread_mutex_unlock(&m->lock);
    for (size_t i = 0; i < count; i++) all[i].changed(all[i].ctx, name);
}

void sv_models_on_change(sv_models *m, void (*changed)(void *ctx, const char *name), void *ctx)
{
    (void)pthread_mutex_lock(&m->lock);
    if (m->listener_count < LISTENERS) m->listeners[m->listener_count++] = (listener){changed, ctx};
    (void)pthread_mutex_unlock(&m->lock);
}

/* ---- names --------------------------------------------------------------------------------------------------------- */

static entry *find(const sv_models *m, const char *name)
{
    for (size_t i = 0; i < m->count; i++) {
        if (strcmp(m->entries[i]->name, name) == 0) return m->entries[i];
    }
    return NULL;
}

/* `name` is a good one, and new. With `opening` held. */
static cz_status add(sv_models *m, const char *name, const char *path, bool given, entry **out)
{
    if (m->count == MOST_NAMES) return sv_fail(CZ_E_LIMIT, "more than %d models", (int)MOST_NAMES);
    entry *e = calloc(1, sizeof *e);
    if (e == NULL || (e->path = strdup(path)) == NULL) {
        free(e);
        return sv_fail(CZ_E_MEMORY, "out of memory");
    }
    (void)snprintf(e->name, sizeof e->name, "%s", name);
    (void)snprintf(e->reason, sizeof e->reason, "was not opened so far");
    e->given = given;
    (void)pthread_mutex_lock(&m->lock);
    m->entries[m->count++] = e;
    (void)pthread_mutex_unlock(&m->lock);
    *out = e;
    return CZ_OK;
}

/* False: no name can be made of it. */
static bool stem_of(const char *path, char out[SV_NAME])
{
    const char *slash = strrchr(path, '/'), *base = slash != NULL ? slash + 1 : path, *dot = strrchr(base, '.');
    const size_t length = dot != NULL && dot != base ? (size_t)(dot - base) : strlen(base);
    if (length == 0 || length >= SV_NAME) return false;
    memcpy(out, base, length);
    out[length] = '\0';
    return sv_name_ok(out);
}

static cz_status path_in_dir(const sv_models *m, const char *name, char **out)
{
    const size_t room = strlen(m->folder) + strlen(name) + sizeof extension + 1;
    *out = malloc(room);
    if (*out == NULL) return sv_fail(CZ_E_MEMORY, "out of memory");
    (void)snprintf(*out, room, "%s/%s%s", m->folder, name, extension);
    return CZ_OK;
}

/* ---- changes: with `opening` held, so that nobody else replaces a `current` ------------------------------------------ */

static void set_reason(sv_models *m, entry *e, const char *reason)
{
    (void)pthread_mutex_lock(&m->lock);
    (void)snprintf(e->reason, sizeof e->reason, "%s", reason);
    (void)pthread_mutex_unlock(&m->lock);
}

/* `model`: its reference is taken; NULL: none from now on. */
static void set_current(sv_models *m, entry *e, const sv_model *model, const char *reason)
{
    (void)pthread_mutex_lock(&m->lock);
    const sv_model *old = e->current;
    e->current = model;
    (void)snprintf(e->reason, sizeof e->reason, "%s", reason);
    (void)pthread_mutex_unlock(&m->lock);
    if (old == NULL) return;
    sv_model_retire(old);
    sv_model_release(old);
}

static size_t open_backbones(const sv_models *m, cz_backbone *out[MOST_NAMES])
{
    size_t count = 0;
    for (size_t i = 0; i < m->count; i++) {
        const entry *e = m->entries[i];
        cz_backbone *b = e->current != NULL ? cz_model_backbone(e->current->model) : NULL;
        size_t n = 0;
        while (n < count && out[n] != b) n++;
        if (b != NULL && n == count) out[count++] = b;
    }
    return count;
}

static cz_status open_entry(sv_models *m, entry *e, bool *changed)
{
    cz_backbone *known[MOST_NAMES];
    const sv_model *fresh = NULL;
    const double start = sv_now();
    const sv_model_source source = {.name = e->name,
                                    .path = e->path,
                                    .settings = &m->settings,
                                    .backbone = m->backbone,
                                    .known = known,
                                    .known_count = open_backbones(m, known),
                                    .current = e->current,
                                    .serial = ++m->serial};
    *changed = false;
    sv_stamp stamp = {0};
    const cz_status status = sv_model_file_open(&source, &fresh, &stamp);
    e->tried = stamp;
    e->was_tried = true;
    if (status != CZ_OK) {
        char reason[REASON];
        (void)snprintf(reason, sizeof reason, "%s", cz_last_error());
        set_reason(m, e, reason);
        sv_log(SV_WARN, "model refused", "model", "%s", e->name, "kept", "%s",
               e->current != NULL ? e->current->version : "none", "reason", "%s", reason, NULL);
        return sv_fail(status, "%s", reason);
    }
    if (fresh == e->current) {
        sv_model_release(fresh);
        set_reason(m, e, "");
        return CZ_OK;
    }
    *changed = true;
    sv_log(SV_INFO, "model loaded", "model", "%s", e->name, "version", "%s", fresh->version, "before", "%s",
           e->current != NULL ? e->current->version : "none", "seconds", "%.2f", sv_now() - start, NULL);
    set_current(m, e, fresh, "");
    return CZ_OK;
}

static void drop(sv_models *m, entry *e, const char *reason)
{
    sv_log(SV_INFO, "model dropped", "model", "%s", e->name, "reason", "%s", reason, NULL);
    set_current(m, e, NULL, reason);
}

/* A file of the folder may be given with -m too. */
static bool is_its_file(const sv_models *m, const entry *e, const char *name)
{
    char *path = NULL;
    sv_stamp a, b;
    const bool both = path_in_dir(m, name, &path) == CZ_OK && sv_stamp_read(path, &a) && sv_stamp_read(e->path, &b);
    free(path);
    return both && a.device == b.device && a.inode == b.inode;
}

/* Names in the folder that are not known; `first`: said of those that cannot be taken. */
static void scan_dir(sv_models *m, bool first)
{
    struct dirent *item;
    DIR *dir = m->folder != NULL ? opendir(m->folder) : NULL;
    if (dir == NULL) return;
    while ((item = readdir(dir)) != NULL) {
        char name[SV_NAME], *path = NULL;
        const size_t length = strlen(item->d_name), end = sizeof extension - 1;
        sv_stamp stamp;
        if (item->d_name[0] == '.' || length <= end || strcmp(item->d_name + length - end, extension) != 0) continue;
        entry *e = NULL;
        const bool good = stem_of(item->d_name, name);
        if (good) e = find(m, name);
        if (good && e != NULL && e->given && first && !is_its_file(m, e, name)) {
            sv_log(SV_WARN, "model ignored", "file", "%s", item->d_name, "reason", "%s", "-m gives another this name",
                   NULL);
        }
        if (!good && first) {
            sv_log(SV_WARN, "model ignored", "file", "%s", item->d_name, "reason", "%s",
                   "a model's name is made of A-Z a-z 0-9 . _ - and has at most 63 characters", NULL);
        }
        if (!good || e != NULL || path_in_dir(m, name, &path) != CZ_OK) continue;
        if (sv_stamp_read(path, &stamp) && add(m, name, path, false, &e) != CZ_OK && first)
            sv_log(SV_WARN, "model ignored", "file", "%s", item->d_name, "reason", "%s", cz_last_error(), NULL);
        free(path);
    }
    (void)closedir(dir);
}

/* ---- opening all --------------------------------------------------------------------------------------------------- */

static cz_status open_given(sv_models *m)
{
    for (size_t i = 0; i < m->settings.model_count; i++) {
        const char *path = m->settings.models[i];
        char name[SV_NAME];
        entry *e = NULL;
        bool changed;
        if (!stem_of(path, name))
            return sv_fail(CZ_E_ARG,
                           "%s: its name without the extension is to be the model's, made of A-Z a-z 0-9 . _ - and of "
                           "at most 63 characters",
                           path);
        e = find(m, name);
        if (e != NULL) return sv_fail(CZ_E_ARG, "%s and %s: two models of one name", e->path, path);
        cz_status status = add(m, name, path, true, &e);
        if (status == CZ_OK) status = open_entry(m, e, &changed);
        if (status != CZ_OK) return status;
    }
    return CZ_OK;
}

static cz_status open_dir(sv_models *m)
{
    static const char of_page[] = "/models";
    const char *given = m->settings.model_dir, *state = m->settings.state_dir;
    if (given == NULL && state == NULL) return CZ_OK;
    const size_t room = strlen(given != NULL ? given : state) + sizeof of_page;
    m->folder = malloc(room);
    if (m->folder == NULL) return sv_fail(CZ_E_MEMORY, "out of memory");
    (void)snprintf(m->folder, room, "%s%s", given != NULL ? given : state, given != NULL ? "" : of_page);
    DIR *dir = opendir(m->folder);
    if (dir == NULL && given != NULL) return sv_fail(CZ_E_IO, "%s: cannot be listed: %s", given, strerror(errno));
    if (dir != NULL) (void)closedir(dir);
    scan_dir(m, true);
    for (size_t i = 0; i < m->count; i++) {
        bool changed;
        if (!m->entries[i]->given) (void)open_entry(m, m->entries[i], &changed); /* logged, and in the index */
    }
    return CZ_OK;
}

cz_status sv_models_open(const sv_settings *settings, sv_models **out)
{
    sv_models *m = calloc(1, sizeof *m);
    cz_status status = CZ_OK;
    if (m == NULL) return sv_fail(CZ_E_MEMORY, "out of memory");
    m->settings = *settings;
    if (pthread_mutex_init(&m->opening, NULL) != 0 || pthread_mutex_init(&m->lock, NULL) != 0) {
        free(m); /* neither holds anything on the systems that this is built for */
        return sv_fail(CZ_E_MEMORY, "no memory for a lock");
    }
    if (settings->backbone != NULL) status = cz_backbone_open(settings->backbone, &m->backbone);
    if (status == CZ_OK) status = open_given(m);
    if (status == CZ_OK) status = open_dir(m);
    if (status == CZ_OK) {
        *out = m;
    } else {
        sv_models_free(m);
    }
    return status;
}

void sv_models_free(sv_models *m)
{
    if (m == NULL) return;
    for (size_t i = 0; i < m->count; i++) {
        entry *e = m->entries[i];
        if (e->current != NULL) sv_model_retire(e->current);
        sv_model_release(e->current);
        free(e->path);
        free(e);
    }
    cz_backbone_close(m->backbone);
    free(m->folder);
    (void)pthread_mutex_destroy(&m->opening);
    (void)pthread_mutex_destroy(&m->lock);
    free(m);
}

/* ---- asked for ----------------------------------------------------------------------------------------------------- */

const sv_model *sv_models_get(sv_models *m, const char *name, const char *version)
{
    const sv_model *found = NULL;
    (void)pthread_mutex_lock(&m->lock);
    const entry *e = find(m, name);
    const sv_model *current = e != NULL ? e->current : NULL;
    const bool any = version == NULL || version[0] == '\0' || strcmp(version, "1") == 0;
    if (current != NULL && (any || strcmp(version, current->version) == 0)) found = sv_model_hold(current);
    (void)pthread_mutex_unlock(&m->lock);
    return found;
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(entry *const *)a)->name, (*(entry *const *)b)->name);
}

json_t *sv_models_index(sv_models *m)
{
    entry *sorted[MOST_NAMES];
    json_t *list = json_array();
    (void)pthread_mutex_lock(&m->lock);
    const size_t count = m->count;
    memcpy(sorted, m->entries, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, by_name);
    for (size_t i = 0; i < count; i++) {
        const entry *e = sorted[i];
        json_t *reason = json_string(e->reason); /* NULL where a file's name in it is not UTF-8 */
        if (reason == NULL) reason = json_string("the reason is in the log");
        (void)json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:o}", "name", e->name, "version",
                                                    e->current != NULL ? e->current->version : "", "state",
                                                    e->current != NULL ? "READY" : "UNAVAILABLE", "reason", reason));
    }
    (void)pthread_mutex_unlock(&m->lock);
    return list;
}

bool sv_models_ready(sv_models *m)
{
    bool ready = true;
    (void)pthread_mutex_lock(&m->lock);
    for (size_t i = 0; i < m->count; i++) ready = ready && (!m->entries[i]->given || m->entries[i]->current != NULL);
    (void)pthread_mutex_unlock(&m->lock);
    return ready;
}

/* ---- load and unload ----------------------------------------------------------------------------------------------- */

/* With `opening` held. A name that is not known may have a file in the folder by now. */
static cz_status find_or_add(sv_models *m, const char *name, entry **out)
{
    char *path = NULL;
    sv_stamp stamp;
    *out = sv_name_ok(name) ? find(m, name) : NULL;
    if (*out != NULL) return CZ_OK;
    if (!sv_name_ok(name)) return sv_fail(CZ_E_ARG, "that is no model's name");
    if (m->folder == NULL) return sv_fail(CZ_E_ARG, "no model \"%s\" is known", name);
    cz_status status = path_in_dir(m, name, &path);
    if (status == CZ_OK) {
        status = sv_stamp_read(path, &stamp) ? add(m, name, path, false, out)
                                             : sv_fail(CZ_E_ARG, "no model \"%s\" is known", name);
    }
    free(path);
    return status;
}

cz_status sv_models_load(sv_models *m, const char *name)
{
    entry *e = NULL;
    bool changed = false;
    (void)pthread_mutex_lock(&m->opening);
    cz_status status = find_or_add(m, name, &e);
    if (status == CZ_OK) {
        e->unloaded = false;
        status = open_entry(m, e, &changed);
    }
    (void)pthread_mutex_unlock(&m->opening);
    if (changed) tell(m, e->name);
    return status;
}

cz_status sv_models_unload(sv_models *m, const char *name)
{
    bool changed = false;
    (void)pthread_mutex_lock(&m->opening);
    entry *e = sv_name_ok(name) ? find(m, name) : NULL;
    if (e != NULL) {
        changed = e->current != NULL;
        e->unloaded = true;
        if (changed) drop(m, e, "unloaded");
        if (!changed) set_reason(m, e, "unloaded");
    }
    (void)pthread_mutex_unlock(&m->opening);
    if (e == NULL) return sv_fail(CZ_E_ARG, "no model of that name is known");
    if (changed) tell(m, e->name);
    return CZ_OK;
}

/* ---- files that change --------------------------------------------------------------------------------------------- */

/* A model that was given on the command line outlives its file, one of the folder is served while it is there. */
static bool miss(sv_models *m, entry *e)
{
    bool changed = false;
    if (e->gone) return false;
    if (e->missed_at == 0.0) e->missed_at = sv_now();
    if (sv_now() - e->missed_at < quiet_seconds) return false; /* one that is being replaced by removing it first */
    e->gone = true;
    e->was_tried = false;
    if (e->unloaded) return false;
    if (e->current != NULL && !e->given) {
        drop(m, e, "its file is gone");
        changed = true;
    } else {
        set_reason(m, e, "its file is gone");
        sv_log(SV_WARN, "model file gone", "model", "%s", e->name, "kept", "%s",
               e->current != NULL ? e->current->version : "none", NULL);
    }
    return changed;
}

static bool is_quiet(entry *e, const sv_stamp *stamp)
{
    const double changed = (double)stamp->changed.tv_sec + 1e-9 * (double)stamp->changed.tv_nsec;
    if (e->seen_at == 0.0 || !sv_stamp_same(&e->seen, stamp)) {
        e->seen = *stamp;
        e->seen_at = sv_now();
    }
    /* The second also where the file's clock is not ours. */
    return sv_wall() - changed >= quiet_seconds || sv_now() - e->seen_at >= quiet_seconds;
}

/* Whether the model is another one now. */
static bool look(sv_models *m, entry *e)
{
    bool changed = false;
    sv_stamp stamp;
    if (!sv_stamp_read(e->path, &stamp)) return miss(m, e);
    e->gone = false;
    e->missed_at = 0.0;
    if (e->unloaded || (e->was_tried && sv_stamp_same(&e->tried, &stamp)) || !is_quiet(e, &stamp)) return false;
    (void)open_entry(m, e, &changed); /* a failure is logged, in the index, and not tried again with the same file */
    return changed;
}

void sv_models_poll(sv_models *m)
{
    (void)pthread_mutex_lock(&m->opening);
    scan_dir(m, false);
    const size_t count = m->count; /* grows only */
    (void)pthread_mutex_unlock(&m->opening);
    for (size_t i = 0; i < count; i++) {
        (void)pthread_mutex_lock(&m->opening);
        entry *e = m->entries[i];
        const bool changed = look(m, e);
        (void)pthread_mutex_unlock(&m->opening);
        if (changed) tell(m, e->name);
    }
}
