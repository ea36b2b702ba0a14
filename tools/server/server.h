/* SPDX-License-Identifier: Apache-2.0 */
/* `cozad serve`: what its parts share. The parts, and what each may include (its own header and those above it):
 *
 *   server.h    settings, errors, the clock
 *   log.h       structured lines on stderr
 *   http.h      connections, requests, answers, routes, access (libmicrohttpd is included by http*.c only)
 *   models.h    the models that are served: load, unload, reload, reference counts
 *   pool.h      workers: decode, score in batches, overlay; bounded queue with deadlines
 *   events.h    what happened, to metrics, history and sinks
 *   oip.h       Open Inference Protocol v2: requests and answers as data (no connection in it: fuzzed)
 *   score_api.h POST /score and the model pages' JSON
 *   studio.h    data sets that were uploaded and training jobs
 *   assets.h    the web page's files, inside the program
 *
 * Conventions of cozad.h: cz_status; the reason as one line in cz_last_error of the calling thread, set through sv_fail. */
#ifndef SV_SERVER_H
#define SV_SERVER_H

#include "cozad/cozad.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SV_NAME = 64 }; /* longest name of a model, data set or job with its final zero */

/* [A-Za-z0-9._-]+, at most SV_NAME - 1 characters, neither "." nor "..", not beginning with a dot. */
bool sv_name_ok(const char *name);
/* Sets the text of cz_last_error and returns `status`. */
cz_status sv_fail(cz_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Seconds of a clock that only goes forward; seconds since 1970. */
double sv_now(void);
double sv_wall(void);
/* "2026-11-22T08:15:30.123Z" */
const char *sv_time_text(double wall, char buffer[32]);

/* What the command line says; strings belong to the caller and outlive the server. 0 and NULL: the default beside it. */
typedef struct sv_settings {
    const char *const *models; /* model files: -m; the served name is the file's stem */
    size_t model_count;
    const char *model_dir;  /* repository: NAME.cozad in it; NULL: none */
    const char *backbone;   /* as cz_backbone_open; NULL: found by the models' SHA-256 */
    cz_precision precision; /* CZ_PRECISION_MODEL */
    const char *host;       /* "127.0.0.1" */
    unsigned port;          /* 8080; 0 as given on the command line: any, printed */
    bool insecure;          /* other than loopback without a token */
    const char *auth_token_file, *tls_cert, *tls_key;
    const char *const *allow_hosts; /* further values of Host, besides loopback names and the address bound to */
    size_t allow_host_count;
    size_t max_body;        /* bytes of one request, 64 MiB */
    size_t max_bodies;      /* bytes of all requests at once, 512 MiB */
    uint64_t max_pixels;    /* of one image, 2^26 */
    size_t max_connections; /* 1100 */
    size_t max_batch;       /* images of a request and of a batch, 8 */
    size_t queue;           /* requests waiting for a worker, 256: more are answered 503 with Retry-After */
    double timeout;         /* seconds a request may take from its last byte to its answer, 30; 504 then */
    double idle_timeout;    /* seconds of a silent connection, 30 */
    double drain;           /* seconds that a shutdown waits for accepted requests, 20 */
    size_t threads;         /* 0: all */
    const char *state_dir;  /* uploads, jobs, trained models; NULL: no training through the page */
    uint64_t quota;         /* bytes of uploads, 2 GB */
    double retention_days;  /* unused uploads are removed after, 30; 0: never */
    const char *history;    /* SQLite file; NULL: none */
    const char *results;    /* JSON Lines file, "-" for stdout; NULL: none */
    const char *webhook;    /* URL that results are posted to; NULL: none */
    const char *mqtt;       /* mqtt://HOST[:PORT]/TOPIC; NULL: none */
    bool anomalies_only;    /* of webhook and MQTT */
    bool json_log;          /* log lines as JSON */
    const char *binary;     /* the cozad program, for training jobs */
} sv_settings;
void sv_settings_init(sv_settings *s);

/* Serves until SIGTERM or ^C, then drains. Prints the address on stdout once ready ("cozad: serving on http://127.0.0.1:8080/").
 * An exit code of the command line (cli.h). */
int sv_serve(const sv_settings *settings);

#endif
