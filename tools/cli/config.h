/* SPDX-License-Identifier: Apache-2.0 */
/* Configuration files: one JSON object whose keys are the long names of a verb's options (docs/man/cozad-train.1).
 * Flags are true or false, switches "on" or "off" (or true, false), numbers numbers, lists arrays of strings, all else
 * strings. */
#ifndef CONFIG_H
#define CONFIG_H

#include "cli.h"

#include <jansson.h>

typedef struct config_names {
    const char *const *names;
    size_t count;
} config_names;

/* Sets every option that the file names and `given` does not say to be set already, and then marks those in
 * `from_file` [count]. `refused`: options that make no sense in a file. The values of string options belong to *root,
 * json_decref. An exit code: whatever is wrong with the file is one line that names it, and CLI_USAGE. */
int config_read(const char *path, const cli_option *options, size_t count, config_names refused, const bool *given,
                bool *from_file, json_t **root);

/* All options with a value but those of `left_out` as a JSON object that config_read reads back to the same; one line, or
 * indented. The caller frees; NULL when out of memory or when a string is not UTF-8. */
char *config_text(const cli_option *options, size_t count, config_names left_out, bool indented);

/* A finite number with as few digits as give it back exactly; "null" for others. Buffer of 32. */
const char *config_real(double value, char buffer[32]);

#endif
