#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# cozad train --method cozad for products never seen: relational descriptors against drawn and labelled defects where there are several
# products, what says so, and the range of scores beyond which a score says little.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/make_small.sh"
"$cozad" synth "$scenes" --scenes cloth,metal,caps --normal 12 --test-good 3 --test-bad 6 --size 96 --seed 5 >/dev/null
common=(--backbone random:resnet18:1 --image-size 96 --feature-width 96 --patches-per-image 16 --threads 1 --epochs 2)
sources=(--method cozad --source "$scenes/cloth:mvtec" --source "$scenes/metal:mvtec")
train() { # MODEL [options]
    local model=$1
    shift
    "$cozad" train "${common[@]}" "$@" -o "$model"
}
score() { "$cozad" score --threads 1 "$@"; }
info() { expect 0 "$cozad" info "$1"; }

# --- several products: by itself, and it says so; the same again
expect 0 train "$tmp/zs.cozad" "${sources[@]}"
stderr_has 'cozad: 2 products: a patch is told by how odd it is for its photo, against drawn and labelled defects'
info "$tmp/zs.cozad"
stdout_has '^head\.descriptor +relational'
stdout_has '^head\.feature_width +54'
stdout_has '^head\.noise_twins +no'
stdout_has '^training\.negatives\.noise +no'
stdout_has '^training\.negatives\.copies +1'
stdout_has '^training\.negatives\.synthetic +[1-9]'
stdout_has '^training\.negatives\.labelled +([6-9]|1[0-2])$'
stdout_has '^head\.hidden_width +256'
stdout_has '^head\.top_k +20'
expect 0 train "$tmp/again.cozad" "${sources[@]}" --descriptor relational --negatives labelled,synthetic --hidden-width 256 \
    --top-k 20 --lr-adaptor 1e-3 --lr-discriminator 1e-3
if grep -q 'how odd it is' "$tmp/err"; then fail "told of what was asked for"; fi
cmp "$tmp/zs.cozad" "$tmp/again.cozad" || fail "what is chosen by itself is not what it says"
expect 0 train "$tmp/own.cozad" "${sources[@]}" --top-k 3
info "$tmp/own.cozad"
stdout_has '^head\.top_k +3'
stdout_has '^head\.hidden_width +256'
# a file of all defaults is as if nothing was said
expect 0 "$cozad" train --method cozad --print-config
cp "$tmp/out" "$tmp/base.json"
expect 0 train "$tmp/file.cozad" "${sources[@]}" --config "$tmp/base.json"
cmp "$tmp/zs.cozad" "$tmp/file.cozad" || fail "a file of defaults is something else"

# --- not where it is not wanted, nor for one product, nor by the other methods
patch() { # WORDS… of a model that is told by patches, against noise
    if grep -q 'how odd it is' "$tmp/err"; then fail "relational: $*"; fi
    info "$tmp/p.cozad"
    stdout_has '^head\.descriptor +patch'
    stdout_has '^head\.noise_twins +yes'
    stdout_has '^head\.hidden_width +1024'
    if grep -q '^training\.negatives' "$tmp/out"; then fail "negatives: $*"; fi
}
expect 0 train "$tmp/p.cozad" "${sources[@]}" --descriptor patch
patch --descriptor patch
expect 0 train "$tmp/p.cozad" "${sources[@]:0:4}"
patch one product
expect 0 train "$tmp/p.cozad" "${sources[@]}" --method comet
patch comet
# each by itself
expect 0 train "$tmp/one.cozad" --normal "$scenes/cloth/train/good" --negatives noise,synthetic --synthetic 2
info "$tmp/one.cozad"
stdout_has '^head\.descriptor +patch'
stdout_has '^training\.negatives\.noise +yes'
stdout_has '^training\.negatives\.copies +2'
stdout_has '^training\.negatives\.labelled +0'
expect 0 train "$tmp/flow.cozad" "${sources[@]}" --method comet --detector flow --descriptor relational
info "$tmp/flow.cozad"
stdout_has '^head\.descriptor +relational'
expect 0 train "$tmp/p.cozad" --normal "$scenes/cloth/train/good" --synthetic 3
stderr_has '--synthetic has no effect without --negatives synthetic'
expect 0 "$cozad" train "${sources[@]}" --negatives noise,labelled --print-config
stdout_has '"descriptor": "auto"'
stdout_has '"negatives": "noise,labelled"'
cp "$tmp/out" "$tmp/config.json"
expect 0 "$cozad" train --config "$tmp/config.json" --print-config
cmp "$tmp/out" "$tmp/config.json" || fail "the configuration does not come back"

# --- what is wrong is named
wrong() { # PATTERN [options]
    local pattern=$1
    shift
    expect 2 train "$tmp/no.cozad" "${sources[@]}" "$@"
    one_line "$pattern"
    [ ! -e "$tmp/no.cozad" ] || fail "a model in spite of an error"
}
for list in blur noise,blur 'noise,' ',noise' 'noise,,labelled' ''; do
    wrong "--negatives: \"$list\" is not a list of noise, synthetic and labelled" --negatives "$list"
done
wrong '--descriptor: "odd" is not one of auto\|patch\|relational' --descriptor odd
wrong '--synthetic 0: no copies of the photos' --synthetic 0
wrong '65 defective copies of each photo are more than 64' --negatives synthetic --synthetic 65
wrong 'known negatives are for detector "simplenet": "flow"' --method comet --detector flow --negatives synthetic
expect 2 train "$tmp/no.cozad" --normal "$scenes/cloth/train/good" --negatives labelled
one_line '--negatives labelled: the data sets have no photos of defects with masks'
expect 2 "$cozad" train --method knn --normal "$scenes/cloth/train/good" --backbone random:resnet18:1 --descriptor relational -o "$tmp/no.cozad"
one_line 'relational descriptors are for detectors of patches that are trained'
# folders of good photos alone have no masks: drawn ones are left
expect 0 train "$tmp/drawn.cozad" --method cozad --source "$scenes/cloth/train/good:folder" --source "$scenes/metal/train/good:folder"
stderr_has 'against drawn defects'
info "$tmp/drawn.cozad"
stdout_has '^training\.negatives\.labelled +0'

# --- a product never seen, and whether that can be trusted
expect 0 score -m "$tmp/zs.cozad" "$scenes/caps/test" --json
[ "$(grep -c '"out_of_range":\(true\|false\)' "$tmp/out")" = 9 ] || fail "out_of_range is not said of every photo"
expect 0 score -m "$tmp/zs.cozad" "$scenes/cloth/train/good" "$scenes/metal/train/good" --csv
[ "$(head -n 1 "$tmp/out")" = path,score,width,height,error,p_value,decision,threshold,regions,out_of_range ] || fail "header"
# (the ends are such photos' scores, and a score may differ in its last digit)
[ "$(grep -c ',no$' "$tmp/out")" -ge 22 ] || fail "photos that were trained on are out of their own range"
if grep -q 'do not trust' "$tmp/err"; then fail "a note on photos that were trained on"; fi
mkdir "$tmp/noise"
for i in 1 2 3; do
    {
        printf 'P5 96 96 255\n'
        awk -v seed=$i 'BEGIN { srand(seed); for (i = 0; i < 96 * 96; i++) printf "%c", 1 + int(255 * rand()) }'
    } >"$tmp/noise/$i.pgm"
done
expect 0 score -m "$tmp/zs.cozad" "$tmp/noise" --csv
[ "$(grep -c ',yes$' "$tmp/out")" = 3 ] || fail "noise is within the range"
one_line '3 of 3 photos score beyond -?[0-9.]+ to [0-9.]+, where 99 % of the products lie that .*zs\.cozad has learnt from: do not trust'
expect 0 score -m "$tmp/zs.cozad" "$tmp/noise" "$scenes/cloth/train/good" --json
[ "$(grep -c '"out_of_range":true' "$tmp/out")" = 3 ] || fail "noise among others"
if grep -q 'do not trust' "$tmp/err"; then fail "a note on three odd photos of fifteen"; fi
# models without a range: of one product; with decisions of their own; adapted
expect 0 score -m "$tmp/one.cozad" "$tmp/noise" --csv
[ "$(grep -c ',$' "$tmp/out")" = 3 ] || fail "a range of one product"
expect 0 score -m "$tmp/one.cozad" "$tmp/noise" --json
if grep -q out_of_range "$tmp/out"; then fail "a range of one product"; fi
expect 0 "$cozad" calibrate -m "$tmp/zs.cozad" --normal "$scenes/caps/train/good" --fpr 0.3 --threads 1 -o "$tmp/caps.cozad"
expect 0 score -m "$tmp/caps.cozad" "$scenes/caps/test" --json
stdout_has '"p_value"'
if grep -q out_of_range "$tmp/out"; then fail "a calibrated model speaks of its sources"; fi
expect 0 "$cozad" adapt -m "$tmp/zs.cozad" --normal "$scenes/caps/train/good" --steps 2 --threads 1 -o "$tmp/adapted.cozad"
expect 0 score -m "$tmp/adapted.cozad" "$scenes/caps/test" --json
if grep -q out_of_range "$tmp/out"; then fail "an adapted model has the range of before"; fi

# --- figures on labelled photos that were learnt from are none
expect 0 "$cozad" eval -m "$tmp/zs.cozad" --data "$scenes/cloth" --json --resamples 0 --threads 1
stdout_has '"trained_on":[1-6],'
stderr_has 'the model learnt from [1-6] of the 9 test photos'
expect 0 "$cozad" eval -m "$tmp/zs.cozad" --data "$scenes/caps" --json --resamples 0 --threads 1
stdout_has '"trained_on":0,'
expect 0 "$cozad" eval -m "$tmp/drawn.cozad" --data "$scenes/cloth" --json --resamples 0 --threads 1
stdout_has '"trained_on":0,'
echo PASS
