#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Throughput over a folder of JPEGs: ours (cz_score_stream and `cozad score`) and ONNX Runtime int8 in turns.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$root/build/release photos=500 side=1024 workers=2 rounds=3 precision=int8 backbone=random:wide_resnet50_2 keep=''
python=/usr/bin/python3
usage() {
    cat <<'EOF'
Usage: bench/folder.sh [--photos 500] [--side 1024] [--workers 2] [--rounds 3] [--precision int8]
                       [--backbone random:wide_resnet50_2] [--build build/release] [--folder DIR]
Makes PHOTOS JPEGs (quality 95) and prints, in turns within one run: images a second of the stream, of `cozad score` with its
start-up, and of ONNX Runtime int8; the ratio; and the stream's rate as a share of WORKERS cores / the stages' core-milliseconds.
ONNX Runtime's side decodes and resizes with this library too, with one worker a core, and stops at the backbone's maps: it has
less to do. Needs bench/setup. DIR: photos that are there already, or that shall stay.
EOF
}
while [ $# -gt 0 ]; do
    case "$1" in
    --photos) photos=$2; shift ;;
    --side) side=$2; shift ;;
    --workers) workers=$2; shift ;;
    --rounds) rounds=$2; shift ;;
    --precision) precision=$2; shift ;;
    --backbone) backbone=$2; shift ;;
    --build) build=$2; shift ;;
    --folder) keep=$2; shift ;;
    --help | -h) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
    esac
    shift
done
library=$(find "$root/bench/.peers/node_modules/onnxruntime-node/bin" -path '*linux/x64/libonnxruntime.so.1' 2>/dev/null | head -n 1 || true)
[ -n "$library" ] || { echo "folder.sh: ONNX Runtime is not installed; run bench/setup" >&2; exit 5; }
cozad=$build/bin/cozad
cmake --build "$build" --target cozad_cli bench_photos bench_stream bench_ort_folder >/dev/null
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
folder=${keep:-$tmp/photos}
mkdir -p "$folder" "$tmp/peer"
if [ -z "$(find "$folder" -name '*.jpg' -print -quit)" ]; then "$build/bin/bench_photos" "$folder" "$photos" "$side"; fi
photos=$(find "$folder" -name '*.jpg' | wc -l)
# The graph, from the same weights; and a model for `cozad score`.
"$cozad" bench --backbone "$backbone" --repeat 1 --threads "$workers" --stage backbone --against onnxruntime --peers "$root/bench" \
    --keep "$tmp/peer" --json >"$tmp/bench.json"
mkdir "$tmp/few"
find "$folder" -name '*.jpg' | sort | head -n 4 | xargs cp -t "$tmp/few"
"$cozad" train --normal "$tmp/few" --backbone "$tmp/peer/weights.safetensors" --epochs 1 --patches-per-image 64 --no-cache -q -o "$tmp/m.cozad" >/dev/null
for ((round = 0; round < rounds; round++)); do
    "$build/bin/bench_stream" "$folder" --precision "$precision" --workers "$workers" --backbone "$tmp/peer/weights.safetensors" |
        tee -a "$tmp/stream" >&2
    "$python" "$root/bench/measure.py" "$cozad" score -m "$tmp/m.cozad" --backbone "$tmp/peer/weights.safetensors" --no-cache --csv -q \
        --precision "$precision" --threads "$workers" "$folder" | tee -a "$tmp/score" >&2
    "$build/bin/bench_ort_folder" "$library" "$tmp/peer/int8.onnx" "$folder" "$workers" | tee -a "$tmp/peer.lines" >&2
done
"$python" - "$tmp" "$photos" <<'PY'
import json, statistics, sys
folder, photos = sys.argv[1], int(sys.argv[2])
read = lambda name: [json.loads(line) for line in open(f"{folder}/{name}")]
stream, score, peer = read("stream"), read("score"), read("peer.lines")
rate = lambda rows: [row["images_per_second"] for row in rows]
ours, theirs, whole = rate(stream), rate(peer), [photos / row["seconds"] for row in score]
median = statistics.median
print(json.dumps({
    "photos": photos,
    "workers": stream[0]["workers"],
    "precision": stream[0]["precision"],
    "stream_images_per_second": round(median(ours), 2),
    "score_images_per_second": round(median(whole), 2),
    "onnxruntime_int8_images_per_second": round(median(theirs), 2),
    "stream_over_onnxruntime": round(median(a / b for a, b in zip(ours, theirs)), 3),
    "score_over_onnxruntime": round(median(a / b for a, b in zip(whole, theirs)), 3),
    "of_cores_over_stages_alone": round(median(row["of_alone"] for row in stream), 3),
    "of_cores_over_stages_same_run": round(median(row["of_busy"] for row in stream), 3),
    "stream_peak_mb": median(row["peak_mb"] for row in stream),
    "score_peak_mb": median(row["peak_mb"] for row in score),
}))
PY
