#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Time and memory against number of images, image size, batch and threads: Markdown tables for bench/README.md.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$root/build/release precision=int8 backbone=random:wide_resnet50_2 repeat=7 side=1024
images="100 300 1000 5000" sizes="256 384 512" batches="1 2 4 8" threads="1 2" tables="images size batch threads"
python=/usr/bin/python3
usage() {
    cat <<'EOF'
Usage: bench/scaling.sh [--tables "images size batch threads"] [--precision int8] [--backbone random:wide_resnet50_2]
                        [--images "100 300 1000 5000"] [--sizes "256 384 512"] [--batches "1 2 4 8"] [--threads "1 2"]
                        [--repeat 7] [--side 1024] [--build build/release]
Images: `cozad score` over that many names of 50 JPEGs of SIDE x SIDE, whole process, start-up included. The others: `cozad bench`.
Threads above the processors there are make no sense; the last of --threads is used for the tables of images, size and batch.
EOF
}
while [ $# -gt 0 ]; do
    case "$1" in
    --tables) tables=$2; shift ;;
    --precision) precision=$2; shift ;;
    --backbone) backbone=$2; shift ;;
    --images) images=$2; shift ;;
    --sizes) sizes=$2; shift ;;
    --batches) batches=$2; shift ;;
    --threads) threads=$2; shift ;;
    --repeat) repeat=$2; shift ;;
    --side) side=$2; shift ;;
    --build) build=$2; shift ;;
    --help | -h) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
    esac
    shift
done
cozad=$build/bin/cozad
cmake --build "$build" --target cozad_cli bench_photos >/dev/null
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
most=${threads##* }

bench() { "$cozad" bench --backbone "$backbone" --precision "$precision" --repeat "$repeat" --photo-size "$side" --json "$@"; }
# One row of a table from bench's JSON on stdin: FIRST_COLUMN
row() {
    "$python" -c '
import json, sys
r = json.loads(sys.stdin.readline())
ms = {name: stage["ms"] for name, stage in r["stages"].items()}
print("| %s | %.2f | %.2f | %.2f | %.1f | %.0f | %.0f | %.0f |" % (sys.argv[1], ms["backbone"], ms["total"], ms["total"] - ms["backbone"],
      r["images_per_second"], r["backbone_gflops"], 100 * r["backbone_of_peak"], r["peak_memory_bytes"] / 2**20))' "$1"
}
head_of() {
    echo "| $1 | backbone ms | total ms | rest ms | images/s | GFLOP/s | % of peak | peak MB |"
    echo "| --- | --- | --- | --- | --- | --- | --- | --- |"
}

echo "$backbone, $precision, $(date -u +%Y-%m-%d), $(grep -m 1 'model name' /proc/cpuinfo | sed 's/.*: //'), $(nproc) processors"
for table in $tables; do
    echo
    case "$table" in
    images)
        echo "| images | seconds | images/s | CPU seconds | peak MB |"
        echo "| --- | --- | --- | --- | --- |"
        mkdir -p "$tmp/few" "$tmp/save"
        "$build/bin/bench_photos" "$tmp/few" 4 "$side" 95 4
        "$cozad" train --normal "$tmp/few" --backbone "$backbone" --epochs 1 --patches-per-image 64 --no-cache -q -o "$tmp/m.cozad" >/dev/null
        for count in $images; do
            mkdir "$tmp/photos"
            "$build/bin/bench_photos" "$tmp/photos" "$count" "$side"
            "$python" "$root/bench/measure.py" "$cozad" score -m "$tmp/m.cozad" --backbone "$backbone" --precision "$precision" --threads "$most" \
                --no-cache --csv -q "$tmp/photos" |
                "$python" -c '
import json, sys
r, count = json.loads(sys.stdin.readline()), int(sys.argv[1])
print("| %d | %.2f | %.1f | %.1f | %.0f |" % (count, r["seconds"], count / r["seconds"], r["cpu_seconds"], r["peak_mb"]))' "$count"
            rm -rf "$tmp/photos"
        done
        ;;
    size)
        head_of "image size"
        for size in $sizes; do bench --image-size "$size" --threads "$most" | row "$size"; done
        ;;
    batch)
        head_of batch
        for batch in $batches; do bench --batch "$batch" --threads "$most" | row "$batch"; done
        ;;
    threads)
        head_of threads
        for count in $threads; do bench --threads "$count" | row "$count"; done
        ;;
    *) usage >&2; exit 2 ;;
    esac
done
