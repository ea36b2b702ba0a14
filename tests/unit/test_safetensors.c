/* SPDX-License-Identifier: Apache-2.0 */
#include "tensor/dtype.h"
#include "tensor/tensors.h"
#include "util/alloc.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* Header text and a body of `body` zero bytes as a file in memory; free(). */
static uint8_t *make(const char *header, size_t body, size_t *size)
{
    const size_t length = strlen(header);
    uint8_t *data = calloc(8 + length + body + 1, 1);
    for (int i = 0; i < 8; i++) data[i] = (uint8_t)((uint64_t)length >> (8 * i));
    memcpy(data + 8, header, length);
    *size = 8 + length + body;
    return data;
}

static void check(const char *header, size_t body, const char *expected)
{
    size_t size;
    uint8_t *data = make(header, body, &size);
    cz_tensors *t = NULL;
    cz_error_clear();
    const cz_status status = cz_safetensors_parse(data, size, &t);
    if (expected == NULL) {
        if (status != CZ_OK) fail_msg("%s: refused: %s", header, cz_last_error());
        cz_tensors_close(t);
    } else {
        if (status == CZ_OK) fail_msg("%s: accepted", header);
        if (strstr(cz_last_error(), expected) == NULL)
            fail_msg("%s: \"%s\" does not say \"%s\"", header, cz_last_error(), expected);
    }
    free(data);
}

static void accepts_and_refuses(void **state)
{
    (void)state;
    check("{}", 0, NULL);
    check("{\"a\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]}}", 24, NULL);
    check("{\"a\":{\"dtype\":\"F16\",\"shape\":[],\"data_offsets\":[0,2]},\"__metadata__\":{\"k\":\"v\"}}", 2, NULL);
    check("{\"a\":{\"dtype\":\"BF16\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0, NULL);
    check("{\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[2,4]},\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_"
          "offsets\":[0,2]}}",
          4, NULL);
    check("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 7, "data_offsets");
    check("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 9, "unused bytes after");
    check("{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", 8, "shape and dtype make");
    check("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8, "unused bytes");
    check("{\"a\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]},\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_"
          "offsets\":[2,4]}}",
          4, "overlaps");
    check("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_"
          "offsets\":[2,3]}}",
          3, "unused bytes");
    check("{\"a\":{\"dtype\":\"F8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "dtype F8");
    check("{\"a\":{\"dtype\":\"U8\",\"shape\":[-1],\"data_offsets\":[0,1]}}", 1, "shape");
    check("{\"a\":{\"dtype\":\"U8\",\"shape\":[1.0],\"data_offsets\":[0,1]}}", 1, "shape");
    check("{\"a\":{\"dtype\":\"F64\",\"shape\":[4611686018427387904,4],\"data_offsets\":[0,1]}}", 1, "too large");
    check("{\"a\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,1]}}", 1, "shape");
    check("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,0]}}", 1, "data_offsets");
    check("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"more\":1}}", 1, "not exactly");
    check("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_"
          "offsets\":[1,1]}}",
          1, "duplicate");
    check("{\"__metadata__\":{\"k\":1}}", 0, "not text");
    check("{\"a\":[]}", 0, "not an object");
    check("[]", 0, "not JSON");
    check("{", 0, "not a JSON object");
    cz_tensors *t;
    const uint8_t huge[9] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, '{'};
    assert_int_equal(cz_safetensors_parse(huge, 9, &t), CZ_E_FORMAT);
    assert_int_equal(cz_safetensors_parse(huge, 3, &t), CZ_E_FORMAT);
}

static void round_trip(void **state)
{
    (void)state;
    char path[] = "/tmp/cozad-st-XXXXXX";
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    (void)close(fd);
    cz_tensors *t = NULL, *back = NULL;
    assert_int_equal(cz_tensors_create(&t), CZ_OK);
    float values[6] = {1.5f, -2.0f, 0.0f, INFINITY, 1e-40f, 3.25f};
    char name[32];
    for (size_t i = 0; i < 200; i++) {
        (void)snprintf(name, sizeof name, "tensor \"%zu\" \xc3\xbc", i);
        values[0] = (float)i;
        const cz_tensor_view view = {name, CZ_F32, 2, {2, 3}, values, sizeof values};
        assert_int_equal(cz_tensors_add(t, &view), CZ_OK);
        assert_int_equal(cz_tensors_add(t, &view), CZ_E_ARG);
    }
    const cz_tensor_view empty = {"empty", CZ_I64, 1, {0}, NULL, 0};
    assert_int_equal(cz_tensors_add(t, &empty), CZ_OK);
    const cz_tensor_view wrong = {"wrong", CZ_F32, 2, {2, 3}, values, 20};
    assert_int_equal(cz_tensors_add(t, &wrong), CZ_E_ARG);
    assert_int_equal(cz_tensors_set_metadata(t, "k", "one"), CZ_OK);
    assert_int_equal(cz_tensors_set_metadata(t, "k", "line\n\"two\""), CZ_OK);
    assert_int_equal(cz_tensors_save(t, path), CZ_OK);
    assert_int_equal(cz_safetensors_open(path, &back), CZ_OK);
    assert_int_equal(cz_tensors_count(back), 201);
    assert_string_equal(cz_tensors_metadata(back, "k"), "line\n\"two\"");
    assert_null(cz_tensors_metadata(back, "absent"));
    cz_tensor_view view;
    assert_int_equal(cz_tensors_find(back, "tensor \"77\" \xc3\xbc", &view), CZ_OK);
    values[0] = 77.0f;
    assert_memory_equal(view.data, values, sizeof values);
    assert_true(view.rank == 2 && view.shape[0] == 2 && view.shape[1] == 3);
    assert_int_equal(cz_tensors_find(back, "absent", &view), CZ_E_FORMAT);
    assert_int_equal(cz_tensors_get(back, 201, &view), CZ_E_ARG);
    cz_tensors_close(t);
    cz_tensors_close(back);
    (void)unlink(path);
}

/* Every F16 and every BF16 value against the definition in double; rounding to BF16 against its neighbours. */
static void conversions(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        const int exponent = (h >> 10) & 31;
        const double sign = (h & 0x8000u) != 0 ? -1.0 : 1.0, mantissa = h & 1023u;
        const float got = cz_f16_to_f32((uint16_t)h);
        if (exponent == 31) {
            assert_true(mantissa > 0 ? isnan(got) : isinf(got) && (got > 0) == (sign > 0));
        } else {
            const double want = exponent == 0 ? ldexp(mantissa, -24) : ldexp(1024.0 + mantissa, exponent - 25);
            assert_true((double)got == sign * want);
        }
        const float wide = cz_bf16_to_f32((uint16_t)h);
        if (!isnan(wide)) assert_int_equal(cz_f32_to_bf16(wide), h);
    }
    assert_true(isnan(cz_bf16_to_f32(cz_f32_to_bf16(NAN))));
    assert_int_equal(cz_f32_to_bf16(1.00390625f), 0x3f80); /* a tie goes to the even neighbour */
    assert_int_equal(cz_f32_to_bf16(1.01171875f), 0x3f82);
    assert_int_equal(cz_f32_to_bf16(1.00390637f), 0x3f81);
    assert_int_equal(cz_f32_to_bf16(3.4e38f), 0x7f80); /* beyond the largest: infinity */
    const double doubles[2] = {0.1, -1e300};
    float out[2];
    assert_int_equal(cz_to_f32(CZ_F64, doubles, 2, out), CZ_OK);
    assert_true(out[0] == 0.1f && isinf(out[1]));
    assert_int_equal(cz_to_f32(CZ_I64, doubles, 1, out), CZ_E_UNSUPPORTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(accepts_and_refuses), cmocka_unit_test(round_trip),
                                       cmocka_unit_test(conversions)};
    return cmocka_run_group_tests_name("safetensors", tests, NULL, NULL);
}
