/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints: going on from one is the same as never having stopped; damaged and foreign ones are refused whole. */
#include "api/checkpoint.h"
#include "tensor/tensors.h"
#include "util/alloc.h"
#include "util/file.h"
#include "util/rng.h"

#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

enum { WINDOWS = 2, CAPACITY = 40, BURST = 17, STOP = 9, STEPS = 23 };

static const char *const key = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
static char folder[] = "/tmp/cozad-checkpoint-XXXXXX";

/* What a trainer holds. */
typedef struct run {
    cz_head *head;
    cz_adam adam;
    cz_uncertainty uncertainty;
    cz_score_window *windows[WINDOWS];
    cz_checkpoint c;
} run;

static const char *path_of(const char *name)
{
    static char path[2][160];
    static int turn;
    turn = !turn;
    (void)snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    return path[turn];
}

static run start(void)
{
    run r;
    cz_head_config config;
    cz_uncertainty_options options;
    memset(&r, 0, sizeof r);
    cz_head_config_init(&config);
    config.width = 12;
    config.hidden = 8;
    assert_int_equal(cz_head_create("simplenet", &config, &r.head), CZ_OK);
    assert_int_equal(cz_adam_init(r.head->param_count, &r.adam), CZ_OK);
    cz_uncertainty_options_init(&options);
    options.pairs = 4;
    assert_int_equal(cz_uncertainty_init(&r.uncertainty, &options), CZ_OK);
    for (size_t i = 0; i < WINDOWS; i++) assert_int_equal(cz_score_window_create(CAPACITY, &r.windows[i]), CZ_OK);
    r.c.head = r.head;
    r.c.params = calloc(r.head->param_count, sizeof(float));
    r.c.state = calloc(r.head->state_count, sizeof(float));
    r.c.window_count = WINDOWS;
    r.c.key = key;
    cz_head_init(r.head, 3, r.c.params, r.c.state);
    return r;
}

/* Pointers to the run's own objects are set here: a run is returned by value. */
static cz_checkpoint *parts(run *r)
{
    r->c.adam = &r->adam;
    r->c.uncertainty = &r->uncertainty;
    r->c.windows = r->windows;
    return &r->c;
}

static void end(run *r)
{
    cz_head_destroy(r->head);
    cz_adam_free(&r->adam);
    for (size_t i = 0; i < WINDOWS; i++) cz_score_window_destroy(r->windows[i]);
    free(r->c.params);
    free(r->c.state);
}

/* A stand-in for training: every figure kept feeds into the parameters, so that losing one bit anywhere shows. */
static void go_on(run *r, uint64_t until)
{
    const size_t count = r->head->param_count;
    float *grads = calloc(count, sizeof *grads);
    const cz_adam_group group = {0, count, 1e-2, 1e-2, 1};
    for (; r->c.step < until; r->c.step++) {
        cz_rng rng;
        float scores[BURST];
        cz_spread spread;
        const size_t category = (size_t)r->c.step % 3 == 0;
        cz_rng_init(&rng, 5, CZ_RNG_TEST, r->c.step, 0);
        for (size_t i = 0; i < BURST; i++) scores[i] = (float)cz_rng_normal(&rng);
        assert_int_equal(cz_score_window_spread(r->windows[category], scores, BURST, &spread), CZ_OK);
        cz_score_window_push(r->windows[category], scores, BURST, 2);
        assert_int_equal(
            cz_uncertainty_push(&r->uncertainty, 1.0 + 0.1 * cz_rng_normal(&rng), 1.0 + 0.1 * cz_rng_normal(&rng)),
            CZ_OK);
        const double factor = spread.q3 + r->uncertainty.det +
                              (double)cz_score_window_images(r->windows[category]) / 100.0 + r->c.sums[0];
        for (size_t i = 0; i < count; i++) grads[i] = (float)(factor * cz_rng_normal(&rng)) + 0.1f * r->c.params[i];
        cz_adam_step(&r->adam, &group, 1, r->c.params, grads);
        for (size_t i = 0; i < r->head->state_count; i++) r->c.state[i] += 0.01f * (float)spread.median;
        r->c.sums[0] += spread.q1 / 3.0;
    }
    free(grads);
}

static void assert_same(const run *a, const run *b)
{
    const size_t count = a->head->param_count * sizeof(float);
    assert_memory_equal(a->c.params, b->c.params, count);
    assert_memory_equal(a->adam.m, b->adam.m, count);
    assert_memory_equal(a->adam.v, b->adam.v, count);
    assert_memory_equal(a->c.state, b->c.state, a->head->state_count * sizeof(float));
    assert_int_equal(a->adam.step, b->adam.step);
    assert_int_equal(a->c.step, b->c.step);
    assert_memory_equal(a->c.sums, b->c.sums, sizeof a->c.sums);
    assert_int_equal(a->uncertainty.pushed, b->uncertainty.pushed);
    assert_true(a->uncertainty.det == b->uncertainty.det && a->uncertainty.scale[0] == b->uncertainty.scale[0] &&
                a->uncertainty.scale[1] == b->uncertainty.scale[1]);
    for (size_t i = 0; i < a->uncertainty.options.pairs; i++)
        assert_memory_equal(a->uncertainty.pair[i], b->uncertainty.pair[i], sizeof a->uncertainty.pair[i]);
    for (size_t i = 0; i < WINDOWS; i++) {
        float x[CAPACITY], y[CAPACITY];
        const size_t held = cz_score_window_count(a->windows[i]);
        assert_int_equal(held, cz_score_window_count(b->windows[i]));
        assert_int_equal(cz_score_window_images(a->windows[i]), cz_score_window_images(b->windows[i]));
        cz_score_window_values(a->windows[i], x);
        cz_score_window_values(b->windows[i], y);
        assert_memory_equal(x, y, held * sizeof *x);
    }
}

/* Stopped after every step in turn: before the rings are full, while they turn, before and after scales are frozen. */
static void resuming_changes_nothing(void **state)
{
    (void)state;
    run whole = start();
    (void)parts(&whole);
    go_on(&whole, STEPS);
    assert_true(whole.uncertainty.det > 0.0);
    for (uint64_t stop = 0; stop <= STEPS; stop++) {
        run first = start(), second = start();
        (void)parts(&first);
        go_on(&first, stop);
        first.c.sums[3] = nan("");
        first.c.sums[7] = 0x1.fffffffffffffp-1030; /* a denormal of which decimals would lose bits */
        assert_int_equal(cz_checkpoint_save(parts(&first), path_of("run")), CZ_OK);
        go_on(&second, 2); /* what was there is overwritten */
        if (cz_checkpoint_load(parts(&second), path_of("run")) != CZ_OK) fail_msg("%s", cz_last_error());
        assert_same(&first, &second);
        second.c.sums[3] = second.c.sums[7] = 0.0;
        go_on(&second, STEPS);
        assert_same(&whole, &second);
        end(&first);
        end(&second);
    }
    end(&whole);
}

static void optional_parts(void **state)
{
    (void)state;
    run r = start(), other = start();
    go_on(&r, 3);
    cz_checkpoint *c = parts(&r), *d = parts(&other);
    c->uncertainty = NULL;
    c->window_count = 0;
    assert_int_equal(cz_checkpoint_save(c, path_of("plain")), CZ_OK);
    assert_int_equal(cz_checkpoint_load(d, path_of("plain")), CZ_E_MODEL); /* lacks what it wants */
    assert_non_null(strstr(cz_last_error(), "uncertainty.pairs"));
    d->uncertainty = NULL;
    d->window_count = 0;
    assert_int_equal(cz_checkpoint_load(d, path_of("plain")), CZ_OK);
    assert_memory_equal(c->params, d->params, r.head->param_count * sizeof(float));
    c->uncertainty = &r.uncertainty;
    assert_int_equal(cz_checkpoint_save(c, path_of("full")), CZ_OK);
    cz_error_clear();
    assert_int_equal(cz_checkpoint_load(d, path_of("full")), CZ_E_MODEL); /* has what it does not want */
    assert_non_null(strstr(cz_last_error(), "tensors"));
    end(&r);
    end(&other);
}

static void existence(void **state)
{
    (void)state;
    run r = start();
    assert_false(cz_checkpoint_exists(path_of("nothing")));
    assert_false(cz_checkpoint_exists(path_of("nothing/below")));
    assert_int_equal(cz_checkpoint_save(parts(&r), path_of("there")), CZ_OK);
    assert_true(cz_checkpoint_exists(path_of("there")));
    assert_int_equal(cz_checkpoint_load(parts(&r), path_of("nothing")), CZ_E_IO);
    end(&r);
}

/* ---- hostile files ---------------------------------------------------------------------------------------------- */

static void assert_refused(const char *name, const char *reason)
{
    run r = start(), before = start();
    (void)parts(&r);
    (void)parts(&before);
    go_on(&r, 5);
    go_on(&before, 5);
    cz_error_clear();
    const cz_status status = cz_checkpoint_load(parts(&r), path_of(name));
    if (status != CZ_E_MODEL) fail_msg("%s: %s", reason, cz_status_name(status));
    if (strstr(cz_last_error(), name) == NULL || strstr(cz_last_error(), reason) == NULL)
        fail_msg("wanted '%s' of '%s' in: %s", reason, name, cz_last_error());
    assert_same(&before, &r); /* nothing of it was taken */
    end(&r);
    end(&before);
}

/* Copies the good checkpoint but for one tensor (`name`; NULL: none), which `instead` replaces (NULL: left out), and one
 * metadata entry. */
static void forge(const char *name, const cz_tensor_view *instead, const char *meta, const char *value)
{
    cz_tensors *from = NULL, *to = NULL;
    assert_int_equal(cz_safetensors_open(path_of("good"), &from), CZ_OK);
    assert_int_equal(cz_tensors_create(&to), CZ_OK);
    bool met = false;
    for (size_t i = 0; i < cz_tensors_count(from); i++) {
        cz_tensor_view view;
        assert_int_equal(cz_tensors_get(from, i, &view), CZ_OK);
        if (name != NULL && strcmp(view.name, name) == 0) {
            met = true;
            if (instead == NULL) continue;
            view = *instead;
            view.name = name;
        }
        assert_int_equal(cz_tensors_add(to, &view), CZ_OK);
    }
    if (name != NULL && !met) { /* one more */
        cz_tensor_view view = *instead;
        view.name = name;
        assert_int_equal(cz_tensors_add(to, &view), CZ_OK);
    }
    for (size_t i = 0; i < cz_tensors_metadata_count(from); i++) {
        const char *k, *v;
        assert_int_equal(cz_tensors_metadata_at(from, i, &k, &v), CZ_OK);
        assert_int_equal(cz_tensors_set_metadata(to, k, v), CZ_OK);
    }
    if (meta != NULL) assert_int_equal(cz_tensors_set_metadata(to, meta, value), CZ_OK);
    assert_int_equal(cz_tensors_save(to, path_of("forged")), CZ_OK);
    cz_tensors_close(from);
    cz_tensors_close(to);
}

static void forge_floats(const char *name, size_t count, size_t at, float value)
{
    float *values = calloc(count + 1, sizeof *values);
    values[at] = value;
    const cz_tensor_view view = {NULL, CZ_F32, 1, {count}, values, count * sizeof *values};
    forge(name, &view, NULL, NULL);
    free(values);
}

static void forge_longs(const char *name, size_t count, int64_t value)
{
    int64_t values[8];
    for (size_t i = 0; i < 8; i++) values[i] = value;
    const cz_tensor_view view = {NULL, CZ_I64, 1, {count}, values, count * sizeof *values};
    forge(name, &view, NULL, NULL);
}

static void forge_doubles(const char *name, size_t rows, size_t columns, double value)
{
    double values[16];
    for (size_t i = 0; i < 16; i++) values[i] = value;
    cz_tensor_view view = {NULL, CZ_F64, columns > 0 ? 2 : 1, {rows, columns}, values, rows * sizeof *values};
    if (columns > 0) view.bytes *= columns;
    forge(name, &view, NULL, NULL);
}

static void make_good(run *r)
{
    *r = start();
    (void)parts(r);
    go_on(r, STOP);
    assert_int_equal(cz_checkpoint_save(parts(r), path_of("good")), CZ_OK);
}

static void foreign(void **state)
{
    (void)state;
    run r;
    make_good(&r);
    forge(NULL, NULL, "cozad.training", "0000000000000000000000000000000000000000000000000000000000000000");
    assert_refused("forged", "is the checkpoint of another training (other options, photos or weights)");
    forge(NULL, NULL, "cozad.training", "");
    assert_refused("forged", "is the checkpoint of another training");
    forge(NULL, NULL, "cozad.checkpoint", "2");
    assert_refused("forged", "version 2");
    cz_tensors *model = NULL; /* a file of another kind */
    assert_int_equal(cz_tensors_create(&model), CZ_OK);
    assert_int_equal(cz_head_save(r.head, r.c.params, r.c.state, model), CZ_OK);
    assert_int_equal(cz_tensors_save(model, path_of("forged")), CZ_OK);
    cz_tensors_close(model);
    assert_refused("forged", "is not a checkpoint of a training");
    assert_int_equal(cz_file_write_atomic(path_of("forged"), "no checkpoint", 13), CZ_OK);
    assert_refused("forged", "safetensors");
    assert_int_equal(cz_file_write_atomic(path_of("forged"), "", 0), CZ_OK);
    assert_refused("forged", "safetensors");
    end(&r);
}

static void misshapen(void **state)
{
    (void)state;
    run r;
    make_good(&r);
    const size_t params = r.head->param_count;
    forge("adam.m", NULL, NULL, NULL);
    assert_refused("forged", "'adam.m' is missing");
    forge("head.adaptor.weight", NULL, NULL, NULL);
    assert_refused("forged", "head.adaptor.weight");
    forge_floats("adam.v", params - 1, 0, 0.0f);
    assert_refused("forged", "'adam.v' has the wrong shape");
    forge_floats("adam.v", params, 7, -1e-3f);
    assert_refused("forged", "'adam.v' holds a value below 0");
    forge_floats("adam.m", params, params - 1, NAN);
    assert_refused("forged", "'adam.m' holds a value that is not finite");
    forge_floats("window.0", CAPACITY + 1, 0, 0.0f);
    assert_refused("forged", "'window.0' is not a list of at most 40");
    forge_floats("window.1", CAPACITY, 3, INFINITY);
    assert_refused("forged", "'window.1' holds a value that is not finite");
    forge_floats("window.2", 1, 0, 0.0f); /* nobody asked for it */
    assert_refused("forged", "tensors where this training has");
    forge_longs("window.0", 4, 1);
    assert_refused("forged", "'window.0' is I64, expected F32");
    forge_longs("window.images", WINDOWS + 1, 1);
    assert_refused("forged", "'window.images' has the wrong shape");
    forge_longs("window.images", WINDOWS, -1);
    assert_refused("forged", "'window.images' is out of range");
    forge_longs("progress.counters", 2, -1);
    assert_refused("forged", "'progress.counters' holds a value below 0");
    forge_longs("progress.counters", 1, 1);
    assert_refused("forged", "'progress.counters' has the wrong shape");
    forge_doubles("progress.sums", 7, 0, 0.0);
    assert_refused("forged", "'progress.sums' has the wrong shape");
    forge_doubles("uncertainty.pairs", 5, 2, 1.0); /* a ring larger than its n */
    assert_refused("forged", "'uncertainty.pairs' has the wrong shape");
    forge_doubles("uncertainty.pairs", 4, 2, (double)NAN);
    assert_refused("forged", "'uncertainty.pairs' holds a value that is not finite");
    forge_doubles("uncertainty.pairs", 8, 0, 1.0);
    assert_refused("forged", "'uncertainty.pairs' has the wrong shape");
    forge_doubles("uncertainty.scale", 3, 0, 101.0); /* det over its maximum */
    assert_refused("forged", "out of range");
    forge_doubles("uncertainty.scale", 3, 0, -1.0);
    assert_refused("forged", "out of range");
    forge_longs("uncertainty.pushed", 1, -5);
    assert_refused("forged", "out of range");
    end(&r);
}

/* NaN in a parameter of the file; and a state that no training leaves behind (a variance below 0). */
static void bad_parameters(void **state)
{
    (void)state;
    run r;
    make_good(&r);
    const cz_head_view *weight = cz_head_param(r.head, "adaptor.weight");
    float *values = calloc(weight->count, sizeof *values);
    values[5] = NAN;
    cz_tensor_view view = {
        NULL, CZ_F32, 2, {weight->shape[0], weight->shape[1]}, values, weight->count * sizeof(float)};
    forge("head.adaptor.weight", &view, NULL, NULL);
    assert_refused("forged", "'head.adaptor.weight' holds a value that is not finite");
    view.rank = 1;
    view.shape[0] = weight->count;
    forge("head.adaptor.weight", &view, NULL, NULL);
    assert_refused("forged", "'head.adaptor.weight' has the wrong shape");
    for (size_t i = 0; i < 8; i++) values[i] = -1.0f;
    view = (cz_tensor_view){NULL, CZ_F32, 1, {8}, values, 8 * sizeof *values};
    forge("state.norm.var", &view, NULL, NULL);
    assert_refused("forged", "forged");
    free(values);
    /* A run that has diverged does not replace the good one. */
    r.c.params[3] = NAN;
    cz_error_clear();
    assert_int_equal(cz_checkpoint_save(parts(&r), path_of("good")), CZ_E_DIVERGED);
    run back = start();
    assert_int_equal(cz_checkpoint_load(parts(&back), path_of("good")), CZ_OK);
    assert_int_equal(back.c.step, STOP);
    end(&back);
    end(&r);
}

/* Cut anywhere: within the length, the header, the tensors. */
static void truncated(void **state)
{
    (void)state;
    run r;
    uint8_t *bytes = NULL;
    size_t size = 0;
    make_good(&r);
    assert_int_equal(cz_file_read(path_of("good"), 1 << 24, &bytes, &size), CZ_OK);
    for (size_t cut = 1; cut < size; cut = cut * 3 / 2 + 1) {
        cz_error_clear();
        assert_int_equal(cz_file_write_atomic(path_of("forged"), bytes, size - cut), CZ_OK);
        assert_refused("forged", "");
    }
    cz_free(bytes);
    end(&r);
}

static void full_disk(void **state)
{
    (void)state;
    run r;
    struct rlimit before, small;
    make_good(&r);
    go_on(&r, STOP + 2);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 3000;
    void (*const handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    cz_error_clear();
    const cz_status status = cz_checkpoint_save(parts(&r), path_of("good"));
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    (void)signal(SIGXFSZ, handler);
    assert_true(status == CZ_E_IO || status == CZ_E_NO_SPACE);
    assert_non_null(strstr(cz_last_error(), "good"));
    char command[200]; /* the temporary file is gone */
    (void)snprintf(command, sizeof command, "test -z \"$(find '%s' -name '*.tmp')\"", folder);
    assert_int_equal(system(command), 0);
    run back = start(); /* and the old checkpoint is whole */
    assert_int_equal(cz_checkpoint_load(parts(&back), path_of("good")), CZ_OK);
    assert_int_equal(back.c.step, STOP);
    go_on(&back, STOP + 2);
    assert_same(&r, &back);
    end(&back);
    cz_error_clear();
    assert_int_equal(cz_checkpoint_save(parts(&r), path_of("no/such/folder")), CZ_E_IO);
    end(&r);
}

/* Every allocation in turn fails: an error, the run as it was, the old file whole. */
static void out_of_memory(void **state)
{
    (void)state;
    run r, other = start(), before = start();
    make_good(&r);
    (void)parts(&other);
    (void)parts(&before);
    for (unsigned long n = 1;; n++) {
        cz_alloc_fail_after(n);
        const cz_status status = cz_checkpoint_load(parts(&other), path_of("good"));
        cz_alloc_fail_after(0);
        if (status == CZ_OK) break;
        assert_int_equal(status, CZ_E_MEMORY);
        assert_same(&before, &other);
        cz_error_clear();
    }
    assert_same(&r, &other);
    go_on(&other, STOP + 1);
    for (unsigned long n = 1;; n++) {
        cz_alloc_fail_after(n);
        const cz_status status = cz_checkpoint_save(parts(&other), path_of("good"));
        cz_alloc_fail_after(0);
        if (status == CZ_OK) break;
        assert_int_equal(status, CZ_E_MEMORY);
        cz_error_clear();
        assert_int_equal(cz_checkpoint_load(parts(&before), path_of("good")), CZ_OK);
        assert_same(&r, &before);
    }
    end(&r);
    end(&other);
    end(&before);
}

static int set_up(void **state)
{
    (void)state;
    return mkdtemp(folder) == NULL ? -1 : 0;
}

static int tear_down(void **state)
{
    (void)state;
    char command[160];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resuming_changes_nothing),
        cmocka_unit_test(optional_parts),
        cmocka_unit_test(existence),
        cmocka_unit_test(foreign),
        cmocka_unit_test(misshapen),
        cmocka_unit_test(bad_parameters),
        cmocka_unit_test(truncated),
        cmocka_unit_test(full_disk),
        cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests_name("checkpoint", tests, set_up, tear_down);
}
