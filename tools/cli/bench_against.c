/* SPDX-License-Identifier: Apache-2.0 */
/* --against: the same weights and shapes in another program, turn by turn with ours, so that a busy machine is busy for both. */
#include "bench.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* What can be compared with. */
typedef struct contender {
    const char *name;
    size_t stage;                         /* of ours */
    const char *variants[BENCH_VARIANTS]; /* what it computes in; NULL: no more */
    const char *needs;                    /* a file below the peers' folder that says it is installed */
} contender;
static const contender contenders[] = {
    {"onnxruntime", BENCH_BACKBONE, {"fp32", "int8"}, ".peers/node_modules/onnxruntime-node/package.json"},
    {"pytorch", BENCH_TOTAL, {"simplenet", NULL}, "reference/score_torch.py"},
};

enum { ROUNDS_AT_LEAST = 7, RUNS_A_TURN = 3, REFERENCE_IMAGES = 4, PATH_SIZE = 4096 };
static const char PYTHON[] = "/usr/bin/python3"; /* Debian's, which its python3-* packages belong to */

static const contender *find_contender(const char *name)
{
    for (size_t i = 0; i < sizeof contenders / sizeof *contenders; i++)
        if (strcmp(contenders[i].name, name) == 0) return &contenders[i];
    return NULL;
}

static bool has_file(const char *folder, const char *name)
{
    char path[PATH_SIZE];
    const int size = snprintf(path, sizeof path, "%s/%s", folder, name);
    return size > 0 && size < (int)sizeof path && access(path, R_OK) == 0;
}

/* bench/ beside or above the folder of the running program: where it was built. */
static bool above_program(char *folder)
{
    char path[PATH_SIZE - 8];
    const ssize_t size = readlink("/proc/self/exe", path, sizeof path - 1);
    if (size <= 0) return false;
    path[size] = '\0';
    for (char *slash; (slash = strrchr(path, '/')) != NULL;) {
        *slash = '\0';
        (void)snprintf(folder, PATH_SIZE, "%s/bench", path);
        if (has_file(folder, "peers/onnxruntime.js")) return true;
    }
    return false;
}

int bench_peer_find(const bench_options *options, char *folder)
{
    const contender *c = find_contender(options->against);
    const char *given = options->peers != NULL ? options->peers : getenv("COZAD_PEERS");
    bool found = c != NULL;
    if (given != NULL) {
        char *whole = realpath(given, NULL);
        found = found && whole != NULL && strlen(whole) < PATH_SIZE && has_file(whole, "peers/onnxruntime.js");
        if (found) memcpy(folder, whole, strlen(whole) + 1);
        free(whole);
    } else {
        found = found && above_program(folder);
    }
    if (!found) {
        cli_error("--against %s: there is no bench/ of cozad's source above this program; --peers says where it is",
                  options->against);
        return CLI_RESOURCES;
    }
    if (has_file(folder, c->needs)) return CLI_OK;
    cli_error("--against %s: it is not installed; run %s/setup", options->against, folder);
    return CLI_RESOURCES;
}

/* ---- files for the peer ---------------------------------------------------------------------------------------- */

typedef struct files {
    char folder[PATH_SIZE - 64];
    char weights[PATH_SIZE], reference[PATH_SIZE], ranges[PATH_SIZE], graph[PATH_SIZE]; /* graph: the one being made */
    bool keep;
} files;

static int make_folder(const bench_options *o, files *f)
{
    const char *tmp = getenv("TMPDIR");
    f->keep = o->keep != NULL;
    if (f->keep) {
        (void)snprintf(f->folder, sizeof f->folder, "%s", o->keep);
    } else {
        (void)snprintf(f->folder, sizeof f->folder, "%s/cozad-bench-XXXXXX", tmp != NULL ? tmp : "/tmp");
    }
    if (f->keep ? access(f->folder, W_OK | X_OK) != 0 : mkdtemp(f->folder) == NULL) {
        cli_error("%s: cannot write there: %s", f->folder, strerror(errno));
        f->folder[0] = '\0';
        return CLI_RESOURCES;
    }
    (void)snprintf(f->weights, sizeof f->weights, "%s/weights.safetensors", f->folder);
    (void)snprintf(f->reference, sizeof f->reference, "%s/reference.safetensors", f->folder);
    (void)snprintf(f->ranges, sizeof f->ranges, "%s/ranges.json", f->folder);
    return CLI_OK;
}

static const char *graph_file(files *f, const char *kind)
{
    (void)snprintf(f->graph, sizeof f->graph, "%s/%s.onnx", f->folder, kind);
    return f->graph;
}

static void remove_files(files *f)
{
    if (f->folder[0] == '\0' || f->keep) return;
    static const char *const graphs[] = {"ranges", "fp32", "int8"};
    (void)unlink(f->weights);
    (void)unlink(f->reference);
    (void)unlink(f->ranges);
    for (size_t i = 0; i < sizeof graphs / sizeof *graphs; i++) (void)unlink(graph_file(f, graphs[i]));
    (void)rmdir(f->folder);
}

/* A few photos as the network sees them, and what it makes of them in fp32. */
static cz_status save_reference(const bench_run *run, const char *path)
{
    const cz_train_options *train = &run->options->train;
    bench_noise photos[REFERENCE_IMAGES] = {{0}};
    cz_image images[REFERENCE_IMAGES];
    cz_tensors *tensors = NULL;
    cz_features_options options = CZ_FEATURES_OPTIONS_INIT;
    char taps[256];
    cz_status status = CZ_OK;
    (void)snprintf(taps, sizeof taps, "input,%s", train->taps);
    options.taps = taps;
    options.image_width = train->image_width;
    options.image_height = train->image_height;
    options.threads = run->threads;
    for (size_t i = 0; i < REFERENCE_IMAGES && status == CZ_OK; i++) {
        if (!bench_noise_make(&photos[i], train->image_width, train->image_height, (uint32_t)i))
            status = cz_source_error(CZ_E_MEMORY, "out of memory");
        images[i] = photos[i].image;
    }
    if (status == CZ_OK) status = cz_tensors_create(&tensors);
    if (status == CZ_OK) status = cz_features_images(run->backbone, images, REFERENCE_IMAGES, &options, tensors);
    if (status == CZ_OK) status = cz_tensors_save(tensors, path);
    cz_tensors_close(tensors);
    for (size_t i = 0; i < REFERENCE_IMAGES; i++) free(photos[i].pixels);
    return status;
}

/* ---- ONNX Runtime ---------------------------------------------------------------------------------------------- */

static int make_graph(const bench_run *run, const char *folder, files *f, const char *kind, size_t batch)
{
    const cz_train_options *train = &run->options->train;
    char script[PATH_SIZE + 32], count[24], width[24], height[24];
    (void)snprintf(script, sizeof script, "%s/peers/make_onnx.py", folder);
    (void)snprintf(count, sizeof count, "%zu", batch);
    (void)snprintf(width, sizeof width, "%zu", train->image_width);
    (void)snprintf(height, sizeof height, "%zu", train->image_height);
    const char *words[] = {PYTHON,    script,  f->weights,          "--kind", kind,       "--taps", train->taps,
                           "--batch", count,   "--width",           width,    "--height", height,   "--ranges",
                           f->ranges, "--out", graph_file(f, kind), NULL};
    return bench_peer_run((char *const *)(uintptr_t)words); /* posix_spawn does not write to the words */
}

static int load_graphs(bench_run *run, const char *folder, files *f, const contender *c, bench_peer *peer)
{
    const size_t batch = run->options->batch;
    int code = make_graph(run, folder, f, "ranges", REFERENCE_IMAGES);
    if (code == CLI_OK) code = bench_peer_ask(peer, "ranges\t%s\t%s", f->graph, f->ranges);
    for (size_t i = 0; i < BENCH_VARIANTS && code == CLI_OK; i++) {
        code = make_graph(run, folder, f, c->variants[i], batch);
        if (code == CLI_OK) code = bench_peer_ask(peer, "load\t%s\t%s", c->variants[i], f->graph);
    }
    return code;
}

static int start_peer(const bench_run *run, const char *folder, const files *f, const contender *c, bench_peer *peer)
{
    char script[PATH_SIZE + 64], threads[24], batch[24], hidden[24];
    const bool node = c->stage == BENCH_BACKBONE;
    (void)snprintf(threads, sizeof threads, "%zu", run->threads);
    (void)snprintf(batch, sizeof batch, "%zu", run->options->batch);
    (void)snprintf(hidden, sizeof hidden, "%zu", run->options->train.hidden_width);
    (void)snprintf(script, sizeof script, node ? "%s/peers/onnxruntime.js" : "%s/reference/score_torch.py", folder);
    char modules[PATH_SIZE + 8];
    (void)snprintf(modules, sizeof modules, "%s/.peers", folder);
    const char *const with_node[] = {"node", script, modules, threads, batch, f->reference, NULL};
    const char *const with_python[] = {PYTHON,       script,           "--serve", "--weights", f->weights,
                                       "--threads",  threads,          "--batch", batch,       "--reference",
                                       f->reference, "--hidden-width", hidden,    NULL};
    return bench_peer_start((char *const *)(uintptr_t)(node ? with_node : with_python), peer);
}

/* ---- turns ----------------------------------------------------------------------------------------------------- */

/* Threads of both sides spin for a while after their work; the other's turn begins when they sleep. */
static void settle(void)
{
    const struct timespec pause = {0, 30 * 1000 * 1000};
    (void)nanosleep(&pause, NULL);
}

/* Milliseconds an image of one turn: the median of RUNS_A_TURN after one to warm up. */
static cz_status our_turn(const bench_run *run, cz_session *session, size_t stage, const cz_image *images,
                          cz_result *results, double *ms)
{
    double values[RUNS_A_TURN];
    settle();
    for (size_t i = 0; i <= RUNS_A_TURN; i++) {
        cz_timing t;
        const cz_status status = cz_score_batch(session, images, run->options->batch, results);
        if (status != CZ_OK) return status;
        cz_session_timing(session, &t);
        if (i > 0) values[i - 1] = (stage == BENCH_BACKBONE ? t.backbone : t.total) / (double)run->options->batch;
    }
    *ms = bench_summarise(values, RUNS_A_TURN).median;
    return CZ_OK;
}

static int their_turn(const bench_run *run, bench_peer *peer, const char *variant, double *ms)
{
    double values[RUNS_A_TURN + 1];
    settle();
    const int code = bench_peer_ask(peer, "run\t%s\t%d", variant, RUNS_A_TURN + 1);
    if (code != CLI_OK) return code;
    const char *at = peer->line;
    for (size_t i = 0; i <= RUNS_A_TURN; i++) {
        char *end;
        values[i] = strtod(at, &end);
        if (end == at || !(values[i] > 0.0)) {
            cli_error("--against: the peer answered \"%s\"", peer->line);
            return CLI_RESOURCES;
        }
        at = end;
    }
    *ms = bench_summarise(values + 1, RUNS_A_TURN).median / (double)run->options->batch;
    return CLI_OK;
}

/* Sessions, and the times of every round: ours [rows, rounds], theirs [variants, rounds]. */
typedef struct match {
    size_t rounds;
    cz_session *sessions[BENCH_PRECISIONS];
    double *ours, *theirs;
    cz_image *images;
    cz_result *results;
} match;

static int play(const bench_run *run, match *m, const contender *c, bench_peer *peer, size_t rows)
{
    for (size_t round = 0; round < m->rounds; round++) {
        for (size_t r = 0; r < rows; r++) {
            const cz_status status =
                our_turn(run, m->sessions[r], c->stage, m->images, m->results, &m->ours[r * m->rounds + round]);
            if (status != CZ_OK) return cli_fail(status);
        }
        for (size_t v = 0; v < run->variant_count; v++) {
            const int code = their_turn(run, peer, c->variants[v], &m->theirs[v * m->rounds + round]);
            if (code != CLI_OK) return code;
        }
        if (cli_progress(NULL, "comparing", round + 1, m->rounds, c->name) != 0) return cli_fail(CZ_E_CANCELLED);
    }
    return CLI_OK;
}

static void take_ratios(const bench_run *run, match *m, const contender *c, bench_row *rows, size_t count)
{
    for (size_t r = 0; r < count; r++) {
        double *ours = m->ours + r * m->rounds;
        rows[r].stage = bench_stage_names[c->stage];
        rows[r].ratio_count = run->variant_count;
        for (size_t v = 0; v < run->variant_count; v++) {
            bench_ratio *out = &rows[r].ratios[v];
            double *scratch = m->theirs + BENCH_VARIANTS * m->rounds; /* sorting must not part the rounds */
            const double *theirs = m->theirs + v * m->rounds;
            (void)snprintf(out->peer, sizeof out->peer, "%s", c->variants[v]);
            memcpy(scratch, theirs, m->rounds * sizeof *scratch);
            out->theirs = bench_summarise(scratch, m->rounds).median;
            memcpy(scratch, ours, m->rounds * sizeof *scratch);
            out->ours = bench_summarise(scratch, m->rounds).median;
            for (size_t i = 0; i < m->rounds; i++) scratch[i] = theirs[i] / ours[i];
            out->ratio = bench_summarise(scratch, m->rounds);
        }
    }
}

static int alternate(const bench_run *run, const contender *c, bench_peer *peer, bench_row *rows, size_t count)
{
    const size_t batch = run->options->batch;
    match m = {.rounds = run->options->repeat > ROUNDS_AT_LEAST ? run->options->repeat : ROUNDS_AT_LEAST};
    cz_status status = CZ_OK;
    int code = CLI_OK;
    m.ours = calloc(BENCH_PRECISIONS * m.rounds, sizeof *m.ours);
    m.theirs = calloc((BENCH_VARIANTS + 1) * m.rounds, sizeof *m.theirs);
    m.images = calloc(batch, sizeof *m.images);
    m.results = calloc(batch, sizeof *m.results);
    if (m.ours == NULL || m.theirs == NULL || m.images == NULL || m.results == NULL)
        status = cz_source_error(CZ_E_MEMORY, "out of memory");
    for (size_t i = 0; i < batch && status == CZ_OK; i++) m.images[i] = run->noise.image;
    for (size_t r = 0; r < count && status == CZ_OK; r++)
        status = bench_session_open(run, rows[r].precision, &m.sessions[r]);
    code = status == CZ_OK ? play(run, &m, c, peer, count) : cli_fail(status);
    cli_progress_end();
    if (code == CLI_OK) take_ratios(run, &m, c, rows, count);
    for (size_t r = 0; r < count; r++) cz_session_close(m.sessions[r]);
    free(m.ours);
    free(m.theirs);
    free(m.images);
    free(m.results);
    return code;
}

int bench_against(bench_run *run, const char *folder, bench_row *rows, size_t count)
{
    const contender *c = find_contender(run->options->against);
    files f = {.keep = false};
    bench_peer *peer = calloc(1, sizeof *peer);
    if (c == NULL || peer == NULL) {
        free(peer);
        return cli_fail(CZ_E_MEMORY);
    }
    int code = make_folder(run->options, &f);
    cz_status status = code == CLI_OK ? cz_backbone_save(run->backbone, f.weights) : CZ_OK;
    if (code == CLI_OK && status == CZ_OK) status = save_reference(run, f.reference);
    if (status != CZ_OK) code = cli_fail(status);
    if (code == CLI_OK) code = start_peer(run, folder, &f, c, peer);
    if (code == CLI_OK) code = bench_peer_ask(peer, "version");
    if (code == CLI_OK) (void)snprintf(run->version, sizeof run->version, "%.60s", peer->line);
    if (code == CLI_OK && c->stage == BENCH_BACKBONE) code = load_graphs(run, folder, &f, c, peer);
    for (size_t v = 0; v < BENCH_VARIANTS && c->variants[v] != NULL && code == CLI_OK; v++) {
        code = bench_peer_ask(peer, "check\t%s", c->variants[v]);
        run->parity[v] = strtod(peer->line, NULL);
        (void)snprintf(run->variants[v], sizeof run->variants[v], "%s", c->variants[v]);
        run->variant_count = v + 1;
    }
    if (code == CLI_OK && !(run->parity[0] < 1e-3)) { /* a comparison of two different networks would be none */
        cli_error("--against %s: its maps differ from ours by %.2g", c->name, run->parity[0]);
        code = CLI_RESOURCES;
    }
    if (code == CLI_OK) code = alternate(run, c, peer, rows, count);
    bench_peer_stop(peer);
    free(peer);
    remove_files(&f);
    return code;
}
