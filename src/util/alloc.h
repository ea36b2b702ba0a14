/* SPDX-License-Identifier: Apache-2.0 */
/* The allocation gate: every allocation of the library goes through here, so that tests can make the n-th one fail. */
#ifndef CZ_UTIL_ALLOC_H
#define CZ_UTIL_ALLOC_H

#include "util/status.h"

#include <stdbool.h>
#include <stddef.h>

/* All return NULL (and record CZ_E_MEMORY) when out of memory; a size of 0 is served as 1 byte. */
void *cz_alloc(size_t bytes);                        /* 64-byte aligned, not cleared */
void *cz_calloc(size_t count, size_t size);          /* 64-byte aligned, cleared; checks the product */
void *cz_alloc_array(size_t count, size_t size);     /* 64-byte aligned; checks the product */
void *cz_grow(void *old, size_t count, size_t size); /* realloc; alignment of malloc only; old stays valid on failure */
char *cz_strdup(const char *text);
char *cz_strndup(const char *text, size_t length);
char *cz_format(const char *format, ...) __attribute__((format(printf, 1, 2)));
void cz_free(void *pointer);

/* false on overflow, *out untouched */
bool cz_mul_size(size_t a, size_t b, size_t *out);
bool cz_add_size(size_t a, size_t b, size_t *out);

/* Test hook: the n-th allocation from now fails (1 = the next), once; 0 switches off. */
void cz_alloc_fail_after(unsigned long n);
/* Allocations since the program began. */
unsigned long cz_alloc_count(void);

#endif
