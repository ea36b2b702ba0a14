/* SPDX-License-Identifier: Apache-2.0 */
/* The log of a training as JSON Lines (docs/training-log.md), each line written as it happens. A log that cannot be written
 * is told of once and never ends the training. */
#ifndef TRAIN_LOG_H
#define TRAIN_LOG_H

#include "cli.h"

typedef struct train_log {
    const char *path;
    int file;          /* -1: no log */
    bool told, inside; /* told: of a failure; inside: the last line has no end */
    const char *phase; /* of the last line about a phase; NULL: none yet */
    double next;       /* CLOCK_MONOTONIC, s: no line about the same phase before, but for its last */
} train_log;
#define TRAIN_LOG_NONE                                                                                                 \
    {                                                                                                                  \
        NULL, -1, false, false, NULL, 0.0                                                                              \
    }

typedef struct train_log_facts {
    const char *backbone;
    const char *config; /* JSON text or NULL */
    const cz_image_source *images;
    const char *only; /* what the one category of `images` without categories is called */
    bool resumed;
} train_log_facts;

/* `append`: to a log that may be there, which else is replaced. An exit code. */
int train_log_open(train_log *log, const char *path, bool append);
void train_log_close(train_log *log);
/* All of these do nothing without a log. */
void train_log_start(train_log *log, const train_log_facts *facts);
void train_log_step(train_log *log, const cz_train_step *step);
/* What cz_progress_fn tells: a line at the beginning of a phase, where it is done, and at most one a second in between. Nothing for the
 * steps of a training, which have lines of their own, and for phases that the log does not know. */
void train_log_phase(train_log *log, const char *what, size_t done, size_t total);
/* `model`: NULL where none was written. Call before the error line of the calling thread is lost. */
void train_log_end(train_log *log, cz_status status, double seconds, const char *model);

#endif
