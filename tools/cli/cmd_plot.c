/* SPDX-License-Identifier: Apache-2.0 */
#include "common.h"
#include "plot_page.h"
#include "report_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const cli_verb verb = {"plot", "[options] LOG... -o PAGE",
                              "Draws the curves of training logs (cozad train --log) on one page of HTML.",
                              "The page is one file that loads nothing. Up to 8 logs are laid over each other, each in "
                              "its colour, and their settings are "
                              "compared. A log may still be growing. Lines that cannot be used are left out and "
                              "counted; a log without a step is an "
                              "error (exit code 3), the others are drawn all the same.",
                              "  cozad plot run.jsonl -o run.html\n"
                              "  cozad plot exact.jsonl first-order.jsonl reptile.jsonl -o compare.html\n"
                              "  cozad plot run.jsonl --json        (last values and medians, no page)"};

/* The end of the path where that tells it apart, else the whole. */
static void name_logs(plot_set *set)
{
    for (size_t i = 0; i < set->count; i++) {
        const char *slash = strrchr(set->logs[i].path, '/');
        const char *end = slash != NULL && slash[1] != '\0' ? slash + 1 : set->logs[i].path;
        bool alone = true;
        for (size_t k = 0; k < set->count; k++) {
            const char *other = strrchr(set->logs[k].path, '/');
            other = other != NULL && other[1] != '\0' ? other + 1 : set->logs[k].path;
            alone = alone && (k == i || strcmp(end, other) != 0);
        }
        set->logs[i].name = alone ? end : set->logs[i].path;
    }
}

/* A page written over one of its logs would be the end of it. */
static bool same_file(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static int check_arguments(const cli_list *args, const char *output, bool json)
{
    if (args->count == 0 || (output == NULL && !json)) {
        cli_error("plot needs a log and -o PAGE or --json; see 'cozad plot --help'");
        return CLI_USAGE;
    }
    if (args->count > PLOT_MAX_LOGS) {
        cli_error("%zu logs: at most %d fit on one page", args->count, PLOT_MAX_LOGS);
        return CLI_USAGE;
    }
    for (size_t i = 0; i < args->count && output != NULL; i++)
        if (same_file(args->items[i], output)) {
            cli_error("%s: is a log; the page needs a file of its own", output);
            return CLI_USAGE;
        }
    return output != NULL ? common_check_writable(output) : CLI_OK;
}

static int read_logs(const cli_list *args, plot_set *set)
{
    int code = CLI_OK;
    for (size_t i = 0; i < args->count; i++) {
        plot_log *log = &set->logs[set->count];
        const cz_status status = plot_log_read(args->items[i], log);
        if (status == CZ_OK) {
            set->count++;
            if (log->bad_lines > 0)
                cli_note("%s: %zu %s left out; line %zu %s", log->path, log->bad_lines,
                         log->bad_lines == 1 ? "line" : "lines", log->first_bad, log->first_problem);
            continue;
        }
        const int failed = cli_fail(status);
        plot_log_close(log);
        if (status == CZ_E_CANCELLED || status == CZ_E_MEMORY) return failed;
        code = CLI_SOME_FAILED;
    }
    return code;
}

static json_t *values_json(const plot_log *log, double share, double *scratch)
{
    json_t *values = json_object();
    for (plot_field field = PLOT_LOSS; field <= PLOT_IMAGES_PER_SECOND; field++) {
        const double value = share < 0 ? plot_last(log, field) : plot_median(log, field, share, scratch);
        (void)json_object_set_new(values, plot_field_name(field), common_json_real(value));
    }
    return values;
}

static int print_summary(const plot_set *set)
{
    for (size_t i = 0; i < set->count; i++) {
        const plot_log *log = &set->logs[i];
        double *scratch = malloc(log->count * sizeof *scratch);
        if (scratch == NULL) return CLI_RESOURCES;
        const double all = plot_last(log, PLOT_STEPS);
        const json_t *status = json_object_get(log->end, "status"), *seconds = json_object_get(log->end, "seconds");
        json_t *line = json_pack(
            "{s:s, s:O?, s:o, s:I, s:I, s:o, s:I, s:I, s:b, s:I}", "path", log->path, "status", status, "seconds",
            common_json_real(json_is_number(seconds) ? json_number_value(seconds) : plot_last(log, PLOT_SECONDS)),
            "steps", (json_int_t)log->count, "last_step", (json_int_t)plot_last(log, PLOT_STEP), "steps_in_all",
            isnan(all) ? json_null() : json_integer((json_int_t)all), "last_epoch",
            (json_int_t)plot_last(log, PLOT_EPOCH), "bad_lines", (json_int_t)log->bad_lines, "partial",
            (int)log->partial, "restarts", (json_int_t)log->restarts);
        (void)json_object_set_new(line, "last", values_json(log, -1, scratch));
        (void)json_object_set_new(line, "median", values_json(log, 1, scratch));
        (void)json_object_set_new(line, "median_last_tenth", values_json(log, 0.1, scratch));
        free(scratch);
        common_print_json(line);
    }
    return CLI_OK;
}

static int write_page(const plot_set *set, const char *output, bool json)
{
    const cz_status status = report_replace(output, plot_page_print, set);
    if (status != CZ_OK) return cli_fail(status);
    size_t steps = 0;
    for (size_t i = 0; i < set->count; i++) steps += set->logs[i].count;
    if (!json) printf("%s: %zu %s, %zu steps\n", output, set->count, set->count == 1 ? "log" : "logs", steps);
    return CLI_OK;
}

int cmd_plot(int argc, char **argv)
{
    const char *output = NULL;
    bool json = false;
    const cli_option options[] = {
        {"output", 'o', CLI_STRING, &output, "PAGE", "page to write; an earlier one is replaced", NULL},
        {"json", 0, CLI_FLAG, &json, NULL, "print last values and medians, one object a log", NULL},
    };
    cli_list args = {NULL, 0};
    plot_log logs[PLOT_MAX_LOGS];
    plot_set set = {logs, 0};
    memset(logs, 0, sizeof logs);
    int code = cli_parse(&verb, options, sizeof options / sizeof *options, argc, argv, &args);
    if (code >= 0) goto out;
    if ((code = check_arguments(&args, output, json)) != CLI_OK) goto out;
    code = read_logs(&args, &set);
    if (set.count == 0 || (code != CLI_OK && code != CLI_SOME_FAILED)) goto out;
    name_logs(&set);
    int done = output != NULL ? write_page(&set, output, json) : CLI_OK;
    if (done == CLI_OK && json) done = print_summary(&set);
    if (done != CLI_OK) code = done;
out:
    for (size_t i = 0; i < PLOT_MAX_LOGS; i++) plot_log_close(&logs[i]);
    cli_list_free(&args);
    return cli_finish_output(code);
}
