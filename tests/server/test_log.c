/* SPDX-License-Identifier: Apache-2.0 */
/* Log lines: whatever is in a value, it stays one line, and one JSON object where JSON is asked for. */
#include "log.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

static char text[16384];

/* What `write` sends to stderr, in `text`. */
static void capture(void (*write_lines)(const char *value), const char *value)
{
    FILE *file = tmpfile();
    const int kept = dup(STDERR_FILENO);
    assert_true(file != NULL && kept >= 0);
    assert_true(dup2(fileno(file), STDERR_FILENO) >= 0);
    write_lines(value);
    assert_true(dup2(kept, STDERR_FILENO) >= 0);
    (void)close(kept);
    rewind(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    (void)fclose(file);
}

static void all_kinds(const char *value)
{
    sv_log(SV_WARN, "kinds", "s", "%s", value, "d", "%d", -5, "zu", "%zu", (size_t)7, "u", "%u", 8u, "f", "%.2f", 1.256,
           "l", "%ld", -9L, "u64", "%" PRIu64, (uint64_t)1 << 60, NULL);
}

static void debug_line(const char *value)
{
    sv_log(SV_DEBUG, "not shown", "s", "%s", value, NULL);
}

static void many(const char *value)
{
    sv_log(SV_INFO, "many", "a", "%s", value, "b", "%s", value, "c", "%s", value, "d", "%s", value, "e", "%s", value,
           "end", "%d", 1, NULL);
}

static void test_plain(void **state)
{
    (void)state;
    sv_log_setup(false, SV_INFO);
    capture(all_kinds, "plain");
    assert_string_equal(text + 24, " warn kinds s=plain d=-5 zu=7 u=8 f=1.26 l=-9 u64=1152921504606846976\n");
    capture(all_kinds, "two words");
    assert_non_null(strstr(text, " s=\"two words\" d="));
    capture(all_kinds, NULL);
    assert_non_null(strstr(text, " s=\"\" d="));
    capture(all_kinds, "a\n2026-01-01 error forged=\"x\"\x1b[31m\x7f \xC2\x9B \xFF");
    assert_non_null(strstr(text, "s=\"a\\u000a2026-01-01 error forged=\\\"x\\\"\\u001b[31m\\u007f \\u009b ?\" d="));
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
    capture(debug_line, "x");
    assert_string_equal(text, "");
    sv_log_setup(false, SV_DEBUG);
    capture(debug_line, "x");
    assert_non_null(strstr(text, " debug not shown s=x\n"));
}

static void test_json(void **state)
{
    static const char *const values[] = {"plain", "",   "\"\\\n\t\x1b", "gr\xC3\xBCn", "\xFF\xC0\xAF\xED\xA0\x80",
                                         "-5",    "nan"};
    static char large[5000], quotes[900];
    (void)state;
    sv_log_setup(true, SV_INFO);
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        capture(all_kinds, values[i]);
        json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
        assert_non_null(json);
        if (i != 4) assert_string_equal(json_string_value(json_object_get(json, "s")), values[i]);
        assert_int_equal(json_integer_value(json_object_get(json, "d")), -5);
        assert_string_equal(json_string_value(json_object_get(json, "level")), "warn");
        json_decref(json);
    }
    memset(large, 'x', sizeof large - 1);
    memset(quotes, '\x01', sizeof quotes - 1);
    for (int i = 0; i < 2; i++) {
        capture(many, i == 0 ? large : quotes);
        json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
        assert_non_null(json);
        json_decref(json);
        assert_true(strlen(text) <= 4096);
        assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_plain), cmocka_unit_test(test_json)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
