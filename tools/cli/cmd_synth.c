/* SPDX-License-Identifier: Apache-2.0 */
/* cozad synth: pictures with known defects and their masks, laid out like MVTec AD. */
#include "cli.h"
#include "cozad/cozad_io.h"
#include "synth.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_PICTURES = 100000, MAX_PATH = 4096, ATTEMPTS = 16 };

static const synth_scene *const all_scenes[] = {&synth_cloth, &synth_metal, &synth_pcb, &synth_caps};
enum { SCENES = sizeof all_scenes / sizeof all_scenes[0] };

typedef enum split { TRAIN_GOOD, TEST_GOOD, TEST_BAD, SPLITS } split;

typedef struct synth_options {
    const char *dir, *scenes;
    size_t count[SPLITS], size;
    uint64_t seed;
    bool force, json, chosen[SCENES];
} synth_options;

/* What went wrong first, from any thread. */
typedef struct outcome {
    int code;
    char message[1024];
} outcome;

static void set_outcome(outcome *o, int code, const char *message)
{
#pragma omp critical(synth_outcome)
    if (o->code == CLI_OK) {
        o->code = code;
        (void)snprintf(o->message, sizeof o->message, "%s", message);
    }
}

static bool stopped(const outcome *o)
{
    int code;
#pragma omp critical(synth_outcome)
    code = o->code;
    return code != CLI_OK;
}

static size_t bad_of_defect(const synth_options *o, const synth_scene *scene, size_t defect)
{
    return o->count[TEST_BAD] / scene->defect_count + (defect < o->count[TEST_BAD] % scene->defect_count);
}

/* ---- folders ---------------------------------------------------------------------------------------------------- */

/* Returns an exit code, and says what is wrong. */
static int make_dirs(const char *path)
{
    char part[MAX_PATH];
    size_t length = strlen(path);
    if (length >= sizeof part) {
        cli_error("%.100s…: path too long", path);
        return CLI_USAGE;
    }
    for (size_t i = 1; i <= length; i++) {
        if (i < length && path[i] != '/') continue;
        memcpy(part, path, i);
        part[i] = '\0';
        if (mkdir(part, 0777) == 0 || errno == EEXIST) continue;
        cli_error("%s: cannot make this folder: %s", part, strerror(errno));
        return CLI_RESOURCES;
    }
    struct stat info;
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode)) return CLI_OK;
    cli_error("%s: not a folder", path);
    return CLI_RESOURCES;
}

static int check_target(const synth_options *o)
{
    DIR *folder = opendir(o->dir);
    if (!folder) {
        if (errno == ENOENT) return CLI_OK;
        cli_error("%s: cannot be used as a folder: %s", o->dir, strerror(errno));
        return CLI_USAGE;
    }
    bool empty = true;
    for (const struct dirent *e = readdir(folder); e; e = readdir(folder))
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) empty = false;
    (void)closedir(folder);
    if (empty || o->force) return CLI_OK;
    cli_error("%s: the folder is not empty; name another one, or give --force to replace a set made earlier", o->dir);
    return CLI_USAGE;
}

/* "007.png" or "007_mask.png" gives 7; any other name gives SIZE_MAX. */
static size_t picture_number(const char *name)
{
    size_t digits = strspn(name, "0123456789");
    bool ours =
        digits >= 3 && digits < 9 && (strcmp(name + digits, ".png") == 0 || strcmp(name + digits, "_mask.png") == 0);
    return ours ? (size_t)strtoul(name, NULL, 10) : SIZE_MAX;
}

/* Numbered pictures of an earlier, larger set would quietly belong to this one. */
static void remove_surplus(const char *path, size_t keep)
{
    DIR *folder = opendir(path);
    if (!folder) return;
    for (const struct dirent *e = readdir(folder); e; e = readdir(folder)) {
        size_t number = picture_number(e->d_name);
        if (number != SIZE_MAX && number >= keep) (void)unlinkat(dirfd(folder), e->d_name, 0);
    }
    (void)closedir(folder);
}

static int prepare_folder(const synth_options *o, const synth_scene *scene, const char *below, const char *kind,
                          size_t count)
{
    char path[MAX_PATH];
    int n = snprintf(path, sizeof path, "%s/%s/%s/%s", o->dir, scene->name, below, kind);
    if (n < 0 || (size_t)n >= sizeof path - 32) {
        cli_error("%.100s…: path too long", o->dir);
        return CLI_USAGE;
    }
    if (o->force) remove_surplus(path, count);
    return count ? make_dirs(path) : CLI_OK;
}

static int prepare_scene(const synth_options *o, const synth_scene *scene)
{
    int code = prepare_folder(o, scene, "train", "good", o->count[TRAIN_GOOD]);
    if (code == CLI_OK) code = prepare_folder(o, scene, "test", "good", o->count[TEST_GOOD]);
    for (size_t d = 0; d < scene->defect_count && code == CLI_OK; d++) {
        size_t count = bad_of_defect(o, scene, d);
        code = prepare_folder(o, scene, "test", scene->defects[d], count);
        if (code == CLI_OK) code = prepare_folder(o, scene, "ground_truth", scene->defects[d], count);
    }
    return code;
}

/* ---- pictures --------------------------------------------------------------------------------------------------- */

static bool write_picture(const char *path, const void *pixels, size_t size, bool mask, outcome *result)
{
    cz_image image = {pixels, size, size, mask ? size : 3 * size, mask ? CZ_GRAY8 : CZ_RGB8};
    cz_status status = cz_picture_write(path, &image);
    if (status != CZ_OK) set_outcome(result, cli_exit_code(status), cz_last_error());
    return status == CZ_OK;
}

/* Draws the picture; where a defect happens to fall out of sight, tries another place. */
static bool draw(const synth_scene *scene, synth_job *job, size_t size, uint8_t *rgb, uint8_t *mask)
{
    size_t least = 24 * size / SYNTH_UNITS * size / SYNTH_UNITS + 1;
    for (uint64_t attempt = 0; attempt < ATTEMPTS; attempt++) {
        job->defect_seed = synth_mix(job->picture_seed, 1000 + attempt);
        if (!synth_picture(scene, job, size, rgb, mask)) return false;
        size_t area = 0;
        for (size_t i = 0; mask && i < size * size; i++) area += mask[i] != 0;
        if (!mask || area >= least) break;
    }
    return true;
}

static void make_picture(const synth_options *o, size_t scene_index, split kind, size_t index, outcome *result)
{
    const synth_scene *scene = all_scenes[scene_index];
    synth_job job = {synth_mix(synth_mix(o->seed, scene_index * SPLITS + kind), index), 0, -1, 0};
    size_t number = index;
    const char *name = "good";
    if (kind == TEST_BAD) {
        size_t defect = index % scene->defect_count;
        number = index / scene->defect_count;
        name = scene->defects[defect];
        job.defect = (int)defect;
        /* golden-ratio steps: plain and subtle ones alternate, however many there are */
        double t = 0.85 + 0.6180339887498949 * (double)number + 0.13 * (double)defect;
        job.severity = 0.15 + 0.85 * (t - synth_floor(t));
    }
    uint8_t *rgb = malloc(o->size * o->size * 3), *mask = job.defect >= 0 ? malloc(o->size * o->size) : NULL;
    char path[MAX_PATH];
    if (!rgb || (!mask && job.defect >= 0) || !draw(scene, &job, o->size, rgb, mask)) {
        set_outcome(result, CLI_RESOURCES, "out of memory");
    } else {
        (void)snprintf(path, sizeof path, "%s/%s/%s/%s/%03zu.png", o->dir, scene->name,
                       kind == TRAIN_GOOD ? "train" : "test", name, number);
        bool good = write_picture(path, rgb, o->size, false, result);
        (void)snprintf(path, sizeof path, "%s/%s/ground_truth/%s/%03zu_mask.png", o->dir, scene->name, name, number);
        if (good && mask) (void)write_picture(path, mask, o->size, true, result);
    }
    free(rgb);
    free(mask);
}

static int make_all(const synth_options *o)
{
    size_t each = o->count[TRAIN_GOOD] + o->count[TEST_GOOD] + o->count[TEST_BAD], done = 0;
    outcome result = {CLI_OK, ""};
    size_t chosen[SCENES], scenes = 0;
    for (size_t s = 0; s < SCENES; s++)
        if (o->chosen[s]) chosen[scenes++] = s;
#pragma omp parallel for schedule(dynamic)
    for (size_t i = 0; i < each * scenes; i++) {
        if (stopped(&result)) continue;
        size_t index = i % each;
        split kind = TRAIN_GOOD;
        while (index >= o->count[kind]) index -= o->count[kind++];
        make_picture(o, chosen[i / each], kind, index, &result);
        int stop;
#pragma omp critical(synth_progress)
        stop = cli_progress(NULL, "pictures", ++done, each * scenes, "");
        if (stop) set_outcome(&result, CLI_INTERRUPTED, "interrupted; the pictures made so far are whole");
    }
    cli_progress_end();
    if (result.code != CLI_OK) cli_error("%s", result.message);
    return result.code;
}

/* ---- the verb --------------------------------------------------------------------------------------------------- */

static int choose_scenes(synth_options *o)
{
    for (const char *p = o->scenes; *p;) {
        size_t length = strcspn(p, ",");
        bool known = length == 3 && strncmp(p, "all", 3) == 0;
        for (size_t s = 0; s < SCENES; s++) {
            bool same = strlen(all_scenes[s]->name) == length && strncmp(p, all_scenes[s]->name, length) == 0;
            if (same || (length == 3 && strncmp(p, "all", 3) == 0)) o->chosen[s] = known = true;
        }
        if (!known) {
            cli_error("--scenes: there is no scene \"%.*s\"; there are cloth, metal, pcb, caps and all", (int)length,
                      p);
            return CLI_USAGE;
        }
        p += length + (p[length] == ',');
    }
    for (size_t s = 0; s < SCENES; s++)
        if (o->chosen[s]) return CLI_OK;
    cli_error("--scenes: name at least one of cloth, metal, pcb, caps, or all");
    return CLI_USAGE;
}

static int check_numbers(const synth_options *o)
{
    static const char *const names[SPLITS] = {"--normal", "--test-good", "--test-bad"};
    size_t sum = 0;
    for (size_t k = 0; k < SPLITS; k++) {
        if (o->count[k] > MAX_PICTURES) {
            cli_error("%s: at most %d", names[k], MAX_PICTURES);
            return CLI_USAGE;
        }
        sum += o->count[k];
    }
    if (sum == 0) cli_error("nothing to make: --normal, --test-good and --test-bad are all 0");
    if (sum == 0) return CLI_USAGE;
    if (o->seed > INT64_MAX) {
        cli_error("--seed: at most 2^63 - 1");
        return CLI_USAGE;
    }
    if (o->size < SYNTH_MIN_SIZE || o->size > SYNTH_MAX_SIZE) {
        cli_error("--size: from %d to %d pixels", SYNTH_MIN_SIZE, SYNTH_MAX_SIZE);
        return CLI_USAGE;
    }
    return CLI_OK;
}

static json_t *scene_json(const synth_options *o, const synth_scene *scene)
{
    json_t *defects = json_object();
    for (size_t d = 0; d < scene->defect_count; d++)
        (void)json_object_set_new(defects, scene->defects[d], json_integer((json_int_t)bad_of_defect(o, scene, d)));
    return json_pack("{s:I,s:I,s:I,s:o}", "train_good", (json_int_t)o->count[TRAIN_GOOD], "test_good",
                     (json_int_t)o->count[TEST_GOOD], "test_bad", (json_int_t)o->count[TEST_BAD], "defects", defects);
}

static int print_json(const synth_options *o)
{
    json_t *scenes = json_object();
    for (size_t s = 0; s < SCENES; s++)
        if (o->chosen[s]) (void)json_object_set_new(scenes, all_scenes[s]->name, scene_json(o, all_scenes[s]));
    json_t *root = json_pack("{s:s,s:I,s:I,s:o}", "path", o->dir, "size", (json_int_t)o->size, "seed",
                             (json_int_t)o->seed, "scenes", scenes);
    if (!root) { /* a name that is not UTF-8 is the only way here, short of memory */
        cli_error("%s: cannot be written as JSON (not UTF-8)", o->dir);
        return CLI_USAGE;
    }
    (void)json_dumpf(root, stdout, JSON_COMPACT);
    (void)putchar('\n');
    json_decref(root);
    return CLI_OK;
}

static void print_text(const synth_options *o)
{
    const char *example = NULL;
    for (size_t s = 0; s < SCENES; s++) {
        if (!o->chosen[s]) continue;
        const synth_scene *scene = all_scenes[s];
        if (!example) example = scene->name;
        printf("%s/%s: %s, %zu normal to train on; to test: %zu normal", o->dir, scene->name, scene->summary,
               o->count[TRAIN_GOOD], o->count[TEST_GOOD]);
        for (size_t d = 0; d < scene->defect_count; d++)
            printf(", %zu %s", bad_of_defect(o, scene, d), scene->defects[d]);
        printf("\n");
    }
    printf("Next: cozad train --normal %s/%s/train/good -o %s.cozad\n", o->dir, example, example);
}

int cmd_synth(int argc, char **argv)
{
    synth_options o = {.scenes = "all", .count = {40, 10, 20}, .size = 256, .seed = 1};
    static const cli_verb verb = {
        "synth", "DIR [options]", "Make pictures with known defects and their masks, to try things on.",
        "Writes DIR/SCENE/train/good/000.png, DIR/SCENE/test/good/000.png, DIR/SCENE/test/DEFECT/000.png and "
        "DIR/SCENE/ground_truth/DEFECT/000_mask.png (0 and 255), the layout of MVTec AD. The scenes are woven cloth, "
        "brushed metal, a printed circuit and bottle caps. The same seed gives the same files, byte for byte.",
        "cozad synth pictures\ncozad synth pictures --scenes pcb,caps --size 512 --seed 7"};
    const cli_option options[] = {
        {"scenes", 0, CLI_STRING, &o.scenes, "LIST", "cloth,metal,pcb,caps or all", NULL},
        {"normal", 0, CLI_SIZE, &o.count[TRAIN_GOOD], "N", "normal pictures to train on, each scene", NULL},
        {"test-good", 0, CLI_SIZE, &o.count[TEST_GOOD], "N", "normal pictures to test, each scene", NULL},
        {"test-bad", 0, CLI_SIZE, &o.count[TEST_BAD], "N", "defective pictures, each scene", NULL},
        {"size", 0, CLI_SIZE, &o.size, "PIXELS", "width and height", NULL},
        {"seed", 0, CLI_U64, &o.seed, "S", "another seed makes other pictures", NULL},
        {"force", 0, CLI_FLAG, &o.force, NULL, "replace a set made earlier in DIR; other files stay", NULL},
        {"json", 0, CLI_FLAG, &o.json, NULL, "say what was made as one JSON object", NULL},
    };
    cli_list args = {0};
    int code = cli_parse(&verb, options, sizeof options / sizeof options[0], argc, argv, &args);
    if (code >= 0) return code;
    code = CLI_OK;
    if (args.count != 1 || args.items[0][0] == '\0') {
        cli_error("synth: name one folder to write to; see 'cozad synth --help'");
        code = CLI_USAGE;
    } else {
        o.dir = args.items[0];
    }
    if (code == CLI_OK) code = choose_scenes(&o);
    if (code == CLI_OK) code = check_numbers(&o);
    if (code == CLI_OK) code = check_target(&o);
    for (size_t s = 0; s < SCENES && code == CLI_OK; s++)
        if (o.chosen[s]) code = prepare_scene(&o, all_scenes[s]);
    if (code == CLI_OK) code = make_all(&o);
    if (code == CLI_OK && o.json) code = print_json(&o);
    if (code == CLI_OK && !o.json) print_text(&o);
    cli_list_free(&args);
    return cli_finish_output(code);
}
