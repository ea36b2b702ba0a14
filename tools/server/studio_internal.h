/* SPDX-License-Identifier: Apache-2.0 */
/* What the files studio*.c share. Functions that make a studio_reply know nothing of connections, so that tests call them as the routes do.
 *
 * Threads: everything that changes a data set, and all that is slow, runs in one worker; jobs run in one runner, which also waits for the
 * child; questions are answered in the caller's thread from memory. `lock` is never held while a file is read or written, with the
 * exception of renaming a data set's folder away.
 *
 * Below STATE, besides what studio.h names: datasets/NAME/photos.jsonl (a line for each upload; the last one of a name counts, and a line
 * without its photo does not), cache (feature store of the trainings), lock. Names that begin with a dot are leftovers of a server that was
 * killed: they are removed at the next start. */
#ifndef SV_STUDIO_INTERNAL_H
#define SV_STUDIO_INTERNAL_H

#include "log.h"
#include "studio.h"

#include <pthread.h>
#include <sys/types.h>

enum {
    STUDIO_PHOTOS = 50000, /* of a data set */
    STUDIO_DATASETS = 1000,
    STUDIO_JOBS = 200,  /* that are kept, whatever their state */
    STUDIO_QUEUED = 20, /* that wait */
    STUDIO_TASKS = 256, /* requests that wait for the worker */
    STUDIO_TEXT = 512,  /* a message with its final zero */
    STUDIO_LIST = 500,  /* photos of one answer unless asked for another number */
    STUDIO_LIST_MOST = 5000,
    STUDIO_THUMB_MOST = 2048,
    STUDIO_BODY = 4 << 20 /* bytes of a JSON body */
};

typedef struct studio_photo {
    char name[SV_NAME];
    char sha256[65]; /* of its pixels: cz_image_sha256 */
    uint64_t bytes;
    size_t width, height;
    double added;  /* sv_wall */
    bool excluded; /* left out of the next training */
} studio_photo;

typedef struct studio_dataset {
    char name[SV_NAME];
    double created, used; /* sv_wall */
    studio_photo *photos; /* [count] by name */
    size_t count, room;
    uint64_t bytes;
    bool orphans; /* photos without a line: the worker looks at them after the start */
} studio_dataset;

typedef enum studio_state { STUDIO_QUEUE, STUDIO_RUNNING, STUDIO_DONE, STUDIO_FAILED, STUDIO_CANCELLED } studio_state;

typedef struct studio_job {
    char id[SV_NAME], name[SV_NAME], dataset[SV_NAME];
    char source[SV_NAME]; /* of a calibration: the training job; "" for a training */
    json_t *options;      /* as studio_train_options or studio_calibrate_options made them */
    studio_state state;
    double created, started, ended; /* sv_wall; 0: not yet */
    char message[STUDIO_TEXT];
    size_t photos, failed_photos;
    double contamination; /* NaN: not known */
    json_t *result;       /* of a calibration; NULL: none */
    char activated[SV_NAME];
    /* while it runs; not stored */
    char phase[24];
    double progress, loss, eta; /* NaN: not known */
    size_t step, steps;
    bool cancel;
} studio_job;

/* What jobs do to the rest of the server; NULL members are left out. */
typedef struct studio_hooks {
    cz_status (*load)(void *ctx, const char *model);
    void (*limit)(void *ctx, double share);
    void *ctx;
} studio_hooks;

typedef struct studio_reply {
    int status;   /* HTTP */
    json_t *json; /* or: */
    char *body;   /* free */
    size_t size;
    const char *type;
    char etag[80];
} studio_reply;

struct studio_task;

struct sv_studio {
    const sv_settings *settings;
    studio_hooks hooks;
    char *root;              /* absolute; NULL: no training through the page */
    char *binary, *backbone; /* backbone NULL: the program's own choice */
    char *models;            /* folder that activated models go to */
    uint64_t quota;
    size_t threads; /* of a child */
    double grace;   /* seconds from SIGINT to SIGKILL */
    int lock_file;
    pthread_mutex_t lock;
    pthread_mutex_t
        saving; /* held while a state is taken and written: an older one never replaces a newer one. Before `lock`. */
    pthread_cond_t work, jobs_changed; /* CLOCK_MONOTONIC */
    bool closing;
    studio_dataset **datasets; /* by name */
    size_t dataset_count, dataset_room;
    studio_job **jobs; /* in order of creation */
    size_t job_count, job_room;
    uint64_t bytes; /* of all photos */
    size_t running;
    struct studio_task *first, *last;
    size_t tasks;
    pthread_t worker, runner;
    bool worker_started, runner_started;
    void *routes; /* of studio.c; freed with the rest */
};

/* ---- studio_core.c: life, worker ------------------------------------------------------------------------------------ */

/* Without threads, as sv_studio_open does it with: reads what is there. */
cz_status studio_create(const sv_settings *settings, const studio_hooks *hooks, sv_studio **out);
/* The worker and the runner. */
cz_status studio_start(sv_studio *s);
/* The worker calls `run`, which answers the request; false: too many wait, or the server ends (the request is the caller's still). */
bool studio_submit(sv_studio *s, void (*run)(sv_studio *s, void *ctx), void *ctx);

/* ---- replies -------------------------------------------------------------------------------------------------------- */

/* Takes the reference; NULL is 507, out of memory. */
studio_reply studio_json(int status, json_t *json);
studio_reply studio_error(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* cz_last_error with the HTTP status that http.h names for it. */
studio_reply studio_failure(cz_status status);
void studio_reply_free(studio_reply *r);
json_t *studio_real(double value); /* null unless finite */
json_t *studio_time(double wall);  /* text; null for 0 */

/* ---- studio_files.c ------------------------------------------------------------------------------------------------- */

/* free(); NULL: out of memory. */
char *studio_path(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A temporary file beside `path`, fsynced, renamed. Nothing is left behind by a failure. CZ_E_NO_SPACE: the disk is full. */
cz_status studio_write(const char *path, const void *data, size_t size);
cz_status studio_write_json(const char *path, const json_t *json);
cz_status studio_copy(const char *from, const char *to);
/* At most `limit` bytes, followed by a zero that is not counted; free(). CZ_E_IO, CZ_E_LIMIT. */
cz_status studio_read(const char *path, size_t limit, char **out, size_t *size);
/* NULL: not there or not JSON. */
json_t *studio_read_json(const char *path, size_t limit);
/* Adds a line of text, whole or not at all, and waits until it is on the disk. */
cz_status studio_append(const char *path, const char *line);
cz_status studio_make_folder(const char *path);
/* A folder with all that is in it; links are not followed. */
cz_status studio_remove_tree(const char *path);
/* Removes what begins with a dot in a folder. */
void studio_sweep(const char *folder);

/* ---- studio_datasets.c ---------------------------------------------------------------------------------------------- */

cz_status studio_datasets_load(sv_studio *s);
void studio_dataset_free(studio_dataset *d);
/* Under the lock. */
studio_dataset *studio_dataset_find(const sv_studio *s, const char *name);
studio_photo *studio_photo_find(const studio_dataset *d, const char *name);
bool studio_dataset_insert(sv_studio *s, studio_dataset *d);
/* Makes room and keeps the order; false: out of memory. */
bool studio_photo_insert(studio_dataset *d, const studio_photo *photo);
json_t *studio_photo_line(const studio_photo *photo);
/* Notes that it was used just now, and which photos are excluded. Not under the lock. */
cz_status studio_dataset_save(sv_studio *s, const char *name);
studio_reply studio_dataset_list(sv_studio *s);
/* Photos from index `from` on, `most` of them (0: STUDIO_LIST). */
studio_reply studio_dataset_get(sv_studio *s, const char *name, size_t from, size_t most);
/* {"name"} */
studio_reply studio_dataset_create(sv_studio *s, const json_t *body);
studio_reply studio_dataset_delete(sv_studio *s, const char *name);
/* {"photos": [names]}: exactly these are left out from now on. */
studio_reply studio_exclude(sv_studio *s, const char *job, const json_t *body);
/* Removes data sets that nothing used for retention_days. */
void studio_retain(sv_studio *s);

/* ---- studio_photos.c ------------------------------------------------------------------------------------------------ */

studio_reply studio_photo_put(sv_studio *s, const char *dataset, const char *name, const void *bytes, size_t size);
/* `longest` 0: the file as it was uploaded; else a JPEG no side of which is longer. `known`: an ETag that the client has, or NULL; 304 if
 * it is still so. The reply has an ETag unless it is an error. */
studio_reply studio_photo_get(sv_studio *s, const char *dataset, const char *name, size_t longest, const char *known);
studio_reply studio_photo_delete(sv_studio *s, const char *dataset, const char *name);
/* Photos that a killed server had written but not entered. */
void studio_adopt(sv_studio *s);

/* ---- studio_options.c: pure ------------------------------------------------------------------------------------------ */

/* All that a training is asked for, checked, with defaults: {"dataset", "name", "method", …}; unknown keys are refused. A new reference.
 * CZ_E_ARG says what is wrong. */
cz_status studio_train_options(const json_t *body, json_t **out);
/* {"dataset"?, "alpha"} */
cz_status studio_calibrate_options(const json_t *body, json_t **out);
/* Words of a command, NULL-terminated; free each and the array. */
typedef struct studio_words {
    char **items;
    size_t count, room;
    bool failed; /* out of memory */
} studio_words;
void studio_word(studio_words *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
void studio_words_free(studio_words *w);
/* The options' part of `cozad train`. */
void studio_train_words(const json_t *options, const char *backbone, studio_words *w);

/* ---- studio_jobs.c -------------------------------------------------------------------------------------------------- */

cz_status studio_jobs_load(sv_studio *s);
void studio_job_free(studio_job *job);
const char *studio_state_name(studio_state state);
/* Under the lock. */
studio_job *studio_job_find(const sv_studio *s, const char *id);
/* Whether a job that waits or runs uses the data set; `begun`: only one that has begun. Under the lock. */
bool studio_dataset_busy(const sv_studio *s, const char *dataset, bool begun);
/* The finished calibration of a training that is the newest, or NULL. Under the lock. */
const studio_job *studio_calibration_of(const sv_studio *s, const char *id);
/* Not under the lock. */
cz_status studio_job_save(sv_studio *s, const char *id);
studio_reply studio_job_list(sv_studio *s);
studio_reply studio_job_get(sv_studio *s, const char *id);
studio_reply studio_job_create(sv_studio *s, const json_t *body);
studio_reply studio_job_calibrate(sv_studio *s, const char *id, const json_t *body);
studio_reply studio_job_delete(sv_studio *s, const char *id);

/* ---- studio_models.c ------------------------------------------------------------------------------------------------ */

studio_reply studio_job_distrusted(sv_studio *s, const char *id);
studio_reply studio_job_activate(sv_studio *s, const char *id, const json_t *body);

/* ---- studio_child.c ------------------------------------------------------------------------------------------------- */

typedef struct studio_child {
    const char *folder;    /* to run in */
    const char *out, *err; /* files that are replaced */
    const char *lock;      /* file that is locked as long as the child lives */
    char *const *words;    /* [0] the program's path */
} studio_child;
/* Starts it: lower priority, a process group of its own, SIGKILL when the calling thread ends. CZ_E_CANCELLED: the lock is held by an
 * earlier child that still runs. */
cz_status studio_child_start(const studio_child *c, pid_t *pid);
/* To the whole group. */
void studio_child_signal(pid_t pid, int number);
/* The last line that cozad wrote to `path`, without its name; false: none. */
bool studio_last_words(const char *path, char out[STUDIO_TEXT]);

/* A training log that is being written. */
typedef struct studio_log {
    off_t at;
    char *line; /* what is there of a line that is not finished */
    size_t used;
    bool skip; /* the rest of a line that is too long */
} studio_log;
typedef struct studio_progress {
    bool started, any_step;
    size_t step, steps;
    double loss, eta;
    const char *phase; /* the last line's, where it is of one without steps; NULL: none */
    double share;      /* of that phase that is done */
} studio_progress;
/* Reads what is new; a file that is not there yet has nothing. */
void studio_log_read(studio_log *log, const char *path, studio_progress *progress);
void studio_log_free(studio_log *log);

/* ---- studio_run.c --------------------------------------------------------------------------------------------------- */

/* The runner's thread. */
void *studio_run_jobs(void *studio);

#endif
