/* SPDX-License-Identifier: Apache-2.0 */
/* cz_calibrate: scores of held-out photos, a threshold from them, and a copy of the model that carries both (docs/calibration.md). */
#include "api/calibration.h"
#include "api/known_photos.h"
#include "api/measure.h"
#include "calibrate/pixel_quantile.h"
#include "calibrate/threshold.h"
#include "cozad/cozad_stream.h"
#include "util/alloc.h"
#include "util/sha256.h"
#include "util/threads.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Fewer have no quartiles worth the name. */
#define IQR_IMAGES ((size_t)4)

void cz_calibrate_options_init(cz_calibrate_options *o)
{
    *o = (cz_calibrate_options){.struct_size = sizeof *o,
                                .target = 0.01,
                                .confidence = 0.95,
                                .cost_miss = 1.0,
                                .cost_alarm = 1.0,
                                .pixel_quantile = 0.999,
                                .cache = CZ_CACHE_OPTIONS_INIT,
                                .precision = CZ_PRECISION_MODEL};
}

typedef struct digest {
    uint8_t bytes[32];
} digest;

/* Photos of one kind that were scored. */
typedef struct photo_set {
    float *scores;   /* [room], in the source's order until sorted */
    digest *digests; /* [room] */
    size_t count;
} photo_set;

typedef struct calibrator {
    const cz_calibrate_options *options;
    cz_known_photos known;
    cz_model *model;
    cz_precision precision; /* that it is scored in */
    cz_pixel_quantile *pixels;
    atomic_bool any_trained; /* of the photos loaded so far */
    photo_set normal, abnormal;
    size_t done, total;
    char named[512]; /* the first photos that were trained on */
    size_t named_count;
    cz_unlabelled_threshold order; /* CZ_RULE_FPR */
    double threshold;
    cz_calibration_report report;
} calibrator;

/* Photos of one kind while they are scored (cz_score_stream). */
enum { PHOTO_TRAINED_ON = 1, PHOTO_NOT_SCORED = 2 };
typedef struct scoring {
    calibrator *c;
    const cz_image_source *source;
    photo_set *set;
    digest *digests; /* [count] by the source's index */
    uint8_t *marks;  /* [count] PHOTO_… */
    pthread_mutex_t lock;
    size_t *claimed; /* [claimed_count] indices of photos whose pixels are in the quantile; with the lock */
    size_t claimed_count;
    cz_status status; /* why it is not to go on */
    char message[1024];
} scoring;

/* ---- scoring ------------------------------------------------------------------------------------------------------ */

static const char *name_of(const cz_image_source *source, size_t index)
{
    const char *name = source->name != NULL ? source->name(source->ctx, index) : NULL;
    return name != NULL ? name : "";
}

static void tell(const calibrator *c, const char *name, const char *what)
{
    char line[1200];
    if (c->options->log == NULL) return;
    const bool named = name[0] == '\0' || strstr(what, name) != NULL;
    (void)snprintf(line, sizeof line, "%s%s%s", named ? "" : name, named ? "" : ": ", what);
    c->options->log(c->options->ctx, line);
}

static void note_trained(calibrator *c, const char *name)
{
    enum { NAMED = 5 };
    tell(c, name, "was trained on");
    c->report.trained_on++;
    const size_t used = strlen(c->named);
    if (c->named_count == NAMED || name[0] == '\0') return;
    (void)snprintf(c->named + used, sizeof c->named - used, "%s%.90s", used > 0 ? ", " : "", name);
    c->named_count++;
}

static bool is_among(const photo_set *set, const uint8_t sha256[32])
{
    for (size_t i = 0; i < set->count; i++) {
        if (memcmp(set->digests[i].bytes, sha256, 32) == 0) return true;
    }
    return false;
}

/* The hash reads the pixels before cz_score looks at their description. */
static cz_status check_image(const cz_image *image)
{
    static const size_t bytes[] = {1, 2, 3, 3, 4, 4}; /* of cz_pixel_format */
    if (image->data == NULL || image->width == 0 || image->height == 0) return cz_fail(CZ_E_ARG, "image: no pixels");
    if ((size_t)image->format >= sizeof bytes / sizeof *bytes)
        return cz_fail(CZ_E_ARG, "image: unknown pixel format %d", (int)image->format);
    if (image->stride / bytes[image->format] < image->width)
        return cz_fail(CZ_E_ARG, "image: a stride of %zu bytes is less than a row", image->stride);
    return CZ_OK;
}

/* Loads and looks whether the photo was trained on. After one that was, the rest is only looked through for more of them. */
static cz_status load_photo(void *ctx, size_t index, cz_image *out)
{
    scoring *s = ctx;
    const cz_image_source *from = s->source;
    cz_status status = from->load(from->ctx, index, out);
    if (status != CZ_OK) return status;
    status = check_image(out);
    if (status == CZ_OK) {
        cz_image_sha256(out, s->digests[index].bytes);
        if (cz_known_photos_have(&s->c->known, s->digests[index].bytes)) s->marks[index] = PHOTO_TRAINED_ON;
        if (s->marks[index] == PHOTO_TRAINED_ON) atomic_store(&s->c->any_trained, true);
        if (atomic_load(&s->c->any_trained) && !s->c->options->allow_training_photos) {
            s->marks[index] |= PHOTO_NOT_SCORED;
            status = CZ_E_ARG;
        }
    }
    if (status != CZ_OK && from->release != NULL) from->release(from->ctx, index, out);
    return status;
}

static void release_photo(void *ctx, size_t index, cz_image *image)
{
    const scoring *s = ctx;
    if (s->source->release != NULL) s->source->release(s->source->ctx, index, image);
}

/* Whether this photo is the first of its pixels to be scored: which of two alike it is makes no difference. */
static bool claim(scoring *s, size_t index)
{
    bool first = true;
    (void)pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < s->claimed_count && first; i++) {
        first = memcmp(s->digests[s->claimed[i]].bytes, s->digests[index].bytes, 32) != 0;
    }
    if (first) s->claimed[s->claimed_count++] = index;
    (void)pthread_mutex_unlock(&s->lock);
    return first;
}

static void add_values(scoring *s, const float *values, size_t count)
{
    (void)pthread_mutex_lock(&s->lock);
    cz_pixel_quantile_add(s->c->pixels, values, count);
    (void)pthread_mutex_unlock(&s->lock);
}

/* The map of a tiled photo may be too large to be had at once. In the worker that scored it. */
static cz_status add_pixels(void *ctx, cz_stream_item *item)
{
    enum { ROWS = 64 };
    scoring *s = ctx;
    const cz_result *result = item->result;
    cz_status status = CZ_OK;
    if (s->set != &s->c->normal || !claim(s, item->index)) return CZ_OK;
    if (result->map != NULL) {
        add_values(s, result->map, result->map_width * result->map_height);
        return CZ_OK;
    }
    float *rows = cz_alloc_array(result->map_width, ROWS * sizeof *rows);
    if (rows == NULL) return CZ_E_MEMORY;
    for (size_t y = 0; y < result->map_height; y += ROWS) {
        const size_t n = result->map_height - y < ROWS ? result->map_height - y : ROWS;
        CZ_TRY(cz_session_map_rows(item->session, 0, y, n, rows));
        add_values(s, rows, n * result->map_width);
    }
out:
    cz_free(rows);
    return status;
}

/* A photo that was scored, or that was trained on; no status but CZ_OK is its own fault. */
static cz_status count_photo(scoring *s, const cz_stream_item *item)
{
    calibrator *c = s->c;
    photo_set *set = s->set;
    const digest *own = &s->digests[item->index];
    const char *name = name_of(s->source, item->index);
    if (s->marks[item->index] & PHOTO_TRAINED_ON) note_trained(c, name);
    if (s->marks[item->index] & PHOTO_NOT_SCORED) return CZ_OK;
    if (is_among(set, own->bytes)) {
        tell(c, name, "has the same pixels as an earlier photo; counted once");
        c->report.repeated++;
        return CZ_OK;
    }
    if (set == &c->abnormal && is_among(&c->normal, own->bytes))
        return cz_fail(CZ_E_ARG, "%s%sis given as normal and as abnormal", name, name[0] != '\0' ? ": " : "a photo ");
    set->digests[set->count] = *own;
    set->scores[set->count++] = (float)item->result->score;
    return CZ_OK;
}

static cz_status report_progress(const calibrator *c)
{
    const cz_calibrate_options *o = c->options;
    if (o->progress == NULL || o->progress(o->ctx, "calibrating", c->done, c->total, "") == 0) return CZ_OK;
    return cz_fail(CZ_E_CANCELLED, "cancelled");
}

/* In the source's order. */
static int deliver(void *ctx, const cz_stream_item *item)
{
    scoring *s = ctx;
    calibrator *c = s->c;
    cz_error_clear();
    s->status = report_progress(c);
    if (s->status != CZ_OK) return 1;
    if (item->status == CZ_OK || (s->marks[item->index] & PHOTO_NOT_SCORED)) {
        s->status = count_photo(s, item);
        if (s->status != CZ_OK) (void)snprintf(s->message, sizeof s->message, "%s", cz_last_error());
    } else {
        char line[1100];
        if (s->marks[item->index] & PHOTO_TRAINED_ON) note_trained(c, name_of(s->source, item->index));
        (void)snprintf(line, sizeof line, "%s; skipped", item->error);
        tell(c, name_of(s->source, item->index), line);
        c->report.skipped++;
    }
    c->done++;
    return s->status != CZ_OK;
}

static cz_status score_all(calibrator *c, const cz_image_source *source, photo_set *set,
                           const cz_session_options *session)
{
    cz_status status = CZ_OK;
    scoring s = {.c = c, .source = source, .set = set, .lock = PTHREAD_MUTEX_INITIALIZER};
    cz_stream_options stream = CZ_STREAM_OPTIONS_INIT;
    cz_image_source loading = *source;
    loading.load = load_photo;
    loading.release = release_photo;
    loading.ctx = &s;
    stream.session = *session;
    stream.work = add_pixels;
    stream.deliver = deliver;
    stream.ctx = &s;
    set->scores = cz_alloc_array(source->count, sizeof *set->scores);
    set->digests = cz_alloc_array(source->count, sizeof *set->digests);
    s.digests = cz_calloc(source->count, sizeof *s.digests);
    s.marks = cz_calloc(source->count, sizeof *s.marks);
    s.claimed = cz_alloc_array(source->count, sizeof *s.claimed);
    if (set->scores == NULL || set->digests == NULL || s.digests == NULL || s.marks == NULL || s.claimed == NULL) {
        status = CZ_E_MEMORY;
    } else {
        status = cz_score_stream(c->model, &loading, &stream, NULL);
        if (status == CZ_E_CANCELLED && s.status != CZ_E_CANCELLED && s.status != CZ_OK)
            status = cz_source_error(s.status, s.message);
    }
    cz_free(s.digests);
    cz_free(s.marks);
    cz_free(s.claimed);
    return status;
}

static cz_status refuse_trained(calibrator *c)
{
    if (c->report.trained_on == 0 || c->options->allow_training_photos) return CZ_OK;
    const size_t more = c->report.trained_on - c->named_count;
    char rest[40] = "";
    if (more > 0 && c->named_count > 0) (void)snprintf(rest, sizeof rest, " and %zu more", more);
    return cz_fail(CZ_E_TRAINED_ON,
                   "%zu of %zu photos were trained on, and a threshold needs photos that are new to the model: %s%s",
                   c->report.trained_on, c->total, c->named_count > 0 ? c->named : "(nameless)", rest);
}

/* ---- the threshold ------------------------------------------------------------------------------------------------ */

static int ascending(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

static cz_status find_threshold(calibrator *c)
{
    cz_status status;
    const cz_calibrate_options *o = c->options;
    const photo_set *normal = &c->normal;
    const cz_labelled_scores labelled = {normal->scores, c->abnormal.scores, normal->count, c->abnormal.count};
    qsort(normal->scores, normal->count, sizeof *normal->scores, ascending);
    if (c->abnormal.count > 0) qsort(c->abnormal.scores, c->abnormal.count, sizeof *c->abnormal.scores, ascending);
    switch (o->rule) {
    case CZ_RULE_FPR:
        CZ_TRY(cz_threshold_unlabelled(normal->scores, normal->count, o->contamination, o->target, o->confidence,
                                       &c->order));
        c->threshold = c->order.value;
        if (o->strict && c->order.separated > o->target) {
            status = cz_fail(CZ_E_ARG,
                             "at most %.4g %% with %.4g %% confidence needs %zu images, you gave %zu: the best I can "
                             "promise is %.2g %%",
                             100.0 * o->target, 100.0 * o->confidence, c->order.needed, normal->count,
                             100.0 * c->order.separated);
        }
        return status;
    case CZ_RULE_IQR:
        c->threshold = cz_threshold_iqr(normal->scores, normal->count);
        if (normal->count >= IQR_IMAGES) return CZ_OK;
        return cz_fail(CZ_E_ARG, "the IQR rule needs at least %zu photos, there are %zu", IQR_IMAGES, normal->count);
    case CZ_RULE_F1:
        return cz_threshold_f1(&labelled, &c->threshold, &c->report.value);
    case CZ_RULE_COST:
        return cz_threshold_cost(&labelled, o->cost_miss, o->cost_alarm, &c->threshold, &c->report.value);
    }
    return cz_fail(CZ_E_ARG, "unknown threshold rule %d", (int)o->rule);
out:
    return status;
}

/* ---- the result --------------------------------------------------------------------------------------------------- */

static json_t *hashes_of(const photo_set *set)
{
    json_t *list = json_array();
    for (size_t i = 0; i < set->count; i++) {
        char hex[65];
        cz_sha256_hex(set->digests[i].bytes, hex);
        (void)json_array_append_new(list, json_string(hex));
    }
    return list;
}

/* No date and no path: the same photos give the same file. */
static cz_status describe(calibrator *c)
{
    const cz_calibrate_options *o = c->options;
    json_t *meta = c->model->meta;
    json_t *json = json_pack(
        "{s:s, s:f, s:f, s:f, s:I, s:I, s:I, s:I}", "rule", cz_threshold_rule_name(o->rule), "threshold", c->threshold,
        "pixel_threshold", cz_pixel_quantile_value(c->pixels, o->pixel_quantile), "pixel_quantile", o->pixel_quantile,
        "images", (json_int_t)c->normal.count, "images_skipped", (json_int_t)c->report.skipped, "images_repeated",
        (json_int_t)c->report.repeated, "trained_on", (json_int_t)c->report.trained_on);
    int failed = json == NULL;
    if (!failed && o->rule == CZ_RULE_FPR) {
        failed |= json_object_set_new(json, "target", json_real(o->target));
        failed |= json_object_set_new(json, "confidence", json_real(o->confidence));
        failed |= json_object_set_new(json, "promise", json_real(c->order.promise));
        failed |= json_object_set_new(json, "order", json_integer((json_int_t)c->order.order));
        if (o->contamination > 0.0) {
            failed |= json_object_set_new(json, "contamination", json_real(o->contamination));
            failed |= json_object_set_new(json, "discounted", json_integer((json_int_t)c->order.discounted));
            failed |= json_object_set_new(json, "promise_if_separated", json_real(c->order.separated));
        }
    }
    if (!failed && o->rule == CZ_RULE_COST) {
        failed |= json_object_set_new(json, "cost_miss", json_real(o->cost_miss));
        failed |= json_object_set_new(json, "cost_alarm", json_real(o->cost_alarm));
        failed |= json_object_set_new(json, "cost", json_real(c->report.value));
    }
    if (!failed && o->rule == CZ_RULE_F1) failed |= json_object_set_new(json, "f1", json_real(c->report.value));
    if (!failed) {
        failed |= json_object_set_new(json, "precision", json_string(cz_precision_name(c->precision)));
        failed |= json_object_set_new(json, "algorithm", json_string(cz_precision_algorithm(c->precision)));
        failed |= json_object_set_new(json, "input", json_deep_copy(json_object_get(meta, "input")));
        failed |= json_object_set_new(json, "pixels_sha256", hashes_of(&c->normal));
        if (c->abnormal.count > 0) failed |= json_object_set_new(json, "abnormal_sha256", hashes_of(&c->abnormal));
    }
    const cz_tiling tiling = {o->tile_width, o->tile_height, o->tile_overlap};
    if (!failed) failed = cz_calibration_write_tiles(json, &tiling);
    if (!failed) failed = json_object_set(meta, "calibration", json);
    json_decref(json);
    return failed ? cz_fail(CZ_E_MEMORY, "out of memory, or a score that is not finite")
                  : cz_model_refresh_json(c->model);
}

static cz_status finish_model(calibrator *c)
{
    cz_status status;
    const photo_set *normal = &c->normal;
    const cz_tensor_view view = {"calib.scores",  CZ_F32,         1,
                                 {normal->count}, normal->scores, normal->count * sizeof *normal->scores};
    CZ_TRY(cz_tensors_add(c->model->extra, &view));
    CZ_TRY(describe(c));
    CZ_TRY(cz_calibration_read(c->model));
    c->report.images = normal->count;
    c->report.abnormal = c->abnormal.count;
    c->report.order = c->order.order;
    c->report.needed = c->order.needed;
    c->report.discounted = c->order.discounted;
    c->report.calibration = c->model->calibration->known;
out:
    return status;
}

/* What the new threshold is going to belong to. */
static cz_status choose_precision(calibrator *c, const cz_model *model, const cz_image_source *normal,
                                  cz_precision *out)
{
    const cz_calibrate_options *o = c->options;
    const cz_measure_options measure = {.source = normal,
                                        .photos = CZ_QUANTISE_IMAGES,
                                        .threads = o->threads,
                                        .progress = o->progress,
                                        .log = o->log,
                                        .ctx = o->ctx};
    cz_threads_scope scope;
    /* MODEL: as it was calibrated; AUTO: chosen anew, for which the copy without a calibration is asked */
    cz_status status = cz_precision_of_model(o->precision == CZ_PRECISION_MODEL ? model : c->model, o->precision, out);
    if (status == CZ_OK) status = cz_threads_enter(o->threads, &scope);
    if (status != CZ_OK) return status;
    status = cz_precision_measure_model(c->model, *out, &measure);
    cz_threads_leave(&scope);
    return status;
}

static cz_status run(calibrator *c, const cz_model *model, const cz_image_source *normal)
{
    cz_status status;
    const cz_calibrate_options *o = c->options;
    cz_session_options session = CZ_SESSION_OPTIONS_INIT;
    session.threads = o->threads;
    session.cache = o->cache;
    session.log = o->log;
    session.ctx = o->ctx;
    session.tile_width = o->tile_width;
    session.tile_height = o->tile_height;
    session.tile_overlap = o->tile_overlap;
    if (o->tile_width > 0) session.map = CZ_MAP_ROWS;
    c->report.value = (double)NAN;
    c->total = normal->count + (o->abnormal != NULL ? o->abnormal->count : 0);
    if (c->total == 0) return cz_fail(CZ_E_NO_IMAGES, "there are no photos to calibrate with");
    CZ_TRY(cz_model_copy(model, NULL, &c->model));
    CZ_TRY(choose_precision(c, model, normal, &session.precision));
    CZ_TRY(cz_known_photos_make(model, &c->known));
    CZ_TRY(cz_pixel_quantile_create(&c->pixels));
    c->precision = session.precision;
    CZ_TRY(score_all(c, normal, &c->normal, &session));
    if (o->abnormal != NULL) CZ_TRY(score_all(c, o->abnormal, &c->abnormal, &session));
    CZ_TRY(refuse_trained(c));
    if (c->normal.count == 0) {
        status = cz_fail(CZ_E_NO_IMAGES, "no normal photo could be scored: nothing to calibrate with");
        goto out;
    }
    CZ_TRY(find_threshold(c));
    CZ_TRY(finish_model(c));
    CZ_TRY(report_progress(c));
out:
    return status;
}

static cz_status check_options(const cz_calibrate_options *o)
{
    if (o->struct_size < sizeof *o)
        return cz_fail(CZ_E_ARG, "cz_calibrate_options: unknown struct_size %zu", o->struct_size);
    if (o->rule > CZ_RULE_COST) return cz_fail(CZ_E_ARG, "unknown threshold rule %d", (int)o->rule);
    if (!(o->pixel_quantile > 0.0 && o->pixel_quantile <= 1.0))
        return cz_fail(CZ_E_ARG, "a pixel quantile of %g is not above 0 and up to 1", o->pixel_quantile);
    /* Known before an hour of scoring rather than after. */
    if (o->rule == CZ_RULE_FPR && !(o->target > 0.0 && o->target < 1.0))
        return cz_fail(CZ_E_ARG, "a target false-positive rate of %g is not between 0 and 1", o->target);
    if (o->rule == CZ_RULE_FPR && !(o->confidence > 0.0 && o->confidence < 1.0))
        return cz_fail(CZ_E_ARG, "a confidence of %g is not between 0 and 1", o->confidence);
    if (!(o->contamination >= 0.0 && o->contamination <= 0.5))
        return cz_fail(CZ_E_ARG, "a contamination of %g is not between 0 and 0.5", o->contamination);
    if (o->contamination > 0.0 && o->rule != CZ_RULE_FPR)
        return cz_fail(CZ_E_ARG, "the rule %s knows no contamination", cz_threshold_rule_name(o->rule));
    if (o->rule == CZ_RULE_COST &&
        (!(o->cost_miss > 0.0 && o->cost_alarm > 0.0) || !isfinite(o->cost_miss) || !isfinite(o->cost_alarm)))
        return cz_fail(CZ_E_ARG, "costs of %g for a miss and %g for an alarm are not positive numbers", o->cost_miss,
                       o->cost_alarm);
    const bool labelled = o->rule == CZ_RULE_F1 || o->rule == CZ_RULE_COST;
    if (labelled && o->abnormal == NULL)
        return cz_fail(CZ_E_ARG, "the rule %s needs abnormal photos", cz_threshold_rule_name(o->rule));
    if (!labelled && o->abnormal != NULL)
        return cz_fail(CZ_E_ARG, "the rule %s uses normal photos alone", cz_threshold_rule_name(o->rule));
    if (o->abnormal != NULL && (o->abnormal->struct_size < sizeof *o->abnormal || o->abnormal->load == NULL))
        return cz_fail(CZ_E_ARG, "cz_image_source: unknown struct_size, or no load");
    return CZ_OK;
}

cz_status cz_calibrate(const cz_model *model, const cz_image_source *normal, const cz_calibrate_options *options,
                       cz_model **out, cz_calibration_report *report)
{
    cz_error_clear();
    cz_status status;
    if (model == NULL || normal == NULL || options == NULL || out == NULL || normal->load == NULL)
        return cz_fail(CZ_E_ARG, "cz_calibrate: a NULL argument");
    if (normal->struct_size < sizeof *normal) return cz_fail(CZ_E_ARG, "cz_image_source: unknown struct_size");
    if (model->backbone == NULL) return cz_fail(CZ_E_ARG, "the model was opened without its backbone");
    if ((status = check_options(options)) != CZ_OK) return status;
    calibrator c = {.options = options};
    status = run(&c, model, normal);
    if (report != NULL && (status == CZ_OK || status == CZ_E_TRAINED_ON)) *report = c.report;
    if (status == CZ_OK) {
        *out = c.model;
        c.model = NULL;
    }
    cz_pixel_quantile_destroy(c.pixels);
    cz_known_photos_free(&c.known);
    cz_free(c.normal.scores);
    cz_free(c.normal.digests);
    cz_free(c.abnormal.scores);
    cz_free(c.abnormal.digests);
    cz_model_close(c.model);
    return status;
}
