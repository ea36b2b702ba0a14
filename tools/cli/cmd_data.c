/* SPDX-License-Identifier: Apache-2.0 */
/* cozad data: what is in a data set, and what is wrong with it. */
#include "common.h"
#include "data_check.h"

#include <string.h>
#include <sys/stat.h>

static const char *const splits[] = {"", "train", "test", "validation"};

/* ---- findings ----------------------------------------------------------------------------------------------------- */

static void print_finding(void *ctx, data_finding finding, const char *path, const char *detail)
{
    const bool json = *(const bool *)ctx;
    /* messages of the library begin with the path already */
    const size_t length = strlen(path);
    if (strncmp(detail, path, length) == 0 && strncmp(detail + length, ": ", 2) == 0) detail += length + 2;
    if (json) {
        common_print_json(json_pack("{s:s, s:s%, s:s}", "finding", data_finding_name(finding), "path", path, length,
                                    "detail", detail));
    } else {
        cli_progress_end();
        printf("%s: %s: %s\n", data_finding_name(finding), path, detail);
    }
}

/* ---- the summary -------------------------------------------------------------------------------------------------- */

static bool is_empty(const data_row *r)
{
    return r->labels[0] + r->labels[1] + r->labels[2] == 0;
}

static json_t *json_rows(const data_check *c)
{
    json_t *categories = json_object();
    for (size_t k = 0; k < cz_dataset_categories(c->data); k++) {
        json_t *category = json_object();
        for (size_t s = 0; s < 4; s++) {
            const data_row *r = &c->rows[k][s];
            if (is_empty(r)) continue;
            (void)json_object_set_new(category, splits[s][0] != '\0' ? splits[s] : "any",
                                      json_pack("{s:I, s:I, s:I, s:I}", "normal", (json_int_t)r->labels[1], "anomalous",
                                                (json_int_t)r->labels[2], "unknown", (json_int_t)r->labels[0], "masks",
                                                (json_int_t)r->masked));
        }
        (void)json_object_set_new(categories, cz_dataset_category(c->data, k), category);
    }
    return categories;
}

static void print_json(const data_check *c, const char *root)
{
    json_t *findings = json_object(), *values = json_object();
    for (int f = 0; f < DATA_FINDINGS; f++) {
        (void)json_object_set_new(findings, data_finding_name((data_finding)f),
                                  json_integer((json_int_t)c->findings[f]));
    }
    for (int v = 0; v < 256; v++) {
        char name[8];
        (void)snprintf(name, sizeof name, "%d", v);
        if (c->odd_values[v] > 0) (void)json_object_set_new(values, name, json_integer((json_int_t)c->odd_values[v]));
    }
    common_print_json(json_pack("{s:s, s:s, s:I, s:o, s:o, s:o}", "root", root, "layout", cz_dataset_layout(c->data),
                                "pictures", (json_int_t)cz_dataset_count(c->data), "categories", json_rows(c),
                                "findings", findings, "odd_mask_values", values));
}

static void print_text(const data_check *c, const char *root)
{
    size_t all = 0;
    for (int f = 0; f < DATA_FINDINGS; f++) all += c->findings[f];
    printf("%s%s: layout %s, %zu pictures\n", all > 0 ? "\n" : "", root, cz_dataset_layout(c->data),
           cz_dataset_count(c->data));
    printf("%-24s %-10s %8s %9s %8s %8s\n", "category", "split", "normal", "anomalous", "unknown", "masks");
    for (size_t k = 0; k < cz_dataset_categories(c->data); k++) {
        const char *name = cz_dataset_category(c->data, k);
        for (size_t s = 0; s < 4; s++) {
            const data_row *r = &c->rows[k][s];
            if (is_empty(r)) continue;
            printf("%-24s %-10s %8zu %9zu %8zu %8zu\n", name[0] != '\0' ? name : "-", s > 0 ? splits[s] : "-",
                   r->labels[1], r->labels[2], r->labels[0], r->masked);
        }
    }
    printf("%zu findings\n", all);
    for (int f = 0; f < DATA_FINDINGS; f++) {
        if (c->findings[f] > 0) printf("  %-16s %zu\n", data_finding_name((data_finding)f), c->findings[f]);
    }
    bool first = true;
    for (int v = 0; v < 256; v++) {
        if (c->odd_values[v] == 0) continue;
        printf("%s %d:%llu", first ? "odd mask values (value:pixels)" : "", v, (unsigned long long)c->odd_values[v]);
        first = false;
    }
    if (!first) printf("\n");
}

/* ---- data check --------------------------------------------------------------------------------------------------- */

static int check(const char *root, const char *layout, common_options *common)
{
    struct stat info;
    cz_dataset *d = NULL;
    const bool table = stat(root, &info) == 0 && S_ISREG(info.st_mode);
    const cz_status opened = table ? cz_dataset_open_manifest(root, &d) : cz_dataset_open(root, layout, &d);
    if (opened != CZ_OK) return cli_fail(opened);
    data_check c = {.data = d, .read = &common->read, .tell = print_finding, .ctx = &common->json};
    const cz_status status = data_check_run(&c);
    int code = status == CZ_OK ? CLI_OK : cli_fail(status);
    if (code == CLI_OK) {
        (common->json ? print_json : print_text)(&c, root);
        for (int f = 0; f < DATA_FINDINGS; f++) {
            if (c.findings[f] > 0) code = CLI_SOME_FAILED;
        }
        if (cz_dataset_count(d) == 0) {
            cli_error("%s: there are no pictures", root);
            code = CLI_SOME_FAILED;
        }
    }
    data_check_free(&c);
    cz_dataset_close(d);
    return code;
}

static int data_check_verb(int argc, char **argv)
{
    static const cli_verb verb = {
        "data check", "ROOT [options]",
        "Counts the pictures of a data set by category, split and label, and says what is wrong with them.",
        "Every picture and mask is read. Findings: pictures that cannot be read, extensions that lie, masks that are "
        "missing, without a picture, of another size, empty or with values between 0 and the largest, and pictures "
        "with "
        "the same bytes inside a split, across splits (the test knows what was trained on) or with two labels. ROOT "
        "may "
        "be a manifest, a CSV or JSON Lines file. The exit code is 3 when there are findings.",
        "  cozad data check mvtec\n  cozad data check brainmri --json | jq -r 'select(.finding == "
        "\"extension\").path'\n"
        "  cozad data check photos/manifest.csv"};
    const char *layout = "auto";
    common_options common;
    common_init(&common);
    const cli_option options[] = {
        {"layout", 0, CLI_STRING, &layout, "NAME", "how it is laid out: mvtec, visa, btad, csv, ...", NULL},
        COMMON_READ_OPTIONS(common),
        {"json", 0, CLI_FLAG, &common.json, NULL, "JSON Lines: a line for each finding, the last one counts", NULL},
    };
    cli_list args = {NULL, 0};
    int code = cli_parse(&verb, options, sizeof options / sizeof *options, argc, argv, &args);
    if (code < 0) {
        common_finish(&common);
        if (args.count == 1) {
            code = check(args.items[0], layout, &common);
        } else {
            cli_error("data check needs one ROOT; see 'cozad data check --help'");
            code = CLI_USAGE;
        }
    }
    cli_list_free(&args);
    return cli_finish_output(code);
}

/* ---- dispatch ----------------------------------------------------------------------------------------------------- */

static void print_help(FILE *stream)
{
    (void)fprintf(stream, "Usage: cozad data VERB [options]\n\nLabelled data sets.\n\nVerbs:\n"
                          "  check      what is in a data set, and what is wrong with it\n\n"
                          "'cozad data VERB --help' says more.\n\nExample:\n  cozad data check mvtec\n");
}

int cmd_data(int argc, char **argv)
{
    if (argc < 2) {
        print_help(stderr);
        return CLI_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_help(stdout);
        return cli_finish_output(CLI_OK);
    }
    if (strcmp(argv[1], "check") == 0) return data_check_verb(argc - 1, argv + 1);
    cli_error("data: there is no verb \"%s\" (check)", argv[1]);
    return CLI_USAGE;
}
