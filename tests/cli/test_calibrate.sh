#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# cozad calibrate, what score says with a calibrated model (decisions, p-values, regions, gate, batches), and cozad drift.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/make_small.sh"
make_scenes
"$cozad" synth "$tmp/held" --scenes cloth --normal 32 --test-good 2 --test-bad 2 --size 96 --seed 99 >/dev/null
held=$tmp/held/cloth/train/good
all=$scenes/cloth/test
bad=$scenes/cloth/test
cal() { "$cozad" calibrate -m "$tmp/a.cozad" --normal "$held" --threads 1 "$@"; }
sc() { "$cozad" score --threads 1 "$@"; }
expect 0 train_small "$tmp/a.cozad" --epochs 10
cp "$tmp/a.cozad" "$tmp/kept"

# the promise: 32 photos are enough for 10 %, not for 1 %
expect 0 cal --fpr 0.1 -o "$tmp/c.cozad"
stdout_has 'threshold -?[0-9.e-]+: at most 10 % false alarms with 95 % confidence, from 32 normal photos'
stdout_has 'pixel threshold -?[0-9.e-]+: 99\.9 % of the normal photos'
[ ! -s "$tmp/err" ] || fail "a warning without need"
cmp "$tmp/a.cozad" "$tmp/kept" || fail "calibrate changed its input model"
cp "$tmp/c.cozad" "$tmp/first"
expect 0 cal --fpr 0.1 --no-cache -o "$tmp/c.cozad"
cmp "$tmp/c.cozad" "$tmp/first" || fail "not repeatable, or the feature store changes it"
expect 0 cal -o "$tmp/few.cozad"
one_line 'at most 1 % with 95 % confidence needs 299 images, you gave 32: the best I can promise is 8\.9 %'
stdout_has 'at most 8\.9[0-9] % false alarms'
expect 2 cal --strict -o "$tmp/no.cozad"
one_line 'needs 299 images, you gave 32: the best I can promise is 8\.9 %'
[ ! -e "$tmp/no.cozad" ] || fail "--strict wrote a model"
expect 0 cal --fpr 0.1 --json -o "$tmp/j.cozad"
stdout_has '"rule":"fpr","threshold":-?[0-9.]+,.*"images":32,.*"promise":0\.0[89].*"order":32,"images_needed":29'
expect 0 "$cozad" info "$tmp/c.cozad"
stdout_has '^calibration\.threshold +-?[0-9.]+'
stdout_has '^calibration\.rule +fpr$'
stdout_has '^calibration\.images +32$'
stdout_has '^calibration\.pixels_sha256 +32 entries$'

# the other rules
expect 0 cal --rule iqr -o "$tmp/iqr.cozad"
stdout_has 'interquartile range of 32 normal photos'
expect 0 cal --rule f1 --abnormal "$bad" -o "$tmp/f1.cozad"
stdout_has 'F1 [01]\.[0-9]+ on these 32 normal and 7 abnormal photos'
stderr_has 'chosen with labels'
expect 0 cal --rule cost --abnormal "$bad" --cost-miss 20 --cost-alarm 0.5 -o "$tmp/cost.cozad"
stdout_has 'cost [0-9.e+-]+ on these'
expect 2 cal --rule f1 -o "$tmp/no.cozad"
one_line 'needs --abnormal'
expect 2 cal --abnormal "$bad" -o "$tmp/no.cozad"
one_line 'normal photos alone'
expect 2 cal --rule f1 --abnormal "$held" -o "$tmp/no.cozad"
one_line 'as normal and as abnormal'

# photos that were trained on
expect 3 "$cozad" calibrate -m "$tmp/a.cozad" --normal "$scenes/cloth/train/good" -o "$tmp/no.cozad"
stderr_has '6 of 6 photos were trained on.*000\.png.* and 1 more'
stderr_has '005\.png: was trained on'
mkdir "$tmp/mixed"
cp "$held"/00?.png "$tmp/mixed"
cp "$scenes/cloth/train/good/002.png" "$tmp/mixed/leak.png"
expect 3 "$cozad" calibrate -m "$tmp/a.cozad" --normal "$tmp/mixed" -o "$tmp/no.cozad"
stderr_has '1 of 11 photos were trained on.*mixed/leak\.png'
[ ! -e "$tmp/no.cozad" ] || fail "a refused calibration wrote a model"
expect 0 "$cozad" calibrate -m "$tmp/a.cozad" --normal "$tmp/mixed" --allow-training-photos -o "$tmp/leak.cozad"
stderr_has '1 of the photos were trained on: nothing is promised'
stdout_has 'no promise holds'
expect 0 "$cozad" info "$tmp/leak.cozad"
stdout_has '^calibration\.trained_on +1$'

# decisions
expect 0 sc -m "$tmp/c.cozad" "$held/003.png"
stdout_has '^ +-?[0-9.]+  normal     p 0?\.?[0-9.]+ +.*003\.png$'
expect 0 sc -m "$tmp/c.cozad" "$all" --json --mm-per-pixel 0.5
stdout_has '"p_value":[01]?\.?[0-9.]+,"decision":"(normal|anomalous)","threshold":-?[0-9.]+,"regions":\['
if grep -q '"regions":\[{' "$tmp/out"; then
    stdout_has '"regions":\[\{"x":[0-9]+,"y":[0-9]+,"width":[0-9]+,"height":[0-9]+,"area":[0-9]+,"peak":.*"mean":.*"area_mm2":[0-9.]+'
fi
cp "$tmp/out" "$tmp/today.jsonl"
expect 0 sc -m "$tmp/c.cozad" "$all" --csv
stdout_has '^path,score,width,height,error,p_value,decision,threshold,regions,out_of_range$'
awk -F, 'NR > 1 && (NF != 10 || $6 == "" || ($7 != "normal" && $7 != "anomalous") || $8 == "") { exit 1 }' "$tmp/out" ||
    fail "a line of the CSV lacks something"
expect 0 sc -m "$tmp/a.cozad" "$all" --csv
awk -F, 'NR > 1 && (NF != 10 || $6 $7 $8 $9 != "") { exit 1 }' "$tmp/out" || fail "decisions without calibration"
expect 0 sc -m "$tmp/a.cozad" "$all" --json
! grep -q 'p_value' "$tmp/out" || fail "a p-value without calibration"

# regions: at a pixel threshold that most pixels pass there is one, whose area is told in mm2
expect 0 cal --fpr 0.1 --pixel-quantile 0.01 -o "$tmp/low.cozad"
expect 0 sc -m "$tmp/low.cozad" "$held/001.png" --regions --mm-per-pixel 0.5
stdout_has '^ +[0-9]+x[0-9]+ at [0-9]+,[0-9]+: [0-9]+ pixels?, [0-9.e+]+ mm2, peak -?[0-9.]+, mean -?[0-9.]+$'
expect 0 sc -m "$tmp/low.cozad" "$held/001.png" --regions --min-area 99999
! grep -q ' at ' "$tmp/out" || fail "--min-area is ignored"

# the gate: the model's own threshold, or another; an unreadable photo is never 0
expect 0 sc -m "$tmp/c.cozad" "$held" --gate
expect 0 sc -m "$tmp/c.cozad" --gate "$held/001.png"
expect 1 sc -m "$tmp/c.cozad" "$held" --gate -1000
stdout_has 'anomalous'
expect 1 sc -m "$tmp/c.cozad" "$held" --gate=-1000
expect 0 sc -m "$tmp/c.cozad" "$held" --gate 1000
printf 'no picture' >"$tmp/bad.png"
expect 3 sc -m "$tmp/c.cozad" --gate "$held/001.png" "$tmp/bad.png"
expect 1 sc -m "$tmp/c.cozad" --gate=-1000 "$held/001.png" "$tmp/bad.png"
expect 3 sc -m "$tmp/c.cozad" "$tmp/bad.png" --gate
expect 2 sc -m "$tmp/a.cozad" "$held/001.png" --gate
one_line 'needs a calibrated model'
expect 2 sc -m "$tmp/a.cozad" "$held/001.png" --regions
one_line 'needs a calibrated model'
expect 2 sc -m "$tmp/c.cozad" "$held/001.png" --gate=high
one_line '"high" is not a number'

# a model whose threshold every photo exceeds: calibrated on dark photos, it calls all others anomalous
"$cozad" synth "$tmp/metal" --scenes metal --normal 30 --test-good 2 --test-bad 2 --size 96 --seed 3 >/dev/null
for photos in "$held" "$tmp/metal/metal/train/good"; do
    expect 0 "$cozad" calibrate -m "$tmp/a.cozad" --normal "$photos" --fpr 0.1 --threads 1 --json -o "$tmp/x.cozad"
    sed 's/.*"threshold":\([-0-9.e]*\),.*/\1/' "$tmp/out" >>"$tmp/thresholds"
    cp "$tmp/x.cozad" "$tmp/x$(wc -l <"$tmp/thresholds").cozad"
done
if [ "$(sort -g "$tmp/thresholds" | head -n 1)" = "$(head -n 1 "$tmp/thresholds")" ]; then
    low=$tmp/x1.cozad other=$tmp/metal/metal/train/good
else
    low=$tmp/x2.cozad other=$held
fi
expect 1 sc -m "$low" "$other" --gate
stdout_has 'anomalous +p 0\.03'

# a batch at a false-discovery rate
expect 0 sc -m "$low" "$other" --fdr 0.1 --json
[ "$(grep -c '"fdr":0.1' "$tmp/out")" -ge 30 ] || fail "lines are missing"
stderr_has 'photos are anomalous'
expect 1 sc -m "$low" "$other" --fdr 0.1 --gate
expect 0 sc -m "$tmp/c.cozad" "$held" --fdr 0.001
stderr_has 'no photo can be called anomalous'
! grep -q anomalous "$tmp/out" || fail "anomalous against the odds"
expect 2 sc -m "$tmp/a.cozad" "$held" --fdr 0.1
one_line 'needs a calibrated model'
expect 2 sc -m "$tmp/c.cozad" "$held" --fdr 0.1 --gate 3
one_line 'exclude each other'
expect 2 sc -m "$tmp/c.cozad" "$held" --fdr 1.5

# a threshold belongs to its region, fit and mask
for other_way in '--roi 8,8,64,64' '--fit letterbox' "--ignore-mask $held/000.png"; do
    # shellcheck disable=SC2086  # an option and its value
    expect 2 sc -m "$tmp/c.cozad" "$held/001.png" $other_way
    one_line 'was calibrated with another'
    # shellcheck disable=SC2086
    expect 0 sc -m "$tmp/c.cozad" "$held/001.png" $other_way --no-decision --json
    ! grep -q 'decision' "$tmp/out" || fail "a decision after all"
done
expect 2 sc -m "$tmp/c.cozad" "$held/001.png" --no-decision --gate
one_line 'no-decision excludes'
expect 0 sc -m "$tmp/c.cozad" "$all" --report "$tmp/page.html"
grep -q '</html>' "$tmp/page.html" || fail "no page"

# adapting drops the calibration
expect 0 "$cozad" adapt -m "$tmp/c.cozad" --normal "$held" -k 3 --threads 1 -o "$tmp/adapted.cozad"
expect 0 "$cozad" info "$tmp/adapted.cozad"
! grep -q '^calibration' "$tmp/out" || fail "an adapted model kept its calibration"
expect 3 "$cozad" calibrate -m "$tmp/adapted.cozad" --normal "$held" -o "$tmp/no.cozad"
stderr_has '3 of 32 photos were trained on'

# drift
sc -m "$tmp/c.cozad" "$held" --json >"$tmp/same.jsonl"
expect 0 "$cozad" drift -m "$tmp/c.cozad" "$tmp/same.jsonl"
stdout_has '^no drift seen: D = 0\.0000, p = 1 '
sed 's/"score":/"score":9/' "$tmp/same.jsonl" | sed 's/"score":9-/"score":9/' >"$tmp/moved.jsonl"
expect 1 "$cozad" drift -m "$tmp/c.cozad" "$tmp/moved.jsonl"
stdout_has '^drift: D = 1\.0000, p = [0-9.]+e-1[0-9]'
stdout_has '100 % score above the threshold'
expect 1 "$cozad" drift -m "$tmp/c.cozad" "$tmp/moved.jsonl" --json
stdout_has '"drift":true,"statistic":1.*"images":32,"calibration_images":32'
expect 0 "$cozad" drift -m "$tmp/c.cozad" "$held" --threads 1
expect 0 "$cozad" drift -m "$tmp/c.cozad" "$all" --threads 1 --level 1e-9
stderr_has 'only a large drift shows'
expect 0 bash -c "'$cozad' drift -m '$tmp/c.cozad' - <'$tmp/same.jsonl'"
expect 3 "$cozad" drift -m "$tmp/c.cozad" "$tmp/same.jsonl" "$tmp/bad.png" --threads 1
echo '{"path":"x","error":"damaged"}' >>"$tmp/same.jsonl"
expect 3 "$cozad" drift -m "$tmp/c.cozad" "$tmp/same.jsonl"
stdout_has '^no drift seen'
echo 'score 3' >>"$tmp/same.jsonl"
expect 3 "$cozad" drift -m "$tmp/c.cozad" "$tmp/same.jsonl"
one_line 'same\.jsonl:34: not a line of JSON'
echo '{"value":3}' >"$tmp/odd.jsonl"
expect 3 "$cozad" drift -m "$tmp/c.cozad" "$tmp/odd.jsonl"
one_line 'odd\.jsonl:1: has no "score"'
expect 3 "$cozad" drift -m "$tmp/c.cozad" "$tmp/none.jsonl"
one_line 'none\.jsonl'
: >"$tmp/empty.jsonl"
expect 3 "$cozad" drift -m "$tmp/c.cozad" "$tmp/empty.jsonl"
one_line 'no scores'
expect 2 "$cozad" drift -m "$tmp/a.cozad" "$tmp/same.jsonl" --level 2
expect 2 "$cozad" drift -m "$tmp/a.cozad" "$tmp/moved.jsonl"
one_line 'is not calibrated'
expect 2 "$cozad" drift -m "$tmp/c.cozad"

# refusals
expect 2 cal -o "$tmp/a.cozad"
one_line 'is the model to calibrate'
expect 2 "$cozad" calibrate -m "$tmp/a.cozad" -o "$tmp/no.cozad"
one_line 'needs -m MODEL, --normal DIR and -o NEW'
expect 2 cal --fpr 0 -o "$tmp/no.cozad"
expect 2 cal --fpr 1.5 -o "$tmp/no.cozad"
expect 2 cal --confidence 1 -o "$tmp/no.cozad"
expect 2 cal --pixel-quantile 0 -o "$tmp/no.cozad"
expect 2 cal --rule cost --abnormal "$bad" --cost-miss 0 -o "$tmp/no.cozad"
expect 2 cal --rule best -o "$tmp/no.cozad"
mkdir "$tmp/empty"
expect 3 "$cozad" calibrate -m "$tmp/a.cozad" --normal "$tmp/empty" -o "$tmp/no.cozad"
one_line 'no images'
expect 4 "$cozad" calibrate -m "$held/000.png" --normal "$held" -o "$tmp/no.cozad"
expect 5 cal -o "$tmp/nowhere/no.cozad"
[ ! -e "$tmp/no.cozad" ] || fail "a refused calibration wrote a model"
cp "$tmp/bad.png" "$tmp/mixed/bad.png"
rm "$tmp/mixed/leak.png"
expect 3 "$cozad" calibrate -m "$tmp/a.cozad" --normal "$tmp/mixed" --fpr 0.3 -o "$tmp/some.cozad"
stderr_has 'bad\.png'
stdout_has 'from 10 normal photos'
echo PASS
