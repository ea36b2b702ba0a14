/* SPDX-License-Identifier: Apache-2.0 */
/* The files below web/, put into the program by the build. */
#ifndef SV_ASSETS_H
#define SV_ASSETS_H

#include <stddef.h>

typedef struct sv_asset {
    const char *path, *type; /* "/app.js", "text/javascript; charset=utf-8" */
    const unsigned char *data;
    size_t size;
    const char *etag; /* "\"…\"" of its content */
} sv_asset;
extern const sv_asset sv_assets[];
extern const size_t sv_asset_count;

#endif
