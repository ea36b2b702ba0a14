#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The backbone that comes with cozad: found beside the library wherever that lies, the default where the usual weights are not,
# ranges for int8 inside. Random weights of its architecture stand in for it.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/make_small.sh"
make_scenes
good=$scenes/cloth/train/good
photo=$scenes/cloth/test/good/000.png
small=(--image-size 64 --hidden-width 64 --patches-per-image 16 --epochs 1 --threads 1 --method simplenet --no-cache)

# A tree of its own: the library looks upward from where it is itself.
tree=$tmp/tree
mkdir -p "$tree/lib" "$tree/bin" "$tree/share/cozad"
cp "$cozad" "$tree/bin/cozad"
cp "$(dirname "$(dirname "$cozad")")"/lib/libcozad.so.0 "$tree/lib/"
run() { LD_LIBRARY_PATH=$tree/lib "$tree/bin/cozad" "$@"; }
weights() { echo "$tree/share/cozad/builtin.safetensors"; }
no_note() { ! grep -q 'built-in' "$tmp/err" || fail "a note that nobody needs"; }

# Without it, nothing can be done but to say so.
expect 4 run train --normal "$good" "${small[@]}" -o "$tmp/a.cozad"
one_line 'no weights "wide_resnet50_2" in .*cozad weights fetch wide_resnet50_2'
expect 4 run weights verify builtin
one_line 'no weights "builtin" in .*come with cozad'

expect 0 run weights convert -q random:cozad_r32:1 "$(weights)"
expect 2 run weights convert random:no_such_network "$tmp/x.safetensors"
expect 0 run weights list
stdout_has "^builtin .* $(weights)"
expect 0 run weights verify builtin
stdout_has '  architecture     cozad_r32'
stdout_has '  features         384 numbers a patch .*no ranges for int8'
expect 0 run weights inspect builtin
stdout_has '^layer3.1.conv2.weight +F32 +\[192, 192, 3, 3\]'

# The default, with one line that says so, and only then.
expect 0 run train --normal "$good" "${small[@]}" -o "$tmp/a.cozad"
[ "$(grep -c 'backbone: the built-in one (builtin), as wide_resnet50_2 is not installed' "$tmp/err")" = 1 ] ||
    fail "no note, or more than one"
expect 0 run info "$tmp/a.cozad"
stdout_has '^backbone.name +builtin$'
stdout_has '^head.feature_width +384$'
expect 0 run train --normal "$good" "${small[@]}" --backbone builtin --feature-width 48 -o "$tmp/b.cozad"
no_note
expect 0 run info "$tmp/b.cozad"
stdout_has '^head.feature_width +48$'
expect 0 run features "$photo" --tap patches --image-size 64 -o "$tmp/f.safetensors"
stderr_has 'the built-in one'
expect 0 run features -q "$photo" --tap patches --image-size 64 -o "$tmp/f.safetensors"
no_note
expect 0 run weights inspect "$tmp/f.safetensors"
stdout_has '^patches +F32 +\[1, 64, 384\]'
mkdir -p "$COZAD_HOME"
expect 0 run weights convert -q random:resnet18:1 "$COZAD_HOME/wide_resnet50_2.safetensors"
expect 0 run features "$photo" --tap layer2 --image-size 64 -o "$tmp/f.safetensors"
no_note
expect 0 run weights inspect "$tmp/f.safetensors"
stdout_has '^# backbone: wide_resnet50_2'
rm "$COZAD_HOME/wide_resnet50_2.safetensors"

# A model finds it again by its SHA-256 after the tree was moved.
expect 0 run score -m "$tmp/a.cozad" "$photo" --no-cache --threads 1
cp "$tmp/out" "$tmp/before"
mkdir "$tmp/elsewhere"
mv "$tree" "$tmp/elsewhere/moved"
tree=$tmp/elsewhere/moved
expect 0 run score -m "$tmp/a.cozad" "$photo" --no-cache --threads 1
cmp "$tmp/out" "$tmp/before" || fail "the moved tree scores otherwise"
expect 0 run weights verify builtin
stdout_has "^$(weights): ok"

# Ranges for int8 inside: before any training, and for a model that has none of its own.
expect 1 grep -q quant.ranges "$(weights)"
expect 4 run weights convert "$tmp/missing.safetensors" "$tmp/x.safetensors" --quantise-on "$good"
expect 2 run weights convert "$(weights)" "$tmp/x.safetensors" --quantise-on "$good" --photos 0
expect 3 run weights convert "$(weights)" "$tmp/x.safetensors" --quantise-on "$tree/share"
expect 2 run features "$photo" --backbone builtin --tap layer2 --precision int8 --image-size 64 -o "$tmp/f.safetensors"
expect 0 run weights convert "$(weights)" "$tmp/ranges.safetensors" --quantise-on "$good" --photos 3 --image-size 64 --threads 1
one_line 'ranges for int8: 3 photos, 64 x 64'
mv "$tmp/ranges.safetensors" "$(weights)"
expect 0 run weights verify builtin
stdout_has 'ranges for int8 inside'
expect 0 run features "$photo" --backbone builtin --tap layer2 --precision int8 --image-size 64 -o "$tmp/f.safetensors"
expect 0 run train --normal "$good" "${small[@]}" --backbone builtin --quantise 0 -o "$tmp/c.cozad"
expect 0 run score -m "$tmp/c.cozad" "$photo" --precision int8 --no-cache --threads 1
# once more: the earlier ones are replaced
expect 0 run weights convert "$(weights)" "$tmp/again.safetensors" --quantise-on "$good" --photos 2 --image-size 64 --threads 1
one_line 'ranges for int8: 2 photos'
expect 0 run weights inspect "$tmp/again.safetensors"
[ "$(grep -c '^quant.ranges ' "$tmp/out")" = 1 ] || fail "not one tensor of ranges"
