/* SPDX-License-Identifier: Apache-2.0 */
/* What the studio's tests share: a studio in a folder of its own, pictures to upload, a shell script in the place of cozad. */
#ifndef STUDIO_FIXTURE_H
#define STUDIO_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cozad/cozad_io.h"
#include "studio_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

typedef struct fixture {
    char root[64], state[80], binary[80];
    sv_settings settings;
    sv_studio *s;
    int loads, limits;
    char loaded[SV_NAME];
    double share;
} fixture;

static inline cz_status note_load(void *ctx, const char *name)
{
    fixture *f = ctx;
    f->loads++;
    (void)snprintf(f->loaded, sizeof f->loaded, "%s", name);
    return CZ_OK;
}

static inline void note_limit(void *ctx, double share)
{
    fixture *f = ctx;
    f->limits++;
    f->share = share;
}

static inline void put_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

/* A program that does what `body` says; "$model", "$log" and "$exclude" are what it was given, `state` its folder. */
static inline void script(fixture *f, const char *body)
{
    char text[4096];
    (void)snprintf(text, sizeof text,
                   "#!/bin/sh\nverb=$1\nprintf '%%s\\n' \"$*\" >>commands.txt\nwhile [ $# -gt 0 ]; do\n  case $1 in\n"
                   "  -o) model=$2 ;;\n  --log) log=$2 ;;\n  --exclude) exclude=$2 ;;\n  esac\n  shift\ndone\n%s\n",
                   body);
    put_file(f->binary, text);
    assert_int_equal(chmod(f->binary, 0755), 0);
}

static inline void open_studio(fixture *f)
{
    const studio_hooks hooks = {note_load, note_limit, f};
    assert_int_equal(studio_create(&f->settings, &hooks, &f->s), CZ_OK);
    f->s->grace = 1.0;
    assert_int_equal(studio_start(f->s), CZ_OK);
}

static inline int set_up(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    (void)snprintf(f->root, sizeof f->root, "/tmp/cozad-studio-XXXXXX");
    assert_non_null(mkdtemp(f->root));
    (void)snprintf(f->state, sizeof f->state, "%s/state", f->root);
    (void)snprintf(f->binary, sizeof f->binary, "%s/cozad", f->root);
    sv_settings_init(&f->settings);
    f->settings.state_dir = f->state;
    f->settings.binary = f->binary;
    f->settings.quota = 100000;
    sv_log_setup(false, SV_ERROR);
    script(f, "exit 1");
    open_studio(f);
    *state = f;
    return 0;
}

static inline int tear_down(void **state)
{
    fixture *f = *state;
    sv_studio_close(f->s);
    (void)studio_remove_tree(f->root);
    free(f);
    return 0;
}

static inline void nap(double seconds)
{
    const struct timespec t = {(time_t)seconds, (long)(1e9 * (seconds - floor(seconds)))};
    (void)nanosleep(&t, NULL);
}

/* A PNG of 8 x 8 pixels; another `seed`, other pixels. */
static inline char *picture(unsigned seed, size_t *size)
{
    unsigned char pixels[64];
    for (unsigned i = 0; i < 64; i++) pixels[i] = (unsigned char)(seed * 37 + i * (1 + seed % 5));
    const cz_image image = {pixels, 8, 8, 8, CZ_GRAY8};
    char *out = NULL;
    assert_int_equal(cz_picture_encode_png(&image, &out, size), CZ_OK);
    return out;
}

/* The HTTP status; the answer is freed. */
static inline int done(studio_reply reply)
{
    const int status = reply.status;
    studio_reply_free(&reply);
    return status;
}

static inline int upload(fixture *f, const char *dataset, const char *name, unsigned seed)
{
    size_t size = 0;
    char *bytes = picture(seed, &size);
    const int status = done(studio_photo_put(f->s, dataset, name, bytes, size));
    cz_string_free(bytes);
    return status;
}

static inline int create(fixture *f, const char *name)
{
    json_t *body = json_pack("{s:s}", "name", name);
    const int status = body != NULL ? done(studio_dataset_create(f->s, body)) : -1;
    json_decref(body);
    return status;
}

static inline void make_set(fixture *f, const char *name, unsigned photos)
{
    char file[32];
    assert_int_equal(create(f, name), 201);
    for (unsigned i = 0; i < photos; i++) {
        (void)snprintf(file, sizeof file, "p%u.png", i);
        assert_int_equal(upload(f, name, file, i), 201);
    }
}

static inline json_int_t number_of(studio_reply reply, const char *key)
{
    assert_int_equal(reply.status, 200);
    const json_int_t value = json_integer_value(json_object_get(reply.json, key));
    studio_reply_free(&reply);
    return value;
}

static inline bool there(const fixture *f, const char *below)
{
    char path[512];
    (void)snprintf(path, sizeof path, "%s/%s", f->state, below);
    return access(path, F_OK) == 0;
}

static inline void reopen(fixture *f)
{
    sv_studio_close(f->s);
    open_studio(f);
}

#endif
