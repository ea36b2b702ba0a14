/* SPDX-License-Identifier: Apache-2.0 */
/* What the heads share among themselves: the entries of head.c's table and the helper that lays out their buffers. */
#ifndef CZ_HEADS_HEADS_H
#define CZ_HEADS_HEADS_H

#include "heads/head.h"

extern const cz_head_ops cz_simplenet_ops;
extern const cz_head_ops cz_knn_ops;
extern const cz_head_ops cz_flow_ops;

/* Appends a view to views[*view_count] at offset *total of its buffer; `columns` 0: a vector of `rows`. */
void cz_head_add_view(cz_head_view *views, size_t *view_count, size_t *total, const char *name, size_t rows,
                      size_t columns, bool decay);

#endif
