/* SPDX-License-Identifier: Apache-2.0 */
/* Who may ask: Host, Origin, the page's token, the access token, and where the server may listen. */
#include "http_help.h"

#include <fcntl.h>
#include <sys/stat.h>

#define TOKEN "0123456789abcdef-secret"

/* One request as it stands, with the empty line added. */
static answer send_raw(const fixture *f, const char *format, ...) __attribute__((format(printf, 2, 3)));
static answer send_raw(const fixture *f, const char *format, ...)
{
    char text[4096];
    va_list list;
    va_start(list, format);
    int n = vsnprintf(text, sizeof text - 8, format, list);
    va_end(list);
    (void)snprintf(text + n, 8, "\r\n");
    const int fd = dial(f);
    say(fd, text);
    const answer a = hear(fd);
    (void)close(fd);
    return a;
}

static void page_token(const fixture *f, char out[65])
{
    const answer a = get(f, "/api/session");
    assert_int_equal(a.status, 200);
    const char *begin = strstr(a.body, "\"token\":\"");
    assert_non_null(begin);
    memcpy(out, begin + 9, 64);
    out[64] = '\0';
    assert_int_equal(strspn(out, "0123456789abcdef"), 64);
}

static void test_host(void **state)
{
    static const char *const good[] = {"localhost", "LOCALHOST:1", "localhost.",  "127.0.0.1",     "127.9.9.9:80",
                                       "[::1]",     "[::1]:8080",  "cam.example", "CAM.example:99"};
    static const char *const bad[] = {"evil.example",
                                      "localhost.evil.example",
                                      "cam.example.evil.example",
                                      "xcam.example",
                                      "10.0.0.1",
                                      "128.0.0.1",
                                      "127.0.0.1.evil.example",
                                      "[::2]",
                                      "0.0.0.0"};
    fixture *f = *state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        if (send_raw(f, "GET /static HTTP/1.1\r\nHost: %s\r\n", good[i]).status != 200) fail_msg("%s", good[i]);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (send_raw(f, "GET /static HTTP/1.1\r\nHost: %s\r\n", bad[i]).status != 421) fail_msg("%s", bad[i]);
    }
    assert_int_equal(send_raw(f, "GET /nothing HTTP/1.1\r\nHost: evil.example\r\n").status, 421);
    assert_int_equal(send_raw(f, "GET /static HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n").status, 400);
    assert_int_equal(send_raw(f, "GET /static HTTP/1.1\r\nHost: \r\n").status, 400);
    assert_int_equal(send_raw(f, "GET /static HTTP/1.1\r\nHost: [::1\r\n").status, 400);
    assert_int_equal(send_raw(f, "GET /static HTTP/1.1\r\nHost: localhost:evil.example\r\n").status, 400);
    assert_int_equal(send_raw(f, "GET /static HTTP/1.0\r\n").status, 400);
}

static void test_origin(void **state)
{
    fixture *f = *state;
    static const char head[] = "GET /static HTTP/1.1\r\nHost: localhost:99\r\n";
    assert_int_equal(send_raw(f, "%sOrigin: http://localhost:99\r\n", head).status, 200);
    static const char *const bad[] = {"null",
                                      "http://localhost",
                                      "http://localhost:98",
                                      "https://localhost:99",
                                      "http://127.0.0.1:99",
                                      "http://evil.example",
                                      "http://localhost:99.evil.example",
                                      "localhost:99",
                                      ""};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (send_raw(f, "%sOrigin: %s\r\n", head, bad[i]).status != 403) fail_msg("%s", bad[i]);
    }
    assert_int_equal(send_raw(f, "%sOrigin: http://localhost:99\r\nOrigin: http://localhost:99\r\n", head).status, 403);
    /* A proxy with TLS in front, under a name that was allowed. */
    assert_int_equal(send_raw(f, "GET /static HTTP/1.1\r\nHost: cam.example\r\nOrigin: https://cam.example\r\n").status,
                     200);
    assert_int_equal(send_raw(f, "GET /static HTTP/1.1\r\nHost: cam.example\r\nOrigin: https://localhost\r\n").status,
                     403);
}

static void test_page_token(void **state)
{
    fixture *f = *state;
    char token[65], wrong[65];
    page_token(f, token);
    memcpy(wrong, token, sizeof wrong);
    wrong[63] = wrong[63] == '0' ? '1' : '0';
    static const char head[] = "POST /size HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n";
    assert_int_equal(send_raw(f, "%s", head).status, 200); /* no browser */
    static const char *const browsers[] = {"Origin: http://localhost\r\n", "Sec-Fetch-Site: same-origin\r\n",
                                           "Sec-Fetch-Site: none\r\n",
                                           "Origin: http://localhost\r\nSec-Fetch-Site: same-origin\r\n"};
    for (size_t i = 0; i < sizeof browsers / sizeof *browsers; i++) {
        assert_int_equal(send_raw(f, "%s%s", head, browsers[i]).status, 403);
        assert_int_equal(send_raw(f, "%s%sX-CoZAD-Token: %s\r\n", head, browsers[i], wrong).status, 403);
        assert_int_equal(send_raw(f, "%s%sX-CoZAD-Token: \r\n", head, browsers[i]).status, 403);
        assert_int_equal(send_raw(f, "%s%sX-CoZAD-Token: %.63s\r\n", head, browsers[i], token).status, 403);
        assert_int_equal(send_raw(f, "%s%sx-cozad-token: %s\r\n", head, browsers[i], token).status, 200);
    }
    static const char *const foreign[] = {"Sec-Fetch-Site: cross-site\r\n", "Sec-Fetch-Site: same-site\r\n",
                                          "Origin: http://evil.example\r\n"};
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
        assert_int_equal(send_raw(f, "%s%sX-CoZAD-Token: %s\r\n", head, foreign[i], token).status, 403);
        assert_int_equal(send_raw(f, "GET /api/session HTTP/1.1\r\nHost: localhost\r\n%s", foreign[i]).status, 403);
    }
    assert_int_equal(send_raw(f, "GET /static HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: cross-site\r\n").status,
                     200);
    /* Another start, another token. */
    fixture *other = fixture_new();
    char another[65];
    start(other);
    page_token(other, another);
    assert_string_not_equal(token, another);
    finish(other);
    assert_int_equal(ask(f, "POST /api/login HTTP/1.1\r\n", "{\"token\": \"\"}").status, 404);
}

static void test_access_token(void **state)
{
    fixture *f = *state;
    answer a = get(f, "/echo/1/x/2");
    assert_int_equal(a.status, 401);
    assert_non_null(strstr(a.head, "WWW-Authenticate: Bearer\r\n"));
    assert_int_equal(get(f, "/nothing").status, 401); /* what there is, is not told either */
    assert_int_equal(get(f, "/api/session").status, 401);
    assert_int_equal(get(f, "/").status, 401);
    assert_int_equal(get(f, "/v2/health/live").status, 200);
    assert_int_equal(get(f, "/static").status, 200); /* a public route */
    assert_int_equal(ask(f, "POST /size HTTP/1.1\r\n", "body").status, 401);
    static const char *const bad[] = {"Basic " TOKEN,
                                      "Bearer",
                                      "Bearer ",
                                      "Bearer " TOKEN "x",
                                      "Bearer 0123456789abcdef-secre",
                                      TOKEN,
                                      "Bearer 1123456789abcdef-secret"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char head[256];
        (void)snprintf(head, sizeof head, "GET /echo/1/x/2 HTTP/1.1\r\nAuthorization: %s\r\n", bad[i]);
        if (ask(f, head, NULL).status != 401) fail_msg("%s", bad[i]);
    }
    assert_int_equal(ask(f, "GET /echo/1/x/2 HTTP/1.1\r\nAuthorization: Bearer " TOKEN "\r\n", NULL).status, 200);
    assert_int_equal(ask(f, "GET /nothing HTTP/1.1\r\nAuthorization: bearer " TOKEN "\r\n", NULL).status, 404);
    assert_int_equal(atomic_load(&f->handled), 1);
}

static void test_login(void **state)
{
    fixture *f = *state;
    char cookie[200], head[512];
    static const char login[] = "POST /api/login HTTP/1.1\r\n";
    assert_int_equal(ask(f, login, "{\"token\": \"wrong\"}").status, 401);
    assert_int_equal(ask(f, login, "{\"token\": 5}").status, 400);
    assert_int_equal(ask(f, login, "{\"token\"").status, 400);
    assert_int_equal(ask(f, login, "").status, 400);
    assert_int_equal(
        ask(f, "POST /api/login HTTP/1.1\r\nOrigin: http://evil.example\r\n", "{\"token\": \"" TOKEN "\"}").status,
        403);
    assert_int_equal(
        ask(f, "POST /api/login HTTP/1.1\r\nSec-Fetch-Site: cross-site\r\n", "{\"token\": \"" TOKEN "\"}").status, 403);
    answer a = ask(f, "POST /api/login HTTP/1.1\r\nSec-Fetch-Site: same-origin\r\n", "{\"token\": \"" TOKEN "\"}");
    assert_int_equal(a.status, 200);
    const char *set = strstr(a.head, "Set-Cookie: ");
    assert_non_null(set);
    assert_non_null(strstr(set, "; HttpOnly; SameSite=Strict; Path=/\r\n"));
    assert_null(strstr(set, TOKEN));
    (void)snprintf(cookie, sizeof cookie, "%.*s", (int)strcspn(set + 12, ";"), set + 12);
    static const char *const around[] = {"%s", "a=b; %s", "a=b;%s; c=d"};
    for (size_t i = 0; i < 3; i++) {
        char list[300];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        (void)snprintf(list, sizeof list, around[i], cookie);
#pragma GCC diagnostic pop
        (void)snprintf(head, sizeof head, "GET /api/session HTTP/1.1\r\nCookie: %s\r\n", list);
        a = ask(f, head, NULL);
        assert_int_equal(a.status, 200);
        assert_non_null(strstr(a.body, "\"auth\":true"));
    }
    /* A cookie is no token of the page. */
    (void)snprintf(head, sizeof head, "POST /size HTTP/1.1\r\nOrigin: http://localhost:%u\r\nCookie: %s\r\n", f->port,
                   cookie);
    assert_int_equal(ask(f, head, "body").status, 403);
    cookie[strlen(cookie) - 1] = cookie[strlen(cookie) - 1] == '0' ? '1' : '0';
    (void)snprintf(head, sizeof head, "GET /api/session HTTP/1.1\r\nCookie: %s\r\n", cookie);
    assert_int_equal(ask(f, head, NULL).status, 401);
}

/* ---- opening ------------------------------------------------------------------------------------------------------ */

static char *write_file(const char *text, size_t size, mode_t mode)
{
    char path[] = "/tmp/cozad-test-XXXXXX";
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, size), (ssize_t)size);
    assert_int_equal(fchmod(fd, mode), 0);
    (void)close(fd);
    return strdup(path);
}

static cz_status open_with(const char *token, size_t size, mode_t mode)
{
    sv_settings s;
    sv_http *http = NULL;
    char *path = write_file(token, size, mode);
    sv_settings_init(&s);
    s.port = 0;
    s.auth_token_file = path;
    const cz_status status = sv_http_open(&s, &http);
    if (status == CZ_OK) sv_http_free(http);
    (void)unlink(path);
    free(path);
    return status;
}

static void test_token_files(void **state)
{
    static const struct {
        const char *text;
        mode_t mode;
        cz_status status;
    } cases[] = {
        {"0123456789abcdef", 0600, CZ_OK},          {" \n0123456789abcdef\r\n", 0640, CZ_OK},
        {"0123456789abcde", 0600, CZ_E_ARG},        {"", 0600, CZ_E_ARG},
        {"0123456789 abcdef", 0600, CZ_E_ARG},      {"0123456789abcdef", 0644, CZ_E_ARG},
        {"0123456789abcdef\nmore", 0600, CZ_E_ARG}, {"0123456789abcde\xC3\xBC", 0600, CZ_E_ARG},
    };
    char large[2000];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (open_with(cases[i].text, strlen(cases[i].text), cases[i].mode) != cases[i].status) fail_msg("case %zu", i);
    }
    memset(large, 'a', sizeof large);
    assert_int_equal(open_with(large, sizeof large, 0600), CZ_E_ARG);
    assert_int_equal(open_with("0123456789abcdef\0x", 18, 0600), CZ_E_ARG);
    sv_settings s;
    sv_http *http = NULL;
    sv_settings_init(&s);
    s.port = 0;
    s.auth_token_file = "/nowhere/token";
    assert_int_equal(sv_http_open(&s, &http), CZ_E_ARG);
}

static void test_exposure(void **state)
{
    sv_settings s;
    sv_http *http = NULL, *second = NULL;
    (void)state;
    sv_settings_init(&s);
    s.port = 0;
    s.host = "0.0.0.0";
    assert_int_equal(sv_http_open(&s, &http), CZ_E_ARG);
    assert_non_null(strstr(cz_last_error(), "--insecure"));
    s.insecure = true;
    assert_int_equal(sv_http_open(&s, &http), CZ_OK);
    sv_http_free(http);
    s.insecure = false;
    char *path = write_file(TOKEN, strlen(TOKEN), 0600);
    s.auth_token_file = path;
    assert_int_equal(sv_http_open(&s, &http), CZ_OK);
    sv_http_free(http);
    (void)unlink(path);
    free(path);
    s.auth_token_file = NULL;
    s.host = "localhost";
    assert_int_equal(sv_http_open(&s, &http), CZ_OK);
    s.host = "127.0.0.1";
    s.port = (unsigned)atoi(strrchr(sv_http_url(http), ':') + 1);
    if (strstr(sv_http_url(http), "127.0.0.1") != NULL) {
        assert_int_equal(sv_http_open(&s, &second), CZ_E_IO); /* taken */
        assert_non_null(strstr(cz_last_error(), "in use"));
    }
    sv_http_free(http);
    s.port = 0;
    s.host = "not a host";
    assert_int_equal(sv_http_open(&s, &http), CZ_E_ARG);
    s.host = "127.0.0.1";
    s.tls_cert = "/nowhere/cert.pem";
    assert_int_equal(sv_http_open(&s, &http), CZ_E_ARG);
    s.tls_key = "/nowhere/key.pem";
    assert_int_equal(sv_http_open(&s, &http), CZ_E_ARG);
    sv_settings_init(&s);
    s.timeout = 0.0;
    assert_int_equal(sv_http_open(&s, &http), CZ_E_ARG);
}

/* Bound to all addresses, the one that was connected to is its own. */
static void test_all_addresses(void **state)
{
    fixture *f = fixture_new();
    (void)state;
    f->settings.host = "0.0.0.0";
    f->settings.insecure = true;
    start(f);
    assert_int_equal(send_raw(f, "GET /static HTTP/1.1\r\nHost: 127.0.0.1\r\n").status, 200);
    assert_int_equal(send_raw(f, "GET /static HTTP/1.1\r\nHost: 10.0.0.1\r\n").status, 421);
    assert_int_equal(send_raw(f, "GET /static HTTP/1.1\r\nHost: evil.example\r\n").status, 421);
    finish(f);
}

/* A listening socket of systemd at descriptor 3. */
static void test_passed_socket(void **state)
{
    const int kept = fcntl(3, F_DUPFD_CLOEXEC, 10);
    struct sockaddr_in address;
    char text[32];
    (void)state;
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    if (fd != 3) assert_int_equal(dup2(fd, 3), 3);
    (void)snprintf(text, sizeof text, "%ld", (long)getpid());
    fixture *f = fixture_new();
    f->settings.host = "192.0.2.1"; /* not asked for */
    for (int listening = 0; listening < 2; listening++) {
        assert_int_equal(setenv("LISTEN_PID", text, 1) + setenv("LISTEN_FDS", "1", 1), 0);
        if (listening == 0) {
            sv_http *http = NULL;
            if (fd != 3) (void)dup2(fd, 3);
            assert_int_equal(sv_http_open(&f->settings, &http), CZ_E_ARG);
            continue;
        }
        assert_int_equal(listen(fd, 5), 0);
        start(f);
    }
    assert_null(getenv("LISTEN_FDS"));
    assert_int_equal(get(f, "/static").status, 200);
    finish(f);
    if (fd != 3) (void)close(fd);
    if (kept >= 0) {
        (void)dup2(kept, 3);
        (void)close(kept);
    }
    /* One that was meant for another process is not taken. */
    assert_int_equal(setenv("LISTEN_PID", "1", 1) + setenv("LISTEN_FDS", "1", 1), 0);
    f = fixture_new();
    start(f);
    assert_int_equal(get(f, "/static").status, 200);
    finish(f);
}

static int set_up(void **state)
{
    static const char *const names[] = {"cam.example"};
    fixture *f = fixture_new();
    f->settings.allow_hosts = names;
    f->settings.allow_host_count = 1;
    start(f);
    *state = f;
    return 0;
}

static int set_up_token(void **state)
{
    fixture *f = fixture_new();
    char *path = write_file(TOKEN "\n", strlen(TOKEN) + 1, 0600);
    f->settings.auth_token_file = path;
    start(f);
    (void)unlink(path);
    free(path);
    f->settings.auth_token_file = NULL;
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    finish(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_host, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_origin, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_page_token, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_access_token, set_up_token, tear_down),
        cmocka_unit_test_setup_teardown(test_login, set_up_token, tear_down),
        cmocka_unit_test(test_token_files),
        cmocka_unit_test(test_exposure),
        cmocka_unit_test(test_all_addresses),
        cmocka_unit_test(test_passed_socket),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
