/* SPDX-License-Identifier: Apache-2.0 */
/* Golden files made by make_backbone_goldens.py: sampled values, and where in a tensor they were taken. */
#ifndef TESTS_PARITY_GOLDEN_H
#define TESTS_PARITY_GOLDEN_H

#include "backbone/backbone.h"
#include "tensor/tensors.h"
#include "util/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* [1, side, side, 3] of the scripts' NCHW hash image */
static inline float *golden_input(size_t side, float factor)
{
    float *input = malloc(side * side * 3 * sizeof *input);
    for (size_t i = 0; input && i < side * side * 3; i++)
        input[i] = factor * 2 * cz_hash_uniform(cz_name_hash("input", 0), i % 3 * side * side + i / 3);
    return input;
}

/* Relative L2 error over the samples of `tap`; values: [pixels, channels], the script's order is [channels, pixels] when
 * `transposed`. NaN when the golden tensor is not as it should be. */
static inline double golden_error(const cz_tensors *golden, const char *tap, const float *values, size_t pixels,
                                  size_t channels, bool transposed)
{
    char name[40];
    double difference = 0, norm = 0;
    const cz_tensor_view *view = cz_tensors_lookup(golden, tap);
    if (!view || view->dtype != CZ_F32 || view->rank != 1 || view->shape[0] < 1000) return NAN;
    snprintf(name, sizeof name, "sample:%s", tap);
    for (size_t i = 0; i < view->shape[0]; i++) {
        const double u = cz_hash_uniform(cz_name_hash(name, 0), i);
        const size_t at = (size_t)((u + 1.0) * 0.5 * (double)(pixels * channels));
        const float got = values[transposed ? at % pixels * channels + at / pixels : at];
        float want;
        memcpy(&want, (const char *)view->data + i * sizeof want, sizeof want);
        difference += ((double)got - want) * ((double)got - want);
        norm += (double)want * want;
    }
    return sqrt(difference / norm);
}

/* malloc'd "$COZAD_TEST_DATA/weights/NAME" when that file is there, else NULL after saying so */
static inline char *outside_weights(const char *name)
{
    const char *root = getenv("COZAD_TEST_DATA");
    const size_t room = (root ? strlen(root) : 0) + strlen(name) + 16;
    char *path = malloc(room);
    snprintf(path, room, "%s/weights/%s", root ? root : "", name);
    FILE *file = root ? fopen(path, "rb") : NULL;
    if (file) {
        fclose(file);
        return path;
    }
    printf("skipped: %s (no outside data)\n", name);
    free(path);
    return NULL;
}

/* NULL with a message on stderr */
static inline cz_backbone *open_weights(const char *path)
{
    cz_tensors *tensors = NULL;
    cz_backbone *b = NULL;
    cz_status status = cz_safetensors_open(path, &tensors);
    if (status == CZ_OK) status = cz_backbone_from_tensors(tensors, "test", path, &b);
    cz_tensors_close(tensors);
    if (status != CZ_OK) fprintf(stderr, "%s\n", cz_last_error());
    return b;
}

#endif
