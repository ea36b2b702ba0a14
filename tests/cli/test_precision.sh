#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# --precision through train, score, eval, adapt, calibrate, drift and features; what a model says of it.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/make_small.sh"
make_scenes
good=$scenes/cloth/test/good
all=$scenes/cloth/test

# "PATH SCORE" of the last command's JSON Lines
scores() { sed -E 's/.*"path":"([^"]*)","score":([-0-9.e]+).*/\1 \2/' "$tmp/out"; }
# The scores in files $1 and $2 differ by at most the share $3 of the largest in $1, and, with $4, not at all in none.
close() {
    paste -d ' ' "$1" "$2" | awk -v most="$3" -v differ="${4:-}" '
        function abs(x) { return x < 0 ? -x : x }
        $1 != $3 { print "other photos"; exit 1 }
        { d = abs($2 - $4); if (d > worst) worst = d; if (abs($2) > size) size = abs($2) }
        END {
            if (NR == 0 || worst > most * size) { print "differ by " worst " of " size; exit 1 }
            if (differ != "" && worst == 0) { print "do not differ at all"; exit 1 }
        }' || fail "scores of $2 against $1"
}

# a model in fp32 has ranges for int8, and says so
expect 0 train_small "$tmp/a.cozad" --log "$tmp/a.jsonl"
expect 0 "$cozad" info "$tmp/a.cozad"
stdout_has '^precision +fp32$'
stdout_has '^int8_ranges.images +6$'
stdout_has '^int8_ranges.nodes +16$'
expect 0 "$cozad" score -m "$tmp/a.cozad" "$all" --json --threads 1
scores >"$tmp/fp32"
[ "$(wc -l <"$tmp/fp32")" = 7 ] || fail "not 7 scores"
for p in fp32 fp32-winograd bf16 int8; do
    expect 0 "$cozad" score -m "$tmp/a.cozad" "$all" --json --threads 1 --precision $p
    stdout_has '"from_cache":'
    scores >"$tmp/$p.scores"
done
cmp "$tmp/fp32" "$tmp/fp32.scores" || fail "the model's own precision is not fp32"
close "$tmp/fp32" "$tmp/fp32-winograd.scores" 0.01
close "$tmp/fp32" "$tmp/bf16.scores" 0.1 differ
close "$tmp/fp32" "$tmp/int8.scores" 1.0 differ
# the store keeps them apart, and gives back the same bits
for p in bf16 int8; do
    expect 0 "$cozad" score -m "$tmp/a.cozad" "$all" --json --threads 1 --precision $p
    stdout_has '"from_cache":true'
    scores | cmp - "$tmp/$p.scores" || fail "features in $p from the store give other scores"
    expect 0 "$cozad" score -m "$tmp/a.cozad" "$all" --json --threads 1 --precision $p --no-cache
    scores | cmp - "$tmp/$p.scores" || fail "the store changes scores in $p"
done

# trained in each, a model is scored in what it was trained in
for p in fp32-winograd bf16 int8 auto; do
    expect 0 train_small "$tmp/$p.cozad" --precision $p
    expect 0 "$cozad" info --json "$tmp/$p.cozad"
    if [ $p = auto ]; then
        expect 0 "$cozad" info "$tmp/$p.cozad"
        stdout_has '^precision +(fp32|fp32-winograd|bf16|int8)$'
    else
        stdout_has "\"precision\":\"$p\""
    fi
    expect 0 "$cozad" score -m "$tmp/$p.cozad" "$good" --json --threads 1
    scores >"$tmp/own"
    [ $p = auto ] && continue
    expect 0 "$cozad" score -m "$tmp/$p.cozad" "$good" --json --threads 1 --precision $p
    scores | cmp - "$tmp/own" || fail "a model trained in $p is scored in another precision"
done
expect 0 train_small "$tmp/auto2.cozad" --precision auto
cmp "$tmp/auto.cozad" "$tmp/auto2.cozad" || fail "same seed, different models in auto"
stderr_has 'precision: auto means'

# what cannot be
expect 2 train_small "$tmp/x.cozad" --precision fp16
stderr_has 'fp16'
expect 2 "$cozad" score -m "$tmp/a.cozad" "$good" --precision model
expect 2 train_small "$tmp/x.cozad" --precision int8 --quantise 0
one_line 'ranges'
[ ! -e "$tmp/x.cozad" ] || fail "a model all the same"
expect 0 train_small "$tmp/bare.cozad" --quantise 0
expect 0 "$cozad" info "$tmp/bare.cozad"
stdout_has '^int8_ranges +no$'
expect 2 "$cozad" score -m "$tmp/bare.cozad" "$good" --precision int8
one_line 'train it with --quantise N, or .*cozad calibrate'
expect 0 "$cozad" score -m "$tmp/bare.cozad" "$good" --precision auto

# a photo that cannot be read counts once, however often it is looked at
cp -r "$scenes/cloth/train/good" "$tmp/mixed"
printf 'no picture' >"$tmp/mixed/000.png"
for p in fp32 int8; do
    expect 3 "$cozad" train --normal "$tmp/mixed" "${small[@]}" --epochs 1 -o "$tmp/mixed.cozad" --precision $p --json
    stdout_has '"failed":1,'
    stdout_has '"images":5,'
done

# a threshold belongs to its precision
expect 0 "$cozad" calibrate -m "$tmp/a.cozad" --normal "$good" -o "$tmp/cal.cozad" --threads 1
expect 0 "$cozad" score -m "$tmp/cal.cozad" "$good" --threads 1
stdout_has 'normal'
expect 2 "$cozad" score -m "$tmp/cal.cozad" "$good" --precision bf16
one_line 'calibrated in fp32 and says nothing in bf16: calibrate again with --precision bf16.*--no-decision'
expect 0 "$cozad" score -m "$tmp/cal.cozad" "$good" --precision bf16 --no-decision
expect 2 "$cozad" drift -m "$tmp/cal.cozad" "$good" --precision bf16
expect 0 "$cozad" score -m "$tmp/cal.cozad" "$good" --precision auto --json --threads 1
stdout_has '"threshold":-?[0-9]'
expect 0 "$cozad" calibrate -m "$tmp/cal.cozad" --normal "$good" -o "$tmp/cal16.cozad" --precision bf16 --threads 1
expect 0 "$cozad" info "$tmp/cal16.cozad"
stdout_has '^calibration.precision +bf16$'
stdout_has '^precision +fp32$'
expect 0 "$cozad" score -m "$tmp/cal16.cozad" "$all" --json --threads 1
scores | cmp - "$tmp/bf16.scores" || fail "a model calibrated in bf16 is not scored in it"
expect 2 "$cozad" score -m "$tmp/cal16.cozad" "$good" --precision fp32
expect 0 "$cozad" calibrate -m "$tmp/bare.cozad" --normal "$good" -o "$tmp/cal8.cozad" --precision int8 --threads 1
expect 0 "$cozad" score -m "$tmp/cal8.cozad" "$good" --threads 1
expect 0 "$cozad" info "$tmp/cal8.cozad"
stdout_has '^int8_ranges.images +3$'

# eval leaves a threshold of another precision out, or refuses what asks for it
expect 0 "$cozad" eval -m "$tmp/cal.cozad" --data "$scenes" --layout mvtec --resamples 0 --threads 1
if grep -q 'no threshold' "$tmp/err"; then fail "eval in the model's own precision has no threshold"; fi
expect 0 "$cozad" eval -m "$tmp/cal.cozad" --data "$scenes" --layout mvtec --resamples 0 --threads 1 --precision bf16
stderr_has 'no threshold: .*calibrated in fp32 and says nothing in bf16'
expect 2 "$cozad" eval -m "$tmp/cal.cozad" --data "$scenes" --layout mvtec --resamples 0 --precision bf16 \
    --threshold calibrated
stderr_has 'calibrated in fp32'

# adapt and features
expect 0 "$cozad" adapt -m "$tmp/a.cozad" --normal "$good" -o "$tmp/adapted.cozad" --precision bf16 --steps 1 --threads 1
expect 0 "$cozad" info "$tmp/adapted.cozad"
stdout_has '^precision +bf16$'
stdout_has '^int8_ranges.nodes +16$'
for p in fp32 bf16; do
    expect 0 "$cozad" features "$good/000.png" --backbone random:resnet18:1 --image-size 64 --tap layer3 --precision $p \
        -o "$tmp/$p.safetensors" --threads 1
done
! cmp -s "$tmp/fp32.safetensors" "$tmp/bf16.safetensors" || fail "features in bf16 are those in fp32"
expect 2 "$cozad" features "$good/000.png" --backbone random:resnet18:1 --precision int8 -o "$tmp/x.safetensors"
