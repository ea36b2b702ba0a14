/* SPDX-License-Identifier: Apache-2.0 */
/* Which precision a model is computed in, and what is known of them (docs/precision.md). */
#ifndef CZ_API_PRECISION_H
#define CZ_API_PRECISION_H

#include "api/model.h"

/* Those that something can be computed in: CZ_PRECISION_FP32 … CZ_PRECISION_INT8. */
#define CZ_PRECISIONS 4

/* What was measured on photos with one backbone. */
typedef struct cz_precision_facts {
    cz_quant quant; /* count 0: none */
    size_t photos;  /* that the ranges were measured on */
    /* Relative root mean square difference of patch features from fp32; NaN: not measured. */
    double error[CZ_PRECISIONS];
} cz_precision_facts;

/* Nothing measured. */
void cz_precision_facts_init(cz_precision_facts *facts);
/* "direct", or "winograd" for CZ_PRECISION_FP32_WINOGRAD. */
const char *cz_precision_algorithm(cz_precision precision);
/* What training's matrix products are in: BF16 where features are in 8 or 16 bits, else FP32. */
cz_precision cz_precision_products(cz_precision precision);
/* CZ_E_ARG for what is none of cz_precision; AUTO and MODEL are some. */
cz_status cz_precision_check(cz_precision precision);
/* What `auto` means: the first of int8, bf16 and fp32-winograd that is native and whose error is known and at most CZ_AUTO_ERROR, else
 * fp32. `native` is cz_engine_native but in tests. */
cz_precision cz_precision_choose(const double error[CZ_PRECISIONS], bool (*native)(cz_precision));

/* AUTO and MODEL become what they mean for this model; others stay. */
cz_status cz_precision_of_model(const cz_model *model, cz_precision asked, cz_precision *out);
/* Ranges for int8: the model's own, else those of its weights, else NULL. */
const cz_quant *cz_precision_ranges(const cz_model *model);
/* CZ_E_ARG with what to do about it where there are no ranges for int8. */
cz_status cz_precision_require(const cz_model *model, cz_precision precision);
/* Takes what was measured into the model: ranges, their tensor, and in meta "int8_ranges" and "precision_errors". The caller refreshes
 * the JSON text. */
cz_status cz_precision_store(cz_model *model, const cz_precision_facts *facts);
/* The model's tensor quant.ranges, checked, into model->quant; CZ_OK without one. */
cz_status cz_precision_read(cz_model *model);

#endif
