/* SPDX-License-Identifier: Apache-2.0 */
#include "cozad/cozad_io.h"

#include <stdio.h>

#include <jpeglib.h>
#include <spng.h>
#include <string.h>
#include <tiffio.h>

#define TEXT_OF(x) #x
#define TEXT(x)    TEXT_OF(x)

const char *cz_io_build_info(void)
{
    static _Thread_local char text[256];
    const char *tiff = TIFFGetVersion(); /* "LIBTIFF, Version 4.5.0" and a copyright on further lines */
    (void)snprintf(text, sizeof text, "libjpeg-turbo %s\nlibspng %s\n%.*s", TEXT(LIBJPEG_TURBO_VERSION),
                   spng_version_string(), (int)strcspn(tiff, "\n"), tiff);
    return text;
}
