/* SPDX-License-Identifier: Apache-2.0 */
/* Files of packed weights: what is written is read again, and nothing else is ever taken for it. */
#include "backbone/packed_file.h"
#include "cozad/cozad.h"
#include "util/alloc.h"
#include "util/status.h"
#include "util/xxh64.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { SIZE = 5000, OFFSET = 4096 };
#define ROOM UINT64_C(1000000)

static const char sha[65] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
static const char text[] = "{\"a\": \"what the bytes are\"}";
static char home[] = "/tmp/test_packed_XXXXXX";
static char *folder;
static uint8_t bytes[SIZE];

static int setup(void **state)
{
    (void)state;
    if (!mkdtemp(home) || setenv("COZAD_HOME", home, 1) != 0) return 1;
    for (size_t i = 0; i < SIZE; i++) bytes[i] = (uint8_t)(i * 31 + i / 256);
    folder = cz_packed_folder();
    return folder == NULL;
}

static int clean(void **state)
{
    (void)state;
    char command[300];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

static int teardown(void **state)
{
    const int code = clean(state);
    cz_free(folder);
    return code != 0 || rmdir(home) != 0;
}

static cz_packed_key key_of(const char *context)
{
    cz_packed_key key;
    cz_packed_key_make(sha, context, &key);
    return key;
}

static const char *path_of(const char *name)
{
    static char path[400];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static cz_packed_key put(const char *context)
{
    const cz_packed_key key = key_of(context);
    assert_true(cz_packed_file_write(folder, &key, text, bytes, SIZE, ROOM));
    return key;
}

/* False: not found. What is found is right. */
static bool has(const char *name, bool deep)
{
    cz_packed_file file;
    if (!cz_packed_file_open(folder, name, deep, &file)) return false;
    assert_int_equal(file.size, SIZE);
    assert_int_equal((uintptr_t)file.bytes % 4096, 0);
    assert_memory_equal(file.bytes, bytes, SIZE);
    assert_int_equal(file.text_size, strlen(text));
    assert_memory_equal(file.text, text, strlen(text));
    cz_packed_file_close(&file);
    return true;
}

static bool is_there(const char *name)
{
    return access(path_of(name), F_OK) == 0;
}

static void poke(const char *name, off_t at, const void *data, size_t size)
{
    const int fd = open(path_of(name), O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, data, size, at), (ssize_t)size);
    close(fd);
}

static void round_trip(void **state)
{
    (void)state;
    struct stat info;
    const cz_packed_key key = key_of("one"), other = key_of("two");
    assert_false(has(key.name, true)); /* no folder yet */
    (void)put("one");
    assert_true(has(key.name, false));
    assert_true(has(key.name, true));
    assert_false(has(other.name, true));
    assert_int_equal(stat(path_of(key.name), &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    assert_int_equal(stat(folder, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0700);
    assert_string_equal(cz_last_error(), "");
}

/* The byte at `at` changed: the file is not used, and goes. */
static void damage(off_t at, bool deep)
{
    const cz_packed_key key = put("one");
    const int fd = open(path_of(key.name), O_RDONLY);
    uint8_t byte;
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    close(fd);
    byte ^= 0x10;
    poke(key.name, at, &byte, 1);
    assert_true(cz_packed_damaged(folder, key.name));
    if (has(key.name, deep)) fail_msg("byte %ld can change unnoticed", (long)at);
    assert_false(is_there(key.name));
}

static void every_byte(void **state)
{
    (void)state;
    for (off_t at = 0; at < OFFSET; at += at < 200 ? 1 : 37) damage(at, false); /* header, text, padding */
    for (off_t at = 0; at < SIZE; at += 97) damage(OFFSET + at, true);
    damage(OFFSET + SIZE - 1, true);
}

static void every_length(void **state)
{
    (void)state;
    static const off_t lengths[] = {0,     1, 127, 128, 200, 4095, 4096, 4097, OFFSET + SIZE - 1, OFFSET + SIZE + 1,
                                    100000};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        const cz_packed_key key = put("one");
        assert_int_equal(truncate(path_of(key.name), lengths[i]), 0);
        assert_false(has(key.name, true));
        assert_false(is_there(key.name));
    }
}

/* Writes `value` at `at` of the header and makes its checksum right again. */
static void forge(const char *name, off_t at, const void *value, size_t size)
{
    uint8_t header[CZ_PACKED_HEADER];
    poke(name, at, value, size);
    const int fd = open(path_of(name), O_RDONLY);
    assert_int_equal(pread(fd, header, sizeof header, 0), sizeof header);
    close(fd);
    const uint64_t sum = cz_xxh64(header, 120);
    poke(name, 120, &sum, sizeof sum);
}

/* Headers that are whole and wrong. */
static void forged(void **state)
{
    (void)state;
    static const struct {
        off_t at;
        uint64_t value;
        size_t size;
    } cases[] = {
        {8, CZ_PACKED_VERSION + 1, 4},
        {8, 0, 4},
        {12, 0, 4},
        {12, 64, 4},
        {12, 8192, 4},
        {12, 4097, 4},
        {12, UINT32_MAX, 4},
        {16, 0, 8},
        {16, SIZE + 1, 8},
        {16, SIZE - 1, 8},
        {16, UINT64_MAX, 8},
        {64, 4096, 4},
        {64, UINT32_MAX, 4},
        {24, 0xabcdef, 8},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const cz_packed_key key = put("one");
        forge(key.name, cases[i].at, &cases[i].value, cases[i].size);
        if (has(key.name, true)) fail_msg("case %zu is taken", i);
        assert_false(is_there(key.name));
    }
}

static void foreign(void **state)
{
    (void)state;
    const cz_packed_key other = key_of("two");
    cz_packed_key key = put("one");
    char from[400];
    (void)strcpy(from, path_of(key.name));
    assert_int_equal(rename(from, path_of(other.name)), 0); /* another's key */
    assert_false(has(other.name, true));
    assert_false(is_there(other.name));

    key = put("one");
    assert_int_equal(chmod(path_of(key.name), 0620), 0); /* others may have written it */
    assert_false(has(key.name, true));
    assert_true(is_there(key.name));
    assert_int_equal(chmod(path_of(key.name), 0600), 0);
    assert_true(has(key.name, true));
    if (geteuid() == 0) {
        assert_int_equal(chown(path_of(key.name), 12345, 12345), 0);
        assert_false(has(key.name, true));
        assert_int_equal(chown(path_of(key.name), 0, 0), 0);
    }
    assert_int_equal(chmod(folder, 0777), 0);
    assert_false(has(key.name, true));
    assert_false(cz_packed_file_write(folder, &other, text, bytes, SIZE, ROOM));
    assert_int_equal(chmod(folder, 0700), 0);

    (void)strcpy(from, path_of(key.name));
    assert_int_equal(symlink(from, path_of(other.name)), 0);
    assert_false(has(other.name, true));
    assert_false(has("../packed", true));
    assert_false(has("", true));
    assert_true(has(key.name, true));
    assert_string_equal(cz_last_error(), "");
}

static void nowhere_to_write(void **state)
{
    (void)state;
    const cz_packed_key key = key_of("one");
    assert_false(cz_packed_file_write("/proc/none/packed", &key, text, bytes, SIZE, ROOM));
    assert_false(
        cz_packed_file_write(folder, &key, text, bytes, SIZE, SIZE)); /* larger than the limit, with its header */
    cz_error_clear();

    struct rlimit before, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = OFFSET + SIZE / 2;
    assert_true(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    const bool written = cz_packed_file_write(folder, &key, text, bytes, SIZE, ROOM);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_false(written);
    assert_int_equal(rmdir(folder), 0); /* no half file stays behind */
}

/* `seconds` before now: when a file was last used. */
static void age(const char *name, long seconds)
{
    struct timespec times[2];
    clock_gettime(CLOCK_REALTIME, &times[0]);
    times[0].tv_sec -= seconds;
    times[1] = times[0];
    assert_int_equal(utimensat(AT_FDCWD, path_of(name), times, 0), 0);
}

static void eviction(void **state)
{
    (void)state;
    const uint64_t three = 3 * (OFFSET + SIZE);
    const char *const names[] = {"a", "b", "c"};
    cz_packed_key keys[3];
    for (size_t i = 0; i < 3; i++) {
        keys[i] = put(names[i]);
        age(keys[i].name, 300 - 100 * (long)i);
    }
    assert_true(has(keys[0].name, true)); /* the oldest was just used */
    poke(keys[0].name, 0, "C", 1);
    const cz_packed_key fourth = key_of("d");
    assert_true(cz_packed_file_write(folder, &fourth, text, bytes, SIZE, three));
    assert_false(is_there(keys[1].name));
    assert_true(is_there(keys[0].name));
    assert_true(is_there(keys[2].name));
    assert_true(has(fourth.name, true));

    (void)close(open(path_of("mine.txt"), O_CREAT | O_WRONLY, 0600)); /* what others put there stays */
    char temporary[200];
    (void)snprintf(temporary, sizeof temporary, "%s.1.1.tmp", fourth.name);
    (void)close(open(path_of(temporary), O_CREAT | O_WRONLY, 0600));
    cz_packed_listing listing;
    uint64_t removed = 0;
    assert_int_equal(cz_packed_scan(folder, &listing), CZ_OK);
    assert_int_equal(listing.count, 3);
    assert_true(is_there(temporary));
    cz_packed_listing_free(&listing);
    age(temporary, 7200);
    assert_int_equal(cz_packed_scan(folder, &listing), CZ_OK);
    assert_false(is_there(temporary));
    assert_true(cz_packed_evict(folder, &listing, 0, &removed));
    assert_int_equal(removed, three);
    assert_int_equal(listing.bytes, 0);
    cz_packed_listing_free(&listing);
    assert_true(is_there("mine.txt"));
}

typedef struct visits {
    size_t packed, features, damaged;
} visits;

static int visit(void *ctx, const cz_cache_entry *entry)
{
    visits *v = ctx;
    v->packed += entry->packed != 0;
    v->features += entry->packed == 0;
    v->damaged += entry->damaged != 0;
    return 0;
}

static void public_calls(void **state)
{
    (void)state;
    visits v = {0, 0, 0};
    uint64_t removed = 0;
    const cz_packed_key key = put("one");
    (void)put("two");
    poke(key.name, OFFSET + 7, "\xff", 1);
    assert_int_equal(cz_cache_list(NULL, 1, visit, &v), CZ_OK);
    assert_int_equal(v.packed, 2);
    assert_int_equal(v.features, 0);
    assert_int_equal(v.damaged, 1);
    assert_int_equal(cz_cache_prune(NULL, ROOM, &removed), CZ_OK); /* damaged ones go in any case */
    assert_int_equal(removed, OFFSET + SIZE);
    assert_false(is_there(key.name));
    assert_int_equal(cz_cache_prune(NULL, 0, &removed), CZ_OK);
    v = (visits){0, 0, 0};
    assert_int_equal(cz_cache_list(NULL, 1, visit, &v), CZ_OK);
    assert_int_equal(v.packed, 0);
}

/* Several processes write and read one key: each finds a whole file or none. */
static void processes(void **state)
{
    (void)state;
    enum { CHILDREN = 4 };
    pid_t children[CHILDREN];
    const cz_packed_key key = key_of("one");
    for (size_t i = 0; i < CHILDREN; i++) {
        children[i] = fork();
        assert_true(children[i] >= 0);
        if (children[i] != 0) continue;
        int code = 0;
        for (int round = 0; round < 100 && code == 0; round++) {
            cz_packed_file file;
            if (!cz_packed_file_write(folder, &key, text, bytes, SIZE, ROOM)) code = 1;
            if (!cz_packed_file_open(folder, key.name, true, &file)) _exit(2);
            if (memcmp(file.bytes, bytes, SIZE) != 0) code = 3;
            cz_packed_file_close(&file);
        }
        _exit(code);
    }
    for (size_t i = 0; i < CHILDREN; i++) {
        int status = 0;
        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
    cz_packed_listing listing;
    assert_int_equal(cz_packed_scan(folder, &listing), CZ_OK);
    assert_int_equal(listing.count, 1);
    cz_packed_listing_free(&listing);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(processes, clean), /* first: fork does not take OpenMP's threads along */
        cmocka_unit_test_teardown(round_trip, clean),       cmocka_unit_test_teardown(every_byte, clean),
        cmocka_unit_test_teardown(every_length, clean),     cmocka_unit_test_teardown(forged, clean),
        cmocka_unit_test_teardown(foreign, clean),          cmocka_unit_test_teardown(eviction, clean),
        cmocka_unit_test_teardown(nowhere_to_write, clean), cmocka_unit_test_teardown(public_calls, clean),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
