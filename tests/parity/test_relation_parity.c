/* SPDX-License-Identifier: Apache-2.0 */
/* Relational descriptors against PyTorch in double. Maps are hashes of their names, as in make_relation_goldens.py. */
#include "features/relation.h"
#include "tensor/dtype.h"
#include "tensor/tensors.h"
#include "util/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { H = 14, W = 16, WIDTH = 54 };

static uint16_t *hashed_map(size_t tap, cz_tap_shape s)
{
    const size_t count = s.channels * s.height * s.width;
    uint16_t *map = malloc(count * sizeof *map);
    char name[32];
    snprintf(name, sizeof name, "relation.%zu", tap);
    for (size_t i = 0; i < count; i++) {
        const float u = cz_hash_uniform(cz_name_hash(name, 0), i) * (float)(i % s.channels % 7 + 1);
        map[i] = cz_f32_to_bf16(u + 0.75f);
    }
    return map;
}

static void test_against_pytorch(void **state)
{
    static const cz_tap_shape taps[] = {{24, H, W}, {40, H / 2, W / 2}};
    static float got[H * W * WIDTH];
    uint16_t *maps[2] = {hashed_map(0, taps[0]), hashed_map(1, taps[1])};
    const uint16_t *const from[2] = {maps[0], maps[1]};
    cz_tensors *golden = NULL;
    cz_tensor_view view;
    cz_relation *r = NULL;
    double values = 0, ranks = 0;
    (void)state;
    assert_int_equal(cz_safetensors_open(TEST_FILES "/relation.safetensors", &golden), CZ_OK);
    assert_int_equal(cz_tensors_find(golden, "relation", &view), CZ_OK);
    assert_int_equal(view.bytes, sizeof got);
    assert_int_equal(cz_relation_create(taps, 2, &r), CZ_OK);
    assert_int_equal(cz_relation_width(r), WIDTH);
    assert_int_equal(cz_relation_run(r, from, NULL, got), CZ_OK);
    for (size_t i = 0; i < H * W * WIDTH; i++) {
        float want;
        memcpy(&want, (const char *)view.data + i * sizeof want, sizeof want);
        const double apart = fabs((double)got[i] - (double)want);
        double *most = i % 27 < 18 ? &values : &ranks;
        if (!(apart <= *most)) *most = apart;
    }
    printf("largest difference of logarithms %.1e, of ranks %.1e\n", values, ranks);
    assert_true(values <= 3e-6 && ranks <= 1e-6);
    cz_relation_destroy(r);
    cz_tensors_close(golden);
    free(maps[0]);
    free(maps[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_against_pytorch)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
