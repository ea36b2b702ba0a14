/* SPDX-License-Identifier: Apache-2.0 */
#include "api/stream_queue.h"

#include "util/alloc.h"
#include "util/threads.h"

#include <stdio.h>
#include <string.h>

cz_status cz_stream_queue_open(cz_stream_queue *q, size_t workers)
{
    q->places = cz_calloc(q->room, sizeof *q->places);
    q->returned = cz_alloc_array(workers, sizeof *q->returned);
    if (q->places == NULL || q->returned == NULL) return CZ_E_MEMORY;
    q->workers = workers;
    if (pthread_mutex_init(&q->lock, NULL) == 0) q->made = 1;
    if (q->made == 1 && pthread_mutex_init(&q->loading, NULL) == 0) q->made = 2;
    if (q->made == 2 && pthread_cond_init(&q->changed, NULL) == 0) q->made = 3;
    return q->made == 3 ? CZ_OK : cz_fail(CZ_E_MEMORY, "out of memory (a lock)");
}

void cz_stream_queue_close(cz_stream_queue *q)
{
    for (size_t i = 0; q->places != NULL && i < q->room; i++) {
        cz_stream_place *place = &q->places[i];
        cz_stream_release(q, place);
        cz_free(place->pixels);
        cz_free(place->patches);
        cz_free(place->map);
        cz_free(place->regions);
    }
    cz_free(q->places);
    cz_free(q->returned);
    if (q->made > 2) (void)pthread_cond_destroy(&q->changed);
    if (q->made > 1) (void)pthread_mutex_destroy(&q->loading);
    if (q->made > 0) (void)pthread_mutex_destroy(&q->lock);
}

cz_stream_place *cz_stream_place_of(cz_stream_queue *q, size_t index)
{
    return &q->places[index % q->room];
}

/* ---- taking ------------------------------------------------------------------------------------------------------- */

static void wait_for_change(cz_stream_queue *q, double *wait)
{
    const double start = cz_now_ms();
    (void)pthread_cond_wait(&q->changed, &q->lock);
    *wait += cz_now_ms() - start;
}

/* Length of the batch that begins at `first`: the same whoever takes it. */
static size_t batch_at(const cz_stream_queue *q, size_t first)
{
    return q->count - first < q->batch ? q->count - first : q->batch;
}

static void begin(cz_stream_place *place, size_t index)
{
    memset(&place->item, 0, sizeof place->item);
    memset(&place->image, 0, sizeof place->image);
    place->item.index = index;
    place->item.error = place->error;
    place->error[0] = '\0';
    place->finished = place->fatal = false;
}

bool cz_stream_take(cz_stream_queue *q, size_t *first, size_t *count, double *wait)
{
    bool taken = false;
    (void)pthread_mutex_lock(&q->lock);
    while (!q->stopped) {
        const bool more = q->next < q->count && !q->ending;
        if (q->returned_count > 0) {
            *first = q->returned[--q->returned_count];
            *count = batch_at(q, *first);
            taken = true;
        } else if (more && q->next + batch_at(q, q->next) - q->delivered <= q->room) {
            *first = q->next;
            *count = batch_at(q, *first);
            q->next += *count;
            taken = true;
        } else if (!more && q->in_hand == 0) {
            break; /* what others still have in hand may yet be handed back */
        }
        if (taken) break;
        wait_for_change(q, wait);
    }
    if (taken) {
        q->in_hand++;
        for (size_t i = 0; i < *count; i++) begin(cz_stream_place_of(q, *first + i), *first + i);
    }
    (void)pthread_mutex_unlock(&q->lock);
    return taken;
}

void cz_stream_done(cz_stream_queue *q)
{
    (void)pthread_mutex_lock(&q->lock);
    q->in_hand--;
    (void)pthread_cond_broadcast(&q->changed);
    (void)pthread_mutex_unlock(&q->lock);
}

bool cz_stream_hand_back(cz_stream_queue *q, size_t first)
{
    (void)pthread_mutex_lock(&q->lock);
    const bool others = q->workers > 1;
    if (others) {
        q->returned[q->returned_count++] = first; /* a worker does it once, so there is room */
        q->in_hand--;
        q->workers--;
        (void)pthread_cond_broadcast(&q->changed);
    }
    (void)pthread_mutex_unlock(&q->lock);
    return others;
}

void cz_stream_leave(cz_stream_queue *q)
{
    (void)pthread_mutex_lock(&q->lock);
    q->workers--;
    (void)pthread_cond_broadcast(&q->changed);
    (void)pthread_mutex_unlock(&q->lock);
}

bool cz_stream_lead(cz_stream_queue *q, double *wait)
{
    (void)pthread_mutex_lock(&q->lock);
    while (q->warmth == CZ_STREAM_LEAD && !q->stopped) wait_for_change(q, wait);
    const bool first = q->warmth == CZ_STREAM_COLD;
    if (first) q->warmth = CZ_STREAM_LEAD;
    (void)pthread_mutex_unlock(&q->lock);
    return first;
}

void cz_stream_led(cz_stream_queue *q, bool good)
{
    (void)pthread_mutex_lock(&q->lock);
    q->warmth = good ? CZ_STREAM_WARM : CZ_STREAM_COLD;
    (void)pthread_cond_broadcast(&q->changed);
    (void)pthread_mutex_unlock(&q->lock);
}

/* ---- one image ---------------------------------------------------------------------------------------------------- */

bool cz_stream_is_items_fault(cz_status status)
{
    return status == CZ_E_FORMAT || status == CZ_E_LIMIT || status == CZ_E_UNSUPPORTED || status == CZ_E_IO ||
           status == CZ_E_ARG;
}

void cz_stream_note(cz_stream_place *place, cz_status status)
{
    const char *text = cz_last_error();
    place->item.status = status;
    (void)snprintf(place->error, sizeof place->error, "%s", text[0] != '\0' ? text : cz_status_name(status));
}

/* Rows as they lie, so that a source with room for one picture can go on to the next. */
static cz_status copy_pixels(cz_stream_place *place, const cz_image *from)
{
    static const size_t bytes[] = {1, 2, 3, 3, 4, 4}; /* of cz_pixel_format */
    size_t row, before, all;
    if (from->data == NULL || from->width == 0 || from->height == 0 ||
        (size_t)from->format >= sizeof bytes / sizeof *bytes || !cz_mul_size(from->width, bytes[from->format], &row) ||
        from->stride < row || !cz_mul_size(from->stride, from->height - 1, &before) || !cz_add_size(before, row, &all))
        return cz_fail(CZ_E_ARG, "image: no pixels, or not of a format that is known");
    if (all > place->pixel_room) {
        cz_free(place->pixels);
        place->pixel_room = 0;
        place->pixels = cz_alloc(all);
        if (place->pixels == NULL) return CZ_E_MEMORY;
        place->pixel_room = all;
    }
    memcpy(place->pixels, from->data, all);
    place->image = *from;
    place->image.data = place->pixels;
    return CZ_OK;
}

static cz_status load_alone(cz_stream_queue *q, cz_stream_place *place)
{
    const cz_image_source *source = q->source;
    cz_image image;
    memset(&image, 0, sizeof image);
    (void)pthread_mutex_lock(&q->loading);
    cz_status status = source->load(source->ctx, place->item.index, &image);
    if (status == CZ_OK) {
        status = copy_pixels(place, &image);
        if (source->release != NULL) source->release(source->ctx, place->item.index, &image);
    }
    (void)pthread_mutex_unlock(&q->loading);
    return status;
}

cz_status cz_stream_load(cz_stream_queue *q, cz_stream_place *place)
{
    cz_status status;
    cz_error_clear();
    if (q->source->concurrent) {
        status = q->source->load(q->source->ctx, place->item.index, &place->image);
        place->loaded = status == CZ_OK;
    } else {
        status = load_alone(q, place);
    }
    if (status == CZ_OK) place->item.image = &place->image;
    if (status != CZ_OK) cz_stream_note(place, status);
    return status;
}

void cz_stream_release(cz_stream_queue *q, cz_stream_place *place)
{
    const cz_image_source *source = q->source;
    if (place->loaded && source->release != NULL) source->release(source->ctx, place->item.index, &place->image);
    place->loaded = false;
}

/* Copies into *to, which holds `count` elements or is made to; never NULL then, even for none. */
static bool copy_array(const void *from, size_t count, size_t size, void **to, size_t *room)
{
    if (count > *room || *to == NULL) {
        cz_free(*to);
        *room = 0;
        *to = cz_alloc_array(count, size);
        if (*to == NULL) return false;
        *room = count;
    }
    memcpy(*to, from, count * size);
    return true;
}

cz_status cz_stream_keep(cz_stream_queue *q, cz_stream_place *place)
{
    cz_result *r = &place->result;
    void *patches = place->patches, *map = place->map, *regions = place->regions;
    bool good = true;
    if (r->patch_scores != NULL) {
        good = copy_array(r->patch_scores, r->grid_width * r->grid_height, sizeof(float), &patches, &place->patch_room);
        r->patch_scores = place->patches = patches;
    }
    if (good && r->regions != NULL) {
        good = copy_array(r->regions, r->region_count, sizeof *place->regions, &regions, &place->region_room);
        place->regions = regions;
        r->regions = place->regions;
    }
    if (good && r->map != NULL && q->options->keep_map) {
        good = copy_array(r->map, r->map_width * r->map_height, sizeof(float), &map, &place->map_room);
        r->map = place->map = map;
    } else {
        r->map = NULL;
    }
    return good ? CZ_OK : CZ_E_MEMORY;
}

/* ---- delivering --------------------------------------------------------------------------------------------------- */

/* With the lock held. */
static void stop(cz_stream_queue *q, cz_status status, const char *text)
{
    if (q->status == CZ_OK) {
        q->status = status;
        (void)snprintf(q->error, sizeof q->error, "%s", text);
    }
    q->stopped = true;
    (void)pthread_cond_broadcast(&q->changed);
}

/* With the lock held, which is let go of during `deliver`. */
static void deliver_finished(cz_stream_queue *q, double *spent)
{
    while (!q->stopped && q->delivered < q->next) {
        cz_stream_place *place = cz_stream_place_of(q, q->delivered);
        if (!place->finished) break;
        if (place->fatal) {
            stop(q, place->item.status, place->error);
            break;
        }
        (void)pthread_mutex_unlock(&q->lock);
        const double start = cz_now_ms();
        const int cancel = q->options->deliver != NULL ? q->options->deliver(q->options->ctx, &place->item) : 0;
        cz_stream_release(q, place);
        *spent += cz_now_ms() - start;
        (void)pthread_mutex_lock(&q->lock);
        place->finished = false;
        q->delivered++;
        if (cancel) stop(q, CZ_E_CANCELLED, "cancelled");
        (void)pthread_cond_broadcast(&q->changed);
    }
}

void cz_stream_finish(cz_stream_queue *q, cz_stream_place *place, double *spent)
{
    (void)pthread_mutex_lock(&q->lock);
    place->finished = true;
    q->ending = q->ending || place->fatal;
    if (!q->delivering) {
        q->delivering = true;
        deliver_finished(q, spent);
        q->delivering = false;
    }
    (void)pthread_mutex_unlock(&q->lock);
}
