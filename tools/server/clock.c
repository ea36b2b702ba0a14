/* SPDX-License-Identifier: Apache-2.0 */
/* Names, failures, the clock. */
#include "server.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

void sv_settings_init(sv_settings *s)
{
    memset(s, 0, sizeof *s);
    s->precision = CZ_PRECISION_MODEL;
    s->host = "127.0.0.1";
    s->port = 8080;
    s->max_body = (size_t)64 << 20;
    s->max_bodies = (size_t)512 << 20;
    s->max_pixels = (uint64_t)1 << 26;
    s->max_connections = 1100;
    s->max_batch = 8;
    s->queue = 256;
    s->timeout = 30.0;
    s->idle_timeout = 30.0;
    s->drain = 20.0;
    s->quota = (uint64_t)2 * 1000 * 1000 * 1000;
    s->retention_days = 30.0;
}

bool sv_name_ok(const char *name)
{
    if (name == NULL || name[0] == '\0' || name[0] == '.') return false;
    const size_t length = strlen(name);
    if (length >= SV_NAME) return false;
    return strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == length;
}

cz_status sv_fail(cz_status status, const char *format, ...)
{
    char text[1024]; /* the arguments may point into the message that is replaced */
    va_list list;
    va_start(list, format);
    (void)vsnprintf(text, sizeof text, format, list);
    va_end(list);
    return cz_source_error(status, text);
}

double sv_now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double sv_wall(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

const char *sv_time_text(double wall, char buffer[32])
{
    /* Years 0 to 9999. */
    if (!(wall > -6.2e10 && wall < 2.5e11)) wall = 0.0;
    const double whole = floor(wall);
    const time_t seconds = (time_t)whole;
    const int milliseconds = (int)((wall - whole) * 1000.0);
    struct tm t;
    if (gmtime_r(&seconds, &t) == NULL) memset(&t, 0, sizeof t);
    const size_t n = strftime(buffer, 32, "%Y-%m-%dT%H:%M:%S", &t);
    (void)snprintf(buffer + n, 32 - n, ".%03dZ", milliseconds);
    return buffer;
}
