/* SPDX-License-Identifier: Apache-2.0 */
/* Sinks against a file that moves, a disk that is full, a server that fails, is slow or is dead, and a real MQTT broker. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "events_help.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

extern char **environ;

static sv_event event_named(const char *name, int decision)
{
    sv_event e = {.wall = sv_wall(), .score = 0.5, .p_value = 0.25, .threshold = 1, .decision = decision};
    sv_text_copy(e.model, sizeof e.model, "screw");
    sv_text_copy(e.name, sizeof e.name, name);
    return e;
}

static void push_many(sv_sink *sink, int from, int to)
{
    for (int i = from; i < to; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "n%d", i);
        const sv_event e = event_named(name, i % 2);
        sv_sink_push(sink, &e);
    }
}

static void stop(sv_sink *sink, double seconds)
{
    sv_sink_end(sink, seconds);
    sv_sink_join(sink);
}

static void nap(double seconds)
{
    (void)usleep((useconds_t)(seconds * 1e6));
}

/* ---- JSON Lines ---------------------------------------------------------------------------------------------------- */

/* Lines of a file, each a whole result; marks the numbers of their names. -1: there is no file. */
static int read_lines(const char *path, unsigned char *seen, size_t count)
{
    char line[SV_LINE];
    int lines = 0;
    FILE *f = fopen(path, "r");
    if (f == NULL) return -1;
    while (fgets(line, sizeof line, f) != NULL) {
        assert_true(strchr(line, '\n') != NULL);
        json_t *json = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
        assert_non_null(json);
        assert_string_equal(json_string_value(json_object_get(json, "model")), "screw");
        const size_t number = strtoul(json_string_value(json_object_get(json, "name")) + 1, NULL, 10);
        assert_true(number < count && seen[number] == 0);
        seen[number] = 1;
        json_decref(json);
        lines++;
    }
    assert_int_equal(fclose(f), 0);
    return lines;
}

static void moved_file(void **state)
{
    (void)state;
    unsigned char seen[3000] = {0};
    sv_sink *sink = NULL;
    const char *path = in_folder("results.jsonl"), *moved = in_folder("results.1");
    assert_int_equal(sv_jsonl_open(path, &sink), CZ_OK);
    push_many(sink, 0, 900);
    sv_sink_flush(sink, 10);
    assert_int_equal(read_lines(path, seen, 3000), 900);
    assert_int_equal(rename(path, moved), 0);
    nap(2.3); /* an idle sink looks about every second */
    push_many(sink, 900, 1800);
    sv_sink_flush(sink, 10);
    assert_int_equal(read_lines(path, seen, 3000), 900);
    assert_int_equal(unlink(path), 0);
    nap(1.1); /* a busy one looks when it writes */
    push_many(sink, 1800, 2700);
    sv_sink_flush(sink, 10);
    assert_int_equal(sv_sink_lost(sink), 0);
    stop(sink, 5);
    memset(seen, 0, sizeof seen);
    assert_int_equal(read_lines(moved, seen, 3000), 900);
    assert_int_equal(read_lines(path, seen, 3000), 900);
    assert_int_equal(sv_jsonl_open(path, &sink), CZ_OK); /* goes on at the end */
    push_many(sink, 0, 1);
    stop(sink, 5);
    memset(seen, 0, sizeof seen);
    assert_int_equal(read_lines(path, seen, 3000), 901);
}

static void full_disk(void **state)
{
    (void)state;
    unsigned char seen[600] = {0};
    struct rlimit before, small;
    sv_sink *sink = NULL;
    const char *path = in_folder("full.jsonl");
    assert_int_equal(sv_jsonl_open(path, &sink), CZ_OK);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 10001; /* in the middle of a line */
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    push_many(sink, 0, 500);
    sv_sink_flush(sink, 10);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    const uint64_t lost = sv_sink_lost(sink);
    assert_true(lost > 0 && lost < 500);
    push_many(sink, 500, 600);
    sv_sink_flush(sink, 10);
    assert_int_equal(sv_sink_lost(sink), lost);
    stop(sink, 5);
    assert_int_equal(read_lines(path, seen, 600), 600 - (int)lost); /* whole lines only */
    assert_int_equal(sv_jsonl_open("/dev/full", &sink), CZ_OK);
    push_many(sink, 0, 10);
    sv_sink_flush(sink, 10);
    assert_int_equal(sv_sink_lost(sink), 10);
    stop(sink, 1);
    assert_int_not_equal(sv_jsonl_open(folder, &sink), CZ_OK);
    assert_int_not_equal(sv_jsonl_open(in_folder("none/x"), &sink), CZ_OK);
}

/* In a process of its own, whose standard output nobody reads: 0 if that holds nothing up. */
static int stalled_child(void)
{
    sv_settings settings;
    sv_events *e = NULL;
    int ends[2];
    if (pipe(ends) != 0 || dup2(ends[1], STDOUT_FILENO) < 0) return 1;
    sv_settings_init(&settings);
    settings.results = "-";
    if (sv_events_open(&settings, &e) != CZ_OK) return 2;
    double start = sv_now();
    for (int i = 0; i < 5000; i++) score(e, "m", "x", 1, 0);
    if (sv_now() - start > 2) return 3;
    char *text = sv_events_metrics(e, NULL, 0, 0, 0);
    const bool lost = text != NULL && value_of(text, "cozad_sink_lost_total{sink=\"jsonl\"}") > 0;
    free(text);
    start = sv_now();
    sv_events_close(e, 0.5);
    return !lost ? 4 : sv_now() - start > 3 ? 5 : 0;
}

static void stalled_stdout(void **state)
{
    (void)state;
    int status = 0;
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) _exit(stalled_child());
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* ---- webhook ------------------------------------------------------------------------------------------------------- */

typedef enum manner { GOOD, FAIL_TWICE, REFUSE, REDIRECT, SILENT, CHATTY } manner;

/* A server that answers one request after the other. */
typedef struct server {
    int socket;
    unsigned port;
    pthread_t thread;
    _Atomic manner manner;
    atomic_int requests, good;
    atomic_bool end;
    char last[8192];
} server;

static int listen_on(unsigned *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)*port)};
    socklen_t size = sizeof address;
    const int one = 1, s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_true(s >= 0);
    assert_int_equal(setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one), 0);
    assert_int_equal(bind(s, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(s, 64), 0);
    assert_int_equal(getsockname(s, (struct sockaddr *)&address, &size), 0);
    *port = ntohs(address.sin_port);
    return s;
}

/* Reads a request with its body into s->last. */
static bool read_request(server *s, int c)
{
    size_t used = 0, needed = sizeof s->last - 1;
    while (used < needed) {
        const ssize_t n = recv(c, s->last + used, needed - used, 0);
        if (n <= 0) return false;
        used += (size_t)n;
        s->last[used] = '\0';
        const char *end = strstr(s->last, "\r\n\r\n"), *length = strcasestr(s->last, "content-length:");
        if (end != NULL && length != NULL) needed = (size_t)(end + 4 - s->last) + strtoul(length + 15, NULL, 10);
    }
    return true;
}

static void answer(server *s, int c)
{
    char text[256];
    const int number = atomic_fetch_add(&s->requests, 1);
    const manner how = s->manner;
    if (how == SILENT) { /* until the client has enough */
        struct pollfd p = {.fd = c, .events = POLLIN};
        while (!s->end && poll(&p, 1, 100) == 0) continue;
        return;
    }
    const char *line = how == REDIRECT                   ? "302 Found\r\nLocation: file:///etc/passwd"
                       : how == REFUSE                   ? "404 Not Found"
                       : how == FAIL_TWICE && number < 2 ? "503 Service Unavailable"
                                                         : "204 No Content";
    if (how == CHATTY) line = "200 OK\r\nContent-Length: 10000000";
    (void)snprintf(text, sizeof text, "HTTP/1.1 %s\r\nConnection: close\r\n%s\r\n", line,
                   how == CHATTY ? "" : "Content-Length: 0\r\n");
    if (strstr(line, "204") != NULL) {
        const char *body = strstr(s->last, "\r\n\r\n") + 4;
        json_t *json = json_loads(body, 0, NULL);
        if (json != NULL && json_is_string(json_object_get(json, "model")) &&
            strcasestr(s->last, "content-type: application/json") != NULL) {
            s->good++;
        }
        json_decref(json);
    }
    (void)send(c, text, strlen(text), MSG_NOSIGNAL);
    static char much[100000];
    for (int i = 0; how == CHATTY && i < 100 && send(c, much, sizeof much, MSG_NOSIGNAL) > 0; i++) continue;
}

static void *serve(void *ctx)
{
    server *s = ctx;
    while (!s->end) {
        struct pollfd p = {.fd = s->socket, .events = POLLIN};
        if (poll(&p, 1, 50) <= 0) continue;
        const int c = accept(s->socket, NULL, NULL);
        if (c < 0) continue;
        const struct timeval limit = {2, 0};
        (void)setsockopt(c, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        if (read_request(s, c)) answer(s, c);
        (void)close(c);
    }
    return NULL;
}

static void server_start(server *s, manner how)
{
    memset(s, 0, sizeof *s);
    s->manner = how;
    s->socket = listen_on(&s->port);
    assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void server_stop(server *s)
{
    s->end = true;
    assert_int_equal(pthread_join(s->thread, NULL), 0);
    (void)close(s->socket);
}

static sv_sink *hook(const server *s, bool anomalies_only)
{
    char url[64];
    sv_sink *sink = NULL;
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%u/in", s->port);
    assert_int_equal(sv_webhook_open(url, anomalies_only, &sink), CZ_OK);
    return sink;
}

static void webhook_delivers(void **state)
{
    (void)state;
    server s;
    server_start(&s, GOOD);
    sv_sink *sink = hook(&s, false);
    push_many(sink, 0, 20);
    sv_sink_flush(sink, 10);
    assert_int_equal(s.requests, 20);
    assert_int_equal(s.good, 20);
    assert_int_equal(strncmp(s.last, "POST /in HTTP/1.1\r\n", 19), 0);
    stop(sink, 5);
    sink = hook(&s, true);
    push_many(sink, 0, 20);
    stop(sink, 5); /* hands over what waits */
    assert_int_equal(s.requests, 30);
    assert_int_equal(s.good, 30);
    server_stop(&s);
}

static void webhook_fails(void **state)
{
    (void)state;
    const struct {
        manner how;
        int requests, lost;
    } cases[] = {{FAIL_TWICE, 3, 0}, {REFUSE, 1, 1}, {REDIRECT, 1, 1}, {CHATTY, 1, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        server s;
        server_start(&s, cases[i].how);
        sv_sink *sink = hook(&s, false);
        push_many(sink, 0, 1);
        sv_sink_flush(sink, 20);
        assert_int_equal(s.requests, cases[i].requests);
        assert_int_equal(sv_sink_lost(sink), cases[i].lost);
        stop(sink, 5);
        server_stop(&s);
    }
    unsigned port = 0;
    (void)close(listen_on(&port)); /* nobody is there: tried four times, with 3.5 seconds between */
    server gone = {.port = port};
    sv_sink *sink = hook(&gone, false);
    const double start = sv_now();
    push_many(sink, 0, 1);
    sv_sink_flush(sink, 20);
    assert_int_equal(sv_sink_lost(sink), 1);
    assert_true(sv_now() - start > 3.4);
    stop(sink, 1);
}

static void webhook_slow(void **state)
{
    (void)state;
    server s;
    sv_settings settings;
    sv_events *e = NULL;
    char url[64];
    server_start(&s, SILENT);
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%u/", s.port);
    sv_settings_init(&settings);
    settings.webhook = url;
    assert_int_equal(sv_events_open(&settings, &e), CZ_OK);
    double start = sv_now();
    for (int i = 0; i < 5000; i++) score(e, "m", "x", 1, 1);
    assert_true(sv_now() - start < 2);
    char *text = metrics(e);
    assert_true(value_of(text, "cozad_sink_lost_total{sink=\"webhook\"}") >= 5000 - 1025);
    assert_true(value_of(text, "cozad_decisions_total{model=\"m\",decision=\"anomalous\"}") == 5000);
    free(text);
    start = sv_now();
    sv_events_close(e, 0.5);
    assert_true(sv_now() - start < 3.2);
    server_stop(&s);
}

static void webhook_addresses(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "file:///etc/passwd", "ftp://127.0.0.1/", "gopher://x/", "scp://x/y", "127.0.0.1", "http://", "",
        "http://?",           "javascript:1",     "http://a b/"};
    sv_sink *sink = NULL;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (sv_webhook_open(bad[i], false, &sink) == CZ_OK) print_error("%s\n", bad[i]);
        assert_null(sink);
    }
}

/* ---- MQTT ---------------------------------------------------------------------------------------------------------- */

static pid_t start_broker(unsigned port)
{
    char number[16];
    char *words[] = {(char *)"mosquitto", (char *)"-p", number, NULL};
    posix_spawn_file_actions_t files;
    pid_t child = 0;
    (void)snprintf(number, sizeof number, "%u", port);
    assert_int_equal(posix_spawn_file_actions_init(&files), 0);
    assert_int_equal(posix_spawn_file_actions_addopen(&files, STDERR_FILENO, "/dev/null", O_WRONLY, 0), 0);
    assert_int_equal(posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0), 0);
    const char *path = getenv("PATH");
    char with_sbin[4096]; /* where Debian has it */
    (void)snprintf(with_sbin, sizeof with_sbin, "%s:/usr/sbin:/usr/local/sbin", path != NULL ? path : "/usr/bin");
    assert_int_equal(setenv("PATH", with_sbin, 1), 0);
    const int error = posix_spawnp(&child, "mosquitto", &files, NULL, words, environ);
    (void)posix_spawn_file_actions_destroy(&files);
    return error == 0 ? child : -1;
}

static void end_broker(pid_t child)
{
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
}

static void receive(int c, unsigned char *out, size_t size)
{
    for (size_t done = 0; done < size;) {
        const ssize_t n = recv(c, out + done, size - done, 0);
        assert_true(n > 0);
        done += (size_t)n;
    }
}

/* One packet of MQTT 3.1.1; its first byte. */
static unsigned packet(int c, unsigned char body[SV_LINE], size_t *size)
{
    unsigned char first, digit;
    size_t length = 0;
    receive(c, &first, 1);
    for (unsigned shift = 0;; shift += 7) {
        receive(c, &digit, 1);
        length |= (size_t)(digit & 127) << shift;
        if (digit < 128) break;
        assert_true(shift < 14);
    }
    assert_true(length <= SV_LINE);
    receive(c, body, length);
    *size = length;
    return first;
}

/* A connection that gets what is sent to line/results with QoS 1. */
static int subscribe(unsigned port)
{
    static const unsigned char hello[] = {0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 60, 0, 1, 's'};
    static const unsigned char want[] = {0x82, 17,  0,   1,   0,   12,  'l', 'i', 'n', 'e',
                                         '/',  'r', 'e', 's', 'u', 'l', 't', 's', 1};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    unsigned char body[SV_LINE];
    size_t size = 0;
    int c = -1;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (int i = 0; i < 100; i++) { /* it takes a moment to start */
        c = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_true(c >= 0);
        if (connect(c, (struct sockaddr *)&address, sizeof address) == 0) break;
        (void)close(c);
        c = -1;
        nap(0.1);
    }
    assert_true(c >= 0);
    const struct timeval limit = {10, 0};
    (void)setsockopt(c, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    unsigned char join[sizeof want];
    memcpy(join, want, sizeof want);
    assert_int_equal(send(c, hello, sizeof hello, MSG_NOSIGNAL), sizeof hello);
    assert_int_equal(packet(c, body, &size), 0x20);
    assert_int_equal(body[1], 0);
    assert_int_equal(send(c, join, sizeof join, MSG_NOSIGNAL), sizeof join);
    assert_int_equal(packet(c, body, &size), 0x90);
    return c;
}

/* Takes `count` messages and acknowledges them. */
static void expect_messages(int c, int from, int to)
{
    for (int i = from; i < to; i++) {
        unsigned char body[SV_LINE], acknowledge[4] = {0x40, 2, 0, 0};
        char name[32];
        size_t size = 0;
        assert_int_equal(packet(c, body, &size) & 0xf7, 0x32); /* PUBLISH, QoS 1 */
        assert_memory_equal(body, "\0\014line/results", 14);
        memcpy(acknowledge + 2, body + 14, 2);
        json_t *json = json_loadb((const char *)body + 16, size - 16, 0, NULL);
        assert_non_null(json);
        (void)snprintf(name, sizeof name, "n%d", i);
        assert_string_equal(json_string_value(json_object_get(json, "name")), name);
        json_decref(json);
        assert_int_equal(send(c, acknowledge, sizeof acknowledge, MSG_NOSIGNAL), sizeof acknowledge);
    }
}

/* The broker is a program of its own; without it, or without the library, there is nothing to test. */
static bool can_test_mqtt(const char *url, sv_sink **sink)
{
    if (sv_mqtt_open(url, false, sink) == CZ_OK) return true;
    assert_non_null(strstr(cz_last_error(), "built without MQTT"));
    print_message("skipped: built without MQTT\n");
    return false;
}

static void mqtt_broker(void **state)
{
    (void)state;
    char url[64];
    unsigned port = 0;
    sv_sink *sink = NULL;
    (void)close(listen_on(&port));
    (void)snprintf(url, sizeof url, "mqtt://127.0.0.1:%u/line/results", port);
    if (!can_test_mqtt(url, &sink)) skip();
    pid_t broker = start_broker(port);
    if (broker < 0) {
        print_message("skipped: no program mosquitto\n");
        stop(sink, 0);
        skip();
    }
    int c = subscribe(port);
    push_many(sink, 0, 100); /* the sink found no broker at first */
    expect_messages(c, 0, 100);
    sv_sink_flush(sink, 10);
    assert_int_equal(sv_sink_lost(sink), 0);
    (void)close(c);
    end_broker(broker);
    const double start = sv_now();
    push_many(sink, 100, 200); /* wait for it */
    assert_true(sv_now() - start < 0.5);
    nap(1);
    broker = start_broker(port);
    sv_sink_flush(sink, 30);
    assert_int_equal(sv_sink_lost(sink), 0);
    c = subscribe(port);
    push_many(sink, 200, 250);
    stop(sink, 10); /* hands over what waits */
    expect_messages(c, 200, 250);
    (void)close(c);
    end_broker(broker);
}

static void mqtt_dead(void **state)
{
    (void)state;
    char url[64];
    unsigned port = 0;
    sv_sink *sink = NULL;
    const int deaf = listen_on(&port); /* takes connections and says nothing */
    (void)snprintf(url, sizeof url, "mqtt://127.0.0.1:%u/t", port);
    if (!can_test_mqtt(url, &sink)) {
        (void)close(deaf);
        skip();
    }
    double start = sv_now();
    push_many(sink, 0, 3000);
    assert_true(sv_now() - start < 1);
    assert_true(sv_sink_lost(sink) >= 3000 - 1024 - 16);
    start = sv_now();
    stop(sink, 0.5);
    assert_true(sv_now() - start < 3);
    (void)close(deaf);
}

static void mqtt_addresses(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "http://x/t",
                                      "mqtt://x",
                                      "mqtt://x/",
                                      "mqtt:///t",
                                      "mqtt://x:0/t",
                                      "mqtt://x:65536/t",
                                      "mqtt://x:1 /t",
                                      "mqtt://x:/t",
                                      "mqtt://u:p@x/t",
                                      "mqtt://x/a/#",
                                      "mqtt://x/+",
                                      "mqtt://[::1/t",
                                      "mqtt://[::1]x/t",
                                      "mqtt://x/\xff"};
    sv_sink *sink = NULL;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (sv_mqtt_open(bad[i], false, &sink) == CZ_OK) print_error("%s\n", bad[i]);
        assert_null(sink);
    }
}

static int quiet(void **state)
{
    /* The test's own servers are not behind a proxy. */
    if (unsetenv("http_proxy") != 0 || unsetenv("all_proxy") != 0 || unsetenv("ALL_PROXY") != 0) return -1;
    return set_up(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(moved_file),        cmocka_unit_test(full_disk),     cmocka_unit_test(stalled_stdout),
        cmocka_unit_test(webhook_delivers),  cmocka_unit_test(webhook_fails), cmocka_unit_test(webhook_slow),
        cmocka_unit_test(webhook_addresses), cmocka_unit_test(mqtt_broker),   cmocka_unit_test(mqtt_dead),
        cmocka_unit_test(mqtt_addresses),
    };
    return cmocka_run_group_tests(tests, quiet, tear_down);
}
