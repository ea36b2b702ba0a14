/* SPDX-License-Identifier: Apache-2.0 */
#include "common.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void common_init(common_options *o)
{
    memset(o, 0, sizeof *o);
    o->cache_dir = "";
    o->cache_limit = (uint64_t)20 * 1000 * 1000 * 1000;
    o->read = (cz_read_options)CZ_READ_OPTIONS_INIT;
    o->cache = (cz_cache_options)CZ_CACHE_OPTIONS_INIT;
    o->precision = CZ_PRECISION_MODEL;
}

void common_finish(common_options *o)
{
    o->cache.dir = o->no_cache ? NULL : o->cache_dir;
    o->cache.limit_bytes = o->cache_limit;
    if (o->precision_name != NULL) (void)cz_precision_find(o->precision_name, &o->precision); /* one of the choices */
}

static bool exists_in(const char *folders, const char *name)
{
    char path[4096];
    struct stat info;
    while (*folders != '\0') {
        const size_t length = strcspn(folders, "\n");
        if (length > 0 && snprintf(path, sizeof path, "%.*s/%s", (int)length, folders, name) < (int)sizeof path &&
            stat(path, &info) == 0 && S_ISREG(info.st_mode) && access(path, R_OK) == 0) {
            return true;
        }
        folders += length + (folders[length] == '\n' ? 1 : 0);
    }
    return false;
}

static const char usual[] = "wide_resnet50_2", fallback[] = "builtin";

/* Under any of the names that cz_backbone_open looks it up by. */
static bool has_usual(const char *folders)
{
    if (exists_in(folders, "wide_resnet50_2.safetensors") || exists_in(folders, "wide_resnet50_2.pth") ||
        exists_in(folders, usual))
        return true;
    for (size_t i = 0; i < cz_known_weights_count(); i++) {
        const cz_known_weights *known = cz_known_weights_at(i);
        if (strcmp(known->name, usual) == 0 && exists_in(folders, known->file)) return true;
    }
    return false;
}

const char *common_default_backbone(void)
{
    char *folders = cz_backbone_search_path();
    const char *name = usual;
    if (folders != NULL && !has_usual(folders) && exists_in(folders, "builtin.safetensors")) name = fallback;
    cz_string_free(folders);
    return name;
}

cz_status common_open_backbone(const char *name, cz_backbone **out)
{
    const cz_status status = cz_backbone_open(name, out);
    if (status == CZ_OK && name == fallback) /* the very string: a name that was given is another */
        cli_note("backbone: the built-in one (%s), as wide_resnet50_2 is not installed; --backbone takes another",
                 cz_backbone_version(*out)[0] != '\0' ? cz_backbone_version(*out) : fallback);
    return status;
}

int common_check_writable(const char *path)
{
    char *folder = strdup(path);
    if (folder == NULL) return CLI_RESOURCES;
    char *slash = strrchr(folder, '/');
    if (slash != NULL) slash[slash == folder ? 1 : 0] = '\0';
    struct stat info;
    const char *where = slash != NULL ? folder : ".";
    int code = CLI_OK;
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode)) {
        cli_error("%s: is a folder", path);
        code = CLI_RESOURCES;
    } else if (access(where, W_OK | X_OK) != 0) {
        cli_error("%s: cannot write there: %s", path, strerror(errno));
        code = CLI_RESOURCES;
    }
    free(folder);
    return code;
}

void common_print_json(json_t *line)
{
    char *text = line != NULL ? json_dumps(line, JSON_COMPACT | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(9)) : NULL;
    if (text != NULL) {
        (void)puts(text);
    } else {
        cli_error("a result could not be written as JSON (is a path not UTF-8?)");
    }
    free(text);
    json_decref(line);
    (void)fflush(stdout);
}

json_t *common_json_real(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

void common_print_csv_field(const char *text)
{
    if (strpbrk(text, ",\"\r\n") == NULL) {
        (void)fputs(text, stdout);
        return;
    }
    (void)putchar('"');
    for (; *text != '\0'; text++) {
        if (*text == '"') (void)putchar('"');
        (void)putchar(*text);
    }
    (void)putchar('"');
}

int common_open_model(const char *path, const char *backbone, cz_model **out)
{
    cz_backbone *weights = NULL;
    cz_status status = backbone != NULL ? cz_backbone_open(backbone, &weights) : CZ_OK;
    if (status == CZ_OK) status = cz_model_open(path, weights, out);
    cz_backbone_close(weights);
    return status == CZ_OK ? CLI_OK : cli_fail_model(status);
}
