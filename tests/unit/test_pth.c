/* SPDX-License-Identifier: Apache-2.0 */
/* PyTorch checkpoints of both formats: values, refusals, damage. The files are made by files/make_pth.py. */
#include "tensor/dtype.h"
#include "tensor/tensors.h"
#include "util/alloc.h"
#include "util/file.h"
#include "weights/pickle.h"
#include "weights/pth.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static cz_tensors *open_file(const char *name)
{
    char *path = cz_format("%s/pth/%s", TEST_FILES, name);
    cz_tensors *t = NULL;
    const cz_status status = cz_tensors_open(path, &t);
    if (status != CZ_OK) print_error("%s\n", cz_last_error());
    assert_int_equal(status, CZ_OK);
    cz_free(path);
    return t;
}

/* The file is refused, and the message says `why`. */
static void assert_refused(const char *name, cz_status expected, const char *why)
{
    char *path = cz_format("%s/pth/%s", TEST_FILES, name);
    cz_tensors *t = NULL;
    assert_int_equal(cz_tensors_open(path, &t), expected);
    assert_null(t);
    if (!strstr(cz_last_error(), why)) fail_msg("%s: \"%s\" should say \"%s\"", name, cz_last_error(), why);
    assert_non_null(strstr(cz_last_error(), name));
    assert_null(strchr(cz_last_error(), '\n'));
    cz_free(path);
}

static cz_tensor_view view_of(const cz_tensors *t, const char *name, cz_dtype dtype, size_t rank, const size_t *shape)
{
    cz_tensor_view v;
    if (cz_tensors_find(t, name, &v) != CZ_OK) fail_msg("%s", cz_last_error());
    assert_int_equal(v.dtype, dtype);
    assert_int_equal(v.rank, rank);
    size_t count = 1;
    for (size_t i = 0; i < rank; i++) {
        assert_int_equal(v.shape[i], shape[i]);
        count *= shape[i];
    }
    assert_int_equal(v.bytes, count * cz_dtype_size(dtype));
    return v;
}

#define SHAPE(...)                                                                                                     \
    sizeof((size_t[]){__VA_ARGS__}) / sizeof(size_t), (const size_t[])                                                 \
    {                                                                                                                  \
        __VA_ARGS__                                                                                                    \
    }

static void assert_floats(const cz_tensors *t, const char *name, cz_dtype dtype, size_t rank, const size_t *shape,
                          const double *expected)
{
    const cz_tensor_view v = view_of(t, name, dtype, rank, shape);
    float got[64];
    const size_t count = v.bytes / cz_dtype_size(dtype);
    assert_true(count <= 64);
    assert_int_equal(cz_to_f32(dtype, v.data, count, got), CZ_OK);
    for (size_t i = 0; i < count; i++) {
        if (got[i] != (float)expected[i]) fail_msg("%s[%zu]: %g, expected %g", name, i, got[i], expected[i]);
    }
}

static void check_integers(const cz_tensors *t)
{
    cz_tensor_view v = view_of(t, "i64", CZ_I64, SHAPE(3));
    const int64_t i64[] = {-1, 0, 1};
    assert_memory_equal(v.data, i64, sizeof i64);
    v = view_of(t, "i32", CZ_I32, SHAPE(3));
    const int32_t i32[] = {0, -100000, -200000};
    assert_memory_equal(v.data, i32, sizeof i32);
    v = view_of(t, "i8", CZ_I8, SHAPE(3));
    const int8_t i8[] = {-2, -1, 0};
    assert_memory_equal(v.data, i8, sizeof i8);
    v = view_of(t, "u8", CZ_U8, SHAPE(3));
    const uint8_t u8[] = {253, 254, 255};
    assert_memory_equal(v.data, u8, sizeof u8);
    v = view_of(t, "scalar", CZ_I64, 0, NULL);
    const int64_t seven = 7;
    assert_memory_equal(v.data, &seven, sizeof seven);
}

static void check_basic(const char *file, const char *format)
{
    cz_tensors *t = open_file(file);
    assert_string_equal(cz_tensors_format(t), format);
    assert_int_equal(cz_tensors_count(t), 16);
    cz_tensor_view first;
    assert_int_equal(cz_tensors_get(t, 0, &first), CZ_OK);
    assert_string_equal(first.name, "f32"); /* in file order */
    double ramp[24];
    for (size_t i = 0; i < 24; i++) ramp[i] = (double)i * 0.5 - 3;
    assert_floats(t, "f32", CZ_F32, SHAPE(2, 3, 4), ramp);
    assert_floats(t, "f16", CZ_F16, SHAPE(2, 3), (const double[]){0, 0.25, 0.5, 0.75, 1, 1.25});
    assert_floats(t, "bf16", CZ_BF16, SHAPE(5), (const double[]){-2, -1, 0, 1, 2});
    assert_floats(t, "f64", CZ_F64, SHAPE(4), (const double[]){0, 1 / 3.0, 2 / 3.0, 1});
    assert_floats(t, "shared.all", CZ_F32, SHAPE(12), (const double[]){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11});
    assert_floats(t, "shared.tail", CZ_F32, SHAPE(4), (const double[]){8, 9, 10, 11});
    assert_floats(t, "shared.column", CZ_F32, SHAPE(3), (const double[]){1, 5, 9});
    assert_floats(t, "transposed", CZ_F32, SHAPE(3, 2), (const double[]){0, 3, 1, 4, 2, 5});
    assert_floats(t, "expanded", CZ_F32, SHAPE(2, 3), (const double[]){5, 5, 5, 6, 6, 6});
    assert_floats(t, "parameter", CZ_F32, SHAPE(2), (const double[]){1.5, -2.5});
    (void)view_of(t, "empty", CZ_F32, SHAPE(0, 5));
    check_integers(t);
    cz_tensors_close(t);
}

static void test_values(void **state)
{
    (void)state;
    check_basic("basic_zip.pth", "pytorch-zip");
    check_basic("basic_legacy.pth", "pytorch-legacy");
    check_basic("protocol4_zip.pth", "pytorch-zip");
    check_basic("protocol4_legacy.pth", "pytorch-legacy");
}

/* Stored tensors of a zip file are views of it, so that a large checkpoint is not copied. */
static void test_views(void **state)
{
    (void)state;
    char *path = cz_format("%s/pth/basic_zip.pth", TEST_FILES);
    cz_mapping m;
    assert_int_equal(cz_file_map(path, &m), CZ_OK);
    cz_tensors *t = NULL;
    assert_int_equal(cz_pth_parse(m.data, m.size, &t), CZ_OK);
    const char *const names[] = {"f32", "f16", "f64", "shared.all", "shared.tail", "scalar"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        cz_tensor_view v;
        assert_int_equal(cz_tensors_find(t, names[i], &v), CZ_OK);
        const uint8_t *p = v.data;
        assert_true(p >= m.data && p + v.bytes <= m.data + m.size);
    }
    cz_tensors_close(t);
    cz_file_unmap(&m);
    cz_free(path);
}

static void test_nested(void **state)
{
    (void)state;
    const char *const wrapped[] = {"nested_zip.pth", "nested_legacy.pth"};
    for (size_t i = 0; i < 2; i++) {
        cz_tensors *t = open_file(wrapped[i]);
        assert_int_equal(cz_tensors_count(t), 2);
        (void)view_of(t, "conv1.weight", CZ_F32, SHAPE(2, 1, 3, 3));
        assert_floats(t, "bn1.bias", CZ_F32, SHAPE(2), (const double[]){0, 0});
        cz_tensors_close(t);
    }
    const char *const plain[] = {"plain_zip.pth", "plain_legacy.pth"};
    for (size_t i = 0; i < 2; i++) {
        cz_tensors *t = open_file(plain[i]);
        assert_int_equal(cz_tensors_count(t), 2);
        assert_floats(t, "a.b", CZ_F32, SHAPE(2), (const double[]){1, 2});
        assert_floats(t, "list.0", CZ_F32, SHAPE(1), (const double[]){3});
        cz_tensors_close(t);
    }
}

static void test_zip_variants(void **state)
{
    (void)state;
    const char *const good[] = {"deflated_zip.pth", "little_endian_zip.pth"};
    for (size_t i = 0; i < 2; i++) {
        cz_tensors *t = open_file(good[i]);
        assert_floats(t, "v", CZ_F32, SHAPE(3), (const double[]){0, 1, 2});
        const double zeros[64] = {0};
        assert_floats(t, "w", CZ_F32, SHAPE(64), zeros);
        cz_tensors_close(t);
    }
}

static void test_refused(void **state)
{
    (void)state;
    assert_refused("evil_zip.pth", CZ_E_FORMAT, "global 'posix.system'");
    assert_refused("evil_legacy.pth", CZ_E_FORMAT, "global 'posix.system'");
    assert_refused("bool_zip.pth", CZ_E_FORMAT, "global 'torch.BoolStorage'");
    assert_refused("bool_legacy.pth", CZ_E_FORMAT, "global 'torch.BoolStorage'");
    assert_refused("list_zip.pth", CZ_E_FORMAT, "no dict of tensors");
    assert_refused("list_legacy.pth", CZ_E_FORMAT, "no dict of tensors");
    assert_refused("none_zip.pth", CZ_E_FORMAT, "no tensors");
    assert_refused("none_legacy.pth", CZ_E_FORMAT, "no tensors");
    assert_refused("big_endian_zip.pth", CZ_E_FORMAT, "big-endian");
    assert_refused("duplicate_zip.pth", CZ_E_FORMAT, "zip archive");
    assert_refused("two_pickles_zip.pth", CZ_E_FORMAT, "two data.pkl");
    assert_refused("short_storage_zip.pth", CZ_E_FORMAT, "archive/data/0: 252 bytes where 256");
    assert_refused("bomb_zip.pth", CZ_E_LIMIT, "times the file's size");
    assert_refused("no_pickle.zip", CZ_E_FORMAT, "not a PyTorch checkpoint");
}

/* ---- pickles written by hand ---- */

static const char MAGIC_PICKLE[] = "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
static const char VERSION_PICKLE[] = "\x80\x02M\xe9\x03.";
static const char MACHINE_PICKLE[] = "\x80\x02}X\x0d\x00\x00\x00little_endian\x88s.";

#define BYTES(literal) literal, sizeof(literal) - 1

typedef struct buffer {
    uint8_t bytes[4096];
    size_t size;
} buffer;

static void append(buffer *b, const void *bytes, size_t size)
{
    assert_true(b->size + size <= sizeof b->bytes);
    memcpy(b->bytes + b->size, bytes, size);
    b->size += size;
}

/* A legacy checkpoint around a state-dict pickle and what follows it. */
static cz_status parse_legacy(const char *pickle, size_t pickle_size, const char *rest, size_t rest_size)
{
    buffer b = {.size = 0};
    append(&b, BYTES(MAGIC_PICKLE));
    append(&b, BYTES(VERSION_PICKLE));
    append(&b, BYTES(MACHINE_PICKLE));
    append(&b, pickle, pickle_size);
    append(&b, rest, rest_size);
    uint8_t *exact = malloc(b.size); /* so that reading past its end is noticed */
    assert_non_null(exact);
    memcpy(exact, b.bytes, b.size);
    cz_tensors *t = NULL;
    cz_error_clear();
    const cz_status status = cz_pth_parse(exact, b.size, &t);
    cz_tensors_close(t);
    free(exact);
    return status;
}

static void assert_pickle(const char *pickle, size_t size, const char *why)
{
    static const char rest[] = "\x80\x02].";
    assert_int_not_equal(parse_legacy(pickle, size, BYTES(rest)), CZ_OK);
    if (!strstr(cz_last_error(), why)) fail_msg("\"%s\" should say \"%s\"", cz_last_error(), why);
}

#define STORAGE(elements)                                                                                              \
    "(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x00"                                                 \
    "0X\x03\x00\x00\x00"                                                                                               \
    "cpu" elements "NtQ"
/* {"w": tensor(storage of `elements`, `offset`, `sizes`, `strides`)} */
#define TENSOR(elements, offset, sizes, strides)                                                                       \
    "\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n(" STORAGE(elements) offset sizes strides "\x89}"   \
                                                                                                             "tRs."
/* the key list ["0"] and the storage's element count and two elements */
static const char TWO[] = "\x80\x02]X\x01\x00\x00\x00"
                          "0a.\x02\0\0\0\0\0\0\0\0\0\x80?\0\0\0@";

static void test_hand_written(void **state)
{
    (void)state;
    assert_int_equal(parse_legacy(BYTES(TENSOR("K\x02", "K\x00", "K\x02\x85", "K\x01\x85")), BYTES(TWO)), CZ_OK);
    const struct {
        const char *pickle;
        size_t size;
        const char *why;
    } bad[] = {
        {BYTES(TENSOR("K\x02", "K\x00", "K\x03\x85", "K\x01\x85")), "beyond its storage"},
        {BYTES(TENSOR("K\x02", "K\x01", "K\x02\x85", "K\x01\x85")), "beyond its storage"},
        {BYTES(TENSOR("K\x02", "K\x00", "K\x02\x85", "K\x02\x85")), "beyond its storage"},
        {BYTES(TENSOR("K\x02", "J\xff\xff\xff\xff", "K\x02\x85", "K\x01\x85")), "odd arguments"},
        {BYTES(TENSOR("K\x02", "K\x00", "J\xff\xff\xff\xff\x85", "K\x01\x85")), "size or stride"},
        {BYTES(TENSOR("K\x02", "K\x00", "K\x02\x85", "J\xff\xff\xff\xff\x85")), "size or stride"},
        {BYTES(TENSOR("K\x02", "K\x00", "K\x02\x85", "K\x01K\x01\x86")), "as many strides"},
        /* 2^62 x 8 elements of one value: sizes that overflow, and ones that only ask for too much */
        {BYTES(TENSOR("K\x02", "K\x00", "\x8a\x08\0\0\0\0\0\0\0\x40K\x08\x86", "K\x00K\x00\x86")),
         "beyond its storage"},
        {BYTES(TENSOR("K\x02", "K\x00", "J\0\0\0\x40\x85", "K\x00\x85")), "times the file's size"},
        {BYTES(TENSOR("K\x02", "K\x00", "K\x02K\x02\x86", "K\x01\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x86")),
         "beyond"},
        {BYTES(TENSOR("K\x02", "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f", "K\x02\x85", "K\x01\x85")), "beyond"},
        {BYTES(TENSOR("K\x03", "K\x00", "K\x02\x85", "K\x01\x85")), "3 were announced"},
        {BYTES(TENSOR("\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f", "K\x00", "K\x02\x85", "K\x01\x85")), "cannot be"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_not_equal(parse_legacy(bad[i].pickle, bad[i].size, BYTES(TWO)), CZ_OK);
        if (!strstr(cz_last_error(), bad[i].why)) fail_msg("%zu: \"%s\", not \"%s\"", i, cz_last_error(), bad[i].why);
    }
}

static void test_opcodes_refused(void **state)
{
    (void)state;
    assert_pickle(BYTES("\x80\x02"
                        "cos\nsystem\nX\x02\x00\x00\x00ls\x85R."),
                  "global 'os.system'");
    assert_pickle(BYTES("\x80\x02"
                        "c__builtin__\neval\n."),
                  "global '__builtin__.eval'");
    assert_pickle(BYTES("\x80\x04\x8c\x08"
                        "builtins\x8c\x04"
                        "exec\x93."),
                  "global 'builtins.exec'");
    assert_pickle(BYTES("\x80\x02"
                        "cnumpy.core.multiarray\n_reconstruct\n."),
                  "numpy.core.multiarray._reconstruct");
    assert_pickle(BYTES("\x80\x02(ios\nsystem\n."), "INST (0x69) at byte 3");
    assert_pickle(BYTES("\x80\x02"
                        "ccollections\nOrderedDict\n)\x81."),
                  "NEWOBJ (0x81)");
    assert_pickle(BYTES("\x80\x02(o."), "OBJ (0x6f)");
    assert_pickle(BYTES("\x80\x02\x82\x01."), "EXT1 (0x82)");
    assert_pickle(BYTES("\x80\x02"
                        "K\x01"
                        "2."),
                  "DUP (0x32)");
    assert_pickle(BYTES("\x80\x02P1\n."), "PERSID");
    assert_pickle(BYTES("\x80\x02\xf1."), "unknown opcode (0xf1) at byte 2");
    assert_pickle(BYTES("\x80\x02"
                        "ctorch\nFloatStorage\n)R."),
                  "REDUCE (0x52)");
    assert_pickle(BYTES("\x80\x02"
                        "K\x01)R."),
                  "REDUCE (0x52)");
    assert_pickle(BYTES("\x80\x02"
                        "K\x01}b."),
                  "BUILD (0x62)");
    assert_pickle(BYTES("\x80\x02"
                        "K\x01Q."),
                  "BINPERSID (0x51)");
    assert_pickle(BYTES("\x80\x02."), "STOP (0x2e)");
    assert_pickle(BYTES("\x80\x02(K\x01."), "STOP (0x2e)");
    assert_pickle(BYTES("\x80\x02"
                        "K\x01(a."),
                  "APPEND (0x61)");
    assert_pickle(BYTES("\x80\x02}K\x01(u."), "SETITEMS (0x75)");
    assert_pickle(BYTES("\x80\x02}(K\x01u."), "SETITEMS (0x75)");
    assert_pickle(BYTES("\x80\x02t."), "TUPLE (0x74)");
    assert_pickle(BYTES("\x80\x02K\x01\x87."), "TUPLE3");
    assert_pickle(BYTES("\x80\x02h\x05."), "BINGET (0x68)");
    assert_pickle(BYTES("\x80\x02}r\xff\xff\xff\x7f."), "LONG_BINPUT (0x72)");
    assert_pickle(BYTES("\x80\x02X\xff\xff\xff\xff."), "BINUNICODE (0x58)");
    assert_pickle(BYTES("\x80\x07}."), "PROTO (0x80)");
}

/* Names and nesting that a person would never write. */
static void test_trees(void **state)
{
    (void)state;
    /* d = {}; d["a"] = d: a cycle through the memo */
    assert_pickle(BYTES("\x80\x02}q\x00X\x01\x00\x00\x00"
                        "ah\x00s."),
                  "nested");
    /* ten dicts, each holding the next one ten times: 10^10 paths through 300 bytes */
    buffer b = {.size = 0};
    append(&b, BYTES("\x80\x02"));
    for (uint8_t depth = 0; depth < 10; depth++) {
        const uint8_t head[] = {'}', 'q', depth, '(', 'K', 0};
        append(&b, head, sizeof head);
    }
    append(&b, BYTES("}q\x0a"));
    for (uint8_t depth = 10; depth-- > 0;) {
        for (uint8_t i = 1; i < 10; i++) {
            const uint8_t again[] = {'K', i, 'h', (uint8_t)(depth + 1)};
            append(&b, again, sizeof again);
        }
        append(&b, "u", 1);
    }
    append(&b, ".", 1);
    assert_pickle((const char *)b.bytes, b.size, "more than 1048576 values");
    assert_pickle(BYTES("\x80\x02}X\x02\x00\x00\x00\xc3\x28}s."), "UTF-8");
    assert_pickle(BYTES("\x80\x02}X\x02\x00\x00\x00"
                        "a\0}s."),
                  "UTF-8");
    assert_pickle(BYTES("\x80\x02}X\x03\x00\x00\x00\xed\xa0\x80}s."), "UTF-8");
    assert_pickle(BYTES("\x80\x02}N}s."), "neither text nor a number");
}

/* One OrderedDict call after another over the same long list may not multiply it. */
static void test_no_multiplication(void **state)
{
    (void)state;
    const size_t pairs = 20000, calls = 20000;
    const size_t size = 2 + 3 + 1 + pairs * 2 + 1 + 30 + calls * 7 + 16;
    uint8_t *p = malloc(size), *at = p;
    assert_non_null(p);
#define PUT(literal) (memcpy(at, literal, sizeof(literal) - 1), at += sizeof(literal) - 1)
    PUT("\x80\x02"
        "K\x01K\x02\x86q");
    *at++ = 0;
    PUT("]q\x01(");
    for (size_t i = 0; i < pairs; i++, *at++ = 0) PUT("h");
    PUT("e");
    PUT("ccollections\nOrderedDict\nq\x02");
    for (size_t i = 0; i < calls; i++) PUT("h\x02h\x01\x85R");
    PUT(".");
#undef PUT
    cz_pickle pickle;
    size_t used;
    cz_error_clear();
    assert_int_equal(cz_pickle_load(p, (size_t)(at - p), &used, &pickle), CZ_E_FORMAT);
    assert_non_null(strstr(cz_last_error(), "too many items"));
    free(p);
}

/* ---- damage ---- */

static const char *const SEEDS[] = {"basic_zip.pth",     "basic_legacy.pth",     "nested_zip.pth",  "nested_legacy.pth",
                                    "protocol4_zip.pth", "protocol4_legacy.pth", "deflated_zip.pth"};

static uint8_t *load(const char *name, size_t *size)
{
    char *path = cz_format("%s/pth/%s", TEST_FILES, name);
    uint8_t *bytes = NULL;
    assert_int_equal(cz_file_read(path, 1 << 20, &bytes, size), CZ_OK);
    cz_free(path);
    return bytes;
}

/* Parses a copy of exactly `size` bytes and touches every tensor; true when it was accepted. */
static bool survive(const uint8_t *bytes, size_t size)
{
    uint8_t *exact = malloc(size ? size : 1);
    assert_non_null(exact);
    memcpy(exact, bytes, size);
    cz_tensors *t = NULL;
    cz_error_clear();
    const bool accepted = cz_pth_parse(exact, size, &t) == CZ_OK;
    if (accepted) {
        unsigned sum = 0;
        for (size_t i = 0; i < cz_tensors_count(t); i++) {
            cz_tensor_view v;
            assert_int_equal(cz_tensors_get(t, i, &v), CZ_OK);
            for (size_t k = 0; k < v.bytes; k++) sum += ((const uint8_t *)v.data)[k];
        }
        assert_true(sum < UINT32_MAX);
        cz_tensors_close(t);
    } else {
        assert_true(cz_last_error()[0] != '\0');
        assert_null(t);
    }
    free(exact);
    return accepted;
}

static void test_truncated(void **state)
{
    (void)state;
    for (size_t s = 0; s < sizeof SEEDS / sizeof SEEDS[0]; s++) {
        size_t size;
        uint8_t *bytes = load(SEEDS[s], &size);
        assert_true(survive(bytes, size));
        for (size_t n = 0; n < size; n++) {
            if (survive(bytes, n)) fail_msg("%s: accepted when cut to %zu of %zu bytes", SEEDS[s], n, size);
        }
        cz_free(bytes);
    }
}

static void test_flipped(void **state)
{
    (void)state;
    for (size_t s = 0; s < sizeof SEEDS / sizeof SEEDS[0]; s++) {
        size_t size, accepted = 0;
        uint8_t *bytes = load(SEEDS[s], &size);
        for (size_t n = 0; n < size; n++) {
            static const uint8_t masks[] = {0x01, 0x80, 0xff};
            for (size_t m = 0; m < 3; m++) {
                bytes[n] ^= masks[m];
                accepted += survive(bytes, size);
                bytes[n] ^= masks[m];
            }
        }
        assert_true(accepted > 0); /* weights' own bytes */
        assert_true(accepted < 3 * size);
        cz_free(bytes);
    }
}

/* Several bytes at once, by a fixed generator. */
static void test_scrambled(void **state)
{
    (void)state;
    uint32_t x = 1;
    for (size_t s = 0; s < sizeof SEEDS / sizeof SEEDS[0]; s++) {
        size_t size;
        uint8_t *bytes = load(SEEDS[s], &size), *copy = malloc(size);
        assert_non_null(copy);
        for (int round = 0; round < 2000; round++) {
            memcpy(copy, bytes, size);
            for (int k = 0; k < 1 + round % 8; k++) {
                x = x * 1664525u + 1013904223u;
                const size_t at = (x >> 8) % size;
                x = x * 1664525u + 1013904223u;
                copy[at] = (uint8_t)(x >> 24);
            }
            (void)survive(copy, size);
        }
        free(copy);
        cz_free(bytes);
    }
}

static void test_not_weights(void **state)
{
    (void)state;
    char path[] = "/tmp/test_pth_XXXXXX";
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    FILE *f = fdopen(fd, "wb");
    assert_non_null(f);
    cz_tensors *t = NULL;
    assert_int_equal(cz_tensors_open(path, &t), CZ_E_FORMAT);
    assert_non_null(strstr(cz_last_error(), "empty"));
    assert_true(fputs("<html>404</html>", f) >= 0);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(cz_tensors_open(path, &t), CZ_E_FORMAT);
    assert_non_null(strstr(cz_last_error(), "not a weight file"));
    assert_int_equal(remove(path), 0);
    assert_int_equal(cz_tensors_open(path, &t), CZ_E_IO);
    assert_int_equal(cz_tensors_open("/", &t), CZ_E_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_views),
        cmocka_unit_test(test_nested),
        cmocka_unit_test(test_zip_variants),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_hand_written),
        cmocka_unit_test(test_opcodes_refused),
        cmocka_unit_test(test_trees),
        cmocka_unit_test(test_no_multiplication),
        cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_flipped),
        cmocka_unit_test(test_scrambled),
        cmocka_unit_test(test_not_weights),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
