/* SPDX-License-Identifier: Apache-2.0 */
#include "api/weights_find.h"
#include "backbone/backbone.h"
#include "backbone/packed.h"
#include "util/alloc.h"
#include "util/file.h"
#include "weights/lookup.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char RANDOM[] = "random:";

static bool is_random(const char *name)
{
    return strncmp(name, RANDOM, sizeof RANDOM - 1) == 0;
}

/* "random:ARCH" or "random:ARCH:SEED"; the seed is 0 unless given. */
static cz_status open_random(const char *name, cz_backbone **out)
{
    const char *text = name + sizeof RANDOM - 1;
    const char *colon = strchr(text, ':');
    uint64_t seed = 0;
    if (colon) {
        char *end = NULL;
        errno = 0;
        seed = strtoull(colon + 1, &end, 10);
        if (colon[1] < '0' || colon[1] > '9' || *end != '\0' || errno != 0)
            return cz_fail(CZ_E_ARG, "\"%s\": expected random:ARCH or random:ARCH:SEED", name);
    }
    char *architecture = cz_strndup(text, colon ? (size_t)(colon - text) : strlen(text));
    if (!architecture) return CZ_E_MEMORY;
    const cz_status status = cz_backbone_random(architecture, seed, out);
    cz_free(architecture);
    return status;
}

static cz_status read_file(const char *shown, const char *path, cz_backbone **out)
{
    cz_status status;
    cz_tensors *tensors = NULL;
    CZ_TRY(cz_tensors_open(path, &tensors));
    status = cz_backbone_from_tensors(tensors, shown, path, out);
    if (status != CZ_OK && !strstr(cz_last_error(), path)) status = cz_fail_prefix(status, path);
out:
    cz_tensors_close(tensors);
    return status;
}

/* A file that was read before and of which there are packed weights is left alone until its own are needed. */
static cz_status open_file(const char *name, const char *path, cz_backbone **out)
{
    cz_status status = CZ_OK;
    char sha256[65] = "";
    cz_weights_stamp stamp = {NULL, 0, 0};
    cz_backbone *b = NULL;
    /* A path is shortened to its stem; a name stays as it was asked for. */
    char *shown = strcmp(name, path) == 0 ? cz_path_stem(path) : cz_strdup(name);
    if (!shown) return CZ_E_MEMORY;
    if (cz_packed_enabled()) cz_weights_known(path, &stamp, sha256);
    if (sha256[0] != '\0') CZ_TRY(cz_packed_open(sha256, shown, path, &b));
    if (!b) {
        CZ_TRY(read_file(shown, path, &b));
        cz_weights_learn(&stamp, cz_backbone_sha256(b));
    }
    *out = b;
out:
    cz_free(stamp.path);
    cz_free(shown);
    return status;
}

cz_status cz_backbone_open(const char *name, cz_backbone **out)
{
    cz_error_clear();
    if (!name || !out) return cz_fail(CZ_E_ARG, "cz_backbone_open: a NULL argument");
    if (is_random(name)) return open_random(name, out);
    char *path = NULL;
    cz_status status = cz_weights_lookup(name, &path);
    if (status == CZ_OK) status = open_file(name, path, out);
    cz_free(path);
    return status;
}

/* Weights that are nowhere any more may have been packed while they were. */
static cz_status open_vanished(cz_status status, const char *sha256_hex, const char *name, cz_backbone **out)
{
    if (status != CZ_E_WEIGHTS || cz_packed_open(sha256_hex, name, "", out) != CZ_OK || !*out) return status;
    cz_error_clear();
    return CZ_OK;
}

cz_status cz_backbone_open_sha(const char *sha256_hex, const char *name_hint, cz_backbone **out)
{
    cz_status status;
    char *path = NULL;
    cz_backbone *b = NULL;
    if (name_hint && is_random(name_hint)) {
        CZ_TRY(cz_backbone_open(name_hint, &b));
    } else {
        status = cz_weights_find_sha(sha256_hex, name_hint, &path);
        if (status == CZ_OK)
            CZ_TRY(cz_backbone_open(path, &b));
        else
            CZ_TRY(open_vanished(status, sha256_hex, name_hint, &b));
    }
    /* The index goes by size and time; what was loaded is what counts. */
    if (strcmp(cz_backbone_sha256(b), sha256_hex) != 0)
        CZ_TRY(cz_fail(CZ_E_WEIGHTS, "%s is not the backbone that the model was made with", path ? path : name_hint));
    *out = b;
    b = NULL;
out:
    cz_backbone_close(b);
    cz_free(path);
    return status;
}
