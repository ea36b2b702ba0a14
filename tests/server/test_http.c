/* SPDX-License-Identifier: Apache-2.0 */
/* Requests and answers: routes, decoding, limits, time, answers from other threads, the end. Access is in test_http_access.c. */
#include "http_help.h"

#include <sys/resource.h>

static void test_routes(void **state)
{
    fixture *f = *state;
    answer a = get(f, "/echo/one/x/two");
    assert_int_equal(a.status, 200);
    assert_non_null(strstr(a.body, "\"a\":\"one\""));
    assert_non_null(strstr(a.body, "\"b\":\"two\""));
    assert_non_null(strstr(a.body, "\"client\":\"127.0.0.1\""));
    assert_non_null(strstr(a.head, "nosniff"));
    assert_int_equal(get(f, "/").status, 200);
    static const char *const missing[] = {
        "/echo/one/x", "/echo/one/x/two/", "/echo//x/two", "/echo/one/y/two", "/nothing", "//", "/echo"};
    for (size_t i = 0; i < sizeof missing / sizeof *missing; i++) {
        a = get(f, missing[i]);
        if (a.status != 404) fail_msg("%s: %d", missing[i], a.status);
        assert_non_null(strstr(a.body, "{\"error\":"));
    }
    a = ask(f, "DELETE /echo/one/x/two HTTP/1.1\r\n", NULL);
    assert_int_equal(a.status, 405);
    assert_non_null(strstr(a.head, "Allow: GET, HEAD, POST\r\n"));
    a = ask(f, "OPTIONS /size HTTP/1.1\r\n", NULL);
    assert_int_equal(a.status, 204);
    assert_non_null(strstr(a.head, "Allow: POST\r\n"));
    a = ask(f, "HEAD /static HTTP/1.1\r\n", NULL);
    assert_int_equal(a.status, 200);
    assert_non_null(strstr(a.head, "Content-Length: 18\r\n"));
    assert_int_equal(ask(f, "BREW /echo/one/x/two HTTP/1.1\r\n", NULL).status, 405);
}

static void test_decoding(void **state)
{
    fixture *f = *state;
    answer a = get(f, "/echo/a%20b%2Bc+d/x/gr%C3%BCn?q=1%2B1%3d2+x&flag&q=other&%6Eone=");
    assert_int_equal(a.status, 200);
    assert_non_null(strstr(a.body, "\"a\":\"a b+c+d\""));
    assert_non_null(strstr(a.body, "\"b\":\"gr\xC3\xBCn\""));
    assert_non_null(strstr(a.body, "\"q\":\"1+1=2 x\""));
    assert_non_null(strstr(a.body, "\"flag\":\"\""));
    assert_non_null(strstr(a.body, "\"none\":true"));
    assert_non_null(strstr(get(f, "/echo/1/x/2").body, "\"q\":null"));
    assert_int_equal(get(f, "/%65cho/1/x/2").status, 200);
    static const char *const bad[] = {"/echo/%/x/2",
                                      "/echo/%4/x/2",
                                      "/echo/%zz/x/2",
                                      "/echo/%00/x/2",
                                      "/echo/a%00b/x/2",
                                      "/echo/%FF/x/2",
                                      "/echo/../x/2",
                                      "/echo/./x/2",
                                      "/echo/%2e%2e/x/2",
                                      "/echo/a%2Fb/x/2",
                                      "/echo/a%5Cb/x/2",
                                      "/echo/%0a/x/2",
                                      "/echo/%C0%AF/x/2",
                                      "/echo/%ED%A0%80/x/2",
                                      "/echo/1/x/2?q=%",
                                      "/echo/1/x/2?q=%00",
                                      "/echo/1/x/2?q=%FF",
                                      "/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17",
                                      "http://localhost/echo/1/x/2",
                                      "*"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        a = get(f, bad[i]);
        if (a.status != 400) fail_msg("%s: %d", bad[i], a.status);
    }
    char path[3100] = "/echo/1/x/";
    memset(path + 10, 'a', 3000);
    path[3010] = '\0';
    assert_int_equal(get(f, path).status, 414);
    path[2048] = '\0';
    assert_int_equal(get(f, path).status, 200);
}

static void test_bodies(void **state)
{
    fixture *f = *state;
    answer a = ask(f, "POST /echo/1/x/2 HTTP/1.1\r\nX-Thing: of mine\r\n", "the body");
    assert_int_equal(a.status, 200);
    assert_non_null(strstr(a.body, "\"body\":\"the body\""));
    assert_non_null(strstr(a.body, "\"x\":\"of mine\""));
    assert_non_null(strstr(ask(f, "POST /size HTTP/1.1\r\n", "").body, "\"size\":0"));
    int fd = dial(f);
    say(fd, "POST /size HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: "
            "chunked\r\n\r\n3\r\nabc\r\n5\r\ndefgh\r\n0\r\n\r\n");
    a = hear(fd);
    assert_int_equal(a.status, 200);
    assert_non_null(strstr(a.body, "\"size\":8"));
    (void)close(fd);
    /* Larger than the buffers on the way, and exactly as large as is allowed. */
    char *large = malloc(200001);
    assert_non_null(large);
    memset(large, 1, 200001);
    fd = dial(f);
    say(fd, "POST /size HTTP/1.1\r\nHost: localhost\r\nContent-Length: 200000\r\n\r\n");
    say_bytes(fd, large, 200000);
    a = hear(fd);
    assert_int_equal(a.status, 200);
    assert_non_null(strstr(a.body, "\"sum\":200000"));
    /* The connection goes on after a body that was too large. */
    say(fd, "POST /size HTTP/1.1\r\nHost: localhost\r\nContent-Length: 200001\r\n\r\n");
    say_bytes(fd, large, 200001);
    a = hear(fd);
    assert_int_equal(a.status, 413);
    say(fd, "POST /size HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n30D41\r\n");
    say_bytes(fd, large, 200001);
    say(fd, "\r\n0\r\n\r\n");
    assert_int_equal(hear(fd).status, 413);
    say(fd, "POST /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello");
    assert_int_equal(hear(fd).status, 404);
    say(fd, "GET /static HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_int_equal(hear(fd).status, 200);
    (void)close(fd);
    free(large);
    /* Who asks first is told at once. */
    fd = dial(f);
    say(fd, "POST /size HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\nExpect: 100-continue\r\n\r\n");
    assert_int_equal(hear(fd).status, 413);
    (void)close(fd);
    fd = dial(f);
    say(fd, "POST /size HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    assert_int_equal(hear(fd).status, 100);
    say(fd, "abc");
    assert_int_equal(hear(fd).status, 200);
    (void)close(fd);
    assert_int_equal(ask(f, "POST /size HTTP/1.1\r\nContent-Length: -5\r\n", NULL).status, 400);
}

static void test_all_bodies(void **state)
{
    fixture *f = *state;
    char *part = malloc(130000);
    int fds[12];
    size_t refused = 0;
    assert_non_null(part);
    memset(part, 1, 130000);
    /* Twelve of 130,001 bytes at once are more than a million: some are told to come back, none of the others suffers. */
    for (size_t i = 0; i < 12; i++) {
        fds[i] = dial(f);
        say(fds[i], "POST /size HTTP/1.1\r\nHost: localhost\r\nContent-Length: 130001\r\n\r\n");
        say_bytes(fds[i], part, 130000);
        (void)usleep(10000);
    }
    for (size_t i = 0; i < 12; i++) {
        say(fds[i], "\1");
        const answer a = hear(fds[i]);
        refused += a.status == 503;
        if (a.status == 503) assert_non_null(strstr(a.head, "Retry-After: "));
        if (a.status != 503) assert_int_equal(a.status, 200);
        (void)close(fds[i]);
    }
    assert_in_range(refused, 5, 8);
    (void)usleep(100000);
    assert_int_equal(ask(f, "POST /size HTTP/1.1\r\n", "after").status, 200);
    free(part);
}

static void test_heads(void **state)
{
    fixture *f = *state;
    char *head = malloc(100000);
    assert_non_null(head);
    int n = snprintf(head, 100000, "GET /static HTTP/1.1\r\nHost: localhost\r\nX-Long: ");
    memset(head + n, 'x', 80000);
    (void)snprintf(head + n + 80000, 100, "\r\n\r\n");
    int fd = dial(f);
    say(fd, head);
    assert_int_equal(hear(fd).status, 431);
    (void)close(fd);
    n = snprintf(head, 100000, "GET /static HTTP/1.1\r\nHost: localhost\r\n");
    for (int i = 0; i < 300; i++) n += snprintf(head + n, 100000 - (size_t)n, "X-%d: a\r\n", i);
    (void)snprintf(head + n, 100, "\r\n");
    fd = dial(f);
    say(fd, head);
    const int status = hear(fd).status;
    assert_true(status == 431 || status == 400);
    (void)close(fd);
    free(head);
    static const char *const bad[] = {"\r\n\r\n\r\n", "nonsense\r\n\r\n",
                                      "GET /static HTTP/9.9\r\nHost: localhost\r\n\r\n", "GET /static HTTP/1.1\r\n\r\n",
                                      "\x16\x03\x01\x02\r\n\r\n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        fd = dial(f);
        say(fd, bad[i]);
        (void)shutdown(fd, SHUT_WR);
        assert_int_not_equal(hear(fd).status, 200);
        (void)close(fd);
    }
    assert_int_equal(get(f, "/static").status, 200);
}

static void test_keep_alive(void **state)
{
    fixture *f = *state;
    const int fd = dial(f);
    for (int i = 0; i < 100; i++) {
        say(fd, "GET /echo/1/x/2 HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_int_equal(hear(fd).status, 200);
    }
    say(fd, "GET /missing HTTP/1.1\r\nHost: localhost\r\n\r\n"
            "GET /static HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_int_equal(hear(fd).status, 404);
    assert_int_equal(hear(fd).status, 200);
    assert_int_equal(sv_http_connections(f->http), 1);
    say(fd, "GET /static HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert_int_equal(hear(fd).status, 200);
    assert_true(is_closed(fd));
    (void)close(fd);
}

static void test_static(void **state)
{
    fixture *f = *state;
    answer a = get(f, "/static");
    assert_string_equal(a.body, "what never changes");
    assert_non_null(strstr(a.head, "ETag: \"tag1\"\r\n"));
    static const struct {
        const char *list;
        int status;
    } cases[] = {{"\"tag1\"", 304}, {"\"a\", W/\"tag1\"", 304}, {"*", 304},
                 {"\"tag\"", 200},  {"\"tag12\"", 200},         {"", 200},
                 {",,", 200}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char head[200];
        (void)snprintf(head, sizeof head, "GET /static HTTP/1.1\r\nIf-None-Match: %s\r\n", cases[i].list);
        a = ask(f, head, NULL);
        assert_int_equal(a.status, cases[i].status);
        assert_string_equal(a.body, a.status == 304 ? "" : "what never changes");
    }
}

static void test_failures(void **state)
{
    static const struct {
        cz_status status;
        int code;
    } cases[] = {{CZ_E_ARG, 400},      {CZ_E_FORMAT, 400}, {CZ_E_UNSUPPORTED, 400}, {CZ_E_LIMIT, 413},
                 {CZ_E_NO_SPACE, 507}, {CZ_E_MEMORY, 507}, {CZ_E_IO, 500},          {CZ_E_INTERNAL, 500}};
    fixture *f = *state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[64];
        (void)snprintf(path, sizeof path, "/failed/%d", (int)cases[i].status);
        const answer a = get(f, path);
        assert_int_equal(a.status, cases[i].code);
        assert_string_equal(a.body, "{\"error\":\"no ? \\\"good\\\"\"}");
    }
}

static void test_later(void **state)
{
    fixture *f = *state;
    int fds[40];
    for (size_t i = 0; i < 40; i++) {
        fds[i] = dial(f);
        say(fds[i], "GET /later HTTP/1.1\r\nHost: localhost\r\n\r\n");
    }
    wait_for(&f->handled, 40);
    assert_int_equal(sv_http_pending(f->http), 40);
    assert_int_equal(get(f, "/static").status, 200); /* others are not held up */
    (void)close(fds[7]);                             /* one does not wait */
    atomic_store(&f->go, true);
    for (size_t i = 0; i < 40; i++) {
        if (i == 7) continue;
        const answer a = hear(fds[i]);
        assert_int_equal(a.status, 201);
        assert_string_equal(a.body, "later");
        assert_non_null(strstr(a.head, "X-Late: yes\r\n"));
    }
    /* The same connections serve on. */
    for (size_t i = 0; i < 40; i++) {
        if (i == 7) continue;
        say(fds[i], "GET /static HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_int_equal(hear(fds[i]).status, 200);
        (void)close(fds[i]);
    }
    for (int i = 0; i < 1000 && sv_http_pending(f->http) > 0; i++) (void)usleep(5000);
    assert_int_equal(sv_http_pending(f->http), 0);
}

static void test_observer(void **state)
{
    fixture *f = *state;
    (void)ask(f, "POST /echo/1/x/2?q=1 HTTP/1.1\r\n", "four");
    for (int i = 0; i < 1000; i++) {
        (void)pthread_mutex_lock(&f->seen.lock);
        const bool there = f->seen.count > 0;
        (void)pthread_mutex_unlock(&f->seen.lock);
        if (there) break;
        (void)usleep(5000);
    }
    (void)pthread_mutex_lock(&f->seen.lock);
    assert_int_equal(f->seen.count, 1);
    assert_string_equal(f->seen.route, "echo");
    assert_string_equal(f->seen.path, "POST /echo/1/x/2");
    assert_int_equal(f->seen.status, 200);
    assert_int_equal(f->seen.in, 4);
    assert_true(f->seen.out > 50);
    (void)pthread_mutex_unlock(&f->seen.lock);
}

/* ---- time --------------------------------------------------------------------------------------------------------- */

static void set_quick(fixture *f)
{
    f->settings.timeout = 0.6;
    f->settings.idle_timeout = 1.0;
}

static void test_slow_clients(void **state)
{
    fixture *f = *state;
    const int body = dial(f), stalled = dial(f), head = dial(f), idle = dial(f), keeps = dial(f);
    const double begin = sv_now();
    say(body, "POST /size HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n");
    say(stalled, "POST /size HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nhalf");
    say(head, "GET /static");
    bool told = false;
    /* A byte now and then, which is not silence. */
    for (int i = 0; i < 15 && !told; i++) {
        struct pollfd p = {body, POLLIN, 0};
        say(body, "x");
        say(head, "x");
        say(keeps, "GET /static HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_int_equal(hear(keeps).status, 200);
        told = poll(&p, 1, 200) == 1;
    }
    const answer a = hear(body);
    assert_int_equal(a.status, 408);
    assert_true(sv_now() - begin < 5.0);
    assert_string_equal(a.body, "{\"error\":\"the request took too long\"}   ");
    assert_int_equal(hear(stalled).status, 408);
    assert_true(is_closed(idle));
    for (int i = 0; i < 30; i++) {
        struct pollfd p = {head, POLLIN, 0};
        say(head, "x");
        if (poll(&p, 1, 200) == 1) break;
    }
    assert_true(is_closed(head));
    assert_true(sv_now() - begin < 10.0);
    assert_int_equal(atomic_load(&f->handled), 0);
    (void)close(body);
    (void)close(stalled);
    (void)close(head);
    (void)close(idle);
    (void)close(keeps);
}

static void test_no_answer(void **state)
{
    fixture *f = *state;
    const double begin = sv_now();
    const answer a = get(f, "/later");
    assert_int_equal(a.status, 504);
    assert_true(sv_now() - begin > 0.6);
    assert_int_equal(sv_http_pending(f->http), 1); /* its handler still has it */
    atomic_store(&f->go, true);
    for (int i = 0; i < 1000 && sv_http_pending(f->http) > 0; i++) (void)usleep(5000);
    assert_int_equal(sv_http_pending(f->http), 0);
    assert_int_equal(get(f, "/static").status, 200);
}

/* ---- many --------------------------------------------------------------------------------------------------------- */

static void test_idle_connections(void **state)
{
    enum { MANY = 1000 };
    fixture *f = *state;
    struct rlimit limit;
    static int fds[MANY];
    /* Both ends are in this process. */
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_max < 2 * MANY + 100) skip();
    limit.rlim_cur = 2 * MANY + 100 > limit.rlim_cur ? 2 * MANY + 100 : limit.rlim_cur;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    for (size_t i = 0; i < MANY; i++) {
        fds[i] = dial(f);
        if (i % 2 == 1)
            say(fds[i], "POST /size HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\nhalf a body");
    }
    for (int i = 0; i < 1000 && sv_http_connections(f->http) < MANY; i++) (void)usleep(5000);
    assert_int_equal(sv_http_connections(f->http), MANY);
    const double begin = sv_now();
    for (int i = 0; i < 50; i++) assert_int_equal(get(f, "/static").status, 200);
    assert_true(sv_now() - begin < 5.0);
    for (size_t i = 0; i < MANY; i++) (void)close(fds[i]);
    for (int i = 0; i < 1000 && sv_http_connections(f->http) > 0; i++) (void)usleep(5000);
    assert_int_equal(sv_http_connections(f->http), 0);
}

static void set_few(fixture *f)
{
    f->settings.max_connections = 20;
}

/* Where connections run short, those that are silent for longest make room. */
static void test_few_connections(void **state)
{
    fixture *f = *state;
    int fds[20];
    for (size_t i = 0; i < 20; i++) fds[i] = dial(f);
    const double begin = sv_now();
    assert_int_equal(get(f, "/static").status, 200);
    assert_true(sv_now() - begin < 8.0);
    for (size_t i = 0; i < 20; i++) (void)close(fds[i]);
}

/* ---- the end ------------------------------------------------------------------------------------------------------ */

static void *stop_in_thread(void *ctx)
{
    fixture *f = ctx;
    sv_http_stop(f->http, 5.0);
    return NULL;
}

static void test_drain(void **state)
{
    fixture *f = *state;
    pthread_t stopper;
    const int waits = dial(f), idle = dial(f), sends = dial(f);
    say(waits, "GET /later HTTP/1.1\r\nHost: localhost\r\n\r\n");
    say(sends, "POST /size HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nab");
    wait_for(&f->handled, 1);
    assert_int_equal(pthread_create(&stopper, NULL, stop_in_thread, f), 0);
    (void)usleep(400000);
    assert_int_equal(sv_http_pending(f->http), 1); /* waited for */
    say(sends, "cd");                              /* what began to arrive is served too */
    answer a = hear(sends);
    assert_int_equal(a.status, 200);
    assert_non_null(strstr(a.head, "Connection: close\r\n"));
    atomic_store(&f->go, true);
    a = hear(waits);
    assert_int_equal(a.status, 201);
    assert_non_null(strstr(a.head, "Connection: close\r\n"));
    assert_true(is_closed(waits) && is_closed(idle));
    assert_int_equal(pthread_join(stopper, NULL), 0);
    (void)close(waits);
    (void)close(idle);
    (void)close(sends);
    /* Nobody listens any more. */
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)f->port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_not_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    (void)close(fd);
}

static void test_drain_ends(void **state)
{
    fixture *f = *state;
    const int fd = dial(f);
    say(fd, "GET /later HTTP/1.1\r\nHost: localhost\r\n\r\n");
    wait_for(&f->handled, 1);
    const double begin = sv_now();
    sv_http_stop(f->http, 0.3);
    assert_true(sv_now() - begin < 3.0);
    assert_int_equal(hear(fd).status, 503);
    (void)close(fd);
    /* The handler's own answer comes now, and is dropped (finish). */
}

/* ---- names and times ---------------------------------------------------------------------------------------------- */

static void test_names(void **state)
{
    static const char *const good[] = {"a", "part", "A-b_c.9", "a..b",
                                       "123456789012345678901234567890123456789012345678901234567890123"};
    static const char *const bad[] = {"",
                                      ".",
                                      "..",
                                      ".a",
                                      "a/b",
                                      "a b",
                                      "a\n",
                                      "gr\xC3\xBCn",
                                      "a\\b",
                                      "a%20",
                                      "1234567890123456789012345678901234567890123456789012345678901234"};
    char text[32];
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) assert_true(sv_name_ok(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_false(sv_name_ok(bad[i]));
    assert_false(sv_name_ok(NULL));
    assert_string_equal(sv_time_text(1795335330.1239, text), "2026-11-22T08:15:30.123Z");
    assert_string_equal(sv_time_text(-0.5, text), "1969-12-31T23:59:59.500Z");
    assert_int_equal(strlen(sv_time_text(1e300, text)), 24);
    assert_int_equal(sv_fail(CZ_E_IO, "%s and %d", "text", 5), CZ_E_IO);
    assert_string_equal(cz_last_error(), "text and 5");
    (void)sv_fail(CZ_E_IO, "again: %s", cz_last_error());
    assert_string_equal(cz_last_error(), "again: text and 5");
}

static int set_up(void **state)
{
    fixture *f = fixture_new();
    start(f);
    *state = f;
    return 0;
}

static int set_up_quick(void **state)
{
    fixture *f = fixture_new();
    set_quick(f);
    start(f);
    *state = f;
    return 0;
}

static int set_up_few(void **state)
{
    fixture *f = fixture_new();
    set_few(f);
    start(f);
    *state = f;
    return 0;
}

static int set_up_many(void **state)
{
    fixture *f = fixture_new();
    f->settings.max_bodies = (size_t)64 << 20;
    start(f);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    finish(*state);
    return 0;
}

#define WITH(test, begin) cmocka_unit_test_setup_teardown(test, begin, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(test_routes, set_up),
        WITH(test_decoding, set_up),
        WITH(test_bodies, set_up_many),
        WITH(test_all_bodies, set_up),
        WITH(test_heads, set_up),
        WITH(test_keep_alive, set_up),
        WITH(test_static, set_up),
        WITH(test_failures, set_up),
        WITH(test_later, set_up),
        WITH(test_observer, set_up),
        WITH(test_slow_clients, set_up_quick),
        WITH(test_no_answer, set_up_quick),
        WITH(test_idle_connections, set_up_many),
        WITH(test_few_connections, set_up_few),
        WITH(test_drain, set_up),
        WITH(test_drain_ends, set_up),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
