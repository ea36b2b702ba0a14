/* SPDX-License-Identifier: Apache-2.0 */
/* bench_ort_folder LIBRARY GRAPH.onnx FOLDER WORKERS [SIDE]: how fast ONNX Runtime gets through a folder of photos when everything around it
 * is as good as ours. Independent workers, one a processor, take photos from one list; each decodes and resizes with this library and runs
 * the network with one thread. It stops at the backbone's maps: there is no head, no score, no map. One line of JSON.
 *
 * LIBRARY is libonnxruntime.so.1. Its table of functions (struct OrtApi) only ever grows at its end, so the places used here are good for
 * every version since 1.0; the table asked for is version 1. */
#include "cozad/cozad_io.h"
#include "features/preprocess.h"
#include "util/threads.h"

#include <dirent.h>
#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Places in OrtApi. */
enum {
    GET_ERROR_MESSAGE = 2,
    CREATE_ENV = 3,
    CREATE_SESSION = 7,
    RUN = 9,
    CREATE_SESSION_OPTIONS = 10,
    SET_GRAPH_OPTIMIZATION = 23,
    SET_INTRA_OP_THREADS = 24,
    SET_INTER_OP_THREADS = 25,
    CREATE_TENSOR_WITH_DATA = 49,
    CREATE_CPU_MEMORY_INFO = 69,
    RELEASE_VALUE = 96
};
enum { LOG_ERROR = 3, OPTIMIZE_ALL = 99, ALLOCATOR_ARENA = 1, MEM_DEFAULT = 0, ELEMENT_FLOAT = 1, MOST_WORKERS = 64 };

typedef void *handle; /* OrtEnv, OrtSession, OrtStatus … : never looked into */
typedef struct api_base {
    void *const *(*get_api)(uint32_t version);
    const char *(*get_version)(void);
} api_base;
typedef const char *(*get_error_fn)(handle);
typedef handle (*create_env_fn)(int, const char *, handle *);
typedef handle (*create_session_fn)(handle, const char *, handle, handle *);
typedef handle (*run_fn)(handle, handle, const char *const *, const handle *, size_t, const char *const *, size_t,
                         handle *);
typedef handle (*create_fn)(handle *);
typedef handle (*set_fn)(handle, int);
typedef handle (*create_tensor_fn)(handle, void *, size_t, const int64_t *, size_t, int, handle *);
typedef handle (*create_info_fn)(int, int, handle *);
typedef void (*release_fn)(handle);

typedef struct job {
    void *const *api;
    handle session, memory;
    char **paths;
    size_t count, side, workers;
    atomic_size_t next, failed;
    double decode, prepare, run; /* core-milliseconds, under `lock` */
    pthread_mutex_t lock;
} job;

static int bad(const job *j, handle status, const char *what)
{
    if (status == NULL) return 0;
    (void)fprintf(stderr, "bench_ort_folder: %s: %s\n", what, ((get_error_fn)j->api[GET_ERROR_MESSAGE])(status));
    return 1;
}

/* [3, side, side] of one photo; NULL: unreadable. rgb, pixels: room. */
static int prepare(const job *j, const char *path, uint8_t *rgb, float *nhwc, float *nchw, double spent[3])
{
    static const float mean[3] = {123.675f, 116.28f, 103.53f}, std[3] = {58.395f, 57.12f, 57.375f};
    const cz_roi whole = {0, 0, 0, 0};
    cz_prep prep = {0};
    cz_geometry geometry;
    cz_picture picture = {0};
    const double start = cz_now_ms();
    if (cz_picture_read(path, NULL, &picture) != CZ_OK) return 0;
    const double decoded = cz_now_ms();
    cz_status status = cz_prep_init(j->side, j->side, CZ_FIT_SQUASH, 0, &whole, NULL, &prep);
    if (status == CZ_OK) status = cz_prep_image(&prep, &picture.image, mean, rgb, &geometry);
    if (status == CZ_OK) cz_prep_normalise(&prep, &geometry, rgb, mean, std, nhwc);
    const size_t area = j->side * j->side;
    for (size_t i = 0; i < area; i++) {
        for (size_t c = 0; c < 3; c++) nchw[c * area + i] = nhwc[i * 3 + c];
    }
    cz_prep_free(&prep);
    cz_picture_free(&picture);
    spent[0] += decoded - start;
    spent[1] += cz_now_ms() - decoded;
    return status == CZ_OK;
}

static void pin(size_t worker)
{
    cpu_set_t all, one;
    if (sched_getaffinity(0, sizeof all, &all) != 0) return;
    size_t left = worker % (size_t)CPU_COUNT(&all);
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &all) || left-- > 0) continue;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        (void)pthread_setaffinity_np(pthread_self(), sizeof one, &one);
        return;
    }
}

typedef struct worker {
    job *j;
    size_t index;
} worker;

static void *work(void *argument)
{
    static const char *const inputs[] = {"input"}, *const outputs[] = {"layer2", "layer3"};
    const worker *w = argument;
    job *j = w->j;
    const size_t values = j->side * j->side * 3;
    const int64_t shape[4] = {1, 3, (int64_t)j->side, (int64_t)j->side};
    uint8_t *rgb = malloc(values);
    float *nhwc = malloc(values * sizeof *nhwc), *nchw = malloc(values * sizeof *nchw);
    double spent[3] = {0.0, 0.0, 0.0};
    handle input = NULL;
    cz_threads_scope scope = {0};
    pin(w->index);
    int good = rgb != NULL && nhwc != NULL && nchw != NULL && cz_threads_enter(1, &scope) == CZ_OK &&
               !bad(j,
                    ((create_tensor_fn)j->api[CREATE_TENSOR_WITH_DATA])(j->memory, nchw, values * sizeof *nchw, shape,
                                                                        4, ELEMENT_FLOAT, &input),
                    "input");
    for (size_t i; good && (i = atomic_fetch_add(&j->next, 1)) < j->count;) {
        handle results[2] = {NULL, NULL};
        if (!prepare(j, j->paths[i], rgb, nhwc, nchw, spent)) {
            atomic_fetch_add(&j->failed, 1);
            continue;
        }
        const double start = cz_now_ms();
        good = !bad(j, ((run_fn)j->api[RUN])(j->session, NULL, inputs, &input, 1, outputs, 2, results), "run");
        spent[2] += cz_now_ms() - start;
        for (size_t k = 0; k < 2; k++)
            if (results[k] != NULL) ((release_fn)j->api[RELEASE_VALUE])(results[k]);
    }
    if (!good) atomic_fetch_add(&j->failed, 1);
    if (input != NULL) ((release_fn)j->api[RELEASE_VALUE])(input);
    free(rgb);
    free(nhwc);
    free(nchw);
    (void)pthread_mutex_lock(&j->lock);
    j->decode += spent[0];
    j->prepare += spent[1];
    j->run += spent[2];
    (void)pthread_mutex_unlock(&j->lock);
    return NULL;
}

static int open_runtime(job *j, const char *library, const char *graph, const char **version)
{
    handle env = NULL, options = NULL;
    void *object = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (object == NULL) {
        (void)fprintf(stderr, "bench_ort_folder: %s\n", dlerror());
        return 0;
    }
    const api_base *(*get_base)(void) = NULL;
    *(void **)&get_base = dlsym(object, "OrtGetApiBase");
    if (get_base == NULL || (j->api = get_base()->get_api(1)) == NULL) return 0;
    *version = get_base()->get_version();
    /* One thread a run: it computes in the calling worker, and nothing spins beside it. */
    return !bad(j, ((create_env_fn)j->api[CREATE_ENV])(LOG_ERROR, "bench", &env), "environment") &&
           !bad(j, ((create_fn)j->api[CREATE_SESSION_OPTIONS])(&options), "options") &&
           !bad(j, ((set_fn)j->api[SET_GRAPH_OPTIMIZATION])(options, OPTIMIZE_ALL), "options") &&
           !bad(j, ((set_fn)j->api[SET_INTRA_OP_THREADS])(options, 1), "options") &&
           !bad(j, ((set_fn)j->api[SET_INTER_OP_THREADS])(options, 1), "options") &&
           !bad(j, ((create_session_fn)j->api[CREATE_SESSION])(env, graph, options, &j->session), graph) &&
           !bad(j, ((create_info_fn)j->api[CREATE_CPU_MEMORY_INFO])(ALLOCATOR_ARENA, MEM_DEFAULT, &j->memory),
                "memory");
}

static int is_photo(const struct dirent *entry)
{
    return cz_picture_is_name(entry->d_name);
}

static int list(job *j, const char *folder)
{
    struct dirent **entries = NULL;
    const int found = scandir(folder, &entries, is_photo, alphasort);
    if (found <= 0) return 0;
    j->paths = calloc((size_t)found, sizeof *j->paths);
    for (int i = 0; i < found && j->paths != NULL; i++) {
        const size_t room = strlen(folder) + strlen(entries[i]->d_name) + 2;
        char *path = malloc(room);
        if (path == NULL) return 0;
        (void)snprintf(path, room, "%s/%s", folder, entries[i]->d_name);
        j->paths[j->count++] = path;
    }
    return j->paths != NULL;
}

int main(int argc, char **argv)
{
    job j = {.lock = PTHREAD_MUTEX_INITIALIZER};
    const char *version = "";
    pthread_t threads[MOST_WORKERS];
    worker workers[MOST_WORKERS];
    j.workers = argc > 4 ? strtoul(argv[4], NULL, 10) : 0;
    j.side = argc > 5 ? strtoul(argv[5], NULL, 10) : 256;
    if (j.workers == 0 || j.workers > MOST_WORKERS || j.side == 0 || j.side > 4096) {
        (void)fputs("Usage: bench_ort_folder libonnxruntime.so.1 GRAPH.onnx FOLDER WORKERS [SIDE]\n", stderr);
        return 2;
    }
    if (!list(&j, argv[3])) {
        (void)fprintf(stderr, "bench_ort_folder: %s: no photos\n", argv[3]);
        return 3;
    }
    if (!open_runtime(&j, argv[1], argv[2], &version)) return 5;
    const double start = cz_now_ms();
    size_t started = 0;
    for (; started < j.workers; started++) {
        workers[started] = (worker){&j, started};
        if (pthread_create(&threads[started], NULL, work, &workers[started]) != 0) break;
    }
    for (size_t i = 0; i < started; i++) (void)pthread_join(threads[i], NULL);
    const double elapsed = cz_now_ms() - start, photos = (double)j.count;
    printf(
        "{\"version\":\"%s\",\"workers\":%zu,\"photos\":%zu,\"failed\":%zu,\"seconds\":%.3f,\"images_per_second\":%.3f,"
        "\"core_ms\":{\"decode\":%.3f,\"prepare\":%.3f,\"backbone\":%.3f}}\n",
        version, j.workers, j.count, atomic_load(&j.failed), elapsed * 1e-3, photos * 1e3 / elapsed, j.decode / photos,
        j.prepare / photos, j.run / photos);
    return started == j.workers && atomic_load(&j.failed) == 0 ? 0 : 3;
}
