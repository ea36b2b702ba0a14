/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of `cozad weights`. */
#ifndef CMD_WEIGHTS_H
#define CMD_WEIGHTS_H

#include "cli.h"

int weights_list(int argc, char **argv);
int weights_inspect(int argc, char **argv);
int weights_verify(int argc, char **argv);
int weights_convert(int argc, char **argv);
int weights_fetch(int argc, char **argv);

/* The published file that `name` means: a name, a file name or its stem; NULL when unknown. */
const cz_known_weights *weights_known(const char *name);
/* The published file that a file at `path` should be, by its name; NULL when it has another one. */
const cz_known_weights *weights_known_file(const char *path);
const char *weights_dtype_name(cz_dtype dtype);
/* "A/B"; the caller frees; NULL when out of memory (reported). */
char *weights_join(const char *folder, const char *file);

#endif
