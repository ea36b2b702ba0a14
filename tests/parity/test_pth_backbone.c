/* SPDX-License-Identifier: Apache-2.0 */
/* A backbone of full shape gives the same weights from safetensors and from both PyTorch formats, which are written here
 * (test_pth.c reads files that PyTorch itself wrote; check_pth_formats.sh has it write full-size ones). */
#include "backbone/backbone.h"
#include "tensor/dtype.h"
#include "util/alloc.h"
#include "util/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zip.h>

#include <cmocka.h>

typedef struct buffer {
    uint8_t *bytes;
    size_t size, room;
} buffer;

static void put(buffer *b, const void *bytes, size_t size)
{
    if (b->size + size > b->room) {
        b->room = 2 * (b->size + size);
        b->bytes = realloc(b->bytes, b->room);
        assert_non_null(b->bytes);
    }
    if (size) memcpy(b->bytes + b->size, bytes, size);
    b->size += size;
}

static void put_literal(buffer *b, const char *text)
{
    put(b, text, strlen(text));
}

static void put_u32(buffer *b, char opcode, uint32_t value)
{
    const uint8_t bytes[5] = {(uint8_t)opcode, (uint8_t)value, (uint8_t)(value >> 8), (uint8_t)(value >> 16),
                              (uint8_t)(value >> 24)};
    put(b, bytes, sizeof bytes);
}

static void put_text(buffer *b, const char *text)
{
    put_u32(b, 'X', (uint32_t)strlen(text));
    put_literal(b, text);
}

static size_t elements(const cz_tensor_view *v)
{
    return v->bytes / cz_dtype_size(v->dtype);
}

/* {name: _rebuild_tensor_v2(storage, 0, sizes, strides, False, OrderedDict())}, as torch.save writes it */
static void put_state_dict(buffer *b, const cz_tensors *t, bool legacy)
{
    put_literal(b, "\x80\x02"
                   "ccollections\nOrderedDict\n)R(");
    for (size_t i = 0; i < cz_tensors_count(t); i++) {
        cz_tensor_view v;
        char key[24];
        assert_int_equal(cz_tensors_get(t, i, &v), CZ_OK);
        assert_int_equal(v.dtype, CZ_F32);
        (void)snprintf(key, sizeof key, "%zu", i);
        put_text(b, v.name);
        put_literal(b, "ctorch._utils\n_rebuild_tensor_v2\n((");
        put_text(b, "storage");
        put_literal(b, "ctorch\nFloatStorage\n");
        put_text(b, key);
        put_text(b, "cpu");
        put_u32(b, 'J', (uint32_t)elements(&v));
        put_literal(b, legacy ? "NtQ" : "tQ");
        put_u32(b, 'J', 0);
        put_literal(b, "(");
        for (size_t k = 0; k < v.rank; k++) put_u32(b, 'J', (uint32_t)v.shape[k]);
        put_literal(b, "t(");
        for (size_t k = 0; k < v.rank; k++) {
            size_t stride = 1;
            for (size_t m = k + 1; m < v.rank; m++) stride *= v.shape[m];
            put_u32(b, 'J', (uint32_t)stride);
        }
        put_literal(b, "t\x89"
                       "ccollections\nOrderedDict\n)RtR");
    }
    put_literal(b, "u.");
}

static void write_legacy(const cz_tensors *t, const char *path)
{
    buffer b = {NULL, 0, 0};
    put_literal(&b, "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}");
    put_text(&b, "little_endian");
    put_literal(&b, "\x88s.");
    put_state_dict(&b, t, true);
    put_literal(&b, "\x80\x02](");
    char key[24];
    for (size_t i = 0; i < cz_tensors_count(t); i++) {
        (void)snprintf(key, sizeof key, "%zu", i);
        put_text(&b, key);
    }
    put_literal(&b, "e.");
    for (size_t i = 0; i < cz_tensors_count(t); i++) {
        cz_tensor_view v;
        assert_int_equal(cz_tensors_get(t, i, &v), CZ_OK);
        const uint64_t count = elements(&v);
        put(&b, &count, sizeof count);
        put(&b, v.data, v.bytes);
    }
    assert_int_equal(cz_file_write_atomic(path, b.bytes, b.size), CZ_OK);
    free(b.bytes);
}

static void add_entry(zip_t *zip, const char *name, const void *data, size_t size)
{
    const zip_int64_t index = zip_file_add(zip, name, zip_source_buffer(zip, data, size, 0), ZIP_FL_ENC_UTF_8);
    assert_true(index >= 0);
    assert_int_equal(zip_set_file_compression(zip, (zip_uint64_t)index, ZIP_CM_STORE, 0), 0);
}

static void write_zip(const cz_tensors *t, const char *path)
{
    buffer b = {NULL, 0, 0};
    zip_t *zip = zip_open(path, ZIP_CREATE | ZIP_TRUNCATE, NULL);
    assert_non_null(zip);
    put_state_dict(&b, t, false);
    add_entry(zip, "archive/data.pkl", b.bytes, b.size);
    for (size_t i = 0; i < cz_tensors_count(t); i++) {
        cz_tensor_view v;
        char name[48];
        assert_int_equal(cz_tensors_get(t, i, &v), CZ_OK);
        (void)snprintf(name, sizeof name, "archive/data/%zu", i);
        add_entry(zip, name, v.data, v.bytes);
    }
    add_entry(zip, "archive/version", "3\n", 2);
    assert_int_equal(zip_close(zip), 0);
    free(b.bytes);
}

static void check_format(const cz_tensors *expected, const char *sha256, const char *path, const char *format)
{
    cz_tensors *t = NULL;
    cz_backbone *b = NULL;
    assert_int_equal(cz_tensors_open(path, &t), CZ_OK);
    assert_string_equal(cz_tensors_format(t), format);
    assert_int_equal(cz_tensors_count(t), cz_tensors_count(expected));
    for (size_t i = 0; i < cz_tensors_count(t); i++) {
        cz_tensor_view got, want;
        assert_int_equal(cz_tensors_get(t, i, &got), CZ_OK);
        assert_int_equal(cz_tensors_get(expected, i, &want), CZ_OK);
        assert_string_equal(got.name, want.name);
        assert_int_equal(got.rank, want.rank);
        assert_memory_equal(got.shape, want.shape, want.rank * sizeof *want.shape);
        assert_int_equal(got.bytes, want.bytes);
        assert_int_equal(memcmp(got.data, want.data, want.bytes), 0);
    }
    cz_tensors_close(t);
    if (cz_backbone_open(path, &b) != CZ_OK) fail_msg("%s", cz_last_error());
    assert_string_equal(cz_backbone_sha256(b), sha256);
    assert_string_equal(cz_backbone_path(b), path);
    cz_backbone_close(b);
    assert_int_equal(unlink(path), 0);
}

static void check_architecture(const char *architecture)
{
    char folder[] = "/tmp/test_pth_backbone_XXXXXX", name[64], path[3][64];
    static const char *const extensions[] = {"safetensors", "zip.pth", "legacy.pth"};
    assert_non_null(mkdtemp(folder));
    for (int i = 0; i < 3; i++) (void)snprintf(path[i], sizeof path[i], "%s/w.%s", folder, extensions[i]);
    (void)snprintf(name, sizeof name, "random:%s:7", architecture);
    cz_backbone *random = NULL, *saved = NULL;
    cz_tensors *t = NULL;
    if (cz_backbone_open(name, &random) != CZ_OK) fail_msg("%s", cz_last_error());
    assert_int_equal(cz_backbone_save(random, path[0]), CZ_OK);
    assert_int_equal(cz_backbone_open(path[0], &saved), CZ_OK);
    assert_int_equal(cz_tensors_open(path[0], &t), CZ_OK);
    write_zip(t, path[1]);
    check_format(t, cz_backbone_sha256(saved), path[1], "pytorch-zip");
    write_legacy(t, path[2]);
    check_format(t, cz_backbone_sha256(saved), path[2], "pytorch-legacy");
    cz_tensors_close(t);
    cz_backbone_close(saved);
    cz_backbone_close(random);
    assert_int_equal(unlink(path[0]), 0);
    assert_int_equal(rmdir(folder), 0);
}

static void test_resnet18(void **state)
{
    (void)state;
    check_architecture("resnet18");
}

static void test_wide_resnet50_2(void **state)
{
    (void)state;
    check_architecture("wide_resnet50_2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_resnet18),
        cmocka_unit_test(test_wide_resnet50_2),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
