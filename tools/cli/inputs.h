/* SPDX-License-Identifier: Apache-2.0 */
/* From arguments to lists of image files: folders are searched (inputs.c), data-set layouts (datasets.c) and --source
 * arguments (sources.c) are read. */
#ifndef INPUTS_H
#define INPUTS_H

#include "cozad/cozad_io.h"

#include <stdatomic.h>
#include <stdbool.h>

typedef enum input_split { INPUT_ANY = 0, INPUT_TRAIN = 1, INPUT_TEST = 2, INPUT_VALIDATION = 3 } input_split;

typedef struct input {
    char *path;     /* as the argument was given, plus '/' and the path below it for folders */
    char *relative; /* below its argument; the file's own name for a file argument */
    char *category; /* the folder that names the defect, "good", or "" */
    int label;      /* -1 unknown, 0 normal, 1 anomalous */
    input_split split;
    size_t group; /* source category: an index of the list's groups; 0 where there are none */
} input;

/* A photo of a source's category whose masks show where its defect is. */
typedef struct input_defect {
    char *path;
    char **masks; /* [mask_count] */
    size_t mask_count;
    int mask_rule; /* cz_mask_rule */
    size_t group;
} input_defect;

typedef struct input_list {
    input *items;
    size_t count, room;
    char **groups; /* names of source categories, no two alike */
    size_t group_count;
    input_defect *defects; /* labelled.c; of the data sets that the photos come from */
    size_t defect_count;
} input_list;

void inputs_free(input_list *list);
/* A file, or every image below a folder (hidden files left out, links to folders not followed), sorted by path. A path
 * that cannot be read is CZ_E_IO. */
cz_status inputs_add_path(input_list *list, const char *path);
/* All samples of a data set (cz_dataset_open); groups are its categories where it has several. Labels that only masks tell are
 * read from them. */
cz_status inputs_add_dataset(input_list *list, const char *root, const char *layout);
/* The layout of a folder that holds one category or a table; NULL: none. */
const char *inputs_detect_layout(const char *root);

/* ROOT:LAYOUT[:CATEGORY,…]: the normal training photos below ROOT, a group for each category. Without CATEGORY it is ROOT itself
 * where ROOT is laid out so, else each of its folders that is, or each category that the layout has by itself (VisA). A
 * backslash takes the meaning from the ':' ',' or '\\' after it. CZ_E_ARG: not of that form; CZ_E_NO_IMAGES: a category
 * without photos. */
cz_status inputs_add_source(input_list *list, const char *text);
/* The form alone; reads nothing. */
cz_status inputs_check_source(const char *text);
/* Tells of every photo that is in the list twice (the same file, whatever its path). */
typedef void (*inputs_twice_fn)(void *ctx, const char *path, const char *again);
cz_status inputs_find_twice(const input_list *list, inputs_twice_fn tell, void *ctx);

/* An image source over the items chosen; may be loaded from by several threads at once. */
typedef struct input_source {
    const input_list *list;
    size_t *chosen;       /* indices of items; freed by input_source_free */
    cz_picture *pictures; /* [count] those that are loaded */
    size_t count;
    atomic_size_t failed; /* photos that could not be read */
    bool *refused;        /* [count] them: a photo that is loaded again is counted once */
    cz_read_options read;
} input_source;
/* All items of `split` with a label other than 1 (INPUT_ANY: whatever split). */
cz_status input_source_open(const input_list *list, input_split split, const cz_read_options *read, input_source *out);
void input_source_free(input_source *s);
/* Points into `s`, which must stay where it is. */
cz_image_source input_source_callbacks(input_source *s);

/* "x,y,w,h" */
bool parse_roi(const char *text, cz_roi *out);
/* "256" or "256x512" (width x height) */
bool parse_size(const char *text, size_t *width, size_t *height);
/* fit names as in the option tables */
cz_fit parse_fit(const char *name);

#endif
