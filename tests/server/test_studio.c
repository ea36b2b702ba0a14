/* SPDX-License-Identifier: Apache-2.0 */
/* The studio below its routes: names, uploads, limits, restarts, what a job may be asked for. */
#include "studio_fixture.h"

#include <utime.h>

/* ---- data sets and photos ------------------------------------------------------------------------------------------- */

static void test_names(void **state)
{
    static const char *const bad[] = {"", ".", "..", ".x", "a/b", "../x", "a\\b", "a b", "\xc3\xa9", "%2e%2e", "a\n"};
    fixture *f = *state;
    char name[SV_NAME + 8];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(create(f, bad[i]), 400);
        assert_int_equal(done(studio_dataset_get(f->s, bad[i], 0, 0)), 404);
        assert_int_equal(done(studio_dataset_delete(f->s, bad[i])), 404);
    }
    memset(name, 'a', sizeof name);
    name[SV_NAME] = '\0';
    assert_int_equal(create(f, name), 400);
    name[SV_NAME - 1] = '\0';
    assert_int_equal(create(f, name), 201);
    assert_int_equal(create(f, name), 409);
    make_set(f, "set", 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(upload(f, "set", bad[i], 1), 400);
        assert_int_equal(upload(f, bad[i], "x.png", 1), 404);
        assert_int_equal(done(studio_photo_get(f->s, "set", bad[i], 0, NULL)), 404);
        assert_int_equal(done(studio_photo_delete(f->s, "set", bad[i])), 404);
    }
    assert_int_equal(upload(f, "set", "x.txt", 1), 400);
    assert_int_equal(upload(f, "set", "../../../x.png", 1), 400);
    assert_int_equal(upload(f, "other", "x.png", 1), 404);
    assert_int_equal(number_of(studio_dataset_get(f->s, "set", 0, 0), "count"), 0);
}

static void test_photos(void **state)
{
    fixture *f = *state;
    make_set(f, "set", 3);
    size_t size = 0;
    char *bytes = picture(1, &size);
    studio_reply reply = studio_photo_put(f->s, "set", "again.png", bytes, size);
    assert_int_equal(reply.status, 200);
    assert_true(json_is_true(json_object_get(reply.json, "duplicate")));
    assert_string_equal(json_string_value(json_object_get(reply.json, "name")), "p1.png");
    studio_reply_free(&reply);
    assert_int_equal(upload(f, "set", "p1.png", 9), 409); /* another picture of a name that is taken */
    assert_int_equal(done(studio_photo_put(f->s, "set", "x.png", bytes, size - 5)), 400);
    assert_int_equal(done(studio_photo_put(f->s, "set", "x.png", "<svg/>", 6)), 400);
    assert_int_equal(done(studio_photo_put(f->s, "set", "x.png", NULL, 0)), 400);
    f->settings.max_pixels = 63;
    assert_int_equal(upload(f, "set", "x.png", 8), 413);
    f->settings.max_pixels = 64;
    assert_int_equal(number_of(studio_dataset_get(f->s, "set", 0, 0), "count"), 3);
    reply = studio_photo_get(f->s, "set", "p1.png", 0, NULL);
    assert_int_equal(reply.status, 200);
    assert_string_equal(reply.type, "image/png");
    assert_int_equal(reply.size, size);
    assert_memory_equal(reply.body, bytes, size);
    studio_reply_free(&reply);
    reply = studio_photo_get(f->s, "set", "p1.png", 4, NULL);
    assert_int_equal(reply.status, 200);
    cz_picture small;
    assert_int_equal(cz_picture_decode(reply.body, reply.size, NULL, &small), CZ_OK);
    assert_int_equal(small.image.width, 4);
    cz_picture_free(&small);
    assert_int_equal(done(studio_photo_get(f->s, "set", "p1.png", 4, reply.etag)), 304);
    studio_reply_free(&reply);
    assert_int_equal(done(studio_photo_get(f->s, "set", "p1.png", 100000, NULL)), 400);
    assert_int_equal(done(studio_photo_delete(f->s, "set", "p1.png")), 200);
    assert_int_equal(done(studio_photo_delete(f->s, "set", "p1.png")), 404);
    assert_false(there(f, "datasets/set/photos/p1.png"));
    assert_int_equal(upload(f, "set", "p1.png", 9), 201);
    cz_string_free(bytes);
    reply = studio_dataset_get(f->s, "set", 1, 1);
    assert_int_equal(json_array_size(json_object_get(reply.json, "photos")), 1);
    assert_int_equal(json_integer_value(json_object_get(reply.json, "next")), 2);
    studio_reply_free(&reply);
    assert_int_equal(done(studio_dataset_delete(f->s, "set")), 200);
    assert_false(there(f, "datasets/set"));
    assert_int_equal(number_of(studio_dataset_list(f->s), "bytes"), 0);
}

static void test_quota(void **state)
{
    fixture *f = *state;
    make_set(f, "set", 2);
    const json_int_t used = number_of(studio_dataset_list(f->s), "bytes");
    assert_true(used > 0);
    f->s->quota = (uint64_t)used + 10;
    assert_int_equal(upload(f, "set", "x.png", 7), 507);
    assert_false(there(f, "datasets/set/photos/x.png"));
    f->s->quota = (uint64_t)used - 1;
    assert_int_equal(upload(f, "set", "x.png", 7), 507);
    assert_int_equal(upload(f, "set", "again.png", 1), 200); /* a duplicate takes nothing */
    assert_int_equal(done(studio_photo_delete(f->s, "set", "p0.png")), 200);
    f->s->quota = (uint64_t)used + 50;
    assert_int_equal(upload(f, "set", "x.png", 0), 201);
}

static void test_restart(void **state)
{
    fixture *f = *state;
    char path[300], *bytes;
    size_t size;
    make_set(f, "set", 4);
    const json_int_t used = number_of(studio_dataset_list(f->s), "bytes");
    json_t *body = json_pack("{s:[s]}", "photos", "p2.png");
    sv_studio_close(f->s);
    /* Half a line, lines of nothing, lines that lead elsewhere. */
    (void)snprintf(path, sizeof path, "%s/datasets/set/photos.jsonl", f->state);
    FILE *index = fopen(path, "a");
    assert_non_null(index);
    (void)fputs(
        "\n[]\n\"x\"\n{\"name\":\"../../../x.png\",\"sha256\":\"\",\"bytes\":1,\"width\":1,\"height\":1,\"added\":1}\n"
        "{\"name\":\"p9.png\",\"sha2",
        index);
    assert_int_equal(fclose(index), 0);
    /* Leftovers of writing, a photo without its line, and something that is no photo. */
    (void)snprintf(path, sizeof path, "%s/datasets/set/photos/.p7.png.abc", f->state);
    put_file(path, "half");
    (void)snprintf(path, sizeof path, "%s/datasets/.gone.1", f->state);
    assert_int_equal(mkdir(path, 0755), 0);
    (void)snprintf(path, sizeof path, "%s/datasets/set/photos/bad.png", f->state);
    put_file(path, "no picture");
    (void)snprintf(path, sizeof path, "%s/datasets/set/photos/found.png", f->state);
    bytes = picture(77, &size);
    FILE *photo = fopen(path, "w");
    assert_int_equal(fwrite(bytes, 1, size, photo), size);
    assert_int_equal(fclose(photo), 0);
    cz_string_free(bytes);
    (void)snprintf(path, sizeof path, "%s/datasets/set/photos/p3.png", f->state);
    assert_int_equal(unlink(path), 0);
    (void)snprintf(path, sizeof path, "%s/jobs/half", f->state);
    assert_int_equal(mkdir(path, 0755), 0);
    open_studio(f);
    for (int i = 0; i < 100 && number_of(studio_dataset_get(f->s, "set", 0, 0), "count") != 4; i++) nap(0.05);
    assert_int_equal(number_of(studio_dataset_get(f->s, "set", 0, 0), "count"), 4); /* p0 p1 p2 found */
    assert_int_equal(done(studio_photo_get(f->s, "set", "found.png", 0, NULL)), 200);
    assert_int_equal(done(studio_photo_get(f->s, "set", "p3.png", 0, NULL)), 404);
    nap(0.1);
    assert_false(there(f, "datasets/set/photos/bad.png"));
    assert_false(there(f, "datasets/set/photos/.p7.png.abc"));
    assert_false(there(f, "datasets/.gone.1"));
    assert_false(there(f, "jobs/half"));
    assert_true(number_of(studio_dataset_list(f->s), "bytes") < used + (json_int_t)size);
    reopen(f); /* the half line has not taken the next one along */
    assert_int_equal(number_of(studio_dataset_get(f->s, "set", 0, 0), "count"), 4);
    json_decref(body);
    sv_studio *second = NULL;
    const studio_hooks none = {NULL, NULL, NULL};
    assert_int_not_equal(studio_create(&f->settings, &none, &second), CZ_OK); /* in use */
}

static void test_retention(void **state)
{
    fixture *f = *state;
    char path[300];
    make_set(f, "old", 1);
    make_set(f, "new", 1);
    sv_studio_close(f->s);
    (void)snprintf(path, sizeof path, "%s/datasets/old/dataset.json", f->state);
    put_file(path, "{\"name\":\"old\",\"created\":1000000,\"used\":1000000,\"excluded\":[]}");
    (void)snprintf(path, sizeof path, "%s/datasets/old/photos.jsonl", f->state);
    const struct utimbuf then = {1000000, 1000000};
    assert_int_equal(utime(path, &then), 0);
    f->settings.retention_days = 0.0;
    open_studio(f);
    nap(0.1);
    assert_true(there(f, "datasets/old"));
    sv_studio_close(f->s);
    f->settings.retention_days = 30.0;
    open_studio(f);
    for (int i = 0; i < 100 && there(f, "datasets/old"); i++) nap(0.05);
    assert_false(there(f, "datasets/old"));
    assert_true(there(f, "datasets/new"));
}

/* ---- options -------------------------------------------------------------------------------------------------------- */

static cz_status options(const char *text)
{
    json_t *body = json_loads(text, JSON_DECODE_ANY, NULL), *out = NULL;
    assert_non_null(body);
    const cz_status status = studio_train_options(body, &out);
    json_decref(body);
    json_decref(out);
    return status;
}

static void test_options(void **state)
{
    (void)state;
    static const char *const good[] = {
        "{\"dataset\":\"a\"}",
        "{\"dataset\":\"a\",\"name\":\"b\",\"method\":\"comet\",\"detector\":\"flow\",\"epochs\":1000,\"seed\":0}",
        "{\"dataset\":\"a\",\"method\":\"flow\",\"detector\":\"flow\",\"image_size\":64,\"precision\":\"bf16\"}",
        "{\"dataset\":\"a\",\"backbone\":\"random:resnet18:7\",\"patches_per_image\":0}",
        "{\"dataset\":\"a\",\"backbone\":\"wide_resnet50_2\"}"};
    static const char *const bad[] = {"[]",
                                      "{}",
                                      "{\"dataset\":1}",
                                      "{\"dataset\":\"../a\"}",
                                      "{\"dataset\":\"a\",\"name\":\"\"}",
                                      "{\"dataset\":\"a\",\"method\":\"cozad\"}",
                                      "{\"dataset\":\"a\",\"method\":\"flow\",\"detector\":\"simplenet\"}",
                                      "{\"dataset\":\"a\",\"epochs\":0}",
                                      "{\"dataset\":\"a\",\"epochs\":1001}",
                                      "{\"dataset\":\"a\",\"epochs\":1.5}",
                                      "{\"dataset\":\"a\",\"epochs\":\"9\"}",
                                      "{\"dataset\":\"a\",\"image_size\":63}",
                                      "{\"dataset\":\"a\",\"image_size\":1025}",
                                      "{\"dataset\":\"a\",\"seed\":-1}",
                                      "{\"dataset\":\"a\",\"backbone\":\"/etc/passwd\"}",
                                      "{\"dataset\":\"a\",\"backbone\":\"../x\"}",
                                      "{\"dataset\":\"a\",\"backbone\":\"-x\"}",
                                      "{\"dataset\":\"a\",\"backbone\":\"random:/x\"}",
                                      "{\"dataset\":\"a\",\"backbone\":\"\"}",
                                      "{\"dataset\":\"a\",\"precision\":\"fp8\"}",
                                      "{\"dataset\":\"a\",\"roi\":\"1,2,3,4\"}"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) assert_int_equal(options(good[i]), CZ_OK);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_int_equal(options(bad[i]), CZ_E_ARG);
}

/* ---- files ---------------------------------------------------------------------------------------------------------- */

static void test_files(void **state)
{
    fixture *f = *state;
    char path[200], *text = NULL;
    size_t size = 0;
    (void)snprintf(path, sizeof path, "%s/x.json", f->root);
    assert_int_equal(studio_write(path, "abc", 3), CZ_OK);
    assert_int_equal(studio_read(path, 2, &text, &size), CZ_E_LIMIT);
    assert_int_equal(studio_append(path, "de\n"), CZ_OK);
    assert_int_equal(studio_read(path, 7, &text, &size), CZ_OK);
    assert_string_equal(text, "abc\nde\n"); /* half a line stays one by itself */
    free(text);
    char link[200];
    (void)snprintf(link, sizeof link, "%s/link", f->root);
    assert_int_equal(symlink(path, link), 0);
    assert_int_not_equal(studio_read(link, 100, &text, &size), CZ_OK); /* links are not followed */
    assert_int_equal(studio_write("/dev/full/x", "abc", 3), CZ_E_IO);
    assert_int_equal(studio_append("/dev/full", "abc\n"), CZ_E_NO_SPACE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_names, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_photos, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_quota, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_restart, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_retention, set_up, tear_down),
        cmocka_unit_test(test_options),
        cmocka_unit_test_setup_teardown(test_files, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("studio", tests, NULL, NULL);
}
