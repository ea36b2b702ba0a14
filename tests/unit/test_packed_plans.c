/* SPDX-License-Identifier: Apache-2.0 */
/* Plans of one backbone share packed weights, a later run finds them in the folder, and a backbone whose weights are packed does
 * without its file until it needs it. */
#include "api/weights_find.h"
#include "backbone/backbone_internal.h"
#include "backbone/packed.h"
#include "backbone/packed_file.h"
#include "util/alloc.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { SIDE = 32 };

static char home[] = "/tmp/test_packed_plans_XXXXXX";
static char file[64], spare[64];
static float input[SIDE * SIDE * 3];

static int clean(void **state)
{
    (void)state;
    char command[64];
    (void)snprintf(command, sizeof command, "rm -rf '%s'/*", home);
    (void)setenv("COZAD_PACKED_CACHE", "", 1);
    return system(command);
}

/* Written long enough ago for the index to trust its time. */
static void save(uint64_t seed, const char *path)
{
    cz_backbone *b = NULL;
    const struct timespec times[2] = {{1000000000, 0}, {1000000000, 0}};
    if (cz_backbone_random("resnet18", seed, &b) != CZ_OK) fail_msg("%s", cz_last_error());
    assert_int_equal(cz_backbone_save(b, path), CZ_OK);
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
    cz_backbone_close(b);
}

static int setup(void **state)
{
    if (!mkdtemp(home) || setenv("COZAD_HOME", home, 1) != 0 || setenv("XDG_CACHE_HOME", home, 1) != 0) return 1;
    (void)snprintf(file, sizeof file, "%s/mine.safetensors", home);
    (void)snprintf(spare, sizeof spare, "%s/elsewhere", home);
    for (size_t i = 0; i < sizeof input / sizeof *input; i++) input[i] = (float)((i * 7919) % 1000) / 500 - 1;
    return clean(state);
}

static int teardown(void **state)
{
    return clean(state) != 0 || rmdir(home) != 0;
}

static cz_backbone *open_file(void)
{
    cz_backbone *b = NULL;
    if (cz_backbone_open(file, &b) != CZ_OK) fail_msg("%s", cz_last_error());
    assert_string_equal(cz_last_error(), "");
    return b;
}

static bool is_read(const cz_backbone *b)
{
    return atomic_load(&b->folded->there);
}

static cz_status try_plan(const cz_backbone *b, size_t batch, cz_plan **out)
{
    const cz_plan_options options = {.taps = "layer1", .batch = batch, .height = SIDE, .width = SIDE, .threads = 1};
    return cz_plan_create(b, &options, out);
}

static cz_plan *plan(const cz_backbone *b)
{
    cz_plan *p = NULL;
    if (try_plan(b, 1, &p) != CZ_OK) fail_msg("%s", cz_last_error());
    assert_string_equal(cz_last_error(), "");
    return p;
}

/* Runs a plan and puts what it makes into, or compares it with, `expected`. */
static void run(cz_plan *p, float **expected)
{
    const cz_tap *tap = cz_plan_tap(p, 0);
    const size_t size = tap->channels * tap->height * tap->width * sizeof(float);
    assert_int_equal(cz_plan_run(p, input), CZ_OK);
    if (!*expected) {
        *expected = cz_alloc(size);
        assert_non_null(*expected);
        memcpy(*expected, cz_plan_tap_data(p, 0), size);
    } else {
        assert_memory_equal(cz_plan_tap_data(p, 0), *expected, size);
    }
}

static size_t files(char name[CZ_PACKED_NAME])
{
    char *folder = cz_packed_folder();
    cz_packed_listing listing;
    assert_int_equal(cz_packed_scan(folder, &listing), CZ_OK);
    const size_t count = listing.count;
    if (count > 0 && name) memcpy(name, listing.entries[0].name, CZ_PACKED_NAME);
    cz_packed_listing_free(&listing);
    cz_free(folder);
    return count;
}

/* The file is read, packed and run once: what comes out. */
static float *first_run(void)
{
    float *expected = NULL;
    save(1, file);
    cz_backbone *b = open_file();
    assert_true(is_read(b));
    cz_plan *p = plan(b);
    run(p, &expected);
    cz_plan_destroy(p);
    cz_backbone_close(b);
    assert_int_equal(files(NULL), 1);
    return expected;
}

static void shared(void **state)
{
    (void)state;
    float *expected = first_run();
    cz_backbone *b = open_file();
    cz_plan *one = plan(b), *two = plan(b), *other = NULL;
    assert_ptr_equal(cz_plan_packed(one), cz_plan_packed(two));
    run(one, &expected);
    run(two, &expected);
    assert_false(is_read(b));
    assert_int_equal(try_plan(b, 2, &other), CZ_OK); /* another batch is packed of its own */
    assert_true(is_read(b));
    assert_int_equal(files(NULL), 2);
    cz_plan_destroy(other);
    cz_backbone_close(b); /* plans outlive it */
    cz_plan_destroy(one);
    run(two, &expected);
    cz_plan_destroy(two);
    cz_free(expected);
}

/* More kinds of plan than are remembered. */
static void many_kinds(void **state)
{
    (void)state;
    cz_backbone *b = NULL;
    assert_int_equal(cz_backbone_random("resnet18", 5, &b), CZ_OK);
    for (size_t round = 0; round < 2; round++) {
        for (size_t batch = 1; batch <= CZ_PACKED_KEPT + 2; batch++) {
            cz_plan *p = NULL;
            assert_int_equal(try_plan(b, batch, &p), CZ_OK);
            cz_plan_destroy(p);
        }
    }
    cz_backbone_close(b);
    assert_int_equal(files(NULL), 0); /* random weights have no file, and none is made */
}

static void file_gone(void **state)
{
    (void)state;
    float *expected = first_run();
    cz_backbone *b = open_file(), *again = NULL;
    char sha256[65];
    assert_false(is_read(b));
    assert_string_equal(cz_backbone_name(b), "mine");
    assert_string_equal(cz_backbone_path(b), file);
    assert_string_equal(cz_backbone_architecture(b), "resnet18");
    (void)strcpy(sha256, cz_backbone_sha256(b));
    assert_int_equal(unlink(file), 0);
    cz_plan *p = plan(b), *other = NULL;
    run(p, &expected);
    cz_plan_destroy(p);
    assert_int_equal(try_plan(b, 2, &other), CZ_E_IO); /* needs the weights themselves */
    assert_non_null(strstr(cz_last_error(), file));
    cz_error_clear();
    assert_int_equal(cz_backbone_save(b, spare), CZ_E_IO);
    cz_backbone_close(b);

    cz_error_clear();
    assert_int_equal(cz_backbone_open_sha(sha256, "mine", &again), CZ_OK); /* as a model does */
    p = plan(again);
    run(p, &expected);
    cz_plan_destroy(p);
    assert_int_equal(cz_backbone_save(again, spare), CZ_E_WEIGHTS);
    cz_backbone_close(again);
    assert_int_not_equal(cz_backbone_open(file, &again), CZ_OK); /* who names the file wants the file */
    cz_free(expected);
}

static void description_kept(void **state)
{
    (void)state;
    cz_backbone *b = NULL, *lazy;
    float mean[2][3], std[2][3];
    cz_free(first_run());
    lazy = open_file();
    assert_false(is_read(lazy));
    (void)setenv("COZAD_PACKED_CACHE", "off", 1);
    b = open_file();
    assert_true(is_read(b));
    cz_backbone_normalisation(b, mean[0], std[0]);
    cz_backbone_normalisation(lazy, mean[1], std[1]);
    assert_memory_equal(mean[0], mean[1], sizeof mean[0]);
    assert_memory_equal(std[0], std[1], sizeof std[0]);
    assert_true(cz_backbone_feature_scale(b) == cz_backbone_feature_scale(lazy));
    assert_true(b->description.eps == lazy->description.eps);
    assert_int_equal(b->layout.node_count, lazy->layout.node_count);
    assert_string_equal(cz_backbone_sha256(b), cz_backbone_sha256(lazy));
    assert_int_equal(cz_backbone_load(lazy), CZ_OK); /* the same weights, later */
    for (size_t i = 0; i < b->layout.conv_count; i++) {
        const cz_layer_conv *c = &b->layout.convs[i];
        assert_memory_equal(b->weights[i], lazy->weights[i], c->out * c->in * c->kernel * c->kernel * sizeof(float));
        assert_memory_equal(b->bias[i], lazy->bias[i], c->out * sizeof(float));
    }
    cz_backbone_close(b);
    cz_backbone_close(lazy);
}

static void file_replaced(void **state)
{
    (void)state;
    float *expected = first_run(), *others = NULL;
    char sha256[65];
    cz_backbone *b = open_file();
    (void)strcpy(sha256, cz_backbone_sha256(b));
    save(2, file); /* of the same size and time: not seen before the weights are read */
    cz_plan *p = plan(b), *other = NULL;
    run(p, &expected);
    cz_plan_destroy(p);
    assert_int_equal(try_plan(b, 2, &other), CZ_E_WEIGHTS);
    assert_non_null(strstr(cz_last_error(), "other weights"));
    cz_backbone_close(b);

    const struct timespec times[2] = {{1000000001, 0}, {1000000001, 0}};
    assert_int_equal(utimensat(AT_FDCWD, file, times, 0), 0); /* changed, as changed files are */
    cz_error_clear();
    b = open_file();
    assert_true(is_read(b));
    assert_string_not_equal(cz_backbone_sha256(b), sha256);
    p = plan(b);
    run(p, &others);
    assert_int_not_equal(memcmp(expected, others, 64), 0);
    cz_plan_destroy(p);
    cz_backbone_close(b);
    assert_int_equal(files(NULL), 2);
    cz_free(expected);
    cz_free(others);
}

/* A file that was written a moment ago could change within the clock's grain. */
static void too_young(void **state)
{
    (void)state;
    cz_free(first_run());
    assert_int_equal(utimensat(AT_FDCWD, file, NULL, 0), 0);
    cz_backbone *b = open_file();
    assert_true(is_read(b));
    cz_backbone_close(b);
    b = open_file();
    assert_true(is_read(b));
    cz_backbone_close(b);
}

static void damaged_heals(void **state)
{
    (void)state;
    float *expected = first_run();
    char name[CZ_PACKED_NAME], path[200];
    assert_int_equal(files(name), 1);
    (void)snprintf(path, sizeof path, "%s/packed/%s", home, name);
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    const int fd = open(path, O_WRONLY);
    assert_int_equal(pwrite(fd, "damage", 6, info.st_size - 4000), 6);
    close(fd);
    cz_backbone *b = open_file();
    assert_false(is_read(b)); /* its head is whole */
    cz_plan *p = plan(b);
    assert_true(is_read(b));
    run(p, &expected);
    cz_plan_destroy(p);
    cz_backbone_close(b);
    char *folder = cz_packed_folder();
    assert_int_equal(files(name), 1);
    assert_false(cz_packed_damaged(folder, name)); /* written again */
    cz_free(folder);
    cz_free(expected);
}

/* A block that passes for whole and is none of the engine's. */
static void foreign_block(void **state)
{
    (void)state;
    float *expected = first_run();
    char name[CZ_PACKED_NAME];
    char *folder = cz_packed_folder(), *text;
    cz_packed_file packed;
    cz_packed_key key;
    static const uint8_t junk[10000];
    assert_int_equal(files(name), 1);
    assert_true(cz_packed_file_open(folder, name, true, &packed));
    text = cz_strndup(packed.text, packed.text_size);
    memcpy(key.name, name, sizeof name);
    memcpy(key.digest, (const uint8_t *)packed.mapping + 24, sizeof key.digest);
    cz_packed_file_close(&packed);
    assert_true(cz_packed_file_write(folder, &key, text, junk, sizeof junk, CZ_PACKED_LIMIT));
    cz_backbone *b = open_file();
    cz_plan *p = plan(b);
    run(p, &expected);
    cz_plan_destroy(p);
    cz_backbone_close(b);
    cz_free(text);
    cz_free(folder);
    cz_free(expected);
}

static void switched_off(void **state)
{
    (void)state;
    (void)setenv("COZAD_PACKED_CACHE", "off", 1);
    save(1, file);
    for (size_t i = 0; i < 2; i++) {
        cz_backbone *b = open_file();
        assert_true(is_read(b));
        cz_plan *one = plan(b), *two = plan(b);
        assert_ptr_equal(cz_plan_packed(one), cz_plan_packed(two));
        cz_plan_destroy(one);
        cz_plan_destroy(two);
        cz_backbone_close(b);
    }
    assert_int_equal(files(NULL), 0);
    (void)setenv("COZAD_PACKED_CACHE", "1000", 1); /* too little for any */
    cz_backbone *b = open_file();
    cz_plan_destroy(plan(b));
    cz_backbone_close(b);
    assert_int_equal(files(NULL), 0);
}

static void nowhere_to_write(void **state)
{
    (void)state;
    save(1, file);
    (void)setenv("COZAD_HOME", "/proc/none", 1);
    for (size_t i = 0; i < 2; i++) {
        cz_backbone *b = open_file();
        cz_plan_destroy(plan(b));
        cz_backbone_close(b);
    }
    (void)setenv("COZAD_HOME", home, 1);
}

typedef struct racer {
    const cz_backbone *b;
    cz_plan *plan;
} racer;

static void *race(void *ctx)
{
    racer *r = ctx;
    (void)try_plan(r->b, 1, &r->plan);
    return NULL;
}

static void race_on(const cz_backbone *b, float **expected)
{
    enum { RACERS = 4 };
    pthread_t threads[RACERS];
    racer racers[RACERS];
    for (size_t i = 0; i < RACERS; i++) {
        racers[i] = (racer){b, NULL};
        assert_int_equal(pthread_create(&threads[i], NULL, race, &racers[i]), 0);
    }
    for (size_t i = 0; i < RACERS; i++) assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (size_t i = 0; i < RACERS; i++) {
        assert_non_null(racers[i].plan);
        assert_ptr_equal(cz_plan_packed(racers[i].plan), cz_plan_packed(racers[0].plan));
        run(racers[i].plan, expected);
    }
    for (size_t i = 0; i < RACERS; i++) cz_plan_destroy(racers[i].plan);
}

static void threads_race(void **state)
{
    (void)state;
    float *expected = NULL;
    save(1, file);
    cz_backbone *b = open_file();
    race_on(b, &expected); /* to pack */
    cz_backbone_close(b);
    b = open_file();
    assert_false(is_read(b));
    race_on(b, &expected); /* to map */
    assert_false(is_read(b));
    cz_backbone_close(b);
    assert_int_equal(files(NULL), 1);
    cz_free(expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(shared, clean),        cmocka_unit_test_teardown(many_kinds, clean),
        cmocka_unit_test_teardown(file_gone, clean),     cmocka_unit_test_teardown(description_kept, clean),
        cmocka_unit_test_teardown(file_replaced, clean), cmocka_unit_test_teardown(too_young, clean),
        cmocka_unit_test_teardown(damaged_heals, clean), cmocka_unit_test_teardown(foreign_block, clean),
        cmocka_unit_test_teardown(switched_off, clean),  cmocka_unit_test_teardown(nowhere_to_write, clean),
        cmocka_unit_test_teardown(threads_race, clean),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
