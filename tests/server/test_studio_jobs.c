/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs of the studio: from queued to done, failed and cancelled, across restarts; decisions, calibration, activation. */
#include "studio_fixture.h"

/* ---- jobs ----------------------------------------------------------------------------------------------------------- */

static studio_reply order(fixture *f, const char *text)
{
    json_t *body = json_loads(text, 0, NULL);
    assert_non_null(body);
    const studio_reply reply = studio_job_create(f->s, body);
    json_decref(body);
    return reply;
}

static void train(fixture *f, const char *text, char id[SV_NAME])
{
    studio_reply reply = order(f, text);
    assert_int_equal(reply.status, 201);
    assert_string_equal(json_string_value(json_object_get(reply.json, "state")), "queued");
    (void)snprintf(id, SV_NAME, "%s", json_string_value(json_object_get(reply.json, "id")));
    studio_reply_free(&reply);
}

/* Waits until `key` of the job is `value`; the job, to be freed. */
static json_t *await(fixture *f, const char *id, const char *key, const char *value)
{
    const double begin = sv_now();
    for (;;) {
        studio_reply reply = studio_job_get(f->s, id);
        assert_int_equal(reply.status, 200);
        const char *now = json_string_value(json_object_get(reply.json, key));
        if (now != NULL && strcmp(now, value) == 0) return reply.json;
        if (sv_now() - begin > 30.0) {
            char *text = json_dumps(reply.json, 0);
            fail_msg("waited for %s %s: %s", key, value, text);
        }
        studio_reply_free(&reply);
        nap(0.05);
    }
}

static const char *text_of(const json_t *job, const char *key)
{
    const char *text = json_string_value(json_object_get(job, key));
    return text != NULL ? text : "";
}

static bool commands_have(const fixture *f, const char *words)
{
    char path[120], *text = NULL;
    size_t size = 0;
    (void)snprintf(path, sizeof path, "%s/commands.txt", f->state);
    if (studio_read(path, 1 << 20, &text, &size) != CZ_OK) return false;
    const bool found = strstr(text, words) != NULL;
    free(text);
    return found;
}

/* What a training that goes well writes. */
#define LINE_START "echo '{\"event\":\"start\"}' >>$log\n"
#define LINE_STEP(n)                                                                                                   \
    "echo '{\"event\":\"step\",\"epoch\":0,\"step\":" #n ",\"steps\":4,\"loss\":0.5,\"seconds_left\":7.5}' >>$log\n"
#define WELL                                                                                                           \
    LINE_START LINE_STEP(0) LINE_STEP(3) "echo model >$model\necho '{\"model\":\"x\",\"images\":3,\"failed\":1}'\n"

static void test_job(void **state)
{
    fixture *f = *state;
    char id[SV_NAME];
    script(f, WELL "exit 3");
    assert_int_equal(done(order(f, "{\"dataset\":\"none\"}")), 404);
    make_set(f, "empty", 0);
    assert_int_equal(done(order(f, "{\"dataset\":\"empty\"}")), 409);
    make_set(f, "set", 4);
    train(f, "{\"dataset\":\"set\",\"name\":\"part\",\"epochs\":2,\"method\":\"flow\"}", id);
    json_t *job = await(f, id, "state", "done");
    assert_int_equal(json_integer_value(json_object_get(job, "photos")), 3);
    assert_int_equal(json_integer_value(json_object_get(job, "failed_photos")), 1);
    assert_int_equal(json_integer_value(json_object_get(job, "steps")), 4);
    assert_true(json_real_value(json_object_get(job, "progress")) == 1.0);
    assert_true(json_real_value(json_object_get(job, "loss")) == 0.5);
    assert_string_equal(text_of(job, "method"), "flow");
    json_decref(job);
    assert_true(commands_have(f, "train --normal datasets/set/photos -o jobs/"));
    assert_true(commands_have(f, "--resume --checkpoint-every 20"));
    assert_true(commands_have(f, "--epochs 2"));
    for (int i = 0; i < 100 && sv_studio_running(f->s) > 0; i++) nap(0.05);
    assert_int_equal(f->limits, 2);
    assert_true(f->share == 1.0);
    assert_int_equal(done(studio_job_get(f->s, "../x")), 404);
    /* This "model" is none: nothing is replaced by it. */
    json_t *as = json_pack("{s:s}", "as", "live");
    assert_int_equal(done(studio_job_activate(f->s, id, as)), 500);
    json_decref(as);
    assert_false(there(f, "models/live.cozad"));
    assert_int_equal(f->loads, 0);
    reopen(f);
    job = await(f, id, "state", "done");
    assert_int_equal(json_integer_value(json_object_get(job, "photos")), 3);
    json_decref(job);
    assert_int_equal(done(studio_job_delete(f->s, id)), 200);
    assert_int_equal(done(studio_job_get(f->s, id)), 404);
    assert_int_equal(done(studio_dataset_delete(f->s, "set")), 200);
}

/* Phases without steps, before them and after them, each until the test has seen it. */
static void test_phases(void **state)
{
#define WAITS(name)              "while ! [ -f " #name " ]; do sleep 0.02; done\n"
#define PHASE(name, done, total) "echo '{\"event\":\"" #name "\",\"done\":" #done ",\"total\":" #total "}' >>$log\n"
    static const struct {
        const char *phase, *next;
        double progress;
    } seen[] = {{"features", "a", 0.25},  {"features", "b", 1.0},       {"training", "c", 0.5},
                {"comparing", "d", 0.75}, {"confidence", "e", 1.0 / 3}, {"save", "f", 1.0}};
    fixture *f = *state;
    char id[SV_NAME], path[300];
    make_set(f, "set", 2);
    script(f,
           LINE_START PHASE(features, 1, 4) WAITS(a) PHASE(features, 4, 4) WAITS(b) LINE_STEP(1) WAITS(c) LINE_STEP(3)
               PHASE(comparing, 3, 4) PHASE(comparing, 9, 4) PHASE(other, 1, 4) PHASE(comparing, -1, 4) WAITS(d)
                   PHASE(confidence, 1, 3) WAITS(e) PHASE(confidence, 3, 3) WAITS(f) "echo model >$model\nexit 0");
    train(f, "{\"dataset\":\"set\"}", id);
    for (size_t i = 0; i < sizeof seen / sizeof *seen; i++) {
        json_t *job = NULL;
        double progress = -1.0;
        for (int j = 0; j < 200 && progress != seen[i].progress; j++) {
            json_decref(job);
            job = await(f, id, "phase", seen[i].phase);
            progress = json_real_value(json_object_get(job, "progress"));
            if (progress != seen[i].progress) nap(0.05);
        }
        assert_true(progress == seen[i].progress);
        assert_int_equal(json_is_null(json_object_get(job, "eta_seconds")), strcmp(seen[i].phase, "training") != 0);
        json_decref(job);
        (void)snprintf(path, sizeof path, "%s/%s", f->state, seen[i].next);
        put_file(path, "");
    }
    json_decref(await(f, id, "state", "done"));
}

static void test_job_fails(void **state)
{
    fixture *f = *state;
    char id[SV_NAME];
    make_set(f, "set", 2);
    script(f, "echo 'cozad: a first note' >&2\nhead -c 100000 /dev/zero >&2\necho >&2\n"
              "echo 'cozad: the weights are not there' >&2\nexit 4");
    train(f, "{\"dataset\":\"set\"}", id);
    json_t *job = await(f, id, "state", "failed");
    assert_string_equal(text_of(job, "message"), "the weights are not there");
    json_decref(job);
    script(f, "kill -9 $$");
    train(f, "{\"dataset\":\"set\"}", id);
    job = await(f, id, "state", "failed");
    assert_non_null(strstr(text_of(job, "message"), "signal 9"));
    json_decref(job);
    script(f, "exit 0"); /* all is well, but there is no model */
    train(f, "{\"dataset\":\"set\"}", id);
    job = await(f, id, "state", "failed");
    assert_string_equal(text_of(job, "message"), "the process wrote no model");
    json_decref(job);
    assert_int_equal(unlink(f->binary), 0);
    train(f, "{\"dataset\":\"set\"}", id);
    job = await(f, id, "state", "failed");
    assert_string_equal(text_of(job, "message"), "the program that trains cannot be run");
    json_decref(job);
    /* A line of the log that is no line of a log, and one that is too long, are passed over. */
    script(f, "echo '{\"event\":\"step\",\"step\":9,\"steps\":4}' >>$log\nhead -c 600000 /dev/zero | tr '\\0' x "
              ">>$log\necho >>$log\n"
              "echo '[1' >>$log\n" WELL "exit 0");
    train(f, "{\"dataset\":\"set\"}", id);
    job = await(f, id, "state", "done");
    assert_int_equal(json_integer_value(json_object_get(job, "step")), 4);
    json_decref(job);
}

/* A script that writes a checkpoint when it is told to end, like cozad. */
#define PATIENT                                                                                                        \
    LINE_START LINE_STEP(1) "trap 'echo kept >$model.checkpoint; exit 130' INT\nwhile :; do sleep 0.05; done\n"

static void test_cancel(void **state)
{
    fixture *f = *state;
    char id[SV_NAME], second[SV_NAME], third[SV_NAME];
    make_set(f, "set", 2);
    script(f, PATIENT);
    train(f, "{\"dataset\":\"set\"}", id);
    train(f, "{\"dataset\":\"set\"}", second);
    json_decref(await(f, id, "phase", "training"));
    assert_int_equal(sv_studio_running(f->s), 1);
    assert_true(f->share == 0.5);
    /* One at a time; what is learnt from stays as it is. */
    json_decref(await(f, second, "state", "queued"));
    assert_int_equal(upload(f, "set", "new.png", 50), 409);
    assert_int_equal(done(studio_photo_delete(f->s, "set", "p0.png")), 409);
    assert_int_equal(done(studio_dataset_delete(f->s, "set")), 409);
    json_t *job = await(f, id, "state", "running");
    assert_true(json_real_value(json_object_get(job, "progress")) == 0.5);
    assert_true(json_real_value(json_object_get(job, "eta_seconds")) == 7.5);
    json_decref(job);
    assert_int_equal(done(studio_job_delete(f->s, second)), 200);
    json_decref(await(f, second, "state", "cancelled"));
    assert_int_equal(done(studio_job_delete(f->s, id)), 202);
    json_decref(await(f, id, "state", "cancelled"));
    char path[200];
    (void)snprintf(path, sizeof path, "jobs/%s/model.cozad.checkpoint", id);
    assert_true(there(f, path));
    /* One that does not listen is killed. */
    script(f, LINE_START LINE_STEP(1) "trap '' INT\nwhile :; do sleep 0.05; done\n");
    train(f, "{\"dataset\":\"set\"}", third);
    json_decref(await(f, third, "phase", "training"));
    assert_int_equal(done(studio_job_delete(f->s, third)), 202);
    json_decref(await(f, third, "state", "cancelled"));
}

static void test_resume(void **state)
{
    fixture *f = *state;
    char id[SV_NAME], path[300];
    make_set(f, "set", 2);
    script(f, PATIENT);
    train(f, "{\"dataset\":\"set\"}", id);
    json_decref(await(f, id, "phase", "training"));
    sv_studio_close(f->s);
    (void)snprintf(path, sizeof path, "jobs/%s/model.cozad.checkpoint", id);
    assert_true(there(f, path));
    script(f, "[ -f $model.checkpoint ] || exit 1\n" WELL "rm $model.checkpoint\nexit 0");
    open_studio(f);
    json_decref(await(f, id, "state", "done"));
    sv_studio_close(f->s);
    /* Killed while the model was there already: it is done. */
    char *text = NULL;
    size_t size;
    (void)snprintf(path, sizeof path, "%s/jobs/%s/job.json", f->state, id);
    assert_int_equal(studio_read(path, 1 << 20, &text, &size), CZ_OK);
    char *at = strstr(text, "\"state\":\"done\"");
    assert_non_null(at);
    json_t *job = json_loads(text, 0, NULL);
    assert_int_equal(json_object_set_new(job, "state", json_string("running")), 0);
    assert_int_equal(studio_write_json(path, job), CZ_OK);
    json_decref(job);
    free(text);
    script(f, "exit 1");
    open_studio(f);
    json_decref(await(f, id, "state", "done"));
    sv_studio_close(f->s);
    /* A checkpoint that does not fit is given up for a new start. */
    script(f, PATIENT);
    open_studio(f);
    train(f, "{\"dataset\":\"set\"}", id);
    json_decref(await(f, id, "phase", "training"));
    sv_studio_close(f->s);
    script(f, "if [ -f $model.checkpoint ]; then echo 'cozad: does not fit' >&2; exit 4; fi\n" WELL "exit 0");
    open_studio(f);
    json_decref(await(f, id, "state", "done"));
    /* A state file that is damaged takes nothing else along. */
    sv_studio_close(f->s);
    (void)snprintf(path, sizeof path, "%s/jobs/%s/job.json", f->state, id);
    put_file(path, "{\"id\":");
    open_studio(f);
    assert_int_equal(done(studio_job_get(f->s, id)), 404);
    assert_int_equal(json_array_size(json_object_get((job = studio_job_list(f->s).json), "jobs")), 1);
    json_decref(job);
}

static void test_queue(void **state)
{
    fixture *f = *state;
    char id[SV_NAME], other[SV_NAME];
    make_set(f, "set", 1);
    script(f, PATIENT);
    train(f, "{\"dataset\":\"set\"}", id);
    json_decref(await(f, id, "state", "running"));
    for (int i = 0; i < STUDIO_QUEUED; i++) train(f, "{\"dataset\":\"set\"}", other);
    assert_int_equal(done(order(f, "{\"dataset\":\"set\"}")), 409);
}

/* ---- decisions and calibration -------------------------------------------------------------------------------------- */

static void test_exclude(void **state)
{
    fixture *f = *state;
    char id[SV_NAME], path[300], *text = NULL;
    size_t size = 0;
    make_set(f, "set", 4);
    script(f, WELL "[ -z \"$exclude\" ] || cp $exclude seen.csv\nexit 0");
    train(f, "{\"dataset\":\"set\"}", id);
    json_decref(await(f, id, "state", "done"));
    assert_false(there(f, "seen.csv"));
    json_t *body = json_pack("{s:[s, s]}", "photos", "p1.png", "../p2.png");
    assert_int_equal(done(studio_exclude(f->s, id, body)), 400);
    json_decref(body);
    body = json_pack("{s:[s]}", "photos", "p1.png");
    assert_int_equal(done(studio_exclude(f->s, "none", body)), 404);
    assert_int_equal(done(studio_exclude(f->s, id, body)), 200);
    json_decref(body);
    reopen(f);
    assert_int_equal(number_of(studio_dataset_get(f->s, "set", 0, 0), "excluded"), 1);
    train(f, "{\"dataset\":\"set\"}", id);
    json_decref(await(f, id, "state", "done"));
    (void)snprintf(path, sizeof path, "%s/seen.csv", f->state);
    assert_int_equal(studio_read(path, 10000, &text, &size), CZ_OK);
    assert_non_null(strstr(text, "path,decision,sha256\ndatasets/set/photos/p1.png,exclude,"));
    assert_null(strstr(text, "p2.png"));
    free(text);
    /* Calibrating with the same photos: without those that are excluded, and nothing promised. */
    script(
        f,
        "ls -d */*/photos >listed.txt\nls jobs/*/photos >listed.txt\necho model >$model\n"
        "echo '{\"model\":\"x\",\"images\":3,\"skipped\":0,\"threshold\":0.25,\"trained_on\":3,\"promise\":0.1}'\nexit "
        "0");
    body = json_pack("{s:f}", "alpha", 0.05);
    studio_reply reply = studio_job_calibrate(f->s, id, body);
    json_decref(body);
    assert_int_equal(reply.status, 201);
    assert_string_equal(text_of(reply.json, "kind"), "calibrate");
    assert_string_equal(text_of(reply.json, "source"), id);
    char calibration[SV_NAME];
    (void)snprintf(calibration, sizeof calibration, "%s", text_of(reply.json, "id"));
    studio_reply_free(&reply);
    json_t *job = await(f, calibration, "state", "done");
    assert_true(json_real_value(json_object_get(json_object_get(job, "result"), "threshold")) == 0.25);
    assert_true(json_is_null(json_object_get(json_object_get(job, "result"), "promise")));
    json_decref(job);
    assert_true(commands_have(f, "--allow-training-photos --fpr 0.05"));
    (void)snprintf(path, sizeof path, "%s/listed.txt", f->state);
    assert_int_equal(studio_read(path, 10000, &text, &size), CZ_OK);
    assert_null(strstr(text, "p1.png"));
    assert_non_null(strstr(text, "p2.png"));
    free(text);
    job = await(f, id, "calibration", calibration);
    json_decref(job);
    /* With photos of another data set the promise holds. */
    make_set(f, "held-out", 2);
    body = json_pack("{s:s}", "dataset", "held-out");
    assert_int_equal(done(studio_job_calibrate(f->s, id, body)), 201);
    json_decref(body);
    for (int i = 0; i < 200 && !commands_have(f, "--normal datasets/held-out/photos --fpr 0.01"); i++) nap(0.05);
    assert_true(commands_have(f, "--normal datasets/held-out/photos --fpr 0.01"));
    body = json_pack("{s:f}", "alpha", 0.9);
    assert_int_equal(done(studio_job_calibrate(f->s, id, body)), 400);
    json_decref(body);
}

/* ---- activation ----------------------------------------------------------------------------------------------------- */

/* A model file that is kept for ever: this file's own path leads to it. */
static void model_path(char out[400])
{
    (void)snprintf(out, 400, "%.300s", __FILE__);
    char *slash = strrchr(out, '/');
    assert_non_null(slash);
    (void)snprintf(slash, 80, "/../unit/files/model-v1.cozad");
}

static void test_activate(void **state)
{
    fixture *f = *state;
    char id[SV_NAME], model[400], body[600];
    const char *given[] = {"somewhere/taken.cozad"};
    model_path(model);
    (void)snprintf(body, sizeof body, LINE_START "cp '%s' $model\nexit 0", model);
    make_set(f, "set", 2);
    script(f, body);
    train(f, "{\"dataset\":\"set\",\"name\":\"part\"}", id);
    json_decref(await(f, id, "state", "done"));
    f->settings.models = given;
    f->settings.model_count = 1;
    static const struct {
        const char *body;
        int status;
    } cases[] = {{"{\"as\":\"../x\"}", 400},
                 {"{\"as\":\"taken\"}", 409},
                 {"{\"as\":1}", 400},
                 {"{\"as\":\"x\",\"to\":\"y\"}", 400},
                 {"{\"as\":\"a\\u0000b\"}", 400}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *as = json_loads(cases[i].body, JSON_ALLOW_NUL, NULL);
        assert_non_null(as);
        assert_int_equal(done(studio_job_activate(f->s, id, as)), cases[i].status);
        json_decref(as);
    }
    assert_int_equal(f->loads, 0);
    json_t *as = json_object();
    assert_int_equal(done(studio_job_activate(f->s, "none", as)), 404);
    assert_int_equal(done(studio_job_activate(f->s, id, as)), 200);
    json_decref(as);
    assert_true(there(f, "models/part.cozad"));
    assert_int_equal(f->loads, 1);
    assert_string_equal(f->loaded, "part");
    json_decref(await(f, id, "activated", "part"));
    studio_reply reply = studio_job_distrusted(f->s, id);
    assert_int_equal(reply.status, 200);
    assert_int_equal(json_array_size(json_object_get(reply.json, "photos")), 0);
    assert_non_null(json_object_get(reply.json, "reason"));
    studio_reply_free(&reply);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_job, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_phases, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_job_fails, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_cancel, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_resume, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_queue, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_exclude, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_activate, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("studio_jobs", tests, NULL, NULL);
}
