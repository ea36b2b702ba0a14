/* SPDX-License-Identifier: Apache-2.0 */
/* Made-up data sets in a folder that is removed again, and what is expected of them. */
#ifndef TESTS_UNIT_DATASET_TREE_H
#define TESTS_UNIT_DATASET_TREE_H

#include "data/dataset.h"
#include "util/alloc.h"
#include "util/file.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- trees --------------------------------------------------------------------------------------------------- */

static char base[] = "/tmp/cozad-dataset-XXXXXX";

static inline int drop(const char *path, const struct stat *info, int flag, struct FTW *ftw)
{
    (void)info;
    (void)flag;
    (void)ftw;
    return remove(path);
}

static inline int begin(void **state)
{
    (void)state;
    memcpy(base + strlen(base) - 6, "XXXXXX", 6);
    return mkdtemp(base) != NULL ? 0 : -1;
}

static inline int end(void **state)
{
    (void)state;
    return nftw(base, drop, 16, FTW_DEPTH | FTW_PHYS);
}

static inline void write_bytes(const char *path, const void *bytes, size_t size)
{
    char full[512];
    (void)snprintf(full, sizeof full, "%s/%s", base, path);
    for (char *p = full + strlen(base) + 1; (p = strchr(p, '/')) != NULL; p++) {
        *p = '\0';
        (void)mkdir(full, 0777);
        *p = '/';
    }
    FILE *file = fopen(full, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

/* Empty files, separated by spaces: no picture is read. */
static inline void touch(const char *paths)
{
    char copy[4096];
    (void)snprintf(copy, sizeof copy, "%s", paths);
    for (char *p = strtok(copy, " "); p != NULL; p = strtok(NULL, " ")) write_bytes(p, "", 0);
}

static inline const char *below(const char *path)
{
    static char full[512];
    (void)snprintf(full, sizeof full, "%s%s%s", base, path[0] != '\0' ? "/" : "", path);
    return full;
}

/* ---- what is expected ---------------------------------------------------------------------------------------- */

/* "category split label kind relative[<mask…]\n"; splits: a r(train) t(test) v(alidation); "~" is an empty text. */
static inline void describe(const cz_dataset *d, const char *mask_root, char *out, size_t size)
{
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < cz_dataset_count(d); i++) {
        const cz_sample *s = cz_dataset_at(d, i);
        used += (size_t)snprintf(out + used, size - used, "%s %c %d %s %s", s->category[0] != '\0' ? s->category : "~",
                                 "artv"[s->split], s -> label, s -> kind[0] != '\0' ? s->kind : "~", s->relative);
        for (size_t m = 0; m < s->mask_count; m++) {
            assert_memory_equal(s->masks[m], mask_root, strlen(mask_root));
            used += (size_t)snprintf(out + used, size - used, "<%s", s->masks[m] + strlen(mask_root) + 1);
        }
        used += (size_t)snprintf(out + used, size - used, "\n");
        assert_true(used < size);
    }
    assert_null(cz_dataset_at(d, cz_dataset_count(d)));
}

static inline void check(const char *folder, const char *layout, const char *detected, const char *wanted)
{
    char got[8192];
    cz_dataset *d = NULL;
    const char *root = below(folder);
    if (cz_dataset_open(root, layout, &d) != CZ_OK) fail_msg("%s", cz_last_error());
    assert_string_equal(cz_dataset_layout(d), detected);
    describe(d, root, got, sizeof got);
    assert_string_equal(got, wanted);
    for (size_t i = 0; i < cz_dataset_count(d); i++) {
        const cz_sample *s = cz_dataset_at(d, i);
        assert_memory_equal(s->path, root, strlen(root));
        assert_string_equal(s->path + strlen(root) + 1, s->relative);
    }
    cz_dataset_close(d);
}

/* Detected, and named. */
static inline void check_both(const char *folder, const char *layout, const char *wanted)
{
    check(folder, NULL, layout, wanted);
    check(folder, layout, layout, wanted);
}

static inline void check_rule(const char *folder, const char *layout, cz_mask_rule rule)
{
    cz_dataset *d = NULL;
    assert_int_equal(cz_dataset_open(below(folder), layout, &d), CZ_OK);
    assert_true(cz_dataset_count(d) > 0);
    for (size_t i = 0; i < cz_dataset_count(d); i++) assert_int_equal(cz_dataset_at(d, i)->mask_rule, rule);
    cz_dataset_close(d);
}

static inline void check_strays(const char *folder, const char *wanted)
{
    char got[2048] = "";
    cz_dataset *d = NULL;
    const char *root = below(folder);
    assert_int_equal(cz_dataset_open(root, NULL, &d), CZ_OK);
    for (size_t i = 0; i < cz_dataset_stray_masks(d); i++) {
        strcat(got, cz_dataset_stray_mask(d, i) + strlen(root) + 1);
        strcat(got, " ");
    }
    assert_null(cz_dataset_stray_mask(d, cz_dataset_stray_masks(d)));
    assert_string_equal(got, wanted);
    cz_dataset_close(d);
}

static inline void refused(const char *folder, const char *layout, cz_status status, const char *reason)
{
    cz_dataset *d = (cz_dataset *)&d;
    assert_int_equal(cz_dataset_open(below(folder), layout, &d), status);
    assert_ptr_equal(d, &d);
    if (strstr(cz_last_error(), reason) == NULL) fail_msg("\"%s\" has no \"%s\"", cz_last_error(), reason);
}

#endif
