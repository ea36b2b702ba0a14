/* SPDX-License-Identifier: Apache-2.0 */
/* What all verbs share: exit codes, option tables (parsing, --help and completions come from one table), output, progress,
 * interruption. A verb is one file cmd_NAME.c with one function cmd_NAME. */
#ifndef CLI_H
#define CLI_H

#include "cozad/cozad.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum cli_exit {
    CLI_OK = 0,
    CLI_ANOMALY = 1,
    CLI_USAGE = 2,
    CLI_SOME_FAILED = 3,
    CLI_BAD_MODEL = 4,
    CLI_RESOURCES = 5,
    CLI_INTERRUPTED = 130
};
/* The exit code that a status means (CZ_E_FORMAT of an input is 3, of weights or a model 4: see cli_fail_model). */
int cli_exit_code(cz_status status);

typedef enum cli_kind {
    CLI_HEADING, /* no option: `name` stands above those that follow in --help */
    CLI_FLAG,    /* bool *; --NAME=off takes it back */
    CLI_SWITCH,  /* int *, 0 or 1; "on" or "off" */
    CLI_STRING,  /* const char ** */
    CLI_NUMBER,  /* const char **, the value may be left out (""): the next word is taken only where it is a number */
    CLI_SIZE,    /* size_t * */
    CLI_AUTO,    /* size_t *, from 1 on; 0 is "auto" */
    CLI_U64,     /* uint64_t * */
    CLI_REAL,    /* double *, finite */
    CLI_CHOICE,  /* const char **; `choices` is "a|b|c" */
    CLI_LIST     /* cli_list *, the option may be given several times */
} cli_kind;

typedef struct cli_list {
    const char **items; /* freed by cli_list_free */
    size_t count;
} cli_list;
void cli_list_free(cli_list *list);

typedef struct cli_option {
    const char *name; /* without "--" */
    char letter;      /* 0: none */
    cli_kind kind;
    void *target;        /* holds the default beforehand */
    const char *metavar; /* "DIR"; NULL for flags */
    const char *help;    /* one line */
    const char *choices; /* CLI_CHOICE only */
} cli_option;

typedef struct cli_verb {
    const char *name;     /* "score" or "weights convert" */
    const char *synopsis; /* "-m MODEL [options] PATH..." */
    const char *summary;  /* one sentence */
    const char *details;  /* further paragraphs, may be "" */
    const char *examples; /* lines, at least one */
} cli_verb;

/* Sets an option other than a flag from its text, as the command line would; false: not of its kind. */
bool cli_set_value(const cli_option *o, const char *text);
/* Says what a value of the option would be, for messages: "number", "one of a|b". Buffer of 160. */
const char *cli_wanted(const cli_option *o, char buffer[160]);

/* Parses GNU style (--name value, --name=value, -x value; "--" ends options; options and arguments may be mixed).
 * Returns -1 to go on, else an exit code that the verb returns at once (--help was printed on stdout, or a usage error on
 * stderr). *args: the positional arguments, cli_list_free. */
int cli_parse(const cli_verb *verb, const cli_option *options, size_t option_count, int argc, char **argv,
              cli_list *args);
/* The same; given[i] (all false before) becomes true where options[i] was given. */
int cli_parse_given(const cli_verb *verb, const cli_option *options, size_t option_count, int argc, char **argv,
                    cli_list *args, bool *given);

/* One line on stderr: "cozad: …". Control characters are replaced. */
void cli_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void cli_note(const char *format, ...) __attribute__((format(printf, 1, 2))); /* quiet under --quiet */
/* Prints cz_last_error and returns cli_exit_code(status). */
int cli_fail(cz_status status);
/* The same where what failed is a model or weights file: format errors become exit code 4. */
int cli_fail_model(cz_status status);
extern bool cli_quiet;

/* ^C and SIGTERM set a flag instead of ending the program; call once in main. */
void cli_catch_interrupts(void);
bool cli_interrupted(void);

/* Progress on stderr, shown after two seconds, only on a terminal; usable as cz_progress_fn with any ctx. Returns
 * non-zero once interrupted. */
int cli_progress(void *ctx, const char *what, size_t done, size_t total, const char *detail);
void cli_progress_end(void);
void cli_log(void *ctx, const char *message); /* cz_log_fn */
/* True when colours may be used on `stream` (a terminal, NO_COLOR unset). */
bool cli_colour(FILE *stream);
/* 1.5 kB, 3.2 MB …; buffer of 32. */
const char *cli_bytes(uint64_t bytes, char buffer[32]);
/* Flushes stdout; a full disk or closed pipe behind it is exit code 5. Returns `code` otherwise. */
int cli_finish_output(int code);

int cmd_train(int argc, char **argv);
int cmd_score(int argc, char **argv);
int cmd_eval(int argc, char **argv);
int cmd_metrics(int argc, char **argv);
int cmd_compare(int argc, char **argv);
int cmd_adapt(int argc, char **argv);
int cmd_calibrate(int argc, char **argv);
int cmd_drift(int argc, char **argv);
int cmd_features(int argc, char **argv);
int cmd_plot(int argc, char **argv);
int cmd_info(int argc, char **argv);
int cmd_inspect(int argc, char **argv);
int cmd_mutual(int argc, char **argv);
int cmd_weights(int argc, char **argv);
int cmd_data(int argc, char **argv);
int cmd_cache(int argc, char **argv);
int cmd_bench(int argc, char **argv);
int cmd_synth(int argc, char **argv);
int cmd_ablate(int argc, char **argv);
int cmd_serve(int argc, char **argv);

#endif
