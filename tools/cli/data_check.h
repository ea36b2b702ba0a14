/* SPDX-License-Identifier: Apache-2.0 */
/* What `cozad data check` finds. */
#ifndef DATA_CHECK_H
#define DATA_CHECK_H

#include "cozad/cozad_eval.h"
#include "cozad/cozad_io.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum data_finding {
    DATA_UNREADABLE,      /* a picture that cannot be decoded */
    DATA_EXTENSION,       /* the name says another format than the bytes */
    DATA_MASK_MISSING,    /* an anomalous picture without one, in a category that has masks */
    DATA_MASK_STRAY,      /* a mask without a picture */
    DATA_MASK_UNREADABLE, /* a mask that cannot be decoded or is not there */
    DATA_MASK_SIZE,       /* not the picture's */
    DATA_MASK_VALUES,     /* values between 0 and the largest */
    DATA_MASK_EMPTY,      /* of an anomalous picture */
    DATA_MASK_OF_NORMAL,  /* a normal picture's mask that is not empty */
    DATA_DUPLICATE,       /* the same bytes as a picture of the same split */
    DATA_LEAK,            /* the same bytes in another split */
    DATA_LABELS,          /* the same bytes with another label */
    DATA_FINDINGS
} data_finding;

typedef struct data_row {
    size_t labels[3]; /* unknown, normal, anomalous */
    size_t masked;    /* pictures with masks */
} data_row;

typedef struct data_photo {
    uint8_t digest[32];
    size_t index;
    int label; /* after the masks were read */
} data_photo;

typedef struct data_check {
    const cz_dataset *data;
    const cz_read_options *read;
    /* A finding: the file, and what is wrong with it. */
    void (*tell)(void *ctx, data_finding finding, const char *path, const char *detail);
    void *ctx;
    data_row (*rows)[4]; /* [categories][cz_split] */
    bool *masked;        /* [categories] has masks */
    data_photo *photos;  /* [photo_count] those that could be read */
    size_t photo_count;
    size_t findings[DATA_FINDINGS];
    uint64_t odd_values
        [256]; /* pixels of masks by value (of 16 bits: the upper 8), 0 and the largest of each file left out */
} data_check;

/* "unreadable", "extension", … as in JSON. */
const char *data_finding_name(data_finding finding);
/* Reads everything, one picture at a time; CZ_E_CANCELLED when interrupted. */
cz_status data_check_run(data_check *c);
void data_check_free(data_check *c);

#endif
