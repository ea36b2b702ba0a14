/* SPDX-License-Identifier: Apache-2.0 */
/* The Open Inference Protocol as data: every form of a request, hostile ones, and answers read back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "oip.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const size_t most_batch = 4;
static const uint64_t most_pixels = 100;

/* From a block of exactly that size, so that AddressSanitizer sees one byte too many; *block stays for the request: free(). */
static cz_status parse_bytes(const void *bytes, size_t size, size_t header, sv_oip_request *out, unsigned char **block)
{
    *block = malloc(size > 0 ? size : 1);
    assert_non_null(*block);
    memcpy(*block, bytes, size);
    return sv_oip_parse(*block, size, header, most_batch, most_pixels, out);
}

static unsigned char *good(const void *bytes, size_t size, size_t header, sv_oip_request *out)
{
    unsigned char *block;
    const cz_status status = parse_bytes(bytes, size, header, out, &block);
    if (status != CZ_OK) fail_msg("%s", cz_last_error());
    return block;
}

static unsigned char *good_json(const char *json, sv_oip_request *out)
{
    return good(json, strlen(json), SIZE_MAX, out);
}

static void done(sv_oip_request *r, unsigned char *block)
{
    sv_oip_free(r);
    free(block);
}

/* JSON, and behind it `rest`. */
static unsigned char *good_binary(const char *json, const void *rest, size_t rest_size, sv_oip_request *out)
{
    const size_t header = strlen(json);
    unsigned char *all = malloc(header + rest_size);
    assert_non_null(all);
    memcpy(all, json, header);
    memcpy(all + header, rest, rest_size);
    unsigned char *block = good(all, header + rest_size, header, out);
    free(all);
    return block;
}

static void bad(const char *json, const void *rest, size_t rest_size, size_t header, cz_status status, const char *why)
{
    sv_oip_request r;
    unsigned char *block;
    unsigned char *all = malloc(strlen(json) + rest_size + 1);
    assert_non_null(all);
    memcpy(all, json, strlen(json));
    if (rest_size > 0) memcpy(all + strlen(json), rest, rest_size);
    const cz_status got = parse_bytes(all, strlen(json) + rest_size, header, &r, &block);
    if (got != status || strstr(cz_last_error(), why) == NULL)
        fail_msg("%s\n  status %d (\"%s\"), wanted %d (\"%s\")", json, (int)got, got == CZ_OK ? "" : cz_last_error(),
                 (int)status, why);
    assert_null(r.images);
    assert_null(r.files);
    assert_null(r.pixels);
    done(&r, block);
    free(all);
}

static void check_image(const sv_oip_request *r, size_t index, size_t width, size_t height, cz_pixel_format format,
                        const char *bytes)
{
    const cz_image *image = &r->images[index];
    const size_t row = width * (format == CZ_RGB8 ? 3 : 1);
    assert_int_equal(image->width, width);
    assert_int_equal(image->height, height);
    assert_int_equal(image->stride, row);
    assert_int_equal(image->format, format);
    assert_memory_equal(image->data, bytes, row * height);
}

static void test_pixels_in_json(void **state)
{
    (void)state;
    sv_oip_request r;
    unsigned char *block =
        good_json("{\"id\":\"a/1\",\"inputs\":[{\"name\":\"image\",\"shape\":[2,1,2,1],\"datatype\":\"UINT8\","
                  "\"data\":[1,2,255,0]}]}",
                  &r);
    assert_string_equal(r.id, "a/1");
    assert_int_equal(r.count, 2);
    assert_null(r.files);
    assert_int_equal(r.outputs, SV_OIP_SCORE | SV_OIP_P_VALUE | SV_OIP_DECISION | SV_OIP_REGIONS);
    assert_int_equal(r.binary, 0);
    check_image(&r, 0, 2, 1, CZ_GRAY8, "\1\2");
    check_image(&r, 1, 2, 1, CZ_GRAY8, "\377\0");
    done(&r, block);
    /* nested, with spaces, "data" before "shape", other keys */
    block =
        good_json(" {\"x\":{\"data\":[\"a]\"]},\"inputs\" : [ {\"data\" : [ [ [ [1 , 2,3],\n[4,5,6] ] ] ] ,\"more\":"
                  "\"\\\"data\\\":[\",\"datatype\":\"UINT8\",\"shape\":[1,1,2,3],\"name\":\"image\"} ] } ",
                  &r);
    assert_int_equal(r.count, 1);
    check_image(&r, 0, 2, 1, CZ_RGB8, "\1\2\3\4\5\6");
    done(&r, block);
    /* one image without N, flat and nested */
    static const char *const three[] = {"[[[7],[8]],[[9],[10]]]", "[7,8,9,10]"};
    for (int i = 0; i < 2; i++) {
        char json[256];
        (void)snprintf(json, sizeof json,
                       "{\"inputs\":[{\"name\":\"image\",\"shape\":[2,2,1],\"datatype\":\"UINT8\",\"data\":%s}]}",
                       three[i]);
        block = good_json(json, &r);
        assert_int_equal(r.count, 1);
        check_image(&r, 0, 2, 2, CZ_GRAY8, "\7\10\11\12");
        done(&r, block);
    }
}

static void test_pixels_in_binary(void **state)
{
    (void)state;
    sv_oip_request r;
    unsigned char *block = good_binary("{\"inputs\":[{\"name\":\"image\",\"shape\":[2,1,1,3],\"datatype\":\"UINT8\","
                                       "\"parameters\":{\"binary_data_size\":6}}]}",
                                       "\1\2\3\4\5\6", 6, &r);
    assert_int_equal(r.count, 2);
    assert_null(r.pixels);
    check_image(&r, 0, 1, 1, CZ_RGB8, "\1\2\3");
    check_image(&r, 1, 1, 1, CZ_RGB8, "\4\5\6");
    done(&r, block);
    block = good_binary("{\"inputs\":[{\"name\":\"image\",\"shape\":[1,2,1],\"datatype\":\"UINT8\"}]}", "\1\2", 2, &r);
    check_image(&r, 0, 2, 1, CZ_GRAY8, "\1\2");
    done(&r, block);
}

static void check_file(const sv_oip_request *r, size_t index, const char *bytes)
{
    assert_int_equal(r->file_sizes[index], strlen(bytes));
    assert_memory_equal(r->files[index], bytes, strlen(bytes));
}

static void test_files_in_json(void **state)
{
    (void)state;
    sv_oip_request r;
    unsigned char *block = good_json("{\"inputs\":[{\"name\":\"image\",\"shape\":[3],\"datatype\":\"BYTES\",\"data\":"
                                     "[\"YQ==\", {\"b64\" : \"YWI=\"} ,\"YWJj\"]}]}",
                                     &r);
    assert_int_equal(r.count, 3);
    assert_null(r.images);
    check_file(&r, 0, "a");
    check_file(&r, 1, "ab");
    check_file(&r, 2, "abc");
    done(&r, block);
    /* bytes that base64 writes as "+/+/", with the escapes that writers use */
    block = good_json("{\"inputs\":[{\"name\":\"image\",\"shape\":[2,1],\"datatype\":\"BYTES\",\"data\":"
                      "[[\"+\\/\\u002b\\u002F\"],[\"+/+/\"]]}]}",
                      &r);
    check_file(&r, 0, "\xfb\xff\xbf");
    check_file(&r, 1, "\xfb\xff\xbf");
    done(&r, block);
}

static void test_files_in_binary(void **state)
{
    (void)state;
    sv_oip_request r;
    unsigned char *block = good_binary("{\"inputs\":[{\"name\":\"image\",\"shape\":[2],\"datatype\":\"BYTES\","
                                       "\"parameters\":{\"binary_data_size\":13}}]}",
                                       "\3\0\0\0abc\2\0\0\0de", 13, &r);
    assert_int_equal(r.count, 2);
    check_file(&r, 0, "abc");
    check_file(&r, 1, "de");
    done(&r, block);
    /* one picture as the rest of the body, as OpenVINO Model Server takes it; its length before it is known too */
    static const char one[] = "{\"inputs\":[{\"name\":\"image\",\"shape\":[1],\"datatype\":\"BYTES\"}]}";
    block = good_binary(one, "\377\330\377pic", 6, &r);
    check_file(&r, 0, "\377\330\377pic");
    done(&r, block);
    block = good_binary(one, "x", 1, &r);
    check_file(&r, 0, "x");
    done(&r, block);
    block = good_binary(one, "\3\0\0\0abc", 7, &r);
    check_file(&r, 0, "abc");
    done(&r, block);
    /* Triton's raw binary request */
    block = good("whole body", 10, 0, &r);
    assert_int_equal(r.count, 1);
    assert_int_equal(r.binary, 0);
    check_file(&r, 0, "whole body");
    done(&r, block);
}

#define INPUT "\"inputs\":[{\"name\":\"image\",\"shape\":[1,1,1],\"datatype\":\"UINT8\",\"data\":[5]}]"

static void test_wishes(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        unsigned outputs, binary;
    } cases[] = {
        {"{" INPUT ",\"outputs\":[{\"name\":\"map\"},{\"name\":\"score\"}]}", SV_OIP_MAP | SV_OIP_SCORE, 0},
        {"{" INPUT ",\"outputs\":[{\"name\":\"map\",\"parameters\":{\"binary_data\":true}},{\"name\":\"regions\"}]}",
         SV_OIP_MAP | SV_OIP_REGIONS, SV_OIP_MAP},
        {"{\"parameters\":{\"binary_data_output\":true}," INPUT ",\"outputs\":[{\"name\":\"p_value\",\"parameters\":{"
         "\"binary_data\":false}},{\"name\":\"decision\"}]}",
         SV_OIP_P_VALUE | SV_OIP_DECISION, SV_OIP_DECISION},
        {"{\"parameters\":{\"binary_data_output\":true,\"timeout\":7}," INPUT ",\"outputs\":[]}",
         SV_OIP_SCORE | SV_OIP_P_VALUE | SV_OIP_DECISION | SV_OIP_REGIONS,
         SV_OIP_SCORE | SV_OIP_P_VALUE | SV_OIP_DECISION | SV_OIP_REGIONS},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sv_oip_request r;
        unsigned char *block = good_json(cases[i].json, &r);
        assert_int_equal(r.outputs, cases[i].outputs);
        assert_int_equal(r.binary, cases[i].binary);
        done(&r, block);
    }
}

#define TENSOR(type, shape, rest)                                                                                      \
    "{\"inputs\":[{\"name\":\"image\",\"datatype\":\"" type "\",\"shape\":" shape rest "}]}"
#define PIXELS(shape, data) TENSOR("UINT8", shape, ",\"data\":" data)
#define FILES(shape, data)  TENSOR("BYTES", shape, ",\"data\":" data)

static void test_hostile_json(void **state)
{
    (void)state;
    static const struct {
        const char *json, *why;
        cz_status status;
    } cases[] = {
        {"", "no body", CZ_E_FORMAT},
        {"[]", "not a JSON object", CZ_E_FORMAT},
        {"{", "not JSON", CZ_E_FORMAT},
        {"{\"inputs\":[{\"data\":[", "not JSON", CZ_E_FORMAT},
        {"{\"inputs\":[{\"data\":[\"\\", "not JSON", CZ_E_FORMAT},
        {"{\"inputs\":[{\"data", "not JSON", CZ_E_FORMAT},
        {"\377\376", "not JSON", CZ_E_FORMAT},
        {"{} x", "not JSON", CZ_E_FORMAT},
        {"{}", "exactly one input", CZ_E_FORMAT},
        {"{\"inputs\":[]}", "exactly one input", CZ_E_FORMAT},
        {"{\"inputs\":[7]}", "an input is an object", CZ_E_FORMAT},
        {"{\"inputs\":{\"a\":1}}", "exactly one input", CZ_E_FORMAT},
        {"{\"inputs\":[{\"data\":[1]},{\"data\":[1]}]}", "more than one \"data\"", CZ_E_FORMAT},
        {"{" INPUT "," INPUT "}", "more than one \"data\"", CZ_E_FORMAT},
        {"{\"id\":\"a\",\"id\":\"b\"," INPUT "}", "not JSON", CZ_E_FORMAT},
        {"{\"id\":7," INPUT "}", "id: not a string", CZ_E_FORMAT},
        {"{\"id\":\"a\\u0000b\"," INPUT "}", "not JSON", CZ_E_FORMAT},
        {"{\"outputs\":{}," INPUT "}", "outputs: not an array", CZ_E_FORMAT},
        {"{\"outputs\":[7]," INPUT "}", "with a \"name\"", CZ_E_FORMAT},
        {"{\"outputs\":[{\"name\":\"scor\xc3\xa9\"}]," INPUT "}", "no \"scor??\"", CZ_E_FORMAT},
        {"{\"outputs\":[{\"name\":\"map\"},{\"name\":\"map\"}]," INPUT "}", "twice", CZ_E_FORMAT},
        {"{\"outputs\":[{\"name\":\"map\",\"parameters\":7}]," INPUT "}", "not an object", CZ_E_FORMAT},
        {"{\"outputs\":[{\"name\":\"map\",\"parameters\":{\"binary_data\":1}}]," INPUT "}", "true or false",
         CZ_E_FORMAT},
        {"{\"parameters\":{\"binary_data_output\":\"yes\"}," INPUT "}", "true or false", CZ_E_FORMAT},
        {"{\"inputs\":[{\"name\":\"x\",\"shape\":[1,1,1],\"datatype\":\"UINT8\",\"data\":[5]}]}", "no \"x\"",
         CZ_E_FORMAT},
        {TENSOR("FP32", "[1,1,1]", ",\"data\":[5]"), "not \"FP32\"", CZ_E_UNSUPPORTED},
        {PIXELS("[1,1]", "[5]"), "the shape of UINT8", CZ_E_FORMAT},
        {PIXELS("[1,1,1,1,1]", "[5]"), "the shape of UINT8", CZ_E_FORMAT},
        {PIXELS("[1,1,4]", "[1,2,3,4]"), "the shape of UINT8", CZ_E_FORMAT},
        {PIXELS("[1,0,1]", "[]"), "the shape of UINT8", CZ_E_FORMAT},
        {PIXELS("[1,-1,1]", "[5]"), "the shape of UINT8", CZ_E_FORMAT},
        {PIXELS("[1,1.0,1]", "[5]"), "the shape of UINT8", CZ_E_FORMAT},
        {PIXELS("7", "[5]"), "the shape of UINT8", CZ_E_FORMAT},
        {PIXELS("[5,1,1,1]", "[1,2,3,4,5]"), "5 images, the limit is 4", CZ_E_LIMIT},
        {PIXELS("[9223372036854775807,1,1,1]", "[1]"), "the limit is 4", CZ_E_LIMIT},
        {PIXELS("[4294967296,4294967296,1]", "[1]"), "above the limit of 100 pixels", CZ_E_LIMIT},
        {PIXELS("[1,9223372036854775807,3]", "[1]"), "above the limit of 100 pixels", CZ_E_LIMIT},
        {PIXELS("[101,1,1]", "[1]"), "above the limit of 100 pixels", CZ_E_LIMIT},
        {PIXELS("[100,1,1]", "[1]"), "fewer elements", CZ_E_FORMAT},
        {PIXELS("[2,1,1]", "[1  ]"), "flat or nested", CZ_E_FORMAT},
        {PIXELS("[2,1,1]", "[1,2,3]"), "flat or nested", CZ_E_FORMAT},
        {PIXELS("[2,1,1]", "[1,2"), "not JSON", CZ_E_FORMAT},
        {PIXELS("[2,1,1]", "[1,2,]"), "flat or nested", CZ_E_FORMAT},
        {PIXELS("[2,1,1]", "[[1],[2]]"), "flat or nested", CZ_E_FORMAT},
        {PIXELS("[2,1,1]", "[[[1,2]]]"), "flat or nested", CZ_E_FORMAT},
        {PIXELS("[2,1,1]", "[[[1]],2]"), "flat or nested", CZ_E_FORMAT},
        {PIXELS("[2,1,1]", "[1,[2]]"), "flat or nested", CZ_E_FORMAT},
        {PIXELS("[2,1,1]", "[1,256]"), "element 1 is not a whole number", CZ_E_FORMAT},
        {PIXELS("[2,1,1]", "[-1,2]"), "element 0 is not a whole number", CZ_E_FORMAT},
        {PIXELS("[2,1,1]", "[1.5,2]"), "element 0 is not a whole number", CZ_E_FORMAT},
        {PIXELS("[2,1,1]", "[1e2,2]"), "element 0 is not a whole number", CZ_E_FORMAT},
        {PIXELS("[2,1,1]", "[01,2]"), "element 0 is not a whole number", CZ_E_FORMAT},
        {PIXELS("[2,1,1]", "[99999999999999999999,2]"), "element 0 is not a whole number", CZ_E_FORMAT},
        {PIXELS("[2,1,1]", "[null,2]"), "element 0 is not a whole number", CZ_E_FORMAT},
        {PIXELS("[2,1,1]", "[1 2 ]"), "element 0 is not a whole number", CZ_E_FORMAT},
        {PIXELS("[1,1,1]", "7"), "is not an array", CZ_E_FORMAT},
        {PIXELS("[1,1,1]", "null"), "is not an array", CZ_E_FORMAT},
        {TENSOR("UINT8", "[1,1,1]", ",\"d\\u0061ta\":[5]"), "is not an array", CZ_E_FORMAT},
        {TENSOR("UINT8", "[1,1,1]", ""), "0 bytes, which is not", CZ_E_FORMAT},
        {TENSOR("UINT8", "[1,1,1]", ",\"parameters\":[]"), "not an object", CZ_E_FORMAT},
        {TENSOR("UINT8", "[1,1,1]", ",\"parameters\":{\"binary_data_size\":\"1\"}"), "not a whole number", CZ_E_FORMAT},
        {TENSOR("UINT8", "[1,1,1]", ",\"parameters\":{\"binary_data_size\":-1}"), "not a whole number", CZ_E_FORMAT},
        {TENSOR("UINT8", "[1,1,1]", ",\"parameters\":{\"binary_data_size\":1}"), "behind the JSON are 0", CZ_E_FORMAT},
        {TENSOR("UINT8", "[1,1,1]", ",\"parameters\":{\"binary_data_size\":1},\"data\":[5]"), "both \"data\"",
         CZ_E_FORMAT},
        {FILES("[1,2]", "[\"YQ==\",\"YQ==\"]"), "the shape of BYTES", CZ_E_FORMAT},
        {FILES("[1,1,1]", "[\"YQ==\"]"), "the shape of BYTES", CZ_E_FORMAT},
        {FILES("[]", "[\"YQ==\"]"), "the shape of BYTES", CZ_E_FORMAT},
        {FILES("[5]", "[\"YQ==\"]"), "5 images", CZ_E_LIMIT},
        {FILES("[2]", "[\"YQ==\"]"), "flat or nested", CZ_E_FORMAT},
        {FILES("[1]", "[\"YQ=\"]"), "element 0 is not base64", CZ_E_FORMAT},
        {FILES("[1]", "[\"YQ\"]"), "element 0 is not base64", CZ_E_FORMAT},
        {FILES("[1]", "[\"=\"]"), "element 0 is not base64", CZ_E_FORMAT},
        {FILES("[1]", "[\"====\"]"), "element 0 is not base64", CZ_E_FORMAT},
        {FILES("[1]", "[\"Y===\"]"), "element 0 is not base64", CZ_E_FORMAT},
        {FILES("[1]", "[\"YQ==YQ==\"]"), "element 0 is not base64", CZ_E_FORMAT},
        {FILES("[1]", "[\"YQ======\"]"), "element 0 is not base64", CZ_E_FORMAT},
        {FILES("[1]", "[\"Y Q=\"]"), "element 0 is not base64", CZ_E_FORMAT},
        {FILES("[1]", "[\"YQ=\\\"\"]"), "element 0 is not base64", CZ_E_FORMAT},
        {FILES("[1]", "[\"YQ=\\u2603\"]"), "element 0 is not base64", CZ_E_FORMAT},
        {FILES("[1]", "[\"\"]"), "element 0 is empty", CZ_E_FORMAT},
        {FILES("[1]", "[{\"b65\":\"YQ==\"}]"), "element 0 is not base64", CZ_E_FORMAT},
        {FILES("[1]", "[{\"b64\":\"YQ==\",\"x\":1}]"), "element 0 is not base64", CZ_E_FORMAT},
        {FILES("[1]", "[{\"b64\":7}]"), "element 0 is not base64", CZ_E_FORMAT},
        {FILES("[1]", "[7]"), "element 0 is not base64", CZ_E_FORMAT},
        {TENSOR("BYTES", "[1]", ""), "neither \"data\" nor bytes", CZ_E_FORMAT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        bad(cases[i].json, NULL, 0, SIZE_MAX, cases[i].status, cases[i].why);
}

static void test_hostile_binary(void **state)
{
    (void)state;
    const char *two = TENSOR("BYTES", "[2]", ""),
               *one = TENSOR("BYTES", "[1]", ",\"parameters\":{\"binary_data_size\":5}");
    const char *pixels = TENSOR("UINT8", "[2,1,1,3]", "");
    bad(two, "\3\0\0\0abc\2\0\0\0d", 12, strlen(two), CZ_E_FORMAT, "element 1 says it has 2 bytes, 1 are left");
    bad(two, "\3\0\0\0abc\2\0\0", 10, strlen(two), CZ_E_FORMAT, "the bytes end before element 1");
    bad(two, "\3\0\0\0abc\2\0\0\0dex", 14, strlen(two), CZ_E_FORMAT, "1 bytes behind the last element");
    bad(two, "\0\0\0\0\2\0\0\0de", 10, strlen(two), CZ_E_FORMAT, "element 0 says it has 0 bytes");
    bad(two, "\377\377\377\377\2\0\0\0de", 10, strlen(two), CZ_E_FORMAT, "element 0 says it has 4294967295 bytes");
    bad(one, "abcde", 5, strlen(one), CZ_E_FORMAT, "element 0 says it has");
    bad(one, "\1\0\0\0ab", 6, strlen(one), CZ_E_FORMAT, "binary_data_size is 5, behind the JSON are 6");
    bad(pixels, "12345", 5, strlen(pixels), CZ_E_FORMAT, "5 bytes, which is not what its shape says");
    bad(pixels, "1234567", 7, strlen(pixels), CZ_E_FORMAT, "7 bytes, which is not what its shape says");
    bad(pixels, "123456", 6, strlen(pixels) + 7, CZ_E_FORMAT, "Inference-Header-Content-Length is");
    bad(pixels, "123456", 6, strlen(pixels) - 1, CZ_E_FORMAT, "not JSON");
    bad("{" INPUT "}", "x", 1, strlen("{" INPUT "}"), CZ_E_FORMAT, "both \"data\" and bytes");
    bad("", "", 0, 0, CZ_E_FORMAT, "no body");
}

static void test_large_json(void **state)
{
    (void)state;
    const size_t size = 3 << 20;
    char *json = malloc(size);
    sv_oip_request r;
    unsigned char *block;
    assert_non_null(json);
    memset(json, ' ', size);
    memcpy(json, "{" INPUT, strlen("{" INPUT));
    json[size - 1] = '}';
    assert_int_equal(parse_bytes(json, size, SIZE_MAX, &r, &block), CZ_E_LIMIT);
    done(&r, block);
    /* deep nesting outside and inside "data" */
    memset(json, '[', size);
    assert_int_equal(parse_bytes(json, size, SIZE_MAX, &r, &block), CZ_E_LIMIT);
    done(&r, block);
    assert_int_equal(parse_bytes(json, 500000, SIZE_MAX, &r, &block), CZ_E_FORMAT);
    done(&r, block);
    const char *head = "{\"inputs\":[{\"name\":\"image\",\"shape\":[1,1,1],\"datatype\":\"UINT8\",\"data\":";
    memcpy(json, head, strlen(head));
    memset(json + size / 2, ']', size - size / 2);
    assert_int_not_equal(parse_bytes(json, size, SIZE_MAX, &r, &block), CZ_OK);
    done(&r, block);
    free(json);
}

/* Every shorter request is refused; changed ones are refused or understood, and nothing is read that is not there. */
static void test_damaged(void **state)
{
    (void)state;
    static const char json[] =
        "{\"id\":\"i\",\"parameters\":{\"binary_data_output\":true},\"inputs\":[{\"name\":\"image\",\"shape\":[2],"
        "\"datatype\":\"BYTES\",\"data\":[\"YWJj\",{\"b64\":\"YQ==\"}]}],\"outputs\":[{\"name\":\"score\"}]}";
    static const char binary[] = "{\"inputs\":[{\"name\":\"image\",\"shape\":[2],\"datatype\":\"BYTES\",\"parameters\":"
                                 "{\"binary_data_size\":13}}]}\3\0\0\0abc\2\0\0\0de";
    uint64_t seed = 1;
    sv_oip_request r;
    unsigned char *block;
    for (int form = 0; form < 2; form++) {
        const char *text = form == 0 ? json : binary;
        const size_t size = form == 0 ? sizeof json - 1 : sizeof binary - 1, header = form == 0 ? SIZE_MAX : size - 13;
        char copy[sizeof json + sizeof binary];
        for (size_t n = 0; n < size; n++) {
            assert_int_not_equal(parse_bytes(text, n, header, &r, &block), CZ_OK);
            done(&r, block);
        }
        for (int i = 0; i < 20000; i++) {
            memcpy(copy, text, size);
            for (int k = 0; k < 2; k++) {
                seed = seed * 6364136223846793005u + 1442695040888963407u;
                copy[(seed >> 33) % size] =
                    (seed >> 20 & 1) != 0 ? (char)(seed >> 24) : "[]{}\",:\\0159"[(seed >> 60) % 12];
            }
            if (parse_bytes(copy, size, header, &r, &block) == CZ_OK) assert_in_range(r.count, 1, most_batch);
            done(&r, block);
        }
    }
}

/* ---- answers ------------------------------------------------------------------------------------------------------ */

static const sv_model model = {.name = "screw", .version = "0123456789abcdef"};

/* The last parts of the JSON and where the binary begins. */
static json_t *answer_json(const sv_oip_request *r, const sv_outcome *outcomes, char **text, size_t *size,
                           size_t *header)
{
    json_error_t error;
    if (sv_oip_answer(r, &model, outcomes, text, size, header) != CZ_OK) fail_msg("%s", cz_last_error());
    json_t *root = json_loadb(*text, *header == SIZE_MAX ? *size : *header, JSON_REJECT_DUPLICATES, &error);
    if (root == NULL) fail_msg("%s", error.text);
    return root;
}

static json_t *output_named(const json_t *root, const char *name)
{
    const json_t *outputs = json_object_get(root, "outputs");
    for (size_t i = 0; i < json_array_size(outputs); i++)
        if (strcmp(json_string_value(json_object_get(json_array_get(outputs, i), "name")), name) == 0)
            return json_array_get(outputs, i);
    return NULL;
}

static void check_text(const json_t *root, const char *name, const char *key, const char *wanted)
{
    char *text = json_dumps(json_object_get(output_named(root, name), key), JSON_COMPACT | JSON_ENCODE_ANY);
    assert_non_null(text);
    assert_string_equal(text, wanted);
    free(text);
}

static float maps[2][6] = {{0.5f, 1, 2, 3, 4, 1e-7f}, {0, 0, 0, 0, 0, 0}};
static cz_region region = {1, 2, 3, 4, 12, 2, 3, 0.5, 0.25};

static void outcomes_make(sv_outcome out[2])
{
    maps[1][5] = NAN;
    out[0] = (sv_outcome){.width = 3,
                          .height = 2,
                          .score = 0.1,
                          .p_value = 0.25,
                          .decision = 1,
                          .regions = &region,
                          .region_count = 1,
                          .region_total = 1,
                          .map = maps[0]};
    out[1] = (sv_outcome){.width = 3, .height = 2, .score = -2, .p_value = NAN, .decision = -1, .map = maps[1]};
}

static void test_answer_json(void **state)
{
    (void)state;
    sv_oip_request r = {.id = "\"7\"\n", .count = 2, .outputs = 31};
    sv_outcome outcomes[2];
    char *text;
    size_t size, header;
    outcomes_make(outcomes);
    json_t *root = answer_json(&r, outcomes, &text, &size, &header);
    assert_int_equal(header, SIZE_MAX);
    assert_string_equal(json_string_value(json_object_get(root, "model_name")), "screw");
    assert_string_equal(json_string_value(json_object_get(root, "model_version")), "0123456789abcdef");
    assert_string_equal(json_string_value(json_object_get(root, "id")), "\"7\"\n");
    assert_int_equal(json_array_size(json_object_get(root, "outputs")), 5);
    check_text(root, "score", "shape", "[2]");
    check_text(root, "score", "datatype", "\"FP64\"");
    check_text(root, "p_value", "data", "[0.25,null]");
    check_text(root, "decision", "data", "[1,-1]");
    check_text(root, "decision", "datatype", "\"INT32\"");
    check_text(root, "map", "shape", "[2,2,3]");
    const json_t *score = json_object_get(output_named(root, "score"), "data"),
                 *map = json_object_get(output_named(root, "map"), "data");
    assert_true(json_number_value(json_array_get(score, 0)) == 0.1);
    assert_true(json_number_value(json_array_get(score, 1)) == -2);
    assert_int_equal(json_array_size(map), 12);
    for (size_t i = 0; i < 6; i++) assert_true((float)json_number_value(json_array_get(map, i)) == maps[0][i]);
    assert_true(json_is_null(json_array_get(map, 11)));
    const json_t *regions = json_object_get(output_named(root, "regions"), "data");
    assert_string_equal(json_string_value(json_array_get(regions, 0)),
                        "[{\"x\":1,\"y\":2,\"width\":3,\"height\":4,\"area\":12,\"peak\":0.5,\"peak_x\":2,\"peak_y\":3,"
                        "\"mean\":0.25}]");
    assert_string_equal(json_string_value(json_array_get(regions, 1)), "[]");
    json_decref(root);
    free(text);
    /* only what is asked for, no id */
    r.id[0] = '\0';
    r.outputs = SV_OIP_DECISION;
    root = answer_json(&r, outcomes, &text, &size, &header);
    assert_null(json_object_get(root, "id"));
    assert_int_equal(json_array_size(json_object_get(root, "outputs")), 1);
    json_decref(root);
    free(text);
}

static void test_answer_binary(void **state)
{
    (void)state;
    sv_oip_request r = {.count = 2, .outputs = 31, .binary = 31 & ~(unsigned)SV_OIP_P_VALUE};
    sv_outcome outcomes[2];
    char *text;
    size_t size, header, at, sum = 0;
    outcomes_make(outcomes);
    json_t *root = answer_json(&r, outcomes, &text, &size, &header);
    at = header;
    check_text(root, "p_value", "data", "[0.25,null]");
    assert_null(json_object_get(output_named(root, "score"), "data"));
    check_text(root, "score", "parameters", "{\"binary_data_size\":16}");
    check_text(root, "decision", "parameters", "{\"binary_data_size\":8}");
    check_text(root, "map", "parameters", "{\"binary_data_size\":48}");
    const json_t *outputs = json_object_get(root, "outputs");
    for (size_t i = 0; i < json_array_size(outputs); i++)
        sum += (size_t)json_integer_value(
            json_object_get(json_object_get(json_array_get(outputs, i), "parameters"), "binary_data_size"));
    assert_int_equal(header + sum, size);
    const double scores[2] = {0.1, -2};
    assert_memory_equal(text + at, scores, 16);
    at += 16;
    assert_memory_equal(text + at, "\1\0\0\0\377\377\377\377", 8);
    at += 8;
    assert_memory_equal(text + at, maps, 48);
    at += 48;
    const size_t length = (unsigned char)text[at];
    assert_memory_equal(text + at + 1, "\0\0\0[{\"x\":1", 9);
    assert_memory_equal(text + at + 4 + length, "\2\0\0\0[]", 6);
    assert_int_equal(at + 4 + length + 6, size);
    json_decref(root);
    free(text);
}

static void test_answer_refused(void **state)
{
    (void)state;
    sv_oip_request r = {.count = 2, .outputs = SV_OIP_MAP};
    sv_outcome outcomes[2];
    char *text = NULL;
    size_t size, header;
    outcomes_make(outcomes);
    outcomes[1].width = 2;
    outcomes[1].height = 3;
    assert_int_equal(sv_oip_answer(&r, &model, outcomes, &text, &size, &header), CZ_E_UNSUPPORTED);
    outcomes_make(outcomes);
    outcomes[1].map = NULL;
    assert_int_equal(sv_oip_answer(&r, &model, outcomes, &text, &size, &header), CZ_E_UNSUPPORTED);
    outcomes_make(outcomes);
    for (int i = 0; i < 2; i++) outcomes[i].width = outcomes[i].height = 4096; /* the map is not looked at */
    assert_int_equal(sv_oip_answer(&r, &model, outcomes, &text, &size, &header), CZ_E_LIMIT);
    assert_non_null(strstr(cz_last_error(), "binary_data"));
    assert_null(text);
}

/* A request made of an answer's form goes through the parser: names and datatypes of the metadata are those that it takes. */
static void test_metadata(void **state)
{
    (void)state;
    json_t *server = sv_oip_server(), *about = sv_oip_model(&model, 8);
    assert_non_null(server);
    assert_non_null(about);
    assert_string_equal(json_string_value(json_object_get(server, "name")), "cozad");
    assert_string_equal(json_string_value(json_object_get(server, "version")), cz_version());
    assert_string_equal(json_string_value(json_array_get(json_object_get(server, "extensions"), 0)),
                        "binary_tensor_data");
    assert_string_equal(json_string_value(json_object_get(about, "name")), "screw");
    assert_string_equal(json_string_value(json_array_get(json_object_get(about, "versions"), 0)), "0123456789abcdef");
    const json_t *input = json_array_get(json_object_get(about, "inputs"), 0),
                 *outputs = json_object_get(about, "outputs");
    assert_string_equal(json_string_value(json_object_get(input, "name")), "image");
    assert_string_equal(json_string_value(json_object_get(input, "datatype")), "UINT8");
    assert_int_equal(json_array_size(json_object_get(input, "shape")), 4);
    assert_int_equal(json_array_size(outputs), 5);
    sv_oip_request r = {.count = 2, .outputs = 31};
    sv_outcome outcomes[2];
    char *text;
    size_t size, header;
    outcomes_make(outcomes);
    json_t *root = answer_json(&r, outcomes, &text, &size, &header);
    for (size_t i = 0; i < 5; i++) {
        const json_t *told = json_array_get(outputs, i);
        const json_t *made = output_named(root, json_string_value(json_object_get(told, "name")));
        assert_non_null(made);
        assert_true(json_equal(json_object_get(told, "datatype"), json_object_get(made, "datatype")));
        assert_int_equal(json_array_size(json_object_get(told, "shape")),
                         json_array_size(json_object_get(made, "shape")));
    }
    json_decref(root);
    json_decref(server);
    json_decref(about);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pixels_in_json), cmocka_unit_test(test_pixels_in_binary),
        cmocka_unit_test(test_files_in_json),  cmocka_unit_test(test_files_in_binary),
        cmocka_unit_test(test_wishes),         cmocka_unit_test(test_hostile_json),
        cmocka_unit_test(test_hostile_binary), cmocka_unit_test(test_large_json),
        cmocka_unit_test(test_damaged),        cmocka_unit_test(test_answer_json),
        cmocka_unit_test(test_answer_binary),  cmocka_unit_test(test_answer_refused),
        cmocka_unit_test(test_metadata),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
