#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# From the start of `cozad score` on one photo to its end, on a warm disk: medians, with the packed weights cached, and the first
# run, which makes them. Bar: 400 ms in each precision with Wide-ResNet-50-2.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$root/build/release arch=wide_resnet50_2 runs=7 precisions="fp32 fp32-winograd bf16 int8"
usage() {
    cat <<'EOF'
Usage: bench/startup.sh [--build DIR] [--arch wide_resnet50_2] [--runs 7] [--precisions "fp32 fp32-winograd bf16 int8"]
Needs DIR/bin/cozad and the target bench_startup. Weights are random, pictures made up: only times are looked at. Columns: first run,
median and slowest of the others (ms, whole process), then medians of stages within one: opening the model, the session (packed weights,
primitives, the head), reading the photo, the first score.
EOF
}
while [ $# -gt 0 ]; do
    case "$1" in
    --build) build=$2; shift ;;
    --arch) arch=$2; shift ;;
    --runs) runs=$2; shift ;;
    --precisions) precisions=$2; shift ;;
    --help | -h) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
    esac
    shift
done
cozad=$build/bin/cozad stages=$(find "$build" -name bench_startup -type f -perm -u+x | head -n 1)
[ -x "$cozad" ] && [ -n "$stages" ] || { echo "skipped: startup (no build)"; exit 77; }
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export COZAD_HOME=$tmp/home COZAD_PACKED_CACHE=
"$stages" --save "$arch" "$tmp/w.safetensors"
"$cozad" synth "$tmp/scenes" --scenes cloth --normal 8 --test-good 1 --test-bad 1 --size 512 --seed 1 >/dev/null
touch -d 2001-01-01 "$tmp/w.safetensors"
"$cozad" train --normal "$tmp/scenes/cloth/train/good" --backbone "$tmp/w.safetensors" --epochs 1 --patches-per-image 16 --quantise 8 \
    --no-cache -q -o "$tmp/m.cozad" >/dev/null
photo=$tmp/scenes/cloth/test/good/000.png

once() { # milliseconds of a whole process
    local start end
    start=$(date +%s%N)
    "$cozad" score -m "$tmp/m.cozad" "$photo" --no-cache --precision "$1" >/dev/null
    end=$(date +%s%N)
    echo $(((end - start) / 1000000))
}
field() { sed -E "s/.*\"$1\":([0-9.]+).*/\1/" "$tmp/stages" | sort -g | sed -n "$(((runs + 1) / 2))p"; }

printf '%-14s %8s %8s %8s   %8s %8s %8s %8s\n' precision first median slowest model session photo score
for precision in $precisions; do
    rm -rf "$COZAD_HOME/packed"
    "$cozad" score -m "$tmp/m.cozad" "$photo" --no-cache --precision "$precision" >/dev/null # warms the disk
    rm -rf "$COZAD_HOME/packed"
    first=$(once "$precision")
    for ((i = 0; i < runs; i++)); do once "$precision"; done | sort -g >"$tmp/times"
    for ((i = 0; i < runs; i++)); do "$stages" "$tmp/m.cozad" "$photo" "$precision"; done >"$tmp/stages"
    printf '%-14s %8s %8s %8s   %8s %8s %8s %8s\n' "$precision" "$first" "$(sed -n "$(((runs + 1) / 2))p" "$tmp/times")" \
        "$(tail -n 1 "$tmp/times")" "$(field model)" "$(field session)" "$(field photo)" "$(field score)"
done
