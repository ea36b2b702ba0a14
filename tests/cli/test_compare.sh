#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# cozad compare: pairing, figures against hand-made scores, refusals.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/make_small.sh"
cd "$tmp"
head='{"event":"scores","version":1}'
# scores FILE CATEGORY LABEL:SCORE… adds photos p0, p1, …
scores() {
    local file=$1 category=$2 i=0 one
    shift 2
    [ -e "$file" ] || echo "$head" >"$file"
    for one in "$@"; do
        echo "{\"path\":\"p$i\",\"category\":\"$category\",\"kind\":\"\",\"label\":${one%%:*},\"score\":${one#*:}}" >>"$file"
        i=$((i + 1))
    done
}
scores a.jsonl x 0:1 0:2 0:3 0:4 1:3.5 1:5 1:6 1:7
scores b.jsonl x 0:1 0:2 0:6.5 0:4 1:3.5 1:5 1:6 1:7
scores a.jsonl y 0:1 0:2 1:3
scores b.jsonl y 0:1 0:2 1:3

expect 0 "$cozad" compare a.jsonl b.jsonl --json
# x: 15 of 16 pairs in order against 12 of 16
stdout_has '"x":\{"first":0\.9375,"second":0\.75,"difference":0\.1875,'
stdout_has '"y":\{"first":1\.0,"second":1\.0,"difference":0\.0,'
stdout_has '"pooled":\{.*"normal":6,"anomalous":5\}'
stdout_has '"paired":11,"only_first":\[\],"only_second":\[\]'
cp out delong.json
expect 0 "$cozad" compare b.jsonl a.jsonl --json
stdout_has '"x":\{"first":0\.75,"second":0\.9375,"difference":-0\.1875,'
for file in out delong.json; do grep -o '"x":{[^}]*}' $file | grep -o '"p_value":[^,]*'; done | sort -u | wc -l | grep -qx 1 ||
    fail "the p-value depends on the order"
expect 0 "$cozad" compare a.jsonl b.jsonl --method bootstrap --resamples 500 --seed 1 --json
stdout_has '"method":"bootstrap"'
stdout_has '"x":\{"first":0\.9375,"second":0\.75,"difference":0\.1875,"low":-?[0-9.e-]+,"high":[0-9.e-]+,"p_value":[0-9.e-]+'
cp out first.json
expect 0 "$cozad" compare a.jsonl b.jsonl --method bootstrap --resamples 500 --seed 1 --json
cmp out first.json || fail "the same seed, other figures"
expect 0 "$cozad" compare a.jsonl b.jsonl
stdout_has '^x +4 +4 +93\.75 +75\.00 +\+18\.75 +[-+0-9.]+ to +[-+0-9.]+  [0-9.]+$'
stdout_has '^pooled '
stdout_has "DeLong's test"
expect 0 "$cozad" compare a.jsonl a.jsonl --json
stdout_has '"difference":0\.0,'
if grep -q '"difference":-\?[1-9]' out; then fail "a file differs from itself"; fi

# photos that only one has; a category without defects; photos that failed
cp a.jsonl more.jsonl
scores more.jsonl z 0:1 0:2
echo '{"path":"q","category":"x","kind":"","error":"could not be scored"}' >>more.jsonl
expect 0 "$cozad" compare a.jsonl more.jsonl --json
stderr_has 'only in more.jsonl: z: p0'
stderr_has '2 of 14 photos are only in more.jsonl'
stdout_has '"only_second":\[\{"category":"z","path":"p0"\},'
cp more.jsonl other.jsonl
expect 0 "$cozad" compare other.jsonl more.jsonl
stdout_has '^z +2 +0 +undefined: a class is absent'

# refused
sed 's/"p0","category":"x","kind":"","label":0/"p0","category":"x","kind":"","label":1/' a.jsonl >labels.jsonl
expect 3 "$cozad" compare a.jsonl labels.jsonl
one_line 'p0: labelled 0 in a.jsonl and 1 in labels.jsonl'
scores alone.jsonl w 0:1 1:2
expect 3 "$cozad" compare a.jsonl alone.jsonl
stderr_has 'no photo in common'
expect 2 "$cozad" compare a.jsonl
expect 2 "$cozad" compare a.jsonl b.jsonl --method t-test
expect 2 "$cozad" compare a.jsonl b.jsonl --method bootstrap --resamples 0
expect 3 "$cozad" compare a.jsonl none.jsonl
one_line 'none.jsonl'

# the real thing
make_scenes
train_small a.cozad >/dev/null
train_small b.cozad --seed 2 >/dev/null
for m in a b; do expect 0 "$cozad" eval -m $m.cozad --data "$scenes/cloth" --save-scores $m.real --resamples 0 --threads 1; done
expect 0 "$cozad" compare a.real b.real --json
stdout_has '"paired":7,'
echo PASS
