/* SPDX-License-Identifier: Apache-2.0 */
/* Child processes of verbs that run other programs. */
#ifndef CHILD_H
#define CHILD_H

#include <sys/types.h>

/* Starts `program` (looked up in PATH when it has no slash) with `words`, the first of which is what it is called; `in`, `out`: what it gets as
 * stdin and stdout, stderr is passed on. An errno, 0: *child runs. */
int cli_spawn(const char *program, char *const *words, int in, int out, pid_t *child);

#endif
