/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/engine.h"
#include "util/status.h"

#include <jansson.h>
#include <omp.h>
#include <stdio.h>
#include <zip.h>

#define TEXT_OF(x) #x
#define TEXT(x)    TEXT_OF(x)

const char *cz_version(void)
{
    return TEXT(CZ_VERSION_MAJOR) "." TEXT(CZ_VERSION_MINOR) "." TEXT(CZ_VERSION_PATCH);
}

const char *cz_build_info(void)
{
    static _Thread_local char text[512];
    char engine[256];
    cz_engine_describe(engine, sizeof engine);
    (void)snprintf(text, sizeof text, "%s\njansson %s\nlibzip %s\nOpenMP %d\ncompiler %s", engine, JANSSON_VERSION,
                   zip_libzip_version(), _OPENMP, __VERSION__);
    return text;
}
