/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"

#include "data/dataset.h"
#include "util/alloc.h"

#include <string.h>

/* No path has a component "..", and none begins at the root. */
static void check_path(const char *path)
{
    if (path[0] == '/' || path[0] == '\0') __builtin_trap();
    for (const char *p = path; p != NULL; p = strchr(p, '/')) {
        if (*p == '/') p++;
        if (strncmp(p, "..", 2) == 0 && (p[2] == '/' || p[2] == '\0')) __builtin_trap();
    }
}

static void parse(const uint8_t *data, size_t size,
                  cz_status (*read)(cz_dataset *d, const char *bytes, size_t size, const char *name))
{
    cz_dataset *d = cz_calloc(1, sizeof *d);
    cz_error_clear();
    if (d == NULL) return;
    d->root = cz_strdup("r");
    if (d->root != NULL) (void)read(d, (const char *)data, size, "manifest");
    for (size_t i = 0; i < cz_dataset_count(d); i++) {
        const cz_sample *s = cz_dataset_at(d, i);
        check_path(s->relative);
        for (size_t m = 0; m < s->mask_count; m++) check_path(s->masks[m] + 2);
    }
    cz_dataset_close(d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    parse(data, size, cz_manifest_csv);
    parse(data, size, cz_manifest_jsonl);
    return 0;
}
