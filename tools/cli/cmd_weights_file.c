/* SPDX-License-Identifier: Apache-2.0 */
/* cozad weights inspect and verify: what is said of one file. */
#include "cmd_weights.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The one or two positional arguments; false (reported) for another number. */
static bool take_arguments(const cli_list *args, size_t count, const char *verb, const char *what)
{
    if (args->count == count) return true;
    cli_error("weights %s needs %s", verb, what);
    return false;
}

static bool print_json(json_t *line)
{
    char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;
    const bool good = text != NULL;
    if (good) puts(text);
    free(text);
    json_decref(line);
    if (!good) cli_error("out of memory");
    return good;
}

/* ---- inspect ---- */

static void print_tensor(const cz_tensor_view *v)
{
    char shape[CZ_MAX_RANK * 21 + 3] = "[", size[32];
    size_t at = 1;
    for (size_t i = 0; i < v->rank; i++)
        at += (size_t)snprintf(shape + at, sizeof shape - at, "%s%zu", i ? ", " : "", v->shape[i]);
    (void)snprintf(shape + at, sizeof shape - at, "]");
    printf("%-44s %-4s %-22s %10s\n", v->name, weights_dtype_name(v->dtype), shape, cli_bytes(v->bytes, size));
}

static json_t *tensor_json(const cz_tensor_view *v)
{
    json_t *shape = json_array();
    for (size_t i = 0; i < v->rank; i++) (void)json_array_append_new(shape, json_integer((json_int_t)v->shape[i]));
    return json_pack("{s:s, s:s, s:o, s:I}", "name", v->name, "dtype", weights_dtype_name(v->dtype), "shape", shape,
                     "bytes", (json_int_t)v->bytes);
}

static int inspect_json(const cz_tensors *t)
{
    json_t *metadata = json_object();
    for (size_t i = 0; i < cz_tensors_metadata_count(t); i++) {
        const char *key, *value;
        if (cz_tensors_metadata_at(t, i, &key, &value) == CZ_OK)
            (void)json_object_set_new(metadata, key, json_string(value));
    }
    if (!print_json(json_pack("{s:s, s:I, s:o}", "format", cz_tensors_format(t), "tensors",
                              (json_int_t)cz_tensors_count(t), "metadata", metadata)))
        return CLI_RESOURCES;
    for (size_t i = 0; i < cz_tensors_count(t); i++) {
        cz_tensor_view v;
        if (cz_tensors_get(t, i, &v) == CZ_OK && !print_json(tensor_json(&v))) return CLI_RESOURCES;
    }
    return CLI_OK;
}

static int inspect_text(const cz_tensors *t)
{
    char size[32];
    uint64_t bytes = 0;
    for (size_t i = 0; i < cz_tensors_metadata_count(t); i++) {
        const char *key, *value;
        if (cz_tensors_metadata_at(t, i, &key, &value) == CZ_OK) printf("# %s: %s\n", key, value);
    }
    for (size_t i = 0; i < cz_tensors_count(t); i++) {
        cz_tensor_view v;
        if (cz_tensors_get(t, i, &v) != CZ_OK) continue;
        print_tensor(&v);
        bytes += v.bytes;
    }
    printf("%zu tensors, %s, %s\n", cz_tensors_count(t), cli_bytes(bytes, size), cz_tensors_format(t));
    return CLI_OK;
}

/* A name that is no file means what --backbone means by it. */
static cz_status open_named(const char *name, cz_tensors **out)
{
    cz_backbone *b = NULL;
    const bool named = strpbrk(name, "/.:") == NULL && access(name, F_OK) != 0;
    cz_status status = named ? cz_backbone_open(name, &b) : CZ_OK;
    if (status == CZ_OK) status = cz_tensors_open(named ? cz_backbone_path(b) : name, out);
    cz_backbone_close(b);
    return status;
}

int weights_inspect(int argc, char **argv)
{
    static const cli_verb VERB = {
        "weights inspect", "[--json] FILE|NAME",
        "Prints the tensors (name, type, shape, size) and metadata of a weight file.",
        "Safetensors and PyTorch checkpoints of both formats are recognised by content. With --json the first line "
        "describes the file, every other one a tensor.",
        "  cozad weights inspect wide_resnet50_2-95faca4d.pth"};
    bool json = false;
    const cli_option options[] = {{"json", 0, CLI_FLAG, &json, NULL, "one JSON object a line", NULL}};
    cli_list args = {NULL, 0};
    int code = cli_parse(&VERB, options, 1, argc, argv, &args);
    if (code >= 0) return code;
    if (!take_arguments(&args, 1, "inspect", "one FILE")) {
        cli_list_free(&args);
        return CLI_USAGE;
    }
    cz_tensors *t = NULL;
    const cz_status status = open_named(args.items[0], &t);
    cli_list_free(&args);
    if (status != CZ_OK) return cli_fail_model(status);
    code = json ? inspect_json(t) : inspect_text(t);
    cz_tensors_close(t);
    return cli_finish_output(code);
}

/* ---- verify ---- */

/* The exponent bits of a little-endian float's top 16 bits, all set for infinities and NaN; 0 for whole numbers. */
static unsigned exponent_mask(cz_dtype dtype)
{
    switch (dtype) {
    case CZ_F32:
    case CZ_BF16:
        return 0x7f80;
    case CZ_F16:
        return 0x7c00;
    case CZ_F64:
        return 0x7ff0;
    default:
        return 0;
    }
}

static size_t count_not_finite(const cz_tensor_view *v)
{
    const unsigned mask = exponent_mask(v->dtype);
    const size_t item = v->dtype == CZ_F64 ? 8 : v->dtype == CZ_F32 ? 4 : 2;
    const uint8_t *bytes = v->data;
    size_t count = 0;
    if (mask == 0) return 0;
    for (size_t at = item; at <= v->bytes; at += item) {
        const unsigned top = bytes[at - 2] | (unsigned)bytes[at - 1] << 8;
        count += (top & mask) == mask;
    }
    return count;
}

/* An exit code; CLI_OK when every number of the file is finite. */
static int check_values(const char *path, size_t *tensors)
{
    cz_tensors *t = NULL;
    const cz_status status = cz_tensors_open(path, &t);
    if (status != CZ_OK) return cli_fail_model(status);
    int code = CLI_OK;
    *tensors = cz_tensors_count(t);
    for (size_t i = 0; i < *tensors && code == CLI_OK; i++) {
        cz_tensor_view v;
        const size_t bad = cz_tensors_get(t, i, &v) == CZ_OK ? count_not_finite(&v) : 0;
        if (bad > 0) {
            cli_error("%s: tensor \"%s\" holds %zu values that are not finite", path, v.name, bad);
            code = CLI_BAD_MODEL;
        }
    }
    cz_tensors_close(t);
    return code;
}

static int print_verified(const cz_backbone *b, const char *hex, size_t tensors, const cz_known_weights *known,
                          bool json)
{
    if (json) {
        json_t *line = json_pack("{s:s, s:s, s:s, s:s, s:I}", "path", cz_backbone_path(b), "sha256", hex,
                                 "architecture", cz_backbone_architecture(b), "backbone_sha256", cz_backbone_sha256(b),
                                 "tensors", (json_int_t)tensors);
        if (line && cz_backbone_version(b)[0])
            (void)json_object_set_new(line, "version", json_string(cz_backbone_version(b)));
        if (line) (void)json_object_set_new(line, "published", known ? json_string(known->source) : json_null());
        return print_json(line) ? CLI_OK : CLI_RESOURCES;
    }
    printf("%s: ok\n  architecture     %s, %zu tensors\n  file SHA-256     %s\n  backbone SHA-256 %s\n",
           cz_backbone_path(b), cz_backbone_architecture(b), tensors, hex, cz_backbone_sha256(b));
    if (cz_backbone_version(b)[0]) printf("  version          %s\n", cz_backbone_version(b));
    printf("  features         %zu numbers a patch unless told otherwise, %s\n", cz_backbone_feature_width(b),
           cz_backbone_has_ranges(b) ? "ranges for int8 inside" : "no ranges for int8");
    if (known) printf("  published as     %s (its SHA-256 begins with %s)\n", known->source, known->sha256_prefix);
    return CLI_OK;
}

static int verify_one(const char *name, bool json)
{
    cz_backbone *b = NULL;
    char hex[65];
    size_t tensors = 0;
    if (strncmp(name, "random:", 7) == 0) {
        cli_error("%s: there is no file to verify", name);
        return CLI_USAGE;
    }
    cz_status status = cz_backbone_open(name, &b);
    if (status == CZ_OK) status = cz_file_sha256(cz_backbone_path(b), hex);
    int code = status == CZ_OK ? check_values(cz_backbone_path(b), &tensors) : cli_fail_model(status);
    if (code == CLI_OK) {
        const cz_known_weights *known = weights_known_file(cz_backbone_path(b));
        if (known && strncmp(hex, known->sha256_prefix, strlen(known->sha256_prefix)) != 0) {
            cli_error("%s: SHA-256 %s does not begin with %s: not the published file, or damaged", cz_backbone_path(b),
                      hex, known->sha256_prefix);
            code = CLI_BAD_MODEL;
        } else {
            code = print_verified(b, hex, tensors, known, json);
        }
    }
    cz_backbone_close(b);
    return code;
}

int weights_verify(int argc, char **argv)
{
    static const cli_verb VERB = {
        "weights verify", "[--json] FILE|NAME...",
        "Reads every byte: the file is well-formed, all numbers are finite, and a backbone can be built from it.",
        "Prints the SHA-256 of the file and of the backbone (the one that models store). A file that has the name of a "
        "published one must also have its SHA-256. Exit code 4 when something is wrong.",
        "  cozad weights verify wide_resnet50_2"};
    bool json = false;
    const cli_option options[] = {{"json", 0, CLI_FLAG, &json, NULL, "one JSON object a line", NULL}};
    cli_list args = {NULL, 0};
    int code = cli_parse(&VERB, options, 1, argc, argv, &args);
    if (code >= 0) return code;
    code = args.count > 0 ? CLI_OK : CLI_USAGE;
    if (args.count == 0) cli_error("weights verify needs a FILE or NAME");
    for (size_t i = 0; i < args.count; i++) {
        const int one = verify_one(args.items[i], json);
        if (one != CLI_OK) code = one;
    }
    cli_list_free(&args);
    return cli_finish_output(code);
}
