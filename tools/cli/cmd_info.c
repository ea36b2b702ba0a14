/* SPDX-License-Identifier: Apache-2.0 */
#include "common.h"

#include <string.h>

static const cli_verb verb = {"info", "[--json] MODEL",
                              "Describes a model file: method, backbone, image size, training, settings.",
                              "Needs no backbone weights.", "  cozad info part.cozad\n  cozad info --json part.cozad"};

/* One line a leaf: "backbone.sha256  1234…". Long lists are counted, not shown. */
static void print_tree(const json_t *value, const char *prefix)
{
    const char *key;
    json_t *child;
    json_object_foreach((json_t *)(uintptr_t)value, key, child)
    {
        char name[256];
        (void)snprintf(name, sizeof name, "%s%s%s", prefix, prefix[0] != '\0' ? "." : "", key);
        if (json_is_object(child)) {
            print_tree(child, name);
        } else if (json_is_array(child)) {
            printf("%-32s %zu entries\n", name, json_array_size(child));
        } else if (json_is_string(child)) {
            printf("%-32s %s\n", name, json_string_value(child));
        } else if (json_is_integer(child)) {
            printf("%-32s %lld\n", name, (long long)json_integer_value(child));
        } else if (json_is_real(child)) {
            printf("%-32s %g\n", name, json_real_value(child));
        } else {
            printf("%-32s %s\n", name, json_is_true(child) ? "yes" : json_is_false(child) ? "no" : "-");
        }
    }
}

int cmd_info(int argc, char **argv)
{
    bool as_json = false;
    const cli_option options[] = {{"json", 0, CLI_FLAG, &as_json, NULL, "the stored JSON", NULL}};
    cli_list args = {NULL, 0};
    cz_model *model = NULL;
    int code = cli_parse(&verb, options, 1, argc, argv, &args);
    if (code >= 0) goto out;
    if (args.count != 1) {
        cli_error("info needs one model file; see 'cozad info --help'");
        code = CLI_USAGE;
        goto out;
    }
    const cz_status status = cz_model_inspect(args.items[0], &model);
    if (status != CZ_OK) {
        code = cli_fail_model(status);
        goto out;
    }
    json_t *tree = json_loads(cz_model_json(model), 0, NULL);
    if (as_json) {
        common_print_json(json_incref(tree));
    } else {
        print_tree(tree, "");
        if (json_object_get(tree, "int8_ranges") == NULL) printf("%-32s %s\n", "int8_ranges", "no");
    }
    json_decref(tree);
    code = CLI_OK;
out:
    cz_model_close(model);
    cli_list_free(&args);
    return cli_finish_output(code);
}
