/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"
#include "cozad/cozad_io.h"

#include <string.h>

static const struct {
    const char *name, *summary;
    int (*run)(int argc, char **argv);
} verbs[] = {
    {"train", "learn what normal looks like from a folder of photos", cmd_train},
    {"score", "score photos with a model; heat maps, overlays, a page", cmd_score},
    {"serve", "serve models over HTTP: a page for people, a protocol for programs", cmd_serve},
    {"eval", "figures with intervals on a labelled data set; the paper's tables", cmd_eval},
    {"metrics", "the same figures from saved scores and maps", cmd_metrics},
    {"compare", "the paired difference of two detectors, with interval and p-value", cmd_compare},
    {"adapt", "adapt a model to a new product with a few photos", cmd_adapt},
    {"calibrate", "find a model's threshold from normal photos, with a promise", cmd_calibrate},
    {"drift", "tell whether scores have moved since calibration", cmd_drift},
    {"plot", "draw the curves of training logs on one page", cmd_plot},
    {"info", "describe a model file", cmd_info},
    {"inspect", "which training photos a model trusts least: find the bad ones", cmd_inspect},
    {"mutual", "compare photos with each other: the odd ones first, without training", cmd_mutual},
    {"features", "write intermediates of the network as safetensors", cmd_features},
    {"weights", "list, inspect, convert, verify and download backbone weights", cmd_weights},
    {"data", "check a labelled data set: counts, damage, masks, duplicates", cmd_data},
    {"cache", "list, prune and verify the feature store", cmd_cache},
    {"bench", "time every stage on this machine", cmd_bench},
    {"synth", "make pictures with known defects to try things on", cmd_synth},
    {"ablate", "run the rows of the paper's tables and print them beside its figures", cmd_ablate},
};

static void print_help(void)
{
    printf("Usage: cozad VERB [options]\n\nFinds what is not normal in pictures.\n\nVerbs:\n");
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) printf("  %-10s %s\n", verbs[i].name, verbs[i].summary);
    printf("\n'cozad VERB --help' says more, with examples. 'cozad --version' prints library versions and processor "
           "features.\n"
           "\nExit codes: 0 ok, 1 anomaly (score --gate) or drift, 2 usage, 3 some inputs failed, 4 bad model or\n"
           "weights, 5 resources (disk, memory, network), 130 interrupted.\n\nExample:\n"
           "  cozad train --normal photos/good -o part.cozad && cozad score -m part.cozad photos/today --report "
           "today.html\n");
}

int main(int argc, char **argv)
{
    cli_catch_interrupts();
    if (argc < 2) {
        cli_error("which verb? see 'cozad --help'");
        return CLI_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        print_help();
        return cli_finish_output(CLI_OK);
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("cozad %s\n%s\n%s\n", cz_version(), cz_build_info(), cz_io_build_info());
        return cli_finish_output(CLI_OK);
    }
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        if (strcmp(argv[1], verbs[i].name) == 0) return verbs[i].run(argc - 1, argv + 1);
    }
    cli_error("there is no verb \"%s\"; see 'cozad --help'", argv[1]);
    return CLI_USAGE;
}
