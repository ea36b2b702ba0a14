/* SPDX-License-Identifier: Apache-2.0 */
/* What inputs.c, datasets.c and sources.c share. */
#ifndef INPUTS_INTERNAL_H
#define INPUTS_INTERNAL_H

#include "cozad/cozad_eval.h"
#include "inputs.h"

#include <dirent.h>

/* What every file found below a folder is given. */
typedef struct input_kind {
    const char *category;
    int label;
    input_split split;
    size_t group;
} input_kind;

/* Sets the error line "PATH: REASON". */
cz_status input_fail(cz_status status, const char *path, const char *reason);
/* "a/b"; the caller frees. NULL when out of memory. */
char *input_join(const char *a, const char *b);
/* Takes over `path` and `relative` in any case; one that is NULL is CZ_E_MEMORY. */
cz_status input_add(input_list *list, char *path, char *relative, const input_kind *k);
/* For scandir: not hidden. */
int input_visible(const struct dirent *entry);
/* ROOT/NAME is a folder. */
bool input_is_folder(const char *root, const char *name);

/* `root` itself is laid out so ("folder": is a folder) and is one category. */
bool dataset_fits(const char *root, const char *layout);
/* The normal photos to train on, as the given group; `category` NULL: of all. */
cz_status dataset_add_training(input_list *list, const cz_dataset *d, const char *category, size_t group);

/* The samples of the set (of one category; NULL: of all) that show a defect where masks say, as list->defects. */
cz_status labelled_add(input_list *list, const cz_dataset *d, const char *category, size_t group);

#endif
