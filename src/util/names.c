/* SPDX-License-Identifier: Apache-2.0 */
#include "util/names.h"

#include <string.h>
#include <strings.h>

const char *cz_name_last(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

size_t cz_name_stem(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot != NULL && dot != name ? (size_t)(dot - name) : strlen(name);
}

bool cz_name_is_picture(const char *path)
{
    static const char *const extensions[] = {"jpg", "jpeg", "jpe", "jfif", "png", "tif",  "tiff", "bmp",  "dib", "pgm",
                                             "ppm", "pnm",  "pbm", "webp", "gif", "heic", "heif", "avif", "jxl", "jp2"};
    const char *name = cz_name_last(path);
    const char *dot = strrchr(name, '.');
    /* hidden files: such as the "._photo.jpg" that some systems leave on disks */
    if (dot == NULL || *name == '.') return false;
    for (size_t i = 0; i < sizeof extensions / sizeof *extensions; i++) {
        if (strcasecmp(dot + 1, extensions[i]) == 0) return true;
    }
    return false;
}
