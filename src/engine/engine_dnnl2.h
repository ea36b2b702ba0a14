/* SPDX-License-Identifier: Apache-2.0 */
/* What the oneDNN 2.x files of this folder share. */
#ifndef CZ_ENGINE_ENGINE_DNNL2_H
#define CZ_ENGINE_ENGINE_DNNL2_H

#include "engine/engine.h"

#include <oneapi/dnnl/dnnl.h>

#if DNNL_VERSION_MAJOR != 2
#error "engine_dnnl2*.c need oneDNN 2.x; a 3.x twin goes beside them"
#endif

/* CZ_OK, or the failure of `what` recorded in our own terms. */
cz_status cz_dnnl_check(dnnl_status_t result, const char *what);
#define CZ_DNNL(expression, what) CZ_TRY(cz_dnnl_check((expression), (what)))

/* An engine and an in-order stream on the CPU. */
typedef struct cz_dnnl_context {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
} cz_dnnl_context;
cz_status cz_dnnl_context_init(cz_dnnl_context *context);
void cz_dnnl_context_free(cz_dnnl_context *context);

/* A zeroed descriptor when the primitive has none of that kind. Copied: queried ones die with their primitive. */
dnnl_memory_desc_t cz_dnnl_query_md(const_dnnl_primitive_desc_t pd, dnnl_query_t what);
/* [n, c, h, w] of `type` in the layout `tag`. */
cz_status cz_dnnl_md4(const size_t nchw[4], dnnl_data_type_t type, dnnl_format_tag_t tag, dnnl_memory_desc_t *out);
/* Copies between layouts; both buffers sized from their descriptors. */
cz_status cz_dnnl_reorder_now(const cz_dnnl_context *context, const dnnl_memory_desc_t *from_md, const void *from,
                              const dnnl_memory_desc_t *to_md, void *to);
/* The same, each slice of the first dimension times its scale; scales: [count] or NULL. */
cz_status cz_dnnl_reorder_scaled(const cz_dnnl_context *context, const dnnl_memory_desc_t *from_md, const void *from,
                                 const dnnl_memory_desc_t *to_md, void *to, const float *scales, size_t count);
/* Attributes with a user-owned scratchpad; residual sum and then ReLU as post-ops. */
cz_status cz_dnnl_attr(bool sum, bool relu, dnnl_primitive_attr_t *out);

#endif
