/* SPDX-License-Identifier: Apache-2.0 */
/* cozad weights: what is where (list) and the dispatch to the other sub-verbs. */
#include "cmd_weights.h"

#include <dirent.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

const cz_known_weights *weights_known(const char *name)
{
    const size_t length = strlen(name);
    for (size_t i = 0; i < cz_known_weights_count(); i++) {
        const cz_known_weights *k = cz_known_weights_at(i);
        if (strcmp(k->name, name) == 0 || strcmp(k->file, name) == 0) return k;
        if (strncmp(k->file, name, length) == 0 && strcmp(k->file + length, ".pth") == 0) return k;
    }
    return NULL;
}

const cz_known_weights *weights_known_file(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *file = slash ? slash + 1 : path;
    for (size_t i = 0; i < cz_known_weights_count(); i++) {
        if (strcmp(cz_known_weights_at(i)->file, file) == 0) return cz_known_weights_at(i);
    }
    return NULL;
}

const char *weights_dtype_name(cz_dtype dtype)
{
    static const char *const NAMES[] = {"F32", "F16", "BF16", "F64", "I64", "I32", "I8", "U8"};
    return (size_t)dtype < sizeof NAMES / sizeof NAMES[0] ? NAMES[dtype] : "?";
}

char *weights_join(const char *folder, const char *file)
{
    const size_t size = strlen(folder) + strlen(file) + 2;
    char *path = malloc(size);
    if (path) {
        (void)snprintf(path, size, "%s/%s", folder, file);
    } else {
        cli_error("out of memory");
    }
    return path;
}

/* ---- list ---- */

static bool is_weight_file(const char *name)
{
    static const char *const EXTENSIONS[] = {".safetensors", ".pth", ".pt"};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < sizeof EXTENSIONS / sizeof EXTENSIONS[0]; i++) {
        if (strcmp(dot, EXTENSIONS[i]) == 0) return true;
    }
    return false;
}

/* Metadata "version" of a safetensors file, which is short to read; "" without. version: [32] */
static void read_version(const char *path, char version[32])
{
    cz_tensors *t = NULL;
    const char *dot = strrchr(path, '.');
    version[0] = '\0';
    if (strcmp(dot, ".safetensors") != 0 || cz_tensors_open(path, &t) != CZ_OK) return;
    const char *text = cz_tensors_metadata(t, "version");
    if (text && strlen(text) < 32) (void)snprintf(version, 32, "%s", text);
    cz_tensors_close(t);
}

static void print_file(const char *name, const char *path, uint64_t bytes, bool json)
{
    char size[32], version[32];
    read_version(path, version);
    if (json) {
        json_t *line = json_pack("{s:s, s:s, s:I}", "name", name, "path", path, "bytes", (json_int_t)bytes);
        if (line && version[0]) (void)json_object_set_new(line, "version", json_string(version));
        char *text = line ? json_dumps(line, 0) : NULL;
        if (text) puts(text);
        free(text);
        json_decref(line);
    } else {
        printf("%-36s %10s  %s%s%s%s\n", name, cli_bytes(bytes, size), path, version[0] ? " (" : "", version,
               version[0] ? ")" : "");
    }
}

/* Prints the weight files of a folder; marks the known ones in `found`. Returns how many there were, -1 out of memory. */
static int list_folder(const char *folder, bool json, bool *found)
{
    struct dirent **entries = NULL;
    const int count = scandir(folder, &entries, NULL, alphasort);
    int printed = 0;
    for (int i = 0; i < count; i++) {
        const char *file = entries[i]->d_name;
        char *path = is_weight_file(file) ? weights_join(folder, file) : NULL;
        struct stat info;
        if (path && stat(path, &info) == 0 && S_ISREG(info.st_mode)) {
            char *name = strndup(file, (size_t)(strrchr(file, '.') - file));
            print_file(name ? name : file, path, (uint64_t)info.st_size, json);
            for (size_t k = 0; name && k < cz_known_weights_count(); k++) {
                const cz_known_weights *known = cz_known_weights_at(k);
                if (strcmp(known->file, file) == 0 || strcmp(known->name, name) == 0) found[k] = true;
            }
            free(name);
            printed++;
        }
        free(path);
        free(entries[i]);
    }
    free(entries);
    return printed;
}

static void list_missing(const bool *found, bool json)
{
    for (size_t i = 0; i < cz_known_weights_count(); i++) {
        const cz_known_weights *k = cz_known_weights_at(i);
        if (found[i]) continue;
        if (json) {
            json_t *line = json_pack("{s:s, s:s, s:n, s:s}", "name", k->name, "file", k->file, "path", "url", k->url);
            char *text = line ? json_dumps(line, 0) : NULL;
            if (text) puts(text);
            free(text);
            json_decref(line);
        } else {
            char name[64];
            (void)snprintf(name, sizeof name, "%.*s", (int)strlen(k->file) - 4, k->file);
            printf("%-36s %7llu MB  not here: cozad weights fetch %s\n", name, (unsigned long long)k->megabytes,
                   weights_known(k->name) == k ? k->name : name);
        }
    }
}

int weights_list(int argc, char **argv)
{
    static const cli_verb VERB = {
        "weights list", "[--json]",
        "Lists the weight files in the folders that names are looked up in, and those to be had.",
        "The folders are $COZAD_HOME, $XDG_CACHE_HOME/cozad (else ~/.cache/cozad) and the installed share folder, "
        "where "
        "builtin is, the weights that come with cozad.",
        "  cozad weights list"};
    bool json = false;
    const cli_option options[] = {{"json", 0, CLI_FLAG, &json, NULL, "one JSON object a line", NULL}};
    cli_list args = {NULL, 0};
    const int code = cli_parse(&VERB, options, 1, argc, argv, &args);
    const bool extra = args.count > 0;
    cli_list_free(&args);
    if (code >= 0) return code;
    if (extra) {
        cli_error("weights list takes no arguments");
        return CLI_USAGE;
    }
    char *folders = cz_backbone_search_path();
    bool *found = calloc(cz_known_weights_count(), sizeof *found);
    if (!folders || !found) {
        free(found);
        cz_string_free(folders);
        return cli_fail(CZ_E_MEMORY);
    }
    char *rest = folders;
    for (char *folder; (folder = strsep(&rest, "\n")) != NULL;) {
        if (list_folder(folder, json, found) == 0 && !json) printf("%-36s %10s  %s\n", "(none)", "", folder);
    }
    list_missing(found, json);
    free(found);
    cz_string_free(folders);
    return cli_finish_output(CLI_OK);
}

/* ---- dispatch ---- */

static const struct {
    const char *name, *summary;
    int (*run)(int argc, char **argv);
} PARTS[] = {
    {"list", "which weights are where", weights_list},
    {"inspect", "the tensors and metadata of a file", weights_inspect},
    {"convert", "a PyTorch checkpoint to safetensors, ranges for int8", weights_convert},
    {"verify", "check that a file is whole and is a backbone", weights_verify},
    {"fetch", "download published weights", weights_fetch},
};

static void print_help(FILE *stream)
{
    fprintf(stream, "Usage: cozad weights VERB [options]\n\nFiles with the weights of backbones.\n\nVerbs:\n");
    for (size_t i = 0; i < sizeof PARTS / sizeof PARTS[0]; i++)
        fprintf(stream, "  %-10s %s\n", PARTS[i].name, PARTS[i].summary);
    fprintf(stream, "\n'cozad weights VERB --help' says more.\n\nExample:\n  cozad weights fetch wide_resnet50_2\n");
}

int cmd_weights(int argc, char **argv)
{
    if (argc < 2) {
        print_help(stderr);
        return CLI_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_help(stdout);
        return cli_finish_output(CLI_OK);
    }
    for (size_t i = 0; i < sizeof PARTS / sizeof PARTS[0]; i++) {
        if (strcmp(argv[1], PARTS[i].name) == 0) return PARTS[i].run(argc - 1, argv + 1);
    }
    cli_error("weights: there is no verb \"%s\" (list, inspect, convert, verify, fetch)", argv[1]);
    return CLI_USAGE;
}
