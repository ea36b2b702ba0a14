/* SPDX-License-Identifier: Apache-2.0 */
/* One model file, opened: what models.c keeps by name and pool*.c computes with. */
#ifndef SV_MODELS_FILE_H
#define SV_MODELS_FILE_H

#include "models.h"

#include <sys/stat.h>

/* What tells one state of a file from another without reading it. */
typedef struct sv_stamp {
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec modified, changed;
} sv_stamp;
sv_stamp sv_stamp_of(const struct stat *file);
bool sv_stamp_same(const sv_stamp *a, const sv_stamp *b);
/* False: no regular file is there. */
bool sv_stamp_read(const char *path, sv_stamp *out);

typedef struct sv_model_source {
    const char *name, *path;
    const sv_settings *settings;
    cz_backbone *backbone;     /* the one that all models are to have; NULL: found by the SHA-256 in the file */
    cz_backbone *const *known; /* [known_count] opened already, to be shared */
    size_t known_count;
    const sv_model *current; /* NULL: none; *out is a further reference to it where the file holds the same bytes */
    uint64_t serial;
} sv_model_source;
/* Reads the file once, so that whoever writes to it meanwhile is noticed (CZ_E_IO) and harms nobody later, and makes sure that a session
 * opens. `*stamp`: of what was read; also set on failure where the file could be looked at. sv_model_release. */
cz_status sv_model_file_open(const sv_model_source *source, const sv_model **out, sv_stamp *stamp);
/* From then on sv_model_retired. */
void sv_model_retire(const sv_model *model);
/* A session of one thread, with maps by rows, of the tiles that the model was calibrated with. cz_session_close. */
cz_status sv_model_session(const sv_model *model, cz_precision precision, size_t max_batch, cz_session **out);

#endif
