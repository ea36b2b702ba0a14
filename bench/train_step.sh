#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# One training step, ours and PyTorch's in turn so that both see the same machine, and the median ratios.
# Usage: bench/train_step.sh [BENCH_TRAIN [ROUNDS [THREADS]]]   (environment: PYTHON, default /usr/bin/python3)
# BENCH_TRAIN is built by: cmake --build build/release --target bench_train
set -eu
here=$(dirname "$0")
bench=${1:-$here/../build/release/bin/bench_train}
rounds=${2:-7}
threads=${3:-2}
python=${PYTHON:-/usr/bin/python3}
log=$(mktemp)
trap 'rm -f "$log"' EXIT INT TERM
round=1
while [ "$round" -le "$rounds" ]; do
    "$bench" "$threads" 1 both | grep GFLOP/s | tee -a "$log"
    for type in fp32 bf16; do
        "$python" "$here/reference/train_torch.py" --runs 1 --threads "$threads" --dtype "$type" | tee -a "$log" ||
            echo "PyTorch cannot do $type here" >&2
    done
    round=$((round + 1))
done
awk '
function median(list, n,   i, j, t) {
    for (i = 2; i <= n; i++)
        for (j = i; j > 1 && list[j] < list[j - 1]; j--) { t = list[j]; list[j] = list[j - 1]; list[j - 1] = t }
    return n % 2 ? list[(n + 1) / 2] : (list[n / 2] + list[n / 2 + 1]) / 2
}
$1 == "fp32" { ours = $2; next }
$1 == "bf16" { narrow = $2; for (i = 1; i < NF; i++) if ($i == "%") share[++shares] = $(i - 1); next }
$1 == "torch" && $3 == "fp32" { a[++n] = $4 / ours; b[n] = $4 / narrow; ms[n] = $4; f[n] = ours; h[n] = narrow }
$1 == "torch" && $3 == "bf16" { c[++m] = $4 / narrow }
END {
    if (n) printf "ours fp32 %.0f ms, bf16 %.0f ms (%.1f %% of its peak), PyTorch fp32 %.0f ms\n", median(f, n), median(h, n),
        median(share, shares), median(ms, n)
    if (n) printf "PyTorch fp32 / ours: fp32 %.2f, bf16 %.2f (bar 2.5)\n", median(a, n), median(b, n)
    if (m) printf "PyTorch bf16 / ours bf16: %.2f\n", median(c, m)
}' "$log"
