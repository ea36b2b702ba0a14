/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of cz_session: session.c opens it and computes patch scores, session_tiles.c does so for large images,
 * session_result.c makes results of them. */
#ifndef CZ_API_SESSION_H
#define CZ_API_SESSION_H

#include "api/extract.h"
#include "api/model.h"
#include "api/scorer.h"
#include "api/tiles.h"
#include "calibrate/score_map.h"
#include "cozad/cozad_eval.h"

/* What one image of a call gets; kept until the session's next call. */
typedef struct cz_output {
    float *patches; /* [room] of the grid */
    float *filled;  /* [room] the same without NaN, what the map is made of; NULL without maps */
    size_t room;
    size_t grid_w, grid_h;
    cz_geometry geometry; /* between the image and the map's input */
    size_t input_w,
        input_h;          /* of the map before it is brought to the image's size; the network's input, or all tiles' */
    cz_score_map *mapper; /* its own, for CZ_MAP_ROWS of tiles */
    float *map;           /* [map_room] */
    size_t map_room;
    cz_region *regions; /* [CZ_MAX_REGIONS], made when first asked for */
    bool good;          /* the last call got as far as this image */
} cz_output;

#define CZ_MAX_REGIONS ((size_t)1000)
/* Pixels of a tiled image's map that is kept whole: 8192 x 8192, 256 MiB. */
#define CZ_TILED_MAP_MOST ((size_t)1 << 26)

struct cz_session {
    cz_model *model;
    cz_prep prep;           /* the model's own, or with what the options replace */
    cz_prep tile_prep;      /* with tiles: the same for a tile by itself, without region and mask */
    cz_precision precision; /* that it computes in */
    size_t threads, batch, grid_w, grid_h, grid;
    cz_map_kind map_kind;
    bool decide, regions; /* with the model's calibration */
    size_t region_area;
    cz_extractor *extractor;
    cz_extracted *extracted; /* [batch] */
    cz_scorer *scorer;
    cz_score_map *mapper;
    float *sorted;  /* [sorted_room] for the mean of the top k */
    uint8_t *valid; /* [valid_room] of the grid of the image in work */
    size_t sorted_room, valid_room;
    float *row_buffer; /* [row_room] of map rows, for regions */
    size_t row_room;
    cz_tiling tiling;      /* width 0: whole images */
    cz_tile_blend *blend;  /* NULL: not needed so far */
    float *tile_scores;    /* [grid] */
    uint8_t *tile_valid;   /* [grid] */
    cz_image *tile_images; /* [batch] */
    cz_output *outputs;
    size_t output_count;
    cz_timing timing;
};

/* The detector's raw patch scores of one image that was extracted: valid, scores [s->grid]. */
cz_status cz_session_raw_scores(cz_session *s, const cz_extracted *what, const uint8_t *valid, float *scores);

/* Room for a grid in `o` and s->valid. */
cz_status cz_session_make_room(cz_session *s, cz_output *o, size_t grid_w, size_t grid_h);
/* From o->patches (raw, finite where s->valid) and s->valid to everything that was asked for. */
cz_status cz_session_conclude(cz_session *s, cz_output *o, cz_result *result);
void cz_output_free(cz_output *o);

/* Checks the options and makes what tiles need; the extractor is made afterwards, for s->tile_prep. */
cz_status cz_session_open_tiles(cz_session *s, const cz_session_options *options);
void cz_session_close_tiles(cz_session *s);
/* All of one image; one no larger than a tile is one tile, with the very result that it has without tiles. */
cz_status cz_session_score_tiled(cz_session *s, const cz_image *image, cz_output *o, cz_result *result);

#endif
