/* SPDX-License-Identifier: Apache-2.0 */
/* Counters and their text, drift, log lines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "events_help.h"

#include <fcntl.h>
#include <pthread.h>

static void metrics_text(void **state)
{
    (void)state;
    sv_events *e = open_events(NULL);
    char *text = metrics(e);
    (void)check_format(text);
    free(text);
    sv_events_answered(e, "score", "POST", "/score", 200, 30.0, 10, 20);
    sv_events_answered(e, "score", "POST", "/score", 200, 5.0, 10, 20);
    sv_events_answered(e, "score", "POST", "/score", 503, 20000.0, 10, 20);
    sv_events_answered(e, "a\"b\\c\nd", "BREW", "/x", 42, (double)NAN, 0, 0);
    sv_events_answered(e, NULL, NULL, NULL, 404, -1.0, 0, 0);
    score(e, "m", "x", -0.3, 0);
    score(e, "m", "x", 1000, 1);
    score(e, "m", "x", 0.02, 1);
    score(e, "m", "x", (double)NAN, -1);
    const sv_outcome failed = {.status = CZ_E_FORMAT}, cancelled = {.status = CZ_E_CANCELLED};
    sv_scored s = {.model = "m", .version = "1", .outcome = &failed};
    sv_events_scored(e, &s);
    s.outcome = &cancelled;
    sv_events_scored(e, &s);
    text = metrics(e);
    (void)check_format(text);
    const struct {
        const char *series;
        double value;
    } expected[] = {
        {"cozad_requests_total{route=\"score\",method=\"POST\",status=\"200\"}", 2},
        {"cozad_requests_total{route=\"score\",method=\"POST\",status=\"503\"}", 1},
        {"cozad_requests_total{route=\"a\\\"b\\\\c\\nd\",method=\"(other)\",status=\"0\"}", 1},
        {"cozad_requests_total{route=\"(other)\",method=\"(other)\",status=\"404\"}", 1},
        {"cozad_request_seconds_bucket{route=\"score\",le=\"0.005\"}", 1},
        {"cozad_request_seconds_bucket{route=\"score\",le=\"0.025\"}", 1},
        {"cozad_request_seconds_bucket{route=\"score\",le=\"0.05\"}", 2},
        {"cozad_request_seconds_bucket{route=\"score\",le=\"10\"}", 2},
        {"cozad_request_seconds_bucket{route=\"score\",le=\"+Inf\"}", 3},
        {"cozad_request_seconds_count{route=\"score\"}", 3},
        {"cozad_score_bucket{model=\"m\",le=\"-0.5\"}", 0},
        {"cozad_score_bucket{model=\"m\",le=\"-0.2\"}", 1},
        {"cozad_score_bucket{model=\"m\",le=\"0.01\"}", 1},
        {"cozad_score_bucket{model=\"m\",le=\"0.02\"}", 2},
        {"cozad_score_bucket{model=\"m\",le=\"100\"}", 2},
        {"cozad_score_bucket{model=\"m\",le=\"+Inf\"}", 3},
        {"cozad_decisions_total{model=\"m\",decision=\"normal\"}", 1},
        {"cozad_decisions_total{model=\"m\",decision=\"anomalous\"}", 2},
        {"cozad_decisions_total{model=\"m\",decision=\"unknown\"}", 1},
        {"cozad_failed_total{model=\"m\"}", 1},
        {"cozad_drift{model=\"m\"}", -1},
        {"cozad_queue_waiting", 3},
        {"cozad_queue_rejected_total", 4},
        {"cozad_queue_expired_total", 5},
        {"cozad_connections", 7},
        {"cozad_models_loaded", 2},
        {"cozad_jobs_running", 1},
        {"cozad_build_info{version=\""
         "0.1.0"
         "\"}",
         1},
    };
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        const double got = value_of(text, expected[i].series);
        if (got != expected[i].value) print_error("%s is %g\n", expected[i].series, got);
        assert_true(got == expected[i].value);
    }
    assert_true(fabs(value_of(text, "cozad_request_seconds_sum{route=\"score\"}") - 20.035) < 1e-9);
    assert_true(fabs(value_of(text, "cozad_score_sum{model=\"m\"}") - 999.72) < 1e-9);
    assert_true(value_of(text, "process_resident_memory_bytes") > 1e6);
    assert_true(value_of(text, "process_cpu_seconds_total") > 0);
    assert_true(value_of(text, "process_open_fds") >= 3);
    free(text);
    sv_events_close(e, 1);
}

static void few_labels(void **state)
{
    (void)state;
    sv_events *e = open_events(NULL);
    for (int i = 0; i < 2000; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "name%d", i);
        sv_events_answered(e, name, i % 2 ? name : "GET", "/", 200 + i % 50, 1, 0, 0);
        score(e, name, "", 1, 0);
    }
    char *text = metrics(e);
    const size_t samples = check_format(text);
    /* 65 routes of 14 lines, 257 models of 30 + 3 + 1 + 1, and at most two methods and 50 states of the 65 routes */
    assert_in_range(samples, 9000, 65 * 14 + 257 * 35 + 65 * 100 + 50);
    assert_true(value_of(text, "cozad_decisions_total{model=\"(other)\",decision=\"normal\"}") == 2000 - 256);
    assert_true(value_of(text, "cozad_decisions_total{model=\"name0\",decision=\"normal\"}") == 1);
    assert_true(value_of(text, "cozad_request_seconds_count{route=\"(other)\"}") == 2000 - 64);
    free(text);
    sv_events_close(e, 1);
}

static void batch_counts(void **state)
{
    (void)state;
    sv_events *e = open_events(NULL);
    for (size_t batch = 1; batch <= 8; batch++)
        for (size_t i = 0; i < 3 * batch; i++) { /* three batches of every size */
            const sv_outcome outcome = {.status = CZ_OK, .batch = batch};
            const sv_scored s = {.model = "m", .version = "1", .outcome = &outcome};
            sv_events_scored(e, &s);
        }
    const sv_outcome large = {.status = CZ_OK, .batch = SIZE_MAX};
    const sv_scored s = {.model = "m", .version = "1", .outcome = &large};
    sv_events_scored(e, &s); /* one image of a batch that is not whole yet */
    char *text = metrics(e);
    (void)check_format(text);
    assert_true(value_of(text, "cozad_batch_size_bucket{le=\"1\"}") == 3);
    assert_true(value_of(text, "cozad_batch_size_bucket{le=\"4\"}") == 12);
    assert_true(value_of(text, "cozad_batch_size_count") == 24);
    assert_true(value_of(text, "cozad_batch_size_sum") == 108);
    free(text);
    sv_events_close(e, 1);
}

enum { THREADS = 8, EACH = 20000 };

static void *hammer(void *ctx)
{
    sv_events *e = ctx;
    for (int i = 0; i < EACH; i++) {
        sv_events_answered(e, "score", "POST", "/score", i % 4 == 0 ? 503 : 200, 7.0, 0, 0);
        score(e, i % 2 ? "a" : "b", "x", 0.25, i % 2);
    }
    return NULL;
}

static void exact_under_threads(void **state)
{
    (void)state;
    sv_events *e = open_events(NULL);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) assert_int_equal(pthread_create(&threads[i], NULL, hammer, e), 0);
    for (int i = 0; i < 20; i++) { /* every text is one moment's */
        char *text = metrics(e);
        (void)check_format(text);
        free(text);
        json_decref(sv_events_history(e, "a", NULL, -2, 0, 10));
    }
    for (int i = 0; i < THREADS; i++) assert_int_equal(pthread_join(threads[i], NULL), 0);
    char *text = metrics(e);
    (void)check_format(text);
    assert_true(value_of(text, "cozad_requests_total{route=\"score\",method=\"POST\",status=\"200\"}") ==
                THREADS * EACH * 3 / 4);
    assert_true(value_of(text, "cozad_requests_total{route=\"score\",method=\"POST\",status=\"503\"}") ==
                THREADS * EACH / 4);
    assert_true(value_of(text, "cozad_request_seconds_count{route=\"score\"}") == THREADS * EACH);
    assert_true(value_of(text, "cozad_decisions_total{model=\"a\",decision=\"anomalous\"}") == THREADS * EACH / 2);
    assert_true(value_of(text, "cozad_decisions_total{model=\"b\",decision=\"normal\"}") == THREADS * EACH / 2);
    assert_true(value_of(text, "cozad_score_sum{model=\"b\"}") == THREADS * EACH / 8);
    assert_true(value_of(text, "cozad_batch_size_count") == THREADS * EACH);
    free(text);
    sv_events_close(e, 1);
}

/* ---- drift --------------------------------------------------------------------------------------------------------- */

enum { PHOTOS = 120, SIDE = 32 };

static cz_status load(void *ctx, size_t index, cz_image *out)
{
    unsigned char *pixels = ctx;
    uint32_t x = (uint32_t)index * 2654435761u + 1;
    for (size_t i = 0; i < SIDE * SIDE; i++) {
        x = x * 1664525u + 1013904223u;
        pixels[i] = (unsigned char)(x >> 24);
    }
    *out = (cz_image){pixels, SIDE, SIDE, SIDE, CZ_GRAY8};
    return CZ_OK;
}

static void drift(void **state)
{
    (void)state;
    unsigned char pixels[SIDE * SIDE];
    cz_backbone *backbone = NULL;
    cz_model *plain = NULL, *calibrated = NULL;
    cz_calibration c;
    cz_calibrate_options options;
    cz_image_source source = CZ_IMAGE_SOURCE_INIT;
    assert_int_equal(cz_backbone_open("random:resnet18:1", &backbone), CZ_OK);
    char path[4096];
    (void)snprintf(path, sizeof path, "%.*sunit/files/model-v1.cozad",
                   (int)(strlen(TEST_FILES) - strlen("server/files")), TEST_FILES);
    assert_int_equal(cz_model_open(path, backbone, &plain), CZ_OK);
    source.count = PHOTOS;
    source.load = load;
    source.ctx = pixels;
    cz_calibrate_options_init(&options);
    options.threads = 1;
    assert_int_equal(cz_calibrate(plain, &source, &options, &calibrated, NULL), CZ_OK);
    assert_true(cz_model_calibration(calibrated, &c));
    sv_events *e = open_events(NULL);
    const sv_model served = {.name = "m", .version = "00112233aabbccdd", .model = calibrated, .calibrated = true};
    const sv_model uncalibrated = {.name = "m", .version = "00112233aabbccdd", .model = plain};
    const sv_model other_version = {.name = "m", .version = "ffff", .model = calibrated, .calibrated = true};
    const sv_model unknown = {.name = "n", .version = "ffff", .model = calibrated, .calibrated = true};
    assert_int_equal(sv_events_drift(e, &served), -1);
    for (size_t i = 0; i < 99; i++) score(e, "m", "", (double)c.scores[i], 0);
    score(e, "m", "", (double)NAN, 0);
    score(e, "m", "", (double)INFINITY, 0);
    assert_int_equal(sv_events_drift(e, &served), -1);
    score(e, "m", "", (double)c.scores[119], 0);
    assert_int_equal(sv_events_drift(e, &served), 0);
    assert_int_equal(sv_events_drift(e, &other_version), -1);
    assert_int_equal(sv_events_drift(e, &unknown), -1);
    for (size_t i = 0; i < 200; i++) score(e, "m", "", (double)c.scores[i % PHOTOS] + 5, 0);
    assert_int_equal(sv_events_drift(e, &uncalibrated), -1);
    score(e, "m", "", (double)c.scores[0] + 5, 0);
    assert_int_equal(sv_events_drift(e, &served), 1);
    assert_int_equal(sv_events_drift(e, &served), 1);
    char *text = metrics(e);
    assert_true(value_of(text, "cozad_drift{model=\"m\"}") == 1);
    free(text);
    for (size_t i = 0; i < 600; i++)
        score(e, "m", "", (double)c.scores[i % PHOTOS], 0); /* the old ones are forgotten */
    assert_int_equal(sv_events_drift(e, &served), 0);
    sv_events_close(e, 1);
    cz_model_close(calibrated);
    cz_model_close(plain);
    cz_backbone_close(backbone);
}

/* ---- log lines ----------------------------------------------------------------------------------------------------- */

static void log_lines(void **state)
{
    (void)state;
    char text[4096];
    sv_events *e = open_events(NULL);
    const int file = open(in_folder("log"), O_RDWR | O_CREAT | O_TRUNC, 0600), keep = dup(STDERR_FILENO);
    assert_true(file >= 0 && keep >= 0);
    (void)fflush(stderr);
    assert_true(dup2(file, STDERR_FILENO) >= 0);
    sv_log_setup(false, SV_INFO);
    sv_events_answered(e, "score", "POST", "/score", 200, 31.24, 1000, 20);
    sv_events_answered(e, "live", "GET", "/v2/health/live", 200, 1, 0, 0);
    sv_events_answered(e, "metrics", "GET", "/metrics", 200, 1, 0, 0);
    sv_events_answered(e, "x", "GET", "/a\nb", 404, 1, 0, 0);
    sv_log_setup(false, SV_ERROR);
    (void)fflush(stderr);
    assert_true(dup2(keep, STDERR_FILENO) >= 0);
    (void)close(keep);
    const ssize_t n = pread(file, text, sizeof text - 1, 0);
    assert_true(n > 0);
    text[n] = '\0';
    (void)close(file);
    size_t lines = 0;
    for (const char *p = text; *p != '\0'; p++) lines += *p == '\n';
    assert_int_equal(lines, 2);
    assert_non_null(strstr(text, "path=/score status=200 ms=31.2 in=1000 out=20"));
    sv_events_close(e, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(metrics_text),        cmocka_unit_test(few_labels), cmocka_unit_test(batch_counts),
        cmocka_unit_test(exact_under_threads), cmocka_unit_test(drift),      cmocka_unit_test(log_lines),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
