/* SPDX-License-Identifier: Apache-2.0 */
#include "util/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char message[1024];

const char *cz_last_error(void)
{
    return message;
}

void cz_error_clear(void)
{
    message[0] = '\0';
}

static void make_printable(char *text)
{
    for (; *text != '\0'; text++) {
        const unsigned char c = (unsigned char)*text;
        if (c < 0x20 || c == 0x7f) *text = '?';
    }
}

cz_status cz_fail(cz_status status, const char *format, ...)
{
    if (message[0] != '\0') return status;
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    make_printable(message);
    return status;
}

cz_status cz_fail_prefix(cz_status status, const char *prefix)
{
    char copy[sizeof message];
    memcpy(copy, message, sizeof copy);
    message[0] = '\0';
    return cz_fail(status, "%s: %s", prefix, copy[0] != '\0' ? copy : cz_status_name(status));
}

cz_status cz_source_error(cz_status status, const char *text)
{
    if (text == NULL) return status;
    if (text != message) cz_error_clear();
    return cz_fail(status, "%s", text);
}

const char *cz_status_name(cz_status status)
{
    static const char *const names[] = {"ok",
                                        "bad argument",
                                        "out of memory",
                                        "input or output failed",
                                        "damaged or unknown format",
                                        "over a limit",
                                        "not supported",
                                        "bad model",
                                        "bad weights",
                                        "cancelled",
                                        "network failed",
                                        "disk full",
                                        "no images",
                                        "internal error",
                                        "diverged",
                                        "photos were trained on"};
    const size_t index = (size_t)status;
    return index < sizeof names / sizeof *names ? names[index] : "unknown status";
}
