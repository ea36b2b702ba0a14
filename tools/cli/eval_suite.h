/* SPDX-License-Identifier: Apache-2.0 */
/* The data sets of the CoZAD paper's Tables 1 and 2 with the figures that it prints. */
#ifndef EVAL_SUITE_H
#define EVAL_SUITE_H

#include <stdbool.h>
#include <stddef.h>

enum { SUITE_METHODS = 7 };
/* In the order of the columns; the last one is the paper's own. */
extern const char *const suite_methods[SUITE_METHODS];

typedef struct suite_set {
    const char *domain, *name; /* as printed in Table 1 */
    const char *name2;         /* as printed in Table 2 */
    const char *folders;       /* "a b c": lower case, letters and digits alone */
    const char *layout;
    const char *only;                 /* comma-separated: further folders beside these are left out; NULL: all belong */
    size_t categories;                /* of the complete set; 0: not checked */
    bool target_of_own;               /* VisA: the source is MVTec AD in its place */
    bool labels_only;                 /* published without masks */
    const char *image[SUITE_METHODS]; /* percent, as printed */
    const char *pixel[SUITE_METHODS];
} suite_set;

extern const suite_set suite_sets[];
extern const size_t suite_set_count;

#endif
