/* SPDX-License-Identifier: Apache-2.0 */
/* cz_session_warmup: whatever a session makes when it is first needed (plans, packed weights, generated code, buffers, the threads
 * themselves) is made before the first image that counts. */
#include "api/session.h"
#include "util/alloc.h"

#include <string.h>

cz_status cz_session_warmup(cz_session *session, size_t width, size_t height, size_t runs)
{
    cz_error_clear();
    cz_status status = CZ_OK;
    size_t pixels;
    if (session == NULL) return cz_fail(CZ_E_ARG, "cz_session_warmup: a NULL argument");
    if (width == 0 || height == 0 || !cz_mul_size(width, height, &pixels))
        return cz_fail(CZ_E_ARG, "cz_session_warmup: an image of %zux%zu", width, height);
    uint8_t *gray = cz_alloc(pixels);
    cz_image *images = cz_alloc_array(session->batch, sizeof *images);
    cz_result *results = cz_alloc_array(session->batch, sizeof *results);
    /* The feature store would be given a picture that is none, and the next time spare the backbone. */
    cz_extractor_use_store(session->extractor, false);
    if (gray == NULL || images == NULL || results == NULL) {
        status = CZ_E_MEMORY;
        goto out;
    }
    memset(gray, 128, pixels);
    for (size_t i = 0; i < session->batch; i++) images[i] = (cz_image){gray, width, height, width, CZ_GRAY8};
    for (size_t i = 0; i < runs || i == 0; i++) {
        CZ_TRY(cz_score(session, images, results));
        if (session->batch > 1) CZ_TRY(cz_score_batch(session, images, session->batch, results));
    }
out:
    cz_extractor_use_store(session->extractor, true);
    cz_free(gray);
    cz_free(images);
    cz_free(results);
    return status;
}
