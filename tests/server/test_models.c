/* SPDX-License-Identifier: Apache-2.0 */
/* Models by name: opened, shared, replaced, refused, unloaded, while others use them. */
#include "models.h"
#include "small_model.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include <cmocka.h>

enum { FILES = 3, READERS = 4, SWAPS = 6 };

static sv_settings settings_of(const char *const *files, size_t count, const char *folder)
{
    sv_settings s;
    sv_settings_init(&s);
    s.models = files;
    s.model_count = count;
    s.model_dir = folder;
    s.backbone = SMALL_BACKBONE;
    return s;
}

/* seed-0 and seed-1 decide, seed-2 does not. */
static int prepare(void **state)
{
    (void)state;
    if (small_begin() != 0) return -1;
    for (int i = 0; i < FILES; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "seed-%d", i);
        if (small_model_write(small_path(name), (uint64_t)i, i < 2) != CZ_OK) return -1;
    }
    return mkdir(small_path("dir"), 0700);
}

static int finish(void **state)
{
    (void)state;
    small_end();
    return 0;
}

static void clean_dir(void)
{
    (void)nftw(small_path("dir"), small_remove, 8, FTW_DEPTH | FTW_PHYS);
    assert_int_equal(mkdir(small_path("dir"), 0700), 0);
}

static void put(const char *from, const char *to)
{
    assert_int_equal(small_copy(small_path(from), small_path("dir/part-of-it")), 0);
    assert_int_equal(rename(small_path("dir/part-of-it"), small_path(to)), 0);
}

/* Polls as a server does, for at most some seconds, until `name` has another serial than `old` (0: none is loaded). */
static uint64_t wait_for(sv_models *m, const char *name, uint64_t old)
{
    for (int i = 0; i < 60; i++) {
        sv_models_poll(m);
        const sv_model *model = sv_models_get(m, name, NULL);
        const uint64_t serial = model != NULL ? model->serial : 0;
        sv_model_release(model);
        if (serial != old) return serial;
        (void)usleep(100000);
    }
    fail_msg("%s did not change", name);
    return 0;
}

static char *state_of(sv_models *m, const char *name, const char *key)
{
    static char text[1024];
    json_t *index = sv_models_index(m), *item;
    size_t i;
    (void)snprintf(text, sizeof text, "not in the index");
    json_array_foreach(index, i, item)
    {
        if (strcmp(json_string_value(json_object_get(item, "name")), name) == 0)
            (void)snprintf(text, sizeof text, "%s", json_string_value(json_object_get(item, key)));
    }
    json_decref(index);
    return text;
}

static double score_with(const sv_model *model)
{
    static _Thread_local uint8_t pixels[SMALL_SIDE * SMALL_SIDE];
    cz_session_options o = CZ_SESSION_OPTIONS_INIT;
    cz_session *session = NULL;
    cz_result r;
    o.threads = 1;
    const cz_image image = small_photo(pixels, SMALL_SIDE, SMALL_SIDE, 7);
    assert_int_equal(cz_session_open(model->model, &o, &session), CZ_OK);
    assert_int_equal(cz_score(session, &image, &r), CZ_OK);
    cz_session_close(session);
    return r.score;
}

/* ---- tests --------------------------------------------------------------------------------------------------------- */

static void named_files(void **state)
{
    (void)state;
    clean_dir();
    put("seed-0", "dir/part.cozad");
    put("seed-2", "dir/other.v2.cozad");
    const char *files[] = {small_path("dir/part.cozad"), small_path("dir/other.v2.cozad")};
    const sv_settings s = settings_of(files, 2, NULL);
    sv_models *m = NULL;
    assert_int_equal(sv_models_open(&s, &m), CZ_OK);
    assert_true(sv_models_ready(m));
    const sv_model *part = sv_models_get(m, "part", NULL), *same = sv_models_get(m, "part", "1");
    const sv_model *other = sv_models_get(m, "other.v2", "");
    assert_non_null(part);
    assert_ptr_equal(part, same);
    assert_true(part->calibrated && !other->calibrated);
    assert_true(part->threshold == part->threshold && other->threshold != other->threshold);
    assert_true(part->high > part->low);
    assert_true(json_is_object(json_object_get(part->json, "calibration")));
    char sha256[65];
    assert_int_equal(cz_file_sha256(files[0], sha256), CZ_OK);
    assert_memory_equal(part->version, sha256, 16);
    const sv_model *exact = sv_models_get(m, "part", part->version);
    assert_ptr_equal(exact, part);
    assert_null(sv_models_get(m, "part", "2"));
    assert_null(sv_models_get(m, "part", other->version));
    assert_null(sv_models_get(m, "nobody", NULL));
    assert_ptr_equal(cz_model_backbone(part->model), cz_model_backbone(other->model));
    assert_string_equal(state_of(m, "part", "state"), "READY");
    assert_string_equal(state_of(m, "part", "version"), part->version);
    const sv_model *held = sv_model_hold(part);
    sv_model_release(part);
    sv_model_release(same);
    sv_model_release(exact);
    sv_model_release(other);
    sv_models_free(m);
    assert_true(sv_model_retired(held)); /* and still there for whoever holds it */
    (void)score_with(held);
    sv_model_release(held);
}

static void refused_files(void **state)
{
    (void)state;
    clean_dir();
    put("seed-0", "dir/part.cozad");
    put("seed-0", "dir/a part.cozad");
    assert_int_equal(small_write(small_path("dir/broken.cozad"), "no model", 8), 0);
    assert_int_equal(mkdir(small_path("dir/sub"), 0700), 0);
    put("seed-1", "dir/sub/part.cozad");
    const char *twice[] = {small_path("dir/part.cozad"), small_path("dir/sub/part.cozad")};
    static const struct {
        const char *file;
        cz_status status;
    } one[] = {{"dir/a part.cozad", CZ_E_ARG},
               {"dir/broken.cozad", CZ_E_MODEL},
               {"dir/none.cozad", CZ_E_IO},
               {"dir", CZ_E_IO}};
    sv_models *m = NULL;
    sv_settings s = settings_of(twice, 2, NULL);
    assert_int_equal(sv_models_open(&s, &m), CZ_E_ARG);
    assert_non_null(strstr(cz_last_error(), "one name"));
    for (size_t i = 0; i < sizeof one / sizeof *one; i++) {
        const char *file = small_path(one[i].file);
        s = settings_of(&file, 1, NULL);
        assert_int_equal(sv_models_open(&s, &m), one[i].status);
        assert_non_null(strstr(cz_last_error(), file));
    }
    s = settings_of(NULL, 0, small_path("no folder"));
    assert_int_equal(sv_models_open(&s, &m), CZ_E_IO);
    const char *part = small_path("dir/part.cozad");
    s = settings_of(&part, 1, NULL);
    s.backbone = "random:resnet18:2"; /* not the model's */
    assert_int_equal(sv_models_open(&s, &m), CZ_E_WEIGHTS);
    s.backbone = SMALL_BACKBONE;
    s.precision = CZ_PRECISION_INT8; /* it has no ranges, and another calibration */
    assert_true(sv_models_open(&s, &m) != CZ_OK);
}

static void folder(void **state)
{
    (void)state;
    clean_dir();
    put("seed-0", "dir/part.cozad");
    put("seed-1", "dir/a part.cozad");
    put("seed-2", "dir/readme.txt");
    assert_int_equal(small_write(small_path("dir/broken.cozad"), "no model", 8), 0);
    assert_int_equal(mkdir(small_path("dir/folder.cozad"), 0700), 0);
    assert_int_equal(mkfifo(small_path("dir/pipe.cozad"), 0600), 0);
    const sv_settings s = settings_of(NULL, 0, small_path("dir"));
    sv_models *m = NULL;
    assert_int_equal(sv_models_open(&s, &m), CZ_OK);
    json_t *index = sv_models_index(m);
    assert_int_equal(json_array_size(index), 2);
    assert_string_equal(json_string_value(json_object_get(json_array_get(index, 0), "name")), "broken");
    json_decref(index);
    assert_string_equal(state_of(m, "part", "state"), "READY");
    assert_string_equal(state_of(m, "broken", "state"), "UNAVAILABLE");
    assert_non_null(strstr(state_of(m, "broken", "reason"), "dir/broken.cozad"));
    assert_null(strstr(state_of(m, "broken", "reason"), "/proc"));
    assert_true(sv_models_ready(m)); /* nothing was promised of the folder */
    assert_int_equal(sv_models_load(m, "broken"), CZ_E_MODEL);
    assert_int_equal(sv_models_load(m, "nobody"), CZ_E_ARG);
    assert_int_equal(sv_models_load(m, "../dir/part"), CZ_E_ARG);
    assert_int_equal(sv_models_unload(m, "nobody"), CZ_E_ARG);
    assert_int_equal(sv_models_unload(m, NULL), CZ_E_ARG);
    put("seed-2", "dir/late.cozad"); /* found by its name before a poll */
    assert_int_equal(sv_models_load(m, "late"), CZ_OK);
    sv_models_free(m);
}

/* The folder of activated models takes the place of a model directory. */
static void folder_of_page(void **state)
{
    (void)state;
    clean_dir();
    sv_settings s = settings_of(NULL, 0, NULL);
    s.state_dir = small_path("dir");
    sv_models *m = NULL;
    assert_int_equal(sv_models_open(&s, &m), CZ_OK);
    assert_int_equal(sv_models_load(m, "part"), CZ_E_ARG);
    assert_int_equal(mkdir(small_path("dir/models"), 0700), 0);
    put("seed-0", "dir/models/part.cozad");
    assert_int_equal(sv_models_load(m, "part"), CZ_OK);
    sv_models_free(m);
    s.backbone = NULL; /* found again by its SHA-256, and shared */
    put("seed-1", "dir/models/other.cozad");
    assert_int_equal(sv_models_open(&s, &m), CZ_OK);
    const sv_model *part = sv_models_get(m, "part", NULL), *other = sv_models_get(m, "other", NULL);
    if (part != NULL && other != NULL)
        assert_ptr_equal(cz_model_backbone(part->model), cz_model_backbone(other->model));
    assert_true((part != NULL) == (other != NULL)); /* neither where random weights are not looked for */
    sv_model_release(part);
    sv_model_release(other);
    sv_models_free(m);
}

static void count_change(void *ctx, const char *name)
{
    assert_string_equal(name, "part");
    (*(int *)ctx)++;
}

static void replaced(void **state)
{
    (void)state;
    clean_dir();
    put("seed-0", "dir/part.cozad");
    const char *file = small_path("dir/part.cozad");
    const sv_settings s = settings_of(&file, 1, NULL);
    sv_models *m = NULL;
    int changes = 0;
    assert_int_equal(sv_models_open(&s, &m), CZ_OK);
    sv_models_on_change(m, count_change, &changes);
    const sv_model *old = sv_models_get(m, "part", NULL);
    const double before = score_with(old);
    put("seed-1", "dir/part.cozad");
    sv_models_poll(m); /* too new */
    assert_int_equal(changes, 0);
    assert_false(sv_model_retired(old));
    const uint64_t serial = wait_for(m, "part", old->serial);
    assert_int_equal(changes, 1);
    assert_true(sv_model_retired(old));
    const sv_model *fresh = sv_models_get(m, "part", NULL);
    assert_string_not_equal(fresh->version, old->version);
    assert_null(sv_models_get(m, "part", old->version));
    assert_true(score_with(old) == before && score_with(fresh) != before);
    sv_model_release(old);
    sv_model_release(fresh);
    /* The same bytes once more: the model stays. */
    put("seed-1", "dir/part.cozad");
    (void)usleep(600000);
    sv_models_poll(m);
    assert_int_equal(sv_models_load(m, "part"), CZ_OK);
    fresh = sv_models_get(m, "part", NULL);
    assert_true(fresh->serial == serial);
    assert_int_equal(changes, 1);
    sv_model_release(fresh);
    sv_models_free(m);
}

static void corrupted(void **state)
{
    (void)state;
    clean_dir();
    put("seed-0", "dir/part.cozad");
    const char *file = small_path("dir/part.cozad");
    const sv_settings s = settings_of(&file, 1, NULL);
    sv_models *m = NULL;
    size_t size;
    assert_int_equal(sv_models_open(&s, &m), CZ_OK);
    const sv_model *held = sv_models_get(m, "part", NULL);
    const double score = score_with(held);
    char *bytes = small_read(small_path("seed-1"), &size);
    const size_t cuts[] = {0, 5, size / 2, size - 1};
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        assert_int_equal(small_write(file, bytes, cuts[i]), 0); /* in place, under the opened one */
        (void)usleep(600000);
        sv_models_poll(m);
        const sv_model *now = sv_models_get(m, "part", NULL);
        assert_ptr_equal(now, held);
        assert_true(score_with(now) == score);
        sv_model_release(now);
        assert_string_equal(state_of(m, "part", "state"), "READY");
        assert_non_null(strstr(state_of(m, "part", "reason"), file));
        assert_true(sv_models_load(m, "part") != CZ_OK);
    }
    assert_int_equal(small_write(file, bytes, size), 0);
    (void)wait_for(m, "part", held->serial);
    assert_string_equal(state_of(m, "part", "reason"), "");
    /* A model of the command line outlives its file. */
    assert_int_equal(remove(file), 0);
    for (int i = 0; i < 2; i++) {
        sv_models_poll(m);
        (void)usleep(600000);
    }
    sv_models_poll(m);
    assert_true(sv_models_ready(m));
    assert_string_equal(state_of(m, "part", "reason"), "its file is gone");
    put("seed-1", "dir/part.cozad");
    (void)usleep(600000);
    sv_models_poll(m);
    assert_string_equal(state_of(m, "part", "reason"), "");
    free(bytes);
    sv_model_release(held);
    sv_models_free(m);
}

static void unloaded(void **state)
{
    (void)state;
    clean_dir();
    put("seed-0", "dir/part.cozad");
    const sv_settings s = settings_of(NULL, 0, small_path("dir"));
    sv_models *m = NULL;
    int changes = 0;
    assert_int_equal(sv_models_open(&s, &m), CZ_OK);
    sv_models_on_change(m, count_change, &changes);
    assert_int_equal(sv_models_unload(m, "part"), CZ_OK);
    assert_int_equal(sv_models_unload(m, "part"), CZ_OK);
    assert_int_equal(changes, 1);
    assert_null(sv_models_get(m, "part", NULL));
    assert_string_equal(state_of(m, "part", "state"), "UNAVAILABLE");
    put("seed-1", "dir/part.cozad"); /* stays unloaded */
    (void)usleep(600000);
    sv_models_poll(m);
    assert_null(sv_models_get(m, "part", NULL));
    assert_int_equal(sv_models_load(m, "part"), CZ_OK);
    assert_int_equal(changes, 2);
    /* Its file goes, and comes back. */
    const sv_model *model = sv_models_get(m, "part", NULL);
    assert_int_equal(remove(small_path("dir/part.cozad")), 0);
    assert_true(wait_for(m, "part", model->serial) == 0);
    assert_string_equal(state_of(m, "part", "state"), "UNAVAILABLE");
    put("seed-1", "dir/part.cozad");
    assert_true(wait_for(m, "part", 0) != 0);
    assert_int_equal(changes, 4);
    sv_model_release(model);
    sv_models_free(m);
}

/* Well-formed, and every number of it is NaN. */
static void not_numbers(void **state)
{
    (void)state;
    clean_dir();
    put("seed-2", "dir/part.cozad");
    const char *file = small_path("dir/part.cozad");
    const sv_settings s = settings_of(&file, 1, NULL);
    sv_models *m = NULL;
    size_t size;
    char *bytes = small_read(file, &size);
    uint64_t header;
    memcpy(&header, bytes, sizeof header);
    assert_true(size > 8 && header < size - 8);
    assert_int_equal(sv_models_open(&s, &m), CZ_OK);
    memset(bytes + 8 + header, 0xff, size - 8 - (size_t)header);
    assert_int_equal(small_write(file, bytes, size), 0);
    assert_int_equal(sv_models_load(m, "part"), CZ_E_MODEL);
    assert_true(sv_models_ready(m));
    sv_models_free(m);
    free(bytes);
}

/* ---- under load ---------------------------------------------------------------------------------------------------- */

typedef struct readers {
    sv_models *models;
    atomic_bool stop;
    atomic_int had, missed;
} readers;

static void *read_on(void *argument)
{
    readers *r = argument;
    while (!atomic_load(&r->stop)) {
        const sv_model *model = sv_models_get(r->models, "part", NULL);
        if (model == NULL) {
            atomic_fetch_add(&r->missed, 1);
        } else if (cz_model_json(model->model)[0] == '{' && strlen(model->version) == 16) {
            atomic_fetch_add(&r->had, 1);
        }
        json_decref(sv_models_index(r->models));
        (void)usleep(200);
        sv_model_release(model);
    }
    return NULL;
}

static void replaced_under_load(void **state)
{
    (void)state;
    clean_dir();
    put("seed-0", "dir/part.cozad");
    const char *file = small_path("dir/part.cozad");
    const sv_settings s = settings_of(&file, 1, NULL);
    readers r = {.models = NULL};
    pthread_t threads[READERS];
    assert_int_equal(sv_models_open(&s, &r.models), CZ_OK);
    for (size_t i = 0; i < READERS; i++) assert_int_equal(pthread_create(&threads[i], NULL, read_on, &r), 0);
    for (int i = 0; i < SWAPS; i++) {
        put(i % 2 == 0 ? "seed-1" : "seed-0", "dir/part.cozad");
        assert_int_equal(sv_models_load(r.models, "part"), CZ_OK);
    }
    assert_int_equal(atomic_load(&r.missed), 0);
    assert_int_equal(sv_models_unload(r.models, "part"), CZ_OK);
    (void)usleep(20000);
    assert_int_equal(sv_models_load(r.models, "part"), CZ_OK);
    atomic_store(&r.stop, true);
    for (size_t i = 0; i < READERS; i++) (void)pthread_join(threads[i], NULL);
    assert_true(atomic_load(&r.had) > 0 && atomic_load(&r.missed) > 0);
    sv_models_free(r.models);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(named_files),    cmocka_unit_test(refused_files), cmocka_unit_test(folder),
        cmocka_unit_test(folder_of_page), cmocka_unit_test(replaced),      cmocka_unit_test(corrupted),
        cmocka_unit_test(unloaded),       cmocka_unit_test(not_numbers),   cmocka_unit_test(replaced_under_load),
    };
    return cmocka_run_group_tests(tests, prepare, finish);
}
