/* SPDX-License-Identifier: Apache-2.0 */
/* The options of cozad train: the table, configuration files, --literal. */
#ifndef TRAIN_OPTIONS_H
#define TRAIN_OPTIONS_H

#include "common.h"

#define TRAIN_MAX_OPTIONS 128

typedef struct train_arguments {
    const char *normal, *data, *layout, *output, *backbone, *size, *fit, *precision, *roi, *mask, *config, *log,
        *descriptor, *negatives;
    cli_list sources, exclude;
    bool compat, hard_cl, weight_both, contrast_literal, literal, print_config, resume;
    common_options common;
    cz_train_options train;
    cli_option options[TRAIN_MAX_OPTIONS];
    size_t option_count;
    size_t first_cozad, end_cozad;       /* options[first_cozad … end_cozad - 1] need --method cozad or comet */
    size_t first_contrast, end_contrast; /* and these of them cozad */
    size_t first_flow, end_flow;         /* these --detector flow */
    size_t first_knn, end_knn;           /* these --method knn */
    char methods[256], detectors[200];   /* the choices, of cz_detector_name */
    bool given[TRAIN_MAX_OPTIONS], from_file[TRAIN_MAX_OPTIONS];
    json_t *file; /* holds the strings of --config */
} train_arguments;

/* Defaults and the table. */
void train_options_init(train_arguments *a);
void train_options_free(train_arguments *a);
/* Command line, then what --config says of the rest, then --literal; options, region and image size are checked and
 * copied to a->train. Returns -1 to go on, else an exit code. */
int train_options_read(train_arguments *a, const cli_verb *verb, int argc, char **argv, cli_list *args);
/* All of it but the command line, for a verb that has read these options itself and set a->given. */
int train_options_settle(train_arguments *a);
typedef struct train_choice {
    bool labelled; /* labelled photos of defects are wanted, and there are some */
    bool recipe;   /* nobody asked for what is taken: docs/zero-shot.md's recipe for several products */
} train_choice;
/* What "auto" of --descriptor and --negatives means now that the photos are known: of `products` categories, with `defects` labelled
 * ones. Returns -1 to go on, else an exit code. */
int train_options_choose(train_arguments *a, size_t products, size_t defects, train_choice *choice);
/* The effective configuration as config_text makes it. */
char *train_options_text(const train_arguments *a, bool indented);

#endif
