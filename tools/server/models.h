/* SPDX-License-Identifier: Apache-2.0 */
/* The models that are served, by name. A model is opened once for all workers; one that is replaced on disk is opened beside the old one,
 * and requests that hold the old one keep it. Any thread. */
#ifndef SV_MODELS_H
#define SV_MODELS_H

#include "server.h"

#include <jansson.h>

typedef struct sv_models sv_models;

/* One opened model file; never changes. */
typedef struct sv_model {
    char name[SV_NAME];
    char version[17]; /* the first 16 hex digits of the file's SHA-256 */
    char *path;
    cz_model *model;
    uint64_t serial;  /* another one for every opening: keys of sessions */
    double low, high; /* colour scale (cz_model_scale) */
    bool calibrated;
    double threshold, pixel_threshold; /* NaN without calibration */
    json_t *json;                      /* of cz_model_json; read-only */
    double loaded;                     /* sv_wall */
} sv_model;

/* Opens settings->models and all *.cozad of model_dir, else of the folder "models" of state_dir where there is one. A -m file that cannot be
 * opened is an error, and so are two of one name; one of the folder is logged and shown as unavailable with the reason. */
cz_status sv_models_open(const sv_settings *settings, sv_models **out);
void sv_models_free(sv_models *m);
/* NULL: none of that name is loaded. `version`: NULL, "" or "1" (the current one, whatever it is), or its version. sv_model_release. */
const sv_model *sv_models_get(sv_models *m, const char *name, const char *version);
/* A further reference to one that is held. */
const sv_model *sv_model_hold(const sv_model *model);
void sv_model_release(const sv_model *model);
/* Replaced or unloaded since it was had: nobody gets it any more. */
bool sv_model_retired(const sv_model *model);
/* Every known name in order: {"name", "version", "state": "READY"|"UNAVAILABLE", "reason"}; a new reference. */
json_t *sv_models_index(sv_models *m);
/* From the model directory, or a -m file again; a file whose content is the loaded model's changes nothing. CZ_E_ARG: unknown name, of both.
 * One that was unloaded stays so, whatever becomes of its file, until it is loaded. */
cz_status sv_models_load(sv_models *m, const char *name);
cz_status sv_models_unload(sv_models *m, const char *name);
/* Looks whether files changed (size, time, inode) and were not touched for half a second, appeared or went; opens what changed. A file that
 * cannot be opened leaves the old model in place, with the reason logged and in the index. Called every second by sv_serve. */
void sv_models_poll(sv_models *m);
/* Called after a model was opened, replaced or dropped; any thread. May be asked for up to four times. */
void sv_models_on_change(sv_models *m, void (*changed)(void *ctx, const char *name), void *ctx);
/* Server is ready when all -m models are. */
bool sv_models_ready(sv_models *m);

#endif
