#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Products never seen, one data set left out at a time: trains on the others and prints the target's figures, one JSON object a line.
usage='Usage: bench/zero_shot.sh DATA BACKBONE [--seeds N] [--target screw|tire|magnetic_tile|brainmri]... [-- TRAIN OPTIONS]

DATA holds mvtec/{screw,metal_nut,leather,tire}, magnetic_tile (split.csv), brainmri (yes, no) and dtd/images; BACKBONE is a file or a
name. COZAD names the program (build/release/bin/cozad). Models and logs stay in a temporary folder that is named at the end.'
set -euo pipefail
cozad=${COZAD:-$(dirname "${BASH_SOURCE[0]}")/../build/release/bin/cozad}
case ${1:-} in -h | --help) echo "$usage"; exit 0 ;; esac
[ $# -ge 2 ] || { echo "$usage" >&2; exit 2; }
data=$1 backbone=$2 seeds=3 targets=() extra=()
shift 2
while [ $# -gt 0 ]; do
    case $1 in
    --seeds) seeds=$2; shift 2 ;;
    --target) targets+=("$2"); shift 2 ;;
    --) shift; extra=("$@"); break ;;
    *) echo "$usage" >&2; exit 2 ;;
    esac
done
[ ${#targets[@]} -gt 0 ] || targets=(screw tire magnetic_tile brainmri)
out=$(mktemp -d)
for seed in $(seq "$seeds"); do
    for target in "${targets[@]}"; do
        sources=()
        [ "$target" = screw ] || sources+=(--source "$data/mvtec:mvtec:screw,metal_nut,leather")
        [ "$target" = tire ] || sources+=(--source "$data/mvtec:mvtec:tire")
        [ "$target" = magnetic_tile ] || sources+=(--source "$data/magnetic_tile:csv")
        [ "$target" = brainmri ] || sources+=(--source "$data/brainmri:yesno")
        sources+=(--source "$data/dtd/images:folder")
        case $target in
        screw | tire) set -- "$data/mvtec/$target" mvtec ;;
        magnetic_tile) set -- "$data/magnetic_tile" csv ;;
        brainmri) set -- "$data/brainmri" yesno ;;
        *) echo "zero_shot.sh: no target \"$target\"" >&2; exit 2 ;;
        esac
        model=$out/$target.$seed.cozad
        "$cozad" train --method cozad "${sources[@]}" --backbone "$backbone" --precision bf16 --quantise 0 --seed "$seed" -q \
            -o "$model" ${extra[@]+"${extra[@]}"} >&2
        "$cozad" eval -m "$model" --backbone "$backbone" --data "$1" --layout "$2" --resamples 0 -q --json |
            sed "s/^{/{\"target\":\"$target\",\"seed\":$seed,/"
    done
done
echo "zero_shot.sh: models are in $out" >&2
