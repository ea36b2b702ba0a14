/* SPDX-License-Identifier: Apache-2.0 */
#include "util/alloc.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALIGNMENT 64

static atomic_ulong allocations;
static atomic_ulong fail_at; /* value of `allocations` that fails; 0: never */

void cz_alloc_fail_after(unsigned long n)
{
    atomic_store(&fail_at, n == 0 ? 0 : atomic_load(&allocations) + n);
}

unsigned long cz_alloc_count(void)
{
    return atomic_load(&allocations);
}

static bool gate(size_t bytes)
{
    const unsigned long number = atomic_fetch_add(&allocations, 1) + 1;
    if (number != atomic_load(&fail_at)) return true;
    (void)cz_fail(CZ_E_MEMORY, "out of memory (%zu bytes)", bytes);
    return false;
}

bool cz_mul_size(size_t a, size_t b, size_t *out)
{
    size_t product;
    if (__builtin_mul_overflow(a, b, &product)) return false;
    *out = product;
    return true;
}

bool cz_add_size(size_t a, size_t b, size_t *out)
{
    size_t sum;
    if (__builtin_add_overflow(a, b, &sum)) return false;
    *out = sum;
    return true;
}

void *cz_alloc(size_t bytes)
{
    if (!gate(bytes)) return NULL;
    void *pointer = NULL;
    if (bytes > SIZE_MAX / 2 || posix_memalign(&pointer, ALIGNMENT, bytes == 0 ? 1 : bytes) != 0) {
        (void)cz_fail(CZ_E_MEMORY, "out of memory (%zu bytes)", bytes);
        return NULL;
    }
    return pointer;
}

void *cz_alloc_array(size_t count, size_t size)
{
    size_t bytes;
    if (!cz_mul_size(count, size, &bytes)) {
        (void)cz_fail(CZ_E_MEMORY, "out of memory (%zu x %zu bytes)", count, size);
        return NULL;
    }
    return cz_alloc(bytes);
}

void *cz_calloc(size_t count, size_t size)
{
    void *pointer = cz_alloc_array(count, size);
    if (pointer != NULL) memset(pointer, 0, count * size);
    return pointer;
}

void *cz_grow(void *old, size_t count, size_t size)
{
    size_t bytes;
    if (!cz_mul_size(count, size, &bytes) || bytes > SIZE_MAX / 2) {
        (void)cz_fail(CZ_E_MEMORY, "out of memory (%zu x %zu bytes)", count, size);
        return NULL;
    }
    if (!gate(bytes)) return NULL;
    void *pointer = realloc(old, bytes == 0 ? 1 : bytes);
    if (pointer == NULL) (void)cz_fail(CZ_E_MEMORY, "out of memory (%zu bytes)", bytes);
    return pointer;
}

char *cz_strndup(const char *text, size_t length)
{
    char *copy = cz_alloc(length + 1);
    if (copy == NULL) return NULL;
    memcpy(copy, text, length);
    copy[length] = '\0';
    return copy;
}

char *cz_strdup(const char *text)
{
    return cz_strndup(text, strlen(text));
}

char *cz_format(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (length < 0) return NULL;
    char *text = cz_alloc((size_t)length + 1);
    if (text == NULL) return NULL;
    va_start(arguments, format);
    (void)vsnprintf(text, (size_t)length + 1, format, arguments);
    va_end(arguments);
    return text;
}

void cz_free(void *pointer)
{
    free(pointer);
}

void cz_string_free(char *text)
{
    cz_free(text);
}
