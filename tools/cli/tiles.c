/* SPDX-License-Identifier: Apache-2.0 */
#include "tiles.h"

#include "inputs.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* Of the model's calibration; all 0 for whole images, and for a model without. */
static tile_options model_tiles(const cz_model *model)
{
    tile_options t = {0};
    json_t *meta = json_loads(cz_model_json(model), 0, NULL);
    const json_t *tile = json_object_get(json_object_get(meta, "calibration"), "tile");
    t.width = (size_t)json_integer_value(json_object_get(tile, "width"));
    t.height = (size_t)json_integer_value(json_object_get(tile, "height"));
    t.pixels = (size_t)json_integer_value(json_object_get(tile, "overlap"));
    json_decref(meta);
    return t;
}

static bool parse_count(const char *text, size_t *out)
{
    char *end;
    if (text[0] < '0' || text[0] > '9' || strlen(text) > 9) return false;
    *out = (size_t)strtoul(text, &end, 10);
    return *end == '\0';
}

int tile_settle(tile_options *t, const cz_model *model)
{
    if (t->size == NULL && t->overlap != NULL) {
        cli_error("--tile-overlap needs --tile");
        return CLI_USAGE;
    }
    if (t->size == NULL) {
        const tile_options own = model_tiles(model);
        t->width = own.width;
        t->height = own.height;
        t->pixels = own.pixels;
        return CLI_OK;
    }
    t->width = t->height = t->pixels = 0;
    if (strcmp(t->size, "0") == 0) return CLI_OK;
    if (!parse_size(t->size, &t->width, &t->height) || t->width == 0 || t->height == 0) {
        cli_error("--tile: \"%s\" is not N or WIDTHxHEIGHT", t->size);
        return CLI_USAGE;
    }
    const size_t small = t->width < t->height ? t->width : t->height;
    t->pixels = small / 4;
    if (t->overlap != NULL && (!parse_count(t->overlap, &t->pixels) || t->pixels >= small)) {
        cli_error("--tile-overlap: \"%s\" is not a number of pixels below the tile's %zu", t->overlap, small);
        return CLI_USAGE;
    }
    return CLI_OK;
}

bool tile_is_calibrated(const tile_options *t, const cz_model *model)
{
    const tile_options own = model_tiles(model);
    return own.width == t->width && own.height == t->height && own.pixels == t->pixels;
}

void tile_apply(const tile_options *t, cz_session_options *out)
{
    out->tile_width = t->width;
    out->tile_height = t->height;
    out->tile_overlap = t->pixels;
}
