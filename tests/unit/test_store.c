/* SPDX-License-Identifier: Apache-2.0 */
/* The feature store: round trips, damage, eviction, several processes, full and unwritable disks. */
#include "features/store.h"

#include "features/store_file.h"
#include "util/alloc.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNT 1000
#define ENTRY (CZ_STORE_HEADER + 2 * COUNT)

static char dir[256];
static uint16_t values[COUNT];

static int new_folder(void **state)
{
    (void)state;
    const char *base = getenv("TMPDIR");
    (void)snprintf(dir, sizeof dir, "%s/cozad-store-XXXXXX", base && strlen(base) < 200 ? base : "/tmp");
    for (size_t i = 0; i < COUNT; i++) values[i] = (uint16_t)(i * 40503u);
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    char command[300];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", dir);
    return system(command);
}

static cz_store *open_store(uint64_t limit)
{
    cz_cache_options options = CZ_CACHE_OPTIONS_INIT;
    options.dir = dir;
    options.limit_bytes = limit;
    cz_store *s = NULL;
    assert_int_equal(cz_store_open(&options, &s), CZ_OK);
    return s;
}

static cz_store_key key_of(uint8_t number)
{
    const uint8_t input[12] = {number};
    cz_store_key key;
    cz_store_key_make(input, 2, 2, "context", &key);
    return key;
}

static bool has(cz_store *s, uint8_t number)
{
    cz_store_entry entry;
    const cz_store_key key = key_of(number);
    const bool found = cz_store_get(s, &key, COUNT, &entry);
    if (!found) return false;
    assert_int_equal((uintptr_t)entry.values % 64, 0);
    assert_int_equal(entry.count, COUNT);
    assert_memory_equal(entry.values, values, sizeof values);
    cz_store_release(&entry);
    return true;
}

static void put(cz_store *s, uint8_t number)
{
    const cz_store_key key = key_of(number);
    assert_true(cz_store_put(s, &key, values, COUNT));
}

/* Seconds before now: when an entry was last used. */
static void age(uint8_t number, long seconds)
{
    const cz_store_key key = key_of(number);
    char *path = cz_store_file_path(dir, &key);
    struct timespec times[2];
    clock_gettime(CLOCK_REALTIME, &times[0]);
    times[0].tv_sec -= seconds;
    times[1] = times[0];
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
    cz_free(path);
}

static void known_hash(void **state)
{
    (void)state;
    /* the XXH64 specification's values for seed 0 */
    assert_true(cz_store_hash("", 0) == UINT64_C(0xEF46DB3751D8E999));
    assert_true(cz_store_hash("a", 1) == UINT64_C(0xD24EC4F1A98C6E5B));
    assert_true(cz_store_hash("abc", 3) == UINT64_C(0x44BC2CF5AD770999));
    assert_true(cz_store_hash("Nobody inspects the spammish repetition", 39) == UINT64_C(0xFBCEA83C8A378BF1));
}

static void round_trip(void **state)
{
    (void)state;
    cz_store *s = open_store(0);
    assert_false(has(s, 1));
    assert_string_equal(cz_last_error(), "");
    put(s, 1);
    put(s, 1);
    assert_true(has(s, 1));
    assert_false(has(s, 2));
    cz_store_close(s);
    s = open_store(0);
    assert_true(has(s, 1));
    assert_true(has(s, 1));
    cz_store_entry entry; /* a key that means other values, and an empty entry */
    const cz_store_key key = key_of(1), other = key_of(9);
    assert_false(cz_store_get(s, &key, COUNT - 1, &entry));
    assert_false(cz_store_get(s, &key, COUNT + 1, &entry));
    assert_true(has(s, 1));
    assert_true(cz_store_put(s, &other, values, 0));
    assert_true(cz_store_get(s, &other, 0, &entry));
    cz_store_release(&entry);
    assert_string_equal(cz_store_problem(s), "");
    cz_store_close(s);
}

static void keys(void **state)
{
    (void)state;
    const uint8_t input[24] = {1, 2, 3};
    cz_store_key a, b;
    cz_store_key_make(input, 2, 4, "one", &a);
    cz_store_key_make(input, 2, 4, "one", &b);
    assert_memory_equal(&a, &b, sizeof a);
    cz_store_key_make(input, 2, 4, "two", &b);
    assert_memory_not_equal(&a, &b, sizeof a);
    cz_store_key_make(input, 4, 2, "one", &b);
    assert_memory_not_equal(&a, &b, sizeof a);
    cz_store_key_make(input + 1, 2, 3, "one", &b);
    assert_memory_not_equal(&a, &b, sizeof a);
}

/* Any changed byte, any length: not found, and gone, so that it is made anew. */
static void damage(void **state)
{
    (void)state;
    const cz_store_key key = key_of(1);
    char *path = cz_store_file_path(dir, &key);
    cz_store *s = open_store(0);
    size_t tried = 0;
    for (size_t at = 0; at < ENTRY; at += at < CZ_STORE_HEADER ? 1 : 97, tried++) {
        put(s, 1);
        FILE *file = fopen(path, "r+b");
        assert_non_null(file);
        assert_int_equal(fseek(file, (long)at, SEEK_SET), 0);
        const int byte = fgetc(file);
        assert_int_equal(fseek(file, (long)at, SEEK_SET), 0);
        assert_true(fputc(byte ^ 0x10, file) != EOF);
        fclose(file);
        cz_store *fresh = open_store(0);
        assert_false(has(fresh, 1));
        assert_int_not_equal(access(path, F_OK), 0);
        cz_store_close(fresh);
    }
    const long lengths[] = {0, 1, 127, 128, 129, ENTRY - 1, ENTRY - 2, ENTRY + 2, 3 * ENTRY};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        put(s, 1);
        assert_int_equal(truncate(path, lengths[i]), 0);
        assert_false(has(s, 1)); /* also in a store that has seen it whole */
    }
    /* another key's entry under this name */
    put(s, 2);
    const cz_store_key second = key_of(2);
    char *from = cz_store_file_path(dir, &second);
    put(s, 1);
    assert_int_equal(rename(from, path), 0);
    assert_false(has(s, 1));
    cz_free(from);
    cz_free(path);
    cz_store_close(s);
    assert_true(tried > 140);
}

static void eviction(void **state)
{
    (void)state;
    cz_store *s = open_store(0);
    for (uint8_t i = 0; i < 10; i++) {
        put(s, i);
        age(i, 1000 - i);
    }
    assert_true(has(s, 0)); /* used now: 1 is the oldest */
    cz_store_close(s);
    s = open_store(10 * ENTRY); /* 11 entries are too many: down to 9 */
    put(s, 10);
    assert_false(has(s, 1));
    assert_false(has(s, 2));
    assert_true(has(s, 0));
    for (uint8_t i = 3; i <= 10; i++) assert_true(has(s, i));
    for (uint8_t i = 20; i < 120; i++) put(s, i);
    cz_store_close(s);
    cz_store_listing listing;
    assert_int_equal(cz_store_scan(dir, false, &listing), CZ_OK);
    assert_true(listing.bytes <= 10 * ENTRY && listing.count >= 8);
    cz_store_listing_free(&listing);
    s = open_store(ENTRY); /* not even one fits with room to spare */
    const cz_store_key key = key_of(1);
    assert_false(cz_store_put(s, &key, values, COUNT));
    assert_true(strlen(cz_store_problem(s)) > 0);
    cz_store_close(s);
}

typedef struct seen {
    size_t count, damaged, stop_after;
    uint64_t bytes;
} seen;

static int visit(void *ctx, const cz_cache_entry *entry)
{
    seen *v = ctx;
    assert_int_equal(strlen(entry->key), 64);
    assert_true(entry->last_used > 1000000000);
    v->count++;
    v->bytes += entry->bytes;
    v->damaged += entry->damaged != 0;
    return v->count == v->stop_after;
}

static void list_and_prune(void **state)
{
    (void)state;
    cz_cache_options options = CZ_CACHE_OPTIONS_INIT;
    options.dir = dir;
    cz_store *s = open_store(0);
    for (uint8_t i = 0; i < 6; i++) {
        put(s, i);
        age(i, 100 - i);
    }
    cz_store_close(s);
    const cz_store_key last = key_of(5);
    char *path = cz_store_file_path(dir, &last), name[600];
    FILE *file = fopen(path, "r+b");
    assert_int_equal(fseek(file, -1, SEEK_END), 0);
    assert_true(fputc(77, file) != EOF);
    fclose(file);
    /* what killed writers left: an old one and one that may still be written */
    for (int old = 0; old < 2; old++) {
        (void)snprintf(name, sizeof name, "%s.%d.0.tmp", path, old);
        file = fopen(name, "w");
        fclose(file);
        const struct timespec past[2] = {{time(NULL) - 7200, 0}, {time(NULL) - 7200, 0}};
        if (old) assert_int_equal(utimensat(AT_FDCWD, name, past, 0), 0);
    }
    (void)snprintf(name, sizeof name, "%s/notes.txt", dir); /* somebody's own file stays */
    file = fopen(name, "w");
    fclose(file);
    seen v = {0, 0, 0, 0};
    assert_int_equal(cz_cache_list(&options, 1, visit, &v), CZ_OK);
    assert_int_equal(v.count, 6);
    assert_int_equal(v.damaged, 1);
    assert_int_equal(v.bytes, 6 * ENTRY);
    v = (seen){0, 0, 2, 0};
    assert_int_equal(cz_cache_list(&options, 0, visit, &v), CZ_E_CANCELLED);
    assert_int_equal(v.count, 2);
    uint64_t removed = 0;
    assert_int_equal(cz_cache_prune(&options, 3 * ENTRY, &removed), CZ_OK);
    assert_int_equal(removed, 3 * ENTRY); /* the damaged one and the two oldest */
    s = open_store(0);
    for (uint8_t i = 0; i < 6; i++) assert_int_equal(has(s, i), i >= 2 && i < 5);
    cz_store_close(s);
    assert_int_equal(access(name, F_OK), 0);
    (void)snprintf(name, sizeof name, "%s.0.0.tmp", path);
    assert_int_equal(access(name, F_OK), 0);
    (void)snprintf(name, sizeof name, "%s.1.0.tmp", path);
    assert_int_not_equal(access(name, F_OK), 0);
    assert_int_equal(cz_cache_prune(&options, 0, &removed), CZ_OK);
    assert_int_equal(removed, 3 * ENTRY);
    v = (seen){0, 0, 0, 0};
    assert_int_equal(cz_cache_list(&options, 0, visit, &v), CZ_OK);
    assert_int_equal(v.count, 0);
    (void)snprintf(name, sizeof name, "%s/not-there", dir);
    options.dir = name;
    assert_int_equal(cz_cache_list(&options, 0, visit, &v), CZ_OK);
    assert_int_equal(cz_cache_prune(&options, 0, &removed), CZ_OK);
    cz_free(path);
}

/* Two processes write and read the same keys; nobody ever sees half an entry. */
static void two_processes(void **state)
{
    (void)state;
    const pid_t child = fork();
    assert_true(child >= 0);
    cz_store *s = open_store(8 * ENTRY);
    for (int round = 0; round < 40; round++)
        for (uint8_t i = 0; i < 12; i++) {
            const cz_store_key key = key_of(i);
            cz_store_entry entry;
            bool fine = cz_store_put(s, &key, values, COUNT);
            if (cz_store_get(s, &key, COUNT, &entry)) { /* may have been evicted */
                fine = fine && memcmp(entry.values, values, sizeof values) == 0;
                cz_store_release(&entry);
            }
            if (child == 0 && !fine) _exit(1);
            assert_true(fine);
        }
    cz_store_close(s);
    if (child == 0) _exit(0);
    int how;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFEXITED(how) && WEXITSTATUS(how) == 0);
    cz_cache_options options = CZ_CACHE_OPTIONS_INIT;
    options.dir = dir;
    seen v = {0, 0, 0, 0};
    assert_int_equal(cz_cache_list(&options, 1, visit, &v), CZ_OK);
    assert_int_equal(v.damaged, 0);
    assert_true(v.count > 0 && v.bytes <= 9 * ENTRY);
}

static void full_disk(void **state)
{
    (void)state;
    struct rlimit before, small;
    cz_store *s = open_store(0);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = ENTRY / 2;
    void (*const handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    const cz_store_key key = key_of(1);
    const bool stored = cz_store_put(s, &key, values, COUNT);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    (void)signal(SIGXFSZ, handler);
    assert_false(stored);
    assert_true(strlen(cz_store_problem(s)) > 0);
    assert_null(strchr(cz_store_problem(s), '\n'));
    assert_string_equal(cz_last_error(), "");
    assert_false(cz_store_put(s, &key, values, COUNT)); /* not tried again */
    assert_false(has(s, 1));
    cz_store_close(s);
    char command[400]; /* no rubbish is left */
    (void)snprintf(command, sizeof command, "test -z \"$(find '%s' -type f -not -name lock)\"", dir);
    assert_int_equal(system(command), 0);
    s = open_store(0);
    put(s, 1);
    cz_store_close(s);
}

static void unwritable(void **state)
{
    (void)state;
    cz_cache_options options = CZ_CACHE_OPTIONS_INIT;
    cz_store *s = NULL;
    char name[600];
    (void)snprintf(name, sizeof name, "%s/file", dir); /* a file where a folder is wanted */
    FILE *file = fopen(name, "w");
    fclose(file);
    options.dir = name;
    assert_int_not_equal(cz_store_open(&options, &s), CZ_OK);
    assert_null(s);
    options.dir = NULL;
    assert_int_equal(cz_store_open(&options, &s), CZ_E_ARG);
    if (geteuid() == 0) {
        print_message("skipped: unwritable folder (root may write everywhere)\n");
        return;
    }
    s = open_store(0);
    put(s, 1);
    assert_int_equal(chmod(dir, 0555), 0);
    const cz_store_key key = key_of(200);
    assert_false(cz_store_put(s, &key, values, COUNT));
    assert_true(strlen(cz_store_problem(s)) > 0);
    assert_true(has(s, 1));
    assert_int_equal(chmod(dir, 0755), 0);
    cz_store_close(s);
}

/* Any failed allocation: found or not found, stored or not stored, never a crash or a stale message. */
static void out_of_memory(void **state)
{
    (void)state;
    const cz_store_key key = key_of(1);
    for (unsigned long n = 1; n < 12; n++) {
        cz_store *s = open_store(20 * ENTRY);
        cz_store_entry entry;
        cz_error_clear();
        cz_alloc_fail_after(n);
        (void)cz_store_put(s, &key, values, COUNT);
        cz_alloc_fail_after(n);
        if (cz_store_get(s, &key, COUNT, &entry)) cz_store_release(&entry);
        cz_alloc_fail_after(0);
        assert_string_equal(cz_last_error(), "");
        cz_store_close(s);
    }
}

int main(void)
{
#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, new_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_hash), IN_FOLDER(round_trip),     cmocka_unit_test(keys),   IN_FOLDER(damage),
        IN_FOLDER(eviction),          IN_FOLDER(list_and_prune), IN_FOLDER(two_processes), IN_FOLDER(full_disk),
        IN_FOLDER(unwritable),        IN_FOLDER(out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
