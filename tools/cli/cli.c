/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

bool cli_quiet;
static atomic_int interrupts;

int cli_exit_code(cz_status status)
{
    switch (status) {
    case CZ_OK:
        return CLI_OK;
    case CZ_E_ARG:
        return CLI_USAGE;
    case CZ_E_FORMAT:
    case CZ_E_LIMIT:
    case CZ_E_UNSUPPORTED:
    case CZ_E_NO_IMAGES:
    case CZ_E_TRAINED_ON:
        return CLI_SOME_FAILED;
    case CZ_E_MODEL:
    case CZ_E_WEIGHTS:
        return CLI_BAD_MODEL;
    case CZ_E_CANCELLED:
        return CLI_INTERRUPTED;
    default:
        return CLI_RESOURCES;
    }
}

static void say(const char *format, va_list arguments)
{
    char line[2048];
    (void)vsnprintf(line, sizeof line, format, arguments);
    for (char *p = line; *p != '\0'; p++) {
        if ((unsigned char)*p < 0x20 || *p == 0x7f) *p = '?';
    }
    cli_progress_end();
    (void)fprintf(stderr, "cozad: %s\n", line);
}

void cli_error(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    say(format, arguments);
    va_end(arguments);
}

void cli_note(const char *format, ...)
{
    if (cli_quiet) return;
    va_list arguments;
    va_start(arguments, format);
    say(format, arguments);
    va_end(arguments);
}

int cli_fail(cz_status status)
{
    if (status == CZ_E_CANCELLED) {
        cli_error("interrupted");
    } else {
        const char *reason = cz_last_error();
        cli_error("%s", reason[0] != '\0' ? reason : cz_status_name(status));
    }
    return cli_exit_code(status);
}

int cli_fail_model(cz_status status)
{
    const int code = cli_fail(status);
    const bool opening =
        status == CZ_E_FORMAT || status == CZ_E_LIMIT || status == CZ_E_UNSUPPORTED || status == CZ_E_IO;
    return opening ? CLI_BAD_MODEL : code;
}

static void *wait_for_signals(void *set)
{
    for (;;) {
        int number = 0;
        if (sigwait(set, &number) != 0) continue;
        if (atomic_fetch_add(&interrupts, 1) >= 2) _exit(CLI_INTERRUPTED); /* a third ^C means it */
    }
    return NULL;
}

void cli_catch_interrupts(void)
{
    /* A thread of its own takes the signals; every other one blocks them (threads inherit that). A handler that ran on a
     * computing thread would put its frame below the stack pointer, where generated code of the matrix library keeps
     * data: an interrupted training then crashed in one of four tries. */
    static sigset_t set;
    pthread_t thread;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGTERM);
    if (pthread_sigmask(SIG_BLOCK, &set, NULL) == 0) {
        if (pthread_create(&thread, NULL, wait_for_signals, &set) == 0) {
            (void)pthread_detach(thread);
        } else {
            (void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
        }
    }
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = SIG_IGN;
    (void)sigaction(SIGPIPE, &action, NULL);
    (void)sigaction(SIGXFSZ, &action, NULL); /* a file size limit becomes an error of write() */
}

bool cli_interrupted(void)
{
    return atomic_load(&interrupts) > 0;
}

static double now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static struct {
    char what[32];
    double begin, shown;
    size_t done_at_begin;
    bool visible;
} bar;

void cli_progress_end(void)
{
    if (bar.visible) (void)fputs("\r\033[K", stderr);
    bar.visible = false;
    bar.what[0] = '\0';
}

/* One line, never longer than the terminal is wide: a wrapped line could not be drawn over. */
static void draw(const char *what, size_t done, size_t total, const char *detail, double elapsed)
{
    struct winsize window;
    const bool known = ioctl(STDERR_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 20;
    const int columns = known && window.ws_col < 300 ? (int)window.ws_col : known ? 300 : 80;
    const size_t cells = columns >= 120 || detail[0] == '\0' ? 24 : 10;
    char filled[25], line[400];
    const size_t full = total > 0 ? (done < total ? done : total) * cells / total : 0;
    for (size_t i = 0; i < cells; i++) filled[i] = i < full ? '#' : '.';
    filled[cells] = '\0';
    const size_t fresh = done > bar.done_at_begin ? done - bar.done_at_begin : 0;
    const double left = fresh > 0 && total > done ? elapsed / (double)fresh * (double)(total - done) : 0.0;
    (void)snprintf(line, sizeof line, "%-8s [%s] %zu/%zu  %d:%02d left  %.1f/s  %.200s", what, filled, done, total,
                   (int)left / 60, (int)left % 60, elapsed > 0 ? (double)fresh / elapsed : 0.0, detail);
    (void)fprintf(stderr, "\r\033[K%.*s", columns - 1, line);
    bar.visible = true;
}

int cli_progress(void *ctx, const char *what, size_t done, size_t total, const char *detail)
{
    (void)ctx;
    static int terminal = -1;
    if (terminal < 0) terminal = isatty(STDERR_FILENO);
    const double time = now();
    if (strncmp(bar.what, what, sizeof bar.what - 1) != 0) {
        cli_progress_end();
        (void)snprintf(bar.what, sizeof bar.what, "%s", what);
        bar.begin = time;
        bar.shown = time;
        bar.done_at_begin = done;
    }
    if (terminal && !cli_quiet && time - bar.begin > 2.0 && time - bar.shown > 0.2) {
        bar.shown = time;
        draw(what, done, total, detail, time - bar.begin);
    }
    if (done >= total) cli_progress_end();
    return cli_interrupted();
}

void cli_log(void *ctx, const char *message)
{
    (void)ctx;
    cli_note("%s", message);
}

bool cli_colour(FILE *stream)
{
    const char *no = getenv("NO_COLOR");
    return (no == NULL || no[0] == '\0') && isatty(fileno(stream));
}

const char *cli_bytes(uint64_t bytes, char buffer[32])
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1000.0 && unit < 4) {
        value /= 1000.0;
        unit++;
    }
    (void)snprintf(buffer, 32, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
    return buffer;
}

int cli_finish_output(int code)
{
    if (fflush(stdout) != 0 || ferror(stdout)) {
        cli_error("standard output: cannot write");
        return CLI_RESOURCES;
    }
    return code;
}
