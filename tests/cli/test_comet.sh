#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# cozad train with methods comet and flow: train, score, maps, adapt, configuration files; wrong combinations end at once with a
# line that says why.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/make_small.sh"
make_scenes
common=(--backbone random:resnet18:1 --image-size 64 --feature-width 96 --patches-per-image 16 --threads 1 --epochs 4 --seed 1 --no-cache)
flow=(--flow-project 24 --flow-blocks 4)
train() { # MODEL [options]
    local model=$1
    shift
    "$cozad" train --normal "$scenes/cloth/train/good" "${common[@]}" -o "$model" "$@"
}

# --- each of them trains, scores and draws
try() { # NAME [options]
    local name=$1
    shift
    expect 0 train "$tmp/$name.cozad" "$@"
    expect 0 "$cozad" score -m "$tmp/$name.cozad" "$scenes/cloth/test" --json --no-cache --threads 1 --maps "$tmp/maps-$name" --overlay
    [ "$(wc -l <"$tmp/out")" = 7 ] || fail "$name: not a line for each photo"
    [ "$(find "$tmp/maps-$name" -name '*.map.png' | wc -l)" = 7 ] || fail "$name: maps"
    cp "$tmp/out" "$tmp/$name.scores"
}
try comet-simplenet --method comet --hidden-width 32
try comet-flow --method comet --detector flow "${flow[@]}"
try flow --method flow "${flow[@]}"
for pair in "comet-flow flow" "comet-simplenet comet-flow"; do
    set -- $pair
    ! cmp -s "$tmp/$1.scores" "$tmp/$2.scores" || fail "$1 and $2 give the same scores"
done
expect 0 train "$tmp/again.cozad" --method comet --detector flow "${flow[@]}"
cmp "$tmp/again.cozad" "$tmp/comet-flow.cozad" || fail "same seed, different models"
expect 0 "$cozad" info "$tmp/comet-flow.cozad"
stdout_has '^training\.method +comet'
stdout_has '^training\.cozad\.contrast +no'
stdout_has '^head\.detector +flow'
stdout_has '^head\.flow\.blocks +4'
expect 0 "$cozad" adapt -m "$tmp/comet-flow.cozad" --normal "$scenes/cloth/test/good" --threads 1 -o "$tmp/adapted.cozad"
expect 0 "$cozad" score -m "$tmp/adapted.cozad" "$scenes/cloth/test/good" --threads 1

# --- tiles and a batch go the same way
expect 0 "$cozad" score -m "$tmp/flow.cozad" "$scenes/cloth/test" --json --no-cache --threads 2 --batch 3
sed -E 's/"score":[^,]*//' "$tmp/out" >"$tmp/other"
sed -E 's/"score":[^,]*//' "$tmp/flow.scores" | sed -E 's/,"map":.*//' | cut -c1-40 >"$tmp/one"
cut -c1-40 "$tmp/other" | cmp - "$tmp/one" || fail "a batch gives other photos"
expect 0 "$cozad" score -m "$tmp/flow.cozad" "$scenes/cloth/test/good" --json --tile 64 --threads 1

# --- whole photos: one score, and a word about maps
expect 0 train "$tmp/image.cozad" --method flow --flow-level image --flow-project 4
expect 0 "$cozad" score -m "$tmp/image.cozad" "$scenes/cloth/test" --maps "$tmp/maps-image" --threads 1
stderr_has 'scores whole photos'

# --- configuration files: what is printed is what is used; the command line wins over a file of another method
expect 0 "$cozad" train --method comet --detector flow "${flow[@]}" --print-config
cp "$tmp/out" "$tmp/comet.json"
grep -q '"detector": "flow"' "$tmp/comet.json" && grep -q '"contrast": "off"' "$tmp/comet.json" ||
    fail "the configuration does not say what is used"
expect 0 train "$tmp/config.cozad" --config "$tmp/comet.json"
cmp "$tmp/config.cozad" "$tmp/comet-flow.cozad" || fail "a configuration file gives another model"
expect 0 train "$tmp/s.cozad" --config "$tmp/comet.json" --method simplenet --hidden-width 32
expect 0 "$cozad" train --method cozad --print-config
cp "$tmp/out" "$tmp/cozad.json"
expect 0 train "$tmp/s.cozad" --config "$tmp/cozad.json" --method comet --detector flow "${flow[@]}"

# --- wrong combinations
wrong() { # PATTERN [options]
    local pattern=$1
    shift
    expect 2 train "$tmp/none.cozad" "$@"
    one_line "$pattern"
    [ ! -e "$tmp/none.cozad" ] || fail "a model of $*"
}
wrong 'method simplenet trains the detector of that name' --method simplenet --detector flow
wrong 'method flow trains the detector of that name' --method flow --detector simplenet
wrong 'no embedding.*comet' --method cozad --detector flow
wrong 'contrast on: method comet has no' --method comet --contrast on
wrong 'simplenet-compat is about detector simplenet' --method flow --simplenet-compat
wrong 'hidden-width is about detector simplenet' --method comet --detector flow --hidden-width 32
wrong 'flow-blocks is about detector flow' --flow-blocks 4
wrong 'blocks' --method flow --flow-blocks 99
wrong 'one of simplenet\|flow\|knn' --detector glow
wrong 'trains the detector of that name, not knn' --detector knn
expect 0 train "$tmp/s.cozad" --method comet --detector flow "${flow[@]}" --knn 3
stderr_has 'knn has no effect without --method cozad$'
expect 0 train "$tmp/s.cozad" --method cozad --detector flow "${flow[@]}" --contrast off
echo PASS
