/* SPDX-License-Identifier: Apache-2.0 */
/* --tile and --tile-overlap. */
#ifndef TILES_H
#define TILES_H

#include "cli.h"
#include "cozad/cozad.h"

typedef struct tile_options {
    const char *size, *overlap;   /* as given, or NULL */
    size_t width, height, pixels; /* made of them by tile_settle; width 0: whole images; pixels: of the overlap */
} tile_options;

#define TILE_OPTIONS(t)                                                                                                \
    {"tile",    0,       CLI_STRING,                                                                                   \
     &(t).size, "N|WxH", "tiles of so many pixels; 0: whole photos; the model's own unless given",                     \
     NULL},                                                                                                            \
    {                                                                                                                  \
        "tile-overlap", 0, CLI_STRING, &(t).overlap, "N",                                                              \
            "pixels that neighbours share; a quarter of a tile unless given", NULL                                     \
    }

/* Without --tile: as the model was calibrated, if it was. CLI_OK or CLI_USAGE. */
int tile_settle(tile_options *t, const cz_model *model);
/* Whether the model's threshold was found with these tiles. */
bool tile_is_calibrated(const tile_options *t, const cz_model *model);
void tile_apply(const tile_options *t, cz_session_options *out);

#endif
