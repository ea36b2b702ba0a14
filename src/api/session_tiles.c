/* SPDX-License-Identifier: Apache-2.0 */
/* Large images: tiles through the network, their patch scores blended into one grid (docs/tiles.md). */
#include "api/session.h"

#include "util/alloc.h"
#include "util/threads.h"

#include <math.h>
#include <string.h>

/* Patches of a common grid: 2^24, above which the grid and not the image would decide the memory needed. */
#define MOST_PATCHES ((size_t)1 << 24)

static cz_status refuse_options(const cz_session *s, const cz_session_options *o)
{
    if ((o->tile_width == 0) != (o->tile_height == 0))
        return cz_fail(CZ_E_ARG, "tiles of %zux%zu pixels", o->tile_width, o->tile_height);
    const size_t small = o->tile_width < o->tile_height ? o->tile_width : o->tile_height;
    if (o->tile_overlap > 0 && o->tile_overlap >= small)
        return cz_fail(CZ_E_ARG, "a tile overlap of %zu pixels needs tiles that are larger", o->tile_overlap);
    if (small > 0 && s->prep.fit != CZ_FIT_SQUASH)
        return cz_fail(CZ_E_ARG, "tiles are resized whole to the network's input: they need the fit squash");
    return CZ_OK;
}

cz_status cz_session_open_tiles(cz_session *s, const cz_session_options *o)
{
    cz_status status;
    CZ_TRY(refuse_options(s, o));
    if (o->tile_width == 0) return CZ_OK;
    s->tiling = (cz_tiling){o->tile_width, o->tile_height, o->tile_overlap};
    CZ_TRY(cz_prep_init(s->prep.width, s->prep.height, CZ_FIT_SQUASH, 0, NULL, NULL, &s->tile_prep));
    s->tile_images = cz_calloc(s->batch, sizeof *s->tile_images);
    if (s->tile_images == NULL) status = CZ_E_MEMORY;
out:
    return status;
}

void cz_session_close_tiles(cz_session *s)
{
    cz_tile_blend_destroy(s->blend);
    cz_free(s->tile_scores);
    cz_free(s->tile_valid);
    cz_free(s->tile_images);
    cz_prep_free(&s->tile_prep);
}

/* ---- one image ------------------------------------------------------------------------------------------------------ */

static size_t pixel_bytes(cz_pixel_format format)
{
    static const size_t bytes[] = {1, 2, 3, 3, 4, 4}; /* of cz_pixel_format */
    return (size_t)format < sizeof bytes / sizeof *bytes ? bytes[format] : 0;
}

/* Each tile is an image of its own: the whole must be one first. */
static cz_status check_image(const cz_image *image)
{
    size_t total;
    const size_t bytes = pixel_bytes(image->format);
    if (image->data == NULL || image->width == 0 || image->height == 0) return cz_fail(CZ_E_ARG, "image: no pixels");
    if (bytes == 0) return cz_fail(CZ_E_ARG, "image: unknown pixel format %d", (int)image->format);
    if (image->stride / bytes < image->width)
        return cz_fail(CZ_E_ARG, "image: a stride of %zu bytes is less than a row", image->stride);
    if (!cz_mul_size(image->stride, image->height, &total) || total > PTRDIFF_MAX)
        return cz_fail(CZ_E_ARG, "image: stride x height is out of range");
    return CZ_OK;
}

/* The session's region of this image. */
static cz_status find_region(const cz_session *s, const cz_image *image, cz_roi *out)
{
    const cz_roi r = s->prep.roi;
    *out = (cz_roi){0, 0, image->width, image->height};
    if (r.width == 0) return CZ_OK;
    if (r.x >= image->width || r.y >= image->height)
        return cz_fail(CZ_E_ARG, "region %zu,%zu,%zu,%zu lies outside the %zux%zu image", r.x, r.y, r.width, r.height,
                       image->width, image->height);
    out->x = r.x;
    out->y = r.y;
    out->width = r.width < image->width - r.x ? r.width : image->width - r.x;
    out->height = r.height < image->height - r.y ? r.height : image->height - r.y;
    return CZ_OK;
}

/* A tiled image in work. */
typedef struct work {
    cz_session *s;
    const cz_image *image;
    cz_output *o;
    cz_roi region;
    cz_tile_axis x, y;
    bool all_stored;
} work;

static cz_image tile_image(const work *w, size_t column, size_t row)
{
    const size_t x = w->region.x + cz_tile_start(&w->x, column), y = w->region.y + cz_tile_start(&w->y, row);
    cz_image tile = *w->image;
    tile.data = (const uint8_t *)w->image->data + y * tile.stride + x * pixel_bytes(tile.format);
    tile.width = w->x.size;
    tile.height = w->y.size;
    return tile;
}

/* How input pixels of a map of w x h, which shows `width` x `height` pixels of the image from (x, y) on, relate to the image. */
static cz_geometry make_geometry(const work *w, size_t x, size_t y, const size_t size[2], const size_t input[2])
{
    cz_geometry g = {.image_width = w->image->width,
                     .image_height = w->image->height,
                     .region = w->region, /* what the ignore mask is about */
                     .content_w = input[0],
                     .content_h = input[1],
                     .step_x = (double)size[0] / (double)input[0],
                     .step_y = (double)size[1] / (double)input[1]};
    g.origin_x = (double)x + 0.5 * g.step_x - 0.5;
    g.origin_y = (double)y + 0.5 * g.step_y - 0.5;
    return g;
}

static cz_status take_tile(const work *w, size_t column, size_t row, const cz_extracted *what)
{
    cz_session *s = w->s;
    const size_t size[2] = {w->x.size, w->y.size}, input[2] = {s->prep.width, s->prep.height};
    const cz_geometry g = make_geometry(w, w->region.x + cz_tile_start(&w->x, column),
                                        w->region.y + cz_tile_start(&w->y, row), size, input);
    cz_prep_valid(&s->prep, &g, s->grid_w, s->grid_h, s->tile_valid);
    const cz_status status = cz_session_raw_scores(s, what, s->tile_valid, s->tile_scores);
    if (status != CZ_OK) return status;
    const double start = cz_now_ms();
    cz_tile_blend_add(s->blend, column, row, s->tile_scores, s->tile_valid, w->o->patches, s->valid);
    s->timing.head += cz_now_ms() - start;
    return CZ_OK;
}

static cz_status score_tiles(work *w)
{
    cz_session *s = w->s;
    cz_status status = CZ_OK;
    const size_t count = w->x.count * w->y.count;
    for (size_t first = 0; first < count; first += s->batch) {
        const size_t n = count - first < s->batch ? count - first : s->batch;
        for (size_t i = 0; i < n; i++)
            s->tile_images[i] = tile_image(w, (first + i) % w->x.count, (first + i) / w->x.count);
        CZ_TRY(cz_extractor_run(s->extractor, s->tile_images, n, s->extracted, &s->timing));
        for (size_t i = 0; i < n; i++) {
            w->all_stored = w->all_stored && s->extracted[i].from_store;
            CZ_TRY(take_tile(w, (first + i) % w->x.count, (first + i) / w->x.count, &s->extracted[i]));
        }
    }
out:
    return status;
}

static cz_status make_buffers(const work *w)
{
    cz_session *s = w->s;
    if (s->tile_scores == NULL) s->tile_scores = cz_alloc_array(s->grid, sizeof *s->tile_scores);
    if (s->tile_valid == NULL) s->tile_valid = cz_alloc(s->grid);
    if (s->tile_scores == NULL || s->tile_valid == NULL) return CZ_E_MEMORY;
    cz_tile_blend_destroy(s->blend);
    s->blend = NULL;
    return cz_tile_blend_create(&w->x, &w->y, &s->blend);
}

/* Side of the map's input at the tiles' scale. */
static size_t input_side(const cz_tile_axis *a, size_t input)
{
    return a->count == 1 ? input : (size_t)round((double)a->extent * (double)input / (double)a->size);
}

cz_status cz_session_score_tiled(cz_session *s, const cz_image *image, cz_output *o, cz_result *result)
{
    cz_status status;
    work w = {.s = s, .image = image, .o = o, .all_stored = true};
    size_t patches;
    memset(result, 0, sizeof *result);
    o->good = false;
    CZ_TRY(check_image(image));
    CZ_TRY(find_region(s, image, &w.region));
    CZ_TRY(cz_tile_axis_make(w.region.width, s->tiling.width, s->tiling.overlap, s->grid_w, &w.x));
    CZ_TRY(cz_tile_axis_make(w.region.height, s->tiling.height, s->tiling.overlap, s->grid_h, &w.y));
    if (!cz_mul_size(w.x.cells, w.y.cells, &patches) || patches > MOST_PATCHES) {
        status = cz_fail(CZ_E_LIMIT, "tiles of %zux%zu pixels are too small for %zux%zu: %zux%zu patches",
                         s->tiling.width, s->tiling.height, w.region.width, w.region.height, w.x.cells, w.y.cells);
        goto out;
    }
    CZ_TRY(make_buffers(&w));
    CZ_TRY(cz_session_make_room(s, o, w.x.cells, w.y.cells));
    o->input_w = input_side(&w.x, s->prep.width);
    o->input_h = input_side(&w.y, s->prep.height);
    const size_t size[2] = {w.region.width, w.region.height}, input[2] = {o->input_w, o->input_h};
    o->geometry = make_geometry(&w, w.region.x, w.region.y, size, input);
    CZ_TRY(score_tiles(&w));
    result->from_cache = w.all_stored;
    CZ_TRY(cz_session_conclude(s, o, result));
out:
    return status;
}
