/* SPDX-License-Identifier: Apache-2.0 */
/* The images of a stream on their way: taken in the source's order by whichever worker is free, finished in any order, delivered in
 * the source's order again. A ring of `room` places bounds how many are on the way; the first that is not delivered is always in
 * some worker's hands, handed back for any worker to take, or finished, so that the line cannot stand still. */
#ifndef CZ_API_STREAM_QUEUE_H
#define CZ_API_STREAM_QUEUE_H

#include "cozad/cozad_eval.h"
#include "cozad/cozad_stream.h"
#include "util/status.h"

#include <pthread.h>
#include <stdbool.h>

#define CZ_STREAM_ERROR 1024

/* One image on its way. Buffers are kept for the images that come to the same place later. */
typedef struct cz_stream_place {
    cz_stream_item item;
    cz_image image;
    cz_result result;
    bool loaded;        /* the source is owed a release */
    bool finished;      /* with the queue's lock */
    bool fatal;         /* nothing from here on is delivered: item.status and error say why */
    uint8_t *pixels;    /* [pixel_room] a copy, for a source that is not concurrent */
    float *patches;     /* [patch_room] */
    float *map;         /* [map_room] */
    cz_region *regions; /* [region_room] */
    size_t pixel_room, patch_room, map_room, region_room;
    char error[CZ_STREAM_ERROR];
} cz_stream_place;

typedef struct cz_stream_queue {
    const cz_image_source *source;
    const cz_stream_options *options;
    size_t count, batch, room; /* room >= batch */
    cz_stream_place *places;   /* [room] image i is at i % room */
    cz_precision precision;    /* of all sessions: that of the first one; belongs to the worker that leads */
    pthread_mutex_t loading;   /* for a source that is not concurrent */
    pthread_mutex_t lock;      /* everything below */
    pthread_cond_t changed;
    size_t next, delivered; /* the first image not yet taken, not yet delivered */
    size_t *returned;       /* [workers] first images of batches that were handed back */
    size_t returned_count;
    size_t in_hand;  /* batches that a worker has taken and neither finished nor handed back */
    size_t workers;  /* that have not left */
    bool delivering; /* by one of them */
    bool ending;     /* something fatal is on its way: nothing new is taken */
    bool stopped;
    enum { CZ_STREAM_COLD, CZ_STREAM_LEAD, CZ_STREAM_WARM } warmth; /* cz_stream_lead */
    cz_status status;
    char error[CZ_STREAM_ERROR];
    int made; /* locks and conditions, for closing */
} cz_stream_queue;

cz_status cz_stream_queue_open(cz_stream_queue *q, size_t workers);
/* After all workers have left. */
void cz_stream_queue_close(cz_stream_queue *q);

cz_stream_place *cz_stream_place_of(cz_stream_queue *q, size_t index);

/* The next batch of images: [*first, *first + *count). Waits for room; the time goes to *wait. false: there is nothing left to do. */
bool cz_stream_take(cz_stream_queue *q, size_t *first, size_t *count, double *wait);
/* All of a batch is finished. */
void cz_stream_done(cz_stream_queue *q);
/* A worker that is short of memory hands its batch back, none of which is finished, and leaves; false when it is the last one: then it
 * has to see to it itself. */
bool cz_stream_hand_back(cz_stream_queue *q, size_t first);
void cz_stream_leave(cz_stream_queue *q);

/* What the first session makes (packed weights, generated code) is shared with the others, so they wait until it is there rather than
 * make it again. True: the caller is the one to go first, and says how it went with cz_stream_led before it takes another batch (it
 * might wait there for those who wait here). */
bool cz_stream_lead(cz_stream_queue *q, double *wait);
void cz_stream_led(cz_stream_queue *q, bool good);

/* Which failures are the image's own fault and leave the others alone. */
bool cz_stream_is_items_fault(cz_status status);
/* Loads and, where need be, copies; the failure's text goes into the place. */
cz_status cz_stream_load(cz_stream_queue *q, cz_stream_place *place);
void cz_stream_release(cz_stream_queue *q, cz_stream_place *place);
/* Copies what the session owns; the place's item points to the copies. */
cz_status cz_stream_keep(cz_stream_queue *q, cz_stream_place *place);
/* Notes a failure of the calling thread in the place. */
void cz_stream_note(cz_stream_place *place, cz_status status);
/* The place is ready to be delivered, and is, with those after it, unless one before it is missing or another worker is at it. The time
 * spent in `deliver` goes to *spent. */
void cz_stream_finish(cz_stream_queue *q, cz_stream_place *place, double *spent);
#endif
