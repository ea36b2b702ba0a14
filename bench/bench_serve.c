/* SPDX-License-Identifier: Apache-2.0 */
/* bench_serve ADDRESS:PORT PATH FILE|FOLDER… [--clients 8] [--requests N] [--seconds S] [--raw] [--server PID] [--every 1000]: load for a
 * server. CLIENTS connections that stay open post the files in turn (a folder: its files by name) to PATH, N requests in all (one for each
 * file unless given) or for S seconds, whichever ends first. --raw: the picture as an inference request
 * (Inference-Header-Content-Length: 0) for /v2/models/NAME/infer; else as image/jpeg for /score.
 *
 * Prints one line of JSON: requests (answered 200), errors (any other answer, or none), status of the first error (0: no answer), seconds,
 * images/s, milliseconds from the first byte sent to the last byte received, and with --server the milliseconds of processor time that this
 * process took for an image, and its resident megabytes at the start and after each EVERY answers. Exit code 0, 1 with errors, 2 usage.
 *
 * One blocking thread a client, and files that are mapped rather than read: as little as possible of the machine that the server needs. */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { MOST_CLIENTS = 256, MOST_REQUESTS = 10000000, HEAD = 16384 };

typedef struct picture {
    const unsigned char *bytes; /* mapped */
    size_t size;
} picture;

typedef struct load {
    struct sockaddr_in address;
    const char *host, *path;
    picture *pictures;
    size_t count, room, requests, every;
    long clients, pid;
    double seconds, end;
    bool raw;
    atomic_size_t next, done, good, bad;
    atomic_int first_bad; /* its status; -1: none */
    float *ms;            /* [requests]; NaN: not answered 200 */
    float *rss;           /* [requests / every + 1] megabytes */
} load;

static double now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static float resident(long pid)
{
    char path[40];
    long pages = 0, unused;
    (void)snprintf(path, sizeof path, "/proc/%ld/statm", pid);
    FILE *f = fopen(path, "r");
    if (f == NULL) return NAN;
    const bool read = fscanf(f, "%ld %ld", &unused, &pages) == 2;
    (void)fclose(f);
    return read ? (float)((double)pages * (double)sysconf(_SC_PAGESIZE) / 1048576.0) : NAN;
}

/* Seconds of processor time that a process has used. */
static double used_by(long pid)
{
    char path[40], text[1024];
    (void)snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    FILE *f = fopen(path, "r");
    if (f == NULL) return 0.0;
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    (void)fclose(f);
    const char *name_end = strrchr(text, ')'); /* fields 14 and 15 of proc(5); this is the end of number 2 */
    unsigned long user = 0, system = 0;
    if (name_end == NULL ||
        sscanf(name_end + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2)
        return 0.0;
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

/* ---- one request --------------------------------------------------------------------------------------------------- */

static int open_connection(const load *l)
{
    const struct timeval patience = {120, 0};
    const int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (connect(fd, (const struct sockaddr *)&l->address, sizeof l->address) == 0) return fd;
    (void)close(fd);
    return -1;
}

static bool send_all(int fd, const void *bytes, size_t size, int flags)
{
    const char *at = bytes;
    while (size > 0) {
        const ssize_t sent = send(fd, at, size, flags | MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent <= 0) return false;
        at += sent;
        size -= (size_t)sent;
    }
    return true;
}

/* The status, with the whole answer read; 0: none, the connection is of no use. *stays: it may be used again. */
static int read_answer(int fd, bool *stays)
{
    char head[HEAD + 1], *end = NULL;
    size_t used = 0;
    while (end == NULL && used < HEAD) {
        const ssize_t got = recv(fd, head + used, HEAD - used, 0);
        if (got <= 0) return 0;
        used += (size_t)got;
        head[used] = '\0';
        end = strstr(head, "\r\n\r\n");
    }
    int status = 0;
    if (end == NULL || sscanf(head, "HTTP/1.1 %d", &status) != 1) return 0;
    size_t here = used - (size_t)(end + 4 - head);
    end[2] = '\0';
    const char *length = strcasestr(head, "\r\nContent-Length:");
    if (length == NULL) return 0; /* this server always says so */
    size_t left = (size_t)strtoull(length + 17, NULL, 10);
    *stays = strcasestr(head, "\r\nConnection: close") == NULL;
    if (here > left) return 0;
    for (left -= here; left > 0;) {
        const ssize_t got = recv(fd, head, left < HEAD ? left : HEAD, 0);
        if (got <= 0) return 0;
        left -= (size_t)got;
    }
    return status;
}

static int post(const load *l, int fd, const picture *p, bool *stays)
{
    char head[1024];
    const int size =
        snprintf(head, sizeof head, "POST %s HTTP/1.1\r\nHost: %s\r\n%s\r\nContent-Length: %zu\r\n\r\n", l->path,
                 l->host, l->raw ? "Inference-Header-Content-Length: 0" : "Content-Type: image/jpeg", p->size);
    *stays = false;
    if (size < 0 || (size_t)size >= sizeof head) return 0;
    if (!send_all(fd, head, (size_t)size, MSG_MORE) || !send_all(fd, p->bytes, p->size, 0)) return 0;
    return read_answer(fd, stays);
}

/* ---- clients ------------------------------------------------------------------------------------------------------- */

static void count(load *l, size_t index, int status, double ms)
{
    if (status == 200) {
        l->ms[index] = (float)ms;
        (void)atomic_fetch_add(&l->good, 1);
    } else {
        int none = -1;
        (void)atomic_fetch_add(&l->bad, 1);
        (void)atomic_compare_exchange_strong(&l->first_bad, &none, status);
    }
    const size_t done = atomic_fetch_add(&l->done, 1) + 1;
    if (l->pid > 0 && done % l->every == 0) l->rss[done / l->every] = resident(l->pid);
}

static void *client(void *argument)
{
    load *l = argument;
    const struct timespec moment = {0, 10000000};
    int fd = -1;
    for (;;) {
        const size_t index = atomic_fetch_add(&l->next, 1);
        const double start = now();
        bool stays = false;
        if (index >= l->requests || start >= l->end) break;
        if (fd < 0) fd = open_connection(l);
        const int status = fd >= 0 ? post(l, fd, &l->pictures[index % l->count], &stays) : 0;
        count(l, index, status, 1e3 * (now() - start));
        if (fd >= 0 && !stays) {
            (void)close(fd);
            fd = -1;
        }
        if (status != 200) (void)nanosleep(&moment, NULL);
    }
    if (fd >= 0) (void)close(fd);
    return NULL;
}

/* ---- the beginning ------------------------------------------------------------------------------------------------- */

static bool add_file(load *l, const char *path)
{
    struct stat info;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &info) != 0 || !S_ISREG(info.st_mode) || info.st_size == 0) {
        (void)fprintf(stderr, "bench_serve: %s: not a file that can be read\n", path);
        if (fd >= 0) (void)close(fd);
        return false;
    }
    void *bytes = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    (void)close(fd);
    if (l->count == l->room) {
        picture *more = realloc(l->pictures, (2 * l->room + 64) * sizeof *more);
        if (more == NULL) return false;
        l->pictures = more;
        l->room = 2 * l->room + 64;
    }
    if (bytes == MAP_FAILED) return false;
    l->pictures[l->count++] = (picture){bytes, (size_t)info.st_size};
    return true;
}

static bool add(load *l, const char *path)
{
    struct dirent **names = NULL;
    char file[4096];
    bool good = true;
    const int n = scandir(path, &names, NULL, alphasort);
    if (n < 0) return add_file(l, path);
    for (int i = 0; i < n; i++) {
        if (good && names[i]->d_name[0] != '.') {
            const int size = snprintf(file, sizeof file, "%s/%s", path, names[i]->d_name);
            good = size > 0 && (size_t)size < sizeof file && add_file(l, file);
        }
        free(names[i]);
    }
    free(names);
    return good;
}

static bool set_address(load *l, const char *text)
{
    char host[64];
    const char *colon = strrchr(text, ':');
    if (colon == NULL || (size_t)(colon - text) >= sizeof host) return false;
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = '\0';
    l->host = text;
    l->address.sin_family = AF_INET;
    l->address.sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
    return inet_pton(AF_INET, host, &l->address.sin_addr) == 1;
}

static bool set_option(load *l, int argc, char **argv, int *i)
{
    const char *name = argv[*i];
    if (strcmp(name, "--raw") == 0) return l->raw = true;
    if (*i + 1 >= argc) return false;
    const double value = strtod(argv[++*i], NULL);
    if (!(value > 0.0)) return false;
    if (strcmp(name, "--clients") == 0 && value <= MOST_CLIENTS) return (l->clients = (long)value) > 0;
    if (strcmp(name, "--requests") == 0 && value <= MOST_REQUESTS) return (l->requests = (size_t)value) > 0;
    if (strcmp(name, "--seconds") == 0) return (l->seconds = value) > 0.0;
    if (strcmp(name, "--server") == 0) return (l->pid = (long)value) > 0;
    if (strcmp(name, "--every") == 0) return (l->every = (size_t)value) > 0;
    return false;
}

static bool parse(load *l, int argc, char **argv)
{
    if (argc < 4 || !set_address(l, argv[1])) return false;
    l->path = argv[2];
    for (int i = 3; i < argc; i++) {
        if (strncmp(argv[i], "--", 2) == 0 ? !set_option(l, argc, argv, &i) : !add(l, argv[i])) return false;
    }
    if (l->count == 0) return false;
    if (l->requests == 0) l->requests = l->seconds > 0.0 ? MOST_REQUESTS : l->count;
    return true;
}

/* ---- the end ------------------------------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* The least of sorted values that `share` of them do not exceed. */
static double quantile(const float *values, size_t n, double share)
{
    const size_t rank = (size_t)ceil(share * (double)n);
    return n > 0 ? (double)values[rank > 0 ? rank - 1 : 0] : 0.0;
}

static void print(load *l, double seconds, double used)
{
    const size_t done = atomic_load(&l->done), good = atomic_load(&l->good);
    size_t n = 0;
    for (size_t i = 0; i < l->requests; i++)
        if (!isnan(l->ms[i])) l->ms[n++] = l->ms[i];
    qsort(l->ms, n, sizeof *l->ms, by_value);
    (void)printf("{\"requests\": %zu, \"errors\": %zu, ", good, atomic_load(&l->bad));
    if (atomic_load(&l->first_bad) >= 0) (void)printf("\"first_error\": %d, ", atomic_load(&l->first_bad));
    (void)printf(
        "\"clients\": %ld, \"seconds\": %.3f, \"images_per_second\": %.2f, \"p50_ms\": %.2f, \"p90_ms\": %.2f, "
        "\"p99_ms\": %.2f, \"max_ms\": %.2f",
        l->clients, seconds, (double)good / seconds, quantile(l->ms, n, 0.5), quantile(l->ms, n, 0.9),
        quantile(l->ms, n, 0.99), quantile(l->ms, n, 1.0));
    if (l->pid > 0) (void)printf(", \"cpu_ms_per_image\": %.2f", 1e3 * used / (double)(done > 0 ? done : 1));
    for (size_t k = 0; l->pid > 0 && k <= done / l->every; k++)
        (void)printf("%s%.1f", k == 0 ? ", \"rss_mb\": [" : ", ", (double)l->rss[k]);
    (void)printf(l->pid > 0 ? "]}\n" : "}\n");
}

static int run(load *l)
{
    pthread_t threads[MOST_CLIENTS];
    long started = 0;
    l->ms = malloc(l->requests * sizeof *l->ms);
    l->rss = calloc(l->requests / l->every + 1, sizeof *l->rss);
    if (l->ms == NULL || l->rss == NULL) return 1;
    for (size_t i = 0; i < l->requests; i++) l->ms[i] = NAN;
    if (l->pid > 0) l->rss[0] = resident(l->pid);
    const double start = now(), used = l->pid > 0 ? used_by(l->pid) : 0.0;
    l->end = l->seconds > 0.0 ? start + l->seconds : (double)INFINITY;
    while (started < l->clients && pthread_create(&threads[started], NULL, client, l) == 0) started++;
    for (long i = 0; i < started; i++) (void)pthread_join(threads[i], NULL);
    print(l, now() - start, l->pid > 0 ? used_by(l->pid) - used : 0.0);
    return started < l->clients || atomic_load(&l->bad) > 0;
}

int main(int argc, char **argv)
{
    load l;
    memset(&l, 0, sizeof l);
    l.clients = 8;
    l.every = 1000;
    atomic_init(&l.first_bad, -1);
    (void)signal(SIGPIPE, SIG_IGN);
    if (!parse(&l, argc, argv)) {
        (void)fprintf(stderr, "usage: bench_serve ADDRESS:PORT PATH FILE|FOLDER... [--clients N] [--requests N] "
                              "[--seconds S] [--raw] [--server PID] [--every N]\n");
        return 2;
    }
    const int code = run(&l);
    for (size_t i = 0; i < l.count; i++) (void)munmap((void *)(uintptr_t)l.pictures[i].bytes, l.pictures[i].size);
    free(l.pictures);
    free(l.ms);
    free(l.rss);
    return code;
}
