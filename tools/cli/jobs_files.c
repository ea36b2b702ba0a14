/* SPDX-License-Identifier: Apache-2.0 */
#include "jobs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool jobs_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0;
}

int jobs_make_folder(const char *path)
{
    if (mkdir(path, 0777) == 0 || errno == EEXIST) {
        struct stat info;
        if (stat(path, &info) == 0 && S_ISDIR(info.st_mode)) return CLI_OK;
        errno = ENOTDIR;
    }
    cli_error("%s: cannot make this folder: %s", path, strerror(errno));
    return CLI_RESOURCES;
}

int jobs_write(const char *path, const char *text, size_t size)
{
    char part[JOBS_PATH + 8];
    (void)snprintf(part, sizeof part, "%s.part", path);
    FILE *file = fopen(part, "we");
    bool good = file != NULL && fwrite(text, 1, size, file) == size && fflush(file) == 0 && fsync(fileno(file)) == 0;
    if (file != NULL) good = fclose(file) == 0 && good;
    if (good && rename(part, path) == 0) return CLI_OK;
    cli_error("%s: cannot write: %s", path, strerror(errno));
    (void)unlink(part);
    return CLI_RESOURCES;
}

int jobs_write_json(const char *path, json_t *value)
{
    char *text = value != NULL ? json_dumps(value, JSON_INDENT(2) | JSON_SORT_KEYS | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(value);
    if (text == NULL) {
        cli_error("%s: out of memory", path);
        return CLI_RESOURCES;
    }
    const size_t length = strlen(text);
    text[length] = '\n'; /* in place of the end: jobs_write takes a size */
    const int code = jobs_write(path, text, length + 1);
    free(text);
    return code;
}

json_t *jobs_read_json(const char *path, bool say)
{
    json_error_t error;
    json_t *value = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
    if (value != NULL && json_is_object(value)) return value;
    if (say && value == NULL && error.line > 0) {
        cli_error("%s: line %d: %s", path, error.line, error.text);
    } else if (say) {
        cli_error("%s: %s", path, value == NULL ? error.text : "is no JSON object");
    }
    json_decref(value);
    return NULL;
}
