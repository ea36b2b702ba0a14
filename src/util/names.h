/* SPDX-License-Identifier: Apache-2.0 */
/* File names. */
#ifndef CZ_UTIL_NAMES_H
#define CZ_UTIL_NAMES_H

#include <stdbool.h>
#include <stddef.h>

/* The last component has an extension of picture files (jpg jpeg png tif tiff bmp pgm ppm pnm webp …) and is not hidden. */
bool cz_name_is_picture(const char *path);
/* Length of `name` (one component) without its extension. */
size_t cz_name_stem(const char *name);
/* The last component of `path`; points into it. */
const char *cz_name_last(const char *path);

#endif
