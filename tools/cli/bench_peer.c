/* SPDX-License-Identifier: Apache-2.0 */
/* A child process that answers one line for each line it is sent. */
#include "bench.h"
#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int bench_peer_run(char *const *words)
{
    pid_t child = 0;
    int status = 0;
    const int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
    const int error = nothing < 0 ? errno : cli_spawn(words[0], words, nothing, STDERR_FILENO, &child);
    if (nothing >= 0) (void)close(nothing);
    if (error != 0) {
        cli_error("%s: cannot be run: %s", words[0], strerror(error));
        return CLI_RESOURCES;
    }
    bool told = false;
    for (;;) {
        const pid_t ended = waitpid(child, &status, WNOHANG);
        if (ended == child) break;
        if (ended < 0 && errno != EINTR) return CLI_RESOURCES;
        if (cli_interrupted() && !told) told = kill(child, SIGTERM) == 0;
        (void)poll(NULL, 0, 20);
    }
    if (cli_interrupted()) return CLI_INTERRUPTED;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return CLI_OK;
    cli_error("%s %s failed", words[0], words[1] != NULL ? words[1] : "");
    return CLI_RESOURCES;
}

int bench_peer_start(char *const *words, bench_peer *peer)
{
    int to[2] = {-1, -1}, from[2] = {-1, -1};
    pid_t child = 0;
    int error = pipe2(to, O_CLOEXEC) != 0 || pipe2(from, O_CLOEXEC) != 0 ? errno : 0;
    if (error == 0) error = cli_spawn(words[0], words, to[0], from[1], &child);
    if (to[0] >= 0) (void)close(to[0]);
    if (from[1] >= 0) (void)close(from[1]);
    if (error != 0) {
        if (to[1] >= 0) (void)close(to[1]);
        if (from[0] >= 0) (void)close(from[0]);
        cli_error("%s: cannot be run: %s", words[0], strerror(error));
        return CLI_RESOURCES;
    }
    *peer = (bench_peer){.child = (int)child, .in = to[1], .out = from[0]};
    return CLI_OK;
}

static bool send_all(int file, const char *text, size_t size)
{
    while (size > 0) {
        const ssize_t written = write(file, text, size);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return false;
        text += written;
        size -= (size_t)written;
    }
    return true;
}

/* One line into peer->line, without its end. An exit code; CLI_RESOURCES when the child is gone. */
static int receive(bench_peer *peer)
{
    peer->filled = 0;
    for (;;) {
        struct pollfd wait = {peer->out, POLLIN, 0};
        const int ready = poll(&wait, 1, 200);
        if (cli_interrupted()) return CLI_INTERRUPTED;
        if (ready <= 0) continue;
        const ssize_t got = read(peer->out, peer->line + peer->filled, sizeof peer->line - 1 - peer->filled);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return CLI_RESOURCES;
        peer->filled += (size_t)got;
        peer->line[peer->filled] = '\0';
        char *end = strchr(peer->line, '\n');
        if (end != NULL) {
            *end = '\0';
            return CLI_OK;
        }
        if (peer->filled + 1 >= sizeof peer->line) return CLI_RESOURCES;
    }
}

int bench_peer_ask(bench_peer *peer, const char *format, ...)
{
    char text[8192];
    va_list arguments;
    va_start(arguments, format);
    const int size = vsnprintf(text, sizeof text - 1, format, arguments);
    va_end(arguments);
    if (size < 0 || size >= (int)sizeof text - 1) return CLI_RESOURCES;
    text[size] = '\n';
    int code = send_all(peer->in, text, (size_t)size + 1) ? receive(peer) : CLI_RESOURCES;
    if (code == CLI_RESOURCES) cli_error("--against: the peer has ended or does not answer");
    if (code == CLI_OK && strncmp(peer->line, "error ", 6) == 0) {
        cli_error("--against: %s", peer->line + 6);
        code = CLI_RESOURCES;
    }
    return code;
}

void bench_peer_stop(bench_peer *peer)
{
    if (peer->child == 0) return;
    (void)close(peer->in); /* the end of its stdin ends it */
    (void)close(peer->out);
    if (cli_interrupted()) (void)kill(peer->child, SIGTERM);
    while (waitpid(peer->child, NULL, 0) < 0 && errno == EINTR) {
    }
    peer->child = 0;
}
