/* SPDX-License-Identifier: Apache-2.0 */
/* Saved scores: JSON Lines, a head and one object a photo (docs/evaluation.md). */
#ifndef EVAL_SCORES_H
#define EVAL_SCORES_H

#include "common.h"

enum { SCORES_VERSION = 1 };

typedef struct scores_item {
    const char *path, *category, *kind; /* "" where not known; these and below belong to the file */
    int label;                          /* 0 or 1; -1 only where failed */
    double score;
    const char **masks; /* [mask_count] below the data set's root, or as they are where there is none */
    size_t mask_count;
    bool nonzero;    /* the masks' rule is CZ_MASK_NONZERO */
    const char *map; /* below the folder of maps; NULL: none */
    bool trained_on, failed;
} scores_item;

typedef struct scores_file {
    json_t *head; /* an object */
    scores_item *items;
    size_t count, room;
    json_t **lines; /* [count] what the items point into */
} scores_file;

/* Reads and checks every line. An exit code; what is wrong has been said with the line's number. */
int scores_read(const char *path, scores_file *out);
void scores_free(scores_file *file);
/* A string of the head, NULL when absent or null. */
const char *scores_head(const scores_file *file, const char *key);

/* To PATH.part, renamed by scores_commit. Exit codes. */
typedef struct scores_writer {
    const char *path;
    char *temporary;
    FILE *stream; /* NULL: nothing is written */
} scores_writer;
/* Takes the reference to `head`, whose first members are set here. */
int scores_open(scores_writer *w, const char *path, json_t *head);
int scores_add(scores_writer *w, const scores_item *item);
int scores_commit(scores_writer *w);
void scores_abort(scores_writer *w);

#endif
