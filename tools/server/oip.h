/* SPDX-License-Identifier: Apache-2.0 */
/* Open Inference Protocol v2 (REST), with the binary-tensor extension of Triton. Requests and answers as data: no connection, no model. */
#ifndef SV_OIP_H
#define SV_OIP_H

#include "pool.h"

#include <jansson.h>

enum { SV_OIP_SCORE = 1, SV_OIP_P_VALUE = 2, SV_OIP_DECISION = 4, SV_OIP_MAP = 8, SV_OIP_REGIONS = 16 };

/* Images of one request; `images` or `files`, `count` of them. */
typedef struct sv_oip_request {
    char id[128];
    unsigned outputs, binary; /* bits of SV_OIP_*: asked for; asked for as binary */
    size_t count;
    cz_image *images;            /* UINT8 [N, H, W, 3] or [N, H, W, 1]; [H, W, C] is one image */
    const unsigned char **files; /* BYTES [N]: encoded pictures, raw bytes in the binary part or base64 in JSON */
    size_t *file_sizes;
    unsigned char *pixels; /* what `images`/`files` point into where it is not the body */
} sv_oip_request;

/* `header_length`: of Inference-Header-Content-Length, or SIZE_MAX when there is none. Limits: at most `max_batch` images, each of at most
 * `max_pixels`. CZ_E_FORMAT/_LIMIT/_UNSUPPORTED with a line that says what is wrong. Points into `body`, which outlives it. */
cz_status sv_oip_parse(const unsigned char *body, size_t size, size_t header_length, size_t max_batch,
                       uint64_t max_pixels, sv_oip_request *out);
void sv_oip_free(sv_oip_request *r);
/* The answer's bytes: JSON, and after it the binary tensors; *header_length is the JSON's size, SIZE_MAX without binary tensors.
 * Outputs: score FP32→FP64 [N], p_value FP64 [N], decision INT32 [N], map FP32 [N, H, W] (images of one size; otherwise CZ_E_UNSUPPORTED),
 * regions BYTES [N] (a JSON array each). NaN is null in JSON and NaN in binary. */
cz_status sv_oip_answer(const sv_oip_request *r, const sv_model *model, const sv_outcome *outcomes, char **out,
                        size_t *size, size_t *header_length);
/* What is said of one image's regions: [{"x", "y", "width", "height", "area", "peak", "peak_x", "peak_y", "mean"}…]; a new reference. */
json_t *sv_oip_regions(const sv_outcome *outcome);
/* GET /v2, GET /v2/models/{m}; new references. */
json_t *sv_oip_server(void);
json_t *sv_oip_model(const sv_model *model, size_t max_batch);

#endif
