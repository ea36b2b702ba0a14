/* SPDX-License-Identifier: Apache-2.0 */
/* Option tables: parsing and --help. */
#include "cli.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void cli_list_free(cli_list *list)
{
    free(list->items);
    list->items = NULL;
    list->count = 0;
}

static bool list_add(cli_list *list, const char *item)
{
    const char **items = realloc(list->items, (list->count + 1) * sizeof *items);
    if (items == NULL) return false;
    list->items = items;
    list->items[list->count++] = item;
    return true;
}

static void print_wrapped(const char *text, int indent, int column)
{
    const int width = 100;
    while (*text != '\0') {
        const size_t word = strcspn(text, " \n");
        if (column + (int)word > width && column > indent) {
            printf("\n%*s", indent, "");
            column = indent;
        }
        printf("%.*s", (int)word, text);
        column += (int)word;
        text += word;
        if (*text == '\n') {
            printf("\n%*s", indent, "");
            column = indent;
            text++;
        } else if (*text == ' ') {
            if (column < width) putchar(' ');
            column++;
            text++;
        }
    }
    putchar('\n');
}

static void print_default(const cli_option *o)
{
    switch (o->kind) {
    case CLI_STRING:
    case CLI_NUMBER:
    case CLI_CHOICE:
        if (*(const char **)o->target != NULL && (*(const char **)o->target)[0] != '\0') {
            printf(" [%s]", *(const char **)o->target);
        }
        break;
    case CLI_SWITCH:
        printf(" [%s]", *(int *)o->target != 0 ? "on" : "off");
        break;
    case CLI_SIZE:
        printf(" [%zu]", *(size_t *)o->target);
        break;
    case CLI_AUTO:
        if (*(size_t *)o->target == 0) {
            printf(" [auto]");
        } else {
            printf(" [%zu]", *(size_t *)o->target);
        }
        break;
    case CLI_U64:
        printf(" [%llu]", (unsigned long long)*(uint64_t *)o->target);
        break;
    case CLI_REAL:
        printf(" [%g]", *(double *)o->target);
        break;
    default:
        break;
    }
}

static void print_help(const cli_verb *verb, const cli_option *options, size_t count)
{
    printf("Usage: cozad %s %s\n\n", verb->name, verb->synopsis);
    print_wrapped(verb->summary, 0, 0);
    if (verb->details != NULL && verb->details[0] != '\0') {
        putchar('\n');
        print_wrapped(verb->details, 0, 0);
    }
    printf("\nOptions:\n");
    for (size_t i = 0; i < count; i++) {
        const cli_option *o = &options[i];
        char left[256];
        if (o->kind == CLI_HEADING) {
            printf("%s  %s:\n", i > 0 ? "\n" : "", o->name);
            continue;
        }
        const char *value = o->kind == CLI_CHOICE ? o->choices : o->kind == CLI_SWITCH ? "on|off" : o->metavar;
        (void)snprintf(left, sizeof left, "%s%c%s --%s%s%s", o->letter != 0 ? "-" : " ",
                       o->letter != 0 ? o->letter : ' ', o->letter != 0 ? "," : " ", o->name, value != NULL ? " " : "",
                       value != NULL ? value : "");
        printf("  %-34s ", left);
        if (strlen(left) > 34) printf("\n%37s", "");
        printf("%s", o->help);
        print_default(o);
        putchar('\n');
    }
    printf("  %-34s %s\n  %-34s %s\n", "-q, --quiet", "no notes and no progress on stderr", "-h, --help", "this text");
    printf("\nExamples:\n%s\n", verb->examples);
}

static bool parse_whole(const char *text, uint64_t limit, uint64_t *out)
{
    if (text[0] < '0' || text[0] > '9') return false;
    char *end;
    errno = 0;
    const unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0' || value > limit) return false;
    *out = value;
    return true;
}

static bool is_choice(const char *choices, const char *text)
{
    const size_t length = strlen(text);
    while (length > 0 && *choices != '\0') {
        const size_t n = strcspn(choices, "|");
        if (n == length && strncmp(choices, text, n) == 0) return true;
        choices += n + (choices[n] == '|' ? 1 : 0);
    }
    return false;
}

static bool is_number(const char *text)
{
    char *end;
    return isfinite(strtod(text, &end)) && end != text && *end == '\0';
}

bool cli_set_value(const cli_option *o, const char *text)
{
    uint64_t whole;
    char *end;
    switch (o->kind) {
    case CLI_STRING:
        *(const char **)o->target = text;
        return true;
    case CLI_NUMBER:
        if (text[0] != '\0' && !is_number(text)) return false;
        *(const char **)o->target = text;
        return true;
    case CLI_SWITCH:
        if (!is_choice("on|off", text)) return false;
        *(int *)o->target = strcmp(text, "on") == 0;
        return true;
    case CLI_SIZE:
        if (!parse_whole(text, SIZE_MAX / 2, &whole)) return false;
        *(size_t *)o->target = (size_t)whole;
        return true;
    case CLI_AUTO:
        whole = 0;
        if (strcmp(text, "auto") != 0 && (!parse_whole(text, SIZE_MAX / 2, &whole) || whole == 0)) return false;
        *(size_t *)o->target = (size_t)whole;
        return true;
    case CLI_U64:
        return parse_whole(text, UINT64_MAX, (uint64_t *)o->target);
    case CLI_REAL:
        errno = 0;
        *(double *)o->target = strtod(text, &end);
        return end != text && *end == '\0' && isfinite(*(double *)o->target);
    case CLI_CHOICE:
        if (!is_choice(o->choices, text)) return false;
        *(const char **)o->target = text;
        return true;
    case CLI_LIST:
        return list_add(o->target, text);
    default:
        return false;
    }
}

const char *cli_wanted(const cli_option *o, char buffer[160])
{
    switch (o->kind) {
    case CLI_SWITCH:
        return "one of on|off";
    case CLI_CHOICE:
        (void)snprintf(buffer, 160, "one of %.150s", o->choices);
        return buffer;
    case CLI_AUTO:
        return "whole number from 1 on, or auto";
    case CLI_REAL:
    case CLI_NUMBER:
        return "number";
    default:
        return "whole number in range";
    }
}

typedef struct parser {
    const cli_verb *verb;
    const cli_option *options;
    size_t count;
    int argc;
    char **argv;
    int at;
    bool *given; /* [count] or NULL */
} parser;

static int usage(const parser *p, const char *argument, const char *problem)
{
    cli_error("%s: %s; see 'cozad %s --help'", argument, problem, p->verb->name);
    return CLI_USAGE;
}

/* `attached`: the text after '=' or after the letter, NULL if none. */
static int take_option(parser *p, const cli_option *o, const char *attached)
{
    char shown[64], problem[240], buffer[160];
    (void)snprintf(shown, sizeof shown, "--%s", o->name);
    if (p->given != NULL) p->given[o - p->options] = true;
    if (o->kind == CLI_FLAG) {
        if (attached != NULL && !is_choice("on|off", attached)) return usage(p, shown, "takes no value but on or off");
        *(bool *)o->target = attached == NULL || strcmp(attached, "on") == 0;
        return -1;
    }
    const char *value = attached;
    if (value == NULL && o->kind == CLI_NUMBER && (p->at >= p->argc || !is_number(p->argv[p->at]))) value = "";
    if (value == NULL) {
        if (p->at >= p->argc) return usage(p, shown, "needs a value");
        value = p->argv[p->at++];
    }
    if (cli_set_value(o, value)) return -1;
    const char *wanted = cli_wanted(o, buffer);
    (void)snprintf(problem, sizeof problem, "\"%.40s\" is not %s%s", value,
                   strncmp(wanted, "one of", 6) == 0 ? "" : "a ", wanted);
    return usage(p, shown, problem);
}

static int take_long(parser *p, const char *text)
{
    const size_t length = strcspn(text, "=");
    for (size_t i = 0; i < p->count; i++) {
        if (p->options[i].kind != CLI_HEADING && strlen(p->options[i].name) == length &&
            strncmp(p->options[i].name, text, length) == 0) {
            return take_option(p, &p->options[i], text[length] == '=' ? text + length + 1 : NULL);
        }
    }
    char shown[80];
    (void)snprintf(shown, sizeof shown, "--%.60s", text);
    return usage(p, shown, "unknown option");
}

static int take_letters(parser *p, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == 'q') {
            cli_quiet = true;
            continue;
        }
        if (*text == 'h') {
            print_help(p->verb, p->options, p->count);
            return cli_finish_output(CLI_OK);
        }
        const cli_option *found = NULL;
        for (size_t i = 0; i < p->count; i++) {
            if (p->options[i].letter == *text) found = &p->options[i];
        }
        char shown[3] = {'-', *text, '\0'};
        if (found == NULL) return usage(p, shown, "unknown option");
        if (found->kind != CLI_FLAG) return take_option(p, found, text[1] != '\0' ? text + 1 : NULL);
        const int code = take_option(p, found, NULL);
        if (code >= 0) return code;
    }
    return -1;
}

int cli_parse(const cli_verb *verb, const cli_option *options, size_t option_count, int argc, char **argv,
              cli_list *args)
{
    return cli_parse_given(verb, options, option_count, argc, argv, args, NULL);
}

int cli_parse_given(const cli_verb *verb, const cli_option *options, size_t option_count, int argc, char **argv,
                    cli_list *args, bool *given)
{
    parser p = {verb, options, option_count, argc, argv, 1, given};
    bool only_arguments = false;
    while (p.at < argc) {
        const char *word = argv[p.at++];
        int code = -1;
        if (only_arguments || word[0] != '-' || word[1] == '\0') {
            if (!list_add(args, word)) return CLI_RESOURCES;
        } else if (strcmp(word, "--") == 0) {
            only_arguments = true;
        } else if (strcmp(word, "--help") == 0) {
            print_help(verb, options, option_count);
            return cli_finish_output(CLI_OK);
        } else if (strcmp(word, "--quiet") == 0) {
            cli_quiet = true;
        } else {
            code = word[1] == '-' ? take_long(&p, word + 2) : take_letters(&p, word + 1);
        }
        if (code >= 0) return code;
    }
    return -1;
}
