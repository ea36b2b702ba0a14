/* SPDX-License-Identifier: Apache-2.0 */
/* One child process at a time. */
#include "child.h"
#include "jobs.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int start(const jobs *j, char *const *words, const char *out, pid_t *child)
{
    const int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (nothing < 0) return errno;
    const int file = open(out, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    const int error = file < 0 ? errno : cli_spawn(j->binary, words, nothing, file, child);
    if (file >= 0) (void)close(file);
    (void)close(nothing);
    return error;
}

static int wait_for(pid_t child, int *status)
{
    bool told = false;
    for (;;) {
        const pid_t ended = waitpid(child, status, WNOHANG);
        if (ended == child) return told || cli_interrupted() ? CLI_INTERRUPTED : CLI_OK;
        if (ended < 0 && errno != EINTR) {
            cli_error("a child process was lost: %s", strerror(errno));
            return CLI_RESOURCES;
        }
        if (cli_interrupted() && !told) { /* once: after ^C at a terminal the child has heard it already */
            (void)kill(child, SIGTERM);
            told = true;
        }
        const struct timespec pause = {0, 50 * 1000 * 1000};
        (void)nanosleep(&pause, NULL);
    }
}

int jobs_run_child(const jobs *j, const json_t *words, const char *out, jobs_end *end)
{
    const size_t count = json_array_size(words);
    char **argv = calloc(count + 1, sizeof *argv);
    if (argv == NULL) {
        cli_error("out of memory");
        return CLI_RESOURCES;
    }
    /* posix_spawn takes char *const[] but does not write to the words. */
    for (size_t i = 0; i < count; i++) argv[i] = (char *)json_string_value(json_array_get(words, i));
    pid_t child = 0;
    int status = 0, code = CLI_OK;
    const int error = start(j, argv, out, &child);
    free(argv);
    if (error != 0) {
        cli_error("%s: cannot be run: %s", j->binary, strerror(error));
        return CLI_RESOURCES;
    }
    jobs_note_child(j, child);
    code = wait_for(child, &status);
    jobs_note_child(j, 0);
    end->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    end->exit = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    if (code == CLI_OK && end->exit == CLI_INTERRUPTED) code = CLI_INTERRUPTED; /* only the child was told */
    return code;
}

char *jobs_shell_line(const json_t *words)
{
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    if (stream == NULL) return NULL;
    for (size_t i = 0; i < json_array_size(words); i++) {
        const char *word = json_string_value(json_array_get(words, i));
        const char *const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=.,/:@%";
        if (i > 0) (void)fputc(' ', stream);
        if (word[0] != '\0' && word[strspn(word, plain)] == '\0') {
            (void)fputs(word, stream);
            continue;
        }
        (void)fputc('\'', stream);
        for (; *word != '\0'; word++) {
            if (*word == '\'') {
                (void)fputs("'\\''", stream);
            } else {
                (void)fputc(*word, stream);
            }
        }
        (void)fputc('\'', stream);
    }
    if (fclose(stream) != 0) {
        free(text);
        return NULL;
    }
    return text;
}

bool jobs_went_well(const jobs_end *end, const char *file)
{
    return (end->exit == CLI_OK || end->exit == CLI_SOME_FAILED) && jobs_exists(file);
}

bool jobs_push(json_t *words, const char *text)
{
    return json_array_append_new(words, json_string(text)) == 0;
}

bool jobs_push_running(json_t *words, const common_options *common, uint64_t usual_limit, size_t threads)
{
    bool good = true;
    if (threads > 0) {
        good = jobs_push(words, "--threads") && json_array_append_new(words, json_sprintf("%zu", threads)) == 0;
    }
    if (common->no_cache) good = good && jobs_push(words, "--no-cache");
    if (common->cache_dir[0] != '\0') {
        good = good && jobs_push(words, "--cache-dir") && jobs_push(words, common->cache_dir);
    }
    if (common->cache_limit != usual_limit) {
        good = good && jobs_push(words, "--cache-limit") &&
               json_array_append_new(words, json_sprintf("%llu", (unsigned long long)common->cache_limit)) == 0;
    }
    if (cli_quiet) good = good && jobs_push(words, "--quiet");
    return good;
}

double jobs_seconds(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}
