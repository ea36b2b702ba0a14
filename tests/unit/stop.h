/* SPDX-License-Identifier: Apache-2.0 */
/* A progress callback that asks to stop at its n-th call. Include after cmocka.h and cozad.h. */
#ifndef TESTS_UNIT_STOP_H
#define TESTS_UNIT_STOP_H

typedef struct stop {
    size_t calls, at; /* 0: never */
} stop;

static int progress(void *ctx, const char *what, size_t done, size_t total, const char *detail)
{
    stop *s = ctx;
    assert_true(what[0] != '\0' && done <= total && detail != NULL);
    return ++s->calls == s->at;
}

#endif
