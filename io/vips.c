/* SPDX-License-Identifier: Apache-2.0 */
/* WebP, GIF, HEIF, AVIF, JPEG XL and JPEG 2000 through libvips, when it is built in and has a loader that it trusts with
 * files from outside. A truncated file fails, and the header's size is checked before any pixel. */
#include "io/decode.h"

#ifdef COZAD_WITH_VIPS

#include <pthread.h>
#include <string.h>

#include <vips/vips.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool ready;

static void start(void)
{
    ready = VIPS_INIT("cozad") == 0;
    if (!ready) return;
    vips_block_untrusted_set(TRUE);
    vips_cache_set_max(0);
    vips_concurrency_set(1); /* one picture a thread: the caller has its own workers */
}

static cz_status vips_fail(cz_status status)
{
    char text[200];
    strncpy(text, vips_error_buffer(), sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    vips_error_clear();
    size_t n = strlen(text);
    while (n && text[n - 1] == '\n') text[--n] = '\0';
    if (strstr(text, "blocked")) return cz_fail(CZ_E_UNSUPPORTED, "libvips has no loader it trusts for it (%s)", text);
    return cz_fail(status, "%s", n ? text : "libvips cannot read it");
}

/* Replaces *image by what a step has made, or keeps it when the step failed. */
static bool take(int failed, VipsImage **image, VipsImage **made)
{
    if (failed) return false;
    g_object_unref(*image);
    *image = *made;
    return true;
}

/* Upright, opaque, gray or sRGB. */
static bool convert(VipsImage **image, bool *gray, bool *wide)
{
    VipsImage *made = NULL;
    VipsInterpretation kind = vips_image_guess_interpretation(*image);
    *wide = kind == VIPS_INTERPRETATION_GREY16;
    *gray = *wide || kind == VIPS_INTERPRETATION_B_W;
    if (!take(vips_autorot(*image, &made, NULL), image, &made)) return false;
    VipsInterpretation target = *wide   ? VIPS_INTERPRETATION_GREY16
                                : *gray ? VIPS_INTERPRETATION_B_W
                                        : VIPS_INTERPRETATION_sRGB;
    if (!take(vips_colourspace(*image, &made, target, NULL), image, &made)) return false;
    if (vips_image_hasalpha(*image)) {
        double top = *wide ? 65535 : 255, white[] = {top, top, top};
        VipsArrayDouble *background = vips_array_double_new(white, *gray ? 1 : 3);
        int failed = vips_flatten(*image, &made, "background", background, "max_alpha", top, NULL);
        vips_area_unref(VIPS_AREA(background));
        if (!take(failed, image, &made)) return false;
    }
    return take(vips_cast(*image, &made, *wide ? VIPS_FORMAT_USHORT : VIPS_FORMAT_UCHAR, NULL), image, &made);
}

cz_status cz_vips_decode(const cz_encoded *in, cz_picture *out, int *orientation)
{
    (void)orientation; /* vips_autorot has done it */
    pthread_once(&once, start);
    if (!ready) return cz_fail(CZ_E_INTERNAL, "libvips does not start");
    cz_picture picture = {0};
    cz_status status = CZ_OK;
    void *pixels = NULL;
    bool gray = false, wide = false;
    VipsImage *image = vips_image_new_from_buffer(in->bytes, in->size, "", "fail_on", VIPS_FAIL_ON_TRUNCATED, NULL);
    if (!image) return vips_fail(CZ_E_FORMAT);
    CZ_TRY(cz_picture_check_size((uint64_t)vips_image_get_width(image), (uint64_t)vips_image_get_height(image),
                                 in->max_pixels));
    if (!convert(&image, &gray, &wide)) CZ_TRY(vips_fail(CZ_E_UNSUPPORTED));
    size_t width = (size_t)vips_image_get_width(image), height = (size_t)vips_image_get_height(image), bytes = 0;
    if (vips_image_get_bands(image) != (gray ? 1 : 3))
        CZ_TRY(cz_fail(CZ_E_UNSUPPORTED, "an unusual number of channels"));
    CZ_TRY(cz_picture_alloc(width, height, wide ? CZ_GRAY16 : gray ? CZ_GRAY8 : CZ_RGB8, &picture));
    pixels = vips_image_write_to_memory(image, &bytes);
    if (!pixels) CZ_TRY(vips_fail(CZ_E_FORMAT));
    if (bytes != picture.image.stride * height) CZ_TRY(cz_fail(CZ_E_INTERNAL, "libvips made %zu bytes", bytes));
    memcpy(picture.pixels, pixels, bytes);
    *out = picture;
    picture.pixels = NULL;
out:
    g_free(pixels);
    g_object_unref(image);
    cz_picture_free(&picture);
    return status;
}

#else

cz_status cz_vips_decode(const cz_encoded *in, cz_picture *out, int *orientation)
{
    (void)in, (void)out, (void)orientation;
    return cz_fail(CZ_E_UNSUPPORTED, "this build has no libvips");
}

#endif
