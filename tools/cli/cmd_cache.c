/* SPDX-License-Identifier: Apache-2.0 */
#include "common.h"

#include <string.h>
#include <time.h>

static const cli_verb verb = {"cache", "list|prune|verify [options]",
                              "Looks after what is kept for the next run: computed features, and packed weights.",
                              "Entries are removed by themselves, least recently used first, when there are too many: "
                              "features over --cache-limit, packed weights, which let a program start fast, over 2 GB. "
                              "prune takes features before packed weights. verify reads every "
                              "byte; its exit code is 3 when an entry is damaged (prune removes those). "
                              "The environment variable COZAD_PACKED_CACHE holds another limit for packed weights in "
                              "bytes, or \"off\". With --cache-dir only that folder's features are looked at.",
                              "  cozad cache list\n  cozad cache prune --keep 5000000000\n  cozad cache verify"};

typedef struct totals {
    size_t count, damaged;
    uint64_t bytes;
    bool json, quiet;
} totals;

static int visit(void *ctx, const cz_cache_entry *entry)
{
    totals *t = ctx;
    char bytes[32], date[32] = "";
    t->count++;
    t->bytes += entry->bytes;
    t->damaged += entry->damaged != 0;
    if (t->json) {
        common_print_json(json_pack("{s:s, s:s, s:I, s:I, s:b}", "key", entry->key, "kind",
                                    entry->packed ? "weights" : "features", "bytes", (json_int_t)entry->bytes,
                                    "last_used", (json_int_t)entry->last_used, "damaged", entry->damaged));
    } else if (!t->quiet || entry->damaged) {
        const time_t used = (time_t)entry->last_used;
        struct tm tm;
        (void)strftime(date, sizeof date, "%Y-%m-%d %H:%M", localtime_r(&used, &tm));
        printf("%.16s  %9s  %s%s%s\n", entry->key, cli_bytes(entry->bytes, bytes), date,
               entry->packed ? "  weights" : "", entry->damaged ? "  DAMAGED" : "");
    }
    return cli_interrupted();
}

static int run(const char *action, const common_options *common, uint64_t keep)
{
    char bytes[32];
    totals t = {0, 0, 0, common->json, strcmp(action, "verify") == 0};
    if (strcmp(action, "prune") == 0) {
        uint64_t removed = 0;
        const cz_status status = cz_cache_prune(&common->cache, keep, &removed);
        if (status != CZ_OK) return cli_fail(status);
        if (common->json) {
            common_print_json(json_pack("{s:I}", "removed_bytes", (json_int_t)removed));
        } else {
            printf("removed %s\n", cli_bytes(removed, bytes));
        }
        return CLI_OK;
    }
    const cz_status status = cz_cache_list(&common->cache, t.quiet, visit, &t);
    if (status != CZ_OK) return cli_fail(status);
    if (cli_interrupted()) return CLI_INTERRUPTED;
    if (!common->json) printf("%zu entries, %s, %zu damaged\n", t.count, cli_bytes(t.bytes, bytes), t.damaged);
    return t.damaged > 0 ? CLI_SOME_FAILED : CLI_OK;
}

int cmd_cache(int argc, char **argv)
{
    uint64_t keep = 0;
    common_options common;
    common_init(&common);
    const cli_option options[] = {
        {"cache-dir", 0, CLI_STRING, &common.cache_dir, "DIR", "feature store; empty: the default folder", NULL},
        {"keep", 0, CLI_U64, &keep, "BYTES", "prune until at most this much remains", NULL},
        {"json", 0, CLI_FLAG, &common.json, NULL, "JSON Lines", NULL},
    };
    cli_list args = {NULL, 0};
    int code = cli_parse(&verb, options, sizeof options / sizeof *options, argc, argv, &args);
    if (code < 0) {
        common_finish(&common);
        const char *action = args.count == 1 ? args.items[0] : "";
        if (strcmp(action, "list") != 0 && strcmp(action, "prune") != 0 && strcmp(action, "verify") != 0) {
            cli_error("cache needs one of list, prune, verify; see 'cozad cache --help'");
            code = CLI_USAGE;
        } else {
            code = run(action, &common, keep);
        }
    }
    cli_list_free(&args);
    return cli_finish_output(code);
}
