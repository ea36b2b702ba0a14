/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CoZAD inside another program: train on photos, then score pixel buffers from two threads that share one model.
 *
 *   cc -std=c17 embed.c -o embed $(pkg-config --cflags --libs cozad) -pthread -Wl,-rpath,"$(pkg-config --variable=libdir cozad)"
 *   ./embed            pictures made in memory; fails unless the defect scores higher than every normal picture
 *   ./embed FOLDER     the photos of FOLDER; the first one, and a copy with a dark bar painted in, are scored
 *   ./embed FOLDER B   the same with the backbone B (a name or a weights file)
 */
#define _POSIX_C_SOURCE 200809L

#include <cozad/cozad.h>
#include <cozad/cozad_io.h>

#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE = 96, TRAIN_COUNT = 12, MAX_FILES = 200 };

/* ---- where the training pictures come from ------------------------------------------------------------------- */

typedef struct pictures {
    unsigned char made[SIDE * SIDE]; /* GRAY8, the picture that is loaded now */
    char *files[MAX_FILES];          /* or paths of photos, of which `photo` is loaded now */
    size_t file_count;
    cz_picture photo;
} pictures;

/* A brushed surface: grooves at a slowly changing phase, and a little noise. `index` makes each picture different. */
static void make_surface(size_t index, unsigned char pixels[SIDE * SIDE])
{
    unsigned state = 12345u + 7919u * (unsigned)index;
    for (int y = 0; y < SIDE; y++) {
        for (int x = 0; x < SIDE; x++) {
            state = state * 1664525u + 1013904223u;
            const int groove = (y + x / 8 + (int)index) % 6 < 3 ? 150 : 120;
            pixels[y * SIDE + x] = (unsigned char)(groove + (int)(state >> 28));
        }
    }
}

static cz_status load_picture(void *ctx, size_t index, cz_image *out)
{
    pictures *p = ctx;
    if (p->file_count > 0) {
        const cz_status status = cz_picture_read(p->files[index], NULL, &p->photo);
        if (status == CZ_OK) *out = p->photo.image;
        return status;
    }
    make_surface(index, p->made);
    *out = (cz_image){p->made, SIDE, SIDE, SIDE, CZ_GRAY8};
    return CZ_OK;
}

static void release_picture(void *ctx, size_t index, cz_image *image)
{
    (void)index, (void)image;
    pictures *p = ctx;
    if (p->file_count > 0) cz_picture_free(&p->photo);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int list_folder(const char *folder, pictures *p)
{
    DIR *dir = opendir(folder);
    if (!dir) return -1;
    for (struct dirent *entry; p->file_count < MAX_FILES && (entry = readdir(dir));) {
        if (!cz_picture_is_name(entry->d_name)) continue;
        const size_t size = strlen(folder) + strlen(entry->d_name) + 2;
        char *path = malloc(size);
        if (!path) break;
        snprintf(path, size, "%s/%s", folder, entry->d_name);
        p->files[p->file_count++] = path;
    }
    closedir(dir);
    /* Training depends on the order of the photos; a folder's own order is no order. */
    qsort(p->files, p->file_count, sizeof(p->files[0]), by_name);
    return p->file_count > 0 ? 0 : -1;
}

/* ---- scoring: one session a thread, one model for all ---------------------------------------------------------- */

typedef struct job {
    const cz_model *model;
    const cz_image *images; /* normal ones, then the defective one */
    size_t count;
    double *scores; /* [count] */
    cz_status status;
    char message[256];
} job;

static void *score_all(void *arg)
{
    job *j = arg;
    cz_session_options options = CZ_SESSION_OPTIONS_INIT;
    options.threads = 1;
    cz_session *session = NULL;
    j->status = cz_session_open(j->model, &options, &session);
    for (size_t i = 0; j->status == CZ_OK && i < j->count; i++) {
        cz_result result;
        j->status = cz_score(session, &j->images[i], &result);
        if (j->status == CZ_OK) j->scores[i] = result.score;
    }
    /* The message belongs to this thread, so it is copied before the thread ends. */
    if (j->status != CZ_OK) snprintf(j->message, sizeof(j->message), "%s", cz_last_error());
    cz_session_close(session);
    return NULL;
}

/* Scores the same images in two threads at once. Returns 0 when both gave the same numbers. */
static int score_twice(const cz_model *model, const cz_image *images, size_t count, double *scores)
{
    double *again = calloc(count, sizeof(*again));
    if (!again) return -1;
    job jobs[2] = {{.model = model, .images = images, .count = count, .scores = scores},
                   {.model = model, .images = images, .count = count, .scores = again}};
    pthread_t threads[2];
    int result = 0;
    for (int t = 0; t < 2; t++) {
        if (pthread_create(&threads[t], NULL, score_all, &jobs[t]) != 0) exit(EXIT_FAILURE);
    }
    for (int t = 0; t < 2; t++) {
        pthread_join(threads[t], NULL);
        if (jobs[t].status != CZ_OK) {
            fprintf(stderr, "embed: thread %d: %s\n", t, jobs[t].message);
            result = -1;
        }
    }
    if (result == 0 && memcmp(scores, again, count * sizeof(*scores)) != 0) {
        fprintf(stderr, "embed: two threads gave different scores\n");
        result = -1;
    }
    free(again);
    return result;
}

/* A dark bar across the middle third: a defect nobody overlooks. Works on any of the 8- and 16-bit formats. */
static void paint_defect(const cz_image *image, unsigned char *pixels)
{
    const size_t pixel = image->format == CZ_GRAY8    ? 1
                         : image->format == CZ_GRAY16 ? 2
                         : image->format <= CZ_BGR8   ? 3
                                                      : 4;
    const size_t thick = image->height / 10 + 1;
    for (size_t y = image->height / 2; y < image->height && y < image->height / 2 + thick; y++) {
        memset(pixels + y * image->stride + image->width / 3 * pixel, 10, (image->width / 3 + 1) * pixel);
    }
}

/* Scores some of the pictures trained on and one with a defect. 0 when all went well. */
static int inspect(const cz_model *model, pictures *p)
{
    enum { NORMAL = 3 };
    cz_image images[NORMAL + 1];
    unsigned char *pixels[NORMAL + 1] = {NULL};
    double scores[NORMAL + 1];
    const size_t normal = p->file_count > 0 ? 1 : NORMAL;
    int result = -1;

    for (size_t i = 0; i <= normal; i++) {
        cz_image loaded;
        /* Pictures that training has not seen, where they are made; the first photo of a folder. */
        const size_t index = p->file_count > 0 ? 0 : TRAIN_COUNT + i;
        if (load_picture(p, index, &loaded) != CZ_OK) goto out;
        pixels[i] = malloc(loaded.height * loaded.stride);
        if (pixels[i]) memcpy(pixels[i], loaded.data, loaded.height * loaded.stride);
        images[i] = loaded;
        images[i].data = pixels[i];
        release_picture(p, index, &loaded);
        if (!pixels[i]) goto out;
    }
    paint_defect(&images[normal], pixels[normal]);
    if (score_twice(model, images, normal + 1, scores) != 0) goto out;

    result = 0;
    for (size_t i = 0; i < normal; i++) {
        printf("normal    %.6f\n", scores[i]);
        if (p->file_count == 0 && !(scores[normal] > scores[i])) result = -1;
    }
    printf("defective %.6f\n", scores[normal]);
    if (result != 0) fprintf(stderr, "embed: the defect does not score highest\n");
out:
    for (size_t i = 0; i <= normal; i++) free(pixels[i]);
    return result;
}

int main(int argc, char **argv)
{
    static pictures p;
    cz_image_source source = CZ_IMAGE_SOURCE_INIT;
    cz_train_options options;
    cz_backbone *backbone = NULL;
    cz_model *model = NULL;
    int result = EXIT_FAILURE;

    if (argc > 1 && list_folder(argv[1], &p) != 0) {
        fprintf(stderr, "embed: no pictures in %s\n", argv[1]);
        return EXIT_FAILURE;
    }
    source.count = p.file_count > 0 ? p.file_count : TRAIN_COUNT;
    source.load = load_picture;
    source.release = release_picture;
    source.ctx = &p;

    /* Small and quick, to show the calls; leave these out for the defaults of the papers. */
    cz_train_options_init(&options);
    options.image_width = options.image_height = 96;
    options.feature_width = 256;
    options.hidden_width = 128;
    options.epochs = 20;
    options.batch = 4;
    options.seed = 1;

    /* Seeded random weights: enough for a dark bar, and there on every machine. */
    if (cz_backbone_open(argc > 2 ? argv[2] : "random:resnet18:1", &backbone) != CZ_OK ||
        cz_train(backbone, &source, &options, &model) != CZ_OK) {
        fprintf(stderr, "embed: %s\n", cz_last_error());
        goto out;
    }
    if (inspect(model, &p) == 0) result = EXIT_SUCCESS;
out:
    cz_model_close(model);
    cz_backbone_close(backbone);
    for (size_t i = 0; i < p.file_count; i++) free(p.files[i]);
    if (result == EXIT_SUCCESS) printf("cozad %s: ok\n", cz_version());
    return result;
}
