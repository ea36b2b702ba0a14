/* SPDX-License-Identifier: Apache-2.0 */
/* What photos of the products that a model has learnt from score. */
#include "api/model.h"
#include "cozad/cozad_eval.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Photo i of `count` scores score(i); `excluded` more were not trained on. */
static cz_model *make_model(size_t categories, size_t count, size_t excluded, double (*score)(size_t))
{
    static const char hash[] = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    cz_model *m = NULL;
    assert_int_equal(cz_model_create(&m), CZ_OK);
    json_t *names = json_array(), *photos = json_array(), *rest = json_array();
    for (size_t i = 0; i < categories; i++)
        (void)json_array_append_new(names, json_pack("{s:s, s:i}", "name", "part", "images", 12));
    for (size_t i = 0; i < count; i++)
        (void)json_array_append_new(photos, json_pack("{s:s, s:f}", "pixels_sha256", hash, "score", score(i)));
    for (size_t i = 0; i < excluded; i++) (void)json_array_append_new(rest, json_pack("{s:s}", "pixels_sha256", hash));
    json_decref(m->meta);
    m->meta = json_pack("{s:{s:o}, s:o, s:o}", "training", "categories", names, "photos", photos, "excluded", rest);
    assert_non_null(m->meta);
    return m;
}

/* In no order, from -1 on: i -> 7 i mod 1000 less 1. */
static double mixed(size_t i)
{
    return (double)(i * 7 % 1000) - 1;
}

static double level(size_t i)
{
    (void)i;
    return 2.5;
}

static int range_of(cz_model *m, double *low, double *high)
{
    *low = -77;
    *high = 77;
    const int known = cz_model_source_range(m, low, high);
    if (known == 0) assert_true(*low == -77 && *high == 77);
    assert_string_equal(cz_last_error(), "");
    cz_model_close(m);
    return known;
}

static void test_range(void **state)
{
    (void)state;
    double low, high;
    assert_int_equal(range_of(make_model(2, 20, 0, mixed), &low, &high), 1);
    assert_true(low == -1 && high == 132);
    assert_int_equal(range_of(make_model(5, 199, 0, level), &low, &high), 1);
    assert_true(low == 2.5 && high == 2.5);
    /* 1000 photos score -1 … 998: five lie beyond at either end */
    assert_int_equal(range_of(make_model(3, 1000, 0, mixed), &low, &high), 1);
    assert_true(low == 4 && high == 993);
}

static void test_none(void **state)
{
    (void)state;
    double low, high;
    assert_int_equal(range_of(make_model(1, 100, 0, mixed), &low, &high), 0);
    assert_int_equal(range_of(make_model(0, 100, 0, mixed), &low, &high), 0);
    assert_int_equal(range_of(make_model(2, 19, 0, mixed), &low, &high), 0);
    assert_int_equal(range_of(make_model(2, 19, 30, mixed), &low, &high), 0); /* excluded ones have no score */
    assert_int_equal(range_of(make_model(2, 20, 30, mixed), &low, &high), 1);
    assert_true(low == -1 && high == 132);
    /* one that was adapted scores otherwise than it did in training */
    cz_model *m = make_model(2, 40, 0, mixed);
    assert_int_equal(json_object_set_new(m->meta, "adapted", json_object()), 0);
    assert_int_equal(range_of(m, &low, &high), 0);
    m = make_model(2, 40, 0, mixed);
    assert_int_equal(cz_model_source_range(NULL, &low, &high), 0);
    assert_int_equal(cz_model_source_range(m, NULL, &high), 0);
    assert_int_equal(cz_model_source_range(m, &low, NULL), 0);
    cz_model_close(m);
}

/* A file from before photos had scores. */
static void test_hashes_alone(void **state)
{
    (void)state;
    double low, high;
    cz_model *m = make_model(2, 30, 0, mixed);
    json_t *hashes = json_array();
    for (size_t i = 0; i < 30; i++) (void)json_array_append_new(hashes, json_string("00"));
    assert_int_equal(json_object_set_new(json_object_get(m->meta, "training"), "pixels_sha256", hashes), 0);
    assert_int_equal(json_object_del(m->meta, "photos"), 0);
    assert_int_equal(range_of(m, &low, &high), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_range), cmocka_unit_test(test_none),
                                       cmocka_unit_test(test_hashes_alone)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
