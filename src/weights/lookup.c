/* SPDX-License-Identifier: Apache-2.0 */
#include "weights/lookup.h"

#include "util/alloc.h"
#include "util/file.h"
#include "util/sha256.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define BASE "https://download.pytorch.org/models/"
#define KNOWN(name, digits, source, megabytes)                                                                         \
    {                                                                                                                  \
        name, name "-" digits ".pth", BASE name "-" digits ".pth", digits, source, megabytes                           \
    }

/* torchvision's ImageNet weights. The first of a name is what that name means: the original training recipe, which the
 * anomaly-detection literature uses. V2 is asked for by its file's stem, "resnet50-11ad3fa6". */
static const cz_known_weights KNOWN_FILES[] = {
    KNOWN("wide_resnet50_2", "95faca4d", "torchvision Wide-ResNet-50-2 IMAGENET1K_V1", 138),
    KNOWN("resnet18", "f37072fd", "torchvision ResNet-18 IMAGENET1K_V1", 47),
    KNOWN("resnet34", "b627a593", "torchvision ResNet-34 IMAGENET1K_V1", 87),
    KNOWN("resnet50", "0676ba61", "torchvision ResNet-50 IMAGENET1K_V1", 103),
    KNOWN("resnet101", "63fe2227", "torchvision ResNet-101 IMAGENET1K_V1", 179),
    KNOWN("wide_resnet101_2", "32ee1156", "torchvision Wide-ResNet-101-2 IMAGENET1K_V1", 255),
    KNOWN("wide_resnet50_2", "9ba9bcbe", "torchvision Wide-ResNet-50-2 IMAGENET1K_V2", 276),
    KNOWN("resnet50", "11ad3fa6", "torchvision ResNet-50 IMAGENET1K_V2", 103),
    KNOWN("resnet101", "cd907fc2", "torchvision ResNet-101 IMAGENET1K_V2", 179),
    KNOWN("wide_resnet101_2", "d733dc28", "torchvision Wide-ResNet-101-2 IMAGENET1K_V2", 508),
};

size_t cz_known_weights_count(void)
{
    return sizeof KNOWN_FILES / sizeof KNOWN_FILES[0];
}

const cz_known_weights *cz_known_weights_at(size_t index)
{
    return index < cz_known_weights_count() ? &KNOWN_FILES[index] : NULL;
}

/* Adds a folder unless it is there already; takes ownership. */
static cz_status add_folder(char **folders, char *folder)
{
    if (!folder) return CZ_E_MEMORY;
    size_t i = 0;
    while (i < CZ_WEIGHTS_FOLDERS && folders[i] && strcmp(folders[i], folder) != 0) i++;
    if (i == CZ_WEIGHTS_FOLDERS || folders[i] || folder[0] == '\0') {
        cz_free(folder);
    } else {
        folders[i] = folder;
    }
    return CZ_OK;
}

cz_status cz_weights_folders(char **folders)
{
    cz_status status;
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    for (size_t i = 0; i < CZ_WEIGHTS_FOLDERS; i++) folders[i] = NULL;
    CZ_TRY(add_folder(folders, cz_home_dir()));
    if (cache && cache[0] == '/') {
        CZ_TRY(add_folder(folders, cz_path_join(cache, "cozad")));
    } else if (home && home[0] == '/') {
        CZ_TRY(add_folder(folders, cz_path_join(home, ".cache/cozad")));
    }
    CZ_TRY(add_folder(folders, cz_share_dir()));
out:
    if (status != CZ_OK) cz_weights_folders_free(folders);
    return status;
}

void cz_weights_folders_free(char **folders)
{
    for (size_t i = 0; i < CZ_WEIGHTS_FOLDERS; i++) {
        cz_free(folders[i]);
        folders[i] = NULL;
    }
}

static bool is_file(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

/* *path is FOLDER/FILE when that exists, else unchanged. */
static cz_status try_file(const char *folder, const char *file, const char *extension, char **path)
{
    if (*path) return CZ_OK;
    char *candidate = cz_format("%s/%s%s", folder, file, extension);
    if (!candidate) return CZ_E_MEMORY;
    if (is_file(candidate)) {
        *path = candidate;
    } else {
        cz_free(candidate);
    }
    return CZ_OK;
}

static cz_status try_folder(const char *folder, const char *name, char **path)
{
    cz_status status;
    CZ_TRY(try_file(folder, name, ".safetensors", path));
    CZ_TRY(try_file(folder, name, ".pth", path));
    for (size_t i = 0; i < cz_known_weights_count(); i++) {
        if (strcmp(KNOWN_FILES[i].name, name) == 0) CZ_TRY(try_file(folder, KNOWN_FILES[i].file, "", path));
    }
    CZ_TRY(try_file(folder, name, "", path));
out:
    return status;
}

static bool is_known(const char *name)
{
    const size_t length = strlen(name);
    for (size_t i = 0; i < cz_known_weights_count(); i++) {
        const char *file = KNOWN_FILES[i].file;
        if (strcmp(KNOWN_FILES[i].name, name) == 0 || strcmp(file, name) == 0) return true;
        if (strncmp(file, name, length) == 0 && strcmp(file + length, ".pth") == 0) return true;
    }
    return false;
}

static cz_status fail_not_found(const char *name, char **folders)
{
    if (strchr(name, '/')) return cz_fail(CZ_E_WEIGHTS, "there is no weight file \"%s\"", name);
    char *places = cz_strdup(folders[0]);
    for (size_t i = 1; places && i < CZ_WEIGHTS_FOLDERS && folders[i]; i++) {
        char *longer = cz_format("%s, %s", places, folders[i]);
        cz_free(places);
        places = longer;
    }
    if (!places) return CZ_E_MEMORY;
    if (strcmp(name, "builtin") == 0) {
        (void)cz_fail(CZ_E_WEIGHTS,
                      "no weights \"builtin\" in %s; they come with cozad as share/cozad/builtin.safetensors and are "
                      "missing from this installation",
                      places);
    } else if (is_known(name)) {
        (void)cz_fail(CZ_E_WEIGHTS,
                      "no weights \"%s\" in %s; get them with `cozad weights fetch %s`, or give a file's path", name,
                      places, name);
    } else {
        (void)cz_fail(
            CZ_E_WEIGHTS,
            "no file and no weights \"%s\" in %s (known names: builtin, wide_resnet50_2, resnet18, resnet34, resnet50, "
            "resnet101, wide_resnet101_2; `cozad weights fetch NAME` downloads)",
            name, places);
    }
    cz_free(places);
    return CZ_E_WEIGHTS;
}

cz_status cz_weights_lookup(const char *name, char **path)
{
    cz_status status;
    char *folders[CZ_WEIGHTS_FOLDERS] = {NULL};
    char *found = NULL;
    if (name[0] == '\0') return cz_fail(CZ_E_ARG, "an empty name of weights");
    CZ_TRY(cz_weights_folders(folders));
    if (is_file(name)) {
        found = cz_strdup(name);
        if (!found) CZ_TRY(CZ_E_MEMORY);
    }
    for (size_t i = 0; !found && i < CZ_WEIGHTS_FOLDERS && folders[i] && !strchr(name, '/'); i++)
        CZ_TRY(try_folder(folders[i], name, &found));
    if (!found) CZ_TRY(fail_not_found(name, folders));
    *path = found;
out:
    cz_weights_folders_free(folders);
    return status;
}

char *cz_backbone_search_path(void)
{
    char *folders[CZ_WEIGHTS_FOLDERS];
    cz_error_clear();
    if (cz_weights_folders(folders) != CZ_OK) return NULL;
    char *text = cz_format("%s%s%s%s%s", folders[0] ? folders[0] : "", folders[1] ? "\n" : "",
                           folders[1] ? folders[1] : "", folders[2] ? "\n" : "", folders[2] ? folders[2] : "");
    cz_weights_folders_free(folders);
    return text;
}

char *cz_home(void)
{
    cz_error_clear();
    return cz_home_dir();
}

cz_status cz_file_sha256(const char *path, char hex[65])
{
    cz_error_clear();
    if (!path || !hex) return cz_fail(CZ_E_ARG, "cz_file_sha256: a NULL argument");
    cz_mapping mapping = {NULL, 0};
    const cz_status status = cz_file_map(path, &mapping);
    if (status != CZ_OK) return status;
    cz_sha256 sha;
    uint8_t digest[32];
    cz_sha256_init(&sha);
    cz_sha256_update(&sha, mapping.data, mapping.size);
    cz_sha256_final(&sha, digest);
    cz_sha256_hex(digest, hex);
    cz_file_unmap(&mapping);
    return CZ_OK;
}
