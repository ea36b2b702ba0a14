#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What precision costs in accuracy: one head a data set, trained on fp32 features, evaluated in every precision.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
data=${COZAD_TEST_DATA:-$root/../shared}
cozad=$root/build/release/bin/cozad
sets="mvtec/screw mvtec/tire magnetic_tile" precisions="fp32-winograd bf16 int8" epochs=10 patches=128 size=256 seed=0 threads=0
weights='' keep=''
python=/usr/bin/python3
usage() {
    cat <<'EOF'
Usage: bench/precision.sh [--sets "mvtec/screw mvtec/tire magnetic_tile"] [--precisions "fp32-winograd bf16 int8"] [--epochs 10]
                          [--patches 128] [--size 256] [--seed 0] [--threads 0] [--weights FILE] [--cozad BINARY] [--keep DIR]
Prints image and pixel AUROC in percent, differences from fp32 in points, and their means. Needs $COZAD_TEST_DATA (default ../shared) with
data/ and weights/resnet50_msra.safetensors. Bars: bf16 within 0.2 and int8 within 0.5 on the mean, none over 1.0.
DIR keeps the models (and uses those that are there).
EOF
}
while [ $# -gt 0 ]; do
    case "$1" in
    --sets) sets=$2; shift ;;
    --precisions) precisions=$2; shift ;;
    --epochs) epochs=$2; shift ;;
    --patches) patches=$2; shift ;;
    --size) size=$2; shift ;;
    --seed) seed=$2; shift ;;
    --threads) threads=$2; shift ;;
    --weights) weights=$2; shift ;;
    --cozad) cozad=$2; shift ;;
    --keep) keep=$2; shift ;;
    --help | -h) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
    esac
    shift
done
weights=${weights:-$data/weights/resnet50_msra.safetensors}
[ -x "$cozad" ] && [ -e "$weights" ] || { echo "skipped: precision (no build or no outside data)"; exit 77; }
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
models=${keep:-$tmp}
mkdir -p "$models"
# No feature store: every feature is needed once.
for set in $sets; do
    name=${set//\//-}
    [ -d "$data/data/$set" ] || { echo "precision.sh: no $data/data/$set" >&2; exit 3; }
    if [ ! -e "$models/$name.cozad" ]; then
        "$cozad" train --data "$data/data/$set" --backbone "$weights" --image-size "$size" --epochs "$epochs" --patches-per-image "$patches" \
            --seed "$seed" --threads "$threads" --no-cache -q -o "$models/$name.cozad" >/dev/null
    fi
    for precision in fp32 $precisions; do
        SECONDS=0
        if ! "$cozad" eval -m "$models/$name.cozad" --backbone "$weights" --data "$data/data/$set" --precision "$precision" --resamples 0 \
            --threads "$threads" --no-cache --json -q >"$tmp/$name.$precision.json"; then
            echo "precision.sh: $set in $precision failed" >&2
            rm -f "$tmp/$name.$precision.json"
            continue
        fi
        echo "$set $precision: $SECONDS s" >&2
    done
done
"$python" - "$tmp" "$sets" "$precisions" "$epochs" <<'PY'
import json, os, sys
folder, sets, precisions, epochs = sys.argv[1], sys.argv[2].split(), sys.argv[3].split(), sys.argv[4]
METRICS = ("image_auroc", "pixel_auroc")
def read(name, precision):
    path = f"{folder}/{name.replace('/', '-')}.{precision}.json"
    if not os.path.exists(path):
        return None
    with open(path) as file:
        mean = json.load(file)["mean"]
    return [100 * (mean[m] if not isinstance(mean[m], dict) else mean[m]["value"]) for m in METRICS]
print(f"One head a set, {epochs} epochs on fp32 features; AUROC in percent, differences from fp32 in points.\n")
print("| set | precision | image | pixel | image difference | pixel difference |\n| --- | --- | --- | --- | --- | --- |")
missing = False
for name in sets:
    base = read(name, "fp32")
    if base is None:
        missing = True
        continue
    print(f"| {name} | fp32 | {base[0]:.2f} | {base[1]:.2f} | | |")
    for precision in precisions:
        row = read(name, precision)
        if row is None:
            missing = True
            continue
        print(f"| {name} | {precision} | {row[0]:.2f} | {row[1]:.2f} | {row[0] - base[0]:+.2f} | {row[1] - base[1]:+.2f} |")
for precision in precisions:
    rows = [(read(n, precision), read(n, "fp32")) for n in sets]
    rows = [(r, b) for r, b in rows if r and b]
    if len(rows) != len(sets):
        continue
    change = [[r[k] - b[k] for r, b in rows] for k in (0, 1)]
    mean = [sum(c) / len(c) for c in change]
    worst = max(abs(v) for c in change for v in c)
    print(f"| mean | {precision} | | | {mean[0]:+.2f} | {mean[1]:+.2f} |")
    limit = {"bf16": 0.2, "int8": 0.5}.get(precision)
    if limit is not None:
        good = all(abs(m) <= limit for m in mean) and worst <= 1.0
        print(f"{precision}: mean within {limit} points and none over 1.0: {'yes' if good else 'NO'} (worst {worst:.2f})", file=sys.stderr)
sys.exit(3 if missing else 0)
PY
