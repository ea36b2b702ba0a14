/* SPDX-License-Identifier: Apache-2.0 */
/* One child process at a time. */
#include "ablate.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int start(const ablate *a, char *const *words, const char *out, pid_t *child)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none, defaults;
    int error = posix_spawn_file_actions_init(&files);
    if (error != 0) return error;
    if ((error = posix_spawnattr_init(&attributes)) != 0) {
        (void)posix_spawn_file_actions_destroy(&files);
        return error;
    }
    /* This process blocks SIGINT and SIGTERM in all threads and ignores others; a child would inherit that. */
    (void)sigemptyset(&none);
    (void)sigemptyset(&defaults);
    (void)sigaddset(&defaults, SIGPIPE);
    (void)sigaddset(&defaults, SIGXFSZ);
    (void)posix_spawnattr_setsigmask(&attributes, &none);
    (void)posix_spawnattr_setsigdefault(&attributes, &defaults);
    error = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    if (error == 0) error = posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (error == 0) {
        error = posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, out, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    }
    if (error == 0) error = posix_spawn(child, a->binary, &files, &attributes, words, environ);
    (void)posix_spawn_file_actions_destroy(&files);
    (void)posix_spawnattr_destroy(&attributes);
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

int ablate_run_child(const ablate *a, const json_t *words, const char *out, ablate_end *end)
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
    const int error = start(a, argv, out, &child);
    free(argv);
    if (error != 0) {
        cli_error("%s: cannot be run: %s", a->binary, strerror(error));
        return CLI_RESOURCES;
    }
    ablate_note_child(a, child);
    code = wait_for(child, &status);
    ablate_note_child(a, 0);
    end->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    end->exit = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    if (code == CLI_OK && end->exit == CLI_INTERRUPTED) code = CLI_INTERRUPTED; /* only the child was told */
    return code;
}

char *ablate_shell_line(const json_t *words)
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
