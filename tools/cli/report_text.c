/* SPDX-License-Identifier: Apache-2.0 */
/* Text and bytes inside HTML. */
#include "report_internal.h"

#include <string.h>

/* Bytes of the UTF-8 character at `s`, 0 where it is none (overlong forms and surrogates included). */
static size_t character(const unsigned char *s)
{
    if (s[0] < 0x80) return 1;
    if (s[0] >= 0xc2 && s[0] <= 0xdf && (s[1] & 0xc0) == 0x80) return 2;
    if ((s[0] & 0xf0) == 0xe0 && (s[1] & 0xc0) == 0x80 && (s[2] & 0xc0) == 0x80)
        return (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ? 0 : 3;
    if (s[0] >= 0xf0 && s[0] <= 0xf4 && (s[1] & 0xc0) == 0x80 && (s[2] & 0xc0) == 0x80 && (s[3] & 0xc0) == 0x80)
        return (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f) ? 0 : 4;
    return 0;
}

/* Fit for text and for attributes in double quotes. Control characters and stray bytes become U+FFFD. */
static void put_bytes(FILE *f, const char *text, size_t length)
{
    const unsigned char *end = (const unsigned char *)text + length;
    for (const unsigned char *s = (const unsigned char *)text; s < end;) {
        size_t n = character(s);
        if (n == 0 || *s == 0x7f || (*s < 0x20 && *s != '\n' && *s != '\t'))
            (void)fputs("\xef\xbf\xbd", f);
        else if (*s == '&')
            (void)fputs("&amp;", f);
        else if (*s == '<')
            (void)fputs("&lt;", f);
        else if (*s == '>')
            (void)fputs("&gt;", f);
        else if (*s == '"')
            (void)fputs("&quot;", f);
        else if (*s == '\'')
            (void)fputs("&#39;", f);
        else
            (void)fwrite(s, 1, n, f);
        s += n ? n : 1;
    }
}

void report_put_text(FILE *f, const char *text)
{
    put_bytes(f, text, strlen(text));
}

/* A path may break behind its slashes. */
void report_put_path(FILE *f, const char *path)
{
    for (const char *slash; (slash = strchr(path, '/')) != NULL; path = slash + 1) {
        put_bytes(f, path, (size_t)(slash - path));
        (void)fputs("/<wbr>", f);
    }
    report_put_text(f, path);
}

void report_put_base64(FILE *f, const char *bytes, size_t size)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *b = (const unsigned char *)bytes;
    for (size_t i = 0; i < size; i += 3) {
        unsigned v =
            (unsigned)b[i] << 16 | (i + 1 < size ? (unsigned)b[i + 1] << 8 : 0) | (i + 2 < size ? b[i + 2] : 0U);
        char out[4] = {digits[v >> 18], digits[v >> 12 & 63], i + 1 < size ? digits[v >> 6 & 63] : '=',
                       i + 2 < size ? digits[v & 63] : '='};
        (void)fwrite(out, 1, 4, f);
    }
}
