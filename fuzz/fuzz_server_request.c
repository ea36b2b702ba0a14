/* SPDX-License-Identifier: Apache-2.0 */
/* Requests to the server: the Open Inference Protocol and multipart/form-data. The first line says what the rest is: "json", "binary N"
 * (N bytes of JSON, then tensors), or a Content-Type for multipart. */
#include "fuzz.h"

#include "http.h"
#include "oip.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_BATCH = 4, MOST_PIXELS = 1 << 16 };

static void touch(const void *bytes, size_t size)
{
    static volatile unsigned char sink;
    unsigned char sum = 0;
    for (size_t i = 0; i < size; i++) sum = (unsigned char)(sum + ((const unsigned char *)bytes)[i]);
    sink = sum;
    (void)sink;
}

static void check_oip(const unsigned char *body, size_t size, size_t header_length)
{
    sv_oip_request r;
    if (sv_oip_parse(body, size, header_length, MOST_BATCH, MOST_PIXELS, &r) != CZ_OK) {
        if (r.images || r.files || r.pixels || !*cz_last_error()) __builtin_trap(); /* it says why and leaves nothing */
        return;
    }
    if (r.count == 0 || r.count > MOST_BATCH || r.outputs == 0 || (r.binary & ~r.outputs) != 0) __builtin_trap();
    if (!r.images == !r.files) __builtin_trap();
    for (size_t i = 0; i < r.count; i++) {
        if (r.files) {
            if (r.file_sizes[i] == 0) __builtin_trap();
            touch(r.files[i], r.file_sizes[i]);
        } else {
            if (r.images[i].width * r.images[i].height > MOST_PIXELS) __builtin_trap();
            touch(r.images[i].data, r.images[i].stride * r.images[i].height);
        }
    }
    sv_oip_free(&r);
}

static void check_multipart(const char *type, const unsigned char *body, size_t size)
{
    static const char *const names[] = {"image", NULL};
    for (size_t i = 0; i < 2; i++) {
        const unsigned char *part = NULL;
        size_t part_size = 0;
        char filename[256] = "";
        if (!sv_multipart_find(type, body, size, names[i], &part, &part_size, filename)) continue;
        if (part < body || part > body + size || part_size > (size_t)(body + size - part)) __builtin_trap();
        if (memchr(filename, '\0', sizeof filename) == NULL) __builtin_trap();
        touch(part, part_size);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = size > 0 ? memchr(data, '\n', size) : NULL;
    char type[256];
    if (end == NULL || (size_t)(end - data) >= sizeof type) return 0;
    memcpy(type, data, (size_t)(end - data));
    type[end - data] = '\0';
    const size_t body_size = size - (size_t)(end + 1 - data);
    /* in a block of its own size */
    unsigned char *body = malloc(body_size > 0 ? body_size : 1);
    if (body == NULL) return 0;
    if (body_size > 0) memcpy(body, end + 1, body_size);
    if (strcmp(type, "json") == 0) {
        check_oip(body, body_size, SIZE_MAX);
    } else if (strncmp(type, "binary ", 7) == 0) {
        check_oip(body, body_size, (size_t)strtoull(type + 7, NULL, 10));
    } else {
        check_multipart(type, body, body_size);
    }
    free(body);
    return 0;
}
