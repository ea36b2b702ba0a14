/* SPDX-License-Identifier: Apache-2.0 */
/* Files: whole-file reading, mapping, and atomic replacement (temporary file beside the target, fsync, rename). */
#ifndef CZ_UTIL_FILE_H
#define CZ_UTIL_FILE_H

#include "util/status.h"

#include <stdint.h>
#include <stdio.h>

typedef struct cz_mapping {
    const uint8_t *data;
    size_t size;
} cz_mapping;

/* Maps a regular file read-only. An empty file gives size 0 and data NULL. */
cz_status cz_file_map(const char *path, cz_mapping *out);
void cz_file_unmap(cz_mapping *mapping);
/* Opens a regular file for reading; the caller closes it. */
cz_status cz_file_open(const char *path, FILE **out, size_t *size);
/* Reads at most `limit` bytes (larger: CZ_E_LIMIT) into a buffer with a 0 byte after its end; free with cz_free. */
cz_status cz_file_read(const char *path, size_t limit, uint8_t **out, size_t *size);

/* Writing: what was at `path` stays whole until commit. Abort (or a crash) leaves it untouched. */
typedef struct cz_atomic_file {
    FILE *stream;
    char *path, *temporary;
} cz_atomic_file;
cz_status cz_atomic_open(const char *path, cz_atomic_file *out);
/* ENOSPC and EDQUOT give CZ_E_NO_SPACE. */
cz_status cz_atomic_write(cz_atomic_file *file, const void *data, size_t bytes);
cz_status cz_atomic_commit(cz_atomic_file *file); /* closes in any case */
void cz_atomic_abort(cz_atomic_file *file);       /* no effect on a committed or zeroed one */
/* All of the above in one call. */
cz_status cz_file_write_atomic(const char *path, const void *data, size_t bytes);

cz_status cz_make_dirs(const char *path);
/* CZ_E_NO_SPACE for ENOSPC and EDQUOT, else CZ_E_IO; message "PATH: cannot VERB: reason". */
cz_status cz_fail_errno(const char *path, const char *verb, int error);
/* The last component without its extension; cz_free. */
char *cz_path_stem(const char *path);
char *cz_path_join(const char *a, const char *b);
/* $COZAD_HOME, else $XDG_CACHE_HOME/cozad, else $HOME/.cache/cozad, else /tmp/cozad-UID; cz_free. */
char *cz_home_dir(void);
/* The folder of the installed share files, found relative to the shared library, or "" ; cz_free. */
char *cz_share_dir(void);

#endif
