/* SPDX-License-Identifier: Apache-2.0 */
/* Safetensors bytes that lie: every claim of the header is checked against the file before a view is handed out. */
#include "tensor/tensors.h"
#include "util/alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Parses header + `body` bytes of data in a block of exactly that size and touches all tensors. */
static cz_status parse(const char *header, uint64_t length, size_t body)
{
    const size_t text = strlen(header), size = 8 + text + body;
    uint8_t *bytes = calloc(1, size);
    assert_non_null(bytes);
    for (int i = 0; i < 8; i++) bytes[i] = (uint8_t)(length >> (8 * i));
    memcpy(bytes + 8, header, text);
    cz_tensors *t = NULL;
    cz_error_clear();
    const cz_status status = cz_safetensors_parse(bytes, size, &t);
    assert_true((status == CZ_OK) == (t != NULL));
    assert_true(status == CZ_OK || cz_last_error()[0] != '\0');
    for (size_t i = 0; t && i < cz_tensors_count(t); i++) {
        cz_tensor_view v;
        assert_int_equal(cz_tensors_get(t, i, &v), CZ_OK);
        const uint8_t *p = v.data;
        assert_true(v.bytes == 0 || (p >= bytes + 8 + text && v.bytes <= (size_t)(bytes + size - p)));
        for (size_t k = 0; k < v.bytes; k++) assert_int_equal(p[k], 0);
    }
    cz_tensors_close(t);
    free(bytes);
    return status;
}

#define ENTRY(name, dtype, shape, begin, end)                                                                          \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" begin "," end "]}"

static void test_accepted(void **state)
{
    (void)state;
    const struct {
        const char *header;
        size_t body;
    } good[] = {
        {"{}", 0},
        {"{\"__metadata__\":{\"a\":\"b\"}}", 0},
        {"{" ENTRY("a", "F32", "[2,3]", "0", "24") "}", 24},
        {"{" ENTRY("a", "F32", "[2]", "8", "16") "," ENTRY("b", "F16", "[4]", "0", "8") "}", 16},
        {"{" ENTRY("scalar", "F64", "[]", "0", "8") "," ENTRY("none", "U8", "[0,7]", "8", "8") "}", 8},
        {"{" ENTRY("a", "BF16", "[1,1,1,1,1,1,1,2]", "0", "4") "}   ", 4},
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        if (parse(good[i].header, strlen(good[i].header), good[i].body) != CZ_OK)
            fail_msg("%s: %s", good[i].header, cz_last_error());
    }
}

static void test_refused(void **state)
{
    (void)state;
    const struct {
        const char *header;
        size_t body;
    } bad[] = {
        {"[]", 0},
        {"{", 0},
        {"{}x", 0},
        {"{\"a\":1}", 0},
        {"{\"__metadata__\":{\"a\":1}}", 0},
        {"{\"__metadata__\":[]}", 0},
        {"{}", 1}, /* bytes that no tensor claims */
        {"{" ENTRY("a", "F32", "[2]", "0", "8") "}", 4},
        {"{" ENTRY("a", "F32", "[2]", "0", "8") "}", 12},
        {"{" ENTRY("a", "F32", "[2]", "4", "12") "}", 12},
        {"{" ENTRY("a", "F32", "[3]", "0", "8") "}", 8},
        {"{" ENTRY("a", "F32", "[2]", "8", "0") "}", 8},
        {"{" ENTRY("a", "F32", "[2]", "-8", "0") "}", 8},
        {"{" ENTRY("a", "F32", "[-2]", "0", "8") "}", 8},
        {"{" ENTRY("a", "F32", "[2.0]", "0", "8") "}", 8},
        {"{" ENTRY("a", "F32", "2", "0", "8") "}", 8},
        {"{" ENTRY("a", "F31", "[2]", "0", "8") "}", 8},
        {"{" ENTRY("a", "F32", "[1,1,1,1,1,1,1,1,2]", "0", "8") "}", 8},
        {"{" ENTRY("a", "F32", "[4611686018427387906]", "0", "8") "}", 8},
        {"{" ENTRY("a", "F32", "[9223372036854775807,9223372036854775807]", "0", "4") "}", 4},
        {"{" ENTRY("a", "F32", "[99999999999999999999]", "0", "4") "}", 4},
        {"{" ENTRY("a", "F32", "[1]", "0", "18446744073709551620") "}", 4},
        {"{" ENTRY("a", "F32", "[2]", "0", "8") "," ENTRY("b", "F32", "[2]", "4", "12") "}", 12},
        {"{" ENTRY("a", "F32", "[2]", "0", "8") "," ENTRY("b", "F32", "[2]", "0", "8") "}", 8},
        {"{" ENTRY("a", "F32", "[2]", "0", "8") "," ENTRY("b", "F32", "[1]", "12", "16") "}", 16},
        {"{" ENTRY("a", "F32", "[1]", "0", "4") "," ENTRY("a", "F32", "[1]", "4", "8") "}", 8},
        {"{" ENTRY("a\\u0000b", "F32", "[1]", "0", "4") "}", 4},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4},
        {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4},
        {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}}", 4},
        {"{\"a\xff\":{}}", 0},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (parse(bad[i].header, strlen(bad[i].header), bad[i].body) == CZ_OK) fail_msg("accepted: %s", bad[i].header);
    }
}

static void test_header_lengths(void **state)
{
    (void)state;
    const char *header = "{" ENTRY("a", "F32", "[2]", "0", "8") "}";
    const uint64_t length = strlen(header);
    const uint64_t lengths[] = {0,
                                1,
                                length - 1,
                                length + 1,
                                length + 8,
                                length + 9,
                                UINT64_MAX,
                                UINT64_MAX - 7,
                                UINT64_MAX / 2,
                                1ull << 32,
                                100000001ull,
                                8};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        if (parse(header, lengths[i], 8) == CZ_OK) fail_msg("header length %llu", (unsigned long long)lengths[i]);
    }
    assert_int_equal(parse(header, length, 8), CZ_OK);
    cz_tensors *t = NULL;
    for (size_t size = 0; size < 9; size++)
        assert_int_not_equal(cz_safetensors_parse((const uint8_t *)header, size, &t), 0);
}

/* JSON as deep or as wide as a header may be. */
static void test_nesting(void **state)
{
    (void)state;
    const size_t depth = 200000;
    char *text = malloc(6 * depth + 8);
    assert_non_null(text);
    size_t at = 0;
    for (size_t i = 0; i < depth; i++) {
        memcpy(text + at, "{\"a\":", 5);
        at += 5;
    }
    text[at] = '\0';
    assert_int_not_equal(parse(text, at, 0), CZ_OK);
    memset(text, '[', at);
    text[0] = '{';
    assert_int_not_equal(parse(text, at, 0), CZ_OK);
    free(text);
}

static void test_mutations(void **state)
{
    (void)state;
    const char *header = "{\"__metadata__\":{\"k\":\"v\"}," ENTRY("a", "F32", "[2,3]", "0",
                                                                  "24") "," ENTRY("b", "BF16", "[4]", "24", "32") "}";
    const size_t length = strlen(header);
    char *copy = malloc(length + 1);
    assert_non_null(copy);
    uint32_t x = 7;
    static const char alphabet[] = "0123456789[]{},:\"-.eE\\abF \x01\xc3\x7f";
    for (int round = 0; round < 60000; round++) {
        memcpy(copy, header, length + 1);
        for (int k = 0; k < 1 + round % 4; k++) {
            x = x * 1664525u + 1013904223u;
            const size_t at = (x >> 8) % length;
            x = x * 1664525u + 1013904223u;
            copy[at] = alphabet[(x >> 8) % (sizeof alphabet - 1)];
        }
        (void)parse(copy, length, 32);
    }
    free(copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepted), cmocka_unit_test(test_refused),   cmocka_unit_test(test_header_lengths),
        cmocka_unit_test(test_nesting),  cmocka_unit_test(test_mutations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
