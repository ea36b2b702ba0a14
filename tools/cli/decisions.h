/* SPDX-License-Identifier: Apache-2.0 */
/* Decisions of a person about photos, keep or exclude: lists of paths, tables (cozad inspect --csv), and models, which remember
 * what was excluded from their training (docs/inspect.md). */
#ifndef DECISIONS_H
#define DECISIONS_H

#include "inputs.h"

typedef struct decision {
    char *path;         /* as written; NULL: none */
    uint8_t sha256[32]; /* of the pixels, where has_sha256 */
    bool has_sha256, exclude;
    const char *file; /* it was read from; belongs to the caller */
    size_t line;      /* of the file; 0: a model's */
} decision;

typedef struct decisions {
    decision *items; /* in the order read */
    size_t count, room;
} decisions;

/* Adds those of one file, and says on stderr, with the line, what is wrong with it. An exit code. */
int decisions_read(decisions *d, const char *file);
void decisions_free(decisions *d);

/* What is to be left out in the end; a later decision about the same pixels wins. Photos that are known by their path alone are looked up
 * in `list` and read; a path that is not in it is an error. `excluded` [*count] points into `d`; free it. An exit code. */
int decisions_settle(decisions *d, const input_list *list, const cz_read_options *read, cz_excluded_photo **excluded,
                     size_t *count);

#endif
