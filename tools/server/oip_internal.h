/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of oip.h share. */
#ifndef SV_OIP_INTERNAL_H
#define SV_OIP_INTERNAL_H

#include "oip.h"

enum { OIP_RANK = 4 };

/* The input tensor as its JSON describes it. */
typedef struct oip_tensor {
    bool bytes; /* datatype BYTES, else UINT8 */
    size_t rank, shape[OIP_RANK];
    bool sized; /* parameters.binary_data_size */
    size_t binary_size;
} oip_tensor;

/* The JSON text of one "data" array, found and cut out by oip_skim: it would be one allocation a pixel as JSON values. */
typedef struct oip_span {
    const unsigned char *at; /* NULL: none */
    size_t size, input;      /* `input`: index in "inputs" */
} oip_span;

/* Copies the request's JSON without the "data" array (null stands in its place). *text: free. At most one array, and at most 1 MiB of
 * the rest (CZ_E_LIMIT). What is not JSON passes: the parser of the rest rejects it. */
cz_status oip_skim(const unsigned char *json, size_t size, char **text, size_t *text_size, oip_span *data);

/* "data" of UINT8: whole numbers 0…255, flat or nested as `shape`; out: [product of shape]. */
cz_status oip_read_pixels(const oip_span *data, const oip_tensor *tensor, unsigned char *out);
/* "data" of BYTES: base64 strings, or {"b64": "…"}; `out` holds data->size bytes, in which files[i] of sizes[i] bytes lie. */
cz_status oip_read_files(const oip_span *data, const oip_tensor *tensor, unsigned char *out,
                         const unsigned char **files, size_t *sizes);

#endif
