/* SPDX-License-Identifier: Apache-2.0 */
/* Matrix products on oneDNN 2.x. */
#include "engine/engine_dnnl2.h"

#include <omp.h>

cz_status cz_engine_sgemm(bool trans_a, bool trans_b, size_t m, size_t n, size_t k, float alpha, const float *a,
                          size_t lda, const float *b, size_t ldb, float beta, float *c, size_t ldc)
{
    if (omp_in_parallel()) return cz_fail(CZ_E_ARG, "matrix product inside an OpenMP parallel region");
    if (m == 0 || n == 0) return CZ_OK;
    if (lda < (trans_a ? m : k) || ldb < (trans_b ? k : n) || ldc < n)
        return cz_fail(CZ_E_ARG, "matrix product: a row stride is shorter than its row");
    const dnnl_status_t result =
        dnnl_sgemm(trans_a ? 'T' : 'N', trans_b ? 'T' : 'N', (dnnl_dim_t)m, (dnnl_dim_t)n, (dnnl_dim_t)k, alpha, a,
                   (dnnl_dim_t)lda, b, (dnnl_dim_t)ldb, beta, c, (dnnl_dim_t)ldc);
    return cz_dnnl_check(result, "sgemm");
}
