/* SPDX-License-Identifier: Apache-2.0 */
/* CoZAD, many images at full speed: independent workers, one a processor, that load, compute and hand over.
 * The conventions of cozad.h hold. */
#ifndef COZAD_COZAD_STREAM_H
#define COZAD_COZAD_STREAM_H

#include "cozad/cozad.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One image of a stream. What it points to is valid during the call it is given to. A stream that ends early (cancelled, failed) does
 * not deliver all that went through `work`: what `note` points to is best known to the caller by its index as well. */
typedef struct cz_stream_item {
    size_t index;      /* of the source */
    cz_status status;  /* CZ_OK: `image` and `result` are filled */
    const char *error; /* the line of text of a failure, else "" */
    const cz_image
        *image; /* NULL when it could not be loaded; in `deliver` without pixels (data NULL) unless `keep_map` */
    const cz_result *result; /* NULL when it could not be scored */
    cz_session *session; /* that scored it: cz_session_map_rows(session, 0, …) works in `work`; NULL in `deliver` */
    void *note;          /* what `work` left; NULL otherwise */
} cz_stream_item;

typedef struct cz_stream_options {
    size_t struct_size;
    cz_session_options
        session;      /* its `threads` are shared out among the workers; `log` may be called from any of them */
    size_t workers;   /* 0: one a thread of session.threads, or one in all for images that are computed in tiles */
    size_t in_flight; /* images taken up and not yet delivered, at the most; 0: (2 * workers + 2) * session.max_batch */
    /* In the worker that scored the item, several at once: what can be done in any order (writing a picture). NULL: nothing. A status other
     * than CZ_OK becomes the item's, with cz_source_error's text, and ends the stream where it is no fault of the image (below). */
    cz_status (*work)(void *ctx, cz_stream_item *item);
    /* In the source's order, one at a time, from whichever worker. `result->map` is NULL here unless `keep_map`; patch scores and
     * regions are there. A non-zero return cancels the stream (CZ_E_CANCELLED). */
    int (*deliver)(void *ctx, const cz_stream_item *item); /* NULL: nothing */
    int keep_map; /* 1: maps (and images) stay until delivered, which costs memory: in_flight of them */
    void *ctx;    /* of both */
} cz_stream_options;
#define CZ_STREAM_OPTIONS_INIT                                                                                         \
    {                                                                                                                  \
        sizeof(cz_stream_options), CZ_SESSION_OPTIONS_INIT, 0, 0, NULL, NULL, 0, NULL                                  \
    }

/* Core-milliseconds spent in each stage, summed over workers, and the time that passed. */
typedef struct cz_stream_timing {
    double open, load, work, deliver, wait; /* open: sessions; wait: workers without anything to do */
    cz_timing score;
    double elapsed;
    size_t images, workers; /* workers: that had a session in the end */
} cz_stream_timing;

/* Scores every image of `images`, in batches of session.max_batch. Images that cannot be loaded or scored (CZ_E_FORMAT, _LIMIT,
 * _UNSUPPORTED, _IO, _ARG) are delivered with their status and do not end the stream; any other failure would meet all the others too:
 * those before it are still delivered, then it is returned. Short of memory, it goes on with fewer workers while there is one left.
 * Which worker scored an image makes no difference. Without `images->concurrent` loads are made one at a time and copied, so that one
 * picture at a time is all the source has to hold. With several workers, each has session.threads / workers threads. Called from
 * inside an OpenMP parallel region it is CZ_E_ARG. No images: CZ_OK. `timing` may be NULL. */
CZ_API cz_status cz_score_stream(const cz_model *model, const cz_image_source *images, const cz_stream_options *options,
                                 cz_stream_timing *timing);

#ifdef __cplusplus
}
#endif
#endif
