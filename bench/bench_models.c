/* SPDX-License-Identifier: Apache-2.0 */
/* bench_models PHOTO PRECISION MODEL MODEL [RUNS]: the whole path from a decoded photo to its map, two models in turns in one
 * process; medians in milliseconds, stage by stage, and the second one's total as a ratio of the first one's. */
#include "cozad/cozad_io.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST 1000

typedef struct subject {
    cz_model *model;
    cz_session *session;
    double times[6][MOST]; /* preprocess, backbone, pooling, head, map, total */
} subject;

static int fail(void)
{
    fprintf(stderr, "bench_models: %s\n", cz_last_error());
    return 1;
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t count)
{
    qsort(values, count, sizeof *values, ascending);
    return values[count / 2];
}

static cz_precision precision_of(const char *name)
{
    if (strcmp(name, "bf16") == 0) return CZ_PRECISION_BF16;
    return strcmp(name, "int8") == 0 ? CZ_PRECISION_INT8 : CZ_PRECISION_FP32;
}

static cz_status open_subject(const char *path, const char *precision, subject *s)
{
    cz_session_options options = CZ_SESSION_OPTIONS_INIT;
    options.precision = precision_of(precision);
    const cz_status status = cz_model_open(path, NULL, &s->model);
    return status == CZ_OK ? cz_session_open(s->model, &options, &s->session) : status;
}

static cz_status measure(subject *s, const cz_image *photo, size_t run)
{
    cz_timing t;
    cz_result result;
    const cz_status status = cz_score(s->session, photo, &result);
    cz_session_timing(s->session, &t);
    const double values[6] = {t.preprocess, t.backbone, t.pooling, t.head, t.map, t.total};
    for (size_t i = 0; i < 6; i++) s->times[i][run] = values[i];
    return status;
}

int main(int argc, char **argv)
{
    static subject subjects[2];
    static const char *const names[6] = {"preprocess", "backbone", "pooling", "head", "map", "total"};
    const cz_read_options read = CZ_READ_OPTIONS_INIT;
    cz_picture photo = {0};
    if (argc < 5) {
        fprintf(stderr, "usage: bench_models PHOTO fp32|bf16|int8 MODEL MODEL [RUNS]\n");
        return 2;
    }
    size_t runs = argc > 5 ? (size_t)strtoul(argv[5], NULL, 10) : 31;
    if (runs < 1 || runs > MOST) runs = 31;
    cz_status status = cz_picture_read(argv[1], &read, &photo);
    for (size_t i = 0; i < 2 && status == CZ_OK; i++) status = open_subject(argv[3 + i], argv[2], &subjects[i]);
    for (size_t i = 0; i < 2 * (runs + 3) && status == CZ_OK; i++) /* three to warm up */
        status = measure(&subjects[i % 2], &photo.image, i / 2 < 3 ? 0 : i / 2 - 3);
    if (status != CZ_OK) return fail();
    double total[2] = {0, 0};
    for (size_t i = 0; i < 2; i++) {
        for (size_t k = 0; k < 6; k++) printf("%s %.2f  ", names[k], total[i] = median(subjects[i].times[k], runs));
        printf("%s\n", argv[3 + i]);
        cz_session_close(subjects[i].session);
        cz_model_close(subjects[i].model);
    }
    printf("ratio %.3f\n", total[1] / total[0]);
    cz_picture_free(&photo);
    return 0;
}
