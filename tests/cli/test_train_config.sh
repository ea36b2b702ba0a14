#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# cozad train: --config, --print-config, --literal, who wins over whom, what is refused, the training log, checkpoints.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/make_small.sh"

show() { expect 0 "$cozad" train --print-config "$@"; }
# key NAME VALUE: the printed configuration says so (VALUE as in JSON).
key() { grep -qFx -- "  \"$1\": $2," "$tmp/out" || grep -qFx -- "  \"$1\": $2" "$tmp/out" || fail "\"$1\" is not $2"; }
no_key() { if grep -qF -- "  \"$1\":" "$tmp/out"; then fail "\"$1\" is printed"; fi; }
# refused FILE-TEXT PATTERN: a configuration file that is one line of error and exit code 2.
refused() {
    printf '%s' "$1" >"$tmp/bad.json"
    expect 2 "$cozad" train --config "$tmp/bad.json" --print-config
    one_line "$tmp/bad\\.json: $2"
    [ ! -s "$tmp/out" ] || fail "something was printed all the same"
}

# --- defaults, and the way there and back
show
for name in epochs:40 scl:'"on"' hard-cl:false confidence-unit:'"patch"' weight-anchor:'"median"' weight-floor:0.001 \
    weight-window:65536 kappa:1.5 gamma:1 lambda0:5e-06 uncertainty-pairs:10 uncertainty-scale:'"relative"' det-max:100 \
    decay:'"matrices"' loss-reduction:'"mean"' contrast:'"on"' lambda-cont:1 knn:5 temperature:0.1 contrast-chunk:256 \
    contrast-literal:false contrast-in:'"both"' meta:'"on"' meta-gradient:'"exact"' tasks:4 inner-lr:0.003 \
    query-share:0.3 balance:'"on"' noise-std:0.015 margin-negative:-0.5 method:'"simplenet"' checkpoint-every:50; do
    key "${name%%:*}" "${name#*:}"
done
for name in config print-config literal output log resume json source normal; do no_key "$name"; done
show --method cozad --scl off --data-uncertainty off --model-uncertainty off --hard-cl --confidence-unit image \
    --weight-anchor min --weight-both --weight-floor 0.01 --weight-window 77 --kappa 2.25 --gamma 0.1 --lambda0 3e-7 \
    --uncertainty-pairs 7 --uncertainty-scale raw --det-max 50 --decay all --loss-reduction sum --contrast off \
    --lambda-cont 0.3333333333333333 --knn 0 --temperature 0.07 --contrast-chunk 64 --contrast-literal \
    --contrast-in outer --meta off --meta-gradient reptile --tasks 3 --inner-steps 5 --inner-lr 0.1 --query-share 0.5 \
    --balance off --epochs 3 --noise-std 0.02 --lr-adaptor 1e-5 --seed 18446744073709551615 --simplenet-compat \
    --source 'a\:b:mvtec:x,y' --source '/c d"e:folder' --roi 1,2,3,4 --no-cache
cp "$tmp/out" "$tmp/full.json"
key lambda-cont 0.3333333333333333
key seed '"18446744073709551615"'
key source '["a\\:b:mvtec:x,y", "/c d\"e:folder"]'
show --config "$tmp/full.json"
cmp "$tmp/out" "$tmp/full.json" || fail "--config does not read back what --print-config prints"
/usr/bin/env python3 -c 'import json, sys; json.load(open(sys.argv[1]))' "$tmp/full.json" 2>"$tmp/err" ||
    ! command -v python3 >/dev/null || fail "not JSON"

# --- the command line wins over the file, the file over --literal, whatever the order
printf '{"epochs": 5, "scl": "off", "hard-cl": true, "kappa": 3, "decay": "matrices", "source": ["x:folder"], "log": "l"}' \
    >"$tmp/base.json"
show --epochs 6 --config "$tmp/base.json" --hard-cl=off
key epochs 6
key hard-cl false
key scl '"off"'
key kappa 3
key source '["x:folder"]'
show --config "$tmp/base.json" --epochs 6 --scl on --literal
key epochs 6
key scl '"on"'
key decay '"matrices"' # the file's
key weight-anchor '"none"'
show --config "$tmp/base.json" --normal y
key normal '"y"'
no_key source # photos named on the command line take the place of the file's
show --config "$tmp/base.json" --source z:mvtec
key source '["z:mvtec"]'
printf '{"literal": true, "balance": false, "meta": true, "gamma": 2, "source": "one:csv"}' >"$tmp/loose.json"
show --config "$tmp/loose.json"
key weight-both true
key balance '"off"'
key meta '"on"'
key source '["one:csv"]'

# --- --literal is every decision of docs/math.md, and no more
show
cp "$tmp/out" "$tmp/plain.json"
show --literal
cat >"$tmp/wanted" <<'END'
  "confidence-unit": "image",
  "contrast-literal": true,
  "decay": "all",
  "loss-reduction": "sum",
  "margin-negative": 0.5,
  "uncertainty-scale": "raw",
  "weight-anchor": "none",
  "weight-both": true,
END
{ diff "$tmp/plain.json" "$tmp/out" || true; } | sed -n 's/^> //p' | sort | cmp - "$tmp/wanted" || fail "--literal sets something else"
show --literal --margin-negative -0.25 --weight-both=off --contrast-literal=off
key margin-negative -0.25
key weight-both false
key contrast-literal false

# --- what is wrong with a file is one line that names file and key
refused '{"epoch": 3}' '"epoch" is not a known key'
refused '{"epochs": "3"}' '"epochs" is not a whole number'
refused '{"epochs": 3.5}' '"epochs" is not a whole number'
refused '{"epochs": -3}' '"epochs" is not a whole number'
refused '{"kappa": "1.5"}' '"kappa" is not a number'
refused '{"scl": 1}' '"scl" is not one of on.off'
refused '{"scl": "yes"}' '"scl" is not one of on.off'
refused '{"hard-cl": "on"}' '"hard-cl" is not true or false'
refused '{"decay": "none"}' '"decay" is not one of matrices.all'
refused '{"backbone": 18}' '"backbone" is not a string'
refused '{"source": [1]}' '"source" is not a string or an array'
refused '{"seed": null}' '"seed" is not a whole number'
refused '{"epochs": 3, "epochs": 4}' 'line 1: duplicate object key.*epochs'
refused '{"config": "x"}' '"config" belongs on the command line'
refused '[1]' 'is not a JSON object'
refused '{"epochs": 3' 'line 1: '
refused '' 'line '
printf '{"source": ["x"]}' >"$tmp/bad.json"
expect 2 "$cozad" train --config "$tmp/bad.json" --print-config
one_line '--source "x": is not ROOT:LAYOUT'
expect 2 "$cozad" train --config "$tmp/none.json" --print-config
one_line 'none\.json: No such file'
# a value that the command line replaces is checked all the same
printf '{"epochs": "many"}' >"$tmp/bad.json"
expect 2 "$cozad" train --config "$tmp/bad.json" --epochs 3 --print-config
one_line '"epochs"'
expect 2 "$cozad" train --scl maybe --print-config
one_line '"maybe" is not one of on\|off'
expect 2 "$cozad" train --hard-cl=maybe --print-config
one_line 'takes no value but on or off'
expect 2 "$cozad" train --normal x --source y:folder --print-config
one_line 'cannot be mixed'
show --kappa 2
grep -q 'kappa has no effect without --method cozad' "$tmp/err" || fail "no word about an option without effect"
expect 0 "$cozad" train --help
stdout_has '^  Meta-learning \(cozad'
if grep -qE '^.{110}' "$tmp/out"; then fail "--help has long lines"; fi

# --- training with a file, the log, the result
make_scenes
good=$scenes/cloth/train/good
cat >"$tmp/train.json" <<END
{"normal": "$good", "backbone": "random:resnet18:1", "image-size": "64", "feature-width": 96, "hidden-width": 64,
 "patches-per-image": 16, "threads": 1, "epochs": 2, "seed": 1, "log": "$tmp/log.jsonl"}
END
expect 0 "$cozad" train --config "$tmp/train.json" -o "$tmp/a.cozad" --json
stdout_has '"images":6.*"method":"simplenet","categories":1,"steps":[0-9]+,"last_loss":[0-9]'
expect 0 train_small "$tmp/b.cozad"
cmp "$tmp/a.cozad" "$tmp/b.cozad" || fail "a configuration file makes another model than the command line"
[ ! -e "$tmp/a.cozad.checkpoint" ] || fail "a checkpoint was left behind"
log=$tmp/log.jsonl
head -n 1 "$log" | grep -qE '^\{"event":"start","time":"20[0-9T:-]+Z","version":"[0-9.]+","backbone":"random:resnet18:1","resumed":false,"config":\{.*"epochs":2,.*\},"categories":\[\{"name":"[^"]+","images":6\}\]\}$' || fail "the log's start"
tail -n 1 "$log" | grep -qE '^\{"event":"end","time":"[^"]+","status":"ok","seconds":[0-9.]+,"model":"[^"]+/a.cozad"\}$' || fail "the log's end"
phases='^\{"event":"(features|precision|statistics|comparing|confidence)","done":[0-9]+,"total":[0-9]+\}$'
sed '1d;$d' "$log" | grep -vE "$phases" | grep -vE '^\{"event":"step","epoch":[0-9]+,"step":[0-9]+,"steps":[0-9]+,"loss":[^,]+,.*"seconds_left":[^,]+\}$' && fail "a step of the log"
expect 0 "$cozad" train --config "$tmp/train.json" -o "$tmp/a.cozad" # a new training replaces it
[ "$(grep -c '"start"' "$log")" = 1 ] || fail "a new training appended to the log of another"
expect 2 "$cozad" train --config "$tmp/train.json" -o "$tmp/x" --log "$tmp/x"
expect 5 "$cozad" train --config "$tmp/train.json" -o "$tmp/x" --log "$tmp/no/such/log"
[ ! -e "$tmp/x" ] || fail "a model without its log"
# a full disk behind the log is told of once and ends nothing
expect 0 "$cozad" train --config "$tmp/train.json" -o "$tmp/c.cozad" --log /dev/full --epochs 10
[ "$(grep -c '/dev/full: cannot be written' "$tmp/err")" = 1 ] || fail "a full disk is told of once"
expect 0 "$cozad" train --config "$tmp/train.json" -o "$tmp/d.cozad" --epochs 10
cmp "$tmp/c.cozad" "$tmp/d.cozad" || fail "the log changes the model"

# --- --resume without a checkpoint is a new training, and says so
expect 0 "$cozad" train --config "$tmp/train.json" -o "$tmp/e.cozad" --resume
stderr_has 'e\.cozad\.checkpoint: is not there'
cmp "$tmp/a.cozad" "$tmp/e.cozad" || fail "--resume without a checkpoint makes another model"
echo junk >"$tmp/f.cozad.checkpoint"
expect 4 "$cozad" train --config "$tmp/train.json" -o "$tmp/f.cozad" --resume
stderr_has 'f\.cozad\.checkpoint'
echo PASS
