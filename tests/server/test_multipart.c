/* SPDX-License-Identifier: Apache-2.0 */
/* multipart/form-data: what clients send, and what nobody should. */
#include "http.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef struct found {
    bool ok;
    char text[256], filename[256];
} found;

/* The body ends where its memory does, so that a read behind it shows. */
static found find(const char *type, const char *body, size_t size, const char *name)
{
    found f;
    const unsigned char *part = NULL;
    size_t part_size = 0;
    memset(&f, 0, sizeof f);
    unsigned char *copy = malloc(size > 0 ? size : 1);
    assert_non_null(copy);
    memcpy(copy, body, size);
    f.ok = sv_multipart_find(type, copy, size, name, &part, &part_size, f.filename);
    if (f.ok) {
        assert_true(part >= copy && part_size <= size && (size_t)(part - copy) <= size - part_size);
        assert_true(part_size < sizeof f.text);
        memcpy(f.text, part, part_size);
    }
    free(copy);
    return f;
}

static const char plain[] = "multipart/form-data; boundary=xyz";

static found find_text(const char *body, const char *name)
{
    return find(plain, body, strlen(body), name);
}

#define FORM                                                                                                           \
    "--xyz\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\npart\r\n"                                          \
    "--xyz\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a.png\"\r\nContent-Type: image/png\r\n\r\n"   \
    "\x89PNG\r\n--xy\r\n"

static void test_ordinary(void **state)
{
    static const char form[] = FORM "\r\n--xyz--\r\n";
    (void)state;
    found f = find_text(form, "image");
    assert_true(f.ok);
    assert_string_equal(f.text, "\x89PNG\r\n--xy\r\n");
    assert_string_equal(f.filename, "a.png");
    f = find_text(form, NULL);
    assert_true(f.ok);
    assert_string_equal(f.filename, "a.png");
    f = find_text(form, "model");
    assert_true(f.ok);
    assert_string_equal(f.text, "part");
    assert_string_equal(f.filename, "");
    assert_false(find_text(form, "other").ok);
    /* A preamble, blanks behind the boundary, an epilogue; names of any case; the first of two. */
    f = find_text("before\r\n--xyz \t\r\ncontent-disposition: FORM-DATA; Name=image\r\n\r\none\r\n"
                  "--xyz\r\nContent-Disposition: form-data; name=image\r\n\r\ntwo\r\n--xyz--after",
                  "image");
    assert_true(f.ok);
    assert_string_equal(f.text, "one");
    /* An empty part, written in both ways. */
    f = find_text("--xyz\r\nContent-Disposition: form-data; name=image\r\n\r\n\r\n--xyz--", "image");
    assert_true(f.ok);
    assert_string_equal(f.text, "");
    f = find_text("--xyz\r\nContent-Disposition: form-data; name=image\r\n\r\n--xyz--", "image");
    assert_true(f.ok);
    assert_string_equal(f.text, "");
}

static void test_types(void **state)
{
    static const char form[] = FORM "\r\n--xyz--\r\n";
    static const char *const good[] = {"multipart/form-data; boundary=\"xyz\"", "Multipart/Form-Data;boundary=xyz",
                                       "multipart/form-data; charset=utf-8; boundary=xyz",
                                       "multipart/form-data; boundary=xyz;"};
    static const char *const bad[] = {"",
                                      "multipart/form-data",
                                      "multipart/mixed; boundary=xyz",
                                      "multipart/form-data; boundary=",
                                      "multipart/form-data; boundary=\"\"",
                                      "multipart/form-data; boundary=\"xyz",
                                      "multipart/form-data; boundary=xyz; boundary=abc",
                                      "multipart/form-data boundary=xyz",
                                      "multipart/form-data; boundary=abc",
                                      "multipart/form-data; =xyz",
                                      "text/plain",
                                      "multipart/form-data; boundary=xyz; x"};
    char longest[200] = "multipart/form-data; boundary=";
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) assert_true(find(good[i], form, sizeof form - 1, NULL).ok);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_false(find(bad[i], form, sizeof form - 1, NULL).ok);
    memset(longest + strlen(longest), 'b', 71);
    assert_false(find(longest, form, sizeof form - 1, NULL).ok);
    assert_false(find(NULL, form, sizeof form - 1, NULL).ok);
}

static void test_filenames(void **state)
{
    static const struct {
        const char *sent, *wanted; /* NULL: malformed */
    } cases[] = {
        {"\"a b.jpg\"", "a b.jpg"},
        {"plain.jpg", "plain.jpg"},
        {"\"a\\\"b.jpg\"", "a\"b.jpg"},
        {"\"C:\\photos\\b.jpg\"", "b.jpg"},
        {"\"../../etc/passwd\"", "passwd"},
        {"\"\"", ""},
        {"\"gr\xC3\xBC\xC3\x9F.jpg\"", "gr\xC3\xBC\xC3\x9F.jpg"},
        {"\"gr\xFC\xDF.jpg\"", "gr??.jpg"},
        {"\"a\x01.jpg\"", NULL},
        {"\"open", NULL},
        {"", NULL},
        {"a b", NULL},
    };
    char body[1024], longest[400];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        (void)snprintf(body, sizeof body,
                       "--xyz\r\nContent-Disposition: form-data; name=image; filename=%s\r\n\r\nx\r\n--xyz--",
                       cases[i].sent);
        const found f = find_text(body, NULL);
        assert_int_equal(f.ok, cases[i].wanted != NULL);
        if (f.ok) assert_string_equal(f.filename, cases[i].wanted);
    }
    for (size_t n = 254; n <= 257; n++) {
        memset(longest, 'n', n);
        longest[n] = '\0';
        (void)snprintf(body, sizeof body,
                       "--xyz\r\nContent-Disposition: form-data; name=image; filename=\"%s\"\r\n\r\nx\r\n--xyz--",
                       longest);
        assert_int_equal(find_text(body, NULL).ok, n <= 255);
    }
}

static void test_malformed(void **state)
{
    static const char *const bodies[] = {
        "",
        "--xyz",
        "--xyz--",
        "--xyz\r\n",
        "--xyz\r\n\r\nx\r\n--xyz--",
        "--xyz\r\nContent-Disposition: form-data; name=image\r\n\r\nx",
        "--xyz\r\nContent-Disposition: form-data; name=image\r\n\r\nx\r\n--xyz",
        "--xyz\r\nContent-Disposition: form-data; name=image\r\n\r\nx\r\n--xyzz--",
        "--xyz\r\nContent-Disposition: form-data; name=image\r\n\r\nx\r\n--xyz-",
        "--xyz\r\nContent-Disposition: form-data; name=image\nContent-Type: a\n\nx\r\n--xyz--",
        "--xyz\r\nContent-Disposition: attachment; name=image\r\n\r\nx\r\n--xyz--",
        "--xyz\r\nContent-Disposition form-data\r\n\r\nx\r\n--xyz--",
        "--xyz\r\nContent-Disposition: form-data\r\n\r\nx\r\n--xyz--",
        "--xyzContent-Disposition: form-data; name=image\r\n\r\nx\r\n--xyz--",
        "a--xyz\r\nContent-Disposition: form-data; name=image\r\n\r\nx\r\n--xyz--",
        FORM "\r\n--xyz\r\n",
    };
    (void)state;
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        if (find_text(bodies[i], "image").ok) fail_msg("body %zu was taken", i);
    }
}

/* Cut anywhere, and with any byte changed, nothing is read that is not there; what is cut before its last boundary is refused. */
static void test_damaged(void **state)
{
    static const char form[] = FORM "\r\n--xyz--";
    const size_t size = sizeof form - 1;
    char copy[sizeof form];
    (void)state;
    for (size_t i = 0; i < size; i++) assert_false(find(plain, form, i, "image").ok);
    for (size_t i = 0; i < size; i++) {
        for (int byte = 0; byte < 256; byte += 5) {
            memcpy(copy, form, size);
            copy[i] = (char)byte;
            (void)find(plain, copy, size, "image");
        }
    }
    for (size_t i = 0; i < strlen(plain); i++) {
        char type[sizeof plain];
        memcpy(type, plain, sizeof plain);
        type[i] = '\0';
        assert_false(find(type, form, size, "image").ok);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ordinary),  cmocka_unit_test(test_types),   cmocka_unit_test(test_filenames),
        cmocka_unit_test(test_malformed), cmocka_unit_test(test_damaged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
