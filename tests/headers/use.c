/* SPDX-License-Identifier: Apache-2.0 */
/* Every initialiser macro of the public headers, compiled as C17 and as C++17 by scripts/check-headers (never linked). */
#include "cozad/cozad.h"
#include "cozad/cozad_eval.h"
#include "cozad/cozad_io.h"
#include "cozad/cozad_mutual.h"
#include "cozad/cozad_stream.h"

int use_initialisers(void);

int use_initialisers(void)
{
    cz_image_source source = CZ_IMAGE_SOURCE_INIT;
    cz_cache_options cache = CZ_CACHE_OPTIONS_INIT;
    cz_session_options session = CZ_SESSION_OPTIONS_INIT;
    cz_features_options features = CZ_FEATURES_OPTIONS_INIT;
    cz_read_options reading = CZ_READ_OPTIONS_INIT;
    cz_stream_options stream = CZ_STREAM_OPTIONS_INIT;
    cz_train_options training;
    cz_train_options_init(&training);
    return source.struct_size == sizeof(source) && cache.struct_size == sizeof(cache) &&
           session.struct_size == sizeof(session) && session.cache.struct_size == sizeof(cache) &&
           features.struct_size == sizeof(features) && reading.struct_size == sizeof(reading) &&
           stream.struct_size == sizeof(stream) && stream.session.struct_size == sizeof(session);
}
