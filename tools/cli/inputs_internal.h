/* SPDX-License-Identifier: Apache-2.0 */
/* What inputs.c, datasets.c and sources.c share. */
#ifndef INPUTS_INTERNAL_H
#define INPUTS_INTERNAL_H

#include "inputs.h"

#include <dirent.h>

/* What every file found below a folder is given. */
typedef struct input_kind {
    const char *category, *mask_folder; /* mask_folder NULL: no masks */
    int label;
    input_split split;
    size_t group;
} input_kind;

/* Sets the error line "PATH: REASON". */
cz_status input_fail(cz_status status, const char *path, const char *reason);
/* "a/b"; the caller frees. NULL when out of memory. */
char *input_join(const char *a, const char *b);
/* Takes over `path`, `relative` and `mask` in any case; a NULL path or relative is CZ_E_MEMORY. */
cz_status input_add(input_list *list, char *path, char *relative, char *mask, const input_kind *k);
/* Every image below `folder`, in the order of names; `below`: the path of `folder` below its argument, "" at first. */
cz_status input_walk(input_list *list, const char *folder, const char *below, const input_kind *k, int depth);
/* For scandir: not hidden. */
int input_visible(const struct dirent *entry);
/* ROOT/NAME is a folder. */
bool input_is_folder(const char *root, const char *name);

/* "mvtec", "folder", "csv" and "yesno" are what a source may be. */
bool dataset_is_source_layout(const char *layout);
/* `root` itself is laid out so ("folder": is a folder). */
bool dataset_fits(const char *root, const char *layout);
/* The normal photos to train on, as the given group. */
cz_status dataset_add_training(input_list *list, const char *root, const char *layout, size_t group);

#endif
