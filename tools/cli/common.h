/* SPDX-License-Identifier: Apache-2.0 */
/* Options and small things that several verbs share. */
#ifndef COMMON_H
#define COMMON_H

#include "cli.h"
#include "cozad/cozad_io.h"
#include "tiles.h"

#include <jansson.h>

typedef struct common_options {
    bool json, csv, no_cache;
    const char *cache_dir;
    uint64_t cache_limit, max_pixels;
    const char *precision_name;
    cz_cache_options cache; /* made of the above by common_finish, as is the next */
    cz_precision precision; /* CZ_PRECISION_MODEL unless given */
    cz_read_options read;
    tile_options tile;
} common_options;

void common_init(common_options *o);
void common_finish(common_options *o);

#define COMMON_CACHE_OPTIONS(c)                                                                                        \
    {"cache-dir", 0, CLI_STRING, &(c).cache_dir, "DIR", "feature store; empty: the default folder", NULL},             \
        {"cache-limit", 0, CLI_U64, &(c).cache_limit, "BYTES", "size limit of the feature store", NULL},               \
    {                                                                                                                  \
        "no-cache", 0, CLI_FLAG, &(c).no_cache, NULL, "neither read nor write the feature store", NULL                 \
    }
#define COMMON_READ_OPTIONS(c)                                                                                         \
    {                                                                                                                  \
        "max-pixels", 0, CLI_U64, &(c).read.max_pixels, "N", "refuse larger photos; 0: 268435456", NULL                \
    }

#define COMMON_PRECISION_OPTION(c)                                                                                     \
    {                                                                                                                  \
        "precision", 0, CLI_CHOICE, &(c).precision_name, NULL, "what to compute in; the model's own unless given",     \
            "fp32|fp32-winograd|bf16|int8|auto"                                                                        \
    }

#define COMMON_BACKBONE_HELP "weights; also builtin and random:ARCH[:SEED]"

/* "wide_resnet50_2" where its weights are found, else "builtin" where these are, else "wide_resnet50_2". Static storage. */
const char *common_default_backbone(void);
/* As cz_backbone_open. Says so when `name` is what common_default_backbone fell back to, and nobody asked for it. */
cz_status common_open_backbone(const char *name, cz_backbone **out);
/* The file can be made or replaced; otherwise the error is printed and its exit code returned. */
int common_check_writable(const char *path);
/* One line on stdout; takes the reference. */
void common_print_json(json_t *line);
/* A number that JSON can hold: NaN and infinities become null. */
json_t *common_json_real(double value);
/* A CSV field, quoted where it must be. */
void common_print_csv_field(const char *text);
/* Opens a model and, when `backbone` is not NULL, its weights. An exit code. */
int common_open_model(const char *path, const char *backbone, cz_model **out);

#endif
