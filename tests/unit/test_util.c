/* SPDX-License-Identifier: Apache-2.0 */
#include "util/alloc.h"
#include "util/file.h"
#include "util/rng.h"
#include "util/sha256.h"
#include "util/threads.h"

#include <errno.h>
#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/cozad-util-XXXXXX";

static void messages(void **state)
{
    (void)state;
    cz_error_clear();
    assert_int_equal(cz_fail(CZ_E_FORMAT, "first %d\n", 1), CZ_E_FORMAT);
    assert_int_equal(cz_fail(CZ_E_IO, "second"), CZ_E_IO);
    assert_string_equal(cz_last_error(), "first 1?"); /* the first cause stays; control characters do not */
    (void)cz_fail_prefix(CZ_E_FORMAT, "file");
    assert_string_equal(cz_last_error(), "file: first 1?");
    for (int s = CZ_OK; s <= CZ_E_INTERNAL; s++)
        assert_string_not_equal(cz_status_name((cz_status)s), "unknown status");
}

static void sizes(void **state)
{
    (void)state;
    size_t out = 7;
    assert_false(cz_mul_size(SIZE_MAX / 2, 3, &out));
    assert_false(cz_add_size(SIZE_MAX, 1, &out));
    assert_int_equal(out, 7);
    assert_true(cz_mul_size(6, 7, &out) && out == 42);
    cz_error_clear();
    assert_null(cz_calloc(SIZE_MAX / 4, 8));
    assert_true(strstr(cz_last_error(), "out of memory") != NULL);
    void *p = cz_alloc(100);
    assert_int_equal((uintptr_t)p % 64, 0);
    cz_free(p);
}

/* Known answers of FIPS 180-4, and any split of the input gives the same digest. */
static void sha256(void **state)
{
    (void)state;
    cz_sha256 sha;
    uint8_t digest[32];
    char hex[65];
    cz_sha256_init(&sha);
    cz_sha256_final(&sha, digest);
    cz_sha256_hex(digest, hex);
    assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    char *million = malloc(1000000);
    memset(million, 'a', 1000000);
    for (size_t piece = 1; piece < 1000000; piece = piece * 7 + 3) {
        cz_sha256_init(&sha);
        for (size_t at = 0; at < 1000000; at += piece)
            cz_sha256_update(&sha, million + at, piece < 1000000 - at ? piece : 1000000 - at);
        cz_sha256_final(&sha, digest);
        cz_sha256_hex(digest, hex);
        assert_string_equal(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    }
    free(million);
}

/* Philox4x32-10's known answer for counter and key zero (Random123's kat_vectors). */
static void philox(void **state)
{
    (void)state;
    cz_rng rng;
    memset(&rng, 0, sizeof rng);
    rng.used = 4;
    assert_int_equal(cz_rng_u32(&rng), 0x6627e8d5u);
    assert_int_equal(cz_rng_u32(&rng), 0xe169c58du);
    assert_int_equal(cz_rng_u32(&rng), 0xbc57ac4cu);
    assert_int_equal(cz_rng_u32(&rng), 0x9b00dbd8u);
}

static void normals(void **state)
{
    (void)state;
    enum { COUNT = 400000 };
    float *a = malloc(COUNT * sizeof *a), *b = malloc(COUNT * sizeof *b);
    cz_rng rng;
    cz_rng_init(&rng, 42, CZ_RNG_NOISE, 3, 1);
    omp_set_num_threads(1);
    cz_rng_normal_fill(&rng, 0, a, COUNT, 2.0f);
    omp_set_num_threads(3);
    cz_rng_normal_fill(&rng, 0, b, COUNT, 2.0f);
    assert_memory_equal(a, b, COUNT * sizeof *a);
    cz_rng_normal_fill(&rng, 1000, b, 5000, 2.0f); /* element i depends on i alone */
    assert_memory_equal(a + 1000, b, 5000 * sizeof *a);
    double sum = 0, square = 0, fourth = 0, lag = 0;
    for (size_t i = 0; i < COUNT; i++) {
        const double x = (double)a[i] / 2.0;
        sum += x;
        square += x * x;
        fourth += x * x * x * x;
        if (i > 0) lag += x * (double)a[i - 1] / 2.0;
    }
    /* five standard errors */
    assert_true(fabs(sum / COUNT) < 5.0 / sqrt(COUNT));
    assert_true(fabs(square / COUNT - 1.0) < 5.0 * sqrt(2.0 / COUNT));
    assert_true(fabs(fourth / COUNT - 3.0) < 5.0 * sqrt(96.0 / COUNT));
    assert_true(fabs(lag / COUNT) < 5.0 / sqrt(COUNT));
    cz_rng_init(&rng, 42, CZ_RNG_NOISE, 4, 1);
    cz_rng_normal_fill(&rng, 0, b, 64, 2.0f);
    assert_memory_not_equal(a, b, 64 * sizeof *a);
    free(a);
    free(b);
}

static void choices(void **state)
{
    (void)state;
    cz_rng rng;
    size_t hits[10] = {0}, items[10], order[10];
    for (uint64_t step = 0; step < 5000; step++) {
        cz_rng_init(&rng, 7, CZ_RNG_PATCHES, step, 0);
        cz_rng_choose(&rng, 10, 3, items);
        assert_true(items[0] < items[1] && items[1] < items[2] && items[2] < 10);
        for (size_t i = 0; i < 3; i++) hits[items[i]]++;
    }
    for (size_t i = 0; i < 10; i++) assert_in_range(hits[i], 1350, 1650); /* 1500 expected, sigma 32 */
    for (size_t i = 0; i < 10; i++) order[i] = i;
    cz_rng_shuffle(&rng, order, 10);
    size_t seen = 0;
    for (size_t i = 0; i < 10; i++) seen |= (size_t)1 << order[i];
    assert_int_equal(seen, 1023);
}

static void hash_weights(void **state)
{
    (void)state;
    double sum = 0;
    for (uint64_t i = 0; i < 100000; i++) {
        const float x = cz_hash_uniform(cz_name_hash("layer1.0.conv1.weight", 1), i);
        assert_true(x >= -1.0f && x < 1.0f);
        sum += (double)x;
    }
    assert_true(fabs(sum / 100000) < 0.01);
    assert_true(cz_name_hash("a", 1) != cz_name_hash("a", 2));
}

static void atomic_files(void **state)
{
    (void)state;
    char path[128];
    uint8_t *data;
    size_t size;
    (void)snprintf(path, sizeof path, "%s/file", folder);
    assert_int_equal(cz_file_write_atomic(path, "old", 3), CZ_OK);
    cz_atomic_file file;
    assert_int_equal(cz_atomic_open(path, &file), CZ_OK);
    assert_int_equal(cz_atomic_write(&file, "new contents", 12), CZ_OK);
    cz_atomic_abort(&file);
    assert_int_equal(cz_file_read(path, 100, &data, &size), CZ_OK);
    assert_string_equal((char *)data, "old");
    cz_free(data);
    cz_error_clear();
    assert_int_equal(cz_file_read(path, 2, &data, &size), CZ_E_LIMIT);
    cz_error_clear();
    assert_int_equal(cz_file_read(folder, 100, &data, &size), CZ_E_IO);
    assert_true(strstr(cz_last_error(), "is a folder") != NULL);
    cz_mapping mapping;
    assert_int_equal(cz_file_map(path, &mapping), CZ_OK);
    assert_memory_equal(mapping.data, "old", 3);
    cz_file_unmap(&mapping);
    cz_error_clear();
    assert_int_equal(cz_fail_errno(path, "write", ENOSPC), CZ_E_NO_SPACE);
    (void)snprintf(path, sizeof path, "%s/a/b/c", folder);
    assert_int_equal(cz_make_dirs(path), CZ_OK);
    assert_int_equal(cz_make_dirs(path), CZ_OK);
}

static void thread_scopes(void **state)
{
    (void)state;
    cz_threads_scope scope;
    omp_set_num_threads(3);
    assert_int_equal(cz_threads_enter(2, &scope), CZ_OK);
    assert_int_equal(omp_get_max_threads(), 2);
    cz_threads_leave(&scope);
    assert_int_equal(omp_get_max_threads(), 3);
    int refused = 0;
    omp_set_num_threads(2);
#pragma omp parallel reduction(+ : refused)
    {
        cz_threads_scope inner;
        refused += cz_threads_enter(1, &inner) == CZ_E_ARG;
        cz_threads_leave(&inner);
    }
    assert_int_equal(refused, 2);
}

static int set_up(void **state)
{
    (void)state;
    return mkdtemp(folder) != NULL ? 0 : -1;
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
        cmocka_unit_test(messages),     cmocka_unit_test(sizes),        cmocka_unit_test(sha256),
        cmocka_unit_test(philox),       cmocka_unit_test(normals),      cmocka_unit_test(choices),
        cmocka_unit_test(hash_weights), cmocka_unit_test(atomic_files), cmocka_unit_test(thread_scopes)};
    return cmocka_run_group_tests_name("util", tests, set_up, tear_down);
}
