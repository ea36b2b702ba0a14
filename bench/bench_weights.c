/* SPDX-License-Identifier: Apache-2.0 */
/* bench_weights MODEL BACKBONE LISTING: the confidence weights (docs/math.md section 4) that a trained model gives the patches of
 * its training photos. LISTING: one photo a line, a tab, and its defect mask or nothing. Patches half covered by the mask count
 * as defective. Prints one JSON object: mean weight, share below 1 and a histogram in tenths, of normal patches of normal photos,
 * normal patches of defective photos, and defective patches. */
#include "cozad/cozad_io.h"
#include "losses/soft_confident.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NORMAL, BESIDE, DEFECTIVE, KINDS, BINS = 10 };

typedef struct patches {
    float *score;
    unsigned char *kind;
    size_t count, room;
} patches;

static int add(patches *p, float score, unsigned char kind)
{
    if (p->count == p->room) {
        p->room = p->room == 0 ? 65536 : 2 * p->room;
        float *scores = realloc(p->score, p->room * sizeof *scores);
        if (scores != NULL) p->score = scores;
        unsigned char *kinds = realloc(p->kind, p->room);
        if (kinds != NULL) p->kind = kinds;
        if (scores == NULL || kinds == NULL) return -1;
    }
    p->score[p->count] = score;
    p->kind[p->count++] = kind;
    return 0;
}

/* Share of the mask's pixels below patch (x, y) of a grid. */
static double covered(const cz_image *mask, size_t x, size_t y, size_t grid_w, size_t grid_h)
{
    const size_t x0 = x * mask->width / grid_w, x1 = (x + 1) * mask->width / grid_w;
    const size_t y0 = y * mask->height / grid_h, y1 = (y + 1) * mask->height / grid_h;
    size_t inside = 0, all = 0;
    for (size_t i = y0; i < y1; i++) {
        const unsigned char *row = (const unsigned char *)mask->data + i * mask->stride;
        for (size_t j = x0; j < x1; j++, all++) inside += row[j] >= 128;
    }
    return all > 0 ? (double)inside / (double)all : 0.0;
}

static cz_status score_one(cz_session *session, const char *path, const char *mask_path, patches *out)
{
    const cz_read_options read = CZ_READ_OPTIONS_INIT;
    cz_picture photo = {0}, mask = {0};
    cz_result r;
    cz_status status = cz_picture_read(path, &read, &photo);
    if (status == CZ_OK && mask_path[0] != '\0') status = cz_picture_read_mask(mask_path, &read, &mask);
    if (status == CZ_OK) status = cz_score(session, &photo.image, &r);
    for (size_t i = 0; status == CZ_OK && i < r.grid_width * r.grid_height; i++) {
        int kind = NORMAL;
        if (mask_path[0] != '\0') {
            const double part = covered(&mask.image, i % r.grid_width, i / r.grid_width, r.grid_width, r.grid_height);
            kind = part >= 0.5 ? DEFECTIVE : BESIDE;
        }
        if (add(out, r.patch_scores[i], (unsigned char)kind) != 0) status = CZ_E_MEMORY;
    }
    cz_picture_free(&photo);
    cz_picture_free(&mask);
    return status;
}

static cz_status score_all(cz_session *session, FILE *listing, patches *out)
{
    char line[4096];
    cz_status status = CZ_OK;
    while (status == CZ_OK && fgets(line, sizeof line, listing) != NULL) {
        line[strcspn(line, "\r\n")] = '\0';
        char *tab = strchr(line, '\t');
        if (tab == NULL) return CZ_E_FORMAT;
        *tab = '\0';
        status = score_one(session, line, tab + 1, out);
    }
    return status;
}

static void print_kind(const patches *p, const float *weights, int kind, const char *name, const char *end)
{
    size_t count = 0, below = 0, bins[BINS] = {0};
    double sum = 0.0;
    for (size_t i = 0; i < p->count; i++) {
        if (p->kind[i] != kind) continue;
        const size_t bin = (size_t)(weights[i] * BINS);
        count++;
        sum += (double)weights[i];
        below += weights[i] < 1;
        bins[bin < BINS ? bin : BINS - 1]++;
    }
    printf("\"%s\": {\"patches\": %zu, \"mean\": %.4f, \"share_below_one\": %.4f, \"histogram\": [", name, count,
           count > 0 ? sum / (double)count : 0.0, count > 0 ? (double)below / (double)count : 0.0);
    for (size_t b = 0; b < BINS; b++) printf("%zu%s", bins[b], b + 1 < BINS ? ", " : "]}");
    printf("%s", end);
}

static cz_status weigh_all(const patches *p)
{
    cz_confidence_options options;
    cz_spread spread;
    cz_score_window *window = NULL;
    float *weights = malloc(p->count * sizeof *weights);
    cz_confidence_options_init(&options);
    cz_status status = weights != NULL ? cz_score_window_create(1, &window) : CZ_E_MEMORY;
    if (status == CZ_OK) status = cz_score_window_spread(window, p->score, p->count, &spread);
    if (status == CZ_OK) status = cz_confidence_weights(&options, &spread, p->score, p->count, weights);
    if (status == CZ_OK) {
        printf("{");
        print_kind(p, weights, NORMAL, "normal", ", ");
        print_kind(p, weights, BESIDE, "beside_defects", ", ");
        print_kind(p, weights, DEFECTIVE, "defective", "}\n");
    }
    cz_score_window_destroy(window);
    free(weights);
    return status;
}

int main(int argc, char **argv)
{
    if (argc != 4) return fprintf(stderr, "usage: bench_weights MODEL BACKBONE LISTING\n"), 2;
    cz_backbone *backbone = NULL;
    cz_model *model = NULL;
    cz_session *session = NULL;
    patches p = {0};
    cz_session_options options = CZ_SESSION_OPTIONS_INIT;
    options.map = CZ_MAP_NONE;
    options.cache.dir = "";
    FILE *listing = fopen(argv[3], "r");
    cz_status status = listing != NULL ? cz_backbone_open(argv[2], &backbone) : CZ_E_IO;
    if (status == CZ_OK) status = cz_model_open(argv[1], backbone, &model);
    if (status == CZ_OK) status = cz_session_open(model, &options, &session);
    if (status == CZ_OK) status = score_all(session, listing, &p);
    if (status == CZ_OK) status = weigh_all(&p);
    if (status != CZ_OK) (void)fprintf(stderr, "bench_weights: %s: %s\n", cz_status_name(status), cz_last_error());
    cz_session_close(session);
    cz_model_close(model);
    cz_backbone_close(backbone);
    free(p.score);
    free(p.kind);
    if (listing != NULL) (void)fclose(listing);
    return status == CZ_OK ? 0 : 3;
}
