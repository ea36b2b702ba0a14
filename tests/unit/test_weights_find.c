/* SPDX-License-Identifier: Apache-2.0 */
/* Lookup of weights by name and by SHA-256, in folders of our own. */
#include "api/weights_find.h"
#include "util/alloc.h"
#include "util/file.h"
#include "weights/lookup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char home[64];

static int setup(void **state)
{
    (void)state;
    (void)strcpy(home, "/tmp/test_weights_find_XXXXXX");
    return !mkdtemp(home) || setenv("COZAD_HOME", home, 1) != 0 || setenv("XDG_CACHE_HOME", home, 1) != 0;
}

static int teardown(void **state)
{
    (void)state;
    const char *const files[] = {"mine.safetensors", "junk.pth", "weights.index"};
    for (size_t i = 0; i < 3; i++) {
        char *path = cz_path_join(home, files[i]);
        (void)unlink(path);
        cz_free(path);
    }
    return rmdir(home);
}

static void assert_found(const char *sha256, const char *hint)
{
    char *path = NULL;
    if (cz_weights_find_sha(sha256, hint, &path) != CZ_OK) fail_msg("%s", cz_last_error());
    assert_non_null(strstr(path, "/mine.safetensors"));
    cz_free(path);
}

static void test_find(void **state)
{
    (void)state;
    cz_backbone *b = NULL, *again = NULL;
    char *file = cz_path_join(home, "mine.safetensors"), *junk = cz_path_join(home, "junk.pth");
    char *index = cz_path_join(home, "weights.index"), *path = NULL;
    char sha256[65];
    assert_int_equal(cz_file_write_atomic(junk, "junk", 4), CZ_OK);
    if (cz_backbone_open("random:resnet18:3", &b) != CZ_OK) fail_msg("%s", cz_last_error());
    assert_int_equal(cz_backbone_save(b, file), CZ_OK);
    cz_backbone_close(b);
    assert_int_equal(cz_backbone_open("mine", &b), CZ_OK); /* by name */
    assert_string_equal(cz_backbone_path(b), file);
    assert_string_equal(cz_backbone_name(b), "mine");
    (void)strcpy(sha256, cz_backbone_sha256(b));
    cz_backbone_close(b);

    assert_found(sha256, NULL);
    assert_int_equal(access(index, R_OK), 0);
    assert_found(sha256, NULL); /* from the index */
    assert_found(sha256, "mine");
    assert_found(sha256, "gone");
    assert_int_equal(cz_file_write_atomic(index, "{\"a\": [", 7), CZ_OK);
    assert_found(sha256, NULL);
    assert_int_equal(cz_backbone_open_sha(sha256, "mine", &again), CZ_OK);
    assert_string_equal(cz_backbone_sha256(again), sha256);
    cz_backbone_close(again);

    char other[65];
    (void)strcpy(other, sha256);
    other[0] = other[0] == '0' ? '1' : '0';
    assert_int_equal(cz_weights_find_sha(other, "mine", &path), CZ_E_WEIGHTS);
    assert_null(path);
    assert_non_null(strstr(cz_last_error(), home));
    assert_int_equal(cz_backbone_open_sha(other, "random:resnet18:3", &again), CZ_E_WEIGHTS);
    cz_free(file);
    cz_free(junk);
    cz_free(index);
}

static void test_names(void **state)
{
    (void)state;
    cz_backbone *b = NULL;
    const char *const unusable[] = {"", "no_such", "wide_resnet101_2", "../mine", "/no/such.pth"};
    for (size_t i = 0; i < sizeof unusable / sizeof unusable[0]; i++) {
        assert_int_not_equal(cz_backbone_open(unusable[i], &b), CZ_OK);
        assert_true(cz_last_error()[0] != '\0');
        assert_null(strchr(cz_last_error(), '\n'));
    }
    assert_int_equal(cz_backbone_open("wide_resnet101_2", &b), CZ_E_WEIGHTS);
    assert_non_null(strstr(cz_last_error(), "cozad weights fetch wide_resnet101_2"));
    assert_int_equal(cz_backbone_open("random:resnet18:x", &b), CZ_E_ARG);
    assert_int_equal(cz_backbone_open("random:resnet18:", &b), CZ_E_ARG);
    assert_int_not_equal(cz_backbone_open("random:vgg", &b), CZ_OK);
    char *text = cz_backbone_search_path();
    assert_non_null(text);
    assert_int_equal(strncmp(text, home, strlen(home)), 0);
    cz_string_free(text);
    for (size_t i = 0; i < cz_known_weights_count(); i++) {
        const cz_known_weights *k = cz_known_weights_at(i);
        assert_non_null(strstr(k->file, k->sha256_prefix));
        assert_non_null(strstr(k->url, k->file));
    }
    assert_null(cz_known_weights_at(cz_known_weights_count()));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_find), cmocka_unit_test(test_names)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
