#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Trains and evaluates on the outside data with several seeds, last epoch, no selection; one JSON line a run on stdout.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
data=${COZAD_TEST_DATA:-$root/../shared} sets="mvtec/screw mvtec/tire magnetic_tile" size=256 seeds=5 first=0 threads=0
epochs=40 patches=128 extra=()
usage() {
    cat <<'EOF'
Usage: bench/accuracy.sh [--sets "mvtec/screw ..."] [--size 256] [--seeds 5] [--first 0] [--epochs 40] [--patches 128]
                         [--threads 0] [-- further options of 'cozad train']
Needs build/release/bin/cozad and $COZAD_TEST_DATA (default ../shared) with data/ and weights/resnet50_msra.safetensors.
Features are computed once, in the feature store, for all seeds.
EOF
}
while [ $# -gt 0 ]; do
    case "$1" in
    --sets) sets=$2; shift ;;
    --size) size=$2; shift ;;
    --seeds) seeds=$2; shift ;;
    --first) first=$2; shift ;;
    --epochs) epochs=$2; shift ;;
    --patches) patches=$2; shift ;;
    --threads) threads=$2; shift ;;
    --) shift; extra=("$@"); break ;;
    --help | -h) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
    esac
    shift
done
cozad=$root/build/release/bin/cozad
weights=$data/weights/resnet50_msra.safetensors
[ -x "$cozad" ] && [ -e "$weights" ] || { echo "skipped: accuracy (no build or no outside data)"; exit 77; }
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
for ((seed = first; seed < first + seeds; seed++)); do
    for set in $sets; do
        trained=$("$cozad" train --data "$data/data/$set" --backbone "$weights" --image-size "$size" --epochs "$epochs" \
            --patches-per-image "$patches" --seed "$seed" --threads "$threads" --json -q -o "$tmp/m.cozad" "${extra[@]}")
        scored=$("$cozad" eval -m "$tmp/m.cozad" --backbone "$weights" --data "$data/data/$set" --threads "$threads" --json -q)
        printf '{"set":"%s","size":%s,"seed":%s,"epochs":%s,"patches_per_image":%s,"options":"%s","train":%s,"eval":%s}\n' \
            "$set" "$size" "$seed" "$epochs" "$patches" "${extra[*]}" "$trained" "$scored"
    done
done
