#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# cozad train --method knn: a bank of patches; what is defective is far from it. Few photos, turned photos, and every verb that
# reads a model.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/make_small.sh"
"$cozad" synth "$scenes" --scenes caps --normal 8 --test-good 4 --test-bad 6 --size 128 --seed 5 >/dev/null
good=$scenes/caps/train/good test=$scenes/caps/test
common=(--method knn --normal "$good" --backbone random:resnet18:1 --image-size 128 --feature-width 96 --threads 1 --no-cache)
train() { # MODEL [options]
    local model=$1
    shift
    "$cozad" train "${common[@]}" -o "$model" "$@"
}

# --- it trains, repeats, and scores what is not like the photos above what is
expect 0 train "$tmp/a.cozad" --json
stdout_has '"images":8,.*"method":"knn",.*"steps":0,"last_loss":null'
expect 0 train "$tmp/again.cozad"
cmp "$tmp/a.cozad" "$tmp/again.cozad" || fail "same seed, different models"
expect 0 "$cozad" score -m "$tmp/a.cozad" "$test" "$good" --json --no-cache --threads 1 --maps "$tmp/maps" --overlay
[ "$(wc -l <"$tmp/out")" = 18 ] || fail "not a line for each photo"
[ "$(find "$tmp/maps" -name '*.map.png' | wc -l)" = 18 ] || fail "maps"
scores() { sed -nE "s|.*\"path\":\"[^\"]*/$1/[^\"]*\".*\"score\":([0-9.e+-]+).*|\1|p" "$tmp/out" | sort -g; }
[ "$(scores train/good | tail -n 1)" = 0.0 ] || [ "$(scores train/good | tail -n 1)" = 0 ] ||
    fail "a photo that is in the bank as it is: $(scores train/good | tail -n 1)"
least=$(scores misprint | head -n 1) most=$(scores test/good | tail -n 1)
awk -v a="$least" -v b="$most" 'BEGIN { exit !(b > 0 && a > b) }' || fail "defects from $least on, good ones up to $most"

# --- whether parts lie anyhow is found out; caps do not
expect 0 train "$tmp/auto.cozad"
stderr_has 'rotations: auto means 1 here, neighbourhood: auto means 3 here: turned copies bring the photos -?[0-9.]+ % nearer'
expect 0 "$cozad" info "$tmp/auto.cozad"
stdout_has '^training\.bank\.auto\.fall +-?[0-9]'
stdout_has '^training\.bank\.rotations +1'
expect 0 train "$tmp/auto.cozad" --shots 1
stderr_has 'rotations: auto means 1 here, neighbourhood: auto means 3 here: one photo'
expect 0 train "$tmp/auto.cozad" --rotations auto --neighbourhood 1 --shots 2
stderr_has 'rotations: auto means [0-9]+ here:'
expect 0 "$cozad" info "$tmp/auto.cozad"
stdout_has '^head\.neighbourhood +1'
expect 0 train "$tmp/auto.cozad" --rotations 2 --neighbourhood auto --shots 2
stderr_has 'cozad: neighbourhood: auto means [0-9] here:'
expect 0 train "$tmp/auto.cozad" --rotations 2 --shots 2
if grep -q 'auto means' "$tmp/err"; then fail "one option given, the other asked for"; fi

# --- the verbs
expect 0 "$cozad" info "$tmp/a.cozad"
stdout_has '^training\.method +knn'
stdout_has '^head\.detector +knn'
stdout_has '^head\.knn\.bank +2048'
stdout_has '^training\.bank\.candidates +2048'
if grep -q '^training\.epochs' "$tmp/out"; then fail "a bank has no epochs"; fi
expect 0 "$cozad" eval -m "$tmp/a.cozad" --data "$scenes/caps" --json --resamples 0 --threads 1
stdout_has '"image_auroc"'
expect 0 "$cozad" inspect -m "$tmp/a.cozad"
stdout_has 'caps/train/good/00'
[ "$(grep -c '\.png$' "$tmp/out")" = 8 ] || fail "inspect names other photos"
expect 0 "$cozad" calibrate -m "$tmp/a.cozad" --normal "$test/good" --fpr 0.5 --threads 1 -o "$tmp/calibrated.cozad"
expect 0 "$cozad" score -m "$tmp/calibrated.cozad" "$test/misprint" --threads 1
stdout_has '^ *[0-9.]+ +anomalous'
expect 0 "$cozad" score -m "$tmp/a.cozad" "$test/good" --tile 64 --threads 1
expect 3 "$cozad" adapt -m "$tmp/a.cozad" --normal "$test/good" --threads 1 -o "$tmp/adapted.cozad"
stderr_has 'knn'

# --- a cell alone, without its neighbours: another model, and the file says so
expect 0 train "$tmp/alone.cozad" --neighbourhood 1
expect 0 "$cozad" info "$tmp/alone.cozad"
stdout_has '^head\.neighbourhood +1'
cells() { "$cozad" score -m "$1" "$good" --json --no-cache --threads 1 | sed -nE 's|.*"score":([0-9.e+-]+).*|\1|p' | sort -g | tail -n 1; }
[ "$(cells "$tmp/alone.cozad")" = 0.0 ] || [ "$(cells "$tmp/alone.cozad")" = 0 ] || fail "scored with other features than trained"
expect 2 train "$tmp/x.cozad" --neighbourhood 2
stderr_has 'a neighbourhood of 2 is neither 1 nor 3'

# --- banks of another size, of other patches, of fewer photos
size() { stat -c %s "$tmp/$1.cozad"; }
for select in coreset random; do
    expect 0 train "$tmp/$select.cozad" --bank 200 --bank-select $select
    [ "$(size $select)" -lt $((200 * 96 * 4 + 16384)) ] || fail "$select: rows that nobody uses"
    expect 0 "$cozad" score -m "$tmp/$select.cozad" "$test" --threads 1
done
! cmp -s "$tmp/coreset.cozad" "$tmp/random.cozad" || fail "--bank-select changes nothing"
expect 0 train "$tmp/four.cozad" --shots 4 --seed 2 --json
stdout_has '"images":4,'
expect 0 train "$tmp/turned.cozad" --shots 4 --seed 2 --rotations 3 --json
stdout_has '"images":4,'
[ "$(size four)" -lt $((1024 * 96 * 4 + 16384)) ] || fail "four photos make $(size four) bytes"
[ "$(size turned)" -gt $((3 * 1024 * 96 * 4)) ] || fail "turned photos are not there"
expect 0 "$cozad" info "$tmp/turned.cozad" --json
[ "$(grep -o '"pixels_sha256"' "$tmp/out" | wc -l)" = 5 ] || fail "turned copies are listed as photos"
expect 0 train "$tmp/five.cozad" --shots 4 --seed 3
! cmp -s "$tmp/four.cozad" "$tmp/five.cozad" || fail "--shots draws the same photos whatever the seed"
expect 2 train "$tmp/no.cozad" --shots 9
one_line '9 shots are more than the 8 photos'

# --- configuration files: there and back, and for another method
expect 0 "$cozad" train "${common[@]}" --rotations 3 --bank 77 --print-config
cp "$tmp/out" "$tmp/config.json"
expect 0 "$cozad" train --config "$tmp/config.json" --print-config
cmp "$tmp/out" "$tmp/config.json" || fail "the configuration does not come back"
expect 0 "$cozad" train "${common[@]}" --print-config
stdout_has '"rotations": "auto"'
stdout_has '"neighbourhood": "auto"'
cp "$tmp/out" "$tmp/auto.json"
expect 0 "$cozad" train --config "$tmp/auto.json" --print-config
cmp "$tmp/out" "$tmp/auto.json" || fail "auto does not come back"
expect 0 "$cozad" train --config "$tmp/auto.json" --method simplenet --print-config
stdout_has '"neighbourhood": 3'
stdout_has '"rotations": 1'
printf '{"rotations": 0}' >"$tmp/zero.json"
expect 2 "$cozad" train --config "$tmp/zero.json" --print-config
one_line 'is not a whole number from 1 on, or "auto"'
expect 0 "$cozad" train --config "$tmp/config.json" --method simplenet --epochs 1 -o "$tmp/other.cozad"
expect 0 "$cozad" train --config "$tmp/config.json" --log "$tmp/log.jsonl" -o "$tmp/b.cozad"
if grep -q '"event":"step"' "$tmp/log.jsonl"; then fail "a bank has no steps"; fi
tail -n 1 "$tmp/log.jsonl" | grep -q '"status":"ok"' || fail "the log has no end"

# --- what is refused
wrong() { # PATTERN [options]
    local pattern=$1
    shift
    expect 2 "$cozad" train --normal "$good" --backbone random:resnet18:1 -o "$tmp/no.cozad" "$@"
    one_line "$pattern"
}
wrong '--rotations is about method knn, not simplenet' --rotations 4
wrong '--bank is about method knn, not comet' --method comet --bank 5
wrong 'trains the detector of that name, not flow' --method knn --detector flow
wrong 'a bank of patches is filled' --method comet --detector knn
wrong '--hidden-width is about detector simplenet' --method knn --hidden-width 5
wrong 'bank of 0 rows' --method knn --bank 0
wrong '361 rotations' --method knn --rotations 361
wrong '"0" is not a whole number from 1 on, or auto' --method knn --rotations 0
wrong '--rotations is about method knn, not simplenet' --rotations auto
wrong 'best' --method knn --bank-select best
expect 2 "$cozad" eval --contaminate 0 --data "$scenes/caps" --methods plain,comet --detectors knn -o "$tmp/no"
one_line 'knn is filled, not trained'
expect 2 "$cozad" eval --contaminate 0 --data "$scenes/caps" --methods knn --detectors simplenet -o "$tmp/no"
one_line '"knn" is none of those known'
[ ! -e "$tmp/no.cozad" ] || fail "a model in spite of an error"
expect 0 train "$tmp/note.cozad" --epochs 3
stderr_has '--epochs has no effect with --method knn'

# --- ^C: no model, and the reason
"$cozad" synth "$tmp/many" --scenes cloth --normal 40 --test-good 1 --test-bad 1 --size 96 --seed 1 >/dev/null
"$cozad" train "${common[@]}" --normal "$tmp/many/cloth/train/good" --rotations 60 -o "$tmp/stopped.cozad" \
    --log "$tmp/stop.jsonl" >"$tmp/out" 2>"$tmp/err" &
child=$! tries=0
while ! grep -q '"event":"features","done":[1-9]' "$tmp/stop.jsonl" 2>/dev/null && [ $tries -lt 3000 ]; do
    sleep 0.02
    tries=$((tries + 1))
done
kill -INT $child
code=0
wait $child || code=$?
[ $code = 130 ] || fail "exit code $code after an interrupt"
[ ! -e "$tmp/stopped.cozad" ] || fail "a model of an interrupted training"
echo PASS
