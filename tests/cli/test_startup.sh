#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The second start finds packed weights: the same results, without the weight file even, and a damaged file is made again.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/make_small.sh"
weights=$data/weights/resnet18_tv_folded.safetensors
[ -f "$weights" ] || skip "startup (no outside data)"
make_scenes
photo=$scenes/cloth/test/good/000.png
cp "$weights" "$tmp/mine.safetensors"
touch -d 2001-01-01 "$tmp/mine.safetensors"
small=(--backbone "$tmp/mine.safetensors" --image-size 64 --feature-width 96 --hidden-width 64 --patches-per-image 16 --threads 1)

score() { # COZAD_PACKED_CACHE [options]
    local cache=$1
    shift
    COZAD_PACKED_CACHE=$cache expect 0 "$cozad" score -m "$tmp/a.cozad" "$photo" --json --no-cache --threads 1 "$@"
}
packed() { find "$COZAD_HOME/packed" -name '*.czp' 2>/dev/null; }

COZAD_PACKED_CACHE=off expect 0 train_small "$tmp/a.cozad"
[ -z "$(packed)" ] || fail "COZAD_PACKED_CACHE=off writes packed weights"
score off
cp "$tmp/out" "$tmp/plain"
[ -z "$(packed)" ] || fail "COZAD_PACKED_CACHE=off writes packed weights"

score ''
cmp "$tmp/out" "$tmp/plain" || fail "the run that packs gives another score"
[ "$(packed | wc -l)" = 1 ] || fail "one file of packed weights expected: $(packed)"
[ "$(stat -c %a "$(packed)")" = 600 ] || fail "packed weights are not private"
expect 0 "$cozad" cache list
stdout_has '^[0-9a-f]{16} .* weights$'
expect 0 "$cozad" cache list --json
stdout_has '"kind":"weights"'
before=$(stat -c %i "$(packed)")
score ''
cmp "$tmp/out" "$tmp/plain" || fail "packed weights give another score"
[ "$(stat -c %i "$(packed)")" = "$before" ] || fail "the second run packs again"

# without the weight file, as long as packed weights fit
mv "$tmp/mine.safetensors" "$tmp/away"
score ''
cmp "$tmp/out" "$tmp/plain" || fail "without the weight file the score is another"
COZAD_PACKED_CACHE=off expect 4 "$cozad" score -m "$tmp/a.cozad" "$photo" --no-cache --threads 1
mv "$tmp/away" "$tmp/mine.safetensors"
score '' --backbone "$tmp/mine.safetensors"
cmp "$tmp/out" "$tmp/plain" || fail "--backbone gives another score"

# a damaged file is found out and made again
printf damage | dd of="$(packed)" bs=1 seek=100000 conv=notrunc status=none
expect 3 "$cozad" cache verify
stdout_has 'DAMAGED'
score ''
cmp "$tmp/out" "$tmp/plain" || fail "damaged packed weights were used"
expect 0 "$cozad" cache verify
[ "$(packed | wc -l)" = 1 ] || fail "damaged packed weights were not made again"

# no place to write
COZAD_HOME=/proc/none score ''
cmp "$tmp/out" "$tmp/plain" || fail "without a cache folder the score is another"

expect 0 "$cozad" cache prune
[ -z "$(packed)" ] || fail "prune leaves packed weights"
echo "startup: ok"
