/* SPDX-License-Identifier: Apache-2.0 */
/* bench_startup --save ARCH FILE: random weights as a file, for bench/startup.sh.
 * bench_startup MODEL PHOTO PRECISION: one JSON object, milliseconds of each stage of a program that scores one photo. */
#include "cozad/cozad_io.h"
#include "util/threads.h"

#include <stdio.h>
#include <string.h>

static int fail(void)
{
    fprintf(stderr, "bench_startup: %s\n", cz_last_error());
    return 1;
}

static int save(const char *architecture, const char *path)
{
    char name[128];
    cz_backbone *b = NULL;
    (void)snprintf(name, sizeof name, "random:%s:1", architecture);
    if (cz_backbone_open(name, &b) != CZ_OK || cz_backbone_save(b, path) != CZ_OK) return fail();
    cz_backbone_close(b);
    return 0;
}

static cz_precision precision_of(const char *name)
{
    if (strcmp(name, "bf16") == 0) return CZ_PRECISION_BF16;
    if (strcmp(name, "int8") == 0) return CZ_PRECISION_INT8;
    return strcmp(name, "fp32-winograd") == 0 ? CZ_PRECISION_FP32_WINOGRAD : CZ_PRECISION_FP32;
}

static int stages(char **argv)
{
    const cz_read_options read = CZ_READ_OPTIONS_INIT;
    cz_session_options options = CZ_SESSION_OPTIONS_INIT;
    cz_picture photo = {0};
    cz_model *model = NULL;
    cz_session *session = NULL;
    cz_result result;
    double at[5] = {cz_now_ms()};
    options.precision = precision_of(argv[3]);
    options.map = CZ_MAP_NONE;
    cz_status status = cz_model_open(argv[1], NULL, &model);
    at[1] = cz_now_ms();
    if (status == CZ_OK) status = cz_session_open(model, &options, &session);
    at[2] = cz_now_ms();
    if (status == CZ_OK) status = cz_picture_read(argv[2], &read, &photo);
    at[3] = cz_now_ms();
    if (status == CZ_OK) status = cz_score(session, &photo.image, &result);
    at[4] = cz_now_ms();
    if (status != CZ_OK) return fail();
    printf("{\"model\":%.1f,\"session\":%.1f,\"photo\":%.1f,\"score\":%.1f}\n", at[1] - at[0], at[2] - at[1],
           at[3] - at[2], at[4] - at[3]);
    cz_picture_free(&photo);
    cz_session_close(session);
    cz_model_close(model);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fputs("usage: bench_startup --save ARCH FILE | bench_startup MODEL PHOTO PRECISION\n", stderr);
        return 2;
    }
    return strcmp(argv[1], "--save") == 0 ? save(argv[2], argv[3]) : stages(argv);
}
